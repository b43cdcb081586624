"""Runs the benchmarks of a consultation on one model, through the lm-evaluation-harness.

Returns item rows; means and intervals are made in `scores`. Nothing here reaches a network.
"""

from __future__ import annotations

import logging
import os
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import polars as pl

from ccai_dagster.contracts import BENCHMARK_ITEMS
from ccai_dagster.digest import file_digest, text_digest, value_digest
from ccai_dagster.errors import ConsultationError
from ccai_dagster.evaluation.evaluation_sets import read_evaluation_set, sample_items
from ccai_dagster.evaluation.harness_model import load_harness_model
from ccai_dagster.evaluation.items import ANSWER_PREFIX, ChoiceItem, Item
from ccai_dagster.evaluation.tasks import VERSION, task_definition
from ccai_dagster.progress import Progress, silent
from ccai_dagster.settings import EvaluationSettings

LOGGED_CONFIG = (
    "output_type",
    "generation_kwargs",
    "gen_prefix",
    "target_delimiter",
    "num_fewshot",
    "metadata",
)
"""Of the harness's task definition; its functions are this package's, whose version is logged elsewhere."""


@dataclass(frozen=True)
class BenchmarkRun:
    """What one model did on all benchmarks.

    Attributes:
        items: A BENCHMARK_ITEMS table for each benchmark.
        provenance: Versions, task definitions and digests, as JSON-able values.
    """

    items: dict[str, pl.DataFrame]
    provenance: dict[str, Any]


def run_benchmarks(
    model: Path,
    benchmarks: Mapping[str, tuple[str, Path]],
    settings: EvaluationSettings,
    dtype: str,
    seed: int,
    progress: Progress = silent,
) -> BenchmarkRun:
    """Load a model once and run every benchmark on it.

    All files are read and checked before the model is loaded. The same seed draws the same items for every
    model. Letters are compared and responses decoded greedily, so nothing else is random.

    Args:
        model: Folder of a causal language model with its tokenizer and chat template, in safetensors.
        benchmarks: Name -> (format, file).
        settings: How many items, in what batches, with how long responses.
        dtype: `bfloat16` or `float32`.
        seed: Of the draw of items.
        progress: Told how many requests are finished.

    Raises:
        ConsultationError: A file is malformed, an item does not fit into the model's context, the tokenizer
        has
            no chat template or cannot tell the letters apart, or the model's probabilities are not finite.
    """
    sets = {
        name: sample_items(read_evaluation_set(path, kind), settings.items_per_benchmark, seed)
        for name, (kind, path) in sorted(benchmarks.items())
    }
    if not sets:
        return BenchmarkRun({}, {})
    with _quiet_environment():
        harness = load_harness_model(model, dtype, settings.batch_size)
        for name, items in sets.items():
            _check_items(harness, benchmarks[name][1], items, settings.new_tokens)
        results = _evaluate(harness, sets, settings.new_tokens, progress)
    tables = {name: _item_rows(name, items, results["samples"][name]) for name, items in sets.items()}
    provenance = {
        "lm_eval": version("lm_eval"),
        "transformers": version("transformers"),
        "torch": version("torch"),
        "task_version": VERSION,
        "seed": seed,
        "dtype": dtype,
        "settings": settings.model_dump(mode="json"),
        "chat_template_digest": text_digest(str(harness.tokenizer.chat_template)),
        "benchmarks": {
            name: {
                "format": kind,
                "file_digest": file_digest(path),
                "items_digest": value_digest([item.model_dump(mode="json") for item in sets[name]]),
                "prompts_digest": value_digest(
                    sorted(
                        [sample["doc"]["id"], sample["prompt_hash"]] for sample in results["samples"][name]
                    )
                ),
                "n_items": len(sets[name]),
                "config": {key: results["configs"][name].get(key) for key in LOGGED_CONFIG},
                "results": {
                    key: value
                    for key, value in results["results"][name].items()
                    if isinstance(value, int | float)
                },
            }
            for name, (kind, path) in sorted(benchmarks.items())
        },
    }
    return BenchmarkRun(tables, provenance)


@contextmanager
def _quiet_environment() -> Iterator[None]:
    """Keep the harness and its libraries offline and silent, their caches in a folder that goes away.

    The variables are read at import, so they only help if nothing imported the libraries before; without them
    the harness would put request caches beside its own code and `datasets` its in the home folder.
    """
    with tempfile.TemporaryDirectory(prefix="evaluation-") as folder:
        wanted = {
            "LM_HARNESS_CACHE_PATH": folder,
            "HF_DATASETS_CACHE": folder,
            "HF_HUB_OFFLINE": "1",
            "HF_DATASETS_OFFLINE": "1",
            "HF_HUB_DISABLE_TELEMETRY": "1",
            "TOKENIZERS_PARALLELISM": "false",
            "TQDM_DISABLE": "1",
        }
        before = {name: os.environ.get(name) for name in wanted}
        os.environ.update(wanted)
        logger = logging.getLogger("lm_eval")
        level = logger.level
        logger.setLevel(logging.ERROR)
        try:
            yield
        finally:
            logger.setLevel(level)
            for name, value in before.items():
                if value is None:
                    os.environ.pop(name, None)
                else:
                    os.environ[name] = value


def _check_items(harness: Any, path: Path, items: Sequence[Item], new_tokens: int) -> None:
    """Check what the harness would bend without a word: long prompts are cut from the left."""
    for item in items:
        turns = [{"role": "user", "content": item.question_text()}]
        room = harness.max_length
        if isinstance(item, ChoiceItem):
            turns.append({"role": "assistant", "content": ANSWER_PREFIX})
            room -= 1
        else:
            room -= new_tokens
        prompt = harness.apply_chat_template(turns, add_generation_prompt=item.generated)
        n_tokens = len(harness.tok_encode(prompt))
        if n_tokens > room:
            raise ConsultationError(
                f"{path}: item {item.id!r} takes {n_tokens} tokens, but the model has room for {room}. "
                "Shorten or remove the item, or choose a model with a longer context."
            )
        if isinstance(item, ChoiceItem):
            pairs = [harness._encode_pair(prompt, letter) for letter in item.letters]
            tokens = {tuple(letter) for _, letter in pairs}
            if len(tokens) < len(pairs) or any(len(letter) != 1 for letter in tokens):
                raise ConsultationError(
                    f"{path}: the model's tokenizer has no single token for each of the letters "
                    f"{', '.join(item.letters)} of item {item.id!r}. Choose another model or fewer choices."
                )


def _evaluate(harness: Any, sets: Mapping[str, Sequence[Item]], new_tokens: int, progress: Progress) -> Any:
    """Run all tasks together, so that requests of all benchmarks share batches.

    `simple_evaluate` would do the same after starting several programs to describe the machine.
    """
    from lm_eval.api.model import CacheHook
    from lm_eval.evaluator import evaluate
    from lm_eval.tasks import TaskManager

    total = sum(
        len(item.letters) if isinstance(item, ChoiceItem) else 1 for set_ in sets.values() for item in set_
    )

    class Counter(CacheHook):
        """The harness tells its cache of every finished request; this one only counts."""

        def __init__(self) -> None:
            super().__init__(None)
            self.done = 0

        def add_partial(self, attr: str, req: Any, res: Any) -> None:
            self.done += 1
            if self.done % 8 == 0 or self.done == total:
                progress("benchmarks", self.done, total)

    harness.set_cache_hook(Counter())
    manager = TaskManager(include_defaults=False)
    tasks = manager.load([task_definition(name, items, new_tokens) for name, items in sets.items()])
    return evaluate(
        lm=harness,
        task_dict=tasks,
        bootstrap_iters=0,
        log_samples=True,
        apply_chat_template=True,
        fewshot_as_multiturn=True,
    )


def _item_rows(name: str, items: Sequence[Item], samples: Sequence[Mapping[str, Any]]) -> pl.DataFrame:
    by_id = {item.id: item for item in items}
    rows = []
    for sample in samples:
        item = by_id[sample["doc"]["id"]]
        reading = item.read(sample["filtered_resps"])
        for metric, value in reading.scores.items():
            rows.append(
                {
                    "benchmark": name,
                    "metric": metric,
                    "item_id": item.id,
                    "cluster": item.cluster,
                    "category": item.category,
                    "value": value,
                    "answered": reading.answered,
                    "output": reading.output,
                }
            )
    return BENCHMARK_ITEMS.build(rows).sort("metric", "item_id")
