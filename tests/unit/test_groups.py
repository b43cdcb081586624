"""Opinion map and groups at any size: exact components, k-means without chance, and what must not matter."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import adjusted_rand_score

from ccai_dagster import contracts
from ccai_dagster.deliberation import k_means
from ccai_dagster.deliberation.groups import Grouping, group_participants, opinion_groups
from ccai_dagster.deliberation.opinion_map import Iteration, opinion_map, statement_means
from ccai_dagster.deliberation.votes import Imputation, Procedure, ProcedureName, VoteMatrix, vote_matrix


def procedure(
    name: ProcedureName = "default", imputation: Imputation = "column_mean", number: int | None = None, seed: int = 1
) -> Procedure:
    return Procedure(name, imputation, number, "laplace", "product", seed)


ALL = [procedure("default"), procedure("polis"), procedure("paper", "zero")]


def long(rows: np.ndarray) -> pl.DataFrame:
    """Votes of a dense array in which 9 stands for none."""
    row, column = np.nonzero(rows != 9)
    return pl.DataFrame(
        {
            "participant_id": row.astype(np.int64),
            "statement_id": column.astype(np.int64),
            "vote": rows[row, column].astype(np.int8),
        }
    )


def laid_out(rows: np.ndarray) -> VoteMatrix:
    return vote_matrix(long(rows), pl.Series(range(rows.shape[0])), pl.Series(range(rows.shape[1])))


def camps(seed: int, sizes: tuple[int, ...] = (30, 20, 15), statements: int = 12) -> np.ndarray:
    """Votes of camps that lean differently, with gaps."""
    generator = np.random.default_rng(seed)
    lean = generator.choice([0.1, 0.85], (len(sizes), statements))
    agree = generator.random((sum(sizes), statements)) < np.repeat(lean, sizes, axis=0)
    rows = np.where(agree, 1, -1)
    rows[generator.random(rows.shape) < 0.1] = 0
    rows[generator.random(rows.shape) < 0.3] = 9
    return rows


def same(one: Grouping, other: Grouping, places: np.ndarray) -> bool:
    return bool(adjusted_rand_score(one.labels[places], other.labels) == 1.0)


@pytest.mark.parametrize("name", ["default", "paper"])
@pytest.mark.parametrize("imputation", ["zero", "column_mean"])
def test_components_are_those_of_the_written_out_matrix(name: ProcedureName, imputation: Imputation) -> None:
    matrix, chosen = laid_out(camps(1)), procedure(name, imputation)
    weights = np.random.default_rng(2).integers(0, 4, 65).astype(float)
    means = statement_means(matrix, weights) if imputation == "column_mean" else 0
    filled = np.where(matrix.cast, matrix.values, means)
    if name == "paper":
        centred = filled - filled.mean(axis=1, keepdims=True)
    else:
        centred = filled - np.average(filled, axis=0, weights=weights)
    values, vectors = np.linalg.eigh((centred * weights[:, None]).T @ centred)
    expected = centred @ vectors[:, ::-1][:, :2]
    if name == "paper":
        expected /= np.sqrt(values[::-1][:2])
    else:
        expected *= np.sqrt(12 / matrix.cast.sum(axis=1))[:, None]
    found = opinion_map(matrix, chosen, weights)
    assert np.abs(found.positions) == pytest.approx(np.abs(expected), abs=1e-9)
    assert found.explained_variance == pytest.approx(values[::-1][:2] / values.sum())


@pytest.mark.parametrize("chosen", [procedure(), procedure("default", "zero"), *ALL[1:]])
def test_iteration_gives_what_solving_gives(chosen: Procedure, monkeypatch: pytest.MonkeyPatch) -> None:
    matrix = laid_out(camps(3, (200, 150), 30))
    solved = opinion_map(matrix, chosen)
    monkeypatch.setattr("ccai_dagster.deliberation.opinion_map.EXACT_WORK", 0)
    iterated = opinion_map(matrix, chosen)
    assert iterated.positions == pytest.approx(solved.positions, abs=1e-8)
    assert iterated.explained_variance == pytest.approx(solved.explained_variance, abs=1e-10)


@pytest.mark.parametrize("chosen", ALL)
@pytest.mark.parametrize("near", [False, True])
def test_a_draw_is_iterated_to_what_solving_gives(
    chosen: Procedure, near: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    matrix = laid_out(camps(3, (200, 150), 30))
    iteration = Iteration(0.05, opinion_map(matrix, chosen).components if near else None)
    for seed in range(3):
        weights = np.random.default_rng(seed).exponential(size=350)
        with monkeypatch.context() as patched:
            solved = opinion_map(matrix, chosen, weights, iteration)
            assert (solved.positions == opinion_map(matrix, chosen, weights).positions).all(), "this small, nothing is"
            patched.setattr("ccai_dagster.deliberation.opinion_map.DRAWN_WORK", -np.inf)
            iterated = opinion_map(matrix, chosen, weights, iteration)
        assert iterated.positions == pytest.approx(solved.positions, abs=1e-9)
        assert iterated.explained_variance == pytest.approx(solved.explained_variance, abs=1e-11)


@pytest.mark.parametrize("rows", [np.ones((40, 15)), np.full((40, 15), 9), np.zeros((40, 15))])
def test_votes_that_do_not_vary_have_no_components(rows: np.ndarray, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ccai_dagster.deliberation.opinion_map.EXACT_WORK", 0)
    found = group_participants(laid_out(rows), procedure())
    assert not found.map.positions.any()
    assert found.map.explained_variance == (0.0, 0.0)
    assert set(found.labels.tolist()) == {0}


def test_a_single_direction_leaves_the_second_coordinate_empty(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ccai_dagster.deliberation.opinion_map.EXACT_WORK", 0)
    found = group_participants(laid_out(np.vstack([np.ones((25, 20)), -np.ones((15, 20))])), procedure())
    assert np.abs(found.map.positions[:, 1]).max() < 1e-6
    assert np.bincount(found.labels).tolist() == [25, 15]


@settings(max_examples=12)
@given(st.integers(0, 2**32 - 1), st.sampled_from(ALL))
def test_order_of_rows_and_gaps_in_ids_do_not_matter(seed: int, chosen: Procedure) -> None:
    rows, generator = camps(4), np.random.default_rng(seed)
    votes, one = long(rows), group_participants(laid_out(rows), chosen)
    spread = np.sort(generator.choice(10_000, rows.shape[0], replace=False))
    shuffled = votes.sample(fraction=1.0, shuffle=True, seed=seed).with_columns(
        participant_id=pl.Series(spread)[votes.sample(fraction=1.0, shuffle=True, seed=seed)["participant_id"]]
    )
    other = group_participants(
        vote_matrix(shuffled, pl.Series(generator.permutation(spread)), pl.Series(range(rows.shape[1]))), chosen
    )
    assert one.labels.tolist() == other.labels.tolist()
    assert (one.map.positions == other.map.positions).all()


@settings(max_examples=12)
@given(st.integers(0, 2**32 - 1))
def test_names_of_participants_and_statements_do_not_matter_by_default(seed: int) -> None:
    rows, generator = camps(5), np.random.default_rng(seed)
    people, statements = generator.permutation(rows.shape[0]), generator.permutation(rows.shape[1])
    one = group_participants(laid_out(rows), procedure(seed=1))
    other = group_participants(laid_out(rows[people][:, statements]), procedure(seed=seed))
    assert same(one, other, people)
    assert one.map.positions[people] == pytest.approx(other.map.positions, abs=1e-8)
    assert one.silhouettes == pytest.approx(other.silhouettes, abs=1e-6)


@settings(max_examples=40)
@given(
    st.integers(1, 9), st.integers(1, 6), st.integers(0, 2**32 - 1), st.sampled_from(ALL), st.sampled_from([None, 2, 4])
)
def test_any_votes_give_a_defined_and_repeatable_result(
    participants: int, statements: int, seed: int, chosen: Procedure, number: int | None
) -> None:
    rows = np.random.default_rng(seed).choice([-1, 0, 1, 9, 9], (participants, statements))
    fixed = procedure(chosen.name, chosen.imputation, number)
    one, other = (group_participants(laid_out(rows), fixed) for _ in range(2))
    table = opinion_groups(laid_out(rows), one)
    assert not contracts.OPINION_GROUPS.violations(table).height
    assert np.isfinite(one.map.positions).all()
    assert table.equals(opinion_groups(laid_out(rows), other))
    assert sorted(set(one.labels.tolist())) == list(range(one.labels.max() + 1))
    sizes = np.bincount(one.labels)
    assert (np.diff(sizes) <= 0).all()
    assert number is None or len(sizes) <= number or len(one.silhouettes) == 0


def test_weights_are_copies() -> None:
    rows = camps(6)
    counts = np.random.default_rng(1).integers(0, 3, len(rows))
    weighted = group_participants(laid_out(rows), procedure(), counts.astype(float))
    copied = group_participants(laid_out(np.repeat(rows, counts, axis=0)), procedure())
    assert same(weighted, copied, np.repeat(np.arange(len(rows)), counts))
    assert weighted.silhouettes == pytest.approx(copied.silhouettes)


def test_three_camps_are_found_with_and_without_cells(monkeypatch: pytest.MonkeyPatch) -> None:
    truth = np.repeat([0, 1, 2], (300, 200, 150))
    rows = camps(9, (300, 200, 150), 24)
    found = group_participants(laid_out(rows), procedure())
    assert len(set(found.labels.tolist())) == 3
    assert adjusted_rand_score(truth, found.labels) > 0.95
    monkeypatch.setattr("ccai_dagster.deliberation.groups.FINE_SIDE", 10)
    in_cells = group_participants(laid_out(rows), procedure())
    assert adjusted_rand_score(found.labels, in_cells.labels) > 0.98


def test_cells_weigh_about_the_same_and_keep_the_middle() -> None:
    generator = np.random.default_rng(3)
    points, weights, _ = k_means.distinct_points(generator.normal(size=(5000, 2)), np.ones(5000))
    cells, sizes = k_means.condensed(points, weights, 10)
    assert len(cells) == 100
    assert sizes.sum() == 5000
    assert (sizes.min(), sizes.max()) == (50, 50)
    assert np.average(cells, axis=0, weights=sizes) == pytest.approx(points.mean(axis=0))
    assert k_means.condensed(points[:90], weights[:90], 10)[0] is not cells


def test_few_points_stay_as_they_are() -> None:
    points = np.array([[0.0, 1], [2, 3], [4, 5]])
    cells, sizes = k_means.condensed(points, np.array([1.0, 2, 3]), 2)
    assert (cells.tolist(), sizes.tolist()) == (points.tolist(), [1, 2, 3])


def test_k_means_by_hand() -> None:
    points = np.array([[0.0, 0], [1, 0], [10, 0], [11, 0], [100, 0]])
    found = k_means.k_means(points, np.array([1.0, 1, 1, 3, 1]), 5)
    assert found[1].tolist() == [[np.average(points[:, 0], weights=[1, 1, 1, 3, 1]), 0]]
    assert np.sort(found[2][:, 0]) == pytest.approx([44 / 6, 100])
    assert np.sort(found[3][:, 0]) == pytest.approx([0.5, 43 / 4, 100])
    assert np.sort(found[5][:, 0]) == pytest.approx([0, 1, 10, 11, 100])


def test_k_means_is_about_as_good_as_many_random_starts() -> None:
    from sklearn.cluster import KMeans

    generator = np.random.default_rng(8)
    points, weights, _ = k_means.distinct_points(generator.normal(size=(400, 2)), np.ones(400))
    for number, centres in k_means.k_means(points, weights, 5).items():
        best = KMeans(number, n_init=40, random_state=0).fit(points).inertia_
        spread = ((points - centres[k_means.nearest(points, centres)]) ** 2).sum()
        assert spread <= best * (1 + {5: 0.01}.get(number, 0.003))


def test_nearest_takes_the_first_on_a_tie_and_several_sets() -> None:
    points = np.array([[0.0, 0], [5, 0], [1, 0]])
    centres = np.array([[[0.0, 0], [2, 0]], [[2, 0], [0, 0]]])
    assert k_means.nearest(points, centres).tolist() == [[0, 1, 0], [1, 0, 0]]
    assert k_means.nearest(points, centres[0]).tolist() == [0, 1, 0]


def test_many_centres_at_once_give_what_one_after_the_other_gives(monkeypatch: pytest.MonkeyPatch) -> None:
    # Halves on a grid, so that many points are as near to several centres.
    points, centres = (np.random.default_rng(each).integers(0, 9, (400, 2)) / 2 for each in (1, 2))
    monkeypatch.setattr(k_means, "CELLS_AT_ONCE", 7 * 60)
    at_once = k_means.nearest(points, centres[:60])
    monkeypatch.setattr(k_means, "FEW_CENTRES", 60)
    assert (at_once == k_means.nearest(points, centres[:60])).all()


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3)), max_size=30))
def test_points_are_sorted_by_place_and_then_as_they_stood(points: list[tuple[int, int]]) -> None:
    laid_out = np.array(points, dtype=float).reshape(-1, 2)
    assert k_means.by_place(laid_out).tolist() == sorted(range(len(points)), key=points.__getitem__)


def test_silhouette_by_hand() -> None:
    points = np.array([[0.0, 0], [1, 0], [4, 0]])
    # 0: a = 1, b = 4; 1: a = 1, b = 3; the third is alone.
    widths = k_means.silhouette(points, [np.array([0, 0, 1]), np.array([0, 0, 0])], np.ones(3))
    assert widths == pytest.approx([(3 / 4 + 2 / 3 + 0) / 3, 0.0])


def test_votes_with_wide_gaps_in_ids_are_found_too() -> None:
    votes = pl.DataFrame({"participant_id": [10**12, 5], "statement_id": [7, -3], "vote": [1, -1]})
    matrix = vote_matrix(votes, pl.Series([5, 10**12, 6]), pl.Series([7, -3]))
    assert (matrix.row.tolist(), matrix.column.tolist(), matrix.vote.tolist()) == ([0, 2], [0, 1], [-1, 1])
    with pytest.raises(ValueError, match="not listed"):
        vote_matrix(votes, pl.Series([5, 10**12 + 1]), pl.Series([7, -3]))
