"""What must be equal in every arm, as it is kept with each model: it stays as it is, or models count as others."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import dagster as dg
import polars as pl
import pytest

from assets import feedback, training
from ccai_dagster import contracts
from ccai_dagster.consultation.folder import SAMPLE, read_consultation
from ccai_dagster.consultation.settings import PROFILES

MODEL = {
    "model_digest": "d" * 64,
    "stage": "any",
    "arm": "any",
    "parent_digest": "0",
    "constitution_digest": "c",
    "settings_digest": "s",
    "settings": '{"data order": "o"}',
    "metrics": "{}",
}
PAIR = {"prompt": "Why?", "response_a": "Because.", "response_b": "No."}
TABLES = {
    "base_model": contracts.MODEL.build([MODEL]),
    "supervised_policy": contracts.MODEL.build([MODEL]),
    "preference_model": contracts.MODEL.build([MODEL]),
    "constitution": pl.DataFrame({"principle_id": ["P1"], "text": ["Be kind."], "statement_ids": [[1]]}),
    "revisions": contracts.REVISIONS.build(
        [
            {
                "prompt_id": "q1",
                "step": 1,
                "prompt": "Why?",
                "response": "No.",
                "response_finished": True,
                "principle_id": "P1",
                "request_number": 0,
                "template_version": "2",
                "critique": "Unkind.",
                "critique_finished": True,
                "revision": "Because.",
                "revision_finished": True,
            }
        ]
    ),
    "helpfulness_pairs": contracts.HELPFULNESS_PAIRS.build(
        [{"pair_id": f"h{at}", "probability_a": 1.0, "source": "people", **PAIR} for at in range(3)]
    ),
    "preference_pairs": contracts.PREFERENCE_PAIRS.build(
        [
            {
                "pair_id": f"p{at}",
                "prompt_id": f"q{at}",
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
                "finished_a": True,
                "finished_b": True,
                **PAIR,
            }
            for at in range(3)
        ]
    ),
    "prompts": contracts.PROMPTS.build(
        [
            {"prompt_id": f"x{at}", "text": f"Why {at}?", "purpose": purpose, "themes": [], "relevant_principles": []}
            for at, purpose in enumerate(["policy", "held_out"] * 2)
        ]
    ),
}


class Tracked(Exception):
    """Ends an asset where its training would begin."""


class Tracking:
    """Keeps what a training is tagged with."""

    @contextmanager
    def run(self, context: Any, name: str, tags: Mapping[str, str], parameters: Mapping[str, Any]) -> Iterator[None]:
        raise Tracked(tags["settings_digest"], parameters)
        yield


class Models:
    def folder(self, digest: str) -> Path:
        return Path("/models") / digest


def assets(profile: str = "demo") -> dict[str, dg.AssetsDefinition]:
    # What the sample changes of a profile is its own affair.
    consultation = read_consultation(SAMPLE, profile).model_copy(update={"profile": PROFILES[profile]})
    made = [*feedback.build(consultation), *training.build(consultation)]
    return {each.key.to_user_string(): each for each in made}


def tracked(asset: dg.AssetsDefinition) -> tuple[str, Mapping[str, Any]]:
    """Run an asset until its training begins; return the digest of its settings and what MLflow would be told."""
    given = {each: TABLES[each] for each in asset.keys_by_input_name if each in TABLES}
    resources = {"launcher": None, "models": Models(), "tracking": Tracking()}
    with dg.DagsterInstance.ephemeral() as instance, pytest.raises(Tracked) as raised:
        list(asset(dg.build_asset_context(resources=resources, instance=instance), **given))
    digest, parameters = raised.value.args
    return digest, parameters


@pytest.mark.parametrize(
    ("stage", "expected"),
    [
        ("supervised_policy", "89b09f45fd9479d206c80b11a7fef212d7e6d5aa3b3947ee6335abddcc52c6e2"),
        ("preference_model", "6fe5f4a73495ace8f4c8abacedc94e3400e36630a2332fa5040fe583942d9597"),
        ("policy", "d91cccd7340fbc3a57f0685e4b891b19512d6c5319b77d20e695822d013939cd"),
    ],
)
def test_settings_that_must_be_equal_keep_their_digest_in_every_arm(stage: str, expected: str) -> None:
    made = assets()
    assert {arm: tracked(made[f"{arm}/{stage}"])[0] for arm in ("public", "standard")} == {
        "public": expected,
        "standard": expected,
    }


def test_the_settings_of_a_tuned_feedback_model_keep_their_digest() -> None:
    digest, _ = tracked(assets("full")["feedback_model"])
    assert digest == "3a0f46b319aaf1aad0c8a9ac5ab9145957687afa1708fb03b9f09a2a6a641f15"


def test_mlflow_is_told_every_setting_of_a_training_flat() -> None:
    _, told = tracked(assets()["public/policy"])
    expected = {
        "model.dtype": "bfloat16",
        "feedback.batch_size": 16,
        "seed": 7,
        "settings.steps": 3,
        "method": "dpo",
        "policy method": "dpo",
    }
    assert {name: told[name] for name in expected} == expected
    assert not {"prompts.0", "training_prompts", "supervised_policy", "stage"} & set(told)
