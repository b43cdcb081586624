"""Kills at random (`make chaos`): of the command, of the stage it has started, of Dagster's daemon and what it started.

Each kill is SIGKILL at a random moment of a run of the sample with the tiny model. The run after it goes on. Whenever a
run comes to its end, everything must be as it is after a run that nobody disturbed. What was lost is printed.

    chaos.py --kills 200 --daemon 10      over every stage: about an hour on two cores
    chaos.py --kills 6 --light            up to the constitutions, without a model

Processes are forked from this one, which has imported all and opened nothing, so that a kill costs no start.
"""

import argparse
import json
import os
import random
import select
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import psutil
import warm_stages as warm
from conftest import REPOSITORY, make_tiny_model
from matplotlib.backends.backend_agg import FigureCanvasAgg
from small_graph import small_folder

from ccai_dagster.audit.manifest import read_manifest
from ccai_dagster.cli import servers
from ccai_dagster.consultation.folder import read_consultation
from ccai_dagster.core.files import UNFINISHED
from ccai_dagster.core.home import Home
from ccai_dagster.core.processes import heed_signals
from ccai_dagster.run import run
from resources.launcher import Launcher
from resources.record import open_record
from resources.run_owners import UNDER_WAY

UP_TO_CONSTITUTIONS = "group:public_input or group:deliberation or key:selected_statements or key:*/constitution"
NAMES_RUNS = "provenance.parquet"
"""The one table that is another after each run, since it tells which run made what."""
STEP = "  … "
"""What the terminal shows when an asset is begun."""
SECONDS_AFTER = 0.6
"""At most, from the beginning of a step to a kill."""
STEPS_BEFORE = 8
"""At most, from one kill to the next."""
SECONDS_OF_DAEMON = (4.0, 40.0)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=200, help="of the command and of stages")
    parser.add_argument("--daemon", type=int, default=0, help="kills of Dagster's daemon and of what it started")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--light", action="store_true", help="without a model, up to the constitutions")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="chaos-") as folder:
        return Chaos(Path(folder), options.light, random.Random(options.seed)).wreak(options.kills, options.daemon)


class Chaos:
    """A consultation whose runs are killed, and the count of what came of it."""

    def __init__(self, base: Path, light: bool, chance: random.Random) -> None:
        self.base, self.light, self.chance = base, light, chance
        self.town, self.address = base / "town", base / "warm_stages"
        self.killed: Counter[str] = Counter()
        self.steps: Counter[str] = Counter()
        self.ended = self.finished = 0
        self.lost: Counter[str] = Counter(dict.fromkeys(("votes and ledgers", "tables", "manifests", "runs"), 0))

    def wreak(self, kills: int, of_daemon: int) -> int:
        """Kill so often, print the table, and return 0 if nothing was lost."""
        began = time.monotonic()
        small_folder(self.town, self.base / "model")
        if not self.light:
            in_fork(lambda: make_tiny_model(self.base / "model"))
            variables = {**os.environ, "PYTHONPATH": ":".join([str(REPOSITORY), *sys.path])}
            serve = [sys.executable, "-W", "ignore", warm.__file__, "serve", str(self.address), str(os.getpid())]
            subprocess.run(serve, env=variables, check=True)
        self.inputs = contents(self.town)
        undisturbed = self.base / "undisturbed"
        self.to_the_end(undisturbed)
        self.expected = in_fork(lambda: tables(self.home(undisturbed)))
        print(f"undisturbed: {len(self.expected)} tables", flush=True)
        home = self.base / "home"
        while sum(self.killed.values()) < kills:
            if self.attack(home):
                self.compare(home)
                shutil.rmtree(home)
        for _ in range(of_daemon):
            self.attack_daemon(home)
            self.to_the_end(home)
            # A run of the daemon's goes on without it, and has had its turn or waits for one.
            in_fork(lambda: servers.end_marked(str(home)))
            self.to_the_end(home)
            self.compare(home)
            shutil.rmtree(home)
        if home.exists():
            self.to_the_end(home)
            self.compare(home)
        self.report(time.monotonic() - began)
        return 1 if self.lost.total() else 0

    def attack(self, root: Path) -> bool:
        """Start a run, kill it or its stage at a random moment; return whether it came to its end before that."""
        steps = self.chance.randint(0, STEPS_BEFORE)
        victim = "the command" if self.light else self.chance.choice(["the command", "the command", "a stage"])
        with self.command(root) as (pid, lines):
            step = "before the first step"
            for line in lines:
                if line.startswith(STEP):
                    step = line.removeprefix(STEP).strip()
                    steps -= 1
                if steps <= 0 and (victim == "the command" or self.stages()):
                    time.sleep(self.chance.uniform(0, SECONDS_AFTER))
                    if self.kill(victim, pid):
                        self.killed[victim] += 1
                        self.steps[step] += 1
                        print(f"{sum(self.killed.values()):4} {victim} in {step}", flush=True)
                        break
            # A command whose stage was killed fails by itself and says so.
            for _ in lines:
                pass
            _, status = os.waitpid(pid, 0)
        self.check(root)
        return status == 0

    def kill(self, victim: str, pid: int) -> bool:
        """Kill; False if it has ended meanwhile."""
        found = [pid] if victim == "the command" else [each.pid for each in self.stages()]
        if not found:
            return False
        os.kill(self.chance.choice(found), signal.SIGKILL)
        return True

    def stages(self) -> list[psutil.Process]:
        """The processes in which stages run now."""
        found = []
        for process in psutil.process_iter():
            with suppress(psutil.Error):
                if str(self.address) in process.cmdline() and "serve" in process.cmdline():
                    found.append(process)
        pids = {each.pid for each in found}
        # The server forks one that answers, which forks the stage.
        answering = {each.pid for each in found if each.ppid() in pids}
        return [each for each in found if each.ppid() in answering]

    def attack_daemon(self, root: Path) -> None:
        """Start Dagster's daemon on a new home; kill it, its code server or a run of its at a random moment."""
        home = self.home(root)
        in_fork(lambda: open_record(home, read_consultation(self.town), print).dispose())
        environment = {
            **os.environ,
            "PYTHONPATH": ":".join([str(REPOSITORY), *sys.path]),
            "DAGSTER_HOME": str(home.dagster),
            servers.MARK: str(root),
            "CCAI_HOME": str(root),
            "CCAI_CONSULTATION": str(self.town),
        }
        program = [
            Path(sys.executable).parent / "dagster-daemon",
            "run",
            "-m",
            "ccai_dagster.definitions",
            "-a",
            "defs",
        ]
        quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        daemon = subprocess.Popen(program, env=environment, start_new_session=True, **quiet)
        try:
            time.sleep(self.chance.uniform(*SECONDS_OF_DAEMON))
            family = [psutil.Process(daemon.pid), *psutil.Process(daemon.pid).children(recursive=True)]
            victim = self.chance.choice([family[0], self.chance.choice(family), family[-1]])
            victim.kill()
            self.killed["the daemon" if victim.pid == daemon.pid else "a process of the daemon's"] += 1
            daemon.kill()
        finally:
            daemon.wait()
        self.check(root)

    def to_the_end(self, root: Path) -> None:
        """Let a run come to its end; it is lost if it does not."""
        with self.command(root) as (pid, lines):
            said = list(lines)
            _, status = os.waitpid(pid, 0)
        if status != 0:
            self.lost["runs"] += 1
            print("a run did not come to its end:", *said[-20:], sep="\n", flush=True)

    @contextmanager
    def command(self, root: Path) -> Iterator[tuple[int, Iterator[str]]]:
        """Fork a `ccai run`; give its id and what it prints."""
        reading, writing = os.pipe()
        pid = os.fork()
        if not pid:
            os.close(reading)
            os.dup2(writing, 1)
            os.dup2(writing, 2)
            status = 1
            try:
                status = self._run(root)
            finally:
                sys.stdout.flush()
                os._exit(status)
        os.close(writing)
        with os.fdopen(reading, "rb", buffering=0) as pipe:
            yield pid, self._lines(pipe, pid)

    def _run(self, root: Path) -> int:
        heed_signals()
        os.environ["CCAI_HOME"] = str(root)
        address = str(self.address)
        Launcher._command = lambda self, distributed, request: [  # type: ignore[method-assign]
            *(sys.executable, "-I", warm.__file__, "stage", address, str(request))
        ]
        FigureCanvasAgg.draw = FigureCanvasAgg.get_renderer  # nobody looks at pictures here
        select = UP_TO_CONSTITUTIONS if self.light else None
        outcome = run(read_consultation(self.town), root, lambda line: print(line, flush=True), select)
        print(*outcome.failed, sep="\n", flush=True)
        return 1 if outcome.failed else 0

    def _lines(self, pipe: Any, pid: int) -> Iterator[str]:
        """Lines until the command has ended, empty ones while it says nothing.

        What it started may keep the pipe open for longer.
        """
        rest = b""
        while True:
            if not select.select([pipe], [], [], 0.1)[0]:
                if psutil.Process(pid).status() == psutil.STATUS_ZOMBIE:
                    return
                yield ""
                continue
            if not (read := pipe.read(1 << 16)):
                return
            *whole, rest = (rest + read).split(b"\n")
            for line in whole:
                text = line.decode(errors="replace")
                self.ended += "was ended, since" in text
                yield text

    def home(self, root: Path) -> Home:
        return Home(root, read_consultation(self.town).name)

    def check(self, root: Path) -> None:
        """What stands after a kill is whole."""
        if contents(self.town) != self.inputs:
            self.lost["votes and ledgers"] += 1
        home = self.home(root)
        for kind, look in (("tables", lambda: tables(home)), ("manifests", lambda: manifest(home))):
            if in_fork(look) is None:
                self.lost[kind] += 1

    def compare(self, root: Path) -> None:
        """After a run that came to its end everything is as if nobody had disturbed it."""
        self.finished += 1
        home = self.home(root)
        found = in_fork(lambda: tables(home)) or {}
        for name in sorted({*self.expected, *found}):
            if self.expected.get(name) != found.get(name) and name != NAMES_RUNS:
                self.lost["tables"] += 1
                print(f"not as undisturbed: {name}", flush=True)
        left = in_fork(lambda: left_under_way(home, read_consultation(self.town)))
        left = ["cannot be asked"] if left is None else left
        left += [str(path) for path in root.rglob(f"*{UNFINISHED}")]
        if left:
            self.lost["runs"] += len(left)
            print("left:", *left, flush=True)

    def report(self, seconds: float) -> None:
        rows = [
            *((f"kills of {victim}", count) for victim, count in sorted(self.killed.items())),
            ("in so many different steps", len(self.steps)),
            ("dead runs that a later start ended", self.ended),
            ("runs that came to their end", self.finished),
            *((f"lost: {what}", count) for what, count in self.lost.items()),
            ("seconds", round(seconds)),
        ]
        for name, count in rows:
            print(f"{name:<40}{count:>8}", flush=True)


def in_fork(work: Callable[[], Any]) -> Any:
    """Do something in a fork, so that this process opens nothing; None if it failed."""
    reading, writing = os.pipe()
    pid = os.fork()
    if not pid:
        os.close(reading)
        try:
            with os.fdopen(writing, "w") as pipe:
                json.dump(work(), pipe)
        except BaseException as error:
            print(f"{type(error).__name__}: {error}", file=sys.stderr, flush=True)
            os._exit(1)
        os._exit(0)
    os.close(writing)
    with os.fdopen(reading) as pipe:
        text = pipe.read()
    _, status = os.waitpid(pid, 0)
    return json.loads(text) if status == 0 else None


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def tables(home: Home) -> dict[str, str]:
    """The digest of each table; raises if one is not whole."""
    import polars as pl

    from ccai_dagster.core.digest import table_digest

    folder = Path(home.tables_url)
    paths = sorted(folder.rglob("*.parquet"))
    return {path.relative_to(folder).as_posix(): table_digest(pl.read_parquet(path)) for path in paths}


def manifest(home: Home) -> bool:
    """Whether there is one; raises if it is not whole."""
    if home.manifest.is_file():
        read_manifest(home.manifest)
    return home.manifest.is_file()


def left_under_way(home: Home, consultation: Any) -> list[str]:
    """Runs and places in pools that nobody works in any more."""
    import dagster as dg

    with open_record(home, consultation, print) as instance:
        runs = instance.get_runs(dg.RunsFilter(statuses=UNDER_WAY))
        storage = instance.event_log_storage
        claimed = [pool for pool in storage.get_concurrency_keys() if storage.get_concurrency_info(pool).claimed_slots]
        return [f"run {run.run_id} {run.status.value}" for run in runs] + [f"pool {pool}" for pool in claimed]


if __name__ == "__main__":
    sys.exit(main())
