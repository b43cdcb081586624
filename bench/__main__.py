"""Runs all benchmarks."""

from bench import auditing, definitions, deliberation, graph, sensitivity

for benchmark in (definitions, deliberation, graph, auditing, sensitivity):
    benchmark.main()
