"""What hangs on which number, on votes small enough to work out by hand."""

from dataclasses import replace

import polars as pl
import pytest

from ccai_dagster.audit.sensitivity import World, alternatives, decision_sensitivity
from ccai_dagster.constitution.selection import Cut, Ideas
from ccai_dagster.contracts import CONSTITUTION, DECISION_SENSITIVITY, RAW_PARTICIPANTS, RAW_VOTES, STATEMENTS
from ccai_dagster.deliberation.procedure import Procedure

PROCEDURE = Procedure(
    name="default", imputation="zero", number_of_groups=2, smoothing="none", aggregation="product", seed=3
)
ON_RECORD = World(minimum_votes=3, procedure=PROCEDURE, cut=Cut("threshold", 0.75, 2))
PEOPLE = 10
"""Six of one mind and four of another, then two who voted on one statement only."""


def ballots() -> dict[tuple[int, int], int]:
    """Statements 1 and 2 divide the groups, all agree on 3, and all but one of the larger group on 4."""
    votes = {}
    for person in range(PEOPLE):
        side = 1 if person < 6 else -1
        votes |= {(person, 1): side, (person, 2): -side, (person, 3): 1, (person, 4): 1}
    votes[5, 4] = -1
    votes |= {(PEOPLE, 3): -1, (PEOPLE + 1, 3): -1}
    return votes


def tables() -> tuple[pl.DataFrame, pl.DataFrame, pl.DataFrame]:
    votes = ballots()
    raw_votes = RAW_VOTES.build(
        [
            {"participant_id": who, "statement_id": what, "vote": vote, "voted_at": None, "times_voted": 1}
            for (who, what), vote in votes.items()
        ]
    )
    people = RAW_PARTICIPANTS.build(
        [
            {"participant_id": who, "n_votes": sum(voter == who for voter, _ in votes), "polis_group": None}
            for who in range(PEOPLE + 2)
        ]
    )
    statements = STATEMENTS.build(
        [
            {
                "statement_id": key, "author_id": None, "text": "t", "raw_text": "t", "rewritten": False,
                "decision_ids": [],
            }
            for key in (1, 2, 3, 4)
        ]
    )  # fmt: skip
    return raw_votes, people, statements


CONSTITUTION_TABLE = CONSTITUTION.build(
    [
        {
            "principle_id": name, "arm": "public", "text": "t", "statement_ids": sources, "merged_text": None,
            "gac": 0.9, "decision_ids": [],
        }
        for name, sources in [("P1", [3]), ("P2", [4]), ("P3", [3, 4]), ("P4", [1])]
    ]
)  # fmt: skip


def sensitivity(on_record: World = ON_RECORD, ideas: dict[int, Ideas] | None = None) -> pl.DataFrame:
    raw_votes, people, statements = tables()
    made = decision_sensitivity(raw_votes, people, statements, {}, on_record, ideas or {}, CONSTITUTION_TABLE)
    assert DECISION_SENSITIVITY.violations(made).is_empty()
    return made


def row(table: pl.DataFrame, decision: str, alternative: str) -> dict:
    return table.row(
        by_predicate=(pl.col("decision") == decision) & (pl.col("alternative") == alternative), named=True
    )


def test_what_changes_is_what_can_be_worked_out() -> None:
    # Statement 3: 6/6 * 4/4 = 1. Statement 4: 5/6 * 4/4 = 0.833. Statements 1 and 2: 0.
    made = sensitivity()
    record = row(made, "gac_threshold", "0.75")
    assert record == {
        "decision": "gac_threshold", "alternative": "0.75", "chosen": True, "n_groups": 2, "n_selected": 2,
        "entering": [], "leaving": [], "lost_principles": [],
    }  # fmt: skip
    # Laplace: 4 becomes 6/8 * 5/6 = 0.625 and 3 becomes 7/8 * 5/6 = 0.729, both below 0.75.
    laplace = row(made, "smoothing", "laplace")
    assert (laplace["leaving"], laplace["lost_principles"]) == ([3, 4], ["P1", "P2", "P3"])
    # Jeffreys: 5.5/7 * 4.5/5 = 0.707 for 4 and 6.5/7 * 4.5/5 = 0.836 for 3.
    jeffreys = row(made, "smoothing", "jeffreys")
    assert (jeffreys["leaving"], jeffreys["lost_principles"]) == ([4], ["P2"])
    # One group: 10/10 and 9/10 stay; the geometric mean of two groups is larger than their product.
    assert row(made, "aggregation", "geometric_mean")["leaving"] == []
    # Without a minimum, two people who reject statement 3 count.
    assert 3 in row(made, "minimum_votes", "0")["leaving"]


def test_a_higher_threshold_takes_out_what_lies_between() -> None:
    made = sensitivity(replace(ON_RECORD, cut=replace(ON_RECORD.cut, threshold=0.81)))
    assert row(made, "gac_threshold", "0.86")["leaving"] == [4]
    assert row(made, "gac_threshold", "0.86")["lost_principles"] == ["P2"]
    assert row(made, "gac_threshold", "0.83")["leaving"] == []


def test_a_principle_that_was_not_selected_cannot_be_lost() -> None:
    assert not any("P4" in lost for lost in sensitivity()["lost_principles"])


def test_every_decision_has_its_value_on_record_once() -> None:
    made = sensitivity(ideas={4: Ideas(("a",), "I1")})
    chosen = made.filter("chosen").group_by("decision").len()
    assert set(chosen["decision"]) == set(made["decision"])
    assert set(chosen["len"]) == {1}


def test_selection_by_ideas_tries_budgets() -> None:
    by_ideas = replace(ON_RECORD, cut=Cut("ideas", 0.75, 10))
    names = [
        (name, value) for name, value, _ in alternatives(by_ideas, True) if name.startswith(("sel", "idea"))
    ]
    assert names == [
        ("selection_rule", "threshold"), ("selection_rule", "ideas"), ("idea_budget", "8"),
        ("idea_budget", "9"), ("idea_budget", "10"), ("idea_budget", "11"), ("idea_budget", "12"),
    ]  # fmt: skip


@pytest.mark.parametrize(
    "threshold, values", [(0.97, ["0.92", "0.95", "0.97", "0.99"]), (0.0, ["0", "0.02", "0.05"])]
)
def test_thresholds_stay_between_zero_and_one(threshold: float, values: list[str]) -> None:
    world = replace(ON_RECORD, cut=Cut("threshold", threshold, 2))
    assert [value for name, value, _ in alternatives(world, False) if name == "gac_threshold"] == values


def test_alternatives_differ_in_one_decision() -> None:
    fields = {"procedure": "name"}
    for name, _, world in alternatives(ON_RECORD, True):
        procedure, cut = world.procedure, world.cut
        changed = [world.minimum_votes != ON_RECORD.minimum_votes]
        changed += [getattr(procedure, key) != getattr(PROCEDURE, key) for key in vars(PROCEDURE)]
        changed += [getattr(cut, key) != getattr(ON_RECORD.cut, key) for key in vars(cut)]
        assert sum(changed) <= 1, name
        assert fields.get(name, name) in {
            "minimum_votes",
            *vars(PROCEDURE),
            "selection_rule",
            "gac_threshold",
        }


def test_the_order_of_votes_does_not_matter() -> None:
    raw_votes, people, statements = tables()
    turned = decision_sensitivity(
        raw_votes.reverse(),
        people.reverse(),
        statements.reverse(),
        {},
        ON_RECORD,
        {},
        CONSTITUTION_TABLE.reverse(),
    )
    assert turned.equals(sensitivity())
