"""Digests computed again: results as a run left them match, and any byte that is changed is named."""

import json
import shutil
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ccai_dagster.audit.manifest import Manifest, manifest_text, read_manifest, write_manifest
from ccai_dagster.audit.verification import Verification, content_versions, verify
from ccai_dagster.contracts import FILE, PROMPTS
from ccai_dagster.core.digest import table_digest
from ccai_dagster.core.errors import ConsultationError


def verified(finished: Any, manifest: Manifest | None = None, report: Path | None = None) -> Verification:
    return verify(manifest or finished.manifest, True, finished.places, report)


def mismatches(found: Verification) -> dict[str, list[str]]:
    by_name: dict[str, list[str]] = {}
    for each in found.mismatches:
        by_name.setdefault(each.name, []).append(each.what)
    return by_name


def place(finished: Any, name: str) -> Path:
    first, _, rest = name.partition("/")
    return finished.places[first] / rest


def flip(path: Path, position: int) -> None:
    content = bytearray(path.read_bytes())
    content[position] ^= 1
    path.write_bytes(content)


def test_what_a_run_left_matches(finished: Any) -> None:
    found = verified(finished)
    assert found.mismatches == () and found.notes == ()
    assert found.counted == {"tables": 13, "models": 2, "report": 1, "consultation": 8}


@given(data=st.data())
@settings(max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_changed_byte_of_any_file_is_named(finished: Any, data: st.DataObject) -> None:
    name = data.draw(st.sampled_from(sorted(finished.manifest.files)))
    path = place(finished, name)
    whole = path.read_bytes()
    try:
        flip(path, data.draw(st.integers(0, len(whole) - 1)))
        assert name in mismatches(verified(finished))
    finally:
        path.write_bytes(whole)
    assert verified(finished).mismatches == ()


def test_a_changed_table_is_reported_by_its_bytes_or_else_by_its_content(finished: Any) -> None:
    name, path = "tables/gac_scores.parquet", finished.tables / "gac_scores.parquet"
    table = pl.read_parquet(path).with_columns(gac=pl.lit(0.5))
    table.write_parquet(path)
    (what,) = mismatches(verified(finished))[name]
    assert what.startswith(f"was changed: its SHA-256 is {record(path).sha256}, on record is")
    hidden = finished.manifest.model_copy(update={"files": finished.manifest.files | {name: record(path)}})
    version = finished.manifest.materializations["gac_scores"].data_version
    assert mismatches(verified(finished, hidden)) == {
        name: [f"its content has the digest {table_digest(table)}, its data version is {version}"]
    }


def test_a_table_that_was_cut_is_reported_and_never_opened(finished: Any) -> None:
    path = finished.tables / "statements.parquet"
    path.write_bytes(path.read_bytes()[:-20])
    (what,) = mismatches(verified(finished))["tables/statements.parquet"]
    assert f"{path.stat().st_size:,} bytes instead of {path.stat().st_size + 20:,}" in what


def test_what_was_no_table_from_the_beginning_is_reported(finished: Any) -> None:
    path = finished.tables / "statements.parquet"
    path.write_bytes(b"PAR1 and nothing else")
    files = finished.manifest.files | {"tables/statements.parquet": record(path)}
    (what,) = mismatches(verified(finished, finished.manifest.model_copy(update={"files": files})))[
        "tables/statements.parquet"
    ]
    assert what.startswith("cannot be read as a table")


def test_a_changed_model_is_named_with_its_file_and_its_folder(finished: Any) -> None:
    (folder,) = (finished.home / "models").iterdir()
    flip(folder / "model.safetensors", 7)
    assert set(mismatches(verified(finished))) == {f"models/{folder.name}", f"models/{folder.name}/model.safetensors"}


def test_a_changed_ledger_is_reported_row_by_row_and_who_used_it(finished: Any) -> None:
    path = finished.consultation.ledger("moderation")
    path.write_text(
        path.read_text().replace("cannot be answered", "can be answered")
        + "M9,moderation,4,out: late,too late,,moderators,2025-03-09,,,\n"
    )
    found = mismatches(verified(finished))
    assert set(found) == {"consultation/decisions/moderation.csv"}
    sentences = " ".join(found["consultation/decisions/moderation.csv"])
    assert "row M3 changed; row M9 added" in sentences and "asset statements used the version" in sentences


def test_a_reordered_ledger_says_the_same_and_its_bytes_are_named(finished: Any) -> None:
    path = finished.consultation.ledger("threshold")
    header, *rows = path.read_text().splitlines()
    path.write_text("\n".join([header, *reversed(rows)]) + "\n")
    (what,) = mismatches(verified(finished))["consultation/decisions/threshold.csv"]
    assert what.startswith("was changed: its SHA-256 is")


def test_a_ledger_that_cannot_be_read_is_reported(finished: Any) -> None:
    path = finished.consultation.ledger("idea")
    path.write_text("nothing\n")
    assert any("cannot be read" in what for what in mismatches(verified(finished))["consultation/decisions/idea.csv"])


def test_what_is_gone_and_what_is_new(finished: Any) -> None:
    shutil.move(finished.tables / "gac_scores.parquet", finished.tables / "other.parquet")
    found = verified(finished)
    assert mismatches(found) == {"tables/gac_scores.parquet": ["is not there any more"]}
    assert found.notes == ("Not on record and not compared: table tables/other.parquet.",)


def test_an_asset_made_from_an_older_version_is_reported(finished: Any) -> None:
    made = dict(finished.manifest.materializations)
    made["gac_scores"] = made["gac_scores"].model_copy(update={"inputs": {"statements": "0" * 64}})
    older = finished.manifest.model_copy(update={"materializations": made})
    assert mismatches(verified(finished, older)) == {
        "tables/gac_scores.parquet": ["was made from another version of asset statements"]
    }


def test_a_report_that_lists_other_versions_is_reported(finished: Any) -> None:
    made = dict(finished.manifest.materializations)
    made["import_report"] = made["statements"].model_copy(update={"data_version": "e" * 64})
    newer = finished.manifest.model_copy(update={"materializations": made})
    found = mismatches(verified(finished, newer))
    assert found["report/audit_report.html"] == ["does not list the version on record of asset import_report"]
    assert found["tables/import_report.parquet"] == ["is not there, though it was made"]


def test_a_copy_of_the_report_is_compared(finished: Any, tmp_path: Path) -> None:
    copy = tmp_path / "copy.html"
    shutil.copy(finished.home / "report" / "audit_report.html", copy)
    assert verified(finished, report=copy).mismatches == ()
    flip(copy, 3)
    assert set(mismatches(verified(finished, report=copy))) == {str(copy)}


def test_provenance_must_tell_of_every_version(finished: Any) -> None:
    path = finished.home / "report" / "provenance.json"
    described = [
        {"ccai:asset": key, "ccai:version": made.data_version}
        for key, made in finished.manifest.materializations.items()
    ]
    path.write_text(json.dumps({"entity": dict(enumerate(described))}))
    files = finished.manifest.files | {"report/provenance.json": record(path)}
    manifest = finished.manifest.model_copy(update={"files": files})
    assert verified(finished, manifest).mismatches == ()
    path.write_text(json.dumps({"entity": dict(enumerate(described[1:]))}))
    manifest = manifest.model_copy(update={"files": manifest.files | {"report/provenance.json": record(path)}})
    assert mismatches(verified(finished, manifest)) == {
        "report/provenance.json": [f"does not tell of the version on record of asset {described[0]['ccai:asset']}"]
    }


def record(path: Path) -> Any:
    from ccai_dagster.audit.manifest import describe_file

    return describe_file(path)


def test_versions_that_are_not_the_digest_of_the_whole_table() -> None:
    row = {"prompt_id": "x", "text": "t", "purpose": "policy", "themes": [], "relevant_principles": ["public/P1"]}
    prompts = PROMPTS.build([row])
    other = PROMPTS.build([{**row, "relevant_principles": []}])
    assert content_versions("prompts", prompts) == content_versions("prompts", other)
    assert content_versions("prompts", prompts) != (table_digest(prompts),)
    file = FILE.build([{"path": "report/x", "file_digest": "d" * 64, "n_bytes": 3}])
    assert content_versions("audit_report", file) == ("d" * 64,)


def test_the_manifest_comes_back_as_it_was_written(finished: Any) -> None:
    path = finished.home / "manifest.json"
    assert read_manifest(path) == (finished.manifest, True)
    assert not list(finished.home.glob(".manifest*"))
    write_manifest(path, finished.manifest)
    assert path.read_text() == manifest_text(finished.manifest)


@given(data=st.data())
@settings(max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_changed_manifest_does_not_pass(finished: Any, data: st.DataObject) -> None:
    path = finished.home / "manifest.json"
    text = manifest_text(finished.manifest)
    path.write_text(text)
    flip(path, data.draw(st.integers(0, len(text) - 1)))
    try:
        manifest, untouched = read_manifest(path)
    except ConsultationError as error:
        assert str(path) in str(error) and "ccai run" in str(error)
        return
    assert not untouched
    try:
        found = verify(manifest, untouched, finished.places)
    except ConsultationError as error:
        assert "lies in no folder" in str(error)
    else:
        assert "manifest.json" in mismatches(found)


@pytest.mark.parametrize("name", ["/etc/passwd", "tables/../../secret", "alone", "tables"])
def test_a_manifest_cannot_point_outside(finished: Any, name: str) -> None:
    path = finished.home / "manifest.json"
    content = json.loads(path.read_text())
    content["manifest"]["files"][name] = {"sha256": "0" * 64, "n_bytes": 1}
    path.write_text(json.dumps(content))
    with pytest.raises(ConsultationError, match="does not lie in one of the folders"):
        read_manifest(path)


def test_a_missing_manifest_says_what_makes_one(tmp_path: Path) -> None:
    with pytest.raises(ConsultationError, match=r"not found\. `ccai run` writes it"):
        read_manifest(tmp_path / "manifest.json")
