"""Rows that were changed or removed: what stops, what explains, and what stays on record for ever."""

from __future__ import annotations

from pathlib import Path

import pytest

from ccai_dagster.audit.ledger_record import amendments, check_rows, recorded_rows, row_changes
from ccai_dagster.audit.manifest import Manifest, row_digests
from ccai_dagster.core.errors import ConsultationError
from ccai_dagster.decisions.ledger import Decision, ledger_table, problems

PATH = Path("/town/decisions/wording.csv")


def row(decision_id: str, subjects: str, outcome: str = "leave out", reason: str = "Because") -> Decision:
    return Decision(decision_id, "wording", tuple(subjects.split()), outcome, reason, "editors", "2025-03-01")


FIRST = [row("W1", "1"), row("W2", "2"), row("W3", "3")]
CUT = [FIRST[0], row("W2", "2", reason="Otherwise")]
AMENDED = row("W4", "W2 W3", "amended", "the spreadsheet was cut")


def recorded(rows: list[Decision], before: Manifest | None = None, used: bool = True) -> Manifest:
    found = recorded_rows(before, "wording", ledger_table(rows), used)
    return Manifest(
        consultation="town",
        folder="/town",
        materializations={},
        files={},
        rows={"wording": found.rows},
        unused_rows={"wording": found.unused_rows} if found.unused_rows else {},
        amended_rows={"wording": found.amended_rows} if found.amended_rows else {},
    )


def test_rows_that_are_as_they_were_and_new_ones_stop_nothing() -> None:
    check_rows(None, PATH, ledger_table(FIRST))
    check_rows(recorded(FIRST), PATH, ledger_table([*reversed(FIRST), row("W4", "4")]))


def test_rows_that_vanish_or_change_stop_in_a_sentence_that_names_them_and_the_remedy() -> None:
    with pytest.raises(ConsultationError) as stopped:
        check_rows(recorded(FIRST), PATH, ledger_table(CUT))
    assert str(stopped.value) == (
        "/town/decisions/wording.csv: row W3 was removed and row W2 was changed since results were made of them, and "
        'rows are never changed. Restore them from a copy, or say why with `ccai decide wording "W3 W2" amended '
        "--reason WHY --as ROLE --consultation /town`. Until then nothing is computed."
    )


def test_a_row_that_says_why_lets_them_pass_and_the_earlier_digests_stay() -> None:
    first, digests = recorded(FIRST), row_digests(ledger_table(FIRST).to_dicts())
    check_rows(first, PATH, ledger_table([*CUT, AMENDED]))
    second = recorded([*CUT, AMENDED], first)
    assert set(second.rows["wording"]) == {"W1", "W2", "W4"}
    assert second.amended_rows == {"wording": {"W2": [digests["W2"]], "W3": [digests["W3"]]}}
    third = recorded([*CUT, AMENDED, row("W5", "5")], second)
    assert third.amended_rows == second.amended_rows
    assert amendments(third, "wording", ledger_table([*CUT, AMENDED])) == [
        f"wording ledger: row {key} is not as it was first on record (W4, editors: the spreadsheet was cut)."
        for key in ("W2", "W3")
    ]


def test_an_explanation_covers_what_came_before_it_and_nothing_later() -> None:
    second = recorded([*CUT, AMENDED], recorded(FIRST))
    with pytest.raises(ConsultationError, match="row W2 was changed"):
        check_rows(second, PATH, ledger_table([FIRST[0], row("W2", "2", reason="A third one"), AMENDED]))
    with pytest.raises(ConsultationError, match="row W4 was removed"):
        check_rows(second, PATH, ledger_table(CUT))


def test_what_nobody_explained_does_not_become_the_record() -> None:
    first = recorded(FIRST)
    again = recorded(CUT, first)
    assert again.rows == first.rows and again.amended_rows == {}
    assert row_changes(again.rows["wording"], ledger_table(CUT)).removed == ("W3",)


def test_a_row_that_explains_names_rows_and_takes_no_text() -> None:
    assert problems(AMENDED, "wording") == []
    assert problems(row("W4", "W2", "amended: by mistake"), "wording") == [
        "`outcome` `amended` takes no text; move it to `reason`"
    ]


def test_a_row_of_which_nothing_was_made_may_be_mended_or_removed() -> None:
    refused = [*FIRST, row("W4", "99"), row("W5", "98")]
    first = recorded(refused, recorded(FIRST), used=False)
    assert first.unused_rows == {"wording": ["W4", "W5"]}
    mended = [*FIRST, row("W4", "9")]
    check_rows(first, PATH, ledger_table(mended))
    again = recorded(mended, first, used=False)
    assert again.unused_rows == {"wording": ["W4"]} and again.amended_rows == {}
    with pytest.raises(ConsultationError, match="row W1 was removed"):
        check_rows(again, PATH, ledger_table(mended[1:]))
    used = recorded(mended, again)
    assert used.unused_rows == {} and set(used.rows["wording"]) == {"W1", "W2", "W3", "W4"}
    with pytest.raises(ConsultationError, match="row W4 was removed"):
        check_rows(used, PATH, ledger_table(FIRST))
