"""Numeric and named decisions: what the threshold and training ledgers settle, and what each value means.

`VALUES` is the one place that says which subjects these ledgers have, what each means, may be and is at first; whoever
reads, asks, begins or documents goes by it. They are ledger rows and not settings because a person must answer for
them.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, get_args

import polars as pl

from ccai_dagster.consultation.settings import UntunedMethod
from ccai_dagster.core.errors import ConsultationError
from ccai_dagster.decisions.outcomes import decisive
from ccai_dagster.deliberation.structure import WithoutStructure
from ccai_dagster.deliberation.votes import Aggregation, Imputation, Procedure, ProcedureName, Smoothing

SelectionRule = Literal["threshold", "ideas"]
FeedbackMethod = Literal[UntunedMethod, "tuned", "words", "rules"]
RECORDED_METHODS: tuple[FeedbackMethod, ...] = tuple(each for each in get_args(FeedbackMethod) if each != "rules")
"""Ways of asking that may be on record. Rules judge for the positive control only: of a consultation's principles none
is theirs, so every label would be a tie."""
LabelsBelowChance = Literal["stop", "accept"]
PolicyMethod = Literal["rloo", "dpo"]


@dataclass(frozen=True)
class Allowed:
    """What an outcome may be: in words, to follow "must be", and as a parser that raises ValueError otherwise."""

    expected: str
    parse: Callable[[str], Any]


@dataclass(frozen=True)
class ValueDecision:
    """One subject of the threshold or training ledger.

    Attributes:
        start: The outcome a new folder starts with; None where it starts without a row.
        undecided: What holds while nobody has decided; None where somebody must.
    """

    meaning: str
    allowed: Allowed
    start: str | None = None
    undecided: str | None = None

    @property
    def is_policy(self) -> bool:
        """Whether it is a choice that no program reads, on record as `policy: ...`."""
        return self.allowed is POLICY_TEXT


def _whole_number(lowest: int) -> Allowed:
    def parse(text: str) -> int:
        if not (text.isascii() and text.isdigit()) or int(text) < lowest:
            raise ValueError(text)
        return int(text)

    return Allowed(f"a whole number from {lowest}", parse)


def _number(highest: float = math.inf, lowest: float = 0) -> Allowed:
    def parse(text: str) -> float:
        value = float(text)
        if not math.isfinite(value) or not lowest <= value <= highest:
            raise ValueError(text)
        return value

    return Allowed(f"a number from {lowest:g}" + ("" if math.isinf(highest) else f" to {highest:g}"), parse)


def _one_of(*choices: str) -> Allowed:
    def parse(text: str) -> str:
        if text not in choices:
            raise ValueError(text)
        return text

    return Allowed(" or ".join(f"`{choice}`" for choice in choices), parse)


def _auto_or(number: Allowed) -> Allowed:
    return Allowed(f"`auto` or {number.expected}", lambda text: None if text == "auto" else number.parse(text))


def _no_value(text: str) -> str:
    raise ValueError(text)


LEFT_OUT = "left_out"
POLICY_TEXT = Allowed("`policy: ...`", _no_value)

VALUES: Mapping[str, Mapping[str, ValueDecision]] = {
    "threshold": {
        "minimum_votes": ValueDecision("fewest votes for a participant to count", _whole_number(0), "7"),
        "votes_before_statement": ValueDecision(
            "fewest votes in the portal before a participant may add a statement, or votes on all statements where "
            "there are fewer; 30 while nobody has decided, as was published",
            _whole_number(0),
            undecided="30",
        ),
        "procedure": ValueDecision(
            "how opinion groups are computed: robustly and without chance (`default`), as the engine of Polis does "
            "(`polis`), or as the published notebook of Collective Constitutional AI does (`paper`)",
            _one_of(*get_args(ProcedureName)),
            "default",
        ),
        "imputation": ValueDecision(
            "what stands for a vote not cast: 0 or the mean vote on the statement",
            _one_of(*get_args(Imputation)),
            "column_mean",
        ),
        "number_of_groups": ValueDecision(
            "how many opinion groups there are, 1 being everybody together; under `auto` as many, of 2 to 5, as have "
            "the best silhouette",
            _auto_or(_whole_number(1)),
            "auto",
        ),
        "smallest_group": ValueDecision(
            "fewest people that make an opinion group; those of smaller clusters join the nearest group; 1, as in "
            "Polis, while nobody has decided",
            _whole_number(1),
            "5",
            "1",
        ),
        "without_structure": ValueDecision(
            "what holds where votes show no more structure than chance would: everybody is one group (`one_group`), or "
            "groups stay as they are found, with a warning (`keep_groups`; so it is while nobody has decided)",
            _one_of(*get_args(WithoutStructure)),
            "one_group",
            "keep_groups",
        ),
        "smoothing": ValueDecision(
            "what is added to a group's agreeing votes and to its votes: nothing, 1 and 2 (`laplace`, as Polis does), "
            "or 1/2 and 1 (`jeffreys`)",
            _one_of(*get_args(Smoothing)),
            "laplace",
        ),
        "aggregation": ValueDecision(
            "how the votes of all groups make one score: as product of the shares that agree (Huang et al. 2024, "
            "equation 1) or their geometric mean, as geometric mean of P(agree) (1 - P(disagree)) "
            "(`effective_agreement`, as newest red-dwarf), or as mean share of those who took a side "
            "(`polis_normalized`, as the report of Polis)",
            _one_of(*get_args(Aggregation)),
            "geometric_mean",
        ),
        "selection_rule": ValueDecision(
            "whether statements are selected by `gac_threshold` (`threshold`) or by `idea_budget` (`ideas`)",
            _one_of(*get_args(SelectionRule)),
            "threshold",
        ),
        "gac_threshold": ValueDecision(
            "lowest group-aware consensus that is selected, under the rule `threshold`", _number(1), "0.775"
        ),
        "idea_budget": ValueDecision(
            "most distinct ideas that are selected, under the rule `ideas`", _whole_number(1), "40"
        ),
        "group_participation": ValueDecision(
            "smallest share of every opinion group that must have voted on a statement, passes included, before it can "
            "be selected; 0 asks for nothing, Polis asks for 0.05 before it words collective statements",
            _number(1),
            undecided="0",
        ),
        "rejected_statements": ValueDecision(
            "whether a statement on whose rejection every group agrees, by the same cut, is selected as well, to be "
            "worded as something to avoid (`selected`), or not (`left_out`)",
            _one_of(LEFT_OUT, "selected"),
            undecided=LEFT_OUT,
        ),
        "importance_weight": ValueDecision(
            "how often a vote counts in consensus with which its author marked the statement as important; 1 counts "
            "all votes alike",
            _number(lowest=1),
            undecided="1",
        ),
        "overlap_similarity": ValueDecision(
            "likeness of their words from which two principles count as shared", _number(1), "0.5"
        ),
    },
    "training": {
        "harmlessness_weight": ValueDecision(
            "loss weight of AI harmlessness labels; human helpfulness comparisons weigh 1", _number(), "0.5"
        ),
        "feedback_method": ValueDecision(
            "how the feedback model is asked: for a letter, at once (`letters`), after worked examples "
            "(`letters_few_shot`) or after thinking aloud (`reasoned_letters`), by how much likelier the principle "
            "makes each response (`contrast`), or tuned on comparisons that people labelled (`tuned`); or no language "
            "model is asked, and what sounds more like the principle is preferred (`likeness`), or what has the words "
            "that people preferred in those comparisons (`words`)",
            _one_of(*RECORDED_METHODS),
            "letters",
        ),
        "labels_below_chance": ValueDecision(
            "what follows if the feedback model, asked as on record, is measured to be worse than chance: no labels "
            "are made (`stop`), or they are made all the same (`accept`, for the method that was on record before it)",
            _one_of(*get_args(LabelsBelowChance)),
            undecided="stop",
        ),
        "policy_method": ValueDecision(
            "how the policy is trained: by reinforcement learning against the preference model (`rloo`) or directly on "
            "the comparisons (`dpo`)",
            _one_of(*get_args(PolicyMethod)),
            "rloo",
        ),
        "prompt_minimum": ValueDecision(
            "fewest prompts for training that should be relevant to each principle; 1 while nobody has decided, since "
            "it only decides what is warned of",
            _whole_number(0),
            undecided="1",
        ),
        "prompt_database": ValueDecision(
            "which prompts all arms are trained on, and why; a choice that no program reads",
            POLICY_TEXT,
            "policy: the prompts of the embedded sample",
        ),
        "evaluations": ValueDecision(
            "what the models are evaluated on, and why; a choice that no program reads",
            POLICY_TEXT,
            "policy: the evaluation sets of the embedded sample",
        ),
    },
}
"""By kind of ledger and subject, in the order in which a person is asked."""


@dataclass(frozen=True)
class Cut:
    """Where the line is drawn.

    `threshold` selects every statement whose consensus is at least `threshold`, in [0, 1]; `ideas` the highest ranked
    ones as long as they express no more than `idea_budget` distinct ideas (Huang et al. 2024, section 3.3).

    Attributes:
        participation: Smallest share of every group, in [0, 1], that must have voted on a statement.
        rejected: Whether statements that every group rejects are selected as well.
    """

    rule: SelectionRule
    threshold: float
    idea_budget: int
    participation: float = 0.0
    rejected: bool = False


@dataclass(frozen=True)
class Thresholds:
    """What the threshold ledger settles; `VALUES` says what each means.

    Attributes:
        decision_ids: The row each value comes from, by subject; not part of equality.
    """

    minimum_votes: int
    procedure: Procedure
    without_structure: WithoutStructure
    cut: Cut
    overlap_similarity: float
    decision_ids: Mapping[str, str] = field(compare=False)


@dataclass(frozen=True)
class TrainingDecisions:
    """What the training ledger settles; `VALUES` says what each means.

    Attributes:
        decision_ids: The row each value comes from, by subject; not part of equality.
    """

    harmlessness_weight: float
    feedback_method: FeedbackMethod
    labels_below_chance: LabelsBelowChance
    policy_method: PolicyMethod
    prompt_minimum: int
    decision_ids: Mapping[str, str] = field(compare=False)


def thresholds(ledger: pl.DataFrame, seed: int) -> Thresholds:
    """Read the threshold ledger.

    Args:
        seed: Of the consultation, for the procedure.

    Raises:
        ConsultationError: A subject is missing, unknown or decided twice, or a value is out of range; names the row.
    """
    values, decision_ids = _values(ledger, "threshold")
    return Thresholds(
        minimum_votes=values["minimum_votes"],
        procedure=Procedure(
            name=values["procedure"],
            imputation=values["imputation"],
            number_of_groups=values["number_of_groups"],
            smoothing=values["smoothing"],
            aggregation=values["aggregation"],
            seed=seed,
            smallest_group=values["smallest_group"],
            importance_weight=values["importance_weight"],
        ),
        without_structure=values["without_structure"],
        cut=Cut(
            values["selection_rule"],
            values["gac_threshold"],
            values["idea_budget"],
            values["group_participation"],
            values["rejected_statements"] != LEFT_OUT,
        ),
        overlap_similarity=values["overlap_similarity"],
        decision_ids=decision_ids,
    )


def votes_before_statement(ledger: pl.DataFrame) -> tuple[int, str | None]:
    """Return how many votes the portal asks for before a statement may be added, and the id of the row that says so.

    Raises:
        ConsultationError: The threshold ledger cannot be used; names the row.
    """
    values, decision_ids = _values(ledger, "threshold")
    return values["votes_before_statement"], decision_ids.get("votes_before_statement")


def training_decisions(ledger: pl.DataFrame) -> TrainingDecisions:
    """Read the training ledger; the errors are those of `thresholds`."""
    values, decision_ids = _values(ledger, "training")
    return TrainingDecisions(**values, decision_ids=decision_ids)


def policy_subjects(kind: str) -> list[str]:
    """Return the subjects on which a kind of ledger must hold a policy."""
    return [name for name, each in VALUES.get(kind, {}).items() if each.is_policy]


def parse_value(kind: str, subject: str, outcome: str) -> Any:
    """Parse an outcome.

    Raises:
        ValueError: It is not allowed; says what the subject must be.
    """
    allowed = VALUES[kind][subject].allowed
    try:
        return allowed.parse(outcome)
    except ValueError:
        raise ValueError(f"{subject} is {outcome!r}, but must be {allowed.expected}") from None


def _values(ledger: pl.DataFrame, kind: str) -> tuple[dict[str, Any], dict[str, str]]:
    known = VALUES[kind]
    values = {name: parse_value(kind, name, each.undecided) for name, each in known.items() if each.undecided}
    decision_ids: dict[str, str] = {}
    for (name,), row in decisive(ledger).items():
        where = f"{kind} ledger, decision {row['decision_id']}"
        if name not in known:
            raise ConsultationError(f"{where}: {name!r} is unknown; there are {', '.join(known)}.")
        try:
            values[name] = parse_value(kind, name, row["outcome"])
        except ValueError as error:
            raise ConsultationError(f"{where}: {error}; supersede the row.") from None
        decision_ids[name] = row["decision_id"]
    if missing := [name for name, each in known.items() if name not in values and not each.is_policy]:
        raise ConsultationError(f"{kind} ledger: {', '.join(missing)} not decided; add a row for each.")
    return values, decision_ids
