"""`ccai review`: one subject after the other, with what a person reads before deciding on it.

Each answer is recorded before the next subject is shown, so that a review can be stopped, killed and continued at
any moment. Everything that participants or ledgers bring in passes through `printable`: nothing of it can move the
cursor, turn the reading direction or be taken for markup.
"""

from __future__ import annotations

import readline  # noqa: F401 - lines can be edited, and the arrow up brings earlier ones back
from collections.abc import Callable
from dataclasses import dataclass, field, replace

import typer

from ccai_dagster.background import Background, choices
from ccai_dagster.checked_decisions import SIGNED, checked, confirmation, record_decision
from ccai_dagster.cli.options import named_role
from ccai_dagster.consultation.folder import EXPORT
from ccai_dagster.core.errors import ConsultationError
from ccai_dagster.core.text import printable
from ccai_dagster.decisions.agenda import AgendaItem, repeated_reasons
from ccai_dagster.decisions.independent_decisions import subject_name
from ccai_dagster.decisions.ledger import SEPARATE_KINDS
from ccai_dagster.decisions.recording import Answer
from ccai_dagster.open_consultation import OpenConsultation

Say = Callable[[str], None]
SKIP, BACK, QUIT, TAKE = ("s", "skip"), ("b", "back"), ("q", "quit"), "draft"
FORWARD, STAY, BACKWARD = 1, 0, -1
REASONS = 5
"""Earlier reasons that are offered again."""
MANY = 20
"""Open subjects from which on it is said how several are decided at once."""


class _Stop(Exception):
    """The person wants to stop; everything answered is recorded."""


@dataclass
class _Review:
    opened: OpenConsultation
    kind: str
    role: str
    policy_ref: str | None
    say: Say
    with_server: bool
    recorded: list[str] = field(default_factory=list)
    reason: str = ""
    """What was typed last; offered again if the answer was refused."""


def review_ledger(
    opened: OpenConsultation, kind: str, role: str, policy_ref: str | None, say: Say, with_server: bool = False
) -> None:
    """Show and record until nothing is left or the person stops.

    Args:
        with_server: Have the feedback server draft wordings.

    Raises:
        ConsultationError: The role is empty, a ledger or the export cannot be read, or there is no server.
    """
    session = _Review(opened, kind, named_role(role), policy_ref, say, with_server)
    if kind == "wording" and opened.selected() is None:
        raise ConsultationError(
            "Which statements reach the cut is not known yet: `ccai run` first; it stops where people must decide."
        )
    items = opened.agenda(kind)
    subjects = [item.subject for item in items if item.open_to(session.role)]
    if not subjects:
        say(f"{kind}: nothing to decide for {printable(session.role)}.{_others(items)}")
        return
    place = 0
    try:
        background = Background(opened, kind)
        for line in background.policies():
            say(line)
        if len(subjects) >= MANY and kind in SEPARATE_KINDS:
            say(
                f"{len(subjects)} are open. Several at once: `ccai decide {kind} 'ID ID ...' OUTCOME --reason ... --as "
                f"...`; in a spreadsheet: `ccai sheet export {kind} FILE --as ...`."
            )
        while place < len(subjects):
            now = {item.subject: item for item in opened.agenda(kind)}.get(subjects[place])
            if now is None or not _may_answer(now, session):
                place += 1
                continue
            step = _review_one(session, background, now, f"{place + 1} of {len(subjects)}")
            place = max(0, place + step)
    except (_Stop, typer.Abort):
        say("")
    left = sum(item.open_to(session.role) for item in opened.agenda(kind))
    say(f"{len(session.recorded)} recorded, {left} left. Run the same command to go on.")


def _may_answer(item: AgendaItem, session: _Review) -> bool:
    """Whether this person may answer now: it is open to them, or they alone decided it and came back to it."""
    alone = bool(item.rows) and {row["decided_by"] for row in item.rows} == {session.role}
    return item.open_to(session.role) or (alone and bool(set(_ids(item)) & set(session.recorded)))


def _review_one(session: _Review, background: Background, item: AgendaItem, place: str) -> int:
    """Show a subject and record an answer; return how far to go on."""
    say = session.say
    say("")
    say(heading(item, place))
    for line in background.lines(item):
        say(f"  {line}")
    if session.with_server:
        background.ask_for_draft(item)
    drafts = {TAKE if at == 1 else f"{TAKE} {at}": each for at, each in enumerate(background.drafts(item), 1)}
    for key, draft in drafts.items():
        say(f"  draft by {draft.suggested_by}, to be rewritten or taken over: {printable(draft.outcome)}")
        say(f"  type `{key}` to take it over as it stands")
    say(f"  {choices(item)} · s skip, b back, q quit")
    outcome = _ask("Decision")
    if (step := _step(outcome)) is not None:
        return step
    if not outcome:
        return STAY
    if taken := drafts.get(outcome.lower()):
        outcome = taken.outcome
    answer = Answer(
        kind=item.kind,
        subject_ids=item.subject,
        outcome=outcome,
        reason="",
        decided_by=session.role,
        supersedes=item.replaced_by(session.role),
        policy_ref=session.policy_ref,
        suggested_by=background.suggested_by(item, outcome),
    )
    try:
        checked(session.opened, answer)  # before somebody thinks of a reason
    except ConsultationError as error:
        return _refused(session, error)
    if item.kind == "signoff" and not _signed(session, item):
        return STAY
    reason = _reason(session)
    if (step := _step(reason)) is not None:
        return step
    session.reason = reason
    try:
        rows = record_decision(session.opened, replace(answer, reason=reason), _ids(item))
    except ConsultationError as error:
        return _refused(session, error)
    session.recorded.append(rows[0].decision_id)
    for line in confirmation(session.opened, rows):
        say(f"  {line}")
    return FORWARD


def _refused(session: _Review, error: ConsultationError) -> int:
    session.say(f"  {error} The arrow up brings back what was typed.")
    return STAY


def _reason(session: _Review) -> str:
    """Ask why; what this role gave as a reason before is taken again by its number."""
    given = [each.reason for each in repeated_reasons(session.opened.ledger(session.kind), session.role)]
    again = list(dict.fromkeys(filter(None, [session.reason, *given])))[:REASONS]
    for number, reason in enumerate(again, start=1):
        session.say(f"  {number} again: {printable(reason, 160)}")
    while not (reason := _ask("Reason")):
        session.say("  A decision needs a reason.")
    return again[int(reason) - 1] if reason in map(str, range(1, len(again) + 1)) else reason


def _signed(session: _Review, item: AgendaItem) -> bool:
    """Have the person type what they sign."""
    digest = session.opened.basis("signoff")(item.subject) or ""
    typed = _ask(f"First {SIGNED} characters of the digest")
    if len(typed) >= SIGNED and digest.startswith(typed):
        return True
    what = "export" if item.subject == (EXPORT,) else "constitution"
    session.say(f"  This is not the digest of the {what} shown; nothing was signed.")
    return False


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


def heading(item: AgendaItem, place: str) -> str:
    """Return the line above a subject; `place` is `3 of 12`."""
    return f"── {item.kind} {place} ── {printable(subject_name(item.kind, item.subject))} ── {item.state}"
