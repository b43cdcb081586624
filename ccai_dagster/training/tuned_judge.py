"""The feedback model that learnt from comparisons people labelled: the judges `tuned` and `words`.

`tuned` is a linear score of what the untouched model makes of a response to the prompt and the principle
(`response_states`), fitted by regularised logistic regression. The model itself is not trained: a few hundred
comparisons bend its features before they teach it anything (Kumar et al. 2022, arXiv 2202.10054). `words` is fitted to
the same comparisons, for a second or so, and stands beside it: what a judge learnt from labels is worth what it
knows beyond words.

How well they judge is measured on the other half of the comparisons, in `feedback.calibration`.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal

import numpy as np
import polars as pl

from ccai_dagster.consultation.settings import TunedJudgeSettings
from ccai_dagster.core.digest import folder_digest
from ccai_dagster.core.errors import ConsultationError, Progress, silent
from ccai_dagster.core.files import whole_folder
from ccai_dagster.feedback.calibration import with_principle
from ccai_dagster.feedback.fitted_scores import FOLDS, FittedScore, fitted_score
from ccai_dagster.feedback.judge import scored_prompt
from ccai_dagster.feedback.prompts import PRINCIPLE
from ccai_dagster.feedback.words import FILE as WORDS_FILE
from ccai_dagster.feedback.words import fit_words, save_words
from ccai_dagster.training.response_states import ResponseReader
from ccai_dagster.training.trainer import HISTORY_SCHEMA, TrainingOutcome

STRENGTHS = (1e-5, 1e-4, 1e-3, 1e-2, 1e-1, 1.0)
"""Inverse strengths of regularisation tried for the head; cross-validation over prompts chooses."""
FEWEST_COMPARISONS = 2 * FOLDS
HEAD_FILE, CONFIG_FILE = "head.safetensors", "config.json"


def train_feedback_model(
    base: Path | None,
    comparisons: Mapping[str, pl.DataFrame],
    settings: TunedJudgeSettings,
    output: Path,
    progress: Progress = silent,
) -> TrainingOutcome:
    """Learn from labelled comparisons to score responses, and keep weights alone: `HEAD_FILE` and the words.

    Args:
        base: Folder of the model whose states the head reads; None fits the words alone.
        comparisons: HELPFULNESS_PAIRS of the tuning side by name, with a column `principle` where they have
            one (`feedback.judge.halves`).
        settings: Batch, and longest exchange.
        output: Folder to write.
        progress: Counts responses that were read.

    Returns:
        Metrics: `train_n`; `words_accuracy` and `words_strength`; and with a head `head_accuracy`, `head_strength`,
        `responses_shortened`. Accuracies are cross-validated over prompts.

    Raises:
        ConsultationError: Fewer than ten decided comparisons, or all of fewer than five prompts.
    """
    table = tuning_table(comparisons)
    words, by_words = fit_words(table)
    metrics = {"train_n": float(table.height), "words_accuracy": by_words.accuracy, "words_strength": by_words.strength}
    if base is not None:
        shown = [scored_prompt(*each) for each in table.select("prompt", PRINCIPLE).iter_rows()]
        exchanges = [
            (prompt, response)
            for prompt, *pair in zip(shown, table["preferred"], table["other"], strict=True)
            for response in pair
        ]
        reader = ResponseReader(base, 2 * settings.batch_size, settings.max_tokens)
        states, shortened = reader.states(exchanges, progress)
        head = fitted_head(states[::2] - states[1::2], table["target"].to_numpy(), table["prompt"].to_numpy())
        metrics |= {
            "responses_shortened": float(shortened),
            "head_accuracy": head.accuracy,
            "head_strength": head.strength,
        }
    shutil.rmtree(output, ignore_errors=True)
    with whole_folder(output) as folder:
        save_words(words, by_words.weights, folder)
        if base is not None:
            _save_head(head.weights, folder)
        config = {"base": None if base is None else folder_digest(base)}
        (folder / CONFIG_FILE).write_text(json.dumps(config) + "\n", encoding="utf-8")
    return TrainingOutcome(metrics, pl.DataFrame(schema=HISTORY_SCHEMA))


def fitted_head(differences: np.ndarray, targets: np.ndarray, prompts: np.ndarray) -> FittedScore:
    """Fit a score of states, each first divided by its spread.

    Args:
        differences: States of the preferred response minus those of the other, shape (n, width).
        targets: See `fitted_score`, as for `prompts`.
    """
    scale = np.sqrt((differences**2).mean(axis=0)) + 1e-6
    score = fitted_score(differences / scale, targets, prompts, STRENGTHS)
    return score._replace(weights=score.weights / scale)


def tuning_table(comparisons: Mapping[str, pl.DataFrame]) -> pl.DataFrame:
    """Bring the comparisons of all sets into one table, the preferred response first.

    Undecided comparisons and identical responses teach nothing and are left out.

    Args:
        comparisons: HELPFULNESS_PAIRS by name, with a column `principle` where they have one.

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


def judges_by(method: Literal["tuned", "words"], folder: Path) -> bool:
    """Tell whether a model folder holds what this method needs."""
    return (folder / {"tuned": HEAD_FILE, "words": WORDS_FILE}[method]).is_file()


class TunedJudge:
    """Scores responses by the head in a folder of `train_feedback_model`.

    Attributes:
        name: Digest of the folder.
    """

    def __init__(self, base: Path, folder: Path, batch_size: int, max_tokens: int) -> None:
        """Load it.

        Args:
            base: Folder of the model it was fitted on.
            folder: Of the head.
            batch_size: Responses a batch.
            max_tokens: Prompt plus response, as it was fitted with; longer ones are shortened alike.
        """
        from safetensors.numpy import load_file

        self._weights = load_file(folder / HEAD_FILE)["weights"].astype(float)
        self._reader = ResponseReader(base, batch_size, max_tokens)
        self.name = folder_digest(folder)

    def scores(self, exchanges: Sequence[tuple[str, str]]) -> np.ndarray:
        """See `ScoringModel.scores`."""
        scored: np.ndarray = self._reader.states(exchanges)[0] @ self._weights
        return scored


def _save_head(weights: np.ndarray, folder: Path) -> None:
    from safetensors.numpy import save_file

    save_file({"weights": weights.astype(np.float32)}, folder / HEAD_FILE)
