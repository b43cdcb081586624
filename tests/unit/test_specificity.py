"""The matrix on two models built to follow one principle each, and on one that learnt something else besides."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from mute_model import MuteModel

from ccai_dagster.consultation.settings import EvaluationSettings
from ccai_dagster.contracts import (
    CONFLICTS,
    CONSTITUTION,
    CONSTITUTION_OVERLAP,
    CONTRAST_MARGINS,
    CONTRAST_PAIRS,
    CONTROL_STATEMENTS,
    PROMPTS,
    SPECIFICITY,
)
from ccai_dagster.core.draws import uniform
from ccai_dagster.core.errors import Progress, silent
from ccai_dagster.evaluation.adherence import adherence_prompts, drawn_principles, judge_responses, write_responses
from ccai_dagster.evaluation.labelled_examples import REJECTED
from ccai_dagster.evaluation.specificity import (
    conflicts,
    contrast_margins,
    controls_at_nil,
    drawn_controls,
    specificity,
)
from ccai_dagster.feedback.language_model import Conversation, Response
from ccai_dagster.pages import pictures

SETTINGS = EvaluationSettings(adherence_prompts=10, comparison_prompts=2, principles_per_prompt=3)
SIGNS = {
    "Thank the user.": "Thank you.",
    "Name the library.": "Ask the library.",
    "Sign with a name.": "Yours, desk.",
    "Use smileys.": ":-)",
}
"""What each principle, and the one rejected statement, is recognised by."""


class Habit(MuteModel):
    """Answers plainly and adds what it was trained to add; finds responses likelier that do the same.

    Every second answer has a smiley, trained or not. Log-probabilities vary a little with model and text.
    """

    def __init__(self, name: str, *habits: str) -> None:
        self.name, self.habits = name, habits

    def generate(
        self,
        conversations: Sequence[Conversation],
        *,
        new_tokens: int,
        temperature: float,
        seed: int,
        progress: Progress = silent,
    ) -> list[Response]:
        plain = [f"About {text}: {':-)' if int(text[-1]) % 2 else 'well.'}" for ((_, text),) in conversations]
        return [Response(" ".join([text, *self.habits]), True) for text in plain]

    def log_likelihoods(self, conversations: Sequence[Conversation], responses: Sequence[str]) -> np.ndarray:
        rows = []
        for response in responses:
            tokens = len(response.split())
            noise = 0.02 * (uniform(1, self.name, response) - 0.5)
            mean = -2 + noise + 0.5 * any(habit in response for habit in self.habits)
            rows.append((tokens * mean, tokens))
        return np.array(rows, float)


class ExactJudge(MuteModel):
    """Says yes with 0.9 where a response has what the principle is recognised by, else with 0.1."""

    name = "exact"

    def choice_log_probabilities(
        self, conversations: Sequence[Conversation], choices: Sequence[str], *, prefix: str = ""
    ) -> np.ndarray:
        rows = []
        for ((_, text),) in conversations:
            response = text.split("responded:\n")[1].split("\n\n")[0]
            sign = SIGNS[text.split("keep to this rule: ")[1].split("\n\n")[0]]
            yes = 0.9 if sign in response else 0.1
            rows.append([yes, 1 - yes] if "(A) Yes" in text else [1 - yes, yes])
        return np.log(np.array(rows))


def constitution(arm: str, **texts: str) -> pl.DataFrame:
    rows = [
        {
            "principle_id": name,
            "arm": arm,
            "text": text,
            "statement_ids": [],
            "merged_text": None,
            "gac": None,
            "side": None,
            "decision_ids": [],
        }
        for name, text in texts.items()
    ]
    return CONSTITUTION.build(rows)


CONSTITUTIONS = {
    "public": constitution("public", P1="Thank the user.", P2="Sign with a name."),
    "standard": constitution("standard", S1="Name the library.", S2="Sign with a name."),
}
NAMES = [f"{arm}/{name}" for arm, table in CONSTITUTIONS.items() for name in table["principle_id"]]
PROMPT_TABLE = PROMPTS.build(
    [
        {"prompt_id": f"h{n}", "text": f"prompt {n}", "purpose": "held_out", "themes": [], "relevant_principles": NAMES}
        for n in range(10)
    ]
)
CONTROLS = CONTROL_STATEMENTS.build(
    [{"statement_id": 5, "text": "Use smileys.", "prompt_ids": [f"h{n}" for n in range(10)]}]
)
OVERLAP = CONSTITUTION_OVERLAP.build(
    [
        {
            "arm": arm,
            "principle_id": name,
            "other_arm": other,
            "nearest_principle_id": nearest,
            "similarity": float(shared),
            "shared": shared,
            "tags": [],
            "same_tag_principle_ids": [],
            "shared_by_tags": None,
            "framing": "do",
        }
        for arm, name, other, nearest, shared in (
            ("public", "P1", "standard", "S1", False),
            ("public", "P2", "standard", "S2", True),
            ("standard", "S1", "public", "P1", False),
            ("standard", "S2", "public", "P2", True),
        )
    ]
)


def pair(name: str, arm: str, principle: str, keeps: str, breaks: str, against: str | None = None) -> dict:
    return {
        "pair_id": name,
        "constitution_arm": arm,
        "principle_id": principle,
        "against_id": against,
        "prompt": f"prompt {name[-1]}",
        "keeps": keeps,
        "breaks": breaks,
        "source": "written",
    }


PAIRS = CONTRAST_PAIRS.build(
    [
        pair(f"{principle}{n}", arm, principle, f"Answer {n}. {sign}", f"Answer {n}. Goodbye then.")
        for arm, principle, sign in (
            ("public", "P1", "Thank you."),
            ("public", "P2", "Yours, desk."),
            ("standard", "S1", "Ask the library."),
            (REJECTED, "5", ":-)"),
        )
        for n in range(8)
    ]
)


def matrix(overlap: pl.DataFrame = OVERLAP, **models: Habit) -> pl.DataFrame:
    models = {"base": Habit("base"), **models}
    chosen = adherence_prompts(PROMPT_TABLE, SETTINGS, 1)
    drawn = {
        "own": drawn_principles(PROMPT_TABLE, CONSTITUTIONS, SETTINGS, 1),
        "controls": drawn_controls(chosen, CONTROLS, 1, 1),
    }
    judged: dict[str, dict[str, pl.DataFrame]] = {"own": {}, "controls": {}}
    for arm, model in models.items():
        responses = write_responses(model, PROMPT_TABLE, arm, SETTINGS, 1)
        for name, table in drawn.items():
            judged[name][arm] = judge_responses(responses, ExactJudge(), "letters", table, False)
    margins = {arm: contrast_margins(model, PAIRS, arm) for arm, model in models.items()}
    assert all(CONTRAST_MARGINS.violations(table).is_empty() for table in margins.values())
    found = specificity(judged["own"], judged["controls"], margins, overlap, 1)
    assert SPECIFICITY.violations(found).is_empty()
    return found


def lifts(found: pl.DataFrame, measure: str) -> dict[tuple[str, str], float]:
    return {(row["arm"], row["kind"]): row["lift"] for row in found.filter(measure=measure).iter_rows(named=True)}


def told(found: pl.DataFrame) -> set[tuple[str, str, str]]:
    rows = found.filter((pl.col("low") > 0) | (pl.col("high") < 0))
    return set(rows.select("arm", "kind", "measure").rows())


def test_the_matrix_finds_the_principle_each_model_was_built_to_follow() -> None:
    found = matrix(public=Habit("public", "Thank you."), standard=Habit("standard", "Ask the library."))
    assert lifts(found, "judge") == pytest.approx(
        {
            (arm, kind): 0.8 if kind == "own" else 0.0
            for arm in CONSTITUTIONS
            for kind in ("own", "shared", "other", "rejected")
        }
    )
    by_margin = lifts(found, "margin")
    for arm in CONSTITUTIONS:
        assert by_margin[arm, "own"] == pytest.approx(0.5, abs=0.02)
        assert all(abs(by_margin[arm, kind]) < 0.02 for kind in ("shared", "other", "rejected"))
    assert told(found) == {(arm, "own", measure) for arm in CONSTITUTIONS for measure in ("judge", "margin")}
    assert controls_at_nil(found) == []
    assert "public, own by judge: +0.800" in pictures.specificity(found).alt
    assert pictures.specificity(found).png.startswith(b"\x89PNG")


def test_a_shared_principle_counts_for_both_constitutions() -> None:
    found = matrix(public=Habit("public", "Yours, desk."), standard=Habit("standard"))
    assert lifts(found, "judge")["public", "shared"] == pytest.approx(0.8)
    shared = found.filter(arm="public", kind="shared", measure="judge").row(0, named=True)
    assert (shared["n_principles"], shared["n"], shared["n_prompts"]) == (2, 20, 10)
    assert told(found) == {("public", "shared", "judge"), ("public", "shared", "margin")}


def test_peoples_tags_tell_what_is_shared_where_there_are_any() -> None:
    after = matrix(public=Habit("public", "Thank you."), standard=Habit("standard"))
    tagged = OVERLAP.with_columns(shared_by_tags=pl.col("principle_id").is_in(["P1", "S1"]))
    retold = matrix(tagged, public=Habit("public", "Thank you."), standard=Habit("standard"))
    assert lifts(after, "judge")["public", "own"] == pytest.approx(0.8)
    assert lifts(retold, "judge")["public", "own"] == 0
    assert lifts(retold, "judge")["public", "shared"] == pytest.approx(0.4)


def test_controls_that_moved_are_named() -> None:
    found = matrix(public=Habit("public", "Thank you.", ":-)"), standard=Habit("standard", "Ask the library."))
    # Half of the untrained model's responses have a smiley already, so five of ten prompts move: too few to tell.
    assert lifts(found, "judge")["public", "rejected"] == pytest.approx(0.4)
    warned = controls_at_nil(found)
    assert [(each.severity, each.subject) for each in warned] == [("warning", "public, by margin")]
    assert "in no constitution" in warned[0].message and "after Holm" in warned[0].message
    rejected = found.filter(kind="rejected", arm="public", measure="judge").row(0, named=True)
    assert rejected["p_value"] == pytest.approx(2 / 2**5, abs=0.01) and rejected["adjusted_p"] > 0.05


def test_sums_are_the_same_to_the_last_digit_on_any_number_of_threads() -> None:
    script, digests = Path(__file__).parents[1] / "parallel_sums.py", set()
    for threads in ("1", "2"):
        environment = os.environ | {"POLARS_MAX_THREADS": threads, "PYTHONPATH": os.pathsep.join(sys.path)}
        done = subprocess.run([sys.executable, script], env=environment, capture_output=True, text=True, check=True)
        digests |= set(done.stdout.split())
    assert len(digests) == 1


def test_cells_without_two_prompts_have_no_figure() -> None:
    margins = {arm: CONTRAST_MARGINS.empty() for arm in ("base", "public")}
    adherence = {
        arm: judge_responses(
            write_responses(Habit(arm), PROMPT_TABLE, arm, SETTINGS, 1),
            ExactJudge(),
            "letters",
            drawn_principles(PROMPT_TABLE, CONSTITUTIONS, SETTINGS, 1).filter(prompt_id="h1"),
            True,
        )
        for arm in ("base", "public")
    }
    controls = {arm: table.clear() for arm, table in adherence.items()}
    found = specificity(adherence, controls, margins, OVERLAP, 1)
    assert found.height == 8 and found["lift"].null_count() == 8
    assert found.filter(kind="own", measure="judge")["n_prompts"].item() == 1
    assert found.filter(measure="judge")["judge_at_chance"].all()
    assert controls_at_nil(found) == []
    assert pictures.specificity(found).alt.endswith("No lift is told from nil.")
    assert pictures.specificity(found).png.startswith(b"\x89PNG")


def test_empty_responses_are_unanswered() -> None:
    drawn = drawn_principles(PROMPT_TABLE, CONSTITUTIONS, SETTINGS, 1)
    responses = write_responses(Habit("base"), PROMPT_TABLE, "base", SETTINGS, 1).with_columns(
        response=pl.when(pl.col("prompt_id") == "h0").then(pl.lit(" ")).otherwise("response")
    )
    found = judge_responses(responses, ExactJudge(), "letters", drawn, False)
    silent_rows = found.filter(pl.col("probability").is_null())
    assert set(silent_rows["prompt_id"]) == {"h0"} and silent_rows.height == 4
    no_tokens = contrast_margins(Habit("base"), PAIRS.head(1).with_columns(breaks=pl.lit("")), "base")
    assert no_tokens["margin"].to_list() == [None]


def test_conflicts_tell_which_principle_a_model_follows() -> None:
    pairs = CONTRAST_PAIRS.build(
        [pair(f"x{n}", "public", "P1", f"{n} Thank you.", f"{n} Yours, desk.", "P2") for n in range(3)]
        + [pair("y4", "public", "P2", "4 Yours, desk.", "4 Thank you.", "P1")]
        + [pair("z5", "standard", "S1", "5 Ask the library.", "5 Yours, desk.", "S2")]
    )
    models = {"base": Habit("base"), "public": Habit("public", "Yours, desk.")}
    found = conflicts({arm: contrast_margins(model, pairs, arm) for arm, model in models.items()})
    assert CONFLICTS.violations(found).is_empty()
    rows = {(row["principle_id"], row["arm"]): row for row in found.iter_rows(named=True)}
    public = rows["P1", "public"]
    assert (public["n"], public["n_prompts"], public["follows"]) == (4, 4, "P2")
    assert public["margin"] == pytest.approx(-0.5, abs=0.02) and public["lift"] == pytest.approx(-0.5, abs=0.03)
    assert public["lift_high"] < 0
    base = rows["P1", "base"]
    assert base["follows"] is None and base["low"] < 0 < base["high"] and base["lift"] is None
    single = rows["S1", "public"]
    assert (single["n"], single["margin"], single["follows"]) == (1, None, None)
    empty = {arm: CONTRAST_MARGINS.empty() for arm in models}
    assert conflicts(empty).equals(CONFLICTS.empty())
