"""What was written before forms were numbered is read as it is, and what a later program wrote is refused.

`older/` holds a table, a manifest, ledgers and settings (`town`) as they were written before there was a schema
version, and ledgers and settings in form 1 (`village`).
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from ccai_dagster.audit.manifest import last_manifest, manifest_text, read_manifest
from ccai_dagster.consultation.folder import read_consultation
from ccai_dagster.core.digest import value_digest
from ccai_dagster.core.errors import ConsultationError
from ccai_dagster.core.schema_version import SCHEMA_VERSION, NewerSchema, check_schema_version
from ccai_dagster.decisions.ledger import ledger_digest, read_ledger
from ccai_dagster.decisions.origins import origins_told
from ccai_dagster.decisions.outcomes import moderation_verdicts

OLDER = Path(__file__).parent / "older"


def test_an_older_manifest_is_read_and_counts_as_untouched() -> None:
    manifest, untouched = read_manifest(OLDER / "manifest.json")
    assert untouched and manifest.schema_version == 0
    assert manifest.rows["wording"].keys() == {"wording-1"} and manifest.amended_rows == {}
    assert last_manifest(OLDER / "manifest.json") == manifest


def test_older_ledgers_and_settings_are_read_with_the_versions_they_had() -> None:
    consultation = read_consultation(OLDER / "town")
    manifest, _ = read_manifest(OLDER / "manifest.json")
    assert consultation.file.schema_version == 0 and consultation.file.title == "How our library should answer"
    ledger = read_ledger(consultation.ledger("wording"), "wording")
    assert ledger_digest(ledger) == manifest.sources["wording_ledger"].data_version


def test_a_folder_of_form_1_is_read_with_its_moderation_as_taken_over_then() -> None:
    consultation = read_consultation(OLDER / "village")
    assert consultation.file.schema_version == 1
    ledger = read_ledger(consultation.ledger("moderation"), "moderation")
    assert [(key, each.included) for key, each in moderation_verdicts(ledger).items()] == [(0, True), (1, False)]
    assert origins_told([ledger]) == "2 taken over from the export"


def test_a_newer_manifest_is_refused_and_never_taken_for_none(tmp_path: Path) -> None:
    content = json.loads((OLDER / "manifest.json").read_text())["manifest"]
    content |= {"schema_version": SCHEMA_VERSION + 1, "something": "new"}
    path = tmp_path / "manifest.json"
    path.write_text(json.dumps({"digest": value_digest(content), "manifest": content}))
    for read in (read_manifest, last_manifest):
        with pytest.raises(
            NewerSchema, match=f"written in form {SCHEMA_VERSION + 1} by a later version of ccai_dagster"
        ):
            read(path)


def test_newer_ledgers_and_settings_are_refused_before_anything_else_is_said_of_them(tmp_path: Path) -> None:
    shutil.copytree(OLDER / "town", tmp_path / "town")
    path = tmp_path / "town" / "consultation.yaml"
    path.write_text(f"schema_version: {SCHEMA_VERSION + 1}\nunknown: 1\n{path.read_text()}")
    with pytest.raises(
        NewerSchema, match=rf"consultation\.yaml: written in form {SCHEMA_VERSION + 1} .* Install the later version"
    ):
        read_consultation(tmp_path / "town")


def test_a_form_that_is_no_number_is_refused() -> None:
    check_schema_version("x", None)
    with pytest.raises(ConsultationError, match="`schema_version` is 'one'; it must be a whole number"):
        check_schema_version("x", "one")


def test_a_manifest_of_this_form_says_so() -> None:
    manifest, _ = read_manifest(OLDER / "manifest.json")
    now = manifest.model_copy(update={"schema_version": SCHEMA_VERSION})
    assert f'"schema_version": {SCHEMA_VERSION}' in manifest_text(now)
