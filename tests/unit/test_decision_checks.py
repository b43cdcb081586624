from __future__ import annotations

from dataclasses import replace

import polars as pl
import pytest

from ccai_dagster.core.digest import text_digest
from ccai_dagster.decisions.checks import (
    Finding,
    check_decision_ids,
    check_exclusions,
    check_ideas,
    check_merges,
    check_moderation,
    check_signoffs,
    check_thresholds,
    check_training,
    check_wordings,
    counting_rows,
    one_of_two,
)
from ccai_dagster.decisions.ledger import Decision, ledger_table

TEXTS = {1: "Be kind", 2: "Be nice", 3: "Be brief"}
STATEMENTS = pl.DataFrame(
    {"statement_id": list(TEXTS), "text": list(TEXTS.values()), "moderated": 0, "is_meta": None},
    schema_overrides={"is_meta": pl.Boolean},
)
PARTICIPANTS = pl.DataFrame({"participant_id": [10, 11]})
MERGED = "Be kind and nice"
NO_ROWS = ledger_table([])


def digest(*ids: int) -> str:
    return text_digest("\n".join(TEXTS[each] for each in ids))


def row(
    decision_id: str,
    kind: str,
    subjects: str,
    outcome: str,
    inputs: str | None = None,
    *,
    supersedes: str | None = None,
    reason: str = "Because",
) -> Decision:
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
    exclusion = ledger_table(
        [row("E1", "exclusion", "10", "exclude"), row("E2", "exclusion", "screening", "policy: adults")]
    )
    idea = ledger_table([row("I1", "idea", "3", "ideas: brevity", digest(3))])
    wording = ledger_table(COMPLETE_WORDING)

    assert check_moderation(ledger_table(COMPLETE_MODERATION), STATEMENTS, "strict") == []
    assert check_exclusions(exclusion, PARTICIPANTS) == []
    assert check_merges(ledger_table([MERGE]), STATEMENTS) == []
    assert check_ideas(idea, STATEMENTS, needed=[3]) == []
    assert check_wordings(wording, ledger_table([MERGE]), STATEMENTS, selected=[1, 2, 3]) == []
    assert check_decision_ids({"exclusion": exclusion, "idea": idea, "wording": wording}) == []


def test_an_id_taken_by_another_ledger_is_an_error() -> None:
    ledgers = {"merge": ledger_table([MERGE]), "idea": ledger_table([row("G1", "idea", "3", "ideas: brevity")])}

    assert check_decision_ids(ledgers) == [
        Finding("error", "idea", "G1", "3", "the id is taken in the merge ledger; give this row a new one")
    ]


@pytest.mark.parametrize(
    ("decisions", "expected"),
    [
        ([*COMPLETE_MODERATION, row("M4", "moderation", "99", "in")], [("error", "M4", "99")]),
        ([*COMPLETE_MODERATION, row("M4", "moderation", "2", "out: odd", digest(2))], [("error", "M4", "2")]),
        ([COMPLETE_MODERATION[0]], [("warning", None, "3")]),
        ([COMPLETE_MODERATION[0], row("M3", "moderation", "3", "in", digest(1))], [("error", "M3", "3")]),
        ([COMPLETE_MODERATION[0], row("M3", "moderation", "3", "in")], [("error", "M3", "3")]),
        ([row("M1", "moderation", "1 2 3", "out: all of it", digest(1, 2, 3))], [("error", None, "")]),
        ([COMPLETE_MODERATION[0], row("M3", "moderation", "3", "in", digest(3), reason=" ")], [("error", "M3", "3")]),
        (
            [COMPLETE_MODERATION[0], row("M3", "moderation", "3", "in", digest(3), supersedes="M9")],
            [("error", None, "")],
        ),
    ],
)
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
    ledger = ledger_table([row("E1", "exclusion", "10 99", "exclude"), row("E2", "exclusion", "10", "exclude")])

    assert brief(check_exclusions(ledger, PARTICIPANTS)) == [("error", "E1", "99"), ("error", "E2", "10")]
    # In the portal the person may have deleted the data meanwhile.
    assert brief(check_exclusions(ledger, PARTICIPANTS, True)) == [("warning", "E1", "99"), ("error", "E2", "10")]


def test_faults_of_merges() -> None:
    ledger = ledger_table(
        [
            MERGE,
            row("G2", "merge", "1 2", "merge: Again", digest(1, 2)),
            row("G3", "merge", "1 3", "merge: Lapsed", digest(1, 2)),
            row("G4", "merge", "1 99", "merge: Dangling", digest(1)),
        ]
    )

    assert brief(check_merges(ledger, STATEMENTS)) == [
        ("error", "G4", "99"),
        ("error", "G2", "1 2"),
        ("error", "G3", "1 3"),
    ]


def test_faults_of_ideas() -> None:
    ledger = ledger_table(
        [row("I1", "idea", "1", "ideas: kindness |", digest(1)), row("I2", "idea", "2", "ideas: nice", digest(1))]
    )

    assert brief(check_ideas(ledger, STATEMENTS, needed=[1, 3])) == [
        ("error", "I2", "2"),
        ("error", None, ""),
        ("warning", None, "3"),
    ]


def test_a_selected_statement_without_a_wording_waits() -> None:
    findings = check_wordings(ledger_table(COMPLETE_WORDING[:1]), ledger_table([MERGE]), STATEMENTS, selected=[3, 1])

    assert findings == [
        Finding("warning", "wording", None, "3", "reaches the cut, and nobody has worded it or left it out; add a row")
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
)
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
        row("T2b", "training", "policy_method", "rloo"),
        row("T3", "training", "prompt_database", "policy: ours"),
    ]

    assert brief(check_thresholds(NO_ROWS)) == [("error", None, "")]
    assert brief(check_training(ledger_table(training))) == [("error", None, "evaluations")]
    evaluations = row("T4", "training", "evaluations", "policy: small ones")
    assert check_training(ledger_table([*training, evaluations])) == []


def test_an_arm_is_trained_only_on_the_constitution_signed_off() -> None:
    now, before = text_digest("now"), text_digest("before")
    ledger = ledger_table(
        [
            row("S1", "signoff", "public", "signed off", now),
            row("S2", "signoff", "standard", "signed off", before),
            row("S3", "signoff", "other", "signed off", now),
        ]
    )

    found = check_signoffs(ledger, {"public": now, "standard": now, "published": now})

    assert brief(found) == [("error", "S3", "other"), ("error", "S2", "standard"), ("error", None, "published")]


def fault(kind: str, *decisions: Decision) -> list[Finding]:
    """What the check of this kind finds; statement 3 was moderated out, 99 never existed."""
    ledger, known = ledger_table(decisions), [*TEXTS]
    present = STATEMENTS.filter(pl.col("statement_id") != 3)
    now = text_digest("constitution")
    found = {
        "moderation": lambda: check_moderation(ledger, STATEMENTS, "strict"),
        "exclusion": lambda: check_exclusions(ledger, PARTICIPANTS),
        "merge": lambda: check_merges(ledger, present, known, [1]),
        "idea": lambda: check_ideas(ledger, present, [1, 2], known),
        "wording": lambda: check_wordings(ledger, ledger_table([MERGE]), present, [1, 2], known),
        "threshold": lambda: check_thresholds(ledger),
        "training": lambda: check_training(ledger),
        "signoff": lambda: check_signoffs(ledger, {"public": now}, ["public", "standard"]),
    }[kind]()
    return [each for each in found if each.severity == "error"]


SOUND = {
    "moderation": row("A", "moderation", "1 2", "in", digest(1, 2)),
    "exclusion": row("A", "exclusion", "10", "exclude"),
    "merge": row("A", "merge", "1 2", "merge: Be good", digest(1, 2)),
    "idea": row("A", "idea", "1", "ideas: kindness", digest(1)),
    "wording": row("A", "wording", "1", "principle: Choose well.", digest(1)),
    "threshold": row("A", "threshold", "smoothing", "none"),
    "training": row("A", "training", "harmlessness_weight", "1"),
    "signoff": row("A", "signoff", "public", "signed off", text_digest("constitution")),
}
ELSEWHERE = {"exclusion": "99", "threshold": "nothing", "training": "nothing", "signoff": "nobody"}
OTHERWISE = {
    "moderation": "out: odd",
    "exclusion": "keep",
    "merge": "keep apart",
    "idea": "ideas: niceness",
    "wording": "leave out",
    "threshold": "laplace",
    "training": "2",
}


@pytest.mark.parametrize("kind", SOUND)
def test_every_blocking_check_of_every_kind(kind: str) -> None:
    sound, named = SOUND[kind], {"A", "B", None}

    def found(*more: Decision) -> list[str]:
        errors = fault(kind, sound, *more)
        assert {each.decision_id for each in errors} <= named
        return [each.message for each in errors]

    complete = [] if kind not in ("threshold", "training") else fault(kind, sound)
    assert fault(kind, sound) == complete, "a sound row is no fault; values still miss the others"
    second = replace(sound, decision_id="B", decided_by="somebody else")
    assert len(found(second)) == len(complete), "two people who agree are no fault"
    assert any("A, B all decide on" in each for each in found(replace(second, decided_by="team")))
    if kind in OTHERWISE:
        differing = replace(second, outcome=OTHERWISE[kind])
        assert any("waits for a resolving row that supersedes A B" in each for each in found(differing))
        resolved = found(differing, replace(sound, decision_id="C", decided_by="third", supersedes="A B"))
        assert not any("resolving" in each for each in resolved)
    unreasoned = fault(kind, replace(sound, reason=" "))
    assert any("no reason is given" in each.message and each.decision_id == "A" for each in unreasoned)
    vanished = replace(second, subject_ids=tuple(ELSEWHERE.get(kind, "99").split()))
    assert any(each.split()[0].strip("'") in ("99", "nobody") or "unknown" in each for each in found(vanished))
    circle = fault(kind, replace(sound, supersedes="B"), replace(second, supersedes="A"))
    assert any("supersede each other in a circle" in each.message for each in circle)
    assert any("which is not in this ledger" in each for each in found(replace(second, supersedes="Z")))


@pytest.mark.parametrize("kind", ["moderation", "merge", "idea", "wording", "signoff"])
@pytest.mark.parametrize("recorded", ["0" * 64, None])
def test_a_decision_on_other_text_has_lapsed(kind: str, recorded: str | None) -> None:
    (finding, *_) = fault(kind, replace(SOUND[kind], inputs_digest=recorded))

    assert finding.decision_id == "A"
    assert str(SOUND[kind].inputs_digest) in finding.message


@pytest.mark.parametrize("kind", ["merge", "idea", "wording"])
def test_a_decision_on_a_statement_moderated_out_waits_unless_the_result_rests_on_it(kind: str) -> None:
    out = replace(SOUND[kind], subject_ids=("3",), inputs_digest=digest(3))

    assert fault(kind, out) == []
    partly = replace(SOUND["merge"], subject_ids=("1", "3"))
    assert [each.message for each in fault("merge", partly)] == [
        "3 is not in any more; decide again without it, superseding this row"
    ]


@pytest.mark.parametrize("kind", SOUND)
def test_where_the_policy_asks_for_two_one_person_is_not_enough(kind: str) -> None:
    policy = row("P", kind, "double_decisions", "policy: two people decide independently")
    second = replace(SOUND[kind], decision_id="B", decided_by="somebody else")

    def waiting(*decisions: Decision) -> list[Finding]:
        ledger = ledger_table([policy, *decisions])
        rows, _ = counting_rows(ledger, kind)
        return one_of_two(ledger, rows or [], kind, "warning")

    assert {each.decision_id for each in waiting(SOUND[kind])} == {"A"}
    assert waiting(SOUND[kind], second) == []
    third = replace(second, decision_id="C", decided_by="third", supersedes="A B")
    assert waiting(SOUND[kind], second, third) == [], "a resolved pair stays a pair"


def test_an_arm_needs_two_signatures_where_the_policy_asks_for_two() -> None:
    policy = row("P", "signoff", "double_decisions", "policy: two people decide independently")

    assert [each.decision_id for each in fault("signoff", policy, SOUND["signoff"])] == ["A"]
    assert fault("signoff", policy, SOUND["signoff"], replace(SOUND["signoff"], decision_id="B", decided_by="x")) == []
