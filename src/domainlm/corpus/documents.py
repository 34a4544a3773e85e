"""The document: what every source becomes and every later stage reads.

This is the stage's written schema and its reader; other stages import this module only.
"""

import contextlib
import dataclasses
import datetime
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from domainlm.artifacts import atomic_write

SPLITS = ("train", "validation", "seen", "unseen", "unused")
TRAINED = ("train", "validation")
HELD_OUT = ("seen", "unseen")
GROUP_ROWS, GROUP_CHARACTERS = 512, 8_000_000  # of a row group, at most

SECTION = pa.struct(
    [
        ("label", pa.string()),
        ("start", pa.int64()),
        ("end", pa.int64()),
        ("flags", pa.list_(pa.string())),
        ("confidence", pa.float32()),
    ]
)
ORIGIN = pa.struct(
    [("path", pa.string()), ("start", pa.int64()), ("end", pa.int64()), ("unit", pa.string())]
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
        ("origin", ORIGIN),
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
class Origin:
    """Where a document's own bytes lie: `start` up to, not including, `end` of the file `path`.

    `unit` is "bytes" (of the unpacked stream where the file is a compressed tar or JSON Lines; of
    the compressed data where it is a zip) or "rows". `path` is relative to the source's root.
    """

    path: str
    start: int
    end: int
    unit: str = "bytes"


@dataclasses.dataclass(frozen=True)
class Document:
    """One kept document. `group` is who wrote it (CIK, folder, author): the unit of the split.

    `date` is null where the source gives none; `split` is empty until the split is made. `uri` and
    `source_sha256` name and hash its own bytes (a file, a member, the text of a row in UTF-8), so
    that they are the same whatever container it comes in.
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
    origin: Origin | None = None

    def row(self) -> dict[str, Any]:
        """The document as a row of `SCHEMA`."""
        row = {f.name: getattr(self, f.name) for f in dataclasses.fields(self)}
        row["sections"] = [{**dataclasses.asdict(s), "flags": list(s.flags)} for s in self.sections]
        row["meta"] = list(self.meta)
        row["origin"] = dataclasses.asdict(self.origin) if self.origin else None
        return row

    @staticmethod
    def of_row(row: dict[str, Any]) -> "Document":
        """The document that `row()` came from."""
        sections = tuple(
            Section(**{**s, "flags": tuple(s["flags"] or ())}) for s in row["sections"] or ()
        )
        meta = tuple((k, v) for k, v in row["meta"] or ())
        origin = Origin(**row["origin"]) if row.get("origin") else None
        return Document(**{**row, "sections": sections, "meta": meta, "origin": origin})


class Writer:
    """Documents as zstd Parquet, written as they come, atomically; `rows` counts them.

    A row group holds at most 512 rows, and about 8 MB of text unless one document is longer.
    """

    def __init__(self, path: Path) -> None:
        self.rows = 0
        self._path = path
        self._group: list[dict[str, Any]] = []
        self._characters = 0
        self._open = contextlib.ExitStack()

    def __enter__(self) -> "Writer":
        with contextlib.ExitStack() as stack:
            file = stack.enter_context(atomic_write(self._path))
            self._file = stack.enter_context(pq.ParquetWriter(file, SCHEMA, compression="zstd"))
            stack.push(lambda kind, *_: None if kind else self._flush())
            self._open = stack.pop_all()
        return self

    def __exit__(self, kind: Any, error: Any, trace: Any) -> None:
        self._open.__exit__(kind, error, trace)

    def add(self, document: Document) -> None:
        """Write one document more."""
        size = len(document.text)
        if len(self._group) == GROUP_ROWS or self._characters + size > GROUP_CHARACTERS:
            self._flush()
        self._group.append(document.row())
        self._characters += size
        self.rows += 1

    def _flush(self) -> None:
        if self._group:
            self._file.write_table(pa.Table.from_pylist(self._group, SCHEMA))
            self._group, self._characters = [], 0


def write(path: Path, documents: Iterable[Document]) -> int:
    """Write documents with a `Writer`; returns the number of rows."""
    with Writer(path) as writer:
        for document in documents:
            writer.add(document)
    return writer.rows


def read(
    paths: Sequence[Path],
    splits: Sequence[str] = (),
    row_groups: Sequence[int] | None = None,
    text: bool = True,
) -> Iterator[Document]:
    """Documents of the files in reading order, only of `splits` where given.

    `row_groups`: of each file only the groups from the first number up to, not including, the
    second. Without `text` that is empty, and nothing like as much is read.
    """
    columns = [name for name in SCHEMA.names if text or name != "text"]
    for path in paths:
        with pq.ParquetFile(path) as file:
            groups = list(range(*row_groups) if row_groups else range(file.num_row_groups))
            for batch in file.iter_batches(64 if text else 4096, groups, columns):
                if splits:
                    batch = batch.filter(pc.is_in(batch["split"], pa.array(splits)))
                for row in batch.to_pylist():
                    yield Document.of_row(row if text else row | {"text": ""})


def paths(root: Path) -> list[Path]:
    """The run's document files, in reading order."""
    return sorted((root / "corpus").glob("documents-*.parquet"))
