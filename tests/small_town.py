"""A consultation with a small export, its sensors, and a record in which runs end as a test says."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Mapping
from functools import cache
from hashlib import sha256
from pathlib import Path

import dagster as dg
import pytest
from small_export import write_export

from ccai_dagster import automation
from ccai_dagster.consultation.folder import SAMPLE, read_consultation
from ccai_dagster.core.home import Home
from ccai_dagster.definitions import build_defs, build_resources
from resources.history import versions_of
from resources.tables import FILE_DIGEST

FAILS, SUCCEEDS = "fails", "succeeds"


@cache
def repository_of_sample(base: Path) -> dg.RepositoryDefinition:
    """What a code location serves for a copy of the sample, as it does while the consultation's file stays as it is."""
    return build_defs(read_consultation(base / "town"), base / "home").get_repository_def()


class Town:
    """See the module."""

    def __init__(self, base: Path, instance: dg.DagsterInstance) -> None:
        shutil.rmtree(base, ignore_errors=True)
        shutil.copytree(SAMPLE, base / "town")
        self.votes, self.instance = base / "town" / "votes", instance
        shutil.rmtree(self.votes)
        write_export(self.votes, 20)
        self.consultation, self.home = read_consultation(base / "town"), Home(base / "home", "town")
        self.repository = repository_of_sample(base)
        self.cursors: dict[str, str | None] = {}

    def export(self, people: int) -> None:
        write_export(self.votes, people)

    def look(self, sensor: str) -> dg.RunRequest | dg.SkipReason:
        """Ask a sensor once, as the daemon does."""
        cursor = self.cursors.get(sensor)
        with dg.build_sensor_context(instance=self.instance, repository_def=self.repository, cursor=cursor) as context:
            found = self.repository.get_sensor_def(sensor)(context)
            self.cursors[sensor] = context.cursor
        assert isinstance(found, dg.RunRequest | dg.SkipReason)
        return found

    def asked(self, sensor: str) -> dg.RunRequest:
        found = self.look(sensor)
        assert isinstance(found, dg.RunRequest), found
        return found

    def told(self, sensor: str) -> str:
        found = self.look(sensor)
        assert isinstance(found, dg.SkipReason), found
        return str(found.skip_message)

    def end(self, request: dg.RunRequest, how: str = FAILS) -> str:
        """Let the run that was asked for end without doing anything; returns its id."""

        @dg.op
        def work() -> None:
            if how == FAILS:
                raise dg.Failure("the disk is full.")

        @dg.job
        def a_job() -> None:
            work()

        return a_job.execute_in_process(instance=self.instance, tags=request.tags, raise_on_error=False).run_id

    def observe(self) -> None:
        """Put on record that everything was seen as it is now."""
        for key, version in automation.unobserved(self.consultation, self.instance).items():
            self.see(key, version)

    def see(self, key: dg.AssetKey, version: str) -> None:
        tags = {"dagster/data_version": version}
        self.instance.report_runless_asset_event(dg.AssetObservation(key, tags=tags))

    def make(self, *keys: dg.AssetKey, version: str = "1", metadata: Mapping[str, int] | None = None) -> None:
        """Put on record that assets were made, one after the other, of what is there now."""
        graph, tables = self.repository.asset_graph, build_resources(self.home)["tables"]
        seen = versions_of({parent for key in keys for parent in graph.get(key).parent_keys}, self.instance)
        for key in keys:
            node = graph.get(key)
            tags = {"dagster/data_version": version, "dagster/code_version": str(node.code_version)}
            for parent in node.parent_keys:
                tags[f"dagster/input_data_version/{parent.to_user_string()}"] = str(seen.get(parent))
            stored = {FILE_DIGEST: sha256(b"").hexdigest(), **(metadata or {})}
            self.instance.report_runless_asset_event(dg.AssetMaterialization(key, tags=tags, metadata=stored))
            seen[key] = version
            path = Path(str(tables.path(key)))
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch()

    @property
    def light(self) -> list[dg.AssetKey]:
        wanted = automation.deliberated().resolve(self.repository.asset_graph)
        return [key for key in self.repository.asset_graph.toposorted_asset_keys if key in wanted]


@pytest.fixture(scope="session")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where every town of a session stands, one after the other: definitions, which name the place, are made once."""
    return tmp_path_factory.mktemp("town")


@pytest.fixture
def town(place: Path) -> Iterator[Town]:
    with dg.DagsterInstance.ephemeral() as instance:
        yield Town(place, instance)


@pytest.fixture
def settled(town: Town) -> Town:
    """Everything up to the constitutions is made of what is there."""
    town.observe()
    town.make(*town.light)
    return town
