"""Tables row by row: JSON Lines, CSV, TSV and Parquet, each row a member of its file."""

import csv
import io
import itertools
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, BinaryIO, cast

import pyarrow as pa
import pyarrow.parquet as pq

from domainlm.corpus import sources
from domainlm.corpus.formats import whole
from domainlm.recipe import Source

TABLES = (".jsonl", ".ndjson", ".csv", ".tsv", ".parquet")
REST = -1  # size of a member that is what is left of its container
BLOCK = 1 << 20  # bytes read at once
BATCH = 8_000_000  # bytes of a Parquet column decoded at once, as far as its footer is right


@dataclass(frozen=True)
class Member:
    """A file in a container, or a row of a table.

    `data` is its bytes, unpacked (of a row: its text in UTF-8), and `size` how many, or `REST`.
    `start` up to `end` is where it lies: in bytes of the unpacked stream (of a zip: where its
    compressed bytes are in the file), or in rows. `facts` are group, date and title from columns.
    `skipped` says why there is no data: `too_large`, `damaged`, `encrypted`, `unsafe_path` ...
    """

    name: str
    data: bytes | None
    size: int
    start: int = 0
    end: int = 0
    unit: str = "bytes"
    facts: Mapping[str, Any] = field(default_factory=dict)
    skipped: str = ""
    row: bool = False


def read_all(stream: BinaryIO, limit: int) -> bytes | None:
    """All that is left of `stream`; None where that is more than `limit` bytes."""
    parts: list[bytes] = []
    size = 0
    while size <= limit and (part := stream.read(min(BLOCK, limit + 1 - size))):
        parts.append(part)
        size += len(part)
    return None if size > limit else b"".join(parts)


def rows(
    stream: BinaryIO,
    form: str,
    name: str,
    source: Source,
    start: int = 0,
    stop: int = 0,
    seekable: bool = False,
) -> Iterator[Member]:
    """The rows of a table of the form `form`, or of a piece of it; a bad row is skipped.

    A row is named by its column `source.id`, else by its place: the byte at which its line begins,
    or its number. `seekable`: Parquet can be read where it is. Raises what readers raise.
    """
    if form in {".jsonl", ".ndjson"}:
        return _jsonl(stream, name, source, start, stop)
    if form != ".parquet":
        return _csv(stream, form, name, source)
    if seekable:
        return _parquet(stream, name, source, start, stop)
    data = read_all(stream, source.largest)
    if data is None:
        return iter((Member(name, None, REST, skipped="too_large"),))
    return _parquet(io.BytesIO(data), name, source, start, stop)


def _lines(
    stream: BinaryIO, start: int, stop: int, limit: int
) -> Iterator[tuple[int, bytes | None, int]]:
    """Where a line begins, its bytes (None where they are more than `limit`), and how many.

    Of the lines that begin at `start` or later and, unless that is 0, before `stop`.
    """
    if start:
        stream.seek(start - 1)
    buffered = io.BufferedReader(cast(io.RawIOBase, stream), BLOCK)
    try:
        place = start - 1 + _line_end(buffered) if start else 0
        while not stop or place < stop:
            line: bytes | None = buffered.readline(limit)
            if not line:
                return
            size = len(line)
            if size == limit and not line.endswith(b"\n"):
                line = None
                size += _line_end(buffered)
            yield place, line, size
            place += size
    finally:
        buffered.detach()


def _line_end(buffered: "io.BufferedReader[Any]") -> int:
    """Read on to the end of the line; returns the number of bytes."""
    size = 0
    while part := buffered.readline(BLOCK):
        size += len(part)
        if part.endswith(b"\n"):
            break
    return size


def _jsonl(stream: BinaryIO, name: str, source: Source, start: int, stop: int) -> Iterator[Member]:
    # A letter of two bytes may be written in six: \u00e9.
    for place, line, size in _lines(stream, start, stop, 3 * source.largest):
        at = Member(f"{name}#{place}", None, size, place, place + size)
        if line is None:
            yield replace(at, skipped="too_large")
        elif line.strip():
            try:
                row = json.loads(line)
            except (ValueError, RecursionError):
                row = None
            if isinstance(row, dict):
                yield _row(row, at, source)
            else:
                yield replace(at, skipped="bad_json")


def _csv(stream: BinaryIO, form: str, name: str, source: Source) -> Iterator[Member]:
    def decoded() -> Iterator[str]:
        for place, line, _ in _lines(stream, 0, 0, source.largest):
            if line is None:
                raise csv.Error("a line is too long")
            # Bytes that are no UTF-8 are told apart later, cell by cell.
            yield line.decode("utf-8" if place else "utf-8-sig", "surrogateescape")

    lines = decoded()
    first = next(lines, "")
    delimiter = "\t" if form == ".tsv" else max(",;\t|", key=first.count)
    csv.field_size_limit(source.largest)
    table = csv.reader(itertools.chain([first], lines), delimiter=delimiter)
    names = next(table, [])
    for number, cells in enumerate(table):
        if cells:
            at = Member(f"{name}#{number}", None, 0, number, number + 1, "rows")
            yield _row(dict(zip(names, cells, strict=False)), at, source)


def _parquet(file: BinaryIO, name: str, source: Source, start: int, stop: int) -> Iterator[Member]:
    with pq.ParquetFile(file, pre_buffer=False, buffer_size=BLOCK) as table:
        wanted = {source.text, source.id, source.title, source.group, source.date}
        columns = [c for c in table.schema_arrow.names if c in wanted]
        if source.text not in columns:
            yield Member(name, None, REST, skipped="no_text")
            return
        sizes = [table.metadata.row_group(n) for n in range(table.num_row_groups)]
        number = sum(group.num_rows for group in sizes[:start])
        for group in range(start, stop or len(sizes)):
            average = sizes[group].total_byte_size // max(1, sizes[group].num_rows)
            count = min(512, max(1, BATCH // max(1, average)))
            for batch in table.iter_batches(count, row_groups=[group], columns=columns):
                values = [_values(batch.column(c)) for c in columns]
                for cells in zip(*values, strict=True):
                    label = f"row-{number}" if source.kind == "sql" else f"{name}#{number}"
                    at = Member(label, None, 0, number, number + 1, "rows")
                    yield _row(dict(zip(columns, cells, strict=True)), at, source)
                    number += 1


def _values(array: Any) -> list[Any]:
    """Python values of an Arrow array: strings as bytes (who knows if they are UTF-8), days."""
    if pa.types.is_dictionary(array.type):
        array = array.dictionary_decode()
    if pa.types.is_string(array.type) or pa.types.is_string_view(array.type):
        array = array.cast(pa.binary())
    elif pa.types.is_large_string(array.type):
        array = array.cast(pa.large_binary())
    elif pa.types.is_timestamp(array.type):
        array = array.cast(pa.timestamp("s"), safe=False)
    values: list[Any] = array.to_pylist()
    return values


def _row(row: Mapping[str, Any], at: Member, source: Source) -> Member:
    """The member that a row is: named by its id, with the facts of its columns."""
    text = row.get(source.text)
    if isinstance(text, str):
        text = encoded(text)
    if not isinstance(text, bytes):
        return replace(at, skipped="no_text" if text is None else "wrong_type")
    if len(text) > source.largest:
        return replace(at, size=len(text), skipped="too_large")
    facts: dict[str, Any] = {
        "group": _cell(row, source.group),
        "title": _cell(row, source.title),
        "date": sources.as_date(day) if (day := _cell(row, source.date)) else None,
    }
    facts = {name: value for name, value in facts.items() if value}
    name = _cell(row, source.id) or at.name
    return replace(at, name=name, data=text, size=len(text), facts=facts, row=True)


def _cell(row: Mapping[str, Any], column: str | None) -> str:
    """A cell as text; empty where there is none, or where `column` is a pattern over the path."""
    if not column or column == "folder" or "(" in column:
        return ""
    value = row.get(column)
    if isinstance(value, str):
        value = encoded(value)
    text = (
        value.decode("utf-8", "replace")
        if isinstance(value, bytes)
        else str("" if value is None else value)
    )
    return text if text.strip() else ""


def encoded(text: str) -> bytes:
    """UTF-8 of a text that may hold halves of surrogate pairs; bytes that were none come back."""
    try:
        return text.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        return whole(text).encode()
