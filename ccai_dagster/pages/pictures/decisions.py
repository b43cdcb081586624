"""Pictures of how many principles depend on which numeric decision, and of how sure each principle's place is.

Belongs here: bars and dots over decisions, principles and combinations. Doesn't belong here: the style, the bars of
single alternatives (`scores.sensitivity`).
"""

from __future__ import annotations

from typing import Any

import polars as pl

from ccai_dagster.pages.pictures.style import COLOURS, INK, MUTED, PALE, Picture, draw, plain

ROWS_PER_COLUMN = 40
"""Principles below each other; more stand in a second column."""


def decision_importance(importance: pl.DataFrame) -> Picture:
    """Draw how many principles depend on each numeric decision, most first."""
    rows = importance.sort("rank").to_dicts()

    def paint(figure: Any) -> None:
        axes = figure.add_subplot()
        reach = max([1, *[row["n_principles"] for row in rows]])
        for place, row in enumerate(rows):
            n_lost, n_gained = len(row["lost_principles"]), len(row["gained_principles"])
            axes.barh(
                place,
                n_lost,
                color=COLOURS[1],
                height=0.66,
                hatch="//",
                edgecolor="white",
                label="drop out under at least one alternative" if place == 0 else None,
            )
            axes.barh(
                place,
                n_gained,
                left=n_lost,
                color=COLOURS[0],
                height=0.66,
                label="come in under at least one alternative" if place == 0 else None,
            )
            axes.annotate(
                f" {row['n_principles']}" + _accounts(row["share"]),
                (row["n_principles"], place),
                va="center",
                fontsize=8.5,
                color=INK,
            )
        axes.set_yticks(
            range(len(rows)), [plain(f"{_name(row)} ({row['chosen']})".replace("_", " "), 44) for row in rows]
        )
        axes.set_ylim(len(rows) - 0.4, -0.6)
        axes.set_xlim(0, reach * 1.5)
        axes.set_xticks([tick for tick in axes.get_xticks() if tick == int(tick) and tick <= reach])
        axes.set_xlabel(
            "principles that come in or drop out if this decision alone is changed\n"
            "(accounts for: its share of the differences when all decisions vary)"
        )
        axes.set_title("What hangs on which number (value on record)")
        if rows:
            axes.legend(loc="lower right", fontsize=8.5)

    named = "; ".join(f"{_name(row)} {row['n_principles']}" for row in rows if row["n_principles"])
    alt = (
        f"Bars of how many principles come in or drop out if one decision alone is changed: {named}."
        if named
        else "Bars for the numeric decisions: no principle hangs on any of them alone."
    )
    return Picture(draw(paint, 1.5 + 0.33 * max(1, len(rows))), alt)


def _accounts(share: float | None) -> str:
    return "" if share is None else f"   accounts for about {share:.0%}"


def _name(row: dict[str, Any]) -> str:
    return str(row["decision"]).replace("_", " ")


def principle_robustness(robustness: pl.DataFrame, arm: str) -> Picture:
    """Draw in what share of the combinations of decisions each principle of an arm is in."""
    rows = robustness.filter(arm=arm).sort("n_in", descending=True, maintain_order=True).to_dicts()
    n_columns = 2 if len(rows) > ROWS_PER_COLUMN else 1
    per_column = -(-len(rows) // n_columns)

    def paint(figure: Any) -> None:
        every_axes = figure.subplots(1, n_columns, squeeze=False)[0]
        for place, axes in enumerate(every_axes):
            own = rows[place * per_column : (place + 1) * per_column]
            _dots(axes, own, max(1, per_column))
        figure.suptitle("How often each principle is in", x=0.01, ha="left", fontsize=11, fontweight="bold", color=INK)
        figure.supxlabel(
            "share of all combinations of decisions;  ● in on record   ○ not in on record", fontsize=9.5, color=INK
        )

    height = 1.1 + 0.165 * max(4, per_column)
    if not rows:
        return Picture(draw(paint, height), f"No principle of {arm} has statements of the public behind it.")
    most, least = rows[0], rows[-1]
    alt = (
        f"Dots for {len(rows)} principles of {arm} by the share of {most['n_worlds']:,} combinations of decisions "
        f"in which each is in, from {most['principle_id']} in {most['share_in']:.0%} to "
        f"{least['principle_id']} in {least['share_in']:.0%}."
    )
    return Picture(draw(paint, height), alt)


def _dots(axes: Any, rows: list[dict[str, Any]], height: int) -> None:
    for place, row in enumerate(rows):
        axes.plot([0, row["share_in"]], [place, place], color=PALE, linewidth=1, zorder=1)
        axes.plot(
            row["share_in"],
            place,
            marker="o",
            markersize=5.5,
            color=COLOURS[0],
            markerfacecolor=COLOURS[0] if row["in_on_record"] else "white",
            zorder=2,
            clip_on=False,
        )
    axes.axvline(0.5, color=MUTED, linewidth=0.8, linestyle=":")
    axes.set_yticks(range(len(rows)), [plain(row["principle_id"], 16) for row in rows], fontsize=7.5)
    axes.set_ylim(height - 0.4, -0.6)
    axes.set_xlim(0, 1)
    axes.set_xticks([0, 0.25, 0.5, 0.75, 1], ["0%", "25%", "50%", "75%", "100%"])
    axes.tick_params(axis="y", length=0)
