"""Evaluation sets as tasks of the lm-evaluation-harness, defined inline and served from memory.

Nothing is downloaded or cached: the harness gets its documents from a function. Prompts and scores are the
items' own (`items`); running them belongs to `benchmarks`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ccai_dagster.digest import value_digest
from ccai_dagster.evaluation.items import Item, LetteredItem

VERSION = 2
"""Raised whenever a prompt or a score changes meaning: figures are only compared within one version."""


def task_definition(
    name: str, items: Sequence[Item], texts: Mapping[tuple[str, int], str], new_tokens: int
) -> dict[str, Any]:
    """Return a harness task (version 0.4.13) over these items, with a document for each of their prompts.

    Prompts arrive whole, with examples and chat template, so the harness adds nothing of its own. Choices differ
    in one token, so it needs one forward pass an item. Responses are decoded greedily up to the end of the turn.

    Args:
        name: Name of the benchmark.
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
        generation = {
            "until": list(kind.stops),
            "do_sample": False,
            "max_gen_toks": response_tokens(kind, new_tokens),
        }
        return definition | {"output_type": "generate_until", "generation_kwargs": generation}
    return definition | {
        "output_type": "multiple_choice",
        "doc_to_choice": doc_to_choice,
        "target_delimiter": "",
    }


def response_tokens(kind: type[Item], new_tokens: int) -> int:
    """Return how many tokens a response may have: the format's own number, or what of the profile's is read."""
    if kind.response_tokens is not None:
        return kind.response_tokens
    return min(new_tokens, kind.tokens_read or new_tokens)
