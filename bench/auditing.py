"""Asking why, how things stand and what would follow, against loading Dagster; verifying against hashing its files.

`python -m bench.auditing` measures on the sample, or on the consultation that CCAI_CONSULTATION names.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from bench.pairs import compare, cpu_seconds
from ccai_dagster.audit.manifest import CONSULTATION, OUTSIDE, SAMPLE_FILES, read_manifest
from ccai_dagster.consultation.folder import chosen_consultation
from ccai_dagster.core.digest import file_digest


def main() -> None:
    """Print both comparisons; they need a finished `ccai run`."""
    home = Path(os.environ.get("CCAI_HOME", ".ccai")) / chosen_consultation().name
    if not (home / "manifest.json").is_file():
        print(f"audit and verify: not measured, since {home} holds no finished run; `make run` makes one")
        return

    def python(*arguments: str) -> None:
        subprocess.run([sys.executable, "-W", "ignore", *arguments], check=True, capture_output=True)

    for words in ("audit 17", "audit people", "status", "what-if threshold gac_threshold 0.5"):
        ask = ["-m", "ccai_dagster.cli.app", *words.split()]
        compare(
            f"CPU of ccai {words}",
            lambda ask=ask: python(*ask),
            lambda: python("-c", "import dagster"),
            "import dagster",
            0.7,
            clock=cpu_seconds,
        )
    elsewhere = (f"{CONSULTATION}/", f"{SAMPLE_FILES}/", f"{OUTSIDE}/")
    files = [home / name for name in read_manifest(home / "manifest.json")[0].files if not name.startswith(elsewhere)]
    compare(
        "ccai verify",
        lambda: python("-m", "ccai_dagster.cli.app", "verify"),
        lambda: [file_digest(path) for path in files],
        f"SHA-256 of its {len(files)} results",
        2,
        runs=3,
    )


if __name__ == "__main__":
    main()
