"""Benchmarks, opinions, responses to read, adherence to principles, comparisons of arms, and all scores together."""

from __future__ import annotations

import polars as pl

from ccai_dagster.contracts.schema import (
    ARM,
    COUNT,
    FINISHED,
    IDS,
    JUDGE_AT_CHANCE,
    LOWER_END,
    PROMPT,
    PROMPT_ID,
    STATEMENT_ID,
    UPPER_END,
    Check,
    Field,
    contract,
    count,
    one_of,
    probability,
)

BENCHMARK_ITEMS = contract(
    "benchmark_items",
    ("benchmark", "metric", "item_id"),
    benchmark=Field(pl.String, "name of the benchmark"),
    metric=Field(pl.String, "what is measured"),
    item_id=Field(pl.String, "id of the item, equal for every model"),
    cluster=Field(pl.String, "items made from one template share it; intervals resample clusters"),
    category=Field(pl.String, "category of the item, `all` if the benchmark has none"),
    value=Field(pl.Float64, "the score of this item; null if there was nothing to score", nullable=True),
    answered=Field(pl.Boolean, "whether the model's output could be read as an answer"),
    finished=Field(
        pl.Boolean, "whether its responses ended by themselves, within the tokens they may have; letters always do"
    ),
    output=Field(pl.String, "what the model answered"),
)
OPINION_REPRESENTATIVENESS = contract(
    "opinion_representativeness",
    ("benchmark", "attribute", "group", "arm"),
    intervals=(
        ("value", "low", "high"),
        ("difference", "difference_low", "difference_high"),
        ("above_uniform", "above_uniform_low", "above_uniform_high"),
    ),
    benchmark=Field(pl.String, "name of the set of questions"),
    attribute=Field(pl.String, "what the group has in common, or `everybody`"),
    group=Field(pl.String, "whose opinions"),
    arm=ARM,
    n=Field(pl.Int64, "questions that the model and the group answered", checks=(Check.ge(1),)),
    value=probability("1 minus the mean distance of the model's and the group's opinions"),
    low=Field(pl.Float64, "lower end of the 95 % interval, questions resampled"),
    high=Field(pl.Float64, "upper end of the 95 % interval"),
    uniform=probability("the value of a model that prefers no option, on these questions"),
    above_uniform=Field(pl.Float64, "how far the value lies above that, question by question"),
    above_uniform_low=Field(pl.Float64, "lower end of its 95 % interval"),
    above_uniform_high=Field(pl.Float64, "upper end of its 95 % interval"),
    ceiling=probability(
        "expected value of a model that knows the group exactly, measured on as many people as answered; null "
        "where it is not known how many did",
        nullable=True,
    ),
    nearest_group=Field(
        pl.String, "the other group of the attribute whose opinions are nearest to this one's", nullable=True
    ),
    nearest_value=probability("its value for this group, on the questions both answered", nullable=True),
    compared_with=Field(pl.String, "the arm it is paired with, if any", nullable=True),
    difference=Field(pl.Float64, "paired difference to that arm", nullable=True),
    difference_low=LOWER_END,
    difference_high=UPPER_END,
    p_value=probability("two-sided p value of the paired difference", nullable=True),
    adjusted_p=probability("the p value corrected (Holm) for all groups between the same two arms", nullable=True),
)
QUALITATIVE_PROMPTS = contract(
    "qualitative_prompts",
    ("prompt_id",),
    prompt_id=PROMPT_ID,
    text=PROMPT,
    origin=one_of(
        "written for this, held out and tagged with a principle, or drafted from a principle's text",
        "written",
        "tagged",
        "drafted",
    ),
    principles=Field(IDS, "`arm/principle_id` it was chosen or drafted for, found in one constitution only"),
)
QUALITATIVE_RESPONSES = contract(
    "qualitative_responses",
    ("arm", "prompt_id"),
    arm=ARM,
    prompt_id=PROMPT_ID,
    prompt=PROMPT,
    response=Field(pl.String, "what the model responds"),
    finished=FINISHED,
    refused=Field(pl.Boolean, "whether the response contains a phrase of refusal"),
)
ADHERENCE = contract(
    "adherence",
    ("constitution_arm", "principle_id", "prompt_id", "arm"),
    arm=Field(pl.String, "the model that responded: `base` or an arm"),
    constitution_arm=Field(pl.String, "the constitution the principle belongs to"),
    principle_id=Field(pl.String, "the principle"),
    prompt_id=Field(pl.String, "the held-out prompt it is relevant to"),
    response=Field(pl.String, "what the model responded"),
    finished=FINISHED,
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
    against_id=Field(pl.String, "for a conflict, the principle that the first response breaks", nullable=True),
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
    n_cut=count("of those, responses that were cut off at the limit of tokens"),
    n_unanswered=count("of those, responses that are empty or got no usable answer"),
    judged=probability("mean probability by the feedback model alone", nullable=True),
    judged_low=Field(pl.Float64, "lower end of its 95 % interval, over prompts", nullable=True),
    judged_high=Field(pl.Float64, "upper end of its 95 % interval, over prompts", nullable=True),
    labels=one_of(
        "labelled examples it is corrected by: of this principle (own), of all (pooled), none", "own", "pooled", "none"
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
    lift=Field(pl.Float64, "mean paired difference to `base`; null with fewer than two prompts", nullable=True),
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
    follows=Field(pl.String, "the principle whose interval lies on its side; null if it cannot be told", nullable=True),
    lift=Field(pl.Float64, "mean paired difference of the margin to `base`", nullable=True),
    lift_low=LOWER_END,
    lift_high=UPPER_END,
)
QUALITY = one_of("what is compared: helpfulness or harmlessness", "helpfulness", "harmlessness")
SEPARATED = Field(
    pl.Boolean, "whether one of the two always won, so that only a weak prior keeps the difference finite"
)
COMPARISONS = contract(
    "comparisons",
    ("pair_id",),
    pair_id=Field(pl.String, "id of the comparison; the same two responses in the same question have it again"),
    quality=QUALITY,
    prompt_id=Field(pl.String, "the held-out prompt both arms responded to"),
    prompt=PROMPT,
    arm_a=ARM,
    arm_b=Field(pl.String, "the other arm, or `base`"),
    response_a=Field(pl.String, "what arm a responds"),
    finished_a=FINISHED,
    response_b=Field(pl.String, "what arm b responds"),
    finished_b=FINISHED,
    forward_probability=probability(
        "the feedback model's probability that response a is better, asked in this order", nullable=True
    ),
    reversed_probability=probability("the same, asked in the other order", nullable=True),
    probability_a=probability("mean of the two; one half for identical responses, null if unanswered", nullable=True),
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
    prompt_id=Field(pl.String, "the held-out prompt, or `conversation-` and the key of a conversation"),
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
    n_prompts=count("prompts, or conversations, that comparisons of these two were answered on"),
    n_raters=count("people who rated these two; 0 for the feedback model"),
    difference=Field(pl.Float64, "Elo of the arm less Elo of the other; comparisons with third arms count too"),
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
        "Cohen's kappa: 1 if they always agree, 0 if as often as by chance; null where both always name the same arm",
        nullable=True,
    ),
    kappa_low=LOWER_END,
    kappa_high=UPPER_END,
    judge_at_chance=JUDGE_AT_CHANCE,
)
EVAL_SCORES = contract(
    "eval_scores",
    ("arm", "benchmark", "metric", "category", "compared_with"),
    intervals=(("value", "low", "high"), ("difference", "difference_low", "difference_high")),
    arm=ARM,
    benchmark=Field(pl.String, "name of the benchmark, `adherence`, `elo` or `elo_by_people`"),
    metric=Field(pl.String, "what is measured"),
    category=Field(pl.String, "category, `all` for the whole"),
    n=count("items"),
    n_unanswered=count("items without a readable answer"),
    n_cut=Field(
        pl.Int64,
        "items whose response was cut off at the limit of tokens; null where pairs of responses are compared",
        nullable=True,
        checks=COUNT,
    ),
    value=Field(pl.Float64, "the score; null if there was no usable answer", nullable=True),
    low=Field(pl.Float64, "lower end of the 95 % interval"),
    high=Field(pl.Float64, "upper end of the 95 % interval"),
    compared_with=Field(
        pl.String, "the arm it is paired with, if any; a score has a row for each arm it is paired with", nullable=True
    ),
    difference=Field(pl.Float64, "paired difference to that arm", nullable=True),
    difference_low=LOWER_END,
    difference_high=UPPER_END,
    p_value=probability("two-sided p value of the paired difference", nullable=True),
    adjusted_p=probability(
        "the p value corrected (Holm) for the categories of this measure, or in the category `all` for all "
        "measures, between the same two arms",
        nullable=True,
    ),
    smallest_detectable=Field(
        pl.Float64,
        "difference that would be found at 5 % with a probability of 80 %, given how much templates or "
        "prompts differ; null if no possible one would be",
        nullable=True,
        checks=COUNT,
    ),
    judge_at_chance=JUDGE_AT_CHANCE,
)
CONTROL_RESPONSES = contract(
    "control_responses",
    ("arm", "prompt_id", "sample"),
    intervals=(),
    arm=Field(pl.String, "the arm of the positive control, or `base` for the untrained model"),
    prompt_id=Field(pl.String, "id of the prompt, which no arm was trained on"),
    prompt=PROMPT,
    sample=count("which response to it, from 0; equal seeds for every model"),
    response=Field(pl.String, "what the model responds"),
    finished=FINISHED,
    log_likelihood=Field(
        pl.Float64, "of the response by the untrained model, nats a token; null if nothing was said", nullable=True
    ),
)
CONTROL_SCORES = contract(
    "control_scores",
    ("arm", "compared_with", "measure"),
    intervals=(("difference", "low", "high"),),
    arm=Field(pl.String, "the arm of the positive control"),
    compared_with=Field(pl.String, "the other arm, or `base` for the untrained model"),
    measure=one_of(
        "what is scored: reading ease from 0 to 121, content words from the question and likelihood under the "
        "untrained model (nats a token), words of a response",
        "ease of reading",
        "keeps to the question",
        "likelihood",
        "words",
    ),
    expected=one_of("where the difference must lie if training follows the judge", "above", "below", "not said"),
    n=count("pairs of responses to one prompt with one seed, both of which have a score"),
    n_prompts=count("prompts they respond to"),
    value=Field(pl.Float64, "mean score of the arm", nullable=True),
    other_value=Field(pl.Float64, "mean score of what it is compared with", nullable=True),
    difference=Field(pl.Float64, "mean of the paired differences; null with fewer than two prompts", nullable=True),
    low=Field(pl.Float64, "lower end of its 95 % interval, prompts resampled", nullable=True),
    high=Field(pl.Float64, "upper end of its 95 % interval, prompts resampled", nullable=True),
)
