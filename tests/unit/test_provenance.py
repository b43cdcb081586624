"""The provenance document: complete, valid in structure, and refusing what it cannot point to."""

import json
import re
from collections import Counter
from collections.abc import Mapping
from typing import Any

import polars as pl
import prov.model
import pytest

from ccai_dagster.audit.manifest import FileRecord, Manifest, Materialization, Observation, Run
from ccai_dagster.audit.provenance import provenance_of
from ccai_dagster.contracts import LEDGER
from ccai_dagster.core.digest import value_digest
from ccai_dagster.decisions.ledger import ledger_digest


def moderated(decision_id: str, decided_at: str, supersedes: str | None) -> dict[str, Any]:
    return {
        "decision_id": decision_id,
        "kind": "moderation",
        "subject_ids": ["1", "2"],
        "outcome": "out",
        "reason": "off topic <script>",
        "policy_ref": None,
        "decided_by": "moderation team",
        "decided_at": decided_at,
        "supersedes": supersedes,
        "inputs_digest": None,
        "suggested_by": None,
    }


ROWS = [moderated("M:16", "2025-03-04", None), moderated("M:17", "2025-03-04T00:00:00", "M:16 M:15")]
LEDGERS = {"moderation": LEDGER.build(ROWS)}
FIRST, SECOND = (f"ccai:entity/decision/{row['decision_id'].replace(':', '%3A')}@{value_digest(row)}" for row in ROWS)
SEEN = ledger_digest(LEDGERS["moderation"])
SOFTWARE = {"ccai_dagster": "1", "dagster": "2", "mlflow": "3"}
MANIFEST = Manifest(
    consultation="town",
    folder="town",
    materializations={
        "statements": Materialization(
            data_version="aa",
            dagster_run="forgotten",
            made_at="2025-03-05T00:00:00+00:00",
            inputs={"moderation_ledger": SEEN, "raw_statements": "earlier"},
            observations={"moderation_ledger": 14},
        ),
        "public/constitution": Materialization(
            data_version="bb",
            dagster_run="1",
            mlflow_run="2",
            made_at="2025-03-05T00:00:01+00:00",
            inputs={"statements": "aa"},
        ),
    },
    sources={
        "moderation_ledger": Observation(
            data_version=SEEN, dagster_run="1", number=14, observed_at="2025-03-04T12:00:00+00:00"
        )
    },
    runs={"1": Run(started_at="2025-03-05T00:00:00+00:00", status="SUCCESS")},
    files={"tables/statements.parquet": FileRecord(sha256="ff", n_bytes=3)},
)


def document(
    manifest: Manifest = MANIFEST, ledgers: Mapping[str, pl.DataFrame] = LEDGERS, software: Mapping[str, str] = SOFTWARE
) -> dict[str, Any]:
    return provenance_of(manifest, ledgers, software)


def whole(number: int) -> dict[str, str]:
    return {"$": str(number), "type": "xsd:int"}


def typed(name: str) -> dict[str, str]:
    return {"$": name, "type": "xsd:QName"}


def test_every_record_and_relation_is_there() -> None:
    made = document()
    assert set(made) == {
        *("prefix", "entity", "activity", "agent"),
        *("used", "wasGeneratedBy", "wasStartedBy", "wasInformedBy", "wasAssociatedWith", "wasDerivedFrom"),
        "hadMember",
    }
    assert made["entity"]["ccai:entity/statements@aa"] == {
        "prov:label": "statements",
        "ccai:asset": "statements",
        "ccai:version": "aa",
        "ccai:made_at": "2025-03-05T00:00:00+00:00",
        "ccai:file": "tables/statements.parquet",
        "ccai:sha256": "ff",
        "ccai:bytes": whole(3),
    }
    assert made["entity"]["ccai:entity/raw_statements@earlier"]["prov:label"] == (
        "an earlier version of raw_statements"
    )
    assert made["activity"]["ccai:activity/decision/M%3A17"] == {
        "prov:label": "moderation decision M:17",
        "prov:type": typed("ccai:decision"),
        "prov:endTime": "2025-03-04T00:00:00",
        **{f"ccai:{name}": value for name, value in ROWS[1].items() if value is not None and name != "subject_ids"},
        "ccai:subject_ids": "1 2",
    }
    assert "prov:endTime" not in made["activity"]["ccai:activity/decision/M%3A16"]
    assert made["agent"]["ccai:agent/role/moderation%20team"]["prov:type"]["$"] == "prov:Person"
    assert made["agent"]["ccai:agent/dagster"]["prov:type"]["$"] == "prov:SoftwareAgent"
    ledger = f"ccai:entity/moderation_ledger@{SEEN}"
    derived = {
        (each["prov:generatedEntity"], each["prov:usedEntity"]): each.get("prov:type")
        for each in made["wasDerivedFrom"].values()
    }
    assert derived == {
        (SECOND, FIRST): typed("prov:Revision"),
        ("ccai:entity/statements@aa", ledger): None,
        ("ccai:entity/statements@aa", "ccai:entity/raw_statements@earlier"): None,
        ("ccai:entity/public/constitution@bb", "ccai:entity/statements@aa"): None,
    }
    assert {each["prov:entity"] for each in made["hadMember"].values()} == {FIRST, SECOND}
    assert made["entity"][ledger]["prov:type"]["$"] == "prov:Collection"
    run = "ccai:activity/materialization/1/public/constitution"
    started = {each["prov:activity"]: each["prov:starter"] for each in made["wasStartedBy"].values()}
    assert started == dict.fromkeys((run, "ccai:activity/mlflow_run/2"), "ccai:activity/dagster_run/1")
    assert [*made["wasInformedBy"].values()] == [{"prov:informed": run, "prov:informant": "ccai:activity/mlflow_run/2"}]
    assert {
        "prov:entity": "ccai:entity/public/constitution@bb",
        "prov:activity": run,
        "prov:time": "2025-03-05T00:00:01+00:00",
    } in made["wasGeneratedBy"].values()
    used = {each["prov:entity"]: each.get("ccai:observation") for each in made["used"].values()}
    assert used == {ledger: whole(14), "ccai:entity/raw_statements@earlier": None, "ccai:entity/statements@aa": None}
    assert len(made["wasAssociatedWith"]) == len(made["activity"]) == 6


BESIDE = {"prov:time", "prov:type", "ccai:observation"}
"""What a relation tells beside the two records that it relates."""


def test_the_document_is_valid_and_comes_back_whole() -> None:
    text = json.dumps(document())
    read = prov.model.ProvDocument.deserialize(content=text, format="json")
    assert prov.model.ProvDocument.deserialize(content=read.serialize(format="json"), format="json") == read
    kinds = Counter(type(each).__name__ for each in read.get_records())
    assert kinds == {
        "ProvEntity": 6,
        "ProvActivity": 6,
        "ProvAgent": 4,
        "ProvUsage": 3,
        "ProvGeneration": 4,
        "ProvStart": 2,
        "ProvCommunication": 1,
        "ProvAssociation": 6,
        "ProvDerivation": 4,
        "ProvMembership": 2,
    }
    assert unified(read)


def unified(read: prov.model.ProvDocument) -> bool:
    """Whether records of one name can be merged, which PROV demands of a valid document."""
    return len(list(read.unified().get_records())) == len(list(read.get_records()))


def test_names_are_qualified_and_relations_point_to_records() -> None:
    made = document()
    name = re.compile(r"ccai:[A-Za-z0-9%@/._-]+")
    known = {**made["entity"], **made["activity"], **made["agent"]}
    assert all(name.fullmatch(key) for key in known)
    for kind in set(made) - {"prefix", "entity", "activity", "agent"}:
        for identifier, relation in made[kind].items():
            assert identifier.startswith("_:")
            pointers = [value for name, value in relation.items() if name not in BESIDE]
            assert len(pointers) == 2 and set(pointers) <= set(known)


def test_the_order_of_records_does_not_matter() -> None:
    materialized = dict(reversed(MANIFEST.materializations.items()))
    turned = document(
        MANIFEST.model_copy(update={"materializations": materialized}),
        {"moderation": LEDGERS["moderation"].reverse()},
        dict(reversed(SOFTWARE.items())),
    )
    assert json.dumps(turned) == json.dumps(document())


def test_a_record_described_twice_is_refused() -> None:
    with pytest.raises(ValueError, match=r"ccai:activity/decision/M%3A16, .* is described twice"):
        document(ledgers=LEDGERS | {"merge": LEDGERS["moderation"]})


def test_a_pointer_to_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match=r"points to ccai:agent/mlflow, which is not described"):
        document(software={"ccai_dagster": "1", "dagster": "2"})
