"""What an export says of moderation: of each statement, and whether it was strict or lenient.

The mode is a setting of the conversation, which Polis's conversation.json states. Else it is told by who voted on
statements that nobody moderated.
Under strict moderation nobody but the author is shown such a statement, and so nobody else can vote on it; under
lenient moderation everybody is (https://compdemocracy.org/moderation). An author may vote on the own one in either.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from typing import Literal

import polars as pl

from ccai_dagster.core.errors import ConsultationError
from ccai_dagster.core.text import counted
from ccai_dagster.deliberation.importing.columns import SourceFile, decoded
from ccai_dagster.deliberation.importing.noted import Fact
from ccai_dagster.deliberation.importing.tables import Import, build_report

Mode = Literal["strict", "lenient"]
METADATA: Literal["metadata"] = "metadata"
CONVERSATION = "conversation"
"""Role of Polis's conversation.json, of which one thing is read."""
STRICT = "strict_moderation"
STATED: dict[str, Mode] = {"strict moderation stated": "strict", "lenient moderation stated": "lenient"}
"""Items of the import report that are there where conversation.json states the mode."""


def exported_moderation(moderated: int, is_meta: bool | None) -> Literal["in", "out", "metadata"] | None:
    """Return what an export says of a statement; None if nobody moderated it.

    As in the engine of Polis (`conversation.clj`, mod-update) a mark as metadata counts without moderation; a
    statement that was rejected as well is out.
    """
    if moderated == -1:
        return "out"
    if is_meta:
        return METADATA
    return "in" if moderated == 1 else None


@dataclass(frozen=True)
class ModerationEvidence:
    """Statements that nobody moderated.

    Attributes:
        unmoderated: How many there are.
        shown: How many of them somebody else than the author voted on.
    """

    unmoderated: int
    shown: int

    @property
    def mode(self) -> Mode | None:
        """The mode; None if there is no such statement, or less than half of them were shown.

        In ten public conversations it was all or nearly all of them (28 of 29), or none (of up to 488).
        """
        if not self.unmoderated or 0 < 2 * self.shown < self.unmoderated:
            return None
        return "lenient" if self.shown else "strict"

    def sentence(self) -> str:
        """What the votes tell, as a sentence without its full stop."""
        if not self.unmoderated:
            return "every statement was moderated, so that the mode of moderation changes nothing"
        verb = "was" if 1 in (self.shown, self.unmoderated) else "were"
        said = (
            f"{self.shown:,} of {counted(self.unmoderated, 'statement')} that nobody moderated {verb} voted on by "
            "others than the author"
        )
        if self.mode == "lenient":
            return f"{said}, and so {verb} shown to them: the conversation was lenient"
        if self.mode == "strict":
            return f"{said}, so none was shown to them: the conversation was strict"
        return f"{said}: the votes do not tell whether the conversation was strict or lenient"

    def fact(self) -> Fact:
        """The line of the import report."""
        kind: Literal["found", "unknown"] = "unknown" if self.unmoderated and self.mode is None else "found"
        return Fact(kind, "mode of moderation", self.unmoderated, self.sentence())


def moderation_evidence(
    raw_statements: pl.DataFrame, raw_votes: pl.DataFrame, raw_group_votes: pl.DataFrame | None = None
) -> ModerationEvidence:
    """Count the statements that nobody moderated, and those of them that others than their authors voted on.

    Where no author is known, one of the voters may be the author. So it is with counts by group, which take the place
    of votes where there are some.
    """
    unmoderated = raw_statements.filter(pl.col("moderated") == 0).select("statement_id", "author_id")
    others = (
        raw_votes.join(unmoderated, on="statement_id")
        .group_by("statement_id")
        .agg(
            others=pl.when(pl.col("author_id").first().is_null())
            .then(pl.len().cast(pl.Int64) - 1)
            .otherwise((pl.col("participant_id") != pl.col("author_id")).sum().cast(pl.Int64))
        )
    )
    if raw_group_votes is not None and raw_group_votes.height:
        votes = pl.sum_horizontal("n_agree", "n_disagree", "n_pass").sum()
        counted_votes = raw_group_votes.join(unmoderated, on="statement_id").group_by("statement_id")
        others = counted_votes.agg(others=votes - 1)
    return ModerationEvidence(unmoderated.height, others.filter(pl.col("others") > 0).height)


def read_stated_mode(file: SourceFile) -> Mode | None:
    """Return the mode that conversation.json states; None if it states none.

    Raises:
        ConsultationError: It is not JSON, or states neither true nor false.
    """
    try:
        content = json.loads(decoded(file))
    except ValueError as error:
        raise ConsultationError(
            f"{file.place}: not readable as JSON ({error}). Export it again, or take it away: nothing but {STRICT} is "
            "read of it."
        ) from error
    strict = content.get(STRICT) if isinstance(content, dict) else None
    if strict is None:
        return None
    if not isinstance(strict, bool):
        raise ConsultationError(
            f"{file.place}: {STRICT} is neither true nor false. Correct it, or take the file away: nothing else is "
            "read of it."
        )
    return "strict" if strict else "lenient"


def with_stated_mode(imported: Import, file: SourceFile) -> Import:
    """Add to the import report the mode that conversation.json states, if it does, and whether the votes agree."""
    mode = read_stated_mode(file)
    if mode is None:
        return imported
    evidence = moderation_evidence(imported.raw_statements, imported.raw_votes, imported.raw_group_votes)
    why = f"{file.name} states {STRICT}: {str(mode == 'strict').lower()}"
    if contradicted := evidence.mode not in (None, mode):
        why = (
            f"{why}, and the votes tell otherwise: {evidence.sentence()}. It may have been changed while people voted. "
            "What is stated counts"
        )
    item = next(item for item, each in STATED.items() if each == mode)
    before = imported.import_report.select("kind", "item", "count", "explanation").iter_rows()
    facts = [*(Fact(*row) for row in before), Fact("unknown" if contradicted else "found", item, None, why)]
    return replace(imported, import_report=build_report(facts))


def stated_mode(import_report: pl.DataFrame) -> Mode | None:
    """Return the mode that the conversation.json of an import stated; None if none did."""
    return next((STATED[item] for item in import_report["item"] if item in STATED), None)
