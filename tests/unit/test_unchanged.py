"""What was read is kept while its files do not change, and no change is missed."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from small_export import write_export

from ccai_dagster.audit.manifest import Manifest, last_manifest, write_manifest
from ccai_dagster.core import unchanged
from ccai_dagster.core.unchanged import while_unchanged
from ccai_dagster.deliberation.importing import read_votes
from ccai_dagster.deliberation.importing.read_votes import export_digest

READS: list[str] = []


@pytest.fixture(autouse=True)
def reads(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(unchanged, "SECONDS_TO_SETTLE", -60.0)
    READS.clear()
    yield
    unchanged._kept.clear()


def read(path: Path) -> str:
    READS.append(path.read_text())
    return READS[-1]


def looked(path: Path) -> str:
    return while_unchanged(read, path, [path])


def test_a_file_is_read_again_only_when_it_changes(tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.write_text("one")
    assert [looked(path), looked(path)] == ["one", "one"] and READS == ["one"]
    path.write_text("two, longer")
    assert [looked(path), looked(path)] == ["two, longer"] * 2 and READS == ["one", "two, longer"]


def test_another_content_of_the_same_size_and_time_is_read(tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.write_text("one")
    before = path.stat()
    looked(path)
    (tmp_path / "b").write_text("two")
    (tmp_path / "b").replace(path)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert looked(path) == "two"


def test_what_has_just_been_written_is_read_each_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(unchanged, "SECONDS_TO_SETTLE", 60.0)
    path = tmp_path / "a"
    path.write_text("one")
    assert [looked(path), looked(path)] == ["one", "one"] and READS == ["one", "one"]


def test_a_file_that_is_gone_is_missed(tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.write_text("one")
    looked(path)
    path.unlink()
    with pytest.raises(FileNotFoundError):
        looked(path)


@pytest.mark.parametrize("inner", ["", "inside"])
def test_an_export_is_looked_into_once_and_every_change_of_it_is_seen(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, inner: str
) -> None:
    found: list[Path] = []
    find = read_votes.find_vote_files
    monkeypatch.setattr(read_votes, "find_vote_files", lambda place: found.append(place) or find(place))
    place = tmp_path / "votes"
    write_export(place / inner, 20)
    first = export_digest(place)
    assert export_digest(place) == first and len(found) == 1
    write_export(place / inner, 21)
    second = export_digest(place)
    assert second != first == export_digest_of(place / inner, 20) and len(found) == 3
    (place / inner / "summary.csv").unlink()
    assert export_digest(place) not in (first, second)


def export_digest_of(place: Path, people: int) -> str:
    write_export(place, people)
    return export_digest(place)


def test_a_table_of_statements_that_comes_beside_the_votes_is_seen(tmp_path: Path) -> None:
    votes = tmp_path / "votes.csv"
    votes.write_text("participant_id,statement_id,vote\n1,1,1\n")
    first = export_digest(votes)
    (tmp_path / "statements.csv").write_text("statement_id,text\n1,Be kind.\n")
    second = export_digest(votes)
    (tmp_path / "statements.csv").write_text("statement_id,text\n1,Be nice.\n")
    assert len({first, second, export_digest(votes)}) == 3


def test_a_manifest_is_parsed_once_until_the_next_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "manifest.json"
    manifest = Manifest(consultation="town", folder="", materializations={}, files={})
    write_manifest(path, manifest)
    assert last_manifest(path) is last_manifest(path)
    write_manifest(path, manifest.model_copy(update={"folder": "elsewhere"}))
    assert last_manifest(path) == manifest.model_copy(update={"folder": "elsewhere"})
    shutil.copy(path, tmp_path / "copy.json")
    path.write_text(path.read_text().replace("elsewhere", "somewhere"))
    assert last_manifest(path) is None and last_manifest(tmp_path / "copy.json") is not None
