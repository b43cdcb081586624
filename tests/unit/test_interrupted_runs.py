"""A run that somebody ends by Ctrl-C says so, whichever asset was under way, and what stands."""

from __future__ import annotations

import signal

import dagster as dg
import pytest
from typer.testing import CliRunner
from undecided_town import Town, town

from ccai_dagster import run
from ccai_dagster.cli.app import app
from ccai_dagster.core import processes
from ccai_dagster.run_failures import how_it_ended
from ccai_dagster.terminal import OBSERVE, terminal_logger

__all__ = ["town"]


@dg.asset
def statements() -> None: ...


@dg.asset(deps=[statements])
def uncertainty() -> None:
    signal.raise_signal(signal.SIGINT)


@dg.asset(deps=[statements], key_prefix="public")
def broken() -> None:
    raise ValueError("no votes")


def definitions(*assets: dg.AssetsDefinition) -> dg.Definitions:
    job = dg.define_asset_job(OBSERVE, executor_def=dg.in_process_executor)
    return dg.Definitions(assets, jobs=[job], loggers={"console": terminal_logger})


def test_an_interrupted_run_says_what_was_under_way_and_what_stands(
    town: Town, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(processes, "heed_signals", lambda: None)
    monkeypatch.setattr(run, "build_defs", lambda *given: definitions(statements, uncertainty))
    result = CliRunner().invoke(app, ["run", str(town.folder)])
    assert result.exit_code == 1
    assert result.stderr.splitlines()[-2:] == [
        "uncertainty: interrupted",
        "The run was interrupted after it had made 1 asset. What was made stands; run again to go on.",
    ]
    assert "Dagster" not in result.output and "mend" not in result.output


def test_an_interruption_between_two_assets_is_told_as_well(town: Town, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*given: object) -> dg.Definitions:
        raise KeyboardInterrupt

    monkeypatch.setattr(processes, "heed_signals", lambda: None)
    monkeypatch.setattr(run, "build_defs", interrupted)
    result = CliRunner().invoke(app, ["run", str(town.folder)])
    assert (result.exit_code, "interrupted after it had made 0 assets." in result.stderr) == (1, True)


@pytest.mark.parametrize(
    ("assets", "told"),
    [
        ((statements, uncertainty), "was interrupted."),
        ((statements, broken), "failed: public/broken: ValueError: no votes"),
        ((statements, broken, uncertainty), "failed: public/broken: ValueError: no votes"),
    ],
)
def test_the_record_tells_interruptions_from_failures(assets: tuple[dg.AssetsDefinition, ...], told: str) -> None:
    with dg.DagsterInstance.ephemeral() as instance:
        job = definitions(*assets).resolve_job_def(OBSERVE)
        result = job.execute_in_process(instance=instance, raise_on_error=False)
        ended = instance.get_run_by_id(result.run_id)
        assert ended is not None and how_it_ended(ended, instance) == told
