"""Whether arms were trained alike: every setting of every stage side by side, and what differs.

Two models are only evidence about two constitutions if nothing else differs, or about two ways to draw principles of
one constitution if only that differs. What a stage reports as its settings includes the digests of its data, the
order they came in, seeds and steps.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import polars as pl

from ccai_dagster.contracts import training_settings
from ccai_dagster.core.digest import SHORT, value_digest
from ccai_dagster.decisions.checks import Finding

CONSTITUTION = "constitution"
WEIGHTS = "principle weights"
"""The setting of the preference model that arms of one constitution may differ in."""
REVISION_MODEL = "revision model"
"""The setting of the supervised policy that names the model that wrote its revisions, where that is another one."""
POLICY_METHOD = "policy method"
EVERY_STAGE = "every stage"

Records = Mapping[str, Mapping[str, pl.DataFrame]]
"""MODEL tables by stage and arm."""


def settings_table(records: Records) -> pl.DataFrame:
    """Put the settings of all arms side by side.

    Args:
        records: Every stage has the same arms.

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


def comparable_digest(settings: str) -> str:
    """Return the digest of a stage's settings (JSON, as a MODEL table holds it) but for those arms may differ in."""
    return value_digest({name: value for name, value in json.loads(settings).items() if name != WEIGHTS})


def policy_method(table: pl.DataFrame) -> str:
    """Return how the policies of all arms were trained, from the table of settings."""
    return _of_policies(table, POLICY_METHOD)


def policy_steps(table: pl.DataFrame) -> int:
    """Return how many steps the policies of all arms were trained for, from the table of settings."""
    return int(_of_policies(table, "settings.steps"))


def _of_policies(table: pl.DataFrame, setting: str) -> str:
    row = table.row(by_predicate=(pl.col("stage") == "policy") & (pl.col("setting") == setting), named=True)
    return str(next(value for name, value in row.items() if name.startswith("in_")))


def may_differ(row: Mapping[str, Any]) -> bool:
    """Tell whether arms may differ in this row of the table of settings: the constitution or its weights.

    Whether what differs can then be told apart is a question of all arms: see `difference_findings`.
    """
    return row["setting"] == WEIGHTS or (row["stage"], row["setting"]) == (EVERY_STAGE, CONSTITUTION)


def shown_values(row: Mapping[str, Any]) -> str:
    """Say what a setting is in each arm, from a row of the table of settings; of a digest, its beginning."""
    values = {name.removeprefix("in_"): value for name, value in row.items() if name.startswith("in_")}
    return ", ".join(f"{_short(value)} in {arm}" for arm, value in values.items())


def difference_findings(table: pl.DataFrame) -> list[Finding]:
    """Return what stands against comparing the arms: they may differ in the constitution or in its weights.

    Args:
        table: As `settings_table` returns it.

    Returns:
        An error for every other setting that differs and for an arm whose stages were trained on different
        constitutions; a warning if neither the constitutions nor their weights differ, which makes the
        comparison one of chance, and for an arm with other weights than the rest where no arm has the same
        constitution.
    """
    arms = [name.removeprefix("in_") for name in table.columns if name.startswith("in_")]
    weights = _values_of(table, arms, WEIGHTS)
    found = _unpaired(weights, _values_of(table, arms, CONSTITUTION))
    for row in table.iter_rows(named=True):
        if (row["stage"], row["setting"]) == (EVERY_STAGE, CONSTITUTION):
            found += [
                Finding(
                    "error",
                    "training",
                    None,
                    arm,
                    "its stages were trained on different constitutions "
                    f"({', '.join(each[:SHORT] for each in value.split())}). Materialize all of them again",
                )
                for arm in arms
                if (value := row[f"in_{arm}"]) and " " in value
            ]
            if not row["differs"] and len(set(weights.values())) < 2:
                found.append(
                    Finding(
                        "warning",
                        "training",
                        None,
                        CONSTITUTION,
                        "the arms were trained on one and the same "
                        "constitution, so whatever differs between them is chance",
                    )
                )
        elif row["differs"] and not may_differ(row):
            found.append(
                Finding(
                    "error",
                    "training",
                    None,
                    f"{row['stage']}: {row['setting']}",
                    f"differs between the arms ({shown_values(row)}), so they differ in more than the constitution. "
                    "Materialize this stage in all arms with the same settings",
                )
            )
    return found


def _values_of(table: pl.DataFrame, arms: list[str], setting: str) -> dict[str, str | None]:
    """Return by arm the values of a setting that has one row at most."""
    rows = table.filter(pl.col("setting") == setting).to_dicts()
    return {arm: rows[0][f"in_{arm}"] if rows else None for arm in arms}


def _unpaired(weights: Mapping[str, str | None], constitutions: Mapping[str, str | None]) -> list[Finding]:
    """Warn of arms whose weights no other arm of the same constitution can be compared with."""
    if len(set(weights.values())) < 2:
        return []
    return [
        Finding(
            "warning",
            "training",
            None,
            f"preference_model: {WEIGHTS}",
            f"{arm} draws principles in another way "
            f"({weight}) than the other arms, and none of them has the same constitution, so what that changes "
            "can't be told from what the constitution changes. Add an arm with this constitution and the weights "
            "of the others",
        )
        for arm, weight in weights.items()
        if weight != "uniform"
        and not any(weights[other] != weight and constitutions[other] == constitutions[arm] for other in weights)
    ]


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
