"""What every language model can be asked for, wherever it runs.

The backends (in process with transformers, or a server) are resources; methods only know this protocol.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

import numpy as np

from ccai_dagster.progress import Progress, silent

Turn = tuple[str, str]
"""A role (`system`, `user`, `assistant`) and what it says."""
Conversation = Sequence[Turn]
"""Turns. One that ends with the assistant's is continued where it breaks off; that turn alone is plain text."""


class LanguageModel(Protocol):
    """A model that continues conversations and says how likely a continuation is."""

    @property
    def name(self) -> str:
        """Digest of a local model, or address and name of a served one."""

    @property
    def provenance(self) -> Mapping[str, str]:
        """How the model is run, for the record: what its name does not say."""

    def prompt_text(
        self, conversation: Conversation, new_tokens: int = 1, choices: Sequence[str] = ()
    ) -> str:
        """Return what the model reads, as far as it is known here.

        Raises:
            ConversationTooLong: It and a response of so many tokens do not fit into the model's context.
            ConsultationError: The choices are not one token each, or not different ones.
        """

    def generate(
        self,
        conversations: Sequence[Conversation],
        *,
        new_tokens: int,
        temperature: float,
        seed: int,
        stops: Sequence[str] = (),
        strip: bool = True,
        progress: Progress = silent,
    ) -> list[str]:
        """Return one assistant turn, or the rest of one, a conversation, in order.

        Args:
            conversations: What is answered or continued.
            new_tokens: Longest response, in tokens.
            temperature: Of the sampling; 0 decodes greedily.
            seed: Same seed, model, batch and machine give the same responses.
            stops: Texts that end a response, beside the end of the turn; they are not part of it.
            strip: Whether to leave out surrounding white space.
            progress: Told how many responses are finished.
        """

    def choice_log_probabilities(
        self,
        conversations: Sequence[Conversation],
        choices: Sequence[str],
        *,
        prefix: str = "",
        likeliest: bool = False,
        progress: Progress = silent,
    ) -> np.ndarray:
        """Return natural-log probabilities of each choice as the next text, shape (conversations, choices).

        Args:
            conversations: What is answered or continued.
            choices: Short texts, usually one letter.
            prefix: What the assistant's turn already says in all of them, for instance `The answer is (`.
            likeliest: Whether to add a column: the log-probability of the likeliest next token, a choice or not. The
                choices are one token each then.
            progress: Told how many conversations are finished.
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
