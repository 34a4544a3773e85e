"""Score item extraction on the labelled filings: overlap of word 5-grams, F1 an item.

    python benchmarks/items/score.py [--root FILINGS] [--predictions FILE] [--json FILE] [--wrong]

`labels.json` holds byte offsets into raw filings (no text), made by hand without the extractor:
see `label.py`. `labels-held-out.json` has further filings, labelled when the extractor was done and
scored only to report. Without --predictions the package's own extractor is scored; FILE is JSON,
path of the filing -> {label: text}, of any other tool. An item's F1 is that of the multisets of
word 5-grams (words are runs of ASCII letters, lower case, "table of contents" left out on both
sides; items of under 20 words are compared by their words); 0 where only one side has the item. A
label's score is the mean over the filings where either side has it, and the macro score the mean
over labels. A combined heading counts for each of its items. An item is silently wrong where it has
no flag and less than half of the larger side is common to both.
"""

import argparse
import hashlib
import json
import re
import sys
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))
from label import plain

CORE = ("Item 1", "Item 1A", "Item 3", "Item 7")
MIN_FILINGS = 5  # of a label, for it to count in the macro score over all labels
LABELS = Path(__file__).with_name("labels.json")
Prediction = Mapping[str, tuple[str, bool]]  # label -> text, and whether it is flagged
SHORT = 20  # words
_FURNITURE = re.compile(r"\b(?:table of contents|back to contents)\b")
_WORD = re.compile(r"[a-z]+")
_NUMBER = re.compile(r"(\d{1,2})([A-C]?)")


@dataclass(frozen=True)
class Row:
    """One item of one filing: its F1, and whether it is wrong without a flag that says so."""

    path: str
    era: str
    label: str
    f1: float
    silent: bool
    missing: bool


def words(text: str) -> list[str]:
    """Runs of ASCII letters in lower case, without the commonest page furniture."""
    return _FURNITURE.sub(" ", " ".join(_WORD.findall(text.lower()))).split()


def overlap(gold: list[str], found: list[str]) -> tuple[int, int, int]:
    """Grams in common, of `gold` and of `found`: multisets of word 5-grams, or of words."""
    n = 1 if min(len(gold), len(found)) < SHORT else 5
    want, have = (Counter(zip(*(w[i:] for i in range(n)), strict=False)) for w in (gold, found))
    return (want & have).total(), want.total(), have.total()


def single(label: str) -> list[str]:
    """`Items 1 and 2` is `Item 1` and `Item 2`; `Items 10 to 13` all four."""
    numbers = [a + b for a, b in _NUMBER.findall(label)]
    if " to " in label:
        first, last = (int(n.strip("ABC")) for n in (numbers[0], numbers[-1]))
        numbers = [str(n) for n in range(first, last + 1)]
    return [f"Item {n}" for n in numbers]


def score_filing(row: Mapping[str, Any], data: bytes, predicted: Prediction) -> list[Row]:
    """Rows of one labelled filing."""
    gold: dict[str, list[str]] = {}
    for label, start, end in row["items"]:
        for one in single(label):
            gold.setdefault(one, []).extend(words(plain(data[start:end])))
    found: dict[str, list[str]] = {}
    flagged: dict[str, bool] = {}
    for label, (text, flag) in predicted.items():
        for one in single(label):
            found.setdefault(one, []).extend(words(text))
            flagged[one] = flagged.get(one, False) or flag
    rows = []
    for label in sorted({*gold, *found} - set(row.get("not_contiguous", ()))):
        common, want, have = overlap(gold.get(label, []), found.get(label, []))
        if want or have:
            f1 = 2 * common / (want + have)
            silent = bool(have) and not flagged[label] and common < 0.5 * max(want, have)
            rows.append(Row(row["path"], row["era"], label, f1, silent, not have))
    return rows


def own(row: Mapping[str, Any], data: bytes) -> Prediction:
    """What the package's extractor finds."""
    from domainlm.corpus.edgar.filing import read_filing
    from domainlm.corpus.edgar.tree import Filing

    filing = Filing(row["path"], row["form"], "", "", None, None, "")
    text, sections, _ = read_filing(data, filing, "keep")
    return {s.label: (text[s.start : s.end], bool(s.flags)) for s in sections}


def score(
    root: Path, predict: Callable[[Mapping[str, Any], bytes], Prediction], labels: Path = LABELS
) -> list[Row]:
    """Rows of all filings of `labels` under `root` (PACK/path)."""
    rows = []
    for row in json.loads(labels.read_text()):
        data = (root / row["path"]).read_bytes()
        if hashlib.sha256(data).hexdigest() != row["sha256"]:
            raise SystemExit(f"{row['path']}: not the bytes that were labelled")
        rows += score_filing(row, data, predict(row, data))
    return rows


def macro(rows: list[Row], labels: tuple[str, ...] = ()) -> float:
    """Mean over labels of the mean F1 over filings; over all labels of enough filings if none."""
    means = []
    fewest = min(MIN_FILINGS, len({r.path for r in rows}))
    for label in labels or sorted({r.label for r in rows}):
        of_label = [r.f1 for r in rows if r.label == label]
        if of_label and (labels or len(of_label) >= fewest):
            means.append(sum(of_label) / len(of_label))
    return sum(means) / len(means)


def summary(rows: list[Row]) -> dict[str, Any]:
    """The figures of the README's table."""
    eras = sorted({r.era for r in rows})
    by_label = {label: [r for r in rows if r.label == label] for label in {r.label for r in rows}}
    return {
        "filings": len({r.path for r in rows}),
        "macro_f1_core": round(macro(rows, CORE), 4),
        "macro_f1_all": round(macro(rows), 4),
        "silently_wrong": sum(r.silent for r in rows),
        "missing": sum(r.missing for r in rows),
        "items": len(rows),
        "eras": {
            e: [round(macro([r for r in rows if r.era == e], CORE), 4),
                round(macro([r for r in rows if r.era == e]), 4)]
            for e in eras
        },
        "labels": {
            label: {
                "filings": len(of), "f1": round(sum(r.f1 for r in of) / len(of), 4),
                "silently_wrong": sum(r.silent for r in of), "missing": sum(r.missing for r in of),
            }
            for label, of in sorted(by_label.items(), key=lambda p: _order(p[0]))
        },
    }  # fmt: skip


def _order(label: str) -> tuple[int, str]:
    number = _NUMBER.search(label)
    return (int(number[1]), number[2]) if number else (99, label)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--root", type=Path, default=Path.home() / ".cache/domainlm/filings")
    parser.add_argument("--labels", type=Path, default=LABELS)
    parser.add_argument("--predictions", type=Path)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--wrong", action="store_true", help="list the items below 0.9")
    given = parser.parse_args()
    predict: Callable[[Mapping[str, Any], bytes], Prediction] = own
    if given.predictions:
        foreign = json.loads(given.predictions.read_text())

        def predict(row: Mapping[str, Any], data: bytes) -> Prediction:
            return {k: (v, False) for k, v in foreign.get(row["path"], {}).items()}

    rows = score(given.root, predict, given.labels)
    found = summary(rows)
    if given.json:
        given.json.write_text(json.dumps(found, indent=1) + "\n")
    if given.wrong:
        for r in sorted(rows, key=lambda r: (r.path, _order(r.label))):
            if r.f1 < 0.9:
                note = "silent" if r.silent else "missing" if r.missing else ""
                print(f"{r.era:9} {r.f1:.2f} {r.label:8} {note:8} {r.path}")
    print(f"{'item':8} filings   F1     silently wrong  missing")
    for label, of in found["labels"].items():
        print(f"{label:8} {of['filings']:7} {of['f1']:7.4f} {of['silently_wrong']:9} "
              f"{of['missing']:9}")  # fmt: skip
    for era, (core, everything) in found["eras"].items():
        print(f"{era:9} macro-F1 of 1, 1A, 3, 7: {core:.4f}, of all items: {everything:.4f}")
    print(f"{found['filings']} filings: macro-F1 of 1, 1A, 3, 7: {found['macro_f1_core']:.4f}, of "
          f"all items: {found['macro_f1_all']:.4f}; {found['silently_wrong']} of {found['items']} "
          f"items silently wrong, {found['missing']} missing")  # fmt: skip


if __name__ == "__main__":
    main()
