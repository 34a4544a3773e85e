"""Control characters that carry structure through text until it is text alone.

`decode` removes control characters from documents, so the marks are ours.
"""

import re
from dataclasses import dataclass

PAGE = "\f"  # a paragraph of its own: here a page ends
TARGET, LINK, END = "\x0e\x0f\x10"  # TARGET 000012 END: here is what the links 000012... lead to
MARKS = re.compile(f"([{TARGET}{LINK}])(\\d+){END}")
_LOOSE = re.compile(rf"{MARKS.pattern}(?:\s|[{TARGET}{LINK}]\d+{END})*")
DIGITS = 6  # of a target's number; a link's number is that of its target, then a count
TABLE_MARKER = "[table]"  # stands where `tables="mark"` took one out


@dataclass(frozen=True)
class Link:
    """A link inside the page: characters where its text begins, and where it leads."""

    start: int
    target: int


def without_marks(text: str) -> tuple[str, tuple[Link, ...]]:
    """`text` without its marks, and the links whose two ends are in it."""
    places: dict[str, dict[str, int]] = {TARGET: {}, LINK: {}}
    *marked, rest = text.split(END)
    pieces, size = [], 0
    for piece in marked:
        at = max(piece.rfind(TARGET), piece.rfind(LINK))
        if at >= 0 and piece[at + 1 :].isdecimal():
            places[piece[at]].setdefault(piece[at + 1 :], size + at)
            piece = piece[:at]
        pieces.append(piece)
        size += len(piece)
    text = "".join([*pieces, rest])
    for mark in (TARGET, LINK):  # a document may hold a reference to such a character
        text = text.replace(mark, "")
    targets = places[TARGET]
    found = ((number[:DIGITS], at) for number, at in places[LINK].items())
    return text, tuple(Link(at, targets[number]) for number, at in found if number in targets)


def settled(text: str) -> str:
    """`text` with its marks behind the white space after them, so that it is tidy without them."""

    def moved(match: re.Match[str]) -> str:
        marks = "".join(m.group() for m in MARKS.finditer(match[0]))
        return MARKS.sub("", match[0]) + marks * (match.end() < len(text))

    return re.sub(r"\n{3,}", "\n\n", _LOOSE.sub(moved, text)).strip()
