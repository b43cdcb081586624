"""What every language model can be asked for, wherever it runs.

The backends (in process with transformers, or a server) are resources; methods only know this protocol.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np

from ccai_dagster.progress import Progress, silent

Turn = tuple[str, str]
"""A role (`system`, `user`, `assistant`) and what it says."""
Conversation = Sequence[Turn]


class LanguageModel(Protocol):
    """A model that continues conversations and says how likely a continuation is."""

    @property
    def name(self) -> str:
        """Digest of a local model, or address and name of a served one."""

    def generate(
        self,
        conversations: Sequence[Conversation],
        *,
        new_tokens: int,
        temperature: float,
        seed: int,
        progress: Progress = silent,
    ) -> list[str]:
        """Return one assistant turn a conversation, in order, without surrounding white space.

        Args:
            conversations: Each ends with a user turn.
            new_tokens: Longest response, in tokens.
            temperature: Of the sampling; 0 decodes greedily.
            seed: Same seed, model, batch and machine give the same responses.
            progress: Told how many responses are finished.
        """

    def choice_log_probabilities(
        self, conversations: Sequence[Conversation], choices: Sequence[str], *, prefix: str = ""
    ) -> np.ndarray:
        """Return natural-log probabilities of each choice as the next text, shape (conversations, choices).

        Args:
            conversations: Each ends with a user turn.
            choices: Short texts, usually one letter.
            prefix: What the assistant's turn already says, for instance `The answer is (`.
        """

    def log_likelihoods(self, conversations: Sequence[Conversation], responses: Sequence[str]) -> np.ndarray:
        """Return for each response its summed log-likelihood and its tokens, shape (conversations, 2)."""


class ScoringModel(Protocol):
    """A model tuned to score a response to a prompt: the higher, the better."""

    @property
    def name(self) -> str:
        """Digest of the model."""

    def scores(self, exchanges: Sequence[tuple[str, str]]) -> np.ndarray:
        """Return the score of each prompt with its response, in order, shape (exchanges,)."""
