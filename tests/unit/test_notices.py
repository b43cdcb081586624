"""Notices: what is told, to whom, how often, and what happens when nobody takes them."""

from __future__ import annotations

import errno
import json
import logging
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import dagster as dg
import pytest
from local_server import Server
from small_town import Town

from ccai_dagster import webhook
from ccai_dagster.cli.decide import show_status
from ccai_dagster.notices import Notice, notices
from ccai_dagster.open_consultation import OpenConsultation
from ccai_dagster.run_failures import standing_failures
from ccai_dagster.terminal import OBSERVE
from resources import record, run_tags

SECRET = "T0KEN-b3f1"


@pytest.fixture
def chat(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    """A server that takes messages, at the address that is set."""
    server = Server()
    server.answer = lambda body: (200, b"ok")
    monkeypatch.setenv(webhook.ADDRESS, f"http://127.0.0.1:{server.http.server_port}/hooks/{SECRET}")
    yield server
    server.http.shutdown()
    server.http.server_close()


@pytest.fixture
def quiet(town: Town) -> Town:
    """A town on record, with nothing to tell of: its ledgers hold no decisions on statements."""
    for kind in ("moderation", "merge", "idea", "wording"):
        ledger = town.consultation.ledger(kind)
        ledger.write_text(ledger.read_text().partition("\n")[0] + "\n")
    assert observed(town).success
    return town


def observed(town: Town, **tags: str) -> dg.ExecuteInProcessResult:
    job = town.repository.get_job(OBSERVE)
    return job.execute_in_process(instance=town.instance, raise_on_error=False, tags=tags)


def break_ledger(town: Town) -> str:
    """Append a row that is none; returns what the ledger was."""
    ledger = town.consultation.ledger("threshold")
    before = ledger.read_text()
    ledger.write_text(before + "one cell\n")
    return before


def told(town: Town) -> str:
    """What the sensor says at the second of two looks, the first of which sees what is new."""
    town.told("notices")
    return town.told("notices")


def texts(server: Server) -> list[str]:
    assert all(path == f"/hooks/{SECRET}" and set(body) == {"text"} for path, body, _ in server.requests)
    return [body["text"] for _, body, _ in server.requests]


def standing(town: Town) -> list[str]:
    return [each.text for each in notices(OpenConsultation(town.consultation, town.home), town.instance)]


def test_without_an_address_nothing_is_sent_and_it_is_said(town: Town, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(webhook.ADDRESS, raising=False)
    assert "CCAI_WEBHOOK_URL is not set" in town.told("notices")
    assert not town.home.notices.exists()


def test_a_failed_run_is_told_once_until_it_is_put_right(quiet: Town, chat: Server) -> None:
    assert "two looks" in quiet.told("notices")
    assert quiet.told("notices") == quiet.told("notices") == "nothing is new"
    before = break_ledger(quiet)
    run_id = observed(quiet).run_id
    assert "two looks" in quiet.told("notices") and not chat.requests
    assert quiet.told("notices") == "2 notices sent"
    assert quiet.told("notices") == "nothing is new"
    (text,) = texts(chat)
    title, run, ledger = text.split("\n")
    assert title == f"town: {quiet.consultation.file.title}"
    assert run.startswith(f"- Run {run_id[:12]} (observe_inputs, started by a person, in Dagster")
    assert "failed: threshold_ledger: " in run
    assert "threshold.csv, row 13: " in run and "threshold.csv, row 13: " in ledger

    quiet.consultation.ledger("threshold").write_text(before)
    assert observed(quiet).success
    assert standing(quiet) == []
    assert told(quiet) == "nothing is new" and len(chat.requests) == 1
    break_ledger(quiet)
    observed(quiet)
    assert told(quiet) == "2 notices sent"


def test_attempts_of_a_sensor_are_told_at_the_first_and_when_it_gives_up(quiet: Town, chat: Server) -> None:
    break_ledger(quiet)
    quiet.told("new_inputs")
    tags = {run_tags.COMPARED: "c" * 64, run_tags.STARTED_BY: "sensor new_inputs", run_tags.BECAUSE: "votes changed"}
    for attempt in (1, 2, 3):
        observed(quiet, **tags)
        (failure,) = standing_failures(quiet.instance)
        assert failure.attempts == attempt
        told(quiet)
    first, last = texts(chat)
    assert "started by sensor new_inputs, because: votes changed) failed" in first
    assert "It is tried again by itself, 3 times in all." in first
    assert "It is not tried again by itself after 3 runs." in last


def test_lapsed_decisions_are_told_once_and_new_ones_again(town: Town, chat: Server) -> None:
    town.observe()
    assert told(town) == "2 notices sent"
    (text,) = texts(chat)
    assert "1 decision in the moderation ledger lapsed, since what was decided on has changed: M003. `ccai" in text
    assert "4 decisions in the idea ledger lapsed" in text
    wording = town.consultation.ledger("wording")
    wording.write_text(wording.read_text() + f"W9,wording,0,principle: Be kind.,kind,,us,2025-01-01,,{'a' * 64},\n")
    assert told(town) == "1 notice sent"
    assert "wording ledger lapsed" in texts(chat)[1] and "moderation" not in texts(chat)[1]


def test_a_constitution_without_a_signature_is_told(quiet: Town) -> None:
    ledger = quiet.consultation.ledger("signoff")
    ledger.write_text(ledger.read_text().partition("\n")[0] + "\n")
    (line,) = standing(quiet)
    digest = OpenConsultation(quiet.consultation, quiet.home).basis("signoff")(["standard"])
    assert line == f"standard: its constitution {str(digest)[:12]} waits for a sign-off. `ccai review signoff`."


def test_status_has_the_same_lines(quiet: Town, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(record, "known_record", lambda home: quiet.instance)
    versions = quiet.home.dagster / "history" / "runs" / "index.db"
    versions.parent.mkdir(parents=True)
    versions.touch()  # an empty one tells nothing, so that Dagster is asked
    lines: list[str] = []
    show_status(OpenConsultation(quiet.consultation, quiet.home), lines.append)
    assert any("STOPS THE RUN" in line for line in lines) and lines[-1] == "What stops the run stands above."
    with monkeypatch.context() as nothing_stops:
        nothing_stops.setattr(OpenConsultation, "findings", lambda opened, kind: [])
        show_status(OpenConsultation(quiet.consultation, quiet.home), lines.append)
    assert lines[-1] == "Nothing failed, lapsed or waits for a sign-off."
    break_ledger(quiet)
    observed(quiet)
    show_status(OpenConsultation(quiet.consultation, quiet.home), lines.append)
    found = standing(quiet)
    assert len(found) == 2 and lines[-3:] == ["To be looked at:", *(f"  {line}" for line in found)]


def test_a_record_that_cannot_be_read_is_told_and_hides_nothing(town: Town, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DAGSTER_HOME", "")  # and as it was afterwards
    for file in ("dagster.yaml", "history/runs/index.db"):
        path = town.home.dagster / file
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("storage: 7" if file == "dagster.yaml" else "")
    lines: list[str] = []
    show_status(OpenConsultation(town.consultation, town.home), lines.append)
    assert lines[-4].startswith("Failed runs cannot be told: ") and "dagster" in lines[-4]
    assert lines[-3] == "To be looked at:" and "moderation ledger lapsed" in lines[-2]


def test_what_is_not_delivered_is_tried_again_with_growing_pauses_and_told(
    quiet: Town, chat: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 1_700_000_000.0
    monkeypatch.setattr(webhook.time, "time", lambda: now)
    chat.answer = lambda body: (500, b"no")
    break_ledger(quiet)
    observed(quiet)
    pauses = []
    said = told(quiet)
    for attempt in range(1, webhook.ATTEMPTS):
        assert f"(status 500), attempt {attempt} of 8; the next is after" in said
        assert quiet.told("notices") == said and len(chat.requests) == attempt
        pauses.append(json.loads(quiet.home.notices.read_text())["next_attempt"] - now)
        now += pauses[-1]
        said = quiet.told("notices")
    assert pauses == [30, 60, 120, 240, 480, 960, 1920]
    assert "in 8 attempts (status 500). They are not sent before something else happens." in said
    now += 1e6
    assert quiet.told("notices") == said and len(chat.requests) == webhook.ATTEMPTS
    lines: list[str] = []
    show_status(OpenConsultation(quiet.consultation, quiet.home), lines.append)
    assert lines[-1] == said
    chat.answer = lambda body: (204, b"")
    quiet.consultation.ledger("signoff").touch()
    assert told(quiet) == "2 notices sent"
    assert webhook.undelivered(quiet.home.notices) == ""


def test_a_clock_that_was_set_back_holds_no_notice_up(
    quiet: Town, chat: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 1_800_000_000.0
    monkeypatch.setattr(webhook.time, "time", lambda: now)
    chat.answer = lambda body: (500, b"no")
    break_ledger(quiet)
    observed(quiet)
    told(quiet)
    now -= 365 * 86_400
    chat.answer = lambda body: (204, b"")
    assert quiet.told("notices") == "2 notices sent"


def test_what_cannot_be_noted_is_not_sent(quiet: Town, chat: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(path: Path, content: str) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    break_ledger(quiet)
    observed(quiet)
    quiet.told("notices")
    with monkeypatch.context() as patch, pytest.raises(OSError, match="No space"):
        patch.setattr(webhook, "write_file", full)
        quiet.told("notices")
    assert not chat.requests
    assert quiet.told("notices") == "2 notices sent"


@pytest.mark.parametrize(
    ("address", "why"),
    [
        (f"http://127.0.0.1:9/{SECRET}", "ConnectError"),
        (f"mailto:{SECRET}", "UnsupportedProtocol"),
        (f"http://{'a' * 70}.{SECRET}\x00/", "InvalidURL"),
    ],
)
def test_an_address_is_never_shown(address: str, why: str, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG), pytest.raises(webhook.Undelivered) as failed:
        webhook.post(address, "a line")
    assert str(failed.value) == why and failed.value.__cause__ is None
    assert SECRET not in caplog.text


def test_a_server_that_answers_byte_by_byte_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(webhook, "LIMIT", 0.5)

    def answer(listening: socket.socket) -> None:
        connection, _ = listening.accept()
        with connection, suppress(OSError):
            connection.sendall(b"HTTP/1.1 200 OK\r\nSlow: ")
            for _ in range(200):
                connection.sendall(b"x")
                time.sleep(0.1)

    with socket.create_server(("127.0.0.1", 0)) as listening:
        threading.Thread(target=answer, args=[listening], daemon=True).start()
        began = time.monotonic()
        with pytest.raises(webhook.Undelivered):
            webhook.post(f"http://127.0.0.1:{listening.getsockname()[1]}/{SECRET}", "a line")
        assert time.monotonic() - began < 10


def test_the_address_is_nowhere_after_a_delivery(quiet: Town, chat: Server, caplog: pytest.LogCaptureFixture) -> None:
    break_ledger(quiet)
    observed(quiet)
    with caplog.at_level(logging.DEBUG):
        said = told(quiet)
        chat.answer = lambda body: (404, b"no_service")
        break_ledger(quiet)
        said += told(quiet)
    kept = [path.read_bytes() for path in quiet.home.root.parent.rglob("*") if path.is_file()]
    assert len(chat.requests) == 2 and "status 404" in said
    assert SECRET not in caplog.text + said and not [each for each in kept if SECRET.encode() in each]


def test_where_something_always_happens_it_is_told_all_the_same(chat: Server, tmp_path: Path) -> None:
    stands = [Notice("a line", frozenset({"a cause"}))]
    said = [webhook.send_news(tmp_path / "notices.json", "town", str(look), lambda: stands) for look in range(6)]
    assert [each.startswith("something changed") for each in said] == [True, True, True, True, False, True]
    assert said[4] == "1 notice sent" and texts(chat) == ["town\n- a line"]


def test_a_message_is_sent_on_to_nobody_else(chat: Server) -> None:
    chat.answer = lambda body: (302, b"")
    chat.headers = {"Location": f"http://127.0.0.1:{chat.http.server_port}/elsewhere"}
    with pytest.raises(webhook.Undelivered, match="status 302"):
        webhook.post(f"http://127.0.0.1:{chat.http.server_port}/hooks/{SECRET}", "a line")
    assert len(chat.requests) == 1


def test_what_somebody_typed_notifies_nobody() -> None:
    text = webhook.message("town", [Notice("<!channel> @here <http://x|y> \x1b[2J & more", frozenset({"a"}))])
    assert text == "town\n- &lt;!channel&gt; ＠here &lt;http://x|y&gt; \\x1b[2J &amp; more"
    many = webhook.message("town", [Notice(str(each), frozenset({str(each)})) for each in range(25)])
    assert many.splitlines()[-2:] == ["- 19", "… and 5 more: `ccai status`"]


def test_a_damaged_note_of_what_was_sent_begins_anew(quiet: Town, chat: Server) -> None:
    break_ledger(quiet)
    observed(quiet)
    told(quiet)
    quiet.home.notices.write_text("{")
    assert told(quiet) == "2 notices sent"
