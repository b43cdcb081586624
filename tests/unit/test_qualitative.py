from __future__ import annotations

from collections.abc import Sequence

import polars as pl

from ccai_dagster.contracts import PROMPTS, QUALITATIVE_RESPONSES
from ccai_dagster.evaluation.qualitative import write_qualitative_responses
from ccai_dagster.feedback.language_model import Conversation
from ccai_dagster.progress import Progress, silent
from ccai_dagster.settings import EvaluationSettings


class Refuser:
    name = "refuser"

    def generate(
        self,
        conversations: Sequence[Conversation],
        *,
        new_tokens: int,
        temperature: float,
        seed: int,
        progress: Progress = silent,
    ) -> list[str]:
        assert temperature == 0
        return [
            "I can't help with that." if "bad" in text else f"Fine: {text}" for ((_, text),) in conversations
        ]

    def choice_log_probabilities(self, conversations, choices, *, prefix=""):  # type: ignore[no-untyped-def]
        raise NotImplementedError

    def log_likelihoods(self, conversations, responses):  # type: ignore[no-untyped-def]
        raise NotImplementedError


def prompts(*rows: tuple[str, str, str]) -> pl.DataFrame:
    return PROMPTS.build(
        [
            {"prompt_id": name, "text": text, "purpose": purpose, "themes": [], "relevant_principles": []}
            for name, text, purpose in rows
        ]
    )


def test_every_qualitative_prompt_gets_its_own_response() -> None:
    table = prompts(
        ("q2", "bad idea", "qualitative"), ("h1", "other", "held_out"), ("q1", "good idea", "qualitative")
    )
    written = write_qualitative_responses(Refuser(), table, "public", EvaluationSettings(), seed=0)
    assert QUALITATIVE_RESPONSES.violations(written).is_empty()
    assert written.rows() == [
        ("public", "q1", "good idea", "Fine: good idea", False),
        ("public", "q2", "bad idea", "I can't help with that.", True),
    ]


def test_no_qualitative_prompt_is_an_empty_table() -> None:
    written = write_qualitative_responses(
        Refuser(), prompts(("h1", "x", "held_out")), "base", EvaluationSettings(), 0
    )
    assert written.is_empty()
    assert QUALITATIVE_RESPONSES.violations(written).is_empty()
