"""A shuffle by files: every part writes its records sorted, a partition is a slice of each.

Records have an unsigned 64-bit hash as first field. Partition p of P is the p-th range of hashes,
found by bisection in memory maps, so a task holds its slice and no more.
"""

from bisect import bisect_left
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from domainlm.artifacts import atomic_write

PARTITION_BYTES = 64_000_000  # of records a task gathers, in the mean


def write(path: Path, records: npt.NDArray[Any]) -> None:
    """Write an array as `.npy`, atomically."""
    with atomic_write(path) as file:
        np.save(file, records, allow_pickle=False)


def changes(values: npt.NDArray[Any]) -> npt.NDArray[np.bool_]:
    """True where a value of a sorted array differs from the one before, and at the first."""
    found = np.ones(len(values), bool)
    found[1:] = values[1:] != values[:-1]
    return found


def partitions(paths: Sequence[Path]) -> int:
    """Into how many partitions these files are to be cut."""
    return 1 + sum(p.stat().st_size for p in paths) // PARTITION_BYTES


def bounds(count: int, align: int = 1) -> list[int]:
    """Where the partitions begin, and 2^64: multiples of `align`, so that keys alike stay together.

    For example with `align` 2^32, keys with the same upper half are in the same partition.
    """
    return [p * 2**64 // count // align * align for p in range(count)] + [2**64]


def gather(
    paths: Sequence[Path], field: str, partition: int, count: int, align: int = 1
) -> npt.NDArray[Any]:
    """The records of all files whose `field` is in one partition of `count`, file by file."""
    low, high = bounds(count, align)[partition : partition + 2]
    found = []
    for path in paths:
        records = np.load(path, mmap_mode="r")
        found.append(records[slice(*between(records, field, low, high))])
    return np.concatenate(found)


def between(rows: npt.NDArray[Any], field: str, low: int, high: int) -> tuple[int, int]:
    """Where the rows with `low <= row[field] < high` begin and end, of rows sorted by it.

    By bisection of a memory map: np.searchsorted would read the whole field.
    """
    begin = bisect_left(rows, low, key=lambda row: int(row[field]))
    return begin, bisect_left(rows, high, begin, key=lambda row: int(row[field]))
