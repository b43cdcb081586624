"""The provenance document: complete, valid in structure, and refusing what it cannot point to."""

import json
import re

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
DECISION = Activity(
    "decision:M 17",
    "decision",
    "moderation",
    ended_at="2025-03-04T00:00:00",
    used=(("statements", "aa"),),
    agents=("role:moderation team",),
    attributes={"reason": "off topic <script>"},
)
RUN = Activity(
    "run:1/public/constitution",
    "run",
    "constitution",
    used=(("statements", "aa"), ("statements", "aa")),
    generated=(("public/constitution", "bb"),),
    agents=("software:ccai",),
)
AGENTS = [
    Agent("role:moderation team", "role", "the moderation team"),
    Agent("software:ccai", "software", "ccai"),
]


def document() -> dict:
    return provenance_document([STATEMENTS, CONSTITUTION], [DECISION, RUN], AGENTS)


def test_every_record_and_relation_is_there() -> None:
    made = document()
    assert set(made) == {
        *("prefix", "entity", "activity", "agent"),
        *("used", "wasGeneratedBy", "wasAssociatedWith", "wasDerivedFrom"),
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
            "prov:generatedEntity": "ccai:entity/public/constitution@bb",
            "prov:usedEntity": "ccai:entity/statements@aa",
        }
    }
    assert made["wasGeneratedBy"] == {
        "_:generated1": {
            "prov:entity": "ccai:entity/public/constitution@bb",
            "prov:activity": "ccai:activity/run%3A1/public/constitution",
        }
    }
    assert [relation["prov:activity"] for relation in made["used"].values()] == [
        "ccai:activity/decision%3AM%2017",
        "ccai:activity/run%3A1/public/constitution",
    ]
    assert len(made["wasAssociatedWith"]) == 2


def test_names_are_qualified_and_relations_point_to_records() -> None:
    made = document()
    name = re.compile(r"ccai:[A-Za-z0-9%@/._-]+")
    known = {**made["entity"], **made["activity"], **made["agent"]}
    assert all(name.fullmatch(key) for key in known)
    for kind in ("used", "wasGeneratedBy", "wasAssociatedWith", "wasDerivedFrom"):
        for identifier, relation in made[kind].items():
            assert identifier.startswith("_:")
            assert set(relation.values()) <= set(known)


def test_the_order_of_records_does_not_matter() -> None:
    turned = provenance_document([CONSTITUTION, STATEMENTS], [RUN, DECISION], AGENTS[::-1])
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
