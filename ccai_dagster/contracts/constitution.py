"""From selected statements to constitutions, and how these compare."""

from __future__ import annotations

import polars as pl

from ccai_dagster.contracts.schema import (
    ARM,
    DECISION_IDS,
    IDS,
    LOWER_END,
    STATEMENT_ID,
    STATEMENT_IDS,
    UPPER_END,
    Field,
    contract,
    count,
    one_of,
    probability,
)

SELECTED_STATEMENTS = contract(
    "selected_statements",
    ("statement_id",),
    statement_id=STATEMENT_ID,
    text=Field(pl.String, "the statement (untrusted)"),
    gac=probability("group-aware consensus", nullable=True),
    rank=Field(pl.Int64, "1 is the highest consensus"),
    selected=Field(pl.Boolean, "whether it reaches the cut"),
    ideas=Field(IDS, "distinct ideas it expresses, from the idea ledger"),
    new_ideas=count("ideas no statement ranked above it expresses"),
    fate=one_of(
        "principle, left out by a person, undecided (reaches the cut, nobody has worded it), below the cut",
        "principle",
        "left out",
        "undecided",
        "below the cut",
    ),
    decision_ids=DECISION_IDS,
)
CONSTITUTION = contract(
    "constitution",
    ("principle_id",),
    principle_id=Field(pl.String, "id of the principle, unique in its arm"),
    arm=ARM,
    text=Field(pl.String, "the principle as an instruction to the model"),
    statement_ids=Field(STATEMENT_IDS, "the public's statements it comes from; empty if none"),
    merged_text=Field(pl.String, "the statement text it was worded from", nullable=True),
    gac=probability("highest group-aware consensus among its statements", nullable=True),
    decision_ids=DECISION_IDS,
)
CONSTITUTION_OVERLAP = contract(
    "constitution_overlap",
    ("arm", "principle_id", "other_arm"),
    arm=ARM,
    principle_id=Field(pl.String, "principle of `arm`"),
    other_arm=Field(pl.String, "the constitution compared with"),
    nearest_principle_id=Field(pl.String, "the most similar principle of `other_arm`"),
    similarity=probability("cosine similarity of word n-grams"),
    shared=Field(pl.Boolean, "whether the similarity reaches the recorded cut"),
    tags=Field(IDS, "people's tags of the principle; empty if nobody tagged it"),
    same_tag_principle_ids=Field(IDS, "principles of `other_arm` that carry one of these tags"),
    shared_by_tags=Field(
        pl.Boolean,
        "whether there is such a principle; null if this one or the other constitution has no tags",
        nullable=True,
    ),
    framing=one_of("whether it says what to do, what to avoid, or both, by its words", "do", "avoid", "both"),
)
CONSTITUTION_COMPARISON = contract(
    "constitution_comparison",
    ("arm", "other_arm", "measure"),
    intervals=(("value", "low", "high"), ("difference", "difference_low", "difference_high")),
    arm=ARM,
    other_arm=Field(pl.String, "the constitution compared with"),
    measure=Field(
        pl.String,
        "what share of the principles of `arm`, or how far two ways to find counterparts agree (kappa)",
    ),
    n=count("principles of `arm` it is measured on"),
    value=Field(pl.Float64, "the share, 0 to 1, or kappa; null where it is not defined", nullable=True),
    low=Field(pl.Float64, "lower end of the 95 % interval"),
    high=Field(pl.Float64, "upper end of the 95 % interval"),
    difference=Field(
        pl.Float64, "the share less that of `other_arm`; null where it rests on both already", nullable=True
    ),
    difference_low=LOWER_END,
    difference_high=UPPER_END,
    published=Field(pl.String, "what was printed of a published comparison, if there is one", nullable=True),
)
