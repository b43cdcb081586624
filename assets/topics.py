"""What the public's statements are about, and what is told of groups and topics.

Belongs here: what leads to no constitution. Topics are the one asset of the group `deliberation` that needs a model,
and nothing down to the constitution waits for it. Methods are in `ccai_dagster.deliberation`; those with a model run
in a process of their own.
Assets: https://docs.dagster.io/guides/build/assets/defining-assets
"""

from functools import partial

import dagster as dg
import polars as pl

from assets.table_asset import Table, markdown_table, table_asset
from assets.torch_stage import POOL, SHOWN_ROWS, of_disk
from ccai_dagster import contracts
from ccai_dagster.consultation.folder import Consultation
from ccai_dagster.consultation.settings import FeedbackSettings, SentenceModelSettings, ServerSettings
from ccai_dagster.core.home import home_root
from ccai_dagster.deliberation import narrative as narratives
from ccai_dagster.deliberation.topics import near_duplicates
from ccai_dagster.stages.deliberation import StatementTopicsStage, WrittenNarrativeStage
from resources.launcher import Launcher

asset = partial(table_asset, group="deliberation", owner="team:deliberation")


def build(consultation: Consultation) -> list[dg.AssetsDefinition]:
    """Make the assets: topics only if the consultation names a sentence model, texts of a model only with a server."""
    sentence_model = consultation.file.sentence_model
    topics = [] if sentence_model is None else [_statement_topics(sentence_model)]

    @asset(
        contracts.NARRATIVE,
        ins={"statement_topics": ["statement_topics"]} if topics else {},
        description="Sentences on each opinion group and topic, each with the statements it rests on.",
    )
    def narrative(
        statements: pl.DataFrame,
        opinion_groups: pl.DataFrame,
        representative_statements: pl.DataFrame,
        gac_scores: pl.DataFrame,
        **topics: pl.DataFrame,
    ) -> Table:
        frame = narratives.narrative(statements, opinion_groups, representative_statements, gac_scores, **topics)
        return Table(
            frame, {"sentences": dg.MetadataValue.md(markdown_table(frame.select("about", "sentence").head(20)))}
        )

    feedback = consultation.profile.feedback
    if feedback.server_url is None:
        return [*topics, narrative]
    return [*topics, narrative, _written_narrative(feedback, feedback.server_url, consultation)]


def _written_narrative(feedback: FeedbackSettings, server_url: str, consultation: Consultation) -> dg.AssetsDefinition:
    seed, server_model = consultation.file.seed, feedback.server_model or ""
    asked_otherwise = [feedback.server] if feedback.server.digest() != ServerSettings().digest() else []

    @asset(
        contracts.WRITTEN_NARRATIVE,
        kinds={"openai"},
        pool=POOL,
        settings=[server_url, server_model, seed, *asked_otherwise],
        description="What the feedback model makes of the narrative; what it was not given is refused.",
    )
    def written_narrative(context: dg.AssetExecutionContext, narrative: pl.DataFrame, launcher: Launcher) -> Table:
        stage = WrittenNarrativeStage(
            server_url=server_url, server_model=server_model, server=feedback.server, seed=seed, narrative=narrative
        )
        result = launcher.run(context, stage)
        frame = result.tables["written_narrative"]
        launcher.finish(result)
        return Table(
            frame,
            {
                "written by": server_model,
                "refused": frame["refused"].count(),
                "texts": dg.MetadataValue.md(markdown_table(frame.select("about", "text", "refused").head(20))),
            },
        )

    return written_narrative


def _statement_topics(sentence_model: SentenceModelSettings) -> dg.AssetsDefinition:
    @asset(
        contracts.STATEMENT_TOPICS,
        kinds={"torch", "huggingface", "scikitlearn"},
        pool=POOL,
        settings=[sentence_model, *of_disk(sentence_model)],
        description="What each statement is about, moderated or not, and which others say nearly the same.",
    )
    def statement_topics(context: dg.AssetExecutionContext, raw_statements: pl.DataFrame, launcher: Launcher) -> Table:
        stage = StatementTopicsStage(
            sentence_model=sentence_model,
            cache=home_root() / "cache",
            statements=raw_statements.select("statement_id", "text").sort("statement_id"),
        )
        result = launcher.run(context, stage)
        frame = result.tables["statement_topics"]
        launcher.finish(result)
        sizes = frame.group_by("topic_id", "topic").len("statements").sort("topic_id")
        return Table(
            frame,
            {
                "topics": sizes.height,
                "near-duplicates": len(near_duplicates(frame)),
                "largest topics": dg.MetadataValue.md(markdown_table(sizes.head(SHOWN_ROWS))),
            },
        )

    return statement_topics
