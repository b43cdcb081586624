from __future__ import annotations

from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import norm, t

from ccai_dagster.contracts import (
    ADHERENCE,
    ADHERENCE_SCORES,
    CONSTITUTION,
    GAC_SCORES,
    GROUP_ADHERENCE,
    JUDGED_EXAMPLES,
    PROMPTS,
)
from ccai_dagster.evaluation.corrected_adherence import (
    ALL_PRINCIPLES,
    adherence_scores,
    corrected_mean,
    group_adherence,
)
from ccai_dagster.statistics.intervals import clustered_mean, sign_flip_p_value, student_interval

LABELS = np.array([1, 1, 0, 1, 1, 1, 1, 1, 0, 1, 1, 1], float)
LABELS_JUDGED = np.array([0.57, 0.49, 0.16, 0.55, 0.72, 0.58, 0.82, 0.59, 0.38, 0.93, 0.73, 0.52])
JUDGED = np.array(
    [
        0.51,
        0.66,
        0.94,
        0.5,
        0.5,
        0.75,
        0.37,
        0.49,
        0.73,
        0.67,
        0.57,
        0.68,
        0.0,
        0.75,
        0.36,
        0.22,
        0.61,
        0.69,
        0.46,
        0.33,
    ]
)
APART = np.array([f"a{n}" for n in range(20)]), np.array([f"b{n}" for n in range(12)])


@pytest.mark.parametrize(
    ("weight", "value", "low", "high"),
    [(None, 0.79743225, 0.62255176, 0.97231275), (1.0, 0.78616667, 0.60978587, 0.96254746)],
)
def test_a_prompt_each_gives_the_figures_of_ppi_python(
    weight: float | None, value: float, low: float, high: float
) -> None:
    # The expected figures were computed with ppi_py.ppi_mean_ci 0.2.3, whose interval is normal.
    found = corrected_mean(JUDGED, APART[0], LABELS, LABELS_JUDGED, APART[1], weight)
    assert found.value == pytest.approx(value)
    assert found.weight == pytest.approx(weight or 0.7611536)
    wider = t.ppf(0.975, 11) / norm.ppf(0.975) * np.sqrt(32 / 31)
    half = (high - low) / 2 * wider
    # The judge was wrong on one prompt, by a little: as far as with two more on which it is wholly wrong.
    errors = np.append(LABELS - found.weight * LABELS_JUDGED, [-found.weight, 1])
    terms = found.weight * JUDGED, errors
    centre = sum(term.mean() for term in terms)
    reach = t.ppf(0.975, 11) * np.sqrt(
        34 / 33 * sum(np.square(each - each.mean()).sum() / len(each) ** 2 for each in terms)
    )
    assert found.interval == pytest.approx(
        (min(value - half, centre - reach), min(1, max(value + half, centre + reach))), abs=1e-7
    )


def test_a_prompt_in_both_counts_once() -> None:
    shared = np.array([f"p{n % 6}" for n in range(12)])
    judged = np.tile(LABELS_JUDGED[:6], 2)
    together = corrected_mean(judged, shared, LABELS, LABELS_JUDGED, shared, 1.0)
    errors = LABELS - LABELS_JUDGED
    deviations = (judged - judged.mean()) / 12 + (errors - errors.mean()) / 12
    totals = np.array([deviations[shared == f"p{n}"].sum() for n in range(6)])
    half = t.ppf(0.975, 5) * np.sqrt(6 / 5 * np.square(totals).sum())
    value = judged.mean() + errors.mean()
    # One prompt on which the judge was wrong, and two judged below one half: two prompts more of either kind, of two
    # responses each as the others.
    seen, wrong = np.append(judged, [0, 0, 1, 1]), np.append(errors, [-1, -1, 1, 1])
    deviations = (judged - seen.mean()) / 16 + (errors - wrong.mean()) / 16
    totals = np.array([deviations[shared == f"p{n}"].sum() for n in range(6)])
    added = [end - seen.mean() for end in (0, 1)] + [end - wrong.mean() for end in (-1, 1)]
    totals = np.append(totals, 2 * np.array(added) / 16)
    reach, centre = t.ppf(0.975, 5) * np.sqrt(10 / 9 * np.square(totals).sum()), seen.mean() + wrong.mean()
    low, high = min(value - half, centre - reach), max(value + half, centre + reach)
    assert together.interval == pytest.approx((max(0, low), min(1, high)))


def test_intervals_cover_the_truth_where_the_judge_alone_does_not() -> None:
    # Forty prompts of four responses each, whose share of satisfied ones differs; ten prompts are labelled.
    generator, truth, covered, alone = np.random.default_rng(5), 0.6, 0, 0
    prompts = np.repeat(np.arange(40), 4)
    for _ in range(300):
        share = np.repeat(generator.choice([0.4, 0.8], 40), 4)
        real = (generator.random(160) < share).astype(float)
        said = np.clip(0.5 + 0.4 * real + 0.05 * generator.standard_normal(160), 0, 1)
        found = corrected_mean(said, prompts, real[:40], said[:40], prompts[:40])
        covered += found.interval[0] <= truth <= found.interval[1]
        naive = clustered_mean(said, prompts)[1]
        assert naive is not None
        alone += naive[0] <= truth <= naive[1]
    assert 0.925 <= covered / 300 <= 0.985
    assert alone / 300 < 0.1


@pytest.mark.parametrize(
    ("truth", "right", "labels", "responses"),
    [(0.95, 0.98, 10, 10), (0.98, 0.98, 10, 10), (0.98, 0.98, 20, 10), (0.9, 0.98, 20, 30), (0.98, 0.995, 10, 30)],
)
def test_few_labels_without_an_error_of_the_judge_make_nobody_certain(
    truth: float, right: float, labels: int, responses: int
) -> None:
    generator, covered, draws = np.random.default_rng(7), 0, 200
    prompts = np.arange(labels + responses)
    for _ in range(draws):
        real = generator.random(labels + responses) < truth
        said = np.where(real == (generator.random(labels + responses) < right), 0.99, 0.01)
        found = corrected_mean(
            said[labels:], prompts[labels:], real[:labels].astype(float), said[:labels], prompts[:labels], 1.0
        )
        assert found.interval[0] <= found.value <= found.interval[1]
        covered += found.interval[0] <= truth <= found.interval[1]
    # Without the prompts at the ends it was 0.26 to 0.97.
    assert covered / draws >= 0.93
    certain = corrected_mean(
        np.ones(30),
        np.arange(30),
        np.array([1.0] * 8 + [0.0] * 2),
        np.array([1.0] * 8 + [0.0] * 2),
        np.arange(30, 40),
        1.0,
    )
    assert certain.value == certain.interval[1] == 1 and certain.interval[0] < 0.8


@pytest.mark.parametrize(
    ("truth", "yes", "no", "labels", "responses"),
    [(0.95, 0.8, 0.8, 100, 30), (0.95, 0.5, 1.0, 100, 30), (0.9, 0.9, 0.9, 40, 100), (0.8, 1.0, 0.0, 40, 100)],
)
def test_few_labels_of_one_kind_beside_a_judge_that_knows_little_make_nobody_certain(
    truth: float, yes: float, no: float, labels: int, responses: int
) -> None:
    """The judge is right in these shares of what satisfies a principle and of what does not."""
    generator, covered, draws = np.random.default_rng(7), 0, 300
    prompts = np.arange(labels + responses)
    for _ in range(draws):
        real = generator.random(labels + responses) < truth
        right = generator.random(labels + responses) < np.where(real, yes, no)
        said = np.where(real == right, 0.99, 0.01)
        known = real[:labels].astype(float)
        found = corrected_mean(said[labels:], prompts[labels:], known, said[:labels], prompts[:labels])
        covered += found.interval[0] <= truth <= found.interval[1]
    # Without the prompts at the ends it was 0.88 to 0.91.
    assert covered / draws >= 0.93


def test_a_judge_that_knows_nothing_is_left_out() -> None:
    flat = corrected_mean(np.full(20, 0.5), APART[0], LABELS, np.full(12, 0.5), APART[1])
    assert (flat.weight, flat.value) == (0.0, pytest.approx(10 / 12))
    with pytest.raises(ValueError, match="one prompt"):
        corrected_mean(JUDGED, APART[0], LABELS, LABELS_JUDGED, np.full(12, "one"), 1.0)
    with pytest.raises(ValueError, match="one prompt"):
        corrected_mean(JUDGED, np.full(20, "one"), LABELS, LABELS_JUDGED, APART[1], 1.0)


def test_clustered_means_by_hand() -> None:
    mean, interval = clustered_mean(np.array([0.0, 1, 1, 2]), np.array(["a", "a", "b", "b"]))
    assert mean == 1 and interval == pytest.approx((1 - 0.5 * 12.706205, 1 + 0.5 * 12.706205), abs=1e-5)
    assert clustered_mean(np.array([0.0, 1]), np.array(["a", "b"]), np.array([1.0, 3]))[0] == 0.75
    assert clustered_mean(np.array([0.3]), np.array(["a"])) == (0.3, None)
    assert student_interval(0.0, np.array([0.1, -0.1]), 0) is None


def test_tests_by_hand() -> None:
    assert sign_flip_p_value(np.array([1.0, 1, 1]), np.array(["a", "b", "c"]), 0) == 2 / 8
    assert sign_flip_p_value(np.array([1.0, 2, -1]), np.array(["a", "b", "c"]), 0) == 6 / 8
    assert sign_flip_p_value(np.zeros(3), np.array(["a", "b", "c"]), 0) == 1
    many = np.array([f"c{n}" for n in range(30)])
    assert sign_flip_p_value(np.ones(30), many, 0) == 1 / 10_001


@given(st.lists(st.tuples(st.floats(-1, 1), st.sampled_from("abcdefg")), min_size=1, max_size=30), st.randoms())
def test_neither_depends_on_the_order_of_rows(rows: list[tuple[float, str]], random: Any) -> None:
    shuffled = list(rows)
    random.shuffle(shuffled)
    one, other = (
        (np.array([value for value, _ in each]), np.array([name for _, name in each])) for each in (rows, shuffled)
    )
    assert clustered_mean(*one)[0] == pytest.approx(clustered_mean(*other)[0], abs=1e-12)
    assert sign_flip_p_value(*one, 3) == sign_flip_p_value(*other, 3)
    assert sign_flip_p_value(*one, 3) >= 2 / 2 ** len(set(one[1])) or len(set(one[1])) == 1


def judged(arm: str, rows: list[tuple[str, str, float | None]], constitution: str = "public") -> pl.DataFrame:
    return ADHERENCE.build(
        [
            {
                "arm": arm,
                "constitution_arm": constitution,
                "principle_id": principle,
                "prompt_id": prompt,
                "response": "r",
                "finished": True,
                "probability": probability,
                "judge_at_chance": True,
            }
            for principle, prompt, probability in rows
        ]
    )


def constitution(arm: str, sources: dict[str, list[int]]) -> pl.DataFrame:
    return CONSTITUTION.build(
        [
            {
                "principle_id": name,
                "arm": arm,
                "text": name,
                "statement_ids": ids,
                "merged_text": None,
                "gac": None,
                "side": None,
                "decision_ids": [],
            }
            for name, ids in sources.items()
        ]
    )


PUBLIC = {"public": constitution("public", {"P1": [7], "P2": [8, 9], "P3": [], "P4": []})}
PROMPT_ROWS = PROMPTS.build(
    [
        {
            "prompt_id": f"h{n}",
            "text": f"text {n}",
            "purpose": "held_out",
            "themes": [],
            "relevant_principles": ["public/P1", "public/P2", *(["public/P4"] if n == 0 else [])],
        }
        for n in range(8)
    ]
)


def examples(principle: str, labels: list[bool], judged_as: float, prompt: str = "text") -> pl.DataFrame:
    return JUDGED_EXAMPLES.build(
        [
            {
                "example_id": f"{principle}-{n}",
                "constitution_arm": "public",
                "principle_id": principle,
                "prompt": f"{prompt} {n}",
                "satisfied": label,
                "probability": judged_as,
                "judge_at_chance": True,
            }
            for n, label in enumerate(labels)
        ]
    )


def scores(labelled: pl.DataFrame) -> dict[tuple[str, str], dict[str, Any]]:
    base = [("P1", f"h{n}", 0.4 + 0.05 * n) for n in range(8)] + [("P2", f"h{n}", None) for n in range(2)]
    after = [("P1", f"h{n}", 0.5 + 0.05 * n) for n in range(8)] + [("P2", f"h{n}", None) for n in range(2)]
    frame = adherence_scores(
        {"base": judged("base", base), "public": judged("public", after)}, labelled, PROMPT_ROWS, PUBLIC, 200, 1
    )
    assert ADHERENCE_SCORES.violations(frame).is_empty()
    return {(row["principle_id"], row["arm"]): row for row in frame.iter_rows(named=True)}


def test_every_principle_is_listed_with_why_it_has_no_figure() -> None:
    found = scores(JUDGED_EXAMPLES.empty())
    assert len(found) == 5 * 2
    status = {name: found[name, "public"]["status"] for name in ("P1", "P2", "P3", "P4", ALL_PRINCIPLES)}
    assert status == {
        "P1": "measured",
        "P2": "unanswered",
        "P3": "no relevant prompt",
        "P4": "not drawn",
        ALL_PRINCIPLES: "measured",
    }
    relevant = [found[name, "base"]["n_relevant"] for name in ("P1", "P3", "P4", ALL_PRINCIPLES)]
    assert relevant == [8, 0, 1, 8]
    assert (found["P2", "base"]["n"], found["P2", "base"]["n_unanswered"]) == (2, 2)
    assert found["P3", "public"]["adherence"] is None and found["P2", "public"]["lift"] is None


def test_without_labels_the_judges_figure_stands_and_is_marked() -> None:
    row = scores(JUDGED_EXAMPLES.empty())["P1", "public"]
    assert (row["labels"], row["n_labels"], row["judge_weight"]) == ("none", 0, None)
    assert row["adherence"] == row["judged"] == pytest.approx(0.675)
    assert (row["low"], row["high"]) == (row["judged_low"], row["judged_high"])
    assert row["lift"] == pytest.approx(0.1)
    assert row["lift_low"] < 0.1 < row["lift_high"]
    assert scores(JUDGED_EXAMPLES.empty())["P1", "base"]["lift"] is None


def test_own_labels_correct_a_principle_and_those_of_others_shift_it() -> None:
    own = examples("P1", [True] * 9 + [False] * 3, 0.4)
    row = scores(own)["P1", "public"]
    # A judge that says the same of all examples gets no weight: what people found stands.
    assert (row["labels"], row["n_labels"], row["judge_weight"]) == ("own", 12, 0.0)
    assert row["adherence"] == pytest.approx(0.75)
    other = scores(examples("P2", [True] * 6 + [False] * 6, 0.4))["P1", "public"]
    # Mean error of the judge: 0.5 - 0.4.
    assert (other["labels"], other["judge_weight"]) == ("pooled", 1.0)
    assert other["adherence"] == pytest.approx(0.675 + 0.1)
    few = scores(examples("P1", [True, False] * 4, 0.4))["P1", "public"]
    one_kind = scores(examples("P1", [True] * 12, 0.4))["P1", "public"]
    assert few["labels"] == one_kind["labels"] == "none"


def test_few_prompts_are_not_corrected() -> None:
    # A principle judged on five prompts would get the interval of the labels alone.
    table = judged("base", [("P1", f"h{n}", 0.4 + 0.05 * n) for n in range(5)])
    labelled = examples("P2", [True] * 6 + [False] * 6, 0.4)
    frame = adherence_scores({"base": table}, labelled, PROMPT_ROWS, PUBLIC, 200, 1)
    row = frame.filter(principle_id="P1").row(0, named=True)
    assert (row["labels"], row["n_labels"]) == ("none", 0)
    assert row["adherence"] == row["judged"] == pytest.approx(0.5)
    assert (row["low"], row["high"]) == (row["judged_low"], row["judged_high"])


def test_groups_weigh_principles_by_their_agreement() -> None:
    gac = GAC_SCORES.build(
        [
            {
                "statement_id": key,
                "n_votes": 9,
                "n_agree": 5,
                "n_disagree": 4,
                "n_pass": 0,
                "gac": 0.1,
                "gac_if_unanimous": None,
                "gac_disagree": 0.1,
                "least_participation": 1.0,
                "polarization_index": None,
                "adjusted_polarization_index": None,
                "group_ids": [0, 1],
                "group_votes": [5, 4],
                "group_agreement": shares,
                "group_rejection": [0.0, 0.0],
                "published_gac": None,
            }
            for key, shares in ((7, [0.9, 0.2]), (8, [0.2, 0.8]), (9, [0.4, 1.0]))
        ]
    )
    table = judged("base", [(name, f"h{n}", value) for name, value in (("P1", 0.8), ("P2", 0.2)) for n in range(3)])
    found = group_adherence({"base": table}, PUBLIC, gac)
    assert GROUP_ADHERENCE.violations(found).is_empty()
    turned = {"public": PUBLIC["public"].with_columns(pl.col("statement_ids").list.reverse())}
    assert group_adherence({"base": table}, turned, gac[::-1]).equals(found)
    # P2's support is the mean over its statements: 0.3 and 0.9.
    expected = [(0.9 * 0.8 + 0.3 * 0.2) / 1.2, (0.2 * 0.8 + 0.9 * 0.2) / 1.1]
    assert found["value"].to_list() == pytest.approx(expected)
    assert found["worst"].to_list() == [False, True]
    nobody = group_adherence({"base": table}, {"public": constitution("public", {"P1": [], "P2": []})}, gac)
    assert nobody.is_empty()

    # Of many numbers the last digit of a sum depends on their order, which threads must not decide.
    drawn = np.random.default_rng(3).random((60, 3)).round(3).tolist()
    asked = [(f"M{n}", f"h{n % 20}", share) for n, (share, _, _) in enumerate(drawn)]
    table = judged("base", asked)
    arms = {"public": constitution("public", {f"M{n}": [n] for n in range(60)})}
    gac = pl.concat(
        [
            gac[:1].with_columns(statement_id=pl.lit(n, pl.Int64), group_agreement=pl.lit(pl.Series([shares])))
            for n, (_, *shares) in enumerate(drawn)
        ]
    )
    first = group_adherence({"base": table}, arms, gac)
    assert all(group_adherence({"base": table}, arms, gac).equals(first) for _ in range(12))
