from __future__ import annotations

import polars as pl
import pytest

from ccai_dagster.decisions.checks import (
    check_decision_ids,
    check_exclusions,
    check_ideas,
    check_merges,
    check_moderation,
    check_signoffs,
    check_thresholds,
    check_training,
    check_wordings,
)
from ccai_dagster.decisions.decision import Decision
from ccai_dagster.decisions.findings import Finding
from ccai_dagster.decisions.ledger import ledger_table
from ccai_dagster.digest import text_digest

TEXTS = {1: "Be kind", 2: "Be nice", 3: "Be brief"}
STATEMENTS = pl.DataFrame({"statement_id": list(TEXTS), "text": list(TEXTS.values())})
PARTICIPANTS = pl.DataFrame({"participant_id": [10, 11]})
MERGED = "Be kind and nice"
NO_ROWS = ledger_table([])


def digest(*ids: int) -> str:
    return text_digest("\n".join(TEXTS[each] for each in ids))


def row(
    decision_id: str, kind: str, subjects: str, outcome: str, inputs: str | None = None, *,
    supersedes: str | None = None, reason: str = "Because",
) -> Decision:  # fmt: skip
    return Decision(
        decision_id=decision_id,
        kind=kind,
        subject_ids=tuple(subjects.split()),
        outcome=outcome,
        reason=reason,
        decided_by="team",
        decided_at="2026-01-05",
        supersedes=supersedes,
        inputs_digest=inputs,
    )


def brief(findings: list[Finding]) -> list[tuple[str, str | None, str]]:
    return [(each.severity, each.decision_id, each.subject) for each in findings]


MERGE = row("G1", "merge", "2 1", f"merge: {MERGED}", digest(2, 1))
COMPLETE_MODERATION = [
    row("M1", "moderation", "1 2", "in", digest(1, 2)),
    row("M3", "moderation", "3", "out: duplicate", digest(3)),
]
COMPLETE_WORDING = [
    row("P1", "wording", "1 2", "principle: Choose the kindest.", text_digest(MERGED)),
    row("P2", "wording", "3", "leave out", digest(3)),
]


def test_complete_ledgers_have_no_findings() -> None:
    exclusion = ledger_table([
        row("E1", "exclusion", "10", "exclude"), row("E2", "exclusion", "screening", "policy: adults"),
    ])  # fmt: skip
    idea = ledger_table([row("I1", "idea", "3", "ideas: brevity", digest(3))])
    wording = ledger_table(COMPLETE_WORDING)

    assert check_moderation(ledger_table(COMPLETE_MODERATION), STATEMENTS, "strict") == []
    assert check_exclusions(exclusion, PARTICIPANTS) == []
    assert check_merges(ledger_table([MERGE]), STATEMENTS) == []
    assert check_ideas(idea, STATEMENTS, needed=[3]) == []
    assert check_wordings(wording, ledger_table([MERGE]), STATEMENTS, selected=[1, 2, 3]) == []
    assert check_decision_ids({"exclusion": exclusion, "idea": idea, "wording": wording}) == []


def test_an_id_taken_by_another_ledger_is_an_error() -> None:
    ledgers = {
        "merge": ledger_table([MERGE]),
        "idea": ledger_table([row("G1", "idea", "3", "ideas: brevity")]),
    }

    assert check_decision_ids(ledgers) == [
        Finding("error", "idea", "G1", "3", "the id is taken in the merge ledger; give this row a new one")
    ]


@pytest.mark.parametrize(
    ("decisions", "expected"),
    [
        ([*COMPLETE_MODERATION, row("M4", "moderation", "99", "in")], [("error", "M4", "99")]),
        (
            [*COMPLETE_MODERATION, row("M4", "moderation", "2", "out: odd", digest(2))],
            [("error", "M4", "2")],
        ),
        ([COMPLETE_MODERATION[0]], [("warning", None, "3")]),
        (
            [COMPLETE_MODERATION[0], row("M3", "moderation", "3", "in", digest(1))],
            [("error", "M3", "3")],
        ),
        ([COMPLETE_MODERATION[0], row("M3", "moderation", "3", "in")], [("error", "M3", "3")]),
        (
            [row("M1", "moderation", "1 2 3", "out: all of it", digest(1, 2, 3))],
            [("error", None, "")],
        ),
        (
            [COMPLETE_MODERATION[0], row("M3", "moderation", "3", "in", digest(3), reason=" ")],
            [("error", "M3", "3")],
        ),
        (
            [COMPLETE_MODERATION[0], row("M3", "moderation", "3", "in", digest(3), supersedes="M9")],
            [("error", None, "")],
        ),
    ],
)  # fmt: skip
def test_faults_of_moderation(decisions: list[Decision], expected: list[tuple[str, str | None, str]]) -> None:
    assert brief(check_moderation(ledger_table(decisions), STATEMENTS, "strict")) == expected


def test_a_lapsed_decision_says_what_it_would_have_to_be_taken_on() -> None:
    ledger = ledger_table([COMPLETE_MODERATION[1], row("M1", "moderation", "2 1", "in", digest(1, 2))])

    (finding,) = check_moderation(ledger, STATEMENTS, "strict")

    assert finding.message.startswith("lapsed") and finding.message.endswith(f"digest {digest(2, 1)}")


def test_what_nobody_moderated_is_in_or_out_by_the_mode() -> None:
    strict = check_moderation(NO_ROWS, STATEMENTS, "strict")
    lenient = check_moderation(NO_ROWS, STATEMENTS, "lenient")

    assert brief(strict) == [("error", None, "")] + [("warning", None, str(each)) for each in TEXTS]
    assert brief(lenient) == [("warning", None, str(each)) for each in TEXTS]
    assert "stays out" in strict[1].message and "is in" in lenient[0].message


def test_faults_of_exclusion() -> None:
    ledger = ledger_table(
        [row("E1", "exclusion", "10 99", "exclude"), row("E2", "exclusion", "10", "exclude")]
    )

    assert brief(check_exclusions(ledger, PARTICIPANTS)) == [("error", "E1", "99"), ("error", "E2", "10")]


def test_faults_of_merges() -> None:
    ledger = ledger_table([
        MERGE,
        row("G2", "merge", "1 2", "merge: Again", digest(1, 2)),
        row("G3", "merge", "1 3", "merge: Lapsed", digest(1, 2)),
        row("G4", "merge", "1 99", "merge: Dangling", digest(1)),
    ])  # fmt: skip

    assert brief(check_merges(ledger, STATEMENTS)) == [
        ("error", "G4", "99"), ("error", "G2", "1 2"), ("error", "G3", "1 3"),
    ]  # fmt: skip


def test_faults_of_ideas() -> None:
    ledger = ledger_table([
        row("I1", "idea", "1", "ideas: kindness |", digest(1)),
        row("I2", "idea", "2", "ideas: nice", digest(1)),
    ])  # fmt: skip

    assert brief(check_ideas(ledger, STATEMENTS, needed=[1, 3])) == [
        ("error", "I2", "2"), ("error", None, ""), ("warning", None, "3"),
    ]  # fmt: skip


def test_a_selected_statement_without_a_wording_waits() -> None:
    findings = check_wordings(
        ledger_table(COMPLETE_WORDING[:1]), ledger_table([MERGE]), STATEMENTS, selected=[3, 1]
    )

    assert findings == [
        Finding(
            "warning",
            "wording",
            None,
            "3",
            "reaches the cut, and nobody has worded it or left it out; add a row",
        )
    ]


@pytest.mark.parametrize(
    ("decision", "expected"),
    [
        (row("P3", "wording", "99", "leave out", digest(1)), [("error", "P3", "99")]),
        (row("P3", "wording", "1 3", "principle: X.", digest(1, 3)), [("error", "P3", "3")]),
        (row("P3", "wording", "2 1", "principle: X.", text_digest(MERGED)), [("error", "P3", "1 2")]),
        (row("P3", "wording", "2", "principle: X.", digest(1)), [("error", "P3", "2")]),
        (row("P3", "wording", "3", "principle: X.", digest(3), supersedes="P2"), []),
    ],
)  # fmt: skip
def test_faults_of_wordings(decision: Decision, expected: list[tuple[str, str | None, str]]) -> None:
    ledger = ledger_table([*COMPLETE_WORDING, decision])

    found = check_wordings(ledger, ledger_table([MERGE]), STATEMENTS, selected=[1, 2, 3])

    assert brief(found) == expected


def test_several_statements_without_a_merge_are_an_error() -> None:
    found = check_wordings(ledger_table(COMPLETE_WORDING), NO_ROWS, STATEMENTS, selected=[])

    assert brief(found) == [("error", "P1", "1 2")]
    assert "not merged" in found[0].message


def test_a_wording_lapses_with_the_text_of_its_merge() -> None:
    changed = row("G2", "merge", "1 2", "merge: Be warm", digest(1, 2), supersedes="G1")

    merges = ledger_table([MERGE, changed])
    found = check_wordings(ledger_table(COMPLETE_WORDING), merges, STATEMENTS, [1, 2, 3])
    unused = check_wordings(ledger_table(COMPLETE_WORDING), merges, STATEMENTS, [3])

    assert brief(found) == [("error", "P1", "1 2")]
    assert brief(unused) == [("warning", "P1", "1 2")], "below the cut nothing rests on it"
    assert found[0].message.endswith(text_digest("Be warm"))


def test_values_and_training_policies_must_be_there() -> None:
    training = [
        row("T1", "training", "harmlessness_weight", "1"),
        row("T2", "training", "feedback_method", "letters"),
        row("T3", "training", "prompt_database", "policy: ours"),
    ]  # fmt: skip

    assert brief(check_thresholds(NO_ROWS)) == [("error", None, "")]
    assert brief(check_training(ledger_table(training))) == [("error", None, "evaluations")]
    evaluations = row("T4", "training", "evaluations", "policy: small ones")
    assert check_training(ledger_table([*training, evaluations])) == []


def test_an_arm_is_trained_only_on_the_constitution_signed_off() -> None:
    now, before = text_digest("now"), text_digest("before")
    ledger = ledger_table([
        row("S1", "signoff", "public", "signed off", now),
        row("S2", "signoff", "standard", "signed off", before),
        row("S3", "signoff", "other", "signed off", now),
    ])  # fmt: skip

    found = check_signoffs(ledger, {"public": now, "standard": now, "published": now})

    assert brief(found) == [
        ("error", "S3", "other"),
        ("error", "S2", "standard"),
        ("error", None, "published"),
    ]
