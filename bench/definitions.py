"""Loading the code location, against importing Dagster alone."""

from __future__ import annotations

import subprocess
import sys

from bench.pairs import compare

LOAD = "from ccai_dagster.definitions import defs; defs().resolve_asset_graph()"


def main() -> None:
    """Print the comparison."""

    def python(code: str) -> None:
        subprocess.run([sys.executable, "-W", "ignore", "-c", code], check=True)

    compare("loading the definitions", lambda: python(LOAD), lambda: python("import dagster"), "import dagster", 1.6)


if __name__ == "__main__":
    main()
