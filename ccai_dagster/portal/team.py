"""What the team brings: accounts, by command, and the statements that the organisers wrote."""

from __future__ import annotations

import secrets
from collections.abc import Mapping, Sequence

from ccai_dagster.consultation.folder import Consultation
from ccai_dagster.core.errors import ConsultationError
from ccai_dagster.core.files import csv_rows
from ccai_dagster.core.text import FORMULA, printable
from ccai_dagster.evaluation.ratings import check_rater
from ccai_dagster.portal.models import LONGEST_NAME, Account, Statement
from ccai_dagster.portal.participation import Refusal, cleaned, text_key

DUTIES: Mapping[str, tuple[str, ...]] = {
    "moderate": ("moderation", "exclusion"),
    "edit": ("merge", "idea", "wording", "threshold", "training"),
    "sign": ("signoff",),
}
"""What an account may do at the desk, each with the ledgers that it writes to."""


def keep_account(name: str, role: str, rates: bool = False, duties: Sequence[str] = ("moderate",)) -> str:
    """Make an account, or give an existing one this role and a new password, which is returned and kept nowhere.

    Args:
        rates: Whether it is a rater's, whose role is the name of the file with the ratings.
        duties: What it may do at the desk, of `DUTIES`; nothing of it for a rater.

    Raises:
        ConsultationError: The name or the role is empty, too long or unsafe in a ledger, the role is none for a rater,
            or there is no such duty.
    """
    if unknown := [each for each in duties if each not in DUTIES]:
        raise ConsultationError(f"--may {unknown[0]}: there is no such duty; there are {', '.join(DUTIES)}.")
    for what, given in (("name", name.strip()), ("role", role.strip())):
        if not given:
            raise ConsultationError("An account needs a name and a role.")
        if len(given) > LONGEST_NAME or printable(given) != given:
            raise ConsultationError(
                f"{printable(given, LONGEST_NAME)!r} can be no {what}: at most {LONGEST_NAME} characters, all of "
                "which can be seen."
            )
    if FORMULA.match(role):
        raise ConsultationError(f"--role {role!r}: ledgers are opened in spreadsheets; begin with a letter.")
    if rates:
        check_rater(role.strip(), "--role")
    password = secrets.token_urlsafe(15)
    account = Account.objects.filter(name=name.strip()).first() or Account(name=name.strip())
    account.role, account.rates = role.strip(), rates
    account.duties = "" if rates else " ".join(dict.fromkeys(duties))
    account.set_password(password)
    account.save()
    return password


def remove_account(name: str) -> None:
    """Remove an account; what it decided stays on record.

    Raises:
        ConsultationError: There is none of this name.
    """
    if not Account.objects.filter(name=name.strip()).delete()[0]:
        names = ", ".join(Account.objects.order_by("name").values_list("name", flat=True)) or "none"
        raise ConsultationError(f"There is no account {name!r}; there are: {names}.")


def add_seed_statements(consultation: Consultation) -> int:
    """Add the organisers' statements that are not there yet, and return how many.

    Raises:
        ConsultationError: The file cannot be read, or a statement is empty or too long; names the row.
    """
    if consultation.file.portal.seed_statements is None:
        return 0
    path, added = consultation.path(consultation.file.portal.seed_statements), 0
    for line, cells in csv_rows(path, ("text",)):
        try:
            text = cleaned(cells["text"])
        except Refusal as refusal:
            raise ConsultationError(f"{path}, row {line}: {refusal}") from None
        added += Statement.objects.get_or_create(key=text_key(text), defaults={"text": text, "is_seed": True})[1]
    return added
