"""From a new export to new constitutions: with Dagster's daemon, by `ccai run`, when nothing follows, and looking on.

`python -m bench.new_votes` prints all four lines; names behind it (`daemon`, `command`, `unchanged`, `looks`) only
those. `daemon` and `command` need the votes of CCAI (`CCAI_TEST_DATA`, the folder `ccai` below it), `daemon` also the
project's history: the reference is the code as it was at `BEFORE`. `unchanged` needs a finished `ccai run` of the
sample in `CCAI_HOME`.
"""

from __future__ import annotations

import argparse
import csv
import io
import os
import shutil
import signal
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from datetime import UTC, datetime
from pathlib import Path

import dagster as dg
import psutil
import yaml

from bench import definitions
from bench.pairs import cpu_seconds
from ccai_dagster.audit.manifest import read_manifest
from ccai_dagster.consultation.folder import SAMPLE, read_consultation
from ccai_dagster.contracts import MODEL_STAGES
from ccai_dagster.core.home import Home, home_root
from ccai_dagster.definitions import build_defs, build_resources
from ccai_dagster.terminal import OBSERVE
from resources.record import open_record
from sample.build import build_more
from tests.ccai_publication import paper

BEFORE = "c71e497"
"""The last commit before one run made everything up to the constitutions."""
HERE = Path(__file__).parents[1]
DATA = Path(os.environ.get("CCAI_TEST_DATA", "")) / "ccai"
UP_TO_CONSTITUTIONS = (
    "group:public_input or group:deliberation or (group:constitution and not key:*/signed_constitution)"
)
LATE = 120
"""People whose votes are the other way round in the first export."""
LOCATION = """
from ccai_dagster import automation
automation.SECONDS = 1
from ccai_dagster.definitions import defs
"""
"""The code location of either side; sensors need not wait, since their wait is not counted."""
QUIET, LONGEST = 25.0, 1800.0
"""Seconds without a run after which all is made, and at most."""
LOOKS = 1_000
QUIETLY = {"loggers": {"console": {}}}


class Side:
    """One state of the code, with a consultation of CCAI's votes and a home of its own."""

    def __init__(self, base: Path, code: Path, command: str) -> None:
        self.code, self.town, self.home = code, base / "town", base / "home"
        self.base = base
        base.mkdir()
        (base / "bench_location.py").write_text(LOCATION)
        self.environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith("CCAI_")},
            "PYTHONPATH": f"{code}:{base}",
            "CCAI_HOME": str(self.home),
            "CCAI_CONSULTATION": str(self.town),
            "DAGSTER_DISABLE_TELEMETRY": "true",
        }
        self.program = [sys.executable, "-W", "ignore", "-m", command]
        # Without the texts of the paper there are no principles; `BEFORE` found them beside the votes.
        texts = ["--texts", str(paper(DATA.parent, base / "paper.txt"))] if code == HERE else []
        self.ccai("new", "--from-ccai", str(DATA), str(self.town), *texts)
        # What is held against published figures is refused where a part of the votes is missing.
        settings = self.town / "consultation.yaml"
        content = yaml.safe_load(settings.read_text())
        del content["replication"], content["published_scores"], content["arms"]["published"]
        settings.write_text(yaml.safe_dump(content))
        self.second = (self.town / "votes" / "participants-votes.csv").read_text()

    def ccai(self, *words: str) -> None:
        """Give a command of this side."""
        done = subprocess.run(
            [*self.program, *words], env=self.environment, cwd=self.code, capture_output=True, text=True, check=False
        )
        if done.returncode:
            raise RuntimeError(f"{self.code}, {' '.join(words)}: {done.stdout[-1000:]}{done.stderr[-2000:]}")

    def begin(self) -> None:
        """Make everything of the first export in a new home."""
        shutil.rmtree(self.home, ignore_errors=True)
        self.put(first=True)
        self.ccai("run", str(self.town), "--select", UP_TO_CONSTITUTIONS)

    def put(self, first: bool) -> None:
        """Put the first or the second export in place, whole."""
        fresh = self.base / "fresh"
        fresh.write_text(otherwise(self.second) if first else self.second)
        fresh.replace(self.town / "votes" / "participants-votes.csv")

    @property
    def dagster(self) -> Path:
        """The folder of Dagster's record, which is another on either side."""
        return next(path.parents[1] for path in self.home.rglob("runs.db"))

    def runs(self) -> list[tuple[str, str, float, float]]:
        """Job, status, when it was asked for, and when it ended."""
        with closing(sqlite3.connect(self.dagster / "history" / "runs.db", timeout=60)) as database:
            rows = database.execute("SELECT pipeline_name, status, create_timestamp, end_time FROM runs ORDER BY id")
            return [
                (job, status, datetime.fromisoformat(asked).replace(tzinfo=UTC).timestamp(), ended or 0.0)
                for job, status, asked, ended in rows
            ]

    @contextmanager
    def daemon(self) -> Iterator[None]:
        """Run Dagster's daemon."""
        program = [Path(sys.executable).parent / "dagster-daemon", "run", "-m", "bench_location", "-a", "defs"]
        environment = {**self.environment, "DAGSTER_HOME": str(self.dagster)}
        with (self.base / "daemon.log").open("ab") as log:
            process = subprocess.Popen(
                program, env=environment, cwd=self.code, stdout=log, stderr=log, start_new_session=True
            )
        try:
            yield
        finally:
            family = [psutil.Process(process.pid), *psutil.Process(process.pid).children(recursive=True)]
            for each in family:
                each.send_signal(signal.SIGKILL)
            process.wait()

    def seconds(self) -> float:
        """Seconds in which runs were queued or at work, from the second export until nothing more is asked for."""
        self.begin()
        with self.daemon():
            self.until_quiet(len(self.runs()))
            known = len(self.runs())
            self.put(first=False)
            self.until_quiet(known + 2)
        later = self.runs()[known:]
        made = [job for job, status, _, _ in later if status == "SUCCESS"]
        if len(made) != len(later) or not {"observe_inputs", "deliberate"} <= set(made):
            raise RuntimeError(f"{self.code}: not all of {later} came to their end; see {self.base / 'daemon.log'}")
        return sum(ended - asked for _, _, asked, ended in later)

    def until_quiet(self, least: int) -> None:
        """Wait until there are so many runs and there was none for a while."""
        quiet, end = time.monotonic(), time.monotonic() + LONGEST
        while time.monotonic() - quiet < QUIET:
            runs = self.runs()
            if len(runs) < least or not all(ended for *_, ended in runs):
                quiet = time.monotonic()
            if time.monotonic() > end:
                raise RuntimeError(f"{self.code}: {least} runs were expected, and there are {runs}")
            time.sleep(0.5)


def otherwise(export: str) -> str:
    """Return an export in which the last people voted the other way round."""
    rows = list(csv.reader(io.StringIO(export)))
    agree, disagree = rows[0].index("n-agree"), rows[0].index("n-disagree")
    votes = [place for place, name in enumerate(rows[0]) if name.isdecimal()]
    for row in rows[-LATE:]:
        row[agree], row[disagree] = row[disagree], row[agree]
        for place in votes:
            row[place] = {"1": "-1", "-1": "1"}.get(row[place], row[place])
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(rows)
    return text.getvalue()


def unpack(commit: str, code: Path) -> Path:
    """Put the files of a commit into a folder, and return it."""
    code.mkdir(exist_ok=True)
    archive = subprocess.run(["git", "archive", commit], cwd=HERE, check=True, capture_output=True).stdout
    subprocess.run(["tar", "-x"], cwd=code, input=archive, check=True)
    return code


def daemon(base: Path, pairs: int) -> None:
    """Print the time of runs from a new export to new constitutions, against the code as it was."""
    code = unpack(BEFORE, base / "before")
    own, other = Side(base / "now", HERE, "ccai_dagster.cli.app"), Side(base / "then", code, "ccai_dagster.cli")
    found = [(own.seconds(), other.seconds()) for _ in range(pairs)]
    print(
        f"new export to new constitutions with the daemon, runs only: "
        f"{statistics.median(ours for ours, _ in found):.1f} s; {BEFORE}: "
        f"{statistics.median(theirs for _, theirs in found):.1f} s; ratio "
        f"{statistics.median(ours / theirs for ours, theirs in found):.2f} (goal 0.33; median of {pairs})",
        flush=True,
    )


def command(base: Path, pairs: int) -> None:
    """Print the CPU time of `ccai run` on a new export, against the bare computation and loading the definitions."""
    side = Side(base / "command", HERE, "ccai_dagster.cli.app")
    side.begin()
    side.put(first=False)

    def python(*words: str) -> float:
        program = [sys.executable, "-W", "ignore", *words]
        return cpu_seconds(lambda: subprocess.run(program, env=side.environment, cwd=HERE, check=True))

    found = []
    for _ in range(pairs):
        own = cpu_seconds(lambda: side.ccai("run", str(side.town), "--select", UP_TO_CONSTITUTIONS))
        bare = python("-m", "bench.bare_deliberation", str(side.town)) - python("-m", "bench.bare_deliberation")
        found.append((own, bare, python("-c", definitions.LOAD)))
    print(
        f"ccai run on a new export: {statistics.median(own for own, _, _ in found):.1f} CPU s; bare computation "
        f"{statistics.median(bare for _, bare, _ in found):.1f} and loading the definitions "
        f"{statistics.median(start for _, _, start in found):.1f}; ratio "
        f"{statistics.median(own / (bare + start) for own, bare, start in found):.2f} (goal 1.5; median of {pairs})",
        flush=True,
    )


def unchanged(base: Path) -> None:
    """Print the CPU time of `ccai run` after an export that leaves the constitutions as they are."""
    name = read_consultation(SAMPLE).name
    finished = home_root() / name
    if not (finished / "report" / "audit_report.html").is_file():
        print(f"a new export and no new constitution: not measured, since {finished} holds no finished run")
        return
    town, home = base / name, base / "home"
    shutil.copytree(SAMPLE, town)
    shutil.copytree(finished, home / name, ignore=shutil.ignore_patterns("models", "work", "*.lock"))
    shutil.copytree(home_root() / "mlflow-artifacts", home / "mlflow-artifacts")
    shutil.copy(home_root() / "mlflow.db", home / "mlflow.db")
    (home / name / "models").symlink_to(finished / "models")
    Home(home, name).source.write_text(f"{town}\n")
    # The run that trained the models has read them, and noted that they are whole, where it left them.
    store = build_resources(Home(home, name))["models"]
    for model in (finished / "models").glob("[!.]*"):
        if not store.keeps(model.name):
            raise RuntimeError(f"{model} is not whole")
    build_more("unchanged", town / "votes")
    environment = {**os.environ, "CCAI_HOME": str(home)}
    program = [sys.executable, "-W", "ignore", "-m", "ccai_dagster.cli.app", "run", str(town)]
    before = read_manifest(Home(home, name).manifest)[0].materializations
    taken = cpu_seconds(
        lambda: subprocess.run(program, env=environment, cwd=HERE, check=True, stdout=subprocess.DEVNULL)
    )
    after = read_manifest(Home(home, name).manifest)[0].materializations
    made = {key for key in after if after[key] != before[key]}
    trained = sorted(key for key in made if key.rpartition("/")[2] in MODEL_STAGES)
    again = cpu_seconds(
        lambda: subprocess.run(program, env=environment, cwd=HERE, check=True, stdout=subprocess.DEVNULL)
    )
    print(
        f"ccai run on a new export and no new constitution: {taken:.1f} CPU s for {len(made)} tables, trained: "
        f"{', '.join(trained) or 'nothing'} (goal 10 s); with nothing to do: {again:.1f}",
        flush=True,
    )


def looks(base: Path) -> None:
    """Print what a thousand looks of the sensors at unchanged content ask for and how much memory they take."""
    town, home = base / "looked_at", Home(base / "home_looked_at", "looked_at")
    shutil.copytree(SAMPLE, town)
    consultation = read_consultation(town)
    with open_record(home, consultation, print) as instance:
        definitions_ = build_defs(consultation, home.root)
        if not definitions_.resolve_job_def(OBSERVE).execute_in_process(instance=instance, run_config=QUIETLY).success:
            raise RuntimeError(f"{town} cannot be observed")
        repository = definitions_.get_repository_def()
        process = psutil.Process()
        sizes, asked, began = [], 0, time.process_time()
        for look in range(LOOKS):
            with dg.build_sensor_context(instance, None, repository_def=repository) as context:
                asked += isinstance(repository.get_sensor_def("new_inputs")(context), dg.RunRequest)
            if look >= LOOKS // 10:
                sizes.append(process.memory_info().rss)
        taken = time.process_time() - began
    print(
        f"{LOOKS:,} looks at unchanged content: {asked} runs asked for (goal 0); memory at most "
        f"{max(sizes) / sizes[0]:.3f} times that after the first tenth (goal 1.1); {1000 * taken / LOOKS:.0f} ms of "
        "CPU a look",
        flush=True,
    )


def main(arguments: Sequence[str] = ()) -> None:
    """Print what the arguments ask for."""
    parser = argparse.ArgumentParser(prog="python -m bench.new_votes", description=__doc__)
    parser.add_argument("what", nargs="*", choices=("daemon", "command", "unchanged", "looks", []))
    parser.add_argument("--pairs", type=int, default=3)
    asked = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as folder:
        base = Path(folder)
        for what in asked.what or ("daemon", "command", "unchanged", "looks"):
            if what in ("daemon", "command") and not DATA.is_dir():
                print(f"{what}: not measured, since CCAI_TEST_DATA names no folder with CCAI's votes")
            elif what == "daemon":
                daemon(base, asked.pairs)
            elif what == "command":
                command(base, asked.pairs)
            else:
                {"unchanged": unchanged, "looks": looks}[what](base)


if __name__ == "__main__":
    main(sys.argv[1:])
