"""Frequent lines and paragraphs by the shuffle, against counting them in plain Python."""

from collections import Counter, defaultdict
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from domainlm.corpus import lines, shuffle
from domainlm.corpus.documents import Document

LINE = st.sampled_from(
    ["", "  ", "a line", "Page 7", "Page 12", "12", "total | 5 | 9", "x", "end."]
)
TEXT = st.lists(LINE, max_size=8).map("\n".join)
CORPUS = st.lists(st.tuples(st.sampled_from("abc"), TEXT), max_size=14)


def document(group: str, text: str) -> Document:
    return Document("i", group, None, "t", "u", "s", text)


def found(root: Path, corpus: list, unit: str, limit: float, parts: int, partitions: int) -> list:
    """What goes of each document, in text, through the files of `parts` parts."""
    read = [document(group, text) for group, text in corpus]
    size = max(1, -(-len(read) // parts))
    numbered = [(n // size << 32 | n % size, d) for n, d in enumerate(read)]
    for part in range(parts):
        own = [(n, d) for n, d in numbered if n >> 32 == part]
        shuffle.write(root / lines.file(unit, part), lines.records(own, unit))
    for partition in range(partitions):
        lines.count(
            root,
            {
                "unit": unit, "limit": limit, "documents": len(read), "parts": parts,
                "partition": partition, "partitions": partitions,
            },
        )  # fmt: skip
    table = lines.Frequent(root, unit, partitions)
    return [[d.text[a:b].strip() for a, b in table.spans(n, d)] for n, d in numbered]


def plain(line: str) -> str:
    """`line` with the number at its start or end as a 0, as a page's is."""
    words = line.strip()
    return {
        "Page 7": "Page 0",
        "Page 12": "Page 0",
        "12": "0",
        "total | 5 | 9": "total | 5 | 0",
    }.get(words, words)


@pytest.mark.parametrize(("parts", "partitions"), [(1, 1), (3, 1), (2, 5)])
@settings(max_examples=25)
@given(CORPUS, st.sampled_from([0.3, 0.6, 1.0]))
@pytest.mark.slow
def test_lines_frequent_in_the_corpus_or_in_a_group(
    tmp_path_factory, parts, partitions, corpus, limit
):
    root = tmp_path_factory.mktemp("lines")
    sets = [{plain(x) for x in text.split("\n") if x.strip()} for _, text in corpus]
    everywhere = Counter(x for lines_ in sets for x in lines_)
    in_group: dict[str, Counter] = defaultdict(Counter)
    size: Counter = Counter()
    for (group, _), lines_ in zip(corpus, sets, strict=True):
        in_group[group].update(lines_)
        size[group] += bool(lines_)
    total = len(corpus)
    expected = {
        "boilerplate": lambda g, x: total >= 4 and everywhere[x] >= limit * total,
        "furniture": lambda g, x: size[g] >= 4 and in_group[g][x] >= limit * size[g],
    }
    for unit, goes in expected.items():
        got = found(root, corpus, unit, limit, parts, partitions)
        for (group, text), gone in zip(corpus, got, strict=True):
            spans = [x.strip() for x in text.split("\n") if x.strip()]
            assert gone == [x for x in spans if goes(group, plain(x))]


@pytest.mark.parametrize(("parts", "partitions"), [(1, 1), (3, 4)])
@settings(max_examples=25)
@given(CORPUS, st.integers(1, 3))
def test_a_paragraph_goes_from_all_but_the_first_documents(
    tmp_path_factory, parts, partitions, corpus, k
):
    root = tmp_path_factory.mktemp("paragraphs")
    corpus = [(group, text.replace("\n", "\n\n")) for group, text in corpus]
    before: Counter = Counter()
    for (_, text), gone in zip(
        corpus, found(root, corpus, "paragraph", k, parts, partitions), strict=True
    ):
        own = [x.strip() for x in text.split("\n\n") if x.strip()]
        assert gone == [x for x in own if before[x] >= k]
        before.update(set(own))


def test_spans_of_lines_take_their_line_ends_with_them() -> None:
    text = "a\n\n b \nc"
    assert [text[a:b] for a, b in lines.units(text, "line")] == ["a\n", " b \n", "c"]
    assert [text[a:b] for a, b in lines.units(text, "paragraph")] == ["a\n\n", " b \nc"]


def test_a_partition_is_a_slice_and_keys_alike_stay_together(tmp_path: Path) -> None:
    keys = np.sort(np.random.default_rng(1).integers(0, 2**64 - 1, 5000, np.uint64))
    records = np.zeros(len(keys), lines.RECORD)
    records["key"] = keys
    shuffle.write(tmp_path / "a.npy", records[::2])
    shuffle.write(tmp_path / "b.npy", records[1::2])
    paths = [tmp_path / "a.npy", tmp_path / "b.npy"]
    for count in (1, 2, 7):
        parts = [shuffle.gather(paths, "key", p, count, 1 << 32)["key"] for p in range(count)]
        assert np.array_equal(np.sort(np.concatenate(parts)), keys)
        for before, after in pairwise(parts):
            assert before.max() >> np.uint64(32) < after.min() >> np.uint64(32)
