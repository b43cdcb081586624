"""The interval of a share."""

from __future__ import annotations

import math

Z_95 = 1.959963984540054
"""Normal quantile of a two-sided 95 % interval."""


def wilson_interval(successes: float, n: int) -> tuple[float, float]:
    """Return the 95 % score interval of a share (Wilson 1927), (0, 1) for no observation.

    Args:
        successes: Between 0 and `n`; may be fractional where ties count one half, which makes the interval
            a little wider than needed.
        n: Observations.
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
