"""The numeric decisions that turn votes into groups and scores, as one value.

Nothing is computed here; the fields are read from the threshold ledger and handed to the functions.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

ProcedureName = Literal["default", "polis", "paper"]
Imputation = Literal["zero", "column_mean"]
Smoothing = Literal["none", "laplace", "jeffreys"]
Aggregation = Literal["product", "geometric_mean"]


@dataclass(frozen=True)
class Procedure:
    """How groups and group-aware consensus are computed.

    Attributes:
        name: `default`: principal components of participants, scaled for sparsity as Polis does, and groups of
            participants found without chance; argued for in `groups.group_participants`.
            `polis`: as the engine of Polis computes from the same votes, started cold.
            `paper`: the loadings of participants in a principal component analysis of statements, unscaled,
            as the published notebook of Collective Constitutional AI computes.
        imputation: What stands for a vote not cast: 0, or the mean vote on the statement.
        number_of_groups: A fixed number, or None for the best silhouette among 2 to 5.
        smoothing: Added to a group's agreeing votes and to its votes: nothing, 1 and 2 (Laplace, as Polis),
            or 1/2 and 1 (Jeffreys).
        aggregation: Product over groups (Huang et al. 2024, equation 1) or geometric mean.
        seed: Of k-means under `paper`; the other two have no use for it.
    """

    name: ProcedureName
    imputation: Imputation
    number_of_groups: int | None
    smoothing: Smoothing
    aggregation: Aggregation
    seed: int
