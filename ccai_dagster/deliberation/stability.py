"""How sure groups and scores are: participants drawn anew and grouped again, and other seeds for the same votes.

The draws are those of the Bayesian bootstrap (Rubin 1981, The Annals of Statistics 9(1)): every participant
gets an independent weight from the exponential distribution with mean 1 in place of a whole number of copies.
With weights w and a fixed group, the weighted share of agreement with A of n votes is then distributed as
Beta(A, n - A), which no longer moves once a group is unanimous. So every group also gets two imaginary
participants, one who agrees with everything and one who disagrees with everything, whose weights have the gamma
distributions that turn this into Beta(A + a, n - A + b - a): the posterior of the group's share under the very
prior whose mean the smoothing on record reports, (A + a) / (n + b). A group that cast no vote then has the prior's
share, which is as wide as it should be. Where nothing is smoothed, Jeffreys' a = 1/2, b = 1 takes its place, whose
intervals keep their level for small n as well (Brown, Cai and DasGupta 2001, Statistical Science 16(2)).

Intervals are put beside the scores of statements and principles; nothing is selected or worded by them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
import polars as pl
import polars.selectors as cs

from ccai_dagster.contracts import GROUP_STABILITY
from ccai_dagster.core.draws import generator
from ccai_dagster.core.errors import Progress, silent
from ccai_dagster.deliberation.consensus import (
    SMOOTHING,
    GroupCounts,
    group_aware_consensus,
    group_counts,
    least_participation,
    weighed_by_importance,
)
from ccai_dagster.deliberation.drawing import Drawing, one_thread
from ccai_dagster.deliberation.groups import base_clusters, group_participants
from ccai_dagster.deliberation.k_means import by_place
from ccai_dagster.deliberation.opinion_map import Iteration, opinion_map
from ccai_dagster.deliberation.votes import Procedure, VoteMatrix

INTERVAL = (0.05, 0.95)
"""Ends of the 90 % interval: quantiles of the draws."""
SEEDS = 20
"""Further k-means seeds that the same votes are grouped with."""
FEW_VOTES = 20
"""A group with fewer votes on a statement is thin evidence.

With two groups and a cut near 0.72, each group must agree by 85 %. From fewer than 18 votes not even a unanimous
group shows that much: under a uniform prior the lower end of its 90 % interval is 0.05 ** (1 / (votes + 1)).
Twenty is also the least that the summaries of Polis conversations by Jigsaw's sensemaking tools accept.
"""
TOLERANCE = 1e-6
"""Relative error of the opinion map of a large consultation, in a draw."""
ENDS = ("gac_low", "gac_high")

ReachesCut = Callable[[np.ndarray, np.ndarray, np.ndarray], np.ndarray]
"""From consensus on agreement, on rejection, and the smallest share of a group that voted, whether each is selected."""


@dataclass(frozen=True)
class Stability:
    """What drawing anew showed.

    Attributes:
        statements: CONSENSUS_STABILITY.
        groups: GROUP_STABILITY.
    """

    statements: pl.DataFrame
    groups: pl.DataFrame


@one_thread()
def consensus_stability(
    matrix: VoteMatrix,
    opinion_groups: pl.DataFrame,
    procedure: Procedure,
    reaches_cut: ReachesCut,
    bootstraps: int,
    seed: int,
    progress: Progress = silent,
    workers: int | None = None,
) -> Stability:
    """Group participants again and again, and measure how far groups and scores move.

    Two things are varied, each alone. *Participants*: everybody gets a random weight (`participant_weights`);
    opinion map, number of groups and groups are computed anew; under `paper`, base clusters start from those of the
    votes as cast. *Seed*: the votes as cast, with other seeds of k-means, which change nothing where groups are found
    without chance. Groups are compared with those on record by the adjusted Rand index (Hubert and Arabie 1985) over
    all participants. To see how much of an interval comes from the groups, the same draws are scored with the groups
    on record as well.

    Args:
        opinion_groups: Of the same participants, in any order: the groups on record.
        reaches_cut: Which statements would be selected; all arrays are of shape (statements,).
        bootstraps: Draws of participants, each of which has random numbers of its own.
        workers: As for `Drawing`; the result does not depend on it.

    Returns:
        Per statement, the interval and the share of draws in which it reaches the cut; per grouping, how many
        groups it has and how like those on record they are. A statement without a score has no interval.

    Raises:
        ValueError: `opinion_groups` and `matrix` are not about the same participants.
    """
    labels, positions = on_record(matrix, opinion_groups)
    counts = group_counts(matrix, labels)
    gac, against = both_sides(weighed_by_importance(counts, matrix, labels, procedure), procedure)
    recorded = _Recorded(
        matrix,
        labels,
        by_place(np.round(positions, 9)),
        procedure,
        _start(positions, procedure),
        Iteration(TOLERANCE, opinion_map(matrix, procedure).components),
    )
    further = SEEDS if procedure.name == "paper" else 1  # the others have no use for a seed
    with Drawing(len(matrix.vote), bootstraps + further, progress, workers) as drawing:
        drawn = drawing.each(
            partial(_redrawn, recorded, seed), bootstraps, "drawing participants and grouping them again"
        )
        reseeded = drawing.each(partial(_reseeded, recorded), further, "grouping with other seeds")
    reseeded *= SEEDS // further
    # Without a score on record there is nothing to be sure of, and nothing that could be selected.
    unscored = np.isnan(gac)
    for each in (*drawn, *reseeded[:further]):
        each.scores[:, unscored] = np.nan

    def selected(draws: list[_Draw]) -> np.ndarray:
        reached = [reaches_cut(each.scores[0], each.scores[1], each.participation) for each in draws]
        return np.asarray(np.mean(reached, axis=0))

    regrouped, rejected, kept = (np.array([each.scores[row] for each in drawn]) for row in range(3))
    seeded = np.array([each.scores[0] for each in reseeded])
    rows = [
        {"varied": varied, "draw": number, "n_groups": each.n_groups, "adjusted_rand": each.adjusted_rand}
        for varied, draws in (("participants", drawn), ("seed", reseeded))
        for number, each in enumerate(draws, start=1)
    ]
    smallest = counts.fewest
    statements = pl.DataFrame(
        {
            "statement_id": matrix.statement_ids.astype(np.int64),
            "gac": gac,
            **_interval(regrouped, "gac_low", "gac_high"),
            "gac_disagree": np.where(unscored, np.nan, against),
            **_interval(rejected, "gac_disagree_low", "gac_disagree_high"),
            **_interval(kept, "gac_low_same_groups", "gac_high_same_groups"),
            # Under another seed a group may lack votes on a statement; that seed then says nothing about it.
            "gac_low_seeds": np.fmin.reduce(seeded),
            "gac_high_seeds": np.fmax.reduce(seeded),
            "selection_probability": selected(drawn),
            "selection_share_seeds": selected(reseeded),
            "smallest_group_votes": smallest,
            "few_votes": smallest < FEW_VOTES,
        }
    )
    named = statements.with_columns(cs.starts_with("gac").fill_nan(None))
    return Stability(named, GROUP_STABILITY.build(rows))


@dataclass(frozen=True)
class _Recorded:
    """What every draw begins with: the votes as cast and the groups on record, and what `group_participants` takes."""

    matrix: VoteMatrix
    labels: np.ndarray
    order: np.ndarray
    procedure: Procedure
    start: np.ndarray | None
    iteration: Iteration


@dataclass(frozen=True)
class _Draw:
    """What one draw gives.

    Attributes:
        scores: Consensus on agreement and on rejection in the new groups, and, where participants were drawn, on
            agreement in those on record: shape (2 or 3, statements).
        participation: `least_participation`, shape (statements,).
        n_groups: How many there are.
        adjusted_rand: How like those on record they are.
    """

    scores: np.ndarray
    participation: np.ndarray
    n_groups: int
    adjusted_rand: float


def _redrawn(recorded: _Recorded, seed: int, number: int) -> _Draw:
    matrix, labels, procedure = recorded.matrix, recorded.labels, recorded.procedure
    drawn = generator(seed, "redraw", number)
    weights = participant_weights(recorded.order, drawn)
    again = group_participants(matrix, procedure, weights, recorded.start, recorded.iteration).labels
    counts = group_counts(matrix, again, weights)
    both = drawn_consensus(weighed_by_importance(counts, matrix, again, procedure, weights), procedure, drawn)
    same = weighed_by_importance(group_counts(matrix, labels, weights), matrix, labels, procedure, weights)
    scores = np.array([*both, drawn_consensus(same, procedure, drawn)[0]])
    return _compared(scores, counts, np.bincount(again, weights, len(counts.votes)), labels, again)


def _reseeded(recorded: _Recorded, number: int) -> _Draw:
    matrix, procedure = recorded.matrix, recorded.procedure
    again = group_participants(matrix, replace(procedure, seed=procedure.seed + number + 1)).labels
    counts = group_counts(matrix, again)
    scores = np.array(both_sides(weighed_by_importance(counts, matrix, again, procedure), procedure))
    return _compared(scores, counts, np.bincount(again), recorded.labels, again)


def participant_weights(order: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    """Draw how much each participant counts.

    Weights are dealt out by place on the opinion map, so that neither the ids nor the order of participants
    matter; people at the same place voted alike.

    Args:
        order: Shape (participants,), by place (`k_means.by_place`).

    Returns:
        Shape (participants,), positive, with mean 1 on average.
    """
    weights = np.empty(len(order))
    weights[order] = generator.exponential(size=len(order))
    return weights


def both_sides(counts: GroupCounts, procedure: Procedure) -> tuple[np.ndarray, np.ndarray]:
    """Return the consensus on agreement and on rejection, each of shape (statements,)."""
    return (
        group_aware_consensus(counts.agree, counts.votes, procedure, counts.disagree),
        group_aware_consensus(counts.disagree, counts.votes, procedure, counts.agree),
    )


def drawn_consensus(
    counts: GroupCounts, procedure: Procedure, generator: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Return the group-aware consensus of every statement in one draw, on agreement and on rejection.

    Args:
        counts: Weighted votes, from weights as `participant_weights` draws them.
        procedure: Smoothing, which gives the weight of the imaginary participants, and aggregation.

    Returns:
        Shape (statements,) each, in [0, 1], never NaN.
    """
    agreeing, all_votes = SMOOTHING["jeffreys" if procedure.smoothing == "none" else procedure.smoothing]
    groups = (len(counts.votes), 1)
    # One pair a group and not one a statement: imaginary participants vote on everything, as real ones might.
    agree = generator.gamma(agreeing, size=groups)
    other = generator.gamma(all_votes - agreeing, size=groups)
    drawn = GroupCounts(counts.agree + agree, counts.disagree + other, counts.votes + agree + other)
    return both_sides(drawn, replace(procedure, smoothing="none"))


def _interval(draws: np.ndarray, low: str, high: str) -> dict[str, np.ndarray]:
    """The 90 % interval of each column of draws; NaN where there are none."""
    ends = np.full((2, draws.shape[1]), np.nan)
    scored = ~np.isnan(draws[0])
    ends[:, scored] = np.quantile(draws[:, scored], INTERVAL, axis=0)
    return {low: ends[0], high: ends[1]}


def _compared(
    scores: np.ndarray, counts: GroupCounts, sizes: np.ndarray, labels: np.ndarray, again: np.ndarray
) -> _Draw:
    return _Draw(scores, least_participation(counts.votes, sizes), len(np.unique(again)), adjusted_rand(labels, again))


def adjusted_rand(one: np.ndarray, other: np.ndarray) -> float:
    """Return the adjusted Rand index of two groupings (Hubert and Arabie 1985): 1 the same, 0 as by chance.

    scikit-learn has it, too, and takes several times as long for checks and for labels of any kind.

    Args:
        one: Shape (participants,), group of each, from 0.
        other: Likewise.
    """
    width = int(other.max(initial=0)) + 1
    table = np.bincount(one * width + other, minlength=(int(one.max(initial=0)) + 1) * width).reshape(-1, width)

    def pairs(sizes: np.ndarray) -> float:
        return float((sizes * (sizes - 1) // 2).sum())

    both, rows, columns, everybody = (
        pairs(each) for each in (table, table.sum(axis=1), table.sum(axis=0), np.array([len(one)]))
    )
    if both == rows == columns:
        return 1.0
    by_chance = rows * columns / everybody
    return (both - by_chance) / ((rows + columns) / 2 - by_chance)


def on_record(matrix: VoteMatrix, opinion_groups: pl.DataFrame) -> tuple[np.ndarray, np.ndarray]:
    """Groups and positions in the order of the matrix, joined by id."""
    if set(opinion_groups["participant_id"]) != set(matrix.participant_ids.tolist()):
        raise ValueError("opinion groups and votes are not about the same participants")
    order = pl.DataFrame({"participant_id": matrix.participant_ids}, schema={"participant_id": pl.Int64})
    placed = order.join(opinion_groups, on="participant_id", how="left", validate="1:1", maintain_order="left")
    return placed["group_id"].to_numpy(), placed.select("x", "y").to_numpy()


def _start(positions: np.ndarray, procedure: Procedure) -> np.ndarray | None:
    """Base clusters of the votes as cast, for the one procedure that otherwise searches for them at random."""
    if procedure.name != "paper":
        return None
    _, centres, _ = base_clusters(positions, np.ones(len(positions)), procedure.seed)
    return centres if len(centres) > 1 else None


def statement_intervals(table: pl.DataFrame, consensus_stability: pl.DataFrame) -> pl.DataFrame:
    """Add `gac_low` and `gac_high`, the 90 % interval, behind the column `gac`.

    Args:
        table: Has `statement_id`, each once, and `gac`; with a column `side`, the score is that of this side.

    Returns:
        The rows in their order; both null where a statement has no interval.
    """
    ends = _by_side(consensus_stability).drop("gac")
    if "side" not in table.columns:
        joined = table.join(
            ends.filter(side="agree").drop("side"), on="statement_id", how="left", maintain_order="left"
        )
    else:
        joined = table.join(ends, on=["statement_id", "side"], how="left", validate="1:1", maintain_order="left")
    return _behind_gac(joined)


def _by_side(consensus_stability: pl.DataFrame) -> pl.DataFrame:
    """`statement_id`, `side`, `gac`, `gac_low`, `gac_high`: the scores of agreement, then those of rejection."""
    names = {f"gac{rest}": f"gac_disagree{rest}" for rest in ("", "_low", "_high")}
    key = pl.col("statement_id")
    return pl.concat(
        [
            consensus_stability.select(key, *names, side=pl.lit("agree")),
            consensus_stability.select(
                key, *(pl.col(own).alias(name) for name, own in names.items()), side=pl.lit("disagree")
            ),
        ]
    )


def principle_intervals(constitution: pl.DataFrame, consensus_stability: pl.DataFrame) -> pl.DataFrame:
    """Add `gac_low` and `gac_high` behind the score of each principle.

    The score of a principle is the highest among its statements, on its side, so it has that statement's interval; of
    two statements with the same score, the one with the lower id.

    Returns:
        The rows in their order; both null where no statement of a principle has an interval.
    """
    sources = constitution.select(
        "principle_id", pl.col("side").fill_null("agree"), statement_id="statement_ids"
    ).explode("statement_id")
    highest = (
        sources.join(_by_side(consensus_stability), on=["statement_id", "side"])
        .filter(pl.col("gac").is_not_null())
        .sort("gac", "statement_id", descending=[True, False])
        .unique("principle_id", keep="first", maintain_order=True)
        .select("principle_id", *ENDS)
    )
    return _behind_gac(constitution.join(highest, on="principle_id", how="left", maintain_order="left"))


def around_the_cut(
    selected_statements: pl.DataFrame, consensus_stability: pl.DataFrame, reach: int = 5
) -> pl.DataFrame:
    """Return the last statements that reach the cut and the first that don't, with how sure that is.

    Args:
        reach: Statements on each side.
    """
    ranked = selected_statements.sort("rank")
    near = pl.concat([ranked.filter("selected").tail(reach), ranked.filter(~pl.col("selected")).head(reach)])
    share = consensus_stability.select("statement_id", "selection_probability")
    return (
        statement_intervals(near, consensus_stability)
        .join(share, on="statement_id", how="left", maintain_order="left")
        .select("rank", "statement_id", "selected", "gac", *ENDS, "selection_probability", "text")
    )


def _behind_gac(table: pl.DataFrame) -> pl.DataFrame:
    others = [name for name in table.columns if name not in ENDS]
    place = others.index("gac") + 1
    return table.select(*others[:place], *ENDS, *others[place:])
