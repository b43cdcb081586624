"""Runs all benchmarks."""

from bench import auditing, definitions, deliberation, evaluation, feedback, graph, scores, sensitivity, training

for benchmark in (definitions, deliberation, feedback, evaluation, graph, auditing, sensitivity, scores, training):
    benchmark.main()
