"""The chapters of the report about other constitutions, models, scores and responses.

Belongs here: picking, counting and formatting what these chapters show. Doesn't belong here: HTML, the public's
chapters, the feedback model (`judge`).
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import polars as pl

from ccai_dagster.audit.records import Record, Records
from ccai_dagster.constitution.comparison import MEASURES
from ccai_dagster.consultation.folder import BASE
from ccai_dagster.contracts import ARM_STAGES, MODEL_STAGES
from ccai_dagster.core.language import gettext, ngettext
from ccai_dagster.core.language import number as number_told
from ccai_dagster.core.text import listed, number
from ccai_dagster.feedback.judge_accuracy import GUESSING
from ccai_dagster.pages.inputs import ReportInputs
from ccai_dagster.pages.parts import Entry
from ccai_dagster.pages.pictures.scores import arms_of
from ccai_dagster.pages.report_decisions import robustness_by_principle
from ccai_dagster.training.model_card import system_turn
from ccai_dagster.training.settings_of_arms import (
    POLICY_METHOD,
    REVISION_MODEL,
    difference_findings,
    may_differ,
    settings_table,
    shown_values,
)

VALUE_KINDS = ("threshold", "training", "signoff", "exclusion")
ORIGINS = {"written": "", "tagged": "held out", "drafted": "drafted"}
"""How the report marks prompts that nobody wrote to be read."""


@dataclass(frozen=True)
class OtherPrinciple:
    """A principle of another constitution than the derived one.

    Attributes:
        near: Its row of CONSTITUTION_OVERLAP with the derived constitution; None if it was not compared.
        robustness: How often it is in when numeric decisions vary, in a sentence.
    """

    principle_id: str
    text: str
    statement_ids: list[int]
    near: Mapping[str, Any] | None
    robustness: str
    entry: Entry


@dataclass(frozen=True)
class OtherConstitution:
    """A constitution that models were trained on as well as on the derived one."""

    arm: str
    description: str
    is_baseline: bool
    shared: str
    figures: list[dict[str, Any]]
    rows: list[OtherPrinciple]


def other_constitutions(inputs: ReportInputs) -> list[OtherConstitution]:
    """Describe every constitution but the derived one, each principle with its nearest in the derived one."""
    derived = inputs.constitutions[inputs.derived_arm]
    keys = derived["principle_id"].to_list()
    overlap = {
        (row["arm"], row["other_arm"], row["principle_id"]): row for row in inputs.constitution_overlap.to_dicts()
    }
    others = []
    for arm in sorted(set(inputs.constitutions) - {inputs.derived_arm}, key=lambda arm: (arm != inputs.baseline, arm)):
        robustness = robustness_by_principle(inputs.principle_robustness, arm)
        rows = [
            OtherPrinciple(
                key,
                text,
                ids,
                overlap.get((arm, inputs.derived_arm, key)),
                robustness.get(key, ""),
                Entry("principle", arm),
            )
            for key, text, ids in inputs.constitutions[arm].select("principle_id", "text", "statement_ids").iter_rows()
        ]
        back = [overlap.get((inputs.derived_arm, arm, key)) for key in keys]
        n_back = sum(1 for near in back if near and near["shared"])
        n_shared = sum(1 for row in rows if row.near and row.near["shared"])
        others.append(
            OtherConstitution(
                arm,
                inputs.arms.get(arm, ""),
                arm == inputs.baseline,
                _shared(n_shared, len(rows), n_back, len(keys), inputs.derived_arm) if keys else "",
                _comparison(inputs, arm),
                rows,
            )
        )
    return others


def _shared(there: int, principles: int, here: int, own: int, derived: str) -> str:
    """How many principles of each constitution have a counterpart in the other."""
    others = ngettext(
        "%(shared)s of its %(count)s principle have a counterpart in %(arm)s,",
        "%(shared)s of its %(count)s principles have a counterpart in %(arm)s,",
        principles,
        shared=number_told(there),
        arm=derived,
    )
    back = ngettext(
        "and %(shared)s of the %(count)s principle of %(arm)s have one here.",
        "and %(shared)s of the %(count)s principles of %(arm)s have one here.",
        own,
        shared=number_told(here),
        arm=derived,
    )
    return f"{others} {back}"


def _comparison(inputs: ReportInputs, arm: str) -> list[dict[str, Any]]:
    """One row a measure that is defined for the derived constitution or the other one, with both figures."""
    table, derived = inputs.constitution_comparison, inputs.derived_arm
    own = {row["measure"]: row for row in table.filter(arm=derived, other_arm=arm).to_dicts()}
    back = {row["measure"]: row for row in table.filter(arm=arm, other_arm=derived).to_dicts()}
    return [
        {
            "measure": gettext(measure) if measure in MEASURES else measure,
            "cells": [_with_interval(row), _with_interval(back.get(measure))],
            "difference": "" if row["difference"] is None else _difference({**row, "compared_with": arm}),
            "published": (row["published"], back.get(measure, {}).get("published")),
        }
        for measure, row in own.items()
        if row["value"] is not None
    ]


def _with_interval(row: Mapping[str, Any] | None) -> str:
    if row is None or row["value"] is None:
        return "–"
    value, low, high = (number_told(row[each], 2) for each in ("value", "low", "high"))
    of = ngettext("%(count)s principle", "%(count)s principles", row["n"])
    return gettext("%(value)s (%(low)s to %(high)s; %(of)s)", value=value, low=low, high=high, of=of)


def _difference(row: Mapping[str, Any]) -> str:
    if row["difference"] is None:
        return ""
    known = [row[each] for each in ("difference", "difference_low", "difference_high") if row[each] is not None]
    decimals = 0 if max(map(abs, known)) >= 10 else 2

    def told(value: float) -> str:
        below = round(value, decimals) < 0
        return f"{'−' if below else '+'}{number_told(abs(value), decimals)}"

    if len(known) < 3:
        return gettext("%(difference)s against %(other)s", difference=told(known[0]), other=row["compared_with"])
    difference, low, high = map(told, known)
    return gettext(
        "%(difference)s (%(low)s to %(high)s) against %(other)s",
        difference=difference,
        low=low,
        high=high,
        other=row["compared_with"],
    )


def general_decisions(records: Records) -> list[tuple[str, list[Record]]]:
    """List the decisions that apply to everything: numbers, people, training, policies, sign-offs."""
    policies = [row for row in records.by_id.values() if row.counts and row.is_policy]
    plain = [(kind, [row for row in records.of_kind(kind) if not row.is_policy]) for kind in VALUE_KINDS]
    return [
        (gettext("Numbers"), plain[0][1]),
        (gettext("Training"), plain[1][1]),
        (gettext("Whose votes count"), plain[3][1]),
        (gettext("Choices that apply to no single row"), policies),
        (gettext("Sign-off"), plain[2][1]),
    ]


def model_rows(models: pl.DataFrame) -> list[dict[str, Any]]:
    """One row a MODEL, in the order they were made, with its training figures readable."""
    order = list(MODEL_STAGES)
    rows = sorted(models.to_dicts(), key=lambda row: (order.index(row["stage"]), row["arm"] != BASE, row["arm"]))
    return [{**row, "figures": _figures(row["metrics"])} for row in rows]


def how_made(models: pl.DataFrame) -> list[tuple[str, str]]:
    """Tell how the models of the arms are made, step by step: a sentence, and what it leads to, if that has a name.

    Args:
        models: MODEL; by their settings who revised, and how the policies were trained.
    """
    told: dict[str, list[dict[str, Any]]] = {stage: [] for stage in ARM_STAGES}
    for stage, settings in models.select("stage", "settings").iter_rows():
        told.get(stage, []).append(json.loads(settings))
    revised = "A language model answered prompts, criticised its own answers under a principle and rewrote them; "
    other = any(REVISION_MODEL in each for each in told["supervised_policy"])
    direct = any(each.get(POLICY_METHOD) == "dpo" for each in told["policy"])
    return [
        (f"{revised}{'another one' if other else 'it'} was then trained on the rewritten answers", "supervised policy"),
        (
            "That model gave two answers to each of many prompts. The feedback model judged which one fits a principle "
            "better; how surely is the label.",
            "",
        ),
        ("A model learned from these labels and from people’s comparisons of helpfulness", "preference model"),
        (
            "The supervised policy was trained on the same labels and comparisons, directly and not by the preference "
            "model, which only measures what came of it, without straying far from where it began"
            if direct
            else "The supervised policy was trained to give answers that the preference model values, without straying "
            "far from where it began",
            "policy",
        ),
    ]


def before_every_conversation(models: pl.DataFrame) -> str:
    """Return what the untrained model's chat template says before every conversation; empty if nothing is known."""
    rows = models.filter(pl.col("stage") == "base_model").to_dicts()
    return system_turn(rows[0]) if rows else ""


def _figures(metrics: str) -> list[str]:
    content = json.loads(metrics)
    chance = content.pop("judge_at_chance", None)
    marked = [f"✱ labelled by {GUESSING}"] if chance else []
    return marked + [
        f"{name.replace('_', ' ')} {number(value)}"
        for name, value in sorted(content.items())
        if isinstance(value, int | float) and not isinstance(value, bool)
    ]


def one_difference(inputs: ReportInputs) -> tuple[list[dict[str, Any]], list[str]]:
    """Compare the arms stage by stage, and say what stands against comparing them."""
    records = {
        stage: {str(arm): table for (arm,), table in own.sort("arm").partition_by("arm", as_dict=True).items()}
        for stage in ARM_STAGES
        if (own := inputs.models.filter(pl.col("stage") == stage)).height > 1
    }
    if not records:
        return [], []
    settings = settings_table(records)
    rows = []
    for stage, by_arm in records.items():
        differing = settings.filter(pl.col("differs"), stage=stage).to_dicts()
        own = pl.concat(by_arm.values())
        rows.append(
            {
                "stage": stage.replace("_", " "),
                "arms": listed(list(by_arm)),
                "comparable": all(may_differ(row) for row in differing),
                "differing": "; ".join(f"{row['setting']} ({shown_values(row)})" for row in differing),
                "constitutions": own["constitution_digest"].n_unique(),
                "settings_digest": own["settings_digest"][0],
            }
        )
    return rows, [f"{each.subject.replace('_', ' ')}: {each.message}." for each in difference_findings(settings)]


@dataclass(frozen=True)
class ScoreCell:
    """One model's score, as printed; `difference` names whom it is compared with."""

    value: str
    interval: str
    n: int
    n_unanswered: int
    difference: str


@dataclass
class ScoreRow:
    """One measure with the scores of all models that have one, by arm."""

    measure: str
    judged: bool = False
    cells: dict[str, ScoreCell] = field(default_factory=dict)


def score_rows(eval_scores: pl.DataFrame) -> tuple[list[str], list[ScoreRow]]:
    """Overall EVAL_SCORES: the arms as columns, and one row a measure with value, interval and difference."""
    whole = eval_scores.filter(pl.col("category") == "all")
    measures: dict[tuple[str, str], ScoreRow] = {}
    for row in whole.sort("benchmark", "metric", "arm").to_dicts():
        own = measures.setdefault(
            (row["benchmark"], row["metric"]), ScoreRow(f"{row['benchmark']}: {row['metric']}".replace("_", " "))
        )
        own.judged |= row["judge_at_chance"]
        largest = max(abs(row["low"]), abs(row["high"]))
        earlier = own.cells.get(row["arm"])
        own.cells[row["arm"]] = ScoreCell(
            value=number(row["value"], largest),
            interval=f"{number(row['low'], largest)} to {number(row['high'], largest)}",
            n=row["n"],
            n_unanswered=row["n_unanswered"],
            difference="; ".join(filter(None, [earlier.difference if earlier else "", _difference(row)])),
        )
    return arms_of(whole), list(measures.values())


def response_rows(inputs: ReportInputs) -> list[dict[str, Any]]:
    """One row a prompt with the responses of all arms side by side."""
    origins = dict(inputs.qualitative_prompts.select("prompt_id", "origin").iter_rows())
    prompts: dict[str, dict[str, Any]] = {}
    rows = inputs.qualitative_responses.sort("prompt_id", "arm").to_dicts()
    for row in sorted(rows, key=lambda row: row["arm"] != BASE):
        new = {"prompt": row["prompt"], "origin": ORIGINS[origins[row["prompt_id"]]], "responses": []}
        own = prompts.setdefault(row["prompt_id"], new)
        own["responses"].append(row)
    return [prompts[key] for key in sorted(prompts)]
