"""What hangs on which number, on votes small enough to work out by hand."""

from dataclasses import replace
from typing import Any, get_args

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ccai_dagster.audit import sensitivity
from ccai_dagster.audit.recomputation import Recomputation, Scores, SharedInputs, check_record, decision_worlds, reached
from ccai_dagster.audit.sensitivity import (
    DECISIONS,
    GROUPING,
    SCORING,
    Alternative,
    combinations,
    levels,
    single_changes,
)
from ccai_dagster.contracts import (
    CONSTITUTION,
    DECISION_IMPORTANCE,
    DECISION_SENSITIVITY,
    DECISION_WORLDS,
    GAC_SCORES,
    LEDGER,
    PRINCIPLE_ROBUSTNESS,
    RAW_PARTICIPANTS,
    RAW_STATEMENTS,
    RAW_VOTES,
)
from ccai_dagster.core.errors import ConsultationError
from ccai_dagster.decisions.outcomes import Ideas
from ccai_dagster.decisions.values import Cut
from ccai_dagster.deliberation.votes import ModerationVerdict, ProcedureName

ON_RECORD = Alternative(
    moderation="strict",
    minimum_votes=3,
    procedure="default",
    imputation="zero",
    number_of_groups=2,
    smallest_group=1,
    smoothing="none",
    aggregation="product",
    selection=Cut("threshold", 0.75, 2),
    seed=3,
)
PEOPLE = 10
"""Six of one mind and four of another, then two who voted on one statement only."""
SOURCES = {"P1": frozenset({3}), "P2": frozenset({4}), "P3": frozenset({3, 4}), "P4": frozenset({1})}


def ballots() -> dict[tuple[int, int], int]:
    """Statements 1 and 2 divide the groups, all agree on 3 and 5, and all but one of the larger group on 4."""
    votes = {}
    for person in range(PEOPLE):
        side = 1 if person < 6 else -1
        votes |= {(person, 1): side, (person, 2): -side, (person, 3): 1, (person, 4): 1, (person, 5): 1}
    votes[5, 4] = -1
    votes |= {(PEOPLE, 3): -1, (PEOPLE + 1, 3): -1}
    return votes


def inputs(ideas: dict[int, Ideas] | None = None) -> SharedInputs:
    """Nobody decided on statement 5; all others are in."""
    votes = ballots()
    return SharedInputs(
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
                for key in (1, 2, 3, 4, 5)
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
        moderation={key: ModerationVerdict(True, None, ("M",)) for key in (1, 2, 3, 4)},
        excluded={},
        ideas=ideas or {},
    )


def alternatives(
    on_record: Alternative = ON_RECORD, ideas: dict[int, Ideas] | None = None, ways: int = 3
) -> pl.DataFrame:
    given_ = inputs(ideas)
    tried = levels(on_record, bool(ideas))
    made = decision_worlds(given_, on_record, single_changes(on_record, tried), combinations(tried, ways, 1))
    assert DECISION_WORLDS.violations(made).is_empty()
    return made


def changes(on_record: Alternative = ON_RECORD, ideas: dict[int, Ideas] | None = None) -> pl.DataFrame:
    made = sensitivity.decision_sensitivity(alternatives(on_record, ideas, ways=2), SOURCES)
    assert DECISION_SENSITIVITY.violations(made).is_empty()
    return made


def row(table: pl.DataFrame, decision: str, alternative: str) -> dict[str, Any]:
    return table.row(by_predicate=(pl.col("decision") == decision) & (pl.col("alternative") == alternative), named=True)


@pytest.fixture(scope="module")
def alone() -> pl.DataFrame:
    return changes()


def test_what_changes_is_what_can_be_worked_out(alone: pl.DataFrame) -> None:
    # Statement 3: 6/6 * 4/4 = 1. Statement 4: 5/6 * 4/4 = 0.833. Statements 1 and 2: 0.
    assert row(alone, "selection", "threshold 0.75") == {
        "decision": "selection",
        "alternative": "threshold 0.75",
        "chosen": True,
        "n_groups": 2,
        "n_selected": 2,
        "entering": [],
        "leaving": [],
        "lost_principles": [],
        "gained_principles": [],
    }
    # Laplace: 4 becomes 6/8 * 5/6 = 0.625 and 3 becomes 7/8 * 5/6 = 0.729, both below 0.75.
    laplace = row(alone, "smoothing", "laplace")
    assert (laplace["leaving"], laplace["lost_principles"]) == ([3, 4], ["P1", "P2", "P3"])
    # Jeffreys: 5.5/7 * 4.5/5 = 0.707 for 4 and 6.5/7 * 4.5/5 = 0.836 for 3.
    jeffreys = row(alone, "smoothing", "jeffreys")
    assert (jeffreys["leaving"], jeffreys["lost_principles"]) == ([4], ["P2"])
    # The geometric mean of two groups is larger than their product.
    assert row(alone, "aggregation", "geometric_mean")["leaving"] == []
    # Without a minimum, two people who reject statement 3 count.
    assert 3 in row(alone, "minimum_votes", "0")["leaving"]
    # Statement 5, on which nobody decided, comes in where undecided statements are in.
    assert row(alone, "moderation", "lenient")["entering"] == [5]


def test_a_higher_threshold_takes_out_what_lies_between() -> None:
    made = changes(replace(ON_RECORD, selection=Cut("threshold", 0.81, 2)))
    assert row(made, "selection", "threshold 0.86")["leaving"] == [4]
    assert row(made, "selection", "threshold 0.86")["lost_principles"] == ["P2"]
    assert row(made, "selection", "threshold 0.83")["leaving"] == []


def test_a_principle_below_the_cut_on_record_can_be_gained_and_not_lost() -> None:
    made = changes(replace(ON_RECORD, selection=Cut("threshold", 0.85, 2)))
    lower = row(made, "selection", "threshold 0.83")
    assert (lower["entering"], lower["gained_principles"], lower["lost_principles"]) == ([4], ["P2"], [])
    assert not any("P2" in lost for lost in made["lost_principles"])


def test_every_decision_has_its_value_on_record_first_and_once() -> None:
    made = changes(ideas={4: Ideas(("a",), "I1")})
    # Nobody marked anything as important, so that no other weight of that can be tried.
    tried = [name for name in DECISIONS if name != "importance_weight"]
    assert list(dict.fromkeys(made["decision"])) == tried
    chosen = made.filter("chosen")
    assert chosen["decision"].to_list() == tried
    assert chosen["n_selected"].unique().to_list() == [2]
    assert all(own["chosen"][0] for _, own in made.group_by("decision", maintain_order=True) if own.height)


def test_selection_tries_the_line_in_force_and_the_other_rule_where_ideas_are_on_record() -> None:
    def shown(cut: Cut, has_ideas: bool) -> list[str]:
        alternative = replace(ON_RECORD, selection=cut)
        return [
            replace(alternative, selection=each).shown()["selection"]
            for each in levels(alternative, has_ideas)["selection"]
        ]

    assert shown(Cut("ideas", 0.75, 10), True) == [
        "ideas 10",
        "ideas 8",
        "ideas 9",
        "ideas 11",
        "ideas 12",
        "threshold 0.75",
        "ideas 10, votes of 0.05 of every group",
        "ideas 10, rejected ones too",
    ]
    assert shown(Cut("threshold", 0.97, 10), True) == [
        "threshold 0.97",
        "threshold 0.92",
        "threshold 0.95",
        "threshold 0.99",
        "ideas 10",
        "threshold 0.97, votes of 0.05 of every group",
        "threshold 0.97, rejected ones too",
    ]
    assert shown(Cut("threshold", 0.0, 10), False)[:3] == ["threshold 0", "threshold 0.02", "threshold 0.05"]
    both = Cut("threshold", 0.0, 10, participation=0.1, rejected=True)
    assert shown(both, False)[-2:] == ["threshold 0, rejected ones too", "threshold 0, votes of 0.1 of every group"]


def test_every_procedure_there_is_is_tried() -> None:
    names = get_args(ProcedureName)
    assert set(levels(ON_RECORD, False)["procedure"]) == set(names) and len(names) >= 2


def test_single_changes_differ_in_one_decision() -> None:
    for alternative in single_changes(ON_RECORD, levels(ON_RECORD, True)):
        assert sum(getattr(alternative, name) != getattr(ON_RECORD, name) for name in DECISIONS) == 1


def test_combinations_cross_every_way_to_group_with_every_way_to_score() -> None:
    tried = levels(ON_RECORD, False)
    n_scored = 3 * 4 * 7
    made = combinations(tried, 7, seed=1)
    assert len(made) == len(set(made)) == 7 * n_scored
    assert len({alternative.way_to_group for alternative in made}) == 7
    assert made == combinations(tried, 7, seed=1) != combinations(tried, 7, seed=2)
    small = {name: values[:2] if name in GROUPING else values for name, values in tried.items()}
    assert len(combinations(small, 128, seed=1)) == len(combinations(small, 1000, seed=2)) == 2**7 * n_scored
    assert set(SCORING) | set(GROUPING) == set(DECISIONS)


def test_alternatives_are_numbered_and_say_what_changed() -> None:
    made = alternatives()
    record = made.row(0, named=True)
    assert (record["world_id"], record["changed"], record["statement_ids"]) == (0, [], [3, 4])
    assert made["world_id"].to_list() == list(range(made.height))
    single = made.filter(pl.col("changed").list.len() == 1)
    assert single.select(DECISIONS).is_duplicated().sum() == 0
    assert made.filter("combination").height == 3 * 84
    with_equal_groups = made.group_by("grouping_id").agg(pl.col("n_groups").n_unique())
    assert with_equal_groups["n_groups"].to_list() == [1] * with_equal_groups.height


def test_an_alternative_without_anybody_or_anything_selects_nothing() -> None:
    nobody = Recomputation(inputs())
    assert nobody.selected(replace(ON_RECORD, minimum_votes=6)).ids == frozenset()
    assert nobody.scored(replace(ON_RECORD, minimum_votes=6)).n_groups == 0
    nothing = Recomputation(replace(inputs(), moderation={}))
    assert nothing.selected(ON_RECORD).ids == frozenset()
    assert nothing.selected(replace(ON_RECORD, moderation="lenient")).ids == {3, 4, 5}


def test_the_order_of_votes_does_not_matter() -> None:
    given_ = inputs()
    turned = replace(
        given_,
        raw_statements=given_.raw_statements.reverse(),
        raw_participants=given_.raw_participants.reverse(),
        raw_votes=given_.raw_votes.reverse(),
    )
    tried = levels(ON_RECORD, False)
    again = decision_worlds(turned, ON_RECORD, single_changes(ON_RECORD, tried), combinations(tried, 3, 1))
    assert again.equals(alternatives())


def test_a_record_that_cannot_be_repeated_is_refused() -> None:
    scores = GAC_SCORES.build(
        [
            {
                "statement_id": key,
                "n_votes": 10,
                "n_agree": 9,
                "n_disagree": 1,
                "n_pass": 0,
                "gac": gac,
                "gac_if_unanimous": None,
                "gac_disagree": 0.0,
                "least_participation": 1.0,
                "polarization_index": 0.2,
                "adjusted_polarization_index": 0.2,
                "group_ids": [0, 1],
                "group_votes": [6, 4],
                "group_agreement": [1.0, 1.0],
                "group_rejection": [0.0, 0.0],
                "published_gac": None,
            }
            for key, gac in [(4, 5 / 6), (3, 1.0), (2, None), (1, 0.0)]
        ]
    )
    made = alternatives(ways=2)
    check_record(made, inputs(), ON_RECORD, scores)
    other = scores.with_columns(gac=pl.when(pl.col("statement_id") == 4).then(0.1).otherwise("gac"))
    with pytest.raises(ConsultationError, match=r"differs in statements 4\. .*ccai run --select"):
        check_record(made, inputs(), ON_RECORD, other)


def table(rows: list[tuple[list[str], dict[str, str], int, list[int]]]) -> pl.DataFrame:
    """Alternatives made by hand: what changed, other values, way to group, selected statements."""
    shown = ON_RECORD.shown()
    return DECISION_WORLDS.build(
        [
            {
                "world_id": number,
                **shown,
                **values,
                "changed": changed,
                "combination": number > 0,
                "grouping_id": way,
                "n_groups": 2,
                "n_selected": len(selected),
                "statement_ids": selected,
                "rejected_ids": [],
            }
            for number, (changed, values, way, selected) in enumerate(rows)
        ]
    )


def test_shares_and_what_depends_on_what() -> None:
    two = {"aggregation": "geometric_mean"}
    made = table(
        [
            ([], {}, 0, [3]),
            (["aggregation"], two, 0, [3, 4]),
            (["seed"], {"seed": "4"}, 1, [3]),
            (["aggregation", "seed"], {**two, "seed": "4"}, 1, [3, 4]),
            (["seed"], {"seed": "5"}, 2, []),
        ]
    )
    arms = {"public": SOURCES, "published": {"A10": frozenset({4, 9}), "A9": frozenset({4})}}
    robust = sensitivity.principle_robustness(made, arms)
    assert PRINCIPLE_ROBUSTNESS.violations(robust).is_empty()
    assert robust.select("arm", "principle_id", "in_on_record", "n_in", "share_in", "hangs_on").rows() == [
        ("public", "P1", True, 3, 0.75, ["seed"]),
        ("public", "P3", True, 3, 0.75, ["seed"]),
        ("public", "P2", False, 2, 0.5, ["aggregation"]),
        ("public", "P4", False, 0, 0.0, []),
        ("published", "A9", False, 2, 0.5, ["aggregation"]),
        ("published", "A10", False, 2, 0.5, ["aggregation"]),
    ]
    assert sensitivity.robustness_sentences(robust)["public"] == (
        "Of 4 principles with statements of the public behind them, 0 are in under each of 4 combinations of "
        "decisions. Not in on record: P2 and P4. In under fewer than half: P4."
    )


def test_importance_counts_principles_and_compares_pairs() -> None:
    two = {"aggregation": "geometric_mean"}
    made = table(
        [
            ([], {}, 0, [3]),
            (["aggregation"], two, 0, [4]),
            (["seed"], {"seed": "4"}, 1, [3]),
            (["aggregation", "seed"], {**two, "seed": "4"}, 1, [4]),
        ]
    ).with_columns(combination=pl.lit(True))
    sources = {"P1": frozenset({3}), "P2": frozenset({4})}
    ranked = sensitivity.decision_importance(made, sources, {"aggregation": ["T6"]})
    assert DECISION_IMPORTANCE.violations(ranked).is_empty()
    # Four pairs with different ways to group: two differ in both principles, two in none. Those that agree on
    # the aggregation never differ; all pairs agree on smoothing; no two agree on the seed.
    first = ranked.row(0, named=True)
    assert (first["decision"], first["n_principles"], first["n_statements"]) == ("aggregation", 2, 2)
    assert (first["lost_principles"], first["gained_principles"]) == (["P1"], ["P2"])
    assert (first["difference"], first["difference_if_equal"], first["share"]) == (1.0, 0.0, 1.0)
    assert (first["chosen"], first["decision_ids"], first["n_alternatives"]) == ("product", ["T6"], 1)
    smoothing = ranked.row(by_predicate=pl.col("decision") == "smoothing", named=True)
    assert (smoothing["difference_if_equal"], smoothing["share"], smoothing["decision_ids"]) == (1.0, 0.0, [])
    seed = ranked.row(by_predicate=pl.col("decision") == "seed", named=True)
    assert (seed["difference_if_equal"], seed["share"], seed["n_principles"]) == (None, None, 0)
    assert ranked["rank"].to_list() == list(range(1, len(DECISIONS)))
    assert sensitivity.importance_sentence(ranked) == (
        "Changed alone, these decisions bring principles in or take them out: aggregation (2 principles). Two "
        "combinations drawn at random differ in 1.0 principles on average; if they agree on aggregation, in 0.0."
    )
    calm = sensitivity.decision_importance(made, {"P9": frozenset({9})}, {})
    assert sensitivity.importance_sentence(calm).startswith("No principle comes in or drops out")
    assert calm["share"].drop_nulls().to_list() == [0.0] * 9


@settings(max_examples=40)
@given(
    st.lists(
        st.tuples(st.sampled_from(["product", "geometric_mean"]), st.integers(0, 3), st.sets(st.integers(1, 4))),
        min_size=2,
        max_size=12,
    ),
    st.sets(st.integers(1, 4)),
)
def test_distances_are_those_of_all_pairs(drawn: list[tuple[str, int, set[int]]], rejected: set[int]) -> None:
    rows = [(["aggregation"], {"aggregation": name}, way, sorted(ids)) for name, way, ids in drawn]
    made = table([([], {}, 0, []), *rows]).with_columns(
        rejected_ids=pl.col("statement_ids").list.set_intersection(sorted(rejected))
    )
    sources = {**SOURCES, "P5": frozenset({~3}), "P6": frozenset({2, ~4})}
    ranked = sensitivity.decision_importance(made, sources, {})
    found = ranked.row(by_predicate=pl.col("decision") == "aggregation", named=True)
    worlds = [{"statement_ids": ids, "rejected_ids": ids & rejected} for _, _, ids in drawn]
    inside = [sensitivity.principles_in(sources, world) for world in worlds]
    often = sensitivity.principle_robustness(made, {"public": sources}).select("principle_id", "n_in").iter_rows()
    assert dict(often) == {name: sum(name in each for each in inside) for name in sources}
    pairs = [
        (len(inside[a] ^ inside[b]), drawn[a][0] == drawn[b][0])
        for a in range(len(drawn))
        for b in range(len(drawn))
        if drawn[a][1] != drawn[b][1]
    ]
    agreeing = [differing for differing, equal in pairs if equal]
    for name, expected in [("difference", [each for each, _ in pairs]), ("difference_if_equal", agreeing)]:
        assert found[name] == (pytest.approx(sum(expected) / len(expected)) if expected else None)


def test_sources_come_from_wordings_and_from_constitutions() -> None:
    ledger = LEDGER.build(
        [
            {
                "decision_id": name,
                "kind": "wording",
                "subject_ids": subjects,
                "outcome": outcome,
                "reason": "r",
                "policy_ref": None,
                "decided_by": "x",
                "decided_at": "2025",
                "supersedes": old,
                "inputs_digest": None,
                "suggested_by": None,
            }
            for name, subjects, outcome, old in [
                ("P1", ["1", "2"], "principle: a", None),
                ("W2", ["1", "2"], "principle: b", "P1"),
                ("P3", ["3"], "leave out", None),
            ]
        ]
    )
    assert sensitivity.worded_sources(ledger) == {"P1": frozenset({1, 2})}
    given_ = CONSTITUTION.build(
        [
            {
                "principle_id": name,
                "arm": "standard",
                "text": "t",
                "statement_ids": ids,
                "merged_text": None,
                "gac": None,
                "side": None,
                "decision_ids": [],
            }
            for name, ids in [("S1", []), ("S2", [4])]
        ]
    )
    assert sensitivity.constitution_sources(given_) == {"S2": frozenset({4})}


def test_published_principles_that_do_not_survive_the_right_labels(test_data) -> None:
    """The published group labels, given to the participants they belong to, take out eight principles.

    The labels stand in the published file in the order of ids, while its rows do not (data notes, finding 1).
    """
    folder = test_data / "ccai"
    published = pl.read_csv(folder / "clean_votes.csv", infer_schema=False).drop("xid")
    ids = published["participant"].cast(pl.Int64)
    labels = pl.DataFrame({"participant_id": ids.sort(), "group": published["group-id"]})
    cast = (
        published.unpivot(index="participant", on=[name for name in published.columns if name.isdigit()])
        .drop_nulls("value")
        .select(
            participant_id=pl.col("participant").cast(pl.Int64),
            statement_id=pl.col("variable").cast(pl.Int64),
            agree=pl.col("value").cast(pl.Float64) == 1,
        )
        .join(labels, on="participant_id")
    )
    scores = (
        cast.group_by("statement_id", "group")
        .agg(pl.col("agree").mean())
        .group_by("statement_id")
        .agg(gac=pl.col("agree").product())
        .sort("statement_id")
    )
    alternative = replace(ON_RECORD, selection=Cut("threshold", 0.723, 95))
    selected = reached(scores["statement_id"].to_list(), Scores(scores["gac"].to_numpy()), {}, alternative).ids
    assert len(selected) == 113
    named = pl.read_csv(folder / "principle_sources.csv", infer_schema=False)
    sources = {
        principle: frozenset(int(each) for each in cell.split())
        for principle, cell in named.select("principle_id", "comment_ids").iter_rows()
    }
    assert set(sources) - sensitivity.principles_in(sources, {"statement_ids": selected, "rejected_ids": []}) == {
        "P58",
        "P61",
        "P63",
        "P64",
        "P67",
        "P71",
        "P72",
        "P75",
    }


@pytest.mark.parametrize("participation", [0.0, 0.5])
def test_counts_by_group_give_the_worlds_of_votes_as_far_as_no_group_changes(participation: float) -> None:
    on_record = replace(ON_RECORD, selection=replace(ON_RECORD.selection, participation=participation))
    given_ = inputs()
    cast = given_.raw_votes.filter(pl.col("participant_id") < PEOPLE)
    by_group = cast.group_by("statement_id", group_id=(pl.col("participant_id") >= 6).cast(pl.Int64)).agg(
        n_agree=(pl.col("vote") == 1).sum().cast(pl.Int64),
        n_disagree=(pl.col("vote") == -1).sum().cast(pl.Int64),
        n_pass=(pl.col("vote") == 0).sum().cast(pl.Int64),
    )
    counts = replace(
        given_,
        raw_participants=given_.raw_participants.clear(),
        raw_votes=given_.raw_votes.clear(),
        raw_group_votes=by_group.sort("statement_id", "group_id"),
    )
    changed = [
        replace(on_record, moderation="lenient"),
        replace(on_record, smoothing="laplace"),
        replace(on_record, aggregation="geometric_mean"),
        replace(on_record, selection=replace(on_record.selection, threshold=0.9)),
    ]
    votes, alone = (decision_worlds(each, on_record, changed, ()) for each in (given_, counts))
    assert alone["n_groups"].to_list() == votes["n_groups"].to_list() == [2] * 5
    if participation:
        assert alone["n_selected"].to_list() == [0] * 5, "nobody knows what share of a group voted"
    else:
        assert alone.equals(votes) and alone["n_selected"][0] > 0
    regrouped = decision_worlds(counts, on_record, [replace(on_record, number_of_groups=3)], ())
    assert regrouped["n_groups"].to_list() == [2, 2], "groups are as they were given"
