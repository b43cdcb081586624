"""Statements that many passed on, by the rules of Polis and of Sensemaker."""

from __future__ import annotations

import polars as pl

from ccai_dagster.contracts import OPINION_GROUPS, UNCERTAIN_STATEMENTS
from ccai_dagster.deliberation.uncertain import uncertain_statements

SCHEMA = {"participant_id": pl.Int64, "statement_id": pl.Int64, "vote": pl.Int8}


def votes(passes: dict[int, tuple[int, int]]) -> pl.DataFrame:
    """For each statement how many of how many people pass; the first ones do, the others agree."""
    cells = [(who, key, 0 if who < few else 1) for key, (few, many) in passes.items() for who in range(many)]
    return pl.DataFrame(cells, schema=SCHEMA, orient="row")


def groups(*labels: int) -> pl.DataFrame:
    people = [{"participant_id": who, "group_id": group, "x": 0.0, "y": 0.0} for who, group in enumerate(labels)]
    return OPINION_GROUPS.build(people)


def test_more_than_three_in_ten_and_in_the_order_of_polis() -> None:
    table = uncertain_statements(votes({1: (3, 10), 2: (4, 10), 3: (1, 1), 4: (0, 10)}), groups(0, 0, 1, 1))
    assert UNCERTAIN_STATEMENTS.violations(table).is_empty()
    # 4 passes times 0.4 squared is 0.64, 1 times 1 squared is 1; exactly 0.3 is not above it.
    assert table.select("statement_id", "rank", "n_votes", "n_pass", "by_polis").rows() == [
        (3, 1, 1, 1, True),
        (2, 2, 10, 4, True),
    ]
    assert table.filter(statement_id=2).select("group_ids", "group_votes", "group_passes").row(0) == (
        [0, 1],
        [2, 2],
        [2, 2],
    )


def test_the_rule_of_sensemaker_asks_for_the_upper_quarter_as_well() -> None:
    # Shares 0, 0.1, 0.2 and 0.25: the third quartile is 0.2125.
    table = uncertain_statements(votes({1: (0, 20), 2: (2, 20), 3: (4, 20), 4: (5, 20)}), groups(0))
    assert table.select("statement_id", "by_polis", "by_sensemaker").rows() == [(4, False, True)]
    alike = uncertain_statements(votes({1: (5, 20), 2: (5, 20)}), groups(0))
    assert alike.is_empty()


def test_people_in_no_group_count_and_nobody_at_all_gives_no_rows() -> None:
    table = uncertain_statements(votes({7: (5, 10)}), groups())
    assert table.select("n_pass", "share", "group_ids").row(0) == (5, 0.5, [])
    assert uncertain_statements(votes({}), groups()).is_empty()
