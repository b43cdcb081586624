"""From what the public wrote and voted, through people's decisions, to constitutions and how these compare."""

from __future__ import annotations

import polars as pl

from ccai_dagster.contracts.schema import (
    ARM,
    COUNT,
    DECISION_IDS,
    IDS,
    LOWER_END,
    PARTICIPANT_ID,
    STATEMENT_ID,
    STATEMENT_IDS,
    TIME,
    UPPER_END,
    VOTE,
    Check,
    Field,
    contract,
    count,
    one_of,
    probability,
)

RAW_STATEMENTS = contract(
    "raw_statements",
    ("statement_id",),
    statement_id=STATEMENT_ID,
    author_id=Field(pl.Int64, "participant who wrote it", nullable=True),
    created_at=Field(TIME, "when it was submitted", nullable=True),
    moderated=Field(
        pl.Int8, "moderation in the export: 1 in, -1 out, 0 never moderated", checks=(Check.isin([-1, 0, 1]),)
    ),
    is_seed=Field(pl.Boolean, "written by the organisers before it opened, if the export tells", nullable=True),
    is_meta=Field(pl.Boolean, "about the people who vote and not the subject, if the export tells", nullable=True),
    text=Field(pl.String, "the statement as its author typed it (untrusted)"),
)
RAW_VOTES = contract(
    "raw_votes",
    ("participant_id", "statement_id"),
    participant_id=PARTICIPANT_ID,
    statement_id=STATEMENT_ID,
    vote=VOTE,
    voted_at=Field(TIME, "when the vote that counts was cast", nullable=True),
    times_voted=Field(pl.Int32, "votes cast by this participant on this statement; the last counts"),
    important=Field(
        pl.Boolean, "whether the statement was marked as important with that vote, if the export tells", nullable=True
    ),
)
N_AGREE, N_DISAGREE, N_PASS = count("agreeing votes"), count("disagreeing votes"), count("passes")
RAW_GROUP_VOTES = contract(
    "raw_group_votes",
    ("statement_id", "group_id"),
    statement_id=STATEMENT_ID,
    group_id=count("group as the table counted by it, in the order of their names"),
    n_agree=N_AGREE,
    n_disagree=N_DISAGREE,
    n_pass=N_PASS,
)
RAW_PARTICIPANTS = contract(
    "raw_participants",
    ("participant_id",),
    participant_id=PARTICIPANT_ID,
    n_votes=count("statements voted on, counted from the votes"),
    polis_group=Field(pl.Int64, "the opinion group Polis itself assigned, if exported", nullable=True),
)
IMPORT_REPORT = contract(
    "import_report",
    ("item",),
    item=Field(pl.String, "what was counted or found"),
    kind=one_of(
        "found as it is, repaired while importing, or unknown from the export alone", "found", "repaired", "unknown"
    ),
    count=Field(pl.Int64, "how many", nullable=True),
    explanation=Field(pl.String, "what it means and what was done about it"),
)
LEDGER = contract(
    "ledger",
    ("decision_id",),
    decision_id=Field(pl.String, "unique id of the decision in its consultation"),
    kind=Field(pl.String, "which kind of decision"),
    subject_ids=Field(IDS, "what was decided on"),
    outcome=Field(pl.String, "the decision, as `verb` or `verb: text`"),
    reason=Field(pl.String, "why, in the words of whoever decided"),
    policy_ref=Field(pl.String, "the rule it follows, if any", nullable=True),
    decided_by=Field(pl.String, "role of whoever decided"),
    decided_at=Field(pl.String, "ISO 8601 date or time"),
    supersedes=Field(pl.String, "the earlier decisions that this one replaces, separated by spaces", nullable=True),
    inputs_digest=Field(pl.String, "digest of what the decision was taken on", nullable=True),
    suggested_by=Field(pl.String, "what proposed it, if not a person", nullable=True),
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
STATEMENT_TOPICS = contract(
    "statement_topics",
    ("statement_id",),
    statement_id=STATEMENT_ID,
    topic_id=count("topic, 0 being the one with most statements"),
    topic=Field(pl.String, "words that tell the topic from others (untrusted)"),
    centrality=Field(
        pl.Float64,
        "mean cosine similarity in meaning to all statements of its topic",
        checks=(Check.in_range(-1.0, 1.0),),
    ),
    neighbour_ids=Field(STATEMENT_IDS, "statements nearest in meaning, the nearest first"),
    neighbour_similarity=Field(pl.List(pl.Float64), "cosine similarity of each of these, -1 to 1"),
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
    "votes", ("participant_id", "statement_id"), participant_id=PARTICIPANT_ID, statement_id=STATEMENT_ID, vote=VOTE
)
OPINION_GROUPS = contract(
    "opinion_groups",
    ("participant_id",),
    participant_id=PARTICIPANT_ID,
    group_id=count("opinion group, 0 being the largest"),
    x=Field(pl.Float64, "first coordinate of the opinion map"),
    y=Field(pl.Float64, "second coordinate of the opinion map"),
)
GROUP_VOTES = contract(
    "group_votes",
    ("statement_id", "group_id"),
    statement_id=STATEMENT_ID,
    group_id=count("opinion group"),
    n_members=count("people in the group; null where only counts by group were given", nullable=True),
    n_agree=N_AGREE,
    n_disagree=N_DISAGREE,
    n_pass=N_PASS,
    important_agree=count("agreeing votes with which the statement was marked as important"),
    important_disagree=count("disagreeing votes of these"),
    important_pass=count("passes of these"),
)
FEWEST_TOLD = 5
"""People of a group who must have voted on a statement about themselves before it is told how."""


def _told(meaning: str) -> Field:
    """A count of a group's votes, where enough of its people voted."""
    return count(f"{meaning}; null if fewer than {FEWEST_TOLD} people of the group voted on it", nullable=True)


GROUP_PROFILE = contract(
    "group_profile",
    ("statement_id", "group_id"),
    intervals=tuple((f"{side}_share", f"{side}_low", f"{side}_high") for side in ("agree", "disagree", "pass")),
    statement_id=STATEMENT_ID,
    group_id=count("opinion group, 0 being the largest"),
    text=Field(pl.String, "the statement about the people who vote, as its author typed it (untrusted)"),
    group_size=Field(
        pl.Int64,
        "people in the group; null where only counts by group are there, which do not tell",
        nullable=True,
        checks=(Check.ge(1),),
    ),
    n_votes=Field(
        pl.Int64,
        f"people of the group who voted on it, passes included; null if fewer than {FEWEST_TOLD}",
        nullable=True,
        checks=(Check.ge(FEWEST_TOLD),),
    ),
    n_agree=_told("people of the group who agree"),
    agree_share=probability("share of these votes that agree", nullable=True),
    agree_low=LOWER_END,
    agree_high=UPPER_END,
    n_disagree=_told("people of the group who disagree"),
    disagree_share=probability("share of these votes that disagree", nullable=True),
    disagree_low=LOWER_END,
    disagree_high=UPPER_END,
    n_pass=_told("people of the group who pass"),
    pass_share=probability("share of these votes that are passes", nullable=True),
    pass_low=LOWER_END,
    pass_high=UPPER_END,
    decision_ids=DECISION_IDS,
)
GAC_SCORES = contract(
    "gac_scores",
    ("statement_id",),
    statement_id=STATEMENT_ID,
    n_votes=count("votes of kept participants, passes included"),
    n_agree=count("agreeing votes"),
    n_disagree=count("disagreeing votes"),
    n_pass=count("passes"),
    gac=probability("group-aware consensus; null if a group never voted on it and nothing is smoothed", nullable=True),
    gac_if_unanimous=probability(
        "what it would be if everybody who voted on it had agreed: no other opinions could reach more", nullable=True
    ),
    gac_disagree=probability(
        "group-aware consensus on rejecting it: the same with agreeing and disagreeing votes exchanged", nullable=True
    ),
    least_participation=probability(
        "smallest share of an opinion group that voted on it, passes included; null without groups", nullable=True
    ),
    polarization_index=probability("1 - |agree share - disagree share|", nullable=True),
    adjusted_polarization_index=probability(
        "polarization index times the share of votes that are not passes", nullable=True
    ),
    group_ids=Field(STATEMENT_IDS, "opinion groups, in the order of the next three columns"),
    group_votes=Field(STATEMENT_IDS, "votes of each group, passes included"),
    group_agreement=Field(pl.List(pl.Float64), "share of each group that agrees"),
    group_rejection=Field(pl.List(pl.Float64), "share of each group that disagrees"),
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
        pl.Float64, "that share divided by the share of everybody else; null if nobody else voted on it", nullable=True
    ),
    ratio_z=Field(
        pl.Float64, "z statistic of the difference to everybody else; null if nobody else voted on it", nullable=True
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
IMPORTANT_STATEMENTS = contract(
    "important_statements",
    ("statement_id",),
    intervals=(("share", "low", "high"),),
    statement_id=STATEMENT_ID,
    rank=Field(pl.Int64, "1 is what the largest share marked as important; of equal shares, what most people did"),
    n_votes=count("votes of kept participants with which it could be marked"),
    n_important=count("votes with which it was"),
    share=probability("share of those votes"),
    low=probability("lower end of its 95 % interval"),
    high=probability("upper end of its 95 % interval"),
    group_ids=Field(STATEMENT_IDS, "opinion groups that voted on it, in the order of the next two columns"),
    group_votes=Field(STATEMENT_IDS, "such votes of each group"),
    group_important=Field(STATEMENT_IDS, "votes of each group with which it was marked"),
)
UNCERTAIN_STATEMENTS = contract(
    "uncertain_statements",
    ("statement_id",),
    intervals=(("share", "low", "high"),),
    statement_id=STATEMENT_ID,
    rank=Field(pl.Int64, "1 is where most people passed, by passes times the square of their share"),
    n_votes=count("people who saw it, that is voted on it, passes included; those who cast few votes as well"),
    n_pass=count("those of them who passed"),
    share=probability("share of those who saw it that passed"),
    low=probability("lower end of its 95 % interval"),
    high=probability("upper end of its 95 % interval"),
    by_polis=Field(pl.Boolean, "whether the share is above 0.3, as the report of Polis asks"),
    by_sensemaker=Field(
        pl.Boolean,
        "whether it is above 0.2 and above the shares of three quarters of all statements, as Jigsaw's sensemaking "
        "tools ask",
    ),
    group_ids=Field(STATEMENT_IDS, "opinion groups that voted on it, in the order of the next two columns"),
    group_votes=Field(STATEMENT_IDS, "people of each group who saw it"),
    group_passes=Field(STATEMENT_IDS, "people of each group who passed"),
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
        pl.Boolean, "whether it is about the people who vote; null if the export does not tell", nullable=True
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
    gac_disagree=probability("group-aware consensus on rejecting it, on the votes as cast", nullable=True),
    gac_disagree_low=probability("lower end of its 90 % interval, from the same draws", nullable=True),
    gac_disagree_high=probability("upper end of its 90 % interval, from the same draws", nullable=True),
    gac_low_same_groups=probability("lower end of the same interval with the groups held as on record", nullable=True),
    gac_high_same_groups=probability("upper end of the same interval with the groups held as on record", nullable=True),
    selection_probability=probability("share of the draws of participants in which it reaches the cut"),
    gac_low_seeds=probability("lowest score when the same votes are grouped with other seeds", nullable=True),
    gac_high_seeds=probability("highest score when the same votes are grouped with other seeds", nullable=True),
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
NARRATIVE = contract(
    "narrative",
    ("scope", "scope_id", "place"),
    scope=one_of("what is told of", "group", "topic"),
    scope_id=count("opinion group or topic"),
    about=Field(pl.String, "name of the group or topic (a topic's is untrusted)"),
    place=Field(pl.Int64, "of the sentence, from 1", checks=(Check.ge(1),)),
    sentence=Field(pl.String, "what is told, with quotations of statements (untrusted)"),
    statement_ids=Field(STATEMENT_IDS, "statements the sentence rests on"),
)
WRITTEN_NARRATIVE = contract(
    "written_narrative",
    ("scope", "scope_id"),
    scope=one_of("what is told of", "group", "topic"),
    scope_id=count("opinion group or topic"),
    about=Field(pl.String, "name of the group or topic (a topic's is untrusted)"),
    text=Field(pl.String, "what the model wrote (untrusted); null where it was refused", nullable=True),
    refused=Field(pl.String, "why it was refused (untrusted)", nullable=True),
    statement_ids=Field(STATEMENT_IDS, "statements that the text cites"),
    given=Field(pl.List(pl.String), "the sentences of the table narrative that the model was given (untrusted)"),
    model=Field(pl.String, "the model that wrote it"),
)
GROUP_STRUCTURE = contract(
    "group_structure",
    ("statistic",),
    statistic=one_of(
        "what is compared: the share of variance that the opinion map explains, or the silhouette of the groups",
        "explained variance",
        "silhouette",
    ),
    value=Field(pl.Float64, "of the votes as cast", checks=(Check.in_range(-1.0, 1.0),)),
    shuffled_mean=Field(
        pl.Float64, "mean over votes shuffled within each statement", checks=(Check.in_range(-1.0, 1.0),)
    ),
    shuffled_high=Field(pl.Float64, "what one shuffle in twenty exceeds", checks=(Check.in_range(-1.0, 1.0),)),
    n_shuffles=Field(pl.Int64, "shuffles", checks=(Check.ge(1),)),
    p_value=probability("(1 + shuffles with at least this value) / (1 + shuffles)"),
    decides=Field(pl.Boolean, "whether this one decides if there is a structure"),
)
TOO_FEW_VOTED = "too few of a group voted"
"""Fate of a statement that the decision `group_participation` keeps from being selected."""
SELECTED_STATEMENTS = contract(
    "selected_statements",
    ("statement_id",),
    statement_id=STATEMENT_ID,
    text=Field(pl.String, "the statement (untrusted)"),
    gac=probability("group-aware consensus, on its side", nullable=True),
    side=one_of(
        "whether that is consensus on agreeing with it or, where rejected statements are selected too, on rejecting it",
        "agree",
        "disagree",
    ),
    rank=Field(pl.Int64, "1 is the highest consensus among those that can be selected"),
    selected=Field(pl.Boolean, "whether it reaches the cut"),
    ideas=Field(IDS, "distinct ideas it expresses, from the idea ledger"),
    new_ideas=count("ideas no statement ranked above it expresses"),
    fate=one_of(
        "principle, left out by a person, undecided (reaches the cut, nobody has worded it), below the cut, or kept "
        "from it since too few of a group voted",
        "principle",
        "left out",
        "undecided",
        "below the cut",
        TOO_FEW_VOTED,
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
    gac=probability("highest group-aware consensus among its statements, on their side", nullable=True),
    side=Field(
        pl.String,
        "whether every group agrees with its statements, or rejects them (it says what to avoid); null if no votes "
        "made it",
        nullable=True,
        checks=(Check.isin(["agree", "disagree"]),),
    ),
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
        pl.String, "what share of the principles of `arm`, or how far two ways to find counterparts agree (kappa)"
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
