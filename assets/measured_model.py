"""How several tables about one model are assets that one process makes, any of them alone.

Used where loading the model costs more than measuring it; no asset is defined here.
"""

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import dagster as dg
import polars as pl

from assets.table_asset import Table, markdown_table, publish
from ccai_dagster.consultation import BASE
from ccai_dagster.contracts import Contract
from resources.tracking import TrackedRun

GROUP = "evaluation"
OWNER = "team:evaluation"


@dataclass(frozen=True)
class MeasuredTable:
    """One table about a model.

    Attributes:
        key: Of its asset.
        contract: What it keeps.
        description: A sentence about it.
        version: Code version of its asset.
    """

    key: dg.AssetKey
    contract: Contract
    description: str
    version: str


def model_key(name: str) -> dg.AssetKey:
    """Return the key of an arm's policy, or of the untrained model."""
    return dg.AssetKey(["base_model"] if name == BASE else [name, "policy"])


def outs(tables: Mapping[str, MeasuredTable], kinds: set[str]) -> dict[str, dg.AssetOut]:
    """Return the outs of an asset that makes these tables, by output name."""
    return {
        output: dg.AssetOut(
            key=each.key, is_required=False, dagster_type=dg.Any, io_manager_key="tables", group_name=GROUP,
            description=each.description, owners=[OWNER], kinds=kinds, code_version=each.version,
        )
        for output, each in tables.items()
    }  # fmt: skip


def check_specs(tables: Mapping[str, MeasuredTable]) -> list[dg.AssetCheckSpec]:
    """Return the checks that these tables keep their contracts."""
    return [dg.AssetCheckSpec("contract", asset=each.key, blocking=True) for each in tables.values()]


def published(
    tables: Mapping[str, MeasuredTable],
    wanted: Collection[str],
    frames: Mapping[str, pl.DataFrame],
    run: TrackedRun,
    shown: Mapping[str, pl.DataFrame] | None = None,
) -> Iterator[Any]:
    """Yield the checks and tables of what is wanted.

    Args:
        tables: All tables the asset can make, by output name.
        wanted: Output names that are materialized now.
        frames: What was made, by output name.
        run: The run in MLflow that measured it.
        shown: Scores to show in each table's metadata, by output name.
    """
    metadata = {"mlflow": dg.MetadataValue.url(run.url), "mlflow run": run.run_id}
    for output, each in tables.items():
        if output in wanted:
            scores = {"scores": dg.MetadataValue.md(markdown_table(shown[output]))} if shown else {}
            yield from publish(Table(frames[output], metadata | scores), each.contract, each.key)
