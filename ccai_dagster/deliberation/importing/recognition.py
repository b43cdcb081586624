"""What a file of a person's is, told by its columns and not by its name; what cannot be read is told for what it is."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import cache
from pathlib import Path
from typing import NoReturn

from ccai_dagster.core.errors import ConsultationError
from ccai_dagster.core.text import printable
from ccai_dagster.deliberation.importing.bodies import BODY
from ccai_dagster.deliberation.importing.columns import JSON_LINES, SourceFile, is_id, json_list
from ccai_dagster.deliberation.importing.group_counts import group_columns
from ccai_dagster.deliberation.importing.long_table import NAMES, is_long_table, is_statement_table, names_of
from ccai_dagster.deliberation.importing.noted import Noted, shortened
from ccai_dagster.deliberation.importing.polis import VOTE_ALIASES
from ccai_dagster.deliberation.importing.wide_table import read_wide_table

TABLES = {"csv", "tsv", "txt", "parquet", "json", *JSON_LINES}
"""Ends of the names of files that may be tables."""
FITTING = {
    "comments": {"comments", "statements"},
    "statements": {"comments", "statements"},
    "votes": {"votes", "comment_groups"},
    "matrix": {"matrix"},
    "comment_groups": {"comment_groups"},
}
"""By the role that a name tells, those that columns may tell without contradicting it."""
LIKELIEST = ("comments", "comment_groups", "votes", "statements", "matrix")
"""The order in which a table is what its columns tell it may be."""
VOTING = {"votes", "matrix", "comment_groups"}
"""Roles of files that have votes."""


def role_by_content(file: SourceFile) -> str | None:
    """Return what a table is for by what is in it, or None if it is none that is read."""
    told = roles_told(file)
    if not (told & {"comments", "comment_groups"}) and _is_foreign(file):
        return None
    if first := next((role for role in LIKELIEST if role in told), None):
        return first
    return "votes" if _is_wide(file) else None


def roles_told(file: SourceFile) -> set[str]:
    """Return all that a table may be for by its columns, a table of one row a person aside; none if unreadable."""
    names = _readable_names(file)
    told = set()
    if is_long_table(names):
        told.add("votes")
    elif {"comment-id", BODY} <= set(names):
        told.add("comments")
    if file.ending not in ("parquet", "json") and group_columns(names) is not None:
        told.add("comment_groups")
    if is_statement_table(names):
        told.add("statements")
    if is_matrix(names):
        told.add("matrix")
    return told


def by_content(place: Path, named: Mapping[str, SourceFile]) -> dict[str, SourceFile]:
    """Return files by role as their columns tell it, where a name tells one that the columns contradict.

    Args:
        place: What messages call the export.
        named: Files by the role that their names tell. It stays where columns tell it too, or nothing.

    Raises:
        ConsultationError: Two files are for the same thing.
    """
    roles_of = cache(roles_told)
    told = {role: roles_of(file) for role, file in named.items() if role in FITTING}
    wrong = {role for role, roles in told.items() if roles and not roles & FITTING[role]}
    targets = {role: next(each for each in LIKELIEST if each in told[role]) for role in wrong}
    if "votes" in wrong and not (VOTING & (named.keys() - wrong | set(targets.values()))):
        wrong.remove("votes")  # nothing else has votes: it is refused for what it is
    files = {role: file for role, file in named.items() if role not in wrong}
    for role in sorted(wrong):
        target = targets[role]
        if target not in files:
            files[target] = named[role]
        elif role in ("comments", "votes", "matrix"):
            raise ConsultationError(
                f"{place}: {files[target].name} and {named[role].name} are for the same thing. Keep one of them."
            )
    sure = "votes" in files or any(roles_of(files[role]) & VOTING for role in VOTING & files.keys())
    if not sure and (found := _voting(files)):
        files[found[1]] = files.pop(found[0])
    polis = "matrix" in files or is_polis(_names_in(files, "votes"))
    if polis and "comments" not in files and "comments" in told.get("statements", ()) and "statements" in files:
        files["comments"] = files.pop("statements")
    return files


def _voting(files: Mapping[str, SourceFile]) -> tuple[str, str] | None:
    """The role by name and the right role of the file that has votes, where no file named so has any by its columns.

    Last comes one that only is refused, for what it is; None if what there is fits its name.
    """
    listings = [role for role in ("comments", "statements") if role in files]
    for role in listings:
        if told := sorted(roles_told(files[role]) & VOTING, reverse=True):
            return role, told[0]
    for role in (*listings, *sorted(VOTING & files.keys(), reverse=True)):
        names = _names_in(files, role)
        incomplete = role == "comment_groups" and any(name.startswith("group-") for name in names)
        if foreign_form(files[role], names) and not incomplete:
            return role, "votes"
    unknown = [role for role in listings if not roles_told(files[role])]
    if "comments" not in files or "comments" in unknown:
        unknown += [role for role in ("matrix", "comment_groups") if role in files]
    if wide := [role for role in unknown if _is_wide(files[role])]:
        return wide[0], "votes"
    unread = [role for role in unknown if role != "comment_groups" and _names_in(files, role)]
    return (unread[0], "votes") if unread else None


def _names_in(files: Mapping[str, SourceFile], role: str) -> list[str]:
    return _readable_names(files[role]) if role in files else []


def _readable_names(file: SourceFile) -> list[str]:
    """The names of a table's columns; none if it cannot be read, which the import tells."""
    try:
        return names_of(file)
    except ConsultationError:
        return []


def _is_foreign(file: SourceFile) -> bool:
    return foreign_form(file, _readable_names(file)) is not None


def is_polis(names: Iterable[str]) -> bool:
    """Whether columns are those of Polis's votes.csv."""
    return {"comment-id", "voter-id"} <= {VOTE_ALIASES.get(name, name) for name in names}


def is_matrix(names: list[str]) -> bool:
    """Whether columns are those of Polis's matrix."""
    return "participant" in names and {"n-votes", "group-id"} & set(names) != set() and any(map(is_id, names))


def _is_wide(file: SourceFile) -> bool:
    try:
        return file.ending not in ("parquet", "json") and read_wide_table(file, {}, Noted()) is not None
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
