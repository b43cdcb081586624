"""Pictures of training and evaluation, and of what alternatives to numeric decisions would select.

Belongs here: scores and their paired differences, calibration of preference models, the specificity matrix, the heat
map of how well each model's opinions represent each group of people (as Figure 5 of Huang et al. 2024, beside what
they may be compared with), training histories, the sensitivity table. Doesn't belong here: computing any of it, the
style, the deliberation.
"""

from __future__ import annotations

from typing import Any

import polars as pl

from ccai_dagster.consultation.folder import BASE
from ccai_dagster.feedback.judge_accuracy import AT_CHANCE
from ccai_dagster.pages.pictures.style import COLOURS, INK, MUTED, PALE, Picture, colour, draw, marker, plain
from ccai_dagster.statistics.paired import LEVEL

MOST = 30
"""Rows drawn at most; the widest intervals are left out first, since they say least, and counted in words."""
KINDS = ("own", "shared", "other", "rejected")
MEASURES = {
    "judge": "by the feedback model: change in the probability of being satisfied",
    "margin": "without a judge: change in the margin of contrast pairs, nats a token",
}
_SIGNED = "{:+.3f}"
REFERENCES = {"uniform": "no\npreference", "nearest_value": "nearest\ngroup", "ceiling": "expected\nat best"}
"""Columns beside the models, and how they are headed."""
DARK = 0.55
"""From this place on the colour scale on, figures in a cell are white."""


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
                axis.plot([low, high], [place, place], color=colour(place), linewidth=2.2, solid_capstyle="butt")
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


def _whole(eval_scores: pl.DataFrame) -> pl.DataFrame:
    """Overall scores, each once however many arms it is compared with."""
    whole = eval_scores.filter(pl.col("category") == "all")
    return whole.unique(["arm", "benchmark", "metric"], keep="first", maintain_order=True)


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
        ((pl.col("category") == "all") | (pl.col("benchmark") == "adherence")) & pl.col("difference").is_not_null()
    )


def _label(row: dict[str, Any]) -> str:
    part = "" if row["category"] == "all" else f" {row['category']}"
    metric = "" if row["metric"] == row["benchmark"] else f" {row['metric']}"
    return f"{row['benchmark']}{metric}{part}: {row['arm']} − {row['compared_with']}".replace("_", " ")


def representativeness(table: pl.DataFrame) -> Picture:
    """Draw the values of one set of questions, a row a group and a column a model.

    Args:
        table: OPINION_REPRESENTATIVENESS of one benchmark.
    """
    arms, rows = arms_of(table), _values(table)
    columns = [*(plain(arm, 12) for arm in arms), *REFERENCES.values()]

    def paint(figure: Any) -> None:
        axes = figure.add_subplot()
        shown = [value for row in rows for value in row["values"] if value is not None]
        lowest, highest = min([*shown, 1.0]), max([*shown, 0.0])
        span = max(highest - lowest, 1e-9)
        filled = [[float("nan") if value is None else value for value in row["values"]] for row in rows]
        axes.imshow(filled or [[float("nan")]], cmap="YlGnBu", vmin=lowest, vmax=lowest + span, aspect="auto")
        for place, row in enumerate(rows):
            for column, value in enumerate(row["values"]):
                dark = value is not None and (value - lowest) / span > DARK
                ink = "white" if dark else INK
                end = row["intervals"][column]
                lifted = place if end is None else place - 0.13
                text = "–" if value is None else f"{value:.3f}"
                axes.text(column, lifted, text, ha="center", va="center", fontsize=8.5, color=ink)
                if end is not None:
                    axes.text(column, place + 0.27, end, ha="center", va="center", fontsize=6.5, color=ink)
            if place and row["attribute"] != rows[place - 1]["attribute"]:
                axes.axhline(place - 0.5, color="white", linewidth=2.5)
        axes.axvline(len(arms) - 0.5, color="white", linewidth=6)
        axes.set_xticks(range(len(columns)), columns, fontsize=8.5)
        axes.set_yticks(range(len(rows)), [plain(row["label"], 34) for row in rows], fontsize=8.5)
        axes.tick_params(length=0, labeltop=True, labelbottom=False)
        for side in axes.spines.values():
            side.set_color(PALE)
        figure.supxlabel(
            "1 less the distance of opinions, with 95 % intervals; 1 would be the same on every question", fontsize=9
        )

    height = 1.1 + 0.34 * max(1, len(rows))
    if table.is_empty():
        return Picture(draw(paint, height), "No model was asked for opinions.")
    parts = []
    for arm in arms:
        own = table.filter(pl.col("arm") == arm).sort("value", "attribute", "group")
        ends = [f"{own['value'][place]:.3f} ({own['group'][place]})" for place in (0, -1)]
        parts.append(f"{arm} from {' to '.join(ends)}")
    n_groups = table.select("attribute", "group").n_unique()
    lowest, highest = (f"{end:.3f}" for end in (min(table["uniform"]), max(table["uniform"])))
    alt = (
        f"Heat map of representativeness of {n_groups} groups: {'; '.join(parts)}. A model without preferences "
        f"has {lowest} to {highest}."
    )
    return Picture(draw(paint, height), alt)


def _values(table: pl.DataFrame) -> list[dict[str, Any]]:
    """One row a group: its label and its values in the order of the columns, None where there is none."""
    rows = []
    for attribute, group in table.select("attribute", "group").unique().sort("attribute", "group").iter_rows():
        own = table.filter((pl.col("attribute") == attribute) & (pl.col("group") == group))
        values = dict(own.select("arm", "value").iter_rows())
        ends = {arm: f"{low:.2f} to {high:.2f}" for arm, low, high in own.select("arm", "low", "high").iter_rows()}
        any_arm = own.sort("arm").row(0, named=True)
        rows.append(
            {
                "attribute": attribute,
                "label": group if attribute == "everybody" else f"{attribute}: {group}",
                "values": [values.get(arm) for arm in arms_of(table)] + [any_arm[name] for name in REFERENCES],
                "intervals": [ends.get(arm) for arm in arms_of(table)] + [None] * len(REFERENCES),
            }
        )
    return rows


def specificity(matrix: pl.DataFrame) -> Picture:
    """Draw lifts by arm and kind of principle, a panel each measure.

    Cells that differ from nil after correction for all cells of their kind are framed and coloured, the darker the
    further from nil; all others are grey, whatever their figure, and cells without a figure say so.

    Args:
        matrix: SPECIFICITY.
    """
    arms = sorted(matrix["arm"].unique())

    def paint(figure: Any) -> None:
        from matplotlib.patches import Rectangle

        for axis, measure in zip(figure.subplots(2, 1, squeeze=False).flatten(), MEASURES, strict=True):
            own = matrix.filter(measure=measure)
            reach = max([abs(value) for value in own["lift"].drop_nulls()] or [0.0]) or 1.0
            for row in own.iter_rows(named=True):
                shade = _shade(row["lift"] if _significant(row) else None, reach)
                x, y = KINDS.index(row["kind"]), arms.index(row["arm"])
                axis.add_patch(Rectangle((x - 0.5, y - 0.5), 1, 1, facecolor=shade, edgecolor="white"))
                if _significant(row):
                    axis.add_patch(Rectangle((x - 0.47, y - 0.45), 0.94, 0.9, fill=False, edgecolor=INK, linewidth=1.6))
                axis.text(x, y, _cell(row), ha="center", va="center", fontsize=8.5)
            axis.set_xlim(-0.5, len(KINDS) - 0.5)
            axis.set_ylim(len(arms) - 0.5, -0.5)
            axis.set_xticks(range(len(KINDS)), ["own only", "shared", "others' only", "rejected statements"])
            axis.set_yticks(range(len(arms)), [plain(arm, 20) for arm in arms])
            axis.tick_params(length=0)
            axis.spines[["left", "bottom"]].set_visible(False)
            chance = f" (a judge {AT_CHANCE})" if own["judge_at_chance"].any() else ""
            axis.set_title(MEASURES[measure] + chance, fontsize=9, color=MUTED)

    significant = [row for row in matrix.iter_rows(named=True) if _significant(row)]
    named = "; ".join(
        f"{row['arm']}, {row['kind']} by {row['measure']}: {_SIGNED.format(row['lift'])}" for row in significant
    )
    alt = (
        f"Lift against the untrained model in {matrix.height} cells, by arm, kind of principle and measure"
        f"{f', the judge being {AT_CHANCE}' if matrix['judge_at_chance'].any() else ''}. "
        + (f"Told from nil: {named}." if named else "No lift is told from nil.")
    )
    return Picture(draw(paint, 1.6 + 1.1 * max(1, len(arms))), alt)


def _shade(lift: float | None, reach: float) -> tuple[float, float, float]:
    """Blue above nil, orange below, pale near it; grey if it is not significant."""
    if lift is None:
        return 0.95, 0.95, 0.95
    red, green, blue = (0.34, 0.62, 0.85) if lift > 0 else (0.95, 0.6, 0.35)
    share = abs(lift) / reach
    return 1 - share * (1 - red), 1 - share * (1 - green), 1 - share * (1 - blue)


def _significant(row: dict[str, Any]) -> bool:
    return row["adjusted_p"] is not None and row["adjusted_p"] <= LEVEL


def _cell(row: dict[str, Any]) -> str:
    if row["lift"] is None:
        return "fewer than\ntwo prompts"
    ends = f"{row['low']:+.3f} to {row['high']:+.3f}" if row["low"] is not None else "no interval"
    return f"{_SIGNED.format(row['lift'])}\n{ends}".replace("-", "\u2212")


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
            range(len(rows)), [plain(f"{row['decision']} = {row['alternative']}".replace("_", " ")) for row in rows]
        )
        axes.set_ylim(len(rows) - 0.4, -0.6)
        axes.set_xlim(-reach * 1.75, reach * 1.15)
        ticks = [tick for tick in axes.get_xticks() if tick == int(tick) and -reach * 1.75 <= tick <= reach * 1.15]
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


def training_curves(history: pl.DataFrame) -> Picture:
    """Draw each quantity that was logged at two steps or more over the steps of training, one panel each.

    Args:
        history: Columns step (integer), name (what was logged), value (float); any order.
    """
    history = history.filter(pl.col("step").n_unique().over("name") > 1)
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
            panel.plot(points["step"], points["value"], color=COLOURS[0], linewidth=1.6, marker="o", markersize=3)
            panel.set_title(plain(names[position], 40), fontsize=10)
            panel.grid(axis="y")
            panel.xaxis.get_major_locator().set_params(integer=True)
            if position >= len(names) - columns:
                panel.set_xlabel("step")

    parts = []
    for name in names:
        values = history.filter(pl.col("name") == name).sort("step")["value"].to_list()
        parts.append(f"{name} from {values[0]:.3g} to {values[-1]:.3g}")
    alt = f"Curves over training: {'; '.join(parts) or 'nothing was logged twice'}."
    return Picture(draw(paint, 0.5 + 2.0 * rows), alt)


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
                own["confidence"], own["agreement_low"], own["agreement_high"], color=colour(place), linewidth=1.6
            )
            axes.plot(
                own["confidence"],
                own["agreement"],
                color=colour(place),
                marker=marker(place),
                linewidth=1.2,
                label=f"{plain(source, 40)} ({own['n'].sum()} pairs)",
            )
        axes.set_xlim(0.48, 1.02)
        axes.set_ylim(-0.03, 1.03)
        axes.set_xlabel("probability the preference model gives to what it prefers")
        axes.set_ylabel("the labels' probability of it")
        axes.grid(axis="y")
        axes.legend(loc="lower right")

    parts = [
        f"{source}: "
        + ", ".join(
            f"{agreement:.2f} at {confidence:.2f} ({n})"
            for confidence, agreement, n in curve.filter(pl.col("source") == source)
            .sort("confidence")
            .select("confidence", "agreement", "n")
            .iter_rows()
        )
        for source in sorted(curve["source"].unique())
    ]
    alt = f"Agreement of held-out labels by the model's confidence. {'; '.join(parts) or 'No labels'}."
    return Picture(draw(paint, 3.4), alt)


def arms_of(table: pl.DataFrame) -> list[str]:
    """Return the arms of a table, the untrained model first."""
    return sorted(table["arm"].unique(), key=lambda arm: (arm != BASE, arm))
