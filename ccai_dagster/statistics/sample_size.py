"""How many comparisons a certainty takes, before any is made."""

from __future__ import annotations

import math
from statistics import NormalDist

from ccai_dagster.statistics.intervals import Z_95
from ccai_dagster.statistics.paired import POWER


def comparisons_within(half_width: float) -> int:
    """Return the fewest independent comparisons after which Wilson's 95 % interval is never wider than this either way.

    It is widest for a share of one half, where its half-width is z / (2 sqrt(n + z**2)).

    Args:
        half_width: Of the interval, above 0, below one half.

    Raises:
        ValueError: Another one.
    """
    if not 0 < half_width < 0.5:
        raise ValueError(f"a half-width of {half_width}")
    return math.ceil((Z_95 / (2 * half_width)) ** 2 - Z_95**2)


def comparisons_to_tell(accuracy: float) -> int:
    """Return the fewest independent comparisons that tell an accuracy from one half at 5 %, in four cases of five.

    ((z(0.975) / 2 + z(0.8) sqrt(p (1 - p))) / (p - 1/2))**2, the two-sided test of a share with the variance of either
    hypothesis (Fleiss, Levin and Paik 2003, Statistical Methods for Rates and Proportions, section 2.5).

    Args:
        accuracy: 0 to 1, not one half.

    Raises:
        ValueError: Another one.
    """
    if not 0 <= accuracy <= 1 or accuracy == 0.5:
        raise ValueError(f"an accuracy of {accuracy}")
    spread = Z_95 / 2 + NormalDist().inv_cdf(POWER) * math.sqrt(accuracy * (1 - accuracy))
    return math.ceil((spread / (accuracy - 0.5)) ** 2)
