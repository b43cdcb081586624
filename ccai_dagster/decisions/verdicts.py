"""What the ledgers decide, as values the other rooms can use.

Every function takes a whole ledger, leaves out superseded rows and policies, and returns what is left in
values of the right type. Merges and wordings are in `wordings`. Whether subjects exist and
texts are unchanged is for `checks`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import polars as pl

from ccai_dagster.decisions.decision import POLICY, is_decision, split_outcome
from ccai_dagster.decisions.doubles import decisive_rows
from ccai_dagster.decisions.ledger import current
from ccai_dagster.deliberation.cleaning import ModerationVerdict
from ccai_dagster.errors import ConsultationError


@dataclass(frozen=True)
class PolicyChoice:
    """A choice on record that is applied to no row."""

    decision_id: str
    kind: str
    subject: str
    text: str
    reason: str


@dataclass(frozen=True)
class Ideas:
    """The distinct ideas of one statement, and the decision that split it into them."""

    ideas: tuple[str, ...]
    decision_id: str


def moderation_verdicts(ledger: pl.DataFrame) -> dict[int, ModerationVerdict]:
    """Return what moderation decided on each statement, by id and in its order.

    Raises:
        ConsultationError: Rows that count contradict each other: see `doubles.decisive_rows`.
    """
    found = {}
    for (subject,), row in decisive_rows(decided_rows(ledger)).items():
        verb, text = split_outcome(row["outcome"])
        found[int(subject)] = ModerationVerdict(
            included=verb != "out",
            text=text if verb == "rewrite" else None,
            decision_ids=(row["decision_id"],),
            criterion=text if verb == "out" else None,
        )
    return dict(sorted(found.items()))


def exclusions(ledger: pl.DataFrame) -> dict[int, str]:
    """Return the decision that excluded each excluded participant, by participant id and in its order.

    Raises:
        ConsultationError: Rows that count contradict each other: see `doubles.decisive_rows`.
    """
    found = {
        int(subject): row["decision_id"]
        for (subject,), row in decisive_rows(decided_rows(ledger)).items()
        if split_outcome(row["outcome"])[0] == "exclude"
    }
    return dict(sorted(found.items()))


def statement_ideas(ledger: pl.DataFrame) -> dict[int, Ideas]:
    """Return the distinct ideas of every statement that somebody has split, by statement id and in its order.

    Ideas are separated by `|` in the ledger; equal text is the same idea.

    Raises:
        ConsultationError: Rows that count contradict each other, or an idea is empty.
    """
    found = {}
    for (subject,), row in decisive_rows(decided_rows(ledger)).items():
        ideas = [idea.strip() for idea in split_outcome(row["outcome"])[1].split("|")]
        if not all(ideas):
            raise ConsultationError(
                f"idea ledger, decision {row['decision_id']}: empty idea; write `ideas: first | second`."
            )
        found[int(subject)] = Ideas(tuple(dict.fromkeys(ideas)), row["decision_id"])
    return dict(sorted(found.items()))


def policies(ledger: pl.DataFrame) -> tuple[PolicyChoice, ...]:
    """Return the choices on record that are applied to no row, in ledger order, one a subject."""
    return tuple(
        PolicyChoice(
            row["decision_id"], row["kind"], subject, split_outcome(row["outcome"])[1], row["reason"]
        )
        for row in current(ledger).iter_rows(named=True)
        if split_outcome(row["outcome"])[0] == POLICY
        for subject in row["subject_ids"]
    )


def signoffs(ledger: pl.DataFrame) -> dict[str, str]:
    """Return the constitution digest that each arm is signed off for, by arm.

    Raises:
        ConsultationError: Rows that count contradict each other: see `doubles.decisive_rows`.
    """
    signed = sorted(decisive_rows(decided_rows(ledger)).items(), key=lambda each: each[0])
    return {arm: row["inputs_digest"] for (arm,), row in signed}


def decided_rows(ledger: pl.DataFrame) -> list[dict[str, Any]]:
    """Return the rows that count, without policies and withdrawals, in ledger order, with their `root_id`."""
    return [row for row in current(ledger).iter_rows(named=True) if is_decision(row["outcome"])]
