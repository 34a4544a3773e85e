"""Lines and paragraphs that stand in many documents, found by counting hashes, never by words.

`records` gives, of each part, one record a line (or paragraph) and document; `count` gathers a
range of keys from all parts and keeps those that are too frequent, with the first document to be
without; `Frequent` looks them up. Three units, which differ in the key and in what is too much:

`boilerplate`  a line, in at least a share of all documents: goes everywhere
`furniture`    a line of a group, in at least a share of the group's documents, of 4 or more
`paragraph`    a paragraph of the train split that more documents had before: goes from the later
"""

import re
from collections.abc import Iterable, Iterator
from hashlib import blake2b
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from domainlm.corpus import shuffle
from domainlm.corpus.documents import Document

RECORD = np.dtype([("key", "<u8"), ("document", "<u8")])
GROUP = 1 << 32  # a key of furniture is 32 bits of the group and 32 of the line
FEWEST = 4  # documents of a group (or a corpus) in which a line can be called frequent
_NUMBER = re.compile(r"\A\d{1,4}\b|\b\d{1,4}\Z")  # at an end of a line: a page's


def file(unit: str, part: int) -> str:
    """The records of a part."""
    return f"corpus/parts/{unit}-{part:05d}.npy"


def table(unit: str, partition: int) -> tuple[str, str]:
    """What `count` writes of a partition: keys, and from which document on they go."""
    prefix = f"corpus/parts/{unit}-table-{partition:04d}"
    return f"{prefix}.keys.npy", f"{prefix}.from.npy"


def units(text: str, unit: str) -> Iterator[tuple[int, int]]:
    """Spans of the lines that are not blank, each with its line end; or of paragraphs."""
    end = "\n\n" if unit == "paragraph" else "\n"
    place = 0
    for piece in text.split(end):
        stop = min(place + len(piece) + len(end), len(text))
        if piece and not piece.isspace():
            yield place, stop
        place = stop


def keys(document: Document, unit: str) -> npt.NDArray[np.uint64]:
    """The key of each of `units(document.text, unit)`."""
    spans = list(units(document.text, unit))
    number = (lambda s: s) if unit == "paragraph" else (lambda s: _NUMBER.sub("0", s))
    words = [number(document.text[a:b].strip()) for a, b in spans]
    found = np.frombuffer(b"".join(map(_hash, words)), "<u8")
    if unit != "furniture":
        return found
    group = np.frombuffer(_hash(document.group), "<u8")
    return (group >> np.uint64(32) << np.uint64(32)) | (found >> np.uint64(32))


def _hash(text: str) -> bytes:
    return blake2b(text.encode("utf-8", "replace"), digest_size=8).digest()


def records(numbered: Iterable[tuple[int, Document]], unit: str) -> npt.NDArray[Any]:
    """Records of a part's documents, each with its number: the distinct keys of each, sorted."""
    found = [np.empty(0, RECORD)]
    for number, document in numbered:
        distinct = np.unique(keys(document, unit))
        own = np.empty(len(distinct), RECORD)
        own["key"], own["document"] = distinct, number
        found.append(own)
    return np.sort(np.concatenate(found), order=["key", "document"])


def count(root: Path, arguments: dict[str, Any]) -> None:
    """Task: of one partition of keys, those that are too frequent, and from which document on.

    Writes its `table`: keys, sorted, and for each the first document to be without.
    """
    unit, limit, total = arguments["unit"], arguments["limit"], arguments["documents"]
    partition, partitions = arguments["partition"], arguments["partitions"]
    paths = [root / file(unit, part) for part in range(arguments["parts"])]
    found = shuffle.gather(paths, "key", partition, partitions, GROUP)
    found.sort(order=["key", "document"])
    key, document = found["key"], found["document"]
    first = np.flatnonzero(shuffle.changes(key))
    frequency = np.diff(np.r_[first, len(key)])
    if unit == "paragraph":
        frequent = frequency > limit
        since = document[first[frequent] + limit]
    else:
        of = np.full(len(first), total)
        if unit == "furniture":
            pairs = np.unique(np.stack([key >> np.uint64(32), document]), axis=1)
            groups, sizes = np.unique(pairs[0], return_counts=True)
            of = sizes[np.searchsorted(groups, key[first] >> np.uint64(32))]
        frequent = (of >= FEWEST) & (frequency >= limit * of)
        since = np.zeros(int(frequent.sum()), np.uint64)
    keys_path, from_path = table(unit, partition)
    shuffle.write(root / keys_path, key[first[frequent]])
    shuffle.write(root / from_path, since)


class Frequent:
    """The keys found by the `count` tasks of one unit, looked up in memory maps."""

    def __init__(self, root: Path, unit: str, partitions: int) -> None:
        self.unit = unit
        self.bounds = np.array(shuffle.bounds(partitions, GROUP)[:-1], np.uint64)
        self.tables = [
            [np.load(root / path, mmap_mode="r") for path in table(unit, partition)]
            for partition in range(partitions)
        ]

    def spans(self, number: int, document: Document) -> list[tuple[int, int]]:
        """Spans of the document's lines or paragraphs that are to go."""
        own = keys(document, self.unit)
        gone = np.zeros(len(own), bool)
        partition = np.searchsorted(self.bounds, own, "right") - 1
        for p in np.unique(partition):
            table, since = self.tables[p]
            here = np.flatnonzero(partition == p)
            place = np.searchsorted(table, own[here])
            there = place < len(table)
            here, place = here[there], place[there]
            gone[here] = (table[place] == own[here]) & (since[place] <= number)
        if not gone.any():
            return []
        return [s for s, g in zip(units(document.text, self.unit), gone, strict=True) if g]
