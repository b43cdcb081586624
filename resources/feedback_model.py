"""The tuned feedback model as a resource: a folder with a score head, run in this process.

Answers to `ccai_dagster.feedback.language_model.ScoringModel`. torch is imported on construction.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from ccai_dagster.digest import folder_digest
from ccai_dagster.training.exchanges import exchange
from ccai_dagster.training.model_folder import load_model, load_tokenizer


class TunedFeedbackModel:
    """A model that scores responses, made by `ccai_dagster.training.feedback_model`.

    Attributes:
        name: Digest of the folder.
    """

    def __init__(self, folder: Path, batch_size: int, max_tokens: int) -> None:
        """Load a tuned feedback model.

        Args:
            folder: Its folder.
            batch_size: Responses a batch; those of similar length go together.
            max_tokens: Prompt plus response, as it was tuned with; longer ones are shortened alike.
        """
        import torch

        self._tokenizer = load_tokenizer(folder)
        self._device = "cuda" if torch.cuda.is_available() else "cpu"
        self._model = load_model(folder, scores=True).to(self._device).eval()
        self._model.config.pad_token_id = self._tokenizer.pad_token_id
        self._batch_size = batch_size
        self._max_tokens = max_tokens
        self.name = folder_digest(folder)

    def scores(self, exchanges: Sequence[tuple[str, str]]) -> np.ndarray:
        """See `ScoringModel.scores`."""
        import torch

        sequences = [exchange(self._tokenizer, *each, self._max_tokens).tokens for each in exchanges]
        order = sorted(range(len(sequences)), key=lambda at: (len(sequences[at]), sequences[at], at))
        result = np.empty(len(sequences))
        for start in range(0, len(order), self._batch_size):
            batch = order[start : start + self._batch_size]
            inputs = self._tokenizer.pad(
                {"input_ids": [sequences[at] for at in batch]}, padding_side="right", return_tensors="pt"
            )
            with torch.inference_mode():
                logits = self._model(
                    input_ids=inputs["input_ids"].to(self._device),
                    attention_mask=inputs["attention_mask"].to(self._device),
                ).logits
            result[batch] = logits[:, 0].float().cpu().numpy()
        return result
