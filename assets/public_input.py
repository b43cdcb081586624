"""What the public said: the export as it came, and the tables read from it."""

from collections.abc import Iterator
from typing import Any

import dagster as dg

from assets.table_asset import Table, code_version, publish
from ccai_dagster import contracts
from ccai_dagster.consultation import Consultation
from ccai_dagster.deliberation.polis_export import export_digest, export_files, read_polis_export
from ccai_dagster.errors import ConsultationError

GROUP = "public_input"
OWNER = "team:process"
TABLES = {
    "raw_statements": (
        contracts.RAW_STATEMENTS,
        "Every statement submitted, as typed, with the export's moderation.",
    ),
    "raw_participants": (contracts.RAW_PARTICIPANTS, "Everybody in the export, without personal codes."),
    "raw_votes": (contracts.RAW_VOTES, "The last vote of each participant on each statement."),
    "import_report": (
        contracts.IMPORT_REPORT,
        "What was counted and found while importing, in numbers and words.",
    ),
}


def build(consultation: Consultation) -> list[dg.AssetsDefinition | dg.SourceAsset]:
    """Make the assets of this stage."""
    folder = consultation.path(consultation.file.votes)

    @dg.observable_source_asset(
        key="polis_export",
        group_name=GROUP,
        description="The files exported from Polis. Observed by a sensor and every day.",
        # Dagster has no owners for observable sources.
        tags={"dagster/kind/csv": "", "dagster/kind/polis": "", "owner": "process"},
    )
    def polis_export() -> dg.ObserveResult:
        files = export_files(folder)
        if not files:
            raise dg.Failure(
                f"{folder}: no Polis export there. `votes` in consultation.yaml names its folder."
            )
        return dg.ObserveResult(
            data_version=dg.DataVersion(export_digest(folder)),
            metadata={"folder": str(folder), **{path.name: path.stat().st_size for path in files}},
        )

    @dg.multi_asset(
        name="polis_import",
        outs={
            name: dg.AssetOut(
                key=name,
                dagster_type=dg.Any,
                io_manager_key="tables",
                group_name=GROUP,
                description=description,
                owners=[OWNER],
                kinds={"polars", "parquet"},
                code_version=code_version("2", []),
            )
            for name, (_, description) in TABLES.items()
        },
        deps=["polis_export"],
        check_specs=[dg.AssetCheckSpec("contract", asset=name, blocking=True) for name in TABLES],
    )
    def polis_import() -> Iterator[Any]:
        try:
            imported = read_polis_export(folder)
        except ConsultationError as error:
            raise dg.Failure(str(error), allow_retries=False) from error
        for name, (contract, _) in TABLES.items():
            yield from publish(Table(getattr(imported, name)), contract, dg.AssetKey(name))

    return [polis_export, polis_import]
