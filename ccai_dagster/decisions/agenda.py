"""What is decided and what is still to be decided in one ledger, subject by subject.

What has to be decided, and on which text, is told by whoever calls; here ledger rows and subjects meet.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

import polars as pl

from ccai_dagster.decisions.decision import VALUE_KINDS, is_decision, is_policy
from ccai_dagster.decisions.doubles import (
    Row,
    Subject,
    asks_for_two,
    disagreeing,
    rows_by_subject,
    second_opinions,
)
from ccai_dagster.decisions.ledger import current

State = Literal["decided", "undecided", "suggested", "lapsed", "disagreeing", "one of two", "not considered"]
STATES: tuple[State, ...] = (
    "decided", "undecided", "suggested", "lapsed", "disagreeing", "one of two", "not considered",
)  # fmt: skip
"""`suggested`: put forward by a program; nobody has to decide. `lapsed`: taken on something else than there is
now. `disagreeing`: two people decided differently and nobody has resolved it. `one of two`: the policy asks for a
second, independent decision. `not considered`: a starting value that no person has looked at."""

DIGESTED = frozenset({"moderation", "merge", "idea", "wording", "signoff"})
"""Kinds whose decisions lapse when the text they were taken on changes.

An exclusion is about a person whose votes still come in, and a number is about no text: these do not lapse.
"""

STARTING = "ccai new"
"""`suggested_by` of the values a new folder starts with."""

Basis = Callable[[Sequence[str]], str | None]
"""Digest of what a decision on these subjects would be taken on now; None if a subject is not there."""


@dataclass(frozen=True)
class Proposal:
    """A subject that should be decided, and why it is put forward.

    Attributes:
        subject: What to decide on.
        why: What is noteworthy about it, for a person; may be empty.
        suggested_by: What put it forward, if not the consultation itself.
    """

    subject: Subject
    why: str = ""
    suggested_by: str | None = None


@dataclass(frozen=True)
class AgendaItem:
    """One subject of one kind and how it stands.

    Attributes:
        proposal: What it is about.
        state: How it stands.
        rows: The decisions on it that count, in the order of the ledger.
    """

    kind: str
    proposal: Proposal
    state: State
    rows: tuple[Row, ...]

    @property
    def subject(self) -> Subject:
        """What it is about."""
        return self.proposal.subject

    def open_to(self, role: str) -> bool:
        """Whether somebody in this role can decide it now.

        Who decided one of two differing decisions cannot resolve them, nor be the second of two.
        """
        took_part = role in {row["decided_by"] for row in self.rows}
        return self.state != "decided" and not (self.state in ("disagreeing", "one of two") and took_part)


def agenda(
    kind: str,
    ledger: pl.DataFrame,
    wanted: Iterable[Proposal],
    basis: Basis,
    policy_subjects: Sequence[str] = (),
) -> list[AgendaItem]:
    """Return every subject that should be or is decided, and how it stands.

    Args:
        wanted: What has to be decided, in the order in which it should be.
        basis: What a decision would be taken on.
        policy_subjects: Subjects that must be decided by a policy.

    Returns:
        What has to be decided, in the order given, then every other subject that rows decide on, in the order
        of the ledger. Subjects that no longer exist or are moderated out are left out.

    Raises:
        ConsultationError: The ledger's chains are broken.
    """
    rows = [
        row
        for row in current(ledger).to_dicts()
        if is_decision(row["outcome"])
        or (is_policy(row["outcome"]) and set(row["subject_ids"]) & set(policy_subjects))
    ]
    own = rows_by_subject(rows)
    proposals = {each.subject: each for each in wanted}
    for subject in own:
        proposals.setdefault(subject, Proposal(subject))
    both = second_opinions(ledger) if asks_for_two(ledger) else None
    items = []
    for subject, proposal in proposals.items():
        if kind in DIGESTED and basis(subject) is None:
            continue
        decided = tuple(own.get(subject, ()))
        state = _state(decided, basis, both is None or subject in both)
        if state == "undecided" and proposal.suggested_by:
            state = "suggested"
        items.append(AgendaItem(kind, proposal, state, decided))
    return items


def has_lapsed(row: Row, basis: Basis) -> bool:
    """Whether a row was taken on something else than there is now; it names one subject that has changed."""
    return row["kind"] in DIGESTED and row["inputs_digest"] != basis(row["subject_ids"])


def _state(rows: Sequence[Row], basis: Basis, enough: bool) -> State:
    if not rows:
        return "undecided"
    if any(has_lapsed(row, basis) for row in rows):
        return "lapsed"
    if len(rows) > 1 and disagreeing(rows):
        return "disagreeing"
    if all(row["kind"] in VALUE_KINDS and row["suggested_by"] == STARTING for row in rows):
        return "not considered"
    return "decided" if enough else "one of two"
