"""Copied spans against a search of all pairs, repetition, and personal data in generations."""

import random
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from domainlm.corpus import documents
from domainlm.corpus.documents import Document
from domainlm.evaluation import copies
from domainlm.evaluation.copies import Copy

WORDS = st.lists(st.sampled_from(["a", "B", "c", "é", "d-e", "12", "\n"]), max_size=24).map(
    " ".join
)


def write(path: Path, texts: Sequence[str], split: str = "train") -> Path:
    rows = [
        Document(f"{path.name}-{n}", "g", None, f"Title {n}", "u", "0" * 64, text, split=split)
        for n, text in enumerate(texts)
    ]
    documents.write(path, rows)
    return path


def longest(text: list[str], train: list[list[str]]) -> int:
    """Words of the longest span of five words or more that any of `train` has: all pairs."""
    spans = {tuple(t[a:b]) for t in train for a in range(len(t)) for b in range(a + 5, len(t) + 1)}
    sizes = [
        b - a
        for a in range(len(text))
        for b in range(a + 5, len(text) + 1)
        if tuple(text[a:b]) in spans
    ]
    return max(sizes, default=0)


@given(train=st.lists(WORDS, max_size=6), texts=st.lists(WORDS, max_size=5))
@settings(max_examples=60)
def test_the_longest_span_is_the_one_of_a_search_of_all_pairs(
    tmp_path_factory: pytest.TempPathFactory, train: list[str], texts: list[str]
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(documents, "GROUP_ROWS", 2)  # some row groups
        path = write(tmp_path_factory.mktemp("train") / "documents-0.parquet", train)
    read = [copies.words(t) for t in train]
    found = copies.find(path, texts)
    assert [copy.words for copy in found] == [longest(copies.words(t), read) for t in texts]
    for copy, text in zip(found, texts, strict=True):
        assert copy.text in text
        span = copies.words(copy.text)
        assert len(span) == copy.words
        if span:
            source = read[int(copy.source.removeprefix("Title "))]
            assert any(source[n : n + len(span)] == span for n in range(len(source)))


def test_a_long_span_among_many_is_given_back_as_the_text_has_it(tmp_path: Path) -> None:
    rng = random.Random(1)
    pool = [f"word{n}" for n in range(50)]
    train = [[rng.choice(pool) for _ in range(400)] for _ in range(40)]
    path = write(tmp_path / "documents-0.parquet", [" ".join(t) for t in train])
    copied = " -- ".join(train[17][100:160]).upper()
    text = f"New, {copied}! And then nothing more."
    two = f"{copied} new {' '.join(train[3][:61])}"
    empty, found, other = copies.find(path, ["", text, two])
    assert empty == Copy()
    assert found == Copy(60, copied, "Title 17")
    assert (other.words, other.source) == (61, "Title 3")


def test_only_train_counts_and_the_longest_of_all_files_is_the_best(tmp_path: Path) -> None:
    text = "one two three four five six seven"
    held = write(tmp_path / "documents-0.parquet", [text], "unseen")
    short = write(tmp_path / "documents-1.parquet", ["one two three four five"])
    long = write(tmp_path / "documents-2.parquet", ["", "two three four five six seven eight"])
    found = [copies.find(path, [text]) for path in (held, short, long)]
    assert found[0] == [Copy()]
    assert copies.best(found) == [Copy(6, "two three four five six seven", "Title 1")]


@given(text=WORDS)
def test_repetition_is_the_share_of_4_grams_that_stood_before(text: str) -> None:
    read = copies.words(text)
    grams = [tuple(read[n : n + 4]) for n in range(len(read) - 3)]
    before = sum(gram in grams[:n] for n, gram in enumerate(grams))
    assert copies.repetition(text) == pytest.approx(before / max(1, len(grams)))
    pairs = list(pairwise(read))
    assert copies.distinct(text, 2) == (len(set(pairs)) / len(pairs) if pairs else 1)


def test_personal_data_in_generations_and_how_much_of_it_is_in_train(tmp_path: Path) -> None:
    train = ["Write to Jane.Roe@Example-Bank.com today.", "Nothing here but example and bank."]
    samples = [
        ("scratch", "mail jane.roe@example-bank.com or joe@nowhere-else.org"),
        ("scratch", "again jane.roe@example-bank.com"),
        ("stock", "Nobody is named."),
    ]
    strings = copies.personal(samples)
    assert [(m, k, s.split("@")[0]) for m, k, s in strings] == [
        ("scratch", "email", "jane.roe"),
        ("scratch", "email", "joe"),
        ("scratch", "email", "jane.roe"),
    ]
    values = [s for _, _, s in strings]
    path = write(tmp_path / "documents-0.parquet", train)
    other = write(tmp_path / "documents-1.parquet", ["joe@nowhere-else.org"], "validation")
    known = copies.standing(path, values) | copies.standing(other, values)
    assert known == {"jane.roe@example-bank.com"}
    assert copies.standing(path, []) == set()
    rows = copies.personal_rows(samples, strings, known)
    assert [(r.model, r.kind, r.generations, r.found, r.in_train) for r in rows] == [
        ("scratch", "any", 2, 3, 2),
        ("scratch", "email", 2, 3, 2),
        ("stock", "any", 1, 0, 0),
        ("stock", "email", 1, 0, 0),
    ]
