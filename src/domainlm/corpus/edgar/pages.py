"""Pages undone: page numbers, running heads and links to the contents out, sentences whole again.

A page number is a number of its own that follows or precedes its neighbour in the count, so a lone
"64" in a list of ages stays. A running head is a short paragraph that stands, nearly always, beside
a page number, a link to the contents or another running head; its first appearance is a title, and
stays. What is left on both sides of a page break is one paragraph where a sentence goes on.
"""

import functools
import itertools
import re
from collections import defaultdict
from collections.abc import Sequence

from domainlm.corpus.marks import END, MARKS, PAGE, TARGET

_LONGEST = 130  # characters of a head, a foot or a number
_TIMES, _SENTENCE_TIMES = 5, 10  # a head or foot appears at least so often, a sentence oftener
_BESIDE = 0.85  # share of its appearances beside other furniture
_FEET = 8  # feet that hold the page number themselves appear at least so often

_NUMBER = re.compile(
    r"(?:page )?(?:[-\u2013—] ?)?(?P<series>(?:[A-Z]{1,2}-)?)"
    r"(?:(?P<page>\d{1,3})|(?P<roman>(?a:[ivxl]{1,6})))(?: ?[-\u2013—])?(?: of \d{1,3})?",
    re.I,
)
_CONTENTS = re.compile(
    r"(?:table of contents|(?:back|return|go) to (?:the )?(?:table of )?(?:contents|top|index)|"
    r"index to (?:consolidated )?financial statements|contents|index)(?: \| \d{1,3})?",
    re.I,
)
_SENTENCE = re.compile(r"(?:\S+\s+){4}\S*\.$")
_COUNTED = re.compile(
    r"\W*(?:(?:note|item|exhibit|article|section|schedule|part|table)\b|\(#\)|#[.)])", re.I
)
_ANSWER = re.compile(r"\W*(?:none|not applicable|n/a|reserved|omitted|unchanged)\W*", re.I)
_ROMAN = {"i": 1, "v": 5, "x": 10, "l": 50}


def without_furniture(text: str) -> str:
    """`text` (paragraphs a blank line apart, marks of links allowed) without page furniture."""
    paragraphs = text.split("\n\n")
    short = {
        i: (MARKS.sub("", p) if END in p else p).strip()
        for i, p in enumerate(paragraphs)
        if len(p) < _LONGEST + 40
    }
    gone = {i for i, p in short.items() if not p or paragraphs[i] == PAGE}
    gone |= _page_numbers(short, gone) | _links(short)
    keys: dict[str, list[int]] = defaultdict(list)
    for i, p in short.items():
        if i not in gone and len(p) < _LONGEST and not _ANSWER.fullmatch(p):
            keys[re.sub(r"\d+", "#", p)].append(i)
    repeated = {
        key: places
        for key, places in keys.items()
        if len(places) >= _TIMES and (len(places) >= _SENTENCE_TIMES or not _SENTENCE.search(key))
    }
    edges = len(gone)
    for key, places in repeated.items():
        # Feet may be all the page numbers there are; else they stand beside other furniture.
        if "#" in key and len(places) >= _FEET and _counts_pages(key, places, short):
            gone |= {i for i in places if edges < len(places) or _beside(i, gone)}
    for _ in range(4):  # heads of several paragraphs: each round takes those beside the last
        for key, places in repeated.items():
            beside = [i for i in places if i in gone or _beside(i, gone)]
            if len(beside) >= _BESIDE * len(places) and any(c.isalpha() for c in key):
                gone |= set(beside) - {places[0]}
    return _rejoined(paragraphs, gone)


def joined(text: str) -> str:
    """`text` without its page breaks, the sentences that go on over one whole again."""
    paragraphs = text.split("\n\n")
    return _rejoined(paragraphs, {i for i, p in enumerate(paragraphs) if p in ("", PAGE)})


def _beside(i: int, gone: set[int]) -> bool:
    return i - 1 in gone or i + 1 in gone


def _page_numbers(short: dict[int, str], breaks: set[int]) -> set[int]:
    """Places of the numbers that count pages: beside a break, or in order with their neighbours."""
    found: list[tuple[int, str, int]] = []
    for i, p in short.items():
        if len(p) < 24 and (match := _NUMBER.fullmatch(p)):
            roman = match["roman"]
            value = int(match["page"]) if match["page"] else _roman(roman.lower())
            found.append((i, match["series"] + ("r" if roman else ""), value))
    series: dict[str, list[tuple[int, int]]] = defaultdict(list)
    for i, name, value in found:
        series[name].append((i, value))
    beside = {i for i, _, _ in found if i - 1 in breaks or i + 1 in breaks}
    return beside | {
        places[n][0]
        for places in series.values()
        for n in range(len(places))
        if (n and 0 < places[n][1] - places[n - 1][1] <= 3)
        or (n + 1 < len(places) and 0 < places[n + 1][1] - places[n][1] <= 3)
    }


@functools.cache
def _roman(text: str) -> int:
    values = [_ROMAN[c] for c in text]
    return sum(-v if v < max(values[n:]) else v for n, v in enumerate(values))


def _links(short: dict[int, str]) -> set[int]:
    """Places of links back to the contents: three at least, or they are headings."""
    places: dict[str, list[int]] = defaultdict(list)
    for i, p in short.items():
        if _CONTENTS.fullmatch(p):
            places[re.sub(r"\d+", "#", p)].append(i)
    return {i for of in places.values() if len(of) >= 3 for i in of}


def _counts_pages(key: str, places: Sequence[int], short: dict[int, str]) -> bool:
    """The first or the last number of these paragraphs rises by one to four, nearly always."""
    if _COUNTED.match(key):
        return False
    numbers = [re.findall(r"\d{1,9}", short[i]) for i in places]
    if not all(numbers):
        return False  # the sign is one that is printed
    for side in (0, -1):
        values = [int(n[side]) for n in numbers]
        steps = [b - a for a, b in itertools.pairwise(values)]
        if sum(1 for s in steps if 0 < s <= 4) >= 0.8 * len(steps):
            return True
    return False


def _rejoined(paragraphs: Sequence[str], gone: set[int]) -> str:
    out: list[str] = []
    broken = False
    carried = ""
    for i, paragraph in enumerate(paragraphs):
        if i in gone:
            broken = True
            carried += "".join(m.group() for m in MARKS.finditer(paragraph) if m[1] == TARGET)
            continue
        if broken and out and _goes_on(out[-1], MARKS.sub("", paragraph)):
            out[-1] = f"{out[-1]} {carried}{paragraph}"
        else:
            out.append(carried + paragraph)
        broken, carried = False, ""
    return tidied(["\n\n".join(out).replace(PAGE, "")])


def tidied(blocks: Sequence[str]) -> str:
    """Blocks a blank line apart, with no more than one in a row."""
    text = "\n\n".join(blocks)
    while "\n\n\n" in text:
        text = text.replace("\n\n\n", "\n\n")
    return text.strip()


def _goes_on(before: str, after: str) -> bool:
    """A page break split a sentence: a lower-case letter follows an unfinished line."""
    return (
        after[:1].islower()
        and (before[-1:].isalnum() or before[-1:] in tuple(",;-"))
        and " | " not in before.rsplit("\n", 1)[-1]
    )
