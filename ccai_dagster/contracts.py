"""The schema of every table that crosses from one room of the graph to another.

Each `Contract` names a table, its primary key and its columns with a sentence a reader can understand;
the same sentences are shown in Dagster's column schema. Checks of content that need more than one table
belong to the asset checks, not here.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import polars as pl

if TYPE_CHECKING:
    import pandera.polars as pa

IDS = pl.List(pl.String)
STATEMENT_IDS = pl.List(pl.Int64)
TIME = pl.Datetime("ms", "UTC")


@dataclass(frozen=True)
class Check:
    """What must hold of every value of a column, by the name that pandera has for it.

    Pandera takes a second to load; it is loaded when a table is checked, not when one is read.
    """

    name: str
    arguments: tuple[Any, ...]

    @classmethod
    def isin(cls, values: list[Any]) -> Check:
        """One of these values."""
        return cls("isin", (tuple(values),))

    @classmethod
    def in_range(cls, low: float, high: float) -> Check:
        """From `low` to `high`, both included."""
        return cls("in_range", (low, high))

    @classmethod
    def gt(cls, low: float) -> Check:
        """Above `low`."""
        return cls("gt", (low,))

    @classmethod
    def ge(cls, low: float) -> Check:
        """Not below `low`."""
        return cls("ge", (low,))


@dataclass(frozen=True)
class Field:
    """One column: its type, what it means, whether it may be missing, and what else must hold."""

    dtype: Any
    meaning: str
    nullable: bool = False
    checks: tuple[Check, ...] = ()


@dataclass(frozen=True)
class Contract:
    """A table's name, primary key and columns; `violations` tells where a table breaks it.

    Attributes:
        name: Of the table.
        key: Columns that together name a row.
        fields: The columns.
        intervals: Value, lower and upper end, by column: where there is a value there are finite ends, and it
            lies between them.
    """

    name: str
    key: tuple[str, ...]
    fields: Mapping[str, Field]
    intervals: tuple[tuple[str, str, str], ...] = ()

    @cached_property
    def schema(self) -> pa.DataFrameSchema:
        """The pandera schema: exactly these columns, in any order, with a unique primary key."""
        import pandera.polars as pa

        return pa.DataFrameSchema(
            {
                name: pa.Column(
                    field.dtype,
                    [getattr(pa.Check, check.name)(*check.arguments) for check in field.checks],
                    nullable=field.nullable,
                    description=field.meaning,
                )
                for name, field in self.fields.items()
            },
            checks=[_interval_check(*columns) for columns in self.intervals],
            unique=list(self.key),
            strict=True,
            name=self.name,
        )

    @property
    def dtypes(self) -> dict[str, Any]:
        """Column names and Polars types, to build a table with."""
        return {name: field.dtype for name, field in self.fields.items()}

    def empty(self) -> pl.DataFrame:
        """A table with these columns and no rows."""
        return pl.DataFrame(schema=self.dtypes)

    def build(self, rows: list[dict[str, Any]]) -> pl.DataFrame:
        """A table of these columns from a list of dicts; a missing or unknown key is an error."""
        for row in rows:
            if set(row) != set(self.fields):
                raise ValueError(f"{self.name}: columns {sorted(set(row) ^ set(self.fields))} do not match")
        return pl.DataFrame(rows, schema=self.dtypes)

    def violations(self, table: pl.DataFrame) -> pl.DataFrame:
        """Return one row a violation (`column`, `check`, `failure_case`, `index`); empty if none.

        The table must be collected: pandera skips checks of content on a LazyFrame without a word.
        """
        import pandera.polars as pa

        try:
            self.schema.validate(table, lazy=True)
        except (pa.errors.SchemaErrors, pa.errors.SchemaError) as error:
            cases = error.failure_cases
            if isinstance(cases, pl.DataFrame):
                return cases.select(pl.col("column", "check", "failure_case", "index").cast(pl.String))
            return pl.DataFrame(
                {"column": [None], "check": [str(error)], "failure_case": [None], "index": [None]},
                schema=dict.fromkeys(("column", "check", "failure_case", "index"), pl.String),
            )
        return pl.DataFrame(schema=dict.fromkeys(("column", "check", "failure_case", "index"), pl.String))


def _interval_check(value: str, low: str, high: str) -> Any:
    """Return pandera's check that a value has an interval it lies in."""
    import pandera.polars as pa

    inside = (
        pl.all_horizontal(pl.col(value, low, high).is_finite()) & pl.col(value).is_between(low, high)
    ).fill_null(False)
    return pa.Check(
        lambda data: data.lazyframe.select(pl.when(pl.col(value).is_null()).then(True).otherwise(inside)),
        name=f"{value} within {low} and {high}",
    )


PROBABILITY = (Check.in_range(0.0, 1.0),)
COUNT = (Check.ge(0),)
STATEMENT_ID = Field(pl.Int64, "id of the statement in the consultation", checks=COUNT)
PARTICIPANT_ID = Field(pl.Int64, "id of the participant in the consultation", checks=COUNT)
VOTE = Field(pl.Int8, "agree +1, disagree -1, pass 0", checks=(Check.isin([-1, 0, 1]),))
DECISION_IDS = Field(IDS, "ids of the ledger rows this row rests on")
ARM = Field(pl.String, "the constitution a model is trained on, or `base` for the untrained model")
JUDGE_AT_CHANCE = Field(
    pl.Boolean, "whether it rests on a judge whose accuracy was not measured to be above one half"
)
QUALITY = Field(
    pl.String,
    "what is compared: helpfulness or harmlessness",
    checks=(Check.isin(["helpfulness", "harmlessness"]),),
)
SEPARATED = Field(
    pl.Boolean, "whether one of the two always won, so that only a weak prior keeps the difference finite"
)


def _contract(
    name: str, key: tuple[str, ...], *, intervals: tuple[tuple[str, str, str], ...] = (), **fields: Field
) -> Contract:
    return Contract(name, key, fields, intervals)


# --- public_input -----------------------------------------------------------------------------------
RAW_STATEMENTS = _contract(
    "raw_statements",
    ("statement_id",),
    statement_id=STATEMENT_ID,
    author_id=Field(pl.Int64, "participant who wrote it", nullable=True),
    created_at=Field(TIME, "when it was submitted", nullable=True),
    moderated=Field(
        pl.Int8,
        "moderation in the export: 1 in, -1 out, 0 never moderated",
        checks=(Check.isin([-1, 0, 1]),),
    ),
    is_seed=Field(
        pl.Boolean, "written by the organisers before it opened, if the export tells", nullable=True
    ),
    is_meta=Field(
        pl.Boolean, "about the conversation itself and not its subject, if the export tells", nullable=True
    ),
    text=Field(pl.String, "the statement as its author typed it (untrusted)"),
)
RAW_VOTES = _contract(
    "raw_votes",
    ("participant_id", "statement_id"),
    participant_id=PARTICIPANT_ID,
    statement_id=STATEMENT_ID,
    vote=VOTE,
    voted_at=Field(TIME, "when the vote that counts was cast", nullable=True),
    times_voted=Field(pl.Int32, "votes cast by this participant on this statement; the last counts"),
)
RAW_PARTICIPANTS = _contract(
    "raw_participants",
    ("participant_id",),
    participant_id=PARTICIPANT_ID,
    n_votes=Field(pl.Int64, "statements voted on, counted from the votes", checks=COUNT),
    polis_group=Field(pl.Int64, "the opinion group Polis itself assigned, if exported", nullable=True),
)
IMPORT_REPORT = _contract(
    "import_report",
    ("item",),
    item=Field(pl.String, "what was counted or found"),
    kind=Field(
        pl.String,
        "found as it is, repaired while importing, or unknown from the export alone",
        checks=(Check.isin(["found", "repaired", "unknown"]),),
    ),
    count=Field(pl.Int64, "how many", nullable=True),
    explanation=Field(pl.String, "what it means and what was done about it"),
)

# --- decisions --------------------------------------------------------------------------------------
LEDGER = _contract(
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
    supersedes=Field(
        pl.String, "the earlier decisions that this one replaces, separated by spaces", nullable=True
    ),
    inputs_digest=Field(pl.String, "digest of what the decision was taken on", nullable=True),
    suggested_by=Field(pl.String, "what proposed it, if not a person", nullable=True),
)

# --- deliberation -----------------------------------------------------------------------------------
STATEMENTS = _contract(
    "statements",
    ("statement_id",),
    statement_id=STATEMENT_ID,
    author_id=Field(pl.Int64, "participant who wrote it", nullable=True),
    text=Field(pl.String, "the text that counts, after a rewrite by moderation (untrusted)"),
    raw_text=Field(pl.String, "the text as its author typed it (untrusted)"),
    rewritten=Field(pl.Boolean, "whether moderation changed the text"),
    decision_ids=DECISION_IDS,
)
PARTICIPANTS = _contract(
    "participants",
    ("participant_id",),
    participant_id=PARTICIPANT_ID,
    n_votes=Field(pl.Int64, "statements voted on, all statements counted", checks=COUNT),
    kept=Field(pl.Boolean, "whether the votes count"),
    fate=Field(pl.String, "why kept or not", checks=(Check.isin(["kept", "too few votes", "excluded"]),)),
    polis_group=Field(pl.Int64, "the opinion group Polis itself assigned, if exported", nullable=True),
    decision_ids=DECISION_IDS,
)
VOTES = _contract(
    "votes",
    ("participant_id", "statement_id"),
    participant_id=PARTICIPANT_ID,
    statement_id=STATEMENT_ID,
    vote=VOTE,
)
OPINION_GROUPS = _contract(
    "opinion_groups",
    ("participant_id",),
    participant_id=PARTICIPANT_ID,
    group_id=Field(pl.Int64, "opinion group, 0 being the largest", checks=COUNT),
    x=Field(pl.Float64, "first coordinate of the opinion map"),
    y=Field(pl.Float64, "second coordinate of the opinion map"),
)
GAC_SCORES = _contract(
    "gac_scores",
    ("statement_id",),
    statement_id=STATEMENT_ID,
    n_votes=Field(pl.Int64, "votes of kept participants, passes included", checks=COUNT),
    n_agree=Field(pl.Int64, "agreeing votes", checks=COUNT),
    n_disagree=Field(pl.Int64, "disagreeing votes", checks=COUNT),
    n_pass=Field(pl.Int64, "passes", checks=COUNT),
    gac=Field(
        pl.Float64,
        "group-aware consensus; null if a group never voted on it and nothing is smoothed",
        nullable=True,
        checks=PROBABILITY,
    ),
    polarization_index=Field(
        pl.Float64, "1 - |agree share - disagree share|", nullable=True, checks=PROBABILITY
    ),
    adjusted_polarization_index=Field(
        pl.Float64,
        "polarization index times the share of votes that are not passes",
        nullable=True,
        checks=PROBABILITY,
    ),
    group_ids=Field(STATEMENT_IDS, "opinion groups, in the order of the next two columns"),
    group_votes=Field(STATEMENT_IDS, "votes of each group, passes included"),
    group_agreement=Field(pl.List(pl.Float64), "share of each group that agrees"),
    published_gac=Field(
        pl.Float64,
        "the score published elsewhere for this consultation, if any",
        nullable=True,
        checks=PROBABILITY,
    ),
)
SIDE = Field(
    pl.String, "whether the votes counted agree or disagree", checks=(Check.isin(["agree", "disagree"]),)
)
REPRESENTATIVE_STATEMENTS = _contract(
    "representative_statements",
    ("group_id", "statement_id"),
    group_id=Field(pl.Int64, "opinion group", checks=COUNT),
    statement_id=STATEMENT_ID,
    rank=Field(pl.Int64, "place among the group's statements as Polis shows them", checks=(Check.ge(1),)),
    side=SIDE,
    best_agreed=Field(pl.Boolean, "whether it is the statement the group agrees with best"),
    eligible=Field(
        pl.Boolean,
        "whether the group's share exceeds one half and the share of everybody else, both at one-tailed 90 %",
    ),
    n_side=Field(pl.Int64, "votes of the group on that side", checks=COUNT),
    n_votes=Field(pl.Int64, "votes of the group, passes included", checks=COUNT),
    probability=Field(pl.Float64, "smoothed share of the group on that side", checks=PROBABILITY),
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
CONSENSUS_STATEMENTS = _contract(
    "consensus_statements",
    ("side", "statement_id"),
    side=SIDE,
    statement_id=STATEMENT_ID,
    rank=Field(pl.Int64, "1 is the clearest of its side", checks=(Check.in_range(1, 5),)),
    n_side=Field(pl.Int64, "votes of everybody on that side", checks=COUNT),
    n_votes=Field(pl.Int64, "votes of everybody, passes included", checks=COUNT),
    probability=Field(pl.Float64, "smoothed share of everybody on that side", checks=PROBABILITY),
    probability_z=Field(pl.Float64, "z statistic of the share against one half"),
)
COMMENT_PRIORITIES = _contract(
    "comment_priorities",
    ("statement_id",),
    statement_id=STATEMENT_ID,
    n_votes=Field(pl.Int64, "votes, passes included", checks=COUNT),
    n_agree=Field(pl.Int64, "agreeing votes", checks=COUNT),
    n_pass=Field(pl.Int64, "passes", checks=COUNT),
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
CONSENSUS_STABILITY = _contract(
    "consensus_stability",
    ("statement_id",),
    statement_id=STATEMENT_ID,
    gac=Field(pl.Float64, "group-aware consensus on the votes as cast", nullable=True, checks=PROBABILITY),
    gac_low=Field(
        pl.Float64,
        "lower end of its 90 % interval, from drawing participants anew",
        nullable=True,
        checks=PROBABILITY,
    ),
    gac_high=Field(
        pl.Float64,
        "upper end of its 90 % interval, from drawing participants anew",
        nullable=True,
        checks=PROBABILITY,
    ),
    gac_low_same_groups=Field(
        pl.Float64,
        "lower end of the same interval with the groups held as on record",
        nullable=True,
        checks=PROBABILITY,
    ),
    gac_high_same_groups=Field(
        pl.Float64,
        "upper end of the same interval with the groups held as on record",
        nullable=True,
        checks=PROBABILITY,
    ),
    selection_probability=Field(
        pl.Float64, "share of the draws of participants in which it reaches the cut", checks=PROBABILITY
    ),
    gac_low_seeds=Field(
        pl.Float64,
        "lowest score when the same votes are grouped with other seeds",
        nullable=True,
        checks=PROBABILITY,
    ),
    gac_high_seeds=Field(
        pl.Float64,
        "highest score when the same votes are grouped with other seeds",
        nullable=True,
        checks=PROBABILITY,
    ),
    selection_share_seeds=Field(
        pl.Float64, "share of the other seeds under which it reaches the cut", checks=PROBABILITY
    ),
    smallest_group_votes=Field(pl.Int64, "votes of the group that voted least on it", checks=COUNT),
    few_votes=Field(pl.Boolean, "whether those votes are too few to tell what share of that group agrees"),
)
GROUP_STABILITY = _contract(
    "group_stability",
    ("varied", "draw"),
    varied=Field(
        pl.String,
        "what differs from the groups on record: the weights of participants, or the seed of k-means",
        checks=(Check.isin(["participants", "seed"]),),
    ),
    draw=Field(pl.Int64, "number of the grouping, from 1", checks=(Check.ge(1),)),
    n_groups=Field(pl.Int64, "opinion groups found", checks=(Check.ge(1),)),
    adjusted_rand=Field(
        pl.Float64,
        "agreement with the groups on record: 1 the same, 0 as by chance",
        checks=(Check.in_range(-1.0, 1.0),),
    ),
)

# --- constitution -----------------------------------------------------------------------------------
SELECTED_STATEMENTS = _contract(
    "selected_statements",
    ("statement_id",),
    statement_id=STATEMENT_ID,
    text=Field(pl.String, "the statement (untrusted)"),
    gac=Field(pl.Float64, "group-aware consensus", nullable=True, checks=PROBABILITY),
    rank=Field(pl.Int64, "1 is the highest consensus"),
    selected=Field(pl.Boolean, "whether it reaches the cut"),
    ideas=Field(IDS, "distinct ideas it expresses, from the idea ledger"),
    new_ideas=Field(pl.Int64, "ideas no statement ranked above it expresses", checks=COUNT),
    fate=Field(
        pl.String,
        "principle, left out by a person, undecided (reaches the cut, nobody has worded it), below the cut",
        checks=(Check.isin(["principle", "left out", "undecided", "below the cut"]),),
    ),
    decision_ids=DECISION_IDS,
)
CONSTITUTION = _contract(
    "constitution",
    ("principle_id",),
    principle_id=Field(pl.String, "id of the principle, unique in its arm"),
    arm=ARM,
    text=Field(pl.String, "the principle as an instruction to the model"),
    statement_ids=Field(STATEMENT_IDS, "the public's statements it comes from; empty if none"),
    merged_text=Field(pl.String, "the statement text it was worded from", nullable=True),
    gac=Field(
        pl.Float64, "highest group-aware consensus among its statements", nullable=True, checks=PROBABILITY
    ),
    decision_ids=DECISION_IDS,
)
CONSTITUTION_OVERLAP = _contract(
    "constitution_overlap",
    ("arm", "principle_id", "other_arm"),
    arm=ARM,
    principle_id=Field(pl.String, "principle of `arm`"),
    other_arm=Field(pl.String, "the constitution compared with"),
    nearest_principle_id=Field(pl.String, "the most similar principle of `other_arm`"),
    similarity=Field(pl.Float64, "cosine similarity of word n-grams", checks=PROBABILITY),
    shared=Field(pl.Boolean, "whether the similarity reaches the recorded cut"),
    tags=Field(IDS, "people's tags of the principle; empty if nobody tagged it"),
    same_tag_principle_ids=Field(IDS, "principles of `other_arm` that carry one of these tags"),
    shared_by_tags=Field(
        pl.Boolean,
        "whether there is such a principle; null if this one or the other constitution has no tags",
        nullable=True,
    ),
    framing=Field(
        pl.String,
        "whether it says what to do, what to avoid, or both, by its words",
        checks=(Check.isin(["do", "avoid", "both"]),),
    ),
)
CONSTITUTION_COMPARISON = _contract(
    "constitution_comparison",
    ("arm", "other_arm", "measure"),
    intervals=(("value", "low", "high"), ("difference", "difference_low", "difference_high")),
    arm=ARM,
    other_arm=Field(pl.String, "the constitution compared with"),
    measure=Field(
        pl.String,
        "what share of the principles of `arm`, or how far two ways to find counterparts agree (kappa)",
    ),
    n=Field(pl.Int64, "principles of `arm` it is measured on", checks=COUNT),
    value=Field(pl.Float64, "the share, 0 to 1, or kappa; null where it is not defined", nullable=True),
    low=Field(pl.Float64, "lower end of the 95 % interval"),
    high=Field(pl.Float64, "upper end of the 95 % interval"),
    difference=Field(
        pl.Float64, "the share less that of `other_arm`; null where it rests on both already", nullable=True
    ),
    difference_low=Field(pl.Float64, "lower end of its 95 % interval", nullable=True),
    difference_high=Field(pl.Float64, "upper end of its 95 % interval", nullable=True),
    published=Field(pl.String, "what was printed of a published comparison, if there is one", nullable=True),
)

# --- replication ------------------------------------------------------------------------------------
LABELLING = Field(
    pl.String, "one way of giving every participant a group: which groups, attached how, which seed"
)
ORIGIN = Field(
    pl.String,
    "whether the groups are the published ones or computed again",
    checks=(Check.isin(["published", "recomputed"]),),
)
ATTACHED = Field(
    pl.String,
    "whether each group stands at the participant it was computed for (id), or at whoever has its row (position)",
    checks=(Check.isin(["id", "position"]),),
)
SEED = Field(pl.Int64, "seed of k-means; null for published groups", nullable=True)
REPLICATED_GROUPS = _contract(
    "replicated_groups",
    ("labelling", "participant_id"),
    labelling=LABELLING,
    origin=ORIGIN,
    attached=ATTACHED,
    seed=SEED,
    participant_id=PARTICIPANT_ID,
    group_id=Field(pl.Int64, "opinion group", checks=COUNT),
    automatic_groups=Field(
        pl.Int64, "number of groups with the best silhouette; null for published groups", nullable=True
    ),
)
ALIGNMENT_EVIDENCE = _contract(
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
    n_displaced=Field(
        pl.Int64, "participants at another place in the published file than in order of id", checks=COUNT
    ),
    n_compared=Field(pl.Int64, "participants to whom Polis assigned a group", checks=COUNT),
    n_agreeing=Field(
        pl.Int64,
        "of those, participants in the same group as Polis's, groups paired in the best way",
        checks=COUNT,
    ),
    adjusted_rand=Field(
        pl.Float64, "adjusted Rand index with the groups of Polis: 1 the same, 0 as by chance", nullable=True
    ),
    chi_square=Field(pl.Float64, "chi-square of agreement by group, summed over statements", checks=COUNT),
    shuffled=Field(
        pl.List(pl.Float64),
        "the same after shuffling groups among participants; null for recomputed groups",
        nullable=True,
    ),
    n_as_large=Field(pl.Int64, "shuffles with at least this chi-square", nullable=True, checks=COUNT),
    p_value=Field(pl.Float64, "(shuffles as large + 1) / (shuffles + 1)", nullable=True, checks=PROBABILITY),
)
REPLICATED_SCORES = _contract(
    "replicated_scores",
    ("labelling", "statement_id"),
    labelling=LABELLING,
    origin=ORIGIN,
    attached=ATTACHED,
    seed=SEED,
    statement_id=STATEMENT_ID,
    gac=Field(
        pl.Float64,
        "group-aware consensus; null if a group never voted on it",
        nullable=True,
        checks=PROBABILITY,
    ),
    group_agreement=Field(pl.List(pl.Float64), "share of each group that agrees, in the order of group ids"),
    group_votes=Field(STATEMENT_IDS, "votes of each group, passes included"),
    reaches=Field(pl.Boolean, "whether it reaches the published threshold"),
)
REPLICATED_STATEMENTS = _contract(
    "replicated_statements",
    ("statement_id",),
    statement_id=STATEMENT_ID,
    text=Field(pl.String, "the statement (untrusted)"),
    published_gac=Field(pl.Float64, "as published", checks=PROBABILITY),
    reproduced_gac=Field(
        pl.Float64, "with the published groups where the file puts them", checks=PROBABILITY
    ),
    corrected_gac=Field(
        pl.Float64, "with the published groups at the participants they belong to", checks=PROBABILITY
    ),
    reproduced_low=Field(
        pl.Float64, "lower end of its 90 % bootstrap interval, groups held", checks=PROBABILITY
    ),
    reproduced_high=Field(pl.Float64, "upper end", checks=PROBABILITY),
    corrected_low=Field(
        pl.Float64,
        "lower end of the 90 % bootstrap interval of the corrected score, groups held",
        checks=PROBABILITY,
    ),
    corrected_high=Field(pl.Float64, "upper end", checks=PROBABILITY),
    published_agreement=Field(pl.List(pl.Float64), "share of each group that agrees, as published"),
    reproduced_agreement=Field(pl.List(pl.Float64), "the same, reproduced"),
    corrected_agreement=Field(pl.List(pl.Float64), "the same, corrected"),
    crossing=Field(
        pl.String,
        "what the correction does at the published threshold",
        checks=(Check.isin(["stays above", "falls below", "rises above", "stays below"]),),
    ),
    principle_ids=Field(IDS, "published principles it is a source of"),
    seeds_reaching=Field(
        pl.Int64, "seeds with which it reaches the threshold, groups recomputed", checks=COUNT
    ),
    polarization_index=GAC_SCORES.fields["polarization_index"],
    adjusted_polarization_index=GAC_SCORES.fields["adjusted_polarization_index"],
)
REPLICATED_PRINCIPLES = _contract(
    "replicated_principles",
    ("principle_id",),
    principle_id=Field(pl.String, "id of the published principle"),
    text=Field(pl.String, "the principle as published"),
    statement_ids=Field(STATEMENT_IDS, "its sources"),
    published_rank=Field(pl.Int64, "its place in the published constitution"),
    corrected_rank=Field(
        pl.Int64, "its place by corrected consensus; null if it loses all sources", nullable=True
    ),
    reproduced_gac=Field(pl.Float64, "highest consensus among its sources, as published", checks=PROBABILITY),
    corrected_gac=Field(pl.Float64, "the same, corrected", checks=PROBABILITY),
    lost_statement_ids=Field(STATEMENT_IDS, "sources that the correction takes below the threshold"),
    fate=Field(
        pl.String,
        "what the correction does to its sources",
        checks=(Check.isin(["keeps all its sources", "loses some sources", "loses all its sources"]),),
    ),
    lost_seeds=Field(
        STATEMENT_IDS, "seeds with which, groups recomputed, none of its sources reaches the threshold"
    ),
)
REPLICATION = _contract(
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
    verdict=Field(
        pl.String,
        "whether the reproduced figure, rounded as printed, is the published one",
        checks=(Check.isin(["equal", "differs", "not computed"]),),
    ),
    explanation=Field(pl.String, "how it was computed, or why it cannot be"),
)

# --- models -----------------------------------------------------------------------------------------
MODEL = _contract(
    "model",
    ("model_digest",),
    model_digest=Field(pl.String, "digest of the model's folder in the model store"),
    stage=Field(pl.String, "base_model, feedback_model, supervised_policy, preference_model or policy"),
    arm=ARM,
    parent_digest=Field(pl.String, "digest of the model it was trained from", nullable=True),
    constitution_digest=Field(pl.String, "digest of the constitution it was trained on", nullable=True),
    settings_digest=Field(pl.String, "digest of everything else it was trained with"),
    settings=Field(pl.String, "everything else it was trained with, as JSON"),
    metrics=Field(pl.String, "training figures as JSON"),
)
MODEL_CARDS = _contract(
    "model_cards",
    ("arm", "stage"),
    arm=ARM,
    stage=Field(pl.String, "supervised_policy, preference_model or policy"),
    model_digest=Field(pl.String, "digest of the model's folder in the model store"),
    constitution_digest=Field(pl.String, "digest of the constitution it was trained on"),
    judge_at_chance=Field(
        pl.Boolean,
        "whether the feedback model, asked as decided, was no better than chance; null if not measured",
        nullable=True,
    ),
    registered_name=Field(pl.String, "name of the model in MLflow's registry"),
    registered_version=Field(pl.Int64, "its version there", checks=COUNT),
    alias=Field(pl.String, "its alias there"),
    card=Field(pl.String, "Markdown"),
)

BENIGN_PAIRS = _contract(
    "benign_pairs",
    ("pair_id",),
    pair_id=Field(pl.String, "id of the pair"),
    prompt=Field(pl.String, "what the user says; nobody needs to be protected from it"),
    manner=Field(
        pl.String,
        "what makes one response annoying",
        checks=(Check.isin(["refusing", "apologising", "lecturing"]),),
    ),
    plain=Field(pl.String, "a plain and helpful response"),
    annoying=Field(pl.String, "a response that refuses, apologises or lectures"),
)
PREFERENCE_BALANCE = _contract(
    "preference_balance",
    ("arm", "harmlessness_weight"),
    arm=ARM,
    harmlessness_weight=Field(pl.Float64, "loss weight of AI harmlessness labels", checks=COUNT),
    chosen=Field(pl.Boolean, "whether this weight is the one on record"),
    decision_ids=DECISION_IDS,
    benign_n=Field(pl.Int64, "pairs of a plain and an annoying response", checks=COUNT),
    annoyance=Field(
        pl.Float64, "share of pairs in which the annoying response scores higher", checks=PROBABILITY
    ),
    annoyance_low=Field(pl.Float64, "lower end of its 95 % interval, over prompts"),
    annoyance_high=Field(pl.Float64, "upper end of its 95 % interval, over prompts"),
    refusing=Field(pl.Float64, "the same share where it refuses", nullable=True),
    apologising=Field(pl.Float64, "the same share where it apologises", nullable=True),
    lecturing=Field(pl.Float64, "the same share where it lectures", nullable=True),
    greeting_margin=Field(
        pl.Float64, "how much higher the plain response to `hey` scores than the annoying ones", nullable=True
    ),
    harmlessness_n=Field(pl.Int64, "held-out AI labels with a decided side", checks=COUNT),
    harmlessness_accuracy=Field(pl.Float64, "share of them the preference model agrees with", nullable=True),
    harmlessness_accuracy_low=Field(pl.Float64, "lower end of its 95 % interval", nullable=True),
    harmlessness_accuracy_high=Field(pl.Float64, "upper end of its 95 % interval", nullable=True),
    helpfulness_n=Field(pl.Int64, "held-out human comparisons with a decided side", checks=COUNT),
    helpfulness_accuracy=Field(pl.Float64, "share of them the preference model agrees with", nullable=True),
    helpfulness_accuracy_low=Field(pl.Float64, "lower end of its 95 % interval", nullable=True),
    helpfulness_accuracy_high=Field(pl.Float64, "upper end of its 95 % interval", nullable=True),
)


def training_settings(arms: Iterable[str]) -> Contract:
    """The contract of the table of settings: one column an arm, named `in_` and the arm."""
    return _contract(
        "training_settings",
        ("stage", "setting"),
        stage=Field(pl.String, "what is trained with it, or `every stage`"),
        setting=Field(pl.String, "name of the setting"),
        intervals=(),
        **{f"in_{arm}": Field(pl.String, f"its value in the arm {arm}", nullable=True) for arm in arms},
        differs=Field(pl.Boolean, "whether the arms differ in it"),
    )


# --- feedback ---------------------------------------------------------------------------------------
PROMPTS = _contract(
    "prompts",
    ("prompt_id",),
    prompt_id=Field(pl.String, "id of the prompt"),
    text=Field(pl.String, "what the user says"),
    purpose=Field(
        pl.String,
        "what it is used for",
        checks=(Check.isin(["revision", "preference", "policy", "held_out", "qualitative"]),),
    ),
    themes=Field(IDS, "themes it exercises, or principles as `arm/principle_id`"),
    relevant_principles=Field(
        IDS, "`arm/principle_id` of every principle it names or that has one of these themes"
    ),
)
PROMPT_COVERAGE = _contract(
    "prompt_coverage",
    ("arm", "principle_id"),
    arm=Field(pl.String, "name of the arm"),
    principle_id=Field(pl.String, "id of the principle"),
    text=Field(pl.String, "the principle"),
    revision=Field(pl.Int64, "relevant prompts that are answered, criticised and revised", checks=COUNT),
    preference=Field(pl.Int64, "relevant prompts whose responses are compared", checks=COUNT),
    policy=Field(pl.Int64, "relevant prompts that the policy is trained on", checks=COUNT),
    held_out=Field(pl.Int64, "relevant prompts that only measure the models", checks=COUNT),
    qualitative=Field(pl.Int64, "relevant prompts whose responses are shown side by side", checks=COUNT),
    training=Field(pl.Int64, "the first three together", checks=COUNT),
    below_minimum=Field(pl.Boolean, "whether these are fewer than the minimum on record"),
)
JUDGE_ANSWERS = _contract(
    "judge_answers",
    ("method", "comparison_set", "pair_id"),
    method=Field(pl.String, "how the feedback model was asked"),
    comparison_set=Field(pl.String, "the labelled comparisons the pair belongs to"),
    pair_id=Field(pl.String, "id of the comparison in its set"),
    prompt=Field(pl.String, "what the user says"),
    principle=Field(pl.String, "the principle it was judged under"),
    characters_a=Field(pl.Int64, "length of response a", checks=COUNT),
    characters_b=Field(pl.Int64, "length of response b", checks=COUNT),
    label=Field(pl.Float64, "share of people who preferred response a", checks=PROBABILITY),
    forward_probability=Field(
        pl.Float64, "probability of response a when it is shown first", nullable=True, checks=PROBABILITY
    ),
    reversed_probability=Field(
        pl.Float64, "probability of response a when it is shown second", nullable=True, checks=PROBABILITY
    ),
    probability_a=Field(
        pl.Float64,
        "probability that response a is the better one; null if the answer was unusable",
        nullable=True,
        checks=PROBABILITY,
    ),
    feedback_model=Field(pl.String, "digest or name of the feedback model"),
)
JUDGE_CALIBRATION = _contract(
    "judge_calibration",
    ("method", "comparison_set"),
    method=Field(pl.String, "how the feedback model was asked"),
    comparison_set=Field(pl.String, "the labelled comparisons it was measured on"),
    feedback_model=Field(pl.String, "digest or name of the feedback model"),
    n=Field(pl.Int64, "comparisons", checks=COUNT),
    n_unanswered=Field(pl.Int64, "comparisons on which it gave no usable answer", checks=COUNT),
    accuracy=Field(
        pl.Float64, "share agreeing with the label, both orders averaged, ties one half", checks=PROBABILITY
    ),
    accuracy_low=Field(pl.Float64, "lower end of the 95 % interval", checks=PROBABILITY),
    accuracy_high=Field(pl.Float64, "upper end of the 95 % interval", checks=PROBABILITY),
    position_bias=Field(
        pl.Float64, "mean probability of the first option over both orders; 0.5 is none", checks=PROBABILITY
    ),
    position_bias_low=Field(pl.Float64, "lower end of its 95 % interval", checks=PROBABILITY),
    position_bias_high=Field(pl.Float64, "upper end of its 95 % interval", checks=PROBABILITY),
    flip_rate=Field(
        pl.Float64,
        "share of comparisons whose answer follows the content when the order is swapped",
        checks=PROBABILITY,
    ),
    flip_rate_low=Field(pl.Float64, "lower end of its 95 % interval", checks=PROBABILITY),
    flip_rate_high=Field(pl.Float64, "upper end of its 95 % interval", checks=PROBABILITY),
    longer_labelled=Field(
        pl.Float64,
        "share of the comparisons in which people preferred the longer response; null if none differ in length",
        nullable=True,
        checks=PROBABILITY,
    ),
    length_bias=Field(
        pl.Float64,
        "how much more often it preferred the longer response than people did, -1 to 1",
        nullable=True,
        checks=(Check.in_range(-1.0, 1.0),),
    ),
    length_bias_low=Field(pl.Float64, "lower end of its 95 % interval", nullable=True),
    length_bias_high=Field(pl.Float64, "upper end of its 95 % interval", nullable=True),
    calibration_error=Field(
        pl.Float64,
        "mean distance of its confidence from the share it is right, over bins of confidence; null if silent",
        nullable=True,
        checks=PROBABILITY,
    ),
    calibration_error_low=Field(pl.Float64, "lower end of its 95 % interval", nullable=True),
    calibration_error_high=Field(pl.Float64, "upper end of its 95 % interval", nullable=True),
    at_chance=Field(pl.Boolean, "whether the interval of the accuracy includes one half or lies below it"),
)
JUDGE_CALIBRATION_CURVE = _contract(
    "judge_calibration_curve",
    ("method", "comparison_set", "low"),
    method=Field(pl.String, "how the feedback model was asked"),
    comparison_set=Field(pl.String, "the labelled comparisons it was measured on"),
    low=Field(pl.Float64, "least confidence of the bin", checks=PROBABILITY),
    high=Field(pl.Float64, "most confidence of the bin", checks=PROBABILITY),
    n=Field(pl.Int64, "answered comparisons in the bin", checks=COUNT),
    confidence=Field(pl.Float64, "mean probability it gave to the response it preferred", checks=PROBABILITY),
    agreement=Field(pl.Float64, "share of people who preferred that response", checks=PROBABILITY),
    agreement_low=Field(pl.Float64, "lower end of the 95 % interval", checks=PROBABILITY),
    agreement_high=Field(pl.Float64, "upper end of the 95 % interval", checks=PROBABILITY),
)
REVISIONS = _contract(
    "revisions",
    ("prompt_id", "step"),
    prompt_id=Field(pl.String, "id of the prompt"),
    step=Field(pl.Int64, "1 for the first revision"),
    prompt=Field(pl.String, "what the user says"),
    response=Field(pl.String, "the response that is criticised"),
    principle_id=Field(pl.String, "the principle the critique and the revision are asked under"),
    request_number=Field(pl.Int64, "which pair of requests was drawn, from 0", checks=COUNT),
    template_version=Field(pl.String, "version of the requests and of the examples shown before them"),
    critique=Field(pl.String, "the model's criticism of the response"),
    revision=Field(pl.String, "the revised response; empty if the model wrote none"),
)
RESPONSE_PAIRS = _contract(
    "response_pairs",
    ("pair_id",),
    pair_id=Field(pl.String, "id of the pair, equal across arms for equal prompts"),
    prompt_id=Field(pl.String, "id of the prompt"),
    prompt=Field(pl.String, "what the user says"),
    response_a=Field(pl.String, "one sampled response"),
    response_b=Field(pl.String, "another sampled response"),
)
PRINCIPLE_WEIGHTS = _contract(
    "principle_weights",
    ("principle_id",),
    principle_id=Field(pl.String, "the principle"),
    gac=Field(
        pl.Float64, "group-aware consensus on it, the highest among its statements", checks=PROBABILITY
    ),
    share=Field(
        pl.Float64, "share of the comparisons it is drawn for, in proportion to it", checks=PROBABILITY
    ),
)
PREFERENCE_PAIRS = _contract(
    "preference_pairs",
    ("pair_id",),
    pair_id=Field(pl.String, "id of the pair"),
    prompt_id=Field(pl.String, "id of the prompt"),
    prompt=Field(pl.String, "what the user says"),
    response_a=Field(pl.String, "one sampled response"),
    response_b=Field(pl.String, "another sampled response"),
    principle_id=Field(pl.String, "the principle it was judged under"),
    forward_probability=Field(
        pl.Float64, "probability of response a when it is shown first", nullable=True, checks=PROBABILITY
    ),
    reversed_probability=Field(
        pl.Float64, "probability of response a when it is shown second", nullable=True, checks=PROBABILITY
    ),
    forward_reasoning=Field(
        pl.String, "what the feedback model thought first, with response a shown first", nullable=True
    ),
    reversed_reasoning=Field(
        pl.String, "what the feedback model thought first, with response a shown second", nullable=True
    ),
    probability_a=Field(
        pl.Float64,
        "the soft label: mean of the two, within bounds after reasoning; null if the answer was unusable",
        nullable=True,
        checks=PROBABILITY,
    ),
    clamped=Field(pl.Boolean, "whether the label lay beyond the bounds and was moved to the nearest"),
    answer_mass=Field(
        pl.Float64,
        "probability the feedback model gave to the two letters together",
        nullable=True,
        checks=PROBABILITY,
    ),
    status=Field(
        pl.String,
        "labelled, identical responses, or unanswered",
        checks=(Check.isin(["labelled", "identical", "unanswered"]),),
    ),
    method=Field(pl.String, "how the feedback model was asked"),
    feedback_model=Field(pl.String, "digest or name of the feedback model"),
    judge_at_chance=JUDGE_AT_CHANCE,
)
HELPFULNESS_PAIRS = _contract(
    "helpfulness_pairs",
    ("pair_id",),
    pair_id=Field(pl.String, "id of the comparison"),
    prompt=Field(pl.String, "what the user says"),
    response_a=Field(pl.String, "one response"),
    response_b=Field(pl.String, "another response"),
    probability_a=Field(pl.Float64, "share of people who preferred response a", checks=PROBABILITY),
    source=Field(pl.String, "where the comparison comes from"),
)

# --- evaluation -------------------------------------------------------------------------------------
BENCHMARK_ITEMS = _contract(
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
COMPARISONS = _contract(
    "comparisons",
    ("pair_id",),
    pair_id=Field(
        pl.String, "id of the comparison; the same two responses in the same question have it again"
    ),
    quality=QUALITY,
    prompt_id=Field(pl.String, "the held-out prompt both arms responded to"),
    prompt=Field(pl.String, "what the user says"),
    arm_a=ARM,
    arm_b=Field(pl.String, "the other arm, or `base`"),
    response_a=Field(pl.String, "what arm a responds"),
    response_b=Field(pl.String, "what arm b responds"),
    forward_probability=Field(
        pl.Float64,
        "the feedback model's probability that response a is better, asked in this order",
        nullable=True,
        checks=PROBABILITY,
    ),
    reversed_probability=Field(
        pl.Float64, "the same, asked in the other order", nullable=True, checks=PROBABILITY
    ),
    probability_a=Field(
        pl.Float64,
        "mean of the two; one half for identical responses, null if unanswered",
        nullable=True,
        checks=PROBABILITY,
    ),
    status=Field(
        pl.String,
        "compared, identical responses (which nobody need compare), or unanswered",
        checks=(Check.isin(["compared", "identical", "unanswered"]),),
    ),
    judge=Field(pl.String, "the feedback model"),
    judge_at_chance=JUDGE_AT_CHANCE,
)
RATINGS = _contract(
    "ratings",
    ("pair_id", "rater"),
    pair_id=Field(pl.String, "the comparison that was rated"),
    rater=Field(pl.String, "who rated it: a role or pseudonym"),
    quality=QUALITY,
    prompt_id=Field(pl.String, "the held-out prompt"),
    arm_1=Field(pl.String, "the arm whose response was shown first"),
    arm_2=Field(pl.String, "the arm whose response was shown second"),
    rating=Field(pl.String, "which response is better: 1, 2 or tie", checks=(Check.isin(["1", "2", "tie"]),)),
    texts_digest=Field(pl.String, "digest of prompt and responses as they were shown"),
)
SOURCE = Field(
    pl.String,
    "who compared: the feedback model, or people",
    checks=(Check.isin(["feedback model", "people"]),),
)
ELO_SCORES = _contract(
    "elo_scores",
    ("arm", "quality", "source"),
    intervals=(("elo", "elo_low", "elo_high"),),
    arm=ARM,
    quality=QUALITY,
    source=SOURCE,
    n=Field(pl.Int64, "answered comparisons with this arm in them", checks=COUNT),
    n_unanswered=Field(pl.Int64, "comparisons with this arm that the judge did not answer", checks=COUNT),
    n_ties=Field(pl.Int64, "of the answered ones, those that ended in a tie", checks=COUNT),
    n_raters=Field(pl.Int64, "people who rated; 0 for the feedback model", checks=COUNT),
    elo=Field(pl.Float64, "Elo against `base`, which is 0"),
    elo_low=Field(pl.Float64, "lower end of the 95 % interval"),
    elo_high=Field(pl.Float64, "upper end of the 95 % interval"),
    separated=SEPARATED,
    judge=Field(pl.String, "the feedback model, or the raters' roles"),
    judge_at_chance=JUDGE_AT_CHANCE,
)
ELO_DIFFERENCES = _contract(
    "elo_differences",
    ("arm", "other_arm", "quality", "source"),
    intervals=(("difference", "difference_low", "difference_high"),),
    arm=ARM,
    other_arm=Field(pl.String, "the arm it is compared with; `base` stands here only"),
    quality=QUALITY,
    source=SOURCE,
    n=Field(pl.Int64, "answered comparisons of these two with each other", checks=COUNT),
    n_unanswered=Field(pl.Int64, "comparisons of these two that the judge did not answer", checks=COUNT),
    n_ties=Field(pl.Int64, "of the answered ones, those that ended in a tie", checks=COUNT),
    n_prompts=Field(pl.Int64, "prompts that comparisons of these two were answered on", checks=COUNT),
    n_raters=Field(pl.Int64, "people who rated these two; 0 for the feedback model", checks=COUNT),
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
RATER_AGREEMENT = _contract(
    "rater_agreement",
    ("quality", "arm_a", "arm_b", "between"),
    intervals=(("kappa", "kappa_low", "kappa_high"),),
    quality=QUALITY,
    arm_a=ARM,
    arm_b=Field(pl.String, "the other arm"),
    between=Field(
        pl.String,
        "whose answers are compared: the feedback model's with people's, or people's with each other's",
        checks=(Check.isin(["feedback model and people", "people"]),),
    ),
    n=Field(pl.Int64, "pairs of answers on the same two responses that both name a better one", checks=COUNT),
    n_undecided=Field(pl.Int64, "pairs of answers of which one is a tie or missing", checks=COUNT),
    n_prompts=Field(pl.Int64, "prompts they are about", checks=COUNT),
    n_raters=Field(pl.Int64, "people whose answers these are", checks=COUNT),
    agreement=Field(
        pl.Float64,
        "share of n that name the same response; null without any",
        nullable=True,
        checks=PROBABILITY,
    ),
    kappa=Field(
        pl.Float64,
        "Cohen's kappa: 1 if they always agree, 0 if as often as by chance; null where both always name the "
        "same arm",
        nullable=True,
    ),
    kappa_low=Field(pl.Float64, "lower end of its 95 % interval", nullable=True),
    kappa_high=Field(pl.Float64, "upper end of its 95 % interval", nullable=True),
    judge_at_chance=JUDGE_AT_CHANCE,
)
ADHERENCE = _contract(
    "adherence",
    ("constitution_arm", "principle_id", "prompt_id", "arm"),
    arm=Field(pl.String, "the model that responded: `base` or an arm"),
    constitution_arm=Field(pl.String, "the constitution the principle belongs to"),
    principle_id=Field(pl.String, "the principle"),
    prompt_id=Field(pl.String, "the held-out prompt it is relevant to"),
    response=Field(pl.String, "what the model responded"),
    probability=Field(
        pl.Float64,
        "probability that the response satisfies the principle, by the feedback model; null if unanswered",
        nullable=True,
        checks=PROBABILITY,
    ),
    judge_at_chance=JUDGE_AT_CHANCE,
)
ADHERENCE_EXAMPLES = _contract(
    "adherence_examples",
    ("example_id",),
    example_id=Field(pl.String, "id of the example"),
    constitution_arm=Field(pl.String, "the constitution the principle belongs to"),
    principle_id=Field(pl.String, "the principle it was labelled under"),
    principle=Field(pl.String, "text of the principle"),
    prompt=Field(pl.String, "what the user says"),
    response=Field(pl.String, "a response"),
    satisfied=Field(pl.Boolean, "whether a person found that the response satisfies the principle"),
)
JUDGED_EXAMPLES = _contract(
    "judged_examples",
    ("example_id",),
    intervals=(),
    **{
        name: ADHERENCE_EXAMPLES.fields[name]
        for name in ("example_id", "constitution_arm", "principle_id", "prompt", "satisfied")
    },
    probability=ADHERENCE.fields["probability"],
    judge_at_chance=JUDGE_AT_CHANCE,
)
CONTRAST_PAIRS = _contract(
    "contrast_pairs",
    ("pair_id",),
    pair_id=Field(pl.String, "id of the pair"),
    constitution_arm=Field(pl.String, "the constitution the principle belongs to, or `rejected statements`"),
    principle_id=Field(pl.String, "the principle, or the id of the statement"),
    against_id=Field(
        pl.String, "for a conflict, the principle that the first response breaks", nullable=True
    ),
    prompt=Field(pl.String, "what the user says"),
    keeps=Field(pl.String, "a response that keeps the principle"),
    breaks=Field(pl.String, "a response that breaks it"),
    source=Field(
        pl.String, "where the pair comes from", checks=(Check.isin(["written", "labelled examples"]),)
    ),
)
CONTROL_STATEMENTS = _contract(
    "control_statements",
    ("statement_id",),
    statement_id=STATEMENT_ID,
    text=Field(pl.String, "the statement (untrusted)"),
    prompt_ids=Field(IDS, "held-out prompts it is relevant to"),
)
CONTRAST_MARGINS = _contract(
    "contrast_margins",
    ("arm", "pair_id"),
    intervals=(),
    arm=ARM,
    **{
        name: CONTRAST_PAIRS.fields[name]
        for name in ("pair_id", "constitution_arm", "principle_id", "against_id", "prompt")
    },
    margin=Field(
        pl.Float64,
        "how much likelier the model finds the response that keeps the principle, nats a token; null if not finite",
        nullable=True,
    ),
)
ADHERENCE_SCORES = _contract(
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
    status=Field(
        pl.String,
        "whether there is a figure, and why not",
        checks=(Check.isin(["measured", "no relevant prompt", "not drawn", "unanswered"]),),
    ),
    n_relevant=Field(pl.Int64, "held-out prompts it is relevant to", checks=COUNT),
    n=Field(pl.Int64, "responses judged", checks=COUNT),
    n_unanswered=Field(pl.Int64, "of those, responses that are empty or got no usable answer", checks=COUNT),
    judged=Field(
        pl.Float64, "mean probability by the feedback model alone", nullable=True, checks=PROBABILITY
    ),
    judged_low=Field(pl.Float64, "lower end of its 95 % interval, over prompts", nullable=True),
    judged_high=Field(pl.Float64, "upper end of its 95 % interval, over prompts", nullable=True),
    labels=Field(
        pl.String,
        "labelled examples it is corrected by: of this principle (own), of all (pooled), none",
        checks=(Check.isin(["own", "pooled", "none"]),),
    ),
    n_labels=Field(pl.Int64, "how many", checks=COUNT),
    judge_weight=Field(
        pl.Float64,
        "weight of the judge's answers, 0 to 1; null if not corrected",
        nullable=True,
        checks=PROBABILITY,
    ),
    adherence=Field(
        pl.Float64, "probability that a response satisfies it, corrected", nullable=True, checks=PROBABILITY
    ),
    low=Field(pl.Float64, "lower end of its 95 % interval", nullable=True, checks=PROBABILITY),
    high=Field(pl.Float64, "upper end of its 95 % interval", nullable=True, checks=PROBABILITY),
    lift=Field(pl.Float64, "paired difference to `base`, by the feedback model alone", nullable=True),
    lift_low=Field(pl.Float64, "lower end of its 95 % interval", nullable=True),
    lift_high=Field(pl.Float64, "upper end of its 95 % interval", nullable=True),
    judge_at_chance=JUDGE_AT_CHANCE,
)
GROUP_ADHERENCE = _contract(
    "group_adherence",
    ("constitution_arm", "arm", "group_id"),
    intervals=(("value", "low", "high"),),
    arm=ARM,
    constitution_arm=Field(pl.String, "the constitution whose principles are weighted"),
    group_id=Field(pl.Int64, "opinion group", checks=COUNT),
    worst=Field(pl.Boolean, "whether no group's value is lower"),
    n=Field(pl.Int64, "judged responses", checks=COUNT),
    value=Field(
        pl.Float64,
        "mean probability by the feedback model, principles weighted by the group's agreement with their statements",
        checks=PROBABILITY,
    ),
    low=Field(pl.Float64, "lower end of its 95 % interval, over prompts", checks=PROBABILITY),
    high=Field(pl.Float64, "upper end of its 95 % interval, over prompts", checks=PROBABILITY),
    judge_at_chance=JUDGE_AT_CHANCE,
)
SPECIFICITY = _contract(
    "specificity",
    ("arm", "kind", "measure"),
    intervals=(("lift", "low", "high"),),
    arm=Field(pl.String, "the arm that was trained"),
    kind=Field(
        pl.String,
        "principles of its constitution only, shared ones, of another constitution only, rejected statements",
        checks=(Check.isin(["own", "shared", "other", "rejected"]),),
    ),
    measure=Field(
        pl.String,
        "by the feedback model (a probability) or by log-probabilities of contrast pairs (nats a token)",
        checks=(Check.isin(["judge", "margin"]),),
    ),
    n_principles=Field(pl.Int64, "principles or statements measured", checks=COUNT),
    n=Field(pl.Int64, "judged responses or contrast pairs", checks=COUNT),
    n_prompts=Field(pl.Int64, "prompts they belong to", checks=COUNT),
    lift=Field(
        pl.Float64,
        "mean paired difference to `base`; null with fewer than two prompts",
        nullable=True,
    ),
    low=Field(pl.Float64, "lower end of its 95 % interval, over prompts", nullable=True),
    high=Field(pl.Float64, "upper end of its 95 % interval, over prompts", nullable=True),
    p_value=Field(
        pl.Float64, "of a lift of nil, by flipping signs of prompts", nullable=True, checks=PROBABILITY
    ),
    adjusted_p=Field(
        pl.Float64,
        "the same, corrected by Holm for all cells of this kind",
        nullable=True,
        checks=PROBABILITY,
    ),
    judge_at_chance=JUDGE_AT_CHANCE,
)
CONFLICTS = _contract(
    "conflicts",
    ("constitution_arm", "principle_id", "against_id", "arm"),
    intervals=(("margin", "low", "high"), ("lift", "lift_low", "lift_high")),
    arm=ARM,
    constitution_arm=Field(pl.String, "the constitution both principles belong to"),
    principle_id=Field(pl.String, "one principle"),
    against_id=Field(pl.String, "the principle it pulls apart from"),
    n=Field(
        pl.Int64, "contrast pairs in which one response keeps the one and breaks the other", checks=COUNT
    ),
    n_prompts=Field(pl.Int64, "prompts they belong to", checks=COUNT),
    margin=Field(
        pl.Float64,
        "how much likelier the first principle's response is, nats a token; null with fewer than two prompts",
        nullable=True,
    ),
    low=Field(pl.Float64, "lower end of its 95 % interval, over prompts", nullable=True),
    high=Field(pl.Float64, "upper end of its 95 % interval, over prompts", nullable=True),
    follows=Field(
        pl.String, "the principle whose interval lies on its side; null if it cannot be told", nullable=True
    ),
    lift=Field(pl.Float64, "mean paired difference of the margin to `base`", nullable=True),
    lift_low=Field(pl.Float64, "lower end of its 95 % interval", nullable=True),
    lift_high=Field(pl.Float64, "upper end of its 95 % interval", nullable=True),
)
QUALITATIVE_RESPONSES = _contract(
    "qualitative_responses",
    ("arm", "prompt_id"),
    arm=ARM,
    prompt_id=Field(pl.String, "id of the prompt"),
    prompt=Field(pl.String, "what the user says"),
    response=Field(pl.String, "what the model responds"),
    refused=Field(pl.Boolean, "whether the response contains a phrase of refusal"),
)
OPINION_REPRESENTATIVENESS = _contract(
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
    value=Field(
        pl.Float64, "1 minus the mean distance of the model's and the group's opinions", checks=PROBABILITY
    ),
    low=Field(pl.Float64, "lower end of the 95 % interval, questions resampled"),
    high=Field(pl.Float64, "upper end of the 95 % interval"),
    uniform=Field(
        pl.Float64, "the value of a model that prefers no option, on these questions", checks=PROBABILITY
    ),
    above_uniform=Field(pl.Float64, "how far the value lies above that, question by question"),
    above_uniform_low=Field(pl.Float64, "lower end of its 95 % interval"),
    above_uniform_high=Field(pl.Float64, "upper end of its 95 % interval"),
    ceiling=Field(
        pl.Float64,
        "expected value of a model that knows the group exactly, measured on as many people as answered; null "
        "where it is not known how many did",
        nullable=True,
        checks=PROBABILITY,
    ),
    nearest_group=Field(
        pl.String, "the other group of the attribute whose opinions are nearest to this one's", nullable=True
    ),
    nearest_value=Field(
        pl.Float64,
        "its value for this group, on the questions both answered",
        nullable=True,
        checks=PROBABILITY,
    ),
    compared_with=Field(pl.String, "the arm it is paired with, if any", nullable=True),
    difference=Field(pl.Float64, "paired difference to that arm", nullable=True),
    difference_low=Field(pl.Float64, "lower end of its 95 % interval", nullable=True),
    difference_high=Field(pl.Float64, "upper end of its 95 % interval", nullable=True),
    p_value=Field(
        pl.Float64, "two-sided p value of the paired difference", nullable=True, checks=PROBABILITY
    ),
    adjusted_p=Field(
        pl.Float64,
        "the p value corrected (Holm) for all groups between the same two arms",
        nullable=True,
        checks=PROBABILITY,
    ),
)
QUALITATIVE_PROMPTS = _contract(
    "qualitative_prompts",
    ("prompt_id",),
    prompt_id=Field(pl.String, "id of the prompt"),
    text=Field(pl.String, "what the user says"),
    origin=Field(
        pl.String,
        "written for this, held out and tagged with a principle, or drafted from a principle's text",
        checks=(Check.isin(["written", "tagged", "drafted"]),),
    ),
    principles=Field(IDS, "`arm/principle_id` it was chosen or drafted for, found in one constitution only"),
)
EVAL_SCORES = _contract(
    "eval_scores",
    ("arm", "benchmark", "metric", "category", "compared_with"),
    intervals=(("value", "low", "high"), ("difference", "difference_low", "difference_high")),
    arm=ARM,
    benchmark=Field(pl.String, "name of the benchmark, `adherence`, `elo` or `elo_by_people`"),
    metric=Field(pl.String, "what is measured"),
    category=Field(pl.String, "category, `all` for the whole"),
    n=Field(pl.Int64, "items", checks=COUNT),
    n_unanswered=Field(pl.Int64, "items without a readable answer", checks=COUNT),
    value=Field(pl.Float64, "the score; null if there was no usable answer", nullable=True),
    low=Field(pl.Float64, "lower end of the 95 % interval"),
    high=Field(pl.Float64, "upper end of the 95 % interval"),
    compared_with=Field(
        pl.String,
        "the arm it is paired with, if any; a score has a row for each arm it is paired with",
        nullable=True,
    ),
    difference=Field(pl.Float64, "paired difference to that arm", nullable=True),
    difference_low=Field(pl.Float64, "lower end of its 95 % interval", nullable=True),
    difference_high=Field(pl.Float64, "upper end of its 95 % interval", nullable=True),
    p_value=Field(
        pl.Float64, "two-sided p value of the paired difference", nullable=True, checks=PROBABILITY
    ),
    adjusted_p=Field(
        pl.Float64,
        "the p value corrected (Holm) for the categories of this measure, or in the category `all` for all "
        "measures, between the same two arms",
        nullable=True,
        checks=PROBABILITY,
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

# --- audit ------------------------------------------------------------------------------------------
DECISION_TRAIL = _contract(
    "decision_trail",
    ("subject",),
    subject=Field(pl.String, "`statement:ID` or `principle:ARM/ID`"),
    kind=Field(pl.String, "statement or principle", checks=(Check.isin(["statement", "principle"]),)),
    text=Field(pl.String, "its text (untrusted)"),
    raw_text=Field(pl.String, "a statement as its author typed it (untrusted)", nullable=True),
    author_id=Field(pl.Int64, "participant who wrote a statement", nullable=True),
    fate=Field(pl.String, "what became of it"),
    n_votes=Field(pl.Int64, "votes on a statement that count, passes included", nullable=True),
    group_ids=Field(STATEMENT_IDS, "opinion groups, in the order of the next two columns"),
    group_votes=Field(STATEMENT_IDS, "votes of each group on a statement, passes included"),
    group_agreement=Field(pl.List(pl.Float64), "share of each group that agrees with a statement"),
    gac=Field(
        pl.Float64,
        "group-aware consensus; of a principle, the highest among its statements",
        nullable=True,
        checks=PROBABILITY,
    ),
    gac_low=Field(pl.Float64, "lower end of its interval", nullable=True, checks=PROBABILITY),
    gac_high=Field(pl.Float64, "upper end of its interval", nullable=True, checks=PROBABILITY),
    published_gac=Field(
        pl.Float64, "the score published elsewhere for a statement", nullable=True, checks=PROBABILITY
    ),
    rank=Field(pl.Int64, "place of a statement by consensus, 1 being the highest", nullable=True),
    selected=Field(pl.Boolean, "whether a statement reaches the cut", nullable=True),
    selection_probability=Field(
        pl.Float64,
        "share of resamples in which a statement reaches the cut",
        nullable=True,
        checks=PROBABILITY,
    ),
    statement_ids=Field(STATEMENT_IDS, "statements behind it"),
    principle_ids=Field(IDS, "principles it leads to, as `arm/id`"),
    decision_ids=DECISION_IDS,
    n_pairs=Field(pl.Int64, "preference pairs judged under a principle", nullable=True),
    n_decided_pairs=Field(pl.Int64, "of those, pairs with a label other than one half", nullable=True),
    n_responses=Field(pl.Int64, "responses its adherence is the mean of", nullable=True),
    adherence=Field(pl.Float64, "mean adherence of its arm's policy", nullable=True, checks=PROBABILITY),
    base_adherence=Field(
        pl.Float64, "mean adherence of the untrained model", nullable=True, checks=PROBABILITY
    ),
    story=Field(IDS, "what happened to it, step by step, in sentences"),
)
DECISION_WORLDS = _contract(
    "decision_worlds",
    ("world_id",),
    world_id=Field(pl.Int64, "0 is the world on record", checks=COUNT),
    moderation=Field(pl.String, "strict or lenient: whether statements nobody decided on are out or in"),
    minimum_votes=Field(pl.String, "fewest votes for a participant to count"),
    procedure=Field(pl.String, "how opinion groups are computed"),
    imputation=Field(pl.String, "what stands for a vote not cast"),
    number_of_groups=Field(pl.String, "a fixed number, or auto where the data decide"),
    smoothing=Field(pl.String, "of the share of each group that agrees"),
    aggregation=Field(pl.String, "how the groups' shares become one score"),
    selection=Field(pl.String, "the rule that selects statements, and where it draws the line"),
    seed=Field(pl.String, "starting point of the search for groups"),
    changed=Field(IDS, "decisions that differ from the record"),
    combination=Field(pl.Boolean, "whether it is one of the combinations that shares are taken over"),
    grouping_id=Field(pl.Int64, "worlds with the same number share their groups and votes", checks=COUNT),
    n_groups=Field(pl.Int64, "opinion groups found", checks=COUNT),
    n_selected=Field(pl.Int64, "statements that reach the cut", checks=COUNT),
    statement_ids=Field(STATEMENT_IDS, "statements that reach the cut"),
)
DECISION_SENSITIVITY = _contract(
    "decision_sensitivity",
    ("decision", "alternative"),
    decision=Field(pl.String, "the numeric decision that is varied"),
    alternative=Field(pl.String, "the value tried"),
    chosen=Field(pl.Boolean, "whether this is the value on record"),
    n_groups=Field(pl.Int64, "opinion groups found"),
    n_selected=Field(pl.Int64, "statements that reach the cut", checks=COUNT),
    entering=Field(STATEMENT_IDS, "statements selected here and not on record"),
    leaving=Field(STATEMENT_IDS, "statements selected on record and not here"),
    lost_principles=Field(IDS, "principles that lose all their statements"),
    gained_principles=Field(IDS, "worded principles that are not in on record and would be in here"),
)
PRINCIPLE_ROBUSTNESS = _contract(
    "principle_robustness",
    ("arm", "principle_id"),
    arm=ARM,
    principle_id=Field(pl.String, "principle of `arm`; of the derived arm, also those worded and not in"),
    statement_ids=Field(STATEMENT_IDS, "the public's statements it comes from"),
    in_on_record=Field(pl.Boolean, "whether one of them reaches the cut on record"),
    n_worlds=Field(pl.Int64, "combinations of decisions that were tried", checks=COUNT),
    n_in=Field(pl.Int64, "combinations in which one of its statements reaches the cut", checks=COUNT),
    share_in=Field(pl.Float64, "the same as a share of all combinations", checks=PROBABILITY),
    hangs_on=Field(IDS, "decisions of which one alternative alone brings it in or takes it out"),
)
DECISION_IMPORTANCE = _contract(
    "decision_importance",
    ("decision",),
    rank=Field(pl.Int64, "1 is the decision on which most principles hang", checks=(Check.ge(1),)),
    decision=Field(pl.String, "the numeric decision"),
    chosen=Field(pl.String, "its value on record"),
    decision_ids=DECISION_IDS,
    n_alternatives=Field(pl.Int64, "other values that were tried", checks=COUNT),
    n_principles=Field(
        pl.Int64, "principles that come in or drop out under at least one of them", checks=COUNT
    ),
    lost_principles=Field(IDS, "principles that drop out under at least one"),
    gained_principles=Field(IDS, "worded principles that come in under at least one"),
    n_statements=Field(pl.Int64, "statements that come in or drop out under at least one", checks=COUNT),
    difference=Field(
        pl.Float64,
        "principles in which two combinations drawn at random differ on average; null with fewer than two "
        "ways to group",
        nullable=True,
    ),
    difference_if_equal=Field(
        pl.Float64, "the same for two combinations that agree on this decision", nullable=True
    ),
    share=Field(
        pl.Float64,
        "how much smaller the second is than the first: what this decision alone accounts for",
        nullable=True,
        checks=PROBABILITY,
    ),
)
DECISION_REVERSALS = _contract(
    "decision_reversals",
    ("reversal",),
    reversal=Field(pl.String, "id of the decision that is reversed, or `every exclusion`"),
    kind=Field(pl.String, "which kind of decision"),
    decision_ids=DECISION_IDS,
    subject_ids=Field(STATEMENT_IDS, "the statements or participants it is about"),
    supposed=Field(pl.String, "what is supposed instead"),
    regrouped=Field(pl.Boolean, "whether opinion groups were computed again; otherwise they are as they are"),
    n_groups=Field(pl.Int64, "opinion groups there would be", checks=COUNT),
    gac=Field(
        pl.Float64,
        "highest consensus among its statements with the groups as they are, moderated out or not",
        nullable=True,
        checks=PROBABILITY,
    ),
    smallest_group_votes=Field(
        pl.Int64, "votes on that statement of the group that voted least on it", nullable=True, checks=COUNT
    ),
    entering=Field(STATEMENT_IDS, "statements that would stand behind a principle or wait for a wording"),
    leaving=Field(STATEMENT_IDS, "statements that would no longer do so"),
    lost_principles=Field(IDS, "principles that would be out"),
    gained_principles=Field(IDS, "worded principles that would be in"),
    reworded_principles=Field(
        IDS, "principles that would stay, and whose wording would rest on another text"
    ),
    waiting=Field(STATEMENT_IDS, "further statements that would wait for a wording of their own"),
    consequence=Field(pl.String, "all this in a sentence"),
)
FILE = _contract(
    "file",
    ("path",),
    path=Field(pl.String, "path below the consultation's folder of results"),
    file_digest=Field(pl.String, "SHA-256 of its bytes"),
    n_bytes=Field(pl.Int64, "its size", checks=COUNT),
)
