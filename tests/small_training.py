"""What a small model is trained on, a row for each of some words."""

from __future__ import annotations

from collections.abc import Sequence

import polars as pl

from ccai_dagster.contracts import HELPFULNESS_PAIRS, PREFERENCE_PAIRS, REVISIONS


def revisions(words: Sequence[str]) -> pl.DataFrame:
    return REVISIONS.build(
        [
            {
                "prompt_id": f"q{at}",
                "step": 1,
                "prompt": f"Tell me {word}.",
                "response": "No.",
                "response_finished": True,
                "principle_id": "P1",
                "request_number": 0,
                "template_version": "2",
                "critique": "Unkind.",
                "critique_finished": True,
                "revision": f"The assistant is {word}.",
                "revision_finished": at % 2 == 0,
            }
            for at, word in enumerate(words)
        ]
    )


def helpfulness_pairs(words: Sequence[str]) -> pl.DataFrame:
    return HELPFULNESS_PAIRS.build(
        [
            {
                "pair_id": f"h{at}",
                "prompt": "Why?",
                "response_a": f"Because of {word}.",
                "response_b": "No.",
                "probability_a": at % 2,
                "source": "people",
            }
            for at, word in enumerate(words)
        ]
    )


def preference_pairs(words: Sequence[str]) -> pl.DataFrame:
    return PREFERENCE_PAIRS.build(
        [
            {
                "pair_id": f"p{at}",
                "prompt_id": f"q{at}",
                "prompt": f"Tell me {word}.",
                "response_a": word,
                "response_b": "Why?",
                "finished_a": True,
                "finished_b": False,
                "principle_id": "P1",
                "forward_probability": 0.7,
                "reversed_probability": 0.7,
                "forward_reasoning": None,
                "reversed_reasoning": None,
                "probability_a": 0.7,
                "clamped": False,
                "answer_mass": 0.9,
                "status": "labelled",
                "method": "letters",
                "feedback_model": "m",
                "judge_at_chance": False,
            }
            for at, word in enumerate(words)
        ]
    )
