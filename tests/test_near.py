"""Near-duplicates: what is found against brute force, and what it costs as the corpus grows."""

import random
import tempfile
import tracemalloc
from collections.abc import Iterable, Sequence
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.sparse import coo_matrix, csr_matrix
from scipy.sparse.csgraph import connected_components

from domainlm.artifacts import Manifest, Task, outputs_of, read_json
from domainlm.corpus import near
from test_ngrams import grams_of, words_of

Pairs = dict[tuple[int, int], float]


def sketched(root: Path, texts: Sequence[str], cuts: Sequence[int]) -> list[str]:
    """Sketches of the parts `cuts[i]:cuts[i + 1]`, each given in two goes."""
    prefixes = []
    for part, (begin, end) in enumerate(pairwise(cuts)):
        prefixes.append(f"corpus/parts/clean-{part:05d}")
        writer = near.SketchWriter(root / prefixes[-1])
        middle = (begin + end) // 2
        writer.add(texts[begin:middle])
        writer.add(texts[middle:end])
        writer.close()
    return prefixes


def linked(root: Path, parts: int) -> np.ndarray:
    return np.concatenate([np.load(root / f"corpus/parts/links-{n:05d}.npy") for n in range(parts)])


def found(root: Path, texts: Sequence[str], cuts: Sequence[int], threshold: float = 0.8) -> Pairs:
    """Links between texts, by their numbers in all."""
    prefixes = sketched(root, texts, cuts)
    for wave in near.waves(len(prefixes), threshold, root):
        for task in wave:
            task.function(root, task.arguments)
    links = linked(root, len(prefixes))
    assert (links == np.sort(links, order=["a", "b"])).all() and (links["a"] < links["b"]).all()
    a, b = (
        np.array(cuts)[(links[name] >> np.uint64(32)).astype(int)] + links[name].astype("<u4")
        for name in ("a", "b")
    )
    pairs = dict(
        zip(zip(a.tolist(), b.tolist(), strict=True), links["jaccard"].tolist(), strict=True)
    )
    assert len(pairs) == len(links)
    return pairs


def brute(texts: Sequence[str], threshold: float) -> Pairs:
    """Jaccard of the sets of 5-grams of all pairs, by a product of matrices."""
    known: dict[tuple[str, ...], int] = {}
    sets = [{known.setdefault(g, len(known)) for g in grams_of(words_of(t), 5)} for t in texts]
    rows = np.repeat(np.arange(len(sets)), [len(s) for s in sets])
    columns = np.array([g for s in sets for g in s], int)
    held = csr_matrix((np.ones(len(rows), np.int32), (rows, columns)), (len(sets), len(known) + 1))
    shared = coo_matrix(held @ held.T)
    sizes = np.array([len(s) for s in sets])
    union = sizes[shared.row] + sizes[shared.col] - shared.data
    jaccard = shared.data / np.maximum(union, 1)
    chosen = (shared.row < shared.col) & (jaccard >= threshold)
    at = zip(shared.row[chosen].tolist(), shared.col[chosen].tolist(), strict=True)
    return dict(zip(at, jaccard[chosen].tolist(), strict=True))


def edited(draw: random.Random, words: list[str], vocabulary: list[str]) -> str:
    """Words with some replaced, a run of them left out or moved: Jaccard from 0.6 to 1."""
    words = list(words)
    if draw.random() < 0.3:
        begin, length = draw.randrange(len(words)), draw.randrange(1 + len(words) // 10)
        run, words = words[begin : begin + length], words[:begin] + words[begin + length :]
        if draw.random() < 0.5:
            words += run
    for _ in range(draw.randrange(1 + len(words) // 40)):
        words[draw.randrange(len(words))] = draw.choice(vocabulary)
    return " ".join(words)


def families(count: int, seed: int = 7) -> list[str]:
    """`count` texts of which each five are edits of one."""
    draw = random.Random(seed)
    vocabulary = [f"w{i:x}" for i in range(3000)]
    texts = []
    for _ in range(count // 5):
        words = draw.choices(vocabulary, k=draw.randint(60, 400))
        texts += [edited(draw, words, vocabulary) for _ in range(5)]
    draw.shuffle(texts)
    return texts


def recall(links: Pairs, truth: Pairs) -> float:
    """Share of the true pairs that are linked, where documents of the same shingles are as one."""
    one: dict[int, int] = {}
    for (a, b), jaccard in sorted(truth.items()):
        if jaccard == 1:
            one.setdefault(b, one.get(a, a))
    standing = [tuple(sorted((one.get(a, a), one.get(b, b)))) for a, b in truth]
    return float(np.mean([a == b or (a, b) in links for a, b in standing]))


def check(links: Pairs, truth: Pairs, least: int) -> None:
    assert len(truth) >= least
    assert recall(links, truth) >= 0.95
    assert set(links) <= set(truth)  # precision 1: every pair was verified
    assert all(abs(jaccard - truth[pair]) < 1e-6 for pair, jaccard in links.items())


@pytest.mark.slow
def test_against_brute_force_on_edits_around_the_threshold(tmp_path: Path) -> None:
    texts = families(5000)
    truth = brute(texts, 0.8)
    assert sum(jaccard < 0.85 for jaccard in truth.values()) > 500  # where it is hard
    assert len(brute(texts, 0.6)) > 1.3 * len(truth)
    check(found(tmp_path, texts, [0, 1700, 1700, 3000, 5000]), truth, 4000)


@pytest.mark.slow
def test_against_brute_force_on_real_filings(tmp_path: Path, filings: Path) -> None:
    files = sorted((filings / "mda-2018-2023" / "mda").rglob("*.txt"))[60:100]
    texts = [file.read_text(encoding="utf-8", errors="replace") for file in files]
    check(found(tmp_path, texts, [0, 23, 40]), brute(texts, 0.8), 10)


@pytest.mark.parametrize(
    ("threshold", "shape"), [(0.5, (42, 3)), (0.7, (31, 4)), (0.8, (21, 6)), (1.0, (1, 126))]
)
def test_bands_find_what_is_at_the_threshold(threshold: float, shape: tuple[int, int]) -> None:
    assert near.bands(threshold) == shape
    for t in np.arange(0.5, 1.001, 0.01):
        count, rows = near.bands(t)
        assert count * rows <= 126 and 1 - (1 - t**rows) ** count >= 0.995


# Sentences that share parts: large and small buckets, same sets, and texts too short for any.
SHORT = st.lists(st.sampled_from(["a b c d e f g", "a b c d e", "h i j k l", "x"]), max_size=3)


@given(
    texts=st.lists(SHORT.map(" ".join), max_size=40),
    cuts=st.lists(st.integers(0, 40), max_size=4),
    partition=st.sampled_from([64, 1000, 1 << 20]),
    chunk=st.sampled_from([(1, 1), (50, 3), (1 << 20, 100)]),
    entries=st.sampled_from([3, 16, 1 << 20]),
    paired=st.sampled_from([1, 9, 1 << 20]),
)
@settings(max_examples=30)
@pytest.mark.slow
def test_links_are_the_same_whatever_the_parts(
    texts: list[str],
    cuts: list[int],
    partition: int,
    chunk: tuple[int, int],
    entries: int,
    paired: int,
) -> None:
    cuts = [*sorted({0, *(min(c, len(texts)) for c in cuts)}), len(texts), len(texts)]
    with pytest.MonkeyPatch.context() as patch, tempfile.TemporaryDirectory() as folder:
        for name, value in (("_ALL", 3), ("_NEXT", 2), ("_ENTRIES", entries)):
            patch.setattr(near, name, value)
        whole = found(Path(folder, "whole"), texts, [0, len(texts)])
        patch.setattr(near, "_PARTITION", partition)
        patch.setattr(near, "_CHUNK", chunk)
        patch.setattr(near, "_PAIRED", paired)
        assert found(Path(folder, "cut"), texts, cuts) == whole
        truth = brute(texts, 0.8)
        assert set(whole) <= set(truth)
        group = groups(whole, len(texts))
        same = all(group[a] == group[b] for (a, b), jaccard in truth.items() if jaccard == 1)
        assert same or entries < len(texts)


def groups(pairs: Iterable[tuple[int, int]], count: int) -> np.ndarray:
    """Which connected group each of so many documents is in."""
    a, b = np.array(list(pairs), int).reshape(-1, 2).T
    return connected_components(coo_matrix((np.ones(len(a)), (a, b)), (count, count)))[1]


def test_empty_and_short_documents_are_near_nothing(tmp_path: Path) -> None:
    assert found(tmp_path / "none", [], [0, 0]) == {}
    texts = ["", "one two three four", "one two three four", "", "one two three four five"]
    assert found(tmp_path / "short", [*texts, "One, two; three four FIVE!"], [0, 6]) == {(4, 5): 1}


@pytest.mark.slow
def test_one_form_twenty_thousand_times(tmp_path: Path) -> None:
    """Ten thousand identical documents and as many that differ in a word: linear, and connected."""
    draw = random.Random(5)
    form = [f"w{draw.randrange(5000)}" for _ in range(250)]
    texts = [" ".join(form)] * 10_000
    for i in range(10_000):
        words = list(form)
        words[draw.randrange(len(form))] = f"name{i}"
        texts.append(" ".join(words))
    draw.shuffle(texts)
    links = found(tmp_path, texts, [0, 6000, 20_000])
    accounts = [read_json(file) for file in (tmp_path / "corpus/parts").glob("pairs-*.json")]
    assert sum(a["capped_buckets"] for a in accounts) > 10
    assert sum(sum(a["runs"]) for a in accounts) < 21 * near._NEXT * len(texts)
    assert not groups(links, len(texts)).any()


SIZE = 1500


@pytest.mark.slow
@pytest.mark.parametrize("share", [0.3, 1.0])
def test_memory_does_not_grow_with_the_corpus(
    tmp_path: Path, share: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ten times the parts; so much of it one bucket of near-identical documents."""
    monkeypatch.setattr(near, "_ENTRIES", 1 << 10)
    monkeypatch.setattr(near, "_PARTITION", 16 << 11)
    peaks = {"match": [], "verify": []}
    for parts in (4, 40):
        root = tmp_path / str(parts)
        for part in range(parts):
            bucketful(root, part, share)
        for name, wave in zip(peaks, near.waves(parts, 0.8, root), strict=True):
            peaks[name].append(max(peak(task, root) for task in wave))
        links = linked(root, parts)
        ids = np.stack([links["a"], links["b"]], 1)
        numbers = (ids >> np.uint64(32)).astype(int) * SIZE + ids.astype("<u4")
        group = groups(numbers, SIZE * parts).reshape(parts, SIZE)[:, : int(share * SIZE)]
        assert (group == group[0, 0]).all()
    for few, many in peaks.values():
        assert many < 1.3 * few + 100_000


def peak(task: Task, root: Path) -> int:
    """The most bytes a task holds at once: the less of two runs.

    The interpreter's dict of interned strings doubles now and then, by 15 MB in a long test run:
    in one of the two at most.
    """
    peaks = []
    for _ in range(2):
        tracemalloc.start()
        task.function(root, task.arguments)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    return min(peaks)


def bucketful(root: Path, part: int, share: float) -> str:
    """Sketch of `SIZE` documents of one band each, of which so many are in one bucket."""
    draw = np.random.default_rng(part)
    bands = np.empty(SIZE, near.BAND)
    bands["row"] = np.arange(SIZE)
    bands["hash"] = draw.integers(0, 2**64, SIZE, np.uint64)
    bands["hash"][: int(share * SIZE)] = 5 << 60
    bands["set"] = draw.integers(0, 2**32, SIZE)
    shingles = np.tile(np.arange(20, dtype="<u4"), (SIZE, 1))
    shingles[:, -1] += np.arange(SIZE, dtype="<u4")
    prefix = f"corpus/parts/clean-{part:05d}"
    arrays = np.sort(bands, order=["hash", "row"]), shingles.ravel(), np.arange(SIZE + 1) * 20
    (root / prefix).parent.mkdir(parents=True, exist_ok=True)
    for ending, values in zip(near.OUTPUTS, arrays, strict=True):
        (root / f"{prefix}{ending}").write_bytes(values.tobytes())
    return prefix


def test_a_changed_shingle_is_verified_anew(tmp_path: Path) -> None:
    """The inputs of a verifying task tell, though no pair and no band that it sees has changed."""
    texts = families(20)
    why = {}
    manifest = Manifest(tmp_path)
    for name, last in (("before", ""), ("after", " a b c d e")):
        prefixes = sketched(tmp_path, [*texts[:9], texts[9] + last, *texts[10:]], [0, 8, 20])
        for wave in near.waves(len(prefixes), 0.8, tmp_path):
            for task in wave:
                why[name, task.name] = manifest.why_stale(task)
                task.function(tmp_path, task.arguments)
                manifest.record(task, outputs_of(tmp_path, task, None), 0.0)
    assert why["before", "corpus/verify-00000"] == "not done yet"
    assert "changed input" in str(why["after", "corpus/match-00000"])
    assert "changed input" in str(why["after", "corpus/verify-00000"])
