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
    sizes = dict(opinion_groups.group_by("group_id").len().sort("group_id").iter_rows())
    cast = (
        raw_votes.join(opinion_groups, on="participant_id")
        .group_by("statement_id", "group_id")
        .agg((pl.col("vote") == vote).sum().alias(f"n_{side}") for side, vote in SIDES.items())
    )
    return _profile(raw_statements, cast, sizes, set_apart)


def group_profile_of_counts(
    raw_statements: pl.DataFrame, raw_group_votes: pl.DataFrame, set_apart: Mapping[int, Sequence[str]]
) -> pl.DataFrame:
    """Return the table `group_profile`, see `group_profile`, where only counts by group are there.

    Args:
        raw_group_votes: RAW_GROUP_VOTES. It does not tell how many people a group has.
    """
    sizes = dict.fromkeys(raw_group_votes["group_id"].unique().sort())
    return _profile(raw_statements, raw_group_votes, sizes, set_apart)


def _profile(
    raw_statements: pl.DataFrame,
    cast: pl.DataFrame,
    sizes: Mapping[int, int | None],
    set_apart: Mapping[int, Sequence[str]],
) -> pl.DataFrame:
    """Lay out the table.

    Args:
        cast: `statement_id`, `group_id`, and how many agree, disagree and pass.
        sizes: People in each group, in the order of groups.
    """
    texts = dict(raw_statements.select("statement_id", "text").iter_rows())
    sides = [f"n_{side}" for side in SIDES]
    counts = {tuple(key): own for *key, own in cast.select("statement_id", "group_id", pl.struct(sides)).iter_rows()}
    rows = [
        {
            "statement_id": statement,
            "group_id": group,
            "text": texts[statement],
            "group_size": size,
            **_told(counts.get((statement, group), dict.fromkeys(sides, 0))),
            "decision_ids": list(set_apart[statement]),
        }
        for statement in sorted(set(set_apart) & set(texts))
        for group, size in sizes.items()
    ]
    return GROUP_PROFILE.build(rows)


def _told(counts: Mapping[str, int]) -> dict[str, float | int | None]:
    votes = sum(counts.values())
    told = votes >= FEWEST_TOLD
    row: dict[str, float | int | None] = {"n_votes": votes if told else None}
    for side in SIDES:
        n = counts[f"n_{side}"]
        low, high = wilson_interval(n, votes)
        row |= {
            f"n_{side}": n if told else None,
            f"{side}_share": n / votes if told else None,
            f"{side}_low": low if told else None,
            f"{side}_high": high if told else None,
        }
    return row
