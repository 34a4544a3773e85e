"""How much memory a step takes, counted without taking it.

The model is built of fake tensors (shapes without numbers: `FakeTensorMode`), a pass is run on
them, and every storage is counted from its birth to its death. So the answer holds for any class
of transformers and any precision, and costs seconds and no memory.
"""

import dataclasses
import functools
import json
import weakref
from typing import Any

import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from transformers import AutoConfig, AutoModelForCausalLM

from domainlm.training.hardware import Precision
from domainlm.training.presets import Settings

_Config: Any = AutoConfig
_Auto: Any = AutoModelForCausalLM


@dataclasses.dataclass(frozen=True)
class Need:
    """Bytes that training takes at its peak: `fixed` and `window` more for each window a pass."""

    fixed: float
    window: float
    parameters: int  # weights of the model, a tied matrix counted once

    def peak(self, windows: int) -> float:
        """Bytes at `windows` a pass."""
        return self.fixed + self.window * windows

    def windows(self, room: float) -> int:
        """The most windows a pass that `room` bytes hold; 0 where not even one fits."""
        return max(0, int((room - self.fixed) // self.window))


class Tally(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Bytes of the tensors alive, now and at most, that were made while it is on."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.now = self.most = 0
        self._known: weakref.WeakSet[Any] = weakref.WeakSet()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        for leaf in tree_leaves(result):
            if isinstance(leaf, Tensor):
                self.count(leaf)
        return result

    def count(self, tensor: Tensor) -> None:
        """Count the storage of `tensor` until it goes."""
        storage = tensor.untyped_storage()
        if storage in self._known:
            return
        self._known.add(storage)
        size = storage.nbytes()
        self.now += size
        self.most = max(self.most, self.now)
        weakref.finalize(storage, self._gone, size)

    def _gone(self, size: int) -> None:
        self.now -= size


def predict(
    config: Any, settings: Settings, precision: Precision, recompute: bool, gpu: float = 0
) -> Need:
    """What training a model of `config` takes, weights and moments in float32.

    `gpu` is the memory of the GPU it is for, in bytes; 0 for a CPU.
    """
    from domainlm.training.loss import chunk_bytes

    text = json.dumps(config.to_dict(), default=str)
    need = _predict(text, settings.context, precision, recompute)
    # Counted as on a CPU, whose loss goes by small chunks. A GPU's has two larger ones.
    chunks = 2 * chunk_bytes(gpu) if gpu else 0
    return dataclasses.replace(need, fixed=need.fixed + chunks)


@functools.lru_cache(maxsize=64)
def _predict(config: str, context: int, precision: Precision, recompute: bool) -> Need:
    one, two = (_peak(config, context, n, precision, recompute) for n in (1, 2))
    parameters = one[1]
    # Moments: two of AdamW; one of Muon, and as much again while it works.
    moments = 8 * parameters
    return Need(2 * one[0] - two[0] + moments, two[0] - one[0], parameters)


def _peak(
    config: str, context: int, windows: int, precision: Precision, recompute: bool
) -> tuple[int, int]:
    """(most bytes of weights, gradients and activations, number of weights) of one pass."""
    from domainlm.training import models
    from domainlm.training.loss import Nats

    values = json.loads(config)
    with FakeTensorMode(), Tally() as tally:
        model = _Auto.from_config(_Config.for_model(**values)).train()
        if recompute:
            models.recompute(model)
        for weight in model.parameters():
            tally.count(weight)
            weight.grad = torch.empty_like(weight)
        tokens = torch.zeros((windows, context), dtype=torch.int64)
        nats = Nats(model, precision, plain="final_logit_softcapping" not in values)
        torch.autograd.backward(nats(tokens, tokens))
        return tally.most, sum(p.numel() for p in model.parameters())
