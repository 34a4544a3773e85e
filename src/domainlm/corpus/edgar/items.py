"""Where the items of an annual report begin and end: spans over clean text.

Every line that could be an item's heading is a candidate with a score (its title, its line, the
links of the table of contents). The headings are then the chain of candidates, in the order of the
form and in the order of the text, with the best sum of scores and of logarithms of section lengths:
a table of contents has all the headings but no text between them, so the body wins. An item ends
where the next begins, or where matter that is no item's begins (`_end`). What cannot be told is
flagged, not guessed.
"""

import datetime
import itertools
import math
import re
from collections.abc import Sequence

from domainlm.corpus.documents import Section
from domainlm.corpus.edgar.headings import (
    TITLES,
    TITLES_KSB,
    Candidate,
    candidates,
    numbered,
    occurrences,
    rank,
)
from domainlm.corpus.marks import Link

_SIGNATURES = re.compile(
    r"^[ \t|*#]*(?:\d{1,2}\. )?SIGNATURES?(?: PAGE)?[ \t|*:.]*$|^[ \t]*S I G N A T U R E S?[ \t]*$",
    re.I | re.M,
)
_PURSUANT = re.compile(r"pursuant\s+to\s+the\s+requirements?\s+of", re.I)
_PART_LINE = re.compile(
    r"\n[ \t|*-]*PART[ \t]+(?:[IV]{1,3}|[1-4])[.:\s|,\u2013—*-]*(?=\n|\Z)", re.I
)
_INDENT = 80  # characters, at most, before the heading of the signatures on its line
_PART_REACH = 1500  # characters before a heading in which its part's line, and words on it, stand
# The end of a row of an index: pages, a dash, or that there is nothing.
_TO_PAGES = re.compile(
    r"(?:[\s|][A-Z]?-?\d[\d\s,|*()\u2013—-]*|[-\u2013—]|n/?a|not applicable|none|\*)[\s*.|()]*"
    r"(?:part [IV]+\s*)?\Z",
    re.I,
)
_REFERENCE = re.compile(
    r"incorporated\s+(?:\S+\s+){0,4}by\s+(?:this\s+)?reference|by\s+reference\s+(?:\S+\s+){0,3}"
    r"incorporated|incorporated\s+herein",
    re.I,
)
_POINTER = re.compile(
    r"(?:is|are)\s+(?:set\s+forth|included|contained|presented|omitted|found)|"
    r"appears?\s+(?:on|under|in)|(?:see|refer\s+to|reference\s+is\s+made)\s",
    re.I,
)
# An auditor's report: its heading, then whom it is for. A list of statements has no such line.
_AUDITORS = re.compile(
    r"^(?=[^\n|]{0,80}(?:report|accountant|auditor|accounting))[^\n|.;]{4,120}\n"
    r"(?:[^\n|.]{0,80}\n){0,6}\s*(?:to[ \t]+)?(?:the[ \t]+)?(?:board[ \t]+of[ \t]+directors|"
    r"(?:share|stock)(?:holders|owners)|directors[ \t]+and)[^\n]{0,80}$",
    re.I | re.M,
)
_TITLE = r"^[ \t|*]*+(?![^\n]*\d[ \t|]*$)"  # a row of an index ends in a page
_STATEMENTS = r"(?:consolidated[ \t]+)?financial[ \t]+(?:statement[ \t]+schedules?|statements?)\b"
_SCHEDULE = re.compile(
    rf"{_TITLE}(?:financial[ \t]+statement[ \t]+)?schedule[ \t]+"
    r"(?:[IVX]{1,4}|\d)\b[^\n]{0,120}$"
    r"(?=(?:[^\n]*\n){1,12}?[^\n]*balances?[^\n]{0,12}\s+(?:at|of)\s)",
    re.I | re.M,
)
_APPENDED = re.compile(
    rf"{_TITLE}(?:(?:index|list)[ \t]+(?:to|of)[ \t]+(?:the[ \t]+)?{_STATEMENTS}[^\n|.]{{0,120}}|"
    r"financial[ \t]+section|power[ \t]+of[ \t]+attorney|appendix(?:[ \t]+[A-Z])?|"
    r"consents?[ \t]+of[ \t]+independent[^\n|.]{0,60}|"
    r"pages?[ \t]+\d{1,4}[^\n]{1,6}\d{1,4}[ \t]+not[ \t]+used|"
    r"[\"“]?(?:cautionary|safe[ \t]+harbor)[\"”]?[ \t]+statements?[^\n.|]{0,80})[ \t|*:.]*$",
    re.I | re.M,
)
# Signs that the list of exhibits goes on after an index or a schedule.
_RESUMED = re.compile(
    r"^[ \t|(]*(?:a\)[ \t|(]*)?(?:3|b|c)[.)]+[ \t|]*(?:\(?\d\)[ \t|]*)?exhibits?\b|"
    r"item[ \t]+1[45]\(a\)|^[ \t|]*exhibits[ \t]+required[ \t]+by[ \t]+item[ \t]+601|"
    r"^[ \t|(]*b\)[^\n]{0,40}reports?[ \t]+on[ \t]+form|^[ \t|]*exhibits?[ \t|:.]*$|"
    r"^[ \t|]*exhibit[ \t|]+(?:no\b|number)",
    re.I | re.M,
)
_ICFR = re.compile(
    r"^[^\n|.]{0,30}reports?[ \t]+(?:of[ \t]+[^\n|.]{0,40})?on[ \t]+internal[ \t]+control",
    re.I | re.M,
)
_EXHIBIT_INDEX = re.compile(
    r"^[ \t|]*(?:exhibits?[ \t]+index|index[ \t]+to[ \t]+exhibits)\b", re.I | re.M
)
_OFFICERS = re.compile(
    r"^[ \t|*(-]*(?:item[ \t]*[X\d]*[.:]?[ \t]*)?"
    r"(?:(?:information|data)[ \t]+(?:about|on|concerning)[ \t]+)?(?:our|the)?[ \t]*"
    r"executive[ \t]+officers(?:[ \t]+(?:and[ \t]+[^\n.]{0,40})?of[ \t]+[^\n.]{0,60})?"
    r"[ \t|*):.]*(?:\(.*\)[ \t.]*)?$",
    re.I | re.M,
)
_CLAUSE = re.compile(
    r"^[ \t]*pursuant[ \t]+to[ \t]+the[ \t]+requirements?[ \t]+of[ \t]+"
    r"(?:section|the[ \t]+securities)",
    re.I | re.M,
)
# The whole of an item: nothing after such a paragraph belongs to it.
_ANSWER = re.compile(
    r"[ \t|]*[\[(]?(?:none|not[ \t]+applicable|n/a|(?:intentionally[ \t]+)?(?:omitted|reserved)|"
    r"removed[ \t]+and[ \t]+reserved|not[ \t]+required)[\])]?[ \t.|]*$",
    re.I,
)
_CLOSED = {"1B", "4", "6", "9", "9C", "16"}  # items whose answer may be one such word

_REPEATED = 0.6  # of score: what a heading in small letters lacks of one in capitals

_SHORT = 1500  # characters: an item that points elsewhere is at most so long,
_VERY_SHORT = 700  # or so long where it only says "see" or "is set forth"
_CORE = {"1", "1A", "7", "8"}
_ROW = 420  # characters of a row of an index
_SWALLOWS = 10_000  # characters of an item that may hold the next one
_MOST_OF = 0.8  # of the text: no item is longer
# Characters that items of their kind stay under, at the most, on the labelled filings and beyond.
_LONGEST = {
    "1B": 8_000, "1C": 40_000, "2": 150_000, "3": 150_000, "4": 20_000, "6": 60_000, "9": 25_000,
    "9A": 60_000, "9B": 40_000, "9C": 8_000, "16": 8_000,
}  # fmt: skip
# Items that every annual report has, and since when (by the end of the period).
_EXPECTED = {
    "1": datetime.date.min, "2": datetime.date.min, "3": datetime.date.min,
    "5": datetime.date.min, "7": datetime.date.min, "8": datetime.date.min,
    "1A": datetime.date(2005, 12, 1), "9A": datetime.date(2003, 8, 31),
}  # fmt: skip


def find_items(
    text: str, links: Sequence[Link] = (), form: str = "10-K", period: datetime.date | None = None
) -> tuple[Section, ...]:
    """The items found in `text`: in order, never overlapping, each up to the next one.

    Flags: `incorporated_by_reference` (short, and says that its content is elsewhere),
    `suspicious_size` (Item 1, 1A, 7 or 8 very short otherwise, or any item too long for its kind),
    and `not_found`, on an empty span at the end, for an item that the form asks for (whole annual
    reports only). `confidence` is 0 to 1: how much of the evidence speaks for the heading.
    """
    small = form.upper().startswith(("10-KSB", "10KSB"))
    titles = TITLES_KSB if small else TITLES
    found = candidates(text, titles, links)
    chain = _best_chain(found, len(text))
    if len(chain) < 3:
        bare = numbered(text, titles)
        other = _best_chain(bare, len(text))
        if len(other) > len(chain):
            found, chain = bare, other
    listed: list[str] = []
    while end := _index_end(chain, text):  # what it lists may be there, before it or behind
        first = chain[0].start
        for candidate in reversed(found):
            if first - _ROW < candidate.start < first:
                first = candidate.start
        rows = [c for c in found if first <= c.start <= end]
        listed += [number for row in rows for number in _covered(row)]
        found = [c for c in found if c not in rows]
        chain = _best_chain(found, len(text))
    chain = _first_of_each(chain, found)
    sections = []
    for candidate, after in itertools.zip_longest(chain, chain[1:]):
        end = _end(text, candidate, after, small)
        flags = _flags(text, candidate, after, end)
        sections.append(
            Section(candidate.label, candidate.start, end, flags, _confidence(candidate, flags))
        )
    if small or not form.upper().startswith("10-K") or form.upper().endswith("/A"):
        return tuple(sections)
    have = {number for candidate in chain for number in _covered(candidate)}
    have |= {number.rstrip("ABCD") for number in have if number not in titles}  # "Item 5A" and 5B
    wanted = [
        number
        for number, since in _EXPECTED.items()
        if since == datetime.date.min or (period and period >= since)
    ]
    missing = sorted({*wanted, *listed}.difference(have), key=rank)
    nowhere = (len(text), len(text), ("not_found",), 0.0)
    return (*sections, *(Section(f"Item {number}", *nowhere) for number in missing))


def _covered(candidate: Candidate) -> list[str]:
    """Numbers that a heading speaks for: "Items 10 to 13" for all between them."""
    if " to " not in candidate.label:
        return list(candidate.numbers)
    order = [n for n in TITLES if n]
    first, last = (
        order.index(n) if n in order else 0 for n in (candidate.numbers[0], candidate.numbers[-1])
    )
    return order[first : last + 1]


def _gain(characters: int) -> float:
    """Worth of a section's length: logarithmic, so that no one section outweighs the others."""
    return math.log2(1 + min(characters, 60_000) / 150)


def _follows(before: Candidate, after: Candidate) -> bool:
    """In the order of the form; 1A and 1B may follow "Items 1 and 2"."""
    if after.first > before.last:
        return True
    return (
        before.first < after.first
        and after.numbers[0][-1:].isalpha()
        and (after.numbers[0] not in before.numbers)
    )


def _best_chain(found: Sequence[Candidate], size: int) -> list[Candidate]:
    """The chain with the best sum of scores and length gains, by dynamic programming."""
    best: list[float] = []
    link: list[int] = []
    for j, candidate in enumerate(found):
        value, before = 0.0, -1
        for i in range(j):
            if _follows(found[i], candidate):
                total = best[i] + _gain(candidate.start - found[i].start)
                if total > value:
                    value, before = total, i
        best.append(value + candidate.score)
        link.append(before)
    if not found:
        return []
    ends = [best[i] + _gain(size - c.start) for i, c in enumerate(found)]
    at = max(range(len(ends)), key=ends.__getitem__)
    chain: list[Candidate] = []
    while at >= 0:
        chain.append(found[at])
        at = link[at]
    chain.reverse()
    # One bare mention is no structure at all.
    return chain if len(chain) > 1 or chain[0].score >= 2.5 else []


def _index_end(chain: Sequence[Candidate], text: str) -> int:
    """Where an index to pages ends that most of the chain are rows of; 0 where they are not."""
    rows = [
        after.start
        for row, after in itertools.pairwise(chain)
        if after.start - row.start < _ROW
        and "\n\n" not in text[row.start : after.start]
        and _TO_PAGES.search(text, row.start, after.start)
    ]
    return rows[-1] if len(rows) >= 5 and len(rows) >= 0.6 * (len(chain) - 1) else 0


def _first_of_each(chain: Sequence[Candidate], found: Sequence[Candidate]) -> list[Candidate]:
    """The chain with repeated headings (a head on every page) taken where they stand first."""
    out: list[Candidate] = []
    for chosen in chain:
        after = out[-1].start if out else -1
        same = (
            c
            for c in found
            if after < c.start <= chosen.start
            and c.label == chosen.label
            and c.score >= chosen.score - _REPEATED
        )
        out.append(next(same, chosen))
    return out


def _end(text: str, candidate: Candidate, after: Candidate | None, small: bool) -> int:
    """Where the item ends: at the next one's part line or heading, or where other matter begins."""
    start, number = candidate.start, candidate.numbers[-1]
    end = after.start if after else len(text)
    line = text.find("\n", start)
    heading = line if 0 <= line < end else end
    parts = list(_PART_LINE.finditer(text, max(heading - 1, end - _PART_REACH), end))
    if after and parts:
        end = parts[-1].start() + 1
    end = _signatures(text, heading, end, after is None)
    exhibits = {"14", "15", "13" if small else "15"}.intersection(candidate.numbers)
    if after is None or exhibits or number in ("9B", "9C", "16"):
        match = _AUDITORS.search(text, heading, end)
        end = match.start() if match else end
        for pattern in (_SCHEDULE, _APPENDED):
            match = pattern.search(text, heading, end)
            if match and not _RESUMED.search(text, match.end(), end):
                end = match.start()
    for numbers, pattern in (
        ({"16"}, _EXHIBIT_INDEX),
        ({"3", "4"}, _OFFICERS),
        ({"9B", "9C"}, _ICFR),
    ):
        if number in numbers and (match := pattern.search(text, heading, end)):
            end = match.start()
    if number in _CLOSED and (answer := _answered(text, start, end)):
        end = answer
    return start + len(text[start:end].rstrip())


def _answered(text: str, start: int, end: int) -> int:
    """Where the item's one-word answer ends; 0 where its first paragraph is none."""
    piece = text[start : min(end, start + 900)]
    for line in re.finditer(r"[^\n]+", piece):
        if _ANSWER.match(line.group()):
            return start + line.end()
        if line.start() > 400 or (line.start() and len(line.group()) > 160):
            return 0
    return 0


def _signatures(text: str, start: int, end: int, last: bool) -> int:
    """Where the signature page begins between `start` and `end`, else `end`.

    Behind the last item the clause that is signed will do, where no heading stands.
    """
    places = sorted(
        line
        for word in ("SIGNATURE", "Signature", "S I G N A")
        for at in occurrences(text, word, start, end)
        if ((line := text.rfind("\n", max(0, at - _INDENT), at) + 1) or at < _INDENT)
        and _SIGNATURES.match(text, line)
    )
    for place in places:
        if _PURSUANT.search(text, place, place + 600):
            return place
    if last and not places and (match := _CLAUSE.search(text, start, end)):
        places.append(match.start())
    return places[0] if places else end


def _flags(text: str, candidate: Candidate, after: Candidate | None, end: int) -> tuple[str, ...]:
    start, numbers = candidate.start, candidate.numbers
    length = end - start
    if (length <= _SHORT and _REFERENCE.search(text, start, end)) or (
        length <= _VERY_SHORT and _POINTER.search(text, start, end)
    ):
        return ("incorporated_by_reference",)
    longest = max(_LONGEST.get(n, len(text)) for n in numbers)
    short = length < 500 and not _CORE.isdisjoint(numbers)
    # Item 7 up to Item 9 may well hold Item 8, whose heading was not seen.
    skips = after is not None and candidate.last < rank("8") and rank("8B") < after.first
    swallows = skips and length > _SWALLOWS
    if short or swallows or length > longest or length > _MOST_OF * len(text):
        return ("suspicious_size",)
    return ()


def _confidence(candidate: Candidate, flags: tuple[str, ...]) -> float:
    """0 to 1: a title is worth most, a link from the contents as much as a heading's capitals."""
    value = 0.6 + 0.1 * max(-2.0, min(candidate.score, 4.0))
    return round(value * (0.5 if "suspicious_size" in flags else 1.0), 2)
