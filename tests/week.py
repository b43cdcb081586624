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
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import psutil
from conftest import make_tiny_model
from lived import SECONDS_TO_SETTLE, Lived, Run
from small_graph import TRAINED, small_folder
from small_processes import forked, in_fork, run_command, serve_stages

from ccai_dagster.consultation.folder import SAMPLE
from ccai_dagster.core.processes import heed_signals
from sample.build import build_more

STEP = re.compile(r"^  … (\S+)$")
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


class Week(Lived):
    """A consultation, its runs on record, and what is not as the rules say."""

    def __init__(self, base: Path) -> None:
        super().__init__(base)
        self.votes = self.town / "votes"

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

    def kill_daemon(self, server: int) -> None:
        (daemon,) = [each for each in psutil.Process(server).children() if "dagster-daemon" in " ".join(each.cmdline())]
        daemon.kill()
        end = time.monotonic() + SECONDS_TO_SETTLE
        while psutil.Process(server).status() != psutil.STATUS_ZOMBIE and time.monotonic() < end:
            time.sleep(0.5)

    # What is asked

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

    def since(self) -> str:
        return str(self.record()["since"])

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


def main() -> int:
    heed_signals()
    with tempfile.TemporaryDirectory(prefix="week-", ignore_cleanup_errors=True) as folder:
        return Week(Path(folder)).live()


if __name__ == "__main__":
    sys.exit(main())
