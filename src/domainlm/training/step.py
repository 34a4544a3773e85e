"""One optimizer step: passes over micro-batches, then an update.

The loop, the rehearsal that plans it and the benchmarks all take their steps here, so what is
measured is what is run.
"""

import contextlib
import dataclasses
import functools
import threading
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from domainlm.training import distributed, hardware, models, optimizers
from domainlm.training.loss import Candidates, Nats, chances
from domainlm.training.presets import Settings

CLIP = 1.0  # norm of the gradient


@dataclasses.dataclass(frozen=True)
class Passes:
    """How the batch of a step goes through the model: fixed when an arm begins."""

    context: int  # tokens a window
    windows: int  # a step, all processes together
    micro_batch: int  # windows a pass and process
    precision: hardware.Precision
    compile: bool = False  # by torch.compile
    recompute: bool = False  # activations in the backward pass (Chen et al. 2016), to save memory


class Stepper:
    """A model, its optimizers, and the step that changes them."""

    def __init__(
        self, model: Any, settings: Settings, passes: Passes, frequencies: Tensor | None = None
    ) -> None:
        """`frequencies` (vocabulary,) of the ids in the text: what a sampled softmax goes by."""
        self.model, self.settings, self.passes = model.train(), settings, passes
        self.device = next(model.parameters()).device
        if passes.recompute:
            models.recompute(model)
        # First this: it tries the head on a few tokens, which is not to be compiled for.
        self.local = Nats(model, passes.precision)
        if passes.compile:
            torch._dynamo.config.recompile_limit = 32  # for each length, kind, and validation
            for part in models.compilable(model):  # one compilation serves all that are alike
                part.compile(dynamic=False if self.device.type == "cuda" else None)
        self.optimizers = optimizers.build(model, settings)
        self.sampling = False  # whether the loss looks at candidates only
        self.chances: Tensor | None = None
        vocabulary = len(models.head(model))
        if self.local.plain and 0 < settings.candidates < vocabulary:
            counts = torch.ones(vocabulary) if frequencies is None else frequencies
            self.chances = chances(counts, settings.candidates).to(self.device)

    @functools.cached_property
    def nats(self) -> nn.Module:
        """`local`, with the exchange of gradients where there are several processes.

        Made at the first step: its memory is taken, and processes meet, only after a pass by
        itself fitted in each (`plan.warm`).
        """
        if distributed.size() == 1:
            return self.local
        return DistributedDataParallel(self.local, gradient_as_bucket_view=True)

    def step(
        self, inputs: Tensor, targets: Tensor, rate: float, momentum: float, stop: threading.Event
    ) -> Tensor | None:
        """One update from this process's rows, both (rows, context) int64, wherever they are.

        Rows may be shorter pieces of the windows, and as many more: a pass has as many tokens.

        Returns the batch's mean loss in nats a token and the gradient's norm, float32 of shape
        (2,) on the device, without waiting for it; None, and nothing changed, where `stop` is set.
        """
        inputs, targets = self._move(inputs), self._move(targets)
        total = torch.zeros((), device=self.device)
        tokens = self.passes.windows * self.passes.context
        micro_batch = self.passes.micro_batch * self.passes.context // inputs.size(1)
        pieces = range(0, len(inputs), micro_batch)
        candidates = None
        if self.sampling and self.chances is not None:
            candidates = Candidates.of(targets, self.chances)
        for first in pieces:
            if stop.is_set() and distributed.size() == 1:
                for optimizer in self.optimizers:
                    optimizer.zero_grad(set_to_none=True)
                return None
            rows = slice(first, first + micro_batch)
            with self._alone(first != pieces[-1]):
                loss = self.nats(inputs[rows], targets[rows], candidates) / tokens
                # DDP takes the mean over processes; what is wanted is the sum.
                torch.autograd.backward(loss * distributed.size())
            total += loss.detach()
        norm = nn.utils.clip_grad_norm_(self.model.parameters(), CLIP, foreach=True)
        optimizers.set_rate(self.optimizers, rate, momentum)
        for optimizer in self.optimizers:
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
        return torch.stack([distributed.summed(total), norm])

    def _move(self, batch: Tensor) -> Tensor:
        if self.device.type == "cuda":  # from pinned memory the copy does not hold the host up
            return batch.contiguous().pin_memory().to(self.device, non_blocking=True)
        return batch

    def _alone(self, more: bool) -> contextlib.AbstractContextManager[Any]:
        """Gradients of all passes but the last stay in their process."""
        if more and isinstance(self.nats, DistributedDataParallel):
            return self.nats.no_sync()
        return contextlib.nullcontext()
