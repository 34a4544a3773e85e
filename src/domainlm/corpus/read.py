"""Files to documents: one task a batch of files; a bad file is counted, never fatal.

The task writes `corpus/parts/read-NNNNN.parquet` (documents without a split) and a `.json` with
the bytes of every file and every member of a container accounted for: read or skipped, and why.
"""

import contextlib
import datetime
import gc
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Any

from domainlm.artifacts import sha256_bytes, write_json
from domainlm.corpus import containers, documents, formats, sources
from domainlm.corpus.documents import Document, Origin, Section
from domainlm.corpus.edgar.filing import read_exhibit, read_filing
from domainlm.corpus.edgar.tree import Filing, in_industry
from domainlm.corpus.extract import Unreadable
from domainlm.corpus.sections import folder_sections
from domainlm.corpus.tables import REST, Member
from domainlm.recipe import Source

COLLECT = 64_000_000  # bytes read between two searches for cycles
FILING_DELAY = datetime.timedelta(days=90)  # period to filing, where no filing date is known


@contextlib.contextmanager
def uncollected() -> Iterator[None]:
    """Hardly a search for cycles: reading makes few, and the search takes a tenth of its time."""
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


@uncollected()
def read_batch(root: Path, arguments: dict[str, Any]) -> dict[str, int]:
    """Task: read the files of one batch of `corpus/sources.arrow`.

    Every byte of them is in one place: in the packing of containers (their bytes less those of
    their members, so negative where they are compressed), in members skipped, or in members read.
    """
    source = Source.model_validate(arguments["source"])
    number = arguments["number"]
    entries = sources.read_listing(root / "corpus" / "sources.arrow", number)
    account = {
        "files": sum(not e.start for e in entries),  # those that begin here
        "bytes": sum(e.bytes for e in entries),
        "packing_bytes": 0,
        "skipped": {},
        "read": {"files": 0, "bytes": 0},
        "other_documents_bytes": 0,
        "extracted": {"documents": 0, "bytes": 0},
    }
    name = f"corpus/parts/read-{number:05d}"
    rows = documents.write(root / f"{name}.parquet", _documents(root, entries, source, account))
    write_json(root / f"{name}.json", account)
    return {f"{name}.parquet": rows}


def _documents(
    root: Path, entries: list[sources.Entry], source: Source, account: dict[str, Any]
) -> Iterator[Document]:
    """The documents of the entries; adds every byte of these to its place in `account`."""
    base = sources.root_of(source) if source.kind == "edgar" else root
    uncollected_bytes = 0
    for entry in entries:
        rest = entry.bytes
        for member in _members(base, entry, source):
            size = max(0, rest) if member.size == REST else member.size
            rest -= size
            try:
                made, dropped = _made(member, entry, source)
            except Unreadable as reason:
                count = account["skipped"].setdefault(str(reason), {"files": 0, "bytes": 0})
                count["files"] += 1
                count["bytes"] += size
                continue
            account["read"]["files"] += 1
            account["read"]["bytes"] += size
            account["other_documents_bytes"] += dropped
            account["extracted"]["documents"] += len(made)
            account["extracted"]["bytes"] += sum(len(d.text.encode()) for d in made)
            yield from made
            uncollected_bytes += size
            if uncollected_bytes > COLLECT:
                gc.collect()
                uncollected_bytes = 0
        account["packing_bytes"] += rest


def _members(base: Path, entry: sources.Entry, source: Source) -> Iterator[Member]:
    """What is in one listed file; of a filing, the file. An unreadable one is a skipped member."""
    try:
        if not entry.sha256:
            raise FileNotFoundError
        if source.kind == "edgar":
            yield Member(entry.path, (base / entry.path).read_bytes(), entry.bytes)
            return
        with sources.opened(source, entry, base) as file:
            yield from containers.members(file, entry.path, source, entry.start, entry.stop)
    except OSError:
        yield Member(entry.path, None, REST, skipped="unreadable")


def _made(member: Member, entry: sources.Entry, source: Source) -> tuple[list[Document], int]:
    """Documents of one member, and bytes of other documents in it that were left out."""
    if member.data is None:
        raise Unreadable(member.skipped)
    if source.kind == "edgar":
        return _filing(member.data, entry, source)
    text, sections, found, dropped = formats.read(
        member.name, member.data, source.tables, member.row
    )
    if source.date:
        found.pop("date", None)
    facts = {**_of_path(member.name, source), **found, **member.facts}
    parent = PurePosixPath(member.name).parent
    if not sections and member.facts.get("group") not in {parent.as_posix(), parent.name}:
        sections = folder_sections(member.name, source.group, text)
    origin = Origin(entry.path, member.start, member.end, member.unit)
    sha256 = sha256_bytes(member.data)
    return [_document(member.name, sha256, origin, text, facts, sections)], dropped


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
    origin = Origin(entry.path, 0, len(data))
    made = [_document(entry.path, entry.sha256, origin, text, facts, sections)]
    dropped = submission.dropped_bytes
    for number, (kind, content) in enumerate(submission.exhibits if source.exhibits else (), 1):
        try:
            exhibit = read_exhibit(content, source.tables)
        except Unreadable:  # a picture or a table of figures without its tags: it stays dropped
            continue
        if exhibit:
            own = {"title": f"{facts['title']} {kind}", "meta": (*meta, ("exhibit", kind))}
            uri = f"{entry.path}#{number}"
            made.append(_document(uri, entry.sha256, origin, exhibit, facts | own))
            dropped -= len(content)
    return made, dropped


def _document(
    uri: str,
    sha256: str,
    origin: Origin,
    text: str,
    facts: dict[str, Any],
    sections: tuple[Section, ...] = (),
) -> Document:
    return Document(
        id=sha256_bytes(f"{uri}\n{sha256}".encode())[:16],  # of two rows one name may be the same
        group=facts["group"],
        date=facts["date"],
        title=facts["title"] or uri,
        uri=uri,
        source_sha256=sha256,
        text=text,
        sections=sections,
        meta=facts.get("meta", ()),
        origin=origin,
    )


def _of_path(path: str, source: Source) -> dict[str, Any]:
    """Group and date as far as the path tells them."""
    if source.group == "folder":
        group: str | None = PurePosixPath(path).parent.as_posix()
    elif "(" in source.group:
        group = sources.first_match(source.group, path)
    else:
        group = path
    date = None
    if source.date and "(" in source.date:
        date = sources.as_date(sources.first_match(source.date, path))
    return {"group": group or path, "date": date, "title": path}
