from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import polars as pl
import pytest
from mute_model import MuteModel

from ccai_dagster.consultation.settings import PairSettings
from ccai_dagster.contracts import PROMPTS, RESPONSE_PAIRS
from ccai_dagster.core.errors import ConsultationError
from ccai_dagster.feedback.language_model import Response
from ccai_dagster.feedback.preference_pairs import sample_pairs


class CountingModel(MuteModel):
    """Answers with the prompt and a running number."""

    name = "counting"

    def generate(self, conversations: Sequence[Any], **options: Any) -> list[Response]:
        self.options = options
        return [Response(f"{turns[-1][1]} #{at}", at % 2 == 0) for at, turns in enumerate(conversations)]


def prompts(*ids: str) -> pl.DataFrame:
    return PROMPTS.build(
        [
            {
                "prompt_id": name,
                "text": f"Tell {name}",
                "purpose": "preference",
                "themes": [],
                "relevant_principles": [],
            }
            for name in ids
        ]
    )


def test_each_prompt_gets_two_samples_under_an_id_of_its_own() -> None:
    model = CountingModel()
    table = sample_pairs(model, prompts("q2", "q1"), PairSettings(new_tokens=7, temperature=0.5), 5)
    assert RESPONSE_PAIRS.violations(table).is_empty()
    assert table["finished_a"].all() and not table["finished_b"].any()
    assert table.select("pair_id", "prompt_id", "response_a", "response_b").rows() == [
        ("pair_q1", "q1", "Tell q1 #0", "Tell q1 #1"),
        ("pair_q2", "q2", "Tell q2 #2", "Tell q2 #3"),
    ]
    assert (model.options["new_tokens"], model.options["temperature"]) == (7, 0.5)


def test_the_seed_of_the_samples_follows_from_the_consultation_s() -> None:
    seeds = []
    for seed in (5, 5, 6):
        model = CountingModel()
        sample_pairs(model, prompts("q1"), PairSettings(), seed)
        seeds.append(model.options["seed"])
    assert seeds[0] == seeds[1] != seeds[2]


def test_no_prompt_for_pairs_is_an_error() -> None:
    with pytest.raises(ConsultationError, match="'preference'"):
        sample_pairs(CountingModel(), prompts().clear(), PairSettings(), 5)
