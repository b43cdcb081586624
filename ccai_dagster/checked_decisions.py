"""A person's decision, checked against the consultation as it is now and appended to its ledger.

The one way in for every answer, whether it was typed in a terminal or sent from a page.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from ccai_dagster.audit.ledger_record import unexplained
from ccai_dagster.consultation.folder import EXPORT
from ccai_dagster.core.errors import ConsultationError
from ccai_dagster.decisions.agenda import DIGESTED
from ccai_dagster.decisions.independent_decisions import subject_name
from ccai_dagster.decisions.ledger import AMENDED, AVOID, Decision, is_decision, split_outcome
from ccai_dagster.decisions.recording import Answer, record, record_all
from ccai_dagster.decisions.values import VALUES, parse_value
from ccai_dagster.open_consultation import OpenConsultation


def record_decision(opened: OpenConsultation, answer: Answer, seen: Sequence[str] | None = None) -> list[Decision]:
    """Append a decision, with the digest of what it was taken on.

    Args:
        answer: What was typed; its `inputs_digest` is filled in here.
        seen: Ids of the rows that counted on the subject when the person looked.

    Returns:
        The rows added, the decision first.

    Raises:
        ConsultationError: A subject does not exist, a value is out of range, or `recording.record` refuses.
    """
    path = opened.consultation.ledger(answer.kind)
    return record(path, checked(opened, answer), opened.basis(answer.kind), opened.taken(answer.kind), seen)


def record_decisions(
    opened: OpenConsultation,
    kind: str,
    answers: Sequence[tuple[str, Answer]],
    problems: Sequence[str] = (),
    seen: Sequence[str] | None = None,
) -> list[Decision]:
    """Append several decisions to one ledger, as `record_decision` does each; all of them or none.

    Args:
        answers: Each with where it stands, for messages.
        problems: What is known already to be wrong.
        seen: Ids of the rows that counted on all these subjects when the answers were read.

    Raises:
        ConsultationError: Something is wrong with one of them; every such is told, and nothing is recorded.
    """
    right: list[tuple[str, Answer]] = []
    wrong = list(problems)
    for where, answer in answers:
        try:
            right.append((where, checked(opened, answer)))
        except ConsultationError as error:
            wrong.append(f"{where}: {error}")
    return record_all(opened.consultation.ledger(kind), right, opened.basis(kind), opened.taken(kind), wrong, seen)


def checked(opened: OpenConsultation, answer: Answer) -> Answer:
    """Return an answer with the digest of what it was taken on.

    Raises:
        ConsultationError: A subject does not exist, a value is out of range, or there is nothing to decide on.
    """
    kind, outcome = answer.kind, answer.outcome
    basis = opened.basis(kind)
    if is_decision(outcome):
        _check_subjects(opened, answer)
        if kind in VALUES:
            try:
                parse_value(kind, answer.subject_ids[0], outcome)
            except ValueError as error:
                raise ConsultationError(f"{error}.") from None
        if kind == "idea" and not all(idea.strip() for idea in split_outcome(outcome)[1].split("|")):
            raise ConsultationError("An idea is empty; write `ideas: one | another`.")
        if kind == "wording":
            _check_side(opened, answer)
        if kind in DIGESTED:
            digest = basis(answer.subject_ids)
            if digest is None:
                raise ConsultationError(_nothing_to_decide_on(kind, answer.subject_ids))
            answer = replace(answer, inputs_digest=digest)
    elif split_outcome(outcome)[0] == AMENDED:
        _check_amended(opened, answer)
    return answer


def _check_subjects(opened: OpenConsultation, answer: Answer) -> None:
    kind, subjects = answer.kind, answer.subject_ids
    if not subjects:
        raise ConsultationError("No subject is named.")
    if kind in VALUES:
        known = set(VALUES[kind])
    elif kind == "exclusion":
        known = {str(each) for each in opened.imported.raw_participants["participant_id"]}
    elif kind == "signoff":
        known = set(opened.consultation.arms) | ({EXPORT} & set(subjects))
    else:
        known = {str(each) for each in opened.imported.raw_statements["statement_id"]}
    if unknown := [each for each in subjects if each not in known]:
        listed = f"; there are {', '.join(sorted(known))}" if len(known) < 20 else ""
        raise ConsultationError(f"{subject_name(kind, unknown)}: not in this consultation{listed}.")


def _check_side(opened: OpenConsultation, answer: Answer) -> None:
    """Refuse a principle that could never be in: one for what every group rejects, or to avoid what all agree with."""
    verb, ids = split_outcome(answer.outcome)[0], {int(each) for each in answer.subject_ids}
    named = subject_name(answer.kind, answer.subject_ids)
    rejected = ids & opened.rejected()
    agreed = ids & set(opened.selected() or ()) - rejected
    if verb == "principle" and rejected and not agreed:
        raise ConsultationError(f"{named}: every group rejects it. Word what to avoid (`avoid: ...`), or leave it out.")
    if verb == AVOID and agreed and not rejected:
        raise ConsultationError(f"{named}: every group agrees with it. Word it with `principle: ...`, or leave it out.")


def _check_amended(opened: OpenConsultation, answer: Answer) -> None:
    found = unexplained(opened.manifest, answer.kind, opened.ledger(answer.kind))
    if wrong := [each for each in answer.subject_ids if each not in (*found.changed, *found.removed)]:
        raise ConsultationError(
            f"{answer.kind} ledger: {', '.join(wrong)}: not changed or removed since results were made of it, so there "
            "is nothing to explain. Name the rows that `ccai status` lists."
        )


def _nothing_to_decide_on(kind: str, subjects: Sequence[str]) -> str:
    named = subject_name(kind, subjects)
    if kind == "signoff" and tuple(subjects) == (EXPORT,):
        return f"{named}: nothing speaks against it, so there is nothing to sign."
    if kind == "signoff":
        return f"{named}: its constitution is not made yet; `ccai run` first."
    if kind == "wording" and len(subjects) > 1:
        return f"{named}: not merged, or moderated out. Decide with `ccai decide merge` first that they say the same."
    return f"{named}: moderated out or set apart as metadata, so there is nothing to decide on."
