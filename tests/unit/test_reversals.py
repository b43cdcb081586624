"""Single decisions of people taken the other way, on votes small enough to work out by hand."""

from __future__ import annotations

from dataclasses import fields, replace
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ccai_dagster.audit.recomputation import Scores, Selection, SharedInputs, reached
from ccai_dagster.audit.reversals import (
    ConstitutionContent,
    RecordedDecisions,
    Worded,
    content_of,
    decision_reversals,
    recorded_decisions,
    reversal_sentences,
)
from ccai_dagster.audit.sensitivity import Alternative
from ccai_dagster.contracts import (
    DECISION_REVERSALS,
    LEDGER,
    OPINION_GROUPS,
    RAW_PARTICIPANTS,
    RAW_STATEMENTS,
    RAW_VOTES,
)
from ccai_dagster.decisions.outcomes import Ideas, exclusions, moderation_verdicts, statement_ideas
from ccai_dagster.decisions.values import Cut

THRESHOLD = Cut("threshold", 0.7, 2)
PEOPLE = 10
"""Six in one group, four in the other; participant 10 is excluded, 11 is too and voted once only."""


def ledger(kind: str, *rows: tuple[str, str, str]) -> pl.DataFrame:
    return LEDGER.build(
        [
            {
                "decision_id": name,
                "kind": kind,
                "subject_ids": subjects.split(),
                "outcome": outcome,
                "reason": "r",
                "policy_ref": None,
                "decided_by": "x",
                "decided_at": "2025",
                "supersedes": None,
                "inputs_digest": None,
                "suggested_by": None,
            }
            for name, subjects, outcome in rows
        ]
    )


LEDGERS = {
    "moderation": ledger(
        "moderation",
        ("M0", "criteria", "policy: be kind"),
        ("M1", "1 2 3", "in"),
        ("M4", "4", "in"),
        ("M5", "5", "rewrite: shorter"),
        ("M6", "6", "out: off topic"),
        ("M7", "7", "out: too late"),
        ("M8", "8", "out: off topic"),
        ("M9", "9", "in"),
    ),
    "exclusion": ledger("exclusion", ("E1", "10", "exclude"), ("E2", "11", "exclude"), ("E3", "9", "keep")),
    "merge": ledger("merge", ("G1", "3 9", "merge: both"), ("G2", "4 9", "keep apart")),
    "wording": ledger("wording", ("P1", "3 9", "principle: a"), ("P2", "4", "principle: b"), ("W3", "5", "leave out")),
    "idea": ledger("idea", ("I3", "3", "ideas: x"), ("I4", "4", "ideas: x"), ("I5", "5", "ideas: y")),
}


def ballots() -> dict[tuple[int, int], int]:
    """Statements 1 and 2 divide; 3, 4, 5 and 6 are agreed on; 7 by half; 8 has votes of one group; 9 fails."""
    votes = {}
    for person in range(PEOPLE):
        side = 1 if person < 6 else -1
        votes |= {(person, 1): side, (person, 2): -side, (person, 3): 1, (person, 4): 1, (person, 5): 1}
        votes |= {(person, 6): 1, (person, 7): 1 if person % 2 else -1, (person, 9): -1}
        if person < 6:
            votes[person, 8] = 1
    votes |= {(9, 4): -1}
    # The excluded participant is of the first mind and rejects what everybody else agrees on.
    votes |= {(10, 1): 1, (10, 2): -1, (10, 3): -1, (10, 4): -1, (10, 5): -1, (11, 3): -1}
    return votes


def record(cut: Cut = THRESHOLD) -> RecordedDecisions:
    votes = ballots()
    inputs = SharedInputs(
        raw_statements=RAW_STATEMENTS.build(
            [
                {
                    "statement_id": key,
                    "author_id": None,
                    "created_at": None,
                    "moderated": 0,
                    "is_seed": None,
                    "is_meta": None,
                    "text": "t",
                }
                for key in range(1, 10)
            ]
        ),
        raw_participants=RAW_PARTICIPANTS.build(
            [
                {"participant_id": who, "n_votes": sum(voter == who for voter, _ in votes), "polis_group": None}
                for who in range(PEOPLE + 2)
            ]
        ),
        raw_votes=RAW_VOTES.build(
            [
                {
                    "participant_id": who,
                    "statement_id": what,
                    "vote": vote,
                    "voted_at": None,
                    "times_voted": 1,
                    "important": None,
                }
                for (who, what), vote in votes.items()
            ]
        ),
        moderation=moderation_verdicts(LEDGERS["moderation"]),
        excluded=exclusions(LEDGERS["exclusion"]),
        ideas=statement_ideas(LEDGERS["idea"]),
    )
    groups = OPINION_GROUPS.build(
        [
            {"participant_id": who, "group_id": 0 if who < 6 else 1, "x": 0.0, "y": 0.0}
            for who in reversed(range(PEOPLE))
        ]
    )
    alternative = Alternative("strict", 3, "default", "zero", 2, 1, "none", "product", cut, seed=3)
    return recorded_decisions(inputs, alternative, groups, LEDGERS["wording"])


def reversals(cut: Cut = THRESHOLD) -> dict[str, dict[str, Any]]:
    made = decision_reversals(record(cut), LEDGERS)
    assert DECISION_REVERSALS.violations(made).is_empty()
    return {row["reversal"]: row for row in made.to_dicts()}


@pytest.fixture(scope="module")
def reversed_() -> dict[str, dict[str, Any]]:
    return reversals()


def effects(row: dict[str, Any]) -> dict[str, Any]:
    names = ("entering", "leaving", "lost_principles", "gained_principles", "reworded_principles", "waiting")
    return {name: row[name] for name in names if row[name]}


def test_what_the_constitution_holds_comes_from_the_selection_and_the_wordings() -> None:
    worded = [
        Worded("W1", "P1", frozenset({1, 2}), True),
        Worded("W2", "P2", frozenset({3}), True),
        Worded("W3", "P3", frozenset({4}), False),
    ]
    assert content_of(Selection(frozenset({2, 4, 5}), frozenset()), worded) == ConstitutionContent(
        principles=frozenset({"P1"}), behind=frozenset({1, 2, 5}), waiting=frozenset({5})
    )


def test_the_record_scores_statements_that_are_out_on_the_votes_cast_on_them() -> None:
    recorded = record()
    # 3 and 6: 6/6 * 4/4. 4: 6/6 * 3/4. 7: 3/6 * 2/4. 8: nobody of the second group voted.
    assert {key: recorded.gac[key] for key in (3, 4, 6, 7, 9)} == {3: 1.0, 4: 0.75, 6: 1.0, 7: 0.25, 9: 0.0}
    assert recorded.gac[8] != recorded.gac[8]
    assert (recorded.smallest_group_votes[6], recorded.smallest_group_votes[8], recorded.n_groups) == (4, 0, 2)
    assert recorded.selected.ids == {3, 4, 5} and recorded.included == {1, 2, 3, 4, 5, 9}
    assert content_of(recorded.selected, recorded.worded) == ConstitutionContent(
        frozenset({"P1", "P2"}), frozenset({3, 4, 9}), frozenset()
    )


def test_a_statement_moderated_out_is_let_in(reversed_: dict[str, dict[str, Any]]) -> None:
    assert effects(reversed_["M6"]) == {"entering": [6], "waiting": [6]}
    assert reversed_["M6"]["consequence"] == (
        "Had statement 6 been let in, statement 6 would come in and wait for a wording. "
        "Its consensus is 1.00, where the group that voted least cast 4 votes."
    )
    assert effects(reversed_["M7"]) == {} and reversed_["M7"]["gac"] == 0.25
    assert reversed_["M7"]["consequence"].startswith(
        "Had statement 7 been let in, the constitution would be the same. Its consensus is 0.25"
    )
    assert reversed_["M8"]["gac"] is None
    assert reversed_["M8"]["consequence"].endswith("At least one opinion group never voted on it.")


def test_a_statement_let_in_is_taken_out(reversed_: dict[str, dict[str, Any]]) -> None:
    assert effects(reversed_["M4"]) == {"leaving": [4], "lost_principles": ["P2"]}
    # Statement 9 stands behind P1 through the merge only; without it the merged text would be another.
    assert effects(reversed_["M9"]) == {"leaving": [9], "reworded_principles": ["P1"]}
    # Of 1, 2 and 3 only the last is selected, and P1 has no other that reaches the cut.
    assert effects(reversed_["M1"]) == {"leaving": [3, 9], "lost_principles": ["P1"]}
    assert "M0" not in reversed_


def test_a_rewrite_changes_no_score(reversed_: dict[str, dict[str, Any]]) -> None:
    assert (reversed_["M5"]["supposed"], effects(reversed_["M5"])) == ("kept as its author typed it", {})


def test_merges_and_wordings_are_undone(reversed_: dict[str, dict[str, Any]]) -> None:
    assert effects(reversed_["G1"]) == {"leaving": [9], "lost_principles": ["P1"], "waiting": [3]}
    assert (reversed_["G2"]["supposed"], effects(reversed_["G2"])) == (
        "merged",
        {"lost_principles": ["P2"], "waiting": [4]},
    )
    assert effects(reversed_["P1"]) == {"leaving": [3, 9], "lost_principles": ["P1"]}
    assert effects(reversed_["W3"]) == {"entering": [5], "waiting": [5]}
    assert reversed_["W3"]["consequence"] == (
        "Had statement 5 not been left out, statement 5 would come in and wait for a wording."
    )


def test_excluded_votes_count_again_in_groups_computed_again(reversed_: dict[str, dict[str, Any]]) -> None:
    # With participant 10 in the larger group: 4 is 6/7 * 3/4 = 0.643; 3 and 5 are 6/7 = 0.857.
    row = reversed_["E1"]
    assert (row["regrouped"], row["n_groups"], row["gac"]) == (True, 2, None)
    assert effects(row) == {"leaving": [4], "lost_principles": ["P2"]}
    assert row["consequence"].startswith("Had the votes of participant 10 been counted, statement 4 would drop")
    # Participant 11 voted too little to count, excluded or not.
    assert (reversed_["E2"]["regrouped"], effects(reversed_["E2"])) == (False, {})
    together = reversed_["every exclusion"]
    assert (together["decision_ids"], together["subject_ids"]) == (["E1", "E2"], [10, 11])
    assert effects(together) == effects(row)
    # Participant 9, of the second group, was kept and is the only one there to reject statement 4.
    assert (reversed_["E3"]["supposed"], reversed_["E3"]["regrouped"]) == ("excluded", True)
    assert effects(reversed_["E3"]) == {}


def test_ideas_matter_where_they_are_counted(reversed_: dict[str, dict[str, Any]]) -> None:
    assert all(effects(reversed_[name]) == {} for name in ("I3", "I4", "I5"))
    # By ideas: 3 (x), 5 (y), then 4 (x again) fit into two ideas; 4 as an idea of its own does not.
    by_ideas = reversals(Cut("ideas", 0.7, 2))
    assert effects(by_ideas["I4"]) == {"leaving": [4], "lost_principles": ["P2"]}
    assert effects(by_ideas["I5"]) == {}
    # Statement 6, let in, is as high as 3 and 5, comes after them, and has no room.
    assert effects(by_ideas["M6"]) == {"leaving": [4], "lost_principles": ["P2"]}


@st.composite
def records(draw: st.DrawFn) -> RecordedDecisions:
    """Eight statements, some in, a few decisions on wording that may share statements, either rule of selection."""
    ids = st.integers(0, 7)
    rule = Cut(draw(st.sampled_from(["threshold", "ideas"])), 0.5, draw(st.integers(0, 5)), rejected=True)
    gac, against = (np.array(draw(st.lists(st.sampled_from([0.2, 0.5, 0.9]), min_size=8, max_size=8))) for _ in "ab")
    worded = [
        Worded(f"W{n}", f"P{n}", *draw(st.tuples(st.frozensets(ids, min_size=1, max_size=3), st.booleans())), side)
        for n, side in enumerate(draw(st.lists(st.sampled_from(["agree", "disagree"]), max_size=5)))
    ]
    empty = RAW_VOTES.empty()
    inputs = SharedInputs(empty, empty, empty, {}, {}, draw(st.dictionaries(ids, st.just(Ideas(("x",), "I")))))
    recorded = RecordedDecisions(
        inputs=inputs,
        numeric=Alternative("strict", 3, "default", "zero", 2, 1, "none", "product", rule, seed=3),
        n_groups=2,
        gac=dict(enumerate(gac.tolist())),
        scores=Scores(gac, against),
        smallest_group_votes={},
        included=draw(st.frozensets(ids)),
        selected=Selection(frozenset(), frozenset()),
        worded=tuple(worded),
    )
    return replace(recorded, selected=selected(recorded, recorded.included))


def selected(recorded: RecordedDecisions, included: frozenset[int], alone: frozenset[int] = frozenset()) -> Selection:
    """What is selected if exactly these are in, from the beginning."""
    those = sorted(included)
    ideas = {key: value for key, value in recorded.inputs.ideas.items() if key not in alone}
    return reached(those, recorded.scores.at(np.array(those, dtype=int)), ideas, recorded.numeric)


@given(records(), st.frozensets(st.integers(0, 7), min_size=1, max_size=2), st.booleans(), st.data())
def test_looking_near_a_decision_finds_all_that_it_changes(
    recorded: RecordedDecisions, subjects: frozenset[int], included: bool, data: st.DataObject
) -> None:
    alone = data.draw(st.booleans())
    without = data.draw(st.lists(st.sampled_from(recorded.worded), unique=True)) if recorded.worded else []
    instead = [replace(each, is_principle=not each.is_principle) for each in without]
    supposed = recorded.supposing(subjects, included, without, instead, without_ideas=alone)
    before, after = recorded.around(supposed, subjects)
    those = recorded.included | subjects if included else recorded.included - subjects
    whole = content_of(recorded.selected, recorded.worded)
    other = content_of(
        selected(recorded, those, subjects if alone else frozenset()),
        [*(each for each in recorded.worded if each not in without), *instead],
    )
    for field in fields(ConstitutionContent):
        near_before, near_after = getattr(before, field.name), getattr(after, field.name)
        assert near_after - near_before == getattr(other, field.name) - getattr(whole, field.name)
        assert near_before - near_after == getattr(whole, field.name) - getattr(other, field.name)


def test_kinds_are_summed_up_in_words(reversed_: dict[str, dict[str, Any]]) -> None:
    recorded = record()
    made = decision_reversals(recorded, LEDGERS)
    sentences = reversal_sentences(made)
    assert sentences["moderation: let in"] == "1 of 3 reversals would change something."
    assert sentences["idea: taken as one idea of its own"] == "0 of 3 reversals would change something."
    empty = {kind: each.clear() for kind, each in LEDGERS.items()}
    assert set(decision_reversals(recorded, empty)["kind"]) == {"wording"}
    assert [row["reversal"] for row in made.to_dicts()] == list(reversed_)
