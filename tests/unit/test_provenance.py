"""The provenance document: complete, valid in structure, and refusing what it cannot point to."""

import json
import re
from collections import Counter

import prov.model
import pytest

from ccai_dagster.audit.provenance import Activity, Agent, Entity, provenance_document

STATEMENTS = Entity("statements", "aa", "the statements")
CONSTITUTION = Entity(
    "public/constitution",
    "bb",
    "the constitution",
    derived_from=(("statements", "aa"),),
    attributes={"rows": 3},
)
ROW = Entity("decision/M 17", "cc", "the decision M 17", revises=(("decision/M 16", "dd"),))
FIRST = Entity("decision/M 16", "dd", "the decision M 16")
LEDGER = Entity("moderation_ledger", "ee", "the ledger", members=(ROW.reference, FIRST.reference))
DECISION = Activity(
    "decision:M 17",
    "decision",
    "moderation",
    ended_at="2025-03-04T00:00:00",
    used=(("statements", "aa"),),
    agents=("role:moderation team",),
    attributes={"reason": "off topic <script>"},
)
STARTER = Activity("dagster_run/1", "dagster_run", "Dagster run 1")
RUN = Activity(
    "run:1/public/constitution",
    "materialization",
    "constitution",
    ended_at="2025-03-05T00:00:00",
    started_by="dagster_run/1",
    informed_by=("mlflow_run/2",),
    used=(("statements", "aa"), ("statements", "aa")),
    observations={("statements", "aa"): 14},
    generated=(("public/constitution", "bb"),),
    agents=("software:ccai",),
)
TRACKED = Activity("mlflow_run/2", "mlflow_run", "MLflow run 2")
ENTITIES = [STATEMENTS, CONSTITUTION, ROW, FIRST, LEDGER]
ACTIVITIES = [DECISION, RUN, STARTER, TRACKED]
AGENTS = [
    Agent("role:moderation team", "role", "the moderation team"),
    Agent("software:ccai", "software", "ccai"),
]


def document() -> dict:
    return provenance_document(ENTITIES, ACTIVITIES, AGENTS)


def test_every_record_and_relation_is_there() -> None:
    made = document()
    assert set(made) == {
        *("prefix", "entity", "activity", "agent"),
        *("used", "wasGeneratedBy", "wasStartedBy", "wasInformedBy", "wasAssociatedWith", "wasDerivedFrom"),
        "hadMember",
    }
    assert made["entity"]["ccai:entity/public/constitution@bb"] == {
        "prov:label": "the constitution",
        "ccai:asset": "public/constitution",
        "ccai:version": "bb",
        "ccai:rows": 3,
    }
    assert made["activity"]["ccai:activity/decision%3AM%2017"] == {
        "prov:label": "moderation",
        "prov:type": {"$": "ccai:decision", "type": "prov:QUALIFIED_NAME"},
        "prov:endTime": "2025-03-04T00:00:00",
        "ccai:reason": "off topic <script>",
    }
    assert made["agent"]["ccai:agent/role%3Amoderation%20team"]["prov:type"]["$"] == "prov:Person"
    assert made["agent"]["ccai:agent/software%3Accai"]["prov:type"]["$"] == "prov:SoftwareAgent"
    assert made["wasDerivedFrom"] == {
        "_:derived1": {
            "prov:generatedEntity": "ccai:entity/decision/M%2017@cc",
            "prov:usedEntity": "ccai:entity/decision/M%2016@dd",
            "prov:type": {"$": "prov:Revision", "type": "prov:QUALIFIED_NAME"},
        },
        "_:derived2": {
            "prov:generatedEntity": "ccai:entity/public/constitution@bb",
            "prov:usedEntity": "ccai:entity/statements@aa",
        },
    }
    assert [each["prov:entity"] for each in made["hadMember"].values()] == [
        "ccai:entity/decision/M%2016@dd",
        "ccai:entity/decision/M%2017@cc",
    ]
    assert made["entity"]["ccai:entity/moderation_ledger@ee"]["prov:type"]["$"] == "prov:Collection"
    run = "ccai:activity/run%3A1/public/constitution"
    assert made["wasStartedBy"] == {
        "_:started1": {"prov:activity": run, "prov:starter": "ccai:activity/dagster_run/1"}
    }
    assert made["wasInformedBy"] == {
        "_:informed1": {"prov:informed": run, "prov:informant": "ccai:activity/mlflow_run/2"}
    }
    assert made["wasGeneratedBy"] == {
        "_:generated1": {
            "prov:entity": "ccai:entity/public/constitution@bb",
            "prov:activity": "ccai:activity/run%3A1/public/constitution",
            "prov:time": "2025-03-05T00:00:00",
        }
    }
    assert [relation.get("ccai:observation") for relation in made["used"].values()] == [None, 14]
    assert [relation["prov:activity"] for relation in made["used"].values()] == [
        "ccai:activity/decision%3AM%2017",
        "ccai:activity/run%3A1/public/constitution",
    ]
    assert len(made["wasAssociatedWith"]) == 2


BESIDE = {"prov:time", "prov:type", "ccai:observation"}
"""What a relation tells beside the two records that it relates."""


def test_the_document_is_valid_and_comes_back_whole() -> None:
    text = json.dumps(document())
    read = prov.model.ProvDocument.deserialize(content=text, format="json")
    assert prov.model.ProvDocument.deserialize(content=read.serialize(format="json"), format="json") == read
    told = Counter(type(each).__name__ for each in read.get_records())
    assert told == {
        "ProvEntity": 5, "ProvActivity": 4, "ProvAgent": 2, "ProvUsage": 2, "ProvGeneration": 1, "ProvStart": 1,
        "ProvCommunication": 1, "ProvAssociation": 2, "ProvDerivation": 2, "ProvMembership": 2,
    }  # fmt: skip
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
    turned = provenance_document(ENTITIES[::-1], ACTIVITIES[::-1], AGENTS[::-1])
    assert json.dumps(turned) == json.dumps(document())


def test_a_record_described_twice_is_refused() -> None:
    with pytest.raises(ValueError, match=r"entity .*statements.* is described twice"):
        provenance_document([STATEMENTS, STATEMENTS], [], [])


@pytest.mark.parametrize(
    "entities, activities",
    [([CONSTITUTION], []), ([STATEMENTS, CONSTITUTION], [DECISION])],
    ids=["unknown entity", "unknown agent"],
)
def test_a_pointer_to_nothing_is_refused(entities: list[Entity], activities: list[Activity]) -> None:
    with pytest.raises(ValueError, match=r"points to .*, which is not described"):
        provenance_document(entities, activities, [])
