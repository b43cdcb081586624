"""The policy: reinforcement learning from AI feedback (Bai et al. 2022, section 4).

The reward of a response is the preference model's score minus the KL penalty against the supervised
policy; the gradient is estimated by REINFORCE with a leave-one-out baseline (Ahmadian et al. 2024), which
takes the place of the proximal policy optimisation of the original study. The alternative without a
preference model is in `direct_preference`.

What either way of training gained is measured by the rewards on held-out prompts, against those of the supervised
policy. The reward is the preference model's own, so a gain shows that the policy moved in the direction of the
preference model, and nothing about whether that is right.

A response that was cut off at the limit of tokens is trained on like any other. No end of a turn is taught by it: the
loss is over what the policy said, and it said none. Left out of the loss (`mask_truncated_completions` of the trainer)
such responses would leave nothing to learn from where most are cut off: of the embedded model's, 2 in 100 end within 32
tokens without sampling and 11 with. How many there were is among the metrics (`cut_share`).
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from ccai_dagster.consultation.settings import PolicySettings
from ccai_dagster.core.digest import folder_digest
from ccai_dagster.core.draws import derived_seed, uniform
from ccai_dagster.core.errors import ConsultationError, Progress, silent
from ccai_dagster.feedback.language_model import LanguageModel, rendered, texts_of, without_control_tokens
from ccai_dagster.feedback.prompts import chosen_prompts
from ccai_dagster.training.exchange_scores import ExchangeScorer
from ccai_dagster.training.labelled_tokens import project_labelled_only
from ccai_dagster.training.model_folder import load_model, load_tokenizer, saved_dtype
from ccai_dagster.training.room import check_room_to_train
from ccai_dagster.training.trainer import (
    TOKENS_PER_PASS,
    TrainingOutcome,
    adapter,
    drawn_order,
    first_and_last,
    per_device,
    prepare_work,
    save_trained,
    seed_everything,
    train,
    training_arguments,
)

FIGURES = {
    "reward": "reward",
    "kl": "kl",
    "length": "completions/mean_length",
    "entropy": "entropy",
    "empty_share": "empty_share",
    "cut_share": "completions/clipped_ratio",
}
"""What is summarised, and what the trainer calls it."""
SAMPLED_STEPS = 6
SAMPLES_A_STEP = 2
SAMPLES_SCHEMA = {"step": pl.Int64(), "prompt": pl.String(), "response": pl.String(), "reward": pl.Float64()}


def training_prompts(prompts: pl.DataFrame, helpfulness_pairs: pl.DataFrame, count: int, seed: int) -> list[str]:
    """Return what the policy answers: the prompts with the purpose `policy`, and some of people's comparisons.

    Reinforcement learning was published on prompts of harmlessness and of helpfulness together (Bai et al. 2022,
    section 4.2).

    Args:
        prompts: PROMPTS.
        helpfulness_pairs: HELPFULNESS_PAIRS.
        count: How many different prompts of those to draw; all if there are no more.
        seed: Of the draw.
    """
    own = prompts.filter(pl.col("purpose") == "policy").sort("prompt_id")["text"].to_list()
    compared = sorted(set(helpfulness_pairs["prompt"]) - set(prompts["text"]))
    return own + sorted(compared, key=lambda text: uniform(seed, "helpfulness prompts", text))[:count]


def policy_order(prompts: Sequence[str], settings: PolicySettings, seed: int) -> list[str]:
    """Return the prompts in the order of training, `prompts_per_step` of them a step.

    Args:
        prompts: What users say; order and duplicates do not matter.
        settings: Steps and prompts a step.
        seed: Of the shuffling.

    Raises:
        ConsultationError: No prompts.
    """
    if not prompts:
        raise ConsultationError("prompts.csv: no prompt has the purpose `policy`. Add some rows with it.")
    ordered = sorted(set(prompts))
    return [ordered[at] for at in drawn_order(len(ordered), settings.steps * settings.prompts_per_step, seed)]


def train_policy(
    supervised: Path,
    preference_model: Path,
    prompts: Sequence[str],
    settings: PolicySettings,
    seed: int,
    work: Path,
    output: Path,
    progress: Progress = silent,
) -> TrainingOutcome:
    """Train the supervised policy against the preference model.

    Args:
        supervised: Folder of the supervised policy, which is also the reference of the KL penalty.
        preference_model: Folder of the preference model; its chat template must be the policy's.
        prompts: What users say; their order does not matter.
        settings: Steps, samples, length, KL weight, limits, learning rate, adapter.

    Returns:
        Metrics, each as the mean of the first and of the last tenth of the steps: `reward` (score of the
        preference model, without the penalty), `kl` (nats a token against the supervised policy), `length`
        (tokens a response), `entropy` (nats a token), `empty_share` (responses without a word), `cut_share`
        (responses cut off at `new_tokens`); also `kl_largest` and the bound it stayed under, `kl_limit`. Table
        `samples`: a few responses at the first, the last and some steps between.

    Raises:
        ConsultationError: No prompts, one that does not fit into the model's context, a figure that is no
            number, or a policy that left its bounds (`trainer.check_policy`).
    """
    from datasets import Dataset
    from trl import RLOOConfig

    ordered = policy_order(prompts, settings, seed)
    check_room_to_train(supervised, preference_model)
    prepare_work(
        work,
        stage="policy",
        supervised=folder_digest(supervised),
        preference_model=folder_digest(preference_model),
        prompts=ordered,
        settings=settings.digest(),
        seed=seed,
    )
    tokenizer = load_tokenizer(supervised)
    tokenizer.padding_side = "left"
    model = load_model(supervised, trained=True)
    sizes = model.config.get_text_config()  # of a model that also sees pictures, the part that reads
    context = sizes.max_position_embeddings
    longest = max(len(tokenizer(rendered(tokenizer, [("user", text)], open_turn=True)).input_ids) for text in ordered)
    if longest + settings.new_tokens > context:
        raise ConsultationError(
            f"prompts.csv: a prompt of {longest} tokens and a response of {settings.new_tokens} do not fit "
            f"into the model's {context} tokens. Shorten the longest prompt "
            "with the purpose `policy`, or answer no `helpfulness_prompts`."
        )
    batch = settings.prompts_per_step * settings.samples_per_prompt
    samples = work / "samples.jsonl"
    seed_everything(seed)
    scorer = ExchangeScorer(preference_model, max(1, TOKENS_PER_PASS // (longest + settings.new_tokens)))

    def reward(prompts: list[Any], completions: list[Any], **_: Any) -> list[float]:
        turns = zip(prompts, completions, strict=True)
        return scorer.scores_of_texts([(asked[-1]["content"], said[-1]["content"]) for asked, said in turns], context)

    trainer = _trainer_class()(
        model=model,
        reward_funcs=reward,
        args=RLOOConfig(
            **training_arguments(
                work,
                steps=settings.steps,
                learning_rate=settings.learning_rate,
                batch=per_device(batch, longest + settings.new_tokens, settings.new_tokens * sizes.vocab_size),
                dtype=saved_dtype(supervised),
                seed=seed,
            ),
            num_generations=settings.samples_per_prompt,
            max_completion_length=settings.new_tokens,
            temperature=settings.temperature,
            beta=settings.kl_weight,
            shuffle_dataset=False,
        ),
        train_dataset=Dataset.from_list(
            [{"prompt": [{"role": "user", "content": without_control_tokens(tokenizer, text)}]} for text in ordered]
        ),
        processing_class=tokenizer,
        peft_config=adapter(settings.lora_rank),
    )
    trainer.samples = samples
    project_labelled_only(trainer.model, settings.temperature)
    history = train(trainer, work, "policy training steps", progress, settings)
    save_trained(trainer, supervised, seed, output)
    metrics = {"prompts": float(len(set(ordered))), **first_and_last(history, FIGURES)}
    divergence = history.filter(pl.col("name") == FIGURES["kl"])["value"]
    if divergence.len():
        metrics |= {"kl_largest": float(divergence.to_numpy().max()), "kl_limit": settings.kl_limit}
    return TrainingOutcome(metrics, history, {"samples": read_samples(samples)})


def read_samples(path: Path) -> pl.DataFrame:
    """Read the responses kept on the way; of a step that was taken twice, after an interruption, the later ones."""
    by_step: dict[int, list[dict[str, Any]]] = {}
    lines = path.read_text(encoding="utf-8").splitlines() if path.is_file() else []
    for line in lines:
        kept = json.loads(line)
        by_step[kept["step"]] = kept["samples"]
    rows = [{"step": step, **sample} for step in sorted(by_step) for sample in by_step[step]]
    return pl.DataFrame(rows, schema=SAMPLES_SCHEMA)


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
        policy: What was trained.
        supervised: What it was trained from.
        preference_model: Folder of the preference model.
        prompts: PROMPTS; up to `settings.held_out_prompts` of the purpose `held_out` are used.
        max_tokens: Longest exchange, in tokens.
        settings: Length and temperature of the responses.
        seed: Both policies draw with the same one.
        progress: Counts responses that are finished.

    Returns:
        Metrics `held_out_prompts`; `held_out_reward` and `held_out_reward_supervised`; `held_out_cut_share` and
        `held_out_cut_share_supervised`, the shares of responses cut off at the limit of tokens;
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
    scorer = ExchangeScorer(preference_model, 2 * settings.samples_per_prompt)
    scored = [
        scorer.scores_of_texts(list(zip(texts, texts_of(responses), strict=True)), max_tokens) for responses in said
    ]
    before, after = np.array(scored[0]), np.array(scored[1])
    low, high = paired_interval(after - before)
    cut = [sum(not response.finished for response in responses) / len(responses) for responses in said]
    metrics = {
        "held_out_prompts": float(len(texts)),
        "held_out_cut_share": cut[1],
        "held_out_cut_share_supervised": cut[0],
        "held_out_reward": float(after.mean()),
        "held_out_reward_supervised": float(before.mean()),
        "held_out_gain": float((after - before).mean()),
        "held_out_gain_low": low,
        "held_out_gain_high": high,
    }
    likelihoods = [model.log_likelihoods(asked, texts_of(said[1])) for model in (policy, supervised)]
    tokens = float(likelihoods[0][:, 1].sum())
    if tokens:
        metrics["held_out_kl"] = float((likelihoods[0][:, 0] - likelihoods[1][:, 0]).sum() / tokens)
    metrics = {name: value for name, value in metrics.items() if math.isfinite(value)}
    table = pl.DataFrame(
        {
            "prompt": texts,
            "supervised": texts_of(said[0]),
            "policy": texts_of(said[1]),
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


def _trainer_class() -> Any:
    from trl import RLOOTrainer

    class PolicyTrainer(RLOOTrainer):  # type: ignore[misc]  # the library has no types
        """Keeps control tokens out of what is rewarded, and keeps samples."""

        samples: Path

        def _calculate_rewards(
            self, inputs: Any, prompts: list[Any], completions: list[Any], completion_ids_list: Any
        ) -> Any:
            # A response that spells a control token would otherwise be scored as a turn of somebody else.
            said = [
                [{**turn, "content": without_control_tokens(self.processing_class, turn["content"])} for turn in turns]
                for turns in completions
            ]
            rewards = super()._calculate_rewards(inputs, prompts, said, completion_ids_list)
            texts = [turns[-1]["content"].strip() for turns in said]
            self._log_metric("empty_share", sum(not text for text in texts) / len(texts))
            step = self.state.global_step + 1
            chosen = {round(1 + at * (self.args.max_steps - 1) / (SAMPLED_STEPS - 1)) for at in range(SAMPLED_STEPS)}
            if self.accelerator.is_main_process and step in chosen:
                kept = [
                    {"prompt": prompts[at][-1]["content"], "response": texts[at], "reward": rewards[at, 0].item()}
                    for at in range(0, len(prompts), self.num_generations)
                ][:SAMPLES_A_STEP]
                with self.samples.open("a", encoding="utf-8") as file:
                    file.write(json.dumps({"step": step, "samples": kept}) + "\n")
            return rewards

    return PolicyTrainer
