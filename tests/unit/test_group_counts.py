"""Tables of how each group voted, without the votes of people: read for what they are, or refused by file and row."""

from __future__ import annotations

from pathlib import Path

import polars as pl
import pytest
from typer.testing import CliRunner

from ccai_dagster.cli.app import app
from ccai_dagster.consultation.folder import read_consultation
from ccai_dagster.contracts import RAW_GROUP_VOTES
from ccai_dagster.core.errors import ConsultationError
from ccai_dagster.deliberation.consensus import GroupVotes, gac_of_counts
from ccai_dagster.deliberation.importing.comparison import came_since, doubts
from ccai_dagster.deliberation.importing.copies import copy_without_codes
from ccai_dagster.deliberation.importing.read_votes import find_vote_files, read_votes
from ccai_dagster.deliberation.importing.tables import Import
from ccai_dagster.deliberation.votes import Procedure

KINDS = ("votes", "agrees", "disagrees", "passes")
POLIS = ",".join(
    ["comment-id", "comment", *(f"{whose}-{kind}" for whose in ("total", "group-a", "group-b") for kind in KINDS)]
)
ROWS = ['0,"Be kind, always",7,5,1,1,4,3,1,0,3,2,0,1', "3,Second,2,0,2,0,2,0,2,0,0,0,0,0"]
COUNTS = [(0, 0, 3, 1, 0), (0, 1, 2, 0, 1), (3, 0, 0, 2, 0), (3, 1, 0, 0, 0)]
"""Statement, group, agree, disagree, pass."""


def written(folder: Path, name: str, *lines: str, **others: str) -> Path:
    folder.mkdir(exist_ok=True)
    (folder / name).write_text("\n".join([*lines, ""]))
    for stem, text in others.items():
        (folder / f"{stem}.csv").write_text(text)
    return folder


def rows(imported: Import) -> list[tuple[int, ...]]:
    assert not RAW_GROUP_VOTES.violations(imported.raw_group_votes).height
    assert imported.raw_votes.is_empty() and imported.raw_participants.is_empty(), "nobody is made up"
    return imported.raw_group_votes.rows()


def facts(imported: Import) -> dict[str, tuple[str, int | None, str]]:
    return {row[0]: row[1:] for row in imported.import_report.iter_rows()}


@pytest.mark.parametrize("name", ["comment-groups.csv", "2024-comment-groups.csv", "votes.csv", "whatever.csv"])
def test_polis_s_counts_are_read_under_any_name(tmp_path: Path, name: str) -> None:
    read = read_votes(written(tmp_path, name, POLIS, *ROWS))
    assert rows(read) == COUNTS
    assert read.raw_statements["text"].to_list() == ["Be kind, always", "Second"]
    told = facts(read)
    assert told["groups"] == ("found", 2, "Group A is 'a', Group B is 'b'")
    assert (told["votes"][1], told["agree"][1], told["disagree"][1], told["pass"][1]) == (9, 5, 3, 1)
    assert told["who voted"][0] == "unknown"


@pytest.mark.parametrize(
    "lines",
    [
        # Jigsaw's sensemaking tools, semicolons of a spreadsheet, passes from totals, one row a statement and group.
        (
            "comment-id,comment_text,votes,agrees,group-0-agree-count,group-0-disagree-count,group-0-pass-count,"
            "group-1-agree-count,group-1-disagree-count,group-1-pass-count",
            '0,"Be kind, always",7,5,3,1,0,2,0,1',
            "3,Second,2,0,0,2,0,0,0,0",
        ),
        (
            "id;text;Group old agree;Group old disagree;Group old votes;Group young agree;Group young disagree;"
            "Group young votes;",
            "0;Be kind, always;3;1;4.0;2;0;3;",
            ";;;;;;;;",
            "3;Second;0;2;2;0;;;",
        ),
        (
            "Statement ID,Text,Group,Agree,Disagree,Pass",
            "3,Second,old,0,2,0",
            '0,"Be kind, always",young,2,0,1',
            '0,"Be kind, always",old,3,1,0',
        ),
    ],
)
def test_other_tables_of_counts_are_read(tmp_path: Path, lines: tuple[str, ...]) -> None:
    read = read_votes(written(tmp_path, "export.csv", *lines))
    assert rows(read) == COUNTS
    assert read.raw_statements["text"].to_list() == ["Be kind, always", "Second"]
    assert [code for code in facts(read)["groups"][2].split("'")[1::2]] in (["0", "1"], ["old", "young"])


def test_statements_without_ids_are_numbered_and_a_group_that_never_voted_is_none(tmp_path: Path) -> None:
    lines = ["statement,group,agree,disagree", "Trees,x2,5,1", "Trees,x10,2,2", "Cars,x2,0,3", "Cars,never,0,0"]
    read = read_votes(written(tmp_path, "a.csv", *lines))
    assert rows(read) == [(0, 0, 5, 1, 0), (0, 1, 2, 2, 0), (1, 0, 0, 3, 0), (1, 1, 0, 0, 0)]
    assert read.raw_statements["text"].to_list() == ["Trees", "Cars"]
    told = facts(read)
    assert told["groups"][2] == "Group A is 'x2', Group B is 'x10'"
    assert told["statement ids"][0] == "repaired" and told["passes"][0] == "unknown"


def test_texts_and_moderation_come_from_the_comments_beside(tmp_path: Path) -> None:
    comments = "timestamp,comment-id,author-id,agrees,disagrees,moderated,comment-body\n" + "".join(
        f"170000000{place},{place},1,0,0,{mark},Text {place}\n" for place, mark in enumerate((1, -1, 0))
    )
    read = read_votes(written(tmp_path, "comment-groups.csv", POLIS, *ROWS, comments=comments))
    assert read.raw_statements["text"].to_list() == ["Text 0", "Text 1", "Text 2"]
    assert read.raw_statements["moderated"].to_list() == [1, -1, 0]
    assert rows(read) == COUNTS[:2], "3 has no text"
    assert facts(read)["counts on statements without a text"][1:] == (
        1,
        "set aside; the rest is read: comment-groups.csv (1, 3)",
    )
    assert facts(read)["mode of moderation"][2].endswith("strict"), "nobody voted on what nobody moderated"


def test_counts_are_read_where_the_file_of_votes_is_empty(tmp_path: Path) -> None:
    comments = "timestamp,comment-id,author-id,agrees,disagrees,moderated,comment-body\n1,0,1,0,0,1,Text\n"
    assert (
        rows(read_votes(written(tmp_path, "comment-groups.csv", POLIS, *ROWS, comments=comments, votes="")))
        == COUNTS[:2]
    )


def test_votes_of_people_are_read_rather_than_counts_beside_them(tmp_path: Path) -> None:
    votes = "participant,statement,vote\n" + "".join(f"{person},0,{1 - person % 3}\n" for person in range(6))
    read = read_votes(
        written(
            tmp_path,
            "comment-groups.csv",
            POLIS,
            *ROWS,
            votes=votes,
            statements="id,text\n0,Hi\n".replace("id,", "statement,"),
        )
    )
    assert read.raw_votes.height == 6 and read.raw_group_votes.is_empty()


@pytest.mark.parametrize(
    ("header", "row", "told"),
    [
        (
            "comment-id,group-a-votes,group-a-agrees,group-a-disagrees",
            "1,3,2,2",
            "data row 1: group-a-votes is 3, and its parts make 4",
        ),
        (
            "comment-id,group-a-votes,group-a-agrees,group-a-disagrees,group-a-passes",
            "1,9,2,2,2",
            "group-a-votes is 9, and its parts make 6",
        ),
        (
            "comment-id,group-a-agrees,group-a-disagrees",
            "1,-3,2",
            "data row 1: group-a-agrees is -3; a count is 0 or more",
        ),
        (
            "comment-id,group-a-agrees,group-a-disagrees",
            "1,0.4,0.6",
            "group-a-agrees should be a whole number, found '0.4'",
        ),
        ("comment-id,group-a-agrees,group-a-disagrees", "1,40%,60%", "should be a whole number, found '40%'"),
        (
            "comment-id,group-a-agrees,group-a-disagrees",
            "1,4,6\n2,1,1\n1,4,4",
            r"data rows \[1, 3\] are of the same statement and group",
        ),
        ("comment-id,group-a-agrees,group-a-disagrees", "1,0,0", "no votes. An empty consultation cannot be run"),
        ("comment-id,comment,group-a-agrees", "1,Hi,4", "group-NAME-agrees and group-NAME-disagrees"),
    ],
)
def test_counts_that_cannot_be_are_refused_by_row(tmp_path: Path, header: str, row: str, told: str) -> None:
    with pytest.raises(ConsultationError, match=told):
        read_votes(written(tmp_path, "comment-groups.csv", header, row))


def test_counts_are_scored_as_by_hand(tmp_path: Path) -> None:
    read = read_votes(written(tmp_path, "comment-groups.csv", POLIS, *ROWS))
    given = GroupVotes.of_table(read.raw_group_votes, pl.Series([0, 3, 9]))
    way = Procedure("default", "column_mean", None, "laplace", "product", 1)
    scored = gac_of_counts(given, way)
    # (3 + 1) / (4 + 2) * (2 + 1) / (3 + 2); (0 + 1) / (2 + 2) * 1 / 2; statement 9 has no votes: 1 / 2 * 1 / 2.
    assert scored["gac"].to_list() == pytest.approx([4 / 6 * 3 / 5, 1 / 4 * 1 / 2, 1 / 4])
    assert scored["n_votes"].to_list() == [7, 2, 0] and scored["least_participation"].null_count() == 3
    assert GroupVotes.of_table(given.table(), pl.Series([0, 3, 9])).counts.votes.tolist() == given.counts.votes.tolist()


def test_only_what_is_read_is_copied_and_reads_the_same(tmp_path: Path) -> None:
    coded = [f"{row},{mail}" for row, mail in zip(ROWS, ("a@example.org", "b@example.org"), strict=True)]
    found = find_vote_files(written(tmp_path / "export", "groups of june.csv", f"{POLIS},email", *coded))
    left = copy_without_codes(found, tmp_path / "copy")
    assert "groups of june.csv: email" in left
    assert "example.org" not in (tmp_path / "copy" / "comment-groups.csv").read_text()
    assert rows(read_votes(tmp_path / "copy")) == COUNTS


def test_a_newer_table_of_counts_is_compared_with_the_one_before(tmp_path: Path) -> None:
    before = read_votes(written(tmp_path / "a", "comment-groups.csv", POLIS, *ROWS))
    now = read_votes(
        written(tmp_path / "b", "comment-groups.csv", POLIS, ROWS[0], ROWS[1].replace("2,0,2,0,2,0,2", "3,0,3,0,3,0,3"))
    )
    assert came_since(before, now) == "1 vote more" and doubts(before, now) == []
    assert doubts(now, before) == ["9 votes where the last import had 10, 1 fewer"]


def test_a_folder_is_made_and_says_what_cannot_be_had(tmp_path: Path) -> None:
    export = written(tmp_path / "export", "comment-groups.csv", POLIS, *ROWS)
    made = CliRunner().invoke(app, ["new", "--from-export", str(export), str(tmp_path / "mine")])
    assert made.exit_code == 0, made.output
    assert "2 groups whose votes are counted, 2 statements, 9 votes" in made.output
    assert "unknown: who voted: the table has counts by group and no votes of people" in made.output
    assert read_consultation(tmp_path / "mine").file.moderation == "lenient", "people voted on what nobody moderated"
