"""Log-probabilities of responses with gradients, computed for the tokens of the response only.

The trainers' own way projects every position onto the vocabulary where there is no Triton, prompts and
padding included; for a small model with a large vocabulary that is most of the work.
"""

from __future__ import annotations

from typing import Any

LOGIT_CELLS = 2**26
"""Most cells (sequences times tokens times vocabulary) of logits that one pass may hold: 256 MB in 32 bits."""


def sequences_a_pass(sequences: int, new_tokens: int, vocabulary: int) -> int:
    """Return how many sequences may be scored at once, at least 1.

    Args:
        sequences: How many there are.
        new_tokens: Longest response, in tokens.
        vocabulary: Size of the vocabulary.
    """
    return max(1, min(sequences, LOGIT_CELLS // (new_tokens * vocabulary)))


def completion_scores(
    model: Any, input_ids: Any, attention_mask: Any, completion_tokens: int, temperature: float
) -> tuple[Any, Any]:
    """Score the last tokens of padded sequences.

    Args:
        model: A causal language model whose forward takes `logits_to_keep`.
        input_ids: Shape (sequences, tokens).
        attention_mask: 1 where there is a token, the same shape.
        completion_tokens: How many of the last positions are scored.
        temperature: The logits are divided by it.

    Returns:
        Log-probability of each of the last tokens (nats, with gradient) and entropy of the distribution it was
        drawn from (nats, without), both of shape (sequences, completion_tokens). Padding is scored as well; the
        caller masks it.
    """
    import torch

    logits = model(
        input_ids=input_ids,
        attention_mask=attention_mask,
        use_cache=False,
        logits_to_keep=completion_tokens + 1,
    ).logits[:, :-1]
    likely = (logits.float() / temperature).log_softmax(-1)
    chosen = likely.gather(-1, input_ids[:, -completion_tokens:, None]).squeeze(-1)
    with torch.no_grad():
        entropy = torch.stack([-(row.exp() * row).sum(-1) for row in likely.detach()])
    return chosen, entropy
