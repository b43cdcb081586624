"""Owners of runs: the process that executes a run, what becomes of a run whose process is gone, and whose turn it is.

Every run names its owner in its tags. Whoever starts next ends the runs whose owner is gone; otherwise they would count
as under way for ever, and neither a sensor nor the queue would do anything again. One run at a time works on a
consultation, be it of the command or of Dagster's daemon: who executes holds the lock `run.lock` in the folder of
Dagster's record.

Run launchers: https://docs.dagster.io/deployment/execution/run-launchers
Executors: https://docs.dagster.io/guides/operate/run-executors
"""

import os
import socket
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import dagster as dg
import psutil

from ccai_dagster.core.files import held, holder_of
from resources.instance import kept_connections

HOST, PID, STARTED = "ccai/host", "ccai/pid", "ccai/started"
"""Tags of a run: where it is executed, by which process, and when that one was started."""
SECONDS_WITHOUT_OWNER = 180
"""A run may name no owner while Dagster starts it; one that still names none after this long has none."""
UNDER_WAY = [
    dg.DagsterRunStatus.NOT_STARTED,
    dg.DagsterRunStatus.STARTING,
    dg.DagsterRunStatus.STARTED,
    dg.DagsterRunStatus.CANCELING,
]
"""What a run is that somebody should be executing. A queued one waits for Dagster's daemon and cannot be dead."""


@dataclass(frozen=True)
class Owner:
    """A process.

    Attributes:
        host: Name of its machine.
        pid: Its id there.
        started: Seconds from the start of the machine to its own, two digits: an id is given again to other processes,
            and the clock may be set meanwhile.
    """

    host: str
    pid: int
    started: str

    def __str__(self) -> str:
        return f"process {self.pid} on {self.host}"

    def runs(self) -> bool | None:
        """Tell whether the process still runs; None if it belongs to another machine."""
        if self.host != socket.gethostname():
            return None
        try:
            process = psutil.Process(self.pid)
            return _started(process) == self.started and process.status() != psutil.STATUS_ZOMBIE
        except psutil.NoSuchProcess:
            return False


def owner_with(pid: int) -> Owner:
    """Return the process of this machine that has an id now."""
    return Owner(socket.gethostname(), pid, _started(psutil.Process(pid)))


def this_process() -> Owner:
    """Return the process that asks."""
    return owner_with(os.getpid())


def owner_tags() -> dict[str, str]:
    """Return the tags of a run that this process executes."""
    return tags_of(this_process())


def tags_of(owner: Owner) -> dict[str, str]:
    """Return the tags that name an owner."""
    return {HOST: owner.host, PID: str(owner.pid), STARTED: owner.started}


def owner_of(run: dg.DagsterRun) -> Owner | None:
    """Return the owner that a run names."""
    if not {HOST, PID, STARTED} <= set(run.tags):
        return None
    return Owner(run.tags[HOST], int(run.tags[PID]), run.tags[STARTED])


def end_dead_runs(instance: dg.DagsterInstance, say: Callable[[str], None]) -> None:
    """End every run whose owner is gone, free its places in pools, and say so.

    A run of another machine is left alone and told: only there can anybody know.
    """
    for record in instance.get_run_records(dg.RunsFilter(statuses=UNDER_WAY)):
        run, owner = record.dagster_run, owner_of(record.dagster_run)
        alive = _may_yet_start(instance, record) if owner is None else owner.runs()
        if alive is None:
            say(_state(run))
        if alive is not False:
            continue
        # It may have ended well just before its process did, or another process may have taken it over.
        present = instance.get_run_by_id(run.run_id)
        if present is None or present.status not in UNDER_WAY or owner_of(present) != owner:
            continue
        who = f"{owner}, which is gone" if owner else "no process that it names"
        why = f"it was executed by {who}: killed, or its machine went down. What it had finished is kept."
        if present.status == dg.DagsterRunStatus.CANCELING:
            instance.report_run_canceled(present, f"This run was ended, since {why}")
        else:
            instance.report_run_failed(present, f"This run was ended, since {why}")
        say(f"Run {_short(run)} ({run.job_name}) of an earlier start was ended, since {why}")
    _free_places(instance)


def under_way(instance: dg.DagsterInstance) -> str | None:
    """Say who is at work on the consultation or is about to be; None if nobody is."""
    if holder := holder_of(_lock(instance)):
        return f"{holder} is at work on this consultation"
    statuses = [*UNDER_WAY, dg.DagsterRunStatus.QUEUED]
    for run in instance.get_runs(dg.RunsFilter(statuses=statuses), limit=1):
        return _state(run)
    return None


def unfinished(instance: dg.DagsterInstance) -> list[str]:
    """Tell of every run that is under way on record who executes it, and whether that process is gone."""
    return [_state(run) for run in instance.get_runs(dg.RunsFilter(statuses=UNDER_WAY))]


def turn(instance: dg.DagsterInstance, who: str, busy: Callable[[str], None]) -> AbstractContextManager[None]:
    """Be the only one who executes runs on the consultation for as long as the block runs.

    Args:
        who: For those who wait meanwhile.
        busy: Called each second with a sentence on who is at work, for as long as somebody else is; raises to give up.
    """
    return held(
        _lock(instance), f"{who} ({this_process()})", lambda holder: busy(f"{holder} is at work on this consultation")
    )


def await_pools(instance: dg.DagsterInstance, busy: Callable[[str], None]) -> None:
    """Wait until no pool is taken by a run that is under way elsewhere.

    Dagster's own wait in a process goes round on one core, prints nothing and hears no signal.

    Args:
        busy: As in `turn`.
    """
    while taken := _taken(instance):
        busy(taken)
        time.sleep(1)


def named_owner(executor: dg.ExecutorDefinition, tags: Mapping[str, str]) -> dg.ExecutorDefinition:
    """Return the executor, which now names its process as the owner of a run and waits for its turn.

    Args:
        tags: Of every run that has none of these.
    """
    create = executor.executor_creation_fn
    if create is None:
        raise ValueError(f"executor {executor.name} cannot be made")
    return dg.ExecutorDefinition(
        name=executor.name,
        config_schema=executor.config_schema.as_field(),
        requirements=executor.get_requirements,
        executor_creation_fn=lambda context: _NamedOwner(create(context), tags),
        description=executor.description,
    )


class _NamedOwner(dg.Executor):
    def __init__(self, executor: dg.Executor, tags: Mapping[str, str]) -> None:
        self._executor, self._tags = executor, tags

    @property
    def retries(self) -> Any:
        return self._executor.retries

    @property
    def step_dependency_config(self) -> Any:
        return self._executor.step_dependency_config

    def execute(self, plan_context: Any, execution_plan: Any) -> Iterator[dg.DagsterEvent]:
        """Execute the plan once nobody else is at work."""
        instance, run = plan_context.instance, plan_context.dagster_run
        instance.add_run_tags(run.run_id, {**self._tags, **run.tags, **owner_tags()})
        told: set[str] = set()

        def busy(why: str) -> None:
            if why not in told:
                plan_context.log.info(f"Waiting: {why}")
                told.add(why)
            # Dagster holds signals back meanwhile, so a cancellation is looked for.
            present = instance.get_run_by_id(run.run_id)
            if present is None or present.status == dg.DagsterRunStatus.CANCELING:
                raise dg.Failure("The run was canceled while it waited.", allow_retries=False)

        with turn(instance, f"run {_short(run)} of Dagster", busy), kept_connections(instance):
            yield from self._executor.execute(plan_context, execution_plan)


class NamingRunLauncher(dg.DefaultRunLauncher):
    """Names the daemon as the owner of a run until the process that executes it does; see `dagster.yaml`."""

    def launch_run(self, context: Any) -> None:
        """Launch a run."""
        self._instance.add_run_tags(context.dagster_run.run_id, owner_tags())
        super().launch_run(context)


def _started(process: psutil.Process) -> str:
    return f"{process.create_time() - psutil.boot_time():.2f}"


def _short(run: dg.DagsterRun) -> str:
    return run.run_id[:8]


def _state(run: dg.DagsterRun) -> str:
    owner = owner_of(run)
    alive = owner.runs() if owner is not None else True
    if alive is False:
        return f"Run {_short(run)} ({run.job_name}) was executed by {owner}, which is gone; the next start ends it."
    elsewhere = (
        ", which cannot be asked from here. If that machine is gone for good, end the run in Dagster (Runs, Terminate)."
    )
    by = f" by {owner}{'.' if alive else elsewhere}" if owner is not None else "."
    return f"Run {_short(run)} ({run.job_name}) is under way{by}"


def _lock(instance: dg.DagsterInstance) -> Path:
    return Path(instance.root_directory) / "run.lock"


def _may_yet_start(instance: dg.DagsterInstance, record: dg.RunRecord) -> bool:
    """Whether a run without an owner may be about to start; of Kubernetes' pods only Dagster's monitoring can tell."""
    if type(instance.run_launcher).__name__ == "K8sRunLauncher":
        return True
    # A time to come is of a clock that was set back since.
    return abs(time.time() - record.update_timestamp.timestamp()) < SECONDS_WITHOUT_OWNER


def _pools(instance: dg.DagsterInstance) -> dict[str, Any]:
    storage = instance.event_log_storage
    return {pool: storage.get_concurrency_info(pool) for pool in storage.get_concurrency_keys()}


def _free_places(instance: dg.DagsterInstance) -> None:
    """Free the places of runs that ended without giving them back."""
    storage = instance.event_log_storage
    holders = {run_id for info in _pools(instance).values() for run_id in info.active_run_ids}
    for run_id in holders | storage.get_concurrency_run_ids():
        run = instance.get_run_by_id(run_id)
        if run is None or run.is_finished:
            storage.free_concurrency_slots_for_run(run_id)


def _taken(instance: dg.DagsterInstance) -> str | None:
    for pool, info in _pools(instance).items():
        if info.active_slot_count < info.slot_count:
            continue
        for run in filter(None, map(instance.get_run_by_id, info.active_run_ids)):
            return f"run {_short(run)} ({owner_of(run) or 'no process named'}) holds the place in the pool {pool}"
    return None
