"""What the report says of who took part: beside the public, and what hangs on it.

Belongs here: picking and counting. Doesn't belong here: HTML; opinion groups and what they say (`report_public`).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import polars as pl

from ccai_dagster.core.text import counted, listed, percent
from ccai_dagster.pages.inputs import ReportInputs
from ccai_dagster.pages.report_public import PrincipleCard

HIDDEN = "too few, or hidden so that another is not told"
"""Of every answer that is hidden: to say which of them are few would tell how many, where two of eight people are."""


@dataclass(frozen=True)
class Question:
    """One question to those who took part.

    Attributes:
        told: How many answered.
        rows: Answer, its share and the target, each in words.
    """

    name: str
    told: str
    rows: list[tuple[str, str, str]]


def who_took_part(table: pl.DataFrame) -> list[Question]:
    """List the questions with the share of each answer, in the order of the table SAMPLE_REPRESENTATIVENESS."""
    found = []
    for own in table.partition_by("question", maintain_order=True):
        told, people = own["n_told"][0], own["n_people"][0]
        answered = "Too few" if told is None else f"{told:,}"
        rows = [
            (row["answer"], _share(row), "" if row["target"] is None else percent(row["target"]))
            for row in own.to_dicts()
        ]
        name = own["question"][0].replace("_", " ")
        found.append(
            Question(name, f"{answered} of {counted(people, 'person', 'people')} whose votes count answered.", rows)
        )
    return found


def _share(row: Mapping[str, Any]) -> str:
    if row["share"] is None:
        return HIDDEN if row["n"] is None else "nobody answered"
    return f"{percent(row['share'])} ({percent(row['low'])} to {percent(row['high'])})"


def hangs_on_who_came(inputs: ReportInputs, cards: Iterable[PrincipleCard]) -> list[str]:
    """Say which principles would not be there, and what else would, had people weighed as in the public."""
    table = inputs.weighted_consensus
    if table.is_empty():
        return []
    weighed, not_weighed = _by_what(inputs.sample_representativeness)
    if not weighed:
        return not_weighed
    lost = set(table.filter(pl.col("selected") & ~pl.col("selected_weighted"))["statement_id"])
    gained = table.filter(~pl.col("selected") & pl.col("selected_weighted"))["statement_id"].to_list()
    moved = table.select((pl.col("gac_weighted") - pl.col("gac")).abs().max()).item()
    number = inputs.sample_representativeness.select(pl.col("n_effective").max()).item()
    rest = [card for card in cards if card.sources and {each.statement_id for each in card.sources} & lost]
    without = [card.principle_id for card in rest if {each.statement_id for each in card.sources} <= lost]
    partly = [card.principle_id for card in rest if card.principle_id not in without]
    facts = [
        f"Weighed so that the answers to {listed(weighed)} have the shares of the public, "
        + (f"these people tell as much as {number:.0f} who count alike, and " if number is not None else "")
        + f"no consensus moves by more than {moved or 0:.3f}."
    ]
    facts += not_weighed
    if without:
        names = f"{'principle' if len(without) == 1 else 'principles'} {listed(without)}"
        facts.append(f"Then no statement behind {names} would reach the cut: it hangs on who came.")
    if partly:
        facts.append(f"Some statements behind {listed(partly)} would not reach the cut, others would.")
    if gained:
        facts.append(
            f"{counted(len(gained), 'more statement')} would reach it: {listed([str(each) for each in gained])}."
        )
    if not without and not partly and not gained:
        facts.append("The same statements reach the cut with the weights and without.")
    return facts


def _by_what(table: pl.DataFrame) -> tuple[list[str], list[str]]:
    """Return the questions by which people are weighed, and a sentence on each other one that has targets."""
    weighed, not_weighed = [], []
    for own in table.filter(pl.col("target").is_not_null()).partition_by("question", maintain_order=True):
        name, hidden = own["question"][0].replace("_", " "), own["n"].has_nulls()
        if own.filter(pl.col("n") > 0).height + hidden > 1:
            weighed.append(name)
        elif hidden:
            not_weighed.append(
                f"Nobody is weighed by {name}: no answer is told, and weights would tell how many gave it."
            )
        else:
            not_weighed.append(f"Nobody is weighed by {name}: there are not two answers that somebody gave.")
    return weighed, not_weighed
