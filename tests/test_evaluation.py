"""The evaluation: losses against an independent recomputation, spans, samples, stage."""

import dataclasses
import json
import math
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import AutoModelForCausalLM, PreTrainedTokenizerFast

from domainlm.artifacts import Run
from domainlm.corpus import documents
from domainlm.corpus.documents import Section
from domainlm.errors import DomainLMError
from domainlm.evaluation import baselines, loss, models, samples, score, spans, stage, tables
from domainlm.evaluation.evidence import Evidence, load
from evaluation_helpers import KINDS, TOPICS, filings, make_run, prose, relabelled, tiny

pytestmark = pytest.mark.usefixtures("one_thread")
TEXTS = (
    "we may increase revenue in the year " * 30,
    "short",
    prose("a", 90),
    "Zürich – 東京 😀\n\n\t naïve " * 12,
)


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("models")
    return {kind: tiny(kind, root / kind, seed=4) for kind in KINDS}


def naive_nats(folder: Path, text: str, window: int, stride: int) -> float:
    """Bits of Hugging Face's own recipe: one forward a window, one token at a time, no batch."""
    tokenizer = PreTrainedTokenizerFast(tokenizer_file=str(folder / "tokenizer.json"))
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    sequence = [0, *tokenizer(text, add_special_tokens=False)["input_ids"]]
    total, begin, done = 0.0, 0, 1
    while done < len(sequence):
        end = min(begin + window, len(sequence) - 1)
        first = max(0, end - window)
        inputs = sequence[first:end]
        with torch.no_grad():
            logits = model(torch.tensor([inputs])).logits[0].double()
        for position in range(len(inputs)):
            target = first + position + 1
            if target >= done:
                total -= torch.log_softmax(logits[position], 0)[sequence[target]].item()
        done = end + 1
        begin += stride
    return total


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.slow
def test_nats_equal_an_independent_recomputation(folders: dict[str, Path], kind: str) -> None:
    model, tokenizer, separator = models.load(folders[kind])
    model = model.float()
    for window, stride in ((64, 32), (32, 32), (48, 7)):
        found = loss.nats(model, tokenizer, TEXTS, window, stride, separator, 3)
        for text, (tokens, nats) in zip(TEXTS, found, strict=True):
            expected = naive_nats(folders[kind], text, window, stride)
            assert nats == pytest.approx(expected, rel=1e-5)
            assert tokens == len(tokenizer.encode(text).ids)


@pytest.mark.parametrize("kind", ["gpt2", "nanochat"])
def test_batch_and_chunk_sizes_do_not_matter(
    folders: dict[str, Path], kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, tokenizer, separator = models.load(folders[kind])
    model = model.float()
    one = loss.nats(model, tokenizer, TEXTS, 64, 32, separator, 1)
    monkeypatch.setattr(loss, "CHUNK", 5)
    shares: list[float] = []
    many = loss.token_nats(model, tokenizer, TEXTS, 64, 32, separator, 50, shares.append)
    assert [row.sum() for row in many] == pytest.approx([n for _, n in one], rel=1e-4 / 10)
    assert shares[-1] == 1.0


@given(st.integers(0, 300), st.integers(1, 80), st.data())
def test_every_token_is_scored_once(tokens: int, window: int, data: st.DataObject) -> None:
    stride = data.draw(st.integers(1, window))
    seen: list[int] = []
    for w in loss.windows(tokens, window, stride):
        assert w.end - w.begin == min(window, tokens)
        assert w.begin <= w.first < w.end
        assert w.begin == 0 or w.first - w.begin >= window - stride  # context of a scored token
        seen += range(w.first, w.end)
    assert seen == list(range(tokens))


def test_stride_must_fit_the_window() -> None:
    with pytest.raises(ValueError, match="stride 9"):
        list(loss.windows(10, 8, 9))


def test_a_literal_separator_is_text(folders: dict[str, Path]) -> None:
    model, tokenizer, separator = models.load(folders["gpt2"])
    text = "before <|endoftext|> after"
    ids = loss.encode(tokenizer, text)
    assert separator == 0
    assert separator not in ids
    assert len(ids) > 10
    (tokens, nats), *_ = loss.nats(model, tokenizer, [text, ""], 64, 32, separator, 2)
    assert tokens == len(ids)
    assert nats > 0


def test_separator_falls_back_to_the_configuration(tmp_path: Path) -> None:
    vocab = {"model": {"vocab": {"a": 0, "b": 1}}, "added_tokens": []}
    (tmp_path / "tokenizer.json").write_text(json.dumps(vocab))
    (tmp_path / "config.json").write_text('{"eos_token_id": [1, 0], "bos_token_id": 0}')
    assert models.separator_id(tmp_path) == 0
    (tmp_path / "config.json").write_text('{"eos_token_id": [1, 0], "bos_token_id": null}')
    assert models.separator_id(tmp_path) == 1
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(DomainLMError, match="no token that separates"):
        models.separator_id(tmp_path)


def test_damaged_weights_are_an_error(folders: dict[str, Path], tmp_path: Path) -> None:
    model, tokenizer, separator = models.load(folders["qwen3"])
    with torch.no_grad():
        model.model.norm.weight.fill_(float("nan"))
    with pytest.raises(DomainLMError, match="the loss of a text is nan"):
        loss.nats(model, tokenizer, ["some text"], 64, 32, separator, 1)
    with pytest.raises(DomainLMError, match="not finite"):
        sample(model, tokenizer, "we may")
    with pytest.raises(DomainLMError, match="cannot be loaded"):
        models.load(tmp_path)


def test_a_tokenizer_of_another_model_is_an_error(folders: dict[str, Path]) -> None:
    model, tokenizer, separator = models.load(folders["gpt2"])
    model.resize_token_embeddings(50)
    with pytest.raises(DomainLMError, match="do not belong together"):
        loss.nats(model, tokenizer, ["some text"], 64, 32, separator, 1)


def test_a_lossy_tokenizer_is_an_error(folders: dict[str, Path]) -> None:
    from tokenizers import normalizers

    tokenizer = models.plain_tokenizer(folders["gpt2"])
    tokenizer.normalizer = normalizers.Lowercase()
    with pytest.raises(DomainLMError, match="character 5"):
        loss.encode(tokenizer, "some Text")


@given(st.text(min_size=1), st.integers(1, 40), st.integers(0, 10**9))
def test_a_cut_is_on_characters_and_within_its_bytes(text: str, size: int, place: int) -> None:
    start, piece = spans.cut(text, size, place)
    assert text[start : start + len(piece)] == piece
    whole = len(text.encode())
    assert len(piece.encode()) <= (size if whole > size else whole)
    assert len(piece.encode()) >= min(whole, size) - 6  # at most half a character at each end
    assert spans.cut(text, 0, place) == (0, text)


def test_spans_are_spread_over_groups_and_stable(tmp_path: Path) -> None:
    few, many = filings("unseen", 3), filings("unseen", 1, 9)
    rows = [*filings("train", 2), *few, *(d for d in many if d.id != "unseen-0-0")]
    paths = [tmp_path / "documents-0.parquet", tmp_path / "documents-1.parquet"]
    documents.write(paths[0], rows[:4])
    documents.write(paths[1], rows[4:])
    chosen = spans.choose(paths, "unseen", 3, 500, 1)
    assert {s.group for s in chosen} == {"unseen-0", "unseen-1", "unseen-2"}
    texts = {d.id: d.text for d in rows}
    for span in chosen:
        assert texts[span.document][span.start : span.start + len(span.text)] == span.text
        assert span.bytes == len(span.text.encode()) <= 500
    assert spans.choose(paths[::-1], "unseen", 3, 500, 1) == chosen
    assert spans.choose(paths, "unseen", 9, 500, 1)[:3] == chosen
    assert spans.choose(paths, "unseen", 3, 500, 2) != chosen
    assert spans.choose(paths, "seen", 3, 500, 1) == []
    spans.write_spans(tmp_path / "spans.parquet", chosen)
    assert spans.read_spans(tmp_path / "spans.parquet") == chosen
    assert spans.held_out_sha256(chosen) != spans.held_out_sha256(chosen[:2])
    assert len(spans.primer(paths, 1000, 1)) == 1000
    assert 3000 < len(spans.primer(paths, 10**7, 1)) < 20_000  # there is no more


def test_a_span_is_of_the_section_that_most_of_it_lies_in(tmp_path: Path) -> None:
    sections = [Section("a", 0, 40), Section("b", 40, 100, ("suspicious_size",))]
    sections += [Section("c", 100, 200), Section("d", 200, 200, ("not_found",))]
    found = [spans.section_of(sections, *ends) for ends in ((0, 40), (20, 61), (19, 59), (30, 90))]
    assert found == ["a", "", "a", ""]
    assert [spans.section_of(sections, *ends) for ends in ((80, 121), (80, 120))] == ["c", ""]
    assert spans.section_of([], 0, 10) == ""

    rows = filings("unseen", 5)
    documents.write(tmp_path / "d.parquet", rows)
    texts = {d.id: d for d in rows}
    chosen = spans.choose([tmp_path / "d.parquet"], "unseen", 5, 500, 1)
    assert {s.section for s in chosen} <= {"", *TOPICS}
    for span in chosen:
        held = {s.label: range(s.start, s.end) for s in texts[span.document].sections}
        inside = [n in held[span.section] for n in range(span.start, span.start + len(span.text))]
        assert sum(inside) * 2 > len(inside)
    plain = [dataclasses.replace(s, section="") for s in chosen]
    assert spans.held_out_sha256(plain) == spans.held_out_sha256(chosen)  # runs stay comparable


def slice_rows(*rows: tuple[str, str, str, int, float]) -> dict[str, list[dict[str, Any]]]:
    """Rows of `documents.parquet` by model, of (model, section, group, bytes, bits)."""
    table: dict[str, list[dict[str, Any]]] = {}
    for number, (model, section, group, size, bits) in enumerate(rows):
        span = spans.Span(f"d{number}", group, "unseen", "t", 0, "x", size, section)
        row = tables.compressed_row(model, span, bits * math.log(2))
        table.setdefault(model, []).append(row)
    return table


def test_slices_by_hand() -> None:
    table = slice_rows(
        ("stock", "Item 9A", "a", 10, 10.0), ("stock", "Item 9A", "a", 10, 10.0),
        ("stock", "Item 9A", "b", 10, 30.0), ("stock", "Item 9A", "b", 10, 30.0),
        ("stock", "Item 9A", "c", 10, 5.0),
        *(("stock", "Item 10", "a", 10, 20.0) for _ in range(5)),
        *(("stock", "Item 7", str(n), 10, 20.0) for n in range(4)),  # too few
        *(("stock", "", str(n), 10, 20.0) for n in range(9)),  # in no section
    )  # fmt: skip
    first, second = tables.slices("unseen", table, [])[0]
    assert (first.by, first.value, second.value) == ("section", "Item 9A", "Item 10")
    assert (first.model, first.split) == ("stock", "unseen")
    assert first.bits_per_byte == pytest.approx(85 / 50)
    assert (first.documents, first.groups, first.bytes) == (5, 3, 50)
    assert first.ci95 == pytest.approx((0.5, 3.0))  # all draws of c, or all of b
    assert second.bits_per_byte == pytest.approx(2.0)
    assert second.ci95 is None  # one group


@settings(max_examples=25)
@given(
    st.lists(st.tuples(st.sampled_from("abc"), st.integers(0, 9), st.integers(1, 99)), min_size=1)
)
def test_slices_add_up_to_the_losses(drawn: list[tuple[str, int, int]]) -> None:
    spread = [(section, f"g{group}", size, size * 1.5 + group) for section, group, size in drawn]
    table = slice_rows(*(("m", *row) for row in spread for _ in range(tables.SLICE_DOCUMENTS)))
    whole = tables.loss("m", "unseen", table["m"])
    found = tables.slices("unseen", table, [])[0]
    assert [s.value for s in found] == sorted({section for section, *_ in drawn})
    assert sum(s.bytes for s in found) == whole.bytes
    assert sum(s.documents for s in found) == whole.documents
    assert sum(s.bits_per_byte * s.bytes for s in found) == pytest.approx(
        whole.bits_per_byte * whole.bytes
    )


def sample(model: Any, tokenizer: Any, prompt: str, **changes: Any) -> str:
    given_ = {"identity": prompt, "tokens": 30, "temperature": 0.8, "context": 64}
    seeds = [changes.pop("seed", 1)]
    return samples.continue_text(
        model, tokenizer, prompt, separator=0, special={0}, seeds=seeds, **given_ | changes
    )[0]


def test_samples_depend_on_prompt_and_seed_alone(folders: dict[str, Path]) -> None:
    model, tokenizer, _ = models.load(folders["qwen3"])
    first = [sample(model, tokenizer, p) for p in ("we may", "the company")]
    again = [sample(model, tokenizer, p) for p in ("the company", "we may")]
    assert first == again[::-1]
    assert sample(model, tokenizer, "we may", seed=2) != first[0]
    assert sample(model, tokenizer, "we may", identity="other") != first[0]
    long = sample(model, tokenizer, prose("p", 80), tokens=100, context=32)  # beyond its context
    assert len(tokenizer.encode(long).ids) > 40


def test_cached_sampling_equals_sampling_without_a_cache(folders: dict[str, Path]) -> None:
    model, tokenizer, _ = models.load(folders["gpt2"])
    found = sample(model, tokenizer, "we may", tokens=12)
    rng = np.random.default_rng(spans.hashed("sample", "we may", 1))
    ids = [0, *tokenizer.encode("we may").ids]
    start = len(ids)
    for _ in range(12):
        logits = model(torch.tensor([ids])).logits[0, -1].double()
        logits[0] = -math.inf
        share = torch.softmax(logits / 0.8, 0).cumsum(0)
        ids.append(int(torch.searchsorted(share, rng.random(), right=True)))
    assert found == tokenizer.decode(ids[start:]).rstrip("\ufffd")


def test_the_separator_is_never_drawn() -> None:
    logits = np.array([50.0, 1.0, 1.0, 40.0])
    forbidden = np.array([True, False, False, True])
    drawn = {samples.draw(logits, forbidden, 0.8, n / 100) for n in range(100)}
    assert drawn == {1, 2}
    assert samples.draw(logits, forbidden, 0.8, 1.0) == 2


def carry_out(run: Run) -> Evidence:
    """Run every task of the stage, in order, here."""
    for wave in stage.waves(run):
        for task in wave:
            missing = [p for p in task.inputs if not (run.root / p).is_file()]
            assert not missing
            assert str(run.root) not in json.dumps(task.arguments)
            task.function(run.root, json.loads(json.dumps(task.arguments)))
            assert all((run.root / p).is_file() for p in task.outputs)
    return load(run.root)


@pytest.mark.slow
def test_stage_end_to_end(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run")
    for path in documents.paths(run.root):
        rows = list(documents.read([path]))
        documents.write(
            path,
            relabelled(
                rows, lambda d, s: dataclasses.replace(s, label="Text") if d.split == "seen" else s
            ),
        )
    found = carry_out(run)
    names = ["stock", "scratch", "continued", *baselines.NAMES]
    assert list(found.models) == names
    assert found.models["stock"].title == "Tiny Llama"
    assert found.models["scratch"].window == 64
    assert {(r.model, r.split) for r in found.loss} == {
        (m, s) for m in names for s in ("seen", "unseen")
    }
    assert any("invented" in n for n in found.notices)
    assert "Only 6 groups were scored: read “95 %” as about 84 %." in found.notices
    assert found.cost[0].model == "scratch"
    assert [p.step for p in found.curves] == [1, 1]
    features = [p.features for p in found.probe]
    assert features == ["TF-IDF", "majority", "stock", "scratch", "continued"]

    table = pq.read_table(run.root / "evaluation/documents.parquet").to_pylist()
    for row in found.loss:  # recomputed from the file alone
        mine = [t for t in table if (t["model"], t["split"]) == (row.model, row.split)]
        assert row.nats == pytest.approx(sum(t["nats"] for t in mine))
        assert row.bytes == sum(t["bytes"] for t in mine)
        assert row.bits_per_byte == pytest.approx(row.nats / math.log(2) / row.bytes)
        assert row.ci95[0] <= row.bits_per_byte <= row.ci95[1]
    pairs = [(g.a, g.b) for g in found.gaps if g.split == "unseen"]
    assert pairs[:3] == [("scratch", "stock"), ("continued", "stock"), ("continued", "scratch")]
    assert len(pairs) == 3 + 2 * 3
    by = {(r.model, r.split): r.bits_per_byte for r in found.loss}
    for gap in found.gaps:
        assert gap.bits_per_byte == pytest.approx(by[gap.a, gap.split] - by[gap.b, gap.split])

    cut = [s for s in found.slices if s.by == "section"]
    assert [(s.model, s.split, s.value) for s in cut] == [(name, "seen", "Text") for name in names]
    for row in cut:  # they are all there is, so they are the losses again
        whole = next(r for r in found.loss if (r.model, r.split) == (row.model, row.split))
        assert (row.bits_per_byte, row.ci95) == (whole.bits_per_byte, whole.ci95)
        assert (row.documents, row.groups, row.bytes) == (6, 6, whole.bytes)
    assert {t["section"] for t in table if t["split"] == "seen"} == {"Text"}

    written = list(tables.read_lines(run.root / "evaluation/samples.jsonl"))
    assert len(written) == 3 * 2 * 3  # models, prompts, seeds
    assert all(row["text"] and row["model_sha256"] for row in written)

    files = [run.root / "evaluation" / f for f in ("evidence.json", "documents.parquet")]
    before = [f.read_bytes() for f in files]
    carry_out(run)
    assert [f.read_bytes() for f in files] == before


@pytest.mark.slow
def test_losses_in_tasks_of_a_few_spans_are_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = []
    for step in (5, 100):
        monkeypatch.setattr(score, "STEP", step)
        run = make_run(tmp_path / f"run-{step}")
        carry_out(run)
        assert len(list(run.root.glob("evaluation/parts/scratch.losses-*"))) == -(-12 // step)
        table = pq.read_table(run.root / "evaluation/documents.parquet").to_pylist()
        found.append([(t["model"], t["document"], t["nats"]) for t in table])
    few, whole = found
    assert [row[:2] for row in few] == [row[:2] for row in whole]
    assert [row[2] for row in few] == pytest.approx([row[2] for row in whole], rel=1e-5)


def test_stage_without_stock_and_unseen(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", stock=False, passages=0, also=["retrieval"])
    documents.write(run.root / "corpus/documents-00000.parquet", filings("train", 3))
    documents.write(run.root / "corpus/documents-00001.parquet", filings("seen", 1))
    found = carry_out(run)
    assert list(found.models) == ["scratch", *baselines.NAMES]  # continued needs the stock model
    notices = " ".join(found.notices)
    for words in (
        "No stock model",
        "continued was not trained",
        "never trained on",
        "Only one group was scored: there are no intervals.",
    ):
        assert words in notices
    assert found.retrieval == []
    assert "No retrieval" in found.notes["retrieval"]
    assert found.probe == []
    assert "not asked for" in found.probe_note


def test_stage_needs_text_to_measure_on(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", stock=False)
    documents.write(run.root / "corpus/documents-00000.parquet", filings("train", 3))
    documents.write(run.root / "corpus/documents-00001.parquet", filings("unused", 1))
    with pytest.raises(DomainLMError, match="no held-out text"):
        carry_out(run)
    documents.write(run.root / "corpus/documents-00001.parquet", filings("validation", 2))
    assert {row.split for row in carry_out(run).loss} == {"validation"}


def test_a_changed_stock_model_is_an_error(tmp_path: Path) -> None:
    folder = tiny("gpt2", tmp_path / "model")
    with pytest.raises(DomainLMError, match="not the one this run began with"):
        models.held(tmp_path, {"name": "stock", "stock": str(folder), "sha256": "0" * 64})


def test_the_stage_loads_no_torch() -> None:
    code = "import sys, domainlm.evaluation.stage; print([m for m in ('torch', 'transformers',"
    code += " 'sklearn') if m in sys.modules])"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True, text=True)
    assert found.stdout.strip() == "[]"
