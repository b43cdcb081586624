"""The chapter on opinions: whose a model's answers resemble, beside what could be expected of it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import polars as pl

from ccai_dagster.audit.evaluation_page.forests import VERDICTS, Figure, plain_forest
from ccai_dagster.audit.evaluation_page.inputs import EvaluationInputs
from ccai_dagster.audit.evaluation_page.measures import SMALL_SHARES, with_interval, written
from ccai_dagster.audit.evaluation_page.parts import Chapter, Forest, Grid, GridCell
from ccai_dagster.core.text import counted
from ccai_dagster.evaluation.benchmark_sets.opinion_qa import METRIC
from ccai_dagster.evaluation.clustered import LEVEL


def opinions_chapter(inputs: EvaluationInputs) -> Chapter | None:
    """Return the chapter, or None if the consultation asks no opinions."""
    table = inputs.opinion_representativeness
    if table is None or table.is_empty():
        return None
    table = table.sort("benchmark", pl.col("attribute") != "everybody", "attribute", "group")
    parts = [
        table.filter(pl.col("benchmark") == name) for name in table["benchmark"].unique(maintain_order=True)
    ]
    described = [f"“{name}”: {inputs.benchmarks[name][1]}." for name in sorted(set(table["benchmark"]))]
    return Chapter(
        anchor="opinions",
        title="Whose opinions they represent",
        paragraphs=[
            "Models answer questions of opinion that people were asked too. Representativeness is 100 if a model's "
            "distribution of answers is that of a group of people, and lower the further its answers lie from theirs "
            "on the scale of each question.",
            "The scale is squeezed: a model that prefers no option scores high already. So each cell also tells how "
            "far a model lies above that, and the shade follows it. Two columns are yardsticks that follow from the "
            "questions and are no estimates: a model that prefers no option, and one that knows the group exactly.",
            *described,
        ],
        grids=[_grid(part, inputs) for part in parts],
        forests=[forest for part in parts if (forest := _forest(part, inputs)).rows],
    )


def _grid(table: pl.DataFrame, inputs: EvaluationInputs) -> Grid:
    arms = sorted(table["arm"].unique(), key=inputs.place)
    groups = table.select("attribute", "group").unique(maintain_order=True).rows()
    by_cell = {(row["attribute"], row["group"], row["arm"]): row for row in table.to_dicts()}
    reach = max((abs(row["above_uniform"]) for row in by_cell.values()), default=0.0) or 1.0
    cells = []
    for attribute, group in groups:
        rows = [by_cell.get((attribute, group, arm)) for arm in arms]
        known = [row for row in rows if row]
        cells.append(
            [
                *(None if row is None else _cell(row, reach) for row in rows),
                _yardstick([row["uniform"] for row in known]),
                _yardstick([row["ceiling"] for row in known]),
            ]
        )
    n = sorted({row["n"] for row in by_cell.values()})
    return Grid(
        caption=f"Representativeness on “{table['benchmark'][0]}”, in points, over "
        f"{counted(n[-1], 'question') if len(n) == 1 else f'{n[0]:,} to {n[-1]:,} questions'}, with 95% intervals",
        corner="Group",
        columns=[*arms, "no preference", "exact"],
        rows=[_group(attribute, group) for attribute, group in groups],
        cells=cells,
    )


def _cell(row: Mapping[str, Any], reach: float) -> GridCell:
    above, least, most = (row[name] for name in ("above_uniform", "above_uniform_low", "above_uniform_high"))
    over = with_interval(above, least, most, False, sign=True)
    value, low, high = (written(row[name], False) for name in ("value", "low", "high"))
    return GridCell(value, f"{low} to {high};", row["above_uniform"] / reach, f"{over} over no preference")


def _yardstick(values: list[float | None]) -> GridCell | None:
    """Return what is the same for every model that answered these questions."""
    value = next((each for each in values if each is not None), None)
    return None if value is None else GridCell(written(value, False), "yardstick", 0.0)


def _group(attribute: str, group: str) -> str:
    return group if attribute == "everybody" else f"{group} ({attribute.replace('_', ' ').lower()})"


def _forest(table: pl.DataFrame, inputs: EvaluationInputs) -> Forest:
    return plain_forest(
        f"Differences on “{table['benchmark'][0]}”, each question against itself, in points",
        list(_figures(table.drop_nulls("difference"))),
        None,
        1,
    )


def _figures(table: pl.DataFrame) -> Iterator[Figure]:
    for row in table.to_dicts():
        low, high = row["difference_low"], row["difference_high"]
        apart = (low > 0 or high < 0) and (row["adjusted_p"] is None or row["adjusted_p"] <= LEVEL)
        small = max(abs(low), abs(high)) <= SMALL_SHARES[METRIC]
        verdict = "higher" if apart and low > 0 else "lower" if apart else "alike" if small else "unclear"
        yield Figure(
            _group(row["attribute"], row["group"]),
            f"{row['arm']} against {row['compared_with']}",
            counted(row["n"], "question"),
            100 * row["difference"],
            100 * low,
            100 * high,
            VERDICTS[verdict],
        )
