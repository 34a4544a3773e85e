"""The leakage audit: how much of each held-out document stands in text that is trained on.

The measure is that of GPT-3's study of contamination (Brown et al. 2020, appendix C): n-grams of
13 words. A document's overlap is the share of its distinct 13-grams that stand anywhere in
`train` or `validation`. Beside it stands what a random split of the same documents would have
leaked: as many documents as `unseen` has, chosen by hash, against all others.

The audit reads the written documents alone, and nothing of the code that split them. Where the
held-out documents have more than `BUDGET` 13-grams, only those whose hashes are under 2^64 / k are
looked for: a sample of one in k, the same whatever the order, and k is stated.
"""

import heapq
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from domainlm.artifacts import Task, atomic_write, read_json, sha256_bytes, write_json
from domainlm.corpus import shuffle
from domainlm.corpus.documents import HELD_OUT, SPLITS, TRAINED
from domainlm.corpus.ngrams import Hashes, ngram_hashes
from domainlm.corpus.shuffle import changes

N = 13  # words
BUDGET = 1 << 24  # 13-grams of held-out documents compared: `collect` takes 35 bytes for each
RANDOM = 300  # most documents of the random split
LEAST = 50  # compared 13-grams from which a document can be over the limit (62 words)
SHOWN, BESIDE = 20, 3  # offending documents shown, and train documents beside each
IN_TRAIN, IN_OTHERS = 1, 2  # where a 13-gram was found: what overlap, and the random split, ask

AUDIT, ROWS = "corpus/audit.json", "corpus/audit.parquet"
_GRAMS = "corpus/parts/audit-grams.npy"  # distinct hashes, sorted
_BITS = "corpus/parts/audit-bits.npy"  # bit h mod 2^b is set for every hash h: tells most apart
_PLACES = "corpus/parts/audit-places.npy"  # each document's hashes, as indices of the above
_ENDS = "corpus/parts/audit-ends.npy"  # where each document's places end
_OWNERS = "corpus/parts/audit-owners.parquet"  # the documents, in the order of their places
_COLLECTED = "corpus/parts/audit-collected.json"
_MEASURED = "corpus/parts/audit-measured.json"
_COLUMNS = ["id", "uri", "group", "split", "text"]

Ints = npt.NDArray[np.int64]
Index = tuple[Hashes, npt.NDArray[np.uint8]]  # the collected hashes and their bits


def waves(
    root: Path, files: Sequence[str], limit: float, seed: int, budget: int = BUDGET
) -> Iterator[list[Task]]:
    """The tasks of the audit of the written document `files`; `limit` is that of `unseen`."""
    collected = (_GRAMS, _BITS, _PLACES, _ENDS, _OWNERS, _COLLECTED)
    asked = {"files": list(files), "seed": seed, "budget": budget}
    yield [Task("corpus/audit-collect", collect, asked, tuple(files), collected)]
    index = (_GRAMS, _BITS, _COLLECTED)
    tasks = _each(scan, files if read_json(root / _COLLECTED)["grams"] else (), index, "npy")
    yield tasks
    scans = [task.outputs[0] for task in tasks]
    asked = {"scans": scans, "limit": limit}
    inputs = (_PLACES, _ENDS, _OWNERS, _COLLECTED, *scans)
    yield [Task("corpus/audit-measure", measure, asked, inputs, (ROWS, _MEASURED))]
    found = read_json(root / _MEASURED)["offenders"]
    tasks = _each(trace, files if found else (), (*index, _PLACES, _MEASURED), "json")
    yield tasks
    traces = [task.outputs[0] for task in tasks]
    yield [Task("corpus/audit", audit, {"traces": traces}, (_MEASURED, *traces), (AUDIT,))]


def _each(
    function: Callable[..., Any], files: Sequence[str], index: Sequence[str], suffix: str
) -> list[Task]:
    """A task a documents file, each with one output."""
    name = f"audit-{function.__name__}"
    outputs = [f"corpus/parts/{name}-{n:05d}.{suffix}" for n in range(len(files))]
    return [
        Task(f"corpus/{name}-{n:05d}", function, {"file": f, "to": to}, (f, *index), (to,))
        for n, (f, to) in enumerate(zip(files, outputs, strict=True))
    ]


def over(root: Path) -> list[str]:
    """Lines for the user about `unseen` documents over the limit; none where there are none."""
    if not (root / AUDIT).is_file():
        return []
    found = read_json(root / AUDIT)
    unseen = found["splits"].get("unseen", {"over": 0})
    if not unseen["over"]:
        return []
    lines = [
        f"leakage: {unseen['over']:,} of {unseen['documents']:,} unseen documents have more than "
        f"{found['limit']:.1%} of their 13-grams in train"
    ]
    for pair in found["pairs"]:
        held, train = pair["held_out"], pair["train"]
        lines.append(
            f"  {held['uri']} (group {held['group']}): {held['overlap']:.1%}; "
            f"{train['share']:.1%} are in {train['uri']} (group {train['group']})"
        )
    return lines


def novelty(root: Path) -> dict[str, int]:
    """Decile of novelty (1 - overlap) in its split of each measured held-out document: 9 is new."""
    rows = pq.read_table(root / ROWS, columns=["id", "decile"]).to_pylist()
    return {row["id"]: row["decile"] for row in rows if row["decile"] is not None}


def collect(root: Path, arguments: dict[str, Any]) -> dict[str, int]:
    """Task: the distinct 13-grams of the held-out documents and of those of the random split."""
    files = [root / file for file in arguments["files"]]
    chosen = _choose(files, arguments["seed"])
    sampled, total = 1, 0
    kept: list[tuple[Hashes, Ints]] = []  # hashes, sorted in each document, and how many of each
    strings = [(name, pa.string()) for name in _COLUMNS[:-1]]
    owners = pa.schema([*strings, ("chosen", pa.bool_()), ("grams", pa.int64())])
    with atomic_write(root / _OWNERS) as file, pq.ParquetWriter(file, owners) as writer:
        for path in files:
            told = []
            for rows in _pieces(path, HELD_OUT, chosen):
                hashes, offsets = ngram_hashes([r["text"] for r in rows], N)
                each = [_distinct(hashes[a:b]) for a, b in pairwise(offsets)]
                for row, grams in zip(rows, each, strict=True):
                    del row["text"]
                    told.append({**row, "chosen": row["id"] in chosen, "grams": len(grams)})
                counts = np.array([len(grams) for grams in each])
                kept.append(_sample(np.concatenate(each), counts, sampled))
                total += len(kept[-1][0])
                while total > arguments["budget"]:
                    sampled *= 2
                    kept = [_sample(*piece, sampled) for piece in kept]
                    total = sum(len(piece) for piece, _ in kept)
            if told:
                writer.write_table(pa.Table.from_pylist(told, owners))
    # Indices of at most BUDGET grams: 32 bits do, with two more for the flags of `scan`.
    ends = np.cumsum(np.concatenate([[0], *(counts for _, counts in kept)]))
    flat = np.concatenate([np.empty(0, np.uint64), *(piece for piece, _ in kept)])
    kept.clear()
    order = np.argsort(flat)
    flat = flat[order]
    new = changes(flat)
    grams = flat[new]
    del flat
    places = np.empty(len(order), np.uint32)
    places[order] = np.cumsum(new, dtype=np.uint32) - np.uint32(1)
    bits = np.zeros(1 << max(3, len(grams).bit_length()), np.uint8)  # 8 to 16 bits a gram
    where = grams & np.uint64(8 * len(bits) - 1)
    np.bitwise_or.at(bits, where >> np.uint64(3), _bit(where))
    shuffle.write(root / _GRAMS, grams)
    shuffle.write(root / _BITS, bits)
    shuffle.write(root / _PLACES, places)
    shuffle.write(root / _ENDS, ends)
    account = {"sampled": sampled, "grams": len(grams), "chosen": sorted(chosen)}
    write_json(root / _COLLECTED, account)
    return {_OWNERS: len(ends) - 1}


def scan(root: Path, arguments: dict[str, Any]) -> dict[str, int]:
    """Task: which collected 13-grams stand in one documents file: 4 x index + where."""
    chosen = set(read_json(root / _COLLECTED)["chosen"])
    index = _index(root)
    found = np.zeros(len(index[0]), np.uint8)
    for rows in _pieces(root / arguments["file"], [s for s in SPLITS if s != "unused"]):
        trained = np.array([row["split"] in TRAINED for row in rows])
        others = np.array([row["id"] not in chosen for row in rows])
        flags = IN_TRAIN * trained | IN_OTHERS * others
        maybe, owner = _candidates([row["text"] for row in rows], index)
        for flag in (IN_TRAIN, IN_OTHERS, IN_TRAIN | IN_OTHERS):
            found[_places(maybe[flags[owner] == flag], index[0])] |= flag
    stand = np.flatnonzero(found)
    shuffle.write(root / arguments["to"], (stand << 2 | found[stand]).astype(np.uint32))
    return {arguments["to"]: len(stand)}


def measure(root: Path, arguments: dict[str, Any]) -> dict[str, int]:
    """Task: the overlap of each document, deciles, the splits' figures, and the offenders."""
    collected = read_json(root / _COLLECTED)
    sampled, limit = collected["sampled"], arguments["limit"]
    ends = np.load(root / _ENDS)
    compared = np.diff(ends)
    found = np.zeros(max(1, collected["grams"]), np.uint8)
    for path in arguments["scans"]:
        codes = np.load(root / path)
        found[codes >> 2] |= (codes & 3).astype(np.uint8)
    where = found[np.load(root / _PLACES)]
    # A few of a sample tell nothing of a document.
    known = compared >= (1 if sampled == 1 else LEAST)
    overlap = {}
    for flag in (IN_TRAIN, IN_OTHERS):
        shared = np.diff(np.concatenate([[0], np.cumsum((where & flag) > 0)])[ends])
        overlap[flag] = np.where(known, shared / np.maximum(compared, 1), np.nan)
    owners = pq.read_table(root / _OWNERS)
    split = np.array(owners["split"].to_pylist(), object)
    group = np.array(owners["group"].to_pylist(), object)
    parts = {name: split == name for name in HELD_OUT}
    # No stub ("see Exhibit 13") is over or the most. A sample's figure is over by four standard
    # errors, else of a million documents near the limit some would stop the run by chance.
    long = compared >= LEAST
    shares = overlap[IN_TRAIN]
    exceeds = {}
    for flag, p in overlap.items():
        doubt = 4 * np.sqrt(p * (1 - p) / np.maximum(compared, 1)) * (sampled > 1)
        exceeds[flag] = (p - doubt > limit) & long
    parts["random"] = np.array(owners["chosen"])
    splits = {}
    decile = np.zeros(len(split), np.int64)
    for name, part in parts.items():
        flag = IN_OTHERS if name == "random" else IN_TRAIN
        here = part & known
        if not here.any():
            continue
        values = overlap[flag][here]
        splits[name] = {
            "documents": len(values),
            "groups": len(set(group[here])),
            "median": round(float(np.median(values)), 6),
            "p90": round(float(np.quantile(values, 0.9)), 6),
            "max": round(float(max(values[long[here]], default=values.max())), 6),
            "over": int(exceeds[flag][here].sum()),
        }
        if name in HELD_OUT:  # the least novel first: equal ones have one decile
            decile[here] = 10 * np.searchsorted(np.sort(-values), -values) // len(values)
    held = parts["seen"] | parts["unseen"]
    table = owners.select(["id", "group", "split", "grams"])
    table = table.append_column("overlap", pa.array(shares, mask=~known))
    table = table.append_column("decile", pa.array(decile, mask=~known)).filter(pa.array(held))
    with atomic_write(root / ROWS) as file:
        pq.write_table(table, file, compression="zstd")
    worst = np.flatnonzero(exceeds[IN_TRAIN] & parts["unseen"])
    worst = worst[np.argsort(-shares[worst], kind="stable")][:SHOWN]
    offenders = owners.select(_COLUMNS[:-1]).take(worst).to_pylist()
    for n, row in zip(worst.tolist(), offenders, strict=True):
        row["overlap"] = round(float(shares[n]), 6)
        row["begin"], row["end"] = ends[n : n + 2].tolist()
    account = {
        "n": N, "sampled": sampled, "limit": limit, "splits": splits,
        "documents_too_short": int((held & ~known).sum()), "offenders": offenders,
    }  # fmt: skip
    write_json(root / _MEASURED, account)
    return {ROWS: table.num_rows}


def trace(root: Path, arguments: dict[str, Any]) -> None:
    """Task: of one documents file, the train documents with most of each offender's 13-grams."""
    offenders = read_json(root / _MEASURED)["offenders"]
    places = np.load(root / _PLACES, mmap_mode="r")
    index = _index(root)
    whose = np.zeros(len(index[0]), np.uint32)  # a bit an offender
    for number, held in enumerate(offenders):
        whose[places[held["begin"] : held["end"]]] |= np.uint32(1 << number)
    beside: list[list[dict[str, Any]]] = [[] for _ in offenders]
    for rows in _pieces(root / arguments["file"], TRAINED):
        maybe, owner = _candidates([row["text"] for row in rows], index)
        for n, row in enumerate(rows):
            bits = whose[_places(maybe[owner == n], index[0])]
            for number, held in enumerate(offenders):
                if count := int((bits >> np.uint32(number) & 1).sum()):
                    share = round(count / (held["end"] - held["begin"]), 6)
                    told = {key: row[key] for key in ("id", "uri", "group")}
                    beside[number].append({**told, "share": share})
        beside = [_first(rows) for rows in beside]
    write_json(root / arguments["to"], beside)


def audit(root: Path, arguments: dict[str, Any]) -> None:
    """Task: `audit.json`, with the pairs of offenders and the train documents they stand in."""
    found = read_json(root / _MEASURED)
    traces = [read_json(root / path) for path in arguments["traces"]]
    found["pairs"] = [
        {
            "held_out": {key: held[key] for key in ("id", "uri", "group", "split", "overlap")},
            "train": train,
        }
        for number, held in enumerate(found.pop("offenders"))
        for train in _first([row for beside in traces for row in beside[number]])
    ]
    write_json(root / AUDIT, found)


def _first(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return sorted(rows, key=lambda r: (-r["share"], r["id"]))[:BESIDE]


def _choose(files: Sequence[Path], seed: int) -> set[str]:
    """Ids of the random split: the first by hash of all documents that are not `unused`."""
    counts: Counter[str] = Counter()

    def ranked() -> Iterator[tuple[str, str]]:
        for path in files:
            for row in pq.read_table(path, columns=["id", "split"]).to_pylist():
                counts[row["split"]] += 1
                if row["split"] != "unused":
                    yield sha256_bytes(f"{seed}|random|{row['id']}".encode()), row["id"]

    first = heapq.nsmallest(RANDOM, ranked())
    return {id_ for _, id_ in first[: counts["unseen"]]}


def _pieces(
    path: Path, splits: Sequence[str], ids: Collection[str] = ()
) -> Iterator[list[dict[str, Any]]]:
    """Rows of a documents file, of `splits` or with one of `ids`, some at once."""
    names, also = pa.array(splits, pa.string()), pa.array(ids, pa.string())
    with pq.ParquetFile(path) as file:
        for batch in file.iter_batches(batch_size=64, columns=_COLUMNS):
            asked = pc.or_(pc.is_in(batch["split"], names), pc.is_in(batch["id"], also))
            if rows := batch.filter(asked).to_pylist():
                yield rows


def _sample(grams: Hashes, counts: Ints, sampled: int) -> tuple[Hashes, Ints]:
    """The hashes that a sample of one in `sampled` keeps, and how many of each document."""
    kept = grams <= np.uint64((2**64 - 1) // sampled)
    ends = np.concatenate([[0], np.cumsum(kept)])[np.cumsum([0, *counts])]
    return grams[kept], np.diff(ends)


def _index(root: Path) -> Index:
    return np.load(root / _GRAMS, mmap_mode="r"), np.load(root / _BITS, mmap_mode="r")


def _candidates(texts: Sequence[str], index: Index) -> tuple[Hashes, Ints]:
    """The 13-grams of `texts` that may be collected ones (a tenth of the others may), and whose."""
    _, bits = index
    hashes, offsets = ngram_hashes(texts, N)
    where = hashes & np.uint64(8 * len(bits) - 1)
    at = np.flatnonzero(bits[where >> np.uint64(3)] & _bit(where))
    return hashes[at], np.searchsorted(offsets, at, "right") - 1


def _places(hashes: Hashes, grams: Hashes) -> Ints:
    """Indices in `grams` of those of `hashes` that stand there, each once."""
    asked = _distinct(hashes)  # in order, so that the search stays in the cache
    places = np.searchsorted(grams, asked)
    there: Ints = places[grams[np.minimum(places, len(grams) - 1)] == asked]
    return there


def _distinct(hashes: Hashes) -> Hashes:
    hashes = np.sort(hashes)
    return hashes[changes(hashes)]


def _bit(where: Hashes) -> npt.NDArray[np.uint8]:
    return np.uint8(1) << (where & np.uint64(7)).astype(np.uint8)
