"""Benchmarks: each measures something people wait for and prints it as a ratio to a reference in the same run.

`python -m bench` runs all of them. Machines are noisy: runs alternate and medians are printed.
"""
