"""Drawings of a published result beside its correction: every statement's consensus, and the test of alignment.

Doesn't belong here: anything about one consultation's own scores.
"""

from __future__ import annotations

import polars as pl

from ccai_dagster.pages.drawings.field import (
    BOTTOM,
    LEFT,
    TALL,
    TOP,
    WIDE,
    Drawing,
    Label,
    Shape,
    across,
    across_column,
    axes,
    bar,
    counted,
    counts_beside,
    cut_across,
    cut_at,
    dots,
    scores_below,
    scores_beside,
    up,
    up_column,
)
from ccai_dagster.pages.pictures.style import COLOURS, MUTED, PALE

FINE = 120
"""Bars of a histogram whose values lie close together."""
CROSSINGS = {
    "stays above": (COLOURS[0], False),
    "stays below": (MUTED, False),
    "falls below": (COLOURS[1], True),
    "rises above": (COLOURS[2], True),
}
"""Colour, and whether the correction moves a statement across the threshold."""
IN_THE_FILE, WHERE_IT_BELONGS = "as the published file has them", "each at the participant it belongs to"


def published_and_corrected(replicated_statements: pl.DataFrame, threshold: float) -> Drawing:
    """Draw the consensus of every statement as published, to the right, and corrected, upwards.

    Args:
        replicated_statements: REPLICATED_STATEMENTS.
        threshold: The published one, in [0, 1].
    """
    placed = replicated_statements.sort("statement_id").with_columns(
        x=across_column(pl.col("published_gac")),
        y=up_column(pl.col("corrected_gac")),
        **{f"x_{end}": across_column(pl.col(f"reproduced_{end}")) for end in ("low", "high")},
        **{f"y_{end}": up_column(pl.col(f"corrected_{end}")) for end in ("low", "high")},
    )
    shapes, keys = [Shape("outline", f"M{across(0)} {up(0)}L{across(1)} {up(1)}", PALE)], []
    for crossing, (tint, crosses) in CROSSINGS.items():
        own = placed.filter(crossing=crossing)
        if own.is_empty():
            continue
        if crosses:
            ends = own.select("x", "y", "x_low", "x_high", "y_low", "y_high").iter_rows()
            lines = "".join(f"M{left} {y}H{right}M{x} {low}V{high}" for x, y, left, right, low, high in ends)
            shapes.append(Shape("lines", lines, tint, 1, True))
        shapes.append(dots(own.select("x", "y").iter_rows(), tint, 14 if crosses else 7))
        keys.append((tint, f"{crossing} ({own.height:,})"))
    return Drawing(
        [*shapes, *cut_at(threshold), *cut_across(threshold), axes()],
        [*scores_below(), *scores_beside()],
        keys,
        _crossings_told(replicated_statements, threshold),
    )


def _crossings_told(replicated_statements: pl.DataFrame, threshold: float) -> str:
    counts = {crossing: replicated_statements.filter(pl.col("crossing") == crossing).height for crossing in CROSSINGS}
    return (
        f"Each of {replicated_statements.height} statements as a point, its published consensus to the right and "
        f"its corrected one upwards. At the threshold of {threshold:g}, {counts['stays above']} stay above, "
        f"{counts['stays below']} stay below, {counts['falls below']} fall below and {counts['rises above']} rise "
        "above."
    )


def shuffled_fit(alignment_evidence: pl.DataFrame) -> Drawing:
    """Draw how well shuffled groups of ALIGNMENT_EVIDENCE fit the votes, and the published groups in both places."""
    shuffled, observed = _fits(alignment_evidence)
    highest = max(*shuffled, *observed.values())
    counts = counted(pl.Series([each / highest for each in shuffled]), FINE)
    most = max(counts)
    bars = "".join(bar(place, 0, n, FINE, most) for place, n in enumerate(counts) if n)
    tints = {IN_THE_FILE: COLOURS[1], WHERE_IT_BELONGS: COLOURS[0]}
    lines = [
        Shape("cut" if name == IN_THE_FILE else "lines", f"M{across(value / highest)} {TOP}V{TALL - BOTTOM}", tint, 3)
        for (name, value), tint in zip(observed.items(), tints.values(), strict=True)
    ]
    return Drawing(
        [Shape("bars", bars, PALE), *lines, axes()],
        [
            Label(LEFT, TALL - BOTTOM + 26, "0"),
            Label(WIDE, TALL - BOTTOM + 26, f"{highest:,.0f}", "end"),
            *counts_beside(most),
        ],
        [
            (PALE, f"groups shuffled at random ({len(shuffled):,} times)"),
            *((tints[name], f"{name} ({value:,.0f})") for name, value in observed.items()),
        ],
        _fits_told(shuffled, observed),
    )


def _fits_told(shuffled: list[float], observed: dict[str, float]) -> str:
    return (
        f"Histogram of the summed chi-square of {len(shuffled)} random shuffles of the published groups, from "
        f"{min(shuffled):,.0f} to {max(shuffled):,.0f}. The published groups {IN_THE_FILE} reach "
        f"{observed[IN_THE_FILE]:,.0f}; {WHERE_IT_BELONGS}, {observed[WHERE_IT_BELONGS]:,.0f}."
    )


def _fits(alignment_evidence: pl.DataFrame) -> tuple[list[float], dict[str, float]]:
    """Return the summed chi-square of every shuffle, and that of the published groups in both places."""
    published = alignment_evidence.filter(pl.col("origin") == "published")
    by_way = {row["attached"]: row for row in published.iter_rows(named=True)}
    observed = {IN_THE_FILE: by_way["position"]["chi_square"], WHERE_IT_BELONGS: by_way["id"]["chi_square"]}
    return by_way["position"]["shuffled"], observed
