"""Speed of text and items from inline-XBRL annual reports, beside other tools, in one run.

    .venv/bin/python benchmarks/speed_text.py --root FILINGS --peers-python PEERS/bin/python \\
        [--filings 12] [--repeats 3] [--memory 100,1000] [--json FILE]

The environment of the peers is that of `items/peers.py`. Filings with inline XBRL are chosen from
PACK (annual-2019-2026) in order of the SHA-256 of their paths. All tools get the bytes of the same
main documents, and are timed from bytes, in a process of their own: CPU seconds of the process
(all its threads), the best of the repeats for each filing, after one filing to warm up. MB are
10^6 bytes of raw HTML.

- domainlm: `read_filing`: text and items
- edgartools: `parse_html` for form 10-K, then the whole text, or also every section's text; lean
  is `ParserConfig.for_performance()`, which reads neither styles nor XBRL
- trafilatura: `extract` as it comes (text; no items), and with `fast=True`

Then the peak memory (resident set) of one process that reads so many filings with domainlm, over
and over the same ones. Run it on a machine with nothing else to do.
"""

import argparse
import gc
import hashlib
import json
import logging
import resource
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator
from itertools import cycle, islice
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent / "items"))
from label import main_document
from peers import text_of

Read = Callable[[bytes], int]  # a document to the number of characters of its text
OURS = "domainlm: text + items"
PEERS = {
    "edgartools: text + items": "edgartools",
    "edgartools, lean: text + items": "edgartools",
    "edgartools: text": "edgartools",
    "trafilatura: text": "trafilatura",
    "trafilatura, fast: text": "trafilatura",
}


def reader(tool: str) -> Read:
    """The function that is timed."""
    if tool == OURS:
        from domainlm.corpus.edgar.filing import read_filing
        from domainlm.corpus.edgar.tree import Filing

        filing = Filing("", "10-K", "", "", None, None, "")
        return lambda data: len(read_filing(data, filing, "keep")[0])
    if tool.startswith("trafilatura"):
        from trafilatura import extract

        fast = "fast" in tool
        return lambda data: len(extract(text_of(data), fast=fast) or "")
    from edgar.documents import ParserConfig, parse_html

    config = ParserConfig.for_performance() if "lean" in tool else ParserConfig()
    config.form = "10-K"

    def read(data: bytes) -> int:
        document = parse_html(text_of(data), config)
        if "items" in tool:
            for section in document.sections.values():
                section.text()
        return len(document.text())

    return read


def documents(files: list[str]) -> Iterator[bytes]:
    """Main documents, read from disk one at a time."""
    for file in files:
        data = Path(file).read_bytes()
        start, end = main_document(data)
        yield data[start:end]


def timed(tool: str, files: list[str], repeats: int) -> dict[str, Any]:
    """Best CPU seconds and characters of each file; the first try for what caches do."""
    read = reader(tool)
    seconds, first, characters = [], [], []
    for i, data in enumerate(documents(files)):
        if i == 0:
            read(data)
        tries = []
        for _ in range(repeats):
            begun = time.process_time()
            found = read(data)
            tries.append(time.process_time() - begun)
        seconds.append(min(tries))
        first.append(tries[0])
        characters.append(found)
    return {"seconds": seconds, "first": first, "characters": characters}


def peak(files: list[str], count: int) -> dict[str, Any]:
    """Peak resident set in MB after `count` filings."""
    read = reader(OURS)
    for file in islice(cycle(files), count):
        read(next(documents([file])))
    unit = 1 if sys.platform == "darwin" else 1024
    size = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
    status = Path("/proc/self/status")  # on Linux ru_maxrss may be that of the parent at exec
    if status.exists():
        size = int(status.read_text().split("VmHWM:")[1].split()[0]) * 1024
    return {"mb": size / 1e6}


def chosen(root: Path, pack: str, count: int) -> list[str]:
    """Files with inline XBRL, by hash of their paths."""
    paths = [p.relative_to(root).as_posix() for p in (root / pack).rglob("*.*") if p.is_file()]
    found: list[str] = []
    for path in sorted(paths, key=lambda p: hashlib.sha256(p.encode()).digest()):
        if len(found) < count and b"<ix:header" in next(documents([str(root / path)])):
            found.append(path)
    return found


def worker(python: str, task: dict[str, Any]) -> dict[str, Any]:
    """What a process of its own finds out."""
    with tempfile.NamedTemporaryFile("r", suffix=".json") as out:
        task = {**task, "out": out.name}
        command = [python, __file__, "--task", json.dumps(task)]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        return dict(json.load(out))


def work(task: dict[str, Any]) -> None:
    """In the worker."""
    warnings.simplefilter("ignore")
    logging.disable(logging.CRITICAL)
    if task.get("tool", OURS) == OURS:
        gc.disable()  # as the task that reads a batch of files does
    if "count" in task:
        found = peak(task["files"], task["count"])
    else:
        found = timed(task["tool"], task["files"], task["repeats"])
    Path(task["out"]).write_text(json.dumps(found))


def version(python: str, package: str) -> str:
    """Of a package in another environment."""
    code = f"import importlib.metadata as m; print(m.version({package!r}))"
    return subprocess.run([python, "-c", code], check=True, capture_output=True).stdout.decode()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--root", type=Path, default=Path.home() / ".cache/domainlm/filings")
    parser.add_argument("--pack", default="annual-2019-2026")
    parser.add_argument("--peers-python")
    parser.add_argument("--filings", type=int, default=12)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--memory", default="100,1000", help="numbers of filings")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--task", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.task:
        return work(json.loads(given.task))
    paths = chosen(given.root, given.pack, given.filings)
    if not paths:
        raise SystemExit(f"no filings with inline XBRL in {given.root / given.pack}")
    files = [str(given.root / p) for p in paths]
    megabytes = [len(d) / 1e6 for d in documents(files)]
    report: dict[str, Any] = {"files": paths, "mb": round(sum(megabytes), 3), "tools": {}}
    print(f"{len(files)} filings, {sum(megabytes):.1f} MB of HTML, CPU time, best of", end=" ")
    print(f"{given.repeats}\n{'':34} MB/s  s/filing  slower than ours  no text  characters")
    ours = 0.0
    for tool in [OURS, *(PEERS if given.peers_python else ())]:
        python = given.peers_python if tool in PEERS else sys.executable
        found = worker(python, {"tool": tool, "files": files, "repeats": given.repeats})
        seconds, characters = sum(found["seconds"]), found["characters"]
        ours = ours or seconds
        report["tools"][tool] = {
            "version": version(python, PEERS[tool]).strip() if tool in PEERS else "",
            "mb_per_s": round(sum(megabytes) / seconds, 3),
            "mb_per_s_first_try": round(sum(megabytes) / sum(found["first"]), 3),
            "seconds_a_filing": round(seconds / len(files), 4),
            "times_slower": round(seconds / ours, 2),
            "without_text": characters.count(0),
            "characters": sum(characters),
        }
        row = report["tools"][tool]
        print(f"{tool:32} {row['mb_per_s']:6.2f} {row['seconds_a_filing']:9.3f} "
              f"{row['times_slower']:17.2f} {row['without_text']:8} {row['characters']:11,}",
              flush=True)  # fmt: skip
    report["peak_memory_mb"] = {}
    for count in [int(n) for n in given.memory.split(",") if n]:
        megabyte = worker(sys.executable, {"files": files, "count": count})["mb"]
        report["peak_memory_mb"][str(count)] = round(megabyte, 1)
        print(f"peak memory over {count:,} filings: {megabyte:.1f} MB", flush=True)
    if given.json:
        given.json.write_text(json.dumps(report, indent=1) + "\n")


if __name__ == "__main__":
    main()
