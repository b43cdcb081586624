"""What the graph runs with: tables, models, MLflow, votes, the launcher of child processes; and the run history.

Resources may use the method packages; they know nothing of the assets.

Resources: https://docs.dagster.io/guides/build/external-resources
"""
