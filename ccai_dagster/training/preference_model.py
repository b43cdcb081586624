"""The preference model: one score for an exchange, trained on soft labels (Bai et al. 2022, section 4.1).

The loss of a comparison is the cross-entropy between its label and the logistic of the difference of two
scores, times the fixed weight of its source. The weight of harmlessness is a decision on record: too much
of it made the first models of the CCAI study refuse too often. Data are in `preference_pairs`, figures on held-out
labels in `held_out`.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import polars as pl

from ccai_dagster.digest import folder_digest, table_digest
from ccai_dagster.progress import Progress, silent
from ccai_dagster.settings import PreferenceModelSettings, TunedJudgeSettings
from ccai_dagster.training import runs
from ccai_dagster.training.exchanges import exchange
from ccai_dagster.training.held_out import CURVE_SCHEMA, calibration_curve, held_out_metrics
from ccai_dagster.training.model_folder import load_model, load_tokenizer, saved_dtype
from ccai_dagster.training.outcome import TrainingOutcome, ends, history_table
from ccai_dagster.training.preference_pairs import SOURCES, comparisons, learnable, training_order
from ccai_dagster.training.runaway import watch
from ccai_dagster.training.scoring import scores


def train_preference_model(
    base: Path,
    harmlessness: pl.DataFrame,
    helpfulness: pl.DataFrame,
    harmlessness_weight: float,
    settings: PreferenceModelSettings,
    seed: int,
    work: Path,
    output: Path,
    progress: Progress = silent,
) -> TrainingOutcome:
    """Train a preference model on AI harmlessness labels and human helpfulness comparisons.

    Args:
        base: Folder of the model it starts from; its head is replaced by one score.
        harmlessness: PREFERENCE_PAIRS of one arm.
        helpfulness: HELPFULNESS_PAIRS, equal for all arms.
        harmlessness_weight: Loss weight of an AI label, at least 0; a human label has 1.
        settings: Steps, batch, learning rate, adapter, share held out.
        seed: The consultation's seed.
        work: Folder for checkpoints; a training that was stopped resumes from it.
        output: Folder that the model is saved in, in the number format of the base model.
        progress: Told every step.

    Returns:
        Metrics: `train_n` (labelled comparisons learnt from), `pairs_shortened`, `pairs_unanswered`,
        `pairs_identical`, `loss_first`, `loss_last`, and for each source the figures of
        `held_out.held_out_metrics`. Tables: `held_out`, one row a held-out comparison, and
        `calibration_curve`.

    Raises:
        ConsultationError: Nothing to train on, a negative weight, or a loss that is no number.
    """
    table = comparisons(harmlessness, helpfulness, harmlessness_weight, settings.held_out_share, seed)
    training = learnable(table)
    dtype = saved_dtype(base)
    runs.prepare_work(
        work,
        stage="preference_model",
        base=folder_digest(base),
        comparisons=table_digest(table),
        settings=settings.digest(),
        seed=seed,
    )
    tokenizer = load_tokenizer(base)
    rows, shortened = _tokenised(tokenizer, table, settings.max_tokens)
    trained_on = [row for row, held_out in zip(rows, table["held_out"], strict=True) if not held_out]
    size, passes = runs.per_device(settings.batch_size, 2 * settings.max_tokens)
    runs.seed_everything(seed)
    trainer = soft_label_trainer(
        base,
        tokenizer,
        [trained_on[at] for at in training_order(training, settings.steps, settings.batch_size, seed)],
        settings,
        {
            **runs.training_arguments(
                work, steps=settings.steps, learning_rate=settings.learning_rate, dtype=dtype, seed=seed
            ),
            "per_device_train_batch_size": size,
            "gradient_accumulation_steps": passes,
            "logging_nan_inf_filter": False,
        },
    )
    trainer.add_callback(watch())
    runs.train(trainer, work, "preference model training steps", progress)
    history = history_table(trainer.state.log_history)
    runs.save_trained(trainer, base, seed, output)
    metrics = {
        "train_n": float(training["labelled"].sum()),
        "pairs_shortened": float(shortened),
        "pairs_unanswered": float(harmlessness.filter(pl.col("status") == "unanswered").height),
        "pairs_identical": float(harmlessness.filter(pl.col("status") == "identical").height),
    }
    if loss := ends(history, "loss"):
        metrics |= {"loss_first": loss[0], "loss_last": loss[1]}
    held_out = _held_out(output, table, rows, settings.batch_size)
    curves = []
    for source in SOURCES:
        own = held_out.filter(pl.col("source") == source)
        metrics |= held_out_metrics(source, own, seed)
        curves += [calibration_curve(source, own, seed)] if own.height else []
    curve = pl.concat(curves) if curves else pl.DataFrame(schema=CURVE_SCHEMA)
    return TrainingOutcome(metrics, history, {"held_out": held_out, "calibration_curve": curve})


def _held_out(folder: Path, table: pl.DataFrame, rows: list[dict[str, Any]], batch_size: int) -> pl.DataFrame:
    """Score the labelled comparisons that were held out."""
    wanted = (table["held_out"] & table["labelled"]).to_list()
    own = [row for row, chosen in zip(rows, wanted, strict=True) if chosen]
    scored = scores(
        folder, [row[side] for row in own for side in ("chosen_ids", "rejected_ids")], 2 * batch_size
    )
    return (
        table.filter(wanted)
        .select("source", "pair_id", "prompt", "target")
        .with_columns(
            pl.Series(
                "margin", [a - b for a, b in zip(scored[::2], scored[1::2], strict=True)], dtype=pl.Float64
            ),
            pl.Series(
                "tokens", [len(row["chosen_ids"]) - len(row["rejected_ids"]) for row in own], dtype=pl.Int64
            ),
        )
    )


def _tokenised(tokenizer: Any, table: pl.DataFrame, max_tokens: int) -> tuple[list[dict[str, Any]], int]:
    rows: list[dict[str, Any]] = []
    shortened = 0
    for prompt, preferred, other, target, weight in table.select(
        "prompt", "preferred", "other", "target", "weight"
    ).iter_rows():
        first, second = (exchange(tokenizer, prompt, response, max_tokens) for response in (preferred, other))
        shortened += first.shortened or second.shortened
        rows.append(
            {
                "chosen_ids": first.tokens,
                "rejected_ids": second.tokens,
                "target": target,
                "weight": weight,
            }
        )
    return rows, shortened


def soft_label_trainer(
    base: Path,
    tokenizer: Any,
    rows: list[dict[str, Any]],
    settings: PreferenceModelSettings | TunedJudgeSettings,
    arguments: dict[str, Any],
) -> Any:
    """Return a trainer of scores on soft labels, with an adapter on the model in `base`.

    Args:
        base: Model folder, with a score head or without.
        tokenizer: Its tokenizer.
        rows: `chosen_ids`, `rejected_ids`, `target` (label of the first, 0 to 1) and `weight`, in the order of
            training.
        settings: Adapter and longest exchange.
        arguments: Of the trainer, see `runs.training_arguments`.
    """
    import torch
    from datasets import Dataset
    from trl import RewardConfig, RewardTrainer
    from trl.trainer.reward_trainer import DataCollatorForPreference

    class SoftLabelCollator(DataCollatorForPreference):
        """Adds label and weight of each comparison to the batch."""

        def torch_call(self, examples: list[dict[str, Any]]) -> dict[str, Any]:
            batch: dict[str, Any] = super().torch_call(examples)
            for name in ("target", "weight"):
                batch[name] = torch.tensor([example[name] for example in examples], dtype=torch.float32)
            return batch

    class SoftLabelTrainer(RewardTrainer):
        """Trains on soft labels with a fixed weight for each comparison."""

        _signature_columns: list[str] | None

        def _set_signature_columns_if_needed(self) -> None:
            if self._signature_columns is None:
                super()._set_signature_columns_if_needed()
                self._signature_columns = [*(self._signature_columns or []), "target", "weight"]

        def compute_loss(
            self,
            model: Any,
            inputs: dict[str, Any],
            return_outputs: bool = False,
            num_items_in_batch: Any = None,
        ) -> Any:
            target, weight = inputs.pop("target"), inputs.pop("weight")
            _, outputs = super().compute_loss(model, inputs, return_outputs=True)
            first, second = outputs.logits.squeeze(-1).chunk(2)
            losses = torch.nn.functional.binary_cross_entropy_with_logits(
                (first - second).float(), target, reduction="none"
            )
            # Weights are not renormalised: a batch with more harmlessness in it is to pull harder.
            loss = (weight * losses).mean()
            return (loss, outputs) if return_outputs else loss

    return SoftLabelTrainer(
        model=load_model(base, scores=True),
        args=RewardConfig(**arguments, max_length=settings.max_tokens),
        data_collator=SoftLabelCollator(pad_token_id=tokenizer.pad_token_id),
        train_dataset=Dataset.from_list(rows),
        processing_class=tokenizer,
        peft_config=runs.adapter(settings.lora_rank, scores=True),
    )
