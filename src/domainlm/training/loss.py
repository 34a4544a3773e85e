"""Nats a token to train by, bits per byte to decide by."""

import math
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor

from domainlm.tokens.shards import Shards
from domainlm.training.batches import read_windows
from domainlm.training.hardware import Precision


def token_losses(model: Any, inputs: Tensor, targets: Tensor, precision: Precision) -> Tensor:
    """Nats of each target, shape (windows, context), from logits in float32."""
    with torch.autocast(inputs.device.type, torch.bfloat16, enabled=precision == "bf16"):
        logits = model(input_ids=inputs, use_cache=False).logits
    nats = F.cross_entropy(logits.float().flatten(0, 1), targets.flatten(), reduction="none")
    return nats.view(targets.shape)


def backward(
    model: Any, inputs: Tensor, targets: Tensor, precision: Precision, share: float
) -> Tensor:
    """Add a pass to the gradients; returns its mean loss times its `share` of the step."""
    loss = token_losses(model, inputs, targets, precision).mean() * share
    torch.autograd.backward(loss)
    return loss.detach()


class Validation:
    """At most `limit` tokens of a split in windows spread evenly over it, the same each time."""

    def __init__(
        self, shards: Shards, lengths: npt.NDArray[np.int64], context: int, limit: int
    ) -> None:
        self.shards, self.lengths = shards, torch.from_numpy(lengths)
        self.context = min(context, shards.total - 1)
        self.starts: list[int] = []
        if self.context > 0:
            there = (shards.total - 1) // self.context
            count = min(there, max(1, limit // self.context))
            self.starts = [i * there // count * self.context for i in range(count)]

    def bits_per_byte(self, model: Any, micro_batch: int, precision: Precision) -> float | None:
        """Nats / (ln 2 x bytes of the targets); None where there is no text to validate on.

        Targets without text (the separator) count on neither side of the fraction.
        """
        where = next(model.parameters()).device
        nats, size = 0.0, 0
        model.eval()
        with torch.inference_mode():
            for first in range(0, len(self.starts), micro_batch):
                chosen = self.starts[first : first + micro_batch]
                inputs, targets = read_windows(self.shards, chosen, self.context)
                lengths = self.lengths[targets]
                losses = token_losses(model, inputs.to(where), targets.to(where), precision)
                nats += float(losses.double().cpu()[lengths > 0].sum())
                size += int(lengths.sum())
        model.train()
        return nats / (math.log(2) * size) if size else None
