"""How the embedded consultation was made: its public is simulated, its opinions are drawn.

The result, `ccai_dagster/sample/consultation`, is part of the product; nothing of the product needs this package.
"""
