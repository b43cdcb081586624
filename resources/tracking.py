"""MLflow: one run a training or evaluation asset, linked with the Dagster run both ways."""

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import dagster as dg
import polars as pl

os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
os.environ.setdefault("DO_NOT_TRACK", "true")


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
        mlflow.log_input(dataset, context=context)

    def keep_table(self, table: pl.DataFrame, name: str) -> None:
        """Keep a small table as an artifact that MLflow shows and compares between runs."""
        import mlflow

        mlflow.log_table({title: table[title].to_list() for title in table.columns}, f"{name}.json")

    def log_json(self, content: Any, name: str) -> None:
        """Log a JSON document as an artifact."""
        import mlflow

        mlflow.log_dict(content, name)


class Tracking(dg.ConfigurableResource):
    """MLflow's tracking store.

    Attributes:
        uri: `sqlite:///...` or the address of a server.
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
        self,
        context: dg.AssetExecutionContext,
        name: str,
        tags: Mapping[str, str],
        parameters: Mapping[str, Any],
    ) -> Iterator[TrackedRun]:
        """Open a run for the materialization of one asset; it is marked failed if the body raises.

        Args:
            context: Of the asset.
            name: The asset's key as text.
            tags: Arm, digests and so on.
            parameters: Settings, flat.
        """
        import mlflow

        experiment = self._experiment()
        dagster_tags = {"dagster.run_id": context.run.run_id, "dagster.asset_key": name}
        with mlflow.start_run(experiment_id=experiment, run_name=name, tags=dagster_tags | dict(tags)) as run:
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

    def _experiment(self) -> str:
        import mlflow

        mlflow.set_tracking_uri(self.uri)
        found = mlflow.get_experiment_by_name(self.experiment)
        if found is not None:
            return found.experiment_id
        location = (
            (Path(self.artifacts) / self.experiment).as_uri() if self.uri.startswith("sqlite") else None
        )
        return mlflow.create_experiment(self.experiment, artifact_location=location)
