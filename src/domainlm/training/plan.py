"""Before the first step: what an arm is, whether its parts fit, and what its budget buys."""

import dataclasses
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from domainlm.artifacts import read_json, sha256_file, sha256_json
from domainlm.console import say
from domainlm.errors import DomainLMError
from domainlm.pretrained import relocate
from domainlm.recipe import BUDGETS, Train
from domainlm.tokens.shards import open_shards
from domainlm.training import hardware, models, optimizers, presets
from domainlm.training.batches import Batches
from domainlm.training.hardware import Precision
from domainlm.training.loss import backward

VALIDATIONS = 10  # an arm, at most
VALIDATION_SHARE = 0.15  # of the work of training, at most (but one at the end there always is)
FORMAT = 1  # of plan and checkpoints: others are not gone on with


@dataclasses.dataclass(frozen=True)
class Plan:
    """What is fixed when an arm begins, stored with it, and true until it ends."""

    steps: int
    windows: int  # a step
    micro_batch: int  # windows a pass
    precision: Precision
    threads: int
    validation_tokens: int  # at most, each time
    validations: int


class Arm:
    """One arm of the recipe: its model, its data and its settings. Raises where they do not fit."""

    def __init__(self, root: Path, arguments: dict[str, Any]) -> None:
        self.recipe = Train.model_validate(arguments["arm"])
        self.name = self.recipe.name
        self.tokens = root / presets.tokens_folder(self.recipe)
        self.target = root / "models" / self.name
        self.index = read_json(self.tokens / "index.json")
        init = arguments.get("init")
        self.source = relocate(init["name"], init["sha256"]) if init else None
        vocabulary, separator = self.index["vocabulary"], self.index["separator"]
        if self.source is None:
            config = models.configure(self.recipe, vocabulary, separator)
            self.dtype = torch.float32
        else:
            config = models.load_config(self.source.path)
            models.check_vocabulary(config, vocabulary, str(self.source.path))
            self.dtype = config.dtype or torch.float32
        self.config = config
        longest = getattr(config, "max_position_embeddings", None) or 2**20
        self.settings = presets.settings(self.recipe, longest)
        self.context = self.settings.context
        self.windows = self.settings.batch_tokens // self.context
        self.batch_tokens = self.windows * self.context
        self.batches = Batches(
            open_shards(self.tokens, "train"), self.context, self.windows, self.recipe.seed
        )
        self.flops_per_token = models.flops_per_token(config, self.context)
        self.fingerprint = sha256_json([FORMAT, arguments, sha256_file(self.tokens / "index.json")])

    def new_model(self) -> Any:
        """The model as it is before the first step, in float32, on the CPU."""
        if self.source is not None:
            return models.load_pretrained(self.source.path)
        vocabulary, separator = self.index["vocabulary"], self.index["separator"]
        return models.build(self.recipe, vocabulary, separator, self.recipe.seed)


def make_plan(arm: Arm, device: torch.device) -> Plan:
    """Decide once what the machine decides: micro-batch, precision, threads, and the steps."""
    model = arm.new_model()
    size = models.parameters(model)
    micro = hardware.micro_batch(arm.config, size, arm.context, arm.windows, device)
    micro = min(arm.recipe.micro_batch or micro, arm.windows)
    precision = hardware.precision(arm.recipe.precision, device)
    draft = Plan(0, arm.windows, micro, precision, torch.get_num_threads(), 0, 0)
    most = 65_536 if device.type == "cuda" else 16_384
    seconds = 0.0
    if arm.recipe.minutes is not None:
        seconds = rehearse(arm, draft, model.to(device))
    steps = budget_steps(arm, seconds)
    # Validation is a forward pass, a third of the work a token: 2 % of the tokens is 0.7 %.
    tokens = steps * arm.batch_tokens
    there = max(1, open_shards(arm.tokens, "validation").total)
    validation = min(most, there, max(2_048, tokens // 50))
    count = min(VALIDATIONS, steps, max(1, int(3 * VALIDATION_SHARE * tokens / validation)))
    if arm.recipe.minutes is not None:
        spent = count * validation * seconds / arm.batch_tokens / 3
        steps = max(1, steps - int(spent / seconds))
    dropped = arm.batches.dropped
    say(
        f"  {arm.name}: {size:,} parameters, {steps:,} steps of {arm.batch_tokens:,} tokens, "
        f"{steps * arm.batch_tokens / arm.batches.epoch_tokens:.2f} epochs"
        + (f" (the last {dropped:,} tokens are short of a window: left out)" if dropped else "")
    )
    return dataclasses.replace(
        draft, steps=steps, validation_tokens=validation, validations=min(count, steps)
    )


def budget_steps(arm: Arm, seconds_per_step: float) -> int:
    """Whole optimizer steps in the recipe's budget of tokens, epochs, FLOPs or minutes."""
    recipe = arm.recipe
    if recipe.minutes is not None:
        exact = recipe.minutes * 60 / seconds_per_step
    elif recipe.flops is not None:
        exact = recipe.flops / arm.flops_per_token / arm.batch_tokens
    elif recipe.epochs is not None:
        exact = recipe.epochs * arm.batches.epoch_tokens / arm.batch_tokens
    else:
        exact = (recipe.tokens or 0) / arm.batch_tokens
    if exact < 1:
        key = next(b for b in BUDGETS if getattr(recipe, b) is not None)
        raise DomainLMError(
            f"the budget of arm {arm.name!r} is less than one step",
            where=f"train.{arm.name}.{key} = {getattr(recipe, key):g}",
            why=f"a step takes {arm.batch_tokens:,} tokens; the budget is {exact:.2f} of a step",
            fix=f"give a larger budget, or a smaller batch: --set train.N.batch_tokens="
            f"{max(16, arm.context)}",
        )
    return int(exact)


def rehearse(arm: Arm, plan: Plan, model: Any) -> float:
    """Seconds that a step takes here: five passes and an update of a model then thrown away."""
    device = next(model.parameters()).device
    owners = optimizers.build(model, arm.settings)
    inputs, targets = (x[: plan.micro_batch].to(device) for x in arm.batches.batch(0))
    passes, updates = [], []
    for _ in range(5):
        passes.append(_timed(lambda: backward(model, inputs, targets, plan.precision, 1.0), device))
    for _ in range(2):
        updates.append(_timed(lambda: [o.step() for o in owners], device))
    return min(updates) + sorted(passes)[2] * plan.windows / plan.micro_batch


def _timed(work: Callable[[], Any], device: torch.device) -> float:
    hardware.synchronize(device)
    began = time.perf_counter()
    work()
    hardware.synchronize(device)
    return time.perf_counter() - began
