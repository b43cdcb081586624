"""Deciding in a spreadsheet: what is open goes out with what one needs to know, and comes back whole or not at all."""

from __future__ import annotations

import csv
import io
import shlex
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner
from undecided_town import Town, added, town

from ccai_dagster import checked_decisions
from ccai_dagster.cli.app import app
from ccai_dagster.decisions.ledger import Decision, current

__all__ = ["town"]


def exported(town: Town, kind: str, file: Path, role: str = "moderator") -> list[dict[str, str]]:
    town.ccai("sheet", "export", kind, str(file), "--as", role)
    return rows_of(file)


def rows_of(file: Path) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(file.read_text(encoding="utf-8-sig"))))


def save(file: Path, rows: list[dict[str, str]], separator: str = ",") -> None:
    text = io.StringIO()
    writer = csv.DictWriter(text, list(rows[0]), delimiter=separator)
    writer.writeheader()
    writer.writerows(rows)
    file.write_text(text.getvalue(), encoding="utf-8-sig")


def test_what_is_open_goes_out_and_decisions_come_back(town: Town, tmp_path: Path) -> None:
    file = tmp_path / "sheet.csv"
    rows = exported(town, "moderation", file)
    assert [row["subject"] for row in rows] == ["114", "118", "119"]
    assert "“needs a dark mode”" in rows[0]["to_know"] and "out: TEXT" in rows[0]["allowed"]
    assert not any("\x1b" in row["to_know"] or "\u202e" in row["to_know"] for row in rows)
    rows[0] |= {"decision": "out: product capability", "reason": "A matter of looks."}
    rows[2] |= {"decision": "in", "reason": "Clear, and on topic."}
    save(file, [{"colour": "red", **row} for row in rows], ";")  # as spreadsheets save where a comma is decimal
    told = town.ccai("sheet", "import", "moderation", str(file), "--as", "moderator", "--policy-ref", "rule 1")
    assert "2 decisions recorded, as moderation-1 and on." in told
    assert [
        (row["subject_ids"], row["outcome"], row["reason"], row["decided_by"], row["policy_ref"])
        for row in added(town, "moderation")
    ] == [
        (["114"], "out: product capability", "A matter of looks.", "moderator", "rule 1"),
        (["119"], "in", "Clear, and on topic.", "moderator", "rule 1"),
    ]
    assert [row["subject"] for row in exported(town, "moderation", tmp_path / "rest.csv")] == ["118"]


def test_one_wrong_row_keeps_all_out_and_every_wrong_row_is_told(town: Town, tmp_path: Path) -> None:
    file = tmp_path / "sheet.csv"
    rows = exported(town, "moderation", file)
    before = (town.folder / "decisions" / "moderation.csv").read_bytes()
    rows[0] |= {"decision": "in", "reason": "Clear."}
    rows[1] |= {"decision": "perhaps", "reason": "Who knows."}
    rows[2] |= {"decision": "in", "reason": "=1+1"}
    more = {**rows[0], "subject": "9999"}
    save(file, [*rows, more, {**rows[0], "subject": "17", "reason": ""}])
    told = town.ccai("sheet", "import", "moderation", str(file), "--as", "moderator", fails=True)
    assert (town.folder / "decisions" / "moderation.csv").read_bytes() == before
    for place, words in (
        (3, "perhaps"),
        (4, "begins like a formula"),
        (5, "'9999' is nothing that is to be decided here"),
        (6, "a decision needs a reason"),
    ):
        assert any(f"row {place}: " in line and words in line for line in told.splitlines()), (place, told)
    assert "row 2" not in told and "Nothing was recorded of 5 rows." in told


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"digest": "0" * 64}, "its text is another one since it was shown"),
        ({"seen": "moderation-7"}, "it was decided in the meantime"),
    ],
)
def test_a_sheet_made_of_something_else_is_refused(
    town: Town, tmp_path: Path, change: dict[str, str], words: str
) -> None:
    file = tmp_path / "sheet.csv"
    rows = exported(town, "moderation", file)
    save(file, [{**rows[0], "decision": "in", "reason": "Clear.", **change}])
    assert words in town.ccai("sheet", "import", "moderation", str(file), "--as", "moderator", fails=True)
    assert added(town, "moderation") == []


def test_rows_that_replace_the_same_row_share_what_is_left_of_it(town: Town, tmp_path: Path) -> None:
    subjects = ["114", "118", "119"]
    for role, outcome in (("first", "in"), ("second", "out: off topic")):
        town.ccai("decide", "moderation", " ".join(subjects), outcome, "--reason", "All.", "--as", role)
    file = tmp_path / "sheet.csv"
    rows = exported(town, "moderation", file, "third")
    assert [(row["subject"], row["seen"]) for row in rows] == [(each, "moderation-1 moderation-2") for each in subjects]
    assert "is not open to first" in _refused(town, file, rows, "first")
    save(file, [row | {"decision": "in", "reason": f"Of {row['subject']}."} for row in rows])
    town.ccai("sheet", "import", "moderation", str(file), "--as", "third")
    counting = [
        (row["subject_ids"], row["reason"], row["decided_by"])
        for row in current(town.ledger("moderation")).to_dicts()
        if set(row["subject_ids"]) & set(subjects)
    ]
    assert counting == [([each], f"Of {each}.", "third") for each in subjects]


def _refused(town: Town, file: Path, rows: list[dict[str, str]], role: str) -> str:
    save(file, [rows[0] | {"decision": "in", "reason": "Clear."}])
    return town.ccai("sheet", "import", "moderation", str(file), "--as", role, fails=True)


def test_two_people_decide_by_sheet_without_seeing_one_another(town: Town, tmp_path: Path) -> None:
    town.add("moderation", "M200", "double_decisions", "policy: two people decide independently", "steering group")
    anna, bert, late = tmp_path / "anna.csv", tmp_path / "bert.csv", tmp_path / "late.csv"
    for file, role, outcome in ((anna, "anna", "in"), (bert, "bert", "out: off topic")):
        rows = [row for row in exported(town, "moderation", file, role) if row["subject"] in ("114", "119")]
        save(file, [row | {"decision": outcome, "reason": f"Of {role}."} for row in rows])
    town.ccai("sheet", "import", "moderation", str(anna), "--as", "anna")
    blind = next(row for row in exported(town, "moderation", late, "bert") if row["subject"] == "114")
    assert blind["seen"] == "" and "anna" not in "".join(blind.values()) and "without seeing it" in blind["to_know"]
    assert "is not open to anna" in town.ccai("sheet", "import", "moderation", str(anna), "--as", "anna", fails=True)
    town.ccai("sheet", "import", "moderation", str(bert), "--as", "bert")
    assert [(row["subject_ids"], row["outcome"], row["decided_by"]) for row in added(town, "moderation")] == [
        (["114"], "in", "anna"),
        (["119"], "in", "anna"),
        (["114"], "out: off topic", "bert"),
        (["119"], "out: off topic", "bert"),
    ]
    assert "it was decided in the meantime" in _refused(town, late, [blind], "carl")


@pytest.mark.parametrize("independently", [False, True])
def test_what_is_decided_while_a_sheet_is_read_is_noticed(
    town: Town, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, independently: bool
) -> None:
    if independently:
        town.add("moderation", "M200", "double_decisions", "policy: two people decide independently", "steering group")
    file = tmp_path / "sheet.csv"
    (row,) = (each for each in exported(town, "moderation", file, "bert") if each["subject"] == "119")
    save(file, [row | {"decision": "in", "reason": "Clear."}])
    record_all = checked_decisions.record_all

    def somebody_was_faster(*given: Any) -> list[Decision]:
        town.ccai("decide", "moderation", "119", "out: off topic", "--reason", "Is.", "--as", "anna")
        return record_all(*given)

    monkeypatch.setattr(checked_decisions, "record_all", somebody_was_faster)
    told = town.ccai("sheet", "import", "moderation", str(file), "--as", "bert", fails=not independently)
    roles = [each["decided_by"] for each in added(town, "moderation")]
    if independently:
        assert roles == ["anna", "bert"] and "anna" not in told
    else:
        assert roles == ["anna"]
        assert "row 2: statement 119 was decided by anna (moderation-1) in the meantime." in told


def test_the_next_command_is_told_as_it_must_be_typed(town: Town, tmp_path: Path) -> None:
    town.folder = town.folder.rename(tmp_path / "our town")
    file, role = tmp_path / "Anna's  sheet.csv", 'the "$HOME" team'
    words = shlex.split(town.ccai("sheet", "export", "moderation", str(file), "--as", f" {role} ").splitlines()[-1])
    assert words == [
        *("ccai", "sheet", "import", "moderation", str(file), "--as", role, "--consultation", str(town.folder))
    ]
    save(file, [rows_of(file)[0] | {"decision": "in", "reason": "Clear."}])
    result = CliRunner().invoke(app, words[1:])
    assert "1 decision recorded" in result.output and added(town, "moderation")[0]["decided_by"] == role
    for way in ("export", "import"):
        told = town.ccai("sheet", way, "moderation", str(tmp_path / "new.csv"), "--as", " ", fails=True)
        assert "A role is needed; give it with --as." in told and not (tmp_path / "new.csv").exists()


def test_a_file_that_holds_decisions_is_not_overwritten_and_an_empty_one_says_so(town: Town, tmp_path: Path) -> None:
    file = tmp_path / "sheet.csv"
    exported(town, "moderation", file)
    assert "exists already" in town.ccai("sheet", "export", "moderation", str(file), "--as", "moderator", fails=True)
    assert "no row has a decision" in town.ccai(
        "sheet", "import", "moderation", str(file), "--as", "moderator", fails=True
    )
