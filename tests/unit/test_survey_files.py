"""Files as surveys, statistics programs and spreadsheets write them, each read for what it says."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from pathlib import Path

import polars as pl
import pytest
from field_conversation import (
    PEOPLE,
    STATEMENTS,
    all_votes,
    as_csv,
    matrix,
    plain_files,
    polis_files,
    text_of,
    wide_rows,
    write,
)

from ccai_dagster.core.errors import ConsultationError
from ccai_dagster.deliberation.importing.cells import whole_numbers
from ccai_dagster.deliberation.importing.columns import plain_name
from ccai_dagster.deliberation.importing.copies import copy_without_codes
from ccai_dagster.deliberation.importing.read_votes import find_vote_files, read_votes
from ccai_dagster.deliberation.importing.tables import Import

Rows = list[list[object]]
EXPECTED = sorted((p, s, v) for p, s, v, _ in all_votes())
POLIS, PLAIN = polis_files(), plain_files()
CODES = [["xid", "email"], *[[f"x{p}", f"p{p}@example.org"] for p in range(PEOPLE)]]


def votes_of(imported: Import) -> list[tuple[int, int, int]]:
    return imported.raw_votes.select("participant_id", "statement_id", "vote").rows()


def fact(imported: Import, item: str) -> tuple[str, int | None, str]:
    (found,) = imported.import_report.filter(item=item).select("kind", "count", "explanation").rows()
    return found


def read_twice(place: Path, folder: Path, values: Mapping[str, str] | None = None) -> Import:
    """Read an export; what `ccai new` copies of it has the same votes and statements."""
    read = read_votes(place, values)
    copy_without_codes(find_vote_files(place), folder, values)
    again = read_votes(folder, values)
    assert again.raw_votes.equals(read.raw_votes) and again.raw_statements.equals(read.raw_statements)
    assert not any(b"@" in file.read_bytes() for file in folder.iterdir() if file.suffix != ".parquet")
    return read


def cast_by(name: dict[int, object], rows: Rows = PLAIN["votes.csv"]) -> dict[str, Rows]:
    """The plain files with other ids for some people."""
    named = [rows[0], *[[name.get(int(str(row[0])), row[0]), *row[1:]] for row in rows[1:]]]
    return {**PLAIN, "votes.csv": named, "statements.csv": [row[:2] for row in PLAIN["statements.csv"]]}


@pytest.mark.parametrize("missing", ["NA", "n/a", "–"])
def test_what_programs_write_for_an_empty_cell_is_no_vote(tmp_path: Path, missing: str) -> None:
    rows = [[missing if cell == "" else cell for cell in row] for row in wide_rows()]
    assert votes_of(read_twice(write(tmp_path / "wide", {"votes.csv": rows}), tmp_path / "copy")) == EXPECTED
    uncast = [[p, s, missing, ""] for p in range(PEOPLE) for s in range(STATEMENTS) if not (5 * p + 3 * s + 1) % 6]
    long = read_votes(write(tmp_path / "long", {**PLAIN, "votes.csv": PLAIN["votes.csv"] + uncast}))
    assert votes_of(long) == EXPECTED and fact(long, "rows without a vote")[1] == len(uncast)


def test_what_is_missing_may_be_given_a_meaning(tmp_path: Path) -> None:
    rows = [[cell if cell != "" else "NA" for cell in row] for row in wide_rows()]
    values = {"NA": "pass", "1": "agree", "-1": "disagree", "0": "pass"}
    assert read_votes(write(tmp_path, {"votes.csv": rows}), values).raw_votes.height == PEOPLE * STATEMENTS


def as_r_writes(rows: Rows) -> Rows:
    return [[f"X{name}" if str(name).isdigit() else str(name).replace("-", ".") for name in rows[0]], *rows[1:]]


def test_headings_as_r_writes_them_are_those_of_polis(tmp_path: Path) -> None:
    files = {name: as_r_writes(rows) for name, rows in POLIS.items()}
    assert votes_of(read_twice(write(tmp_path / "votes", files), tmp_path / "copy")) == EXPECTED
    files = {"comments.csv": files["comments.csv"], "participants-votes.csv": as_r_writes(matrix())}
    read = read_twice(write(tmp_path / "matrix", files), tmp_path / "copy of matrix")
    assert votes_of(read) == EXPECTED and read.raw_participants["polis_group"].to_list() == [0] * 12 + [1] * 12
    assert plain_name("X12", {}) == "12" and plain_name("I like U.S. parks", {}) == "i-like-u-s. parks".replace(
        " ", "-"
    )


@pytest.mark.parametrize(
    ("cells", "numbers"),
    [
        (["1,000", "17"], [1000, 17]),
        (["1.000", "17"], [1000, 17]),
        (["1.250.000", "3"], [1_250_000, 3]),
        (["1’250", "3"], [1250, 3]),
        (["12\u202f500", "-1,250"], [12_500, -1250]),
        (["1.000", "17.000", ""], [1, 17, None]),
        (["1.0", "2.5", "1,25"], [1, None, None]),
    ],
)
def test_thousands_may_be_separated_and_decimals_are_told_from_them(
    cells: list[str], numbers: list[int | None]
) -> None:
    assert whole_numbers(pl.Series(cells)).to_list() == numbers


def test_a_person_with_a_separated_number_is_not_taken_for_another(tmp_path: Path) -> None:
    read = read_twice(write(tmp_path / "votes", cast_by({23: "1,000"})), tmp_path / "copy")
    assert votes_of(read) == sorted((1000 if p == 23 else p, s, v) for p, s, v in EXPECTED)
    polis = [[*row[:2], "1,000" if row[2] == 23 else row[2], row[3]] for row in POLIS["votes.csv"]]
    files = {**POLIS, "votes.csv": [[*row, "x"] for row in polis]}
    files["votes.csv"][0][-1] = "xid"
    assert votes_of(read_twice(write(tmp_path / "polis", files), tmp_path / "copy of polis")) == votes_of(read)


def counts_by_group(cells: Mapping[int, str]) -> Rows:
    names = [f"{group}-{kind}-count" for group in ("young", "old") for kind in ("agree", "disagree", "pass")]
    rows: Rows = [["comment-id", "comment_text", "votes", "agrees", "disagrees", "passes", *names]]
    for s in range(STATEMENTS):
        rows.append([s, text_of(s), 60, 30, 20, 10, cells.get(s, 20 + s), 5, 5, 10, 15, 0])
    return rows


@pytest.mark.parametrize("name", ["comments.csv", "votes.csv", "tallies.csv"])
def test_jigsaws_groups_have_any_name(tmp_path: Path, name: str) -> None:
    read = read_twice(write(tmp_path / "in", {name: counts_by_group({1: "1.250"})}, ";"), tmp_path / "copy")
    assert read.raw_group_votes.head(4).rows() == [
        (0, 0, 10, 15, 0),
        (0, 1, 20, 5, 5),
        (1, 0, 10, 15, 0),
        (1, 1, 1250, 5, 5),
    ]
    assert fact(read, "groups") == ("found", 2, "Group A is 'old', Group B is 'young'")


@pytest.mark.parametrize(
    ("yes", "no"), [("true", "false"), ("TRUE", "FALSE"), ("1.0", "0.0"), ("WAHR", "FALSCH"), ("x", "")]
)
@pytest.mark.parametrize("form", ["polis", "plain"])
def test_importance_may_be_said_in_words(tmp_path: Path, yes: str, no: str, form: str) -> None:
    files = dict(POLIS if form == "polis" else PLAIN)
    votes = files["votes.csv"]
    files["votes.csv"] = [[*row, "important" if not at else yes if at % 7 == 0 else no] for at, row in enumerate(votes)]
    read = read_twice(write(tmp_path / "in", files), tmp_path / "copy")
    assert fact(read, "votes marked as important")[1] == 40 and "cells set aside" not in read.import_report["item"]


@pytest.mark.parametrize(
    ("files", "name"),
    [
        ({"answers.csv": POLIS["votes.csv"]}, "votes.csv"),
        ({"answers.csv": PLAIN["votes.csv"]}, "votes.csv"),
        ({"votes (1).csv": POLIS["votes.csv"], "people.csv": CODES}, "votes.csv"),
        ({"a matrix.csv": matrix()}, "participants-votes.csv"),
        ({"Antworten.csv": [["participant", *range(STATEMENTS)], *wide_rows()[1:]]}, "votes.csv"),
        ({"answers.csv": POLIS["votes.csv"], "about people.csv": wide_rows()}, "votes.csv"),
        ({"votes (1).csv": POLIS["votes.csv"], "comment-groups.csv": counts_by_group({})}, "votes.csv"),
    ],
)
@pytest.mark.parametrize("zipped", [False, True])
def test_votes_of_any_name_are_found_beside_a_list_of_statements(
    tmp_path: Path, files: dict[str, Rows], name: str, zipped: bool
) -> None:
    place = write(tmp_path / "in", {"comments.csv": POLIS["comments.csv"], **files})
    if zipped:
        place = Path(shutil.make_archive(str(tmp_path / "export"), "zip", place))
    read = read_twice(place, tmp_path / "copy")
    assert votes_of(read) == EXPECTED and read.raw_statements["text"][3] == text_of(3)
    assert (tmp_path / "copy" / name).is_file()


def test_two_tables_of_votes_beside_a_list_of_statements_are_asked_about(tmp_path: Path) -> None:
    files = {"comments.csv": POLIS["comments.csv"], "june.csv": POLIS["votes.csv"], "july.csv": POLIS["votes.csv"][:90]}
    with pytest.raises(ConsultationError, match=r"july\.csv and june\.csv are for the same thing"):
        read_votes(write(tmp_path, files))


def test_people_whose_id_is_a_word_are_people_as_the_others_are(tmp_path: Path) -> None:
    read = read_twice(write(tmp_path / "long", cast_by({5: "Anna", 11: "guest-3"})), tmp_path / "copy")
    expected = sorted(({5: PEOPLE, 11: PEOPLE + 1}.get(p, p), s, v) for p, s, v in EXPECTED)
    assert votes_of(read) == expected, "behind the numbers, by the time of their first vote; the others keep theirs"
    assert fact(read, "participant ids")[:2] == ("repaired", PEOPLE)
    assert "Anna" not in (tmp_path / "copy" / "votes.csv").read_text()
    rows = [[{5: "Anna"}.get(int(str(row[0])), row[0]), *row[1:]] for row in wide_rows()[1:]]
    wide = votes_of(read_votes(write(tmp_path / "wide", {"votes.csv": [wide_rows()[0], *rows]})))
    assert wide == sorted((PEOPLE if p == 5 else p, s, v) for p, s, v in EXPECTED)


def test_a_row_without_votes_renumbers_nobody(tmp_path: Path) -> None:
    total: Rows = [["Total", *(12 + s for s in range(STATEMENTS))]]
    rows = [[{7: 700}.get(int(str(row[0])), row[0]), *row[1:]] for row in wide_rows()[1:]]
    read = read_twice(write(tmp_path / "in", {"votes.csv": [wide_rows()[0], *rows, *total]}), tmp_path / "copy")
    assert votes_of(read) == sorted((700 if p == 7 else p, s, v) for p, s, v in EXPECTED)
    assert "Total" not in (tmp_path / "copy" / "votes.csv").read_text()


def test_an_address_is_the_same_in_any_case(tmp_path: Path) -> None:
    rows = [PLAIN["votes.csv"][0]]
    rows += [[f"{'P' if s % 2 else 'p'}{p}@Example.org", s, v, t] for p, s, v, t in all_votes()]
    statements = [
        [*row[:2], f"P{row[2]}@example.org" if at else "author"] for at, row in enumerate(PLAIN["statements.csv"])
    ]
    read = read_twice(write(tmp_path / "in", {"votes.csv": rows, "statements.csv": statements}), tmp_path / "copy")
    assert votes_of(read) == EXPECTED and read.raw_statements["author_id"].to_list() == list(range(STATEMENTS))


def survey(*columns: str, more: Rows = (), texts: bool = True) -> Rows:
    """One row a person with other columns before the answers, and what stands below the header."""
    rows = wide_rows(lambda vote: {1: "Agree", -1: "Disagree", 0: "Neither agree nor disagree"}[vote])
    answers = [text_of(s) if texts else f"Q{s + 1}" for s in range(STATEMENTS)]
    filled = {
        "Email Address": "p{}@example.org",
        "Respondent ID": "1180000000{:02}",
        "Timestamp": "5/1/2024 12:30:{:02}",
    }
    people = [[*(filled[each].format(p) for each in columns), *rows[p + 1][1:]] for p in range(PEOPLE)]
    return [[*columns, *answers], *more, *people]


def test_a_form_that_collects_addresses_tells_people_by_them(tmp_path: Path) -> None:
    rows = survey("Timestamp", "Email Address")
    read = read_twice(write(tmp_path / "in", {"responses.csv": rows}), tmp_path / "copy")
    assert votes_of(read) == EXPECTED and "participant" in (tmp_path / "copy" / "votes.csv").read_text()
    again = [rows[0], *rows[1:], ["6/1/2024 10:00:00", "P3@example.org", *["Agree"] * STATEMENTS]]
    with pytest.raises(ConsultationError, match=r"data rows \[4, 25\] by column email-address"):
        read_votes(write(tmp_path / "twice", {"responses.csv": again}))


def test_an_address_that_some_leave_out_tells_nobody_from_others(tmp_path: Path) -> None:
    rows = survey("Timestamp", "Email Address")
    rows = [[row[0], "" if at % 2 else row[1], *row[2:]] for at, row in enumerate(rows)]
    read = read_twice(write(tmp_path / "in", {"responses.csv": rows}), tmp_path / "copy")
    assert votes_of(read) == [(p + 1, s, v) for p, s, v in EXPECTED]


@pytest.mark.parametrize("heading", ["E-Mail", "Email Address", "username"])
def test_a_table_of_votes_may_have_addresses_for_people(tmp_path: Path, heading: str) -> None:
    rows = [[f"p{row[0]}@example.org" if at else heading, *row[1:]] for at, row in enumerate(PLAIN["votes.csv"])]
    files = {"votes.csv": rows, "statements.csv": [row[:2] for row in PLAIN["statements.csv"]]}
    assert votes_of(read_twice(write(tmp_path / "in", files), tmp_path / "copy")) == EXPECTED


@pytest.mark.parametrize(("cell", "second"), [("45413.5", 43_200), ("45413,25", 21_600), ("45413", 0)])
def test_times_in_days_of_a_spreadsheet_are_dates(tmp_path: Path, cell: str, second: int) -> None:
    rows = [[*row[:3], cell if at > 1 else "time" if not at else "45412"] for at, row in enumerate(PLAIN["votes.csv"])]
    read = read_twice(write(tmp_path / "in", {**PLAIN, "votes.csv": rows}, ";"), tmp_path / "copy")
    assert read.raw_votes["voted_at"].dt.epoch("s").unique().sort().to_list() == [1_714_435_200, 1_714_521_600 + second]
    assert fact(read, "times in days")[1] == len(EXPECTED)


def test_further_headers_are_no_people_and_may_have_the_texts(tmp_path: Path) -> None:
    qualtrics = survey(
        "Timestamp",
        more=[
            ["Start", *map(text_of, range(STATEMENTS))],
            ['{"ImportId":"a"}', *(f'{{"ImportId":"QID{s}"}}' for s in range(STATEMENTS))],
        ],
        texts=False,
    )
    read = read_twice(write(tmp_path / "in", {"survey.csv": qualtrics}), tmp_path / "copy")
    assert votes_of(read) == [(p + 1, s, v) for p, s, v in EXPECTED] and fact(read, "further headers")[1] == 2
    assert read.raw_statements["text"].to_list() == [text_of(s) for s in range(STATEMENTS)]
    monkey = survey("Respondent ID", more=[["", *["Response"] * STATEMENTS]])
    read = read_twice(write(tmp_path / "monkey", {"survey.csv": monkey}), tmp_path / "copy of monkey")
    assert votes_of(read) == [(118_000_000_000 + p, s, v) for p, s, v in EXPECTED]
    assert fact(read, "further headers")[1] == 1 and read.raw_statements["text"][5] == text_of(5)


def test_a_first_person_who_passed_over_questions_is_no_header(tmp_path: Path) -> None:
    rows = wide_rows()
    rows[1][1:] = ["", "", *rows[1][3:]]
    read = read_votes(write(tmp_path, {"votes.csv": rows}))
    assert "further headers" not in read.import_report["item"] and read.raw_participants.height == PEOPLE


def test_ids_with_decimals_in_one_file_are_those_without_in_the_other(tmp_path: Path) -> None:
    rows = [
        [f"{cell},0" if at and place < 3 else cell for place, cell in enumerate(row)]
        for at, row in enumerate(PLAIN["votes.csv"])
    ]
    assert (
        votes_of(read_twice(write(tmp_path / "in", {**PLAIN, "votes.csv": rows}, ";"), tmp_path / "copy")) == EXPECTED
    )
    floats = pl.DataFrame(EXPECTED, schema=["participant", "statement", "vote"], orient="row").cast(pl.Float64)
    place = write(tmp_path / "parquet", {"statements.csv": PLAIN["statements.csv"]})
    floats.write_parquet(place / "votes.parquet")
    assert votes_of(read_twice(place, tmp_path / "copy of parquet")) == EXPECTED


@pytest.mark.parametrize("ending", ["jsonl", "ndjson"])
def test_votes_may_be_objects_one_a_line(tmp_path: Path, ending: str) -> None:
    names = ("participant", "statement", "vote", "time")
    lines = "".join(json.dumps(dict(zip(names, vote, strict=True))) + "\n" for vote in all_votes())
    place = write(tmp_path / "in", {f"votes.{ending}": lines, "statements.csv": PLAIN["statements.csv"]})
    assert votes_of(read_twice(place, tmp_path / "copy")) == EXPECTED
    assert votes_of(read_votes(place / f"votes.{ending}")) == EXPECTED


@pytest.mark.parametrize("encoding", ["utf-16-le", "utf-16-be"])
def test_utf_16_without_its_mark_is_refused_for_what_it_is(tmp_path: Path, encoding: str) -> None:
    place = write(tmp_path, POLIS)
    (place / "votes.csv").write_bytes(as_csv(POLIS["votes.csv"]).encode(encoding))
    with pytest.raises(ConsultationError, match=r"votes\.csv, line 1: not UTF-8"):
        read_votes(place)


@pytest.mark.parametrize(
    "words", [("angenommen", "offen", "abgelehnt"), ("acceptée", "en attente", "refusée"), ("ja", "NA", "nein")]
)
def test_moderation_may_be_said_in_other_languages(tmp_path: Path, words: tuple[str, str, str]) -> None:
    said = dict(zip((1, 0, -1), words, strict=True))
    marks = {4: -1, 12: 0}
    rows = polis_files(moderated=marks)["comments.csv"]
    rows = [[*row[:5], said[int(str(row[5]))] if at else row[5], row[6]] for at, row in enumerate(rows)]
    read = read_twice(write(tmp_path / "in", {**POLIS, "comments.csv": rows}), tmp_path / "copy")
    assert read.raw_statements["moderated"].to_list() == [marks.get(s, 1) for s in range(STATEMENTS)]
