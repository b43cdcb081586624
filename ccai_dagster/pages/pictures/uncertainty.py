"""Pictures of how sure groups and scores are.

Belongs here: what is drawn from consensus stability and group stability. Doesn't belong here: the style, drawing
participants anew.
"""

from __future__ import annotations

from typing import Any

import polars as pl

from ccai_dagster.deliberation.stability import INTERVAL
from ccai_dagster.pages.pictures.style import COLOURS, INK, MUTED, PALE, Picture, draw, median

OPEN = INTERVAL
"""Between these shares of draws it is open whether a statement reaches the cut: outside of them, the 90 % interval
of its score does not include the cut."""
SIDES = {
    "below": ("misses the cut", "#9aa1ac", ""),
    "open": ("within sampling error of the cut", "#E69F00", "//"),
    "above": ("reaches the cut", COLOURS[0], ""),
}
"""Name, colour and hatch of the three kinds of statements."""
_VARIED = {"participants": ("participants\ndrawn anew", COLOURS[0], ""), "seed": ("other\nseeds", COLOURS[1], "//")}


def gac_intervals(consensus_stability: pl.DataFrame, threshold: float | None) -> Picture:
    """Draw the score of every statement with its interval, from the highest to the lowest.

    Args:
        consensus_stability: CONSENSUS_STABILITY; statements without a score are left out.
        threshold: The cut on record, in [0, 1]; None if statements are not chosen by a threshold.
    """
    ranked = _ranked(consensus_stability)
    # Few statements can have thick lines; with hundreds, lines must not run into each other.
    width = min(4.0, 400 / max(1, ranked.height))

    def paint(figure: Any) -> None:
        axes = figure.add_subplot()
        for side, (name, colour, _) in reversed(SIDES.items()):
            own = ranked.filter(pl.col("side") == side)
            if own.is_empty():
                continue
            axes.vlines(own["rank"], own["gac_low"], own["gac_high"], color=colour, alpha=0.4, linewidth=width)
            axes.vlines(
                own["rank"],
                own["gac_low_same_groups"],
                own["gac_high_same_groups"],
                color=colour,
                linewidth=width,
                label=f"{name} ({own.height})",
            )
        axes.plot(ranked["rank"], ranked["gac"], color=INK, linestyle="", marker=".", markersize=2.6)
        if threshold is not None:
            axes.axhline(threshold, color=INK, linewidth=1.2, linestyle="--", label=f"cut at {threshold:g}")
        axes.set_ylim(0, 1)
        axes.set_xlim(0, ranked.height + 1)
        axes.set_xlabel(
            "statements, from the highest score to the lowest\n"
            "90% intervals: dark with the groups on record, pale with people grouped again in every draw"
        )
        axes.set_ylabel("group-aware consensus")
        axes.grid(axis="y")
        axes.set_title("How sure the scores are")
        if not ranked.is_empty():
            figure.legend(loc="outside lower center", ncols=2)

    alt = f"Group-aware consensus of {ranked.height} statements with 90 % intervals"
    if ranked.is_empty():
        return Picture(draw(paint, 4.7), f"{alt}.")
    half = median(ranked["gac_high"] - ranked["gac_low"])
    cut = "the cut" if threshold is None else f"the cut at {threshold:g}"
    counts = {side: ranked.filter(pl.col("side") == side).height for side in SIDES}
    alt += (
        f", half of them wider than {half:.2f}; {counts['above']} reach {cut} in at least 95 % of the "
        f"draws, {counts['below']} in at most 5 %, and for {counts['open']} it is open."
    )
    return Picture(draw(paint, 4.7), alt)


def _ranked(consensus_stability: pl.DataFrame) -> pl.DataFrame:
    scored = with_sides(consensus_stability).filter(pl.col("gac").is_not_null())
    return scored.sort(["gac", "statement_id"], descending=[True, False]).with_row_index("rank", offset=1)


def stability(group_stability: pl.DataFrame, consensus_stability: pl.DataFrame) -> Picture:
    """Draw how many groups are found, how like those on record they are, and which statements depend on it."""
    shown = [name for name in _VARIED if (group_stability["varied"] == name).any()]
    ranked = _ranked(consensus_stability)

    def numbers(axes: Any) -> None:
        found = sorted(group_stability["n_groups"].unique())
        for place, name in enumerate(shown):
            own = group_stability.filter(pl.col("varied") == name)
            shares = [100 * (own["n_groups"] == number).mean() for number in found]
            offset = (place - (len(shown) - 1) / 2) * 0.38
            label, colour, hatch = _VARIED[name]
            axes.bar(
                [number + offset for number in range(len(found))],
                shares,
                width=0.36,
                color=colour,
                hatch=hatch,
                edgecolor="white",
                label=label.replace("\n", " "),
            )
        axes.set_xticks(range(len(found)), [str(number) for number in found])
        axes.set_xlim(-0.7, max(1.7, len(found) - 0.3))
        axes.set_yticks(range(0, 101, 20))
        axes.set_ylim(0, 150)  # Room for the legend above the bars.
        axes.set_ylabel("% of draws")
        axes.set_title("Number of groups found", fontsize=10)

    def likeness(axes: Any) -> None:
        for place, name in enumerate(shown):
            values = group_stability.filter(pl.col("varied") == name)["adjusted_rand"]
            _, colour, _ = _VARIED[name]
            ends = [values.min(), values.quantile(0.05), values.quantile(0.95), values.max()]
            axes.plot([ends[0], ends[3]], [place, place], color=colour, linewidth=1)
            axes.plot(ends[1:3], [place, place], color=colour, linewidth=7, solid_capstyle="butt", alpha=0.45)
            axes.plot(median(values), place, color=colour, marker="o", markersize=7)
            axes.annotate(
                f"median {median(values):.2f}",
                (median(values), place),
                xytext=(0, 10),
                textcoords="offset points",
                ha="right" if median(values) > 0.8 else "center",
            )
        axes.set_xlim(min([0.0, *group_stability["adjusted_rand"]]) - 0.03, 1.03)
        axes.set_ylim(len(shown) - 0.45, -0.7)
        axes.set_yticks(range(len(shown)), [_VARIED[name][0] for name in shown])
        axes.grid(axis="x")
        axes.set_xlabel("adjusted Rand index (1 = the same)")
        axes.set_title("Likeness to the groups on record", fontsize=10)

    def selection(axes: Any) -> None:
        for few, face, label in ((False, COLOURS[0], "enough votes"), (True, "none", "a group cast few votes")):
            own = ranked.filter(pl.col("few_votes") == few)
            if not own.is_empty():
                axes.scatter(
                    own["gac"],
                    100 * own["selection_probability"],
                    s=17,
                    alpha=0.8,
                    facecolors=face,
                    edgecolors=COLOURS[0],
                    linewidths=0.9,
                    label=label,
                )
        axes.axhspan(100 * OPEN[0], 100 * OPEN[1], color=PALE, alpha=0.3, linewidth=0, zorder=0)
        axes.text(0.01, 50, "open", color=MUTED, va="center")
        axes.set_xlim(0, 1)
        axes.set_ylim(-4, 104)
        axes.set_xlabel("group-aware consensus on record")
        axes.set_ylabel("% of draws")
        axes.set_title("How often each statement reaches the cut when participants are drawn anew", fontsize=10)
        if not ranked.is_empty():
            axes.legend(loc="upper left")

    def paint(figure: Any) -> None:
        panels = figure.subplot_mosaic([["numbers", "likeness"], ["selection", "selection"]], height_ratios=[1, 1.25])
        numbers(panels["numbers"])
        likeness(panels["likeness"])
        selection(panels["selection"])
        if shown:
            panels["numbers"].legend(loc="upper right")

    return Picture(draw(paint, 5.4), _stability_in_words(group_stability, ranked))


def _stability_in_words(group_stability: pl.DataFrame, ranked: pl.DataFrame) -> str:
    parts = []
    for name, what in (("participants", "participants are drawn anew"), ("seed", "other seeds are taken")):
        own = group_stability.filter(pl.col("varied") == name)
        if own.is_empty():
            continue
        numbers = own["n_groups"].value_counts().sort("count", "n_groups", descending=[True, False])
        number, times = numbers.row(0)
        index = own["adjusted_rand"]
        parts.append(
            f"when {what}, {number} groups are found {times} of {own.height} times, with an adjusted Rand index "
            f"to the groups on record of {median(index):.2f} in the middle and {min(index):.2f} at worst"
        )
    unsure = ranked.filter(pl.col("side") == "open").height
    parts.append(f"whether they reach the cut is open for {unsure} of {ranked.height} statements")
    return f"Stability of groups and selection: {'; '.join(parts)}."


def with_sides(consensus_stability: pl.DataFrame) -> pl.DataFrame:
    """Add the column `side`: whether a statement is above or below the cut, or whether that is open."""
    share = pl.col("selection_probability")
    return consensus_stability.with_columns(
        side=pl.when(share <= OPEN[0])
        .then(pl.lit("below"))
        .when(share >= OPEN[1])
        .then(pl.lit("above"))
        .otherwise(pl.lit("open"))
    )
