"""Runs all benchmarks."""

from bench import auditing, definitions, deliberation, feedback, graph, sensitivity, training

for benchmark in (definitions, deliberation, feedback, graph, auditing, sensitivity, training):
    benchmark.main()
