"""Consensus on rejection, least participation and the named aggregations, worked out by hand."""

from __future__ import annotations

from math import sqrt

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ccai_dagster.audit import sensitivity
from ccai_dagster.audit.recomputation import Selection
from ccai_dagster.audit.reversals import Worded, content_of
from ccai_dagster.constitution.principles import derive_constitution
from ccai_dagster.constitution.selection import WordedStatements, reaches_cut, select_statements
from ccai_dagster.contracts import SELECTED_STATEMENTS, STATEMENTS
from ccai_dagster.decisions.agenda import draft_principle
from ccai_dagster.decisions.checks import check_wordings
from ccai_dagster.decisions.ledger import Decision, ledger_table
from ccai_dagster.decisions.outcomes import Wording, WordingSource, wordings
from ccai_dagster.decisions.values import Cut, thresholds
from ccai_dagster.deliberation.consensus import gac_scores, group_aware_consensus, least_participation
from ccai_dagster.deliberation.stability import (
    both_sides,
    consensus_stability,
    principle_intervals,
    statement_intervals,
)
from ccai_dagster.deliberation.votes import Aggregation, Procedure, Smoothing, vote_matrix


def procedure(smoothing: Smoothing = "laplace", aggregation: Aggregation = "product") -> Procedure:
    return Procedure("default", "zero", None, smoothing, aggregation, 1)


AGREE, DISAGREE, VOTES = np.array([[8.0], [3.0]]), np.array([[1.0], [1.0]]), np.array([[10.0], [4.0]])
"""Two groups: 8 agree, 1 disagrees, 1 passes; 3 agree, 1 disagrees."""


def test_effective_agreement_by_hand() -> None:
    # Jeffreys: 8.5/11 (1 - 1.5/11) and 3.5/5 (1 - 1.5/5), and the root of their product.
    expected = sqrt(8.5 / 11 * 9.5 / 11 * 3.5 / 5 * 3.5 / 5)
    found = group_aware_consensus(AGREE, VOTES, procedure("jeffreys", "effective_agreement"), DISAGREE)
    assert found == pytest.approx([expected], abs=1e-15)


def test_two_unanimous_people_reach_less_by_effective_agreement_under_laplace_than_under_jeffreys() -> None:
    two, none = np.array([[2.0]]), np.array([[0.0]])
    laplace = group_aware_consensus(two, two, procedure("laplace", "effective_agreement"), none)
    jeffreys = group_aware_consensus(two, two, procedure("jeffreys", "effective_agreement"), none)
    assert laplace == pytest.approx([9 / 16]) and jeffreys == pytest.approx([25 / 36])


@pytest.mark.parametrize(
    ("agree", "disagree", "expected"),
    [
        ([10, 8], [0, 2], (11 / 12 + 9 / 12) / 2),  # 0.833, as the report of Polis tests it
        ([0, 1], [10, 9], (1 / 12 + 2 / 12) / 2),
        ([0, 10], [10, 0], 1 / 2),
        ([0, 5], [0, 0], (1 / 2 + 6 / 7) / 2),  # a group without votes is half agreeing
    ],
)
def test_the_normalized_consensus_of_polis(agree: list[int], disagree: list[int], expected: float) -> None:
    for_it, against = np.array([agree], float).T, np.array([disagree], float).T
    passes = np.array([[3.0], [0.0]])  # which make no difference
    found = group_aware_consensus(for_it, for_it + against + passes, procedure("laplace", "polis_normalized"), against)
    assert found == pytest.approx([expected], abs=1e-15)


AGGREGATIONS: list[Aggregation] = ["product", "geometric_mean", "effective_agreement", "polis_normalized"]


@settings(max_examples=40)
@given(st.integers(1, 5), st.integers(0, 2**32 - 1), st.sampled_from(AGGREGATIONS))
def test_rejection_is_agreement_with_the_signs_turned(groups: int, seed: int, aggregation: Aggregation) -> None:
    generator = np.random.default_rng(seed)
    agree, disagree, passes = generator.integers(0, 9, (3, groups, 4)).astype(float)
    votes, given_ = agree + disagree + passes, procedure("laplace", aggregation)
    turned = group_aware_consensus(disagree, votes, given_, agree)
    assert ((turned > 0) & (turned < 1)).all()
    if aggregation == "polis_normalized":  # what is not agreement is rejection there
        assert turned == pytest.approx(1 - group_aware_consensus(agree, votes, given_, disagree))


def test_the_table_has_rejection_and_the_smallest_share_of_a_group_that_voted() -> None:
    cells = [(0, 0, -1), (1, 0, -1), (2, 0, -1), (0, 1, 1), (1, 1, 0), (2, 1, 1), (3, 1, 1)]
    votes = pl.DataFrame(
        cells, schema={"participant_id": pl.Int64, "statement_id": pl.Int64, "vote": pl.Int8}, orient="row"
    )
    matrix = vote_matrix(votes, pl.Series([0, 1, 2, 3]), pl.Series([0, 1]))
    table = gac_scores(matrix, np.array([0, 0, 1, 1]), procedure())
    assert table["gac"].to_list() == pytest.approx([1 / 4 * 1 / 3, 2 / 4 * 3 / 4])
    assert table["gac_disagree"].to_list() == pytest.approx([3 / 4 * 2 / 3, 1 / 4 * 1 / 4])
    assert table["least_participation"].to_list() == [0.5, 1.0]
    assert table["group_rejection"].to_list() == [[1.0, 1.0], [0.0, 0.0]]


def test_without_groups_nobody_took_part() -> None:
    assert np.isnan(least_participation(np.zeros((0, 2)), np.zeros(0))).all()


# --- selection --------------------------------------------------------------------------------------
def scores(*rows: tuple[float, float, float]) -> pl.DataFrame:
    """Consensus on agreement, on rejection, and participation of statements from 1."""
    names = ("gac", "gac_disagree", "least_participation")
    columns = {name: [row[place] for row in rows] for place, name in enumerate(names)}
    return pl.DataFrame({"statement_id": list(range(1, len(rows) + 1)), **columns})


def statements(count: int) -> pl.DataFrame:
    rows = [
        {"statement_id": key, "author_id": None, "text": f"t{key}", "raw_text": f"t{key}", "rewritten": False}
        for key in range(1, count + 1)
    ]
    return STATEMENTS.build([{**row, "decision_ids": []} for row in rows])


def worded(principle: str, key: int, text: str | None, side: str = "agree") -> WordedStatements:
    return WordedStatements(Wording(principle, principle, (key,), text, None, side), WordingSource("", None))  # type: ignore[arg-type]


TABLE = scores((0.9, 0.01, 0.5), (0.05, 0.8, 0.5), (0.85, 0.02, 0.04), (0.1, 0.2, 0.9))


def test_what_nobody_decided_selects_as_before() -> None:
    chosen = reaches_cut([1, 2, 3, 4], {}, Cut("threshold", 0.7, 9))
    assert chosen(TABLE["gac"].to_numpy()).tolist() == [True, False, True, False]
    frame = select_statements(TABLE, statements(4), {}, Cut("threshold", 0.7, 9), [], [])
    assert frame.select("statement_id", "side", "fate").rows() == [
        (1, "agree", "undecided"),
        (3, "agree", "undecided"),
        (4, "agree", "below the cut"),
        (2, "agree", "below the cut"),
    ]


def test_rejected_statements_are_selected_by_the_same_cut_and_lead_to_principles_of_avoidance_only() -> None:
    cut = Cut("threshold", 0.7, 9, rejected=True)
    ledger = [worded("P1", 1, "Seek."), worded("P2", 2, "Avoid.", "disagree"), worded("P3", 3, "Wrong.", "disagree")]
    frame = select_statements(TABLE, statements(4), {}, cut, [], ledger)
    assert SELECTED_STATEMENTS.violations(frame).is_empty()
    assert frame.select("statement_id", "gac", "side", "selected", "fate").rows() == [
        (1, 0.9, "agree", True, "principle"),
        (3, 0.85, "agree", True, "undecided"),  # a principle of avoidance decides nothing on what is agreed with
        (2, 0.8, "disagree", True, "principle"),
        (4, 0.2, "disagree", False, "below the cut"),
    ]
    made = derive_constitution("public", frame, ledger)
    assert made.select("principle_id", "gac", "side").rows() == [("P1", 0.9, "agree"), ("P2", 0.8, "disagree")]


def test_a_group_that_hardly_voted_keeps_a_statement_from_the_cut() -> None:
    cut = Cut("threshold", 0.7, 9, participation=0.05)
    frame = select_statements(TABLE, statements(4), {}, cut, [], [worded("P3", 3, "Three.")])
    assert dict(frame.select("statement_id", "fate").iter_rows()) == {
        1: "undecided",
        2: "below the cut",
        3: "too few of a group voted",
        4: "below the cut",
    }
    assert frame["statement_id"][-1] == 3  # what cannot be selected comes last
    by_ideas = reaches_cut([1, 2, 3, 4], {}, Cut("ideas", 0.0, 2, participation=0.05))
    columns = [TABLE[name].to_numpy() for name in ("gac", "gac_disagree", "least_participation")]
    assert by_ideas(*columns).tolist() == [True, False, False, True]


def test_a_cut_is_never_judged_without_what_it_asks_for() -> None:
    gac = np.array([0.9])
    with pytest.raises(ValueError, match="rejected"):
        reaches_cut([1], {}, Cut("threshold", 0.7, 9, rejected=True))(gac)
    with pytest.raises(ValueError, match="share of every group"):
        reaches_cut([1], {}, Cut("threshold", 0.7, 9, participation=0.1))(gac, gac)


# --- ledgers ----------------------------------------------------------------------------------------
def row(decision_id: str, kind: str, subject: str, outcome: str) -> Decision:
    return Decision(decision_id, kind, (subject,), outcome, "why", "editor", "2025-01-01")


def test_the_two_decisions_have_values_that_change_nothing_while_nobody_took_them() -> None:
    from ccai_dagster.decisions.values import VALUES

    rows = [
        row(f"T{place}", "threshold", name, each.start)
        for place, (name, each) in enumerate(VALUES["threshold"].items())
        if each.start is not None
    ]
    assert thresholds(ledger_table(rows), 1).cut == Cut("threshold", 0.775, 40, 0.0, False)
    more = [
        row("X1", "threshold", "group_participation", "0.05"),
        row("X2", "threshold", "rejected_statements", "selected"),
    ]
    settled = thresholds(ledger_table([*rows, *more]), 1)
    assert settled.cut == Cut("threshold", 0.775, 40, 0.05, True)
    assert sensitivity.deciding_rows(settled)["selection"][-2:] == ["X1", "X2"]


def test_what_to_avoid_is_a_verb_of_its_own() -> None:
    ledger = ledger_table([row("W1", "wording", "1", "principle: Do."), row("W2", "wording", "2", "avoid: Do not.")])
    assert [(each.text, each.side) for each in wordings(ledger)] == [("Do.", "agree"), ("Do not.", "disagree")]
    found = check_wordings(ledger, ledger_table([]), statements(2), [1, 2], rejected=[1])
    waiting = {each.subject: each.message for each in found if each.decision_id is None}
    assert "every group rejects it" in waiting["1"] and "avoid: ..." in waiting["1"]
    assert waiting["2"].startswith("reaches the cut, and nobody has worded it")
    assert sensitivity.worded_sources(ledger) == {"W1": frozenset({1}), "W2": frozenset({~2})}


@pytest.mark.parametrize(
    ("text", "draft"),
    [
        ("The AI should flatter people.", "Choose the response that does least to flatter people."),
        ("The AI should be rude.", "Choose the response that is least rude."),
        ("The AI should never say no.", "Choose the response that does most to say no."),
    ],
)
def test_the_draft_of_what_to_avoid_turns_the_statement_round(text: str, draft: str) -> None:
    assert draft_principle(text, rejected=True) == draft


# --- what depends on what ---------------------------------------------------------------------------
def test_a_principle_is_in_a_world_only_on_its_side() -> None:
    sources = {"P1": frozenset({1}), "P2": frozenset({~1}), "P3": frozenset({2})}
    world = {"statement_ids": [1, 2], "rejected_ids": [1]}
    assert sensitivity.principles_in(sources, world) == {"P2", "P3"}
    decided = [Worded("W1", "P1", frozenset({1}), True), Worded("W2", "P2", frozenset({1}), True, "disagree")]
    content = content_of(Selection(frozenset({1, 2}), frozenset({1})), decided)
    assert (content.principles, content.behind, content.waiting) == ({"P2"}, {1, 2}, {2})
    alone = content_of(Selection(frozenset({1}), frozenset()), decided[1:])
    assert (alone.principles, alone.waiting) == (frozenset(), {1})


def test_intervals_of_rejection_come_from_the_same_draws() -> None:
    generator = np.random.default_rng(3)
    cells = [(who, key, int(generator.choice([-1, 1], p=[0.85, 0.15]))) for who in range(30) for key in range(4)]
    schema = {"participant_id": pl.Int64, "statement_id": pl.Int64, "vote": pl.Int8}
    votes = pl.DataFrame(cells, schema=schema, orient="row")
    matrix = vote_matrix(votes, pl.Series(range(30)), pl.Series(range(4)))
    groups = pl.DataFrame({"participant_id": list(range(30)), "group_id": [who % 2 for who in range(30)]}).with_columns(
        x=pl.col("participant_id").cast(pl.Float64), y=pl.lit(0.0)
    )
    chosen = reaches_cut([0, 1, 2, 3], {}, Cut("threshold", 0.3, 9, rejected=True))
    table = consensus_stability(matrix, groups, procedure(), chosen, 40, 1).statements
    inside = (table["gac_disagree_low"] < table["gac_disagree"]) & (table["gac_disagree"] < table["gac_disagree_high"])
    assert inside.all() and (table["gac_disagree"] > table["gac"]).all()
    assert (table["selection_probability"] > 0.5).all()
    selected = pl.DataFrame({"statement_id": [2], "side": ["disagree"], "gac": [0.0]})
    shown = statement_intervals(selected, table).row(0, named=True)
    assert (shown["gac_low"], shown["gac_high"]) == table.select("gac_disagree_low", "gac_disagree_high").row(2)
    principle = pl.DataFrame({"principle_id": ["P"], "side": ["disagree"], "gac": [0.0], "statement_ids": [[2]]})
    assert principle_intervals(principle, table).select("gac_low", "gac_high").row(0) == (
        shown["gac_low"],
        shown["gac_high"],
    )


def test_both_sides_are_the_two_consensuses() -> None:
    from ccai_dagster.deliberation.consensus import GroupCounts

    agreed, against = both_sides(GroupCounts(AGREE, DISAGREE, VOTES), procedure("none"))
    assert agreed == pytest.approx([8 / 10 * 3 / 4]) and against == pytest.approx([1 / 10 * 1 / 4])
