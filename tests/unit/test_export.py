"""Groups, scores and priorities in the forms of Polis, and read back."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from typer.testing import CliRunner

from ccai_dagster.contracts import OPINION_GROUPS, PARTICIPANTS, RAW_STATEMENTS, RAW_VOTES, STATEMENTS
from ccai_dagster.deliberation import consensus, representative
from ccai_dagster.deliberation.importing.read_votes import read_votes
from ccai_dagster.deliberation.polis_export import ExportedTables, polis_files
from ccai_dagster.deliberation.votes import Procedure, vote_matrix

LABELS = [0] * 5 + [1] * 4
"""Of participants 1 to 9; 10 cast one vote, 11 is excluded."""
VOTES = {
    0: [1, 1, 1, 1, 0, 1, 1, 1, None, 1, -1],
    1: [1, 1, 1, 0, 1, -1, -1, -1, -1, None, 1],
    2: [-1, -1, None, -1, -1, 1, 1, 0, 1, None, 1],
    7: [1, None, None, None, None, None, None, None, None, None, None],
}
TEXTS = {0: "Be kind, always.", 1: 'Say "no"\nif unsure.', 2: "=SUM(A1)", 7: "Out."}


@pytest.fixture(scope="module")
def given() -> ExportedTables:
    raw = RAW_STATEMENTS.build(
        [
            {
                "statement_id": key,
                "author_id": None if key == 7 else key + 1,
                "created_at": None,
                "moderated": 0,
                "is_seed": None,
                "is_meta": key == 7,
                "text": text,
            }
            for key, text in TEXTS.items()
        ]
    )
    cast = [
        {
            "participant_id": who,
            "statement_id": key,
            "vote": vote,
            "voted_at": None,
            "times_voted": 1,
            "important": None,
        }
        for key, own in VOTES.items()
        for who, vote in enumerate(own, start=1)
        if vote is not None
    ]
    votes = RAW_VOTES.build(cast)
    fates = ["kept"] * 9 + ["too few votes", "excluded"]
    people = PARTICIPANTS.build(
        [
            {"participant_id": who, "n_votes": 3, "kept": fate == "kept", "fate": fate, "polis_group": None}
            | {"decision_ids": []}
            for who, fate in enumerate(fates, start=1)
        ]
    )
    statements = STATEMENTS.build(
        [
            {"statement_id": key, "author_id": None, "text": text, "raw_text": text, "rewritten": False}
            | {"decision_ids": []}
            for key, text in TEXTS.items()
            if key != 7
        ]
    )
    groups = OPINION_GROUPS.build(
        [
            {"participant_id": who, "group_id": group, "x": float(group), "y": who / 10}
            for who, group in enumerate(LABELS, start=1)
        ]
    )
    counted = votes.join(groups, on="participant_id", how="semi").join(statements, on="statement_id", how="semi")
    matrix, labels = vote_matrix(counted, groups["participant_id"], statements["statement_id"]), np.array(LABELS)
    return ExportedTables(
        title="A town",
        question="What should it do?",
        strict=True,
        raw_statements=raw,
        raw_votes=votes,
        participants=people,
        statements=statements,
        undecided=frozenset({2}),
        opinion_groups=groups,
        gac_scores=consensus.gac_scores(
            matrix, labels, Procedure("default", "column_mean", None, "laplace", "product", 1)
        ),
        representative_statements=representative.representative_statements(matrix, labels),
        consensus_statements=representative.consensus_statements(matrix),
        comment_priorities=representative.comment_priorities(matrix, np.ones(3), raw),
    )


@pytest.fixture(scope="module")
def files(given: ExportedTables) -> dict[str, str]:
    return polis_files(given)


def test_an_import_reads_the_same_votes_statements_and_groups(
    given: ExportedTables, files: dict[str, str], tmp_path: Path
) -> None:
    for name, text in files.items():
        (tmp_path / name).write_text(text, encoding="utf-8", newline="")
    back = read_votes(tmp_path)
    pair = ["participant_id", "statement_id", "vote"]
    counting = given.raw_votes.filter(pl.col("participant_id") != 11).select(pair).sort(pair)
    assert back.raw_votes.select(pair).sort(pair).equals(counting)
    assert dict(back.raw_statements.select("statement_id", "text").iter_rows()) == TEXTS
    assert back.raw_statements["moderated"].to_list() == [1, 1, 0, -1]
    assert back.raw_statements["is_meta"].to_list() == [False, False, False, True]
    assert dict(back.raw_participants.select("participant_id", "polis_group").iter_rows()) == {
        **dict(zip(range(1, 10), LABELS, strict=True)),
        10: None,
    }


def test_the_math_has_the_keys_and_figures_of_polis(given: ExportedTables, files: dict[str, str]) -> None:
    math: dict[str, Any] = json.loads(files["math-pca2.json"])
    assert (math["n"], math["n-cmts"], math["tids"], math["mod-out"], math["meta-tids"]) == (10, 4, [0, 1, 2], [7], [7])
    assert [each["members"] for each in math["group-clusters"]] == [[1, 2, 3, 4, 5], [6, 7, 8, 9]]
    assert math["base-clusters"]["members"] == [[who] for who in math["base-clusters"]["id"]]
    assert math["group-votes"]["0"]["votes"]["0"] == {"A": 4, "D": 0, "S": 5}
    assert math["group-votes"]["1"] == {
        "id": 1,
        "n-members": 4,
        "votes": {"0": {"A": 3, "D": 0, "S": 3}, "1": {"A": 0, "D": 4, "S": 4}, "2": {"A": 3, "D": 0, "S": 4}},
    }
    assert math["group-aware-consensus"]["0"] == pytest.approx(5 / 7 * 4 / 5, abs=1e-15)
    priorities = dict(given.comment_priorities.select("statement_id", "priority").iter_rows())
    assert math["comment-priorities"] == {str(key): value for key, value in priorities.items()}
    assert [row["tid"] for row in math["consensus"]["agree"]] == [0]
    first = math["repness"]["0"][0]
    assert (first["tid"], first["repful-for"], first["n-success"], first["n-trials"]) == (1, "agree", 4, 5)
    assert [row["tid"] for row in math["repness"]["0"] if row.get("best-agree")] == [0]


def test_votes_and_comments_are_what_red_dwarf_loads(files: dict[str, str]) -> None:
    votes, comments = json.loads(files["votes.json"]), json.loads(files["comments.json"])
    assert votes[0] == {"participant_id": 1, "statement_id": 0, "vote": 1, "modified": 0.0}
    assert comments[0]["txt"] == "Be kind, always." and comments[0]["participant_id"] == 1
    assert comments[3]["participant_id"] == 12  # nobody's number, since the export did not name an author
    assert {row["moderated"] for row in comments} == {1, 0, -1}


def test_counts_by_group_are_whole(files: dict[str, str]) -> None:
    rows = list(csv.DictReader(io.StringIO(files["comment-groups.csv"])))
    assert [row["comment-id"] for row in rows] == ["0", "1", "2"]
    assert (rows[0]["total-votes"], rows[0]["group-a-votes"], rows[0]["group-a-passes"]) == ("9", "5", "1")
    assert (rows[1]["group-b-votes"], rows[1]["group-b-disagrees"]) == ("4", "4")


def test_no_code_of_a_person_and_nobody_excluded_is_in_any_file(files: dict[str, str]) -> None:
    assert not any("xid" in text for text in files.values())
    assert {row["participant_id"] for row in json.loads(files["votes.json"])} == set(range(1, 11))


def test_before_a_run_there_is_nothing_to_export(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from ccai_dagster.cli.app import app

    monkeypatch.setenv("CCAI_HOME", str(tmp_path / "home"))
    result = CliRunner().invoke(app, ["export", str(tmp_path / "out")])
    assert result.exit_code == 1 and "`ccai run` first" in result.output
    assert not (tmp_path / "out").exists()
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "notes.txt").touch()
    assert "holds something already" in CliRunner().invoke(app, ["export", str(tmp_path / "full")]).output
