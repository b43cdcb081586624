"""The supervised policy: fine-tuning on revisions and helpful responses (Bai et al. 2022, section 3.2)."""

from __future__ import annotations

from pathlib import Path

import polars as pl

from ccai_dagster.consultation.settings import SupervisedSettings
from ccai_dagster.core.digest import folder_digest, table_digest
from ccai_dagster.core.errors import ConsultationError, Progress, silent
from ccai_dagster.feedback.prompts import chosen_comparisons
from ccai_dagster.training.comparisons import cut_share, exchange, learnt
from ccai_dagster.training.labelled_tokens import project_labelled_only
from ccai_dagster.training.model_folder import load_model, load_tokenizer, saved_dtype
from ccai_dagster.training.room import check_room_to_train
from ccai_dagster.training.trainer import (
    TrainingOutcome,
    adapter,
    drawn_order,
    first_and_last,
    per_device,
    prepare_work,
    save_trained,
    seed_everything,
    train,
    training_arguments,
)


def supervised_examples(revisions: pl.DataFrame, helpful: pl.DataFrame, seed: int) -> pl.DataFrame:
    """Collect what is imitated: every revision, and preferred responses of people's comparisons.

    There are at most as many of the second as of the first, or a short training would hardly see the
    constitution. (Bai et al. 2022, section 3.2, had about three revisions for one helpful response.)

    Args:
        revisions: REVISIONS.
        helpful: HELPFULNESS_PAIRS; comparisons with a label of one half have no preferred response.
        seed: Draws the comparisons, the same ones in every arm.

    Returns:
        `example_id`, `prompt`, `response`, `finished`, sorted by id, empty responses among them: which ones those
        are differs between arms, and order is by all.
    """
    revised = revisions.select(
        pl.format("revision:{}:{}", "prompt_id", "step").alias("example_id"),
        "prompt",
        pl.col("revision").alias("response"),
        pl.col("revision_finished").alias("finished"),
    )
    decided = helpful.filter(pl.col("probability_a") != 0.5)
    preferred = chosen_comparisons(decided, revisions.height, seed).select(
        pl.format("helpful:{}", "pair_id").alias("example_id"),
        "prompt",
        pl.when(pl.col("probability_a") > 0.5).then("response_a").otherwise("response_b").alias("response"),
        pl.lit(True).alias("finished"),
    )
    return pl.concat([revised, preferred]).sort("example_id")


def training_order(examples: pl.DataFrame, wanted: int, seed: int) -> list[int]:
    """Return which row of `supervised_examples` comes when; rows with an empty response are passed over.

    Every round is drawn over all rows, so arms take the same examples in the same order but for those that
    are empty in one of them.

    Raises:
        ConsultationError: Every response is empty.
    """
    usable = (examples["response"] != "").to_list()
    if not any(usable):
        raise ConsultationError("No revision and no preferred response, so there is nothing to imitate.")
    rounds = -(-wanted // sum(usable))
    drawn = drawn_order(examples.height, rounds * examples.height, seed)
    return [at for at in drawn if usable[at]][:wanted]


def ordered_ids(revisions: pl.DataFrame, helpful: pl.DataFrame, settings: SupervisedSettings, seed: int) -> list[str]:
    """Return the ids in the order they are drawn, empty responses included, to compare between arms."""
    ids = supervised_examples(revisions, helpful, seed)["example_id"].to_list()
    return [ids[at] for at in drawn_order(len(ids), settings.steps * settings.batch_size, seed)] if ids else []


def train_supervised_policy(
    base: Path,
    revisions: pl.DataFrame,
    helpful: pl.DataFrame,
    settings: SupervisedSettings,
    seed: int,
    work: Path,
    output: Path,
    progress: Progress = silent,
) -> TrainingOutcome:
    """Fine-tune the base model on `supervised_examples` and save it as a plain model.

    Args:
        base: Folder of the base model.
        revisions: REVISIONS of one arm.
        helpful: HELPFULNESS_PAIRS, equal for all arms.
        settings: Steps, batch, learning rate, adapter.

    Returns:
        Metrics `examples`, `examples_shortened`, `cut_share` (revisions that were cut off at the limit of tokens, and
        are taught without an end), `loss_first` and `loss_last` (nats a response token).

    Raises:
        ConsultationError: Nothing to train on.
    """
    from datasets import Dataset
    from trl import SFTConfig, SFTTrainer

    examples = supervised_examples(revisions, helpful, seed)
    order = training_order(examples, settings.steps * settings.batch_size, seed)
    check_room_to_train(base)
    prepare_work(
        work,
        stage="supervised",
        base=folder_digest(base),
        examples=table_digest(examples),
        settings=settings.digest(),
        seed=seed,
    )
    tokenizer = load_tokenizer(base)
    exchanges = [
        learnt(tokenizer, exchange(tokenizer, prompt, response, settings.max_tokens), finished)
        for prompt, response, finished in examples.select("prompt", "response", "finished").iter_rows()
    ]
    rows = [
        {"input_ids": item.tokens, "labels": [-100] * item.prompt_tokens + item.tokens[item.prompt_tokens :]}
        for item in exchanges
    ]
    seed_everything(seed)
    model = load_model(base, trained=True)
    vocabulary = model.config.get_text_config().vocab_size
    trainer = SFTTrainer(
        model=model,
        args=SFTConfig(
            **training_arguments(
                work,
                steps=settings.steps,
                learning_rate=settings.learning_rate,
                batch=per_device(settings.batch_size, settings.max_tokens, settings.max_tokens * vocabulary),
                dtype=saved_dtype(base),
                seed=seed,
            ),
            max_length=settings.max_tokens,
        ),
        train_dataset=Dataset.from_list([rows[at] for at in order]),
        processing_class=tokenizer,
        peft_config=adapter(settings.lora_rank),
    )
    project_labelled_only(trainer.model)
    history = train(trainer, work, "supervised training steps", progress)
    save_trained(trainer, base, seed, output)
    metrics = {
        "examples": float((examples["response"] != "").sum()),
        "examples_shortened": float(sum(item.shortened for item in exchanges)),
        "cut_share": cut_share(revisions["revision_finished"]),
        **first_and_last(history, {"loss": "loss"}),
    }
    return TrainingOutcome(metrics, history)
