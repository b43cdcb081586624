"""Reading the published files, and checking them against each other before anything is written.

`comments.csv`, `participants-votes.csv` and `ids-to-toss.csv` are those of the paper's public repository; the
tables beside them were read from its appendix. What the authors computed and printed (groups, shares of agreement,
figures of the paper) decides nothing: a replication is compared with it.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ccai_dagster.core.errors import ConsultationError
from ccai_dagster.replication.source_tables import (
    PublishedMerge,
    PublishedPrinciple,
    PublishedStatement,
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
REMARKS = ("above_threshold_not_in_constitution", "organiser_rewrite", "claim_against_data")
"""Kinds of `discrepancies.csv` that tell something about a single statement which no other file tells."""
_ORIGINAL = re.compile(r"moderated-out original (\d+)")


@dataclass(frozen=True)
class PublishedFiles:
    """Everything a consultation folder is built from.

    Attributes:
        comments: `comments.csv` as it is.
        matrix: `participants-votes.csv` as it is, personal codes included.
        statements: By id.
        excluded: Participants of `ids-to-toss.csv`, in file order.
        merges: Table 2.
        principles: The public constitution.
        standard: Principle id and text of the Standard constitution.
        left_out: Statements above the published threshold that are in no principle.
        rewrites: Original statement (None if not found) of each rewrite by the organisers.
        remarks: What whoever compared the publication with the data noted on a statement.
        results: What the authors computed and printed.
        qualitative_prompts: Number and text of the published prompts.
        screening: The screening questions: question, accepted answers.
    """

    comments: SourceTable
    matrix: SourceTable
    statements: dict[int, PublishedStatement]
    excluded: tuple[int, ...]
    merges: tuple[PublishedMerge, ...]
    principles: tuple[PublishedPrinciple, ...]
    standard: tuple[tuple[str, str], ...]
    left_out: tuple[int, ...]
    rewrites: dict[int, int | None]
    remarks: dict[int, tuple[str, ...]]
    results: PublishedResults
    qualitative_prompts: tuple[tuple[str, str], ...]
    screening: tuple[tuple[str, tuple[str, ...]], ...]

    @property
    def seeds(self) -> frozenset[int]:
        """The seed statements."""
        return frozenset(key for key, _ in self.results.seed_statements)

    @property
    def published_gac(self) -> dict[int, float]:
        """Group-aware consensus by statement, with the published groups."""
        return {key: math.prod(shares) for key, shares in self.results.agreement.items()}


def read_published_files(source: Path) -> PublishedFiles:
    """Read all files of `source` and check that they name only what exists.

    Raises:
        ConsultationError: A file is missing or malformed, or names a statement, participant or principle
            that does not exist; names file, row and remedy.
    """
    if not source.is_dir():
        raise ConsultationError(f"{source}: no such folder; give the folder with the published CCAI files.")
    comments = read_table(source / "comments.csv", ("comment-id", "author-id", "moderated", "comment-body"))
    statements = _statements(comments)
    kept = {key for key, each in statements.items() if each.moderated == 1}
    matrix = read_table(source / "participants-votes.csv", ("participant",))
    participants = set(unique_numbers(matrix, "participant"))
    merges = _merges(source / "aggregation.csv", kept)
    principles = _principles(source, kept, merges)
    left_out, rewrites, remarks = _discrepancies(source / "discrepancies.csv", statements, kept)
    return PublishedFiles(
        comments=comments,
        matrix=matrix,
        statements=statements,
        excluded=_excluded(source / "ids-to-toss.csv", participants),
        merges=merges,
        principles=principles,
        standard=_constitution(source / "standard_constitution.csv"),
        left_out=left_out,
        rewrites=rewrites,
        remarks=remarks,
        results=read_published_results(source, kept, participants),
        qualitative_prompts=_prompts(source / "qualitative_prompts.csv"),
        screening=_screening(source / "screening_questions.json"),
    )


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


def _merges(path: Path, kept: set[int]) -> tuple[PublishedMerge, ...]:
    columns = ("theme", "member_comment_ids", "aggregated_text", "note", "principle_id")
    found: dict[str, PublishedMerge] = {}
    for where, row in read_table(path, columns):
        key = row["principle_id"]
        if not key or key in found:
            raise ConsultationError(f"{where}: `principle_id` {key!r} is empty or stands twice; correct it.")
        ids = known_ids(where, row, "member_comment_ids", kept)
        if not row["aggregated_text"].strip():
            raise ConsultationError(f"{where}: `aggregated_text` is empty; fill it in.")
        found[key] = PublishedMerge(key, row["theme"], ids, row["aggregated_text"].strip(), row["note"].strip())
    return tuple(found.values())


def _principles(source: Path, kept: set[int], merges: tuple[PublishedMerge, ...]) -> tuple[PublishedPrinciple, ...]:
    texts = dict(_constitution(source / "public_constitution.csv"))
    path = source / "principle_sources.csv"
    merged = {merge.principle_id: merge.statement_ids for merge in merges}
    found: dict[str, PublishedPrinciple] = {}
    for where, row in read_table(path, ("principle_id", "comment_ids", "match", "comment")):
        key = row["principle_id"]
        if key not in texts or key in found:
            raise ConsultationError(
                f"{where}: principle {key} stands twice or is not in public_constitution.csv; correct the id."
            )
        ids = known_ids(where, row, "comment_ids", kept)
        if merged.get(key, ids[:1]) != ids:
            raise ConsultationError(
                f"{where}: aggregation.csv does not merge these sources of {key}, in this order; correct one."
            )
        found[key] = PublishedPrinciple(key, texts[key], ids, row["match"], row["comment"])
    if missing := [key for key in texts if key not in found]:
        raise ConsultationError(f"{path}: no row for {', '.join(missing)}; add the sources of each.")
    if unknown := [key for key in merged if key not in texts]:
        raise ConsultationError(
            f"{source / 'aggregation.csv'}: {', '.join(unknown)} in no public_constitution.csv; correct it."
        )
    return tuple(found[key] for key in texts)


def _constitution(path: Path) -> tuple[tuple[str, str], ...]:
    found: dict[str, str] = {}
    for where, row in read_table(path, ("principle_id", "text")):
        key, text = row["principle_id"].strip(), row["text"].strip()
        if not key or not text or key in found:
            raise ConsultationError(f"{where}: principle {key!r} stands twice or a cell is empty; mend it.")
        found[key] = text
    return tuple(found.items())


def _discrepancies(
    path: Path, statements: dict[int, PublishedStatement], kept: set[int]
) -> tuple[tuple[int, ...], dict[int, int | None], dict[int, tuple[str, ...]]]:
    left_out: list[int] = []
    rewrites: dict[int, int | None] = {}
    remarks: dict[int, tuple[str, ...]] = {}
    for where, row in read_table(path, ("kind", "comment_id", "detail")):
        if row["kind"] == "above_threshold_not_in_constitution":
            left_out += known_ids(where, row, "comment_id", kept)
        elif row["kind"] == "organiser_rewrite":
            match = _ORIGINAL.search(row["detail"])
            original = int(match[1]) if match else None
            if original is not None and original not in statements:
                raise ConsultationError(f"{where}: original {original} is not in comments.csv; correct it.")
            rewrites[known_ids(where, row, "comment_id", kept)[0]] = original
        detail = " ".join(row["detail"].split())
        if row["kind"] in REMARKS and detail and row["comment_id"].strip():
            for key in known_ids(where, row, "comment_id", kept):
                remarks[key] = (*remarks.get(key, ()), detail)
    return tuple(left_out), rewrites, remarks


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


def _prompts(path: Path) -> tuple[tuple[str, str], ...]:
    table = read_table(path, ("n", "prompt"))
    numbers = unique_numbers(table, "n")
    texts = [row["prompt"].strip() for _, row in table]
    if not all(texts):
        raise ConsultationError(f"{path}, row {texts.index('') + 2}: `prompt` is empty; fill it in.")
    return tuple(zip(map(str, numbers), texts, strict=True))


def _screening(path: Path) -> tuple[tuple[str, tuple[str, ...]], ...]:
    try:
        content: Any = json.loads(read_text(path))
        return tuple(
            (each["question"], tuple(each["answers"][letter] for letter in each["accepted"]))
            for each in content["questions"]
        )
    except (json.JSONDecodeError, KeyError, TypeError) as error:
        raise ConsultationError(
            f"{path}: expected `questions`, each with `question`, `answers` and `accepted` ({error!r}); fetch it again."
        ) from error


@dataclass(frozen=True)
class PublishedFigure:
    """A figure of the paper.

    Attributes:
        figure_id: Short name.
        section: Where it stands.
        what: What it tells.
        value: As printed.
        unit: Its unit, empty if it has none.
        status: How it relates to the public data, in the words of whoever collected the figures.
    """

    figure_id: str
    section: str
    what: str
    value: str
    unit: str
    status: str


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


def read_published_results(
    source: Path, statements: Collection[int], participants: Collection[int]
) -> PublishedResults:
    """Read the files of `source` with the authors' results.

    Args:
        statements: Ids of the statements that are in.
        participants: Ids of the participants in the export.

    Raises:
        ConsultationError: A file is missing or malformed, or names an unknown statement or participant.
    """
    return PublishedResults(
        _groups(source / "clean_votes.csv", participants),
        _agreement(source / "clean_comments.csv", statements),
        _seed_statements(source / "seed_statements.csv", statements),
        _figures(source / "paper_figures.json"),
    )


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


def _seed_statements(path: Path, statements: Collection[int]) -> tuple[tuple[int, str], ...]:
    return tuple(
        (known_ids(where, row, "comment_id", statements)[0], row["tags"])
        for where, row in read_table(path, ("comment_id", "tags"))
    )


def _figures(path: Path) -> tuple[PublishedFigure, ...]:
    try:
        content: Any = json.loads(read_text(path))
        figures = tuple(
            PublishedFigure(
                each["id"],
                each["section"],
                each["what"],
                _printed(each["paper_value"]),
                each.get("unit") or "",
                each["status"],
            )
            for each in content["figures"]
        )
    except (json.JSONDecodeError, KeyError, TypeError, AttributeError) as error:
        raise ConsultationError(
            f"{path}: expected `figures`, each with `id`, `section`, `what`, `paper_value` and `status` "
            f"({error!r}); fetch it again."
        ) from error
    for each in figures:
        if not all(isinstance(cell, str) for cell in vars(each).values()):
            raise ConsultationError(f"{path}: a cell of figure {each.figure_id!r} is no text; mend it.")
    ids = [each.figure_id for each in figures]
    if twice := sorted({each for each in ids if ids.count(each) > 1}):
        raise ConsultationError(f"{path}: figure {twice[0]} stands twice; remove one.")
    return figures


def _printed(value: Any) -> str:
    if isinstance(value, list):
        return " to ".join(map(_printed, value))
    return value if isinstance(value, str) else json.dumps(value)
