"""What would have changed: all combinations the demo profile tries, against grouping the same people for each anew."""

from __future__ import annotations

from collections.abc import Mapping

import polars as pl

from bench.deliberation import simulated
from bench.pairs import compare
from ccai_dagster.audit.recomputation import Recomputation, SharedInputs, decision_worlds
from ccai_dagster.audit.sensitivity import Alternative, combinations, levels, single_changes
from ccai_dagster.consultation.settings import DEMO
from ccai_dagster.contracts import RAW_PARTICIPANTS, RAW_STATEMENTS, RAW_VOTES
from ccai_dagster.decisions.outcomes import Ideas
from ccai_dagster.decisions.values import Cut
from ccai_dagster.deliberation.votes import ModerationVerdict

ON_RECORD = Alternative("strict", 26, "default", "zero", None, 1, "none", "product", Cut("threshold", 0.7, 40), seed=1)
GROUPED = 10
"""Alternatives that the reference groups, each from nothing."""


def inputs_of(
    votes: pl.DataFrame, moderation: Mapping[int, ModerationVerdict], ideas: Mapping[int, Ideas]
) -> SharedInputs:
    """Return the raw tables that simulated votes would have come from."""
    return SharedInputs(
        raw_statements=votes.select(pl.col("statement_id").unique().sort())
        .select(
            "statement_id", author_id=None, created_at=None, moderated=1, is_seed=False, is_meta=None, text=pl.lit("t")
        )
        .cast(RAW_STATEMENTS.dtypes),
        raw_participants=votes.group_by("participant_id")
        .len("n_votes")
        .with_columns(polis_group=None)
        .cast(RAW_PARTICIPANTS.dtypes)
        .sort("participant_id"),
        raw_votes=votes.select(
            "participant_id", "statement_id", "vote", voted_at=None, times_voted=1, important=None
        ).cast(RAW_VOTES.dtypes),
        moderation=moderation,
        excluded={},
        ideas=ideas,
    )


def main() -> None:
    """Print the comparison on a consultation of the size of CCAI's: 1,002 people, 275 statements."""
    votes = simulated(1002, 275, (26, 43))
    inputs = inputs_of(votes, {key: ModerationVerdict(True, None, ()) for key in votes["statement_id"].unique()}, {})
    tried = levels(ON_RECORD, has_ideas=False)
    single, combined = (single_changes(ON_RECORD, tried), combinations(tried, DEMO.sensitivity.ways_to_group, 1))

    def reference() -> None:
        for _ in range(GROUPED):
            Recomputation(inputs).selected(ON_RECORD)

    compare(
        f"sensitivity, {1 + len({*single, *combined} - {ON_RECORD}):,} worlds",
        lambda: decision_worlds(inputs, ON_RECORD, single, combined),
        reference,
        f"{GROUPED} worlds one by one",
        10,
        runs=3,
    )


if __name__ == "__main__":
    main()
