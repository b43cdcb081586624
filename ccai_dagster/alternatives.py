"""What each value of a numeric decision would select, for whoever is about to take it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, get_args

from ccai_dagster.audit.recomputation import Recomputation, SharedInputs
from ccai_dagster.audit.sensitivity import Alternative, alternative_on_record, levels
from ccai_dagster.core.text import listed
from ccai_dagster.decisions.outcomes import exclusions, moderation_verdicts, statement_ideas
from ccai_dagster.decisions.values import LEFT_OUT, SelectionRule, thresholds
from ccai_dagster.deliberation.consensus import highest_reachable
from ccai_dagster.deliberation.drawing import one_thread
from ccai_dagster.deliberation.structure import has_structure, procedure_for
from ccai_dagster.open_consultation import OpenConsultation

THRESHOLDS = tuple(round(0.05 * step, 2) for step in range(8, 20))
PARTICIPATIONS = (0.0, 0.05, 0.1, 0.25)
"""Tried beside the one on record."""
BUDGETS = (0.5, 0.75, 0.9, 1, 1.1, 1.25, 1.5)
"""Shares of the idea budget on record that are tried."""


@one_thread()
def selections(opened: OpenConsultation, subject: str) -> list[str]:
    """Return, for each value of a subject of the threshold ledger, what it would select, all others being as they are.

    Nothing for a subject that selects nothing.

    Raises:
        ConsultationError: A ledger that the selection rests on cannot be read.
    """
    recomputation, record = as_decided(opened)
    ideas, tested = recomputation.inputs.ideas, opened.table("group_structure")
    together = tested is not None and tested.height > 0 and not has_structure(tested)
    tried = levels(record, bool(ideas), bool(recomputation.inputs.raw_votes["important"].any()))
    return [
        f"{value}: {_told(recomputation, alternative)}{'  (as it is)' if alternative == record else ''}"
        for value, alternative in _tried(subject, record, tried, together)
    ]


def as_decided(opened: OpenConsultation) -> tuple[Recomputation, Alternative]:
    """Return the votes with the decisions on statements and people as they are now, and the numeric decisions.

    The groups of the last run are taken where nothing they rest on has changed since.

    Raises:
        ConsultationError: A ledger cannot be read.
    """
    inputs = SharedInputs(
        raw_statements=opened.imported.raw_statements,
        raw_participants=opened.imported.raw_participants,
        raw_votes=opened.imported.raw_votes,
        raw_group_votes=opened.imported.raw_group_votes,
        moderation=moderation_verdicts(opened.ledger("moderation")),
        excluded=exclusions(opened.ledger("exclusion")),
        ideas=statement_ideas(opened.ledger("idea")),
    )
    recomputation, record = Recomputation(inputs), numbers_decided(opened)
    if (groups := opened.fresh_table("opinion_groups")) is not None:
        recomputation.take_groups(record, groups)
    return recomputation, record


def numbers_decided(opened: OpenConsultation) -> Alternative:
    """Return the numeric decisions as they are now; whether groups are more than chance the last run tells, if any did.

    Raises:
        ConsultationError: The ledger cannot be read.
    """
    settled = thresholds(opened.ledger("threshold"), opened.consultation.file.seed)
    if (tested := opened.table("group_structure")) is not None:
        settled = replace(settled, procedure=procedure_for(settled.procedure, tested, settled.without_structure))
    return alternative_on_record(settled, opened.consultation.file.moderation)


def _tried(
    subject: str, record: Alternative, tried: Mapping[str, Sequence[Any]], together: bool
) -> list[tuple[str, Alternative]]:
    """Values in words, with all decisions as they would be; that on record is among them.

    Args:
        tried: What is tried of each decision, as `levels` returns it.
        together: Whether there is no structure, so that everybody may be one group.
    """
    cut = record.selection
    if subject == "gac_threshold":
        values = sorted({cut.threshold, *THRESHOLDS})
        by_value = [(f"{each:g}", replace(cut, rule="threshold", threshold=each)) for each in values]
        return [(value, replace(record, selection=changed)) for value, changed in by_value]
    if subject == "idea_budget":
        budgets = sorted({max(1, round(cut.idea_budget * share)) for share in BUDGETS})
        by_value = [(str(each), replace(cut, rule="ideas", idea_budget=each)) for each in budgets]
        return [(value, replace(record, selection=changed)) for value, changed in by_value]
    if subject == "selection_rule":
        return [(name, replace(record, selection=replace(cut, rule=name))) for name in get_args(SelectionRule)]
    if subject == "group_participation":
        shares = sorted({cut.participation, *PARTICIPATIONS})
        return [(f"{each:g}", replace(record, selection=replace(cut, participation=each))) for each in shares]
    if subject == "rejected_statements":
        return [
            (value, replace(record, selection=replace(cut, rejected=value != LEFT_OUT)))
            for value in (LEFT_OUT, "selected")
        ]
    if subject == "without_structure":
        kept = replace(record, number_of_groups=None) if record.number_of_groups == 1 else record
        return [
            ("one_group", replace(record, number_of_groups=1) if together else record),
            ("keep_groups", kept if together else record),
        ]
    if subject not in tried:
        return []
    values = [*([1] if subject == "number_of_groups" else []), *tried[subject]]
    changes: list[dict[str, Any]] = [{subject: each} for each in dict.fromkeys(values)]
    return [(each.shown()[subject], each) for each in (replace(record, **change) for change in changes)]


def _told(recomputation: Recomputation, alternative: Alternative) -> str:
    scored, chosen = recomputation.scored(alternative), recomputation.selected(alternative)
    if scored.counts is None:
        return "nobody is left to group"
    selects = f"selects {len(chosen.ids)} of {len(scored.statement_ids)} statements"
    if scored.sizes is None:
        return f"{selects}; {scored.n_groups} groups, as given"
    sizes = scored.sizes.tolist()
    groups = f"{len(sizes)} groups of {listed(sizes)}" if len(sizes) > 1 else f"one group of {sizes[0]:,}"
    highest = highest_reachable(scored.sizes, alternative.method)
    return f"{selects}; {groups}, unanimity reaches {highest:.3f}"
