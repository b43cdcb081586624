"""Training of preference model and policy, against bare loops around the same model and the same data.

Counted are the steps between the first and the last: loading, merging and measuring are not training. Nor are
checkpoints: one comes after every twentieth of a training, which in these few steps would be after each.
"""

from __future__ import annotations

import gc
import os
import resource
import subprocess
import sys

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")

import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import polars as pl

from ccai_dagster.consultation.folder import SAMPLE
from ccai_dagster.consultation.settings import ModelSettings, PolicySettings, PreferenceModelSettings
from ccai_dagster.contracts import PREFERENCE_PAIRS
from ccai_dagster.core.home import home_root
from ccai_dagster.feedback.language_model import rendered
from ccai_dagster.feedback.prompts import read_comparisons
from ccai_dagster.feedback.published_comparisons import read_published
from ccai_dagster.training import trainer
from ccai_dagster.training.comparisons import (
    TokenisedExchange,
    comparisons,
    end_of_turn,
    exchange,
    learnable,
    training_order,
)
from ccai_dagster.training.model_folder import load_model, load_tokenizer, prepare_base_model, save_model
from ccai_dagster.training.policy import policy_order, train_policy
from ccai_dagster.training.preference_model import train_preference_model
from ccai_dagster.training.response_score import response_mask

PREFERENCES = PreferenceModelSettings(steps=5)
POLICY = PolicySettings(steps=3, prompts_per_step=2, kl_limit=50.0, length_limit=50.0)
SEED, ROUNDS = 7, 3
DIALOGUES = "eval/hh_harmless/harmless-base-test.first-half.jsonl.gz"
"""Real dialogues, below CCAI_TEST_DATA."""


class Stopwatch:
    """Times the steps after the first."""

    def __init__(self) -> None:
        self.ends: list[float] = []

    def __call__(self, message: str = "", done: int = 0, total: int = 0) -> None:
        """Note the end of a step."""
        self.ends.append(time.perf_counter())

    @property
    def seconds_a_step(self) -> float:
        """Mean seconds of a step."""
        return (self.ends[-1] - self.ends[0]) / (len(self.ends) - 1)


def main() -> None:
    """Print the comparison named on the command line, or each in a process of its own.

    A process of its own makes the peak of memory that of one training.
    """
    import torch

    parts: dict[str, Callable[[Path, Path], None]] = {
        "preference_model": preference_model_training,
        "policy": policy_training,
        "padding": padding,
    }
    if sys.argv[1:] == []:
        for name in parts:
            subprocess.run([sys.executable, "-m", "bench.training", name], check=True)
        return
    torch.set_num_threads(os.cpu_count() or 1)
    trainer.CHECKPOINTS_PER_RUN = 1
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        base = folder / "base"
        prepare_base_model(ModelSettings(), home_root() / "cache", base)
        parts[sys.argv[1]](base, folder)
    print(f"largest memory of the process: {peak_gigabytes():.1f} GB", flush=True)


def peak_gigabytes() -> float:
    """Return the most memory this process ever held."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9


def preference_model_training(base: Path, folder: Path) -> None:
    """Compare the training of the preference model."""
    human = read_comparisons(SAMPLE / "helpfulness.jsonl")
    table = comparisons(as_labels(human), human.clear(), 1.0, PREFERENCES.held_out_share, SEED)
    ratio_of_steps(
        "preference model",
        lambda watch, work: train_preference_model(
            base, as_labels(human), human.clear(), 1.0, PREFERENCES, SEED, work / "w", work / "m", watch
        ),
        lambda watch, work: bare_preference_model(base, learnable(table), watch),
        folder,
    )


def policy_training(base: Path, folder: Path) -> None:
    """Compare the training of the policy."""
    import torch

    scorer = folder / "scorer"
    trainer.seed_everything(SEED)
    model = load_model(base, scores=True)
    torch.nn.init.normal_(model.score.weight, std=0.02)
    save_model(model, load_tokenizer(base), scorer)
    prompts = sorted(set(read_comparisons(SAMPLE / "helpfulness.jsonl")["prompt"]))
    ratio_of_steps(
        "policy",
        lambda watch, work: train_policy(base, scorer, prompts, POLICY, SEED, work / "w", work / "m", watch),
        lambda watch, work: bare_policy(base, scorer, prompts, watch),
        folder,
    )


def as_labels(human: pl.DataFrame) -> pl.DataFrame:
    """Use human comparisons as if the feedback model had labelled them: real texts of real lengths."""
    return human.select(
        "pair_id",
        pl.col("pair_id").alias("prompt_id"),
        "prompt",
        "response_a",
        "response_b",
        pl.lit(True).alias("finished_a"),
        pl.lit(True).alias("finished_b"),
        pl.lit("P1").alias("principle_id"),
        pl.lit(None, pl.Float64).alias("forward_probability"),
        pl.lit(None, pl.Float64).alias("reversed_probability"),
        "probability_a",
        pl.lit(None, pl.Float64).alias("answer_mass"),
        pl.lit("labelled").alias("status"),
        pl.lit("letters").alias("method"),
        pl.lit("people").alias("feedback_model"),
        pl.lit(False).alias("judge_at_chance"),
        pl.lit(False).alias("clamped"),
        pl.lit(None, pl.String).alias("forward_reasoning"),
        pl.lit(None, pl.String).alias("reversed_reasoning"),
    ).select(list(PREFERENCE_PAIRS.fields))


def padding(base: Path, folder: Path) -> None:
    """Print how much of the preference model's batches is padding, on the sample's and on given dialogues."""
    sets = {"the sample's comparisons": read_comparisons(SAMPLE / "helpfulness.jsonl")}
    given = Path(os.environ.get("CCAI_TEST_DATA", "")) / DIALOGUES
    if given.is_file():
        sets["given dialogues"] = read_published(given, "dialogues", "Do no harm.").drop("principle")
    tokenizer = load_tokenizer(base)
    for name, human in sets.items():
        table = learnable(comparisons(as_labels(human), human.clear(), 1.0, 0.2, SEED))
        lengths = [
            max(len(exchange(tokenizer, row["prompt"], row[side], 512).tokens) for side in ("preferred", "other"))
            for row in table.iter_rows(named=True)
        ]
        size, steps = PREFERENCES.batch_size, table.height // PREFERENCES.batch_size
        drawn = trainer.drawn_order(table.height, steps * size, SEED)
        shares = [
            padded_share([lengths[at] for at in order], size)
            for order in (training_order(table, steps, size, SEED), drawn)
        ]
        print(
            f"padding of {name}: {shares[0]:.0%} of the tokens in batches of similar length, {shares[1]:.0%} in "
            f"batches as drawn; {(1 - shares[0]) / (1 - shares[1]):.2f} times fewer tokens",
            flush=True,
        )


def padded_share(lengths: list[int], size: int) -> float:
    """Return which share of the tokens of consecutive batches is padding."""
    batches = [lengths[start : start + size] for start in range(0, len(lengths), size)]
    return 1 - sum(lengths) / sum(max(batch) * len(batch) for batch in batches)


def ratio_of_steps(
    name: str, own: Callable[[Stopwatch, Path], object], bare: Callable[[Stopwatch, Path], object], folder: Path
) -> None:
    """Time both in turn and print medians and the ratio of their speeds."""
    pairs = []
    for number in range(ROUNDS):
        times = []
        for train in (own, bare):
            watch = Stopwatch()
            train(watch, folder / f"{name}-{number}")
            times.append(watch.seconds_a_step)
            gc.collect()  # a trainer and its models refer to each other
        pairs.append(times)
    mine, other = (statistics.median(each) for each in zip(*pairs, strict=True))
    ratio = statistics.median(reference / own_time for own_time, reference in pairs)
    print(
        f"training of the {name}: {mine:.2f} s a step; a bare loop: {other:.2f} s; speed ratio {ratio:.2f} "
        f"(median of {ROUNDS})",
        flush=True,
    )


def bare_preference_model(base: Path, training: pl.DataFrame, watch: Stopwatch) -> None:
    """The same adapter, batches, number format and loss, and nothing else."""
    import torch
    from peft import get_peft_model

    tokenizer = load_tokenizer(base)
    model = load_model(base, scores=True)
    model.config.pad_token_id = tokenizer.pad_token_id
    model = get_peft_model(model, trainer.adapter(PREFERENCES.lora_rank, scores=True)).train()
    optimizer = torch.optim.AdamW(
        [each for each in model.parameters() if each.requires_grad], PREFERENCES.learning_rate
    )
    rows = list(training.iter_rows(named=True))
    size = PREFERENCES.batch_size
    drawn = training_order(training, PREFERENCES.steps, size, SEED)
    for start in range(0, len(drawn), size):
        batch = [rows[at] for at in drawn[start : start + size]]
        said = [
            exchange(tokenizer, row["prompt"], row[side], PREFERENCES.max_tokens)
            for side in ("preferred", "other")
            for row in batch
        ]
        with precision(model):
            first, second = model(**padded(tokenizer, said)).logits[:, 0].float().chunk(2)
        loss = torch.nn.functional.binary_cross_entropy_with_logits(
            first - second, torch.tensor([row["target"] for row in batch])
        )
        descend(model, optimizer, loss)
        watch()


def bare_policy(base: Path, scorer: Path, prompts: list[str], watch: Stopwatch) -> None:
    """Sample, score, one pass with the adapter off and one with it on; leave-one-out advantages."""
    import torch
    from peft import get_peft_model

    tokenizer = load_tokenizer(base)
    tokenizer.padding_side = "left"
    judge = load_model(scorer, scores=True).eval()
    judge.config.pad_token_id = tokenizer.pad_token_id
    model = get_peft_model(load_model(base), trainer.adapter(POLICY.lora_rank)).train()
    optimizer = torch.optim.AdamW([each for each in model.parameters() if each.requires_grad], POLICY.learning_rate)
    asked = policy_order(prompts, POLICY, SEED)
    for start in range(0, len(asked), POLICY.prompts_per_step):
        texts = [
            text for text in asked[start : start + POLICY.prompts_per_step] for _ in range(POLICY.samples_per_prompt)
        ]
        opened = [rendered(tokenizer, [("user", text)], open_turn=True) for text in texts]
        inputs = tokenizer(opened, padding=True, return_tensors="pt")
        with torch.no_grad(), precision(model):
            sequences = model.generate(
                **inputs, max_new_tokens=POLICY.new_tokens, do_sample=True, temperature=1.0, top_k=0, top_p=1.0
            )
        width = inputs["input_ids"].shape[1]
        said = tokenizer.batch_decode(sequences[:, width:], skip_special_tokens=True)
        ended = (sequences[:, width:] == tokenizer.eos_token_id).cumsum(1)
        mask = (ended - (sequences[:, width:] == tokenizer.eos_token_id).long() == 0).long()
        attention = torch.cat([inputs["attention_mask"], mask], 1)
        context = model.config.max_position_embeddings
        judged = padded(tokenizer, [exchange(tokenizer, *each, context) for each in zip(texts, said, strict=True)])

        def likely(sequences: Any = sequences, attention: Any = attention, kept: int = mask.shape[1]) -> Any:
            logits = model(sequences, attention_mask=attention, use_cache=False, logits_to_keep=kept + 1).logits
            return logits[:, :-1].float().log_softmax(-1).gather(-1, sequences[:, -kept:, None]).squeeze(-1)

        with precision(model):
            chosen = (likely() * mask).sum(1)
            with torch.no_grad():
                with model.disable_adapter():
                    before = (likely() * mask).sum(1)
                reward = judge(**judged).logits[:, 0].float() - POLICY.kl_weight * (chosen.detach() - before)
        groups = reward.view(-1, POLICY.samples_per_prompt)
        others = (groups.sum(1, keepdim=True) - groups) / (POLICY.samples_per_prompt - 1)
        descend(model, optimizer, -((groups - others).flatten() * chosen).mean())
        watch()


def padded(tokenizer: Any, said: list[TokenisedExchange]) -> dict[str, Any]:
    """What a preference model takes for some exchanges."""
    inputs = tokenizer.pad({"input_ids": [each.tokens for each in said]}, padding_side="right", return_tensors="pt")
    begins = [each.prompt_tokens for each in said]
    return {**inputs, "response_mask": response_mask(inputs["attention_mask"], begins, len(end_of_turn(tokenizer)))}


def precision(model: Any) -> Any:
    """The number format the trainers compute in."""
    import torch

    return torch.autocast("cpu", torch.bfloat16, enabled=model.dtype == torch.bfloat16)


def descend(model: Any, optimizer: Any, loss: Any) -> None:
    """One step of the optimiser, gradients clipped as the trainers do."""
    import torch

    loss.backward()
    torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    optimizer.step()
    optimizer.zero_grad()


if __name__ == "__main__":
    main()
