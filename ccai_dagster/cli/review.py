"""`ccai review`: one subject after the other, with what a person reads before deciding on it.

Each answer is recorded before the next subject is shown, so that a review can be stopped, killed and continued at
any moment. Everything that participants or ledgers bring in passes through `printable`: nothing of it can move the
cursor, turn the reading direction or be taken for markup.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import polars as pl
import typer

from ccai_dagster.checked_decisions import record_decision
from ccai_dagster.cli.alternatives import selections
from ccai_dagster.cli.decide import SIGNED, confirmation
from ccai_dagster.cli.drafts import Drafts
from ccai_dagster.cli.options import named_role
from ccai_dagster.cli.summary import PAGES, how_sure
from ccai_dagster.constitution.principles import constitution_digest
from ccai_dagster.consultation.folder import EXPORT, PLACEHOLDERS
from ccai_dagster.core.errors import ConsultationError
from ccai_dagster.core.text import counted, printable
from ccai_dagster.decisions.agenda import AgendaItem, SameWords
from ccai_dagster.decisions.independent_decisions import rows_by_subject, subject_name
from ccai_dagster.decisions.ledger import SEPARATE_KINDS, VERBS, WITHDRAWN, as_kept, replaced_rows, split_ids
from ccai_dagster.decisions.outcomes import policies
from ccai_dagster.decisions.recording import Answer
from ccai_dagster.decisions.values import VALUES
from ccai_dagster.deliberation.votes import group_name
from ccai_dagster.open_consultation import OpenConsultation

Say = Callable[[str], None]
SKIP, BACK, QUIT, TAKE = ("s", "skip"), ("b", "back"), ("q", "quit"), ("draft",)
FORWARD, STAY, BACKWARD = 1, 0, -1
MANY = 20
"""Open subjects from which on it is said how several are decided at once."""
QUOTED = 160
"""Characters of a neighbouring statement or an earlier reason."""

MODERATED = {1: "moderated in", -1: "moderated out", 0: "never moderated"}


class _Stop(Exception):
    """The person wants to stop; everything answered is recorded."""


@dataclass
class _Review:
    opened: OpenConsultation
    kind: str
    role: str
    policy_ref: str | None
    say: Say
    recorded: list[str] = field(default_factory=list)
    reason: str = ""


def review_ledger(
    opened: OpenConsultation, kind: str, role: str, policy_ref: str | None, say: Say, with_server: bool = False
) -> None:
    """Show and record until nothing is left or the person stops.

    Args:
        with_server: Have the feedback server draft wordings.

    Raises:
        ConsultationError: The role is empty, a ledger or the export cannot be read, or there is no server.
    """
    session = _Review(opened, kind, named_role(role), policy_ref, say)
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
        background = Background(opened, kind, with_server)
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
    draft = background.draft(item)
    if draft:
        by = background.suggested_by(item, draft)
        say(f"  draft by {printable(str(by))}, to be rewritten or taken over: {printable(draft)}")
        say("  type `draft` to take it over as it stands")
    say(f"  {choices(item)} · s skip, b back, q quit")
    outcome = _ask("Decision")
    if (step := _step(outcome)) is not None:
        return step
    if not outcome:
        return STAY
    if draft is not None and outcome.lower() in TAKE:
        outcome = draft
    if item.kind == "signoff" and not _signed(session, item):
        return STAY
    again = f" (Enter: {printable(session.reason, QUOTED)})" if session.reason else ""
    reason = _ask(f"Reason{again}") or session.reason
    while not reason:
        say("  A decision needs a reason.")
        reason = _ask("Reason")
    if (step := _step(reason)) is not None:
        return step
    session.reason = reason  # offered for the next one, and here again if this is refused
    answer = Answer(
        kind=item.kind,
        subject_ids=item.subject,
        outcome=outcome,
        reason=reason,
        decided_by=session.role,
        supersedes=item.replaced_by(session.role),
        policy_ref=session.policy_ref,
        suggested_by=background.suggested_by(item, outcome),
    )
    try:
        rows = record_decision(session.opened, answer, _ids(item))
    except ConsultationError as error:
        say(f"  {error}")
        return STAY
    session.recorded.append(rows[0].decision_id)
    for line in confirmation(session.opened, rows):
        say(f"  {line}")
    return FORWARD


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


class Background:
    """The background of one kind; what all have in common is read once."""

    def __init__(self, opened: OpenConsultation, kind: str, with_server: bool = False) -> None:
        self._opened = opened
        self._kind = kind
        self._raw = {row["statement_id"]: row for row in opened.imported.raw_statements.to_dicts()}
        self._in: dict[int, str] = {}
        if kind in ("merge", "idea", "wording"):
            self._in = dict(opened.statements().select("statement_id", "text").iter_rows())
        self._words = SameWords(self._in or {key: row["text"] for key, row in self._raw.items()})
        self._groups = opened.table("opinion_groups")
        self._scores = _by_id(opened.table("gac_scores"))
        self._intervals = _by_id(opened.table("consensus_stability"))
        self._selected = _by_id(opened.table("selected_statements"))
        self._topics = _by_id(opened.topics)
        self._drafts = Drafts(opened, with_server) if kind == "wording" else None

    def lines(self, item: AgendaItem) -> Iterator[str]:
        """Yield the lines about one subject.

        Where the policy asks for a second, independent decision, the first one is not shown.
        """
        blind = item.state == "one of two"
        if item.proposal.why:
            yield f"put forward by {item.proposal.suggested_by}: {item.proposal.why}"
        if values := VALUES.get(self._kind):
            value = values[item.subject[0]]
            yield f"{item.subject[0]}: {value.meaning}; {value.allowed.expected}"
            if self._kind == "threshold":
                yield from self._selections(item.subject[0])
        elif self._kind == "exclusion":
            yield from self._participant(int(item.subject[0]))
        elif self._kind == "signoff":
            yield from self._export() if item.subject == (EXPORT,) else self._constitution(item.subject[0])
        else:
            yield from self._statements(item)
        if blind:
            yield "One person has decided; the policy asks you to decide without seeing it."
        else:
            yield from self._earlier(item)

    def _selections(self, subject: str) -> Iterator[str]:
        """What each value would select; as things are now, without a run."""
        try:
            yield from (f"   {line}" for line in selections(self._opened, subject))
        except ConsultationError as error:
            yield f"   what it would select cannot be told: {error}"

    def policies(self) -> Iterator[str]:
        """Yield the policies of this kind, which hold for every subject."""
        for policy in policies(self._opened.ledger(self._kind)):
            yield f"policy {printable(policy.subject)} ({policy.decision_id}): {printable(policy.text)}"

    def draft(self, item: AgendaItem) -> str | None:
        """Return a draft of the outcome that a person may take over, if there is one for this kind."""
        draft = self._drafts.of(item.subject) if self._drafts is not None else None
        return draft.outcome if draft is not None else None

    def suggested_by(self, item: AgendaItem, outcome: str) -> str | None:
        """Return what put an outcome forward: the draft, where somebody took that over as it stands."""
        draft = self._drafts.of(item.subject) if self._drafts is not None else None
        taken_over = draft is not None and as_kept(self._kind, outcome) == draft.outcome
        return draft.drafted_by if draft is not None and taken_over else item.proposal.suggested_by

    def _earlier(self, item: AgendaItem) -> Iterator[str]:
        """Every row on the subject and everything that its rows replaced, the latest first."""
        rows = self._opened.ledger(self._kind).to_dicts()
        by_id = {row["decision_id"]: row for row in rows}
        earlier = {key: split_ids(row["supersedes"]) for key, row in by_id.items()}
        own = [row["decision_id"] for row in reversed(rows) if item.subject in rows_by_subject([row])]
        replaced = [each for row in item.rows for each in replaced_rows(row["decision_id"], earlier)]
        counting = {row["decision_id"] for row in item.rows}
        for row in (by_id[each] for each in dict.fromkeys([*own, *replaced])):
            counts = "counts now" if row["decision_id"] in counting else "replaced"
            yield (
                f"{counts}: {row['decision_id']}, {printable(row['decided_by'])}, {row['decided_at'][:10]}: "
                f"{printable(row['outcome'], 400)}; reason: {printable(row['reason'], 400)}"
            )

    def _statements(self, item: AgendaItem) -> Iterator[str]:
        ids = [int(each) for each in item.subject]
        for key in ids:
            raw, text = self._raw[key], self._in.get(key)
            yield f"{key}: “{printable(raw['text'] if text is None else text)}”"
            if text is not None and text != raw["text"]:
                yield f"   typed as “{printable(raw['text'], QUOTED)}”"
            yield f"   {_origin(raw)}"
            if about := self._topics.get(key):
                yield f"   topic {about['topic_id'] + 1}: {printable(about['topic'], QUOTED)}"
            yield from self._figures(key)
        if self._kind == "wording" and len(ids) > 1 and (source := self._opened.wording_sources()(item.subject)):
            yield f"merged ({source.merge_id}): “{printable(source.text)}”"
        for key in ids:
            how, nearest = self._nearest(key)
            for other, similarity in nearest:
                if other not in ids and other in self._raw:
                    text = self._in.get(other, self._raw[other]["text"])
                    near = f"near {key}: " if len(ids) > 1 else "near: "
                    yield f"{near}{other} ({how} {similarity:.2f}) “{printable(text, QUOTED)}”"

    def _nearest(self, key: int) -> tuple[str, Iterable[tuple[int, float]]]:
        """The statements nearest to one, and in what."""
        if about := self._topics.get(key):
            return "meaning", zip(about["neighbour_ids"], about["neighbour_similarity"], strict=True)
        return "shared words", self._words.nearest(key)

    def _figures(self, key: int) -> Iterator[str]:
        votes = self._opened.imported.raw_votes.filter(statement_id=key)
        given = self._opened.imported.raw_group_votes.filter(statement_id=key)
        if given.height:
            for group, *counts in given.select("group_id", "n_agree", "n_disagree", "n_pass").iter_rows():
                yield f"   {group_name(group)}: {_told(*counts)}"
        else:
            yield f"   {_counted(votes)}"
        if self._groups is not None:
            by_group = votes.join(self._groups, on="participant_id").group_by("group_id", maintain_order=True)
            for (group,), own in sorted(by_group, key=lambda each: each[0][0]):
                yield f"   {group_name(int(str(group)))}: {_counted(own)}"
        if (score := self._scores.get(key)) and score["gac"] is not None:
            interval, known = "", self._intervals.get(key)
            if known and known["gac_low"] is not None:
                interval = f" [{known['gac_low']:.2f}, {known['gac_high']:.2f}]"
            place = self._selected.get(key)
            reached = f", rank {place['rank']}, {'reaches' if place['selected'] else 'below'} the cut" if place else ""
            if place and place.get("side") == "disagree":
                yield f"   every group rejects it: consensus on that {place['gac']:.2f}{reached}"
                reached = ""
            yield f"   group-aware consensus {score['gac']:.2f}{interval} in the last run{reached}"
        else:
            yield "   no group-aware consensus yet: it was not in the last run"

    def _participant(self, participant: int) -> Iterator[str]:
        votes = self._opened.imported.raw_votes.filter(participant_id=participant)
        yield f"participant {participant}: {_counted(votes)}"

    def _export(self) -> Iterator[str]:
        if doubtful := self._opened.doubtful:
            yield "the export may not be whole, so it is not imported:"
            yield from (f"   {each}" for each in doubtful.doubts)
            yield "if it is right as it is, sign it; else get it again"
            yield f"digest {doubtful.version}"

    def _constitution(self, arm: str) -> Iterator[str]:
        table = self._opened.constitution(arm)
        if table is None:
            yield "not made yet: `ccai run` first"
            return
        if self._opened.consultation.arms[arm].constitution == "ledgers":
            yield from self._to_know_before_signing()
        yield f"the constitution {arm}, {table.height} principles:"
        for row in table.sort("principle_id").iter_rows(named=True):
            yield f"   {row['principle_id']}: {printable(row['text'], 10_000)}"
        yield f"digest {constitution_digest(table)}"

    def _to_know_before_signing(self) -> Iterator[str]:
        """What is still a placeholder, what nobody has considered or decided, how sure it is, and where to read it."""
        opened = self._opened
        own = {name: getattr(opened.consultation.file, name) for name in PLACEHOLDERS}
        if left := [name for name, text in own.items() if text == PLACEHOLDERS[name]]:
            yield f"still a placeholder in consultation.yaml: {', '.join(left)}"
        for kind in ("threshold", "training"):
            if names := [item.subject[0] for item in opened.agenda(kind) if item.state == "not considered"]:
                yield f"nobody considered yet, in {kind}.csv: {', '.join(names)}"
        if waiting := sum(item.state != "decided" for item in opened.agenda("wording")):
            yield f"{counted(waiting, 'subject')} of wording.csv {'waits' if waiting == 1 else 'wait'} for a decision"
        if (sure := how_sure(opened)) is not None:
            yield sure
        page = opened.home.report / PAGES["Constitution"]
        yield f"to read or to show: {page}" if page.is_file() else "`ccai run` makes a page of it to read and to show"


def choices(item: AgendaItem) -> str:
    """Return what can be typed as a decision on this subject."""
    if values := VALUES.get(item.kind):
        value = values[item.subject[0]]
        return value.allowed.expected if value.is_policy else "the value"
    verbs = {"ideas": "ideas: ONE | ANOTHER"}
    shown = [verbs.get(verb, f"{verb}: TEXT" if text else verb) for verb, text in VERBS[item.kind].items()]
    return ", ".join([*shown, *([WITHDRAWN] if item.rows else [])])


def heading(item: AgendaItem, place: str) -> str:
    """Return the line above a subject; `place` is `3 of 12`."""
    return f"── {item.kind} {place} ── {printable(subject_name(item.kind, item.subject))} ── {item.state}"


def _origin(raw: Mapping[str, Any]) -> str:
    who = f"by participant {raw['author_id']}" if raw["author_id"] is not None else "by nobody the export names"
    who = "by the organisers" if raw["is_seed"] else who
    when = f" on {raw['created_at']:%Y-%m-%d}" if raw["created_at"] else ""
    marked = " and marked as metadata (about the people who vote)" if raw["is_meta"] else ""
    return f"submitted {who}{when}; {MODERATED[raw['moderated']]}{marked} by the export"


def _counted(votes: pl.DataFrame) -> str:
    counts = dict(votes["vote"].value_counts().iter_rows())
    return _told(*(counts.get(vote, 0) for vote in (1, -1, 0)))


def _told(agree: int, disagree: int, passes: int) -> str:
    total = agree + disagree + passes
    share = f" ({agree / total:.0%} agree)" if total else ""
    return f"{total:,} votes: {agree:,} agree, {disagree:,} disagree, {passes:,} pass{share}"


def _by_id(table: pl.DataFrame | None) -> dict[int, dict[str, Any]]:
    return {} if table is None else {row["statement_id"]: row for row in table.to_dicts()}
