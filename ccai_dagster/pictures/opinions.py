"""Pictures of the deliberation: who stands where, and what the groups agree on.

Belongs here: pictures drawn from opinion groups and consensus scores. Doesn't belong here: the style, models.
"""

from __future__ import annotations

from typing import Any

import polars as pl

from ccai_dagster.deliberation.group_names import group_name
from ccai_dagster.pictures.style import INK, PALE, Picture, colour, draw, marker, median


def opinion_map(opinion_groups: pl.DataFrame) -> Picture:
    """Draw every participant as a point, near those who voted alike."""
    groups = opinion_groups.sort("participant_id")

    def paint(figure: Any) -> None:
        axes = figure.add_subplot()
        for group_id in _group_ids(groups):
            members = groups.filter(pl.col("group_id") == group_id)
            axes.scatter(
                members["x"],
                members["y"],
                s=13,
                alpha=0.55,
                linewidths=0,
                color=colour(group_id),
                marker=marker(group_id),
                label=f"{group_name(group_id)}: {members.height} people",
            )
            axes.annotate(
                group_name(group_id).removeprefix("Group "),
                (members["x"].mean(), members["y"].mean()),
                ha="center",
                va="center",
                fontsize=13,
                fontweight="bold",
                color=INK,
                bbox={"boxstyle": "circle,pad=0.25", "facecolor": "white", "edgecolor": colour(group_id)},
            )
        axes.set_xlabel(
            "main line of difference\n"
            "All votes are flattened into two lines, so people at a border could belong to either side."
        )
        axes.set_ylabel("second line of difference")
        axes.set_xticks([])
        axes.set_yticks([])
        axes.set_aspect("equal", adjustable="datalim")
        axes.set_title("Where participants stand")
        if not groups.is_empty():
            figure.legend(loc="outside lower center", ncols=3)

    sizes = opinion_groups.group_by("group_id").len().sort("group_id")
    parts = [f"{group_name(group)} with {count} people" for group, count in sizes.iter_rows()]
    alt = f"Map of {groups.height} participants by how they voted: {', '.join(parts) or 'nobody'}."
    return Picture(draw(paint, 4.9), alt)


def agreement_by_group(gac_scores: pl.DataFrame, threshold: float | None = None) -> Picture:
    """Draw the share of each opinion group that agrees, for all statements in order of consensus.

    Args:
        gac_scores: GAC_SCORES; statements without a score are left out.
        threshold: The cut on record, in [0, 1]; statements right of it do not reach it.
    """
    ranked = _by_consensus(gac_scores)
    spans = ranked.select(
        "rank",
        pl.col("group_agreement").list.min().alias("low"),
        pl.col("group_agreement").list.max().alias("high"),
    )

    def paint(figure: Any) -> None:
        axes = figure.add_subplot()
        axes.vlines(spans["rank"], spans["low"], spans["high"], color=PALE, linewidth=0.8, zorder=1)
        long = ranked.select("rank", "group_ids", "group_agreement").explode("group_ids", "group_agreement")
        for group_id in sorted(long["group_ids"].drop_nulls().unique()):
            own = long.filter(pl.col("group_ids") == group_id)
            axes.scatter(
                own["rank"],
                own["group_agreement"],
                s=9,
                linewidths=0,
                alpha=0.85,
                color=colour(group_id),
                marker=marker(group_id),
                label=group_name(group_id),
                zorder=2,
            )
        if threshold is not None and not ranked.is_empty():
            last = int((ranked["gac"] >= threshold).sum())
            axes.axvline(last + 0.5, color=INK, linewidth=1.3, linestyle="--", label=f"cut at {threshold:g}")
        axes.set_ylim(-0.02, 1.02)
        axes.set_xlabel("statements, from the widest consensus to the least")
        axes.set_ylabel("share that agrees")
        axes.grid(axis="y")
        axes.set_title("What each opinion group agrees with")
        if not ranked.is_empty():
            figure.legend(loc="outside lower center", ncols=5, markerscale=1.8)

    if ranked.is_empty():
        return Picture(draw(paint, 3.8), "Agreement of each opinion group with no statements.")
    cut = "" if threshold is None else f", with the cut at {threshold:g} marked"
    alt = (
        f"Share of each opinion group that agrees with each of {ranked.height} statements{cut}; "
        f"on half of the statements the groups are more than {median(spans['high'] - spans['low']):.0%} apart."
    )
    return Picture(draw(paint, 3.8), alt)


def _group_ids(opinion_groups: pl.DataFrame) -> list[int]:
    return sorted(opinion_groups["group_id"].unique())


def _by_consensus(gac_scores: pl.DataFrame) -> pl.DataFrame:
    scored = gac_scores.filter(pl.col("gac").is_not_null()).sort(
        ["gac", "statement_id"], descending=[True, False]
    )
    return scored.with_row_index("rank", offset=1)
