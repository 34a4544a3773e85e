"""Intervals and tests over groups, in plain numpy.

Texts of one writer resemble each other, so the unit of every interval and test is the group, not
the document (cluster bootstrap: Davison and Hinkley 1997, section 3.8; Miller 2024 for model
comparison). All quantities are ratios of sums: nats summed over documents, divided by bytes summed
over the same documents. Percentile intervals cover less than 95 % below some 40 groups.
"""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]
Numbers = Sequence[float] | Sequence[int] | Array
DRAWS = 10_000
FEW_GROUPS = 40  # below, the percentile bootstrap covers less than 93 %
# What share of 95 % intervals of so many groups hold the truth, simulated.
COVERAGE = ((1, 0.0), (2, 0.5), (6, 0.84), (20, 0.89), (40, 0.93), (80, 0.95))
EXACT_GROUPS = 12  # up to here all 2^G sign patterns are counted
SEED = 1
_CHUNK = 2_000_000  # numbers drawn at once


def bits_per_byte(nats: Numbers, bytes: Numbers) -> float:
    """Total nats / (ln 2 x total UTF-8 bytes): the ratio of sums. NaN where there are no bytes."""
    total = float(np.sum(bytes))
    return float(np.sum(nats)) / (math.log(2) * total) if total else math.nan


def group_sums(groups: Sequence[str], *columns: Numbers) -> Array:
    """Sum columns within groups: shape (G, columns), groups in sorted order.

    Raises ValueError where the lengths differ.
    """
    names, index = np.unique(np.asarray(groups, dtype=object).astype(str), return_inverse=True)
    sums = np.zeros((len(names), len(columns)))
    for place, column in enumerate(columns):
        values = np.asarray(column, dtype=np.float64)
        if values.shape != index.shape:
            raise ValueError(f"{len(groups)} groups for {values.shape} values")
        np.add.at(sums[:, place], index, values)
    return sums


def ratio_interval(
    groups: Sequence[str],
    numerators: Numbers,
    denominators: Numbers,
    draws: int = DRAWS,
    seed: int = SEED,
) -> tuple[float, float]:
    """95 % percentile interval of sum(numerators) / sum(denominators), groups resampled.

    Each draw takes G of the G groups with replacement (Efron 1979). One group gives an interval of
    no width: it says nothing about other groups.
    """
    sums = group_sums(groups, numerators, denominators)
    count = len(sums)
    if count == 0:
        return math.nan, math.nan
    generator = np.random.default_rng(seed)
    rows = max(1, _CHUNK // count)
    ratios = []
    for start in range(0, draws, rows):
        drawn = generator.integers(0, count, (min(rows, draws - start), count))
        totals = sums[drawn].sum(axis=1)
        ratios.append(totals[:, 0] / totals[:, 1])
    low, high = np.percentile(np.concatenate(ratios), [2.5, 97.5])
    return float(low), float(high)


def coverage(groups: int) -> float:
    """About what share of the 95 % intervals of so many groups hold the truth, from simulation."""
    known = np.array(COVERAGE)
    return float(np.interp(math.log(max(groups, 1)), np.log(known[:, 0]), known[:, 1]))


def bootstrap(
    groups: Sequence[str],
    nats_a: Numbers,
    bytes: Numbers,
    nats_b: Numbers | None = None,
    draws: int = DRAWS,
    seed: int = SEED,
) -> tuple[float, float]:
    """95 % interval of bits per byte of a, or of the paired gap a - b, over groups.

    All arrays have shape (documents,). The same seed draws the same groups for every model.
    """
    nats = np.asarray(nats_a, dtype=np.float64)
    if nats_b is not None:
        nats = nats - np.asarray(nats_b, dtype=np.float64)
    return ratio_interval(groups, nats / math.log(2), bytes, draws, seed)


def sign_flip_p(
    groups: Sequence[str],
    nats_a: Numbers,
    nats_b: Numbers,
    draws: int = DRAWS,
    seed: int = SEED,
) -> float:
    """Two-sided p of the null that each group's gap is as likely negative as positive.

    The statistic is the absolute sum of the groups' gaps; its null distribution comes from
    flipping their signs (Fisher's randomisation test; Good 2005): all 2^G patterns up to
    `EXACT_GROUPS` groups, else `draws` random ones, (hits + 1) / (draws + 1) so that p is never
    zero (Phipson and Smyth 2010).
    """
    sums = group_sums(groups, nats_a, nats_b)
    gaps = sums[:, 0] - sums[:, 1]
    count = len(gaps)
    if count == 0:
        return math.nan
    observed = abs(gaps.sum()) - 1e-9 * max(float(np.abs(gaps).sum()), 1e-300)
    if count <= EXACT_GROUPS:
        patterns = (np.arange(2**count)[:, None] >> np.arange(count)) & 1
        totals = (1 - 2 * patterns) @ gaps
        return float(np.mean(np.abs(totals) >= observed))
    generator = np.random.default_rng(seed)
    hits = 0
    rows = max(1, _CHUNK // count)
    for start in range(0, draws, rows):
        signs = 1 - 2 * generator.integers(0, 2, (min(rows, draws - start), count))
        hits += int(np.sum(np.abs(signs @ gaps) >= observed))
    return (hits + 1) / (draws + 1)


def holm(p_values: Sequence[float]) -> list[float]:
    """Adjust p values for their number: the chance that any claim made is false stays below p.

    Sorted, the k-th smallest of m is multiplied by m - k + 1 and never less than the one before
    (Holm 1979). In the order given.
    """
    adjusted, least = [0.0] * len(p_values), 0.0
    for place, number in enumerate(np.argsort(p_values, kind="stable")):
        least = max(least, min(1.0, (len(p_values) - place) * p_values[number]))
        adjusted[number] = least
    return adjusted


def wins(groups: Sequence[str], nats_a: Numbers, nats_b: Numbers) -> int:
    """Number of groups on whose documents together a needs fewer nats than b."""
    sums = group_sums(groups, nats_a, nats_b)
    return int(np.sum(sums[:, 0] < sums[:, 1]))
