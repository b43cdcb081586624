"""Files and folders that are written whole or not at all, and tables read outside Dagster."""

from __future__ import annotations

import os
import platform
from pathlib import Path
from typing import IO

import polars as pl
import pytest

from ccai_dagster.core.errors import ConsultationError
from ccai_dagster.core.files import read_table, sheet_rows, whole_folder, write_file

HOST = platform.node()


def names(folder: Path) -> list[str]:
    return sorted(each.name for each in folder.iterdir())


def test_text_bytes_and_what_a_function_writes_become_a_file(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    for content in ("ä\n", "ä\n".encode(), lambda file: file.write("ä\n".encode())):
        path.unlink(missing_ok=True)
        write_file(path, content)
        assert path.read_bytes() == b"\xc3\xa4\n" and names(tmp_path) == ["a.txt"]


def test_what_cannot_be_written_to_its_end_leaves_the_file_as_it_was(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    write_file(path, "before")

    def fail(file: IO[bytes]) -> None:
        file.write(b"half")
        raise OSError(28, "No space left on device")

    with pytest.raises(OSError, match="No space left"):
        write_file(path, fail)
    assert path.read_text() == "before" and names(tmp_path) == ["a.txt"]


def test_a_file_keeps_its_rights_and_is_on_the_disk_before_it_gets_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a.txt"
    write_file(path, "before")
    path.chmod(0o640)
    synced: list[str] = []
    monkeypatch.setattr(os, "fsync", lambda _: synced.append(path.read_text()))

    write_file(path, "after")

    assert synced == ["before"] and path.read_text() == "after" and path.stat().st_mode & 0o777 == 0o640


def test_only_what_killed_processes_left_is_removed(tmp_path: Path) -> None:
    (tmp_path / f".a.txt.{HOST}.99999999.unfinished").touch()
    (tmp_path / f".a.txt.{HOST}.{os.getppid()}.unfinished").touch()
    (tmp_path / f".made.{HOST}.99999999.unfinished").mkdir()

    write_file(tmp_path / "a.txt", "x")
    with whole_folder(tmp_path / "made") as folder:
        (folder / "b.txt").touch()

    assert names(tmp_path) == [f".a.txt.{HOST}.{os.getppid()}.unfinished", "a.txt", "made"]


def test_a_folder_appears_when_it_is_filled_and_not_at_all_after_an_error(tmp_path: Path) -> None:
    made = tmp_path / "deep" / "made"
    with pytest.raises(ZeroDivisionError), whole_folder(made) as folder:
        (folder / "a.txt").touch()
        raise ZeroDivisionError
    assert names(made.parent) == []
    made.mkdir()
    with whole_folder(made) as folder:
        (folder / "a.txt").touch()
        assert names(made) == []
    assert names(made) == ["a.txt"]


def test_a_folder_that_somebody_filled_meanwhile_is_kept(tmp_path: Path) -> None:
    made = tmp_path / "made"
    with pytest.raises(OSError, match="not empty"), whole_folder(made):
        made.mkdir()
        (made / "theirs.txt").touch()
    assert names(made) == ["theirs.txt"] and names(tmp_path) == ["made"]


def test_a_table_is_read_unless_it_was_not_made_or_is_damaged(tmp_path: Path) -> None:
    path = tmp_path / "t.parquet"
    assert read_table(path) is None
    write_file(path, pl.DataFrame({"a": [1], "b": [2]}).write_parquet)
    table = read_table(path, ["b"])
    assert table is not None and table.to_dicts() == [{"b": 2}]
    path.write_bytes(b"PAR1")
    with pytest.raises(ConsultationError, match=r"t\.parquet: not readable as a table \(.*`ccai run` makes it again"):
        read_table(path)


@pytest.mark.parametrize("separator", [",", ";", "\t"])
def test_a_sheet_may_be_saved_with_any_separator_of_spreadsheets(tmp_path: Path, separator: str) -> None:
    path = tmp_path / "sheet.csv"
    rows = [("subject", "decision"), ("1", '"in, or; out\tor ""both"""'), ("", ""), ("2", "")]
    write_file(path, "".join(separator.join(row) + "\r\n" for row in rows))
    found = [(2, {"subject": "1", "decision": 'in, or; out\tor "both"'}), (4, {"subject": "2", "decision": ""})]
    assert list(sheet_rows(path, ("decision",))) == found
    with pytest.raises(ConsultationError, match="seen must stand there once each, separated by commas, semicolons or"):
        list(sheet_rows(path, ("seen",)))
