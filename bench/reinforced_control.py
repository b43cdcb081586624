"""The positive control by reinforcement: what a preference model learns from a rule, and what a policy from that.

`python -m bench.reinforced_control FOLDER [control_plain] [control_ornate]` does what the control of every run does, on
the same prompts and with the same measures (`ccai_dagster.evaluation.control`), but for the method of the policy: a
preference model is trained on the labels of the rule, and the untrained model is reinforced against it. FOLDER keeps
what is finished, and checkpoints, so that a second start goes on. An arm takes CPU minutes, so `python -m bench` leaves
it out.
"""

from __future__ import annotations

import os

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")

import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import polars as pl

from ccai_dagster.consultation.folder import BASE, CONTROL_ARMS, SAMPLE
from ccai_dagster.consultation.settings import ControlSettings, ModelSettings, PolicySettings, PreferenceModelSettings
from ccai_dagster.contracts import HELPFULNESS_PAIRS
from ccai_dagster.core.home import home_root
from ccai_dagster.evaluation import control
from ccai_dagster.feedback.language_model import LanguageModel
from ccai_dagster.feedback.preference_pairs import label_pairs, sample_pairs
from ccai_dagster.feedback.prompts import read_prompts
from ccai_dagster.feedback.rules import CONTROL, RuleJudge
from ccai_dagster.stages.feedback import load_language_model
from ccai_dagster.statistics.intervals import mean_interval
from ccai_dagster.training.exchange_scores import ExchangeScorer
from ccai_dagster.training.model_folder import prepare_base_model
from ccai_dagster.training.policy import train_policy
from ccai_dagster.training.preference_model import train_preference_model

SEED, BOOTSTRAPS = 7, 2000
MODEL, SETTINGS = ModelSettings(), ControlSettings()
PREFERENCES = PreferenceModelSettings(steps=15, held_out_share=SETTINGS.held_out_share)
POLICY = PolicySettings(steps=12, new_tokens=32, kl_weight=0.02, learning_rate=1e-3)


def main(folder: Path, arms: Sequence[str]) -> None:
    """Print what each preference model has learnt and how far each policy has moved."""
    base = folder / "base"
    if not base.is_dir():
        prepare_base_model(MODEL, home_root() / "cache", base)
    prompts = read_prompts(SAMPLE / "prompts.csv", SAMPLE / "themes.csv", {})
    asked = prompts.filter(pl.col("purpose").is_in(("policy", *control.TRAINED_ON)))["text"].to_list()

    def responses(arm: str, model: Path) -> pl.DataFrame:
        return kept(
            folder / f"responses_{arm}.parquet",
            lambda: control.sampled_responses(loaded(model), prompts, arm, SETTINGS, SEED),
        )

    pairs = kept(
        folder / "pairs.parquet",
        lambda: sample_pairs(
            loaded(base), control.with_purpose(prompts, control.TRAINED_ON, "preference"), SETTINGS.pairs, SEED
        ),
    )
    said = [responses(BASE, base)]
    for arm in arms:
        begun = time.process_time()
        labels = label_pairs(
            RuleJudge(), pairs, control.control_constitution(arm), "rules", judge_at_chance=False, seed=SEED
        )
        preferences, policy = folder / f"preferences_{arm}", folder / f"policy_{arm}"
        if not preferences.is_dir():
            train_preference_model(
                base, labels, HELPFULNESS_PAIRS.empty(), 1.0, PREFERENCES, SEED, folder / f"work_p_{arm}", preferences
            )
            print(f"{arm}: preference model in {time.process_time() - begun:.0f} CPU s", flush=True)
        print(f"{arm}: {agreement(preferences, said[0], arm)}", flush=True)
        begun = time.process_time()
        if not policy.is_dir():
            train_policy(base, preferences, asked, POLICY, SEED, folder / f"work_{arm}", policy, told)
            print(f"{arm}: policy in {time.process_time() - begun:.0f} CPU s, since the last start", flush=True)
        said.append(responses(arm, policy))
    scores = control.control_scores(pl.concat(said), BOOTSTRAPS, SEED)
    with pl.Config(tbl_rows=-1, tbl_cols=-1, tbl_width_chars=200):
        print(scores.drop_nulls("difference"))


def told(message: str, done: int, total: int) -> None:
    """Print how far a training is."""
    print(f"{message}: {done} of {total}, {time.process_time():.0f} CPU s in all", flush=True)


def kept(path: Path, make: Callable[[], pl.DataFrame]) -> pl.DataFrame:
    """Return the table in a file, made first if there is none."""
    if not path.is_file():
        begun = time.process_time()
        table = make()
        print(f"{path.stem}: {table.height} rows in {time.process_time() - begun:.0f} CPU s", flush=True)
        table.write_parquet(path)
    return pl.read_parquet(path)


def loaded(folder: Path) -> LanguageModel:
    """Return the language model in a folder."""
    return load_language_model(folder, MODEL, SETTINGS.batch_size)


def agreement(preferences: Path, responses: pl.DataFrame, arm: str) -> str:
    """Tell how often a preference model orders two responses to one prompt, which it never saw, as the rule does."""
    rule = CONTROL[arm]
    scored = responses.select(
        "prompt",
        ease=pl.Series([rule.score(*each) for each in responses.select("prompt", "response").iter_rows()]),
        score=pl.Series(
            ExchangeScorer(preferences, SETTINGS.batch_size).scores_of_texts(
                list(responses.select("prompt", "response").iter_rows()), PREFERENCES.max_tokens
            )
        ),
    ).filter(pl.col("ease").is_finite())
    pairs = scored.join(scored, on="prompt", suffix="_other").filter(pl.col("ease") > pl.col("ease_other"))
    right = ((pairs["score"] - pairs["score_other"]).sign() + 1) / 2
    low, high = mean_interval(
        right.to_numpy(), pairs["prompt"].to_numpy(), (0.0, 1.0), bootstraps=BOOTSTRAPS, seed=SEED
    )
    return (
        f"two responses to a prompt that nobody was trained on are ordered as the rule orders them in "
        f"{right.mean():.3f} [{low:.3f}, {high:.3f}] of {pairs.height}"
    )


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2:] or list(CONTROL_ARMS))
