"""Retrieval: the measures against scikit-learn, BM25 against its formula, masks, passages."""

import dataclasses
import json
import math
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import ndcg_score

from domainlm.corpus import documents
from domainlm.evaluation import retrieval
from domainlm.evaluation.retrieval import Passage
from evaluation_helpers import filings

WORDS = st.sampled_from(["risk", "cash", "store", "loss", "tax"])
TEXTS = st.lists(st.lists(WORDS, min_size=1, max_size=8).map(" ".join), min_size=1, max_size=6)


@settings(max_examples=50)
@given(st.integers(2, 14), st.integers(0, 2**32))
def test_ndcg_is_that_of_scikit_learn(candidates: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    scores = rng.permuted(np.tile(np.arange(candidates), (3, 1)), axis=1).astype(float)
    right = rng.random((3, candidates)) < 0.3
    allowed = rng.random((3, candidates)) < 0.8
    allowed[:, :2] = True  # scikit-learn wants two candidates
    ndcg, reciprocal = retrieval.quality(scores, right, allowed)
    for n, mask in enumerate(allowed):
        relevance, values = right[n, mask], scores[n, mask]
        assert ndcg[n] == pytest.approx(ndcg_score([relevance], [values], k=10))
        ranks = [r for r, c in enumerate(np.argsort(-values), 1) if relevance[c]]
        assert reciprocal[n] == pytest.approx(1 / ranks[0] if ranks else 0)


def naive_bm25(query: str, text: str, texts: list[str]) -> float:
    counts, total = Counter(text.split()), 0.0
    mean = sum(len(t.split()) for t in texts) / len(texts)
    for word in query.split():
        df = sum(word in t.split() for t in texts)
        length = len(text.split()) / mean
        tf = counts[word] / (counts[word] + 1.2 * (1 - 0.75 + 0.75 * length))
        total += math.log(1 + (len(texts) - df + 0.5) / (df + 0.5)) * tf
    return total


@settings(max_examples=50)
@given(TEXTS, TEXTS)
def test_bm25_is_its_formula(queries: list[str], texts: list[str]) -> None:
    found = retrieval.bm25(queries, texts)
    expected = [[naive_bm25(query, text, texts) for text in texts] for query in queries]
    assert found == pytest.approx(np.array(expected))


def test_names_and_numbers_are_masked() -> None:
    owners = {"zorvex": "7", "the": "", "ohio": "8"}
    text = "The Acme plant in Ohio sold 1,250 Zorvex units (acme) in 2021."
    found = retrieval.mask(text, "ACME CORP 10-K 7", "7", owners)
    assert found == "The NAME plant in Ohio sold 0 NAME units (acme) in 0."


def with_names(split: str) -> list[documents.Document]:
    """Each group's texts name it, and its product, all the time."""
    return [
        dataclasses.replace(d, text=d.text.replace("the", f"Title Prod{d.group[-1]}x 20"))
        for d in filings(split, 6)
    ]


def cut_again(d: documents.Document) -> documents.Document:
    """The sections of a document that was changed."""
    starts = [d.text.index(f"{s.label}. Heading") for s in d.sections]
    ends = [*starts[1:], len(d.text)]
    sections = tuple(
        dataclasses.replace(s, start=a, end=b)
        for s, a, b in zip(d.sections, starts, ends, strict=True)
    )
    return dataclasses.replace(d, sections=sections)


def test_passages_are_balanced_masked_and_do_not_depend_on_the_order_of_files(
    tmp_path: Path,
) -> None:
    rows = [cut_again(d) for d in with_names("unseen")]
    one, two = tmp_path / "1.parquet", tmp_path / "2.parquet"
    documents.write(one, rows[:2])
    documents.write(two, [*rows[2:], *filings("seen", 5)])
    found, note = retrieval.passages([one, two], 18, 1)
    assert found == retrieval.passages([two, one], 18, 1)[0]
    assert not note
    assert Counter(p.label for p in found) == {"Item 1": 6, "Item 1A": 6, "Item 7": 6}
    assert len({p.group for p in found}) == 6
    for p in found:
        assert len(p.text.split()) == retrieval.WORDS
        assert "NAME" in p.text
        assert not any(word in p.text for word in ("Prod", "Title", "Heading", "Item"))
        assert not set("123456789") & set(p.text)
    assert found == [Passage(**row) for row in json.loads(json.dumps([*map(vars, found)]))]


def test_without_held_out_labels_there_is_a_note(tmp_path: Path) -> None:
    path = tmp_path / "1.parquet"
    documents.write(path, filings("train", 5))
    assert "no held-out" in retrieval.passages([path], 18, 1)[1]
    documents.write(path, filings("unseen", 3))
    found, note = retrieval.passages([path], 18, 1)
    assert not found
    assert "4 groups" in note
    documents.write(path, filings("seen", 5))
    found, note = retrieval.passages([path], 18, 1)
    assert found
    assert "also in train" in note


def test_rows_of_known_worth() -> None:
    topics = {"a": "risk harm loss", "b": "cash margin tax", "c": "store brand supply"}
    passages = [
        Passage(label, f"{label}{group}", group, f"the {words} of {group * 3}")
        for group in ("g1", "g2", "g3", "g4")
        for label, words in topics.items()
    ]
    truth = np.eye(3)[["abc".index(p.label) for p in passages]]
    # The best match of all is of the query's own group, where it must not be looked for.
    own = np.eye(4)[[int(p.group[1]) - 1 for p in passages]]
    features = {"truth": truth, "own": np.hstack([9 * own, truth]), "none": own}
    rows = retrieval.measure(passages, features, 1)
    table = {row.scorer: row for row in rows}
    assert list(table) == ["BM25", "TF-IDF", "truth", "own", "none"]
    for scorer in ("BM25", "TF-IDF", "truth", "own"):
        assert (table[scorer].ndcg10, table[scorer].mrr) == pytest.approx((1, 1))
    assert table["none"].ndcg10 < 0.9
    low, high = table["none"].ci95
    assert low - 1e-9 <= table["none"].ndcg10 <= high + 1e-9
    assert (table["BM25"].queries, table["BM25"].candidates, table["BM25"].groups) == (12, 12, 4)


def test_cosines_are_about_the_mean() -> None:
    features = np.array([[5.0, 1], [5, -1], [7, 0], [3, 0]])
    assert retrieval.cosines(features) == pytest.approx(
        np.array([[1, -1, 0, 0], [-1, 1, 0, 0], [0, 0, 1, -1], [0, 0, -1, 1]], dtype=float)
    )
