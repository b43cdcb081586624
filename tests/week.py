"""A week in the life of a consultation: what changes, what dies, and what is told about it.

The sample with the tiny model, `ccai run` and `ccai ui` with Dagster's daemon. Votes grow, come again, come in part,
shrink, are moderated late, go back and forth, and tip a statement. The command is killed ten times, the daemon twice,
and the user interface is ended. After each day the runs on record must be those that the rules ask for, in their order
(`docs/environment.md`, `ccai_dagster.automation`); every wait and repair is printed with the place where a person sees
its sentence. It fails if a run is another, a sentence is missing, or a process is left.

It takes ten to twenty minutes on two cores. Time is the only thing that is not real: sensors look every few seconds
(`daemon_location`), and stages run in a warm process.
"""

import csv
import io
import os
import re
import shutil
import signal
import socket
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import daemon_location
import dagster as dg
import psutil
from conftest import make_tiny_model
from small_graph import TRAINED, small_folder
from small_processes import daemon_environment, forked, in_fork, run_command, serve_stages, started_for

from assets.public_input import SINCE
from ccai_dagster.cli import ui
from ccai_dagster.cli.app import app
from ccai_dagster.consultation.folder import SAMPLE, read_consultation
from ccai_dagster.core.errors import ConsultationError
from ccai_dagster.core.home import Home
from ccai_dagster.run_failures import failure_message
from resources import run_tags
from resources.record import open_record
from sample.build import build_more

STEP = re.compile(r"^  … (\S+)$")
SECONDS_TO_SETTLE, SECONDS_BETWEEN_LOOKS = 900.0, 2.0
TICKS = 200
KILLED_FIRST = (
    "opinion_groups",
    "prompts",
    "judge_answers",
    "public/supervised_policy",
    "standard/policy",
    "eval_scores",
)
KILLED_LAST = ("public/response_pairs", "public/policy", "audit_report")
TWO_LOOKS = "polis_export changed; not read before it is the same at two looks"
ENDED = r"Run \w+ \(__ASSET_JOB\) of an earlier start was ended, since .*"
DAEMON_DIED = r"Dagster's daemon ended by itself \(killed by signal 9\), so the other servers were ended, too\."
COMMAND, UI, RUN, SENSORS = "terminal of `ccai run`", "terminal of `ccai ui`", "Dagster, Runs", "Dagster, Automation"
RAW_VOTES = "Dagster, the asset raw_votes, and `ccai run`"
SETTLED = {"new_inputs": "as they were last observed", "changed_deliberation": "everything is up to date"}
WAITING = {**SETTLED, "signed_off_training": "waits for a sign-off"}
GIVEN_UP = {**SETTLED, "changed_deliberation": "not tried again by itself after 3 runs"}


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


@dataclass(frozen=True)
class Expected:
    """A run as the rules ask for it; `because` is the beginning of its reason."""

    job: str
    sensor: str
    because: str
    status: str = "SUCCESS"

    def fits(self, run: Run) -> bool:
        reason = run.because.startswith(self.because)
        return reason and (run.job, run.started_by, run.status) == (self.job, f"sensor {self.sensor}", self.status)

    def failed(self) -> "Expected":
        return replace(self, status="FAILURE")


OBSERVED = Expected("observe_inputs", "new_inputs", "polis_export changed")
DELIBERATED = Expected("deliberate", "changed_deliberation", "polis_export changed")
AUDITED = Expected("train_and_evaluate", "signed_off_training", "")
"""After a deliberation with other figures and the same constitution: evaluation and audit step by step, no training."""


class Week:
    """A consultation, its runs on record, and what is not as the rules say."""

    def __init__(self, base: Path) -> None:
        self.base, self.town, self.root, self.address = base, base / "town", base / "home", base / "warm_stages"
        self.votes, self.log = self.town / "votes", base / "ui.log"
        self.wrong: list[str] = []
        self.known = 0
        self.day_began, self.printed_before = 0.0, 0

    def live(self) -> int:
        """Live through the week; return 0 if everything went as the rules say."""
        small_folder(self.town, self.base / "model")
        in_fork(lambda: make_tiny_model(self.base / "model"))
        serve_stages(self.address)
        self.first_run()
        with self.served():
            self.growing()
            self.tipping()
            self.identical()
            self.partial()
            self.shrinking()
        with self.served() as server:
            self.moderated_late()
            self.back_and_forth()
            self.daemon_dies(server)
        with self.served() as server:
            self.daemon_dies_in_training(server)
        self.last_run()
        print(f"\n{len(self.wrong)} things were not as the rules say", *self.wrong, sep="\n  ", flush=True)
        return 1 if self.wrong else 0

    # The days

    def first_run(self) -> None:
        self.begin("The week before: the first run; the command is killed six times, at a stage and between")
        for number, step in enumerate(KILLED_FIRST):
            said = self.killed_command(step)
            if number:
                self.tell(COMMAND, ENDED, said)
        said = self.command()
        self.tell(COMMAND, ENDED, said)
        runs = self.new_runs()
        self.hold("a run is ended for each kill", [run.status for run in runs].count("FAILURE") == len(KILLED_FIRST))
        self.hold("all runs are the command's", {run.started_by for run in runs} == {"ccai run"})
        self.tell(RUN, r"This run was ended, since .* What it had finished is kept\.", [run.told for run in runs])
        made = [key for run in runs for key in run.made]
        self.hold("nothing that was finished is made twice", len(made) == len(set(made)) and set(made) >= TRAINED)

    def growing(self) -> None:
        self.begin("Monday: the export has grown by twelve people")
        self.put("unchanged")
        self.settle({**SETTLED, "signed_off_training": "everything is up to date"})
        self.tell(SENSORS, TWO_LOOKS, self.ticks("new_inputs"))
        runs = self.expect([OBSERVED, DELIBERATED], AUDITED)
        self.hold("nothing is trained", not {key for run in runs for key in run.made} & TRAINED)
        self.tell(RAW_VOTES, "526 votes and 12 people more", [self.since()])

    def tipping(self) -> None:
        self.begin("Tuesday: ninety people tip a statement; `ccai run` comes in between and is killed while it waits")
        self.put("changed")
        self.tell(COMMAND, r"Waiting: run \w+ of Dagster \(process .*\) is at work .*", self.waiting_command())
        self.settle(WAITING)
        said = self.ticks("signed_off_training")
        self.tell(SENSORS, r"run \w+ .* is (at work|under way).*", said)
        self.tell(SENSORS, r"waits for a sign-off in decisions/signoff.csv: public .*", said)
        runs = self.expect([OBSERVED, DELIBERATED])
        self.hold("nothing is trained", not {key for run in runs for key in run.made} & TRAINED)

    def identical(self) -> None:
        self.begin("Wednesday: the same export comes again")
        self.put("changed")
        self.settle(WAITING)
        self.tell(SENSORS, "the export and the ledgers are as they were last observed", self.ticks("new_inputs"))
        self.expect([])

    def partial(self) -> None:
        self.begin("Thursday: the export is copied slowly, stops in the middle of a row, and is completed later")
        path = self.votes / "votes.csv"
        whole = path.read_bytes()
        middle = whole.index(b"\n", len(whole) // 2) + 5
        path.write_bytes(whole[: middle // 2])
        for place in range(middle // 2, middle, middle // 24):
            time.sleep(1)  # far less than between two looks
            with path.open("ab") as handle:
                handle.write(whole[place : min(place + middle // 24, middle)])
        self.hold("what is being copied is not read", not self.new_runs(seen=False))
        self.settle(GIVEN_UP)
        self.tell(SENSORS, TWO_LOOKS, self.ticks("new_inputs"))
        self.tell(SENSORS, "not tried again by itself after 3 runs; .*", self.ticks("changed_deliberation"))
        runs = self.expect([OBSERVED, *[DELIBERATED.failed()] * 3])
        self.tell(RUN, r"polis_import: .*", [run.told for run in runs])
        self.replace(path, whole)
        self.settle(WAITING)
        self.expect([OBSERVED])

    def shrinking(self) -> None:
        self.begin("Thursday night: an export with fewer people; nobody signs it, and the larger one comes back")
        whole = {path.name: path.read_bytes() for path in self.votes.iterdir()}
        self.put("unchanged")
        self.settle(GIVEN_UP)
        runs = self.expect([OBSERVED, *[DELIBERATED.failed()] * 3])
        self.tell(RUN, r".*, 78 fewer.*", [run.told for run in runs])
        self.tell("`ccai status`", ".*, 78 fewer.*", self.ccai("status"))
        for name, content in whole.items():
            self.replace(self.votes / name, content)
        self.settle(WAITING)
        self.expect([OBSERVED])

    def moderated_late(self) -> None:
        self.begin("Friday: the host moderates two statements after the closing")
        self.moderate()
        self.settle(WAITING)
        self.expect([OBSERVED, DELIBERATED])
        self.tell(RAW_VOTES, "2 statements moderated otherwise", [self.since()])

    def back_and_forth(self) -> None:
        self.begin("Friday night: B is A again, then B, A, B")
        for _ in range(4):
            self.moderate()
            self.settle(WAITING)
            self.expect([OBSERVED, DELIBERATED])

    def daemon_dies(self, server: int) -> None:
        self.begin("Saturday: the daemon is killed")
        self.kill_daemon(server)
        self.tell(UI, DAEMON_DIED, self.printed_today())

    def daemon_dies_in_training(self, server: int) -> None:
        self.begin("Sunday: the new constitution is signed; the daemon is killed while it trains")
        self.settle(WAITING)
        waiting = re.findall(r"public \((\w+)\)", "\n".join(self.ticks("signed_off_training")))
        self.ccai(
            "decide",
            "signoff",
            "public",
            "signed off",
            "--reason",
            "Read aloud.",
            "--digest",
            waiting[0],
            "--supersedes",
            "SO1",
        )
        self.until_step("public__supervised_policy")
        self.kill_daemon(server)
        self.tell(UI, DAEMON_DIED, self.printed_today())

    def last_run(self) -> None:
        self.begin("Sunday night: `ccai run` goes on; it is killed three times more")
        for step in KILLED_LAST:
            self.killed_command(step)
        said = self.command()
        self.tell(COMMAND, ENDED, said)
        runs = self.new_runs()
        self.tell(RUN, ".+", [run.told for run in runs if (run.job, run.status) == (AUDITED.job, "FAILURE")])
        made = [key for run in runs for key in run.made if key in TRAINED]
        public = {key for key in TRAINED if key.startswith("public/")}
        self.hold("the changed arm is trained once and no other", sorted(made) == sorted(public))
        self.hold("a run is ended for each kill", [run.status for run in runs].count("FAILURE") == 1 + len(KILLED_LAST))
        self.tell("`ccai verify`", ".+", self.ccai("verify"))

    # What is done

    def begin(self, day: str) -> None:
        print(f"\n{day}", flush=True)
        self.day_began, self.printed_before = time.time(), len(self.printed())

    def put(self, kind: str) -> None:
        """Put an export in the place of the one that is there, each file whole."""
        fresh = self.base / "fresh"
        if kind == "original":
            shutil.copytree(SAMPLE / "votes", fresh)
        else:
            # polars starts threads, which a later fork would wait for without end.
            in_fork(lambda: build_more(kind, fresh))  # type: ignore[arg-type]
        for path in fresh.iterdir():
            path.replace(self.votes / path.name)
        fresh.rmdir()

    def replace(self, path: Path, content: bytes) -> None:
        fresh = self.base / "fresh"
        fresh.write_bytes(content)
        fresh.replace(path)

    def moderate(self) -> None:
        """Moderate the first two statements otherwise, or back again."""
        path = self.votes / "comments.csv"
        rows = list(csv.DictReader(path.read_text().splitlines()))
        for row in rows[:2]:
            row["moderated"] = "0" if row["moderated"] == "1" else "1"
        text = io.StringIO()
        writer = csv.DictWriter(text, list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
        self.replace(path, text.getvalue().encode())

    def command(self) -> list[str]:
        """Let `ccai run` come to its end; return what it says."""
        with forked(lambda: run_command(self.town, self.root, self.address)) as (pid, lines):
            said = list(lines)
            _, status = os.waitpid(pid, 0)
        self.hold("the command comes to its end", status == 0, *said[-5:])
        return said

    def killed_command(self, step: str) -> list[str]:
        """Kill `ccai run` when a step begins; return what it says."""
        said = []
        with forked(lambda: run_command(self.town, self.root, self.address)) as (pid, lines):
            for line in lines:
                said.append(line)
                if (begun := STEP.match(line)) and begun[1] == step:
                    os.kill(pid, signal.SIGKILL)
                    break
            os.waitpid(pid, 0)
        self.hold(f"the command is killed in {step}", bool(said) and said[-1].endswith(step))
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
        left = started_for(self.root)
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

    def kill_daemon(self, server: int) -> None:
        (daemon,) = [each for each in psutil.Process(server).children() if "dagster-daemon" in " ".join(each.cmdline())]
        daemon.kill()
        end = time.monotonic() + SECONDS_TO_SETTLE
        while psutil.Process(server).status() != psutil.STATUS_ZOMBIE and time.monotonic() < end:
            time.sleep(0.5)

    # What is asked

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

    def expect(self, wanted: Sequence[Expected], later: Expected | None = None) -> list[Run]:
        """The runs since the last time are these, and after them any number of `later`."""
        found = self.new_runs()
        first, rest = found[: len(wanted)], found[len(wanted) :]
        fits = len(first) == len(wanted) and all(want.fits(run) for want, run in zip(wanted, first, strict=True))
        self.hold(
            "the runs are those that the rules ask for",
            fits and (not rest or later is not None) and all(later is not None and later.fits(run) for run in rest),
            *map(str, wanted),
        )
        return found

    def ticks(self, sensor: str) -> list[str]:
        """What a sensor has said since the day began."""
        return [each["said"] for each in self.record()["ticks"][sensor] if each["at"] > self.day_began]

    def since(self) -> str:
        return str(self.record()["since"])

    def printed(self) -> str:
        """What `ccai ui` and its servers have printed since it started."""
        return self.log.read_text(errors="replace") if self.log.exists() else ""

    def printed_today(self) -> list[str]:
        return self.printed()[self.printed_before :].splitlines()

    def until_step(self, step: str) -> None:
        """Wait until a step of the daemon's begins."""
        end = time.monotonic() + SECONDS_TO_SETTLE
        while not any(f" - {step} - STEP_START - " in line for line in self.printed_today()):
            if time.monotonic() > end:
                self.hold(f"the daemon comes to {step}", False)
                return
            time.sleep(0.2)

    def waiting_command(self) -> list[str]:
        """Start `ccai run` while a run of Dagster's is at work, and kill it while it waits."""
        self.until_step("polis_import")
        said = []
        with forked(lambda: run_command(self.town, self.root, self.address)) as (pid, lines):
            for line in lines:
                said.append(line)
                if "Waiting: " in line:
                    break
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
        return said

    # What is held against the rules

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


def main() -> int:
    with tempfile.TemporaryDirectory(prefix="week-", ignore_cleanup_errors=True) as folder:
        return Week(Path(folder)).live()


if __name__ == "__main__":
    sys.exit(main())
