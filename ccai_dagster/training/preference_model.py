"""The preference model: one score for an exchange, trained on soft labels (Bai et al. 2022, section 4.1).

The loss of a comparison is the cross-entropy between its label and the logistic of the difference of two
scores, times the fixed weight of its source. The weight of harmlessness is a decision on record: too much
of it made the first models of the CCAI study refuse too often. What a score is read from is in `response_score`,
what is learnt from and what is held out in `comparisons`. How well the model agrees with labels it has not seen is
measured in accuracy, calibration and dependence on length, each beside what the labels themselves allow.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from ccai_dagster.consultation.settings import PreferenceModelSettings
from ccai_dagster.core.digest import folder_digest, table_digest
from ccai_dagster.core.draws import derived_seed
from ccai_dagster.core.errors import Progress, silent
from ccai_dagster.feedback.calibration import BIN_EDGES, confidence_bins
from ccai_dagster.statistics.intervals import Z_95, mean_interval
from ccai_dagster.training import response_score
from ccai_dagster.training.comparisons import (
    SOURCES,
    TokenisedComparison,
    comparisons,
    cut_share_of_sampled,
    end_of_turn,
    learnable,
    tokenised,
    training_order,
)
from ccai_dagster.training.exchange_scores import ExchangeScorer
from ccai_dagster.training.model_folder import load_model, load_tokenizer, saved_dtype
from ccai_dagster.training.room import check_room
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

BOOTSTRAPS = 1000
CURVE_SCHEMA = {
    "source": pl.String(),
    "low": pl.Float64(),
    "high": pl.Float64(),
    "n": pl.Int64(),
    "confidence": pl.Float64(),
    "agreement": pl.Float64(),
    "agreement_low": pl.Float64(),
    "agreement_high": pl.Float64(),
}


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
        base: Folder of the language model it starts from; its lower half gets a head for one score.
        harmlessness: PREFERENCE_PAIRS of one arm.
        helpfulness: HELPFULNESS_PAIRS, equal for all arms.
        harmlessness_weight: Loss weight of an AI label, at least 0; a human label has 1.
        settings: Steps, batch, learning rate, adapter, share held out.

    Returns:
        Metrics: `train_n` (labelled comparisons learnt from), `pairs_shortened`, `pairs_unanswered`,
        `pairs_identical`, `cut_share` (of the sampled responses, cut off at the limit of tokens), `loss_first`,
        `loss_last`, and for each source the figures of `held_out_metrics`. Tables: `held_out`, one row a held-out
        comparison, and `calibration_curve`. Of several processes the first alone measures what was held out.

    Raises:
        ConsultationError: Nothing to train on, a negative weight, or a loss that is no number.
    """
    table = comparisons(harmlessness, helpfulness, harmlessness_weight, settings.held_out_share, seed)
    training = learnable(table)
    check_room(base)  # what is held out is scored by one process
    prepare_work(
        work,
        stage="preference_model",
        reads=response_score.WHAT,
        base=folder_digest(base),
        comparisons=table_digest(table),
        settings=settings.digest(),
        seed=seed,
    )
    tokenizer = load_tokenizer(base)
    rows = tokenised(tokenizer, table, settings.max_tokens)
    trained_on = [row for row, held_out in zip(rows, table["held_out"], strict=True) if not held_out]
    order = training_order(training, settings.steps, settings.batch_size, seed)
    seed_everything(seed)
    trainer = soft_label_trainer(
        base,
        tokenizer,
        [trained_on[at] for at in order],
        settings,
        training_arguments(
            work,
            steps=settings.steps,
            learning_rate=settings.learning_rate,
            batch=per_device(settings.batch_size, 2 * settings.max_tokens),
            dtype=saved_dtype(base),
            seed=seed,
        ),
    )
    history = train(trainer, work, "preference model training steps", progress)
    save_trained(trainer, base, seed, output)
    metrics = {
        "train_n": float(training["labelled"].sum()),
        "pairs_shortened": float(sum(row.shortened for row in rows)),
        "pairs_unanswered": float(harmlessness.filter(pl.col("status") == "unanswered").height),
        "pairs_identical": float(harmlessness.filter(pl.col("status") == "identical").height),
        "cut_share": cut_share_of_sampled(table),
        **first_and_last(history, {"loss": "loss"}),
    }
    if not trainer.is_world_process_zero():
        return TrainingOutcome(metrics, history)
    held_out = _held_out(output, table, rows, settings.batch_size)
    curves = []
    for source in SOURCES:
        own = held_out.filter(pl.col("source") == source)
        metrics |= held_out_metrics(source, own, seed)
        curves += [calibration_curve(source, own, seed)] if own.height else []
    curve = pl.concat(curves) if curves else pl.DataFrame(schema=CURVE_SCHEMA)
    return TrainingOutcome(metrics, history, {"held_out": held_out, "calibration_curve": curve})


def soft_label_trainer(
    base: Path,
    tokenizer: Any,
    rows: Sequence[TokenisedComparison],
    settings: PreferenceModelSettings,
    arguments: dict[str, Any],
) -> Any:
    """Return a trainer of scores on soft labels, with an adapter on the model in `base`.

    Args:
        base: Model folder.
        tokenizer: Its tokenizer.
        rows: In the order of training.
        settings: Adapter and longest exchange.
        arguments: As `training_arguments` returns them.
    """
    import torch
    from datasets import Dataset
    from trl import RewardConfig, RewardTrainer
    from trl.trainer.reward_trainer import DataCollatorForPreference

    end = len(end_of_turn(tokenizer))

    class SoftLabelCollator(DataCollatorForPreference):  # type: ignore[misc]  # the library has no types
        """Adds label and weight of each comparison to the batch, and where responses are."""

        def torch_call(self, examples: list[dict[str, Any]]) -> dict[str, Any]:
            batch: dict[str, Any] = super().torch_call(examples)
            begin = [example[side] for side in ("chosen_begins", "rejected_begins") for example in examples]
            batch["response_mask"] = response_score.response_mask(batch["attention_mask"], begin, end)
            for name in ("target", "weight"):
                batch[name] = torch.tensor([example[name] for example in examples], dtype=torch.float32)
            return batch

    class SoftLabelTrainer(RewardTrainer):  # type: ignore[misc]
        """Trains on soft labels with a fixed weight for each comparison."""

        _signature_columns: list[str] | None

        def _set_signature_columns_if_needed(self) -> None:
            if self._signature_columns is None:
                super()._set_signature_columns_if_needed()
                more = ("target", "weight", "chosen_begins", "rejected_begins")
                self._signature_columns = [*(self._signature_columns or []), *more]

        def compute_loss(
            self, model: Any, inputs: dict[str, Any], return_outputs: bool = False, num_items_in_batch: Any = None
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
        model=load_model(base, scores=True, trained=True),
        args=RewardConfig(**arguments, max_length=settings.max_tokens),
        data_collator=SoftLabelCollator(pad_token_id=tokenizer.pad_token_id),
        train_dataset=Dataset.from_list(
            [
                {
                    "chosen_ids": row.preferred.tokens,
                    "rejected_ids": row.other.tokens,
                    "chosen_begins": row.preferred.prompt_tokens,
                    "rejected_begins": row.other.prompt_tokens,
                    "target": row.target,
                    "weight": row.weight,
                }
                for row in rows
            ]
        ),
        processing_class=tokenizer,
        peft_config=adapter(settings.lora_rank, scores=True),
    )


def held_out_metrics(source: str, pairs: pl.DataFrame, seed: int) -> dict[str, float]:
    """Summarise how well score differences agree with held-out labels of one source.

    Args:
        source: Its name becomes part of the metrics' names.
        pairs: `prompt`, `margin` (score of the preferred response minus score of the other), `target` (label
            of the preferred response, 0.5 to 1), `tokens` (length of the preferred minus that of the other).
        seed: Of the resampling; order of the rows does not matter.

    Returns:
        `held_out_SOURCE_n` (decided pairs: at a label of one half there is no right answer), and where there
        are some, each beside what the labels allow:

        - `accuracy`: how often the likelier response gets the higher score (equal scores count one half),
          with its 95 % interval over prompts; 1 can be reached.
        - `agreement`: how often the model would agree with labels drawn from these probabilities, with its
          interval; `agreement_possible` is the most that any model can reach.
        - `cross_entropy` in nats; `label_entropy` is the least that any model can reach.
        - `calibration_error`: see `calibration_error`, with its interval.
        - `length_correlation` of score differences with differences in length, with its interval;
          `label_length_correlation` is that of the labels.
    """
    name = f"held_out_{source}"
    pairs = pairs.sort("prompt", "margin", "target", "tokens")
    decided = pairs.filter(pl.col("target") != 0.5)
    metrics = {f"{name}_n": float(decided.height)}
    if pairs.is_empty():
        return metrics
    prompts = pairs["prompt"].to_numpy()
    margins, targets = pairs["margin"].to_numpy(), pairs["target"].to_numpy()

    def interval(figure: str, values: np.ndarray, clusters: np.ndarray) -> dict[str, float]:
        low, high = mean_interval(
            values, clusters, (0.0, 1.0), bootstraps=BOOTSTRAPS, seed=derived_seed(seed, figure, source)
        )
        return {f"{name}_{figure}": float(values.mean()), f"{name}_{figure}_low": low, f"{name}_{figure}_high": high}

    if decided.height:
        right = (np.sign(decided["margin"].to_numpy()) + 1) / 2
        metrics |= interval("accuracy", right, decided["prompt"].to_numpy())
    metrics |= interval("agreement", _agreement(margins, targets), prompts)
    metrics[f"{name}_agreement_possible"] = float(targets.mean())
    metrics[f"{name}_cross_entropy"] = float(
        (targets * np.logaddexp(0, -margins) + (1 - targets) * np.logaddexp(0, margins)).mean()
    )
    metrics[f"{name}_label_entropy"] = float(np.mean([_entropy(target) for target in targets]))
    low, high = _bootstrap(
        lambda rows: calibration_error(margins[rows], targets[rows]), prompts, derived_seed(seed, "calibration", source)
    )
    metrics |= {
        f"{name}_calibration_error": calibration_error(margins, targets),
        f"{name}_calibration_error_low": low,
        f"{name}_calibration_error_high": high,
    }
    tokens = pairs["tokens"].to_numpy().astype(float)
    metrics |= _correlation(f"{name}_length_correlation", margins, tokens)
    labels = _correlation("labels", 2 * targets - 1, tokens)
    return metrics | ({f"{name}_label_length_correlation": labels["labels"]} if labels else {})


def calibration_error(margins: np.ndarray, targets: np.ndarray) -> float:
    """Return the expected calibration error (Guo et al. 2017, equation 5) over the bins of `BIN_EDGES`.

    A comparison's confidence is the probability that the logistic of the score difference gives to the
    response the model prefers; what it is compared with is the label's probability of that response. Small
    samples make it too large, never too small, since noise within a bin counts as error.

    Args:
        margins: Score of the preferred response minus that of the other, shape (n,), n at least 1.
        targets: Labels of the preferred response, 0.5 to 1, shape (n,).
    """
    confidence, agreement, bins = _binned(margins, targets)
    return sum(
        abs(float((confidence[bins == each] - agreement[bins == each]).sum())) for each in np.unique(bins)
    ) / len(margins)


def calibration_curve(source: str, pairs: pl.DataFrame, seed: int) -> pl.DataFrame:
    """Return confidence and agreement by bin of confidence; empty bins are left out.

    Args:
        source: Name for the rows.
        pairs: As in `held_out_metrics`.
        seed: Of the resampling.

    Returns:
        `source`, `low`, `high` (edges), `n`, mean `confidence`, mean `agreement` with its 95 % interval
        over prompts.
    """
    pairs = pairs.sort("prompt", "margin", "target", "tokens")
    confidence, agreement, bins = _binned(pairs["margin"].to_numpy(), pairs["target"].to_numpy())
    prompts = pairs["prompt"].to_numpy()
    rows = []
    for each in np.unique(bins):
        own = bins == each
        low, high = mean_interval(
            agreement[own],
            prompts[own],
            (0.0, 1.0),
            bootstraps=BOOTSTRAPS,
            seed=derived_seed(seed, "curve", source, int(each)),
        )
        rows.append(
            (
                source,
                BIN_EDGES[each],
                BIN_EDGES[each + 1],
                int(own.sum()),
                float(confidence[own].mean()),
                float(agreement[own].mean()),
                low,
                high,
            )
        )
    return pl.DataFrame(rows, schema=CURVE_SCHEMA, orient="row")


def _held_out(folder: Path, table: pl.DataFrame, rows: list[TokenisedComparison], batch_size: int) -> pl.DataFrame:
    """Score the labelled comparisons that were held out."""
    wanted = (table["held_out"] & table["labelled"]).to_list()
    own = [row for row, chosen in zip(rows, wanted, strict=True) if chosen]
    scored = ExchangeScorer(folder, 2 * batch_size).scores([side for row in own for side in (row.preferred, row.other)])
    return (
        table.filter(wanted)
        .select("source", "pair_id", "prompt", "target")
        .with_columns(
            pl.Series("margin", [a - b for a, b in zip(scored[::2], scored[1::2], strict=True)], dtype=pl.Float64),
            pl.Series("tokens", [len(row.preferred.tokens) - len(row.other.tokens) for row in own], dtype=pl.Int64),
        )
    )


def _binned(margins: np.ndarray, targets: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    confidence = 1 / (1 + np.exp(-np.minimum(np.abs(margins), 700.0)))
    return confidence, _agreement(margins, targets), confidence_bins(confidence)


def _agreement(margins: np.ndarray, targets: np.ndarray) -> np.ndarray:
    """Probability that a label drawn with these probabilities prefers what the model prefers."""
    return np.where(margins > 0, targets, np.where(margins < 0, 1 - targets, 0.5))


def _correlation(name: str, first: np.ndarray, second: np.ndarray) -> dict[str, float]:
    """Correlation over both orders of every pair, so that it does not matter which response comes first.

    Both means are then zero, and it is the cosine of the two vectors. The interval is Fisher's, which
    presumes independent pairs.
    """
    scale = math.sqrt(float((first**2).sum() * (second**2).sum()))
    if len(first) < 4 or scale == 0:
        return {}
    r = float(np.clip((first * second).sum() / scale, -1, 1))
    if abs(r) == 1:
        return {name: r, f"{name}_low": r, f"{name}_high": r}
    half = Z_95 / math.sqrt(len(first) - 3)
    return {name: r, f"{name}_low": math.tanh(math.atanh(r) - half), f"{name}_high": math.tanh(math.atanh(r) + half)}


def _bootstrap(statistic: Callable[[np.ndarray], float], clusters: np.ndarray, seed: int) -> tuple[float, float]:
    """Percentile interval of a statistic of rows, resampling clusters."""
    names, index = np.unique(clusters, return_inverse=True)
    members = [np.flatnonzero(index == each) for each in range(len(names))]
    generator = np.random.default_rng(seed)
    drawn = generator.integers(0, len(names), size=(BOOTSTRAPS, len(names)))
    values = [statistic(np.concatenate([members[each] for each in row])) for row in drawn]
    return float(np.quantile(values, 0.025)), float(np.quantile(values, 0.975))


def _entropy(share: float) -> float:
    return -sum(part * math.log(part) for part in (share, 1 - share) if part > 0)
