"""How far the feedback model can be trusted: its answers on comparisons people have labelled, and what follows.

Everything that rests on the judge quotes these figures; nothing is assumed about a model. Intervals resample prompts:
comparisons of one prompt are no independent observations, and a set may have several of each. Here is also
whether the recorded way of asking still agrees with what was measured. Which way is used is a person's decision, and a
measurement may be noise, so findings are warnings. What they say of a judge is in `judge_accuracy`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import polars as pl

from ccai_dagster.consultation.settings import ReasoningSettings
from ccai_dagster.contracts import JUDGE_ANSWERS, JUDGE_CALIBRATION, JUDGE_CALIBRATION_CURVE
from ccai_dagster.core.draws import derived_seed
from ccai_dagster.core.errors import ConsultationError, Progress, silent
from ccai_dagster.decisions.checks import Finding
from ccai_dagster.decisions.ledger import current
from ccai_dagster.decisions.values import FeedbackMethod, TrainingDecisions, training_decisions
from ccai_dagster.feedback.judge import REASONING, Judge, Question, judge_comparisons
from ccai_dagster.feedback.judge_accuracy import figures_digest, label_distance, scoring_method, share_of_ties, verdict
from ccai_dagster.feedback.principle_blind import blind_answers
from ccai_dagster.feedback.prompts import PRINCIPLE
from ccai_dagster.statistics.intervals import mean_interval, wilson_interval

HELPFULNESS_PRINCIPLE = "The response should help the user with what was asked, correctly and clearly."
"""What a comparison is judged under if its file names no principle."""
BOOTSTRAPS = 2000
BIN_EDGES = (0.5, 0.6, 0.7, 0.8, 0.9, 1.0)
"""Bins of confidence: the probability a judge gives to the response it prefers is never below one half."""
SUBJECT, BELOW_CHANCE = "feedback_method", "labels_below_chance"


def judge_answers(
    judges: Mapping[FeedbackMethod, Judge],
    comparisons: Mapping[str, pl.DataFrame],
    progress: Progress = silent,
    reasoning: ReasoningSettings = REASONING,
) -> pl.DataFrame:
    """Let every method judge the same labelled comparisons.

    Comparisons whose label is one half have no right answer and are left out.

    Args:
        judges: Who is asked, by the way of asking.
        comparisons: HELPFULNESS_PAIRS by name, with a column `principle` where they have one.
        progress: Counts comparisons that are judged, over all methods and sets.
        reasoning: See `judge_comparisons`.

    Returns:
        JUDGE_ANSWERS, sorted by its key.

    Raises:
        ConsultationError: A set without a single decided comparison, or a question beyond the context.
    """
    decided = {
        name: with_principle(table).filter(pl.col("probability_a") != 0.5).sort("pair_id")
        for name, table in comparisons.items()
    }
    for name, table in decided.items():
        if table.is_empty():
            raise ConsultationError(
                f"Comparisons {name!r}: every label is one half, so no answer is right. Add decided comparisons."
            )
    total = len(judges) * sum(table.height for table in decided.values())
    rows: list[dict[str, Any]] = []
    for method, judge in judges.items():
        for name, table in sorted(decided.items()):
            finished = len(rows)
            asked = list(table.iter_rows(named=True))
            judgements = judge_comparisons(
                judge,
                [Question(row["prompt"], row["response_a"], row["response_b"], row[PRINCIPLE]) for row in asked],
                method,
                lambda message, done, _, before=finished: progress(message, before + done, total),
                reasoning,
            )
            rows += [
                {
                    "method": method,
                    "comparison_set": name,
                    "pair_id": row["pair_id"],
                    "prompt": row["prompt"],
                    "principle": row[PRINCIPLE],
                    "characters_a": len(row["response_a"]),
                    "characters_b": len(row["response_b"]),
                    "label": row["probability_a"],
                    "forward_probability": judgement.forward,
                    "reversed_probability": judgement.reversed,
                    "probability_a": judgement.probability,
                    "feedback_model": judge.name,
                }
                for row, judgement in zip(asked, judgements, strict=True)
            ]
    return JUDGE_ANSWERS.build(rows).sort(JUDGE_ANSWERS.key)


def with_principle(comparisons: pl.DataFrame) -> pl.DataFrame:
    """Return labelled comparisons with a column `principle`, the general one where the file names none."""
    if PRINCIPLE in comparisons.columns:
        return comparisons
    return comparisons.with_columns(pl.lit(HELPFULNESS_PRINCIPLE).alias(PRINCIPLE))


def calibration_table(
    answers: pl.DataFrame, comparisons: Mapping[str, pl.DataFrame], recorded: FeedbackMethod, seed: int
) -> pl.DataFrame:
    """Summarise answers by method and set.

    - `accuracy`: a tie of the judge and a comparison it does not answer count one half: both say nothing
      about the responses.
    - `position_bias` and `flip_rate` are over the comparisons answered in both orders; a method that shows no
      order has none by construction (0.5 and 1).
    - `length_bias`: how much oftener the judge preferred the longer response (in characters) than people did,
      over the comparisons whose responses differ in length; ties and silence count one half.
    - `calibration_error`: see `calibration_error`.
    - `blind_accuracy`: the best of the scorers of `principle_blind` on the same comparisons. That the best is taken
      favours it a little, and the judge has to be better all the same.

    Args:
        answers: JUDGE_ANSWERS.
        comparisons: HELPFULNESS_PAIRS by name: the whole sets that these are answers on, or are drawn from.
        recorded: The feedback method on record.
        seed: Of the resampling; the order of rows does not matter.

    Returns:
        JUDGE_CALIBRATION, sorted by its key.
    """
    blind = {name: _blind(comparisons[name]) for name in answers["comparison_set"].unique()}
    scoring = scoring_method(recorded, answers["method"].unique())
    rows: list[dict[str, Any]] = []
    for (method, name), own in answers.sort("pair_id").group_by(["method", "comparison_set"], maintain_order=True):
        seeds = {
            part: derived_seed(seed, part, str(method), str(name))
            for part in ("right", "order", "length", "bins", "blind", "over blind")
        }
        accuracy = _accuracy(own, seeds["right"])
        beside = _beside_blind(own, blind[str(name)], seeds)
        rows.append(
            {
                "method": method,
                "comparison_set": name,
                "feedback_model": own["feedback_model"][0],
                **accuracy,
                **_order(own, seeds["order"]),
                **_length(own, seeds["length"]),
                **_calibration(own, seeds["bins"]),
                **beside,
                "at_chance": verdict(accuracy | beside) != "above",
                "label_distance": label_distance(own),
                "ties": share_of_ties(own),
                "scores_models": method == scoring,
            }
        )
    return JUDGE_CALIBRATION.build(rows).sort(JUDGE_CALIBRATION.key)


def calibration_curve(answers: pl.DataFrame) -> pl.DataFrame:
    """Return from JUDGE_ANSWERS how confident a judge was and how often people agreed, by bin of confidence.

    Returns:
        JUDGE_CALIBRATION_CURVE, sorted by its key; bins without an answer are left out.
    """
    rows: list[dict[str, Any]] = []
    for (method, name), own in answers.filter(pl.col("probability_a").is_not_null()).group_by(
        ["method", "comparison_set"]
    ):
        confidence, agreement, bins = _binned(own)
        for each in np.unique(bins):
            inside = bins == each
            low, high = wilson_interval(float(agreement[inside].sum()), int(inside.sum()))
            rows.append(
                {
                    "method": method,
                    "comparison_set": name,
                    "low": BIN_EDGES[each],
                    "high": BIN_EDGES[each + 1],
                    "n": int(inside.sum()),
                    "confidence": float(np.sort(confidence[inside]).mean()),
                    "agreement": float(np.sort(agreement[inside]).mean()),
                    "agreement_low": low,
                    "agreement_high": high,
                }
            )
    return JUDGE_CALIBRATION_CURVE.build(rows).sort(JUDGE_CALIBRATION_CURVE.key)


def calibration_error(gaps: np.ndarray, bins: np.ndarray) -> float:
    """Return the expected calibration error (Guo et al. 2017, equation 5).

    Noise within a bin counts as error, so a small sample makes it too large, never too small.

    Args:
        gaps: Confidence minus agreement of each answer, shape (n,), n at least 1.
        bins: Bin of each answer, shape (n,).
    """
    return float(np.abs(np.bincount(bins, weights=gaps)).sum() / len(gaps))


def confidence_bins(confidence: np.ndarray) -> np.ndarray:
    """Return for each confidence, 0.5 to 1, the bin between two of `BIN_EDGES` that it falls into, 0 to 4."""
    return np.clip(np.searchsorted(BIN_EDGES, confidence, side="right") - 1, 0, len(BIN_EDGES) - 2)


def check_feedback_choice(ledger: pl.DataFrame, calibration: pl.DataFrame) -> list[Finding]:
    """Compare the feedback method in the training ledger with the figures of all methods that were measured.

    Returns:
        Warnings: the method was not measured; it was decided on other figures (its `inputs_digest` is not
        that of the calibration); on some set another method's whole interval lies above its accuracy; on some set it
        is worse than chance, and somebody has decided since to make labels all the same. An error: nobody has.
    """
    settled = training_decisions(ledger)
    method, decision_id = settled.feedback_method, settled.decision_ids[SUBJECT]
    cited = current(ledger).filter(pl.col("decision_id") == decision_id)["inputs_digest"].item()
    digest = figures_digest(calibration)
    messages = []
    own = {row["comparison_set"]: row for row in _rows(calibration, method)}
    if not own:
        messages.append(
            f"{method} was not measured, so nothing is known about its labels; add labelled comparisons, and the "
            "method to feedback.calibration_methods in consultation.yaml"
        )
    if cited is not None and cited != digest:
        messages.append(
            "decided on other figures than judge_calibration shows now; look at them and decide again, with "
            f"digest {digest}"
        )
    messages += [
        f"on {row['comparison_set']} {row['method']} agreed with people on {_share(row)}, {method} on "
        f"{_share(own[row['comparison_set']])}; supersede the row, or say in a new one why not"
        for row in _rows(calibration, None)
        if row["comparison_set"] in own
        and row["method"] != method
        and row["accuracy_low"] > own[row["comparison_set"]]["accuracy"]
    ]
    found = [Finding("warning", "training", decision_id, SUBJECT, message) for message in messages]
    below = ", ".join(f"{name} {_share(row)}" for name, row in sorted(own.items()) if verdict(row) == "below")
    return found + (_below_chance(ledger, settled, below, digest) if below else [])


def _below_chance(ledger: pl.DataFrame, settled: TrainingDecisions, figures: str, digest: str) -> list[Finding]:
    """Stop, or say whose row answers for it; a row answers for the method and the figures that it was decided on."""
    method, decided = settled.feedback_method, settled.decision_ids[SUBJECT]
    worse = f"asked by {method}, the feedback model is worse than chance ({figures}), so its labels"
    if settled.labels_below_chance == "stop":
        message = (
            f"{worse} would teach the opposite; decide feedback_method anew, or labels_below_chance as `accept` with "
            "the reason"
        )
        return [Finding("error", "training", decided, SUBJECT, message)]
    accepted = settled.decision_ids[BELOW_CHANCE]
    order = ledger["decision_id"].to_list()
    cited = ledger.row(by_predicate=pl.col("decision_id") == accepted, named=True)["inputs_digest"]
    if order.index(accepted) < order.index(decided):
        why = f"stands before {decided}, which chose {method}: it was decided on another"
    elif cited is not None and cited != digest:
        why = f"was decided on other figures; judge_calibration now has the digest {digest}"
    else:
        return [Finding("warning", "training", accepted, BELOW_CHANCE, f"{worse} teach the opposite, as accepted")]
    message = f"{worse} would teach the opposite, and {accepted}, which accepts that, {why}. Supersede it"
    return [Finding("error", "training", accepted, BELOW_CHANCE, message)]


def _accuracy(own: pl.DataFrame, seed: int) -> dict[str, Any]:
    right = _right(own)
    low, high = _interval(right, own, seed)
    return {
        "n": len(right),
        "n_unanswered": own["probability_a"].null_count(),
        "accuracy": float(right.mean()),
        "accuracy_low": low,
        "accuracy_high": high,
    }


def _blind(comparisons: pl.DataFrame) -> pl.DataFrame:
    """`pair_id`, and a column for each scorer that never sees the principle: whether it is right."""
    decided = comparisons.filter(pl.col("probability_a") != 0.5).sort("pair_id")
    return decided.select("pair_id").with_columns(pl.Series(*each) for each in blind_answers(decided).items())


def _beside_blind(own: pl.DataFrame, blind: pl.DataFrame, seeds: Mapping[str, int]) -> dict[str, Any]:
    """The best of the blind scorers on the comparisons that a judge answered, and how much more often it is right."""
    same = own.select("pair_id").join(blind, on="pair_id", how="left", maintain_order="left").drop("pair_id")
    best = max(same.columns, key=lambda name: same[name].sum())
    answered = same[best].to_numpy()
    low, high = _interval(answered, own, seeds["blind"])
    over = _right(own) - answered
    over_low, over_high = _interval(over, own, seeds["over blind"], smallest=-1.0)
    return {
        "blind_scorer": best,
        "blind_accuracy": float(answered.mean()),
        "blind_accuracy_low": low,
        "blind_accuracy_high": high,
        "over_blind": float(over.mean()),
        "over_blind_low": over_low,
        "over_blind_high": over_high,
    }


def _order(own: pl.DataFrame, seed: int) -> dict[str, float]:
    both = own.drop_nulls(["forward_probability", "reversed_probability"])
    if both.is_empty():
        # Without an order there is none to be biased by; without an answer nothing follows the content.
        follows = float(own["probability_a"].null_count() < own.height)
        return {f"position_bias{end}": 0.5 for end in ("", "_low", "_high")} | {
            f"flip_rate{end}": follows for end in ("", "_low", "_high")
        }
    first, second = (both[name].to_numpy() for name in ("forward_probability", "reversed_probability"))
    shown_first = (first + 1 - second) / 2
    flips = ((first > 0.5) == (second > 0.5)).astype(float)
    low, high = _interval(shown_first, both, seed)
    flip_low, flip_high = _interval(flips, both, seed)
    return {
        "position_bias": float(shown_first.mean()),
        "position_bias_low": low,
        "position_bias_high": high,
        "flip_rate": float(flips.mean()),
        "flip_rate_low": flip_low,
        "flip_rate_high": flip_high,
    }


def _length(own: pl.DataFrame, seed: int) -> dict[str, float | None]:
    differing = own.filter(pl.col("characters_a") != pl.col("characters_b"))
    if differing.is_empty():
        return dict.fromkeys(("longer_labelled", "length_bias", "length_bias_low", "length_bias_high"))
    a_longer = (differing["characters_a"] > differing["characters_b"]).to_numpy()
    people = (differing["label"] > 0.5).to_numpy() == a_longer
    judged = _says_a(differing)
    excess = np.where(a_longer, judged, 1 - judged) - people
    low, high = _interval(excess, differing, seed, smallest=-1.0)
    return {
        "longer_labelled": float(people.mean()),
        "length_bias": float(excess.mean()),
        "length_bias_low": low,
        "length_bias_high": high,
    }


def _calibration(own: pl.DataFrame, seed: int) -> dict[str, float | None]:
    answered = own.filter(pl.col("probability_a").is_not_null())
    if answered.is_empty():
        return dict.fromkeys(("calibration_error", "calibration_error_low", "calibration_error_high"))
    confidence, agreement, bins = _binned(answered)
    gaps = confidence - agreement
    names, cluster = np.unique(answered["prompt"].to_numpy(), return_inverse=True)
    by_bin = np.zeros((len(names), len(BIN_EDGES) - 1))
    np.add.at(by_bin, (cluster, bins), gaps)
    draws = np.random.default_rng(seed).multinomial(len(names), np.full(len(names), 1 / len(names)), size=BOOTSTRAPS)
    errors = np.abs(draws @ by_bin).sum(axis=1) / (draws @ np.bincount(cluster))
    return {
        "calibration_error": calibration_error(gaps, bins),
        "calibration_error_low": float(np.quantile(errors, 0.025)),
        "calibration_error_high": float(np.quantile(errors, 0.975)),
    }


def _interval(values: np.ndarray, own: pl.DataFrame, seed: int, smallest: float = 0.0) -> tuple[float, float]:
    prompts = own["prompt"].to_numpy()
    return mean_interval(values, prompts, (smallest, 1.0), bootstraps=BOOTSTRAPS, seed=seed)


def _right(own: pl.DataFrame) -> np.ndarray:
    """1 where the judge agrees with people, 0 where not, one half for a tie or no answer."""
    says_a = _says_a(own)
    return np.where(own["label"].to_numpy() > 0.5, says_a, 1 - says_a)


def _says_a(own: pl.DataFrame) -> np.ndarray:
    """1 where the judge prefers response a, 0 where response b, one half for a tie or no answer."""
    probability = own["probability_a"].fill_null(0.5).to_numpy()
    return (np.sign(probability - 0.5) + 1) / 2


def _binned(answered: pl.DataFrame) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Confidence in the response preferred, share of people who preferred it, and bin, one an answer."""
    probability, label = answered["probability_a"].to_numpy(), answered["label"].to_numpy()
    confidence = np.maximum(probability, 1 - probability)
    agreement = np.where(probability > 0.5, label, np.where(probability < 0.5, 1 - label, 0.5))
    return confidence, agreement, confidence_bins(confidence)


def _rows(calibration: pl.DataFrame, method: str | None) -> list[dict[str, Any]]:
    own = calibration if method is None else calibration.filter(pl.col("method") == method)
    return own.sort("comparison_set", "method").to_dicts()


def _share(row: dict[str, Any]) -> str:
    return f"{row['accuracy']:.2f} [{row['accuracy_low']:.2f}, {row['accuracy_high']:.2f}] of {row['n']}"
