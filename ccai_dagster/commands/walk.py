"""`ccai review`: one subject after the other, each answer recorded before the next is shown."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import typer

from ccai_dagster.commands.clerk import SIGNED, enter, outcome_of
from ccai_dagster.commands.desk import Desk
from ccai_dagster.commands.sheet import Sheets, choices, heading
from ccai_dagster.decisions.agenda import AgendaItem
from ccai_dagster.decisions.recording import Answer
from ccai_dagster.decisions.suggestions import DRAFT
from ccai_dagster.errors import ConsultationError
from ccai_dagster.visible import visible

Say = Callable[[str], None]
SKIP, BACK, QUIT, TAKE = ("s", "skip"), ("b", "back"), ("q", "quit"), ("draft",)
FORWARD, STAY, BACKWARD = 1, 0, -1


class _Stop(Exception):
    """The person wants to stop; everything answered is recorded."""


@dataclass
class _Walk:
    desk: Desk
    kind: str
    role: str
    policy_ref: str | None
    say: Say
    recorded: list[str] = field(default_factory=list)


def walk(desk: Desk, kind: str, role: str, policy_ref: str | None, say: Say) -> None:
    """Show and record until nothing is left or the person stops.

    Args:
        desk: The consultation.
        kind: The kind of ledger.
        role: Of whoever decides.
        policy_ref: The rule the decisions follow, if any.
        say: Prints a line.

    Raises:
        ConsultationError: The role is empty, or a ledger or the export cannot be read.
    """
    if not role.strip():
        raise ConsultationError("A role is needed; give it with --as.")
    if kind == "wording" and desk.selected() is None:
        raise ConsultationError(
            "Which statements reach the cut is not known yet: `ccai run` first; it stops where people must decide."
        )
    session = _Walk(desk, kind, role.strip(), policy_ref, say)
    items = desk.agenda(kind)
    subjects = [item.subject for item in items if item.open_to(session.role)]
    if not subjects:
        say(f"{kind}: nothing to decide for {visible(session.role)}.{_others(items)}")
        return
    place = 0
    try:
        sheets = Sheets(desk, kind)
        for line in sheets.policies():
            say(line)
        while place < len(subjects):
            now = {item.subject: item for item in desk.agenda(kind)}.get(subjects[place])
            if now is None or not _may(now, session):
                place += 1
                continue
            step = _one(session, sheets, now, f"{place + 1} of {len(subjects)}")
            place = max(0, place + step)
    except (_Stop, typer.Abort):
        say("")
    left = sum(item.open_to(session.role) for item in desk.agenda(kind))
    say(f"{len(session.recorded)} recorded, {left} left. Run the same command to go on.")


def _may(item: AgendaItem, session: _Walk) -> bool:
    """Whether this person may answer now: it is open to them, or they alone decided it and came back to it."""
    alone = bool(item.rows) and {row["decided_by"] for row in item.rows} == {session.role}
    return item.open_to(session.role) or (alone and bool(set(_ids(item)) & set(session.recorded)))


def _one(session: _Walk, sheets: Sheets, item: AgendaItem, place: str) -> int:
    """Show a subject and record an answer; return how far to go on."""
    say = session.say
    say("")
    say(heading(item, place))
    for line in sheets.lines(item):
        say(f"  {line}")
    draft = sheets.draft(item)
    if draft:
        say(f"  draft by {DRAFT}, to be rewritten or taken over: {visible(draft)}")
        say("  type `draft` to take it over as it stands")
    say(f"  {choices(item)} · s skip, b back, q quit")
    outcome = _ask("Decision")
    if (step := _step(outcome)) is not None:
        return step
    if not outcome:
        return STAY
    taken_over = draft is not None and outcome.lower() in TAKE
    outcome = draft if draft is not None and taken_over else outcome
    if item.kind == "signoff" and not _signed(session, item):
        return STAY
    reason = _ask("Reason")
    while not reason:
        say("  A decision needs a reason.")
        reason = _ask("Reason")
    if (step := _step(reason)) is not None:
        return step
    suggested_by = DRAFT if taken_over or outcome == draft else item.proposal.suggested_by
    answer = Answer(
        kind=item.kind,
        subject_ids=item.subject,
        outcome=outcome,
        reason=reason,
        decided_by=session.role,
        supersedes=_replaces(item, session.role),
        policy_ref=session.policy_ref,
        suggested_by=suggested_by,
    )
    try:
        rows = enter(session.desk, answer, _ids(item))
    except ConsultationError as error:
        say(f"  {error}")
        return STAY
    session.recorded.append(rows[0].decision_id)
    for line in outcome_of(session.desk, rows):
        say(f"  {line}")
    return FORWARD


def _signed(session: _Walk, item: AgendaItem) -> bool:
    """Have the person type what they sign."""
    digest = session.desk.basis("signoff")(item.subject) or ""
    typed = _ask(f"First {SIGNED} characters of the digest")
    if len(typed) >= SIGNED and digest.startswith(typed):
        return True
    session.say("  This is not the digest of the constitution shown; nothing was signed.")
    return False


def _replaces(item: AgendaItem, role: str) -> tuple[str, ...]:
    """What an answer replaces: everything on the subject, save another person's independent decision."""
    if item.state == "one of two":
        return tuple(row["decision_id"] for row in item.rows if row["decided_by"] == role)
    return tuple(_ids(item))


def _ids(item: AgendaItem) -> list[str]:
    return [row["decision_id"] for row in item.rows]


def _step(typed: str) -> int | None:
    """How far to go on for a key; None if it is no key."""
    key = typed.lower()
    if key in QUIT:
        raise _Stop
    return FORWARD if key in SKIP else BACKWARD if key in BACK else None


def _ask(what: str) -> str:
    return str(typer.prompt(what, default="", show_default=False)).strip()


def _others(items: list[AgendaItem]) -> str:
    waiting = [item for item in items if item.state in ("disagreeing", "one of two")]
    return f" {len(waiting)} wait for another role." if waiting else ""
