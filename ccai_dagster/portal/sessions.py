"""What a browser's session holds: who takes part, and who of the team is signed in. Neither ends with the other.

A moderator may take part as well, and a participant's code is in the browser alone: signing in or out at the desk must
not lose it, and leaving the public's pages must not sign anybody out.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from django.http import HttpRequest

from ccai_dagster.portal.models import Participant

PARTICIPANT, CODE = "participant", "code"
"""The keys of a participant's part, Django's own being those of the account."""


def begin(request: HttpRequest, participant: Participant, code: str) -> None:
    """Let this browser take part as somebody."""
    request.session.cycle_key()
    request.session[PARTICIPANT], request.session[CODE] = participant.pk, code


def forget(request: HttpRequest) -> None:
    """Forget in this browser who takes part."""
    for key in (PARTICIPANT, CODE):
        request.session.pop(key, None)
    if not request.session.keys():
        request.session.flush()


@contextmanager
def part_kept(request: HttpRequest) -> Iterator[None]:
    """Keep who takes part where Django empties the session: as somebody signs in or out, or has a new password."""
    part = {key: request.session[key] for key in (PARTICIPANT, CODE) if key in request.session}
    yield
    if part.keys() - request.session.keys():
        request.session.update(part)
