from __future__ import annotations

from collections.abc import Sequence

import polars as pl
from mute_model import MuteModel

from ccai_dagster.consultation.settings import EvaluationSettings
from ccai_dagster.contracts import (
    CONSTITUTION,
    CONSTITUTION_OVERLAP,
    PROMPTS,
    QUALITATIVE_PROMPTS,
    QUALITATIVE_RESPONSES,
)
from ccai_dagster.core.errors import Progress, silent
from ccai_dagster.evaluation.responses import distinct_principles, qualitative_prompts, write_qualitative_responses
from ccai_dagster.feedback.language_model import Conversation, Response


class Refuser(MuteModel):
    name = "refuser"

    def generate(
        self,
        conversations: Sequence[Conversation],
        *,
        new_tokens: int,
        temperature: float,
        seed: int,
        progress: Progress = silent,
    ) -> list[Response]:
        assert temperature == 0
        said = ["I can't help with that." if "bad" in text else f"Fine: {text}" for ((_, text),) in conversations]
        return [Response(text, "Fine" not in text) for text in said]


def to_read(*rows: tuple[str, str]) -> pl.DataFrame:
    return QUALITATIVE_PROMPTS.build(
        [{"prompt_id": name, "text": text, "origin": "written", "principles": []} for name, text in rows]
    )


def prompt(name: str, purpose: str, *relevant: str, text: str = "") -> dict[str, object]:
    return {
        "prompt_id": name,
        "text": text or f"Text of {name}",
        "purpose": purpose,
        "themes": [],
        "relevant_principles": list(relevant),
    }


def constitution(arm: str, **texts: str) -> pl.DataFrame:
    return CONSTITUTION.build(
        [
            {
                "arm": arm,
                "principle_id": key,
                "text": text,
                "statement_ids": [],
                "merged_text": None,
                "gac": None,
                "side": None,
                "decision_ids": [],
            }
            for key, text in texts.items()
        ]
    )


def overlap(*rows: tuple[str, str, str, float, bool]) -> pl.DataFrame:
    return CONSTITUTION_OVERLAP.build(
        [
            {
                "arm": arm,
                "principle_id": key,
                "other_arm": other,
                "nearest_principle_id": "any",
                "similarity": similarity,
                "shared": shared,
                "tags": [],
                "same_tag_principle_ids": [],
                "shared_by_tags": None,
                "framing": "do",
            }
            for arm, key, other, similarity, shared in rows
        ]
    )


def test_every_prompt_gets_its_own_response() -> None:
    table = to_read(("q2", "bad idea"), ("q1", "good idea"))
    written = write_qualitative_responses(Refuser(), table, "public", EvaluationSettings(), seed=0)
    assert QUALITATIVE_RESPONSES.violations(written).is_empty()
    assert written.rows() == [
        ("public", "q1", "good idea", "Fine: good idea", False, False),
        ("public", "q2", "bad idea", "I can't help with that.", True, True),
    ]


def test_no_prompt_is_an_empty_table() -> None:
    written = write_qualitative_responses(Refuser(), to_read(), "base", EvaluationSettings(), 0)
    assert written.is_empty()
    assert QUALITATIVE_RESPONSES.violations(written).is_empty()


BOTH = {
    "public": constitution("public", P1="Be brief.", P2="Be kind.", P3="{0} <b>Never flatter.</b>"),
    "standard": constitution("standard", S1="Be kind!"),
}
NEAR = overlap(
    ("public", "P1", "standard", 0.2, False),
    ("public", "P2", "standard", 0.9, True),
    ("public", "P3", "standard", 0.1, False),
    ("standard", "S1", "public", 0.9, True),
)


def test_prompts_are_taken_where_constitutions_differ_and_never_from_training() -> None:
    database = PROMPTS.build(
        [
            prompt("q1", "qualitative"),
            prompt("train", "policy", "public/P3"),
            prompt("broad", "held_out", "public/P3", "public/P2"),
            prompt("narrow", "held_out", "public/P3"),
            prompt("shared", "held_out", "public/P2"),
        ]
    )
    chosen = qualitative_prompts(database, BOTH, NEAR, "standard", 1, seed=0)
    assert QUALITATIVE_PROMPTS.violations(chosen).is_empty()
    assert chosen.select("prompt_id", "origin", "principles").rows() == [
        ("drafted-public-P3", "drafted", ["public/P3"]),
        ("narrow", "tagged", ["public/P3"]),
        ("q1", "written", []),
    ]
    drafted = chosen.row(0, named=True)["text"]
    assert "“{0} <b>Never flatter.</b>”" in drafted
    both = qualitative_prompts(database, BOTH, NEAR, "standard", 5, seed=0)
    assert both["prompt_id"].to_list() == ["drafted-public-P1", "drafted-public-P3", "narrow", "q1"]
    assert qualitative_prompts(database, BOTH, NEAR, "standard", 0, seed=0)["prompt_id"].to_list() == ["q1"]
    turned = qualitative_prompts(database.reverse(), BOTH, NEAR.reverse(), "standard", 5, seed=0)
    assert turned.equals(both)


def test_constitutions_that_share_a_principle_get_one_drafted_prompt() -> None:
    three = BOTH | {"published": constitution("published", P3="{0} <b>Never flatter.</b>")}
    near = pl.concat(
        [
            NEAR,
            overlap(
                ("published", "P3", "standard", 0.1, False),
                ("published", "P3", "public", 1.0, True),
                ("public", "P3", "published", 1.0, True),
                ("standard", "S1", "published", 0.0, False),
            ),
        ]
    )
    # P3 is shared with another arm, not with the baseline; S1 has a counterpart in one of the arms.
    assert distinct_principles(near, "standard", 0) == {"public": ["P3", "P1"], "published": ["P3"], "standard": []}
    chosen = qualitative_prompts(PROMPTS.empty(), three, near, "standard", 1, seed=0)
    assert chosen.select("prompt_id", "principles").rows() == [("drafted-public-P3", ["public/P3", "published/P3"])]


def test_peoples_tags_go_before_likeness() -> None:
    tagged = NEAR.with_columns(shared_by_tags=pl.col("principle_id").is_in(["P3", "S1"]))
    assert distinct_principles(tagged, "standard", 0) == {"public": ["P1", "P2"], "standard": []}
