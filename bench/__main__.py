"""Runs all benchmarks."""

from bench import (
    auditing,
    certainty,
    definitions,
    deliberation,
    evaluation,
    feedback,
    graph,
    scores,
    sensitivity,
    training,
)

BENCHMARKS = (
    definitions,
    deliberation,
    certainty,
    feedback,
    evaluation,
    graph,
    auditing,
    sensitivity,
    scores,
    training,
)

for benchmark in BENCHMARKS:
    benchmark.main()
