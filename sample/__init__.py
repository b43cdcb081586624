"""How the embedded consultation was made: its public is simulated, its opinions are drawn.

What it made is part of `ccai_dagster`; nothing of the product needs this package.
"""
