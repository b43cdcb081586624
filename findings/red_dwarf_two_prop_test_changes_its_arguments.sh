#!/usr/bin/env bash
# red-dwarf 0.4.0 (numpy 2.4.6): `reddwarf.utils.stats.two_prop_test` adds to the arrays it is given.
#
# It is documented to accept numpy arrays. The counts of successes are smoothed in place, so each call leaves the
# caller's counts one higher than they were, and the same call a second time gives another result. Lists and numbers
# are safe.
#
# Seen, 8 of 10 against 3 of 10:
#     first 2.1681    again 2.2887    counts afterwards 10 and 5
#
# Fails if that changes.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --disable-pip-version-check red-dwarf==0.4.0 numpy==2.4.6 2> "$work/pip.log" || { cat "$work/pip.log"; exit 1; }
cat > "$work/twice.py" <<'PYTHON'
import numpy as np
from reddwarf.utils.stats import two_prop_test

inside, outside, of = np.array([8]), np.array([3]), np.array([10])
first, again = (two_prop_test(inside, outside, of, of)[0] for _ in range(2))
print(f"first {first:.4f}    again {again:.4f}    counts afterwards {inside[0]} and {outside[0]}")
PYTHON
seen=$("$work/venv/bin/python" -W ignore "$work/twice.py")
echo "$seen"
[ "$seen" = "first 2.1681    again 2.2887    counts afterwards 10 and 5" ]
