"""A local model as the lm-evaluation-harness wants it, made faster and finer for letters.

Which items are run, and what their answers mean, belongs to `benchmarks` and `items`.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from ccai_dagster.errors import ConsultationError
from ccai_dagster.feedback.shared_prefixes import shared_prefixes

LEAST_FILLED = 0.85
"""Share of a batch's longest prompt that every other prompt fills; the rest is padding."""


def load_harness_model(model: Path, dtype: str, batch_size: int) -> Any:
    """Load a model as the harness's `HFLM`, on the accelerator if there is one.

    Two things differ from `HFLM` where letters are scored. The output head runs at the last position of each
    prompt only and in float32: the harness runs it at every position, which costs a lot of time with a small
    model and a large vocabulary, and in bfloat16, where letters within an eighth of a nat of each other tie
    (more than a quarter of the items, with the embedded model). And a beginning that prompts share, such as the
    examples of a subject, is read once. A cap that a model puts on its logits is left out: it never changes
    which letter is likeliest.

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
            head = self.model.get_output_embeddings()
            weight, bias = head.weight.float(), None if head.bias is None else head.bias.float()
            with torch.inference_mode():
                for members, states in _last_states(
                    self.model.base_model, self.device, contexts, self.batch_size
                ):
                    logits = torch.nn.functional.linear(states.float(), weight, bias)
                    scores = torch.log_softmax(logits, dim=-1).cpu()
                    likeliest = scores.argmax(dim=-1)
                    for row, member in enumerate(members):
                        for at in by_context[contexts[member]]:
                            request, _, (token,) = requests[at]
                            answers[at] = (float(scores[row, token]), bool(likeliest[row] == token))
                            self.cache_hook.add_partial("loglikelihood", request, answers[at])
            return [answers[at] for at in range(len(requests))]

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


def _last_states(
    model: Any, device: Any, contexts: Sequence[tuple[int, ...]], batch_size: int
) -> Iterator[tuple[list[int], Any]]:
    """Yield indexes of contexts with the model's states at their ends, shape (indexes, width).

    Contexts without a shared beginning are batched by length, those with one among themselves.
    """
    import torch

    groups = shared_prefixes(contexts, [1] * len(contexts))
    alone = [group.members[0] for group in groups if not group.prefix]
    for members in _batches(alone, contexts, 0, batch_size):
        yield members, _read(model, device, [contexts[at] for at in members], 0, None)
    for group in groups:
        if not group.prefix:
            continue
        beginning = torch.tensor([contexts[group.members[0]][: group.prefix]], device=device)
        read = model(beginning, use_cache=True).past_key_values
        for members in _batches(group.members, contexts, group.prefix, batch_size):
            cache = copy.deepcopy(read)
            cache.batch_repeat_interleave(len(members))
            yield members, _read(model, device, [contexts[at] for at in members], group.prefix, cache)


def _batches(
    indexes: Sequence[int], contexts: Sequence[tuple[int, ...]], skipped: int, size: int
) -> Iterator[list[int]]:
    """Batch contexts from the longest on; one that is much shorter begins a new batch, so little is padded."""
    batch: list[int] = []
    for at in sorted(indexes, key=lambda index: (-len(contexts[index]), index)):
        if batch and (
            len(batch) == size
            or len(contexts[at]) - skipped < LEAST_FILLED * (len(contexts[batch[0]]) - skipped)
        ):
            yield batch
            batch = []
        batch.append(at)
    if batch:
        yield batch


def _read(model: Any, device: Any, contexts: Sequence[tuple[int, ...]], skipped: int, cache: Any) -> Any:
    """Read contexts from a position on, what stands before it being in the cache."""
    import torch

    longest = max(len(context) for context in contexts) - skipped
    # Padding on the right is out of sight of every token that counts, so no mask is needed.
    padded = torch.zeros((len(contexts), longest), dtype=torch.long)
    for row, context in enumerate(contexts):
        padded[row, : len(context) - skipped] = torch.tensor(context[skipped:])
    last = torch.tensor([len(context) - skipped - 1 for context in contexts])
    places = torch.arange(skipped, skipped + longest, device=device)[None]
    states = model(
        padded.to(device), position_ids=places, past_key_values=cache, use_cache=cache is not None
    ).last_hidden_state
    return states[torch.arange(len(contexts)), last.to(states.device)]
