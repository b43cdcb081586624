from __future__ import annotations

from collections.abc import Iterator

import dagster as dg
import polars as pl
import pytest

from assets.table_asset import Checked, Refused, Table, require, table_asset
from ccai_dagster.contracts import IMPORT_REPORT
from ccai_dagster.decisions.checks import Finding
from ccai_dagster.terminal import terminal_logger

DIFFER = Finding("error", "idea", "I2", "13", "I1, I2 differ; it waits for a resolving row")
WAITS = Finding("warning", "idea", None, "14", "its ideas are not counted yet")


def test_only_errors_are_refused() -> None:
    assert require(Checked("ideas", [WAITS])) == [Checked("ideas", [WAITS])]
    with pytest.raises(Refused):
        require(Checked("merges", []), Checked("ideas", [WAITS, DIFFER]))


def test_a_check_that_comes_before_the_table_goes_on_record_and_stops_the_asset() -> None:
    def ranked() -> Table:
        require(Checked("merges", []), Checked("ideas", [DIFFER]))
        return Table(pl.DataFrame())

    made = table_asset(
        IMPORT_REPORT, group="g", description="d", owner="team:t", kinds=set(), checks=["merges", "ideas"]
    )(ranked)
    result = dg.materialize(
        [made], resources={"tables": dg.mem_io_manager}, raise_on_error=False, instance=dg.DagsterInstance.ephemeral()
    )

    assert not result.success
    assert {each.check_name: each.passed for each in result.get_asset_check_evaluations()} == {
        "merges": True,
        "ideas": False,
    }
    (failure,) = result.get_step_failure_events()
    data = failure.step_failure_data.user_failure_data
    assert data is not None and "idea ledger row I2 (13): I1, I2 differ" in str(data.description)
    assert not result.get_asset_materialization_events()


def test_a_check_that_warns_fails_and_stops_nothing() -> None:
    def ranked() -> Table:
        lost = Finding("warning", "", None, "public/know", "lower than base by 30 points")
        return Table(IMPORT_REPORT.empty(), {}, [Checked("told", [lost]), Checked("lost", [lost], warns=True)])

    made = table_asset(IMPORT_REPORT, group="g", description="d", owner="team:t", kinds=set(), checks=["told", "lost"])(
        ranked
    )
    result = dg.materialize([made], resources={"tables": dg.mem_io_manager}, instance=dg.DagsterInstance.ephemeral())

    assert result.success and result.get_asset_materialization_events()
    checks = {each.check_name: each for each in result.get_asset_check_evaluations()}
    assert {name: each.passed for name, each in checks.items()} == {"contract": True, "told": True, "lost": False}
    assert checks["lost"].severity == dg.AssetCheckSeverity.WARN
    assert checks["lost"].metadata["what"].value == "public/know: lower than base by 30 points."
    assert checks["lost"].description == "public/know: lower than base by 30 points."
    assert checks["contract"].description == "keeps its contract"


def test_a_run_prints_a_line_for_each_check_that_does_not_pass(capsys: pytest.CaptureFixture[str]) -> None:
    @dg.asset(check_specs=[dg.AssetCheckSpec(name, asset="scores") for name in ("whole", "lost", "wrong")])
    def scores() -> Iterator[dg.AssetCheckResult | dg.MaterializeResult[None]]:
        yield dg.MaterializeResult()
        yield dg.AssetCheckResult(passed=True, check_name="whole", description="keeps its contract")
        yield dg.AssetCheckResult(
            passed=False, check_name="lost", severity=dg.AssetCheckSeverity.WARN, description="30 points lower"
        )
        yield dg.AssetCheckResult(passed=False, check_name="wrong", description="two rows differ")

    job = dg.Definitions([scores], loggers={"console": terminal_logger}).resolve_implicit_global_asset_job_def()
    job.execute_in_process(instance=dg.DagsterInstance.ephemeral(), run_config={"loggers": {"console": {}}})
    printed = [line for line in capsys.readouterr().out.splitlines() if "scores," in line]
    assert printed == ["  ! scores, lost: 30 points lower", "  ✗ scores, wrong: two rows differ"]
