"""What a preference model's head learns from labels of a rule, by the layer and tokens it reads and where it begins.

`python -m bench.score_heads` prints the table of docs/evaluation.md, in six CPU minutes: responses of the embedded
model to prompts of the sample, labelled by ease of reading. The model stays as it is, so that many draws can be
compared; a head takes the steps, batches and learning rate of a preference model.
"""

from __future__ import annotations

import os

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")

import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from ccai_dagster.consultation.folder import SAMPLE
from ccai_dagster.consultation.settings import ModelSettings, PreferenceModelSettings
from ccai_dagster.core.home import home_root
from ccai_dagster.evaluation.control import TRAINED_ON, held_out_prompts, with_purpose
from ccai_dagster.feedback.language_model import batches_by_length, texts_of
from ccai_dagster.feedback.prompts import read_prompts
from ccai_dagster.feedback.rules import EASE_OF_READING, reading_ease
from ccai_dagster.stages.feedback import load_language_model
from ccai_dagster.statistics.intervals import mean_interval
from ccai_dagster.training.comparisons import end_of_turn, exchange
from ccai_dagster.training.model_folder import load_model, load_tokenizer, prepare_base_model

SETTINGS, SEED, DRAWS, BOOTSTRAPS = PreferenceModelSettings(), 7, 8, 2000
LABELS_AND_STEPS = ((40, 12), (100, 12), (180, 24))
SPREAD = 0.042
"""Of the weights that the library would give the embedded model's new head."""
LEARNT, MEASURED = 6, 4
"""Responses to each prompt."""


def main() -> None:
    """Print a row for each way to read a score."""
    with tempfile.TemporaryDirectory() as name:
        base = Path(name) / "base"
        prepare_base_model(ModelSettings(), home_root() / "cache", base)
        prompts = read_prompts(SAMPLE / "prompts.csv", SAMPLE / "themes.csv", {})
        learnt = responses(base, with_purpose(prompts, TRAINED_ON, "preference"), LEARNT)
        measured = responses(base, held_out_prompts(prompts), MEASURED)
        both = pl.concat([learnt, measured])
        read = states(base, list(both.select("prompt", "response").iter_rows()))
    ordered = pairs(both, np.arange(learnt.height, both.height))
    asked = both["prompt"].to_numpy()[ordered[:, 0]]
    print(f"{learnt.height} responses to learn from, {len(ordered)} pairs to measure")
    for reads, features in read.items():
        for begins in ("at random", "with nil"):
            row = []
            for labels, steps in LABELS_AND_STEPS:
                right = np.zeros(len(ordered))
                for draw in range(DRAWS):
                    generator = np.random.default_rng([SEED, draw])
                    shuffled = generator.permutation(learnt.height)
                    own = generator.permutation(pairs(both, shuffled, disjoint=True))[:labels]
                    score = features @ head(features, both["ease"].to_numpy(), own, steps, begins, draw)
                    right += ((np.sign(score[ordered[:, 0]] - score[ordered[:, 1]]) + 1) / 2) / DRAWS
                low, high = mean_interval(right, asked, (0.0, 1.0), bootstraps=BOOTSTRAPS, seed=SEED)
                row.append(f"{right.mean():.3f} [{low:.3f}, {high:.3f}]")
            print(f"| {reads} | {begins} | {' | '.join(row)} |", flush=True)


def responses(base: Path, prompts: pl.DataFrame, samples: int) -> pl.DataFrame:
    """Let the untrained model respond; return `prompt`, `response`, `ease`, without responses that have no words."""
    asked = [text for text in prompts["text"] for _ in range(samples)]
    said = load_language_model(base, ModelSettings(), 64).generate(
        [[("user", text)] for text in asked], new_tokens=32, temperature=1.0, seed=SEED
    )
    table = pl.DataFrame({"prompt": asked, "response": texts_of(said)})
    return table.with_columns(ease=pl.Series(map(reading_ease, table["response"]))).filter(pl.col("ease").is_finite())


def states(base: Path, exchanges: list[tuple[str, str]]) -> dict[str, np.ndarray]:
    """Return what heads may read, normalised as after the last layer, shape (exchanges, width) each."""
    import torch

    model, tokenizer = load_model(base).model.eval(), load_tokenizer(base)
    said, end = [exchange(tokenizer, *each, SETTINGS.max_tokens) for each in exchanges], len(end_of_turn(tokenizer))
    found: dict[str, np.ndarray] = {
        f"{tokens}, {layer} layer": np.empty((len(said), model.config.hidden_size))
        for layer in ("last", "middle")
        for tokens in ("last token", "mean over the response")
    }
    for batch in batches_by_length([each.tokens for each in said], 32):
        inputs = tokenizer.pad(
            {"input_ids": [said[at].tokens for at in batch]}, padding_side="right", return_tensors="pt"
        )
        with torch.inference_mode():
            output = model(**inputs, output_hidden_states=True, use_cache=False)
            middle = model.norm(output.hidden_states[len(model.layers) // 2])
        for layer, hidden in (("last", output.last_hidden_state), ("middle", middle)):
            for row, at in zip(hidden.float().numpy(), batch, strict=True):
                begins, whole = said[at].prompt_tokens, len(said[at].tokens)
                found[f"last token, {layer} layer"][at] = row[whole - 1]
                found[f"mean over the response, {layer} layer"][at] = row[begins : whole - end].mean(0)
    return found


def pairs(table: pl.DataFrame, rows: Any, *, disjoint: bool = False) -> np.ndarray:
    """Return pairs of rows with one prompt, the easier to read first; with `disjoint` each row in one pair at most."""
    prompts, ease = table["prompt"].to_list(), table["ease"].to_numpy()
    by_prompt: dict[str, list[int]] = {}
    for row in rows:
        by_prompt.setdefault(prompts[row], []).append(int(row))
    found = [
        pair
        for own in by_prompt.values()
        for pair in (
            zip(own[::2], own[1::2], strict=False)
            if disjoint
            else ((first, second) for at, first in enumerate(own) for second in own[at + 1 :])
        )
    ]
    return np.array([sorted(pair, key=lambda row: -ease[row]) for pair in found if ease[pair[0]] != ease[pair[1]]])


def head(features: np.ndarray, ease: np.ndarray, own: np.ndarray, steps: int, begins: str, draw: int) -> np.ndarray:
    """Train a head on soft labels of the rule, as a preference model trains its own; return its weights."""
    import torch

    differences = torch.tensor(features[own[:, 0]] - features[own[:, 1]]).float()
    gap = (ease[own[:, 0]] - ease[own[:, 1]]) / EASE_OF_READING.scale
    targets = torch.tensor(1 / (1 + np.exp(-gap))).float()
    torch.manual_seed(draw)
    weights = torch.randn(differences.shape[1]) * SPREAD if begins == "at random" else torch.zeros(differences.shape[1])
    weights.requires_grad_()
    optimizer = torch.optim.AdamW([weights], SETTINGS.learning_rate, weight_decay=0.0)
    order = torch.cat([torch.randperm(len(own)) for _ in range(1 + steps * SETTINGS.batch_size // len(own))])
    for step in range(steps):
        batch = order[step * SETTINGS.batch_size : (step + 1) * SETTINGS.batch_size]
        margins = differences[batch] @ weights
        loss: Any = torch.nn.functional.binary_cross_entropy_with_logits(margins, targets[batch])
        loss.backward()
        torch.nn.utils.clip_grad_norm_([weights], 1.0)
        optimizer.step()
        optimizer.zero_grad()
    return weights.detach().double().numpy()


if __name__ == "__main__":
    main()
