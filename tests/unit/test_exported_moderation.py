"""Moderation that goes on where the votes come from: told, and taken over again where no person decided."""

from __future__ import annotations

import tempfile
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import polars as pl
import pytest
from field_conversation import all_votes, polis_files, write
from hypothesis import given, settings
from hypothesis import strategies as st
from small_metadata import ABOUT_PEOPLE, REJECTED, write_export
from typer.testing import CliRunner

from ccai_dagster.cli.app import app
from ccai_dagster.cli.new import from_export
from ccai_dagster.cli.summary import summary
from ccai_dagster.contracts import RAW_STATEMENTS
from ccai_dagster.core.digest import text_digest
from ccai_dagster.decisions.checks import check_moderation, check_moderation_mode
from ccai_dagster.decisions.exported_moderation import differences, exported_outcome
from ccai_dagster.decisions.independent_decisions import agreements
from ccai_dagster.decisions.ledger import Decision, ledger_table, read_ledger, write_ledger
from ccai_dagster.decisions.origins import STARTING, TAKEN_OVER, origins_told
from ccai_dagster.decisions.outcomes import moderation_verdicts
from ccai_dagster.decisions.recording import take_over
from ccai_dagster.open_consultation import open_consultation

Export = dict[int, tuple[int, bool | None]]
"""Moderation and mark as metadata, by statement."""
NOW = datetime(2026, 2, 3, 4, 5, 6, tzinfo=UTC)


def statements(export: Export) -> pl.DataFrame:
    return RAW_STATEMENTS.build(
        [
            {
                "statement_id": key,
                "author_id": None,
                "created_at": None,
                "moderated": moderated,
                "is_seed": None,
                "is_meta": is_meta,
                "text": f"text {key}",
            }
            for key, (moderated, is_meta) in export.items()
        ]
    )


def row(
    decision_id: str, subjects: str, outcome: str, by: str | None = None, supersedes: str | None = None
) -> Decision:
    """A row of a person, or with `by` of what wrote it."""
    ids = tuple(subjects.split())
    digest = text_digest("\n".join(f"text {each}" for each in ids))
    role, when = by or "moderators", "2026-01-05"
    return Decision(decision_id, "moderation", ids, outcome, "Because", role, when, None, supersedes, digest, by)


def found(rows: list[Decision], export: Export) -> list[tuple[int, str, str, bool]]:
    told = differences(ledger_table(rows), statements(export))
    return [(each.statement_id, each.recorded, each.exported, each.by_person) for each in told]


@pytest.mark.parametrize(
    ("moderated", "is_meta", "outcome"),
    [
        (1, None, "in"),
        (1, False, "in"),
        (-1, None, "out: moderated out in Polis"),
        (0, False, None),
        (0, None, None),
        # As in the engine of Polis, where a mark counts without moderation; what was rejected is not shown at all.
        (1, True, "metadata"),
        (0, True, "metadata"),
        (-1, True, "out: moderated out in Polis"),
    ],
)
def test_what_an_export_says_of_a_statement(moderated: int, is_meta: bool | None, outcome: str | None) -> None:
    assert exported_outcome(moderated, is_meta) == outcome


@pytest.mark.parametrize(
    ("taken", "now", "expected"),
    [
        ("in", (1, False), None),
        ("in", (-1, False), "out"),
        ("in", (0, False), "undecided"),
        ("in", (1, True), "metadata"),
        ("out: moderated out in Polis", (1, None), "in"),
        ("out: moderated out in Polis", (-1, True), None),
        ("metadata", (1, False), "in"),
        ("metadata", (-1, True), "out"),
        # An export without the column says nothing of marks.
        ("metadata", (1, None), None),
        ("metadata", (0, None), None),
        ("metadata", (-1, None), "out"),
        (None, (0, False), None),
        (None, (1, False), "in"),
        (None, (-1, None), "out"),
        (None, (0, True), "metadata"),
    ],
)
def test_what_was_taken_over_differs_in_both_directions(
    taken: str | None, now: tuple[int, bool | None], expected: str | None
) -> None:
    rows = [row("A", "9", "in", STARTING), *([row("B", "1", taken, STARTING)] if taken else [])]
    recorded = "undecided" if taken is None else taken.partition(":")[0]
    told = [] if expected is None else [(1, recorded, expected, False)]
    assert found(rows, {1: now, 9: (1, False)}) == told


def test_an_export_in_which_nobody_moderated_says_nothing() -> None:
    assert (
        found([row("A", "1", "in", STARTING), row("B", "2", "metadata", STARTING)], {1: (0, None), 2: (0, False)}) == []
    )


def test_a_person_s_row_is_told_unless_it_was_decided_against_what_the_export_said_then() -> None:
    taken = [row("A", "1", "in", STARTING), row("B", "2", "in", STARTING), row("C", "3", "in", STARTING)]
    people = [row("D", "1", "out: off topic", None, "A"), row("E", "2", "rewrite: text", None, "B")]
    export: Export = {1: (1, False), 2: (1, False), 3: (1, False)}
    assert found([*taken, *people], export) == [], "1 was decided against the export, 2 with it"
    assert found([*taken, *people], export | {2: (-1, False)}) == [(2, "rewrite", "out", True)]
    assert found([*taken, row("F", "3", "metadata", None, "C")], export) == []
    # Marks that only people make are not contradicted by an export that knows none.
    assert found([*taken, row("F", "4", "metadata")], export | {4: (1, None)}) == []
    assert found([row("F", "1", "out: off topic")], export | {2: (0, None), 3: (0, None)}) == [], "no row follows it"


def test_what_a_person_took_back_is_not_decided_again() -> None:
    rows = [row("A", "1", "in", STARTING), replace(row("B", "1", "withdrawn", None, "A"), inputs_digest=None)]
    assert found([*rows, row("C", "2", "in", STARTING)], {1: (1, False), 2: (1, False)}) == []
    assert found([*rows, row("C", "2", "in", STARTING)], {1: (-1, False), 2: (1, False)}) == [
        (1, "withdrawn", "out", True)
    ]


def taken(tmp_path: Path, rows: list[Decision], export: Export) -> tuple[list[Decision], pl.DataFrame]:
    path = tmp_path / "moderation.csv"
    write_ledger(path, rows)
    texts = {str(key): f"text {key}" for key in export}
    basis = lambda ids: text_digest("\n".join(texts[each] for each in ids))  # noqa: E731
    added = take_over(path, statements(export), basis, ("moderation-41",), NOW)
    return added, read_ledger(path, "moderation")


def test_the_export_is_taken_over_row_by_row(tmp_path: Path) -> None:
    rows = [
        row("A", "1 2 3", "in", STARTING),
        row("B", "4", "out: moderated out in Polis", STARTING),
        row("C", "5", "in"),
        row("D", "6", "in", STARTING),
    ]
    export: Export = {1: (-1, False), 2: (1, True), 3: (1, False), 4: (1, False), 5: (-1, False), 6: (0, False)}
    added, ledger = taken(tmp_path, rows, export | {7: (1, False), 8: (0, False)})
    cells = [(each.decision_id, each.subject_ids, each.outcome, each.supersedes, each.suggested_by) for each in added]
    assert cells == [
        ("moderation-42", ("1",), "out: moderated out in Polis", "A", TAKEN_OVER),
        ("moderation-43", ("2",), "metadata", "A", TAKEN_OVER),
        ("moderation-44", ("4",), "in", "B", TAKEN_OVER),
        ("moderation-45", ("6",), "withdrawn", "D", TAKEN_OVER),
        ("moderation-46", ("7",), "in", None, TAKEN_OVER),
        ("moderation-47", ("3",), "in", "A", STARTING),
    ]
    assert {each.decided_by for each in added[:-1]} == {"whoever ran `ccai take-over`"}
    assert {each.decided_at for each in added[:-1]} == {"2026-02-03T04:05:06Z"}
    verdicts = moderation_verdicts(ledger)
    assert [key for key, each in verdicts.items() if each.included] == [3, 4, 5, 7]
    assert [key for key, each in verdicts.items() if each.metadata] == [2]
    assert agreements(ledger) == [], "nobody decided twice"
    assert origins_told([ledger]) == "9 taken over from the export, 1 decided by people"
    findings = check_moderation(ledger, statements(export | {7: (1, False), 8: (0, False)}), "strict")
    assert [(each.severity, each.subject) for each in findings] == [
        ("warning", "6"),
        ("warning", "8"),
        ("warning", "5"),
    ]


def test_two_rows_that_no_person_decided_are_no_two_opinions() -> None:
    rows = [row("A", "1", "in", STARTING), row("B", "1", "out: late", TAKEN_OVER), row("C", "1", "in", None, "A B")]
    assert agreements(ledger_table(rows)) == []


MODERATION = st.tuples(st.sampled_from([-1, 0, 1]), st.sampled_from([None, False, True]))


def kept_apart(before: Export, now: Export, key: int) -> bool:
    """Whether it was taken over as metadata, and the export no longer tells of marks."""
    return key in before and exported_outcome(*before[key]) == "metadata" and now[key][1] is None


@settings(max_examples=40)
@given(st.lists(MODERATION, min_size=1, max_size=6), st.lists(MODERATION, min_size=6, max_size=6))
def test_after_taking_over_nothing_differs(
    first: list[tuple[int, bool | None]], then: list[tuple[int, bool | None]]
) -> None:
    before, now = dict(enumerate(first)), dict(enumerate(then))
    rows = [
        row(f"A{key}", str(key), outcome, STARTING)
        for key, each in before.items()
        if (outcome := exported_outcome(*each)) is not None
    ]
    with tempfile.TemporaryDirectory() as folder:
        _, ledger = taken(Path(folder), rows, now)
    assert differences(ledger, statements(now)) == []
    if any(moderated or is_meta for moderated, is_meta in then):
        told = {key: exported_outcome(*each) for key, each in now.items()}
        included = [key for key, each in moderation_verdicts(ledger).items() if each.included]
        assert included == [
            key for key, outcome in told.items() if outcome == "in" and not kept_apart(before, now, key)
        ]


def ccai(*words: str) -> str:
    result = CliRunner().invoke(app, list(words))
    assert result.exit_code == 0, result.output
    return result.output


def test_a_folder_from_before_marks_counted_goes_on_and_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CCAI_HOME", str(tmp_path / "home"))
    folder = tmp_path / "town"
    from_export(str(write_export(tmp_path / "export")), folder, "strict")
    ledger = folder / "decisions" / "moderation.csv"
    ledger.write_text(ledger.read_text().replace(",metadata,", ",in,"))  # as `ccai new` once wrote it
    status = ccai("status", str(folder))
    assert "STOPS THE RUN" not in status.partition("\nmoderation (")[2].partition("\n\n")[0]
    named = ", ".join(f"{each} (ledger: in)" for each in ABOUT_PEOPLE)
    assert f"the export marks it as metadata, a statement about the people who vote: {named}" in status
    assert f"`ccai take-over {folder}`" in status
    before = moderation_verdicts(read_ledger(ledger, "moderation"))
    assert [key for key, each in before.items() if each.included] == list(range(REJECTED)), "as it was"
    said = ccai("take-over", str(folder))
    assert f"Recorded 12 rows in {ledger}: 12 metadata." in said
    after = moderation_verdicts(read_ledger(ledger, "moderation"))
    assert [key for key, each in after.items() if each.metadata] == list(ABOUT_PEOPLE)
    assert ccai("take-over", str(folder)) == "Nothing to take over; nothing was recorded.\n"
    assert "37 taken over from the export" in ccai("status", str(folder))


def test_moderation_that_changed_later_is_told_reviewed_and_taken_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CCAI_HOME", str(tmp_path / "home"))
    folder = tmp_path / "town"
    from_export(str(write_export(tmp_path / "export", moderated={2: 0, 3: 0})), folder, "strict")
    place = ["--consultation", str(folder)]
    ccai("decide", "moderation", "1", "in", "--reason", "we want it", "--as", "moderator", *place)
    write_export(folder / "votes", moderated={0: -1, 1: -1, 2: 1, 3: -1, REJECTED: 1})
    status = ccai("status", str(folder))
    assert "the export now says in: 2 (ledger: undecided), 24 (ledger: out)" in status
    assert "the export now says out: 0 (ledger: in), 3 (ledger: undecided)" in status
    assert "the export now says out: 1 (ledger: in); a person decided, which stands" in status
    assert "lapsed: 0, 24" in status and "undecided: 2, 3" in status
    walked = CliRunner().invoke(app, ["review", "moderation", "--as", "moderator", *place], input="q\n").output
    assert "moderation 1 of 4 ── statement 0 ── lapsed" in walked and "moderated out by the export" in walked
    said = ccai("take-over", str(folder))
    assert "Recorded 4 rows" in said and ": 2 in, 2 out." in said
    assert "the export now says out: 1 (ledger: in); a person decided, which stands" in said
    verdicts = moderation_verdicts(read_ledger(folder / "decisions" / "moderation.csv", "moderation"))
    assert [verdicts[each].included for each in (0, 1, 2, 3, REJECTED)] == [False, True, True, False, True]


def test_a_newer_export_of_another_mode_of_moderation_is_told_until_somebody_decides(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CCAI_HOME", str(tmp_path / "home"))
    folder = tmp_path / "town"
    strict = [vote for vote in all_votes() if vote[1] != 12 or vote[0] == 12]  # only its author voted on 12
    from_export(str(write(tmp_path / "export", polis_files(strict, {12: 0, 13: 1}))), folder, "strict")
    assert "WARNING" not in ccai("status", str(folder))
    write(folder / "votes", polis_files(all_votes(), {12: 0, 13: 1}))
    lost = sum(statement == 12 for _, statement, *_ in all_votes())
    told = (
        "moderation is strict, but the votes tell that it was lenient. 1 of 1 statement that nobody moderated was "
        "voted on by others than the author, and so was shown to them: the conversation was lenient. As it is set, "
        f"1 statement with {lost} votes is left out. If that is not meant, write `moderation: lenient` in "
        "consultation.yaml"
    )
    assert f"  WARNING: {told}\n" in ccai("status", str(folder))
    opened = open_consultation(folder)
    imported, ledger = opened.imported, opened.ledger("moderation")
    mode = opened.consultation.file.moderation
    (finding,) = check_moderation_mode(ledger, imported.raw_statements, imported.raw_votes, mode)
    assert (finding.severity, finding.message) == ("warning", told)
    assert check_moderation_mode(ledger, imported.raw_statements, imported.raw_votes, "lenient") == []
    tables = Path(opened.home.tables_url)
    tables.mkdir(parents=True)
    for name in ("raw_statements", "raw_votes"):
        getattr(imported, name).write_parquet(tables / f"{name}.parquet")
    lines = summary(open_consultation(folder), tmp_path)
    assert f"WARNING           {told}" in lines
    assert lines[-1].startswith(f"Look around       ccai ui {folder} "), "of the consultation, which is not the sample"
    ccai("decide", "moderation", "12", "out: late", "--reason", "late", "--as", "us", "--consultation", str(folder))
    assert "WARNING" not in ccai("status", str(folder)), "the mode no longer changes anything"
