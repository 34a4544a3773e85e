"""Exact duplicates, and the split by group and date.

`train`       before the cut, or undated, of a group that is trained on
`validation`  a small hashed share of those, for decisions during training
`seen`        a trained group's documents after the cut
`unseen`      after the cut, of a group never trained on (without dates: all of such a group)
`unused`      an unseen group before the cut: it would tell the model who they are
"""

import dataclasses
import datetime
from collections.abc import Sequence

from domainlm.artifacts import sha256_bytes
from domainlm.errors import DomainLMError
from domainlm.recipe import Split


@dataclasses.dataclass(frozen=True)
class Item:
    """What the split needs to know of a document."""

    id: str
    group: str
    date: datetime.date | None
    text_sha256: str


def duplicates(items: Sequence[Item]) -> set[str]:
    """Ids of documents whose text an earlier one (by date, then reading order) already has."""
    order = sorted(range(len(items)), key=lambda n: (items[n].date or datetime.date.max, n))
    first: dict[str, int] = {}
    for n in order:
        first.setdefault(items[n].text_sha256, n)
    return {item.id for n, item in enumerate(items) if first[item.text_sha256] != n}


def cut_date(items: Sequence[Item], split: Split) -> datetime.date | None:
    """The date from which documents are held out; None where there are no dates to cut by."""
    dates = sorted(i.date for i in items if i.date is not None)
    if not dates or split.none:
        return None
    if split.cut is not None:
        return split.cut
    share = split.newest if split.newest is not None else 0.2
    return dates[min(len(dates) - 1, int(len(dates) * (1 - share)))]


def unseen_groups(groups: set[str], split: Split) -> set[str]:
    """The groups never trained on: the first `unseen` share in the order of their hashes."""
    order = sorted(groups, key=lambda g: sha256_bytes(f"{split.seed}|group|{g}".encode()))
    return set(order[: max(1, round(split.unseen * len(order)))])


def assign(items: Sequence[Item], split: Split) -> tuple[dict[str, str], datetime.date | None]:
    """The split of each document by id, and the cut. Raises where nothing can be held apart."""
    groups = {i.group for i in items}
    cut = cut_date(items, split)
    if split.none:
        unseen: set[str] = set()
    elif len(groups) < 2:
        raise DomainLMError(
            f"too few groups to split: {len(groups)}",
            where="source.group",
            why="every document has the same group, so no group can be kept apart for the test",
            fix='say who wrote what: --set source.group=COLUMN, or "file" if files are independent',
        )
    else:
        unseen = unseen_groups(groups, split)
    where = {i.id: _place(i, unseen, cut) for i in items}
    train = [i.id for i in items if where[i.id] == "train"]
    train.sort(key=lambda id_: sha256_bytes(f"{split.seed}|validation|{id_}".encode()))
    if len(train) > 1 and split.validation:
        for id_ in train[: max(1, round(split.validation * len(train)))]:
            where[id_] = "validation"
    missing = [
        name
        for name, there in (
            ("train", "train" in where.values()),
            ("held out", split.none or bool({"seen", "unseen"} & set(where.values()))),
        )
        if not there
    ]
    if missing:
        raise DomainLMError(
            f"the split leaves no document {' and none '.join(missing)}",
            where="split",
            why=f"{len(items)} documents, {len(groups)} groups, cut at {cut}",
            fix="move split.cut, or give split.newest = 0.2",
        )
    return where, cut


def _place(item: Item, unseen: set[str], cut: datetime.date | None) -> str:
    later = cut is not None and item.date is not None and item.date >= cut
    if item.group in unseen:
        return "unseen" if later or cut is None else "unused"
    return "seen" if later else "train"
