"""Where every outcome comes from, what it would be had people decided otherwise, and the replication."""

from __future__ import annotations

import polars as pl

from ccai_dagster.contracts.deliberation import GAC_SCORES
from ccai_dagster.contracts.schema import (
    ARM,
    COUNT,
    DECISION_IDS,
    IDS,
    PARTICIPANT_ID,
    STATEMENT_ID,
    STATEMENT_IDS,
    Check,
    Field,
    contract,
    count,
    one_of,
    probability,
)

DECISION_TRAIL = contract(
    "decision_trail",
    ("subject",),
    subject=Field(pl.String, "`statement:ID` or `principle:ARM/ID`"),
    kind=one_of("statement or principle", "statement", "principle"),
    text=Field(pl.String, "its text (untrusted)"),
    raw_text=Field(pl.String, "a statement as its author typed it (untrusted)", nullable=True),
    author_id=Field(pl.Int64, "participant who wrote a statement", nullable=True),
    fate=Field(pl.String, "what became of it"),
    n_votes=Field(pl.Int64, "votes on a statement that count, passes included", nullable=True),
    group_ids=Field(STATEMENT_IDS, "opinion groups, in the order of the next two columns"),
    group_votes=Field(STATEMENT_IDS, "votes of each group on a statement, passes included"),
    group_agreement=Field(pl.List(pl.Float64), "share of each group that agrees with a statement"),
    gac=probability("group-aware consensus; of a principle, the highest among its statements", nullable=True),
    gac_low=probability("lower end of its interval", nullable=True),
    gac_high=probability("upper end of its interval", nullable=True),
    published_gac=probability("the score published elsewhere for a statement", nullable=True),
    rank=Field(pl.Int64, "place of a statement by consensus, 1 being the highest", nullable=True),
    selected=Field(pl.Boolean, "whether a statement reaches the cut", nullable=True),
    selection_probability=probability("share of resamples in which a statement reaches the cut", nullable=True),
    statement_ids=Field(STATEMENT_IDS, "statements behind it"),
    principle_ids=Field(IDS, "principles it leads to, as `arm/id`"),
    decision_ids=DECISION_IDS,
    n_pairs=Field(pl.Int64, "preference pairs judged under a principle", nullable=True),
    n_decided_pairs=Field(pl.Int64, "of those, pairs with a label other than one half", nullable=True),
    n_responses=Field(pl.Int64, "responses its adherence is the mean of", nullable=True),
    adherence=probability("mean adherence of its arm's policy", nullable=True),
    base_adherence=probability("mean adherence of the untrained model", nullable=True),
    story=Field(IDS, "what happened to it, step by step, in sentences"),
)
DECISION_WORLDS = contract(
    "decision_worlds",
    ("world_id",),
    world_id=count("0 is the world on record"),
    moderation=Field(pl.String, "strict or lenient: whether statements nobody decided on are out or in"),
    minimum_votes=Field(pl.String, "fewest votes for a participant to count"),
    procedure=Field(pl.String, "how opinion groups are computed"),
    imputation=Field(pl.String, "what stands for a vote not cast"),
    number_of_groups=Field(pl.String, "a fixed number, or auto where the data decide"),
    smallest_group=Field(pl.String, "fewest people that make an opinion group"),
    smoothing=Field(pl.String, "of the share of each group that agrees"),
    aggregation=Field(pl.String, "how the groups' shares become one score"),
    selection=Field(pl.String, "the rule that selects statements, and where it draws the line"),
    seed=Field(pl.String, "starting point of the search for groups"),
    importance_weight=Field(pl.String, "how often a vote counts with which a statement was marked as important"),
    changed=Field(IDS, "decisions that differ from the record"),
    combination=Field(pl.Boolean, "whether it is one of the combinations that shares are taken over"),
    grouping_id=count("worlds with the same number share their groups and votes"),
    n_groups=count("opinion groups found"),
    n_selected=count("statements that reach the cut"),
    statement_ids=Field(STATEMENT_IDS, "statements that reach the cut"),
    rejected_ids=Field(STATEMENT_IDS, "those of them that every group rejects"),
)
DECISION_SENSITIVITY = contract(
    "decision_sensitivity",
    ("decision", "alternative"),
    decision=Field(pl.String, "the numeric decision that is varied"),
    alternative=Field(pl.String, "the value tried"),
    chosen=Field(pl.Boolean, "whether this is the value on record"),
    n_groups=Field(pl.Int64, "opinion groups found"),
    n_selected=count("statements that reach the cut"),
    entering=Field(STATEMENT_IDS, "statements selected here and not on record"),
    leaving=Field(STATEMENT_IDS, "statements selected on record and not here"),
    lost_principles=Field(IDS, "principles that lose all their statements"),
    gained_principles=Field(IDS, "worded principles that are not in on record and would be in here"),
)
PRINCIPLE_ROBUSTNESS = contract(
    "principle_robustness",
    ("arm", "principle_id"),
    arm=ARM,
    principle_id=Field(pl.String, "principle of `arm`; of the derived arm, also those worded and not in"),
    statement_ids=Field(STATEMENT_IDS, "the public's statements it comes from"),
    in_on_record=Field(pl.Boolean, "whether one of them reaches the cut on record"),
    n_worlds=count("combinations of decisions that were tried"),
    n_in=count("combinations in which one of its statements reaches the cut"),
    share_in=probability("the same as a share of all combinations"),
    hangs_on=Field(IDS, "decisions of which one alternative alone brings it in or takes it out"),
)
DECISION_IMPORTANCE = contract(
    "decision_importance",
    ("decision",),
    rank=Field(pl.Int64, "1 is the decision on which most principles hang", checks=(Check.ge(1),)),
    decision=Field(pl.String, "the numeric decision"),
    chosen=Field(pl.String, "its value on record"),
    decision_ids=DECISION_IDS,
    n_alternatives=count("other values that were tried"),
    n_principles=count("principles that come in or drop out under at least one of them"),
    lost_principles=Field(IDS, "principles that drop out under at least one"),
    gained_principles=Field(IDS, "worded principles that come in under at least one"),
    n_statements=count("statements that come in or drop out under at least one"),
    difference=Field(
        pl.Float64,
        "principles in which two combinations drawn at random differ on average; null with fewer than two "
        "ways to group",
        nullable=True,
    ),
    difference_if_equal=Field(pl.Float64, "the same for two combinations that agree on this decision", nullable=True),
    share=probability(
        "how much smaller the second is than the first: what this decision alone accounts for", nullable=True
    ),
)
DECISION_REVERSALS = contract(
    "decision_reversals",
    ("reversal",),
    reversal=Field(pl.String, "id of the decision that is reversed, or `every exclusion`"),
    kind=Field(pl.String, "which kind of decision"),
    decision_ids=DECISION_IDS,
    subject_ids=Field(STATEMENT_IDS, "the statements or participants it is about"),
    supposed=Field(pl.String, "what is supposed instead"),
    regrouped=Field(pl.Boolean, "whether opinion groups were computed again; otherwise they are as they are"),
    n_groups=count("opinion groups there would be"),
    gac=probability(
        "highest consensus among its statements with the groups as they are, moderated out or not", nullable=True
    ),
    smallest_group_votes=count("votes on that statement of the group that voted least on it", nullable=True),
    entering=Field(STATEMENT_IDS, "statements that would stand behind a principle or wait for a wording"),
    leaving=Field(STATEMENT_IDS, "statements that would no longer do so"),
    lost_principles=Field(IDS, "principles that would be out"),
    gained_principles=Field(IDS, "worded principles that would be in"),
    reworded_principles=Field(IDS, "principles that would stay, and whose wording would rest on another text"),
    waiting=Field(STATEMENT_IDS, "further statements that would wait for a wording of their own"),
    consequence=Field(pl.String, "all this in a sentence"),
)
FILE = contract(
    "file",
    ("path",),
    path=Field(pl.String, "path below the consultation's folder of results"),
    file_digest=Field(pl.String, "SHA-256 of its bytes"),
    n_bytes=count("its size"),
)
LABELLING = Field(pl.String, "one way of giving every participant a group: which groups, attached how, which seed")
ORIGIN = one_of("whether the groups are the published ones or computed again", "published", "recomputed")
ATTACHED = one_of(
    "whether each group stands at the participant it was computed for (id), or at whoever has its row (position)",
    "id",
    "position",
)
SEED = Field(pl.Int64, "seed of k-means; null for published groups", nullable=True)
REPLICATED_GROUPS = contract(
    "replicated_groups",
    ("labelling", "participant_id"),
    labelling=LABELLING,
    origin=ORIGIN,
    attached=ATTACHED,
    seed=SEED,
    participant_id=PARTICIPANT_ID,
    group_id=count("opinion group"),
    automatic_groups=Field(
        pl.Int64, "number of groups with the best silhouette; null for published groups", nullable=True
    ),
)
ALIGNMENT_EVIDENCE = contract(
    "alignment_evidence",
    ("labelling",),
    labelling=LABELLING,
    origin=ORIGIN,
    attached=ATTACHED,
    seed=SEED,
    automatic_groups=Field(
        pl.Int64, "number of groups with the best silhouette; null for published groups", nullable=True
    ),
    group_sizes=Field(STATEMENT_IDS, "participants in each group, in the order of group ids"),
    n_displaced=count("participants at another place in the published file than in order of id"),
    n_compared=count("participants to whom Polis assigned a group"),
    n_agreeing=count("of those, participants in the same group as Polis's, groups paired in the best way"),
    adjusted_rand=Field(
        pl.Float64, "adjusted Rand index with the groups of Polis: 1 the same, 0 as by chance", nullable=True
    ),
    chi_square=Field(pl.Float64, "chi-square of agreement by group, summed over statements", checks=COUNT),
    shuffled=Field(
        pl.List(pl.Float64),
        "the same after shuffling groups among participants; null for recomputed groups",
        nullable=True,
    ),
    n_as_large=count("shuffles with at least this chi-square", nullable=True),
    p_value=probability("(shuffles as large + 1) / (shuffles + 1)", nullable=True),
)
REPLICATED_SCORES = contract(
    "replicated_scores",
    ("labelling", "statement_id"),
    labelling=LABELLING,
    origin=ORIGIN,
    attached=ATTACHED,
    seed=SEED,
    statement_id=STATEMENT_ID,
    gac=probability("group-aware consensus; null if a group never voted on it", nullable=True),
    group_agreement=Field(pl.List(pl.Float64), "share of each group that agrees, in the order of group ids"),
    group_votes=Field(STATEMENT_IDS, "votes of each group, passes included"),
    reaches=Field(pl.Boolean, "whether it reaches the published threshold"),
)
REPLICATED_STATEMENTS = contract(
    "replicated_statements",
    ("statement_id",),
    statement_id=STATEMENT_ID,
    text=Field(pl.String, "the statement (untrusted)"),
    published_gac=probability("as published"),
    reproduced_gac=probability("with the published groups where the file puts them"),
    corrected_gac=probability("with the published groups at the participants they belong to"),
    reproduced_low=probability("lower end of its 90 % bootstrap interval, groups held"),
    reproduced_high=probability("upper end"),
    corrected_low=probability("lower end of the 90 % bootstrap interval of the corrected score, groups held"),
    corrected_high=probability("upper end"),
    published_agreement=Field(pl.List(pl.Float64), "share of each group that agrees, as published"),
    reproduced_agreement=Field(pl.List(pl.Float64), "the same, reproduced"),
    corrected_agreement=Field(pl.List(pl.Float64), "the same, corrected"),
    crossing=one_of(
        "what the correction does at the published threshold",
        "stays above",
        "falls below",
        "rises above",
        "stays below",
    ),
    principle_ids=Field(IDS, "published principles it is a source of"),
    seeds_reaching=count("seeds with which it reaches the threshold, groups recomputed"),
    polarization_index=GAC_SCORES.fields["polarization_index"],
    adjusted_polarization_index=GAC_SCORES.fields["adjusted_polarization_index"],
)
REPLICATED_PRINCIPLES = contract(
    "replicated_principles",
    ("principle_id",),
    principle_id=Field(pl.String, "id of the published principle"),
    text=Field(pl.String, "the principle as published; empty where only its id is known"),
    statement_ids=Field(STATEMENT_IDS, "its sources"),
    published_rank=Field(pl.Int64, "its place in the published constitution"),
    corrected_rank=Field(pl.Int64, "its place by corrected consensus; null if it loses all sources", nullable=True),
    reproduced_gac=probability("highest consensus among its sources, as published"),
    corrected_gac=probability("the same, corrected"),
    lost_statement_ids=Field(STATEMENT_IDS, "sources that the correction takes below the threshold"),
    fate=one_of(
        "what the correction does to its sources",
        "keeps all its sources",
        "loses some sources",
        "loses all its sources",
    ),
    lost_seeds=Field(STATEMENT_IDS, "seeds with which, groups recomputed, none of its sources reaches the threshold"),
)
REPLICATION = contract(
    "replication",
    ("figure_id",),
    figure_id=Field(pl.String, "short name of the figure"),
    section=Field(pl.String, "where it was published"),
    what=Field(pl.String, "what it tells"),
    unit=Field(pl.String, "its unit, if it has one", nullable=True),
    published=Field(pl.String, "as published"),
    reproduced=Field(
        pl.Float64, "from the public files, groups attached as published; null if not computed", nullable=True
    ),
    corrected=Field(pl.Float64, "the same, groups attached by id", nullable=True),
    recomputed_low=Field(
        pl.Float64, "smallest value over the seeds, groups recomputed; null if groups play no part", nullable=True
    ),
    recomputed_high=Field(pl.Float64, "largest value over the seeds", nullable=True),
    rests_on_groups=Field(
        pl.Boolean, "whether it depends on who is in which group; null if not computed", nullable=True
    ),
    verdict=one_of(
        "whether the reproduced figure, rounded as printed, is the published one", "equal", "differs", "not computed"
    ),
    explanation=Field(pl.String, "how it was computed, or why it cannot be"),
)
