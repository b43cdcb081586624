"""Whether votes have more structure than chance would show, and how groups agree with those of Polis.

The test compares the votes with votes shuffled within each statement among those who cast them. A shuffle keeps who
voted on what and how often each statement was agreed with, disagreed with and passed; it takes away that people who
vote alike on one statement vote alike on another, which is all that opinion groups can be made of. So any grouping of
shuffled votes is the work of chance, of who saw what, and of how many votes people cast.

Belongs here: the test, what follows from it for the groups, and the comparison with groups from elsewhere. Doesn't
belong here: how groups are found (`groups`), how far they move when other people take part (`stability`).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial
from typing import Literal

import numpy as np
import polars as pl

from ccai_dagster.contracts import GROUP_STRUCTURE
from ccai_dagster.core.draws import generator
from ccai_dagster.core.errors import Progress, silent
from ccai_dagster.core.language import gettext, ngettext, number
from ccai_dagster.deliberation.drawing import Drawing, one_thread
from ccai_dagster.deliberation.groups import group_participants
from ccai_dagster.deliberation.importing.polis_report import GROUPS_IN_EXPORT
from ccai_dagster.deliberation.k_means import condensed, distinct_points
from ccai_dagster.deliberation.opinion_map import Iteration, opinion_map
from ccai_dagster.deliberation.stability import adjusted_rand
from ccai_dagster.deliberation.votes import Procedure, VoteMatrix, group_name

WithoutStructure = Literal["one_group", "keep_groups"]
LEVEL = 0.05
"""A p value above this shows nothing that chance would not."""
VARIANCE, SILHOUETTE = "explained variance", "silhouette"
CELLS_SIDE = 10
"""The square of this is the number of base clusters of `paper`."""
ITERATION = Iteration(tolerance=0.05)
"""Of votes as cast and shuffled alike, so that p values hold whatever it is."""
UNTESTED = "nothing that can be tested, since only counts by group are there and no votes of people"
"""Stands where a verdict would."""
VERDICTS = {
    True: "more structure than chance would show (p = %(p_value)s)",
    False: "no more structure than chance would show (p = %(p_value)s)",
}
"""What the votes show, by whether there is a structure."""
ROUNDING = 1e-9
"""Statistics that differ by less count as equal, so that rounding never makes a difference look real."""


@one_thread()
def structure_test(
    matrix: VoteMatrix,
    procedure: Procedure,
    shuffles: int,
    seed: int,
    progress: Progress = silent,
    workers: int | None = None,
) -> pl.DataFrame:
    """Return the table `group_structure`: two statistics of the votes beside those of shuffled votes.

    *Explained variance*, the share of the variance that the two components of the opinion map explain, decides
    whether there is a structure: it asks whether votes on different statements go together at all. The *silhouette*
    of the groups asks more: whether people fall into separate groups, or are cut into groups along a line without
    gaps. It stands beside, because it cannot decide: silhouettes of shuffled votes are high where few votes lie far
    out, and those of people who differ by degree are no higher, however much they differ.

    p = (1 + shuffles with at least the statistic of the votes) / (1 + shuffles), which is at most 0.05 in at most one
    of twenty conversations without structure, whatever their size (Phipson and Smyth 2010).

    Args:
        procedure: Whose map and groups are tested, with as many groups as it finds or fixes. One group, which has no
            silhouette, is tested as if their number were open.
        shuffles: At least 19, without which p cannot reach 0.05.
        seed: Of the shuffles, each of which has random numbers of its own.
        workers: As for `Drawing`; the result does not depend on it.
    """
    tested = replace(procedure, number_of_groups=None) if procedure.number_of_groups == 1 else procedure
    found = _statistics(matrix, tested)
    shuffle = partial(_shuffled_statistics, matrix, ByStatement.of(matrix), tested, seed)
    with Drawing(len(matrix.vote), shuffles, progress, workers) as drawing:
        drawn = np.array(drawing.each(shuffle, shuffles, "shuffling votes and grouping them"))
    at_least = (drawn >= found - ROUNDING).sum(axis=0)
    return GROUP_STRUCTURE.build(
        [
            {
                "statistic": name,
                "value": float(found[place]),
                "shuffled_mean": float(drawn[:, place].mean()),
                "shuffled_high": float(np.quantile(drawn[:, place], 1 - LEVEL)),
                "n_shuffles": shuffles,
                "p_value": float((1 + at_least[place]) / (1 + shuffles)),
                "decides": name == VARIANCE,
            }
            for place, name in enumerate((VARIANCE, SILHOUETTE))
        ]
    )


def _statistics(matrix: VoteMatrix, procedure: Procedure) -> np.ndarray:
    start = None
    if procedure.name == "paper":
        # Base clusters from cells of equal weight: ten random starts a shuffle would take minutes.
        positions = opinion_map(matrix, procedure).positions
        points, weights, _ = distinct_points(positions, np.ones(len(positions)))
        start = condensed(points, weights, CELLS_SIDE)[0]
    grouping = group_participants(matrix, procedure, start=start, iteration=ITERATION)
    found = sum(grouping.map.explained_variance), max(grouping.silhouettes.values(), default=0.0)
    # Votes on one line are explained whole, and a sum of rounded shares may then be a hair above 1.
    return np.clip(found, (0.0, -1.0), 1.0)


def _shuffled_statistics(
    matrix: VoteMatrix, placed: ByStatement, procedure: Procedure, seed: int, number: int
) -> np.ndarray:
    return _statistics(shuffled_votes(matrix, placed, seed, number), procedure)


@dataclass(frozen=True)
class ByStatement:
    """Votes by statement, with those of people who cast too few to count: they voted too.

    Attributes:
        votes: Shape (votes,), int8.
        place: Shape (votes,), of each among those of the matrix, behind which the others stand.
        ends: Where each statement ends.
    """

    votes: np.ndarray
    place: np.ndarray
    ends: list[int]

    @classmethod
    def of(cls, matrix: VoteMatrix) -> ByStatement:
        """Sort the votes of a matrix."""
        few = matrix.below_minimum
        columns = matrix.column if few is None else np.concatenate([matrix.column, few.column])
        votes = matrix.vote if few is None else np.concatenate([matrix.vote, few.vote])
        place = np.argsort(columns, kind="stable")
        return cls(votes[place], place, np.cumsum(np.bincount(columns, minlength=matrix.shape[1])).tolist())


def shuffled_votes(matrix: VoteMatrix, placed: ByStatement, seed: int, number: int) -> VoteMatrix:
    """Return the matrix with the votes on each statement dealt out anew among those who cast them.

    Args:
        placed: The same votes.
        number: Of the shuffle; how many there are does not matter.
    """
    dealt, drawn = placed.votes.copy(), generator(seed, "shuffle", number)
    for first, last in zip([0, *placed.ends], placed.ends, strict=False):
        drawn.shuffle(dealt[first:last])
    again = np.empty_like(dealt)
    again[placed.place] = dealt
    few, own = matrix.below_minimum, len(matrix.vote)
    others = None if few is None else replace(few, vote=again[own:])
    return replace(matrix, vote=again[:own], below_minimum=others)


def has_structure(group_structure: pl.DataFrame) -> bool:
    """Return whether the votes show more structure than chance would; not where it could not be tested."""
    return group_structure.height > 0 and bool(group_structure.filter("decides")["p_value"].item() <= LEVEL)


def procedure_for(
    procedure: Procedure, group_structure: pl.DataFrame, without_structure: WithoutStructure
) -> Procedure:
    """Return the procedure that groups people: with one group if the votes show no structure and that is decided.

    Args:
        without_structure: `one_group` holds whatever number of groups is fixed.
    """
    together = without_structure == "one_group" and group_structure.height > 0 and not has_structure(group_structure)
    return replace(procedure, number_of_groups=1) if together else procedure


def verdict(group_structure: pl.DataFrame) -> str:
    """Say in a few words whether there is a structure, to be put behind `the votes show`."""
    told, p_value = structure_told(group_structure)
    return gettext(told, p_value="" if p_value is None else number(p_value, 3))


def structure_told(group_structure: pl.DataFrame) -> tuple[str, float | None]:
    """Return one of VERDICTS and the p-value that stands in it; `UNTESTED` and None where there is none."""
    if group_structure.is_empty():
        return UNTESTED, None
    p_value = float(group_structure.filter("decides")["p_value"].item())
    return VERDICTS[has_structure(group_structure)], p_value


def separation(group_structure: pl.DataFrame) -> str:
    """Say whether the groups are separate or cut people who differ by degree, as a sentence without its full stop."""
    if group_structure.is_empty():
        return gettext(UNTESTED)
    row = group_structure.filter(pl.col("statistic") == SILHOUETTE).row(0, named=True)
    told = gettext(
        "silhouette %(value)s against %(chance)s by chance, p = %(p_value)s",
        value=number(row["value"], 2),
        chance=number(row["shuffled_mean"], 2),
        p_value=number(row["p_value"], 3),
    )
    if row["p_value"] <= LEVEL:
        return gettext("the groups are more separate than chance would make them (%(told)s)", told=told)
    return gettext(
        "the groups are no more separate than chance would make them: people differ by degree (%(told)s)", told=told
    )


@dataclass(frozen=True)
class PolisAgreement:
    """How groups agree with those that Polis assigned.

    Attributes:
        adjusted_rand: 1 the same, 0 as by chance.
        people: Participants who have both.
        cross_table: `group` by name, then one column of counts for each group of Polis, by its id.
    """

    adjusted_rand: float
    people: int
    cross_table: pl.DataFrame


def agreement_with_polis(opinion_groups: pl.DataFrame, participants: pl.DataFrame) -> PolisAgreement | None:
    """Compare the groups with those of the export, over the people who are in both; None if there are none.

    Args:
        opinion_groups: OPINION_GROUPS.
        participants: PARTICIPANTS.
    """
    polis = participants.select("participant_id", "polis_group").drop_nulls()
    both = opinion_groups.join(polis, on="participant_id", validate="1:1")
    if both.is_empty():
        return None
    names = [str(group) for group in both["polis_group"].unique().sort()]
    table = (
        both.with_columns(pl.col("polis_group").cast(pl.String))
        .pivot("polis_group", index="group_id", values="participant_id", aggregate_function="len")
        .sort("group_id")
        .with_columns(pl.col(names).fill_null(0).cast(pl.Int64))
    )
    group = table["group_id"].map_elements(group_name, return_dtype=pl.String)
    # Ids of Polis are any numbers.
    index = adjusted_rand(both["group_id"].to_numpy(), (both["polis_group"].rank("dense") - 1).to_numpy())
    return PolisAgreement(index, both.height, table.select(names).insert_column(0, group.alias("group")))


def agreement_told(agreement: PolisAgreement, import_report: pl.DataFrame) -> str:
    """Say how the groups agree with those of the export, and whether those can be believed.

    Args:
        import_report: IMPORT_REPORT, which tells if the groups of the export may be wrong.
    """
    told = ngettext(
        "adjusted Rand index %(index)s to the groups that Polis assigned, over %(count)s person "
        "(1 the same, 0 as by chance)",
        "adjusted Rand index %(index)s to the groups that Polis assigned, over %(count)s people "
        "(1 the same, 0 as by chance)",
        agreement.people,
        index=number(agreement.adjusted_rand, 2),
    )
    doubted = import_report.filter((pl.col("item") == GROUPS_IN_EXPORT) & (pl.col("kind") == "unknown"))
    if doubted.is_empty():
        return told
    return gettext("%(told)s; these may be wrong: %(why)s", told=told, why=doubted["explanation"].item())
