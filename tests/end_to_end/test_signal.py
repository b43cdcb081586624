"""From labels to policy with a judge whose preference is known: what it wants is what the policy learns.

The feedback model of the sample is at chance, so a run with it cannot show whether the chain carries a signal.
Here the judge prefers plain characters under the one principle there is, and is asked by the project's own
method; the model is random and small and speaks in bytes of every kind, so nothing it learns was there before.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from scipy.stats import ttest_rel

from ccai_dagster.consultation.settings import PairSettings, PolicySettings, PreferenceModelSettings
from ccai_dagster.contracts import HELPFULNESS_PAIRS, PROMPTS
from ccai_dagster.feedback.judge import stated
from ccai_dagster.feedback.preference_pairs import label_pairs, sample_pairs
from ccai_dagster.stages.transformers_model import TransformersModel
from ccai_dagster.training.policy import reward_gain, train_policy
from ccai_dagster.training.preference_model import train_preference_model

pytestmark = [pytest.mark.torch, pytest.mark.end_to_end]

PLAINNESS = "A response should be written in plain characters."
WORDS = ("who", "why", "how", "town", "letter", "fair", "kind", "user", "rule", "honest", "tell", "write", "right")
SEED, NEW_TOKENS = 7, 16
PAIRS = PairSettings(prompts=1200, new_tokens=NEW_TOKENS, batch_size=64)
PREFERENCES = PreferenceModelSettings(
    steps=160, batch_size=24, learning_rate=5e-3, lora_rank=8, max_tokens=96, held_out_share=0.25
)
POLICY = PolicySettings(
    steps=40,
    prompts_per_step=8,
    samples_per_prompt=8,
    new_tokens=NEW_TOKENS,
    kl_weight=0.01,
    learning_rate=1e-2,
    lora_rank=8,
    held_out_prompts=384,
)


def plainness(response: str) -> float:
    """Share of characters that are ASCII; the tiny model's bytes mostly are not."""
    return sum(character.isascii() for character in response) / max(1, len(response))


class LikesPlainness:
    """Finds a response the likelier under the principle the plainer it is, and all alike without."""

    name = "likes plainness"

    def log_likelihoods(self, conversations: Sequence[Any], responses: Sequence[str]) -> np.ndarray:
        follows = [conversation[0] == ("system", stated(PLAINNESS)) for conversation in conversations]
        return np.array(
            [[5 * plainness(text) * following, 1.0] for text, following in zip(responses, follows, strict=True)]
        )


def prompts() -> pl.DataFrame:
    generator = random.Random(0)
    rows = []
    for purpose, count in (("preference", PAIRS.prompts), ("policy", 64), ("held_out", POLICY.held_out_prompts)):
        for at in range(count):
            text = " ".join(generator.choices(WORDS, k=4)) + f"? {at}"
            rows.append(
                {
                    "prompt_id": f"{purpose}-{at:04}",
                    "text": text,
                    "purpose": purpose,
                    "themes": [],
                    "relevant_principles": [],
                }
            )
    return PROMPTS.build(rows)


@pytest.fixture(scope="module")
def calm_model(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny model with small weights: its attention is even, so what is said late and early counts alike."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    from ccai_dagster.training.model_folder import load_tokenizer, save_model

    folder = tmp_path_factory.mktemp("calm") / "model"
    config = LlamaConfig.from_pretrained(tiny_model)
    config.initializer_range = 0.05
    with torch.random.fork_rng():
        torch.manual_seed(0)
        save_model(LlamaForCausalLM(config), load_tokenizer(tiny_model), folder)
    return folder


def test_what_the_judge_prefers_is_what_the_policy_does(calm_model: Path, tmp_path: Path) -> None:
    database = prompts()
    before = TransformersModel(calm_model, "float32", 64, 1024)
    pairs = sample_pairs(before, database, PAIRS, SEED)
    principles = pl.DataFrame({"principle_id": ["P1"], "text": [PLAINNESS]})
    labels = label_pairs(LikesPlainness(), pairs, principles, "contrast", False, SEED)

    preferences = train_preference_model(
        calm_model, labels, HELPFULNESS_PAIRS.empty(), 1.0, PREFERENCES, SEED, tmp_path / "pw", tmp_path / "preferences"
    ).metrics
    assert preferences["held_out_harmlessness_n"] > 200
    assert preferences["held_out_harmlessness_accuracy"] >= 0.75
    assert preferences["held_out_harmlessness_agreement"] <= preferences["held_out_harmlessness_agreement_possible"]

    asked = database.filter(pl.col("purpose") == "policy")["text"].to_list()
    outcome = train_policy(
        calm_model, tmp_path / "preferences", asked, POLICY, SEED, tmp_path / "work", tmp_path / "policy"
    )
    assert outcome.metrics["reward_last"] > outcome.metrics["reward_first"]
    assert outcome.metrics["kl_largest"] < POLICY.kl_limit
    after = TransformersModel(tmp_path / "policy", "float32", 64, 1024)
    gain, said = reward_gain(after, before, tmp_path / "preferences", database, 96, POLICY, SEED)
    assert gain["held_out_gain_low"] > 0
    # Plainer in fact and not only in the eyes of the preference model, and beyond chance.
    after_share, before_share = ([plainness(text) for text in said[name]] for name in ("policy", "supervised"))
    assert np.mean(after_share) > np.mean(before_share) + 0.02
    assert ttest_rel(after_share, before_share, alternative="greater").pvalue < 0.001
