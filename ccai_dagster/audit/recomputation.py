"""The selection computed again under alternatives, with the same code as for the values on record.

Belongs here: going from votes to selected statements under any alternative, sharing what alternatives have in
common. Doesn't belong here: which alternatives are tried, and what is said about them (`sensitivity`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import polars as pl

from ccai_dagster.audit.sensitivity import DECISIONS, Alternative
from ccai_dagster.constitution.selection import cut_scores, reaches_cut
from ccai_dagster.consultation.folder import ModerationMode
from ccai_dagster.contracts import DECISION_WORLDS, RAW_GROUP_VOTES
from ccai_dagster.core.errors import ConsultationError, Progress, silent
from ccai_dagster.decisions.outcomes import Ideas
from ccai_dagster.deliberation.consensus import (
    GroupCounts,
    GroupVotes,
    group_aware_consensus,
    group_counts,
    least_participation,
    weighed_by_importance,
)
from ccai_dagster.deliberation.drawing import one_thread
from ccai_dagster.deliberation.groups import group_participants
from ccai_dagster.deliberation.votes import (
    ModerationVerdict,
    Procedure,
    VoteMatrix,
    clean_participants,
    clean_statements,
    clean_votes,
    in_context,
    vote_matrix,
    with_importance,
)


@dataclass(frozen=True)
class SharedInputs:
    """What all alternatives have in common: what people did, and decisions on single statements and participants.

    Attributes:
        raw_statements: RAW_STATEMENTS.
        raw_participants: RAW_PARTICIPANTS.
        raw_votes: RAW_VOTES.
        moderation: What was decided, by statement id.
        excluded: Decision that excluded a participant, by participant id.
        ideas: Ideas by statement id.
        raw_group_votes: RAW_GROUP_VOTES; where it has rows, no decision changes the groups.
    """

    raw_statements: pl.DataFrame
    raw_participants: pl.DataFrame
    raw_votes: pl.DataFrame
    moderation: Mapping[int, ModerationVerdict]
    excluded: Mapping[int, str]
    ideas: Mapping[int, Ideas]
    raw_group_votes: pl.DataFrame = field(default_factory=RAW_GROUP_VOTES.empty)


@one_thread()
def decision_worlds(
    inputs: SharedInputs,
    on_record: Alternative,
    single: Sequence[Alternative],
    combined: Sequence[Alternative],
    progress: Progress = silent,
) -> pl.DataFrame:
    """Compute the selection in every alternative.

    Args:
        single: Alternatives that differ from it in one decision.
        combined: Alternatives in which any decision may differ.

    Returns:
        DECISION_WORLDS: the alternative on record is number 0, then `single` and what is new in `combined`, in the
        order given. An alternative in which nobody or nothing is left to group has no groups and selects nothing.
    """
    combination = set(combined)
    alternatives = list(dict.fromkeys([on_record, *single, *combined]))
    n_ways = len({alternative.way_to_group for alternative in alternatives})
    ways: dict[tuple[object, ...], int] = {}
    recomputation, before, rows = Recomputation(inputs), on_record.shown(), []
    for number, alternative in enumerate(alternatives):
        is_new = alternative.way_to_group not in ways
        way = ways.setdefault(alternative.way_to_group, len(ways))
        selected, shown = recomputation.selected(alternative), alternative.shown()
        rows.append(
            {
                "world_id": number,
                **shown,
                "changed": [name for name in DECISIONS if shown[name] != before[name]],
                "combination": alternative in combination,
                "grouping_id": way,
                "n_groups": recomputation.scored(alternative).n_groups,
                "n_selected": len(selected.ids),
                "statement_ids": sorted(selected.ids),
                "rejected_ids": sorted(selected.rejected),
            }
        )
        if is_new:
            progress("grouping people otherwise", len(ways), n_ways)
    return DECISION_WORLDS.build(rows)


def check_record(
    alternatives: pl.DataFrame, inputs: SharedInputs, on_record: Alternative, gac_scores: pl.DataFrame
) -> None:
    """Make sure that the alternative on record selects what was really selected.

    Args:
        gac_scores: GAC_SCORES as they were computed for the record.

    Raises:
        ConsultationError: It selects other statements, so that no comparison with it would mean anything.
    """
    scored = gac_scores.sort("statement_id")
    scores = [
        scored[name].cast(pl.Float64).fill_null(float("nan")).to_numpy()
        for name in ("gac", "gac_disagree", "least_participation")
    ]
    selected = reached(scored["statement_id"].to_list(), Scores(*scores), inputs.ideas, on_record).ids
    again = frozenset(alternatives.filter(pl.col("world_id") == 0)["statement_ids"].item())
    if different := sorted(selected ^ again):
        raise ConsultationError(
            "Computed again, the decisions on record give another selection than before; it differs in "
            f"statements {', '.join(map(str, different[:10]))}. The groups on record come from other software or "
            "from another machine: compute them here with `ccai run --select 'key:opinion_groups'`."
        )


class Recomputation:
    """Groups and selections of a consultation in any alternative; what alternatives have in common is computed once."""

    def __init__(self, inputs: SharedInputs) -> None:
        self.inputs = inputs
        self._voted_on = inputs.raw_votes["statement_id"].n_unique()
        self._matrices: dict[tuple[ModerationMode, int, bool], VoteMatrix] = {}
        self._scored: dict[tuple[object, ...], Scored] = {}

    def take_groups(self, alternative: Alternative, opinion_groups: pl.DataFrame) -> None:
        """Take the groups of an alternative from OPINION_GROUPS if they are of the same people; else they are found."""
        matrix = self._matrix(alternative)
        groups = dict(opinion_groups.select("participant_id", "group_id").iter_rows())
        people = matrix.participant_ids.tolist()
        if all(matrix.shape) and groups.keys() == set(people):
            labels = np.array([groups[each] for each in people], dtype=np.int64)
            self._scored[self._grouping(alternative)] = Scored(matrix, labels, group_counts(matrix, labels))

    def knows_groups(self, alternative: Alternative) -> bool:
        """Whether the groups of an alternative need not be found."""
        return self._grouping(alternative) in self._scored

    def _grouping(self, alternative: Alternative) -> tuple[object, ...]:
        """What groups depend on: alternatives in which the same people voted on the same statements have the same.

        Polis also sees whose votes and which statements are left out.
        """
        matrix = self._matrix(alternative)
        left_out = (alternative.moderation, alternative.minimum_votes) if alternative.procedure == "polis" else ()
        people, statements = matrix.participant_ids.tobytes(), matrix.statement_ids.tobytes()
        return people, statements, _grouping_method(alternative), left_out

    def scored(self, alternative: Alternative) -> Scored:
        """Return the votes by group in an alternative."""
        key = self._grouping(alternative)
        if key not in self._scored:
            matrix, method = self._matrix(alternative), _grouping_method(alternative)
            counts, labels = None, np.zeros(0, dtype=np.int64)
            if self.inputs.raw_group_votes.height:
                counts = counts_as_given(self.inputs, matrix)
            elif all(matrix.shape):
                labels = group_participants(matrix, method).labels
                counts = group_counts(matrix, labels)
            self._scored[key] = Scored(matrix, labels, counts)
        return self._scored[key]

    def selected(self, alternative: Alternative) -> Selection:
        """Return the statements that reach the cut in an alternative; none if nobody is left."""
        scored = self.scored(alternative)
        if scored.counts is None:
            return Selection(frozenset(), frozenset())
        return reached(
            scored.statement_ids, scores_of(scored, scored.counts, alternative), self.inputs.ideas, alternative
        )

    def _matrix(self, alternative: Alternative) -> VoteMatrix:
        polis = self._voted_on if alternative.procedure == "polis" else None
        key = (alternative.moderation, alternative.minimum_votes, polis is not None)
        if key not in self._matrices:
            given = self.inputs
            lenient = alternative.moderation == "lenient"
            statements = clean_statements(given.raw_statements, given.moderation, lenient)
            people = clean_participants(given.raw_participants, given.excluded, alternative.minimum_votes, "", polis)
            votes = clean_votes(given.raw_votes, statements, people)
            kept = people.filter("kept")["participant_id"]
            matrix = with_importance(vote_matrix(votes, kept, statements["statement_id"]), given.raw_votes)
            self._matrices[key] = matrix if polis is None else in_context(matrix, given.raw_votes, people)
        return self._matrices[key]


def counts_as_given(inputs: SharedInputs, matrix: VoteMatrix) -> GroupCounts:
    """Return the counts by group, where only these are known, on the statements of a matrix without people."""
    return GroupVotes.of_table(inputs.raw_group_votes, pl.Series(matrix.statement_ids)).counts


def _grouping_method(alternative: Alternative) -> Procedure:
    """The alternative's method without what groups do not depend on, so that it is the same wherever they are."""
    seed = alternative.seed if alternative.procedure == "paper" else 0
    return replace(alternative.method, smoothing="none", aggregation="product", seed=seed, importance_weight=1.0)


@dataclass(frozen=True)
class Scored:
    """Votes of each group on each statement in one alternative.

    Attributes:
        labels: Shape (participants,), group of each.
        counts: Of shape (groups, statements); None if there is nobody or nothing to group.
    """

    matrix: VoteMatrix
    labels: np.ndarray
    counts: GroupCounts | None

    @property
    def statement_ids(self) -> list[int]:
        """Ascending."""
        return list(self.matrix.statement_ids.tolist())

    @property
    def sizes(self) -> np.ndarray | None:
        """Shape (groups,), people in each group; None if there is nobody or nothing to group, or nobody tells."""
        return (
            None
            if self.counts is None or not len(self.labels)
            else np.bincount(self.labels, minlength=len(self.counts.votes))
        )

    @property
    def n_groups(self) -> int:
        """Number of opinion groups."""
        return 0 if self.counts is None else len(self.counts.votes)


@dataclass(frozen=True)
class Scores:
    """What a cut may look at, each of shape (statements,), NaN where there is nothing; see `selection.cut_scores`."""

    gac: np.ndarray
    gac_disagree: np.ndarray | None = None
    participation: np.ndarray | None = None

    def at(self, places: np.ndarray) -> Scores:
        """Return the scores of some of the statements."""
        further = (self.gac_disagree, self.participation)
        return Scores(self.gac[places], *(None if each is None else each[places] for each in further))


def scores_of(scored: Scored, counts: GroupCounts, alternative: Alternative) -> Scores:
    """Return the scores of all statements in an alternative, as far as its cut looks at them."""
    method, cut, sizes = alternative.method, alternative.selection, scored.sizes
    unknown = np.full(counts.votes.shape[1], np.nan)
    weighed = weighed_by_importance(counts, scored.matrix, scored.labels, method)
    return Scores(
        group_aware_consensus(weighed.agree, weighed.votes, method, weighed.disagree),
        group_aware_consensus(weighed.disagree, weighed.votes, method, weighed.agree) if cut.rejected else None,
        (unknown if sizes is None else least_participation(counts.votes, sizes)) if cut.participation else None,
    )


@dataclass(frozen=True)
class Selection:
    """The statements that reach the cut, and which of them since every group rejects them."""

    ids: frozenset[int]
    rejected: frozenset[int]

    def among(self, statements: frozenset[int]) -> Selection:
        """Return the selection of some statements only."""
        return Selection(self.ids & statements, self.rejected & statements)


def reached(
    statement_ids: Sequence[int], scores: Scores, ideas: Mapping[int, Ideas], alternative: Alternative
) -> Selection:
    """Return the statements that reach the cut.

    Args:
        statement_ids: In the order of the scores.
        alternative: Whose cut counts.
    """
    cut, each = alternative.selection, (scores.gac, scores.gac_disagree, scores.participation)
    chosen = reaches_cut(statement_ids, ideas, cut)(*each)
    ids, (_, rejected) = np.asarray(statement_ids), cut_scores(cut, *each)
    return Selection(frozenset(ids[chosen].tolist()), frozenset(ids[chosen & rejected].tolist()))
