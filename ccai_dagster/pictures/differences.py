"""The picture of what differs between models: paired differences of scores with their intervals."""

from __future__ import annotations

from typing import Any

import polars as pl

from ccai_dagster.pictures.style import INK, MUTED, Picture, colour, draw, marker, plain

MOST = 30
"""Rows drawn at most; the widest intervals are left out first, since they tell least, and counted in words."""


def score_differences(eval_scores: pl.DataFrame) -> Picture:
    """Draw the paired differences of whole benchmarks and of adherence, in points, with their 95 % intervals.

    Args:
        eval_scores: EVAL_SCORES; Elo has no paired differences and is not drawn.
    """
    rows = _narrowest(eval_scores)
    pairs = sorted({(row["arm"], row["compared_with"]) for row in rows})

    def paint(figure: Any) -> None:
        axes = figure.add_subplot()
        for place, row in enumerate(rows):
            at = pairs.index((row["arm"], row["compared_with"]))
            ends = [100 * row["difference_low"], 100 * row["difference_high"]]
            axes.plot(ends, [place, place], color=colour(at), linewidth=2.2, solid_capstyle="butt")
            axes.plot(100 * row["difference"], place, color=colour(at), marker=marker(at), markersize=6)
        axes.axvline(0, color=MUTED, linewidth=1)
        axes.set_yticks(range(len(rows)), [plain(_label(row), 70) for row in rows], color=INK)
        axes.set_ylim(len(rows) - 0.4, -0.6)
        axes.grid(axis="x")
        axes.set_xlabel("points of a hundred, 95 % intervals")
        axes.set_title("What differs between models")

    left_out = _compared(eval_scores).height - len(rows)
    apart = sum(row["difference_low"] > 0 or row["difference_high"] < 0 for row in rows)
    alt = (
        f"Paired differences with 95 % intervals in {len(rows)} comparisons of two models; {apart} of the intervals "
        "leave out zero, before any correction for their number."
        + (f" {left_out} more, with wider intervals, are not drawn." if left_out else "")
    )
    height = 1.2 + 0.27 * max(1, len(rows))
    return Picture(draw(paint, height), alt if rows else "No two models were compared.")


def _narrowest(eval_scores: pl.DataFrame) -> list[dict[str, Any]]:
    whole = _compared(eval_scores).sort("benchmark", "metric", "category", "arm", "compared_with")
    width = pl.col("difference_high") - pl.col("difference_low")
    return whole.filter(width.rank("ordinal") <= MOST).to_dicts()


def _compared(eval_scores: pl.DataFrame) -> pl.DataFrame:
    return eval_scores.filter(
        ((pl.col("category") == "all") | (pl.col("benchmark") == "adherence"))
        & pl.col("difference").is_not_null()
    )


def _label(row: dict[str, Any]) -> str:
    part = "" if row["category"] == "all" else f" {row['category']}"
    metric = "" if row["metric"] == row["benchmark"] else f" {row['metric']}"
    return f"{row['benchmark']}{metric}{part}: {row['arm']} − {row['compared_with']}".replace("_", " ")
