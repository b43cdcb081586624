"""MLflow: one run a training or evaluation asset, linked with the Dagster run both ways, and the registry of models.

Resources: https://docs.dagster.io/guides/build/external-resources
"""

import json
import logging
import os
import re
import sqlite3
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import dagster as dg
import polars as pl

from ccai_dagster.core.errors import ConsultationError
from ccai_dagster.core.files import lock_beside
from resources.instance import check_database, database_errors, opened_alone, opened_database

os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
os.environ.setdefault("DO_NOT_TRACK", "true")

SECONDS_BETWEEN_SYSTEM_METRICS = 3.0
CURVES = ("loss", "accuracy", "rewards/accuracies", "rewards/margins", "entropy")
"""What a training logs at each step and tells first whether it went well, in the order in which it is looked at."""
CURVES_VIEW = "curves"
"""Key of the view of an experiment that shows them, for an address of MLflow's."""


@dataclass(frozen=True)
class TrackedRun:
    """An open MLflow run.

    Attributes:
        run_id: Its id; a child process that finds it in `MLFLOW_RUN_ID` logs to the same run.
        url: Where to look at it.
        environment: What a child process needs to log to it.
    """

    run_id: str
    url: str
    environment: dict[str, str]

    def log(self, metrics: Mapping[str, float]) -> None:
        """Log final figures."""
        import mlflow

        mlflow.log_metrics({name: float(value) for name, value in metrics.items()})

    def tag(self, name: str, value: str) -> None:
        """Set a tag that is known only at the end."""
        import mlflow

        mlflow.set_tag(name, value)

    def log_table(self, table: pl.DataFrame, name: str, context: str, digest: str) -> None:
        """Log a table as a dataset used by the run, by name and digest."""
        import mlflow

        dataset = mlflow.data.from_polars(table, name=name, digest=digest[:36])
        # MLflow cuts a dataset's digest to 36 characters; the tag has all of it.
        mlflow.log_input(dataset, context=context, tags={"digest": digest})

    def keep_table(self, table: pl.DataFrame, name: str) -> None:
        """Keep a small table as an artifact that MLflow shows and compares between runs."""
        import mlflow

        mlflow.log_table({title: table[title].to_list() for title in table.columns}, f"{name}.json")

    def log_model(self, stage: str, tags: Mapping[str, str], metrics: Mapping[str, float]) -> None:
        """Log a trained model: what it is and where, with its figures; its weights stay in the model store.

        MLflow's own format of a transformers model pickles parts of it and would copy the weights; neither is done.

        Args:
            stage: Name and type of the model.
            tags: `model_digest`, `address` in the model store, arm and so on.
            metrics: Final figures.
        """
        import mlflow

        model = mlflow.create_external_model(name=stage, source_run_id=self.run_id, tags=dict(tags), model_type=stage)
        mlflow.log_metrics(dict(metrics), model_id=model.model_id)

    def log_json(self, content: Any, name: str) -> None:
        """Log a JSON document as an artifact."""
        import mlflow

        mlflow.log_dict(content, name)

    def keep_file(self, path: Path, folder: str) -> None:
        """Keep a copy of a file as an artifact, in a folder of the run's."""
        import mlflow

        mlflow.log_artifact(str(path), folder)


def curves_view() -> str:
    """Return the view of an experiment's trainings with a chart for each of `CURVES`.

    MLflow keeps what its button *Share* shares as a tag of the experiment, so that an address can name it; the form is
    that of MLflow 3, and not documented.
    """
    section = {"uuid": CURVES_VIEW, "name": "Curves", "display": True, "isReordered": False}
    charts = [
        {
            "uuid": f"{CURVES_VIEW}-{place}",
            "type": "LINE",
            "metricKey": name,
            "selectedMetricKeys": [name],
            "xAxisKey": "step",
            "metricSectionId": CURVES_VIEW,
            "runsCountToCompare": 10,
            "deleted": False,
            "isGenerated": False,
            "lineSmoothness": 0,
            "range": {},
        }
        for place, name in enumerate(CURVES)
    ]
    # Only trainings log a loss.
    shown = {"searchFilter": "metrics.loss > 0", "compareRunSections": [section], "compareRunCharts": charts}
    return json.dumps(shown)


def curves_address(ui: str, experiment: str) -> str:
    """Return the address of the view of `curves_view`."""
    return f"{ui}/#/experiments/{experiment}/runs?compareRunsMode=CHART&viewStateShareKey={CURVES_VIEW}"


def alias_of(arm: str) -> str:
    """Return the alias of an arm's models: its name, unless MLflow keeps that for itself."""
    return f"arm-{arm}" if re.fullmatch(r"latest|v\d+", arm, re.IGNORECASE) else arm


def remove_half_made(database: Path) -> None:
    """Remove a database in which MLflow was killed while it made the tables, which it does not go on with.

    The first experiment is its last step, so that without one nothing was ever tracked.
    """
    if not database.is_file():
        return
    try:
        with opened_database(database) as opened:
            tables = {name for (name,) in opened.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
            if tables and "experiments" not in tables:
                return  # of something else
            if tables and opened.execute("SELECT 1 FROM experiments LIMIT 1").fetchone():
                return
    except sqlite3.Error:
        return  # what is damaged is told, and not removed
    for ending in ("", "-journal", "-wal", "-shm"):
        database.with_name(database.name + ending).unlink(missing_ok=True)


class Tracking(dg.ConfigurableResource["Tracking"]):
    """MLflow's tracking store.

    Attributes:
        uri: `sqlite:///...`, `postgresql+psycopg2://...` or the address of a server of MLflow's.
        artifacts: Folder of artifacts where the store is a database.
        experiment: Name of the consultation.
        ui: Address under which people open MLflow.
    """

    uri: str
    artifacts: str
    experiment: str
    ui: str

    @contextmanager
    def run(
        self, context: dg.AssetExecutionContext, name: str, tags: Mapping[str, str], parameters: Mapping[str, Any]
    ) -> Iterator[TrackedRun]:
        """Open a run for the materialization of one asset; it is marked failed if the body raises.

        Args:
            name: The asset's key as text.
            tags: Arm, digests and so on.
            parameters: Settings, flat.
        """
        import mlflow

        experiment = self.open()
        dagster_tags = {"dagster.run_id": context.run.run_id, "dagster.asset_key": name}
        logging.getLogger("mlflow.system_metrics").setLevel(logging.WARNING)
        mlflow.set_system_metrics_sampling_interval(SECONDS_BETWEEN_SYSTEM_METRICS)
        with (
            self._database_errors(),
            mlflow.start_run(
                experiment_id=experiment, run_name=name, tags=dagster_tags | dict(tags), log_system_metrics=True
            ) as run,
        ):
            mlflow.log_params({key: str(value)[:500] for key, value in parameters.items()})
            yield TrackedRun(
                run.info.run_id,
                f"{self.ui}/#/experiments/{experiment}/runs/{run.info.run_id}",
                {
                    "MLFLOW_RUN_ID": run.info.run_id,
                    "MLFLOW_TRACKING_URI": self.uri,
                    "MLFLOW_EXPERIMENT_ID": experiment,
                    "MLFLOW_FLATTEN_PARAMS": "true",
                },
            )

    def register(self, stage: str, arm: str, digest: str, address: str, card: str) -> tuple[str, int]:
        """Register a trained model under the name of its stage, with its card and the arm as alias.

        A model that is registered already gets its alias and its card again, not another version.

        Args:
            stage: What kind of model it is.
            address: Where its weights are.
            card: Markdown.

        Returns:
            Name and version.
        """
        import mlflow
        from mlflow.exceptions import MlflowException

        experiment = self.open()
        client = mlflow.MlflowClient()
        name = self.registered_name(stage)
        try:
            client.create_registered_model(name, description=f"{stage.replace('_', ' ')} of {self.experiment}")
        except MlflowException as error:
            if error.error_code != "RESOURCE_ALREADY_EXISTS":
                raise
        same = [
            each
            for each in client.search_model_versions(f"name = '{name}'")
            if each.tags.get("model_digest") == digest and each.tags.get("arm") == arm
        ]
        logged = client.search_logged_models([experiment], filter_string=f"tags.model_digest = '{digest}'")
        model = next((each for each in logged if each.tags.get("arm") == arm), None) or mlflow.create_external_model(
            name=stage,
            experiment_id=experiment,
            model_type=stage,
            tags={"model_digest": digest, "arm": arm, "stage": stage, "address": address},
        )
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "README.md"
            path.write_text(card, encoding="utf-8")
            client.log_model_artifact(model.model_id, str(path))
        version = (
            same[0]
            if same
            else client.create_model_version(
                name,
                source=model.model_uri,
                run_id=model.source_run_id,
                model_id=model.model_id,
                tags={"model_digest": digest, "arm": arm, "address": address},
            )
        )
        client.update_model_version(name, version.version, description=card)
        client.set_registered_model_alias(name, alias_of(arm), version.version)
        return name, int(version.version)

    def registered_name(self, stage: str) -> str:
        """Return the name that models of a stage are registered under."""
        return f"{self.experiment}.{stage}".replace(":", "-")  # MLflow allows none in a name

    def known_experiment(self) -> str | None:
        """Return the id of the experiment, and have MLflow ask its store; None if nothing was tracked yet.

        Raises:
            ConsultationError: MLflow's database cannot be read, or its server not be reached.
        """
        import mlflow
        from mlflow.exceptions import MlflowException

        if (database := self._database) is not None and not database.is_file():
            return None
        mlflow.set_tracking_uri(self.uri)
        try:
            with self._database_errors():
                found = mlflow.get_experiment_by_name(self.experiment)
        except MlflowException as error:  # its text may hold the address, and that a password
            raise ConsultationError("MLflow does not answer. See whether its server runs, and try again.") from error
        return str(found.experiment_id) if found is not None else None

    def prepare(self) -> None:
        """Make the tables of a new database, which a server would make beside another process, and check an old one.

        Raises:
            ConsultationError: The database is damaged, or cannot be read or written.
        """
        if (database := self._database) is None:
            return
        with opened_alone(database, lock_beside(database)):
            remove_half_made(database)
            if database.exists() and database.stat().st_size:
                check_database(database)
                return
        self.open()

    def open(self) -> str:
        """Open the store and return the id of the experiment; one process at a time, since the first makes the tables.

        Raises:
            ConsultationError: MLflow's database cannot be read or written.
        """
        import mlflow

        mlflow.set_tracking_uri(self.uri)
        database = self._database
        lock = opened_alone(database, lock_beside(database)) if database is not None else nullcontext()
        with lock, self._database_errors():
            if database is not None:
                remove_half_made(database)
            found = mlflow.get_experiment_by_name(self.experiment)
            tags = {f"mlflow.sharedViewState.{CURVES_VIEW}": curves_view()}
            if found is not None:
                for name, value in tags.items() - found.tags.items():  # of an older version
                    mlflow.MlflowClient().set_experiment_tag(found.experiment_id, name, value)
                return str(found.experiment_id)
            is_server = self.uri.startswith(("http://", "https://"))  # which keeps artifacts where it was told to
            location = None if is_server else (Path(self.artifacts) / self.experiment).as_uri()
            return str(mlflow.create_experiment(self.experiment, artifact_location=location, tags=tags))

    @property
    def _database(self) -> Path | None:
        return Path(self.uri.removeprefix("sqlite:///")) if self.uri.startswith("sqlite:///") else None

    @contextmanager
    def _database_errors(self) -> Iterator[None]:
        """Tell in a sentence what is wrong with the database; MLflow hides it in an error of its own."""
        from mlflow.exceptions import MlflowException
        from sqlalchemy.exc import DBAPIError

        with database_errors(self._database) if self._database is not None else nullcontext():
            try:
                yield
            except MlflowException as error:
                cause = error.__cause__ or error.__context__
                raise cause if isinstance(cause, DBAPIError) else error from None
