"""What all trainings have in common: arguments, order of the data, adapter, checkpoints, figures, and when to stop.

The data and the losses are in `supervised`, `preference_model`, `policy` and `direct_preference`; each hands a trainer
of TRL to `train`. Checked are the figures that a trainer logs at every step, before a checkpoint with them is kept: a
loss that is no number, a policy that runs away from where it began.
"""

from __future__ import annotations

import math
import os
import random
import shutil
import time
from collections import defaultdict
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import polars as pl

from ccai_dagster.consultation.settings import PolicySettings
from ccai_dagster.core.digest import value_digest
from ccai_dagster.core.errors import ConsultationError, Progress
from ccai_dagster.feedback.language_model import computing_format
from ccai_dagster.training import checkpoints
from ccai_dagster.training.labelled_tokens import LOGIT_CELLS
from ccai_dagster.training.model_folder import load_model, load_tokenizer, merged, save_model, saved_dtype

TOKENS_PER_PASS = 16_384
"""Most tokens one device takes in one forward and backward pass; larger batches are accumulated."""
CHECKPOINTS_PER_RUN = 20
BATCHES_A_WINDOW = 16
"""Batches within which items are sorted by length."""
METRICS_A_CALL = 1000
"""Most that MLflow takes at once."""
STEPS_A_WINDOW = 5
"""Steps a figure is averaged over: one batch alone is noise."""
NUMBERS = ("loss", "grad_norm", "reward")
KL, LENGTH = "kl", "completions/mean_length"
"""What the trainer of the policy calls the divergence (nats a token) and the length (tokens a response)."""
NOT_KEPT = {"step", "epoch", "total_flos", "train_loss", "num_tokens"}
"""Of these the last two are sums since the last start, so they differ where a training was interrupted."""
HISTORY_SCHEMA = {"step": pl.Int64(), "name": pl.String(), "value": pl.Float64()}


@dataclass(frozen=True)
class TrainingOutcome:
    """Figures of one training.

    Attributes:
        metrics: Summary figures by name; what could not be measured is absent.
        history: What was logged on the way: `step`, `name`, `value`, sorted by step and name, without
            figures of time, which differ between equal trainings.
        tables: What else is worth looking at, by name: small tables that are kept with the run.
    """

    metrics: dict[str, float]
    history: pl.DataFrame
    tables: Mapping[str, pl.DataFrame] = field(default_factory=dict)


def per_device(batch_size: int, max_tokens: int, logits: int = 0) -> tuple[int, int]:
    """Split a batch over the processes that train together and over accumulated passes.

    Args:
        batch_size: Sequences or comparisons a step, over all processes.
        max_tokens: Of the longest of them.
        logits: Most numbers that its labelled tokens have as logits, which a GPU's kernels never hold at once.

    Returns:
        Items a pass and passes a step, of one process.

    Raises:
        ConsultationError: The batch cannot be divided by the number of processes.
    """
    import torch

    processes = int(os.environ.get("WORLD_SIZE", "1"))
    if batch_size % processes:
        raise ConsultationError(
            f"A batch of {batch_size} cannot be divided among {processes} processes; change `batch_size` "
            "in consultation.yaml to a multiple."
        )
    own = batch_size // processes
    largest = min(TOKENS_PER_PASS // max_tokens, own)
    if logits and not torch.cuda.is_available():
        largest = min(LOGIT_CELLS // logits, largest)
    size = next(size for size in range(max(1, largest), 0, -1) if own % size == 0)
    return size, own // size


def training_arguments(
    work: Path, *, steps: int, learning_rate: float, batch: tuple[int, int], dtype: str, seed: int
) -> dict[str, Any]:
    """Return the arguments that every trainer gets.

    Figures go to MLflow if the environment names a run there.

    Args:
        work: Folder for checkpoints.
        steps: Of the whole training.
        learning_rate: Constant over all steps.
        batch: Items a pass and passes a step, see `per_device`.
        dtype: Number format that the weights are saved in.
        seed: Any number of bits.
    """
    import torch

    on_cpu = not torch.cuda.is_available()
    reports = ["mlflow"] if os.environ.get("MLFLOW_RUN_ID") else []
    os.environ.setdefault("MLFLOW_FLATTEN_PARAMS", "TRUE")
    return {
        "output_dir": str(work / "checkpoints"),
        "max_steps": steps,
        "per_device_train_batch_size": batch[0],
        "gradient_accumulation_steps": batch[1],
        "learning_rate": learning_rate,
        "lr_scheduler_type": "constant",
        "seed": seed % 2**32,
        "data_seed": seed % 2**32,
        "bf16": computing_format(dtype) == "bfloat16",
        "use_cpu": on_cpu,
        "gradient_checkpointing": not on_cpu,
        # The data set is in the order of training already, and no trainer may shuffle it again.
        "train_sampling_strategy": "sequential",
        "logging_steps": 1,
        # Otherwise a loss that is no number would be logged as the mean of those before.
        "logging_nan_inf_filter": False,
        "save_strategy": "steps",
        "save_steps": max(1, steps // CHECKPOINTS_PER_RUN),
        "save_total_limit": checkpoints.KEPT,
        "report_to": reports or "none",
        "disable_tqdm": True,
        "dataloader_pin_memory": not on_cpu,
    }


def drawn_order(items: int, wanted: int, seed: int) -> list[int]:
    """Return which item comes when in a training: shuffled anew each time round, cut at the end.

    With the order laid out beforehand a training that resumes goes on with the item it would have taken;
    the trainers' own shuffling starts over at the first epoch.

    Args:
        items: How many there are, at least 1.
        wanted: How many are needed in all.
        seed: Any number of bits.
    """
    generator = random.Random(seed)  # noqa: S311
    indexes: list[int] = []
    while len(indexes) < wanted:
        indexes += generator.sample(range(items), items)
    return indexes[:wanted]


def grouped_by_length(
    indexes: Sequence[int], lengths: Sequence[int], sources: Sequence[str], batch_size: int, seed: int
) -> list[int]:
    """Put items of similar length into the same batch, so that little of a batch is padding.

    Every batch keeps its share of each source: short items of one come with short items of the other. Sorted is
    within windows of `BATCHES_A_WINDOW` batches, which keeps the drawing of what comes early and what late; the
    batches of a window are shuffled again, or each window would begin with its shortest.

    Args:
        indexes: Of items, in the order they were drawn.
        lengths: Of every item, by index.
        sources: Where every item comes from, by index.
        batch_size: Items a step.
        seed: Of the shuffling.

    Returns:
        The same indexes in the order of training.
    """
    generator = random.Random(seed)  # noqa: S311
    ordered: list[int] = []
    for start in range(0, len(indexes), BATCHES_A_WINDOW * batch_size):
        by_source: defaultdict[str, list[int]] = defaultdict(list)
        for index in indexes[start : start + BATCHES_A_WINDOW * batch_size]:
            by_source[sources[index]].append(index)
        placed = [
            ((place + 0.5) / len(members), source, index)
            for source, members in by_source.items()
            for place, index in enumerate(sorted(members, key=lambda at: (lengths[at], at)))
        ]
        window = [index for _, _, index in sorted(placed)]
        batches = [window[at : at + batch_size] for at in range(0, len(window), batch_size)]
        generator.shuffle(batches)
        ordered += [index for batch in batches for index in batch]
    return ordered


def adapter(rank: int, *, scores: bool = False) -> Any:
    """Return a low-rank adapter (Hu et al. 2021) of every layer; a score head is trained as it is."""
    from peft import LoraConfig

    return LoraConfig(
        r=rank,
        lora_alpha=2 * rank,
        lora_dropout=0.0,
        target_modules="all-linear",
        task_type="SEQ_CLS" if scores else "CAUSAL_LM",
        modules_to_save=["score"] if scores else None,
    )


def prepare_work(work: Path, **inputs: Any) -> None:
    """Make the folder for checkpoints ready for a training on these inputs: those of a training on others are removed.

    Args:
        work: The folder.
        inputs: Everything the training depends on, as JSON-serialisable values or digests.
    """
    digest = value_digest(inputs)
    mark = work / "inputs.sha256"
    with main_process_first():
        if not mark.is_file() or mark.read_text(encoding="utf-8") != digest:
            shutil.rmtree(work, ignore_errors=True)
            work.mkdir(parents=True)
            mark.write_text(digest, encoding="utf-8")


def seed_everything(seed: int) -> None:
    """Seed Python, numpy and torch: adapters and heads are drawn before the trainer seeds anything."""
    from transformers import set_seed

    set_seed(seed % 2**32)


def train(
    trainer: Any, work: Path, message: str, progress: Progress, limits: PolicySettings | None = None
) -> pl.DataFrame:
    """Train to the end, from the last whole checkpoint if there is one, and return the history.

    The trainer restores adapter, optimizer, scheduler, the states of all random generators and the place in
    the data, so that the steps that follow are the ones that an uninterrupted training would have taken.

    Args:
        trainer: Of transformers or TRL, with the arguments of `training_arguments`.
        work: The folder that was made ready by `prepare_work`.
        message: What the steps are called in reports of progress.
        progress: Counts steps.
        limits: Of a policy, see `check_policy`; None where only `check_numbers` applies.

    Raises:
        ConsultationError: A figure that is no finite number, a policy beyond its limits, or a checkpoint of a
            configuration that these processes cannot go on with.
    """
    from transformers import PrinterCallback, TrainerCallback

    class Steps(TrainerCallback):  # type: ignore[misc]  # the library has no types
        def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
            if state.is_world_process_zero:
                _log_again(state.log_history)

        def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
            progress(message, state.global_step, state.max_steps)

        def on_log(
            self, args: Any, state: Any, control: Any, logs: dict[str, Any] | None = None, **kwargs: Any
        ) -> None:
            check_numbers({**(logs or {}), "step": state.global_step})
            if limits is not None:
                # The history is restored with a checkpoint, so a training that resumed knows its beginning.
                check_policy(state.log_history, limits)

    folder = work / "checkpoints"
    with main_process_first():
        checkpoint = checkpoints.last_checkpoint(folder)
        checkpoints.discard_after(folder, checkpoint)
    if checkpoint is not None:
        checkpoints.check_goes_on(checkpoint, bool(trainer.is_fsdp_enabled), work)
    # A description of each checkpoint, which nobody reads, would take longer than its weights.
    trainer.create_model_card = trainer.model.create_or_update_model_card = _without_a_card
    trainer.add_callback(Steps())
    trainer.add_callback(checkpoints.sealing())
    trainer.remove_callback(PrinterCallback)
    trainer.train(resume_from_checkpoint=str(checkpoint) if checkpoint else None)
    return history_table(trainer.state.log_history)


def history_table(log: list[dict[str, float]]) -> pl.DataFrame:
    """Turn a trainer's log (one dict a step) into a history; figures of time and non-numbers are left out."""
    rows = [
        {"step": entry["step"], "name": name, "value": float(value)}
        for entry in log
        for name, value in entry.items()
        if name not in NOT_KEPT and _lasting(name) and isinstance(value, int | float)
    ]
    table = pl.DataFrame(rows, schema=HISTORY_SCHEMA)
    return table.filter(pl.col("value").is_finite()).sort("step", "name")


def ends(history: pl.DataFrame, name: str) -> tuple[float, float] | None:
    """Return the mean of a figure over the first and over the last tenth of the steps it was logged on, if any."""
    values = history.filter(pl.col("name") == name).sort("step")["value"].to_list()
    if not values:
        return None
    tenth = max(1, len(values) // 10)
    return sum(values[:tenth]) / tenth, sum(values[-tenth:]) / tenth


def first_and_last(history: pl.DataFrame, figures: Mapping[str, str]) -> dict[str, float]:
    """Summarise figures of a history as `NAME_first` and `NAME_last`, see `ends`; what was not logged is absent.

    Args:
        history: As `history_table` returns it.
        figures: What the trainer calls each figure, by its name in the summary.
    """
    return {
        f"{name}_{end}": value
        for name, logged in figures.items()
        for end, value in zip(("first", "last"), ends(history, logged) or (), strict=False)
    }


def check_numbers(log: Mapping[str, Any]) -> None:
    """Stop if the loss, its gradient or the reward of a step is no finite number.

    Args:
        log: What the trainer logged at one step.

    Raises:
        ConsultationError: Names the step, the figure and what usually helps.
    """
    for name in NUMBERS:
        if name in log and (log[name] is None or not math.isfinite(log[name])):
            raise ConsultationError(
                f"Training stopped at step {log.get('step')}: {name} is {log[name]}, which is no finite number, so the "
                "model of this step is of no use and was not kept. Usually the learning rate is too high: lower "
                "`learning_rate` of this stage in consultation.yaml. If it happens at the first step, look for a "
                "model or labels that hold such numbers themselves."
            )


def check_policy(logs: Sequence[Mapping[str, Any]], settings: PolicySettings) -> None:
    """Stop if the policy has left its bounds.

    KL is the mean of the last `STEPS_A_WINDOW` steps. Length is the same mean against that of the first
    `STEPS_A_WINDOW` steps, once there are more of them.

    Args:
        logs: What the trainer logged, one mapping a step, in order.
        settings: With `kl_limit` and `length_limit`.

    Raises:
        ConsultationError: Names the step, the figure, its limit and what usually helps.
    """
    steps = [log for log in logs if KL in log or LENGTH in log]
    divergence = [float(log[KL]) for log in steps if log.get(KL) is not None]
    if divergence and (recent := _mean(divergence[-STEPS_A_WINDOW:])) > settings.kl_limit:
        raise ConsultationError(
            f"Policy training stopped at step {steps[-1].get('step')}: KL to the supervised policy is {recent:.3g} "
            f"nats a token over the last steps, more than `policy.kl_limit` ({settings.kl_limit:g}). The policy no "
            "longer resembles what it was trained from and is likely to please the preference model only. Raise "
            "`policy.kl_weight` or lower `policy.learning_rate` or `policy.steps` in consultation.yaml."
        )
    lengths = [float(log[LENGTH]) for log in steps if log.get(LENGTH) is not None]
    if len(lengths) <= STEPS_A_WINDOW:
        return
    first, last = _mean(lengths[:STEPS_A_WINDOW]), _mean(lengths[-STEPS_A_WINDOW:])
    if not first / settings.length_limit <= last <= first * settings.length_limit:
        raise ConsultationError(
            f"Policy training stopped at step {steps[-1].get('step')}: responses are {last:.1f} tokens long, at the "
            f"beginning they were {first:.1f}, a change by more than `policy.length_limit` ({settings.length_limit:g} "
            "times). The preference model probably rewards length alone: see its `length_correlation`. Raise "
            "`policy.kl_weight`, or balance the lengths in the comparisons it learns from."
        )


def save_trained(trainer: Any, base: Path, seed: int, output: Path) -> None:
    """Merge the adapter and save the result, with tokenizer and number format of `base`, in one process."""
    accelerator = trainer.accelerator
    model = accelerator.unwrap_model(trainer.model)
    # Where each process holds a part of every weight, all of them take part in gathering the whole.
    weights = accelerator.get_state_dict(trainer.model_wrapped) if trainer.is_fsdp_enabled else None
    if trainer.is_world_process_zero():
        if weights is not None:
            model = put_together(base, model.peft_config["default"], weights)
        save_model(merged(model, saved_dtype(base), seed), load_tokenizer(base), output)
    accelerator.wait_for_everyone()


def put_together(base: Path, config: Any, weights: dict[str, Any]) -> Any:
    """Return a whole model with an adapter from gathered weights.

    Args:
        base: Folder of the model that the adapter was trained on.
        config: Of the adapter.
        weights: All weights, by the names they have in a model with this adapter.
    """
    from peft import get_peft_model

    model = get_peft_model(load_model(base, scores=config.task_type == "SEQ_CLS"), config)
    model.load_state_dict(weights)
    return model


def main_process_first() -> AbstractContextManager[None]:
    """Let the first of several processes through before the others."""
    if int(os.environ.get("WORLD_SIZE", "1")) == 1:
        return nullcontext()
    import torch
    from accelerate import PartialState

    turns: AbstractContextManager[None] = PartialState(cpu=not torch.cuda.is_available()).main_process_first()
    return turns


def _log_again(history: list[dict[str, float]]) -> None:
    """Give the open MLflow run, if any, the figures of steps that were taken before an interruption."""
    run_id = os.environ.get("MLFLOW_RUN_ID")
    if run_id is None or not history:
        return
    from mlflow import MlflowClient
    from mlflow.entities import Metric

    now = int(time.time() * 1000)
    metrics = [
        Metric(name, float(value), now, int(entry["step"]))
        for entry in history
        for name, value in entry.items()
        if name != "step" and isinstance(value, int | float)
    ]
    for start in range(0, len(metrics), METRICS_A_CALL):
        MlflowClient().log_batch(run_id, metrics=metrics[start : start + METRICS_A_CALL])


def _without_a_card(*args: Any, **kwargs: Any) -> None:
    """Take the place of what describes a checkpoint."""


def _lasting(name: str) -> bool:
    return not any(part in name for part in ("runtime", "_per_second", "step_time", "profiling"))


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)
