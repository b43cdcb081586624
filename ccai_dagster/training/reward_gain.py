"""What training the policy gained: its rewards against those of the supervised policy on held-out prompts.

Works for every way of training a policy. The reward is the preference model's own, so a gain shows that the
policy moved in the direction of the preference model, and nothing about whether that is right.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import polars as pl

from ccai_dagster.feedback.draws import derived_seed
from ccai_dagster.feedback.language_model import LanguageModel
from ccai_dagster.feedback.prompts import chosen_prompts
from ccai_dagster.progress import Progress, silent
from ccai_dagster.settings import PolicySettings
from ccai_dagster.training.scoring import exchange_scores


def reward_gain(
    policy: LanguageModel,
    supervised: LanguageModel,
    preference_model: Path,
    prompts: pl.DataFrame,
    max_tokens: int,
    settings: PolicySettings,
    seed: int,
    progress: Progress = silent,
) -> tuple[dict[str, float], pl.DataFrame]:
    """Let both policies respond to held-out prompts and compare the rewards prompt by prompt.

    Args:
        policy: The trained policy.
        supervised: The supervised policy it was trained from.
        preference_model: Folder of the preference model.
        prompts: PROMPTS; up to `settings.held_out_prompts` of the purpose `held_out` are used.
        max_tokens: Longest exchange, in tokens.
        settings: Length and temperature of the responses.
        seed: The consultation's seed; both policies draw with the same one.
        progress: Told how many responses are finished.

    Returns:
        Metrics `held_out_prompts`; `held_out_reward` and `held_out_reward_supervised`;
        `held_out_gain` with its 95 % interval (paired by prompt); `held_out_kl`, the divergence from the
        supervised policy in nats a token, estimated on the policy's responses. Table: `prompt`,
        `supervised`, `policy` (responses), `reward_supervised`, `reward_policy`.

    Raises:
        ConsultationError: There is no held-out prompt, or one beyond the context.
    """
    texts = chosen_prompts(prompts, "held_out", settings.held_out_prompts, seed)["text"].to_list()
    asked = [[("user", text)] for text in texts]
    said = [
        model.generate(
            asked,
            new_tokens=settings.new_tokens,
            temperature=settings.temperature,
            seed=derived_seed(seed, "held-out rewards"),
            progress=progress,
        )
        for model in (supervised, policy)
    ]
    scored = [
        exchange_scores(
            preference_model,
            list(zip(texts, responses, strict=True)),
            max_tokens,
            2 * settings.samples_per_prompt,
        )
        for responses in said
    ]
    before, after = np.array(scored[0]), np.array(scored[1])
    low, high = paired_interval(after - before)
    metrics = {
        "held_out_prompts": float(len(texts)),
        "held_out_reward": float(after.mean()),
        "held_out_reward_supervised": float(before.mean()),
        "held_out_gain": float((after - before).mean()),
        "held_out_gain_low": low,
        "held_out_gain_high": high,
    }
    likelihoods = [model.log_likelihoods(asked, said[1]) for model in (policy, supervised)]
    tokens = float(likelihoods[0][:, 1].sum())
    if tokens:
        metrics["held_out_kl"] = float((likelihoods[0][:, 0] - likelihoods[1][:, 0]).sum() / tokens)
    metrics = {name: value for name, value in metrics.items() if math.isfinite(value)}
    table = pl.DataFrame(
        {
            "prompt": texts,
            "supervised": said[0],
            "policy": said[1],
            "reward_supervised": scored[0],
            "reward_policy": scored[1],
        }
    )
    return metrics, table


def paired_interval(differences: Sequence[float] | np.ndarray) -> tuple[float, float]:
    """Return Student's 95 % interval of a mean; infinite for fewer than two differences.

    Rewards have no bounds, so the intervals of shares do not apply to them.
    """
    from scipy.stats import t

    values = np.asarray(differences, dtype=float)
    if len(values) < 2:
        return -math.inf, math.inf
    half = float(t.ppf(0.975, len(values) - 1) * values.std(ddof=1) / math.sqrt(len(values)))
    return float(values.mean()) - half, float(values.mean()) + half
