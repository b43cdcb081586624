#!/bin/bash
# dagster 1.13.27: after `delete_run`, what the deleted run materialized is still an asset's latest.
#
# An asset is materialized twice, and the second run is deleted with `DagsterInstance.delete_run`. Dagster then gives
# two answers about the same asset: `fetch_materializations` and `get_latest_data_version_record` name the first run,
# `get_latest_materialization_event` and the latest check of the asset name the second, which is gone. So whether
# something is stale depends on the function asked, until the asset is materialized again.
# Seen with SQLite, Python 3.11, on 28 November 2026. It fails as soon as Dagster answers otherwise.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check dagster==1.13.27
mkdir "$folder/home"
export DAGSTER_HOME="$folder/home" DAGSTER_DISABLE_TELEMETRY=true
"$folder/venv/bin/python" -W ignore - 2> "$folder/log" <<'EOF'
import dagster as dg

KEY, CHECK = dg.AssetKey("votes"), dg.AssetCheckKey(dg.AssetKey("votes"), "whole")


@dg.asset(check_specs=[dg.AssetCheckSpec("whole", asset="votes")])
def votes() -> dg.MaterializeResult:
    return dg.MaterializeResult(check_results=[dg.AssetCheckResult(passed=True)])


with dg.DagsterInstance.get() as instance:
    first, second = (dg.materialize([votes], instance=instance).run_id for _ in range(2))
    names = {first: "the first run", second: "the second run, which is deleted"}
    instance.delete_run(second)
    assert instance.get_run_by_id(second) is None
    latest = instance.get_latest_materialization_event(KEY)
    checked = instance.event_log_storage.get_latest_asset_check_execution_by_key([CHECK])[CHECK]
    seen = {
        "fetch_materializations": instance.fetch_materializations(KEY, limit=1).records[0].run_id,
        "get_latest_data_version_record": instance.get_latest_data_version_record(KEY).run_id,
        "get_latest_materialization_event": latest.run_id,
        "get_latest_asset_check_execution_by_key": checked.run_id,
    }
for function, run in seen.items():
    print(f"{function}: {names[run]}")
assert list(seen.values()) == [first, first, second, second], "Dagster answers otherwise"
EOF
