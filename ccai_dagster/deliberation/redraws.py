"""Votes as they might have come out: participants drawn anew, and the consensus of one such draw.

Belongs here: random weights and what they do to a score. Doesn't belong here: grouping, summaries of draws.

The draws are those of the Bayesian bootstrap (Rubin 1981, The Annals of Statistics 9(1)): every participant
gets an independent weight from the exponential distribution with mean 1 in place of a whole number of copies.
With weights w and a fixed group, the weighted share of agreement with A of n votes is then distributed as
Beta(A, n - A), which no longer moves once a group is unanimous. So every group also gets two imaginary
participants, one who agrees with everything and one who never does, whose weights have the gamma distributions
that turn this into Beta(A + a, n - A + b - a): the posterior of the group's share under the very prior whose mean
the smoothing on record reports, (A + a) / (n + b). A group that cast no vote then has the prior's share, which
is as wide as it should be. Where nothing is smoothed, Jeffreys' a = 1/2, b = 1 stands in, whose intervals keep their
level for small n as well (Brown, Cai and DasGupta 2001, Statistical Science 16(2)).
"""

from __future__ import annotations

import numpy as np

from ccai_dagster.deliberation.consensus import SMOOTHING, GroupCounts
from ccai_dagster.deliberation.procedure import Procedure


def participant_weights(positions: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    """Draw how much each participant counts.

    Weights are dealt out by place on the opinion map, so that neither the ids nor the order of participants
    matter; people at the same place voted alike.

    Args:
        positions: Shape (participants, 2).

    Returns:
        Shape (participants,), positive, with mean 1 on average.
    """
    weights = np.empty(len(positions))
    rounded = np.round(positions, 9)
    weights[np.lexsort((rounded[:, 1], rounded[:, 0]))] = generator.exponential(size=len(positions))
    return weights


def drawn_consensus(counts: GroupCounts, procedure: Procedure, generator: np.random.Generator) -> np.ndarray:
    """Return the group-aware consensus of every statement in one draw.

    Args:
        counts: Weighted votes, from weights as `participant_weights` draws them.
        procedure: Smoothing, which gives the weight of the imaginary participants, and aggregation.

    Returns:
        Shape (statements,), in [0, 1], never NaN.
    """
    agreeing, all_votes = SMOOTHING["jeffreys" if procedure.smoothing == "none" else procedure.smoothing]
    groups = (len(counts.votes), 1)
    # One pair a group and not one a statement: imaginary participants vote on everything, as real ones might.
    agree = generator.gamma(agreeing, size=groups)
    other = generator.gamma(all_votes - agreeing, size=groups)
    share = (counts.agree + agree) / (counts.votes + agree + other)
    product = share.prod(axis=0)
    return product ** (1 / len(share)) if procedure.aggregation == "geometric_mean" else product
