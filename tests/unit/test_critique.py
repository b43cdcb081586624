from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import polars as pl
import pytest

from ccai_dagster.contracts import CONSTITUTION, PROMPTS, REVISIONS
from ccai_dagster.digest import value_digest
from ccai_dagster.errors import ConsultationError
from ccai_dagster.feedback.critique import critique_request, revision_request, write_revisions
from ccai_dagster.feedback.draws import draw_principle, uniform
from ccai_dagster.feedback.language_model import Conversation
from ccai_dagster.progress import Progress, silent
from ccai_dagster.settings import RevisionSettings


class EchoModel:
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
    ) -> list[str]:
        self.asked += [list(conversation) for conversation in conversations]
        progress("responses written", len(conversations), len(conversations))
        return [value_digest([list(c), seed, at])[:8] for at, c in enumerate(conversations)]

    def choice_log_probabilities(
        self, conversations: Sequence[Conversation], choices: Sequence[str], *, prefix: str = ""
    ) -> np.ndarray:
        raise NotImplementedError

    def log_likelihoods(self, conversations: Sequence[Conversation], responses: Sequence[str]) -> np.ndarray:
        raise NotImplementedError


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


SETTINGS = RevisionSettings(prompts=3, steps=2, new_tokens=5)
RULES = constitution("Be {kind}.", "Be fair.", "Be brief.", "Be honest.")


def test_a_revision_is_asked_under_its_own_principle_and_becomes_the_next_response() -> None:
    model, told = EchoModel(), []
    table = write_revisions(
        model, prompts("revision", 5), RULES, SETTINGS, 11, lambda *progress: told.append(progress)
    )
    assert REVISIONS.violations(table).is_empty()
    assert table.height == 6
    assert told[-1] == ("responses written", 15, 15)
    texts = dict(RULES.select("principle_id", "text").iter_rows())
    for row in table.iter_rows(named=True):
        rule = texts[row["principle_id"]]
        asked = [
            ("user", row["prompt"]),
            ("assistant", row["response"]),
            ("user", critique_request(rule)),
        ]
        assert asked in model.asked
        assert [*asked, ("assistant", row["critique"]), ("user", revision_request(rule))] in model.asked
        assert (
            row["principle_id"]
            == draw_principle(RULES, 11, "revision", row["prompt_id"], row["step"])["principle_id"]
        )
    by_step = table.sort("prompt_id", "step")
    assert by_step.filter(step=1)["revision"].to_list() == by_step.filter(step=2)["response"].to_list()


def test_arms_share_prompts_initial_responses_and_draws() -> None:
    ours = write_revisions(EchoModel(), prompts("revision", 5), RULES, SETTINGS, 11)
    theirs = write_revisions(
        EchoModel(), prompts("revision", 5), RULES.with_columns(pl.col("text") + " Always."), SETTINGS, 11
    )
    shared = ["prompt_id", "step", "prompt", "principle_id"]
    assert ours.select(shared).equals(theirs.select(shared))
    assert ours.filter(step=1)["response"].equals(theirs.filter(step=1)["response"])
    assert not ours["revision"].equals(theirs["revision"])


def test_row_order_does_not_matter() -> None:
    expected = write_revisions(EchoModel(), prompts("revision", 5), RULES, SETTINGS, 11)
    turned = write_revisions(EchoModel(), prompts("revision", 5).reverse(), RULES.reverse(), SETTINGS, 11)
    assert expected.equals(turned)


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
