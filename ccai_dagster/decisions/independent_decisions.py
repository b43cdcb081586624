"""Two people decide the same subject independently: what counts then, and how often they agree.

Two rows that count, on the same subject and by different roles, are independent decisions. Where their effects
are equal they count as one; where they differ the subject waits for a third row that supersedes both. Two rows
of one role are a mistake and no second opinion, and what a command took over or began with is nobody's. Nothing here
reads statements or votes.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import polars as pl

from ccai_dagster.consultation.folder import EXPORT
from ccai_dagster.core.errors import ConsultationError
from ccai_dagster.decisions.ledger import SEPARATE_KINDS, current, effect, is_decision, is_policy, split_ids
from ccai_dagster.decisions.origins import by_person
from ccai_dagster.statistics.agreement import cohens_kappa, confusion_table

Row = Mapping[str, Any]
"""A row of a ledger (contract `LEDGER`)."""

Subject = tuple[str, ...]
"""What one decision is on: one id, or the set of statements of a merge or wording, sorted."""

TWO_PEOPLE = "double_decisions"
"""Subject of the policy by which two people decide every subject of a ledger's kind independently."""

NOUNS = {
    **dict.fromkeys(("moderation", "merge", "idea", "wording"), "statement"),
    "exclusion": "participant",
    "signoff": "arm",
}


@dataclass(frozen=True)
class Agreement:
    """How often two roles decided alike on the subjects that both decided independently.

    Attributes:
        roles: Sorted.
        subjects: How many both decided on; 1 or more.
        alike: How many of these with the same effect.
        kappa: Cohen's kappa, at most 1, 0 where agreement is what chance would give; None where both roles
            always decided the same one thing, so that chance alone explains everything.
    """

    kind: str
    roles: tuple[str, str]
    subjects: int
    alike: int
    kappa: float | None

    @property
    def observed(self) -> float:
        """Share of the subjects decided alike, 0 to 1."""
        return self.alike / self.subjects

    @property
    def sentence(self) -> str:
        """How often, and Cohen's kappa; the roles as they were typed."""
        kappa = "not defined, since both always said the same" if self.kappa is None else f"{self.kappa:.2f}"
        return (
            f"{self.roles[0]} and {self.roles[1]} decided {self.subjects} independently, {self.alike} alike "
            f"({self.observed:.0%}); Cohen's kappa {kappa}"
        )


def subjects_of(kind: str, outcome: str, ids: Sequence[str]) -> list[Subject]:
    """Return what a decision is on: each of the ids it names, or all of them together."""
    if kind in SEPARATE_KINDS or is_policy(outcome):
        return [(each,) for each in ids]
    return [tuple(sorted(ids, key=lambda each: (len(each), each)))]


def subject_name(kind: str, subject: Sequence[str]) -> str:
    """Return how a sentence names a subject: `statement 4`, `arm public`, `the export`, `procedure`."""
    if kind == "signoff" and tuple(subject) == (EXPORT,):
        return "the export"
    noun = NOUNS.get(kind)
    plural = "s" if len(subject) > 1 else ""
    return f"{noun}{plural} {' '.join(subject)}" if noun else " ".join(subject)


def rows_by_subject(rows: Iterable[Row]) -> dict[Subject, list[Row]]:
    """Return the rows on each subject, in the order given; what no person decided gives way to what people decided."""
    found: dict[Subject, list[Row]] = {}
    for row in rows:
        for subject in subjects_of(row["kind"], row["outcome"], row["subject_ids"]):
            found.setdefault(subject, []).append(row)
    return {subject: [row for row in own if by_person(row)] or own for subject, own in found.items()}


def same_role(rows: Sequence[Row]) -> bool:
    """Whether two of these rows were decided by the same role."""
    return len({row["decided_by"] for row in rows}) < len(rows)


def disagreeing(rows: Sequence[Row]) -> bool:
    """Whether these independent decisions on one subject differ, so that a third row must resolve them."""
    return not same_role(rows) and len({_effect(row) for row in rows}) > 1


def decisive_rows(rows: Iterable[Row]) -> dict[Subject, Row]:
    """Return the one row that decides on each subject.

    Where two people decided alike it is the row decided first.

    Args:
        rows: Rows that count, policies and withdrawals left out.

    Raises:
        ConsultationError: One role decided twice on a subject, or independent decisions differ and nobody has
            resolved them.
    """
    found = {}
    for subject, own in rows_by_subject(rows).items():
        if len(own) > 1 and (same_role(own) or disagreeing(own)):
            raise ConsultationError(f"{own[0]['kind']} ledger: {conflict(subject, own)}.")
        found[subject] = min(own, key=lambda row: (row["decided_at"], row["decision_id"]))
    return found


def conflict(subject: Subject, rows: Sequence[Row]) -> str:
    """Say why several rows on one subject cannot stand side by side, and what to do."""
    by_id = sorted(rows, key=lambda row: row["decision_id"])
    ids, named = ", ".join(row["decision_id"] for row in by_id), subject_name(rows[0]["kind"], subject)
    if same_role(rows):
        return f"{ids} all decide on {named}; let the one that counts supersede the other"
    roles = ", ".join(f"{row['decision_id']} ({row['decided_by']})" for row in by_id)
    return f"{roles} differ on {named}; it waits for a resolving row that supersedes {ids.replace(',', '')}"


def asks_for_two(ledger: pl.DataFrame) -> bool:
    """Whether a policy on record asks two people to decide independently on every subject of this ledger."""
    counting = current(ledger).iter_rows(named=True)
    return any(is_policy(row["outcome"]) and TWO_PEOPLE in row["subject_ids"] for row in counting)


def second_opinions(ledger: pl.DataFrame) -> dict[Subject, list[tuple[Row, Row]]]:
    """Return every pair of independent decisions, by subject: those that count, and those resolved since."""
    by_id = {row["decision_id"]: row for row in ledger.to_dicts()}
    together = [[row["decision_id"] for row in current(ledger).to_dicts()]]
    together += [list(split_ids(row["supersedes"])) for row in by_id.values()]
    found: dict[Subject, list[tuple[Row, Row]]] = {}
    for ids in together:
        rows = [row for each in sorted(ids) if is_decision((row := by_id[each])["outcome"]) and by_person(row)]
        for subject, own in rows_by_subject(rows).items():
            for one, other in combinations(own, 2):
                if one["decided_by"] != other["decided_by"]:
                    first, second = sorted((one, other), key=lambda row: row["decided_by"])
                    found.setdefault(subject, []).append((first, second))
    return found


def agreements(ledger: pl.DataFrame) -> list[Agreement]:
    """Return how often each two roles agreed in one ledger, sorted by role.

    Raises:
        ConsultationError: The ledger's chains are broken.
    """
    pairs: dict[tuple[str, str, str], list[tuple[str, str]]] = {}
    for opinions in second_opinions(ledger).values():
        for one, other in opinions:
            key = (one["kind"], one["decided_by"], other["decided_by"])
            pairs.setdefault(key, []).append((_effect(one), _effect(other)))
    return [
        Agreement(kind, (one, other), len(effects), sum(a == b for a, b in effects), _kappa(effects))
        for (kind, one, other), effects in sorted(pairs.items())
    ]


def _kappa(effects: Sequence[tuple[str, str]]) -> float | None:
    kappa = float(cohens_kappa(confusion_table(effects)))
    return None if math.isnan(kappa) else kappa


def _effect(row: Row) -> str:
    own = effect(row["kind"], row["outcome"])
    # Two people who sign other texts did not agree on anything.
    return f"{own} {row['inputs_digest']}" if row["kind"] == "signoff" else own
