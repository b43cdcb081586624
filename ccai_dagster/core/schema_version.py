"""The form of what is kept: tables, ledgers and manifests, in one number.

Raise it when older programs would misread what is written. What an older one wrote is read as it is:

- 0, of what states no version, differs from 1 in nothing but that;
- 1 has no `metadata` in moderation, and no rows of `ccai take-over`, which would count as a person's.
"""

from __future__ import annotations

from ccai_dagster.core.errors import ConsultationError

SCHEMA_VERSION = 2


class NewerSchema(ConsultationError):
    """Written by a later version of this program, in a form that this one does not know."""


def check_schema_version(place: object, found: object) -> None:
    """Refuse a form that this program does not know.

    Args:
        place: The file, for the message.
        found: The version it states; None if it states none.

    Raises:
        NewerSchema: It is higher than `SCHEMA_VERSION`.
        ConsultationError: It is no whole number.
    """
    text = str(0 if found is None else found)
    if not text.isdecimal():
        raise ConsultationError(f"{place}: `schema_version` is {text!r}; it must be a whole number.")
    if int(text) > SCHEMA_VERSION:
        raise NewerSchema(
            f"{place}: written in form {text} by a later version of ccai_dagster; this one knows forms up to "
            f"{SCHEMA_VERSION}. Install the later version; nothing was changed."
        )
