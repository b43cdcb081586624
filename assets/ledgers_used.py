"""Which observation of each ledger an asset was made from, and whether the ledger is still what was observed.

Used by every asset that reads a ledger; no asset is defined here.
"""

from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path

import dagster as dg

from ccai_dagster.decisions.ledger import ledger_digest, read_ledger
from ccai_dagster.digest import SHORT
from ccai_dagster.errors import ConsultationError
from resources.history import data_version

SUFFIX = "_ledger"


def ledgers_used(instance: dg.DagsterInstance, keys: Iterable[dg.AssetKey]) -> dict[str, str]:
    """Return, for each ledger among the keys, the observation that Dagster records as the input.

    Args:
        instance: Dagster's record.
        keys: What an asset depends on.

    Returns:
        `NAME used`: version, number and time of the observation, in words.

    Raises:
        ConsultationError: The ledger was changed after it was observed, so that the record would point to
            rows that were not read.
    """
    found = {}
    for key in keys:
        name = key.to_user_string()
        if not name.endswith(SUFFIX):
            continue
        records = instance.fetch_observations(key, limit=1).records
        observation = records[0].asset_observation if records else None
        if observation is None:
            found[f"{name} used"] = "not observed before this run"
            continue
        observed = data_version(observation) or ""
        file = observation.metadata.get("file")
        path = Path(str(file.value)) if file is not None else None
        if path is None or ledger_digest(read_ledger(path, name.removesuffix(SUFFIX))) != observed:
            raise ConsultationError(
                f"{path or name}: changed after it was last observed, so this would be on record as made from "
                "other rows than it read. Observe it again (`ccai run` does so first), then materialize."
            )
        when = datetime.fromtimestamp(records[0].timestamp, UTC).isoformat(timespec="seconds")
        found[f"{name} used"] = (
            f"version {observed[:SHORT]}, observation {records[0].storage_id} of {when}, "
            f"Dagster run {records[0].run_id}"
        )
    return found
