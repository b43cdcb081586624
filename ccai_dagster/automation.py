"""What happens by itself: votes and ledgers are looked at, deliberation follows, training waits for a person.

Belongs here: jobs, which cover groups of assets, and the sensors and the schedule that start them. Sensors compare what
is there with what it was made from each time they are asked (`ccai_dagster.staleness`), so that a missed moment is
caught at the next. Nothing here trains on a constitution that nobody has signed off.

Sensors: https://docs.dagster.io/guides/automate/sensors
Schedules: https://docs.dagster.io/guides/automate/schedules
Selections of assets: https://docs.dagster.io/guides/build/assets/asset-selection-syntax
"""

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from pathlib import Path

import dagster as dg

from assets import decisions
from assets.decisions import ledger_key
from assets.evaluation import RATINGS
from ccai_dagster.consultation.folder import LEDGERS, Consultation, is_address
from ccai_dagster.contracts import MODEL_STAGES
from ccai_dagster.core.digest import SHORT, table_digest, value_digest
from ccai_dagster.core.errors import ConsultationError
from ccai_dagster.decisions.checks import check_signoffs
from ccai_dagster.decisions.ledger import ledger_digest
from ccai_dagster.deliberation.importing.read_votes import find_vote_files
from ccai_dagster.evaluation.ratings import read_ratings
from ccai_dagster.staleness import CODE, GONE, NEVER, plan
from ccai_dagster.terminal import OBSERVE
from resources import run_owners
from resources.history import data_version, version_of
from resources.model_store import ModelStore
from resources.tables import Tables

DELIBERATE = "deliberate"
TRAIN = "train_and_evaluate"
SECONDS = 60
"""Between two looks of a sensor."""
DAILY = "0 5 * * *"


def sources() -> dg.AssetSelection:
    """Everything that comes from outside: the export, the ledgers and people's ratings."""
    return dg.AssetSelection.assets("polis_export", RATINGS, *(ledger_key(kind) for kind in LEDGERS))


def up_to_constitution() -> dg.AssetSelection:
    """From the import to the constitutions, and what was published of them; nothing here trains."""
    return dg.AssetSelection.groups("public_input", "deliberation", "constitution", "replication") - signed()


def signed() -> dg.AssetSelection:
    """The gate: constitutions that somebody signed off."""
    return dg.AssetSelection.key_substring("/signed_constitution")


def after_signoff() -> dg.AssetSelection:
    """What waits for a sign-off: feedback, training, evaluation and audit."""
    return dg.AssetSelection.groups("feedback", "training", "evaluation", "audit") | signed()


JOBS = [
    dg.define_asset_job(
        OBSERVE, sources(), description="Look at the export, the ledgers and the ratings as they are now."
    ),
    dg.define_asset_job(DELIBERATE, up_to_constitution(), description="From the votes to the constitutions."),
    dg.define_asset_job(TRAIN, after_signoff(), description="Everything that waits for a sign-off."),
]


@dataclass(frozen=True)
class Graph:
    """The parts of the asset graph that decide what is stale.

    Attributes:
        parents: Of every asset that can be materialized, keys in topological order.
        code_versions: Of each.
    """

    parents: Mapping[dg.AssetKey, Collection[dg.AssetKey]]
    code_versions: Mapping[dg.AssetKey, str]

    def after(self, keys: Collection[dg.AssetKey]) -> set[dg.AssetKey]:
        """Return `keys` and everything that depends on them."""
        found = set(keys)
        for key, parents in self.parents.items():
            if found & set(parents):
                found.add(key)
        return found


def graph_of(repository: dg.RepositoryDefinition) -> Graph:
    """Read parents and code versions off the asset graph."""
    graph = repository.asset_graph
    keys = [key for key in graph.toposorted_asset_keys if graph.get(key).is_materializable]
    return Graph(
        {key: graph.get(key).parent_keys for key in keys},
        {key: version for key in keys if (version := graph.get(key).code_version) is not None},
    )


def kept(tables: Tables, models: ModelStore) -> Callable[[dg.AssetMaterialization], bool]:
    """Return a function that tells whether what an asset made is still there."""

    def is_kept(made: dg.AssetMaterialization) -> bool:
        if not tables.path(made.asset_key).exists():
            return False
        if made.asset_key.path[-1] in MODEL_STAGES:
            try:
                models.folder(data_version(made) or "")
            except ConsultationError:
                return False
        file = made.metadata.get("file")
        return file is None or Path(str(file.value)).exists()

    return is_kept


def unsigned(consultation: Consultation, instance: dg.DagsterInstance) -> dict[str, str]:
    """Return the arms whose present constitution nobody has signed off, with its digest."""
    ledger = decisions.read(consultation, "signoff")
    digests = {arm: version_of(dg.AssetKey([arm, "constitution"]), instance) for arm in consultation.arms}
    known = {arm: digest for arm, digest in digests.items() if digest}
    waiting = {each.subject for each in check_signoffs(ledger, known, consultation.arms)}
    return {arm: digest for arm, digest in known.items() if arm in waiting}


def present_versions(consultation: Consultation) -> dict[dg.AssetKey, str]:
    """Return the version of the export, of every ledger and of the ratings as they are now.

    An export at an address is left to the daily observation and to `ccai run`: a server of others is not asked
    every minute.
    """
    found: dict[dg.AssetKey, str] = {}
    if not is_address(consultation.votes):
        found[dg.AssetKey("polis_export")] = find_vote_files(Path(consultation.votes)).digest()
    for kind in LEDGERS:
        found[ledger_key(kind)] = ledger_digest(decisions.read(consultation, kind))
    found[RATINGS] = table_digest(read_ratings(consultation.ratings))
    return found


def build_schedules() -> list[dg.ScheduleDefinition]:
    """Look at the export and the ledgers once a day, even where sensors are off."""
    return [
        dg.ScheduleDefinition(
            name="daily_observation",
            job_name=OBSERVE,
            cron_schedule=DAILY,
            default_status=dg.DefaultScheduleStatus.RUNNING,
            description="Observes the export and the ledgers every day at five.",
        )
    ]


def build_sensors(consultation: Consultation, tables: Tables, models: ModelStore) -> list[dg.SensorDefinition]:
    """Make the three sensors: observe, deliberate, train."""
    is_kept = kept(tables, models)

    @dg.sensor(
        name="new_inputs",
        job_name=OBSERVE,
        minimum_interval_seconds=SECONDS,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description="Observes the export and the ledgers when their content differs from what was last observed.",
    )
    def new_inputs(context: dg.SensorEvaluationContext) -> dg.RunRequest | dg.SkipReason:
        try:
            present = present_versions(consultation)
        except ConsultationError as error:
            return dg.SkipReason(f"nothing is overwritten: {error}")
        run_owners.end_dead_runs(context.instance, context.log.info)
        changed = [key for key, version in present.items() if version_of(key, context.instance) != version]
        if not changed:
            return dg.SkipReason("the export and the ledgers are as they were last observed")
        versions = sorted((key.to_user_string(), version) for key, version in present.items())
        return dg.RunRequest(run_key=f"observe-{value_digest(versions)}", tags={"ccai/because": _named(changed)})

    @dg.sensor(
        name="changed_deliberation",
        job_name=DELIBERATE,
        minimum_interval_seconds=SECONDS,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description="Materializes the rooms from import to constitution whose inputs have another version.",
    )
    def changed_deliberation(context: dg.SensorEvaluationContext) -> dg.RunRequest | dg.SkipReason:
        return _request(context, up_to_constitution(), "deliberate", is_kept)

    @dg.sensor(
        name="signed_off_training",
        job_name=TRAIN,
        minimum_interval_seconds=SECONDS,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description="Trains and evaluates again once a constitution that changed is signed off; never for the first "
        "time, and never because settings changed.",
    )
    def signed_off_training(context: dg.SensorEvaluationContext) -> dg.RunRequest | dg.SkipReason:
        before = _request(context, up_to_constitution(), "deliberate", is_kept)
        if isinstance(before, dg.RunRequest):
            return dg.SkipReason("the constitutions are not settled yet")
        if waiting := unsigned(consultation, context.instance):
            arms = ", ".join(f"{arm} ({digest[:SHORT]})" for arm, digest in waiting.items())
            return dg.SkipReason(f"waits for a sign-off in decisions/signoff.csv: {arms}")
        return _request(context, after_signoff(), "train", is_kept, by_hand={NEVER, GONE, CODE})

    return [new_inputs, changed_deliberation, signed_off_training]


def _request(
    context: dg.SensorEvaluationContext,
    selection: dg.AssetSelection,
    name: str,
    is_kept: Callable[[dg.AssetMaterialization], bool],
    by_hand: Collection[str] = (),
) -> dg.RunRequest | dg.SkipReason:
    """Ask for everything in `selection` that is ready, unless a run is under way.

    Assets that are stale for a reason in `by_hand` are left to a person: new settings or a first training may
    cost more than anybody wants to start without knowing.
    """
    instance = context.instance
    run_owners.end_dead_runs(instance, context.log.info)
    if someone := run_owners.under_way(instance):
        return dg.SkipReason(someone)
    if context.repository_def is None:
        raise ValueError("the sensor was asked outside of a code location")
    graph = graph_of(context.repository_def)
    found = plan(graph.parents, graph.code_versions, instance, is_kept)
    wanted = selection.resolve(context.repository_def.asset_graph)
    ready = {key: reason for key, reason in found.ready.items() if key in wanted and reason not in by_hand}
    if not ready:
        return dg.SkipReason("everything is up to date")
    state = [
        [key.to_user_string(), reason, [version_of(parent, instance) for parent in sorted(graph.parents[key])]]
        for key, reason in sorted(ready.items())
    ]
    return dg.RunRequest(
        run_key=f"{name}-{value_digest(state)}",
        asset_selection=list(ready),
        tags={"ccai/because": "; ".join(sorted(set(ready.values())))[:200]},
    )


def _named(keys: Collection[dg.AssetKey]) -> str:
    return ", ".join(sorted(key.to_user_string() for key in keys))
