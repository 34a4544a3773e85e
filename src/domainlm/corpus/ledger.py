"""`ledger.json`: what was kept, what went, and why, in documents and bytes that add up.

input     = packing + skipped + read        packing: containers less their members (a negative
read      = other documents + markup + extracted     number where they are compressed); markup
extracted = lines + dropped + masked + cleaned       is what is left, re-encoding included
cleaned   = duplicates + near-duplicates + paragraphs + kept
"""

import json
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pyarrow.compute as pc
import pyarrow.parquet as pq

from domainlm.artifacts import read_json, write_json
from domainlm.corpus import audit, documents
from domainlm.corpus.clean import EXAMPLES
from domainlm.corpus.edgar import crawl
from domainlm.corpus.write import ASSIGNMENT, DROPPED
from domainlm.errors import DomainLMError
from domainlm.recipe import Source

Counts = dict[str, Any]


def name(source: Source) -> str:
    """The source as the evidence names it: no folder of the user's, no account, no secret."""
    if source.kind == "sql":
        url = urlsplit(source.path)
        return f"{url.scheme.split('+')[0]} {Path(url.path).name}"
    if source.remote:
        return urlsplit(crawl.base_of(source)).netloc
    if source.kind == "hub":
        return f"{source.path}@{source.revision}"
    return source.path if "://" in source.path else Path(source.path).name


def write(root: Path, arguments: dict[str, Any]) -> None:
    """Task: `ledger.json`. Every byte of the input is in exactly one place, or the task fails."""
    read: Counts = _added(root, arguments["read"])
    for row in crawl.read(root / arguments["crawled"]) if arguments["crawled"] else ():
        if not row.sha256:
            _add(read, {"files": 1, "skipped": {row.status: {"files": 1, "bytes": 0}}})
    cleaned = _added(root, arguments["cleaned"])
    written = _added(root, arguments["written"])
    capped = sum(read_json(root / path)["capped_buckets"] for path in arguments["matched"])
    table = pq.read_table(root / ASSIGNMENT)
    about = json.loads(table.schema.metadata[b"about"])
    dropped = {d: _of(table.filter(pc.field("split") == d)) for d in DROPPED}
    splits = {s: _of(table.filter(pc.field("split") == s)) for s in documents.SPLITS}
    splits = {s: counts for s, counts in splits.items() if counts["documents"]}
    for split, counts in splits.items():  # as they were written: without repeated paragraphs
        there = written.get("splits", {}).get(split, {"documents": 0, "bytes": 0})
        counts |= there
    paragraphs = written.get("paragraphs", {"paragraphs": 0, "bytes": 0})
    kept = table.filter(~pc.field("split").isin(DROPPED))
    packing = read.get("packing_bytes", 0)
    extracted = read["extracted"]
    skipped = sum(s["bytes"] for s in read["skipped"].values())
    markup = read["read"]["bytes"] - read["other_documents_bytes"] - extracted["bytes"]
    kept_bytes = sum(s["bytes"] for s in splits.values())
    lines = {
        r: {"lines": n, "bytes": cleaned["line_bytes"][r]} for r, n in cleaned["lines"].items()
    }
    left_out = {
        r: {"documents": n, "bytes": cleaned["dropped_bytes"][r]}
        for r, n in cleaned["dropped"].items()
    }
    went = [*lines.values(), *left_out.values(), {"bytes": cleaned["masked_bytes"]}]
    sums = {
        "input": (read["bytes"], packing + skipped + read["read"]["bytes"]),
        "extracted": (extracted["bytes"], cleaned["bytes"]),
        "cleaned": (cleaned["bytes"] - sum(w["bytes"] for w in went), cleaned["kept"]["bytes"]),
        "kept": (
            cleaned["kept"]["bytes"],
            sum(d["bytes"] for d in dropped.values()) + paragraphs["bytes"] + kept_bytes,
        ),
    }
    if wrong := {k: v for k, v in sums.items() if v[0] != v[1]}:
        raise DomainLMError(
            "the ledger does not add up",
            where=str(root / "corpus"),
            why=f"{wrong}; read {read}; cleaned {cleaned}; written {written}; splits {splits}",
            fix="this is a defect: please report it with the lines above",
        )
    audited = read_json(root / audit.AUDIT)
    count = sum(s["documents"] for s in splits.values())
    groups = pc.count_distinct(kept["group"]).as_py()
    privacy = {
        "mode": arguments["privacy"],
        "found": cleaned["findings"],
        "examples": cleaned["examples"],
    }
    shared = {
        "skipped": read["skipped"],
        "lines": lines,
        "dropped": left_out,
        "near_duplicates": dropped["near_duplicate"],
        "paragraphs": paragraphs,
        "links": {k: about[k] for k in ("links", "joined_groups", "common_documents")}
        | {"capped_buckets": capped},
        "privacy": privacy,
        "splits": splits,
        "promises": about["promises"],
    }
    write_json(
        root / "corpus" / "ledger.json",
        {
            "input": {"files": read["files"], "bytes": read["bytes"]},
            "read": read["read"],
            "removed": {
                "packing_bytes": packing,
                "other_documents_bytes": read["other_documents_bytes"],
                "markup_bytes": markup,
                "masked_bytes": cleaned["masked_bytes"],
            },
            "extracted": extracted,
            "duplicates": dropped["duplicate"],
            "kept": {"documents": count, "bytes": kept_bytes, "groups": groups},
            "languages": cleaned["languages"],
            **shared,
            "evidence": {
                "source": arguments["source"],
                "files": read["files"],
                "bytes": read["bytes"],
                "documents": count,
                "text_bytes": kept_bytes,
                "duplicates": dropped["duplicate"]["documents"],
                "duplicate_bytes": dropped["duplicate"]["bytes"],
                "groups": groups,
                "dated": pc.sum(kept["dated"]).as_py() or 0,
                "cut": about["cut"],
                "audit": {k: audited[k] for k in ("n", "sampled", "limit", "splits")},
                **shared,
            },
        },
    )


def _of(table: Any) -> Counts:
    return {
        "documents": len(table),
        "groups": pc.count_distinct(table["group"]).as_py(),
        "bytes": pc.sum(table["bytes"]).as_py() or 0,
    }


def _added(root: Path, paths: list[str]) -> Counts:
    """The parts' accounts added up; of lists the first examples are kept."""
    total: Counts = {}
    for path in paths:
        _add(total, read_json(root / path))
    return total


def _add(total: Counts, more: Counts) -> None:
    for key, value in more.items():
        if isinstance(value, dict):
            _add(total.setdefault(key, {}), value)
        elif isinstance(value, list):
            total[key] = (total.get(key, []) + value)[:EXAMPLES]
        else:
            total[key] = total.get(key, 0) + value
