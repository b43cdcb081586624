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
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

import polars as pl

from ccai_dagster.consultation import EvaluationSet
from ccai_dagster.contracts import BENCHMARK_ITEMS
from ccai_dagster.digest import text_digest, value_digest
from ccai_dagster.errors import ConsultationError
from ccai_dagster.evaluation.evaluation_sets import asking_of, read_evaluation_set, sample_items
from ccai_dagster.evaluation.harness_model import load_harness_model
from ccai_dagster.evaluation.items import Item, LetteredItem, Prompt
from ccai_dagster.evaluation.tasks import VERSION, response_tokens, task_definition
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
ENDING = 32
"""Characters at the end of a prompt, as the tokens of a letter after it are looked up."""


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
    model: Path,
    benchmarks: Mapping[str, EvaluationSet],
    settings: EvaluationSettings,
    dtype: str,
    seed: int,
    progress: Progress = silent,
) -> BenchmarkRun:
    """Load a model once and run every benchmark on it.

    All sets are read and checked before the model is loaded. The same seed draws the same items for every
    model. Letters are compared and responses decoded greedily, so nothing else is random.

    Args:
        model: Folder of a causal language model with its tokenizer and chat template, in safetensors.
        benchmarks: Evaluation sets by name; each says how many items are drawn.
        settings: In what batches, with how long responses.
        dtype: `bfloat16` or `float32`.
        seed: Of the draw of items.
        progress: Told how many requests are finished.

    Raises:
        ConsultationError: A set is malformed, an item does not fit into the model's context, the tokenizer has
            no chat template or cannot tell the letters apart, or the model's probabilities are not finite.
    """
    sets = {
        name: sample_items(read_evaluation_set(set_), set_.limit, seed)
        for name, set_ in sorted(benchmarks.items())
    }
    if not sets:
        return BenchmarkRun({}, {}, {})
    with _quiet_environment():
        harness = load_harness_model(model, dtype, settings.batch_size)
        for name, items in sets.items():
            _check_items(harness, benchmarks[name].place, items, settings.new_tokens)
        results = _evaluate(harness, sets, settings.new_tokens, progress)
    samples = {name: results["samples"][name] for name in sets}
    tables = {name: _item_rows(name, items, samples[name]) for name, items in sets.items()}
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


def _prompt_text(harness: Any, prompt: Prompt) -> str:
    """What the model reads, as text. A beginning stands in the assistant's turn, not before its tag."""
    if not prompt.turns:
        return prompt.beginning
    turns = [{"role": role, "content": text} for role, text in prompt.turns]
    if prompt.beginning:
        turns.append({"role": "assistant", "content": prompt.beginning})
    return str(harness.apply_chat_template(turns, add_generation_prompt=not prompt.beginning))


def _check_items(harness: Any, place: str, items: Sequence[Item], new_tokens: int) -> None:
    """Check what the harness would bend without a word: long prompts are cut from the left."""
    single: set[tuple[str, tuple[str, ...]]] = set()
    for item in items:
        room = harness.max_length - (response_tokens(type(item), new_tokens) if item.generated else 1)
        for prompt in item.prompts():
            text = _prompt_text(harness, prompt)
            n_tokens = len(harness.tok_encode(text))
            if n_tokens > room:
                raise ConsultationError(
                    f"{place}: item {item.id!r} takes {n_tokens} tokens, but the model has room for {room}. "
                    "Shorten or remove the item, give the benchmark fewer `shots` if it has any, or choose a model "
                    "with a longer context."
                )
            if not isinstance(item, LetteredItem):
                continue
            # Only the end of a prompt has a say in how the letter after it is cut into tokens.
            end = (text[-ENDING:], tuple(item.continuations))
            if end not in single and not _one_token_each(harness, *end):
                raise ConsultationError(
                    f"{place}: the model's tokenizer has no single token for each of the letters "
                    f"{', '.join(item.letters)} of item {item.id!r}. Choose another model or fewer choices."
                )
            single.add(end)


def _one_token_each(harness: Any, text: str, continuations: Sequence[str]) -> bool:
    tokens = [tuple(harness._encode_pair(text, each)[1]) for each in continuations]
    return len(set(tokens)) == len(tokens) and all(len(token) == 1 for token in tokens)


def _evaluate(harness: Any, sets: Mapping[str, Sequence[Item]], new_tokens: int, progress: Progress) -> Any:
    """Run all tasks together, so that requests of all benchmarks share batches.

    `simple_evaluate` would do the same after starting several programs to describe the machine.
    """
    from lm_eval.api.model import CacheHook
    from lm_eval.evaluator import evaluate
    from lm_eval.tasks import TaskManager

    total = sum(
        len(item.continuations) if isinstance(item, LetteredItem) else len(item.prompts())
        for items in sets.values()
        for item in items
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
    tasks = manager.load(
        [
            task_definition(name, items, partial(_prompt_text, harness), new_tokens)
            for name, items in sets.items()
        ]
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
