"""The stage `corpus`: sources -> documents with a split, ledger, prompts and audit.

Each wave's tasks read what the waves before wrote: listing (after a crawl or a query), reading,
counts of lines where the recipe asks for them, cleaning, near-duplicates, one task that splits,
writing, audit, and last the ledger and the prompts.
"""

from collections.abc import Generator, Iterator
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from domainlm.artifacts import Run, Task, code_hash, sha256_json, write_json
from domainlm.console import say
from domainlm.corpus import (
    audit,
    clean,
    ledger,
    lines,
    near,
    privacy,
    prompts,
    quality,
    remote,
    shuffle,
    sources,
    sql,
    write,
)
from domainlm.corpus.containers import runs
from domainlm.corpus.edgar import crawl
from domainlm.corpus.read import read_batch
from domainlm.errors import DomainLMError
from domainlm.recipe import Source

CRAWL = "corpus/crawl.parquet"
LISTING = "corpus/sources.arrow"
PARTS = "corpus/parts"
PART_BYTES = 48_000_000  # of text and spans a part, if its file can be cut so
Tables = dict[str, int]  # of frequent lines: in how many partitions, by unit
# What decides which files are listed.
LISTED = {
    "kind", "path", "include", "exclude", "revision", "limit", "limit_bytes"
}  # fmt: skip
# What decides which filings a crawl fetches.
SELECTION = {
    "kind", "path", "forms", "years", "ciks", "tickers", "sic", "exhibits", "limit", "limit_bytes",
}  # fmt: skip


def waves(run: Run) -> Iterator[list[Task]]:
    """The lists of independent tasks, each asked for when those before it are done."""
    quality.expand(run.recipe.clean.rules)  # a name that is none is told before anything is read
    accounts = yield from _reading(run)
    parts = _parts(run.root, [path.replace(".json", ".parquet") for path in accounts])
    recipe = run.recipe
    wanted = {"furniture": recipe.clean.furniture, "boilerplate": recipe.clean.boilerplate}
    frequent = yield from _counting(run.root, parts, {u: x for u, x in wanted.items() if x})
    own = recipe.privacy.recognizer
    arguments = {
        "clean": recipe.clean.model_dump(mode="json"),
        "privacy": recipe.privacy.model_dump(mode="json"),
        "recognizer": code_hash(privacy.load_recognizer(own)) if own else "",
        "frequent": frequent,
        "threshold": recipe.duplicates.threshold,
    }
    yield [
        Task(
            f"corpus/clean-{part['number']:05d}",
            clean.clean,
            arguments | {"part": part},
            (part["file"], *_files(frequent)),
            clean.outputs(part["number"]),
            size=part["bytes"],
        )
        for part in parts
    ]
    prefixes = [near.prefix(n) for n in range(len(parts))]
    links, matched = yield from near.waves(len(parts), recipe.duplicates.threshold, run.root)
    split = recipe.split.model_dump(mode="json", exclude={"leakage"})
    duplicates = recipe.duplicates.model_dump(mode="json", exclude={"paragraphs"})
    yield [
        Task(
            "corpus/split",
            write.split,
            {"split": split, "duplicates": duplicates, "parts": len(parts)},
            (*(f"{p}.index.parquet" for p in prefixes), *links),
            (write.ASSIGNMENT,),
        )
    ]
    cleaned: list[dict[str, Any]] = [
        {"number": n, "file": f"{p}.parquet", "documents": 0, "bytes": 0}
        for n, p in enumerate(prefixes)
    ]
    limit = recipe.duplicates.paragraphs
    repeated = yield from _counting(run.root, cleaned, {"paragraph": limit} if limit else {})
    written = [f"corpus/documents-{n:05d}.parquet" for n in range(len(parts))]
    yield [
        Task(
            f"corpus/write-{n:05d}",
            write.write,
            {"part": part, "output": path, "frequent": repeated},
            (part["file"], write.ASSIGNMENT, *_files(repeated)),
            (path, f"{PARTS}/write-{n:05d}.json"),
        )
        for n, (part, path) in enumerate(zip(cleaned, written, strict=True))
    ]
    yield from audit.waves(run.root, written, recipe.split.leakage, recipe.split.seed)
    by_stage = {
        "read": accounts,
        "cleaned": [f"{p}.json" for p in prefixes],
        "matched": matched,
        "written": [f"{PARTS}/write-{n:05d}.json" for n in range(len(parts))],
    }
    crawled = CRAWL if recipe.source.remote else ""
    asked = {
        "source": f"{recipe.source.kind}: {ledger.name(recipe.source)}",
        "crawled": crawled,
        "privacy": recipe.privacy.mode,
    }
    inputs = [path for paths in by_stage.values() for path in paths]
    inputs += [write.ASSIGNMENT, audit.AUDIT, *([crawled] if crawled else [])]
    yield [
        Task("corpus/ledger", ledger.write, asked | by_stage, inputs, ("corpus/ledger.json",)),
        Task(
            "corpus/prompts",
            _prompts,
            {
                "files": written,
                "count": recipe.evaluate.prompts,
                "seed": recipe.split.seed,
                "filings": recipe.source.kind == "edgar",
            },
            tuple(written),
            ("corpus/prompts.json",),
        ),
    ]


def _reading(run: Run) -> Generator[list[Task], None, list[str]]:
    """Waves up to the read documents; returns the accounts of the tasks that read."""
    source = run.recipe.source
    entries: list[sources.Entry]
    if source.kind == "sql":
        asked = source.model_dump(mode="json", include={"path", "query", "text"})
        outputs = (sql.TABLE, sql.ACCOUNT)
        yield [Task("corpus/table", sql.fetch, asked, (), outputs, in_process=True)]
        entries = sql.entries(run.root)
    else:
        downloads: list[crawl.Download] = []
        if source.remote:
            asked = {"source": source.model_dump(mode="json", include=SELECTION)}
            _asking[sha256_json(asked)] = source, run.offline
            yield [Task("corpus/crawl", _crawl, asked, (), (CRAWL,), in_process=True)]
            downloads = crawl.read(run.root / CRAWL)
        entries = _listing(run, downloads)
    listed = _listing_task(source, sha256_json([e.identity() for e in entries]))
    _listed[listed.arguments["sha256"]] = entries
    yield [listed]
    reading = []
    for number, batch in enumerate(sources.batches(entries)):
        arguments = {
            "source": source.model_dump(mode="json"),
            "number": number,
            "sha256": sha256_json([e.identity() for e in batch]),
        }
        prefix = f"{PARTS}/read-{number:05d}"
        reading.append(
            Task(
                f"corpus/read-{number:05d}",
                read_batch,
                arguments,
                (),
                (f"{prefix}.parquet", f"{prefix}.json"),
                size=sum(e.bytes for e in batch),
            )
        )
    if source.remote and any(run.manifest.why_stale(task) for task in reading):
        _still_there(run, entries)
    yield reading
    return [task.outputs[1] for task in reading]


def _listing(run: Run, downloads: list[crawl.Download]) -> list[sources.Entry]:
    """What there is to read; offline, of a store that is elsewhere, what there was."""
    source = run.recipe.source
    before = sources.read_listing(run.root / LISTING)
    if run.offline and remote.is_remote(source):
        listed = _listing_task(source, sha256_json([e.identity() for e in before]))
        if before and not run.manifest.why_stale(listed):
            return before
    return sources.listing(source, before, downloads, run.offline)


def _listing_task(source: Source, digest: str) -> Task:
    asked = {"source": source.model_dump(mode="json", include=LISTED), "sha256": digest}
    return Task("corpus/sources", _write_listing, asked, (), (LISTING,))


def _parts(root: Path, files: list[str]) -> list[dict[str, Any]]:
    """What is cleaned by one task: a file, or some row groups of a large one."""
    parts: list[dict[str, Any]] = []
    for file in files:
        metadata = pq.read_metadata(root / file)
        groups = [metadata.row_group(n) for n in range(metadata.num_row_groups)]
        for first, stop in runs([g.total_byte_size for g in groups], PART_BYTES):
            parts.append(
                {
                    "number": len(parts),
                    "file": file,
                    "row_groups": [first, stop],
                    "bytes": sum(g.total_byte_size for g in groups[first:stop]),
                    "documents": sum(g.num_rows for g in groups[first:stop]),
                }
            )
    return parts


def _counting(
    root: Path, parts: list[dict[str, Any]], limits: dict[str, float]
) -> Generator[list[Task], None, Tables]:
    """Waves that count lines or paragraphs; returns the partitions of the tables by unit."""
    tables: Tables = {}
    if not limits:
        return tables
    files = {unit: [lines.file(unit, n) for n in range(len(parts))] for unit in limits}
    name, function = "lines", clean.count_lines
    if "paragraph" in limits:
        name, function = "paragraphs", write.count_paragraphs
    inputs = (write.ASSIGNMENT,) if "paragraph" in limits else ()
    yield [
        Task(
            f"corpus/{name}-{n:05d}",
            function,
            {"part": part, "units": list(limits)},
            (part["file"], *inputs),
            tuple(files[unit][n] for unit in limits),
            size=part["bytes"],
        )
        for n, part in enumerate(parts)
    ]
    counting = []
    for unit, limit in limits.items():
        count = shuffle.partitions([root / f for f in files[unit]])
        tables[unit] = count
        for partition in range(count):
            arguments = {
                "unit": unit,
                "limit": limit,
                "documents": sum(p["documents"] for p in parts),
                "parts": len(parts),
                "partition": partition,
                "partitions": count,
            }
            counting.append(
                Task(
                    f"corpus/{unit}-table-{partition:04d}",
                    lines.count,
                    arguments,
                    files[unit],
                    lines.table(unit, partition),
                )
            )
    yield counting
    return tables


def _files(tables: Tables) -> tuple[str, ...]:
    """The files of tables of frequent lines."""
    return tuple(
        path
        for unit, count in tables.items()
        for n in range(count)
        for path in lines.table(unit, n)
    )


_listed: dict[str, list[sources.Entry]] = {}  # what `waves` listed, for the task that writes it
# For the task that crawls: who asks, how fast and whether at all, which decide nothing of the rest.
_asking: dict[str, tuple[Source, bool]] = {}


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


def _prompts(root: Path, arguments: dict[str, Any]) -> None:
    paths = [root / file for file in arguments["files"]]
    rows = prompts.choose(paths, arguments["count"], arguments["seed"], arguments["filings"])
    write_json(root / "corpus" / "prompts.json", rows)
