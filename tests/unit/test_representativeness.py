"""Who took part beside the public: weights, what is told of it, and what hangs on it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ccai_dagster.consultation.people import DemographicQuestion
from ccai_dagster.contracts import PARTICIPANT_DEMOGRAPHICS, SAMPLE_REPRESENTATIVENESS, WEIGHTED_CONSENSUS
from ccai_dagster.core.errors import ConsultationError
from ccai_dagster.deliberation.importing.columns import SourceFile
from ccai_dagster.deliberation.importing.demographics import read_demographics
from ccai_dagster.deliberation.representativeness import (
    effective_number,
    raking_weights,
    sample_representativeness,
    weighted_consensus,
)
from ccai_dagster.deliberation.votes import Procedure, vote_matrix
from ccai_dagster.pages.report_sample import who_took_part

AGE = {"young": 0.5, "old": 0.5}
REGION = {"north": 0.2, "south": 0.8}
Told = dict[int, dict[str, str]]


def table(told: Told) -> pl.DataFrame:
    rows = [
        {"participant_id": who, "question": name, "answer": answer}
        for who, own in told.items()
        for name, answer in own.items()
    ]
    return PARTICIPANT_DEMOGRAPHICS.build(rows)


def people(**numbers: int) -> Told:
    """So many of each age."""
    ages = [age for age, number in numbers.items() for _ in range(number)]
    return {who: {"age": age} for who, age in enumerate(ages)}


def raked(told: Told, targets: dict[str, dict[str, float]], silent: int = 0) -> np.ndarray:
    return raking_weights(table(told), np.arange(len(told) + silent), targets)


def test_weights_of_one_question_are_target_by_share() -> None:
    weights = raked(people(young=30, old=10), {"age": AGE})
    assert weights.tolist() == pytest.approx([2 / 3] * 30 + [2.0] * 10)
    assert effective_number(weights) == pytest.approx(30)


def test_whoever_did_not_answer_counts_as_everybody() -> None:
    weights = raked(people(young=30, old=10), {"age": AGE}, silent=5)
    assert weights[-5:].tolist() == pytest.approx([1.0] * 5) and weights.mean() == pytest.approx(1)


def test_an_answer_that_nobody_gave_leaves_its_target_to_the_others() -> None:
    weights = raked(people(young=10, old=10), {"age": {"young": 0.2, "old": 0.6, "older": 0.2}})
    assert weights.tolist() == pytest.approx([0.5] * 10 + [1.5] * 10)


def test_answers_that_are_not_told_are_weighed_as_one_since_their_weights_would_tell_them() -> None:
    told = people(a=184, b=111, c=2)
    weights = raked(told, {"age": {"a": 0.25, "b": 0.45, "c": 0.3}})
    # b is hidden with c; of 297 people these 113 should be three quarters.
    assert weights[[0, 184, 295]].tolist() == pytest.approx([0.25 * 297 / 184, *[0.75 * 297 / 113] * 2])
    assert (raked(people(young=9, old=3), {"age": AGE}) == 1).all()


@settings(max_examples=40, deadline=None)
@given(
    st.lists(st.tuples(st.sampled_from(["young", "old"]), st.sampled_from(["north", "south"])), max_size=60),
    st.floats(0.05, 0.95),
    st.floats(0.05, 0.95),
)
def test_all_targets_are_met_at_once_where_every_combination_came(
    further: list[tuple[str, str]], young: float, north: float
) -> None:
    came = [(age, region) for age in AGE for region in REGION] * 3 + further
    targets = {"age": {"young": young, "old": 1 - young}, "region": {"north": north, "south": 1 - north}}
    weights = raked({who: {"age": age, "region": region} for who, (age, region) in enumerate(came)}, targets)
    assert (weights > 0).all() and weights.mean() == pytest.approx(1)
    for place, shares in enumerate(targets.values()):
        for answer, share in shares.items():
            own = np.array([each[place] == answer for each in came])
            assert weights[own].sum() / weights.sum() == pytest.approx(share, abs=1e-6)


def test_targets_that_those_who_came_cannot_meet_are_refused() -> None:
    told = {who: {"age": "young", "region": "north"} for who in range(6)}
    told |= {who: {"age": "old", "region": "south"} for who in range(6, 12)}
    with pytest.raises(ConsultationError, match="age, region are met together"):
        raked(told, {"age": AGE, "region": REGION})


def representativeness(told: Told, answers: list[str], targets: dict[str, float] | None = None) -> pl.DataFrame:
    aims = {"age": targets} if targets else {}
    weights = raked(told, aims) if targets else None
    made = sample_representativeness(table(told), np.arange(len(told)), {"age": answers}, aims, weights)
    assert SAMPLE_REPRESENTATIVENESS.violations(made).is_empty()
    return made


def test_answers_stand_beside_the_public_with_intervals_and_weights() -> None:
    made = representativeness(people(young=30, old=10), ["young", "old"], AGE)
    assert made["n"].to_list() == [30, 10] and made["n_told"].to_list() == [40, 40]
    assert made["difference"].to_list() == pytest.approx([0.25, -0.25])
    assert made["weight"].to_list() == pytest.approx([2 / 3, 2.0])
    assert made["n_effective"].to_list() == pytest.approx([30, 30])
    assert made["low"][1] == pytest.approx(0.1419, abs=1e-4)


@pytest.mark.parametrize(
    ("numbers", "shown"),
    [
        ({"a": 20, "b": 9, "c": 5}, [20, 9, 5]),
        ({"a": 20, "b": 9, "c": 4}, [20, None, None]),
        ({"a": 20, "b": 3, "c": 2}, [20, None, None]),
        ({"a": 20, "b": 2, "c": 2}, [None, None, None]),
        ({"a": 20, "b": 9, "c": 0}, [20, 9, 0]),
        ({"a": 20, "b": 4, "c": 0}, [None, None, 0]),
    ],
)
def test_what_few_people_answered_is_not_told_nor_what_gives_it_away(
    numbers: dict[str, int], shown: list[int | None]
) -> None:
    made = representativeness(people(**numbers), ["a", "b", "c"])
    assert made["n"].to_list() == shown
    assert made.filter(pl.col("n").is_null())["share"].null_count() == shown.count(None)


def test_of_a_question_that_nobody_answered_there_are_no_shares() -> None:
    made = sample_representativeness(table({}), np.arange(6), {"age": ["young", "old"]}, {"age": AGE}, np.ones(6))
    assert SAMPLE_REPRESENTATIVENESS.violations(made).is_empty()
    assert made.select("n", "n_told", "n_people", "share", "low").rows() == [(0, 0, 6, None, None)] * 2
    (asked,) = who_took_part(made)
    assert asked.told == "0 of 6 people whose votes count answered."
    assert asked.rows == [("young", "nobody answered", "50%"), ("old", "nobody answered", "50%")]


def test_a_weight_of_two_is_as_if_somebody_had_voted_twice() -> None:
    rng = np.random.default_rng(3)
    cast = rng.integers(-1, 2, (12, 5))

    def consensus(order: list[int], weights: list[float]) -> pl.DataFrame:
        votes = pl.DataFrame(
            [(who, key, int(cast[person, key])) for who, person in enumerate(order) for key in range(5)],
            {"participant_id": pl.Int64, "statement_id": pl.Int64, "vote": pl.Int8},
            orient="row",
        )
        groups = pl.DataFrame(
            [(who, int(person >= 6), 0.0, 0.0) for who, person in enumerate(order)],
            {"participant_id": pl.Int64, "group_id": pl.Int64, "x": pl.Float64, "y": pl.Float64},
            orient="row",
        )
        matrix = vote_matrix(votes, groups["participant_id"], pl.Series(range(5)))
        procedure = Procedure("default", "zero", 2, "laplace", "product", 1)
        return weighted_consensus(
            matrix, groups, np.array(weights), procedure, lambda gac, against, least: np.asarray(gac >= 0.1)
        )

    weighted = consensus(list(range(12)), [2.0, 1.0] * 6)
    twice = consensus([*range(12), *range(0, 12, 2)], [1.0] * 18)
    assert WEIGHTED_CONSENSUS.violations(weighted).is_empty()
    assert weighted["gac_weighted"].to_list() == pytest.approx(twice["gac"].to_list())
    assert weighted["selected_weighted"].to_list() == twice["selected"].to_list()
    assert weighted["gac"].to_list() == pytest.approx(consensus(list(range(12)), [1.0] * 12)["gac"].to_list())
    assert weighted["gac"].to_list() != pytest.approx(weighted["gac_weighted"].to_list())


def read(folder: Path, text: str, of_portal: bool = False) -> pl.DataFrame:
    path = folder / "participant-demographics.csv"
    path.write_text(text)
    return read_demographics(SourceFile(str(path), path), {"age_group": ["young", "old"]}, [1, 2, 3], of_portal)


def test_a_panels_file_is_read_by_the_questions_of_the_consultation(tmp_path: Path) -> None:
    made = read(tmp_path, "Participant ID;Age group;name\n2;old;Ann\n1;;Bob\n3; young ;Eve\n9;old;Joe\n")
    assert PARTICIPANT_DEMOGRAPHICS.violations(made).is_empty()
    assert made.rows() == [(2, "age_group", "old"), (3, "age_group", "young")]


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("participant,region\n1,north\n", r"missing column\(s\) age-group"),
        ("participant,age group\n1,old\n2,ancient\n", "data row 2: age_group 'ancient' is none of the answers"),
        ("participant,age group\n1,old\n1,young\n", "data row 2: participant '1' stands there twice"),
        ("participant,age group\nann@example.org,old\n", "data row 1: participant 'ann@example.org' must be"),
        ("participant,age group\n17,old\n", "nobody in it voted"),
    ],
    ids=["column", "answer", "twice", "address", "strangers"],
)
def test_a_panels_file_that_cannot_be_right_is_refused(tmp_path: Path, text: str, told: str) -> None:
    with pytest.raises(ConsultationError, match=told):
        read(tmp_path, text)


def test_in_the_portal_those_who_answered_need_not_have_voted_nor_answered_everything(tmp_path: Path) -> None:
    assert read(tmp_path, "participant,age_group\n17,old\n", of_portal=True).equals(PARTICIPANT_DEMOGRAPHICS.empty())
    assert read(tmp_path, "participant,region\n1,north\n", of_portal=True).equals(PARTICIPANT_DEMOGRAPHICS.empty())


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"targets": {"young": 0.5}}, "name each of the answers"),
        ({"targets": {"young": 0.5, "old": 0.4}}, "they make 0.9 together"),
        ({"answers": ["young", "young"]}, "one stands there twice"),
    ],
)
def test_targets_of_a_question_are_whole(change: dict[str, object], told: str) -> None:
    question = {"name": "age", "question": "Age?", "answers": ["young", "old"], "targets": AGE}
    with pytest.raises(ValueError, match=told):
        DemographicQuestion.model_validate(question | change)
