"""Files of votes as other programs and people write them: read for what they say, or refused for what they are."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path

import polars as pl
import pytest
from field_conversation import all_votes, as_csv, matrix, plain_files, polis_files, text_of, wide_rows, write

from ccai_dagster.core.errors import ConsultationError
from ccai_dagster.deliberation.importing.columns import plain_name
from ccai_dagster.deliberation.importing.copies import copy_without_codes
from ccai_dagster.deliberation.importing.read_votes import find_vote_files, read_votes
from ccai_dagster.deliberation.importing.tables import Import
from ccai_dagster.deliberation.importing.vote_values import parsed_values

CAST = [(p, s, vote) for p, s, vote, _ in all_votes()]
COUNTS = tuple(sum(vote == side for *_, vote in CAST) for side in (1, -1, 0))
NUMBERS = ("1", "-1", "0")
PAGE = "<!DOCTYPE html>\n<html><head><title>Sign in &amp;\nvote</title></head>\n<body><p>a, b</p></body></html>\n"
HEADER = ("participant", "statement", "vote", "text")


def said(vote: int, words: Sequence[str]) -> str:
    return words[(1, -1, 0).index(vote)]


def lines(words: Sequence[str] = NUMBERS, header: Sequence[str] = HEADER, separator: str = ",") -> str:
    """One row a vote, with texts in quotes."""
    rows = [separator.join([str(p), str(s), said(vote, words), f'"{text_of(s)}"']) for p, s, vote in CAST]
    return "\n".join([separator.join(header), *rows, ""])


def counted(read: Import) -> tuple[int, ...]:
    assert read.raw_statements["text"].to_list() == [text_of(s) for s in range(14)]
    assert read.raw_participants.height == 24
    return tuple(int((read.raw_votes["vote"] == side).sum()) for side in (1, -1, 0))


@pytest.mark.parametrize(
    ("header", "words", "separator"),
    [
        (("Teilnehmer", "Aussage", "Stimme", "Text"), ("Zustimmung", "Ablehnung", "Enthaltung"), ";"),
        (("Participant", "Énoncé", "Vote", "Texte"), ("d’accord", "pas d’accord", "passer"), ";"),
        (("Participante", "Afirmación", "Voto", "Texto"), ("de acuerdo", "en desacuerdo", "paso"), ","),
        (("參與者", "意見", "投票", "文字"), ("同意", "不同意", "略過"), ","),
        (("Учасник", "Твердження", "Голос", "Текст"), ("так", "ні", "не знаю"), "\t"),
        (("participantId", "statementId", "voteValue", "statementText"), NUMBERS, ","),
        (("ParticipantID", "Statement_ID", "Vote", "Statement - Text"), NUMBERS, "|"),
        (HEADER, ("+1", "−1", "0"), ","),
        (HEADER, ("１", "－１", "０"), ","),
        (HEADER, ("١", "-١", "٠"), ","),
        (HEADER, ("👍", "👎🏽", "🤷‍♀️"), ","),
        (HEADER, ("✔️", "✖️", "pass"), ","),
    ],
)
def test_other_languages_signs_and_spellings_mean_what_they_say(
    tmp_path: Path, header: Sequence[str], words: Sequence[str], separator: str
) -> None:
    assert counted(read_votes(write(tmp_path, {"export.csv": lines(words, header, separator)}))) == COUNTS


@pytest.mark.parametrize(
    "text",
    [
        "The town's panel,,,\n" + lines(),
        "The town's panel\nexported on 5 May 2024\n\n" + lines(),
        lines().replace("\n", "\r"),
        lines() + lines(),
        lines().removesuffix("\n") + "\n" + ",".join(HEADER) + "\n",
    ],
    ids=["a title in a table", "titles", "carriage returns", "one file twice", "a header at the end"],
)
def test_what_stands_around_the_rows_is_passed_over(tmp_path: Path, text: str) -> None:
    assert counted(read_votes(write(tmp_path, {"votes.csv": text}))) == COUNTS


def test_a_body_without_quotes_is_no_title(tmp_path: Path) -> None:
    files = {
        "comments.csv": "timestamp,comment-id,author-id,agrees,disagrees,moderated,comment-body\n"
        "1,0,0,1,0,1,Some, with, many, commas\nand a line, of, its, own, here, too\n2,1,0,1,0,1,Two\n",
        "votes.csv": "timestamp,comment-id,voter-id,vote\n1,0,0,1\n2,1,0,1\n",
    }
    texts = read_votes(write(tmp_path, files)).raw_statements["text"].to_list()
    assert texts == ["Some, with, many, commas\nand a line, of, its, own, here, too", "Two"]


@pytest.mark.parametrize("ends", ["\n", "\r", "\r\n"])
def test_polis_s_files_may_be_put_one_behind_the_other_below_a_title(tmp_path: Path, ends: str) -> None:
    comments = "timestamp,comment-id,author-id,agrees,disagrees,moderated,comment-body"
    votes = "timestamp,comment-id,voter-id,vote"
    files = {
        "comments.csv": ["Export,,,,,,", comments, '1,0,0,1,1,1,"Hi, there"', comments, "2,1,0,1,0,1,Two", ""],
        "votes.csv": ["Export,,,", votes, "1,0,0,1", "2,1,0,1", votes, "3,0,1,-1", ""],
    }
    read = read_votes(write(tmp_path, {name: ends.join(rows) for name, rows in files.items()}))
    assert read.raw_statements["text"].to_list() == ["Hi, there", "Two"]
    cast = read.raw_votes.select("participant_id", "statement_id", "vote").sort("participant_id", "statement_id")
    assert cast.rows() == [(0, 0, 1), (0, 1, 1), (1, 0, -1)]


@pytest.mark.parametrize("keys", [("votes",), ("data", "rows"), ("a", "b", "c")])
def test_the_one_list_in_json_is_read_wherever_it_stands_and_what_is_beside_it_is_not_copied(
    tmp_path: Path, keys: Sequence[str]
) -> None:
    rows = [
        {"participant": p, "statement": s, "vote": v, "text": text_of(s), "who": {"mail": "p@example.org"}}
        for p, s, v in CAST
    ]
    content: object = rows
    for name in reversed(keys):
        content = {name: content, "owner": "o@example.org"}
    place = write(tmp_path / "export", {"export.json": json.dumps(content)})
    assert counted(read_votes(place)) == COUNTS
    left = copy_without_codes(find_vote_files(place), tmp_path / "copy")
    outer = [".".join((*keys[:depth], "owner")) for depth in range(len(keys))]
    assert left == [f"export.json: {name}" for name in (*outer, "who")]
    assert counted(read_votes(tmp_path / "copy")) == COUNTS
    assert not any("example.org" in path.read_text() for path in (tmp_path / "copy").iterdir())


def test_objects_in_lines_are_json_too(tmp_path: Path) -> None:
    rows = [{"participantId": p, "statementId": s, "vote": v, "statementText": text_of(s)} for p, s, v in CAST]
    assert counted(read_votes(write(tmp_path, {"votes.json": "\n".join(map(json.dumps, rows))}))) == COUNTS


@pytest.mark.parametrize("names", ["id,text", "id,statement", "ID;Aussage", "row,id,Énoncé"])
def test_a_table_of_statements_may_call_its_ids_id(tmp_path: Path, names: str) -> None:
    separator = ";" if ";" in names else ","
    lead = "9" + separator if "row" in names else ""
    statements = "".join(f'{lead}{s}{separator}"{text_of(s)}"\n' for s in range(14))
    votes = "participant,statement,vote\n" + "".join(f"{p},{s},{v}\n" for p, s, v in CAST)
    assert (
        counted(read_votes(write(tmp_path, {"votes.csv": votes, "statements.csv": f"{names}\n{statements}"}))) == COUNTS
    )


def test_texts_that_stand_where_ids_would_are_texts(tmp_path: Path) -> None:
    rows = sorted(CAST, key=lambda vote: vote[1])
    text = "person,statement,vote\n" + "".join(f'{p},"{text_of(s)}",{v}\n' for p, s, v in rows)
    read = read_votes(write(tmp_path, {"votes.csv": text}))
    assert counted(read) == COUNTS
    codes = read_votes(
        write(tmp_path / "codes", {"votes.csv": text.replace("Statement number ", "s-").replace(", with a comma", "")})
    )
    assert set(codes.raw_statements["text"]) == {""}, "a code is no text"


@pytest.mark.parametrize(
    ("name", "text", "told"),
    [
        (
            "r.csv",
            "statement,p0,p1,p2\nTrees,agree,disagree,\nCars,pass,agree,agree\n",
            "one row a statement and one column a person",
        ),
        ("votes.csv", '"participant;statement;vote"\n"1;2;1"\n', "every line is one cell, in quotes as a whole"),
        ("votes.csv", PAGE, "votes.csv: a web page with the title “Sign in & vote”, not a table"),
        ("report.csv", "<html><body>Not found</body></html>", "report.csv: a web page, not a table"),
        ("votes.json", PAGE, "votes.json: a web page"),
        ("comment-groups.csv", PAGE, "comment-groups.csv: a web page"),
        ("votes.csv", '<?xml version="1.0"?>\n<rows/>', "votes.csv: XML, not a table. Export as CSV"),
        ("votes.csv", "%PDF-1.7\n1 0 obj\n", "votes.csv: a PDF, not a table in text"),
        ("votes.csv", json.dumps([{"participant": 1}]), r"JSON, whatever its name says.*ends with .json"),
        ("math.json", '{"n": 3, "votes": {"1": {"2": -1}}}', "JSON of n, votes, with no list of votes or statements"),
        (
            "all.json",
            json.dumps({"data": {"votes": [{"pid": 1}], "comments": [{"tid": 1}, {"tid": 2}]}}),
            r"several lists: data.votes \(1\), data.comments \(2\). Save the list of votes as votes.json",
        ),
        (
            "people.json",
            json.dumps([{"participant": 1, "votes": [{"statement": 2, "vote": -1}]}]),
            "Found 1 columns: participant. Nested beside these is votes, of which nothing is read",
        ),
        ("votes.csv.gz", "x", "votes.csv.gz is packed, or a workbook"),
        ("Votes.XLSX", "x", "Votes.XLSX is packed, or a workbook"),
    ],
)
def test_what_cannot_be_read_is_told_with_its_remedy(tmp_path: Path, name: str, text: str, told: str) -> None:
    with pytest.raises(ConsultationError, match=told):
        read_votes(write(tmp_path, {name: text}))


WIDE = as_csv(wide_rows())
PLAIN = plain_files()
LONG, TEXTS = as_csv(PLAIN["votes.csv"]), as_csv(PLAIN["statements.csv"])
POLIS = {name: as_csv(rows) for name, rows in polis_files().items()}
MATRIX = as_csv(matrix())
VOTES_JSON = json.dumps([{"participant": p, "statement": s, "vote": v} for p, s, v in CAST])
NAMES = ("votes.csv", "comments.csv", "statements.csv", "participants-votes.csv", "comment-groups.csv", "input.csv")


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("text", [lines(), WIDE], ids=["long", "wide"])
def test_a_table_of_votes_is_read_whatever_its_name(tmp_path: Path, name: str, text: str) -> None:
    place = write(tmp_path / "export", {name: text})
    assert counted(read_votes(place)) == COUNTS
    copy_without_codes(find_vote_files(place), tmp_path / "copy")
    assert counted(read_votes(tmp_path / "copy")) == COUNTS


@pytest.mark.parametrize("name", NAMES)
def test_counts_by_group_are_read_whatever_their_name(tmp_path: Path, name: str) -> None:
    header = "comment-id,comment_text,votes,agrees,disagrees,passes,group-0-agree-count,group-0-disagree-count"
    read = read_votes(write(tmp_path, {name: f"{header}\n1,Trees,9,5,4,0,5,4\n2,Cars,6,1,5,0,1,5\n"}))
    assert read.raw_group_votes.select("n_agree", "n_disagree").rows() == [(5, 4), (1, 5)]
    assert read.raw_statements["text"].to_list() == ["Trees", "Cars"]


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(
    ("header", "told"),
    [
        ("comment-id,comment_text,agrees,disagrees,passes", "totals of votes, one row a statement"),
        ("Winner ID,Winner Text,Loser ID,Loser Text", "pairs of which one was preferred"),
        ("id,category/id,title/en,body/en,endorsements/total_count", "proposals with the number"),
        ("colour,shape,size", "Found.*: colour, shape, size"),
    ],
)
def test_what_has_no_votes_of_people_is_refused_for_what_it_is_whatever_its_name(
    tmp_path: Path, name: str, header: str, told: str
) -> None:
    row = ",".join("7" for _ in header.split(","))
    with pytest.raises(ConsultationError, match=told):
        read_votes(write(tmp_path, {name: f"{header}\n{row}\n{row}\n"}))


@pytest.mark.parametrize(
    "files",
    [
        {"comments.csv": LONG, "statements.csv": TEXTS},
        {"votes.csv": TEXTS, "comments.csv": LONG},
        {"participants-votes.csv": LONG, "comments.csv": TEXTS},
        {"votes.csv": POLIS["comments.csv"], "comments.csv": POLIS["votes.csv"]},
        {"votes.csv": POLIS["votes.csv"], "statements.csv": POLIS["comments.csv"]},
        {"votes.csv": POLIS["votes.csv"], "statements.csv": TEXTS},
        {"votes.csv": LONG, "comments.csv": POLIS["comments.csv"]},
        {"votes.csv": MATRIX, "comments.csv": POLIS["comments.csv"]},
        {"participants-votes.csv": MATRIX, "statements.csv": POLIS["comments.csv"]},
        {"votes.csv": POLIS["comments.csv"], "participants-votes.csv": MATRIX},
        {"votes.json": VOTES_JSON, "statements.csv": TEXTS},
        {"votes.json": VOTES_JSON, "comments.csv": TEXTS},
        {"votes.json": VOTES_JSON, "comments.csv": POLIS["comments.csv"]},
        {**POLIS, "votes.json": "[]", "comments.json": "[]"},
        {"participants-votes.csv": MATRIX, "comments.csv": POLIS["comments.csv"], "votes.json": "[]"},
    ],
    ids=lambda files: " ".join(files),
)
def test_each_file_is_what_its_columns_say(tmp_path: Path, files: dict[str, str]) -> None:
    place = write(tmp_path / "export", files)
    assert counted(read_votes(place)) == COUNTS
    copy_without_codes(find_vote_files(place), tmp_path / "copy")
    assert counted(read_votes(tmp_path / "copy")) == COUNTS


@pytest.mark.parametrize(
    ("heading", "name"),
    [
        ("participantId", "participant-id"),
        ("commentID", "comment-id"),
        ("Comment - Body", "comment-body"),
        ("is_meta", "is-meta"),
        ("0.0", "0"),
        ("URL", "url"),
    ],
)
def test_headings_have_one_spelling(heading: str, name: str) -> None:
    assert plain_name(heading, {}) == name


def statements_of(folder: Path, column: str, cells: list[str]) -> pl.DataFrame:
    """What is read of statements whose file has this column beside the usual ones."""
    comments = [f"{key},1,Be kind {key},{cell}" for key, cell in enumerate(cells)]
    head = "comment-id,moderated,comment-body," if column != "moderated" else "comment-id,author-id,comment-body,"
    (folder / "comments.csv").write_text("\n".join([head + column, *comments, ""]))
    votes = [f"{person},{key},1" for key in range(len(cells)) for person in range(3)]
    (folder / "votes.csv").write_text("\n".join(["voter-id,comment-id,vote", *votes, ""]))
    return read_votes(folder).raw_statements.sort("statement_id")


@pytest.mark.parametrize("words", [("WAHR", "falsch"), ("yes", "no"), ("1.0", "0,0"), ("x", ""), (" True ", "F")])
def test_true_and_false_are_read_as_spreadsheets_and_people_write_them(tmp_path: Path, words: tuple[str, str]) -> None:
    cells = [f'"{words[0]}"', *[f'"{words[1]}"'] * 3]
    found = statements_of(tmp_path, "is-meta", cells)
    assert found["is_meta"].fill_null(False).to_list() == [True, False, False, False]


def test_moderation_is_read_in_words(tmp_path: Path) -> None:
    cells = ["accepted", "Rejected", "unmoderated", "", "1.0", "-1"]
    assert statements_of(tmp_path, "moderated", cells)["moderated"].to_list() == [1, -1, 0, 0, 1, -1]


@pytest.mark.parametrize("column", ["is-meta", "moderated"])
def test_a_column_in_unknown_words_is_refused_and_one_word_of_many_is_set_aside(tmp_path: Path, column: str) -> None:
    with pytest.raises(ConsultationError, match=f"column {column} should say .*; 3 of 3 cells don't, .*'perhaps'"):
        statements_of(tmp_path, column, ["perhaps"] * 3)
    assert statements_of(tmp_path, column, ["1"] * 10 + ["perhaps"]).height == 11


LONG_IDS = 1_234_567_890_000


@pytest.mark.parametrize("written", ["1.23457E+12", "1,23457E+12", "1.23457e12", "1E+12"])
@pytest.mark.parametrize(
    ("files", "name", "column"),
    [
        (plain_files(), "votes.csv", "participant"),
        (plain_files(), "votes.csv", "statement"),
        (plain_files(), "statements.csv", "statement"),
        (plain_files(), "statements.csv", "author"),
        ({"votes.csv": wide_rows()}, "votes.csv", "participant"),
        (polis_files(), "votes.csv", "voter-id"),
        (polis_files(), "votes.csv", "comment-id"),
        (polis_files(), "comments.csv", "comment-id"),
        ({**polis_files(), "participants-votes.csv": matrix()}, "participants-votes.csv", "participant"),
    ],
)
def test_ids_that_lost_their_digits_are_refused_wherever_they_stand(
    tmp_path: Path, files: dict[str, list[list[object]]], name: str, column: str, written: str
) -> None:
    header, *rows = files[name]
    at = header.index(column)
    lost = [[*row[:at], written, *row[at + 1 :]] for row in rows]
    told = rf"{name}, data row 1: column {column} is '{written.replace('+', '.')}' .*The ids lost their digits"
    with pytest.raises(ConsultationError, match=told):
        read_votes(write(tmp_path, {**files, name: [header, *lost]}, ";"))


@pytest.mark.parametrize("form", ["wide", "matrix"])
def test_headings_that_lost_their_digits_are_refused(tmp_path: Path, form: str) -> None:
    rows = wide_rows() if form == "wide" else matrix()
    rows[0] = [cell if n < len(rows[0]) - 14 else "1.23457E+12" for n, cell in enumerate(rows[0])]
    name = "votes.csv" if form == "wide" else "participants-votes.csv"
    beside = {} if form == "wide" else {"comments.csv": polis_files()["comments.csv"]}
    with pytest.raises(ConsultationError, match=rf"{name}, the header: column \d is '1.23457E.12'. The ids lost"):
        read_votes(write(tmp_path, {**beside, name: rows}))


@pytest.mark.parametrize("written", [lambda p: f"{p:.2e}", lambda p: f"{p}.0", lambda p: f" {LONG_IDS * 10**6 + p}"])
def test_ids_with_all_their_digits_are_taken_however_they_are_written(
    tmp_path: Path, written: Callable[[int], str]
) -> None:
    rows = "".join(f"{written(p)},{s},{v}\n" for p, s, v in CAST)
    read = read_votes(write(tmp_path, {"votes.csv": f"participant,statement,vote\n{rows}"}))
    assert read.raw_participants["participant_id"].to_list() == [
        int(float(written(0))) // 10**6 * 10**6 + p for p in range(24)
    ]


def test_codes_of_digits_and_an_e_are_codes(tmp_path: Path) -> None:
    rows = "".join(f"{p}e7,{s},{v}\n" for p, s, v in CAST)
    read = read_votes(write(tmp_path, {"votes.csv": f"participant,statement,vote\n{rows}"}))
    assert read.raw_participants["participant_id"].to_list() == list(range(24))


def addressed(rows: list[list[object]], column: int, *people: int) -> list[list[object]]:
    """Addresses in place of some people, or of all."""
    return [
        [*row[:column], f"u{row[column]}@x.org", *row[column + 1 :]]
        if place and (not people or row[column] in people)
        else row
        for place, row in enumerate(rows)
    ]


@pytest.mark.parametrize("form", ["plain", "wide", "polis", "matrix"])
@pytest.mark.parametrize("people", [(5,), ()], ids=["one", "all"])
def test_addresses_become_numbers_and_are_never_copied(tmp_path: Path, form: str, people: tuple[int, ...]) -> None:
    comments = addressed(polis_files()["comments.csv"], 2, *people)
    files: dict[str, list[list[object]]] = {
        "plain": {
            "votes.csv": addressed(plain_files()["votes.csv"], 0, *people),
            "statements.csv": addressed(plain_files()["statements.csv"], 2, *people),
        },
        "wide": {"votes.csv": addressed(wide_rows(), 0, *people)},
        "polis": {
            "comments.csv": comments,
            "votes.csv": addressed(polis_files()["votes.csv"], 2, *people),
            "participants-votes.csv": addressed(matrix(), 0, *people),
        },
        "matrix": {"comments.csv": comments, "participants-votes.csv": addressed(matrix(), 0, *people)},
    }[form]
    # All stand in the order of their numbers, so that each keeps their own; one alone is numbered behind the others and
    # in a table of Polis is out of place.
    given = {5: 24} if people else {}
    kept = [vote for vote in CAST if form in ("plain", "wide") or not people or vote[0] != 5]
    expected = sorted((given.get(person, person), *rest) for person, *rest in kept)
    titled = {name: "Export for u1@x.org\n" + as_csv(rows) for name, rows in files.items()}
    place = write(tmp_path / "export", titled)
    left = copy_without_codes(find_vote_files(place), tmp_path / "copy")
    assert {f"{name}: lines above the header" for name in files} <= set(left)
    assert "@" not in "".join(path.read_text() for path in (tmp_path / "copy").iterdir())
    for folder in (place, tmp_path / "copy"):
        read = read_votes(folder)
        assert read.raw_votes.select("participant_id", "statement_id", "vote").rows() == expected
        if form == "plain" or (form == "polis" and not people):
            assert read.raw_statements["author_id"].to_list() == [given.get(each, each) for each in range(14)]


def test_an_address_in_a_row_that_is_out_of_place_is_not_copied(tmp_path: Path) -> None:
    plain, polis = plain_files(), polis_files()
    plain["votes.csv"].append(["Exported by u1@x.org", "", "", ""])
    plain["votes.csv"][10][1] = "u1@x.org"
    plain["votes.csv"][9][2] = polis["votes.csv"][9][0] = polis["votes.csv"][12][3] = "u1@x.org"
    for name, files, number in (("plain", plain, 278), ("polis", polis, 279)):
        place = write(tmp_path / name, files)
        copy_without_codes(find_vote_files(place), tmp_path / f"{name} copy")
        assert "@" not in (tmp_path / f"{name} copy" / "votes.csv").read_text()
        assert read_votes(place).raw_votes.height == read_votes(tmp_path / f"{name} copy").raw_votes.height == number
        assert "@" not in read_votes(place).import_report.write_csv()


@pytest.mark.parametrize("form", ["long", "wide"])
def test_a_word_that_recurs_is_asked_about_by_name(tmp_path: Path, form: str) -> None:
    said_so = ("D'accord", "Pas d'accord", "Aucune idée")
    wide = {"votes.csv": wide_rows(lambda vote: said(vote, said_so))}  # type: ignore[arg-type, return-value]
    place = write(tmp_path, {"votes.csv": lines(said_so)} if form == "long" else wide)
    told = rf"found 'aucune idée' \({COUNTS[2]} times\).*vote_values: .\"aucune idée\": pass"
    with pytest.raises(ConsultationError, match=told):
        read_votes(place)
    assert counted(read_votes(place, {"aucune idée": "pass"})) == COUNTS


def test_a_word_that_stands_there_twice_is_set_aside(tmp_path: Path) -> None:
    text = lines().replace(",1,", ",aucune,", 2)
    assert read_votes(write(tmp_path, {"votes.csv": text})).raw_votes.height == len(CAST) - 2


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ('"timestamp,comment-id,author-id,agrees,disagrees,moderated,comment-body"\n', "every line is one cell"),
        ("timestamp,comment-id,author-id,agrees,disagrees,moderated,comment-body\n", "every line is one cell"),
    ],
    ids=["the header too", "rows"],
)
def test_lines_that_are_quoted_as_a_whole_are_told_for_what_they_are(tmp_path: Path, line: str, told: str) -> None:
    files = {
        "comments.csv": line + '"1,0,0,1,0,1,Be kind"\n"2,1,0,1,0,1,Be brief"\n',
        "votes.csv": polis_files()["votes.csv"],
    }
    with pytest.raises(ConsultationError, match=rf"comments.csv: {told}, in quotes as a whole"):
        read_votes(write(tmp_path, files))


def counts_by_group(*odd: int) -> str:
    rows = [
        f"{s},{group},{'n/a' if place in odd else s},1"
        for place, (s, group) in enumerate((s, g) for s in range(14) for g in "ab")
    ]
    return "\n".join(["statement,group,agree,disagree", *rows, ""])


def test_a_count_that_cannot_be_read_takes_its_statement_aside(tmp_path: Path) -> None:
    read = read_votes(write(tmp_path / "one", {"counts.csv": counts_by_group(7)}))
    assert read.raw_group_votes["statement_id"].unique().sort().to_list() == [s for s in range(14) if s != 3]
    assert read.raw_statements.height == 14
    ((count, why),) = read.import_report.filter(item="counts that cannot be read").select("count", "explanation").rows()
    assert count == 1 and why.endswith("counts.csv (1, first in data row 8, on statement 3)")
    with pytest.raises(ConsultationError, match=r"data row 4: column agree should be a whole number, found 'n/a'"):
        read_votes(write(tmp_path / "two", {"counts.csv": counts_by_group(3, 7)}))


@pytest.mark.parametrize("word", ["2", "bof, bof"])
def test_the_remedy_for_a_value_that_recurs_is_whole(tmp_path: Path, word: str) -> None:
    place = write(tmp_path, {"votes.csv": lines(("1", "-1", word), separator=";", header=HEADER)})
    with pytest.raises(ConsultationError) as refused:
        read_votes(place)
    option = str(refused.value).split('--vote-values "')[1].split('" for')[0]
    assert parsed_values(option) == {"1": "agree", "-1": "disagree", word: "pass"}
    assert counted(read_votes(place, parsed_values(option))) == COUNTS


def test_numbers_of_json_that_lost_their_digits_are_seen(tmp_path: Path) -> None:
    rows = [f'{{"participant": 1.23457E+12, "statement": {s}, "vote": {v}}}' for _, s, v in CAST]
    with pytest.raises(ConsultationError, match="The ids lost their digits"):
        read_votes(write(tmp_path, {"votes.json": f"[{','.join(rows)}]"}))
