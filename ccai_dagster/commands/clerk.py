"""From what a person typed to a row of a ledger, with everything checked that can be checked beforehand."""

from __future__ import annotations

from collections.abc import Sequence

from ccai_dagster.commands.desk import Desk
from ccai_dagster.decisions.agenda import DIGESTED
from ccai_dagster.decisions.decision import Decision, is_decision, split_outcome
from ccai_dagster.decisions.doubles import disagreeing, rows_by_subject, subject_name, subjects_of
from ccai_dagster.decisions.ledger import current
from ccai_dagster.decisions.recording import Answer, record
from ccai_dagster.decisions.settled_values import VALUES, parse_value
from ccai_dagster.errors import ConsultationError

SIGNED = 12
"""Fewest characters of a constitution's digest that a person types to sign it."""


def enter(desk: Desk, answer: Answer, seen: Sequence[str] | None = None) -> list[Decision]:
    """Append a decision, with the digest of what it was taken on.

    Args:
        desk: The consultation.
        answer: What was typed; its `inputs_digest` is filled in here.
        seen: Ids of the rows that counted on the subject when the person looked.

    Returns:
        The rows added, the decision first.

    Raises:
        ConsultationError: A subject does not exist, a value is out of range, or `recording.record` refuses.
    """
    kind, outcome = answer.kind, answer.outcome.strip()
    basis = desk.basis(kind)
    if is_decision(outcome):
        _check_subjects(desk, answer)
        if kind in VALUES:
            try:
                parse_value(kind, answer.subject_ids[0], outcome)
            except ValueError as error:
                raise ConsultationError(f"{error}.") from None
        if kind == "idea" and not all(idea.strip() for idea in split_outcome(outcome)[1].split("|")):
            raise ConsultationError("An idea is empty; write `ideas: one | another`.")
        if kind in DIGESTED:
            digest = basis(answer.subject_ids)
            if digest is None:
                raise ConsultationError(_nothing_to_decide_on(kind, answer.subject_ids))
            answer = Answer(**answer.__dict__ | {"inputs_digest": digest})
    path = desk.consultation.ledger(kind)
    return record(path, answer, basis, desk.taken(kind), seen)


def outcome_of(desk: Desk, rows: Sequence[Decision]) -> list[str]:
    """Return what to tell a person about rows just added."""
    decided, *carried = rows
    lines = [f"Recorded {decided.decision_id}."]
    for row in carried:
        named = subject_name(row.kind, row.subject_ids)
        lines.append(f"{row.decision_id} keeps what {row.supersedes} decided on {named}.")
    counting = current(desk.ledger(decided.kind)).to_dicts()
    by_subject = rows_by_subject(row for row in counting if is_decision(row["outcome"]))
    own = {**decided.__dict__, "subject_ids": list(decided.subject_ids)}
    for subject in subjects_of(own) if is_decision(decided.outcome) else []:
        others = [row for row in by_subject[subject] if row["decision_id"] != decided.decision_id]
        if others:
            ids = ", ".join(row["decision_id"] for row in others)
            agree = "waits for a resolving row" if disagreeing(by_subject[subject]) else "they agree"
            named = subject_name(decided.kind, subject)
            lines.append(f"{named}: stands beside {ids} as an independent decision; {agree}.")
    return lines


def _check_subjects(desk: Desk, answer: Answer) -> None:
    kind, subjects = answer.kind, answer.subject_ids
    if not subjects:
        raise ConsultationError("No subject is named.")
    if kind in VALUES:
        known = set(VALUES[kind])
    elif kind == "exclusion":
        known = {str(each) for each in desk.imported.raw_participants["participant_id"]}
    elif kind == "signoff":
        known = set(desk.consultation.arms)
    else:
        known = {str(each) for each in desk.imported.raw_statements["statement_id"]}
    if unknown := [each for each in subjects if each not in known]:
        listed = f"; there are {', '.join(sorted(known))}" if len(known) < 20 else ""
        raise ConsultationError(f"{subject_name(kind, unknown)}: not in this consultation{listed}.")


def _nothing_to_decide_on(kind: str, subjects: Sequence[str]) -> str:
    named = subject_name(kind, subjects)
    if kind == "signoff":
        return f"{named}: its constitution is not made yet; `ccai run` first."
    if kind == "wording" and len(subjects) > 1:
        return f"{named}: not merged, or moderated out. Decide with `ccai decide merge` first that they say the same."
    return f"{named}: moderated out, so there is nothing to decide on."
