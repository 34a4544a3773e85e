"""Hashes of words and n-grams, against a plain reading of what a word is."""

import random
import re
from hashlib import blake2b

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from domainlm.corpus import ngrams

WORD = re.compile("[0-9A-Za-z\u00c0-\u1fff\u2c00-\u2fff]+|[\u3000-\U0010ffff]")
LOWER = str.maketrans("ABCDEFGHIJKLMNOPQRSTUVWXYZ", "abcdefghijklmnopqrstuvwxyz")
# What words are made of and end at, their lengths about the 8 and 32 bytes of the hash's steps.
TEXT = st.lists(
    st.sampled_from(
        ["a", "B", "b", "7", " ", "\n", "-", "\u00e9", "\u00a0", "\u00a7", "\u201c", "\u2c31",
         "\u3002", "\u4e2d", "\U0001f600", "Word ", "revenue", "x" * 8, "y" * 31, "z" * 33]
    ) | st.characters(exclude_categories=["Cs"])
).map("".join)  # fmt: skip


def words_of(text: str) -> list[str]:
    return WORD.findall(text.translate(LOWER))


def grams_of(words: list[str], n: int) -> list[tuple[str, ...]]:
    return list(zip(*(words[k:] for k in range(n)), strict=False))


def same(hashes: np.ndarray, things: list) -> None:
    """As many hashes as things, equal where the things are and only there."""
    assert len(hashes) == len(things)
    pairs = set(zip(hashes.tolist(), things, strict=True))
    assert len(pairs) == len(set(things)) == len(set(hashes.tolist()))


@pytest.mark.parametrize("block", [8, 100, 1 << 17])
@given(texts=st.lists(TEXT, max_size=6))
def test_words_and_ngrams_are_those_of_a_plain_reading(texts: list[str], block: int) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ngrams, "_BLOCK", block)
        read = [words_of(t) for t in texts]
        hashes, offsets = ngrams.word_hashes(texts)
        same(hashes, [w for words in read for w in words])
        assert np.diff(offsets).tolist() == [len(words) for words in read]
        for n in (1, 2, 5):
            grams = [grams_of(words, n) for words in read]
            hashes, offsets = ngrams.ngram_hashes(texts, n)
            same(hashes, [g for some in grams for g in some])
            assert np.diff(offsets).tolist() == [len(some) for some in grams]


def test_text_of_many_blocks() -> None:
    draw = random.Random(3)
    stock = [
        "".join(draw.choices("abcdefgh\u00e9\u4e2d", k=draw.randint(1, 40))) for _ in range(999)
    ]
    texts = ["", " ".join(draw.choices(stock, k=40_000)), "x" * 300_000, "\n".join(stock), "\u201d"]
    hashes, offsets = ngrams.ngram_hashes(texts, 3)
    grams = [grams_of(words_of(t), 3) for t in texts]
    same(hashes, [g for some in grams for g in some])
    assert np.diff(offsets).tolist() == [len(some) for some in grams]


def test_hashes_are_the_same_on_every_machine() -> None:
    def finaliser(h: int) -> int:
        for factor in (0xFF51AFD7ED558CCD, 0xC4CEB9FE1A85EC53):
            h = (h ^ h >> 33) * factor % 2**64
        return h ^ h >> 33

    half = finaliser(int.from_bytes(b"statemen", "little"))
    long = finaliser((half + int.from_bytes(b"ts", "little")) % 2**64)
    longest = int.from_bytes(blake2b(b"q" * 33, digest_size=8).digest(), "little")
    hashes, _ = ngrams.word_hashes(["A Statements", "Q" * 33])
    assert hashes.tolist() == [finaliser(ord("a")), long, longest]
    grams, _ = ngrams.ngram_hashes(["of the company and its"], 5)
    assert grams.tolist() == [0x54182497D544FC49]


def test_no_texts_and_lone_surrogates() -> None:
    assert [len(a) for a in ngrams.ngram_hashes([], 5)] == [0, 1]
    assert [len(a) for a in ngrams.word_hashes(["", " \n "])] == [0, 3]
    hashes, _ = ngrams.word_hashes(["a\ud800b a"])  # no UTF-8: a sign between words
    assert len(hashes) == 3 and hashes[0] == hashes[2]
