"""The portal in PostgreSQL: what people said reaches the import, and nobody else's does."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import httpx
import last_place
import pytest
import sqlalchemy
from local_server import SETTINGS, Server, chat
from postgres_server import PASSWORD
from small_portal import Portal, compare, password_of, portal_folder, serving, statement_in

from ccai_dagster.consultation.folder import Consultation
from ccai_dagster.core.errors import ConsultationError
from ccai_dagster.core.home import Home
from ccai_dagster.core.portal_database import VARIABLE, claim_schema
from ccai_dagster.deliberation.importing.portal import portal_digest, portal_import
from ccai_dagster.evaluation.conversation_ratings import OpenArm, OpenConversations, write_open
from ccai_dagster.evaluation.ratings import read_ratings, responses_digest
from resources.vote_source import VoteSource

ERASED = ("portal_participant", "portal_vote", "portal_statement")
"""Tables that say who somebody was, voted and wrote."""


@dataclass
class InPostgres:
    """A consultation whose portal was served from PostgreSQL, and the server that has it."""

    consultation: Consultation
    home: Home
    address: str
    database: str

    def ask(self, query: str) -> list[tuple[object, ...]]:
        engine = sqlalchemy.create_engine(self.database.replace("postgresql:", "postgresql+psycopg2:"))
        with engine.begin() as connection:
            found = connection.exec_driver_sql(query)
            rows = [tuple(row) for row in found] if found.returns_rows else []
        engine.dispose()
        return rows


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory, database: str) -> Iterator[InPostgres]:
    root = tmp_path_factory.mktemp("in postgres")
    consultation = portal_folder(root / "town", moderation="lenient")
    with (
        pytest.MonkeyPatch.context() as patch,
        serving(root / "town", root / "home", **{VARIABLE: database}) as address,
    ):
        patch.setenv(VARIABLE, database)
        yield InPostgres(consultation, Home(root / "home", "town"), address, database)


@dataclass
class Person:
    """Somebody with a browser who takes part."""

    served: InPostgres
    browser: httpx.Client = field(default_factory=lambda: httpx.Client(follow_redirects=True))

    def get(self, path: str) -> str:
        return self.browser.get(f"{self.served.address}{path}").text

    def post(self, path: str, at: str = "/feedback", **form: str) -> httpx.Response:
        (token,) = set(re.findall(r'name="csrfmiddlewaretoken" value="(\w+)"', self.get(at)))
        given = {**form, "csrfmiddlewaretoken": token}
        return self.browser.post(f"{self.served.address}{path}", data=given)

    def join(self, **form: str) -> str:
        page = self.post("/join", consent="yes", **{"question-0": "Yes"}, **form).text
        return re.findall(r'class="code">([\w-]+)<', page)[0]


def test_votes_reach_the_import_and_what_somebody_deletes_is_in_no_file_of_a_table(served: InPostgres) -> None:
    one, other = Person(served), Person(served)
    one.join(**{"about-age": "under 40"})
    other.join()
    for statement, answer in (("1", "agree"), ("2", "disagree"), ("3", "pass")):
        one.post("/vote", statement=statement, vote=answer)
    other.post("/vote", statement="2", vote="pass")
    assert statement_in(one.get("/vote")) == 4
    assert "Thank you" in one.post("/add", text="The AI should sing.", sure="yes").text
    held = portal_import(served.home.portal)
    assert held.raw_votes.group_by("participant_id").len().sort("participant_id")["len"].to_list() == [4, 1]
    assert held.raw_statements["is_seed"].to_list() == [True] * 4 + [False]
    source = VoteSource(downloads=str(served.home.downloads), portal=str(served.home.portal))
    before = source.observe("portal")
    assert before.version == portal_digest(served.home.portal)
    assert not served.home.portal.exists()

    digest = served.ask("SELECT code_digest FROM portal_town.portal_participant ORDER BY id")[0][0]
    files = "SELECT pg_relation_filepath('portal_town.{}') FROM portal_town.portal_vote LIMIT 1"
    before_deletion = [served.ask(files.format(table)) for table in ERASED]
    assert "Your data are deleted" in one.post("/delete", sure="yes").text
    after = [served.ask(files.format(table)) for table in ERASED]
    assert all(new != old for new, old in zip(after, before_deletion, strict=True))
    served.ask("CHECKPOINT")
    place = Path(str(served.ask("SHOW data_directory")[0][0]))
    tables = [path.read_bytes() for path in (place / "base").rglob("*") if path.is_file()]
    assert tables and not any(str(digest).encode() in table for table in tables)
    one.browser.close()
    left = portal_import(served.home.portal)
    assert left.raw_votes["participant_id"].to_list() == [2]
    assert left.raw_statements.filter(text="The AI should sing.")["author_id"].to_list() == [None]
    assert portal_digest(served.home.portal) != before.version


def test_who_votes_in_other_tabs_while_deleting_everything_leaves_nothing(served: InPostgres) -> None:
    for _ in range(4):
        person = Person(served)
        person.join()
        (number,) = served.ask("SELECT max(id) FROM portal_town.portal_participant")[0]
        (token,) = set(re.findall(r'name="csrfmiddlewaretoken" value="(\w+)"', person.get("/delete")))
        forms = [("/delete", {"sure": "yes"}), *(("/vote", {"statement": n, "vote": "agree"}) for n in "12341234")]
        answers = at_once(
            [
                partial(person.browser.post, f"{served.address}{path}", data={**form, "csrfmiddlewaretoken": token})
                for path, form in forms
            ]
        )
        assert answers[0].status_code == 200
        assert {each.status_code for each in answers[1:]} <= {200, 403, 409}
        voted = {who for (who,) in served.ask("SELECT participant_id FROM portal_town.portal_vote")}
        assert number not in voted


def test_a_rater_who_sends_all_twice_at_once_talks_once_and_the_first_choice_counts(
    served: InPostgres, server: Server
) -> None:
    comparisons, page = compare(Portal(served.consultation, served.home)), "/rate/conversation/helpfulness"
    where = {"server_url": server.model.url, "server": SETTINGS, "proof": "the same"}
    arms = [
        OpenArm(arm=arm, responses=responses_digest(comparisons, arm), server_model=arm, **where)
        for arm in ("public", "standard")
    ]
    write_open(served.consultation.ratings, OpenConversations(quality="helpfulness", arms=arms, wanted=40))
    server.answer = lambda body: (200, chat(f"{body['model']} \0 answers"))
    rater = Person(served)
    password = password_of("rater-1", served.consultation.folder, served.home.root, "--role", "rater-1", "--rater")
    rater.post("/desk/sign-in", at="/desk/sign-in", name="rater-1", password=password)

    def five(forms: list[dict[str, str]]) -> set[int]:
        hidden = dict(re.findall(r'name="(conversation|number|csrfmiddlewaretoken)" value="(\w+)"', rater.get(page)))
        sent = [partial(rater.browser.post, f"{served.address}{page}", data={**hidden, **each}) for each in forms]
        return {each.status_code for each in at_once(sent)}

    assert five([{"text": "Say \0 something"}] * 5) == {200}
    assert five([{"rating": "12"[at % 2], "reason": "a \0 b"} for at in range(5)]) == {200, 409}
    turns = served.ask("SELECT number, said, rating, reason FROM portal_town.portal_turn")
    (rating,) = read_ratings(served.consultation.ratings)["rating"]
    assert turns == [(1, "Say \ufffd something", rating, "a \ufffd b")]


def at_once(calls: Sequence[Callable[[], httpx.Response]]) -> list[httpx.Response]:
    with ThreadPoolExecutor(len(calls)) as pool:
        return [each.result() for each in [pool.submit(call) for call in calls]]


def test_of_two_who_ask_at_once_for_the_last_place_one_gets_it(served: InPostgres) -> None:
    # In a process of its own, since Django is set up for one database in each.
    place = {"CCAI_HOME": str(served.home.root), "CCAI_CONSULTATION": str(served.consultation.folder)}
    asked = [sys.executable, last_place.__file__]
    told = subprocess.run(asked, env={**os.environ, **place}, capture_output=True, text=True, check=True)
    assert told.stdout == "no place taken\n"


def test_a_name_that_postgresql_cannot_keep_is_no_account(served: InPostgres) -> None:
    answer = Person(served).post("/desk/sign-in", at="/desk/sign-in", name="a\0b", password="c")
    assert (answer.status_code, "Name or password is wrong" in answer.text) == (400, True)


def test_another_consultation_of_the_same_name_gets_nothing_of_it(served: InPostgres, tmp_path: Path) -> None:
    other = Home(tmp_path / "home", "town")
    with pytest.raises(ConsultationError, match=r"portal\.key: the portal was never opened"):
        portal_import(other.portal)
    other.folder.mkdir(parents=True)
    other.portal_key.write_text("another key", encoding="ascii")
    with pytest.raises(ConsultationError, match="schema portal_town is not of ") as told:
        portal_import(other.portal)
    assert PASSWORD not in str(told.value)
    with pytest.raises(ConsultationError, match="another consultation of this name has it"):
        claim_schema(other.portal)
    village = Home(tmp_path / "home", "village")
    village.folder.mkdir()
    village.portal_key.write_text("its own key", encoding="ascii")
    claim_schema(village.portal)
    with pytest.raises(ConsultationError, match='"portal_statement" does not exist'):
        portal_import(village.portal)


def test_the_password_is_in_no_file_and_no_message(served: InPostgres, monkeypatch: pytest.MonkeyPatch) -> None:
    root = served.home.root
    for path in (*root.rglob("*"), root.with_suffix(".log"), *served.consultation.folder.rglob("*")):
        assert not path.is_file() or PASSWORD.encode() not in path.read_bytes(), path
    monkeypatch.setenv(VARIABLE, f"postgresql://ccai:{PASSWORD}@127.0.0.1:9/ccai")
    with pytest.raises(ConsultationError, match=r"ccai:\*\*\*@127.0.0.1:9/ccai: what people said .*refused") as told:
        portal_import(served.home.portal)
    assert PASSWORD not in str(told.value)
    with pytest.raises(ConsultationError, match=r"the portal cannot be opened there .*refused") as told:
        claim_schema(served.home.portal)
    assert PASSWORD not in str(told.value)
