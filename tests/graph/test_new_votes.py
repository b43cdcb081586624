"""New votes: what they start, and that a changed constitution trains nothing before somebody signs it."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import dagster as dg
import polars as pl
import pytest
import yaml
from small_graph import TRAINED, Workplace, checked, copied, event, observe, opened, sensor, table

from assets.public_input import SINCE
from ccai_dagster import contracts
from ccai_dagster.automation import DELIBERATE
from ccai_dagster.core.digest import table_digest
from ccai_dagster.run import Outcome
from resources.history import version_of
from sample.build import build_more

pytestmark = [pytest.mark.torch, pytest.mark.timeout(1500)]


@dataclass(frozen=True)
class Changed:
    """The consultation with new votes, versions of its models before them, and what a run did with them."""

    workplace: Workplace
    before: dict[str, str]
    outcome: Outcome


def trained(workplace: Workplace) -> dict[str, str]:
    """Data versions of all trained models."""
    return {key: event(workplace, key).tags["dagster/data_version"] for key in TRAINED}


def test_votes_that_leave_the_constitution_as_it_is_start_nothing_after_it(copy: Workplace) -> None:
    build_more("unchanged", copy.folder / "votes")
    assert isinstance(sensor(copy, "new_inputs"), dg.RunRequest)
    observe(copy)
    request = sensor(copy, "changed_deliberation")
    assert isinstance(request, dg.RunRequest)
    asked = {key.to_user_string() for key in request.asset_selection}
    assert {"raw_votes", "import_report", "votes", "public/constitution"} <= asked and not asked & TRAINED
    digest = event(copy, "public/constitution").tags["dagster/data_version"]
    job = copy.defs.resolve_job_def(DELIBERATE)
    one_run = job.execute_in_process(
        instance=copy.instance, asset_selection=request.asset_selection, tags=request.tags, raise_on_error=False
    )
    assert one_run.success
    assert event(copy, "raw_votes").metadata[SINCE].value == "526 votes and 12 people more"
    assert event(copy, "public/constitution").tags["dagster/data_version"] == digest
    assert "up to date" in str(sensor(copy, "changed_deliberation").skip_message)
    done = copy.run()
    assert done.failed == [] and done.waiting == {}
    assert not set(done.materialized) & (TRAINED | {"public/revisions", "eval_scores", "base/adherence"})
    assert isinstance(sensor(copy, "signed_off_training"), dg.SkipReason)


@pytest.fixture(scope="module")
def changed(first_run: Path, warm_stages: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Changed]:
    """New votes that change a constitution nobody has signed."""
    base = copied(first_run, tmp_path_factory.mktemp("changed") / "copy")
    with opened(base, warm_stages) as workplace:
        before = trained(workplace)
        build_more("changed", workplace.folder / "votes")
        yield Changed(workplace, before, workplace.run())


@pytest.fixture
def unsigned(changed: Changed, warm_stages: str, tmp_path: Path) -> Iterator[Workplace]:
    """The same, to work on."""
    with opened(copied(changed.workplace.base, tmp_path / "copy"), warm_stages) as workplace:
        yield workplace


def test_a_changed_constitution_waits_for_a_signature(changed: Changed) -> None:
    done = changed.outcome
    assert set(done.waiting) == {"public"}
    assert {"public/constitution", "constitution_report"} <= set(done.materialized), "there is a page to sign by"
    assert not set(done.materialized) & (TRAINED | {"public/signed_constitution", "public/revisions"})
    skipped = sensor(changed.workplace, "signed_off_training")
    assert isinstance(skipped, dg.SkipReason) and done.waiting["public"][:12] in str(skipped.skip_message)
    assert trained(changed.workplace) == changed.before


def test_dagster_itself_refuses_an_unsigned_constitution(changed: Changed) -> None:
    defs = changed.workplace.defs
    result = defs.resolve_implicit_global_asset_job_def().execute_in_process(
        instance=changed.workplace.instance,
        raise_on_error=False,
        asset_selection=[dg.AssetKey(["public", "signed_constitution"]), dg.AssetKey(["public", "revisions"])],
    )
    assert not result.success
    checks = [each for each in result.get_asset_check_evaluations() if each.check_name == "signoff"]
    assert [each.passed for each in checks] == [False]
    assert "the sign-off is for another text" in str(checks[0].metadata["what"].value)
    assert result.get_step_skipped_events() or not result.asset_materializations_for_node("public__revisions")


def draw_by_consensus(workplace: Workplace, arm: str) -> None:
    path = workplace.folder / "consultation.yaml"
    content = yaml.safe_load(path.read_text())
    content["arms"][arm]["principle_weights"] = "gac"
    path.write_text(yaml.safe_dump(content))


def test_a_signature_starts_the_training_of_this_arm_only(unsigned: Workplace) -> None:
    path = unsigned.folder / "decisions" / "signoff.csv"
    digest = version_of(dg.AssetKey(["public", "constitution"]), unsigned.instance)
    rows = list(csv.DictReader(path.read_text().splitlines()))
    old = next(row for row in rows if row["subject_ids"] == "public")
    with path.open("a", newline="") as handle:
        writer = csv.DictWriter(handle, list(contracts.LEDGER.fields), lineterminator="\n")
        writer.writerow(old | {"decision_id": "SO9", "supersedes": old["decision_id"], "inputs_digest": digest})
    observe(unsigned)
    request = sensor(unsigned, "signed_off_training")
    assert isinstance(request, dg.RunRequest)
    started = {key.to_user_string() for key in request.asset_selection}
    assert {"public/signed_constitution", "public/revisions"} & started
    before = trained(unsigned)
    draw_by_consensus(unsigned, "public")  # one training for two things to see
    done = unsigned.run()
    assert done.failed == [] and done.waiting == {}
    assert {key for key in TRAINED if key.startswith("public/")} <= set(done.materialized)
    assert not {key for key in TRAINED if key.startswith("standard/")} & set(done.materialized)
    assert {"eval_scores", "audit_report", "public/adherence"} <= set(done.materialized)
    after = trained(unsigned)
    assert {key for key in TRAINED if after[key] == before[key]} == {
        key for key in TRAINED if key.startswith("standard/")
    }
    assert_other_weights_are_told(unsigned)


def assert_other_weights_are_told(workplace: Workplace) -> None:
    """An arm with other weights than the baseline is evaluated, and both pages are written."""
    assert table(workplace, "public/principle_weights")["share"].n_unique() > 1
    settings = table(workplace, "training_settings").filter("differs")
    assert settings.select("setting", "in_public", "in_standard").rows()[1:] == [
        ("principle weights", "gac", "uniform")
    ]
    for key in ("training_settings", "eval_scores"):
        passed, told = checked(workplace, key, "one_difference")
        assert passed and "public draws principles in another way (gac) than the other arms" in told
    made = event(workplace, "public/policy").tags["dagster/data_version"]
    assert "public" in table(workplace, "eval_scores")["arm"].to_list()
    cards = table(workplace, "model_cards").filter(arm="public")
    assert cards.filter(stage="policy")["model_digest"].item() == made
    same = cards.with_columns(pl.col("card").str.contains("(equal in every arm)", literal=True))
    assert dict(same.select("stage", "card").iter_rows()) == {
        stage: stage != "preference_model" for stage in contracts.ARM_STAGES
    }
    report = (workplace.root / "town" / "report" / "audit_report.html").read_text()
    assert made in report
    assert "the same but for principle weights (gac in public, uniform in standard)" in report
    assert "public draws principles in another way (gac) than the other arms" in report
    page = (workplace.root / "town" / "report" / "evaluation.html").read_text()
    assert table_digest(table(workplace, "eval_scores")) in page
