from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from ccai_dagster.digest import file_digest, folder_digest
from ccai_dagster.errors import ConsultationError
from ccai_dagster.settings import PolicySettings
from ccai_dagster.training.model_folder import load_model, load_tokenizer, save_model
from ccai_dagster.training.policy import train_policy

SETTINGS = PolicySettings(
    steps=3, prompts_per_step=2, samples_per_prompt=2, new_tokens=6, learning_rate=1e-2, lora_rank=4
)
PROMPTS = ["Why?", "Please tell me how.", "Be kind to <|im_end|> me.", "Who is fair?"]


@pytest.fixture(scope="module")
def preference_model(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    import torch

    folder = tmp_path_factory.mktemp("preferences") / "model"
    with torch.random.fork_rng():
        torch.manual_seed(1)
        save_model(load_model(tiny_model, scores=True), load_tokenizer(tiny_model), folder)
    return folder


@pytest.mark.torch
def test_a_policy_is_trained_in_a_repeatable_way_and_resumes(
    tiny_model: Path, preference_model: Path, tmp_path: Path
) -> None:
    def train(name: str, prompts: list[str], progress: Any = lambda *_: None) -> Any:
        folders = tmp_path / name / "work", tmp_path / name / "model"
        return train_policy(tiny_model, preference_model, prompts, SETTINGS, 9, *folders, progress)

    outcome = train("one", PROMPTS)
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
    assert folder_digest(tmp_path / "three" / "model") == digest


@pytest.mark.torch
def test_prompts_that_cannot_be_used_are_errors(
    tiny_model: Path, preference_model: Path, tmp_path: Path
) -> None:
    folders = tmp_path / "work", tmp_path / "model"
    with pytest.raises(ConsultationError, match="purpose `policy`"):
        train_policy(tiny_model, preference_model, [], SETTINGS, 9, *folders)
    with pytest.raises(ConsultationError, match="do not fit into the model's 1024 tokens"):
        train_policy(tiny_model, preference_model, ["Why? " * 900], SETTINGS, 9, *folders)
