"""The code location of the sample with which Dagster's daemon runs in `chaos.py` and `week.py`.

Everything is the product's own but for the time it takes: sensors look every few seconds, stages run in a warm process,
and pictures stay white paper. With `TRAINS` in the environment it also trains for the first time by itself, which
otherwise a person starts, and tries what was killed again as often as it is killed.
"""

from __future__ import annotations

import os

import dagster as dg
import warm_stages as warm
from matplotlib.backends.backend_agg import FigureCanvasAgg

from ccai_dagster import automation, definitions
from resources.launcher import Launcher

WARM, TRAINS = "SMALL_WARM_STAGES", "SMALL_TRAINS"
SECONDS = 3
OFTEN = 1_000_000


def hasten(address: str) -> None:
    """Let stages of this process run in a warm one, and draw no pictures."""
    Launcher._attend = warm.attending(address)  # type: ignore[method-assign]
    FigureCanvasAgg.draw = FigureCanvasAgg.get_renderer


def defs() -> dg.Definitions:
    hasten(os.environ[WARM])
    automation.SECONDS = SECONDS
    if TRAINS in os.environ:
        automation.ATTEMPTS = OFTEN
        automation._Stale.alone = lambda self, selection, by_hand: self.together(selection)  # type: ignore[method-assign]
    return definitions.defs()
