"""The launcher's child process: what a person is told when it fails or dies."""

from pathlib import Path
from typing import Any

import dagster as dg
import polars as pl

from resources.launcher import Launcher


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
        tmp_path, "judge_calibration", {}, {"undecided": pl.DataFrame([pair | {"probability_a": 0.5}])}
    )
    assert "undecided" in told and "Traceback" not in told


def test_an_unexpected_error_tells_where(tmp_path: Path) -> None:
    assert "KeyError: 'no_such_stage'" in failure(tmp_path, "no_such_stage", {}, {})


def test_a_child_that_dies_names_its_log(tmp_path: Path) -> None:
    (tmp_path / "site").mkdir()
    (tmp_path / "site" / "sitecustomize.py").write_text("import os\nos._exit(137)\n")
    told = failure(tmp_path, "judge_calibration", {"PYTHONPATH": str(tmp_path / "site")}, {})
    assert "ended without a word" in told and "log.txt" in told
