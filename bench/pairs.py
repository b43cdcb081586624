"""Timing two things in turn, so that a change of the machine's speed hits both."""

from __future__ import annotations

import ctypes
import resource
import statistics
import time
from collections.abc import Callable

import psutil

PR_SET_CHILD_SUBREAPER = 36
"""Of `linux/prctl.h`: orphans below this process become its children."""


def seconds(action: Callable[[], object]) -> float:
    """Return the wall seconds of one call."""
    began = time.perf_counter()
    action()
    return time.perf_counter() - began


def cpu_seconds(action: Callable[[], object]) -> float:
    """Return the CPU seconds, in and out of the kernel, of the processes that one call starts and that end after it.

    That includes those that outlive what started them, as the process does whose forks are the stages of a run.
    """
    ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1)
    own = psutil.Process()
    others = own.children()
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    action()
    psutil.wait_procs([child for child in own.children() if child not in others])
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def compare(
    name: str,
    action: Callable[[], object],
    reference: Callable[[], object],
    told: str,
    goal: float,
    runs: int = 5,
    clock: Callable[[Callable[[], object]], float] = seconds,
) -> None:
    """Time `action` and `reference` in turn and print medians and the median ratio of pairs.

    Args:
        name: What is measured.
        action: The project's own.
        reference: What it is compared with.
        told: The reference in words.
        goal: The ratio that is wanted, at most.
        runs: Pairs, after one uncounted.
        clock: What times a call.
    """
    action()
    reference()
    pairs = [(clock(action), clock(reference)) for _ in range(runs)]
    own, other = statistics.median(a for a, _ in pairs), statistics.median(b for _, b in pairs)
    ratio = statistics.median(a / b for a, b in pairs)
    print(
        f"{name}: {own:.2f} s; {told}: {other:.2f} s; ratio {ratio:.2f} (goal {goal:g}; median of {runs})", flush=True
    )
