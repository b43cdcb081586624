"""What `ccai run` does: it observes the inputs and materializes what is missing or stale, constitutions first.

The same graph can be materialized in Dagster's user interface; this is the way without one. What is stale is decided in
`ccai_dagster.staleness`.
"""

import time
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import dagster as dg

from assets.public_input import SINCE
from ccai_dagster import automation
from ccai_dagster.consultation.folder import Consultation
from ccai_dagster.core.errors import ConsultationError
from ccai_dagster.core.home import Home
from ccai_dagster.core.text import counted
from ccai_dagster.definitions import build_defs, build_resources
from ccai_dagster.run_failures import failure_message, is_interruption
from ccai_dagster.staleness import plan
from ccai_dagster.terminal import OBSERVE
from resources import history, run_owners, run_tags
from resources.instance import kept_connections
from resources.record import open_record

Say = Callable[[str], None]


@dataclass
class Outcome:
    """What a run of `ccai run` did.

    Attributes:
        materialized: Keys in the order they were started.
        fresh: Keys that were up to date.
        waiting: Arms that wait for a sign-off, with the digest to sign.
        unworded: Arms that wait for a first principle to be worded, with how many statements reach the cut.
        failed: Messages of what failed or was interrupted; empty if nothing was.
        interrupted: Whether somebody ended it, by Ctrl-C or another signal.
        imported: What came since the last import; empty if nothing was imported.
        seconds: How long it took.
    """

    materialized: list[str] = field(default_factory=list)
    fresh: list[str] = field(default_factory=list)
    waiting: dict[str, str] = field(default_factory=dict)
    unworded: dict[str, int] = field(default_factory=dict)
    failed: list[str] = field(default_factory=list)
    interrupted: bool = False
    imported: str = ""
    seconds: float = 0.0


def run(
    consultation: Consultation,
    root: Path,
    say: Say,
    select: str | None = None,
    instance: dg.DagsterInstance | None = None,
    wait: bool = True,
) -> Outcome:
    """Observe the inputs, then materialize what is stale, wave by wave, until nothing is.

    Args:
        root: `CCAI_HOME`.
        say: Prints a line.
        select: A selection in Dagster's syntax; exactly these assets are materialized, fresh or not.
        instance: Dagster's record; the one in `root` by default.
        wait: For another run that is at work on the consultation, instead of giving up.

    Raises:
        ConsultationError: The selection names nothing, or another run is at work and `wait` is off.
    """
    home = Home(root, consultation.name)
    instance = instance or open_record(home, consultation, say)
    busy = _patience(say) if wait else _refusal
    with run_owners.turn(instance, "`ccai run`", busy), kept_connections(instance):
        run_owners.end_dead_runs(instance, say)
        run_owners.await_pools(instance, busy)
        outcome = Outcome()
        try:
            _run(consultation, home, instance, say, select, outcome)
        except KeyboardInterrupt:
            outcome.interrupted = True
    return outcome


def _patience(say: Say) -> Say:
    told: set[str] = set()

    def busy(why: str) -> None:
        if why not in told:
            say(f"Waiting: {why}. Ctrl-C stops waiting.")
            told.add(why)

    return busy


def _refusal(why: str) -> None:
    raise ConsultationError(f"Nothing was started: {why}. Run again when it has ended.")


def _run(
    consultation: Consultation, home: Home, instance: dg.DagsterInstance, say: Say, select: str | None, outcome: Outcome
) -> None:
    began = time.monotonic()
    defs = build_defs(consultation, home.root)
    say("Observing the votes and the ledgers")
    tags = {run_tags.CONSULTATION: consultation.name, run_tags.STARTED_BY: "ccai run"}
    first = {**tags, run_tags.BECAUSE: "a run looks at its inputs first"}
    if not _execute(defs.resolve_job_def(OBSERVE), None, instance, outcome, first):
        return
    try:
        if select is None:
            _materialize_stale(consultation, home, defs, instance, say, outcome, tags)
        else:
            _materialize_selected(select, defs, instance, say, outcome, tags)
    finally:
        # Also of a run that stops or waits: what was made up to there can be asked about and verified.
        history.record(consultation, home, instance, defs.resolve_asset_graph().get_all_asset_keys())
    outcome.seconds = time.monotonic() - began


def _materialize_stale(
    consultation: Consultation,
    home: Home,
    defs: dg.Definitions,
    instance: dg.DagsterInstance,
    say: Say,
    outcome: Outcome,
    tags: Mapping[str, str],
) -> None:
    repository = defs.get_repository_def()
    graph = automation.graph_of(repository)
    resources = build_resources(home)
    is_kept = automation.kept(home, resources["tables"], resources["models"])
    light = automation.up_to_constitution().resolve(repository.asset_graph)
    deliberated = automation.deliberated().resolve(repository.asset_graph)
    done: set[dg.AssetKey] = set()
    while True:
        found = plan(graph.parents, graph.code_versions, instance, is_kept)
        ready = _admitted(found.ready, light, deliberated, graph, consultation, instance, outcome)
        if repeated := sorted(key.to_user_string() for key in set(ready) & done):
            raise ConsultationError(
                f"Votes or ledgers changed while the run was under way, so {', '.join(repeated)} would be "
                "materialized again. What was made stands; run again."
            )
        if not ready:
            break
        _announce(ready, say)
        # What is made together cannot be made in part.
        chosen = dg.AssetSelection.assets(*ready).required_multi_asset_neighbors().resolve(repository.asset_graph)
        done |= chosen
        because = {**tags, run_tags.BECAUSE: automation.because(ready)}
        if not _execute(defs.resolve_implicit_global_asset_job_def(), list(chosen), instance, outcome, because):
            break
    outcome.fresh = sorted(key.to_user_string() for key in found.fresh - done)


def _admitted(
    ready: dict[dg.AssetKey, str],
    light: Collection[dg.AssetKey],
    deliberated: Collection[dg.AssetKey],
    graph: automation.Graph,
    consultation: Consultation,
    instance: dg.DagsterInstance,
    outcome: Outcome,
) -> dict[dg.AssetKey, str]:
    """Settle the constitutions first; then hold back what follows one that is not worded or not signed off.

    What a person has to mend or decide is found in the first seconds, before anything is trained.
    """
    if first := {key: reason for key, reason in ready.items() if key in light}:
        return first
    outcome.unworded = automation.unworded(consultation, instance)
    if outcome.unworded:
        return {key: reason for key, reason in ready.items() if key in deliberated}
    outcome.waiting = automation.unsigned(consultation, instance)
    held = graph.after([dg.AssetKey([arm, "signed_constitution"]) for arm in outcome.waiting])
    return {key: reason for key, reason in ready.items() if key not in held}


def _announce(ready: dict[dg.AssetKey, str], say: Say) -> None:
    by_reason: dict[str, list[str]] = {}
    for key, reason in ready.items():
        by_reason.setdefault(reason, []).append(key.to_user_string())
    for reason, keys in by_reason.items():
        shown = ", ".join(keys[:6]) + (f" and {len(keys) - 6} more" if len(keys) > 6 else "")
        say(f"Materializing {shown}: {reason}")


def _execute(
    job: dg.JobDefinition,
    keys: list[dg.AssetKey] | None,
    instance: dg.DagsterInstance,
    outcome: Outcome,
    tags: Mapping[str, str],
) -> bool:
    result = job.execute_in_process(
        instance=instance,
        asset_selection=keys,
        raise_on_error=False,
        run_config={"loggers": {"console": {}}},
        tags={**run_owners.owner_tags(), **tags},
    )
    events = result.filter_events(lambda each: each.event_type == dg.DagsterEventType.ASSET_MATERIALIZATION)
    made = [event.step_materialization_data.materialization for event in events]
    outcome.materialized += [each.asset_key.to_user_string() for each in made]
    for each in made:
        if SINCE in each.metadata:
            outcome.imported = str(each.metadata[SINCE].value)
    for event in result.filter_events(lambda each: each.event_type == dg.DagsterEventType.STEP_FAILURE):
        outcome.failed.append(failure_message(event))
    outcome.interrupted = bool(result.filter_events(is_interruption))
    if not result.success and not outcome.failed and not outcome.interrupted:
        outcome.failed.append(f"Dagster run {result.run_id} did not succeed")
    return result.success


def _materialize_selected(
    select: str, defs: dg.Definitions, instance: dg.DagsterInstance, say: Say, outcome: Outcome, tags: Mapping[str, str]
) -> None:
    repository = defs.get_repository_def()
    possible = automation.graph_of(repository).parents
    try:
        # What is made together cannot be made in part.
        named = dg.AssetSelection.from_string(select).required_multi_asset_neighbors()
        chosen = named.resolve(repository.asset_graph)
    except Exception as error:  # Dagster raises several kinds here, all about the text of the selection
        raise ConsultationError(f"--select {select!r}: {error}") from error
    keys = [key for key in possible if key in chosen]
    if not keys:
        raise ConsultationError(f"--select {select!r} names no asset that can be materialized.")
    if refused := history.refused_ancestors(keys, possible, instance):
        raise ConsultationError("\n".join(refused))
    say(f"Materializing {counted(len(keys), 'selected asset')}")
    because = {**tags, run_tags.BECAUSE: f"selected: {select}"[: automation.LONGEST_REASON]}
    _execute(defs.resolve_implicit_global_asset_job_def(), keys, instance, outcome, because)
