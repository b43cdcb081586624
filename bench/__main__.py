"""Runs all benchmarks."""

from bench import auditing, definitions, deliberation, evaluation, feedback, graph, sensitivity, statistics, training

for benchmark in (definitions, deliberation, feedback, evaluation, graph, auditing, sensitivity, statistics, training):
    benchmark.main()
