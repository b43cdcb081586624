from __future__ import annotations

from itertools import combinations

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize

from ccai_dagster.contracts import COMPARISONS, ELO_DIFFERENCES, ELO_SCORES, RATER_AGREEMENT
from ccai_dagster.evaluation.elo import elo_tables
from ccai_dagster.evaluation.findings import elo_findings
from ccai_dagster.evaluation.ratings import rater_agreement
from ccai_dagster.evaluation.scores import COUNTS, Outcomes, judge_outcomes
from ccai_dagster.statistics import bradley_terry
from ccai_dagster.statistics import bradley_terry as power
from ccai_dagster.statistics.agreement import cohens_kappa
from ccai_dagster.statistics.intervals import Z_95, bootstrap_levels
from ccai_dagster.statistics.resampling import effective_units, resampled_totals

Row = tuple[str, str, str, str, float | None, float | None, float | None]


def people(*rows: Row) -> Outcomes:
    """Rows of prompt, rater, arms, win, tie and loss."""
    names = ("quality", "prompt_id", "rater", "arm_a", "arm_b")
    schema = dict.fromkeys(names, pl.String) | dict.fromkeys(COUNTS, pl.Float64)
    table = pl.DataFrame([("helpfulness", *row) for row in rows], schema=schema, orient="row")
    return Outcomes("people", table)


def decided(n: int, lost: int, tied: int = 0, rater: str = "r1") -> list[Row]:
    """Comparisons of base and public on n prompts; base loses, ties, and wins the rest."""
    results = [(0.0, 0.0, 1.0)] * lost + [(0.0, 1.0, 0.0)] * tied + [(1.0, 0.0, 0.0)] * (n - lost - tied)
    return [(f"p{at:03}", rater, "base", "public", *each) for at, each in enumerate(results)]


def tables(*sources: Outcomes, bootstraps: int = 200) -> tuple[pl.DataFrame, pl.DataFrame]:
    scores, differences = elo_tables(sources, bootstraps, 3)
    assert ELO_SCORES.violations(scores).is_empty()
    assert ELO_DIFFERENCES.violations(differences).is_empty()
    return scores, differences


def public(*rows: Row, bootstraps: int = 200) -> dict:
    return tables(people(*rows), bootstraps=bootstraps)[1].row(0, named=True)


def test_two_arms_have_the_elo_of_their_odds_and_ties_do_not_count_as_half_a_win() -> None:
    # 7 losses and 2 wins of base, half of each imagined: odds 7.5 to 2.5, however many ties there are.
    for tied in (0, 11):
        row = public(*decided(9 + tied, 7, tied))
        assert row["difference"] == pytest.approx(400 * np.log10(3), abs=1e-6)
        assert (row["arm"], row["other_arm"], row["n"], row["n_ties"]) == ("public", "base", 9 + tied, tied)
        assert row["difference_low"] < row["difference"] < row["difference_high"]
        assert not row["separated"]
    scores, _ = tables(people(*decided(9, 7)))
    assert scores.filter(arm="base").select("elo", "elo_low", "elo_high").row(0) == (0, 0, 0)
    assert scores.filter(arm="public")["elo"].item() == pytest.approx(400 * np.log10(3), abs=1e-6)


def test_the_fit_is_the_maximum_of_the_likelihood() -> None:
    pairs = np.array([[0, 1], [0, 2], [1, 2]])
    counts = np.array([[[9.0, 4.0, 3.0], [2.5, 1.0, 6.5], [5.0, 7.0, 2.0]]])
    found = bradley_terry.fit(pairs, counts)

    def negative(values: np.ndarray) -> float:
        strengths, liking = np.array([0.0, values[0], values[1]]), values[2]
        total = 0.0
        for (one, other), (won, tied, lost) in zip(pairs, counts[0] + [0.5, 0, 0.5], strict=True):
            odds = np.exp([strengths[one], liking + (strengths[one] + strengths[other]) / 2, strengths[other]])
            total -= float(np.dot([won, tied, lost], np.log(odds / odds.sum())))
        return total

    best = minimize(negative, np.zeros(3), tol=1e-12).x
    assert [*found.strengths[0, 1:], found.tie_log[0]] == pytest.approx(list(best), abs=1e-4)


def test_five_hundred_comparisons_give_about_thirty_elo_either_way() -> None:
    assert power.smallest_difference(power.elo_error(500)) == pytest.approx(30.45, abs=0.05)
    assert power.elo_error(500, 0.75) == pytest.approx(2 * power.elo_error(500))
    detectable = power.detectable_difference(power.elo_error(500))
    assert [power.comparisons_needed(detectable * share) for share in (1.0001, -0.9999)] == [500, 501]
    row = public(*decided(500, 250), bootstraps=2000)
    assert row["difference"] == pytest.approx(0, abs=1e-6)
    assert row["difference_high"] == pytest.approx(30.5, abs=2)
    assert row["smallest_difference"] == pytest.approx(30.5, abs=1.5)
    assert row["detectable_difference"] == pytest.approx(30.5 * 2.8 / 1.96, abs=2)
    with pytest.raises(ValueError):
        power.elo_error(0)


def test_an_arm_that_always_wins_is_finite_and_marked() -> None:
    row = public(*decided(10, 10))
    assert row["separated"]
    assert row["difference"] == pytest.approx(400 * np.log10(10.5 / 0.5), abs=1e-6)
    error = 400 / np.log(10) / np.sqrt(11 * (10.5 / 11) * (0.5 / 11))
    assert row["difference_low"] == pytest.approx(row["difference"] - Z_95 * error)
    assert public(*decided(10, 8, 2))["separated"] and not public(*decided(10, 0, 10))["separated"]
    # Three people who all say the same of ten prompts are no thirty comparisons.
    three = public(*(each for rater in ("r1", "r2", "r3") for each in decided(10, 10, rater=rater)))
    alone = public(*decided(30, 30))
    assert three["difference"] == pytest.approx(alone["difference"])
    assert three["difference_low"] < alone["difference_low"] - 50


def test_three_arms_of_which_one_is_never_beaten() -> None:
    rows: list[Row] = []
    for at in range(8):
        rows += [
            (f"p{at}", "r1", "base", "public", 0.0, 0.0, 1.0),
            (f"p{at}", "r1", "base", "standard", float(at % 2), 0.0, float(1 - at % 2)),
        ]
    scores, differences = tables(people(*rows))
    marks = {row["arm"] + row["other_arm"]: row["separated"] for row in differences.to_dicts()}
    assert marks == {"publicbase": True, "publicstandard": True, "standardbase": False}
    assert scores.filter(arm="standard")["elo"].item() == pytest.approx(0, abs=1e-6)
    # public and standard were never compared with each other; base joins them.
    assert differences.filter(arm="public", other_arm="standard")["n"].item() == 0


def test_arms_that_nothing_joins_with_base_have_differences_and_no_score() -> None:
    rows = [(f"p{at}", "r1", "standard", "public", 0.0, 0.0, 1.0 if at else 0.0) for at in range(1, 8)]
    scores, differences = tables(people(*rows))
    assert scores.is_empty()
    assert differences.select("arm", "other_arm").rows() == [("public", "standard")]
    assert differences["difference"].item() > 0


def judged(*answers: float | None, status: str = "compared") -> pl.DataFrame:
    return COMPARISONS.build(
        [
            {
                "pair_id": f"c{at}",
                "quality": "helpfulness",
                "prompt_id": f"p{at:03}",
                "prompt": "?",
                "arm_a": "base",
                "arm_b": "public",
                "response_a": "x",
                "response_b": "y",
                "finished_a": True,
                "finished_b": False,
                "probability_a": answer,
                "forward_probability": answer,
                "reversed_probability": answer,
                "status": "unanswered" if answer is None else status,
                "judge": "judge",
                "judge_at_chance": True,
            }
            for at, answer in enumerate(answers)
        ]
    )


def test_a_soft_answer_counts_as_that_much_of_a_win_and_none_is_counted_and_left_out() -> None:
    scores, differences = tables(judge_outcomes(judged(0.25, 0.25, 0.25, 0.25, None)))
    row = differences.row(0, named=True)
    assert row["difference"] == pytest.approx(400 * np.log10(3.5 / 1.5), abs=1e-6)
    assert (row["n"], row["n_unanswered"], row["n_raters"], row["judge_at_chance"]) == (4, 1, 0, True)
    assert scores.filter(arm="public").select("n", "n_unanswered", "judge").row(0) == (4, 1, "judge")
    none = tables(judge_outcomes(judged(None)))[1].row(0, named=True)
    # One imagined comparison has the curvature 1/4, a standard error of 2.
    assert (none["n"], none["difference"]) == (0, 0)
    assert none["difference_high"] == pytest.approx(Z_95 * 2 * 400 / np.log(10))
    assert elo_findings(pl.DataFrame([none]), RATER_AGREEMENT.empty()) == [
        "The judge (at chance) answered no comparison of `public` and `base` for helpfulness."
    ]
    same = tables(judge_outcomes(judged(*[0.5] * 12, status="identical")))[1].row(0, named=True)
    assert (same["n_ties"], same["difference"], same["separated"]) == (12, 0, False)


@settings(max_examples=10)
@given(data=st.data())
def test_neither_rows_nor_the_order_of_arms_matter(data: st.DataObject) -> None:
    arms = ("base", "public", "standard")
    results = st.sampled_from([(1.0, 0.0, 0.0), (0.0, 1.0, 0.0), (0.0, 0.0, 1.0), (0.25, 0.0, 0.75)])
    rows = [
        (f"p{prompt}", rater, *pair, *data.draw(results))
        for prompt in range(4)
        for rater in ("r1", "r2")
        for pair in combinations(arms, 2)
    ]
    turned = [(p, r, b, a, loss, tie, win) for p, r, a, b, win, tie, loss in data.draw(st.permutations(rows))]
    for one, other in zip(tables(people(*rows), bootstraps=60), tables(people(*turned), bootstraps=60), strict=True):
        numbers = [name for name, dtype in one.schema.items() if dtype == pl.Float64]
        assert one.drop(numbers).equals(other.drop(numbers))
        assert np.allclose(one.select(numbers), other.select(numbers), atol=1e-5)


def simulated(truth: dict[str, float], prompts: int, raters: int, generator: np.random.Generator) -> Outcomes:
    """Prompts and raters have leanings of their own; a fifth of comparisons of equals are ties."""
    liking = 2 * 0.2 / 0.8
    by_prompt, by_rater = generator.normal(0, 0.5, prompts), generator.normal(0, 0.25, raters)
    rows = []
    for (one, other), prompt, rater in (
        (pair, prompt, rater) for pair in combinations(truth, 2) for prompt in range(prompts) for rater in range(raters)
    ):
        lean = by_prompt[prompt] + (by_rater[rater] if raters > 1 else 0)
        half = (truth[one] - truth[other]) / (400 / np.log(10)) / 2 + (lean if one == "base" else 0)
        odds = np.array([np.exp(half), liking, np.exp(-half)])
        result = np.eye(3)[generator.choice(3, p=odds / odds.sum())]
        rows.append((f"p{prompt:03}", f"r{rater}", one, other, *map(float, result)))
    return people(*rows)


TRUTH = {"base": 0.0, "public": 90.0, "standard": -60.0}


def test_intervals_cover_known_strengths_about_as_often_as_they_say() -> None:
    generator = np.random.default_rng(5)
    covered = []
    for trial in range(150):
        _, differences = elo_tables([simulated(TRUTH, 60, 1, generator)], 200, trial)
        covered += [
            row["difference_low"] <= TRUTH[row["arm"]] - TRUTH[row["other_arm"]] <= row["difference_high"]
            for row in differences.to_dicts()
        ]
    assert 0.91 <= np.mean(covered) <= 0.985
    small = [
        row["difference_low"] <= TRUTH[row["arm"]] - TRUTH[row["other_arm"]] <= row["difference_high"]
        for trial in range(40)
        for row in elo_tables([simulated(TRUTH, 12, 6, generator)], 200, trial)[1].to_dicts()
    ]
    assert np.mean(small) >= 0.91


def test_prompts_and_raters_are_resampled_and_single_ratings_are_not() -> None:
    ones = np.ones((6, 1))
    prompts, raters = ["p1", "p1", "p2", "p2", "p3", "p3"], [("r1",), ("r2",)] * 3
    both = resampled_totals(ones, prompts, raters, bootstraps=500, seed=1)[:, 0]
    # Every prompt has both raters, so three draws of prompts times two of raters are always six.
    assert set(both) == {6.0}
    single = resampled_totals(ones[:2], ["p1", "p1"], [("r1",), ("r1",)], bootstraps=50, seed=1)
    assert set(single[:, 0]) == {2.0}
    uneven = resampled_totals(ones[:3], prompts[:3], raters[:3], bootstraps=500, seed=1)[:, 0]
    assert set(uneven) == {0.0, 2.0, 3.0, 4.0}
    assert effective_units(1.0, 100, 0.0, 5) == pytest.approx(100)
    assert effective_units(0.0, 100, 1.0, 5) == pytest.approx(5)
    assert effective_units(3.0, 40) == 40
    assert (bootstrap_levels(6)[0], bootstrap_levels(1)[0]) == (pytest.approx(0.00243, abs=1e-5), 0.025)


def rated(*rows: tuple[int, str, str]) -> pl.DataFrame:
    """Ratings of comparison, rater and preferred arm, shown in the order public, base."""
    words = {"public": "1", "base": "2", "tie": "tie"}
    return pl.DataFrame(
        [(f"c{at}", rater, "helpfulness", f"p{at:03}", "public", "base", words[arm], "-") for at, rater, arm in rows],
        schema=["pair_id", "rater", "quality", "prompt_id", "arm_1", "arm_2", "rating", "texts_digest"],
        orient="row",
    )


def test_agreement_of_the_judge_with_people_and_of_people_with_each_other() -> None:
    comparisons = judged(*[0.9] * 10, *[0.2] * 10, 0.5)
    said = [(at, "r1", "base" if at < 8 or at >= 15 else "public") for at in range(20)]
    ratings = rated(*said, (20, "r1", "public"), (0, "r2", "base"), (1, "r2", "public"), (2, "r2", "tie"))
    table = rater_agreement(comparisons, ratings, 500, 1)
    assert RATER_AGREEMENT.violations(table).is_empty()
    judge = table.filter(between="feedback model and people").row(0, named=True)
    # r1 agrees on 8 + 5 of 20, r2 on 1 of 2; r1's answer where the judge ties and r2's tie are left out.
    assert (judge["n"], judge["n_undecided"], judge["n_raters"]) == (22, 2, 2)
    assert judge["agreement"] == pytest.approx(14 / 22)
    assert judge["kappa"] == pytest.approx(float(cohens_kappa(np.array([[9, 3], [5, 5]]))))
    assert -1 <= judge["kappa_low"] < judge["kappa"] < judge["kappa_high"] <= 1
    assert judge["judge_at_chance"]
    among = table.filter(between="people").row(0, named=True)
    assert (among["n"], among["n_undecided"], among["agreement"]) == (2, 1, 0.5)
    assert rater_agreement(comparisons, ratings.head(0), 500, 1).is_empty()


def test_kappa_where_it_is_not_defined() -> None:
    always = rater_agreement(judged(*[0.9] * 8), rated(*((at, "r1", "base") for at in range(8))), 200, 1)
    assert always.select("agreement", "kappa", "kappa_low").row(0) == (1.0, None, None)
    alike = rater_agreement(
        judged(*[0.9] * 8, *[0.1] * 8), rated(*((at, "r1", "base" if at < 8 else "public") for at in range(16))), 200, 1
    ).row(0, named=True)
    assert (alike["kappa"], alike["kappa_high"]) == (1.0, 1.0)
    assert 0.5 < alike["kappa_low"] < 0.7  # Wilson's 0.806 of 16 of 16, on the scale of kappa


def test_findings_say_who_is_preferred_what_could_be_seen_and_by_whom() -> None:
    _, differences = tables(people(*decided(100, 80)), judge_outcomes(judged(*[0.1, 0.9] * 20)))
    agreement = rater_agreement(judged(0.9, 0.1), rated((0, "r1", "base"), (1, "r1", "base")), 100, 1)
    text = " ".join(elo_findings(differences, agreement))
    lost = tables(people(*decided(100, 20)))[1]
    assert "people prefer `base` to `public` more often than not (Elo +2" in elo_findings(lost, agreement)[0]
    assert "For helpfulness people prefer `public` to `base` more often than not (Elo +2" in text
    assert (
        "For helpfulness the preferences of the judge (at chance) do not tell apart: `public` and `base` (Elo +0"
        in text
    )
    assert "With 40 comparisons like these a difference under" in text
    assert "Only one person rated" in text
    assert "name the same response in 50% of 2 cases on responses of `base` and `public`" in text
