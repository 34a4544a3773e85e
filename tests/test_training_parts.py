"""Parts of the training room: bad input, divergence, loss, memory, trackers, view, energy, Muon."""

import io
import json
import math
import os
import re
import shutil
import subprocess
import sys
import threading
import time
import types
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.console import Console
from torch import Tensor
from transformers import Lfm2Config, Lfm2ForCausalLM

from domainlm.artifacts import read_json, sha256_file, write_json
from domainlm.errors import USAGE, DomainLMError
from domainlm.recipe import Train
from domainlm.training import (
    hardware,
    induction,
    loop,
    loss,
    memory,
    models,
    optimizers,
    plan,
    presets,
    spectral,
    trackers,
    view,
)
from domainlm.training.arm import Arm
from domainlm.training.energy import NOT_MEASURED, Energy, Sampler
from domainlm.training.loss import LinearCrossEntropy, Nats
from domainlm.training.step import Passes, Stepper
from training_helpers import (
    CONTEXT,
    SEPARATOR,
    VOCABULARY,
    log_of,
    make_home,
    new_run,
    scratch,
    write_config,
)  # fmt: skip

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def home(one_thread: None, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_home(tmp_path_factory.mktemp("parts"))


# Bad input: an error that says so, before time is spent -------------------------------------------


def truncate(tokens: Path) -> None:
    path = tokens / "train-00000.bin"
    path.write_bytes(path.read_bytes()[:-100])


def exchange(tokens: Path) -> None:
    path = tokens / "validation-00000.bin"
    path.write_bytes(path.read_bytes()[::-1][1:] + b"\0")


def unknown_id(tokens: Path) -> None:
    """A shard with an id beyond the vocabulary, of which the index says the right hash."""
    path, index = tokens / "train-00000.bin", read_json(tokens / "index.json")
    ids = np.fromfile(path, "<u2")
    ids[-1] = VOCABULARY
    ids.tofile(path)
    index["splits"]["train"]["shards"][0]["sha256"] = sha256_file(path)
    write_json(tokens / "index.json", index)


def other_tokenizer(tokens: Path) -> None:
    write_json(tokens / "index.json", read_json(tokens / "index.json") | {"vocabulary": 1_000})


BAD = {
    "truncated shard": (truncate, {}, "is not what its index says", "expected 12000"),
    "foreign shard": (exchange, {}, "not the one that its index speaks of", "SHA-256"),
    "unknown id": (unknown_id, {}, "not the one that its index speaks of", "the id 300; the tok"),
    "tokenizer": (other_tokenizer, {}, "do not belong together", "go up to 999; the model knows"),
    "budget": (None, {"tokens": 100}, "less than one step", "0.78 of a step"),
    "context": (None, {"context": 65}, "a context of 65 tokens is longer than the model's 64", ""),
    "pieces": (None, {"context": 48, "short_context": 20}, "cannot be cut into pieces", ""),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_input_stops_before_time_is_spent(
    home: Path, tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(plan, "rehearse", lambda *_: pytest.fail("a step was taken"))
    damage, changes, what, why = BAD[name]
    config = write_config(tmp_path / "config.json", vocab_size=VOCABULARY)
    shutil.copytree(home / "tokens", tmp_path / "run" / "tokens")
    if damage:
        damage(tmp_path / "run" / "tokens")
    with pytest.raises(DomainLMError, match=what) as caught:
        loop.train(tmp_path / "run", scratch(home, model=str(config), **changes))
    assert caught.value.where and why in caught.value.why
    assert not (tmp_path / "run" / "checkpoints").exists()
    assert not (tmp_path / "run" / "models").exists()


def test_a_model_too_large_is_never_built(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hardware, "memory", lambda where: 500_000)
    monkeypatch.setattr(models, "build", lambda *_: pytest.fail("it was built"))
    root = new_run(home, tmp_path / "run")
    with pytest.raises(DomainLMError, match="too large for the memory") as caught:
        loop.train(root, scratch(home))
    assert "recomputing activations" in caught.value.why and caught.value.fix
    assert not (root / "checkpoints").exists()


# Divergence ---------------------------------------------------------------------------------------


def test_a_loss_that_climbs_stops_and_its_checkpoint_loads(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loop, "CHECKPOINT_SECONDS", 0.0)
    root = new_run(home, tmp_path / "run")
    climbing = scratch(home, optimizer="adamw", learning_rate=3.0, warmup=0.9, tokens=128 * 400)
    with pytest.raises(DomainLMError, match="has come apart") as caught:
        loop.train(root, climbing)
    error = caught.value
    found = re.findall(r" ([\d.e+-]*\d)\b", error.why.replace("of 8", ""))
    last, norm, lowest, mean = map(float, found)
    assert math.isfinite(last) and math.isfinite(norm) and lowest < math.log(VOCABULARY)
    assert mean > lowest + loop.DIVERGED
    step, path = re.fullmatch(
        r"step (\d+) of 400; last good checkpoint: (.*)", error.where
    ).groups()  # type: ignore[union-attr]
    state = torch.load(path, weights_only=True)
    assert 0 < state["step"] < int(step)
    model = Arm(root, climbing).new_model()
    model.load_state_dict(state["model"])
    assert all(torch.isfinite(p).all() for p in model.parameters())


def watch(losses: list[float]) -> None:
    """Have the loop's rule look at losses one by one."""
    settings = types.SimpleNamespace(learning_rate=1.0)
    arm = types.SimpleNamespace(name="x", settings=settings)
    trainer: Any = types.SimpleNamespace(recent=[], lowest=math.inf, loss=math.nan, arm=arm)
    trainer.plan = types.SimpleNamespace(steps=1_000)
    trainer.checkpoints = types.SimpleNamespace(newest_path=lambda: "none")
    for step, value in enumerate(losses, 1):
        loop.Trainer._look(trainer, torch.tensor([value, 1.0]), step)


@settings(max_examples=50)
@given(
    st.lists(st.floats(-0.49, 0.49), min_size=1, max_size=80), st.floats(2, 11), st.floats(0, 0.1)
)
def test_noise_does_not_stop(noise: list[float], start: float, slope: float) -> None:
    watch([max(1.0, start - slope * i) + x for i, x in enumerate(noise)])
    spike = [start] * 20 + [start + 7.9] + [start] * 20  # one bad batch is not the end
    watch(spike)


@pytest.mark.parametrize("seed", range(5))
def test_small_batches_are_noisy(seed: int) -> None:
    """Seen: four windows a batch, a lucky run of eight losses, and a healthy arm was stopped."""
    noise = np.random.default_rng(seed).normal(0, 0.55, 4_000)
    watch([3 + 2 * 0.999**step + x for step, x in enumerate(noise)])


@settings(max_examples=50)
@given(st.floats(0.5, 11), st.floats(1.05, 50), st.integers(8, 40))
def test_a_climb_stops(low: float, climb: float, steps: int) -> None:
    with pytest.raises(DomainLMError, match="has come apart"):
        watch([low] * steps + [low + climb] * loop.SMOOTH)


def test_a_climb_stops_in_noise() -> None:
    noise = np.random.default_rng(1).normal(0, 0.55, 400)
    with pytest.raises(DomainLMError, match="has come apart"):
        watch([3 + 4 * (step >= 200) + x for step, x in enumerate(noise)])
    watch([3 + x for x in noise])


@pytest.mark.parametrize("after", [[1e3], [11.0, 3.0] * 8])
def test_its_own_spread_excuses_nothing(after: list[float]) -> None:
    with pytest.raises(DomainLMError, match="has come apart"):
        watch([3.0] * 20 + after)


def test_a_gpu_without_a_c_compiler_cannot_compile(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    monkeypatch.delenv("CC", raising=False)
    assert not hardware.can_compile("cuda")
    assert loss._fastest(CPU) is loss.to_gradient


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_no_number_stops_at_once(value: float) -> None:
    with pytest.raises(DomainLMError, match="no longer a number"):
        watch([value])


# Loss ---------------------------------------------------------------------------------------------


def fused(
    hidden: Tensor, weight: Tensor, targets: Tensor, *shift: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """(value, gradient by `hidden`, gradient by `weight`) of the package's loss."""
    x, w = hidden.clone().requires_grad_(), weight.clone().requires_grad_()
    apply: Any = LinearCrossEntropy.apply
    value = apply(x, w, targets, *shift)
    (value * 0.5).backward()  # what comes from above counts
    return value.detach(), x.grad, w.grad  # type: ignore[return-value]


@settings(max_examples=60)
@given(
    st.sampled_from([1, 15, 16, 17, 32, 33, 50]),  # chunks have 16 rows here
    st.integers(1, 9),
    st.integers(2, 40),
    st.sampled_from([torch.float32, torch.bfloat16]),
    st.booleans(),
    st.integers(0, 99),
)
def test_the_loss_is_cross_entropy(
    rows: int, width: int, vocabulary: int, dtype: torch.dtype, shifted: bool, seed: int
) -> None:
    draw = torch.Generator().manual_seed(seed)
    hidden = torch.randn(rows, width, generator=draw).to(dtype)
    weight = torch.randn(vocabulary, width, generator=draw) * 3
    targets = torch.randint(0, vocabulary, (rows,), generator=draw)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(loss, "CHUNK_BYTES", 0)
        shift = torch.randn(vocabulary, generator=draw) * shifted
        found = fused(hidden, weight, targets, *[shift] * shifted)
    x, w = hidden.double().requires_grad_(), weight.to(dtype).double().requires_grad_()
    expected = F.cross_entropy(x @ w.T + shift, targets, reduction="sum")
    (expected * 0.5).backward()
    half = dtype == torch.bfloat16
    for one, other in zip(found, (expected.detach(), x.grad, w.grad), strict=True):
        scale = float(other.abs().max()) + 1.0  # type: ignore[union-attr]
        error = float((one.double() - other).abs().max()) / scale
        assert error < (0.05 if half else 1e-5)
    assert found[1].dtype == dtype and found[2].dtype == torch.float32


KERNEL = """
import torch
from domainlm.training import kernels, loss
torch.manual_seed(4)
kernels.BLOCK = 256
for columns in (1, 70, 256, 700):
    for dtype in (torch.float32, torch.bfloat16):
        logits, targets = 9 * torch.randn(5, columns).to(dtype), torch.randint(columns, (5,))
        expected, nats = loss.to_gradient(logits.clone(), targets)
        found, others = kernels.to_gradient(logits, targets)
        assert found is logits and found.dtype == dtype
        tolerance = 1e-5 if dtype == torch.float32 else 1e-2
        torch.testing.assert_close(found, expected, rtol=tolerance, atol=tolerance)
        torch.testing.assert_close(others, nats, rtol=1e-5, atol=1e-4)
"""


@pytest.mark.skipif(find_spec("triton") is None, reason="no Triton for this system")
def test_the_kernel_is_the_loss() -> None:
    """By Triton's interpreter, which computes what a GPU would, here."""
    ways = {**os.environ, "TRITON_INTERPRET": "1"}
    subprocess.run([sys.executable, "-c", KERNEL], env=ways, check=True, timeout=300)


def test_logits_never_stand_in_full() -> None:
    rows, vocabulary = 4096, 8192
    hidden, weight = torch.randn(rows, 16), torch.randn(vocabulary, 16)
    with memory.Tally() as tally:
        fused(hidden, weight, torch.zeros(rows, dtype=torch.int64))
    full = 4 * rows * vocabulary
    assert loss.CHUNK_BYTES < tally.most < full / 2
    with memory.Tally() as tally:  # the tally does see them where they do
        x = hidden.clone().requires_grad_()
        F.cross_entropy(x @ weight.T, torch.zeros(rows, dtype=torch.int64)).backward()
    assert tally.most > full


def capped() -> Any:
    """A model that caps its logits."""
    from transformers import NanoChatConfig, NanoChatForCausalLM

    torch.manual_seed(1)
    config = NanoChatConfig(
        vocab_size=VOCABULARY, hidden_size=32, intermediate_size=48, num_hidden_layers=2,
        num_attention_heads=2, num_key_value_heads=2, max_position_embeddings=64,
        final_logit_softcapping=15.0, bos_token_id=0, eos_token_id=0, pad_token_id=None,
    )  # fmt: skip
    return NanoChatForCausalLM(config)


@pytest.mark.parametrize("scale", [1.0, 100.0])  # new, and where the cap is felt
def test_a_capped_head_is_found_and_kept(home: Path, scale: float) -> None:
    model = capped()
    with torch.no_grad():
        models.head(model).mul_(scale)
    nats = Nats(model, "fp32")
    assert not nats.plain
    tokens = torch.randint(1, VOCABULARY, (3, CONTEXT + 1))
    found = nats(tokens[:, :-1], tokens[:, 1:])
    own = model(input_ids=tokens, labels=tokens).loss * 3 * CONTEXT
    torch.testing.assert_close(found, own, rtol=1e-5, atol=1e-4)
    if scale > 1:  # without the cap it would be another number
        other = Nats(model, "fp32", plain=True)(tokens[:, :-1], tokens[:, 1:])
        assert abs(float((other - own).detach())) > 1.0


@pytest.mark.parametrize("plain", [True, False])
def test_each_sums_to_all(home: Path, plain: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loss, "CHUNK_BYTES", 0)
    model = models.build(scratch(home).recipe_arm, VOCABULARY, SEPARATOR, 1) if plain else capped()
    nats = Nats(model, "fp32")
    assert nats.plain == plain
    tokens = torch.randint(1, VOCABULARY, (3, CONTEXT + 1))
    inputs, targets = tokens[:, :-1], tokens[:, 1:]
    each = nats.each(inputs, targets)
    assert each.shape == targets.shape
    torch.testing.assert_close(each.sum(), nats(inputs, targets), rtol=1e-5, atol=1e-4)


@settings(max_examples=60)
@given(st.lists(st.integers(0, 10**6), min_size=2, max_size=60), st.floats(0.01, 0.99))
def test_chances_sum_to_the_count(frequencies: list[int], share: float) -> None:
    counts, count = torch.tensor(frequencies), 1 + int(share * (len(frequencies) - 1))
    found = loss.chances(counts, count)
    assert float(found.max()) <= 1.0 and float(found.min()) > 0.0
    assert float(found.sum()) == pytest.approx(count, rel=1e-3)
    order = counts.argsort()
    assert bool((found[order].diff() >= 0).all())  # what is frequent is never less likely


def test_candidates_stand_for_all_ids() -> None:
    torch.manual_seed(1)
    rows, width, vocabulary = 6, 4, 200
    hidden, weight = torch.randn(rows, width) / 4, torch.randn(vocabulary, width)
    targets = torch.randint(0, 20, (rows,))
    odds = loss.chances(1000 / torch.arange(1, vocabulary + 1), 50)
    expected = (hidden @ weight.T).exp().sum(1)
    sums = torch.zeros(rows)
    for _ in range(2_000):
        rows_, places, shift = loss.Candidates.of(targets, odds)
        assert torch.equal(rows_[places[targets]], targets)
        assert bool((shift[places[targets]] == 0).all())
        sums += (hidden @ weight[rows_].T + shift).exp().sum(1) / 2_000
    torch.testing.assert_close(sums, expected, rtol=0.03, atol=0.0)


def test_with_every_id_a_candidate_it_is_the_whole_loss(home: Path) -> None:
    model = models.build(scratch(home).recipe_arm, VOCABULARY, SEPARATOR, 1)
    nats = Nats(model, "fp32")
    tokens = torch.randint(1, VOCABULARY, (3, CONTEXT + 1))
    inputs, targets = tokens[:, :-1], tokens[:, 1:]
    everything = loss.Candidates.of(targets, torch.ones(VOCABULARY))
    for candidates in (None, everything):
        torch.autograd.backward(nats(inputs, targets, candidates))
    twice = models.head(model).grad
    model.zero_grad()
    torch.autograd.backward(nats(inputs, targets))
    torch.testing.assert_close(twice, 2 * models.head(model).grad)


def test_the_micro_batch_changes_nothing_with_candidates(home: Path) -> None:
    found = []
    tokens = torch.randint(1, VOCABULARY, (8, CONTEXT + 1))
    for micro_batch in (2, 8):
        given = stepper(home, micro_batch)
        given.sampling = True
        torch.manual_seed(3)
        step = given.step(tokens[:, :-1], tokens[:, 1:], 0.01, 0.9, threading.Event())
        found += [(step, models.head(given.model).detach())]
    assert not torch.isnan(found[0][0]).any()
    torch.testing.assert_close(found[0], found[1], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("bias", [False, True])
def test_a_quickened_model_is_the_same_model(bias: bool) -> None:
    from transformers import Lfm2Config, Lfm2ForCausalLM

    torch.manual_seed(2)
    kinds = ["conv", "full_attention", "conv"]
    model = Lfm2ForCausalLM(
        Lfm2Config(
            vocab_size=50, hidden_size=32, intermediate_size=48, num_hidden_layers=3,
            block_auto_adjust_ff_dim=False, num_attention_heads=2, num_key_value_heads=2,
            layer_types=kinds, conv_bias=bias, bos_token_id=0, eos_token_id=0, pad_token_id=None,
        )
    )  # fmt: skip
    if bias:
        torch.nn.init.normal_(model.model.layers[0].conv.conv.bias)
    ids, found = torch.randint(0, 50, (2, 20)), []
    for _ in range(2):
        model.zero_grad()
        logits = model(input_ids=ids, use_cache=False).logits
        torch.autograd.backward(logits.square().sum())
        found.append([logits.detach(), *(p.grad.clone() for p in model.parameters())])
        models.quicken(model)
    torch.testing.assert_close(found[0], found[1])
    steps = model.generate(ids[:, :5], max_new_tokens=5, do_sample=False, use_cache=True)
    again = model.generate(ids[:, :5], max_new_tokens=5, do_sample=False, use_cache=False)
    assert torch.equal(steps, again)


# Memory -------------------------------------------------------------------------------------------


def stepper(home: Path, micro_batch: int, recompute: bool = False) -> Stepper:
    """A step of eight windows."""
    arm = scratch(home).recipe_arm
    model = models.build(arm, VOCABULARY, SEPARATOR, 1)
    passes = Passes(CONTEXT, 8, micro_batch, "fp32", recompute=recompute)
    return Stepper(model, presets.settings(arm, 64), passes)


def batch(windows: int) -> tuple[Tensor, Tensor]:
    tokens = torch.randint(1, VOCABULARY, (windows, CONTEXT + 1))
    return tokens[:, :-1], tokens[:, 1:]


def test_recomputing_changes_no_gradient(home: Path) -> None:
    inputs, targets = batch(8)
    gradients = []
    for recompute in (False, True):
        work = stepper(home, 8, recompute)
        torch.autograd.backward(work.nats(inputs, targets))
        gradients.append(torch.cat([p.grad.flatten() for p in work.model.parameters()]))
    torch.testing.assert_close(*gradients)


def test_any_micro_batch_makes_the_same_step(home: Path) -> None:
    inputs, targets = batch(8)
    found = []
    for micro_batch in (8, 3, 1):
        work = stepper(home, micro_batch)
        done = work.step(inputs, targets, 0.01, 0.9, loop.threading.Event())
        found.append(torch.cat([done, *(p.detach().flatten() for p in work.model.parameters())]))  # type: ignore[list-item]
    for other in found[1:]:
        torch.testing.assert_close(found[0], other, rtol=1e-4, atol=2e-5)


def test_passes_fit_the_memory(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    arm = scratch(home, batch_tokens=24 * 64, context=64, precision="fp32").recipe_arm
    config = models.configure(arm, VOCABULARY, SEPARATOR)
    given = presets.settings(arm, 64)
    kept, again = (memory.predict(config, given, "fp32", recompute) for recompute in (False, True))
    assert 0 < again.window < kept.window and again.peak(1) < kept.peak(1)

    def passes(room: float) -> Passes:
        monkeypatch.setattr(hardware, "memory", lambda where: room / hardware.USABLE["cpu"])
        return plan.choose_passes(arm, config, given, CPU)

    for windows in (1, 2, 5, 7, 24, 100):
        found = passes(kept.peak(windows) + 1)
        assert not found.recompute and found.micro_batch <= windows
        assert (found.windows, found.context) == (24, 64)  # the batch is what the recipe says
        least = -(-24 // windows)  # passes, as many as must be
        assert -(-24 // found.micro_batch) == least
    assert passes((kept.peak(1) + again.peak(1)) / 2).recompute
    with pytest.raises(DomainLMError, match="too large"):
        passes(again.peak(1) - 1)


# Trackers -----------------------------------------------------------------------------------------


def tracked(home: Path, folder: Path, tracker: str) -> list[dict[str, Any]]:
    """The log of a run of four steps whose recipe names the tracker."""
    root = new_run(home, folder)
    (root / "recipe.toml").write_text(
        f'source.path = "text"\nengine.tracker = "{tracker}"\n'
        '[[train]]\nname = "scratch"\nmodel = "modern-tiny"\ntokens = 512\n'
    )
    loop.train(root, scratch(home, tokens=128 * 4))
    return log_of(root)


def test_tensorboard_reads_the_losses_back(home: Path, tmp_path: Path) -> None:
    pytest.importorskip("tensorboard", reason="the extra tensorboard is not installed")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    lines = tracked(home, tmp_path / "run", "tensorboard")
    events = EventAccumulator(str(tmp_path / "run" / "models" / "scratch" / "tensorboard"))
    events.Reload()
    found = [(e.step, e.value) for e in events.Scalars("loss")]
    assert found == [(x["step"], np.float32(x["loss"])) for x in lines] and len(found) == 4


def test_a_function_gets_every_line(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "own_tracker.py").write_text("lines = []\ndef take(line): lines.append(line)\n")
    monkeypatch.syspath_prepend(tmp_path)
    lines = tracked(home, tmp_path / "run", "own_tracker:take")
    found = sys.modules["own_tracker"].lines
    assert [(x["step"], x["loss"]) for x in found] == [(x["step"], x["loss"]) for x in lines]


@pytest.mark.parametrize("name", ["tensorbord", "json:nothing", "no_such_module:take"])
def test_an_unknown_tracker(home: Path, tmp_path: Path, name: str) -> None:
    with pytest.raises(DomainLMError, match="tracker cannot be used") as caught:
        tracked(home, tmp_path / "run", name)
    assert name in caught.value.where and caught.value.why and caught.value.exit_code == USAGE
    assert not (tmp_path / "run" / "checkpoints").exists()


def test_no_recipe_no_tracker(tmp_path: Path) -> None:
    with trackers.opened(tmp_path, tmp_path) as tracker:
        tracker({"step": 1})
    assert not list(tmp_path.iterdir())


# View ---------------------------------------------------------------------------------------------


@given(st.lists(st.floats(-1e6, 1e6), max_size=200), st.integers(1, 60))
def test_a_sparkline(values: list[float], width: int) -> None:
    line = view.sparkline(values, width)
    assert len(line) == min(width, len(values)) and set(line) <= set(view.BARS)
    if len(values) <= width and len({round(v, 3) for v in values}) > 1:
        assert line[values.index(min(values))] == view.BARS[0]
        assert line[values.index(max(values))] == view.BARS[-1]
    assert len(set(view.sparkline([3.0] * 5, width))) == 1


def shown(monkeypatch: pytest.MonkeyPatch, terminal: bool, line: dict[str, Any]) -> str:
    console = Console(file=io.StringIO(), force_terminal=terminal, width=100)
    for module in ("domainlm.training.view", "domainlm.console"):
        monkeypatch.setattr(f"{module}.console", console)
    monkeypatch.setattr(view, "LINE_SECONDS", 0.0)
    with view.View("banks", 100) as panel:
        panel.show(7, line, 2.345, 1234.5)
    return str(console.file.getvalue())  # type: ignore[attr-defined]


def test_a_line_where_there_is_no_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    text = shown(monkeypatch, False, {})
    assert re.fullmatch(
        r"\s*banks: 7 of 100 steps, loss 2.345, 1,23[45] tokens/s, [\d,]+ s left\s*", text
    )


def test_a_panel_on_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    line = {"utilization": 0.41, "memory_gb": 3.2, "watts": None, "validation_bits_per_byte": 1.5}
    text = shown(monkeypatch, True, line)
    for part in ("banks", "2.345", "41% of this", "3.2 GB", "power not measured", "1.500"):
        assert part in text, part
    assert "250 W" in shown(monkeypatch, True, line | {"watts": 250.0})
    assert "2.345" in shown(monkeypatch, True, {})  # before the first line of the log


# Energy -------------------------------------------------------------------------------------------


def test_a_sampler_adds_power_up() -> None:
    began = time.monotonic()
    sampler = Sampler(lambda: 100.0, every=0.005)
    while sampler.joules < 10.0:  # 0.1 s of 100 W
        time.sleep(0.005)
        found, elapsed = sampler.joules, time.monotonic() - began
        assert 0 <= found <= 100 * elapsed
    with pytest.raises(ZeroDivisionError):  # a meter that fails does so at once
        Sampler(lambda: 1 / 0)


def test_what_is_not_measured_is_no_zero(home: Path, tmp_path: Path) -> None:
    energy = Energy(CPU)
    assert (energy.joules() is None) == (energy.method == NOT_MEASURED)
    root = new_run(home, tmp_path / "run")
    loop.train(root, scratch(home, tokens=128))
    facts = read_json(root / "models" / "scratch" / "training.json")
    line = json.loads((root / "models" / "scratch" / "training.jsonl").read_text())
    if facts["kwh"] is None:
        assert facts["kwh_method"] == NOT_MEASURED and line["watts"] is None
    else:
        assert facts["kwh"] > 0 and facts["kwh_method"] != NOT_MEASURED and line["watts"] > 0


# Optimizers ---------------------------------------------------------------------------------------


def test_muon_takes_matrices_together_as_one_by_one() -> None:
    draw = torch.Generator().manual_seed(0)
    shapes = [(24, 40), (40, 24), (24, 40), (16, 16), (24, 40)]
    start = [torch.randn(shape, generator=draw) for shape in shapes]
    together = [torch.nn.Parameter(w.clone()) for w in start]
    single = [torch.nn.Parameter(w.clone()) for w in start]
    found = [optimizers.Muon([*together], 0.01, 0.1)]
    found += [optimizers.Muon([p], 0.01, 0.1) for p in single]
    for step in range(4):
        for one, other in zip(together, single, strict=True):
            one.grad = torch.randn(one.shape, generator=draw)
            other.grad = one.grad.clone()
        if step == 2:
            together[3].grad = single[3].grad = None  # a matrix without a gradient stays
        for optimizer in found:
            optimizer.step()
    for one, other in zip(together, single, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-5)


def test_momentum_golden() -> None:
    found = [optimizers.momentum(step) for step in (0, 75, 150, 300, 10**6)]
    assert found == pytest.approx([0.85, 0.875, 0.9, 0.95, 0.95])


# Embeddings to begin with ------------------------------------------------------------------------


def paired_text(tokens: int, seed: int) -> npt.NDArray[np.int64]:
    """Ids 1 to 20 after an even id, 21 to 40 after an odd one, in turn: two kinds of neighbours."""
    rng = np.random.default_rng(seed)
    kinds = rng.integers(0, 2, tokens // 4)
    low = 1 + 20 * kinds[:, None]
    return (low + rng.integers(0, 20, (tokens // 4, 4))).reshape(-1)


def test_ids_with_the_same_neighbours_begin_alike() -> None:
    ids = paired_text(20_000, 1)
    table = spectral.embeddings(ids, 64, 16, 0.02, seed=3)
    assert table.shape == (64, 16)
    assert table.dtype == torch.float32
    assert float(table[1:41].square().mean().sqrt()) == pytest.approx(0.02, rel=1e-4)
    unit = torch.nn.functional.normalize(table[1:41], dim=1)
    likeness = unit @ unit.T
    same = likeness[:20, :20].mean() + likeness[20:, 20:].mean()
    assert same > 2 * likeness[:20, 20:].mean() + 0.5
    assert bool((table[41:] != 0).all())  # never seen: random rows
    assert torch.equal(table, spectral.embeddings(ids, 64, 16, 0.02, seed=3))
    assert not torch.equal(table, spectral.embeddings(ids, 64, 16, 0.02, seed=4))


@settings(max_examples=20)
@given(st.lists(st.integers(0, 7), max_size=40), st.integers(1, 12))
def test_any_text_gives_embeddings(ids: list[int], width: int) -> None:
    table = spectral.embeddings(np.array(ids, np.int64), 8, width, 0.02, seed=1)
    assert table.shape == (8, width)
    assert bool(torch.isfinite(table).all())


def test_association_by_hand() -> None:
    found = spectral.association(np.array([0, 1, 0, 1, 2]), 4).to_dense().numpy()
    # Pairs one apart: 01 three times, 12 once; two apart, counted half: 00, 11, 02, in both orders.
    counts = np.array([[1, 3, 0.5], [3, 1, 1], [0.5, 1, 0]])
    share = counts.sum(1) / counts.sum()
    smooth = share**0.75 / (share**0.75).sum()
    each = np.sqrt(share * smooth)
    expected = np.log(np.where(counts, counts / counts.sum() / each[:, None] / each, 1))
    assert found[:3, :3] == pytest.approx(np.maximum(expected, 0), abs=1e-6)
    assert np.array_equal(found, found.T)
    assert not found[3].any()


def chain_text(ids: int, tokens: int, seed: int) -> npt.NDArray[np.int64]:
    """Text in which every id has four others that may follow."""
    rng = np.random.default_rng(seed)
    follows, text = rng.integers(0, ids, (ids, 4)), np.zeros(tokens, np.int64)
    for place, choice in enumerate(rng.integers(0, 4, tokens - 1)):
        text[place + 1] = follows[text[place], choice]
    return text


def repeated_loss(model: Any, period: int, ids: int) -> tuple[float, float]:
    """Mean nats of random ids and of the same ids read a second time."""
    once = torch.randint(0, ids, (8, period), generator=torch.Generator().manual_seed(1))
    text = torch.cat([once, once], 1)
    with torch.no_grad():
        logits = model(input_ids=text).logits[:, :-1]
    nats = F.cross_entropy(logits.flatten(0, 1), text[:, 1:].flatten(), reduction="none").view(
        8, -1
    )
    return float(nats[:, : period - 1].mean()), float(nats[:, period:].mean())


@pytest.mark.parametrize("name", ["modern-tiny", "modern-small"])
def test_a_model_begins_with_a_head_that_copies(name: str) -> None:
    text = chain_text(500, 40_000, 1)
    counts = torch.from_numpy(np.bincount(text, minlength=512))
    model = models.build(Train(name="x", model=name, tokens=1), 512, 0, 1)
    table = model.get_input_embeddings().weight
    with torch.no_grad():
        table.copy_(spectral.embeddings(text, 512, table.size(1), 0.02, 1))
    before = repeated_loss(model, 100, 500)
    assert before[1] == pytest.approx(before[0], abs=0.05)  # what is new has nothing to copy with
    induction.begin(model, counts, model.config.max_position_embeddings)
    first, second = repeated_loss(model, 100, 500)
    assert second < before[1] - 0.3
    assert first < before[0] + 0.2
    assert all(bool(torch.isfinite(p).all()) for p in model.parameters())


@pytest.mark.parametrize("vocabulary", [8, 40])
def test_fewer_ids_than_axes_begin_too(vocabulary: int) -> None:
    arm = Train(name="x", model="modern-tiny", tokens=1)
    model = models.build(arm, vocabulary, 0, 1)
    table, text = model.get_input_embeddings().weight, np.array([1, 2, 3] * 9, np.int64)
    with torch.no_grad():
        table.copy_(spectral.embeddings(text, vocabulary, table.size(1), 0.02, 1))
    induction.begin(model, torch.from_numpy(np.bincount(text, minlength=vocabulary)), 256)
    assert all(bool(torch.isfinite(p).all()) for p in model.parameters())
    assert all(math.isfinite(nats) for nats in repeated_loss(model, 20, vocabulary))


def test_axes_for_matching_are_hardly_turned() -> None:
    axes = induction.slow_axes(64, 1e6, 1024)
    angles = 1024 * 1e6 ** (-2 * (axes % 32).double() / 64)
    assert float(angles.max()) <= 1
    assert axes[:2].tolist() == [63, 31]  # the slowest pair
    assert len(set(axes.tolist())) == len(axes) == 30
    assert len(induction.slow_axes(4, 10_000.0, 1024)) == 0  # the slower turns 10 radians


@pytest.mark.parametrize(
    "different",
    [
        {"layer_types": ["full_attention", "conv"]},
        {"layer_types": ["conv", "conv"]},
        {"conv_L_cache": 2},
        {"tie_word_embeddings": False},
        {"num_attention_heads": 8, "num_key_value_heads": 8},  # 16 wide each
        {"rope_parameters": {"rope_type": "linear", "factor": 2.0, "rope_theta": 1e6}},
        {},
    ],
)
def test_a_model_that_cannot_have_the_head_is_left_as_it_was(different: dict[str, Any]) -> None:
    shape = {
        "vocab_size": 64, "hidden_size": 128, "intermediate_size": 64, "num_hidden_layers": 2,
        "num_attention_heads": 2, "num_key_value_heads": 2, "tie_word_embeddings": True,
        "layer_types": ["conv", "full_attention"],
    }  # fmt: skip
    config = Lfm2Config(**(shape | different))
    model = Lfm2ForCausalLM(config)
    was = {name: p.clone() for name, p in model.named_parameters()}
    induction.begin(model, torch.ones(64), 256)
    same = [torch.equal(p, was[name]) for name, p in model.named_parameters()]
    assert all(same) if different else not all(same)


def test_heads_that_share_keys_begin_too() -> None:
    text = chain_text(500, 40_000, 1)
    model = Lfm2ForCausalLM(
        Lfm2Config(
            vocab_size=512,
            hidden_size=128,
            intermediate_size=256,
            num_hidden_layers=2,
            num_attention_heads=2,
            num_key_value_heads=1,
            layer_types=["conv", "full_attention"],
            tie_word_embeddings=True,
            block_auto_adjust_ff_dim=False,
        )
    ).eval()
    table = model.get_input_embeddings().weight
    with torch.no_grad():
        table.copy_(spectral.embeddings(text, 512, 128, 0.02, 1))
    before = repeated_loss(model, 100, 500)
    induction.begin(model, torch.from_numpy(np.bincount(text, minlength=512)), 256)
    assert repeated_loss(model, 100, 500)[1] < before[1] - 0.3
