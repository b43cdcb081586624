"""Which statements, participants and votes count, after moderation and exclusion."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import polars as pl

from ccai_dagster.contracts import PARTICIPANTS, STATEMENTS, VOTES


@dataclass(frozen=True)
class ModerationVerdict:
    """What moderation decided on one statement.

    Attributes:
        included: Whether it is in.
        text: The new text of a statement that was rewritten.
        decision_ids: None for a statement that nobody moderated.
        criterion: Why it is out.
    """

    included: bool
    text: str | None
    decision_ids: tuple[str, ...]
    criterion: str | None = None


def clean_statements(
    raw_statements: pl.DataFrame, moderation: Mapping[int, ModerationVerdict], include_undecided: bool
) -> pl.DataFrame:
    """Return the table `statements`: those that are in, with the text that counts.

    Args:
        include_undecided: Whether a statement nobody decided on is in (a lenient consultation) or out (a
            strict one).
    """
    rows = []
    for row in raw_statements.sort("statement_id").iter_rows(named=True):
        decided = moderation.get(row["statement_id"], ModerationVerdict(include_undecided, None, ()))
        if decided.included:
            text = row["text"] if decided.text is None else decided.text
            rows.append(
                {
                    "statement_id": row["statement_id"],
                    "author_id": row["author_id"],
                    "text": text,
                    "raw_text": row["text"],
                    "rewritten": decided.text is not None,
                    "decision_ids": list(decided.decision_ids),
                }
            )
    return STATEMENTS.build(rows)


FEWEST_IN_CONVERSATION = 15
"""Polis (`conversation.clj`) takes in the most active people until there are this many."""


def clean_participants(
    raw_participants: pl.DataFrame,
    excluded: Mapping[int, str],
    minimum_votes: int,
    minimum_decision: str,
    polis_statements: int | None = None,
) -> pl.DataFrame:
    """Return the table `participants`: everybody, and whether their votes count.

    Args:
        excluded: Decision id by participant id.
        minimum_votes: Fewest votes, on any statements, for somebody to count.
        minimum_decision: Id of the decision that set it.
        polis_statements: Under the procedure `polis` the number of statements with votes: whoever voted on all
            of them is kept whatever the minimum, and where fewer than 15 people are kept, those with the most
            votes are, too (the lower id first). None under the other procedures.
    """
    exclusion = pl.col("participant_id").replace_strict(
        dict(excluded) or {-1: ""}, default=None, return_dtype=pl.String
    )
    few = pl.col("n_votes") < minimum_votes
    if polis_statements is not None:
        open_to = pl.when(exclusion.is_null()).then(pl.col("n_votes"))
        activity = open_to.rank("ordinal", descending=True)
        few &= (pl.col("n_votes") < polis_statements) & ~(
            (activity <= FEWEST_IN_CONVERSATION) & (pl.col("n_votes") > 0)
        ).fill_null(False)
    return (
        raw_participants.sort("participant_id")
        .with_columns(
            fate=pl.when(exclusion.is_not_null())
            .then(pl.lit("excluded"))
            .when(few)
            .then(pl.lit("too few votes"))
            .otherwise(pl.lit("kept")),
            decision_ids=pl.concat_list(
                pl.when(exclusion.is_not_null()).then(exclusion),
                pl.when(few).then(pl.lit(minimum_decision)),
            ).list.drop_nulls(),
        )
        .with_columns(kept=pl.col("fate") == "kept")
        .select(list(PARTICIPANTS.fields))
    )


def clean_votes(
    raw_votes: pl.DataFrame, statements: pl.DataFrame, participants: pl.DataFrame
) -> pl.DataFrame:
    """Return the table `votes`: votes of kept participants on statements that are in, sorted by id."""
    kept = participants.filter("kept")
    return (
        raw_votes.join(statements, on="statement_id", how="semi")
        .join(kept, on="participant_id", how="semi")
        .sort("participant_id", "statement_id")
        .select(list(VOTES.fields))
    )
