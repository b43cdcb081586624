"""What the first run of the small graph left. Nobody opens it: a database that is open cannot be copied."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

import pytest
from filelock import FileLock
from small_graph import FIRST, Workplace, copied, opened, small_folder


@pytest.fixture(scope="session")
def first_run(shared: Path, tiny_model: Path, warm_stages: str) -> Path:
    """The consultation and what its first run left: made once for all workers, to be copied."""
    base = shared / "first_run"
    with FileLock(f"{base}.lock"):
        if not (base / FIRST).exists():
            shutil.rmtree(base, ignore_errors=True)
            small_folder(base / "town", tiny_model)
            with opened(base, warm_stages) as workplace:
                outcome = workplace.run()
            (base / FIRST).write_text(json.dumps(asdict(outcome)))
    return base


@pytest.fixture(scope="module")
def workplace(first_run: Path, warm_stages: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Workplace]:
    """What the first run left, to look at."""
    with opened(copied(first_run, tmp_path_factory.mktemp("first") / "copy"), warm_stages) as workplace:
        yield workplace


@pytest.fixture
def copy(first_run: Path, warm_stages: str, tmp_path: Path) -> Iterator[Workplace]:
    """What the first run left, to work on."""
    with opened(copied(first_run, tmp_path / "copy"), warm_stages) as workplace:
        yield workplace
