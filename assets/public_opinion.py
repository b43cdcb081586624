"""What votes tell beside consensus across groups.

Belongs here: who took part, who the groups are and what sets them apart, what everybody agrees on, what people pass
on, find important and would be asked next, none of which leads to a constitution. Topics are in `topics`, methods in
`ccai_dagster.deliberation`.
Assets: https://docs.dagster.io/guides/build/assets/defining-assets
"""

from functools import partial

import dagster as dg
import polars as pl

from assets import decisions
from assets.table_asset import Checked, Table, markdown_table, picture, table_asset
from ccai_dagster import contracts
from ccai_dagster.constitution.selection import reaches_cut
from ccai_dagster.consultation.folder import Consultation
from ccai_dagster.core.digest import value_digest
from ccai_dagster.core.errors import ConsultationError
from ccai_dagster.decisions.checks import Finding
from ccai_dagster.decisions.outcomes import moderation_verdicts, statement_ideas
from ccai_dagster.decisions.values import thresholds
from ccai_dagster.deliberation import consensus, importance, representative, representativeness, uncertain
from ccai_dagster.deliberation.group_profile import group_profile as profile_of
from ccai_dagster.deliberation.group_profile import group_profile_of_counts
from ccai_dagster.deliberation.importing.group_counts import COUNTS_ALONE
from ccai_dagster.deliberation.votes import clean_votes, vote_matrix, votes_among, votes_of_everybody, with_importance
from ccai_dagster.pages import pictures

asset = partial(table_asset, group="deliberation", owner="team:deliberation")


def build(consultation: Consultation) -> list[dg.AssetsDefinition]:
    """Make these assets."""
    return [
        _group_profile(consultation),
        *_representative(),
        *_beside_agreement(),
        _comment_priorities(consultation),
        *_who_took_part(consultation),
    ]


def _group_profile(consultation: Consultation) -> dg.AssetsDefinition:
    @asset(
        contracts.GROUP_PROFILE,
        deps=[decisions.ledger_key("moderation")],
        description="Who the groups are, as they say themselves: statements about the people who vote, by group.",
    )
    def group_profile(
        raw_statements: pl.DataFrame,
        raw_votes: pl.DataFrame,
        opinion_groups: pl.DataFrame,
        raw_group_votes: pl.DataFrame,
    ) -> Table:
        apart = _metadata(consultation)
        frame = (
            group_profile_of_counts(raw_statements, raw_group_votes, apart)
            if raw_group_votes.height
            else profile_of(raw_statements, raw_votes, opinion_groups, apart)
        )
        return Table(
            frame,
            {
                "statements about the people who vote": frame["statement_id"].n_unique(),
                "not told, since too few of a group voted": frame["n_votes"].null_count(),
            },
        )

    return group_profile


def _metadata(consultation: Consultation) -> dict[int, tuple[str, ...]]:
    """The statements about the people who vote, with the decisions that set them apart."""
    decided = moderation_verdicts(decisions.read(consultation, "moderation"))
    return {key: each.decision_ids for key, each in decided.items() if each.metadata}


def _representative() -> list[dg.AssetsDefinition]:
    """What sets groups apart, and what everybody together agrees or disagrees with."""

    @asset(
        contracts.REPRESENTATIVE_STATEMENTS,
        method="2",
        description="Statements that set each group apart from everybody else.",
    )
    def representative_statements(group_votes: pl.DataFrame, statements: pl.DataFrame) -> Table:
        given = consensus.GroupVotes.of_table(group_votes, statements["statement_id"])
        frame = representative.representative_of_counts(given)
        shown = {
            f"what sets {pictures.group_name(group)} apart": picture(
                pictures.representative_votes(frame, statements, group_votes, group)
            )
            for group in frame["group_id"].unique().sort()
        }
        return Table(
            frame,
            shown
            | {
                "eligible": int(frame["eligible"].sum()),
                "statements": _in_words(frame, ["group_id", "side", "n_side", "n_votes"], statements),
            },
        )

    @asset(
        contracts.CONSENSUS_STATEMENTS,
        method="2",
        description="Statements that the public as a whole agrees or disagrees with, whatever the groups; those who "
        "cast few votes count, too.",
    )
    def consensus_statements(
        raw_votes: pl.DataFrame, statements: pl.DataFrame, participants: pl.DataFrame, raw_group_votes: pl.DataFrame
    ) -> Table:
        if participants.is_empty():
            given = consensus.GroupVotes.of_table(raw_group_votes, statements["statement_id"])
            frame = representative.consensus_of_counts(given)
        else:
            frame = representative.consensus_statements(votes_of_everybody(raw_votes, statements, participants))
        shown = _in_words(frame, ["side", "n_side", "n_votes"], statements)
        return Table(frame, {"statements": shown})

    return [representative_statements, consensus_statements]


def _beside_agreement() -> list[dg.AssetsDefinition]:
    """What votes tell beside agreeing and disagreeing."""

    @asset(
        contracts.IMPORTANT_STATEMENTS,
        description="Which statements people marked as important, by group; empty if the export does not tell.",
    )
    def important_statements(raw_votes: pl.DataFrame, statements: pl.DataFrame, opinion_groups: pl.DataFrame) -> Table:
        votes = raw_votes.filter(pl.col("statement_id").is_in(statements["statement_id"].implode()))
        frame = importance.important_statements(votes, opinion_groups)
        return Table(frame, {"first ones": _in_words(frame.head(10), ["share", "n_important", "n_votes"], statements)})

    @asset(
        contracts.UNCERTAIN_STATEMENTS,
        description="Areas of uncertainty: statements on which many of those who saw them passed.",
    )
    def uncertain_statements(
        raw_votes: pl.DataFrame,
        statements: pl.DataFrame,
        participants: pl.DataFrame,
        opinion_groups: pl.DataFrame,
        group_votes: pl.DataFrame,
    ) -> Table:
        counting = participants.filter(pl.col("fate") != "excluded")
        votes = votes_among(raw_votes.select(list(contracts.VOTES.fields)), statements, counting)
        given = participants.is_empty()
        frame = (
            uncertain.uncertain_of_counts(group_votes)
            if given
            else uncertain.uncertain_statements(votes, opinion_groups)
        )
        return Table(
            frame,
            {
                "by the rule of Polis": int(frame["by_polis"].sum()),
                "by the rule of Sensemaker": int(frame["by_sensemaker"].sum()),
                "first ones": _in_words(frame.head(10), ["share", "n_pass", "n_votes"], statements),
            },
        )

    return [important_statements, uncertain_statements]


def _comment_priorities(consultation: Consultation) -> dg.AssetsDefinition:
    @asset(
        contracts.COMMENT_PRIORITIES,
        deps=[decisions.ledger_key("moderation")],
        description="How urgently Polis would show each statement to the next participant.",
    )
    def comment_priorities(
        raw_votes: pl.DataFrame, statements: pl.DataFrame, participants: pl.DataFrame, raw_statements: pl.DataFrame
    ) -> Table:
        if participants.is_empty():
            return Table(contracts.COMMENT_PRIORITIES.empty(), {"priorities": COUNTS_ALONE})
        shown, marked = representative.still_asked(statements, raw_statements, _metadata(consultation))
        kept = participants.filter("kept")["participant_id"]
        matrix = vote_matrix(clean_votes(raw_votes, shown, participants), kept, shown["statement_id"])
        frame = representative.priorities_of_votes(matrix, marked)
        first = frame.sort("priority", "statement_id", descending=[True, False]).head(10)
        return Table(
            frame,
            {
                "first ones": _in_words(first, ["priority", "n_votes", "extremity"], shown),
                "statements of which nobody tells whether they are about the people who vote": frame[
                    "is_meta"
                ].null_count(),
            },
        )

    return comment_priorities


def _who_took_part(consultation: Consultation) -> list[dg.AssetsDefinition]:
    """Whether those who took part are like the public, and what hangs on it."""
    questions = consultation.file.demographics
    answers = {each.name: each.answers for each in questions}
    targets = {each.name: each.targets for each in questions if each.targets}
    asked = value_digest([each.model_dump(mode="json") for each in questions])

    @asset(
        contracts.SAMPLE_REPRESENTATIVENESS,
        settings=[asked],
        checks=["targets"],
        description="Who took part, by what people said about themselves, beside the public; none of fewer than five.",
    )
    def sample_representativeness(participant_demographics: pl.DataFrame, participants: pl.DataFrame) -> Table:
        kept = participants.filter("kept")["participant_id"].sort().to_numpy()
        weights, found = None, list[Finding]()
        if targets and participant_demographics.height and len(kept):
            try:
                weights = representativeness.raking_weights(participant_demographics, kept, targets)
            except ConsultationError as error:
                found.append(Finding("warning", "", None, "targets", str(error).rstrip(".")))
        frame = representativeness.sample_representativeness(participant_demographics, kept, answers, targets, weights)
        shown = {} if weights is None else {"largest weight": weights.max(), "smallest weight": weights.min()}
        return Table(frame, shown, [Checked("targets", found, warns=True)])

    @asset(
        contracts.WEIGHTED_CONSENSUS,
        deps=[decisions.ledger_key("threshold"), decisions.ledger_key("idea")],
        settings=[consultation.file.seed, asked],
        description="Consensus had people weighed as in the public, beside that on the votes as cast; empty without "
        "targets, or where they cannot be met.",
    )
    def weighted_consensus(
        participant_demographics: pl.DataFrame,
        votes: pl.DataFrame,
        statements: pl.DataFrame,
        participants: pl.DataFrame,
        opinion_groups: pl.DataFrame,
        raw_votes: pl.DataFrame,
    ) -> Table:
        kept = participants.filter("kept")["participant_id"]
        if not targets or participant_demographics.is_empty() or kept.is_empty():
            return Table(contracts.WEIGHTED_CONSENSUS.empty(), {"weights": "there are no answers with targets"})
        matrix = with_importance(vote_matrix(votes, kept, statements["statement_id"]), raw_votes)
        try:
            weights = representativeness.raking_weights(participant_demographics, matrix.participant_ids, targets)
        except ConsultationError as error:
            return Table(contracts.WEIGHTED_CONSENSUS.empty(), {"weights": str(error)})
        settled = thresholds(decisions.read(consultation, "threshold"), consultation.file.seed)
        ideas = statement_ideas(decisions.read(consultation, "idea"))
        frame = representativeness.weighted_consensus(
            matrix,
            opinion_groups,
            weights,
            settled.procedure,
            reaches_cut(matrix.statement_ids.tolist(), ideas, settled.cut),
        )
        changed = frame.filter(pl.col("selected") != pl.col("selected_weighted"))
        return Table(
            frame,
            {
                "as many as so many people who count alike": representativeness.effective_number(weights),
                "statements that hang on who came": changed.height,
                "which": _in_words(changed, ["gac", "gac_weighted", "selected", "selected_weighted"], statements),
            },
        )

    return [sample_representativeness, weighted_consensus]


def _in_words(frame: pl.DataFrame, columns: list[str], statements: pl.DataFrame) -> dg.MetadataValue:
    """Columns of a table beside the texts of its statements, for the user interface."""
    texts = statements.select("statement_id", "text")
    shown = frame.join(texts, on="statement_id", how="left", validate="m:1", maintain_order="left")
    return dg.MetadataValue.md(markdown_table(shown.select(*columns, "statement_id", "text")))
