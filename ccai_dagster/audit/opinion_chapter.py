"""The chapter of the report about opinion groups: what sets them apart, and how sure groups and scores are.

Belongs here: picking and counting what the chapter shows. Doesn't belong here: HTML, pictures, single statements.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import polars as pl

from ccai_dagster.audit.public_chapters import Source
from ccai_dagster.audit.report_inputs import ReportInputs
from ccai_dagster.core.text import counted, listed, percent
from ccai_dagster.deliberation.group_names import group_name
from ccai_dagster.deliberation.stability import FEW_VOTES, INTERVAL
from ccai_dagster.statistics.wilson import wilson_interval

DRAWN = {
    "participants": "When participants are drawn anew at random and grouped again",
    "seed": "When the same votes are grouped with other random seeds",
}
"""How each kind of grouping in GROUP_STABILITY is told."""


def opinion_facts(inputs: ReportInputs) -> list[str]:
    """Say from the figures how far groups and scores can be trusted."""
    facts = [
        _groups(inputs.group_stability.filter(pl.col("varied") == varied), told)
        for varied, told in DRAWN.items()
        if (inputs.group_stability["varied"] == varied).any()
    ]
    scored = inputs.consensus_stability.filter(pl.col("gac").is_not_null())
    if scored.is_empty():
        return facts
    width = scored.select((pl.col("gac_high") - pl.col("gac_low")).median()).item()
    same = scored.select((pl.col("gac_high_same_groups") - pl.col("gac_low_same_groups")).median()).item()
    facts.append(
        f"In nine draws out of ten a score lies within its 90% interval. Half of these intervals are wider than "
        f"{width:.2f}; were the groups certain, they would be wider than {same:.2f}."
    )
    selected = inputs.selected_statements.filter("selected").select("statement_id")
    own = scored.join(selected, on="statement_id", how="semi")
    other = scored.join(selected, on="statement_id", how="anti")
    share, (low, high) = pl.col("selection_probability"), INTERVAL
    firm = own.filter(share >= high).height
    facts.append(
        f"Of {counted(own.height, 'selected statement')}, {firm:,} reach the cut in at least {percent(high)} of the "
        f"draws. {other.filter(share > low).height:,} that were not selected reach it in more than {percent(low)}."
    )
    facts.append(
        f"On {own.filter('few_votes').height:,} of the selected statements some group cast fewer than {FEW_VOTES} "
        "votes: too few to tell what share of it agrees."
    )
    return facts


def _groups(draws: pl.DataFrame, told: str) -> str:
    numbers = draws["n_groups"].value_counts().sort("count", "n_groups", descending=[True, False])
    shares = [
        f"{counted(number, 'group')} in {percent(times / draws.height)}"
        for number, times in numbers.iter_rows()
    ]
    index = draws["adjusted_rand"]
    return (
        f"{told}, {counted(draws.height, 'draw')} give {listed(shares)} of them. The likeness to the groups shown "
        f"here (adjusted Rand index: 1 if the same people stand together, 0 if only by chance) is "
        f"{index.quantile(0.5, 'linear'):.2f} in the middle, and from {min(index):.2f} to {max(index):.2f}."
    )


@dataclass(frozen=True)
class Representative:
    """The statements that set one opinion group apart, in their order, with the side the group takes."""

    group_id: int
    name: str
    statements: list[tuple[Source, str]]


def representatives(inputs: ReportInputs, sources: Mapping[int, Source]) -> list[Representative]:
    """List what sets each opinion group apart."""
    table = inputs.representative_statements.sort("group_id", "rank")
    return [
        Representative(
            group,
            group_name(group),
            [
                (sources[key], side)
                for key, side in table.filter(pl.col("group_id") == group)
                .select("statement_id", "side")
                .iter_rows()
                if key in sources
            ],
        )
        for group in table["group_id"].unique().sort()
    ]


ASKED_NEXT = 5
"""Statements that are named as those Polis would show most often."""


def whole_public(
    consensus_statements: pl.DataFrame, sources: Mapping[int, Source]
) -> list[tuple[Source, str]]:
    """List the statements that the public as a whole agrees or disagrees with, groups aside, and how far."""
    told = []
    for row in consensus_statements.sort("side", "rank").to_dicts():
        if row["statement_id"] in sources:
            low, high = wilson_interval(row["n_side"], row["n_votes"])
            share = percent(row["n_side"] / row["n_votes"])
            told.append(
                (
                    sources[row["statement_id"]],
                    f"{share} of {counted(row['n_votes'], 'vote')} {row['side']} (95% interval {percent(low)} to "
                    f"{percent(high)})",
                )
            )
    return told


def asked_next(priorities: pl.DataFrame, sources: Mapping[int, Source]) -> list[Source]:
    """List the statements that Polis would show most often if people went on voting, the likeliest first."""
    order = priorities.sort("priority", "statement_id", descending=[True, False])
    return [sources[key] for key in order["statement_id"] if key in sources][:ASKED_NEXT]
