"""The feedback model tuned on comparisons people labelled, with the principle in its prompt.

It is made like a preference model, in two steps: first a score head alone, by regularised logistic regression on
the untouched model's last hidden state, then adapters and head together from there. Fine-tuning from a head that
is drawn at random bends the model's features towards that head before it learns anything (Kumar et al. 2022,
arXiv 2202.10054); with a few hundred comparisons there is no time to bend them back.

How well it judges is measured on the other half of the comparisons, in `feedback.calibration`.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from ccai_dagster.consultation.settings import TunedJudgeSettings
from ccai_dagster.core.digest import folder_digest, table_digest
from ccai_dagster.core.errors import ConsultationError, Progress, silent
from ccai_dagster.core.files import write_file
from ccai_dagster.feedback.calibration import with_principle
from ccai_dagster.feedback.judge import scored_prompt
from ccai_dagster.feedback.prompts import PRINCIPLE
from ccai_dagster.training.comparisons import TokenisedComparison, tokenised
from ccai_dagster.training.model_folder import load_model, load_tokenizer, save_model, saved_dtype
from ccai_dagster.training.preference_model import soft_label_trainer
from ccai_dagster.training.trainer import (
    HISTORY_SCHEMA,
    TrainingOutcome,
    drawn_order,
    first_and_last,
    grouped_by_length,
    main_process_first,
    per_device,
    prepare_work,
    save_trained,
    seed_everything,
    train,
    training_arguments,
)

STRENGTHS = (1e-4, 1e-3, 1e-2, 1e-1, 1.0)
"""Inverse strengths of regularisation tried for the head; cross-validation over prompts chooses."""
FOLDS = 5
FEWEST_COMPARISONS = 2 * FOLDS


def train_feedback_model(
    base: Path,
    comparisons: Mapping[str, pl.DataFrame],
    settings: TunedJudgeSettings,
    seed: int,
    work: Path,
    output: Path,
    progress: Progress = silent,
) -> TrainingOutcome:
    """Tune a model that scores responses under a principle.

    Args:
        base: Folder of the model it starts from; its head is replaced by one score.
        comparisons: HELPFULNESS_PAIRS of the tuning side by name, with a column `principle` where they have
            one (`feedback.judge.halves`).
        settings: Passes after the head (0 keeps the head alone), batch, learning rate, adapter.
        work: For the model with the head alone too.
        progress: Counts responses that were read, too.

    Returns:
        Metrics: `train_n`, `comparisons_shortened`, `head_accuracy` (of the head alone, cross-validated over
        prompts), `head_strength`, and with passes `loss_first`, `loss_last`.

    Raises:
        ConsultationError: Fewer than ten decided comparisons, all of fewer than five prompts, or a loss that is no
            number.
    """
    table = tuning_table(comparisons)
    prepare_work(
        work,
        stage="feedback_model",
        base=folder_digest(base),
        comparisons=table_digest(table),
        settings=settings.digest(),
        seed=seed,
    )
    tokenizer = load_tokenizer(base)
    shown = [scored_prompt(*each) for each in table.select("prompt", PRINCIPLE).iter_rows()]
    rows = tokenised(
        tokenizer, table.with_columns(pl.Series("prompt", shown), pl.lit(1.0).alias("weight")), settings.max_tokens
    )
    head = work / "head"
    with main_process_first():
        figures = _figures_of_head(
            head.with_suffix(".json"),
            lambda: _save_with_head(base, tokenizer, table, rows, settings.batch_size, head, seed, progress),
        )
    metrics = {
        "train_n": float(table.height),
        "comparisons_shortened": float(sum(row.shortened for row in rows)),
        **figures,
    }
    steps = math.ceil(settings.passes * len(rows) / settings.batch_size)
    if not steps:
        if os.environ.get("RANK", "0") == "0":
            save_model(load_model(head, scores=True), tokenizer, output)
        return TrainingOutcome(metrics, pl.DataFrame(schema=HISTORY_SCHEMA))
    order = grouped_by_length(
        drawn_order(len(rows), steps * settings.batch_size, seed),
        [max(len(row.preferred.tokens), len(row.other.tokens)) for row in rows],
        table["comparison_set"].to_list(),
        settings.batch_size,
        seed,
    )
    seed_everything(seed)
    trainer = soft_label_trainer(
        head,
        tokenizer,
        [rows[at] for at in order],
        settings,
        training_arguments(
            work,
            steps=steps,
            learning_rate=settings.learning_rate,
            batch=per_device(settings.batch_size, 2 * settings.max_tokens),
            dtype=saved_dtype(base),
            seed=seed,
        ),
    )
    history = train(trainer, work, "feedback model tuning steps", progress)
    save_trained(trainer, base, seed, output)
    return TrainingOutcome(metrics | first_and_last(history, {"loss": "loss"}), history)


def tuning_table(comparisons: Mapping[str, pl.DataFrame]) -> pl.DataFrame:
    """Bring the comparisons of all sets into one table, the preferred response first.

    Undecided comparisons and identical responses teach nothing and are left out.

    Returns:
        `comparison_set`, `pair_id`, `prompt`, `principle`, `preferred`, `other`, `target` (above 0.5), sorted
        by set and id.

    Raises:
        ConsultationError: Too few comparisons or prompts.
    """
    a_first = pl.col("probability_a") > 0.5
    parts = [
        with_principle(own)
        .filter((pl.col("probability_a") != 0.5) & (pl.col("response_a") != pl.col("response_b")))
        .select(
            pl.lit(name).alias("comparison_set"),
            "pair_id",
            "prompt",
            PRINCIPLE,
            pl.when(a_first).then("response_a").otherwise("response_b").alias("preferred"),
            pl.when(a_first).then("response_b").otherwise("response_a").alias("other"),
            pl.when(a_first).then("probability_a").otherwise(1 - pl.col("probability_a")).alias("target"),
        )
        for name, own in comparisons.items()
    ]
    table = pl.concat(parts).sort("comparison_set", "pair_id") if parts else pl.DataFrame({"prompt": []})
    prompts = table["prompt"].n_unique()
    if table.height < FEWEST_COMPARISONS or prompts < FOLDS:
        raise ConsultationError(
            f"The feedback model cannot be tuned on {table.height} decided comparisons of {prompts} prompts; it "
            f"takes at least {FEWEST_COMPARISONS} of {FOLDS}, beside as many that measure it. Add labelled "
            "comparisons to `judge_comparisons` in consultation.yaml, or ask for no tuned judge (feedback_method in "
            "the training ledger, tuned_judge.calibrate in the profile)."
        )
    return table


def _figures_of_head(path: Path, make: Callable[[], dict[str, float]]) -> dict[str, float]:
    """Make the head once: the other processes, and a training that goes on, find its figures here."""
    if not path.is_file():
        write_file(path, json.dumps(make()))
    found: dict[str, float] = json.loads(path.read_text(encoding="utf-8"))
    return found


def _save_with_head(
    base: Path,
    tokenizer: Any,
    table: pl.DataFrame,
    rows: list[TokenisedComparison],
    batch_size: int,
    output: Path,
    seed: int,
    progress: Progress,
) -> dict[str, float]:
    """Save the base model with a fitted score head, and return how well the head alone does."""
    import torch

    seed_everything(seed)
    model = load_model(base, scores=True).eval()
    model.config.pad_token_id = tokenizer.pad_token_id
    sequences = [side.tokens for row in rows for side in (row.preferred, row.other)]
    states = _last_states(model, tokenizer, sequences, 2 * batch_size, progress)
    weights, accuracy, strength = fitted_head(
        states[::2] - states[1::2], np.array([row.target for row in rows]), table["prompt"].to_numpy()
    )
    with torch.no_grad():
        model.score.weight.copy_(torch.from_numpy(weights)[None])
    save_model(model, tokenizer, output)
    return {"head_accuracy": accuracy, "head_strength": strength}


def _last_states(
    model: Any, tokenizer: Any, sequences: list[list[int]], batch_size: int, progress: Progress
) -> np.ndarray:
    """Hidden state of each sequence's last token, which the score head reads, shape (sequences, width)."""
    import torch

    device = "cuda" if torch.cuda.is_available() else "cpu"
    inner = model.base_model.to(device)
    order = sorted(range(len(sequences)), key=lambda at: (len(sequences[at]), sequences[at], at))
    states = np.empty((len(sequences), model.config.hidden_size))
    for start in range(0, len(order), batch_size):
        batch = order[start : start + batch_size]
        inputs = tokenizer.pad(
            {"input_ids": [sequences[at] for at in batch]}, padding_side="right", return_tensors="pt"
        )
        ends_at = inputs["attention_mask"].sum(-1) - 1
        with torch.inference_mode():
            hidden = inner(
                input_ids=inputs["input_ids"].to(device), attention_mask=inputs["attention_mask"].to(device)
            ).last_hidden_state
        states[batch] = hidden[torch.arange(len(batch)), ends_at].float().cpu().numpy()
        progress("labelled responses read", min(start + batch_size, len(order)), len(order))
    model.to("cpu")
    return states


def fitted_head(differences: np.ndarray, targets: np.ndarray, prompts: np.ndarray) -> tuple[np.ndarray, float, float]:
    """Fit a linear score to labelled comparisons by logistic regression without an intercept.

    Every comparison is shown in both orders, weighted by its label, so that no order is preferred.

    Args:
        differences: Features of the preferred response minus those of the other, shape (n, width).
        targets: Labels of the preferred response, 0.5 to 1, shape (n,).
        prompts: Comparisons of one prompt are kept together in cross-validation, shape (n,).

    Returns:
        Weights of the score, float32 of shape (width,); cross-validated accuracy; inverse strength of the
        regularisation, the one of `STRENGTHS` with the best cross-validated log-likelihood.
    """
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import GroupKFold

    scale = np.sqrt((differences**2).mean(axis=0)) + 1e-6
    scaled = differences / scale

    def fit(strength: float, rows: np.ndarray) -> np.ndarray:
        own = scaled[rows]
        regression = LogisticRegression(C=strength, fit_intercept=False, max_iter=1000)
        regression.fit(
            np.concatenate([own, -own]), np.repeat([1, 0], len(own)), sample_weight=np.tile(targets[rows], 2)
        )
        coefficients: np.ndarray = regression.coef_[0]
        return coefficients

    folds = list(GroupKFold(FOLDS).split(scaled, groups=prompts))
    best = (-np.inf, 0.0, STRENGTHS[0])
    for strength in STRENGTHS:
        margins = np.empty(len(scaled))
        for learnt, left_out in folds:
            margins[left_out] = scaled[left_out] @ fit(strength, learnt)
        likelihood = -np.logaddexp(0, -margins) @ targets - np.logaddexp(0, margins) @ (1 - targets)
        best = max(best, (float(likelihood), float((margins > 0).mean()), strength))
    _, accuracy, strength = best
    weights = fit(strength, np.arange(len(scaled))) / scale
    return weights.astype(np.float32), accuracy, strength
