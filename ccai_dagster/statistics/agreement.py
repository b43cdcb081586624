"""How far two raters agree beyond what their habits alone would give."""

from __future__ import annotations

from collections.abc import Hashable, Sequence

import numpy as np


def confusion_table(pairs: Sequence[tuple[Hashable, Hashable]]) -> np.ndarray:
    """Count how often two raters gave each two categories.

    Args:
        pairs: The first rater's category and the second's, one pair a subject.

    Returns:
        Shape (categories, categories): the first rater's categories by row, the second's by column.
    """
    places = {each: place for place, each in enumerate(dict.fromkeys(name for pair in pairs for name in pair))}
    table = np.zeros((len(places), len(places)))
    for first, second in pairs:
        table[places[first], places[second]] += 1
    return table


def expected_agreement(tables: np.ndarray) -> np.ndarray:
    """Return the share of subjects on which independent raters with these habits would agree.

    Args:
        tables: Counts, shape (..., categories, categories).

    Returns:
        Shape (...), in [0, 1]; NaN where a table is empty.
    """
    with np.errstate(invalid="ignore", divide="ignore"):
        both = (tables.sum(axis=-1) * tables.sum(axis=-2)).sum(axis=-1)
        return np.asarray(both / tables.sum(axis=(-2, -1)) ** 2)


def cohens_kappa(tables: np.ndarray) -> np.ndarray:
    """Return Cohen's kappa of confusion tables: (observed - expected) / (1 - expected) agreement.

    Source: J. Cohen, "A coefficient of agreement for nominal scales", Educational and Psychological Measurement
    20 (1960).

    Args:
        tables: Counts, shape (..., categories, categories).

    Returns:
        Shape (...), at most 1 and 0 where agreement is what chance would give; NaN where a table is empty, or both
        raters only ever used one and the same category, so that chance explains everything.
    """
    expected = expected_agreement(tables)
    with np.errstate(invalid="ignore", divide="ignore"):
        observed = np.trace(tables, axis1=-2, axis2=-1) / tables.sum(axis=(-2, -1))
        return np.where(expected < 1 - 1e-12, (observed - expected) / (1 - expected), np.nan)
