"""Means over prompts of values without limits, or with weights: what `clustered` does not do.

Everything about one prompt is one cluster. Shares and probabilities, and their differences, belong to `clustered`.
"""

from __future__ import annotations

import numpy as np

from ccai_dagster.feedback.intervals import Interval, cluster_sums

EXACT_CLUSTERS = 12
"""Up to this many clusters every pattern of signs is tried."""
SIGN_PATTERNS = 10_000
"""Patterns drawn where there are more clusters."""


def student_interval(estimate: float, influences: np.ndarray, freedom: int) -> Interval | None:
    """Return the 95 % interval of an estimate from what each cluster contributes to it.

    The variance is C / (C - 1) times the sum of the squared contributions (the cluster-robust "sandwich"; Miller
    2024, arXiv 2411.00640, section 2.2), the quantile Student's.

    Args:
        estimate: The estimate.
        influences: Contribution of each cluster to the estimate's error, summing to about 0, shape (clusters,).
        freedom: Degrees of freedom.

    Returns:
        Its ends, or None where fewer than two clusters tell nothing about their spread.
    """
    from scipy.special import stdtrit

    n = len(influences)
    if n < 2 or freedom < 1:
        return None
    half = float(stdtrit(freedom, 0.975) * np.sqrt(n / (n - 1) * np.square(influences).sum()))
    return estimate - half, estimate + half


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
