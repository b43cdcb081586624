"""Collective Constitutional AI: the methods, and the one place that assembles the graph.

Packages of methods (`deliberation`, `decisions`, `constitution`, `feedback`, `training`, `evaluation`, `audit`,
`pages`, `replication`) take tables and settings and return tables or pages. They know nothing of Dagster, nor does
what they stand on (`consultation`, `contracts`, `statistics`, `core`) or `stages`, which runs them in processes of
their own. `definitions` builds the code location out of the top-level packages `assets` and `resources`; `cli` is
the command `ccai`.
"""

import os

# Threads that wait must not spin for long: with a neighbour on the same cores, spinning makes numerical code up to 40
# times slower. Asleep at once, they would cost a training of many small kernels a tenth; a thousand looks take
# microseconds. Read when the first numerical library is loaded, so it is set before any of them.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
os.environ.setdefault("GOMP_SPINCOUNT", "1000")
