"""The one exception that ends a command with a sentence instead of a traceback."""

from __future__ import annotations


class ConsultationError(Exception):
    """Something a person can mend: a file, a row, a setting or a missing decision.

    The message names the file, the row or id, and what to do about it. Raised before anything is
    overwritten; the command line prints it without a traceback.
    """
