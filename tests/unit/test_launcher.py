"""The launcher's child process: what a person is told when it fails or dies."""

from pathlib import Path
from typing import Any

import dagster as dg
import polars as pl
import pytest
from filelock import FileLock

from ccai_dagster.errors import ConsultationError
from ccai_dagster.progress import silent
from resources import faults, worker
from resources.launcher import Launcher, StageRequest


def failure(tmp_path: Path, stage: str, environment: dict[str, str], tables: dict[str, pl.DataFrame]) -> str:
    """Run a stage inside an asset and return the description of its failure."""

    @dg.asset
    def asset(context: dg.AssetExecutionContext, launcher: Launcher) -> None:
        options: dict[str, Any] = {"feedback": {"server_url": "http://127.0.0.1:9", "server_model": "none"}}
        launcher.run(context, stage, tables=tables, models={}, options=options, environment=environment)

    resources = {"launcher": Launcher(work=str(tmp_path / "work"), threads=1)}
    with dg.DagsterInstance.ephemeral() as instance:
        result = dg.materialize([asset], resources=resources, instance=instance, raise_on_error=False)
    assert not result.success
    return str(result.failure_data_for_node("asset").user_failure_data.description)


def test_a_sentence_for_a_person_reaches_the_failure(tmp_path: Path) -> None:
    pair = {
        "pair_id": "1",
        "prompt": "p",
        "response_a": "a",
        "response_b": "b",
        "probability_a": 1.0,
        "source": "s",
    }
    told = failure(
        tmp_path, "judge_answers", {}, {"undecided": pl.DataFrame([pair | {"probability_a": 0.5}])}
    )
    assert "undecided" in told and "Traceback" not in told


def test_an_unexpected_error_tells_where(tmp_path: Path) -> None:
    assert "KeyError: 'no_such_stage'" in failure(tmp_path, "no_such_stage", {}, {})


def test_a_child_that_dies_names_its_log(tmp_path: Path) -> None:
    (tmp_path / "site").mkdir()
    (tmp_path / "site" / "sitecustomize.py").write_text("import os\nos._exit(137)\n")
    told = failure(tmp_path, "judge_answers", {"PYTHONPATH": str(tmp_path / "site")}, {})
    assert "ended without a word" in told and "log.txt" in told


def test_a_child_that_cannot_even_write_why_is_told_from_a_full_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "site").mkdir()
    (tmp_path / "site" / "sitecustomize.py").write_text("import os\nos._exit(1)\n")
    monkeypatch.setattr(faults, "LEAST_FREE_BYTES", 1 << 62)
    told = failure(tmp_path, "revisions", {"PYTHONPATH": str(tmp_path / "site")}, {})
    assert "stage revisions: the disk of" in told and "is full" in told and "CCAI_HOME" in told


def test_two_runs_do_not_work_in_one_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    request = StageRequest(stage="base_model", folder=tmp_path, tables={}, models={}, options={})
    request.file.write_text(request.model_dump_json())
    (request.made / "model").mkdir(parents=True)
    monkeypatch.setattr(worker, "SECONDS_FOR_THE_OTHER", 0.1)
    with (
        FileLock(tmp_path / "lock"),
        pytest.raises(ConsultationError, match="another run is at the same work"),
    ):
        worker._run(request, silent)
    assert (request.made / "model").is_dir(), "what the other has made must not be touched"
