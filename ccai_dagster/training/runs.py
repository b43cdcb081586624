"""What the three trainings have in common: arguments, checkpoints, progress and the adapter.

The losses and data sets are in `supervised`, `preference_model` and `policy`.
"""

from __future__ import annotations

import os
import random
import shutil
import time
from collections import defaultdict
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

from ccai_dagster.digest import value_digest
from ccai_dagster.errors import ConsultationError
from ccai_dagster.feedback.number_format import computing_format
from ccai_dagster.progress import Progress
from ccai_dagster.training import checkpoints
from ccai_dagster.training.model_folder import load_model, load_tokenizer, merged, save_model, saved_dtype

TOKENS_PER_PASS = 16_384
"""Most tokens one device takes in one forward and backward pass; larger batches are accumulated."""
CHECKPOINTS_PER_RUN = 20
WINDOW = 16
"""Batches within which items are sorted by length."""
METRICS_A_CALL = 1000
"""Most that MLflow takes at once."""


def per_device(batch_size: int, max_tokens: int) -> tuple[int, int]:
    """Split a batch over the processes that train together and over accumulated passes.

    Args:
        batch_size: Sequences or comparisons a step, over all processes.
        max_tokens: Longest item, in tokens.

    Returns:
        Items a pass and passes a step, of one process.

    Raises:
        ConsultationError: The batch cannot be divided by the number of processes.
    """
    processes = int(os.environ.get("WORLD_SIZE", "1"))
    if batch_size % processes:
        raise ConsultationError(
            f"A batch of {batch_size} cannot be divided among {processes} processes; change `batch_size` "
            "in consultation.yaml to a multiple."
        )
    own = batch_size // processes
    passes = next(
        n
        for n in range(1, own + 1)
        if own % n == 0 and (own // n * max_tokens <= TOKENS_PER_PASS or n == own)
    )
    return own // passes, passes


def training_arguments(
    work: Path, *, steps: int, learning_rate: float, dtype: str, seed: int
) -> dict[str, Any]:
    """Arguments every trainer gets; figures go to MLflow if the caller has opened a run there."""
    import torch

    on_cpu = not torch.cuda.is_available()
    reports = ["mlflow"] if os.environ.get("MLFLOW_RUN_ID") else []
    os.environ.setdefault("MLFLOW_FLATTEN_PARAMS", "TRUE")
    return {
        "output_dir": str(work / "checkpoints"),
        "max_steps": steps,
        "learning_rate": learning_rate,
        "lr_scheduler_type": "constant",
        "seed": seed % 2**32,
        "data_seed": seed % 2**32,
        "bf16": computing_format(dtype) == "bfloat16",
        "use_cpu": on_cpu,
        "gradient_checkpointing": not on_cpu,
        # The data set is the order of training: `order` has shuffled it, and no trainer may do it again.
        "train_sampling_strategy": "sequential",
        "logging_steps": 1,
        "save_strategy": "steps",
        "save_steps": max(1, steps // CHECKPOINTS_PER_RUN),
        "save_total_limit": checkpoints.KEPT,
        "report_to": reports or "none",
        "disable_tqdm": True,
        "dataloader_pin_memory": not on_cpu,
    }


def order(items: int, wanted: int, seed: int) -> list[int]:
    """Return which item comes when in a training: shuffled anew each time round, cut at the end.

    With the order laid out beforehand a training that resumes goes on with the item it would have taken;
    the trainers' own shuffling starts over at the first epoch.

    Args:
        items: How many there are, at least 1.
        wanted: How many are needed in all.
        seed: Of the shuffling.
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
    within windows of `WINDOW` batches, which keeps the drawing of what comes early and what late; the batches of
    a window are shuffled again, or each window would begin with its shortest.

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
    for start in range(0, len(indexes), WINDOW * batch_size):
        by_source: defaultdict[str, list[int]] = defaultdict(list)
        for index in indexes[start : start + WINDOW * batch_size]:
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
    """Make `work` ready for a training on these inputs: checkpoints of a training on others are removed.

    Args:
        work: Folder for checkpoints.
        inputs: Everything the training depends on, as JSON-serialisable values or digests.
    """
    digest = value_digest(inputs)
    mark = work / "inputs.sha256"
    with _main_process_first():
        if not mark.is_file() or mark.read_text(encoding="utf-8") != digest:
            shutil.rmtree(work, ignore_errors=True)
            work.mkdir(parents=True)
            mark.write_text(digest, encoding="utf-8")


def seed_everything(seed: int) -> None:
    """Seed Python, numpy and torch: adapters and heads are drawn before the trainer seeds anything."""
    from transformers import set_seed

    set_seed(seed % 2**32)


def train(trainer: Any, work: Path, message: str, progress: Progress) -> None:
    """Train to the end, from the last whole checkpoint if there is one, telling progress a step.

    The trainer restores adapter, optimizer, scheduler, the states of all random generators and the place in
    the data, so that the steps that follow are the ones that an uninterrupted training would have taken.
    """
    from transformers import PrinterCallback, TrainerCallback

    class Steps(TrainerCallback):
        def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
            if state.is_world_process_zero:
                _log_again(state.log_history)

        def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
            progress(message, state.global_step, state.max_steps)

    folder = work / "checkpoints"
    with _main_process_first():
        checkpoint = checkpoints.last_checkpoint(folder)
        checkpoints.discard_after(folder, checkpoint)
    trainer.add_callback(Steps())
    trainer.add_callback(checkpoints.sealing())
    trainer.remove_callback(PrinterCallback)
    trainer.train(resume_from_checkpoint=str(checkpoint) if checkpoint else None)


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


def _main_process_first() -> AbstractContextManager[None]:
    if int(os.environ.get("WORLD_SIZE", "1")) == 1:
        return nullcontext()
    import torch
    from accelerate import PartialState

    return PartialState(cpu=not torch.cuda.is_available()).main_process_first()
