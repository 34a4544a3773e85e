"""What `plan` foretells of training, and what training cost."""

import datetime
import json
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM

from domainlm import pretrained, recipes
from domainlm.artifacts import Manifest, Run
from domainlm.evaluation import about
from domainlm.recipe import Cost, Train
from domainlm.training import hardware, loss, memory, models, plan, stage
from domainlm.training.arm import Arm
from domainlm.training.estimate import Estimate, estimate
from domainlm.training.presets import Settings
from domainlm.training.step import Passes, Stepper
from small import domainlm
from training_helpers import CONTEXT, VOCABULARY, make_home, new_run, scratch

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_home(tmp_path_factory.mktemp("estimate"))


def run_of(root: Path, home: Path, cost: dict[str, Any], **changes: Any) -> Run:
    """A run whose arms are one from scratch and one trained on."""
    first = {"model": str(home / "config.json"), "candidates": 100, **changes}
    first |= {"name": "scratch", "context": CONTEXT, "batch_tokens": 128}
    second = {"name": "continued", "init": "stock", "context": CONTEXT, "batch_tokens": 64}
    values = {"source": {"path": "text"}, "train": [first, {**second, "tokens": 640}]}
    values |= {"tokens": {"vocabulary": 512}, "cost": cost}
    stock = pretrained.locate(str(home / "stock"))
    return Run(root, recipes.validate(values, "test"), Manifest(root), stock)


# Money and energy --------------------------------------------------------------------------------


def test_money_golden() -> None:
    both = Cost(per_hour=2.0, per_kwh=0.5)
    assert both.money(5400, 1.2) == pytest.approx(3.6)  # 1.5 hours, and 1.2 kWh
    assert both.money(5400, None) is None  # a part of a price is no price
    assert Cost(per_hour=2.0).money(5400, None) == pytest.approx(3.0)
    assert Cost(per_kwh=0.5).money(5400, 1.2) == pytest.approx(0.6)
    assert Cost().money(5400, 1.2) is None


def test_declared_watts_stand_in_for_a_meter_only() -> None:
    declared = Cost(watts=250)
    assert declared.energy(7200, None, "not measured") == (pytest.approx(0.5), "declared: 250 W")
    assert declared.energy(7200, 0.4, "meter") == (0.4, "meter")
    assert Cost().energy(7200, None, "not measured") == (None, "not measured")


def test_the_evidence_has_money(home: Path, tmp_path: Path) -> None:
    given = run_of(tmp_path, home, {"per_hour": 3.0, "per_kwh": 0.2, "watts": 500}, tokens=640)
    facts = {"tokens": 7, "epochs": 0.5, "flops": 1e9, "seconds": 3600.0, "kwh": None}
    row = about.cost(given.recipe, "scratch", {**facts, "kwh_method": "not measured"})
    assert (row.kwh, row.kwh_method, row.money) == (0.5, "declared: 500 W", pytest.approx(3.1))
    row = about.cost(given.recipe, "scratch", {**facts, "kwh": 2.0, "kwh_method": "meter"})
    assert (row.kwh, row.kwh_method, row.money) == (2.0, "meter", pytest.approx(3.4))


def test_a_new_price_retrains_nothing(home: Path, tmp_path: Path) -> None:
    free, paid = (
        list(stage.waves(run_of(tmp_path, home, cost, tokens=640)))
        for cost in ({}, {"per_hour": 3.0, "watts": 100})
    )
    assert free == paid and len(free) == 2


# Steps, time -------------------------------------------------------------------------------------


@pytest.mark.parametrize("budget", [{"tokens": 128 * 24}, {"epochs": 2.0}, {"flops": 4e8}])
def test_the_steps_foretold_are_those_of_the_plan(
    home: Path, tmp_path: Path, budget: dict[str, Any]
) -> None:
    given = run_of(new_run(home, tmp_path / "run"), home, {"watts": 36, "per_hour": 2}, **budget)
    found, other = estimate(given, {"corpus", "tokens"})
    arm = Arm(given.root, scratch(home, **budget))
    steps, count, each = plan.shares(arm, 0.01, 800, torch.device("cpu"))
    assert (found.steps, found.tokens) == (steps, steps * 128)
    assert found.epochs == pytest.approx(found.tokens / arm.batches.epoch_tokens)
    assert found.parameters == models.parameters(arm.new_model())
    assert found.seconds == pytest.approx(sum(found.parts.values()))
    rate = found.parts["validation"] / found.parts["steps"]
    assert rate == pytest.approx(count * each / (3 * steps * 128))
    if found.kwh_method.startswith("declared"):
        assert found.kwh == pytest.approx(36 * found.seconds / 3.6e6)
    assert found.money == pytest.approx(2 * found.seconds / 3600)
    assert other.steps == 10 and not found.took and found.warnings == []
    assert sorted(p.name for p in given.root.iterdir()) == ["tokens"]  # nothing is written


def test_without_tokens(home: Path, tmp_path: Path) -> None:
    found, _ = estimate(run_of(tmp_path, home, {}, tokens=1280), set())
    assert (found.steps, found.tokens, found.epochs, found.money) == (10, 1280, None, None)
    assert found.seconds and found.memory
    found, _ = estimate(run_of(tmp_path, home, {}, epochs=1.0), set())
    assert found.tokens_per_second and (found.steps, found.seconds) == (None, None)
    assert "only once they are made" in found.warnings[0]
    assert list(tmp_path.iterdir()) == []


def test_warnings(home: Path, tmp_path: Path) -> None:
    root = new_run(home, tmp_path / "run")
    given = run_of(root, home, {}, tokens=60_000)
    none = Run(root, given.recipe, given.manifest, None)
    found, skipped = estimate(none, {"corpus", "tokens"})
    assert "10.0 epochs" in found.warnings[0]
    for budget in ({"flops": 1e14}, {"minutes": 600.0}):
        many, _ = estimate(run_of(root, home, {}, compile="off", **budget), {"corpus", "tokens"})
        assert len(many.warnings) == 1 and "epochs of 5,984 tokens" in many.warnings[0]
    assert skipped == Estimate("continued", warnings=skipped.warnings)
    assert "no stock model" in skipped.warnings[0]
    found, _ = estimate(run_of(root, home, {}, tokens=60), {"corpus", "tokens"})
    assert "less than one step" in found.warnings[0] and found.tokens_per_second


# Memory ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["gpt2-tiny", "modern-tiny"])
def test_memory_is_what_a_real_step_takes(name: str) -> None:
    """Counted on real tensors, with the moments there and gradients of an earlier pass."""
    config = models.configure(Train(name="a", model=name, tokens=1, context=64), VOCABULARY, 0)
    given = Settings(64, 64, 256, "adamw", 1e-3)
    with memory.Tally() as tally:
        model = AutoModelForCausalLM.from_config(config)
        for weight in model.parameters():
            tally.count(weight)
        stepper = Stepper(model, given, Passes(64, 4, 2, "fp32"))
        tokens = torch.randint(VOCABULARY, (4, 64))
        for _ in range(2):
            stepper.step(tokens, tokens, 1e-3, 0.9, threading.Event())
    need = memory.predict(config, given, "fp32", recompute=False)
    assert tally.most == pytest.approx(need.peak(2), rel=0.02)
    assert need.parameters == models.parameters(model)


SCRIPT = """
import threading

import psutil
import torch
from domainlm.recipe import Train
from domainlm.training import hardware, memory, models
from domainlm.training.presets import Settings
from domainlm.training.step import Passes, Stepper

def steps(name, given):
    model = models.build(Train(name="a", model=name, tokens=1, context=256), 8192, 0, 1)
    tokens = torch.randint(8192, (4, given.context))
    stepper = Stepper(model, given, Passes(given.context, 4, 2, "fp32"))
    for _ in range(2):
        stepper.step(tokens, tokens, 1e-3, 0.9, threading.Event())
    return model.config

torch.set_num_threads(1)
cpu = torch.device("cpu")
steps("gpt2-tiny", Settings(16, 16, 64, "adamw", 1e-3))
before = psutil.Process().memory_info().rss  # not the most so far: imports have a peak
given = Settings(256, 256, 1024, "adamw", 1e-3)
config = steps("modern-30m", given)
took = hardware.memory_used(cpu) - before
print(took, memory.predict(config, given, "fp32", False).peak(2))
"""


@pytest.mark.slow
def test_memory_is_what_a_process_takes() -> None:
    done = subprocess.run([sys.executable, "-c", SCRIPT], capture_output=True, text=True)
    took, foretold = map(float, done.stdout.split())
    assert foretold == pytest.approx(took, rel=0.25), done.stderr


def test_a_peak_of_memory_is_forgotten() -> None:
    block = torch.ones(75_000_000)
    del block
    high = hardware.memory_used(CPU)
    hardware.reset_memory_used(CPU)
    assert hardware.memory_used(CPU) < high - 100e6


@pytest.mark.slow
def test_gpt2_fits_a_12_gb_card() -> None:
    config = models.configure(Train(name="a", model="gpt2-124m", tokens=1), 50_257, 0)
    settings = Settings(1024, 1024, 32_768, "adamw", 6e-4)
    need = memory.predict(config, settings, "bf16", False, gpu=12e9)
    assert need.peak(8) == pytest.approx(6.63e9, rel=0.1)  # as measured on an H200
    assert need.windows(0.9 * 12e9) > 8


def test_chunks_of_the_loss_are_a_share_of_a_gpu() -> None:
    assert loss.chunk_bytes(0) == loss.CHUNK_BYTES
    assert loss.chunk_bytes(12e9) == 12e9 / 16 and loss.chunk_bytes(150e9) == 2**32
    config = models.configure(Train(name="a", model="gpt2-tiny", tokens=1), 512, 0)
    settings = Settings(64, 64, 256, "adamw", 6e-4)
    cpu, gpu = (memory.predict(config, settings, "fp32", False, g).fixed for g in (0, 12e9))
    assert gpu - cpu == 2 * loss.chunk_bytes(12e9)


# The verb ----------------------------------------------------------------------------------------


@pytest.mark.slow
def test_plan_through_the_command_line(finished: Path) -> None:
    prices = ("--set", "cost.per_hour=36", "--set", "cost.watts=100")
    changed = ("--set", "train.1.tokens=10_000", *prices)
    done = domainlm("plan", "small.toml", "--offline", "--json", *changed, cwd=finished)
    took, found = json.loads(done.stdout)["arms"]
    facts = json.loads((finished / "runs/small/models/scratch/training.json").read_text())
    assert took["took"] and took["seconds"] == facts["seconds"] and took["parts"] == {}
    assert took["money"] == pytest.approx(facts["seconds"] / 100) and took["currency"] == "USD"
    assert not found["took"] and found["steps"] == 10_000 // 512
    assert done.stderr.count("measuring the rate of") == 1
    states = {s["stage"]: s["state"] for s in json.loads(done.stdout)["stages"]}
    assert states["train"] == states["evaluate"] == "stale"
    same = domainlm("plan", "small.toml", "--offline", *prices, cwd=finished)
    span = datetime.timedelta(seconds=max(1, round(facts["seconds"])))
    assert "measuring" not in same.stderr and f"took {span}" in same.stdout
    assert "train     cached" in same.stdout  # a price retrains nothing


@pytest.mark.slow
def test_memory_of_the_process_that_started_this_one_is_not_counted() -> None:
    large = b"1" * 700_000_000
    code = "import torch; from domainlm.training import hardware as h;"
    code += " print(h.memory_used(torch.device('cpu')))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert 50_000_000 < int(done.stdout) < len(large)
