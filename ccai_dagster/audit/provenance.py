"""The vocabulary of W3C PROV (https://www.w3.org/TR/prov-dm/), as the library `prov` has it, for this project.

Belongs here: how things are named, and what makes a document complete. Doesn't belong here: what happened in a run,
which `told_run` puts into a document.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import quote

from prov.identifier import Namespace, QualifiedName
from prov.model import ProvDocument
from prov.serializers.provjson import encode_json_document

NAMESPACE = Namespace("ccai", "urn:ccai:")
Value = str | int
Reference = tuple[str, str]
"""A version of an asset or a row of a ledger, as (asset, version)."""


def entity_name(reference: Reference) -> QualifiedName:
    """Return the name of a version of an asset, or of a row of a ledger."""
    return _name("entity", "@".join(reference))


def activity_name(activity: str) -> QualifiedName:
    """Return the name of a run or a decision, as `dagster_run/1f3a` or `decision/M17`."""
    return _name("activity", activity)


def agent_name(agent: str) -> QualifiedName:
    """Return the name of a program, or of a role of people as `role/moderation team`."""
    return _name("agent", agent)


def _name(kind: str, local: str) -> QualifiedName:
    """A name with nothing in it that a qualified name may not hold (PROV-N, section 3.7.1)."""
    return NAMESPACE[f"{kind}/{quote(local, safe='@/-_.')}"]


def attributes(
    label: str, kind: QualifiedName | None = None, told: Mapping[str, Value | None] | None = None
) -> list[tuple[str | QualifiedName, Any]]:
    """Return what a record says beside its name: a label for people, its type, and whatever else is known."""
    own = [(NAMESPACE[name], value) for name, value in sorted((told or {}).items()) if value is not None]
    return [("prov:label", label), *([("prov:type", kind)] if kind else []), *own]


def prov_json(document: ProvDocument) -> dict[str, Any]:
    """Return a document as PROV-JSON, the same whatever the order in which records were added.

    Raises:
        ValueError: Two records share a name, or a record points to one that is not there.
    """
    names = Counter(record.identifier for record in document.get_records() if record.is_element())
    if twice := sorted(str(name) for name, times in names.items() if times > 1):
        raise ValueError(f"provenance: {', '.join(twice)} is described twice")
    if missing := sorted({str(name) for name in _pointers(document) if name not in names}):
        raise ValueError(f"provenance: a record points to {', '.join(missing)}, which is not described")
    ordered = ProvDocument(sorted(document.get_records(), key=lambda record: record.get_provn()), [NAMESPACE])
    return encode_json_document(ordered)


def _pointers(document: ProvDocument) -> Iterator[QualifiedName]:
    for record in document.get_records():
        if record.is_relation():
            yield from (name for _, name in record.formal_attributes if isinstance(name, QualifiedName))
