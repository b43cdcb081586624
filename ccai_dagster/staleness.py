"""Which assets must be materialized again, by data version and code version.

Dagster shows staleness in its user interface; this module decides what `ccai run` and the sensors start.

Versions: https://docs.dagster.io/guides/build/assets/asset-versioning-and-caching
"""

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass

import dagster as dg

from resources.history import code_version, data_version, input_versions, latest_materializations, observed_version

NEVER, GONE, CODE = "never materialized", "its file is gone", "its code or settings changed"
"""Reasons that do not come from new data; every other reason names the input that changed."""


@dataclass(frozen=True)
class Plan:
    """What can be materialized now.

    Attributes:
        ready: Stale assets none of whose ancestors may still change, with the reason.
        later: Stale assets, or descendants of stale ones, that must wait for `ready`.
        fresh: Assets with nothing to do.
    """

    ready: dict[dg.AssetKey, str]
    later: set[dg.AssetKey]
    fresh: set[dg.AssetKey]


def plan(
    graph: Mapping[dg.AssetKey, Collection[dg.AssetKey]],
    code_versions: Mapping[dg.AssetKey, str],
    instance: dg.DagsterInstance,
    is_kept: Callable[[dg.AssetMaterialization], bool],
) -> Plan:
    """Find what to materialize next.

    An asset is stale if it was never materialized, if what it made is gone, if its code or settings changed,
    or if the data version of an input is not the one it was made from. A descendant of a stale asset is not
    stale for that alone: the new version may equal the old.

    Args:
        graph: Parents of every asset that can be materialized, in topological order of keys.
        code_versions: Present code version of each.
        instance: Dagster's record.
        is_kept: Whether what was materialized is still there.
    """
    made = latest_materializations(graph, instance)
    sources = {parent for parents in graph.values() for parent in parents} - set(graph)
    versions = {key: data_version(event) for key, event in made.items()} | {
        key: observed_version(key, instance) for key in sources
    }
    reasons = {
        key: reason
        for key, parents in graph.items()
        if (reason := _stale(made.get(key), parents, versions, code_versions.get(key), is_kept))
    }
    ready: dict[dg.AssetKey, str] = {}
    unsettled: set[dg.AssetKey] = set()
    later: set[dg.AssetKey] = set()
    for key, parents in graph.items():
        changing = [parent for parent in parents if parent in unsettled or parent in ready]
        undecided = [parent for parent in parents if parent in unsettled]
        if key in reasons and not undecided:
            ready[key] = reasons[key]
        elif key in reasons or changing:
            unsettled.add(key)
            later.add(key)
    return Plan(ready, later, set(graph) - set(ready) - later)


def _stale(
    made: dg.AssetMaterialization | None,
    parents: Collection[dg.AssetKey],
    versions: Mapping[dg.AssetKey, str | None],
    present_code: str | None,
    is_kept: Callable[[dg.AssetMaterialization], bool],
) -> str | None:
    if made is None:
        return NEVER
    if not is_kept(made):
        return GONE
    if code_version(made) != present_code:
        return CODE
    used = input_versions(made)
    for parent in sorted(parents, key=lambda each: each.to_user_string()):
        if used.get(parent.to_user_string()) != versions.get(parent):
            return f"{parent.to_user_string()} changed"
    return None
