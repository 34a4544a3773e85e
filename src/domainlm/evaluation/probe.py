"""What the features know: which section of a document a short passage comes from.

A linear classifier over frozen features (Alain and Bengio 2017) learns from passages of `train`
and is tested on passages of groups it has never seen. Word counts (TF-IDF) solve much of this
task, so they stand beside the models; headings and item numbers, which give it away, are left out.
"""

import dataclasses
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from domainlm.corpus.documents import Document
from domainlm.evaluation.evidence import Probe
from domainlm.evaluation.spans import fetch, hashed, pick, round_robin
from domainlm.evaluation.statistics import ratio_interval

WORDS = 64
HEADING_LINES = 2
LABELS = (2, 5)
GROUPS = 4  # a label must occur in so many groups, in train and in test
PER_CLASS = 8  # and in so many passages
PER_SECTION = 4  # passages of one section at most
DOCUMENTS = 400  # read at most, on each side
ITEM = re.compile(r"\bitems?\s*\d{1,2}\s*(\([a-z]\)|[a-c]\b)?\.?", re.IGNORECASE)


@dataclasses.dataclass(frozen=True)
class Passage:
    """`WORDS` words of a section labelled `label`; `side` is "train" or "test"."""

    side: str
    label: str
    document: str
    group: str
    text: str


def passages(paths: Sequence[Path], total: int, seed: int) -> tuple[list[Passage], str]:
    """Balanced passages, half to train and half to test, and a note where something is amiss.

    Test passages are of `unseen` documents, of `seen` ones where there are none. Empty with a
    note where fewer than two labels have enough passages.
    """
    if total == 0:
        return [], "The section probe was not asked for (evaluate.passages = 0)."
    test = next((s for s in ("unseen", "seen") if pick(paths, s, 1, seed)), "")
    if not test:
        return [], "No section probe: there are no held-out documents."
    pools: dict[str, dict[str, dict[str, list[Passage]]]] = {}  # label -> side -> group
    for side, split in (("train", "train"), ("test", test)):
        for document in fetch(paths, pick(paths, split, DOCUMENTS, seed)):
            for passage in _of_document(document, side, seed):
                sides = pools.setdefault(passage.label, {"train": {}, "test": {}})
                sides[side].setdefault(passage.group, []).append(passage)

    def available(label: str) -> int:
        """Passages of `label` on the side that has fewer; 0 where a side has too few groups."""
        sides = pools[label].values()
        enough = all(len(groups) >= GROUPS for groups in sides)
        return min(sum(map(len, groups.values())) for groups in sides) if enough else 0

    labels = sorted(pools, key=lambda label: (-available(label), label))[: LABELS[1]]
    while labels:
        count = min(total // 2 // len(labels), available(labels[-1]))
        if count >= PER_CLASS:
            break
        labels.pop()
    if len(labels) < LABELS[0]:
        return [], (
            f"No section probe: it needs {LABELS[0]} section labels with {PER_CLASS} passages of "
            f"{GROUPS} groups each, in train and in {test}; this corpus has {len(labels)}."
        )
    chosen: list[Passage] = []
    for label in sorted(labels):
        for groups in pools[label].values():
            queues = {g: sorted(p, key=lambda p: hashed(seed, p.text)) for g, p in groups.items()}
            chosen += round_robin(queues, count, seed)
    note = "" if test == "unseen" else "The probe's test passages are of groups also in train."
    return chosen, note


def _of_document(document: Document, side: str, seed: int) -> list[Passage]:
    """At most `PER_SECTION` passages, by hash, of each section without a flag."""
    found = []
    for section in document.sections:
        if section.flags:
            continue
        lines = document.text[section.start : section.end].strip().split("\n")[HEADING_LINES:]
        words = ITEM.sub(" ", "\n".join(lines)).split()
        starts = range(0, len(words) - WORDS + 1, WORDS)
        place = (document.id, section.label, section.start)
        for start in sorted(starts, key=lambda s: hashed(seed, *place, s))[:PER_SECTION]:
            text = " ".join(words[start : start + WORDS])
            found.append(Passage(side, section.label, document.id, document.group, text))
    return found


def measure(passages: Sequence[Passage], features: Mapping[str, Any], seed: int) -> list[Probe]:
    """One row for TF-IDF and one for each model's features, float arrays (passages, width)."""
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.preprocessing import StandardScaler

    texts = np.array([p.text for p in passages], dtype=object)
    words = TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True, min_df=2)
    rows = [_classify(passages, "TF-IDF", texts, words, seed)]
    for name, values in features.items():
        rows.append(_classify(passages, name, values, StandardScaler(), seed))
    return rows


def _classify(
    passages: Sequence[Passage], name: str, values: Any, prepare: Any, seed: int
) -> Probe:
    """Logistic regression; its penalty is chosen on train alone, in folds of whole groups."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.metrics import f1_score
    from sklearn.model_selection import GridSearchCV, GroupKFold
    from sklearn.pipeline import make_pipeline

    train = np.array([p.side == "train" for p in passages])
    labels = np.array([p.label for p in passages])
    groups = np.array([p.group for p in passages])
    pipeline = make_pipeline(prepare, LogisticRegression(max_iter=500, random_state=seed))
    search = GridSearchCV(
        pipeline,
        {"logisticregression__C": [0.01, 0.1, 1.0, 10.0, 100.0]},
        cv=GroupKFold(min(4, len(set(groups[train])))),
    )
    search.fit(values[train], labels[train], groups=groups[train])
    answers, truth = search.predict(values[~train]), labels[~train]
    right = (answers == truth).astype(float)
    classes, counts = np.unique(truth, return_counts=True)
    return Probe(
        task=f"which section {WORDS} words come from",
        features=name,
        labels=[str(c) for c in classes],
        labels_per_class=int(train.sum()) // len(classes),
        train_passages=int(train.sum()),
        test_passages=int((~train).sum()),
        accuracy=float(right.mean()),
        macro_f1=float(f1_score(truth, answers, average="macro")),
        majority=float(counts.max() / counts.sum()),
        ci95=ratio_interval(groups[~train].tolist(), right, np.ones_like(right), seed=seed),
    )
