"""Reading the published files, and checking them against each other before anything is written.

`comments.csv`, `participants-votes.csv`, `ids-to-toss.csv`, `clean_votes.csv` and `clean_comments.csv` are those of the
authors' public repository; what else was published is read from the project's own tables, see `published_facts`. What
the authors computed and printed (groups, shares of agreement, figures of the paper) decides nothing: a replication is
compared with it.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

from ccai_dagster.core.errors import ConsultationError
from ccai_dagster.replication.published_facts import FACTS, Facts, PublishedFigure, Remark, Source, read_facts
from ccai_dagster.replication.published_texts import KnownText, find_texts
from ccai_dagster.replication.source_tables import (
    SourceTable,
    known_ids,
    number,
    read_table,
    read_text,
    share,
    unique_numbers,
)

SHARES = ("group_0_consensus", "group_1_consensus")
PERSONAL_CODE = "xid"
"""The column with the survey panel's code of each participant, which is never carried over."""
REPOSITORY = "https://github.com/saffronh/ccai"


@dataclass(frozen=True)
class PublishedStatement:
    """A statement of `comments.csv`; `moderated` is 1 in, -1 out, 0 never moderated."""

    statement_id: int
    author_id: int
    moderated: int
    text: str


@dataclass(frozen=True)
class PublishedPrinciple:
    """A principle of appendix A.6 with its sources.

    Attributes:
        text: As published; empty if nobody saved it.
        merged_text: What Table 2 made of its sources; None if it is not there, empty if nobody saved it.
    """

    source: Source
    text: str
    merged_text: str | None


@dataclass(frozen=True)
class PublishedFiles:
    """Everything a consultation folder is built from.

    Attributes:
        comments: `comments.csv` as it is.
        matrix: `participants-votes.csv` as it is, personal codes included.
        statements: By id.
        excluded: Participants of `ids-to-toss.csv`, in file order.
        principles: The public constitution.
        standard: Principle id and text of the Standard constitution; the text is empty if nobody saved it.
        left_out: Statements above the published threshold that are in no principle.
        rewrites: Original statement (None if not found) of each rewrite by the organisers.
        remarks: What was found when the publication was compared with the data.
        results: What the authors computed and printed.
        qualitative_prompts: Number and text of the published prompts that somebody saved.
    """

    comments: SourceTable
    matrix: SourceTable
    statements: dict[int, PublishedStatement]
    excluded: tuple[int, ...]
    principles: tuple[PublishedPrinciple, ...]
    standard: tuple[tuple[str, str], ...]
    left_out: tuple[int, ...]
    rewrites: dict[int, int | None]
    remarks: tuple[Remark, ...]
    results: PublishedResults
    qualitative_prompts: tuple[tuple[str, str], ...]

    @property
    def seeds(self) -> frozenset[int]:
        """The seed statements."""
        return frozenset(key for key, _ in self.results.seed_statements)

    @property
    def published_gac(self) -> dict[int, float]:
        """Group-aware consensus by statement, with the published groups."""
        return {key: math.prod(shares) for key, shares in self.results.agreement.items()}

    @property
    def merges(self) -> tuple[PublishedPrinciple, ...]:
        """The rows of Table 2, by the principle they became."""
        return tuple(each for each in self.principles if each.merged_text is not None)

    @property
    def missing_texts(self) -> dict[str, int]:
        """How many texts nobody saved, by arm; the public arm needs those of Table 2 as well."""
        printed = sum(not each.text for each in self.principles)
        found = {
            "public": printed + sum(not each.merged_text for each in self.merges),
            "published": printed,
            "standard": sum(not text for _, text in self.standard),
        }
        return {arm: count for arm, count in found.items() if count}


def read_published_files(source: Path, saved: Sequence[Path] = (), facts: Path = FACTS) -> PublishedFiles:
    """Read the public files of `source` and check that what is known of the publication names only what exists.

    Args:
        source: A clone of the authors' repository.
        saved: The paper with its appendix, as PDF or text; without it no text of a principle is known.
        facts: Folder with the tables of `published_facts`.

    Raises:
        ConsultationError: A file is missing or malformed, or names a statement or participant that does not exist, or
            a saved file holds none of the texts; names file, row and remedy.
    """
    if not source.is_dir():
        raise ConsultationError(f"{source}: no such folder; give a clone of {REPOSITORY}.")
    comments = read_table(source / "comments.csv", ("comment-id", "author-id", "moderated", "comment-body"))
    statements = _statements(comments)
    kept = {key for key, each in statements.items() if each.moderated == 1}
    matrix = read_table(source / "participants-votes.csv", ("participant",))
    participants = set(unique_numbers(matrix, "participant"))
    known = read_facts(facts, statements, kept)
    texts = find_texts(saved, known.texts) if saved else {}
    return PublishedFiles(
        comments=comments,
        matrix=matrix,
        statements=statements,
        excluded=_excluded(source / "ids-to-toss.csv", participants),
        principles=_principles(known, texts),
        standard=tuple((each.key, texts.get((each.part, each.key), "")) for each in _of(known, "standard")),
        left_out=known.left_out,
        rewrites=known.rewrites,
        remarks=known.remarks,
        results=PublishedResults(
            _groups(source / "clean_votes.csv", participants),
            _agreement(source / "clean_comments.csv", kept),
            known.seed_statements,
            known.figures,
        ),
        qualitative_prompts=_all_or_none(_of(known, "prompt"), texts),
    )


def _of(known: Facts, part: str) -> list[KnownText]:
    return [each for each in known.texts if each.part == part]


def _principles(known: Facts, texts: dict[tuple[str, str], str]) -> tuple[PublishedPrinciple, ...]:
    merged = dict.fromkeys((each.key for each in _of(known, "merge")), "")
    merged |= dict(_all_or_none(_of(known, "merge"), texts))
    return tuple(
        PublishedPrinciple(each, texts.get(("public", each.principle_id), ""), merged.get(each.principle_id))
        for each in known.sources
    )


def _all_or_none(wanted: Sequence[KnownText], texts: dict[tuple[str, str], str]) -> tuple[tuple[str, str], ...]:
    """Return the texts of a part by key, or none of them: half a table would count wrong."""
    found = tuple((each.key, texts[each.part, each.key]) for each in wanted if (each.part, each.key) in texts)
    return found if len(found) == len(wanted) else ()


def _statements(comments: SourceTable) -> dict[int, PublishedStatement]:
    unique_numbers(comments, "comment-id")
    found = {}
    for where, row in comments:
        key = number(where, "comment-id", row["comment-id"])
        moderated = number(where, "moderated", row["moderated"])
        if moderated not in (-1, 0, 1):
            raise ConsultationError(f"{where}: `moderated` is {moderated} instead of -1, 0 or 1; mend the row.")
        author = number(where, "author-id", row["author-id"])
        found[key] = PublishedStatement(key, author, moderated, row["comment-body"])
    return found


def _excluded(path: Path, participants: set[int]) -> tuple[int, ...]:
    ids: list[int] = []
    for row, line in enumerate(read_text(path).splitlines(), start=1):
        if not line.strip():
            continue
        where = f"{path}, row {row}"
        each = number(where, "participant", line.strip())
        if each not in participants:
            raise ConsultationError(f"{where}: participant {each} is not in participants-votes.csv; correct the id.")
        if each in ids:
            raise ConsultationError(f"{where}: participant {each} stands twice; remove one row.")
        ids.append(each)
    if not ids:
        raise ConsultationError(f"{path}: no ids; fetch the published file.")
    return tuple(ids)


@dataclass(frozen=True)
class PublishedResults:
    """What was computed and printed.

    Attributes:
        groups: Participant and group of each row of `clean_votes.csv`, in file order.
        agreement: Share of each group that agrees, by statement.
        seed_statements: Statement and tags of each seed statement.
        figures: Figures of the paper.
    """

    groups: tuple[tuple[int, int], ...]
    agreement: dict[int, tuple[float, ...]]
    seed_statements: tuple[tuple[int, str], ...]
    figures: tuple[PublishedFigure, ...]


def _groups(path: Path, participants: Collection[int]) -> tuple[tuple[int, int], ...]:
    table = read_table(path, ("participant", "group-id"))
    ids = unique_numbers(table, "participant")
    rows = []
    for participant, (where, row) in zip(ids, table, strict=True):
        if participant not in participants:
            raise ConsultationError(
                f"{where}: participant {participant} is not in participants-votes.csv; correct the id."
            )
        group = number(where, "group-id", row["group-id"])
        if group < 0:
            raise ConsultationError(f"{where}: `group-id` is {group}; it must not be negative. Mend the row.")
        rows.append((participant, group))
    return tuple(rows)


def _agreement(path: Path, statements: Collection[int]) -> dict[int, tuple[float, ...]]:
    table = read_table(path, ("comment-id", *SHARES))
    unique_numbers(table, "comment-id")
    return {
        known_ids(where, row, "comment-id", statements)[0]: tuple(share(where, each, row[each]) for each in SHARES)
        for where, row in table
    }
