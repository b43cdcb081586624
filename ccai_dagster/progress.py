"""How a long computation tells its caller how far it is: a callback, without knowing who listens."""

from __future__ import annotations

from typing import Protocol


class Progress(Protocol):
    """Called now and then by anything that takes more than a few seconds."""

    def __call__(self, message: str, done: int, total: int) -> None:
        """Report that `done` of `total` units of `message` are finished."""


def silent(message: str, done: int, total: int) -> None:
    """Ignore progress."""
