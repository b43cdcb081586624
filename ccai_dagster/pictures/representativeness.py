"""Heat map of how well each model's opinions represent each group of people, as Figure 5 of Huang et al. (2024).

Beside the models stand what they may be compared with. Computing any of it belongs to the evaluation.
"""

from __future__ import annotations

from typing import Any

import polars as pl

from ccai_dagster.pictures.results import arms_of
from ccai_dagster.pictures.style import INK, PALE, Picture, draw, plain

YARDSTICKS = {"uniform": "no\npreference", "nearest_value": "nearest\ngroup", "ceiling": "expected\nat best"}
"""Columns beside the models, and how they are headed."""
DARK = 0.55
"""From this place on the colour scale on, figures in a cell are white."""


def representativeness(table: pl.DataFrame) -> Picture:
    """Draw the values of one set of questions, a row a group and a column a model.

    Args:
        table: OPINION_REPRESENTATIVENESS of one benchmark.
    """
    arms, rows = arms_of(table), _values(table)
    columns = [*(plain(arm, 12) for arm in arms), *YARDSTICKS.values()]

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
            "1 less the distance of opinions, with 95 % intervals; 1 would be the same on every question",
            fontsize=9,
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
    for attribute, group in (
        table.select("attribute", "group").unique().sort("attribute", "group").iter_rows()
    ):
        own = table.filter((pl.col("attribute") == attribute) & (pl.col("group") == group))
        values = dict(own.select("arm", "value").iter_rows())
        ends = {
            arm: f"{low:.2f} to {high:.2f}" for arm, low, high in own.select("arm", "low", "high").iter_rows()
        }
        beside = own.sort("arm").row(0, named=True)
        rows.append(
            {
                "attribute": attribute,
                "label": group if attribute == "everybody" else f"{attribute}: {group}",
                "values": [values.get(arm) for arm in arms_of(table)] + [beside[name] for name in YARDSTICKS],
                "intervals": [ends.get(arm) for arm in arms_of(table)] + [None] * len(YARDSTICKS),
            }
        )
    return rows
