"""Whether a device can hold models that are needed whole on it, from their sizes and before any is loaded.

Belongs here: what a device has and what weights take. What a stage needs beside weights depends on its batches; where
that is too much, `stages.worker` says which setting helps.
"""

from __future__ import annotations

import os
from math import prod
from pathlib import Path

from ccai_dagster.core.errors import ConsultationError
from ccai_dagster.feedback.language_model import computing_format
from ccai_dagster.training.model_folder import saved_dtype
from ccai_dagster.training.model_source import weight_shapes

BYTES = {"bfloat16": 2, "float32": 4}
GB = 10**9


def check_room(*folders: Path) -> None:
    """Refuse models that one device cannot hold at once.

    Args:
        folders: Of models, each as often as it is held.

    Raises:
        ConsultationError: Their weights alone take more than the device has.
    """
    wanted = sum(map(weight_bytes, folders))
    room, device = device_memory()
    if wanted > room:
        raise ConsultationError(
            f"The weights of {' and '.join(map(str, folders))} take {wanted / GB:.1f} GB and are needed whole on one "
            f"device, and {device} has {room / GB:.1f} GB. Take a device with more memory or a smaller model; "
            "configs/sharded.yaml divides a model among GPUs while it is trained, and nowhere else."
        )


def check_room_to_train(trained: Path, *beside: Path) -> None:
    """Refuse a training for which a device has no room: for the model, unless it is divided, and others beside it."""
    divided = os.environ.get("ACCELERATE_USE_FSDP", "").lower() == "true"
    check_room(*beside if divided else (trained, *beside))


def weight_bytes(folder: Path) -> int:
    """Return what the weights of a model folder take in the number format that is computed in here."""
    numbers = sum(map(prod, weight_shapes(folder, "the model")))
    return numbers * BYTES[computing_format(saved_dtype(folder))]


def device_memory() -> tuple[int, str]:
    """Return the memory of the device that models are loaded on, in bytes, and what it is."""
    import psutil
    import torch

    if torch.cuda.is_available():
        return int(torch.cuda.get_device_properties(torch.cuda.current_device()).total_memory), "a GPU"
    return int(psutil.virtual_memory().total), "this machine"
