"""What of a generation is not new: what it repeats, what it copies out of train, whom it names.

A word is what `corpus.ngrams` takes for one: a run of letters and digits, ASCII in lower case; so
case, punctuation and line ends make no difference. A span counts from `LEAST` words. Train is
read a row group at a time, and 5-grams that no text has are left at once, so that any number of
texts costs one pass at about the speed at which words are hashed.
"""

import dataclasses
import re
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from domainlm.corpus import privacy
from domainlm.corpus.ngrams import Hashes, mixed, ngram_hashes, word_hashes
from domainlm.evaluation.evidence import Personal

LEAST = 5  # words of a span: shorter ones are everywhere
ANY = "any"  # in the place of a kind: all kinds of personal data
WORD = re.compile("[0-9A-Za-z\u00c0-\u1fff\u2c00-\u2fff]+|[\u3000-\ud7ff\ue000-\U0010ffff]")
_STEP = np.uint64(0x9E3779B97F4A7C15)  # odd

Ints = npt.NDArray[np.int64]


@dataclasses.dataclass(frozen=True)
class Copy:
    """The longest span of a text that stands in train: `text` as the text has it, `words` long.

    `source` is the title of a document that has it. No words: no span of `LEAST` words.
    """

    words: int = 0
    text: str = ""
    source: str = ""


@dataclasses.dataclass(frozen=True)
class _Chains:
    """Chains of as many consecutive 5-grams: their hashes, where they begin, where texts end."""

    hashes: Hashes
    places: Ints
    ends: Ints

    def where(self, kept: Any) -> "_Chains":
        return _Chains(self.hashes[kept], self.places[kept], self.ends[kept])

    def longer(self, grams: Hashes, length: int) -> "_Chains":
        """Those of `length` 5-grams with the next 5-gram, where their text has one more."""
        kept = self.where(self.places + length < self.ends)
        hashes = mixed(kept.hashes + grams[kept.places + length] * _STEP)
        return _Chains(hashes, kept.places, kept.ends)


def words(text: str) -> list[str]:
    """The words of `text`, ASCII in lower case."""
    return WORD.findall(text.encode("utf-8", "replace").lower().decode("utf-8"))


def distinct(text: str, n: int) -> float:
    """Different word n-grams / word n-grams (distinct-n: Li 2016); 1 where there are none."""
    found = words(text)
    grams = list(zip(*(found[place:] for place in range(n)), strict=False))
    return len(set(grams)) / len(grams) if grams else 1.0


def repetition(text: str) -> float:
    """Share of the word 4-grams that stand in `text` before (Welleck 2020): 0 repeats nothing."""
    return 1 - distinct(text, 4)


def pieces(path: Path, splits: Sequence[str], columns: Sequence[str]) -> Iterator[dict[str, Any]]:
    """`columns` (name -> values) of a documents file's rows of `splits`, a row group at a time."""
    with pq.ParquetFile(path) as file:
        for number in range(file.num_row_groups):
            table = file.read_row_group(number, columns=["split", *columns])
            rows = table.filter(pc.is_in(table["split"], pa.array(splits)))
            if len(rows):
                yield rows.to_pydict()


def find(path: Path, texts: Sequence[str]) -> list[Copy]:
    """For each text its longest span that stands in the `train` documents of one documents file.

    Of equal spans the one that comes first in the text, in the document that comes first. Spans
    are found by hashes and verified word by word.
    """
    grams, starts = ngram_hashes(texts, LEAST)
    owners = np.repeat(np.arange(len(texts)), np.diff(starts))
    order = np.argsort(grams)  # sorted needles keep the first search in the cache
    asked = _Chains(grams[order], order, starts[owners[order] + 1])
    mask = np.uint64((1 << max(10, (16 * len(grams)).bit_length())) - 1)
    known = np.zeros(int(mask) + 1, bool)  # tells nearly all other 5-grams apart
    known[grams & mask] = True

    own = [words(text) for text in texts]
    top = [(LEAST - 1, -1, "")] * len(texts)  # words, the first one's place, title
    for rows in pieces(path, ("train",), ("title", "uri", "text")):
        train, bounds = ngram_hashes(rows["text"], LEAST)
        places = np.flatnonzero(known[train & mask])
        ends = bounds[np.searchsorted(bounds, places, "right")]
        there = _Chains(train[places], places, ends)
        read: dict[int, list[str]] = {}
        found = _longest(asked, grams, owners, there, train, len(texts))
        found[:, 0] += LEAST - 1
        for text in np.flatnonzero(found[:, 0] > [size for size, *_ in top]).tolist():
            size, place, other = found[text].tolist()
            number = int(np.searchsorted(bounds, other, "right")) - 1
            if number not in read:
                read[number] = words(rows["text"][number])
            begin, other = place - int(starts[text]), other - int(bounds[number])
            if own[text][begin : begin + size] == read[number][other : other + size]:
                top[text] = (size, begin, rows["title"][number] or rows["uri"][number])
    return [_copy(text, *found) for text, found in zip(texts, top, strict=True)]


def best(found: Sequence[Sequence[Copy]]) -> list[Copy]:
    """Of each text the longest of what `find` gave for the files; of equal ones the first."""
    return [max(copies, key=lambda copy: copy.words) for copies in zip(*found, strict=True)]


def _longest(
    asked: _Chains, grams: Hashes, owners: Ints, there: _Chains, train: Hashes, texts: int
) -> Ints:
    """5-grams of each text's longest chain that train has, its place, its place there: (texts, 3).

    A chain is in train only if the one shorter by a 5-gram is. So both sides lose what the other
    does not have, and the rest is made longer until nothing is left; pairs are never listed.
    """
    found = np.zeros((texts, 3), np.int64)
    length = 1
    while len(asked.places) and len(there.places):
        hashes, first, inverse = np.unique(there.hashes, return_index=True, return_inverse=True)
        at = np.minimum(np.searchsorted(hashes, asked.hashes), len(hashes) - 1)
        same = hashes[at] == asked.hashes
        asked, at = asked.where(same), at[same]
        order = np.argsort(asked.places)  # of equal lengths the first in the text
        whose, one = np.unique(owners[asked.places[order]], return_index=True)
        one = order[one]
        found[whose, 0] = length
        found[whose, 1:] = np.stack([asked.places[one], there.places[first[at[one]]]], axis=1)
        hit = np.zeros(len(hashes), bool)
        hit[at] = True
        asked = asked.longer(grams, length)
        there = there.where(hit[inverse]).longer(train, length)
        length += 1
    return found


def _copy(text: str, size: int, begin: int, source: str) -> Copy:
    """The span of `size` words from word `begin` on, as `text` has it."""
    if begin < 0:
        return Copy()
    spans = [match.span() for match in WORD.finditer(text)]
    return Copy(size, text[spans[begin][0] : spans[begin + size - 1][1]], source)


def personal(samples: Iterable[tuple[str, str]]) -> list[tuple[str, str, str]]:
    """(model, kind, string) of the personal data and secrets in `samples`: (model, text)."""
    return [
        (model, one.kind, text[one.start : one.end])
        for model, text in samples
        for one in privacy.find(text)
    ]


def standing(path: Path, strings: Collection[str]) -> set[str]:
    """Which of `strings` stand in the `train` documents of one documents file, whatever the case.

    A document is searched only where it has the longest word of a string.
    """
    keys: dict[str, list[str]] = {}
    for string in set(strings):
        keys.setdefault(max(words(string), key=len, default=""), []).append(string)
    hashes, _ = word_hashes(names := sorted(keys.keys() - {""}))
    order = np.argsort(hashes)
    hashes = hashes[order]
    found: set[str] = set()
    for rows in pieces(path, ("train",), ("text",)) if names else ():
        read, bounds = word_hashes(rows["text"])
        at = np.minimum(np.searchsorted(hashes, read), len(hashes) - 1)
        hit = np.flatnonzero(hashes[at] == read)
        owner = np.searchsorted(bounds, hit, "right") - 1
        for code in np.unique(owner * len(names) + order[at[hit]]).tolist():
            number, name = divmod(code, len(names))
            if missing := [one for one in keys[names[name]] if one not in found]:
                text = rows["text"][number].lower()
                found |= {one for one in missing if one.lower() in text}
    return found


def personal_rows(
    samples: Sequence[tuple[str, str]],
    strings: Sequence[tuple[str, str, str]],
    known: Collection[str],
) -> list[Personal]:
    """For each model a row of `ANY` kind, and one of each kind that any model wrote.

    `samples` is what `personal` was given and `strings` what it gave; `known` is the union of what
    `standing` gave for the files.
    """
    generations = Counter(model for model, _ in samples)
    kinds = sorted({kind for _, kind, _ in strings})
    rows = []
    for model, count in generations.items():
        for kind in (ANY, *kinds):
            of = [s for owner, k, s in strings if owner == model and kind in (ANY, k)]
            stand = sum(string in known for string in of)
            facts = {"generations": count, "found": len(of), "in_train": stand}
            rows.append(Personal(model=model, kind=kind, **facts))
    return rows
