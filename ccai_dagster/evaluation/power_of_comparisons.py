"""What a number of comparisons can show: how large a difference in Elo must be to be seen.

Belongs here: power before and after comparisons are made, for two arms of about equal strength. Doesn't belong
here: intervals of what was found (`elo`).
"""

from __future__ import annotations

import math

from ccai_dagster.statistics.wilson import Z_95

ELO_PER_STRENGTH = 400 / math.log(10)
"""Elo points of a unit of strength, so that a difference of 400 is odds of 10 to 1 (173.7)."""
Z_80 = 0.8416212335729143
"""Normal quantile of a probability of four in five."""


def elo_error(n: float, tie_share: float = 0.0) -> float:
    """Return the standard error in Elo of n independent comparisons of two equally strong arms.

    Each comparison tells (1 - tie_share) / 4 about the difference in strength (the variance of half wins less
    half losses under Davidson's model), so the error is 2 / sqrt(n (1 - tie_share)) in natural-log odds.

    Args:
        n: Comparisons, above 0.
        tie_share: Share of them that end in a tie, from 0 and below 1.

    Raises:
        ValueError: n or the share is outside its range.
    """
    if n <= 0 or not 0 <= tie_share < 1:
        raise ValueError(f"{n} comparisons, {tie_share} of them ties")
    return ELO_PER_STRENGTH * 2 / math.sqrt(n * (1 - tie_share))


def smallest_difference(error: float) -> float:
    """Return the smallest difference found whose 95 % interval leaves out zero: 30.5 Elo for 500 comparisons."""
    return Z_95 * error


def detectable_difference(error: float) -> float:
    """Return the true difference whose interval leaves out zero four times in five."""
    return (Z_95 + Z_80) * error


def comparisons_needed(difference: float, tie_share: float = 0.0) -> int:
    """Return how many independent comparisons of two arms detect a difference in Elo four times in five.

    Args:
        difference: In Elo, not 0.
        tie_share: As for `elo_error`.
    """
    return math.ceil((detectable_difference(elo_error(1, tie_share)) / abs(difference)) ** 2)
