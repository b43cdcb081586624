"""A model on disk: weights as safetensors, configuration and tokenizer, and nothing of the run that made it.

Two trainings with the same inputs on one machine leave byte-equal folders.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

from ccai_dagster.core.files import whole_folder
from ccai_dagster.errors import ConsultationError
from ccai_dagster.feedback.number_format import computing_format


def load_tokenizer(folder: Path) -> Any:
    """Load the tokenizer of a model folder, with a padding token.

    Raises:
        ConsultationError: The folder has no tokenizer, or one without a chat template.
    """
    from transformers import AutoTokenizer

    try:
        tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)
    except (OSError, ValueError) as error:
        raise ConsultationError(f"{folder}: no tokenizer that can be loaded: {error}") from error
    if not tokenizer.chat_template:
        raise ConsultationError(f"{folder}: the tokenizer has no chat template; use a model tuned to chat.")
    if tokenizer.pad_token_id is None:
        tokenizer.pad_token = tokenizer.eos_token
    return tokenizer


def load_model(folder: Path, *, scores: bool = False) -> Any:
    """Load the weights of a model folder, in the number format that is computed in here.

    Args:
        folder: A model folder.
        scores: Load it as a preference model, which gives one score; a language model gets a new head,
            drawn from the current state of torch's generator.
    """
    import torch
    from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification

    kind = AutoModelForSequenceClassification if scores else AutoModelForCausalLM
    options = {"num_labels": 1} if scores else {}
    dtype = getattr(torch, computing_format(saved_dtype(folder)))
    return kind.from_pretrained(folder, dtype=dtype, local_files_only=True, use_safetensors=True, **options)


def saved_dtype(folder: Path) -> str:
    """Return the number format of a model folder's weights: `bfloat16` or `float32`."""
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    return str(config.get("dtype") or config.get("torch_dtype") or "float32")


def save_model(model: Any, tokenizer: Any, output: Path) -> None:
    """Save a plain model; `output` appears only when it is complete, and replaces what was there."""
    model.config._name_or_path = ""
    with whole_folder(output) as folder:
        model.save_pretrained(folder, safe_serialization=True)
        tokenizer.save_pretrained(folder)
        shutil.rmtree(output, ignore_errors=True)


def merged(model: Any, dtype: str, seed: int) -> Any:
    """Add a trained adapter to the weights it was trained on.

    The sum is made in 32 bits. Rounding it to the nearest bfloat16 would return most weights to what they
    were, because an update is often smaller than half the distance between two such numbers; therefore it is
    rounded up or down with probabilities that keep its mean (stochastic rounding), drawn from `seed`.

    Args:
        model: A PEFT model; it is used up.
        dtype: Number format of the result.
        seed: Of the rounding.

    Returns:
        A plain transformers model.
    """
    import torch

    plain = model.float().merge_and_unload().cpu()
    if dtype == "float32":
        return plain
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in plain.parameters():
            parameter.data = rounded_to_bfloat16(parameter.data, generator)
    # What is no parameter (rotary frequencies) is not saved; the configuration must name the new format.
    plain.config.dtype = torch.bfloat16
    return plain


def rounded_to_bfloat16(values: Any, generator: Any) -> Any:
    """Round float32 to one of the two neighbouring bfloat16, at random, so that the mean is kept.

    A bfloat16 is the upper half of a float32: adding a random lower half and cutting carries over with
    just the probability wanted. Numbers that are bfloat16 already stay as they are.
    """
    import torch

    noise = torch.randint(0, 1 << 16, values.shape, generator=generator, dtype=torch.int32)
    bits = values.contiguous().view(torch.int32) + noise
    return (bits & -(1 << 16)).view(torch.float32).to(torch.bfloat16)
