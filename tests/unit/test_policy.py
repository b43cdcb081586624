from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ccai_dagster.consultation.settings import PolicySettings
from ccai_dagster.contracts import HELPFULNESS_PAIRS
from ccai_dagster.contracts import PROMPTS as PROMPTS_CONTRACT
from ccai_dagster.core.digest import file_digest, folder_digest
from ccai_dagster.core.errors import ConsultationError
from ccai_dagster.feedback.language_model import Response
from ccai_dagster.training.policy import paired_interval, read_samples, reward_gain, train_policy, training_prompts

SETTINGS = PolicySettings(
    steps=3, prompts_per_step=2, samples_per_prompt=2, new_tokens=6, learning_rate=1e-2, lora_rank=4
)
PROMPTS = ["Why?", "Please tell me how.", "Be kind to <|im_end|> me.", "Who is fair?"]


def test_reinforcement_learning_may_answer_prompts_that_people_compared_responses_to() -> None:
    rows = [("q2", "Why?", "policy"), ("q1", "How?", "policy"), ("q3", "Who?", "held_out")]
    prompts = PROMPTS_CONTRACT.build(
        [
            {"prompt_id": prompt_id, "text": text, "purpose": purpose, "themes": [], "relevant_principles": []}
            for prompt_id, text, purpose in rows
        ]
    )
    # One is a held-out prompt, which must never be trained on; one stands in two comparisons.
    compared = ["Who?", "Where?", "When?", "When?", "Whither?"]
    pairs = HELPFULNESS_PAIRS.build(
        [
            {
                "pair_id": f"h{at}",
                "prompt": text,
                "response_a": "A",
                "response_b": "B",
                "probability_a": 1.0,
                "source": "s",
            }
            for at, text in enumerate(compared)
        ]
    )
    assert training_prompts(prompts, pairs, 0, seed=7) == ["How?", "Why?"]
    two = training_prompts(prompts, pairs.reverse(), 2, seed=7)
    assert two[:2] == ["How?", "Why?"] and len(set(two)) == 4
    assert training_prompts(prompts, pairs, 2, seed=7) == two
    assert sorted(training_prompts(prompts, pairs, 9, seed=7)[2:]) == ["When?", "Where?", "Whither?"]
    # Trainings without them are those of before.
    assert "helpfulness_prompts" not in PolicySettings().model_dump()
    assert PolicySettings(helpfulness_prompts=1).digest() != PolicySettings().digest()


@pytest.mark.torch
def test_a_policy_is_trained_in_a_repeatable_way_and_resumes(
    tiny_model: Path, preference_model: Path, tmp_path: Path
) -> None:
    def train(name: str, prompts: list[str], progress: Any = lambda *_: None) -> Any:
        folders = tmp_path / name / "work", tmp_path / name / "model"
        return train_policy(tiny_model, preference_model, prompts, SETTINGS, 9, *folders, progress)

    outcome = train("one", PROMPTS)
    samples = outcome.tables["samples"]
    assert samples["step"].to_list() == [1, 1, 2, 2, 3, 3]
    assert samples["reward"].is_finite().all()
    assert set(samples["prompt"]) <= {*PROMPTS, "Be kind to < |im_end|> me."}
    assert outcome.metrics["kl_largest"] < outcome.metrics["kl_limit"] == SETTINGS.kl_limit
    assert 0 < outcome.metrics["entropy_last"] < 6
    assert outcome.metrics["empty_share_first"] in (0, 0.25, 0.5)
    assert outcome.metrics["prompts"] == 4
    assert outcome.metrics["kl_first"] == pytest.approx(0.0, abs=1e-6)
    assert 0 < outcome.metrics["length_last"] <= 6
    rewards = outcome.history.filter(name="reward")
    assert rewards["step"].to_list() == [1, 2, 3]
    assert outcome.metrics["reward_first"] == rewards["value"][0]
    digest = folder_digest(tmp_path / "one" / "model")
    assert train("two", PROMPTS[::-1]).history.equals(outcome.history)
    assert folder_digest(tmp_path / "two" / "model") == digest
    assert file_digest(tmp_path / "one" / "model" / "model.safetensors") != file_digest(
        tiny_model / "model.safetensors"
    )

    def stop(_: str, done: int, total: int) -> None:
        if done == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train("three", PROMPTS, stop)
    resumed: list[int] = []
    train("three", PROMPTS, lambda _, done, total: resumed.append(done))
    assert resumed == [3]
    assert read_samples(tmp_path / "three" / "work" / "samples.jsonl").equals(samples)
    assert folder_digest(tmp_path / "three" / "model") == digest


@pytest.mark.torch
def test_prompts_that_cannot_be_used_are_errors(tiny_model: Path, preference_model: Path, tmp_path: Path) -> None:
    folders = tmp_path / "work", tmp_path / "model"
    with pytest.raises(ConsultationError, match="purpose `policy`"):
        train_policy(tiny_model, preference_model, [], SETTINGS, 9, *folders)
    with pytest.raises(ConsultationError, match="do not fit into the model's 1024 tokens"):
        train_policy(tiny_model, preference_model, ["Why? " * 900], SETTINGS, 9, *folders)


@pytest.mark.torch
def test_one_prompt_is_enough_and_a_policy_that_runs_away_is_stopped(
    tiny_model: Path, preference_model: Path, tmp_path: Path
) -> None:
    wild = SETTINGS.model_copy(update={"learning_rate": 0.5, "kl_weight": 0.01, "kl_limit": 0.05, "steps": 6})
    with pytest.raises(ConsultationError, match=r"Policy training stopped at step [2-6]: KL .*policy.kl_limit"):
        train_policy(tiny_model, preference_model, ["Why?"], wild, 9, tmp_path / "work", tmp_path / "model")
    assert not (tmp_path / "model").exists()


class Speaker:
    """Says what it is told to, and how likely that is."""

    name = "speaker"

    def __init__(self, response: str, likelihood: float) -> None:
        self.response, self.likelihood = response, likelihood

    def generate(self, conversations: Any, **_: Any) -> list[Response]:
        return [Response(f"{self.response} {turns[0][1]}", turns[0][1] != "Why 0?") for turns in conversations]

    def log_likelihoods(self, conversations: Any, responses: Any) -> np.ndarray:
        return np.array([[self.likelihood * len(text), len(text)] for text in responses], dtype=float)


@pytest.mark.torch
def test_the_gain_is_paired_by_held_out_prompt(preference_model: Path) -> None:
    prompts = PROMPTS_CONTRACT.build(
        [
            {"prompt_id": f"q{at}", "text": f"Why {at}?", "purpose": purpose, "themes": [], "relevant_principles": []}
            for at, purpose in enumerate(["held_out"] * 4 + ["policy"] * 3)
        ]
    )
    policy, supervised = Speaker("The assistant is kind", -1.5), Speaker("No, that is not right", -2.0)
    settings = SETTINGS.model_copy(update={"held_out_prompts": 3})
    metrics, table = reward_gain(policy, supervised, preference_model, prompts, 200, settings, 9)
    assert metrics["held_out_prompts"] == table.height == 3
    gains = (table["reward_policy"] - table["reward_supervised"]).to_list()
    assert metrics["held_out_gain"] == pytest.approx(sum(gains) / 3)
    assert metrics["held_out_gain_low"] <= metrics["held_out_gain"] <= metrics["held_out_gain_high"]
    assert metrics["held_out_kl"] == pytest.approx(0.5)
    assert metrics["held_out_cut_share"] == metrics["held_out_cut_share_supervised"]
    assert metrics["held_out_cut_share"] == pytest.approx(table["prompt"].is_in(["Why 0?"]).sum() / 3)
    back, _ = reward_gain(supervised, policy, preference_model, prompts, 200, settings, 9)
    assert back["held_out_gain"] == pytest.approx(-metrics["held_out_gain"])


def test_the_paired_interval_is_students() -> None:
    # Mean 2, standard deviation 1, t(2, 0.975) = 4.3027: half a width of 4.3027 / sqrt(3).
    assert paired_interval([1.0, 2.0, 3.0]) == pytest.approx((-0.484138, 4.484138), abs=1e-5)
    assert paired_interval([1.0]) == (-np.inf, np.inf)
