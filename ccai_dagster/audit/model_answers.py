"""Answers about preference pairs, models, scores and runs.

Belongs here: what a label, a model or a figure rests on, and what a Dagster or MLflow run made, as the manifest
says. Doesn't belong here: computing any of them, opening Dagster or MLflow.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import polars as pl

from ccai_dagster.audit.evidence import AssetVersion, Evidence, Explanation
from ccai_dagster.audit.manifest import Manifest, Materialization
from ccai_dagster.consultation.folder import BASE, CONTROL_ARMS
from ccai_dagster.contracts import ARM_STAGES, MODEL_STAGES
from ccai_dagster.core.digest import SHORT
from ccai_dagster.core.text import counted, listed, quoted
from ccai_dagster.feedback.judge_accuracy import scores_at_chance

COMPARED = (
    "compared_with",
    "difference",
    "difference_low",
    "difference_high",
    "p_value",
    "adjusted_p",
    "smallest_detectable",
)
"""What a row of scores says about one of the arms that a score is compared with."""


def taught_arms(evidence: Evidence) -> list[str]:
    """Return the arms that learn from labels: those of constitutions, then those of the positive control."""
    return [*evidence.arms, *(CONTROL_ARMS if evidence.consultation.file.control else ())]


def model_keys(evidence: Evidence) -> list[str]:
    """Return the keys of all models' records."""
    shared = [stage for stage in MODEL_STAGES if stage not in ARM_STAGES]
    return [*shared, *(f"{arm}/{stage}" for arm in taught_arms(evidence) for stage in ARM_STAGES)]


def model_names(evidence: Evidence) -> dict[str, str]:
    """Return the digest of every model by its names: the digest, the key of its record, and of a policy its arm."""
    names: dict[str, str] = {}
    for key in model_keys(evidence):
        table = evidence.table_if_made(key, ["model_digest"])
        for digest in () if table is None else table["model_digest"]:
            names |= dict.fromkeys((digest, key, key.removesuffix("/policy")), digest)
    return names


def answer_pair(pair_id: str, evidence: Evidence) -> Explanation:
    """Say how a pair was judged in each arm, and by whom."""
    story, facts, keys, prompt = [], {}, ["response_pairs"], ""
    for arm in taught_arms(evidence):
        key = f"{arm}/preference_pairs"
        if (table := evidence.table_if_made(key)) is None:
            continue
        for row in table.filter(pl.col("pair_id") == pair_id).to_dicts():
            story += _judged(arm, row, evidence)
            facts[arm], prompt = row, row["prompt"]
            keys += [f"{arm}/response_pairs", key, f"{arm}/preference_model"]
    people = evidence.table_if_made("helpfulness_pairs")
    if people is not None:
        for row in people.filter(pl.col("pair_id") == pair_id).to_dicts():
            story += [
                f"Response a: {quoted(row['response_a'])}",
                f"Response b: {quoted(row['response_b'])}",
                f"People compared them for helpfulness: {row['probability_a']:.0%} preferred response a "
                f"(from {row['source']}).",
            ]
            facts["helpfulness"], prompt = row, row["prompt"]
            keys += ["helpfulness_pairs", *(f"{arm}/preference_model" for arm in evidence.arms)]
    return Explanation(f"pair:{pair_id}", prompt, story, facts, seen=evidence.seen(keys), notes=evidence.notes(keys))


def _judged(arm: str, row: Mapping[str, Any], evidence: Evidence) -> list[str]:
    if arm in CONTROL_ARMS:
        from ccai_dagster.feedback.rules import CONTROL

        texts, judge = {CONTROL[arm].name: CONTROL[arm].principle}, ", a rule of known taste"
    else:
        principles = evidence.table(f"{arm}/constitution", ["principle_id", "text"])
        texts, judge = dict(principles.iter_rows()), f" of {str(row['feedback_model'])[:SHORT]}"
    label = {
        "identical": "The two responses are the same, so there was nothing to judge.",
        "unanswered": "The feedback model gave no usable answer.",
    }.get(row["status"])
    if label is None:
        side = "neither" if row["probability_a"] == 0.5 else "a" if row["probability_a"] > 0.5 else "b"
        orders = (
            f"It gave response a a probability of {_number(row['forward_probability'])} when a was shown first and of "
            f"{_number(row['reversed_probability'])} when it was shown second; the"
        )
        label = (
            f"{'The' if row['forward_probability'] is None else orders} label is "
            f"{_number(row['probability_a'])}, for {'neither response' if side == 'neither' else 'response ' + side}."
        )
    return [
        f"In the arm {arm} it was judged under {arm}/{row['principle_id']}, "
        f"{quoted(texts.get(row['principle_id'], 'a principle that no longer stands'))}, by the method "
        f"{row['method']}{judge}.",
        f"Response a: {quoted(row['response_a'])}",
        f"Response b: {quoted(row['response_b'])}",
        label,
    ]


def _number(value: float | None) -> str:
    return "unknown" if value is None else f"{value:.3f}"


def answer_model(name: str, evidence: Evidence) -> Explanation:
    """Say what a model was made from, and where it is used.

    Args:
        name: As in `model_names`.
    """
    digest = model_names(evidence)[name]
    story: list[str] = []
    keys, facts, decisions = [], {}, []
    tables = {key: table for key in model_keys(evidence) if (table := evidence.table_if_made(key)) is not None}
    for key, table in tables.items():
        for row in table.filter(pl.col("model_digest") == digest).to_dicts():
            keys.append(key)
            facts[key] = {**row, "metrics": json.loads(row["metrics"])}
            sentences, signed = _model(key, row, evidence)
            story += sentences
            decisions += signed
    children = [key for key, table in tables.items() if digest in table["parent_digest"].to_list()]
    if children:
        story.append(f"Trained from it: {listed(children)}.")
    return Explanation(
        f"model:{digest}",
        listed(keys),
        story,
        facts,
        decisions,
        evidence.seen([*keys, *children]),
        evidence.notes(keys),
    )


def _model(key: str, row: Mapping[str, Any], evidence: Evidence) -> tuple[list[str], list[Any]]:
    arm = f" of the arm {row['arm']}" if row["arm"] != BASE else ""
    story = [f"{key} is {MODEL_STAGES.get(row['stage'], row['stage'])}{arm}."]
    signed = []
    if row["parent_digest"]:
        story.append(f"It was trained from {row['parent_digest'][:SHORT]}.")
    if row["constitution_digest"]:
        story.append(f"It was trained on the constitution {row['constitution_digest'][:SHORT]}.")
    if row["arm"] in CONTROL_ARMS:
        story.append(
            "It belongs to the positive control: a rule labelled its pairs, and its one principle needs no sign-off."
        )
    elif row["constitution_digest"]:
        signed = [
            each
            for each in evidence.records.on("signoff", row["arm"])
            if each.inputs_digest == row["constitution_digest"]
        ]
        story += [f"That text was signed off ({each.cited}). {each.because}" for each in signed]
        if not signed:
            story.append("No sign-off that counts is for that text.")
    story.append(f"Everything else it was trained with has the digest {row['settings_digest'][:SHORT]}.")
    figures = [
        f"{name.replace('_', ' ')} {value:.4g}"
        for name, value in sorted(json.loads(row["metrics"]).items())
        if isinstance(value, int | float)
    ]
    if figures:
        story.append(f"Training figures: {'; '.join(figures)}.")
    made = evidence.manifest.materializations.get(key) if evidence.manifest else None
    if made is not None and made.inputs:
        parts = [f"{name} {version[:SHORT]}" for name, version in sorted(made.inputs.items())]
        story.append(f"It was made from {listed(parts)}.")
    return story, signed


def answer_score(name: str, evidence: Evidence) -> Explanation:
    """Say what a score is, how sure it is, and what it rests on.

    Args:
        name: `arm/benchmark/metric`, with `/category` if it is not `all`.
    """
    arm, benchmark, metric, category = score_parts(name)
    table = evidence.table("eval_scores")
    rows = table.filter(
        (pl.col("arm") == arm)
        & (pl.col("benchmark") == benchmark)
        & (pl.col("metric") == metric)
        & (pl.col("category") == category)
    ).to_dicts()
    row = rows[0]
    value = "no usable answer" if row["value"] is None else f"{row['value']:.3f}"
    story = [
        f"{metric} of {arm} on {benchmark}, category {category}: {value} "
        f"(95% interval {_number(row['low'])} to {_number(row['high'])}), over {counted(row['n'], 'item')}, "
        f"{row['n_unanswered']:,} of them without a readable answer."
    ]
    if row.get("n_cut"):
        story.append(f"Of its responses {row['n_cut']:,} were cut off at the limit of tokens.")
    story += [_comparison(each) for each in rows if each["difference"] is not None]
    if row["judge_at_chance"]:
        story.append(scores_at_chance([benchmark]))
    model = "base_model" if arm == BASE else f"{arm}/policy"
    source = {"elo": "elo_scores", "elo_by_people": "elo_scores", "adherence": f"{arm}/adherence"}.get(
        benchmark, f"{arm}/{benchmark}"
    )
    keys = ["eval_scores", source, model] + (["judge_calibration"] if benchmark in ("elo", "adherence") else [])
    record = evidence.table_if_made(model, ["model_digest"])
    facts = {
        **{name: row[name] for name in row if name not in COMPARED},
        "comparisons": [{name: each[name] for name in COMPARED} for each in rows if each["compared_with"]],
        "model_digest": record["model_digest"].item() if record is not None else None,
    }
    if facts["model_digest"]:
        story.append(f"The model is {facts['model_digest'][:SHORT]} ({model}).")
    return Explanation(
        f"score:{name}", f"{benchmark}: {metric}", story, facts, seen=evidence.seen(keys), notes=evidence.notes(keys)
    )


def _comparison(row: dict[str, Any]) -> str:
    text = (
        f"Paired with {row['compared_with']} the difference is {row['difference']:+.3f} (95% interval "
        f"{_number(row['difference_low'])} to {_number(row['difference_high'])}"
    )
    if row["p_value"] is not None:
        text += f"; p = {row['p_value']:.4f}, {row['adjusted_p']:.4f} corrected for the number of comparisons"
    if row["smallest_detectable"] is not None:
        text += f"; one of {row['smallest_detectable']:.3f} would have been found with a probability of 80%"
    return f"{text})."


def score_parts(name: str) -> tuple[str, str, str, str]:
    """Split `arm/benchmark/metric[/category]`."""
    arm, benchmark, metric, *category = name.split("/", 3)
    return arm, benchmark, metric, category[0] if category else "all"


def score_names(evidence: Evidence) -> list[str]:
    """Return the names of all scores; the category `all` is left out of a name."""
    table = evidence.table_if_made("eval_scores", ["arm", "benchmark", "metric", "category"])
    if table is None:
        return []
    names = ["/".join(row[:3] if row[3] == "all" else row) for row in table.iter_rows()]
    return list(dict.fromkeys(names))


def run_ids(manifest: Manifest) -> list[str]:
    """Return the ids of all Dagster and MLflow runs on record."""
    tracked = {each.mlflow_run for _, each, _ in _all(manifest) if each.mlflow_run}
    return sorted(set(manifest.runs) | tracked)


def _all(manifest: Manifest) -> list[tuple[str, Materialization, bool]]:
    current = [(asset, each, True) for asset, each in manifest.materializations.items()]
    return current + [(asset, each, False) for asset, found in manifest.earlier.items() for each in found]


def answer_run(run_id: str, evidence: Evidence) -> Explanation:
    """Say what a run made."""
    manifest = evidence.manifest
    assert manifest is not None  # noqa: S101 - runs are found in the manifest
    own = [
        (asset, each, is_current)
        for asset, each, is_current in _all(manifest)
        if run_id in (each.dagster_run, each.mlflow_run)
    ]
    run = manifest.runs.get(run_id)
    if run is not None:
        story = [
            f"A Dagster run that began at {run.started_at or 'an unknown time'}, ended at "
            f"{run.ended_at or 'an unknown time'}, status {run.status}."
        ]
    else:
        story = [f"An MLflow run of the Dagster run {listed(sorted({each.dagster_run for _, each, _ in own}))}."]
    observed = [asset for asset, each in manifest.sources.items() if each.dagster_run == run_id]
    if observed:
        story.append(f"The latest look at {listed(observed)} was in it.")
    current = [asset for asset, _, is_current in own if is_current]
    replaced = [asset for asset, _, is_current in own if not is_current]
    story.append(
        f"Of what it made, {counted(len(current), 'asset')} still stand" + ("s." if len(current) == 1 else ".")
    )
    story += [
        f"{asset} in the version {each.data_version[:SHORT]}{'' if is_current else ', since replaced'}"
        f"{f', MLflow run {each.mlflow_run}' if each.mlflow_run and run is not None else ''}."
        for asset, each, is_current in own
    ]
    inputs = {
        name: version
        for _, each, _ in own
        for name, version in each.inputs.items()
        if name.endswith("_ledger") or name in ("polis_export", "ratings")
    }
    if inputs:
        parts = [f"{name} {version[:SHORT]}" for name, version in sorted(inputs.items())]
        story.append(f"Decisions, votes and ratings that it used: {listed(parts)}.")
    return Explanation(
        f"run:{run_id}",
        "Dagster run" if run is not None else "MLflow run",
        story,
        {"standing": current, "replaced": replaced, "observed": observed, "inputs": inputs},
        seen=[
            AssetVersion(asset, each.data_version, each.made_at, each.dagster_run, each.mlflow_run)
            for asset, each, _ in own
        ],
    )
