"""Where the votes come from: files of the consultation, or the address of a report's export.

What lies at an address may change at any moment. It is therefore downloaded when it is observed, into a folder named
by the digest of its content, and read from there: what was observed is what is imported, and earlier downloads
stay. What the files mean is no matter here.

Resources: https://docs.dagster.io/guides/build/external-resources
"""

import shutil
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import dagster as dg

from ccai_dagster.consultation.folder import is_address
from ccai_dagster.core.errors import ConsultationError
from ccai_dagster.deliberation.importing.read_votes import find_vote_files

if TYPE_CHECKING:
    import httpx

FILES = {
    "votes.csv": True,
    "participant-votes.csv": False,
    "comment-groups.csv": False,
    "summary.csv": False,
    "comments.csv": True,
}
"""The files of a report's export and whether there is no import without; statements come last, so that none is
missing that a vote is on."""
MOST_BYTES = 2**31
CHUNK = 2**20
LONGEST_PAUSE = 60.0


class _Retry(Exception):
    """The server may answer if it is asked again, after so many seconds if it says."""

    def __init__(self, reason: str, seconds: float | None = None) -> None:
        super().__init__(reason)
        self.seconds = seconds


@dataclass(frozen=True)
class ObservedVotes:
    """What is at the source now: its digest, where it can be read, and the size of each file in bytes."""

    version: str
    place: Path
    sizes: dict[str, int]


class VoteSource(dg.ConfigurableResource["VoteSource"]):
    """Files of the consultation, or the export of a report at an address.

    Attributes:
        downloads: Folder for downloads, one folder inside for each content.
        timeout: Seconds without an answer or a further byte after which a request is given up.
        attempts: How often each file is asked for when the server is busy or out of reach.
        pause: Seconds before the second attempt, doubled after each, unless the server says how long.
    """

    downloads: str
    timeout: float = 30.0
    attempts: int = 4
    pause: float = 1.0

    def observe(self, votes: str) -> ObservedVotes:
        """Look at what is there now; from an address it is downloaded.

        Args:
            votes: A path, or the address of a report's export.

        Raises:
            ConsultationError: Nothing is there, or the server does not answer. Earlier downloads stand.
        """
        if not is_address(votes):
            return _observed(Path(votes))
        with self.downloaded(votes) as fresh:
            version = find_vote_files(fresh).digest()
            kept = Path(self.downloads) / version
            with suppress(OSError):  # the same content may be there, from before or from a neighbour
                fresh.replace(kept)
        if not kept.is_dir():
            raise ConsultationError(f"{kept}: the download could not be moved there. Is there space left?")
        return _observed(kept)

    def place(self, votes: str, version: str | None) -> Path:
        """Return where to read what was last observed.

        Args:
            votes: A path, or the address of a report's export.
            version: What `observe` returned last; None if nothing was observed yet.

        Raises:
            ConsultationError: It was never downloaded, or the download is gone.
        """
        if not is_address(votes):
            return Path(votes)
        kept = Path(self.downloads) / (version or "")
        if version is None or not kept.is_dir():
            raise ConsultationError(
                f"{votes}: what was observed there is not in {self.downloads}. Observe polis_export again (`ccai run` "
                "does), which downloads it."
            )
        return kept

    @contextmanager
    def downloaded(self, address: str) -> Iterator[Path]:
        """Download the export of a report into a temporary folder, which is gone afterwards.

        Raises:
            ConsultationError: A file cannot be had.
        """
        import httpx

        fresh = Path(self.downloads) / f".unfinished-{uuid.uuid4().hex}"
        fresh.mkdir(parents=True)
        try:
            with httpx.Client(timeout=self.timeout, follow_redirects=True) as client:
                for name, needed in FILES.items():
                    self._fetch(client, f"{address.rstrip('/')}/{name}", fresh / name, needed)
            yield fresh
        finally:
            shutil.rmtree(fresh, ignore_errors=True)

    def _fetch(self, client: "httpx.Client", address: str, path: Path, needed: bool) -> None:
        """Download one file; one that is not needed may be absent."""
        pause = self.pause
        for attempt in range(1, self.attempts + 1):
            try:
                if not _answered(client, address, path) and needed:
                    raise ConsultationError(
                        f"{address}: not found. `votes` names the address of a report's export, which ends in "
                        "/reportExport/ and the report's id; is it the right one?"
                    )
                return
            except _Retry as retry:
                path.unlink(missing_ok=True)
                if attempt == self.attempts:
                    raise ConsultationError(
                        f"{address}: no answer in {attempt} attempts ({retry}). Check the address and the connection, "
                        f"or let `votes` name an earlier download in {self.downloads}."
                    ) from retry
                time.sleep(min(retry.seconds if retry.seconds is not None else pause, LONGEST_PAUSE))
                pause *= 2


def _answered(client: "httpx.Client", address: str, path: Path) -> bool:
    """Ask once; False if the server has no such file."""
    import httpx

    try:
        with client.stream("GET", address) as response:
            status = response.status_code
            if status in (408, 425, 429) or status >= 500:
                wait = response.headers.get("retry-after", "")
                raise _Retry(f"status {status}", float(wait) if wait.isdecimal() else None)
            if status in (404, 410):
                return False
            if status != 200:
                raise ConsultationError(f"{address}: refused with status {status}. Is the report public?")
            return _saved(response, address, path)
    except httpx.InvalidURL as error:
        raise ConsultationError(f"{address}: not a valid address ({error}).") from error
    except httpx.HTTPError as error:
        raise _Retry(f"{type(error).__name__}: {error}") from error


def _saved(response: "httpx.Response", address: str, path: Path) -> bool:
    """Write the answer to a file; False if it is a web page, with which some servers answer to anything."""
    if "html" in response.headers.get("content-type", ""):
        return False
    size = 0
    with path.open("wb") as handle:
        for chunk in response.iter_bytes(CHUNK):
            size += len(chunk)
            if size > MOST_BYTES:
                raise ConsultationError(f"{address}: more than {MOST_BYTES:,} bytes; nothing was kept.")
            handle.write(chunk)
    return True


def _observed(place: Path) -> ObservedVotes:
    found = find_vote_files(place)
    return ObservedVotes(found.digest(), place, {file.name: file.size for file in found.files.values()})
