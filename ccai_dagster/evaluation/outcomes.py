"""What came of comparisons of two arms, in one form for the feedback model and for people.

Belongs here: reading wins, ties and losses off answers. Doesn't belong here: strengths that follow (`elo`).
"""

from __future__ import annotations

from dataclasses import dataclass

import polars as pl

FEEDBACK_MODEL, PEOPLE = "feedback model", "people"
COUNTS = ("win", "tie", "loss")


@dataclass(frozen=True)
class Outcomes:
    """What came of the comparisons of one source.

    Attributes:
        source: `FEEDBACK_MODEL` or `PEOPLE`.
        table: `quality`, `prompt_id`, `rater`, `arm_a`, `arm_b`, and how far arm a won, tied and lost (`COUNTS`), 1
            together; null if unanswered.
        judge: Name of the feedback model; empty for people.
        judge_at_chance: Whether it was not measured to be better than chance.
    """

    source: str
    table: pl.DataFrame
    judge: str = ""
    judge_at_chance: bool = False


def judge_outcomes(comparisons: pl.DataFrame) -> Outcomes:
    """Return the feedback model's comparisons: its probability counts as that much of a win.

    Args:
        comparisons: COMPARISONS.
    """
    compared, identical = pl.col("status") == "compared", pl.col("status") == "identical"
    answered = pl.when(compared | identical)
    table = comparisons.select(
        "quality",
        "prompt_id",
        pl.lit(FEEDBACK_MODEL).alias("rater"),
        "arm_a",
        "arm_b",
        answered.then(pl.col("probability_a") * compared.cast(pl.Float64)).alias("win"),
        answered.then(identical.cast(pl.Float64)).alias("tie"),
        answered.then((1 - pl.col("probability_a")) * compared.cast(pl.Float64)).alias("loss"),
    )
    names = sorted(comparisons["judge"].unique())
    return Outcomes(FEEDBACK_MODEL, table, ", ".join(names), bool(comparisons["judge_at_chance"].any()))


def people_outcomes(ratings: pl.DataFrame) -> Outcomes:
    """Return people's ratings as outcomes of the arm shown first against the one shown second.

    Args:
        ratings: RATINGS, without those that have lapsed.
    """
    table = ratings.select(
        "quality",
        "prompt_id",
        "rater",
        pl.col("arm_1").alias("arm_a"),
        pl.col("arm_2").alias("arm_b"),
        *(
            (pl.col("rating") == rating).cast(pl.Float64).alias(name)
            for rating, name in zip(("1", "tie", "2"), COUNTS, strict=True)
        ),
    )
    return Outcomes(PEOPLE, table)
