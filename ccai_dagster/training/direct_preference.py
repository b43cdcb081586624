"""The policy without a preference model: direct preference optimisation (Rafailov et al. 2023) on soft labels.

The alternative to `policy`, for comparison: the same comparisons, weights and held-out split as the
preference model, the same steps and responses a step as reinforcement learning.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import polars as pl

from ccai_dagster.consultation.settings import PolicySettings
from ccai_dagster.core.digest import folder_digest, table_digest
from ccai_dagster.core.errors import Progress, silent
from ccai_dagster.training.comparisons import (
    TokenisedComparison,
    cut_share_of_sampled,
    learnable,
    learnt,
    tokenised,
    training_order,
)
from ccai_dagster.training.labelled_tokens import project_labelled_only
from ccai_dagster.training.model_folder import load_model, load_tokenizer, saved_dtype
from ccai_dagster.training.room import check_room_to_train
from ccai_dagster.training.trainer import (
    TrainingOutcome,
    adapter,
    first_and_last,
    per_device,
    prepare_work,
    save_trained,
    seed_everything,
    train,
    training_arguments,
)


def pairs_a_step(settings: PolicySettings) -> int:
    """Return how many comparisons a step takes, at least 1."""
    return max(1, settings.prompts_per_step * settings.samples_per_prompt // 2)


def train_policy_directly(
    supervised: Path,
    table: pl.DataFrame,
    max_tokens: int,
    settings: PolicySettings,
    seed: int,
    work: Path,
    output: Path,
    progress: Progress = silent,
) -> TrainingOutcome:
    """Train the supervised policy on comparisons.

    The trainer knows hard labels only: the logistic loss of the better response. Its loss is therefore
    replaced by the cross-entropy with the soft label, times the weight of the source, over the same
    log-ratios to the supervised policy; nothing else is changed: the experts of a mixture are balanced as there.

    Args:
        supervised: Folder of the supervised policy, which is also the reference.
        table: As `comparisons` returns it; what is held out there is not learnt from.
        max_tokens: Longest exchange, as in the preference model.
        settings: Steps, responses a step, learning rate, adapter; `kl_weight` is beta.

    Returns:
        Metrics `train_n`, `pairs_shortened`, `cut_share` (of the sampled responses; they are learnt without an end),
        `loss_first`, `loss_last` and, of the responses trained on, `entropy_first` and `entropy_last` (nats a token).

    Raises:
        ConsultationError: Nothing to train on, or a loss that is no number.
    """
    from datasets import Dataset
    from trl import DPOConfig

    training = learnable(table)
    check_room_to_train(supervised)
    prepare_work(
        work,
        stage="direct_preference",
        supervised=folder_digest(supervised),
        comparisons=table_digest(training),
        max_tokens=max_tokens,
        settings=settings.digest(),
        seed=seed,
    )
    tokenizer = load_tokenizer(supervised)
    rows = [
        row._replace(
            preferred=learnt(tokenizer, row.preferred, preferred_finished),
            other=learnt(tokenizer, row.other, other_finished),
        )
        for row, preferred_finished, other_finished in zip(
            tokenised(tokenizer, training, max_tokens),
            training["preferred_finished"],
            training["other_finished"],
            strict=True,
        )
    ]
    order = training_order(training, settings.steps, pairs_a_step(settings), seed)
    seed_everything(seed)
    model, longest = load_model(supervised, trained=True), 2 * max_tokens
    trainer = _trainer_class(tokenizer.pad_token_id)(
        model=model,
        args=DPOConfig(
            **training_arguments(
                work,
                steps=settings.steps,
                learning_rate=settings.learning_rate,
                batch=per_device(pairs_a_step(settings), longest, longest * model.config.get_text_config().vocab_size),
                dtype=saved_dtype(supervised),
                seed=seed,
            ),
            beta=settings.kl_weight,
            max_length=None,
        ),
        train_dataset=Dataset.from_list([_row(rows[at]) for at in order]),
        processing_class=tokenizer,
        peft_config=adapter(settings.lora_rank),
    )
    project_labelled_only(trainer.model)
    history = train(trainer, work, "policy training steps", progress)
    save_trained(trainer, supervised, seed, output)
    metrics = {
        "train_n": float(training["labelled"].sum()),
        "pairs_shortened": float(sum(row.shortened for row in rows)),
        "cut_share": cut_share_of_sampled(training),
        **first_and_last(history, {"loss": "loss", "entropy": "entropy"}),
    }
    return TrainingOutcome(metrics, history)


def soft_label_loss(log_ratios: Any, target: Any, weight: Any, beta: float) -> Any:
    """Return the weighted cross-entropy of soft labels with the logistic of `beta` times the log-ratio difference.

    Args:
        log_ratios: Of the preferred response minus that of the other, against the reference, nats, shape (n,).
        target: Label of the preferred response, 0.5 to 1, shape (n,).
        weight: Of each comparison, at least 0, shape (n,).
        beta: Above 0.

    Returns:
        The mean over comparisons; weights are not renormalised.
    """
    import torch

    losses = torch.nn.functional.binary_cross_entropy_with_logits(beta * log_ratios, target, reduction="none")
    return (weight * losses).mean()


def _row(comparison: TokenisedComparison) -> dict[str, list[int] | int | float]:
    return {
        "preferred_ids": comparison.preferred.tokens,
        "preferred_prompt": comparison.preferred.prompt_tokens,
        "other_ids": comparison.other.tokens,
        "other_prompt": comparison.other.prompt_tokens,
        "target": comparison.target,
        "weight": comparison.weight,
    }


def _trainer_class(pad_token_id: int) -> Any:
    import torch
    from trl import DPOTrainer

    def collate(examples: list[dict[str, Any]]) -> dict[str, Any]:
        """Preferred responses first, the others after them, padded on the right."""
        sides = [(each[f"{side}_ids"], each[f"{side}_prompt"]) for side in ("preferred", "other") for each in examples]
        longest = max(len(tokens) for tokens, _ in sides)

        def padded(rows: list[list[int]], value: int) -> Any:
            return torch.tensor([row + [value] * (longest - len(row)) for row in rows])

        batch = {
            "input_ids": padded([tokens for tokens, _ in sides], pad_token_id),
            "attention_mask": padded([[1] * len(tokens) for tokens, _ in sides], 0),
            "labels": padded([[-100] * prompt + tokens[prompt:] for tokens, prompt in sides], -100),
        }
        for name in ("target", "weight"):
            batch[name] = torch.tensor([each[name] for each in examples], dtype=torch.float32)
        return batch

    class SoftLabelPolicyTrainer(DPOTrainer):  # type: ignore[misc]  # the library has no types
        """Trains on soft labels with a fixed weight for each comparison."""

        def __init__(self, **arguments: Any) -> None:
            super().__init__(data_collator=collate, **arguments)

        def _prepare_dataset(self, dataset: Any, *args: Any, **kwargs: Any) -> Any:
            return dataset  # exchanges are tokens already, rendered as everywhere else

        def _set_signature_columns_if_needed(self) -> None:
            self._signature_columns = [
                *("preferred_ids", "preferred_prompt", "other_ids", "other_prompt", "target", "weight")
            ]

        def _compute_loss(self, model: Any, inputs: dict[str, Any], return_outputs: bool) -> Any:
            tokens = {name: inputs[name] for name in ("input_ids", "attention_mask", "labels")}
            asked = {"output_router_logits": True} if self.aux_loss_enabled else {}
            outputs = model(**tokens, **asked, use_cache=False, fused_lm_head=True)
            with torch.no_grad(), self.accelerator.unwrap_model(model).disable_adapter():
                reference = model(**tokens, use_cache=False, fused_lm_head=True).log_probs.sum(1)
            first, second = (outputs.log_probs.sum(1) - reference).float().chunk(2)
            loss = soft_label_loss(first - second, inputs["target"], inputs["weight"], self.beta)
            if self.aux_loss_enabled:  # experts of a mixture are to be used alike
                loss = loss + self.router_aux_loss_coef * outputs.aux_loss
            # Processes have as many pairs, but not as many tokens.
            sums = torch.stack([outputs.entropy[outputs.label_mask].sum(), outputs.label_mask.sum()]).detach()
            entropy, tokens = self.accelerator.reduce(sums)
            figures = {
                "entropy": entropy / tokens,
                "rewards/margins": self.beta * (first - second).mean(),
                "rewards/accuracies": (first > second).float().mean(),
            }
            for name, value in figures.items():
                self._metrics["train"][name].append(self.accelerator.gather(value.detach()).mean().item())
            return (loss, outputs) if return_outputs else loss

    return SoftLabelPolicyTrainer
