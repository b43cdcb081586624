"""W3C PROV-JSON: entities, activities and agents as plain records, and the document made of them.

Belongs here: the vocabulary (https://www.w3.org/TR/prov-dm/) and its JSON form
(https://www.w3.org/submissions/prov-json/). Doesn't belong here: what happened in a run, which `told_run`
puts into these records.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal
from urllib.parse import quote

PREFIXES = {"ccai": "urn:ccai:", "xsd": "http://www.w3.org/2001/XMLSchema#"}
Value = str | int | float | bool
Reference = tuple[str, str]
"""An entity, as (asset, version)."""


@dataclass(frozen=True)
class Entity:
    """One version of an asset, or one row of a ledger.

    Attributes:
        asset: Asset key, as `public/policy`.
        version: Its data version.
        label: What it is, for people.
        derived_from: The versions it was made from.
        revises: The entities that it replaces, as a correction does.
        members: The entities it consists of, as a ledger of its rows; it is then a collection.
        attributes: Anything else worth telling.
    """

    asset: str
    version: str
    label: str
    derived_from: tuple[Reference, ...] = ()
    revises: tuple[Reference, ...] = ()
    members: tuple[Reference, ...] = ()
    attributes: Mapping[str, Value] = field(default_factory=dict)

    @property
    def reference(self) -> Reference:
        """How activities and other entities point to it."""
        return self.asset, self.version


@dataclass(frozen=True)
class Activity:
    """A run, what it did for one asset, or a decision a person took.

    Attributes:
        activity_id: Unique among activities, as `dagster_run/1f3a` or `decision/M17`.
        kind: Which of these it is.
        label: What was done, for people.
        started_at: ISO 8601 time, if known.
        ended_at: ISO 8601 time, if known.
        used: What it took.
        observations: Number of the very observation of something it took, by what it took.
        generated: What it made.
        started_by: Id of the activity that started it.
        informed_by: Ids of activities whose results it carried over.
        agents: Ids of those who answer for it.
        attributes: Anything else worth telling, such as the reason.
    """

    activity_id: str
    kind: Literal["dagster_run", "mlflow_run", "materialization", "decision"]
    label: str
    started_at: str | None = None
    ended_at: str | None = None
    used: tuple[Reference, ...] = ()
    observations: Mapping[Reference, int] = field(default_factory=dict)
    generated: tuple[Reference, ...] = ()
    started_by: str | None = None
    informed_by: tuple[str, ...] = ()
    agents: tuple[str, ...] = ()
    attributes: Mapping[str, Value] = field(default_factory=dict)


@dataclass(frozen=True)
class Agent:
    """Who answers for an activity: people in a role, or software."""

    agent_id: str
    kind: Literal["role", "software"]
    label: str
    attributes: Mapping[str, Value] = field(default_factory=dict)


AGENT_TYPES = {"role": "prov:Person", "software": "prov:SoftwareAgent"}


def provenance_document(
    entities: Sequence[Entity], activities: Sequence[Activity], agents: Sequence[Agent]
) -> dict[str, Any]:
    """Build a PROV-JSON document.

    Args:
        entities: Every version of an asset that is mentioned.
        activities: Runs and decisions.
        agents: Roles and software.

    Returns:
        A JSON-serialisable document with prefix, entity, activity, agent, used, wasGeneratedBy, wasStartedBy,
        wasInformedBy, wasAssociatedWith, wasDerivedFrom and hadMember. The order of the arguments does not
        matter.

    Raises:
        ValueError: Two records share an id, or a record points to one that is not there.
    """
    known_entities = _unique("entity", [entity.reference for entity in entities])
    known_activities = _unique("activity", [activity.activity_id for activity in activities])
    known_agents = _unique("agent", [agent.agent_id for agent in agents])
    used: list[dict[str, Any]] = []
    generated: list[dict[str, Any]] = []
    associated, started, informed = [], [], []
    for activity in activities:
        own = activity.activity_id
        name = _name("activity", own)
        for reference in _known(activity.used, known_entities, own):
            number = activity.observations.get(reference)
            told = {} if number is None else {"ccai:observation": number}
            used.append({"prov:activity": name, "prov:entity": _entity(reference), **told})
        for reference in _known(activity.generated, known_entities, own):
            time = {"prov:time": activity.ended_at} if activity.ended_at else {}
            generated.append({"prov:entity": _entity(reference), "prov:activity": name, **time})
        for starter in _known([activity.started_by] if activity.started_by else [], known_activities, own):
            started.append({"prov:activity": name, "prov:starter": _name("activity", starter)})
        for informant in _known(activity.informed_by, known_activities, own):
            informed.append({"prov:informed": name, "prov:informant": _name("activity", informant)})
        for agent_id in _known(activity.agents, known_agents, own):
            associated.append({"prov:activity": name, "prov:agent": _name("agent", agent_id)})
    derived: list[dict[str, Any]] = []
    members = []
    for entity in entities:
        own = _entity(entity.reference)
        for reference in _known(entity.derived_from, known_entities, entity.asset):
            derived.append({"prov:generatedEntity": own, "prov:usedEntity": _entity(reference)})
        for reference in _known(entity.revises, known_entities, entity.asset):
            derived.append({"prov:generatedEntity": own, "prov:usedEntity": _entity(reference),
                            "prov:type": _typed("prov:Revision")})  # fmt: skip
        for reference in _known(entity.members, known_entities, entity.asset):
            members.append({"prov:collection": own, "prov:entity": _entity(reference)})
    return {
        "prefix": dict(PREFIXES),
        "entity": _sorted(entities, lambda one: _entity(one.reference), _entity_record),
        "activity": _sorted(activities, lambda one: _name("activity", one.activity_id), _activity_record),
        "agent": _sorted(agents, lambda one: _name("agent", one.agent_id), _agent_record),
        "used": _relations("used", used),
        "wasGeneratedBy": _relations("generated", generated),
        "wasStartedBy": _relations("started", started),
        "wasInformedBy": _relations("informed", informed),
        "wasAssociatedWith": _relations("associated", associated),
        "wasDerivedFrom": _relations("derived", derived),
        "hadMember": _relations("member", members),
    }


def _entity_record(entity: Entity) -> dict[str, Any]:
    own: dict[str, Any] = {
        "prov:label": entity.label, "ccai:asset": entity.asset, "ccai:version": entity.version,
    }  # fmt: skip
    if entity.members:
        own["prov:type"] = _typed("prov:Collection")
    return own | _attributes(entity.attributes)


def _activity_record(activity: Activity) -> dict[str, Any]:
    record: dict[str, Any] = {"prov:label": activity.label, "prov:type": _typed(f"ccai:{activity.kind}")}
    if activity.started_at:
        record["prov:startTime"] = activity.started_at
    if activity.ended_at:
        record["prov:endTime"] = activity.ended_at
    return record | _attributes(activity.attributes)


def _agent_record(agent: Agent) -> dict[str, Any]:
    record = {"prov:label": agent.label, "prov:type": _typed(AGENT_TYPES[agent.kind])}
    return record | _attributes(agent.attributes)


def _typed(name: str) -> dict[str, str]:
    return {"$": name, "type": "prov:QUALIFIED_NAME"}


def _attributes(attributes: Mapping[str, Value]) -> dict[str, Value]:
    return {f"ccai:{_local(name)}": attributes[name] for name in sorted(attributes)}


def _entity(reference: Reference) -> str:
    return _name("entity", "@".join(reference))


def _name(kind: str, local: str) -> str:
    return f"ccai:{kind}/{_local(local)}"


def _local(text: str) -> str:
    """A local name with nothing in it that a qualified name may not hold (PROV-N, section 3.7.1)."""
    return quote(text, safe="@/-_.")


def _unique(kind: str, ids: Sequence[Any]) -> set[Any]:
    if twice := sorted(str(one) for one, count in Counter(ids).items() if count > 1):
        raise ValueError(f"provenance: {kind} {', '.join(twice)} is described twice")
    return set(ids)


def _known(references: Iterable[Any], known: set[Any], where: str) -> list[Any]:
    found = list(dict.fromkeys(references))
    if missing := [str(reference) for reference in found if reference not in known]:
        raise ValueError(f"provenance: {where} points to {', '.join(missing)}, which is not described")
    return found


def _sorted(
    records: Sequence[Any], name: Callable[[Any], str], build: Callable[[Any], dict[str, Any]]
) -> dict[str, dict[str, Any]]:
    return {name(one): build(one) for one in sorted(records, key=name)}


def _relations(kind: str, relations: list[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    ordered = sorted(relations, key=lambda relation: json.dumps(relation))
    return {f"_:{kind}{number}": relation for number, relation in enumerate(ordered, start=1)}
