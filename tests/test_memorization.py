"""Memorisation: windows and copies by counting, greedy text by transformers, intervals."""

import random
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import AutoModelForCausalLM

from domainlm.corpus import documents
from domainlm.corpus.documents import Document
from domainlm.evaluation import memorization, models
from domainlm.evaluation.copies import words
from domainlm.evaluation.memorization import COUNTED, WORDS, Window
from domainlm.evaluation.statistics import group_sums
from evaluation_helpers import prose, tiny

pytestmark = pytest.mark.usefixtures("one_thread")


def document(name: str, text: str, split: str = "train") -> Document:
    return Document(name, name.split("/")[0], None, name, name, "0" * 64, text, split=split)


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Twelve train documents with a text in all, one in three, own text; held-out ones likewise."""
    everywhere, some = prose("everywhere", 130), prose("some", 130)
    rows = []
    for n in range(12):
        own = prose(f"own {n}", 260)
        rows.append(document(f"g{n % 6}/{n}", own + everywhere + some * (n < 3)))
    rows += [document(f"h{n}/", prose(f"held {n}", 240), "unseen") for n in range(5)]
    rows += [document("i/", everywhere, "unseen"), document("g0/s", prose("s", 200), "seen")]
    rows += [document("v/", prose("own 1", 260), "validation"), document("e/", "", "train")]
    root = tmp_path_factory.mktemp("corpus")
    for n in range(3):
        documents.write(root / f"documents-{n}.parquet", rows[n::3])
    return sorted(root.glob("*.parquet"))


def copies_in_train(paths: list[Path], stretch: list[str]) -> int:
    count = 0
    for row in documents.read(paths, ("train",)):
        read = words(row.text)
        count += sum(read[n : n + len(stretch)] == stretch for n in range(len(read)))
    return count


def test_windows_are_in_the_bucket_that_counting_gives(corpus: list[Path]) -> None:
    tables = [memorization.scan(path, 1) for path in corpus]
    windows, note = memorization.choose(tables, corpus, 7, 1)
    texts = {row.id: row.text for row in documents.read(corpus)}
    splits = {row.id: row.split for row in documents.read(corpus)}
    buckets = [w.copies for w in windows]
    assert (buckets.count("0"), buckets.count("1"), buckets.count("10+")) == (7, 7, 1)
    assert buckets.count("2-9") in range(1, 8)  # the text of three, and chance at borders
    for window in windows:
        read = words(window.text)
        assert len(read) == WORDS and window.text in texts[window.document]
        assert words(window.text[: window.counted]) == read[:COUNTED]
        count = copies_in_train(corpus, read[:COUNTED])
        low, high = {"0": (0, 0), "1": (1, 1), "2-9": (2, 9), "10+": (10, 99)}[window.copies]
        assert low <= count <= high
        assert splits[window.document] == ("train" if count else "unseen")
    assert len({w.group for w in windows if w.copies == "1"}) == 6  # spread
    assert note.startswith("31 of 736 held-out") and "no control" in note

    back = memorization.choose(tables[::-1], corpus[::-1], 7, 1)
    assert back == (windows, note)


def test_a_sample_of_stretches_has_all_copies_of_each(corpus: list[Path]) -> None:
    def counts(every: int) -> dict[int, int]:
        tables = [memorization.scan(path, every) for path in corpus]
        hashes = [h for t in tables for h in t["hash"].to_pylist()]
        return Counter(hashes)

    whole, sample = counts(1), counts(8)
    assert sample == {h: count for h, count in whole.items() if h <= (2**64 - 1) // 8}
    assert 0.05 < len(sample) / len(whole) < 0.2
    assert memorization.every(corpus) == 1


def test_without_train_or_control_a_note_says_so(tmp_path: Path) -> None:
    path = tmp_path / "documents-0.parquet"
    documents.write(path, [document("a/", prose("a", 300)), document("b/", "short", "unseen")])
    windows, note = memorization.choose([memorization.scan(path, 1)], [path], 9, 1)
    assert {w.copies for w in windows} == {"1"} and "no control" in note
    documents.write(path, [document("a/", prose("a", 80)), document("b/", prose("b", 200), "seen")])
    windows, note = memorization.choose([memorization.scan(path, 1)], [path], 9, 1)
    assert {w.copies for w in windows} == {"0"} and "No test of memorisation" in note


@pytest.mark.parametrize("kind", ["gpt2", "qwen3", "nanochat"])
def test_greedy_text_is_the_one_that_transformers_generates(kind: str, tmp_path: Path) -> None:
    folder = tiny(kind, tmp_path / kind, seed=3, context=128)
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    model.generation_config.eos_token_id = None  # goes on behind an end
    rng = torch.Generator().manual_seed(1)
    prefix = torch.randint(1, 400, (6, memorization.PREFIX), generator=rng)
    start = torch.cat([torch.zeros((6, 1), dtype=torch.long), prefix], dim=1)
    said = model.generate(
        start, attention_mask=torch.ones_like(start), max_new_tokens=50, do_sample=False
    )
    ids = said[:, 1:]
    assert ids.shape == (6, 100)
    assert memorization.greedy(model, ids, 0).all()
    for row, place in enumerate((50, 51, 60, 75, 98, 99)):
        ids[row, place] = (ids[row, place] + 1) % 400
    assert not memorization.greedy(model, ids, 0).any()


def by_heart(folder: Path, texts: list[str]) -> Path:
    """A tiny model that read the first 100 tokens of these until it had them."""
    tokenizer = models.plain_tokenizer(tiny("gpt2", folder, seed=1, context=128))
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    ids = torch.tensor([[0, *tokenizer.encode(t).ids[:100]] for t in texts])
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3, weight_decay=0.0)
    for _ in range(400):
        loss = model(input_ids=ids, labels=ids).loss
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    model.save_pretrained(folder)
    return folder


def windows_of(texts: list[str], train: int) -> list[Window]:
    """The first `train` stand in train once, the others are held out."""
    return [
        Window("1" if n < train else "0", f"d{n}", f"g{n}", text,
               len(" ".join(text.split()[:50])))
        for n, text in enumerate(texts)
    ]  # fmt: skip


@pytest.mark.slow
def test_a_model_that_learnt_text_by_heart_gives_it_away(tmp_path: Path) -> None:
    texts = [prose(f"heart {n}", 100) for n in range(8)]
    windows = windows_of(texts, 4)
    model, tokenizer, separator = models.load(by_heart(tmp_path / "gpt2", texts[:4]))
    found = memorization.extracted(model, tokenizer, windows, separator, batch=3)
    assert found == [1, 1, 1, 1, 0, 0, 0, 0]
    rows, (difference,) = memorization.results(windows, {"scratch": found})
    assert [(r.copies, r.windows, r.groups, r.exact) for r in rows] == [
        ("0", 4, 4, 0),
        ("1", 4, 4, 4),
    ]
    assert difference.difference == 1 and difference.ci95[0] < 1 == difference.ci95[1]

    numbers = Window("1", "n", "g", "7 " * 99 + "7", 99)  # 50 words are 99 tokens
    lengthy = Window("1", "n", "g", texts[0], len(texts[0]))  # counted words beyond 100 tokens
    short = Window("1", "n", "g", "our " * 40, 4)
    assert memorization.extracted(model, tokenizer, [lengthy, short], separator, 4) == [-1, -1]
    assert memorization.extracted(model, tokenizer, [numbers], separator, 4) == [0]
    small = tiny("gpt2", tmp_path / "small", context=64)
    assert memorization.extracted(*models.load(small)[:2], windows, separator, 4) == []


@pytest.mark.slow
def test_a_model_that_learnt_held_out_text_by_heart_is_seen(tmp_path: Path) -> None:
    """Its control is no control: the rate of held-out text stands above an untrained model's."""
    texts = [prose(f"leak {n}", 100) for n in range(8)]
    windows = windows_of(texts, 0)
    folders = {
        "leaked": by_heart(tmp_path / "leaked", texts),
        "untrained": tiny("gpt2", tmp_path / "untrained", seed=2, context=128),
    }
    found = {}
    for name, folder in folders.items():
        model, tokenizer, separator = models.load(folder)
        found[name] = memorization.extracted(model, tokenizer, windows, separator, batch=5)
    (leaked, untrained), _ = memorization.results(windows, found)
    assert (leaked.copies, leaked.exact, untrained.exact) == ("0", 8, 0)
    assert leaked.ci95[0] > untrained.ci95[1]


def test_windows_that_a_model_cannot_read_count_for_none() -> None:
    windows = [Window("1", f"d{n}", f"g{n % 2}", "", 0) for n in range(4)]
    found = {"a": [1, 0, 1, -1], "b": [-1, 0, 1, 1], "short context": []}
    rows, differences = memorization.results(windows, found)
    assert [(r.model, r.windows, r.exact, r.groups) for r in rows] == [
        ("a", 2, 1, 2),
        ("b", 2, 1, 2),
    ]
    assert differences == []  # there is no control


def test_an_interval_of_nothing_found_has_an_upper_end() -> None:
    groups = [f"g{n % 50}" for n in range(1000)]
    assert memorization.rate_interval(groups, [0] * 1000) == (0, pytest.approx(0.003))
    assert memorization.rate_interval(groups, [1] * 1000) == (pytest.approx(0.997), 1)
    assert memorization.rate_interval(["g"], [0]) == (0, 1)
    low, high = memorization.rate_interval(groups, [1] + [0] * 999)
    assert low == 0 and 0.001 < high < 0.005
    low, high = memorization.difference_interval(0, (0, 0.003), 0, (0, 0.006))
    assert (low, high) == (pytest.approx(-0.006), pytest.approx(0.003))


RATE = st.tuples(*[st.floats(0, 1)] * 3).map(sorted)


@given(a=RATE, b=RATE)
def test_the_interval_of_a_difference(a: list[float], b: list[float]) -> None:
    (a_low, a_rate, a_high), (b_low, b_rate, b_high) = a, b
    ci = memorization.difference_interval(a_rate, (a_low, a_high), b_rate, (b_low, b_high))
    assert ci[0] <= a_rate - b_rate <= ci[1]
    back = memorization.difference_interval(b_rate, (b_low, b_high), a_rate, (a_low, a_high))
    assert back == (pytest.approx(-ci[1]), pytest.approx(-ci[0]))
    width = ci[1] - ci[0]  # at least the wider of the two, at most both
    assert max(a_high - a_low, b_high - b_low) - 1e-9 <= width
    assert width <= a_high - a_low + b_high - b_low + 1e-9


@given(seed=st.integers(0, 2**32))
@settings(max_examples=5)
def test_the_interval_of_a_difference_is_near_that_of_drawn_differences(seed: int) -> None:
    rng = random.Random(seed)
    sides = []
    for rate in (0.4, 0.15):
        groups, hits = [], []
        for group in range(60):
            own = rng.betavariate(rate * 8, (1 - rate) * 8)  # windows of a group are alike
            for _ in range(rng.randint(3, 9)):
                groups.append(f"g{group}")
                hits.append(int(rng.random() < own))
        sides.append((groups, hits))
    draws = []
    for (groups, hits), start in zip(sides, (1, 2), strict=True):
        sums = group_sums(groups, hits, [1] * len(hits))
        drawn = np.random.default_rng(start).integers(0, len(sums), (4000, len(sums)))
        totals = sums[drawn].sum(axis=1)
        draws.append(totals[:, 0] / totals[:, 1])
    expected = np.percentile(draws[0] - draws[1], [2.5, 97.5])
    (a, a_ci), (b, b_ci) = (
        (sum(hits) / len(hits), memorization.rate_interval(groups, hits)) for groups, hits in sides
    )
    assert memorization.difference_interval(a, a_ci, b, b_ci) == pytest.approx(expected, abs=0.012)
