"""Memory that trainings take, beside what docs/scaling.md computes for it.

`python -m bench.memory` trains a random model of 3·10^8 parameters for two steps, supervised, as a preference model and
as a policy, each in a process of its own and with the layers computed again as on a GPU. It prints what the loaded
models hold, and the peak of the steps above that. It takes some CPU minutes, so `python -m bench` leaves it out.
"""

from __future__ import annotations

import gc
import os

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")

import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import polars as pl

from bench.training import as_labels
from ccai_dagster.consultation.settings import (
    ModelSettings,
    PolicySettings,
    PreferenceModelSettings,
    SupervisedSettings,
)
from ccai_dagster.contracts import HELPFULNESS_PAIRS, REVISIONS
from ccai_dagster.core.home import home_root
from ccai_dagster.feedback.language_model import computing_format
from ccai_dagster.training import policy, preference_model, supervised, trainer
from ccai_dagster.training.model_folder import load_tokenizer, prepare_base_model, save_model, saved_dtype
from ccai_dagster.training.policy import train_policy
from ccai_dagster.training.preference_model import train_preference_model
from ccai_dagster.training.room import BYTES, GB, weight_bytes
from ccai_dagster.training.supervised import train_supervised_policy

WIDTH, LAYERS, FEED_FORWARD, HEADS, KEY_HEADS, RANK = 1024, 24, 2816, 16, 4, 16
BATCH, TOKENS, NEW_TOKENS, STEPS, SEED = 4, 512, 128, 2, 7
WORDS = "the town asks its people what a fair answer is and writes down who said so "


def main() -> None:
    """Print measured and computed gigabytes of each training, or measure the one named on the command line."""
    if sys.argv[1:]:
        measure(Path(sys.argv[1]), sys.argv[2])
        return
    with tempfile.TemporaryDirectory() as folder:
        random_model(Path(folder))
        for training in ("supervised", "preference_model", "policy"):
            subprocess.run([sys.executable, "-W", "ignore", "-m", "bench.memory", folder, training], check=True)


def random_model(folder: Path) -> None:
    """Write a Llama-shaped model with the embedded model's tokenizer."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    prepare_base_model(ModelSettings(), home_root() / "cache", folder / "embedded")
    tokenizer = load_tokenizer(folder / "embedded")
    torch.manual_seed(SEED)
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=WIDTH,
        num_hidden_layers=LAYERS,
        intermediate_size=FEED_FORWARD,
        num_attention_heads=HEADS,
        num_key_value_heads=KEY_HEADS,
        tie_word_embeddings=True,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
        initializer_range=0.02,
    )
    save_model(LlamaForCausalLM(config).to(torch.bfloat16), tokenizer, folder / "base")


def measure(folder: Path, training: str) -> None:
    """Train, and print the peak of the steps beside what is computed for it."""
    import torch
    import trl  # noqa: F401 - imported before the measurement begins

    torch.set_num_threads(os.cpu_count() or 1)
    arguments, train = trainer.training_arguments, trainer.train
    held: list[float] = []

    def as_on_a_gpu(*args: Any, **kwargs: Any) -> dict[str, Any]:
        return arguments(*args, **kwargs) | {"gradient_checkpointing": True}

    def watched(*args: Any) -> Any:
        gc.collect()
        held.append(resident("VmRSS"))
        Path("/proc/self/clear_refs").write_text("5")
        return train(*args)

    for module in (supervised, preference_model, policy):
        module.training_arguments, module.train = as_on_a_gpu, watched  # type: ignore[attr-defined]
    trainer.CHECKPOINTS_PER_RUN = 1
    base, work, output = folder / "base", folder / "work" / training, folder / training
    long = WORDS * (TOKENS // 10)
    peaks: list[float] = []
    before = resident("VmRSS")

    def step(message: str = "", done: int = 0, total: int = 0) -> None:
        peaks.append(resident("VmHWM"))

    if training == "supervised":
        settings = SupervisedSettings(steps=STEPS, batch_size=BATCH, lora_rank=RANK, max_tokens=TOKENS)
        train_supervised_policy(base, revisions(long), HELPFULNESS_PAIRS.empty(), settings, SEED, work, output, step)
    elif training == "preference_model":
        own = PreferenceModelSettings(steps=STEPS, batch_size=BATCH, lora_rank=RANK, max_tokens=TOKENS)
        train_preference_model(base, comparisons(long), HELPFULNESS_PAIRS.empty(), 1.0, own, SEED, work, output, step)
    else:
        train_policy(
            base,
            folder / "preference_model",
            [f"{WORDS}{number}" for number in range(64)],
            PolicySettings(
                steps=STEPS,
                prompts_per_step=BATCH // 2,
                samples_per_prompt=2,
                new_tokens=NEW_TOKENS,
                lora_rank=RANK,
                kl_limit=50.0,
                length_limit=50.0,
            ),
            SEED,
            work,
            output,
            step,
        )
    models, others = computed(base, training)
    print(
        f"{training}: loaded {told(held[0] - before, models)}; steps {told(max(peaks) - held[0], others)}", flush=True
    )


def told(measured: float, parts: dict[str, float]) -> str:
    """What was measured, in GB, beside what is computed, in bytes."""
    rows = ", ".join(f"{what} {size / GB:.2f}" for what, size in parts.items())
    return f"{measured:.2f} GB, computed {sum(parts.values()) / GB:.2f} ({rows})"


def computed(base: Path, training: str) -> tuple[dict[str, float], dict[str, float]]:
    """Return the rows of the table in docs/scaling.md for this model and these batches, in bytes: models, the rest."""
    number = BYTES[computing_format(saved_dtype(base))]
    layers = LAYERS // 2 if training == "preference_model" else LAYERS
    keys = WIDTH // HEADS * KEY_HEADS
    vocabulary = len(load_tokenizer(base))
    adapter = RANK * layers * (2 * (WIDTH + WIDTH) + 2 * (WIDTH + keys) + 3 * (WIDTH + FEED_FORWARD))
    longest, said = TOKENS, TOKENS
    if training == "policy":
        longest, said = len(load_tokenizer(base)(WORDS).input_ids) + 12 + NEW_TOKENS, NEW_TOKENS
    sequences, _ = trainer.per_device(BATCH, longest, 0 if training == "preference_model" else said * vocabulary)
    tokens = sequences * longest * (2 if training == "preference_model" else 1)
    whole = weight_bytes(base)
    models = {"weights": whole * (0.5 if training == "preference_model" else 1)}
    others: dict[str, float] = {
        "adapter": 16 * adapter,
        "layer inputs": tokens * WIDTH * number * layers,
        "one layer again": tokens * (8 * WIDTH + 3 * FEED_FORWARD) * number,
    }
    if training != "preference_model":
        others["logits"] = sequences * said * vocabulary * 4 * 2
    if training == "policy":
        models["preference model"] = whole * 0.5
        others["keys and values"] = 2 * keys * layers * number * tokens
    return models, others


def revisions(text: str) -> pl.DataFrame:
    """Revisions to learn from, all of the same words."""
    return REVISIONS.build(
        [
            {
                "prompt_id": f"{number:02}",
                "step": 1,
                "prompt": f"{WORDS}{number}",
                "response": text,
                "response_finished": True,
                "principle_id": "P1",
                "request_number": 0,
                "template_version": "1",
                "critique": "",
                "critique_finished": True,
                "revision": text,
                "revision_finished": True,
            }
            for number in range(32)
        ]
    )


def comparisons(text: str) -> pl.DataFrame:
    """Labelled comparisons of two responses that are both beyond the longest exchange."""
    return as_labels(
        pl.DataFrame(
            {
                "pair_id": [f"{number:02}" for number in range(32)],
                "prompt": [f"{WORDS}{number}" for number in range(32)],
                "response_a": [text] * 32,
                "response_b": [f"no {text}"] * 32,
                "probability_a": [0.9] * 32,
            }
        )
    )


def resident(name: str) -> float:
    """Return what this process holds (`VmRSS`), or held at most (`VmHWM`), in GB."""
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith(name))
    return int(line.split()[1]) * 1024 / GB


if __name__ == "__main__":
    main()
