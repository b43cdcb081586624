"""The stages that ask a model about statements: what they are about, and to retell what is told of them."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from ccai_dagster.consultation.settings import SentenceModelSettings, ServerSettings
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


class WrittenNarrativeStage(Stage):
    """Have the language model on a server retell the narrative.

    Attributes:
        server_url: Address of the server.
        server_model: The model's name there.
        server: How it is asked.
        narrative: NARRATIVE.
    """

    stage: Literal["written_narrative"] = "written_narrative"
    server_url: str
    server_model: str
    server: ServerSettings = ServerSettings()
    seed: int
    narrative: Table

    @property
    def libraries(self) -> tuple[str, ...]:
        """None: a server writes."""
        return ()

    def run(self, folder: StageFolder, progress: Progress) -> StageReport:
        """Leave `written_narrative`."""
        from ccai_dagster.deliberation.written_narrative import NEW_TOKENS, told_of, written_narrative
        from ccai_dagster.feedback.language_model import texts_of
        from ccai_dagster.stages.server_model import KeptLines, OpenAIServerModel

        told = list(told_of(self.narrative))
        model = OpenAIServerModel(self.server_url, self.server_model, self.server, kept=KeptLines(folder.answers))
        answers = model.generate(
            [[("user", each.question)] for each in told],
            new_tokens=NEW_TOKENS,
            temperature=0.0,
            seed=self.seed,
            progress=progress,
        )
        folder.keep_tables(written_narrative=written_narrative(told, texts_of(answers), self.server_model))
        return StageReport()
