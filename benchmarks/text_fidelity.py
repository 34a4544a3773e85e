"""How much of the text that Chromium shows of real filings is in ours, and nothing else.

    .venv/bin/python benchmarks/text_fidelity.py                  # the table, 64 filings
    .venv/bin/python benchmarks/text_fidelity.py --show 5         # and the worst, with contexts
    .venv/bin/python benchmarks/text_fidelity.py --only 0000320193 --verbose --json out.json

Chromium is the referee: `document.body.innerText` of the main document after loading, without
network, scripts of the document or images. Wanted are its characters in order, white space left
out, outside page furniture; the others of ours are extra ("hidden" if the page shows them
nowhere). Recall is a longest common subsequence between unique anchors. For what is extra, and
for the contexts shown, short chance matches between larger differences count as differences.

The same on both sides, as a matter of taste:
- NFC, and C1 controls read as cp1252 (as HTML itself does for numeric references);
- white space of any kind, soft hyphens, controls and characters without width left out;
- "|" left out, since " | " joins our cells (a literal one neither counts nor costs);
- where a style transforms letter case, Chromium is asked for the letters as they are written.

Bytes to characters and the choice of the main document are the product's own (`submission`), so
both are read from one string; tests/test_extract.py and tests/test_edgar.py judge those.

Page furniture is decided here, from Chromium's lines alone, never from ours. Page breaks are CSS
page breaks, <page>, <hr> of most of the page's width, and page numbers themselves. Furniture is
- number: a line (all of a table's row) that is only a page number, next to a page break or in a
  sequence of 4 pages, each 300 to 20,000 characters after the other;
- contents: "Table of Contents", "Back to contents", "Index" and the like alone, 3 times or more to
  the letter;
- running: 100 characters at most, the same beside 5 page breaks or more and seldom elsewhere,
  within 5 lines of the break and reached through other furniture only; digits may differ, save
  in what looks like a numbered heading; a sentence stands beside 10 breaks.
Furniture that we keep is not extra, either. Recall with furniture counted as wanted stands beside
the other, so what the definition does is in the open.
"""

import argparse
import csv
import hashlib
import html
import json
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
import unicodedata
from bisect import bisect_left
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path

from domainlm.corpus.edgar import filing as filings
from domainlm.corpus.edgar.submission import parse
from domainlm.corpus.edgar.tree import Filing
from domainlm.corpus.extract import Unreadable

ERAS = {"1993-2000": 2000, "2001-2008": 2008, "2009-2018": 2018, "2019-": 9999, "undated": None}
PACKS = ("annual-1993-2000", "annual-2001-2018", "annual-2019-2026", "annual-undated")
ENOUGH = 0.995
LEAK = 5  # characters of ours in a row that Chromium doesn't show
_PIECE = 12  # characters in a row that, shown elsewhere, make it no leak

BREAK = "\N{SYMBOL FOR FORM FEED}"
CELL = "\N{SYMBOL FOR UNIT SEPARATOR}"

# --- Chromium -----------------------------------------------------------------------------------

_PROBE = """<meta http-equiv="Content-Security-Policy" content="default-src 'none';
style-src 'unsafe-inline'; script-src 'nonce-probe'"><script nonce="probe">
const isPage = value => /^(page|always|left|right|recto|verso)$/.test(value)
const isShown = e => e.getClientRects().length > 0
const read = page => {
  const css = page.createElement("style")
  css.textContent = "* { text-transform: none !important }"
  page.head.append(css)
  const before = [], after = [], cells = []
  for (const e of page.body.querySelectorAll("*")) {
    const style = getComputedStyle(e)
    if (e.localName == "hr") {
      const wide = e.getBoundingClientRect().width > 0.6 * page.body.clientWidth
      if (wide && !e.closest("table")) after.push(e)
    } else if (e.localName == "page") after.push(e)
    else if (e.localName == "tr" && !e.querySelector("table"))
      cells.push(...[...e.cells].filter(c => c.textContent.trim() && isShown(c)).slice(1))
    if (isPage(style.breakBefore) && isShown(e)) before.push(e)
    if (isPage(style.breakAfter) && isShown(e)) after.push(e)
  }
  const sign = () => { const d = page.createElement("div"); d.textContent = "BREAK"; return d }
  for (const e of before) e.before(sign())
  for (const e of after) e.after(sign())
  for (const e of cells) e.prepend("CELL")
  return page.body.innerText
}
addEventListener("load", () => {
  const frames = [...document.querySelectorAll("iframe.fidelity")].map(f => f.contentDocument)
  const texts = (frames.length ? frames : [document]).map(read)
  const pre = document.createElement("pre")
  pre.textContent = texts.map(t => "REFEREE-BEGINS" + t + "REFEREE-ENDS").join("")
  document.documentElement.replaceChildren(pre)
})</script>""".replace("BREAK", BREAK).replace("CELL", CELL)
_DOCTYPE = re.compile(r"(?:\s|<!--.*?-->|<\?[^>]*>)*<!doctype[^>]*>", re.I | re.S)
_ANSWER = re.compile("REFEREE-BEGINS(.*?)REFEREE-ENDS", re.S)


def chromium_path() -> str:
    """The browser's path, "" where there is none."""
    return shutil.which("chromium") or shutil.which("chromium-browser") or ""


def shown(markup: str, cache: Path | None = None) -> str:
    """What Chromium shows of `markup`: its innerText, BREAK at page breaks, CELL between cells."""
    key = hashlib.sha256((_PROBE + markup).encode("utf-8", "replace")).hexdigest()
    kept = cache / f"{key}.txt" if cache else None
    if kept and kept.is_file():
        return kept.read_bytes().decode()
    # A doctype stays first: what comes before it would change the mode of the page.
    doctype = _DOCTYPE.match(markup)
    at = doctype.end() if doctype else 0
    (text,) = _answers(f"{markup[:at]}{_PROBE}{markup[at:]}")
    if cache and kept:
        cache.mkdir(parents=True, exist_ok=True)
        kept.write_bytes(text.encode())
    return text


def shown_each(markups: Sequence[str]) -> list[str]:
    """`shown` of small pages, all in one go (in frames, always in standards mode)."""
    frame = '<iframe class="fidelity" width="1000" srcdoc="{}"></iframe>'
    frames = "".join(frame.format(html.escape(markup)) for markup in markups)
    return _answers(f"<!DOCTYPE html>{_PROBE}{frames}")


def _answers(page: str) -> list[str]:
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        file = Path(folder, "page.html")
        file.write_bytes(f"\ufeff{page}".encode("utf-8", "replace"))
        flags = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"]
        flags += ["--disable-background-networking", "--disable-component-update"]
        flags += ["--disable-sync", "--disable-dev-shm-usage"]
        flags += ["--host-resolver-rules=MAP * ~NOTFOUND", f"--user-data-dir={folder}/profile"]
        done = subprocess.run(
            [chromium_path(), *flags, "--dump-dom", f"file://{file}"],
            capture_output=True,
            timeout=300,
            check=True,
        )
    answers = _ANSWER.findall(done.stdout.decode("utf-8", "replace"))
    if not answers:
        raise RuntimeError(f"Chromium gave no text: {done.stdout[:200]!r} {done.stderr[-500:]!r}")
    return [html.unescape(answer) for answer in answers]


# --- page furniture -----------------------------------------------------------------------------

_NUMBER = re.compile(
    r"(?:page )?[-\u2013\u2014|]{0,2} ?(?P<prefix>(?:[a-z]{1,2}|[ivx]{1,4}) ?[-\u2013.] ?)?"
    r"(?P<number>\d{1,3}|[ivxl]{1,7})\.? ?[-\u2013\u2014|]{0,2}(?: of \d{1,3})?",
    re.I,
)
_CONTENTS = re.compile(
    r"(?:(?:back|return|go) to )?(?:the )?(?:table of )?contents|(?:back|return) to (?:the )?top|"
    r"(?:back to )?index(?: to (?:consolidated )?financial statements)?|toc",
    re.I,
)
_ROMAN = {"i": 1, "v": 5, "x": 10, "l": 50}
_NEAR, _FAR = 300, 20_000  # characters between the numbers of neighbouring pages
_PAGES = 4  # page numbers that make a sequence
_REACH = 5  # lines on either side of a page break
_RUNNING = 100  # characters of a running head at most
_OFTEN = 5  # page breaks beside which it stands; twice as many for a sentence
_SENTENCE = re.compile(r"(?<!\bInc)(?<!\bCorp)(?<!\bLtd)(?<!\bCo)(?<=[a-z])\.$")
_HEADING = re.compile(  # keys: numbered headings differ in their numbers, too
    r"#\.|\(?#\)|(?!.*form #)(?:note|item|part|exhibit|schedule|section|article|fiscal|years?|"
    r"december)\b",
    re.I,
)


def furniture(lines: list[str]) -> dict[int, str]:
    """Which lines are page furniture, and of what kind; BREAK stands at page breaks."""
    kinds: dict[int, str] = {}
    contents = {i: line for i, line in enumerate(lines) if _CONTENTS.fullmatch(line)}
    often = Counter(contents.values())
    kinds.update((i, "contents") for i, line in contents.items() if often[line] >= 3)
    breaks = {i for i, line in enumerate(lines) if line == BREAK} | {-1, len(lines)}
    numbers = _page_numbers(lines, breaks, kinds)
    kinds.update(dict.fromkeys(numbers, "number"))

    keys = [re.sub(r"\d+", "#", line) for line in lines]
    edges = sorted(breaks | numbers)
    # Each line once, however many breaks are near it.
    beside = {j for i in edges for j in range(i - _REACH, i + _REACH + 1) if 0 <= j < len(lines)}
    all_keys, all_lines = Counter(keys), Counter(lines)
    near_keys, near_lines = Counter(keys[j] for j in beside), Counter(lines[j] for j in beside)

    def running(i: int) -> bool:
        line, key = lines[i], keys[i]
        if len(line) > _RUNNING or not any(map(str.isalpha, line)):
            return False
        least = _OFTEN * 2 if _SENTENCE.search(line) else _OFTEN
        same = near_lines[line] >= max(least, 0.6 * all_lines[line])
        alike = near_keys[key] >= max(least, 0.6 * all_keys[key])
        return same or (alike and "$" not in key and not _HEADING.match(key))

    for edge in edges:
        for way in (-1, 1):
            for j in range(edge + way, edge + way * (_REACH + 1), way):
                if not 0 <= j < len(lines) or not (j in kinds or j in breaks or running(j)):
                    break
                if j not in breaks:
                    kinds.setdefault(j, "running")
    return kinds


def _page_numbers(lines: list[str], breaks: set[int], kinds: dict[int, str]) -> set[int]:
    starts = [0]
    for line in lines:
        starts.append(starts[-1] + len(line))
    values: dict[int, tuple[str, int]] = {}
    for i, line in enumerate(lines):
        match = _NUMBER.fullmatch(line)
        if match:
            digits = match["number"].lower()
            number = int(digits) if digits.isdecimal() else _roman(digits)
            values[i] = (f"{(match['prefix'] or '').lower()}{digits.isdecimal()}", number)
    numbers = set()
    chains: dict[tuple[str, int], list[list[int]]] = defaultdict(list)  # by the last number
    for i, (style, number) in values.items():
        beside = (
            next((j for j in range(i + way, i + 3 * way, way) if j not in kinds), i)
            for way in (-1, 1)
        )
        if any(j in breaks for j in beside):
            numbers.add(i)
        earlier = [
            chain
            for chain in chains[style, number - 1]
            if _NEAR <= starts[i] - starts[chain[-1]] <= _FAR
        ]
        chain = [*max(earlier, key=len, default=[]), i]
        chains[style, number].append(chain)
        if len(chain) >= _PAGES:
            numbers.update(chain[-_PAGES:])
    return numbers


def _roman(digits: str) -> int:
    values = [_ROMAN[d] for d in digits]
    return sum(-v if v < w else v for v, w in pairwise([*values, 0]))


# --- characters ---------------------------------------------------------------------------------

_C1 = {c: bytes([c]).decode("cp1252", "ignore") for c in range(0x80, 0xA0)}
_DROPPED = {
    **{c: "" for c in (*range(32), 127) if not chr(c).isspace()},
    **dict.fromkeys(
        map(ord, f"|{BREAK}{CELL}\u00ad\u200b\u200c\u200d\u200e\u200f\u2060\ufeff"), ""
    ),
}


def squashed(text: str) -> str:
    """The characters that are compared; see the top of the module."""
    text = unicodedata.normalize("NFC", text.translate(_C1).translate(_DROPPED))
    return "".join(text.split())


_CELL = re.compile(rf"\s*{CELL}\s*")  # paragraphs in cells put each on a line of its own


def wanted(text: str) -> tuple[str, bytearray, Counter[str]]:
    """Chromium's characters, 1 for each in page furniture, and the excluded lines by kind."""
    text = _CELL.sub("\t", text)
    lines = [" ".join(line.split()) for line in text.split("\n")]
    lines = [line for line in lines if line.strip("|")]
    kinds = furniture(lines)
    pieces: list[str] = []
    flags = bytearray()
    excluded: Counter[str] = Counter()
    for i, line in enumerate(lines):
        if line == BREAK:
            continue
        piece = squashed(line)
        pieces.append(piece)
        flags += (b"\1" if i in kinds else b"\0") * len(piece)
        if i in kinds:
            excluded[f"{kinds[i]}: {re.sub('[0-9]+', '#', line)}"] += 1
    return "".join(pieces), flags, excluded


# --- the longest common subsequence ---------------------------------------------------------------

Block = tuple[int, int, int]  # start in a, start in b, length
Blocks = list[Block]
Change = Callable[[Block, Block], int]  # characters that differ between two blocks
_QUICK = 1_000_000  # characters squared: no anchors needed
_SMALL = 100_000_000  # bits of memory for an exact alignment with its way back


def common(a: str, b: str) -> Blocks:
    """Matching blocks in order: exact between anchors, which occur once in each."""
    blocks: Blocks = []
    _common(a, 0, len(a), b, 0, len(b), 40, blocks)
    merged: Blocks = []
    for i, j, n in blocks:
        if merged and (merged[-1][0] + merged[-1][2], merged[-1][1] + merged[-1][2]) == (i, j):
            merged[-1] = (*merged[-1][:2], merged[-1][2] + n)
        else:
            merged.append((i, j, n))
    return merged


def _common(a: str, i: int, m: int, b: str, j: int, n: int, size: int, out: Blocks) -> None:
    """Blocks of a[i:m] and b[j:n]."""
    head = _prefix(a, i, m, b, j, n)
    if head:
        out.append((i, j, head))
        i, j = i + head, j + head
    tail = _suffix(a, i, m, b, j, n)
    m, n = m - tail, n - tail
    if i < m and j < n:
        if (m - i) * (n - j) <= _QUICK or not size:
            _exact(a[i:m], b[j:n], i, j, out)
        else:
            smaller = {40: 16, 16: 0}[size]
            top, left = i, j
            for p, q in _anchors(a[i:m], b[j:n], size):
                p, q = p + top, q + left
                if p < i or q < j:  # inside what the last anchor's run covered
                    continue
                _common(a, i, p, b, j, q, smaller, out)
                length = _prefix(a, p, m, b, q, n)
                out.append((p, q, length))
                i, j = p + length, q + length
            _common(a, i, m, b, j, n, smaller, out)
    if tail:
        out.append((m, n, tail))


def _prefix(a: str, i: int, m: int, b: str, j: int, n: int) -> int:
    length, most, step = 0, min(m - i, n - j), 64
    while length < most:
        end = min(length + step, most)
        if a[i + length : i + end] == b[j + length : j + end]:
            length, step = end, step * 2
        elif step > 1:
            step = max(1, min(step, most - length) // 2)
        else:
            break
    return length


def _suffix(a: str, i: int, m: int, b: str, j: int, n: int) -> int:
    length, most, step = 0, min(m - i, n - j), 64
    while length < most:
        end = min(length + step, most)
        if a[m - end : m - length] == b[n - end : n - length]:
            length, step = end, step * 2
        elif step > 1:
            step = max(1, min(step, most - length) // 2)
        else:
            break
    return length


def _anchors(a: str, b: str, size: int) -> list[tuple[int, int]]:
    """Places of pieces that occur once in each, in the longest increasing order."""
    at: dict[str, int] = {}
    for p in range(0, len(a) - size + 1, size // 2):
        at[a[p : p + size]] = p
    once = _once(a, size, at).keys() & (there := _once(b, size, at)).keys()
    pairs = sorted((at[piece], there[piece]) for piece in once)
    # Patience: the last pair of the best chain of each length.
    tops: list[int] = []
    ends: list[int] = []
    before: list[int] = []
    for index, (_, q) in enumerate(pairs):
        k = bisect_left(tops, q)
        before.append(ends[k - 1] if k else -1)
        if k == len(tops):
            tops.append(q)
            ends.append(index)
        else:
            tops[k], ends[k] = q, index
    chain = []
    index = ends[-1] if ends else -1
    while index >= 0:
        chain.append(pairs[index])
        index = before[index]
    return chain[::-1]


def _once(text: str, size: int, pieces: dict[str, int]) -> dict[str, int]:
    """Where those of the pieces are that occur in `text` once."""
    places: dict[str, int] = {}
    for i in range(len(text) - size + 1):
        piece = text[i : i + size]
        if piece in pieces:
            places[piece] = -1 if piece in places else i
    return {piece: i for piece, i in places.items() if i >= 0}


def _rows(a: str, b: str) -> Iterator[int]:
    """Hyyrö's bit-parallel rows: bit i is 0 where a[:i + 1] has one more match than a[:i]."""
    places: dict[str, int] = defaultdict(int)
    for i, character in enumerate(a):
        places[character] |= 1 << i
    full = (1 << len(a)) - 1
    row = full
    for character in b:
        met = row & places.get(character, 0)
        row = ((row + met) | (row - met)) & full
        yield row


def _exact(a: str, b: str, i: int, j: int, out: Blocks) -> None:
    if not a or not b:
        return
    if len(a) * len(b) > _SMALL and len(b) > 1:
        # Hirschberg: half of b, and the place in a where the two halves together match most.
        half = len(b) // 2
        (first,) = _last(_rows(a, b[:half]))
        (second,) = _last(_rows(a[::-1], b[half:][::-1]))
        ahead = _counts(first, len(a))
        behind = _counts(second, len(a))[::-1]
        cut = max(range(len(a) + 1), key=lambda k: ahead[k] + behind[k])
        _exact(a[:cut], b[:half], i, j, out)
        _exact(a[cut:], b[half:], i + cut, j + half, out)
        return
    rows = list(_rows(a, b))
    found: Blocks = []
    p, q = len(a), len(b)
    while p and q:
        if rows[q - 1] >> (p - 1) & 1:
            p -= 1
        else:
            q -= 1
            if not q or rows[q - 1] >> (p - 1) & 1:
                p -= 1
                found.append((i + p, j + q, 1))
    out.extend(reversed(found))


def _last(rows: Iterable[int]) -> Iterator[int]:
    last = 0
    for row in rows:
        last = row
    yield last


def _counts(row: int, length: int) -> list[int]:
    """Matches within each prefix, from a row's zeros."""
    bits = bin(row | 1 << length)[3:][::-1]
    counts = [0]
    for bit in bits:
        counts.append(counts[-1] + (bit == "0"))
    return counts


# --- one filing ---------------------------------------------------------------------------------


@dataclass(frozen=True)
class Difference:
    """A stretch that is missing (outside furniture) or extra, with what surrounds it there."""

    at: int
    missing: str
    extra: str
    before: str
    after: str


@dataclass
class Comparison:
    """Counts are characters; `wanted` are Chromium's outside furniture."""

    wanted: int
    found: int
    furniture: int
    found_of_all: int
    ours: int
    extra: int
    leaks: list[str] = field(repr=False)  # runs of ours that the page shows nowhere
    moved: list[str] = field(repr=False)  # runs of ours that it shows elsewhere
    differences: list[Difference] = field(repr=False)
    excluded: Counter[str] = field(repr=False)

    @property
    def recall(self) -> float:
        return self.found / self.wanted if self.wanted else 1.0

    @property
    def recall_of_all(self) -> float:
        """With page furniture counted as wanted."""
        return self.found_of_all / max(1, self.wanted + self.furniture)

    @property
    def precision(self) -> float:
        return 1 - self.extra / self.ours if self.ours else 1.0


def compare(chromium: str, ours: str) -> Comparison:
    """`ours` against what Chromium shows."""
    a, flags, excluded = wanted(chromium)
    b = squashed(ours)
    proper = "".join(c for c, flag in zip(a, flags, strict=True) if not flag)
    blocks = common(proper, b)
    differences = [
        Difference(i, proper[i:m], "", proper[max(0, i - 40) : i], proper[m : m + 40])
        for i, m in _missing(blocks, len(proper), len(b))
    ]
    leaks: list[str] = []
    moved: list[str] = []
    extra = 0
    everything = common(a, b)
    for i, j, n in _surplus(everything, flags, len(b)):
        surplus = b[j:n]
        extra += len(surplus)
        unshown = list(_unshown(surplus, a))
        leaks += unshown
        if len(surplus) >= LEAK and not unshown:
            moved.append(surplus)
        if surplus:
            at = i - flags.count(1, 0, i)
            differences.append(Difference(at, "", surplus, b[max(0, j - 40) : j], b[n : n + 40]))
    return Comparison(
        wanted=len(proper),
        found=sum(n for _, _, n in blocks),
        furniture=len(a) - len(proper),
        found_of_all=sum(n for _, _, n in everything),
        ours=len(b),
        extra=extra,
        leaks=leaks,
        moved=moved,
        differences=sorted(differences, key=lambda d: d.at),
        excluded=excluded,
    )


def _unshown(surplus: str, a: str) -> Iterator[str]:
    """Runs of LEAK characters and more that are not parts of longer pieces found in `a`."""
    if surplus in a:
        return
    run, i = "", 0
    while i < len(surplus):
        piece = surplus[i : i + _PIECE]
        if len(piece) == _PIECE and piece in a:
            size = _PIECE
            while i + size < len(surplus) and surplus[i : i + size + 1] in a:
                size += 1
            if len(run) >= LEAK:
                yield run
            run, i = "", i + size
        else:
            run, i = run + surplus[i], i + 1
    if len(run) >= LEAK:
        yield run


def _without_chance(blocks: Blocks, m: int, n: int, change: Change) -> Blocks:
    """Without blocks no longer than the changes on both sides; an empty one at either end."""
    kept: Blocks = [(0, 0, 0)]
    for block in [*blocks, (m, n, 0)]:
        while len(kept) > 1:
            if kept[-1][2] > min(change(kept[-2], kept[-1]), change(kept[-1], block)):
                break
            kept.pop()
        kept.append(block)
    return kept


def _missing(blocks: Blocks, m: int, n: int) -> Iterator[tuple[int, int]]:
    """Stretches of `a` that are in no block; what we have beside it is furniture or extra."""
    kept = _without_chance(blocks, m, n, lambda left, right: right[0] - left[0] - left[2])
    for (i, _, length), (p, _, _) in pairwise(kept):
        if p > i + length:
            yield i + length, p


def _surplus(blocks: Blocks, flags: bytearray, n: int) -> Iterator[tuple[int, int, int]]:
    """Where stretches of `b` that are in no block stand: in a, in b and their end in b."""

    def change(left: Block, right: Block) -> int:
        i, j = left[0] + left[2], left[1] + left[2]
        return max(flags.count(0, i, right[0]), right[1] - j)

    kept = _without_chance(blocks, len(flags), n, change)
    for (i, j, length), (_, q, _) in pairwise(kept):
        if q > j + length:
            yield i + length, j + length, q


# --- the filings --------------------------------------------------------------------------------


@dataclass(frozen=True)
class Sample:
    """A filing of a manifest."""

    path: Path
    name: str
    form: str
    era: str
    company: str


def era_of(row: dict[str, str]) -> str:
    year = (row["period"] or row["filed"] or row["fiscal_year"])[:4]
    if not year.isdecimal():
        return "undated"
    return next(era for era, last in ERAS.items() if last and int(year) <= last)


def choose(root: Path, count: int, only: str = "") -> list[Sample]:
    """`count` HTML filings: eras in turn, within an era companies in turn, all in hash order."""
    queues: dict[str, Iterator[Sample]] = {}
    by_era: dict[str, list[Sample]] = defaultdict(list)
    for pack in PACKS:
        with (root / pack / "manifest.csv").open(newline="", encoding="utf-8") as file:
            for row in csv.DictReader(file):
                name = f"{pack}/{row['path']}"
                if only in name:
                    sample = Sample(root / name, name, row["form"], era_of(row), row["cik"] or name)
                    by_era[sample.era].append(sample)
    for era in ERAS:
        queues[era] = _in_turn(by_era[era])
    chosen: list[Sample] = []
    while queues and len(chosen) < count:
        for era in list(queues):
            found = next((s for s in queues[era] if is_html(s)), None)
            if found is None:
                del queues[era]
            elif len(chosen) < count:
                chosen.append(found)
    return sorted(chosen, key=lambda s: (list(ERAS).index(s.era), s.name))


def _in_turn(samples: list[Sample]) -> Iterator[Sample]:
    rounds: Counter[str] = Counter()
    order: list[tuple[int, int, Sample]] = []
    for sample in sorted(samples, key=lambda s: hashlib.sha256(s.name.encode()).digest()):
        order.append((rounds[sample.company], len(order), sample))
        rounds[sample.company] += 1
    return (sample for _, _, sample in sorted(order, key=lambda o: o[:2]))


def is_html(sample: Sample) -> bool:
    try:
        return parse(sample.path.read_bytes(), [sample.form]).is_html
    except Unreadable:
        return False


def judge(sample: Sample, cache: Path | None) -> Comparison:
    """One filing, the product's whole way against Chromium."""
    data = sample.path.read_bytes()
    filing = Filing(sample.name, sample.form, "", "", None, None, "")
    text, _, submission = filings.read_filing(data, filing, "keep")
    return compare(shown(submission.body, cache), text)


# --- the table ----------------------------------------------------------------------------------


def table(results: list[tuple[Sample, Comparison]]) -> str:
    """Each filing, then each era and all: recall (min, median, mean), extra, furniture."""
    lines = [
        f"{'filing':<54} {'shown':>9} {'furniture':>9} {'of all':>8} {'recall':>8} {'extra':>6} "
        f"{'leaks':>5}"
    ]
    for sample, c in results:
        name = sample.name.partition("/")[2][-54:]
        mark = "" if c.recall >= ENOUGH and not c.leaks else "  <--"
        share = c.furniture / max(1, c.furniture + c.wanted)
        lines.append(
            f"{name:<54} {c.wanted:>9,} {share:>9.2%} {c.recall_of_all:>8.3%} {c.recall:>8.3%} "
            f"{c.extra:>6,} {len(c.leaks):>5}{mark}"
        )
    lines += [
        "",
        f"{'era':<10} {'filings':>7} {'companies':>9} {'furniture':>9} {'of all':>8} "
        f"{'recall min':>10} {'median':>8} {'mean':>8} {'below':>5} {'precision':>9} {'leaks':>5}",
    ]
    for era, s in summary(results).items():
        lines.append(
            f"{era:<10} {s['filings']:>7} {s['companies']:>9} {s['furniture']:>9.2%} "
            f"{s['of all']:>8.3%} {s['min']:>10.3%} {s['median']:>8.3%} {s['mean']:>8.3%} "
            f"{s['below']:>5} {s['precision']:>9.4%} {s['leaks']:>5}"
        )
    return "\n".join(lines)


def summary(results: list[tuple[Sample, Comparison]]) -> dict[str, dict[str, float]]:
    """The figures of each era that has filings, and of all."""
    out = {}
    for era in (*ERAS, "all"):
        part = [(s, c) for s, c in results if era in (s.era, "all")]
        if not part:
            continue
        recalls = [c.recall for _, c in part]
        shown_all = sum(c.wanted + c.furniture for _, c in part)
        out[era] = {
            "filings": len(part),
            "companies": len({s.company for s, _ in part}),
            "furniture": sum(c.furniture for _, c in part) / max(1, shown_all),
            "of all": statistics.fmean(c.recall_of_all for _, c in part),
            "min": min(recalls),
            "median": statistics.median(recalls),
            "mean": statistics.fmean(recalls),
            "below": sum(r < ENOUGH for r in recalls),
            "precision": 1 - sum(c.extra for _, c in part) / max(1, sum(c.ours for _, c in part)),
            "leaks": sum(len(c.leaks) for _, c in part),
        }
    return out


def contexts(sample: Sample, c: Comparison, most: int) -> str:
    """The longest differences of a filing, in the order of the document."""
    longest = sorted(c.differences, key=lambda d: -len(d.missing) - len(d.extra))[:most]
    lines = [f"\n{sample.name}: recall {c.recall:.3%}, {len(c.differences)} differences"]
    for d in (d for d in c.differences if d in longest):
        kind, text = ("missing", d.missing) if d.missing else ("EXTRA", d.extra)
        lines.append(f"  ...{d.before}[{kind} {len(text)}: {_short(text)!r}]{d.after}...")
    return "\n".join(lines)


def _short(text: str) -> str:
    return text if len(text) <= 160 else f"{text[:100]} ... {text[-50:]}"


def main() -> int:
    arguments = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    add = arguments.add_argument
    add("--filings", type=Path, default=Path.home() / ".cache" / "domainlm" / "filings")
    add("--count", type=int, default=64, help="filings to compare")
    add("--only", default="", help="part of the path of the filings to compare")
    add("--show", type=int, default=0, help="the worst filings whose differences are printed")
    add("--contexts", type=int, default=12, help="differences printed of each")
    add("--verbose", action="store_true", help="print the lines excluded as page furniture")
    add("--json", type=Path, help="file for the figures")
    add("--cache", type=Path, default=Path.home() / ".cache" / "domainlm" / "chromium",
        help="folder that keeps what Chromium shows")  # fmt: skip
    options = arguments.parse_args()
    if not chromium_path():
        sys.exit("chromium is not installed (apt-get install chromium)")
    if not (options.filings / PACKS[0] / "manifest.csv").is_file():
        sys.exit(f"no unpacked filings in {options.filings} (--filings)")
    results = []
    for sample in choose(options.filings, options.count, options.only):
        started = time.perf_counter()
        results.append((sample, judge(sample, options.cache)))
        seconds = time.perf_counter() - started
        print(f"{sample.name} {seconds:.1f} s", file=sys.stderr, flush=True)
    print(table(results))
    worst = sorted(results, key=lambda r: (not r[1].leaks, r[1].recall))
    for sample, c in sorted(worst[: options.show], key=lambda r: r[1].recall):
        print(contexts(sample, c, options.contexts))
    for sample, c in results if options.verbose else []:
        print(f"\n{sample.name}: furniture")
        for line, count in c.excluded.most_common():
            print(f"  {count:>5} {line}")
    if options.json:
        rows = [
            {"filing": s.name, "era": s.era, "recall": c.recall, "wanted": c.wanted,
             "found": c.found, "furniture": c.furniture, "recall of all": c.recall_of_all,
             "ours": c.ours, "extra": c.extra, "leaks": c.leaks}
            for s, c in results
        ]  # fmt: skip
        options.json.write_text(json.dumps({"eras": summary(results), "filings": rows}, indent=1))
    return 0


if __name__ == "__main__":
    sys.exit(main())
