"""Pictures of training, scores and of what hangs on which decision.

Belongs here: pictures drawn from training histories, evaluation scores and the sensitivity table.
Doesn't belong here: the style, pictures of the deliberation.
"""

from __future__ import annotations

from typing import Any

import polars as pl

from ccai_dagster.pictures.style import COLOURS, INK, MUTED, Picture, colour, draw, marker, plain


def training_curves(history: pl.DataFrame) -> Picture:
    """Draw each logged quantity over the steps of training, one panel each.

    Args:
        history: Columns step (integer), name (what was logged), value (float); any order.
    """
    names = sorted(history["name"].unique())
    columns = min(2, max(1, len(names)))
    rows = max(1, -(-len(names) // columns))

    def paint(figure: Any) -> None:
        panels = figure.subplots(rows, columns, squeeze=False).flatten()
        for position, panel in enumerate(panels):
            if position >= len(names):
                panel.set_axis_off()
                continue
            points = history.filter(pl.col("name") == names[position]).sort("step")
            panel.plot(
                points["step"], points["value"], color=COLOURS[0], linewidth=1.6, marker="o", markersize=3
            )
            panel.set_title(plain(names[position], 40), fontsize=10)
            panel.grid(axis="y")
            panel.xaxis.get_major_locator().set_params(integer=True)
            if position >= len(names) - columns:
                panel.set_xlabel("step")

    parts = []
    for name in names:
        values = history.filter(pl.col("name") == name).sort("step")["value"].to_list()
        parts.append(f"{name} from {values[0]:.3g} to {values[-1]:.3g}")
    alt = f"Curves over training: {'; '.join(parts) or 'nothing was logged'}."
    return Picture(draw(paint, 0.5 + 2.0 * rows), alt)


def score_comparison(eval_scores: pl.DataFrame) -> Picture:
    """Draw the overall scores of all arms side by side with their 95 % intervals, one panel a metric.

    Args:
        eval_scores: EVAL_SCORES; only the category `all` is drawn.
    """
    whole = _whole(eval_scores)
    arms = arms_of(whole)
    panels = whole.select("benchmark", "metric").unique().sort("benchmark", "metric").rows()
    columns = min(2, max(1, len(panels)))
    rows = max(1, -(-len(panels) // columns))

    def paint(figure: Any) -> None:
        axes = figure.subplots(rows, columns, squeeze=False).flatten()
        for position, axis in enumerate(axes):
            if position >= len(panels):
                axis.set_axis_off()
                continue
            benchmark, metric = panels[position]
            own = whole.filter((pl.col("benchmark") == benchmark) & (pl.col("metric") == metric))
            for arm, value, low, high in own.select("arm", "value", "low", "high").iter_rows():
                place = arms.index(arm)
                axis.plot(
                    [low, high], [place, place], color=colour(place), linewidth=2.2, solid_capstyle="butt"
                )
                axis.plot(value, place, color=colour(place), marker=marker(place), markersize=6.5)
            axis.set_yticks(range(len(arms)), [plain(arm, 20) for arm in arms])
            axis.set_ylim(len(arms) - 0.5, -0.5)
            axis.grid(axis="x")
            axis.set_title(plain(f"{benchmark}: {metric}".replace("_", " "), 44), fontsize=10)

    alt = (
        f"Scores with 95 % intervals of {', '.join(arms) or 'no model'} on {len(panels)} "
        f"measure{'' if len(panels) == 1 else 's'}; the same figures stand in the table of scores."
    )
    return Picture(draw(paint, 0.4 + rows * (0.75 + 0.28 * max(1, len(arms)))), alt)


def sensitivity(decision_sensitivity: pl.DataFrame) -> Picture:
    """Draw how many statements each alternative of a numeric decision would bring in and take out.

    Args:
        decision_sensitivity: DECISION_SENSITIVITY; the values on record are not drawn.
    """
    rows = _alternatives(decision_sensitivity)

    def paint(figure: Any) -> None:
        axes = figure.add_subplot()
        reach = max([1, *[max(row["n_in"], row["n_out"]) for row in rows]])
        for place, row in enumerate(rows):
            axes.barh(place, row["n_in"], color=COLOURS[0], height=0.7)
            axes.barh(place, -row["n_out"], color=COLOURS[1], height=0.7, hatch="//", edgecolor="white")
            if row["n_lost"]:
                axes.annotate(
                    f"{row['n_lost']} principle{'' if row['n_lost'] == 1 else 's'} lost",
                    (-row["n_out"] - reach * 0.03, place),
                    ha="right",
                    va="center",
                    fontsize=8.5,
                    color=INK,
                )
        axes.axvline(0, color=MUTED, linewidth=1)
        axes.set_yticks(
            range(len(rows)),
            [plain(f"{row['decision']} = {row['alternative']}".replace("_", " ")) for row in rows],
        )
        axes.set_ylim(len(rows) - 0.4, -0.6)
        axes.set_xlim(-reach * 1.75, reach * 1.15)
        ticks = [
            tick for tick in axes.get_xticks() if tick == int(tick) and -reach * 1.75 <= tick <= reach * 1.15
        ]
        axes.set_xticks(ticks, [f"{abs(int(tick))}" for tick in ticks])
        axes.set_xlabel("← statements that would drop out      statements that would come in →")
        axes.set_title("What would be different under another choice")

    height = 1.2 + 0.27 * max(1, len(rows))
    if not rows:
        return Picture(draw(paint, height), "No alternative to any numeric decision was tried.")
    largest = max(rows, key=lambda row: row["n_in"] + row["n_out"])
    alt = (
        f"Bars for {len(rows)} alternatives to the numeric decisions; the largest change comes from "
        f"{largest['decision']} = {largest['alternative']}: {largest['n_in']} statements would come in and "
        f"{largest['n_out']} drop out."
    )
    return Picture(draw(paint, height), alt)


def _whole(eval_scores: pl.DataFrame) -> pl.DataFrame:
    """Overall scores, each once however many arms it is compared with."""
    whole = eval_scores.filter(pl.col("category") == "all")
    return whole.unique(["arm", "benchmark", "metric"], keep="first", maintain_order=True)


def arms_of(table: pl.DataFrame) -> list[str]:
    """Return the arms of a table, the untrained model first."""
    return sorted(table["arm"].unique(), key=lambda arm: (arm != "base", arm))


def _alternatives(decision_sensitivity: pl.DataFrame) -> list[dict[str, Any]]:
    return (
        decision_sensitivity.filter(~pl.col("chosen"))
        .select(
            "decision",
            "alternative",
            pl.col("entering").list.len().cast(pl.Int64).alias("n_in"),
            pl.col("leaving").list.len().cast(pl.Int64).alias("n_out"),
            pl.col("lost_principles").list.len().cast(pl.Int64).alias("n_lost"),
        )
        .to_dicts()
    )
