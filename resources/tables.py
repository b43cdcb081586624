"""Tables as Parquet files, one an asset, at the place its key names.

Only tables pass through here. Models are folders in the model store.

IO managers: https://docs.dagster.io/guides/build/io-managers
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import dagster as dg
import polars as pl
from upath import UPath

from ccai_dagster.core.errors import ConsultationError
from ccai_dagster.core.files import write_file
from resources.instance import storage_errors


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

    def make_directory(self, path: UPath) -> None:
        """Make the folder of a table."""
        with _failures(path):
            super().make_directory(path)

    def dump_to_path(self, context: dg.OutputContext, obj: pl.DataFrame, path: UPath) -> None:
        """Write `obj`; what stood there before stays until the new file is whole."""
        if not isinstance(obj, pl.DataFrame):
            raise TypeError(f"{context.asset_key.to_user_string()} returned {type(obj).__name__}, not a table")
        local = path.protocol in ("", "file", "local")
        if local:
            with _failures(path):
                write_file(Path(path.path), lambda file: obj.write_parquet(file, compression="zstd"))
            return
        with path.open("wb") as handle:
            obj.write_parquet(handle, compression="zstd")

    def load_from_path(self, context: dg.InputContext, path: UPath) -> pl.DataFrame:
        """Read a table whole."""
        if not path.exists():
            key = context.asset_key.to_user_string()
            raise dg.Failure(f"{path} is not there: materialize {key} first, or run `ccai run`.")
        with path.open("rb") as handle:
            return pl.read_parquet(handle)


class Tables(dg.ConfigurableIOManagerFactory[TableIOManager]):
    """The tables of one consultation.

    Attributes:
        url: A folder or any fsspec address.
    """

    url: str

    def create_io_manager(self, context: object) -> TableIOManager:
        """Return the IO manager."""
        return TableIOManager(base_path=UPath(self.url))

    def path(self, key: dg.AssetKey) -> UPath:
        """Return where the table of an asset is kept."""
        return UPath(self.url).joinpath(*key.path[:-1], f"{key.path[-1]}.parquet")
