"""What a language model has answered is not asked again after an interruption."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ccai_dagster.feedback.language_model import Response
from ccai_dagster.stages import server_model
from ccai_dagster.stages.server_model import KeptAnswers


class Counting:
    """Answers what it can be recognised by, and fails when it was asked often enough."""

    def __init__(self, name: str = "counting", until: int = 100) -> None:
        self.name = name
        self.asked: list[int] = []
        self._until = until

    def _ask(self, conversations: Sequence[Any]) -> None:
        if len(self.asked) == self._until:
            raise KeyboardInterrupt
        self.asked.append(len(conversations))

    def generate(
        self,
        conversations: Sequence[Any],
        *,
        new_tokens: int,
        temperature: float,
        seed: int,
        progress: Any,
        **options: Any,
    ) -> list[Response]:
        self._ask(conversations)
        progress("responses written", len(conversations), len(conversations))
        return [Response(f"{turns[-1][1]} {seed}", seed == 7) for turns in conversations]

    def choice_log_probabilities(
        self, conversations: Sequence[Any], choices: Sequence[str], **options: Any
    ) -> np.ndarray:
        self._ask(conversations)
        return np.array([[-1 / 3, -np.inf] for _ in conversations])

    def log_likelihoods(self, conversations: Sequence[Any], responses: Sequence[str]) -> np.ndarray:
        self._ask(conversations)
        return np.array([[-np.pi * len(response), len(response)] for response in responses])


CONVERSATIONS = [[("user", f"question {at}")] for at in range(5)]


@pytest.fixture(autouse=True)
def small_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server_model, "CONVERSATIONS_A_PART", 2)


def generate(
    model: Counting, file: Path, reports: list[tuple[int, int]] | None = None, **changed: Any
) -> list[Response]:
    options: dict[str, Any] = {"new_tokens": 4, "temperature": 1.0, "seed": 7} | changed
    seen = [] if reports is None else reports
    return KeptAnswers(model, file).generate(
        CONVERSATIONS, progress=lambda _, done, total: seen.append((done, total)), **options
    )


def test_finished_parts_are_kept_and_the_rest_is_the_same(tmp_path: Path) -> None:
    expected = generate(Counting(), tmp_path / "whole")
    assert [text.split()[1] for text, _ in expected] == ["0", "1", "2", "3", "4"]
    seeds = [text.split()[2] for text, _ in expected]
    assert seeds[0] == "7" and len(set(seeds)) == 3 and seeds[2] == seeds[3]
    with pytest.raises(KeyboardInterrupt):
        generate(Counting(until=2), tmp_path / "kept")
    rest, reports = Counting(), []
    assert generate(rest, tmp_path / "kept", reports) == expected
    assert rest.asked == [1] and reports[-1] == (5, 5)
    silent = Counting()
    assert generate(silent, tmp_path / "kept") == expected and silent.asked == []


def test_another_question_is_asked(tmp_path: Path) -> None:
    generate(Counting(), tmp_path / "kept")
    for changed in ({"seed": 8}, {"new_tokens": 5}, {"temperature": 0.5}):
        model = Counting()
        generate(model, tmp_path / "kept", **changed)
        assert model.asked == [2, 2, 1]
    other = Counting("another model")
    generate(other, tmp_path / "kept")
    assert other.asked == [2, 2, 1]


def test_a_line_that_was_cut_off_is_asked_again_and_spoils_no_other(tmp_path: Path) -> None:
    expected = generate(Counting(), tmp_path / "kept")
    text = (tmp_path / "kept").read_text()
    (tmp_path / "kept").write_text(text[:-5])
    model = Counting()
    assert generate(model, tmp_path / "kept") == expected and model.asked == [1]
    after = Counting()
    assert generate(after, tmp_path / "kept") == expected and after.asked == []


def test_figures_are_kept_to_the_last_bit(tmp_path: Path) -> None:
    for _ in range(2):
        model = KeptAnswers(Counting(until=6), tmp_path / "kept")
        choices = model.choice_log_probabilities(CONVERSATIONS, ("A", "B"), prefix="(")
        assert choices.tolist() == [[-1 / 3, -np.inf]] * 5
        scores = model.log_likelihoods(CONVERSATIONS, ["a", "bb", "", "dddd", "e"])
        assert scores.tolist() == [[-np.pi * size, size] for size in (1, 2, 0, 4, 1)]
    assert model.choice_log_probabilities([], ("A", "B")).shape == (0, 2)
