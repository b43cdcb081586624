"""The chapter of the report about decisions taken twice and decisions taken back.

Belongs here: who agreed with whom, and what stood in the ledgers before. Doesn't belong here: HTML, applying
decisions.
"""

from __future__ import annotations

from dataclasses import dataclass

from ccai_dagster.audit.filters import Entry
from ccai_dagster.audit.records import Record, Records
from ccai_dagster.audit.report_inputs import ReportInputs
from ccai_dagster.core.text import counted, listed, percent
from ccai_dagster.decisions.decision import is_decision
from ccai_dagster.decisions.doubles import NOUNS, Agreement, agreements, second_opinions

STATEMENT_KINDS = ("moderation", "merge", "wording", "idea")
"""Kinds of decisions whose subjects are statements."""


@dataclass(frozen=True)
class Correction:
    """A decision that counts, and those it replaced, the nearest first.

    Attributes:
        resolves: Whether it settled what two people had decided differently.
    """

    latest: Record
    earlier: list[Record]
    resolves: bool

    @property
    def entry(self) -> Entry:
        """What it can be found by."""
        return Entry(marks=frozenset({"anew", "twice"} if self.resolves else {"anew"}))


def corrections(records: Records) -> list[Correction]:
    """List every decision that counts and replaced others, in the order of the ledgers."""
    found = []
    for record in records.by_id.values():
        if not record.counts or not record.superseded:
            continue
        direct = [records.by_id[each] for each in record.superseded]
        roles = {each.decided_by for each in direct}
        found.append(Correction(record, records.chain(record), len(direct) > 1 and len(roles) > 1))
    return found


def corrections_sentence(found: list[Correction]) -> str:
    """Say in numbers what was corrected."""
    if not found:
        return "No decision was replaced by a later one."
    resolved = sum(correction.resolves for correction in found)
    own = len(found) - resolved
    parts = [f"{counted(own, 'decision')} replaced an earlier one"] if own else []
    parts += (
        [f"{counted(resolved, 'decision')} settled what two people had decided differently"]
        if resolved
        else []
    )
    return f"{listed(parts)}. Nothing was erased: both stand here."


def agreement_sentences(inputs: ReportInputs) -> list[str]:
    """Say for each two roles how often they decided alike, with Cohen's kappa."""
    return [_agreement(each) for kind in sorted(inputs.ledgers) for each in agreements(inputs.ledgers[kind])]


def _agreement(each: Agreement) -> str:
    noun = NOUNS.get(each.kind, "subject")
    text = (
        f"{each.kind.capitalize()}: {listed(each.roles)} decided on {counted(each.subjects, noun)} independently, and "
        f"alike on {each.alike:,} ({percent(each.observed)})."
    )
    if each.kappa is None:
        return f"{text} Both always decided the same one thing, so that Cohen’s kappa tells nothing."
    return f"{text} Cohen’s kappa is {each.kappa:.2f} (1 if they always agree, 0 if they agree as often as by chance)."


def decided_twice(inputs: ReportInputs) -> frozenset[int]:
    """Return the statements on which two people decided independently."""
    return frozenset(
        int(each)
        for kind in STATEMENT_KINDS
        if kind in inputs.ledgers
        for subject in second_opinions(inputs.ledgers[kind])
        for each in subject
    )


def decided_anew(found: list[Correction]) -> frozenset[int]:
    """Return the statements on which an earlier decision was replaced."""
    return frozenset(
        int(subject)
        for correction in found
        if correction.latest.kind in STATEMENT_KINDS
        for record in (correction.latest, *correction.earlier)
        if is_decision(record.outcome)
        for subject in record.subject_ids
    )
