"""The split of all documents in one task, and the documents written with it."""

import dataclasses
import json
from collections import Counter
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from domainlm.artifacts import atomic_write, write_json
from domainlm.corpus import documents, near, shuffle
from domainlm.corpus.clean import read_part
from domainlm.corpus.edits import without_spans
from domainlm.corpus.lines import Frequent, file, records
from domainlm.corpus.split import PLACES, Columns, assign
from domainlm.errors import DomainLMError
from domainlm.recipe import Duplicates, Split

ASSIGNMENT = "corpus/split.parquet"
DROPPED = ("duplicate", "near_duplicate")


def split(root: Path, arguments: dict[str, Any]) -> dict[str, int]:
    """Task: `split.parquet`, one row a cleaned document, one row group a part.

    Columns id, group, dated, split (a split, "duplicate" or "near_duplicate"), bytes; what the
    split did is in the metadata. The one task that holds a row of every document of the corpus.
    """
    tables = [
        pq.read_table(root / f"{near.prefix(part)}.index.parquet")
        for part in range(arguments["parts"])
    ]
    starts = np.cumsum([0, *(len(t) for t in tables)])
    table = pa.concat_tables(tables)
    if not len(table):
        raise DomainLMError(
            "nothing is left of the corpus: no file gave a document",
            where=str(root / "corpus" / "parts"),
            why="every file was skipped or every document dropped; the .json files there tell why",
            fix="check source.path, source.include, source.text and the rules of clean",
        )
    links = [np.load(root / near.links(part)) for part in range(arguments["parts"])]
    pairs = np.concatenate([np.stack([found["a"], found["b"]], 1) for found in links])
    group = table["group"].combine_chunks().dictionary_encode()
    names = group.dictionary.to_pylist()
    order = np.argsort(np.array(names, dtype=object), kind="stable")
    rank = np.empty(len(names), np.int64)
    rank[order] = np.arange(len(names))
    columns = Columns(
        ids=table["id"].to_pylist(),
        groups=[names[n] for n in order],
        group=rank[group.indices.to_numpy()],
        dates=table["date"].to_numpy().astype("datetime64[D]"),
        hashes=np.frombuffer(b"".join(table["hash"].to_pylist()), "<u8").reshape(-1, 2),
        links=starts[(pairs >> np.uint64(32)).astype(np.int64)]
        + (pairs & np.uint64(0xFFFFFFFF)).astype(np.int64),
    )
    made = assign(
        columns,
        Split.model_validate(arguments["split"]),
        Duplicates.model_validate(arguments["duplicates"]),
    )
    about = {
        "cut": made.cut.isoformat() if made.cut else None,
        "links": len(pairs),
        "joined_groups": made.joined,
        "common_documents": made.common,
        "promises": made.promises,
    }
    placed = pa.table(
        {
            "id": table["id"],
            "group": table["group"],
            "dated": table["date"].is_valid(),
            "split": pa.DictionaryArray.from_arrays(pa.array(made.places), list(PLACES)),
            "bytes": table["bytes"],
        }
    ).replace_schema_metadata({"about": json.dumps(about)})
    with (
        atomic_write(root / ASSIGNMENT) as target,
        pq.ParquetWriter(target, placed.schema, compression="zstd") as out,
    ):
        for start, stop in pairwise(starts):
            out.write_table(placed.slice(start, stop - start), row_group_size=1 << 30)
    return {ASSIGNMENT: len(placed)}


def places(root: Path, part: int) -> list[str]:
    """Where each document of a cleaned part goes."""
    with pq.ParquetFile(root / ASSIGNMENT) as table:
        found: list[str] = table.read_row_group(part, columns=["split"])["split"].to_pylist()
    return found


def count_paragraphs(root: Path, arguments: dict[str, Any]) -> None:
    """Task: the records of the paragraphs of one part's documents that are trained on."""
    part = arguments["part"]
    where = places(root, part["number"])
    trained = (
        numbered
        for place, numbered in zip(where, read_part(root, part), strict=True)
        if place in documents.TRAINED
    )
    shuffle.write(root / file("paragraph", part["number"]), records(trained, "paragraph"))


def write(root: Path, arguments: dict[str, Any]) -> dict[str, int]:
    """Task: the kept documents of one part, with their split."""
    part = arguments["part"]
    where = places(root, part["number"])
    repeated = [Frequent(root, unit, n) for unit, n in arguments["frequent"].items()]
    splits: dict[str, Counter[str]] = {}
    gone: Counter[str] = Counter(paragraphs=0, bytes=0)
    with documents.Writer(root / arguments["output"]) as out:
        for place, (number, document) in zip(where, read_part(root, part), strict=True):
            if place in DROPPED:
                continue
            size = len(document.text.encode())
            if place in documents.TRAINED:
                spans = [s for table in repeated for s in table.spans(number, document)]
                document = without_spans(document, spans)
                left = len(document.text.encode()) if document.text.strip() else 0
                gone.update(paragraphs=len(spans), bytes=size - left)
                size = left
            if size:
                splits.setdefault(place, Counter()).update(documents=1, bytes=size)
                out.add(dataclasses.replace(document, split=place))
    write_json(
        root / f"corpus/parts/write-{part['number']:05d}.json",
        {"splits": splits, "paragraphs": gone},
    )
    return {arguments["output"]: out.rows}
