"""What is wrong or waiting in the ledgers: missing, doubled, dangling and lapsed decisions.

Each function looks at one ledger and the tables it is about, and returns findings; none raises for what a
person can mend. A finding of severity `error` must stop what follows; a `warning` is shown while the subject
waits. A decision has lapsed when what it was taken on is no longer what there is.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from typing import Any, Literal

import polars as pl

from ccai_dagster.decisions import settled_values, verdicts, wordings
from ccai_dagster.decisions.decision import split_outcome
from ccai_dagster.decisions.findings import (
    Finding,
    counting_rows,
    dangling,
    doubled,
    lapsed,
    lapsed_texts,
    refusal,
    same_subjects,
    texts_by_subject,
)
from ccai_dagster.errors import ConsultationError

TRAINING_POLICIES = ("prompt_database", "evaluations")
"""Choices that the training ledger must hold as policies."""


def check_decision_ids(ledgers: Mapping[str, pl.DataFrame]) -> list[Finding]:
    """Find ids that stand in more than one ledger of the consultation, or twice in one."""
    seen: dict[str, str] = {}
    found = []
    for kind, ledger in ledgers.items():
        for decision_id, subjects in ledger.select("decision_id", "subject_ids").iter_rows():
            if decision_id in seen:
                message = f"the id is taken in the {seen[decision_id]} ledger; give this row a new one"
                found.append(Finding("error", kind, decision_id, " ".join(subjects), message))
            seen.setdefault(decision_id, kind)
    return found


def check_moderation(
    ledger: pl.DataFrame, raw_statements: pl.DataFrame, mode: Literal["strict", "lenient"]
) -> list[Finding]:
    """Check the moderation ledger against the statements as they came in.

    A statement that nobody moderated waits: it is a warning, since new ones arrive while a consultation is
    open. No statement in at all is an error.
    """
    rows, found = counting_rows(ledger, "moderation")
    if rows is None:
        return found
    texts = texts_by_subject(raw_statements)
    found += dangling(rows, texts, "moderation", "is not in the votes' list of statements; correct the id")
    found += doubled(rows, "moderation")
    found += lapsed_texts(rows, texts, "moderation")
    let_in = [row for row in rows if split_outcome(row["outcome"])[0] != "out"]
    moderated_in = {subject for row in let_in for subject in row["subject_ids"]}
    decided = {subject for row in rows for subject in row["subject_ids"]}
    waiting = sorted(set(texts) - decided, key=int)
    if not moderated_in & set(texts) and (mode == "strict" or not waiting):
        found.append(Finding("error", "moderation", None, "", "no statement is in; moderate some in"))
    effect = "stays out" if mode == "strict" else "is in"
    message = f"nobody has moderated it; it {effect} until somebody does"
    return found + [Finding("warning", "moderation", None, subject, message) for subject in waiting]


def check_exclusions(ledger: pl.DataFrame, raw_participants: pl.DataFrame) -> list[Finding]:
    """Check the exclusion ledger against everybody who took part."""
    rows, found = counting_rows(ledger, "exclusion")
    if rows is None:
        return found
    known = {str(each): "" for each in raw_participants["participant_id"]}
    found += dangling(rows, known, "exclusion", "is no participant of this consultation; correct the id")
    return found + doubled(rows, "exclusion")


def check_merges(ledger: pl.DataFrame, statements: pl.DataFrame) -> list[Finding]:
    """Check the merge ledger against the statements that are in, with their text after rewrites."""
    rows, found = counting_rows(ledger, "merge")
    if rows is None:
        return found
    texts = texts_by_subject(statements)
    found += dangling(rows, texts, "merge", "does not exist or was moderated out; supersede the row")
    found += same_subjects(rows, "merge")
    return found + lapsed_texts(rows, texts, "merge")


def check_ideas(
    ledger: pl.DataFrame, statements: pl.DataFrame, needed: Collection[int] = ()
) -> list[Finding]:
    """Check the idea ledger; `needed` are the statements whose ideas must be counted, if any."""
    rows, found = counting_rows(ledger, "idea")
    if rows is None:
        return found
    texts = texts_by_subject(statements)
    found += dangling(rows, texts, "idea", "does not exist or was moderated out; supersede the row")
    twice = doubled(rows, "idea")
    found += twice + lapsed_texts(rows, texts, "idea")
    if not twice:
        found += refusal("idea", lambda: verdicts.statement_ideas(ledger)) if rows else []
    decided = {row["subject_ids"][0] for row in rows}
    message = "its ideas are not counted yet; add a row"
    waiting = sorted(set(needed) - {int(each) for each in decided})
    return found + [Finding("warning", "idea", None, str(each), message) for each in waiting]


def check_wordings(
    ledger: pl.DataFrame, merge_ledger: pl.DataFrame, statements: pl.DataFrame, selected: Collection[int]
) -> list[Finding]:
    """Check the wording ledger.

    Args:
        ledger: The wording ledger.
        merge_ledger: The merge ledger.
        statements: The statements that are in, contract `STATEMENTS`.
        selected: Ids of the statements that reach the cut.

    Returns:
        Errors; and a warning for every selected statement that nobody has worded or left out, which waits.
    """
    rows, found = counting_rows(ledger, "wording")
    if rows is None:
        return found
    texts = texts_by_subject(statements)
    found += dangling(rows, texts, "wording", "does not exist or was moderated out; supersede the row")
    found += same_subjects(rows, "wording") + _contradictions(rows)
    waiting = sorted(set(selected) - {int(subject) for row in rows for subject in row["subject_ids"]})
    message = "reaches the cut, and nobody has worded it or left it out; add a row"
    undecided = [Finding("warning", "wording", None, str(each), message) for each in waiting]
    faulty = {finding.decision_id for finding in found}
    try:
        worded, merged = wordings.wordings(ledger), wordings.merges(merge_ledger)
    except ConsultationError as error:
        # A fault of the wording ledger stands above already; one of the merge ledger does not.
        return (found or [Finding("error", "wording", None, "", str(error))]) + undecided
    by_id = {int(each): text for each, text in texts.items()}
    for wording in worded:
        if wording.decision_id in faulty:
            continue
        subject = " ".join(map(str, wording.statement_ids))
        try:
            expected = wordings.wording_source(wording, merged, by_id).digest
        except ConsultationError as error:
            found.append(Finding("error", "wording", wording.decision_id, subject, str(error)))
            continue
        found += lapsed("wording", wording.decision_id, subject, wording.inputs_digest, expected)
    return found + undecided


def check_thresholds(ledger: pl.DataFrame) -> list[Finding]:
    """Check that every numeric decision is taken once and in range."""
    _, found = counting_rows(ledger, "threshold")
    return found or refusal("threshold", lambda: settled_values.thresholds(ledger))


def check_training(ledger: pl.DataFrame) -> list[Finding]:
    """Check that every training decision is taken once and in range, and the policies are on record."""
    _, found = counting_rows(ledger, "training")
    if found:
        return found
    found = refusal("training", lambda: settled_values.training_decisions(ledger))
    on_record = {policy.subject for policy in verdicts.policies(ledger)}
    return found + [
        Finding("error", "training", None, name, "no policy is on record; add a row `policy: ...`")
        for name in TRAINING_POLICIES
        if name not in on_record
    ]


def check_signoffs(ledger: pl.DataFrame, digests: Mapping[str, str]) -> list[Finding]:
    """Check the sign-offs against the constitutions there are.

    Args:
        ledger: The sign-off ledger.
        digests: Digest of the constitution of every arm, by arm.

    Returns:
        Errors only: an arm without a sign-off on its present constitution must not be trained.
    """
    rows, found = counting_rows(ledger, "signoff")
    if rows is None:
        return found
    known = dict.fromkeys(digests, "")
    found += dangling(rows, known, "signoff", "is no arm of this consultation; correct the name")
    found += doubled(rows, "signoff")
    for row in rows:
        arm = row["subject_ids"][0]
        if arm in digests:
            found += lapsed("signoff", row["decision_id"], arm, row["inputs_digest"], digests[arm])
    signed = {row["subject_ids"][0] for row in rows}
    message = "nobody has signed off its constitution; read it and add a row with its digest"
    return found + [Finding("error", "signoff", None, arm, message) for arm in digests if arm not in signed]


def _contradictions(rows: Iterable[Mapping[str, Any]]) -> list[Finding]:
    """Statements that one row leaves out and another makes a principle of."""
    rows = list(rows)
    left_out = {
        subject: row["decision_id"]
        for row in rows
        if row["outcome"] == "leave out"
        for subject in row["subject_ids"]
    }
    return [
        Finding(
            "error", "wording", row["decision_id"], subject,
            f"{left_out[subject]} leaves statement {subject} out; supersede one of the two",
        )
        for row in rows
        if row["outcome"] != "leave out"
        for subject in row["subject_ids"]
        if subject in left_out
    ]  # fmt: skip
