"""AdamW for everything, or Muon for the hidden matrices and AdamW for the rest."""

import math
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import AdamW, Optimizer

from domainlm.recipe import Train
from domainlm.training import hardware, models
from domainlm.training.presets import Settings

MOMENTUM_STEPS = 300  # of its warm-up


def build(model: nn.Module, settings: Settings) -> list[Optimizer]:
    """The optimizers of a model: together they own every weight exactly once.

    Matrices decay, vectors (gains, biases) do not, nor do tables that began with counts: a rare
    id's row would be gone before it is met again. The peak rate serves both optimizers: Muon's
    updates are scaled to the size of AdamW's ("Muon is Scalable", Liu et al. 2025); embeddings
    may go at a multiple of it.
    """
    table = models.embeddings(model) | {models.head(model)}
    matrices = [p for p in model.parameters() if p.ndim >= 2 and p not in table]
    vectors = [p for p in model.parameters() if p.ndim < 2]
    tables = [p for p in model.parameters() if p in table]
    muon = settings.optimizer == "muon"
    decay, rate = settings.weight_decay, settings.learning_rate
    groups: list[dict[str, Any]] = [
        {
            "params": tables,
            "weight_decay": decay if settings.begin == "random" else 0.0,
            "multiple": settings.embedding_rate,
        },
        {"params": vectors, "weight_decay": 0.0},
    ]
    found: list[Optimizer] = []
    if muon:  # which takes matrices alone, no kernels of convolutions
        found += [Muon([p for p in matrices if p.ndim == 2], lr=rate, weight_decay=decay)]
        matrices = [p for p in matrices if p.ndim > 2]
    groups += [{"params": matrices, "weight_decay": decay}] if matrices else []
    found += [AdamW(groups, lr=rate, betas=(0.9, 0.95), fused=True)]

    owned = [id(p) for o in found for g in o.param_groups for p in g["params"]]
    assert sorted(owned) == sorted(id(p) for p in model.parameters()), "a weight without an owner"
    return found


class Muon(torch.optim.Muon):
    """torch's Muon (Jordan 2024) in a number format that the machine is fast at.

    torch orthogonalises in bfloat16. A CPU without bfloat16 units does that forty times slower
    than float32 (measured on a 192 x 512 matrix: 193 ms against 4.8), more than the whole rest
    of a step; so there it is float32.
    """

    def __init__(self, params: list[Tensor], lr: float, weight_decay: float) -> None:
        super().__init__(params, lr=lr, weight_decay=weight_decay, adjust_lr_fn="match_rms_adamw")
        fast = hardware.fast_bf16(params[0].device)
        self.dtype = torch.bfloat16 if fast else torch.float32
        self.ns: tuple[float, float, float] = self.param_groups[0]["ns_coefficients"]

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:  # type: ignore[override]
        """One update of every matrix that has a gradient, those of one shape together."""
        for group in self.param_groups:
            rate, momentum = group["lr"], group["momentum"]
            alike: dict[torch.Size, list[tuple[Tensor, Tensor]]] = {}
            for p in group["params"]:
                if p.grad is not None:
                    alike.setdefault(p.shape, []).append((p, p.grad))
                    if "momentum_buffer" not in self.state[p]:
                        self.state[p]["momentum_buffer"] = torch.zeros_like(p)
            for shape, pairs in alike.items():  # each operation is one kernel, not a hundred
                weights, gradients = (list(column) for column in zip(*pairs, strict=True))
                averages = [self.state[p]["momentum_buffer"] for p in weights]
                torch._foreach_lerp_(averages, gradients, 1 - momentum)
                # Nesterov: look where momentum leads.
                ahead = torch._foreach_lerp(gradients, averages, momentum)
                updates = orthogonalize(torch.stack(ahead).to(self.dtype), self.ns)
                torch._foreach_mul_(weights, 1 - rate * group["weight_decay"])
                scale = -rate * 0.2 * max(shape) ** 0.5
                torch._foreach_add_(weights, list(updates.to(weights[0].dtype)), alpha=scale)


def orthogonalize(matrices: Tensor, coefficients: tuple[float, float, float]) -> Tensor:
    """Bring the singular values of (k, m, n) matrices near 1 by five Newton-Schulz steps.

    The quintic's coefficients trade exactness for a steep slope at zero: values end between
    about 0.7 and 1.2, which trains as well as 1 (Jordan 2024, kellerjordan.github.io/posts/muon).
    """
    a, b, c = coefficients
    tall = matrices.size(1) > matrices.size(2)
    x = matrices.mT if tall else matrices
    x = x / x.norm(dim=(1, 2), keepdim=True).clamp(min=1e-7)
    for _ in range(5):
        gram = x @ x.mT
        x = torch.baddbmm(x, torch.baddbmm(gram, gram, gram, beta=b, alpha=c), x, beta=a)
    return x.mT if tall else x


def schedule(step: int, steps: int, recipe: Train) -> float:
    """The share of the peak rate at update `step` (from 0) of `steps`: up, then down to `final`.

    `warmup` and `decay` are shares of `steps` (warm-up, stable, decay: Hu et al. 2024); a cosine
    (Loshchilov and Hutter 2017) falls from the end of warm-up on.
    """
    rising, falling = int(recipe.warmup * steps), int(recipe.decay * steps)
    rise = min(1.0, (step + 1) / max(rising, 1))
    if recipe.schedule == "cosine":
        done = max(0, step + 1 - rising) / max(1, steps - rising)
        fall = (1 + math.cos(math.pi * done)) / 2
    else:
        fall = min(1.0, (steps - step) / max(falling, 1))
    return rise * (recipe.final + (1 - recipe.final) * fall)


def momentum(step: int) -> float:
    """Muon's momentum at update `step`: from 0.85 to 0.95 over 300 updates (Jordan 2024)."""
    return 0.85 + 0.1 * min(1.0, step / MOMENTUM_STEPS)


def set_rate(optimizers: list[Optimizer], rate: float, momentum: float) -> None:
    """Give every group the learning rate `rate`, and Muon's the `momentum`."""
    for optimizer in optimizers:
        for group in optimizer.param_groups:
            group["lr"] = rate * group.get("multiple", 1.0)
            if isinstance(optimizer, Muon):
                group["momentum"] = momentum
