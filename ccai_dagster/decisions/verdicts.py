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
from ccai_dagster.decisions.decision import POLICY, is_policy, split_outcome
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
        ConsultationError: Two rows that count decide on the same statement.
    """
    rows = []
    for row in decided_rows(ledger):
        verb, text = split_outcome(row["outcome"])
        for subject in row["subject_ids"]:
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
    return _once(pl.DataFrame(rows, schema=schema), "moderation", "statement_id")


def exclusions(ledger: pl.DataFrame) -> pl.DataFrame:
    """Return the excluded participants: `participant_id`, `decision_id`, sorted by id.

    Raises:
        ConsultationError: Two rows that count exclude the same participant.
    """
    rows = [
        {"participant_id": int(subject), "decision_id": row["decision_id"]}
        for row in decided_rows(ledger)
        for subject in row["subject_ids"]
    ]
    table = pl.DataFrame(rows, schema={"participant_id": pl.Int64, "decision_id": pl.String})
    return _once(table, "exclusion", "participant_id")


def statement_ideas(ledger: pl.DataFrame) -> pl.DataFrame:
    """Return the distinct ideas of each statement: `statement_id`, `ideas` (list), `decision_id`.

    Ideas are separated by `|` in the ledger; equal text is the same idea.

    Raises:
        ConsultationError: Two rows that count decide on the same statement, or an idea is empty.
    """
    rows = []
    for row in decided_rows(ledger):
        ideas = [idea.strip() for idea in split_outcome(row["outcome"])[1].split("|")]
        if not all(ideas):
            raise ConsultationError(
                f"idea ledger, decision {row['decision_id']}: empty idea; write `ideas: first | second`."
            )
        rows.append(
            {
                "statement_id": int(row["subject_ids"][0]),
                "ideas": list(dict.fromkeys(ideas)),
                "decision_id": row["decision_id"],
            }
        )
    table = pl.DataFrame(rows, schema={"statement_id": pl.Int64, "ideas": IDS, "decision_id": pl.String})
    return _once(table, "idea", "statement_id")


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
        ConsultationError: Two rows that count sign off the same arm.
    """
    rows = [{"arm": row["subject_ids"][0], **row} for row in decided_rows(ledger)]
    table = pl.DataFrame(
        [{name: row[name] for name in ("arm", "inputs_digest", "decision_id")} for row in rows],
        schema=dict.fromkeys(("arm", "inputs_digest", "decision_id"), pl.String),
    )
    return dict(_once(table, "signoff", "arm").select("arm", "inputs_digest").iter_rows())


def decided_rows(ledger: pl.DataFrame) -> list[dict[str, Any]]:
    """Return the rows that count and are no policy, in ledger order, with their `root_id`."""
    return [row for row in current(ledger).iter_rows(named=True) if not is_policy(row["outcome"])]


def _once(table: pl.DataFrame, kind: str, subject: str) -> pl.DataFrame:
    """Sort by subject, and refuse a subject decided twice."""
    twice = table.group_by(subject).agg("decision_id").filter(pl.col("decision_id").list.len() > 1)
    if twice.height:
        value, ids = twice.sort(subject).row(0)
        raise ConsultationError(
            f"{kind} ledger: {', '.join(sorted(ids))} all decide on {subject} {value}; let the one that "
            "counts supersede the other."
        )
    return table.sort(subject)
