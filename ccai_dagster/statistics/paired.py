"""95 % intervals of scores, tests of their paired differences, and correction for the number of tests.

Items made from one template, or responses to one prompt, are alike; what varies independently is the cluster.
Everything here needs of each cluster only the sum of its items and how many there are, so that resampling is a
product of two small matrices. A score is the ratio of two sums: a mean has the number of items below, BBQ's
score of disambiguated items the number of answers that name a person.

Two ways of resampling clusters are used, each where it held its rate best in a simulation, mostly with 25 clusters
as BBQ's categories have (500 draws for each of 16 kinds: templates alike, skewed, heavy-tailed, of unequal size, or
hardly any different from zero; `tests/unit/test_clustered.py` repeats a part of it):

- a score alone: bootstrap percentiles at levels that allow for few clusters (`bootstrap_levels`). They covered the
  truth in 92 to 100 of 100 draws, plain percentiles in 90 to 100, t intervals in 91 to 100, and a studentised
  bootstrap in 92 to 97, but only in 64 where one template in twelve differs from zero;
- a paired difference: ratios of random halves of the clusters (Hartigan 1969, Using Subsample Values as Typical
  Values, JASA 64). Their percentiles are the interval that belongs to the test that flips the sign of whole
  clusters, exact for any number of clusters if differences are symmetric about their mean. They covered the truth in
  92 to 100 of 100, and in 89 where one template in five is biased and the rest not at all. Interval and p value come
  from the same draws and say the same.

What is scored, what is compared with what, and which tests are corrected together is for the caller.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ccai_dagster.statistics.intervals import (
    Interval,
    bootstrap_levels,
    resampled_sums,
    unresampled_interval,
    unseen_range,
)

POWER, LEVEL = 0.8, 0.05
"""Probability of finding what there is, and of finding what there is not; in tables and pages alike."""
HALVES = 20_000
"""Random halves a comparison rests on: p values down to 0.0001, enough to correct for hundreds of tests."""
_ROUNDING = 1e-12
"""Differences smaller than this are sums of floating-point numbers that should be zero."""


@dataclass(frozen=True)
class Ratio:
    """A score by cluster.

    Attributes:
        above: Sum of the values of each cluster, shape (clusters,).
        below: What it is divided by: items, or those that count. Not negative; same shape.
    """

    above: np.ndarray
    below: np.ndarray

    @property
    def value(self) -> float | None:
        """The score over all clusters; None if nothing counts."""
        total = float(self.below.sum())
        return float(self.above.sum()) / total if total > 0 else None


@dataclass(frozen=True)
class Comparison:
    """What is known of the difference between two scores on the same items.

    Attributes:
        difference: First minus second.
        low: Lower end of its 95 % interval.
        high: Upper end.
        p_value: Two-sided; by flipping the signs of clusters.
        smallest_detectable: Difference that would be found at 5 % with a probability of 80 %; None if no
            possible one would be (always so with fewer than six clusters that count), or nothing tells how much
            clusters vary.
    """

    difference: float
    low: float
    high: float
    p_value: float
    smallest_detectable: float | None


def score_intervals(scores: Sequence[Ratio], limits: Interval, *, bootstraps: int, seed: int) -> list[Interval]:
    """Return the 95 % interval of each score; all are resampled with the same draws of clusters.

    Args:
        scores: Scores over the same clusters in the same order.
        limits: Smallest and largest value possible.
    """
    if not scores:
        return []
    draws = _resampled_ratios(scores, bootstraps, seed, halves=False)
    found = []
    for score, own in zip(scores, draws.T, strict=True):
        interval = unresampled_interval(score.above, score.below, limits)
        if interval is None:
            levels = bootstrap_levels(int((score.below > 0).sum()))
            low, high = np.quantile(own[np.isfinite(own)], levels)
            value = float(score.above.sum() / score.below.sum())
            interval = (max(limits[0], min(float(low), value)), min(limits[1], max(float(high), value)))
        found.append(interval)
    return found


def compare_scores(pairs: Sequence[tuple[Ratio, Ratio]], limits: Interval, *, seed: int) -> list[Comparison | None]:
    """Compare the two scores of each pair, by the same random halves of the clusters.

    With fewer than six clusters an interval is the whole range: all of them point one way by chance more than
    once in twenty times (2 * 0.5**5). Where all clusters show the same difference, nothing tells how much others
    would vary; the interval is then that of `unseen_range`.

    Args:
        pairs: Scores over the same clusters in the same order; both of a pair over the same items.
        limits: Smallest and largest value of a score.

    Returns:
        None where one of the scores has no value.
    """
    if not pairs:
        return []
    draws = _resampled_ratios([score for pair in pairs for score in pair], HALVES, seed, halves=True)
    return [
        _compared(first, second, draws[:, 2 * at] - draws[:, 2 * at + 1], limits)
        for at, (first, second) in enumerate(pairs)
    ]


def smallest_detectable(standard_error: float, n_clusters: int) -> float:
    """Return the true difference that a two-sided test at 5 % finds with a probability of 80 %.

    (t(0.975) + t(0.8)) times the standard error, with one degree of freedom less than clusters; 2.8 standard
    errors for many clusters (Bloom 1995, Minimum Detectable Effects, Evaluation Review 19).

    Args:
        standard_error: Of the difference, clustered.
        n_clusters: At least two.
    """
    from scipy.special import stdtrit

    quantiles = stdtrit(n_clusters - 1, np.array([1 - LEVEL / 2, POWER]))
    return float(quantiles.sum() * standard_error)


def holm(p_values: Sequence[float | None]) -> list[float | None]:
    """Return Holm's adjusted p values: rejecting those up to 5 % errs anywhere in 5 of 100 families at most.

    The smallest of m values is multiplied by m, the next by m - 1 and so on; none becomes smaller than the one
    before it, or larger than 1 (Holm 1979, A Simple Sequentially Rejective Multiple Test Procedure, Scandinavian
    Journal of Statistics 6). It holds whatever the tests have to do with each other.

    Args:
        p_values: One for each test of the family; None where no test could be made.

    Returns:
        In the same order; None stays None and does not count.

    Raises:
        ValueError: A p value is outside 0 to 1.
    """
    made = sorted((p, place) for place, p in enumerate(p_values) if p is not None)
    if made and not 0 <= made[0][0] <= made[-1][0] <= 1:
        raise ValueError(f"p values from {made[0][0]} to {made[-1][0]}")
    adjusted: list[float | None] = [None] * len(p_values)
    largest = 0.0
    for rank, (p, place) in enumerate(made):
        largest = max(largest, min(1.0, (len(made) - rank) * p))
        adjusted[place] = largest
    return adjusted


def _compared(first: Ratio, second: Ratio, draws: np.ndarray, limits: Interval) -> Comparison | None:
    if first.value is None or second.value is None:
        return None
    reach = limits[1] - limits[0]
    difference = first.value - second.value
    counts = (first.below > 0) | (second.below > 0)
    n_clusters = int(counts.sum())
    rest = _residuals(first) - _residuals(second)
    # A half in which nothing counts says nothing: it stands at both ends.
    known = np.isfinite(draws)
    enough = (~known).mean() < LEVEL / 2
    same = enough and bool(np.abs(rest).max() <= _ROUNDING * reach)
    below, above = np.where(known, draws, -np.inf), np.where(known, draws, np.inf)
    not_above = 1 + int((below <= _ROUNDING).sum())
    not_below = 1 + int((above >= -_ROUNDING).sum())
    p_value = min(1.0, 2 * min(not_above, not_below) / (1 + draws.size))
    if same:
        low, high = unseen_range(difference, difference, n_clusters, (-reach, reach))
    else:
        low = max(-reach, min(float(np.quantile(below, LEVEL / 2, method="lower")), difference))
        high = min(reach, max(float(np.quantile(above, 1 - LEVEL / 2, method="higher")), difference))
    detectable = None
    if enough and not same:
        error = float(np.sqrt(n_clusters / (n_clusters - 1) * (rest**2).sum()))
        size = smallest_detectable(error, n_clusters)
        detectable = size if size <= reach else None
    return Comparison(difference, low, high, p_value, detectable)


def _residuals(score: Ratio) -> np.ndarray:
    """What each cluster adds to the score's deviation, to first order (the linearised ratio)."""
    assert score.value is not None  # noqa: S101 - asked only of scores that have one
    return (score.above - score.value * score.below) / float(score.below.sum())


def _resampled_ratios(scores: Sequence[Ratio], draws: int, seed: int, *, halves: bool) -> np.ndarray:
    """Return each score of each resample, shape (draws, scores); not finite where nothing counts."""
    columns = [part for score in scores for part in (score.above, score.below)]
    sums = resampled_sums(np.column_stack(columns), draws, seed, halves=halves)
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.asarray(np.where(sums[:, 1::2] > 0, sums[:, ::2] / sums[:, 1::2], np.nan))
