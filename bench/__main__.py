"""Runs all benchmarks."""

from bench import auditing, definitions, deliberation, feedback, graph, sensitivity, statistics, training

for benchmark in (definitions, deliberation, feedback, graph, auditing, sensitivity, statistics, training):
    benchmark.main()
