"""A person's decision, checked against the consultation as it is now and appended to its ledger.

The one way in for every answer, whether it was typed in a terminal or sent from a page.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, replace

from ccai_dagster.audit.ledger_record import unexplained
from ccai_dagster.consultation.folder import EXPORT
from ccai_dagster.core.errors import ConsultationError
from ccai_dagster.core.text import printable
from ccai_dagster.decisions.agenda import DIGESTED, AgendaItem, Basis
from ccai_dagster.decisions.independent_decisions import (
    Subject,
    disagreeing,
    rows_by_subject,
    subject_name,
    subjects_of,
)
from ccai_dagster.decisions.ledger import AMENDED, AVOID, Decision, is_decision, outcome_problems, split_outcome
from ccai_dagster.decisions.outcomes import decided_rows
from ccai_dagster.decisions.recording import NOTHING, Answer, check_safe, record, record_all
from ccai_dagster.decisions.values import VALUES, parse_value
from ccai_dagster.open_consultation import OpenConsultation
from ccai_dagster.signed_constitutions import keep_signed

SIGNED = 12
"""Fewest characters of a constitution's digest that a person gives to sign it."""


@dataclass(frozen=True)
class FilledIn:
    """What somebody decided on a subject as it was shown to them, in a sheet or on a page.

    Attributes:
        where: Where it stands, for messages.
        seen: Ids of the rows on it that were shown.
        digest: Of the text that was shown; empty for kinds without.
    """

    where: str
    subject: Subject
    seen: tuple[str, ...]
    digest: str
    decision: str
    reason: str


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
    if answer.kind == "signoff" and is_decision(answer.outcome) and answer.subject_ids[0] in opened.consultation.arms:
        keep_signed(opened, answer.subject_ids[0])
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


def record_filled_in(
    opened: OpenConsultation,
    kind: str,
    role: str,
    filled: Sequence[FilledIn],
    suggested_by: Callable[[AgendaItem, str], str | None],
    policy_ref: str | None = None,
    more: Sequence[AgendaItem] = (),
    anew: bool = False,
) -> list[Decision]:
    """Append what one role decided on several subjects of one ledger, each held against the consultation as it is now.

    Args:
        suggested_by: What put an outcome on a subject forward; None for a person.
        more: Subjects that nobody asked for, and that whoever decides has put together.
        anew: Whether what is decided may be decided anew; else only what waits is.

    Raises:
        ConsultationError: One of them cannot be recorded; every such is told, and nothing is recorded.
    """
    items = {item.subject: item for item in [*more, *opened.agenda(kind)]}
    basis = opened.basis(kind)
    answers: list[tuple[str, Answer]] = []
    problems: list[str] = []
    for each in filled:
        item = items.get(each.subject)
        problem = _outdated(item, each, role, basis, anew)
        if problem is not None or item is None:
            problems.append(f"{each.where}: {problem}")
            continue
        answer = Answer(
            kind=kind,
            subject_ids=item.subject,
            outcome=each.decision,
            reason=each.reason.strip(),
            decided_by=role,
            supersedes=item.replaced_by(role),
            policy_ref=policy_ref,
            suggested_by=suggested_by(item, each.decision),
        )
        answers.append((each.where, answer))
    known = [row["decision_id"] for item in items.values() for row in item.rows]
    return record_decisions(opened, kind, answers, problems, known)


def _outdated(item: AgendaItem | None, filled: FilledIn, role: str, basis: Basis, anew: bool) -> str | None:
    """What speaks against recording a decision: it is not asked for, incomplete, or made on something else."""
    if item is None:
        return f"{' '.join(filled.subject)!r} is nothing that is to be decided here; leave `subject` as it was."
    if not filled.decision.strip() or not filled.reason.strip():
        return "a decision needs a reason, and a reason a decision."
    if (basis(item.subject) or "") != filled.digest:
        return "its text is another one since it was shown; export or open it again and read it."
    # What came in the meantime and waits for a second, independent decision is no news: nobody is to see it.
    if item.state != "one of two" and seen_rows(item) != filled.seen:
        return "it was decided in the meantime; export or open it again and look at it."
    if not item.open_to(role) and not (anew and item.state == "decided"):
        return f"it is not open to {printable(role)}: it is decided, or waits for another role."
    return None


def seen_rows(item: AgendaItem) -> tuple[str, ...]:
    """Return the ids of the rows that are shown to whoever decides on a subject."""
    return tuple(row["decision_id"] for row in item.shown)


def check_signed_digest(opened: OpenConsultation, arms: Sequence[str], digest: str | None) -> None:
    """Check that what somebody read, by its digest or its beginning, is what there is to sign.

    Raises:
        ConsultationError: It is not.
    """
    present = opened.basis("signoff")(arms) if len(arms) == 1 else None
    if present is None:
        return  # `record_decision` says why nothing can be signed
    if digest is None or len(digest) < SIGNED or not present.startswith(digest):
        given = f"not {digest}" if digest else "and no --digest was given"
        named = "The export" if tuple(arms) == (EXPORT,) else f"The constitution {arms[0]}"
        raise ConsultationError(
            f"{named} has the digest {present}, {given}. Nothing was signed. Read it (`ccai review "
            f"signoff`), then sign with --digest {present[:SIGNED]}."
        )


def confirmation(opened: OpenConsultation, rows: Sequence[Decision]) -> list[str]:
    """Return what to tell a person about rows just added, the decision first."""
    decided, *carried = rows
    lines = [f"Recorded {decided.decision_id}."]
    for row in carried:
        named = subject_name(row.kind, row.subject_ids)
        lines.append(f"{row.decision_id} keeps what {row.supersedes} decided on {named}.")
    if not is_decision(decided.outcome):
        return lines
    by_subject = rows_by_subject(decided_rows(opened.ledger(decided.kind)))
    for subject in subjects_of(decided.kind, decided.outcome, decided.subject_ids):
        others = [row for row in by_subject[subject] if row["decision_id"] != decided.decision_id]
        if others:
            ids = ", ".join(row["decision_id"] for row in others)
            both = " ".join(sorted(row["decision_id"] for row in by_subject[subject]))
            agree = (
                f"waits for a resolving row. To replace what was decided: the same with `--supersedes '{both}'`"
                if disagreeing(by_subject[subject])
                else "they agree"
            )
            named = subject_name(decided.kind, subject)
            lines.append(f"{named}: stands beside {ids} as an independent decision; {agree}.")
    return lines


def checked(opened: OpenConsultation, answer: Answer) -> Answer:
    """Return an answer with the digest of what it was taken on.

    Raises:
        ConsultationError: A subject does not exist, a value is out of range, the outcome is none of this kind, a cell
            is unsafe, or there is nothing to decide on.
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
    if wrong := outcome_problems(kind, outcome, bool(answer.supersedes), answer.inputs_digest is not None):
        raise ConsultationError("; ".join(wrong) + NOTHING)
    check_safe(answer)
    return answer


def _check_subjects(opened: OpenConsultation, answer: Answer) -> None:
    kind, subjects = answer.kind, answer.subject_ids
    if not subjects:
        raise ConsultationError("No subject is named.")
    known: Collection[str]
    if kind in VALUES:
        known = set(VALUES[kind])
    elif kind == "exclusion":
        known = opened.participant_names
    elif kind == "signoff":
        known = set(opened.consultation.arms) | ({EXPORT} & set(subjects))
    else:
        known = opened.statement_names
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
