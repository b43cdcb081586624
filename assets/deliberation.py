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
from ccai_dagster.consultation.folder import PORTAL, Consultation
from ccai_dagster.core.errors import Progress
from ccai_dagster.decisions import checks, group_checks
from ccai_dagster.decisions.outcomes import exclusions, moderation_verdicts, statement_ideas
from ccai_dagster.decisions.values import Thresholds, thresholds
from ccai_dagster.deliberation import consensus, groups, stability, structure
from ccai_dagster.deliberation.importing.group_counts import COUNTS_ALONE
from ccai_dagster.deliberation.votes import (
    VoteMatrix,
    clean_participants,
    clean_statements,
    clean_votes,
    in_context,
    vote_matrix,
    with_importance,
)
from ccai_dagster.pages import drawings, pictures

GROUP = "deliberation"
OWNER = "team:deliberation"
NOBODY = "cannot be told: nobody cast the votes that `minimum_votes` asks for, or everybody is excluded"
asset = partial(table_asset, group=GROUP, owner=OWNER)


def build(consultation: Consultation) -> list[dg.AssetsDefinition]:
    """Make the assets of this stage."""
    file, seed = consultation.file, consultation.file.seed
    resampling = consultation.profile.deliberation

    @asset(
        contracts.STATEMENTS,
        deps=[decisions.ledger_key("moderation")],
        checks=["moderation", "moderation_mode"],
        settings=[file.moderation],
        description="Statements that moderation let in, with rewrites applied.",
    )
    def statements(raw_statements: pl.DataFrame, raw_votes: pl.DataFrame) -> Table:
        ledger = decisions.read(consultation, "moderation")
        found = require(Checked("moderation", checks.check_moderation(ledger, raw_statements, file.moderation)))
        doubted = checks.check_moderation_mode(ledger, raw_statements, raw_votes, file.moderation)
        decided = moderation_verdicts(ledger)
        frame = clean_statements(raw_statements, decided, file.moderation == "lenient")
        included = sum(each.included for each in decided.values())
        metadata = sum(each.metadata for each in decided.values())
        return Table(
            frame,
            {
                "in": frame.height,
                "out": len(decided) - included - metadata,
                "about the people who vote": metadata,
                "rewritten": int(frame["rewritten"].sum()),
                "undecided": raw_statements.height - len(decided),
            },
            [*found, Checked("moderation_mode", doubted, warns=True)],
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
            Checked("exclusions", checks.check_exclusions(exclusion_ledger, raw_participants, file.votes == PORTAL)),
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
        contracts.GROUP_STRUCTURE,
        deps=[decisions.ledger_key("threshold")],
        settings=[seed, resampling.shuffles],
        method="2",
        kinds={"scikitlearn"},
        checks=["structure"],
        description="Whether votes show more structure than votes shuffled within each statement.",
    )
    def group_structure(
        context: dg.AssetExecutionContext,
        votes: pl.DataFrame,
        statements: pl.DataFrame,
        participants: pl.DataFrame,
        raw_votes: pl.DataFrame,
    ) -> Table:
        settled = thresholds(decisions.read(consultation, "threshold"), seed)
        if participants.is_empty():
            frame = contracts.GROUP_STRUCTURE.empty()
        else:
            matrix = in_context(_matrix(votes, participants, statements), raw_votes, participants)
            frame = structure.structure_test(matrix, settled.procedure, resampling.shuffles, seed, _logged(context))
        found = group_checks.check_structure(frame, settled)
        return Table(
            frame,
            {"the votes show": structure.verdict(frame), "how separate": structure.separation(frame)},
            [Checked("structure", found, warns=True)],
        )

    @asset(
        contracts.OPINION_GROUPS,
        deps=[decisions.ledger_key("threshold")],
        settings=[seed],
        method="2",
        kinds={"scikitlearn"},
        checks=["group_sizes"],
        description="Each participant's opinion group and place on the opinion map.",
    )
    def opinion_groups(
        votes: pl.DataFrame,
        statements: pl.DataFrame,
        participants: pl.DataFrame,
        raw_votes: pl.DataFrame,
        group_structure: pl.DataFrame,
        import_report: pl.DataFrame,
    ) -> Table:
        if participants.is_empty():
            return Table(
                contracts.OPINION_GROUPS.empty(),
                {"opinion map": COUNTS_ALONE},
                [Checked("group_sizes", [], warns=True)],
            )
        matrix = in_context(_matrix(votes, participants, statements), raw_votes, participants)
        settled = thresholds(decisions.read(consultation, "threshold"), seed)
        procedure = structure.procedure_for(settled.procedure, group_structure, settled.without_structure)
        grouping = groups.group_participants(matrix, procedure)
        frame = groups.opinion_groups(matrix, grouping)
        sizes = frame["group_id"].value_counts().sort("group_id")["count"].to_list()
        return Table(
            frame,
            {
                "groups": len(sizes),
                "sizes": ", ".join(map(str, sizes)),
                "the votes show": structure.verdict(group_structure),
                "explained variance": ", ".join(f"{share:.4f}" for share in grouping.map.explained_variance),
                "silhouettes": ", ".join(f"{k}: {value:.3f}" for k, value in grouping.silhouettes.items()),
                "opinion map": picture(drawings.opinion_map(frame)),
                **_beside_polis(frame, participants, import_report),
            },
            [Checked("group_sizes", group_checks.check_group_sizes(frame), warns=True)],
        )

    @asset(
        contracts.GAC_SCORES,
        deps=[decisions.ledger_key("threshold")],
        method="2",
        checks=["reachable"],
        description="Group-aware consensus and polarization of every statement; consensus_stability has the intervals.",
    )
    def gac_scores(group_votes: pl.DataFrame, statements: pl.DataFrame, opinion_groups: pl.DataFrame) -> Table:
        settled = thresholds(decisions.read(consultation, "threshold"), seed)
        published = consultation.path(file.published_scores) if file.published_scores else None
        given = consensus.GroupVotes.of_table(group_votes, statements["statement_id"])
        frame = consensus.gac_of_counts(given, settled.procedure, pl.read_csv(published) if published else None)
        return Table(
            frame,
            _consensus_figures(frame, opinion_groups, settled, published is not None),
            [Checked("reachable", group_checks.check_reachable(settled, opinion_groups, frame), warns=True)],
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
        settings=[seed, resampling.bootstraps],
        group=GROUP,
        owner=OWNER,
        kinds={"scikitlearn"},
        method="4",
    )
    def uncertainty(
        context: dg.AssetExecutionContext,
        votes: pl.DataFrame,
        statements: pl.DataFrame,
        participants: pl.DataFrame,
        opinion_groups: pl.DataFrame,
        raw_votes: pl.DataFrame,
        group_structure: pl.DataFrame,
    ) -> dict[str, Table]:
        if opinion_groups.is_empty():
            nothing = {"how sure": COUNTS_ALONE if participants.is_empty() else NOBODY}
            return {
                "consensus_stability": Table(contracts.CONSENSUS_STABILITY.empty(), nothing),
                "group_stability": Table(contracts.GROUP_STABILITY.empty(), nothing),
            }
        matrix = in_context(_matrix(votes, participants, statements), raw_votes, participants)
        matrix = with_importance(matrix, raw_votes)
        settled = thresholds(decisions.read(consultation, "threshold"), seed)
        found = stability.consensus_stability(
            matrix,
            opinion_groups,
            structure.procedure_for(settled.procedure, group_structure, settled.without_structure),
            reaches_cut(
                matrix.statement_ids.tolist(), statement_ideas(decisions.read(consultation, "idea")), settled.cut
            ),
            resampling.bootstraps,
            seed,
            _logged(context),
        )
        line = settled.cut.threshold if settled.cut.rule == "threshold" else None
        return {
            "consensus_stability": Table(found.statements, _score_figures(found.statements, line)),
            "group_stability": Table(found.groups, _group_figures(found.groups, found.statements)),
        }

    return [statements, participants, votes, group_structure, opinion_groups, gac_scores, _group_votes(), uncertainty]


def _group_votes() -> dg.AssetsDefinition:
    @asset(
        contracts.GROUP_VOTES,
        description="How each opinion group voted on each statement: counted from the votes of people, or as given.",
    )
    def group_votes(
        votes: pl.DataFrame,
        statements: pl.DataFrame,
        participants: pl.DataFrame,
        opinion_groups: pl.DataFrame,
        raw_votes: pl.DataFrame,
        raw_group_votes: pl.DataFrame,
    ) -> Table:
        if participants.is_empty():
            given = consensus.GroupVotes.of_table(raw_group_votes, statements["statement_id"])
            return Table(given.table(), {"from": "counts by group, as they were given"})
        matrix = with_importance(_matrix(votes, participants, statements), raw_votes)
        frame = consensus.GroupVotes.of(matrix, _labels(matrix, opinion_groups)).table()
        return Table(frame, {"from": "votes of people, who are in the groups that their votes make"})

    return group_votes


def _logged(context: dg.AssetExecutionContext) -> Progress:
    """Tell progress in Dagster's log."""
    return lambda message, done, total: context.log.info(f"{message}: {done} of {total}")


def _matrix(votes: pl.DataFrame, participants: pl.DataFrame, statements: pl.DataFrame) -> VoteMatrix:
    return vote_matrix(votes, participants.filter("kept")["participant_id"], statements["statement_id"])


def _labels(matrix: VoteMatrix, opinion_groups: pl.DataFrame) -> np.ndarray:
    """Groups in the order of the matrix, joined by id."""
    order = pl.DataFrame({"participant_id": matrix.participant_ids})
    return order.join(opinion_groups, on="participant_id", how="left", maintain_order="left")["group_id"].to_numpy()


def _beside_polis(
    opinion_groups: pl.DataFrame, participants: pl.DataFrame, import_report: pl.DataFrame
) -> dict[str, Any]:
    """How the groups agree with those of the export, if it has any."""
    agreement = structure.agreement_with_polis(opinion_groups, participants)
    if agreement is None:
        return {}
    return {
        "groups of Polis": structure.agreement_told(agreement, import_report),
        "groups by groups of Polis": dg.MetadataValue.md(markdown_table(agreement.cross_table)),
    }


def _consensus_figures(
    frame: pl.DataFrame, opinion_groups: pl.DataFrame, settled: Thresholds, published: bool
) -> dict[str, Any]:
    """What is worth seeing of the table `gac_scores`."""
    cut = settled.cut.threshold
    line = cut if settled.cut.rule == "threshold" else None
    figures = {
        "mean GAC": frame["gac"].mean(),
        "median GAC": frame["gac"].median(),
        "median polarization index": frame["polarization_index"].median(),
        "median adjusted polarization index": frame["adjusted_polarization_index"].median(),
        "statements at the GAC threshold": int((frame["gac"] >= cut).sum()),
        "what can be reached": group_checks.reachable(settled, opinion_groups),
        "statements that the votes cast could bring to the threshold": int((frame["gac_if_unanimous"] >= cut).sum()),
        "GAC distribution": picture(drawings.consensus_histogram(frame, line)),
        "agreement by group": picture(pictures.agreement_by_group(frame, line)),
        "polarization": picture(drawings.polarization(frame)),
    }
    if published:
        reached = int((frame["published_gac"] >= cut).sum())
        figures["statements at the GAC threshold by published scores"] = reached
    return {name: value for name, value in figures.items() if value is not None}


def _score_figures(statements: pl.DataFrame, line: float | None) -> dict[str, Any]:
    """What is worth seeing of the table `consensus_stability`."""
    width = (statements["gac_high"] - statements["gac_low"]).median()
    same = (statements["gac_high_same_groups"] - statements["gac_low_same_groups"]).median()
    figures = {
        "median width of the 90 % intervals": width,
        "the same with the groups on record": same,
        "selected in 5 to 95 % of the draws": int(statements["selection_probability"].is_between(0.05, 0.95).sum()),
        f"some group cast fewer than {stability.FEW_VOTES} votes": int(statements["few_votes"].sum()),
        "scores with intervals": picture(drawings.consensus_intervals(statements, line)),
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
    return figures | {"how often statements reach the cut": picture(drawings.selection_frequency(statements))}
