"""What a stage is asked and what it leaves: the fields of a request, the folder it works in, its figures.

A request is written by the launcher and read by the child process. In its file a table is the digest of its content,
which lies beside it as Parquet; a model is the address of its folder.
"""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import polars as pl
from pydantic import BaseModel, ConfigDict, PlainSerializer, PlainValidator, SerializationInfo, ValidationInfo

from ccai_dagster.consultation.settings import PLACELESS, Settings
from ccai_dagster.core.digest import table_digest, value_digest
from ccai_dagster.core.errors import Progress


@dataclass(frozen=True)
class StageFolder:
    """Where a stage finds its request, keeps checkpoints and answers, and leaves its results."""

    path: Path

    @property
    def file(self) -> Path:
        """The request, as the child reads it."""
        return self.path / "request.json"

    @property
    def inputs(self) -> Path:
        """Tables of the request, `DIGEST.parquet`."""
        return self.path / "inputs"

    @property
    def work(self) -> Path:
        """Checkpoints."""
        return self.path / "work"

    @property
    def answers(self) -> Path:
        """What language models have answered."""
        return self.path / "answers.jsonl"

    @property
    def error(self) -> Path:
        """Why the stage failed, in words for a person, if it did."""
        return self.path / "error.txt"

    @property
    def log(self) -> Path:
        """What libraries print."""
        return self.path / "log.txt"

    @property
    def made(self) -> Path:
        """Results."""
        return self.path / "made"

    @property
    def model(self) -> Path:
        """The model that was made, if one was."""
        return self.made / "model"

    @property
    def samples(self) -> Path:
        """What benchmarks asked and got, as JSON lines."""
        return self.made / "samples"

    @property
    def report(self) -> Path:
        """Figures, written when everything else is there."""
        return self.made / "report.json"

    def write(self, stage: Stage) -> None:
        """Write a request with its tables; the error of an earlier attempt is removed."""
        self.inputs.mkdir(parents=True, exist_ok=True)
        for table in stage.tables().values():
            table.write_parquet(self.inputs / f"{table_digest(table)}.parquet")
        self.error.unlink(missing_ok=True)
        self.file.write_text(stage.model_dump_json(indent=1), encoding="utf-8")

    def keep_tables(self, **tables: pl.DataFrame) -> None:
        """Leave tables among the results; of several processes the first one does."""
        for name, table in tables.items() if is_first_process() else ():
            table.write_parquet(self.made / f"{name}.parquet")

    def result(self) -> StageResult:
        """Read what a finished stage made."""
        return StageResult(
            self,
            StageReport.model_validate_json(self.report.read_text(encoding="utf-8")),
            {path.stem: pl.read_parquet(path) for path in self.made.glob("*.parquet")},
        )


class StageReport(BaseModel):
    """Figures of a finished stage.

    Attributes:
        metrics: Of a training, by name.
        provenance: How benchmarks were asked, with versions and digests.
        peak_memory_bytes: Most memory the process held.
        peak_gpu_memory_bytes: Most memory of a GPU it held; 0 without one. Both of the first of several processes.
    """

    # What could not be computed is NaN, also in the file.
    model_config = ConfigDict(ser_json_inf_nan="constants")

    metrics: dict[str, float] = {}
    provenance: dict[str, Any] = {}
    peak_memory_bytes: int = 0
    peak_gpu_memory_bytes: int = 0

    def memory(self) -> dict[str, float]:
        """Return the most memory held, in GiB, by where it was."""
        held = {"memory": self.peak_memory_bytes, "gpu_memory": self.peak_gpu_memory_bytes}
        return {f"peak_{name}_gib": count / 2**30 for name, count in held.items() if count}


@dataclass(frozen=True)
class StageResult:
    """What a stage made: tables by name beside its report; a model and samples are in its folder."""

    folder: StageFolder
    report: StageReport
    tables: dict[str, pl.DataFrame]


def _read_table(value: object, info: ValidationInfo) -> pl.DataFrame:
    if isinstance(value, pl.DataFrame):
        return value
    if isinstance(value, str) and isinstance(info.context, StageFolder):
        return pl.read_parquet(info.context.inputs / f"{value}.parquet")
    raise ValueError("neither a table nor the digest of one in a stage's folder")


def _place(folder: Path, info: SerializationInfo) -> str:
    return folder.name if info.context == PLACELESS else str(folder)


Table = Annotated[pl.DataFrame, PlainValidator(_read_table), PlainSerializer(table_digest)]
"""A table of a request; read from a stage's folder where the folder is the context of validation."""
ModelFolder = Annotated[Path, PlainSerializer(_place)]
"""Folder of a model, named by its digest."""


class Stage(Settings, ABC):
    """What a stage is asked to do: all it reads, as fields, and what it does with that.

    Attributes:
        stage: Its name, by which a request is recognised.
    """

    # Loading the graph imports every stage; pydantic builds the validator of one when it is asked for.
    model_config = ConfigDict(defer_build=True)

    stage: str

    @property
    def distributed(self) -> bool:
        """Whether several processes may share the work, as trainings do."""
        return False

    @property
    def libraries(self) -> tuple[str, ...]:
        """The modules it imports that take longest; a process in which stages run in turn imports them once.

        By default what loading a language model imports, whatever its family.
        """
        return ("torch", "transformers.models.llama.modeling_llama")

    @abstractmethod
    def run(self, folder: StageFolder, progress: Progress) -> StageReport:
        """Do the work; leave tables and a model in `folder.made` and return the figures."""

    def tables(self) -> dict[str, pl.DataFrame]:
        """Return the tables by field, those of a field that holds several as `FIELD/KEY`."""
        return {name: value for name, value in self._fields() if isinstance(value, pl.DataFrame)}

    def parameters(self) -> dict[str, Any]:
        """Return what is neither table nor folder, as JSON."""
        inputs = {name.partition("/")[0] for name, value in self._fields() if isinstance(value, pl.DataFrame | Path)}
        return self.model_dump(mode="json", exclude={"stage", *inputs})

    def digest(self) -> str:
        """Return the digest of everything asked, wherever the models lie; names the folder of the stage."""
        return value_digest(self.model_dump(mode="json", context=PLACELESS))

    def _fields(self) -> Iterator[tuple[str, object]]:
        for field in type(self).model_fields:
            value = getattr(self, field)
            if isinstance(value, Mapping):
                yield from ((f"{field}/{key}", each) for key, each in value.items())
            else:
                yield field, value


def is_first_process() -> bool:
    """Tell whether this is the first of the processes that run a stage together; only that one writes."""
    return int(os.environ.get("RANK", "0")) == 0
