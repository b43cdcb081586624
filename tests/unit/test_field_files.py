"""Files as people really have them: what a spreadsheet makes of them, other programs' columns, cells out of place."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path

import polars as pl
import pytest
from field_conversation import (
    PEOPLE,
    START,
    STATEMENTS,
    VOTES,
    Vote,
    all_votes,
    as_csv,
    matrix,
    plain_files,
    polis_files,
    text_of,
    wide_rows,
    write,
)
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ccai_dagster.core.errors import ConsultationError
from ccai_dagster.deliberation.importing.moderation_mode import stated_mode
from ccai_dagster.deliberation.importing.read_votes import read_votes
from ccai_dagster.deliberation.importing.tables import Import
from ccai_dagster.deliberation.importing.vote_values import MEANING_OF_WORDS, parsed_values

Rows = list[list[object]]
Facts = dict[str, tuple[str, int | None, str]]


def facts(imported: Import) -> Facts:
    return {item: (kind, count, why) for item, kind, count, why in imported.import_report.iter_rows()}


def votes_of(imported: Import) -> list[tuple[int, int, int]]:
    return imported.raw_votes.select("participant_id", "statement_id", "vote").rows()


EXPECTED = sorted((p, s, v) for p, s, v, _ in all_votes())


def test_the_conversation_has_the_numbers_it_says(tmp_path: Path) -> None:
    for name, files in (("polis", polis_files()), ("plain", plain_files())):
        imported = read_votes(write(tmp_path / name, files))
        assert votes_of(imported) == EXPECTED and len(EXPECTED) == VOTES
        assert imported.raw_participants.height == PEOPLE and imported.raw_statements.height == STATEMENTS
        assert facts(imported)["sign of votes"][0] == "found"
        assert {"separators", "columns without a name", "rows without a cell"}.isdisjoint(facts(imported))


def padded(rows: Rows, cell: object = "", number: int = 2) -> Rows:
    return [[*row, *[cell if place else ""] * number] for place, row in enumerate(rows)]


@pytest.mark.parametrize("name", ["votes.csv", "comments.csv"])
@pytest.mark.parametrize(
    ("change", "count"),
    [
        (padded, 2),
        (lambda rows: padded(rows, "left over", 1), 1),
        (lambda rows: [["" if not place else place - 1, *row] for place, row in enumerate(rows)], 1),
    ],
)
def test_columns_without_a_name_are_passed_over_and_counted(
    tmp_path: Path, name: str, change: Callable[[Rows], Rows], count: int
) -> None:
    files = polis_files()
    imported = read_votes(write(tmp_path, {**files, name: change(files[name])}))
    assert votes_of(imported) == EXPECTED
    assert facts(imported)["columns without a name"][:2] == ("found", count)


@pytest.mark.parametrize("name", ["votes.csv", "comments.csv"])
@pytest.mark.parametrize(
    "change",
    [
        lambda rows: as_csv(rows) + as_csv([[""] * len(rows[0])] * 5),
        lambda rows: as_csv(rows, end="\r\n\r\n"),
        lambda rows: as_csv([rows[0], ["  "] * len(rows[0]), *rows[1:]]),
    ],
)
def test_rows_without_a_cell_are_no_rows(tmp_path: Path, name: str, change: Callable[[Rows], str]) -> None:
    files = polis_files()
    imported = read_votes(write(tmp_path, {**files, name: change(files[name])}))
    assert votes_of(imported) == EXPECTED and imported.raw_statements.height == STATEMENTS
    assert facts(imported)["rows without a cell"][1] in (1, 5, STATEMENTS + 1, VOTES + 1)


def test_an_empty_row_does_not_shift_the_row_that_an_error_names(tmp_path: Path) -> None:
    rows = plain_files()["votes.csv"]
    bad = [[p, s, "maybe", t] for p, s, _, t in rows[1:]]
    with pytest.raises(ConsultationError, match=r"votes\.csv, data row 3: column vote should be .* found 'maybe'"):
        read_votes(write(tmp_path, {"votes.csv": as_csv([rows[0], ["", "", "", ""], ["", "", "", ""], *bad])}))


@pytest.mark.parametrize("separator", [";", "\t", "|"])
@pytest.mark.parametrize("files", [polis_files(), plain_files(), {"votes.csv": wide_rows()}])
def test_other_separators_are_known_by_content(tmp_path: Path, separator: str, files: dict[str, Rows]) -> None:
    imported = read_votes(write(tmp_path, files, separator))
    assert votes_of(imported) == EXPECTED and imported.raw_statements["text"][3] == text_of(3)
    told = {";": "semicolons", "\t": "tabs", "|": "bars"}[separator]
    assert facts(imported)["separators"][1] == len(files) and told in facts(imported)["separators"][2]


def test_a_separator_may_be_told_and_files_may_differ_in_it(tmp_path: Path) -> None:
    files = plain_files()
    hinted = "sep=;\n" + as_csv(files["votes.csv"], ";")
    imported = read_votes(write(tmp_path, {**files, "votes.csv": hinted}))
    assert votes_of(imported) == EXPECTED
    assert facts(imported)["separators"][1:] == (1, "cells are not separated by commas: votes.csv (1, semicolons)")


def test_semicolons_in_headings_and_texts_separate_nothing(tmp_path: Path) -> None:
    rows = wide_rows()
    rows[0] = ["participant", *(f"Be kind; or not {s}" for s in range(STATEMENTS))]
    imported = read_votes(write(tmp_path, {"votes.csv": rows}))
    assert imported.raw_statements["text"][5] == "Be kind; or not 5" and "separators" not in facts(imported)


def test_unicode_text_of_a_spreadsheet_is_read_and_other_encodings_are_refused(tmp_path: Path) -> None:
    files = polis_files()
    tabs = {name: as_csv(rows, "\t", "\r\n").encode("utf-16") for name, rows in files.items()}
    imported = read_votes(write(tmp_path / "tabs", tabs))
    assert votes_of(imported) == EXPECTED and facts(imported)["encoding"][1] == 2
    french = as_csv(files["comments.csv"]).replace("number 4", "numéro 4").encode("cp1252")
    with pytest.raises(ConsultationError, match=r"comments\.csv, line 6: not UTF-8"):
        read_votes(write(tmp_path / "western", {**files, "comments.csv": french}))
    header = as_csv(files["votes.csv"]).replace("vote\n", "vote,größe\n", 1).encode("cp1252")
    with pytest.raises(ConsultationError, match=r"votes\.csv, line 1: not UTF-8"):
        read_votes(write(tmp_path / "header", {**files, "votes.csv": header}))
    plain = {"votes.csv": "participant,statement,vote\n1,0,1\n", "statements.csv": "statement,text\n0,Größe\n"}
    western = {name: text.encode("cp1252") for name, text in plain.items()}
    with pytest.raises(ConsultationError, match=r"statements\.csv: .* Save it as CSV in UTF-8"):
        read_votes(write(tmp_path / "plain", western))


@settings(max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    separator=st.sampled_from([",", ";", "\t", "|"]),
    end=st.sampled_from(["\n", "\r\n", "\n\n"]),
    encoding=st.sampled_from(["utf-8", "utf-8-sig", "utf-16"]),
    nameless=st.integers(0, 2),
    empty=st.integers(0, 3),
)
def test_however_a_table_is_written_its_votes_are_the_same(
    tmp_path_factory: pytest.TempPathFactory, separator: str, end: str, encoding: str, nameless: int, empty: int
) -> None:
    files = {}
    for name, rows in plain_files().items():
        wider = padded(rows, number=nameless)
        files[name] = as_csv([*wider, *[[""] * len(wider[0])] * empty], separator, end).encode(encoding)
    assert votes_of(read_votes(write(tmp_path_factory.mktemp("written"), files))) == EXPECTED


def revoted() -> list[Vote]:
    """Forty votes were cast twice, and the newest rows come first."""
    again = [(p, s, -v if v else 1, t - 50) for p, s, v, t in all_votes()[:40]]
    return sorted([*all_votes(), *again], key=lambda vote: -vote[3])


@pytest.mark.parametrize("written", ["1.70000E+12", "1,7E+12", "1.7e12"])
def test_times_that_lost_their_digits_are_no_times(tmp_path: Path, written: str) -> None:
    files = polis_files(revoted())
    files["votes.csv"][1:] = [[written, *row[1:]] for row in files["votes.csv"][1:]]
    imported = read_votes(write(tmp_path, files, ";"))
    told = facts(imported)
    assert imported.raw_votes.height == VOTES and imported.raw_votes["voted_at"].null_count() == VOTES
    assert told["times that lost their digits"][:2] == ("unknown", VOTES + 40)
    assert "export again" in told["times that lost their digits"][2]
    assert told["votes whose order is unknown"][:2] == ("unknown", 40)


@pytest.mark.parametrize("one", [1_700_000_000, 1_700_000_000_000, "2023-11-14"])
def test_one_time_for_everything_is_none(tmp_path: Path, one: object) -> None:
    files = polis_files(revoted())
    files["votes.csv"][1:] = [[one, *row[1:]] for row in files["votes.csv"][1:]]
    imported = read_votes(write(tmp_path, files))
    assert imported.raw_votes["voted_at"].null_count() == VOTES
    assert facts(imported)["one time for everything"][:2] == ("unknown", VOTES + 40)
    assert facts(imported)["votes whose order is unknown"][1] == 40


@pytest.mark.parametrize("rows", [(4, 8, 200), (1,), range(1, VOTES + 1)])
def test_a_time_of_zero_is_none(tmp_path: Path, rows: Sequence[int]) -> None:
    files = polis_files()
    for row in rows:
        files["votes.csv"][row][0] = 0
    imported = read_votes(write(tmp_path, files))
    assert votes_of(imported) == EXPECTED
    assert imported.raw_votes["voted_at"].null_count() == len(rows) == facts(imported)["times of 0"][1]
    assert ("votes without a time" in facts(imported)) == (len(rows) < VOTES)


def test_a_time_that_cannot_be_read_makes_the_order_unknown_only_where_it_matters(tmp_path: Path) -> None:
    files = polis_files([*all_votes(), (3, 1, 0, START + 10**9), (4, 2, vote_of_twice(4, 2), START + 10**9)])
    for row in files["votes.csv"][1:]:
        if row[1:3] in ([1, 3], [2, 4]) and row[0] < START + 10**8:  # type: ignore[operator]
            row[0] = 3
    imported = read_votes(write(tmp_path, files))
    told = facts(imported)
    assert told["times that cannot be read"][:2] == ("unknown", 2)
    assert told["votes whose order is unknown"][:2] == ("unknown", 1)


def vote_of_twice(participant: int, statement: int) -> int:
    return next(v for p, s, v, _ in all_votes() if (p, s) == (participant, statement))


def test_no_sentence_speaks_of_times_where_there_are_none(tmp_path: Path) -> None:
    files = plain_files()
    once = read_votes(write(tmp_path / "once", {"votes.csv": [row[:3] for row in files["votes.csv"]]}))
    assert facts(once)["votes whose order is unknown"] == (
        "found",
        0,
        "no vote has a time, and none was needed: nobody's votes on a statement differ",
    )
    again = [*files["votes.csv"], files["votes.csv"][1]]
    twice = read_votes(write(tmp_path / "twice", {"votes.csv": [row[:3] for row in again]}))
    assert facts(twice)["earlier votes replaced"][1:] == (
        1,
        "a person voted again; no vote has a time, so the one further down in the file counts",
    )
    timed = facts(read_votes(write(tmp_path / "timed", files)))
    assert timed["votes whose order is unknown"][2] == "every last vote is told by its time"


def test_votes_on_a_deleted_statement_are_set_aside_with_its_id(tmp_path: Path) -> None:
    files = polis_files()
    files["comments.csv"] = [row for row in files["comments.csv"] if row[1] != 9]
    imported = read_votes(write(tmp_path, files))
    on_nine = sum(s == 9 for _, s, _ in EXPECTED)
    assert votes_of(imported) == [vote for vote in EXPECTED if vote[1] != 9]
    assert facts(imported)["votes on statements without a text"] == (
        "unknown",
        on_nine,
        f"set aside; the rest is read: votes.csv ({on_nine}, on statement 9)",
    )


def test_more_than_a_tenth_of_the_votes_is_never_set_aside(tmp_path: Path) -> None:
    files = polis_files()
    files["comments.csv"] = [row for row in files["comments.csv"] if row[1] not in (8, 9)]
    beyond = sum(s in (8, 9) for _, s, _ in EXPECTED)
    assert beyond > VOTES / 10
    with pytest.raises(ConsultationError, match=rf"vote on statement '8'.*Of 280 votes {beyond} would be set aside"):
        read_votes(write(tmp_path, files))


@pytest.mark.parametrize(
    ("column", "cell", "item"),
    [
        (2, -1, "votes by nobody"),
        (2, "admin", "votes whose participant cannot be read"),
        (1, "#REF!", "votes whose statement cannot be read"),
        (3, "x", "votes that cannot be read"),
        (3, 7, "votes that are none"),
    ],
)
def test_one_row_that_cannot_be_used_is_set_aside(tmp_path: Path, column: int, cell: object, item: str) -> None:
    files = polis_files()
    files["votes.csv"][17][column] = cell
    imported = read_votes(write(tmp_path, files))
    assert len(votes_of(imported)) == VOTES - 1 and set(votes_of(imported)) < set(EXPECTED)
    assert facts(imported)[item][:2] == ("unknown", 1) and "data row 17" in facts(imported)[item][2]
    assert "admin" not in imported.import_report.write_csv()


@pytest.mark.parametrize("form", ["matrix", "wide"])
def test_one_cell_of_a_table_of_people_is_set_aside_alone(tmp_path: Path, form: str) -> None:
    rows = matrix() if form == "matrix" else wide_rows()
    rows[6][-1] = "?"
    wide = {"votes.csv": rows}
    polis = {"comments.csv": polis_files()["comments.csv"], "participants-votes.csv": rows}
    imported = read_votes(write(tmp_path, polis if form == "matrix" else wide))
    assert votes_of(imported) == [vote for vote in EXPECTED if vote[:2] != (5, STATEMENTS - 1)]
    assert facts(imported)["votes that cannot be read"][1] == 1
    for row in rows[1:10]:
        row[6:-4] = ["?"] * len(row[6:-4])
    if form == "matrix":
        with pytest.raises(ConsultationError, match=r"data row 1: column vote.*found '\?'"):
            read_votes(write(tmp_path, polis))
    else:  # a column with other cells than votes is no statement
        assert facts(read_votes(write(tmp_path, wide)))["unknown columns"][1] == len(rows[1][6:-4])


def test_an_empty_vote_is_none_and_no_reason_to_refuse(tmp_path: Path) -> None:
    seen = [(p, s, "", t) for p, s, _, t in all_votes()]
    files = plain_files()
    files["votes.csv"] += [[p + 100, *rest] for p, *rest in seen]
    imported = read_votes(write(tmp_path, files))
    assert votes_of(imported) == EXPECTED and facts(imported)["rows without a vote"][:2] == ("found", VOTES)


def test_what_is_only_shown_is_set_aside_whatever_its_share(tmp_path: Path) -> None:
    rows = matrix()
    for row in rows[1:]:
        row[1] = "AB"[int(str(row[1]))]
    rows += [["total", "", "", "", "", "", *[""] * STATEMENTS], rows[3]]
    imported = read_votes(write(tmp_path, {**polis_files(), "participants-votes.csv": rows}))
    told = facts(imported)
    assert votes_of(imported) == EXPECTED and imported.raw_participants["polis_group"].null_count() == PEOPLE
    assert told["cells set aside"][:2] == ("unknown", PEOPLE) and "group-id" in told["cells set aside"][2]
    assert told["rows of nobody in the matrix"][1] == told["participants twice in the matrix"][1] == 1


def test_an_author_who_is_an_address_is_set_aside_and_not_told(tmp_path: Path) -> None:
    imported = read_votes(write(tmp_path, polis_files(author=lambda s: "me@example.org" if s == 4 else s)))
    assert imported.raw_statements["author_id"].to_list()[3:6] == [3, None, 5]
    assert facts(imported)["cells set aside"][1] == 1 and "example" not in imported.import_report.write_csv()


@pytest.mark.parametrize("empty", ["", "\n \n", "timestamp,comment-id,voter-id,vote\n"])
def test_a_votes_csv_without_votes_is_told_and_the_matrix_read(tmp_path: Path, empty: str) -> None:
    files = {**polis_files(), "votes.csv": empty, "participants-votes.csv": matrix()}
    imported = read_votes(write(tmp_path, files))
    assert votes_of(imported) == EXPECTED
    assert facts(imported)["votes.csv empty"][2].startswith("votes.csv has no votes; votes come from participants-")


def zero_for_disagreement(vote: int) -> int:
    return 1 if vote == 1 else 0


ZERO_ONE = [(p, s, zero_for_disagreement(v), t) for p, s, v, t in all_votes()]


@pytest.mark.parametrize(
    "files",
    [
        plain_files(ZERO_ONE),
        polis_files(ZERO_ONE),
        {**polis_files(), "votes.csv": "", "participants-votes.csv": matrix(ZERO_ONE)},
        {"votes.csv": wide_rows(zero_for_disagreement)},
    ],
)
def test_zeros_and_ones_alone_are_asked_about(tmp_path: Path, files: dict[str, Rows]) -> None:
    ones = sum(vote[2] for vote in ZERO_ONE)
    place = write(tmp_path, files)
    with pytest.raises(
        ConsultationError, match=rf"{ones} votes are 1, {VOTES - ones} are 0.*vote_values: .\"1\": agree"
    ):
        read_votes(place)
    for zero, counted in (("disagree", -1), ("pass", 0)):
        read = read_votes(place, {"1": "agree", "0": zero})
        assert dict(read.raw_votes["vote"].value_counts().iter_rows()) == {1: ones, counted: VOTES - ones}


def test_few_votes_or_one_that_disagrees_need_no_question(tmp_path: Path) -> None:
    assert read_votes(write(tmp_path / "few", plain_files(ZERO_ONE[:99]))).raw_votes.height == 99
    with pytest.raises(ConsultationError, match="none is -1"):
        read_votes(write(tmp_path / "enough", plain_files(ZERO_ONE[:100])))
    one = [(*ZERO_ONE[0][:2], -1, START), *ZERO_ONE[1:]]
    assert read_votes(write(tmp_path / "one", plain_files(one))).raw_votes.height == VOTES


@pytest.mark.parametrize(
    ("written", "values"),
    [
        ({1: "5", 0: "3", -1: "1"}, {"1..2": "disagree", "3": "pass", "4..5": "agree"}),
        ({1: "0.83", 0: "0.5", -1: "0,17"}, {"0..0.4": "disagree", "0.4..0.6": "pass", "0.6..1": "agree"}),
        ({1: "in love", 0: "", -1: "Never!"}, {"in love": "agree", "": "pass", "never": "disagree"}),
    ],
)
def test_scales_and_sliders_mean_what_the_consultation_says(
    tmp_path: Path, written: dict[int, str], values: dict[str, str]
) -> None:
    place = write(tmp_path, plain_files([(p, s, written[v], t) for p, s, v, t in all_votes()]), ";")  # type: ignore[misc]
    with pytest.raises(ConsultationError, match=r"column vote|Say what each value means"):
        read_votes(place)
    assert votes_of(read_votes(place, values)) == EXPECTED
    assert parsed_values(",".join(f"{value}={meaning}" for value, meaning in values.items())) == values


def test_values_that_are_no_votes_are_passed_over(tmp_path: Path) -> None:
    votes = [(p, s, {1: 2, 0: 99, -1: 1}[v], t) for p, s, v, t in all_votes()]
    read = read_votes(write(tmp_path, plain_files(votes)), {"2": "agree", "1": "disagree", "99": "no vote"})
    assert votes_of(read) == [vote for vote in EXPECTED if vote[2]]
    with pytest.raises(ConsultationError, match="VALUE=MEANING"):
        parsed_values("1=agree,0=nay")


@pytest.mark.parametrize(
    ("agree", "disagree", "passing"),
    [
        ("Agree", "Disagree", "Skip"),
        ("yes", "no", "Unsure"),
        ("Ja", "Nein", "Weiß nicht"),
        ("Stimme zu", "Stimme nicht zu", "Neutral"),
        ("D’accord", "Pas d’accord", "Passer"),
        ("D'accord", "Pas d'accord", "Sans opinion"),
        ("Zgadzam się", "Nie zgadzam się", "Pomijam"),
        ("Sono d'accordo", "Non sono d'accordo", "Passo / Non so"),
        ("موافق", "غير موافق", "غير متأكد / تجاوز التصويت"),
        ("Sí", "No", "No sé"),
        ("Concordo", "Discordo", "Não sei"),
        ("Eens", "Oneens", "Weet niet"),
        ("同意", "反對", "略過"),
        ("evet", "hayır", "kararsızım"),
    ],
)
def test_votes_are_words_in_many_languages(tmp_path: Path, agree: str, disagree: str, passing: str) -> None:
    words = {1: agree, -1: disagree, 0: passing}
    for name, files in (
        ("long", plain_files([(p, s, words[v], t) for p, s, v, t in all_votes()])),  # type: ignore[misc]
        ("wide", {"votes.csv": wide_rows(words.__getitem__)}),
    ):
        read = read_votes(write(tmp_path / name, files))
        assert votes_of(read) == EXPECTED and "written as words" in facts(read)["sign of votes"][2]


def test_no_word_means_two_things() -> None:
    assert len(MEANING_OF_WORDS) > 150
    assert all(word == word.lower().strip() and "’" not in word for word in MEANING_OF_WORDS)


def test_one_row_a_person_has_statements_for_headings(tmp_path: Path) -> None:
    read = read_votes(write(tmp_path, {"votes.csv": wide_rows()}))
    assert votes_of(read) == EXPECTED
    assert read.raw_statements["text"].to_list() == [text_of(s) for s in range(STATEMENTS)]
    assert facts(read)["form"][2] == "one row a person in votes.csv, 14 columns with votes: no times"


def test_other_columns_of_people_are_not_read_and_people_without_ids_are_rows(tmp_path: Path) -> None:
    rows = wide_rows()
    extra = [["age", "telephone", "Why?"], *[[20 + p, f"+49 170 555{p:02}", "because"] for p in range(PEOPLE)]]
    surveyed = [[*more, *row[1:]] for more, row in zip(extra, rows, strict=True)]
    read = read_votes(write(tmp_path, {"survey.csv": surveyed}))
    assert votes_of(read) == [(p + 1, s, v) for p, s, v in EXPECTED]
    assert facts(read)["unknown columns"][1] == 3 and "555" not in read.import_report.write_csv()


@pytest.mark.parametrize("end", ["", ".0"])
def test_headings_that_are_numbers_are_ids_of_statements(tmp_path: Path, end: str) -> None:
    rows = wide_rows()
    rows[0] = ["participant_id", *(f"{s + 5}{end}" for s in range(STATEMENTS))]
    statements = [["statement_id", "text"], *[[s + 5, text_of(s)] for s in range(STATEMENTS)]]
    read = read_votes(write(tmp_path, {"votes.csv": rows, "statements.csv": statements}))
    assert votes_of(read) == [(p, s + 5, v) for p, s, v in EXPECTED]
    assert read.raw_statements["text"][0] == text_of(0)
    if end:
        matrix_rows = matrix()
        matrix_rows[0][6:] = [f"{s}{end}" for s in range(STATEMENTS)]
        polis = {"comments.csv": polis_files()["comments.csv"], "participants-votes.csv": matrix_rows}
        assert votes_of(read_votes(write(tmp_path / "matrix", polis))) == EXPECTED


def test_somebody_with_two_rows_is_told(tmp_path: Path) -> None:
    with pytest.raises(ConsultationError, match=r"one participant has data rows \[1, 25\]"):
        read_votes(write(tmp_path, {"votes.csv": [*wide_rows(), wide_rows()[1]]}))


RED_DWARF = {"participant": "participant_id", "statement": "statement_id", "vote": "vote", "time": "modified"}
AGORA = {"participant": "User ID", "statement": "Opinion ID", "vote": "Choice", "time": "created_at"}


@pytest.mark.parametrize(
    "names", [RED_DWARF, AGORA, {"participant": "pid", "statement": "comment_id", "vote": "value"}]
)
@pytest.mark.parametrize("file", ["votes.csv", "ratings of june.csv", "export.tsv"])
def test_other_programs_names_are_understood_in_files_of_any_name(
    tmp_path: Path, names: dict[str, str], file: str
) -> None:
    rows = [list(row[: len(names)]) for row in plain_files()["votes.csv"]]
    rows[0] = list(names.values())
    statements = [["statement_id", "statement"], *[[s, text_of(s)] for s in range(STATEMENTS)]]
    read = read_votes(write(tmp_path, {file: rows, "what was said.csv": statements}, "\t" if ".tsv" in file else ","))
    assert votes_of(read) == EXPECTED and read.raw_statements["text"][2] == text_of(2)
    assert (read.raw_votes["voted_at"].null_count() == 0) == (len(names) == 4)


def test_texts_may_stand_beside_the_votes(tmp_path: Path) -> None:
    rows = [
        [*row, text_of(int(str(row[1]))) if place else "text"] for place, row in enumerate(plain_files()["votes.csv"])
    ]
    read = read_votes(write(tmp_path, {"all.csv": rows}))
    assert votes_of(read) == EXPECTED and read.raw_statements["text"].to_list() == list(map(text_of, range(STATEMENTS)))


def test_ids_without_times_are_numbered_in_the_order_of_the_file(tmp_path: Path) -> None:
    rows = [[f"p{p}@example.org", f"s{s}", v] for p, s, v in reversed(EXPECTED)]
    read = read_votes(write(tmp_path, {"votes.csv": [["participant", "statement", "vote"], *rows]}))
    first = {code: number for number, code in enumerate(dict.fromkeys(row[0] for row in rows))}
    assert first["p23@example.org"] == 0
    assert set(votes_of(read).__iter__()) == {
        (first[p], {c: n for n, c in enumerate(dict.fromkeys(row[1] for row in rows))}[s], v) for p, s, v in rows
    }
    assert "in the order of the file" in facts(read)["participant ids"][2]
    assert "example" not in read.import_report.write_csv()


def api(votes: Sequence[Vote], sign: int, totals: bool) -> dict[str, str]:
    """votes.json and comments.json as the API of Polis gives them, where sign is -1."""
    comments = []
    for s in range(STATEMENTS):
        cast = [v for _, statement, v, _ in votes if statement == s]
        counts = {"agree_count": cast.count(1), "disagree_count": cast.count(-1)} if totals else {}
        comments.append({"tid": s, "txt": text_of(s), "pid": 99, "mod": 1, "is_meta": s == 3, **counts})
    cast_rows = [{"pid": p, "tid": s, "vote": v * sign, "modified": str(t), "weight": {"a": 1}} for p, s, v, t in votes]
    return {"votes.json": json.dumps(cast_rows), "comments.json": json.dumps(comments)}


@pytest.mark.parametrize("sign", [-1, 1])
def test_votes_json_of_polis_has_the_sign_that_its_totals_tell(tmp_path: Path, sign: int) -> None:
    read = read_votes(write(tmp_path, api(all_votes(), sign, totals=True)))
    assert votes_of(read) == EXPECTED and ("votes turned round" in facts(read)) == (sign == -1)
    assert read.raw_statements.filter("is_meta")["statement_id"].to_list() == [3]


def test_votes_json_of_polis_whose_sign_nothing_tells_is_asked_about(tmp_path: Path) -> None:
    place = write(tmp_path, api(all_votes(), -1, totals=False))
    with pytest.raises(ConsultationError, match="where -1 agrees; other programs"):
        read_votes(place)
    assert votes_of(read_votes(place, {"-1": "agree", "1": "disagree", "0": "pass"})) == EXPECTED


@pytest.mark.parametrize(
    ("name", "votes", "statements"), [("150ptpt-3gp-no-strict-no-meta", 4785, 118), ("below-100-ptpts", 504, 44)]
)
def test_conversations_that_polis_computed_are_read_from_json(
    test_data: Path, name: str, votes: int, statements: int
) -> None:
    read = read_votes(test_data / "polis-oracles" / name)
    assert (read.raw_votes.height, read.raw_statements.height) == (votes, statements)
    rows = json.loads((test_data / "polis-oracles" / name / "votes.json").read_text())
    assert int(read.raw_votes["vote"].cast(pl.Int64).sum()) == sum(row["vote"] for row in rows)
    strict = json.loads((test_data / "polis-oracles" / name / "conversation.json").read_text())["strict_moderation"]
    assert facts(read)["mode of moderation"][2].endswith("strict" if strict else "lenient")
    assert stated_mode(read.import_report) == ("strict" if strict else "lenient")


@pytest.mark.parametrize(
    ("header", "told"),
    [
        ("comment-id,comment,total-votes,total-agrees,group-a-votes,group-a-agrees", "comment-groups.csv"),
        ("comment-id,comment_text,agrees,disagrees,passes", "totals of votes, one row a statement"),
        (
            "Vote ID,Session ID,Wikisurvey ID,Winner ID,Winner Text,Loser ID,Loser Text",
            "pairs of which one was preferred",
        ),
        ("id;category/id;title/en;body/en;endorsements/total_count;reference", "proposals with the number"),
        ("colour,shape,size", "no table of votes that is understood. Found 3 columns: colour, shape, size"),
        ("participant,statement,weight", r"\(missing: vote\)"),
    ],
)
@pytest.mark.parametrize("name", ["votes.csv", "anything.csv"])
def test_what_has_no_votes_of_people_is_refused_for_what_it_is(
    tmp_path: Path, header: str, told: str, name: str
) -> None:
    width = header.count(";") + header.count(",") + 1
    rows = "".join((";" if ";" in header else ",").join(["7"] * width) + "\n" for _ in range(3))
    with pytest.raises(ConsultationError, match=told):
        read_votes(write(tmp_path, {name: f"{header}\n{rows}"}))


def test_results_of_polis_are_no_votes(tmp_path: Path) -> None:
    with pytest.raises(ConsultationError, match="no list of votes"):
        read_votes(write(tmp_path, {"math.json": '{"base-clusters": {}, "math_tick": 5}'}))


def mode(imported: Import) -> str:
    return facts(imported)["mode of moderation"][2]


def test_others_votes_on_a_statement_nobody_moderated_show_a_lenient_conversation(tmp_path: Path) -> None:
    read = read_votes(write(tmp_path / "polis", polis_files(moderated={12: 0, 13: -1})))
    assert mode(read).startswith("1 of 1 statement that nobody moderated was voted on by others than the author")
    assert mode(read).endswith("lenient") and read.raw_statements["moderated"].to_list()[12:] == [0, -1]
    plain = plain_files()
    plain["statements.csv"][5][3] = ""
    assert mode(read_votes(write(tmp_path / "plain", plain))).endswith("lenient")


def only_by_authors(*statements: int) -> list[Vote]:
    return [vote for vote in all_votes() if vote[1] not in statements or vote[0] == vote[1]]


@pytest.mark.parametrize("author", [int, lambda s: ""])
def test_votes_of_authors_alone_show_a_strict_conversation(tmp_path: Path, author: Callable[[int], object]) -> None:
    files = polis_files(only_by_authors(11, 12), {11: 0, 12: 0}, author)
    assert mode(read_votes(write(tmp_path, files))).startswith("0 of 2 statements that nobody moderated were voted on")
    assert mode(read_votes(tmp_path)).endswith("the conversation was strict")


def test_a_few_that_were_shown_tell_nothing_and_none_left_open_changes_nothing(tmp_path: Path) -> None:
    marks = {9: 0, 10: 0, 11: 0, 12: 0}
    mixed = read_votes(write(tmp_path / "mixed", polis_files(only_by_authors(10, 11, 12), marks)))
    assert "1 of 4" in mode(mixed) and "do not tell" in mode(mixed)
    assert facts(mixed)["mode of moderation"][0] == "unknown"
    assert "every statement was moderated" in mode(read_votes(write(tmp_path / "all", polis_files())))


def flipped(votes: Sequence[Vote]) -> list[Vote]:
    return [(p, s, -v, t) for p, s, v, t in votes]


def with_totals_right(change: Callable[[Rows], Rows] = list) -> dict[str, Rows]:
    right, wrong = polis_files(author=lambda s: 99), polis_files(flipped(all_votes()))
    return {"comments.csv": change(right["comments.csv"]), "votes.csv": wrong["votes.csv"]}


def test_totals_that_fit_exactly_when_exchanged_tell_the_sign(tmp_path: Path) -> None:
    read = read_votes(write(tmp_path, with_totals_right()))
    compared = sum(row[3] != row[4] for row in polis_files()["comments.csv"][1:])
    assert votes_of(read) == EXPECTED
    assert facts(read)["votes turned round"][:2] == ("repaired", None), "no number that is not one of votes"
    assert f"{compared} of {compared} totals" in facts(read)["votes turned round"][2]
    assert facts(read)["statements whose totals differ"][1] == 0 and "sign of votes" not in facts(read)


def test_a_single_total_that_does_not_fit_leaves_the_sign_open(tmp_path: Path) -> None:
    def once_more(rows: Rows) -> Rows:
        return [[*row[:3], int(str(row[3])) + 1, *row[4:]] if row[1] == 4 else row for row in rows]

    read = read_votes(write(tmp_path, with_totals_right(once_more)))
    assert facts(read)["sign of votes"][0] == "unknown" and votes_of(read) != EXPECTED


def test_totals_as_they_are_tell_no_sign_and_authors_come_first(tmp_path: Path) -> None:
    straight = read_votes(write(tmp_path / "straight", polis_files(author=lambda s: 99)))
    assert votes_of(straight) == EXPECTED and facts(straight)["sign of votes"][0] == "unknown"
    files = {**polis_files(), "comments.csv": polis_files(flipped(all_votes()))["comments.csv"]}
    authored = read_votes(write(tmp_path / "authored", files))
    assert votes_of(authored) == EXPECTED and facts(authored)["sign of votes"][0] == "found"


@pytest.mark.parametrize(("second", "kind"), [(1_750_000_000, "found"), (1_700_000_000, "unknown")])
def test_the_newest_vote_tells_how_old_an_export_can_be_at_most(tmp_path: Path, second: int, kind: str) -> None:
    files: dict[str, Rows] = {**polis_files(), "participant-votes.csv": matrix()}
    for name in ("comments.csv", "votes.csv"):
        files[name][1:] = [[second + place, *row[1:]] for place, row in enumerate(files[name][1:])]
    told = facts(read_votes(write(tmp_path, files)))["groups in the export"]
    assert told[:2] == (kind, PEOPLE) and ("15 June 2025" in told[2]) == (kind == "found")
