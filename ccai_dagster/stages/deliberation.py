"""The stage that reads what statements are about."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from ccai_dagster.consultation.settings import SentenceModelSettings
from ccai_dagster.core.errors import Progress
from ccai_dagster.stages.request import Stage, StageFolder, StageReport, Table


class StatementTopicsStage(Stage):
    """Embed statements and find their topics.

    Attributes:
        cache: Where downloads are kept.
    """

    stage: Literal["statement_topics"] = "statement_topics"
    sentence_model: SentenceModelSettings
    cache: Path
    statements: Table

    def run(self, folder: StageFolder, progress: Progress) -> StageReport:
        """Leave `statement_topics`."""
        from ccai_dagster.deliberation.topics import statement_topics
        from ccai_dagster.stages.sentence_model import load_sentence_model

        ids, texts = self.statements["statement_id"].to_list(), self.statements["text"].to_list()
        embeddings = load_sentence_model(self.sentence_model, self.cache).embed(texts, progress)
        folder.keep_tables(statement_topics=statement_topics(ids, texts, embeddings))
        return StageReport()
