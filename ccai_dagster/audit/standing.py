"""What stands on record, in the form in which single decisions can be supposed otherwise.

Belongs here: scores of all statements with the groups as they are, and what a selection and the wordings make
of them. Doesn't belong here: which decisions are reversed (`reversals`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl

from ccai_dagster.audit.recomputation import SharedInputs, reached
from ccai_dagster.audit.worlds import World
from ccai_dagster.decisions.wordings import wordings
from ccai_dagster.deliberation.consensus import group_aware_consensus, group_counts
from ccai_dagster.deliberation.vote_matrix import vote_matrix


@dataclass(frozen=True)
class Worded:
    """A decision on wording: the statements it is for, and whether they became a principle or were left out."""

    decision_id: str
    principle_id: str
    statement_ids: frozenset[int]
    is_principle: bool


@dataclass(frozen=True)
class Standing:
    """What a selection comes to.

    Attributes:
        principles: Those that are in.
        behind: Statements behind a principle that is in, or waiting for a wording.
        waiting: Statements that reach the cut and that nobody has worded or left out.
    """

    principles: frozenset[str]
    behind: frozenset[int]
    waiting: frozenset[int]


def standing(selected: frozenset[int], worded: Sequence[Worded]) -> Standing:
    """Return what a selection comes to under these wordings."""
    inside = [each for each in worded if each.is_principle and each.statement_ids & selected]
    waiting = selected.difference(*(each.statement_ids for each in worded))
    return Standing(
        frozenset(each.principle_id for each in inside),
        waiting.union(*(each.statement_ids for each in inside)),
        waiting,
    )


@dataclass(frozen=True)
class OnRecord:
    """The record, ready to be supposed otherwise.

    Attributes:
        inputs: Votes and decisions on single statements and participants.
        world: The numeric decisions.
        n_groups: Number of opinion groups.
        gac: Consensus by statement id, moderated out or not, with the groups as they are; NaN for none.
        smallest_group_votes: Votes of the group that voted least, by statement id.
        included: Statements that moderation let in.
        selected: Of those, the ones that reach the cut.
        worded: All decisions on wording that count.
        standing: What this comes to.
    """

    inputs: SharedInputs
    world: World
    n_groups: int
    gac: Mapping[int, float]
    smallest_group_votes: Mapping[int, int]
    included: frozenset[int]
    selected: frozenset[int]
    worded: tuple[Worded, ...]
    standing: Standing

    def select(self, included: frozenset[int], without_ideas: frozenset[int] = frozenset()) -> frozenset[int]:
        """Return which statements reach the cut if exactly these are in, with the groups as they are.

        Args:
            included: Statements that are in.
            without_ideas: Statements whose split into ideas is not used.
        """
        return _select(self.inputs, self.world, self.gac, included, without_ideas)


def on_record(
    inputs: SharedInputs, world: World, opinion_groups: pl.DataFrame, wording_ledger: pl.DataFrame
) -> OnRecord:
    """Score every statement with the groups as they are, and say what stands.

    Args:
        inputs: Votes and decisions on single statements and participants.
        world: The numeric decisions on record.
        opinion_groups: OPINION_GROUPS; only these people's votes count, as they do on record.
        wording_ledger: LEDGER of wordings.
    """
    people = opinion_groups.sort("participant_id")
    cast = inputs.raw_votes.join(people, on="participant_id", how="semi").join(
        inputs.raw_statements, on="statement_id", how="semi"
    )
    matrix = vote_matrix(cast, people["participant_id"], inputs.raw_statements["statement_id"])
    counts = group_counts(matrix, people["group_id"].to_numpy())
    scores = group_aware_consensus(counts.agree, counts.votes, world.method)
    ids = matrix.statement_ids.tolist()
    gac: dict[int, float] = dict(zip(ids, scores.tolist(), strict=True))
    lenient = world.moderation == "lenient"
    included = frozenset(
        each for each in ids
        if (inputs.moderation[each].included if each in inputs.moderation else lenient)
    )  # fmt: skip
    selected = _select(inputs, world, gac, included, frozenset())
    worded = tuple(
        Worded(each.decision_id, each.principle_id, frozenset(each.statement_ids), each.text is not None)
        for each in wordings(wording_ledger)
    )
    return OnRecord(
        inputs=inputs,
        world=world,
        n_groups=len(counts.votes),
        gac=gac,
        smallest_group_votes=dict(zip(ids, counts.votes.min(axis=0).astype(int).tolist(), strict=True)),
        included=included,
        selected=selected,
        worded=worded,
        standing=standing(selected, worded),
    )


def _select(
    inputs: SharedInputs,
    world: World,
    gac: Mapping[int, float],
    included: frozenset[int],
    without_ideas: frozenset[int],
) -> frozenset[int]:
    ids = sorted(included)
    ideas = {key: value for key, value in inputs.ideas.items() if key not in without_ideas}
    return reached(ids, np.array([gac[each] for each in ids]), ideas, world)
