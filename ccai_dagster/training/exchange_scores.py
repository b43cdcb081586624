"""What a trained preference model says of responses: the reward of a policy, and what its training is measured by."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ccai_dagster.feedback.language_model import batches_by_length
from ccai_dagster.training.comparisons import TokenisedExchange, end_of_turn, exchange
from ccai_dagster.training.model_folder import load_model, load_tokenizer
from ccai_dagster.training.response_score import response_mask


class ExchangeScorer:
    """A trained preference model, on the GPU if there is one."""

    def __init__(self, folder: Path, batch_size: int) -> None:
        """Load it.

        Args:
            folder: Of a preference model.
            batch_size: Exchanges a pass; those of similar length go together.
        """
        import torch

        self.tokenizer = load_tokenizer(folder)
        self._device = "cuda" if torch.cuda.is_available() else "cpu"
        self._model = load_model(folder, scores=True).to(self._device).eval()
        self._model.config.get_text_config().pad_token_id = self.tokenizer.pad_token_id
        self._batch_size = batch_size
        self._end = len(end_of_turn(self.tokenizer))

    def scores(self, exchanges: Sequence[TokenisedExchange]) -> list[float]:
        """Return one score an exchange, in order; only those of responses to one prompt can be compared."""
        import torch

        result = [0.0] * len(exchanges)
        for batch in batches_by_length([each.tokens for each in exchanges], self._batch_size):
            own = [exchanges[index] for index in batch]
            inputs = self.tokenizer.pad(
                {"input_ids": [each.tokens for each in own]}, padding_side="right", return_tensors="pt"
            ).to(self._device)
            mask = response_mask(inputs["attention_mask"], [each.prompt_tokens for each in own], self._end)
            with torch.inference_mode():
                logits = self._model(**inputs, response_mask=mask, use_cache=False).logits
            for index, score in zip(batch, logits[:, 0].float().tolist(), strict=True):
                result[index] = score
        return result

    def scores_of_texts(self, exchanges: Sequence[tuple[str, str]], max_tokens: int) -> list[float]:
        """Score prompts with responses, both as text (untrusted), cut to `max_tokens` tokens together."""
        return self.scores([exchange(self.tokenizer, *each, max_tokens) for each in exchanges])
