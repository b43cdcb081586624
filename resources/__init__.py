"""What the graph runs with: tables, models, MLflow, language models, the launcher of torch stages.

Resources may use the method packages; they know nothing of the assets.
"""
