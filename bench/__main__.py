"""Runs all benchmarks."""

from bench import auditing, definitions, deliberation, graph

for benchmark in (definitions, deliberation, graph, auditing):
    benchmark.main()
