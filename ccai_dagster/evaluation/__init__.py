"""Evaluation: what a trained model does, measured against the untrained one and the other arms.

Benchmarks run through the lm-evaluation-harness on local files; adherence and pairwise comparisons ask the
feedback model; `scores` puts everything in one table with intervals.
"""
