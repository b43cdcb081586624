"""How a page that an asset makes becomes a file below the consultation's results; no asset is defined here."""

from pathlib import Path

import dagster as dg

from assets.table_asset import Table
from ccai_dagster import contracts
from ccai_dagster.core.files import write_file
from ccai_dagster.digest import file_digest
from resources.home import Home


def report_file(home: Home, name: str, text: str) -> Table:
    """Write a file of the report, whole or not at all, and return the table that tells of it."""
    path = home.report / name
    path.parent.mkdir(parents=True, exist_ok=True)
    write_file(path, text)
    digest = file_digest(path)
    row = {"path": f"report/{name}", "file_digest": digest, "n_bytes": path.stat().st_size}
    return Table(
        contracts.FILE.build([row]),
        {"file": dg.MetadataValue.path(str(path)), "open it": dg.MetadataValue.url(Path(path).as_uri())},
        version=digest,
    )
