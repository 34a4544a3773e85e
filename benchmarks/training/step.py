"""Tokens a second of one optimizer step, beside nanoGPT and litgpt, alternating in one run.

    .venv/bin/python benchmarks/training/step.py --nanogpt NANOGPT --python PEERS/bin/python \\
        [--shapes readme use] [--modes eager compiled processes] [--rounds 5] [--seconds 10]
        [--json FILE]

NANOGPT is a checkout of karpathy/nanoGPT, PEERS an environment with torch and litgpt. A side is a
process that lives through the run and takes steps when told to, so the sides never work at once. A
step is all of it: a batch read from the same file of tokens, passes in float32 over the same
number of windows, gradients summed, their norm clipped at 1, AdamW. nanoGPT: its model and
optimizer, the loop of its train.py on a CPU. litgpt: its model, loss and optimizer under Fabric,
the loop of its pretrain.py. Ours: the step that the training loop takes, on its batches, as
deterministic as the loop is; with `processes` under torchrun too, a process of one thread a core,
which share the windows of the step.

Shapes: `readme` is what nanoGPT's README runs on a CPU (64 characters, 12 windows, one pass, no
biases; ours has them and does a little more), `use` is nearer to use (the preset gpt2-small, 4
passes of 4 windows of 512 tokens). litgpt has no learned positions: there they are rotary, on a
quarter of each head as in its Pythia configs; head and token table are tied on all sides. FLOPs
are 6 x weights in products + 12 x layers x width x context a token. Ratios are medians of the
rounds' own ratios. Run it on a machine with nothing else to do.
"""

import argparse
import contextlib
import dataclasses
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Any

import numpy as np

Side = tuple[Callable[[], float], int]  # take a step and tell its loss; weights in products
TOKENS = 1_000_000  # in the file that all sides read
RATE = 1e-3
MODES = ["eager", "compiled", "processes"]  # the last is ours alone
WARM = 2  # steps after the first, before the clock


@dataclasses.dataclass(frozen=True)
class Shape:
    """A model, and the batch of a step."""

    layers: int
    heads: int
    width: int
    vocabulary: int
    context: int  # tokens a window
    micro_batch: int  # windows a pass
    passes: int  # a step
    bias: bool  # in nanoGPT's layers; its train.py runs without

    @property
    def tokens(self) -> int:
        """Tokens a step."""
        return self.context * self.micro_batch * self.passes

    def flops(self, weights: int) -> float:
        """Training FLOPs a token with so many weights in matrix products."""
        return 6.0 * weights + 12 * self.layers * self.width * self.context


SHAPES = {
    "readme": Shape(4, 4, 128, 65, 64, 12, 1, False),
    "use": Shape(6, 4, 256, 8192, 512, 4, 4, True),
}


def ours(job: dict[str, Any], shape: Shape, stack: contextlib.ExitStack) -> Side:
    """A preset of this shape, built and trained as the loop does it."""
    import threading

    import torch

    from domainlm.recipe import Train
    from domainlm.tokens.shards import Shards
    from domainlm.training import distributed, hardware, models, optimizers, presets
    from domainlm.training.batches import Batches
    from domainlm.training.step import Passes, Stepper

    windows = shape.micro_batch * shape.passes
    mine = windows // distributed.size()
    rows = slice(distributed.rank(), None, distributed.size())
    presets.PRESETS["benchmark"] = dataclasses.replace(
        presets.PRESETS["gpt2-small"],
        width=shape.width,
        layers=shape.layers,
        heads=shape.heads,
        inner=4 * shape.width,
        context=shape.context,
        short=shape.context,
        batch_tokens=shape.tokens,
    )
    arm = Train(name="benchmark", model="benchmark", tokens=TOKENS, learning_rate=RATE)
    stack.enter_context(hardware.steady(torch.device("cpu"), job["threads"]))
    model = models.build(arm, shape.vocabulary, 0, seed=1)
    passes = Passes(
        context=shape.context,
        windows=windows,
        micro_batch=min(shape.micro_batch, mine),
        precision="fp32",
        compile=job["compile"],
    )
    stepper = Stepper(model, presets.settings(arm, shape.context), passes)
    data = np.memmap(job["data"], "<u2", "r")
    shards = Shards((data,), (0, len(data)), 0, shape.vocabulary, len(data))
    batches, never, count = Batches(shards, shape.context, windows, 1), threading.Event(), 0

    def step() -> float:
        nonlocal count
        inputs, targets = batches.batch(count, rows)
        found = stepper.step(inputs, targets, RATE, optimizers.momentum(count), never)
        assert found is not None
        count += 1
        return float(found[0])

    return step, round((models.flops_per_token(model.config, shape.context) - shape.flops(0)) / 6)


def nanogpt(job: dict[str, Any], shape: Shape, stack: contextlib.ExitStack) -> Side:
    """nanoGPT's model and optimizer, stepped as train.py does with --device=cpu (no autocast)."""
    sys.path.insert(0, job["nanogpt"])
    import torch
    from model import GPT, GPTConfig

    values = {"block_size": shape.context, "vocab_size": shape.vocabulary, "bias": shape.bias}
    values |= {"n_layer": shape.layers, "n_head": shape.heads, "n_embd": shape.width}
    plain = GPT(GPTConfig(**values, dropout=0.0))
    optimizer = plain.configure_optimizers(0.1, RATE, (0.9, 0.99), "cpu")
    model = torch.compile(plain) if job["compile"] else plain
    rows = random_windows(job, shape)

    def step() -> float:
        for group in optimizer.param_groups:
            group["lr"] = RATE
        total = 0.0
        for _ in range(shape.passes):
            batch = next(rows)
            _, loss = model(batch[:, :-1].contiguous(), batch[:, 1:].contiguous())
            loss = loss / shape.passes
            loss.backward()
            total += loss.item()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        return total

    return step, plain.get_num_params()


def litgpt(job: dict[str, Any], shape: Shape, stack: contextlib.ExitStack) -> Side:
    """litgpt's model, loss and optimizer under Fabric, stepped as pretrain.py does."""
    import lightning
    import torch
    from litgpt.model import GPT, Config
    from litgpt.pretrain import initialize_weights
    from litgpt.utils import chunked_cross_entropy, instantiate_torch_optimizer

    fabric = lightning.Fabric(accelerator="cpu", devices=1, precision="32-true")
    values = {"block_size": shape.context, "n_layer": shape.layers, "n_embd": shape.width}
    values |= {"n_head": shape.heads, "vocab_size": shape.vocabulary}
    plain = GPT(Config(**values, padded_vocab_size=shape.vocabulary, parallel_residual=False))
    initialize_weights(fabric, plain, n_layer=shape.layers, n_embd=shape.width)
    plain.transformer.wte.weight = plain.lm_head.weight
    weights = sum(p.numel() for p in plain.parameters())
    model = fabric.setup(torch.compile(plain) if job["compile"] else plain)
    optimizer = instantiate_torch_optimizer("AdamW", model.parameters(), fused=False)
    optimizer = fabric.setup_optimizers(optimizer)
    rows = random_windows(job, shape)

    def step() -> float:
        total = 0.0
        for number in range(shape.passes):
            for group in optimizer.param_groups:
                group["lr"] = RATE
            batch = next(rows)
            with fabric.no_backward_sync(model, enabled=number + 1 < shape.passes):
                logits = model(batch[:, :-1].contiguous())
                loss = chunked_cross_entropy(logits, batch[:, 1:].contiguous())
                fabric.backward(loss / shape.passes)
            total += loss.item() / shape.passes
        fabric.clip_gradients(model, optimizer, max_norm=1.0)
        optimizer.step()
        optimizer.zero_grad()
        return total

    return step, weights


SIDES = {"domainlm": ours, "nanogpt": nanogpt, "litgpt": litgpt}


def random_windows(job: dict[str, Any], shape: Shape) -> Iterator[Any]:
    """Windows anywhere in the tokens, (micro-batch, context + 1) int64, as nanoGPT draws them."""
    import torch

    data = np.memmap(job["data"], "<u2", "r")
    while True:
        starts = torch.randint(len(data) - shape.context, (shape.micro_batch,))
        pieces = [data[i : i + shape.context + 1].astype(np.int64) for i in starts.tolist()]
        yield torch.from_numpy(np.stack(pieces))


def work(job: dict[str, Any]) -> None:
    """A side: gets ready, then takes as many steps as each line of stdin says, and reports."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what the tools print is no answer
    import torch

    torch.set_num_threads(job["threads"])
    torch.manual_seed(1)
    together = job["processes"] > 1  # only ours
    if together:
        from domainlm.training import distributed

        distributed.join()

    def timed(count: int) -> dict[str, float]:
        if together and not distributed.rank():
            distributed.shared((count,))
        began = time.perf_counter()
        losses = [step() for _ in range(count)]
        return {"seconds": time.perf_counter() - began, "loss": losses[-1]}

    with contextlib.ExitStack() as stack:
        step, weights = SIDES[job["side"]](job, Shape(**job["shape"]), stack)
        if together:
            if distributed.rank():
                return distributed.follow(timed)
            stack.callback(distributed.leave)
        first = timed(1)  # compiles
        facts = {"torch": str(torch.__version__), "weights": weights, "first": first}
        print(json.dumps(facts | {"warm": timed(WARM)}), file=answers, flush=True)
        for line in sys.stdin:
            print(json.dumps(timed(int(line))), file=answers, flush=True)


class Worker:
    """A side's process, or processes."""

    def __init__(self, python: str, job: dict[str, Any], log: IO[str]) -> None:
        command = [python, "-P"]  # no module beside this
        if job["processes"] > 1:
            command += ["-m", "torch.distributed.run", "--standalone"]
            command += ["--nproc-per-node", str(job["processes"])]
        command += [__file__, "--job", json.dumps(job)]
        pipe = subprocess.PIPE
        self.process = subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=log, text=True)
        self.facts, self.rounds = self._answer(), list[dict[str, float]]()

    def run(self, steps: int) -> None:
        """One round of so many steps."""
        assert self.process.stdin is not None
        print(steps, file=self.process.stdin, flush=True)
        self.rounds.append(self._answer())

    def _answer(self) -> dict[str, Any]:
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if not line:
            raise SystemExit("a side died: its last words stand above")
        answer: dict[str, Any] = json.loads(line)
        return answer


def compare(shape: Shape, jobs: dict[str, tuple[str, Any]], rounds: int, seconds: float) -> Any:
    """The rounds of all sides, alternating, about `seconds` each; our own sides come first."""
    with tempfile.TemporaryFile("w+") as log:
        try:
            workers = {name: Worker(*job, log) for name, job in jobs.items()}
            slowest = max(w.facts["warm"]["seconds"] / WARM for w in workers.values())
            steps = max(1, round(seconds / slowest))
            for _ in range(rounds):
                for worker in workers.values():
                    worker.run(steps)
            for worker in workers.values():
                worker.process.communicate()
        except SystemExit:
            log.seek(0)
            print(log.read()[-3000:], file=sys.stderr)
            raise
    speeds = {
        name: [shape.tokens * steps / r["seconds"] for r in worker.rounds]
        for name, worker in workers.items()
    }
    ours = [name for name in workers if name.startswith("domainlm")]
    found = {}
    for name, worker in workers.items():
        facts, last = worker.facts, worker.rounds[-1]["loss"]
        if not last < facts["first"]["loss"]:
            raise SystemExit(f"{name} learns nothing (loss {last}): nothing is compared")
        median, flops = statistics.median(speeds[name]), shape.flops(facts["weights"])
        found[name] = {
            "tokens_per_second": round(median, 1),
            "rounds": [round(s, 1) for s in speeds[name]],
            "gflops_per_second": round(median * flops / 1e9, 2),
            "weights": facts["weights"],
            "first_step_seconds": round(facts["first"]["seconds"], 2),
            "loss": [round(facts["first"]["loss"], 4), round(last, 4)],
            "torch": facts["torch"],
        }
        for our in ours:  # how many times as fast, round by round
            ratios = [a / b for a, b in zip(speeds[our], speeds[name], strict=True)]
            per_flop = shape.flops(workers[our].facts["weights"]) / flops
            times, low, high = statistics.median(ratios), min(ratios), max(ratios)
            found[name][our] = {
                "times": round(times, 3),
                "range": [round(low, 3), round(high, 3)],
                "times_at_equal_flops": round(times * per_flop, 3),
            }
    return {"steps_per_round": steps, "sides": found}


def show(title: str, sides: dict[str, Any]) -> None:
    """A table: a row a side, a column for each of ours that tells how many times it is as fast."""
    ours = [name for name in sides if name.startswith("domainlm")]
    print(f"\n{title}")
    print(f"  {'':18} {'tokens/s':>9} {'GFLOP/s':>8}" + "".join(f" {'x ' + o:>32}" for o in ours))
    for name, row in sides.items():
        cells = (row[our] for our in ours)
        texts = (f"{c['times']:.2f} ({c['range'][0]:.2f} to {c['range'][1]:.2f})" for c in cells)
        rates = f"{row['tokens_per_second']:9,.0f} {row['gflops_per_second']:8.1f}"
        print(f"  {name:18} {rates}" + "".join(f" {t:>32}" for t in texts), flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--nanogpt", help="a checkout of karpathy/nanoGPT")
    parser.add_argument("--python", default=sys.executable, help="with torch and litgpt")
    parser.add_argument("--sides", nargs="+", default=list(SIDES), choices=list(SIDES))
    parser.add_argument("--shapes", nargs="+", default=list(SHAPES), choices=list(SHAPES))
    parser.add_argument("--modes", nargs="+", default=MODES, choices=MODES)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=10, help="a round and side")
    parser.add_argument("--threads", type=int)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--job", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.job:
        return work(json.loads(given.job))
    import torch

    from domainlm.training import hardware

    if "nanogpt" in given.sides and not given.nanogpt:
        parser.error("--nanogpt DIR is needed, or --sides without it")
    threads = given.threads or hardware.threads()
    torch.set_num_threads(threads)
    report: dict[str, Any] = {"device": hardware.device_name(torch.device("cpu"))}
    report |= {"threads": threads, "precision": "fp32", "rounds": given.rounds, "results": []}
    with tempfile.TemporaryDirectory() as folder:
        for name in given.shapes:
            shape, data = SHAPES[name], Path(folder) / f"{name}.bin"
            chances = 1 / np.arange(10, 10 + shape.vocabulary)  # Zipf's law: there is to learn
            random = np.random.default_rng(1)
            drawn = random.choice(shape.vocabulary, TOKENS, p=chances / chances.sum())
            drawn.astype("<u2").tofile(data)
            jobs = {}
            for side in dict.fromkeys(["domainlm", *given.sides]):
                for mode in given.modes:
                    if mode == "processes" and side != "domainlm":
                        continue
                    job = {"side": side, "compile": mode == "compiled", "nanogpt": given.nanogpt}
                    job |= {"data": str(data), "threads": threads, "processes": 1}
                    if mode == "processes":
                        job |= {"threads": 1, "processes": threads}
                    python = sys.executable if side == "domainlm" else given.python
                    jobs[f"{side} {mode}"] = python, job | {"shape": dataclasses.asdict(shape)}
            found = compare(shape, jobs, given.rounds, given.seconds)
            show(f"{name}: {shape.tokens:,} tokens a step, {threads} threads", found["sides"])
            report["results"].append({"name": name, "shape": dataclasses.asdict(shape), **found})
    if given.json:
        given.json.write_text(json.dumps(report, indent=1) + "\n")


if __name__ == "__main__":
    main()
