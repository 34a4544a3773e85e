"""Quality by cost: what a snapshot holds, and where a line passes the stock model."""

import json
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import save_file

from domainlm.artifacts import write_json
from domainlm.errors import DomainLMError
from domainlm.evaluation import assemble, evidence, guests, models, quality
from domainlm.pretrained import SMOLLM2, Pretrained, locate, pretraining_flops, weights_hash
from domainlm.training.loop import halvings
from evaluation_helpers import tiny


def point(model: str, cost: float, bits: float, split: str = "unseen") -> evidence.Quality:
    return evidence.Quality(
        model=model, split=split, step=1, tokens=1, flops=cost, seconds=cost / 2, kwh=None,
        money=None, bits_per_byte=bits, ci95=(bits, bits), documents=1, groups=1, bytes=1,
    )  # fmt: skip


def test_a_crossing_is_read_off_in_the_logarithm_of_cost() -> None:
    line = [point("a", 1e3, 3.0), point("a", 1e5, 1.0), point("a", 1e6, 0.9)]
    by_flops, by_seconds = quality.crossings(line, {"unseen": 2.0})
    assert (by_flops.by, by_flops.at, by_flops.budget) == ("flops", pytest.approx(1e4), 1e6)
    assert by_seconds.at == pytest.approx(5e3)  # kWh and money are not known: no rows
    (never, _) = quality.crossings(line, {"unseen": 0.5})
    assert (never.at, never.level) == (None, 0.5)
    (at_once, _) = quality.crossings(line, {"unseen": 3.5})
    assert at_once.at == pytest.approx(1e3)
    assert not list(quality.crossings(line, {"seen": 2.0}))


@given(st.lists(st.floats(0.5, 9), min_size=2, max_size=6), st.floats(0.4, 9.5))
def test_a_crossing_lies_on_the_line(bits: list[float], level: float) -> None:
    line = [point("a", 10.0**n, b) for n, b in enumerate(bits)]
    found = next(iter(quality.crossings(line, {"unseen": level})))
    if min(bits) > level:
        assert found.at is None
    else:
        assert found.at is not None
        assert 1 - 1e-9 <= found.at <= 10.0 ** (len(bits) - 1) * (1 + 1e-9)


def test_a_snapshot_is_the_weights_and_what_they_took(tmp_path: Path) -> None:
    first, _, _ = models.load(tiny("gpt2", tmp_path / "first", seed=1))
    second, _, _ = models.load(tiny("gpt2", tmp_path / "second", seed=2))
    path = tmp_path / "1.safetensors"
    facts = {"step": 4, "tokens": 64, "seconds": 1.5, "kwh": None}
    weights = {name: w.clone() for name, w in first.named_parameters()}
    save_file(weights, path, {"facts": json.dumps(facts)})
    assert quality.facts(path) == facts
    inputs = torch.tensor([[1, 2, 3]])
    assert not torch.equal(first(inputs).logits, second(inputs).logits)
    quality.load(second, path)
    assert torch.equal(first(inputs).logits, second(inputs).logits)  # the tied head too
    other, _, _ = models.load(tiny("qwen3", tmp_path / "other"))
    with pytest.raises(ValueError, match="not the weights of this model"):
        quality.load(other, path)


@given(st.integers(1, 10_000), st.integers(0, 8))
def test_halvings(steps: int, count: int) -> None:
    found = halvings(steps, count)
    places = [(step, place) for step, all_ in sorted(found.items()) for place in all_]
    assert [place for _, place in places] == list(range(count))
    assert all(1 <= step <= max(1, steps // 2) for step, _ in places)


# Guests ------------------------------------------------------------------------------------------


def test_a_guest_takes_the_place_of_its_name_alone(tmp_path: Path) -> None:
    folder = tiny("gpt2", tmp_path / "a model")
    (tmp_path / "run" / "evaluation").mkdir(parents=True)
    model = Pretrained("somebody/a model", "A Model", folder, weights_hash(folder))
    first = guests.add(tmp_path / "run", model, None, {"stock"})
    guests.add(tmp_path / "run", model, "other", {"stock"})
    assert first.name == "a-model"
    again = guests.add(tmp_path / "run", model, "a-model", {"stock"})
    assert [g.name for g in guests.read(tmp_path / "run")] == ["other", "a-model"]
    assert again.title == "a-model: A Model"
    with pytest.raises(DomainLMError, match="cannot be called"):
        guests.add(tmp_path / "run", model, "../x", {"stock"})


def test_what_a_guest_has_read_is_known_from_its_own_run_alone(tmp_path: Path) -> None:
    def run(name: str, held_out: str) -> Path:
        write_json(tmp_path / name / guests.EVIDENCE, {"held_out_sha256": held_out})
        return tmp_path / name

    def model(folder: Path) -> Pretrained:
        return Pretrained(str(folder), folder.name, folder, weights_hash(folder), ("tiny",))

    here, same, other = run("here", "a" * 64), run("same", "a" * 64), run("other", "b" * 64)
    folders = [tiny("gpt2", root / "models" / "arm") for root in (same, other)]
    assert guests.add(here, model(folders[0]), "one", set()).notes == ("tiny",)
    with pytest.raises(DomainLMError, match="held out other text"):
        guests.add(here, model(folders[1]), "two", set())
    moved = folders[1].rename(tmp_path / "moved")
    assert guests.add(here, model(moved), "two", set()).notes == ("tiny", guests.UNKNOWN)
    assert guests.read(here)[-1].notes[-1] == guests.UNKNOWN


def test_pretraining_is_told_where_it_is_published(tmp_path: Path) -> None:
    assert pretraining_flops(SMOLLM2, 135_000_000) == pytest.approx(1.62e21)
    assert pretraining_flops("openai-community/gpt2", 124_000_000) is None
    assert pretraining_flops(str(tmp_path), 9) is None
    assert pretraining_flops(SMOLLM2, None) is None
    rows = {n: evidence.Model(role="stock", title="", source=n, parameters=10) for n in
            (SMOLLM2, "models/arm")}  # fmt: skip
    found = assemble._pretrained(rows)
    assert [m.pretraining_flops for m in found.values()] == [1.2e14, None]


def test_a_file_that_is_no_gguf_is_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DOMAINLM_CACHE", str(tmp_path / "cache"))
    (tmp_path / "bad.gguf").write_bytes(b"not a model")
    with pytest.raises(DomainLMError, match="a GGUF file cannot be read"):
        locate(str(tmp_path / "bad.gguf"))
