"""What is known of the publication without its sentences: tables of the project's own, in the folder `published`.

Ids of merges and of the sources of principles, tags of seed statements, kinds of discrepancy, figures, and digests by
which texts are recognized. What each column means and where it was read is in `published/README.md`.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

from ccai_dagster.core.errors import ConsultationError
from ccai_dagster.replication.published_texts import KnownText
from ccai_dagster.replication.source_tables import known_ids, number, read_table

FACTS = Path(__file__).parent / "published"
LEFT_OUT = "above_threshold_not_in_constitution"
REWRITE = "organiser_rewrite"


@dataclass(frozen=True)
class Source:
    """Where a principle of appendix A.6 comes from.

    Attributes:
        match: How its source was recognized: `exact`, `reworded` or `aggregated`.
        meaning: What became of the source's meaning: `same`, `minor` or `shift`.
    """

    principle_id: str
    statement_ids: tuple[int, ...]
    match: str
    meaning: str


@dataclass(frozen=True)
class Remark:
    """What was found on a principle, or on statements if `principle_id` is empty."""

    statement_ids: tuple[int, ...]
    principle_id: str
    text: str


@dataclass(frozen=True)
class PublishedFigure:
    """A figure of the paper.

    Attributes:
        figure_id: Short name.
        section: Where it stands.
        what: What it tells.
        value: As printed.
        unit: Its unit, empty if it has none.
        status: How it relates to the public data.
    """

    figure_id: str
    section: str
    what: str
    value: str
    unit: str
    status: str


@dataclass(frozen=True)
class Facts:
    """The tables; see `PublishedFiles` for what is not told here."""

    texts: tuple[KnownText, ...]
    sources: tuple[Source, ...]
    seed_statements: tuple[tuple[int, str], ...]
    left_out: tuple[int, ...]
    rewrites: dict[int, int | None]
    remarks: tuple[Remark, ...]
    figures: tuple[PublishedFigure, ...]


def read_facts(folder: Path, statements: Collection[int], kept: Collection[int]) -> Facts:
    """Read the tables of `folder`.

    Args:
        statements: Ids of all statements of `comments.csv`.
        kept: Ids of those that are in.

    Raises:
        ConsultationError: A table names a statement that `comments.csv` does not have, so that it is not the file that
            was published.
    """
    left_out: list[int] = []
    rewrites: dict[int, int | None] = {}
    remarks: list[Remark] = []
    columns = ("kind", "statement_ids", "principle_id", "original_id", "remark")
    for where, row in read_table(folder / "discrepancies.csv", columns):
        ids = known_ids(where, row, "statement_ids", kept) if row["statement_ids"] else ()
        if row["kind"] == LEFT_OUT:
            left_out += ids
        elif row["kind"] == REWRITE:
            original = number(where, "original_id", row["original_id"]) if row["original_id"] else None
            if original is not None and original not in statements:
                raise ConsultationError(f"{where}: statement {original} is not in comments.csv; fetch that file again.")
            rewrites[ids[0]] = original
        if row["remark"]:
            remarks.append(Remark(ids, row["principle_id"], row["remark"]))
    return Facts(
        texts=tuple(
            KnownText(row["part"], row["key"], number(where, "letters", row["letters"]), row["digest"])
            for where, row in read_table(folder / "texts.csv", ("part", "key", "letters", "digest"))
        ),
        sources=tuple(
            Source(row["principle_id"], known_ids(where, row, "statement_ids", kept), row["match"], row["meaning"])
            for where, row in read_table(
                folder / "principles.csv", ("principle_id", "statement_ids", "match", "meaning")
            )
        ),
        seed_statements=tuple(
            (known_ids(where, row, "statement_id", kept)[0], row["tags"])
            for where, row in read_table(folder / "seed_statements.csv", ("statement_id", "tags"))
        ),
        left_out=tuple(left_out),
        rewrites=rewrites,
        remarks=tuple(remarks),
        figures=read_figures(folder / "figures.csv"),
    )


def read_figures(path: Path) -> tuple[PublishedFigure, ...]:
    """Read published figures, in their order.

    Raises:
        ConsultationError: The file is missing or malformed, or a figure has no id or one that stands twice.
    """
    columns = tuple(PublishedFigure.__dataclass_fields__)
    figures = tuple(PublishedFigure(**{name: row[name] for name in columns}) for _, row in read_table(path, columns))
    ids = [each.figure_id for each in figures]
    if twice := sorted({each for each in ids if not each or ids.count(each) > 1}):
        raise ConsultationError(f"{path}: figure_id {twice[0]!r} is empty or stands twice; correct it.")
    return figures
