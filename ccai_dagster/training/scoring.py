"""Scores of exchanges by a saved preference model."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ccai_dagster.training.exchanges import exchange
from ccai_dagster.training.model_folder import load_model, load_tokenizer


def scores(folder: Path, sequences: Sequence[list[int]], batch_size: int) -> list[float]:
    """Score whole exchanges with a preference model.

    Args:
        folder: Its folder.
        sequences: Token ids of exchanges, each to the end of the assistant's turn.
        batch_size: Exchanges a pass; those of similar length go together.

    Returns:
        One score a sequence, in order.
    """
    import torch

    if not sequences:
        return []
    tokenizer = load_tokenizer(folder)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    model = load_model(folder, scores=True).to(device).eval()
    model.config.pad_token_id = tokenizer.pad_token_id
    order = sorted(range(len(sequences)), key=lambda index: (len(sequences[index]), sequences[index], index))
    result = [0.0] * len(sequences)
    for start in range(0, len(order), batch_size):
        batch = order[start : start + batch_size]
        inputs = tokenizer.pad(
            {"input_ids": [sequences[index] for index in batch]}, padding_side="right", return_tensors="pt"
        )
        with torch.inference_mode():
            logits = model(
                input_ids=inputs["input_ids"].to(device), attention_mask=inputs["attention_mask"].to(device)
            ).logits
        for index, score in zip(batch, logits[:, 0].float().tolist(), strict=True):
            result[index] = score
    return result


def exchange_scores(
    folder: Path, exchanges: Sequence[tuple[str, str]], max_tokens: int, batch_size: int
) -> list[float]:
    """Score prompts with responses, both as text (untrusted), cut to `max_tokens` tokens together."""
    tokenizer = load_tokenizer(folder)
    return scores(folder, [exchange(tokenizer, *each, max_tokens).tokens for each in exchanges], batch_size)
