#!/usr/bin/env bash
# red-dwarf 0.4.0 (numpy 2.4.6): `reddwarf.utils.stats.count_votes` with the vote value 0 counts all votes, not passes.
#
# A pass is 0 in Polis, and the function is told which votes to count by their value; 0 is taken for no value at all.
# Its exporter in Polis's CSV form has passes and totals from there: passes are as many as all votes.
#
# Seen, of two statements with votes 1, 1, -1, 0 and 0, 0, none, 1:
#     agree 2 1    disagree 1 0    pass 4 3
#
# Fails if that changes.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --disable-pip-version-check red-dwarf==0.4.0 numpy==2.4.6 2> "$work/pip.log" || { cat "$work/pip.log"; exit 1; }
cat > "$work/passes.py" <<'PYTHON'
import numpy as np
from reddwarf.utils.stats import count_votes

votes = np.array([[1, 0], [1, 0], [-1, np.nan], [0, 1]])
counts = {name: count_votes(votes, value) for name, value in (("agree", 1), ("disagree", -1), ("pass", 0))}
print("    ".join(f"{name} {first} {second}" for name, (first, second) in counts.items()))
PYTHON
seen=$("$work/venv/bin/python" -W ignore "$work/passes.py")
echo "$seen"
[ "$seen" = "agree 2 1    disagree 1 0    pass 4 3" ]
