"""Files to documents: one task a batch of files; a bad file is counted, never fatal.

The task writes `corpus/parts/read-NNNNN.parquet` (documents without a split) and a `.json` with
the bytes of every file accounted for: read or skipped, and why.
"""

import contextlib
import datetime
import gc
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from domainlm.artifacts import sha256_bytes, write_json
from domainlm.corpus import documents, sources
from domainlm.corpus.documents import Document, Section
from domainlm.corpus.edgar.filing import read_exhibit, read_filing
from domainlm.corpus.edgar.tree import Filing, in_industry
from domainlm.corpus.extract import Unreadable, decode, tidy
from domainlm.corpus.sections import folder_sections, markdown_sections, read_html
from domainlm.recipe import Source

FILING_DELAY = datetime.timedelta(days=90)  # period to filing, where no filing date is known


@contextlib.contextmanager
def uncollected() -> Iterator[None]:
    """No search for cycles: reading makes few, and the search takes a tenth of its time."""
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


@uncollected()
def read_batch(root: Path, arguments: dict[str, Any]) -> dict[str, int]:
    """Task: read the files of one batch of `corpus/sources.parquet`."""
    source = Source.model_validate(arguments["source"])
    base = sources.root_of(source)
    entries = sources.read_listing(root / "corpus" / "sources.parquet")
    batch = entries[arguments["first"] : arguments["first"] + arguments["count"]]
    found: list[Document] = []
    skipped: dict[str, dict[str, int]] = {}
    read_bytes = read_files = other_documents = 0
    for entry in batch:
        try:
            made, dropped = _read(base, entry, source)
            if not made:
                raise Unreadable("empty")
        except Unreadable as reason:
            count = skipped.setdefault(str(reason), {"files": 0, "bytes": 0})
            count["files"] += 1
            count["bytes"] += entry.bytes
            continue
        found += made
        read_files += 1
        read_bytes += entry.bytes
        other_documents += dropped
    name = f"corpus/parts/read-{arguments['number']:05d}"
    documents.write(root / f"{name}.parquet", found)
    write_json(
        root / f"{name}.json",
        {
            "files": len(batch),
            "bytes": sum(e.bytes for e in batch),
            "skipped": skipped,
            "read": {"files": read_files, "bytes": read_bytes},
            "other_documents_bytes": other_documents,
            "extracted": {
                "documents": len(found),
                "bytes": sum(len(d.text.encode()) for d in found),
            },
        },
    )
    return {f"{name}.parquet": len(found)}


def _read(base: Path, entry: sources.Entry, source: Source) -> tuple[list[Document], int]:
    """Documents of one file, and bytes of other documents in it that were left out."""
    if not entry.sha256:
        raise Unreadable("unreadable")
    path = base / entry.path
    try:
        if source.kind == "edgar":
            return _filing(path.read_bytes(), entry, source)
        if path.suffix.lower() in {".jsonl", ".parquet"}:
            rows = _jsonl(path) if path.suffix.lower() == ".jsonl" else _parquet(path)
            return [d for n, row in enumerate(rows) if (d := _row(row, n, entry, source))], 0
        text = decode(path.read_bytes())
    except OSError as error:
        raise Unreadable("unreadable") from error
    found: tuple[Section, ...] = ()
    if path.suffix.lower() in {".html", ".htm"}:
        text, found = read_html(text, source.tables)
    else:
        text = tidy(text)
    if not text.strip():
        raise Unreadable("empty")
    if path.suffix.lower() in {".md", ".markdown"}:
        found = markdown_sections(text)
    found = found or folder_sections(entry.path, source.group, text)
    facts = _of_path(entry.path, source)
    return [_document(entry, text, facts, number=None, sections=found)], 0


def _filing(data: bytes, entry: sources.Entry, source: Source) -> tuple[list[Document], int]:
    filing = Filing(
        entry.path, entry.form, entry.cik, entry.title, entry.date, entry.period, entry.accession
    )
    text, sections, submission = read_filing(data, filing, source.tables)
    sic = entry.sic or submission.sic
    if sic and not in_industry(sic, source.sic):
        raise Unreadable("another industry")
    period = entry.period or submission.period
    company = entry.title or submission.company
    form = entry.form or submission.form
    date = entry.date or submission.filed or (period + FILING_DELAY if period else None)
    about = {
        "company": company,
        "form": form,
        "period": period,
        "accession": entry.accession or submission.accession,
        "sic": sic,
    }
    meta = tuple((k, str(v)) for k, v in about.items() if v)
    facts = {
        "group": entry.group or submission.cik or company or entry.path,
        "date": date,
        "title": " ".join(str(p) for p in (company, form, period or date or "") if p),
        "meta": meta,
    }
    made = [_document(entry, text, facts, sections=sections, number=None)]
    dropped = submission.dropped_bytes
    for number, (kind, content) in enumerate(submission.exhibits if source.exhibits else (), 1):
        try:
            exhibit = read_exhibit(content, source.tables)
        except Unreadable:  # a picture or a table of figures without its tags: it stays dropped
            continue
        if exhibit:
            own = {"title": f"{facts['title']} {kind}", "meta": (*meta, ("exhibit", kind))}
            made.append(_document(entry, exhibit, facts | own, number=number))
            dropped -= len(content)
    return made, dropped


def _document(
    entry: sources.Entry,
    text: str,
    facts: dict[str, Any],
    *,
    number: int | None,
    sections: tuple[Section, ...] = (),
) -> Document:
    uri = entry.path if number is None else f"{entry.path}#{number}"
    return Document(
        id=sha256_bytes(uri.encode())[:16],
        group=facts["group"],
        date=facts["date"],
        title=facts["title"] or uri,
        uri=uri,
        source_sha256=entry.sha256,
        text=text,
        sections=sections,
        meta=facts.get("meta", ()),
    )


def _of_path(path: str, source: Source) -> dict[str, Any]:
    """Group and date as far as the path tells them."""
    if source.group == "folder":
        group: str | None = Path(path).parent.as_posix()
    elif "(" in source.group:
        group = sources.first_match(source.group, path)
    else:
        group = path
    date = None
    if source.date and "(" in source.date:
        date = sources.as_date(sources.first_match(source.date, path))
    return {"group": group or path, "date": date, "title": path}


def _row(row: dict[str, Any], number: int, entry: sources.Entry, source: Source) -> Document | None:
    """The document of one row of a table; None where its text is missing or blank."""
    text = row.get(source.text)
    if not isinstance(text, str) or not text.strip():
        return None
    facts = _of_path(entry.path, source)
    if row.get(source.group) is not None:
        facts["group"] = str(row[source.group])
    if source.date and row.get(source.date) is not None:
        facts["date"] = sources.as_date(row[source.date])
    if source.title and row.get(source.title) is not None:
        facts["title"] = str(row[source.title])
    elif entry.path:
        facts["title"] = f"{entry.path}#{number}"
    text = tidy(text)
    folder = folder_sections(entry.path, source.group, text)
    return _document(entry, text, facts, number=number, sections=folder)


def _jsonl(path: Path) -> Iterator[dict[str, Any]]:
    """Rows of a JSON Lines file; a line that is not a JSON object counts as a row without text."""
    with open(path, "rb") as file:
        for line in file:
            try:
                row = json.loads(line)
            except ValueError:
                row = {}
            yield row if isinstance(row, dict) else {}


def _parquet(path: Path) -> Iterator[dict[str, Any]]:
    try:
        with pq.ParquetFile(path) as file:
            for batch in file.iter_batches(batch_size=256):
                yield from batch.to_pylist()
    except (pa.ArrowInvalid, pa.ArrowTypeError, UnicodeDecodeError) as error:
        raise Unreadable("damaged") from error
