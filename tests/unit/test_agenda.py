from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ccai_dagster.core.digest import text_digest
from ccai_dagster.core.errors import ConsultationError
from ccai_dagster.decisions.agenda import AgendaItem, Proposal, agenda
from ccai_dagster.decisions.ledger import Decision, current, ledger_table, read_ledger, write_ledger
from ccai_dagster.decisions.origins import CARRIED_OVER, STARTING
from ccai_dagster.decisions.recording import Answer, record, record_all

TEXTS = {"1": "Be kind", "2": "Be nice", "3": "Be brief"}
NOW = datetime(2026, 5, 1, 12, 30, tzinfo=UTC)


def digest(*subjects: str) -> str:
    return text_digest("\n".join(TEXTS[each] for each in subjects))


def basis(subjects: Sequence[str]) -> str | None:
    return digest(*subjects) if all(each in TEXTS for each in subjects) else None


def row(
    decision_id: str,
    subjects: str,
    outcome: str = "in",
    role: str = "first",
    inputs: str | None = None,
    supersedes: str | None = None,
) -> Decision:
    ids = tuple(subjects.split())
    inputs = inputs or (basis(ids) if not outcome.startswith("policy") else None)
    return Decision(decision_id, "moderation", ids, outcome, "Because", role, "2026-01-05", None, supersedes, inputs)


def states(*rows: Decision, wanted: Sequence[str] = tuple(TEXTS)) -> dict[str, str]:
    proposals = [Proposal((each,)) for each in wanted]
    found = agenda("moderation", ledger_table(rows), proposals, basis)
    return {item.subject[0]: item.state for item in found}


def test_every_state() -> None:
    two = row("P", "double_decisions", "policy: two people decide independently")

    assert states() == dict.fromkeys(TEXTS, "undecided")
    assert states(row("A", "1 2"), row("B", "2", "out: odd", "second")) == {
        "1": "decided",
        "2": "disagreeing",
        "3": "undecided",
    }
    assert states(row("A", "1 2", inputs=digest("2", "1"))) == {"1": "lapsed", "2": "lapsed", "3": "undecided"}
    assert states(two, row("A", "1 2"), row("B", "2", "in", "second")) == {
        "1": "one of two",
        "2": "decided",
        "3": "undecided",
    }
    assert states(row("A", "9"), row("B", "3"), wanted=["1"]) == {"1": "undecided", "3": "decided"}


def test_starting_values_are_not_considered_and_suggestions_bind_nobody() -> None:
    start = Decision(
        "T1", "threshold", ("smoothing",), "none", "start", "whoever", "2026-01-05", suggested_by="ccai new"
    )
    wanted = [Proposal(("smoothing",)), Proposal(("procedure",))]

    assert [item.state for item in agenda("threshold", ledger_table([start]), wanted, basis)] == [
        "not considered",
        "undecided",
    ]
    odd = [Proposal(("7",), "agreed with everything", "a search")]
    assert [item.state for item in agenda("exclusion", ledger_table([]), odd, basis)] == ["suggested"]


def test_who_may_decide() -> None:
    own = {"decided_by": "first"}

    def item(state: str) -> AgendaItem:
        return AgendaItem("moderation", Proposal(("1",)), state, (own,))  # type: ignore[arg-type]

    assert {
        state: (item(state).open_to("first"), item(state).open_to("third"))
        for state in ("decided", "lapsed", "disagreeing", "one of two")
    } == {"decided": (False, False), "lapsed": (True, True), "disagreeing": (False, True), "one of two": (False, True)}


def answer(subjects: str, outcome: str = "in", role: str = "first", supersedes: str = "", **cells: str) -> Answer:
    ids = tuple(subjects.split())
    return Answer(
        "moderation",
        ids,
        outcome,
        cells.get("reason", "Because"),
        role,
        tuple(supersedes.split()),
        inputs_digest=basis(ids),
    )


@pytest.fixture
def ledger(tmp_path: Path) -> Path:
    path = tmp_path / "moderation.csv"
    write_ledger(path, [row("moderation-7", "1 2")])
    return path


def test_a_decision_gets_the_next_id_and_the_time(ledger: Path) -> None:
    rows = record(ledger, answer("3", "out: odd"), basis, taken=["moderation-8", "M-99"], now=NOW)

    assert rows == [
        Decision(
            "moderation-9",
            "moderation",
            ("3",),
            "out: odd",
            "Because",
            "first",
            "2026-05-01T12:30:00Z",
            inputs_digest=digest("3"),
        )
    ]
    assert read_ledger(ledger, "moderation")["decision_id"].to_list() == ["moderation-7", "moderation-9"]


def test_what_a_replaced_row_decided_on_others_is_kept(ledger: Path) -> None:
    record(ledger, answer("2", "out: odd", supersedes="moderation-7"), basis, now=NOW)

    table = current(read_ledger(ledger, "moderation"))
    assert table.select("decision_id", "subject_ids", "outcome", "supersedes", "suggested_by", "root_id").rows() == [
        ("moderation-8", ["2"], "out: odd", "moderation-7", None, "moderation-7"),
        ("moderation-9", ["1"], "in", "moderation-7", CARRIED_OVER, "moderation-7"),
    ]
    assert table["inputs_digest"].to_list() == [digest("2"), digest("1")]
    assert table["reason"][1] == "As in moderation-7, of which only statement 2 was decided anew: Because"
    assert (table["decided_by"][1], table["decided_at"][1]) == ("first", "2026-01-05")


def test_what_has_lapsed_is_not_kept(tmp_path: Path) -> None:
    path = tmp_path / "moderation.csv"
    write_ledger(path, [row("A", "1 2", inputs=digest("3"))])

    assert len(record(path, answer("2", supersedes="A"), basis)) == 1
    assert states(*[]) == dict.fromkeys(TEXTS, "undecided")
    found = agenda("moderation", read_ledger(path, "moderation"), [Proposal(("1",))], basis)
    assert [(item.subject, item.state) for item in found] == [(("1",), "undecided"), (("2",), "decided")]


@pytest.mark.parametrize(
    ("given", "seen", "message"),
    [
        (answer("1"), None, "statement 1 is decided by moderation-7, in the same role"),
        (answer("1", role="second"), [], r"statement 1 was decided by first \(moderation-7\) in the meantime"),
        (answer("3", supersedes="moderation-7"), None, "moderation-7 is about statements 1 2 and not about"),
        (answer("3", supersedes="nothing"), None, "supersedes nothing, which is not in this ledger"),
        (answer("3", reason="=HYPERLINK(1)"), None, "`reason` begins like a formula"),
        (answer("3", reason="a\x1b[2Jb"), None, "`reason` holds a control character"),
        (answer("3", role="@team"), None, "`decided_by` begins like a formula"),
        (answer("3", reason="  "), None, "`reason` is empty"),
        (answer("3", outcome="maybe"), None, "`outcome` 'maybe' is unknown here"),
        (answer("3", outcome="withdrawn"), None, "needs the rows it takes back in `supersedes`"),
    ],
)
def test_what_cannot_be_recorded_changes_nothing(
    ledger: Path, given: Answer, seen: list[str] | None, message: str
) -> None:
    before = ledger.read_bytes()

    with pytest.raises(ConsultationError, match=message):
        record(ledger, given, basis, seen=seen)

    assert ledger.read_bytes() == before


def test_a_second_person_decides_beside_the_first(ledger: Path) -> None:
    record(ledger, answer("1", "out: odd", role="second"), basis, seen=["moderation-7"])

    found = {item.subject[0]: item.state for item in agenda("moderation", read_ledger(ledger, "moderation"), [], basis)}
    assert found == {"1": "disagreeing", "2": "decided"}


def test_a_decision_replaces_what_a_new_folder_was_filled_with_and_keeps_the_rest_of_it(tmp_path: Path) -> None:
    path = tmp_path / "moderation.csv"
    write_ledger(
        path, [replace(row("moderation-1", "1 2"), decided_by="whoever", suggested_by=STARTING), row("A", "3")]
    )

    record(path, answer("2", "out: odd", role="second"), basis, now=NOW)
    record(path, answer("3", "out: odd", role="second"), basis, now=NOW)

    table = read_ledger(path, "moderation")[2:]
    assert table.select("decision_id", "supersedes", "decided_by", "suggested_by").rows() == [
        ("moderation-2", "moderation-1", "second", None),
        ("moderation-3", "moderation-1", "whoever", STARTING),
        ("moderation-4", None, "second", None),
    ]


@given(
    st.lists(st.tuples(st.sets(st.integers(1, 6), min_size=1, max_size=3), st.booleans(), st.booleans()), max_size=8)
)
def test_several_decisions_at_once_are_what_each_alone_would_be(drawn: list[tuple[set[int], bool, bool]]) -> None:
    begun = [replace(row("moderation-1", "1 2 3"), suggested_by=STARTING), row("moderation-2", "4 5"), row("A", "6")]
    answers = [
        answer(" ".join(map(str, sorted(ids))), "out: odd" if out else "in", "first" if again else f"role {number}")
        for number, (ids, out, again) in enumerate(drawn)
    ]
    with TemporaryDirectory() as folder:
        one, other = Path(folder) / "one" / "moderation.csv", Path(folder) / "other" / "moderation.csv"
        for path in (one, other):
            path.parent.mkdir()
            write_ledger(path, begun)
        refused = ""
        try:
            for each in answers:
                record(one, each, basis, now=NOW)
        except ConsultationError as error:
            refused = str(error)
        if refused:
            with pytest.raises(ConsultationError, match=re.escape(refused)):
                record_all(other, [("row", each) for each in answers], basis, now=NOW)
            assert read_ledger(other, "moderation").height == len(begun)
        else:
            record_all(other, [("row", each) for each in answers], basis, now=NOW)
            assert one.read_bytes() == other.read_bytes()
