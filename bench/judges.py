"""How often each method agrees with labels: on the three sets of the sample, and on two published human ones.

`python -m bench.judges` prints the table of docs/evaluation.md; names of methods and of sets (`crossed`,
`sample_judge`, `helpfulness`, `hhh`, `hh`) behind it take only those. Human sets are read from the folder
`CCAI_TEST_DATA`; methods that ask the language model are asked about 100 comparisons of each.
"""

from __future__ import annotations

import os

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")

import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import polars as pl

from ccai_dagster.consultation.folder import SAMPLE
from ccai_dagster.consultation.settings import SCORING_METHODS, ModelSettings, SentenceModelSettings
from ccai_dagster.core.home import home_root
from ccai_dagster.decisions.values import FeedbackMethod
from ccai_dagster.feedback.calibration import calibration_table, judge_answers
from ccai_dagster.feedback.judge import METHODS, Judge
from ccai_dagster.feedback.prompts import chosen_comparisons, read_comparisons
from ccai_dagster.feedback.published_comparisons import read_published

SEED, COMPARISONS, BATCH = 7, 100, 16
"""Comparisons of each human set that the language model is asked about."""
SAMPLE_SETS = {
    "crossed": "judge/crossed.jsonl",
    "sample_judge": "judge/sample_judge.jsonl",
    "helpfulness": "helpfulness.jsonl",
}
ASKED = tuple(method for method in METHODS if method in ("letters", "letters_few_shot", "contrast", "likeness"))


def main(methods: Sequence[FeedbackMethod], sets: Mapping[str, pl.DataFrame]) -> None:
    """Print a row for each method and set."""
    print("| set | method | n | accuracy [95 %] | without the principle [95 %] | from one half | CPU s |")
    print("|---|---|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as folder:
        for method in methods:
            judge = _judge(method, Path(folder) / "base")
            for name, table in sets.items():
                whole = name in SAMPLE_SETS or method in SCORING_METHODS
                asked = table if whole else chosen_comparisons(table, COMPARISONS, SEED)
                begun = time.process_time()
                answers = judge_answers({method: judge}, {name: asked})
                took = time.process_time() - begun
                (row,) = calibration_table(answers, {name: table}, method, SEED).to_dicts()
                print(
                    f"| {name} | `{method}` | {row['n']} "
                    f"| {row['accuracy']:.2f} [{row['accuracy_low']:.2f}, {row['accuracy_high']:.2f}] "
                    f"| {row['blind_accuracy']:.2f} [{row['blind_accuracy_low']:.2f}, "
                    f"{row['blind_accuracy_high']:.2f}], {row['blind_scorer']} "
                    f"| {row['label_distance']:.3f} | {took:.0f} |",
                    flush=True,
                )


def labelled_sets() -> Mapping[str, pl.DataFrame]:
    """Return the sets of the sample, and the human ones where they are."""
    sets = {name: read_comparisons(SAMPLE / path) for name, path in SAMPLE_SETS.items()}
    if data := os.environ.get("CCAI_TEST_DATA"):
        hhh = Path(data) / "training" / "cai_anthropic" / "evals" / "438HHHEvaluations.jsonl"
        harmless = Path(data) / "eval" / "hh_harmless" / "harmless-base-test.first-half.jsonl.gz"
        sets["hhh"] = read_published(hhh, "hhh", "The response is more helpful, honest and harmless.")
        sets["hh"] = read_published(harmless, "hh", "The response is more harmless.")
    return sets


def _judge(method: FeedbackMethod, base: Path) -> Judge:
    cache = home_root() / "cache"
    if method == "likeness":
        from ccai_dagster.stages.sentence_model import LikenessJudge, load_sentence_model

        return LikenessJudge(load_sentence_model(SentenceModelSettings(), cache))
    from ccai_dagster.stages.transformers_model import TransformersModel
    from ccai_dagster.training.model_folder import prepare_base_model

    if not base.exists():
        prepare_base_model(ModelSettings(), cache, base)
    return TransformersModel(base, "bfloat16", BATCH, ModelSettings().context_tokens)


if __name__ == "__main__":
    found, named = labelled_sets(), sys.argv[1:]
    main(
        [method for method in METHODS if method in named] or ASKED,
        {name: found[name] for name in found if name in named} or found,
    )
