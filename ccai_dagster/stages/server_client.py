"""Requests to a language-model server: its address, patience with it, and how many at a time.

Belongs here: what is true of any question. What is asked and how an answer is read is in `server_model`.
"""

from __future__ import annotations

import json
import logging
import os
import re
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import suppress
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from functools import cached_property
from typing import Any
from urllib.parse import urlsplit

from ccai_dagster.consultation.settings import ServerSettings
from ccai_dagster.core.errors import ConsultationError

SERVER_KEY = "CCAI_SERVER_KEY"
"""Environment variable with the key of the server, if it wants one."""
LONGEST_PAUSE = 60.0
"""Seconds; a busy server that asks for more patience than this is asked again sooner."""
ATTEMPTS = 4
"""How often a server is asked that answers with an error of its own, or that has never been reached."""
FIRST_PARALLEL, MOST_PARALLEL = 8, 256
GAIN = 1.15
"""Twice as many requests at a time must bring this factor in answers a second, or the smaller number stays."""
_TOO_LONG = re.compile(
    r"context.?(size|length|window)|maximum.{0,20}(context|length|tokens)|too (long|many tokens)|max_model_len"
    r"|reduce the length|max_new_tokens.{0,9} must be <=",
    re.I,
)
_FOR_GOOD = re.compile(r"insufficient_quota|exceeded your current quota", re.I)
"""In a server's answer, what no patience changes although its status says so."""
PASSING = {408, 425, 429, 502, 503, 504, *range(520, 530)}
"""What a server, or what stands before it, answers while it is busy, gone or started again."""
BROKEN_OFF = ("abort", "error", "cancelled")
"""Reasons for an answer's end that are no end of it."""
_FOR_NOW = re.compile(r"loading|overload|try again|temporar|unavailable|rate.?limit|too many requests", re.I)
_SHOWN = 300
"""Characters of a server's own words in an error."""


class Refused(ConsultationError):
    """A server refused a request.

    Attributes:
        words: What it said.
        too_long: Whether it said so because the request is beyond the model's context.
    """

    def __init__(self, message: str, words: str) -> None:
        super().__init__(message)
        self.words = words
        self.too_long = bool(_TOO_LONG.search(words))


class Pace:
    """How many requests go to a server at a time: a fixed number, or twice as many while that brings more answers.

    A server that asks for less (status 429) gets half of it, and no more afterwards.
    """

    def __init__(self, fixed: int | None = None) -> None:
        self.limit = fixed or FIRST_PARALLEL
        self._settled = fixed is not None
        self._fixed = fixed is not None
        self._rate = 0.0
        self._since: float | None = None
        self._answers = 0
        self._lock = threading.Lock()

    def begin(self) -> None:
        """Take no notice of the time since the last answer."""
        self._since = None

    def answered(self, now: float) -> None:
        """Count an answer at a time in seconds."""
        with self._lock:
            self._answers += 1
            if self._settled:
                return
            if self._since is None:
                self._since, self._answers = now, 0
            elif self._answers >= 4 * self.limit and now > self._since:
                rate = self._answers / (now - self._since)
                if rate < GAIN * self._rate:
                    self.limit, self._settled = self.limit // 2, True
                elif self.limit == MOST_PARALLEL:
                    self._settled = True
                else:
                    self._rate, self.limit = rate, 2 * self.limit
                self._since, self._answers = now, 0

    def refused(self) -> None:
        """Halve the number, once for all requests that were under way together."""
        with self._lock:
            if not self._fixed and (not self._settled or self._answers >= self.limit):
                self.limit, self._settled, self._answers = max(1, self.limit // 2), True, 0


class ServerClient:
    """Posts JSON to a server and waits for it where it is busy or gone.

    Attributes:
        base: Address that OpenAI's paths follow, for instance `http://localhost:8000/v1`.
        root: The same without its version, for paths that are the server's own.
        pace: How many requests go at a time.
    """

    def __init__(self, url: str, settings: ServerSettings, pause: float = 1.0, setting: str = "feedback") -> None:
        """Nothing is asked yet.

        Args:
            url: With or without the version at its end.
            pause: Seconds before the second attempt, doubled after each; more if the server says so.
            setting: Where the server is named in a profile, for errors.

        Raises:
            ConsultationError: It is no address of a server.
        """
        check_address(url, setting)
        self.base = base_address(url)
        self.root = re.sub(r"/v\d+$", "", self.base)
        self.pace = Pace(settings.parallel)
        self._settings = settings
        self._setting = setting
        self._pause = pause
        self._reached = False
        self._away = False
        self._model = ""
        self._lock = threading.Lock()
        self._stop = threading.Event()

    def answers(self, count: int, ask: Callable[[int], Any]) -> Iterator[Any]:
        """Yield what `ask` returns for 0 to `count` - 1, in order, asked by several threads at a time."""
        self._stop = threading.Event()
        self.pace.begin()
        waiting: dict[Future[Any], int] = {}
        ready: dict[int, Any] = {}
        begun = told = 0
        most = self.pace.limit if self._settings.parallel else MOST_PARALLEL
        with ThreadPoolExecutor(most) as pool:
            try:
                while told < count:
                    while begun < count and len(waiting) < self.pace.limit:
                        waiting[pool.submit(ask, begun)] = begun
                        begun += 1
                    for future in wait(waiting, return_when=FIRST_COMPLETED).done:
                        ready[waiting.pop(future)] = future.result()
                    while told in ready:
                        yield ready.pop(told)
                        told += 1
            finally:
                # After an error the requests under way don't wait for a server that is gone.
                self._stop.set()

    def get(self, address: str) -> Any:
        """Return what a server tells at an address, asked once; None where it has nothing there."""
        import httpx

        with suppress(httpx.HTTPError, ValueError, RecursionError):
            response = self._http.get(address)
            return response.json() if response.status_code == 200 else None
        return None

    def post(self, address: str, body: Mapping[str, Any]) -> Any:
        """Return the answer to a request.

        A server that was reached before may be gone for as long as the settings say, for instance while it is
        started again.

        Raises:
            Refused: The server refuses the request.
            ConsultationError: It doesn't answer, not with JSON, or another model than before does.
        """
        fields = {**body, **self._settings.arguments}
        sent = {name: value for name, value in fields.items() if self._settings.arguments.get(name, value) is not None}
        began, pause = time.monotonic(), self._pause
        attempts = failures = 0
        while True:
            attempts += 1
            try:
                answer = self._tried(address, sent)
            except _Trouble as trouble:
                failures += trouble.failure
                waited = time.monotonic() - began
                patience = self._settings.patience if self._reached else ATTEMPTS * 2 * self._pause
                at_an_end = failures >= ATTEMPTS or (attempts > 1 and waited + pause > patience)
                if at_an_end or self._stop.wait(max(pause, trouble.asked)):
                    raise ConsultationError(
                        f"{address} did not answer in {attempts} attempts and {waited:.0f} seconds ({trouble}). Check "
                        f"{self._setting}.server_url in consultation.yaml and that the server is running, then run "
                        f"again: what it has answered is kept. How long is waited is said by {self._setting}.server"
                        f".patience and {self._setting}.server.timeout."
                    ) from trouble
                pause = min(2 * pause, LONGEST_PAUSE)
                self._tell(away=True, why=f"{trouble}; asked again for up to {patience:.0f} seconds")
            else:
                self._reached = True
                self._tell(away=False, why=f"after {time.monotonic() - began:.0f} seconds")
                self._check_same_model(answer)
                self.pace.answered(time.monotonic())
                return answer

    def _tell(self, away: bool, why: str) -> None:
        """Log once that the server does not answer, and once that it does again, however many requests wait."""
        with self._lock:
            changed, self._away = self._away != away, away
        if changed:
            logging.getLogger(__name__).warning("%s %s: %s", self.base, "is silent" if away else "answers again", why)

    @property
    def told_model(self) -> str:
        """What the server's answers call the model; empty before the first, or if they do not say."""
        return self._model

    def _check_same_model(self, answer: Any) -> None:
        """Stop where another model answers than before: its answers would be taken for those of the one on record."""
        told = answer.get("model") if isinstance(answer, dict) else None
        if not isinstance(told, str) or not told:
            return
        with self._lock:
            first = self._model = self._model or told
        if told != first:
            raise ConsultationError(
                f"{self.base}: answers came from the model {first!r} and now come from {told!r}. What the first "
                "answered is kept: have the server hold that one until all is answered, or name it exactly in "
                f"{self._setting}.server_model, then run again."
            )

    @cached_property
    def _http(self) -> Any:
        import httpx

        key = os.environ.get(SERVER_KEY, "").strip()
        if not (key.isascii() and key.isprintable()):
            raise ConsultationError(f"{SERVER_KEY} holds characters that no key has. Set it anew.")
        headers = {"Authorization": f"Bearer {key}"} if key else {}
        limits = httpx.Limits(max_connections=None, max_keepalive_connections=MOST_PARALLEL)
        try:
            return httpx.Client(timeout=self._settings.timeout, headers=headers, limits=limits)
        except (ImportError, OSError, ValueError, httpx.InvalidURL) as error:
            raise ConsultationError(
                f"No request can be sent to {self.base}: {error}. Look at the environment's variables for proxies and "
                "certificates (ALL_PROXY, HTTPS_PROXY, SSL_CERT_FILE)."
            ) from error

    def _came(self, address: str, body: Mapping[str, Any]) -> tuple[int, Mapping[str, str], bytes]:
        """Return status, headers and content of what comes within the time that one answer may take."""
        import httpx

        late = f"no answer within {self._settings.timeout:g} seconds"
        end = time.monotonic() + self._settings.timeout
        content = b""
        try:
            with self._http.stream("POST", address, json=body) as response:
                # The library's own limit is between two pieces of an answer, of which a slow one has many.
                for piece in response.iter_bytes():
                    content += piece
                    if time.monotonic() > end:
                        raise _Trouble(late)
                return response.status_code, response.headers, content
        except httpx.ConnectTimeout as error:
            raise _Trouble("no connection") from error
        except httpx.TimeoutException as error:
            raise _Trouble(late) from error
        except httpx.HTTPError as error:
            raise _Trouble(f"{type(error).__name__}: {error}") from error

    def _tried(self, address: str, body: Mapping[str, Any]) -> Any:
        status, headers, content = self._came(address, body)
        text = content.decode("utf-8", "replace").strip()
        try:
            answer = json.loads(content)
        except (ValueError, RecursionError):
            answer = None
        words = _words(answer) if answer is not None else text
        spent = status == 429 and _FOR_GOOD.search(text)
        if not spent and (status in PASSING or (status >= 500 and status != 501)):  # 501: it has no such thing
            if status == 429:
                self.pace.refused()
            self._reached |= status in (429, 503)
            failure = status not in PASSING
            raise _Trouble(_said(f"status {status}", words), asked_patience(headers), failure=failure)
        if status != 200 or _is_error(answer):
            if status == 200 and (_FOR_NOW.search(words) or _code(answer) in (429, 503)):
                self._reached = True
                raise _Trouble(_said("an error", words), asked_patience(headers))
            hint = f" Is {SERVER_KEY} right?" if status in (401, 403) else self._remedy(body, words)
            if place := headers.get("location"):
                hint = f" It points to {place}: name that server in {self._setting}.server_url."
            said = _said(f"status {status}", words)
            raise Refused(f"{address} refused a request with {said}.{hint}", words)
        if answer is None:
            raise ConsultationError(f"{address} did not answer with JSON: {text[:_SHOWN]!r}.")
        if (broken := _broken_off(answer)) is not None:
            raise _Trouble(broken, failure=True)
        return answer

    def _remedy(self, body: Mapping[str, Any], words: str) -> str:
        """Name the setting that helps where a server does not take a field of a request."""
        if "top_logprobs" in words or re.search(r"\blogprobs\b.*\d", words):
            return f" Set {self._setting}.server.top_logprobs to what it gives, below {self._settings.top_logprobs}."
        named = [name for name in body if name not in ("messages", "prompt", "model") and name in words]
        return (
            f" If the server does not know {named[0]}, set {self._setting}.server.arguments to {{{named[0]}: null}}."
            if named
            else ""
        )


class _Trouble(Exception):
    """Why a request was not answered this time; `asked` is the patience that the server asks for, in seconds."""

    def __init__(self, message: str, asked: float = 0.0, *, failure: bool = False) -> None:
        super().__init__(message)
        self.asked = asked
        self.failure = failure


def check_address(url: str, setting: str) -> None:
    """Raise a `ConsultationError` unless this is the address of a server; `setting` is where it is named."""
    import httpx

    try:
        read = httpx.URL(url)
        if read.userinfo:
            raise ConsultationError(
                f"{setting}.server_url holds a name or a password, and addresses are put on record. Take it out; a key "
                f"belongs into {SERVER_KEY}."
            )
        whole = read.scheme in ("http", "https") and read.host and not read.query and not read.fragment
    except httpx.InvalidURL:
        whole = False
    if not whole:
        raise ConsultationError(
            f"{setting}.server_url {url!r} is no address of a server. Write http:// or https:// and a host, for "
            "instance http://localhost:8000/v1."
        )


def base_address(url: str) -> str:
    """Return the address that OpenAI's paths follow: as it is if its path names a version, else `/v1` is added."""
    bare = url.rstrip("/")
    named = any(re.match(r"v\d", part) for part in urlsplit(bare).path.split("/"))
    return bare if named else f"{bare}/v1"


def asked_patience(headers: Mapping[str, str]) -> float:
    """Return how many seconds a busy server asks to wait for, at most `LONGEST_PAUSE`; 0 if it names none.

    It may be a number of seconds, whole or not, or a date, or milliseconds under a name of its own.
    """
    for name, unit in (("retry-after-ms", 1000.0), ("retry-after", 1.0)):
        text = headers.get(name, "").strip()
        if re.fullmatch(r"\d+(\.\d*)?", text, re.ASCII):
            return min(float(text) / unit, LONGEST_PAUSE)
        with suppress(ValueError, TypeError, OverflowError):
            date = parsedate_to_datetime(text)
            seconds = (date.replace(tzinfo=date.tzinfo or UTC) - datetime.now(UTC)).total_seconds()
            return min(max(seconds, 0.0), LONGEST_PAUSE)
    return 0.0


def _is_error(answer: Any) -> bool:
    """Tell whether this is an error, whatever its status says."""
    return isinstance(answer, dict) and bool(answer.get("error") or answer.get("object") == "error")


def _broken_off(answer: Any) -> str | None:
    """Say why the text in an answer is none, though the answer came: the server stopped, or what it asks did."""
    choices = answer.get("choices") if isinstance(answer, dict) else None
    first = choices[0] if isinstance(choices, list) and choices else None
    if not isinstance(first, dict):
        return None
    if first.get("error"):
        return _said("an error", _words(first))
    reason = first.get("finish_reason")
    return f"an answer that was broken off: {reason!r}" if reason in BROKEN_OFF else None


def _code(answer: Any) -> Any:
    error = answer.get("error") if isinstance(answer, dict) else None
    return error.get("code") if isinstance(error, dict) else None


def _words(answer: Any) -> str:
    """Return what a server says of an error, in its own words."""
    found = answer
    for name in ("error", "message", "detail"):
        if isinstance(found, dict) and found.get(name):
            found = found[name]
    return found if isinstance(found, str) else str(found)


def _said(what: str, words: str) -> str:
    return f"{what}: {words[:_SHOWN]!r}" if words and words != "None" else what
