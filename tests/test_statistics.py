"""Intervals and tests over groups: by hand, by simulation, by property."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from domainlm.evaluation import statistics as stats

LN2 = math.log(2)
ROWS = st.lists(
    st.tuples(
        st.sampled_from("abcdefgh"),
        st.floats(1, 1e4),
        st.floats(1, 1e4),
        st.integers(1, 10_000),
    ),
    min_size=1,
    max_size=30,
)


def test_bits_per_byte_is_a_ratio_of_sums() -> None:
    assert stats.bits_per_byte([10 * LN2, 30 * LN2], [10, 10]) == pytest.approx(2.0)
    assert stats.bits_per_byte([8 * LN2, 0.0], [1, 3]) == pytest.approx(2.0)  # not (8 + 0) / 2
    assert math.isnan(stats.bits_per_byte([], []))


def test_group_sums_add_documents_of_a_group() -> None:
    sums = stats.group_sums(["b", "a", "b"], [1.0, 2.0, 4.0], [10, 20, 40])
    assert sums.tolist() == [[2.0, 20.0], [5.0, 50.0]]
    with pytest.raises(ValueError, match="3 groups"):
        stats.group_sums(["a", "b", "c"], [1.0, 2.0])


def test_sign_flip_by_hand() -> None:
    groups = ["a", "b", "c"]
    # Gaps 1, 2, 3: of the eight patterns only +++ and --- reach |6|.
    assert stats.sign_flip_p(groups, [2.0, 3.0, 4.0], [1.0, 1.0, 1.0]) == pytest.approx(0.25)
    # Gaps 1, 1, -3: |sum| = 1 is reached by every pattern.
    assert stats.sign_flip_p(groups, [2.0, 2.0, 1.0], [1.0, 1.0, 4.0]) == 1.0
    assert stats.sign_flip_p(groups, [1.0, 1.0, 1.0], [1.0, 1.0, 1.0]) == 1.0
    many = [str(n) for n in range(40)]
    assert stats.sign_flip_p(many, [2.0] * 40, [1.0] * 40, draws=999) == pytest.approx(1 / 1000)


def test_sign_flip_is_calibrated() -> None:
    rng = np.random.default_rng(0)
    for groups in (8, 30):
        names = [str(n) for n in range(groups)]
        p = [
            stats.sign_flip_p(names, rng.normal(size=groups), [0.0] * groups, draws=400, seed=n)
            for n in range(400)
        ]
        assert 0.02 < np.mean(np.array(p) <= 0.05) < 0.085


def test_wins_counts_groups() -> None:
    assert stats.wins(["a", "a", "b", "c"], [1, 9, 1, 1], [2, 2, 2, 1]) == 1  # a loses, c ties


def test_interval_of_constants_has_no_width() -> None:
    groups = ["a", "b", "c"]
    assert stats.bootstrap(groups, [2 * LN2] * 3, [1] * 3) == pytest.approx((2.0, 2.0))
    assert stats.bootstrap(["a", "a"], [LN2, 3 * LN2], [1, 1]) == pytest.approx((2.0, 2.0))
    assert all(math.isnan(x) for x in stats.bootstrap([], [], []))


def test_interval_of_two_groups_by_hand() -> None:
    # Draws are aa, ab, ba, bb: a quarter at 1, half at 2, a quarter at 3 bits per byte.
    assert stats.bootstrap(["a", "b"], [LN2, 3 * LN2], [1, 1]) == pytest.approx((1.0, 3.0))


def test_interval_covers_95_percent_at_80_groups() -> None:
    """Groups of unequal size with correlated documents; the true ratio is 1 bit a byte."""
    rng = np.random.default_rng(3)
    groups = np.repeat([f"g{n:03d}" for n in range(80)], 3)
    hits, runs = 0, 1200
    for seed in range(runs):
        bytes = rng.integers(500, 1500, 240)
        level = 1 + np.repeat(rng.normal(0, 0.2, 80), 3) + rng.normal(0, 0.05, 240)
        low, high = stats.bootstrap(groups, level * bytes * LN2, bytes, draws=400, seed=seed)
        hits += low <= 1.0 <= high
    assert 0.93 <= hits / runs <= 0.97


@given(ROWS)
@settings(max_examples=60)
def test_interval_properties(rows: list[tuple[str, float, float, int]]) -> None:
    groups = [r[0] for r in rows]
    a, b, bytes = ([r[n] for r in rows] for n in (1, 2, 3))
    low, high = stats.bootstrap(groups, a, bytes, draws=200)
    each = stats.group_sums(groups, a, bytes)
    ratios = each[:, 0] / each[:, 1] / LN2
    slack = 1e-9 * max(1.0, ratios.max())
    assert ratios.min() - slack <= low <= high <= ratios.max() + slack
    gap = stats.bootstrap(groups, a, bytes, b, draws=200)
    swapped = stats.bootstrap(groups, b, bytes, a, draws=200)
    assert gap == pytest.approx((-swapped[1], -swapped[0]), rel=1e-6, abs=1e-6)
    p = stats.sign_flip_p(groups, a, b, draws=200)
    assert 0 < p <= 1
    assert p == stats.sign_flip_p(groups, b, a, draws=200)
    assert stats.wins(groups, a, b) + stats.wins(groups, b, a) <= len(set(groups))
    assert stats.bootstrap(groups, a, bytes, draws=200) == (low, high)  # the seed is fixed


def test_holm_by_hand() -> None:
    assert stats.holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert stats.holm([0.6, 0.9]) == [1.0, 1.0]
    assert stats.holm([]) == []


@given(st.lists(st.floats(0, 1), max_size=9))
def test_holm_properties(p_values: list[float]) -> None:
    found = stats.holm(p_values)
    assert all(p <= q <= min(1.0, len(p_values) * p) for p, q in zip(p_values, found, strict=True))
    ordered = [found[n] for n in np.argsort(p_values)]
    assert ordered == sorted(found)  # the order of the p values stays


@pytest.mark.parametrize("groups", [6, 20, 40])
def test_coverage_that_is_told_is_the_coverage(groups: int) -> None:
    """What the report says of few groups, simulated again: sizes differ, levels are skewed."""
    rng = np.random.default_rng(5)
    names, hits, runs = [str(n) for n in range(groups)], 0, 1500
    for seed in range(runs):
        level = np.exp(rng.normal(-(0.6**2) / 2, 0.6, groups))  # of mean 1
        sizes = rng.integers(500, 1500, groups)
        low, high = stats.bootstrap(names, level * sizes * LN2, sizes, draws=300, seed=seed)
        hits += low <= 1.0 <= high
    assert hits / runs == pytest.approx(stats.coverage(groups), abs=0.03)


def test_the_interval_is_of_the_mean_not_of_the_draws() -> None:
    """The width is 2 x 1.96 standard errors, not smaller by the root of the number of draws.

    lighteval divides the spread of its draws by their root once more (32 times too small).
    """
    rng = np.random.default_rng(8)
    values = rng.normal(1, 0.3, 400)
    names, ones = [str(n) for n in range(400)], np.ones(400)
    error = values.std(ddof=1) / np.sqrt(400)
    for draws in (1000, 10_000):
        low, high = stats.bootstrap(names, values * LN2, ones, draws=draws)
        assert (high - low) / (2 * 1.96 * error) == pytest.approx(1.0, abs=0.1)
