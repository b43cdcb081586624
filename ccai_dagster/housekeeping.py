"""What Dagster does beside computing: it writes the manifest, sends notices and finds what nothing cites any more.

Sensors: https://docs.dagster.io/guides/automate/sensors
Jobs: https://docs.dagster.io/guides/build/jobs
"""

from collections.abc import Collection
from pathlib import Path
from typing import Any

import dagster as dg
from pydantic import Field

from ccai_dagster import webhook
from ccai_dagster.automation import SECONDS, by_hand
from ccai_dagster.consultation.folder import LEDGERS, PORTAL, Consultation, is_live
from ccai_dagster.core.digest import value_digest
from ccai_dagster.core.errors import ConsultationError
from ccai_dagster.core.home import Home
from ccai_dagster.core.portal_database import database_files, database_state, in_postgres
from ccai_dagster.notices import notices as standing
from ccai_dagster.open_consultation import OpenConsultation
from ccai_dagster.terminal import OBSERVE
from resources import history
from resources.instance import storage_errors
from resources.retention import DAYS, find_leftovers, told
from resources.tracking import Tracking

RETENTION = "retention"
LATEST_RUNS = 20
"""Runs that are looked at to see whether anything has happened."""


def build_manifest_sensor(consultation: Consultation, home: Home) -> dg.SensorDefinition:
    """Make the sensor that writes the manifest, so that the next run has something to compare ledgers with."""

    @dg.run_status_sensor(
        name="manifest",
        run_status=dg.DagsterRunStatus.SUCCESS,
        minimum_interval_seconds=SECONDS,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description="Writes the manifest after every run that made something, as `ccai run` does at its end.",
    )
    def manifest(context: dg.RunStatusSensorContext) -> None:
        if context.dagster_run.job_name != OBSERVE and context.repository_def is not None:
            keys = context.repository_def.asset_graph.get_all_asset_keys()
            history.record(consultation, home, context.instance, keys)

    return manifest


def build_notice_sensor(consultation: Consultation, home: Home) -> dg.SensorDefinition:
    """Make the sensor that sends notices to a webhook.

    It is no sensor of runs' ends: those forget what could not be sent, and decisions lapse without a run.
    """

    @dg.sensor(
        name="notices",
        minimum_interval_seconds=SECONDS,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description="Tells failed runs and checks, lapsed decisions and what waits for a sign-off to the webhook in "
        f"{webhook.ADDRESS}, each once.",
    )
    def notices(context: dg.SensorEvaluationContext) -> dg.SkipReason:
        opened, instance = OpenConsultation(consultation, home), context.instance
        title = f"{consultation.name}: {consultation.file.title}"
        state = _state(consultation, home, instance)
        return dg.SkipReason(webhook.send_news(home.notices, title, state, lambda: standing(opened, instance)))

    return notices


def _state(consultation: Consultation, home: Home, instance: dg.DagsterInstance) -> str:
    """Digest of what notices rest on, without reading any of it."""
    votes = [] if is_live(consultation.votes) else [Path(consultation.votes)]
    portal: Any = None
    if consultation.votes == PORTAL and not in_postgres():
        votes = database_files(home.portal)
    elif consultation.votes == PORTAL:
        try:
            portal = database_state(home.portal)
        except ConsultationError as error:  # told by whoever reads the votes
            portal = str(error)
    paths = [home.manifest, *(consultation.ledger(kind) for kind in LEDGERS), *votes]
    paths += [each for path in votes for each in sorted(path.rglob("*"))]
    stats = [[str(path), path.stat().st_mtime_ns, path.stat().st_size] for path in paths if path.exists()]
    runs = [[run.run_id, run.status.value] for run in instance.get_runs(limit=LATEST_RUNS)]
    return value_digest([stats, portal, runs])


class Retention(dg.Config):
    """What the job `retention` takes."""

    older_than: int = Field(DAYS, ge=0, description="days since something was last changed")
    remove: bool = Field(False, description="remove it; otherwise it is only listed")


def build_retention_job(
    consultation: Consultation, home: Home, tracking: Tracking, keys: Collection[dg.AssetKey]
) -> dg.JobDefinition:
    """Make the job that lists what nothing cites any more and, if asked to, removes it; as `ccai prune`."""

    @dg.op(description="Lists what nothing cites any more, and removes it if `remove` is set.")
    def leftovers(context: dg.OpExecutionContext, config: Retention) -> None:
        try:
            with storage_errors(home.folder):
                found = find_leftovers(consultation, home, context.instance, tracking, keys, config.older_than)
                for each in found if config.remove else ():
                    each.remove()
        except ConsultationError as error:
            raise dg.Failure(str(error), allow_retries=False) from error
        for line in told(found, config.remove):
            context.log.info(line)

    @dg.job(
        name=RETENTION,
        tags=by_hand(consultation),
        description="Lists what nothing cites any more (old runs, models, tables, downloads); removes it if asked to.",
    )
    def retention() -> None:
        leftovers()

    return retention
