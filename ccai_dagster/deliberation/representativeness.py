"""Whether those who took part are like the public, and what hangs on it.

People say about themselves what consultation.yaml asks; it also says what share of the public each answer has. Raking
(iterative proportional fitting: Deming and Stephan 1940, Annals of Mathematical Statistics 11, 427-444) gives everybody
a weight with which all answers have these shares at once. Groups stay those of the votes; consensus is computed with
the weights and without, and what is selected in only one of the two hangs on who came.

Answers that a few people gave are not told, and weighed only together with the others that are hidden for them: a
weight of their own would tell how many they are, and a handful cannot stand for many. Weights stand for people who came
and are too few. They cannot stand for people who did not come, nor for what sets those who take part in such things
apart from others who answer alike.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

import numpy as np
import polars as pl

from ccai_dagster.contracts import FEWEST_TOLD, SAMPLE_REPRESENTATIVENESS, WEIGHTED_CONSENSUS
from ccai_dagster.core.errors import ConsultationError
from ccai_dagster.deliberation.consensus import group_counts, least_participation, weighed_by_importance
from ccai_dagster.deliberation.stability import ReachesCut, both_sides, on_record
from ccai_dagster.deliberation.votes import Procedure, VoteMatrix
from ccai_dagster.statistics.intervals import wilson_interval

PRECISION = 1e-9
"""How far, relatively, a weight may still change in a round when raking ends."""
MOST_ROUNDS = 1000

Answers = Mapping[str, Sequence[str]]
"""What may be answered, by the name of the question, in the order of consultation.yaml."""
Targets = Mapping[str, Mapping[str, float]]
"""Share of the public by answer, by the name of the question; questions without targets are left out."""


def raking_weights(demographics: pl.DataFrame, participant_ids: np.ndarray, targets: Targets) -> np.ndarray:
    """Return how much each participant counts, so that every answer has the share of its target.

    Answers of one question that are not told (`_hidden`) count as one, with their targets together. Whoever did not
    answer a question is neither more nor less for it; nor is anybody where all answers that were given count as one.
    The targets of answers that nobody gave are shared by the others in proportion.

    Args:
        demographics: PARTICIPANT_DEMOGRAPHICS.
        participant_ids: Shape (participants,), whose votes count.

    Returns:
        Shape (participants,), above 0, with mean 1; all 1 without targets or answers.

    Raises:
        ConsultationError: The targets of several questions cannot be met together by those who came.
    """
    weights = np.ones(len(participant_ids))
    people = pl.DataFrame({"participant_id": participant_ids}, schema={"participant_id": pl.Int64})
    margins = []
    for name, shares in targets.items():
        own = people.join(
            demographics.filter(question=name), on="participant_id", how="left", maintain_order="left", validate="1:1"
        )["answer"]
        numbers = _numbers(own, shares)
        hidden = _hidden(numbers)
        cells = [{answer} for answer, n in numbers.items() if n and answer not in hidden] + [hidden] * bool(hidden)
        place = {answer: number for number, cell in enumerate(cells) for answer in cell}
        codes = np.array([place.get(answer, -1) for answer in own], dtype=np.int64)
        told = codes >= 0
        wanted = np.array([sum(shares[answer] for answer in cell) for cell in cells])
        if len(cells) > 1:
            margins.append((told, codes[told], wanted / wanted.sum()))
    for _ in range(MOST_ROUNDS):
        largest = 0.0
        for told, codes, wanted in margins:
            now = np.bincount(codes, weights[told], minlength=len(wanted))
            factors = np.divide(wanted * now.sum(), now, out=np.ones(len(now)), where=now > 0)
            weights[told] *= factors[codes]
            largest = max(largest, float(np.abs(factors - 1).max()))
        if largest < PRECISION:
            return weights * len(weights) / weights.sum() if margins else weights
    raise ConsultationError(
        "consultation.yaml, demographics: those who took part cannot be weighed so that the targets of "
        f"{', '.join(targets)} are met together, since too few combinations of answers are there. Leave the targets of "
        "one question out, or put answers together."
    )


def effective_number(weights: np.ndarray) -> float:
    """Return how many people who count alike tell as much as these (Kish 1965, Survey Sampling, section 11.7)."""
    return float(weights.sum() ** 2 / (weights**2).sum())


def sample_representativeness(
    demographics: pl.DataFrame,
    participant_ids: np.ndarray,
    answers: Answers,
    targets: Targets,
    weights: np.ndarray | None,
) -> pl.DataFrame:
    """Return the table `sample_representativeness`.

    What a few people answered, fewer than `FEWEST_TOLD` and not nobody, is not told. As everybody's number less those
    of the other answers would tell it, the next smallest are not told either, until as many people are behind what is
    hidden. That nobody gave an answer is told: nobody can be recognised by it, and it matters most. Where nobody gave
    any there are no shares.

    Args:
        demographics: PARTICIPANT_DEMOGRAPHICS.
        participant_ids: Shape (participants,), whose votes count.
        weights: Shape (participants,), as `raking_weights` returns them; None where there are none.
    """
    people = pl.DataFrame(
        {"participant_id": participant_ids, "weight": np.ones(len(participant_ids)) if weights is None else weights},
        schema={"participant_id": pl.Int64, "weight": pl.Float64},
    )
    rows = []
    for name, known in answers.items():
        told = people.join(demographics.filter(question=name), on="participant_id")
        numbers = _numbers(told["answer"], known)
        means = dict(told.group_by("answer").agg(pl.col("weight").sort().mean()).iter_rows())
        hidden = _hidden(numbers)
        for answer, n in numbers.items():
            target = targets.get(name, {}).get(answer)
            shown = answer not in hidden
            low, high = wilson_interval(n, told.height)
            share = n / told.height if shown and told.height else None
            rows.append(
                {
                    "question": name,
                    "answer": answer,
                    "n": n if shown else None,
                    "n_told": None if 0 < told.height < FEWEST_TOLD else told.height,
                    "n_people": people.height,
                    "share": share,
                    "low": None if share is None else low,
                    "high": None if share is None else high,
                    "target": target,
                    "difference": None if share is None or target is None else share - target,
                    "weight": means.get(answer) if shown and weights is not None else None,
                    "n_effective": effective_number(weights) if weights is not None and len(weights) else None,
                }
            )
    return SAMPLE_REPRESENTATIVENESS.build(rows)


def _numbers(given: pl.Series, known: Iterable[str]) -> dict[str, int]:
    """How many gave each of the answers that there are."""
    counts = Counter(given)
    return {answer: counts[answer] for answer in known}


def _hidden(numbers: Mapping[str, int]) -> set[str]:
    """Answers of one question that are not told."""
    ascending = sorted((answer for answer in numbers if numbers[answer]), key=lambda answer: numbers[answer])
    hidden = {answer for answer in ascending if numbers[answer] < FEWEST_TOLD}
    for answer in ascending:
        if not hidden or sum(numbers[each] for each in hidden) >= FEWEST_TOLD:
            break
        hidden.add(answer)
    return hidden


def weighted_consensus(
    matrix: VoteMatrix, opinion_groups: pl.DataFrame, weights: np.ndarray, procedure: Procedure, reaches_cut: ReachesCut
) -> pl.DataFrame:
    """Return the table `weighted_consensus`.

    Args:
        matrix: Votes of kept participants on statements that are in.
        opinion_groups: Of the same participants, in any order: the groups on record.
        weights: Shape (participants,), as `raking_weights` returns them.
    """
    labels, _ = on_record(matrix, opinion_groups)
    columns: dict[str, object] = {"statement_id": matrix.statement_ids.astype(np.int64)}
    for after, own in (("", np.ones(len(labels))), ("_weighted", weights)):
        counts = group_counts(matrix, labels, own)
        gac, against = both_sides(weighed_by_importance(counts, matrix, labels, procedure, own), procedure)
        least = least_participation(counts.votes, np.bincount(labels, own, len(counts.votes)))
        columns |= {f"gac{after}": gac, f"gac_disagree{after}": against}
        columns[f"selected{after}"] = reaches_cut(gac, against, least)
    frame = pl.DataFrame(columns).with_columns(pl.col(pl.Float64).fill_nan(None))
    return frame.select(list(WEIGHTED_CONSENSUS.fields))
