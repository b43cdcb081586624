"""How likely a model that is trained finds the tokens it learns from: only these are projected onto the vocabulary.

TRL's trainers for `supervised`, `direct_preference` and `policy` give a model a language-model head that does so with
kernels of Triton. Where there is none, on a CPU, it projects every position, prompts and padding included, in many
passes over the logits; for a small model with a large vocabulary that is nearly half of a step. Here is what stands in
for it there.
"""

from __future__ import annotations

import functools
from typing import Any

LOGIT_CELLS = 2**27
"""Most cells (tokens times vocabulary) of logits that one pass may hold on a CPU: 512 MB in 32 bits."""


def project_labelled_only(model: Any, temperature: float = 1.0) -> None:
    """Replace the head that a trainer gave a model, unless there is a GPU, whose kernels need no replacement.

    Called with `fused_lm_head=True` and `labels`, the model then returns the trainer's own `FusedCausalLMOutput`:
    `log_probs` (nats, with gradient), `entropy` (nats) and `is_top1` of each next token, both without gradient, and
    `label_mask`, of shape (sequences, tokens - 1) and 0 or False where there is no label; `aux_loss` if the model
    computes one. Called otherwise it is what it was.

    Args:
        model: A causal language model with an adapter, after a trainer was made with it.
        temperature: The logits are divided by it.
    """
    import torch
    from trl.trainer.utils import FusedCausalLMOutput

    if torch.cuda.is_available():
        return
    model = model.get_base_model()
    whole = model.forward

    @functools.wraps(whole)  # `generate` looks at the arguments
    def forward(*args: Any, fused_lm_head: bool = False, **kwargs: Any) -> Any:
        if not fused_lm_head:
            return whole(*args, **kwargs)
        next_tokens = kwargs.pop("labels")[:, 1:]
        kwargs.pop("num_items_in_batch", None)
        mask = next_tokens != -100

        def labelled(_: Any, given: tuple[Any, ...]) -> tuple[Any, ...]:
            return (given[0][:, :-1][mask],)

        hook = model.get_output_embeddings().register_forward_pre_hook(labelled)
        try:
            output = whole(*args, **{**kwargs, "use_cache": False})
        finally:
            hook.remove()
        likely = (output.logits.float() / temperature).log_softmax(-1)
        chosen = likely.gather(-1, next_tokens[mask][:, None]).squeeze(-1)
        with torch.no_grad():
            entropy = torch.cat([-(rows.exp() * rows).sum(-1) for rows in likely.detach().split(256)])
            best = likely.argmax(-1) == next_tokens[mask]

        def placed(values: Any) -> Any:
            return values.new_zeros(mask.shape).masked_scatter(mask, values)

        return FusedCausalLMOutput(
            log_probs=placed(chosen),
            entropy=placed(entropy),
            is_top1=placed(best),
            label_mask=mask,
            aux_loss=output.get("aux_loss"),
        )

    model.forward = forward
