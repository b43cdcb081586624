"""A real server of PostgreSQL, one for all workers, on no network."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path

import pgserver
import pytest

PASSWORD = "not-for-files"


@pytest.fixture(scope="session")
def database(shared: Path) -> Iterator[str]:
    """The address of a database; the server asks nobody for the password in it."""
    # Another user's process: it cannot look into the session's own folder, which other sessions close again and again.
    place = Path(tempfile.gettempdir()) / f"postgres-{sha256(bytes(shared)).hexdigest()[:12]}"
    place.mkdir(exist_ok=True)
    with pgserver.get_server(place, cleanup_mode="delete") as server:
        yield server.get_uri().replace("postgres:@", f"postgres:{PASSWORD}@")
