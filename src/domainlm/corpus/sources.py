"""What there is to read: one `Entry` a file or piece of one, with its hash and what is known of it.

A listing costs a `stat` a file: a file whose size and time are as in the last listing keeps the
hash it had then. Of an object of a store the hash is of what the store says of its version.
"""

import contextlib
import dataclasses
import datetime
import operator
import os
import re
import sysconfig
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, BinaryIO

import pyarrow as pa

from domainlm.artifacts import atomic_write, code_hash, sha256_file
from domainlm.console import say
from domainlm.corpus import remote
from domainlm.corpus.edgar import crawl
from domainlm.corpus.edgar.cache import blob_name
from domainlm.corpus.edgar.tree import Filing, hash_order, list_filings
from domainlm.errors import USAGE, DomainLMError
from domainlm.pretrained import cache_folder
from domainlm.recipe import Source

PLAIN = (".txt", ".md", ".markdown", ".html", ".htm", ".eml", ".jsonl", ".ndjson", ".csv", ".tsv")
KNOWN = (*PLAIN, ".pdf", ".docx", ".parquet", ".zip", ".tar", ".tgz")
PACKED = (".gz", ".zst", ".bz2", ".xz")  # of plain text or a tar
BATCH_BYTES = 24_000_000  # of source files a task
BATCH_FILES = 2000  # likewise, since each costs a request or two where it is far away


@dataclasses.dataclass(frozen=True)
class Entry:
    """A file to read, or a piece of a large container. `sha256` is empty if it is unreadable.

    `path` is relative to the source's root. `start` up to `stop` are the piece, in the container's
    own unit (0, 0: all of it); the `bytes` of the pieces of a file add up to those of the file.
    """

    path: str
    bytes: int
    modified: int  # nanoseconds since 1970
    sha256: str
    group: str = ""
    date: datetime.date | None = None
    title: str = ""
    form: str = ""
    cik: str = ""
    period: datetime.date | None = None
    accession: str = ""
    sic: str = ""
    start: int = 0
    stop: int = 0
    version: str = ""  # hub: the commit

    def identity(self) -> list[str]:
        """All that decides what is read: everything but the time of the file."""
        return [str(value) for value in _IDENTITY(self)]


_FIELDS = dataclasses.fields(Entry)
_IDENTITY = operator.attrgetter(*(f.name for f in _FIELDS if f.name != "modified"))


def known(name: str) -> bool:
    """True for a name that ends like a type that is read when a recipe names none."""
    stem, suffix = os.path.splitext(name.lower())
    return suffix in KNOWN or (suffix in PACKED and stem.endswith((*PLAIN, ".tar")))


def root_of(source: Source) -> Path:
    """The folder that paths are relative to; makes the fictional EDGAR where that is the source."""
    if source.remote:
        return crawl.archive(source)
    if source.path == "sample:edgar":
        from domainlm.samples import edgar

        target = cache_folder() / "samples" / f"edgar-{code_hash(edgar.write)[:12]}"
        edgar.write(target)
        return target
    if source.path == "sample:python":
        return Path(sysconfig.get_paths()["stdlib"])
    path = _local(source)
    if any(c in source.path for c in "*?[") and not path.exists():
        fixed = [p for p in path.parts if not any(c in p for c in "*?[")]
        path = Path(*fixed) if fixed else Path()
    if not path.exists():
        raise DomainLMError(
            f"there is no corpus at {source.path}",
            where="source.path",
            fix="give a folder, a file or a glob: --corpus PATH",
            exit_code=USAGE,
        )
    return path.parent if path.is_file() else path


def listing(
    source: Source,
    previous: Sequence[Entry],
    downloads: Sequence[crawl.Download] = (),
    offline: bool = False,
) -> list[Entry]:
    """Every file of the source, sorted by path, capped by its limits (in the order of hashes).

    A container of more than `BATCH_BYTES` is an entry a piece, where it can be cut. Of a remote
    EDGAR these are the `downloads` of its crawl, capped already. Raises `DomainLMError` where
    there is nothing, where a store cannot be reached, or where `offline` and it is on a server.
    """
    before: dict[str, list[Entry]] = {}
    for entry in previous:
        before.setdefault(entry.path, []).append(entry)
    wanted = glob(source.include) if source.include else known
    left_out = glob(source.exclude)

    def is_wanted(path: str) -> bool:
        return wanted(path) and not left_out(path) and not re.search(r"(^|/)\.", path)

    if source.remote:
        entries = [
            Entry(d.path, d.bytes, 0, d.sha256, sic=d.sic, **_of_filing(d))
            for d in downloads
            if d.sha256
        ]
    elif source.kind == "edgar":
        root = root_of(source)
        filings = list_filings(root, source)
        entries = _capped([_entry(root, f.path, before, _of_filing(f)) for f in filings], source)
    else:
        if remote.is_remote(source):
            objects = remote.listed(source, is_wanted, offline)
            entries = [Entry(f.path, f.bytes, 0, f.sha256, version=f.version) for f in objects]
        else:
            root = root_of(source)
            entries = [_entry(root, p, before, {}) for p in _files(root, source, is_wanted)]
        entries = _capped(sorted(entries, key=lambda e: e.path), source)
        entries = [p for e in entries for p in _pieces(source, e, before.get(e.path, []))]
    if not entries:
        raise DomainLMError(
            "the corpus is empty: no file to read",
            where=source.path or crawl.base_of(source),
            why="nothing under it matches the recipe's forms, globs or known types "
            f"({', '.join(KNOWN)})",
            fix="check source.path and source.include (or source.forms, years, ciks)",
        )
    return entries


@contextlib.contextmanager
def opened(source: Source, entry: Entry, root: Path = Path()) -> Iterator[BinaryIO]:
    """The bytes of an entry's file, seekable, wherever they are.

    `root` is the run directory, which holds the table that a query gave. Raises FileNotFoundError
    or PermissionError for one bad file, `DomainLMError` where a store cannot be reached.
    """
    if remote.is_remote(source):
        size = None if entry.stop else entry.bytes
        with remote.opened(source, entry.path, size, entry.version) as file:
            yield file
        return
    top = root if source.kind == "sql" else root_of(source)
    with open(_on_disk(top, entry.path), "rb") as file:
        yield file


def _pieces(source: Source, entry: Entry, before: Sequence[Entry]) -> list[Entry]:
    """The entry, or its pieces where it is a large container; as before where it is unchanged."""
    if entry.bytes <= BATCH_BYTES or not entry.sha256:
        return [entry]
    if before and before[0].sha256 == entry.sha256:
        bounds = [(e.start, e.stop) for e in before]
    elif remote.is_remote(source) and not remote.in_parts(
        source, entry.path, entry.bytes, entry.version
    ):
        bounds = [(0, 0)]
    else:
        from domainlm.corpus.containers import pieces

        try:
            with opened(source, entry) as file:
                bounds = pieces(file, entry.path, entry.bytes, BATCH_BYTES)
        except OSError:
            bounds = [(0, 0)]
    ends = [entry.bytes * n // len(bounds) for n in range(len(bounds) + 1)]
    return [
        dataclasses.replace(entry, bytes=ends[n + 1] - ends[n], start=start, stop=stop)
        for n, (start, stop) in enumerate(bounds)
    ]


def _capped(entries: list[Entry], source: Source) -> list[Entry]:
    """The first `limit` files, of those the first up to `limit_bytes`, in the order of hashes."""
    if source.limit is None and source.limit_bytes is None:
        return entries
    kept: list[Entry] = []
    size = 0
    for entry in sorted(entries, key=lambda e: hash_order(e.path))[: source.limit]:
        size += entry.bytes
        if source.limit_bytes and kept and size > source.limit_bytes:
            break
        kept.append(entry)
    return sorted(kept, key=lambda e: e.path)


def batches(entries: Sequence[Entry]) -> Iterator[list[Entry]]:
    """Runs of entries in order, of about `BATCH_BYTES` of source and at most `BATCH_FILES` each."""
    batch: list[Entry] = []
    size = 0
    for entry in entries:
        if batch and (size + entry.bytes > BATCH_BYTES or len(batch) == BATCH_FILES):
            yield batch
            batch, size = [], 0
        batch.append(entry)
        size += entry.bytes
    if batch:
        yield batch


def write_listing(path: Path, entries: Sequence[Entry]) -> None:
    """Keep a listing as an Arrow file (zstd), a record batch a batch: of a terabyte it has 40,000.

    Not as Parquet, whose footer would then be 80 MB, which every task reads to find its own rows.
    """
    options = pa.ipc.IpcWriteOptions(compression="zstd")
    with atomic_write(path) as file, pa.ipc.new_file(file, _SCHEMA, options=options) as writer:
        for batch in batches(entries):
            columns = {f.name: [getattr(e, f.name) for e in batch] for f in _FIELDS}
            writer.write_batch(pa.record_batch(columns, schema=_SCHEMA))


def read_listing(path: Path, number: int | None = None) -> list[Entry]:
    """The listing kept by `write_listing`, or one batch of it; empty where there is none."""
    if not path.is_file():
        return []
    with pa.memory_map(os.fspath(path)) as file:
        reader = pa.ipc.open_file(file)
        if number is None:
            columns = reader.read_all().combine_chunks().columns
        else:
            columns = reader.get_batch(number).columns
        return [Entry(*row) for row in zip(*(c.to_pylist() for c in columns), strict=True)]


_TYPES = {int: pa.int64(), str: pa.string(), datetime.date | None: pa.date32()}
_SCHEMA = pa.schema([(f.name, _TYPES[f.type]) for f in _FIELDS])  # type: ignore[index]


def first_match(pattern: str, text: str) -> str | None:
    """The first group of a pattern in `text`, else None."""
    found = re.search(pattern, text)
    return found.group(1) if found else None


def as_date(value: Any) -> datetime.date | None:
    """A date from a date, a timestamp or the start of an ISO 8601 string; None if it is none."""
    if isinstance(value, datetime.datetime):
        return value.date()
    if isinstance(value, datetime.date):
        return value
    try:
        text = str(value)
        return datetime.date.fromisoformat(text[:10] if "-" in text else text[:8])
    except ValueError:
        return None


def glob(patterns: Sequence[str]) -> Callable[[str], bool]:
    """Whether a relative path matches one of the globs; `**/` also stands for no folder at all."""
    tokens = {"**/": "(?:.*/)?", "**": ".*", "*": "[^/]*", "?": "[^/]"}
    expressions = []
    for pattern in patterns:
        pieces = re.split(r"(\*\*/|\*\*|\*|\?|\[[^\]]+\])", pattern)
        parts = (tokens.get(p) or (p if p.startswith("[") else re.escape(p)) for p in pieces)
        expressions.append(f"(?:{''.join(parts)})")
    compiled = re.compile("|".join(expressions) or r"(?!)", re.DOTALL)
    return lambda path: compiled.fullmatch(path) is not None


def _local(source: Source) -> Path:
    return Path(source.path.removeprefix("file://")).expanduser()


def _files(root: Path, source: Source, is_wanted: Callable[[str], bool]) -> Iterator[str]:
    r"""Paths of the files below `root`, in no order. Links to folders are not followed.

    A name that is not UTF-8 has its other bytes as `\xNN`, since it goes into tables.
    """
    path = _local(source)
    if path.is_file():
        yield path.name
        return
    if not source.include and any(c in source.path for c in "*?["):
        matches, left_out = glob([path.relative_to(root).as_posix()]), glob(source.exclude)
        is_wanted = lambda p: matches(p) and not left_out(p)  # noqa: E731
    folders = [("", os.fspath(root))]
    while folders:
        prefix, folder = folders.pop()
        try:
            with os.scandir(folder) as found:
                for file in found:
                    if file.name.startswith("."):
                        continue
                    name = prefix + os.fsencode(file.name).decode("utf-8", "backslashreplace")
                    if file.is_dir(follow_symlinks=False):
                        folders.append((name + "/", file.path))
                    elif is_wanted(name) and file.is_file():
                        yield name
        except PermissionError:
            say(f"  no permission to list {folder}: it is left out")


def _entry(root: Path, path: str, before: dict[str, list[Entry]], facts: dict[str, Any]) -> Entry:
    file = _on_disk(root, path)
    try:
        stat = file.stat()
    except OSError:
        return Entry(path, 0, 0, "", **facts)
    old = before.get(path, [])
    same = old and (sum(e.bytes for e in old), old[0].modified) == (stat.st_size, stat.st_mtime_ns)
    try:  # a crawl's files are named by their hashes
        sha256 = (old[0].sha256 if same else "") or blob_name(file) or sha256_file(file)
    except OSError:
        sha256 = ""
    return Entry(path, stat.st_size, stat.st_mtime_ns, sha256, **facts)


def _on_disk(root: Path, path: str) -> Path:
    """The file of a listed path, whose name may not be UTF-8."""
    file = root / path
    if "\\x" in path and not file.exists():
        raw = re.sub(rb"\\x([0-9a-f]{2})", lambda m: bytes.fromhex(m[1].decode()), path.encode())
        return root / os.fsdecode(raw)
    return file


def _of_filing(filing: Filing | crawl.Download) -> dict[str, Any]:
    return {
        "group": filing.cik,
        "date": filing.filed,
        "title": filing.company,
        "form": filing.form,
        "cik": filing.cik,
        "period": filing.period,
        "accession": filing.accession,
    }
