"""Pictures of the deliberation: who stands where, and what the groups agree on.

Belongs here: pictures drawn from opinion groups and consensus scores. Doesn't belong here: the style, models.
"""

from __future__ import annotations

from typing import Any

import polars as pl

from ccai_dagster.pictures.style import COLOURS, INK, MUTED, PALE, colour, draw, group_name, marker


def opinion_map(opinion_groups: pl.DataFrame) -> bytes:
    """Draw every participant as a point, near those who voted alike.

    Args:
        opinion_groups: OPINION_GROUPS.

    Returns:
        PNG.
    """
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
        axes.set_xlabel("main line of difference")
        axes.set_ylabel("second line of difference")
        axes.set_xticks([])
        axes.set_yticks([])
        axes.set_title("Where participants stand")
        if not groups.is_empty():
            figure.legend(loc="outside lower center", ncols=3)

    return draw(paint, 4.6)


def opinion_map_alt(opinion_groups: pl.DataFrame) -> str:
    """Say in words what `opinion_map` shows."""
    sizes = opinion_groups.group_by("group_id").len().sort("group_id")
    parts = [f"{group_name(group)} with {count} people" for group, count in sizes.iter_rows()]
    return f"Map of {opinion_groups.height} participants by how they voted: {', '.join(parts) or 'nobody'}."


def gac_distribution(
    gac_scores: pl.DataFrame, threshold: float | None, consensus_stability: pl.DataFrame | None = None
) -> bytes:
    """Draw how many statements reach which group-aware consensus.

    Args:
        gac_scores: GAC_SCORES; statements without a score are left out.
        threshold: The cut on record, in [0, 1]; None if statements are not chosen by a threshold.
        consensus_stability: CONSENSUS_STABILITY; if given, statements whose interval includes the threshold
            are drawn apart.

    Returns:
        PNG.
    """
    scored = _sides(gac_scores, threshold, consensus_stability)
    shown = {
        "below": ("below the cut", PALE, ""),
        "open": ("within sampling error of the cut", "#F0C36D", "//"),
        "above": ("reaches the cut" if threshold is not None else "statements", COLOURS[0], ""),
    }

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
            axes.legend(loc="upper left")

    return draw(paint, 3.5)


def gac_distribution_alt(
    gac_scores: pl.DataFrame, threshold: float | None, consensus_stability: pl.DataFrame | None = None
) -> str:
    """Say in words what `gac_distribution` shows."""
    scored = _sides(gac_scores, None, None)
    start = f"Histogram of the group-aware consensus of {scored.height} statements"
    if scored.is_empty():
        return f"{start}."
    middle = f"{start}, half of them above {_median(scored['gac']):.2f}"
    if threshold is None:
        return f"{middle}."
    above = int((scored["gac"] >= threshold).sum())
    text = f"{middle}; {above} reach the cut at {threshold:g}"
    if consensus_stability is not None:
        unsure = int((_sides(gac_scores, threshold, consensus_stability)["side"] == "open").sum())
        text += f", which lies inside the interval of {unsure}"
    return f"{text}."


def polarization(gac_scores: pl.DataFrame) -> bytes:
    """Draw how evenly statements divide all participants, with and without those who pass.

    Args:
        gac_scores: GAC_SCORES; statements nobody voted on are left out.

    Returns:
        PNG.
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
                _median(values),
                color=MUTED if position == 0 else COLOURS[1],
                linestyle="--" if position == 0 else ":",
                linewidth=1.3,
                label=f"median {_median(values):.2f}",
            )
        axes.set_xlim(0, 1)
        axes.set_xlabel("0 = everybody on one side, 1 = evenly divided")
        axes.set_ylabel("statements")
        axes.set_title("How far statements divide people")
        if axes.get_legend_handles_labels()[0]:
            axes.legend(loc="upper right")

    return draw(paint, 3.3)


def polarization_alt(gac_scores: pl.DataFrame) -> str:
    """Say in words what `polarization` shows."""
    values = gac_scores["polarization_index"].drop_nulls()
    if values.is_empty():
        return "Histogram of the polarization index of no statements."
    return (
        f"Histogram of the polarization index of {values.len()} statements, "
        f"from 0, everybody on one side, to 1, evenly divided; the median is {_median(values):.2f}."
    )


def agreement_by_group(gac_scores: pl.DataFrame, threshold: float | None = None) -> bytes:
    """Draw the share of each opinion group that agrees, for all statements in order of consensus.

    Args:
        gac_scores: GAC_SCORES; statements without a score are left out.
        threshold: The cut on record, in [0, 1]; statements right of it do not reach it.

    Returns:
        PNG.
    """
    ranked = _ranked(gac_scores)

    def paint(figure: Any) -> None:
        axes = figure.add_subplot()
        spans = ranked.select(
            "rank",
            pl.col("group_agreement").list.min().alias("low"),
            pl.col("group_agreement").list.max().alias("high"),
        )
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

    return draw(paint, 3.8)


def agreement_by_group_alt(gac_scores: pl.DataFrame, threshold: float | None = None) -> str:
    """Say in words what `agreement_by_group` shows."""
    ranked = _ranked(gac_scores)
    if ranked.is_empty():
        return "Agreement of each opinion group with no statements."
    gap = ranked.select(
        pl.col("group_agreement").list.max() - pl.col("group_agreement").list.min()
    ).to_series()
    cut = "" if threshold is None else f", with the cut at {threshold:g} marked"
    return (
        f"Share of each opinion group that agrees with each of {ranked.height} statements{cut}; "
        f"on half of the statements the groups are more than {_median(gap):.0%} apart."
    )


def _group_ids(opinion_groups: pl.DataFrame) -> list[int]:
    return sorted(opinion_groups["group_id"].unique())


def _ranked(gac_scores: pl.DataFrame) -> pl.DataFrame:
    scored = gac_scores.filter(pl.col("gac").is_not_null()).sort(
        ["gac", "statement_id"], descending=[True, False]
    )
    return scored.with_row_index("rank", offset=1)


def _sides(
    gac_scores: pl.DataFrame, threshold: float | None, consensus_stability: pl.DataFrame | None
) -> pl.DataFrame:
    """Statement, score and `side` of the cut: above, below, or open if the interval includes the cut."""
    scored = gac_scores.filter(pl.col("gac").is_not_null()).select("statement_id", "gac").sort("statement_id")
    if threshold is None:
        return scored.with_columns(side=pl.lit("above"))
    side = pl.when(pl.col("gac") >= threshold).then(pl.lit("above")).otherwise(pl.lit("below"))
    if consensus_stability is None:
        return scored.with_columns(side=side)
    intervals = consensus_stability.select("statement_id", "gac_low", "gac_high")
    unsure = (pl.col("gac_low") < threshold) & (pl.col("gac_high") >= threshold)
    return (
        scored.join(intervals, on="statement_id", how="left", maintain_order="left")
        .with_columns(side=pl.when(unsure).then(pl.lit("open")).otherwise(side))
        .select("statement_id", "gac", "side")
    )


def _median(values: pl.Series) -> float:
    return float(values.quantile(0.5, "linear") or 0.0)
