"""The way in: the files of an export are found and read, whether of Polis, a plain table of votes, or counts by group.

An export lies in a folder, in a zip, one folder deeper in either, or is a single table. Its files are found by the ends
of their names, and what each is for is told by its columns where they contradict the name; where none has such a name,
and where votes or statements are missing, tables are known by their columns alone. Other files beside an export that
has both, lists of personal codes among them, are never opened.

A zip may come from anybody: nothing is unpacked to disk, sizes are bounded, and names inside never become paths. One
that leads outside is an error all the same, since somebody made it so.
"""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path, PurePosixPath
from typing import Literal, TypeVar

from ccai_dagster.core.errors import ConsultationError
from ccai_dagster.core.unchanged import while_unchanged
from ccai_dagster.deliberation.importing.bodies import BODY
from ccai_dagster.deliberation.importing.columns import HEAD, SourceFile, VoteFiles
from ccai_dagster.deliberation.importing.demographics import DEMOGRAPHICS
from ccai_dagster.deliberation.importing.file_kinds import refuse_other_kind
from ccai_dagster.deliberation.importing.group_counts import counts_file, import_group_counts
from ccai_dagster.deliberation.importing.long_table import import_long_table, is_long_table, names_of
from ccai_dagster.deliberation.importing.moderation_mode import CONVERSATION, with_stated_mode
from ccai_dagster.deliberation.importing.noted import Noted
from ccai_dagster.deliberation.importing.polis import import_polis
from ccai_dagster.deliberation.importing.recognition import (
    TABLES,
    VOTING,
    by_content,
    foreign_form,
    is_polis,
    refuse,
    role_by_content,
    roles_told,
)
from ccai_dagster.deliberation.importing.tables import Import
from ccai_dagster.deliberation.importing.wide_table import import_wide_table, read_wide_table

ROLES = {
    "comments.csv": "comments",
    "votes.csv": "votes",
    "votes.parquet": "votes",
    "votes.tsv": "votes",
    "votes.json": "votes",
    "participants-votes.csv": "matrix",
    "participant-votes.csv": "matrix",
    "comment-groups.csv": "comment_groups",
    "summary.csv": "summary",
    "statements.csv": "statements",
    "statements.parquet": "statements",
    "statements.tsv": "statements",
    "comments.json": "statements",
    "participant-demographics.csv": DEMOGRAPHICS,
    "conversation.json": CONVERSATION,
}
"""What each file is for, by its name; Polis spells the matrix in two ways."""
BESIDE = {"statements", DEMOGRAPHICS, CONVERSATION}
"""What is read beside a table of votes that is named by itself."""
SAME = {"votes": ("votes", "matrix"), "statements": ("comments", "statements")}
"""By the role of a JSON file, those that hold the same."""
LEADING = {"comments", "votes", "matrix"}
"""Files that make a folder an export."""
PACKED = (".gz", ".bz2", ".xz", ".zst", ".7z", ".rar", ".tar", ".tgz", ".xlsx", ".xls", ".ods", ".numbers")
MOST_MEMBERS = 10_000
MOST_BYTES = 2**31
"""Of all files in a zip together, unpacked. A conversation of 2 million votes has about 0.1 GB."""

Entry = TypeVar("Entry")


def read_votes(place: Path, values: Mapping[str, str] | None = None) -> Import:
    """Read and check what a public said, from whatever platform.

    Args:
        place: A folder or a zip with a Polis export, or with a plain table of votes; or such a table itself.
        values: What votes mean where they are neither -1, 0 and 1 nor words, see `vote_values`.

    Raises:
        ConsultationError: Nothing usable is there. Names file, row and remedy.
    """
    return import_votes(find_vote_files(place), values)


def import_votes(found: VoteFiles, values: Mapping[str, str] | None = None) -> Import:
    """As `read_votes`, of files that were found already."""
    imported = _imported(found, values or {})
    conversation = found.files.get(CONVERSATION)
    return with_stated_mode(imported, conversation) if conversation is not None else imported


def _imported(found: VoteFiles, values: Mapping[str, str]) -> Import:
    form = form_of(found)
    if form == "counts":
        return import_group_counts(found)
    if form == "polis":
        return import_polis(found, values)
    plain = plain_files(found)
    if form == "long":
        return import_long_table(plain, values)
    noted = Noted()
    wide = read_wide_table(plain.files["votes"], values, noted)
    if wide is None:
        refuse(plain.files["votes"])
    return import_wide_table(plain, wide, values, noted)


def export_digest(place: Path) -> str:
    """Return the digest of an export as it is now, reading it again only if something in its place has changed."""
    return while_unchanged(_digest, place, _looked_at(place))


def _digest(place: Path) -> str:
    return find_vote_files(place).digest()


def _looked_at(place: Path) -> Iterator[Path]:
    """Everything whose change may change what `find_vote_files` finds."""
    yield place
    if not place.is_dir():
        yield place.parent
        yield from (path for path in sorted(place.parent.iterdir()) if role_of(path.name) in BESIDE)
        return
    for path in sorted(place.iterdir()):
        yield path
        if path.is_dir():
            yield from sorted(path.iterdir())


def form_of(found: VoteFiles) -> Literal["polis", "counts", "long", "wide"]:
    """Return the form of an export, told by the columns of its files.

    Raises:
        ConsultationError: A table that has no votes of people stands in for them.
    """
    if counts_file(found) is not None:
        return "counts"
    votes, comments = found.files.get("votes"), found.files.get("comments")
    if votes is None or votes.is_empty():
        return "polis"
    names, is_text = names_of(votes), votes.ending not in ("parquet", "json")
    if is_text and "matrix" in found.files:
        return "polis"
    if is_text and is_polis(names) and (comments is not None or not ("statements" in found.files or BODY in names)):
        return "polis"
    if foreign_form(votes, names):
        refuse(votes)
    if is_long_table(names):
        return "long"
    if not is_text:
        refuse(votes)
    if comments is None or role_by_content(votes) == "votes":
        return "wide"
    return "wide" if "statements" in roles_told(comments) and "comments" not in roles_told(comments) else "polis"


def plain_files(found: VoteFiles) -> VoteFiles:
    """The files of a plain table: a comments.csv that is not of Polis is its table of statements."""
    files = dict(found.files)
    if "comments" in files:
        files.setdefault("statements", files.pop("comments"))
    return replace(found, files=files)


def find_vote_files(place: Path) -> VoteFiles:
    """Find the files of an export.

    Args:
        place: A folder or a zip with an export, either possibly with one folder around it; or a table of votes (CSV,
            Parquet or JSON), with the tables `statements` and `participant-demographics` in the same folder, if any.

    Raises:
        ConsultationError: Nothing is there, several exports are, two files have the same role, or a zip is
            damaged, too large or leads outside itself.
    """
    if place.is_dir():
        return _in_folder(place)
    if not place.is_file():
        raise ConsultationError(
            f"{place}: not found. `votes` in consultation.yaml names a folder, a zip, a table of votes, or the "
            "address of a report's export."
        )
    if zipfile.is_zipfile(place):
        return _in_zip(place)
    alone = SourceFile(str(place), place)
    if alone.ending not in TABLES or (alone.ending == "txt" and len(names_of(alone)) < 2):
        with alone.open() as handle:
            begin = handle.read(HEAD)
        refuse_other_kind(str(place), begin, begin.decode("utf-8", "replace"))
        raise ConsultationError(f"{place}: neither a folder, a zip, a CSV nor a Parquet file. Export as CSV.")
    beside = {
        path.name: SourceFile(str(path), path)
        for path in sorted(place.parent.iterdir())
        if role_of(path.name) in BESIDE and path.is_file() and path != place
    }
    found = _by_role(place, beside)
    return VoteFiles(place, {**found.files, "votes": alone}, ())


def role_of(name: str) -> str | None:
    """Return what a file is for by its name alone, or None if it is not read.

    A name may have something before it, as `20250114-0930-2demo-votes.csv` in the downloads of a report.
    """
    name = name.lower()
    endings = sorted(ROLES, key=len, reverse=True)
    return next((ROLES[each] for each in endings if name == each or name.endswith("-" + each)), None)


def _in_folder(place: Path) -> VoteFiles:
    listed: Mapping[str, Path] = {path.name: path for path in sorted(place.iterdir()) if path.is_file()}
    if not _is_export(listed):
        folders = [path for path in sorted(place.iterdir()) if path.is_dir() and not _hidden(path.name)]
        inner = {folder.name: {path.name: path for path in sorted(folder.iterdir())} for folder in folders}
        exports = {name: names for name, names in inner.items() if _is_export(names)}
        if not exports and (known := _by_content(place, _sources(listed))):
            return known
        if not exports and (packed := [name for name in listed if name.lower().endswith(PACKED)]):
            raise ConsultationError(
                f"{place}: {packed[0]} is packed, or a workbook. Unpack it, or save its sheets as CSV files there."
            )
        listed = _only(place, exports)
    found = _told_by_content(_by_role(place, _sources(listed)))
    return _completed(found, _sources({name: listed[name] for name in found.others}))


def _sources(listed: Mapping[str, Path]) -> dict[str, SourceFile]:
    return {name: SourceFile(str(path), path) for name, path in listed.items()}


def _in_zip(place: Path) -> VoteFiles:
    members = _members(place)
    folders: dict[str, dict[str, PurePosixPath]] = {}
    for path in members:
        if not any(_hidden(part) for part in path.parts) and len(path.parts) <= 2:
            folders.setdefault(str(path.parent), {})[path.name] = path
    exports = {folder: names for folder, names in folders.items() if _is_export(names)}

    def read(names: Mapping[str, PurePosixPath]) -> dict[str, SourceFile]:
        return {name: SourceFile(f"{place}/{path}", _read_member(place, members[path])) for name, path in names.items()}

    if not exports and "[Content_Types].xml" in folders.get(".", {}):
        raise ConsultationError(f"{place}: an Excel workbook. Save its sheets as CSV files in one folder.")
    if not exports:
        for names in folders.values():
            if known := _by_content(place, read({name: names[name] for name in filter(_may_be_table, names)})):
                return known
    chosen = exports["."] if "." in exports else _only(place, exports)
    by_name = {name: path for name, path in chosen.items() if role_of(name)}
    found = _told_by_content(_by_role(place, read(by_name)))
    found = replace(found, others=tuple(sorted(set(chosen) - set(by_name))) + found.others)
    if not (_lacks_statements(found) or _lacks_votes(found)):
        return found
    return _completed(found, read({name: chosen[name] for name in filter(_may_be_table, found.others)}))


def _may_be_table(name: str) -> bool:
    return name.rpartition(".")[2].lower() in TABLES and not _hidden(name)


def _by_content(place: Path, listed: Mapping[str, SourceFile]) -> VoteFiles | None:
    """Give files that no name tells their role by what is in them; None if no table is there.

    Raises:
        ConsultationError: Several tables are for the same thing, or none has votes.
    """
    files: dict[str, SourceFile] = {}
    unknown = []
    for name in sorted(filter(_may_be_table, listed)):
        role = role_of(name)
        if role in (None, CONVERSATION):
            role = role_by_content(listed[name]) or role
        if role is None:
            unknown.append(listed[name])
        elif role in files:
            raise ConsultationError(f"{place}: {files[role].name} and {name} are for the same thing. Name one of them.")
        else:
            files[role] = listed[name]
    files = by_content(place, files)
    if not (LEADING | VOTING) & set(files):
        if not unknown:
            return None
        if len(unknown) > 1:
            refuse(unknown[0])
        files["votes"] = unknown[0]  # perhaps a scale, of which the consultation says what it means
    used = {file.place for file in files.values()}
    return VoteFiles(place, files, tuple(name for name, file in sorted(listed.items()) if file.place not in used))


def _told_by_content(found: VoteFiles) -> VoteFiles:
    return replace(found, files=by_content(found.place, found.files))


def _lacks_statements(found: VoteFiles) -> bool:
    return "votes" in found.files and not {"comments", "statements", "matrix"} & set(found.files)


def _lacks_votes(found: VoteFiles) -> bool:
    return not {"votes", "matrix"} & set(found.files)


def _completed(found: VoteFiles, beside: Mapping[str, SourceFile]) -> VoteFiles:
    """Add the votes, or the statements, that an export lacks, from tables beside it."""
    found = _with_votes(found, beside)
    return _with_statements(found, {name: file for name, file in beside.items() if name in found.others})


def _with_votes(found: VoteFiles, beside: Mapping[str, SourceFile]) -> VoteFiles:
    """Add the tables of votes that are known by their columns, where no file is named so or known as one.

    Raises:
        ConsultationError: Several are for the same thing.
    """
    if not _lacks_votes(found):
        return found
    wanted = VOTING - found.files.keys()
    known = {name: role_by_content(beside[name]) for name in filter(_may_be_table, beside)}
    known = {name: role for name, role in known.items() if role in wanted}
    told = {name: role for name, role in known.items() if roles_told(beside[name]) & wanted}
    if told or "comment_groups" in found.files:
        known = told  # a table of one row a person may hold answers to other questions
    files = dict(found.files)
    for name, role in known.items():
        if role in files:
            raise ConsultationError(
                f"{found.place}: {files[role].name} and {name} are for the same thing. Keep one of them."
            )
        files[str(role)] = beside[name]
    return VoteFiles(found.place, files, tuple(each for each in found.others if each not in known))


def _with_statements(found: VoteFiles, beside: Mapping[str, SourceFile]) -> VoteFiles:
    """Add the one table of statements that is known by its columns, where votes have none beside them by name."""
    if not _lacks_statements(found):
        return found
    known = [name for name in filter(_may_be_table, beside) if role_by_content(beside[name]) == "statements"]
    if len(known) != 1:
        return found
    files = {**found.files, "statements": beside[known[0]]}
    return VoteFiles(found.place, files, tuple(each for each in found.others if each != known[0]))


def _is_export(names: Iterable[str]) -> bool:
    return any(role_of(name) in LEADING for name in names)


def _hidden(name: str) -> bool:
    return name.startswith((".", "__MACOSX"))


def _only(place: Path, inner: Mapping[str, Mapping[str, Entry]]) -> Mapping[str, Entry]:
    if len(inner) > 1:
        raise ConsultationError(
            f"{place}: several exports, in {', '.join(sorted(inner)[:6])}. Name one of these folders."
        )
    if not inner:
        raise ConsultationError(
            f"{place}: no export there: neither comments.csv nor votes.csv, nor in a folder inside. Copy the "
            "files of the export there."
        )
    return next(iter(inner.values()))


def _by_role(place: Path, listed: Mapping[str, SourceFile]) -> VoteFiles:
    """Give every file its role; the plain name is taken before one with something in front of it.

    JSON beside a CSV of the same holds it once more, as Polis's API gives it; it is not read.
    """
    files: dict[str, SourceFile] = {}

    def order(item: tuple[str, SourceFile]) -> tuple[bool, bool, str]:
        name, file = item
        return file.ending == "json", name.lower() not in ROLES, name

    for name, file in sorted(listed.items(), key=order):
        role = role_of(name)
        again = file.ending == "json" and any(
            files[each].ending != "json" for each in SAME.get(role or "", ()) if each in files
        )
        if role is None or _hidden(name) or again:
            continue
        if role in files and (name.lower() in ROLES or files[role].name.lower() not in ROLES):
            raise ConsultationError(f"{place}: {files[role].name} and {name} are for the same thing. Keep one of them.")
        files.setdefault(role, file)
    used = {file.place for file in files.values()}
    others = tuple(name for name, file in sorted(listed.items()) if file.place not in used)
    return VoteFiles(place, files, others)


def _members(place: Path) -> dict[PurePosixPath, zipfile.ZipInfo]:
    """List the files in a zip, refusing one that is too large or names a place outside itself."""
    try:
        with zipfile.ZipFile(place) as archive:
            listed = [each for each in archive.infolist() if not each.is_dir()]
    except (zipfile.BadZipFile, OSError, NotImplementedError) as error:
        raise _damaged(place, error) from error
    if len(listed) > MOST_MEMBERS or sum(each.file_size for each in listed) > MOST_BYTES:
        raise ConsultationError(
            f"{place}: {len(listed)} files with {sum(each.file_size for each in listed):,} bytes unpacked; at "
            f"most {MOST_MEMBERS:,} files and {MOST_BYTES:,} bytes are read from a zip. If it is what you "
            "expect, unpack it and name the folder."
        )
    found = {}
    for each in listed:
        path = PurePosixPath(each.filename.replace("\\", "/"))
        outside = path.is_absolute() or ".." in path.parts or ":" in "".join(path.parts[:1])
        if outside or not path.parts or not each.filename.isprintable():
            raise ConsultationError(
                f"{place}: has a file with an impossible name ({each.filename!r}). Nothing was read; get the export "
                "from its source again."
            )
        found[path] = each
    return found


def _read_member(place: Path, member: zipfile.ZipInfo) -> bytes:
    """Return a file's bytes, never more than the zip's directory promises."""
    try:
        with zipfile.ZipFile(place) as archive, archive.open(member.filename) as handle:
            content = handle.read(member.file_size + 1)
    except (zipfile.BadZipFile, zlib.error, EOFError, OSError, RuntimeError, NotImplementedError) as error:
        raise _damaged(place, error, member.filename) from error
    if len(content) != member.file_size:
        raise _damaged(place, ValueError("its size is not what the zip says"), member.filename)
    return content


def _damaged(place: Path, error: Exception, name: str = "") -> ConsultationError:
    inside = f", {name}" if name else ""
    return ConsultationError(
        f"{place}{inside}: cannot be read from the zip ({error}). Download it again, or unpack it and name the folder."
    )
