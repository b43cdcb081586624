"""Cleaning, opinion map, groups, consensus: hand-worked cases, invariants, and the published figures of CCAI."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.decomposition import PCA
from sklearn.metrics import adjusted_rand_score

from ccai_dagster import contracts
from ccai_dagster.deliberation.consensus import gac_scores, group_aware_consensus, group_counts
from ccai_dagster.deliberation.groups import group_participants, opinion_groups
from ccai_dagster.deliberation.importing.read_votes import read_votes
from ccai_dagster.deliberation.importing.tables import Import
from ccai_dagster.deliberation.opinion_map import opinion_map
from ccai_dagster.deliberation.representative import proportion_z, representative_statements, two_proportions_z
from ccai_dagster.deliberation.votes import (
    ModerationVerdict,
    Procedure,
    VoteMatrix,
    clean_participants,
    clean_statements,
    clean_votes,
    vote_matrix,
    votes_of_everybody,
)

DEFAULT = Procedure("default", "column_mean", None, "laplace", "product", 1)
PAPER = Procedure("paper", "zero", None, "none", "product", 1)


def matrix_of(rows: list[list[int | None]]) -> VoteMatrix:
    cells = [(i, j, vote) for i, row in enumerate(rows) for j, vote in enumerate(row) if vote is not None]
    votes = pl.DataFrame(cells, schema=["participant_id", "statement_id", "vote"], orient="row")
    return vote_matrix(votes, pl.Series(range(len(rows))), pl.Series(range(len(rows[0]))))


TWO_CAMPS = matrix_of([[1, 1, -1, 1]] * 6 + [[-1, -1, 1, 1]] * 4)


def test_votes_are_laid_out_by_id_whatever_their_order() -> None:
    votes = pl.DataFrame({"participant_id": [9, 2], "statement_id": [5, 7], "vote": [-1, 1]})
    matrix = vote_matrix(votes, pl.Series([9, 2, 4]), pl.Series([7, 5]))
    assert matrix.participant_ids.tolist() == [2, 4, 9]
    assert matrix.values.tolist() == [[0, 1], [0, 0], [-1, 0]]
    assert matrix.cast.tolist() == [[False, True], [False, False], [True, False]]


def test_a_vote_on_an_unlisted_id_is_refused() -> None:
    votes = pl.DataFrame({"participant_id": [9], "statement_id": [6], "vote": [1]})
    with pytest.raises(ValueError, match="not listed"):
        vote_matrix(votes, pl.Series([9]), pl.Series([5]))


def test_map_equals_principal_component_analysis() -> None:
    generator = np.random.default_rng(0)
    matrix = matrix_of(generator.integers(-1, 2, (40, 9)).tolist())
    ours, theirs = opinion_map(matrix, DEFAULT), PCA(2).fit(matrix.values)
    assert np.allclose(np.abs(ours.positions), np.abs(theirs.transform(matrix.values)))
    assert np.allclose(ours.explained_variance, theirs.explained_variance_ratio_)
    transposed = PCA(2).fit(matrix.values.T)
    assert np.allclose(np.abs(opinion_map(matrix, PAPER).positions), np.abs(transposed.components_.T))


def test_people_who_vote_little_are_moved_outwards() -> None:
    matrix = matrix_of([[1, 1, 1, 1], [1, None, None, None], [-1, -1, -1, -1]])
    zero = Procedure("default", "zero", None, "none", "product", 1)
    scaled = np.abs(opinion_map(matrix, zero).positions[:, 0])
    unscaled = np.abs(PCA(1).fit_transform(matrix.values)[:, 0])
    assert scaled / unscaled == pytest.approx([1, 2, 1])  # square root of 4 statements by votes cast


def test_two_camps_are_found_and_numbered_by_size() -> None:
    grouping = group_participants(TWO_CAMPS, DEFAULT)
    assert grouping.labels.tolist() == [0] * 6 + [1] * 4


@pytest.mark.parametrize("procedure", [DEFAULT, PAPER])
@pytest.mark.parametrize(
    "rows", [[[1]], [[1, 1]], [[1], [-1]], [[1, 0]] * 5, [[0, 0]] * 3, [[None, None], [None, 1]], [[1, -1, 0]] * 2]
)
def test_degenerate_votes_give_a_defined_result(rows: list[list[int | None]], procedure: Procedure) -> None:
    matrix = matrix_of(rows)
    grouping = group_participants(matrix, procedure)
    table = gac_scores(matrix, grouping.labels, procedure)
    assert not contracts.OPINION_GROUPS.violations(opinion_groups(matrix, grouping)).height
    assert not contracts.GAC_SCORES.violations(table).height
    assert not contracts.REPRESENTATIVE_STATEMENTS.violations(representative_statements(matrix, grouping.labels)).height


def test_consensus_by_hand() -> None:
    agree, votes = np.array([[3.0, 0.0], [1.0, 0.0]]), np.array([[4.0, 2.0], [2.0, 0.0]])
    assert group_aware_consensus(agree, votes, PAPER)[0] == pytest.approx(3 / 4 * 1 / 2)
    assert np.isnan(group_aware_consensus(agree, votes, PAPER)[1])
    laplace = group_aware_consensus(agree, votes, DEFAULT)
    assert laplace == pytest.approx([4 / 6 * 2 / 4, 1 / 4 * 1 / 2])
    jeffreys = Procedure("default", "zero", None, "jeffreys", "geometric_mean", 1)
    assert group_aware_consensus(agree, votes, jeffreys)[0] == pytest.approx((3.5 / 5 * 1.5 / 3) ** 0.5)


def test_polarization_by_hand() -> None:
    matrix = matrix_of([[1], [1], [1], [-1], [0], [None]])
    row = gac_scores(matrix, np.zeros(6, dtype=int), PAPER).row(0, named=True)
    assert (row["n_votes"], row["n_agree"], row["n_disagree"], row["n_pass"]) == (5, 3, 1, 1)
    assert row["polarization_index"] == pytest.approx(1 - 2 / 5)
    assert row["adjusted_polarization_index"] == pytest.approx(0.6 * 4 / 5)


def test_published_scores_are_joined_by_id() -> None:
    published = pl.DataFrame({"statement_id": [3, 0], "gac": [0.5, 0.25]})
    table = gac_scores(TWO_CAMPS, np.array([0] * 6 + [1] * 4), DEFAULT, published)
    assert table["published_gac"].to_list() == [0.25, None, None, 0.5]


def test_representative_statements_by_hand() -> None:
    assert proportion_z(np.array([6.0]), np.array([6.0]))[0] == pytest.approx(2 * 7**0.5 * 0.5)
    assert two_proportions_z(np.array([5.0]), np.array([5.0]), np.array([3.0]), np.array([3.0]))[0] == 0
    table = representative_statements(TWO_CAMPS, np.array([0] * 6 + [1] * 4))
    first = table.filter(pl.col("group_id") == 0).sort("rank")
    assert set(first["statement_id"].to_list()) == {0, 1, 2}
    assert first.filter(pl.col("statement_id") == 2)["side"].item() == "disagree"
    assert first.filter(pl.col("statement_id") == 0)["probability"].item() == pytest.approx(7 / 8)


@settings(max_examples=15)
@given(st.randoms(use_true_random=False))
def test_order_and_names_of_participants_do_not_matter(random) -> None:
    generator = np.random.default_rng(3)
    camps = np.vstack(
        [
            generator.choice([1, 0, -1], (30, 8), p=[0.7, 0.1, 0.2]),
            generator.choice([1, 0, -1], (20, 8), p=[0.2, 0.1, 0.7]),
        ]
    )
    order = list(range(50))
    random.shuffle(order)
    one = group_participants(matrix_of(camps.tolist()), DEFAULT)
    other = group_participants(matrix_of(camps[order].tolist()), DEFAULT)
    assert one.labels[order].tolist() == other.labels.tolist()


def test_cleaning() -> None:
    raw = contracts.RAW_STATEMENTS.build(
        [
            {
                "statement_id": number,
                "author_id": None,
                "created_at": None,
                "moderated": 0,
                "is_seed": None,
                "is_meta": None,
                "text": f"statement {number}",
            }
            for number in (1, 2, 3)
        ]
    )
    moderation = {1: ModerationVerdict(True, "better", ("M1",)), 2: ModerationVerdict(False, None, ("M2",))}
    strict = clean_statements(raw, moderation, include_undecided=False)
    assert strict.select("statement_id", "text", "rewritten", "decision_ids").rows() == [(1, "better", True, ["M1"])]
    assert clean_statements(raw, moderation, include_undecided=True)["statement_id"].to_list() == [1, 3]
    people = pl.DataFrame(
        {"participant_id": [1, 2, 3], "n_votes": [5, 9, 9], "polis_group": [None, 0, 1]},
        schema=contracts.RAW_PARTICIPANTS.dtypes,
    )
    kept = clean_participants(people, {3: "E1"}, 6, "T1")
    assert kept.select("fate", "decision_ids").rows() == [("too few votes", ["T1"]), ("kept", []), ("excluded", ["E1"])]
    assert clean_participants(people, {}, 6, "T1")["fate"].to_list() == ["too few votes", "kept", "kept"]
    votes = pl.DataFrame(
        {"participant_id": [1, 2, 2, 3], "statement_id": [1, 1, 2, 1], "vote": [1, -1, 1, 1]},
        schema=contracts.VOTES.dtypes,
    )
    assert clean_votes(votes, strict, kept).rows() == [(2, 1, -1)]
    everybody = votes_of_everybody(votes, strict, kept)
    assert everybody.participant_ids.tolist() == [1, 2], "who cast few votes is among everybody, who is excluded is not"
    assert everybody.values.tolist() == [[1.0], [-1.0]]


@pytest.fixture(scope="module")
def ccai(test_data: Path) -> tuple[Import, VoteMatrix]:
    imported = read_votes(test_data / "ccai")
    moderation = {
        row["statement_id"]: ModerationVerdict(row["moderated"] == 1, None, ())
        for row in imported.raw_statements.iter_rows(named=True)
    }
    tossed = {int(line): "tossed" for line in (test_data / "ccai" / "ids-to-toss.csv").read_text().split()}
    statements = clean_statements(imported.raw_statements, moderation, include_undecided=False)
    participants = clean_participants(imported.raw_participants, tossed, 26, "minimum")
    votes = clean_votes(imported.raw_votes, statements, participants)
    kept = participants.filter("kept")["participant_id"]
    return imported, vote_matrix(votes, kept, statements["statement_id"])


def test_published_counts_of_ccai(ccai: tuple[Import, VoteMatrix]) -> None:
    imported, matrix = ccai
    assert imported.raw_votes.height == 38_252
    assert matrix.values.shape == (1002, 275)
    assert matrix.cast.sum() == 34_563


def test_published_explained_variance_and_groups_of_ccai(ccai: tuple[Import, VoteMatrix], test_data: Path) -> None:
    _, matrix = ccai
    grouping = group_participants(matrix, PAPER)
    assert [round(share, 4) for share in grouping.map.explained_variance] == [0.0729, 0.0420]
    assert sorted(np.bincount(grouping.labels).tolist(), reverse=True) == [619, 383]
    published = pl.read_csv(test_data / "ccai" / "clean_votes.csv", infer_schema_length=None)
    # The published labels stand by position of the sorted ids, not beside their participants.
    in_order = published["group-id"].to_numpy()
    by_id = published.sort("participant")["group-id"].to_numpy()
    assert adjusted_rand_score(in_order, grouping.labels) > 0.9
    assert abs(adjusted_rand_score(by_id, grouping.labels)) < 0.02


def test_published_and_corrected_scores_of_ccai(ccai: tuple[Import, VoteMatrix], test_data: Path) -> None:
    _, matrix = ccai
    published = pl.read_csv(test_data / "ccai" / "clean_votes.csv", infer_schema_length=None)
    variants = pl.read_csv(test_data / "ccai" / "gac_variants.csv").sort("comment_id")
    as_published = published.sort("participant")["group-id"].to_numpy()
    scores = gac_scores(matrix, as_published, PAPER)
    assert np.allclose(scores["gac"], variants["gac_published"], atol=1e-6)
    assert int((scores["gac"] >= 0.723).sum()) == 116
    assert [round(scores["gac"].quantile(q), 3) for q in (0.0, 1.0)] == [0.042, 0.963]
    realigned = gac_scores(matrix, published["group-id"].to_numpy(), PAPER)
    assert np.allclose(realigned["gac"], variants["gac_realigned"], atol=1e-6)
    counts = group_counts(matrix, as_published)
    assert np.allclose((counts.agree / counts.votes)[0], [row[0] for row in scores["group_agreement"].to_list()])
