"""Label the items of a raw filing by byte offsets, without the extractor.

    label.py candidates FILE [all]      every place that may be a heading, with its byte offset
    label.py show FILE OFFSET [BYTES]   the text around an offset
    label.py find FILE WORDS            byte offsets of words, tags and white space between ignored
    label.py check LABELS.json ROOT     the edges of every labelled item, and what is not in order

Labels are JSON: a list of {path, sha256, form, era, document: [start, end], items: [[label, start,
end], ...], note}. Offsets are bytes of the raw file; `path` is PACK/path of the manifest.
"""

import hashlib
import html
import json
import re
import sys
from pathlib import Path

_GAP = rb"(?:\s|&nbsp;|&#160;|&#xa0;|\xc2\xa0|\xa0|<[^<>]*>)*"
_HEADING = re.compile(
    _GAP.join([rb"I", rb"T", rb"E", rb"M"]) + rb"S?" + _GAP + rb"(?:NO\.?|NUMBER)?" + _GAP
    + rb"(?=\d|[IVX]+[.\s:&<-])|(?<![A-Za-z])(?:SIGNATURES?|PART" + _GAP + rb"(?:I{1,3}|IV|[1-4]))"
    rb"(?![A-Za-z])",
    re.I,
)  # fmt: skip
_BLOCK = re.compile(
    rb"</?(?:p|div|tr|td|th|br|li|ul|ol|h\d|table|hr|title|body|center|dt|dd|page|s|c|caption|pre)"
    rb"(?:\s[^<>]*)?/?>",
    re.I,
)
_TAG = re.compile(rb"<(?:/?[a-zA-Z!?][^<>]*)>")
_DROPPED = re.compile(
    rb"<ix:header.*?</ix:header>|<!--.*?-->|<style.*?</style>|<script.*?</script>|"
    rb"<title.*?</title>",
    re.I | re.S,
)


def plain(data: bytes) -> str:
    """Raw bytes of a span to text: block tags become spaces, other tags nothing."""
    if b"<" in data:
        data = _DROPPED.sub(b" ", data)
        data = _TAG.sub(b"", _BLOCK.sub(b" ", data))
    try:
        text = data.decode()
    except UnicodeDecodeError:
        text = data.decode("cp1252", "replace")
    return html.unescape(text).replace("\xa0", " ") if "&" in text else text.replace("\xa0", " ")


def main_document(data: bytes) -> tuple[int, int]:
    """Span of the first <DOCUMENT> whose type begins with 10-K, else of the whole file."""
    for part in re.finditer(rb"<DOCUMENT>(.*?)</DOCUMENT>", data, re.S):
        kind = re.search(rb"<TYPE>\s*([^\s<]+)", part[1][:500])
        if kind and kind[1].upper().startswith(b"10-K"):
            return part.span(1)
    return 0, len(data)


def excerpt(data: bytes, start: int, end: int) -> str:
    """One line of text between two offsets."""
    return " ".join(plain(data[max(0, start) : max(0, end)]).split())


def _mid_sentence(data: bytes, start: int, at: int, tags: bool) -> bool:
    """True where words stand between the beginning of the line (or block) and `at`."""
    before = data[max(start, at - 400) : at]
    edges = [m.end() for m in _BLOCK.finditer(before)] if tags else [before.rfind(b"\n") + 1]
    return len(excerpt(before, max(edges, default=0), len(before))) > 24


def candidates(data: bytes, everything: bool) -> None:
    """Print offset, what stands before it, and what follows; mentions in sentences if asked."""
    start, end = main_document(data)
    print(f"main document: {start} {end} of {len(data)}")
    tags = len(_BLOCK.findall(data, start, end)) > 200
    for match in _HEADING.finditer(data, start, end):
        if not everything and _mid_sentence(data, start, match.start(), tags):
            continue
        if b"href" in data[max(start, match.start() - 60) : match.start()].rsplit(b"<", 1)[-1]:
            mark = "link"  # inside an <a href>: mostly a table of contents
        else:
            mark = ""
        before = excerpt(data, match.start() - 300, match.start())[-36:]
        after = excerpt(data, match.start(), match.start() + 900)[:110]
        print(f"{match.start():>9} {mark:4} {before:>36} >>| {after}")


def find(data: bytes, words: str) -> None:
    """Print the offsets of `words`, letter case, tags and white space ignored."""
    pattern = _GAP.join(re.escape(c.encode()) for c in words if not c.isspace())
    for match in re.finditer(pattern, data, re.I):
        print(match.start(), excerpt(data, match.start() - 200, match.start())[-50:], ">>|",
              excerpt(data, match.start(), match.start() + 600)[:120])  # fmt: skip


def check(labels: Path, root: Path) -> None:
    """Print each item's first and last words and its length; say loudly what cannot be."""
    for row in json.loads(labels.read_text()):
        data = (root / row["path"]).read_bytes()
        print(f"\n== {row['path']} {row['form']} {row['era']} {row.get('note', '')}")
        if hashlib.sha256(data).hexdigest() != row["sha256"]:
            print("!! sha256 differs")
        place = row["document"][0]
        for label, start, end in row["items"]:
            if not place <= start < end <= row["document"][1]:
                print(f"!! {label}: {start} {end} overlaps, or is outside the document")
            if not re.fullmatch(r"Items? \d{1,2}[A-C]?(?:(?:, | and | to )\d{1,2}[A-C]?)*", label):
                print(f"!! {label}: not canonical")
            place = end
            text = excerpt(data, start, end)
            print(f"{label:14} {len(text.split()):>7} words  {text[:70]!r} ... {text[-60:]!r}")


if __name__ == "__main__":
    verb, path, *rest = sys.argv[1:]
    if verb == "check":
        check(Path(path), Path(rest[0]))
    elif verb == "find":
        find(Path(path).read_bytes(), " ".join(rest))
    elif verb == "show":
        raw, at, size = Path(path).read_bytes(), int(rest[0]), int((rest[1:] or ["600"])[0])
        print(excerpt(raw, at - size, at)[-size:], "\n>>|", excerpt(raw, at, at + size))
    elif verb == "candidates":
        candidates(Path(path).read_bytes(), rest == ["all"])
