"""A language model that says nothing; tests derive from it what they ask."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ccai_dagster.core.errors import Progress, silent
from ccai_dagster.feedback.language_model import Conversation, Response


class MuteModel:
    """Fails when it is asked anything."""

    name = "mute"

    def generate(
        self,
        conversations: Sequence[Conversation],
        *,
        new_tokens: int,
        temperature: float,
        seed: int,
        progress: Progress = silent,
    ) -> list[Response]:
        raise AssertionError("asked for a response")

    def choice_log_probabilities(
        self, conversations: Sequence[Conversation], choices: Sequence[str], *, prefix: str = ""
    ) -> np.ndarray:
        raise AssertionError("asked to choose")

    def log_likelihoods(self, conversations: Sequence[Conversation], responses: Sequence[str]) -> np.ndarray:
        raise AssertionError("asked how likely a response is")
