"""Two constitutions compared in figures: what they share, and whether they say what to do or what to avoid.

Every figure is a share of the principles of one constitution, with the 95 % interval that it would have if the
principles had been drawn from many like them. Which principles are counterparts is decided in `overlap`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import polars as pl

from ccai_dagster.constitution.framing import FRAMINGS
from ccai_dagster.contracts import CONSTITUTION_COMPARISON
from ccai_dagster.statistics.agreement import cohens_kappa
from ccai_dagster.statistics.wilson import wilson_interval

BY_LIKENESS = "shared by likeness"
BY_TAGS = "shared by tags"
AGREEMENT = "agreement of likeness and tags"
SAYS = {"do": "says what to do", "avoid": "says what to avoid", "both": "says both"}
MEASURES = (BY_LIKENESS, BY_TAGS, AGREEMENT, *SAYS.values())
PRINTED = {"concept_overlap": BY_TAGS, "positive_valence": SAYS["do"]}
"""Figures of Huang et al. (2024, section 4.2) and what they count; the authors counted by hand."""
RESAMPLES = 10_000
Published = Mapping[tuple[str, str, str], str]
"""What was printed, by arm, other arm and measure."""


def constitution_comparison(overlap: pl.DataFrame, published: Published, seed: int) -> pl.DataFrame:
    """Return the table `constitution_comparison`.

    Args:
        published: Figures of a published comparison, to stand beside the computed ones.
        seed: Of the resampling of principles for the agreement.

    Returns:
        CONSTITUTION_COMPARISON: for every ordered pair of constitutions each of `MEASURES`, in that order.
    """
    rows = []
    for (arm, other), own in sorted(overlap.group_by(["arm", "other_arm"])):
        back = overlap.filter((pl.col("arm") == other) & (pl.col("other_arm") == arm))
        for measure, figures in _figures(own.sort("principle_id"), back, seed):
            rows.append(
                {
                    "arm": arm, "other_arm": other, "measure": measure, **figures,
                    "published": published.get((str(arm), str(other), measure)),
                }
            )  # fmt: skip
    return CONSTITUTION_COMPARISON.build(rows)


def _figures(own: pl.DataFrame, back: pl.DataFrame, seed: int) -> Iterator[tuple[str, dict[str, Any]]]:
    alone = dict.fromkeys(("difference", "difference_low", "difference_high"))
    tagged = own.drop_nulls("shared_by_tags")
    yield BY_LIKENESS, _share(own["shared"]) | alone
    yield BY_TAGS, _share(tagged["shared_by_tags"]) | alone
    yield AGREEMENT, _agreement(tagged, seed) | alone
    for name in FRAMINGS:
        first, second = _share(own["framing"] == name), _share(back["framing"] == name)
        yield SAYS[name], first | _difference(first, second)


def _share(chosen: pl.Series) -> dict[str, Any]:
    """Share of principles with Wilson's interval; no principles leave everything open."""
    n, found = len(chosen), int(chosen.sum() or 0)
    low, high = wilson_interval(found, n)
    return {"n": n, "value": found / n if n else None, "low": low, "high": high}


def _difference(first: Mapping[str, Any], second: Mapping[str, Any]) -> dict[str, Any]:
    """Difference of two shares with Newcombe's interval (Statistics in Medicine 17, 1998, method 10)."""
    gap = first["value"] - second["value"]
    below = np.hypot(first["value"] - first["low"], second["high"] - second["value"])
    above = np.hypot(first["high"] - first["value"], second["value"] - second["low"])
    return {"difference": gap, "difference_low": gap - float(below), "difference_high": gap + float(above)}


def _agreement(tagged: pl.DataFrame, seed: int) -> dict[str, Any]:
    """Cohen's kappa of the two ways to find counterparts; its interval resamples principles."""
    pairs = [(bool(one), bool(other)) for one, other in tagged.select("shared", "shared_by_tags").iter_rows()]
    cells = np.array([[pairs.count((one, other)) for other in (True, False)] for one in (True, False)])
    kappa = float(cohens_kappa(cells))
    if np.isnan(kappa):
        return {"n": len(pairs), "value": None, "low": -1.0, "high": 1.0}
    drawn = np.random.default_rng(seed).multinomial(len(pairs), cells.ravel() / len(pairs), size=RESAMPLES)
    # A draw in which both ways always say the same one thing tells nothing about agreement.
    low, high = np.nanquantile(cohens_kappa(drawn.reshape(-1, 2, 2)), (0.025, 0.975))
    return {"n": len(pairs), "value": kappa, "low": min(float(low), kappa), "high": max(float(high), kappa)}
