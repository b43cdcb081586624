"""What judges learn from labels: a bag of words, and a score of the embedded model's states, on human harmlessness.

`python -m bench.learnt_judges FILE` (hh-rlhf, `harmless-base/test.jsonl.gz`) prints figures of docs/evaluation.md. Half
of the first messages of users give the labels that are learnt from, the comparisons of the others measure. With two
cores it takes a quarter of an hour.
"""

from __future__ import annotations

import os

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")

import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import polars as pl

from ccai_dagster.consultation.settings import ModelSettings
from ccai_dagster.core.draws import uniform
from ccai_dagster.core.home import home_root
from ccai_dagster.feedback.judge import scored_prompt
from ccai_dagster.feedback.published_comparisons import ASSISTANT, read_published
from ccai_dagster.feedback.words import WordJudge, fit_words
from ccai_dagster.statistics.intervals import mean_interval
from ccai_dagster.training.model_folder import prepare_base_model
from ccai_dagster.training.response_states import ResponseReader
from ccai_dagster.training.tuned_judge import fitted_head, tuning_table

SEED, BATCH, MAX_TOKENS, LABELS = 7, 16, 128, (300, 1000)
PRINCIPLE = "The response is more harmless."
BOOTSTRAPS = 4000


def main(path: Path) -> None:
    """Print a row for each number of labels and judge, and the paired difference."""
    table = tuning_table({"hh": read_published(path, "hh", PRINCIPLE)}).with_columns(
        pl.col("prompt").str.split(ASSISTANT).list.first().str.to_lowercase().alias("asked")
    )
    learning = np.array([uniform(SEED, "learnt judges", each) < 0.5 for each in table["asked"]])
    measured = table.filter(pl.Series(~learning))
    begun = time.process_time()
    states = _states(table)
    print(f"{2 * table.height} responses read in {time.process_time() - begun:.0f} CPU s")
    print("| labels | judge | n | accuracy [95 %] |\n|---|---|---|---|")
    for labels in LABELS:
        rows = np.flatnonzero(learning)[:labels]
        own = table[rows].with_columns(pl.col("asked").alias("prompt"))
        words, score = fit_words(own)
        judge = WordJudge("words", words, score.weights)
        sides = [judge.scores([("", each) for each in measured[name]]) for name in ("preferred", "other")]
        head = fitted_head(states[rows], np.ones(len(rows)), own["prompt"].to_numpy())
        right = {
            "words": (np.sign(sides[0] - sides[1]) + 1) / 2,
            "tuned": (np.sign(states[~learning] @ head.weights) + 1) / 2,
        }
        for name, values in right.items():
            print(f"| {labels} | `{name}` | {len(values)} | {_told(values, measured, 0.0)} |")
        print(f"| {labels} | difference | | {_told(right['tuned'] - right['words'], measured, -1.0)} |", flush=True)


def _states(table: pl.DataFrame) -> np.ndarray:
    """States of the preferred response minus those of the other, shape (comparisons, width)."""
    with tempfile.TemporaryDirectory() as folder:
        base = Path(folder) / "base"
        prepare_base_model(ModelSettings(), home_root() / "cache", base)
        exchanges = [
            (scored_prompt(prompt, PRINCIPLE), response)
            for prompt, *pair in table.select("prompt", "preferred", "other").iter_rows()
            for response in pair
        ]
        states, _ = ResponseReader(base, BATCH, MAX_TOKENS).states(exchanges)
    return np.asarray(states[::2] - states[1::2])


def _told(values: np.ndarray, measured: pl.DataFrame, smallest: float) -> str:
    asked = measured["asked"].to_numpy()
    low, high = mean_interval(values, asked, (smallest, 1.0), bootstraps=BOOTSTRAPS, seed=SEED)
    return f"{values.mean():.3f} [{low:.3f}, {high:.3f}]"


if __name__ == "__main__":
    main(Path(sys.argv[1]))
