"""The way of one Parquet file, in a process of its own for its memory: `python -m bench.whole FILE`."""

from __future__ import annotations

import json
import resource
import sys
import time

import polars as pl
import scipy.linalg
import scipy.sparse.linalg
import scipy.spatial.distance  # noqa: F401  loading libraries is not what is measured

from ccai_dagster.deliberation import consensus, groups, representative
from ccai_dagster.deliberation.votes import Procedure, vote_matrix

PROCEDURE = Procedure("default", "column_mean", None, "laplace", "product", 1)


def main(path: str) -> None:
    """Print seconds by stage, CPU seconds, peak memory in MB and the sizes of the groups as JSON."""
    began, worked = time.perf_counter(), time.process_time()
    marks: dict[str, float] = {}

    def mark(stage: str) -> None:
        marks[stage] = time.perf_counter() - began - sum(marks.values())

    votes = pl.read_parquet(path)
    mark("reading")
    matrix = vote_matrix(votes, votes["participant_id"].unique(), votes["statement_id"].unique())
    del votes
    mark("matrix")
    grouping = groups.group_participants(matrix, PROCEDURE)
    mark("groups")
    consensus.gac_scores(matrix, grouping.labels, PROCEDURE)
    mark("scores")
    representative.representative_statements(matrix, grouping.labels)
    mark("representative statements")
    representative.consensus_statements(matrix)
    mark("consensus statements")
    sizes = [int((grouping.labels == label).sum()) for label in range(int(grouping.labels.max()) + 1)]
    told = {
        "seconds": time.perf_counter() - began,
        "cpu": time.process_time() - worked,
        "megabytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
        "votes": len(matrix.row),
        "stages": marks,
        "groups": sizes,
    }
    print(json.dumps(told))


if __name__ == "__main__":
    main(sys.argv[1])
