"""Who can look into the home, and what else the environment says of it."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest

from ccai_dagster.consultation.folder import SAMPLE, read_consultation
from ccai_dagster.core.errors import ConsultationError
from ccai_dagster.core.home import home_root, make_private
from ccai_dagster.definitions import build_defs


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


def test_no_home_is_where_everybody_keeps_files_or_where_none_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tmp_path.chmod(0o1777)
    with pytest.raises(ConsultationError, match=f"^{tmp_path} is for the files of everybody"):
        make_private(tmp_path)
    assert stat.S_IMODE(tmp_path.stat().st_mode) == 0o1777
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("CCAI_HOME", "")
    assert home_root() == tmp_path / ".ccai"


@pytest.mark.parametrize(
    ("variable", "value", "told"),
    [
        ("CCAI_THREADS", "all", "'all'; it must be a whole number, at least 1"),
        ("CCAI_PROCESSES", "0", "'0'; it must be a whole number, at least 1"),
        ("CCAI_EXECUTOR", "celery", "'celery'; it must be in_process or multiprocess"),
        ("CCAI_TABLES_URL", "nowhere://tables", "cannot be used: Unsupported filesystem: 'nowhere'"),
    ],
)
def test_a_variable_that_means_nothing_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, variable: str, value: str, told: str
) -> None:
    monkeypatch.setenv("CCAI_EXECUTOR", "multiprocess")
    monkeypatch.setenv(variable, value)
    with pytest.raises(ConsultationError, match=f"^{variable} .*{told}"):
        build_defs(read_consultation(SAMPLE), tmp_path)
