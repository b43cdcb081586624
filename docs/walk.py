"""Writes docs/walk.md: a consultation in German from the export to the signature, as a terminal shows it.

    python docs/walk.py

The commands are run for real, on a part of the embedded consultation's votes whose statements are translated here. It
takes a minute or two of computing and trains nothing. Run it again when what the commands print has changed.
"""

from __future__ import annotations

import csv
import os
import re
import shlex
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[1]
VOTES = REPOSITORY / "ccai_dagster" / "sample" / "consultation" / "votes"
PAGE = REPOSITORY / "docs" / "walk.md"
FOLDER = "rathaus"
ROLE = "Projektgruppe"
PAGES = "+key:constitution_report or +key:public_summary"
SHOWN = 24
"""Lines of an output that the page has; of a longer one those at its end."""
STATEMENTS = {
    5: "Der Assistent soll genaue und aktuelle Antworten geben.",
    6: "Der Assistent soll zwischen Parteien keine Seite ergreifen.",
    7: "Ist eine Frage auch nur ein wenig heikel, soll der Assistent ablehnen und an jemanden im Amt verweisen.",
    8: "Der Assistent soll die Frage einfach beantworten; was Erwachsene daraus machen, ist ihre Sache.",
    9: "Der Assistent soll das Wohl der Gemeinschaft über die Wünsche Einzelner stellen.",
    12: "Er soll den Klimawandel ansprechen, wo immer er für die Frage eine Rolle spielt.",
    13: "Kurz fassen. Zwei, drei Sätze, außer ich frage nach mehr.",
    15: "Er soll das Gespräch beenden, wenn jemand unhöflich wird.",
    17: "Nicht überall Warnungen dranschreiben.",
    20: "Er soll von sich aus bei alten Menschen nachfragen, die allein leben.",
    23: "Er soll offen sagen, wenn eine Regelung der Stadt Unsinn ist.",
    29: "Er soll von sich aus das Jugendamt einschalten, wenn ein Kind in Gefahr sein könnte.",
    30: "Er soll in der Sprache antworten, in der ich schreibe, wenn er sie kann.",
    32: "Jedes Gespräch soll aufgezeichnet und von einer Aufsicht gelesen werden.",
    34: "Er soll förmlich schreiben, wie ein richtiger Brief aus dem Rathaus.",
    35: "Er soll die Entscheidungen des Rates verteidigen.",
    36: "Er soll höflich bleiben, auch wenn die Person unhöflich ist.",
    43: "Über Sozialleistungen oder Wohnungen sollen Menschen entscheiden und nicht der Assistent.",
    44: "Der Assistent soll freundlich zu Menschen sein, denen es nicht gut geht.",
    48: "nicht von oben herab reden",
    60: "Er soll sagen, woher eine Antwort kommt, damit man sie selbst prüfen kann.",
    63: "Er soll vor bekannten Betrugsmaschen warnen, wenn man nach einem seltsamen Brief oder Anruf fragt.",
    71: "Wenn er nicht sicher ist, soll er das sagen, statt etwas zu erfinden.",
    76: "Er muss auch für Menschen gut funktionieren, die blind oder gehörlos sind oder keine Tastatur nutzen können.",
}
PROMPT = re.compile(r"^(?:Decision|Reason|First \d+ characters of the digest): (?!\0)", re.MULTILINE)
PROGRESS = r"^  […✓✗] |^      |^Materializing "
"""What a run prints as it goes on."""
DONE = "\0"
"""Behind a question whose answer is written down."""
SETTINGS = {
    "title": "Frag Brackwater",
    "public": "Menschen, die in Brackwater wohnen oder arbeiten (erfunden)",
    "question": "Wie soll sich der KI-Assistent der Stadt verhalten, wenn er mit Ihnen spricht?",
    "language": "de",
}


def write_export(folder: Path) -> None:
    """Write the export of a conversation in German."""
    folder.mkdir()
    for name, key in (("comments.csv", "comment-id"), ("votes.csv", "comment-id")):
        with (
            (VOTES / name).open(newline="", encoding="utf-8") as source,
            (folder / name).open("w", newline="", encoding="utf-8") as target,
        ):
            rows = csv.DictReader(source)
            writer = csv.DictWriter(target, rows.fieldnames or ())
            writer.writeheader()
            for row in rows:
                if int(row[key]) in STATEMENTS:
                    translated = {"comment-body": STATEMENTS[int(row[key])]} if "comment-body" in row else {}
                    writer.writerow({**row, **translated})
    (folder / "summary.csv").write_text("topic,Frag Brackwater\n", encoding="utf-8")


class Walk:
    """Runs commands in a folder and writes down what was typed and what came."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.lines: list[str] = []
        self.environment = {
            **{key: value for key, value in os.environ.items() if not key.startswith("CCAI_")},
            "CCAI_HOME": str(folder / ".ccai"),
            "PYTHONPATH": str(REPOSITORY),
            "COLUMNS": "110",
        }

    def say(self, *paragraphs: str) -> None:
        """Write paragraphs."""
        self.lines += [line for each in paragraphs for line in (each, "")]

    def ccai(self, *words: str, typed: Sequence[str] = (), skip: str = "") -> str:
        """Run a command, and write it down with what it printed.

        Args:
            skip: Lines that match are left out.
        """
        done = subprocess.run(
            [sys.executable, "-m", "ccai_dagster.cli.app", *words],
            cwd=self.folder,
            env=self.environment,
            input="".join(f"{line}\n" for line in typed),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
        if done.returncode:
            raise SystemExit(f"ccai {shlex.join(words)} ended with {done.returncode}:\n{done.stdout}")
        # What was typed stands where a terminal shows it: behind the questions, one after the other.
        printed = done.stdout
        for line in typed:
            printed = PROMPT.sub(lambda found, line=line: f"{found[0]}{DONE}{line}\n", printed, count=1)
        printed = printed.replace(DONE, "").replace(f"{self.folder}/", "").replace(str(REPOSITORY), "…")
        kept = [line.rstrip() for line in printed.splitlines() if not (skip and re.search(skip, line))]
        if len(kept) > SHOWN:
            kept = ["…", *kept[-SHOWN:]]
        self.lines += ["```", f".venv/bin/ccai {shlex.join(words)}", "```", "", "```text", *kept, "```", ""]
        return done.stdout


def main() -> None:
    """Walk, and write the page."""
    with tempfile.TemporaryDirectory() as temporary:
        walk = Walk(Path(temporary).resolve())
        write_export(walk.folder / "export")
        walk.say(
            "# A consultation in German, as it happened",
            "A recording: every command below was run, and what stands under it is what it printed (long outputs from "
            "their end). The votes are a part of the embedded, invented consultation, its statements translated. "
            "`python docs/walk.py` records it anew.",
            "## From the export to what a person must decide",
        )
        walk.ccai("new", "--from-export", "export", "--moderation", "strict", FOLDER)
        path = walk.folder / FOLDER / "consultation.yaml"
        text = path.read_text(encoding="utf-8")
        for name, value in SETTINGS.items():
            text = re.sub(rf"^{name}: .*$", f"{name}: {value}", text, flags=re.M)
        path.write_text(text, encoding="utf-8")
        walk.say(
            "In `rathaus/consultation.yaml` it is said who was asked what, and in which language the pages are to be:"
        )
        walk.lines += ["```yaml", *(f"{name}: {value}" for name, value in SETTINGS.items()), "```", ""]
        walk.ccai("run", FOLDER, skip=PROGRESS)
        walk.ccai("status", FOLDER)
        walk.say(
            "## From statements to principles",
            "Drafts are worded by a template of one's own, which is a decision on record like any other:",
        )
        named = ("--consultation", FOLDER, "--as", ROLE)
        template = "policy: Wähle die Antwort, die dem am besten entspricht: „{statement}“"
        walk.ccai("decide", "wording", "draft_template", template, "--reason", "Die Aussagen sind deutsch.", *named)
        walk.say(
            "`draft` takes a draft over as it stands; a number gives a reason once more; `q` stops, and the same "
            "command goes on later."
        )
        walk.ccai(
            "review",
            "wording",
            *named,
            typed=["draft", "Die Aussage ist klar, wie sie ist.", *["draft", "1"] * 40],
            skip=r"^   |near: |^policy ",
        )
        walk.say("## The signature")
        walk.say(
            "The pages, and nothing that needs a model (without `--select` a run goes on with what waits for nobody):"
        )
        walk.ccai("run", FOLDER, "--select", PAGES, skip=PROGRESS)
        digest = re.search(r"digest ([0-9a-f]{64})", walk.ccai("review", "signoff", *named, typed=["q"]))
        if digest is None:
            raise SystemExit("the constitution is not waiting for a signature")
        walk.say("What is signed is named by its digest, of which the beginning is typed:")
        walk.ccai(
            "review",
            "signoff",
            *named,
            typed=["signed off", digest[1][:12], "Gelesen und beraten.", "s", "q"],
            skip=r"^     \S",
        )
        walk.say(
            "From here `ccai run rathaus` trains. The pages `report/constitution.html` and `report/summary.html` are "
            "there since the run before, in German."
        )
    PAGE.write_text("\n".join(walk.lines).rstrip("\n") + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
