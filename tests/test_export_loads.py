"""An export of every family of presets loads in plain transformers, as docs/loading.md says."""

import dataclasses
import json
import threading
from pathlib import Path

import pytest
import torch

from domainlm.recipe import Train
from domainlm.training import models, presets
from domainlm.training.export import export
from domainlm.training.step import Passes, Stepper
from training_helpers import SEPARATOR, VOCABULARY, write_tokens

SMALLEST = {p.family: name for name, p in reversed(presets.PRESETS.items())}


@pytest.mark.parametrize("name", SMALLEST.values())
def test_an_export_has_the_logits_of_the_model_that_was_trained(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    preset = presets.PRESETS[name]
    few = min(3, preset.layers)  # one of each kind
    monkeypatch.setitem(presets.PRESETS, name, dataclasses.replace(preset, layers=few))
    arm = Train(name="scratch", model=name, tokens=1, context=16, batch_tokens=32)
    model = models.build(arm, VOCABULARY, SEPARATOR, seed=3)
    stepper = Stepper(model, presets.settings(arm, 16), Passes(16, 2, 2, "fp32"))
    windows = torch.arange(2 * 17).view(2, 17) % VOCABULARY
    before = model.get_output_embeddings().weight.clone()
    stepper.step(windows[:, :-1], windows[:, 1:], 1e-3, 0.9, threading.Event())
    assert not torch.equal(model.get_output_embeddings().weight, before)

    write_tokens(tmp_path / "tokens")
    export(model, tmp_path / "model", tmp_path / "tokens", SEPARATOR, torch.float32, {})
    loaded = AutoModelForCausalLM.from_pretrained(tmp_path / "model", local_files_only=True)
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "model", local_files_only=True)
    assert type(loaded) is type(model) and tokenizer.eos_token_id == SEPARATOR
    config = json.loads((tmp_path / "model" / "config.json").read_text())
    asked = {"gpt2": ["n_ctx"], "lfm2": ["conv_dim", "block_dim"]}  # by llama.cpp and vLLM
    assert all(config[key] for key in asked.get(config["model_type"], []))
    assert loaded.config._attn_implementation == "sdpa"  # and not what training uses
    ids = tokenizer("what it was", return_tensors="pt")["input_ids"]
    with torch.no_grad():
        torch.testing.assert_close(loaded.eval()(ids).logits, model.eval()(ids).logits)
