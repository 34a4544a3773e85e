"""Where the items of an annual report begin and end: spans over clean text.

Every line that could be an item's heading is a candidate with a score (its title, its line, where
it stands). The headings are then the chain of candidates, in the order of Form 10-K and in the
order of the text, with the best sum of scores and of logarithms of section lengths: a table of
contents has all the headings but no text between them, so the body wins. Item numbers and titles
are those of Form 10-K (SEC 1673), old and new.
"""

import math
import re
from dataclasses import dataclass

from domainlm.corpus.documents import Section

# Words that begin an item's title in some version of the form since 1993.
TITLES: dict[str, tuple[str, ...]] = {
    "1": ("business", "description of business", "general", "description of the business"),
    "1A": ("risk factors", "risks"),
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
_ORDER = {number: i for i, number in enumerate(TITLES)}

# What may stand before "Item" on its line: a part's number, bullets, the bar of a table row.
_PREFIX = re.compile(r"[\s|•*#_\u2013—-]*(?:part\s+[ivx1-4]{1,3}[\s,.:;|\u2013—-]*)?", re.I)
_NUMBER = r"(\d{1,2}|l(?=[.:\s]))(?!\d)(?:[ .]?(?:([a-c])(?![a-z])|\(([a-c])\)))?"
_HEADING = re.compile(
    rf"items?[\s.|:]{{0,40}}(?:no\.?|number|\#)?\s{{0,40}}{_NUMBER}(?:\s?\(t\))?", re.I
)
_GLUED = re.compile(r"[Ii][Tt][Ee][Mm][Ss]?\s{0,40}(\d{1,2})([ABC])(?=[A-Z])")
_ROMAN = re.compile(r"items?\s{1,40}([IVX]{1,4})(?=[.:\s|\u2013—-])", re.I)
_NUMERALS = "I II III IV V VI VII VIII IX X XI XII"
_ROMANS = {r: str(i + 1) for i, r in enumerate(_NUMERALS.split())}
_AND = re.compile(
    r"[.,:;]?\s{0,20}(and|&|through|thru|to|,|/|-|\u2013)\s{0,20}(?:items?\s{0,20})?"
    r"(\d{1,2})(?!\d)(?:[ ]?(?:([a-c])(?![a-z])|\(([a-c])\)))?\.?",
    re.I,
)
_SEPARATOR = re.compile(r"[\s.:|,;)\]\u2013—*_#-]*")
_PAGE_END = re.compile(
    r"(?:[\s|.]|^)(?:[A-Z]-?)?\d{1,3}(?:\s*[-\u2013,]\s*(?:[A-Z]-?)?\d{1,3})?\*?$"
)
_SIGNATURES = re.compile(r"^[ \t|*#]*(?:\d{1,2}\. )?SIGNATURES?[ \t|*:.]*$", re.I | re.M)
_PURSUANT = re.compile(r"pursuant\s+to\s+the\s+requirements", re.I)
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
_BARE = re.compile(r"^[ \t|*]{0,20}(\d{1,2}[A-Ca-c]?)[.:][ \t|]{1,20}(?=[A-Z])", re.M)
_PART_LINE = re.compile(r"\n[ \t|*-]*PART\s+(?:[IV]{1,3}|[1-4])[.:\s|,\u2013—*-]*$", re.I)
_LETTER_SPACED = re.compile(r"\bI T E M(S?)\b")

_MAX_CANDIDATES = 240  # the alignment is quadratic in this number, the rest linear in the text
_SHORT = 1500  # characters: an item that points elsewhere is at most so long,
_VERY_SHORT = 700  # or so long where it only says "see" or "is set forth"
_CORE = ("Item 1", "Item 1A", "Item 7", "Item 8")


@dataclass(frozen=True)
class _Candidate:
    start: int  # of the word "Item"
    first: int  # order of the (first) item number
    last: int  # order of the last one, where a heading combines several
    label: str
    score: float


def find_items(text: str) -> tuple[Section, ...]:
    """The items found in `text`: in order, never overlapping, each up to the next one.

    The last ends at the signatures, or at the end of the text. Flags:
    `incorporated_by_reference` (short, and says that its content is elsewhere), and
    `suspicious_size` (Item 1, 1A, 7 or 8 very short otherwise, or over 80 % of the text).
    """
    candidates = _candidates(text)
    chain = _best_chain(candidates, len(text))
    if len(chain) < 3 and (numbered := _numbered(text)):
        chain = max(chain, _best_chain(numbered, len(text)), key=len)
    if not chain:
        return ()
    ends = [_before_part(text, c.start) for c in chain[1:]]
    ends.append(_signatures(text, chain[-1].start))
    return tuple(
        Section(c.label, c.start, end, _flags(text, c.label, c.start, end))
        for c, end in zip(chain, ends, strict=True)
    )


def _candidates(text: str) -> list[_Candidate]:
    lower = text.lower()
    if len(lower) != len(text):  # a few letters change length; offsets must hold
        lower = "".join(c.lower() if len(c.lower()) == 1 else c for c in text)
    if "I T E M" in text:
        lower = _LETTER_SPACED.sub(lambda m: "item" + m[1].lower() + "   ", text).lower()
        lower = lower if len(lower) == len(text) else text.lower()
    found: list[_Candidate] = []
    at = lower.find("item")
    while at >= 0:
        line = lower.rfind("\n", 0, at) + 1
        if at - line <= 24 and _PREFIX.fullmatch(lower, line, at):
            source = text if text[at : at + 4].lower() == "item" else lower
            candidate = _candidate(source, at)
            if candidate is not None:
                found.append(candidate)
        at = lower.find("item", at + 4)
    return _thinned(_without_contents(found, len(text)))


def _numbered(text: str) -> list[_Candidate]:
    """Headings "3. LEGAL PROCEEDINGS" of reports that never say "Item"; only with their titles."""
    found = []
    for match in _BARE.finditer(text):
        number = match[1].upper()
        if number in _ORDER and _titled(number, text[match.end() : match.end() + 80]):
            order = _ORDER[number]
            found.append(_Candidate(match.start(1), order, order, f"Item {number}", 2.0))
    return _thinned(_without_contents(found, len(text)))


def _before_part(text: str, start: int) -> int:
    """Where the item before the heading at `start` ends: before a line "PART II" of its own."""
    part = _PART_LINE.search(text, max(0, start - 60), start)
    return part.start() + 1 if part else start


def _candidate(text: str, at: int) -> _Candidate | None:
    """The heading at `at`, or None where the words are a mention in a sentence."""
    head = text[at : at + 420]
    glued = _GLUED.match(head)
    match = glued if glued and _titled(glued[1] + glued[2], head[glued.end() :]) else None
    if match is not None:
        number, end = match[1] + match[2], match.end()
    elif match := _HEADING.match(head):
        letter = (match[2] or match[3] or "").upper()
        # A typed or scanned "Item l" is Item 1.
        number, end = match[1].lower().replace("l", "1").lstrip("0") + letter, match.end()
        if match[3] and number not in ("7A", "9A", "9B"):
            # "Item 1(a)" is the first part of Item 1, "Item 14(a)(1)" no heading at all.
            if letter != "A" or head[end : end + 1] == "(" or number[:-1] not in ("1", "14"):
                return None
            number = number[:-1]
        if number not in _ORDER and number[:-1] in _ORDER:
            number, end = number[:-1], end - 1
    elif (match := _ROMAN.match(head)) and match[1].upper() in _ROMANS:
        number, end = _ROMANS[match[1].upper()], match.end()
    if match is None or number not in _ORDER:
        return None
    numbers = [number]
    words = [f"Items {number}"]
    while more := _AND.match(head, end):
        extra = more[2].lstrip("0") + (more[3] or more[4] or "").upper()
        if extra not in _ORDER or _ORDER[extra] <= _ORDER[numbers[-1]]:
            break
        joint = more[1].lower()
        words.append(", " if joint in ",/" else " and " if joint in ("and", "&") else " to ")
        words.append(extra)
        numbers.append(extra)
        end = more.end()
    label = f"Item {number}" if len(numbers) == 1 else "".join(words)
    score = _score(head, end, numbers)
    if score is None:
        return None
    return _Candidate(at, _ORDER[numbers[0]], _ORDER[numbers[-1]], label, score)


def _titled(number: str, rest: str) -> bool:
    rest = rest[_SEPARATOR.match(rest).end() :] if rest else rest  # type: ignore[union-attr]
    rest = rest.lstrip("[(\"'“ ").lower()
    if rest.startswith("the "):
        rest = rest[4:]
    return " ".join(rest[:60].split()).startswith(TITLES[number])


def _score(head: str, end: int, numbers: list[str]) -> float | None:
    """How much the words after the number look like a heading; None: like a sentence."""
    rest = head[end:]
    separator = _SEPARATOR.match(rest)
    gap = separator.group() if separator else ""
    after = rest[len(gap) :]
    line = head.split("\n", 1)[0]
    if after[:1] in "\"”'\u2019," and "\n" not in gap:
        return None
    if "continued" in line.lower()[-30:]:
        return None
    titled = any(_titled(n, after) for n in numbers)
    if not titled and not after.lower().startswith(("[", "(reserved", "not applicable", "none")):
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


def _without_contents(found: list[_Candidate], size: int) -> list[_Candidate]:
    """Lower the score of dense runs that reach from the first items to the last: an index."""
    out: list[_Candidate] = []
    run: list[_Candidate] = []
    for candidate in [*found, None]:
        if run and (candidate is None or candidate.start - run[-1].start > 420):
            orders = {c.first for c in run}
            span = run[-1].start - run[0].start
            early, late = _ORDER["3"], _ORDER["8"]
            index = len(orders) >= 6 and min(orders) <= early and max(orders) >= late
            if index and span < max(6000, size // 10):
                run = [_Candidate(c.start, c.first, c.last, c.label, c.score - 2.5) for c in run]
            out += run
            run = []
        if candidate is not None:
            run.append(candidate)
    return out


def _thinned(found: list[_Candidate]) -> list[_Candidate]:
    """At most `_MAX_CANDIDATES`, the best ones, in the order of the text."""
    if len(found) <= _MAX_CANDIDATES:
        return found
    best = sorted(found, key=lambda c: -c.score)[:_MAX_CANDIDATES]
    return sorted(best, key=lambda c: c.start)


def _gain(characters: int) -> float:
    """Worth of a section's length: logarithmic, so that no one section outweighs the others."""
    return math.log2(1 + min(characters, 60_000) / 150)


def _best_chain(candidates: list[_Candidate], size: int) -> list[_Candidate]:
    """The chain with the best sum of scores and length gains, by dynamic programming."""
    best: list[float] = []
    link: list[int] = []
    for j, candidate in enumerate(candidates):
        value, before = 0.0, -1
        for i in range(j):
            other = candidates[i]
            if other.last < candidate.first:
                total = best[i] + _gain(candidate.start - other.start)
                if total > value:
                    value, before = total, i
        best.append(value + candidate.score)
        link.append(before)
    if not candidates:
        return []
    ends = [best[i] + _gain(size - c.start) for i, c in enumerate(candidates)]
    at = max(range(len(ends)), key=ends.__getitem__)
    chain: list[_Candidate] = []
    while at >= 0:
        chain.append(candidates[at])
        at = link[at]
    chain.reverse()
    # One bare mention is no structure at all.
    return chain if len(chain) > 1 or chain[0].score >= 2.5 else []


def _signatures(text: str, start: int) -> int:
    """Where the last item ends: the signature page after `start`, or the end of the text."""
    places = [m.start() for m in _SIGNATURES.finditer(text, start)]
    for place in places:
        if _PURSUANT.search(text, place, place + 600):
            return place
    return places[0] if places else len(text)


def _flags(text: str, label: str, start: int, end: int) -> tuple[str, ...]:
    length = end - start
    if (length <= _SHORT and _REFERENCE.search(text, start, end)) or (
        length <= _VERY_SHORT and _POINTER.search(text, start, end)
    ):
        return ("incorporated_by_reference",)
    if label in _CORE and (length < 500 or length > 0.8 * len(text)):
        return ("suspicious_size",)
    return ()
