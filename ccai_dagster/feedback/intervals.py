"""95 % intervals of means and paired differences, resampling clusters.

Items made from one template, or judgements of one response, are no independent observations: resampling them
one by one makes intervals several times too narrow (BBQ has about 25 templates a category). What is resampled
is therefore the cluster. What is measured belongs elsewhere.
"""

from __future__ import annotations

import numpy as np

from ccai_dagster.feedback.calibration import Z_95, wilson_interval

Interval = tuple[float, float]
FEWEST_CLUSTERS = 6
"""From this many clusters on they are resampled."""
_QUANTILES = (0.025, 0.975)
_CHUNK_CELLS = 4_000_000


def mean_interval(
    values: np.ndarray, clusters: np.ndarray, limits: Interval, *, bootstraps: int, seed: int
) -> Interval:
    """Return the 95 % interval of a mean: percentiles of a bootstrap over clusters.

    Give paired differences as values to get the interval of a difference. Where a bootstrap says nothing:

    - no values: the whole range, since anything is possible;
    - every value at an end of the range and every cluster a single item (a plain share): Wilson's score
      interval, which stays honest near the ends, where percentiles do not;
    - fewer than six clusters, or all with the same mean: resampling would be far too sure (five clusters that
      all point one way do so by chance more than once in twenty times, 2 * 0.5**5). The interval then begins
      at the smallest cluster mean, moved towards the low end of the range by the share u, and ends at the
      largest, moved towards the high end by u. u = z**2 / (C + z**2) is Wilson's upper end for 0 of C: the
      share of clusters unlike all those seen may be that large.

    Args:
        values: Item values within `limits`, shape (items,).
        clusters: Name of each item's cluster, shape (items,).
        limits: Smallest and largest value possible.
        bootstraps: Resamples.
        seed: Of the resampling. Order of the rows does not matter.

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
    if values.size == 0:
        return low, high
    n_clusters, sums, counts = _cluster_sums(values, clusters)
    if n_clusters == values.size and np.isin(values, limits).all():
        share = wilson_interval(int((values == high).sum()), values.size)
        return low + share[0] * (high - low), low + share[1] * (high - low)
    means = sums / counts
    if n_clusters < FEWEST_CLUSTERS or np.ptp(means) <= 1e-12 * (high - low):
        unseen = Z_95**2 / (n_clusters + Z_95**2)
        smallest, largest = float(means.min()), float(means.max())
        return smallest - unseen * (smallest - low), largest + unseen * (high - largest)
    resampled = _resampled_means(n_clusters, sums, counts, bootstraps, seed)
    return float(np.quantile(resampled, _QUANTILES[0])), float(np.quantile(resampled, _QUANTILES[1]))


def _cluster_sums(values: np.ndarray, clusters: np.ndarray) -> tuple[int, np.ndarray, np.ndarray]:
    """Return the number of clusters, and sum and count of each, in an order that rows do not change."""
    names, index = np.unique(clusters, return_inverse=True)
    order = np.lexsort((values, index))
    sums = np.bincount(index[order], weights=values[order], minlength=names.size)
    return names.size, sums, np.bincount(index, minlength=names.size).astype(float)


def _resampled_means(
    n_clusters: int, sums: np.ndarray, counts: np.ndarray, bootstraps: int, seed: int
) -> np.ndarray:
    """Return the mean of each resample, shape (bootstraps,).

    Clusters with equal sum and count are interchangeable, so how often each kind is drawn is multinomial over
    kinds: the same distribution, and for 60,000 right-or-wrong items two columns instead of 60,000.
    """
    kinds, sizes = np.unique(np.column_stack([sums, counts]), axis=0, return_counts=True)
    generator = np.random.default_rng(seed)
    chunk = max(1, _CHUNK_CELLS // len(kinds))
    parts = []
    for start in range(0, bootstraps, chunk):
        draws = generator.multinomial(n_clusters, sizes / n_clusters, size=min(chunk, bootstraps - start))
        totals = draws @ kinds
        parts.append(totals[:, 0] / totals[:, 1])
    return np.concatenate(parts)
