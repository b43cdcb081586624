from __future__ import annotations

from dataclasses import replace
from functools import partial

import polars as pl
import pytest

from ccai_dagster.core.digest import text_digest
from ccai_dagster.core.errors import ConsultationError
from ccai_dagster.decisions.ledger import Decision, ledger_table
from ccai_dagster.decisions.outcomes import (
    Ideas,
    Merge,
    PolicyChoice,
    Wording,
    WordingSource,
    before_differences,
    before_one_of_two,
    exclusions,
    merges,
    moderation_verdicts,
    policies,
    signoffs,
    statement_ideas,
    wording_source,
    wordings,
)
from ccai_dagster.decisions.values import VALUES, Cut, Thresholds, thresholds, training_decisions
from ccai_dagster.deliberation.votes import ModerationVerdict, Procedure

STATEMENTS = pl.DataFrame({"statement_id": [1, 2, 3], "text": ["Be kind", "Be nice", "Be brief"]})
THRESHOLDS = {
    "minimum_votes": "7",
    "procedure": "default",
    "imputation": "column_mean",
    "number_of_groups": "3",
    "smoothing": "laplace",
    "aggregation": "geometric_mean",
    "selection_rule": "ideas",
    "gac_threshold": "0.7",
    "idea_budget": "20",
    "overlap_similarity": "0.45",
}


def row(
    decision_id: str, kind: str, subjects: str, outcome: str, supersedes: str | None = None, digest: str = ""
) -> Decision:
    return Decision(
        decision_id=decision_id,
        kind=kind,
        subject_ids=tuple(subjects.split()),
        outcome=outcome,
        reason="Because",
        decided_by="team",
        decided_at="2026-01-05",
        supersedes=supersedes,
        inputs_digest=digest or None,
    )


def values(kind: str, names: dict[str, str]) -> list[Decision]:
    return [row(f"T-{name}", kind, name, value) for name, value in names.items()]


def test_moderation_decides_each_statement_once() -> None:
    ledger = ledger_table(
        [
            row("M1", "moderation", "9 2", "out: off topic"),
            row("M2", "moderation", "1", "in"),
            row("M3", "moderation", "1", "rewrite: The AI should be kind: always", "M2"),
            row("M4", "moderation", "seeds", "policy: three seeds"),
        ]
    )

    off_topic = ModerationVerdict(False, None, ("M1",), "off topic")
    assert list(moderation_verdicts(ledger).items()) == [
        (1, ModerationVerdict(True, "The AI should be kind: always", ("M3",))),
        (2, off_topic),
        (9, off_topic),
    ]
    twice = ledger_table([row("M1", "moderation", "9 2", "in"), row("M2", "moderation", "2", "out: odd")])
    with pytest.raises(ConsultationError, match="M1, M2 all decide on statement 2"):
        moderation_verdicts(twice)


def test_what_two_people_differ_on_is_as_it_was_before() -> None:
    other = partial(replace, decided_by="chair")
    ledger = ledger_table(
        [
            row("M1", "moderation", "1", "in"),
            row("M2", "moderation", "1", "out: off topic", "M1"),
            row("M3", "moderation", "2 3", "out: off topic"),
            other(row("M4", "moderation", "1 3", "in")),
            other(row("M5", "moderation", "2", "out: odd")),
        ]
    )
    with pytest.raises(ConsultationError, match=r"M2 \(team\), M4 \(chair\) differ on statement 1"):
        moderation_verdicts(ledger)
    assert moderation_verdicts(before_differences(ledger)) == {
        1: ModerationVerdict(True, None, ("M1",)),
        2: ModerationVerdict(False, None, ("M3",), "off topic"),
    }
    numbers = values("threshold", THRESHOLDS)
    differing = [
        row("T1", "threshold", "minimum_votes", "5", "T-minimum_votes"),
        other(row("T2", "threshold", "minimum_votes", "9")),
    ]
    assert thresholds(before_differences(ledger_table([*numbers, *differing])), 1) == thresholds(
        ledger_table(numbers), 1
    )
    twice = ledger_table([row("M1", "moderation", "1", "in"), row("M2", "moderation", "1", "out: odd")])
    assert before_differences(twice) is twice


def test_what_one_of_two_decided_does_not_count_until_the_other_has() -> None:
    other, begun = partial(replace, decided_by="chair"), partial(replace, suggested_by="ccai new")
    rows = [
        begun(row("M1", "moderation", "1 2", "in")),
        row("M2", "moderation", "1", "out: odd", "M1"),
        row("M3", "moderation", "3", "out: odd"),
        row("M4", "moderation", "3 4", "in", "M3"),
        other(row("M5", "moderation", "4", "rewrite: Be kind")),
        other(row("M6", "moderation", "5", "in")),
    ]
    alone = ledger_table(rows)
    assert before_one_of_two(alone) is alone
    rows.append(row("P1", "moderation", "double_decisions", "policy: two people decide"))
    ledger = ledger_table(rows)
    assert moderation_verdicts(before_one_of_two(before_differences(ledger))) == {
        1: ModerationVerdict(True, None, ("M1",)),
        2: ModerationVerdict(True, None, ("M1",)),
    }
    agreed = ledger_table([*rows, other(row("M7", "moderation", "3", "in"))])
    assert moderation_verdicts(before_one_of_two(before_differences(agreed)))[3].decision_ids == ("M4",)


def test_a_policy_that_supersedes_an_exclusion_withdraws_it() -> None:
    ledger = ledger_table(
        [
            row("E1", "exclusion", "5 4", "exclude"),
            row("E2", "exclusion", "8", "exclude"),
            row("E3", "exclusion", "8", "policy: withdrawn", "E2"),
        ]
    )

    assert list(exclusions(ledger).items()) == [(4, "E1"), (5, "E1")]
    assert policies(ledger) == (PolicyChoice("E3", "exclusion", "8", "withdrawn", "Because"),)


def test_ideas_are_split_and_counted_once() -> None:
    ledger = ledger_table([row("I1", "idea", "3", "ideas: kindness | brevity|kindness")])

    assert statement_ideas(ledger) == {3: Ideas(("kindness", "brevity"), "I1")}
    with pytest.raises(ConsultationError, match="decision I1: empty idea"):
        statement_ideas(ledger_table([row("I1", "idea", "3", "ideas: kindness | ")]))


def test_a_corrected_wording_keeps_its_principle_id() -> None:
    ledger = ledger_table(
        [
            row("P1", "wording", "1 2", "principle: Choose the kinder response."),
            row("P2", "wording", "3", "leave out"),
            row("W7", "wording", "1 2", "principle: Choose the kindest response.", "P1", "ab"),
        ]
    )

    assert wordings(ledger) == (
        Wording("P2", "P2", (3,), None, None),
        Wording("P1", "W7", (1, 2), "Choose the kindest response.", "ab"),
    )


def test_a_principle_is_worded_from_the_merge_of_exactly_its_statements() -> None:
    merge_rows = [row("G1", "merge", "2 1", "merge: Be kind and nice"), row("G2", "merge", "1", "merge: Be good")]
    wording_rows = [
        row("P1", "wording", "1 2", "principle: Choose the kindest."),
        row("P2", "wording", "1", "principle: Choose the best."),
        row("P3", "wording", "3", "leave out"),
    ]

    assert merges(ledger_table(merge_rows)) == (
        Merge("G1", (2, 1), "Be kind and nice", None),
        Merge("G2", (1,), "Be good", None),
    )
    merged, texts = merges(ledger_table(merge_rows)), dict(STATEMENTS.iter_rows())
    assert [wording_source(each, merged, texts) for each in wordings(ledger_table(wording_rows))] == [
        WordingSource("Be kind and nice", "G1"),
        WordingSource("Be good", "G2"),
        WordingSource("Be brief", None),
    ]
    assert WordingSource("Be good", "G2").digest == text_digest("Be good")


@pytest.mark.parametrize(
    ("subjects", "message"),
    [("1 3", "decision P1: statements 1 3 are not merged"), ("8", "statement 8 does not exist or was moder")],
)
def test_a_wording_without_a_source_is_refused(subjects: str, message: str) -> None:
    ledger = ledger_table([row("P1", "wording", subjects, "principle: Choose well.")])
    merge_ledger = ledger_table([row("G1", "merge", "1 2 3", "merge: Be good")])

    with pytest.raises(ConsultationError, match=message):
        wording_source(wordings(ledger)[0], merges(merge_ledger), dict(STATEMENTS.iter_rows()))


def test_the_same_statements_are_not_merged_or_worded_twice() -> None:
    with pytest.raises(ConsultationError, match="G1, G2 all decide on statements 1 2"):
        merges(ledger_table([row("G1", "merge", "1 2", "merge: A"), row("G2", "merge", "2 1", "merge: B")]))
    with pytest.raises(ConsultationError, match="P1, P2 all decide on statement 3"):
        wordings(ledger_table([row("P1", "wording", "3", "leave out"), row("P2", "wording", "3", "leave out")]))


def test_sign_offs_are_read_by_arm() -> None:
    digest = text_digest("constitution")
    ledger = ledger_table([row("S1", "signoff", "public", "signed off", digest=digest)])

    assert signoffs(ledger) == {"public": digest}
    with pytest.raises(ConsultationError, match="S1, S2 all decide on arm public"):
        signoffs(pl.concat([ledger, ledger.with_columns(decision_id=pl.lit("S2"))]))


def test_thresholds_are_parsed() -> None:
    found = thresholds(ledger_table(values("threshold", THRESHOLDS)), seed=5)

    assert found == Thresholds(
        minimum_votes=7,
        procedure=Procedure("default", "column_mean", 3, "laplace", "geometric_mean", seed=5),
        without_structure="keep_groups",
        cut=Cut("ideas", 0.7, 20),
        overlap_similarity=0.45,
        decision_ids={},
    )
    assert found.decision_ids["gac_threshold"] == "T-gac_threshold"
    automatic = thresholds(ledger_table(values("threshold", {**THRESHOLDS, "number_of_groups": "auto"})), 5)
    assert automatic.procedure.number_of_groups is None


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("minimum_votes", "-1", "a whole number from 0"),
        ("minimum_votes", "7.5", "a whole number from 0"),
        ("procedure", "engine", "`default` or `polis` or `paper`"),
        ("imputation", "mean", "`zero` or `column_mean`"),
        ("number_of_groups", "0", "`auto` or a whole number from 1"),
        ("smallest_group", "0", "a whole number from 1"),
        ("without_structure", "none", "`one_group` or `keep_groups`"),
        ("smoothing", "", "`none` or `laplace` or `jeffreys`"),
        ("aggregation", "mean", "`product` or `geometric_mean` or `effective_agreement` or `polis_normalized`"),
        ("group_participation", "5", "a number from 0 to 1"),
        ("rejected_statements", "on", "`left_out` or `selected`"),
        ("selection_rule", "top", "`threshold` or `ideas`"),
        ("gac_threshold", "1.2", "a number from 0 to 1"),
        ("gac_threshold", "nan", "a number from 0 to 1"),
        ("idea_budget", "0", "a whole number from 1"),
        ("overlap_similarity", "half", "a number from 0 to 1"),
    ],
)
def test_a_value_out_of_range_names_its_row(name: str, value: str, expected: str) -> None:
    with pytest.raises(ConsultationError) as raised:
        thresholds(ledger_table(values("threshold", {**THRESHOLDS, name: value})), 1)

    assert str(raised.value) == (
        f"threshold ledger, decision T-{name}: {name} is {value!r}, but must be {expected}; supersede the row."
    )


def test_a_value_missing_unknown_or_decided_twice_is_refused() -> None:
    rows = values("threshold", THRESHOLDS)

    with pytest.raises(ConsultationError, match="threshold ledger: minimum_votes not decided"):
        thresholds(ledger_table(rows[1:]), 1)
    with pytest.raises(ConsultationError, match="decision T-votes: 'votes' is unknown"):
        thresholds(ledger_table([*rows, row("T-votes", "threshold", "votes", "3")]), 1)
    with pytest.raises(ConsultationError, match="T-procedure, T2 all decide on procedure"):
        thresholds(ledger_table([*rows, replace(rows[1], decision_id="T2")]), 1)


def test_training_decisions_are_parsed() -> None:
    rows = values("training", {"harmlessness_weight": "1.5", "feedback_method": "contrast", "policy_method": "dpo"})
    found = training_decisions(ledger_table([*rows, row("T3", "training", "evaluations", "policy: small sets")]))

    assert (found.harmlessness_weight, found.feedback_method) == (1.5, "contrast")
    assert found.policy_method == "dpo"
    assert found.prompt_minimum == 1 and "prompt_minimum" not in found.decision_ids, "nobody need decide it"
    settled = training_decisions(ledger_table([*rows, row("T4", "training", "prompt_minimum", "0")]))
    assert settled.prompt_minimum == 0 and settled.decision_ids["prompt_minimum"] == "T4"
    with pytest.raises(ConsultationError, match="policy_method is 'ppo', but must be `rloo` or `dpo`"):
        training_decisions(ledger_table([*rows[:2], replace(rows[2], outcome="ppo")]))
    with pytest.raises(ConsultationError, match="harmlessness_weight is 'inf', but must be a number from 0;"):
        training_decisions(ledger_table([replace(rows[0], outcome="inf"), *rows[1:]]))


def test_a_value_given_for_a_policy_is_refused() -> None:
    rows = values("training", {name: each.start for name, each in VALUES["training"].items() if each.start})

    assert training_decisions(ledger_table(rows)).policy_method == "rloo"
    with pytest.raises(ConsultationError, match="evaluations is 'small sets', but must be `policy: "):
        training_decisions(ledger_table([*rows[:-1], replace(rows[-1], outcome="small sets")]))


def test_a_new_folder_starts_with_every_value_that_must_be_decided() -> None:
    for subjects in VALUES.values():
        assert [name for name, each in subjects.items() if each.start is None and each.undecided is None] == []


def test_values_that_came_later_change_nothing_where_nobody_decided_them() -> None:
    found = thresholds(ledger_table(values("threshold", THRESHOLDS)), seed=5)
    assert (found.procedure.smallest_group, found.without_structure) == (1, "keep_groups")
    decided = {**THRESHOLDS, "smallest_group": "5", "without_structure": "one_group"}
    found = thresholds(ledger_table(values("threshold", decided)), seed=5)
    assert (found.procedure.smallest_group, found.without_structure) == (5, "one_group")
