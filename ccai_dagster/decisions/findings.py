"""A finding about a ledger, and the searches that several kinds of ledger share.

Which ledger must pass which search is for `checks`.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import polars as pl

from ccai_dagster.decisions.decision import is_decision, is_policy
from ccai_dagster.decisions.doubles import (
    Row,
    asks_for_two,
    conflict,
    disagreeing,
    rows_by_subject,
    same_role,
    second_opinions,
)
from ccai_dagster.decisions.ledger import current
from ccai_dagster.digest import text_digest
from ccai_dagster.errors import ConsultationError

Severity = Literal["error", "warning"]
WAITS_FOR_SECOND = "decided by one person; the policy asks a second to decide independently"


@dataclass(frozen=True)
class Finding:
    """Something wrong with a ledger, or waiting in it.

    Attributes:
        severity: `error` must stop what follows, `warning` is shown.
        ledger: The kind of ledger; empty if it is about a result.
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
    decided = [row for row in rows if is_decision(row["outcome"]) and row["kind"] == kind]
    return decided, found + doubled(named, kind)


def texts_by_subject(statements: pl.DataFrame) -> dict[str, str]:
    """The text of each statement, by id as ledgers write it."""
    return {str(each): text for each, text in statements.select("statement_id", "text").iter_rows()}


def dangling(
    rows: Iterable[Mapping[str, Any]],
    present: Collection[str],
    kind: str,
    problem: str,
    known: Collection[str] = (),
    used: Collection[str] | None = None,
) -> list[Finding]:
    """Find subjects that do not exist, or that are no longer there.

    Args:
        problem: What is wrong with a subject that never existed, and what to do.
        known: Subjects that exist and need not be there: statements that were moderated out.
        used: Subjects the result rests on. A decision on a subject that is no longer there waits as long as
            none of its subjects is used; None if every subject is.
    """
    found = []
    for row in rows:
        rests = used is None or bool(set(row["subject_ids"]) & set(used))
        for subject in row["subject_ids"]:
            if subject in present:
                continue
            if subject not in known:
                found.append(Finding("error", kind, row["decision_id"], subject, f"{subject} {problem}"))
            elif rests:
                message = f"{subject} is not in any more; decide again without it, superseding this row"
                found.append(Finding("error", kind, row["decision_id"], subject, message))
            else:
                message = f"{subject} is not in, by moderation; nothing rests on this row until it is"
                found.append(Finding("warning", kind, row["decision_id"], subject, message))
    return found


def doubled(rows: Iterable[Mapping[str, Any]], kind: str) -> list[Finding]:
    """Find subjects on which one role decided twice, or two roles differently."""
    found = []
    for subject, own in rows_by_subject(rows).items():
        policy = is_policy(own[0]["outcome"])
        if len(own) > 1 and (policy or same_role(own) or disagreeing(own)):
            found.append(
                Finding("error", kind, own[-1]["decision_id"], " ".join(subject), conflict(subject, own))
            )
    return found


def one_of_two(ledger: pl.DataFrame, rows: Sequence[Row], kind: str, severity: Severity) -> list[Finding]:
    """Find subjects that one person decided where a policy asks two to decide independently."""
    if not asks_for_two(ledger):
        return []
    both = second_opinions(ledger)
    return [
        Finding(severity, kind, own[0]["decision_id"], " ".join(subject), WAITS_FOR_SECOND)
        for subject, own in rows_by_subject(rows).items()
        if subject not in both
    ]


def texts_digest(subjects: Sequence[str], texts: Mapping[str, str]) -> str | None:
    """Return the digest of the subjects' texts in this order, joined by line breaks; None if one is missing."""
    if not all(subject in texts for subject in subjects):
        return None
    return text_digest("\n".join(texts[subject] for subject in subjects))


def lapsed_texts(
    rows: Iterable[Mapping[str, Any]],
    texts: Mapping[str, str],
    kind: str,
    used: Collection[str] | None = None,
) -> list[Finding]:
    """Find decisions whose `inputs_digest` is not that of the texts.

    They are errors if the result rests on them, that is on a subject in `used` (None: on every subject), and
    wait otherwise.
    """
    found = []
    for row in rows:
        subjects = row["subject_ids"]
        rests = used is None or bool(set(subjects) & set(used))
        expected = texts_digest(subjects, texts)
        if expected is not None:
            found += lapsed(
                kind, row["decision_id"], " ".join(subjects), row["inputs_digest"], expected,
                "error" if rests else "warning",
            )  # fmt: skip
    return found


def lapsed(
    kind: str,
    decision_id: str,
    subject: str,
    recorded: str | None,
    expected: str,
    severity: Severity = "error",
) -> list[Finding]:
    """Find out whether a decision was taken on what there is now."""
    if recorded == expected:
        return []
    if recorded is None:
        message = f"no inputs_digest, so nobody can tell what it was taken on; it would be {expected}"
    else:
        message = f"lapsed: taken on something else than there is now; decide again, with digest {expected}"
    return [Finding(severity, kind, decision_id, subject, message)]


def refusal(kind: str, read: Callable[[], object]) -> list[Finding]:
    """Turn the error that reading raises into a finding."""
    try:
        read()
    except ConsultationError as error:
        return [Finding("error", kind, None, "", str(error))]
    return []
