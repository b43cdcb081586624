"""What the files of Dagster's record tell at once, without loading Dagster, which takes more than a second.

Belongs here: questions that a query answers for certain. Doesn't belong here: what Dagster itself must be asked
(`record`, `history`), which is everything that a query leaves open.
"""

import os
import sqlite3
from contextlib import closing
from pathlib import Path

VERSIONS = "history/runs/index.db"
"""The database of versions; beside it each run has one of its own."""
RUNS = "history/runs.db"
_LAST_RUNS = "SELECT last_run_id FROM asset_keys WHERE last_run_id IS NOT NULL"
_FAILED = "SELECT run_id FROM runs WHERE status = 'FAILURE'"
_UNDER_WAY = "SELECT run_id FROM runs WHERE status IN ('NOT_STARTED', 'STARTING', 'STARTED', 'CANCELING')"


def keeps_files() -> bool:
    """Whether Dagster keeps its record in files of its folder, not in PostgreSQL."""
    return not os.environ.get("CCAI_POSTGRES_URL")


def all_ended_well(folder: Path) -> bool:
    """Whether it is certain that no run is under way and no asset's last run failed; else Dagster is asked which.

    Args:
        folder: `DAGSTER_HOME`.

    Returns:
        False also where a query cannot tell: the record is in PostgreSQL, damaged, or of another form.
    """
    if not keeps_files():
        return False
    if not (folder / VERSIONS).exists():  # nothing is on record yet
        return True
    found = []
    for name, query in ((VERSIONS, _LAST_RUNS), (RUNS, _FAILED), (RUNS, _UNDER_WAY)):
        try:
            with closing(sqlite3.connect(f"{(folder / name).as_uri()}?mode=ro", uri=True)) as database:
                found.append({run_id for (run_id,) in database.execute(query)})
        except sqlite3.Error:
            return False
    return found[0].isdisjoint(found[1]) and not found[2]
