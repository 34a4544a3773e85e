"""A document's own bytes, read again where they came from: what lineage is proved with."""

import dataclasses
import io
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, cast

from domainlm.corpus import containers, sources
from domainlm.corpus.documents import Document
from domainlm.corpus.tables import BLOCK, Member
from domainlm.recipe import Source


def own_bytes(root: Path, source: Source, document: Document) -> tuple[bytes, bytes]:
    """The bytes that `source_sha256` is of, and those of its origin in the file that holds it.

    The latter are of the unpacked stream, as the origin counts: of a JSON line the line, of a zip
    what is compressed, of rows none. `root` is the run directory. Memory is that of one member.
    Raises LookupError where the document is no longer there, OSError where its file is not, and
    `DomainLMError` where the source cannot be reached.
    """
    origin = document.origin
    if origin is None:
        raise LookupError("it is not known where the document was found")
    base = sources.root_of(source) if source.kind == "edgar" else root
    listed = sources.read_listing(root / "corpus" / "sources.arrow")
    entries = [e for e in listed if e.path == origin.path]
    if source.kind == "edgar":
        data = (base / origin.path).read_bytes()
        return data, data
    form, packing = containers.kind(origin.path)
    if form in {".jsonl", ".ndjson"} and not packing:  # the one line
        stop = origin.start + 1
        entries = [dataclasses.replace(e, start=origin.start, stop=stop) for e in entries[:1]]
    for member in _members(base, source, entries):
        place = (member.start, member.end, member.unit)
        if member.name == document.uri and place == (origin.start, origin.end, origin.unit):
            if member.data is None:
                raise LookupError(f"it cannot be read any more: {member.skipped}")
            if origin.unit != "bytes":
                return member.data, b""
            with sources.opened(source, entries[0], base) as file:
                return member.data, _slice(file, packing, origin.start, origin.end)
    raise LookupError("it is not there any more")


def _slice(file: BinaryIO, packing: str, start: int, end: int) -> bytes:
    """Bytes `start` to `end` of a file, or of what is compressed in it."""
    if not packing:
        file.seek(start)
        return file.read(end - start)
    stream = io.BufferedReader(cast(io.RawIOBase, containers.unpacked(file, packing)), BLOCK)
    for size in (*[BLOCK] * (start // BLOCK), start % BLOCK):  # it cannot seek
        stream.read(size)
    return stream.read(end - start)


def _members(base: Path, source: Source, entries: list[sources.Entry]) -> Iterator[Member]:
    for entry in entries:
        with sources.opened(source, entry, base) as file:
            yield from containers.members(file, entry.path, source, entry.start, entry.stop)
