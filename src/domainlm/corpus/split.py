"""Duplicates and the split by group and date, over columns of all documents at once.

`train`       before the cut, or undated, of a group that is trained on
`validation`  a small hashed share of those, for decisions during training
`seen`        a trained group's documents after the cut
`unseen`      after the cut, of a group never trained on (without dates: all of such a group)
`unused`      an unseen group before the cut: it would tell the model who they are

Near-duplicate links join groups (co-registrants, renamed companies), and joined groups go to one
side. A text that stands in many groups (a licence, a form) joins nobody: of unseen groups such
documents are `unused`. So no link is left between `unseen` and `train`.
"""

import dataclasses
import datetime
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from domainlm.artifacts import sha256_bytes
from domainlm.corpus.documents import SPLITS
from domainlm.corpus.shuffle import changes
from domainlm.errors import DomainLMError
from domainlm.recipe import Duplicates, Split

PLACES = (*SPLITS, "duplicate", "near_duplicate")  # where a document can go; the last two drop it
TRAIN, VALIDATION, SEEN, UNSEEN, UNUSED, DUPLICATE, NEAR = range(len(PLACES))
COMMON = 4  # a near-duplicate text in more groups than this joins nobody
UNDATED = np.datetime64("NaT", "D")

Codes = npt.NDArray[np.int64]


@dataclasses.dataclass(frozen=True)
class Columns:
    """What the split needs to know of each document, in reading order."""

    ids: Sequence[str]
    groups: Sequence[str]  # names, sorted
    group: Codes  # number of the document's group
    dates: npt.NDArray[np.datetime64]  # days, NaT for none
    hashes: npt.NDArray[np.uint64]  # (documents, 2): the hash of the text
    links: npt.NDArray[np.int64]  # (links, 2): documents that are near-duplicates


@dataclasses.dataclass(frozen=True)
class Assignment:
    """Where each document goes (number in `PLACES`), and what the split did and can promise."""

    places: npt.NDArray[np.int8]
    cut: datetime.date | None
    joined: int  # groups that near-duplicate links join to another
    common: int  # documents of unseen groups that are unused since many groups have them
    promises: list[str]


def assign(columns: Columns, split: Split, policy: Duplicates) -> Assignment:
    """Every document's place. Raises where nothing can be held apart."""
    places = np.full(len(columns.ids), TRAIN, np.int8)
    if policy.exact != "keep":
        places[_repeated(_codes(columns.hashes), columns.dates, policy.exact)] = DUPLICATE
    kept = places == TRAIN
    links = columns.links[kept[columns.links].all(axis=1)]
    cluster = _components(len(places), links)
    common = kept & (_groups_of(cluster, columns.group) > COMMON)
    component = _joined(columns, links[~common[links[:, 0]]])
    cut = _cut(columns.dates[kept], split)
    in_unseen = np.zeros(len(places), bool)
    if not split.none:
        in_unseen = _unseen(columns, component, kept, split)[columns.group]
    later = np.zeros(len(places), bool)
    if cut is not None:
        later = columns.dates >= np.datetime64(cut)  # false where there is no date
    places[kept & later] = SEEN
    places[kept & in_unseen] = UNUSED
    places[kept & in_unseen & (later | (cut is None)) & ~common] = UNSEEN
    if policy.near != "keep":
        trained = np.flatnonzero(places == TRAIN)
        repeated = _repeated(cluster[trained], columns.dates[trained], policy.near)
        places[trained[repeated]] = NEAR
    _validate(places, columns.ids, split)
    _check(places, columns, cut, split)
    return Assignment(
        places,
        cut,
        int((np.bincount(component)[component] > 1).sum()),
        int((kept & in_unseen & common).sum()),
        _promises(places, columns, cut, policy.threshold),
    )


def _codes(hashes: npt.NDArray[np.uint64]) -> Codes:
    """Numbers that are equal where the rows are."""
    order = np.lexsort((hashes[:, 1], hashes[:, 0]))
    new = changes(hashes[order, 0]) | changes(hashes[order, 1])
    codes = np.empty(len(order), np.int64)
    codes[order] = np.cumsum(new)
    return codes


def _repeated(codes: Codes, dates: npt.NDArray[np.datetime64], keep: str) -> npt.NDArray[np.bool_]:
    """All but one document of each code: the oldest or newest stays, undated ones come last."""
    day = dates.astype("datetime64[D]").astype(np.int64)
    rank = day if keep == "oldest" else -day
    rank = np.where(np.isnat(dates), np.iinfo(np.int64).max, rank)
    order = np.lexsort((rank, codes))  # stable: then the reading order
    repeated = np.ones(len(order), bool)
    repeated[order[changes(codes[order])]] = False
    return repeated


def _components(count: int, links: npt.NDArray[np.int64]) -> Codes:
    """The number of the connected component of each of `count` nodes."""
    ones = np.ones(len(links), np.int8)
    graph = coo_array((ones, (links[:, 0], links[:, 1])), shape=(count, count))
    labels: Codes = connected_components(graph, directed=False)[1].astype(np.int64)
    return labels


def _groups_of(cluster: Codes, group: Codes) -> Codes:
    """For each document, in how many groups its cluster stands."""
    pairs = np.unique(np.stack([cluster, group]), axis=1)
    spread: Codes = np.bincount(pairs[0], minlength=int(cluster.max(initial=0)) + 1)[cluster]
    return spread


def _joined(columns: Columns, links: npt.NDArray[np.int64]) -> Codes:
    """The component of each group, where links between documents join their groups."""
    return _components(len(columns.groups), columns.group[links])


def _cut(dates: npt.NDArray[np.datetime64], split: Split) -> datetime.date | None:
    """The date from which documents are held out; None where there are no dates to cut by."""
    dated = np.sort(dates[~np.isnat(dates)])
    if not dated.size or split.none:
        return None
    if split.cut is not None:
        return split.cut
    share = split.newest if split.newest is not None else 0.2
    newest: datetime.date = dated[min(len(dated) - 1, int(len(dated) * (1 - share)))].item()
    return newest


def _unseen(
    columns: Columns, component: Codes, kept: npt.NDArray[np.bool_], split: Split
) -> npt.NDArray[np.bool_]:
    """Which groups are never trained on: a share of them, components whole, in hashed order."""
    there = np.unique(columns.group[kept])
    members: dict[int, list[int]] = {}
    for number in there.tolist():
        members.setdefault(int(component[number]), []).append(number)
    if len(members) < 2:
        one = "has the same group" if len(there) < 2 else "is linked by near-duplicates"
        raise DomainLMError(
            f"too few groups to split: {len(there)}, {len(members)} without a link to another",
            where="source.group",
            why=f"every document {one}, so no group can be kept apart for the test",
            fix='say who wrote what: --set source.group=COLUMN, or "file" if files are independent',
        )
    hashed = {
        c: min(sha256_bytes(f"{split.seed}|group|{columns.groups[g]}".encode()) for g in names)
        for c, names in members.items()
    }
    wanted = max(1, round(split.unseen * len(there)))
    chosen: list[int] = []
    for c in sorted(members, key=hashed.__getitem__):
        if len(chosen) + len(members[c]) <= wanted:
            chosen += members[c]
    if not chosen:  # every component is larger than the share: the smallest
        chosen = members[min(members, key=lambda c: (len(members[c]), hashed[c]))]
    unseen = np.zeros(len(columns.groups), bool)
    unseen[chosen] = True
    return unseen


def _validate(places: npt.NDArray[np.int8], ids: Sequence[str], split: Split) -> None:
    train = np.flatnonzero(places == TRAIN).tolist()
    if len(train) > 1 and split.validation:
        train.sort(key=lambda n: sha256_bytes(f"{split.seed}|validation|{ids[n]}".encode()))
        places[train[: max(1, round(split.validation * len(train)))]] = VALIDATION


def _check(
    places: npt.NDArray[np.int8], columns: Columns, cut: datetime.date | None, split: Split
) -> None:
    missing = [] if (places == TRAIN).any() else ["train"]
    if not split.none and not ((places == SEEN) | (places == UNSEEN)).any():
        missing.append("held out")
    if missing:
        raise DomainLMError(
            f"the split leaves no document {' and none '.join(missing)}",
            where="split",
            why=f"{len(columns.ids)} documents, {len(columns.groups)} groups, cut at {cut}",
            fix="move split.cut, or give split.newest = 0.2",
        )


def _promises(
    places: npt.NDArray[np.int8], columns: Columns, cut: datetime.date | None, threshold: float
) -> list[str]:
    """What the split can and cannot promise, in sentences."""
    unseen = places == UNSEEN
    groups = len(np.unique(columns.group[unseen]))
    said = []
    if groups:
        said.append(
            f"None of the {groups} groups of the unseen split has a document in train, and no "
            f"pair of near-duplicates (Jaccard {threshold:g}) has one side in each."
        )
    undated = int(np.isnat(columns.dates[(places == TRAIN) | (places == VALIDATION)]).sum())
    if cut is None and groups:
        said.append(
            "There are no dates: held-out text is not later than what was trained on, so nothing "
            "here says how the model reads text that is yet to be written."
        )
    elif cut is not None and not undated:
        said.append(f"Everything trained on is dated before {cut}.")
    elif cut is not None:
        said.append(f"{undated:,} documents that are trained on have no date and may be later.")
    if groups and len(columns.groups) == len(columns.ids):
        said.append(
            "Every document is its own group: two by the same author may stand on both sides."
        )
    return said
