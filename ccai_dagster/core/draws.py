"""Random draws that depend on ids, not on the order of rows or on what else is drawn.

Two arms that share prompts therefore share every draw that does not concern their constitutions.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping

import numpy as np
import polars as pl

_BITS = 53


def derived_seed(seed: int, *parts: str | int) -> int:
    """Return a seed in [0, 2**63) that depends on `seed` and on every part."""
    content = json.dumps([seed, *parts], ensure_ascii=False)
    return int.from_bytes(hashlib.sha256(content.encode()).digest()[:8], "big") >> 1


def uniform(seed: int, *parts: str | int) -> float:
    """Return a number in [0, 1), uniform over different parts."""
    return (derived_seed(seed, *parts) >> (63 - _BITS)) / float(1 << _BITS)


def generator(seed: int, *parts: str | int) -> np.random.Generator:
    """Return random numbers that depend on `seed` and on every part, and on nothing that is drawn elsewhere."""
    return np.random.default_rng(derived_seed(seed, *parts))


def draw_principle(
    constitution: pl.DataFrame, seed: int, *parts: str | int, weights: Mapping[str, float] | None = None
) -> dict[str, str]:
    """Draw one principle of a constitution, each with the same probability or in proportion to its weight.

    The same parts give the same uniform number in every arm; the principles are taken in the order of
    their ids, so the order of rows does not matter.

    Args:
        constitution: At least one row.
        parts: What the draw is for, for instance a pair's id.
        weights: By id, from 0, with a sum above 0; None for equal ones.

    Returns:
        `principle_id` and `text`.
    """
    ordered = constitution.select("principle_id", "text").sort("principle_id")
    drawn = uniform(seed, *parts)
    if weights is None:
        return ordered.row(int(drawn * ordered.height), named=True)
    ends = np.cumsum([weights[each] for each in ordered["principle_id"]])
    # Rounding may put the product on the last end; a principle of weight 0 is never drawn.
    at = min(np.searchsorted(ends, drawn * ends[-1], side="right"), np.searchsorted(ends, ends[-1]))
    return ordered.row(int(at), named=True)
