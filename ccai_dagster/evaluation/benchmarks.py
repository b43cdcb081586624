"""Runs the benchmarks of a consultation on one model, through the lm-evaluation-harness.

Evaluation sets become tasks of the harness that are defined inline and served from memory, the project's language
models become what the harness asks. Prompts and scores are the items' own (`sets`); means and intervals are made in
`scores`. Nothing here reaches a network, unless the consultation names a dataset of the Hugging Face hub.
"""

from __future__ import annotations

import logging
import os
import tempfile
from collections.abc import Hashable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from importlib.metadata import version
from typing import Any, TypeVar

import numpy as np
import polars as pl

from ccai_dagster.consultation.folder import EvaluationSet
from ccai_dagster.consultation.settings import EvaluationSettings
from ccai_dagster.contracts import BENCHMARK_ITEMS
from ccai_dagster.core.digest import text_digest, value_digest
from ccai_dagster.core.errors import ConsultationError, ConversationTooLong, Progress, silent
from ccai_dagster.evaluation.sets.formats import asking_of, read_evaluation_set, sample_items
from ccai_dagster.evaluation.sets.items import Item, LetteredItem, Prompt
from ccai_dagster.feedback.language_model import Conversation, LanguageModel, texts_of

VERSION = 2
"""Raised whenever a prompt or a score changes meaning: figures are only compared within one version."""
UNLISTED = -1000.0
"""Log-probability of a letter that a server does not list among its likeliest tokens: finite, as items want it."""
LOGGED_CONFIG = ("output_type", "generation_kwargs", "target_delimiter", "num_fewshot", "metadata")
"""Of the harness's task definition; its functions are this package's, whose version is logged elsewhere."""
Key = TypeVar("Key", bound=Hashable)


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

    Raises:
        ConsultationError: A set is malformed, an item does not fit into the model's context, the tokenizer
            cannot tell the letters apart, or the model's probabilities are not finite.
    """
    sets = {
        name: sample_items(read_evaluation_set(set_), set_.limit, seed) for name, set_ in sorted(benchmarks.items())
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
        finished = {name: _finished(harness, results["samples"][name]) for name in sets}
    samples = {name: results["samples"][name] for name in sets}
    tables = {name: _item_rows(name, items, samples[name], finished[name]) for name, items in sets.items()}
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
                    key: value for key, value in results["results"][name].items() if isinstance(value, int | float)
                },
            }
            for name, set_ in sorted(benchmarks.items())
        },
    }
    kept = {name: [_kept_sample(each) for each in samples[name]] for name in sets}
    return BenchmarkRun(tables, provenance, kept)


def questions(benchmarks: Mapping[str, EvaluationSet]) -> list[str]:
    """Return what is said last before the answer to each item of these benchmarks.

    Raises:
        ConsultationError: A set is malformed.
    """
    sets = (read_evaluation_set(set_) for _, set_ in sorted(benchmarks.items()))
    prompts = (item.prompts()[0] for items in sets for item in items)
    return [prompt.turns[-1][1] if prompt.turns else prompt.beginning for prompt in prompts]


def task_definition(
    name: str, items: Sequence[Item], texts: Mapping[tuple[str, int], str], new_tokens: int
) -> dict[str, Any]:
    """Return a harness task (version 0.4.13) over these items, with a document for each of their prompts.

    Prompts arrive whole, with examples and chat template, so the harness adds nothing of its own. Choices differ
    in one token, so it needs one forward pass an item. Responses are decoded greedily up to the end of the turn.

    Args:
        items: Items of one format, in the order to run them.
        texts: What the model reads, by item and number of the prompt.
        new_tokens: Longest response, in tokens, where the format has no length of its own.

    Returns:
        What `TaskManager.load` takes. A document has `id`, `prompt` (its number) and the digest of the `item`.
    """
    kind = type(items[0])
    by_id = {item.id: item for item in items}

    def custom_dataset(**metadata: Any) -> dict[str, Any]:
        from datasets import Dataset

        documents = [
            {"id": item.id, "prompt": number, "item": value_digest(item.model_dump(mode="json"))}
            for item in items
            for number in range(len(item.prompts()))
        ]
        return {"test": Dataset.from_list(documents)}

    def doc_to_text(doc: dict[str, Any]) -> str:
        return texts[doc["id"], doc["prompt"]]

    def doc_to_choice(doc: dict[str, Any]) -> list[str]:
        item = by_id[doc["id"]]
        assert isinstance(item, LetteredItem)  # noqa: S101 - the definition below names it for these only
        return item.continuations

    def doc_to_target(doc: dict[str, Any]) -> Any:
        # The harness only logs it; scores are the items' own.
        return getattr(by_id[doc["id"]], "answer", "")

    def process_results(doc: dict[str, Any], results: Sequence[Any]) -> Mapping[str, float | None]:
        return by_id[doc["id"]].response_scores(results)

    definition: dict[str, Any] = {
        "task": name,
        "custom_dataset": custom_dataset,
        "test_split": "test",
        "num_fewshot": 0,
        "doc_to_text": doc_to_text,
        "doc_to_target": doc_to_target,
        "process_results": process_results,
        "metric_list": [
            {"metric": metric, "aggregation": "mean", "higher_is_better": metric.startswith("accuracy")}
            for metric in kind.response_metrics or kind.metrics
        ],
        "metadata": {"version": VERSION},
    }
    if kind.generated:
        generation = {"until": list(kind.stops), "do_sample": False, "max_gen_toks": response_tokens(kind, new_tokens)}
        return definition | {"output_type": "generate_until", "generation_kwargs": generation}
    return definition | {"output_type": "multiple_choice", "doc_to_choice": doc_to_choice, "target_delimiter": ""}


def response_tokens(kind: type[Item], new_tokens: int) -> int:
    """Return how many tokens a response may have: the format's own number, or what of the profile's is read."""
    if kind.response_tokens is not None:
        return kind.response_tokens
    return min(new_tokens, kind.tokens_read or new_tokens)


def task_hash(samples: Sequence[Mapping[str, Any]]) -> str:
    """Return one hash of the documents, prompts and targets of a task, as the harness's own tracker makes it."""
    parts = ("doc_hash", "prompt_hash", "target_hash")
    return text_digest("".join(str(sample[part]) for sample in samples for part in parts))


def harness_model(model: LanguageModel, progress: Progress = silent) -> Any:
    """Return an `LM` of the harness that asks a language model: for letters as the next token, greedily for texts.

    The harness knows a prompt by its text only; the model's `text` renders a prompt and remembers what has that text.

    Args:
        model: Is asked once about each prompt.

    Returns:
        It; its `finished` tells of each text and way of generating whether the response ended by itself.
    """
    from lm_eval.api.model import LM

    class HarnessModel(LM):  # type: ignore[misc] # the harness has no types
        """`LM` without tokenizer, chat template and device, which are the language model's business."""

        def __init__(self) -> None:
            super().__init__()
            self.finished: dict[tuple[Any, str], bool] = {}
            self._conversations: dict[str, Conversation] = {}
            self._done = 0

        def text(self, prompt: Prompt, new_tokens: int = 1, choices: Sequence[str] = ()) -> str:
            """Return what the model reads before a response of so many tokens, or before one of the choices."""
            begun = (("assistant", prompt.beginning),) if prompt.beginning else ()
            conversation = (*prompt.turns, *begun)
            text = model.prompt_text(conversation, new_tokens, choices)
            self._conversations[text] = conversation
            return text

        def loglikelihood(self, requests: Sequence[Any]) -> list[tuple[float, bool]]:
            choices = _grouped(request.args for request in requests)
            found: dict[tuple[str, str], tuple[float, bool]] = {}
            for letters, texts in _grouped((tuple(own), text) for text, own in choices.items()).items():
                scores = model.choice_log_probabilities(
                    self._asked(texts), letters, likeliest=True, progress=self._onward()
                )
                finite = np.nan_to_num(scores, nan=np.nan, neginf=UNLISTED).tolist()
                for text, (*row, likeliest) in zip(texts, finite, strict=True):
                    found |= {
                        (text, letter): (score, score >= likeliest) for letter, score in zip(letters, row, strict=True)
                    }
            return [found[request.args] for request in requests]

        def generate_until(self, requests: Sequence[Any]) -> list[str]:
            asked = [_generating(*request.args) for request in requests]
            found: dict[tuple[Any, str], str] = {}
            for how, texts in _grouped(asked).items():
                new_tokens, stops = how
                responses = model.generate(
                    self._asked(texts),
                    new_tokens=new_tokens,
                    temperature=0,
                    seed=0,
                    stops=stops,
                    strip=False,
                    progress=self._onward(),
                )
                found |= {(how, text): response for text, response in zip(texts, texts_of(responses), strict=True)}
                self.finished |= {
                    (how, text): response.finished for text, response in zip(texts, responses, strict=True)
                }
            return [found[each] for each in asked]

        def loglikelihood_rolling(self, requests: Sequence[Any]) -> list[float]:
            raise NotImplementedError("no task asks how likely a whole text is")

        def _asked(self, texts: Iterable[str]) -> list[Conversation]:
            return [self._conversations[text] for text in texts]

        def _onward(self) -> Progress:
            before = self._done

            def report(message: str, done: int, total: int) -> None:
                self._done = before + done
                progress("benchmarks", self._done, len(self._conversations))

            return report

    return HarnessModel()


def _generating(text: str, options: Mapping[str, Any]) -> tuple[tuple[int, tuple[str, ...]], str]:
    """How a response is generated, and to what: the arguments of a request of the harness."""
    return (options["max_gen_toks"], tuple(options["until"])), text


def _grouped(pairs: Iterable[tuple[Key, str]]) -> dict[Key, list[str]]:
    """Return the distinct texts of each key, in order."""
    groups: dict[Key, dict[str, None]] = {}
    for key, text in pairs:
        groups.setdefault(key, {})[text] = None
    return {key: list(texts) for key, texts in groups.items()}


def _prompt_texts(harness: Any, place: str, items: Sequence[Item], longest: int) -> dict[tuple[str, int], str]:
    """Return what the model reads, by item and number of the prompt; what it cannot answer is named.

    Args:
        harness: As `harness_model` returns it.
        place: Of the items, for errors.
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
    tasks = manager.load([task_definition(name, items, texts[name], new_tokens) for name, items in sets.items()])
    return evaluate(lm=harness, task_dict=tasks, bootstrap_iters=0, log_samples=True)


def _finished(harness: Any, samples: Sequence[Mapping[str, Any]]) -> dict[str, bool]:
    """Whether every response to an item ended by itself, by item; items whose letters are compared are left out."""
    found: dict[str, bool] = {}
    for sample in samples:
        for text, options in sample["arguments"]:
            if isinstance(options, Mapping):
                item = sample["doc"]["id"]
                found[item] = found.get(item, True) and harness.finished[_generating(text, options)]
    return found


def _item_rows(
    name: str, items: Sequence[Item], samples: Sequence[Mapping[str, Any]], finished: Mapping[str, bool]
) -> pl.DataFrame:
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
                    "finished": finished.get(item.id, True),
                    "output": reading.output,
                }
            )
    return BENCHMARK_ITEMS.build(rows).sort("metric", "item_id")


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
