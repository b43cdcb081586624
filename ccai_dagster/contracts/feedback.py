"""Constitutional AI's data: prompts, revisions, labelled pairs, the feedback model's calibration, and models."""

from __future__ import annotations

from collections.abc import Iterable

import polars as pl

from ccai_dagster.contracts.schema import (
    ARM,
    COUNT,
    DECISION_IDS,
    FINISHED,
    IDS,
    JUDGE_AT_CHANCE,
    LOWER_END,
    PROMPT,
    PROMPT_ID,
    UPPER_END,
    Check,
    Contract,
    Field,
    contract,
    count,
    one_of,
    probability,
)

ARM_STAGES = {
    "supervised_policy": "the model taught by revised responses",
    "preference_model": "the model that learnt the preferences",
    "policy": "the model trained on the preferences",
}
"""Stages that make a model of each arm, in the order of training, with what the model is."""
MODEL_STAGES = {
    "base_model": "the untrained language model",
    "revision_model": "the language model that revises its own responses",
    "feedback_model": "the language model that judges",
    **ARM_STAGES,
}
"""All stages that make a model; a stage has the name of its asset."""

PROMPTS = contract(
    "prompts",
    ("prompt_id",),
    prompt_id=PROMPT_ID,
    text=PROMPT,
    purpose=one_of("what it is used for", "revision", "preference", "policy", "held_out", "qualitative"),
    themes=Field(IDS, "themes it exercises, or principles as `arm/principle_id`"),
    relevant_principles=Field(IDS, "`arm/principle_id` of every principle it names or that has one of these themes"),
)
PROMPT_COVERAGE = contract(
    "prompt_coverage",
    ("arm", "principle_id"),
    arm=Field(pl.String, "name of the arm"),
    principle_id=Field(pl.String, "id of the principle"),
    text=Field(pl.String, "the principle"),
    revision=count("relevant prompts that are answered, criticised and revised"),
    preference=count("relevant prompts whose responses are compared"),
    policy=count("relevant prompts that the policy is trained on"),
    held_out=count("relevant prompts that only measure the models"),
    qualitative=count("relevant prompts whose responses are shown side by side"),
    training=count("the first three together"),
    below_minimum=Field(pl.Boolean, "whether these are fewer than the minimum on record"),
)
REVISIONS = contract(
    "revisions",
    ("prompt_id", "step"),
    prompt_id=PROMPT_ID,
    step=Field(pl.Int64, "1 for the first revision"),
    prompt=PROMPT,
    response=Field(pl.String, "the response that is criticised"),
    response_finished=FINISHED,
    principle_id=Field(pl.String, "the principle the critique and the revision are asked under"),
    request_number=count("which pair of requests was drawn, from 0"),
    template_version=Field(pl.String, "version of the requests and of the examples shown before them"),
    critique=Field(pl.String, "the model's criticism of the response"),
    critique_finished=Field(pl.Boolean, "whether the criticism ended by itself"),
    revision=Field(pl.String, "the revised response; empty if the model wrote none"),
    revision_finished=Field(pl.Boolean, "whether the revision ended by itself; if not, its end is not taught"),
)
RESPONSE_PAIRS = contract(
    "response_pairs",
    ("pair_id",),
    pair_id=Field(pl.String, "id of the pair, equal across arms for equal prompts"),
    prompt_id=PROMPT_ID,
    prompt=PROMPT,
    response_a=Field(pl.String, "one sampled response"),
    finished_a=FINISHED,
    response_b=Field(pl.String, "another sampled response"),
    finished_b=FINISHED,
)
PRINCIPLE_WEIGHTS = contract(
    "principle_weights",
    ("principle_id",),
    principle_id=Field(pl.String, "the principle"),
    gac=probability("group-aware consensus on it, the highest among its statements"),
    share=probability("share of the comparisons it is drawn for, in proportion to it"),
)
PREFERENCE_PAIRS = contract(
    "preference_pairs",
    ("pair_id",),
    intervals=(),
    pair_id=Field(pl.String, "id of the pair"),
    **RESPONSE_PAIRS.columns("prompt_id", "prompt", "response_a", "finished_a", "response_b", "finished_b"),
    principle_id=Field(pl.String, "the principle it was judged under"),
    forward_probability=probability("probability of response a when it is shown first", nullable=True),
    reversed_probability=probability("probability of response a when it is shown second", nullable=True),
    forward_reasoning=Field(
        pl.String, "what the feedback model thought first, with response a shown first", nullable=True
    ),
    reversed_reasoning=Field(
        pl.String, "what the feedback model thought first, with response a shown second", nullable=True
    ),
    probability_a=probability(
        "the soft label: mean of the two, within bounds after reasoning; null if the answer was unusable", nullable=True
    ),
    clamped=Field(pl.Boolean, "whether the label lay beyond the bounds and was moved to the nearest"),
    answer_mass=probability("probability the feedback model gave to the two letters together", nullable=True),
    status=one_of("labelled, identical responses, or unanswered", "labelled", "identical", "unanswered"),
    method=Field(pl.String, "how the feedback model was asked"),
    feedback_model=Field(pl.String, "digest or name of the feedback model"),
    judge_at_chance=JUDGE_AT_CHANCE,
)
JUDGE_ANSWERS = contract(
    "judge_answers",
    ("method", "comparison_set", "pair_id"),
    method=Field(pl.String, "how the feedback model was asked"),
    comparison_set=Field(pl.String, "the labelled comparisons the pair belongs to"),
    pair_id=Field(pl.String, "id of the comparison in its set"),
    prompt=PROMPT,
    principle=Field(pl.String, "the principle it was judged under"),
    characters_a=count("length of response a"),
    characters_b=count("length of response b"),
    label=probability("share of people who preferred response a"),
    forward_probability=probability("probability of response a when it is shown first", nullable=True),
    reversed_probability=probability("probability of response a when it is shown second", nullable=True),
    probability_a=probability(
        "probability that response a is the better one; null if the answer was unusable", nullable=True
    ),
    feedback_model=Field(pl.String, "digest or name of the feedback model"),
)
JUDGE_CALIBRATION = contract(
    "judge_calibration",
    ("method", "comparison_set"),
    method=Field(pl.String, "how the feedback model was asked"),
    comparison_set=Field(pl.String, "the labelled comparisons it was measured on"),
    feedback_model=Field(pl.String, "digest or name of the feedback model"),
    n=count("comparisons"),
    n_unanswered=count("comparisons on which it gave no usable answer"),
    accuracy=probability("share agreeing with the label, both orders averaged, ties one half"),
    accuracy_low=probability("lower end of the 95 % interval"),
    accuracy_high=probability("upper end of the 95 % interval"),
    position_bias=probability("mean probability of the first option over both orders; 0.5 is none"),
    position_bias_low=probability("lower end of its 95 % interval"),
    position_bias_high=probability("upper end of its 95 % interval"),
    flip_rate=probability("share of comparisons whose answer follows the content when the order is swapped"),
    flip_rate_low=probability("lower end of its 95 % interval"),
    flip_rate_high=probability("upper end of its 95 % interval"),
    longer_labelled=probability(
        "share of the comparisons in which people preferred the longer response; null if none differ in length",
        nullable=True,
    ),
    length_bias=Field(
        pl.Float64,
        "how much more often it preferred the longer response than people did, -1 to 1",
        nullable=True,
        checks=(Check.in_range(-1.0, 1.0),),
    ),
    length_bias_low=LOWER_END,
    length_bias_high=UPPER_END,
    calibration_error=probability(
        "mean distance of its confidence from the share it is right, over bins of confidence; null if silent",
        nullable=True,
    ),
    calibration_error_low=LOWER_END,
    calibration_error_high=UPPER_END,
    at_chance=Field(
        pl.Boolean,
        "whether it was not shown to be better than one half and than a scorer that never sees the principle",
    ),
    blind_scorer=Field(pl.String, "which of the scorers that see the responses alone was right most often"),
    blind_accuracy=probability("share of the same comparisons on which it was right; one half if they are crossed"),
    blind_accuracy_low=probability("lower end of its 95 % interval"),
    blind_accuracy_high=probability("upper end of its 95 % interval"),
    over_blind=Field(
        pl.Float64,
        "how much more often the judge was right than that scorer, on the same comparisons",
        checks=(Check.in_range(-1.0, 1.0),),
    ),
    over_blind_low=Field(pl.Float64, "lower end of its 95 % interval"),
    over_blind_high=Field(pl.Float64, "upper end of its 95 % interval"),
    label_distance=probability("mean distance of its probabilities from one half, at most 0.5; what labels can teach"),
    ties=probability("share of the comparisons in which it preferred neither response or gave no usable answer"),
    scores_models=Field(pl.Boolean, "whether models are scored in this way: adherence, Elo, specificity"),
)
JUDGE_CALIBRATION_CURVE = contract(
    "judge_calibration_curve",
    ("method", "comparison_set", "low"),
    method=Field(pl.String, "how the feedback model was asked"),
    comparison_set=Field(pl.String, "the labelled comparisons it was measured on"),
    low=probability("least confidence of the bin"),
    high=probability("most confidence of the bin"),
    n=count("answered comparisons in the bin"),
    confidence=probability("mean probability it gave to the response it preferred"),
    agreement=probability("share of people who preferred that response"),
    agreement_low=probability("lower end of the 95 % interval"),
    agreement_high=probability("upper end of the 95 % interval"),
)


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
        "whether the feedback model, asked as decided, was not shown to be better than chance; null if not measured",
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
