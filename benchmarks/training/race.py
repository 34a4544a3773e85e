"""The race: time to equal held-out bits per byte, the modern recipe against GPT-2 with AdamW.

    python benchmarks/training/race.py ~/filings/mda-2018-2023 [--seconds 480] [--runs runs]

Both models have at most 4 million parameters, the same tokenizer, text, batch and machine. Each
side's learning rate and context are swept with the same effort on `validation`; the best of each
then runs with three seeds. GPT-2 gets the whole budget; the modern recipe gets an eighth, a quarter
and a half of it, each with its whole schedule, and what it would have needed to end where GPT-2
ends, on companies never trained on, is read off between them (log of time, linearly).

Runs go two at a time, each on a core of its own with one thread, GPT-2 beside modern where there
are both, so that what disturbs one disturbs the other. Seconds are those of training steps. Needs
Linux (core affinity). Writes `benchmarks/results/training-race.json`; every finished run is kept in
the run directory, so the same command goes on.
"""

import argparse
import itertools
import json
import math
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from queue import SimpleQueue
from typing import Any

import numpy as np

from domainlm import pipeline, recipes
from domainlm.artifacts import read_json, write_json
from domainlm.corpus import documents
from domainlm.evaluation import loss, models, spans, statistics
from domainlm.recipe import Train
from domainlm.training import loop

HERE = Path(__file__).parent
RESULTS = HERE.parent / "results"
VOCABULARY, BATCH = 4096, 4096
SIDES: dict[str, dict[str, Any]] = {
    "gpt2": {"optimizer": "adamw", "schedule": "cosine", "final": 0.1,
             "rates": (1e-3, 2e-3, 4e-3, 5e-4)},
    "modern": {"optimizer": "muon", "schedule": "wsd", "final": 0.0,
               "rates": (3e-3, 6e-3, 1.2e-2, 2.4e-2)},
}  # fmt: skip
CONTEXTS = (512, 1024)
SEEDS = (1, 2, 3)
SHARES = (1 / 8, 1 / 4, 1 / 2)  # of GPT-2's budget


def config(side: str, context: int) -> dict[str, Any]:
    """config.json of a side: six layers of width 192, 3.4 to 3.6 million parameters."""
    if side == "gpt2":
        return {"model_type": "gpt2", "n_positions": context, "n_embd": 192, "n_layer": 6,
                "n_head": 3, "n_inner": 768, "resid_pdrop": 0.0, "embd_pdrop": 0.0,
                "attn_pdrop": 0.0}  # fmt: skip
    kinds = ["conv", "conv", "full_attention"] * 2
    return {"model_type": "lfm2", "hidden_size": 192, "intermediate_size": 512,
            "block_auto_adjust_ff_dim": False, "num_hidden_layers": 6, "num_attention_heads": 3,
            "num_key_value_heads": 3, "max_position_embeddings": context, "layer_types": kinds,
            "tie_word_embeddings": True}  # fmt: skip


def arm(side: str, root: Path, rate: float, context: int, tokens: int, seed: int) -> Train:
    """One training run, as a recipe would write it."""
    path = root / f"{side}-{context}.json"
    write_json(path, config(side, context))
    values = {k: v for k, v in SIDES[side].items() if k != "rates"}
    return Train(
        name=f"{side}-{context}-{rate:g}-{tokens}-{seed}".replace(".", "_").replace("+", ""),
        model=str(path),
        context=context,
        short_context=256 if side == "modern" else context,
        batch_tokens=BATCH,
        learning_rate=rate,
        tokens=tokens,
        seed=seed,
        compile="off",
        **values,
    )


def one(root: Path, values: dict[str, Any]) -> None:
    """In a process of its own: train an arm and score it on validation's and unseen spans."""
    given = Train.model_validate(values)
    loop.train(root, {"arm": values, "config_sha256": ""})
    folder = root / "models" / given.name
    model, tokenizer, separator = models.load(folder)
    window = models.context(model)
    found = {}
    for split, count in (("validation", 20), ("unseen", 80)):
        chosen = spans.choose(documents.paths(root), split, count, 4096, 1)
        texts = [span.text for span in chosen]
        nats = loss.nats(model, tokenizer, texts, window, window // 2, separator, 4)
        found[split] = {
            "groups": [span.group for span in chosen],
            "bytes": [span.bytes for span in chosen],
            "nats": [n for _, n in nats],
        }
    facts = read_json(folder / "training.json")
    write_json(root / "race" / f"{given.name}.json", {"training": facts, "scores": found})


class Cores:
    """Runs arms two at a time, each pinned to a core; a finished one is not run again."""

    def __init__(self, root: Path) -> None:
        self.root, self.free = root, SimpleQueue[int]()
        (root / "race").mkdir(exist_ok=True)
        self.cores = sorted(os.sched_getaffinity(0))[:2]
        for core in self.cores:
            self.free.put(core)

    def run(self, arms: list[Train]) -> list[dict[str, Any]]:
        """What each arm gave, in their order."""
        with ThreadPoolExecutor(len(self.cores)) as pool:
            return list(pool.map(self._one, arms))

    def _one(self, given: Train) -> dict[str, Any]:
        path = self.root / "race" / f"{given.name}.json"
        if not path.is_file():
            core = self.free.get()
            values = json.dumps(given.model_dump(mode="json"))
            command = [sys.executable, __file__, "--one", values, "--runs", str(self.root)]
            pin = lambda: os.sched_setaffinity(0, {core})  # noqa: E731
            try:
                subprocess.run(command, check=True, preexec_fn=pin, env=os.environ | {
                    "OMP_NUM_THREADS": "1"})  # fmt: skip
            finally:
                self.free.put(core)
        found: dict[str, Any] = read_json(path)
        facts = found["training"]
        found["seconds"] = facts["tokens"] / facts["tokens_per_second"]
        for split, rows in found["scores"].items():
            found[split] = statistics.bits_per_byte(rows["nats"], rows["bytes"])
        print(f"{given.name:32} {found['seconds']:6.0f} s  validation {found['validation']:.4f}  "
              f"unseen {found['unseen']:.4f}", flush=True)  # fmt: skip
        return found


def time_to(target: float, runs: list[tuple[float, float]]) -> float:
    """Seconds at which (seconds, bits) runs reach `target`: linear in the logarithm of time.

    Beyond the last run the last slope goes on; before the first the first.
    """
    runs = sorted(runs)
    pairs = list(itertools.pairwise(runs))
    (t1, b1), (t2, b2) = next((p for p in pairs if p[1][1] <= target), pairs[-1])
    slope = (math.log(t2) - math.log(t1)) / (b2 - b1)
    return math.exp(math.log(t1) + slope * (target - b1))


def main() -> None:
    """Prepare, sweep, race, print, write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("corpus", type=Path, nargs="?")
    parser.add_argument("--seconds", type=float, default=480, help="GPT-2's budget a run")
    parser.add_argument("--runs", type=Path, default=Path("runs"))
    parser.add_argument("--one", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.one:
        return one(given.runs, json.loads(given.one))
    loaded = recipes.load(
        str(HERE.parent / "speedrun" / "recipe.toml"),
        [f"source.path={given.corpus}", f"tokens.vocabulary={VOCABULARY}"],
    )
    run = pipeline.start(loaded, given.runs, "race", True, "benchmarks/training/race.py")
    pipeline.execute(run, "tokens")
    cores = Cores(run.root)
    # The rates of both sides, measured side by side, make the budget's tokens.
    trial = cores.run([arm(s, run.root, SIDES[s]["rates"][1], 512, 20 * BATCH, 9) for s in SIDES])
    speed = {s: t["training"]["tokens_per_second"] for s, t in zip(SIDES, trial, strict=True)}
    whole = {s: int(given.seconds * speed[s] / BATCH) * BATCH for s in SIDES}
    print(json.dumps({"tokens_per_second": speed, "tokens": whole}))

    settings = list(itertools.product(range(4), CONTEXTS))
    swept = cores.run([
        arm(s, run.root, SIDES[s]["rates"][r], c, whole[s] // 3 // BATCH * BATCH, 1)
        for r, c in settings
        for s in SIDES
    ])  # fmt: skip
    best = {}
    for place, side in enumerate(SIDES):
        rows = swept[place :: len(SIDES)]
        number = min(range(len(rows)), key=lambda n: rows[n]["validation"])
        best[side] = (SIDES[side]["rates"][settings[number][0]], settings[number][1])
    print(json.dumps({"best rate and context, by validation": best}))

    arms = []
    for seed in SEEDS:
        arms.append(arm("gpt2", run.root, *best["gpt2"], whole["gpt2"], seed))
        arms += [
            arm("modern", run.root, *best["modern"], int(whole["modern"] * s / BATCH) * BATCH, seed)
            for s in SHARES
        ]
    raced = cores.run(arms)
    ratios = []
    for number, _seed in enumerate(SEEDS):
        reference, *others = raced[number * 4 : number * 4 + 4]
        needed = time_to(reference["unseen"], [(o["seconds"], o["unseen"]) for o in others])
        ratios.append(reference["seconds"] / needed)
    mean, spread = float(np.mean(ratios)), float(np.std(ratios, ddof=1))
    half = 4.303 * spread / math.sqrt(len(ratios))  # Student's t, two degrees of freedom
    print(f"time to equal bits per byte: {mean:.2f}x less (95 % {mean - half:.2f} to "
          f"{mean + half:.2f}, seeds {', '.join(f'{r:.2f}' for r in ratios)}; bar 2)")  # fmt: skip
    result = {
        "device": raced[0]["training"]["device"],
        "parameters": {s: t["training"]["parameters"] for s, t in zip(SIDES, trial, strict=True)},
        "tokens_per_second_one_core": speed,
        "swept": [
            {"side": s, "rate": SIDES[s]["rates"][r], "context": c}
            | {k: swept[2 * n + p][k] for k in ("seconds", "validation", "unseen")}
            for n, (r, c) in enumerate(settings)
            for p, s in enumerate(SIDES)
        ],
        "best": best,
        "runs": [
            {"arm": a.name, **{k: found[k] for k in ("seconds", "validation", "unseen")}}
            for a, found in zip(arms, raced, strict=True)
        ],
        "ratios": ratios,
        "mean": mean,
        "ci95": [mean - half, mean + half],
    }
    write_json(RESULTS / "training-race.json", result)


if __name__ == "__main__":
    main()
