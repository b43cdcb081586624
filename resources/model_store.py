"""Models as folders addressed by the digest of their content.

A model is added whole or not at all, never changed, and never pickled: weights are safetensors.
"""

import shutil
import uuid
from pathlib import Path

import dagster as dg
from upath import UPath

from ccai_dagster.digest import folder_digest
from ccai_dagster.errors import ConsultationError

FORBIDDEN_SUFFIXES = {".bin", ".pt", ".pth", ".pkl", ".pickle", ".py"}
"""Files that could run code when loaded."""


class ModelStore(dg.ConfigurableResource):
    """The models of one consultation.

    Attributes:
        url: A folder or any fsspec address.
        cache: Where models of a remote store are kept for use.
    """

    url: str
    cache: str

    def add(self, folder: Path) -> str:
        """Move a finished model folder into the store and return its digest.

        Raises:
            ConsultationError: The folder holds a file that is not data, or no weights.
        """
        names = [path.name for path in folder.rglob("*") if path.is_file()]
        if bad := [name for name in names if Path(name).suffix in FORBIDDEN_SUFFIXES]:
            raise ConsultationError(
                f"{folder}: {bad[0]} could run code when loaded. Save models as safetensors."
            )
        if not any(name.endswith(".safetensors") for name in names):
            raise ConsultationError(f"{folder}: no safetensors file in it; this is no model folder.")
        digest = folder_digest(folder)
        target = UPath(self.url) / digest
        if target.exists():
            return digest
        if self._local:
            partial = Path(self.url) / f".{digest}.{uuid.uuid4().hex}"
            partial.parent.mkdir(parents=True, exist_ok=True)
            shutil.copytree(folder, partial)
            partial.rename(Path(self.url) / digest)
        else:
            for path in sorted(folder.rglob("*"), key=lambda each: each.name == "config.json"):
                if path.is_file():  # config.json last: without it nothing is taken for a model
                    (target / path.relative_to(folder).as_posix()).write_bytes(path.read_bytes())
        return digest

    def folder(self, digest: str) -> Path:
        """Return a local folder with the model of this digest.

        Raises:
            ConsultationError: There is none.
        """
        if self._local:
            found = Path(self.url) / digest
            if not (found / "config.json").is_file():
                raise ConsultationError(
                    f"{found}: no such model. Materialize the asset that trains it again."
                )
            return found
        local = Path(self.cache) / digest
        if not local.exists():
            partial = local.with_name(f".{digest}.{uuid.uuid4().hex}")
            remote = UPath(self.url) / digest
            if not (remote / "config.json").exists():
                raise ConsultationError(
                    f"{remote}: no such model. Materialize the asset that trains it again."
                )
            for path in remote.rglob("*"):
                if path.is_file():
                    place = partial / path.relative_to(remote).as_posix()
                    place.parent.mkdir(parents=True, exist_ok=True)
                    place.write_bytes(path.read_bytes())
            partial.rename(local)
        return local

    @property
    def _local(self) -> bool:
        return UPath(self.url).protocol in ("", "file", "local")
