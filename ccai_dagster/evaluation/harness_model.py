"""A local model as the lm-evaluation-harness wants it, made faster and finer for letters.

Which items are run, and what their answers mean, belongs to `benchmarks` and `items`.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ccai_dagster.errors import ConsultationError


def load_harness_model(model: Path, dtype: str, batch_size: int) -> Any:
    """Load a model as the harness's `HFLM`, on the accelerator if there is one.

    One thing differs from `HFLM`: where letters are scored, the output head runs at the last position of each
    prompt only and in float32. The harness runs it at every position, which costs a lot of time with a small
    model and a large vocabulary, and in bfloat16, where letters within an eighth of a nat of each other tie
    (more than a quarter of the items, with the embedded model). A cap that a model puts on its logits is left
    out: it never changes which letter is likeliest.

    Args:
        model: Folder with safetensors, tokenizer and chat template.
        dtype: `bfloat16` or `float32`.
        batch_size: Requests run together.

    Raises:
        ConsultationError: The tokenizer has no chat template.
    """
    import torch
    from lm_eval.models.huggingface import HFLM
    from transformers import AutoModelForCausalLM, AutoTokenizer

    class LettersModel(HFLM):
        """`HFLM` with one-token continuations scored at the last position."""

        def _loglikelihood_tokens(
            self, requests: Sequence[Any], disable_tqdm: bool = False, override_bs: int | None = None
        ) -> list[tuple[float, bool]]:
            by_context: dict[tuple[int, ...], list[int]] = {}
            for at, (_, context, continuation) in enumerate(requests):
                if len(continuation) != 1:
                    raise ValueError(f"a continuation of {len(continuation)} tokens; letters have one")
                by_context.setdefault(tuple(context), []).append(at)
            contexts = sorted(by_context, key=lambda tokens: (-len(tokens), tokens))
            answers: dict[int, tuple[float, bool]] = {}
            for start in range(0, len(contexts), self.batch_size):
                batch = contexts[start : start + self.batch_size]
                scores = self._last_log_probabilities(batch)
                likeliest = scores.argmax(dim=-1)
                for row, context in enumerate(batch):
                    for at in by_context[context]:
                        request, _, (token,) = requests[at]
                        answers[at] = (float(scores[row, token]), bool(likeliest[row] == token))
                        self.cache_hook.add_partial("loglikelihood", request, answers[at])
            return [answers[at] for at in range(len(requests))]

        def _last_log_probabilities(self, contexts: Sequence[tuple[int, ...]]) -> torch.Tensor:
            """Return log-probabilities of the next token, shape (contexts, vocabulary), float32."""
            longest = max(len(context) for context in contexts)
            # Padding on the right is out of sight of every token that counts, so no mask is needed.
            padded = torch.zeros((len(contexts), longest), dtype=torch.long)
            for row, context in enumerate(contexts):
                padded[row, : len(context)] = torch.tensor(context)
            last = torch.tensor([len(context) - 1 for context in contexts])
            with torch.inference_mode():
                states = self.model.base_model(padded.to(self.device), use_cache=False).last_hidden_state
                states = states[torch.arange(len(contexts)), last.to(states.device)].float()
                head = self.model.get_output_embeddings()
                bias = None if head.bias is None else head.bias.float()
                logits = torch.nn.functional.linear(states, head.weight.float(), bias)
                return torch.log_softmax(logits, dim=-1).cpu()

    tokenizer = AutoTokenizer.from_pretrained(model, local_files_only=True)
    if not tokenizer.chat_template:
        raise ConsultationError(
            f"{model}: the tokenizer has no chat template. Choose an instruction-tuned model."
        )
    weights = AutoModelForCausalLM.from_pretrained(
        model, dtype=getattr(torch, dtype), local_files_only=True, use_safetensors=True
    )
    weights.to("cuda" if torch.cuda.is_available() else "cpu")
    return LettersModel(pretrained=weights, tokenizer=tokenizer, backend="causal", batch_size=batch_size)
