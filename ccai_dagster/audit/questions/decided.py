"""Answers about decisions: what was decided, by whom, why, what it replaced, and what follows from it.

Belongs here: one row of a ledger and its consequences. Doesn't belong here: checking or applying decisions.
"""

from __future__ import annotations

from ccai_dagster.audit.questions.evidence import Evidence, Explanation
from ccai_dagster.audit.questions.public_subjects import DELIBERATED, trail_of
from ccai_dagster.audit.records import Record
from ccai_dagster.core.text import counted, listed, quoted
from ccai_dagster.digest import SHORT
from ccai_dagster.errors import ConsultationError

SHOWN = 12
"""Subjects told one by one; the others are counted, and all are in the facts."""
ON_STATEMENTS = ("moderation", "merge", "wording", "idea")


def answer_decision(decision_id: str, evidence: Evidence) -> Explanation:
    """Tell what was decided, and what followed."""
    records = evidence.records
    record = records.by_id[decision_id]
    earlier, later = records.chain(record), records.replacing(record)
    story = [_what(record)]
    if record.policy_ref:
        story.append(f"By the rule {record.policy_ref}.")
    if record.suggested_by:
        story.append(f"Proposed by {record.suggested_by}; decided by {record.decided_by}.")
    story.append(record.because)
    story += [f"It replaces {_what(each)} {each.because}" for each in earlier]
    story += [f"It no longer counts: it was replaced. {_what(each)} {each.because}" for each in later]
    if record.is_policy:
        story.append("It is a choice on record for the whole process; it is applied to no single row.")
    followed, facts = _followed(record, evidence)
    users = _users(record, evidence)
    return Explanation(
        subject=f"decision:{decision_id}",
        text=record.outcome,
        story=[*story, *followed],
        facts={
            "counts": record.counts,
            "replaces": [each.decision_id for each in earlier],
            "replaced_by": [each.decision_id for each in later],
            "used_by": users,
            **facts,
        },
        decisions=[record, *earlier, *later],
        seen=evidence.seen(users),
        notes=evidence.notes([*users, *DELIBERATED] if record.kind in ON_STATEMENTS else users),
    )


def _what(record: Record) -> str:
    subjects = listed(record.subject_ids[:SHOWN])
    more = f" and {len(record.subject_ids) - SHOWN} more" if len(record.subject_ids) > SHOWN else ""
    return (
        f"Decision {record.decision_id} of {record.decided_at[:10]} by {record.decided_by}: "
        f"{record.kind} of {subjects}{more}: {quoted(record.outcome)}."
    )


def _users(record: Record, evidence: Evidence) -> list[str]:
    """The assets that were made from the ledger this row stands in."""
    if evidence.manifest is None:
        return []
    source = f"{record.kind}_ledger"
    return [key for key, made in evidence.manifest.materializations.items() if source in made.inputs]


def _followed(record: Record, evidence: Evidence) -> tuple[list[str], dict[str, object]]:
    """What came of it, as far as the tables tell; before the first run they tell nothing."""
    if record.is_policy or not record.counts:
        return [], {}
    try:
        if record.kind in ON_STATEMENTS:
            return _statements(record, evidence)
        if record.kind == "exclusion":
            return _participants(record, evidence)
        if record.kind == "signoff":
            return _signed(record, evidence)
    except ConsultationError as error:
        return [f"What followed is not known: {error}"], {}
    return [], {}


def _statements(record: Record, evidence: Evidence) -> tuple[list[str], dict[str, object]]:
    rows = trail_of([f"statement:{key}" for key in record.subject_ids], evidence)
    story = []
    for row in rows[:SHOWN]:
        gac = f", group-aware consensus {row['gac']:.3f}" if row["gac"] is not None else ""
        story.append(f"{str(row['subject']).replace(':', ' ').capitalize()}: {row['fate']}{gac}.")
    if len(rows) > SHOWN:
        story.append(f"Likewise {counted(len(rows) - SHOWN, 'more statement')}.")
    principles = sorted(
        {
            f"{arm}/{principle['principle_id']}"
            for arm in evidence.arms
            for principle in evidence.table(f"{arm}/constitution").to_dicts()
            if record.decision_id in principle["decision_ids"]
        }
    )
    if principles:
        story.append(f"{listed(principles)} {'rests' if len(principles) == 1 else 'rest'} on it.")
    fates = {str(row["subject"]): row["fate"] for row in rows}
    return story, {"fates": fates, "principle_ids": principles}


def _participants(record: Record, evidence: Evidence) -> tuple[list[str], dict[str, object]]:
    people = {row["participant_id"]: row for row in evidence.table("participants").to_dicts()}
    found = {key: people.get(int(key)) for key in record.subject_ids}
    story = [
        f"Participant {key} cast {counted(row['n_votes'], 'vote')}: {row['fate']}."
        for key, row in found.items()
        if row is not None
    ]
    return story, {"fates": {key: row["fate"] if row else None for key, row in found.items()}}


def _signed(record: Record, evidence: Evidence) -> tuple[list[str], dict[str, object]]:
    from ccai_dagster.constitution.principles import constitution_digest

    (arm,) = record.subject_ids
    digest = constitution_digest(evidence.table(f"{arm}/constitution"))
    same = digest == record.inputs_digest
    story = (
        f"It is for the constitution of {arm} that stands now ({digest[:SHORT]})."
        if same
        else f"It has lapsed: it is for the text {str(record.inputs_digest)[:SHORT]}, and the constitution of {arm} "
        f"is now {digest[:SHORT]}."
    )
    return [story], {"constitution_digest": digest, "holds": same}
