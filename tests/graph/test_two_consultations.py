"""Two consultations in one home."""

from __future__ import annotations

import csv
import shutil
from collections.abc import Mapping
from pathlib import Path

import pytest
from small_graph import EVERYTHING, TRAINED, Workplace, copied, opened, table

from ccai_dagster import automation
from ccai_dagster.consultation.folder import Consultation
from ccai_dagster.decisions.ledger import Decision, append_decision

pytestmark = [pytest.mark.torch, pytest.mark.timeout(1500)]

UP_TO_CONSTITUTIONS = "+key:*/constitution"
TO_THE_POLICIES = "key:*/signed_constitution or group:feedback or group:training"


def signed(consultation: Consultation) -> set[str]:
    """The digests of the constitutions that somebody signed off."""
    with consultation.ledger("signoff").open(newline="") as file:
        return {row["inputs_digest"] for row in csv.DictReader(file)}


def sign(consultation: Consultation, waiting: Mapping[str, str]) -> None:
    path = consultation.ledger("signoff")
    for arm, digest in waiting.items():
        row = Decision(arm, "signoff", (arm,), "signed off", "Read aloud.", "clerk", "2026-01-02", inputs_digest=digest)
        append_decision(path, row)


def test_each_of_two_consultations_has_a_record_of_its_own(first_run: Path, warm_stages: str, tmp_path: Path) -> None:
    """The first was trained, then comes the other and is trained, then the first again."""
    base = copied(first_run, tmp_path / "both")
    village = Path(shutil.copytree(base / "town", base / "village")) / "decisions"
    wording, signoff = village / "wording.csv", village / "signoff.csv"
    wording.write_text(wording.read_text().replace("Choose the response", "Prefer the response"))
    signoff.write_text(signoff.read_text().splitlines()[0] + "\n")

    with opened(base, warm_stages, name="village") as other:
        done = other.run(UP_TO_CONSTITUTIONS)
        assert done.failed == [] and "public/constitution" in done.materialized
        waiting = automation.unsigned(other.consultation, other.instance)
        assert set(waiting) == {"public", "standard"}
        sign(other.consultation, waiting)
        done = other.run(TO_THE_POLICIES)
        assert done.failed == [] and set(done.materialized) >= TRAINED
        trained = {key: models_of(other, key) for key in TRAINED}
        runs = {run.run_id for run in other.instance.get_runs()}

    with opened(base, warm_stages) as first:
        again = first.run()
        assert (again.failed, again.materialized, again.waiting) == ([], [], {})
        assert set(again.fresh) == EVERYTHING
        digests = signed(first.consultation)
        assert waiting["public"] not in digests and waiting["standard"] in digests
        assert not runs & {run.run_id for run in first.instance.get_runs()}
        # One baseline, the same settings: equal bytes. The other constitution made other models.
        alike = {key for key in TRAINED if models_of(first, key) == trained[key]}
        assert alike == {key for key in TRAINED if key.startswith("standard/")}

    with opened(base, warm_stages, name="village") as other:
        assert automation.unsigned(other.consultation, other.instance) == {}
        assert {run.run_id for run in other.instance.get_runs()} == runs
        assert {key: models_of(other, key) for key in TRAINED} == trained


def models_of(workplace: Workplace, key: str) -> str:
    return str(table(workplace, key)["model_digest"].item())
