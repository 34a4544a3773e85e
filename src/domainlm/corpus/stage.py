"""The stage `corpus`: list, read, drop duplicates, split, write documents, ledger and prompts."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pyarrow as pa
import pyarrow.parquet as pq

from domainlm.artifacts import (
    Run,
    Task,
    atomic_write,
    read_json,
    sha256_bytes,
    sha256_json,
    write_json,
)
from domainlm.console import say
from domainlm.corpus import documents, prompts, sources, split
from domainlm.corpus.edgar import crawl
from domainlm.corpus.read import read_batch
from domainlm.errors import DomainLMError
from domainlm.recipe import Source, Split

CRAWL = "corpus/crawl.parquet"
LISTING = "corpus/sources.parquet"
ASSIGNMENT = "corpus/split.parquet"
# What decides which filings a crawl fetches.
SELECTION = {
    "kind", "path", "forms", "years", "ciks", "tickers", "sic", "exhibits", "limit", "limit_bytes",
}  # fmt: skip


def waves(run: Run) -> Iterator[list[Task]]:
    """Listing (after a remote source's crawl), reading (a task a batch), split, writing, ledger."""
    source = run.recipe.source
    downloads: list[crawl.Download] = []
    if source.remote:
        asked = {"source": source.model_dump(mode="json", include=SELECTION)}
        _asking[sha256_json(asked)] = source, run.offline
        yield [Task("corpus/crawl", _crawl, asked, (), (CRAWL,), in_process=True)]
        downloads = crawl.read(run.root / CRAWL)
    entries = sources.listing(source, sources.read_listing(run.root / LISTING), downloads)
    batches = list(sources.batches(entries))
    digest = sha256_json([e.identity() for e in entries])
    _listed[digest] = entries
    yield [Task("corpus/sources", _write_listing, {"sha256": digest}, (), (LISTING,))]
    first = 0
    reading = []
    for number, batch in enumerate(batches):
        arguments = {
            "source": source.model_dump(mode="json"),
            "number": number,
            "first": first,
            "count": len(batch),
            "sha256": sha256_json([e.identity() for e in batch]),
        }
        reading.append(Task(f"corpus/read-{number:05d}", read_batch, arguments, (), _parts(number)))
        first += len(batch)
    if source.remote and any(run.manifest.why_stale(task) for task in reading):
        _still_there(run, entries)
    yield reading
    parts = tuple(p for n in range(len(batches)) for p in _parts(n))
    tables = parts[::2]
    settings = run.recipe.split.model_dump(mode="json")
    yield [
        Task(
            "corpus/split",
            _split,
            {"split": settings, "count": len(batches)},
            tables,
            (ASSIGNMENT,),
        )
    ]
    written = [f"corpus/documents-{n:05d}.parquet" for n in range(len(batches))]
    yield [
        Task(f"corpus/write-{n:05d}", _write, {"number": n}, (tables[n], ASSIGNMENT), (path,))
        for n, path in enumerate(written)
    ]
    yield [
        Task(
            "corpus/ledger",
            _ledger,
            {
                "split": settings,
                "source": f"{source.kind}: {_name(source)}",
                "count": len(batches),
                "crawled": source.remote,
            },
            (*parts, ASSIGNMENT, *([CRAWL] if source.remote else [])),
            ("corpus/ledger.json",),
        ),
        Task(
            "corpus/prompts",
            _prompts,
            {
                "files": written,
                "count": run.recipe.evaluate.prompts,
                "seed": run.recipe.split.seed,
                "filings": source.kind == "edgar",
            },
            tuple(written),
            ("corpus/prompts.json",),
        ),
    ]


_listed: dict[str, list[sources.Entry]] = {}  # what `waves` listed, for the task that writes it
# For the task that crawls: who asks, how fast and whether at all, which decide nothing of the rest.
_asking: dict[str, tuple[Source, bool]] = {}


def _parts(number: int) -> tuple[str, str]:
    return f"corpus/parts/read-{number:05d}.parquet", f"corpus/parts/read-{number:05d}.json"


def _name(source: Source) -> str:
    return urlsplit(crawl.base_of(source)).netloc if source.remote else Path(source.path).name


def _crawl(root: Path, arguments: dict[str, Any]) -> dict[str, int]:
    """Task: `crawl.parquet`, one row a filing asked for; the files stay in the cache."""
    source, offline = _asking[sha256_json(arguments)]
    rows = crawl.crawl(source, offline)
    crawl.write(root / CRAWL, rows)
    if failed := [r for r in rows if not r.sha256]:
        say(
            f"  {len(failed):,} of {len(rows):,} filings could not be had ({failed[0].path}: "
            f"{failed[0].status}); to ask for them again remove {root / CRAWL}"
        )
    return {CRAWL: len(rows)}


def _still_there(run: Run, entries: list[sources.Entry]) -> None:
    """Raise where filings are to be read that were cleared from the cache since the crawl."""
    top = sources.root_of(run.recipe.source)
    lost = [e for e in entries if not (top / e.path).is_file()]
    if lost:
        raise DomainLMError(
            f"{len(lost):,} filings are no longer in the cache",
            where=str(top),
            why=f"for example {lost[0].path}",
            fix=f"remove {run.root / CRAWL} and give the same command again: they are fetched anew",
        )


def _write_listing(root: Path, arguments: dict[str, Any]) -> dict[str, int]:
    entries = _listed[arguments["sha256"]]
    sources.write_listing(root / LISTING, entries)
    return {LISTING: len(entries)}


def _split(root: Path, arguments: dict[str, Any]) -> dict[str, int]:
    """Task: `split.parquet`, one row a read document: id, split (or "duplicate"), bytes."""
    items, sizes = [], []
    for document in documents.read(_parts_of(root, arguments, 0)):
        data = document.text.encode()
        items.append(split.Item(document.id, document.group, document.date, sha256_bytes(data)))
        sizes.append(len(data))
    if not items:
        raise DomainLMError(
            "nothing is left of the corpus: no file gave a document",
            where=str(root / "corpus" / "parts"),
            why=f"skipped: {_merged(root, arguments)['skipped']}",
            fix="check source.path, source.include and source.text",
        )
    repeated = split.duplicates(items)
    kept = [i for i in items if i.id not in repeated]
    where, cut = split.assign(kept, Split.model_validate(arguments["split"]))
    table = pa.table(
        {
            "id": [i.id for i in items],
            "group": [i.group for i in items],
            "dated": [i.date is not None for i in items],
            "split": [where.get(i.id, "duplicate") for i in items],
            "bytes": sizes,
        }
    ).replace_schema_metadata({"cut": cut.isoformat() if cut else ""})
    with atomic_write(root / ASSIGNMENT) as file:
        pq.write_table(table, file, compression="zstd")
    return {ASSIGNMENT: len(items)}


def _write(root: Path, arguments: dict[str, Any]) -> dict[str, int]:
    """Task: the kept documents of one part, with their split."""
    import dataclasses

    number = arguments["number"]
    table = pq.read_table(root / ASSIGNMENT, columns=["id", "split"]).to_pydict()
    where = dict(zip(table["id"], table["split"], strict=True))
    kept = [
        dataclasses.replace(d, split=where[d.id])
        for d in documents.read([root / _parts(number)[0]])
        if where[d.id] != "duplicate"
    ]
    path = f"corpus/documents-{number:05d}.parquet"
    documents.write(root / path, kept)
    return {path: len(kept)}


def _parts_of(root: Path, arguments: dict[str, Any], which: int) -> list[Path]:
    """Tables (0) or accounts (1) of all parts, in order."""
    return [root / _parts(n)[which] for n in range(arguments["count"])]


def _merged(root: Path, arguments: dict[str, Any]) -> dict[str, Any]:
    """The parts' accounts added up."""
    total: dict[str, Any] = {}
    for path in _parts_of(root, arguments, 1):
        _add(total, read_json(path))
    for row in crawl.read(root / CRAWL) if arguments.get("crawled") else ():
        if not row.sha256:
            _add(total, {"files": 1, "skipped": {row.status: {"files": 1, "bytes": 0}}})
    return total


def _add(total: dict[str, Any], more: dict[str, Any]) -> None:
    for key, value in more.items():
        if isinstance(value, dict):
            _add(total.setdefault(key, {}), value)
        else:
            total[key] = total.get(key, 0) + value


def _ledger(root: Path, arguments: dict[str, Any]) -> None:
    """Task: `ledger.json`. Every byte of the input is in exactly one place, or the task fails.

    input = skipped + read;  read = other documents + markup + extracted text (markup is what is
    left, so re-encoding counts there, and may be negative);  extracted = duplicates + splits.
    """
    account = _merged(root, arguments)
    table = pq.read_table(root / ASSIGNMENT)
    cut = (table.schema.metadata or {}).get(b"cut", b"").decode() or None
    splits: dict[str, dict[str, Any]] = {}
    groups: set[str] = set()
    dated = 0
    for row in table.to_pylist():
        place = splits.setdefault(row["split"], {"documents": 0, "groups": set(), "bytes": 0})
        place["documents"] += 1
        place["bytes"] += row["bytes"]
        place["groups"].add(row["group"])
        if row["split"] != "duplicate":
            groups.add(row["group"])
            dated += row["dated"]
    for place in splits.values():
        place["groups"] = len(place["groups"])
    repeated = splits.pop("duplicate", {"documents": 0, "bytes": 0})
    order = [s for s in documents.SPLITS if s in splits]
    extracted = account["extracted"]
    skipped_bytes = sum(s["bytes"] for s in account["skipped"].values())
    markup = account["read"]["bytes"] - account["other_documents_bytes"] - extracted["bytes"]
    kept_bytes = sum(s["bytes"] for s in splits.values())
    if (
        account["bytes"] != skipped_bytes + account["read"]["bytes"]
        or extracted["bytes"] != repeated["bytes"] + kept_bytes
    ):
        raise DomainLMError(
            "the ledger does not add up",
            where=str(root / "corpus"),
            why=f"{account}; splits {splits}; duplicates {repeated}",
            fix="this is a defect: please report it with the two lines above",
        )
    kept = sum(s["documents"] for s in splits.values())
    write_json(
        root / "corpus" / "ledger.json",
        {
            "input": {"files": account["files"], "bytes": account["bytes"]},
            "skipped": account["skipped"],
            "read": account["read"],
            "removed": {
                "other_documents_bytes": account["other_documents_bytes"],
                "markup_bytes": markup,
            },
            "extracted": extracted,
            "duplicates": {"documents": repeated["documents"], "bytes": repeated["bytes"]},
            "kept": {"documents": kept, "bytes": kept_bytes, "groups": len(groups)},
            "splits": {name: splits[name] for name in order},
            "evidence": {
                "source": arguments["source"],
                "files": account["files"],
                "bytes": account["bytes"],
                "skipped": account["skipped"],
                "documents": kept,
                "text_bytes": kept_bytes,
                "duplicates": repeated["documents"],
                "duplicate_bytes": repeated["bytes"],
                "groups": len(groups),
                "dated": dated,
                "cut": cut,
                "splits": {name: splits[name] for name in order},
            },
        },
    )


def _prompts(root: Path, arguments: dict[str, Any]) -> None:
    paths = [root / file for file in arguments["files"]]
    rows = prompts.choose(paths, arguments["count"], arguments["seed"], arguments["filings"])
    write_json(root / "corpus" / "prompts.json", rows)
