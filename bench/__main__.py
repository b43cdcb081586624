"""Runs all benchmarks."""

from bench import (
    auditing,
    definitions,
    deliberation,
    evaluation,
    feedback,
    graph,
    new_votes,
    scores,
    sensitivity,
    training,
)

for benchmark in (
    definitions,
    deliberation,
    feedback,
    evaluation,
    graph,
    new_votes,
    auditing,
    sensitivity,
    scores,
    training,
):
    benchmark.main()
