"""What a run prints: one line an asset and a check that does not pass, progress below it, errors in full."""

import logging
from typing import Any

import dagster as dg

OBSERVE = "observe_inputs"
"""The job that only looks; it is announced once and prints nothing else unless it fails."""


class _Lines(logging.Handler):
    """Turns Dagster's log records into lines for people."""

    def emit(self, record: logging.LogRecord) -> None:
        meta: dict[str, Any] = getattr(record, "dagster_meta", {})
        event = meta.get("dagster_event")
        if event is not None:
            quiet = meta.get("job_name") == OBSERVE and event.event_type != dg.DagsterEventType.STEP_FAILURE
            line = None if quiet else _event_line(event)
        else:
            message = str(meta.get("orig_message", record.getMessage()))
            line = f"      {message}" if record.levelno >= logging.INFO and not _is_internal(message) else None
        if line:
            print(line, flush=True)


def _is_internal(message: str) -> bool:
    return message.startswith(("[pipes] ", "Loading file from", "Writing file at", "Dependencies for step"))


def _event_line(event: dg.DagsterEvent) -> str | None:
    kind = event.event_type
    step = (event.step_key or "").replace("__", "/", 1)
    if kind == dg.DagsterEventType.STEP_START:
        return f"  … {step}"
    if kind == dg.DagsterEventType.STEP_SUCCESS:
        return f"      {event.step_success_data.duration_ms / 1000:.1f} s"
    if kind == dg.DagsterEventType.ASSET_MATERIALIZATION and event.asset_key is not None:
        metadata = event.materialization.metadata
        rows = metadata.get("dagster/row_count")
        counted = f"  {rows.value:,} rows" if rows is not None else ""
        return f"  ✓ {event.asset_key.to_user_string()}{counted}"
    if kind == dg.DagsterEventType.ASSET_CHECK_EVALUATION:
        check = event.asset_check_evaluation_data
        mark = "✗" if check.severity == dg.AssetCheckSeverity.ERROR else "!"
        told = f"  {mark} {check.asset_key.to_user_string()}, {check.check_name}: {check.description or 'not passed'}"
        return None if check.passed else told
    if kind == dg.DagsterEventType.STEP_FAILURE:
        return f"  ✗ {step}"
    return None


@dg.logger({}, description="One line an asset, progress below it.")
def terminal_logger(context: dg.InitLoggerContext) -> logging.Logger:
    """Return a logger that prints lines for people."""
    logger = logging.getLogger("ccai_dagster.terminal")
    logger.setLevel(logging.DEBUG)
    logger.handlers = [_Lines()]
    logger.propagate = False
    return logger
