"""The probe: its passages, its rows, and the features that it reads."""

import dataclasses
import json
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer
from tokenizers import models as tokenizer_models
from tokenizers.normalizers import BertNormalizer
from tokenizers.pre_tokenizers import BertPreTokenizer
from transformers import AutoModel, BertConfig, BertModel

from domainlm.corpus import documents
from domainlm.corpus.documents import Document, Section
from domainlm.evaluation import features, loss, models, probe
from domainlm.evaluation.features import States
from domainlm.evaluation.probe import Passage
from evaluation_helpers import KINDS, TOPICS, filings, prose, relabelled, tiny

pytestmark = pytest.mark.usefixtures("one_thread")
TEXTS = ("we may increase revenue in the year " * 30, "a", prose("b", 40), "Zürich – 東京 😀", "")


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("corpus") / "documents-0.parquet"
    documents.write(path, [*filings("train", 6, 2), *filings("unseen", 6)])
    return path


def test_passages_are_balanced_and_without_headings(corpus: Path) -> None:
    chosen, note = probe.passages([corpus], 96, 1)
    assert note == ""
    assert len(chosen) == 96
    for side in ("train", "test"):
        labels = [p.label for p in chosen if p.side == side]
        assert {labels.count(label) for label in set(labels)} == {16}
    groups = [{p.group for p in chosen if p.side == side} for side in ("train", "test")]
    assert not groups[0] & groups[1]
    assert not any("Item" in p.text or "Heading" in p.text for p in chosen)
    assert {len(p.text.split()) for p in chosen} == {probe.WORDS}
    again = [Passage(**row) for row in json.loads(json.dumps([vars(p) for p in chosen]))]
    assert again == chosen


def test_the_first_train_passages_are_spread_over_groups(corpus: Path) -> None:
    chosen, _ = probe.passages([corpus], 96, 1)
    more, _ = probe.passages([corpus], 120, 1)
    for label in TOPICS:
        few, many = (
            [p for p in found if p.side == "train" and p.label == label] for found in (chosen, more)
        )
        assert many[: len(few)] == few and len(many) > len(few)
        assert len({p.group for p in few[:6]}) == 6


def test_the_heading_on_later_pages_is_left_out(tmp_path: Path) -> None:
    path = tmp_path / "documents-0.parquet"
    body = "\n".join(f"Strange Title\n{prose(str(n), 70)}" for n in range(3))
    text = f"Strange Title\nTable\n{body}"
    rows = [
        dataclasses.replace(d, text=text, sections=(Section(label, 0, len(text)),))
        for d in [*filings("train", 8), *filings("unseen", 8)]
        for label in ["Even" if d.id.split("-")[1] in "0246" else "Odd"]
    ]
    documents.write(path, rows)
    chosen, _ = probe.passages([path], 32, 1)
    assert {p.label for p in chosen} == {"Even", "Odd"}
    assert not any("Strange" in p.text for p in chosen)


@pytest.mark.parametrize(
    "line",
    ["Item 1A. Risk Factors (continued)", "ITEM 1A.  RISK FACTORS - CONTINUED", "Risk factors",
     "Risk Factors (cont’d) 17", "Item 1A — Risk Factors of the Company", "risk factors, cont."],
)  # fmt: skip
def test_a_heading_said_again_is_left_out(line: str) -> None:
    def words(heading: str) -> set[str]:
        text = f"{heading}\n\n{prose('a', 70)}{line}\n{prose('b', 70)}"
        return set(" ".join(probe.stretches(text, 10, 99)).casefold().split())

    assert not words("Item 1A. Risk Factors (continued)") & {"risk", "factors", "factors,"}
    assert "risk" in words("Item 7. Something Else")
    long = f"risk factors {prose('c', 20).replace(chr(10), ' ')}"
    assert "factors" in " ".join(probe.stretches(f"Risk Factors\n\n{long}", 10, 99))


@pytest.mark.slow
def test_a_probe_that_is_fed_the_heading_would_show(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Sections that differ by their headings alone: what is left of them tells nothing."""
    path = tmp_path / "documents-0.parquet"
    titles = {"Item 1": "Our Business", "Item 1A": "Risk Factors", "Item 7": "Discussion"}

    def same(d: Document) -> Document:
        text, sections = "", []
        for label, title in titles.items():
            start = len(text)
            pages = [prose(f"{d.id} {label} {n}", 16) for n in range(24)]
            text += f"{label}. {title}\n" + f"{label}. {title} (continued)\n".join(pages)
            sections.append(Section(label, start, len(text)))
        return dataclasses.replace(d, text=text, sections=tuple(sections))

    documents.write(path, [same(d) for d in [*filings("train", 8, 2), *filings("unseen", 8)]])
    masked, _ = probe.passages([path], 150, 1)
    monkeypatch.setattr(probe, "_repeats", lambda line, headings: False)
    fed, _ = probe.passages([path], 150, 1)
    hidden, shown = (probe.measure(found, [], 1)[0] for found in (masked, fed))
    assert shown.accuracy > 0.97
    assert hidden.ci95[0] < 1 / 3 and hidden.accuracy < 0.6


def test_probe_takes_headings_that_recur(tmp_path: Path) -> None:
    """Each document has a title of its own; two headings are in all."""
    path = tmp_path / "documents-0.parquet"
    rows = [*filings("train", 6, 2), *filings("unseen", 6)]
    names = {"Item 1": "", "Item 1A": "Dangers", "Item 7": "Figures"}

    def heading(document: Document, section: Section) -> Section:
        label = names[section.label] or f"The story of {document.id}"
        return dataclasses.replace(section, label=label)

    documents.write(path, relabelled(rows, heading))
    chosen, note = probe.passages([path], 64, 1)
    assert note == "" and {p.label for p in chosen} == {"Dangers", "Figures"}
    assert chosen == probe.passages([path], 64, 1)[0]
    documents.write(path, relabelled(rows[::-1], heading))
    assert chosen == probe.passages([path], 64, 1)[0]

    def doubtful(document: Document, section: Section) -> Section:
        return dataclasses.replace(heading(document, section), flags=("suspicious_size",))

    documents.write(path, relabelled(rows, doubtful))
    assert probe.passages([path], 64, 1)[0] == []


def test_a_rare_label_does_not_shrink_the_others(tmp_path: Path) -> None:
    path = tmp_path / "documents-0.parquet"

    def rare(document: Document, section: Section) -> Section:
        keep = section.label != "Item 1A" or document.id.endswith(("0-0", "1-0", "2-0", "3-0"))
        return section if keep else dataclasses.replace(section, flags=("suspicious_size",))

    documents.write(path, relabelled([*filings("train", 8), *filings("unseen", 8)], rare))
    chosen, _ = probe.passages([path], 144, 1)
    sizes = {label: sum(p.label == label and p.side == "train" for p in chosen) for label in TOPICS}
    assert 8 <= sizes["Item 1A"] < 24 and sizes["Item 1"] == sizes["Item 7"] == 24
    row = probe.measure(chosen, [], 1)[0]
    assert (row.labels_per_class, row.train_passages) == (24, sum(sizes.values()))


def test_without_sections_it_asks_who_wrote_a_passage(tmp_path: Path) -> None:
    path = tmp_path / "documents-0.parquet"
    rows = [
        dataclasses.replace(d, sections=(), text=prose(d.id, 300, topic))
        for split in ("train", "seen")
        for d in filings(split, 3, 5)
        for topic in [list(TOPICS)[int(d.id.split("-")[1])]]
    ]
    documents.write(path, [*rows, *filings("unseen", 1)])
    chosen, note = probe.passages([path], 96, 1)
    assert "who wrote" in note
    assert {p.label for p in chosen} == {"train-0", "train-1", "train-2"}
    sides = [{p.document for p in chosen if p.side == side} for side in ("train", "test")]
    assert all(sides) and not sides[0] & sides[1]
    words, majority = probe.measure(chosen, [], 1)
    assert words.task.startswith("who of 3 wrote")
    assert words.accuracy > 0.9 > majority.accuracy


def test_probe_says_why_there_is_none(tmp_path: Path) -> None:
    path = tmp_path / "documents-0.parquet"
    documents.write(path, [*filings("train", 6), *filings("unseen", 3)])
    assert probe.passages([path], 0, 1)[0] == []
    chosen, note = probe.passages([path], 96, 1)
    assert chosen == []
    assert "4 groups" in note
    documents.write(path, filings("train", 6))
    assert "no held-out" in probe.passages([path], 96, 1)[1]


def states(chosen: list[Passage], known: list[str], width: int = 8) -> States:
    """Noise, but for the last token of layer 6, which knows the labels `known` apart."""
    values = np.random.default_rng(0).normal(size=(3, 2, len(chosen), width)).astype(np.float32)
    for column, label in enumerate(known):
        values[2, 1, :, column] += [30.0 * (p.label == label) for p in chosen]
    return States((0, 3, 6), values)


def test_layer_pooling_and_penalty_are_chosen_on_train(corpus: Path) -> None:
    chosen, _ = probe.passages([corpus], 96, 1)
    oracle, nothing = states(chosen, ["Item 7", "Item 1A"]), states(chosen, [])
    words, majority, best, noise = probe.measure(
        chosen, [("oracle", oracle), ("noise", nothing)], 1
    )
    assert [words.features, majority.features] == ["TF-IDF", "majority"]
    assert words.accuracy > 0.9
    assert majority.accuracy == majority.majority == pytest.approx(1 / 3)
    assert (best.layer, best.pooling) == (6, "last")
    assert (best.accuracy, best.macro_f1) == (1.0, 1.0)
    assert noise.accuracy < 0.6
    assert noise.ci95[0] <= noise.accuracy <= noise.ci95[1]
    test = [n for n, p in enumerate(chosen) if p.side == "test"]
    oracle.values[2, 1, test] = 0  # what is tested on has no say in the choice
    changed = probe.measure(chosen, [("oracle", oracle)], 1)[-1]
    assert (changed.layer, changed.pooling) == (6, "last")
    assert changed.accuracy == pytest.approx(1 / 3)


@pytest.mark.slow
def test_deep_probe_has_a_learning_curve_and_two_tasks(corpus: Path) -> None:
    chosen, _ = probe.passages([corpus], 120, 1, most=probe.LABELS[2])
    rows = probe.measure(chosen, [("oracle", states(chosen, ["Item 7"]))], 1, deep=True)
    found = [
        (task, size, [row.features for row in part])
        for (task, size), part in groupby(rows, lambda r: (len(r.labels), r.labels_per_class))
    ]
    features = ["TF-IDF", "majority", "keywords", "oracle"]
    assert found == [(task, size, features) for task in (3, 2) for size in (8, 16, 20)]
    assert all(row.train_passages == row.labels_per_class * len(row.labels) for row in rows)
    assert rows[-1].labels == ["Item 1A", "Item 7"]
    assert rows[-1].accuracy == 1.0 > rows[3].accuracy  # Item 1 and Item 1A look the same to it
    assert rows[-1].test_passages == 40 and rows[0].test_passages == 60


def test_rows_without_the_deep_probe_are_its_last(corpus: Path) -> None:
    chosen, _ = probe.passages([corpus], 48, 1)
    (row, _), deep = probe.measure(chosen, [], 1), probe.measure(chosen, [], 1, deep=True)
    assert row in deep


@given(st.lists(st.sampled_from(("risk", "factors", "Properties", "the")), max_size=9))
def test_the_keyword_rule_counts_the_words_of_headings(words: list[str]) -> None:
    labels = ("Item 1A", "Item 2", "Weather")
    answer = probe._keywords([" ".join(words)], labels, "Weather")
    risk, property = words.count("risk") + words.count("factors"), words.count("Properties")
    if risk != property:
        assert answer == ["Item 1A" if risk > property else "Item 2"]
    elif not risk:
        assert answer == ["Weather"]


@given(st.integers(1, 200))
def test_layers_are_spread_from_the_embeddings_to_the_last(depth: int) -> None:
    numbers = features.layers(depth)
    assert numbers[0] == 0 and numbers[-1] == depth
    assert list(numbers) == sorted(set(numbers)) and len(numbers) == min(depth, 4) + 1


@pytest.mark.parametrize("kind", KINDS)
def test_states_equal_those_of_one_text_at_a_time(tmp_path: Path, kind: str) -> None:
    model, tokenizer, separator = models.load(tiny(kind, tmp_path, seed=4))
    model = model.float()
    found = features.hidden_states(model, tokenizer, TEXTS, 48, separator, 3)
    assert (found.layers, found.values.dtype) == ((0, 1, 2), np.float32)
    assert found.values.shape == (3, 2, len(TEXTS), 32)
    for place, text in enumerate(TEXTS):
        ids = torch.tensor([[separator, *loss.encode(tokenizer, text)][:48]])
        with torch.no_grad():
            whole = model(ids, output_hidden_states=True).hidden_states
            last = loss.last_hidden(model, ids)[0]
        for row, number in enumerate(found.layers):
            read = whole[number][0, 1:] if text else whole[number][0]
            expected = torch.stack([read.mean(0), read[-1]]).numpy()
            np.testing.assert_allclose(found.values[row, :, place], expected, rtol=1e-4, atol=1e-4)
        np.testing.assert_allclose(found.values[-1, 1, place], last[-1], rtol=1e-4, atol=1e-4)


def test_states_of_nothing_and_a_round_trip(tmp_path: Path) -> None:
    model, tokenizer, separator = models.load(tiny("gpt2", tmp_path))
    paths = [tmp_path / name for name in ("a", "b")]
    for texts in (TEXTS, ()):
        found = features.hidden_states(model, tokenizer, texts, 48, separator, 2)
        for path in paths:
            features.write(path, found)
        again = features.read(paths[0])
        assert again.layers == found.layers
        np.testing.assert_array_equal(again.values, found.values)
        assert paths[0].read_bytes() == paths[1].read_bytes()


def test_random_weights_depend_on_the_seed_alone(tmp_path: Path) -> None:
    folder = tiny("qwen3", tmp_path)
    torch.manual_seed(5)
    expected = torch.rand(1)
    torch.manual_seed(5)
    first, second, other = (features.untrained(folder, seed) for seed in (1, 1, 2))
    assert torch.rand(1) == expected  # the global generator is where it was
    trained = models.load(folder)[0].state_dict()
    weights = [m.state_dict() for m in (first, second, other)]
    assert set(weights[0]) == set(trained)
    name = "model.layers.0.mlp.up_proj.weight"
    assert torch.equal(weights[0][name], weights[1][name])
    assert not torch.equal(weights[0][name], weights[2][name])
    assert weights[0][name].dtype == trained[name].dtype and not first.training
    assert not torch.equal(weights[0][name], trained[name])


def tiny_bert(folder: Path) -> None:
    pieces = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "the", "risk", "##s", "of", "year"]
    vocabulary = {piece: number for number, piece in enumerate(pieces)}
    tokenizer = Tokenizer(tokenizer_models.WordPiece(vocabulary, unk_token="[UNK]"))
    tokenizer.normalizer, tokenizer.pre_tokenizer = BertNormalizer(), BertPreTokenizer()
    tokenizer.enable_padding(length=128)  # as the real one has it; nothing may come of it
    tokenizer.save(str(folder / "tokenizer.json"))
    torch.manual_seed(3)
    sizes: Any = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2}
    config = BertConfig(vocab_size=9, intermediate_size=32, initializer_range=0.3, **sizes)
    BertModel(config).save_pretrained(folder)


def test_sentence_embeddings_equal_those_of_one_text_at_a_time(tmp_path: Path) -> None:
    tiny_bert(tmp_path)
    texts = ["The risks of the year", "risk " * 400, "year", ""]
    ids = [[2, 4, 5, 6, 7, 4, 8, 3], [2, *[5] * 254, 3], [2, 8, 3], [2, 3]]
    found = features.minilm(tmp_path, texts, 2)
    assert (found.layers, found.values.shape) == ((2,), (1, 1, 4, 16))
    model = AutoModel.from_pretrained(tmp_path).eval()
    for place, row in enumerate(ids):
        with torch.no_grad():
            mean = model(torch.tensor([row])).last_hidden_state[0].mean(0)
        expected = torch.nn.functional.normalize(mean, dim=0).numpy()
        np.testing.assert_allclose(found.values[0, 0, place], expected, atol=1e-5)


def test_minilm_knows_what_is_alike() -> None:
    folder = features.minilm_folder()
    if folder is None:
        pytest.skip(f"not installed: {features.MINILM_INSTALL}")
    texts = ["The company owns its factory.", "The firm holds title to the plant.", "It may rain."]
    one, two, three = features.minilm(folder, texts, 8).values[0, 0]
    assert one.shape == (384,)
    assert one @ two > 0.4 > 0.2 > one @ three
