"""Before the first step: what fits this machine, how fast it is, and what the budget then buys."""

import dataclasses
import threading
from typing import Any

import torch
from torch import Tensor

from domainlm.console import say
from domainlm.errors import DomainLMError
from domainlm.recipe import BUDGETS, Train
from domainlm.tokens.shards import open_shards
from domainlm.training import distributed, hardware, memory, models, optimizers, presets
from domainlm.training.arm import Arm, Design
from domainlm.training.step import Passes, Stepper

VALIDATIONS = 10  # an arm, at most
VALIDATION_SHARE = 0.15  # of the work of training, at most (but one at the end there always is)
EPOCHS = 4  # beyond so many, repeated text is worth less and less (Muennighoff et al. 2023)
COMPILE_SECONDS = {"cpu": 45.0, "cuda": 90.0}  # what torch.compile takes before the first step
COMPILE_GAIN = {"cpu": 0.05, "cuda": 0.3}  # of the time of a step, expected
PATIENCE = 2.0  # seconds, of measuring one pass again and again


@dataclasses.dataclass(frozen=True)
class Plan:
    """What is fixed when an arm begins, stored with it, and true until it ends."""

    steps: int
    passes: Passes
    threads: int
    validation_tokens: int  # at most, each time
    validations: int
    seconds_per_step: float  # as measured before the first one
    peak_flops: float  # of a matrix product on this device, measured, a second

    @classmethod
    def stored(cls, values: dict[str, Any]) -> "Plan":
        """A plan as it was written down."""
        return cls(**{**values, "passes": Passes(**values["passes"])})


class OutOfMemory(DomainLMError):
    """A pass took more memory than there is, in this process or in another one."""


def make_plan(arm: Arm, device: torch.device) -> Plan:
    """Decide once what the machine decides: passes, threads, and the steps.

    All processes rehearse together; what process 0 measured counts.
    """
    arm.check_tokens()
    if arm.recipe.minutes is None:
        budget_steps(arm, 0.0)  # too small a budget is told before the rehearsal
    passes = distributed.shared(choose_passes(arm.recipe, arm.config, arm.settings, device))
    while True:
        model = arm.new_model().to(device)
        size = models.parameters(model)
        try:
            seconds, passes = rehearse(arm, model, passes)
            break
        except OutOfMemory:
            passes = smaller(arm.name, passes)
        finally:
            del model  # before the next one is made
    there = open_shards(arm.tokens, "validation").total
    steps, count, validation = shares(arm, seconds, there, device)
    if warning := too_many_epochs(arm, steps):
        say(f"  {arm.name}: {warning}", style="yellow")
    dropped = arm.batches.dropped
    say(
        f"  {arm.name}: {size:,} parameters, {steps:,} steps of {arm.batch_tokens:,} tokens, "
        f"{steps * arm.batch_tokens / arm.batches.epoch_tokens:.2f} epochs, "
        f"about {steps * seconds / 60:,.1f} minutes"
        + (f" (the last {dropped:,} tokens are short of a window: left out)" if dropped else "")
    )
    return Plan(
        steps,
        passes,
        torch.get_num_threads(),
        validation,
        count,
        seconds,
        hardware.matmul_flops(device, passes.precision),
    )


def shares(
    arm: Design, seconds: float, there: int | None, device: torch.device
) -> tuple[int, int, int]:
    """Steps that the budget buys at `seconds` each, validations, and tokens of each of those.

    `there` is the size of the validation split. Minutes pay for both; other budgets for steps.
    """
    steps = budget_steps(arm, seconds)
    # Validation is a forward pass, a third of the work a token: 2 % of the tokens is 0.7 %.
    tokens = steps * arm.batch_tokens
    most = 65_536 if device.type == "cuda" else 16_384
    validation = min(most, max(1, most if there is None else there), max(2_048, tokens // 50))
    count = min(VALIDATIONS, steps, max(1, int(3 * VALIDATION_SHARE * tokens / validation)))
    if arm.recipe.minutes is not None:
        steps = max(1, steps - int(count * validation / arm.batch_tokens / 3))
    return steps, min(count, steps), validation


def choose_passes(
    recipe: Train, config: Any, settings: presets.Settings, device: torch.device
) -> Passes:
    """The micro-batch that fits the device's free memory, recomputing activations if it must be.

    The same in all processes. Raises `DomainLMError` where not even one window fits.
    """
    windows = settings.batch_tokens // settings.context
    precision = hardware.precision(recipe.precision, device)
    mine = windows // distributed.size()
    if recipe.micro_batch:
        return Passes(settings.context, windows, min(recipe.micro_batch, mine), precision)
    rooms = torch.zeros(distributed.size(), dtype=torch.int64)
    rooms[distributed.rank()] = hardware.memory_free(device)
    room = int(distributed.summed(rooms).min())  # of the process that has least
    for recompute in (False, True):
        need = memory.predict(config, settings, precision, recompute, hardware.gpu_memory(device))
        fits = need.windows(room * hardware.USABLE[device.type])
        if fits >= 1:
            most = max(1, min(fits, hardware.PASS_TOKENS[device.type] // settings.context, mine))
            count = -(-mine // most)
            micro_batch = -(-mine // count)
            return Passes(settings.context, windows, micro_batch, precision, recompute=recompute)
    raise too_large(
        recipe.name,
        f"one window of {settings.context:,} tokens takes {need.peak(1) / 1e9:.1f} GB, "
        f"recomputing activations; there are {room / 1e9:.1f} GB for it",
    )


def smaller(name: str, passes: Passes) -> Passes:
    """What to try where these ran out of memory: half the windows, at one window recomputation.

    Raises `DomainLMError` where nothing is left to try.
    """
    if passes.recompute and passes.micro_batch == 1:
        raise too_large(
            name,
            f"a pass over one window of {passes.context:,} tokens ran out of memory, "
            "recomputing activations",
        )
    found = dataclasses.replace(
        passes,
        micro_batch=max(1, passes.micro_batch // 2),
        recompute=passes.recompute or passes.micro_batch == 1,
    )
    say(
        f"  {name}: out of memory at a micro-batch of {passes.micro_batch}: trying "
        f"{found.micro_batch}" + (", recomputing activations" if found.recompute else "")
    )
    return found


def too_large(name: str, why: str) -> DomainLMError:
    """The error of an arm whose training this machine's memory does not hold."""
    return DomainLMError(
        f"the model of arm {name!r} is too large for the memory of this machine",
        why=why,
        fix="a smaller preset, or a smaller context: --set train.N.context=512",
    )


def too_many_epochs(arm: Design, steps: int) -> str:
    """A warning where `steps` read the train split too often, else nothing."""
    epochs = steps * arm.batch_tokens / arm.epoch_tokens if arm.epoch_tokens else 0.0
    if epochs <= EPOCHS:
        return ""
    return (
        f"{epochs:,.1f} epochs of {arm.epoch_tokens:,} tokens: after about {EPOCHS} a text read "
        "again teaches little; more text would do more"
    )


def budget_steps(arm: Design, seconds_per_step: float) -> int:
    """Whole optimizer steps in the recipe's budget of tokens, epochs, FLOPs or minutes."""
    recipe = arm.recipe
    if recipe.minutes is not None:
        exact = recipe.minutes * 60 / seconds_per_step
    elif recipe.flops is not None:
        exact = recipe.flops / arm.flops_per_token / arm.batch_tokens
    elif recipe.epochs is not None:
        exact = recipe.epochs * (arm.epoch_tokens or 0) / arm.batch_tokens
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


def rehearse(arm: Arm, model: Any, passes: Passes) -> tuple[float, Passes]:
    """Seconds that a step takes here, and the passes it then had; `model` is used up.

    Raises `OutOfMemory`, in all processes alike. Compiled where the recipe says so, or where
    what is saved is more than what compiling costs.
    """
    inputs, targets = arm.batches.batch(0)
    stepper = Stepper(model, arm.settings, passes, arm.frequencies)
    seconds = distributed.shared(measure(stepper, inputs, targets))
    kind = next(model.parameters()).device.type
    if compiles(arm.recipe, seconds * budget_steps(arm, seconds), kind):
        compiled = dataclasses.replace(passes, compile=True)
        stepper = Stepper(model, arm.settings, compiled, arm.frequencies)
        faster = distributed.shared(measure(stepper, inputs, targets))
        if faster < seconds or arm.recipe.compile == "on":
            return faster, compiled
    return seconds, passes


def compiles(recipe: Train, seconds: float, kind: str) -> bool:
    """True where the recipe wants compilation, or it pays for an arm of `seconds` without it."""
    if recipe.compile != "auto":
        return recipe.compile == "on"
    return seconds * COMPILE_GAIN[kind] > COMPILE_SECONDS[kind] and hardware.can_compile(kind)


def measure(stepper: Stepper, inputs: Tensor, targets: Tensor) -> float:
    """Seconds of a step, in the mean over the phases of training: measured on two passes at most.

    `inputs` and `targets` are a batch, (windows, context); the rate is 0, so nothing is learned.
    """
    passes = stepper.passes
    rows = min(passes.micro_batch, len(inputs))
    count = -(-passes.windows // distributed.size() // rows)  # passes a step
    few = min(count, 2)

    def seconds(phase: presets.Phase) -> float:
        x, y = (ids.reshape(-1, phase.context) for ids in (inputs, targets))
        each = rows * passes.context // phase.context
        stepper.sampling = phase.candidates > 0
        warm(stepper, x[:each], y[:each])
        last = timed(stepper, x[: few * each], y[: few * each], 3)
        if count <= 2:
            return last
        return last + (last - timed(stepper, x[:each], y[:each], 3)) * (count - 2)

    return stepper.settings.mean(seconds)


def warm(stepper: Stepper, inputs: Tensor, targets: Tensor) -> None:
    """A pass beside gradients and moments, the most memory that a step takes; it also compiles.

    Processes exchange nothing in it, so that none waits for one whose memory has run out. Raises
    `OutOfMemory` in all where it has in one.
    """
    full = False
    optimizers.set_rate(stepper.optimizers, 0.0, optimizers.momentum(0))
    try:
        for weight in stepper.model.parameters():
            weight.grad = torch.zeros_like(weight)
        for optimizer in stepper.optimizers:
            optimizer.step()
        nats = stepper.local(inputs.to(stepper.device), targets.to(stepper.device))
        torch.autograd.backward(nats)
    except RuntimeError as error:
        full = isinstance(error, torch.OutOfMemoryError) or "can't allocate memory" in str(error)
        if not full:
            raise
    for optimizer in stepper.optimizers:
        optimizer.zero_grad(set_to_none=True)
    if distributed.any_of(full):
        raise OutOfMemory(f"out of memory at a micro-batch of {stepper.passes.micro_batch}")


def timed(stepper: Stepper, inputs: Tensor, targets: Tensor, times: int) -> float:
    """Seconds of an update from these rows, the median of `times`, or of what `PATIENCE` allows."""
    never = threading.Event()

    def work() -> None:
        stepper.step(inputs, targets, 0.0, optimizers.momentum(0), never)

    found: list[float] = []
    while len(found) < times and distributed.shared(sum(found) < PATIENCE):
        found.append(hardware.seconds(work, stepper.device))
    return sorted(found)[len(found) // 2]
