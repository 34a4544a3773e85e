"""ASCII filings of the 1990s to text: pages, SGML tags and hard-wrapped lines undone.

`extract` uses it for <PRE> too, and shares the treatment of white space.
"""

import re

from domainlm.corpus.edgar.pages import joined
from domainlm.corpus.marks import PAGE, TABLE_MARKER

# UTF-8 of spaces (Unicode Zs, NEL, line and paragraph separators) and of what has no width.
_SPACE = re.compile(rb"\xe2\x80[\x80-\x8a\xa8\xa9\xaf]|\xe2\x81\x9f")
_RARE_SPACES = (b"\xc2\xa0", b"\xc2\x85", b"\xe1\x9a\x80", b"\xe3\x80\x80")
_NO_WIDTH = re.compile(rb"\xe2\x80[\x8b-\x8d]|\xe2\x81\xa0")
_RARE_NO_WIDTH = (b"\xc2\xad", b"\xef\xbb\xbf")

# SGML tags of ASCII documents (EDGAR Filer Manual, volume II): tables, columns, footnotes, pages.
_SGML = re.compile(r"</?(?:TABLE|CAPTION|S|C|FN|F\d{1,2}|TEXT|R)>", re.I)
_PAGE_TAG = re.compile(r"<PAGE>[ \t]*+(?:[A-Z]{0,2}-?[\divx]{1,6})?[ \t]*$", re.I | re.M)
_PAGE_NUMBER = re.compile(
    r"\s*(?:-+ ?(?:[A-Z]-?)?\d{1,3} ?-+|(?:Page )?(?:[A-Z]{1,2}-)?\d{1,3}(?: of \d{1,3})?|"
    r"[ivxlIVXL]{1,6})\s*",
)
_DASHED = re.compile(r"\s*-+ ?(?:[A-Z]-?)?\d{1,3} ?-+\s*")
_RULE = re.compile(r"[-=_*~ \t.|+]{3,}")
_GAP = re.compile(r"(?<=\S)(?:[ \t]{3,}|\t)(?=\S)")
_LEADER = re.compile(r"\.(?: ?\.){3,}")
_TABLE = re.compile(r"<(/?)TABLE>", re.I)
_MIN_WIDTH = 55  # characters: narrower blocks are headings or lists, not wrapped prose
_SLACK = 4  # characters by which a typist's margin wavers


def unspaced(data: bytes) -> bytes:
    """UTF-8 with every Unicode space as a plain one and nothing that has no width."""
    if data.isascii():
        return data
    for space in _RARE_SPACES:
        data = data.replace(space, b" ")
    for character in _RARE_NO_WIDTH:
        data = data.replace(character, b"")
    return _NO_WIDTH.sub(b"", _SPACE.sub(b" ", data))


def one_space(data: bytes) -> bytes:
    """UTF-8 with runs of spaces and line ends as one space (tabs and form feeds are left).

    Bytes: several times as fast as a string, or a regular expression.
    """
    return b" ".join(filter(None, unspaced(data).translate(_LINE_ENDS).split(b" ")))


_LINE_ENDS = bytes.maketrans(b"\n\r", b"  ")


def plain_to_text(text: str, tables: str = "keep") -> str:
    """An ASCII filing without page breaks and SGML tags, its wrapped prose as paragraphs.

    `tables` is as for `html_to_text`.
    """
    return joined(paged_text(text, tables))


def paged_text(text: str, tables: str) -> str:
    """As `plain_to_text`, with a paragraph `PAGE` where a page ends.

    A line break is undone where the next word would not have fitted (the margin is the longest
    line of the block), so headings and lists keep their lines; table rows keep theirs.
    """
    text = unspaced(text.encode("utf-8", "replace")).decode()
    text = _LEADER.sub("...", _PAGE_TAG.sub("\f", text.expandtabs()))
    if "<" in text:
        text = _without_figures(text, tables) if tables != "keep" else text
        text = _SGML.sub("", text)
    out: list[str] = []
    block: list[str] = []
    for line in [*_without_furniture(text.split("\n")), ""]:
        if line and line != PAGE:
            block.append(line)
            continue
        if block and (flowing := _reflow(block, tables)):
            out.append(flowing)
        if line == PAGE:
            out.append(PAGE)
        block = []
    return "\n\n".join(out)


def _without_figures(text: str, tables: str) -> str:
    """`text` without the <TABLE> parts that are mostly figures, captions and heads included."""
    first, *rest = _TABLE.split(text)
    out = [first]
    for slash, part in zip(rest[::2], rest[1::2], strict=True):
        if slash or not is_figures(part):
            out.append(part)
        elif tables == "mark":
            out.append(TABLE_MARKER)
    return "\n\n".join(out)


def is_figures(text: str) -> bool:
    """More than a quarter of the words hold a digit."""
    tokens = text.split()
    return sum(1 for t in tokens if any(c.isdigit() for c in t)) * 4 > len(tokens)


def _without_furniture(lines: list[str]) -> list[str]:
    """Stripped at the right; page numbers beside page breaks and rules of dashes removed."""
    lines = [line.rstrip(" \t\r") for line in lines]
    filled = [i for i, line in enumerate(lines) if line]
    gone: set[int] = set()
    for k, i in enumerate(filled):
        line = lines[i]
        if line.strip(" ") == "\f":
            lines[i] = "\f"
            beside = [filled[j] for j in (k - 1, k + 1) if 0 <= j < len(filled)]
            gone.update(j for j in beside if _PAGE_NUMBER.fullmatch(lines[j]))
        elif line[0] == "\f":
            lines[i] = line.lstrip("\f ")
            if k and _PAGE_NUMBER.fullmatch(lines[filled[k - 1]]):
                gone.add(filled[k - 1])
        elif _DASHED.fullmatch(line):
            lines[i] = "\f"
        elif line.lstrip()[:1] in tuple("-=_*~.|+") and _RULE.fullmatch(line):
            gone.add(i)
    return [line.replace("\f", "") or line for i, line in enumerate(lines) if i not in gone]


def _reflow(block: list[str], tables: str) -> str:
    """One block of lines (no blank ones) with its forced line breaks undone."""
    if len(block) == 1 and "  " not in (only := block[0].strip()) and "..." not in only:
        return only
    width = max(_MIN_WIDTH, max(map(len, block)))
    rows = [_is_row(line, width) for line in block]
    if tables != "keep" and sum(rows) * 2 > len(block) and is_figures(" ".join(block)):
        return TABLE_MARKER if tables == "mark" else ""
    indent = min(len(line) - len(line.lstrip()) for line in block)
    out: list[list[str]] = []  # of lines, their pieces: to add to a string is to copy it
    previous = ""
    previous_row = True
    for line, row in zip(block, rows, strict=True):
        words = " ".join(line.split()) if not row else re.sub(r" {2,}", "  ", line.strip())
        first = words.split(" ", 1)[0]
        fresh = len(line) - len(line.lstrip()) >= indent + 2 and previous.endswith(
            (".", ":", ";", "?", "!")
        )
        forced = len(previous) + 1 + len(first) > width - _SLACK
        fresh = fresh or previous.isupper() != line.isupper() or "..." in previous
        if out and not row and not previous_row and forced and not fresh:
            out[-1].append(words if _hyphenated(out[-1][-1]) else f" {words}")
        else:
            out.append([words])
        previous, previous_row = line, row
    return "\n".join(map("".join, out))


def _hyphenated(text: str) -> bool:
    return len(text) > 1 and text[-1] == "-" and text[-2].isalpha()


def _is_row(line: str, width: int) -> bool:
    """A table row: leaders, or wide gaps that are not those of a justified line."""
    if "..." in line:
        return True
    body = line.strip()
    gaps = _GAP.findall(body)
    if not gaps:
        return False
    digits = sum(map(str.isdigit, body))
    justified = len(line) >= width - _SLACK and len(gaps) < len(body.split()) / 2 + 2
    return not (justified and max(map(len, gaps)) <= 6 and digits * 5 < len(body))
