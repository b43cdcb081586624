from __future__ import annotations

import datetime
from pathlib import Path

import polars as pl
import pytest

from ccai_dagster import contracts
from ccai_dagster.core.errors import ConsultationError
from ccai_dagster.deliberation.importing.read_votes import find_vote_files, read_votes

COMMENTS = """timestamp,datetime,comment-id,author-id,agrees,disagrees,moderated,comment-body
1500000000000,Mon,1,0,1,0,1,"Be kind,
always"
1500000001000,Mon,0,7,9,9,-1,Be brief
"""
VOTES = """timestamp,datetime,comment-id,voter-id,vote
1500000003000,Mon,0,7,-1
1500000002000,Mon,0,7,1
1500000002000,Mon,1,3,0
1500000004000,Mon,1,7,1
"""
MATRIX = """participant,xid,group-id,n-comments,n-votes,n-agree,n-disagree,0,1
7,secret,1,1,2,1,1,-1,1
3,secret2,,0,1,0,0,,0
9,secret3,0,0,0,0,0,,
"""


def write(folder: Path, comments: str = COMMENTS, votes: str | None = VOTES, matrix: str | None = MATRIX) -> Path:
    folder.mkdir(exist_ok=True)
    (folder / "comments.csv").write_text(comments)
    if votes is not None:
        (folder / "votes.csv").write_text(votes)
    if matrix is not None:
        (folder / "participants-votes.csv").write_text(matrix)
    return folder


def report(folder: Path) -> dict[str, int]:
    return dict(read_votes(folder).import_report.select("item", "count").iter_rows())


def test_last_vote_counts_and_earlier_ones_are_reported(tmp_path: Path) -> None:
    imported = read_votes(write(tmp_path))
    assert imported.raw_votes.select("participant_id", "statement_id", "vote", "times_voted").rows() == [
        (3, 1, 0, 1),
        (7, 0, -1, 2),
        (7, 1, 1, 1),
    ]
    assert imported.raw_votes["voted_at"][1] == datetime.datetime(2017, 7, 14, 2, 40, 3, tzinfo=datetime.UTC)
    assert report(tmp_path)["earlier votes replaced"] == 1
    found = report(tmp_path)
    # Statement 0 states 9 and 9 where its rows have 1 and 1; statement 1 states what its rows have.
    assert (found["statements whose totals differ"], found["differences not explained"]) == (1, 1)
    assert found["differences explained by votes cast again"] == 0


def test_tables_keep_their_contracts_and_hold_no_personal_code(tmp_path: Path) -> None:
    imported = read_votes(write(tmp_path))
    for name in ("raw_statements", "raw_votes", "raw_participants", "import_report"):
        table = getattr(imported, name)
        assert not getattr(contracts, name.upper()).violations(table).height
        assert "secret" not in table.write_csv()


def test_totals_that_count_votes_cast_again_are_explained(tmp_path: Path) -> None:
    found = report(write(tmp_path, COMMENTS.replace("9,9,-1", "1,1,-1")))
    assert found["statements whose totals differ"] == found["differences explained by votes cast again"] == 1
    assert found["differences not explained"] == 0
    agreeing = report(write(tmp_path, COMMENTS.replace("9,9,-1", "0,1,-1")))
    assert agreeing["statements whose totals differ"] == 0
    assert "differences not explained" not in agreeing


def test_people_without_votes_and_groups_are_kept(tmp_path: Path) -> None:
    imported = read_votes(write(tmp_path))
    assert imported.raw_participants.rows() == [(3, 1, None), (7, 2, 1), (9, 0, 0)]


def test_bodies_may_span_lines(tmp_path: Path) -> None:
    assert read_votes(write(tmp_path)).raw_statements["text"].to_list() == ["Be brief", "Be kind,\nalways"]


def test_votes_come_from_the_matrix_where_there_is_no_list(tmp_path: Path) -> None:
    imported = read_votes(write(tmp_path, votes=None))
    assert imported.raw_votes.select("participant_id", "statement_id", "vote").rows() == [
        (3, 1, 0),
        (7, 0, -1),
        (7, 1, 1),
    ]
    assert "votes.csv missing" in imported.import_report["item"].to_list()


def test_order_of_rows_does_not_matter(tmp_path: Path) -> None:
    header, *rows = VOTES.strip().split("\n")
    shuffled = "\n".join([header, *reversed(rows)]) + "\n"
    one, other = write(tmp_path / "a"), write(tmp_path / "b", votes=shuffled)
    assert read_votes(one).raw_votes.equals(read_votes(other).raw_votes)


def test_digest_changes_with_content_only(tmp_path: Path) -> None:
    one, same, other = (
        write(tmp_path / "a"),
        write(tmp_path / "b"),
        write(tmp_path / "c", votes=VOTES.replace("3,0", "3,1")),
    )
    assert len({find_vote_files(place).digest() for place in (one, same)}) == 1
    assert find_vote_files(one).digest() != find_vote_files(other).digest()


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"votes": VOTES.replace("7,-1", "7,2")}, ["votes.csv, data row 1", "vote 2", "participant 7"]),
        ({"votes": VOTES.replace("Mon,0,7,1", "Mon,5,7,1")}, ["data row 2", "statement '5'", "table of statements"]),
        ({"votes": VOTES.replace("7,-1", "7,x")}, ["data row 1", "column vote", "'x'"]),
        ({"votes": VOTES.replace("vote\n", "voice\n", 1)}, ["votes.csv", "missing column", "found", "voter-id"]),
        ({"votes": VOTES.replace("0,7,-1", "0,7,-1,4")}, ["votes.csv, data row 1", "more columns than the 5"]),
        (
            {"votes": "timestamp,datetime,comment-id,voter-id,vote\n", "matrix": None},
            ["no votes", "empty consultation"],
        ),
        ({"votes": "", "matrix": None}, ["votes.csv", "empty"]),
        ({"comments": COMMENTS.replace(",0,7,", ",1,7,")}, ["comments.csv", "comment-id 1", "[1, 2]"]),
        ({"comments": COMMENTS.replace("9,9,-1", "9,9,4")}, ["data row 2", "moderated is 4"]),
        ({"comments": COMMENTS.replace("author-id", "agrees")}, ["comments.csv", "agrees stands twice"]),
        ({"comments": COMMENTS + "1500,Mon,x\n"}, ["comments.csv, line 5", "3 columns", "8"]),
        ({"comments": COMMENTS + "1,Mon,8,7,1,1,1,be, sober\n"}, ["line 5", "bodies are quoted"]),
        ({"comments": COMMENTS.replace("comment-body", "body")}, ["missing column", "comment-body"]),
        ({"comments": COMMENTS.splitlines()[0] + "\n"}, ["no statements"]),
        ({"votes": None, "matrix": None}, ["neither votes.csv nor"]),
        ({"votes": None, "matrix": MATRIX.replace("9,secret3", "7,secret3")}, ["participant 7", "[1, 3]"]),
        ({"votes": None, "matrix": MATRIX.replace(",-1,1\n", ",maybe,1\n")}, ["data row 1", "'maybe'"]),
    ],
)
def test_bad_exports_are_refused_with_file_and_row(
    tmp_path: Path, change: dict[str, str | None], named: list[str]
) -> None:
    with pytest.raises(ConsultationError) as caught:
        read_votes(write(tmp_path, **change))
    for part in named:
        assert part in str(caught.value)


def test_missing_folder(tmp_path: Path) -> None:
    with pytest.raises(ConsultationError, match="not found"):
        read_votes(tmp_path / "nowhere")


@pytest.mark.parametrize(
    ("name", "participants", "statements", "rows", "votes", "differing"),
    [
        ("15-per-hour-seattle", 339, 54, 2995, 2872, 21),
        ("brexit-consensus", 204, 50, 5312, 5303, 8),
        ("scoop-hivemind.biodiversity", 536, 316, 29802, 29719, 49),
        ("scoop-hivemind.ubi", 234, 71, 7174, 7153, 18),
    ],
)
def test_published_conversations(
    test_data: Path, name: str, participants: int, statements: int, rows: int, votes: int, differing: int
) -> None:
    imported = read_votes(test_data / "polis" / name)
    found = dict(imported.import_report.select("item", "count").iter_rows())
    assert (found["participants"], found["statements"], found["vote rows"], found["votes"]) == (
        participants,
        statements,
        rows,
        votes,
    )
    assert found["agree"] + found["disagree"] + found["pass"] == votes == imported.raw_votes.height
    assert found["earlier votes replaced"] == rows - votes
    # comments.csv counts every vote row: that accounts for each statement whose totals differ.
    assert found["statements whose totals differ"] == differing
    assert found["differences explained by votes cast again"] == differing
    assert found["differences not explained"] == found["participants whose totals differ"] == 0
    reported = dict(imported.import_report.select("item", "explanation").iter_rows())
    assert reported["era"].startswith("classic: timestamps in milliseconds, +1 is agreement")
    assert "0 times -1" in reported["sign of votes"] or name == "scoop-hivemind.biodiversity"


def test_the_ccai_conversation_has_no_votes_csv(test_data: Path) -> None:
    imported = read_votes(test_data / "ccai")
    facts = {row["item"]: row for row in imported.import_report.to_dicts()}
    assert (facts["participants"]["count"], facts["votes"]["count"]) == (1126, 38_252)
    assert facts["votes.csv missing"]["kind"] == "unknown"
    assert facts["differences not explained"]["kind"] == "unknown"
    assert "1356 times +1, 0 times -1" in facts["sign of votes"]["explanation"]


def test_digest_of_a_table_can_be_recomputed_from_json_lines() -> None:
    import hashlib
    import json

    from ccai_dagster.core.digest import table_digest

    table = pl.DataFrame({"id": [1, 2], "text": ["a", None]})
    lines = '{"id":1,"text":"a"}\n{"id":2,"text":null}\n'
    expected = hashlib.sha256((json.dumps([["id", "Int64"], ["text", "String"]]) + "\n" + lines).encode())
    assert table_digest(table) == expected.hexdigest()


def test_what_is_about_the_conversation_itself_is_known_only_if_the_export_says_so(tmp_path: Path) -> None:
    assert read_votes(write(tmp_path / "unmarked")).raw_statements["is_meta"].to_list() == [None, None]
    comments = (
        "timestamp,comment-id,author-id,agrees,disagrees,moderated,is-meta,is-seed,comment-body\n"
        "1500000000000,1,0,1,0,1,true,false,This poll is too long\n"
        "1500000001000,0,7,9,9,1,false,true,Be brief\n"
    )
    reported = read_votes(write(tmp_path / "marked", comments)).raw_statements
    assert reported.select("statement_id", "is_meta", "is_seed").rows() == [(0, False, True), (1, True, False)]
