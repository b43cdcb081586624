"""Which of two responses is better, by the feedback model and by people, and the Elo that follows."""

from __future__ import annotations

import polars as pl

from ccai_dagster.contracts.schema import (
    ARM,
    JUDGE_AT_CHANCE,
    LOWER_END,
    PROMPT,
    UPPER_END,
    Check,
    Field,
    contract,
    count,
    one_of,
    probability,
)

QUALITY = one_of("what is compared: helpfulness or harmlessness", "helpfulness", "harmlessness")
SEPARATED = Field(
    pl.Boolean, "whether one of the two always won, so that only a weak prior keeps the difference finite"
)
COMPARISONS = contract(
    "comparisons",
    ("pair_id",),
    pair_id=Field(
        pl.String, "id of the comparison; the same two responses in the same question have it again"
    ),
    quality=QUALITY,
    prompt_id=Field(pl.String, "the held-out prompt both arms responded to"),
    prompt=PROMPT,
    arm_a=ARM,
    arm_b=Field(pl.String, "the other arm, or `base`"),
    response_a=Field(pl.String, "what arm a responds"),
    response_b=Field(pl.String, "what arm b responds"),
    forward_probability=probability(
        "the feedback model's probability that response a is better, asked in this order", nullable=True
    ),
    reversed_probability=probability("the same, asked in the other order", nullable=True),
    probability_a=probability(
        "mean of the two; one half for identical responses, null if unanswered", nullable=True
    ),
    status=one_of(
        "compared, identical responses (which nobody need compare), or unanswered",
        "compared",
        "identical",
        "unanswered",
    ),
    judge=Field(pl.String, "the feedback model"),
    judge_at_chance=JUDGE_AT_CHANCE,
)
RATINGS = contract(
    "ratings",
    ("pair_id", "rater"),
    pair_id=Field(pl.String, "the comparison that was rated"),
    rater=Field(pl.String, "who rated it: a role or pseudonym"),
    quality=QUALITY,
    prompt_id=Field(pl.String, "the held-out prompt"),
    arm_1=Field(pl.String, "the arm whose response was shown first"),
    arm_2=Field(pl.String, "the arm whose response was shown second"),
    rating=one_of("which response is better: 1, 2 or tie", "1", "2", "tie"),
    texts_digest=Field(pl.String, "digest of prompt and responses as they were shown"),
)
SOURCE = one_of("who compared: the feedback model, or people", "feedback model", "people")
ELO_SCORES = contract(
    "elo_scores",
    ("arm", "quality", "source"),
    intervals=(("elo", "elo_low", "elo_high"),),
    arm=ARM,
    quality=QUALITY,
    source=SOURCE,
    n=count("answered comparisons with this arm in them"),
    n_unanswered=count("comparisons with this arm that the judge did not answer"),
    n_ties=count("of the answered ones, those that ended in a tie"),
    n_raters=count("people who rated; 0 for the feedback model"),
    elo=Field(pl.Float64, "Elo against `base`, which is 0"),
    elo_low=Field(pl.Float64, "lower end of the 95 % interval"),
    elo_high=Field(pl.Float64, "upper end of the 95 % interval"),
    separated=SEPARATED,
    judge=Field(pl.String, "the feedback model, or the raters' roles"),
    judge_at_chance=JUDGE_AT_CHANCE,
)
ELO_DIFFERENCES = contract(
    "elo_differences",
    ("arm", "other_arm", "quality", "source"),
    intervals=(("difference", "difference_low", "difference_high"),),
    arm=ARM,
    other_arm=Field(pl.String, "the arm it is compared with; `base` stands here only"),
    quality=QUALITY,
    source=SOURCE,
    n=count("answered comparisons of these two with each other"),
    n_unanswered=count("comparisons of these two that the judge did not answer"),
    n_ties=count("of the answered ones, those that ended in a tie"),
    n_prompts=count("prompts that comparisons of these two were answered on"),
    n_raters=count("people who rated these two; 0 for the feedback model"),
    difference=Field(
        pl.Float64, "Elo of the arm less Elo of the other; comparisons with third arms count too"
    ),
    difference_low=Field(pl.Float64, "lower end of the 95 % interval"),
    difference_high=Field(pl.Float64, "upper end of the 95 % interval"),
    separated=SEPARATED,
    smallest_difference=Field(
        pl.Float64,
        "the smallest difference in Elo found with such comparisons whose interval would leave out zero",
        checks=(Check.gt(0),),
    ),
    detectable_difference=Field(
        pl.Float64,
        "the true difference in Elo that such comparisons would show four times in five",
        checks=(Check.gt(0),),
    ),
    judge_at_chance=JUDGE_AT_CHANCE,
)
RATER_AGREEMENT = contract(
    "rater_agreement",
    ("quality", "arm_a", "arm_b", "between"),
    intervals=(("kappa", "kappa_low", "kappa_high"),),
    quality=QUALITY,
    arm_a=ARM,
    arm_b=Field(pl.String, "the other arm"),
    between=one_of(
        "whose answers are compared: the feedback model's with people's, or people's with each other's",
        "feedback model and people",
        "people",
    ),
    n=count("pairs of answers on the same two responses that both name a better one"),
    n_undecided=count("pairs of answers of which one is a tie or missing"),
    n_prompts=count("prompts they are about"),
    n_raters=count("people whose answers these are"),
    agreement=probability("share of n that name the same response; null without any", nullable=True),
    kappa=Field(
        pl.Float64,
        "Cohen's kappa: 1 if they always agree, 0 if as often as by chance; null where both always name the "
        "same arm",
        nullable=True,
    ),
    kappa_low=LOWER_END,
    kappa_high=UPPER_END,
    judge_at_chance=JUDGE_AT_CHANCE,
)
