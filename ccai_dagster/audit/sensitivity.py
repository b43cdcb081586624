"""What would have been different: the selection computed again, one numeric decision changed at a time.

Belongs here: which alternatives are tried and what they change. Doesn't belong here: how groups, scores and
the selection are computed, which is the same code as for the values on record.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, get_args

import numpy as np
import polars as pl

from ccai_dagster.constitution.selection import Cut, Ideas, reaches_cut
from ccai_dagster.contracts import DECISION_SENSITIVITY
from ccai_dagster.deliberation.cleaning import clean_participants, clean_votes
from ccai_dagster.deliberation.consensus import group_aware_consensus, group_counts
from ccai_dagster.deliberation.groups import group_participants
from ccai_dagster.deliberation.procedure import (
    Aggregation,
    Imputation,
    Procedure,
    ProcedureName,
    Smoothing,
)
from ccai_dagster.deliberation.vote_matrix import VoteMatrix, in_context, vote_matrix
from ccai_dagster.progress import Progress, silent

MINIMUM_VOTES_STEPS = (-10, -5, 5, 10)
NUMBERS_OF_GROUPS: tuple[int | None, ...] = (None, 2, 3, 4, 5)
THRESHOLD_STEPS = (-0.05, -0.02, 0.02, 0.05)
BUDGET_STEPS = (-0.2, -0.1, 0.1, 0.2)
"""Shares of the idea budget."""
FURTHER_SEEDS = 3


@dataclass(frozen=True)
class World:
    """One way to have taken all numeric decisions.

    Attributes:
        minimum_votes: Fewest votes for a participant to count.
        procedure: How groups and consensus are computed.
        cut: How statements are selected.
    """

    minimum_votes: int
    procedure: Procedure
    cut: Cut


@dataclass(frozen=True)
class _Outcome:
    n_groups: int
    selected: frozenset[int]


def decision_sensitivity(
    raw_votes: pl.DataFrame,
    raw_participants: pl.DataFrame,
    statements: pl.DataFrame,
    excluded: Mapping[int, str],
    on_record: World,
    ideas: Mapping[int, Ideas],
    constitution: pl.DataFrame,
    progress: Progress = silent,
) -> pl.DataFrame:
    """Change each numeric decision alone and tell which statements and principles hang on it.

    Args:
        raw_votes: RAW_VOTES.
        raw_participants: RAW_PARTICIPANTS.
        statements: STATEMENTS, those that are in.
        excluded: Exclusion decision by participant id; kept in every world.
        on_record: The decisions as they were taken.
        ideas: Ideas by statement id.
        constitution: CONSTITUTION of the arm derived from the votes.
        progress: Told how many alternatives are done.

    Returns:
        DECISION_SENSITIVITY: for every decision the value on record (`chosen`) and its alternatives, in the
        order minimum votes, procedure, imputation, groups, smoothing, aggregation, selection, seed.
        A minimum that nobody reaches leaves no groups and selects nothing.
        `lost_principles` are principles of `constitution` none of whose statements would be selected.
    """
    select = _selector(raw_votes, raw_participants, statements, excluded, ideas)
    record = select(on_record)
    sources = {
        principle: frozenset(ids)
        for principle, ids in constitution.select("principle_id", "statement_ids").iter_rows()
    }
    worlds = alternatives(on_record, bool(ideas))
    rows: list[dict[str, Any]] = []
    for done, (decision, alternative, world) in enumerate(worlds, start=1):
        outcome = record if world == on_record else select(world)
        rows.append(
            {
                "decision": decision,
                "alternative": alternative,
                "chosen": world == on_record,
                "n_groups": outcome.n_groups,
                "n_selected": len(outcome.selected),
                "entering": sorted(outcome.selected - record.selected),
                "leaving": sorted(record.selected - outcome.selected),
                "lost_principles": sorted(
                    principle
                    for principle, ids in sources.items()
                    if ids & record.selected and not ids & outcome.selected
                ),
            }
        )
        progress("trying other decisions", done, len(worlds))
    return DECISION_SENSITIVITY.build(rows)


def alternatives(on_record: World, has_ideas: bool) -> list[tuple[str, str, World]]:
    """List every world that differs in one decision, with the decision's name and value.

    Args:
        on_record: The decisions as they were taken; it is listed under each decision.
        has_ideas: Whether ideas are on record, so that selecting by ideas can be tried.
    """
    votes, procedure, cut = on_record.minimum_votes, on_record.procedure, on_record.cut
    minima = sorted({0, votes, *(votes + step for step in MINIMUM_VOTES_STEPS if votes + step > 0)})
    numbers = [*NUMBERS_OF_GROUPS, procedure.number_of_groups]
    tried: list[tuple[str, str, World]] = []
    tried += [("minimum_votes", str(value), replace(on_record, minimum_votes=value)) for value in minima]

    def vary(decision: str, field: str, values: list[Any]) -> None:
        for value in dict.fromkeys(values):
            shown = "auto" if value is None else str(value)
            world = replace(on_record, procedure=replace(procedure, **{field: value}))
            tried.append((decision, shown, world))

    vary("procedure", "name", list(get_args(ProcedureName)))
    vary("imputation", "imputation", list(get_args(Imputation)))
    vary("number_of_groups", "number_of_groups", numbers)
    vary("smoothing", "smoothing", list(get_args(Smoothing)))
    vary("aggregation", "aggregation", list(get_args(Aggregation)))
    tried += [(name, value, replace(on_record, cut=other)) for name, value, other in _cuts(cut, has_ideas)]
    vary("seed", "seed", [procedure.seed + step for step in range(FURTHER_SEEDS + 1)])
    return tried


def _cuts(cut: Cut, has_ideas: bool) -> list[tuple[str, str, Cut]]:
    cuts: list[tuple[str, str, Cut]] = []
    if has_ideas:
        cuts += [
            ("selection_rule", "threshold", replace(cut, rule="threshold")),
            ("selection_rule", "ideas", replace(cut, rule="ideas")),
        ]
    if cut.rule == "threshold":
        moved = {round(cut.threshold + step, 6) for step in THRESHOLD_STEPS} | {cut.threshold}
        values = sorted(value for value in moved if 0 <= value <= 1)
        return cuts + [("gac_threshold", f"{value:g}", replace(cut, threshold=value)) for value in values]
    budgets = {max(1, round(cut.idea_budget * (1 + step))) for step in BUDGET_STEPS} | {cut.idea_budget}
    return cuts + [("idea_budget", str(value), replace(cut, idea_budget=value)) for value in sorted(budgets)]


def _selector(
    raw_votes: pl.DataFrame,
    raw_participants: pl.DataFrame,
    statements: pl.DataFrame,
    excluded: Mapping[int, str],
    ideas: Mapping[int, Ideas],
) -> Callable[[World], _Outcome]:
    """A function that selects under any world; what worlds have in common is computed once."""
    matrices: dict[tuple[int, int | None], VoteMatrix] = {}
    labels: dict[tuple[int, Procedure], np.ndarray] = {}

    def select(world: World) -> _Outcome:
        polis = raw_votes["statement_id"].n_unique() if world.procedure.name == "polis" else None
        kept_by = world.minimum_votes, polis
        if kept_by not in matrices:
            people = clean_participants(raw_participants, excluded, world.minimum_votes, "", polis)
            votes = clean_votes(raw_votes, statements, people)
            kept = people.filter("kept")["participant_id"]
            matrix = vote_matrix(votes, kept, statements["statement_id"])
            matrices[kept_by] = in_context(matrix, raw_votes, people)
        matrix = matrices[kept_by]
        if not len(matrix.participant_ids):
            return _Outcome(0, frozenset())
        grouping = replace(world.procedure, smoothing="none", aggregation="product")
        key = (world.minimum_votes, grouping)
        if key not in labels:
            labels[key] = group_participants(matrix, grouping).labels
        counts = group_counts(matrix, labels[key])
        gac = group_aware_consensus(counts.agree, counts.votes, world.procedure)
        chosen = reaches_cut(matrix.statement_ids.tolist(), ideas, world.cut)(gac)
        return _Outcome(len(counts.agree), frozenset(matrix.statement_ids[chosen].tolist()))

    return select
