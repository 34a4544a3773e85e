"""The training room: data order, optimizers, budgets, exact resume, export."""

import contextlib
import dataclasses
import os
import random
import secrets
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from domainlm.artifacts import read_json
from domainlm.errors import USAGE, DomainLMError
from domainlm.recipe import Train
from domainlm.tokens.shards import Shards
from domainlm.training import hardware, loop, models, optimizers, plan, presets, stage
from domainlm.training.arm import Arm
from domainlm.training.batches import Batches
from domainlm.training.checkpoint import Checkpoints
from domainlm.training.loss import Nats, Validation
from domainlm.training.presets import Settings
from training_helpers import (
    CONTEXT,
    OUTPUTS,
    SEPARATOR,
    VOCABULARY,
    Arguments,
    begin,
    continued,
    log_of,
    make_home,
    new_run,
    scratch,
    weights,
    write_config,
)  # fmt: skip

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_home(tmp_path_factory.mktemp("training"))


@pytest.fixture(scope="module", autouse=True)
def many_validations() -> Iterator[None]:
    """These arms are too short to afford ten validations, and ten are what is tested."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("domainlm.training.plan.VALIDATION_SHARE", 1e9)
        yield


@pytest.fixture(scope="module")
def whole(home: Path) -> Path:
    """A run whose two arms were never interrupted."""
    root = new_run(home, home / "whole")
    for arguments in (scratch(home), continued(home)):
        rows = stage.train(root, arguments)
        assert list(rows.values()) == [len(log_of(root, arguments["arm"]["name"]))]
    return root


# Data order -------------------------------------------------------------------------------------


def shards_of(count: int, cut: int) -> Shards:
    ids = np.arange(count, dtype="<u4")
    cut = min(cut, count)
    return Shards((ids[:cut], ids[cut:]), (0, cut, count), 0, count, count)


@settings(max_examples=60)
@given(st.integers(20, 400), st.integers(1, 19), st.integers(1, 7), st.integers(0, 9))
def test_every_target_once_an_epoch(count: int, context: int, windows: int, seed: int) -> None:
    batches = Batches(shards_of(count, count // 3), context, windows, seed)
    number = batches.epoch_windows
    seen: list[int] = []
    for step in range(2 * number):  # 2 x windows epochs or part of one: always whole at `number`
        inputs, targets = batches.batch(step)
        assert inputs.shape == targets.shape == (windows, context)
        assert torch.equal(inputs + 1, targets)  # ids are positions here
        seen += targets[:, 0].tolist()
    for epoch in range(len(seen) // number):
        part = seen[epoch * number : (epoch + 1) * number]
        assert sorted(part) == [1 + i * context for i in range(number)]
    assert batches.dropped == count - 1 - number * context < context


@settings(max_examples=30)
@given(st.integers(0, 500), st.integers(0, 5))
def test_a_batch_is_a_function_of_its_number(step: int, seed: int) -> None:
    first = Batches(shards_of(300, 77), 7, 5, seed)
    first.batch(0)
    again = Batches(shards_of(300, 11), 7, 5, seed)  # other files, same tokens
    assert torch.equal(first.batch(step)[0], again.batch(step)[0])


@settings(max_examples=30)
@given(st.integers(0, 50), st.integers(1, 4), st.integers(1, 5))
def test_every_row_goes_to_one_process(step: int, processes: int, each: int) -> None:
    batches = Batches(shards_of(300, 77), 7, processes * each, 3)
    whole, _ = batches.batch(step)
    parts = [batches.batch(step, slice(rank, None, processes))[0] for rank in range(processes)]
    assert all(len(p) == each for p in parts)
    rows = sorted(row for p in parts for row in p.tolist())
    assert rows == sorted(whole.tolist())


def test_epochs_and_seeds_differ() -> None:
    batches = Batches(shards_of(400, 5), 4, 99, 1)
    assert batches.positions(0) != batches.positions(1)
    assert batches.positions(0) != Batches(batches.shards, 4, 99, 2).positions(0)


def test_too_short_a_split() -> None:
    with pytest.raises(DomainLMError, match="shorter than one window"):
        Batches(shards_of(16, 3), 16, 1, 1)


# Models and optimizers --------------------------------------------------------------------------


def preset_arm(name: str) -> Train:
    return Train(name="x", model=name, tokens=1)


@pytest.mark.parametrize("name", [n for n in presets.PRESETS if "tiny" in n or "small" in n])
@pytest.mark.parametrize("optimizer", ["muon", "adamw"])
def test_every_weight_has_one_owner(name: str, optimizer: Any) -> None:
    model = models.build(preset_arm(name), 512, 3, 1)
    found = optimizers.build(model, Settings(64, 64, 128, optimizer, 0.01))
    assert len(found) == (2 if optimizer == "muon" else 1)
    assert (model.config.bos_token_id, model.config.eos_token_id) == (3, 3)
    if optimizer == "muon":
        owned = {id(p) for g in found[0].param_groups for p in g["params"]}
        tables = models.embeddings(model) | {models.head(model)}
        assert owned and not owned & {id(t) for t in tables}


def test_tables_go_at_their_own_rate_and_keep_the_rows_of_ids_not_met() -> None:
    model = models.build(preset_arm("modern-tiny"), 512, 3, 1)
    given = Settings(64, 64, 128, "muon", 0.01, begin="vectors", embedding_rate=3.0)
    found = optimizers.build(model, given)
    optimizers.set_rate(found, 0.01, 0.9)
    table, gain = models.head(model), model.base_model.embedding_norm.weight
    was = table.detach().clone()
    for p in model.parameters():
        p.grad = torch.zeros_like(p)
    table.grad[5], gain.grad = torch.ones(table.size(1)), torch.ones_like(gain)
    for optimizer in found:
        optimizer.step()
    moved = was - table.detach()
    assert moved[5].mean().item() == pytest.approx(0.03, rel=1e-3)  # Adam's first step is the rate
    assert not moved[6:].any() and not moved[:5].any()
    assert (1 - gain.detach()).mean().item() == pytest.approx(0.01, rel=1e-3)


def test_sizes_and_flops() -> None:
    arm, separator = preset_arm("gpt2-124m"), 50256
    config = models.configure(arm, 50304, separator)
    # 854.7 MFLOP a token is the field's figure for GPT-2 124M with a padded vocabulary.
    assert models.flops_per_token(config, 1024) == pytest.approx(854.7e6, rel=2e-3)
    model = models.build(preset_arm("modern-small"), 8192, 0, 1)
    body = 2_256_256
    assert models.parameters(model) == body
    # Two layers attend.
    assert models.flops_per_token(model.config, 512) == 6 * body + 12 * 2 * 128 * 512


def test_builds_are_repeatable() -> None:
    first, again = (models.build(preset_arm("gpt2-tiny"), 512, 0, 7) for _ in range(2))
    other = models.build(preset_arm("gpt2-tiny"), 512, 0, 8)
    assert torch.equal(models.head(first), models.head(again))
    assert not torch.equal(models.head(first), models.head(other))


def test_the_separator_is_learned(home: Path, tmp_path: Path) -> None:
    config = write_config(tmp_path / "config.json", tie_word_embeddings=False)
    arm = scratch(home, model=str(config)).recipe_arm
    fresh = models.build(arm, VOCABULARY, SEPARATOR, 1)
    fresh.config.pad_token_id = SEPARATOR  # as many published models have it
    fresh.save_pretrained(tmp_path / "published")
    for model in (fresh, models.load_pretrained(tmp_path / "published")):
        inputs = torch.full((1, 4), SEPARATOR)
        torch.autograd.backward(Nats(model, "fp32")(inputs, inputs + 1))
        assert model.get_input_embeddings().weight.grad[SEPARATOR].abs().sum() > 0


def test_unknown_preset_has_a_suggestion() -> None:
    with pytest.raises(DomainLMError, match="did you mean 'modern-tiny'") as caught:
        presets.check(preset_arm("modern-tyni"))
    assert caught.value.exit_code == USAGE


def test_vocabulary_mismatch_stops_first(home: Path, tmp_path: Path) -> None:
    small = write_config(tmp_path / "config.json", vocab_size=VOCABULARY - 1)
    with pytest.raises(DomainLMError, match="do not belong together"):
        loop.train(new_run(home, tmp_path / "run"), scratch(home, model=str(small)))
    assert not (tmp_path / "run" / "checkpoints").exists()


def test_schedule_golden() -> None:
    def shares(steps: int, **settings: Any) -> list[float]:
        arm = Train(name="a", model="gpt2-tiny", tokens=1, **settings)
        return [optimizers.schedule(s, steps, arm) for s in range(steps)]

    assert shares(10, warmup=0.2, decay=0.4) == [0.5, 1, 1, 1, 1, 1, 1, 0.75, 0.5, 0.25]
    assert shares(1) == [1.0]
    assert shares(4, warmup=0.0, decay=1.0) == [1, 0.75, 0.5, 0.25]
    cosine = shares(6, warmup=0.34, schedule="cosine", final=0.1)
    assert cosine == pytest.approx([0.5, 1, 0.1 + 0.9 * (2 + 2**0.5) / 4, 0.55,
                                    0.1 + 0.9 * (2 - 2**0.5) / 4, 0.1])  # fmt: skip


def test_muon_agrees_with_torch() -> None:
    torch.manual_seed(0)
    for shape in ((24, 40), (40, 24)):
        ours, theirs = (torch.nn.Parameter(torch.ones(shape)) for _ in range(2))
        mine = optimizers.Muon([ours], 0.01, 0.1)
        torchs = torch.optim.Muon(
            [theirs], lr=0.01, weight_decay=0.1, adjust_lr_fn="match_rms_adamw"
        )
        for _ in range(3):
            ours.grad = torch.randn(shape)
            theirs.grad = ours.grad.clone()
            mine.step()
            torchs.step()
        change = (theirs - 1).norm()
        assert (ours - theirs).norm() / change < 0.03  # torch computes in bfloat16


def test_accumulation_gives_the_same_gradient(home: Path) -> None:
    model = models.build(scratch(home).recipe_arm, VOCABULARY, SEPARATOR, 1)
    inputs = torch.randint(0, VOCABULARY, (4, CONTEXT))
    targets = torch.randint(0, VOCABULARY, (4, CONTEXT))
    gradients = []
    nats = Nats(model, "fp32")
    for micro in (1, 3, 4):
        model.zero_grad()
        for i in range(0, 4, micro):
            x, y = inputs[i : i + micro], targets[i : i + micro]
            torch.autograd.backward(nats(x, y) / targets.numel())
        gradients.append(torch.cat([p.grad.flatten() for p in model.parameters()]))
    torch.testing.assert_close(gradients[0], gradients[2], rtol=1e-4, atol=1e-7)
    torch.testing.assert_close(gradients[1], gradients[2], rtol=1e-4, atol=1e-7)


# Budgets and validation -------------------------------------------------------------------------


def test_budgets_become_steps(home: Path, tmp_path: Path) -> None:
    root = new_run(home, tmp_path / "run")

    def steps(seconds: float = 0.0, **budget: Any) -> int:
        return plan.budget_steps(Arm(root, scratch(home, **budget)), seconds)

    arm = Arm(root, scratch(home))
    assert arm.batches.epoch_tokens == 374 * CONTEXT  # (6,000 - 1) // 16 windows
    assert steps() == 24
    assert steps(epochs=2.0) == 2 * 374 * CONTEXT // 128
    assert steps(flops=128 * 7.5 * arm.flops_per_token) == 7
    assert steps(0.25, minutes=0.5) == 120
    with pytest.raises(DomainLMError, match="less than one step"):
        steps(epochs=0.001)
    with pytest.raises(DomainLMError, match="less than one step"):
        steps(100.0, minutes=0.5)


@pytest.mark.slow
def test_minutes_are_measured_and_written_down(home: Path, tmp_path: Path) -> None:
    root = new_run(home, tmp_path / "run")
    loop.train(root, scratch(home, minutes=0.1))
    facts = read_json(root / "models" / "scratch" / "training.json")
    assert facts["steps"] >= 1 and facts["seconds"] < 30
    assert facts["kwh"] is None or facts["kwh"] > 0


def test_validation_counts_text_alone(home: Path) -> None:
    ids = np.array([0, 1, 2, 0, 3, 4, 0, 5] * 10, dtype="<u2")
    shards = Shards((ids,), (0, len(ids)), 0, VOCABULARY, 40)
    lengths = np.full(VOCABULARY, 2)
    lengths[SEPARATOR] = 0
    model = models.build(scratch(home).recipe_arm, VOCABULARY, SEPARATOR, 1)
    bits = Validation(shards, lengths, CONTEXT, 10_000).bits_per_byte(Nats(model, "fp32"), 2)
    # An untrained model is near uniform: log2(300) bits a token, two bytes each.
    assert bits == pytest.approx(np.log2(VOCABULARY) / 2, rel=0.05)
    empty = Shards((ids[:1],), (0, 1), 0, VOCABULARY, 0)
    assert Validation(empty, lengths, CONTEXT, 10_000).bits_per_byte(Nats(model, "fp32"), 2) is None


# Exact resume -----------------------------------------------------------------------------------


def stop_after(monkeypatch: pytest.MonkeyPatch, step: int) -> None:
    """Send this process SIGTERM in the middle of the step after `step`."""
    real = loop.Trainer.train_step

    def train_step(self: Any, stop: Any) -> bool:
        if self.step == step:
            os.kill(os.getpid(), signal.SIGTERM)
        return real(self, stop)

    monkeypatch.setattr(loop.Trainer, "train_step", train_step)


@pytest.mark.parametrize("step", [1, 9, 23])  # 23: in the last step
@pytest.mark.slow
def test_sigterm_saves_and_the_same_command_goes_on(
    home: Path, whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: int
) -> None:
    root, before = new_run(home, tmp_path / "run"), signal.getsignal(signal.SIGTERM)
    arguments = scratch(home)
    stop_after(monkeypatch, step)
    with pytest.raises(DomainLMError, match="the same command goes on"):
        loop.train(root, arguments)
    assert signal.getsignal(signal.SIGTERM) is before
    monkeypatch.undo()
    loop.train(root, arguments)
    assert weights(root) == weights(whole)
    assert log_of(root) == log_of(whole)
    assert not (root / "checkpoints" / "scratch").exists()


def test_a_signal_in_the_last_validation_is_not_lost(
    home: Path, whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root, real = new_run(home, tmp_path / "run"), loop.Trainer.validate

    def validate(self: Any) -> float | None:
        if self.step == self.plan.steps:
            os.kill(os.getpid(), signal.SIGTERM)
        return real(self)

    monkeypatch.setattr(loop.Trainer, "validate", validate)
    with pytest.raises(DomainLMError, match="the same command goes on"):
        loop.train(root, scratch(home))
    monkeypatch.undo()
    loop.train(root, scratch(home))
    assert weights(root) == weights(whole)
    assert log_of(root) == log_of(whole)


def kill_at_random(root: Path, arguments: Arguments) -> None:
    """Train in a process that is killed some time after a random one of its steps."""
    seed = secrets.randbits(32)
    print("seed", seed)  # shown where the test fails
    rng = random.Random(seed)
    arm = Arm(root, arguments)
    after = rng.randrange(plan.budget_steps(arm, 1.0))
    folder = root / "checkpoints" / arm.name

    def reached() -> int:
        return max((int(p.stem[5:]) for p in folder.glob("step-*.json")), default=0)

    process = begin(root, arguments, pause=0.02)
    while process.is_alive() and reached() < max(1, after):
        time.sleep(0.002)
    time.sleep(rng.uniform(0, 0.05))
    process.kill()
    process.join()
    assert process.exitcode in (-signal.SIGKILL, 0)  # 0: it was done before


def same_files(one: Path, other: Path, kind: str) -> None:
    for name in OUTPUTS:
        path = Path("models") / kind / name
        assert (one / path).read_bytes() == (other / path).read_bytes(), name
    assert log_of(one, kind) == log_of(other, kind)


LONG = [pytest.param(k, n, marks=pytest.mark.long) for k in ("scratch", "continued")
        for n in range(10)]  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize(("kind", "number"), [("scratch", -1), ("continued", -1), *LONG])
def test_sigkill_at_any_time(
    home: Path, whole: Path, tmp_path: Path, kind: str, number: int
) -> None:
    root = new_run(home, tmp_path / "run")
    arguments = {"scratch": scratch, "continued": continued}[kind](home)
    kill_at_random(root, arguments)
    loop.train(root, arguments)
    same_files(root, whole, kind)


@pytest.mark.slow
@pytest.mark.skipif(not hardware.can_compile("cpu"), reason="no C++ compiler for torch.compile")
def test_sigkill_of_a_compiled_arm(home: Path, tmp_path: Path) -> None:
    arguments = scratch(home, compile="on", tokens=128 * 6)
    one, two = (new_run(home, tmp_path / name) for name in ("one", "two"))
    kill_at_random(two, arguments)
    for root in (one, two):
        process = begin(root, arguments)
        process.join()
        assert process.exitcode == 0
    assert read_json(two / "models" / "scratch" / "training.json")["compile"]
    same_files(one, two, "scratch")


def test_a_damaged_checkpoint_falls_back(
    home: Path, whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = new_run(home, tmp_path / "run")
    stopped = scratch(home)
    stop_after(monkeypatch, 12)
    real = loop.Trainer.write_line

    def write_line(self: Any, *arguments: Any) -> None:  # and a checkpoint after every step
        real(self, *arguments)
        self.save()

    monkeypatch.setattr(loop.Trainer, "write_line", write_line)
    with pytest.raises(DomainLMError, match="the same command goes on"):
        loop.train(root, stopped)
    monkeypatch.undo()
    steps = sorted((root / "checkpoints" / "scratch").glob("step-*.pt"))
    assert len(steps) == 2
    with open(steps[-1], "r+b") as file:
        file.truncate(steps[-1].stat().st_size // 2)
    loop.train(root, stopped)
    assert weights(root) == weights(whole)
    assert log_of(root) == log_of(whole)


def test_checkpoints_of_another_arm_stop_the_run(
    home: Path, whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = new_run(home, tmp_path / "run")
    stop_after(monkeypatch, 5)
    with pytest.raises(DomainLMError, match="the same command goes on"):
        loop.train(root, scratch(home))
    monkeypatch.undo()
    with pytest.raises(DomainLMError, match="of another recipe") as caught:
        loop.train(root, scratch(home, seed=2))
    assert "seed was 1, is 2" in caught.value.why and "rm -r" in caught.value.fix
    loop.train(root, scratch(home))  # set back, it goes on
    assert weights(root) == weights(whole)


def test_a_preset_of_another_version_is_another_recipe(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root, arguments = new_run(home, tmp_path / "run"), scratch(home, model="modern-tiny")
    old = presets.PRESETS["modern-tiny"]
    Checkpoints(tmp_path / "kept", Arm(root, arguments).identity).save_plan({})
    (tmp_path / "kept" / "step-00000001.pt").touch()
    Checkpoints(tmp_path / "kept", Arm(root, arguments).identity)
    for change in ({"width": 96}, {"batch_tokens": 64}):
        monkeypatch.setitem(presets.PRESETS, "modern-tiny", dataclasses.replace(old, **change))
        with pytest.raises(DomainLMError, match="of another recipe") as caught:
            Checkpoints(tmp_path / "kept", Arm(root, arguments).identity)
        assert "preset was" in caught.value.why


def test_an_arm_begins_with_counts_of_train_and_goes_on(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    arguments = scratch(home, model="modern-tiny", begin="copies", tokens=128 * 6)
    arguments["arm"]["embedding_rate"] = 3.0
    one, two = (new_run(home, tmp_path / name) for name in ("one", "two"))
    arm = Arm(one, arguments)
    begun, again = (dict(arm.new_model().named_parameters()) for _ in range(2))
    assert all(torch.equal(again[name], p) for name, p in begun.items())
    carried = begun["model.layers.0.conv.conv.weight"][:8, 0].tolist()
    assert carried == [[0, 1, 0]] * 8  # the token before
    plain = Arm(two, scratch(home, model="modern-tiny", begin="random")).new_model()
    assert not torch.equal(begun["model.embed_tokens.weight"], models.head(plain))

    loop.train(one, arguments)
    stop_after(monkeypatch, 3)
    with pytest.raises(DomainLMError, match="the same command goes on"):
        loop.train(two, arguments)
    monkeypatch.undo()
    loop.train(two, arguments)
    assert weights(one) == weights(two)
    assert read_json(one / "models" / "scratch" / "training.json")["embedding_rate"] == 3.0


def test_another_optimizer_has_no_rate_of_its_own_for_embeddings() -> None:
    def rate(**changes: Any) -> float:
        arm = Train(name="x", model="modern-small", tokens=1, **changes)
        return presets.settings(arm, 1024).embedding_rate

    assert rate() == rate(optimizer="muon") == 3.0
    assert rate(optimizer="adamw") == 1.0
    assert rate(optimizer="adamw", embedding_rate=2.0) == 2.0


def test_validation_is_at_most_a_share_of_the_work(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("domainlm.training.plan.VALIDATION_SHARE", 0.15)
    root = new_run(home, tmp_path / "run")
    loop.train(root, scratch(home))
    measured = [x for x in log_of(root) if x["validation_bits_per_byte"] is not None]
    # 24 steps of 128 tokens; a validation reads the 800 tokens of its split, forward only.
    assert [x["step"] for x in measured] == [24]


def test_a_loss_that_is_no_number_stops(home: Path, tmp_path: Path) -> None:
    root = new_run(home, tmp_path / "run")
    arguments = scratch(home, learning_rate=1e30, optimizer="adamw", warmup=0.0)
    with pytest.raises(DomainLMError, match="no longer a number") as caught:
        loop.train(root, arguments)
    assert "last good checkpoint" in caught.value.where
    assert not (root / "models" / "scratch" / "model.safetensors").exists()


def test_the_best_weights_are_exported_also_over_a_resume(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # A rate that hurts after a while: the best step is not the last one.
    arguments = scratch(
        home, learning_rate=0.3, warmup=0.0, decay=0.0, optimizer="adamw", candidates=0
    )
    one = new_run(home, tmp_path / "one")
    loop.train(one, arguments)
    facts = read_json(one / "models" / "scratch" / "training.json")
    points = [x for x in log_of(one) if x["validation_bits_per_byte"] is not None]
    best = min(points, key=lambda x: x["validation_bits_per_byte"])
    assert facts["best_step"] == best["step"] < facts["steps"]
    two = new_run(home, tmp_path / "two")
    stop_after(monkeypatch, best["step"])
    with pytest.raises(DomainLMError):
        loop.train(two, arguments)
    monkeypatch.undo()
    loop.train(two, arguments)
    assert weights(one) == weights(two)


# What comes out ---------------------------------------------------------------------------------


def test_the_log_and_the_facts(whole: Path) -> None:
    lines = log_of(whole)
    assert [x["step"] for x in lines] == list(range(1, 25))
    assert [x["step"] for x in lines if x["validation_bits_per_byte"] is not None] == sorted(
        loop.marks(24, 10)
    )
    facts = read_json(whole / "models" / "scratch" / "training.json")
    assert facts["tokens"] == 24 * 128 and facts["role"] == "scratch"
    assert read_json(whole / "models" / "continued" / "training.json")["role"] == "continued"
    assert not list((whole / "models").glob(".*"))


@pytest.mark.parametrize("kind", ["scratch", "continued"])
def test_export_is_plain_hugging_face(whole: Path, kind: str) -> None:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    folder = whole / "models" / kind
    model = AutoModelForCausalLM.from_pretrained(folder)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    assert tokenizer.eos_token == "<|endoftext|>" and model.config.use_cache
    prompt = torch.tensor([[5, 6, 7]])
    text = model.generate(prompt, max_new_tokens=8, do_sample=False)
    assert text.shape[1] <= 11 and isinstance(tokenizer.decode(text[0]), str)
    with torch.no_grad():  # make the separator the likeliest: generation stops at once
        table = model.get_output_embeddings().weight
        hidden = model(prompt, output_hidden_states=True).hidden_states[-1][0, -1]
        table[SEPARATOR] = hidden * 1e4
    assert model.generate(prompt, max_new_tokens=8, do_sample=False).tolist() == [[5, 6, 7, 0]]


@pytest.mark.slow
def test_it_learns(home: Path, tmp_path: Path) -> None:
    root = new_run(home, tmp_path / "run")
    loop.train(root, scratch(home, tokens=128 * 80))
    losses = [x["loss"] for x in log_of(root)]
    assert losses[0] > 5.0 and losses[-1] < 1.0


def test_state_of_the_process_is_restored(home: Path, tmp_path: Path) -> None:
    threads = torch.get_num_threads()
    with contextlib.suppress(DomainLMError):
        loop.train(new_run(home, tmp_path / "run"), scratch(home, learning_rate=1e30))
    assert torch.get_num_threads() == threads
    assert not torch.are_deterministic_algorithms_enabled()


def test_in_a_thread_no_signals_are_touched() -> None:
    found = []

    def work() -> None:
        with loop.stop_signals() as stop:
            found.append(stop.is_set())

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert found == [False]
