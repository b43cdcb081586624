"""What `week.py` and `day.py` live through: a consultation with `ccai ui`, its runs on record, and what must hold.

Each expectation is printed in one line as it is held against what is there; what does not hold is kept for the end.
"""

import os
import re
import signal
import socket
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import daemon_location
import dagster as dg
from small_processes import daemon_environment, forked, in_fork, run_command, started_for

from assets.public_input import SINCE
from ccai_dagster.cli import ui
from ccai_dagster.cli.app import app
from ccai_dagster.consultation.folder import read_consultation
from ccai_dagster.core.errors import ConsultationError
from ccai_dagster.core.home import Home
from ccai_dagster.run_failures import failure_message
from resources import run_tags
from resources.record import open_record

SECONDS_TO_SETTLE, SECONDS_BETWEEN_LOOKS = 900.0, 2.0
TICKS = 200


@dataclass(frozen=True)
class Run:
    """A run on record."""

    job: str
    started_by: str
    because: str
    status: str
    told: str
    made: tuple[str, ...]

    def __str__(self) -> str:
        return f"{self.status:<8} {self.job:<19} {self.started_by:<29} {self.because}"


class Lived:
    """A consultation, its runs on record, and what is not as it should be."""

    def __init__(self, base: Path) -> None:
        self.base, self.town, self.root, self.address = base, base / "town", base / "home", base / "warm_stages"
        self.log = base / "ui.log"
        self.wrong: list[str] = []
        self.known = 0
        self.day_began, self.printed_before = 0.0, 0

    def begin(self, day: str) -> None:
        print(f"\n{day}", flush=True)
        self.day_began, self.printed_before = time.time(), len(self.printed())

    def command(self) -> list[str]:
        """Let `ccai run` come to its end; return what it says."""
        with forked(lambda: run_command(self.town, self.root, self.address)) as (pid, lines):
            said = list(lines)
            _, status = os.waitpid(pid, 0)
        self.hold("the command comes to its end", status == 0, *said[-5:])
        return said

    def ccai(self, *words: str) -> list[str]:
        """Let somebody give another command; return what it prints."""
        who = ["--as", "process team"] if words[0] == "decide" else []

        def give() -> int:
            os.environ |= {"CCAI_HOME": str(self.root), "CCAI_CONSULTATION": str(self.town)}
            return int(app([*words, *who], standalone_mode=False) or 0)

        with forked(give) as (pid, lines):
            said = list(lines)
            _, status = os.waitpid(pid, 0)
        self.hold(f"ccai {words[0]} succeeds", status == 0, *said[-5:])
        return said

    @contextmanager
    def served(self) -> Iterator[int]:
        """Run `ccai ui`; in the end it is asked to end, and nothing of it may be left."""
        self.log.write_text("")
        self.printed_before = 0
        before = {pid for pid, _ in started_for(self.root)}
        pid = os.fork()
        if not pid:
            try:
                self._serve()
            finally:
                os._exit(1)
        try:
            yield pid
        finally:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGTERM)
            os.waitpid(pid, 0)
        left = [each for each in started_for(self.root) if each[0] not in before]
        self.hold("nothing is left of `ccai ui`", not left, *map(str, left))

    def _serve(self) -> None:
        log = os.open(self.log, os.O_WRONLY | os.O_APPEND)
        os.dup2(log, 1)
        os.dup2(log, 2)
        os.setsid()
        os.environ |= daemon_environment(self.town, self.root, self.address)
        commands = ui._commands

        def with_location(*arguments: Any) -> dict[str, list[str | Path]]:
            found = commands(*arguments)
            place = {"ccai_dagster.definitions": daemon_location.__name__}
            return {name: [place.get(str(word), word) for word in words] for name, words in found.items()}

        ui._commands = with_location
        try:
            ui.serve(read_consultation(self.town), free_port(), free_port(), lambda line: print(line, flush=True))
        except ConsultationError as error:
            print(error, flush=True)

    def settle(self, wanted: Mapping[str, str]) -> None:
        """Wait until nothing is under way and the last word of each sensor is the one that is wanted."""
        end = time.monotonic() + SECONDS_TO_SETTLE
        while time.monotonic() < end:
            time.sleep(SECONDS_BETWEEN_LOOKS)
            found = self.record()
            if not all(run["ended"] for run in found["runs"]):
                continue
            since = max([self.day_began, *(run["ended"] for run in found["runs"])])
            said = {
                name: ticks[0]["said"] for name, ticks in found["ticks"].items() if ticks and ticks[0]["at"] > since
            }
            if all(words in said.get(name, "") for name, words in wanted.items()):
                return
        last = [f"{name}: {ticks[:1]}" for name, ticks in found["ticks"].items()]
        self.hold(f"all sensors say what they should: {dict(wanted)}", False, *last)

    def record(self) -> dict[str, Any]:
        return in_fork(lambda: on_record(Home(self.root, self.town.name), self.town)) or {"runs": [], "ticks": {}}

    def new_runs(self, seen: bool = True) -> list[Run]:
        """Runs since they were last asked for."""
        every = self.record()["runs"]
        found = [
            Run(each["job"], each["started_by"], each["because"], each["status"], each["told"], tuple(each["made"]))
            for each in every[self.known :]
        ]
        if seen:
            self.known = len(every)
            for run in found:
                print("  ", run, flush=True)
        return found

    def ticks(self, sensor: str) -> list[str]:
        """What a sensor has said since the day began."""
        return [each["said"] for each in self.record()["ticks"][sensor] if each["at"] > self.day_began]

    def printed(self) -> str:
        """What `ccai ui` and its servers have printed since it started."""
        return self.log.read_text(errors="replace") if self.log.exists() else ""

    def printed_today(self) -> list[str]:
        return self.printed()[self.printed_before :].splitlines()

    def hold(self, what: str, so: bool, *told: str) -> None:
        print(f"   {'holds' if so else 'DOES NOT HOLD'}: {what}", *([] if so else told), sep="\n      ", flush=True)
        if not so:
            self.wrong.append(what)

    def tell(self, where: str, pattern: str, lines: Sequence[str]) -> None:
        """Print the sentence that a person sees, and where; it is wrong if there is none."""
        found = [match[0] for line in lines if (match := re.search(pattern, line))]
        if found:
            print(f"   told ({where}): {found[0][:300]}", flush=True)
        else:
            self.hold(f"told ({where}): {pattern}", False, *[line for line in lines if line][-5:])


def on_record(home: Home, town: Path) -> dict[str, Any]:
    """All runs in their order, what each sensor said, the last first, and what came since the last import."""
    with open_record(home, read_consultation(town), print) as instance:
        runs = []
        for record in reversed(instance.get_run_records()):
            run = record.dagster_run
            runs.append(
                {
                    "job": run.job_name,
                    "started_by": run.tags.get(run_tags.STARTED_BY, ""),
                    "because": run.tags.get(run_tags.BECAUSE, ""),
                    "status": run.status.value,
                    "ended": record.end_time or 0.0,
                    "told": told_of(instance, run),
                    "made": made_by(instance, run),
                }
            )
        ticks = {
            state.instigator_name: [
                {"at": tick.timestamp, "said": tick.skip_reason or ""}
                for tick in instance.get_ticks(state.instigator_origin_id, state.selector_id, limit=TICKS)
                if tick.status.value != "STARTED"
            ]
            for state in instance.all_instigator_state()
        }
        event = instance.get_latest_materialization_event(dg.AssetKey("raw_votes"))
        since = event.asset_materialization.metadata[SINCE].value if event and event.asset_materialization else ""
        return {"runs": runs, "ticks": ticks, "since": since}


def told_of(instance: dg.DagsterInstance, run: dg.DagsterRun) -> str:
    """Why a run failed, as Dagster shows it."""
    if run.status != dg.DagsterRunStatus.FAILURE:
        return ""
    wanted = {dg.DagsterEventType.STEP_FAILURE, dg.DagsterEventType.RUN_FAILURE}
    events = [each.dagster_event for each in instance.all_logs(run.run_id, of_type=wanted)]
    found = [failure_message(each) if each.is_step_failure else str(each.message) for each in events if each]
    return found[0].replace("\n", " ") if found else ""


def made_by(instance: dg.DagsterInstance, run: dg.DagsterRun) -> list[str]:
    logs = instance.all_logs(run.run_id, of_type=dg.DagsterEventType.ASSET_MATERIALIZATION)
    events = [each.dagster_event for each in logs]
    return [each.asset_key.to_user_string() for each in events if each is not None and each.asset_key is not None]


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
