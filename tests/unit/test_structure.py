"""Whether there are groups at all: the test against shuffled votes, groups that are too small, groups of Polis."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from polars.testing import assert_frame_equal
from sklearn.metrics import adjusted_rand_score
from small_report import group_structure

from ccai_dagster.constitution.principles import derive_constitution
from ccai_dagster.contracts import GROUP_STRUCTURE, IMPORT_REPORT, OPINION_GROUPS, SELECTED_STATEMENTS
from ccai_dagster.core.errors import ConsultationError
from ccai_dagster.decisions.group_checks import check_group_sizes, check_reachable, check_structure, unreachable
from ccai_dagster.decisions.values import Cut, Thresholds
from ccai_dagster.deliberation.consensus import highest_reachable
from ccai_dagster.deliberation.groups import dissolved, group_participants, opinion_groups
from ccai_dagster.deliberation.importing.polis_report import GROUPS_IN_EXPORT
from ccai_dagster.deliberation.importing.read_votes import read_votes
from ccai_dagster.deliberation.stability import consensus_stability
from ccai_dagster.deliberation.structure import (
    ByStatement,
    agreement_told,
    agreement_with_polis,
    has_structure,
    procedure_for,
    separation,
    shuffled_votes,
    structure_test,
    verdict,
)
from ccai_dagster.deliberation.votes import Aggregation, Procedure, ProcedureName, VoteMatrix, vote_matrix

DEFAULT = Procedure("default", "column_mean", None, "laplace", "product", 1)
NAMES: tuple[ProcedureName, ...] = ("default", "polis", "paper")


def laid_out(rows: np.ndarray) -> VoteMatrix:
    """A matrix of a dense array in which 9 stands for no vote."""
    row, column = np.nonzero(rows != 9)
    votes = pl.DataFrame({"participant_id": row, "statement_id": column, "vote": rows[row, column].astype(np.int8)})
    return vote_matrix(votes, pl.Series(range(rows.shape[0])), pl.Series(range(rows.shape[1])))


def camps(*sizes: int, noise: float = 0.1, statements: int = 12) -> np.ndarray:
    """Camps of which each is for its own share of the statements and against the rest, but for some noise."""
    own = np.arange(statements) % len(sizes) == np.arange(len(sizes))[:, None]
    rows = np.repeat(np.where(own, 1, -1), sizes, axis=0)
    flipped = np.random.default_rng(0).random(rows.shape) < noise
    return np.where(flipped, -rows, rows)


def independent(seed: int, people: int = 20, statements: int = 8) -> np.ndarray:
    """Votes that have nothing to do with one another, on statements of different popularity, with gaps."""
    generator = np.random.default_rng(seed)
    rows = np.where(generator.random((people, statements)) < generator.random(statements), 1, -1)
    return np.where(generator.random(rows.shape) < 0.3, 9, rows)


def in_groups(*sizes: int) -> pl.DataFrame:
    groups = np.repeat(np.arange(len(sizes)), sizes)
    return pl.DataFrame(
        {"participant_id": range(len(groups)), "group_id": groups, "x": 0.0, "y": 0.0}, schema=OPINION_GROUPS.dtypes
    )


@settings(max_examples=25)
@given(st.integers(0, 10_000))
def test_a_shuffle_keeps_who_voted_on_what_and_how_often_each_vote_was_cast(seed: int) -> None:
    matrix = replace(laid_out(independent(seed)), below_minimum=laid_out(independent(seed + 1, people=4)))
    for number in range(3):
        shuffled = shuffled_votes(matrix, ByStatement.of(matrix), seed, number)
        others, given_others = shuffled.below_minimum, matrix.below_minimum
        assert others is not None and given_others is not None
        assert (shuffled.row == matrix.row).all() and (shuffled.column == matrix.column).all()

        def counts(own: VoteMatrix, few: VoteMatrix) -> Counter[tuple[int, int]]:
            return Counter(zip(own.column.tolist(), own.vote.tolist(), strict=True)) + Counter(
                zip(few.column.tolist(), few.vote.tolist(), strict=True)
            )

        assert counts(shuffled, others) == counts(matrix, given_others)


@pytest.mark.parametrize("name", NAMES)
def test_two_camps_have_a_structure_under_every_procedure(name: ProcedureName) -> None:
    table = structure_test(laid_out(camps(15, 12)), replace(DEFAULT, name=name), 19, seed=2)

    assert not GROUP_STRUCTURE.violations(table).height
    assert table.filter("decides")["p_value"].item() == 0.05, "no shuffle reaches the votes as cast: 1 / 20"
    assert has_structure(table) and verdict(table) == "more structure than chance would show (p = 0.050)"
    separate = table.filter(~pl.col("decides"))["p_value"].item() <= 0.05
    assert separate == (name != "paper"), "loadings that are not scaled spread shuffled votes as well"
    assert separation(table).startswith(f"the groups are {'' if separate else 'no '}more separate than chance")


def test_p_values_count_the_shuffles_that_reach_the_votes() -> None:
    matrix = laid_out(independent(0))
    table = structure_test(matrix, DEFAULT, 19, seed=1)

    def statistics(own: VoteMatrix) -> tuple[float, float]:
        found = group_participants(own, DEFAULT)
        return sum(found.map.explained_variance), found.silhouettes[int(found.labels.max()) + 1]

    placed = ByStatement.of(matrix)
    drawn = np.array([statistics(shuffled_votes(matrix, placed, 1, number)) for number in range(19)])
    value = np.array(statistics(matrix))
    assert table["value"].to_numpy() == pytest.approx(value)
    assert table["p_value"].to_numpy() == pytest.approx((1 + (drawn >= value).sum(axis=0)) / 20)
    assert table["shuffled_mean"].to_numpy() == pytest.approx(drawn.mean(axis=0))


def test_votes_without_structure_are_hardly_ever_taken_for_one() -> None:
    two = replace(DEFAULT, number_of_groups=2)
    found = [has_structure(structure_test(laid_out(independent(seed)), two, 19, seed)) for seed in range(20)]
    assert sum(found) <= 3, "of twenty, one is expected"


@pytest.mark.parametrize(
    "rows", [np.ones((9, 4)), np.ones((1, 4)), np.full((3, 4), 9)], ids=["one mind", "one", "none"]
)
def test_where_votes_do_not_vary_there_is_no_structure(rows: np.ndarray) -> None:
    table = structure_test(laid_out(rows), DEFAULT, 19, seed=1)
    assert table["p_value"].to_list() == [1.0, 1.0] and not has_structure(table)


def test_without_structure_everybody_is_one_group_only_if_that_is_decided() -> None:
    fixed = replace(DEFAULT, number_of_groups=3)
    assert procedure_for(fixed, group_structure(0.06), "one_group").number_of_groups == 1
    assert procedure_for(fixed, group_structure(0.06), "keep_groups") == fixed
    assert procedure_for(fixed, group_structure(0.05), "one_group") == fixed


@pytest.mark.parametrize("name", NAMES)
def test_one_group_holds_everybody_and_keeps_the_map(name: ProcedureName) -> None:
    matrix, asked = laid_out(camps(9, 8)), replace(DEFAULT, name=name)
    together = group_participants(matrix, replace(asked, number_of_groups=1))
    assert not together.labels.any() and together.silhouettes == {}
    assert (together.map.positions == group_participants(matrix, asked).map.positions).all()
    assert structure_test(matrix, replace(asked, number_of_groups=1), 19, 1).equals(
        structure_test(matrix, asked, 19, 1)
    )


def test_small_clusters_are_dissolved_from_the_smallest_on() -> None:
    points = np.array([[0.0, 0.0], [10.0, 0.0], [14.0, 0.0], [21.0, 0.0]])
    weights, labels = np.array([6.0, 3.0, 2.0, 1.0]), np.arange(4)

    def groups(smallest: int) -> list[int]:
        return dissolved(points, weights, labels, points, smallest)[0].tolist()

    assert groups(1) == [0, 1, 2, 3]
    assert groups(2) == [0, 1, 2, 2], "the one at 21 joins those at 14"
    assert groups(4) == [0, 1, 1, 1], "then there are three at 14, who join those at 10, then six"
    assert groups(7) == [0, 0, 0, 0]


def test_drawn_weights_below_one_dissolve_nothing_while_one_person_makes_a_group() -> None:
    points = np.array([[0.0, 0.0], [9.0, 0.0]])
    assert dissolved(points, np.array([3.0, 0.2]), np.arange(2), points, 1)[0].tolist() == [0, 1]


@pytest.mark.parametrize("name", NAMES)
def test_no_group_is_smaller_than_decided(name: ProcedureName) -> None:
    rows = camps(14, 10, 3, noise=0.02)
    asked = replace(DEFAULT, name=name, number_of_groups=3)
    found = group_participants(laid_out(rows), asked).labels
    large = group_participants(laid_out(rows), replace(asked, smallest_group=5)).labels

    assert np.bincount(found)[2] == 3
    assert np.bincount(large).min() >= 5 and len(np.bincount(large)) == 2
    others = found != 2
    assert adjusted_rand_score(found[others], large[others]) == 1.0, "the others stay as they are"
    assert not group_participants(laid_out(rows), replace(asked, smallest_group=20)).labels.any()


@pytest.mark.parametrize(
    ("sizes", "aggregation", "expected"),
    [
        ((8,) * 5, "product", 0.9**5),
        ((13, 9, 7, 5, 4), "product", 14 / 15 * 10 / 11 * 8 / 9 * 6 / 7 * 5 / 6),
        ((13, 9, 7, 5, 4), "geometric_mean", (14 / 15 * 10 / 11 * 8 / 9 * 6 / 7 * 5 / 6) ** 0.2),
        ((3,), "product", 0.8),
    ],
)
def test_what_unanimity_can_reach(sizes: tuple[int, ...], aggregation: Aggregation, expected: float) -> None:
    assert highest_reachable(np.array(sizes), replace(DEFAULT, aggregation=aggregation)) == pytest.approx(expected)
    assert highest_reachable(np.array(sizes), replace(DEFAULT, smoothing="none")) == 1.0


def settled(threshold: float = 0.6, aggregation: Aggregation = "product", **changes: object) -> Thresholds:
    values = Thresholds(
        minimum_votes=7,
        procedure=replace(DEFAULT, aggregation=aggregation),
        without_structure="one_group",
        cut=Cut("threshold", threshold, 40),
        overlap_similarity=0.5,
        decision_ids={"gac_threshold": "T8"},
    )
    return replace(values, **changes)  # type: ignore[arg-type]


def test_a_cut_that_nothing_could_reach_is_told_with_everything_it_hangs_on() -> None:
    five = in_groups(13, 9, 7, 5, 4)
    (found,) = check_reachable(settled(), five)
    assert (found.severity, found.decision_id) == ("warning", "T8")
    told = (
        "with 5 groups by the procedure `default`, the aggregation `product` and the smoothing `laplace`, a statement "
        "that everybody agrees with has a consensus of 0.539, below gac_threshold 0.6"
    )
    assert told in found.message
    with pytest.raises(ConsultationError, match="'public' has no principle, and no votes could reach the cut: with 5"):
        derive_constitution("public", SELECTED_STATEMENTS.empty(), [], unreachable(settled(), five))

    assert not check_reachable(settled(0.538), five)
    assert not check_reachable(settled(0.775, "geometric_mean"), five)
    assert not check_reachable(settled(cut=Cut("ideas", 0.6, 40)), five)
    assert not check_reachable(settled(), in_groups())


def test_groups_too_small_to_tell_are_named() -> None:
    (found,) = check_group_sizes(in_groups(9, 5, 4, 3))
    assert found.severity == "warning" and found.message.startswith("Group C (4), Group D (3): of fewer than 5 people")
    assert not check_group_sizes(in_groups(9, 5)) and not check_group_sizes(in_groups(3))


def test_no_structure_is_a_warning_that_says_what_follows() -> None:
    (one,) = check_structure(group_structure(0.4), settled())
    (kept,) = check_structure(group_structure(0.4), settled(without_structure="keep_groups"))
    for found in (one, kept):
        assert found.severity == "warning" and "no more structure than chance would show (p = 0.400)" in found.message
    assert "everybody is one group" in one.message and "Decide on `without_structure`" in kept.message
    assert not check_structure(group_structure(0.05), settled())


def people(*polis: int | None) -> pl.DataFrame:
    return pl.DataFrame(
        {"participant_id": range(len(polis)), "polis_group": polis}, schema_overrides={"polis_group": pl.Int64}
    )


def test_groups_are_compared_with_those_of_polis() -> None:
    found = agreement_with_polis(in_groups(3, 3), people(1, 1, 0, 0, 0, None))

    assert found is not None and found.people == 5
    # Pairs: 2 alike in both, 4 in ours, 4 in theirs, of 10: (2 - 1.6) / (4 - 1.6).
    assert found.adjusted_rand == pytest.approx(1 / 6)
    assert found.cross_table.rows() == [("Group A", 1, 2), ("Group B", 2, 0)]
    assert found.cross_table.columns == ["group", "0", "1"]
    assert agreement_with_polis(in_groups(2, 1), people(None, None, None)) is None


def test_groups_of_an_export_that_may_be_wrong_are_doubted() -> None:
    found = agreement_with_polis(in_groups(2, 2), people(5, 5, 7, 7))
    assert found is not None
    plain = "adjusted Rand index 1.00 to the groups that Polis assigned, over 4 people (1 the same, 0 as by chance)"
    assert agreement_told(found, IMPORT_REPORT.empty()) == plain
    row = {"item": GROUPS_IN_EXPORT, "kind": "unknown", "count": 4, "explanation": "made at an unknown time"}
    assert agreement_told(found, IMPORT_REPORT.build([row])) == f"{plain}; these may be wrong: made at an unknown time"


def test_people_on_one_line_are_explained_whole_and_no_more() -> None:
    votes = [
        (person, statement, 1 if (person % 2) ^ (statement % 3 == 0) else -1)
        for person in range(24)
        for statement in range(14)
    ]
    table = pl.DataFrame(
        votes, schema={"participant_id": pl.Int64, "statement_id": pl.Int64, "vote": pl.Int8}, orient="row"
    )
    matrix = vote_matrix(table, table["participant_id"].unique(), table["statement_id"].unique())
    for name in ("default", "polis", "paper"):
        found = structure_test(matrix, Procedure(name, "column_mean", None, "laplace", "geometric_mean", 1, 5), 19, 1)
        assert found["value"].max() <= 1 and GROUP_STRUCTURE.violations(found).is_empty()


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("folder", ["ccai", "polis/scoop-hivemind.biodiversity"])
def test_iterating_draws_of_real_votes_moves_no_group_and_no_p_value(
    folder: str, name: ProcedureName, test_data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    raw = read_votes(test_data / folder)
    shown = raw.raw_statements.filter(pl.col("moderated") == 1)
    votes = raw.raw_votes.join(shown, on="statement_id", how="semi")
    matrix = vote_matrix(votes, votes["participant_id"].unique(), shown["statement_id"])
    chosen = replace(DEFAULT, name=name, smallest_group=5)
    groups = opinion_groups(matrix, group_participants(matrix, chosen))
    found = []
    for work in (np.inf, -np.inf):
        monkeypatch.setattr("ccai_dagster.deliberation.opinion_map.DRAWN_WORK", work)
        tested = structure_test(matrix, chosen, 19, 1)
        found.append((tested, consensus_stability(matrix, groups, chosen, lambda gac, *_: gac >= 0.6, 10, 1)))
    (solved, sure), (iterated, again) = found
    assert again.statements.equals(sure.statements) and again.groups.equals(sure.groups)
    assert_frame_equal(iterated, solved, check_exact=False, rel_tol=0, abs_tol=1e-10)
    assert iterated["p_value"].to_list() == solved["p_value"].to_list()
