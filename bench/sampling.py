"""Responses as every stage draws them, against transformers' own `generate` with the same model, prompts and lengths.

Both draw from the whole distribution in the format that the model is saved in, sixteen responses at a time.
"""

from __future__ import annotations

import os

os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")

import tempfile
from pathlib import Path

from bench.pairs import compare
from ccai_dagster.consultation.folder import SAMPLE
from ccai_dagster.consultation.settings import ModelSettings
from ccai_dagster.core.home import home_root
from ccai_dagster.feedback.language_model import rendered
from ccai_dagster.feedback.prompts import read_comparisons
from ccai_dagster.stages.transformers_model import TransformersModel
from ccai_dagster.training.model_folder import load_tokenizer, prepare_base_model

TOGETHER, NEW_TOKENS, SEED = 16, 32, 7


def main() -> None:
    """Print how long sixteen responses take."""
    import torch
    from transformers import AutoModelForCausalLM

    prompts = sorted(set(read_comparisons(SAMPLE / "helpfulness.jsonl")["prompt"]))[:TOGETHER]
    with tempfile.TemporaryDirectory() as place:
        base = Path(place) / "base"
        prepare_base_model(ModelSettings(), home_root() / "cache", base)
        model = TransformersModel(base, "bfloat16", TOGETHER)
        stock = AutoModelForCausalLM.from_pretrained(base, dtype=torch.bfloat16).eval()
        tokenizer = load_tokenizer(base)
        tokenizer.padding_side = "left"
        conversations = [[("user", prompt)] for prompt in prompts]
        opened = [rendered(tokenizer, conversation, open_turn=True) for conversation in conversations]
        inputs = tokenizer(opened, padding=True, return_tensors="pt")
        compare(
            f"{TOGETHER} responses of up to {NEW_TOKENS} tokens",
            lambda: model.generate(conversations, new_tokens=NEW_TOKENS, temperature=1.0, seed=SEED),
            lambda: stock.generate(**inputs, max_new_tokens=NEW_TOKENS, do_sample=True, top_k=0, top_p=1.0),
            "transformers' generate, goal 0.5",
        )


if __name__ == "__main__":
    main()
