"""The ratchet: the score on the labelled filings may only rise."""

import json
from pathlib import Path

import pytest
import score

RATCHET = Path(score.__file__).with_name("ratchet.json")


@pytest.mark.slow
@pytest.mark.parametrize("labels", ["labels.json", "labels-held-out.json"])
def test_items_of_labelled_filings(filings: Path, labels: str) -> None:
    found = score.summary(score.score(filings, score.own, score.LABELS.with_name(labels)))
    floor = json.loads(RATCHET.read_text())[labels]
    for key in ("macro_f1_core", "macro_f1_all"):
        assert found[key] >= floor[key], found
    assert found["silently_wrong"] <= floor["silently_wrong"], found


def test_labels_are_in_order_and_canonical() -> None:
    eras: dict[str, int] = {}
    for row in json.loads(score.LABELS.read_text()):
        place, end = row["document"]
        for label, start, stop in row["items"]:
            assert place <= start < stop <= end and score.single(label), row["path"]
            place = stop
        eras[row["era"]] = eras.get(row["era"], 0) + 1
    assert sum(eras.values()) >= 120 and len(eras) == 4 and min(eras.values()) >= 12


def test_overlap_and_single() -> None:
    same = ["a", "b", "c", "d", "e", "f"] * 4
    assert score.overlap(same, same)[0] == score.overlap(same, same)[1] == 20
    assert score.overlap(["item", "none"], ["item", "none", "page"]) == (2, 2, 3)
    assert score.overlap([], ["item"])[0] == 0
    assert score.single("Items 10, 11 and 13") == ["Item 10", "Item 11", "Item 13"]
    assert score.single("Items 1 to 3") == ["Item 1", "Item 2", "Item 3"]


def test_a_wrong_item_is_seen() -> None:
    text = b"Item 1. Business " + b"we make pumps and valves for mills " * 20
    row = {"path": "x", "era": "e", "items": [["Item 1", 0, len(text)]]}
    good, bad = text.decode(), "Item 1. Business " + "something else was here all along " * 20
    (one,) = score.score_filing(row, text, {"Item 1": (good, False)})
    assert one.f1 == 1 and not one.silent
    (two,) = score.score_filing(row, text, {"Item 1": (bad, False)})
    assert two.f1 < 0.2 and two.silent
    (three,) = score.score_filing(row, text, {"Item 1": (bad, True)})
    assert not three.silent
    (four,) = score.score_filing(row, text, {})
    assert four.f1 == 0 and four.missing
