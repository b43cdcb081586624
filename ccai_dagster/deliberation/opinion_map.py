"""Where each participant stands: two coordinates from principal component analysis.

Grouping of the positions is in `groups`.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ccai_dagster.deliberation.procedure import Imputation, Procedure
from ccai_dagster.deliberation.vote_matrix import VoteMatrix


@dataclass(frozen=True)
class OpinionMap:
    """Positions of participants.

    Attributes:
        positions: Shape (participants, 2).
        explained_variance: Shares of variance of the two components, each in [0, 1].
    """

    positions: np.ndarray
    explained_variance: tuple[float, float]


def impute(matrix: VoteMatrix, imputation: Imputation, weights: np.ndarray) -> np.ndarray:
    """Fill in votes that were not cast, with 0 or with the weighted mean of the votes cast on the statement.

    Args:
        matrix: The votes.
        imputation: `zero` (the published notebook) or `column_mean` (Polis).
        weights: Shape (participants,), how often each participant counts.

    Returns:
        Shape (participants, statements). A statement nobody voted on is 0 throughout.
    """
    if imputation == "zero":
        return matrix.values.copy()
    counts = weights @ matrix.cast
    means = (weights @ matrix.values) / np.maximum(counts, 1)
    return np.where(matrix.cast, matrix.values, means)


def opinion_map(matrix: VoteMatrix, procedure: Procedure, weights: np.ndarray | None = None) -> OpinionMap:
    """Project participants onto two principal components.

    `default` takes participants as observations, centres every statement, and multiplies each position by
    the square root of (statements / votes cast), so that people who voted little are not drawn to the middle
    (Polis, `pca.clj`; Small et al. 2021). `paper` takes statements as observations and uses the loadings of
    the participants, unscaled: this is what the notebook of Huang et al. (2024) does, and the only variant
    that gives its explained variance of 0.0729 and 0.0420.

    The sign of a component is arbitrary; it is fixed so that the coordinate's largest value is positive.

    Args:
        matrix: The votes.
        procedure: Which variant, and the imputation.
        weights: Shape (participants,), how often each counts; all once if None.

    Returns:
        Positions are all zero if the votes do not vary.
    """
    weights = np.ones(len(matrix.participant_ids)) if weights is None else weights.astype(float)
    filled = impute(matrix, procedure.imputation, weights)
    if procedure.name == "paper":
        centred = filled - filled.mean(axis=1, keepdims=True)
    else:
        centred = filled - (weights @ filled) / weights.sum()
    scatter = (centred * weights[:, None]).T @ centred
    values, vectors = np.linalg.eigh(scatter)
    values, vectors = np.clip(values[::-1][:2], 0, None), vectors[:, ::-1][:, :2]
    positions = centred @ vectors
    if procedure.name == "paper":
        positions = positions / np.sqrt(np.where(values > 0, values, 1.0))
    else:
        cast = np.maximum(matrix.cast.sum(axis=1), 1)
        positions = positions * np.sqrt(matrix.cast.shape[1] / cast)[:, None]
    if positions.shape[1] < 2:
        positions = np.pad(positions, ((0, 0), (0, 2 - positions.shape[1])))
        values = np.pad(values, (0, 2 - len(values)))
    largest = positions[np.abs(positions).argmax(axis=0), [0, 1]]
    total = np.trace(scatter)
    shares = values / total if total > 0 else np.zeros(2)
    return OpinionMap(positions * np.where(largest < 0, -1.0, 1.0), (float(shares[0]), float(shares[1])))
