"""The document: what every source becomes and every later stage reads.

This is the stage's written schema and its reader; other stages import this module only.
"""

import dataclasses
import datetime
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from domainlm.artifacts import atomic_write

SPLITS = ("train", "validation", "seen", "unseen", "unused")
HELD_OUT = ("seen", "unseen")

SECTION = pa.struct(
    [
        ("label", pa.string()),
        ("start", pa.int64()),
        ("end", pa.int64()),
        ("flags", pa.list_(pa.string())),
        ("confidence", pa.float32()),
    ]
)
SCHEMA = pa.schema(
    [
        ("id", pa.string()),
        ("group", pa.string()),
        ("date", pa.date32()),
        ("title", pa.string()),
        ("uri", pa.string()),
        ("source_sha256", pa.string()),
        ("text", pa.string()),
        ("sections", pa.list_(SECTION)),
        ("split", pa.string()),
        ("meta", pa.map_(pa.string(), pa.string())),
    ]
)


@dataclasses.dataclass(frozen=True)
class Section:
    """A labelled span of a document's text: characters `start` up to, not including, `end`.

    Labels of filings are canonical: `Item 1`, `Item 9A` (also for 9A(T)), `Items 1 and 2` for a
    combined heading; elsewhere they are headings, or the folder of the file. `flags` name doubts
    (`incorporated_by_reference`, `suspicious_size`), and `not_found` an item that should be there:
    its span is empty. `confidence` is 0 to 1.
    """

    label: str
    start: int
    end: int
    flags: tuple[str, ...] = ()
    confidence: float = 1.0


@dataclasses.dataclass(frozen=True)
class Document:
    """One kept document. `group` is who wrote it (CIK, folder, author): the unit of the split.

    `date` is null where the source gives none; `split` is empty until the split is made.
    """

    id: str
    group: str
    date: datetime.date | None
    title: str
    uri: str
    source_sha256: str
    text: str
    sections: tuple[Section, ...] = ()
    split: str = ""
    meta: tuple[tuple[str, str], ...] = ()

    def row(self) -> dict[str, Any]:
        """The document as a row of `SCHEMA`."""
        row = {f.name: getattr(self, f.name) for f in dataclasses.fields(self)}
        row["sections"] = [{**dataclasses.asdict(s), "flags": list(s.flags)} for s in self.sections]
        row["meta"] = list(self.meta)
        return row

    @staticmethod
    def of_row(row: dict[str, Any]) -> "Document":
        """The document that `row()` came from."""
        sections = tuple(
            Section(**{**s, "flags": tuple(s["flags"] or ())}) for s in row["sections"] or ()
        )
        meta = tuple((k, v) for k, v in row["meta"] or ())
        return Document(**{**row, "sections": sections, "meta": meta})


def write(path: Path, documents: Sequence[Document]) -> int:
    """Write documents as zstd Parquet, atomically; returns the number of rows."""
    table = pa.Table.from_pylist([d.row() for d in documents], schema=SCHEMA)
    with atomic_write(path) as file:
        pq.write_table(table, file, compression="zstd", row_group_size=512)
    return len(documents)


def read(paths: Sequence[Path], splits: Sequence[str] = ()) -> Iterator[Document]:
    """Documents of the files in reading order, only of `splits` where given."""
    for path in paths:
        with pq.ParquetFile(path) as file:
            for batch in file.iter_batches(batch_size=64):
                for row in batch.to_pylist():
                    if not splits or row["split"] in splits:
                        yield Document.of_row(row)


def paths(root: Path) -> list[Path]:
    """The run's document files, in reading order."""
    return sorted((root / "corpus").glob("documents-*.parquet"))
