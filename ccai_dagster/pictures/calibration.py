"""Picture of a preference model's calibration on held-out labels."""

from __future__ import annotations

from typing import Any

import polars as pl

from ccai_dagster.pictures.style import MUTED, Picture, colour, draw, marker, plain


def calibration_curve(curve: pl.DataFrame) -> Picture:
    """Draw how often the labels agree with the model against how sure it is, one line a source.

    Args:
        curve: `source`, `n`, `confidence`, `agreement`, `agreement_low`, `agreement_high`, one row a bin.
    """

    def paint(figure: Any) -> None:
        axes = figure.add_subplot()
        axes.plot([0.5, 1], [0.5, 1], color=MUTED, linewidth=1, linestyle="--")
        for place, source in enumerate(sorted(curve["source"].unique())):
            own = curve.filter(pl.col("source") == source).sort("confidence")
            axes.vlines(
                own["confidence"],
                own["agreement_low"],
                own["agreement_high"],
                color=colour(place),
                linewidth=1.6,
            )
            axes.plot(
                own["confidence"], own["agreement"], color=colour(place), marker=marker(place), linewidth=1.2,
                label=f"{plain(source, 40)} ({own['n'].sum()} pairs)",
            )  # fmt: skip
        axes.set_xlim(0.48, 1.02)
        axes.set_ylim(-0.03, 1.03)
        axes.set_xlabel("probability the preference model gives to what it prefers")
        axes.set_ylabel("the labels' probability of it")
        axes.grid(axis="y")
        axes.legend(loc="lower right")

    parts = [
        f"{source}: " + ", ".join(
            f"{agreement:.2f} at {confidence:.2f} ({n})"
            for confidence, agreement, n in curve.filter(pl.col("source") == source)
            .sort("confidence")
            .select("confidence", "agreement", "n")
            .iter_rows()
        )
        for source in sorted(curve["source"].unique())
    ]  # fmt: skip
    alt = f"Agreement of held-out labels by the model's confidence. {'; '.join(parts) or 'No labels'}."
    return Picture(draw(paint, 3.4), alt)
