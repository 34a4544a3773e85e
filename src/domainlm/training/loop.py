"""The training loop: plain PyTorch, one algorithm, no flags.

What is fixed when an arm begins (steps, micro-batch, precision, threads) stands in its plan;
what changes (weights, moments, step, log) stands in its checkpoints; and everything else, data
order, learning rate and dropout alike, is a pure function of the step's number. Hence N steps are
k steps, a kill, a resume and N - k steps: on a CPU bit for bit.
"""

import contextlib
import dataclasses
import json
import math
import signal
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FrameType
from typing import Any

import torch
from torch import nn

from domainlm.artifacts import atomic_write
from domainlm.console import progress, say
from domainlm.errors import DomainLMError
from domainlm.tokens.shards import open_shards, token_bytes
from domainlm.training import hardware, models, optimizers
from domainlm.training.checkpoint import Checkpoints
from domainlm.training.export import export
from domainlm.training.loss import Validation, backward
from domainlm.training.plan import Arm, Plan, make_plan

CLIP = 1.0  # norm of the gradient
CHECKPOINT_SECONDS = 60.0  # between checkpoints, or 20 times what one takes, if that is more
LOG_LINES = 100  # an arm


def train(root: Path, arguments: dict[str, Any]) -> dict[str, int]:
    """Train one arm of the run in `root`, or go on with it, and export it to `models/ARM`.

    Returns the rows of its `training.jsonl`. Raises `DomainLMError` where the arm cannot begin,
    on a loss that is no number, and on SIGTERM or SIGINT, after a checkpoint.
    """
    arm = Arm(root, arguments)
    device = hardware.device()
    checkpoints = Checkpoints(root / "checkpoints" / arm.name, arm.fingerprint)
    stored = checkpoints.plan()
    threads = stored["threads"] if stored else hardware.threads()
    with hardware.steady(device, threads):
        plan = Plan(**stored) if stored else make_plan(arm, device)
        checkpoints.save_plan(dataclasses.asdict(plan))
        trainer = Trainer(arm, plan, checkpoints, device)
        with stop_signals() as stop, progress(arm.name, plan.steps, "steps") as advance:
            trainer.run(stop, advance)
        trainer.finish()
    checkpoints.remove()
    return {f"models/{arm.name}/training.jsonl": len(trainer.log)}


class Trainer:
    """A model on its way: after `step` steps, with the log of how it got there."""

    def __init__(
        self, arm: Arm, plan: Plan, checkpoints: Checkpoints, device: torch.device
    ) -> None:
        self.arm, self.plan, self.checkpoints, self.device = arm, plan, checkpoints, device
        state = checkpoints.newest()
        self.model = arm.new_model().to(device).train()
        self.optimizers = optimizers.build(self.model, arm.settings)
        shards, lengths = open_shards(arm.tokens, "validation"), token_bytes(arm.tokens)
        self.validation = Validation(shards, lengths, arm.context, plan.validation_tokens)
        self.energy = hardware.Energy(device)
        self.step = 0
        self.best: dict[str, Any] | None = None  # step, bits_per_byte
        self.log: list[dict[str, Any]] = []
        self.seconds_before = self.training_seconds = 0.0
        self.joules_before: float | None = 0.0
        if state is not None:
            self._load(state)
        self.began = time.perf_counter()
        with atomic_write(arm.target / "training.jsonl", "w") as file:  # cut back to this step
            file.writelines(json.dumps(line) + "\n" for line in self.log)

    def run(self, stop: threading.Event, advance: Callable[[float, str], None]) -> None:
        """Go on to the plan's last step."""
        lines = marks(self.plan.steps, LOG_LINES) | {1}
        validations = marks(self.plan.steps, self.plan.validations)
        saved, pause = time.monotonic(), CHECKPOINT_SECONDS
        while self.step < self.plan.steps:
            loss = self.train_step(stop)
            if loss is None:
                break
            bits = self.validate() if self.step in validations else None
            if self.step in lines:
                self.write_line(loss, bits)
            advance(self.step, f"loss {loss:.3f}, {self.rate():,.0f} tokens/s")
            if time.monotonic() - saved >= pause and self.step < self.plan.steps:
                began = time.monotonic()
                self.checkpoints.save(self.step, self.state(), self._best_step())
                saved = time.monotonic()
                pause = max(CHECKPOINT_SECONDS, 20 * (saved - began))
        if stop.is_set():
            path = self.checkpoints.save(self.step, self.state(), self._best_step())
            raise DomainLMError(
                "stopped; the same command goes on",
                where=str(path),
                why=f"a signal came at step {self.step:,} of {self.plan.steps:,}",
            )

    def train_step(self, stop: threading.Event) -> float | None:
        """One update; returns the batch's loss in nats a token, or None where `stop` was set.

        A step that is stopped leaves no trace, since only its end changes anything.
        """
        began = time.perf_counter()
        plan, settings, recipe = self.plan, self.arm.settings, self.arm.recipe
        torch.manual_seed(recipe.seed * 1_000_003 + self.step)  # dropout, where a config has it
        inputs, targets = self.arm.batches.batch(self.step)
        total = torch.zeros((), device=self.device)
        for first in range(0, plan.windows, plan.micro_batch):
            if stop.is_set():
                return None
            rows = slice(first, first + plan.micro_batch)
            x, y = inputs[rows].to(self.device), targets[rows].to(self.device)
            share = len(x) / plan.windows
            total += backward(self.model, x, y, plan.precision, share)
        norm = nn.utils.clip_grad_norm_(self.model.parameters(), CLIP)
        loss = float(total)
        if not math.isfinite(loss) or not math.isfinite(float(norm)):
            raise DomainLMError(
                f"the loss of arm {self.arm.name!r} is no longer a number",
                where=f"step {self.step + 1:,} of {plan.steps:,}; last good checkpoint: "
                f"{self.checkpoints.newest_path()}",
                why=f"loss {loss}, gradient norm {float(norm)}: training has diverged",
                fix=f"a lower rate: --set train.N.learning_rate={settings.learning_rate / 3:.1e}",
            )
        share = optimizers.schedule(self.step, plan.steps, recipe)
        optimizers.set_rate(self.optimizers, settings.learning_rate * share)
        for optimizer in self.optimizers:
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
        self.step += 1
        self.training_seconds += time.perf_counter() - began
        return loss

    def validate(self) -> float | None:
        """Bits per byte on validation; the best weights so far go to disk at once."""
        plan = self.plan
        bits = self.validation.bits_per_byte(self.model, plan.micro_batch, plan.precision)
        if bits is not None and (self.best is None or bits < self.best["bits_per_byte"]):
            self.best = {"step": self.step, "bits_per_byte": bits}
            if self.step < plan.steps:  # at the end the weights are at hand
                self.checkpoints.save_best(self.step, self.model.state_dict())
        return bits

    def write_line(self, loss: float, bits: float | None) -> None:
        """Append a line to the log, here and in `training.jsonl`."""
        seconds, joules = self.seconds(), self.joules()
        watts = None if joules is None or not seconds else round(joules / seconds, 1)
        line = {
            "step": self.step,
            "tokens": self.step * self.arm.batch_tokens,
            "seconds": round(seconds, 3),
            "loss": loss,
            "validation_bits_per_byte": bits,
            "tokens_per_second": round(self.rate(), 1),
            "watts": watts,
        }
        self.log.append(line)
        with open(self.arm.target / "training.jsonl", "a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")

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
            "kwh": None if joules is None else joules / 3.6e6,
            "kwh_method": self.energy.method if joules is not None else hardware.NOT_MEASURED,
            "money": None,
            "device": hardware.device_name(self.device),
            "threads": plan.threads,
            "precision": plan.precision,
            "micro_batch": plan.micro_batch,
            "batch_tokens": arm.batch_tokens,
            "context": arm.context,
            "optimizer": arm.settings.optimizer,
            "learning_rate": arm.settings.learning_rate,
            "seed": arm.recipe.seed,
            "tokens_per_second": round(self.rate(), 1),
        }

    def seconds(self) -> float:
        """Seconds of this arm so far, all runs together, validation and checkpoints included."""
        return self.seconds_before + time.perf_counter() - self.began

    def rate(self) -> float:
        """Tokens a second of training proper."""
        return self.step * self.arm.batch_tokens / max(self.training_seconds, 1e-9)

    def joules(self) -> float | None:
        """Energy of all runs together; unknown as soon as it is unknown for one of them."""
        now = self.energy.joules()
        return None if now is None or self.joules_before is None else self.joules_before + now

    def _best_step(self) -> int | None:
        return self.best["step"] if self.best else None

    def state(self) -> dict[str, Any]:
        """All that a later run needs to go on: tensors and plain values only."""
        return {
            "step": self.step,
            "model": self.model.state_dict(),
            "optimizers": [optimizer.state_dict() for optimizer in self.optimizers],
            "best": self.best,
            "log": self.log,
            "seconds": self.seconds(),
            "training_seconds": self.training_seconds,
            "joules": self.joules(),
        }

    def _load(self, state: dict[str, Any]) -> None:
        self.model.load_state_dict(state["model"])
        for optimizer, saved in zip(self.optimizers, state["optimizers"], strict=True):
            optimizer.load_state_dict(saved)
        self.step, self.best, self.log = state["step"], state["best"], state["log"]
        self.seconds_before, self.joules_before = state["seconds"], state["joules"]
        self.training_seconds = state["training_seconds"]
        say(f"  {self.arm.name}: going on from step {self.step:,} of {self.plan.steps:,}")


def marks(steps: int, count: int) -> set[int]:
    """About `count` evenly spaced steps of 1 to `steps`, the last among them."""
    return {max(1, i * steps // count) for i in range(1, count + 1)}


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
