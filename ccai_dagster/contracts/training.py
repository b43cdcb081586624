"""Models, what they are trained with besides AI labels, and what is said about them."""

from __future__ import annotations

from collections.abc import Iterable

import polars as pl

from ccai_dagster.contracts.schema import (
    ARM,
    COUNT,
    DECISION_IDS,
    LOWER_END,
    PROMPT,
    UPPER_END,
    Contract,
    Field,
    contract,
    count,
    one_of,
    probability,
)

ARM_STAGES = {
    "supervised_policy": "the model taught by its own revisions",
    "preference_model": "the model that learnt the preferences",
    "policy": "the model trained to please the preference model",
}
"""Stages that make a model of each arm, in the order of training, with what the model is."""
MODEL_STAGES = {
    "base_model": "the untrained language model",
    "feedback_model": "the language model that judges",
    **ARM_STAGES,
}
"""All stages that make a model; a stage has the name of its asset."""


def _either(names: Iterable[str]) -> str:
    *first, last = names
    return f"{', '.join(first)} or {last}"


MODEL = contract(
    "model",
    ("model_digest",),
    model_digest=Field(pl.String, "digest of the model's folder in the model store"),
    stage=Field(pl.String, _either(MODEL_STAGES)),
    arm=ARM,
    parent_digest=Field(pl.String, "digest of the model it was trained from", nullable=True),
    constitution_digest=Field(pl.String, "digest of the constitution it was trained on", nullable=True),
    settings_digest=Field(pl.String, "digest of everything else it was trained with"),
    settings=Field(pl.String, "everything else it was trained with, as JSON"),
    metrics=Field(pl.String, "training figures as JSON"),
)
MODEL_CARDS = contract(
    "model_cards",
    ("arm", "stage"),
    arm=ARM,
    stage=Field(pl.String, _either(ARM_STAGES)),
    model_digest=Field(pl.String, "digest of the model's folder in the model store"),
    constitution_digest=Field(pl.String, "digest of the constitution it was trained on"),
    judge_at_chance=Field(
        pl.Boolean,
        "whether the feedback model, asked as decided, was no better than chance; null if not measured",
        nullable=True,
    ),
    registered_name=Field(pl.String, "name of the model in MLflow's registry"),
    registered_version=count("its version there"),
    alias=Field(pl.String, "its alias there"),
    card=Field(pl.String, "Markdown"),
)
BENIGN_PAIRS = contract(
    "benign_pairs",
    ("pair_id",),
    pair_id=Field(pl.String, "id of the pair"),
    prompt=Field(pl.String, "what the user says; nobody needs to be protected from it"),
    manner=one_of("what makes one response annoying", "refusing", "apologising", "lecturing"),
    plain=Field(pl.String, "a plain and helpful response"),
    annoying=Field(pl.String, "a response that refuses, apologises or lectures"),
)
PREFERENCE_BALANCE = contract(
    "preference_balance",
    ("arm", "harmlessness_weight"),
    arm=ARM,
    harmlessness_weight=Field(pl.Float64, "loss weight of AI harmlessness labels", checks=COUNT),
    chosen=Field(pl.Boolean, "whether this weight is the one on record"),
    decision_ids=DECISION_IDS,
    benign_n=count("pairs of a plain and an annoying response"),
    annoyance=probability("share of pairs in which the annoying response scores higher"),
    annoyance_low=Field(pl.Float64, "lower end of its 95 % interval, over prompts"),
    annoyance_high=Field(pl.Float64, "upper end of its 95 % interval, over prompts"),
    refusing=Field(pl.Float64, "the same share where it refuses", nullable=True),
    apologising=Field(pl.Float64, "the same share where it apologises", nullable=True),
    lecturing=Field(pl.Float64, "the same share where it lectures", nullable=True),
    greeting_margin=Field(
        pl.Float64, "how much higher the plain response to `hey` scores than the annoying ones", nullable=True
    ),
    harmlessness_n=count("held-out AI labels with a decided side"),
    harmlessness_accuracy=Field(pl.Float64, "share of them the preference model agrees with", nullable=True),
    harmlessness_accuracy_low=LOWER_END,
    harmlessness_accuracy_high=UPPER_END,
    helpfulness_n=count("held-out human comparisons with a decided side"),
    helpfulness_accuracy=Field(pl.Float64, "share of them the preference model agrees with", nullable=True),
    helpfulness_accuracy_low=LOWER_END,
    helpfulness_accuracy_high=UPPER_END,
)
HELPFULNESS_PAIRS = contract(
    "helpfulness_pairs",
    ("pair_id",),
    pair_id=Field(pl.String, "id of the comparison"),
    prompt=PROMPT,
    response_a=Field(pl.String, "one response"),
    response_b=Field(pl.String, "another response"),
    probability_a=probability("share of people who preferred response a"),
    source=Field(pl.String, "where the comparison comes from"),
)


def training_settings(arms: Iterable[str]) -> Contract:
    """The contract of the table of settings: one column an arm, named `in_` and the arm."""
    return contract(
        "training_settings",
        ("stage", "setting"),
        stage=Field(pl.String, "what is trained with it, or `every stage`"),
        setting=Field(pl.String, "name of the setting"),
        intervals=(),
        **{f"in_{arm}": Field(pl.String, f"its value in the arm {arm}", nullable=True) for arm in arms},
        differs=Field(pl.Boolean, "whether the arms differ in it"),
    )
