"""Nats a token to train by, bits per byte to decide by. Logits never stand in full."""

import contextlib
import functools
import math
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from domainlm.tokens.shards import Shards
from domainlm.training import distributed, hardware, models
from domainlm.training.batches import read_windows
from domainlm.training.hardware import Precision

CHUNK_BYTES = 2**23  # of float32 logits at once: what a CPU's cache holds
CHUNK_SHARE = 1 / 16  # of a GPU's memory, where larger products are faster


class LinearCrossEntropy(torch.autograd.Function):
    """Summed cross-entropy of `hidden @ weight.T`, with the gradients made on the way forward.

    A chunk of rows at a time: its logits become its softmax, and that its gradient, in place, so
    that memory is one chunk's and no product is computed twice (the idea of Cut Your Losses,
    Wijmans et al. 2025, and of Liger's kernel).
    """

    @staticmethod
    def forward(
        ctx: Any,
        hidden: Tensor,
        weight: Tensor,
        targets: Tensor,
        shift: Tensor | None = None,
    ) -> Tensor:
        """`hidden` (n, width), `weight` (vocabulary, width), `targets` (n,) int64: nats, summed.

        `shift` (vocabulary,) is added to all logits. The products are in the type of `hidden`
        (bfloat16 under autocast), sums in float32.
        """
        work = to_gradient if shift is not None else _fastest(hidden.device)
        matrix = weight.to(hidden.dtype)
        total = hidden.new_zeros((), dtype=torch.float32)
        by_hidden = torch.empty_like(hidden)
        by_weight = torch.zeros_like(weight)
        for rows in chunks(len(hidden), weight):
            logits = hidden[rows] @ matrix.T
            logits = logits if shift is None else logits.add_(shift)
            logits, losses = work(logits, targets[rows])
            total += losses
            torch.mm(logits, matrix, out=by_hidden[rows])
            if logits.dtype == by_weight.dtype:
                by_weight.addmm_(logits.T, hidden[rows])
            else:
                by_weight += logits.T @ hidden[rows]
        ctx.save_for_backward(by_hidden, by_weight)
        return total

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, Tensor, None, None]:
        """Both gradients, scaled by what comes from above."""
        by_hidden, by_weight = ctx.saved_tensors
        return by_hidden * gradients[0], by_weight * gradients[0], None, None


def to_gradient(logits: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
    """Softmax minus one at the target, (n, vocabulary) in the type of `logits`; summed nats."""
    places = targets[:, None]
    values = logits.float()
    values -= values.amax(1, keepdim=True)
    at_targets = values.gather(1, places)
    sums = values.exp_().sum(1, keepdim=True)
    values /= sums
    values.scatter_(1, places, at_targets.exp() / sums - 1)
    return values.to(logits.dtype), (sums.log() - at_targets).sum()


@functools.cache
def _fastest(where: torch.device) -> Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]:
    """The same as one kernel on a GPU, where there is Triton: compiled for one vocabulary."""
    if where.type == "cuda" and hardware.can_compile("cuda"):
        from domainlm.training import kernels

        return kernels.to_gradient
    return to_gradient


def chunk_bytes(gpu: float) -> int:
    """Bytes of float32 logits made at once on a GPU of `gpu` bytes of memory; 0 is a CPU."""
    return min(2**32, int(gpu * CHUNK_SHARE)) if gpu else CHUNK_BYTES


def chunks(rows: int, weight: Tensor) -> list[slice]:
    """Slices of `rows` whose float32 logits fit the device."""
    size = max(16, chunk_bytes(hardware.gpu_memory(weight.device)) // (4 * len(weight)))
    return [slice(first, first + size) for first in range(0, rows, size)]


class Candidates(NamedTuple):
    """The ids that a loss looks at, out of the vocabulary: a sampled softmax (Jean et al. 2015)."""

    rows: Tensor  # (k,) int64
    places: Tensor  # (vocabulary,) int64: where in `rows` an id stands
    shift: Tensor  # (k,) float32: -log of the chance to be here, 0 for what is here for certain

    @classmethod
    def of(cls, targets: Tensor, chances: Tensor) -> "Candidates":
        """All the `targets` of a step, and each other id with its chance, (vocabulary,) float32.

        With the shift, the sum over the ids here is in the mean the sum over all. All processes
        choose the same.
        """
        chosen = torch.rand(chances.shape, device=chances.device) < chances
        wanted = torch.zeros_like(chances)
        wanted[targets.flatten()] = 1.0
        certain = distributed.summed(wanted) > 0
        rows = (chosen | certain).nonzero()[:, 0]
        places = torch.zeros(len(chances), dtype=torch.int64, device=chances.device)
        places[rows] = torch.arange(len(rows), device=chances.device)
        return cls(rows, places, torch.where(certain[rows], 0.0, -chances[rows].log()))


def chances(frequencies: Tensor, count: int) -> Tensor:
    """A chance for each id, in proportion to its frequency and at most 1, that sum to `count`."""
    shares = (frequencies.double() + 1) / (frequencies.double() + 1).sum()
    low, high = 0.0, 2.0 / float(shares.min())
    for _ in range(100):
        middle = (low + high) / 2
        enough = float((middle * shares).clamp(max=1).sum()) > count
        low, high = (low, middle) if enough else (middle, high)
    return (low * shares).clamp(max=1).float()


class Nats(nn.Module):
    """A causal model together with its loss."""

    def __init__(
        self,
        model: Any,
        precision: Precision,
        plain: bool | None = None,  # whether the head is; None: it is tried
    ) -> None:
        super().__init__()
        models.quicken(model)
        self.model, self.precision = model, precision
        self.plain = models.plain_head(model) if plain is None else plain
        for module in model.modules():
            if isinstance(module, nn.Embedding):
                module.register_forward_hook(_to_autocast)

    def forward(
        self, inputs: Tensor, targets: Tensor, candidates: Candidates | None = None
    ) -> Tensor:
        """Nats of all targets, summed; `inputs` and `targets` are (windows, context) int64."""
        with self._numbers(inputs.device):
            if not self.plain:
                logits = self.model(input_ids=inputs, use_cache=False).logits
                return F.cross_entropy(logits.float().flatten(0, 1), targets.flatten(),
                                       reduction="sum")  # fmt: skip
            hidden, targets = self._hidden(inputs), targets.flatten()
            weight, shift = models.head(self.model), None
            if candidates:
                weight, shift = weight.index_select(0, candidates.rows), candidates.shift
                targets = candidates.places[targets]
            apply: Any = LinearCrossEntropy.apply
            total: Tensor = apply(hidden, weight, targets, shift)
            return total

    @torch.no_grad()
    def each(self, inputs: Tensor, targets: Tensor) -> Tensor:
        """Nats of each target, float32 of the shape of `targets`, without a gradient."""
        with self._numbers(inputs.device):
            if not self.plain:
                logits = self.model(input_ids=inputs, use_cache=False).logits.flatten(0, 1)
                pieces = [F.cross_entropy(logits.float(), targets.flatten(), reduction="none")]
            else:
                hidden, weight = self._hidden(inputs), models.head(self.model)
                flat = targets.flatten()
                pieces = [
                    F.cross_entropy((hidden[r] @ weight.T).float(), flat[r], reduction="none")
                    for r in chunks(len(hidden), weight)
                ]
        return torch.cat(pieces).view(targets.shape)

    def _hidden(self, inputs: Tensor) -> Tensor:
        state: Tensor = self.model.base_model(input_ids=inputs, use_cache=False).last_hidden_state
        if self.precision == "bf16":
            state = state.bfloat16()
        return state.flatten(0, 1)

    @contextlib.contextmanager
    def _numbers(self, device: torch.device) -> Iterator[None]:
        bf16 = self.precision == "bf16"
        with torch.autocast(device.type, torch.bfloat16, enabled=bf16), hardware.attention(device):
            yield


def _to_autocast(module: nn.Module, inputs: Any, found: Tensor) -> Tensor:
    """What is looked up, in autocast's type: so are then the sums between layers, half to move."""
    kind = found.device.type
    return found.to(torch.get_autocast_dtype(kind)) if torch.is_autocast_enabled(kind) else found


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

    def bits_per_byte(self, nats: Nats, micro_batch: int) -> float | None:
        """Nats / (ln 2 x bytes of the targets); None where there is no text to validate on.

        Targets without text (the separator) count on neither side of the fraction. Each process
        reads its share of the windows.
        """
        where = next(nats.parameters()).device
        total, size = 0.0, 0
        starts = self.starts[distributed.rank() :: distributed.size()]
        nats.eval()
        for first in range(0, len(starts), micro_batch):
            inputs, targets = read_windows(
                self.shards, starts[first : first + micro_batch], self.context
            )
            lengths = self.lengths[targets]
            losses = nats.each(inputs.to(where), targets.to(where))
            total += float(losses.double().cpu()[lengths > 0].sum())
            size += int(lengths.sum())
        nats.train()
        both = distributed.summed(torch.tensor([total, size], dtype=torch.float64)).tolist()
        return both[0] / (math.log(2) * both[1]) if both[1] else None
