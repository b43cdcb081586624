"""From raw votes to opinion groups, consensus and how sure it is.

Belongs here: the assets of the group `deliberation`. Their methods are in `ccai_dagster.deliberation`.
Assets: https://docs.dagster.io/guides/build/assets/defining-assets
"""

from collections import Counter
from functools import partial
from typing import Any

import dagster as dg
import numpy as np
import polars as pl

from assets import decisions
from assets.table_asset import Checked, Table, markdown_table, picture, require, table_asset, table_assets
from ccai_dagster import contracts
from ccai_dagster.constitution.selection import reaches_cut
from ccai_dagster.consultation.folder import Consultation
from ccai_dagster.decisions import checks
from ccai_dagster.decisions.outcomes import exclusions, moderation_verdicts, statement_ideas
from ccai_dagster.decisions.values import thresholds
from ccai_dagster.deliberation import consensus, groups, importance, representative, stability, uncertain
from ccai_dagster.deliberation.votes import (
    VoteMatrix,
    clean_participants,
    clean_statements,
    clean_votes,
    in_context,
    vote_matrix,
    with_importance,
)
from ccai_dagster.pages import pictures

GROUP = "deliberation"
OWNER = "team:deliberation"
asset = partial(table_asset, group=GROUP, owner=OWNER)


def build(consultation: Consultation) -> list[dg.AssetsDefinition]:
    """Make the assets of this stage."""
    file, seed = consultation.file, consultation.file.seed
    bootstraps = consultation.profile.deliberation

    @asset(
        contracts.STATEMENTS,
        deps=[decisions.ledger_key("moderation")],
        checks=["moderation"],
        settings=[file.moderation],
        description="Statements that moderation let in, with rewrites applied.",
    )
    def statements(raw_statements: pl.DataFrame) -> Table:
        ledger = decisions.read(consultation, "moderation")
        found = require(Checked("moderation", checks.check_moderation(ledger, raw_statements, file.moderation)))
        decided = moderation_verdicts(ledger)
        frame = clean_statements(raw_statements, decided, file.moderation == "lenient")
        included = sum(each.included for each in decided.values())
        return Table(
            frame,
            {
                "in": frame.height,
                "out": len(decided) - included,
                "rewritten": int(frame["rewritten"].sum()),
                "undecided": raw_statements.height - len(decided),
            },
            found,
        )

    @asset(
        contracts.PARTICIPANTS,
        deps=[decisions.ledger_key("exclusion"), decisions.ledger_key("threshold")],
        checks=["exclusions", "numeric_decisions"],
        description="Everybody who took part, and whether their votes count.",
    )
    def participants(raw_participants: pl.DataFrame, raw_votes: pl.DataFrame) -> Table:
        threshold_ledger = decisions.read(consultation, "threshold")
        exclusion_ledger = decisions.read(consultation, "exclusion")
        found = require(
            Checked("exclusions", checks.check_exclusions(exclusion_ledger, raw_participants)),
            Checked("numeric_decisions", checks.check_thresholds(threshold_ledger)),
        )
        settled = thresholds(threshold_ledger, seed)
        frame = clean_participants(
            raw_participants,
            exclusions(exclusion_ledger),
            settled.minimum_votes,
            settled.decision_ids["minimum_votes"],
            raw_votes["statement_id"].n_unique() if settled.procedure.name == "polis" else None,
        )
        fates = Counter(frame["fate"].to_list())
        return Table(
            frame,
            {
                "kept": fates["kept"],
                "too few votes": fates["too few votes"],
                "excluded": fates["excluded"],
                "minimum votes": settled.minimum_votes,
            },
            found,
        )

    @asset(contracts.VOTES, description="Votes that count: of participants kept, on statements that are in.")
    def votes(raw_votes: pl.DataFrame, statements: pl.DataFrame, participants: pl.DataFrame) -> Table:
        frame = clean_votes(raw_votes, statements, participants)
        cells = statements.height * participants["kept"].sum()
        return Table(frame, {"share of cells filled": frame.height / cells if cells else 0.0})

    @asset(
        contracts.OPINION_GROUPS,
        deps=[decisions.ledger_key("threshold")],
        settings=[seed],
        method="2",
        kinds={"scikitlearn"},
        description="Each participant's opinion group and place on the opinion map.",
    )
    def opinion_groups(
        votes: pl.DataFrame, statements: pl.DataFrame, participants: pl.DataFrame, raw_votes: pl.DataFrame
    ) -> Table:
        matrix = in_context(_matrix(votes, participants, statements), raw_votes, participants)
        settled = thresholds(decisions.read(consultation, "threshold"), seed)
        grouping = groups.group_participants(matrix, settled.procedure)
        frame = groups.opinion_groups(matrix, grouping)
        sizes = frame["group_id"].value_counts().sort("group_id")["count"].to_list()
        return Table(
            frame,
            {
                "groups": len(sizes),
                "sizes": ", ".join(map(str, sizes)),
                "explained variance": ", ".join(f"{share:.4f}" for share in grouping.map.explained_variance),
                "silhouettes": ", ".join(f"{k}: {value:.3f}" for k, value in grouping.silhouettes.items()),
                "opinion map": picture(pictures.opinion_map(frame)),
            },
        )

    @asset(
        contracts.GAC_SCORES,
        deps=[decisions.ledger_key("threshold")],
        method="2",
        description="Group-aware consensus and polarization of every statement; consensus_stability has the intervals.",
    )
    def gac_scores(
        votes: pl.DataFrame,
        statements: pl.DataFrame,
        participants: pl.DataFrame,
        opinion_groups: pl.DataFrame,
        raw_votes: pl.DataFrame,
    ) -> Table:
        matrix = with_importance(_matrix(votes, participants, statements), raw_votes)
        settled = thresholds(decisions.read(consultation, "threshold"), seed)
        published = consultation.path(file.published_scores) if file.published_scores else None
        frame = consensus.gac_scores(
            matrix, _labels(matrix, opinion_groups), settled.procedure, pl.read_csv(published) if published else None
        )
        line = settled.cut.threshold if settled.cut.rule == "threshold" else None
        figures = {
            "mean GAC": frame["gac"].mean(),
            "median GAC": frame["gac"].median(),
            "median polarization index": frame["polarization_index"].median(),
            "median adjusted polarization index": frame["adjusted_polarization_index"].median(),
            "statements at the GAC threshold": int((frame["gac"] >= settled.cut.threshold).sum()),
            "GAC distribution": picture(pictures.gac_distribution(frame, line)),
            "agreement by group": picture(pictures.agreement_by_group(frame, line)),
            "polarization": picture(pictures.polarization(frame)),
        }
        if published:
            reached = int((frame["published_gac"] >= settled.cut.threshold).sum())
            figures["statements at the GAC threshold by published scores"] = reached
        return Table(frame, {name: value for name, value in figures.items() if value is not None})

    @asset(
        contracts.REPRESENTATIVE_STATEMENTS,
        method="2",
        description="Statements that set each group apart from everybody else.",
    )
    def representative_statements(
        votes: pl.DataFrame, statements: pl.DataFrame, participants: pl.DataFrame, opinion_groups: pl.DataFrame
    ) -> Table:
        matrix = _matrix(votes, participants, statements)
        frame = representative.representative_statements(matrix, _labels(matrix, opinion_groups))
        shown = {
            f"what sets {pictures.group_name(group)} apart": picture(
                pictures.representative_votes(frame, statements, votes, opinion_groups, group)
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
        description="Statements that the public as a whole agrees or disagrees with, whatever the groups.",
    )
    def consensus_statements(votes: pl.DataFrame, statements: pl.DataFrame, participants: pl.DataFrame) -> Table:
        frame = representative.consensus_statements(_matrix(votes, participants, statements))
        shown = _in_words(frame, ["side", "n_side", "n_votes"], statements)
        return Table(frame, {"statements": shown})

    @asset(
        contracts.COMMENT_PRIORITIES,
        description="How urgently Polis would show each statement to the next participant.",
    )
    def comment_priorities(
        votes: pl.DataFrame, statements: pl.DataFrame, participants: pl.DataFrame, raw_statements: pl.DataFrame
    ) -> Table:
        matrix = _matrix(votes, participants, statements)
        about_itself = raw_statements.filter("is_meta")["statement_id"].to_list()
        mean, components = representative.vote_components(matrix, about_itself)
        extremity = representative.statement_extremity(mean, components)
        frame = representative.comment_priorities(matrix, extremity, raw_statements)
        first = frame.sort("priority", "statement_id", descending=[True, False]).head(10)
        return Table(
            frame,
            {
                "first ones": _in_words(first, ["priority", "n_votes", "extremity"], statements),
                "statements of which the export does not tell whether they are about the conversation itself": frame[
                    "is_meta"
                ].null_count(),
            },
        )

    @table_assets(
        [
            (
                contracts.CONSENSUS_STABILITY,
                "How sure each score is: intervals from drawing participants anew, with new groups each time.",
            ),
            (
                contracts.GROUP_STABILITY,
                "How far opinion groups change when participants are drawn anew, and with other seeds.",
            ),
        ],
        deps=[decisions.ledger_key("threshold"), decisions.ledger_key("idea")],
        settings=[seed, bootstraps],
        group=GROUP,
        owner=OWNER,
        kinds={"scikitlearn"},
        method="3",
    )
    def uncertainty(
        context: dg.AssetExecutionContext,
        votes: pl.DataFrame,
        statements: pl.DataFrame,
        participants: pl.DataFrame,
        opinion_groups: pl.DataFrame,
        raw_votes: pl.DataFrame,
    ) -> dict[str, Table]:
        matrix = in_context(_matrix(votes, participants, statements), raw_votes, participants)
        matrix = with_importance(matrix, raw_votes)
        settled = thresholds(decisions.read(consultation, "threshold"), seed)
        found = stability.consensus_stability(
            matrix,
            opinion_groups,
            settled.procedure,
            reaches_cut(
                matrix.statement_ids.tolist(), statement_ideas(decisions.read(consultation, "idea")), settled.cut
            ),
            bootstraps.bootstraps,
            seed,
            lambda message, done, total: context.log.info(f"{message}: {done} of {total}"),
        )
        line = settled.cut.threshold if settled.cut.rule == "threshold" else None
        return {
            "consensus_stability": Table(found.statements, _score_figures(found.statements, line)),
            "group_stability": Table(found.groups, _group_figures(found.groups, found.statements)),
        }

    return [
        statements,
        participants,
        votes,
        opinion_groups,
        gac_scores,
        representative_statements,
        consensus_statements,
        *_beside_agreement(),
        comment_priorities,
        uncertainty,
    ]


def _beside_agreement() -> list[dg.AssetsDefinition]:
    """What votes tell beside agreeing and disagreeing."""

    @asset(
        contracts.IMPORTANT_STATEMENTS,
        description="Which statements people marked as important, by group; empty if the export does not tell.",
    )
    def important_statements(raw_votes: pl.DataFrame, statements: pl.DataFrame, opinion_groups: pl.DataFrame) -> Table:
        votes = raw_votes.join(statements, on="statement_id", how="semi")
        frame = importance.important_statements(votes, opinion_groups)
        return Table(frame, {"first ones": _in_words(frame.head(10), ["share", "n_important", "n_votes"], statements)})

    @asset(
        contracts.UNCERTAIN_STATEMENTS,
        description="Areas of uncertainty: statements on which many of those who saw them passed.",
    )
    def uncertain_statements(
        raw_votes: pl.DataFrame, statements: pl.DataFrame, participants: pl.DataFrame, opinion_groups: pl.DataFrame
    ) -> Table:
        counting = participants.filter(pl.col("fate") != "excluded")
        votes = raw_votes.join(counting, on="participant_id", how="semi").join(
            statements, on="statement_id", how="semi"
        )
        frame = uncertain.uncertain_statements(votes, opinion_groups)
        return Table(
            frame,
            {
                "by the rule of Polis": int(frame["by_polis"].sum()),
                "by the rule of Sensemaker": int(frame["by_sensemaker"].sum()),
                "first ones": _in_words(frame.head(10), ["share", "n_pass", "n_votes"], statements),
            },
        )

    return [important_statements, uncertain_statements]


def _matrix(votes: pl.DataFrame, participants: pl.DataFrame, statements: pl.DataFrame) -> VoteMatrix:
    return vote_matrix(votes, participants.filter("kept")["participant_id"], statements["statement_id"])


def _labels(matrix: VoteMatrix, opinion_groups: pl.DataFrame) -> np.ndarray:
    """Groups in the order of the matrix, joined by id."""
    order = pl.DataFrame({"participant_id": matrix.participant_ids})
    return order.join(opinion_groups, on="participant_id", how="left", maintain_order="left")["group_id"].to_numpy()


def _in_words(frame: pl.DataFrame, columns: list[str], statements: pl.DataFrame) -> dg.MetadataValue:
    """Columns of a table beside the texts of its statements, for the user interface."""
    texts = statements.select("statement_id", "text")
    shown = frame.join(texts, on="statement_id", how="left", validate="m:1", maintain_order="left")
    return dg.MetadataValue.md(markdown_table(shown.select(*columns, "statement_id", "text")))


def _score_figures(statements: pl.DataFrame, line: float | None) -> dict[str, Any]:
    """What is worth seeing of the table `consensus_stability`."""
    width = (statements["gac_high"] - statements["gac_low"]).median()
    same = (statements["gac_high_same_groups"] - statements["gac_low_same_groups"]).median()
    figures = {
        "median width of the 90 % intervals": width,
        "the same with the groups on record": same,
        "selected in 5 to 95 % of the draws": int(statements["selection_probability"].is_between(0.05, 0.95).sum()),
        f"some group cast fewer than {stability.FEW_VOTES} votes": int(statements["few_votes"].sum()),
        "scores with intervals": picture(pictures.gac_intervals(statements, line)),
    }
    return {name: value for name, value in figures.items() if value is not None}


def _group_figures(groups: pl.DataFrame, statements: pl.DataFrame) -> dict[str, Any]:
    """What is worth seeing of the table `group_stability`."""
    figures: dict[str, Any] = {}
    for varied, what in (("participants", "participants drawn anew"), ("seed", "other seeds")):
        drawn = groups.filter(pl.col("varied") == varied)
        index, numbers = drawn["adjusted_rand"], Counter(drawn["n_groups"].to_list())
        figures |= {
            f"{what}: draws": drawn.height,
            f"{what}: adjusted Rand index, median": float(np.median(index)),
            f"{what}: adjusted Rand index, range": f"{min(index):.2f} to {max(index):.2f}",
            f"{what}: numbers of groups": ", ".join(
                f"{number} ({times} times)" for number, times in sorted(numbers.items())
            ),
        }
    return figures | {"stability": picture(pictures.stability(groups, statements))}
