"""Kills at random (`make chaos`): of the command, its stages, somebody who decides, Dagster's daemon and its family.

Each kill is SIGKILL at a random moment of the sample with the tiny model, most of them just after the beginning of a
step that was not hit yet. What comes after it goes on. Whenever a run has come to its end, everything must be as it is
after a run that nobody disturbed, and nothing that was finished may have been made twice. What was killed where and
what was lost is printed.

    chaos.py --kills 150 --daemon 50 --decisions 30     over every stage: an hour or two on two cores
    chaos.py --kills 6 --light                          up to the constitutions, without a model

How processes are started is in `small_processes`.
"""

import argparse
import importlib
import os
import random
import re
import shutil
import signal
import sys
import tempfile
import time
from collections import Counter, defaultdict
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import dagster as dg
import psutil
from conftest import make_tiny_model
from small_graph import small_folder
from small_processes import SECONDS_TO_END, daemon_of, forked, in_fork, run_command, serve_stages, started_for

from ccai_dagster import automation
from ccai_dagster.audit.manifest import read_manifest
from ccai_dagster.cli import servers
from ccai_dagster.consultation.folder import Consultation, read_consultation
from ccai_dagster.core.files import UNFINISHED
from ccai_dagster.core.home import Home
from ccai_dagster.decisions.ledger import Decision, append_decision, read_ledger
from ccai_dagster.definitions import build_assets, build_defs, build_resources
from ccai_dagster.staleness import plan
from resources.record import open_record
from resources.run_owners import UNDER_WAY

UP_TO_CONSTITUTIONS = "+key:*/constitution"
NAMES_RUNS = "provenance.parquet"
"""The one table that is another after each run, since it tells which run made what."""
STEP = re.compile(r"^  … (?P<command>\S+)$| - (?P<daemon>\S+) - STEP_START - ")
"""What the command and Dagster print when a step begins."""
BEFORE, OBSERVATION, LEDGERS = "before the first step", "observation", "ledgers"
COMMAND, STAGE, DECISION = "the command", "a stage of it", "a decision"
DAEMON, SERVER, RUN, ITS_STAGE = "the daemon", "code server", "a run of it", "its stage"
OF_DAEMON = (DAEMON, SERVER, RUN, ITS_STAGE)
RISK = {DAEMON: 3, SERVER: 1, RUN: 3, ITS_STAGE: 4}
VOTES, TABLES, MANIFESTS, AGAIN, UNDER, NO_END, PROCESSES, FILES = LOST = (
    "rows of votes and ledgers",
    "tables",
    "manifests",
    "finished assets made again",
    "runs and places left under way",
    "runs that came to no end",
    "processes left",
    "files left half-written",
)
LIBRARIES = ("matplotlib.figure", "pandera.polars", "scipy.optimize", "scipy.spatial.distance")
"""What the command imports when it first needs it; each fork would import it anew."""
SECONDS_AFTER = 0.6
"""At most, from the beginning of a step to a kill."""
OFTEN, SELDOM = 0.8, 0.5
"""How probable a kill is in a step that was not hit yet, and in another."""
AT_START, SECONDS_OF_START = 0.15, 25.0
"""How probable it is that the command or the daemon is killed at its start, which takes the daemon so long at most."""
SECONDS_QUIET, SECONDS_STUCK = 10.0, 300.0
"""Without a word of the daemon's: until it is asked whether all is made, and until it is lost."""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=150, help="of the command and of its stages")
    parser.add_argument("--daemon", type=int, default=0, help="kills of Dagster's daemon and of what it started")
    parser.add_argument("--decisions", type=int, default=0, help="kills of somebody who writes into a ledger")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--light", action="store_true", help="without a model, up to the constitutions")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="chaos-", ignore_cleanup_errors=True) as folder:
        chaos = Chaos(Path(folder), options.light, random.Random(options.seed))
        return chaos.wreak(options.kills, options.daemon, options.decisions)


class Chaos:
    """A consultation whose runs are killed, and the count of what came of it."""

    def __init__(self, base: Path, light: bool, chance: random.Random) -> None:
        self.base, self.light, self.chance = base, light, chance
        self.town, self.address = base / "town", base / "warm_stages"
        self.killed: Counter[tuple[str, str]] = Counter()
        self.hit: set[str] = set()
        self.ended = self.finished = 0
        self.lost: Counter[str] = Counter(dict.fromkeys(LOST, 0))
        self.rooms: dict[str, str] = {}
        self.inputs: dict[str, bytes] = {}
        self.expected: dict[str, str] = {}
        self.chosen = UP_TO_CONSTITUTIONS if light else None

    def wreak(self, kills: int, of_daemon: int, of_decisions: int) -> int:
        """Kill so often, print the table, also if it is interrupted, and return 0 if nothing was lost."""
        began = time.monotonic()
        try:
            self.prepare()
            self.attack_decisions(of_decisions)
            home = self.base / "home"
            while self.count(COMMAND, STAGE) < kills:
                if self.attack(home):
                    self.compare(home)
            while self.count(*OF_DAEMON) < of_daemon:
                if self.attack_daemon(home, of_daemon):
                    self.to_the_end(home)
                    self.compare(home)
            if home.exists():
                self.to_the_end(home)
                self.compare(home)
        finally:
            self.report(time.monotonic() - began)
        return 1 if self.lost.total() else 0

    def prepare(self) -> None:
        """Make the consultation, and everything of it without being disturbed."""
        for name in LIBRARIES:
            importlib.import_module(name)
        if not self.light:
            in_fork(lambda: make_tiny_model(self.base / "model"))
            serve_stages(self.address)
        small_folder(self.town, self.base / "model", topics=not self.light)
        self.inputs = contents(self.town)
        self.rooms = in_fork(lambda: rooms(read_consultation(self.town), self.base))
        undisturbed = self.base / "undisturbed"
        self.to_the_end(undisturbed)
        self.expected = in_fork(lambda: tables(self.home(undisturbed)))
        print(f"undisturbed: {len(self.expected)} tables", flush=True)

    def count(self, *victims: str) -> int:
        return sum(count for (victim, _), count in self.killed.items() if victim in victims)

    def lose(self, what: str, count: int, *told: object) -> None:
        if count:
            self.lost[what] += count
            print(f"LOST {what}:", *told, flush=True)

    def is_time(self, step: str) -> bool:
        return self.chance.random() < (SELDOM if step in self.hit else OFTEN)

    def kill(self, victim: str, step: str, pids: list[int]) -> bool:
        """Kill one of them after a moment; False if there was none any more."""
        time.sleep(self.chance.uniform(0, SECONDS_AFTER))
        try:
            os.kill(self.chance.choice(pids), signal.SIGKILL)
        except (IndexError, ProcessLookupError):
            return False
        self.killed[victim, self.rooms.get(step, step)] += 1
        self.hit.add(step)
        print(f"{self.killed.total():4} {victim} in {step}", flush=True)
        return True

    def attack(self, root: Path) -> bool:
        """Start a run, kill it or its stage at a random moment; return whether it came to its end before that."""
        step, now = BEFORE, self.chance.random() < AT_START
        with forked(lambda: run_command(self.town, root, self.address, self.chosen)) as (pid, lines):
            for line in lines:
                if begun := STEP.search(line):
                    step = begun["command"].replace("/", "__")
                    now = now or self.is_time(step)
                # Where there is no stage, somebody else is drawn.
                victim = COMMAND if self.light else self.chance.choice([COMMAND, STAGE, STAGE, STAGE])
                if now and self.kill(victim, step, [pid] if victim == COMMAND else self.stages()):
                    break
            # A command whose stage was killed fails by itself and says so.
            for _ in lines:
                pass
            _, status = os.waitpid(pid, 0)
        self.check(root)
        return status == 0

    def to_the_end(self, root: Path) -> None:
        """Let a run come to its end."""
        with forked(lambda: run_command(self.town, root, self.address, self.chosen)) as (pid, lines):
            said = list(lines)
            _, status = os.waitpid(pid, 0)
        self.lose(NO_END, status != 0, *filter(None, said[-20:]))

    def stages(self) -> list[int]:
        """The processes in which stages run now."""
        found = []
        for process in psutil.process_iter():
            with suppress(psutil.Error):
                if str(self.address) in process.cmdline() and "serve" in process.cmdline():
                    found.append((process.pid, process.ppid()))
        pids = {pid for pid, _ in found}
        # The server forks one that answers, which forks the stage.
        answering = {pid for pid, parent in found if parent in pids}
        return [pid for pid, parent in found if parent in answering]

    def attack_daemon(self, root: Path, kills: int) -> bool:
        """Start Dagster's daemon, kill around it until it is killed itself; return whether everything is made.

        What it leaves running goes on beside the next one, as where a supervisor starts it again.
        """
        if not root.exists():
            in_fork(lambda: open_record(self.home(root), read_consultation(self.town), print).dispose())
        with daemon_of(self.town, root, self.address, self.base / "daemon.log", trains=True) as (daemon, lines):
            early = self.chance.random() < AT_START
            end = time.monotonic() + self.chance.uniform(0, SECONDS_OF_START)
            step, victim, spoken, asked = BEFORE, "", time.monotonic(), 0.0
            for line in lines:
                if early and time.monotonic() > end and self.kill(DAEMON, step, [daemon.pid]):
                    break
                if begun := STEP.search(line):
                    step, victim, spoken = begun["daemon"], "", time.monotonic()
                    if self.is_time(step):
                        (victim,) = self.chance.choices(list(RISK), list(RISK.values()))
                if victim and self.kill(victim, step, self.family(daemon, victim)):
                    if victim == DAEMON or self.count(*OF_DAEMON) >= kills:
                        break
                    victim, spoken = "", time.monotonic()
                if time.monotonic() - max(spoken, asked) > SECONDS_QUIET:
                    # What an earlier one left running may have made the last of it, so that nothing begins any more.
                    if in_fork(lambda: is_made(self.home(root), read_consultation(self.town))):
                        return True
                    asked = time.monotonic()
                if time.monotonic() - spoken > SECONDS_STUCK:
                    self.lose(NO_END, 1, (self.base / "daemon.log").read_text()[-3000:])
                    return True
        self.check(root)
        return False

    def family(self, daemon: psutil.Process, victim: str) -> list[int]:
        """The processes that are such a victim now, also those that an earlier daemon left."""
        if victim in (DAEMON, ITS_STAGE):
            return [daemon.pid] if victim == DAEMON else self.stages()
        word = "grpc" if victim == SERVER else "spawn_main"
        return [pid for pid, words in started_for(self.base / "home") if any(word in each for each in words)]

    def attack_decisions(self, kills: int) -> None:
        """Kill somebody who writes row after row into a copy of a ledger; no row that was confirmed may be lost."""
        path = self.base / "copy" / "moderation.csv"
        path.parent.mkdir()
        shutil.copy(self.town / "decisions" / path.name, path)
        confirmed = list(ids(path))
        for _ in range(kills):
            with forked(lambda: decide_on_and_on(path)) as (pid, lines):
                end = time.monotonic() + self.chance.uniform(0, SECONDS_AFTER)
                for line in lines:
                    confirmed += [line] if line else []
                    if time.monotonic() > end and self.kill(DECISION, LEDGERS, [pid]):
                        break
                confirmed += filter(None, lines)
                os.waitpid(pid, 0)
            missing = set(confirmed) - set(in_fork(lambda: list(ids(path))) or [])
            self.lose(VOTES, len(missing), *missing)

    def home(self, root: Path) -> Home:
        return Home(root, read_consultation(self.town).name)

    def check(self, root: Path) -> None:
        """What stands after a kill is whole."""
        home, found = self.home(root), contents(self.town)
        changed = [name for name in {*found, *self.inputs} if found.get(name) != self.inputs.get(name)]
        self.lose(VOTES, len(changed), *changed)
        self.lose(TABLES, in_fork(lambda: tables(home)) is None)
        self.lose(MANIFESTS, in_fork(lambda: is_manifest_whole(home)) is None)

    def compare(self, root: Path) -> None:
        """After a run that came to its end everything is as if nobody had disturbed it; then begin anew."""
        self.finished += 1
        home = self.home(root)
        # As `ccai ui` does at its start and at its end.
        in_fork(lambda: servers.end_marked(str(home.dagster)))
        found = in_fork(lambda: tables(home)) or {}
        differing = [name for name in {*self.expected, *found} if self.expected.get(name) != found.get(name)]
        differing = [name for name in differing if name != NAMES_RUNS]
        self.lose(TABLES, len(differing), *differing)
        told = in_fork(lambda: on_record(home, read_consultation(self.town)))
        under, again, ended = told or (["cannot be asked"], [], 0)
        self.ended += ended
        self.lose(UNDER, len(under), *under)
        if not self.light:  # there a selection is run, which is made again in any case
            self.lose(AGAIN, len(again), *again)
        half = [str(path) for path in root.rglob(f"*{UNFINISHED}")]
        self.lose(FILES, len(half), *half)
        end = time.monotonic() + SECONDS_TO_END
        while (left := [*self.stages(), *started_for(root)]) and time.monotonic() < end:
            time.sleep(1)
        self.lose(PROCESSES, len(left), *left)
        shutil.rmtree(root)

    def report(self, seconds: float) -> None:
        """Print the table of kills, a row for each room, and what was lost."""
        victims = [each for each in (COMMAND, STAGE, DECISION, *OF_DAEMON) if self.count(each)]
        order = [BEFORE, LEDGERS, OBSERVATION, *self.rooms.values()]
        print(f"\n{'kills':<24}", *(f"{victim:>14}" for victim in victims))
        for room in sorted({room for _, room in self.killed}, key=order.index):
            print(f"  {room:<22}", *(f"{self.killed[victim, room]:>14}" for victim in victims))
        rows = [
            *((f"kills of {victim}", self.count(victim)) for victim in victims),
            ("kills", self.killed.total()),
            ("steps that were hit", len(self.hit & self.rooms.keys())),
            ("steps", len(self.rooms)),
            ("dead runs that a later start ended", self.ended),
            ("runs that came to their end", self.finished),
            *((f"lost: {what}", count) for what, count in self.lost.items()),
            ("seconds", round(seconds)),
        ]
        for name, count in rows:
            print(f"{name:<40}{count:>8}", flush=True)


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def rooms(consultation: Consultation, root: Path) -> dict[str, str]:
    """The room of each step."""
    found = {}
    for each in build_assets(consultation, Home(root, consultation.name)):
        if isinstance(each, dg.AssetsDefinition):
            found[each.op.name] = next(iter(each.group_names_by_key.values()))
        else:
            found[each.op.name] = OBSERVATION
    return found


def tables(home: Home) -> dict[str, str]:
    """The digest of each table; raises if one is not whole."""
    import polars as pl

    from ccai_dagster.core.digest import table_digest

    folder = Path(home.tables_url)
    paths = sorted(folder.rglob("*.parquet"))
    return {path.relative_to(folder).as_posix(): table_digest(pl.read_parquet(path)) for path in paths}


def is_manifest_whole(home: Home) -> bool:
    """Whether it is there and untouched; raises if it cannot be read."""
    return not home.manifest.is_file() or read_manifest(home.manifest)[1]


def is_made(home: Home, consultation: Consultation) -> bool:
    """Whether there is nothing left to make."""
    with open_record(home, consultation, print) as instance:
        graph = automation.graph_of(build_defs(consultation, home.root).get_repository_def())
        resources = build_resources(home)
        is_kept = automation.kept(home, resources["tables"], resources["models"])
        found = plan(graph.parents, graph.code_versions, instance, is_kept)
        return not found.ready and not found.later


def on_record(home: Home, consultation: Consultation) -> tuple[list[str], list[str], int]:
    """Runs and places in pools that nobody works in any more, steps that were made again, and dead runs ended."""
    with open_record(home, consultation, print) as instance:
        under_way = instance.get_runs(dg.RunsFilter(statuses=UNDER_WAY))
        left = [f"run {each.run_id} {each.status.value}" for each in under_way]
        storage = instance.event_log_storage
        for pool in storage.get_concurrency_keys():
            if storage.get_concurrency_info(pool).claimed_slots:
                left.append(f"pool {pool}")
        made: dict[str, Counter[str]] = defaultdict(Counter)
        for key in instance.all_asset_keys():
            for each in instance.fetch_materializations(key, limit=1000).records:
                made[str(each.event_log_entry.step_key)][key.to_user_string()] += 1
        # A step that makes several assets is finished when all of them are on record.
        again = [step for step, counts in made.items() for _ in range(min(counts.values()) - 1)]
        ended = 0
        for run_of in instance.get_runs(dg.RunsFilter(statuses=[dg.DagsterRunStatus.FAILURE])):
            logs = instance.all_logs(run_of.run_id, of_type=dg.DagsterEventType.RUN_FAILURE)
            ended += any("was ended, since" in str(each.dagster_event and each.dagster_event.message) for each in logs)
        return left, again, ended


def ids(path: Path) -> Iterator[str]:
    yield from read_ledger(path, path.stem)["decision_id"]


def decide_on_and_on(path: Path) -> int:
    """Write rows into a ledger and confirm each."""
    for number in range(len(list(ids(path))), 1_000_000):
        subject = (str(10_000 + number),)
        append_decision(path, Decision(f"K{number}", path.stem, subject, "in", "Clear.", "process team", "2026-01-01"))
        print(f"K{number}", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
