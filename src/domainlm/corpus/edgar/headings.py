"""Places of a report that may be the heading of an item, each with a score.

Numbers and titles are those of Form 10-K (SEC 1673) and Form 10-KSB (SEC 2336), old and new: Item 4
was the vote of security holders until 2010 and is mine safety since 2011; 1A, 1B and 9B came in
2005, 9C in 2021, 1C in 2023; Item 6 is reserved since 2021; exhibits were Item 14 until 2003.
"""

import bisect
import functools
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from domainlm.corpus.marks import Link

# Words that begin an item's title in some version of the form since 1993.
TITLES: dict[str, tuple[str, ...]] = {
    "1": ("business", "description of business", "general", "description of the business"),
    "1A": ("risk factors", "risks", "executive officers"),
    "1B": ("unresolved",),
    "1C": ("cybersecurity", "cyber"),
    "2": ("propert", "description of propert"),
    "3": ("legal", "description of legal"),
    "4": ("submission", "submissions", "mine", "removed", "reserved", "executive officers"),
    "5": ("market", "common stock", "price range", "common equity"),
    "6": ("selected", "reserved", "removed", "consolidated selected"),
    "7": ("management", "discussion", "md&a"),
    "7A": ("quantitative", "qualitative", "market risk", "disclosures about market"),
    "8": ("financial statement", "consolidated financial", "index to", "financial information"),
    "9": ("changes in", "change in", "disagreement"),
    "9A": ("controls", "evaluation of", "control"),
    "9B": ("other information",),
    "9C": ("disclosure", "foreign jurisdiction"),
    "10": ("directors", "identification of directors", "management", "executive officers"),
    "11": ("executive compensation", "executive", "management remuneration", "compensation"),
    "12": ("security ownership", "beneficial ownership", "ownership"),
    "13": ("certain", "transactions"),
    "14": ("principal account", "exhibit", "principal auditor", "controls", "principal"),
    "15": ("exhibit", "financial statement", "principal account"),
    "16": ("form 10", "exhibit", "summary", "principal account"),
}
# Form 10-KSB, of small businesses from 1993 to 2008, numbers in its own way.
TITLES_KSB: dict[str, tuple[str, ...]] = {
    **{n: TITLES[n] for n in ("1", "2", "3", "4", "5")},
    "6": (*TITLES["7"], "plan of operation"),
    "7": TITLES["8"],
    "8": TITLES["9"],
    "8A": TITLES["9A"],
    "8B": TITLES["9B"],
    "9": TITLES["10"],
    "10": TITLES["11"],
    "11": TITLES["12"],
    "12": TITLES["13"],
    "13": TITLES["15"],
    "14": TITLES["14"],
}

# What may stand before "Item" on its line: a part's number, bullets, the bar of a table row.
_PREFIX = re.compile(r"[\s|•*#_\u2013—-]*(?:part\s+[ivx1-4]{1,3}[\s,.:;|\u2013—-]*)?", re.I)
_HEADING = re.compile(
    r"items?[\s.|:]{0,40}(?:no\.?|number|\#)?\s{0,40}"
    r"(\d{1,2}|l(?=[.:\s]))(?!\d)(?:[ .]?(?:([a-d])(?![a-z])|\(([a-d])\)))?(?:\s?\(t\))?",
    re.I,
)
_GLUED = re.compile(r"[Ii][Tt][Ee][Mm][Ss]?\s{0,40}(\d{1,2})([ABC])(?=[A-Z])")
_ROMAN = re.compile(r"items?\s{1,40}([IVX]{1,4})(?=[.:\s|\u2013—-])", re.I)
_NUMERALS = "I II III IV V VI VII VIII IX X XI XII XIII XIV XV XVI"
_ROMANS = {r: str(i) for i, r in enumerate(_NUMERALS.split(), 1)}
_AND = re.compile(
    r"[.,:;]?\s{0,20}(and|&|through|thru|to|,|/|-|\u2013)\s{0,20}(?:and\s{1,20})?"
    r"(?:items?\s{0,20})?(\d{1,2})(?!\d)(?:[ ]?(?:([a-c])(?![a-z])|\(([a-c])\)))?\.?",
    re.I,
)
_SEPARATOR = re.compile(r"[\s.:|,;)\]\u2013—*_#-]*")
_PAGE_END = re.compile(
    r"(?:[\s|.]|^)(?:[A-Z]-?)?\d{1,3}(?:\s*[-\u2013,]\s*(?:[A-Z]-?)?\d{1,3})*\*?$"
)
_BARE = re.compile(r"^[ \t|*]{0,20}(\d{1,2}[A-Ca-c]?)[.:][ \t|]{1,20}(?=[A-Z])", re.M)
_LETTER_SPACED = re.compile(r"\bI T E M(S?)\b")
_POINTS = re.compile(
    r"(?:of part [iv]+ )?(?:\S+ ){0,2}?(?:are|is) (?:hereby )?(?:incorporated|omitted)", re.I
)
_ANSWERS = ("[", "(reserved", "reserved", "not applicable", "none", "omitted", "(omitted")

_MAX_CANDIDATES = 240  # the alignment is quadratic in this number, the rest linear in the text
_DENSE = 420  # characters from one row of a table of contents to the next, at most
_NEAR = 400  # characters between what a link leads to and the heading it means


@dataclass(frozen=True)
class Candidate:
    """A place that may be a heading. `score` is additive evidence: about 3 for a whole title."""

    start: int  # of the word "Item"
    numbers: tuple[str, ...]  # of the item, or of the items that a heading combines
    label: str
    score: float
    linked: bool = False  # a link of the table of contents leads here

    @functools.cached_property
    def first(self) -> int:
        """Rank of the first item in the order of the form."""
        return rank(self.numbers[0])

    @functools.cached_property
    def last(self) -> int:
        """Rank of the last item."""
        return rank(self.numbers[-1])


@functools.cache
def rank(number: str) -> int:
    """Order of an item number: 1 < 1A < 1B < 2 ..."""
    digits = number.rstrip("ABCD")
    return 5 * int(digits) + "ABCD".find(number[len(digits) :] or "-") + 1


def candidates(
    text: str, titles: dict[str, tuple[str, ...]], links: Sequence[Link]
) -> list[Candidate]:
    """Every line that may be an item's heading, in the order of the text."""
    found: list[Candidate] = []
    spaced = text
    if "I T E M" in text:
        spaced = _LETTER_SPACED.sub(
            lambda m: "ITEM" + m[1] + " " * (len(m[0]) - 4 - len(m[1])), text
        )
    for at in sorted(p for word in ("ITEM", "Item", "item") for p in occurrences(spaced, word)):
        line = text.rfind("\n", max(0, at - 25), at) + 1
        if at - line <= 24 and _PREFIX.fullmatch(text, line, at):
            candidate = _candidate(spaced, at, titles)
            if candidate is not None:
                found.append(candidate)
    return _thinned(_without_contents(_with_links(text, found, links, titles)))


def occurrences(text: str, word: str, start: int = 0, end: int | None = None) -> Iterator[int]:
    """Where `word` stands in text[start:end]; finding is ten times as fast as matching."""
    at = text.find(word, start, end)
    while at >= 0:
        yield at
        at = text.find(word, at + 1, end)


def numbered(text: str, titles: dict[str, tuple[str, ...]]) -> list[Candidate]:
    """Headings "3. LEGAL PROCEEDINGS" of reports that never say "Item"; only with their titles."""
    found = []
    for match in _BARE.finditer(text):
        number = match[1].upper()
        if _titled(number, text[match.end() : match.end() + 80], titles):
            found.append(Candidate(match.start(1), (number,), f"Item {number}", 2.0))
    return _thinned(_without_contents(found))


def _candidate(text: str, at: int, titles: dict[str, tuple[str, ...]]) -> Candidate | None:
    """The heading at `at`, or None where the words are a mention in a sentence."""
    head = text[at : at + 420]
    number, end = _first_number(head, titles)
    if not number:
        return None
    numbers, words = [number], [f"Items {number}"]
    while more := _AND.match(head, end):
        extra = more[2].lstrip("0") + (more[3] or more[4] or "").upper()
        if extra not in titles or rank(extra) <= rank(numbers[-1]):
            break
        joint = more[1].lower()
        words.append(", " if joint in ",/" else " and " if joint in ("and", "&") else " to ")
        words.append(extra)
        numbers.append(extra)
        end = more.end()
    label = f"Item {number}" if len(numbers) == 1 else "".join(words)
    score = _score(head, end, numbers, titles)
    return None if score is None else Candidate(at, tuple(numbers), label, score)


def _first_number(head: str, titles: dict[str, tuple[str, ...]]) -> tuple[str, int]:
    """The number that follows the word "Item", and where it ends; "" where there is none."""
    glued = _GLUED.match(head)
    if glued and _titled(glued[1] + glued[2], head[glued.end() :], titles):
        return glued[1] + glued[2], glued.end()
    if match := _HEADING.match(head):
        letter = (match[2] or match[3] or "").upper()
        # A typed or scanned "Item l" is Item 1.
        digits, end = match[1].lower().replace("l", "1").lstrip("0"), match.end()
        number = digits + letter
        if match[3] and number not in ("7A", "9A", "9B", "8A", "8B"):
            # "Item 1(a)" is the first part of Item 1, "Item 14(a)(1)" no heading at all.
            if letter != "A" or head[end : end + 1] == "(" or digits not in ("1", "14"):
                return "", 0
            number = digits
        if number in titles:
            return number, end
        # "Item 4A. Executive Officers" is no item of the form, but some print it as one.
        if letter and digits in titles and re.match(r"[.:]\s", head[end:]):
            return number, end
        return (digits, end - 1) if letter and digits in titles else ("", 0)
    if (match := _ROMAN.match(head)) and (number := _ROMANS.get(match[1].upper(), "")) in titles:
        return number, match.end()
    return "", 0


def _titled(number: str, rest: str, titles: dict[str, tuple[str, ...]]) -> bool:
    rest = rest[_SEPARATOR.match(rest).end() :] if rest else rest  # type: ignore[union-attr]
    rest = rest.lstrip("[(\"'“ ").lower()
    if rest.startswith("the "):
        rest = rest[4:]
    return " ".join(rest[:60].split()).startswith(titles.get(number) or ("\0",))


def _score(
    head: str, end: int, numbers: list[str], titles: dict[str, tuple[str, ...]]
) -> float | None:
    """How much the words after the number look like a heading; None: like a sentence."""
    rest = head[end:]
    separator = _SEPARATOR.match(rest)
    gap = separator.group() if separator else ""
    after = rest[len(gap) :]
    line = head.split("\n", 1)[0]
    if after[:1] in tuple("\"”'\u2019,") and "\n" not in gap:
        return None
    if "continued" in line.lower()[-30:]:
        return None
    titled = any(_titled(n, after, titles) for n in numbers)
    if len(numbers) > 1 and _POINTS.match(after):
        return 1.0  # "Items 10, 11, 12 and 13 are incorporated by reference ..." is all they are
    if not titled and not after.lower().startswith(_ANSWERS):
        if after[:1].islower() and "\n" not in gap:
            return None
        if gap.strip() == "" and "\n" not in gap and "  " not in gap:
            # "Item 7 Smith ...": neither a title nor a stop.
            return -1.5 if after else 0.0
        score = 0.0 if after else -0.5
    else:
        score = 3.0 if titled else 1.0
    if _PAGE_END.search(line.rstrip()) and len(line) < 220 and not line.rstrip().endswith("10-K"):
        # A row of a table of contents ends in a page, but so may a line "Item 5." alone.
        score -= 1.5 if len(line) - end > 3 else 0.0
    if head[:4].isupper():
        score += 0.5
    if len(line) > 260:
        score -= 1.0  # headings seldom share a line with their text, mentions always do
    return score


def _with_links(
    text: str, found: list[Candidate], links: Sequence[Link], titles: dict[str, tuple[str, ...]]
) -> list[Candidate]:
    """What the links of the page say: rows that are links are contents, what they lead to is not.

    A link whose target has no heading near it makes a candidate of the target, where the item's
    title stands there.
    """
    starts = [c.start for c in found]
    linked: dict[int, Candidate] = {}
    made: list[Candidate] = []
    contents: set[int] = set()
    for link in links:
        line = text.rfind("\n", 0, link.start) + 1
        first = bisect.bisect_left(starts, line)
        if first == len(found) or not found[first].start <= link.start < starts[first] + 300:
            continue
        row = found[first]
        contents.add(row.start)
        near = [
            c
            for c in found[
                bisect.bisect_left(starts, link.target - 60) : bisect.bisect_right(
                    starts, link.target + _NEAR
                )
            ]
            if c.numbers == row.numbers
        ]
        if near:
            linked[near[0].start] = near[0]
        elif any(_titled(n, text[link.target : link.target + 90], titles) for n in row.numbers):
            made.append(Candidate(link.target, row.numbers, row.label, 2.0, True))
    out = []
    for c in found:
        score = c.score - 3.0 * (c.start in contents) + 2.0 * (c.start in linked)
        out.append(replace(c, score=score, linked=c.start in linked))
    unique = {(c.start, c.label): c for c in made}
    return sorted([*out, *unique.values()], key=lambda c: c.start)


def _without_contents(found: list[Candidate]) -> list[Candidate]:
    """Lower the score of dense runs of candidates that come again later: an index, or contents."""
    out: list[Candidate] = []
    run: list[Candidate] = []
    later = {c.label: c.start for c in found}  # the last place of each label
    for candidate in [*found, None]:
        if run and (
            candidate is None
            or candidate.start - run[-1].start > _DENSE
            or candidate.label in {c.label for c in run}
        ):
            labels = {c.label for c in run}
            again = sum(1 for label in labels if later[label] > run[-1].start)
            if len(labels) >= 5 and again >= 0.6 * len(labels):
                run = [replace(c, score=c.score - 2.5) for c in run]
            out += run
            run = []
        if candidate is not None:
            run.append(candidate)
    return out


def _thinned(found: list[Candidate]) -> list[Candidate]:
    """At most `_MAX_CANDIDATES`, the best ones, in the order of the text."""
    if len(found) <= _MAX_CANDIDATES:
        return found
    best = sorted(found, key=lambda c: -c.score)[:_MAX_CANDIDATES]
    return sorted(best, key=lambda c: c.start)
