"""Whether responses satisfy principles, and what the constitution changed in that."""

from __future__ import annotations

import polars as pl

from ccai_dagster.contracts.schema import (
    ARM,
    IDS,
    JUDGE_AT_CHANCE,
    LOWER_END,
    PROMPT,
    STATEMENT_ID,
    UPPER_END,
    Field,
    contract,
    count,
    one_of,
    probability,
)

ADHERENCE = contract(
    "adherence",
    ("constitution_arm", "principle_id", "prompt_id", "arm"),
    arm=Field(pl.String, "the model that responded: `base` or an arm"),
    constitution_arm=Field(pl.String, "the constitution the principle belongs to"),
    principle_id=Field(pl.String, "the principle"),
    prompt_id=Field(pl.String, "the held-out prompt it is relevant to"),
    response=Field(pl.String, "what the model responded"),
    probability=probability(
        "probability that the response satisfies the principle, by the feedback model; null if unanswered",
        nullable=True,
    ),
    judge_at_chance=JUDGE_AT_CHANCE,
)
ADHERENCE_EXAMPLES = contract(
    "adherence_examples",
    ("example_id",),
    example_id=Field(pl.String, "id of the example"),
    constitution_arm=Field(pl.String, "the constitution the principle belongs to"),
    principle_id=Field(pl.String, "the principle it was labelled under"),
    principle=Field(pl.String, "text of the principle"),
    prompt=PROMPT,
    response=Field(pl.String, "a response"),
    satisfied=Field(pl.Boolean, "whether a person found that the response satisfies the principle"),
)
JUDGED_EXAMPLES = contract(
    "judged_examples",
    ("example_id",),
    intervals=(),
    **ADHERENCE_EXAMPLES.columns("example_id", "constitution_arm", "principle_id", "prompt", "satisfied"),
    probability=ADHERENCE.fields["probability"],
    judge_at_chance=JUDGE_AT_CHANCE,
)
CONTRAST_PAIRS = contract(
    "contrast_pairs",
    ("pair_id",),
    pair_id=Field(pl.String, "id of the pair"),
    constitution_arm=Field(pl.String, "the constitution the principle belongs to, or `rejected statements`"),
    principle_id=Field(pl.String, "the principle, or the id of the statement"),
    against_id=Field(
        pl.String, "for a conflict, the principle that the first response breaks", nullable=True
    ),
    prompt=PROMPT,
    keeps=Field(pl.String, "a response that keeps the principle"),
    breaks=Field(pl.String, "a response that breaks it"),
    source=one_of("where the pair comes from", "written", "labelled examples"),
)
CONTROL_STATEMENTS = contract(
    "control_statements",
    ("statement_id",),
    statement_id=STATEMENT_ID,
    text=Field(pl.String, "the statement (untrusted)"),
    prompt_ids=Field(IDS, "held-out prompts it is relevant to"),
)
CONTRAST_MARGINS = contract(
    "contrast_margins",
    ("arm", "pair_id"),
    intervals=(),
    arm=ARM,
    **CONTRAST_PAIRS.columns("pair_id", "constitution_arm", "principle_id", "against_id", "prompt"),
    margin=Field(
        pl.Float64,
        "how much likelier the model finds the response that keeps the principle, nats a token; null if not finite",
        nullable=True,
    ),
)
ADHERENCE_SCORES = contract(
    "adherence_scores",
    ("constitution_arm", "principle_id", "arm"),
    intervals=(
        ("judged", "judged_low", "judged_high"),
        ("adherence", "low", "high"),
        ("lift", "lift_low", "lift_high"),
    ),
    arm=ARM,
    constitution_arm=Field(pl.String, "the constitution the principle belongs to"),
    principle_id=Field(pl.String, "the principle, or `all principles`"),
    status=one_of(
        "whether there is a figure, and why not", "measured", "no relevant prompt", "not drawn", "unanswered"
    ),
    n_relevant=count("held-out prompts it is relevant to"),
    n=count("responses judged"),
    n_unanswered=count("of those, responses that are empty or got no usable answer"),
    judged=probability("mean probability by the feedback model alone", nullable=True),
    judged_low=Field(pl.Float64, "lower end of its 95 % interval, over prompts", nullable=True),
    judged_high=Field(pl.Float64, "upper end of its 95 % interval, over prompts", nullable=True),
    labels=one_of(
        "labelled examples it is corrected by: of this principle (own), of all (pooled), none",
        "own",
        "pooled",
        "none",
    ),
    n_labels=count("how many"),
    judge_weight=probability("weight of the judge's answers, 0 to 1; null if not corrected", nullable=True),
    adherence=probability("probability that a response satisfies it, corrected", nullable=True),
    low=probability("lower end of its 95 % interval", nullable=True),
    high=probability("upper end of its 95 % interval", nullable=True),
    lift=Field(pl.Float64, "paired difference to `base`, by the feedback model alone", nullable=True),
    lift_low=LOWER_END,
    lift_high=UPPER_END,
    judge_at_chance=JUDGE_AT_CHANCE,
)
GROUP_ADHERENCE = contract(
    "group_adherence",
    ("constitution_arm", "arm", "group_id"),
    intervals=(("value", "low", "high"),),
    arm=ARM,
    constitution_arm=Field(pl.String, "the constitution whose principles are weighted"),
    group_id=count("opinion group"),
    worst=Field(pl.Boolean, "whether no group's value is lower"),
    n=count("judged responses"),
    value=probability(
        "mean probability by the feedback model, principles weighted by the group's agreement with their statements"
    ),
    low=probability("lower end of its 95 % interval, over prompts"),
    high=probability("upper end of its 95 % interval, over prompts"),
    judge_at_chance=JUDGE_AT_CHANCE,
)
SPECIFICITY = contract(
    "specificity",
    ("arm", "kind", "measure"),
    intervals=(("lift", "low", "high"),),
    arm=Field(pl.String, "the arm that was trained"),
    kind=one_of(
        "principles of its constitution only, shared ones, of another constitution only, rejected statements",
        "own",
        "shared",
        "other",
        "rejected",
    ),
    measure=one_of(
        "by the feedback model (a probability) or by log-probabilities of contrast pairs (nats a token)",
        "judge",
        "margin",
    ),
    n_principles=count("principles or statements measured"),
    n=count("judged responses or contrast pairs"),
    n_prompts=count("prompts they belong to"),
    lift=Field(
        pl.Float64,
        "mean paired difference to `base`; null with fewer than two prompts",
        nullable=True,
    ),
    low=Field(pl.Float64, "lower end of its 95 % interval, over prompts", nullable=True),
    high=Field(pl.Float64, "upper end of its 95 % interval, over prompts", nullable=True),
    p_value=probability("of a lift of nil, by flipping signs of prompts", nullable=True),
    adjusted_p=probability("the same, corrected by Holm for all cells of this kind", nullable=True),
    judge_at_chance=JUDGE_AT_CHANCE,
)
CONFLICTS = contract(
    "conflicts",
    ("constitution_arm", "principle_id", "against_id", "arm"),
    intervals=(("margin", "low", "high"), ("lift", "lift_low", "lift_high")),
    arm=ARM,
    constitution_arm=Field(pl.String, "the constitution both principles belong to"),
    principle_id=Field(pl.String, "one principle"),
    against_id=Field(pl.String, "the principle it pulls apart from"),
    n=count("contrast pairs in which one response keeps the one and breaks the other"),
    n_prompts=count("prompts they belong to"),
    margin=Field(
        pl.Float64,
        "how much likelier the first principle's response is, nats a token; null with fewer than two prompts",
        nullable=True,
    ),
    low=Field(pl.Float64, "lower end of its 95 % interval, over prompts", nullable=True),
    high=Field(pl.Float64, "upper end of its 95 % interval, over prompts", nullable=True),
    follows=Field(
        pl.String, "the principle whose interval lies on its side; null if it cannot be told", nullable=True
    ),
    lift=Field(pl.Float64, "mean paired difference of the margin to `base`", nullable=True),
    lift_low=LOWER_END,
    lift_high=UPPER_END,
)
