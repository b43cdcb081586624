"""What a computation reports to its caller: why it cannot go on, and how far it is.

`ConsultationError` ends a command with a sentence instead of a traceback. `Progress` is a callback, so that a long
computation need not know who listens.
"""

from __future__ import annotations

from typing import Protocol


class ConsultationError(Exception):
    """Something a person can mend: a file, a row, a setting or a missing decision.

    The message names the file, the row or id, and what to do about it. Raised before anything is
    overwritten; the command line prints it without a traceback.
    """


class ConversationTooLong(ConsultationError):
    """A conversation and its response do not fit into the model's context.

    Attributes:
        conversation: The one that does not fit, as it was handed over.
    """

    def __init__(self, message: str, conversation: object) -> None:
        super().__init__(message)
        self.conversation = conversation


class Progress(Protocol):
    """Called now and then by anything that takes more than a few seconds."""

    def __call__(self, message: str, done: int, total: int) -> None:
        """Report that `done` of `total` units of `message` are finished."""


def silent(message: str, done: int, total: int) -> None:
    """Ignore progress."""
