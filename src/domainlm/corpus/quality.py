"""Quality rules under the names of the field: Gopher's, C4's and FineWeb's.

Gopher: Rae et al. 2021, https://arxiv.org/abs/2112.11446, A1.1 and table A1; C4: Raffel et al.
2020, https://jmlr.org/papers/v21/20-074.html, and its code in TensorFlow Datasets; FineWeb: Penedo
et al. 2024, https://arxiv.org/abs/2406.17557. Where a paper leaves a choice, it is that of
datatrove 0.10, whose decisions `benchmarks/quality_parity.py` compares; but blank lines are not
lines here. All were made for English pages of the web: of annual reports with their figures most
fail `gopher_alphabetic_words`, `gopher_duplicate_5_grams` and `fineweb_duplicate_characters`. Left
out is C4's list of bad words.

A word is a run of letters and digits (numbers and abbreviations with their points), or a mark of
punctuation; about what spaCy's English tokenizer says. Lengths are in characters.
"""

import difflib
import re
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from functools import cached_property, lru_cache
from itertools import chain, islice, pairwise

import numpy as np
import numpy.typing as npt

from domainlm.errors import USAGE, DomainLMError

Integers = npt.NDArray[np.int32]

STOP_WORDS = frozenset(("the", "be", "to", "of", "and", "that", "have", "with"))
POLICY = (
    "terms of use", "privacy policy", "cookie policy", "uses cookies", "use of cookies",
    "use cookies",
)  # fmt: skip
SENTENCE_ENDS = tuple(  # Unicode's Sentence_Terminal, of scripts in wide use
    ".!?\u0589\u061f\u06d4\u0964\u0965\u104b\u1362\u17d4\u203c\u203d\u2047\u2048\u2049\u2e2e\u3002"
    "\ufe52\ufe56\ufe57\uff01\uff0e\uff1f\uff61"
)
LINE_ENDS = (".", "?", "!", '"', "'", "\u201d", "\u2019")  # "or end quotation mark"

_WORD = re.compile(
    r"[^\W\d_]\.(?:[^\W\d_]\.)+|[^\W_]+(?:[.,]\d+)*|['\u2019]s\b|--+|\.\.+|[^\w\s]|_"
)  # U.S. | words, 1,234.5 | 's | rules and leaders | other marks
_SENTENCE = re.compile(r"[.!?][\"')\]\u201d\u2019]*\s+(?=\S)|\n\s*(?=\S)")  # a break between two
_CITATION = re.compile(r"\[\d*\]|\[edit\]|\[citation needed\]")


def _cut(chunk: str) -> tuple[str, ...]:
    return tuple(_WORD.findall(chunk))


_cut_short = lru_cache(1 << 16)(_cut)


class _Document:
    """A text and what rules ask of it, each found once."""

    def __init__(self, text: str) -> None:
        self.text = text
        self._grams = 0, np.empty(0, np.int32), np.empty(0, np.int32)

    @cached_property
    def words(self) -> tuple[list[str], Integers]:
        """The different words, and every word as an index into them."""
        import pyarrow as pa
        import pyarrow.compute as pc

        text = pa.array([self.text.encode("utf-8", "replace")], pa.string())
        chunks = pc.utf8_split_whitespace(text).flatten().dictionary_encode()
        cut = [
            (c,) if c.isalpha() else _cut_short(c) if len(c) < 64 else _cut(c)
            for c in chunks.dictionary.to_pylist()
        ]
        words = pa.array(list(chain.from_iterable(cut)), pa.string()).dictionary_encode()
        ends = np.cumsum([0, *map(len, cut)], dtype=np.int32)
        ids = pa.ListArray.from_arrays(ends, words.indices).take(chunks.indices).flatten()
        return words.dictionary.to_pylist(), np.asarray(ids)

    @cached_property
    def ends(self) -> npt.NDArray[np.int64]:
        """Characters of the words before each word, and of all."""
        vocabulary, ids = self.words
        sizes = np.fromiter(map(len, vocabulary), np.int64, len(vocabulary))
        return np.concatenate([[0], np.cumsum(sizes[ids])])

    def words_with(self, holds: Callable[[str], bool]) -> npt.NDArray[np.bool_]:
        """Whether each word has a character that `holds`."""
        vocabulary, ids = self.words
        return np.array([holds(w) or any(map(holds, w)) for w in vocabulary], bool)[ids]

    def share_with(self, holds: Callable[[str], bool]) -> float:
        return _ratio(int(self.words_with(holds).sum()), len(self.words[1]))

    @cached_property
    def plain_words(self) -> tuple[int, int]:
        """Number and characters of the words that are not punctuation."""
        sizes = np.diff(self.ends)[self.words_with(str.isalnum)]
        return len(sizes), int(sizes.sum())

    @cached_property
    def lines(self) -> list[str]:
        """Lines that are not blank."""
        return [line for line in self.text.split("\n") if line and not line.isspace()]

    @cached_property
    def duplicate_lines(self) -> tuple[float, int]:
        return _duplicates(self.lines)

    @cached_property
    def duplicate_paragraphs(self) -> tuple[float, int]:
        parts = (part.lstrip("\n") for part in self.text.strip().split("\n\n"))
        return _duplicates([part for part in parts if part])

    def repeated(self, n: int) -> tuple[Integers, Integers]:
        """Where the n-grams are that the text has more than once, and a name for each of them.

        An n-gram has no equal where its first n - 1 words have none: few places are left soon.
        The last answer is kept, so that asking with growing `n` costs no more than the last.
        """
        vocabulary, ids = self.words
        size, places, names = self._grams
        if not 0 < size <= n:
            size, places, names = 1, np.arange(len(ids), dtype=np.int32), ids
        while size < n and len(places):
            twice = np.bincount(names, minlength=1)[names] > 1
            twice &= places < len(ids) - size
            places = places[twice]
            names = _named(names[twice] * np.int64(len(vocabulary)) + ids[places + size])
            size += 1
        self._grams = n, places, names
        twice = np.bincount(names, minlength=1)[names] > 1
        return places[twice], names[twice]

    def top_gram(self, n: int) -> float:
        """Share of characters in the n-gram that stands most often (of those, the first)."""
        ends = self.ends
        if len(ends) <= n:
            return 0.0
        places, names = self.repeated(n)
        times, place = 1, 0
        if len(places):
            counts = np.bincount(names)
            times, place = int(counts.max()), int(places[np.argmax(counts[names])])
        return _ratio(times * int(ends[place + n] - ends[place] + n - 1), len(self.text))

    def duplicate_grams(self, n: int) -> float:
        """Share of characters in n-grams that stood before; those counted do not overlap.

        As datatrove does: from left to right, an n-gram read before is counted and stepped over,
        another is read. Only those that are not the first of their kind are looked at.
        """
        places, names = self.repeated(n)
        if not len(places):
            return 0.0
        new = np.ones(len(names), bool)
        new[1:] = names[1:] > np.maximum.accumulate(names)[:-1]
        first = np.zeros(int(names.max()) + 1, np.int32)
        first[names[new]] = places[new]
        places, names = places[~new], names[~new]
        later = np.zeros(len(self.words[1]) + n, np.int32)
        later[places] = 1
        after = np.cumsum(later)[places + n - 1].data  # the next that does not overlap
        starts, firsts = places.data, first[names].data
        stepped_over = bytearray(len(later))  # words at which no n-gram was read
        read_later: set[int] = set()
        counted = []
        at, ones = 0, bytes((1,)) * (n - 1)
        while at < len(starts):
            if stepped_over[firsts[at]] and firsts[at] not in read_later:
                read_later.add(firsts[at])
                at += 1
            else:
                counted.append(at)
                stepped_over[starts[at] + 1 : starts[at] + n] = ones
                at = after[at]
        hits = places[counted]
        return _ratio(int((self.ends[hits + n] - self.ends[hits]).sum()), len(self.text))


def _ratio(part: float, whole: int) -> float:
    return part / whole if whole else 0.0


def _share(true: Iterable[bool], of: Sequence[str]) -> float:
    return _ratio(sum(true), len(of))


def _duplicates(texts: list[str]) -> tuple[float, int]:
    """Share of texts that stood before, and their characters."""
    counts = Counter(texts)
    characters = sum((times - 1) * len(t) for t, times in counts.items() if times > 1)
    return _ratio(len(texts) - len(counts), len(texts)), characters


def _named(keys: npt.NDArray[np.int64]) -> Integers:
    """Small numbers for keys: 0 for the first, and so on as they first appear."""
    import pyarrow as pa

    return np.asarray(pa.array(keys).dictionary_encode().indices)


def _symbol_ratio(d: _Document) -> float:
    symbols = max(d.text.count("#"), d.text.count("...") + d.text.count("…"))
    return _ratio(symbols, len(d.words[1]))


def _lines_from(d: _Document, marks: tuple[str, ...]) -> float:
    return _share((line.lstrip().startswith(marks) for line in d.lines), d.lines)


def _lines_to(d: _Document, marks: tuple[str, ...]) -> float:
    return _share((line.rstrip().endswith(marks) for line in d.lines), d.lines)


def _few_sentences(d: _Document) -> bool:
    text = d.text.strip()
    return len(list(islice(_SENTENCE.finditer(text), 4))) + bool(text) < 5


def _ended(line: str) -> bool:
    if line.endswith("]"):
        line = _CITATION.sub("", line)
    return line.endswith(LINE_ENDS) and not line.endswith("...")


Rule = Callable[[_Document], bool]  # True where a document fails

_GOPHER_QUALITY: dict[str, Rule] = {
    "gopher_word_count": lambda d: not 50 <= d.plain_words[0] <= 100_000,
    "gopher_mean_word_length": lambda d: not 3 <= _ratio(d.plain_words[1], d.plain_words[0]) <= 10,
    "gopher_symbol_ratio": lambda d: _symbol_ratio(d) > 0.1,
    "gopher_bullet_lines": lambda d: _lines_from(d, ("•", "-")) > 0.9,
    "gopher_ellipsis_lines": lambda d: _lines_to(d, ("...", "…")) > 0.3,
    "gopher_alphabetic_words": lambda d: d.share_with(str.isalpha) < 0.8,
    "gopher_stop_words": lambda d: len(STOP_WORDS.intersection(d.words[0])) < 2,
}
_GOPHER_REPETITION: dict[str, Rule] = {
    "gopher_duplicate_paragraphs": lambda d: d.duplicate_paragraphs[0] > 0.30,
    "gopher_duplicate_paragraph_characters": lambda d: (
        _ratio(d.duplicate_paragraphs[1], len(d.text)) > 0.20
    ),
    "gopher_duplicate_lines": lambda d: d.duplicate_lines[0] > 0.30,
    "gopher_duplicate_line_characters": lambda d: _ratio(d.duplicate_lines[1], len(d.text)) > 0.20,
    "gopher_top_2_gram": lambda d: d.top_gram(2) > 0.20,
    "gopher_top_3_gram": lambda d: d.top_gram(3) > 0.18,
    "gopher_top_4_gram": lambda d: d.top_gram(4) > 0.16,
    "gopher_duplicate_5_grams": lambda d: d.duplicate_grams(5) > 0.15,
    "gopher_duplicate_6_grams": lambda d: d.duplicate_grams(6) > 0.14,
    "gopher_duplicate_7_grams": lambda d: d.duplicate_grams(7) > 0.13,
    "gopher_duplicate_8_grams": lambda d: d.duplicate_grams(8) > 0.12,
    "gopher_duplicate_9_grams": lambda d: d.duplicate_grams(9) > 0.11,
    "gopher_duplicate_10_grams": lambda d: d.duplicate_grams(10) > 0.10,
}
_C4: dict[str, Rule] = {
    "c4_lorem_ipsum": lambda d: "lorem ipsum" in d.text.lower(),
    "c4_curly_bracket": lambda d: "{" in d.text,
    "c4_few_sentences": _few_sentences,
}
_FINEWEB: dict[str, Rule] = {
    "fineweb_line_punctuation": lambda d: _lines_to(d, SENTENCE_ENDS) < 0.12,
    "fineweb_short_lines": lambda d: _share((len(s) <= 30 for s in d.lines), d.lines) > 0.67,
    "fineweb_duplicate_characters": lambda d: (
        _ratio(d.duplicate_lines[1], len(d.text) - d.text.count("\n")) > 0.01
    ),
    "fineweb_new_lines": lambda d: _ratio(d.text.count("\n"), len(d.words[1])) > 0.3,
}
RULES = {**_GOPHER_QUALITY, **_GOPHER_REPETITION, **_C4, **_FINEWEB}
LINE_RULES: dict[str, Callable[[str], bool]] = {  # of a line without blanks at its ends
    "c4_long_word": lambda line: len(line) > 1000 and max(map(len, line.split())) > 1000,
    "c4_no_terminal_punctuation": lambda line: not _ended(line),
    "c4_short_line": lambda line: len(line.split(None, 2)) < 3,
    "c4_javascript": lambda line: "javascript" in line.lower(),
    "c4_policy": lambda line: any(phrase in line.lower() for phrase in POLICY),
}
GROUPS = {
    "gopher_quality": tuple(_GOPHER_QUALITY),
    "gopher_repetition": tuple(_GOPHER_REPETITION),
    "c4": (*LINE_RULES, *_C4),
    "fineweb": tuple(_FINEWEB),
}


def expand(names: Sequence[str]) -> tuple[str, ...]:
    """Names of rules and groups to names of rules, each once, lines first, in the tables' order.

    Raises `DomainLMError` (wrong usage) for a name that is neither.
    """
    wanted: set[str] = set()
    known = [*GROUPS, *LINE_RULES, *RULES]
    for name in names:
        if name not in known:
            close = difflib.get_close_matches(name, known, 1)
            raise DomainLMError(
                f"there is no quality rule {name!r}",
                where="clean.rules",
                why="".join(f"did you mean {near!r}?" for near in close),
                fix=f"groups: {', '.join(GROUPS)}; or single rules, such as {known[4]}",
                exit_code=USAGE,
            )
        wanted.update(GROUPS.get(name, (name,)))
    return tuple(name for name in (*LINE_RULES, *RULES) if name in wanted)


def failed(text: str, rules: Sequence[str]) -> str | None:
    """The first of `rules`, in the order of `RULES`, that the document fails; None if it holds.

    Judges the text as it is: take `dropped_lines` out first, as C4 does.
    """
    document = _Document(text)
    return next((name for name, fails in RULES.items() if name in rules and fails(document)), None)


def dropped_lines(text: str, rules: Sequence[str]) -> list[tuple[int, int, str]]:
    """Spans (characters) of the lines that line rules take out, and the first rule of each.

    A span has its line's end, and the blank lines after it where one is before it, so that what is
    left reads as if the line had never been there. Otherwise blank lines stay, unlike in C4.
    """
    active = [(name, drops) for name, drops in LINE_RULES.items() if name in rules]
    spans: list[tuple[int, int, str]] = []
    if not active:
        return spans
    begin = kept = 0  # kept: end of the last line kept, without its newline
    tail = 0  # spans before the last line kept
    after_blank = True
    for raw in text.split("\n"):
        end = min(begin + len(raw) + 1, len(text))
        line = raw.strip()
        if not line:
            if after_blank and len(spans) > tail and spans[-1][1] == begin:
                spans[-1] = (spans[-1][0], end, spans[-1][2])
            after_blank = True
        elif dropped := next((name for name, drops in active if drops(line)), None):
            spans.append((begin, end, dropped))
        else:
            kept, tail, after_blank = begin + len(raw), len(spans), False
        begin = end
    if len(spans) > tail:  # nothing is left after the last line kept: no blank lines either
        cuts = [kept, *(start for start, _, _ in spans[tail + 1 :]), len(text)]
        spans[tail:] = [(*cut, s[2]) for cut, s in zip(pairwise(cuts), spans[tail:], strict=True)]
    return spans
