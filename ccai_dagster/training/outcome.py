"""What a training stage reports besides the model it leaves in a folder."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import polars as pl

NOT_KEPT = {"step", "epoch", "total_flos", "train_loss", "num_tokens"}
"""Of these the last two are sums since the last start, so they differ where a training was interrupted."""
HISTORY_SCHEMA = {"step": pl.Int64(), "name": pl.String(), "value": pl.Float64()}


@dataclass(frozen=True)
class TrainingOutcome:
    """Figures of one training.

    Attributes:
        metrics: Summary figures by name; what could not be measured is absent.
        history: What was logged on the way: `step`, `name`, `value`, sorted by step and name, without
            figures of time, which differ between equal trainings.
        tables: What else is worth looking at, by name: small tables that are kept with the run.
    """

    metrics: dict[str, float]
    history: pl.DataFrame
    tables: Mapping[str, pl.DataFrame] = field(default_factory=dict)


def history_table(log: list[dict[str, float]]) -> pl.DataFrame:
    """Turn a trainer's log (one dict a step) into a history; figures of time and non-numbers are left out."""
    rows = [
        {"step": entry["step"], "name": name, "value": float(value)}
        for entry in log
        for name, value in entry.items()
        if name not in NOT_KEPT and _lasting(name) and isinstance(value, int | float)
    ]
    table = pl.DataFrame(rows, schema=HISTORY_SCHEMA)
    return table.filter(pl.col("value").is_finite()).sort("step", "name")


def ends(history: pl.DataFrame, name: str) -> tuple[float, float] | None:
    """Return the mean of a figure over the first and the last tenth of the steps it was logged on."""
    values = history.filter(pl.col("name") == name).sort("step")["value"].to_list()
    if not values:
        return None
    tenth = max(1, len(values) // 10)
    return sum(values[:tenth]) / tenth, sum(values[-tenth:]) / tenth


def _lasting(name: str) -> bool:
    return not any(part in name for part in ("runtime", "_per_second", "step_time", "profiling"))
