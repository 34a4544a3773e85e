"""What a GPU makes of the package's own training step, in one call of under ten minutes.

    python benchmarks/gpu/run.py [--tokens FOLDER] [--nanogpt FOLDER] [--race SECONDS] [--out DIR]
    python benchmarks/gpu/run.py --train MINUTES --tokens FOLDER [--score FILE.npz] [--out DIR]

It runs from a checkout and needs torch, transformers and numpy alone. The parts: `device` (peak of
matrix products, measured and the maker's), `recipes` (both 124M models, eager and compiled), `peer`
(nanoGPT's model and step, from a checkout of it), `loss` (the fused loss against plain
cross-entropy), `race` (the modern recipe against GPT-2 with AdamW on the same real tokens, to an
equal loss) and `sweep` (micro-batches). `gpu.json` in the folder is written anew after every row,
so that a machine taken away early loses only what was not yet measured.

`--train` trains modern-124m by the package's own loop on FOLDER (made by pack.py), scores the
documents of FILE.npz in nats and writes some samples; logs come back, the weights do not. Tokens/s
are whole optimizer steps (reading a batch, all passes, clipping, the update) on random ids, the
median of three rounds; utilization counts PaLM's FLOPs (training/models.py).
"""

import argparse
import dataclasses
import functools
import gc
import importlib.util
import json
import math
import shutil
import statistics
import sys
import tempfile
import threading
import time
import traceback
import types
from collections.abc import Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
PARTS = ("device", "recipes", "peer", "loss", "race", "sweep")
LIMITS = {"recipes": 220.0, "loss": 40.0, "sweep": 120.0}  # seconds; no row begins after them
WHOLE = 520.0  # seconds, of all parts
BAR = 550_000  # tokens/s of GPT-2 124M on one H200
FULL = {"gpt2-124m": 50_304, "modern-124m": 32_768}  # presets and vocabularies
SMOKE = {"gpt2-tiny": 512, "modern-tiny": 512}
MICRO_BATCHES = (64, 32, 16, 8, 4)
SAMPLES = 4

Row = dict[str, Any]


def import_recipe() -> None:
    """Import `domainlm.recipes`, also where pydantic and tomli_w are not installed.

    Its classes are then plain ones with the same defaults. Nothing but the checks is lost: the
    recipes here are written below, not read from people.
    """
    sys.path.insert(0, str(ROOT / "src"))
    if all(map(importlib.util.find_spec, ("pydantic", "tomli_w"))):
        return

    class Plain:
        def __init__(self, **values: Any) -> None:
            self.__dict__.update(values)

        @classmethod
        def model_validate(cls, values: Row) -> "Plain":
            return cls(**values)

    def mark(*_: Any, **__: Any) -> Any:
        return lambda method: method

    pydantic: Any = types.ModuleType("pydantic")
    pydantic.BaseModel, pydantic.ConfigDict = Plain, dict
    pydantic.Field = lambda default=None, **_: default
    pydantic.field_validator = pydantic.model_validator = mark
    stand_ins = {"pydantic": pydantic, "tomli_w": types.ModuleType("tomli_w")}
    before = {name: sys.modules[name] for name in stand_ins if name in sys.modules}
    sys.modules |= stand_ins
    importlib.import_module("domainlm.recipes")
    for name in stand_ins:  # transformers looks whether there is a pydantic: there is none
        del sys.modules[name]
    sys.modules |= before


try:
    import_recipe()
    import numpy as np
    import torch
    import torch.nn.functional as F

    from domainlm.errors import DomainLMError
    from domainlm.evaluation import loss as evaluation_loss
    from domainlm.evaluation import models as evaluation_models
    from domainlm.recipe import Train
    from domainlm.tokens.shards import Shards
    from domainlm.training import hardware, loop, memory, models, plan, presets
    from domainlm.training.batches import Batches
    from domainlm.training.loss import LinearCrossEntropy
    from domainlm.training.step import Stepper
except ImportError as missing:
    sys.exit(f"error: {missing}: this needs torch, transformers (5 or later) and numpy")


@dataclasses.dataclass
class Job:
    """What was asked for, and the machine it is asked of."""

    given: argparse.Namespace
    device: torch.device
    precision: hardware.Precision
    peak: float = math.nan  # FLOPs a second of matrix products, measured

    @property
    def presets(self) -> dict[str, int]:
        return SMOKE if self.given.smoke else FULL

    def arm(self, name: str, **more: Any) -> Row:
        """The recipe of an arm; where it is only measured its budget says nothing."""
        small = {"context": 32, "short_context": 16, "batch_tokens": 64} if self.given.smoke else {}
        budget = {} if "minutes" in more else {"tokens": 1}
        return {"name": name, "model": name, **small, **budget, **more}


def device_part(job: Job) -> Iterator[Row]:
    job.peak = hardware.matmul_flops(job.device, job.precision)
    vendor = hardware.vendor_flops(job.device, job.precision)
    yield {
        "device": hardware.device_name(job.device),
        "precision": job.precision,
        "matmul_tflops": round(job.peak / 1e12, 3),
        "vendor_tflops": None if vendor is None else vendor / 1e12,
        "memory_gb": round(hardware.memory(job.device) / 1e9, 1),
        "torch": str(torch.__version__),
        "cuda": torch.version.cuda,
    }


def recipes_part(job: Job) -> Iterator[Row]:
    for name in job.presets:
        for compiled in job.given.compile:
            yield from speeds(job, name, compile=compiled)


def sweep_part(job: Job) -> Iterator[Row]:
    """The same step, of 65,536 tokens, in smaller and smaller passes."""
    sizes = (2, 1) if job.given.smoke else MICRO_BATCHES
    for name in job.presets:
        for size in sizes:
            change = {"windows": sizes[0], "micro_batch": size, "recompute": False}
            try:
                yield next(speeds(job, name, compile=job.given.compile[-1], **change))
            except torch.OutOfMemoryError:
                yield {"model": name, "micro_batch": size, "out_of_memory": True}


def free() -> None:
    """Forget the model before: its memory, and its shapes, which would make the next's dynamic."""
    gc.collect()
    torch.compiler.reset()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()


def speeds(job: Job, name: str, **change: Any) -> Iterator[Row]:
    """Rates of a preset's step, in the passes that the package chooses but for `change`.

    One row for each length of context that it is trained at, the full one first.
    """
    free()
    vocabulary, arm = job.presets[name], Train.model_validate(job.arm(name))
    config = models.configure(arm, vocabulary, 0)
    settings = presets.settings(arm, 2**20)
    passes = plan.choose_passes(arm, config, settings, job.device)
    passes = dataclasses.replace(passes, **change)
    gpu = hardware.gpu_memory(job.device)
    need = memory.predict(config, settings, passes.precision, passes.recompute, gpu)
    model = models.build(arm, vocabulary, 0, arm.seed).to(job.device)
    stepper = Stepper(model, settings, passes)
    ids = np.random.default_rng(1).integers(vocabulary, size=2**21, dtype=np.uint16)
    shards = Shards((ids,), (0, len(ids)), 0, vocabulary, len(ids))
    batches = Batches(shards, settings.context, passes.windows, 1)
    tokens = passes.windows * settings.context
    vendor = hardware.vendor_flops(job.device, passes.precision) or math.nan
    on_gpu = job.device.type == "cuda"  # elsewhere only the whole process could be measured

    def timed(length: int, count: int) -> float:
        work = functools.partial(steps, stepper, batches, length, count)
        return hardware.seconds(work, job.device)

    for length in dict.fromkeys((settings.context, settings.short_context)):
        first, two = timed(length, 1), timed(length, 2)
        count = max(1, math.ceil(job.given.seconds / 3 / (two / 2)))
        rounds = [count * tokens / timed(length, count) for _ in range(3)]
        rate = statistics.median(rounds)
        work = rate * models.flops_per_token(config, length)
        yield {
            "model": name,
            **dataclasses.asdict(passes),
            "context": length,
            "tokens_per_second": round(rate),
            "utilization": round(work / job.peak, 4),
            "utilization_of_vendor_peak": None if vendor != vendor else round(work / vendor, 4),
            "memory_gb": round(hardware.memory_used(job.device) / 1e9, 2) if on_gpu else None,
            "predicted_memory_gb": round(need.peak(passes.micro_batch) / 1e9, 2),
            "first_step_seconds": round(first, 2),
            "parameters": models.parameters(model),
            "vocabulary": vocabulary,
            "optimizer": settings.optimizer,
            "rounds": [round(r) for r in rounds],
            "steps_a_round": count,
        }


def steps(stepper: Stepper, batches: Batches, length: int, count: int) -> None:
    """So many updates, by the loop's own work. Raises where the loss is no number."""
    never = threading.Event()
    rate = stepper.settings.learning_rate / 10  # there is no warm-up here
    for number in range(count):
        inputs, targets = (rows.reshape(-1, length) for rows in batches.batch(number))
        found = stepper.step(inputs, targets, rate, 0.95, never)
    if found is None or not bool(found.isfinite().all()):
        raise DomainLMError(f"a step ended in {found}: what is measured is no training")


def peer_part(job: Job) -> Iterator[Row]:
    """nanoGPT's GPT-2 as its train.py steps it on a GPU: compiled whole, bf16, fused AdamW."""
    if not job.given.nanogpt:
        raise DomainLMError("there is no nanoGPT", fix="--nanogpt FOLDER, a checkout")
    free()
    sys.path.insert(0, str(job.given.nanogpt))
    from model import GPT, GPTConfig

    compiled, on_gpu = job.given.compile[-1], job.device.type == "cuda"
    shape = {"vocab_size": next(iter(job.presets.values())), "bias": False, "dropout": 0.0}
    shape |= {"block_size": 1024, "n_layer": 12, "n_head": 12, "n_embd": 768}
    windows = MICRO_BATCHES[0]
    if job.given.smoke:
        shape |= {"block_size": 32, "n_layer": 2, "n_head": 2, "n_embd": 64}
        windows = 2
    plain = GPT(GPTConfig(**shape)).to(job.device)
    optimizer = plain.configure_optimizers(0.1, 6e-4, (0.9, 0.95), job.device.type)
    model: Any = torch.compile(plain) if compiled else plain
    context, generator = shape["block_size"], np.random.default_rng(1)
    ids = generator.integers(shape["vocab_size"], size=2**21, dtype=np.uint16)

    def rows(starts: Any, ahead: int) -> torch.Tensor:
        found = [torch.from_numpy(ids[s + ahead :][:context].astype(np.int64)) for s in starts]
        batch = torch.stack(found)
        return batch.pin_memory().to(job.device, non_blocking=True) if on_gpu else batch

    def work(count: int) -> None:
        for _ in range(count):
            starts = generator.integers(len(ids) - context - 1, size=windows)
            inputs, targets = rows(starts, 0), rows(starts, 1)
            with torch.autocast(job.device.type, torch.bfloat16, enabled=job.precision == "bf16"):
                _, loss = model(inputs, targets)
            loss.backward()
            torch.nn.utils.clip_grad_norm_(plain.parameters(), 1.0)
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)

    first, two = (hardware.seconds(lambda n=n: work(n), job.device) for n in (1, 2))
    count = max(1, math.ceil(job.given.seconds / 3 / (two / 2)))
    rounds = [
        count * windows * context / hardware.seconds(lambda: work(count), job.device)
        for _ in range(3)
    ]
    yield {
        "model": "nanoGPT",
        "compile": compiled,
        "micro_batch": windows,
        "tokens_per_second": round(statistics.median(rounds)),
        "memory_gb": round(hardware.memory_used(job.device) / 1e9, 2) if on_gpu else None,
        "first_step_seconds": round(first, 2),
        "rounds": [round(r) for r in rounds],
    }


def loss_part(job: Job) -> Iterator[Row]:
    """Forward and backward from the last hidden state: plain, eager and compiled, and fused."""
    free()
    rows, width, vocabulary = (128, 64, 512) if job.given.smoke else (16_384, 768, 50_304)
    torch.manual_seed(1)
    kind = torch.bfloat16 if job.precision == "bf16" else torch.float32
    hidden = torch.randn(rows, width, device=job.device).to(kind).requires_grad_()
    weight = (0.02 * torch.randn(vocabulary, width, device=job.device)).requires_grad_()
    targets = torch.randint(vocabulary, (rows,), device=job.device)

    def plain() -> torch.Tensor:
        logits = hidden @ weight.to(kind).T
        return F.cross_entropy(logits.float(), targets, reduction="sum")

    def both(forward: Any) -> list[torch.Tensor]:
        hidden.grad = weight.grad = None
        total = forward()
        torch.autograd.backward(total)
        return [total.detach()]

    fused: Any = LinearCrossEntropy.apply
    ways: dict[str, Any] = {"plain": plain}
    if job.given.compile[-1]:
        ways["plain, compiled"] = torch.compile(plain)
    ways["fused"] = functools.partial(fused, hidden, weight, targets)
    reference: list[torch.Tensor] = []
    for name, forward in ways.items():
        work = functools.partial(both, forward)
        found = [t.float() for t in (*work(), hidden.grad, weight.grad) if t is not None]
        reference = reference or found
        apart = [float((a - b).norm() / b.norm()) for a, b in zip(found, reference, strict=True)]
        del found
        taken = None
        if job.device.type == "cuda":
            hidden.grad = weight.grad = None
            torch.cuda.reset_peak_memory_stats()
            before = torch.cuda.memory_allocated()
            work()
            taken = round((torch.cuda.max_memory_allocated() - before) / 1e9, 3)
        times = [hardware.seconds(work, job.device) for _ in range(10)]
        yield {
            "kind": name,
            "shape": [rows, width, vocabulary],
            "milliseconds": round(1e3 * statistics.median(times), 3),
            "memory_gb": taken,  # beyond hidden states and weights
            # Relative norm of the difference from the first row, of loss and gradients.
            **dict(zip(("loss_apart", "hidden_apart", "weight_apart"), apart, strict=True)),
        }


def race_part(job: Job) -> Iterator[Row]:
    """Each recipe for so many seconds on the same tokens; when the modern one is level."""
    curves = {}
    for name in job.presets:
        with tempfile.TemporaryDirectory() as folder:
            facts, lines = train(job, Path(folder), name, job.given.race / 60)
        # From the end of the first step on, in which a model may be compiled; all the rest counts
        # (reading, validation, checkpoints), as it does for who trains.
        curves[name] = [
            (x["seconds"] - lines[0]["seconds"], x["validation_bits_per_byte"])
            for x in lines
            if x["validation_bits_per_byte"] is not None
        ]
        yield {"model": name, **facts, "curve": lines}
    classic, modern = curves.values()
    seconds, goal = min(classic, key=lambda point: point[1])
    level = time_to(modern, goal)
    yield {
        "classic_bits_per_byte": goal,
        "modern_bits_per_byte": min(bits for _, bits in modern),
        "classic_seconds": round(seconds, 2),  # to its best
        "modern_seconds_to_equal": None if level is None else round(level, 2),
        "times_faster": None if not level else round(seconds / level, 3),
    }


def time_to(curve: list[tuple[float, float]], goal: float) -> float | None:
    """When a curve of (seconds, bits) first comes down to `goal`, on lines between its points."""
    for number, (seconds, bits) in enumerate(curve):
        if bits <= goal:
            before, above = curve[max(0, number - 1)]
            share = (above - goal) / (above - bits) if above > bits else 1.0
            return before + share * (seconds - before)
    return None


def train(job: Job, root: Path, name: str, minutes: float) -> tuple[Row, list[Row]]:
    """Train a preset by the package's loop in the folder `root`; its facts and its log."""
    free()
    way = "on" if job.given.compile[-1] else "off"
    (root / "tokens").symlink_to(job.given.tokens.resolve(), target_is_directory=True)
    target = root / "models" / name
    try:
        loop.train(root, {"arm": job.arm(name, minutes=minutes, compile=way)})
    finally:  # also of one that was stopped
        if (target / "training.jsonl").is_file():
            shutil.copyfile(target / "training.jsonl", job.given.out / f"training-{name}.jsonl")
    lines = (target / "training.jsonl").read_text().splitlines()
    return json.loads((target / "training.json").read_text()), [json.loads(x) for x in lines]


def train_part(job: Job) -> Iterator[Row]:
    """The modern recipe for `--train` minutes, then scores and samples of what it has become."""
    name = list(job.presets)[-1]
    with tempfile.TemporaryDirectory() as folder:
        yield train(job, Path(folder), name, job.given.train)[0]
        if job.given.score:
            yield from score(job, Path(folder) / "models" / name)


def score(job: Job, folder: Path) -> Iterator[Row]:
    """Nats of each held-out document as the package's evaluation counts them; then samples."""
    held_out = np.load(job.given.score)
    rows = [r.tolist() for r in np.split(held_out["ids"].astype(int), held_out["offsets"][1:-1])]
    model, tokenizer, separator = evaluation_models.load(folder)
    window = min(1024, evaluation_models.context(model))
    work = [
        w
        for number, row in enumerate(rows)
        for w in evaluation_loss.windows(len(row), window, window // 2, number)
    ]
    work.sort(key=lambda w: w.begin - w.end)
    nats = np.zeros(len(rows))
    for first in range(0, len(work), 16):
        part = work[first : first + 16]
        owners = np.repeat([w.text for w in part], [w.end - w.first for w in part])
        np.add.at(nats, owners, evaluation_loss._score(model, rows, part, separator))
    yield {
        "bits_per_byte": round(float(nats.sum() / math.log(2) / held_out["bytes"].sum()), 4),
        "window": window,
        "stride": window // 2,
        "tokens": [len(row) for row in rows],
        "nats": nats.tolist(),
    }
    torch.manual_seed(1)
    for row in rows[:SAMPLES]:
        opening = torch.tensor([[separator, *row[:32]]], device=job.device)
        written = model.generate(opening, attention_mask=torch.ones_like(opening), do_sample=True,
            temperature=0.8, top_k=0, max_new_tokens=8 if job.given.smoke else 100)  # fmt: skip
        after = written[0, opening.size(1) :].tolist()
        yield {"prompt": tokenizer.decode(row[:32]), "text": tokenizer.decode(after)}


WORK = {"device": device_part, "recipes": recipes_part, "peer": peer_part, "loss": loss_part,
        "race": race_part, "sweep": sweep_part, "train": train_part}  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=ROOT / "benchmarks/results")
    parser.add_argument("--tokens", type=Path, help="a folder of shards with its tokenizer.json")
    parser.add_argument("--parts", nargs="+", choices=PARTS, help="default: all; --train: device")
    parser.add_argument("--ways", nargs="+", choices=("eager", "compiled"), help="default: both")
    parser.add_argument("--seconds", type=float, help="to measure a rate for (default: 4)")
    parser.add_argument("--race", type=float, help="seconds a side (default: 60)")
    parser.add_argument("--nanogpt", type=Path, help="a checkout of karpathy/nanoGPT")
    parser.add_argument("--train", type=float, help="minutes of training")
    parser.add_argument("--score", type=Path, help="held-out.npz of pack.py, scored after --train")
    parser.add_argument("--smoke", action="store_true", help="a tiny shape, a moment a part")
    given = parser.parse_args()
    if given.train and not given.tokens:
        parser.error("--train needs --tokens FOLDER")
    asked = given.parts or (() if given.train else PARTS)
    given.parts = [p for p in PARTS if p in ("device", *asked)]  # all need the peak
    given.parts += ["train"] if given.train else []
    ways = given.ways or (["eager"] if given.smoke else ["eager", "compiled"])
    given.compile = [way == "compiled" for way in ways]
    given.seconds = given.seconds or (0.05 if given.smoke else 4.0)
    given.race = given.race or (2.0 if given.smoke else 60.0)
    given.out.mkdir(parents=True, exist_ok=True)
    device = hardware.device()
    with hardware.steady(device, hardware.threads()):
        found = measure(Job(given, device, hardware.precision("auto", device)))
    sys.exit(1 if found["left_out"] else 0)


def measure(job: Job) -> Row:
    """All parts that were asked for, by name; `gpu.json` is written after each row."""
    found: Row = {"left_out": {}}
    began = time.monotonic()
    for name in job.given.parts:
        since, rows = time.monotonic(), found.setdefault(name, [])
        limit = min(since + LIMITS.get(name, math.inf), began + WHOLE)
        try:
            if name == "race" and not job.given.tokens:
                raise DomainLMError("there are no real tokens", fix="--tokens FOLDER (of pack.py)")
            if name == "race" and since + 2 * job.given.race + 100 > limit:
                raise DomainLMError("there is no time left", fix="fewer --parts, or less --race")
            for row in WORK[name](job):
                rows.append(row)
                short = {k: v for k, v in row.items() if not isinstance(v, list | dict)}
                print(f"{name:8}", *(f"{k}={v}" for k, v in short.items()), flush=True)
                write(job, found)
                if name != "train" and time.monotonic() > limit:
                    raise DomainLMError("its time was over: rows may be missing")
        except Exception as error:  # one part must not cost the others
            found["left_out"][name] = str(error) or type(error).__name__
            if not isinstance(error, DomainLMError):
                traceback.print_exc()
            print(f"\n!!! {name.upper()} IS LEFT OUT OR NOT WHOLE: {error}\n", flush=True)
        print(f"  ({name}: {time.monotonic() - since:.0f} s)", flush=True)
    rates = [r.get("tokens_per_second", 0) for p in ("recipes", "sweep") for r in found.get(p, ())
             if r["model"] == "gpt2-124m"]  # fmt: skip
    if rates:
        there = "H200" in hardware.device_name(job.device)
        met = max(rates) >= BAR if there else None
        found["bar"] = {"tokens_per_second": BAR, "measured": max(rates), "met": met}
        print(f"bar, GPT-2 124M on one H200: {found['bar']}")
    write(job, found)
    return found


def write(job: Job, found: Row) -> None:
    (job.given.out / "gpu.json").write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
