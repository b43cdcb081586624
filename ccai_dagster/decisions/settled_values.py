"""Numeric decisions: the values that the threshold and training ledgers settle, parsed and range-checked.

These are ledger rows and not settings because a person must answer for them.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, cast, get_args

import polars as pl

from ccai_dagster.decisions.decision import is_decision
from ccai_dagster.decisions.doubles import standing
from ccai_dagster.decisions.ledger import current
from ccai_dagster.errors import ConsultationError

Procedure = Literal["default", "polis", "paper"]
Imputation = Literal["zero", "column_mean"]
Smoothing = Literal["none", "laplace", "jeffreys"]
Aggregation = Literal["product", "geometric_mean"]
SelectionRule = Literal["threshold", "ideas"]
FeedbackMethod = Literal["letters", "letters_few_shot", "reasoned_letters", "contrast", "tuned"]
PolicyMethod = Literal["rloo", "dpo"]


@dataclass(frozen=True)
class Thresholds:
    """What the threshold ledger settles.

    Attributes:
        minimum_votes: Participants with fewer votes are dropped; 0 or more.
        procedure: How opinion groups are computed.
        imputation: What stands for a vote not cast.
        number_of_groups: A fixed number from 2, or None where the data decide (`auto`).
        smoothing: Of the share of each group that agrees.
        aggregation: Over groups.
        selection_rule: By `gac_threshold`, or by `idea_budget`.
        gac_threshold: Statements with at least this group-aware consensus are selected; 0 to 1.
        idea_budget: Statements are taken until they express this many ideas; 1 or more.
        overlap_similarity: Two principles count as shared from this similarity on; 0 to 1.
        decision_ids: The row each value comes from, by name; not part of equality.
    """

    minimum_votes: int
    procedure: Procedure
    imputation: Imputation
    number_of_groups: int | None
    smoothing: Smoothing
    aggregation: Aggregation
    selection_rule: SelectionRule
    gac_threshold: float
    idea_budget: int
    overlap_similarity: float
    decision_ids: Mapping[str, str] = field(compare=False)


@dataclass(frozen=True)
class TrainingDecisions:
    """What the training ledger settles.

    Attributes:
        harmlessness_weight: Loss weight of AI harmlessness labels; human helpfulness comparisons weigh 1.
        feedback_method: How the feedback model is asked.
        policy_method: How the policy is trained: `rloo`, reinforcement learning against the preference model, or
            `dpo`, directly on the comparisons.
        prompt_minimum: Fewest prompts for training that should be relevant to each principle; 0 or more.
        decision_ids: The row each value comes from, by name; not part of equality.
    """

    harmlessness_weight: float
    feedback_method: FeedbackMethod
    policy_method: PolicyMethod
    prompt_minimum: int
    decision_ids: Mapping[str, str] = field(compare=False)


def _whole_number(lowest: int) -> Callable[[str], int]:
    def parse(text: str) -> int:
        if not (text.isascii() and text.isdigit()) or int(text) < lowest:
            raise ValueError(f"a whole number from {lowest}")
        return int(text)

    return parse


def _number(highest: float) -> Callable[[str], float]:
    expected = "a number from 0" + ("" if math.isinf(highest) else f" to {highest:g}")

    def parse(text: str) -> float:
        try:
            value = float(text)
        except ValueError:
            raise ValueError(expected) from None
        if not math.isfinite(value) or not 0 <= value <= highest:
            raise ValueError(expected)
        return value

    return parse


def _one_of(choices: Any) -> Callable[[str], str]:
    def parse(text: str) -> str:
        if text not in get_args(choices):
            raise ValueError(" or ".join(f"`{choice}`" for choice in get_args(choices)))
        return text

    return parse


def _groups(text: str) -> int | None:
    if text == "auto":
        return None
    try:
        return _whole_number(2)(text)
    except ValueError as error:
        raise ValueError(f"`auto` or {error}") from None


THRESHOLD_NAMES: Mapping[str, Callable[[str], Any]] = {
    "minimum_votes": _whole_number(0),
    "procedure": _one_of(Procedure),
    "imputation": _one_of(Imputation),
    "number_of_groups": _groups,
    "smoothing": _one_of(Smoothing),
    "aggregation": _one_of(Aggregation),
    "selection_rule": _one_of(SelectionRule),
    "gac_threshold": _number(1.0),
    "idea_budget": _whole_number(1),
    "overlap_similarity": _number(1.0),
}
TRAINING_NAMES: Mapping[str, Callable[[str], Any]] = {
    "harmlessness_weight": _number(math.inf),
    "feedback_method": _one_of(FeedbackMethod),
    "policy_method": _one_of(PolicyMethod),
    "prompt_minimum": _whole_number(0),
}
UNDECIDED: Mapping[str, Any] = {"prompt_minimum": 1}
"""Values that nobody need decide, and what holds while nobody has; they only decide what is warned of."""


def thresholds(ledger: pl.DataFrame) -> Thresholds:
    """Read the threshold ledger.

    Raises:
        ConsultationError: A name is missing, unknown or decided twice, or a value is out of range; names
            the row.
    """
    values, decision_ids = _values(ledger, "threshold", THRESHOLD_NAMES)
    return Thresholds(**values, decision_ids=decision_ids)


def training_decisions(ledger: pl.DataFrame) -> TrainingDecisions:
    """Read the training ledger; the errors are those of `thresholds`."""
    values, decision_ids = _values(ledger, "training", TRAINING_NAMES)
    return TrainingDecisions(**values, decision_ids=decision_ids)


def _values(
    ledger: pl.DataFrame, kind: str, names: Mapping[str, Callable[[str], Any]]
) -> tuple[dict[str, Any], dict[str, str]]:
    values: dict[str, Any] = {}
    decision_ids: dict[str, str] = {}
    rows = [row for row in current(ledger).iter_rows(named=True) if is_decision(row["outcome"])]
    for (name,), row in standing(rows):
        decision_id = cast(str, row["decision_id"])
        where = f"{kind} ledger, decision {decision_id}"
        if name not in names:
            raise ConsultationError(f"{where}: {name!r} is unknown; there are {', '.join(names)}.")
        try:
            values[name] = names[name](row["outcome"])
        except ValueError as error:
            raise ConsultationError(
                f"{where}: {name} is {row['outcome']!r}, but must be {error}; supersede the row."
            ) from None
        decision_ids[name] = decision_id
    values = {name: value for name, value in UNDECIDED.items() if name in names} | values
    if missing := [name for name in names if name not in values]:
        raise ConsultationError(f"{kind} ledger: {', '.join(missing)} not decided; add a row for each.")
    return values, decision_ids
