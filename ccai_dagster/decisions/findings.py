"""A finding about a ledger, and the searches that several kinds of ledger share.

Which ledger must pass which search is for `checks`.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import polars as pl

from ccai_dagster.decisions.decision import is_policy
from ccai_dagster.decisions.ledger import current
from ccai_dagster.digest import text_digest
from ccai_dagster.errors import ConsultationError

Severity = Literal["error", "warning"]


@dataclass(frozen=True)
class Finding:
    """Something wrong with a ledger, or waiting in it.

    Attributes:
        severity: `error` must stop what follows, `warning` is shown.
        ledger: The kind of ledger.
        decision_id: The row, or None where a decision is missing.
        subject: What it is about: an id or name, or several separated by spaces.
        message: What is wrong and what to do.
    """

    severity: Severity
    ledger: str
    decision_id: str | None
    subject: str
    message: str


def counting_rows(ledger: pl.DataFrame, kind: str) -> tuple[list[dict[str, Any]] | None, list[Finding]]:
    """The rows that count and are no policy (None if that cannot be told), and what is wrong with them."""
    try:
        rows = current(ledger).to_dicts()
    except ConsultationError as error:
        return None, [Finding("error", kind, None, "", str(error))]
    found = []
    for row in rows:
        subject = " ".join(row["subject_ids"])
        if row["kind"] != kind:
            message = f"the row is of kind {row['kind']}; move it to that ledger"
            found.append(Finding("error", kind, row["decision_id"], subject, message))
        if not row["reason"].strip():
            found.append(Finding("error", kind, row["decision_id"], subject, "no reason is given; add one"))
    named = [row for row in rows if is_policy(row["outcome"])]
    decided = [row for row in rows if not is_policy(row["outcome"]) and row["kind"] == kind]
    return decided, found + doubled(named, kind)


def texts_by_subject(statements: pl.DataFrame) -> dict[str, str]:
    """The text of each statement, by id as ledgers write it."""
    return {str(each): text for each, text in statements.select("statement_id", "text").iter_rows()}


def dangling(
    rows: Iterable[Mapping[str, Any]], known: Collection[str], kind: str, problem: str
) -> list[Finding]:
    """Find subjects that do not exist."""
    return [
        Finding("error", kind, row["decision_id"], subject, f"{subject} {problem}")
        for row in rows
        for subject in row["subject_ids"]
        if subject not in known
    ]


def doubled(rows: Iterable[Mapping[str, Any]], kind: str) -> list[Finding]:
    """Find subjects that two rows decide on."""
    first: dict[str, str] = {}
    found = []
    for row in rows:
        for subject in row["subject_ids"]:
            if subject in first:
                message = f"decided by {first[subject]} too; let one supersede the other"
                found.append(Finding("error", kind, row["decision_id"], subject, message))
            first.setdefault(subject, row["decision_id"])
    return found


def same_subjects(rows: Iterable[Mapping[str, Any]], kind: str) -> list[Finding]:
    """Find rows with exactly the same statements, in whatever order."""
    as_one = [{**row, "subject_ids": [" ".join(sorted(row["subject_ids"], key=int))]} for row in rows]
    return doubled(as_one, kind)


def lapsed_texts(rows: Iterable[Mapping[str, Any]], texts: Mapping[str, str], kind: str) -> list[Finding]:
    """Find decisions whose `inputs_digest` is not that of the texts, joined by line breaks."""
    found = []
    for row in rows:
        subjects = row["subject_ids"]
        if all(subject in texts for subject in subjects):
            expected = text_digest("\n".join(texts[subject] for subject in subjects))
            found += lapsed(kind, row["decision_id"], " ".join(subjects), row["inputs_digest"], expected)
    return found


def lapsed(kind: str, decision_id: str, subject: str, recorded: str | None, expected: str) -> list[Finding]:
    """Find out whether a decision was taken on what there is now."""
    if recorded == expected:
        return []
    if recorded is None:
        message = f"no inputs_digest, so nobody can tell what it was taken on; it would be {expected}"
    else:
        message = f"lapsed: taken on something else than there is now; decide again, with digest {expected}"
    return [Finding("error", kind, decision_id, subject, message)]


def refusal(kind: str, read: Callable[[], object]) -> list[Finding]:
    """Turn the error that reading raises into a finding."""
    try:
        read()
    except ConsultationError as error:
        return [Finding("error", kind, None, "", str(error))]
    return []
