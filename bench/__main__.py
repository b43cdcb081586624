"""Runs all benchmarks."""

from bench import definitions, deliberation, graph

for benchmark in (definitions, deliberation, graph):
    benchmark.main()
