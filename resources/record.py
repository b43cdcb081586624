"""Dagster's record of a consultation's runs and versions: where it lies, and opening it.

Belongs here: everything that happens before Dagster is asked. Doesn't belong here: what it is asked (`history`), and
what runs (`ccai_dagster.run`).

Instances: https://docs.dagster.io/deployment/oss/dagster-yaml
"""

import os
import shutil
from pathlib import Path

import dagster as dg

from ccai_dagster.core.home import Home, make_private


def open_record(home: Home) -> dg.DagsterInstance:
    """Put `dagster.yaml` where Dagster reads it, set `DAGSTER_HOME` and open the record."""
    make_private(home.root)
    home.dagster.mkdir(exist_ok=True)
    shutil.copyfile(Path(__file__).parents[1] / "dagster.yaml", home.dagster / "dagster.yaml")
    os.environ["DAGSTER_HOME"] = str(home.dagster)
    return dg.DagsterInstance.get()
