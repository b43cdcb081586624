"""Checkpoints that can be trusted after any interruption: sealed when complete, verified before they are used.

A trainer writes a checkpoint as a dozen files; a process can be killed between any two of them, and a disk can
lose what was written last. A seal is the digest of all files, written after them. What has no seal, or another
digest than its seal says, is never resumed from: the checkpoint before it is. What is in a checkpoint (weights
of the adapter, optimizer, scheduler, states of the random generators, history) is the trainer's matter.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

from ccai_dagster.core.digest import folder_digest
from ccai_dagster.core.errors import ConsultationError
from ccai_dagster.core.files import write_file

SEALS = "seals"
"""Folder beside the checkpoints: a seal inside would be part of what it seals."""
KEPT = 2
"""Checkpoints kept: if the last one is damaged, the one before is used."""


def seal(checkpoint: Path) -> None:
    """Declare a checkpoint complete, to which nothing will be added. Its files are on the disk before its seal is."""
    for path in checkpoint.rglob("*"):
        _flush(path)
    _flush(checkpoint)
    _flush(checkpoint.parent)
    path = _seal_of(checkpoint)
    path.parent.mkdir(exist_ok=True)
    write_file(path, folder_digest(checkpoint))
    _flush(path.parent)


def is_whole(checkpoint: Path) -> bool:
    """Tell whether a checkpoint is sealed and every byte is as it was then."""
    path = _seal_of(checkpoint)
    return path.is_file() and path.read_text(encoding="utf-8") == folder_digest(checkpoint)


def last_checkpoint(folder: Path) -> Path | None:
    """Return the latest whole checkpoint in a trainer's output folder, which holds `checkpoint-STEP` and seals."""
    return next((path for path in _latest_first(folder) if is_whole(path)), None)


def is_shared(checkpoint: Path) -> bool:
    """Tell whether each process left a part of the model (FSDP); otherwise one left all of it."""
    return any(checkpoint.glob("pytorch_model_fsdp*"))


def check_goes_on(checkpoint: Path, shared: bool, work: Path) -> None:
    """Refuse a checkpoint that processes of this kind cannot go on from; their number may be another.

    Args:
        checkpoint: A whole one.
        shared: Whether the processes now share one model.
        work: What is to be removed to begin again.

    Raises:
        ConsultationError: It was saved by processes of the other kind.
    """
    if is_shared(checkpoint) != shared:
        how = "share one model" if is_shared(checkpoint) else "have a whole model each"
        raise ConsultationError(
            f"{checkpoint} was saved by processes that {how}, and the processes now don't. Set CCAI_ACCELERATE_CONFIG "
            f"to the configuration it was begun with, or remove {work} and begin again."
        )


def discard_after(folder: Path, checkpoint: Path | None) -> list[Path]:
    """Remove and return what is later than the checkpoint that is resumed from: cut off or damaged.

    Args:
        folder: The trainer's output folder.
        checkpoint: The latest whole one; `None` removes all.
    """
    removed = [path for path in _latest_first(folder) if checkpoint is None or _step(path) > _step(checkpoint)]
    for path in removed:
        _seal_of(path).unlink(missing_ok=True)
        shutil.rmtree(path)
    return removed


def sealing() -> Any:
    """Return a trainer callback that seals each checkpoint when all processes have written their part."""
    from accelerate import PartialState
    from transformers import TrainerCallback

    class Sealing(TrainerCallback):  # type: ignore[misc]  # the library has no types
        def on_save(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
            PartialState().wait_for_everyone()
            if state.is_world_process_zero:
                seal(Path(args.output_dir) / f"checkpoint-{state.global_step}")

    return Sealing()


def _latest_first(folder: Path) -> list[Path]:
    found = [path for path in folder.glob("checkpoint-*") if path.name.rpartition("-")[2].isdigit()]
    return sorted(found, key=_step, reverse=True)


def _step(checkpoint: Path) -> int:
    return int(checkpoint.name.rpartition("-")[2])


def _seal_of(checkpoint: Path) -> Path:
    return checkpoint.parent / SEALS / f"{checkpoint.name}.sha256"


def _flush(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
