"""Two consultations in one home."""

from __future__ import annotations

import csv
import shutil
from pathlib import Path

import pytest
from small_graph import EVERYTHING, copied, opened

from ccai_dagster import automation
from ccai_dagster.consultation.folder import Consultation

pytestmark = [pytest.mark.torch, pytest.mark.timeout(1500)]

UP_TO_CONSTITUTIONS = "+key:*/constitution"


def signed(consultation: Consultation) -> set[str]:
    """The digests of the constitutions that somebody signed off."""
    with consultation.ledger("signoff").open(newline="") as file:
        return {row["inputs_digest"] for row in csv.DictReader(file)}


def test_each_of_two_consultations_has_a_record_of_its_own(first_run: Path, warm_stages: str, tmp_path: Path) -> None:
    """The first was run, then comes the other, then the first again."""
    base = copied(first_run, tmp_path / "both")
    village = Path(shutil.copytree(base / "town", base / "village")) / "decisions"
    wording, signoff = village / "wording.csv", village / "signoff.csv"
    wording.write_text(wording.read_text().replace("that is most careful when a child", "that is careful when a child"))
    signoff.write_text(signoff.read_text().splitlines()[0] + "\n")

    with opened(base, warm_stages, name="village") as other:
        done = other.run(UP_TO_CONSTITUTIONS)
        assert done.failed == [] and "public/constitution" in done.materialized
        waiting = automation.unsigned(other.consultation, other.instance)
        assert set(waiting) == {"public", "standard"}
        runs = {run.run_id for run in other.instance.get_runs()}

    with opened(base, warm_stages) as first:
        again = first.run()
        assert (again.failed, again.materialized, again.waiting) == ([], [], {})
        assert set(again.fresh) == EVERYTHING
        digests = signed(first.consultation)
        assert waiting["public"] not in digests and waiting["standard"] in digests
        assert not runs & {run.run_id for run in first.instance.get_runs()}

    with opened(base, warm_stages, name="village") as other:
        assert automation.unsigned(other.consultation, other.instance) == waiting
        assert {run.run_id for run in other.instance.get_runs()} == runs
