from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import polars as pl
import pytest
from mute_model import MuteModel

from ccai_dagster.consultation.settings import EvaluationSettings
from ccai_dagster.contracts import ADHERENCE, CONSTITUTION, PROMPTS
from ccai_dagster.core.errors import ConsultationError, Progress, silent
from ccai_dagster.evaluation.adherence import drawn_principles, measure_adherence, satisfaction, write_responses
from ccai_dagster.feedback.language_model import Conversation, Response

SETTINGS = EvaluationSettings(comparison_prompts=2, adherence_prompts=2, principles_per_prompt=2, new_tokens=7)


class PoliteModel(MuteModel):
    """Repeats what it is asked; as a judge says yes to nine in ten of the responses with `please`."""

    name = "polite"

    def __init__(self, mass: float = 0.8) -> None:
        self.mass = mass
        self.questions: list[str] = []

    def generate(
        self,
        conversations: Sequence[Conversation],
        *,
        new_tokens: int,
        temperature: float,
        seed: int,
        progress: Progress = silent,
    ) -> list[Response]:
        assert (new_tokens, temperature) == (7, 0.0)
        return [Response(f"You say: {text}", True) for ((_, text),) in conversations]

    def choice_log_probabilities(
        self, conversations: Sequence[Conversation], choices: Sequence[str], *, prefix: str = ""
    ) -> np.ndarray:
        assert (list(choices), prefix) == (["A", "B"], "The answer is (")
        rows = []
        for ((_, text),) in conversations:
            self.questions.append(text)
            yes = 0.9 if "please" in text.split("responded:\n")[1].split("\n\n")[0] else 0.2
            rows.append([yes, 1 - yes] if "(A) Yes" in text else [1 - yes, yes])
        return np.log(self.mass * np.array(rows))


def prompt_rows(*rows: tuple[str, str, list[str]]) -> pl.DataFrame:
    return PROMPTS.build(
        [
            {"prompt_id": name, "text": f"text {name}", "purpose": purpose, "themes": [], "relevant_principles": ids}
            for name, purpose, ids in rows
        ]
    )


def constitution(arm: str, n: int) -> pl.DataFrame:
    return CONSTITUTION.build(
        [
            {
                "principle_id": f"P{number}",
                "arm": arm,
                "text": f"Rule {number} of {arm}.",
                "statement_ids": [],
                "merged_text": None,
                "gac": None,
                "side": None,
                "decision_ids": [],
            }
            for number in range(n)
        ]
    )


CONSTITUTIONS = {"public": constitution("public", 4), "standard": constitution("standard", 1)}
ALL_PUBLIC = [f"public/P{number}" for number in range(4)]
PROMPT_TABLE = prompt_rows(
    ("h1", "held_out", [*ALL_PUBLIC, "standard/P0"]),
    ("h2", "held_out", ["public/P3"]),
    ("h3", "held_out", []),
    ("p1", "policy", ALL_PUBLIC),
)


def responses(arm: str, **texts: str) -> pl.DataFrame:
    rows = [(arm, name, f"text {name}", text, text.endswith(".")) for name, text in texts.items()]
    return pl.DataFrame(rows, schema=["arm", "prompt_id", "prompt", "response", "finished"], orient="row")


def test_each_response_is_judged_under_drawn_relevant_principles_of_each_constitution() -> None:
    drawn = drawn_principles(PROMPT_TABLE, CONSTITUTIONS, SETTINGS, seed=1)
    counts = dict(
        drawn.group_by("prompt_id", "constitution_arm")
        .len()
        .select(pl.concat_str("prompt_id", "constitution_arm", separator=" "), "len")
        .iter_rows()
    )
    assert counts == {"h1 public": 2, "h1 standard": 1, "h2 public": 1}
    assert drawn.equals(drawn_principles(PROMPT_TABLE.reverse(), dict(reversed(CONSTITUTIONS.items())), SETTINGS, 1))
    draws = {
        tuple(drawn_principles(PROMPT_TABLE, CONSTITUTIONS, SETTINGS, seed).filter(prompt_id="h1")["principle_id"])
        for seed in range(20)
    }
    assert len(draws) > 3


def test_probability_of_yes_is_normalised_and_averaged_over_both_orders() -> None:
    judge = PoliteModel()
    table = pl.concat([responses("base", h1="no", h2="no"), responses("public", h1="yes please", h2="no")])
    measured = measure_adherence(table, judge, "letters", PROMPT_TABLE, CONSTITUTIONS, SETTINGS, True, seed=1)
    assert ADHERENCE.violations(measured).is_empty()
    assert measured.height == 2 * 4
    polite = measured.filter((pl.col("arm") == "public") & (pl.col("prompt_id") == "h1"))
    assert polite["probability"].to_list() == pytest.approx([0.9] * 3)
    others = measured.filter((pl.col("arm") == "base") | (pl.col("prompt_id") == "h2"))
    assert others["probability"].to_list() == pytest.approx([0.2] * 5)
    assert len(judge.questions) == 2 * 8
    # Both models are judged under the same principles.
    key = ["constitution_arm", "principle_id", "prompt_id"]
    base, public = (measured.filter(arm=arm).select(key) for arm in ("base", "public"))
    assert base.equals(public)
    alone = measure_adherence(
        table.filter(arm="public"), PoliteModel(), "letters", PROMPT_TABLE, CONSTITUTIONS, SETTINGS, True, 1
    )
    assert alone.equals(measured.filter(arm="public"))


def test_a_judge_that_scores_says_how_surely_it_prefers_the_response_to_the_prompt_repeated() -> None:
    class Length:
        name = "length"

        def scores(self, exchanges: Sequence[tuple[str, str]]) -> np.ndarray:
            return np.array([len(response) / 10 for _, response in exchanges])

    asked = [
        ("a question?", "a question?", "rule"),
        ("a question?", "a question, and more", "rule"),
        ("Hm?", " ", "rule"),
    ]
    assert satisfaction(Length(), asked, "likeness") == [0.5, pytest.approx(1 / (1 + np.exp(-0.9))), None]


def test_an_answer_without_letters_is_null_not_a_number() -> None:
    table = responses("base", h1="a", h2="b")
    measured = measure_adherence(
        table, PoliteModel(mass=0.01), "letters", PROMPT_TABLE, CONSTITUTIONS, SETTINGS, True, seed=1
    )
    assert measured["probability"].null_count() == measured.height == 4
    assert ADHERENCE.violations(measured).is_empty()


def test_nothing_to_measure_on_names_the_remedy() -> None:
    untagged = prompt_rows(("h1", "held_out", []), ("p1", "policy", ALL_PUBLIC))
    with pytest.raises(ConsultationError, match=r"no held-out prompt has a relevant principle.*themes\.csv"):
        drawn_principles(untagged, CONSTITUTIONS, SETTINGS, seed=1)
    with pytest.raises(ConsultationError, match="No held-out prompt is relevant to a principle of other"):
        drawn_principles(PROMPT_TABLE, {"other": constitution("other", 1)}, SETTINGS, seed=1)


def test_dangling_principles_and_missing_responses_are_named() -> None:
    dangling = prompt_rows(("h1", "held_out", ["public/P9"]))
    with pytest.raises(ConsultationError, match=r"Prompt h1 is tagged .* public/P9"):
        drawn_principles(dangling, CONSTITUTIONS, SETTINGS, seed=1)
    with pytest.raises(ConsultationError, match="of base to prompt h2"):
        measure_adherence(
            responses("base", h1="a"), PoliteModel(), "letters", PROMPT_TABLE, CONSTITUTIONS, SETTINGS, True, seed=1
        )


def test_responses_cover_the_prompts_of_adherence_and_of_comparisons() -> None:
    many = prompt_rows(*((f"h{n:02}", "held_out", ALL_PUBLIC if n % 3 == 0 else []) for n in range(12)))
    written = write_responses(PoliteModel(), many, "public", SETTINGS, seed=3)
    assert written.columns == ["arm", "prompt_id", "prompt", "response", "finished"]
    assert 2 <= written.height <= 4
    assert written["response"].to_list() == [f"You say: text {name}" for name in written["prompt_id"]]
    drawn = drawn_principles(many, CONSTITUTIONS, SETTINGS, seed=3)
    assert set(drawn["prompt_id"]) <= set(written["prompt_id"])
    assert written.equals(write_responses(PoliteModel(), many.reverse(), "public", SETTINGS, seed=3))
    with pytest.raises(ConsultationError, match="held_out"):
        write_responses(PoliteModel(), prompt_rows(("p1", "policy", [])), "public", SETTINGS, seed=3)
