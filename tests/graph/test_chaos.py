"""The short form of `make chaos`: the command is killed a few times on its way to the constitutions."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

REPOSITORY = Path(__file__).parents[2]


def test_a_command_that_is_killed_again_and_again_loses_nothing() -> None:
    done = subprocess.run(
        [sys.executable, "-W", "ignore", REPOSITORY / "tests" / "chaos.py", "--light", "--kills", "2", "--seed", "3"],
        env={**os.environ, "PYTHONPATH": ":".join([str(REPOSITORY), *sys.path])},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    told = dict(line.rsplit(maxsplit=1) for line in done.stdout.splitlines() if line and line[0].isalpha())
    assert told["kills of the command"] == "2"
    lost = {name: count for name, count in told.items() if name.startswith("lost: ")}
    assert len(lost) == 8 and set(lost.values()) == {"0"}, done.stdout
