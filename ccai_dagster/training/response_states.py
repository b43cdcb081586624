"""What a language model makes of a response: hidden states in the middle of the network, averaged over the response.

The middle layer tells more of what people prefer than the last one, which is about the next token, and the mean more
than the last token's state (`docs/evaluation.md` has the figures). Layers above the middle are not even loaded.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ccai_dagster.core.errors import Progress, silent
from ccai_dagster.feedback.language_model import batches_by_length, computing_format
from ccai_dagster.training.comparisons import exchange
from ccai_dagster.training.model_folder import load_tokenizer, saved_dtype
from ccai_dagster.training.model_source import LOCAL
from ccai_dagster.training.response_score import lower_half


class ResponseReader:
    """The lower half of a model, on the GPU if there is one."""

    def __init__(self, folder: Path, batch_size: int, max_tokens: int) -> None:
        """Load it.

        Args:
            folder: Of a language model.
            batch_size: Responses a batch; those of similar length go together.
            max_tokens: Prompt plus response; longer ones are shortened (`comparisons.exchange`).
        """
        import torch

        self._tokenizer = load_tokenizer(folder)
        self._device = "cuda" if torch.cuda.is_available() else "cpu"
        self._model = _lower_half(folder).to(self._device).eval()
        self._batch_size = batch_size
        self._max_tokens = max_tokens

    def states(self, exchanges: Sequence[tuple[str, str]], progress: Progress = silent) -> tuple[np.ndarray, int]:
        """Read prompts with responses (untrusted).

        Returns:
            Mean state of each response, in order, shape (exchanges, width); how many exchanges were shortened.
        """
        import torch

        read = [exchange(self._tokenizer, *each, self._max_tokens) for each in exchanges]
        done = 0
        states = np.empty((len(read), self._model.config.get_text_config().hidden_size))
        for batch in batches_by_length([each.tokens for each in read], self._batch_size):
            inputs = self._tokenizer.pad(
                {"input_ids": [read[at].tokens for at in batch]}, padding_side="right", return_tensors="pt"
            )
            with torch.inference_mode():
                hidden = self._model(
                    input_ids=inputs["input_ids"].to(self._device),
                    attention_mask=inputs["attention_mask"].to(self._device),
                    use_cache=False,
                ).last_hidden_state
            for row, at in zip(hidden, batch, strict=True):
                response = row[read[at].prompt_tokens : len(read[at].tokens)]
                states[at] = response.float().mean(0).cpu().numpy()
            done += len(batch)
            progress("responses read", done, len(read))
        return states, sum(each.shortened for each in read)


def _lower_half(folder: Path) -> Any:
    import torch
    from transformers import AutoConfig, AutoModel

    return AutoModel.from_pretrained(
        folder,
        config=lower_half(AutoConfig.from_pretrained(folder, **LOCAL)),
        dtype=getattr(torch, computing_format(saved_dtype(folder))),
        use_safetensors=True,
        **LOCAL,
    )
