"""Zero-shot choices: the questions, the scores against plain transformers, the rows, the rule."""

import dataclasses
import datetime
import json
import random
from pathlib import Path

import pytest
import torch
from transformers import PreTrainedTokenizerFast

from domainlm.corpus import documents
from domainlm.corpus.documents import Document, Section
from domainlm.evaluation import choices, models, probe
from domainlm.evaluation.choices import Question
from evaluation_helpers import tiny


def report(name: str, split: str = "unseen", sections: int = 3) -> Document:
    """Sections of one heading and four paragraphs, each of words of its own and its section's."""
    rng = random.Random(name)
    text, found = "", []
    for s in range(sections):
        start = len(text)
        text += f"Item {s + 1}. A heading\n\n"
        for p in range(4):
            pool = [f"topic{s}word{n}" for n in range(20)]
            words = " ".join(rng.choice(pool) for _ in range(70))
            text += f"{name}s{s}p{p} see Item {s + 1}A. {words}.\n\n"
        found.append(Section(f"Item {s + 1}", start, len(text)))
    return Document(
        id=name,
        group=name[0],
        date=datetime.date(2021, 1, 1),
        title=name,
        uri=name,
        source_sha256="0" * 64,
        text=text,
        sections=tuple(found),
        split=split,
    )


@pytest.fixture
def paths(tmp_path: Path) -> list[Path]:
    rows = [report(name) for name in ("a1", "a2", "a3", "b1", "c1")]
    one, two = tmp_path / "1.parquet", tmp_path / "2.parquet"
    documents.write(one, rows[:2])
    documents.write(two, [*rows[2:], report("d1", "seen"), report("e1", "train")])
    return [one, two]


def test_questions_are_of_neighbours_and_of_far_paragraphs(paths: list[Path]) -> None:
    found = choices.questions(paths, 10, 1)
    assert found == choices.questions(paths[::-1], 10, 1)
    assert len(found) == 10
    assert [sorted(q.group for q in found[n : n + 3]) for n in (0, 3)] == [["a", "b", "c"]] * 2
    assert len({q.answer for q in found}) > 1

    def place(text: str) -> int:
        """Number of the paragraph that a text begins with, headings counted."""
        mark = text.split()[0].split("s")[1]
        return 5 * int(mark[0]) + 1 + int(mark[2])

    for q in found:
        assert len(q.context.split()) == choices.CONTEXT
        assert len(set(q.candidates)) == 4
        assert all(len(c.split()) == choices.CANDIDATE for c in q.candidates)
        assert "Item" not in q.context + "".join(q.candidates)
        assert "heading" not in q.context
        right = place(q.candidates[q.answer])
        assert place(q.context.split("\n\n")[-1]) == right - 1
        for n, candidate in enumerate(q.candidates):
            assert candidate.split()[0].startswith(q.document)
            if n != q.answer:
                assert not right - 4 <= place(candidate) <= right + 1
    assert [Question(**json.loads(json.dumps(dataclasses.asdict(q)))) for q in found] == found


def test_questions_of_later_text_where_no_group_is_unseen(tmp_path: Path) -> None:
    path = tmp_path / "1.parquet"
    documents.write(path, [report("d1", "seen"), report("e1", "train")])
    assert {q.document for q in choices.questions([path], 3, 1)} == {"d1"}
    documents.write(path, [report("d1", "seen", sections=1), report("e1", "train")])
    assert choices.questions([path], 3, 1) == []  # too few paragraphs to choose from


@pytest.mark.parametrize("kind", ["gpt2", "nanochat"])
def test_answers_are_the_greatest_mutual_information(tmp_path: Path, kind: str) -> None:
    folder = tiny(kind, tmp_path, seed=3, context=128)
    rng = random.Random(1)
    pool = ["risk", "cash", "store\n", "loss,", "tax", "7.", "Zürich", "margin"]
    texts = [" ".join(rng.choice(pool) for _ in range(9)).strip() for _ in range(40)]
    asked = [
        Question("next passage", "d", "g", texts[n], texts[n + 1 : n + 5], 0)
        for n in range(0, 40, 5)
    ]
    model, tokenizer, separator = models.load(folder)
    model = model.float()
    found = choices.answers(model, tokenizer, asked, 128, separator, 3)

    plain = PreTrainedTokenizerFast(tokenizer_file=str(folder / "tokenizer.json"))

    def log_p(text: str, given: str) -> float:
        """Of the tokens of `given` + `text` that end after `given`."""
        whole = plain(given + text, add_special_tokens=False, return_offsets_mapping=True)
        ids = torch.tensor([[0, *whole["input_ids"]]])
        with torch.no_grad():
            table = torch.log_softmax(model(ids).logits[0].double(), -1)
        ends = [end for _, end in whole["offset_mapping"]]
        rows = [n for n, end in enumerate(ends) if end > len(given)]
        return sum(table[n, ids[0, n + 1]].item() for n in rows)

    for question, answer in zip(asked, found, strict=True):
        given = question.context + "\n\n"
        pmi = [log_p(c, given) - log_p(c, "") for c in question.candidates]
        assert answer == max(range(4), key=pmi.__getitem__)


def test_rows_of_known_worth(paths: list[Path]) -> None:
    asked = choices.questions(paths, 12, 1)
    truth = [q.answer for q in asked]
    rows = choices.measure(asked, {"oracle": truth, "first": [0] * 12}, 1)
    table = {row.scorer: row for row in rows}
    assert list(table) == ["BM25", "TF-IDF", "oracle", "first"]
    assert all(row.task == "next passage" and row.chance == 0.25 for row in rows)
    assert (table["oracle"].questions, table["oracle"].groups) == (12, 3)
    assert table["oracle"].accuracy == 1.0
    assert table["oracle"].ci95 == (1.0, 1.0)
    assert table["first"].accuracy == truth.count(0) / 12
    assert table["BM25"].accuracy > 0.5  # paragraphs of a section share its words
    assert table["TF-IDF"].accuracy > 0.5
    assert choices.measure([], {}, 1) == []


def test_sections_are_told_by_their_headings() -> None:
    texts = {"Item 1A": "the risk factors that may", "Item 3": "legal proceedings before a court"}
    passages = [
        probe.Passage(side, label, f"d{n}", f"g{n}", f"{text} {n}")
        for side in ("train", "test")
        for label, text in texts.items()
        for n in range(6)
    ]
    asked = choices.section_questions(passages, 1)
    assert len(asked) == 12
    assert {q.answer for q in asked} == {0, 1}  # the order is by hash
    for q in asked:
        assert q.candidates[q.answer].split(". ")[1].split()[0].lower() in q.context
    rows = choices.measure(asked, {}, 1)
    assert [(row.scorer, row.accuracy, row.chance) for row in rows] == [
        ("BM25", 1.0, 0.5),
        ("TF-IDF", 1.0, 0.5),
    ]
    assert {row.task for row in rows} == {"section of a passage"}
    assert (
        choices.section_questions([dataclasses.replace(p, kind="group") for p in passages], 1) == []
    )


def test_headings() -> None:
    assert choices.heading("Item 1A") == "Item 1A. Risk Factors"
    assert choices.heading("Items 1 and 2") == "Items 1 and 2. Business and Properties"
    assert choices.heading("Item 99") == "Item 99"
    assert choices.heading("Getting started 1") == "Getting started 1"


def test_the_next_item_is_a_rule(tmp_path: Path) -> None:
    def of(name: str, labels: list[str], split: str = "unseen") -> Document:
        sections = tuple(Section(label, n, n + 1) for n, label in enumerate(labels))
        missing = Section("Item 1C", 0, 0, ("not_found",))
        return dataclasses.replace(report(name, split), sections=(*sections, missing))

    path = tmp_path / "1.parquet"
    rows = [
        of("a1", ["Item 1", "Item 1A", "Item 2", "Item 10"]),  # 3 of 3
        of("b1", ["Item 1", "Item 1A", "Items 2 and 3", "Item 10"], "seen"),  # 1A to 2: wrong
        of("c1", ["Item 1", "Item 2", "Item 10"]),  # without 1A: wrong, then right
        of("t1", ["Item 10", "Item 1"], "train"),
        *(of(f"z{n}", ["Item 7"]) for n in range(5)),  # nothing follows
    ]
    documents.write(path, rows)
    row = choices.next_item([path], 1)
    assert row is not None
    assert (row.scorer, row.questions, row.groups) == ("next item", 8, 3)
    assert row.accuracy == pytest.approx(6 / 8)
    assert row.chance == pytest.approx(1 / 5)
    documents.write(path, [dataclasses.replace(report("a1"), sections=())])
    assert choices.next_item([path], 1) is None
