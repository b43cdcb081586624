"""Sending notices to the address in `CCAI_WEBHOOK_URL`, each once.

The body is `{"text": "..."}`, which Slack, Mattermost, Rocket.Chat, Google Chat and others take. Whoever knows the
address can write there, so that it is never printed, logged or kept. What was sent is kept in a file of the
consultation's results. What could not be sent is tried again, each time after twice as long, `ATTEMPTS` times in all;
then not before something else happens. `ccai status` tells of it.

Incoming webhooks: https://docs.slack.dev/messaging/sending-messages-using-incoming-webhooks
"""

from __future__ import annotations

import html
import logging
import os
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path

from pydantic import BaseModel, ValidationError

from ccai_dagster.core.files import write_file
from ccai_dagster.core.limits import ended_after
from ccai_dagster.core.text import counted, printable
from ccai_dagster.notices import Notice

ADDRESS = "CCAI_WEBHOOK_URL"
ATTEMPTS = 8
PAUSE = 30.0
"""Seconds before the second attempt; the last is about an hour after the first."""
LONGEST_PAUSE = PAUSE * 2 ** (ATTEMPTS - 1)
"""No pause is longer."""
TIMEOUT = 10.0
"""Seconds without an answer or a further byte of it."""
LIMIT = 30.0
"""Seconds for the whole, in which Dagster's daemon does not give the sensor up."""
INTERRUPTED = "interrupted"
PATIENCE = 4
"""Looks at which something has changed since the look before, after which notices are sent all the same."""
LINES = 20
"""Notices in one message; the others are counted."""


class Undelivered(Exception):
    """A message did not arrive; the text says why, without the address."""


class Sent(BaseModel):
    """What was sent, as it is kept.

    Attributes:
        seen: Digest of what was there at the last look.
        changing: How many looks found something else than the look before, since notices were last made.
        told: The same when notices were last sent, or given up.
        causes: What the notices told of that stand and were sent.
        failures: How often in a row a message did not arrive.
        problem: Why the last one did not arrive; empty if it did.
        next_attempt: Not before this time, in seconds since 1970.
    """

    seen: str = ""
    changing: int = 0
    told: str = ""
    causes: list[str] = []
    failures: int = 0
    problem: str = ""
    next_attempt: float = 0.0


def read_sent(path: Path) -> Sent:
    """Read what was sent; nothing was if there is no file or it is damaged."""
    try:
        return Sent.model_validate_json(path.read_bytes())
    except (FileNotFoundError, ValidationError):
        return Sent()


def send_news(path: Path, title: str, state: str, standing: Callable[[], Sequence[Notice]]) -> str:
    """Send what stands and was not sent yet, and return what was done, as a sentence.

    Like an export, it is told when it is the same at two looks, so that nobody is told of what is put right at once.
    Where something always happens, it is told after `PATIENCE` looks.

    Args:
        path: Where it is kept what was sent.
        title: First line of a message.
        state: Digest of everything that notices rest on; nothing else is looked at unless it has changed.
        standing: Makes the notices.
    """
    address = os.environ.get(ADDRESS)
    if not address:
        return f"{ADDRESS} is not set, so nobody is told. `ccai status` has the same lines."
    sent = read_sent(path)
    if state != sent.seen and sent.changing < PATIENCE:
        _keep(path, sent.model_copy(update={"seen": state, "changing": sent.changing + 1}))
        return "something changed; not told before it is the same at two looks"
    if state == sent.told:
        return _not_delivered(sent) or "nothing is new"
    if 0 < sent.next_attempt - time.time() <= LONGEST_PAUSE:  # further away it is of a clock that was set back since
        return _not_delivered(sent)
    found = standing()
    news = [each for each in found if not each.causes <= set(sent.causes)]
    if news:
        tried = _tried(sent, state)
        _keep(path, tried)  # before it is sent, so that a full disk does not send it each time
        try:
            post(address, message(title, news))
        except Undelivered as error:
            tried.problem = str(error)
            _keep(path, tried)
            return _not_delivered(tried)
    causes = sorted({cause for each in found for cause in each.causes})
    _keep(path, Sent(seen=state, told=state, causes=causes))
    return f"{counted(len(news), 'notice')} sent" if news else "nothing is new"


def undelivered(path: Path) -> str:
    """Tell that notices could not be sent; empty if they could."""
    return _not_delivered(read_sent(path))


def _tried(sent: Sent, state: str) -> Sent:
    failures = sent.failures + 1
    if failures == ATTEMPTS:
        return Sent(seen=state, told=state, causes=sent.causes, problem=INTERRUPTED)
    pause = PAUSE * 2 ** (failures - 1)
    later = {"failures": failures, "problem": INTERRUPTED, "next_attempt": time.time() + pause}
    return sent.model_copy(update={"seen": state, "changing": 0, **later})


def _keep(path: Path, sent: Sent) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    write_file(path, sent.model_dump_json())


def _not_delivered(sent: Sent) -> str:
    if not sent.problem:
        return ""
    if not sent.failures:
        return (
            f"Notices were not delivered to {ADDRESS} in {ATTEMPTS} attempts ({sent.problem}). They are not sent "
            "before something else happens."
        )
    when = datetime.fromtimestamp(sent.next_attempt, UTC).strftime("%H:%M:%S UTC")
    return (
        f"Notices were not delivered to {ADDRESS} ({sent.problem}), attempt {sent.failures} of {ATTEMPTS}; the next is "
        f"after {when}."
    )


def message(title: str, news: Sequence[Notice]) -> str:
    """Return the text of a message; nothing in it, whoever typed it, notifies a person or a channel."""
    more = [f"… and {len(news) - LINES} more: `ccai status`"] if len(news) > LINES else []
    lines = [title, *(f"- {each.text}" for each in news[:LINES]), *more]
    # Slack asks for these three signs to be escaped; a sign of another name than @ notifies nobody.
    return "\n".join(html.escape(printable(line), quote=False).replace("@", "＠") for line in lines)


def post(address: str, text: str) -> None:
    """Send one message.

    Raises:
        Undelivered: It did not arrive.
    """
    import httpx

    logging.getLogger("httpx").setLevel(logging.WARNING)  # it logs the address of every request
    try:
        client = httpx.Client(timeout=TIMEOUT)
        with ended_after(LIMIT, client.close), client, client.stream("POST", address, json={"text": text}) as response:
            status = response.status_code
    # Their texts may hold the address. The last is raised where the client was closed meanwhile.
    except (httpx.HTTPError, httpx.InvalidURL, ValueError, RuntimeError) as error:
        raise Undelivered(type(error).__name__) from None
    if not 200 <= status < 300:
        raise Undelivered(f"status {status}")
