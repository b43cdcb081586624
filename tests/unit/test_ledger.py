from __future__ import annotations

import platform
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ccai_dagster.contracts import LEDGER
from ccai_dagster.core.errors import ConsultationError
from ccai_dagster.decisions.ledger import (
    COLUMNS,
    Decision,
    append_decision,
    append_decisions,
    as_kept,
    current,
    ledger_digest,
    ledger_table,
    read_ledger,
    split_outcome,
    write_ledger,
)

HEADER = (
    "decision_id,kind,subject_ids,outcome,reason,policy_ref,decided_by,decided_at,supersedes,inputs_digest,suggested_by"
)
GOOD = "M1,moderation,4 7,out: duplicate,Says the same as 3,rule 2,moderator,2026-01-05,,,"


def decision(decision_id: str, supersedes: str | None = None) -> Decision:
    return Decision(
        decision_id=decision_id,
        kind="exclusion",
        subject_ids=("3",),
        outcome="exclude",
        reason="Voted twice",
        decided_by="moderator",
        decided_at="2026-01-05",
        supersedes=supersedes,
    )


def file(folder: Path, *lines: str, kind: str = "moderation") -> Path:
    path = folder / f"{kind}.csv"
    path.write_text("\n".join((HEADER, *lines)) + "\n", encoding="utf-8")
    return path


def test_reads_a_row_into_the_contract(tmp_path: Path) -> None:
    ledger = read_ledger(file(tmp_path, GOOD, ""), "moderation")

    assert LEDGER.violations(ledger).is_empty()
    assert ledger.to_dicts() == [
        {
            "decision_id": "M1",
            "kind": "moderation",
            "subject_ids": ["4", "7"],
            "outcome": "out: duplicate",
            "reason": "Says the same as 3",
            "policy_ref": "rule 2",
            "decided_by": "moderator",
            "decided_at": "2026-01-05",
            "supersedes": None,
            "inputs_digest": None,
            "suggested_by": None,
        }
    ]


def test_an_empty_ledger_and_a_byte_order_mark_are_fine(tmp_path: Path) -> None:
    path = tmp_path / "merge.csv"
    path.write_bytes(b"\xef\xbb\xbf" + HEADER.encode() + b"\r\n")

    assert read_ledger(path, "merge").height == 0


@pytest.mark.parametrize(
    ("line", "row", "message"),
    [
        (GOOD.replace(",,,", ",,"), 2, "10 cells instead of 11"),
        (GOOD.replace("M1,moderation", "M1,merge"), 2, "`kind` is 'merge', but this is the moderation ledger"),
        (GOOD.replace("Says the same as 3", " "), 2, "`reason` is empty"),
        (GOOD.replace("out: duplicate", ""), 2, "`outcome` is empty"),
        (GOOD.replace("moderator", ""), 2, "`decided_by` is empty"),
        (GOOD.replace("2026-01-05", ""), 2, "`decided_at` is empty"),
        (GOOD.replace("2026-01-05", "05.01.2026"), 2, "'05.01.2026' is no ISO 8601 date"),
        (GOOD.replace("2026-01-05", "2026-02-30"), 2, "'2026-02-30' is no ISO 8601 date"),
        (GOOD.replace("out: duplicate", "exclude"), 2, "'exclude' is unknown here; use `in`, `out: ...`"),
        (GOOD.replace("out: duplicate", "out:"), 2, "`out` needs a text"),
        (GOOD.replace("out: duplicate", "in: yes"), 2, "`in` takes no text"),
        (GOOD.replace("out: duplicate", "rewrite: Be kind"), 2, "names several subjects"),
        (GOOD.replace("out: duplicate", "policy:"), 2, "say what the policy is"),
        (GOOD.replace("4 7", ""), 2, "`subject_ids` is empty"),
        (GOOD.replace("4 7", "4 4"), 2, "names 4 more than once"),
        (GOOD.replace("4 7", "4 07"), 2, "'07': an id is a whole number"),
        (GOOD.replace("out: duplicate", "withdrawn"), 2, "`withdrawn` needs the rows it takes back"),
        (GOOD.replace("out: duplicate", "withdrawn: now"), 2, "`withdrawn` takes no text"),
        (GOOD.replace("M1", "M/1"), 2, "`decision_id` 'M/1' may hold only"),
        (GOOD.replace("05,,,", "05,,abc,"), 2, "`inputs_digest` is not 64 hexadecimal"),
    ],
)
def test_a_malformed_row_is_named_with_its_remedy(tmp_path: Path, line: str, row: int, message: str) -> None:
    path = file(tmp_path, line)

    with pytest.raises(ConsultationError) as raised:
        read_ledger(path, "moderation")

    assert f"{path}, row {row}: " in str(raised.value)
    assert message in str(raised.value)


def test_every_malformed_row_is_named(tmp_path: Path) -> None:
    path = file(tmp_path, GOOD, GOOD.replace("M1", "M2").replace("4 7", ""), GOOD)

    with pytest.raises(ConsultationError) as raised:
        read_ledger(path, "moderation")

    assert str(raised.value).split("\n") == [
        f"{path}, row 3: `subject_ids` is empty; name what was decided on.",
        f"{path}, rows 2 and 4: `decision_id` M1 is the same; remove the copy, or give each row its own id.",
    ]


def test_a_sign_off_names_a_digest(tmp_path: Path) -> None:
    line = "S1,signoff,public,signed off,Read and agreed,,council,2026-01-05,,,"

    with pytest.raises(ConsultationError, match="row 2: `inputs_digest` is empty; a sign-off names"):
        read_ledger(file(tmp_path, line, kind="signoff"), "signoff")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "row 1: the header must be exactly decision_id,kind"),
        (HEADER.replace("kind,", "").encode(), "row 1: the header must be exactly decision_id,kind"),
        (f'{HEADER}\n{GOOD}\nM2,moderation,8,in,"Cut o'.encode(), "row 3: not readable as CSV"),
        (f"{HEADER}\n{GOOD}\nM2,moder".encode(), "row 3: 2 cells instead of 11; fill in the missing ones"),
        (HEADER.encode() + b"\nM\xe91,", "line 2: not UTF-8"),
    ],
)
def test_an_unreadable_file_is_named(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "moderation.csv"
    path.write_bytes(content)

    with pytest.raises(ConsultationError) as raised:
        read_ledger(path, "moderation")

    assert str(raised.value).startswith(str(path)) and message in str(raised.value)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConsultationError, match=r"idea\.csv: not found; an empty ledger still needs"):
        read_ledger(tmp_path / "idea.csv", "idea")


def test_only_the_end_of_each_chain_counts() -> None:
    ledger = ledger_table([decision("A"), decision("B"), decision("C", "A"), decision("D", "C"), decision("E")])

    counting = current(ledger)

    assert counting.select("decision_id", "root_id").rows() == [("B", "B"), ("D", "A"), ("E", "E")]
    assert counting.drop("root_id").columns == list(COLUMNS)


@pytest.mark.parametrize(
    ("decisions", "message"),
    [
        ([decision("A", "Z")], "decision A: supersedes Z, which is not in this ledger"),
        ([decision("A"), decision("B", "A"), decision("C", "A")], "B and C both supersede A"),
        ([decision("A", "B"), decision("B", "A"), decision("C")], "A, B supersede each other in a circle"),
        ([decision("A", "A")], "A supersede each other in a circle"),
        ([decision("A"), decision("A")], "`decision_id` A stands twice"),
    ],
)
def test_a_broken_chain_is_refused(decisions: list[Decision], message: str) -> None:
    with pytest.raises(ConsultationError, match=f"^exclusion ledger.*{message}"):
        current(ledger_table(decisions))


@given(st.lists(st.integers(1, 4), min_size=1, max_size=5), st.randoms(use_true_random=False))
def test_chains_keep_their_first_id_in_any_order(lengths: list[int], random: object) -> None:
    decisions = [
        decision(f"{chain}.{place}", f"{chain}.{place - 1}" if place else None)
        for chain, length in enumerate(lengths)
        for place in range(length)
    ]
    shuffled = list(decisions)
    random.shuffle(shuffled)  # type: ignore[attr-defined]

    counting = current(ledger_table(shuffled))

    assert dict(counting.select("root_id", "decision_id").rows()) == {
        f"{chain}.0": f"{chain}.{length - 1}" for chain, length in enumerate(lengths)
    }
    assert ledger_digest(ledger_table(shuffled)) == ledger_digest(ledger_table(decisions))


def test_the_digest_follows_the_content() -> None:
    one = ledger_table([decision("A")])

    assert ledger_digest(current(one)) == ledger_digest(one)
    assert ledger_digest(one.with_columns(reason=pl.lit("Other"))) != ledger_digest(one)


def test_appending_keeps_what_is_there_byte_for_byte(tmp_path: Path) -> None:
    path = tmp_path / "exclusion.csv"
    old = f"{HEADER}\r\nA,exclusion,3,exclude,Once,,moderator,2026-01-05,,,"
    path.write_bytes(old.encode())
    row = replace(decision("B", "A"), reason='Said "yes", twice')

    append_decision(path, row)

    added = b'B,exclusion,3,exclude,"Said ""yes"", twice",,moderator,2026-01-05,A,,\n'
    assert path.read_bytes() == old.encode() + b"\n" + added
    assert current(read_ledger(path, "exclusion"))["decision_id"].to_list() == ["B"]
    assert not [each for each in tmp_path.iterdir() if each.name not in ("exclusion.csv", ".exclusion.csv.lock")]


@pytest.mark.parametrize(
    ("row", "message"),
    [
        (decision("A"), "rows 2 and 3: `decision_id` A is the same"),
        (decision("B", "Z"), "supersedes Z, which is not in this ledger"),
        (replace(decision("B"), reason=" "), "row 3: `reason` is empty"),
        (replace(decision("B"), kind="merge"), "row 3: `kind` is 'merge'"),
    ],
)
def test_a_refused_row_leaves_the_ledger_alone(tmp_path: Path, row: Decision, message: str) -> None:
    path = tmp_path / "exclusion.csv"
    write_ledger(path, [decision("A")])
    before = path.read_bytes()

    with pytest.raises(ConsultationError, match=message):
        append_decision(path, row)

    assert path.read_bytes() == before


def test_no_row_is_lost_when_several_append_at_once(tmp_path: Path) -> None:
    path = tmp_path / "exclusion.csv"
    write_ledger(path, [])
    rows = [decision(f"D{number}") for number in range(12)]

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda row: append_decision(path, row), rows))

    assert sorted(read_ledger(path, "exclusion")["decision_id"]) == sorted(row.decision_id for row in rows)


def test_rows_may_stand_in_any_order(tmp_path: Path) -> None:
    rows = [GOOD, GOOD.replace("M1", "M2").replace("4 7", "5"), GOOD.replace("M1", "M3").replace("05,,,", "05,M1,,")]
    (tmp_path / "other").mkdir()
    one, other = file(tmp_path, *rows), file(tmp_path / "other", *reversed(rows))

    ledgers = [read_ledger(path, "moderation") for path in (one, other)]

    assert ledger_digest(ledgers[0]) == ledger_digest(ledgers[1])
    assert {each for each in current(ledgers[1])["decision_id"]} == {"M2", "M3"}


def test_rows_are_added_all_or_none(tmp_path: Path) -> None:
    path = tmp_path / "exclusion.csv"
    write_ledger(path, [decision("A")])
    before = path.read_bytes()

    with pytest.raises(ConsultationError, match="supersedes Z"):
        append_decisions(path, lambda ledger: [decision("B"), decision("C", "Z")])
    assert path.read_bytes() == before
    append_decisions(path, lambda ledger: [decision(f"B{ledger.height}"), decision("C")])
    assert read_ledger(path, "exclusion")["decision_id"].to_list() == ["A", "B1", "C"]


def test_what_a_killed_writer_left_is_removed_and_hides_nothing(tmp_path: Path) -> None:
    path = tmp_path / "exclusion.csv"
    write_ledger(path, [decision("A")])
    (tmp_path / f".exclusion.csv.{platform.node()}.99999999.unfinished").write_text("half a led")
    (tmp_path / ".exclusion.csv.lock").touch()

    append_decision(path, decision("B"))

    assert read_ledger(path, "exclusion")["decision_id"].to_list() == ["A", "B"]
    assert sorted(each.name for each in tmp_path.iterdir()) == [".exclusion.csv.lock", "exclusion.csv"]


WRITER = """
import sys
from pathlib import Path
from ccai_dagster.decisions.ledger import Decision
from ccai_dagster.decisions.ledger import append_decisions
for number in range(8):
    append_decisions(Path(sys.argv[1]), lambda ledger: [Decision(
        f"{sys.argv[2]}-{number}", "exclusion", ("3",), "exclude", f"row {ledger.height}", sys.argv[2], "2026-01-05")])
"""


def test_no_row_is_lost_when_processes_append_at_once(tmp_path: Path) -> None:
    path = tmp_path / "exclusion.csv"
    write_ledger(path, [])

    writers = [subprocess.Popen([sys.executable, "-c", WRITER, str(path), name]) for name in ("one", "two")]

    assert [writer.wait(timeout=60) for writer in writers] == [0, 0]
    ledger = read_ledger(path, "exclusion")
    assert sorted(ledger["decision_id"]) == [f"{name}-{number}" for name in ("one", "two") for number in range(8)]
    assert ledger["reason"].to_list() == [f"row {number}" for number in range(16)], "each saw all before it"


def test_a_ledger_is_never_overwritten(tmp_path: Path) -> None:
    path = tmp_path / "exclusion.csv"
    write_ledger(path, [decision("A")])

    with pytest.raises(ConsultationError, match="exists already; add rows to it instead"):
        write_ledger(path, [decision("B")])
    with pytest.raises(ConsultationError, match=r"merge\.csv: not found"):
        append_decision(tmp_path / "merge.csv", decision("A"))


def test_only_the_first_colon_splits_an_outcome() -> None:
    assert split_outcome("rewrite: Answer: yes") == ("rewrite", "Answer: yes")
    assert split_outcome("in") == ("in", "")


@pytest.mark.parametrize(
    ("kind", "typed", "kept"),
    [
        ("moderation", " In ", "in"),
        ("moderation", "OUT : Off Topic: Really", "out: Off Topic: Really"),
        ("merge", "Keep apart", "keep apart"),
        ("wording", "Principle: Choose It.", "principle: Choose It."),
        ("threshold", "Policy: As Published", "policy: As Published"),
        ("signoff", "Withdrawn", "withdrawn"),
        ("exclusion", "In", "In"),
        ("wording", " Choose what helps: always. ", "principle: Choose what helps: always."),
        ("wording", "Avoid harm", "principle: Avoid harm"),
        ("wording", "princple: Choose it.", "princple: Choose it."),
        ("wording", "leave it out", "leave it out"),
        ("wording", "Keep apart", "Keep apart"),
        ("wording", "draft", "draft"),
        ("merge", "They say the same", "They say the same"),
        ("threshold", "Ideas", "Ideas"),
    ],
)
def test_a_verb_is_kept_in_lower_case_and_a_sentence_among_wordings_is_a_principle(
    kind: str, typed: str, kept: str
) -> None:
    assert as_kept(kind, typed) == kept
