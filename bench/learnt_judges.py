"""What judges learn from labels: a bag of words, and a score of the embedded model's states.

`python -m bench.learnt_judges FILE` (hh-rlhf, `harmless-base/test.jsonl.gz`) prints the table of docs/evaluation.md, in
seven minutes of one core. With names of sets behind it, it measures those of `bench.judges`.
Half of the first messages of users give the labels that are learnt from, the comparisons of the others measure, and the
other way round; what is told is the mean over several such splits.
"""

from __future__ import annotations

import os

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")

import sys
import tempfile
import time
from itertools import product
from pathlib import Path

import numpy as np
import polars as pl

from bench.judges import labelled_sets
from ccai_dagster.consultation.settings import ModelSettings, TunedJudgeSettings
from ccai_dagster.core.draws import uniform
from ccai_dagster.core.home import home_root
from ccai_dagster.feedback.judge import scored_prompt
from ccai_dagster.feedback.published_comparisons import ASSISTANT, read_published
from ccai_dagster.feedback.words import WordJudge, fit_words
from ccai_dagster.statistics.intervals import mean_interval
from ccai_dagster.training.model_folder import prepare_base_model
from ccai_dagster.training.response_states import ResponseReader
from ccai_dagster.training.tuned_judge import fitted_head, tuning_table

SEED, BATCH, LABELS = 7, 16, (300, 1000)
MAX_TOKENS = TunedJudgeSettings().max_tokens
SPLITS = 5
PRINCIPLE = "The response is more harmless."
BOOTSTRAPS = 4000


def main(name: str, comparisons: pl.DataFrame) -> None:
    """Print a row for each number of labels and judge, and the paired difference."""
    table = tuning_table({name: comparisons}).with_columns(
        pl.col("prompt").str.split(ASSISTANT).list.first().str.to_lowercase().alias("asked")
    )
    begun = time.process_time()
    states = _states(table)
    print(f"{name}: {2 * table.height} responses read in {time.process_time() - begun:.0f} CPU s")
    print("| labels | judge | n | accuracy [95 %] |\n|---|---|---|---|")
    half = table.height // 2
    for labels in sorted({min(each, half) for each in LABELS}):
        right = {name: np.zeros(table.height) for name in ("tuned", "words")}
        for split, side in product(range(SPLITS), (False, True)):
            learning = np.array([(uniform(SEED, split, each) < 0.5) == side for each in table["asked"]])
            rows = np.flatnonzero(learning)[:labels]
            own, others = table[rows].with_columns(pl.col("asked").alias("prompt")), table.filter(pl.Series(~learning))
            head = fitted_head(states[rows], own["target"].to_numpy(), own["prompt"].to_numpy())
            right["tuned"][~learning] += _right(states[~learning] @ head.weights) / SPLITS
            words, score = fit_words(own)
            judge = WordJudge("words", words, score.weights)
            sides = [judge.scores([("", each) for each in others[name]]) for name in ("preferred", "other")]
            right["words"][~learning] += _right(sides[0] - sides[1]) / SPLITS
        for name, values in right.items():
            print(f"| {labels} | `{name}` | {table.height} | {_told(values, table, 0.0)} |")
        difference = _told(right["tuned"] - right["words"], table, -1.0)
        print(f"| {labels} | difference | {table.height} | {difference} |", flush=True)


def _states(table: pl.DataFrame) -> np.ndarray:
    """States of the preferred response minus those of the other, shape (comparisons, width)."""
    with tempfile.TemporaryDirectory() as folder:
        base = Path(folder) / "base"
        prepare_base_model(ModelSettings(), home_root() / "cache", base)
        exchanges = [
            (scored_prompt(prompt, principle), response)
            for prompt, principle, *pair in table.select("prompt", "principle", "preferred", "other").iter_rows()
            for response in pair
        ]
        states, _ = ResponseReader(base, BATCH, MAX_TOKENS).states(exchanges)
    return np.asarray(states[::2] - states[1::2])


def _right(margins: np.ndarray) -> np.ndarray:
    """1 where the preferred response has the higher score, one half for equal ones."""
    return np.asarray((np.sign(margins) + 1) / 2)


def _told(values: np.ndarray, table: pl.DataFrame, smallest: float) -> str:
    asked = table["asked"].to_numpy()
    low, high = mean_interval(values, asked, (smallest, 1.0), bootstraps=BOOTSTRAPS, seed=SEED)
    return f"{values.mean():.3f} [{low:.3f}, {high:.3f}]"


if __name__ == "__main__":
    sets = labelled_sets()
    for each in sys.argv[1:]:
        main(each, sets[each] if each in sets else read_published(Path(each), "hh", PRINCIPLE))
