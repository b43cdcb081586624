"""Models as folders addressed by the digest of their content.

A model is added whole or not at all, never changed, and never pickled: weights are safetensors. What is damaged
later (a disk, a hand) is noticed by its digest before it is used.

Resources: https://docs.dagster.io/guides/build/external-resources
"""

import os
import shutil
import uuid
from contextlib import suppress
from functools import lru_cache
from pathlib import Path

import dagster as dg
from upath import UPath

from ccai_dagster.core.digest import folder_digest, text_digest, value_digest
from ccai_dagster.core.errors import ConsultationError
from ccai_dagster.core.files import write_file
from ccai_dagster.core.unchanged import files_state

FORBIDDEN_SUFFIXES = {".bin", ".pt", ".pth", ".pkl", ".pickle", ".py"}
"""Files that could run code when loaded."""
LAST_FILE = "config.json"
"""Written last in a remote store: without it nothing is taken for a model."""


class ModelStore(dg.ConfigurableResource["ModelStore"]):
    """The models of one consultation.

    Attributes:
        url: A folder or any fsspec address.
        cache: Where models of a remote store are kept for use.
    """

    url: str
    cache: str

    def add(self, folder: Path) -> str:
        """Copy a finished model folder into the store and return its digest.

        Raises:
            ConsultationError: The folder holds a file that is not data, or no weights.
        """
        names = [path.name for path in folder.rglob("*") if path.is_file()]
        if bad := [name for name in names if Path(name).suffix in FORBIDDEN_SUFFIXES]:
            raise ConsultationError(f"{folder}: {bad[0]} could run code when loaded. Save models as safetensors.")
        if not any(name.endswith(".safetensors") for name in names):
            raise ConsultationError(f"{folder}: no safetensors file in it; this is no model folder.")
        digest = folder_digest(folder)
        if self._local:
            self._add_here(folder, digest)
        else:
            self._add_there(folder, UPath(self.url) / digest)
        return digest

    def folder(self, digest: str) -> Path:
        """Return a local folder with the model of this digest; its bytes are verified once a process.

        Raises:
            ConsultationError: There is none, or it is no longer what its digest says.
        """
        if self._local:
            found = Path(self.url) / digest
            if not (found / LAST_FILE).is_file():
                raise ConsultationError(f"{found}: no such model. Materialize the asset that trains it again.")
            if not is_whole(found, digest):
                self._note(found).unlink(missing_ok=True)
                raise ConsultationError(
                    f"{found}: damaged: its files have another digest than its name. Remove the folder and materialize "
                    "the asset that trains the model again, or restore it from a backup."
                )
            return found
        local = Path(self.cache) / digest
        if not (local.exists() and is_whole(local, digest)):
            self._fetch(UPath(self.url) / digest, local, digest)
        return local

    def keeps(self, digest: str) -> bool:
        """Tell whether a model is there, and whole as far as can be told without reading gigabytes each time.

        Its bytes are read unless its files are as they were when they were last read. Who uses it (`folder`) reads them
        in any case. What is in a remote store is not fetched to be looked at.
        """
        found = UPath(self.url) / digest
        if not digest or not (found / LAST_FILE).is_file():
            return False
        if not self._local:
            return True
        folder = Path(self.url) / digest
        state = files_state(sorted(path for path in folder.rglob("*") if path.is_file()))
        note = self._note(folder)
        if state is not None and note.is_file() and note.read_text(encoding="utf-8") == value_digest(state):
            return True
        if not is_whole(folder, digest):
            return False
        if state is not None:
            with suppress(OSError):  # where nothing can be written it is read again
                note.parent.mkdir(parents=True, exist_ok=True)
                write_file(note, value_digest(state))
        return True

    def _note(self, folder: Path) -> Path:
        """Where it is noted in which state the files of a model were whole."""
        return Path(self.cache) / f"{text_digest(str(folder))}.whole"

    def address(self, digest: str) -> str:
        """Return where the model of this digest is, or would be."""
        return str(UPath(self.url) / digest)

    def _add_here(self, folder: Path, digest: str) -> None:
        target = Path(self.url) / digest
        if target.exists():
            if is_whole(target, digest):
                return
            # The same model was made again: what was damaged gives way to it.
            target.rename(target.with_name(f".{digest}.damaged.{uuid.uuid4().hex}"))
        partial = target.with_name(f".{digest}.{uuid.uuid4().hex}")
        partial.parent.mkdir(parents=True, exist_ok=True)
        try:
            shutil.copytree(folder, partial)
            for path in (*partial.rglob("*"), partial):
                _flush(path)
            partial.rename(target)
        except OSError:
            shutil.rmtree(partial, ignore_errors=True)
            if not (target.exists() and is_whole(target, digest)):  # another process was faster
                raise
        for old in target.parent.glob(f".{digest}.*"):
            shutil.rmtree(old, ignore_errors=True)

    def _add_there(self, folder: Path, target: UPath) -> None:
        if (target / LAST_FILE).exists():
            return
        for path in sorted(folder.rglob("*"), key=lambda each: each.name == LAST_FILE):
            if path.is_file():
                place = target / path.relative_to(folder).as_posix()
                place.parent.mkdir(parents=True, exist_ok=True)
                place.write_bytes(path.read_bytes())

    def _fetch(self, remote: UPath, local: Path, digest: str) -> None:
        if not (remote / LAST_FILE).exists():
            raise ConsultationError(f"{remote}: no such model. Materialize the asset that trains it again.")
        partial = local.with_name(f".{digest}.{uuid.uuid4().hex}")
        for path in remote.rglob("*"):
            if path.is_file():
                place = partial / path.relative_to(remote).as_posix()
                place.parent.mkdir(parents=True, exist_ok=True)
                place.write_bytes(path.read_bytes())
        if not is_whole(partial, digest):
            shutil.rmtree(partial)
            raise ConsultationError(
                f"{remote}: damaged: its files have another digest than its name. Remove it and materialize the asset "
                "that trains the model again."
            )
        shutil.rmtree(local, ignore_errors=True)
        partial.rename(local)

    @property
    def _local(self) -> bool:
        return UPath(self.url).protocol in ("", "file", "local")


def is_whole(folder: Path, digest: str) -> bool:
    """Tell whether a model folder has this digest; read again only after a file was changed."""
    state = tuple(
        (str(path), path.stat().st_size, path.stat().st_mtime_ns)
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    )
    return _digest_in_state(folder, state) == digest


@lru_cache(maxsize=256)
def _digest_in_state(folder: Path, state: tuple[tuple[str, int, int], ...]) -> str:
    return folder_digest(folder)


def _flush(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
