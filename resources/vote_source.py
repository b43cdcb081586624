"""Where the votes come from: files of the consultation, the portal, or the address of a report's export.

What lies at an address or in the portal may change at any moment. It is therefore copied when it is observed, into a
folder named by the digest of its content, and read from there: what was observed is what is imported, and earlier
copies stay. Cells that no import reads, personal codes among them, are emptied before anything is kept; an export
without such cells keeps its bytes. What the files mean is no matter here.

Who runs the server may be anybody: nobody is led from there to another machine, another service or another file, no
answer lasts longer than `limit`, and a name and password in the address are sent and never shown.

Resources: https://docs.dagster.io/guides/build/external-resources
"""

import shutil
import tempfile
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import dagster as dg

from ccai_dagster.consultation.folder import PORTAL, is_live, without_password
from ccai_dagster.core.errors import ConsultationError
from ccai_dagster.core.limits import ended_after
from ccai_dagster.deliberation.importing.copies import empty_unread_cells
from ccai_dagster.deliberation.importing.portal import portal_files
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
LONGEST_PAUSE = 60.0
PORTS = {"http": 80, "https": 443}


class _Retry(Exception):
    """The server may answer if it is asked again, after so many seconds if it says."""

    def __init__(self, reason: str, seconds: float | None = None) -> None:
        super().__init__(reason)
        self.seconds = seconds


@dataclass(frozen=True)
class ObservedVotes:
    """What is at the source now.

    Attributes:
        version: Its digest.
        source: What it may be called: the address without name and password, or the path.
        place: Where it can be read.
        sizes: Of each file, in bytes.
    """

    version: str
    source: str
    place: Path
    sizes: dict[str, int]


class VoteSource(dg.ConfigurableResource["VoteSource"]):
    """Files of the consultation, or the export of a report at an address.

    Attributes:
        downloads: Folder for downloads, one folder inside for each content.
        portal: The database of the portal.
        timeout: Seconds without an answer or a further byte after which a request is given up.
        limit: Seconds after which the whole download is given up.
        attempts: How often each file is asked for when the server is busy or out of reach.
        pause: Seconds before the second attempt, doubled after each, unless the server says how long.
        rest: Seconds that a file must have been left alone before it is read.
    """

    downloads: str
    portal: str = ""
    timeout: float = 30.0
    limit: float = 900.0
    attempts: int = 4
    pause: float = 1.0
    rest: float = 1.0

    def observe(self, votes: str) -> ObservedVotes:
        """Look at what is there now; from the portal and from an address it is copied.

        Args:
            votes: A path, `portal`, or the address of a report's export.

        Raises:
            ConsultationError: Nothing is there, it is being written, or the server does not answer. Earlier downloads
                stand.
        """
        if not is_live(votes):
            return self._at_rest(Path(votes))
        with self._of_portal() if votes == PORTAL else self.downloaded(votes) as fresh:
            version = find_vote_files(fresh).digest()
            kept = Path(self.downloads) / version
            with suppress(OSError):  # the same content may be there, from before or from a neighbour
                fresh.replace(kept)
        if not kept.is_dir():
            raise ConsultationError(f"{kept}: the download could not be moved there. Is there space left?")
        return _observed(kept, without_password(votes))

    def _at_rest(self, place: Path) -> ObservedVotes:
        """Look twice, the second time when nothing was written for `rest` seconds; both must see the same."""
        first = _observed(place, str(place))
        if (age := time.time() - find_vote_files(place).written_at()) < self.rest:
            time.sleep(min(self.rest - age, self.rest))
        second = _observed(place, str(place))
        if second != first:
            raise ConsultationError(f"{place}: is being written. Try again when all of it is there.")
        return second

    def place(self, votes: str, version: str | None) -> Path:
        """Return where to read what was last observed.

        Args:
            votes: A path, `portal`, or the address of a report's export.
            version: What `observe` returned last; None if nothing was observed yet.

        Raises:
            ConsultationError: It was never downloaded, or the download is gone.
        """
        if not is_live(votes):
            return Path(votes)
        kept = Path(self.downloads) / (version or "")
        if version is None or not kept.is_dir():
            raise ConsultationError(
                f"{without_password(votes)}: what was observed there is not in {self.downloads}. Observe polis_export "
                "again (`ccai run` does), which downloads it."
            )
        return kept

    @contextmanager
    def downloaded(self, address: str) -> Iterator[Path]:
        """Download the export of a report into a temporary folder, which is gone afterwards.

        Raises:
            ConsultationError: A file cannot be had, or all of them not within `limit`.
        """
        import httpx

        bare = without_password(address).rstrip("/")
        try:
            named = httpx.URL(address)
        except httpx.InvalidURL as error:
            raise ConsultationError(f"{bare}: not a valid address ({error}).") from error

        def stay(request: httpx.Request) -> None:
            if not _same_service(named, request.url):
                elsewhere = without_password(str(request.url))
                raise ConsultationError(
                    f"{bare}: sends one on to {elsewhere}, which is another server. Nothing was asked there; if it is "
                    "the right one, let `votes` name it."
                )

        client = httpx.Client(
            auth=(named.username, named.password) if named.userinfo else None,
            timeout=self.timeout,
            follow_redirects=True,
            event_hooks={"request": [stay]},
        )
        with self._unfinished() as fresh:
            with ended_after(self.limit, client.close), client:
                for file, needed in FILES.items():
                    self._fetch(client, f"{bare}/{file}", fresh / file, needed)
            empty_unread_cells(fresh)
            yield fresh

    @contextmanager
    def _of_portal(self) -> Iterator[Path]:
        """What the portal holds at this moment, in a temporary folder."""
        with self._unfinished() as fresh:
            for name, text in portal_files(Path(self.portal)).items():
                (fresh / name).write_text(text, encoding="utf-8", newline="")
            yield fresh

    @contextmanager
    def _unfinished(self) -> Iterator[Path]:
        fresh = Path(self.downloads) / f".unfinished-{uuid.uuid4().hex}"
        fresh.mkdir(parents=True, mode=0o700)
        try:
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
                if client.is_closed:
                    raise ConsultationError(
                        f"{address}: not all there after {self.limit:g} s, the limit of a whole download. Download it "
                        "by hand and let `votes` name the folder."
                    ) from retry
                if attempt == self.attempts:
                    raise ConsultationError(
                        f"{address}: no answer in {attempt} attempts ({retry}). Check the address and the connection, "
                        f"or let `votes` name an earlier download in {self.downloads}."
                    ) from retry
                time.sleep(min(retry.seconds if retry.seconds is not None else pause, LONGEST_PAUSE))
                pause *= 2


def holds_unread_cells(download: Path) -> bool:
    """Whether a download holds what is emptied today, personal codes above all; earlier versions kept them."""
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(shutil.copytree(download, Path(folder) / "copy"))
        try:
            before = find_vote_files(copy).digest()
            empty_unread_cells(copy)
            return find_vote_files(copy).digest() != before
        except ConsultationError:
            return False  # no export


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
    except httpx.HTTPError as error:
        raise _Retry(f"{type(error).__name__}: {error}") from error
    except RuntimeError as error:  # the client was closed meanwhile
        raise _Retry("given up") from error


def _same_service(one: "httpx.URL", other: "httpx.URL") -> bool:
    """Whether both are on the same host and port; from http to https on their own ports is no step away."""
    (scheme, port), (later, later_port) = ((url.scheme, url.port or PORTS.get(url.scheme)) for url in (one, other))
    same = (scheme, port) == (later, later_port) or (scheme, port, later, later_port) == ("http", 80, "https", 443)
    return one.host == other.host and same


def _saved(response: "httpx.Response", address: str, path: Path) -> bool:
    """Write the answer to a file; False if it is a web page, with which some servers answer to anything."""
    if "html" in response.headers.get("content-type", ""):
        return False
    size = 0
    with path.open("wb") as handle:
        for chunk in response.iter_bytes():
            size += len(chunk)
            if size > MOST_BYTES:
                raise ConsultationError(f"{address}: more than {MOST_BYTES:,} bytes; nothing was kept.")
            handle.write(chunk)
    return True


def _observed(place: Path, source: str) -> ObservedVotes:
    found = find_vote_files(place)
    return ObservedVotes(found.digest(), source, place, {file.name: file.size for file in found.files.values()})
