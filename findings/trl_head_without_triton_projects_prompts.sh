#!/usr/bin/env bash
# TRL 1.16.0 (transformers 5.23.0, torch 2.13.0 on a CPU): trainers project prompts and padding onto the vocabulary.
#
# The trainers for supervised fine-tuning, direct preferences and reinforcement give a model a fused language-model head,
# which is documented to project only positions whose next token has a label. That holds where there is Triton. Without
# it, every position is projected, forward and backward, so that a small model with a large vocabulary spends most of a
# step on tokens that nobody learns. The documentation of the head says nothing of it.
#
# Seen, for 64 tokens, a vocabulary of 8,192 and a width of 64, in millions of floating-point operations of the head:
#     1 labelled: 67    64 labelled: 67    by what is labelled: 1 and 67
#
# Fails if that changes.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --disable-pip-version-check trl==1.16.0 transformers==5.23.0 torch==2.13.0 2> "$work/pip.log" || { cat "$work/pip.log"; exit 1; }
cat > "$work/head.py" <<'PYTHON'
import torch
from torch.utils.flop_counter import FlopCounterMode
from transformers import LlamaConfig, LlamaForCausalLM
from trl.trainer import add_fused_lm_head

TOKENS, VOCABULARY, WIDTH = 64, 8192, 64
sizes = {"num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 64, "tie_word_embeddings": False}
model = LlamaForCausalLM(LlamaConfig(vocab_size=VOCABULARY, hidden_size=WIDTH, **sizes))
add_fused_lm_head(model)
tokens = torch.arange(TOKENS + 1)[None]


def millions(labelled: int) -> int:
    labels = tokens.clone()
    labels[:, :-labelled] = -100
    with FlopCounterMode(display=False) as without_head, torch.no_grad():
        model.model(input_ids=tokens)
    with FlopCounterMode(display=False) as whole, torch.no_grad():
        model(input_ids=tokens, labels=labels, fused_lm_head=True)
    return round((whole.get_total_flops() - without_head.get_total_flops()) / 1e6)


needed = [round(2 * labelled * VOCABULARY * WIDTH / 1e6) for labelled in (1, TOKENS)]
print(f"1 labelled: {millions(1)}    64 labelled: {millions(TOKENS)}    by what is labelled: {needed[0]} and {needed[1]}")
PYTHON
seen=$("$work/venv/bin/python" -W ignore "$work/head.py" 2> "$work/errors") || { cat "$work/errors"; exit 1; }
echo "$seen"
[ "$seen" = "1 labelled: 67    64 labelled: 67    by what is labelled: 1 and 67" ]
