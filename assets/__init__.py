"""What exists: the graph, one module a stage, in the order of Figure 1 of Huang et al. (2024).

An asset takes tables, calls one method and returns a table with metadata worth looking at. Each module has
one function `build` that makes its assets for a consultation, once for each arm where the key has one.

Assets: https://docs.dagster.io/guides/build/assets/defining-assets
"""
