"""What a person is told when a stage fails for want of disk or memory, instead of a trace.

Everything else that a person can mend is a `ConsultationError` where it is noticed.
"""

from __future__ import annotations

import errno
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path

from ccai_dagster.errors import ConsultationError

LEAST_FREE_BYTES = 16 << 20
"""A disk with less than this is taken for full when a stage ended without a word."""
BATCH_SETTINGS: Mapping[str, str] = {
    "judge_answers": "feedback.batch_size",
    "revisions": "revisions.batch_size",
    "supervised_policy": "supervised.batch_size",
    "response_pairs": "pairs.batch_size",
    "preference_pairs": "feedback.batch_size",
    "preference_model": "preference_model.batch_size",
    "policy": "policy.prompts_per_step",
    "evaluation": "evaluation.batch_size",
    "comparison": "evaluation.batch_size",
}
"""The setting of a profile that decides how much memory a stage takes."""
_DISK_FULL_TEXTS = ("No space left on device", "os error 28", "Disk quota exceeded", "os error 122")
_MEMORY_TEXTS = ("CUDA out of memory", "can't allocate memory", "not enough memory", "Cannot allocate memory")


def told(error: BaseException, stage: str, folder: Path) -> str | None:
    """Return what to tell a person about an error, or `None` if only its trace can help.

    Args:
        error: What was raised, with its causes.
        stage: Name of the stage.
        folder: Where the stage works; its disk is the one that may be full.
    """
    for each in _with_causes(error):
        if isinstance(each, ConsultationError):
            return str(each)
        if _is_disk_full(each, folder):
            return disk_full(stage, folder)
        if isinstance(each, MemoryError) or any(text in str(each) for text in _MEMORY_TEXTS):
            where = "of the GPU" if "CUDA" in str(each) else "of this machine"
            return out_of_memory(stage, where)
    return None


def disk_full(stage: str, folder: Path) -> str:
    """Tell that the disk of `folder` is full and what to do."""
    return (
        f"stage {stage}: the disk of {folder} is full ({shutil.disk_usage(folder).free >> 20} MiB free). Make room "
        "there (the folders in `work` of CCAI_HOME/CONSULTATION belong to stages that were not finished) or set "
        "CCAI_HOME to a larger disk, and run again: what is finished is kept, and a training goes on from its last "
        "whole checkpoint."
    )


def out_of_memory(stage: str, where: str) -> str:
    """Tell that memory ran out and which setting decides how much is taken."""
    setting = BATCH_SETTINGS.get(stage)
    remedy = (
        f"make `{setting}` smaller in the profile of consultation.yaml (half of it takes about half the memory "
        "beyond the model's own)"
        if setting
        else "use a machine with more, or a smaller model"
    )
    return f"stage {stage}: the memory {where} is not enough; {remedy}, and run again."


def is_disk_full(folder: Path) -> bool:
    """Tell whether hardly anything can be written to the disk of `folder`."""
    return shutil.disk_usage(folder).free < LEAST_FREE_BYTES


def _is_disk_full(error: BaseException, folder: Path) -> bool:
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
        return True
    if any(text in str(error) for text in _DISK_FULL_TEXTS):
        return True
    # torch's writer says only that it could not write.
    return "inline_container.cc" in str(error) and is_disk_full(folder)


def _with_causes(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__
