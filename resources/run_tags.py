"""Tags of Dagster runs: whose they are, why they were started and by whom.

Tags: https://docs.dagster.io/guides/build/jobs/job-execution
"""

CONSULTATION = "ccai/consultation"
BECAUSE = "ccai/because"
STARTED_BY = "ccai/started_by"
SENSOR = "sensor "
"""Beginning of `ccai/started_by` where no person waits for the run."""
COMPARED = "ccai/compared"
"""Digest of what a sensor compared; the runs of one digest are the attempts at the same thing."""
