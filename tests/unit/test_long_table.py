"""A plain table of votes, from another platform."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import polars as pl
import pytest

from ccai_dagster.core.errors import ConsultationError
from ccai_dagster.deliberation.importing.read_votes import read_votes

VOTES = """participant,statement,vote,time
ann,b,agree,2024-05-01T12:00:00Z
bob,b,Disagree,2024-05-01 14:30:00+02:00
ann,a,pass,2024-05-01T12:10
ann,a,agree,2024-05-02
"""
STATEMENTS = 'statement,text,author,moderated,time\na,"Be kind, always",bob,-1,2024-05-01\nb,Be brief,eve,,2024-04-30\n'
PLAIN = "participant,statement,vote\n4,2,1\n4,3,-1\n9,2,0\n4,2,0\n"


def write(folder: Path, votes: str, statements: str | None = None) -> Path:
    (folder / "votes.csv").write_text(votes)
    if statements is not None:
        (folder / "statements.csv").write_text(statements)
    return folder


def kinds(place: Path) -> dict[str, str]:
    return dict(read_votes(place).import_report.select("item", "kind").iter_rows())


def test_codes_are_numbered_by_time_and_words_are_votes(tmp_path: Path) -> None:
    read = read_votes(write(tmp_path, VOTES, STATEMENTS))
    noon = datetime(2024, 5, 1, 12, tzinfo=UTC)
    assert read.raw_votes.drop("important").rows() == [
        (0, 0, 1, noon, 1),
        (0, 1, 1, datetime(2024, 5, 2, tzinfo=UTC), 2),
        (1, 0, -1, noon + timedelta(minutes=30), 1),
    ]
    # b is the older statement; eve never voted, so that she has no number.
    assert read.raw_statements.select("statement_id", "author_id", "moderated", "text").rows() == [
        (0, None, 0, "Be brief"),
        (1, 1, -1, "Be kind, always"),
    ]
    assert read.raw_participants.rows() == [(0, 2, None), (1, 1, None)]
    reported = kinds(tmp_path)
    assert reported["participant ids"] == reported["statement ids"] == reported["earlier votes replaced"] == "repaired"
    assert reported["sign of votes"] == "found"
    for table in (read.raw_statements, read.raw_votes, read.raw_participants, read.import_report):
        assert "ann" not in table.with_columns(pl.all().cast(pl.String)).write_csv().split(",")


def test_later_votes_change_no_number(tmp_path: Path) -> None:
    before = read_votes(write(tmp_path, VOTES, STATEMENTS)).raw_votes
    later = VOTES + "aaa,a,agree,2024-06-01\n"
    after = read_votes(write(tmp_path, later, STATEMENTS)).raw_votes
    assert after.filter(pl.col("participant_id") < 2).equals(before) and after.height == before.height + 1


def test_whole_numbers_stay_and_what_is_missing_is_reported(tmp_path: Path) -> None:
    place = write(tmp_path, PLAIN.replace("9,2,0", "9.0, 2 ,0"))
    read = read_votes(place)
    assert read.raw_votes.select("participant_id", "statement_id", "vote", "times_voted").rows() == [
        (4, 2, 0, 2),
        (4, 3, -1, 1),
        (9, 2, 0, 1),
    ]
    assert read.raw_statements["text"].to_list() == ["", ""]
    reported = kinds(place)
    for item in ("sign of votes", "statements.csv missing", "votes whose order is unknown", "statements without text"):
        assert reported[item] == "unknown", item


def test_parquet_and_csv_give_the_same(tmp_path: Path) -> None:
    times = [datetime(2024, 5, day, 12, tzinfo=timezone(timedelta(hours=2))) for day in (1, 2, 3)]
    frame = pl.DataFrame({"participant": [4, 4, 9], "statement": [2, 3, 2], "vote": [1, -1, 0], "time": times})
    for name in ("csv", "parquet", "seconds"):
        (tmp_path / name).mkdir()
    frame.write_parquet(tmp_path / "parquet" / "cast.parquet")
    frame.write_csv(tmp_path / "csv" / "cast.csv")
    frame.with_columns(pl.col("time").dt.epoch("s")).write_csv(tmp_path / "seconds" / "cast.csv")
    first = read_votes(tmp_path / "parquet" / "cast.parquet").raw_votes
    assert first["voted_at"][0] == datetime(2024, 5, 1, 10, tzinfo=UTC)
    assert read_votes(tmp_path / "csv" / "cast.csv").raw_votes.equals(first)
    assert read_votes(tmp_path / "seconds" / "cast.csv").raw_votes.equals(first)


def test_inverted_numbers_are_turned_but_words_are_not(tmp_path: Path) -> None:
    statements = "statement,text,author\n" + "".join(f"{n},text {n},{n}\n" for n in range(8))
    numbers = "participant,statement,vote\n" + "".join(f"{n},{n},-1\n" for n in range(8))
    assert set(read_votes(write(tmp_path, numbers, statements)).raw_votes["vote"]) == {1}
    assert kinds(tmp_path)["votes turned round"] == "repaired"
    words = numbers.replace("-1", "disagree")
    assert set(read_votes(write(tmp_path, words, statements)).raw_votes["vote"]) == {-1}


@pytest.mark.parametrize(
    ("votes", "statements", "named"),
    [
        (VOTES.replace("agree,2024-05-02", "maybe,2024-05-02"), None, ["data row 4", "column vote", "'maybe'"]),
        (PLAIN.replace("9,2,0", "9,2,7"), None, ["data row 3", "vote 7", "must be -1, 0 or 1"]),
        (PLAIN.replace("9,2,0", "9,,0"), None, ["data row 3", "statement should be an id, found nothing"]),
        (PLAIN.replace("9,2,0", "-9,2,0"), None, ["data row 3", "below zero"]),
        ("participant,statement,vote\n", None, ["no votes"]),
        (PLAIN, "statement,text\n2,Be kind\n", ["data row 2", "statement '3'", "same moment"]),
        (PLAIN, "statement,text\n2,Be kind\n3,Be brief\n2,Be\n", ["statements.csv", "statement 2", "[1, 3]"]),
        (PLAIN, "statement,text,moderated\n2,Be kind,5\n3,x,0\n", ["statements.csv, data row 1", "moderated is 5"]),
        (PLAIN, "statement,wording\n2,Be kind\n", ["statements.csv", "missing column", "text"]),
    ],
)
def test_bad_tables_are_refused_with_file_and_row(
    tmp_path: Path, votes: str, statements: str | None, named: list[str]
) -> None:
    with pytest.raises(ConsultationError) as caught:
        read_votes(write(tmp_path, votes, statements))
    for part in named:
        assert part in str(caught.value)


def test_a_file_that_is_no_parquet(tmp_path: Path) -> None:
    (tmp_path / "votes.parquet").write_text("participant")
    with pytest.raises(ConsultationError, match="not readable as Parquet"):
        read_votes(tmp_path / "votes.parquet")
