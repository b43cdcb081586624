"""Reading a zip that came from somewhere: nothing is unpacked to disk, and sizes are bounded.

Names inside a zip never become paths. One that leads outside is an error all the same, since somebody made
it so.
"""

from __future__ import annotations

import zipfile
import zlib
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from ccai_dagster.errors import ConsultationError

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
        f"{place}{inside}: cannot be read from the zip ({error}). Download it again, or unpack it and name the "
        "folder."
    )
