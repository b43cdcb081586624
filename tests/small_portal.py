"""A portal with four statements and three people, served in this process."""

from __future__ import annotations

import os
import re
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import yaml

from ccai_dagster.consultation.folder import SAMPLE, Consultation, read_consultation
from ccai_dagster.core.home import Home
from ccai_dagster.decisions.ledger import COLUMNS

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
        from ccai_dagster.portal.team import keep_account

        browser = self.browser()
        browser.post("/desk/sign-in", {"name": name, "password": keep_account(name, role)})
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
def serving(consultation: Consultation, home: Path, **more: str) -> Iterator[str]:
    """`ccai serve` in a process of its own until it answers; yields its address.

    Args:
        more: Variables of the environment.
    """
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    address, environment = f"http://127.0.0.1:{port}", {**os.environ, "CCAI_HOME": str(home), **more}
    command = [*COMMAND, "serve", str(consultation.folder), "--port", str(port)]
    with (home.parent / f"{home.name}.log").open("w") as log:
        process = subprocess.Popen(command, env=environment, stdout=log, stderr=subprocess.STDOUT)
    try:
        until = time.monotonic() + 60
        while True:
            try:
                assert httpx.get(address).status_code == 200
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
