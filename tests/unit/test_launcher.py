"""The launcher's child process: what a person reads when it fails or dies."""

from pathlib import Path

import dagster as dg
import polars as pl
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
from resources.launcher import Launcher

PAIR = {"pair_id": "1", "prompt": "p", "response_a": "a", "response_b": "b", "probability_a": 0.5, "source": "s"}


def judge_answers(comparisons: dict[str, pl.DataFrame]) -> Stage:
    """Ask nobody: what is wrong here is found before."""
    return JudgeAnswersStage(
        model=ModelSettings(),
        feedback=FeedbackSettings(calibration_methods=("likeness",)),
        base_model=Path("none"),
        feedback_model=None,
        comparisons=comparisons,
        seed=7,
        tuned_judge=TunedJudgeSettings(),
        sentence_model=SentenceModelSettings(),
        cache=Path("none"),
    )


def failure(tmp_path: Path, stage: Stage, environment: dict[str, str]) -> str:
    """Run a stage inside an asset and return the description of its failure."""

    @dg.asset
    def asset(context: dg.AssetExecutionContext, launcher: Launcher) -> None:
        launcher.run(context, stage, environment)

    resources = {"launcher": Launcher(work=str(tmp_path / "work"), threads=1)}
    with dg.DagsterInstance.ephemeral() as instance:
        result = dg.materialize([asset], resources=resources, instance=instance, raise_on_error=False)
    assert not result.success
    return str(result.failure_data_for_node("asset").user_failure_data.description)


def test_a_sentence_for_a_person_reaches_the_failure(tmp_path: Path) -> None:
    message = failure(tmp_path, judge_answers({"undecided": pl.DataFrame([PAIR])}), {})
    assert "undecided" in message and "Traceback" not in message


def test_an_unexpected_error_tells_where(tmp_path: Path) -> None:
    message = failure(tmp_path, judge_answers({"without labels": pl.DataFrame([PAIR]).drop("probability_a")}), {})
    assert "Traceback" in message and "ColumnNotFoundError" in message and "probability_a" in message


def test_a_child_that_dies_names_its_log(tmp_path: Path) -> None:
    (tmp_path / "site").mkdir()
    (tmp_path / "site" / "sitecustomize.py").write_text("import os\nos._exit(137)\n")
    message = failure(tmp_path, judge_answers({}), {"PYTHONPATH": str(tmp_path / "site")})
    assert "ended without a word" in message and "log.txt" in message


def test_a_child_that_cannot_even_write_why_is_told_from_a_full_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "site").mkdir()
    (tmp_path / "site" / "sitecustomize.py").write_text("import os\nos._exit(1)\n")
    monkeypatch.setattr(worker, "LEAST_FREE_BYTES", 1 << 62)
    message = failure(tmp_path, judge_answers({}), {"PYTHONPATH": str(tmp_path / "site")})
    assert "stage judge_answers: the disk of" in message and "is full" in message and "CCAI_HOME" in message


def test_two_runs_do_not_work_in_one_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = StageFolder(tmp_path)
    folder.model.mkdir(parents=True)
    monkeypatch.setattr(worker, "SECONDS_FOR_THE_OTHER", 0.1)
    with FileLock(tmp_path / "lock"), pytest.raises(ConsultationError, match="another run is at the same work"):
        worker._run(judge_answers({}), folder, silent)
    assert folder.model.is_dir(), "what the other has made must not be touched"
