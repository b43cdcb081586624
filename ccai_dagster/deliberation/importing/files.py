"""Finding the files of an export: in a folder, in a zip, one folder deeper in either, or a single table.

What is in the files is no matter here, with one exception: a zip is known by its content. Files that are not
read, lists of personal codes among them, are never opened.

[archive] Reading a zip that came from somewhere: nothing is unpacked to disk, and sizes are bounded.

Names inside a zip never become paths. One that leads outside is an error all the same, since somebody made
it so.
"""

from __future__ import annotations

import io
import zipfile
import zlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path, PurePosixPath
from typing import BinaryIO, TypeVar

from ccai_dagster.core.digest import file_digest, value_digest
from ccai_dagster.core.errors import ConsultationError

MOST_MEMBERS = 10_000
MOST_BYTES = 2**31
"""Of all members together, unpacked. A conversation of 2 million votes has about 0.1 GB."""


@dataclass(frozen=True)
class Member:
    """A file in a zip: its name there, split at the slashes, and how many bytes it has unpacked."""

    name: str
    parts: tuple[str, ...]
    size: int


def members(place: Path) -> list[Member]:
    """List the files in a zip.

    Raises:
        ConsultationError: The zip is damaged, too large once unpacked, or names a place outside itself.
    """
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
    found = []
    for each in listed:
        path = PurePosixPath(each.filename.replace("\\", "/"))
        outside = path.is_absolute() or ".." in path.parts or ":" in path.parts[0]
        if outside or not each.filename.isprintable():
            raise ConsultationError(
                f"{place}: has a file with an impossible name ({each.filename!r}). Nothing was read; get the export "
                "from its source again."
            )
        found.append(Member(each.filename, path.parts, each.file_size))
    return found


def read_member(place: Path, member: Member) -> bytes:
    """Return a member's bytes, never more than the zip's directory promises.

    Raises:
        ConsultationError: It is damaged or encrypted.
    """
    try:
        with zipfile.ZipFile(place) as archive, archive.open(member.name) as handle:
            content = handle.read(member.size + 1)
    except (zipfile.BadZipFile, zlib.error, EOFError, OSError, RuntimeError, NotImplementedError) as error:
        raise _damaged(place, error, member.name) from error
    if len(content) != member.size:
        raise _damaged(place, ValueError("its size is not what the zip says"), member.name)
    return content


def _damaged(place: Path, error: Exception, name: str = "") -> ConsultationError:
    inside = f", {name}" if name else ""
    return ConsultationError(
        f"{place}{inside}: cannot be read from the zip ({error}). Download it again, or unpack it and name the folder."
    )


ROLES = {
    "comments.csv": "comments",
    "votes.csv": "votes",
    "votes.parquet": "votes",
    "participants-votes.csv": "matrix",
    "participant-votes.csv": "matrix",
    "comment-groups.csv": "comment_groups",
    "summary.csv": "summary",
    "statements.csv": "statements",
    "statements.parquet": "statements",
}
"""What each file is for, by its name; Polis spells the matrix in two ways."""
LEADING = {"comments", "votes", "matrix"}
"""Files that make a folder an export."""
Entry = TypeVar("Entry")


@dataclass(frozen=True)
class SourceFile:
    """One file of an export.

    Attributes:
        place: What messages call it.
        content: Where it lies, or its bytes if it lies in a zip.
    """

    place: str
    content: Path | bytes

    @property
    def name(self) -> str:
        """The file's own name."""
        return self.place.rsplit("/", 1)[-1]

    @property
    def size(self) -> int:
        """Bytes."""
        return len(self.content) if isinstance(self.content, bytes) else self.content.stat().st_size

    def open(self) -> BinaryIO:
        """Open for reading."""
        return io.BytesIO(self.content) if isinstance(self.content, bytes) else self.content.open("rb")

    def digest(self) -> str:
        """The SHA-256 of its bytes."""
        if isinstance(self.content, bytes):
            return sha256(self.content).hexdigest()
        return file_digest(self.content)


@dataclass(frozen=True)
class VoteFiles:
    """The files of an export, by role, and the names of those beside them that are never opened."""

    place: Path
    files: Mapping[str, SourceFile]
    others: tuple[str, ...]

    def digest(self) -> str:
        """The digest of the export; the same export has the same one in a folder and in a zip."""
        return value_digest([[role, each.digest()] for role, each in sorted(self.files.items())])


def find_vote_files(place: Path) -> VoteFiles:
    """Find the files of an export.

    Args:
        place: A folder or a zip with an export, either possibly with one folder around it; or a table of
            votes (CSV or Parquet), with the table `statements` in the same folder if there is one.

    Raises:
        ConsultationError: Nothing is there, several exports are, two files have the same role, or a zip is
            damaged, too large or leads outside itself.
    """
    if place.is_dir():
        listed: Mapping[str, Path] = {path.name: path for path in sorted(place.iterdir()) if path.is_file()}
        if not _is_export(listed):
            folders = [path for path in sorted(place.iterdir()) if path.is_dir()]
            inner = {
                folder.name: names
                for folder in folders
                if not _hidden(folder.name)
                and _is_export(names := {path.name: path for path in sorted(folder.iterdir())})
            }
            listed = _only(place, inner)
        return _chosen(place, {name: SourceFile(str(path), path) for name, path in listed.items()})
    if not place.is_file():
        raise ConsultationError(
            f"{place}: not found. `votes` in consultation.yaml names a folder, a zip, a table of votes, or the "
            "address of a report's export."
        )
    if zipfile.is_zipfile(place):
        return _in_zip(place)
    if place.suffix.lower() not in (".csv", ".parquet"):
        raise ConsultationError(f"{place}: neither a folder, a zip, a CSV nor a Parquet file. Export as CSV.")
    beside = {
        path.name: SourceFile(str(path), path)
        for path in sorted(place.parent.iterdir())
        if role_of(path.name) == "statements" and path.is_file()
    }
    found = _chosen(place, beside)
    return VoteFiles(place, {**found.files, "votes": SourceFile(str(place), place)}, ())


def role_of(name: str) -> str | None:
    """Return what a file is for by its name alone, or None if it is not read.

    A name may have something before it, as `20250114-0930-2demo-votes.csv` in the downloads of a report.
    """
    name = name.lower()
    endings = sorted(ROLES, key=len, reverse=True)
    return next((ROLES[each] for each in endings if name == each or name.endswith("-" + each)), None)


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


def _chosen(place: Path, listed: Mapping[str, SourceFile]) -> VoteFiles:
    """Give every file its role; the plain name is taken before one with something in front of it."""
    files: dict[str, SourceFile] = {}
    for name, file in sorted(listed.items(), key=lambda item: (item[0].lower() not in ROLES, item[0])):
        role = role_of(name)
        if role is None or _hidden(name):
            continue
        if role in files and (name.lower() in ROLES or files[role].name.lower() not in ROLES):
            raise ConsultationError(f"{place}: {files[role].name} and {name} are for the same thing. Keep one of them.")
        files.setdefault(role, file)
    used = {file.place for file in files.values()}
    others = tuple(name for name, file in sorted(listed.items()) if file.place not in used)
    return VoteFiles(place, files, others)


def _in_zip(place: Path) -> VoteFiles:
    folders: dict[str, dict[str, Member]] = {}
    for member in members(place):
        if not any(_hidden(part) for part in member.parts) and len(member.parts) <= 2:
            folders.setdefault("/".join(member.parts[:-1]), {})[member.parts[-1]] = member
    exports = {folder: names for folder, names in folders.items() if _is_export(names)}
    if not exports and "[Content_Types].xml" in folders.get("", {}):
        raise ConsultationError(f"{place}: an Excel workbook. Save its sheets as CSV files in one folder.")
    chosen = exports[""] if "" in exports else _only(place, exports)
    found = {
        name: SourceFile(f"{place}/{'/'.join(member.parts)}", read_member(place, member))
        for name, member in chosen.items()
        if role_of(name)
    }
    files = _chosen(place, found)
    return VoteFiles(place, files.files, tuple(sorted(set(chosen) - set(found))) + files.others)
