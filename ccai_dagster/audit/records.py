"""The ledgers indexed by decision and subject, and what the tables say about one statement or principle.

Belongs here: which row counts, what it replaced, how a sentence cites it; the facts that `trail` joins and
`trail_sentences` phrases. Doesn't belong here: checking ledgers or applying them (`decisions`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import polars as pl

from ccai_dagster.core.language import gettext
from ccai_dagster.decisions.ledger import (
    WITHDRAWN,
    Decision,
    current,
    is_decision,
    is_policy,
    replaced_rows,
    split_outcome,
)
from ccai_dagster.decisions.origins import by_person


@dataclass(frozen=True)
class Record(Decision):
    """A row of a ledger and its place in its chain of replacements.

    Attributes:
        root_id: Id of the first decision of the chain; of a wording, this is the principle's id.
        counts: Whether no later row replaces it.
    """

    root_id: str = ""
    counts: bool = True

    @property
    def verb(self) -> str:
        """The outcome before its colon: `out` of `out: duplicate`."""
        return split_outcome(self.outcome)[0]

    @property
    def text(self) -> str:
        """The outcome after its colon, empty if it has none."""
        return split_outcome(self.outcome)[1]

    @property
    def is_policy(self) -> bool:
        """Whether it is a choice on record that is applied to no row."""
        return is_policy(self.outcome)

    @property
    def by_person(self) -> bool:
        """Whether a person decided or accepted it."""
        return by_person({"suggested_by": self.suggested_by})

    @property
    def proposal(self) -> str:
        """What put it forward, as a sentence; empty if a person did."""
        if not self.by_person:
            return gettext("Written by `%(program)s`; no person decided it here.", program=self.suggested_by)
        return gettext("Proposed by %(what)s.", what=self.suggested_by) if self.suggested_by else ""

    @property
    def cited(self) -> str:
        """How a sentence points to it: id, role and date."""
        return f"decision {self.decision_id}, {self.decided_by}, {self.decided_at[:10]}"

    @property
    def told(self) -> tuple[str, ...]:
        """Why, by whom, when and by which rule: what many decisions may have in common; empty where not known."""
        who = (self.decided_by, self.decided_at, self.policy_ref or "", self.suggested_by or "")
        return (self.kind, self.reason, *who)

    @property
    def because(self) -> str:
        """The reason as a sentence of its own."""
        reason = self.reason.strip()
        stop = "" if reason.endswith((".", "!", "?", "…")) else "."
        if not reason:
            return gettext("No reason is on record.")
        return gettext("Reason given: %(reason)s", reason=f"{reason}{stop}")


@dataclass(frozen=True)
class Records:
    """All ledgers of a consultation, to be asked by decision, subject and kind."""

    by_id: Mapping[str, Record]
    by_subject: Mapping[tuple[str, str], tuple[Record, ...]]

    def on(self, kind: str, subject: object) -> tuple[Record, ...]:
        """Return the decisions of one kind on a subject that count, in the order of the ledger."""
        found = self.by_subject.get((kind, str(subject)), ())
        return tuple(record for record in found if record.counts and is_decision(record.outcome))

    def chain(self, record: Record) -> list[Record]:
        """Return the earlier decisions that this one replaced, directly or through others, the nearest first."""
        return [self.by_id[each] for each in replaced_rows(record.decision_id, self._earlier)]

    @cached_property
    def _earlier(self) -> Mapping[str, tuple[str, ...]]:
        return {key: each.superseded for key, each in self.by_id.items()}

    def replacing(self, record: Record) -> list[Record]:
        """Return the decisions that replaced this one directly."""
        return [each for each in self.by_id.values() if record.decision_id in each.superseded]

    def withdrawn(self, kind: str, subject: object) -> tuple[Record, ...]:
        """Return the rows that took back a decision on a subject without putting another in its place."""
        found = self.by_subject.get((kind, str(subject)), ())
        return tuple(record for record in found if record.counts and record.verb == WITHDRAWN)

    def of_kind(self, kind: str) -> list[Record]:
        """Return the decisions of one kind that count, policies included, in the order of the ledger."""
        return [record for record in self.by_id.values() if record.kind == kind and record.counts]


def read_records(ledgers: Mapping[str, pl.DataFrame]) -> Records:
    """Index all ledgers.

    Args:
        ledgers: LEDGER tables by kind, replaced rows included.

    Returns:
        The records; rows keep the order of their ledger.

    Raises:
        ConsultationError: A ledger's chains of replacements are broken.
    """
    by_id: dict[str, Record] = {}
    by_subject: dict[tuple[str, str], list[Record]] = {}
    for kind in sorted(ledgers):
        roots = dict(current(ledgers[kind]).select("decision_id", "root_id").iter_rows())
        for row in ledgers[kind].to_dicts():
            decision_id = row["decision_id"]
            record = Record(
                **{**row, "subject_ids": tuple(row["subject_ids"])},
                root_id=roots.get(decision_id, decision_id),
                counts=decision_id in roots,
            )
            by_id[decision_id] = record
            for subject in record.subject_ids:
                by_subject.setdefault((kind, subject), []).append(record)
    return Records(by_id, {key: tuple(value) for key, value in by_subject.items()})


@dataclass(frozen=True)
class StatementFacts:
    """What every table says about one statement, by id; None where a table does not have it."""

    raw: dict[str, Any]
    statement: dict[str, Any] | None
    gac: dict[str, Any] | None
    stability: dict[str, Any] | None
    selected: dict[str, Any] | None
    principles: tuple[tuple[str, str], ...]
    n_scored: int

    @property
    def text(self) -> str:
        """The text that counts."""
        return str((self.statement or self.raw)["text"])


@dataclass(frozen=True)
class Feedback:
    """What the feedback model did with one principle of one arm.

    Attributes:
        n_pairs: Preference pairs judged under it.
        n_decided: Of those, pairs whose label is not one half.
        adherence: Mean probability in [0, 1] that the arm's policy keeps to it; None if not measured.
        n_responses: Responses that mean is over.
        base_adherence: The same for the untrained model.
    """

    n_pairs: int = 0
    n_decided: int = 0
    adherence: float | None = None
    n_responses: int = 0
    base_adherence: float | None = None
