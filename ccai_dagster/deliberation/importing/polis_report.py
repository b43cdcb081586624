"""What the import report says of a Polis export beside the common counts: its era, its totals, what is missing.

The form of the export changed at least four times without a version number (`math/src/polismath/darwin/export.clj` and
`server/src/routes/export.ts` in `compdemocracy/polis`). What matters for reading is found in the columns themselves;
the era only puts a name to it and decides what cannot be known.

Polis counts every vote row in `comments.csv`, also those that a later vote replaced; the matrix and everything
computed from it hold the last vote only. So the totals an export states may differ from the votes in it.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Literal

import polars as pl

from ccai_dagster.deliberation.importing.cells import Unit
from ccai_dagster.deliberation.importing.moderation_mode import ModerationEvidence
from ccai_dagster.deliberation.importing.noted import Fact, shortened
from ccai_dagster.deliberation.importing.tables import AuthorVotes

GROUPS_IN_EXPORT = "groups in the export"
"""Item of the import report that is there, as unknown, where the groups of an export may be wrong."""
GROUPS_RIGHT_SINCE = datetime(2025, 5, 20, tzinfo=UTC)
"""When Polis corrected the group-ids of its exports."""
LEAST_EXCHANGED = 3
"""Statements whose totals must fit exactly when exchanged, and every one that is compared, to tell the sign."""

EraName = Literal[
    "classic", "classic with the columns of 2023", "inverted", "streaming", "streaming with further columns"
]


@dataclass(frozen=True)
class Era:
    """The era of an export, and the marks it is known by, as a sentence without its full stop."""

    name: EraName
    evidence: str


@dataclass(frozen=True)
class StatedTotals:
    """How many statements' stated totals differ from the votes that count, and which of them are explained.

    Attributes:
        differing: Statements whose stated agreeing or disagreeing votes are not those counted.
        counted_again: Of these, statements whose stated totals are exactly those of all vote rows.
        unexplained: The rest.
    """

    differing: int
    counted_again: int
    unexplained: int


@dataclass(frozen=True)
class ExchangedTotals:
    """Whether stated totals fit the votes when agreeing and disagreeing are exchanged.

    Attributes:
        compared: Statements that state both totals and more of one than of the other.
        fitting: Of these, statements that fit exactly when exchanged and not as they are.
    """

    compared: int
    fitting: int

    @property
    def clear(self) -> bool:
        """Whether the votes have the other sign than the totals."""
        return self.fitting == self.compared >= LEAST_EXCHANGED

    def sentence(self) -> str:
        """The counts in words."""
        return (
            f"{self.fitting} of {self.compared} totals in the export fit exactly when agreeing and disagreeing votes "
            "are exchanged"
        )


@dataclass(frozen=True)
class PolisFindings:
    """What was noticed while an export was read.

    Attributes:
        exchanged: Whether the totals of comments.csv fit the votes as they stand in the file when exchanged.
        worded: Whether words or the consultation say which votes agree.
        moderation: Who voted on statements that nobody moderated.
        newest: The time of the newest vote, if any has one.
        rejoined: Bodies without quotes that needed them.
        unknown_columns: `file: column` of every column that no known era has.
        others: Names of files that are not read.
        from_matrix: Name of the matrix, if the votes were read from it because no votes.csv has any.
        empty_votes: Name of a votes.csv that has none.
        totals: How the totals of comments.csv compare.
        differing_participants: Participants with other totals in the matrix; None if it states none.
        missing_participants: Voters whom the matrix lacks; None without a matrix.
        stated_voters: Voters by summary.csv, if it says.
    """

    era: Era
    authors: AuthorVotes
    exchanged: ExchangedTotals
    worded: bool
    moderation: ModerationEvidence
    newest: datetime | None
    rejoined: int
    unknown_columns: Sequence[str]
    others: Sequence[str]
    from_matrix: str | None
    empty_votes: str | None
    totals: StatedTotals
    differing_participants: int | None
    missing_participants: int | None
    stated_voters: int | None


def polis_facts(found: PolisFindings, raw_statements: pl.DataFrame, raw_participants: pl.DataFrame) -> list[Fact]:
    """Return the facts of an export, the era first."""
    return [
        Fact("found", "era", None, f"{found.era.name}: {found.era.evidence}"),
        *_votes(found),
        *_statements(found, raw_statements),
        *_totals(found),
        *_participants(found, raw_participants),
        *_columns(found),
    ]


def _votes(found: PolisFindings) -> list[Fact]:
    facts = [WORDED if found.worded else sign_fact(found.authors, found.exchanged, bool(found.rejoined))]
    if found.from_matrix:
        why = f"votes come from {found.from_matrix}: no times, and earlier votes of a person are unknown"
        if found.empty_votes:
            facts.append(Fact("unknown", "votes.csv empty", None, f"{found.empty_votes} has no votes; {why}"))
        else:
            facts.append(Fact("unknown", "votes.csv missing", None, why))
    return facts


WORDED = Fact("found", "sign of votes", None, "votes are written as words, or the consultation says what they mean")


def sign_fact(authors: AuthorVotes, exchanged: ExchangedTotals, rejoined: bool) -> Fact:
    """Say which sign agrees and what tells it: the authors, else the totals that the export states."""
    first_votes = authors.sentence()
    if authors.inverted:
        return Fact("repaired", "votes turned round", None, f"-1 meant agreement in this export: {first_votes}")
    if authors.inverted is not None:
        return Fact("found", "sign of votes", None, f"+1 is agreement: {first_votes}")
    if exchanged.clear:
        why = f"-1 meant agreement in this export: {exchanged.sentence()}"
        return Fact("repaired", "votes turned round", None, why)
    hint = "; bodies without quotes come from the time of inverted exports" if rejoined else ""
    return Fact("unknown", "sign of votes", None, f"+1 was taken as agreement, not confirmed by {first_votes}{hint}")


def _statements(found: PolisFindings, raw_statements: pl.DataFrame) -> list[Fact]:
    moderated = dict(raw_statements.group_by("moderated").len().iter_rows())
    facts = [
        Fact("found", "moderated in", moderated.get(1, 0), "by the export; the moderation ledger decides"),
        Fact("found", "moderated out", moderated.get(-1, 0), "by the export"),
        Fact(
            "unknown",
            "never moderated",
            moderated.get(0, 0),
            "in or out by what `moderation` in consultation.yaml says",
        ),
        found.moderation.fact(),
    ]
    for item, column, why in (
        (
            "meta statements",
            "is_meta",
            "statements about the people who vote (metadata in Polis) form no group and are not scored; the outcome "
            "`metadata` of moderation says which they are",
        ),
        ("seed statements", "is_seed", "statements that the organisers wrote"),
    ):
        marks = raw_statements[column]
        if marks.is_not_null().any():
            facts.append(Fact("found", item, int(marks.sum()), f"marked so: {why}"))
        else:
            facts.append(Fact("unknown", item, None, f"this export does not mark them: {why}"))
    if found.rejoined:
        facts.append(
            Fact(
                "repaired",
                "bodies without quotes",
                found.rejoined,
                "commas, quotes and line breaks in them were put back; a body with a line that looks like a row "
                "of the file cannot be told from one",
            )
        )
    return facts


def _totals(found: PolisFindings) -> list[Fact]:
    totals = found.totals
    facts = [
        Fact(
            "found",
            "statements whose totals differ",
            totals.differing,
            "agrees or disagrees in comments.csv are not those of the votes that count; all totals are counted "
            "again from the votes",
        )
    ]
    if not totals.differing:
        return facts
    if found.from_matrix:
        why = "earlier votes, which comments.csv counts too, are not in this export"
        return [*facts, Fact("unknown", "differences not explained", totals.differing, why)]
    facts.append(
        Fact(
            "found",
            "differences explained by votes cast again",
            totals.counted_again,
            "counting every vote row, replaced ones too, gives exactly the totals of comments.csv",
        )
    )
    if totals.unexplained:
        why = "counting every vote row does not give the totals of comments.csv either"
        facts.append(Fact("unknown", "differences not explained", totals.unexplained, why))
    else:
        facts.append(Fact("found", "differences not explained", 0, "votes cast again account for every one"))
    return facts


def _participants(found: PolisFindings, raw_participants: pl.DataFrame) -> list[Fact]:
    without = raw_participants["polis_group"].null_count()
    facts = [Fact("found", "participants without a group", without, "Polis assigned none, or did not export it")]
    if found.stated_voters is not None:
        voted = int((raw_participants["n_votes"] > 0).sum())
        why = f"voters by summary.csv; {voted} voted by the votes read"
        facts.append(Fact("found", "voters in the summary", found.stated_voters, why))
    if found.differing_participants is not None:
        why = "n-votes, n-agree or n-disagree in the matrix are not those of the votes that count"
        facts.append(Fact("found", "participants whose totals differ", found.differing_participants, why))
    if found.missing_participants:
        why = "they voted but have no row in the matrix; kept without a group"
        facts.append(Fact("repaired", "participants added", found.missing_participants, why))
    grouped = raw_participants.height - without
    if grouped and found.era.name.startswith("streaming"):
        if found.newest is not None and found.newest >= GROUPS_RIGHT_SINCE:
            why = (
                f"the newest vote is of {found.newest:%d %B %Y}, so the export was made after 20 May 2025, since when "
                "its group-ids are right; groups are computed anew from the votes all the same"
            )
            facts.append(Fact("found", GROUPS_IN_EXPORT, grouped, why))
        else:
            why = (
                "streaming exports made before 20 May 2025 gave people the wrong group-id, and neither a file nor the "
                "newest vote says that it was made later; groups are computed anew from the votes"
            )
            facts.append(Fact("unknown", GROUPS_IN_EXPORT, grouped, why))
    return facts


def _columns(found: PolisFindings) -> list[Fact]:
    facts = []
    if found.unknown_columns:
        why = f"not read: {shortened(found.unknown_columns)}"
        facts.append(Fact("found", "unknown columns", len(found.unknown_columns), why))
    if found.others:
        facts.append(Fact("found", "other files", len(found.others), f"not read: {shortened(found.others)}"))
    return facts


def era_of(
    columns: Collection[str],
    unit: Unit | None,
    inverted: bool | None,
    quoted: bool,
    matrix_name: str | None,
    unknown: Collection[str],
) -> Era:
    """Name the era of an export.

    Args:
        columns: Of `comments.csv`.
        unit: Of the timestamps; None if there are none.
        inverted: Whether -1 means agreement, by the authors' votes; None if unknown.
        matrix_name: Name of the file with the matrix, if there is one.
        unknown: Columns that no known era has.
    """
    marks = [f"timestamps in {unit}" if unit else "no timestamps"]
    if inverted is not None:
        marks.append(f"{'-1' if inverted else '+1'} is agreement")
    marks.append("dates beside the timestamps" if "datetime" in columns else "no dates beside the timestamps")
    if "is-meta" in columns:
        marks.append("a column is-meta")
    if not quoted:
        marks.append("bodies without quotes")
    marks.append(f"a matrix {matrix_name}" if matrix_name else "no matrix")
    if unknown:
        marks.append(f"{len(unknown)} columns of no known era")
    return Era(_era_name(columns, unit, inverted, quoted, unknown), ", ".join(marks))


def _era_name(
    columns: Collection[str], unit: Unit | None, inverted: bool | None, quoted: bool, unknown: Collection[str]
) -> EraName:
    if inverted or (not quoted and inverted is None):
        return "inverted"
    if unit == "seconds":
        return "streaming with further columns" if unknown else "streaming"
    return "classic with the columns of 2023" if "is-meta" in columns else "classic"


def compare_totals(stated: pl.DataFrame, rows: pl.DataFrame, votes: pl.DataFrame) -> StatedTotals:
    """Compare stated totals with the votes that count and, where they differ, with all vote rows.

    Args:
        stated: `statement_id`, `agrees`, `disagrees` as the export states them; a missing total is not
            compared.
        rows: All vote rows.
        votes: The votes that count.
    """
    compared = (
        stated.drop_nulls()
        .join(_tallies(votes), on="statement_id", how="left")
        .join(_tallies(rows), on="statement_id", how="left", suffix="_rows")
        .fill_null(0)
    )
    differing = compared.filter((pl.col("agrees") != pl.col("agree")) | (pl.col("disagrees") != pl.col("disagree")))
    explained = differing.filter(
        (pl.col("agrees") == pl.col("agree_rows")) & (pl.col("disagrees") == pl.col("disagree_rows"))
    )
    return StatedTotals(differing.height, explained.height, differing.height - explained.height)


def exchanged_totals(stated: pl.DataFrame, rows: pl.DataFrame, votes: pl.DataFrame) -> ExchangedTotals:
    """Compare stated totals with the votes as they are and with agreeing and disagreeing exchanged.

    Args:
        stated: `statement_id`, `agrees`, `disagrees`; a missing total is not compared.
        rows: All vote rows, with the sign they have in the file.
        votes: The votes that count, with that sign.
    """
    compared = stated.drop_nulls().filter(pl.col("agrees") != pl.col("disagrees"))
    for name, counted in (("rows", rows), ("votes", votes)):
        tallies = _tallies(counted).rename({"agree": f"agree_{name}", "disagree": f"disagree_{name}"})
        compared = compared.join(tallies, on="statement_id", how="left").fill_null(0)
    ways = [
        pl.any_horizontal(
            (pl.col("agrees") == pl.col(f"{one}_{name}")) & (pl.col("disagrees") == pl.col(f"{other}_{name}"))
            for name in ("rows", "votes")
        )
        for one, other in (("agree", "disagree"), ("disagree", "agree"))
    ]
    return ExchangedTotals(compared.height, compared.filter(~ways[0] & ways[1]).height)


def missing_votes(stated: pl.DataFrame, rows: pl.DataFrame) -> int:
    """Return how many agreeing and disagreeing votes the statements state beyond those among all vote rows.

    Args:
        stated: `statement_id`, `agrees`, `disagrees`, none of them missing.
        rows: All vote rows.
    """
    beside = stated.join(_tallies(rows), on="statement_id", how="left").fill_null(0)
    short = (pl.col("agrees") - pl.col("agree")).clip(0) + (pl.col("disagrees") - pl.col("disagree")).clip(0)
    return int(beside.select(short.sum()).item())


def _tallies(votes: pl.DataFrame) -> pl.DataFrame:
    """Count agreeing and disagreeing votes, or vote rows, of each statement."""
    return votes.group_by("statement_id").agg(
        agree=(pl.col("vote") == 1).sum().cast(pl.Int64), disagree=(pl.col("vote") == -1).sum().cast(pl.Int64)
    )


def differing_participants(stated: pl.DataFrame, votes: pl.DataFrame) -> int:
    """Return how many participants have other totals in the matrix than among the votes that count.

    Args:
        stated: `participant_id`, `n_votes`, `n_agree`, `n_disagree`; a participant who lacks one is not
            compared.
        votes: The votes that count.
    """
    counted = votes.group_by("participant_id").agg(
        votes=pl.len().cast(pl.Int64),
        agree=(pl.col("vote") == 1).sum().cast(pl.Int64),
        disagree=(pl.col("vote") == -1).sum().cast(pl.Int64),
    )
    return (
        stated.drop_nulls()
        .join(counted, on="participant_id", how="left")
        .fill_null(0)
        .filter(
            (pl.col("n_votes") != pl.col("votes"))
            | (pl.col("n_agree") != pl.col("agree"))
            | (pl.col("n_disagree") != pl.col("disagree"))
        )
        .height
    )
