"""A few sentences on each opinion group and each topic, every one with the statements and counts it rests on.

Sentences come from templates: nothing is in them that the tables do not hold.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import polars as pl

from ccai_dagster.contracts import NARRATIVE
from ccai_dagster.core.text import counted, listed, percent, quoted
from ccai_dagster.deliberation.stability import FEW_VOTES
from ccai_dagster.deliberation.votes import group_name

LONGEST = 3
"""Statements that set a group apart and are told of."""


def narrative(
    statements: pl.DataFrame,
    opinion_groups: pl.DataFrame,
    representative_statements: pl.DataFrame,
    gac_scores: pl.DataFrame,
    statement_topics: pl.DataFrame | None = None,
) -> pl.DataFrame:
    """Tell what sets each group apart, and for each topic what groups share and where they part.

    Args:
        statement_topics: None if no topics were found; then only groups are told of.

    Returns:
        NARRATIVE. A topic without a statement that is in and scored has no sentence.
    """
    texts: dict[int, str] = dict(statements.select("statement_id", "text").iter_rows())
    told = [
        *_groups(texts, opinion_groups, representative_statements),
        *(() if statement_topics is None else _topics(texts, gac_scores, statement_topics)),
    ]
    return NARRATIVE.build(told)


def _groups(texts: Mapping[int, str], opinion_groups: pl.DataFrame, representative: pl.DataFrame) -> Iterator[Any]:
    sizes = dict(opinion_groups.group_by("group_id").len().iter_rows())
    for group in representative["group_id"].unique().sort():
        own = representative.filter(pl.col("group_id") == group, "eligible").sort("rank").head(LONGEST)
        for place, row in enumerate(own.iter_rows(named=True), 1):
            size = f" ({counted(sizes[group], 'person', 'people')})" if group in sizes else ""
            who = f"{group_name(group)}{size}" if place == 1 else "It"
            sentence = (
                f"{who} {'also ' if place > 1 else ''}{row['side']}s more than everybody else with "
                f"{_cited(texts, row['statement_id'])}: {row['n_side']:,} of {counted(row['n_votes'], 'vote')}."
            )
            yield _row("group", group, group_name(group), place, sentence, [row["statement_id"]])


def _topics(texts: Mapping[int, str], gac_scores: pl.DataFrame, statement_topics: pl.DataFrame) -> Iterator[Any]:
    named = statement_topics.select("topic_id", "topic").unique().sort("topic_id")
    scored = gac_scores.filter(pl.col("gac").is_not_null(), pl.col("statement_id").is_in(texts.keys()))
    for topic, name in named.iter_rows():
        own = scored.join(statement_topics.filter(topic_id=topic), on="statement_id", how="semi")
        if own.is_empty():
            continue
        first = own.sort("gac", "statement_id", descending=[True, False]).row(0, named=True)
        sentence = (
            f"Of {counted(own.height, 'statement')}, groups agree most widely on "
            f"{_cited(texts, first['statement_id'])}: {_shares(first)}."
        )
        yield _row("topic", topic, name, 1, sentence, [first["statement_id"]])
        parting = max(own.iter_rows(named=True), key=lambda row: (_distance(row), -row["statement_id"]))
        if _distance(parting) > 0 and parting["statement_id"] != first["statement_id"]:
            sentence = f"They part most on {_cited(texts, parting['statement_id'])}: {_shares(parting)}."
            yield _row("topic", topic, name, 2, sentence, [parting["statement_id"]])


def _distance(row: Mapping[str, Any]) -> float:
    """Between the groups' shares of agreement, 0 to 1; 0 where a group cast too few votes to tell."""
    if min(row["group_votes"], default=0) < FEW_VOTES:
        return 0.0
    return float(max(row["group_agreement"]) - min(row["group_agreement"]))


def _shares(row: Mapping[str, Any]) -> str:
    told = zip(row["group_ids"], row["group_votes"], row["group_agreement"], strict=True)
    shares = [f"{percent(share)} of {votes:,} votes of {group_name(key)}" for key, votes, share in told if votes]
    return f"{listed(shares)} agree"


def _cited(texts: Mapping[int, str], statement_id: int) -> str:
    return f"{quoted(texts[statement_id])} (statement {statement_id})"


def _row(scope: str, key: int, about: str, place: int, sentence: str, statement_ids: list[int]) -> dict[str, Any]:
    return {
        "scope": scope,
        "scope_id": key,
        "about": about,
        "place": place,
        "sentence": sentence,
        "statement_ids": statement_ids,
    }
