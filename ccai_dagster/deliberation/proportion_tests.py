"""Smoothed shares of votes and the two z-tests that Polis makes with them.

Nothing here knows of statements or groups: the functions take counts of any shape, and passes count as votes.
"""

from __future__ import annotations

import numpy as np

Z_90 = 1.2816
"""One-tailed 90 % quantile of the standard normal distribution, to the digits of Polis (`stats.clj`)."""


def smoothed_share(successes: np.ndarray, votes: np.ndarray) -> np.ndarray:
    """Return (s + 1) / (n + 2), the share with one vote for and one against added (Polis, `repness.clj`).

    Args:
        successes: Votes on the side in question, 0 or more.
        votes: All votes, at least as many.

    Returns:
        Same shape, strictly between 0 and 1; 1/2 where nobody voted.
    """
    return (successes + 1) / (votes + 2)


def proportion_z(successes: np.ndarray, votes: np.ndarray) -> np.ndarray:
    """Return the z statistic of a share against one half (Polis, `stats.clj`, prop-test).

    z = 2 sqrt(n + 1) ((s + 1) / (n + 1) - 1/2), one success being added. It is 1 where nobody voted.

    Args:
        successes: Votes on the side in question, 0 or more.
        votes: All votes, at least as many.
    """
    return 2 * np.sqrt(votes + 1) * ((successes + 1) / (votes + 1) - 0.5)


def two_proportions_z(
    inside: np.ndarray, inside_votes: np.ndarray, outside: np.ndarray, outside_votes: np.ndarray
) -> np.ndarray:
    """Return the pooled z statistic of the difference of two shares (Polis, `stats.clj`, two-prop-test).

    z = (p1 - p2) / sqrt(p (1 - p) (1 / n1 + 1 / n2)) with p the share of both together, one being added to all
    four counts beforehand.

    Args:
        inside: Votes on the side in question within the group.
        inside_votes: All votes of the group.
        outside: Votes on that side by everybody else.
        outside_votes: All votes of everybody else.

    Returns:
        Same shape; 0 where every vote is on that side.
    """
    first, second = (inside + 1) / (inside_votes + 1), (outside + 1) / (outside_votes + 1)
    pooled = (inside + outside + 2) / (inside_votes + outside_votes + 2)
    error = np.sqrt(pooled * (1 - pooled) * (1 / (inside_votes + 1) + 1 / (outside_votes + 1)))
    return np.divide(first - second, error, out=np.zeros_like(error), where=error > 0)
