"""Linear scores of responses, fitted to comparisons that people labelled.

The tuned judge fits its head in this way, the method `words` the weights of its words.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from scipy.sparse import csr_matrix

FOLDS = 5


class FittedScore(NamedTuple):
    """A linear score.

    Attributes:
        weights: Of the features, float64, shape (features,).
        accuracy: Share of the comparisons that it orders as people did, cross-validated over prompts.
        strength: Inverse strength of the regularisation.
    """

    weights: np.ndarray
    accuracy: float
    strength: float


def fitted_score(
    differences: np.ndarray | csr_matrix, targets: np.ndarray, prompts: np.ndarray, strengths: Sequence[float]
) -> FittedScore:
    """Fit a linear score to labelled comparisons by logistic regression without an intercept.

    A label of 0.8 counts as four of five who preferred the response.

    Args:
        differences: Features of the preferred response minus those of the other, shape (n, features).
        targets: Labels of the preferred response, 0.5 to 1, shape (n,).
        prompts: Comparisons of one prompt are kept together in cross-validation, shape (n,).
        strengths: Inverse strengths of regularisation; the one with the best cross-validated log-likelihood is taken.
    """
    from sklearn.model_selection import GroupKFold

    folds = list(GroupKFold(FOLDS).split(targets, groups=prompts))
    best = (-np.inf, 0.0, strengths[0])
    for strength in strengths:
        margins = np.empty(len(targets))
        for learnt, left_out in folds:
            margins[left_out] = differences[left_out] @ fitted_weights(differences[learnt], targets[learnt], strength)
        likelihood = -np.logaddexp(0, -margins) @ targets - np.logaddexp(0, margins) @ (1 - targets)
        right = (np.sign(margins) + 1) / 2
        best = max(best, (float(likelihood), float(right.mean()), strength))
    _, accuracy, strength = best
    return FittedScore(fitted_weights(differences, targets, strength), accuracy, strength)


def fitted_weights(differences: np.ndarray | csr_matrix, targets: np.ndarray, strength: float) -> np.ndarray:
    """Return the weights of a score at one strength of regularisation; the arguments are those of `fitted_score`."""
    from scipy.sparse import issparse, vstack
    from sklearn.linear_model import LogisticRegression

    twice = (vstack if issparse(differences) else np.concatenate)([differences, differences])
    labels = np.repeat([1, 0], len(targets))
    regression = LogisticRegression(C=strength, fit_intercept=False, max_iter=1000)
    weights: np.ndarray = regression.fit(twice, labels, sample_weight=np.concatenate([targets, 1 - targets])).coef_[0]
    return weights
