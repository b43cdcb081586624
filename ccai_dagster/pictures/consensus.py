"""Pictures of all statements together: how widely they are agreed on, and how far they divide people.

Belongs here: histograms of consensus scores. Doesn't belong here: the style, single groups or people.
"""

from __future__ import annotations

from typing import Any

import polars as pl

from ccai_dagster.pictures.style import COLOURS, INK, MUTED, PALE, Picture, draw, median
from ccai_dagster.pictures.uncertainty import SIDES, with_sides


def gac_distribution(
    gac_scores: pl.DataFrame, threshold: float | None, consensus_stability: pl.DataFrame | None = None
) -> Picture:
    """Draw how many statements reach which group-aware consensus.

    Args:
        gac_scores: GAC_SCORES; statements without a score are left out.
        threshold: The cut on record, in [0, 1]; None if statements are not chosen by a threshold.
        consensus_stability: CONSENSUS_STABILITY; if given, statements are told apart by how often they reach the
            cut when participants are drawn anew.
    """
    scored = _sides(gac_scores, threshold, consensus_stability)
    shown = dict(SIDES)
    if threshold is None and consensus_stability is None:
        shown["above"] = ("statements", COLOURS[0], "")

    def paint(figure: Any) -> None:
        axes = figure.add_subplot()
        names = [name for name in shown if (scored["side"] == name).any()]
        axes.hist(
            [scored.filter(pl.col("side") == name)["gac"].to_list() for name in names] or [[]],
            bins=[step / 40 for step in range(41)],
            stacked=True,
            color=[shown[name][1] for name in names] or [PALE],
            hatch=[shown[name][2] for name in names] or [""],
            edgecolor="white",
            linewidth=0.6,
            label=[shown[name][0] for name in names] or [""],
        )
        if threshold is not None:
            axes.axvline(threshold, color=INK, linewidth=1.3, linestyle="--", label=f"cut at {threshold:g}")
        axes.set_xlim(0, 1)
        axes.set_xlabel("group-aware consensus (1 = everybody in every group agrees)")
        axes.set_ylabel("statements")
        axes.yaxis.get_major_locator().set_params(integer=True)
        axes.set_title("How widely statements are agreed on")
        if names:
            figure.legend(loc="outside lower center", ncols=2)

    alt = f"Histogram of the group-aware consensus of {scored.height} statements"
    if not scored.is_empty():
        alt += f", half of them above {median(scored['gac']):.2f}"
        if threshold is not None:
            alt += f"; {int((scored['gac'] >= threshold).sum())} reach the cut at {threshold:g}"
        if consensus_stability is not None:
            alt += f"; {int((scored['side'] == 'open').sum())} are within sampling error of the cut"
    return Picture(draw(paint, 3.9), f"{alt}.")


def polarization(gac_scores: pl.DataFrame) -> Picture:
    """Draw how evenly statements divide all participants, with and without those who pass.

    Args:
        gac_scores: GAC_SCORES; statements nobody voted on are left out.
    """
    columns = {
        "polarization_index": "polarization index",
        "adjusted_polarization_index": "adjusted for passes",
    }

    def paint(figure: Any) -> None:
        axes = figure.add_subplot()
        for position, (column, name) in enumerate(columns.items()):
            values = gac_scores[column].drop_nulls()
            if values.is_empty():
                continue
            edges = [step / 20 for step in range(21)]
            style: dict[str, Any] = (
                {"color": PALE, "edgecolor": "white"}
                if position == 0
                else {"histtype": "step", "color": COLOURS[1], "linewidth": 1.6}
            )
            axes.hist(values.sort().to_list(), bins=edges, label=name, **style)
            axes.axvline(
                median(values),
                color=MUTED if position == 0 else COLOURS[1],
                linestyle="--" if position == 0 else ":",
                linewidth=1.3,
                label=f"median {median(values):.2f}",
            )
        axes.set_xlim(0, 1)
        axes.set_xlabel("0 = everybody on one side, 1 = evenly divided")
        axes.set_ylabel("statements")
        axes.set_title("How far statements divide people")
        if axes.get_legend_handles_labels()[0]:
            axes.legend(loc="upper right")

    values = gac_scores["polarization_index"].drop_nulls()
    alt = (
        f"Histogram of the polarization index of {values.len()} statements, "
        f"from 0, everybody on one side, to 1, evenly divided; the median is {median(values):.2f}."
        if not values.is_empty()
        else "Histogram of the polarization index of no statements."
    )
    return Picture(draw(paint, 3.3), alt)


def _sides(
    gac_scores: pl.DataFrame, threshold: float | None, consensus_stability: pl.DataFrame | None
) -> pl.DataFrame:
    """Statement, score and `side` of the cut: above, below, or open if that is within sampling error."""
    scored = gac_scores.filter(pl.col("gac").is_not_null()).select("statement_id", "gac").sort("statement_id")
    if consensus_stability is not None:
        sides = with_sides(consensus_stability).select("statement_id", "side")
        return scored.join(sides, on="statement_id", how="left", maintain_order="left")
    if threshold is None:
        return scored.with_columns(side=pl.lit("above"))
    return scored.with_columns(
        side=pl.when(pl.col("gac") >= threshold).then(pl.lit("above")).otherwise(pl.lit("below"))
    )
