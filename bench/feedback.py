"""Asking the embedded model: against bare passes of the same shapes, and with shared beginnings or without.

Texts are those of the embedded consultation; times are medians of runs taken in turn. `python -m bench.feedback` runs
all comparisons, with names behind it (`scoring`, `sampling`, ...) only those.
"""

from __future__ import annotations

import os

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")

import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest.mock import patch

import polars as pl

from bench.pairs import compare
from ccai_dagster.consultation.folder import SAMPLE
from ccai_dagster.consultation.settings import ModelSettings
from ccai_dagster.core.home import home_root
from ccai_dagster.evaluation.adherence import adherence_question
from ccai_dagster.feedback.judge import ANSWER_BEGINNING, LETTERS, example_turns, letters_question
from ccai_dagster.feedback.language_model import Group, Turn
from ccai_dagster.feedback.prompts import read_comparisons
from ccai_dagster.feedback.published_comparisons import read_published
from ccai_dagster.stages import transformers_model
from ccai_dagster.stages.transformers_model import TransformersModel
from ccai_dagster.training.model_folder import prepare_base_model

COMPARISONS, JUDGED, PRINCIPLES, PROMPTS, NEW_TOKENS, BATCH, RUNS = 8, 3, 5, 16, 32, 16, 3
Questions = list[list[Turn]]
DATA = "CCAI_TEST_DATA"
"""Environment variable with the folder of real data sets, as for the tests."""


def main(names: Sequence[str] = ()) -> None:
    """Print the comparisons of these names, or all."""
    import torch

    torch.set_num_threads(os.cpu_count() or 1)
    with tempfile.TemporaryDirectory() as name:
        base = Path(name) / "base"
        prepare_base_model(ModelSettings(), home_root() / "cache", base)
        model = TransformersModel(base, "bfloat16", BATCH, 2048)
        for each in names or COMPARED:
            COMPARED[each](model)


def scoring(model: TransformersModel) -> None:
    """What tokenising, sorting, padding and reading out take."""
    questions = letter_questions()
    with unshared():
        compare(
            "scoring, nothing shared",
            lambda: ask(model, questions),
            bare_scoring(model, questions),
            "the bare forward passes of the same batches",
            1.2,
            RUNS,
        )


def sorting(model: TransformersModel) -> None:
    """What batches of similar length are worth, on real dialogues where there are any."""
    published = os.environ.get(DATA)
    table = dialogues(Path(published)) if published else labelled(2 * BATCH)
    kind = "real dialogues" if published else f"the sample's comparisons, which are of like length; {DATA} names real"
    questions = letter_questions(table)
    with unshared():
        compare(
            f"scoring in batches of similar length ({kind})",
            lambda: ask(model, questions),
            lambda: unsorted(model, questions),
            "in batches as they come",
            1,
            RUNS,
        )


def sampling(model: TransformersModel) -> None:
    """What the resource adds to `generate`."""
    prompts: Questions = [[("user", text)] for text in prompts_of_the_sample()]
    compare(
        "sampling",
        lambda: model.generate(prompts, new_tokens=NEW_TOKENS, temperature=1.0, seed=1),
        bare_sampling(model, prompts),
        "bare generate of the same batches",
        0.5,
        RUNS,
    )


def sharing(title: str, questions: Callable[[], Questions]) -> Callable[[TransformersModel], None]:
    """Return what shared beginnings are worth to these questions."""

    def run(model: TransformersModel) -> None:
        own = questions()
        compare(
            f"{title}, shared beginnings",
            lambda: ask(model, own),
            lambda: without_sharing(model, own),
            "each question read whole",
            0.8,
            RUNS,
        )

    return run


def prompts_of_the_sample() -> list[str]:
    """Prompts that pairs of responses are sampled to."""
    table = pl.read_csv(SAMPLE / "prompts.csv").filter(pl.col("purpose") == "preference").sort("prompt_id")
    return table["text"].head(PROMPTS).to_list()


def few_shot_questions() -> Questions:
    """The same after the answered examples."""
    return [[*example_turns(), *question] for question in letter_questions()]


def labelled(count: int) -> pl.DataFrame:
    """Comparisons of the sample that people labelled."""
    return read_comparisons(SAMPLE / "judge" / "sample_judge.jsonl").head(count)


def dialogues(data: Path) -> pl.DataFrame:
    """Real dialogues with two last replies, but for those beyond the context."""
    file = data / "eval" / "hh_harmless" / "harmless-base-test.first-half.jsonl.gz"
    table = read_published(file, "real", "The response should do no harm.")
    characters = pl.sum_horizontal(pl.col("prompt", "response_a", "response_b").str.len_chars())
    return table.filter(characters < 4000).head(BATCH)


def letter_questions(table: pl.DataFrame | None = None) -> Questions:
    """Labelled comparisons, each in both orders."""
    table = labelled(COMPARISONS) if table is None else table
    return [
        [("user", letters_question(row["prompt"], row["principle"], *order))]
        for row in table.iter_rows(named=True)
        for order in ((row["response_a"], row["response_b"]), (row["response_b"], row["response_a"]))
    ]


def adherence_questions() -> Questions:
    """Responses judged under several principles, yes and no in both orders."""
    comparisons = read_comparisons(SAMPLE / "helpfulness.jsonl").head(JUDGED)
    principles = pl.read_csv(SAMPLE / "constitutions" / "standard.csv")["text"].head(PRINCIPLES)
    return [
        [("user", adherence_question(row["prompt"], row["response_a"], principle, options))]
        for row in comparisons.iter_rows(named=True)
        for principle in principles
        for options in (("Yes", "No"), ("No", "Yes"))
    ]


def ask(model: TransformersModel, questions: Questions) -> object:
    """Ask for a letter."""
    return model.choice_log_probabilities(questions, LETTERS, prefix=ANSWER_BEGINNING)


def alone(sequences: Sequence[Sequence[int]], unshared: Sequence[int]) -> list[Group]:
    """Every sequence by itself, as if nothing were shared."""
    return [Group(0, (at,)) for at in range(len(sequences))]


@contextmanager
def unshared() -> Iterator[None]:
    """Read every question whole."""
    with (
        patch.object(transformers_model, "shared_prefixes", alone),
        patch.object(transformers_model, "common_beginning", lambda sequences, unshared: 0),
    ):
        yield


def without_sharing(model: TransformersModel, questions: Questions) -> None:
    """Ask with every question read whole."""
    with unshared():
        ask(model, questions)


def unsorted(model: TransformersModel, questions: Questions) -> None:
    """Ask in batches as the questions come, shuffled by a fixed stride so that neighbours differ."""
    shuffled = [questions[(7 * at) % len(questions)] for at in range(len(questions))]
    for start in range(0, len(shuffled), BATCH):
        ask(model, shuffled[start : start + BATCH])


def bare_scoring(model: TransformersModel, questions: Questions) -> Callable[[], None]:
    """Return forward passes over the same batches, already tokenised, padded and sorted."""
    import torch

    prompts = sorted((model._prompt(question, ANSWER_BEGINNING)[1] for question in questions), key=len)
    batches = [model._padded(prompts[start : start + BATCH]) for start in range(0, len(prompts), BATCH)]

    def run() -> None:
        with torch.inference_mode():
            for inputs in batches:
                model._model(**inputs, use_cache=False, logits_to_keep=1)

    return run


def bare_sampling(model: TransformersModel, questions: Questions) -> Callable[[], None]:
    """Return bare sampling of the same batches, already tokenised, padded and sorted."""
    import torch
    from transformers import AutoModelForCausalLM, GenerationConfig

    stock = AutoModelForCausalLM.from_pretrained(model._model.name_or_path, dtype=model._model.dtype).eval()
    prompts = sorted((model._prompt(question)[1] for question in questions), key=len)
    batches = [model._padded(prompts[start : start + BATCH]) for start in range(0, len(prompts), BATCH)]
    options: dict[str, Any] = {"temperature": 1.0, "top_k": 0, "top_p": 1.0}
    config = GenerationConfig(
        max_new_tokens=NEW_TOKENS,
        do_sample=True,
        eos_token_id=model._end_tokens(),
        pad_token_id=model._tokenizer.pad_token_id,
        **options,
    )

    def run() -> None:
        with torch.inference_mode():
            for inputs in batches:
                torch.manual_seed(1)
                stock.generate(**inputs, generation_config=config)

    return run


COMPARED: Mapping[str, Callable[[TransformersModel], None]] = {
    "scoring": scoring,
    "examples": sharing("letters after examples", few_shot_questions),
    "letters": sharing("letters in both orders", letter_questions),
    "adherence": sharing("adherence to principles", adherence_questions),
    "sorting": sorting,
    "sampling": sampling,
}

if __name__ == "__main__":
    main(sys.argv[1:])
