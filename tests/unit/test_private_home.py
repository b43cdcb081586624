"""Who can look into the home."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest

from ccai_dagster.core.home import make_private


@pytest.mark.parametrize(("before", "after"), [(None, 0o700), (0o755, 0o700), (0o775, 0o770), (0o700, 0o700)])
def test_a_home_is_open_to_its_owner_and_to_those_it_is_shared_with(
    tmp_path: Path, before: int | None, after: int
) -> None:
    root = tmp_path / "home"
    if before is not None:
        root.mkdir()
        root.chmod(before)
    make_private(root)
    assert stat.S_IMODE(root.stat().st_mode) == after
