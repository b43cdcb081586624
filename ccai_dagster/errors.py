"""The one exception that ends a command with a sentence instead of a traceback."""

from __future__ import annotations


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
