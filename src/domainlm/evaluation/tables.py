"""Rows of what was measured, and the rows of evidence that follow from them: pure functions.

The rows of `documents.parquet` (and `windows.parquet`, the same with another window) are all that
the losses, gaps and slices of the evidence are made of, so anybody can make them again.
"""

import json
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from domainlm.artifacts import atomic_write
from domainlm.evaluation import evidence, kinds, statistics
from domainlm.evaluation.kinds import KINDS
from domainlm.evaluation.spans import Span

SEED = 1
SLICE_DOCUMENTS = 5  # fewer make no slice

Rows = Sequence[Mapping[str, Any]]
PLACE = ("split", "document", "group", "section", "year", "novelty")
SCHEMA = pa.schema(
    [
        ("model", pa.string()),
        *((name, pa.string()) for name in PLACE),
        ("bytes", pa.int64()),
        ("tokens", pa.int64()),
        ("nats", pa.float64()),
        *((f"bytes_{kind}", pa.int64()) for kind in KINDS),
        *((f"nats_{kind}", pa.float64()) for kind in KINDS),
        ("window", pa.int64()),
        ("stride", pa.int64()),
        ("context_bytes", pa.int64()),
        ("step", pa.int64()),
    ]
)


def compressed_row(model: str, span: Span, nats: float) -> dict[str, Any]:
    """A row of `documents.parquet` of a compressor, which has no tokens."""
    return {"model": model, **{f: getattr(span, f) for f in PLACE}, "bytes": span.bytes,
            "nats": nats}  # fmt: skip


def scored_row(
    model: str, span: Span, ends: Sequence[int], nats: npt.NDArray[np.float32], **window: int
) -> dict[str, Any]:
    """A row of a model: nats of each token and the bytes they end at, shape (tokens,) each."""
    row = compressed_row(model, span, float(nats.sum(dtype=np.float64)))
    for kind, (cost, size) in kinds.nats_by_kind(span.text, ends, nats).items():
        row |= {f"nats_{kind}": cost, f"bytes_{kind}": size}
    return row | {"tokens": len(nats), **window}


def write_documents(path: Path, rows: Rows) -> int:
    """Write rows of `SCHEMA` as Parquet, atomically; returns their number."""
    write_table(path, pa.Table.from_pylist(list(rows), schema=SCHEMA))
    return len(rows)


def write_table(path: Path, table: pa.Table) -> None:
    """Write Parquet, atomically."""
    with atomic_write(path) as file:
        pq.write_table(table, file, compression="zstd")


def write_lines(path: Path, rows: Rows) -> int:
    """Write JSON Lines, atomically; returns their number."""
    with atomic_write(path, "w") as file:
        file.writelines(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    return len(rows)


def read_lines(path: Path) -> Iterator[dict[str, Any]]:
    """Objects of a JSON Lines file."""
    with open(path, encoding="utf-8") as file:
        for line in file:
            if line.strip():
                yield json.loads(line)


def by_split(rows: Rows) -> dict[str, dict[str, list[Mapping[str, Any]]]]:
    """Rows by split and model, in their order."""
    table: dict[str, dict[str, list[Mapping[str, Any]]]] = {}
    for row in rows:
        table.setdefault(row["split"], {}).setdefault(row["model"], []).append(row)
    return table


def measured(rows: Rows) -> dict[str, Any]:
    """Bits per byte of rows, with its interval (none of one group) and what it is of."""
    groups, size = [r["group"] for r in rows], [r["bytes"] for r in rows]
    nats = [r["nats"] for r in rows]
    return {
        "bits_per_byte": statistics.bits_per_byte(nats, size),
        "ci95": _interval(groups, nats, size),
        "documents": len(rows),
        "groups": len(set(groups)),
        "bytes": sum(size),
    }


def _interval(
    groups: Sequence[str],
    nats: Sequence[float],
    size: Sequence[int],
    others: Sequence[float] | None = None,
) -> evidence.Interval | None:
    """`statistics.bootstrap`; None where all is of one group, which says nothing about others."""
    if len(set(groups)) < 2:
        return None
    return statistics.bootstrap(groups, nats, size, others, seed=SEED)


def loss(model: str, split: str, rows: Rows) -> evidence.Loss:
    """The loss of a model on a split."""
    tokens = [r.get("tokens") for r in rows]
    return evidence.Loss(
        model=model,
        split=split,
        tokens=None if None in tokens else sum(filter(None, tokens)),
        nats=sum(r["nats"] for r in rows),
        **measured(rows),
    )


def windows(rows: Rows) -> Iterator[evidence.WindowLoss]:
    """The losses at the other windows: rows of one model, split and window stand together."""
    fields = ("model", "split", "window", "stride", "context_bytes")
    for key, part in groupby(rows, lambda row: tuple(row[f] for f in fields)):
        yield evidence.WindowLoss(**dict(zip(fields, key, strict=True)), **measured(list(part)))


def _paired(rows: Rows, others: Rows) -> dict[str, Any]:
    """The gap a - b on the documents that both have, with interval and p value."""
    theirs = {r["document"]: r for r in others}
    pairs = [(r, theirs[r["document"]]) for r in rows if r["document"] in theirs]
    if any(r["bytes"] != o["bytes"] for r, o in pairs):
        raise ValueError("two models were not scored on the same bytes")
    groups, size = [r["group"] for r, _ in pairs], [r["bytes"] for r, _ in pairs]
    a, b = [r["nats"] for r, _ in pairs], [o["nats"] for _, o in pairs]
    return {
        "bits_per_byte": statistics.bits_per_byte(np.subtract(a, b), size),
        "ci95": _interval(groups, a, size, b),
        "wins": statistics.wins(groups, a, b),
        "documents": len(pairs),
        "groups": len(set(groups)),
        "p_value": statistics.sign_flip_p(groups, a, b, seed=SEED),
    }


def gap(a: str, b: str, split: str, rows: Rows, others: Rows) -> evidence.Gap:
    """The paired gap of two models on a split."""
    return evidence.Gap(a=a, b=b, split=split, **_paired(rows, others))


def _cuts(rows: Rows) -> Iterator[tuple[Any, str]]:
    """(by, value) of the slices of a split: `Item 9A` before `Item 10`."""
    for by in ("section", "year", "novelty"):
        count = Counter(row[by] for row in rows)
        enough = [value for value, n in count.items() if value and n >= SLICE_DOCUMENTS]
        for value in sorted(enough, key=lambda v: ([int(n) for n in re.findall(r"\d+", v)], v)):
            yield by, value
    for kind in KINDS:
        if sum(bool(row.get(f"bytes_{kind}")) for row in rows) >= SLICE_DOCUMENTS:
            yield "kind", kind


def _part(rows: Rows, by: str, value: str) -> list[dict[str, Any]]:
    """What of the rows belongs to a slice; a compressor's nats are of no kind."""
    if by != "kind":
        return [dict(row) for row in rows if row[by] == value]
    nats, size = f"nats_{value}", f"bytes_{value}"
    return [{**row, "nats": row[nats], "bytes": row[size]} for row in rows if row.get(size)]


def slices(
    split: str, table: Mapping[str, Rows], pairs: Sequence[tuple[str, str]]
) -> tuple[list[evidence.Slice], list[evidence.SliceGap]]:
    """The losses of all models of a split again, slice by slice, and the gaps of `pairs`."""
    losses: list[evidence.Slice] = []
    gaps: dict[tuple[str, str], list[dict[str, Any]]] = {pair: [] for pair in pairs}
    for by, value in _cuts(next(iter(table.values()))):
        parts = {model: _part(rows, by, value) for model, rows in table.items()}
        where = {"split": split, "by": by, "value": value}

        for model, part in parts.items():
            if len(part) >= SLICE_DOCUMENTS:  # PPMd + last year has not all documents
                losses.append(evidence.Slice(model=model, **where, **measured(part)))
        for (a, b), found in gaps.items():
            if parts[a] and parts[b]:
                found.append({"a": a, "b": b, **where, **_paired(parts[a], parts[b])})
    adjusted = [
        evidence.SliceGap(**{k: v for k, v in row.items() if k != "wins"}, p_holm=p)
        for found in gaps.values()
        for row, p in zip(found, statistics.holm([r["p_value"] for r in found]), strict=True)
    ]
    return losses, adjusted


def spreads(
    losses: Sequence[evidence.Loss], seeds: Sequence[Sequence[str]]
) -> Iterator[evidence.Spread]:
    """How arms that differ by their seed alone vary, on each split."""
    for models in seeds:
        for split in dict.fromkeys(row.split for row in losses):
            bits = [r.bits_per_byte for r in losses if r.split == split and r.model in models]
            sd = float(np.std(bits, ddof=1))
            yield evidence.Spread(models=list(models), split=split, mean=float(np.mean(bits)),
                                  sd=sd)  # fmt: skip
