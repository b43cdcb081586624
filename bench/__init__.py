"""Benchmarks: each measures something people wait for and prints it as a ratio to a reference in the same run.

`python -m bench` runs all of them. Machines are noisy: runs alternate and medians are printed.
"""

import os

# Modules are compiled once on the machines of people; where that is forbidden, each command would do it again.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
