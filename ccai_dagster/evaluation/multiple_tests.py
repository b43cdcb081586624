"""Correction of p values for the number of tests made; which tests belong together is for `scores`."""

from __future__ import annotations

from collections.abc import Sequence


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
