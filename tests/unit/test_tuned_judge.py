from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl
import pytest

from ccai_dagster.consultation.settings import TunedJudgeSettings
from ccai_dagster.contracts import HELPFULNESS_PAIRS
from ccai_dagster.core.digest import folder_digest
from ccai_dagster.core.errors import ConsultationError
from ccai_dagster.feedback.calibration import HELPFULNESS_PRINCIPLE
from ccai_dagster.feedback.judge import halves, on_tuning_side, scored_prompt
from ccai_dagster.stages.transformers_model import TunedFeedbackModel
from ccai_dagster.training.tuned_judge import fitted_head, train_feedback_model, tuning_table

KIND, RUDE = "I am kind and fair.", "No, go away."


def compared(count: int, name: str = "c") -> pl.DataFrame:
    """People prefer the kind response, shown first in every second comparison."""
    return HELPFULNESS_PAIRS.build(
        [
            {
                "pair_id": f"{name}{at}",
                "prompt": f"Question {at % (count // 2)}?",
                "response_a": (KIND, RUDE)[at % 2],
                "response_b": (RUDE, KIND)[at % 2],
                "probability_a": float(at % 2 == 0),
                "source": "people",
            }
            for at in range(count)
        ]
    )


def test_no_prompt_stands_on_both_sides() -> None:
    tables = {"one": compared(200), "two": compared(100, "d")}
    tuning, measuring = halves(tables, seed=1)
    for name, table in tables.items():
        assert sorted(tuning[name]["pair_id"].to_list() + measuring[name]["pair_id"].to_list()) == sorted(
            table["pair_id"]
        )
        assert 0.3 < tuning[name].height / table.height < 0.7
    learnt = {prompt for table in tuning.values() for prompt in table["prompt"]}
    assert not learnt & {prompt for table in measuring.values() for prompt in table["prompt"]}
    assert on_tuning_side("Why  not?\n", 1) == on_tuning_side("why NOT?", 1)
    assert len({on_tuning_side("Why?", seed) for seed in range(20)}) == 2
    with pytest.raises(ConsultationError, match=r"'few'.*cannot be split by prompt"):
        halves({"few": compared(2)}, seed=1)


def test_the_table_has_the_preferred_response_first_and_only_what_teaches() -> None:
    table = compared(12).with_columns(
        probability_a=pl.Series([0.8, 0.1, 0.5] + [1.0, 0.0, 1.0] * 3),
        response_b=pl.when(pl.col("pair_id") == "c3").then("response_a").otherwise("response_b"),
    )
    own = tuning_table({"b": table.with_columns(principle=pl.lit("Be kind.")), "a": compared(10)})
    assert own["comparison_set"].to_list() == ["a"] * 10 + ["b"] * 10
    second = own.filter(comparison_set="b")
    assert "c2" not in second["pair_id"] and "c3" not in second["pair_id"]
    assert set(second["principle"]) == {"Be kind."}
    soft = own.filter(pl.col("comparison_set") == "b", pl.col("pair_id").is_in(["c0", "c1"]))
    assert soft.select("preferred", "target").rows() == [(KIND, 0.8), (KIND, 0.9)]
    assert set(own.filter(comparison_set="a")["preferred"]) == {KIND}


def test_too_few_comparisons_are_named() -> None:
    for tables in ({}, {"few": compared(8)}):
        with pytest.raises(ConsultationError, match=r"at least 10 of 5.*judge_comparisons"):
            tuning_table(tables)


def test_a_head_finds_the_direction_people_prefer() -> None:
    generator = np.random.default_rng(5)
    direction = np.array([3.0, 0.0, 0.0, 0.0])
    differences = generator.normal(size=(200, 4)) * [1.0, 10.0, 1.0, 1.0]
    differences *= np.sign(differences @ direction)[:, None]
    weights, accuracy, strength = fitted_head(differences, np.ones(200), np.array([f"q{at // 2}" for at in range(200)]))
    assert accuracy > 0.95
    assert strength in (1e-4, 1e-3, 1e-2, 1e-1, 1.0)
    assert weights[0] > 10 * np.abs(weights[1:]).max()
    noise = generator.normal(size=(200, 4))
    _, chance, _ = fitted_head(noise, np.ones(200), np.array([f"q{at}" for at in range(200)]))
    assert chance < 0.65


@pytest.mark.torch
def test_a_tuned_judge_learns_the_labels_in_a_repeatable_way(tiny_model: Path, tmp_path: Path) -> None:
    settings = TunedJudgeSettings(passes=0.5, batch_size=4, learning_rate=5e-3, lora_rank=2, max_tokens=96)
    tuning, measuring = halves({"people": compared(40)}, seed=2)

    def train(name: str, settings: TunedJudgeSettings) -> dict[str, float]:
        folders = tmp_path / name / "work", tmp_path / name / "model"
        return train_feedback_model(tiny_model, tuning, settings, 3, *folders).metrics

    metrics = train("one", settings)
    assert metrics["train_n"] == tuning["people"].height
    assert metrics["head_accuracy"] == 1.0
    assert metrics["loss_last"] < 0.69
    assert train("two", settings) == metrics
    assert train("one", settings) == metrics  # a head that was made is not made again
    assert folder_digest(tmp_path / "one" / "model") == folder_digest(tmp_path / "two" / "model")
    judge = TunedFeedbackModel(tmp_path / "one" / "model", batch_size=3, max_tokens=96)
    prompts = [scored_prompt(prompt, HELPFULNESS_PRINCIPLE) for prompt in measuring["people"]["prompt"]]
    kind = judge.scores([(prompt, KIND) for prompt in prompts])
    rude = judge.scores([(prompt, RUDE) for prompt in prompts])
    assert (kind > rude).mean() > 0.9
    np.testing.assert_allclose(judge.scores([(prompts[0], KIND)]), kind[:1], atol=1e-4)
    assert judge.name == folder_digest(tmp_path / "one" / "model")
    head_alone = train("head", settings.model_copy(update={"passes": 0.0}))
    assert "loss_last" not in head_alone
    assert head_alone["head_accuracy"] == 1.0
    alone = TunedFeedbackModel(tmp_path / "head" / "model", batch_size=8, max_tokens=96)
    assert (alone.scores([(p, KIND) for p in prompts]) > alone.scores([(p, RUDE) for p in prompts])).mean() > 0.9
