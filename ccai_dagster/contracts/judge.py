"""How far the feedback model can be trusted."""

from __future__ import annotations

import polars as pl

from ccai_dagster.contracts.schema import (
    LOWER_END,
    PROMPT,
    UPPER_END,
    Check,
    Field,
    contract,
    count,
    probability,
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
    at_chance=Field(pl.Boolean, "whether the interval of the accuracy includes one half or lies below it"),
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
