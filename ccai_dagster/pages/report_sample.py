"""What the report says of who took part: beside the public, and what hangs on it.

Belongs here: picking and counting. Doesn't belong here: HTML; opinion groups and what they say (`report_public`).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import polars as pl

from ccai_dagster.core.language import enumerated, gettext, ngettext, number, percent
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
        of = ngettext("%(count)s person whose votes count", "%(count)s people whose votes count", people)
        answered = (
            gettext("Too few of %(people)s answered.", people=of)
            if told is None
            else gettext("%(number)s of %(people)s answered.", number=number(told), people=of)
        )
        rows = [
            (row["answer"], _share(row), "" if row["target"] is None else percent(row["target"]))
            for row in own.to_dicts()
        ]
        name = own["question"][0].replace("_", " ")
        found.append(Question(name, answered, rows))
    return found


def _share(row: Mapping[str, Any]) -> str:
    if row["share"] is None:
        return gettext(HIDDEN) if row["n"] is None else gettext("nobody answered")
    return gettext(
        "%(share)s (%(low)s to %(high)s)",
        share=percent(row["share"]),
        low=percent(row["low"]),
        high=percent(row["high"]),
    )


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
    effective = inputs.sample_representativeness.select(pl.col("n_effective").max()).item()
    rest = [card for card in cards if card.sources and {each.statement_id for each in card.sources} & lost]
    without = [card.principle_id for card in rest if {each.statement_id for each in card.sources} <= lost]
    partly = [card.principle_id for card in rest if card.principle_id not in without]
    values = {"questions": enumerated(weighed), "distance": number(moved or 0, 3)}
    facts = [
        gettext(
            "Weighed so that the answers to %(questions)s have the shares of the public, no consensus moves by more "
            "than %(distance)s.",
            **values,
        )
        if effective is None
        else gettext(
            "Weighed so that the answers to %(questions)s have the shares of the public, these people tell as much as "
            "%(people)s who count alike, and no consensus moves by more than %(distance)s.",
            people=number(effective),
            **values,
        )
    ]
    facts += not_weighed
    if without:
        facts.append(
            ngettext(
                "Then no statement behind principle %(names)s would reach the cut: it hangs on who came.",
                "Then no statement behind principles %(names)s would reach the cut: it hangs on who came.",
                len(without),
                names=enumerated(without),
            )
        )
    if partly:
        facts.append(
            gettext("Some statements behind %(names)s would not reach the cut, others would.", names=enumerated(partly))
        )
    if gained:
        facts.append(
            ngettext(
                "%(count)s more statement would reach it: %(numbers)s.",
                "%(count)s more statements would reach it: %(numbers)s.",
                len(gained),
                numbers=enumerated([str(each) for each in gained]),
            )
        )
    if not without and not partly and not gained:
        facts.append(gettext("The same statements reach the cut with the weights and without."))
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
                gettext(
                    "Nobody is weighed by %(question)s: no answer is told, and weights would tell how many gave it.",
                    question=name,
                )
            )
        else:
            not_weighed.append(
                gettext(
                    "Nobody is weighed by %(question)s: there are not two answers that somebody gave.", question=name
                )
            )
    return weighed, not_weighed
