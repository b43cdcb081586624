"""Votes with which a statement was marked as important: read, counted by group, and weighed under a decision."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from ccai_dagster.audit.sensitivity import Alternative, levels
from ccai_dagster.contracts import IMPORTANT_STATEMENTS, OPINION_GROUPS, RAW_VOTES
from ccai_dagster.decisions.values import Cut, parse_value
from ccai_dagster.deliberation.consensus import gac_scores
from ccai_dagster.deliberation.importance import important_statements
from ccai_dagster.deliberation.importing.read_votes import read_votes
from ccai_dagster.deliberation.votes import Procedure, vote_matrix, with_importance

COMMENTS = "comment-id,author-id,agrees,disagrees,moderated,comment-body\n0,1,0,0,1,a\n1,2,0,0,1,b\n"


def export(folder: Path, column: str, marks: list[str]) -> Path:
    """Two people, two statements; the first person votes on the first one twice."""
    cells = [(1, 0, 1, 100), (1, 1, -1, 101), (2, 0, 1, 102), (2, 1, 0, 103), (1, 0, 1, 104)]
    rows = [f"{at},{key},{who},{vote},{mark}" for (who, key, vote, at), mark in zip(cells, marks, strict=True)]
    (folder / "comments.csv").write_text(COMMENTS)
    (folder / "votes.csv").write_text(f"timestamp,comment-id,voter-id,vote,{column}\n" + "\n".join(rows) + "\n")
    return folder


@pytest.mark.parametrize("column", ["important", "high_priority", "importance"])
def test_marks_are_read_under_each_name_and_the_last_vote_counts(tmp_path: Path, column: str) -> None:
    read = read_votes(export(tmp_path, column, ["0", "1", "0", "", "1"]))
    assert RAW_VOTES.violations(read.raw_votes).is_empty()
    marks = {
        (who, key): mark for who, key, mark in read.raw_votes.select(*read.raw_votes.columns[:2], "important").rows()
    }
    assert marks == {(1, 0): True, (1, 1): True, (2, 0): False, (2, 1): None}
    facts = {row["item"]: row for row in read.import_report.to_dicts()}
    assert facts["votes marked as important"]["count"] == 2
    assert "unknown columns" not in facts


def test_marks_that_are_none_are_set_aside_and_their_votes_count(tmp_path: Path) -> None:
    read = read_votes(export(tmp_path, "important", ["0", "1", "3", "", "heart"]))
    assert read.raw_votes["important"].to_list() == read_votes(tmp_path).raw_votes["important"].to_list()
    assert read.raw_votes["important"].null_count() == 3
    told = read.import_report.filter(pl.col("item").str.starts_with("cells set aside"))
    assert told["count"].sum() == 2
    assert ["first in data row 3" in each for each in told["explanation"]] == [True]


def test_an_export_without_marks_says_nothing_of_them(tmp_path: Path) -> None:
    (tmp_path / "votes.csv").write_text("participant,statement,vote\n1,0,1\n2,0,-1\n")
    read = read_votes(tmp_path)
    assert read.raw_votes["important"].to_list() == [None, None]
    assert "votes marked as important" not in read.import_report["item"]


def test_a_plain_table_may_have_marks(tmp_path: Path) -> None:
    (tmp_path / "votes.csv").write_text("participant,statement,vote,important\n1,0,agree,1\n2,0,disagree,0\n")
    assert read_votes(tmp_path).raw_votes["important"].to_list() == [True, False]


# --- counted and weighed ----------------------------------------------------------------------------
def votes(rows: list[tuple[int, int, int, bool | None]]) -> pl.DataFrame:
    schema = {"participant_id": pl.Int64, "statement_id": pl.Int64, "vote": pl.Int8, "important": pl.Boolean}
    return pl.DataFrame(rows, schema=schema, orient="row")


CAST = votes(
    [
        *[(0, 5, 1, True), (1, 5, -1, False), (2, 5, 1, True), (3, 5, 1, None)],
        *[(0, 6, 1, False), (1, 6, 1, False), (2, 6, 1, True), (3, 6, 0, False)],
    ]
)
GROUPS = OPINION_GROUPS.build([{"participant_id": who, "group_id": who // 2, "x": 0.0, "y": 0.0} for who in range(4)])
PROCEDURE = Procedure("default", "zero", None, "none", "product", 1)


def test_shares_by_group_by_hand() -> None:
    table = important_statements(CAST, GROUPS)
    assert IMPORTANT_STATEMENTS.violations(table).is_empty()
    assert table.drop("low", "high").rows() == [
        (5, 1, 3, 2, 2 / 3, [0, 1], [2, 1], [1, 1]),
        (6, 2, 4, 1, 1 / 4, [0, 1], [2, 2], [0, 1]),
    ]
    assert important_statements(CAST.with_columns(important=pl.lit(None, pl.Boolean)), GROUPS).is_empty()


def test_a_weight_counts_marked_votes_more_often_in_consensus_and_nowhere_else() -> None:
    matrix = with_importance(vote_matrix(CAST, pl.Series(range(4)), pl.Series([5, 6])), CAST)
    labels = np.array([0, 0, 1, 1])
    plain = gac_scores(matrix, labels, PROCEDURE)
    weighed = gac_scores(matrix, labels, replace(PROCEDURE, importance_weight=3.0))
    assert plain["gac"].to_list() == [1 / 2 * 1, 1 * 1 / 2]
    # Statement 5: 3 of 4 in the first group, 4 of 4 in the second; statement 6: 2 of 2, and 3 of 4.
    assert weighed["gac"].to_list() == pytest.approx([3 / 4, 3 / 4], abs=1e-15)
    assert weighed["gac_disagree"].to_list() == [0.0, 0.0]
    rest = ["n_votes", "n_agree", "group_votes", "group_agreement", "least_participation", "polarization_index"]
    assert plain.select(rest).equals(weighed.select(rest))


def test_without_marks_no_weight_changes_anything() -> None:
    bare = CAST.with_columns(important=pl.lit(False))
    matrix = with_importance(vote_matrix(bare, pl.Series(range(4)), pl.Series([5, 6])), bare)
    labels = np.array([0, 0, 1, 1])
    assert matrix.important is None
    heavy = replace(PROCEDURE, importance_weight=9.0)
    assert gac_scores(matrix, labels, heavy).equals(gac_scores(matrix, labels, PROCEDURE))


def test_another_weight_is_tried_only_where_somebody_marked_something() -> None:
    record = Alternative("strict", 7, "default", "zero", None, 1, "none", "product", Cut("threshold", 0.7, 9), 1)
    assert levels(record, False)["importance_weight"] == (1.0,)
    assert levels(record, False, has_importance=True)["importance_weight"] == (1.0, 2.0)
    assert record.shown()["importance_weight"] == "1"


def test_a_weight_below_one_is_refused() -> None:
    assert parse_value("threshold", "importance_weight", "1.5") == 1.5
    with pytest.raises(ValueError, match=r"importance_weight is '0\.5', but must be a number from 1"):
        parse_value("threshold", "importance_weight", "0.5")
