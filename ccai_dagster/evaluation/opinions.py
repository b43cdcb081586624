"""Opinions as distributions over ordered options: a model's from its letters, a group's from its answers.

Formulas after github tatsu-lab/opinions_qa (helpers.py; Santurkar et al. 2023). Files, prompts and tables belong
elsewhere.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

Distribution = np.ndarray
"""Probabilities of the options, shape (options,), sum 1."""


@dataclass(frozen=True)
class ModelOpinion:
    """What a model's probabilities of the letters say.

    Attributes:
        masses: Probability of each letter, options first; a missing one has what `letter_masses` gives it.
        options: Opinion over the options that do not refuse; None if all of them have probability zero.
        refusal: Share of the letters' probability that is on options that refuse, 0 to 1; None if no letter has any.
    """

    masses: np.ndarray
    options: Distribution | None
    refusal: float | None


def letter_masses(log_probabilities: np.ndarray) -> np.ndarray:
    """Return the probability of each letter: the larger one of the forms it may be written in.

    A letter that the model gave no probability in any form (minus infinity, as where a server returns only the
    likeliest tokens) gets the smallest probability that was seen, or an equal part of what is left over if that
    is less.

    Args:
        log_probabilities: Natural logarithms, shape (forms, letters).

    Returns:
        Shape (letters,); all zero if no letter has a probability.
    """
    seen = np.exp(log_probabilities[np.isfinite(log_probabilities)])
    best = np.exp(log_probabilities.max(axis=0))
    missing = best == 0
    if missing.any() and seen.size:
        left = max(0.0, 1.0 - float(seen.sum()))
        best[missing] = min(float(seen.min()), left / int(missing.sum()))
    return best


def model_opinion(log_probabilities: np.ndarray, n_options: int) -> ModelOpinion:
    """Turn the probabilities of letters into an opinion and a share of refusal.

    Args:
        log_probabilities: Natural logarithms, shape (forms, letters); the letters of options that refuse come last.
        n_options: Options that do not refuse.
    """
    masses = letter_masses(log_probabilities)
    total, answering = float(masses.sum()), float(masses[:n_options].sum())
    return ModelOpinion(
        masses,
        masses[:n_options] / answering if answering > 0 else None,
        float(masses[n_options:].sum()) / total if total > 0 else None,
    )


def similarity(first: Distribution, second: Distribution, ordinals: Sequence[float]) -> float:
    """Return 1 minus the Wasserstein distance of two opinions divided by the length of the scale, in [0, 1].

    Args:
        first: Probabilities.
        second: Probabilities.
        ordinals: Place of each option on the scale, not all the same.
    """
    order, gaps = _scale(ordinals)
    apart = np.abs(np.cumsum(first[order])[:-1] - np.cumsum(second[order])[:-1])
    return float(1.0 - np.clip(apart @ gaps, 0.0, 1.0))


def expected_similarity(shares: Distribution, n: int, ordinals: Sequence[float]) -> float:
    """Return the similarity to be expected between a group's opinion and that of `n` people drawn from it.

    The share up to each place of the scale is then a binomial share, whose mean absolute deviation is known
    exactly (de Moivre): with X of n at probability p, E|X - np| = 2 k (1 - p) P(X = k), k = floor(np) + 1.

    Args:
        shares: The group's opinion.
        n: People asked, at least one.
        ordinals: Place of each option on the scale, not all the same.
    """
    from scipy.stats import binom

    order, gaps = _scale(ordinals)
    below = np.clip(np.cumsum(shares[order])[:-1], 0.0, 1.0)
    # A share of all but a rounding error is all: nobody drawn can deviate.
    below = np.where(np.isclose(below, 1.0, rtol=0, atol=1e-12), 1.0, below)
    count = np.floor(n * below) + 1
    deviation = 2.0 * count * (1.0 - below) * binom.pmf(count, n, below) / n
    return float(1.0 - deviation @ gaps)


def _scale(ordinals: Sequence[float]) -> tuple[np.ndarray, np.ndarray]:
    """Return the order of the options, and the gaps between neighbours as shares of the whole scale."""
    places = np.asarray(ordinals, dtype=float)
    order = np.argsort(places, kind="stable")
    return order, np.diff(places[order]) / (places.max() - places.min())
