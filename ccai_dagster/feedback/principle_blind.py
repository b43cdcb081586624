"""What is reached on labelled comparisons by scorers that never see the principle, nor the prompt.

A judge that is no better than they are has not been shown to read principles, however often it is right. The words are
fitted to people's labels, so that whatever the preferred responses of a set have in common is found. Comparisons of one
prompt are held out together, so that on a crossed set, where every pair of responses stands under two principles that
prefer opposite ones, each scorer is right in exactly one half.
"""

from __future__ import annotations

import numpy as np
import polars as pl

from ccai_dagster.feedback.fitted_scores import fitted_weights
from ccai_dagster.feedback.words import word_counter

WORDS = "fitted words"
SCORERS = ("the longer response", "the shorter response", WORDS)
FOLDS = 5
STRENGTH = 0.6
"""Inverse strength of regularisation of the words, best of three tried on human comparisons of harmlessness."""


def blind_answers(comparisons: pl.DataFrame) -> dict[str, np.ndarray]:
    """Let every scorer judge labelled comparisons.

    Args:
        comparisons: HELPFULNESS_PAIRS of which no label is one half.

    Returns:
        By scorer 1 where it is right, 0 where it is wrong, one half where it says nothing, shape (comparisons,). The
        words only if there are two prompts or more, since they are fitted to the other prompts.
    """
    a_better = (comparisons["probability_a"] > 0.5).to_numpy()
    longer = (
        comparisons["response_a"].str.len_chars().cast(int) - comparisons["response_b"].str.len_chars()
    ).to_numpy()
    margins = {SCORERS[0]: longer, SCORERS[1]: -longer}
    if comparisons["prompt"].n_unique() > 1:
        margins[WORDS] = _by_words(comparisons, a_better)
    return {name: (1 + np.where(a_better, 1, -1) * np.sign(margin)) / 2 for name, margin in margins.items()}


def _by_words(comparisons: pl.DataFrame, a_better: np.ndarray) -> np.ndarray:
    """Logistic regression on the difference of the responses' words and pairs of words, each prompt held out."""
    from sklearn.model_selection import GroupKFold

    sides = [comparisons[name].to_list() for name in ("response_a", "response_b")]
    words = word_counter()
    words.fit(sides[0] + sides[1])
    difference = words.transform(sides[0]).astype(float) - words.transform(sides[1]).astype(float)
    preferred = difference.multiply(np.where(a_better, 1, -1)[:, None]).tocsr()
    margins = np.zeros(comparisons.height)
    folds = GroupKFold(min(FOLDS, comparisons["prompt"].n_unique()))
    for learnt, held_out in folds.split(a_better, groups=comparisons["prompt"].to_numpy()):
        weights = fitted_weights(preferred[learnt], np.ones(len(learnt)), STRENGTH)
        margins[held_out] = difference[held_out] @ weights
    # What only rounding tells from nothing says nothing.
    return np.where(np.abs(margins) < 1e-6, 0.0, margins)
