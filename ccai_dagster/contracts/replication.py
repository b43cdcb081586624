"""The published study computed again."""

from __future__ import annotations

import polars as pl

from ccai_dagster.contracts.deliberation import GAC_SCORES
from ccai_dagster.contracts.schema import (
    COUNT,
    IDS,
    PARTICIPANT_ID,
    STATEMENT_ID,
    STATEMENT_IDS,
    Field,
    contract,
    count,
    one_of,
    probability,
)

LABELLING = Field(
    pl.String, "one way of giving every participant a group: which groups, attached how, which seed"
)
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
    text=Field(pl.String, "the principle as published"),
    statement_ids=Field(STATEMENT_IDS, "its sources"),
    published_rank=Field(pl.Int64, "its place in the published constitution"),
    corrected_rank=Field(
        pl.Int64, "its place by corrected consensus; null if it loses all sources", nullable=True
    ),
    reproduced_gac=probability("highest consensus among its sources, as published"),
    corrected_gac=probability("the same, corrected"),
    lost_statement_ids=Field(STATEMENT_IDS, "sources that the correction takes below the threshold"),
    fate=one_of(
        "what the correction does to its sources",
        "keeps all its sources",
        "loses some sources",
        "loses all its sources",
    ),
    lost_seeds=Field(
        STATEMENT_IDS, "seeds with which, groups recomputed, none of its sources reaches the threshold"
    ),
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
        pl.Float64,
        "smallest value over the seeds, groups recomputed; null if groups play no part",
        nullable=True,
    ),
    recomputed_high=Field(pl.Float64, "largest value over the seeds", nullable=True),
    rests_on_groups=Field(
        pl.Boolean, "whether it depends on who is in which group; null if not computed", nullable=True
    ),
    verdict=one_of(
        "whether the reproduced figure, rounded as printed, is the published one",
        "equal",
        "differs",
        "not computed",
    ),
    explanation=Field(pl.String, "how it was computed, or why it cannot be"),
)
