#!/usr/bin/env bash
# dagster 1.13.27: after an execution in process, SIGTERM has the handler that SIGINT has.
#
# A program that a script starts in its background (`program &` in a shell without job control) inherits a SIGINT that is
# ignored. If it materializes an asset, SIGTERM is ignored from then on as well, by it and by every child it starts:
# `kill PID`, `timeout` and service managers no longer end it, only SIGKILL does.
#
# Seen:
#     SIGINT default: default -> python handler    SIGINT ignored: default -> ignored
#
# Fails if that changes.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --disable-pip-version-check dagster==1.13.27 2> "$work/pip.log" || { cat "$work/pip.log"; exit 1; }
cat > "$work/run.py" <<'PYTHON'
import signal
import sys

import dagster as dg

signal.signal(signal.SIGINT, signal.SIG_IGN if sys.argv[1] == "ignored" else signal.default_int_handler)


@dg.asset
def one() -> None: ...


def kind(handler: object) -> str:
    return {signal.SIG_IGN: "ignored", signal.SIG_DFL: "default"}.get(handler, "python handler")


before = kind(signal.getsignal(signal.SIGTERM))
with dg.DagsterInstance.ephemeral() as instance:
    assert dg.materialize([one], instance=instance).success
print(before, "->", kind(signal.getsignal(signal.SIGTERM)))
PYTHON
default=$(DAGSTER_DISABLE_TELEMETRY=true "$work/venv/bin/python" "$work/run.py" default 2> /dev/null)
ignored=$(DAGSTER_DISABLE_TELEMETRY=true "$work/venv/bin/python" "$work/run.py" ignored 2> /dev/null)
echo "SIGINT default: $default    SIGINT ignored: $ignored"
[ "$default" = "default -> python handler" ] && [ "$ignored" = "default -> ignored" ]
