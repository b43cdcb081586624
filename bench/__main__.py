"""Runs all benchmarks."""

from bench import auditing, definitions, deliberation, graph, sensitivity, training

for benchmark in (definitions, deliberation, graph, auditing, sensitivity, training):
    benchmark.main()
