"""A portal with four statements and three people, served in this process."""

from __future__ import annotations

import os
import re
import shutil
import socket
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import polars as pl
import pytest
import yaml

from ccai_dagster.consultation.folder import SAMPLE, Consultation, read_consultation
from ccai_dagster.contracts import COMPARISONS
from ccai_dagster.core.home import Home
from ccai_dagster.decisions.ledger import COLUMNS
from ccai_dagster.evaluation.elo import pair_id

COMMAND = (sys.executable, "-m", "ccai_dagster.cli.app")
SEEDS = ("The AI should be kind.", "The AI should be brief.", "The AI should say what it is.", "The AI should joke.")
SCREENING = {"question": "Have you heard of AI?", "answers": ["Yes", "No"], "accepted": ["Yes"]}

AGE = {
    "name": "age",
    "question": "How old are you?",
    "answers": ["under 40", "40 and older"],
    "targets": {"under 40": 0.4, "40 and older": 0.6},
}
ANSWERS = "## Why?\n\nSo **that** <b onclick='x()'>you</b> [know](javascript:alert(1)).\n\n![spy](https://example.org/x.png)\n"


def portal_folder(
    folder: Path, minimum: int = 3, seeds: tuple[str, ...] = SEEDS, moderation: str = "strict"
) -> Consultation:
    """A copy of the sample whose votes are the portal's, with nothing moderated."""
    if folder.exists():
        shutil.rmtree(folder)
    shutil.copytree(SAMPLE, folder, ignore=shutil.ignore_patterns("votes"))
    settings = yaml.safe_load((folder / "consultation.yaml").read_text(encoding="utf-8"))
    settings |= {"votes": "portal", "moderation": moderation}
    settings["portal"] = {
        "introduction": "We ask.\n\nYou answer.",
        "contact": "the town hall",
        "seed_statements": "seeds.csv",
        "screening": [SCREENING],
        "questions_and_answers": "questions.md",
        "languages": ["en", "de", "ar"],
        "opinion_map": True,
    }
    settings["demographics"] = [AGE]
    (folder / "consultation.yaml").write_text(yaml.safe_dump(settings), encoding="utf-8")
    (folder / "seeds.csv").write_text("text\n" + "".join(f"{each}\n" for each in seeds), encoding="utf-8")
    (folder / "questions.md").write_text(ANSWERS, encoding="utf-8")
    header = ",".join(COLUMNS) + "\n"
    for kind in ("moderation", "exclusion", "merge", "wording", "idea"):
        (folder / "decisions" / f"{kind}.csv").write_text(header, encoding="utf-8")
    row = {"decision_id": "T-portal", "kind": "threshold", "subject_ids": "votes_before_statement"}
    row |= {"outcome": str(minimum), "reason": "short", "decided_by": "steering group", "decided_at": "2025-03-01"}
    path = folder / "decisions" / "threshold.csv"
    path.write_text(path.read_text() + ",".join(row.get(name, "") for name in COLUMNS) + "\n", encoding="utf-8")
    return read_consultation(folder)


@dataclass
class Portal:
    """The portal, with a browser's cookies for each person."""

    consultation: Consultation
    home: Home

    def browser(self, **more: Any) -> Any:
        from django.test import Client

        return Client(HTTP_HOST="localhost", **more)

    def participant(self, **about: str) -> Any:
        """Somebody who consented, was accepted and looked at the code."""
        browser = self.browser()
        told = {f"about-{name}": answer for name, answer in about.items()}
        browser.post("/join", {"consent": "yes", "question-0": "Yes", **told})
        return browser

    def moderator(self, name: str = "ann", role: str = "moderator") -> Any:
        return self.team(name, role, "moderate")

    def team(self, name: str, role: str, *duties: str) -> Any:
        """Somebody of the team, signed in."""
        from ccai_dagster.portal.team import keep_account

        browser = self.browser()
        browser.post("/desk/sign-in", {"name": name, "password": keep_account(name, role, duties=duties)})
        return browser

    def rater(self, role: str = "rater-1") -> Any:
        from ccai_dagster.portal.team import keep_account

        browser = self.browser()
        browser.post("/desk/sign-in", {"name": role, "password": keep_account(role, role, rates=True)})
        return browser

    def let_in(self, *statements: int, moderator: Any = None) -> Any:
        answer = (moderator or self.moderator()).post(
            "/desk/", {"statement": statements, "verb": "in", "text": "", "reason": "fits the question"}
        )
        self.renew()
        return answer

    def renew(self) -> None:
        """Let the figures be those of now."""
        from ccai_dagster.portal.participant_views import source

        source().renew()

    def votes(self) -> list[tuple[int, int, int]]:
        from ccai_dagster.portal.models import Vote

        return list(Vote.objects.order_by("pk").values_list("participant_id", "statement_id", "value"))


@contextmanager
def serving(folder: Path, home: Path, **more: str) -> Iterator[str]:
    """`ccai serve` in a process of its own until it answers; yields its address.

    Args:
        more: Variables of the environment.
    """
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    address, environment = f"http://127.0.0.1:{port}", {**os.environ, "CCAI_HOME": str(home), **more}
    command = [*COMMAND, "serve", str(folder), "--port", str(port)]
    with (home.parent / f"{home.name}.log").open("w") as log:
        process = subprocess.Popen(command, env=environment, stdout=log, stderr=subprocess.STDOUT)
    try:
        until = time.monotonic() + 60
        while True:
            try:
                assert httpx.get(address, follow_redirects=True).status_code == 200
                break
            except httpx.TransportError:
                assert process.poll() is None and time.monotonic() < until, Path(log.name).read_text()
                time.sleep(0.1)
        yield address
    finally:
        process.terminate()
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            raise


def statement_in(page: str) -> int:
    """The statement that a page asks about."""
    found = re.search(r'name="statement" value="(\d+)"', page)
    assert found
    return int(found[1])


def compare(portal: Portal, response: str = "one") -> pl.DataFrame:
    """Leave three comparisons of two arms as the last run's, and forget what raters answered in the portal."""
    comparisons, tables = small_comparisons(response), Path(portal.home.tables_url)
    tables.mkdir(parents=True, exist_ok=True)
    comparisons.write_parquet(tables / "comparisons.parquet")
    shutil.rmtree(portal.home.portal_ratings, ignore_errors=True)
    return comparisons


def small_comparisons(response: str = "one") -> pl.DataFrame:
    """Three comparisons of the arms `public`, which responds so, and `standard`."""
    rows = []
    for at in range(3):
        prompt, texts = f"Question {at}?", {"public": f"{response} {at}", "standard": f"other {at}"}
        unasked = dict.fromkeys(["forward_probability", "reversed_probability", "probability_a"], 0.5)
        rows.append(
            {
                **{"pair_id": pair_id("helpfulness", f"p{at}", prompt, texts), "quality": "helpfulness"},
                **{"prompt_id": f"p{at}", "prompt": prompt, "arm_a": "public", "arm_b": "standard"},
                **{"response_a": texts["public"], "response_b": texts["standard"], "status": "compared"},
                **{"finished_a": True, "finished_b": True, "judge": "judge", "judge_at_chance": True, **unasked},
            }
        )
    return COMPARISONS.build(rows)


@pytest.fixture(scope="session")
def served_portal(tmp_path_factory: pytest.TempPathFactory) -> Portal:
    """Django is set up once in a process."""
    from django.conf import settings

    from ccai_dagster.portal.configuration import set_up

    root = tmp_path_factory.mktemp("portal")
    served = Portal(portal_folder(root / "town"), Home(root / "home", "town"))
    shutil.copytree(root / "town", root / "untouched")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DJANGO_ALLOW_ASYNC_UNSAFE", "true")
        set_up(served.consultation, served.home)
    settings.PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]  # quick
    return served


@pytest.fixture
def portal(served_portal: Portal, monkeypatch: pytest.MonkeyPatch) -> Portal:
    """Every test begins with an empty database and ledgers."""
    from ccai_dagster.portal.limits import counts
    from ccai_dagster.portal.models import Account, Conversation, Feedback, Participant, Statement, Vote
    from ccai_dagster.portal.participant_views import source
    from ccai_dagster.portal.team import add_seed_statements

    monkeypatch.setenv("CCAI_HOME", str(served_portal.home.root))
    # The browser tests of the same process leave a loop behind, in which nothing here runs.
    monkeypatch.setenv("DJANGO_ALLOW_ASYNC_UNSAFE", "true")
    folder = served_portal.consultation.folder
    shutil.rmtree(folder)
    shutil.copytree(folder.with_name("untouched"), folder)
    for made in ("tables", "signed"):
        shutil.rmtree(served_portal.home.folder / made, ignore_errors=True)
    for model in (Vote, Statement, Participant, Account, Feedback, Conversation):
        model.objects.all().delete()
    with closing(sqlite3.connect(served_portal.home.portal)) as connection, connection:
        connection.execute("DELETE FROM sqlite_sequence")
    assert add_seed_statements(served_portal.consultation) == len(SEEDS)
    source.cache_clear()
    counts.forget()
    return served_portal


def password_of(name: str, folder: Path, home: Path, *words: str) -> str:
    """Make an account by the command, and return its password."""
    told = subprocess.run(
        [*COMMAND, "account", name, str(folder), *words],
        env={**os.environ, "CCAI_HOME": str(home)},
        capture_output=True,
        text=True,
        check=True,
    )
    return told.stdout.split()[-1]
