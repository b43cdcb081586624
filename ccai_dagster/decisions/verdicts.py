"""What the ledgers decide, as values the other rooms can use.

Every function takes a whole ledger, leaves out superseded rows and policies, and returns what is left in
columns or frozen values of the right type. Merges and wordings are in `wordings`. Whether subjects exist and
texts are unchanged is for `checks`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import polars as pl

from ccai_dagster.contracts import IDS
from ccai_dagster.decisions.decision import POLICY, is_decision, split_outcome
from ccai_dagster.decisions.doubles import standing
from ccai_dagster.decisions.ledger import current
from ccai_dagster.errors import ConsultationError


@dataclass(frozen=True)
class PolicyChoice:
    """A choice on record that is applied to no row."""

    decision_id: str
    kind: str
    subject: str
    text: str
    reason: str


def moderation_verdicts(ledger: pl.DataFrame) -> pl.DataFrame:
    """Return what moderation decided on each statement.

    Returns:
        One row a decided statement, sorted by id: `statement_id`, `verdict` (`in` or `out`), `rewrite` (the
        new text, or null), `criterion` (why it is out, or null), `decision_id`.

    Raises:
        ConsultationError: Rows that count contradict each other: see `doubles.standing`.
    """
    rows = []
    for (subject,), row in standing(decided_rows(ledger)):
        verb, text = split_outcome(row["outcome"])
        rows.append(
            {
                "statement_id": int(subject),
                "verdict": "out" if verb == "out" else "in",
                "rewrite": text if verb == "rewrite" else None,
                "criterion": text if verb == "out" else None,
                "decision_id": row["decision_id"],
            }
        )
    schema = {
        "statement_id": pl.Int64, "verdict": pl.String, "rewrite": pl.String, "criterion": pl.String,
        "decision_id": pl.String,
    }  # fmt: skip
    return pl.DataFrame(rows, schema=schema).sort("statement_id")


def exclusions(ledger: pl.DataFrame) -> pl.DataFrame:
    """Return the excluded participants: `participant_id`, `decision_id`, sorted by id.

    Raises:
        ConsultationError: Rows that count contradict each other: see `doubles.standing`.
    """
    rows = [
        {"participant_id": int(subject), "decision_id": row["decision_id"]}
        for (subject,), row in standing(decided_rows(ledger))
        if split_outcome(row["outcome"])[0] == "exclude"
    ]
    table = pl.DataFrame(rows, schema={"participant_id": pl.Int64, "decision_id": pl.String})
    return table.sort("participant_id")


def statement_ideas(ledger: pl.DataFrame) -> pl.DataFrame:
    """Return the distinct ideas of each statement: `statement_id`, `ideas` (list), `decision_id`.

    Ideas are separated by `|` in the ledger; equal text is the same idea.

    Raises:
        ConsultationError: Rows that count contradict each other, or an idea is empty.
    """
    rows = []
    for (subject,), row in standing(decided_rows(ledger)):
        ideas = [idea.strip() for idea in split_outcome(row["outcome"])[1].split("|")]
        if not all(ideas):
            raise ConsultationError(
                f"idea ledger, decision {row['decision_id']}: empty idea; write `ideas: first | second`."
            )
        rows.append(
            {
                "statement_id": int(subject),
                "ideas": list(dict.fromkeys(ideas)),
                "decision_id": row["decision_id"],
            }
        )
    table = pl.DataFrame(rows, schema={"statement_id": pl.Int64, "ideas": IDS, "decision_id": pl.String})
    return table.sort("statement_id")


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
        ConsultationError: Rows that count contradict each other: see `doubles.standing`.
    """
    signed = sorted(standing(decided_rows(ledger)), key=lambda each: each[0])
    return {arm: row["inputs_digest"] for (arm,), row in signed}


def decided_rows(ledger: pl.DataFrame) -> list[dict[str, Any]]:
    """Return the rows that count, without policies and withdrawals, in ledger order, with their `root_id`."""
    return [row for row in current(ledger).iter_rows(named=True) if is_decision(row["outcome"])]
