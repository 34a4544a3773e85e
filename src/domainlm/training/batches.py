"""The data order: which tokens stand in which batch, as a pure function of the step's number.

The train split is cut into windows of `context` tokens, each with the token after it as the last
target, so that every token but the first is a target once an epoch. An epoch is one permutation
of the windows, without replacement; batches run on across the border between epochs. Since
nothing is remembered between batches, to resume is to count.
"""

import functools

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from domainlm.errors import DomainLMError
from domainlm.tokens.shards import Shards


class Batches:
    """Batches of `windows` windows of `context` tokens from `shards`, in the order of `seed`."""

    def __init__(self, shards: Shards, context: int, windows: int, seed: int) -> None:
        self.shards, self.context, self.windows, self.seed = shards, context, windows, seed
        self.epoch_windows = max(0, shards.total - 1) // context
        if not self.epoch_windows:
            raise DomainLMError(
                "the train split is shorter than one window",
                why=f"{shards.total:,} tokens; a window takes {context + 1:,}",
                fix="give more text, or a smaller context: --set train.N.context=128",
            )
        self.epoch_tokens = self.epoch_windows * context
        self.dropped = shards.total - 1 - self.epoch_tokens  # the tail, shorter than a window
        self._order = functools.lru_cache(maxsize=2)(self._permutation)

    def _permutation(self, epoch: int) -> npt.NDArray[np.int64]:
        bits = np.random.Philox(np.random.SeedSequence([self.seed, epoch]))
        return np.random.Generator(bits).permutation(self.epoch_windows)

    def positions(self, step: int) -> list[int]:
        """Where in the split the windows of batch `step` (from 0) begin."""
        numbers = range(step * self.windows, (step + 1) * self.windows)
        where = (divmod(number, self.epoch_windows) for number in numbers)
        return [int(self._order(epoch)[place]) * self.context for epoch, place in where]

    def batch(self, step: int, rows: slice = slice(None)) -> tuple[Tensor, Tensor]:
        """Inputs and targets of batch `step`, int64, each of shape (windows, context).

        `rows` takes some of them: the share of one process among many.
        """
        return read_windows(self.shards, self.positions(step)[rows], self.context)


def read_windows(shards: Shards, starts: list[int], context: int) -> tuple[Tensor, Tensor]:
    """Inputs and targets, (windows, context) int64: targets are the inputs one token on."""
    rows = torch.from_numpy(np.stack([shards.window(s, context + 1) for s in starts]))
    return rows[:, :-1], rows[:, 1:]
