"""Tables as Parquet files, one an asset, at the place its key names.

Only tables pass through here. Models are folders in the model store. A table is read only if its file is, byte for
byte, the one that was recorded when it was made, so that what is computed from it is made of what the record says.

IO managers: https://docs.dagster.io/guides/build/io-managers
"""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from hashlib import sha256
from pathlib import Path
from typing import Any

import dagster as dg
import polars as pl
from upath import UPath

from ccai_dagster.audit.verification import content_versions
from ccai_dagster.core.errors import ConsultationError
from ccai_dagster.core.files import parsed_table, table_content, write_file
from resources.history import data_version, made_and_refusal, remedy
from resources.instance import storage_errors

FILE_DIGEST = "SHA-256"
"""Entry in the metadata of a materialization: of the bytes of the table's file."""


@contextmanager
def _failures(path: UPath) -> Iterator[None]:
    try:
        with storage_errors(Path(path.path)):
            yield
    except ConsultationError as error:
        raise dg.Failure(str(error), allow_retries=False) from error


class TableIOManager(dg.UPathIOManager):
    """Write a table under a temporary name and rename it, so that a half-written one is never read."""

    extension = ".parquet"

    def __init__(self, base_path: UPath, instance: dg.DagsterInstance) -> None:
        super().__init__(base_path=base_path)
        self._instance = instance
        self._made: dict[dg.AssetKey, dg.AssetMaterialization | None] = {}
        self._entries: dict[dg.AssetKey, Any] = {}

    def make_directory(self, path: UPath) -> None:
        """Make the folder of a table."""
        with _failures(path):
            super().make_directory(path)

    def dump_to_path(self, context: dg.OutputContext, obj: pl.DataFrame, path: UPath) -> None:
        """Write `obj`; what stood there before stays until the new file is whole."""
        if not isinstance(obj, pl.DataFrame):
            raise TypeError(f"{context.asset_key.to_user_string()} returned {type(obj).__name__}, not a table")
        self._entries.pop(context.asset_key, None)
        content = table_content(obj)
        context.add_output_metadata({FILE_DIGEST: sha256(content).hexdigest()})
        local = path.protocol in ("", "file", "local")
        if local:
            with _failures(path):
                write_file(Path(path.path), content)
        else:
            path.write_bytes(content)

    def get_metadata(self, context: dg.OutputContext, obj: pl.DataFrame) -> dict[str, Any]:
        """Say where the table is below the home, which may be copied to another place or machine."""
        key = context.asset_key.path
        return {"path": f"{self._base_path.name}/{'/'.join(key)}{self.extension}"}

    def load_from_path(self, context: dg.InputContext, path: UPath) -> pl.DataFrame:
        """Read a table whole.

        Raises:
            Failure: It is not there, it is not what was recorded, or its asset was refused since. Says what to do.
        """
        key = context.asset_key
        made = self._latest(key)
        if made is None or not path.exists():
            why = "is not there" if made is not None or not path.exists() else "is on no record of having been made"
            raise dg.Failure(f"{path} {why}. {remedy(key)}", allow_retries=False)
        content = path.read_bytes()
        try:
            if _is_recorded(content, path, _recorded(made), data_version(made)):
                return parsed_table(content, path)
        except ConsultationError as error:
            raise dg.Failure(str(error), allow_retries=False) from error
        raise dg.Failure(f"{path} was changed or damaged since it was made. {remedy(key)}", allow_retries=False)

    def _latest(self, key: dg.AssetKey) -> dg.AssetMaterialization | None:
        """What is on record of a table; it is asked once in a run, since what is read is not made again in it."""
        if key not in self._made:
            if key not in self._entries:
                # All assets at first, then one that the run itself has made: a page reads a hundred.
                records = self._instance.get_asset_records([key] if self._entries else None)
                self._entries |= {each.asset_entry.asset_key: each.asset_entry for each in records}
            entry = self._entries.get(key)
            made, refused = (None, None) if entry is None else made_and_refusal(entry, self._instance)
            if refused is not None:
                raise dg.Failure(refused, allow_retries=False)
            self._made[key] = made
        return self._made[key]

    def made_before(self, key: dg.AssetKey) -> pl.DataFrame | None:
        """Return the table of an asset as it was made; None if it is not there any more, or another is."""
        path = self._base_path.joinpath(*key.path[:-1], f"{key.path[-1]}{self.extension}")
        event = self._instance.get_latest_materialization_event(key)
        made = event.asset_materialization if event is not None else None
        try:
            content = path.read_bytes()
            if made is not None and _is_recorded(content, path, _recorded(made), data_version(made)):
                return parsed_table(content, path)
        except (FileNotFoundError, ConsultationError):
            pass
        return None


class Tables(dg.ConfigurableIOManagerFactory[TableIOManager]):
    """The tables of one consultation.

    Attributes:
        url: A folder or any fsspec address.
    """

    url: str

    def create_io_manager(self, context: dg.InitResourceContext) -> TableIOManager:
        """Return the IO manager."""
        if context.instance is None:
            raise ValueError("tables are read by what an instance of Dagster has on record")
        return TableIOManager(UPath(self.url), context.instance)

    def path(self, key: dg.AssetKey) -> UPath:
        """Return where the table of an asset is kept."""
        return UPath(self.url).joinpath(*key.path[:-1], f"{key.path[-1]}.parquet")

    def keeps(self, made: dg.AssetMaterialization) -> bool:
        """Tell whether the table that was made is still there and not another; read again only if its file changed."""
        path = self.path(made.asset_key)
        return path.exists() and _is_kept(path, path.fs.ukey(path.path), _recorded(made), data_version(made))


def _recorded(made: dg.AssetMaterialization) -> str | None:
    entry = made.metadata.get(FILE_DIGEST)
    return str(entry.value) if entry is not None else None


@lru_cache(maxsize=4096)
def _is_kept(path: UPath, state: str, recorded: str | None, version: str | None) -> bool:
    """Look at a file once for each `state`, which tells its size, place on the disk and times."""
    try:
        return _is_recorded(path.read_bytes(), path, recorded, version)
    except ConsultationError:
        return False


def _is_recorded(content: bytes, path: UPath, recorded: str | None, version: str | None) -> bool:
    """Whether these are the bytes on record: what has others is not opened, since it may make the reader panic.

    Tables that were made before bytes were on record are known by the digest of their content.
    """
    if recorded is not None:
        return sha256(content).hexdigest() == recorded
    return version in content_versions(path.stem, parsed_table(content, path))
