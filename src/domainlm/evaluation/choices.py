"""Questions with one right answer among a few, answered by likelihood and without any training.

Which of four real paragraphs of a document comes next, and which section a passage belongs to.
A candidate y is scored for a context x by the pointwise mutual information log p(x, y) - log p(x)
- log p(y), so that it does not win by being likely anywhere (Holtzman 2021). log p(x) is the same
for all candidates and drops out: what is left are nats of whole texts, which no tokenizer can cut
wrongly at the border of x and y.
"""

import bisect
import dataclasses
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any, Literal

import numpy as np

from domainlm.corpus import documents
from domainlm.corpus.documents import Document
from domainlm.corpus.lines import units
from domainlm.evaluation import loss, probe, retrieval
from domainlm.evaluation.evidence import Choice
from domainlm.evaluation.spans import fetch, hashed, pick, round_robin
from domainlm.evaluation.statistics import ratio_interval

CONTEXT = 150  # words
CANDIDATE = 60  # words, the first of a paragraph; a shorter paragraph is none
OTHERS = 3
PER_DOCUMENT = 4
SECTIONS = 200  # questions on the section of a passage
SHORT = 12  # words: a paragraph of fewer is taken for a heading, and no part of a context
# What the items of Form 10-K are called; a label without an entry is its own heading.
TITLES = {
    "1": "Business",
    "1A": "Risk Factors",
    "1B": "Unresolved Staff Comments",
    "1C": "Cybersecurity",
    "2": "Properties",
    "3": "Legal Proceedings",
    "4": "Mine Safety Disclosures",
    "5": "Market for Registrant's Common Equity",
    "6": "Selected Financial Data",
    "7": "Management's Discussion and Analysis of Financial Condition and Results of Operations",
    "7A": "Quantitative and Qualitative Disclosures About Market Risk",
    "8": "Financial Statements and Supplementary Data",
    "9": "Changes in and Disagreements with Accountants",
    "9A": "Controls and Procedures",
    "9B": "Other Information",
    "10": "Directors, Executive Officers and Corporate Governance",
    "11": "Executive Compensation",
    "12": "Security Ownership of Certain Beneficial Owners and Management",
    "13": "Certain Relationships and Related Transactions",
    "14": "Principal Accountant Fees and Services",
    "15": "Exhibits and Financial Statement Schedules",
}
_NUMBER = re.compile(r"\d{1,2}[A-D]?\b")
_WORD = re.compile(r"\S+")


@dataclasses.dataclass(frozen=True)
class Question:
    """Which of `candidates` belongs to `context`; `answer` is the place of the right one."""

    task: Literal["next passage", "section of a passage"]
    document: str
    group: str
    context: str
    candidates: list[str]
    answer: int

    def joined(self, candidate: str) -> str:
        """The text in which the two stand together, as in a document: a heading comes first."""
        if self.task == "section of a passage":
            return f"{candidate}\n\n{self.context}"
        return f"{self.context}\n\n{candidate}"


def questions(paths: Sequence[Path], count: int, seed: int) -> list[Question]:
    """At most `count` questions on the next paragraph, spread over groups; may be none.

    They are of `unseen` documents, of `seen` ones where there are none.
    """
    queues: dict[str, list[Question]] = {}
    for split in ("unseen", "seen"):
        for document in fetch(paths, pick(paths, split, count, seed)):
            for question in _of_document(document, seed):
                queues.setdefault(question.group, []).append(question)
        if queues:
            break
    for queue in queues.values():
        queue.sort(key=lambda q: hashed(seed, q.document, q.context))
    return round_robin(queues, count, seed)


def _of_document(document: Document, seed: int) -> list[Question]:
    """At most `PER_DOCUMENT` questions, by hash: places where one paragraph follows another.

    A paragraph in which a section begins counts as its heading. The others are not of the context
    nor beside the right one.
    """
    starts = sorted(section.start for section in document.sections)
    texts = []
    for begin, end in units(document.text, "paragraph"):
        headed = bisect.bisect_left(starts, begin) < bisect.bisect_left(starts, end)
        texts.append("" if headed else probe.ITEM.sub(" ", document.text[begin:end]).strip())
    words = [[match.span() for match in _WORD.finditer(text)] for text in texts]
    firsts = [
        text[: spans[CANDIDATE - 1][1]] if len(spans) >= CANDIDATE else ""
        for text, spans in zip(texts, words, strict=True)
    ]
    places = [n for n in range(1, len(texts)) if firsts[n] and len(words[n - 1]) >= SHORT]
    found: list[Question] = []
    for place in sorted(places, key=lambda n: hashed(seed, document.id, n)):
        begin, missing = place, CONTEXT
        pieces: list[str] = []
        while begin and missing > 0:
            begin -= 1
            if len(words[begin]) >= SHORT:
                cut = words[begin][-missing:][0][0]
                pieces.append(texts[begin][cut:])
                missing -= len(words[begin])
        near = {"", *firsts[max(0, begin - 1) : place + 2]}
        others = sorted(set(firsts) - near, key=lambda f: hashed(seed, document.id, place, f))
        if missing > 0 or len(others) < OTHERS:
            continue
        context = "\n\n".join(reversed(pieces))
        candidates = _shuffled([firsts[place], *others[:OTHERS]], seed, document.id, place)
        answer = candidates.index(firsts[place])
        whose = (document.id, document.group)
        found.append(Question("next passage", *whose, context, candidates, answer))
        if len(found) == PER_DOCUMENT:
            break
    return found


def _shuffled(candidates: Sequence[str], seed: int, *identity: object) -> list[str]:
    return sorted(candidates, key=lambda text: hashed(seed, "order", *identity, text))


def section_questions(passages: Sequence[probe.Passage], seed: int) -> list[Question]:
    """At most `SECTIONS` of the probe's test passages, by hash, with the headings of all labels.

    None where the probe asks who wrote a passage: that has no heading.
    """
    headings = {p.label: heading(p.label) for p in passages}
    test = [p for p in passages if p.side == "test" and p.kind == "section"]
    found = []
    for p in sorted(test, key=lambda p: hashed(seed, p.document, p.text))[:SECTIONS]:
        candidates = _shuffled(list(headings.values()), seed, p.text)
        answer = candidates.index(headings[p.label])
        whose = (p.document, p.group)
        found.append(Question("section of a passage", *whose, p.text, candidates, answer))
    return found


def heading(label: str) -> str:
    """The heading of `Item 1A` is "Item 1A. Risk Factors"; labels of no item are headings."""
    titles = [TITLES[n] for n in _NUMBER.findall(label) if n in TITLES]
    return f"{label}. {' and '.join(titles)}" if label.startswith("Item") and titles else label


def answers(
    model: Any,
    tokenizer: Any,
    questions: Sequence[Question],
    window: int,
    separator: int,
    batch: int,
) -> list[int]:
    """The place of the candidate that a model prefers, for each question.

    Arguments are those of `loss.nats`, whose errors it raises.
    """
    joined = [q.joined(c) for q in questions for c in q.candidates]
    texts = list(dict.fromkeys([*joined, *(c for q in questions for c in q.candidates)]))
    scored = loss.nats(model, tokenizer, texts, window, loss.half(window), separator, batch)
    nats = {text: value for text, (_, value) in zip(texts, scored, strict=True)}
    return [_best([nats[c] - nats[q.joined(c)] for c in q.candidates]) for q in questions]


def _best(scores: Sequence[float]) -> int:
    return max(range(len(scores)), key=lambda n: scores[n])


def measure(
    questions: Sequence[Question], answers: Mapping[str, Sequence[int]], seed: int
) -> list[Choice]:
    """Rows for BM25, TF-IDF and each model's answers, on questions of one task; none on none."""
    if not questions:
        return []
    texts = list(dict.fromkeys(c for q in questions for c in q.candidates))
    place = {text: n for n, text in enumerate(texts)}
    given: dict[str, Sequence[int]] = {}
    for scorer, table in retrieval.overlaps([q.context for q in questions], texts).items():
        given[scorer] = [
            _best([row[place[c]] for c in q.candidates])
            for row, q in zip(table, questions, strict=True)
        ]
    groups = [q.group for q in questions]
    chance = float(np.mean([1 / len(q.candidates) for q in questions]))
    return [
        _row(
            questions[0].task,
            scorer,
            groups,
            [n == q.answer for n, q in zip(found, questions, strict=True)],
            chance,
            seed,
        )
        for scorer, found in (given | dict(answers)).items()
    ]


def _row(
    task: Literal["next passage", "section of a passage", "next heading"],
    scorer: str,
    groups: Sequence[str],
    right: Sequence[bool],
    chance: float,
    seed: int,
) -> Choice:
    values = np.array(right, dtype=np.float64)
    return Choice(
        task=task,
        scorer=scorer,
        questions=len(values),
        groups=len(set(groups)),
        chance=chance,
        accuracy=float(values.mean()),
        ci95=ratio_interval(groups, values, np.ones_like(values), seed=seed),
    )


def next_item(paths: Sequence[Path], seed: int) -> Choice | None:
    """How often the section after Item n is the form's next item: a rule that reads no text.

    Over all held-out documents of two items and more. The next item is the first in order of
    those that half of the documents with Item n have. Chance is one of all labels. None where
    labels are no items.
    """
    pairs: list[tuple[str, str, str]] = []  # group, label, label of the section that follows
    beside: dict[str, Counter[str]] = {}  # label -> in how many of its documents others stand
    for document in documents.read(paths, documents.HELD_OUT, text=False):
        found = [s.label for s in document.sections if s.end > s.start]
        labels = [label for label in found if label.startswith("Item")]
        if len(labels) > 1:
            pairs += [(document.group, a, b) for a, b in pairwise(labels)]
            for label in set(labels):
                beside.setdefault(label, Counter()).update(set(labels))
    if not pairs:
        return None
    rule = {}
    for label, counts in beside.items():
        form = [other for other, n in counts.items() if 2 * n >= counts[label]]
        later = [other for other in form if _rank(other) > _rank(label)]
        rule[label] = min(later, key=lambda other: (_rank(other), other), default="")
    right = [rule[before] == after for _, before, after in pairs]
    groups = [group for group, *_ in pairs]
    return _row("next heading", "next item", groups, right, 1 / len(beside), seed)


def _rank(label: str) -> tuple[int, str]:
    """Order of items by the last number of a label: Item 1, Item 1A, Items 1 and 2, Item 3."""
    last = (_NUMBER.findall(label) or ["0"])[-1]
    return int(last.rstrip("ABCD")), last
