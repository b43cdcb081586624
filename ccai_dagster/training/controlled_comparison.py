"""Whether arms were trained alike: every setting of every stage side by side, and what differs.

Two models are only evidence about two constitutions if nothing else differs. What a stage reports as its
settings includes the digests of its data, the order they came in, seeds and steps.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import polars as pl

from ccai_dagster.contracts import training_settings
from ccai_dagster.decisions.findings import Finding
from ccai_dagster.digest import SHORT

CONSTITUTION = "constitution"
EVERY_STAGE = "every stage"

Records = Mapping[str, Mapping[str, pl.DataFrame]]
"""MODEL tables by stage and arm."""


def settings_table(records: Records) -> pl.DataFrame:
    """Put the settings of all arms side by side.

    Args:
        records: MODEL tables by stage and arm; every stage has the same arms.

    Returns:
        `contracts.training_settings` of the arms, sorted by stage and setting: one row for the constitution,
        and one for each setting of each stage; a setting that an arm does not have is null there.
    """
    arms = sorted(next(iter(records.values())))
    rows = [_row(EVERY_STAGE, CONSTITUTION, _constitutions(records, arms))]
    for stage, by_arm in records.items():
        flat = {arm: flattened(json.loads(by_arm[arm]["settings"].item())) for arm in arms}
        rows += [
            _row(stage, name, {arm: flat[arm].get(name) for arm in arms})
            for name in sorted({name for each in flat.values() for name in each})
        ]
    return training_settings(arms).build(rows).sort("stage", "setting")


def difference_findings(table: pl.DataFrame) -> list[Finding]:
    """Return what stands against comparing the arms: they may differ in the constitution only.

    Args:
        table: As `settings_table` returns it.

    Returns:
        An error for every other setting that differs and for an arm whose stages were trained on different
        constitutions; a warning if the constitutions do not differ, which makes the comparison one of
        chance.
    """
    arms = [name.removeprefix("in_") for name in table.columns if name.startswith("in_")]
    found = []
    for row in table.iter_rows(named=True):
        values = {arm: row[f"in_{arm}"] for arm in arms}
        about_constitution = (row["stage"], row["setting"]) == (EVERY_STAGE, CONSTITUTION)
        if about_constitution:
            found += [
                Finding("error", "training", None, arm, "its stages were trained on different constitutions "
                        f"({', '.join(each[:SHORT] for each in value.split())}). Materialize all of them again")
                for arm, value in values.items()
                if value and " " in value
            ]  # fmt: skip
            if not row["differs"]:
                found.append(
                    Finding("warning", "training", None, CONSTITUTION, "the arms were trained on one and the same "
                            "constitution, so whatever differs between them is chance")
                )  # fmt: skip
        elif row["differs"]:
            told = ", ".join(f"{_short(value)} in {arm}" for arm, value in values.items())
            found.append(
                Finding("error", "training", None, f"{row['stage']}: {row['setting']}", f"differs between the arms "
                        f"({told}), so they differ in more than the constitution. Materialize this stage in all arms "
                        "with the same settings")
            )  # fmt: skip
    return found


def flattened(settings: Mapping[str, Any], prefix: str = "") -> dict[str, str]:
    """Return nested settings as `outer.inner` names and texts."""
    flat: dict[str, str] = {}
    for name, value in settings.items():
        if isinstance(value, Mapping):
            flat |= flattened(value, f"{prefix}{name}.")
        else:
            flat[f"{prefix}{name}"] = value if isinstance(value, str) else json.dumps(value)
    return flat


def _constitutions(records: Records, arms: list[str]) -> dict[str, str | None]:
    """Digest of the constitution of each arm; several, if its stages disagree."""
    digests = {arm: {records[stage][arm]["constitution_digest"].item() for stage in records} for arm in arms}
    return {arm: " ".join(sorted(str(each) for each in own)) for arm, own in digests.items()}


def _row(stage: str, setting: str, values: Mapping[str, str | None]) -> dict[str, Any]:
    return {
        "stage": stage,
        "setting": setting,
        **{f"in_{arm}": value for arm, value in values.items()},
        "differs": len(set(values.values())) > 1,
    }


def _short(value: str | None) -> str:
    if value is None:
        return "nothing"
    return value[:SHORT] if len(value) == 64 else value
