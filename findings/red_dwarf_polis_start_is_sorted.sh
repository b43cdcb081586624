#!/usr/bin/env bash
# red-dwarf 0.4.0 (numpy 2.4.6, scikit-learn 1.9.1): the start "polis" of PolisKMeans takes the leftmost points.
#
# It is documented to take the first unique data points, as the engine of Polis takes those who joined first, but it
# takes them from `numpy.unique`, which sorts. The search for groups therefore starts from the two people with the
# smallest first coordinate, often neighbours at the edge, and the order of participants, which decides in Polis, has
# no influence. `run_pipeline` uses this start unless it is given centres.
#
# Seen, for the points (5 5), (0 0), (5 6), (0 1), (-9 0) and two clusters:
#     start: (-9 0) (0 0)    reversed: (-9 0) (0 0)    the first two are (5 5) (0 0)
#
# Fails if that changes.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --disable-pip-version-check red-dwarf==0.4.0 numpy==2.4.6 scikit-learn==1.9.1 2> "$work/pip.log" || { cat "$work/pip.log"; exit 1; }
cat > "$work/start.py" <<'PYTHON'
import numpy as np
from reddwarf.sklearn.cluster import PolisKMeans

POINTS = np.array([[5.0, 5.0], [0.0, 0.0], [5.0, 6.0], [0.0, 1.0], [-9.0, 0.0]])


def start(points: np.ndarray) -> str:
    centres = PolisKMeans(n_clusters=2, init="polis").fit(points).init_centers_used_
    return " ".join(f"({x:g} {y:g})" for x, y in centres)


print(f"start: {start(POINTS)}    reversed: {start(POINTS[::-1])}    the first two are (5 5) (0 0)")
PYTHON
seen=$("$work/venv/bin/python" -W ignore "$work/start.py")
echo "$seen"
[ "$seen" = "start: (-9 0) (0 0)    reversed: (-9 0) (0 0)    the first two are (5 5) (0 0)" ]
