"""Runs all benchmarks."""

from bench import (
    auditing,
    certainty,
    definitions,
    deliberation,
    evaluation,
    feedback,
    graph,
    importing,
    new_votes,
    sampling,
    scores,
    sensitivity,
    training,
)

BENCHMARKS = (
    definitions,
    importing,
    deliberation,
    certainty,
    feedback,
    evaluation,
    graph,
    new_votes,
    auditing,
    sensitivity,
    scores,
    sampling,
    training,
)

for benchmark in BENCHMARKS:
    benchmark.main()
