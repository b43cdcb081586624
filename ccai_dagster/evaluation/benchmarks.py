"""Runs the benchmarks of a consultation on one model, through the lm-evaluation-harness.

Returns item rows; means and intervals are made in `scores`. Nothing here reaches a network, unless the
consultation names a dataset of the Hugging Face hub.
"""

from __future__ import annotations

import logging
import os
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from importlib.metadata import version
from typing import Any

import polars as pl

from ccai_dagster.consultation import EvaluationSet
from ccai_dagster.contracts import BENCHMARK_ITEMS
from ccai_dagster.digest import text_digest, value_digest
from ccai_dagster.errors import ConsultationError, ConversationTooLong
from ccai_dagster.evaluation.evaluation_sets import asking_of, read_evaluation_set, sample_items
from ccai_dagster.evaluation.harness_model import harness_model
from ccai_dagster.evaluation.items import Item, LetteredItem
from ccai_dagster.evaluation.tasks import VERSION, response_tokens, task_definition
from ccai_dagster.feedback.language_model import LanguageModel
from ccai_dagster.progress import Progress, silent
from ccai_dagster.settings import EvaluationSettings

LOGGED_CONFIG = (
    "output_type",
    "generation_kwargs",
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
        samples: For each benchmark what the harness asked and got, prompt by prompt, as JSON-able values.
    """

    items: dict[str, pl.DataFrame]
    provenance: dict[str, Any]
    samples: dict[str, list[dict[str, Any]]]


def run_benchmarks(
    model: LanguageModel,
    benchmarks: Mapping[str, EvaluationSet],
    settings: EvaluationSettings,
    seed: int,
    progress: Progress = silent,
) -> BenchmarkRun:
    """Run every benchmark on a model.

    All sets are read and checked before the model is asked. The same seed draws the same items for every
    model. Letters are compared and responses decoded greedily, so nothing else is random.

    Args:
        model: In this process or on a server.
        benchmarks: Evaluation sets by name; each says how many items are drawn.
        settings: How long responses are.
        seed: Of the draw of items.
        progress: Told how many prompts are finished.

    Raises:
        ConsultationError: A set is malformed, an item does not fit into the model's context, the tokenizer
            cannot tell the letters apart, or the model's probabilities are not finite.
    """
    sets = {
        name: sample_items(read_evaluation_set(set_), set_.limit, seed)
        for name, set_ in sorted(benchmarks.items())
    }
    if not sets:
        return BenchmarkRun({}, {}, {})
    with _quiet_environment():
        harness = harness_model(model, progress)
        texts = {
            name: _prompt_texts(harness, benchmarks[name].place, items, settings.new_tokens)
            for name, items in sets.items()
        }
        results = _evaluate(harness, sets, texts, settings.new_tokens)
    samples = {name: results["samples"][name] for name in sets}
    tables = {name: _item_rows(name, items, samples[name]) for name, items in sets.items()}
    provenance = {
        "lm_eval": version("lm_eval"),
        "transformers": version("transformers"),
        "torch": version("torch"),
        "task_version": VERSION,
        "seed": seed,
        "settings": settings.model_dump(mode="json"),
        **model.provenance,
        "benchmarks": {
            name: {
                "format": set_.format,
                "source": set_.model_dump(mode="json", exclude={"path"}),
                "asked": asdict(asking_of(set_)),
                "content_digest": set_.content_digest(),
                "items_digest": value_digest([item.model_dump(mode="json") for item in sets[name]]),
                "task_hash": task_hash(samples[name]),
                "n_items": len(sets[name]),
                "version": results["versions"][name],
                "config": {key: results["configs"][name].get(key) for key in LOGGED_CONFIG},
                "results": {
                    key: value
                    for key, value in results["results"][name].items()
                    if isinstance(value, int | float)
                },
            }
            for name, set_ in sorted(benchmarks.items())
        },
    }
    kept = {name: [_kept_sample(each) for each in samples[name]] for name in sets}
    return BenchmarkRun(tables, provenance, kept)


def task_hash(samples: Sequence[Mapping[str, Any]]) -> str:
    """Return one hash of the documents, prompts and targets of a task, as the harness's own tracker makes it."""
    parts = ("doc_hash", "prompt_hash", "target_hash")
    return text_digest("".join(str(sample[part]) for sample in samples for part in parts))


def _kept_sample(sample: Mapping[str, Any]) -> dict[str, Any]:
    """A sample as it is kept: the prompt once, though the harness repeats it for every letter."""
    requests = sample["arguments"]
    return {
        "id": sample["doc"]["id"],
        "prompt_number": sample["doc"]["prompt"],
        "prompt": requests[0][0],
        "asked": [request[1] for request in requests],
        "target": sample["target"],
        "responses": sample["resps"],
        "scores": {metric: sample[metric] for metric in sample["metrics"]},
        **{name: sample[name] for name in ("doc_hash", "prompt_hash", "target_hash")},
    }


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


def _prompt_texts(
    harness: Any, place: str, items: Sequence[Item], longest: int
) -> dict[tuple[str, int], str]:
    """Return what the model reads, by item and number of the prompt; what it cannot answer is named.

    Args:
        harness: See `harness_model`.
        place: Of the items.
        items: Of one benchmark.
        longest: Response, in tokens.
    """
    texts: dict[tuple[str, int], str] = {}
    for item in items:
        new_tokens = response_tokens(type(item), longest) if item.generated else 1
        choices = item.continuations if isinstance(item, LetteredItem) else ()
        try:
            for number, prompt in enumerate(item.prompts()):
                texts[item.id, number] = harness.text(prompt, new_tokens, choices)
        except ConsultationError as error:
            shorter = (
                " Or remove the item, give the benchmark fewer `shots` if it has any, or choose a model with a "
                "longer context."
            )
            more = shorter if isinstance(error, ConversationTooLong) else ""
            raise ConsultationError(f"{place}: item {item.id!r}: {error}{more}") from error
    return texts


def _evaluate(
    harness: Any,
    sets: Mapping[str, Sequence[Item]],
    texts: Mapping[str, Mapping[tuple[str, int], str]],
    new_tokens: int,
) -> Any:
    """Run all tasks together, so that benchmarks with the same letters share batches.

    `simple_evaluate` would do the same after starting several programs to describe the machine.
    """
    from lm_eval.evaluator import evaluate
    from lm_eval.tasks import TaskManager

    manager = TaskManager(include_defaults=False)
    tasks = manager.load(
        [task_definition(name, items, texts[name], new_tokens) for name, items in sets.items()]
    )
    return evaluate(lm=harness, task_dict=tasks, bootstrap_iters=0, log_samples=True)


def _item_rows(name: str, items: Sequence[Item], samples: Sequence[Mapping[str, Any]]) -> pl.DataFrame:
    results: dict[str, list[Any]] = {}
    for sample in sorted(samples, key=lambda each: int(each["doc"]["prompt"])):
        results.setdefault(sample["doc"]["id"], []).extend(sample["filtered_resps"])
    rows = []
    for item in items:
        reading = item.read(results[item.id])
        own = [(metric, item.id, item.category, value) for metric, value in reading.scores.items()]
        own += [
            (metric, f"{item.id}/{category}", category, value)
            for (metric, category), value in reading.by_category.items()
        ]
        for metric, item_id, category, value in own:
            rows.append(
                {
                    "benchmark": name,
                    "metric": metric,
                    "item_id": item_id,
                    "cluster": item.cluster,
                    "category": category,
                    "value": value,
                    "answered": reading.answered and metric not in reading.unread,
                    "output": reading.output,
                }
            )
    return BENCHMARK_ITEMS.build(rows).sort("metric", "item_id")
