"""Near-duplicates: MinHash in bands proposes pairs, the Jaccard of their shingles decides.

A document is the set of its word 5-grams (shingles). Its signature is the minima of 126 hashes of
the set, cut into bands; two documents that agree in a band are a candidate pair, which happens with
probability 1 - (1 - s^rows)^bands at Jaccard s (Broder 1997, "On the resemblance and containment
of documents"; Leskovec, Rajaraman, Ullman, "Mining of Massive Datasets", ch. 3). Three steps, each
by tasks of bounded memory: sketch a part of the corpus (`SketchWriter`), `match` a range of band
hashes over all parts, `verify` the pairs of a part. A document's id is `part << 32 | row`.
"""

import hashlib
import mmap
import os
from collections.abc import Generator, Iterator, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from domainlm.artifacts import Task, atomic_write, read_json, write_json
from domainlm.corpus import shuffle
from domainlm.corpus.ngrams import mixed, ngram_hashes
from domainlm.corpus.shuffle import between, changes

Array = npt.NDArray[Any]

OUTPUTS = (".bands.bin", ".shingles.bin", ".offsets.bin")  # rows without a header
SHINGLE = 5  # words
_HASHES = 126
_SEED = 2026
BAND = np.dtype([("hash", "<u8"), ("row", "<u4"), ("set", "<u4")])  # set: hash of all shingles
ENTRY = np.dtype([("hash", "<u8"), ("id", "<u8"), ("set", "<u8")])  # a band, of all parts
PAIR = np.dtype([("a", "<u8"), ("b", "<u8")])
SHINGLES, OFFSETS = np.dtype("<u4"), np.dtype("<i8")
LINK = np.dtype([("a", "<u8"), ("b", "<u8"), ("jaccard", "<f4")])
_CHUNK = 1 << 20, 1 << 12  # characters and documents sketched at once
_PARTITION = 12 << 20  # bytes of bands that a task matches
_ENTRIES = 1 << 20  # entries of bands in memory at once: a bucket of more is matched in pieces
_PAIRED = 1 << 18  # entries of which pairs are made at once, if buckets allow
_ALL = 16  # distinct documents of a bucket of which all pairs are candidates
_NEXT = 4  # in a larger one: each with so many that follow
_SHINGLES = 1 << 20  # shingles compared at once


def prefix(part: int) -> str:
    """Of the files of a part, from the run directory on: they are made where it is cleaned."""
    return f"corpus/parts/clean-{part:05d}"


def links(part: int) -> str:
    """The file of a part's links: structured (a, b, jaccard), a < b, sorted."""
    return f"corpus/parts/links-{part:05d}.npy"


def _matched(partition: int) -> str:
    return f"corpus/parts/pairs-{partition:05d}"


def bands(threshold: float) -> tuple[int, int]:
    """Bands and rows: the most rows that find 99.5 % of the pairs at the threshold."""
    for rows in range(_HASHES, 1, -1):
        count = _HASHES // rows
        if 1 - (1 - threshold**rows) ** count >= 0.995:
            return count, rows
    return _HASHES, 1


class SketchWriter:
    """Bands and shingles of one part of the corpus, whose documents come in order, in chunks."""

    def __init__(self, prefix: Path, threshold: float = 0.8) -> None:
        self.prefix = prefix
        self._shape = bands(threshold)
        self._rows = 0
        self._bands: list[Array] = []
        self._shingles: list[Array] = []
        self._sizes: list[Array] = []

    def add(self, texts: Sequence[str]) -> None:
        """Sketch the next documents, about `_CHUNK` of them at once."""
        begin = size = 0
        for end, text in enumerate(texts, 1):
            size += len(text)
            if size >= _CHUNK[0] or end - begin == _CHUNK[1] or end == len(texts):
                self._add(texts[begin:end])
                begin, size = end, 0

    def _add(self, texts: Sequence[str]) -> None:
        hashes, offsets = ngram_hashes(texts, SHINGLE)
        short = hashes >> np.uint64(32)
        document = np.repeat(np.arange(len(texts), dtype=np.uint64), np.diff(offsets))
        keys = np.sort(document << np.uint64(32) | short)
        keys = keys[changes(keys)]
        bounds = np.searchsorted(keys, np.arange(len(texts) + 1, dtype=np.uint64) << np.uint64(32))
        filled = np.flatnonzero(np.diff(bounds))
        if len(filled):
            sums = np.add.reduceat(mixed(keys & np.uint64(2**32 - 1)), bounds[filled])
            band = _bands(hashes, np.append(offsets[filled], offsets[-1]), *self._shape)
            entries = np.empty(band.shape, BAND)
            entries["hash"] = band
            entries["row"] = (filled + self._rows)[:, None]
            entries["set"] = sums[:, None] >> np.uint64(32)
            self._bands.append(entries.ravel())
        self._shingles.append(keys.astype(SHINGLES))
        self._sizes.append(np.diff(bounds))
        self._rows += len(texts)

    def close(self) -> None:
        """Write the files `OUTPUTS` of the prefix: bands by hash and row; shingles by document."""
        entries = np.concatenate([np.empty(0, BAND), *self._bands])
        entries = entries[np.argsort(entries["hash"], kind="stable")]  # rows are in order
        shingles = np.concatenate([np.empty(0, SHINGLES), *self._shingles])
        offsets = np.cumsum(np.concatenate([np.zeros(1, OFFSETS), *self._sizes]), dtype=OFFSETS)
        for ending, rows in zip(OUTPUTS, (entries, shingles, offsets), strict=True):
            with atomic_write(Path(f"{self.prefix}{ending}")) as file:
                file.write(rows.tobytes())


def _bands(hashes: Array, offsets: Array, count: int, rows: int) -> Array:
    """64-bit hashes of the bands of each document (none without shingles), documents x bands."""
    from array import array

    import rensa

    digests = rensa.RMinHash.digest_matrix_from_flat_token_hashes(
        hashes, offsets.astype(np.uint64), _HASHES, _SEED
    )
    joined = b"".join(array("I", row) for row in digests.to_rows())
    minima = np.frombuffer(joined, np.uint32).astype(np.uint64).reshape(-1, _HASHES)
    band = np.arange(1, count + 1, dtype=np.uint64) << np.uint64(32)
    for row in range(rows):
        band = mixed(band + minima[:, row : count * rows : rows])
    return band


def match(root: Path, arguments: dict[str, Any]) -> dict[str, int]:
    """Task: candidate pairs (a < b) of one range of band hashes over all parts.

    Documents of a bucket with the same shingles are a chain, of which the first stands for all.
    All pairs of those would grow with the square of their number, so in a bucket of more than
    `_ALL` each is paired with the `_NEXT` that follow: what is near is connected, by some path.
    Pairs are written as runs, each sorted and distinct, whose lengths stand in the account.
    """
    number, partitions = arguments["partition"], arguments["partitions"]
    low, high = shuffle.bounds(partitions)[number : number + 2]
    runs: list[int] = []
    capped: set[int] = set()
    digest = hashlib.sha256()
    output = _matched(number)
    with atomic_write(root / f"{output}.bin") as file:
        for entries in _pieces(
            [root / f"{prefix(n)}{OUTPUTS[0]}" for n in range(arguments["parts"])], low, high
        ):
            digest.update(entries.tobytes())
            pairs, large = _candidates(entries)
            file.write(pairs.tobytes())
            runs.append(len(pairs))
            capped.update(large)
    # The digest changes with any shingle, so that `verify` is done again though no pair changed.
    account = {"runs": runs, "capped_buckets": len(capped), "entries": digest.hexdigest()}
    write_json(root / f"{output}.json", account)
    return {f"{output}.bin": sum(runs)}


def _pieces(files: list[Path], low: int, high: int) -> Iterator[Array]:
    """Entries with hashes in [low, high) that are not alone in their bucket, by hash and id.

    Buckets are whole, but for one of more than `_ENTRIES`: it comes in pieces, each with the
    last documents of the piece before in front.
    """
    slices = []
    for part, file in enumerate(files):
        slices.append((part, *between(_mapped(file, BAND), "hash", low, high)))
    if sum(end - begin for _, begin, end in slices) > _ENTRIES and high - low > 1:
        part, begin, end = max(slices, key=lambda s: s[2] - s[1])
        pivot = int(_mapped(files[part], BAND)[(begin + end) // 2]["hash"])
        for start, stop in pairwise((low, pivot, pivot + 1, high)):
            yield from _pieces(files, start, stop)
        return
    last = np.empty(0, ENTRY)
    for group in _grouped(slices):
        columns = [last]
        for part, begin, end in group:
            rows = _mapped(files[part], BAND)[begin:end]
            columns.append(np.empty(len(rows), ENTRY))
            columns[-1]["hash"], columns[-1]["set"] = rows["hash"], rows["set"]
            columns[-1]["id"] = rows["row"] + np.uint64(part << 32)
        entries = np.concatenate(columns)
        order = np.argsort(entries["hash"], kind="stable")  # of one hash ids are in order
        same = ~changes(entries["hash"][order])
        same[:-1] |= same[1:]
        entries = entries[order[same]]
        starts = np.flatnonzero(changes(entries["hash"]))
        starts = starts[changes(starts // _PAIRED)]
        for begin, end in pairwise([*starts.tolist(), len(entries)]):
            yield entries[begin:end]
        last = entries[-_NEXT:].copy()


def _grouped(slices: list[tuple[int, int, int]]) -> Iterator[list[tuple[int, int, int]]]:
    """Slices in order, cut and grouped by `_ENTRIES`."""
    group, room = [], _ENTRIES
    for part, begin, end in slices:
        while begin < end:
            cut = min(end, begin + room)
            group.append((part, begin, cut))
            room -= cut - begin
            begin = cut
            if not room:
                yield group
                group, room = [], _ENTRIES
    yield group


def _candidates(entries: Array) -> tuple[Array, list[int]]:
    """Pairs of the entries of whole buckets, and the hashes of buckets that were capped."""
    entries = entries[np.lexsort((entries["id"], entries["set"], entries["hash"]))]
    fresh = changes(entries["hash"]) | changes(entries["set"])
    again = np.flatnonzero(~fresh)
    found = [_pairs(entries["id"], again - 1, again)]
    entries = entries[fresh]
    entries = entries[np.lexsort((entries["id"], entries["hash"]))]
    starts = np.flatnonzero(changes(entries["hash"]))
    sizes = np.diff(starts, append=len(entries))
    place, size = np.arange(len(entries)) - np.repeat(starts, sizes), np.repeat(sizes, sizes)
    for step in range(1, min(_ALL, sizes.max(initial=1))):
        later = np.flatnonzero((place >= step) & ((size <= _ALL) | (step <= _NEXT)))
        found.append(_pairs(entries["id"], later - step, later))
    return _distinct(found), entries["hash"][starts[sizes > _ALL]].tolist()


def _pairs(ids: Array, first: Array, second: Array) -> Array:
    pairs = np.empty(len(first), PAIR)
    pairs["a"], pairs["b"] = ids[first], ids[second]
    return pairs


def _distinct(found: list[Array]) -> Array:
    """The pairs of all arrays, sorted, each once."""
    pairs = np.concatenate([np.empty(0, PAIR), *found])
    pairs = pairs[np.lexsort((pairs["b"], pairs["a"]))]
    return pairs[changes(pairs["a"]) | changes(pairs["b"])]


def verify(root: Path, arguments: dict[str, Any]) -> dict[str, int]:
    """Task: of the candidate pairs whose a is of one part, those of Jaccard >= the threshold."""
    number, threshold = arguments["number"], arguments["threshold"]
    runs = _runs(root, arguments["partitions"], number << 32, (number + 1) << 32)
    pairs = _distinct(list(runs))
    # By the part of b, so that the files of one other part are open at a time.
    part = pairs["b"] >> np.uint64(32)
    order = np.argsort(part, kind="stable")
    pairs, part = pairs[order], part[order]
    jaccard = np.zeros(len(pairs))
    ours = _sketch(root / prefix(number))
    for begin, end in pairwise([*np.flatnonzero(changes(part)).tolist(), len(pairs)]):
        theirs = _sketch(root / prefix(int(part[begin])))
        a, b = (pairs[name][begin:end].astype("<u4").astype(int) for name in ("a", "b"))
        jaccard[begin:end] = _jaccard(ours, theirs, a, b, threshold)
    near = np.flatnonzero(jaccard >= threshold)
    found = np.empty(len(near), LINK)
    found["a"], found["b"], found["jaccard"] = pairs["a"][near], pairs["b"][near], jaccard[near]
    shuffle.write(root / links(number), np.sort(found, order=["a", "b"]))
    return {links(number): len(found)}


def _runs(root: Path, partitions: int, low: int, high: int) -> Iterator[Array]:
    """The pairs with `low <= a < high` of every run; copies, as views would keep files open."""
    for partition in range(partitions):
        pairs = _mapped(root / f"{_matched(partition)}.bin", PAIR)
        for run in read_json(root / f"{_matched(partition)}.json")["runs"]:
            begin, end = between(pairs[:run], "a", low, high)
            yield pairs[begin:end].copy()
            pairs = pairs[run:]


def _sketch(prefix: Path) -> tuple[Array, Array]:
    """Shingles of a part, and where those of each document begin."""
    shingles, offsets = (Path(f"{prefix}{ending}") for ending in OUTPUTS[1:])
    return _mapped(shingles, SHINGLES), _mapped(offsets, OFFSETS)


def _jaccard(
    ours: tuple[Array, Array], theirs: tuple[Array, Array], a: Array, b: Array, threshold: float
) -> Array:
    """Jaccard of the pairs of rows; 0 where the sizes alone put it below the threshold."""
    left, right = np.diff(ours[1])[a], np.diff(theirs[1])[b]
    jaccard = np.zeros(len(a))
    able = np.flatnonzero(np.minimum(left, right) / np.maximum(left, right) >= threshold)
    batch = np.cumsum((left + right)[able]) // _SHINGLES
    for begin, end in pairwise([*np.flatnonzero(changes(batch)).tolist(), len(able)]):
        some = able[begin:end]
        keys = np.concatenate([_keyed(*ours, a[some]), _keyed(*theirs, b[some])])
        keys.sort(kind="stable")  # two sorted runs
        both = keys[1:][keys[1:] == keys[:-1]] >> np.uint64(32)
        shared = np.bincount(both.astype(int), minlength=len(some))
        jaccard[some] = shared / (left[some] + right[some] - shared)
    return jaccard


def _keyed(shingles: Array, offsets: Array, rows: Array) -> Array:
    """Shingles of the rows, flat, with the place of the row in the upper 32 bits: sorted."""
    sizes = offsets[rows + 1] - offsets[rows]
    place = np.repeat(np.arange(len(rows)), sizes)
    at = np.arange(len(place)) + (offsets[rows] - np.cumsum(sizes) + sizes)[place]
    keys: Array = place.astype(np.uint64) << np.uint64(32) | shingles[at]
    return keys


def waves(
    parts: int, threshold: float, root: Path
) -> Generator[list[Task], None, tuple[list[str], list[str]]]:
    """Matching, then verifying, of the sketches of all parts, at their prefixes.

    Returns the files of links and the accounts of matching.
    """
    bands, shingles, _ = ([f"{prefix(n)}{end}" for n in range(parts)] for end in OUTPUTS)
    size = sum((root / file).stat().st_size for file in bands)
    count = 1 + size // _PARTITION
    pairs = [_matched(number) for number in range(count)]
    yield [
        Task(
            f"corpus/match-{number:05d}",
            match,
            {"parts": parts, "partition": number, "partitions": count},
            bands,
            (f"{path}.bin", f"{path}.json"),
            size=size // count,
        )
        for number, path in enumerate(pairs)
    ]
    found = [links(number) for number in range(parts)]
    yield [
        Task(
            f"corpus/verify-{number:05d}",
            verify,
            {"number": number, "partitions": count, "threshold": threshold},
            [f"{path}{ending}" for path in pairs for ending in (".bin", ".json")],
            (path,),
            size=(root / file).stat().st_size,
        )
        for number, (file, path) in enumerate(zip(shingles, found, strict=True))
    ]
    return found, [f"{path}.json" for path in pairs]


def _mapped(path: Path, kind: np.dtype[Any]) -> Array:
    """The rows of a file; a memory map, open as long as a view of it."""
    with open(path, "rb") as file:
        if not os.fstat(file.fileno()).st_size:
            return np.empty(0, kind)
        return np.frombuffer(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ), kind)
