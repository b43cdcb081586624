"""What happens by itself: votes and ledgers are looked at, deliberation follows, training waits for a person.

Belongs here: jobs, which cover groups of assets, and the sensors and the schedule that start them. Nothing here trains
on a constitution that nobody has signed off. Doesn't belong here: what computes nothing (`housekeeping`).

Sensors compare what is there with what it was made from each time they are asked (`ccai_dagster.staleness`), so that a
missed moment is caught at the next. What a sensor asks for is known by what it compared: the versions of all sources,
and which materialization or observation they differ from. Content that comes back is therefore asked for again, and
what failed is asked for again as long as nothing has changed, `ATTEMPTS` times in all.

There are no partitions: a consultation is one data set that grows, and Dagster keeps its earlier versions as
materializations. There are no freshness policies: they count materializations, and sources are only observed.

Sensors: https://docs.dagster.io/guides/automate/sensors
Schedules: https://docs.dagster.io/guides/automate/schedules
Selections of assets: https://docs.dagster.io/guides/build/assets/asset-selection-syntax
"""

import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import Any

import dagster as dg

from assets import decisions
from assets.constitution import REACH_THE_CUT
from assets.decisions import ledger_key
from assets.evaluation import RATINGS
from assets.public_input import POLIS_EXPORT
from assets.table_asset import BELOW_HOME
from ccai_dagster.constitution.principles import NO_PRINCIPLES
from ccai_dagster.consultation.folder import LEDGERS, PORTAL, Consultation, home_of, is_address
from ccai_dagster.contracts import MODEL_STAGES
from ccai_dagster.core.digest import SHORT, file_digest, table_digest, value_digest
from ccai_dagster.core.errors import ConsultationError
from ccai_dagster.core.home import Home
from ccai_dagster.core.text import counted
from ccai_dagster.core.unchanged import while_unchanged
from ccai_dagster.decisions.checks import check_signoffs
from ccai_dagster.decisions.ledger import ledger_digest, read_ledger
from ccai_dagster.deliberation.importing.portal import portal_digest
from ccai_dagster.deliberation.importing.read_votes import export_digest
from ccai_dagster.evaluation.ratings import read_ratings
from ccai_dagster.run_failures import ATTEMPTS, how_it_ended
from ccai_dagster.staleness import CODE, GONE, NEVER, Plan, plan
from ccai_dagster.terminal import OBSERVE
from resources import run_owners, run_tags
from resources.history import data_version, observed_version, version_of
from resources.model_store import ModelStore
from resources.tables import Tables

DELIBERATE = "deliberate"
TRAIN = "train_and_evaluate"
SECONDS = 30
"""Between two looks of a sensor."""
DAILY = "0 5 * * *"
LATE = 25 * 3600
"""Seconds after which an address was not asked when it should have been."""
LONGEST_REASON = 200
UNKNOWN = "unknown"
"""Version of what is at an address before it is asked."""


def sources() -> dg.AssetSelection:
    """Everything that comes from outside: the export, the ledgers and people's ratings."""
    return dg.AssetSelection.assets("polis_export", RATINGS, *(ledger_key(kind) for kind in LEDGERS))


def up_to_constitution() -> dg.AssetSelection:
    """From the import to the constitutions, and what was published of them; nothing here trains."""
    return dg.AssetSelection.groups("public_input", "deliberation", "constitution", "replication") - signed()


def deliberated() -> dg.AssetSelection:
    """All of that and the pages to sign by, with what they rest on; a training does not wait for the pages."""
    return up_to_constitution() | (pages_to_sign_by().upstream().materializable() - signed())


def pages_to_sign_by() -> dg.AssetSelection:
    """The pages on the constitution that follows from the votes, where one does."""
    return dg.AssetSelection.key_substring("constitution_report") | dg.AssetSelection.key_substring("public_summary")


def signed() -> dg.AssetSelection:
    """The gate: constitutions that somebody signed off."""
    return dg.AssetSelection.key_substring("/signed_constitution")


def after_signoff() -> dg.AssetSelection:
    """What waits for a sign-off: feedback, training, evaluation and audit, and the positive control with them."""
    rooms = dg.AssetSelection.groups("feedback", "training", "positive_control", "evaluation", "audit")
    return (rooms - deliberated()) | signed()


def by_hand(consultation: Consultation) -> dict[str, str]:
    """Return the tags of a run that nobody said more of."""
    return {
        run_tags.CONSULTATION: consultation.name,
        run_tags.STARTED_BY: "a person, in Dagster",
        run_tags.BECAUSE: "a person asked for it",
    }


def build_jobs(consultation: Consultation) -> list[Any]:  # Dagster does not export the type
    """Make the three jobs; started in Dagster's user interface, their runs say whose they are and that a person did."""
    tags = by_hand(consultation)
    return [
        dg.define_asset_job(
            OBSERVE,
            sources(),
            tags=tags,
            description="Look at the export, the ledgers and the ratings as they are now.",
        ),
        dg.define_asset_job(
            DELIBERATE, deliberated(), tags=tags, description="From the votes to the constitutions and their pages."
        ),
        dg.define_asset_job(TRAIN, after_signoff(), tags=tags, description="Everything that waits for a sign-off."),
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


def kept(home: Home, tables: Tables, models: ModelStore) -> Callable[[dg.AssetMaterialization], bool]:
    """Return a function that tells whether what an asset made is still there and as it was made.

    Args:
        home: Whose report the files are looked for in, wherever it was when they were made.
    """

    def is_kept(made: dg.AssetMaterialization) -> bool:
        if not tables.keeps(made):
            return False
        if made.asset_key.path[-1] in MODEL_STAGES and not models.keeps(data_version(made) or ""):
            return False
        entry = made.metadata.get(BELOW_HOME) or made.metadata.get("file")  # by its whole path, in earlier records
        if entry is None:
            return True
        file = home.report / PurePath(str(entry.value)).name
        return file.is_file() and file_digest(file) == data_version(made)

    return is_kept


def unsigned(consultation: Consultation, instance: dg.DagsterInstance) -> dict[str, str]:
    """Return the arms whose present constitution nobody has signed off, with its digest; one has principles to sign."""
    ledger = decisions.read(consultation, "signoff")
    known = {arm: digest for arm, digest in _constitutions(consultation, instance) if digest != NO_PRINCIPLES}
    waiting = {each.subject for each in check_signoffs(ledger, known, consultation.arms)}
    return {arm: digest for arm, digest in known.items() if arm in waiting}


def unworded(consultation: Consultation, instance: dg.DagsterInstance) -> dict[str, int]:
    """Return the arms that wait for a first principle to be worded, with how many statements reached the cut last."""
    waiting = [arm for arm, digest in _constitutions(consultation, instance) if digest == NO_PRINCIPLES]
    if not waiting:
        return {}
    event = instance.get_latest_materialization_event(dg.AssetKey("selected_statements"))
    made = event.asset_materialization if event is not None else None
    told = made.metadata.get(REACH_THE_CUT) if made is not None else None
    return dict.fromkeys(waiting, int(str(told.value)) if told is not None else 0)


def _constitutions(consultation: Consultation, instance: dg.DagsterInstance) -> Iterator[tuple[str, str]]:
    """Yield the arms that have a constitution, with the digest of the present one."""
    for arm in consultation.arms:
        if digest := version_of(dg.AssetKey([arm, "constitution"]), instance):
            yield arm, digest


def present_versions(consultation: Consultation) -> dict[dg.AssetKey, str]:
    """Return the version of the export, of every ledger and of the ratings as they are now.

    Three sensors look each half minute; what has not changed since the last look is not read again.
    An export at an address is left to the daily observation and to `ccai run`: a server of others is not asked
    every minute.
    """
    found: dict[dg.AssetKey, str] = {}
    if consultation.votes == PORTAL:
        found[POLIS_EXPORT] = portal_digest(home_of(consultation).portal)
    elif not is_address(consultation.votes):
        found[POLIS_EXPORT] = export_digest(Path(consultation.votes))
    for kind in LEDGERS:
        path = consultation.ledger(kind)
        found[ledger_key(kind)] = while_unchanged(_ledger_version, path, [path])
    found[RATINGS] = table_digest(read_ratings(consultation.ratings))
    return found


def _ledger_version(path: Path) -> str:
    return ledger_digest(read_ledger(path, path.stem))


def unobserved(consultation: Consultation, instance: dg.DagsterInstance) -> dict[dg.AssetKey, str]:
    """Return what is not as it was last observed, with its present version; an address only if it never was observed.

    Raises:
        ConsultationError: Something cannot be read.
    """
    present = present_versions(consultation)
    changed = {key: version for key, version in present.items() if observed_version(key, instance) != version}
    if POLIS_EXPORT not in present and observed_version(POLIS_EXPORT, instance) is None:
        changed[POLIS_EXPORT] = UNKNOWN
    return changed


def build_schedules() -> list[dg.ScheduleDefinition]:
    """Look at everything once a day, addresses too, and even where sensors are off."""
    return [
        dg.ScheduleDefinition(
            name="daily_observation",
            job_name=OBSERVE,
            cron_schedule=DAILY,
            default_status=dg.DefaultScheduleStatus.RUNNING,
            tags={run_tags.STARTED_BY: "schedule daily_observation", run_tags.BECAUSE: "once a day"},
            description="Observes the export, an address included, the ledgers and the ratings every day at five.",
        )
    ]


def build_sensors(
    consultation: Consultation, home: Home, tables: Tables, models: ModelStore
) -> list[dg.SensorDefinition]:
    """Make the three sensors: observe, deliberate, train."""
    is_kept = kept(home, tables, models)

    @dg.sensor(
        name="new_inputs",
        job_name=OBSERVE,
        minimum_interval_seconds=SECONDS,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description="Observes the export, the ledgers and the ratings when their content is not what was last observed "
        "and the same at two looks, and an address that was not asked for a day.",
    )
    def new_inputs(context: dg.SensorEvaluationContext) -> dg.RunRequest | dg.SkipReason:
        return _observation(context, consultation)

    @dg.sensor(
        name="changed_deliberation",
        job_name=DELIBERATE,
        minimum_interval_seconds=SECONDS,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description="Materializes the rooms from import to constitution whose inputs have another version, and all "
        "that follows them there, in one run.",
    )
    def changed_deliberation(context: dg.SensorEvaluationContext) -> dg.RunRequest | dg.SkipReason:
        if why_not := _not_now(consultation, context):
            return dg.SkipReason(why_not)
        stale = _stale(context, is_kept)
        chosen = stale.together(deliberated())
        if not chosen:
            return dg.SkipReason("everything is up to date")
        # Children of parents that turn out the same are made again, too; nothing up to the constitution trains.
        return stale.request("changed_deliberation", chosen)

    @dg.sensor(
        name="signed_off_training",
        job_name=TRAIN,
        minimum_interval_seconds=SECONDS,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description="Trains and evaluates again once a constitution that changed is signed off; never for the first "
        "time, and never because settings changed.",
    )
    def signed_off_training(context: dg.SensorEvaluationContext) -> dg.RunRequest | dg.SkipReason:
        if why_not := _not_now(consultation, context):
            return dg.SkipReason(why_not)
        stale = _stale(context, is_kept)
        if stale.together(up_to_constitution()):
            return dg.SkipReason("the constitutions are not settled yet")
        if without := unworded(consultation, context.instance):
            return dg.SkipReason(f"waits for a first wording in decisions/wording.csv: {', '.join(without)}")
        if waiting := unsigned(consultation, context.instance):
            arms = ", ".join(f"{arm} ({digest[:SHORT]})" for arm, digest in waiting.items())
            return dg.SkipReason(f"waits for a sign-off in decisions/signoff.csv: {arms}")
        # Step by step: what trains must not be made again before it is known that its inputs changed. New settings or
        # a first training may cost more than anybody wants to start without knowing.
        if not (chosen := stale.alone(after_signoff(), by_hand={NEVER, GONE, CODE})):
            return dg.SkipReason("everything is up to date")
        return stale.request("signed_off_training", chosen)

    return [new_inputs, changed_deliberation, signed_off_training]


def _observation(context: dg.SensorEvaluationContext, consultation: Consultation) -> dg.RunRequest | dg.SkipReason:
    """Ask for an observation; the cursor is what was seen at the look before, if it is not observed yet."""
    run_owners.end_dead_runs(context.instance, context.log.info)
    before = context.cursor
    context.update_cursor("")
    try:
        changed = unobserved(consultation, context.instance)
    except ConsultationError as error:
        return dg.SkipReason(f"nothing is overwritten: {error}")
    if changed:
        context.update_cursor(value_digest({key.to_user_string(): version for key, version in changed.items()}))
        if context.cursor != before:
            return dg.SkipReason(f"{_named(changed)} changed; not read before it is the same at two looks")
        why = f"{_named(changed)} changed"
    elif is_late(consultation, context.instance):
        changed = {POLIS_EXPORT: UNKNOWN}
        why = "the address was not asked for a day"
    else:
        return dg.SkipReason("the export and the ledgers are as they were last observed")
    compared = [
        [key.to_user_string(), version, _number(key, context.instance)] for key, version in sorted(changed.items())
    ]
    asked = _ask(context.instance, "new_inputs", why, compared)
    known = {key: version for key, version in changed.items() if version != UNKNOWN}
    if any(observed_version(key, context.instance) == version for key, version in known.items()):
        return dg.SkipReason(f"{_named(changed)} was observed during this look")
    return asked


def is_late(consultation: Consultation, instance: dg.DagsterInstance) -> bool:
    """Whether the votes are at an address that was last asked before the daily observation should have."""
    if not is_address(consultation.votes):
        return False
    record = instance.get_latest_data_version_record(POLIS_EXPORT)
    # What was asked for in the future was asked for by a clock that was wrong.
    return record is not None and abs(time.time() - record.timestamp) > LATE


def _not_now(consultation: Consultation, context: dg.SensorEvaluationContext) -> str | None:
    """Why nothing is made at this moment, if so."""
    instance = context.instance
    run_owners.end_dead_runs(instance, context.log.info)
    if someone := run_owners.under_way(instance):
        return someone
    try:
        changed = unobserved(consultation, instance)
    except ConsultationError as error:
        return f"nothing is overwritten: {error}"
    return f"{_named(changed)} changed since it was last observed; new_inputs observes it first" if changed else None


@dataclass(frozen=True)
class _Stale:
    """What is to be made, in the graph it belongs to."""

    instance: dg.DagsterInstance
    repository: dg.RepositoryDefinition
    graph: Graph
    plan: Plan

    def together(self, selection: dg.AssetSelection) -> set[dg.AssetKey]:
        """Return what is stale within a selection and what follows it there; nothing that waits for another room."""
        wanted = selection.resolve(self.repository.asset_graph)
        changing = self.plan.ready.keys() | self.plan.later
        chosen: set[dg.AssetKey] = set()
        for key, parents in self.graph.parents.items():
            if key in wanted & changing and (key in self.plan.ready or set(parents) & changing <= chosen):
                chosen.add(key)
        return chosen

    def alone(self, selection: dg.AssetSelection, by_hand: Collection[str]) -> set[dg.AssetKey]:
        """Return what can be made at once, save what is stale for a reason that is left to a person."""
        wanted = selection.resolve(self.repository.asset_graph)
        return {key for key, reason in self.plan.ready.items() if key in wanted and reason not in by_hand}

    def request(self, sensor: str, chosen: Collection[dg.AssetKey]) -> dg.RunRequest | dg.SkipReason:
        """Ask for these assets."""
        reasons = {key: reason for key, reason in self.plan.ready.items() if key in chosen}
        sources = {parent for parents in self.graph.parents.values() for parent in parents} - self.graph.parents.keys()
        compared = {
            "stale": [
                [key.to_user_string(), reason, self.graph.code_versions.get(key), _number(key, self.instance)]
                for key, reason in sorted(reasons.items())
            ],
            "sources": [[key.to_user_string(), observed_version(key, self.instance)] for key in sorted(sources)],
        }
        whole = dg.AssetSelection.assets(*chosen).required_multi_asset_neighbors().resolve(self.repository.asset_graph)
        return _ask(self.instance, sensor, because(reasons), compared, sorted(whole))


def _stale(context: dg.SensorEvaluationContext, is_kept: Callable[[dg.AssetMaterialization], bool]) -> _Stale:
    if context.repository_def is None:
        raise ValueError("the sensor was asked outside of a code location")
    graph = graph_of(context.repository_def)
    found = plan(graph.parents, graph.code_versions, context.instance, is_kept)
    return _Stale(context.instance, context.repository_def, graph, found)


def because(reasons: Mapping[dg.AssetKey, str]) -> str:
    """Return why assets are made, for the tag of a run."""
    return "; ".join(sorted(set(reasons.values())))[:LONGEST_REASON]


def _ask(
    instance: dg.DagsterInstance, sensor: str, why: str, compared: Any, chosen: Sequence[dg.AssetKey] | None = None
) -> dg.RunRequest | dg.SkipReason:
    """Ask for a run, unless one was started for the same, or as many as may be have ended without it.

    Args:
        compared: What was compared, as JSON; it is other than before as soon as anything has changed.
        chosen: The assets; all of the sensor's job by default.
    """
    digest = value_digest([sensor, compared])
    runs = instance.get_runs(dg.RunsFilter(tags={run_tags.COMPARED: digest}))
    if [run for run in runs if not run.is_finished]:
        return dg.SkipReason("a run for it is under way")
    if runs and (len(runs) >= ATTEMPTS or runs[0].status == dg.DagsterRunStatus.CANCELED):
        last = f"run {runs[0].run_id[:SHORT]} {how_it_ended(runs[0], instance)}"
        return dg.SkipReason(
            f"not tried again by itself after {counted(len(runs), 'run')}; {last} Mend that, then start it in Dagster "
            "or with `ccai run`. As soon as votes, ledgers or code change, it is tried again by itself."
        )
    return dg.RunRequest(
        run_key=f"{sensor}-{digest}-{len(runs) + 1}",
        asset_selection=chosen,
        tags={
            run_tags.COMPARED: digest,
            run_tags.BECAUSE: why[:LONGEST_REASON],
            run_tags.STARTED_BY: f"{run_tags.SENSOR}{sensor}",
        },
    )


def _number(key: dg.AssetKey, instance: dg.DagsterInstance) -> int | None:
    """The number of the latest materialization or observation of an asset."""
    record = instance.get_latest_data_version_record(key)
    return record.storage_id if record is not None else None


def _named(keys: Collection[dg.AssetKey]) -> str:
    return ", ".join(sorted(key.to_user_string() for key in keys))
