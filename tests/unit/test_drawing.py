"""Draws of the same votes on several cores: the same results in the same order, and no worker left behind."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from functools import partial

import numpy as np
import psutil
import pytest

from ccai_dagster.deliberation import drawing
from ccai_dagster.deliberation.drawing import Drawing
from ccai_dagster.deliberation.groups import group_participants, opinion_groups
from ccai_dagster.deliberation.stability import Stability, consensus_stability
from ccai_dagster.deliberation.structure import structure_test
from ccai_dagster.deliberation.votes import Procedure, VoteMatrix

DEFAULT = Procedure("default", "column_mean", None, "laplace", "product", 1)

SLEEPER = """
import time
from ccai_dagster.deliberation.drawing import Drawing
with Drawing(0, 2, workers=2) as workers:
    workers.each(time.sleep, 1_000, "sleeping")
"""


def two_camps() -> VoteMatrix:
    """Fifteen people for half of the statements, twelve for the other half, but for some noise."""
    side = np.where(np.arange(27) < 15, 1, -1)[:, None] * np.where(np.arange(12) < 6, 1, -1)
    votes = np.where(np.random.default_rng(0).random(side.shape) < 0.2, -side, side).astype(np.int8)
    row, column = (each.ravel().astype(np.int32) for each in np.indices(votes.shape))
    return VoteMatrix(np.arange(27), np.arange(12), row, column, votes.ravel())


def drawn(draws: int, workers: int, seed: int = 1) -> Stability:
    matrix = two_camps()
    table = opinion_groups(matrix, group_participants(matrix, DEFAULT))
    return consensus_stability(matrix, table, DEFAULT, lambda gac, *_: gac > 0.2, draws, seed, workers=workers)


def test_one_worker_and_two_give_the_identical_tables(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(drawing, "VOTES_FOR_THREADS", 1)
    matrix = two_camps()
    one, two = (drawn(12, workers) for workers in (1, 2))
    assert one.statements.equals(two.statements) and one.groups.equals(two.groups)
    assert structure_test(matrix, DEFAULT, 19, 1, workers=1).equals(structure_test(matrix, DEFAULT, 19, 1, workers=2))


def test_a_draw_is_the_same_however_many_are_asked_for() -> None:
    ten, twenty, other = drawn(10, 1).groups, drawn(20, 1).groups, drawn(10, 1, seed=2).groups
    assert ten.head(10).equals(twenty.head(10))
    assert not ten.head(10).equals(other.head(10))


def test_processes_keep_the_order_tell_progress_and_raise_what_a_worker_raised() -> None:
    told: list[tuple[str, int, int]] = []
    with (
        pytest.raises(ZeroDivisionError, match="zero"),
        Drawing(0, 60, lambda *step: told.append(step), workers=2) as workers,
    ):
        assert workers.each(partial(pow, 2), 60, "raising") == [2**number for number in range(60)]
        assert told == [("raising", 28, 60), ("raising", 56, 60), ("raising", 60, 60)]
        workers.each(partial(divmod, 1), 5_000, "dividing")
    assert not [each for each in psutil.Process().children() if "LokyProcess" in " ".join(each.cmdline())]


def test_workers_end_with_the_process_that_started_them() -> None:
    starter = subprocess.Popen([sys.executable, "-c", SLEEPER])
    try:
        family = psutil.Process(starter.pid)
        while len(children := family.children(recursive=True)) < 3:
            time.sleep(0.02)
    finally:
        starter.kill()
        starter.wait()
    gone, left = psutil.wait_procs(children, timeout=10)
    for each in left:
        each.kill()
    assert len(gone) == len(children) and not left


def test_interrupted_threads_finish_no_further_draw(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(drawing, "VOTES_FOR_THREADS", 1)
    begun = []

    def draw(number: int) -> None:
        begun.append(number)
        if number == 0:
            raise KeyboardInterrupt
        time.sleep(0.01)

    with pytest.raises(KeyboardInterrupt), Drawing(1, 500, workers=2) as workers:
        workers.each(draw, 500, "drawing")
    assert len(begun) < 250 and not [each for each in threading.enumerate() if each.name.startswith("ThreadPool")]


WITHIN = """
import os, sys
from ccai_dagster.deliberation.drawing import one_thread
with one_thread():
    print("sklearn" in sys.modules, os.environ["OMP_NUM_THREADS"])
print(os.environ.get("OMP_NUM_THREADS"))
"""


def test_one_thread_does_not_load_scikit_learn_and_has_it_begin_with_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    done = subprocess.run([sys.executable, "-c", WITHIN], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "1", "None"]
