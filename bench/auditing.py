"""Asking why, and verifying, against what they may take: one second and ten."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

from bench.pairs import compare
from ccai_dagster.consultation import SAMPLE, read_consultation

LIMITS = {"audit": 1.0, "verify": 10.0}
"""Seconds that a person may wait."""


def main() -> None:
    """Print both comparisons; they need a finished `ccai run` of the sample."""
    home = Path(os.environ.get("CCAI_HOME", ".ccai")) / read_consultation(SAMPLE).name
    if not (home / "manifest.json").is_file():
        print(f"audit and verify: not measured, since {home} holds no finished run; `make run` makes one")
        return
    for command, limit in LIMITS.items():
        asked = ["17"] if command == "audit" else []

        def ask(command: str = command, asked: list[str] = asked) -> None:
            subprocess.run(
                [sys.executable, "-m", "ccai_dagster.cli", command, *asked], check=True, capture_output=True
            )

        compare(
            f"ccai {command}", ask, lambda limit=limit: time.sleep(limit), f"{limit:.0f} s, the limit", runs=3
        )
