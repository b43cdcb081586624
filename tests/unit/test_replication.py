"""Replication on hand-worked votes: attaching groups, the evidence, what crosses, the files that are read."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import chi2_contingency
from small_replication import IDS, camps, constitution_of, matrix_of, published_of, statements_table

from ccai_dagster import contracts
from ccai_dagster.consultation.folder import SAMPLE, Consultation, Replication, read_consultation
from ccai_dagster.core.errors import ConsultationError
from ccai_dagster.replication import published_groups, scores
from ccai_dagster.replication.published_groups import BY_ID, BY_POSITION, by_id, by_position, labels_of, published_votes
from ccai_dagster.replication.published_results import read_published


def test_by_position_gives_each_row_of_the_file_the_next_group_and_by_id_each_participant_its_own() -> None:
    labels = np.array([0, 1, 2])
    assert by_position(labels, np.array([5, 2, 9])).tolist() == [1, 0, 2]
    assert by_id(labels).tolist() == [0, 1, 2]
    assert by_position(labels, np.array([2, 5, 9])).tolist() == by_id(labels).tolist()


def test_chi_square_by_hand() -> None:
    split = matrix_of([[1], [1], [-1], [0]])
    # Group 0 all agree, group 1 none: p = 1/2, each group (2 - 1)^2 / (2 / 4) or (0 - 1)^2 / (2 / 4), together 4.
    assert published_groups.chi_square(split, np.array([[0, 0, 1, 1], [0, 1, 0, 1]])).tolist() == [4.0, 0.0]
    unanimous = matrix_of([[1, None], [1, None], [1, None]])
    assert published_groups.chi_square(unanimous, np.array([[0, 1, 1]])).tolist() == [0.0]


@settings(max_examples=30)
@given(
    st.lists(st.tuples(st.integers(0, 2), st.sampled_from([-1, 0, 1])), min_size=4, max_size=30).filter(
        lambda rows: {group for group, _ in rows} == {0, 1, 2} and 0 < sum(v == 1 for _, v in rows) < len(rows)
    )
)
def test_chi_square_is_pearsons(rows: list[tuple[int, int]]) -> None:
    table = np.zeros((3, 2))
    for group, vote in rows:
        table[group, int(vote == 1)] += 1
    expected = chi2_contingency(table, correction=False).statistic
    matrix = matrix_of([[vote] for _, vote in rows])
    found = published_groups.chi_square(matrix, np.array([[group for group, _ in rows]]))
    assert found[0] == pytest.approx(expected)


def test_shuffles_do_not_depend_on_where_the_groups_were() -> None:
    matrix = matrix_of([[1, 1], [1, None], [-1, -1], [0, -1], [1, -1]])
    one = published_groups.shuffled_chi_squares(matrix, np.array([0, 0, 1, 1, 1]), 250, 7)
    other = published_groups.shuffled_chi_squares(matrix, np.array([1, 1, 0, 1, 0]), 250, 7)
    assert one.shape == (250,) and one.tolist() == other.tolist()
    assert one.tolist() != published_groups.shuffled_chi_squares(matrix, np.array([0, 0, 1, 1, 1]), 250, 8).tolist()


def test_agreement_pairs_groups_in_the_best_way() -> None:
    assert published_groups.agreeing(np.array([0, 0, 1, 1, 1]), np.array([1, 1, 0, 0, 1])) == 4
    assert published_groups.agreeing(np.array([0, 1, 2, 2]), np.array([2, 0, 1, 1])) == 4
    assert published_groups.agreeing(np.array([0, 0, 0]), np.array([0, 1, 1])) == 2


def test_groups_attached_both_ways() -> None:
    _, matrix, groups = camps()
    assert contracts.REPLICATED_GROUPS.violations(groups).is_empty()
    labels = labels_of(groups, matrix)
    assert list(labels) == [
        BY_POSITION,
        BY_ID,
        "recomputed by position, seed 0",
        "recomputed by id, seed 0",
        "recomputed by position, seed 1",
        "recomputed by id, seed 1",
    ]
    assert labels[BY_ID].tolist() == [0, 0, 0, 0, 0, 1, 1, 1] == labels["recomputed by id, seed 1"].tolist()
    # Participant 50 stands in the sixth row and gets group 1, participant 60 in the fifth and gets group 0.
    assert labels[BY_POSITION].tolist() == [0, 0, 0, 0, 1, 0, 1, 1]
    assert labels["recomputed by position, seed 0"].tolist() == labels[BY_POSITION].tolist()


def test_evidence_tells_the_two_ways_apart() -> None:
    published, matrix, groups = camps()
    people = pl.DataFrame({"participant_id": sorted(IDS), "polis_group": [1, 1, 1, 1, 1, 0, None, 0]})
    found = published_groups.alignment_evidence(published, matrix, groups, people, 99, 3)
    assert contracts.ALIGNMENT_EVIDENCE.violations(found).is_empty()
    position, own = found.row(0, named=True), found.row(1, named=True)
    assert (position["n_displaced"], own["n_displaced"]) == (7, 0)
    assert (position["n_compared"], position["n_agreeing"], own["n_agreeing"]) == (7, 5, 7)
    assert own["adjusted_rand"] == 1.0 and own["chi_square"] == pytest.approx(16.0)
    assert own["p_value"] == (own["n_as_large"] + 1) / 100 < position["p_value"]
    assert own["n_as_large"] == sum(each >= 16.0 - 1e-9 for each in own["shuffled"])
    assert found["shuffled"].to_list()[2:] == [None] * 4


def test_scores_and_crossings() -> None:
    published, matrix, groups = camps(threshold=0.2)
    scored, statements = statements_table(published, matrix, groups)
    assert contracts.REPLICATED_SCORES.violations(scored).is_empty()
    assert contracts.REPLICATED_STATEMENTS.violations(statements).is_empty()
    assert statements["reproduced_agreement"].to_list() == [[0.8, 1 / 3], [1.0, 1.0], [0.2, 2 / 3]]
    assert statements["corrected_gac"].to_list() == [0.0, 1.0, 0.0]
    assert statements["crossing"].to_list() == ["falls below", "stays above", "stays below"]
    assert statements["principle_ids"].to_list() == [["P1"], ["P1"], ["P2"]]
    assert statements["seeds_reaching"].to_list() == [0, 2, 0]
    assert statements["polarization_index"].to_list() == [0.75, 0.0, 0.75]
    assert (statements["reproduced_low"] <= statements["reproduced_gac"]).all()
    assert (statements["reproduced_gac"] <= statements["reproduced_high"]).all()
    assert statements["corrected_low"][1] == statements["corrected_high"][1] == 1.0


def test_intervals_of_one_group_are_those_of_a_share() -> None:
    matrix = matrix_of([[1]] * 60 + [[-1]] * 40)
    low, high = scores.gac_intervals(matrix, np.zeros(100, dtype=np.int64), 2000, 1)[:, 0]
    # Normal approximation: 0.6 -+ 1.645 * sqrt(0.6 * 0.4 / 100).
    assert low == pytest.approx(0.519, abs=0.015) and high == pytest.approx(0.681, abs=0.015)


def test_a_principle_stands_as_long_as_one_source_does() -> None:
    published, matrix, groups = camps(threshold=0.2)
    scored, statements = statements_table(published, matrix, groups)
    constitution = constitution_of({"P1": [0], "P2": [0, 1], "P3": [1]})
    found = scores.replicated_principles(constitution, statements, scored)
    assert contracts.REPLICATED_PRINCIPLES.violations(found).is_empty()
    assert found.select("fate", "corrected_rank", "lost_statement_ids", "lost_seeds").rows() == [
        ("loses all its sources", None, [0], [0, 1]),
        ("loses some sources", 1, [0], []),
        ("keeps all its sources", 2, [], []),
    ]


@pytest.mark.parametrize(
    ("sources", "message"),
    [({"P1": []}, "names no source of principle P1"), ({"P1": [77]}, "P1 names statement 77, which has no publ")],
)
def test_a_principle_without_a_scored_source_is_refused(sources: dict[str, list[int]], message: str) -> None:
    with pytest.raises(ConsultationError, match=message):
        scores.sources_of(constitution_of(sources), {1, 2})


def test_results_and_votes_of_different_people_are_refused() -> None:
    votes = pl.DataFrame({"participant_id": [1, 2], "statement_id": [0, 0], "vote": [1, 1]})
    with pytest.raises(ConsultationError, match="name participant_id 3, which the export"):
        published_votes(published_of([1, 3], [0, 1], {0: (1.0, 1.0)}), votes)
    with pytest.raises(ConsultationError, match="name statement_id 4, which the export"):
        published_votes(published_of([1, 2], [0, 1], {0: (1.0, 1.0), 4: (1.0, 1.0)}), votes)


FILES = {
    "figures.csv": "figure_id,section,what,value,unit,status\ngac_threshold,3.3,cut,0.7,,match\n",
    "groups.csv": "row,participant_id,group_id\n2,7,1\n1,8,0\n",
    "agreement.csv": "statement_id,group_0,group_1\n4,0.5,1\n",
    "seed_statements.csv": "statement_id,tags\n4,P S\n",
    "prompts.csv": "prompt_id,text\npublished-1,a\nown,b\n",
}


@pytest.fixture
def folder(tmp_path: Path) -> Consultation:
    for name, content in FILES.items():
        (tmp_path / name).write_text(content, encoding="utf-8")
    sample = read_consultation(SAMPLE)
    return sample.model_copy(update={"folder": tmp_path})


NAMED = Replication(
    figures="figures.csv",
    groups="groups.csv",
    agreement="agreement.csv",
    seed_statements="seed_statements.csv",
    constitution="public",
)


def test_published_files_are_read_in_the_order_of_their_rows(folder: Consultation) -> None:
    found = read_published(folder, NAMED)
    assert (found.participant_ids.tolist(), found.labels.tolist()) == ([8, 7], [0, 1])
    assert (found.agreement, found.threshold, found.n_prompts) == ({4: (0.5, 1.0)}, 0.7, 1)
    assert found.seed_statements == {4: ("P", "S")}


@pytest.mark.parametrize(
    ("name", "old", "new", "message"),
    [
        ("groups.csv", "2,7", "3,7", "`row` does not count from 1 without gaps"),
        ("groups.csv", "2,7", "2,8", "`participant_id` 8 stands in"),
        ("groups.csv", "7,1", "7,2", "numbered from 0 without gaps"),
        ("groups.csv", "7,1", "7,x", "row 2: `group_id` is 'x' instead of a whole number"),
        ("groups.csv", "group_id", "group", "no column group_id"),
        ("agreement.csv", "0.5", "1.5", "row 2: `group_0` is '1.5' instead of a number from 0 to 1"),
        ("figures.csv", "gac_threshold", "gac_mean", "no figure gac_threshold; add"),
        ("figures.csv", "0.7", "high", "figure gac_threshold: `value` is 'high' instead"),
        ("figures.csv", "gac_threshold,3.3,cut,0.7,,match\n", "", "no rows"),
    ],
)
def test_a_malformed_published_file_is_named(folder: Consultation, name: str, old: str, new: str, message: str) -> None:
    assert old in FILES[name]
    (folder.folder / name).write_text(FILES[name].replace(old, new, 1), encoding="utf-8")
    with pytest.raises(ConsultationError, match=message):
        read_published(folder, NAMED)
