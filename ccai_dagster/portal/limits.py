"""How much may come from one participant and from one client, counted without keeping an address.

A client is a keyed hash of its address. The key is drawn when the process starts and again each day; with it goes
every count, so that nobody can tell afterwards who came, and nothing of it is ever on the disk. Each process of the
portal counts for itself: with several, up to as many times as much comes through.
"""

from __future__ import annotations

import hmac
import secrets
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import wraps
from hashlib import sha256
from ipaddress import ip_address, ip_network
from typing import Any

from django.conf import settings
from django.http import HttpRequest, HttpResponse
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from ccai_dagster.portal.configuration import LOCAL_HOSTS
from ccai_dagster.portal.pages import problem, written

DAY = 24 * 3600.0
TOO_MUCH = {
    60: gettext_lazy(
        "More came from here than the portal takes in a minute. What was answered before is kept. Please try again "
        "after a minute."
    ),
    900: gettext_lazy(
        "More came from here than the portal takes in a quarter of an hour. What was answered before is kept. Please "
        "try again later, after a quarter of an hour at the latest."
    ),
    3600: gettext_lazy(
        "More came from here than the portal takes in an hour. What was answered before is kept. Please try again "
        "later, after an hour at the latest."
    ),
    DAY: gettext_lazy(
        "More came from here than the portal takes in a day. What was answered before is kept. Please try again "
        "later, after a day at the latest."
    ),
}
View = Callable[..., HttpResponse]


@dataclass(frozen=True)
class Limit:
    """So many times in so many seconds, one of those in `TOO_MUCH`."""

    times: int
    seconds: float


ANSWERS_OF_ONE = Limit(60, 60)
"""Votes and the like of one participant: one a second, which nobody reads as fast."""
FEEDBACK_OF_CLIENT = Limit(20, 3600)
CODES_OF_CLIENT = Limit(60, 3600)
"""Codes that are tried."""
PASSWORDS_OF_CLIENT = Limit(20, 900)
MESSAGES_OF_RATER = Limit(60, 60)
"""What a rater says and chooses in conversations; models answer no faster."""
FORMS_OF_A_PERSON = 10
"""Forms before taking part for each person who may begin from an address: people forget a tick, scripts try on."""


@dataclass
class Counts:
    """What came lately, by what is counted and by whom.

    Attributes:
        clock: Seconds that only grow.
    """

    clock: Callable[[], float] = time.monotonic
    _key: bytes = b""
    _drawn: float = 0.0
    _times: dict[tuple[str, bytes], deque[float]] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def allows(self, what: str, who: str, limit: Limit) -> bool:
        """Whether once more is within the limit; if so it is counted.

        Args:
            what: Is counted by itself.
            who: An address, a number or a name; kept as a keyed hash until the day is over.
        """
        with self._lock:
            now = self.clock()
            if not self._key or now - self._drawn >= DAY:
                self.forget()
            own = self._times.setdefault(self._of(what, who), deque())
            while own and own[0] <= now - limit.seconds:
                own.popleft()
            if len(own) >= limit.times:
                return False
            own.append(now)
            return True

    def take_back(self, what: str, who: str) -> None:
        """Count one time less, since nothing came of it."""
        with self._lock:
            if self._key and (own := self._times.get(self._of(what, who))):
                own.pop()

    def _of(self, what: str, who: str) -> tuple[str, bytes]:
        return what, hmac.digest(self._key, who.encode(), sha256)

    def forget(self) -> None:
        """Draw another key, and lose every count."""
        self._key, self._drawn = secrets.token_bytes(32), self.clock()
        self._times.clear()


counts = Counts()


def client(request: HttpRequest) -> str:
    """Return the address that a request came from, of IPv6 the network; behind a proxy the one that the proxy names."""
    # Only this machine or a proxy can connect: the last address was written by the proxy, those before by anybody.
    behind_proxy = len(settings.ALLOWED_HOSTS) > len(LOCAL_HOSTS)
    named = request.headers.get("X-Forwarded-For", "") if behind_proxy else ""
    address = named.rpartition(",")[2].strip() or str(request.META.get("REMOTE_ADDR", ""))
    try:
        # One household has as many addresses of IPv6 as it likes, all in one network.
        return str(ip_network((address, 64), strict=False)) if ip_address(address).version == 6 else address
    except ValueError:
        return address


def too_many(request: HttpRequest, limit: Limit) -> HttpResponse:
    """Say that it is too much, and for how long at most."""
    return problem(request, _("Too much at once"), TOO_MUCH[limit.seconds], 429, written(request))


def limited(what: str, limit: Limit) -> Callable[[View], View]:
    """Refuse forms of a client beyond a limit; looking at pages is not counted."""

    def decorate(view: View) -> View:
        @wraps(view)
        def wrapped(request: HttpRequest, *arguments: Any, **named: Any) -> HttpResponse:
            if request.method == "POST" and not counts.allows(what, client(request), limit):
                return too_many(request, limit)
            return view(request, *arguments, **named)

        return wrapped

    return decorate
