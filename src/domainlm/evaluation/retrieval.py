"""Passages on the same topic by somebody else, found by a passage.

Every held-out passage is a query; right are the passages whose section has the same label, among
all those of other groups. What names a group is masked, and numbers are, so that nothing but the
topic is left to match. BM25 is the yardstick: dense features often lose to it outside the domain
that they were trained on (Thakur 2021).
"""

import dataclasses
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from domainlm.corpus.documents import Document
from domainlm.evaluation.evidence import Retrieval
from domainlm.evaluation.probe import stretches
from domainlm.evaluation.spans import fetch, hashed, pick, round_robin
from domainlm.evaluation.statistics import ratio_interval

Array = npt.NDArray[Any]
WORDS = 100
GROUPS = 4  # a label must occur in so many groups
LABELS = 12  # at most: those with the most passages
PER_SECTION = 2  # passages of one section at most
DOCUMENTS = 400  # read at most
RANKS = 10
K1, B = 1.2, 0.75  # Lucene's
_CAPITAL = re.compile(r"\b[A-Z][\w&-]*")
_NUMBER = re.compile(r"\d+(?:[.,]\d+)*")


@dataclasses.dataclass(frozen=True)
class Passage:
    """`WORDS` words of a section labelled `label`, without names and numbers."""

    label: str
    document: str
    group: str
    text: str


def passages(paths: Sequence[Path], total: int, seed: int) -> tuple[list[Passage], str]:
    """At most `total` passages, balanced over labels, in hash order; and a note where amiss.

    They are of `unseen` documents, of `seen` ones where there are none. Empty where fewer than two
    labels have enough groups.
    """
    split = next((s for s in ("unseen", "seen") if pick(paths, s, 1, seed)), "")
    if not split:
        return [], "No retrieval: there are no held-out documents."
    pools: dict[str, dict[str, list[Passage]]] = {}  # label -> group
    titles: dict[str, str] = {}  # of documents
    owners: dict[str, str] = {}  # capitalised word -> the one group that has it, else ""
    for document in fetch(paths, pick(paths, split, DOCUMENTS, seed)):
        titles[document.id] = document.title
        for word in set(_CAPITAL.findall(document.text)):
            if owners.setdefault(word.casefold(), document.group) != document.group:
                owners[word.casefold()] = ""
        for passage in _of_document(document, seed):
            pools.setdefault(passage.label, {}).setdefault(passage.group, []).append(passage)
    sizes = {
        label: sum(map(len, groups.values()))
        for label, groups in pools.items()
        if len(groups) >= GROUPS
    }
    labels = sorted(sizes, key=lambda label: (-sizes[label], label))[:LABELS]
    if len(labels) < 2:
        return [], (
            f"No retrieval: it needs two section labels in {GROUPS} groups each; "
            f"the {split} documents have {len(labels)}."
        )
    chosen: list[Passage] = []
    for label in labels:
        queues = {g: _by_hash(found, seed) for g, found in pools[label].items()}
        chosen += round_robin(queues, total // len(labels), seed)
    masked = [
        dataclasses.replace(
            p, text=mask(p.text, f"{titles[p.document]} {p.group}", p.group, owners)
        )
        for p in chosen
    ]
    note = "" if split == "unseen" else "The passages to retrieve are of groups also in train."
    return _by_hash(masked, seed), note


def _by_hash(passages: Sequence[Passage], seed: int) -> list[Passage]:
    return sorted(passages, key=lambda p: hashed(seed, p.document, p.text))


def _of_document(document: Document, seed: int) -> Iterator[Passage]:
    """At most `PER_SECTION` passages, by hash, of each section without a flag."""
    for s in (s for s in document.sections if not s.flags):
        place = (seed, document.id, s.label, s.start)
        for text in stretches(document.text[s.start : s.end], WORDS, PER_SECTION, *place):
            yield Passage(s.label, document.id, document.group, text)


def mask(text: str, names: str, group: str, owners: Mapping[str, str]) -> str:
    """`text` with NAME for capitalised words of `names` or of no other group, and 0 for numbers.

    `owners` says which group alone has a word (folded); empty where several have it.
    """
    own = {word.casefold() for word in re.findall(r"\w[\w&-]*", names)}

    def hidden(match: re.Match[str]) -> str:
        word = match[0].casefold()
        return "NAME" if word in own or owners.get(word) == group else match[0]

    return _NUMBER.sub("0", _CAPITAL.sub(hidden, text))


def bm25(queries: Sequence[str], documents: Sequence[str]) -> Array:
    """BM25 of each document for each query: float array (queries, documents).

    The sum over a query's words of ln(1 + (N - df + 0.5) / (df + 0.5)) x
    tf / (tf + k1 (1 - b + b x length / mean length)): Robertson and Zaragoza 2009 as Lucene has it
    (Kamphuis 2020), k1 = 1.2, b = 0.75. A word that a query has twice counts twice.
    """
    from sklearn.feature_extraction.text import CountVectorizer

    counter = CountVectorizer().fit([*queries, *documents])
    counts = counter.transform(documents).astype(np.float64).tocoo()
    lengths = np.bincount(counts.row, counts.data, len(documents))
    frequency = np.bincount(counts.col, minlength=counts.shape[1])
    rarity = np.log1p((len(documents) - frequency + 0.5) / (frequency + 0.5))
    norm = K1 * (1 - B + B * lengths / max(lengths.mean(), 1e-9))
    counts.data = rarity[counts.col] * counts.data / (counts.data + norm[counts.row])
    scores: Array = (counter.transform(queries) @ counts.T.tocsr()).toarray()
    return scores


def overlaps(queries: Sequence[str], documents: Sequence[str]) -> dict[str, Array]:
    """BM25 and TF-IDF cosine, fitted on these very texts: arrays (queries, documents)."""
    from sklearn.feature_extraction.text import TfidfVectorizer

    words = TfidfVectorizer(sublinear_tf=True).fit([*queries, *documents])
    cosine = (words.transform(queries) @ words.transform(documents).T).toarray()
    return {"BM25": bm25(queries, documents), "TF-IDF": cosine}


def cosines(features: Array) -> Array:
    """Cosine of every two rows of (passages, width), about the rows' mean.

    Hidden states share a large common direction; without it what differs shows (Mu 2018).
    """
    values = np.asarray(features, dtype=np.float64)
    values = values - values.mean(0)
    values = values / np.maximum(np.linalg.norm(values, axis=1, keepdims=True), 1e-12)
    found: Array = values @ values.T
    return found


def quality(scores: Array, right: Array, allowed: Array) -> tuple[Array, Array]:
    """nDCG@10 and reciprocal rank of each query, from arrays (queries, candidates).

    Candidates that are not `allowed` are left out; of equal scores the first candidate leads.
    Gains are 0 or 1, the discount is log2(1 + rank) (Jarvelin 2002); the reciprocal rank is that
    of the first right candidate, however deep. Both are 0 where a query has no right candidate.
    """
    right = right & allowed
    order = np.argsort(np.where(allowed, -scores, np.inf), axis=1, kind="stable")
    hits = np.take_along_axis(right, order, 1)
    discounts = 1 / np.log2(np.arange(min(RANKS, scores.shape[1])) + 2)
    ideal = np.r_[0, np.cumsum(discounts)][np.minimum(right.sum(1), len(discounts))]
    gains = hits[:, : len(discounts)] @ discounts
    found = hits.any(1)
    return (
        np.divide(gains, ideal, out=np.zeros_like(gains), where=found),
        found / (hits.argmax(1) + 1.0),
    )


def measure(passages: Sequence[Passage], features: Mapping[str, Any], seed: int) -> list[Retrieval]:
    """A row for BM25, for TF-IDF, and for each model's features, float arrays (passages, width)."""
    texts = [p.text for p in passages]
    labels, groups = np.array([p.label for p in passages]), np.array([p.group for p in passages])
    allowed = groups[:, None] != groups
    right = (labels[:, None] == labels) & allowed
    asked = right.any(1)
    rows = []
    tables = overlaps(texts, texts) | {name: cosines(f) for name, f in features.items()}
    for scorer, scores in tables.items():
        ndcg, reciprocal = quality(scores[asked], right[asked], allowed[asked])
        rows.append(
            Retrieval(
                scorer=scorer,
                queries=int(asked.sum()),
                candidates=len(passages),
                groups=len(set(groups[asked])),
                ndcg10=float(ndcg.mean()),
                mrr=float(reciprocal.mean()),
                ci95=ratio_interval(groups[asked].tolist(), ndcg, np.ones_like(ndcg), seed=seed),
            )
        )
    return rows
