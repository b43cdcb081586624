"""95 % intervals of shares and means, resampling clusters or from what each cluster adds.

Items made from one template, or judgements of one response, are no independent observations: resampling them
one by one makes intervals several times too narrow (BBQ has about 25 templates a category). What is resampled
is therefore the cluster. Values within limits have percentiles of a bootstrap (`mean_interval`), those without limits
or with weights Student's interval (`clustered_mean`). Ratios, and paired differences of shares and probabilities,
belong to `paired`.
"""

from __future__ import annotations

import math
from functools import cache
from statistics import NormalDist

import numpy as np

Interval = tuple[float, float]
Z_95 = 1.959963984540054
"""Normal quantile of a two-sided 95 % interval."""
FEWEST_CLUSTERS = 6
"""From this many clusters on they are resampled."""
EXACT_CLUSTERS = 12
"""Up to this many clusters every pattern of signs is tried."""
SIGN_PATTERNS = 10_000
"""Patterns drawn where there are more clusters."""
CHUNK_CELLS = 4_000_000
"""Numbers drawn at a time, so that resamples fit into memory."""
_LEVEL = 0.025


def wilson_interval(successes: float, n: int) -> tuple[float, float]:
    """Return the 95 % score interval of a share (Wilson 1927), (0, 1) for no observation.

    Args:
        successes: Between 0 and `n`; may be fractional where ties count one half, which makes the interval
            a little wider than needed.
    """
    if n == 0:
        return 0.0, 1.0
    share = successes / n
    denominator = 1 + Z_95**2 / n
    centre = (share + Z_95**2 / (2 * n)) / denominator
    half = Z_95 * math.sqrt(share * (1 - share) / n + Z_95**2 / (4 * n**2)) / denominator
    low = 0.0 if successes == 0 else max(0.0, centre - half)
    high = 1.0 if successes == n else min(1.0, centre + half)
    return low, high


def difference_interval(
    first: tuple[float, float, float], second: tuple[float, float, float]
) -> tuple[float, float, float]:
    """Return the difference of two independent figures with the interval that follows from their own.

    For shares with Wilson's intervals it is Newcombe's (Statistics in Medicine 17, 1998, method 10), in general the
    method of variance estimates recovery (Zou and Donner, Statistics in Medicine 27, 2008).

    Args:
        first: Value, lower and upper end, of one level.
        second: What is taken away from it, likewise.
    """
    (one, one_low, one_high), (other, other_low, other_high) = first, second
    below, above = np.hypot(one - one_low, other_high - other), np.hypot(one_high - one, other - other_low)
    return one - other, one - other - float(below), one - other + float(above)


def mean_interval(
    values: np.ndarray, clusters: np.ndarray, limits: Interval, *, bootstraps: int, seed: int
) -> Interval:
    """Return the 95 % interval of a mean: percentiles of a bootstrap over clusters.

    The percentiles allow for few clusters (`bootstrap_levels`). Where a bootstrap says nothing, see
    `unresampled_interval`.

    Args:
        values: Item values within `limits`, shape (items,).
        clusters: Name of each item's cluster, shape (items,).
        limits: Smallest and largest value possible.
        seed: Of the resampling; the order of the rows does not matter.

    Raises:
        ValueError: Shapes differ, or a value is not finite or outside the limits.
    """
    values = np.asarray(values, dtype=float)
    clusters = np.asarray(clusters)
    low, high = limits
    if values.shape != clusters.shape or values.ndim != 1:
        raise ValueError(f"{values.shape} values for {clusters.shape} clusters")
    if not np.isfinite(values).all() or (values < low).any() or (values > high).any():
        raise ValueError(f"values outside {low} to {high}")
    sums, counts = cluster_sums(values, clusters)
    interval = unresampled_interval(sums, counts, limits)
    if interval is not None:
        return interval
    totals = resampled_sums(np.column_stack([sums, counts]), bootstraps, seed)
    lowest, highest = np.quantile(totals[:, 0] / totals[:, 1], bootstrap_levels(sums.size))
    return float(lowest), float(highest)


def clustered_mean(
    values: np.ndarray, clusters: np.ndarray, weights: np.ndarray | None = None
) -> tuple[float, Interval | None]:
    """Return a weighted mean and its 95 % interval (None with a single cluster).

    Args:
        values: At least one, shape (items,).
        clusters: Name of each item's cluster, shape (items,).
        weights: Of the items, not negative and not all 0; equal if None. Shape (items,).
    """
    values = np.asarray(values, float)
    weights = np.ones(len(values)) if weights is None else np.asarray(weights, float)
    estimate = float(np.sort(weights * values).sum() / np.sort(weights).sum())
    influences = cluster_sums(weights * (values - estimate) / weights.sum(), clusters)[0]
    return estimate, student_interval(estimate, influences, len(influences) - 1)


def student_interval(estimate: float, influences: np.ndarray, freedom: int) -> Interval | None:
    """Return the 95 % interval of an estimate from what each cluster contributes to it.

    The variance is C / (C - 1) times the sum of the squared contributions (the cluster-robust "sandwich"; Miller
    2024, arXiv 2411.00640, section 2.2), the quantile Student's.

    Args:
        estimate: What the interval is of.
        influences: Contribution of each cluster to the estimate's error, summing to about 0, shape (clusters,).
        freedom: Degrees of freedom.

    Returns:
        None where fewer than two clusters tell nothing about their spread.
    """
    from scipy.special import stdtrit

    n = len(influences)
    if n < 2 or freedom < 1:
        return None
    half = float(stdtrit(freedom, 0.975) * np.sqrt(n / (n - 1) * np.square(influences).sum()))
    return estimate - half, estimate + half


def sign_flip_p_value(differences: np.ndarray, clusters: np.ndarray, seed: int) -> float:
    """Return the two-sided p-value of a mean paired difference of zero, by flipping signs of whole clusters.

    Exact up to `EXACT_CLUSTERS` clusters; beyond, `SIGN_PATTERNS` patterns are drawn and the one observed is counted
    among them. Few clusters cannot give a small value: C clusters at least 2 / 2**C.

    Args:
        differences: Paired differences, at least one, shape (items,).
        clusters: Name of each item's cluster, shape (items,).
        seed: Of the drawn patterns.
    """
    totals = np.sort(cluster_sums(differences, clusters)[0])
    n, observed = len(totals), abs(totals.sum())
    tolerance = 1e-12 * max(1.0, float(np.abs(totals).sum()))
    if n <= EXACT_CLUSTERS:
        patterns = 1 - 2 * (np.arange(2**n)[:, None] >> np.arange(n) & 1)
        return float((np.abs(patterns @ totals) >= observed - tolerance).mean())
    patterns = np.random.default_rng(seed).choice([-1.0, 1.0], size=(SIGN_PATTERNS, n))
    larger = int((np.abs(patterns @ totals) >= observed - tolerance).sum())
    return (larger + 1) / (SIGN_PATTERNS + 1)


@cache
def bootstrap_levels(n_clusters: float) -> tuple[float, float]:
    """Return the quantiles of a bootstrap over clusters that make a 95 % interval.

    2.5 and 97.5 % are too narrow for few clusters twice over: a resample varies by (C - 1) / C too little, and
    what it varies by is itself estimated. The levels are those at which percentiles of a normal distribution
    equal the t interval (Hesterberg 2015, What Teachers Should Know About the Bootstrap, American Statistician
    69): with 25 clusters 1.8 and 98.2 %.

    Args:
        n_clusters: Clusters that are resampled, or how many a figure rests on in effect. One has no spread, and
            2.5 and 97.5 % are returned.
    """
    if n_clusters <= 1:
        return _LEVEL, 1 - _LEVEL
    from scipy.special import stdtrit  # scipy.stats has the same and takes a second to load

    spread = math.sqrt(n_clusters / (n_clusters - 1)) * float(stdtrit(n_clusters - 1, _LEVEL))
    level = NormalDist().cdf(spread)
    return level, 1 - level


def unresampled_interval(above: np.ndarray, below: np.ndarray, limits: Interval) -> Interval | None:
    """Return the interval of a ratio of sums where a bootstrap says nothing; None where it does.

    - nothing counts: the whole range, since anything is possible;
    - every cluster a single item with a value at an end of the range (a plain share): Wilson's score
      interval, which stays honest near the ends, where percentiles do not;
    - fewer than six clusters, or all alike: resampling would be far too sure (five clusters that all point one
      way do so by chance more than once in twenty times, 2 * 0.5**5); `unseen_range` of the cluster means.

    Args:
        above: Sum of the values of each cluster, shape (clusters,).
        below: Number of the items of each cluster that count, same shape.
        limits: Smallest and largest value possible.
    """
    above, below = above[below > 0], below[below > 0]
    low, high = limits
    if not below.size:
        return low, high
    if (below == 1).all() and np.isin(above, limits).all():
        share = wilson_interval(int((above == high).sum()), above.size)
        return low + share[0] * (high - low), low + share[1] * (high - low)
    means = above / below
    if below.size < FEWEST_CLUSTERS or np.ptp(means) <= 1e-12 * (high - low):
        return unseen_range(float(means.min()), float(means.max()), below.size, limits)
    return None


def unseen_range(smallest: float, largest: float, n_clusters: int, limits: Interval) -> Interval:
    """Return what a mean may be if clusters unlike all those seen exist.

    Begins at the smallest cluster mean, moved towards the low end of the range by the share u, and ends at the
    largest, moved towards the high end by u. u = z**2 / (C + z**2) is Wilson's upper end for 0 of C: the share
    of clusters unlike all those seen may be that large.

    Args:
        smallest: Mean of a cluster.
        largest: Mean of a cluster.
        n_clusters: How many were seen.
        limits: Smallest and largest value possible.
    """
    unseen = Z_95**2 / (n_clusters + Z_95**2)
    return smallest - unseen * (smallest - limits[0]), largest + unseen * (limits[1] - largest)


def resampled_sums(sums: np.ndarray, draws: int, seed: int, *, halves: bool = False) -> np.ndarray:
    """Return the column sums of resamples of the rows, shape (draws, columns).

    Clusters with equal sums are interchangeable, so how often each kind is drawn is multinomial (or binomial)
    over kinds: the same distribution, and for 60,000 right-or-wrong items two rows instead of 60,000.

    Args:
        sums: Sums of each cluster, shape (clusters, columns).
        draws: Resamples.
        seed: Of the draws. The order of the rows does not matter.
        halves: Draw each cluster once with probability one half, instead of as many as there are with
            replacement.
    """
    kinds, sizes = np.unique(sums, axis=0, return_counts=True)
    generator = np.random.default_rng(seed)
    chunk = max(1, CHUNK_CELLS // len(kinds))
    parts = []
    for start in range(0, draws, chunk):
        rows = min(chunk, draws - start)
        parts.append(_times_drawn(sizes, rows, generator, halves=halves).astype(float) @ kinds)
    return np.concatenate(parts)


def _times_drawn(sizes: np.ndarray, rows: int, generator: np.random.Generator, *, halves: bool) -> np.ndarray:
    """Return how often each kind is drawn in each resample, shape (rows, kinds)."""
    n_kinds = sizes.size
    if sizes.max() > 1:
        if halves:
            return generator.binomial(sizes, 0.5, size=(rows, n_kinds))
        return generator.multinomial(sizes.sum(), sizes / sizes.sum(), size=rows)
    # Clusters that are all of their own kind are drawn as such, which takes a fifth of the time.
    if halves:
        return generator.integers(0, 2, size=(rows, n_kinds), dtype=np.uint8)
    places = generator.integers(0, n_kinds, size=(rows, n_kinds)) + n_kinds * np.arange(rows)[:, None]
    return np.bincount(places.ravel(), minlength=rows * n_kinds).reshape(rows, n_kinds)


def cluster_sums(values: np.ndarray, clusters: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return sum and count of each cluster, in an order that rows do not change."""
    names, index = np.unique(clusters, return_inverse=True)
    order = np.lexsort((values, index))
    sums = np.bincount(index[order], weights=values[order], minlength=names.size)
    return sums, np.bincount(index, minlength=names.size).astype(float)
