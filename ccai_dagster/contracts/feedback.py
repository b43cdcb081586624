"""Constitutional AI's data: prompts, revisions, pairs of responses and their labels."""

from __future__ import annotations

import polars as pl

from ccai_dagster.contracts.schema import (
    IDS,
    JUDGE_AT_CHANCE,
    PROMPT,
    PROMPT_ID,
    Field,
    contract,
    count,
    one_of,
    probability,
)

PROMPTS = contract(
    "prompts",
    ("prompt_id",),
    prompt_id=PROMPT_ID,
    text=PROMPT,
    purpose=one_of("what it is used for", "revision", "preference", "policy", "held_out", "qualitative"),
    themes=Field(IDS, "themes it exercises, or principles as `arm/principle_id`"),
    relevant_principles=Field(
        IDS, "`arm/principle_id` of every principle it names or that has one of these themes"
    ),
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
    principle_id=Field(pl.String, "the principle the critique and the revision are asked under"),
    request_number=count("which pair of requests was drawn, from 0"),
    template_version=Field(pl.String, "version of the requests and of the examples shown before them"),
    critique=Field(pl.String, "the model's criticism of the response"),
    revision=Field(pl.String, "the revised response; empty if the model wrote none"),
)
RESPONSE_PAIRS = contract(
    "response_pairs",
    ("pair_id",),
    pair_id=Field(pl.String, "id of the pair, equal across arms for equal prompts"),
    prompt_id=PROMPT_ID,
    prompt=PROMPT,
    response_a=Field(pl.String, "one sampled response"),
    response_b=Field(pl.String, "another sampled response"),
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
    **RESPONSE_PAIRS.columns("prompt_id", "prompt", "response_a", "response_b"),
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
        "the soft label: mean of the two, within bounds after reasoning; null if the answer was unusable",
        nullable=True,
    ),
    clamped=Field(pl.Boolean, "whether the label lay beyond the bounds and was moved to the nearest"),
    answer_mass=probability("probability the feedback model gave to the two letters together", nullable=True),
    status=one_of("labelled, identical responses, or unanswered", "labelled", "identical", "unanswered"),
    method=Field(pl.String, "how the feedback model was asked"),
    feedback_model=Field(pl.String, "digest or name of the feedback model"),
    judge_at_chance=JUDGE_AT_CHANCE,
)
