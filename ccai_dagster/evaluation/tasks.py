"""Evaluation sets as tasks of the lm-evaluation-harness, defined inline and served from memory.

Nothing is downloaded or cached: the harness gets its documents from a function. Prompts and scores are the
items' own (`items`); running them belongs to `benchmarks`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ccai_dagster.evaluation.items import ANSWER_PREFIX, ChoiceItem, Item

VERSION = 1
"""Raised whenever a prompt or a score changes meaning: figures are only compared within one version."""


def task_definition(name: str, items: Sequence[Item], new_tokens: int) -> dict[str, Any]:
    """Return a harness task (version 0.4.13) over these items.

    Letters are scored after `ANSWER_PREFIX`, which the chat template places in the assistant's turn:
    appended to the question it would stand before the assistant's tag. Choices differ in one token, so the
    harness needs one forward pass an item. Responses are decoded greedily up to the end of the turn.

    Args:
        name: Name of the benchmark.
        items: Items of one format, in the order to run them.
        new_tokens: Longest response, in tokens.

    Returns:
        What `TaskManager.load` takes.
    """
    kind = type(items[0])
    documents = {item.id: item for item in items}

    def custom_dataset(**metadata: Any) -> dict[str, Any]:
        from datasets import Dataset

        return {"test": Dataset.from_list([{"id": item.id} for item in items])}

    def doc_to_text(doc: dict[str, Any]) -> str:
        return documents[doc["id"]].question_text()

    def doc_to_choice(doc: dict[str, Any]) -> list[str]:
        item = documents[doc["id"]]
        assert isinstance(item, ChoiceItem)  # noqa: S101 - the definition below names it for these only
        return item.letters

    def doc_to_target(doc: dict[str, Any]) -> Any:
        # The harness only logs it; scores are the items' own.
        return getattr(documents[doc["id"]], "answer", "")

    def process_results(doc: dict[str, Any], results: Sequence[Any]) -> dict[str, float]:
        return documents[doc["id"]].read(results).scores

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
            for metric in kind.metrics
        ],
        "metadata": {"version": VERSION},
    }
    if kind.generated:
        longest = min(new_tokens, kind.tokens_read or new_tokens)
        generation = {"until": [], "do_sample": False, "max_gen_toks": longest}
        return definition | {"output_type": "generate_until", "generation_kwargs": generation}
    return definition | {
        "output_type": "multiple_choice",
        "doc_to_choice": doc_to_choice,
        "gen_prefix": ANSWER_PREFIX,
        "target_delimiter": "",
    }
