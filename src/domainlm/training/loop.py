"""The training loop: plain PyTorch, one algorithm, no flags.

What is fixed when an arm begins (steps, micro-batch, precision, compilation, threads) stands in its
plan; what changes (weights, moments, step, log) stands in its checkpoints; and everything else,
data order, learning rate and dropout alike, is a pure function of the step's number. Hence N steps
are k steps, a kill, a resume and N - k steps: on a CPU bit for bit.

Under torchrun every process runs this on its rows of each batch; process 0 alone writes.
"""

import contextlib
import dataclasses
import json
import math
import signal
import statistics
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from types import FrameType
from typing import Any

import torch
from safetensors.torch import save
from torch import Tensor

from domainlm.artifacts import atomic_write
from domainlm.console import say
from domainlm.errors import DomainLMError
from domainlm.tokens.shards import open_shards, token_bytes
from domainlm.training import distributed, hardware, models, optimizers, presets, trackers
from domainlm.training.arm import Arm
from domainlm.training.checkpoint import Checkpoints
from domainlm.training.energy import NOT_MEASURED, Energy
from domainlm.training.export import export
from domainlm.training.loss import Validation
from domainlm.training.plan import Plan, make_plan
from domainlm.training.step import Stepper
from domainlm.training.view import View

CHECKPOINT_SECONDS = 60.0  # between checkpoints, or 20 times what one takes, if that is more
LOG_LINES = 100  # an arm
RATES = "optimizer", "learning_rate", "embedding_rate"
SMOOTH = 8  # steps whose mean loss is watched
DIVERGED = 1.0  # nats above the lowest such mean: training has come apart
ERRORS = 3.0  # standard errors a mean may be off by, at most `DIVERGED`: small batches are noisy


def train(root: Path, arguments: dict[str, Any]) -> dict[str, int]:
    """Train one arm of the run in `root`, or go on with it, and export it to `models/ARM`.

    Returns the rows of its `training.jsonl`. Raises `DomainLMError` where the arm cannot begin,
    on a loss that is no number, and on SIGTERM or SIGINT, after a checkpoint.
    """
    if distributed.rank() == 0:
        distributed.shared((root, arguments))  # the others wait for it
    arm = Arm(root, arguments)
    device = hardware.device()
    if device.type == "cuda":
        torch.cuda.set_device(device)
    checkpoints = Checkpoints(root / "checkpoints" / arm.name, arm.identity)
    stored = checkpoints.plan()
    threads = stored["threads"] if stored else hardware.threads()
    with hardware.steady(device, threads), trackers.opened(root, arm.target) as tracker:
        with stop_signals() as stop:  # from here on: a KeyboardInterrupt can be lost in a callback
            plan = distributed.shared(Plan.stored(stored) if stored else make_plan(arm, device))
            if distributed.rank() == 0:
                checkpoints.save_plan(dataclasses.asdict(plan))
            hardware.reset_memory_used(device)  # of the rehearsal, and of the arm before
            trainer = Trainer(arm, plan, checkpoints, device, tracker)
            with View(arm.name, plan.steps) as view:
                trainer.run(stop, view)
        if distributed.rank() == 0:
            trainer.finish()
    if distributed.rank() == 0:
        checkpoints.remove()
    return {f"models/{arm.name}/training.jsonl": len(trainer.log)}


class Trainer:
    """A model on its way: after `step` steps, with the log of how it got there."""

    def __init__(
        self,
        arm: Arm,
        plan: Plan,
        checkpoints: Checkpoints,
        device: torch.device,
        tracker: trackers.Tracker,
    ) -> None:
        self.arm, self.plan, self.checkpoints, self.device = arm, plan, checkpoints, device
        self.tracker = tracker
        state = checkpoints.newest()
        self.model = arm.new_model().to(device)
        self.stepper = Stepper(self.model, arm.settings, plan.passes, arm.frequencies)
        shards, lengths = open_shards(arm.tokens, "validation"), token_bytes(arm.tokens)
        self.validation = Validation(shards, lengths, arm.context, plan.validation_tokens)
        self.energy = Energy(device)
        self.step = 0
        self.best: dict[str, Any] | None = None  # step, bits_per_byte
        self.log: list[dict[str, Any]] = []
        self.pending: Tensor | None = None  # loss and norm of the last step, not yet looked at
        self.loss = math.nan  # of the last step looked at
        self.recent: list[float] = []  # losses of the last steps
        self.lowest = math.inf  # mean of `SMOOTH` losses so far
        self.seconds_before = self.training_seconds = 0.0
        self.joules_before: float | None = 0.0
        if state is not None:
            self._load(state)
        self.began = time.perf_counter()
        if distributed.rank() == 0:
            with atomic_write(arm.target / "training.jsonl", "w") as file:  # back to this step
                file.writelines(json.dumps(line) + "\n" for line in self.log)

    def run(self, stop: threading.Event, view: View) -> None:
        """Go on to the plan's last step."""
        lines = marks(self.plan.steps, LOG_LINES) | {1}
        validations = marks(self.plan.steps, self.plan.validations)
        kept = halvings(self.plan.steps, self.arm.recipe.snapshots)
        saved, pause = time.monotonic(), CHECKPOINT_SECONDS
        stopped = False
        while self.step < self.plan.steps and not stopped:
            if stopped := not self.train_step(stop):
                break
            last = self.step == self.plan.steps
            due = distributed.any_of(time.monotonic() - saved >= pause)
            stopped = not last and distributed.any_of(stop.is_set())
            if self.step in lines or self.step in validations or due or stopped:
                waiting = time.perf_counter()
                self.look()  # what is written down is known to be a number
                self.training_seconds += time.perf_counter() - waiting
            bits = self.validate() if self.step in validations else None
            if self.step in lines:
                self.write_line(bits)
            for place in kept.get(self.step, ()):
                self.keep(place)
            view.show(self.step, self.log[-1] if self.log else {}, self.loss, self.rate())
            if due and not last and not stopped:
                began = time.monotonic()
                self.save()
                saved = time.monotonic()
                pause = max(CHECKPOINT_SECONDS, 20 * (saved - began))
        # A signal in the last step stops too, or Ctrl-C were lost: the next run exports at once.
        if distributed.any_of(stopped or stop.is_set()):
            self.look()
            path = self.save()
            raise DomainLMError(
                "stopped; the same command goes on",
                where=str(path),
                why=f"a signal came at step {self.step:,} of {self.plan.steps:,}",
            )

    def train_step(self, stop: threading.Event) -> bool:
        """One update; False, and no trace of it, where `stop` was set in its midst.

        The loss of the step before is looked at once this one is under way: a GPU never waits.
        """
        began = time.perf_counter()
        settings, recipe = self.arm.settings, self.arm.recipe
        torch.manual_seed(recipe.seed * 1_000_003 + self.step)  # dropout, where a config has it
        inputs, targets = self.arm.batches.batch(
            self.step, slice(distributed.rank(), None, distributed.size())
        )
        phase = settings.phase(self.step / self.plan.steps)
        inputs, targets = (x.reshape(-1, phase.context) for x in (inputs, targets))
        self.stepper.sampling = phase.candidates > 0
        share = optimizers.schedule(self.step, self.plan.steps, recipe)
        rate, momentum = settings.learning_rate * share, optimizers.momentum(self.step)
        before, self.pending = self.pending, None
        done = self.stepper.step(inputs, targets, rate, momentum, stop)
        if before is not None:
            self._look(before, self.step)
        if done is None:
            return False
        self.step, self.pending = self.step + 1, done
        if self.device.type == "cpu":
            self.look()
        self.training_seconds += time.perf_counter() - began
        return True

    def look(self) -> None:
        """Wait for the last step and check its loss."""
        if self.pending is not None:
            before, self.pending = self.pending, None
            self._look(before, self.step)

    def _look(self, found: Tensor, step: int) -> None:
        self.loss, norm = found.tolist()
        self.recent = [*self.recent[1 - SMOOTH :], self.loss]
        mean = sum(self.recent) / len(self.recent)
        finite = math.isfinite(self.loss) and math.isfinite(norm)
        if finite and len(self.recent) < SMOOTH:
            return
        if finite:
            error = min(DIVERGED, ERRORS * statistics.stdev(self.recent) / SMOOTH**0.5)
            self.lowest = min(self.lowest, mean + error)
            if mean - error <= self.lowest + DIVERGED:
                return
        lower = self.arm.settings.learning_rate / 3
        what, means = "is no longer a number", ""
        if finite:
            what = "has come apart"
            means = f"; the mean of {SMOOTH} was {self.lowest:.4g} or less, it is {mean:.4g}"
        raise DomainLMError(
            f"the loss of arm {self.arm.name!r} {what}",
            where=f"step {step:,} of {self.plan.steps:,}; last good checkpoint: "
            f"{self.checkpoints.newest_path()}",
            why=f"loss {self.loss:.4g}, gradient norm {norm:.4g}{means}",
            fix=f"a lower rate: --set train.N.learning_rate={lower:.1e}  (in a run of another "
            "--name, if the checkpoint is to stay)",
        )

    def save(self) -> Path | None:
        """A checkpoint of this step, written by process 0."""
        if distributed.rank():
            return None
        best = self.best["step"] if self.best else None
        return self.checkpoints.save(self.step, self.state(), best)

    def validate(self) -> float | None:
        """Bits per byte on validation; the best weights so far go to disk at once."""
        bits = self.validation.bits_per_byte(self.stepper.local, self.plan.passes.micro_batch)
        if bits is not None and (self.best is None or bits < self.best["bits_per_byte"]):
            self.best = {"step": self.step, "bits_per_byte": bits}
            if self.step < self.plan.steps and distributed.rank() == 0:  # else they are at hand
                self.checkpoints.save_best(self.step, self.model.state_dict())
        return bits

    def keep(self, place: int) -> None:
        """A snapshot: the weights of this step, with what they took in the file's metadata."""
        if distributed.rank():
            return
        path = self.arm.target / presets.snapshots(self.arm.recipe.snapshots)[place]
        joules = self.joules()
        facts = {
            "step": self.step,
            "tokens": self.step * self.arm.batch_tokens,
            "seconds": round(self.seconds(), 3),
            "kwh": None if joules is None else joules / 3.6e6,
        }
        weights = {name: w.detach().cpu() for name, w in self.model.named_parameters()}
        with atomic_write(path) as file:
            file.write(save(weights, {"facts": json.dumps(facts)}))

    def write_line(self, bits: float | None) -> None:
        """Append a line to the log, to `training.jsonl`, and to the tracker."""
        seconds, joules = self.seconds(), self.joules()
        line = {
            "step": self.step,
            "tokens": self.step * self.arm.batch_tokens,
            "seconds": round(seconds, 3),
            "loss": self.loss,
            "validation_bits_per_byte": bits,
            **self.speeds(),
            "watts": None if joules is None or not seconds else round(joules / seconds, 1),
        }
        self.log.append(line)
        if distributed.rank() == 0:
            with open(self.arm.target / "training.jsonl", "a", encoding="utf-8") as file:
                file.write(json.dumps(line) + "\n")
            self.tracker(line)

    def finish(self) -> None:
        """Export the best weights, with the facts of the training beside them."""
        arm, plan = self.arm, self.plan
        best = self.best["step"] if self.best else self.step
        facts = self.facts(best)
        if best != self.step:
            self.model.load_state_dict(self.checkpoints.best(best))
        separator = arm.index["separator"]
        export(self.model.cpu(), arm.target, arm.tokens, separator, arm.dtype, facts)
        bits = f", {self.best['bits_per_byte']:.3f} validation bits per byte" if self.best else ""
        say(f"  {arm.name}: step {best:,} of {plan.steps:,} exported{bits}")

    def facts(self, best: int) -> dict[str, Any]:
        """What `training.json` says: cost and settings of this arm."""
        arm, plan, joules = self.arm, self.plan, self.joules()
        tokens = self.step * arm.batch_tokens
        kwh = None if joules is None else joules / 3.6e6
        vendor = hardware.vendor_flops(self.device, plan.passes.precision)
        return {
            "arm": arm.name,
            "role": "continued" if arm.source else "scratch",
            "parameters": models.parameters(self.model),
            "tokens": tokens,
            "epochs": round(tokens / arm.batches.epoch_tokens, 4),
            "flops": tokens * arm.flops_per_token,
            "seconds": round(self.seconds(), 3),
            "steps": self.step,
            "best_step": best,
            "kwh": kwh,
            "kwh_method": self.energy.method if joules is not None else NOT_MEASURED,
            "device": hardware.device_name(self.device),
            "threads": plan.threads,
            "processes": distributed.size(),
            **dataclasses.asdict(plan.passes),
            "batch_tokens": arm.batch_tokens,
            "context": arm.context,
            **{key: getattr(arm.settings, key) for key in RATES},
            "seed": arm.recipe.seed,
            **self.speeds(),
            "peak_flops": plan.peak_flops,
            "utilization_of_vendor_peak": None
            if vendor is None
            else round(self.rate() * arm.flops_per_token / vendor / distributed.size(), 4),
            "predicted_seconds_per_step": plan.seconds_per_step,
        }

    def seconds(self) -> float:
        """Seconds of this arm so far, all runs together, validation and checkpoints included."""
        return self.seconds_before + time.perf_counter() - self.began

    def rate(self) -> float:
        """Tokens a second of training proper."""
        return self.step * self.arm.batch_tokens / max(self.training_seconds, 1e-9)

    def speeds(self) -> dict[str, float]:
        """How fast it is, and the memory it took; for the log and for training.json.

        `utilization` is of the FLOPs that matrix products were measured to reach on this device.
        """
        rate, peak = self.rate(), self.plan.peak_flops * distributed.size()
        return {
            "tokens_per_second": round(rate, 1),
            "bytes_per_second": round(rate * self.arm.bytes_per_token, 1),
            "utilization": round(rate * self.arm.flops_per_token / peak, 4),
            "memory_gb": round(hardware.memory_used(self.device) / 1e9, 3),
        }

    def joules(self) -> float | None:
        """Energy of all runs together; unknown as soon as it is unknown for one of them."""
        now = self.energy.joules()
        return None if now is None or self.joules_before is None else self.joules_before + now

    def state(self) -> dict[str, Any]:
        """All that a later run needs to go on: tensors and plain values only."""
        return {
            "step": self.step,
            "model": self.model.state_dict(),
            "optimizers": [optimizer.state_dict() for optimizer in self.stepper.optimizers],
            "best": self.best,
            "log": self.log,
            "recent": self.recent,
            "lowest": self.lowest,
            "seconds": self.seconds(),
            "training_seconds": self.training_seconds,
            "joules": self.joules(),
        }

    def _load(self, state: dict[str, Any]) -> None:
        self.model.load_state_dict(state["model"])
        for optimizer, saved in zip(self.stepper.optimizers, state["optimizers"], strict=True):
            optimizer.load_state_dict(saved)
        self.step, self.best, self.log = state["step"], state["best"], state["log"]
        self.recent, self.lowest = state["recent"], state["lowest"]
        self.seconds_before, self.joules_before = state["seconds"], state["joules"]
        self.training_seconds = state["training_seconds"]
        say(f"  {self.arm.name}: going on from step {self.step:,} of {self.plan.steps:,}")


def marks(steps: int, count: int) -> set[int]:
    """About `count` evenly spaced steps of 1 to `steps`, the last among them."""
    return {max(1, i * steps // count) for i in range(1, count + 1)}


def halvings(steps: int, count: int) -> dict[int, list[int]]:
    """Places of `count` snapshots by step: the last at half of the steps, the one before half that.

    Where there are fewer steps than that, several fall on the first.
    """
    found: dict[int, list[int]] = {}
    for place in range(count):
        found.setdefault(max(1, steps >> (count - place)), []).append(place)
    return found


@contextlib.contextmanager
def stop_signals() -> Iterator[threading.Event]:
    """Yield an event that SIGTERM or SIGINT sets; a second signal acts as it did before."""
    stop = threading.Event()
    before: dict[int, Any] = {}

    def restore() -> None:
        for number, handler in before.items():
            signal.signal(number, handler)
        before.clear()

    def set_stop(number: int, frame: FrameType | None) -> None:
        restore()
        stop.set()

    if threading.current_thread() is threading.main_thread():  # Python allows it nowhere else
        for number in (signal.SIGTERM, signal.SIGINT):
            before[number] = signal.signal(number, set_stop)
    try:
        yield stop
    finally:
        restore()
