"""The launcher's child process: what a person reads when it fails or dies."""

import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import dagster as dg
import polars as pl
import psutil
import pytest
from filelock import FileLock

from ccai_dagster.consultation.settings import (
    FeedbackSettings,
    ModelSettings,
    SentenceModelSettings,
    TunedJudgeSettings,
)
from ccai_dagster.core.errors import ConsultationError, silent
from ccai_dagster.stages import worker
from ccai_dagster.stages.feedback import JudgeAnswersStage
from ccai_dagster.stages.request import Stage, StageFolder
from resources.launcher import WARM, Launcher

PAIR = {"pair_id": "1", "prompt": "p", "response_a": "a", "response_b": "b", "probability_a": 0.5, "source": "s"}


def judge_answers(comparisons: dict[str, pl.DataFrame]) -> Stage:
    """Ask nobody, nor import torch for it: what is wrong here is found before."""
    return JudgeAnswersStage(
        model=ModelSettings(),
        feedback=FeedbackSettings(
            calibration_methods=("likeness",), server_url="http://127.0.0.1:9", server_model="none"
        ),
        base_model=Path("none"),
        feedback_model=None,
        comparisons=comparisons,
        seed=7,
        tuned_judge=TunedJudgeSettings(),
        sentence_model=SentenceModelSettings(),
        cache=Path("none"),
    )


def failure(tmp_path: Path, stage: Stage) -> str:
    """Run a stage inside an asset and return the description of its failure."""

    @dg.asset
    def asset(context: dg.AssetExecutionContext, launcher: Launcher) -> None:
        launcher.run(context, stage)

    resources = {"launcher": Launcher(work=str(tmp_path / "work"), threads=1)}
    with dg.DagsterInstance.ephemeral() as instance:
        result = dg.materialize([asset], resources=resources, instance=instance, raise_on_error=False)
    assert not result.success
    return str(result.failure_data_for_node("asset").user_failure_data.description)


def test_a_sentence_for_a_person_reaches_the_failure(tmp_path: Path) -> None:
    message = failure(tmp_path, judge_answers({"undecided": pl.DataFrame([PAIR])}))
    assert "undecided" in message and "Traceback" not in message


def test_an_unexpected_error_tells_where(tmp_path: Path) -> None:
    message = failure(tmp_path, judge_answers({"without labels": pl.DataFrame([PAIR]).drop("probability_a")}))
    assert "Traceback" in message and "ColumnNotFoundError" in message and "probability_a" in message


def killed(tmp_path: Path, whom: Callable[[psutil.Process], psutil.Process]) -> str:
    """Kill the process that `whom` finds from a stage's, which waits for another, and return what the failure says."""
    stage = judge_answers({})
    folder = StageFolder(tmp_path / "work" / f"{stage.stage}-{stage.digest()[:16]}")
    folder.path.mkdir(parents=True, exist_ok=True)

    def kill() -> None:
        while not folder.log.exists():
            time.sleep(0.01)
        (child,) = psutil.Process(WARM[1].pid).children()
        whom(child).kill()
        child.wait()

    with FileLock(folder.path / "lock"), ThreadPoolExecutor() as pool:
        done = pool.submit(kill)
        message = failure(tmp_path, stage)
        done.result()
    return message


def test_a_child_that_dies_names_its_log_and_the_next_needs_no_other_process(tmp_path: Path) -> None:
    message = killed(tmp_path, lambda child: child)
    assert "ended without a word (exit status -9)" in message and "log.txt" in message
    before = WARM[1].pid
    assert "undecided" in failure(tmp_path, judge_answers({"undecided": pl.DataFrame([PAIR])}))
    assert WARM[1].pid == before


def test_a_child_ends_with_the_process_it_is_a_fork_of_and_the_next_gets_a_new_one(tmp_path: Path) -> None:
    message = killed(tmp_path, lambda child: child.parent() or child)
    assert "ended without a word (exit status -9)" in message
    assert "undecided" in failure(tmp_path, judge_answers({"undecided": pl.DataFrame([PAIR])}))


def test_a_child_that_cannot_even_write_why_is_told_from_a_full_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(worker, "LEAST_FREE_BYTES", 1 << 62)
    message = killed(tmp_path, lambda child: child)
    assert "stage judge_answers: the disk of" in message and "is full" in message and "CCAI_HOME" in message


def test_two_runs_do_not_work_in_one_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = StageFolder(tmp_path)
    folder.model.mkdir(parents=True)
    monkeypatch.setattr(worker, "SECONDS_FOR_THE_OTHER", 0.1)
    with FileLock(tmp_path / "lock"), pytest.raises(ConsultationError, match="another run is at the same work"):
        worker._run(judge_answers({}), folder, silent)
    assert folder.model.is_dir(), "what the other has made must not be touched"


IMPORTED = """
import importlib, pathlib, pkgutil
import ccai_dagster, resources
for package in (ccai_dagster, resources):
    for found in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
        if ".portal" not in found.name:
            importlib.import_module(found.name)
names = {(task / "comm").read_text().strip() for task in pathlib.Path("/proc/self/task").iterdir()}
print(*sorted(names & {"polars-0", "polars-1"}))
"""


@pytest.mark.skipif(not Path("/proc/self/task").is_dir(), reason="threads have no names here")
def test_no_module_computes_with_polars_when_it_is_imported() -> None:
    # Polars's threads do not come along into a fork, and a stage would wait for them without end.
    done = subprocess.run([sys.executable, "-W", "ignore", "-c", IMPORTED], capture_output=True, text=True, check=True)
    assert done.stdout == "\n", done.stdout
