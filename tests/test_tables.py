"""Kinds of bytes, slices with adjusted p values, other windows, seeds and gates."""

import dataclasses
import datetime
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer, decoders, normalizers
from tokenizers import models as tokenizer_models

from domainlm.artifacts import write_json
from domainlm.corpus import audit, documents
from domainlm.corpus.documents import Document
from domainlm.errors import DomainLMError
from domainlm.evaluation import (
    assemble,
    baselines,
    deep,
    evidence,
    kinds,
    loss,
    models,
    score,
    spans,
    statistics,
    surprisal,
    tables,
)
from domainlm.evaluation.kinds import KINDS
from domainlm.recipe import Gate
from evaluation_helpers import make_run, prose, tiny

TEXT = st.text(st.characters(codec="utf-8"), max_size=60)

# Kinds of bytes ----------------------------------------------------------------------------------


def test_kinds_by_hand() -> None:
    text = "Net loss: $1,234.5 (8 %)\né_x3"
    names = [KINDS[n] for n in kinds.kinds(text)]
    pieces = [("Net", "word"), (" ", "space"), ("loss", "word"), (":", "punctuation"),
              (" ", "space"), ("$", "punctuation"), ("1,234.5", "number"), (" ", "space"),
              ("(", "punctuation"), ("8", "number"), (" ", "space"), ("%)", "punctuation"),
              ("\n", "space"), ("é", "word"), ("_", "punctuation"), ("x", "word"),
              ("3", "number")]  # fmt: skip
    assert "".join(piece for piece, _ in pieces) == text
    assert names == [kind for piece, kind in pieces for _ in piece.encode()]


@given(TEXT)
def test_every_byte_has_a_kind(text: str) -> None:
    assert len(kinds.kinds(text)) == len(text.encode())


@given(TEXT, st.data())
def test_nats_by_kind_lose_nothing(text: str, data: st.DataObject) -> None:
    size = len(text.encode())
    inner = data.draw(st.lists(st.integers(0, size), max_size=8).map(sorted))
    ends = [*inner, size] if size else []
    nats = np.array(data.draw(st.lists(st.floats(0, 9), min_size=len(ends), max_size=len(ends))))
    found = kinds.nats_by_kind(text, ends, nats)
    assert sum(n for _, n in found.values()) == size
    if ends and ends[0] > 0:
        assert sum(cost for cost, _ in found.values()) == pytest.approx(float(nats.sum()))


def test_a_token_over_two_kinds_is_shared_by_bytes() -> None:
    found = kinds.nats_by_kind("ab 12", [3, 5], np.array([3.0, 4.0]))
    assert found == {"word": (2.0, 2), "number": (4.0, 2), "punctuation": (0.0, 0),
                     "space": (1.0, 1)}  # fmt: skip


def test_token_ends_of_bytes_and_of_characters() -> None:
    assert kinds.token_ends("aé", ["a", "Ã", "©"], [(0, 1), (1, 2), (1, 2)]) == [1, 2, 3]
    assert kinds.token_ends("a é", ["a", "▁é"], [(0, 1), (1, 3)]) == [1, 4]
    assert kinds.characters("aéb", [1, 2, 3, 4]) == [1, 1, 2, 3]
    with pytest.raises(DomainLMError, match="do not make it up") as raised:
        kinds.token_ends("abc", ["a"], [(0, 1)])
    assert raised.value.why == "the tokens have 1 bytes, the text 3"
    assert raised.value.where == "'abc'" and "byte-level" in raised.value.fix


def test_scoring_with_a_tokenizer_that_miscounts_bytes_stops(tmp_path: Path) -> None:
    """It gives every text back, and has no token for the blank at the end of this one."""
    run = make_run(tmp_path / "run", stock=False, passages=0)
    vocabulary = {sign: n for n, sign in enumerate(["<|endoftext|>", *"an é of 2"])}
    signs = Tokenizer(tokenizer_models.BPE(vocabulary, []))
    signs.normalizer = normalizers.Strip(left=False)
    signs.decoder = decoders.Sequence([decoders.Fuse(), decoders.Replace("2", "2 ")])
    signs.save(str(run.root / "models" / "scratch" / "tokenizer.json"))
    (task, *_) = score.tasks({"name": "scratch", "window": 64}, (), 1)

    def scored(text: str) -> Any:
        span = spans.Span("d", "g", "unseen", "t", 0, text, len(text.encode()), "")
        spans.write_spans(run.root / deep.SPANS, [span])
        return task.function(run.root, task.arguments)

    assert scored("an é of")
    with pytest.raises(DomainLMError, match="do not make it up") as raised:
        scored("an é of 2 ")
    assert raised.value.why == "the tokens have 10 bytes, the text 11"


# Slices, windows, seeds, gates -------------------------------------------------------------------


def row(model: str, number: int, bits: float, **changes: Any) -> dict[str, Any]:
    """A row of `documents.parquet` of ten bytes, half of them words; a group a document."""
    span = spans.Span(f"d{number}", f"g{number}", "unseen", "t", 0, "wordy 1 %!", 10, "", "2022")
    ends, nats = [5, 10], np.array([bits, 0]) * math.log(2)
    return tables.scored_row(model, span, ends, nats.astype(np.float32)) | changes


def test_slice_gaps_are_adjusted_for_their_number() -> None:
    ours = [row("ours", n, 4.0 + n / 9, year="2022" if n < 9 else "2023") for n in range(18)]
    stock = [row("stock", n, 6.0, year=r["year"]) for n, r in enumerate(ours)]
    losses, gaps = tables.slices("unseen", {"ours": ours, "stock": stock}, [("ours", "stock")])
    expected = [("year", "2022"), ("year", "2023"), *(("kind", kind) for kind in KINDS)]
    assert [(g.by, g.value) for g in gaps] == expected
    assert [g.p_holm for g in gaps] == statistics.holm([g.p_value for g in gaps])
    assert all(g.p_holm >= g.p_value for g in gaps)
    early = next(g for g in gaps if g.value == "2022")
    assert early.bits_per_byte == pytest.approx(sum(4 + n / 9 - 6 for n in range(9)) / 90)
    words = [s for s in losses if s.value == "word"]
    assert {s.model for s in words} == {"ours", "stock"}
    assert words[1].bits_per_byte == pytest.approx(6.0 / 5)  # all cost is in five bytes of ten
    assert words[1].bytes == 5 * 18


def test_copying_last_year_is_seen_by_novelty(tmp_path: Path) -> None:
    """PPMd that read the group's last document gains by what of it stands in the next."""
    rows = []
    for n in range(50):
        texts = [prose(f"{year} {n}", 300) for year in (2020, 2021)]
        kept = len(texts[0]) * n // 50
        for year, text, split in zip((2020, 2021), (texts[0], texts[0][:kept] + texts[1][kept:]),
                                     ("train", "seen"), strict=True):  # fmt: skip
            date, name = datetime.date(year, 3, 1), f"{year}-{n}"
            rows.append(Document(name, f"g{n}", date, name, name, "", text, split=split))
    file = "corpus/documents-00000.parquet"
    documents.write(tmp_path / file, rows)
    for wave in audit.waves(tmp_path, [file], 0.5, 1):
        for task in wave:
            task.function(tmp_path, task.arguments)
    deciles = audit.novelty(tmp_path)
    held = [dataclasses.replace(s, novelty=str(deciles[s.document]))
            for s in spans.choose([tmp_path / file], "seen", 99, 0, 1)]  # fmt: skip
    table: dict[str, list[dict[str, Any]]] = {baselines.LAST_YEAR: [], "PPMd": []}
    for span, earlier in zip(held, baselines.previous([tmp_path / file], held), strict=True):
        assert earlier
        for name, mine in table.items():
            (cost,) = baselines.nats(name, [span.text], earlier[1].encode())
            mine.append(tables.compressed_row(name, span, cost))
    losses, gaps = tables.slices("seen", table, [(baselines.LAST_YEAR, "PPMd")])
    gains = [-g.bits_per_byte for g in gaps if g.by == "novelty"]  # least novel first
    assert len(gains) == 10 and gains == sorted(gains, reverse=True)
    assert gains[0] > 2 * gains[-1] > 0
    told = [s.bits_per_byte for s in losses if (s.model, s.by) == (baselines.LAST_YEAR, "novelty")]
    assert told == sorted(told)  # the slices show it by themselves


def test_a_gap_is_of_the_documents_that_both_have() -> None:
    stock = [row("stock", n, 6.0) for n in range(6)]
    few = [row("last year", n, 3.0) for n in (1, 4)]
    found = tables.gap("last year", "stock", "unseen", few, stock)
    assert (found.documents, found.groups, found.wins) == (2, 2, 2)
    assert found.bits_per_byte == pytest.approx(-0.3)
    with pytest.raises(ValueError, match="same bytes"):
        tables.gap("a", "b", "unseen", few, [row("stock", 1, 6.0, bytes=9)])


def test_one_group_has_no_interval() -> None:
    """The bootstrap would give one of no width, which looks like certainty."""
    ours, stock = ([row(m, n, bits + n / 9, group="g") for n in range(5)]
                   for m, bits in (("ours", 5.0), ("stock", 6.0)))  # fmt: skip
    whole, gap = tables.loss("ours", "unseen", ours), tables.gap("a", "b", "unseen", ours, stock)
    losses, gaps = tables.slices("unseen", {"a": ours, "b": stock}, [("a", "b")])
    read = [r | {"window": 64, "stride": 64, "context_bytes": None} for r in ours]
    found = [whole, gap, *tables.windows(read), *losses, *gaps]
    assert len(found) > 9 and {(r.groups, r.ci95) for r in found} == {(1, None)}
    back = evidence.Loss.model_validate_json(whole.model_dump_json())
    assert back == whole and back.ci95 is None
    two = tables.loss("ours", "unseen", [*ours, row("ours", 9, 7.0)])
    assert two.ci95 and two.ci95[0] < two.ci95[1]


def test_windows_keep_what_they_are_apart() -> None:
    rows = [row("m", n, 2.0, window=64, stride=s, context_bytes=c)
            for s, c in ((64, None), (32, 2048)) for n in range(3)]  # fmt: skip
    first, second = tables.windows(rows)
    assert (first.stride, first.context_bytes) == (64, None)
    assert (second.stride, second.context_bytes, second.documents) == (32, 2048, 3)
    assert first.bits_per_byte == pytest.approx(0.2)


def test_spread_of_seeds() -> None:
    losses = [tables.loss(m, "unseen", [row(m, 1, bits)]) for m, bits in (("a", 5), ("b", 7))]
    (found,) = tables.spreads(losses, [["a", "b"]])
    assert found.mean == pytest.approx(0.6)
    assert found.sd == pytest.approx(math.sqrt(0.02))


@pytest.mark.parametrize(("limit", "met"), [(-0.2, False), (-0.1, True), (0.0, True)])
def test_gates(tmp_path: Path, limit: float, met: bool) -> None:
    gap = tables.gap("our-arm", "stock", "unseen", [row("", 1, 5.0)], [row("", 1, 6.0)])
    found = assemble._gate(Gate(gap="our-arm-stock", max=limit + 1e-9), [gap])
    assert (found.bits_per_byte, found.met) == (pytest.approx(-0.1), met)
    other = assemble._gate(Gate(gap="our-arm-stock", max=limit, split="seen"), [gap])
    assert (other.bits_per_byte, other.met) == (None, False)
    rows = [found.model_dump(), other.model_dump()]
    write_json(tmp_path / "evaluation" / "evidence.json", {"gates": rows})
    told = assemble.unmet(tmp_path)
    assert len(told) == 2 - met
    assert "not measured" in told[-1]


# Surprisal ---------------------------------------------------------------------------------------


def test_surprisal_is_the_loss_token_by_token(tmp_path: Path) -> None:
    model, tokenizer, separator = models.load(tiny("gpt2", tmp_path / "model"))
    prompts = [
        {"id": "one", "text": "we may é", "true_text": " 😀 the company", "source": "t"},
        {"id": "two", "text": "no author", "true_text": None, "source": "classic"},
    ]
    (found,) = surprisal.readings(model, tokenizer, prompts, "m", 64, separator)
    text = "we may é 😀 the company"
    assert (found.prompt_id, found.text, found.ends[-1]) == ("one", text, len(text))
    assert found.ends == sorted(found.ends)
    ((_, nats),) = loss.nats(model, tokenizer, [text], 64, 32, separator, 1)
    assert sum(found.nats) == pytest.approx(nats, abs=1e-2)
    for cost, best in zip(found.nats, found.alternatives, strict=True):
        assert len(best) == surprisal.ALTERNATIVES
        assert math.exp(-cost) <= best[0][1] + 1e-3  # nothing is more probable than the first
    assert evidence.Reading.model_validate(found.model_dump()) == found
