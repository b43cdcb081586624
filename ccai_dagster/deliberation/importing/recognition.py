"""What a file of a person's is, told by its columns and not by its name; what cannot be read is told for what it is."""

from __future__ import annotations

from typing import NoReturn

from ccai_dagster.core.errors import ConsultationError
from ccai_dagster.core.text import printable
from ccai_dagster.deliberation.importing.bodies import BODY
from ccai_dagster.deliberation.importing.columns import SourceFile, is_id, json_list
from ccai_dagster.deliberation.importing.group_counts import group_columns
from ccai_dagster.deliberation.importing.long_table import NAMES, is_long_table, is_statement_table, names_of
from ccai_dagster.deliberation.importing.noted import Noted, shortened
from ccai_dagster.deliberation.importing.wide_table import read_wide_table

TABLES = {"csv", "tsv", "txt", "parquet", "json"}
"""Ends of the names of files that may be tables."""


def role_by_content(file: SourceFile) -> str | None:
    """Return what a table is for by what is in it, or None if it is none that is read."""
    try:
        names = names_of(file)
    except ConsultationError:
        return None
    if {"comment-id", BODY} <= set(names):
        return "comments"
    if file.ending not in ("parquet", "json") and group_columns(names) is not None:
        return "comment_groups"
    if foreign_form(file, names):
        return None
    if is_long_table(names):
        return "votes"
    if is_statement_table(names):
        return "statements"
    if is_matrix(names):
        return "matrix"
    if file.ending not in ("parquet", "json") and _is_wide(file):
        return "votes"
    return None


def is_matrix(names: list[str]) -> bool:
    """Whether columns are those of Polis's matrix."""
    return "participant" in names and {"n-votes", "group-id"} & set(names) != set() and any(map(is_id, names))


def _is_wide(file: SourceFile) -> bool:
    try:
        return read_wide_table(file, {}, Noted()) is not None
    except ConsultationError:
        return False


def foreign_form(file: SourceFile, names: list[str]) -> str | None:
    """Say what a table is that has no votes of people, as a sentence; None if it is no such table that is known."""
    there = set(names)
    if any(name.startswith("group-") and name.endswith(("agree-count", "agrees")) for name in there):
        return (
            "totals of votes by group, of which a CSV is read that has for each group who agrees and who disagrees "
            "(group-NAME-agrees, group-NAME-disagrees), as Polis's comment-groups.csv"
        )
    if any("winner" in name for name in there) and any("loser" in name for name in there):
        return "pairs of which one was preferred, as All Our Ideas has them"
    if there & {"endorsements", "endorsements/total-count", "proposal-votes", "supports", "votes-count"} and (
        there & {"component/id", "category/id", "title", "body", "reference"} or any("/" in name for name in there)
    ):
        return "proposals with the number of their supports, as Decidim has them"
    person = any(name in there for name in NAMES["participant"])
    if not person and {"agrees", "disagrees"} <= there and BODY not in there:
        return "totals of votes, one row a statement, as Sensemaker has them"
    if file.ending == "json" and {"math-tick", "base-clusters"} & there:
        return "results that Polis computed"
    return None


def refuse(file: SourceFile) -> NoReturn:
    """Refuse a table that has no votes of people, or none that is understood.

    Raises:
        ConsultationError: Always; says what the table is, or which columns are missing.
    """
    nested = json_list(file).beside if file.ending == "json" else []
    names = names_of(file)
    if foreign := foreign_form(file, names):
        raise ConsultationError(
            f"{file.place}: {foreign}. They are not votes of people, from which groups could be formed. Export the "
            "votes: one row a vote (participant, statement, vote), or one row a person."
        )
    beside = f" Nested beside these is {shortened(map(printable, nested))}, of which nothing is read." if nested else ""
    lacking = [role for role in ("participant", "statement", "vote") if not set(NAMES[role]) & set(names)]
    raise ConsultationError(
        f"{file.place}: no table of votes that is understood. Found {len(names)} columns: {shortened(names)}."
        f"{beside} One row "
        f"a vote needs participant, statement and vote{' (missing: ' + ', '.join(lacking) + ')' if lacking else ''}; "
        "one row a person needs columns whose cells are votes (-1, 0, 1, or words like agree, disagree, pass, yes, no, "
        "skip). A scale needs `vote_values` in consultation.yaml, or --vote-values for `ccai new`."
    )
