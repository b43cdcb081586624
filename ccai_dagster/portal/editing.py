"""What an editor is asked, subject by subject, as a form, and what was filled in, as `checked_decisions` records it.

Every kind of ledger but two goes through here: moderation has a queue of its own, and a sign-off its page. Near
duplicates come in groups; whoever decides says which members of one belong together.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import polars as pl
from django.http import HttpRequest, QueryDict

from ccai_dagster.background import Background
from ccai_dagster.checked_decisions import FilledIn, record_filled_in, seen_rows
from ccai_dagster.core.digest import value_digest
from ccai_dagster.core.errors import ConsultationError
from ccai_dagster.core.text import readable
from ccai_dagster.decisions.agenda import AgendaItem, Proposal, grouped
from ccai_dagster.decisions.independent_decisions import Subject, subject_name
from ccai_dagster.decisions.ledger import AVOID, VALUE_KINDS, VERBS, WITHDRAWN, split_outcome
from ccai_dagster.decisions.values import VALUES
from ccai_dagster.open_consultation import OpenConsultation
from ccai_dagster.wording_drafts import WordingDraft

VALUE = "value"
"""What is chosen to decide on a number, whose outcome has no verb."""
LABELS: Mapping[str, str] = {
    "merge": "Merge them into one, with this text",
    "keep apart": "Keep them apart",
    "ideas": "These ideas, one a line",
    "principle": "A principle, worded so",
    AVOID: "Something to avoid, worded so",
    "leave out": "Leave it out",
    "exclude": "Exclude",
    "keep": "Keep",
    VALUE: "This value",
    WITHDRAWN: "Take back what was decided",
}
DRAFTED = "draft-"
"""Begins what is chosen to take a draft over as it stands."""


class NoSuchSubject(ConsultationError):
    """What somebody wants to look at is not there, or nothing to decide on."""


@dataclass(frozen=True)
class Question:
    """One subject of a ledger as somebody is asked about it.

    Attributes:
        item: How it stands.
        digest: Of the text that is decided on; empty for kinds without.
        members: Of a group of near duplicates the ids that may be merged, each with its text; else none.
    """

    item: AgendaItem
    digest: str
    members: Sequence[tuple[str, str]] = ()

    @property
    def seen(self) -> str:
        """Ids of the rows that are shown."""
        return " ".join(seen_rows(self.item))

    @property
    def name(self) -> str:
        """How a sentence names it."""
        return subject_name(self.item.kind, self.item.subject)

    @property
    def outcome(self) -> str:
        """The outcome that counts and may be shown; empty if there is none."""
        shown = {row["outcome"] for row in self.item.shown}
        return next(iter(shown)) if len(shown) == 1 else ""

    @property
    def verbs(self) -> list[tuple[str, str, bool]]:
        """What may be chosen: value, label, and whether a text belongs to it."""
        kind = self.item.kind
        known = [(VALUE, True)] if kind in VALUES else list(VERBS[kind].items())
        taken_back = [(WITHDRAWN, False)] if self.item.shown and not self.members else []
        return [(verb, LABELS[verb], text) for verb, text in [*known, *taken_back]]


def questions(opened: OpenConsultation, kind: str, role: str, decided: bool, chosen: Subject | None) -> list[Question]:
    """Return what is asked of a role: what waits for it, or what is decided; or one subject alone.

    Args:
        chosen: A subject; of merges any statements that somebody wants to look at together, of exclusions anybody.

    Raises:
        NoSuchSubject: There is no such subject.
        ConsultationError: The ledger cannot be read, or nothing is known yet to decide on.
    """
    if kind == "wording" and opened.selected() is None:
        raise ConsultationError(
            "Which statements reach the cut is not known yet: `ccai run` first; it stops where people must decide."
        )
    items = opened.agenda(kind)
    basis = opened.basis(kind)
    if chosen is not None:
        known = {item.subject: item for item in items}
        found = known.get(chosen) or _not_put_forward(opened, kind, items, chosen)
        if found is None or (kind == "merge" and basis(chosen) is None):
            gone = " Whoever it was may have deleted the own data meanwhile." if kind == "exclusion" else ""
            raise NoSuchSubject(f"{subject_name(kind, chosen)}: nothing here that could be decided on.{gone}")
        return [_question(opened, found)]
    listed = [item for item in items if (item.state == "decided") is decided and (decided or item.open_to(role))]
    if kind == "merge" and not decided:
        listed = _in_groups(items, listed)
    return [_question(opened, item) for item in listed]


def _question(opened: OpenConsultation, item: AgendaItem) -> Question:
    members: list[tuple[str, str]] = []
    if item.kind == "merge" and not any(set(row["subject_ids"]) == set(item.subject) for row in item.rows):
        texts = dict(opened.statements().select("statement_id", "text").iter_rows())
        members = [(each, readable(texts[int(each)])) for each in item.subject]
    return Question(item, opened.basis(item.kind)(item.subject) or "", members)


def _not_put_forward(
    opened: OpenConsultation, kind: str, items: Sequence[AgendaItem], subject: Subject
) -> AgendaItem | None:
    """Return statements together, or somebody who voted, as an item although no search put it forward."""
    if kind == "merge" and len(subject) > 1:
        return put_together(items, subject)
    people = opened.imported.raw_participants["participant_id"].cast(pl.String) if kind == "exclusion" else ()
    return AgendaItem(kind, Proposal(subject), "undecided", ()) if len(subject) == 1 and subject[0] in people else None


def put_together(items: Sequence[AgendaItem], subject: Subject) -> AgendaItem:
    """Return statements that somebody looks at together, with the decisions on fewer of them, which one would replace.

    What the second of two must not see is not among these.
    """
    inside = [each for each in items if set(each.subject) < set(subject)]
    searched = [each.proposal for each in inside if each.proposal.suggested_by]
    proposal = replace(searched[0], subject=subject) if searched else Proposal(subject)
    rows = tuple(row for each in inside if each.state != "one of two" for row in each.rows)
    return AgendaItem("merge", proposal, "suggested" if searched else "undecided", rows)


def _in_groups(items: Sequence[AgendaItem], listed: Sequence[AgendaItem]) -> list[AgendaItem]:
    """Pairs that a search put forward as groups, with what they were merged with before; everything else as it is."""
    pairs: dict[Subject, AgendaItem] = {
        item.subject: item for item in listed if not item.rows and len(item.subject) == 2
    }
    merged = [item.subject for item in items if item.state not in ("one of two", "lapsed") and _is_merge(item)]
    beside = [each for each in merged if any(set(each) & set(pair) for pair in pairs)]
    alike = [(each[0], other) for each in beside for other in each[1:]] + [(one, other) for one, other in pairs]
    groups = [tuple(map(str, each)) for each in grouped((int(one), int(other)) for one, other in alike)]
    whole = [each for each in groups if any(set(pair) <= set(each) for pair in pairs)]
    left = [pair for pair in pairs if not any(set(pair) <= set(each) for each in whole)]
    together = [pairs.get(each) or put_together(items, each) for each in [*whole, *left]]
    return [*together, *(item for item in listed if item.subject not in pairs)]


def _is_merge(item: AgendaItem) -> bool:
    return any(split_outcome(row["outcome"])[0] == "merge" for row in item.rows)


def record_answers(
    opened: OpenConsultation, kind: str, role: str, request: HttpRequest, background: Background
) -> list[str]:
    """Record what was chosen on a page, for one reason, all of it or nothing, and return the ids of the rows.

    Raises:
        ConsultationError: Nothing is chosen, the reason is missing, or a row is refused; nothing is recorded.
    """
    sent, reason = request.POST, " ".join(request.POST.get("reason", "").split())
    numbers = [each for each in sent.get("questions", "").split() if sent.get(f"verb-{each}")]
    if not numbers:
        raise ConsultationError("Choose what to decide on at least one subject.")
    if not reason:
        raise ConsultationError("A decision needs a reason.")
    items = opened.agenda(kind)
    filled, put = [], []
    for number in numbers:
        answer, own = _filled_in(opened, kind, items, number, sent, reason, background)
        filled.append(answer)
        put += [own] if own else []
    rows = record_filled_in(opened, kind, role, filled, background.suggested_by, more=put, anew=True)
    return [row.decision_id for row in rows]


def _filled_in(
    opened: OpenConsultation,
    kind: str,
    items: Sequence[AgendaItem],
    number: str,
    sent: QueryDict,
    reason: str,
    background: Background,
) -> tuple[FilledIn, AgendaItem | None]:
    """One answer, and its subject as an item where whoever decides has put it together."""
    asked, basis = tuple(sent.get(f"subject-{number}", "").split()), opened.basis(kind)
    subject, digest = asked, sent.get(f"digest-{number}", "")
    seen = tuple(sent.get(f"seen-{number}", "").split())
    known = {item.subject: item for item in items}
    own = None
    if members := sent.getlist(f"member-{number}"):
        subject = tuple(each for each in asked if each in members)
        if len(subject) < 2:
            raise ConsultationError(f"{subject_name(kind, asked)}: tick at least two of them.")
        if (basis(asked) or "") == digest:
            digest = basis(subject) or ""
        if subject not in known:
            own = put_together(items, subject)
            seen = tuple(each for each in seen if each in seen_rows(own))
    elif kind == "exclusion" and subject not in known:
        own = _not_put_forward(opened, kind, items, subject)
    item = own or known.get(subject)
    outcome = _outcome(kind, number, sent, background, item)
    return FilledIn(subject_name(kind, subject), subject, seen, digest, outcome, reason), own


def drafts_digest(drafts: Sequence[WordingDraft]) -> str:
    """Return what tells whether drafts are those that somebody read, as after a change of the template."""
    return value_digest([each.outcome for each in drafts])


def _outcome(kind: str, number: str, sent: QueryDict, background: Background, item: AgendaItem | None) -> str:
    verb, text = sent.get(f"verb-{number}", ""), sent.get(f"text-{number}", "")
    if verb.startswith(DRAFTED) and item is not None:
        shown = background.drafts(item)
        drafts = {f"{DRAFTED}{at}": each.outcome for at, each in enumerate(shown)}
        if verb not in drafts or sent.get(f"drafts-{number}", "") != drafts_digest(shown):
            named = subject_name(kind, item.subject)
            raise ConsultationError(f"{named}: its drafts are others since they were shown; read them again.")
        return drafts[verb]
    if verb == "ideas":
        return f"{verb}: {' | '.join(' '.join(each.split()) for each in text.splitlines() if each.strip())}"
    text = " ".join(text.split())
    if verb == VALUE and kind in VALUE_KINDS:
        return text
    return f"{verb}: {text}" if VERBS.get(kind, {}).get(verb) else verb
