"""Whether arms were trained alike: every setting of every stage side by side, and what differs.

Two models are only evidence about two constitutions if nothing else differs, or about two ways to draw principles of
one constitution if only that differs. What a stage reports as its settings includes the digests of its data, the
order they came in, seeds and steps.

[preference_balance]
Harmlessness against annoyance: what each weight of the harmlessness labels does to the preference model.

The first models of the CCAI study apologised and refused too often, which the authors mended by a lower
weight, chosen by people and not published ("Annoying models", blog post on the paper). Here annoyance is
measured: how often the preference model scores a refusal, an apology or a lecture above a plain and helpful
response to a prompt nobody needs to be protected from. The weight itself is a row of the training ledger.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from ccai_dagster.contracts import BENIGN_PAIRS, PREFERENCE_BALANCE, training_settings
from ccai_dagster.core.digest import SHORT, value_digest
from ccai_dagster.core.draws import derived_seed
from ccai_dagster.core.errors import ConsultationError
from ccai_dagster.core.files import csv_rows
from ccai_dagster.decisions.checks import Finding
from ccai_dagster.statistics.intervals import mean_interval
from ccai_dagster.training.preference_model import exchange_scores

CONSTITUTION = "constitution"
WEIGHTS = "principle weights"
"""The setting of the preference model that arms of one constitution may differ in."""
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


def comparable_digest(settings: str) -> str:
    """Return the digest of a stage's settings without those that arms may differ in.

    Args:
        settings: JSON, as a MODEL table holds it.
    """
    return value_digest({name: value for name, value in json.loads(settings).items() if name != WEIGHTS})


def may_differ(row: Mapping[str, Any]) -> bool:
    """Tell whether arms may differ in this row of the table of settings: the constitution or its weights.

    Whether what differs can then be told apart is a question of all arms: see `difference_findings`.
    """
    return row["setting"] == WEIGHTS or (row["stage"], row["setting"]) == (EVERY_STAGE, CONSTITUTION)


def told_values(row: Mapping[str, Any]) -> str:
    """Say what a setting is in each arm; of a digest, its beginning.

    Args:
        row: Of the table of settings.
    """
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
                    f"differs between the arms ({told_values(row)}), so they differ in more than the constitution. "
                    "Materialize this stage in all arms with the same settings",
                )
            )
    return found


def _values_of(table: pl.DataFrame, arms: list[str], setting: str) -> dict[str, str | None]:
    """The values of a setting that stands in one row at most."""
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


MANNERS = ("refusing", "apologising", "lecturing")
HEADER = ("pair_id", "prompt", "manner", "plain", "annoying")
BOOTSTRAPS = 1000
HELD_OUT = ("accuracy", "accuracy_low", "accuracy_high")


def read_benign_pairs(path: Path, safe_prompts: Mapping[str, str], count: int | None, seed: int) -> pl.DataFrame:
    """Read pairs of a plain and an annoying response to benign prompts.

    Args:
        path: CSV with the columns `pair_id,prompt,manner,plain,annoying`. A row without a prompt holds
            responses that fit any harmless request; it is used with every safe prompt.
        safe_prompts: Safe prompts of the consultation's over-refusal sets, by id.
        count: How many of those are used, chosen by their ids; None takes all.
        seed: Of the choice.

    Returns:
        BENIGN_PAIRS, sorted by `pair_id`.

    Raises:
        ConsultationError: A file that cannot be read, another header, an empty or duplicate id, an unknown
            manner, an empty response. Names the line.
    """
    chosen = sorted(safe_prompts, key=lambda each: derived_seed(seed, "benign prompt", each))[:count]
    seen: dict[str, int] = {}
    rows: list[dict[str, str]] = []
    for line, row in csv_rows(path, HEADER):
        where = f"{path}, line {line}"
        name = row["pair_id"]
        if not name or name.split() != [name] or name in seen:
            told = f" already used on line {seen[name]}" if name in seen else " empty or not one word"
            raise ConsultationError(f"{where}: `pair_id` {name!r} is{told}. Give the pair an id of its own.")
        seen[name] = line
        if row["manner"] not in MANNERS:
            raise ConsultationError(
                f"{where}: unknown manner {row['manner']!r} of pair {name}; use one of {', '.join(MANNERS)}."
            )
        if not row["plain"].strip() or not row["annoying"].strip():
            raise ConsultationError(f"{where}: pair {name} lacks a response. Write both.")
        if row["prompt"].strip():
            rows.append(row)
        else:
            rows += [{**row, "pair_id": f"{name}:{each}", "prompt": safe_prompts[each]} for each in chosen]
    if not rows:
        raise ConsultationError(f"{path}: no pair with a prompt. Add at least one line.")
    return BENIGN_PAIRS.build(rows).sort("pair_id")


def measure_balance(
    preference_model: Path,
    benign: pl.DataFrame,
    held_out: Mapping[str, float],
    about: Mapping[str, Any],
    max_tokens: int,
    batch_size: int,
    seed: int,
) -> dict[str, Any]:
    """Measure annoyance of one preference model.

    Args:
        preference_model: Its folder.
        benign: BENIGN_PAIRS.
        held_out: Metrics of its training, with the held-out figures.
        about: `arm`, `harmlessness_weight`, `chosen`, `decision_ids`.
        max_tokens: Longest exchange, in tokens.
        batch_size: Comparisons a pass.
        seed: Of the intervals.

    Returns:
        A row of PREFERENCE_BALANCE.
    """
    ordered = benign.sort("pair_id")
    exchanges = [(row["prompt"], row[side]) for row in ordered.iter_rows(named=True) for side in ("plain", "annoying")]
    scored = exchange_scores(preference_model, exchanges, max_tokens, 2 * batch_size)
    margins = [plain - annoying for plain, annoying in zip(scored[::2], scored[1::2], strict=True)]
    figures = annoyance(ordered, margins, seed)
    accuracies = {
        f"{source}_{name}": held_out.get(f"held_out_{source}_{name}")
        for source in ("harmlessness", "helpfulness")
        for name in HELD_OUT
    }
    counts = {f"{source}_n": int(held_out.get(f"held_out_{source}_n", 0)) for source in ("harmlessness", "helpfulness")}
    return {**about, **figures, **accuracies, **counts}


def annoyance(benign: pl.DataFrame, margins: Sequence[float], seed: int) -> dict[str, Any]:
    """Summarise how often the annoying response is preferred.

    Args:
        benign: BENIGN_PAIRS.
        margins: Score of the plain response minus that of the annoying one, in the order of the rows; equal
            scores count one half.
        seed: Of the interval.

    Returns:
        `benign_n`; `annoyance` (share of pairs, 0 to 1) with its 95 % interval over prompts; the share of
        each manner, None where it has no pair; `greeting_margin`, the mean margin on the prompt `hey`,
        None if there is no such prompt.
    """
    preferred = (1 - np.sign(np.asarray(margins, dtype=float))) / 2
    low, high = mean_interval(
        preferred, benign["prompt"].to_numpy(), (0.0, 1.0), bootstraps=BOOTSTRAPS, seed=derived_seed(seed, "annoyance")
    )
    table = benign.with_columns(pl.Series("preferred", preferred), pl.Series("margin", margins, dtype=pl.Float64))
    greeting = table.filter(pl.col("prompt").str.strip_chars().str.to_lowercase() == "hey")["margin"]
    return {
        "benign_n": benign.height,
        "annoyance": float(preferred.mean()),
        "annoyance_low": low,
        "annoyance_high": high,
        **{manner: table.filter(pl.col("manner") == manner)["preferred"].mean() for manner in MANNERS},
        "greeting_margin": greeting.mean(),
    }


def balance_table(rows: Sequence[Mapping[str, Any]]) -> pl.DataFrame:
    """Return PREFERENCE_BALANCE, sorted by arm and weight."""
    return PREFERENCE_BALANCE.build([dict(row) for row in rows]).sort("arm", "harmlessness_weight")
