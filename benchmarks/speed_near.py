"""Speed of near-duplicates among real filings, beside datasketch, in one run.

    .venv/bin/python benchmarks/speed_near.py --root FILINGS [--documents 1572] [--json FILE]

Both get the same texts, read beforehand, in a process of their own with one thread: documents of
`mda-2018-2023` by the SHA-256 of their names, and of each fifth a copy in which up to 4 % of the
words are replaced (Jaccard from 0.7 to 1). MB are 10^6 bytes of UTF-8, seconds are of the CPU.

- domainlm: `corpus/near.py` end to end on disk: shingles, signatures, candidates, verified pairs
- datasketch: as its README shows, MinHash of 128 permutations (by `update_batch`, the fastest way
  it has) of the distinct 5-word shingles, and MinHashLSH at a threshold of 0.8, asked before each
  insertion; its pairs are not verified

The pairs that each found are counted against brute force, directly and as connected by found
pairs: the Jaccard of all pairs of documents, by a product of sparse matrices. Run it on a machine
with nothing else to do.
"""

import argparse
import hashlib
import json
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np

THRESHOLD = 0.8
PART = 24_000_000  # characters of a part of the corpus
OURS, PEER, TRUTH = "domainlm", "datasketch", "brute force"
Pair = tuple[int, int]


def domainlm(texts: list[str]) -> set[Pair]:
    from domainlm.corpus import near

    parts: list[list[int]] = [[]]
    for i, text in enumerate(texts):
        if parts[-1] and sum(len(texts[k]) for k in parts[-1]) + len(text) > PART:
            parts.append([])
        parts[-1].append(i)
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        prefixes = [f"corpus/parts/clean-{n:05d}" for n in range(len(parts))]
        for prefix, part in zip(prefixes, parts, strict=True):
            writer = near.SketchWriter(root / prefix, THRESHOLD)
            writer.add([texts[i] for i in part])
            writer.close()
        for wave in near.waves(len(parts), THRESHOLD, root):
            for task in wave:
                task.function(root, task.arguments)
        files = [root / f"corpus/parts/links-{n:05d}.npy" for n in range(len(parts))]
        links = np.concatenate([np.load(file) for file in files])
    number = [[parts[int(x) >> 32][int(x) % 2**32] for x in links[name]] for name in ("a", "b")]
    return {(min(a, b), max(a, b)) for a, b in zip(*number, strict=True)}


def datasketch(texts: list[str]) -> set[Pair]:
    from datasketch import MinHash, MinHashLSH

    lsh = MinHashLSH(threshold=THRESHOLD, num_perm=128)
    pairs = set()
    for i, text in enumerate(texts):
        words = re.findall(r"\w+", text.lower())
        shingles = {" ".join(words[k : k + 5]).encode() for k in range(len(words) - 4)}
        if shingles:
            sketch = MinHash(num_perm=128)
            sketch.update_batch(list(shingles))
            pairs |= {(k, i) for k in lsh.query(sketch)}
            lsh.insert(i, sketch)
    return pairs


def brute_force(texts: list[str]) -> set[Pair]:
    from scipy.sparse import coo_matrix, csr_matrix

    from domainlm.corpus.ngrams import ngram_hashes

    sets = [np.unique(ngram_hashes([text], 5)[0]) for text in texts]
    sizes = np.array([len(s) for s in sets])
    _, column = np.unique(np.concatenate(sets), return_inverse=True)
    row = np.repeat(np.arange(len(sets)), sizes)
    held = csr_matrix((np.ones(len(row), np.int32), (row, column)))
    shared = coo_matrix(held @ held.T)
    union = sizes[shared.row] + sizes[shared.col] - shared.data
    near = (shared.row < shared.col) & (shared.data >= THRESHOLD * union)
    return set(zip(shared.row[near].tolist(), shared.col[near].tolist(), strict=True))


def connected(pairs: set[Pair], truth: set[Pair]) -> float:
    """The share of true pairs between which some path of found pairs leads.

    Equal documents are a chain here, not all pairs: what joins groups and drops copies is the
    component. (Of a tool whose pairs are not verified a path may lead over false ones.)
    """
    parent: dict[int, int] = {}

    def root(n: int) -> int:
        while parent.setdefault(n, n) != n:
            n = parent[n]
        return n

    for a, b in pairs:
        parent[root(a)] = root(b)
    return sum(root(a) == root(b) for a, b in truth) / max(1, len(truth))


TOOLS = {OURS: domainlm, PEER: datasketch, TRUTH: brute_force}


def read(files: list[str]) -> Iterator[str]:
    """The texts, and after each fifth an edit of it."""
    draw = np.random.default_rng(2026)
    for number, file in enumerate(files):
        text = Path(file).read_text(encoding="utf-8", errors="replace")
        yield text
        if number % 5 == 0:
            words = text.split(" ")
            for i in np.flatnonzero(draw.random(len(words)) < draw.uniform(0, 0.04)):
                words[i] = f"edit{i}"
            yield " ".join(words)


def work(tool: str, files: list[str]) -> None:
    """Run one tool, in this process; print what it found."""
    texts = list(read(files))
    TOOLS[tool](texts[:3])  # what is imported and made once
    began = time.process_time()
    pairs = TOOLS[tool](texts)
    seconds = time.process_time() - began
    megabytes = sum(len(t.encode("utf-8", "replace")) for t in texts) / 1e6
    print(json.dumps({"seconds": seconds, "mb": megabytes, "pairs": sorted(pairs)}))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--root", type=Path, required=True, help="folder of the filings")
    parser.add_argument("--documents", type=int, default=1572)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--tool", choices=TOOLS, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.tool:
        work(arguments.tool, json.load(sys.stdin))
        return
    found = sorted((arguments.root / "mda-2018-2023").rglob("*.txt"))
    found.sort(key=lambda file: hashlib.sha256(file.name.encode()).digest())
    files = json.dumps([str(file) for file in found[: arguments.documents]])
    threads = {f"{name}_NUM_THREADS": "1" for name in ("OMP", "OPENBLAS", "RAYON")}
    results = {}
    for tool in TOOLS:
        command = [sys.executable, __file__, "--root", str(arguments.root), "--tool", tool]
        done = subprocess.run(
            command, input=files, text=True, check=True, stdout=-1, env=os.environ | threads
        )
        results[tool] = json.loads(done.stdout)
        print(f"{tool}: {len(results[tool]['pairs'])} pairs in {results[tool]['seconds']:.1f} s")
    truth = {tuple(pair) for pair in results[TRUTH]["pairs"]}
    table = {}
    for tool in (OURS, PEER):
        pairs = {tuple(pair) for pair in results[tool]["pairs"]}
        table[tool] = {
            "mb_per_second": round(results[tool]["mb"] / results[tool]["seconds"], 2),
            "pairs": len(pairs),
            "recall": round(len(pairs & truth) / max(1, len(truth)), 4),
            "recall_connected": round(connected(pairs, truth), 4),
            "precision": round(len(pairs & truth) / max(1, len(pairs)), 4),
        }
        print(tool, table[tool])
    ratio = round(table[OURS]["mb_per_second"] / table[PEER]["mb_per_second"], 1)
    print(f"ratio {ratio}")
    if arguments.json:
        summary = {
            "documents": min(arguments.documents, len(found)),
            "mb": round(results[OURS]["mb"], 1),
            "true_pairs": len(truth),
            "tools": table,
            "ratio": ratio,
        }
        arguments.json.write_text(json.dumps(summary, indent=1) + "\n")


if __name__ == "__main__":
    main()
