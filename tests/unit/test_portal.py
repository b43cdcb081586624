"""The portal: what participants and moderators can do in a browser, and what reaches the import."""

from __future__ import annotations

import re
import shutil
import sqlite3
import threading
import time
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import dagster as dg
import numpy as np
import polars as pl
import pytest
from last_place import two_for_the_last_place
from polars.testing import assert_frame_equal
from small_portal import SEEDS, Portal, compare, statement_in
from white_paper import white_paper

from assets import decisions, deliberation, public_input, public_opinion
from ccai_dagster.automation import present_versions
from ccai_dagster.cli import serve as cli_serve
from ccai_dagster.cli.export import TABLES, export
from ccai_dagster.consultation.people import DemographicQuestion, PortalSettings
from ccai_dagster.core.digest import text_digest
from ccai_dagster.core.errors import ConsultationError
from ccai_dagster.core.files import sheet_rows
from ccai_dagster.core.home import Home
from ccai_dagster.core.portal_database import database_files
from ccai_dagster.decisions.ledger import read_ledger
from ccai_dagster.decisions.values import thresholds
from ccai_dagster.deliberation.importing.demographics import DEMOGRAPHICS, read_demographics
from ccai_dagster.deliberation.importing.portal import portal_digest, portal_files, portal_import
from ccai_dagster.deliberation.importing.read_votes import find_vote_files, read_votes
from ccai_dagster.deliberation.representative import comment_priority
from ccai_dagster.evaluation.rating_export import ShownPair, blinded_pairs, shown_pairs, write_pairs
from ccai_dagster.evaluation.ratings import Imported, import_ratings, read_ratings
from ccai_dagster.open_consultation import OpenConsultation
from resources.tables import Tables
from resources.vote_source import VoteSource

SAMPLE = ("participant_demographics", "sample_representativeness", "weighted_consensus")
HOSTILE = "<script>alert('x')</script> \"and\", =SUM(A1) & {{ 7|add:1 }}"


def test_somebody_who_consents_gets_a_code_and_nothing_else_is_kept(portal: Portal) -> None:
    browser = portal.browser(HTTP_USER_AGENT="Known/1.0", REMOTE_ADDR="198.51.100.7")
    assert "tick that you agree" in browser.post("/join", {"question-0": "Yes"}).content.decode()
    assert browser.post("/join", {"consent": "yes", "question-0": "Yes"}).headers["Location"] == "/code"
    page = browser.get("/code").content.decode()
    code = re.findall(r'class="code">([\w-]+)<', page)[0]
    with closing(sqlite3.connect(portal.home.portal)) as connection:
        dump = "\n".join(connection.iterdump())
    assert not any(each in dump for each in (code, code.replace("-", ""), "Known/1.0", "198.51.100.7"))
    back = portal.browser()
    assert back.post("/return", {"code": "aaaa-bbbb"}).status_code == 400
    assert back.post("/return", {"code": f" {code.upper()} "}).headers["Location"] == "/vote"


def test_who_is_not_asked_is_thanked_and_not_kept(portal: Portal) -> None:
    browser = portal.browser()
    assert b"Thank you" in browser.post("/join", {"consent": "yes", "question-0": "No"}).content
    assert b"answer every question" in browser.post("/join", {"consent": "yes", "question-0": "Perhaps"}).content
    assert b"Please come in again" in browser.get("/vote").content


def _about() -> list[tuple[int, str, str]]:
    from ccai_dagster.portal.models import Demographic

    return list(Demographic.objects.order_by("pk").values_list("participant_id", "question", "answer"))


def test_what_somebody_says_about_themselves_is_kept_and_goes_with_them(portal: Portal) -> None:
    browser = portal.participant(age="under 40")
    portal.participant(age="")
    portal.participant(age="none of these")
    assert _about() == [(1, "age", "under 40")]
    assert b"what you said about yourself" in browser.get("/delete").content
    browser.post("/delete", {"sure": "yes"})
    assert _about() == []


def set_limit(portal: Portal, monkeypatch: pytest.MonkeyPatch, **limits: int) -> None:
    """Let the portal go by other settings than those of its consultation's file."""
    from django.conf import settings

    file = portal.consultation.file
    other = file.model_copy(update={"portal": file.portal.model_copy(update=limits)})
    monkeypatch.setattr(settings, "CONSULTATION", portal.consultation.model_copy(update={"file": other}))


def test_places_are_closed_by_answer_and_nobody_is_let_in_beside_them(
    portal: Portal, monkeypatch: pytest.MonkeyPatch
) -> None:
    set_limit(portal, monkeypatch, places=3)
    form = {"consent": "yes", "question-0": "Yes"}
    # 40 % of three places are two, rounded up, and 60 % are two.
    for answer, page in [("under 40", "/code"), ("under 40", "/code"), ("under 40", None), ("40 and older", "/code")]:
        got = portal.browser().post("/join", {**form, "about-age": answer})
        assert got.headers.get("Location") == page
    assert b"Enough people" in portal.browser().post("/join", {**form, "about-age": "under 40"}).content
    assert b"answer every question" in portal.browser().post("/join", form).content
    assert [answer for _, _, answer in _about()] == ["under 40", "under 40", "40 and older"]


def test_a_form_that_is_sent_twice_lets_in_one_person(portal: Portal, monkeypatch: pytest.MonkeyPatch) -> None:
    set_limit(portal, monkeypatch, places=1)
    (code,) = re.findall(r'name="code" value="(\w+)"', portal.browser().get("/").content.decode())
    form = {"consent": "yes", "question-0": "Yes", "about-age": "under 40"}

    def given(sent: str) -> str:
        """The code of who sends this form, whose browser knows of no session yet."""
        browser = portal.browser()
        assert browser.post("/join", {**form, "code": sent}).headers["Location"] == "/code"
        return re.findall(r'class="code">([\w-]+)<', browser.get("/code").content.decode())[0].replace("-", "")

    assert given(code) == given(code) == code
    assert len(_about()) == 1
    # Later, or with what is no code of ours, it is another's.
    set_limit(portal, monkeypatch, places=10)
    monkeypatch.setattr("ccai_dagster.portal.participation.SECONDS_FOR_THE_SAME_FORM", -1)
    assert not {given(code), given("aaaa"), given("")} & {code, "aaaa", ""}
    assert len(_about()) == 4


def test_of_two_who_ask_at_once_for_the_last_place_one_gets_it(portal: Portal) -> None:
    assert two_for_the_last_place(portal.consultation) == ["no place", "taken"]


def test_questions_and_answers_are_markdown_in_which_html_stays_text(portal: Portal) -> None:
    page = portal.browser().get("/questions").content.decode()
    assert "<h2>Why?</h2>" in page and "<strong>that</strong>" in page
    assert "&lt;b onclick=" in page and "<b " not in page and "<img" not in page and 'href="javascript' not in page


def test_questions_and_answers_that_cannot_be_read_are_told_and_not_served(
    portal: Portal, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = portal.consultation.folder / "questions.md"
    path.write_bytes("Früher".encode("latin-1"))
    answer = portal.browser().get("/questions")
    assert answer.status_code == 503 and b"cannot be read at the moment" in answer.content
    monkeypatch.setattr(cli_serve, "_set_up", lambda *_: None)  # Django is set up
    with pytest.raises(ConsultationError, match=r"questions\.md: is not in UTF-8"):
        cli_serve.serve(portal.consultation, 8000, print)
    path.unlink()
    assert portal.browser().get("/questions").status_code == 503


def test_feedback_is_apart_from_votes_and_the_team_reads_it(portal: Portal) -> None:
    browser = portal.participant()
    assert b"Please write something" in browser.post("/feedback", {"text": " "}).content
    assert b"Thank you" in browser.post("/feedback", {"text": HOSTILE}).content
    with closing(sqlite3.connect(portal.home.portal)) as connection:
        columns = [name for _, name, *_ in connection.execute("PRAGMA table_info(portal_feedback)")]
    assert columns == ["id", "text", "sent_at"]
    assert browser.get("/desk/feedback").status_code == 302
    page = portal.moderator().get("/desk/feedback").content.decode()
    assert "&lt;script&gt;" in page and "<script>" not in page


def test_an_answer_is_undone_and_its_statement_asked_again(portal: Portal) -> None:
    portal.let_in(1, 2)
    browser = _voted(portal, 1)
    assert browser.post("/undo", {"statement": 1}).headers["Location"] == "/vote?again=1"
    assert portal.votes() == []
    assert statement_in(browser.get("/vote?again=1").content.decode()) == 1
    assert b"0 of 2" in browser.get("/vote?again=\u00b2").content
    assert browser.post("/undo", {"statement": "x"}).status_code == 409


def test_a_script_gets_the_next_statement_with_the_answer_in_one_request_of_three_queries(portal: Portal) -> None:
    from django.db import connection
    from django.test.utils import CaptureQueriesContext

    portal.let_in(1, 2, 3)
    browser, script = portal.participant(), {"HTTP_X_PART": "main"}
    first = statement_in(browser.get("/vote").content.decode())
    with CaptureQueriesContext(connection) as queries:
        answer = browser.post("/vote", {"statement": first, "vote": "agree"}, **script)
    asked = [each["sql"].split()[0] for each in queries if each["sql"] not in ("BEGIN", "COMMIT")]
    assert asked == ["SELECT", "INSERT", "SELECT"]
    page = answer.content.decode()
    assert (answer.status_code, answer["X-Part"]) == (200, "main") and statement_in(page) != first
    assert "1 of 3" in page and "<html" not in page and "csrfmiddlewaretoken" not in page
    assert "no-store" in answer["Cache-Control"] and "Set-Cookie" not in answer
    page = browser.post("/undo", {"statement": first}, **script).content.decode()
    assert (statement_in(page), "0 of 3" in page, portal.votes()) == (first, True, [])
    refused = browser.post("/vote", {"statement": 4, "vote": "agree"}, **script)
    assert refused.status_code == 409 and "X-Part" not in refused and b"<html" in refused.content
    for statement in (1, 2, 3):
        browser.post("/vote", {"statement": statement, "vote": "agree"}, **script)
    browser.post("/add", {"text": HOSTILE, "sure": "yes"})
    portal.let_in(5)
    other = portal.participant()
    pages = [other.post("/vote", {"statement": each, "vote": "pass"}, **script) for each in (1, 2, 3, 5)]
    assert [each.content.count(b"&lt;script&gt;") for each in pages[2:]] == [1, 1]
    assert not any(b"<script" in each.content for each in pages)


def test_nothing_is_shown_before_a_moderator_lets_it_in(portal: Portal) -> None:
    browser = portal.participant()
    assert b"answered everything" in browser.get("/vote").content
    portal.let_in(2)
    assert SEEDS[1] in browser.get("/vote").content.decode()


def test_where_two_decide_a_statement_is_shown_once_both_let_it_in_and_until_both_take_it_out(portal: Portal) -> None:
    from ccai_dagster.portal.participant_views import source

    def shown() -> set[int]:
        portal.renew()
        return set(source().now().texts)

    def decided(role: str, statement: int, verb: str) -> None:
        text = "odd" if verb == "out" else ""
        form = {"statement": statement, f"seen-{statement}": "", "verb": verb, "text": text, "reason": "because"}
        assert team[role].post("/desk/", form).status_code == 302

    path = portal.consultation.ledger("moderation")
    policy = "P1,moderation,double_decisions,policy: two people decide independently,close,,all,2025-03-01,,,\n"
    export = f"X1,moderation,4,in,taken over from the export,,all,2025-03-01,,{text_digest(SEEDS[3])},ccai new\n"
    path.write_text(path.read_text() + policy + export)
    team = {role: portal.moderator(role, role) for role in ("one", "other")}
    assert shown() == {4}, "what nobody decided stands"
    for statement, verb in ((1, "in"), (2, "in"), (4, "out")):
        decided("one", statement, verb)
    assert shown() == {4}
    decided("other", 1, "in")
    decided("other", 2, "out")
    assert shown() == {1, 4}
    decided("other", 4, "out")
    assert shown() == {1}


def test_no_statement_is_asked_twice_and_progress_is_told(portal: Portal) -> None:
    portal.let_in(1, 2, 3, 4)
    browser, asked = portal.participant(), []
    for done in range(3):
        page = browser.get("/vote").content.decode()
        assert f"{done} of 3" in page
        asked.append(statement_in(page))
        assert browser.post("/vote", {"statement": asked[-1], "vote": "agree"}).status_code == 302
    assert len(set(asked)) == 3
    last = statement_in(browser.get("/vote").content.decode())
    browser.post("/vote", {"statement": last, "vote": "pass"})
    assert {*asked, last} == {1, 2, 3, 4}
    assert b"answered everything" in browser.get("/vote").content


def test_a_double_click_and_a_second_tab_count_once_and_the_last_answer_counts(portal: Portal) -> None:
    portal.let_in(1, 2)
    browser = portal.participant()
    for answer in ("agree", "agree", "disagree"):
        browser.post("/vote", {"statement": 1, "vote": answer})
    assert portal.votes() == [(1, 1, -1)]
    assert b"Disagree</strong>" in browser.get("/votes").content
    browser.post("/vote", {"statement": 1, "vote": "pass", "back": "votes"})
    assert portal.votes() == [(1, 1, 0)]


def test_votes_of_many_people_wait_for_the_disk_together_and_one_that_does_not_fit_takes_none_along(
    portal: Portal,
) -> None:
    from django.db import IntegrityError

    from ccai_dagster.portal.databases import Together

    written: list[list[int]] = []
    first_is_under_way, go_on = threading.Event(), threading.Event()

    def keep(rows: Sequence[Any]) -> None:
        if 13 in rows:
            raise IntegrityError
        written.append(list(rows))
        first_is_under_way.set()
        go_on.wait(10)

    together = Together(keep)
    with ThreadPoolExecutor(8) as pool:
        first = pool.submit(together.write, 0)
        first_is_under_way.wait(10)
        others = [pool.submit(together.write, each) for each in (1, 2, 13, 3)]
        until = time.monotonic() + 10
        while len(together._queue) < 4 and time.monotonic() < until:
            time.sleep(0.01)
        go_on.set()
        failed = [future.exception() for future in (first, *others)]
    assert sorted(each for rows in written for each in rows) == [0, 1, 2, 3] and written[0] == [0]
    assert [type(each) for each in failed].count(IntegrityError) == 1 and failed[3] is not None
    go_on, written = threading.Event(), []
    go_on.set()
    together.write(4)
    assert written == [[4]]


@pytest.mark.parametrize(
    "form",
    [
        {"statement": "2", "vote": "agree"},
        {"statement": "999", "vote": "agree"},
        {"statement": "-1", "vote": "agree"},
        {"statement": "1 OR 1=1", "vote": "agree"},
        {"statement": "9" * 30, "vote": "agree"},
        {"statement": "1", "vote": "5"},
        {"statement": "1"},
        {},
    ],
    ids=["withdrawn", "unknown", "negative", "no number", "long", "no vote", "empty vote", "nothing"],
)
def test_a_forged_form_counts_nothing_and_is_told(portal: Portal, form: dict[str, str]) -> None:
    portal.let_in(1)
    answer = portal.participant().post("/vote", form)
    assert (answer.status_code, portal.votes()) == (409, [])
    assert b"Not counted" in answer.content


@pytest.mark.parametrize("charset", ["base64", "rot13", "utf-16", "undefined"])
def test_what_says_that_it_is_not_in_utf_8_is_refused(portal: Portal, charset: str) -> None:
    browser, kind = portal.participant(), "application/x-www-form-urlencoded; charset="
    for method in ("POST", "GET"):
        assert browser.generic(method, "/vote", b"statement=1", content_type=kind + charset).status_code == 400
    assert browser.generic("GET", "/vote", b"", content_type=kind + "UTF-8").status_code == 200


def test_another_address_and_a_form_that_is_too_large_get_a_page_that_says_so(portal: Portal) -> None:
    elsewhere = portal.browser().get("/", HTTP_HOST="elsewhere.example")
    assert elsewhere.status_code == 400 and b"The portal is not at this address" in elsewhere.content
    assert b"elsewhere" not in elsewhere.content
    browser = portal.browser(HTTP_ACCEPT_LANGUAGE="de")
    for form in ({"text": "a" * 3_000_000}, {str(at): "" for at in range(1500)}):
        large = browser.post("/feedback", form)
        assert large.status_code == 400 and "mehr, als das Portal auf einmal annimmt" in large.content.decode()
    broken = browser.generic("POST", "/feedback", b"--x\r\n", content_type="multipart/form-data")
    assert broken.status_code == 400 and "Das Formular kam nicht vollständig an" in broken.content.decode()


def test_a_form_without_its_token_and_an_expired_session_are_told(portal: Portal) -> None:
    portal.let_in(1)
    browser = portal.participant()
    strict = portal.browser(enforce_csrf_checks=True)
    strict.cookies = browser.cookies
    answer = strict.post("/vote", {"statement": 1, "vote": "agree"})
    assert answer.status_code == 403 and b"Please try once more" in answer.content
    browser.cookies["sessionid"] = "forged"
    answer = browser.post("/vote", {"statement": 1, "vote": "agree"})
    assert answer.status_code == 403 and b"Your session has ended" in answer.content
    assert portal.votes() == []


def test_what_somebody_wrote_is_given_back_where_nothing_comes_of_it_but_not_what_another_site_wrote(
    portal: Portal,
) -> None:
    editor, given_back = portal.team("eve", "editor", "edit"), re.compile(r'class="lines" dir="auto">([^<]*)<')
    editor.cookies["sessionid"] = "expired"
    wordings = {
        "verb-0": "principle",
        "text-0": "Choose\nthe kindest.",
        "verb-1": "",
        "text-1": "a draft",
        "reason": " ",
    }
    answer = editor.post("/desk/ledger/wording", wordings)
    assert answer.status_code == 403 and given_back.findall(answer.content.decode()) == ["Choose\nthe kindest."]
    add = portal.browser().post("/add", {"text": "Be <kind>.", "sure": "yes"})
    assert add.status_code == 403 and given_back.findall(add.content.decode()) == ["Be &lt;kind&gt;."]
    for _ in range(21):
        last = portal.browser().post("/feedback", {"text": "Well done."})
    assert last.status_code == 429 and given_back.findall(last.content.decode()) == ["Well done."]
    strict = portal.browser(enforce_csrf_checks=True)
    for site, found in (("same-origin", ["Be kind."]), ("cross-site", [])):
        answer = strict.post("/feedback", {"text": "Be kind."}, HTTP_SEC_FETCH_SITE=site)
        assert answer.status_code == 403 and given_back.findall(answer.content.decode()) == found


@pytest.mark.parametrize("role", ["nobody", "participant", "moderator", "rater"])
def test_no_form_of_any_page_is_taken_without_its_token(portal: Portal, role: str) -> None:
    from ccai_dagster.portal.addresses import urlpatterns

    browser = portal.browser() if role == "nobody" else getattr(portal, role)()
    strict = portal.browser(enforce_csrf_checks=True)
    strict.cookies = browser.cookies
    addresses = ["/" + re.sub("<slug:.*>", "wording", str(each.pattern)) for each in urlpatterns]
    assert {strict.post(each).status_code for each in addresses} == {403} and len(addresses) > 15


def test_a_session_of_the_team_that_ended_records_nothing_and_gives_back_what_was_written(portal: Portal) -> None:
    moderator = portal.moderator()
    moderator.cookies["sessionid"] = "expired"
    form = {"statement": "1", "seen-1": "", "verb": "out", "text": "off topic", "reason": HOSTILE}
    answer = moderator.post("/desk/", form)
    page = answer.content.decode()
    assert answer.status_code == 403 and "nothing was recorded" in page
    assert "off topic" in page and "=SUM(A1)" in page and "<script>" not in page
    assert read_ledger(portal.consultation.ledger("moderation"), "moderation").is_empty()


def test_who_takes_part_and_who_is_signed_in_in_one_browser_do_not_end_each_other(portal: Portal) -> None:
    from ccai_dagster.portal.team import keep_account

    def sign_in(role: str) -> None:
        browser.post("/desk/sign-in", {"name": role, "password": keep_account(role, role)})

    def shown() -> tuple[int, int]:
        return browser.get("/code").status_code, browser.get("/desk/").status_code

    browser = portal.moderator()
    assert shown() == (403, 200)  # nobody takes part, and the account stays signed in
    browser = portal.participant()
    code = browser.session["code"]
    sign_in("ann")
    sign_in("ben")
    assert shown() == (200, 200)
    keep_account("ben", "ben")  # another password ends the session of the account
    assert browser.get("/desk/").status_code == 302
    assert browser.session["code"] == code and browser.get("/code").status_code == 200
    sign_in("ann")
    browser.post("/desk/sign-out")
    assert (browser.session["code"], browser.get("/desk/").status_code) == (code, 302)
    for form in ("/leave", "/delete"):
        browser = portal.participant()
        sign_in("ann")
        browser.post(form, {"sure": "yes"})
        assert shown() == (403, 200)


@pytest.mark.parametrize("address", ["/", "/vote", "/votes", "/delete", "/desk/sign-in", "/nowhere"])
def test_the_head_of_a_page_is_that_of_the_page(portal: Portal, address: str) -> None:
    portal.let_in(1)
    browser = portal.participant()
    page, head = browser.get(address), browser.head(address)
    assert head.status_code == page.status_code == (404 if address == "/nowhere" else 200)
    assert head.content == b"" and head["Content-Length"] == str(len(page.content))


@pytest.mark.parametrize("address", ["/join", "/leave", "/undo", "/desk/sign-out"])
def test_the_address_of_a_form_opened_by_itself_leads_to_the_first_page(portal: Portal, address: str) -> None:
    answer = portal.participant().get(address)
    assert (answer.status_code, answer["Location"]) == (302, "/")


@pytest.mark.parametrize(
    ("name", "role"), [("a" * 101, "moderator"), ("ann", "a" * 101), ("ann", "=1+1"), ("a\nb", "b")]
)
def test_an_account_whose_name_or_role_no_database_or_ledger_takes_is_told(
    portal: Portal, name: str, role: str
) -> None:
    from ccai_dagster.portal.models import Account
    from ccai_dagster.portal.team import keep_account

    with pytest.raises(ConsultationError, match=r"at most 100 characters|begin with a letter"):
        keep_account(name, role)
    assert not Account.objects.exists()


def test_the_database_itself_refuses_a_second_vote_and_a_vote_that_is_none(portal: Portal) -> None:
    portal.let_in(1)
    portal.participant().post("/vote", {"statement": 1, "vote": "agree"})
    insert = "INSERT INTO portal_vote (participant_id, statement_id, value, voted_at, minimum_decision) VALUES "
    with closing(sqlite3.connect(portal.home.portal)) as connection:
        for row in ("(1, 1, 1, 0, '')", "(1, 2, 2, 0, '')"):
            with pytest.raises(sqlite3.IntegrityError):
                connection.execute(insert + row)


def _voted(portal: Portal, *statements: int) -> Any:
    browser = portal.participant()
    for each in statements:
        browser.post("/vote", {"statement": each, "vote": "agree"})
    return browser


def test_a_statement_may_be_added_after_the_minimum_that_is_on_record_and_nearest_ones_are_shown(
    portal: Portal,
) -> None:
    portal.let_in(1, 2, 3, 4)
    browser = _voted(portal, 1, 2)
    own = "The AI should always be kind to children."
    assert b"2 of 3" in browser.get("/add").content
    assert browser.post("/add", {"text": own, "sure": "yes"}).status_code == 409
    browser.post("/vote", {"statement": 3, "vote": "pass"})
    assert SEEDS[0] in browser.post("/add", {"text": own}).content.decode()
    assert b"Thank you" in browser.post("/add", {"text": own, "sure": "yes"}).content
    assert b"Thank you" in browser.post("/add", {"text": own, "sure": "yes"}).content  # sent twice
    answer = browser.post("/add", {"text": "the AI should  always be kind to children", "sure": "yes"})
    assert answer.status_code == 409 and b"there already" in answer.content
    assert portal.votes()[-1] == (1, 5, 1)
    with closing(sqlite3.connect(portal.home.portal)) as connection:
        assert connection.execute("SELECT DISTINCT minimum_decision FROM portal_vote").fetchall() == [("T-portal",)]


@pytest.mark.parametrize("typed", ["", " . ", "x" * 281, "hid\u202eden", "nul\x00l", "be\x07ll"])
def test_a_statement_that_cannot_be_kept_is_told_before_it_is_sent(portal: Portal, typed: str) -> None:
    portal.let_in(1)
    answer = _voted(portal, 1).post("/add", {"text": typed})
    assert answer.status_code == 400 and b'role="alert"' in answer.content


def test_what_somebody_typed_is_text_wherever_it_is_shown(portal: Portal) -> None:
    portal.let_in(1)
    browser = _voted(portal, 1)
    browser.post("/add", {"text": HOSTILE, "sure": "yes"})
    moderator = portal.moderator("bob", "second moderator")
    pages = [moderator.get("/desk/"), browser.get("/votes"), browser.post("/add", {"text": HOSTILE})]
    portal.let_in(5, moderator=moderator)
    pages.append(portal.participant().get("/vote"))
    for page in pages[:3]:
        assert "&lt;script&gt;" in page.content.decode()
    for page in pages:
        text = page.content.decode()
        assert "<script>" not in text and "alert('x')" not in text
        assert "script-src 'self'" in page.headers["Content-Security-Policy"]


def test_deleting_ones_data_leaves_the_statement_without_its_author(portal: Portal) -> None:
    portal.let_in(1)
    browser = _voted(portal, 1)
    browser.post("/add", {"text": "The AI should sing.", "sure": "yes"})
    assert b"2 answers" in browser.get("/delete").content
    browser.post("/delete", {"sure": "yes"})
    assert portal.votes() == []
    raw = portal_import(portal.home.portal).raw_statements
    assert raw.filter(text="The AI should sing.")["author_id"].to_list() == [None]
    answer = browser.get("/vote")
    assert answer.status_code == 403 and b"or your data were deleted. If they were not" in answer.content
    _voted(portal, 1)
    assert portal.votes() == [(2, 1, 1)]  # a number is never given twice


def test_the_code_of_whoever_deletes_everything_is_in_no_file_any_more(portal: Portal) -> None:
    from ccai_dagster.portal.models import Participant

    def files() -> bytes:
        return b"".join(path.read_bytes() for path in database_files(portal.home.portal))

    browser = portal.participant()
    digest = Participant.objects.get().code_digest.encode()
    assert digest in files()
    browser.post("/delete", {"sure": "yes"})
    assert digest not in files()


def test_an_author_answers_the_own_statement_again_while_it_waits(portal: Portal) -> None:
    portal.let_in(1)
    browser, other = _voted(portal, 1), portal.participant()
    browser.post("/add", {"text": "The AI should sing.", "sure": "yes"})
    assert browser.post("/undo", {"statement": 5}).headers["Location"] == "/vote?again=5"
    assert statement_in(browser.get("/vote?again=5").content.decode()) == 5
    assert b"You have taken your answer back" in browser.get("/votes").content
    assert browser.post("/vote", {"statement": 5, "vote": "disagree"}).status_code == 302
    assert portal.votes() == [(1, 1, 1), (1, 5, -1)]
    assert statement_in(other.get("/vote?again=5").content.decode()) == 1
    assert other.post("/vote", {"statement": 5, "vote": "agree"}).status_code == 409


def test_the_next_statement_is_drawn_in_proportion_to_its_priority(portal: Portal) -> None:
    from ccai_dagster.portal.figures import compute
    from ccai_dagster.portal.participant_views import source

    portal.let_in(1, 2, 3, 4)
    for answers in (("agree", "agree", "disagree"), ("agree", "disagree", "disagree"), ("agree", "agree", "pass")):
        browser = portal.participant()
        for statement, answer in enumerate(answers, start=1):
            browser.post("/vote", {"statement": statement, "vote": answer})
    portal.renew()
    figures, rng = source().now(), np.random.default_rng(5)
    # Nobody voted on 4: (1 - 1/2) x 1 x 1/2 x 9, squared.
    assert figures.priorities[3] == pytest.approx(5.0625)
    # Everybody agreed with 1, so that its extremity is 0.
    agreed = comment_priority(*(np.array([each]) for each in (3, 0, 3, 0.0, False)))
    assert figures.priorities[0] == pytest.approx(agreed[0])
    drawn = Counter(figures.draw({2, 3}, rng) for _ in range(4000))
    assert set(drawn) == {1, 4}
    share = figures.priorities[3] / (figures.priorities[0] + figures.priorities[3])
    assert drawn[4] / 4000 == pytest.approx(share, abs=0.03)
    assert compute.__module__ == "ccai_dagster.portal.figures" and figures.draw({1, 2, 3, 4}, rng) is None


def test_a_ledger_broken_by_hand_leaves_what_is_shown_as_it_was(portal: Portal) -> None:
    portal.let_in(1)
    path = portal.consultation.ledger("moderation")
    path.write_text(path.read_text() + "broken\n")
    portal.renew()
    browser = _voted(portal, 1)
    assert portal.votes() == [(1, 1, 1)]
    assert browser.get("/votes").status_code == 200
    answer = portal.moderator().get("/desk/")
    assert answer.status_code == 503 and b"moderation.csv" in answer.content
    path.parent.rename(path.parent.with_name("elsewhere"))
    path.parent.touch()  # no ledger can be looked at
    portal.renew()
    assert browser.get("/vote").status_code == 200


def test_a_moderator_decides_several_at_once_and_the_row_is_that_of_the_command(portal: Portal) -> None:
    moderator = portal.moderator("ann", "moderator")
    form = {"statement": ["2", "4"], "verb": "out", "text": "off topic", "reason": "not about the question"}
    assert moderator.post("/desk/", form).headers["Location"] == "/desk/?recorded=moderation-1"
    (row,) = read_ledger(portal.consultation.ledger("moderation"), "moderation").to_dicts()
    assert (row["subject_ids"], row["outcome"], row["decided_by"]) == (["2", "4"], "out: off topic", "moderator")
    assert len(row["inputs_digest"]) == 64
    change = {"statement": "4", "seen-4": "moderation-1", "verb": "in", "text": "", "reason": "it does fit"}
    assert moderator.post("/desk/?show=decided", change).status_code == 302
    rows = read_ledger(portal.consultation.ledger("moderation"), "moderation").to_dicts()
    assert [(each["subject_ids"], each["outcome"], each["supersedes"]) for each in rows[1:]] == [
        (["4"], "in", "moderation-1"),
        (["2"], "out: off topic", "moderation-1"),
    ]


def test_the_second_of_two_moderators_is_told_and_a_form_sent_twice_is_one_row(portal: Portal) -> None:
    first, second = portal.moderator("ann", "moderator"), portal.moderator("bob", "second moderator")
    form = {"statement": "1", "seen-1": "", "verb": "in", "text": "", "reason": "fits"}
    assert first.post("/desk/", form).status_code == 302
    for browser in (second, first):
        answer = browser.post("/desk/", form)
        assert answer.status_code == 409
        assert "was decided by moderator (moderation-1) in the meantime" in answer.content.decode()
    assert read_ledger(portal.consultation.ledger("moderation"), "moderation").height == 1


@pytest.mark.parametrize(
    "form",
    [
        {"verb": "in", "reason": "r"},
        {"statement": "1", "verb": "in"},
        {"statement": "1", "verb": "out", "reason": "r"},
        {"statement": "1", "verb": "steal", "reason": "r"},
        {"statement": "77", "verb": "in", "reason": "r"},
        {"statement": "1", "verb": "in", "reason": "=SUM(A1)"},
        {"statement": ["1", "2"], "verb": "rewrite", "text": "new", "reason": "r"},
    ],
    ids=["nothing ticked", "no reason", "no criterion", "unknown verb", "unknown statement", "formula", "two texts"],
)
def test_an_incomplete_decision_is_refused_and_what_was_typed_stays(portal: Portal, form: dict[str, str]) -> None:
    answer = portal.moderator().post("/desk/", form)
    assert answer.status_code == 409 and b'role="alert"' in answer.content
    assert read_ledger(portal.consultation.ledger("moderation"), "moderation").is_empty()


def test_nobody_comes_to_the_desk_without_an_account(portal: Portal) -> None:
    from ccai_dagster.portal.team import keep_account, remove_account

    for browser in (portal.browser(), portal.participant()):
        assert browser.get("/desk/").headers["Location"].startswith("/desk/sign-in")
        assert browser.post("/desk/", {"statement": "1"}).status_code == 403
    assert portal.browser().post("/desk/sign-in", {"name": "ann", "password": "guess"}).status_code == 400
    moderator = portal.moderator("ann")
    assert moderator.get("/desk/").status_code == 200
    keep_account("ann", "moderator")  # a new password ends the sessions of the old one
    assert moderator.get("/desk/").status_code == 302
    remove_account("ann")
    with pytest.raises(ConsultationError, match="no account 'ann'"):
        remove_account("ann")


@pytest.fixture
def compared(portal: Portal) -> list[ShownPair]:
    """Three pairs of responses that wait for raters."""
    comparisons = compare(portal, f"one {HOSTILE}")
    folder = portal.consultation.ratings
    write_pairs(folder, blinded_pairs(comparisons, ("public", "standard"), "helpfulness", 3, 7), None)
    return shown_pairs(comparisons, folder)


def test_raters_compare_without_knowing_whose_and_the_answers_are_what_the_import_reads(
    portal: Portal, compared: list[ShownPair]
) -> None:
    from django.utils.html import escape

    from ccai_dagster.portal.rating import rating_state

    rater, said = portal.rater(), {}
    for done, (answer, reason) in enumerate([("1", "clearer"), ("tie", ""), ("2", HOSTILE)]):
        page = rater.get("/rate/").content.decode()
        assert f"{done} of 3" in page and "public" not in page and "standard" not in page and "<script>a" not in page
        (pair,) = re.findall(r'name="pair" value="(\w+)"', page)
        shown = next(each for each in compared if each.pair_id == pair)
        assert page.index(escape(shown.response_1)) < page.index(escape(shown.response_2))
        assert rater.post("/rate/", {"pair": pair, "rating": answer, "reason": reason}).status_code == 302
        said[pair] = answer
    assert b"answered everything" in rater.get("/rate/").content
    on_record = read_ratings(portal.consultation.ratings)
    assert dict(on_record.select("pair_id", "rating").iter_rows()) == said
    file = portal.home.portal_ratings / "rater-1.csv"
    assert import_ratings(portal.consultation.ratings, file, "rater-1") == Imported(0, 3, 0)
    assert [row["reason"] for _, row in sheet_rows(file, ["reason"])] == ["clearer", "", HOSTILE]
    orders = {rating_state(OpenConsultation(portal.consultation, portal.home), f"rater-{n}").next for n in range(2, 12)}
    assert len(orders) > 1, "each has an order of one's own"


def test_a_rating_whose_import_did_not_happen_is_taken_when_it_is_sent_again(
    portal: Portal, compared: list[ShownPair]
) -> None:
    rater, form = portal.rater(), {"pair": compared[0].pair_id, "rating": "1"}
    rater.post("/rate/", form)
    (portal.consultation.ratings / "rater-1.csv").unlink()  # as if the server had been killed before
    assert [rater.post("/rate/", form).status_code for _ in range(2)] == [302, 302]
    assert read_ratings(portal.consultation.ratings)["rating"].to_list() == ["1"]


def test_ten_thousand_statements_that_wait_are_listed_and_decided_and_the_public_goes_on_voting(portal: Portal) -> None:
    from ccai_dagster.portal.models import Statement

    portal.let_in(1)
    texts = [f"The AI should answer {'very ' * (number % 7)}briefly to question {number}." for number in range(10_000)]
    Statement.objects.bulk_create(Statement(text=each, key=each) for each in texts)
    moderator, began = portal.moderator(), time.process_time()
    page = moderator.get("/desk/?from=9980").content.decode()
    assert "Waiting for you: 10003" in page and page.count("<li>") >= 20
    form = {"statement": "10004", "seen-10004": "", "verb": "in", "text": "", "reason": "fits"}
    assert moderator.post("/desk/", form).status_code == 302
    assert _voted(portal, 1).get("/vote").status_code == 200
    assert time.process_time() - began < 10


def test_a_rating_counts_once_and_only_for_what_was_shown(portal: Portal, compared: list[ShownPair]) -> None:
    rater, pair = portal.rater(), compared[0].pair_id
    for form, told in [({"pair": pair}, b"Choose"), ({"pair": "other", "rating": "1"}, b"not asked about")]:
        answer = rater.post("/rate/", form)
        assert answer.status_code == 409 and told in answer.content
    assert read_ratings(portal.consultation.ratings).is_empty()
    got = [rater.post("/rate/", {"pair": pair, "rating": each}).status_code for each in ("1", "1", "2")]
    assert got == [302, 302, 409]
    assert read_ratings(portal.consultation.ratings)["rating"].to_list() == ["1"]


def test_raters_and_moderators_see_nothing_of_each_other(portal: Portal) -> None:
    from ccai_dagster.portal.team import keep_account

    for page in ("/desk/", "/desk/feedback"):
        assert portal.rater().get(page).headers["Location"] == "/rate/"
    assert portal.moderator().get("/rate/").headers["Location"] == "/desk/ledgers"
    assert portal.browser().get("/rate/").headers["Location"].startswith("/desk/sign-in")
    assert b"nothing to compare yet" in portal.rater("rater-2").get("/rate/").content
    with pytest.raises(ConsultationError, match="--role Ann Smith: give a role or pseudonym"):
        keep_account("ann", "Ann Smith", rates=True)


def _talked(portal: Portal) -> None:
    """Three people voted; one wrote what is hard to keep in a CSV."""
    portal.let_in(1, 2, 3)
    for answers in (("agree", "disagree", "pass"), ("disagree", "agree", "agree"), ("agree",)):
        browser = portal.participant()
        for statement, answer in enumerate(answers, start=1):
            browser.post("/vote", {"statement": statement, "vote": answer})
        if len(answers) == 3:
            browser.post("/add", {"text": f"{HOSTILE} {answers[0]}; “é”, \u2019", "sure": "yes"})


def test_the_classic_files_read_back_are_the_tables_of_the_portal(portal: Portal, tmp_path: Path) -> None:
    _talked(portal)
    for name, text in portal_files(portal.home.portal).items():
        (tmp_path / name).write_text(text, encoding="utf-8", newline="")
    read, own = read_votes(tmp_path), portal_import(portal.home.portal)
    assert own.raw_votes.height == 9 and own.raw_statements.height == 6
    assert_frame_equal(read.raw_statements, own.raw_statements)
    assert_frame_equal(read.raw_votes, own.raw_votes)
    assert_frame_equal(read.raw_participants, own.raw_participants)


def test_the_graph_computes_from_the_portal_and_its_export_read_back_is_equal(portal: Portal, tmp_path: Path) -> None:
    # Takes some seconds, since Dagster runs the import and the tables for real.
    from django.db.models import F

    from ccai_dagster.portal.models import Vote

    ledger = portal.consultation.ledger("threshold")
    ledger.write_text(ledger.read_text().replace("minimum_votes,7,", "minimum_votes,1,", 1))
    portal.let_in(1, 2, 3, 4)
    for who in range(12):
        browser = portal.participant(age="under 40" if who < 7 else "40 and older")
        for statement, answer in enumerate(("agree", "agree" if who % 3 else "disagree", "pass"), start=1):
            browser.post("/vote", {"statement": statement, "vote": answer})
    browser.post("/add", {"text": HOSTILE, "sure": "yes"})
    # So many votes of one second would be taken for times that a spreadsheet has rounded.
    Vote.objects.update(voted_at=F("voted_at") + F("pk"))
    given = portal_import(portal.home.portal)
    file = portal.consultation.file
    later = DemographicQuestion(
        name="region", question="Where?", answers=["north", "south"], targets={"north": 0.5, "south": 0.5}
    )
    asked_now = file.model_copy(update={"demographics": [*file.demographics, later]})
    home, chosen = portal.home, portal.consultation.model_copy(update={"file": asked_now})
    stages = [decisions.build(chosen, home), public_input.build(chosen), deliberation.build(chosen)]
    assets = [each for stage in (*stages, public_opinion.build(chosen)) for each in stage]
    resources = {
        "tables": Tables(url=home.tables_url),
        "vote_source": VoteSource(downloads=str(home.downloads), portal=str(home.portal)),
    }
    observe = dg.define_asset_job("observe", dg.AssetSelection.assets("polis_export"))
    with dg.DagsterInstance.ephemeral() as instance, white_paper():
        graph = dg.Definitions(assets=assets, resources=resources, jobs=[observe])
        assert graph.resolve_job_def("observe").execute_in_process(instance=instance).success
        wanted = [*public_input.TABLES, *TABLES, "group_votes", "votes", "group_structure", *SAMPLE]
        assert dg.materialize(assets, instance=instance, resources=resources, selection=sorted({*wanted})).success
    opened = OpenConsultation(chosen, home)
    asked = opened.table("sample_representativeness")
    assert asked is not None and asked.select("answer", "n", "n_told").rows() == [
        ("under 40", 7, 12),
        ("40 and older", 5, 12),
        ("north", 0, 0),
        ("south", 0, 0),
    ]
    assert asked["weight"].to_list()[:2] == pytest.approx([0.4 * 12 / 7, 0.6 * 12 / 5])
    weighted = opened.table("weighted_consensus")
    assert weighted is not None and (weighted["gac"] - weighted["gac_weighted"]).abs().max() > 0.01
    export(opened, tmp_path / "polis", print)
    read = read_votes(tmp_path / "polis")
    assert_frame_equal(read.raw_votes, given.raw_votes)
    moderated = given.raw_statements.with_columns(
        moderated=(pl.col("statement_id") < 5).cast(pl.Int8),
        # In these forms the organisers are somebody, who has the number after the last participant's.
        author_id=pl.col("author_id").fill_null(13),
    )
    assert_frame_equal(read.raw_statements, moderated)
    shutil.rmtree(home.downloads)


def test_what_people_said_about_themselves_reaches_the_import_with_the_votes(portal: Portal, tmp_path: Path) -> None:
    portal.let_in(1)
    before = portal_files(portal.home.portal)
    for age in ("40 and older", "", "under 40"):
        portal.participant(age=age).post("/vote", {"statement": 1, "vote": "agree"})
    files = portal_files(portal.home.portal)
    assert files.keys() - before.keys() == {"participant-demographics.csv"}
    for name, text in files.items():
        (tmp_path / name).write_text(text, encoding="utf-8", newline="")
    found = find_vote_files(tmp_path)
    assert found.digest() == portal_digest(portal.home.portal)
    voted = read_votes(tmp_path).raw_participants["participant_id"].to_list()
    asked = {"age": ["under 40", "40 and older"], "region": ["north", "south"]}
    told = read_demographics(found.files[DEMOGRAPHICS], asked, voted, of_portal=True)
    assert told.rows() == [(1, "age", "40 and older"), (3, "age", "under 40")]


def test_what_comes_too_fast_is_refused_and_nothing_of_it_is_counted(portal: Portal) -> None:
    portal.let_in(1)
    browser = portal.participant()
    got = [browser.post("/vote", {"statement": 1, "vote": "agree"}).status_code for _ in range(61)]
    assert got == [302] * 60 + [429]
    assert _voted(portal, 1).get("/vote").status_code == 200
    wrong = [portal.browser().post("/return", {"code": "aaaa"}).status_code for _ in range(61)]
    assert wrong == [400] * 60 + [429]
    other = portal.browser(REMOTE_ADDR="198.51.100.7")
    assert other.post("/return", {"code": "aaaa"}).status_code == 400
    guessed = [portal.browser().post("/desk/sign-in", {"name": "x", "password": "y"}).status_code for _ in range(20)]
    assert guessed[-2:] == [400, 429]


def test_people_who_begin_are_counted_and_forms_that_let_nobody_in_are_not(
    portal: Portal, monkeypatch: pytest.MonkeyPatch
) -> None:
    set_limit(portal, monkeypatch, joins_a_day=2)
    form = {"consent": "yes", "question-0": "Yes"}
    sent = [{}, {"consent": "yes"}, {**form, "question-0": "No"}, form, {**form, "about-age": "x"}, form, form]
    got = [portal.browser().post("/join", each) for each in sent]
    assert [each.status_code for each in got] == [400, 400, 200, 302, 400, 302, 429]
    assert b"after a day at the latest" in got[-1].content and b"a little" not in got[-1].content
    elsewhere = portal.browser(REMOTE_ADDR="198.51.100.7")
    assert [elsewhere.post("/join").status_code for _ in range(21)] == [400] * 20 + [429]


def test_people_read_the_language_they_choose_or_their_browser_asks_for_and_the_team_reads_english(
    portal: Portal,
) -> None:
    portal.let_in(1)
    browser = portal.browser(HTTP_ACCEPT_LANGUAGE="de-AT,de;q=0.9,en;q=0.5")
    browser.post("/join", {"consent": "yes", "question-0": "Yes"})
    page = browser.get("/vote")
    text = page.content.decode()
    assert '<html lang="de" dir="ltr">' in text and "Stimme nicht zu" in text and "0 von 1" in text
    assert page.headers["Content-Language"] == "de" and "Accept-Language" in page.headers["Vary"]
    assert "Das ist keine Antwort" in browser.post("/vote", {"statement": 1, "vote": "x"}).content.decode()
    browser.post("/language", {"language": "ar"})
    text = browser.get("/vote").content.decode()
    assert '<html lang="ar" dir="rtl">' in text and "غير موافق" in text and '<blockquote dir="auto" ' in text
    assert 'lang="ar"' in browser.get("/desk/sign-in").content.decode()
    moderator = portal.moderator()
    moderator.cookies["django_language"] = "ar"
    assert '<html lang="en" dir="ltr">' in moderator.get("/desk/").content.decode()
    assert '<html lang="en" dir="ltr">' in portal.browser(HTTP_ACCEPT_LANGUAGE="fr, x;q=y").get("/").content.decode()


def test_somebody_sees_the_own_place_among_groups_and_nobody_elses(portal: Portal) -> None:
    from ccai_dagster.portal.participant_views import source

    ledger = portal.consultation.ledger("threshold")
    ledger.write_text(ledger.read_text().replace("minimum_votes,7,", "minimum_votes,3,", 1))
    portal.let_in(1, 2, 3, 4)
    sides, browsers = ("agree", "agree", "disagree", "disagree"), []
    for who in range(14):
        browser = portal.participant()
        browsers.append(browser)
        turned = sides if who < 8 else sides[::-1]
        for statement, answer in enumerate(turned[: 4 - who % 2], start=1):
            browser.post("/vote", {"statement": statement, "vote": answer})
    late = portal.participant()
    assert b"There are no groups" in late.get("/map").content
    portal.renew()
    outlines, places = source().now().map.outlines, source().now().map.places
    assert [(each.letters, each.people) for each in outlines] == [("A", 10), ("B", 5)]
    assert [places[who][2] for who in (1, 8, 9, 14)] == ["A", "A", "B", "B"]
    page = browsers[0].get("/map").content.decode()
    assert "You stand nearest to group A" in page and page.count("<ellipse") == 2 and page.count("<circle") == 1
    x, y, _ = places[1]
    assert f'cx="{x}" cy="{y}"' in page and f"<td>{x}</td><td>{400 - y}</td>" in page
    others = {place[:2] for place in places.values()} - {(x, y)}
    assert others and not [each for each in others if f'"{each[0]}" cy="{each[1]}"' in page]
    assert all(value % 10 == 0 for each in outlines for value in (each.x, each.y, each.across, each.up))
    assert b"once you have given 3 answers" in late.get("/map").content
    ledger.write_text(ledger.read_text().replace("minimum_votes,3,", "minimum_votes,1,", 1))
    portal.renew()
    told = {
        code: portal.participant().get("/map", HTTP_ACCEPT_LANGUAGE=code).content.decode()
        for code in ("en", "de", "ar")
    }
    assert "once you have given 1 answer." in told["en"] and "sobald Sie 1 Antwort gegeben haben" in told["de"]
    assert "عندما تعطي إجابة واحدة (1)" in told["ar"]


def test_a_group_too_small_to_be_told_is_not_on_the_map(portal: Portal) -> None:
    from ccai_dagster.deliberation.votes import VoteMatrix
    from ccai_dagster.portal.opinion_map import NOTHING, map_figures

    procedure = thresholds(read_ledger(portal.consultation.ledger("threshold"), "threshold"), 1).procedure
    people, cells = np.arange(16), np.arange(64)
    side = np.where(people < 12, 1, -1)
    votes = (np.repeat(side, 4) * np.tile([1, 1, -1, -1], 16)).astype(np.int8)
    matrix = VoteMatrix(people, np.arange(4), cells // 4, cells % 4, votes)
    assert map_figures(matrix, replace(procedure, smallest_group=1)) == NOTHING


def test_a_client_is_counted_for_a_day_and_its_address_is_nowhere() -> None:
    from ccai_dagster.portal.limits import Counts, Limit

    now = [100.0]
    counted = Counts(clock=lambda: now[0])
    hourly = Limit(2, 3600)
    assert [counted.allows("joined", "198.51.100.7", hourly) for _ in range(3)] == [True, True, False]
    assert counted.allows("joined", "198.51.100.8", hourly) and counted.allows("codes", "198.51.100.7", hourly)
    assert "198.51" not in repr(counted)
    key = counted._key
    now[0] += 3600
    assert counted.allows("joined", "198.51.100.7", hourly) and counted._key == key
    now[0] += 23 * 3600
    assert counted.allows("joined", "198.51.100.7", Limit(1, 86400)) and counted._key != key
    assert len(counted._times) == 1


@pytest.mark.parametrize(
    ("hosts", "headers", "told"),
    [
        (0, {"HTTP_X_FORWARDED_FOR": "203.0.113.1"}, "127.0.0.1"),
        (1, {"HTTP_X_FORWARDED_FOR": "203.0.113.1, 203.0.113.9"}, "203.0.113.9"),
        (1, {}, "127.0.0.1"),
        (1, {"HTTP_X_FORWARDED_FOR": "2001:db8:1:2:3:4:5:6"}, "2001:db8:1:2::/64"),
    ],
    ids=["no proxy", "proxy", "this machine", "IPv6"],
)
def test_the_client_is_whom_the_proxy_names_and_nobody_else_does(
    served_portal: Portal, monkeypatch: pytest.MonkeyPatch, hosts: int, headers: dict[str, str], told: str
) -> None:
    from django.conf import settings
    from django.test import RequestFactory

    from ccai_dagster.portal.limits import client

    monkeypatch.setattr(settings, "ALLOWED_HOSTS", [*settings.ALLOWED_HOSTS, *["vote.example"] * hosts])
    assert client(RequestFactory().get("/", **headers)) == told


def test_what_is_observed_is_a_copy_that_later_votes_do_not_change(portal: Portal) -> None:
    _talked(portal)
    source = VoteSource(downloads=str(portal.home.downloads), portal=str(portal.home.portal))
    observed = source.observe("portal")
    assert observed.version == portal_digest(portal.home.portal)
    assert observed.version in present_versions(portal.consultation).values()
    _voted(portal, 2)
    assert find_vote_files(source.place("portal", observed.version)).digest() == observed.version
    assert portal_digest(portal.home.portal) != observed.version
    shutil.rmtree(portal.home.downloads)


def test_no_code_of_a_participant_reaches_the_files(portal: Portal) -> None:
    _talked(portal)
    with closing(sqlite3.connect(portal.home.portal)) as connection:
        digests = [each for (each,) in connection.execute("SELECT code_digest FROM portal_participant")]
    files = "".join(portal_files(portal.home.portal).values())
    assert len(digests) == 3 and not any(each in files for each in digests)


def test_a_consultation_that_was_renamed_is_told_where_its_portal_is(tmp_path: Path) -> None:
    for name, folder in (("old", tmp_path / "gone"), ("other", tmp_path), ("sample", "sample:")):
        home = Home(tmp_path / "home", name)
        home.folder.mkdir(parents=True)
        home.portal_key.write_text("secret")
        home.source.write_text(f"{folder}\n")
    renamed = Home(tmp_path / "home", "new")
    assert cli_serve.left_behind(renamed) == [tmp_path / "home" / "old"]
    renamed.folder.mkdir()
    renamed.portal_key.write_text("secret")
    assert cli_serve.left_behind(renamed) == []


def test_a_portal_that_was_never_opened_is_told(tmp_path: Path) -> None:
    with pytest.raises(ConsultationError, match="`ccai serve` opens it"):
        portal_import(tmp_path / "portal.sqlite")
    (tmp_path / "portal.sqlite").write_text("no database, but long enough to be looked at" * 9)
    with pytest.raises(ConsultationError, match="cannot be read"):
        portal_import(tmp_path / "portal.sqlite")


def test_accepted_answers_are_among_the_answers() -> None:
    question = {"question": "q", "answers": ["a", "b"], "accepted": ["c"]}
    with pytest.raises(ValueError, match="is none of the answers"):
        PortalSettings.model_validate({"screening": [question]})


def test_the_portal_without_any_votes_is_read_for_moderation(portal: Portal) -> None:
    own = portal_import(portal.home.portal)
    assert own.raw_votes.schema == portal_schema() and own.raw_statements["is_seed"].all()


def portal_schema() -> pl.Schema:
    from ccai_dagster.contracts import RAW_VOTES

    return RAW_VOTES.empty().schema
