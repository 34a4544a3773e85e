"""ASCII filings of the 1990s to text: pages, SGML tags and hard-wrapped lines undone.

`extract` uses it for <PRE> too, and shares the treatment of white space.
"""

import re

_SPACES = "\n\t\f\r\x85\xa0\u1680\u2028\u2029\u202f\u205f\u3000" + "".join(
    map(chr, range(0x2000, 0x200B))
)
_ZERO_WIDTH = "\u00ad\u200b\u200c\u200d\u2060\ufeff"

# SGML tags of ASCII documents (EDGAR Filer Manual, volume II): tables, columns, footnotes, pages.
_SGML = re.compile(r"</?(?:TABLE|CAPTION|S|C|FN|F\d{1,2}|TEXT|R)>", re.I)
_PAGE_TAG = re.compile(r"<PAGE>[ \t]*(?:[A-Z]{0,2}-?[\divx]{1,6})?[ \t]*$", re.I | re.M)
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


def one_space(text: str) -> str:
    """Runs of any white space as one space; replacing is three times as fast as splitting."""
    for space in _SPACES if not text.isascii() else "\n\t\f\r":
        text = text.replace(space, " ")
    for run in ("        ", "    ", "  ", "  ", "  "):
        text = text.replace(run, " ")
    return text if "  " not in text else " ".join(text.split())


def visible(text: str) -> str:
    """`text` without soft hyphens and characters of no width."""
    if not text.isascii():
        for character in _ZERO_WIDTH:
            text = text.replace(character, "")
    return text


def plain_to_text(text: str, tables: str = "keep") -> str:
    """An ASCII filing without page furniture and SGML tags, its wrapped prose as paragraphs.

    A line break is undone where the next word would not have fitted (the margin is the longest
    line of the block), so headings and lists keep their lines; table rows keep theirs.
    """
    text = visible(text)
    for space in () if text.isascii() else _SPACES[4:]:
        text = text.replace(space, " ")
    text = _LEADER.sub("...", _PAGE_TAG.sub("\f", text.expandtabs()))
    if "<" in text:
        text = _without_figures(text) if tables == "drop" else text
        text = _SGML.sub("", text)
    out: list[str] = []
    block: list[str] = []
    page_break = False
    for line in [*_without_furniture(text.split("\n")), ""]:
        if line == "\f":
            page_break = True
        if line and line != "\f":
            block.append(line)
            continue
        if block:
            joined = _reflow(block, tables)
            if joined and page_break and out and _goes_on(out[-1], joined):
                out[-1] = f"{out[-1]} {joined}"
            elif joined:
                out.append(joined)
            page_break = line == "\f"
            block = []
    return "\n\n".join(out)


def _without_figures(text: str) -> str:
    """`text` without the <TABLE> parts that are mostly figures, captions and heads included."""
    first, *rest = _TABLE.split(text)
    pairs = zip(rest[::2], rest[1::2], strict=True)
    return first + "\n\n".join(p for slash, p in pairs if slash or not _is_figures(p))


def _is_figures(text: str) -> bool:
    tokens = text.split()
    return sum(1 for t in tokens if any(c.isdigit() for c in t)) * 4 > len(tokens)


def _goes_on(before: str, after: str) -> bool:
    """A page break split a sentence: a lower-case letter follows an unfinished line."""
    return after[0].islower() and (before[-1].isalnum() or before[-1] in ",;-")


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
        elif line.lstrip()[0] in "-=_*~.|+" and _RULE.fullmatch(line):
            gone.add(i)
    return [line.replace("\f", "") or line for i, line in enumerate(lines) if i not in gone]


def _reflow(block: list[str], tables: str) -> str:
    """One block of lines (no blank ones) with its forced line breaks undone."""
    width = max(_MIN_WIDTH, max(map(len, block)))
    rows = [_is_row(line, width) for line in block]
    if tables == "drop" and sum(rows) * 2 > len(block) and _is_figures(" ".join(block)):
        return ""
    indent = min(len(line) - len(line.lstrip()) for line in block)
    out: list[str] = []
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
            out[-1] = f"{out[-1]}{'' if _hyphenated(out[-1]) else ' '}{words}"
        else:
            out.append(words)
        previous, previous_row = line, row
    return "\n".join(out)


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
