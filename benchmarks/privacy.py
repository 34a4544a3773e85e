"""Recall, precision and speed of `domainlm.corpus.privacy`, and what it finds in real filings.

    .venv/bin/python benchmarks/privacy.py --texts FOLDER [--peer-python PEERS/bin/python] \\
        [--json benchmarks/results/privacy.json] [--show 40]

- score: the two labelled sets of `domainlm.samples.personal`. The templates of the second were
  written before anything was measured on them, by the recognisers' author. FIRST_SIGHT is the
  first measurement; what has been mended since was mended with its errors known.
- speed: CPU seconds a text, the best of the repeats, in MB of UTF-8 (10^6 bytes), in one process
  after the other. datatrove's PIIFormatter knows e-mail and IP, so ours is timed with those, too.
- real: what is found in 200 texts chosen by hash, and in all. `--show` prints findings of each kind
  with what stands around them; EYE is what was judged so.
"""

import argparse
import collections
import hashlib
import json
import platform
import random
import subprocess
import sys
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

SEED, ROUNDS, REPEATS = 1, 15, 3

# precision and recall (exact spans) at first sight of the held-out templates
FIRST_SIGHT = {
    "email": (1.0, 1.0), "phone": (1.0, 0.7576), "ssn": (1.0, 1.0), "card": (1.0, 0.9556),
    "iban": (1.0, 1.0), "ip": (1.0, 0.9926), "secret": (1.0, 0.8359),
}  # fmt: skip

EYE = {
    "1,572 MD&A texts, all findings": {"phone": "18 of 18", "email": "1 of 2 (uuencoded data)"},
    "120 filings of 1993 to 2026 (26 MB)": {
        "phone": "45 of 45 looked at, of 138",
        "email": "6 of 6",
    },
}

PEER = """
import json, sys, time
from datatrove.pipeline.formatters import PIIFormatter
formatter, seconds = PIIFormatter(), 0.0
for path in json.load(sys.stdin):
    text, best = open(path, encoding="utf-8").read(), []
    for _ in range(int(sys.argv[1])):
        begin = time.process_time()
        formatter.format(text)
        best.append(time.process_time() - begin)
    seconds += min(best)
print(json.dumps(seconds))
"""


def score(held_out: bool) -> dict[str, dict[str, Any]]:
    """By kind: labels, precision and recall of exact spans and of overlapping ones; and decoys."""
    from domainlm.corpus.privacy import KINDS, find
    from domainlm.samples.personal import labelled

    counts: dict[str, collections.Counter[str]] = {k: collections.Counter() for k in KINDS}
    decoys = hit = 0
    for example in labelled(SEED, ROUNDS, held_out=held_out):
        found = {(f.kind, f.start, f.end) for f in find(example.text)}
        decoys += len(example.decoys)
        hit += sum(any(_meet(d[1:], f[1:]) for f in found) for d in example.decoys)
        for kind, count in counts.items():
            ours = [f for f in found if f[0] == kind]
            labels = [f for f in example.findings if f[0] == kind]
            count["labels"] += len(labels)
            count["found"] += len(ours)
            count["right"] += len(set(ours) & set(labels))
            count["met"] += sum(any(_meet(f[1:], g[1:]) for g in labels) for f in ours)
            count["reached"] += sum(any(_meet(f[1:], g[1:]) for g in ours) for f in labels)
    scores: dict[str, dict[str, Any]] = {
        kind: {
            "labels": c["labels"],
            "precision": round(c["right"] / c["found"], 4),
            "recall": round(c["right"] / c["labels"], 4),
            "precision_overlap": round(c["met"] / c["found"], 4),
            "recall_overlap": round(c["reached"] / c["labels"], 4),
        }
        for kind, c in counts.items()
    }
    return {**scores, "decoys": {"all": decoys, "found": hit}}


def _meet(a: tuple[int, int], b: tuple[int, int]) -> bool:
    return a[0] < b[1] and b[0] < a[1]


def seconds(texts: Iterable[str], work: Callable[[str], object]) -> float:
    total = 0.0
    for text in texts:
        best = []
        for _ in range(REPEATS):
            begin = time.process_time()
            work(text)
            best.append(time.process_time() - begin)
        total += min(best)
    return total


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--texts", type=Path, required=True)
    parser.add_argument("--peer-python")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--show", type=int, default=0)
    arguments = parser.parse_args()

    from domainlm.corpus.privacy import KINDS, find

    paths = sorted(
        arguments.texts.rglob("*.txt"), key=lambda p: hashlib.sha256(p.name.encode()).digest()
    )
    chosen = [p.read_text("utf-8") for p in paths[:200]]
    megabytes = sum(len(t.encode()) for t in chosen) / 1e6
    speed = {
        "ours, 7 kinds": megabytes / seconds(chosen, find),
        "ours, e-mail and IP": megabytes / seconds(chosen, lambda t: find(t, ("email", "ip"))),
    }
    if arguments.peer_python:
        peer = subprocess.run(
            [arguments.peer_python, "-c", PEER, str(REPEATS)],
            input=json.dumps([str(p) for p in paths[:200]]),
            capture_output=True, text=True, check=True,
        )  # fmt: skip
        speed["datatrove PIIFormatter, e-mail and IP"] = megabytes / json.loads(
            peer.stdout.splitlines()[-1]
        )
    counts = {"200 texts": collections.Counter(), "all texts": collections.Counter()}
    shown = collections.defaultdict(list)
    for number, path in enumerate(paths):
        text = path.read_text("utf-8")
        for f in find(text):
            counts["all texts"][f.kind] += 1
            counts["200 texts"][f.kind] += number < 200
            around = (text[max(0, f.start - 60) : f.start], text[f.start : f.end])
            shown[f.kind].append((*around, text[f.end : f.end + 20]))
    for kind, found in shown.items():
        for one in random.Random(SEED).sample(found, min(arguments.show, len(found))):
            print(kind, *map(repr, one), file=sys.stderr)
    results = {
        "score": {"written with": score(False), "held out": score(True)},
        "first_sight_of_held_out": {
            k: {"precision": p, "recall": r} for k, (p, r) in FIRST_SIGHT.items()
        },
        "megabytes_a_second": {k: round(v, 1) for k, v in speed.items()},
        "found": {
            name: {k: count[k] for k in KINDS}
            | {"texts": min(len(paths), 200 if "2" in name else len(paths))}
            for name, count in counts.items()
        },
        "judged_by_eye": EYE,
        "texts_mb": round(megabytes, 1),
        "machine": f"{platform.machine()}, Python {platform.python_version()}",
    }
    text = json.dumps(results, indent=1) + "\n"
    print(text)
    if arguments.json:
        arguments.json.write_text(text)


if __name__ == "__main__":
    main()
