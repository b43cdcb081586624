from __future__ import annotations

import time

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ccai_dagster.statistics.intervals import Z_95, bootstrap_levels, mean_interval, wilson_interval

UNIT = (0.0, 1.0)


def names(n: int) -> np.ndarray:
    return np.array([f"c{number}" for number in range(n)])


def test_shares_of_single_items_get_wilsons_interval() -> None:
    values = np.array([1.0, 0, 0, 0, 0, 0, 0, 0, 0, 0])
    interval = mean_interval(values, names(10), UNIT, bootstraps=100, seed=0)
    assert interval == wilson_interval(1, 10)
    assert interval == pytest.approx((0.0179, 0.4042), abs=1e-4)
    # On a range of -1 to 1 the same share is stretched.
    stretched = mean_interval(2 * values - 1, names(10), (-1.0, 1.0), bootstraps=100, seed=0)
    assert stretched == pytest.approx((2 * 0.0179 - 1, 2 * 0.4042 - 1), abs=2e-4)


def test_where_resampling_says_nothing_the_interval_is_still_wide() -> None:
    nothing = np.array([])
    assert mean_interval(nothing, nothing, (-1.0, 1.0), bootstraps=100, seed=0) == (-1.0, 1.0)
    # One cluster, mean 0.4: u = z**2 / (1 + z**2) = 0.7935.
    one_cluster = np.array(["t", "t", "t"])
    low, high = mean_interval(np.array([0.2, 0.4, 0.6]), one_cluster, UNIT, bootstraps=100, seed=0)
    assert (low, high) == pytest.approx((0.4 * (1 - 0.7935), 0.4 + 0.6 * 0.7935), abs=1e-4)
    # Two clusters with means 0.3 and 0.5 on a range of -1 to 1: u = 0.6576, and zero is not left out.
    pair = mean_interval(np.array([0.3, 0.5]), names(2), (-1.0, 1.0), bootstraps=100, seed=0)
    assert pair == pytest.approx((0.3 - 0.6576 * 1.3, 0.5 + 0.6576 * 0.5), abs=1e-4)
    unseen = Z_95**2 / (40 + Z_95**2)
    none_differ = mean_interval(np.zeros(40), names(40), (-1.0, 1.0), bootstraps=100, seed=0)
    assert none_differ == pytest.approx((-unseen, unseen))
    assert unseen == pytest.approx(0.0876, abs=1e-4)
    # Clusters of two items, one right and one wrong in each: no cluster differs from any other.
    halves = mean_interval(np.tile([0.0, 1.0], 20), np.repeat(names(20), 2), UNIT, bootstraps=100, seed=0)
    assert halves == pytest.approx((0.5 - 0.5 * 0.1611, 0.5 + 0.5 * 0.1611), abs=1e-4)


def test_an_interval_of_clusters_is_as_wide_as_their_number_says() -> None:
    # 25 templates with 40 equal items each: the interval is that of 25 observations, not of 1,000.
    shares = np.linspace(0.0, 1.0, 25)
    values = np.repeat(shares, 40)
    low, high = mean_interval(values, np.repeat(names(25), 40), UNIT, bootstraps=20_000, seed=0)
    few = 2.064 * np.sqrt(25 / 24)  # t with 24 degrees of freedom, of a standard deviation with 24 below
    assert (high - low) / 2 == pytest.approx(few * shares.std() / 5, rel=0.03)
    naive_low, naive_high = mean_interval(values, names(1000), UNIT, bootstraps=20_000, seed=0)
    assert (high - low) / (naive_high - naive_low) == pytest.approx(np.sqrt(40) * few / Z_95, rel=0.05)


def test_levels_allow_for_few_clusters() -> None:
    # 25 clusters: sqrt(25 / 24) * 2.0639 = 2.1064 standard normal deviations.
    assert bootstrap_levels(25) == pytest.approx((0.01758, 0.98242), abs=1e-5)
    assert bootstrap_levels(100_000) == pytest.approx((0.025, 0.975), abs=1e-5)


def test_clusters_of_different_size_weigh_by_their_items() -> None:
    # Seven clusters of one wrong item and one of 93 right ones: without the large one the mean is 0.
    values = np.array([1.0] * 93 + [0.0] * 7)
    clusters = np.concatenate([np.full(93, "large"), names(7)])
    low, high = mean_interval(values, clusters, UNIT, bootstraps=2000, seed=0)
    assert low == 0.0  # drawn never with probability (7/8)**8 = 0.34
    assert high == pytest.approx(4 * 93 / (4 * 93 + 4), abs=0.001)  # more than four times in 1 of 1,000


@given(st.permutations(range(12)))
def test_the_order_of_rows_does_not_matter(order: list[int]) -> None:
    values, clusters = np.linspace(0, 1, 12), np.repeat(names(4), 3)
    expected = mean_interval(values, clusters, UNIT, bootstraps=100, seed=5)
    assert mean_interval(values[order], clusters[order], UNIT, bootstraps=100, seed=5) == expected


@given(st.lists(st.floats(0, 1), min_size=1, max_size=30), st.integers(1, 5))
def test_intervals_stay_within_the_limits(values: list[float], size: int) -> None:
    clusters = np.array([f"c{at // size}" for at in range(len(values))])
    low, high = mean_interval(np.array(values), clusters, UNIT, bootstraps=100, seed=1)
    assert 0 <= low <= high <= 1


def test_values_outside_the_limits_are_an_error() -> None:
    for wrong in (np.array([0.5, 1.5]), np.array([0.5, np.nan])):
        with pytest.raises(ValueError, match="outside"):
            mean_interval(wrong, names(2), UNIT, bootstraps=100, seed=0)
    with pytest.raises(ValueError, match="clusters"):
        mean_interval(np.array([0.5]), names(2), UNIT, bootstraps=100, seed=0)


def test_the_interval_covers_the_truth_about_as_often_as_it_says() -> None:
    generator = np.random.default_rng(3)
    clusters = np.repeat(names(40), 5)
    covered = 0
    for trial in range(300):
        shares = generator.beta(2, 2, size=40)  # mean 0.5
        values = (generator.random(200) < np.repeat(shares, 5)).astype(float)
        low, high = mean_interval(values, clusters, UNIT, bootstraps=400, seed=trial)
        covered += low <= 0.5 <= high
    assert 0.90 <= covered / 300 <= 0.98


def test_sixty_thousand_items_and_ten_thousand_resamples_take_seconds() -> None:
    generator = np.random.default_rng(0)
    values = generator.integers(-1, 2, size=60_000).astype(float)
    started = time.perf_counter()
    low, high = mean_interval(values, names(60_000), (-1.0, 1.0), bootstraps=10_000, seed=0)
    assert time.perf_counter() - started < 10
    assert (high - low) / 2 == pytest.approx(Z_95 * values.std() / np.sqrt(60_000), rel=0.05)
