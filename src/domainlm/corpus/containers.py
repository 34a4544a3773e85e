"""What is in a container, member by member: archives, tables, and files compressed alone.

Nothing is ever written to disk, no header is believed, and memory is bounded by one member. Zip
gives its members by name, so that it equals a folder; tar in the order of its stream.
"""

import bz2
import gzip
import io
import itertools
import lzma
import re
import stat
import tarfile
import zipfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any, BinaryIO, cast

import pyarrow as pa
import pyarrow.parquet as pq

from domainlm.corpus import sources
from domainlm.corpus.extract import Unreadable
from domainlm.corpus.tables import BLOCK, REST, TABLES, Member, encoded, read_all, rows
from domainlm.errors import DomainLMError
from domainlm.recipe import Source

SHORT = {".tgz": ".tar.gz", ".tbz2": ".tar.bz2", ".txz": ".tar.xz", ".tzst": ".tar.zst"}
STEP = 1 << 14  # bytes unpacked at once
DIRECTORY = 64_000_000  # bytes of a zip's directory at most; memory holds ten times as much
PARTS = 16  # pieces of a zip at most, since each reads the directory
HEADER = 1 << 20  # bytes of a tar's extended header at most


def kind(name: str) -> tuple[str, str]:
    """Suffix of what a file is, and of how it is compressed: (".tar", ".gz"), (".txt", "")."""
    name = name.rpartition("/")[2].lower()
    for short, long in SHORT.items():
        if name.endswith(short):
            name = name.removesuffix(short) + long
    packing = next((p for p in sources.PACKED if name.endswith(p)), "")
    stem = name.removesuffix(packing)
    return f".{stem.rpartition('.')[2]}" if "." in stem else "", packing


def members(
    file: BinaryIO, name: str, source: Source, start: int = 0, stop: int = 0
) -> Iterator[Member]:
    """The members of `file`, which the source calls `name`; a plain file is its only member.

    `start` and `stop` are a piece as `pieces` gives it; 0 and 0 are the whole. What is wrong with
    a container is a last member that was skipped, and never an error; only a store that cannot be
    reached is one (`DomainLMError`).
    """
    form, packing = kind(name)
    stream = unpacked(file, packing)
    if form == ".zip" and packing:
        found = iter((Member(name, None, REST, skipped="nested_archive"),))
    elif form == ".zip":
        found = _zip(file, name, source, start, stop)
    elif form == ".tar":
        found = _tar(stream, name, source)
    elif form in TABLES:
        found = rows(stream, form, name, source, start, stop, not packing)
    else:
        found = _alone(stream, name, source)
    count = 0
    for member in _guarded(found, Member(name, None, REST)):
        count += 1
        yield member
    if not count and not stop:
        yield Member(name, None, REST, skipped="empty")


def pieces(file: BinaryIO, name: str, size: int, limit: int) -> list[tuple[int, int]]:
    """Bounds of pieces of about `limit` bytes, for `members`; [(0, 0)] for what is read whole.

    JSON Lines are cut by bytes (a piece has the lines that begin in it), Parquet by row groups,
    zip by members in the order of their names.
    """
    form, packing = kind(name)
    bounds: list[tuple[int, int]] = []
    try:
        if packing:
            pass
        elif form in {".jsonl", ".ndjson"}:
            bounds = [(n, min(n + limit, size)) for n in range(0, size, limit)]
        elif form == ".parquet":
            metadata = pq.read_metadata(file)
            groups = [metadata.row_group(n) for n in range(metadata.num_row_groups)]
            bounds = runs([g.total_byte_size for g in groups], limit)
        elif form == ".zip":
            sizes = [info.compress_size for info in _directory(file)[1]]
            bounds = runs(sizes, max(limit, size // PARTS))
    except DomainLMError:
        raise
    except Exception:  # damaged: the reader counts it
        bounds = []
    return bounds if len(bounds) > 1 else [(0, 0)]


def runs(sizes: Sequence[int], limit: int) -> list[tuple[int, int]]:
    """Bounds of runs whose sizes add up to `limit`, or to more with the last one alone."""
    cuts, total = [0], 0
    for number, size in enumerate(sizes):
        if total and total + size > limit:
            cuts.append(number)
            total = 0
        total += size
    return list(itertools.pairwise([*cuts, len(sizes)]))


def _guarded(found: Iterator[Member], failed: Member) -> Iterator[Member]:
    """The members found; where reading them fails, `failed` with the reason comes last."""
    try:
        yield from found
    except DomainLMError:
        raise
    except MemoryError:  # of the worker's bound: it must not decide what the corpus is
        raise
    except Unreadable as reason:
        yield replace(failed, skipped=str(reason))
    except OSError as error:  # the decompressors' own have no number
        yield replace(failed, skipped="unreadable" if error.errno else "damaged")
    except Exception:  # archives of a stranger: their readers raise almost anything
        yield replace(failed, skipped="damaged")


def unpacked(file: BinaryIO, packing: str) -> BinaryIO:
    """A stream of what is compressed in `file` by `packing` (".gz" ...; "": the file itself)."""
    stream: Any = file
    if packing == ".gz":
        stream = gzip.GzipFile(fileobj=file, mode="rb")
    elif packing == ".bz2":
        stream = bz2.BZ2File(file)
    elif packing == ".xz":
        stream = lzma.LZMAFile(file)  # noqa: SIM115
    elif packing == ".zst":  # unlike others this reader tells a frame that was cut short
        stream = pa.CompressedInputStream(pa.PythonFile(file, mode="r"), "zstd")
    return cast(BinaryIO, _Unpacked(stream) if packing else stream)


class _Unpacked(io.RawIOBase):
    """A decompressor read in small steps: what it gives before a fault is not lost."""

    def __init__(self, stream: Any) -> None:
        self._stream = stream

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        part = self._stream.read(min(len(buffer), STEP))
        buffer[: len(part)] = part
        return len(part)


def _alone(stream: BinaryIO, name: str, source: Source) -> Iterator[Member]:
    """A plain file, or the one that is compressed in `a.txt.gz`: `a.txt`."""
    packing = kind(name)[1]
    data = read_all(stream, source.largest)
    name = name[: -len(packing)] if packing else name
    if data is None:
        yield Member(name, None, REST, skipped="too_large")
    else:
        yield Member(name, data, len(data), 0, len(data))


def _directory(file: BinaryIO) -> tuple[zipfile.ZipFile, list[zipfile.ZipInfo], set[int]]:
    """A zip, its files by name, and where those begin whose bytes are also of another."""
    record = zipfile._EndRecData(file)  # type: ignore[attr-defined]
    if record and record[zipfile._ECD_SIZE] > DIRECTORY:  # type: ignore[attr-defined]
        raise Unreadable("too_large")
    archive = zipfile.ZipFile(file)
    infos = [i for i in archive.infolist() if not i.is_dir()]
    infos = [i for i in infos if not stat.S_ISLNK(i.external_attr >> 16)]
    infos.sort(key=lambda i: (i.filename.replace("\\", "/"), i.header_offset))
    shared: set[int] = set()
    end = 0
    for info in sorted(infos, key=lambda i: i.header_offset):
        if info.header_offset < end:  # bombs of overlapping files (Fifield, WOOT 2019)
            shared.add(info.header_offset)
        end = max(end, info.header_offset + 30 + info.compress_size)
    return archive, infos, shared


def _zip(file: BinaryIO, name: str, source: Source, start: int, stop: int) -> Iterator[Member]:
    archive, infos, shared = _directory(file)
    place = _placer(name, source)
    before = infos[start - 1].filename if start else None
    with archive:
        for info in infos[start : stop or None]:
            uri, reason = place(info.filename)
            if not reason and info.flag_bits & 1:
                reason = "encrypted"
            elif not reason and info.header_offset in shared:
                reason = "damaged"
            elif not reason and info.filename == before:
                reason = "repeated_name"
            before = info.filename
            failed = Member(uri, None, info.file_size, skipped=reason)
            yield from _guarded(_zipped(archive, file, info, failed, source), failed)


def _zipped(
    archive: zipfile.ZipFile, file: BinaryIO, info: zipfile.ZipInfo, about: Member, source: Source
) -> Iterator[Member]:
    if not about.skipped:
        file.seek(info.header_offset + 26)  # APPNOTE 4.3.7: lengths of the name and the extra field
        header = file.read(4)
        start = info.header_offset + 30 + sum(header[0::2]) + 256 * sum(header[1::2])
        about = replace(about, start=start, end=start + info.compress_size)
        with archive.open(info) as stream:
            yield from _inside(cast(BinaryIO, stream), about, source)
    else:
        yield about


class _Header(tarfile.TarInfo):
    """A tar's header, whose faults are told: `tarfile` takes most of them for the end."""

    @classmethod
    def fromtarfile(cls, tar: tarfile.TarFile) -> "_Header":
        try:
            return super().fromtarfile(tar)
        except tarfile.EOFHeaderError:  # type: ignore[attr-defined]
            raise
        except tarfile.HeaderError as error:
            raise ValueError("damaged header") from error

    def _proc_member(self, tar: tarfile.TarFile) -> Any:
        extended = tarfile.XHDTYPE + tarfile.XGLTYPE + tarfile.SOLARIS_XHDTYPE + b"LK"
        if self.type in extended and self.size > HEADER:
            raise ValueError("oversized header")
        return super()._proc_member(tar)  # type: ignore[misc]


def _tar(stream: BinaryIO, name: str, source: Source) -> Iterator[Member]:
    place = _placer(name, source)
    with tarfile.open(fileobj=stream, mode="r|", tarinfo=_Header, bufsize=BLOCK) as archive:
        while info := archive.next():
            archive.members.clear()  # type: ignore[attr-defined]  # it keeps all it has seen
            if not info.isreg():
                continue
            uri, reason = place(info.name)
            start = info.offset_data
            about = Member(uri, None, info.size, start, start + info.size, skipped=reason)
            content = archive.extractfile(info)
            if reason or content is None:
                yield about
            else:
                yield from _inside(cast(BinaryIO, content), about, source)


def _placer(name: str, source: Source) -> Callable[[str], tuple[str, str]]:
    """Of a path in the archive `name`: its URI, and why it is not read (empty where it is).

    The URI is the path where the archive is the whole source, else it stands below the archive's.
    """
    alone = source.path.rstrip("/").rpartition("/")[2] == name
    included, excluded = sources.glob(source.include), sources.glob(source.exclude)

    def place(path: str) -> tuple[str, str]:
        path = path.replace("\\", "/")
        parts = [p for p in path.split("/") if p not in {"", "."}]
        inner = encoded("/".join(parts)).decode("utf-8", "backslashreplace")  # as in a folder
        uri = inner if alone else f"{name}/{inner}"
        form, packing = kind(path)
        if path.startswith("/") or ".." in parts or re.match("[A-Za-z]:", path) or not parts:
            return uri, "unsafe_path"
        if any(p.startswith(".") or p == "__MACOSX" for p in parts):
            return uri, "hidden"
        if packing or form in {".zip", ".tar"}:
            return uri, "nested_archive"
        if excluded(inner) or excluded(uri):
            return uri, "excluded"
        known = sources.known(inner) and not (alone and source.include)
        return uri, "" if known or included(uri) else "unknown_type"

    return place


def _inside(stream: BinaryIO, about: Member, source: Source) -> Iterator[Member]:
    """The member of an archive, or the rows of the table that it is."""
    form = kind(about.name)[0]
    if form in TABLES:
        for row in _guarded(rows(stream, form, about.name, source), about):
            size = about.size if row.size == REST else row.size
            yield replace(row, size=size, start=about.start, end=about.end, unit=about.unit)
    elif about.size > source.largest or (data := read_all(stream, source.largest)) is None:
        yield replace(about, skipped="too_large")
    else:
        yield replace(about, data=data, size=len(data))
