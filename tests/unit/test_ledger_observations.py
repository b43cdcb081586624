"""Ledgers in Dagster: what an observation records, which one a table was made from, and the record of it all."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import dagster as dg
import polars as pl
import prov.model
import pytest

from assets import decisions, deliberation, public_input, public_opinion
from ccai_dagster.audit.manifest import Manifest, read_manifest
from ccai_dagster.audit.provenance import provenance_of
from ccai_dagster.audit.verification import verify
from ccai_dagster.consultation.folder import LEDGERS, SAMPLE, Consultation, read_consultation
from ccai_dagster.core.home import Home
from ccai_dagster.decisions.ledger import ledger_digest
from resources import history
from resources.tables import Tables
from resources.vote_source import VoteSource

IMPORTED = ["raw_statements", "raw_participants", "raw_votes", "raw_group_votes", "import_report"]
MADE = [*IMPORTED, "statements", "participants"]


class Small:
    """Import and cleaning of the sample, observed and materialized for real."""

    def __init__(self, base: Path, instance: dg.DagsterInstance) -> None:
        shutil.copytree(SAMPLE, base / "town")
        self.consultation: Consultation = read_consultation(base / "town")
        self.home, self.instance = Home(base / "home", "town"), instance
        self.sources = [*decisions.build(self.consultation, self.home), public_input.build(self.consultation)[0]]
        self.tables = [
            *public_input.build(self.consultation)[1:],
            *deliberation.build(self.consultation),
            *public_opinion.build(self.consultation),
        ]
        self.resources = {
            "tables": Tables(url=self.home.tables_url),
            "vote_source": VoteSource(downloads=str(self.home.downloads)),
        }

    def observe(self) -> None:
        assert self.look().success

    def refused(self, key: str) -> str:
        """The sentence with which a source is not observed."""
        (failure,) = self.look().get_step_failure_events()
        assert failure.step_key == key
        return str(failure.step_failure_data.user_failure_data.description)

    def look(self) -> dg.ExecuteInProcessResult:
        look = dg.define_asset_job("look", dg.AssetSelection.assets(*(each.key for each in self.sources)))
        job = dg.Definitions(assets=self.sources, jobs=[look], resources=self.resources).resolve_job_def("look")
        return job.execute_in_process(instance=self.instance, raise_on_error=False)

    def materialize(self, *names: str) -> dg.ExecuteInProcessResult:
        return dg.materialize(
            [*self.sources, *self.tables],
            selection=[*names] or MADE,
            instance=self.instance,
            resources=self.resources,
            raise_on_error=False,
        )

    def event(self, key: str) -> Any:
        return self.instance.get_latest_materialization_event(dg.AssetKey(key)).asset_materialization

    def record(self) -> Manifest:
        keys = [dg.AssetKey(key) for key in MADE] + [each.key for each in self.sources]
        return history.record(self.consultation, self.home, self.instance, keys)


@contextmanager
def materialized(folder: Path) -> Iterator[Small]:
    with dg.DagsterInstance.ephemeral() as instance:
        made = Small(folder, instance)
        made.observe()
        assert made.materialize().success
        yield made


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Small]:
    """What was made once, for tests that leave it as it is."""
    with materialized(tmp_path_factory.mktemp("sources")) as made:
        yield made


@pytest.fixture
def own(tmp_path: Path) -> Iterator[Small]:
    """The same, to change."""
    with materialized(tmp_path) as made:
        yield made


def test_an_observation_tells_counts_and_the_last_change(small: Any) -> None:
    (record,) = small.instance.fetch_observations(dg.AssetKey("threshold_ledger"), limit=1).records
    metadata = {name: entry.value for name, entry in record.asset_observation.metadata.items()}
    ledger = decisions.read(small.consultation, "threshold")
    replaced = ledger["supersedes"].drop_nulls().len()
    assert metadata["rows"] == ledger.height
    assert (metadata["superseded"], metadata["rows that count"]) == (replaced, ledger.height - replaced)
    assert metadata["policies"] == sum(outcome.startswith("policy:") for outcome in ledger["outcome"])
    last = ledger.sort("decided_at", maintain_order=True).row(-1, named=True)
    assert metadata["last decided"] == f"{last['decided_at']} by {last['decided_by']} ({last['decision_id']})"
    assert metadata["file changed"].startswith("20") and metadata["file"].endswith("threshold.csv")
    assert last["decision_id"] in metadata["latest rows"]


def test_a_table_names_the_observation_of_every_ledger_it_used(small: Any) -> None:
    (record,) = small.instance.fetch_observations(dg.AssetKey("moderation_ledger"), limit=1).records
    event = small.event("statements")
    version = ledger_digest(decisions.read(small.consultation, "moderation"))
    used = event.metadata["moderation_ledger used"].value
    assert used.startswith(f"version {version[:12]}, observation {record.storage_id} of 20")
    assert event.tags["dagster/input_event_pointer/moderation_ledger"] == str(record.storage_id)
    assert event.tags["dagster/input_data_version/moderation_ledger"] == version
    assert {"exclusion_ledger used", "threshold_ledger used"} <= set(small.event("participants").metadata)


def test_the_manifest_tells_what_dagster_recorded_and_matches(small: Any) -> None:
    manifest = small.record()
    assert read_manifest(small.home.manifest) == (manifest, True)
    assert set(manifest.materializations) == set(MADE)
    assert set(manifest.sources) == {*(f"{kind}_ledger" for kind in LEDGERS), "polis_export"}
    made = manifest.materializations["statements"]
    assert made.inputs["moderation_ledger"] == manifest.sources["moderation_ledger"].data_version
    assert made.observations["moderation_ledger"] == manifest.sources["moderation_ledger"].number
    assert set(manifest.runs) >= {made.dagster_run} and manifest.runs[made.dagster_run].status == "SUCCESS"
    assert {"consultation/consultation.yaml", "consultation/votes/comments.csv"} <= set(manifest.files)
    assert verified(small, manifest) == {}


def test_what_was_changed_behind_the_run_does_not_become_the_record(small: Any) -> None:
    before = small.record()
    path = small.home.folder / "tables" / "statements.parquet"
    whole = path.read_bytes()
    path.write_bytes(whole[:-1] + b"?")
    try:
        again = small.record()
        assert again == before
        assert set(verified(small, again)) == {"tables/statements.parquet"}
        small.home.manifest.write_text("changed as well")
        assert small.record().files["tables/statements.parquet"] != before.files["tables/statements.parquet"]
    finally:
        path.write_bytes(whole)
        small.home.manifest.unlink()
    assert small.record() == before


def places(small: Any) -> dict[str, Path]:
    return {
        "tables": small.home.folder / "tables",
        "models": small.home.folder / "models",
        "report": small.home.report,
        "consultation": small.consultation.folder,
        "sample": SAMPLE,
    }


def verified(small: Any, manifest: Manifest) -> dict[str, str]:
    return {each.name: each.what for each in verify(manifest, True, places(small)).mismatches}


def test_provenance_is_valid_and_points_to_what_was_observed(small: Any) -> None:
    import json

    manifest = small.record()
    ledgers = {kind: decisions.read(small.consultation, kind) for kind in LEDGERS}
    provenance = provenance_of(manifest, ledgers, {"ccai_dagster": "1", "dagster": "2", "mlflow": "3"})
    document = prov.model.ProvDocument.deserialize(content=json.dumps(provenance), format="json")
    again = prov.model.ProvDocument.deserialize(content=document.serialize(format="json"), format="json")
    assert again == document
    rows = sum(ledger.height for ledger in ledgers.values())
    kinds = (prov.model.ProvEntity, prov.model.ProvActivity, prov.model.ProvAgent)
    roles = {role for ledger in ledgers.values() for role in ledger["decided_by"]}
    assert [len(list(document.get_records(kind))) for kind in kinds] == [
        len(MADE) + len(LEDGERS) + 1 + rows,
        len(MADE) + len(manifest.runs) + rows,
        len(roles) + 3,
    ]
    assert len(list(document.get_records(prov.model.ProvMembership))) == rows
    seen = manifest.sources["moderation_ledger"]
    used = [
        relation
        for relation in provenance["used"].values()
        if relation["prov:entity"] == f"ccai:entity/moderation_ledger@{seen.data_version}"
    ]
    assert used == [
        {
            "prov:activity": f"ccai:activity/materialization/{manifest.materializations['statements'].dagster_run}"
            "/statements",
            "prov:entity": f"ccai:entity/moderation_ledger@{seen.data_version}",
            "ccai:observation": {"$": str(seen.number), "type": "xsd:int"},
        }
    ]
    replaced = sum(len(each.split()) for ledger in ledgers.values() for each in ledger["supersedes"].drop_nulls())
    revisions = [each for each in provenance["wasDerivedFrom"].values() if "prov:type" in each]
    assert len(revisions) == replaced > 0


def test_a_ledger_changed_after_it_was_observed_is_not_used(own: Any) -> None:
    before, path = own.event("statements"), own.consultation.ledger("moderation")
    whole = path.read_text()
    path.write_text(whole.replace("The authors agreed", "The authors did not mind", 1))
    assert path.read_text() != whole
    failed = own.materialize()
    assert not failed.success
    (failure,) = [each for each in failed.get_step_failure_events() if each.step_key == "statements"]
    said = failure.step_failure_data.user_failure_data.description
    assert str(path) in said and "changed after it was last observed" in said
    assert own.event("statements") == before
    wrong = verified(own, own.record().model_copy(update={"rows": read_manifest(own.home.manifest)[0].rows}))
    assert "asset statements used the version" in wrong["consultation/decisions/moderation.csv"]
    own.observe()
    assert own.materialize().success
    manifest = own.record()
    assert verified(own, manifest) == {}
    assert manifest.earlier["statements"][0].data_version == before.tags["dagster/data_version"]


def test_a_ledger_that_was_never_observed_is_marked_as_such(tmp_path: Path) -> None:
    with dg.DagsterInstance.ephemeral() as instance:
        made = Small(tmp_path, instance)
        assert made.materialize(*IMPORTED, "statements").success
        assert made.event("statements").metadata["moderation_ledger used"].value == "not observed before this run"
        assert made.record().sources == {}


def test_counts_leave_replaced_rows_aside(tmp_path: Path) -> None:
    path = tmp_path / "threshold.csv"
    path.write_text("x")
    row = {
        "decision_id": "T1",
        "kind": "threshold",
        "subject_ids": ["a"],
        "outcome": "1",
        "reason": "r",
        "policy_ref": None,
        "decided_by": "us",
        "decided_at": "2025-01-01",
        "supersedes": None,
        "inputs_digest": None,
        "suggested_by": "a program",
    }
    later = row | {"decision_id": "T2", "outcome": "2", "supersedes": "T1", "decided_at": "2025-01-02"}
    policy = row | {"decision_id": "T3", "outcome": "policy: x", "subject_ids": ["b", "c"], "suggested_by": None}
    from ccai_dagster.contracts import LEDGER

    metadata = decisions.ledger_metadata(LEDGER.build([row, later, policy]), path)
    counts = [metadata[name] for name in ("rows", "rows that count", "superseded", "policies", "subjects decided")]
    assert counts == [3, 2, 1, 1, 3]
    assert metadata["suggested by a program"] == 1 and metadata["last decided"] == "2025-01-02 by us (T2)"
    empty = decisions.ledger_metadata(pl.DataFrame(LEDGER.empty()), path)
    assert empty["last decided"] == "never" and empty["rows"] == 0


def test_a_ledger_that_lost_a_row_is_not_observed_until_a_row_says_why(own: Any) -> None:
    before, path = own.record(), own.consultation.ledger("threshold")
    whole = path.read_text()
    *kept, lost = whole.splitlines(keepends=True)
    decision_id = lost.partition(",")[0]
    path.write_text("".join(kept))
    said = own.refused("threshold_ledger")
    assert said.startswith(f"{path}: row {decision_id} was removed since results were made of them")
    assert own.record().rows == before.rows and own.record().amended_rows == {}
    path.write_text("".join(kept) + f"T99,threshold,{decision_id},amended,cut by a spreadsheet,,clerk,2026-01-05,,,\n")
    own.observe()
    manifest = own.record()
    assert manifest.amended_rows == {"threshold": {decision_id: [before.rows["threshold"][decision_id]]}}
    assert own.record() == manifest
    notes = verify(manifest, True, places(own)).notes
    assert notes == (
        f"threshold ledger: row {decision_id} is not as it was first on record (T99, clerk: cut by a spreadsheet).",
    )
