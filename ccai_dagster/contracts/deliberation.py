"""What counts of the public input, and what the public agrees on."""

from __future__ import annotations

import polars as pl

from ccai_dagster.contracts.schema import (
    COUNT,
    DECISION_IDS,
    PARTICIPANT_ID,
    STATEMENT_ID,
    STATEMENT_IDS,
    VOTE,
    Check,
    Field,
    contract,
    count,
    one_of,
    probability,
)

STATEMENTS = contract(
    "statements",
    ("statement_id",),
    statement_id=STATEMENT_ID,
    author_id=Field(pl.Int64, "participant who wrote it", nullable=True),
    text=Field(pl.String, "the text that counts, after a rewrite by moderation (untrusted)"),
    raw_text=Field(pl.String, "the text as its author typed it (untrusted)"),
    rewritten=Field(pl.Boolean, "whether moderation changed the text"),
    decision_ids=DECISION_IDS,
)
PARTICIPANTS = contract(
    "participants",
    ("participant_id",),
    participant_id=PARTICIPANT_ID,
    n_votes=count("statements voted on, all statements counted"),
    kept=Field(pl.Boolean, "whether the votes count"),
    fate=one_of("why kept or not", "kept", "too few votes", "excluded"),
    polis_group=Field(pl.Int64, "the opinion group Polis itself assigned, if exported", nullable=True),
    decision_ids=DECISION_IDS,
)
VOTES = contract(
    "votes",
    ("participant_id", "statement_id"),
    participant_id=PARTICIPANT_ID,
    statement_id=STATEMENT_ID,
    vote=VOTE,
)
OPINION_GROUPS = contract(
    "opinion_groups",
    ("participant_id",),
    participant_id=PARTICIPANT_ID,
    group_id=count("opinion group, 0 being the largest"),
    x=Field(pl.Float64, "first coordinate of the opinion map"),
    y=Field(pl.Float64, "second coordinate of the opinion map"),
)
GAC_SCORES = contract(
    "gac_scores",
    ("statement_id",),
    statement_id=STATEMENT_ID,
    n_votes=count("votes of kept participants, passes included"),
    n_agree=count("agreeing votes"),
    n_disagree=count("disagreeing votes"),
    n_pass=count("passes"),
    gac=probability(
        "group-aware consensus; null if a group never voted on it and nothing is smoothed", nullable=True
    ),
    polarization_index=probability("1 - |agree share - disagree share|", nullable=True),
    adjusted_polarization_index=probability(
        "polarization index times the share of votes that are not passes", nullable=True
    ),
    group_ids=Field(STATEMENT_IDS, "opinion groups, in the order of the next two columns"),
    group_votes=Field(STATEMENT_IDS, "votes of each group, passes included"),
    group_agreement=Field(pl.List(pl.Float64), "share of each group that agrees"),
    published_gac=probability("the score published elsewhere for this consultation, if any", nullable=True),
)
SIDE = one_of("whether the votes counted agree or disagree", "agree", "disagree")
REPRESENTATIVE_STATEMENTS = contract(
    "representative_statements",
    ("group_id", "statement_id"),
    group_id=count("opinion group"),
    statement_id=STATEMENT_ID,
    rank=Field(pl.Int64, "place among the group's statements as Polis shows them", checks=(Check.ge(1),)),
    side=SIDE,
    best_agreed=Field(pl.Boolean, "whether it is the statement the group agrees with best"),
    eligible=Field(
        pl.Boolean,
        "whether the group's share exceeds one half and the share of everybody else, both at one-tailed 90 %",
    ),
    n_side=count("votes of the group on that side"),
    n_votes=count("votes of the group, passes included"),
    probability=probability("smoothed share of the group on that side"),
    probability_z=Field(pl.Float64, "z statistic of the share against one half"),
    ratio=Field(
        pl.Float64,
        "that share divided by the share of everybody else; null if nobody else voted on it",
        nullable=True,
    ),
    ratio_z=Field(
        pl.Float64,
        "z statistic of the difference to everybody else; null if nobody else voted on it",
        nullable=True,
    ),
)
CONSENSUS_STATEMENTS = contract(
    "consensus_statements",
    ("side", "statement_id"),
    side=SIDE,
    statement_id=STATEMENT_ID,
    rank=Field(pl.Int64, "1 is the clearest of its side", checks=(Check.in_range(1, 5),)),
    n_side=count("votes of everybody on that side"),
    n_votes=count("votes of everybody, passes included"),
    probability=probability("smoothed share of everybody on that side"),
    probability_z=Field(pl.Float64, "z statistic of the share against one half"),
)
COMMENT_PRIORITIES = contract(
    "comment_priorities",
    ("statement_id",),
    statement_id=STATEMENT_ID,
    n_votes=count("votes, passes included"),
    n_agree=count("agreeing votes"),
    n_pass=count("passes"),
    extremity=Field(
        pl.Float64,
        "distance from the middle of the opinion map at which one agreeing vote would place somebody",
        checks=COUNT,
    ),
    is_meta=Field(
        pl.Boolean,
        "whether it is about the conversation itself; null if the export does not tell",
        nullable=True,
    ),
    priority=Field(pl.Float64, "weight with which Polis draws it to be voted on next", checks=(Check.gt(0),)),
)
CONSENSUS_STABILITY = contract(
    "consensus_stability",
    ("statement_id",),
    statement_id=STATEMENT_ID,
    gac=probability("group-aware consensus on the votes as cast", nullable=True),
    gac_low=probability("lower end of its 90 % interval, from drawing participants anew", nullable=True),
    gac_high=probability("upper end of its 90 % interval, from drawing participants anew", nullable=True),
    gac_low_same_groups=probability(
        "lower end of the same interval with the groups held as on record", nullable=True
    ),
    gac_high_same_groups=probability(
        "upper end of the same interval with the groups held as on record", nullable=True
    ),
    selection_probability=probability("share of the draws of participants in which it reaches the cut"),
    gac_low_seeds=probability("lowest score when the same votes are grouped with other seeds", nullable=True),
    gac_high_seeds=probability(
        "highest score when the same votes are grouped with other seeds", nullable=True
    ),
    selection_share_seeds=probability("share of the other seeds under which it reaches the cut"),
    smallest_group_votes=count("votes of the group that voted least on it"),
    few_votes=Field(pl.Boolean, "whether those votes are too few to tell what share of that group agrees"),
)
GROUP_STABILITY = contract(
    "group_stability",
    ("varied", "draw"),
    varied=one_of(
        "what differs from the groups on record: the weights of participants, or the seed of k-means",
        "participants",
        "seed",
    ),
    draw=Field(pl.Int64, "number of the grouping, from 1", checks=(Check.ge(1),)),
    n_groups=Field(pl.Int64, "opinion groups found", checks=(Check.ge(1),)),
    adjusted_rand=Field(
        pl.Float64,
        "agreement with the groups on record: 1 the same, 0 as by chance",
        checks=(Check.in_range(-1.0, 1.0),),
    ),
)
