"""Benchmarks, whose opinions a model represents, responses to read, and all scores together."""

from __future__ import annotations

import polars as pl

from ccai_dagster.contracts.schema import (
    ARM,
    COUNT,
    IDS,
    JUDGE_AT_CHANCE,
    LOWER_END,
    PROMPT,
    PROMPT_ID,
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
    output=Field(pl.String, "what the model answered"),
)
QUALITATIVE_RESPONSES = contract(
    "qualitative_responses",
    ("arm", "prompt_id"),
    arm=ARM,
    prompt_id=PROMPT_ID,
    prompt=PROMPT,
    response=Field(pl.String, "what the model responds"),
    refused=Field(pl.Boolean, "whether the response contains a phrase of refusal"),
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
    adjusted_p=probability(
        "the p value corrected (Holm) for all groups between the same two arms", nullable=True
    ),
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
    value=Field(pl.Float64, "the score; null if there was no usable answer", nullable=True),
    low=Field(pl.Float64, "lower end of the 95 % interval"),
    high=Field(pl.Float64, "upper end of the 95 % interval"),
    compared_with=Field(
        pl.String,
        "the arm it is paired with, if any; a score has a row for each arm it is paired with",
        nullable=True,
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
