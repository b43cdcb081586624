"""Who the groups are, as they say themselves: votes on statements about the people who vote, by opinion group.

Such statements ("I am retired"), which Polis calls metadata, tell nothing of what people want. So they are in no map,
group, score or selection; crossed with the groups afterwards they are often the only breakdown of a conversation by who
took part.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import polars as pl

from ccai_dagster.contracts import FEWEST_TOLD, GROUP_PROFILE
from ccai_dagster.statistics.intervals import wilson_interval

SIDES = {"agree": 1, "disagree": -1, "pass": 0}


def group_profile(
    raw_statements: pl.DataFrame,
    raw_votes: pl.DataFrame,
    opinion_groups: pl.DataFrame,
    set_apart: Mapping[int, Sequence[str]],
) -> pl.DataFrame:
    """Return the table `group_profile`.

    Where fewer than `FEWEST_TOLD` people of a group voted on a statement, its counts and shares are null: in a group of
    one or two whoever belongs to it would learn what the others are, and so few votes say nothing of a group (of 4 in 4
    who agree the interval begins at 51 %).

    Args:
        raw_statements: RAW_STATEMENTS.
        raw_votes: RAW_VOTES; only those of people in a group are counted.
        opinion_groups: OPINION_GROUPS.
        set_apart: Ids of statements about the people who vote, with the decisions that set them apart.

    Returns:
        A row for each such statement and group, by their ids; no rows without such statements.
    """
    texts = dict(raw_statements.select("statement_id", "text").iter_rows())
    sizes = dict(opinion_groups.group_by("group_id").len().sort("group_id").iter_rows())
    cast = (
        raw_votes.join(opinion_groups, on="participant_id")
        .group_by("statement_id", "group_id", "vote")
        .len()
        .iter_rows()
    )
    counts = {(statement, group, vote): n for statement, group, vote, n in cast}
    rows = []
    for statement in sorted(set(set_apart) & set(texts)):
        for group, size in sizes.items():
            own = {side: counts.get((statement, group, vote), 0) for side, vote in SIDES.items()}
            rows.append(
                {
                    "statement_id": statement,
                    "group_id": group,
                    "text": texts[statement],
                    "group_size": size,
                    **_told(own),
                    "decision_ids": list(set_apart[statement]),
                }
            )
    return GROUP_PROFILE.build(rows)


def _told(counts: Mapping[str, int]) -> dict[str, float | int | None]:
    votes = sum(counts.values())
    told = votes >= FEWEST_TOLD
    row: dict[str, float | int | None] = {"n_votes": votes if told else None}
    for side, n in counts.items():
        low, high = wilson_interval(n, votes)
        row |= {
            f"n_{side}": n if told else None,
            f"{side}_share": n / votes if told else None,
            f"{side}_low": low if told else None,
            f"{side}_high": high if told else None,
        }
    return row
