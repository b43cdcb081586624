"""Collective Constitutional AI: the methods, and the one place that assembles the graph.

Method packages (`deliberation`, `decisions`, `constitution`, `feedback`, `training`, `evaluation`, `audit`)
take tables and settings and return tables; they know nothing of Dagster. `definitions` builds the code
location out of the top-level packages `assets` and `resources`.
"""

import os

# Threads that wait must not spin: with a neighbour on the same cores, spinning makes numerical code many times
# slower. It is read when the first numerical library is loaded, so it is set before any of them.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
