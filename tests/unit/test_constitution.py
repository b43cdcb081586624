"""Selection, constitutions and their overlap, by hand."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl
import pytest

from ccai_dagster import contracts
from ccai_dagster.constitution.comparison import constitution_overlap
from ccai_dagster.constitution.principles import (
    NO_PRINCIPLES,
    constitution_digest,
    derive_constitution,
    read_constitution,
)
from ccai_dagster.constitution.selection import WordedStatements, reaches_cut, select_statements
from ccai_dagster.core.errors import ConsultationError
from ccai_dagster.decisions.outcomes import Ideas, Wording, WordingSource
from ccai_dagster.decisions.values import Cut

IDEAS = {1: Ideas(("honesty",), "I1"), 2: Ideas(("honesty", "care"), "I2"), 3: Ideas(("law",), "I3")}


def worded(principle: str, statements: tuple[int, ...], text: str | None, merge: str | None = None) -> WordedStatements:
    return WordedStatements(Wording(principle, principle, statements, text, None), WordingSource("source", merge))


def scores(*gac: float | None, against: list[float] | None = None, least: list[float] | None = None) -> pl.DataFrame:
    """Statements from 1 with consensus on agreement and, where a test is about them, rejection and participation."""
    return pl.DataFrame(
        {
            "statement_id": list(range(1, len(gac) + 1)),
            "gac": list(gac),
            "gac_disagree": against or [0.0] * len(gac),
            "least_participation": least or [1.0] * len(gac),
        },
        schema={"statement_id": pl.Int64} | dict.fromkeys(("gac", "gac_disagree", "least_participation"), pl.Float64),
    )


def statements(count: int) -> pl.DataFrame:
    return contracts.STATEMENTS.build(
        [
            {
                "statement_id": number,
                "author_id": None,
                "text": f"t{number}",
                "raw_text": f"t{number}",
                "rewritten": False,
                "decision_ids": [f"M{number}"],
            }
            for number in range(1, count + 1)
        ]
    )


def test_threshold_is_inclusive_and_missing_scores_never_reach_it() -> None:
    chosen = reaches_cut([1, 2, 3], {}, Cut("threshold", 0.7, 1))
    assert chosen(np.array([0.7, 0.69999, np.nan])).tolist() == [True, False, False]


@pytest.mark.parametrize(("budget", "expected"), [(1, [1]), (2, [1, 2]), (3, [1, 2, 3]), (0, [])])
def test_idea_budget_counts_distinct_ideas(budget: int, expected: list[int]) -> None:
    chosen = reaches_cut([1, 2, 3], IDEAS, Cut("ideas", 0.0, budget))(np.array([0.9, 0.8, 0.7]))
    assert [key for key, taken in zip([1, 2, 3], chosen, strict=True) if taken] == expected


def test_a_statement_nobody_split_counts_as_one_idea() -> None:
    chosen = reaches_cut([1, 4, 3], IDEAS, Cut("ideas", 0.0, 2))(np.array([0.9, 0.8, 0.7]))
    assert chosen.tolist() == [True, True, False]


def test_fates() -> None:
    table = select_statements(
        scores(0.9, 0.8, 0.7, 0.1, None),
        statements(5),
        IDEAS,
        Cut("threshold", 0.5, 9),
        ["T1"],
        [worded("P1", (1, 4), "Choose.", "G1"), worded("P2", (2,), None)],
    )
    assert not contracts.SELECTED_STATEMENTS.violations(table).height
    assert dict(table.select("statement_id", "fate").iter_rows()) == {
        1: "principle",
        2: "left out",
        3: "undecided",
        4: "below the cut",
        5: "below the cut",
    }
    assert dict(table.select("statement_id", "new_ideas").iter_rows())[2] == 1
    assert table.row(0, named=True)["decision_ids"] == ["M1", "I1", "T1", "G1", "P1"]


def test_a_principle_stays_while_one_of_its_statements_reaches_the_cut() -> None:
    given = [
        worded("P1", (3, 4), "One."),
        worded("P2", (4,), "Two."),
        worded("P3", (1,), "Three."),
        worded("P4", (2,), None),
    ]
    selected = select_statements(scores(0.9, 0.8, 0.7, 0.1), statements(4), {}, Cut("threshold", 0.5, 9), [], given)
    constitution = derive_constitution("public", selected, given)
    assert constitution.select("principle_id", "gac").rows() == [("P3", 0.9), ("P1", 0.7)]
    with pytest.raises(ConsultationError, match=r"3 statements reach .* 1 wording .*: statements 1, 2, 3\.$"):
        derive_constitution("public", selected, [worded("P2", (4,), "Two.")])
    nothing = select_statements(scores(0.9, 0.8, 0.7, 0.1), statements(4), {}, Cut("threshold", 0.95, 9), [], given)
    with pytest.raises(ConsultationError, match=r"no statement reaches the cut \(the highest consensus is 0\.900\)"):
        derive_constitution("public", nothing, given)
    twice = [worded("P5", (1,), "Same."), worded("P6", (3,), "Same.")]
    with pytest.raises(ConsultationError, match="arm 'public': principles P5 and P6 have the same text"):
        derive_constitution("public", selected, twice)


def test_a_constitution_is_empty_until_a_first_principle_is_worded() -> None:
    selected = select_statements(scores(0.9, 0.1), statements(2), {}, Cut("threshold", 0.5, 9), [], [])
    for given in ([], [worded("P1", (1,), None)]):
        constitution = derive_constitution("public", selected, given)
        assert not contracts.CONSTITUTION.violations(constitution).height
        assert constitution.is_empty() and constitution_digest(constitution) == NO_PRINCIPLES
    with pytest.raises(ConsultationError, match="no statement reaches the cut"):
        derive_constitution("public", selected.filter(~pl.col("selected")), [])
    one = derive_constitution("public", selected, [worded("P1", (1,), "Choose the kindest.")])
    assert constitution_overlap({"public": constitution, "standard": one}, 0.5).is_empty()
    three = {"public": constitution, "standard": one, "other": one}
    overlap = constitution_overlap(three, 0.5)
    assert overlap.select("arm", "other_arm", "similarity").rows() == [
        ("standard", "other", pytest.approx(1.0)),
        ("other", "standard", pytest.approx(1.0)),
    ]


def test_digest_depends_on_ids_and_texts_only() -> None:
    table = contracts.CONSTITUTION.build(
        [
            {
                "principle_id": key,
                "arm": "a",
                "text": text,
                "statement_ids": [],
                "merged_text": None,
                "gac": gac,
                "side": None,
                "decision_ids": [],
            }
            for key, text, gac in (("P1", "One.", 0.9), ("P2", "Two.", 0.8))
        ]
    )
    assert constitution_digest(table) == constitution_digest(table.reverse().with_columns(gac=pl.lit(0.1)))
    assert constitution_digest(table) != constitution_digest(table.with_columns(text=pl.lit("Other.")))


def test_reading_a_constitution(tmp_path: Path) -> None:
    path = tmp_path / "c.csv"
    path.write_text('principle_id,text,statement_ids\nS1,"Be kind, always.",3 4\nS2,Be brief.,\n')
    table = read_constitution(path, "standard")
    assert table["statement_ids"].to_list() == [[3, 4], []]
    assert not contracts.CONSTITUTION.violations(table).height


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("principle_id,text\n", "no principles"),
        ("principle_id,text\nS1,a\nS1,b\n", "S1 stands in data rows 1 and 2"),
        ("principle_id,text\nS 1,a\n", "data row 1: principle_id 'S 1' must be one word"),
        ("principle_id,text\nS1,Be kind.\nS2,b\nS3,be  KIND.\n", "principles S1 and S3 have the same text"),
        ("principle_id,text\nS1,\n", "data row 1"),
        ("principle_id,wording\nS1,a\n", "principle_id, wording"),
        ("principle_id,text,statement_ids\nS1,a,x\n", "'x'"),
        ("", "not readable"),
    ],
)
def test_bad_constitutions(tmp_path: Path, content: str, message: str) -> None:
    path = tmp_path / "c.csv"
    path.write_text(content)
    with pytest.raises(ConsultationError, match=r"c\.csv") as caught:
        read_constitution(path, "standard")
    assert message in str(caught.value)


def test_overlap_finds_the_same_principle_and_tells_different_ones_apart() -> None:
    def table(arm: str, *texts: str) -> pl.DataFrame:
        return contracts.CONSTITUTION.build(
            [
                {
                    "principle_id": f"{arm}{place}",
                    "arm": arm,
                    "text": text,
                    "statement_ids": [],
                    "merged_text": None,
                    "gac": None,
                    "side": None,
                    "decision_ids": [],
                }
                for place, text in enumerate(texts)
            ]
        )

    overlap = constitution_overlap(
        {
            "a": table("a", "Choose the response that protects privacy.", "Choose the response that is funny."),
            "b": table("b", "Choose the response that respects law.", "Choose the response that protects privacy."),
        },
        shared_from=0.9,
    )
    assert not contracts.CONSTITUTION_OVERLAP.violations(overlap).height
    assert overlap.filter(pl.col("shared")).select("principle_id", "nearest_principle_id").rows() == [
        ("a0", "b1"),
        ("b1", "a0"),
    ]
    assert overlap.filter(pl.col("principle_id") == "a1")["similarity"].item() == 0.0
