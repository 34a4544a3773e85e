"""Baselines: what compressors write, last year's document, the 5-gram against a plain one."""

import dataclasses
import datetime
import itertools
import math
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from domainlm.corpus import documents
from domainlm.evaluation import baselines, ngram, spans
from domainlm.tokens.shards import Shards
from evaluation_helpers import filings, prose

SEPARATOR = 0


def test_compressors_cost_what_they_write() -> None:
    text, primer = prose("held out", 300), prose("train", 3000).encode()
    alone = {name: baselines.nats(name, [text], primer)[0] for name in baselines.NAMES}
    assert alone["PPMd primed"] < alone["PPMd"] < alone["xz"]
    bits = alone["xz"] / math.log(2)
    assert bits == pytest.approx(8 * (baselines.xz_size(text.encode()) - baselines.xz_size(b"")))
    assert baselines.nats("PPMd primed", [text], b"") == baselines.nats("PPMd", [text])
    copied = baselines.nats(baselines.LAST_YEAR, [text], text.encode())[0]
    assert copied < alone["PPMd"] / 4
    assert baselines.nats("uniform", ["é", ""]) == pytest.approx([16 * math.log(2), 0])
    assert set(baselines.NAMES) < set(baselines.TITLES)


@settings(max_examples=10)
@given(st.text(max_size=300), st.integers(0, 3000))
def test_what_ppmd_read_before_is_not_charged(text: str, size: int) -> None:
    before, data = prose("before", size).encode(), text.encode()
    both, first = (baselines.ppmd_size(part) for part in (before + data, before))
    charged = baselines.ppmd_size(data, before) - baselines.ppmd_size(b"")
    assert abs(charged - (both - first)) <= 1


def test_last_year_is_the_latest_earlier_document(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = filings("unseen", 1)[0]

    def written(id: str, group: str, year: int | None, split: str = "train") -> documents.Document:
        date = datetime.date(year, 5, 1) if year else None
        return dataclasses.replace(
            model, id=id, group=group, date=date, split=split, text=f"é{id}" * 9
        )

    rows = [
        written("a23", "a", 2023, "unseen"), written("a20", "a", 2020), written("a", "a", None),
        written("a22", "a", 2022, "unused"), written("a24", "a", 2024), written("b22", "b", 2022),
        written("twin", "a", 2023), written("c21", "c", 2021), written("c", "c", None),
        written("d1", "d", 2020), written("d2", "d", 2020), written("d22", "d", 2022),
    ]  # fmt: skip
    documents.write(tmp_path / "0.parquet", rows[:5])
    documents.write(tmp_path / "1.parquet", rows[5:])
    paths = [tmp_path / "0.parquet", tmp_path / "1.parquet"]
    scored = [
        spans.Span(row.id, row.group, row.split, "", 0, "x", 1, "")
        for row in rows
        if row.id in ("a23", "a22", "a", "b22", "c", "c21", "d22")
    ]
    expected = {"a23": "a22", "a22": "a20"}
    found = dict(zip((s.document for s in scored), baselines.previous(paths, scored), strict=True))
    either = found.pop("d22")
    assert either is not None and either[0] in ("d1", "d2")
    assert {id: row and row[0] for id, row in found.items()} == {
        id: expected.get(id) for id in found
    }
    assert found["a23"] == ("a22", "éa22" * 9)
    assert baselines.previous(paths[::-1], scored)[-1] == either  # by hash, not by place
    assert baselines.previous(paths, []) == []

    monkeypatch.setattr(baselines, "EARLIER_BYTES", 12)  # of 45: é has two
    pieces = [
        baselines.previous(paths, [dataclasses.replace(scored[0], start=start)])[0]
        for start in (0, 17, 99)
    ]
    assert [piece and piece[1] for piece in pieces] == ["éa22éa22é", "a22éa22éa", "22éa22éa22"]


def shards(stream: list[int], vocabulary: int) -> Shards:
    return Shards((np.array(stream, "<u2"),), (0, len(stream)), SEPARATOR, vocabulary, 1)


def corpus(seed: int, vocabulary: int, texts: int, length: int) -> list[list[int]]:
    """Documents of small ids, for the most part; some are empty, some ids are never used."""
    rng = np.random.default_rng(seed)
    drawn = rng.geometric(0.5, (texts, length)) % max(1, vocabulary - 1) + 1
    return [list(map(int, row[: rng.integers(0, length + 1)])) for row in drawn]


def plain(texts: list[list[int]], vocabulary: int) -> Callable[[int, tuple[int, ...]], float]:
    """p(token, context of four) by dictionaries and recursion, from the paper's equations."""
    pad = (SEPARATOR,) * 4
    counts: dict[int, Counter[tuple[int, ...]]] = {n: Counter() for n in range(1, 6)}
    for text in texts:
        padded = (*pad, *text, SEPARATOR)
        counts[5].update(padded[n : n + 5] for n in range(len(padded) - 4))
    for n in (4, 3, 2, 1):
        counts[n].update(gram[1:] for gram in counts[n + 1])

    discounts = {n: [0.0, 0.5, 1.0, 1.5] for n in counts}
    for n, found in discounts.items():
        n1, n2, n3, n4 = (sum(c == k for c in counts[n].values()) for k in (1, 2, 3, 4))
        if n1 and n2 and n3 and n4:
            y = n1 / (n1 + 2 * n2)
            three = [1 - 2 * y * n2 / n1, 2 - 3 * y * n3 / n2, 3 - 4 * y * n4 / n3]
            if all(d > 0 for d in three):
                found[1:] = three

    def p(token: int, context: tuple[int, ...]) -> float:
        n = len(context) + 1
        lower = p(token, context[1:]) if context else 1 / vocabulary
        after = {g[-1]: c for g, c in counts[n].items() if g[:-1] == context}
        if not after:
            return lower
        total = sum(after.values())
        left = sum(discounts[n][min(c, 3)] for c in after.values()) / total
        own = after.get(token, 0)
        return (own - discounts[n][min(own, 3)]) / total + left * lower

    return p


drawn_corpus = st.builds(
    corpus, st.integers(0, 2**32), st.integers(2, 5), st.integers(1, 6), st.integers(0, 120)
)


@settings(max_examples=20)
@given(drawn_corpus, st.integers(0, 1))
def test_the_ngram_sums_to_one_after_every_context(texts: list[list[int]], unused: int) -> None:
    vocabulary = max((t for text in texts for t in text), default=0) + 1 + unused
    model = ngram.fit(shards([t for text in texts for t in (*text, SEPARATOR)], vocabulary))
    words = range(1, vocabulary)
    contexts = [c for n in range(5) for c in itertools.product(words, repeat=n)]
    stream, places = [], []
    for context in contexts:
        for token in range(vocabulary):
            stream += [*context, token]
            places.append(len(stream) - 1)
            stream.append(SEPARATOR)
    nats = model.nats(stream)
    assert np.isfinite(nats).all()
    p = np.exp(-nats[places]).reshape(len(contexts), vocabulary)
    assert np.abs(p.sum(1) - 1).max() < 1e-9


@settings(max_examples=15)
@given(drawn_corpus, st.lists(st.integers(0, 5), max_size=12))
def test_the_ngram_equals_a_plain_one(texts: list[list[int]], text: list[int]) -> None:
    model = ngram.fit(shards([t for each in texts for t in (*each, SEPARATOR)], 6))
    p = plain(texts, 6)
    for part in (text, texts[0][:30]):
        context, expected = (SEPARATOR,) * 4, []
        for token in part:
            expected.append(-math.log(p(token, context)))
            context = (*context[1:], token) if token != SEPARATOR else (SEPARATOR,) * 4
        assert model.nats(part) == pytest.approx(expected, abs=1e-9)


def test_discounts_by_hand() -> None:
    counts = np.repeat([0, 1, 2, 3, 4, 9], [7, 20, 10, 5, 2, 3])
    y = 20 / 40
    by_hand = [0, 1 - 2 * y * 10 / 20, 2 - 3 * y * 5 / 10, 3 - 4 * y * 2 / 5]
    assert ngram._discounts(counts) == pytest.approx(by_hand)
    fallback = [0, *ngram.FALLBACK]
    assert list(ngram._discounts(counts[counts != 3])) == fallback
    assert list(ngram._discounts(np.repeat([1, 2, 3, 4], [9, 1, 9, 9]))) == fallback  # 2nd < 0


def test_a_large_corpus_is_read_in_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ngram, "PIECE", 50)
    stream = [1, 2, 3, 4] * 100
    whole = ngram._read(shards(stream, 5), len(stream))
    assert whole.tolist() == [SEPARATOR, *stream]
    stream[-50:] = [4] * 50
    part = ngram._read(shards(stream, 5), 2 * 50 + 9).tolist()
    assert part == [SEPARATOR, *stream[:50], SEPARATOR, *stream[-50:]]
    assert ngram._read(shards(stream, 5), 7).tolist() == [SEPARATOR, *stream[:7]]


def test_the_ngram_learns_and_knows_its_vocabulary() -> None:
    text = [1, 2, 3, 4, 5] * 20
    model = ngram.fit(shards([*text, SEPARATOR] * 3, 8))
    assert model.nats(text).mean() < 0.1 * math.log(8)
    assert 0 < model.nats([7])[0] < 20  # never seen
    assert model.nats([]).shape == (0,)
    assert ngram.fit(shards([], 8)).nats([3, 0]) == pytest.approx([math.log(8)] * 2)
    with pytest.raises(ValueError, match="vocabulary of 8"):
        model.nats([8])
