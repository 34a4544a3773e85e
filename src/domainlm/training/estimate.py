"""What training will take, before it begins: an arm's own step is measured on random tokens.

No data is read and nothing is written. Memory is counted (`memory`), not tried. The time of
checkpoints, at most a twentieth, is left out.
"""

import dataclasses
import datetime
import time
from collections.abc import Collection
from typing import Any

from domainlm.artifacts import Run, read_json
from domainlm.console import say
from domainlm.errors import DomainLMError
from domainlm.pretrained import Pretrained, locate
from domainlm.recipe import Cost, Train
from domainlm.training import presets, stage

PASS_FLOPS = 2e11  # of a pass that is measured on a CPU: more would take long and tell no more
EXPORT_RATE = 500e6  # bytes a second to disk: assumed, for nothing is written to find out
# Published: 8 to 9 hours for 47,000 steps of 32,768 tokens of GPT-2 124M on one RTX 4070.
CARD = "RTX 4070 (12 GB)"
CARD_MEMORY = 12e9  # bytes
CARD_RATES = (46_500, 53_500)  # tokens a second of gpt2-124m with GPT-2's own vocabulary
CARD_PRESETS = ("gpt2-124m", "modern-124m", "modern-350m")  # the smaller ones fit where these do
GPT2_VOCABULARY = 50_257
NIGHT = 8  # hours


@dataclasses.dataclass(frozen=True)
class Estimate:
    """What an arm takes, or took: None where it is not known. Times in seconds, memory in bytes."""

    arm: str
    took: bool = False  # trained already: these are its facts
    parameters: int | None = None
    steps: int | None = None
    tokens: int | None = None
    epochs: float | None = None
    context: int | None = None
    micro_batch: int | None = None  # windows a pass
    precision: str | None = None
    compile: bool | None = None
    memory: float | None = None  # at its peak
    tokens_per_second: float | None = None
    seconds: float | None = None
    parts: dict[str, float] = dataclasses.field(default_factory=dict)  # what the seconds are for
    kwh: float | None = None
    kwh_method: str = "not measured"
    money: float | None = None
    currency: str = ""
    warnings: list[str] = dataclasses.field(default_factory=list)

    def __str__(self) -> str:
        words = [f"{self.parameters:,} parameters"] if self.parameters else []
        if self.tokens:
            epochs = f" ({self.epochs:.2f} epochs)" if self.epochs else ""
            words += [f"{self.tokens:,} tokens{epochs}"]
        words += [f"{self.tokens_per_second:,.0f} tokens/s"] if self.tokens_per_second else []
        words += [f"{self.memory / 1e9:.1f} GB of memory"] if self.memory else []
        if self.seconds is not None:
            span = datetime.timedelta(seconds=max(1, round(self.seconds)))
            words += [f"{'took' if self.took else 'about'} {span}"]
            words += ["energy not measured" if self.kwh is None else f"{self.kwh:.3g} kWh"]
        words += [f"{self.money:,.2f} {self.currency}"] if self.money is not None else []
        return ", ".join(words)


@dataclasses.dataclass(frozen=True)
class Card:
    """What a 12 GB card could train: windows a pass in bf16, and tokens in a night."""

    windows: dict[str, int]  # by preset; 0: does not fit
    largest: str  # that fits
    tokens: tuple[float, float]  # that it reads in a night, at least and at most

    def __str__(self) -> str:
        fits = ", ".join(
            f"{name} fits ({n} window{'s' * (n > 1)} a pass, bf16)" if n else f"{name} does not fit"
            for name, n in self.windows.items()
        )
        low, high = (n / 1e9 for n in self.tokens)
        return (
            f"{fits}; in {NIGHT} hours {self.largest} reads {low:.2f} to {high:.2f} billion "
            f"tokens, if it computes as fast as GPT-2 124M did on one {CARD}: {CARD_RATES[0]:,} to "
            f"{CARD_RATES[1]:,} tokens/s, published"
        )


def estimate(run: Run, cached: Collection[str]) -> list[Estimate]:
    """Every arm of the recipe: what it took where that stands, else what it will take.

    `cached` names the stages ("corpus", "tokens" ...) with nothing left to do.
    """
    arms = [arm for arm in run.recipe.train if arm.init != "stock" or run.stock is not None]
    given = dataclasses.replace(run, recipe=run.recipe.model_copy(update={"train": arms}))
    tasks = {task.name: task for wave in stage.waves(given) for task in wave}
    found = []
    for arm in run.recipe.train:
        task = tasks.get(f"training/{arm.name}")
        if task is None:
            found += [Estimate(arm.name, warnings=["skipped: there is no stock model to train on"])]
        elif {"corpus", "tokens"} <= set(cached) and not run.manifest.why_stale(task):
            found += [_took(run, arm.name)]
        else:
            say(f"measuring the rate of {arm.name} ...")
            facts: dict[str, Any] = {"currency": run.recipe.cost.currency, "warnings": []}
            try:
                _measure(run, arm, "tokens" in cached, facts)
            except DomainLMError as error:  # what the run itself will say, sooner
                facts["warnings"] += [f"{error.what}: {error.why}" if error.why else error.what]
            found += [Estimate(arm.name, **facts)]
    return found


def _took(run: Run, name: str) -> Estimate:
    facts, cost = read_json(run.root / "models" / name / "training.json"), run.recipe.cost
    kwh, method = cost.energy(facts["seconds"], facts["kwh"], facts["kwh_method"])
    same = ("parameters", "steps", "tokens", "epochs", "context", "micro_batch", "precision")
    return Estimate(
        name,
        took=True,
        **{key: facts[key] for key in (*same, "compile", "tokens_per_second", "seconds")},
        memory=facts["memory_gb"] * 1e9,
        kwh=kwh,
        kwh_method=method,
        money=cost.money(facts["seconds"], kwh),
        currency=cost.currency,
    )


def _measure(run: Run, arm: Train, cached: bool, facts: dict[str, Any]) -> None:
    """Fill in the fields of an `Estimate`, as far as they can be known."""
    import torch

    from domainlm.training import hardware, memory, plan
    from domainlm.training.arm import Design
    from domainlm.training.energy import Energy
    from domainlm.training.step import Stepper

    source = None if arm.init is None else run.stock if arm.init == "stock" else locate(arm.init)
    path = run.root / presets.tokens_folder(arm) / "index.json"
    index = read_json(path) if path.is_file() else None
    vocabulary = index["vocabulary"] if index and cached else _vocabulary(run, source)
    design = Design(arm, source, vocabulary, separator=0)
    config, settings, context = design.config, design.settings, design.context
    there = None
    if index:
        there = index["splits"]["validation"]["tokens"]
        design.epoch_tokens = (index["splits"]["train"]["tokens"] - 1) // context * context
    device = hardware.device()
    precision = hardware.precision(arm.precision, device)
    gpu = hardware.gpu_memory(device)
    need = memory.predict(config, settings, precision, False, gpu)
    facts |= {"parameters": need.parameters, "context": context, "precision": precision}
    passes = plan.choose_passes(arm, config, settings, device)
    if passes.recompute:
        need = memory.predict(config, settings, precision, True, gpu)
    facts |= {"micro_batch": passes.micro_batch, "memory": need.peak(passes.micro_batch)}
    if facts["memory"] > hardware.memory(device):
        facts["warnings"] += [f"the machine has {hardware.memory(device) / 1e9:.1f} GB of memory"]

    rows = passes.micro_batch
    if device.type == "cpu":
        rows = max(1, min(rows, int(PASS_FLOPS / design.flops_per_token / context)))
    often = 1 / torch.arange(1.0, config.vocab_size + 1)  # Zipf's law, about
    windows = min(2 * rows, passes.windows)
    tokens = often.multinomial(windows * context, replacement=True).view(windows, context)
    with hardware.steady(device, hardware.threads()):
        began = time.perf_counter()
        model = design.new_model().to(device)
        built, meter = time.perf_counter(), Energy(device)
        stepper = Stepper(model, settings, dataclasses.replace(passes, micro_batch=rows),
                          1e9 * often)  # fmt: skip
        seconds = plan.measure(stepper, tokens, tokens)
        rehearsed, joules = time.perf_counter() - built, meter.joules()
    facts["tokens_per_second"] = design.batch_tokens / seconds
    if arm.epochs and not design.epoch_tokens:
        facts["warnings"] += ["how many tokens an epoch has is known only once they are made"]
        return
    facts["compile"] = plan.compiles(arm, seconds * plan.budget_steps(design, seconds), device.type)
    if facts["compile"]:
        seconds *= 1 - plan.COMPILE_GAIN[device.type]
    steps, count, each = plan.shares(design, seconds, there, device)
    facts |= {"steps": steps, "tokens": steps * design.batch_tokens}
    if warning := plan.too_many_epochs(design, steps):
        facts["warnings"] += [warning]
    if design.epoch_tokens:
        facts["epochs"] = facts["tokens"] / design.epoch_tokens
    facts["parts"] = parts = {
        "steps": steps * seconds,
        "validation": count * each * seconds / design.batch_tokens / 3,
        "start": 2 * (built - began) + rehearsed,  # built to rehearse, and built to train
        "compile": plan.COMPILE_SECONDS[device.type] if facts["compile"] else 0.0,
        "export": need.parameters * design.dtype.itemsize / EXPORT_RATE,
    }
    facts["seconds"] = total = sum(parts.values())
    _price(facts, run.recipe.cost, total, joules / rehearsed if joules else None, meter.method)


def _price(facts: dict[str, Any], cost: Cost, seconds: float, watts: float | None, by: str) -> None:
    metered = None if watts is None else watts * seconds / 3.6e6
    kwh, method = cost.energy(seconds, metered, by if metered else "not measured")
    facts |= {"kwh": kwh, "kwh_method": method, "money": cost.money(seconds, kwh)}


def _vocabulary(run: Run, source: Pretrained | None) -> int:
    """Ids that an arm will have, as long as there are no tokens; of a given model: any it has."""
    from pathlib import Path

    from transformers import AutoTokenizer

    name = run.recipe.tokens.tokenizer
    if source is not None:
        return 1
    if name is None:
        return run.recipe.tokens.vocabulary
    folder = Path(name).expanduser()
    path = folder if folder.is_dir() else locate(name, run.offline).path
    return len(AutoTokenizer.from_pretrained(path, local_files_only=True))


def card(run: Run, found: Collection[Estimate]) -> Card | None:
    """What one 12 GB card could train, where an arm of a preset is still to be trained."""
    arms = {arm.name: arm for arm in run.recipe.train}
    if not any(e.tokens_per_second and not e.took and arms[e.arm].model in presets.PRESETS
               for e in found):  # fmt: skip
        return None
    from domainlm.training import hardware, memory
    from domainlm.training.arm import Design

    def design(name: str, vocabulary: int) -> Design:
        return Design(Train(name="card", model=name, tokens=1), None, vocabulary, separator=0)

    room = CARD_MEMORY * hardware.USABLE["cuda"]
    designs = {name: design(name, _vocabulary(run, None)) for name in CARD_PRESETS}
    windows = {
        name: memory.predict(d.config, d.settings, "bf16", False, CARD_MEMORY).windows(room)
        for name, d in designs.items()
    }
    largest = max((n for n in windows if windows[n]), key=lambda n: designs[n].flops_per_token)
    known = design("gpt2-124m", GPT2_VOCABULARY).flops_per_token
    scale = known / designs[largest].flops_per_token
    low, high = (rate * scale * NIGHT * 3600 for rate in CARD_RATES)
    return Card(windows, largest, (low, high))
