"""Pack a part of a run's tokens, and its held-out documents, into a folder that travels to a GPU.

    .venv/bin/python benchmarks/gpu/pack.py runs/NAME --out FOLDER [--megabytes 45]

FOLDER gets a token folder as `domainlm.tokens.shards` reads it (whole documents, spread evenly
over the run's, in their order; validation at most a twentieth; tokenizer) and `held-out.npz`:
`ids` and `offsets` of the held-out spans, with their `bytes`, `document`, `group` and `split`. The
spans are those of the run's evaluation, or, before there is one, those it would choose by default.
MB are 10^6 bytes. Prints what went in, as JSON.
"""

import argparse
import hashlib
import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from domainlm.artifacts import atomic_write, read_json, sha256_file, write_json
from domainlm.corpus import documents
from domainlm.errors import DomainLMError
from domainlm.evaluation import loss, models, spans
from domainlm.evaluation.deep import SPANS
from domainlm.evaluation.tables import SEED
from domainlm.recipe import Evaluate
from domainlm.tokens.shards import SCHEMA_VERSION, open_shards, token_bytes

TOKENIZER = ("tokenizer.json", "tokenizer_config.json")
INDEX_BYTES = 2_000
NAMES = ("document", "group", "split")
VALIDATION_SHARE = 0.05  # of the budget, at most


def pack(run: Path, out: Path, megabytes: float) -> dict[str, Any]:
    """Fill the folder `out`, which must not be there; returns what it holds."""
    source = run / "tokens"
    index = read_json(source / "index.json")
    if index["dtype"] != "uint16":
        raise DomainLMError(
            "the tokens are too wide to pack",
            where=str(source / "index.json"),
            why=f"the vocabulary has {index['vocabulary']:,} entries; uint16 holds 65,536",
        )
    if out.exists():
        raise DomainLMError("there is something here already", where=str(out), fix="another --out")
    held_out = pack_held_out(run, source, out)
    for name in TOKENIZER:
        shutil.copyfile(source / name, out / name)
    taken = sum(f.stat().st_size for f in out.iterdir()) + INDEX_BYTES
    taken += 8 * sum(split["documents"] for split in index["splits"].values())  # their ends
    room = int(megabytes * 1e6 - taken) // 2
    validation = pack_split(source, out, "validation", int(room * VALIDATION_SHARE))
    splits = {"train": pack_split(source, out, "train", room - validation["tokens"])}
    splits["validation"] = validation
    if not splits["train"]["tokens"]:
        raise DomainLMError("no document fits", where=f"--megabytes {megabytes:g}")
    write_json(
        out / "index.json",
        {
            "schema_version": SCHEMA_VERSION,
            "tokenizer_sha256": sha256_file(out / "tokenizer.json"),
            **{key: index[key] for key in ("vocabulary", "separator", "dtype")},
            "splits": splits,
        },
    )
    counts = ("tokens", "documents", "bytes")
    return {split: {key: splits[split][key] for key in counts} for split in splits} | {
        "held_out": held_out,
        "megabytes": round(sum(f.stat().st_size for f in out.iterdir()) / 1e6, 2),
    }


def pack_split(source: Path, out: Path, split: str, budget: int) -> dict[str, Any]:
    """One shard of at most `budget` tokens of a split; returns its part of the index."""
    total = open_shards(source, split).total
    share = min(1.0, budget / max(1, total))
    met, ends = 0, [0]
    lengths, size, digest = token_bytes(source), 0, hashlib.sha256()
    with atomic_write(out / f"{split}-00000.bin") as file:
        for document in of_split(source, split):
            met += len(document)
            if ends[-1] + len(document) <= min(budget, share * met):
                file.write(document.tobytes())
                digest.update(document.tobytes())
                size += int(lengths[document].sum())
                ends.append(ends[-1] + len(document))
    with atomic_write(out / f"{split}-00000.ends") as file:
        file.write(np.array(ends[1:], "<u8").tobytes())
    counts = {"tokens": ends[-1], "documents": len(ends) - 1, "bytes": size}
    names = {"path": f"{split}-00000.bin", "ends": f"{split}-00000.ends"}
    return counts | {"shards": [names | counts | {"sha256": digest.hexdigest()}]}


def of_split(source: Path, split: str) -> Iterator[Any]:
    """Ids of each document of a split, uint16 of shape (tokens,), its separator included."""
    entries = read_json(source / "index.json")["splits"][split]["shards"]
    for entry, ids in zip(entries, open_shards(source, split).files, strict=True):
        begin = 0
        for end in np.fromfile(source / entry["ends"], "<u8").tolist():
            yield ids[begin:end]
            begin = end


def pack_held_out(run: Path, source: Path, out: Path) -> dict[str, int]:
    """Write `held-out.npz`; returns counts by split."""
    wanted = Evaluate()
    chosen: list[spans.Span] = []
    if (run / SPANS).is_file():
        chosen = spans.read_spans(run / SPANS)
    else:
        files = documents.paths(run)
        for split in documents.HELD_OUT:
            chosen += spans.choose(files, split, wanted.documents, wanted.bytes, SEED)
    tokenizer = models.plain_tokenizer(source)
    rows = [loss.encode(tokenizer, span.text) for span in chosen]
    with atomic_write(out / "held-out.npz") as file:
        np.savez_compressed(
            file,
            ids=np.array([id for row in rows for id in row], np.uint16),
            offsets=np.cumsum([0, *map(len, rows)]),
            bytes=np.array([span.bytes for span in chosen], np.int64),
            **{
                k: np.array([getattr(s, k) for s in chosen]) for k in ("document", "group", "split")
            },
        )
    return {s: sum(c.split == s for c in chosen) for s in sorted({c.split for c in chosen})}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("run", type=Path, help="a run directory with tokens")
    parser.add_argument("--out", type=Path, required=True, help="the folder to make")
    parser.add_argument("--megabytes", type=float, default=45.0, help="all files together")
    given = parser.parse_args()
    try:
        print(json.dumps(pack(given.run, given.out, given.megabytes), indent=1))
    except DomainLMError as error:
        raise SystemExit(f"error: {error}") from None


if __name__ == "__main__":
    main()
