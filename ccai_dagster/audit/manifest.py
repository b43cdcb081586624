"""The manifest of a consultation's results: every file with its digest, and the run that made every version.

Belongs here: the form of the manifest, reading and writing it, and the digests of files and ledger rows. Doesn't
belong here: asking Dagster what happened, which the resource `history` does; comparing files, which `verification`
does, and ledger rows, which `ledger_record` does.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path, PurePosixPath
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, ConfigDict, ValidationError

from ccai_dagster.core.digest import file_digest, value_digest
from ccai_dagster.core.errors import ConsultationError
from ccai_dagster.core.files import write_file
from ccai_dagster.core.schema_version import NewerSchema, check_schema_version
from ccai_dagster.core.unchanged import while_unchanged

MANIFEST = "manifest.json"
"""Name of the file, in the folder of a consultation's results."""
TABLES, MODELS, REPORT, DOWNLOADS = "tables", "models", "report", "downloads"
CONSULTATION, SAMPLE_FILES, OUTSIDE = "consultation", "sample", "outside"
"""First part of a file's name: where it lies. After `outside` comes its whole path on the machine of the run."""
THREADS = 4


def _inside(name: str) -> str:
    parts = PurePosixPath(name).parts
    if name.startswith("/") or ".." in parts or len(parts) < 2:
        raise ValueError(f"{name!r} does not lie in one of the folders of a consultation")
    return name


FileName = Annotated[str, AfterValidator(_inside)]


class _Record(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Materialization(_Record):
    """One version of an asset and the run that made it.

    Attributes:
        data_version: Of what was made.
        dagster_run: Id of the Dagster run.
        mlflow_run: Id of the MLflow run, if it has one.
        made_at: ISO 8601 time.
        inputs: Data version of everything it was made from, by asset key.
        observations: Dagster's number of the observation of each source it was made from, by asset key.
    """

    data_version: str
    dagster_run: str
    mlflow_run: str | None = None
    made_at: str
    inputs: dict[str, str] = {}
    observations: dict[str, int] = {}


class Observation(_Record):
    """What a ledger or the export was when somebody last looked."""

    data_version: str
    dagster_run: str
    number: int
    observed_at: str


class Run(_Record):
    """A Dagster run."""

    started_at: str | None = None
    ended_at: str | None = None
    status: str


class FileRecord(_Record):
    """A file as it was when the manifest was written."""

    sha256: str
    n_bytes: int


class Manifest(_Record):
    """Everything that was made of a consultation.

    Attributes:
        consultation: Its name.
        folder: Its folder on the machine of the run.
        materializations: The latest of every asset, by asset key.
        earlier: Those that later ones replaced, by asset key, the latest first, without their inputs.
        sources: The latest observation of every ledger and of the export, by asset key.
        runs: The Dagster runs behind all of these, by id.
        files: Every file by name; the first part of the name says where it lies.
        rows: The digest of every row of every ledger, by kind and decision.
        unused_rows: Those of which nothing was made yet, by kind.
        amended_rows: Digests that rows had which were changed or removed since, by kind and decision, the first first.
        schema_version: The form it is written in.
    """

    schema_version: int = 0
    consultation: str
    folder: str
    materializations: dict[str, Materialization]
    earlier: dict[str, list[Materialization]] = {}
    sources: dict[str, Observation] = {}
    runs: dict[str, Run] = {}
    files: dict[FileName, FileRecord]
    rows: dict[str, dict[str, str]] = {}
    unused_rows: dict[str, list[str]] = {}
    amended_rows: dict[str, dict[str, list[str]]] = {}


def manifest_text(manifest: Manifest) -> str:
    """Return the manifest as it is written: JSON with sorted names, and the digest of its own content."""
    return _text(manifest.model_dump(mode="json"))


def _text(content: object) -> str:
    document = {"digest": value_digest(content), "manifest": content}
    return json.dumps(document, indent=1, sort_keys=True, ensure_ascii=True) + "\n"


def write_manifest(path: Path, manifest: Manifest) -> None:
    """Write the manifest; what stood there before stays until the new one is whole."""
    path.parent.mkdir(parents=True, exist_ok=True)
    write_file(path, manifest_text(manifest))


def read_manifest(path: Path) -> tuple[Manifest, bool]:
    """Read a manifest.

    Returns:
        The manifest, and whether the file is, byte for byte, what was written.

    Raises:
        NewerSchema: A later version of this program wrote it.
        ConsultationError: There is none, or it cannot be read.
    """
    try:
        text = path.read_text(encoding="utf-8")
        content = json.loads(text)["manifest"]
        check_schema_version(path, content.get("schema_version"))
        manifest = Manifest.model_validate(content)
    except FileNotFoundError as error:
        raise ConsultationError(f"{path}: not found. `ccai run` writes it at its end.") from error
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"])
        raise ConsultationError(
            f"{path}: `{place}`: {first['msg']}. The file was changed; `ccai run` writes it anew."
        ) from error
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise ConsultationError(
            f"{path}: cannot be read ({error}). The file was changed or cut; `ccai run` writes it anew."
        ) from error
    return manifest, text == _text(content)  # what an older program wrote has fewer fields than a manifest has now


def last_manifest(path: Path) -> Manifest | None:
    """Return the manifest as an earlier run left it; None if there is none or it was changed since.

    Raises:
        NewerSchema: A later version of this program wrote it.
    """
    try:
        manifest, untouched = while_unchanged(read_manifest, path, [path])
    except NewerSchema:
        raise
    except ConsultationError:
        return None
    return manifest if untouched else None


def is_fresh(manifest: Manifest, key: str, version_now: Callable[[str], str | None]) -> bool:
    """Whether everything an asset was made of is now as it was then, back to the ledgers and the export.

    Args:
        version_now: Of a ledger or the export by its asset key; None if it cannot be told.
    """
    made = manifest.materializations
    return key in made and all(
        made[name].data_version == version and is_fresh(manifest, name, version_now)
        if name in made
        else version_now(name) == version
        for name, version in made[key].inputs.items()
    )


def describe_files(paths: Mapping[str, Path]) -> dict[str, FileRecord]:
    """Return size and digest of every file; several are read at once.

    Args:
        paths: The place of each file by its name in the manifest.
    """
    names = sorted(paths)
    with ThreadPoolExecutor(THREADS) as pool:
        records = list(pool.map(lambda name: describe_file(paths[name]), names))
    return dict(zip(names, records, strict=True))


def describe_file(path: Path) -> FileRecord:
    """Return size and digest of a file."""
    return FileRecord(sha256=file_digest(path), n_bytes=path.stat().st_size)


def listed_folder(files: Mapping[str, FileRecord], folder: str) -> str:
    """Return the digest that a folder of these files has, as `digest.folder_digest` computes it.

    Args:
        folder: First parts of the names, as `models/6a0d...`.
    """
    inside = sorted(
        (PurePosixPath(name).relative_to(folder), record.sha256)
        for name, record in files.items()
        if name.startswith(f"{folder}/")
    )
    return value_digest([[path.as_posix(), digest] for path, digest in inside])


def row_digests(rows: Sequence[Mapping[str, Any]]) -> dict[str, str]:
    """Return the digest of every row of a ledger, by decision."""
    return {row["decision_id"]: value_digest(dict(row)) for row in rows}
