"""Evaluation sets, one module a public set: from its files to items, and how each is asked.

How items become scores belongs to `evaluation.benchmarks` and `evaluation.scores`.
"""
