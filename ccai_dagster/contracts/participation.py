"""Who took part: what people said about themselves, beside the public they are to stand for."""

from __future__ import annotations

import polars as pl

from ccai_dagster.contracts.deliberation import FEWEST_TOLD
from ccai_dagster.contracts.schema import (
    COUNT,
    LOWER_END,
    PARTICIPANT_ID,
    STATEMENT_ID,
    UPPER_END,
    Check,
    Field,
    contract,
    count,
    probability,
)

QUESTION = Field(pl.String, "name of the question, from consultation.yaml")
PARTICIPANT_DEMOGRAPHICS = contract(
    "participant_demographics",
    ("participant_id", "question"),
    participant_id=PARTICIPANT_ID,
    question=QUESTION,
    answer=Field(pl.String, "what the participant answered, one of the answers in consultation.yaml"),
)
_HIDDEN = f"null where 1 to {FEWEST_TOLD - 1} people gave the answer, or these could be told from the others"
SAMPLE_REPRESENTATIVENESS = contract(
    "sample_representativeness",
    ("question", "answer"),
    intervals=(("share", "low", "high"),),
    question=QUESTION,
    answer=Field(pl.String, "one of the answers that there are"),
    n=count(f"people whose votes count and who gave it; {_HIDDEN}", nullable=True),
    n_told=count(f"people whose votes count and who answered the question; null if 1 to {FEWEST_TOLD - 1}", True),
    n_people=count("people whose votes count, answered or not"),
    share=probability("share of those who answered; null with `n`, and where nobody answered", nullable=True),
    low=LOWER_END,
    high=UPPER_END,
    target=probability("share of the public, if consultation.yaml tells", nullable=True),
    difference=Field(pl.Float64, "share less target", nullable=True, checks=(Check.in_range(-1.0, 1.0),)),
    weight=Field(
        pl.Float64,
        "how much one of these people counts on average, once answers weigh as in the public; 1 is as everybody; null "
        "without weights or people",
        nullable=True,
        checks=COUNT,
    ),
    n_effective=Field(
        pl.Float64,
        "how many people who count alike would tell as much as all with these weights do; null without weights",
        nullable=True,
        checks=COUNT,
    ),
)
WEIGHTED_CONSENSUS = contract(
    "weighted_consensus",
    ("statement_id",),
    statement_id=STATEMENT_ID,
    gac=probability("group-aware consensus on the votes as cast", nullable=True),
    gac_weighted=probability("the same, with people weighing as in the public", nullable=True),
    gac_disagree=probability("group-aware consensus on rejecting it, on the votes as cast", nullable=True),
    gac_disagree_weighted=probability("the same, with people weighing as in the public", nullable=True),
    selected=Field(pl.Boolean, "whether it reaches the cut on the votes as cast"),
    selected_weighted=Field(pl.Boolean, "whether it does with people weighing as in the public"),
)
