"""Runs all benchmarks."""

from bench import (
    auditing,
    definitions,
    deliberation,
    evaluation,
    feedback,
    graph,
    importing,
    scores,
    sensitivity,
    training,
)

for benchmark in (
    definitions,
    importing,
    deliberation,
    feedback,
    evaluation,
    graph,
    auditing,
    sensitivity,
    scores,
    training,
):
    benchmark.main()
