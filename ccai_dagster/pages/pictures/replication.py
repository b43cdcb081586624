"""Pictures of a published result beside its correction: every statement's consensus, and the test of alignment.

Belongs here: these two. Doesn't belong here: the style, and anything about one consultation's own scores.
"""

from __future__ import annotations

from typing import Any

import polars as pl

from ccai_dagster.pages.pictures.style import COLOURS, INK, MUTED, PALE, Picture, draw

CROSSINGS = {
    "stays above": (COLOURS[0], "o"),
    "stays below": (MUTED, "o"),
    "falls below": (COLOURS[1], "v"),
    "rises above": (COLOURS[2], "^"),
}
BY_POSITION, BY_ID = "as the published file has them", "each at the participant it belongs to"


def published_and_corrected(replicated_statements: pl.DataFrame, threshold: float) -> Picture:
    """Draw the published consensus of every statement against the corrected one, with the threshold on both axes.

    Args:
        threshold: The published threshold, in [0, 1].
    """

    def paint(figure: Any) -> None:
        axes = figure.add_subplot()
        axes.plot([0, 1], [0, 1], color=PALE, linewidth=1)
        for crossing, (colour, marker) in CROSSINGS.items():
            crosses = marker != "o"
            part = replicated_statements.filter(pl.col("crossing") == crossing).sort("statement_id")
            if crosses:
                bars = part.select("reproduced_low", "reproduced_high", "corrected_low", "corrected_high")
                across, up = part["published_gac"].to_list(), part["corrected_gac"].to_list()
                axes.hlines(up, bars["reproduced_low"], bars["reproduced_high"], color=colour, linewidth=0.6, alpha=0.6)
                axes.vlines(
                    across, bars["corrected_low"], bars["corrected_high"], color=colour, linewidth=0.6, alpha=0.6
                )
            axes.scatter(
                part["published_gac"].to_list(),
                part["corrected_gac"].to_list(),
                s=44 if crosses else 15,
                color=colour,
                marker=marker,
                alpha=1.0 if crosses else 0.55,
                linewidths=0,
                zorder=3 if crosses else 2,
                label=f"{crossing} ({part.height})",
            )
        axes.axvline(threshold, color=INK, linewidth=1.1, linestyle="--")
        axes.axhline(threshold, color=INK, linewidth=1.1, linestyle="--", label=f"threshold {threshold:g}")
        axes.set_xlim(0, 1)
        axes.set_ylim(0, 1)
        axes.set_aspect("equal")
        axes.set_xlabel("group-aware consensus as published")
        axes.set_ylabel("group-aware consensus, corrected")
        axes.set_title("What the correction moves")
        axes.legend(loc="upper left")

    return Picture(draw(paint, 6.6), crossings_told(replicated_statements, threshold))


def crossings_told(replicated_statements: pl.DataFrame, threshold: float) -> str:
    """Say what `published_and_corrected` shows; the arguments are the same."""
    counts = {crossing: replicated_statements.filter(pl.col("crossing") == crossing).height for crossing in CROSSINGS}
    return (
        f"Each of {replicated_statements.height} statements as a point, its published consensus to the right and "
        f"its corrected one upwards. At the threshold of {threshold:g}, {counts['stays above']} stay above, "
        f"{counts['stays below']} stay below, {counts['falls below']} fall below and {counts['rises above']} rise "
        "above."
    )


def shuffled_fit(alignment_evidence: pl.DataFrame) -> Picture:
    """Draw how well shuffled groups fit the votes, and how well the published groups do in both places."""
    shuffled, observed = fits(alignment_evidence)

    def paint(figure: Any) -> None:
        axes = figure.add_subplot()
        axes.hist(
            shuffled,
            bins=24,
            color=PALE,
            edgecolor="white",
            linewidth=0.6,
            label=f"groups shuffled at random ({len(shuffled)} times)",
        )
        for name, colour, line in ((BY_POSITION, COLOURS[1], "--"), (BY_ID, COLOURS[0], "-")):
            axes.axvline(
                observed[name], color=colour, linewidth=2, linestyle=line, label=f"{name} ({observed[name]:,.0f})"
            )
        axes.set_xlim(0, max(*observed.values(), *shuffled) * 1.06)
        axes.margins(y=0.45)
        axes.set_xlabel("how far agreement differs by group: chi-square, summed over statements")
        axes.set_ylabel("shuffles")
        axes.set_title("Do the published groups fit the votes?")
        axes.legend(loc="upper center")

    return Picture(draw(paint, 3.5), fits_told(alignment_evidence))


def fits_told(alignment_evidence: pl.DataFrame) -> str:
    """Say what `shuffled_fit` shows."""
    shuffled, observed = fits(alignment_evidence)
    return (
        f"Histogram of the summed chi-square of {len(shuffled)} random shuffles of the published groups, from "
        f"{min(shuffled):,.0f} to {max(shuffled):,.0f}. The published groups {BY_POSITION} reach "
        f"{observed[BY_POSITION]:,.0f}; {BY_ID}, {observed[BY_ID]:,.0f}."
    )


def fits(alignment_evidence: pl.DataFrame) -> tuple[list[float], dict[str, float]]:
    """Return the summed chi-square of every shuffle, and that of the published groups in both places."""
    published = alignment_evidence.filter(pl.col("origin") == "published")
    by_way = {row["attached"]: row for row in published.iter_rows(named=True)}
    observed = {BY_POSITION: by_way["position"]["chi_square"], BY_ID: by_way["id"]["chi_square"]}
    return by_way["position"]["shuffled"], observed
