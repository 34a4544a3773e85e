"""What there is to read: one `Entry` a file, with its hash and what is known of it.

A listing costs a `stat` a file: a file whose size and time are as in the last listing keeps the
hash it had then.
"""

import dataclasses
import datetime
import re
import sysconfig
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from domainlm.artifacts import atomic_write, code_hash, sha256_file
from domainlm.corpus.edgar import crawl
from domainlm.corpus.edgar.cache import blob_name
from domainlm.corpus.edgar.tree import Filing, hash_order, list_filings
from domainlm.errors import USAGE, DomainLMError
from domainlm.pretrained import cache_folder
from domainlm.recipe import Source

KNOWN = (".txt", ".md", ".html", ".htm", ".jsonl", ".parquet")
BATCH_BYTES = 24_000_000  # of source files a task


@dataclasses.dataclass(frozen=True)
class Entry:
    """A file to read. `path` is relative to the source's root; `sha256` is empty if unreadable."""

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

    def identity(self) -> list[str]:
        """All that decides what is read: everything but the time of the file."""
        return [
            str(getattr(self, f.name)) for f in dataclasses.fields(self) if f.name != "modified"
        ]


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
    path = Path(source.path).expanduser()
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
    source: Source, previous: Sequence[Entry], downloads: Sequence[crawl.Download] = ()
) -> list[Entry]:
    """Every file of the source, sorted by path, capped by its limits (in the order of hashes).

    Of a remote source these are the `downloads` of its crawl, capped already.
    """
    root = root_of(source)
    known = {e.path: e for e in previous}
    if source.remote:
        entries = [
            Entry(d.path, d.bytes, 0, d.sha256, sic=d.sic, **_of_filing(d))
            for d in downloads
            if d.sha256
        ]
    elif source.kind == "edgar":
        filings = list_filings(root, source)
        entries = _capped([_entry(root, f.path, known, _of_filing(f)) for f in filings], source)
    else:
        entries = [_entry(root, p, known, {}) for p in sorted(_files(root, source))]
        entries = _capped(entries, source)
    if not entries:
        raise DomainLMError(
            "the corpus is empty: no file to read",
            where=str(root),
            why="nothing under it matches the recipe's forms, globs or known types "
            f"({', '.join(KNOWN)})",
            fix="check source.path and source.include (or source.forms, years, ciks)",
        )
    return entries


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
    """Runs of entries in order, of about `BATCH_BYTES` of source each."""
    batch: list[Entry] = []
    size = 0
    for entry in entries:
        if batch and size + entry.bytes > BATCH_BYTES:
            yield batch
            batch, size = [], 0
        batch.append(entry)
        size += entry.bytes
    if batch:
        yield batch


def write_listing(path: Path, entries: Sequence[Entry]) -> None:
    """Keep a listing as Parquet, for the next one and for the tasks that read its files."""
    table = pa.Table.from_pylist([dataclasses.asdict(e) for e in entries], schema=_SCHEMA)
    with atomic_write(path) as file:
        pq.write_table(table, file, compression="zstd")


def read_listing(path: Path) -> list[Entry]:
    """The listing kept by `write_listing`; empty where there is none."""
    return [Entry(**row) for row in pq.read_table(path).to_pylist()] if path.is_file() else []


_TYPES = {int: pa.int64(), str: pa.string(), datetime.date | None: pa.date32()}
_SCHEMA = pa.schema([(f.name, _TYPES[f.type]) for f in dataclasses.fields(Entry)])  # type: ignore[index]


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


def _files(root: Path, source: Source) -> Iterator[str]:
    path = Path(source.path).expanduser()
    if path.is_file():
        yield path.name
        return
    patterns = source.include
    if not patterns and any(c in source.path for c in "*?["):
        patterns = [path.relative_to(root).as_posix()]
    for file in root.rglob("*"):
        name = file.relative_to(root)
        if any(part.startswith(".") for part in name.parts) or not file.is_file():
            continue
        if patterns:
            wanted = any(_matches(name, p) for p in patterns)
        else:
            wanted = file.suffix.lower() in KNOWN
        if wanted and not any(_matches(name, p) for p in source.exclude):
            yield name.as_posix()


def _matches(name: Path, pattern: str) -> bool:
    """Glob match of a relative path, where `**/` also stands for no folder at all."""
    expression = ""
    for piece in re.split(r"(\*\*/|\*\*|\*|\?|\[[^\]]+\])", pattern):
        if piece == "**/":
            expression += "(?:.*/)?"
        elif piece == "**":
            expression += ".*"
        elif piece in {"*", "?"}:
            expression += "[^/]" + ("*" if piece == "*" else "")
        else:
            expression += piece if piece.startswith("[") else re.escape(piece)
    return re.fullmatch(expression, name.as_posix()) is not None


def _entry(root: Path, path: str, known: dict[str, Entry], facts: dict[str, Any]) -> Entry:
    file = root / path
    try:
        stat = file.stat()
    except OSError:
        return Entry(path, 0, 0, "", **facts)
    old = known.get(path)
    if old and (old.bytes, old.modified) == (stat.st_size, stat.st_mtime_ns) and old.sha256:
        sha256 = old.sha256
    else:
        try:
            sha256 = blob_name(file) or sha256_file(file)  # a crawl's files are named by theirs
        except OSError:
            sha256 = ""
    return Entry(path, stat.st_size, stat.st_mtime_ns, sha256, **facts)


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
