from __future__ import annotations

from math import exp, log
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from ccai_dagster.consultation.settings import PolicySettings
from ccai_dagster.core.digest import folder_digest
from ccai_dagster.core.errors import ConsultationError
from ccai_dagster.stages.transformers_model import TransformersModel
from ccai_dagster.training.direct_preference import pairs_a_step, soft_label_loss, train_policy_directly
from ccai_dagster.training.model_folder import load_tokenizer, save_model

GOOD, BAD = "The assistant should be fair.", "No, that is not right."
SETTINGS = PolicySettings(
    steps=6, prompts_per_step=2, samples_per_prompt=4, learning_rate=1e-2, lora_rank=4, kl_weight=0.1
)


def table(target: float = 1.0, weight: float = 1.0) -> pl.DataFrame:
    return pl.DataFrame(
        {
            "source": ["harmlessness"] * 8,
            "pair_id": [f"p{at}" for at in range(8)],
            "prompt": [f"Tell me {at}" for at in range(8)],
            "preferred": [GOOD] * 8,
            "preferred_finished": [True] * 8,
            "other": [BAD] * 8,
            "other_finished": [True, False] * 4,
            "target": [target] * 8,
            "labelled": [True] * 8,
            "weight": [weight] * 8,
            "held_out": [False] * 6 + [True] * 2,
        }
    )


@pytest.mark.torch
def test_the_loss_is_the_weighted_cross_entropy_of_soft_labels() -> None:
    import torch

    ratios = torch.tensor([2.0, -4.0])
    target, weight = torch.tensor([0.75, 1.0]), torch.tensor([0.5, 2.0])
    first = 0.75 * log(1 + exp(-1)) + 0.25 * log(1 + exp(1))
    second = log(1 + exp(2))
    found = soft_label_loss(ratios, target, weight, beta=0.5).item()
    assert found == pytest.approx((0.5 * first + 2 * second) / 2, rel=1e-6)


@pytest.mark.torch
def test_a_policy_learns_comparisons_as_far_as_their_labels_say(tiny_model: Path, tmp_path: Path) -> None:
    def margin(folder: Path) -> float:
        model = TransformersModel(folder, "float32", 2, 512)
        scored = model.log_likelihoods([[("user", "Tell me 7")]] * 2, [GOOD, BAD])
        return float(scored[0, 0] - scored[1, 0])

    def train(name: str, rows: pl.DataFrame) -> tuple[Any, float]:
        folders = tmp_path / name / "work", tmp_path / name / "model"
        outcome = train_policy_directly(tiny_model, rows, 64, SETTINGS, 3, *folders)
        return outcome, margin(folders[1]) - margin(tiny_model)

    hard, gained = train("hard", table())
    assert hard.metrics["loss_first"] == pytest.approx(log(2), abs=0.05)
    assert hard.metrics["loss_last"] < hard.metrics["loss_first"]
    assert hard.metrics["train_n"] == 6
    assert hard.metrics["cut_share"] == 3 / 12
    assert hard.history.filter(name="rewards/margins")["value"].to_list()[0] == pytest.approx(0, abs=1e-5)
    assert gained > 1
    train("again", table())
    assert folder_digest(tmp_path / "again" / "model") == folder_digest(tmp_path / "hard" / "model")
    _, softly = train("soft", table(target=0.6))
    assert abs(softly) < gained
    assert train("none", table(weight=0.0))[1] == pytest.approx(0, abs=1e-4)


def test_steps_take_as_many_responses_as_reinforcement_learning(tmp_path: Path) -> None:
    assert pairs_a_step(SETTINGS) == 2 * 4 // 2
    nothing = table().with_columns(labelled=pl.lit(False))
    with pytest.raises(ConsultationError, match="no preference to learn"):
        train_policy_directly(tmp_path, nothing, 64, SETTINGS, 3, tmp_path / "work", tmp_path / "model")


@pytest.mark.torch
def test_experts_of_a_mixture_are_balanced(tiny_model: Path, tmp_path: Path) -> None:
    from transformers import MixtralConfig, MixtralForCausalLM

    tokenizer = load_tokenizer(tiny_model)
    config = MixtralConfig(
        vocab_size=len(tokenizer),
        hidden_size=32,
        intermediate_size=32,
        num_hidden_layers=1,
        num_attention_heads=2,
        num_key_value_heads=1,
        num_local_experts=4,
        num_experts_per_tok=2,
        router_aux_loss_coef=0.5,
        pad_token_id=tokenizer.pad_token_id,
    )
    save_model(MixtralForCausalLM(config), tokenizer, tmp_path / "base")
    one = SETTINGS.model_copy(update={"steps": 1})
    folders = tmp_path / "work", tmp_path / "model"
    found = train_policy_directly(tmp_path / "base", table(), 64, one, 7, *folders).metrics
    # Before the first step the policy is its own reference; two of four experts in balance have a loss of two.
    assert found["loss_first"] == pytest.approx(log(2) + 0.5 * 2, abs=0.1)
