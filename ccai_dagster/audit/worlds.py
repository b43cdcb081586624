"""Worlds: the ways in which all numeric decisions could have been taken.

Belongs here: which alternatives of a decision are tried, and which combinations of them. Doesn't belong here:
what would follow from them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from itertools import product
from typing import Any, get_args

import numpy as np

from ccai_dagster.consultation import ModerationMode
from ccai_dagster.decisions.settled_values import Cut, Thresholds
from ccai_dagster.deliberation.procedure import Aggregation, Imputation, Procedure, ProcedureName, Smoothing

MINIMUM_VOTES_STEPS = (-10, -5, 5, 10)
NUMBERS_OF_GROUPS: tuple[int | None, ...] = (None, 2, 3, 4, 5)
THRESHOLD_STEPS = (-0.05, -0.02, 0.02, 0.05)
BUDGET_STEPS = (-0.2, -0.1, 0.1, 0.2)
"""Shares of the idea budget."""
FURTHER_SEEDS = 3

SCORING = ("smoothing", "aggregation", "selection")
"""Decisions that are taken after the groups are known, so that trying them costs next to nothing."""


@dataclass(frozen=True)
class World:
    """One way to have taken all numeric decisions; one field a decision.

    Attributes:
        moderation: Whether a statement nobody decided on is in (`lenient`) or out (`strict`).
        minimum_votes: Fewest votes for a participant to count.
        procedure: Name of the way groups are computed.
        imputation: What stands for a vote not cast.
        number_of_groups: A fixed number, or None where the data decide.
        smoothing: Of the share of each group that agrees.
        aggregation: Over groups.
        selection: The rule by which statements are selected, and where it draws the line.
        seed: Of k-means, where the procedure has a use for it.
    """

    moderation: ModerationMode
    minimum_votes: int
    procedure: ProcedureName
    imputation: Imputation
    number_of_groups: int | None
    smoothing: Smoothing
    aggregation: Aggregation
    selection: Cut
    seed: int

    @property
    def method(self) -> Procedure:
        """How groups and consensus are computed in this world."""
        return Procedure(
            name=self.procedure,
            imputation=self.imputation,
            number_of_groups=self.number_of_groups,
            smoothing=self.smoothing,
            aggregation=self.aggregation,
            seed=self.seed,
        )

    @property
    def way_to_group(self) -> tuple[object, ...]:
        """The decisions that the opinion groups depend on; worlds with equal ones share their groups."""
        return tuple(getattr(self, name) for name in GROUPING)

    def shown(self) -> dict[str, str]:
        """Every decision's value as people read it, as `auto`, `0.05` or `threshold 0.7`."""
        return {name: _shown(getattr(self, name)) for name in DECISIONS}


DECISIONS = tuple(each.name for each in fields(World))
"""The numeric decisions, in the order in which they take effect."""
GROUPING = tuple(name for name in DECISIONS if name not in SCORING)
"""Decisions that the opinion groups depend on."""


def world_on_record(settled: Thresholds, moderation: ModerationMode) -> World:
    """Return the decisions as they were taken."""
    return World(
        moderation=moderation,
        minimum_votes=settled.minimum_votes,
        procedure=settled.procedure.name,
        imputation=settled.procedure.imputation,
        number_of_groups=settled.procedure.number_of_groups,
        smoothing=settled.procedure.smoothing,
        aggregation=settled.procedure.aggregation,
        selection=settled.cut,
        seed=settled.procedure.seed,
    )


def levels(on_record: World, has_ideas: bool) -> dict[str, tuple[Any, ...]]:
    """Return the values of every decision that are tried, that on record first.

    Args:
        on_record: The decisions as they were taken.
        has_ideas: Whether ideas are on record, so that selecting by ideas can be tried.

    Returns:
        Values by decision, in the order of `DECISIONS`. The rule that is not in force is tried where the
        ledger draws its line; the one in force is moved up and down.
    """
    minimum = on_record.minimum_votes
    tried: dict[str, list[Any]] = {
        "moderation": list(get_args(ModerationMode)),
        "minimum_votes": sorted({0, *(minimum + step for step in MINIMUM_VOTES_STEPS if minimum + step > 0)}),
        "procedure": list(get_args(ProcedureName)),
        "imputation": list(get_args(Imputation)),
        "number_of_groups": list(NUMBERS_OF_GROUPS),
        "smoothing": list(get_args(Smoothing)),
        "aggregation": list(get_args(Aggregation)),
        "selection": _cuts(on_record.selection, has_ideas),
        "seed": [on_record.seed + step for step in range(1, FURTHER_SEEDS + 1)],
    }
    return {name: tuple(dict.fromkeys([getattr(on_record, name), *tried[name]])) for name in DECISIONS}


def single_changes(on_record: World, tried: Mapping[str, tuple[Any, ...]]) -> list[World]:
    """Return every world that differs from the record in one decision, in the order of the values tried."""
    return [
        replace(on_record, **{name: value})
        for name in DECISIONS
        for value in tried[name]
        if value != getattr(on_record, name)
    ]


def combinations(tried: Mapping[str, tuple[Any, ...]], ways_to_group: int, seed: int) -> list[World]:
    """Return worlds in which all decisions may differ at once.

    Each way to group people (a combination of the decisions in `GROUPING`) is crossed with all values of the
    others. There are as many ways to group as `ways_to_group`, drawn without replacement, each as likely as
    any other; all of them if there are no more.

    Args:
        tried: Values by decision.
        ways_to_group: How many ways to group are tried, 1 or more; grouping takes nearly all the time.
        seed: Of the draw.
    """
    ways = list(product(*(tried[name] for name in GROUPING)))
    if len(ways) > ways_to_group:
        drawn = np.random.default_rng(seed).choice(len(ways), ways_to_group, replace=False)
        ways = [ways[place] for place in sorted(drawn.tolist())]
    scored = list(product(*(tried[name] for name in SCORING)))
    return [
        World(**dict(zip(GROUPING, way, strict=True)), **dict(zip(SCORING, score, strict=True)))
        for way in ways
        for score in scored
    ]


def _cuts(cut: Cut, has_ideas: bool) -> list[Cut]:
    if cut.rule == "threshold":
        moved = [round(cut.threshold + step, 6) for step in THRESHOLD_STEPS]
        cuts = [replace(cut, threshold=value) for value in moved if 0 <= value <= 1]
    else:
        budgets = [max(1, round(cut.idea_budget * (1 + step))) for step in BUDGET_STEPS]
        cuts = [replace(cut, idea_budget=value) for value in budgets]
    if cut.rule == "ideas":
        return [*cuts, replace(cut, rule="threshold")]
    return [*cuts, replace(cut, rule="ideas")] if has_ideas else cuts


def _shown(value: Any) -> str:
    if value is None:
        return "auto"
    if isinstance(value, Cut):
        by_threshold = value.rule == "threshold"
        return f"threshold {value.threshold:g}" if by_threshold else f"ideas {value.idea_budget}"
    return str(value)
