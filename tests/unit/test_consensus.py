"""Statistics over groups: hand-worked cases, what holds for any votes, and votes of which little can be said."""

from __future__ import annotations

from fractions import Fraction
from math import sqrt

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.decomposition import PCA

from ccai_dagster import contracts
from ccai_dagster.deliberation import representative
from ccai_dagster.deliberation.consensus import (
    adjusted_polarization_index,
    gac_scores,
    group_aware_consensus,
    group_counts,
    polarization_index,
)
from ccai_dagster.deliberation.representative import (
    consensus_statements,
    proportion_z,
    representative_statements,
    smoothed_share,
    two_proportions_z,
)
from ccai_dagster.deliberation.votes import Procedure, VoteMatrix, vote_matrix

Votes = list[list[int | None]]
RANDOM_VOTES = st.tuples(st.integers(2, 14), st.integers(1, 9), st.integers(0, 2**32 - 1))


def matrix_of(rows: Votes) -> VoteMatrix:
    """One row a participant; participants and statements are numbered from 10 and 100."""
    cells = [(10 + i, 100 + j, vote) for i, row in enumerate(rows) for j, vote in enumerate(row) if vote is not None]
    schema = {"participant_id": pl.Int64, "statement_id": pl.Int64, "vote": pl.Int8}
    votes = pl.DataFrame(cells, schema=schema, orient="row")
    people, statements = range(10, 10 + len(rows)), range(100, 100 + len(rows[0]))
    return vote_matrix(votes, pl.Series(people), pl.Series(statements))


def random_votes(people: int, statements: int, seed: int) -> tuple[Votes, np.ndarray]:
    """Votes of two or three groups that lean differently, a third of the cells empty."""
    generator = np.random.default_rng(seed)
    labels = generator.integers(0, 3, people)
    labels[:2] = [0, 1]
    lean = generator.uniform(-1.5, 1.5, (3, statements))[labels] + generator.normal(0, 0.7, (people, statements))
    drawn = np.sign(np.where(np.abs(lean) < 0.2, 0, lean))
    empty = generator.random((people, statements)) < 1 / 3
    return [
        [None if gap else int(vote) for vote, gap in zip(*row, strict=True)] for row in zip(drawn, empty, strict=True)
    ], labels


def procedure(smoothing: str, aggregation: str) -> Procedure:
    return Procedure("default", "zero", None, smoothing, aggregation, 1)  # type: ignore[arg-type]


# --- group-aware consensus and polarization ---------------------------------------------------------
@pytest.mark.parametrize(
    ("smoothing", "shares"),
    [
        ("none", (Fraction(3, 4), Fraction(1, 2))),
        ("laplace", (Fraction(4, 6), Fraction(2, 4))),
        ("jeffreys", (Fraction(7, 10), Fraction(1, 2))),
    ],
)
def test_group_aware_consensus_by_hand(smoothing: str, shares: tuple[Fraction, Fraction]) -> None:
    agree, votes = np.array([[3.0], [1.0]]), np.array([[4.0], [2.0]])
    product = float(shares[0] * shares[1])
    assert group_aware_consensus(agree, votes, procedure(smoothing, "product")) == pytest.approx([product])
    mean = group_aware_consensus(agree, votes, procedure(smoothing, "geometric_mean"))
    assert mean == pytest.approx([sqrt(product)])


def test_counts_by_group_and_weight() -> None:
    matrix = matrix_of([[1, None], [-1, 0], [1, 1], [0, -1]])
    labels = np.array([0, 0, 1, 1])
    counts = group_counts(matrix, labels)
    assert counts.agree.tolist() == [[1, 0], [1, 1]]
    assert counts.disagree.tolist() == [[1, 0], [0, 1]]
    assert counts.votes.tolist() == [[2, 1], [2, 2]]
    weighted = group_counts(matrix, labels, np.array([3.0, 1.0, 0.0, 2.0]), groups=3)
    assert weighted.agree.tolist() == [[3, 0], [0, 0], [0, 0]]
    assert weighted.votes.tolist() == [[4, 1], [2, 2], [0, 0]]


@settings(max_examples=40)
@given(RANDOM_VOTES, st.sampled_from(["none", "laplace", "jeffreys"]))
def test_the_product_is_the_mean_to_the_power_of_the_groups(drawn: tuple[int, int, int], smoothing: str) -> None:
    rows, labels = random_votes(*drawn)
    counts = group_counts(matrix_of(rows), labels)
    product = group_aware_consensus(counts.agree, counts.votes, procedure(smoothing, "product"))
    mean = group_aware_consensus(counts.agree, counts.votes, procedure(smoothing, "geometric_mean"))
    assert product == pytest.approx(mean ** len(counts.agree), nan_ok=True)
    known = ~np.isnan(product)
    assert (product[known] <= mean[known] + 1e-12).all() and (mean[known] <= 1).all()
    if smoothing != "none":
        assert known.all()


def test_a_group_without_votes_leaves_the_unsmoothed_score_open() -> None:
    matrix = matrix_of([[1, 1], [1, 1], [None, 1]])
    labels = np.array([0, 0, 1])
    plain = gac_scores(matrix, labels, procedure("none", "product"))
    assert plain["gac"].to_list() == [None, 1.0]
    assert plain["group_agreement"].to_list() == [[1.0, None], [1.0, 1.0]]
    assert plain["group_votes"].to_list() == [[2, 0], [2, 1]]
    smoothed = gac_scores(matrix, labels, procedure("laplace", "product"))
    assert smoothed["gac"].to_list() == pytest.approx([3 / 4 * 1 / 2, 3 / 4 * 2 / 3])


def test_without_groups_there_is_no_score() -> None:
    nobody = np.zeros((0, 2))
    assert np.isnan(group_aware_consensus(nobody, nobody, procedure("laplace", "geometric_mean"))).all()
    counts = group_counts(matrix_of([[1, 0]]), np.array([0]))
    assert counts.votes.shape == (1, 2)


def test_polarization_by_hand() -> None:
    agree, disagree, votes = np.array([3, 5, 0, 0, 0]), np.array([1, 5, 4, 0, 0]), np.array([8, 10, 4, 3, 0])
    index = polarization_index(agree, disagree, votes)
    adjusted = adjusted_polarization_index(agree, disagree, votes)
    assert index == pytest.approx([0.75, 1, 0, 1, np.nan], nan_ok=True)
    assert adjusted == pytest.approx([0.75 * 4 / 8, 1, 0, 0, np.nan], nan_ok=True)


# --- z-tests ----------------------------------------------------------------------------------------
def test_z_statistics_by_hand() -> None:
    assert smoothed_share(np.array([3, 0]), np.array([4, 0])).tolist() == [4 / 6, 1 / 2]
    # Four of four: 2 sqrt(5) (5 / 5 - 1 / 2).
    assert proportion_z(np.array([4, 0, 0]), np.array([4, 4, 0])) == pytest.approx(
        [sqrt(5), 2 * sqrt(5) * (1 / 5 - 1 / 2), 1]
    )
    # Four of four against none of four: shares 1 and 1/5, together 6 of 10.
    one = two_proportions_z(np.array([4]), np.array([4]), np.array([0]), np.array([4]))
    assert one == pytest.approx([(1 - 1 / 5) / sqrt(0.6 * 0.4 * (1 / 5 + 1 / 5))])
    unanimous = two_proportions_z(np.array([4]), np.array([4]), np.array([7]), np.array([7]))
    assert unanimous.tolist() == [0]


# --- representative statements ----------------------------------------------------------------------
def shown(rows: Votes, labels: list[int], group: int = 0) -> list[tuple[int, str, bool, bool]]:
    table = representative_statements(matrix_of(rows), np.array(labels))
    assert not contracts.REPRESENTATIVE_STATEMENTS.violations(table).height
    own = table.filter(pl.col("group_id") == group).sort("rank")
    assert own["rank"].to_list() == list(range(1, own.height + 1))
    return own.select("statement_id", "side", "best_agreed", "eligible").rows()


def test_two_opposite_groups_by_hand() -> None:
    rows = [[1, -1, 0]] * 4 + [[-1, 1, 0]] * 4
    table = representative_statements(matrix_of(rows), np.array([0] * 4 + [1] * 4))
    assert table.select("group_id", "statement_id", "rank", "side", "best_agreed", "eligible").rows() == [
        (0, 100, 1, "agree", True, True),
        (0, 101, 2, "disagree", False, True),
        (1, 101, 1, "agree", True, True),
        (1, 100, 2, "disagree", False, True),
    ]
    first = table.row(0, named=True)
    assert (first["n_side"], first["n_votes"]) == (4, 4)
    assert first["probability"] == pytest.approx(5 / 6)
    assert first["probability_z"] == pytest.approx(sqrt(5))
    assert first["ratio"] == pytest.approx(5)
    assert first["ratio_z"] == pytest.approx(0.8 / sqrt(0.096))


def test_the_best_agreed_statement_comes_first_though_it_sets_nobody_apart() -> None:
    # Both groups agree with the first statement; only the second one, disagreed with, sets the group apart.
    rows = [[1, -1]] * 6 + [[1, 1]] * 5 + [[-1, 1]]
    assert shown(rows, [0] * 6 + [1] * 6) == [(100, "agree", True, False), (101, "disagree", False, True)]


def test_five_at_most_and_those_agreed_with_before_those_disagreed_with() -> None:
    # Disagreement is unanimous, agreement not quite, so that by strength alone disagreement would come first.
    ours = [[-1, -1, -1, 1, 1, 1, 1]] * 9 + [[-1, -1, -1, -1, -1, -1, 1]]
    theirs = [[1, 1, 1, -1, -1, -1, -1]] * 10
    found = shown(ours + theirs, [0] * 10 + [1] * 10)
    assert found == [
        (106, "agree", True, True),
        (103, "agree", False, True),
        (100, "disagree", False, True),
        (101, "disagree", False, True),
        (102, "disagree", False, True),
    ]


def test_where_nothing_is_eligible_one_statement_stands_for_the_group() -> None:
    # One of two agrees with each statement and one disagrees: no share exceeds one half, and the larger z decides.
    rows = [[-1, 1], [1, -1], [-1, 0], [-1, 0], [1, 1], [-1, 1]]
    assert shown(rows, [0, 0, 1, 1, 1, 1]) == [(101, "disagree", False, False)]
    z = representative_statements(matrix_of(rows), np.array([0, 0, 1, 1, 1, 1]))["ratio_z"][0]
    assert z == pytest.approx((2 / 3 - 1 / 5) / sqrt(3 / 8 * 5 / 8 * (1 / 3 + 1 / 5)))


def test_a_small_majority_above_that_of_the_others_is_best_agreed() -> None:
    # Three of five agree: z = 2 sqrt(6) (4/6 - 1/2) = 0.82, not sure enough, but more than one of three.
    rows = [[1], [1], [1], [-1], [0], [1], [-1], [-1]]
    assert shown(rows, [0] * 5 + [1] * 3) == [(100, "agree", True, False)]


def test_as_many_for_as_against_is_put_down_as_disagreement() -> None:
    assert shown([[1], [-1], [1], [-1]], [0, 0, 1, 1]) == [(100, "disagree", False, False)]


def test_the_best_agreed_statement_is_put_down_as_agreed_with_though_others_agree_more() -> None:
    rows = [[1, -1]] * 4 + [[1, 0]] * 3 + [[0, -1]]
    assert shown(rows, [0] * 4 + [1] * 4, group=1) == [(100, "agree", True, False)]
    row = representative_statements(matrix_of(rows), np.array([0] * 4 + [1] * 4)).row(2, named=True)
    assert (row["n_side"], row["n_votes"]) == (3, 4)
    assert row["ratio"] == pytest.approx((4 / 6) / (5 / 6)) and row["ratio_z"] < 0


def test_two_negative_z_statistics_count_as_a_large_product() -> None:
    # Agreed with as much as elsewhere: share alone counts, and rejecting the second one does not replace it.
    rows = [[1, -1]] * 6 + [[1, 1]] * 6
    assert shown(rows, [0] * 6 + [1] * 6) == [(100, "agree", True, False), (101, "disagree", False, True)]
    # With one more in the group its smoothed share is larger than elsewhere, so that the products are compared:
    # 0 for the first statement, above 0 for the second one, which the whole group rejects.
    rows = [[1, -1]] * 7 + [[1, 1]] * 6
    assert shown(rows, [0] * 7 + [1] * 6) == [(101, "disagree", True, True)]


def test_nobody_outside_voted() -> None:
    rows = [[1, None]] * 3 + [[None, 1]] * 2
    table = representative_statements(matrix_of(rows), np.array([0, 0, 0, 1, 1]))
    first = table.row(0, named=True)
    assert (first["statement_id"], first["side"], first["best_agreed"], first["eligible"]) == (
        100,
        "agree",
        True,
        False,
    )
    assert (first["ratio"], first["ratio_z"]) == (None, None)


def test_a_statement_on_which_the_group_took_no_side_never_stands_for_it() -> None:
    # The others reject the first statement, which makes the one pass on it, or no vote, look like a difference.
    others = [[-1, 1, 1]] * 9
    assert [row[0] for row in shown([[None, 1, -1], [0, -1, 1], *others], [0, 0] + [1] * 9)] != [100]
    assert shown([[None, None, 0], [None, 0, None], *others], [0, 0] + [1] * 9) == []


def test_one_group_has_nobody_to_differ_from() -> None:
    table = representative_statements(matrix_of([[1, -1, 0]] * 5), np.zeros(5, dtype=int))
    assert table.equals(contracts.REPRESENTATIVE_STATEMENTS.empty())


def test_equal_statements_are_ranked_by_id() -> None:
    rows = [[1] * 7] * 5 + [[-1] * 7] * 5
    assert [row[0] for row in shown(rows, [0] * 5 + [1] * 5)] == [100, 101, 102, 103, 104]


@settings(max_examples=60)
@given(RANDOM_VOTES, st.randoms(use_true_random=False))
def test_what_holds_for_the_representative_statements_of_any_votes(drawn: tuple[int, int, int], shuffle) -> None:
    rows, labels = random_votes(*drawn)
    table = representative_statements(matrix_of(rows), labels)
    assert not contracts.REPRESENTATIVE_STATEMENTS.violations(table).height
    assert table["rank"].max() is None or table["rank"].max() <= 5
    for group in set(labels.tolist()):
        own = table.filter(pl.col("group_id") == group).sort("rank")
        took_sides = any(vote for row, label in zip(rows, labels, strict=True) if label == group for vote in row)
        assert bool(own.height) == took_sides
        assert (own["n_side"] <= own["n_votes"]).all()
        assert own["side"].to_list() == sorted(own["side"].to_list())
        assert own.height == 1 or own.filter(~pl.col("eligible") & ~pl.col("best_agreed")).height == 0
    order = list(range(len(rows)))
    shuffle.shuffle(order)
    again = representative_statements(matrix_of([rows[place] for place in order]), labels[order])
    assert again.equals(table)


# --- consensus statements ---------------------------------------------------------------------------
def test_consensus_statements_by_hand() -> None:
    # Ten voters: 10, 8 and 7 agree; then 10 disagree; then half and half; then passes; then nobody votes.
    columns = [[1] * 10, [1] * 8 + [-1] * 2, [1] * 7 + [-1] * 3, [-1] * 10, [1, -1] * 5, [0] * 10, [None] * 10]
    table = consensus_statements(matrix_of([list(row) for row in zip(*columns, strict=True)]))
    assert not contracts.CONSENSUS_STATEMENTS.violations(table).height
    assert table.select("side", "statement_id", "rank", "n_side", "n_votes").rows() == [
        ("agree", 100, 1, 10, 10),
        ("agree", 101, 2, 8, 10),
        ("agree", 102, 3, 7, 10),
        ("disagree", 103, 1, 10, 10),
    ]
    assert table["probability"].to_list() == pytest.approx([11 / 12, 9 / 12, 8 / 12, 11 / 12])
    assert table["probability_z"][2] == pytest.approx(2 * sqrt(11) * (8 / 11 - 1 / 2))


def test_a_share_that_is_not_sure_enough_is_no_consensus() -> None:
    # Two of two: z = sqrt(3) = 1.73 is enough. One of one: z = sqrt(2) = 1.41 too. Six of ten: 0.90 is not.
    columns = [[1, 1] + [None] * 8, [1] + [None] * 9, [1] * 6 + [-1] * 4]
    table = consensus_statements(matrix_of([list(row) for row in zip(*columns, strict=True)]))
    assert table["statement_id"].to_list() == [100, 101]


@settings(max_examples=40)
@given(RANDOM_VOTES)
def test_turning_every_vote_turns_the_sides(drawn: tuple[int, int, int]) -> None:
    rows, _ = random_votes(*drawn)
    table = consensus_statements(matrix_of(rows))
    turned = consensus_statements(matrix_of([[vote if vote is None else -vote for vote in row] for row in rows]))
    swapped = turned.with_columns(side=pl.col("side").replace({"agree": "disagree", "disagree": "agree"}))
    assert swapped.sort("side", "rank").equals(table.sort("side", "rank"))
    assert table.group_by("side").len()["len"].max() in (None, 1, 2, 3, 4, 5)


# --- comment priorities -----------------------------------------------------------------------------
def test_priority_by_hand() -> None:
    agree, passes, votes = np.array([0, 10, 10]), np.array([0, 0, 0]), np.array([0, 10, 10])
    extremity, is_meta = np.array([0.0, 1.0, 1.0]), np.array([False, False, True])
    priority = representative.comment_priority(agree, passes, votes, extremity, is_meta)
    # Nobody voted: (1/2 1/2 9)^2. Ten of ten agree: (11/12 2 11/12 (1 + 8/4))^2.
    assert priority == pytest.approx([2.25**2, (121 / 144 * 2 * 3) ** 2, 49])


def test_extremity_by_hand() -> None:
    mean = np.array([0.5, 1.0, 0.0, -1.0])
    components = np.array([[0.6, 0.8, 0.0, 0.0], [0.0, 0.0, 0.0, 1.0]])
    assert representative.statement_extremity(mean, components).tolist() == pytest.approx([2 * 0.5 * 0.6, 0, 0, 4])
    assert representative.statement_extremity(mean, -components).tolist() == pytest.approx([0.6, 0, 0, 4])


def test_components_equal_principal_component_analysis_of_imputed_votes(monkeypatch: pytest.MonkeyPatch) -> None:
    rows, _ = random_votes(40, 12, 3)
    matrix = matrix_of(rows)
    votes = np.array([[np.nan if vote is None else vote for vote in row] for row in rows], dtype=float)
    filled = np.where(np.isnan(votes), np.nanmean(votes, axis=0), votes)
    mean, components = representative.vote_components(matrix)
    assert mean == pytest.approx(np.nanmean(votes, axis=0))
    assert np.abs(components) == pytest.approx(np.abs(PCA(2).fit(filled).components_))
    monkeypatch.setattr(representative, "DENSE_CELLS", 0)
    iterated = representative.vote_components(matrix)[1]
    assert np.abs(iterated) == pytest.approx(np.abs(components), abs=1e-8)


def test_statements_left_out_keep_their_place_and_count_for_nothing() -> None:
    rows, _ = random_votes(30, 6, 5)
    mean, components = representative.vote_components(matrix_of(rows), left_out=[102])
    assert mean[2] == 0 and not components[:, 2].any()
    others = representative.vote_components(matrix_of([row[:2] + row[3:] for row in rows]))[1]
    assert np.abs(np.delete(components, 2, axis=1)) == pytest.approx(np.abs(others))


@pytest.mark.parametrize(
    "rows", [[[1]], [[1], [-1]], [[0, 0]] * 3, [[None, None]], [[1, -1, 0]] * 4, [[1, 1], [-1, -1]], [[1], [None]]]
)
@pytest.mark.parametrize("cells", [0, representative.DENSE_CELLS])
def test_priorities_of_votes_of_which_little_can_be_said(
    rows: Votes, cells: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(representative, "DENSE_CELLS", cells)
    matrix = matrix_of(rows)
    mean, components = representative.vote_components(matrix)
    length = np.linalg.norm(components, axis=1)
    assert ((np.abs(length - 1) < 1e-9) | (length == 0)).all()
    about = pl.DataFrame(
        {"statement_id": matrix.statement_ids, "is_meta": None}, schema_overrides={"is_meta": pl.Boolean}
    )
    table = representative.comment_priorities(matrix, representative.statement_extremity(mean, components), about)
    assert not contracts.COMMENT_PRIORITIES.violations(table).height
    everybody_alike = all(row == rows[0] for row in rows)
    if everybody_alike:
        assert table["extremity"].to_list() == [0.0] * table.height


def test_only_statements_known_to_be_about_the_conversation_have_its_priority() -> None:
    matrix = matrix_of([[1, -1, 1], [-1, 1, 1], [1, 0, 1]])
    about = pl.DataFrame({"statement_id": [102, 100, 101, 7], "is_meta": [True, False, None, True]})
    table = representative.comment_priorities(matrix, np.zeros(3), about)
    assert table["statement_id"].to_list() == [100, 101, 102]
    assert table["is_meta"].to_list() == [False, None, True]
    assert table["priority"][2] == 49 and table["priority"][1] < 49
    assert table.select("n_votes", "n_agree", "n_pass").rows() == [(3, 2, 0), (3, 1, 1), (3, 3, 0)]


@settings(max_examples=20)
@given(st.integers(0, 2**32 - 1), st.randoms(use_true_random=False))
def test_order_of_participants_does_not_matter_for_extremity(seed: int, shuffle) -> None:
    rows, _ = random_votes(25, 7, seed)
    extremity = representative.statement_extremity(*representative.vote_components(matrix_of(rows)))
    shuffle.shuffle(rows)
    again = representative.statement_extremity(*representative.vote_components(matrix_of(rows)))
    assert again == pytest.approx(extremity, abs=1e-6)
