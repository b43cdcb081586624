#!/usr/bin/env bash
# polars 2.1.0 (CPython 3.11 on Linux): once polars is imported, SIGINT no longer interrupts a waiting system call.
#
# Without polars a SIGINT during `subprocess.Popen.wait()` raises KeyboardInterrupt at once. After `import polars` it is
# raised only when the child has ended by itself, so Ctrl-C seems to do nothing. Setting Python's own handler again
# (`signal.signal(SIGINT, signal.default_int_handler)`) brings the usual behaviour back.
#
# Seen, with a child of four seconds and SIGINT after half a second:
#     plain: at once    polars: when the child ended    polars, handler set again: at once
#
# Fails if that changes.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --disable-pip-version-check polars==2.1.0 2> "$work/pip.log" || { cat "$work/pip.log"; exit 1; }
cat > "$work/wait.py" <<'PYTHON'
import os
import signal
import subprocess
import sys
import threading
import time

signal.signal(signal.SIGINT, signal.default_int_handler)
if sys.argv[1] != "plain":
    import polars  # noqa: F401
if sys.argv[1] == "again":
    signal.signal(signal.SIGINT, signal.default_int_handler)
child = subprocess.Popen(["sleep", "4"])
threading.Timer(0.5, os.kill, (os.getpid(), signal.SIGINT)).start()
began = time.monotonic()
try:
    child.wait()
except KeyboardInterrupt:
    print("at once" if time.monotonic() - began < 2 else "when the child ended")
finally:
    child.kill()
PYTHON
plain=$("$work/venv/bin/python" "$work/wait.py" plain)
imported=$("$work/venv/bin/python" "$work/wait.py" polars)
again=$("$work/venv/bin/python" "$work/wait.py" again)
echo "plain: $plain    polars: $imported    polars, handler set again: $again"
[ "$plain" = "at once" ] && [ "$imported" = "when the child ended" ] && [ "$again" = "at once" ]
