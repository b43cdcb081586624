from __future__ import annotations

from typing import Any

import polars as pl
import pytest

from ccai_dagster.contracts import ADHERENCE, ADHERENCE_SCORES, BENCHMARK_ITEMS, ELO_SCORES, EVAL_SCORES
from ccai_dagster.core.errors import ConsultationError
from ccai_dagster.evaluation.findings import findings, regressions
from ccai_dagster.evaluation.scores import own_scores, score_table
from ccai_dagster.statistics.intervals import Z_95, wilson_interval


def items(
    values: list[float], metric: str = "accuracy", per_cluster: int = 1, unanswered: int = 0, cut: int = 0
) -> pl.DataFrame:
    return BENCHMARK_ITEMS.build(
        [
            {
                "benchmark": "know",
                "metric": metric,
                "item_id": f"i{number:03}",
                "cluster": f"t{number // per_cluster}",
                "category": ("even", "odd")[number % 2],
                "value": value,
                "answered": number >= unanswered,
                "finished": number >= cut,
                "output": "A",
            }
            for number, value in enumerate(values)
        ]
    )


def adherence(arm: str, **probabilities: float | None) -> pl.DataFrame:
    return ADHERENCE.build(
        [
            {
                "arm": arm,
                "constitution_arm": name.split("_")[0],
                "principle_id": "P1",
                "prompt_id": name.split("_")[1],
                "response": "x",
                "finished": True,
                "probability": value,
                "judge_at_chance": True,
            }
            for name, value in probabilities.items()
        ]
    )


def elo_rows(source: str = "feedback model", **scores: tuple[float, float, float]) -> pl.DataFrame:
    return ELO_SCORES.build(
        [
            {
                "arm": arm,
                "quality": "helpfulness",
                "source": source,
                "n": 20,
                "n_unanswered": 1,
                "n_ties": 0,
                "n_raters": 2 if source == "people" else 0,
                "elo": value,
                "elo_low": low,
                "elo_high": high,
                "separated": False,
                "judge": "judge",
                "judge_at_chance": source != "people",
            }
            for arm, (value, low, high) in scores.items()
        ]
    )


ELO = elo_rows(base=(0, 0, 0), public=(50, -20, 110), standard=(90, 30, 150))
ADHERENCE_TABLES = {
    "base": adherence("base", public_h1=0.2, public_h2=0.4, standard_h1=0.5),
    "public": adherence("public", public_h1=0.6, public_h2=0.8, standard_h1=None),
    "standard": adherence("standard", public_h1=0.3, public_h2=0.3, standard_h1=0.9),
}


def corrected_row(arm: str, constitution: str, principle: str, labels: str, **values: Any) -> dict[str, Any]:
    empty = dict.fromkeys(ADHERENCE_SCORES.fields)
    told = {"n_relevant": 2, "n": 2, "n_unanswered": 0, "n_labels": 12, "status": "measured"}
    key = {"arm": arm, "constitution_arm": constitution, "principle_id": principle, "labels": labels}
    return empty | told | key | values


CORRECTED = ADHERENCE_SCORES.build(
    [
        corrected_row("public", "public", "all principles", "pooled", adherence=0.55, low=0.3, high=0.8),
        corrected_row("public", "public", "P1", "own", adherence=0.9, low=0.5, high=1.0),
        corrected_row("public", "standard", "all principles", "none", adherence=0.4, low=0.1, high=0.7),
    ]
)


COMPARED = (
    "compared_with",
    "difference",
    "difference_low",
    "difference_high",
    "p_value",
    "adjusted_p",
    "smallest_detectable",
)


def scores(tables: dict[str, pl.DataFrame], **changes: Any) -> pl.DataFrame:
    arguments = {
        "items": {arm: {"know": table} for arm, table in tables.items()},
        "adherence": ADHERENCE_TABLES,
        "corrected": CORRECTED,
        "elo": ELO,
        "baseline": "standard",
        "bootstraps": 500,
        "seed": 1,
        "judge_at_chance": True,
    }
    return score_table(**(arguments | changes))


def row(table: pl.DataFrame, **key: str) -> dict[str, Any]:
    return table.filter(**key).row(0, named=True)


TABLES = {
    "base": items([0.0] * 10),
    "standard": items([1.0] * 5 + [0.0] * 5, unanswered=3, cut=4),
    "public": items([1.0] * 8 + [0.0] * 2),
}


def test_letters_that_were_compared_before_responses_told_their_end_are_not_cut_off() -> None:
    assert own_scores("know", TABLES["base"].drop("finished"), 100, 1)["n_cut"].to_list() == [0, 0, 0]


def test_every_arm_gets_means_intervals_and_paired_differences() -> None:
    table = scores(TABLES)
    assert EVAL_SCORES.violations(table).is_empty()
    public = row(table, arm="public", benchmark="know", category="all", compared_with="standard")
    assert (public["n"], public["n_unanswered"], public["value"]) == (10, 0, 0.8)
    assert (public["low"], public["high"]) == wilson_interval(8, 10)
    # Three items of ten differ, all in favour of one arm: by the sign test p = 2 * 0.5**3.
    assert public["difference"] == pytest.approx(0.3)
    assert public["p_value"] == pytest.approx(0.25, abs=0.01)
    assert public["difference_low"] == 0 < 0.3 < public["difference_high"] <= 1
    untrained = row(table, arm="public", benchmark="know", category="all", compared_with="base")
    assert {**untrained, **dict.fromkeys(COMPARED)} == {**public, **dict.fromkeys(COMPARED)}
    assert untrained["difference"] == pytest.approx(0.8)
    # Eight of ten, all one way: 2 * 0.5**8, corrected for nothing, as no other measure has a category `all`.
    assert untrained["p_value"] == untrained["adjusted_p"] == pytest.approx(2 * 0.5**8, abs=0.002)
    # The differences spread by sqrt(10 / 9 * 0.8 * 0.2) = 0.4216, so 0.1333 standard errors; t with 9 degrees
    # of freedom: 2.2622 + 0.8834.
    assert untrained["smallest_detectable"] == pytest.approx(0.1333 * 3.1456, abs=1e-4)
    standard = row(table, arm="standard", benchmark="know", category="all")
    assert (standard["n_unanswered"], standard["compared_with"], standard["difference"]) == (3, "base", 0.5)
    base = row(table, arm="base", benchmark="know", category="all")
    assert (base["value"], base["compared_with"], base["difference"]) == (0.0, None, None)
    assert (standard["n_cut"], base["n_cut"]) == (4, 0)
    assert row(table, arm="standard", benchmark="elo")["n_cut"] is None
    assert base["high"] == pytest.approx(Z_95**2 / (10 + Z_95**2))
    assert table.filter(benchmark="know")["category"].unique().sort().to_list() == ["all", "even", "odd"]
    assert not table.filter(benchmark="know")["judge_at_chance"].any()
    odd = row(table, arm="standard", benchmark="know", category="odd")
    assert (odd["n"], odd["value"]) == (5, 0.4)


def test_a_model_by_itself_scores_as_it_does_among_others() -> None:
    shown = own_scores("know", TABLES["public"], 500, 1)
    assert shown["category"].to_list() == ["all", "even", "odd"]
    among = row(scores(TABLES), arm="public", benchmark="know", category="all", compared_with="base")
    alone = row(shown, category="all")
    assert alone == {name: among[name] for name in alone}


def test_pairs_are_matched_by_item_not_by_row() -> None:
    turned = TABLES | {"public": TABLES["public"].sample(fraction=1, shuffle=True, seed=3)}
    assert scores(turned).equals(scores(TABLES))


def test_intervals_resample_templates() -> None:
    values = [1.0, 1.0, 1.0, 1.0, -1.0, -1.0, -1.0, -1.0] * 5
    single = scores({arm: items(values, "bias_ambiguous") for arm in TABLES})
    clustered = scores({arm: items(values, "bias_ambiguous", per_cluster=4) for arm in TABLES})
    narrow, wide = (row(table, arm="base", benchmark="know", category="all") for table in (single, clustered))
    assert narrow["value"] == wide["value"] == 0
    # Four equal items a template: half the width counted one by one, and t with 9 degrees of freedom: by
    # sqrt(10 / 9) * 2.262 = 2.384 against 1.96 standard deviations.
    expected = 2 * 2.384 / 1.96
    assert (wide["high"] - wide["low"]) / (narrow["high"] - narrow["low"]) == pytest.approx(expected, abs=0.2)


def test_adherence_has_one_row_a_constitution_and_pairs_what_was_answered() -> None:
    table = scores(TABLES)
    own = row(table, arm="public", benchmark="adherence", category="public", compared_with="standard")
    assert (own["n"], own["value"], own["difference"]) == (2, pytest.approx(0.7), pytest.approx(0.4))
    # Two prompts tell nothing of others.
    assert (own["difference_low"], own["difference_high"], own["smallest_detectable"]) == (-1, 1, None)
    assert own["judge_at_chance"]
    nothing = row(table, arm="public", benchmark="adherence", category="standard")
    assert (nothing["n"], nothing["n_unanswered"], nothing["value"]) == (1, 1, None)
    assert (nothing["low"], nothing["high"], nothing["difference"]) == (0, 1, None)
    assert table.filter(benchmark="adherence", category="all").is_empty()


def test_what_labels_correct_stands_beside_what_the_judge_says() -> None:
    table = scores(TABLES).filter(metric="adherence_corrected")
    assert table.select("arm", "benchmark", "category", "value", "low", "high", "n").rows() == [
        ("public", "adherence", "public", 0.55, 0.3, 0.8, 2)
    ]
    assert table.select("compared_with", "difference", "judge_at_chance").rows() == [(None, None, True)]


def test_elo_is_carried_over() -> None:
    standard = row(scores(TABLES), arm="standard", benchmark="elo")
    assert (standard["metric"], standard["value"], standard["low"], standard["high"]) == ("helpfulness", 90, 30, 150)
    assert (standard["n"], standard["n_unanswered"], standard["judge_at_chance"]) == (20, 1, True)


def test_elo_by_people_stands_beside_it() -> None:
    both = pl.concat([ELO, elo_rows("people", base=(0, 0, 0), public=(-10, -40, 20))])
    table = scores(TABLES, elo=both)
    public = row(table, arm="public", benchmark="elo_by_people")
    assert (public["value"], public["low"], public["judge_at_chance"]) == (-10, -40, False)
    assert row(table, arm="public", benchmark="elo")["value"] == 50


def test_p_values_are_corrected_within_categories_and_within_wholes() -> None:
    # Six of eight items of each category change, and nothing in the other metric.
    changed = pl.concat([items([1.0] * 12 + [0.0] * 4), items([0.0] * 16, "accuracy_other")])
    nothing = pl.concat([items([0.0] * 16), items([0.0] * 16, "accuracy_other")])
    table = scores({"base": nothing, "standard": changed, "public": changed})
    own = table.filter(benchmark="know", arm="standard", compared_with="base")
    whole, even, odd = (row(own, metric="accuracy", category=name) for name in ("all", "even", "odd"))
    other = row(own, metric="accuracy_other", category="all")
    # Six changes, all one way: 2 * 0.5**6 each, and two categories.
    assert (even["p_value"], odd["p_value"]) == pytest.approx((2 * 0.5**6, 2 * 0.5**6), abs=0.004)
    assert max(even["adjusted_p"], odd["adjusted_p"]) < 2 * max(even["p_value"], odd["p_value"])
    assert min(even["adjusted_p"], odd["adjusted_p"]) == 2 * min(even["p_value"], odd["p_value"])
    # Two measures as a whole, of which the other shows nothing.
    assert whole["adjusted_p"] == 2 * whole["p_value"] < 0.01
    assert (other["p_value"], other["adjusted_p"]) == (1.0, 1.0)
    same = row(table, arm="public", metric="accuracy", category="all", compared_with="standard")
    assert (same["difference"], same["p_value"]) == (0.0, 1.0)


def test_an_arm_that_lost_accuracy_is_named_and_no_other() -> None:
    better = {"base": items([1.0, 0.0] * 20), "standard": items([1.0] * 40), "public": items([1.0, 0.0] * 20)}
    assert regressions(scores(better)) == []
    worse = {"base": items([1.0] * 40), "standard": items([1.0] * 40), "public": items([0.0] * 12 + [1.0] * 28)}
    found = regressions(scores(worse))
    # Twelve lost as a whole; six in each of two categories would be 2 * 2 * 0.5**6 = 0.0625.
    assert [each.subject for each in found] == ["public/know/accuracy/all"]
    assert found[0].severity == "warning"
    assert "lower than base by 30.0 points (95 % interval between \u2212" in found[0].message
    # What costs no right answers is no regression.
    refusing = {arm: table.with_columns(metric=pl.lit("refusal_safe")) for arm, table in worse.items()}
    assert regressions(scores(refusing)) == []


def test_arms_on_different_items_are_refused() -> None:
    with pytest.raises(ConsultationError, match="know: public was evaluated on other items than base"):
        scores(TABLES | {"public": TABLES["public"].head(9)})
    with pytest.raises(ConsultationError, match="adherence: public"):
        scores(TABLES, adherence=ADHERENCE_TABLES | {"public": adherence("public", public_h1=0.1)})
    with pytest.raises(ConsultationError, match="know: public"):
        scores(TABLES, items={arm: {"know": table} if arm != "public" else {} for arm, table in TABLES.items()})


def test_the_untrained_model_and_the_baseline_are_needed() -> None:
    with pytest.raises(ValueError, match="base"):
        scores({"standard": TABLES["standard"], "public": TABLES["public"]})
    with pytest.raises(ValueError, match="other scores"):
        scores(TABLES, items={arm: {"elo": table} for arm, table in TABLES.items()})


def test_findings_say_what_differs_what_does_not_and_what_cannot_be_told() -> None:
    many = {"base": items([0.0] * 400), "standard": items([1.0, 0.0] * 200), "public": items([1.0, 0.0] * 200)}
    text = " ".join(findings(scores(many)))
    assert "Accuracy on `know` is higher for `standard` than for `base`: by 50.0 points" in text
    assert "p below 0.001 corrected for the number of comparisons" in text
    assert "No difference beyond 5% of the scale in 1 comparison: accuracy on `know`." in text
    assert "rest on a judge that was not shown to be better than guessing" in text


def test_findings_name_what_too_few_items_leave_open_and_what_could_not_be_read() -> None:
    few = {"base": items([0.0, 1.0] * 5), "standard": items([1.0, 0.0] * 5, unanswered=4), "public": items([1.0] * 10)}
    sentences = findings(
        scores(
            few,
            adherence={arm: t.head(0) for arm, t in ADHERENCE_TABLES.items()},
            corrected=CORRECTED.head(0),
            elo=ELO.head(0),
        )
    )
    text = " ".join(sentences)
    # Five of ten differ, all one way: the sign test gives 2 * 0.5**5 = 0.0625.
    assert sentences[0] == "None of 3 paired comparisons shows a difference that could matter."
    assert "Too few items to tell whether there is a difference in 3 comparisons: accuracy on `know` (3" in text
    assert "To be found with a probability of 80 %, a difference would have had to be 52.4 points" in text
    assert "4 of 10 answers of `standard` could not be read" in text
    assert "guessing" not in text


def test_a_score_without_its_interval_breaks_the_contract() -> None:
    table = scores(TABLES)
    first = table.row(0, named=True) | {"value": 0.5, "low": 0.1, "high": 0.9}
    paired = {"compared_with": "base", "difference": 0.1, "difference_low": 0.0, "difference_high": 0.2}
    for good in ({}, {"value": None}, paired):
        assert EVAL_SCORES.violations(EVAL_SCORES.build([first | good])).is_empty()
    nan, inf = float("nan"), float("inf")
    for wrong in (
        {"low": None},
        {"low": nan},
        {"low": 0.6},
        {"high": inf},
        {"value": nan},
        {"difference": 0.1},
        paired | {"difference_low": None},
        paired | {"difference_high": inf},
        paired | {"difference_low": 0.11},
    ):
        assert not EVAL_SCORES.violations(EVAL_SCORES.build([first | wrong])).is_empty(), wrong
    assert not EVAL_SCORES.violations(EVAL_SCORES.build([first, first])).is_empty()
