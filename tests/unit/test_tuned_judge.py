from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from ccai_dagster.consultation.settings import (
    FeedbackSettings,
    ModelSettings,
    SentenceModelSettings,
    TunedJudgeSettings,
)
from ccai_dagster.contracts import HELPFULNESS_PAIRS
from ccai_dagster.core.digest import folder_digest
from ccai_dagster.core.errors import ConsultationError, silent
from ccai_dagster.feedback.calibration import HELPFULNESS_PRINCIPLE
from ccai_dagster.feedback.judge import halves, on_tuning_side, scored_prompt
from ccai_dagster.feedback.words import load_words
from ccai_dagster.stages.feedback import JudgeAnswersStage
from ccai_dagster.stages.request import StageFolder
from ccai_dagster.stages.training import FeedbackModelStage
from ccai_dagster.training.comparisons import exchange
from ccai_dagster.training.model_folder import load_model, load_tokenizer
from ccai_dagster.training.response_states import ResponseReader
from ccai_dagster.training.tuned_judge import (
    STRENGTHS,
    TunedJudge,
    fitted_head,
    judges_by,
    train_feedback_model,
    tuning_table,
)

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
    head = fitted_head(differences, np.ones(200), np.array([f"q{at // 2}" for at in range(200)]))
    assert head.accuracy > 0.95
    assert head.strength in STRENGTHS
    assert head.weights[0] > 10 * np.abs(head.weights[1:]).max()
    noise = generator.normal(size=(200, 4))
    assert fitted_head(noise, np.ones(200), np.array([f"q{at}" for at in range(200)])).accuracy < 0.65


@pytest.mark.torch
def test_states_are_means_over_the_response_in_the_middle_of_the_model(tiny_model: Path) -> None:
    import torch

    model, tokenizer = load_model(tiny_model), load_tokenizer(tiny_model)
    asked = [("Why?", " ".join([KIND] * 3)), ("Who are you?", "No.")]
    states, shortened = ResponseReader(tiny_model, 2, 96).states(asked)
    assert shortened == 0
    for own, (prompt, response) in zip(states, asked, strict=True):
        read = exchange(tokenizer, prompt, response, 96)
        with torch.inference_mode():
            inner = model.model
            hidden = inner(torch.tensor([read.tokens]), output_hidden_states=True).hidden_states[1]  # of two layers
            expected = inner.norm(hidden)[0, read.prompt_tokens :].mean(0)
        np.testing.assert_allclose(own, expected.numpy(), atol=1e-5)
    cut, shortened = ResponseReader(tiny_model, 2, 30).states(asked)
    assert shortened == 1 and not np.allclose(cut[0], states[0]) and np.allclose(cut[1], states[1], atol=1e-5)


@pytest.mark.torch
def test_a_tuned_judge_learns_the_labels_in_a_repeatable_way(tiny_model: Path, tmp_path: Path) -> None:
    settings = TunedJudgeSettings(batch_size=4, max_tokens=96)
    tuning, measuring = halves({"people": compared(40)}, seed=2)

    metrics = train_feedback_model(tiny_model, tuning, settings, tmp_path / "one").metrics
    assert metrics["train_n"] == tuning["people"].height
    assert metrics["head_accuracy"] == metrics["words_accuracy"] == 1.0
    assert train_feedback_model(tiny_model, tuning, settings, tmp_path / "two").metrics == metrics
    assert folder_digest(tmp_path / "one") == folder_digest(tmp_path / "two")
    judge = TunedJudge(tiny_model, tmp_path / "one", batch_size=3, max_tokens=96)
    prompts = [scored_prompt(prompt, HELPFULNESS_PRINCIPLE) for prompt in measuring["people"]["prompt"]]
    kind = judge.scores([(prompt, KIND) for prompt in prompts])
    rude = judge.scores([(prompt, RUDE) for prompt in prompts])
    assert (kind > rude).all()
    np.testing.assert_allclose(judge.scores([(prompts[0], KIND)]), kind[:1], atol=1e-4)
    assert judge.name == folder_digest(tmp_path / "one")


def test_words_alone_are_learnt_without_a_model(tmp_path: Path) -> None:
    tuning, _ = halves({"people": compared(40)}, seed=2)
    metrics = train_feedback_model(None, tuning, TunedJudgeSettings(), tmp_path / "words").metrics
    assert set(metrics) == {"train_n", "words_accuracy", "words_strength"}
    assert [judges_by(method, tmp_path / "words") for method in ("words", "tuned")] == [True, False]
    kind, rude = load_words(tmp_path / "words").scores([("Why?", KIND), ("Why?", RUDE)])
    assert kind > 0 > rude


class EvenLetters:
    """Finds either letter as likely."""

    name = "even"

    def choice_log_probabilities(self, conversations: Sequence[object], choices: object, **_: object) -> np.ndarray:
        return np.full((len(conversations), 2), np.log(0.5))


def test_words_judge_every_comparison_they_did_not_learn_from_beside_the_methods_asked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tuning, measuring = halves({"people": compared(80)}, seed=2)
    learning = StageFolder(tmp_path / "learning")
    FeedbackModelStage(base_model=None, comparisons=tuning, settings=TunedJudgeSettings()).run(learning, silent)
    monkeypatch.setattr(JudgeAnswersStage, "load", lambda *_: EvenLetters())
    stage = JudgeAnswersStage(
        model=ModelSettings(),
        feedback=FeedbackSettings(calibration_methods=("letters",), calibration_comparisons=4),
        base_model=tmp_path,
        feedback_model=learning.model,
        tuned_judge=TunedJudgeSettings(),
        sentence_model=SentenceModelSettings(),
        cache=tmp_path,
        comparisons=measuring,
        seed=2,
    )
    folder = StageFolder(tmp_path / "answers")
    folder.made.mkdir(parents=True)
    stage.run(folder, silent)
    answers = pl.read_parquet(folder.made / "judge_answers.parquet")
    assert dict(answers["method"].value_counts().rows()) == {"letters": 4, "words": measuring["people"].height}
    words = answers.filter(method="words")
    assert ((words["probability_a"] > 0.5) == (words["label"] > 0.5)).all()
    with pytest.raises(ConsultationError, match="`tuned`, and the feedback model was not made for it"):
        stage.judge(folder, "tuned")


def test_a_folder_that_asks_for_the_training_of_before_is_told_what_to_take_out() -> None:
    with pytest.raises(ValueError, match="take lora_rank, passes out"):
        TunedJudgeSettings.model_validate({"passes": 0.5, "lora_rank": 2})


def test_where_nothing_is_tuned_the_settings_count_as_they_did() -> None:
    """What is made by other methods depends on their digest, and is not made again."""
    assert TunedJudgeSettings().digest() == "85175636e11194ba5033af4bfb65a64f53ed3840d8f49ae99083a99ed7a29468"
