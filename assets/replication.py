"""A published result beside the same from the votes, reproduced and corrected; only where one was published.

Belongs here: the assets of the group `replication`. Their methods are in `ccai_dagster.replication`.
Assets: https://docs.dagster.io/guides/build/assets/defining-assets
"""

from functools import partial

import dagster as dg
import polars as pl

from assets import decisions
from assets.table_asset import Table, picture, report_file, table_asset
from ccai_dagster import contracts
from ccai_dagster.consultation.folder import Consultation
from ccai_dagster.core.digest import file_digest
from ccai_dagster.core.home import Home
from ccai_dagster.decisions.outcomes import merges
from ccai_dagster.pages import drawings
from ccai_dagster.replication import figures, published_groups
from ccai_dagster.replication import scores as scores_of
from ccai_dagster.replication.figures import ReplicationTables
from ccai_dagster.replication.page import ReplicationPage, render_replication
from ccai_dagster.replication.published_results import Published, published_constitutions, read_published

asset = partial(table_asset, group="replication", owner="team:audit")
PAGE = "replication.html"
"""Name of the page, which lies beside the audit report."""


def build(consultation: Consultation, home: Home) -> list[dg.AssetsDefinition]:
    """Make the assets of this stage: none where consultation.yaml names no published result."""
    chosen = consultation.file.replication
    if chosen is None:
        return []
    files = (chosen.figures, chosen.groups, chosen.agreement, chosen.seed_statements, consultation.file.prompts)
    digests = [file_digest(consultation.path(each)) for each in files]
    groups = {"groups": ["replicated_groups"]}
    # The files, not the arms: the page needs ids of principles, while an arm waits for their texts.
    published_file, baseline_file = (
        file_digest(consultation.path(consultation.arms[arm].constitution))
        for arm in (chosen.constitution, consultation.file.baseline)
    )

    def published() -> Published:
        return read_published(consultation, chosen)

    @asset(
        contracts.REPLICATED_GROUPS,
        kinds={"scikitlearn"},
        settings=[*digests, chosen.seeds],
        description="The published groups and groups computed again, attached by id and by position.",
    )
    def replicated_groups(context: dg.AssetExecutionContext, raw_votes: pl.DataFrame) -> Table:
        results = published()
        return Table(
            published_groups.replicated_groups(
                results,
                published_groups.published_votes(results, raw_votes),
                chosen.seeds,
                lambda message, done, total: context.log.info(f"{message}: {done} of {total}"),
            )
        )

    @asset(
        contracts.ALIGNMENT_EVIDENCE,
        kinds={"scikitlearn"},
        ins=groups,
        settings=[*digests, chosen.permutations, consultation.file.seed],
        description="How well each way of attaching groups fits the votes and the groups of Polis.",
    )
    def alignment_evidence(raw_votes: pl.DataFrame, groups: pl.DataFrame, raw_participants: pl.DataFrame) -> Table:
        results = published()
        frame = published_groups.alignment_evidence(
            results,
            published_groups.published_votes(results, raw_votes),
            groups,
            raw_participants,
            chosen.permutations,
            consultation.file.seed,
        )
        return Table(frame, {"fit of the published groups": picture(drawings.shuffled_fit(frame))})

    @asset(
        contracts.REPLICATED_SCORES,
        ins=groups,
        settings=digests,
        description="Group-aware consensus of every statement, for each way of attaching groups.",
    )
    def replicated_scores(raw_votes: pl.DataFrame, groups: pl.DataFrame) -> Table:
        results = published()
        return Table(scores_of.replicated_scores(results, published_groups.published_votes(results, raw_votes), groups))

    @asset(
        contracts.REPLICATED_STATEMENTS,
        ins=groups | {"scores": ["replicated_scores"]},
        settings=[*digests, published_file, chosen.bootstraps, consultation.file.seed],
        description="Every statement as published, reproduced and corrected, and whether it crosses the threshold.",
    )
    def replicated_statements(
        raw_votes: pl.DataFrame, groups: pl.DataFrame, scores: pl.DataFrame, raw_statements: pl.DataFrame
    ) -> Table:
        results = published()
        frame = scores_of.replicated_statements(
            results,
            published_groups.published_votes(results, raw_votes),
            scores,
            raw_statements,
            groups,
            scores_of.sources_of(published_constitutions(consultation, chosen)[0], set(results.agreement)),
            chosen.bootstraps,
            consultation.file.seed,
        )
        moved = picture(drawings.published_and_corrected(frame, results.threshold))
        counts = {str(name): count for name, count in frame["crossing"].value_counts(sort=True).iter_rows()}
        return Table(frame, counts | {"what the correction moves": moved})

    @asset(
        contracts.REPLICATED_PRINCIPLES,
        ins={"statements": ["replicated_statements"], "scores": ["replicated_scores"]},
        settings=[published_file],
        description="What the correction does to the sources of every published principle.",
    )
    def replicated_principles(statements: pl.DataFrame, scores: pl.DataFrame) -> Table:
        constitution, _ = published_constitutions(consultation, chosen)
        frame = scores_of.replicated_principles(constitution, statements, scores)
        lost = frame.filter(pl.col("fate") == "loses all its sources")["principle_id"].to_list()
        return Table(frame, {"lose all their sources": ", ".join(lost) or "none"})

    tables = {
        "evidence": ["alignment_evidence"],
        "scores": ["replicated_scores"],
        "replicated_statements": ["replicated_statements"],
        "replicated_principles": ["replicated_principles"],
    }
    counted = ("raw_statements", "raw_votes", "raw_participants", "participants", "statements")

    @asset(
        contracts.REPLICATION,
        settings=[*digests, published_file, baseline_file],
        ins=tables | {name: [name] for name in counted},
        deps=[decisions.ledger_key("merge")],
        description="Every published figure beside the reproduced and the corrected one, or why it cannot be computed.",
    )
    def replication(**tables: pl.DataFrame) -> Table:
        constitution, baseline = published_constitutions(consultation, chosen)
        n_merges = len(merges(decisions.read(consultation, "merge")))
        computed_from = ReplicationTables(constitution=constitution, baseline=baseline, n_merges=n_merges, **tables)
        frame = figures.replication(published(), computed_from)
        verdicts = {str(name): count for name, count in frame["verdict"].value_counts(sort=True).iter_rows()}
        return Table(frame, verdicts)

    @asset(
        contracts.FILE,
        kinds={"html"},
        ins=tables | {"replication": ["replication"]},
        settings=[*digests, consultation.file.title],
        description="One page for a lay reader: what was published, what the votes give, what a correction moves.",
    )
    def replication_report(**tables: pl.DataFrame) -> Table:
        page = ReplicationPage(title=consultation.file.title, threshold=published().threshold, **tables)
        return report_file(home, PAGE, render_replication(page))

    return [
        replicated_groups,
        alignment_evidence,
        replicated_scores,
        replicated_statements,
        replicated_principles,
        replication,
        replication_report,
    ]
