from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import polars as pl
import pytest

from ccai_dagster.core.errors import ConsultationError
from ccai_dagster.decisions.independent_decisions import Agreement, agreements, asks_for_two, second_opinions
from ccai_dagster.decisions.ledger import Decision, chain_roots, current, effect, ledger_table, replaced_rows
from ccai_dagster.decisions.origins import CARRIED_OVER, DRAFT, SAME_WORDS, STARTING, origins_told
from ccai_dagster.decisions.outcomes import (
    decisive,
    exclusions,
    merges,
    moderation_verdicts,
    signoffs,
    statement_ideas,
    wordings,
)
from ccai_dagster.deliberation.votes import ModerationVerdict


def row(
    decision_id: str,
    subjects: str,
    outcome: str,
    role: str = "first",
    supersedes: str | None = None,
    kind: str = "moderation",
    at: str = "2026-01-05",
) -> Decision:
    return Decision(decision_id, kind, tuple(subjects.split()), outcome, "Because", role, at, None, supersedes)


def test_one_row_may_replace_several_and_continues_the_first_it_names() -> None:
    ledger = ledger_table(
        [row("A", "1", "in"), row("B", "1", "out: odd", "second"), row("C", "1", "in", "third", "B A")]
    )

    counting = current(ledger)

    assert counting.select("decision_id", "root_id").rows() == [("C", "B")]
    assert replaced_rows("C", {"A": (), "B": (), "C": ("B", "A")}) == ["B", "A"]


def test_a_row_on_several_statements_can_be_split() -> None:
    bulk = row("A", "1 2 3", "in")
    split = [bulk, row("B", "2", "out: odd", supersedes="A"), row("C", "1 3", "in", supersedes="A")]

    assert [each.included for each in moderation_verdicts(ledger_table(split)).values()] == [True, False, True]
    with pytest.raises(ConsultationError, match="B and D both supersede A"):
        current(ledger_table([*split, row("D", "2", "in", supersedes="A")]))
    merged = [replace(each, kind="merge", outcome="merge: Be kind") for each in split]
    with pytest.raises(ConsultationError, match="B and C both supersede A"):
        current(ledger_table(merged))


def test_a_circle_is_found_behind_a_row_that_counts() -> None:
    with pytest.raises(ConsultationError, match="moderation ledger: A, B supersede each other in a circle"):
        chain_roots("moderation", {"A": ("B",), "B": ("A",), "C": ("A",)}, {"A": ["1"], "B": ["2"], "C": ["3"]})


def test_independent_decisions_that_agree_count_as_the_one_taken_first() -> None:
    ledger = ledger_table(
        [row("B", "1", "out: off topic", "second", at="2026-01-06"), row("A", "1 2", "out: duplicate")]
    )

    duplicate = ModerationVerdict(False, None, ("A",), "duplicate")
    assert moderation_verdicts(ledger) == {1: duplicate, 2: duplicate}


def test_independent_decisions_that_differ_wait_until_a_third_row_resolves_them() -> None:
    two = [row("A", "1", "in"), row("B", "1", "rewrite: Be kind", "second")]
    message = r"A \(first\), B \(second\) differ on statement 1; it waits for a resolving row that supersedes A B"

    with pytest.raises(ConsultationError, match=message):
        moderation_verdicts(ledger_table(two))
    resolved = ledger_table([*two, row("C", "1", "in", "facilitator", "A B")])
    assert moderation_verdicts(resolved)[1].decision_ids == ("C",)
    with pytest.raises(ConsultationError, match="A, B all decide on statement 1; let the one that counts"):
        moderation_verdicts(ledger_table([two[0], replace(two[1], decided_by="first")]))


def test_every_kind_takes_two_equal_decisions_as_one_and_refuses_two_different_ones() -> None:
    def two(kind: str, subjects: str, one: str, other: str) -> list[Decision]:
        return [row("A", subjects, one, kind=kind), row("B", subjects, other, "second", kind=kind)]

    same = {
        "exclusion": two("exclusion", "7", "exclude", "exclude"),
        "idea": two("idea", "1", "ideas: a | b", "ideas: b|a"),
        "merge": two("merge", "1 2", "merge: Be  kind", "merge: Be kind"),
        "wording": two("wording", "1", "leave out", "leave out"),
    }
    other = {
        "exclusion": two("exclusion", "7", "exclude", "keep"),
        "idea": two("idea", "1", "ideas: a | b", "ideas: a"),
        "merge": two("merge", "1 2", "merge: Be kind", "keep apart"),
        "wording": two("wording", "1", "leave out", "principle: Choose well."),
    }
    read: dict[str, Callable[[pl.DataFrame], list[str]]] = {
        "exclusion": lambda ledger: list(exclusions(ledger).values()),
        "idea": lambda ledger: [each.decision_id for each in statement_ideas(ledger).values()],
        "merge": lambda ledger: [each.decision_id for each in merges(ledger)],
        "wording": lambda ledger: [each.decision_id for each in wordings(ledger)],
    }
    for kind, deciding in read.items():
        assert deciding(ledger_table(same[kind])) == ["A"]
        with pytest.raises(ConsultationError, match=r"differ on .* waits for a resolving row"):
            deciding(ledger_table(other[kind]))


def test_two_signatures_count_only_under_the_same_text() -> None:
    one = replace(row("A", "public", "signed off", kind="signoff"), inputs_digest="a" * 64)
    other = replace(one, decision_id="B", decided_by="second")

    assert signoffs(ledger_table([one, other])) == {"public": "a" * 64}
    with pytest.raises(ConsultationError, match="differ on arm public"):
        signoffs(ledger_table([one, replace(other, inputs_digest="b" * 64)]))


def test_what_stays_out_or_apart_is_neither_excluded_nor_merged() -> None:
    kept = [row("A", "7", "keep", kind="exclusion"), row("B", "8", "exclude", kind="exclusion")]

    assert exclusions(ledger_table(kept)) == {8: "B"}
    assert merges(ledger_table([row("A", "1 2", "keep apart", kind="merge")])) == ()


def test_a_withdrawal_leaves_the_subject_undecided() -> None:
    ledger = ledger_table(
        [
            row("A", "public", "signed off", kind="signoff"),
            row("B", "public", "withdrawn", kind="signoff", supersedes="A"),
        ]
    )

    assert current(ledger)["decision_id"].to_list() == ["B"]
    assert signoffs(ledger) == {}


@pytest.mark.parametrize(
    ("kind", "one", "other", "equal"),
    [
        ("moderation", "out: duplicate", "out: hateful", True),
        ("moderation", "in", "rewrite: Be kind", False),
        ("idea", "ideas: a | b", "ideas: b |  a", True),
        ("wording", "principle: Choose  well.", "principle: Choose well.", True),
        ("wording", "principle: Choose well.", "principle: Choose better.", False),
        ("threshold", "0.5", "0.50", True),
        ("threshold", "auto", "3", False),
    ],
)
def test_effects(kind: str, one: str, other: str, equal: bool) -> None:
    assert (effect(kind, one) == effect(kind, other)) == equal


def test_agreement_counts_what_counts_and_what_was_resolved_by_pair_of_roles() -> None:
    ledger = ledger_table(
        [
            row("A1", "1 2 3", "in"),
            row("B1", "1", "in", "second"),
            row("B2", "2", "out: odd", "second"),
            row("C2", "2", "out: odd", "third", "A1 B2"),
            row("C3", "1 3", "in", "first", "A1"),
            row("P", "rules", "policy: read everything twice", "second"),
        ]
    )

    assert sorted(second_opinions(ledger)) == [("1",), ("2",)]
    assert agreements(ledger) == [Agreement("moderation", ("first", "second"), 2, 1, 0.0)]
    assert agreements(ledger)[0].observed == 0.5


def test_a_policy_asks_for_two() -> None:
    asked = row("P", "double_decisions", "policy: two people decide independently")

    assert asks_for_two(ledger_table([asked]))
    assert not asks_for_two(ledger_table([row("P", "other", "policy: two people decide independently")]))
    assert not asks_for_two(ledger_table([asked, row("Q", "double_decisions", "withdrawn", supersedes="P")]))


def test_what_a_new_folder_was_filled_with_is_nobodys_opinion() -> None:
    filled = replace(row("M1", "1", "in", "whoever"), suggested_by=STARTING)
    person = row("A", "1", "out: odd")
    beside = ledger_table([filled, person])

    assert decisive(beside)[("1",)]["decision_id"] == "A"
    assert decisive(ledger_table([filled]))[("1",)]["decision_id"] == "M1"
    assert second_opinions(beside) == {}
    resolved = ledger_table([filled, person, row("B", "1", "out: odd", "second", "M1 A")])
    assert agreements(resolved) == []


def test_rows_are_counted_by_where_they_come_from() -> None:
    filled = replace(row("M1", "1", "in", "whoever"), suggested_by=STARTING)
    value = replace(row("T1", "smoothing", "none", "whoever", kind="threshold"), suggested_by=STARTING)
    moderation = [
        filled,
        replace(filled, decision_id="M2"),
        replace(filled, decision_id="M3", suggested_by=CARRIED_OVER),
    ]
    wording = [
        replace(row("W1", "1", "principle: a", kind="wording"), suggested_by=DRAFT),
        row("W2", "2", "leave out", kind="wording"),
        replace(row("W3", "3", "leave out", kind="wording"), suggested_by=SAME_WORDS),
    ]

    assert origins_told(ledger_table(each) for each in (moderation, [value], wording)) == (
        "2 taken over from the export, 1 starting values, 1 kept of rows replaced in part, 1 drafts accepted, "
        "2 decided by people"
    )
    assert origins_told([]) == "none"
