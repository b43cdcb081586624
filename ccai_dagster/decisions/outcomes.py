"""What the ledgers decide, as values that methods take: verdicts, merges and wordings, numeric and named decisions.

Every function takes a whole ledger and leaves out superseded rows. Whether subjects exist and texts are still those
that decisions were taken on is for `checks`.

`VALUES` is the one place that says which subjects the threshold and training ledgers settle, what each means, may be
and is at first; whoever reads, asks, begins or documents goes by it. They are ledger rows and not settings because a
person must answer for them.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, get_args

import polars as pl

from ccai_dagster.consultation.settings import UntunedMethod
from ccai_dagster.core.digest import text_digest
from ccai_dagster.core.errors import ConsultationError
from ccai_dagster.decisions.independent_decisions import Row, Subject, decisive_rows
from ccai_dagster.decisions.ledger import POLICY, current, is_decision, split_outcome
from ccai_dagster.deliberation.votes import (
    Aggregation,
    Imputation,
    ModerationVerdict,
    Procedure,
    ProcedureName,
    Smoothing,
)

SelectionRule = Literal["threshold", "ideas"]
FeedbackMethod = Literal[UntunedMethod, "tuned"]
PolicyMethod = Literal["rloo", "dpo"]


@dataclass(frozen=True)
class PolicyChoice:
    """A choice on record that is applied to no row."""

    decision_id: str
    kind: str
    subject: str
    text: str
    reason: str


@dataclass(frozen=True)
class Ideas:
    """The distinct ideas of one statement, and the decision that split it into them."""

    ideas: tuple[str, ...]
    decision_id: str


def moderation_verdicts(ledger: pl.DataFrame) -> dict[int, ModerationVerdict]:
    """Return what moderation decided on each statement, by id and in its order.

    Raises:
        ConsultationError: Rows that count contradict each other.
    """
    found = {}
    for (subject,), row in _decisive(ledger).items():
        verb, text = split_outcome(row["outcome"])
        found[int(subject)] = ModerationVerdict(
            included=verb != "out",
            text=text if verb == "rewrite" else None,
            decision_ids=(row["decision_id"],),
            criterion=text if verb == "out" else None,
        )
    return dict(sorted(found.items()))


def exclusions(ledger: pl.DataFrame) -> dict[int, str]:
    """Return the decision that excluded each excluded participant, by participant id and in its order.

    Raises:
        ConsultationError: Rows that count contradict each other.
    """
    found = {
        int(subject): row["decision_id"]
        for (subject,), row in _decisive(ledger).items()
        if split_outcome(row["outcome"])[0] == "exclude"
    }
    return dict(sorted(found.items()))


def statement_ideas(ledger: pl.DataFrame) -> dict[int, Ideas]:
    """Return the distinct ideas of every statement that somebody has split, by statement id and in its order.

    Ideas are separated by `|` in the ledger; equal text is the same idea.

    Raises:
        ConsultationError: Rows that count contradict each other, or an idea is empty.
    """
    found = {}
    for (subject,), row in _decisive(ledger).items():
        ideas = [idea.strip() for idea in split_outcome(row["outcome"])[1].split("|")]
        if not all(ideas):
            raise ConsultationError(
                f"idea ledger, decision {row['decision_id']}: empty idea; write `ideas: first | second`."
            )
        found[int(subject)] = Ideas(tuple(dict.fromkeys(ideas)), row["decision_id"])
    return dict(sorted(found.items()))


def policies(ledger: pl.DataFrame) -> tuple[PolicyChoice, ...]:
    """Return the choices on record that are applied to no row, in ledger order, one a subject."""
    return tuple(
        PolicyChoice(row["decision_id"], row["kind"], subject, split_outcome(row["outcome"])[1], row["reason"])
        for row in current(ledger).iter_rows(named=True)
        if split_outcome(row["outcome"])[0] == POLICY
        for subject in row["subject_ids"]
    )


def signoffs(ledger: pl.DataFrame) -> dict[str, str]:
    """Return the constitution digest that each arm is signed off for, by arm.

    Raises:
        ConsultationError: Rows that count contradict each other.
    """
    return {arm: row["inputs_digest"] for (arm,), row in sorted(_decisive(ledger).items(), key=lambda each: each[0])}


def decided_rows(ledger: pl.DataFrame) -> list[Row]:
    """Return the rows that count, without policies and withdrawals, in ledger order, with their `root_id`."""
    return [row for row in current(ledger).iter_rows(named=True) if is_decision(row["outcome"])]


def _decisive(ledger: pl.DataFrame) -> dict[Subject, Row]:
    return decisive_rows(decided_rows(ledger))


@dataclass(frozen=True)
class Merge:
    """Several statements that say the same, and the one text that stands for them."""

    decision_id: str
    statement_ids: tuple[int, ...]
    text: str
    inputs_digest: str | None


@dataclass(frozen=True)
class Wording:
    """What became of one or more statements: a principle, or left out by a person.

    Attributes:
        principle_id: Id of the first decision of the chain; stays the same when the wording is corrected.
        text: The principle, or None where the statements were left out.
        inputs_digest: Digest of the text it was worded from, as the ledger has it.
    """

    principle_id: str
    decision_id: str
    statement_ids: tuple[int, ...]
    text: str | None
    inputs_digest: str | None


@dataclass(frozen=True)
class WordingSource:
    """The text a principle is worded from, and the merge it comes from, if any."""

    text: str
    merge_id: str | None

    @property
    def digest(self) -> str:
        """What the wording's `inputs_digest` should be."""
        return text_digest(self.text)


def merges(ledger: pl.DataFrame) -> tuple[Merge, ...]:
    """Return the merges that count, in ledger order.

    Raises:
        ConsultationError: Rows that count contradict each other.
    """
    return tuple(
        Merge(row["decision_id"], _ids(row), split_outcome(row["outcome"])[1], row["inputs_digest"])
        for row in _decisive(ledger).values()
        if split_outcome(row["outcome"])[0] == "merge"
    )


def wordings(ledger: pl.DataFrame) -> tuple[Wording, ...]:
    """Return the wordings that count, in ledger order.

    Raises:
        ConsultationError: Rows that count contradict each other.
    """
    return tuple(
        Wording(
            principle_id=row["root_id"],
            decision_id=row["decision_id"],
            statement_ids=_ids(row),
            text=split_outcome(row["outcome"])[1] or None,
            inputs_digest=row["inputs_digest"],
        )
        for row in _decisive(ledger).values()
    )


def wording_source(wording: Wording, merged: Sequence[Merge], texts: Mapping[int, str]) -> WordingSource:
    """Return the text a principle is worded from.

    It is the merged text where a merge has exactly these statements, else the text of the one statement.

    Args:
        texts: Text of every statement that is in, after rewrites, by id.

    Raises:
        ConsultationError: Several statements without a merge of exactly these, or the statement is not in.
    """
    wanted = frozenset(wording.statement_ids)
    for merge in merged:
        if frozenset(merge.statement_ids) == wanted:
            return WordingSource(merge.text, merge.decision_id)
    names = " ".join(map(str, wording.statement_ids))
    if len(wanted) > 1:
        raise ConsultationError(
            f"wording ledger, decision {wording.decision_id}: statements {names} are not merged; add a row "
            "with exactly these subjects to the merge ledger."
        )
    if wording.statement_ids[0] not in texts:
        raise ConsultationError(
            f"wording ledger, decision {wording.decision_id}: statement {names} does not exist or was "
            "moderated out; supersede the row."
        )
    return WordingSource(texts[wording.statement_ids[0]], None)


def _ids(row: Row) -> tuple[int, ...]:
    return tuple(int(subject) for subject in row["subject_ids"])


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


def _number(highest: float = math.inf) -> Allowed:
    def parse(text: str) -> float:
        value = float(text)
        if not math.isfinite(value) or not 0 <= value <= highest:
            raise ValueError(text)
        return value

    return Allowed("a number from 0" + ("" if math.isinf(highest) else f" to {highest:g}"), parse)


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


POLICY_TEXT = Allowed("`policy: ...`", _no_value)

VALUES: Mapping[str, Mapping[str, ValueDecision]] = {
    "threshold": {
        "minimum_votes": ValueDecision("fewest votes for a participant to count", _whole_number(0), "7"),
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
            "how many opinion groups there are; under `auto` as many, of 2 to 5, as have the best silhouette",
            _auto_or(_whole_number(2)),
            "auto",
        ),
        "smoothing": ValueDecision(
            "what is added to a group's agreeing votes and to its votes: nothing, 1 and 2 (`laplace`, as Polis does), "
            "or 1/2 and 1 (`jeffreys`)",
            _one_of(*get_args(Smoothing)),
            "laplace",
        ),
        "aggregation": ValueDecision(
            "how the agreement of all groups makes one score: as product (Huang et al. 2024, equation 1) or as "
            "geometric mean",
            _one_of(*get_args(Aggregation)),
            "product",
        ),
        "selection_rule": ValueDecision(
            "whether statements are selected by `gac_threshold` (`threshold`) or by `idea_budget` (`ideas`)",
            _one_of(*get_args(SelectionRule)),
            "threshold",
        ),
        "gac_threshold": ValueDecision(
            "lowest group-aware consensus that is selected, under the rule `threshold`", _number(1), "0.6"
        ),
        "idea_budget": ValueDecision(
            "most distinct ideas that are selected, under the rule `ideas`", _whole_number(1), "40"
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
            "makes each response (`contrast`), or tuned on comparisons that people labelled (`tuned`)",
            _one_of(*get_args(FeedbackMethod)),
            "letters",
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
    """

    rule: SelectionRule
    threshold: float
    idea_budget: int


@dataclass(frozen=True)
class Thresholds:
    """What the threshold ledger settles; `VALUES` says what each means.

    Attributes:
        decision_ids: The row each value comes from, by subject; not part of equality.
    """

    minimum_votes: int
    procedure: Procedure
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
        ),
        cut=Cut(values["selection_rule"], values["gac_threshold"], values["idea_budget"]),
        overlap_similarity=values["overlap_similarity"],
        decision_ids=decision_ids,
    )


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
    for (name,), row in _decisive(ledger).items():
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
