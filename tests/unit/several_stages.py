"""Runs several requests one after another in the same processes, so that libraries are imported once.

accelerate launch --config_file ... several_stages.py REQUEST...
"""

from __future__ import annotations

import sys
from pathlib import Path

from ccai_dagster.stages import worker

if __name__ == "__main__":
    for each in sys.argv[1:]:
        if status := worker.main(Path(each)):
            sys.exit(status)
