"""A run whose process is gone is ended by whoever starts next; one at a time works on a consultation."""

import dataclasses
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from ccai_dagster.core.errors import ConsultationError
from ccai_dagster.core.files import holder_of
from resources import run_owners

REPOSITORY = Path(__file__).parents[2]
DIES = """
import os, signal, sys
import dagster as dg
from resources.run_owners import owner_tags

@dg.asset(pool="accelerator")
def dies() -> None:
    os.kill(os.getpid(), signal.SIGKILL)

with dg.DagsterInstance.from_config(sys.argv[1]) as instance:
    dg.materialize([dies], instance=instance, tags=owner_tags())
"""
HOLDS = """
import sys
from pathlib import Path
from ccai_dagster.core.files import held

with held(Path(sys.argv[1]), "somebody", print):
    print("held", flush=True)
    sys.stdin.read()
"""
SETTINGS = "concurrency: {pools: {default_limit: 1, granularity: op}}\ntelemetry: {enabled: false}\n"


@dg.asset(pool="accelerator")
def dies() -> None: ...


@pytest.fixture(scope="module")
def record(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dg.DagsterInstance]:
    folder = tmp_path_factory.mktemp("record")
    (folder / "dagster.yaml").write_text(SETTINGS)
    with dg.DagsterInstance.from_config(str(folder)) as instance:
        yield instance


@pytest.fixture
def instance(record: dg.DagsterInstance) -> dg.DagsterInstance:
    record.wipe()
    return record


def python(script: str, *arguments: Any, **options: Any) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-W", "ignore", "-c", script, *map(str, arguments)],
        env={**os.environ, "PYTHONPATH": ":".join([str(REPOSITORY), *sys.path])},
        text=True,
        **options,
    )


def gone() -> run_owners.Owner:
    """A process of this machine that was killed."""
    process = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    owner = run_owners.owner_with(process.pid)
    process.kill()
    process.wait()
    return owner


def run_of(instance: dg.DagsterInstance, owner: run_owners.Owner | None, status: dg.DagsterRunStatus) -> str:
    tags = run_owners.tags_of(owner) if owner else {}
    return instance.create_run_for_job(
        dg.Definitions([dies]).resolve_implicit_global_asset_job_def(), tags=tags, status=status
    ).run_id


def status_of(instance: dg.DagsterInstance, run_id: str) -> dg.DagsterRunStatus:
    run = instance.get_run_by_id(run_id)
    assert run is not None
    return run.status


def test_a_killed_run_is_ended_and_its_place_in_the_pool_is_free(instance: dg.DagsterInstance) -> None:
    assert python(DIES, instance.root_directory, stderr=subprocess.DEVNULL).wait() == -signal.SIGKILL
    (run,) = instance.get_runs()
    assert run.status == dg.DagsterRunStatus.STARTED
    assert "holds the place in the pool accelerator" in str(run_owners._taken(instance))

    told: list[str] = []
    run_owners.end_dead_runs(instance, told.append)
    assert status_of(instance, run.run_id) == dg.DagsterRunStatus.FAILURE
    (sentence,) = told
    assert sentence.startswith(
        f"Run {run.run_id[:8]} (__ephemeral_asset_job__) of an earlier start was ended, since it"
    )
    assert run_owners.under_way(instance) is None
    # Would go round for ever if the place were taken.
    assert dg.materialize([dies], instance=instance).success

    run_owners.end_dead_runs(instance, told.append)
    assert len(told) == 1


@pytest.mark.parametrize(
    ("status", "after"),
    [
        ("NOT_STARTED", "FAILURE"),
        ("STARTING", "FAILURE"),
        ("STARTED", "FAILURE"),
        ("CANCELING", "CANCELED"),
        ("SUCCESS", "SUCCESS"),
    ],
)
def test_of_a_process_that_is_gone_everything_is_ended_that_it_had_begun(
    instance: dg.DagsterInstance, status: str, after: str
) -> None:
    run = run_of(instance, gone(), dg.DagsterRunStatus[status])
    run_owners.end_dead_runs(instance, lambda line: None)
    assert status_of(instance, run) == dg.DagsterRunStatus[after]


def test_a_living_run_is_left_alone_without_a_word(instance: dg.DagsterInstance) -> None:
    run = run_of(instance, run_owners.this_process(), dg.DagsterRunStatus.STARTED)
    told: list[str] = []
    run_owners.end_dead_runs(instance, told.append)
    assert (status_of(instance, run), told) == (dg.DagsterRunStatus.STARTED, [])
    assert run_owners.under_way(instance) == f"Run {run[:8]} (__ASSET_JOB) is under way by {run_owners.this_process()}."


def test_an_id_that_was_given_to_another_process_is_no_owner(instance: dg.DagsterInstance) -> None:
    mine = run_owners.this_process()
    reused = run_owners.Owner(mine.host, mine.pid, "1.00")
    assert (mine.runs(), reused.runs()) == (True, False)


def test_a_run_of_another_machine_is_left_alone_and_told(instance: dg.DagsterInstance) -> None:
    run = run_of(instance, run_owners.Owner("elsewhere", 1, "1.00"), dg.DagsterRunStatus.STARTED)
    told: list[str] = []
    run_owners.end_dead_runs(instance, told.append)
    assert status_of(instance, run) == dg.DagsterRunStatus.STARTED
    (sentence,) = told
    assert "is under way by process 1 on elsewhere, which cannot be asked from here" in sentence
    assert run_owners.unfinished(instance) == [sentence] == [run_owners.under_way(instance)]


def test_what_is_under_way_is_told_with_who_executes_it(instance: dg.DagsterInstance) -> None:
    assert run_owners.unfinished(instance) == []
    for owner, told in (
        (run_owners.this_process(), f" is under way by process {os.getpid()} on "),
        (dataclasses.replace(run_owners.this_process(), started="0.00"), ", which is gone; the next start ends it."),
        (None, " is under way."),
    ):
        run = run_of(instance, owner, dg.DagsterRunStatus.STARTED)
        (sentence,) = run_owners.unfinished(instance)
        assert sentence.startswith(f"Run {run[:8]} (") and told in sentence
        instance.delete_run(run)


def test_a_run_that_names_no_process_is_ended_once_it_had_time_to(
    instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = run_of(instance, None, dg.DagsterRunStatus.STARTED)
    run_owners.end_dead_runs(instance, lambda line: None)
    assert status_of(instance, run) == dg.DagsterRunStatus.STARTED
    monkeypatch.setattr(run_owners, "SECONDS_WITHOUT_OWNER", 0)
    run_owners.end_dead_runs(instance, lambda line: None)
    assert status_of(instance, run) == dg.DagsterRunStatus.FAILURE


def test_a_clock_that_was_set_back_keeps_no_run_under_way(
    instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = run_of(instance, None, dg.DagsterRunStatus.STARTED)
    now = time.time()
    monkeypatch.setattr(time, "time", lambda: now - 86_400)
    run_owners.end_dead_runs(instance, lambda line: None)
    assert status_of(instance, run) == dg.DagsterRunStatus.FAILURE


def test_a_pod_of_kubernetes_may_take_long_to_start(
    instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(type(instance), "run_launcher", type("K8sRunLauncher", (), {})())
    monkeypatch.setattr(run_owners, "SECONDS_WITHOUT_OWNER", 0)
    run = run_of(instance, None, dg.DagsterRunStatus.STARTING)
    run_owners.end_dead_runs(instance, lambda line: None)
    assert status_of(instance, run) == dg.DagsterRunStatus.STARTING


def test_who_works_on_a_consultation_is_told_to_those_who_wait(
    instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = python(HOLDS, Path(instance.root_directory) / "run.lock", stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert other.stdout is not None and other.stdout.readline() == "held\n"
    assert run_owners.under_way(instance) == "somebody is at work on this consultation"

    told: list[str] = []

    def busy(why: str) -> None:
        told.append(why)
        # Killed while somebody waits: the lock goes with the process.
        other.kill()
        other.wait()

    with run_owners.turn(instance, "a test", busy):
        assert set(told) == {"somebody is at work on this consultation"}
        assert str(holder_of(Path(instance.root_directory) / "run.lock")).startswith(
            f"a test (process {os.getpid()} on "
        )
    assert run_owners.under_way(instance) is None


def test_who_does_not_want_to_wait_stops(instance: dg.DagsterInstance) -> None:
    def refuse(why: str) -> None:
        raise ConsultationError(why)

    with (
        run_owners.turn(instance, "a test", refuse),
        pytest.raises(ConsultationError, match=r"a test .* is at work"),
        run_owners.turn(instance, "another", refuse),
    ):
        raise AssertionError
    with run_owners.turn(instance, "a third", refuse):
        pass


def test_a_run_of_dagster_names_the_process_that_executes_it(instance: dg.DagsterInstance) -> None:
    """In-process execution of Dagster's own would take another executor, so the job is asked as a daemon asks it."""
    seen: dict[str, str | None] = {}

    @dg.asset
    def looks(context: dg.AssetExecutionContext) -> None:
        run = context.instance.get_run_by_id(context.run.run_id)
        assert run is not None
        seen["owner"] = str(run_owners.owner_of(run))
        seen["at work"] = run_owners.holder_of(run_owners._lock(context.instance))

    executor = run_owners.named_owner(dg.in_process_executor, {"ccai/because": "a person asked for it"})
    assert executor.name == "in_process"
    job = dg.Definitions([looks], executor=executor).resolve_implicit_global_asset_job_def()
    run = instance.create_run_for_job(job)
    from dagster._core.definitions.job_base import InMemoryJob
    from dagster._core.execution.api import execute_run

    assert execute_run(InMemoryJob(job), run, instance).success
    assert seen["owner"] == str(run_owners.this_process())
    made = instance.get_run_by_id(run.run_id)
    assert made is not None and made.tags["ccai/because"] == "a person asked for it"
    assert seen["at work"] == f"run {run.run_id[:8]} of Dagster ({run_owners.this_process()})"
