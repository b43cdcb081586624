"""What a participant can do: come back, vote, add a statement, take everything back.

Who may take part is for `joining`, pages are for `participant_views`; which statements are shown, and the next one, for
`figures`.
"""

from __future__ import annotations

import secrets
import unicodedata
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from hashlib import sha256

from django.db import IntegrityError, connection, transaction
from django.utils.translation import gettext as _

from ccai_dagster.portal.databases import Together, one_at_a_time, wipe_deleted
from ccai_dagster.portal.figures import Figures
from ccai_dagster.portal.models import Participant, Statement, now

CODE_LETTERS = "23456789abcdefghjkmnpqrstuvwxyz"
"""Without 0, o, 1, i and l, which people mistake for each other."""
CODE_LENGTH = 16
SECONDS_FOR_THE_SAME_FORM = 60
"""For how long the same form lets in the same person, and not one more."""
LONGEST_STATEMENT = 280
STATEMENTS_AN_HOUR = 10
"""Of one participant, so that a script does not fill the moderators' queue."""
# What happens at every vote, in words that both databases know: put together by Django each time, they would take
# longer than the database takes for them.
PARTICIPANT = "SELECT id FROM portal_participant WHERE id = %s"
VOTES = "SELECT statement_id, value FROM portal_vote WHERE participant_id = %s ORDER BY voted_at DESC, id DESC"
KEEP_VOTE = (
    "INSERT INTO portal_vote (participant_id, statement_id, value, voted_at, minimum_decision) "
    "VALUES (%s, %s, %s, %s, %s) "
    "ON CONFLICT (participant_id, statement_id) DO UPDATE "
    "SET value = EXCLUDED.value, voted_at = EXCLUDED.voted_at, minimum_decision = EXCLUDED.minimum_decision"
)
_HIDDEN = {"Cc", "Cf", "Co", "Cs", "Cn", "Zl", "Zp"}
_JOINERS = {"\u200c", "\u200d"}
"""Needed to write Persian and several Indian scripts, and some emoji."""


class Refusal(Exception):
    """What a participant asked for cannot be done; the message says why, for people to read."""


class AlreadyThere(Refusal):
    """The same statement exists."""

    def __init__(self, statement_id: int) -> None:
        super().__init__(_("This statement is there already."))
        self.statement_id = statement_id


@dataclass(frozen=True)
class Progress:
    """How far somebody is.

    Attributes:
        votes: Cast so far.
        wanted: After which a statement may be added; all statements where there are fewer.
        left: Statements that are shown and not voted on yet.
    """

    votes: int
    wanted: int
    left: int

    @property
    def may_add(self) -> bool:
        """Whether the minimum is reached, or nothing is left to vote on."""
        return self.votes >= self.wanted or not self.left


def new_code() -> str:
    """Return a code that nobody has."""
    return "".join(secrets.choice(CODE_LETTERS) for _ in range(CODE_LENGTH))


def new_participant(code: str) -> tuple[Participant, str]:
    """Let somebody take part; return them and their code, which is kept nowhere.

    Args:
        code: That of the form; another is made for one that is no code or somebody's.
    """
    ours = len(code) == CODE_LENGTH and set(code) <= set(CODE_LETTERS)
    if not ours or Participant.objects.filter(code_digest=_digest(code)).exists():
        code = new_code()
    return Participant.objects.create(code_digest=_digest(code)), code


def just_joined(code: str) -> Participant | None:
    """Return whom a form with this code let in a moment ago, if it was sent before."""
    since = now() - SECONDS_FOR_THE_SAME_FORM
    found: Participant | None = Participant.objects.filter(code_digest=_digest(code), joined_at__gte=since).first()
    return found


def shown_code(code: str) -> str:
    """Return a code in groups of four."""
    return "-".join(code[place : place + 4] for place in range(0, len(code), 4))


def come_back(typed: str) -> tuple[Participant, str] | None:
    """Return whose code this is, and the code; None if it is nobody's."""
    code = "".join(each for each in typed.lower() if each.isalnum())
    found = Participant.objects.filter(code_digest=_digest(code)).first()
    return (found, code) if found else None


def _digest(code: str) -> str:
    # Codes are random and long, so nothing slower is needed.
    return sha256(code.encode()).hexdigest()


def taking_part(number: object) -> Participant | None:
    """Return the participant of this number, if it is one."""
    with connection.cursor() as cursor:
        cursor.execute(PARTICIPANT, [number])
        found = cursor.fetchone()
    return Participant.from_db(connection.alias, ["id"], found) if found else None


def votes_of(participant: Participant) -> dict[int, int]:
    """Return the votes of a participant by statement, the latest first."""
    with connection.cursor() as cursor:
        cursor.execute(VOTES, [participant.pk])
        return dict(cursor.fetchall())


def progress(votes: Collection[int], figures: Figures) -> Progress:
    """Return how far somebody is who voted on these statements."""
    left = len(figures.texts) - sum(each in figures.texts for each in votes)
    return Progress(len(votes), min(figures.minimum, len(votes) + left), left)


def cast(participant: Participant, statement_id: int, value: int, figures: Figures) -> None:
    """Record a vote; an earlier one of the same participant on the statement is replaced.

    Raises:
        Refusal: The statement is not shown, the value is none, or the participant is gone.
    """
    if value not in (-1, 0, 1):
        raise Refusal(_("That is no answer. Choose one of the three."))
    if statement_id not in figures.texts and not participant.statements.filter(pk=statement_id).exists():
        raise Refusal(_("This statement is not asked any more. Nothing was counted."))
    _write_vote(participant, statement_id, value, figures)


def take_back(participant: Participant, statement_id: int) -> None:
    """Delete a vote, as if it had never been cast; there need be none."""
    participant.votes.filter(statement_id=statement_id).delete()


def _write_vote(participant: Participant, statement_id: int, value: int, figures: Figures) -> None:
    row = (participant.pk, statement_id, value, now(), figures.minimum_decision or "")
    try:
        votes_to_write.write(row)
    except IntegrityError:
        raise Refusal(_("Your data were deleted, so nothing was counted.")) from None


def _keep_votes(rows: Sequence[tuple[object, ...]]) -> None:
    with connection.cursor() as cursor:
        if len(rows) == 1:  # a transaction by itself
            cursor.execute(KEEP_VOTE, rows[0])
            return
        with transaction.atomic():
            cursor.executemany(KEEP_VOTE, rows)


votes_to_write = Together(_keep_votes)


def cleaned(typed: str, longest: int = LONGEST_STATEMENT) -> str:
    """Return what somebody typed on one line.

    Raises:
        Refusal: It is empty, too long, or holds characters that cannot be seen.
    """
    text = " ".join(unicodedata.normalize("NFC", typed).split())
    if not any(each.isalpha() for each in text):
        raise Refusal(_("Please write something."))
    if len(text) > longest:
        raise Refusal(
            _("This has %(length)d characters; at most %(longest)d fit. Please shorten it.")
            % {"length": len(text), "longest": longest}
        )
    if any(unicodedata.category(each) in _HIDDEN and each not in _JOINERS for each in text):
        raise Refusal(_("There are characters in it that cannot be seen. Please type it again."))
    return text


def add_statement(participant: Participant, typed: str, figures: Figures) -> Statement:
    """Keep a statement for the moderators, with its author's own agreement.

    Raises:
        Refusal: It cannot be kept, too few votes were cast, or too many statements sent.
        AlreadyThere: The same statement exists.
    """
    text = cleaned(typed)
    try:
        with one_at_a_time():
            if not progress(votes_of(participant), figures).may_add:
                raise Refusal(_("A few more votes first, please."))
            existing: Statement | None = Statement.objects.filter(key=text_key(text)).first()
            if existing and existing.author_id == participant.pk and existing.text == text:
                return existing  # the form was sent twice
            if existing:
                raise AlreadyThere(existing.pk)
            if participant.statements.filter(created_at__gt=now() - 3600).count() >= STATEMENTS_AN_HOUR:
                raise Refusal(_("Many statements at once. Please come back in an hour."))
            statement: Statement = Statement.objects.create(text=text, key=text_key(text), author=participant)
            _write_vote(participant, statement.pk, 1, figures)
    except IntegrityError:
        raise Refusal(_("Your data were deleted, so nothing was kept.")) from None
    return statement


def number_typed(typed: str) -> int | None:
    """Return the number that a form or an address names; None if it is none that a database could hold."""
    return int(typed) if typed.isascii() and typed.isdigit() and len(typed) < 10 else None


def text_key(text: str) -> str:
    """Return a text without what makes no difference to its meaning: case, width of letters, the full stop."""
    return unicodedata.normalize("NFKC", text).casefold().rstrip(" .!")


def erase(participant: Participant) -> None:
    """Delete a participant, every vote and every answer about the person; statements stay, without an author.

    Nothing of it stays in the database's files either.
    """
    with transaction.atomic():
        # A vote that is under way comes before, and is deleted too, or after, and is refused.
        Participant.objects.select_for_update().filter(pk=participant.pk).first()
        participant.delete()
    wipe_deleted()
