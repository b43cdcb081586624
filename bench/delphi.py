"""The same votes through the Python engine of Polis (`delphi/` of compdemocracy/polis), where somebody has a checkout.

Run as a script it times the engine's own steps, without its server and database, and saves what they give. It needs
numpy, pandas, scipy and natsort and is run in the environment of `red_dwarf`, which brings them.
"""

from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
import time
import types
from pathlib import Path

import numpy as np


def timed(python: Path, checkout: Path, votes: Path, results: Path) -> dict[str, float]:
    """Return seconds by stage.

    Args:
        python: Of the environment.
        checkout: Of the Polis repository.
        votes: Saved with `numpy.savez`, by the names of their columns.
        results: Where groups and consensus are saved.
    """
    inherited = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    command = [python, "-W", "ignore", __file__, checkout / "delphi" / "polismath", votes, results]
    done = subprocess.run(command, check=True, capture_output=True, env=inherited)
    return dict(json.loads(done.stdout.splitlines()[-1]))


def _measure(package: str, path: str, results: str) -> None:
    logging.disable(logging.CRITICAL)
    # Its own start would import the server and the database.
    bare = types.ModuleType("polismath")
    bare.__path__ = [package]
    sys.modules["polismath"] = bare
    from polismath.conversation.conversation import Conversation

    columns = dict(np.load(path))
    rows = zip(columns["participant_id"], columns["statement_id"], columns["vote"], strict=True)
    votes = [{"pid": int(who), "tid": int(what), "vote": int(vote)} for who, what, vote in rows]
    marks: dict[str, float] = {}
    began = time.perf_counter()

    def mark(stage: str) -> None:
        marks[stage] = time.perf_counter() - began - sum(marks.values())

    conversation = Conversation("bench").update_votes({"votes": votes, "lastVoteTimestamp": 0}, recompute=False)
    mark("matrix")
    conversation._compute_pca()
    mark("imputation and components")
    conversation._compute_clusters()
    mark("groups, their number by rule")
    conversation._compute_repness()
    mark("representative statements")
    consensus = conversation._compute_group_aware_consensus()
    mark("consensus")
    group = {who: each["id"] for each in conversation.group_clusters for who in each["members"]}
    np.savez(
        results,
        groups=np.array([group[who] for who in sorted(group)]),
        consensus=np.array([consensus[what] for what in sorted(consensus)]),
    )
    print(json.dumps({"seconds": sum(marks.values()), **marks}))


if __name__ == "__main__":
    _measure(*sys.argv[1:])
