"""What a model gives away of train: exact continuations, by the number of copies in train.

Extraction as in Carlini 2022: after 50 tokens of train, does the model go on with the next 50,
each its likeliest one? Boilerplate goes on so without having been memorised; so the same is asked
of held-out text that does not stand in train, and the difference is what train gave.

A window is the same text for all models: `WORDS` words, which are at least the 100 tokens that are
read. Its copies are those of its first `COUNTED` words in train, word by word as `corpus.ngrams`
reads them (case and punctuation aside). The 100 tokens hold these words, or the window is left out
for all models, as tables of numbers are; so what is in bucket "0" or "1" stands in train never or
once, and what is in the others at most so often.

Which windows there are is decided by hashes of their words alone, of one stretch in `every` and
then of all its copies: one pass over the corpus finds them, and counts them.
"""

import dataclasses
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import tokenizers

from domainlm.corpus.documents import HELD_OUT
from domainlm.corpus.ngrams import ngram_hashes
from domainlm.evaluation.copies import WORD, pieces
from domainlm.evaluation.evidence import Extraction, Interval, Memorization
from domainlm.evaluation.loss import PLAIN_HEADS, encode, last_hidden
from domainlm.evaluation.models import context
from domainlm.evaluation.spans import fetch, hashed, round_robin
from domainlm.evaluation.statistics import Array, ratio_interval

PREFIX, TARGET = 50, 50  # tokens
WORDS, COUNTED = 100, 50
SAMPLE = 1 << 20  # stretches that are looked at
CANDIDATES = 50  # of them for each window that is asked for

Bucket = Literal["0", "1", "2-9", "10+"]
BUCKETS: tuple[Bucket, ...] = ("0", "1", "2-9", "10+")
_SCHEMA = pa.schema(
    [
        ("hash", pa.uint64()),
        ("split", pa.string()),
        ("document", pa.string()),
        ("group", pa.string()),
        ("word", pa.int32()),  # where the stretch begins
        ("room", pa.bool_()),  # `WORDS` words stand there, not `COUNTED` alone
    ]
)


@dataclasses.dataclass(frozen=True)
class Window:
    """`WORDS` words of a document, and a blank before; the first `counted` characters hold
    `COUNTED` of them. `copies` is how many stand in train, as a bucket; "0": it is held out.
    """

    copies: Bucket
    document: str
    group: str
    text: str
    counted: int


def every(paths: Sequence[Path]) -> int:
    """One in how many stretches of text `scan` is to keep: about `SAMPLE` in all the files."""
    files = [pq.read_metadata(path) for path in paths]
    size = sum(f.row_group(n).total_byte_size for f in files for n in range(f.num_row_groups))
    return max(1, int(size) // (6 * SAMPLE))  # a word and what follows it are about six bytes


def scan(path: Path, every: int) -> pa.Table:
    """The stretches of `COUNTED` words, one in `every` by hash, of train and held-out documents.

    One row each; stretches of the same words have the same hash, and all or none of them are here.
    """
    limit = np.uint64((2**64 - 1) // every)
    tables = [_SCHEMA.empty_table()]
    for rows in pieces(path, ("train", *HELD_OUT), ("id", "group", "text")):
        hashes, bounds = ngram_hashes(rows["text"], COUNTED)
        at = np.flatnonzero(hashes <= limit)
        owner = np.searchsorted(bounds, at, "right") - 1
        columns: dict[str, Any] = {
            "hash": hashes[at],
            "word": (at - bounds[owner]).astype(np.int32),
            "room": at + (WORDS - COUNTED) < bounds[owner + 1],
        }
        for name, column in (("split", "split"), ("document", "id"), ("group", "group")):
            columns[name] = pa.array(rows[column]).take(pa.array(owner))
        tables.append(pa.table(columns, schema=_SCHEMA))
    return pa.concat_tables(tables)


def choose(
    tables: Sequence[pa.Table], paths: Sequence[Path], count: int, seed: int
) -> tuple[list[Window], str]:
    """Up to `count` windows of each bucket, spread over groups, and a note of what is amiss.

    `tables` are what `scan` gave for each of `paths`. Held-out text is `unseen`, or `seen` where
    there is none; what of it stands in train is no control, and the note says how much that is. No
    two windows of a bucket share words of a document.
    """
    table = pa.concat_tables(tables)
    train = table.filter(pc.equal(table["split"], "train"))
    held = table.filter(pc.equal(table["split"], "unseen"))
    if not len(held):
        held = table.filter(pc.equal(table["split"], "seen"))
    places, copies = _distinct(train)
    spots, _ = _distinct(held)
    new = ~np.isin(held["hash"].to_numpy()[spots], train["hash"].to_numpy())
    parts: dict[Bucket, tuple[pa.Table, Array]] = {
        "0": (held, spots[new]),
        "1": (train, places[copies == 1]),
        "2-9": (train, places[(copies > 1) & (copies < 10)]),
        "10+": (train, places[copies >= 10]),
    }
    chosen = {
        bucket: _spread(rows.take(pa.array(at[: CANDIDATES * count])), count, seed)
        for bucket, (rows, at) in parts.items()
    }
    wanted: dict[str, list[tuple[Bucket, int, int]]] = {}
    for bucket in BUCKETS:
        for rank, (document, word) in enumerate(chosen[bucket]):
            wanted.setdefault(document, []).append((bucket, rank, word))
    windows = {}
    for found in fetch(paths, list(wanted)):
        spans = [match.span() for match in WORD.finditer(found.text)]
        for bucket, rank, word in wanted[found.id]:
            begin = spans[word][0]
            begin -= found.text[begin - 1 : begin] == " "  # part of the first word's token
            text = found.text[begin : spans[word + WORDS - 1][1]]
            counted = spans[word + COUNTED - 1][1] - begin
            whose = (found.id, found.group)
            windows[BUCKETS.index(bucket), rank] = Window(bucket, *whose, text, counted)
    notes = []
    if not any(chosen[bucket] for bucket in BUCKETS[1:]):
        notes.append(f"No test of memorisation: no train document has {WORDS} words.")
    elif not chosen["0"]:
        notes.append("Memorisation has no control: there is no held-out text that is not in train.")
    if known := int(np.sum(~new)):
        notes.append(
            f"{known:,} of {len(new):,} held-out stretches of {COUNTED} words stand in train word "
            "by word: they are no control of memorisation."
        )
    return [windows[key] for key in sorted(windows)], " ".join(notes)


def _distinct(table: pa.Table) -> tuple[Array, Array]:
    """The row of one place of each hash, in order of hashes, and how often the hash stands.

    The place is in the document whose id's hash is least, whatever the order of the rows: so what
    overlaps has its places in one document. Hashes whose place has no room are left out.
    """
    ids = table["document"].combine_chunks().dictionary_encode()
    ranks = np.array([hashed(id) >> 192 for id in ids.dictionary.to_pylist()], np.uint64)
    hashes, word, room = (table[name].to_numpy() for name in ("hash", "word", "room"))
    order = np.lexsort((word, ranks[ids.indices.to_numpy()], hashes))
    _, first, copies = np.unique(hashes[order], return_index=True, return_counts=True)
    rows = order[first]
    return rows[room[rows]], copies[room[rows]]


def _spread(table: pa.Table, count: int, seed: int) -> list[tuple[str, int]]:
    """(document, first word) of `count` rows, a group at a time; none overlaps one before it."""
    queues: dict[str, list[tuple[str, int]]] = {}
    taken: dict[str, list[int]] = {}
    for row in table.to_pylist():
        words = taken.setdefault(row["document"], [])
        if all(abs(row["word"] - other) >= WORDS for other in words):
            words.append(row["word"])
            queues.setdefault(row["group"], []).append((row["document"], row["word"]))
    return round_robin(queues, count, seed)


def extracted(
    model: Any,
    tokenizer: tokenizers.Tokenizer,
    windows: Sequence[Window],
    separator: int,
    batch: int,
) -> list[int]:
    """For each window 1 if the model goes on with it word for word, 0 if not.

    -1: the window's first 100 tokens are fewer, or do not hold its counted words. No list at all
    where the model was built for fewer than 100 positions. `batch` windows are read at once.
    """
    import torch

    if context(model) < PREFIX + TARGET:
        return []
    ids = [encode(tokenizer, window.text)[: PREFIX + TARGET] for window in windows]
    held = [len(tokenizer.decode(row, skip_special_tokens=False)) for row in ids]
    found = [-1] * len(windows)
    usable = [
        n
        for n, window in enumerate(windows)
        if len(ids[n]) == PREFIX + TARGET and held[n] >= window.counted
    ]
    for start in range(0, len(usable), batch):
        part = usable[start : start + batch]
        said = greedy(model, torch.tensor([ids[n] for n in part]), separator)
        for n, exact in zip(part, said.tolist(), strict=True):
            found[n] = int(exact)
    return found


def greedy(model: Any, ids: Any, separator: int) -> Any:
    """Whether greedy decoding after the separator and `PREFIX` ids of each row writes the others.

    `ids` has shape (rows, length), the answer (rows,). It does if each id is the likeliest after
    the true ones before it: one pass, no decoding.
    """
    import torch

    inputs = torch.cat([torch.full((len(ids), 1), separator), ids[:, :-1]], dim=1).to(model.device)
    with torch.inference_mode():
        if type(model).__name__ in PLAIN_HEADS:
            logits = model.get_output_embeddings()(last_hidden(model, inputs)[:, PREFIX:])
        else:
            logits = model(input_ids=inputs, use_cache=False).logits[:, PREFIX:]
    return (logits.argmax(-1).cpu() == ids[:, PREFIX:]).all(dim=1)


def results(
    windows: Sequence[Window], found: Mapping[str, Sequence[int]]
) -> tuple[list[Memorization], list[Extraction]]:
    """The rows of all models; `found` is what `extracted` gave for each.

    Only windows that every model could read count. No extraction without windows of both kinds.
    """
    found = {model: flags for model, flags in found.items() if flags}
    usable = [n for n in range(len(windows)) if all(flags[n] >= 0 for flags in found.values())]
    rows, differences = [], []
    for model, flags in found.items():
        rates: dict[Bucket, tuple[float, Interval]] = {}
        for bucket in BUCKETS:
            part = [n for n in usable if windows[n].copies == bucket]
            if not part:
                continue
            groups, hits = [windows[n].group for n in part], [flags[n] for n in part]
            rate, ci = rates[bucket] = sum(hits) / len(part), rate_interval(groups, hits)
            rows.append(
                Memorization(
                    model=model,
                    copies=bucket,
                    windows=len(part),
                    groups=len(set(groups)),
                    exact=sum(hits),
                    rate=rate,
                    ci95=ci,
                )
            )
        if "0" in rates and "1" in rates:
            ci = difference_interval(*rates["1"], *rates["0"])
            difference = rates["1"][0] - rates["0"][0]
            differences.append(Extraction(model=model, difference=difference, ci95=ci))
    return rows, differences


def rate_interval(groups: Sequence[str], hits: Sequence[int]) -> Interval:
    """95 % interval of the share of `hits`, by bootstrap over groups.

    Where there is none the bootstrap sees no doubt: then the upper end is 3 / windows (the rule of
    three: Hanley 1983), which takes windows for independent; where there is nothing else likewise.
    """
    low, high = ratio_interval(groups, hits, [1] * len(hits))
    doubt = min(1.0, 3 / len(hits))
    if not any(hits):
        high = doubt
    if all(hits):
        low = 1 - doubt
    return low, high


def difference_interval(a: float, a_ci: Interval, b: float, b_ci: Interval) -> Interval:
    """95 % interval of a - b from the intervals of two independent rates.

    The method of variance estimates recovery (Newcombe 1998; Zou and Donner 2008): good where a
    rate is 0, for which differences of bootstrap draws are not.
    """
    low = math.hypot(a - a_ci[0], b_ci[1] - b)
    high = math.hypot(a_ci[1] - a, b - b_ci[0])
    return a - b - low, a - b + high
