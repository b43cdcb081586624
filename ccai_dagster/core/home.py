"""Where everything a run makes is kept: `CCAI_HOME`, by default `.ccai` in the working directory.

Each consultation has a folder with a record of Dagster's of its own, since Dagster knows an asset by its key alone and
keys are the same in every consultation. MLflow's database is one for all, since an experiment holds what belongs to one
consultation and people compare trainings across consultations there.
"""

import os
import stat
from dataclasses import dataclass
from pathlib import Path
from typing import cast

from ccai_dagster.core.errors import ConsultationError

TAKEN = frozenset({"cache", "consultations", "dagster", "default", "mlflow-artifacts", "mlflow.db"})
"""Names, in lower case, that the home or MLflow use themselves."""

PAGES = {
    "In two sheets": "summary.html",
    "With results": "results.html",
    "Constitution": "constitution.html",
    "Report": "audit_report.html",
    "Evaluation": "evaluation.html",
    "Replication": "replication.html",
}
"""Files in `Home.report`, by what they are called."""


@dataclass(frozen=True)
class Home:
    """The places of one consultation's results; `root` is `CCAI_HOME`.

    Raises:
        ConsultationError: No results can be kept under this name.
    """

    root: Path
    consultation: str

    def __post_init__(self) -> None:
        check_name(self.consultation)

    @property
    def folder(self) -> Path:
        """Everything of this consultation."""
        return self.root / self.consultation

    @property
    def tables_url(self) -> str:
        """Where tables are kept: a folder, or any fsspec address in `CCAI_TABLES_URL`."""
        return _url("CCAI_TABLES_URL", self.folder / "tables", self.consultation)

    @property
    def models_url(self) -> str:
        """Where models are kept: a folder, or any fsspec address in `CCAI_MODELS_URL`."""
        return _url("CCAI_MODELS_URL", self.folder / "models", self.consultation)

    @property
    def downloads(self) -> Path:
        """Exports downloaded from an address or copied from the portal, a folder for each content."""
        return self.folder / "downloads"

    @property
    def portal(self) -> Path:
        """The database of the portal, in which people vote."""
        return self.folder / "portal.sqlite"

    @property
    def portal_key(self) -> Path:
        """The secret that the portal signs sessions with."""
        return self.folder / "portal.key"

    @property
    def portal_ratings(self) -> Path:
        """What raters answered in the portal, a file for each, as `ccai ratings import` reads them."""
        return self.folder / "ratings"

    @property
    def work(self) -> Path:
        """Scratch space and checkpoints of torch stages that are not finished."""
        return self.folder / "work"

    @property
    def dagster(self) -> Path:
        """Dagster's record of runs and versions; it becomes `DAGSTER_HOME`."""
        return self.folder / "dagster"

    @property
    def source(self) -> Path:
        """A file with the address of the consultation folder that the results are of."""
        return self.folder / "folder.txt"

    @property
    def report(self) -> Path:
        """The audit report and its provenance."""
        return self.folder / "report"

    @property
    def wording_drafts(self) -> Path:
        """What a language model drafted of wordings, in JSON lines."""
        return self.folder / "wording_drafts.jsonl"

    @property
    def signed(self) -> Path:
        """Constitutions as they were signed, a table for each digest."""
        return self.folder / "signed"

    @property
    def manifest(self) -> Path:
        """What was made, by which run, with the digest of every file."""
        return self.folder / "manifest.json"

    @property
    def notices(self) -> Path:
        """Which notices were sent to the webhook."""
        return self.folder / "notices.json"

    @property
    def cache(self) -> Path:
        """Downloads that several consultations share."""
        return self.root / "cache"

    @property
    def lock(self) -> Path:
        """Held by whoever makes or takes over a database in `CCAI_HOME`."""
        return self.root / ".lock"

    @property
    def mlflow_database(self) -> Path:
        """MLflow's database, unless a server keeps it."""
        return self.root / "mlflow.db"

    @property
    def mlflow_artifacts(self) -> Path:
        """MLflow's artifacts, a folder for each consultation."""
        return self.root / "mlflow-artifacts"

    @property
    def mlflow_uri(self) -> str:
        """MLflow's store: a database in the home, or the server in `MLFLOW_TRACKING_URI`."""
        return os.environ.get("MLFLOW_TRACKING_URI") or f"sqlite:///{self.mlflow_database}"


def pages_in(report: Path) -> dict[str, Path]:
    """Return the pages that were made in a folder, by what they are called."""
    return {name: path for name, file in PAGES.items() if (path := report / file).is_file()}


def is_allowed(name: str) -> bool:
    """Whether results and trainings can be kept under the name of a consultation folder."""
    return bool(name) and name.lower() not in TAKEN and not name.startswith(".") and name.isprintable()


def check_name(name: str) -> None:
    """Check that results and trainings can be kept under the name of a consultation folder.

    Raises:
        ConsultationError: The home uses this name itself, or it is none for a folder and an experiment.
    """
    if not is_allowed(name):
        raise ConsultationError(
            f"{name!r} cannot be the name of a consultation folder, since results are kept under it: it begins with a "
            f"dot, has signs that cannot be printed, or is one of {', '.join(sorted(TAKEN))}. Rename the folder."
        )


def home_root() -> Path:
    """Return `CCAI_HOME` as an absolute path."""
    return Path(os.environ.get("CCAI_HOME") or ".ccai").absolute()


def make_private(root: Path) -> None:
    """Make the home, if there is none, and let nobody look in but its owner: it holds the votes of single people.

    A group that may write there is one that shares it on purpose, and keeps that.

    Raises:
        ConsultationError: It is a folder for the files of everybody, as `/tmp` is.
    """
    root.mkdir(parents=True, exist_ok=True, mode=0o700)
    mode = root.stat().st_mode
    if mode & stat.S_ISVTX:
        raise ConsultationError(f"{root} is for the files of everybody, and results are private. Name a folder in it.")
    kept = mode & ~(0o007 if mode & 0o020 else 0o077)
    if kept != mode:
        root.chmod(kept)


def place(url: str) -> Path:
    """Return a folder of results; one that is not on this machine behaves like a path."""
    if "://" not in url:
        return Path(url)
    from upath import UPath

    return cast(Path, UPath(url))


def _url(variable: str, default: Path, consultation: str) -> str:
    given = os.environ.get(variable)
    try:
        place(given or "")
    except (ValueError, ImportError) as error:
        raise ConsultationError(f"{variable} cannot be used: {error}") from error
    return f"{given.rstrip('/')}/{consultation}" if given else str(default)
