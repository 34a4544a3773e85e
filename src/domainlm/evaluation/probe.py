"""What the features know: which section of a document a short passage comes from.

A linear classifier over frozen features (Alain and Bengio 2017) learns from passages of `train`
and is tested on passages of groups it has never seen. Word counts (TF-IDF) solve much of this
task, so they stand before the models; headings and item numbers, which give it away, are left out.
Where documents have no sections in common, the question is who wrote a passage.
"""

import dataclasses
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np

from domainlm.corpus.documents import Document
from domainlm.evaluation.classifier import decide, predict
from domainlm.evaluation.evidence import Probe
from domainlm.evaluation.features import POOLINGS, States
from domainlm.evaluation.spans import fetch, hashed, pick, round_robin
from domainlm.evaluation.statistics import ratio_interval

WORDS = 64
HEADING_LINES = 2
SHORT = 15  # words: a longer line that begins as the heading does is text
LABELS = (2, 5, 16)  # at least, at most, and at most in the deep probe
GROUPS = 4  # a label must occur in so many groups, in train and in test
PER_CLASS = 8  # and in so many passages
MOST = 4096  # train passages of a label
TEST = 2048  # test passages of all labels together
PER_SECTION = 16  # passages of one section at most
DOCUMENTS = 400  # read at most, on each side; more where more passages are asked for
PAIR = ("Item 1A", "Item 7")  # the two-way task of filings; elsewhere the first two labels
FOLDS = 4
TERMS = 100_000  # words and pairs of words that TF-IDF counts at most
CHOICE = 512  # passages of a label at most that decide on layer, pooling and penalty
ITEM = re.compile(r"\bitems?\s*\d{1,2}\s*(\([a-z]\)|[a-c]\b)?\.?", re.IGNORECASE)
_CONTINUED = re.compile(r"\bcont(inued|.?d)?\W*$")
_LETTERS = re.compile(r"[^\W\d_]{4,}")

Kind = Literal["section", "group"]
Pools = dict[str, dict[str, dict[str, list["Passage"]]]]  # label -> side -> group


@dataclasses.dataclass(frozen=True)
class Passage:
    """`WORDS` words; `side` is "train" or "test".

    `label` is the section that they are of, `group` who wrote them. Where that is the question
    (`kind` is "group"), the label is who wrote them, and `group` the document: folds and intervals
    are over groups.
    """

    side: str
    label: str
    document: str
    group: str
    text: str
    kind: Kind = "section"


def passages(
    paths: Sequence[Path], total: int, seed: int, most: int = LABELS[1]
) -> tuple[list[Passage], str]:
    """About `total` passages of at most `most` labels, and a note where something is amiss.

    Half are test (at most `TEST`), of `unseen` documents, of `seen` ones where there are none. A
    label has its equal share of each side, or all that there are. The train passages of a label
    stand in an order whose beginnings are spread over groups. Empty with a note where fewer than
    two labels have enough passages.
    """
    if total == 0:
        return [], "The section probe was not asked for (evaluate.passages = 0)."
    held = [split for split in ("unseen", "seen") if pick(paths, split, 1, seed)]
    if not held:
        return [], "No section probe: there are no held-out documents."
    if chosen := _choose(_pools(paths, held[0], "section", total, seed), total, most, seed):
        unseen = held[0] == "unseen"
        return chosen, "" if unseen else "The probe's test passages are of groups also in train."
    if "seen" in held and (
        chosen := _choose(_pools(paths, "seen", "group", total, seed), total, most, seed)
    ):
        return chosen, "No sections recur in this corpus: the probe asks who wrote a passage."
    return [], (
        f"No section probe: it needs {LABELS[0]} section labels with {PER_CLASS} passages of "
        f"{GROUPS} groups each, in train and in {held[0]}, or as many authors with {GROUPS} "
        "documents each, in train and later; this corpus has neither."
    )


def _pools(paths: Sequence[Path], test: str, kind: Kind, total: int, seed: int) -> Pools:
    """The passages to choose from, of `train` and of the split `test`."""
    pools: Pools = {}
    for side, split in (("train", "train"), ("test", test)):
        limit = max(DOCUMENTS, total // 8)
        for document in fetch(paths, pick(paths, split, limit, seed)):
            for passage in _of_document(document, side, kind, seed):
                sides = pools.setdefault(passage.label, {"train": {}, "test": {}})
                sides[side].setdefault(passage.group, []).append(passage)
    return pools


def _choose(pools: Pools, total: int, most: int, seed: int) -> list[Passage]:
    """Passages of the labels that have most of them on the side that has fewer."""

    def available(label: str) -> int:
        """0 where a side has too few groups."""
        sides = pools[label].values()
        enough = all(len(groups) >= GROUPS for groups in sides)
        return min(sum(map(len, groups.values())) for groups in sides) if enough else 0

    ready = [label for label in pools if available(label) >= PER_CLASS]
    most = min(most, total // (2 * PER_CLASS))
    labels = sorted(ready, key=lambda label: (-available(label), label))[:most]
    if len(labels) < LABELS[0]:
        return []
    test = min(total // 2, TEST) // len(labels)
    shares = {"train": min(total // len(labels) - test, MOST), "test": test}
    chosen: list[Passage] = []
    for label in sorted(labels):
        for side, groups in pools[label].items():
            queues = {g: sorted(p, key=lambda p: hashed(seed, p.text)) for g, p in groups.items()}
            chosen += round_robin(queues, shares[side], seed)
    return chosen


def _of_document(document: Document, side: str, kind: Kind, seed: int) -> Iterator[Passage]:
    """At most `PER_SECTION` passages, by hash, of each section without a flag.

    A document whose author is the question is one section.
    """
    sections = [(s.label, s.start, s.end) for s in document.sections if not s.flags]
    group = document.group
    if kind == "group":
        sections, group = [(document.group, 0, len(document.text))], document.id
    for label, begin, end in sections:
        place = (seed, document.id, label, begin)
        for text in stretches(document.text[begin:end], WORDS, PER_SECTION, *place):
            yield Passage(side, label, document.id, group, text, kind)


def stretches(section: str, words: int, most: int, *place: object) -> list[str]:
    """At most `most` pieces of `words` words of a section, by a hash of `place`; none overlap.

    Its heading is left out, and so are short lines that begin with it, as on later pages
    ("Item 1A. Risk Factors (continued)"), and item numbers.
    """
    lines = section.strip().split("\n")
    headings = {_bare(line) for line in lines[:HEADING_LINES]} - {()}
    kept = [s for s in lines[HEADING_LINES:] if not _repeats(_bare(s), headings)]
    found = ITEM.sub(" ", "\n".join(kept)).split()
    starts = range(0, len(found) - words + 1, words)
    chosen = sorted(starts, key=lambda start: hashed(*place, start))[:most]
    return [" ".join(found[start : start + words]) for start in chosen]


def _bare(line: str) -> tuple[str, ...]:
    """The words of a heading, whatever its case, without its item number and "(continued)"."""
    return tuple(re.findall(r"\w+", _CONTINUED.sub("", ITEM.sub(" ", line).casefold())))


def _repeats(line: tuple[str, ...], headings: set[tuple[str, ...]]) -> bool:
    return len(line) <= SHORT and any(line[: len(heading)] == heading for heading in headings)


@dataclasses.dataclass(frozen=True)
class _Set:
    """A task with `per_class` train passages of each label, or all there are. Numbers of passages.

    `sample` is the part of `train` that decides, `folds` are within it; `truth` has the labels of
    all passages.
    """

    labels: tuple[str, ...]
    per_class: int
    train: Any
    test: Any
    sample: Any
    folds: list[tuple[Any, Any]]
    truth: Any

    @property
    def usual(self) -> str:
        """The commonest label of train."""
        names, counts = np.unique(self.truth[self.train], return_counts=True)
        return str(names[counts.argmax()])


def measure(
    passages: Sequence[Passage],
    features: Iterable[tuple[str, States]],
    seed: int,
    deep: bool = False,
) -> list[Probe]:
    """Rows for TF-IDF, for always answering the commonest label, and for each of the features.

    `features` are names with the states of all passages, taken one by one. `deep`: also the task
    of two labels, a rule of keywords, and the learning curve over 8, 16, 32 ... labels a class,
    each part of the next. Rows are by task, labels a class and features, TF-IDF first.
    """
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.preprocessing import StandardScaler

    texts = np.array([p.text for p in passages], dtype=object)
    sets = list(_sets(passages, deep))

    def fitted(name: str, found: Sequence[tuple[Any, Any, Any]], prepare: Any) -> list[Probe]:
        """A row of each set; `found` has layer, pooling and values of all passages."""
        decided: dict[bytes, tuple[int, float]] = {}
        rows = []
        for part in sets:
            key = part.sample.tobytes()
            if key not in decided:
                decided[key] = decide([v for *_, v in found], prepare, part.truth, part.folds)
            best, penalty = decided[key]
            layer, pooling, values = found[best]
            answers = predict(values, prepare, part.truth, part.train, part.test, penalty)
            rows.append(_row(passages, part, name, answers, seed, layer, pooling))
        return rows

    words = TfidfVectorizer(
        ngram_range=(1, 2), sublinear_tf=True, token_pattern=r"\w+", min_df=2, max_features=TERMS
    )
    rules: dict[str, Callable[[_Set], Any]] = {"majority": lambda s: [s.usual] * len(s.test)}
    if deep:
        rules["keywords"] = lambda s: _keywords(texts[s.test], s.labels, s.usual)
    columns = [fitted("TF-IDF", [(None, None, texts)], words)]
    for name, rule in rules.items():
        columns.append([_row(passages, part, name, rule(part), seed) for part in sets])
    for name, states in features:
        found = [
            (layer, pooling, values)
            for layer, poolings in zip(states.layers, states.values, strict=True)
            for pooling, values in zip(POOLINGS, poolings, strict=False)
        ]
        columns.append(fitted(name, found, StandardScaler()))
    return [column[number] for number in range(len(sets)) for column in columns]


def _sets(passages: Sequence[Passage], deep: bool) -> Iterator[_Set]:
    """All labels with all passages; or both tasks, and every power of two from `PER_CLASS` on."""
    from sklearn.model_selection import StratifiedGroupKFold

    labels = np.array([p.label for p in passages])
    groups = np.array([p.group for p in passages])
    train = np.array([p.side == "train" for p in passages])
    names = tuple(sorted(set(labels.tolist())))
    tasks = [names]
    if deep and len(names) > 2:
        tasks.append(PAIR if set(PAIR) <= set(names) else names[:2])
    for task in tasks:
        queues = [np.flatnonzero(train & (labels == name)) for name in task]
        test = np.flatnonzero(~train & np.isin(labels, task))
        most = max(map(len, queues))
        size, sizes = PER_CLASS, [most]
        while deep and size < most:
            sizes.insert(-1, size)
            size *= 2
        for size in sizes:
            kept, sample = (
                np.concatenate([q[:n] for q in queues]) for n in (size, min(size, CHOICE))
            )
            folds = StratifiedGroupKFold(FOLDS).split(sample, labels[sample], groups[sample])
            places = [(sample[a], sample[b]) for a, b in folds]
            yield _Set(task, size, kept, test, sample, places, labels)


def _keywords(texts: Sequence[str], labels: Sequence[str], usual: str) -> list[str]:
    """The rule that a person would write: the label whose heading's words occur most; else `usual`.

    Words of four letters and more, without stop words and a final s.
    """
    from sklearn.feature_extraction.text import ENGLISH_STOP_WORDS

    from domainlm.evaluation.choices import heading  # which reads this module

    def stems(text: str) -> list[str]:
        words = _LETTERS.findall(ITEM.sub(" ", text).casefold())
        return [word.rstrip("s") for word in words if word not in ENGLISH_STOP_WORDS]

    wanted = {label: set(stems(heading(label))) for label in (usual, *labels)}
    answers = []
    for text in texts:
        counts = Counter(stems(text))
        answers.append(max(wanted, key=lambda label: sum(counts[w] for w in wanted[label])))
    return answers


def _row(
    passages: Sequence[Passage],
    part: _Set,
    name: str,
    answers: Any,
    seed: int,
    layer: int | None = None,
    pooling: Any = None,
) -> Probe:
    from sklearn.metrics import f1_score

    truth = part.truth[part.test]
    right = (np.asarray(answers) == truth).astype(float)
    task = f"which of {len(part.labels)} sections {WORDS} words come from"
    if passages[0].kind == "group":
        task = f"who of {len(part.labels)} wrote {WORDS} words of a document never seen"
    return Probe(
        task=task,
        features=name,
        layer=layer,
        pooling=pooling,
        labels=list(part.labels),
        labels_per_class=part.per_class,
        train_passages=len(part.train),
        test_passages=len(part.test),
        accuracy=float(right.mean()),
        macro_f1=float(f1_score(truth, answers, average="macro")),
        majority=float((truth == part.usual).mean()),
        ci95=ratio_interval(
            [passages[n].group for n in part.test], right, np.ones_like(right), seed=seed
        ),
    )
