"""Where an export may lie: folders, zips, one folder deeper, downloads with longer names, tables."""

from __future__ import annotations

import shutil
import zipfile
from pathlib import Path

import pytest

from ccai_dagster.consultation.folder import SAMPLE
from ccai_dagster.core.errors import ConsultationError
from ccai_dagster.deliberation.importing.copies import copy_without_codes
from ccai_dagster.deliberation.importing.read_votes import find_vote_files, read_votes, role_of

EXPORT = {
    "comments.csv": "comment-id,author-id,moderated,comment-body\n0,1,1,Be kind\n",
    "votes.csv": "timestamp,comment-id,voter-id,vote\n1700000000,0,1,1\n",
    "participant-votes.csv": 'participant,xid,group-id,n-votes,0\n1,"secret, code",0,1,1\n',
}


def folder(place: Path, before: str = "") -> Path:
    place.mkdir(parents=True)
    for name, content in EXPORT.items():
        (place / (before + name)).write_text(content)
    return place


def zipped(place: Path, inside: str = "", **more: str) -> Path:
    with zipfile.ZipFile(place, "w", zipfile.ZIP_DEFLATED) as target:
        for name, content in {**EXPORT, **more}.items():
            target.writestr(inside + name, content)
    return place


def test_an_export_is_the_same_wherever_it_lies(tmp_path: Path) -> None:
    plain = folder(tmp_path / "plain")
    (plain / "0b1c-xid.csv").write_text("participant,xid\n1,secret\n")
    (plain / "clean_comments.csv").write_text("not an export")
    places = [
        plain,
        folder(tmp_path / "outer" / "2demo").parent,
        folder(tmp_path / "downloads", "20250114-0930-2demo-"),
        zipped(tmp_path / "flat.zip"),
        zipped(tmp_path / "nested.zip", "2demo/"),
        zipped(tmp_path / "mac.zip", **{"__MACOSX/._votes.csv": "\0", "2demo-xid.csv": "secret"}),
    ]
    assert len({find_vote_files(place).digest() for place in places}) == 1
    first = read_votes(plain)
    assert first.raw_votes.select("participant_id", "statement_id", "vote").rows() == [(1, 0, 1)]
    for place in places[1:]:
        assert read_votes(place).raw_votes.equals(first.raw_votes)
        assert "secret" not in read_votes(place).import_report.write_csv()
    assert find_vote_files(plain).others == ("0b1c-xid.csv", "clean_comments.csv")


@pytest.mark.parametrize(
    ("name", "role"),
    [
        ("Votes.CSV", "votes"),
        ("x-votes.csv", "votes"),
        ("x-participants-votes.csv", "matrix"),
        ("x-participant-votes.csv", "matrix"),
        ("clean_votes.csv", None),
        ("0b1c-xid.csv", None),
        ("stats-history.csv", None),
        ("statements.parquet", "statements"),
    ],
)
def test_files_are_known_by_the_end_of_their_names(name: str, role: str | None) -> None:
    assert role_of(name) == role


@pytest.mark.parametrize("name", ["../comments.csv", "/etc/comments.csv", "a/../../votes.csv", "C:\\votes.csv", "."])
def test_a_zip_that_leads_outside_or_nowhere_is_refused(tmp_path: Path, name: str) -> None:
    place = zipped(tmp_path / "evil.zip", **{name: "x"})
    with pytest.raises(ConsultationError, match="impossible name"):
        read_votes(place)
    assert [path.name for path in tmp_path.iterdir()] == ["evil.zip"]


def test_a_zip_that_grows_too_much_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    place = zipped(tmp_path / "bomb.zip", **{"stats-history.csv": "0" * 5_000_000})
    assert place.stat().st_size < 10_000
    read_votes(place)
    monkeypatch.setattr("ccai_dagster.deliberation.importing.read_votes.MOST_BYTES", 1_000_000)
    with pytest.raises(ConsultationError, match="bytes unpacked"):
        read_votes(place)
    monkeypatch.setattr("ccai_dagster.deliberation.importing.read_votes.MOST_BYTES", 2**31)
    monkeypatch.setattr("ccai_dagster.deliberation.importing.read_votes.MOST_MEMBERS", 3)
    with pytest.raises(ConsultationError, match="4 files"):
        read_votes(place)


def test_a_damaged_zip_is_refused(tmp_path: Path) -> None:
    place = zipped(tmp_path / "export.zip")
    content = bytearray(place.read_bytes())
    begin = content.index(b"votes.csv") + len("votes.csv")
    content[begin + 4 : begin + 12] = b"\0" * 8
    place.write_bytes(content)
    with pytest.raises(ConsultationError, match=r"cannot be read from the zip.*Download it again"):
        read_votes(place)


def test_a_zip_that_lies_about_its_sizes_is_not_unpacked_further(tmp_path: Path) -> None:
    place = tmp_path / "liar.zip"
    with zipfile.ZipFile(place, "w", zipfile.ZIP_DEFLATED) as target:
        for name, content in EXPORT.items():
            target.writestr(name, content)
        info = target.getinfo("votes.csv")
        info.file_size = 10
    with pytest.raises(ConsultationError, match=r"votes\.csv: cannot be read from the zip"):
        read_votes(place)


def test_what_is_no_export_is_refused(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(ConsultationError, match=r"neither comments\.csv nor votes\.csv"):
        read_votes(tmp_path / "empty")
    with pytest.raises(ConsultationError, match="not found"):
        read_votes(tmp_path / "nowhere")
    (tmp_path / "note.txt").write_text("x")
    with pytest.raises(ConsultationError, match="neither a folder, a zip, a CSV nor a Parquet"):
        read_votes(tmp_path / "note.txt")
    with zipfile.ZipFile(tmp_path / "book.xlsx", "w") as target:
        target.writestr("[Content_Types].xml", "<x/>")
    with pytest.raises(ConsultationError, match="Excel workbook"):
        read_votes(tmp_path / "book.xlsx")
    folder(tmp_path / "two" / "a"), folder(tmp_path / "two" / "b")
    with pytest.raises(ConsultationError, match="several exports, in a, b"):
        read_votes(tmp_path / "two")
    twice = folder(tmp_path / "twice")
    shutil.copyfile(twice / "participant-votes.csv", twice / "participants-votes.csv")
    with pytest.raises(ConsultationError, match="are for the same thing"):
        read_votes(twice)


def test_a_copy_has_no_codes_and_plain_names(tmp_path: Path) -> None:
    place = folder(tmp_path / "downloads", "20250114-0930-2demo-")
    copy_without_codes(find_vote_files(place), tmp_path / "copy")
    assert {path.name for path in (tmp_path / "copy").iterdir()} == set(EXPORT)
    assert (tmp_path / "copy" / "votes.csv").read_text() == EXPORT["votes.csv"]
    assert (tmp_path / "copy" / "participant-votes.csv").read_text() == "participant,group-id,n-votes,0\n1,0,1,1\n"
    before, after = read_votes(place), read_votes(tmp_path / "copy")
    assert after.raw_participants.equals(before.raw_participants)
    sample = find_vote_files(SAMPLE / "votes")
    copy_without_codes(sample, tmp_path / "sample")
    assert find_vote_files(tmp_path / "sample").digest() == sample.digest()
