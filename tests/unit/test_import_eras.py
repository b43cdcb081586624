"""The same conversation, written as each era of Polis wrote it, is read as the same conversation."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ccai_dagster.core.errors import ConsultationError
from ccai_dagster.deliberation.importing.read_votes import read_votes
from ccai_dagster.deliberation.importing.tables import Import

ERAS = ("A", "A2", "B", "C", "C2")
START = 1_700_000_000
BODIES = (
    "Be kind, always",
    "Be brief",
    "水は大切です、とても",
    "Слушай",
    'Say "please", then "thanks"',
    "One line\nand another",
    "1. first\n2. second, perhaps",
    '"Truth" above all',
    "Ask, then act",
    "Don't shout",
)
Vote = tuple[int, int, int, int]
"""Participant, statement, vote, and seconds after the start."""


def own_votes(bodies: Sequence[str]) -> list[Vote]:
    """Everybody agrees to the own statement; the author of a statement has its id."""
    return [(number, number, 1, number) for number in range(len(bodies))]


OTHERS: list[Vote] = [(20, 0, -1, 100), (20, 1, 1, 101), (20, 0, 0, 300), (21, 0, 1, 102), (21, 3, 0, 103)]


def quoted(rows: Sequence[Sequence[object]]) -> str:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(rows)
    return text.getvalue()


def plain(rows: Sequence[Sequence[object]]) -> str:
    return "".join(",".join(map(str, row)) + "\n" for row in rows)


def write_era(folder: Path, era: str, bodies: Sequence[str], votes: Sequence[Vote]) -> Path:
    """Write an export in the form of an era (server/src/routes/export.ts, math/.../export.clj)."""
    folder.mkdir(exist_ok=True)
    seconds, sign = era in ("B", "C", "C2"), -1 if era == "B" else 1
    scale = 1 if seconds else 1000
    date = (
        "Tue Nov 14 2023 22:13:20 GMT+0000 (Coordinated Universal Time)" if seconds else "Tue Nov 14 22:13:20 UTC 2023"
    )
    extra = {"importance": 1} if era == "C2" else {}
    head = ["timestamp"] + (["datetime"] if era != "A2" else []) + ["comment-id"]

    def begin(when: int, statement: int) -> list[object]:
        return [(START + when) * scale, *([date] if era != "A2" else []), statement]

    later = ["is-meta", "is-seed", "group-informed-consensus"] if era == "A2" else []
    columns = [*head, "author-id", "agrees", "disagrees", "moderated", *later, *extra, "comment-body"]
    comments: list[list[object]] = [list(columns)]
    for number, body in reversed(list(enumerate(bodies))):
        # Every vote row is counted; the inverted era counted inverted votes.
        counts = [sum(s == number and v * sign == which for _, s, v, _ in votes) for which in (1, -1)]
        marks = ["false", "true" if number == 0 else "false", 0.5] if era == "A2" else []
        comments.append([*begin(number, number), number, *counts, 1, *marks, *extra.values(), body])
    # Streaming exports are sorted by statement and participant only: within a pair any order may come.
    ordered = sorted(votes, key=lambda vote: (vote[1], vote[0], -vote[3] if seconds else vote[3]))
    cast = [[*begin(when, s), p, v * sign, *extra.values()] for p, s, v, when in ordered]
    (folder / "comments.csv").write_text((plain if era == "B" else quoted)(comments))
    (folder / "votes.csv").write_text(quoted([[*head, "voter-id", "vote", *extra], *cast]))
    if era != "B":
        people = sorted({p for p, *_ in votes}, reverse=True)
        last = {(p, s): v for p, s, v, _ in sorted(votes, key=lambda vote: vote[3])}
        matrix: list[list[object]] = [
            ["participant", "group-id", "n-comments", "n-votes", "n-agree", "n-disagree", *range(len(bodies))]
        ]
        for person in people:
            cells = [last.get((person, number), "") for number in range(len(bodies))]
            counted = [sum(cell != "" for cell in cells), cells.count(1), cells.count(-1)]
            matrix.append([person, person % 2 if person != 20 else "", person < len(bodies), *counted, *cells])
        (folder / f"participant{'' if seconds else 's'}-votes.csv").write_text(
            quoted([[int(c) if isinstance(c, bool) else c for c in row] for row in matrix])
        )
    return folder


def facts(imported: Import) -> dict[str, dict[str, object]]:
    return {row["item"]: row for row in imported.import_report.to_dicts()}


@pytest.mark.parametrize(
    ("era", "name"),
    [
        ("A", "classic: timestamps in milliseconds, +1 is agreement, dates"),
        ("A2", "classic with the columns of 2023: timestamps in milliseconds, +1 is agreement, no dates"),
        ("B", "inverted: timestamps in seconds, -1 is agreement"),
        ("C", "streaming: timestamps in seconds, +1 is agreement"),
        ("C2", "streaming with further columns: timestamps in seconds"),
    ],
)
def test_every_era_is_known_by_its_content(tmp_path: Path, era: str, name: str) -> None:
    imported = read_votes(write_era(tmp_path, era, BODIES, [*own_votes(BODIES), *OTHERS]))
    reported = facts(imported)
    assert str(reported["era"]["explanation"]).startswith(name)
    assert imported.raw_statements["text"].to_list() == list(BODIES)
    assert imported.raw_votes.filter(participant_id=20).select("statement_id", "vote", "times_voted").rows() == [
        (0, 0, 2),
        (1, 1, 1),
    ]
    assert reported["earlier votes replaced"]["count"] == 1
    assert reported["votes whose order is unknown"]["count"] == 0
    # Statement 0 is the one that somebody voted on again, and comments.csv counts both votes.
    assert reported["differences explained by votes cast again"]["count"] == 1
    assert reported["differences not explained"]["count"] == 0
    assert ("votes turned round" in reported) == (era == "B") == ("bodies without quotes" in reported)
    assert ("unknown columns" in reported) == (era == "C2")
    assert reported["meta statements"]["kind"] == ("found" if era == "A2" else "unknown")
    if era == "A2":
        assert imported.raw_statements["is_seed"].to_list() == [True] + [False] * 9
    if era == "C2":
        assert reported["unknown columns"] == {
            "item": "unknown columns",
            "kind": "found",
            "count": 1,
            "explanation": "not read: comments.csv: importance",
        }
    assert imported.raw_votes["important"].is_not_null().all() == (era == "C2")


CAST = st.lists(
    st.tuples(st.integers(10, 14), st.integers(0, 9), st.sampled_from([-1, 0, 1]), st.integers(50, 5000)),
    max_size=30,
    unique_by=lambda vote: (vote[0], vote[1], vote[3]),
)
TEXTS = st.lists(
    st.text(alphabet="ab ,.\n'é水1", min_size=1, max_size=20).map(str.strip).map(lambda text: "x" + text),
    min_size=10,
    max_size=10,
)


@settings(max_examples=12, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(cast=CAST, bodies=TEXTS)
def test_all_eras_give_the_same_tables(
    tmp_path_factory: pytest.TempPathFactory, cast: list[Vote], bodies: list[str]
) -> None:
    votes = [*own_votes(bodies), *cast]
    read = [read_votes(write_era(tmp_path_factory.mktemp("era"), era, bodies, votes)) for era in ERAS]
    last = {(p, s): v for p, s, v, _ in sorted(votes, key=lambda vote: vote[3])}
    assert {(p, s): v for p, s, v in read[0].raw_votes.select("participant_id", "statement_id", "vote").rows()} == last
    for other in read[1:]:
        assert other.raw_votes.drop("important").equals(read[0].raw_votes.drop("important"))
        unmarked = [each.raw_statements.drop("is_seed", "is_meta") for each in (read[0], other)]
        assert unmarked[0].equals(unmarked[1])
        assert other.raw_participants.drop("polis_group").equals(read[0].raw_participants.drop("polis_group"))


def test_too_few_authors_leave_the_sign_open(tmp_path: Path) -> None:
    few = [vote for vote in own_votes(BODIES) if vote[0] < 7]
    inverted = read_votes(write_era(tmp_path / "b", "B", BODIES, [*few, *OTHERS]))
    reported = facts(inverted)["sign of votes"]
    assert reported["kind"] == "unknown" and "7 times -1" in str(reported["explanation"])
    assert "bodies without quotes" in str(reported["explanation"])
    # Without evidence the votes stay as the columns have them.
    assert inverted.raw_votes.filter(participant_id=0)["vote"].to_list() == [-1]
    enough = [*own_votes(BODIES)[:8], *OTHERS]
    turned = read_votes(write_era(tmp_path / "c", "B", BODIES, enough))
    assert turned.raw_votes.filter(participant_id=0)["vote"].to_list() == [1]


def test_votes_of_one_second_are_counted_as_undecided(tmp_path: Path) -> None:
    tied = [(20, 5, 1, 400), (20, 5, -1, 400), (21, 5, 1, 400), (21, 5, 1, 400), (22, 5, 1, 400), (22, 5, 0, 401)]
    reported = facts(read_votes(write_era(tmp_path, "C", BODIES, [*own_votes(BODIES), *tied])))
    assert reported["votes whose order is unknown"]["count"] == 1
    assert reported["votes whose order is unknown"]["kind"] == "unknown"
    assert reported["earlier votes replaced"]["count"] == 3


def test_headings_of_the_spreadsheet_are_understood(tmp_path: Path) -> None:
    write_era(tmp_path, "A", BODIES, [*own_votes(BODIES), *OTHERS])
    plain_tables = read_votes(tmp_path)
    for name, headings in {
        "comments.csv": "\ufeffTimestamp,Datetime,Comment ID,Author,Aggrees,Disagrees,Moderated,Comment body",
        "votes.csv": "\ufeffTimestamp,Datetime,Comment ID,Voter,Vote",
        "participants-votes.csv": "Participant,Group ID,Comments,Votes,Agrees,Disagrees,0,1,2,3,4,5,6,7,8,9",
    }.items():
        rest = (tmp_path / name).read_text().split("\n", 1)[1]
        (tmp_path / name).write_text(headings + "\n" + rest)
    read = read_votes(tmp_path)
    assert read.raw_votes.equals(plain_tables.raw_votes)
    assert read.raw_statements.equals(plain_tables.raw_statements)
    assert read.import_report.equals(plain_tables.import_report)


def test_gaps_blanks_and_the_smallest_conversation(tmp_path: Path) -> None:
    (tmp_path / "comments.csv").write_text("comment-id,moderated,comment-body\n7, 1 ,Only one\n90,0,\n")
    (tmp_path / "votes.csv").write_text("comment-id,voter-id,vote\n7,3.0,1\n")
    imported = read_votes(tmp_path)
    assert imported.raw_votes.rows() == [(3, 7, 1, None, 1, None)]
    reported = facts(imported)
    assert reported["statements nobody voted on"]["count"] == 1
    assert reported["statements without text"]["count"] == 1
    assert "no timestamps" in str(reported["era"]["explanation"])
    assert imported.raw_statements["author_id"].to_list() == [None, None]


@pytest.mark.parametrize(("body", "message"), [(b"caf\xe9", "line 3: not UTF-8"), (b"fine\n5,1", "line 4: 2 columns")])
def test_bodies_that_cannot_be_read_are_named_with_their_line(tmp_path: Path, body: bytes, message: str) -> None:
    (tmp_path / "votes.csv").write_text("comment-id,voter-id,vote\n1,1,1\n")
    (tmp_path / "comments.csv").write_bytes(b'comment-id,moderated,comment-body\n1,1,"a, b"\n2,1,' + body + b"\n")
    with pytest.raises(ConsultationError, match=message):
        read_votes(tmp_path)
