"""How evenly a public splits over a statement, groups left aside."""

from __future__ import annotations

import numpy as np


def polarization_index(agree: np.ndarray, disagree: np.ndarray, votes: np.ndarray) -> np.ndarray:
    """Return 1 - |agree / votes - disagree / votes| (Huang et al. 2024, section 4.1).

    Args:
        agree: Agreeing votes, shape (statements,).
        disagree: Disagreeing votes, same shape.
        votes: All votes, passes included, same shape.

    Returns:
        In [0, 1]: 0 if everybody is of one opinion, 1 if as many agree as disagree. All passes give 1 too,
        which is why the index is adjusted. NaN where nobody voted.
    """
    difference = np.abs(agree - disagree)
    return 1 - np.divide(difference, votes, out=np.full(votes.shape, np.nan), where=votes > 0)


def adjusted_polarization_index(agree: np.ndarray, disagree: np.ndarray, votes: np.ndarray) -> np.ndarray:
    """Return the polarization index times the share of votes that are not passes (ibid.).

    Arguments and range are those of `polarization_index`; all passes give 0.
    """
    return polarization_index(agree, disagree, votes) * (agree + disagree) / np.maximum(votes, 1)
