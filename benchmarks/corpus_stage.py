"""The corpus stage, step by step: seconds, MB/s of clean text, memory of a worker.

    python benchmarks/corpus_stage.py text ~/filings/mda-2018-2023     # real text, one run
    python benchmarks/corpus_stage.py scale --documents 1000000        # synthetic, three sizes

`text` prints the bar of the design: clean text to deduplicated, scanned, split documents, the
audit apart, and the audit. `scale` prints seconds a GB of each step at a sixteenth, a quarter and
all of the documents, and the exponent with which each grows. Both write JSON to
`benchmarks/results/`.
"""

import argparse
import json
import math
import platform
import re
import shutil
import tempfile
import threading
import time
from collections import defaultdict
from pathlib import Path

import numpy as np
import psutil
import pyarrow as pa
import pyarrow.parquet as pq

from domainlm import engine, pipeline, recipes
from domainlm.artifacts import read_json, write_json

RESULTS = Path(__file__).parent / "results"
# The steps in their order, by the names of their tasks.
STEPS = {
    "list and read": ("sources", "read"),
    "clean, privacy, sketch": ("clean",),
    "match": ("match",),
    "verify": ("verify",),
    "split": ("split",),
    "write": ("write",),
    "audit": ("audit",),
    "ledger and prompts": ("ledger", "prompts"),
}
SCANNED = ("clean, privacy, sketch", "match", "verify", "split", "write", "ledger and prompts")


class Memory(threading.Thread):
    """The largest resident set of this process and of any worker, sampled."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.worker = self.main = 0
        self.over = threading.Event()

    def run(self) -> None:
        own = psutil.Process()
        while not self.over.wait(0.1):
            self.main = max(self.main, own.memory_info().rss)
            for child in own.children(recursive=True):
                try:
                    self.worker = max(self.worker, child.memory_info().rss)
                except psutil.Error:
                    continue


def step_of(task: str) -> str:
    kind = re.split(r"-?\d|-collect|-scan|-measure|-trace", task.removeprefix("corpus/"))[0]
    return next((step for step, names in STEPS.items() if kind in names), kind)


def corpus(root: Path, values: dict, workers: int) -> dict:
    """Run the stage in `root`; seconds and memory of each step, and the sizes."""
    loaded = recipes.validate(values, "benchmark")
    run = pipeline.start(loaded, root, "run", offline=True, command="benchmark", fresh=True)
    run.root.mkdir(parents=True)
    memory = Memory()
    memory.start()
    wall: dict[str, float] = defaultdict(float)
    busy: dict[str, float] = defaultdict(float)
    began = time.perf_counter()
    with engine.processes(run.root, workers, None) as submit:
        for wave in pipeline.waves(run, "corpus"):
            last = time.perf_counter()
            for task, done in engine.run_tasks(run.root, wave, submit):
                run.manifest.record(task, *done)
                now = time.perf_counter()
                wall[step_of(task.name)] += now - last
                busy[step_of(task.name)] += done.seconds
                last = now
    run.manifest.flush()
    total = time.perf_counter() - began
    memory.over.set()
    ledger = read_json(run.root / "corpus/ledger.json")
    return {
        "documents": ledger["extracted"]["documents"],
        "bytes": ledger["extracted"]["bytes"],
        "seconds": total,
        "wall": dict(wall),
        "busy": dict(busy),
        "worker_rss": memory.worker,
        "main_rss": memory.main,
        "links": ledger["links"],
        "duplicates": ledger["duplicates"],
        "splits": ledger["splits"],
        "audit": ledger["evidence"]["audit"]["splits"],
        "disk": sum(f.stat().st_size for f in (run.root / "corpus").rglob("*") if f.is_file()),
        "parts": len(list((run.root / "corpus").glob("documents-*.parquet"))),
    }


def machine() -> dict[str, str]:
    name = pipeline.environment()
    return {"processor": name["processor"], "cores": name["cores"], "system": platform.system()}


def text(folder: Path, workers: int) -> None:
    """Real plain texts: the design's bar."""
    values = {
        "name": "text",
        "source": {
            "kind": "files", "path": str(folder), "include": ["mda/**"],
            "group": r"mda/(\d+)/", "date": r"(\d{4}-\d{2}-\d{2})",
        },
        "split": {"cut": "2022-01-01", "unseen": 0.15},
        "train": [{"name": "scratch", "model": "modern-tiny", "tokens": 1}],
    }  # fmt: skip
    with tempfile.TemporaryDirectory() as root:
        found = corpus(Path(root), values, workers)
    megabytes = found["bytes"] / 1e6
    seconds = sum(found["wall"][s] for s in SCANNED)
    print(f"{found['documents']:,} documents, {megabytes:.0f} MB of text, {workers} workers")
    for step, spent in found["wall"].items():
        print(f"  {step:24} {spent:7.1f} s {megabytes / spent:8.1f} MB/s")
    print(f"clean to split documents   {megabytes / seconds:6.1f} MB/s (bar 20)")
    print(f"audit                      {megabytes / found['wall']['audit']:6.1f} MB/s (bar 5)")
    print(f"largest worker {found['worker_rss'] / 1e6:.0f} MB, main {found['main_rss'] / 1e6:.0f}")
    for split, row in found["audit"].items():
        print(f"  overlap {split:8} median {row['median']:.3f} max {row['max']:.3f}")
    found |= {"mb_per_s": megabytes / seconds, "audit_mb_per_s": megabytes / found["wall"]["audit"]}
    write_json(RESULTS / "corpus-text.json", found | {"machine": machine(), "workers": workers})


def synthetic(folder: Path, documents: int, seed: int = 1) -> None:
    """Parquet files of 10,000 invented documents, of 1.2 KB in the mean: of 2,000 groups and ten
    years; 5 % are edited copies of a document of their group, 1 % copies.
    """
    random = np.random.default_rng(seed)
    letters = np.array(list("abcdefghijklmnopqrstuvwxyz"))
    lengths = 2 + random.poisson(4, 30_000)
    vocabulary = np.array(["".join(random.choice(letters, n)) for n in lengths], object)
    weights = 1 / np.arange(10, 10 + len(vocabulary))
    cumulative = np.cumsum(weights / weights.sum())
    before: dict[int, list[str]] = {}
    for number in range(0, documents, 10_000):
        rows: dict[str, list] = {"id": [], "group": [], "date": [], "text": []}
        for n in range(number, min(documents, number + 10_000)):
            group = int(random.integers(2000))
            old = before.get(group)
            chance = random.random()
            if old and chance < 0.06:
                words = list(old)
                if chance > 0.01:
                    for place in random.integers(0, len(words), max(1, len(words) // 100)):
                        words[place] = "edited"
            else:
                size = int(40 + random.lognormal(4.8, 0.6))
                drawn = np.minimum(np.searchsorted(cumulative, random.random(size)), 29_999)
                words = vocabulary[drawn].tolist()
                before[group] = words
            if n % 50 == 0:
                words = [*words, f"write to w{n}@example.com or call 415-{n % 800 + 200}-0173."]
            body = " ".join(words)
            rows["id"].append(f"{n:09d}")
            rows["group"].append(f"g{group:04d}")
            rows["date"].append(f"{2010 + n * 10 // documents}-{n % 12 + 1:02d}-01")
            rows["text"].append(re.sub(r"((?:\S+ ){80})", r"\1\n", body))
        folder.mkdir(parents=True, exist_ok=True)
        pq.write_table(pa.table(rows), folder / f"{number:09d}.parquet", compression="zstd")


def scale(documents: int, workers: int, keep: Path | None) -> None:
    """Three sizes of synthetic documents: cost a GB, growth, memory."""
    found = []
    for size in (documents // 16, documents // 4, documents):
        with tempfile.TemporaryDirectory(dir=keep) as root:
            folder = Path(root) / "text"
            synthetic(folder, size)
            values = {
                "name": "scale",
                "source": {
                    "kind": "files", "path": str(folder), "group": "group", "date": "date",
                    "id": "id",
                },
                "split": {"newest": 0.2, "unseen": 0.15},
                "train": [{"name": "scratch", "model": "modern-tiny", "tokens": 1}],
            }  # fmt: skip
            found.append(corpus(Path(root), values, workers))
            shutil.rmtree(folder)
        print(json.dumps({k: found[-1][k] for k in ("documents", "bytes", "seconds", "links")}))
    print(
        f"\n{'seconds a GB, wall':26}"
        + "".join(f"{f['documents']:>12,}" for f in found)
        + "  growth"
    )
    growth = {}
    for step in STEPS:
        costs = [f["wall"][step] / (f["bytes"] / 1e9) for f in found]
        last, first = found[-1], found[1]
        times, sizes = last["wall"][step] / first["wall"][step], last["bytes"] / first["bytes"]
        growth[step] = math.log(times) / math.log(sizes)
        print(f"{step:26}" + "".join(f"{c:12.1f}" for c in costs) + f"  n^{growth[step]:.2f}")
    for name in ("worker_rss", "main_rss", "disk"):
        print(f"{name + ', MB':26}" + "".join(f"{f[name] / 1e6:12,.0f}" for f in found))
    write_json(
        RESULTS / "corpus-scale.json",
        {"machine": machine(), "workers": workers, "sizes": found, "growth": growth},
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--workers", type=int, default=2)
    verbs = parser.add_subparsers(dest="verb", required=True)
    verbs.add_parser("text").add_argument("folder", type=Path)
    sized = verbs.add_parser("scale")
    sized.add_argument("--documents", type=int, default=1_000_000)
    sized.add_argument("--keep", type=Path, help="where the temporary folders go")
    asked = parser.parse_args()
    if asked.verb == "text":
        text(asked.folder, asked.workers)
    else:
        scale(asked.documents, asked.workers, asked.keep)


if __name__ == "__main__":
    main()
