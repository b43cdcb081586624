"""The graph up to the constitutions, and a run with nothing to do, against importing Dagster alone."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

from bench.pairs import compare

UP_TO_CONSTITUTIONS = (
    "group:public_input or group:deliberation or key:selected_statements or key:*/constitution "
    "or key:constitution_overlap"
)


def main() -> None:
    """Print both comparisons; the second one needs a finished `ccai run`."""

    def python(*arguments: str, home: Path | None = None) -> None:
        environment = {**os.environ, **({"CCAI_HOME": str(home)} if home else {})}
        subprocess.run([sys.executable, "-W", "ignore", *arguments], check=True, env=environment, capture_output=True)

    run = ["-m", "ccai_dagster.cli.app", "run"]
    with tempfile.TemporaryDirectory() as folder:
        compare(
            "votes to constitutions in Dagster",
            lambda: python(*run, "--select", UP_TO_CONSTITUTIONS, home=Path(folder)),
            lambda: python("-c", "import dagster"),
            "import dagster",
            runs=3,
        )
    home = Path(os.environ.get("CCAI_HOME", ".ccai"))
    if not list(home.glob("*/report/audit_report.html")):
        print(f"a run with nothing to do: not measured, since {home} holds no finished run; `make run` makes one")
        return
    compare(
        "a run with nothing to do",
        lambda: python(*run),
        lambda: python("-c", "import dagster"),
        "import dagster",
        runs=3,
    )
