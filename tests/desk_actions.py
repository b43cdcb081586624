"""How many actions it takes to moderate a conversation at the desk: a browser does it, and every action is counted.

    python tests/desk_actions.py COMMENTS.csv [NUMBER]

COMMENTS.csv is the file of that name of a Polis export whose moderators let statements in and took others out, such as
that of Collective Constitutional AI (github.com/saffronh/ccai). Its first NUMBER statements (522 if none is named) are
moderated anew, each as they did; why they took one out was not exported, so that all have one criterion. A click, a key
and a sentence are an action each; reading is none. The terminal asks twice for each statement: in or out, and why.
"""

from __future__ import annotations

import csv
import sys
import tempfile
from itertools import groupby
from pathlib import Path

from chromium import chromium
from playwright.sync_api import Locator, Page
from small_portal import password_of, portal_folder, serving

from ccai_dagster.decisions.ledger import read_ledger, split_outcome

ON_A_PAGE = 100
PROMPTS = 2
"""Of `ccai review` for each statement."""
SENTENCES = {"in": ["it can become a principle"], "out": ["against the policy", "as its moderators decided"]}


class Moderator:
    """Somebody at the desk who ticks the fewer of those in and out, and decides the others together."""

    def __init__(self, page: Page, wanted: dict[str, str]) -> None:
        self.page, self.wanted, self.actions = page, wanted, 0
        self.given: list[str] = []

    def click(self, place: Locator, shift: bool = False) -> None:
        place.click(modifiers=["Shift"] if shift else [])
        self.actions += 1

    def key(self, key: str) -> None:
        self.page.keyboard.press(key)
        self.actions += 1

    def sentence(self, text: str) -> None:
        self.page.keyboard.insert_text(text)
        self.actions += 1

    def listed(self) -> list[str]:
        boxes = self.page.locator("input[name=statement]")
        return [str(each) for each in boxes.evaluate_all("all => all.map(each => each.value)")]

    def verdict(self, statement: str) -> str:
        return self.wanted[statement]

    def tick(self, verdict: str) -> bool:
        """Tick what has this verdict: a run of several with two clicks."""
        ticked = False
        for found, run in groupby(self.listed(), self.verdict):
            if found == verdict:
                own, ticked = list(run), True
                self.click(self.page.locator(f"input[name=statement][value='{own[0]}']"))
                if len(own) > 1:
                    self.click(self.page.locator(f"input[name=statement][value='{own[-1]}']"), shift=True)
        return ticked

    def decide(self, verdict: str) -> None:
        """By keys, with reasons typed the first time and given again by one key after that."""
        with self.page.expect_navigation():
            if verdict in self.given:
                again = self.page.locator("button[name=again]").all_inner_texts()
                self.key(str(1 + next(at for at, text in enumerate(again) if text.startswith(verdict))))
                return
            self.given.append(verdict)
            self.key(verdict[0])
            for number, text in enumerate(SENTENCES[verdict]):
                if number:
                    self.key("Tab")
                self.sentence(text)
            self.key("Enter")

    def moderate(self) -> None:
        """Everything that waits, page by page."""
        page = self.page
        self.click(page.get_by_text("Choose what is shown"))
        page.locator("select[name=order]").select_option("alike")
        page.locator("select[name=size]").select_option(str(ON_A_PAGE))
        self.actions += 2
        with page.expect_navigation():
            self.click(page.get_by_role("button", name="Show"))
        while listed := self.listed():
            verdicts = [self.wanted[each] for each in listed]
            fewer, more = sorted(("in", "out"), key=verdicts.count)
            while self.tick(fewer):
                self.decide(fewer)
            self.key("a")
            self.decide(more)


def statements(path: Path, number: int) -> dict[str, str]:
    """The first statements that were moderated, each text once, and their verdicts."""
    with path.open(newline="", encoding="utf-8") as handle:
        rows = sorted(csv.DictReader(handle), key=lambda row: int(row["comment-id"]))
    found: dict[str, str] = {}
    keys = set()
    for row in rows:
        text = " ".join(row["comment-body"].split())
        key = "".join(each for each in text.casefold() if each.isalnum())
        if row["moderated"] in ("1", "-1") and key and key not in keys and len(text) <= 280 and len(found) < number:
            keys.add(key)
            found[text] = "in" if row["moderated"] == "1" else "out"
    return found


def main(path: Path, number: int) -> None:
    verdicts = statements(path, number)
    with tempfile.TemporaryDirectory() as root:
        folder, home = Path(root) / "town", Path(root) / "home"
        consultation = portal_folder(folder)
        with (folder / "seeds.csv").open("w", newline="", encoding="utf-8") as handle:
            csv.writer(handle).writerows([["text"], *([text] for text in verdicts)])
        password = password_of("ann", folder, home, "--role", "moderator")
        with serving(folder, home) as address, chromium() as browser:
            page = browser.new_page()
            page.goto(f"{address}/desk/")
            page.fill("#name", "ann")
            page.fill("#password", password)
            page.keyboard.press("Enter")
            page.wait_for_url(f"{address}/desk/")
            wanted = {str(number): verdict for number, verdict in enumerate(verdicts.values(), start=1)}
            moderator = Moderator(page, wanted)
            moderator.moderate()
            rows = read_ledger(consultation.ledger("moderation"), "moderation").to_dicts()
    decided = {each: split_outcome(row["outcome"])[0] for row in rows for each in row["subject_ids"]}
    if decided != wanted:
        raise SystemExit("The ledger does not say what was meant.")
    prompts = PROMPTS * len(wanted)
    ins = list(wanted.values()).count("in")
    print(
        f"{len(wanted)} statements, {ins} in and {len(wanted) - ins} out: {moderator.actions} actions, "
        f"{len(rows)} rows; the terminal asks {prompts:,} times ({moderator.actions / prompts:.2f})."
    )


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else 522)
