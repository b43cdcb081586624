from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from mute_model import MuteModel

from ccai_dagster.consultation.settings import RevisionSettings
from ccai_dagster.contracts import CONSTITUTION, PROMPTS, REVISIONS
from ccai_dagster.core.digest import value_digest
from ccai_dagster.core.draws import draw_principle, uniform
from ccai_dagster.core.errors import ConsultationError, ConversationTooLong, Progress, silent
from ccai_dagster.feedback.critique import (
    FEW_SHOTS,
    PLACEHOLDER,
    REQUESTS,
    TEMPLATE_VERSION,
    critique_request,
    draw_requests,
    few_shot_turns,
    revision_counts,
    revision_request,
    write_revisions,
)
from ccai_dagster.feedback.language_model import Conversation, Response
from ccai_dagster.stages.server_model import KeptAnswers
from ccai_dagster.stages.transformers_model import TransformersModel


class EchoModel(MuteModel):
    """Says what it was asked, as a digest, and remembers the conversations."""

    name = "echo"

    def __init__(self) -> None:
        self.asked: list[list[tuple[str, str]]] = []

    def generate(
        self,
        conversations: Sequence[Conversation],
        *,
        new_tokens: int,
        temperature: float,
        seed: int,
        progress: Progress = silent,
    ) -> list[Response]:
        self.asked += [list(conversation) for conversation in conversations]
        progress("responses written", len(conversations), len(conversations))
        return [Response(value_digest([list(c), seed, at])[:8], at % 2 == 0) for at, c in enumerate(conversations)]


def constitution(*texts: str) -> pl.DataFrame:
    return CONSTITUTION.build(
        [
            {
                "principle_id": f"P{number}",
                "arm": "public",
                "text": text,
                "statement_ids": [],
                "merged_text": None,
                "gac": None,
                "side": None,
                "decision_ids": [],
            }
            for number, text in enumerate(texts)
        ]
    )


def prompts(purpose: str, count: int) -> pl.DataFrame:
    return PROMPTS.build(
        [
            {
                "prompt_id": f"q{number:02}",
                "text": f"Question {number} with {{braces}}?",
                "purpose": purpose,
                "themes": [],
                "relevant_principles": [],
            }
            for number in range(count)
        ]
    )


SETTINGS = RevisionSettings(prompts=3, steps=2, few_shots=3, new_tokens=5)
RULES = constitution("Be {kind}.", "Be fair.", "Be brief.", "Be honest.")


def test_a_revision_is_asked_under_its_own_principle_and_becomes_the_next_response() -> None:
    model, reports = EchoModel(), []
    table = write_revisions(
        model, prompts("revision", 5), RULES, SETTINGS, 11, lambda *progress: reports.append(progress)
    )
    assert REVISIONS.violations(table).is_empty()
    assert table.height == 6
    assert reports[-1] == ("responses written", 15, 15)
    texts = dict(RULES.select("principle_id", "text").iter_rows())
    for row in table.iter_rows(named=True):
        rule, number = texts[row["principle_id"]], draw_requests(11, row["prompt_id"], row["step"])
        assert (row["request_number"], row["template_version"]) == (number, TEMPLATE_VERSION)
        asked = [
            *few_shot_turns(3),
            ("user", row["prompt"]),
            ("assistant", row["response"]),
            ("user", critique_request(number, rule)),
        ]
        assert asked in model.asked
        revised = [*asked, ("assistant", row["critique"]), ("user", revision_request(number, rule))]
        assert revised in model.asked
        assert (
            row["principle_id"] == draw_principle(RULES, 11, "revision", row["prompt_id"], row["step"])["principle_id"]
        )
    by_step = table.sort("prompt_id", "step")
    assert by_step.filter(step=1)["revision"].to_list() == by_step.filter(step=2)["response"].to_list()
    carried = by_step.filter(step=1)["revision_finished"].to_list()
    assert carried == by_step.filter(step=2)["response_finished"].to_list() and set(carried) == {True, False}


def test_arms_share_prompts_initial_responses_and_draws() -> None:
    ours = write_revisions(EchoModel(), prompts("revision", 5), RULES, SETTINGS, 11)
    theirs = write_revisions(
        EchoModel(), prompts("revision", 5), RULES.with_columns(pl.col("text") + " Always."), SETTINGS, 11
    )
    shared = ["prompt_id", "step", "prompt", "principle_id", "request_number"]
    assert ours.select(shared).equals(theirs.select(shared))
    assert ours.filter(step=1)["response"].equals(theirs.filter(step=1)["response"])
    assert not ours["revision"].equals(theirs["revision"])


def test_row_order_does_not_matter() -> None:
    expected = write_revisions(EchoModel(), prompts("revision", 5), RULES, SETTINGS, 11)
    turned = write_revisions(EchoModel(), prompts("revision", 5).reverse(), RULES.reverse(), SETTINGS, 11)
    assert expected.equals(turned)


def test_requests_are_drawn_evenly_and_independently_at_each_step() -> None:
    drawn = {step: [draw_requests(5, f"q{at}", step) for at in range(1200)] for step in (1, 2)}
    for numbers in drawn.values():
        assert set(numbers) == set(range(len(REQUESTS)))
        assert max(abs(numbers.count(number) - 200) for number in set(numbers)) < 45  # over 3 deviations
    alike = sum(one == other for one, other in zip(drawn[1], drawn[2], strict=True))
    assert abs(alike - 200) < 45


def test_requests_take_the_principle_as_it_is_and_examples_are_whole() -> None:
    assert all(PLACEHOLDER in each.critique and PLACEHOLDER in each.revision for each in REQUESTS)
    assert len({each.critique for each in REQUESTS}) == len({each.revision for each in REQUESTS}) == 6
    rule = "Be {kind} and {principle}, {0}."
    for number in range(len(REQUESTS)):
        assert critique_request(number, rule).count(rule) == revision_request(number, rule).count(rule) == 1
    turns = few_shot_turns(5)
    assert [role for role, _ in turns] == ["user", "assistant"] * 15
    assert not any(PLACEHOLDER in text for _, text in turns)
    assert few_shot_turns(2) == turns[:12] and few_shot_turns(0) == []
    assert {each.number for each in FEW_SHOTS} == {0, 1, 2, 3, 4}


def test_an_empty_revision_is_counted_and_the_next_step_takes_up_what_was_before_it() -> None:
    class Silent(EchoModel):
        def generate(self, conversations: Sequence[Conversation], **options: object) -> list[Response]:
            revising = len(conversations[0]) == 5
            return [Response("" if revising else f"Said {at}", at == 0) for at, _ in enumerate(conversations)]

    settings = SETTINGS.model_copy(update={"few_shots": 0})
    table = write_revisions(Silent(), prompts("revision", 3), RULES, settings, 1)
    assert REVISIONS.violations(table).is_empty()
    assert table["response"].to_list() == ["Said 0", "Said 0", "Said 1", "Said 1", "Said 2", "Said 2"]
    assert revision_counts(table) == {"revised": 0, "unchanged": 0, "empty": 6, "without a critique": 0}
    mixed = table.with_columns(revision=pl.Series(["Said 0", "New", "", "New", "Said 2", "New"]), critique=pl.lit(""))
    assert revision_counts(mixed) == {"revised": 3, "unchanged": 2, "empty": 1, "without a critique": 6}


def test_a_conversation_beyond_the_context_names_its_prompt() -> None:
    class Short(EchoModel):
        def generate(self, conversations: Sequence[Conversation], **options: object) -> list[Response]:
            if len(conversations[0]) > 1:
                raise ConversationTooLong("300 tokens, more than the 256", list(conversations[1]))
            return [Response(f"Said {at}", True) for at, _ in enumerate(conversations)]

    with pytest.raises(ConsultationError, match=r"prompt q01 .* 3 examples .*: 300 tokens, more than the 256"):
        write_revisions(Short(), prompts("revision", 3), RULES, SETTINGS, 1)


@pytest.mark.torch
def test_a_real_model_sees_the_examples_and_names_the_prompt_that_is_too_long(tiny_model: Path, tmp_path: Path) -> None:
    settings = SETTINGS.model_copy(update={"few_shots": 1, "steps": 1})
    model = KeptAnswers(TransformersModel(tiny_model, "float32", 4, 1200), tmp_path / "answers.jsonl")
    few = prompts("revision", 3)
    table = write_revisions(model, few, RULES, settings, 1)
    assert REVISIONS.violations(table).is_empty() and table.height == 3
    other = write_revisions(model, few, RULES, settings.model_copy(update={"few_shots": 0}), 1)
    assert table["response"].equals(other["response"]) and not table["critique"].equals(other["critique"])
    long = few.with_columns(pl.when(prompt_id="q02").then(pl.lit("Tell me. " * 200)).otherwise("text").alias("text"))
    with pytest.raises(ConsultationError, match=r"prompts\.csv: prompt q02 .* more than the 1200 of model"):
        write_revisions(model, long, RULES, settings, 1)


def test_one_principle_is_enough_and_the_same_one_twice_is_not() -> None:
    table = write_revisions(EchoModel(), prompts("revision", 2), constitution("Be fair."), SETTINGS, 1)
    assert table["principle_id"].unique().to_list() == ["P0"]
    repeated = constitution("Be fair.", "Be kind.", "be  FAIR.")
    with pytest.raises(ConsultationError, match="arm 'public': principles P0 and P2 have the same text"):
        write_revisions(EchoModel(), prompts("revision", 2), repeated, SETTINGS, 1)


def test_nothing_to_revise_is_an_error() -> None:
    with pytest.raises(ConsultationError, match="no principles"):
        write_revisions(EchoModel(), prompts("revision", 2), RULES.clear(), SETTINGS, 1)
    with pytest.raises(ConsultationError, match="'revision'"):
        write_revisions(EchoModel(), prompts("policy", 2), RULES, SETTINGS, 1)


def test_draws_are_uniform_and_depend_on_every_part() -> None:
    values = [uniform(3, "x", number) for number in range(4000)]
    assert all(0 <= value < 1 for value in values)
    shares = np.histogram(values, bins=4, range=(0, 1))[0] / 4000
    assert np.abs(shares - 0.25).max() < 0.03
    assert len({uniform(3, "a", "b"), uniform(3, "ab"), uniform(4, "a", "b"), uniform(3, "a", "b", 1)}) == 4
