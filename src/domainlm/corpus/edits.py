"""Spans taken out of a document's text or replaced in it; its sections follow."""

import bisect
import dataclasses
import re
from collections.abc import Iterable
from itertools import accumulate

from domainlm.corpus.documents import Document

_BLANK = re.compile(r"\A\s+|\s+\Z|(?<=\n\n)\n+")
Edit = tuple[int, int, str]  # characters start, end, and what stands there instead


def edited(document: Document, edits: Iterable[Edit]) -> Document:
    """`document` with the edits made. Where two overlap, what the later one has beyond goes too.

    A section keeps its label; a bound inside an edited span moves to the end of what replaces it.
    A section that was not empty and now is goes.
    """
    text = document.text
    pieces: list[str] = []
    ends: list[int] = []  # of the edited spans, and how far what follows each has moved
    growth: list[int] = []
    place = 0
    for start, end, new in sorted(edits):
        start = max(start, place)
        if end < start or (start == end and not new):
            continue
        pieces += (text[place:start], new)
        ends.append(end)
        growth.append(len(new) - (end - start))
        place = end
    if not ends:
        return document
    pieces.append(text[place:])
    moved = [0, *accumulate(growth)]
    starts = [end + g for end, g in zip(ends, growth, strict=True)]  # ends of what is put in

    def at(position: int) -> int:
        before = bisect.bisect_right(ends, position)
        inside = before < len(ends) and position > _start(before)
        if inside:
            return starts[before] + moved[before]
        return position + moved[before]

    def _start(number: int) -> int:
        return ends[number] + growth[number] - len(pieces[2 * number + 1])

    sections = []
    for section in document.sections:
        start, end = at(section.start), at(section.end)
        if start < end or section.start == section.end:
            sections.append(dataclasses.replace(section, start=start, end=end))
    return dataclasses.replace(document, text="".join(pieces), sections=tuple(sections))


def without_spans(document: Document, spans: Iterable[tuple[int, int]]) -> Document:
    """`document` without these spans, and without the blank lines that this leaves."""
    left = edited(document, [(start, end, "") for start, end in spans])
    if left is document:
        return document
    return edited(left, [(*match.span(), "") for match in _BLANK.finditer(left.text)])
