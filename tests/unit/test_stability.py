"""How sure groups and scores are: exact distributions, invariants, coverage on simulated votes, bad input."""

from __future__ import annotations

import warnings
from dataclasses import replace

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from polars.testing import assert_frame_equal
from scipy.stats import beta, kstest
from sklearn.metrics import adjusted_rand_score

from ccai_dagster.contracts import CONSENSUS_STABILITY, CONSTITUTION, GROUP_STABILITY, SELECTED_STATEMENTS
from ccai_dagster.deliberation.consensus import GroupCounts, group_aware_consensus, group_counts
from ccai_dagster.deliberation.groups import group_participants, opinion_groups
from ccai_dagster.deliberation.k_means import by_place
from ccai_dagster.deliberation.stability import (
    FEW_VOTES,
    SEEDS,
    Stability,
    adjusted_rand,
    around_the_cut,
    consensus_stability,
    drawn_consensus,
    participant_weights,
    principle_intervals,
    statement_intervals,
)
from ccai_dagster.deliberation.votes import Procedure, VoteMatrix, vote_matrix

LAPLACE = Procedure("default", "column_mean", 2, "laplace", "product", 1)
PLAIN = replace(LAPLACE, smoothing="none")


def matrix_of(
    votes: np.ndarray, participants: list[int] | None = None, statements: list[int] | None = None
) -> VoteMatrix:
    """Votes by row and column; 9 where none was cast."""
    people = participants or list(range(votes.shape[0]))
    columns = statements or list(range(votes.shape[1]))
    cells = [(people[i], columns[j], int(votes[i, j])) for i, j in np.argwhere(votes != 9)]
    table = pl.DataFrame(
        cells, schema={"participant_id": pl.Int64, "statement_id": pl.Int64, "vote": pl.Int8}, orient="row"
    )
    return vote_matrix(table, pl.Series(people), pl.Series(columns))


def two_camps(seed: int = 5) -> np.ndarray:
    """Forty people who agree with most, thirty who agree with little."""
    generator = np.random.default_rng(seed)
    return np.vstack(
        [
            generator.choice([1, -1, 0, 9], (40, 6), p=[0.7, 0.1, 0.1, 0.1]),
            generator.choice([1, -1, 0, 9], (30, 6), p=[0.2, 0.6, 0.1, 0.1]),
        ]
    )


def drawn(
    matrix: VoteMatrix, procedure: Procedure = LAPLACE, cut: float = 0.2, draws: int = 20, seed: int = 7
) -> Stability:
    groups = opinion_groups(matrix, group_participants(matrix, procedure))

    def reaches(gac: np.ndarray, *_: np.ndarray) -> np.ndarray:
        return np.nan_to_num(gac, nan=-1.0) >= cut

    return consensus_stability(matrix, groups, procedure, reaches, draws, seed)


@pytest.mark.parametrize(
    "smoothing, a, b", [("laplace", 8 + 1, 2 + 1), ("jeffreys", 8 + 0.5, 2 + 0.5), ("none", 8 + 0.5, 2 + 0.5)]
)
def test_draws_follow_the_posterior_of_the_smoothing(smoothing, a, b) -> None:
    generator = np.random.default_rng(0)
    agrees = np.array([1] * 8 + [0] * 2)
    procedure = replace(LAPLACE, smoothing=smoothing)
    values = []
    for _ in range(2000):
        weights = participant_weights(np.arange(10), generator)
        counts = GroupCounts(np.array([[weights @ agrees]]), np.zeros((1, 1)), np.array([[weights.sum()]]))
        values.append(drawn_consensus(counts, procedure, generator)[0][0])
    assert kstest(values, beta(a, b).cdf).pvalue > 0.01
    assert kstest(values, beta(a + 1, b).cdf).pvalue < 1e-6


def test_a_group_without_votes_is_as_uncertain_as_the_prior() -> None:
    generator = np.random.default_rng(0)
    nobody = GroupCounts(*np.zeros((3, 1, 1)))
    values = [drawn_consensus(nobody, LAPLACE, generator)[0][0] for _ in range(2000)]
    assert kstest(values, "uniform").pvalue > 0.01


def test_groups_are_multiplied_or_averaged_as_on_record() -> None:
    counts = GroupCounts(np.full((2, 1), 1e9), np.zeros((2, 1)), np.array([[2e9], [4e9]]))
    product, _ = drawn_consensus(counts, LAPLACE, np.random.default_rng(0))
    mean, _ = drawn_consensus(counts, replace(LAPLACE, aggregation="geometric_mean"), np.random.default_rng(0))
    assert product == pytest.approx([1 / 2 * 1 / 4], abs=1e-6)
    assert mean == pytest.approx([(1 / 8) ** 0.5], abs=1e-6)


def test_weights_go_by_place_and_not_by_order() -> None:
    places = np.array([[0.0, 1.0], [2.0, 0.0], [-1.0, 3.0]])
    one = participant_weights(by_place(places), np.random.default_rng(3))
    other = participant_weights(by_place(places[[2, 0, 1]]), np.random.default_rng(3))
    assert one[[2, 0, 1]].tolist() == other.tolist()


def test_groups_that_cannot_be_mistaken_are_found_every_time() -> None:
    votes = np.vstack([np.tile([1, 1, -1, 1], (24, 1)), np.tile([-1, -1, 1, 1], (22, 1))])
    found = drawn(matrix_of(votes), draws=10)
    assert found.groups["adjusted_rand"].to_list() == [1.0] * (10 + SEEDS)
    assert found.groups["n_groups"].to_list() == [2] * (10 + SEEDS)
    assert found.groups["varied"].to_list() == ["participants"] * 10 + ["seed"] * SEEDS
    table = found.statements
    assert table["gac"].to_list() == pytest.approx([25 / 26 * 1 / 24] * 2 + [1 / 26 * 23 / 24, 25 / 26 * 23 / 24])
    assert table["gac_low_seeds"].to_list() == table["gac"].to_list() == table["gac_high_seeds"].to_list()
    same = table.select("gac_low", "gac_high").rows()
    assert same != table.select("gac_low_same_groups", "gac_high_same_groups").rows()  # other imaginary votes
    assert table["selection_probability"].to_list() == [0.0, 0.0, 0.0, 1.0]
    assert table["selection_share_seeds"].to_list() == [0.0, 0.0, 0.0, 1.0]
    assert table["smallest_group_votes"].to_list() == [22] * 4
    assert table["few_votes"].to_list() == [False] * 4
    alone = drawn(matrix_of(votes[:42]), draws=10).statements
    assert alone["smallest_group_votes"].to_list() == [18] * 4
    assert alone["few_votes"].to_list() == [FEW_VOTES > 18] * 4 == [True] * 4


def test_tables_keep_their_contracts_and_the_seed_decides() -> None:
    matrix, auto = matrix_of(two_camps()), replace(LAPLACE, number_of_groups=None)
    one, again, other = drawn(matrix), drawn(matrix), drawn(matrix, seed=8)
    free = drawn(matrix, auto, draws=5)
    assert not CONSENSUS_STABILITY.violations(free.statements).height
    assert not GROUP_STABILITY.violations(free.groups).height
    assert not CONSENSUS_STABILITY.violations(one.statements).height
    assert not GROUP_STABILITY.violations(one.groups).height
    assert one.statements.equals(again.statements)
    assert one.groups.equals(again.groups)
    assert not one.statements.equals(other.statements)
    counts = group_counts(matrix, group_participants(matrix, LAPLACE).labels)
    expected = group_aware_consensus(counts.agree, counts.votes, LAPLACE)
    assert one.statements["gac"].to_list() == expected.tolist()
    assert (one.statements["gac_low"] < one.statements["gac"]).all()
    assert (one.statements["gac"] < one.statements["gac_high"]).all()


@settings(max_examples=3)
@given(st.permutations(range(70)), st.permutations(range(6)))
def test_order_and_names_do_not_matter(people: list[int], columns: list[int]) -> None:
    votes = two_camps()
    one = drawn(matrix_of(votes), draws=6)
    other = drawn(matrix_of(votes, [3 * each + 5 for each in people], [2 * each + 1 for each in columns]), draws=6)
    renamed = one.statements.with_columns(
        statement_id=pl.col("statement_id").replace_strict(dict(enumerate(2 * each + 1 for each in columns)))
    )
    assert_frame_equal(renamed.sort("statement_id"), other.statements, rel_tol=1e-9)
    assert_frame_equal(one.groups, other.groups, rel_tol=1e-9)


def test_true_agreement_lies_in_the_interval_nine_times_in_ten() -> None:
    generator = np.random.default_rng(1)
    hits = []
    for _ in range(4):
        shares = np.stack([generator.uniform(0.55, 0.97, 60), generator.uniform(0.55, 0.97, 60)])
        # Forty statements divide the groups beyond doubt, so that the groups found are the true ones.
        votes = np.where(generator.random((90, 60)) < shares[np.arange(90) // 45], 1, -1)
        votes[generator.random(votes.shape) > 0.5] = 9
        sides = np.where(np.arange(90)[:, None] < 45, 1, -1) * np.ones((1, 40), dtype=int)
        found = drawn(matrix_of(np.hstack([votes, sides])), draws=80)
        assert found.groups["adjusted_rand"].min() == 1.0
        table = found.statements.head(60)
        truth = pl.Series(shares.prod(axis=0))
        hits += truth.is_between(table["gac_low"], table["gac_high"]).to_list()
    # 240 statements: the standard error of the rate is 0.02.
    assert 0.85 <= np.mean(hits) <= 0.95


def test_a_statement_without_a_score_has_no_interval_and_no_warning() -> None:
    votes = two_camps()
    votes[:, 2] = 9
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        table = drawn(matrix_of(votes), PLAIN, cut=0.0, draws=10).statements
        smoothed = drawn(matrix_of(votes), LAPLACE, cut=0.0, draws=10).statements
    unscored = table.row(2, named=True)
    assert all(unscored[name] is None for name in unscored if name.startswith("gac"))
    assert (unscored["selection_probability"], unscored["selection_share_seeds"]) == (0.0, 0.0)
    assert (unscored["smallest_group_votes"], unscored["few_votes"]) == (0, True)
    assert table["gac_low"].null_count() == 1
    assert smoothed["gac"][2] == 0.25
    assert smoothed["gac_high"][2] - smoothed["gac_low"][2] > 0.3


@pytest.mark.parametrize(
    "rows", [[[1]], [[1, 1]], [[1], [-1]], [[1, 0]] * 5, [[0, 0]] * 3, [[9, 9], [9, 1]], [[1, -1, 0]] * 2]
)
@pytest.mark.parametrize("procedure", [LAPLACE, PLAIN])
def test_degenerate_votes_give_a_defined_result(rows: list[list[int]], procedure: Procedure) -> None:
    found = drawn(matrix_of(np.array(rows)), procedure, draws=3)
    assert not CONSENSUS_STABILITY.violations(found.statements).height
    assert not GROUP_STABILITY.violations(found.groups).height
    assert found.groups.height == 3 + SEEDS


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 4)), min_size=1, max_size=20))
def test_likeness_of_groups_is_that_of_scikit_learn(pairs: list[tuple[int, int]]) -> None:
    one, other = np.array(pairs).T
    assert adjusted_rand(one, other) == pytest.approx(adjusted_rand_score(one, other), abs=1e-12)


def test_groups_of_other_people_are_refused_and_their_order_is_not() -> None:
    matrix = matrix_of(two_camps())
    groups = opinion_groups(matrix, group_participants(matrix, LAPLACE))

    def run(table: pl.DataFrame) -> Stability:
        return consensus_stability(matrix, table, LAPLACE, lambda gac, *_: gac > 0.2, 3, 1)

    assert run(groups.reverse()).statements.equals(run(groups).statements)
    with pytest.raises(ValueError, match="same participants"):
        run(groups.head(69))


def test_progress_is_reported() -> None:
    reported: list[tuple[str, int, int]] = []
    matrix = matrix_of(np.array([[1, -1], [-1, 1], [1, 1]]))
    groups = opinion_groups(matrix, group_participants(matrix, LAPLACE))
    consensus_stability(matrix, groups, LAPLACE, lambda gac, *_: gac > 0, 50, 1, lambda *step: reported.append(step))
    assert [step[1:] for step in reported] == [(25, 50), (50, 50), (1, 1)]


def sure(key: int, gac: float | None, low: float | None, high: float | None) -> dict[str, object]:
    return dict.fromkeys(CONSENSUS_STABILITY.fields) | {
        "statement_id": key,
        "gac": gac,
        "gac_low": low,
        "gac_high": high,
        "selection_probability": 0.5,
        "selection_share_seeds": 1.0,
        "smallest_group_votes": 3,
        "few_votes": True,
    }


STABILITY = CONSENSUS_STABILITY.build(
    [sure(1, 0.5, 0.4, 0.6), sure(2, 0.7, 0.65, 0.8), sure(3, None, None, None), sure(4, 0.7, 0.6, 0.75)]
)


def test_intervals_stand_behind_scores_by_id() -> None:
    table = pl.DataFrame({"statement_id": [3, 2, 9], "gac": [None, 0.7, 0.1], "text": ["c", "b", "x"]})
    shown = statement_intervals(table, STABILITY)
    assert shown.columns == ["statement_id", "gac", "gac_low", "gac_high", "text"]
    assert shown.rows() == [(3, None, None, None, "c"), (2, 0.7, 0.65, 0.8, "b"), (9, 0.1, None, None, "x")]


def test_a_principle_has_the_interval_of_its_widest_statement() -> None:
    rows = [("P1", [1, 4, 2], 0.7), ("P2", [], None), ("P3", [3, 1], 0.5), ("P4", [3], None)]
    constitution = CONSTITUTION.build(
        [
            {
                "principle_id": key,
                "arm": "public",
                "text": "t",
                "statement_ids": ids,
                "merged_text": None,
                "gac": gac,
                "side": None if gac is None else "agree",
                "decision_ids": [],
            }
            for key, ids, gac in rows
        ]
    )
    shown = principle_intervals(constitution, STABILITY)
    assert shown.select("principle_id", "gac_low", "gac_high").rows() == [
        ("P1", 0.65, 0.8),
        ("P2", None, None),
        ("P3", 0.4, 0.6),
        ("P4", None, None),
    ]


def test_statements_around_the_cut() -> None:
    selected = SELECTED_STATEMENTS.build(
        [
            {
                "statement_id": key,
                "text": f"s{key}",
                "gac": gac,
                "side": "agree",
                "rank": rank,
                "selected": rank <= 2,
                "ideas": [],
                "new_ideas": 1,
                "fate": "undecided",
                "decision_ids": [],
            }
            for rank, (key, gac) in enumerate([(2, 0.7), (4, 0.7), (1, 0.5), (3, None)], start=1)
        ]
    )
    shown = around_the_cut(selected.reverse(), STABILITY, reach=1)
    assert shown.rows() == [(2, 4, True, 0.7, 0.6, 0.75, 0.5, "s4"), (3, 1, False, 0.5, 0.4, 0.6, 0.5, "s1")]
