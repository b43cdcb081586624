"""Runs that failed: why, in a sentence, and which of them nobody has put right yet.

Belongs here: asking Dagster's record about failures. Doesn't belong here: who is told (`notices`), and what is started
again (`automation`).
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import dagster as dg

from ccai_dagster.core.digest import SHORT
from ccai_dagster.core.text import printable
from resources import run_tags
from resources.history import refusal

ATTEMPTS = 3
"""How often a sensor asks for the same thing."""
LONGEST_MESSAGE = 400
_INTERRUPTIONS = {dg.DagsterExecutionInterruptedError.__name__, KeyboardInterrupt.__name__}
_ENDS = {dg.DagsterEventType.STEP_SUCCESS, dg.DagsterEventType.STEP_SKIPPED}


@dataclass(frozen=True)
class RunFailure:
    """A run that failed.

    Attributes:
        assets: What it was to make or to observe and did not, nor did a later run.
        why: As the end of a sentence.
        attempts: How many runs there were for the same thing.
    """

    run: dg.DagsterRun
    assets: Sequence[dg.AssetKey]
    why: str
    attempts: int

    @property
    def given_up(self) -> bool | None:
        """Whether a sensor that asked for it asks no more; None if no sensor did."""
        return self.attempts >= ATTEMPTS if run_tags.COMPARED in self.run.tags else None

    @property
    def tells_of(self) -> str:
        """Id of what failed: of what a sensor asked for, however often it was tried, or of the run."""
        return self.run.tags.get(run_tags.COMPARED, self.run.run_id)

    def __str__(self) -> str:
        tags = self.run.tags
        parts = [] if self.run.job_name.startswith("__") else [self.run.job_name]  # Dagster names runs without a job so
        parts += [f"started by {tags[run_tags.STARTED_BY]}"] if run_tags.STARTED_BY in tags else []
        parts += [f"because: {tags[run_tags.BECAUSE]}"] if run_tags.BECAUSE in tags else []
        named = f" ({', '.join(parts)})" if parts else ""
        sentence = f"Run {self.run.run_id[:SHORT]}{named} {self.why}"
        if self.given_up is None:
            return sentence
        if self.given_up:
            return f"{sentence} It is not tried again by itself after {self.attempts} runs."
        return f"{sentence} It is tried again by itself, {ATTEMPTS} times in all."


def standing_failures(instance: dg.DagsterInstance) -> list[RunFailure]:
    """Return the failed runs with an asset that failed there and has not been made or observed since, latest first."""
    unmade: dict[str, set[dg.AssetKey]] = {}
    for record in instance.get_asset_records(instance.get_asset_keys()):
        entry = record.asset_entry
        made = entry.last_materialization_record
        if entry.last_run_id is not None and (made is None or made.run_id != entry.last_run_id):
            unmade.setdefault(entry.last_run_id, set()).add(entry.asset_key)
    if not unmade:
        return []
    failed = dg.RunsFilter(run_ids=list(unmade), statuses=[dg.DagsterRunStatus.FAILURE])
    return [
        RunFailure(run, assets, how_it_ended(run, instance), _attempts(run, instance))
        for run in instance.get_runs(failed)
        if (assets := sorted(_failed_assets(run, unmade[run.run_id], instance)))
    ]


def how_it_ended(run: dg.DagsterRun, instance: dg.DagsterInstance) -> str:
    """Return how a run ended, as the end of a sentence."""
    if run.status == dg.DagsterRunStatus.CANCELED:
        return "was cancelled."
    if run.status == dg.DagsterRunStatus.SUCCESS:
        return "ended without it."
    steps = _events(run, instance, dg.DagsterEventType.STEP_FAILURE)
    if failures := [event for event in steps if not is_interruption(event)]:
        return f"failed: {printable(failure_message(failures[0]), LONGEST_MESSAGE)}"
    ends = _events(run, instance, dg.DagsterEventType.RUN_FAILURE)
    if any(map(is_interruption, [*steps, *ends])):
        return "was interrupted."
    told = [event.message for event in ends if event.message]
    return f"failed: {printable(told[0], LONGEST_MESSAGE)}" if told else "failed."


def is_interruption(event: dg.DagsterEvent) -> bool:
    """Whether a step or a run failed because somebody ended it: by Ctrl-C or another signal."""
    if event.event_type == dg.DagsterEventType.STEP_FAILURE:
        error = event.step_failure_data.error
    else:
        error = event.job_failure_data.error if event.event_type == dg.DagsterEventType.RUN_FAILURE else None
    return error is not None and error.cls_name in _INTERRUPTIONS


def failure_message(event: dg.DagsterEvent) -> str:
    """Return the sentence a person needs: of a `Failure` its description, else the innermost error."""
    named = str(event.step_key).replace("__", "/")  # as Dagster joins the parts of an asset's key
    if is_interruption(event):
        return f"{named}: interrupted"
    data = event.step_failure_data
    if data.user_failure_data is not None and data.user_failure_data.description:
        return f"{named}: {data.user_failure_data.description}"
    error = data.error
    while error is not None and error.cause is not None:
        error = error.cause
    return f"{named}: {error.message.strip() if error is not None else 'unknown error'}"


def _failed_assets(run: dg.DagsterRun, unmade: set[dg.AssetKey], instance: dg.DagsterInstance) -> Iterator[dg.AssetKey]:
    """Yield what failed in a run, or was under way when its process died; not what only waited for that.

    What waited may turn out to be up to date once the others are made. What a check refused is no failure any more
    if what stands was made of what there is now, for instance because the export before came back.
    """
    events = _events(run, instance)
    begun = {event.step_key for event in events if event.event_type == dg.DagsterEventType.STEP_START}
    ended = {event.step_key for event in events if event.event_type in _ENDS}
    planned = [event for event in events if event.event_type == dg.DagsterEventType.ASSET_MATERIALIZATION_PLANNED]
    for step in begun - ended or {event.step_key for event in planned}:
        refused = _refused(step, events)
        if not refused or any(_is_still_refused(key, instance) for key in refused):
            yield from ({event.asset_key for event in planned if event.step_key == step and event.asset_key} & unmade)


def _refused(step: str | None, events: Sequence[dg.DagsterEvent]) -> set[dg.AssetKey]:
    """What the checks of a step refused."""
    checks = [
        event.asset_check_evaluation_data
        for event in events
        if event.event_type == dg.DagsterEventType.ASSET_CHECK_EVALUATION and event.step_key == step
    ]
    return {each.asset_key for each in checks if not each.passed and each.severity == dg.AssetCheckSeverity.ERROR}


def _is_still_refused(key: dg.AssetKey, instance: dg.DagsterInstance) -> bool:
    return instance.get_latest_materialization_event(key) is None or refusal(key, instance) is not None


def _attempts(run: dg.DagsterRun, instance: dg.DagsterInstance) -> int:
    compared = run.tags.get(run_tags.COMPARED)
    return instance.get_runs_count(dg.RunsFilter(tags={run_tags.COMPARED: compared})) if compared else 1


def _events(
    run: dg.DagsterRun, instance: dg.DagsterInstance, of_type: dg.DagsterEventType | None = None
) -> list[dg.DagsterEvent]:
    logs = instance.all_logs(run.run_id, of_type=of_type)
    return [each.dagster_event for each in logs if each.dagster_event is not None]
