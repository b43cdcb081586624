"""What the public said: the export as it came, and the tables read from it.

Belongs here: the assets of the group `public_input`. How exports are read is in `ccai_dagster.deliberation.importing`,
where they come from in `resources.vote_source`.
Assets: https://docs.dagster.io/guides/build/assets/defining-assets
Data that others make, observed: https://docs.dagster.io/guides/build/assets/external-assets
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import dagster as dg
import polars as pl

from assets import decisions
from assets.table_asset import (
    Checked,
    InputChanged,
    Refused,
    Results,
    Table,
    check_spec,
    code_version,
    ledgers_used,
    markdown_table,
    mendable,
    publish,
    require,
    stop,
    table_asset,
)
from ccai_dagster import contracts
from ccai_dagster.consultation.folder import EXPORT, PORTAL, Consultation
from ccai_dagster.core.digest import value_digest
from ccai_dagster.core.errors import ConsultationError
from ccai_dagster.decisions.checks import check_export
from ccai_dagster.decisions.ledger import current
from ccai_dagster.deliberation.importing.columns import VoteFiles
from ccai_dagster.deliberation.importing.comparison import came_since, doubts
from ccai_dagster.deliberation.importing.demographics import DEMOGRAPHICS, read_demographics
from ccai_dagster.deliberation.importing.read_votes import find_vote_files, import_votes
from ccai_dagster.deliberation.importing.tables import Import, import_of
from resources.history import version_of
from resources.tables import TableIOManager
from resources.vote_source import VoteSource

GROUP = "public_input"
OWNER = "team:process"
POLIS_EXPORT = dg.AssetKey(EXPORT)
SINCE = "since the last import"
"""Name of the metadata that say what came."""
KINDS = ("found", "repaired", "unknown")
TABLES = {
    "raw_statements": (contracts.RAW_STATEMENTS, "Every statement submitted, as typed, with the export's moderation."),
    "raw_participants": (contracts.RAW_PARTICIPANTS, "Everybody in the export, without personal codes."),
    "raw_votes": (contracts.RAW_VOTES, "The last vote of each participant on each statement."),
    "raw_group_votes": (
        contracts.RAW_GROUP_VOTES,
        "How each group voted on each statement, where the export has no votes of people; else empty.",
    ),
    "import_report": (
        contracts.IMPORT_REPORT,
        "What was found and repaired while importing and what the export cannot tell, in numbers and words.",
    ),
}


def build(consultation: Consultation) -> list[dg.AssetsDefinition | dg.SourceAsset]:
    """Make the assets of this stage."""

    @dg.observable_source_asset(
        key="polis_export",
        group_name=GROUP,
        description="The votes as they came: files, or what the address of a report gave. Observed by a sensor and "
        "every day.",
        # Dagster has no owners for observable sources.
        tags={"dagster/kind/csv": "", "dagster/kind/polis": "", "owner": "process"},
    )
    def polis_export(vote_source: VoteSource) -> dg.ObserveResult:
        try:
            observed = vote_source.observe(consultation.votes)
        except ConsultationError as error:
            raise dg.Failure(str(error), allow_retries=False) from error
        return dg.ObserveResult(
            data_version=dg.DataVersion(observed.version),
            metadata={"source": observed.source, "read from": str(observed.place), **observed.sizes},
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
                is_required=False,
                code_version=code_version(
                    "6", [f"{each}={means}" for each, means in consultation.file.vote_values.items()]
                ),
            )
            for name, (_, description) in TABLES.items()
        },
        deps=["polis_export"],
        check_specs=[*(check_spec("contract", name) for name in TABLES), check_spec("whole", "raw_votes")],
    )
    def polis_import(
        context: dg.AssetExecutionContext, vote_source: VoteSource, tables: dg.ResourceParam[TableIOManager]
    ) -> Results:
        try:
            observed = version_of(POLIS_EXPORT, context.instance)
            place = vote_source.place(consultation.votes, observed)
            found, imported = _imported(place, observed, consultation.file.vote_values)
            before = import_of({name: tables.made_before(dg.AssetKey(name)) for name in TABLES})
            whole, signed_by = _whole(consultation, doubts(before, imported), found.digest(), context.instance)
        except Refused as refused:
            yield from stop(dg.AssetKey("raw_votes"), refused)
            return
        except ConsultationError as error:
            yield from mendable(error, context)
            return
        since = {SINCE: came_since(before, imported)}
        for name, (contract, _) in TABLES.items():
            frame = getattr(imported, name)
            more: dict[str, Any] = dict(since)
            more |= _in_words(frame) if name == "import_report" else {}
            more |= signed_by if name == "raw_votes" else {}
            checks = [whole] if name == "raw_votes" else []
            yield from publish(Table(frame, more, checks), contract, dg.AssetKey(name))

    return [polis_export, polis_import, _participant_demographics(consultation)]


def _participant_demographics(consultation: Consultation) -> dg.AssetsDefinition:
    answers = {each.name: each.answers for each in consultation.file.demographics}

    @table_asset(
        contracts.PARTICIPANT_DEMOGRAPHICS,
        group=GROUP,
        owner=OWNER,
        deps=[POLIS_EXPORT],
        settings=[value_digest([[name, *known] for name, known in answers.items()])],
        description="What people said about themselves, in the portal or to a panel; empty where nobody was asked.",
    )
    def participant_demographics(
        context: dg.AssetExecutionContext, vote_source: VoteSource, raw_participants: pl.DataFrame
    ) -> Table:
        observed = version_of(POLIS_EXPORT, context.instance)
        found = find_vote_files(vote_source.place(consultation.votes, observed))
        _check_unchanged(found, observed)
        voted = raw_participants["participant_id"].to_list()
        frame = read_demographics(found.files.get(DEMOGRAPHICS), answers, voted, consultation.votes == PORTAL)
        return Table(frame, {f"answered {name}": frame.filter(question=name).height for name in answers})

    return participant_demographics


def _imported(place: Path, observed: str | None, values: Mapping[str, str]) -> tuple[VoteFiles, Import]:
    """Read what was observed, and nothing that came since."""
    found = find_vote_files(place)
    _check_unchanged(found, observed)  # first, since what is half written may not be readable
    imported = import_votes(found, values)
    _check_unchanged(found, observed)
    return found, imported


def _check_unchanged(found: VoteFiles, observed: str | None) -> None:
    if observed is not None and found.digest() != observed:
        raise InputChanged(
            f"{found.place}: not what it was when polis_export was last observed. Observe polis_export, then "
            "materialize again; `ccai run` does both."
        )


def _whole(
    consultation: Consultation, doubtful: Sequence[str], version: str, instance: dg.DagsterInstance
) -> tuple[Checked, dict[str, Any]]:
    """Check that an export is whole, or that somebody signed it although it may not be.

    The ledger of sign-offs is read for an export that is doubtful, and is no dependency, since every sign-off of a
    constitution would mean another import; the decision that was used is in the metadata.

    Raises:
        Refused: It may not be whole, and nobody signed it.
    """
    if not doubtful:
        return Checked("whole", []), {}
    ledger = decisions.read(consultation, "signoff")
    found = check_export(ledger, doubtful, version, consultation.arms)
    (checked,) = require(Checked("whole", found))
    used = ledgers_used(instance, [decisions.ledger_key("signoff")])
    rows = current(ledger).filter(pl.col("subject_ids").list.contains(EXPORT))
    return checked, {"signed off as it is": ", ".join(rows["decision_id"])} | used


def _in_words(report: pl.DataFrame) -> dict[str, Any]:
    counts = {f"{kind} facts": report.filter(pl.col("kind") == kind).height for kind in KINDS}
    return {"report": dg.MetadataValue.md(markdown_table(report)), **counts}
