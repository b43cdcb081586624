"""Votes that count, after moderation and exclusion, and their layout as a matrix; nothing is computed from them here.

In the matrix rows are participants and columns are statements, both sorted by id. Votes are few among the cells (a
tenth is usual), so they are held as a list of cells; the dense arrays are made only where somebody asks for them.

`Procedure` holds the numeric decisions that turn votes into groups and scores, as the threshold ledger has them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Literal

import numpy as np
import polars as pl

from ccai_dagster.contracts import PARTICIPANTS, STATEMENTS, VOTES
from ccai_dagster.core.language import gettext

if TYPE_CHECKING:
    from scipy.sparse import csr_array

FEWEST_IN_CONVERSATION = 15
"""Polis (`conversation.clj`) takes in the most active people until there are this many."""

ProcedureName = Literal["default", "polis", "paper"]
Imputation = Literal["zero", "column_mean"]
Smoothing = Literal["none", "laplace", "jeffreys"]
Aggregation = Literal["product", "geometric_mean", "effective_agreement", "polis_normalized"]
Side = Literal["agree", "disagree"]


@dataclass(frozen=True)
class ModerationVerdict:
    """What moderation decided on one statement.

    Attributes:
        included: Whether it is in.
        text: The new text of a statement that was rewritten.
        decision_ids: None for a statement that nobody moderated.
        criterion: Why it is out.
        metadata: Whether it is about the people who vote. Then it is not in, and crossed with the groups.
    """

    included: bool
    text: str | None
    decision_ids: tuple[str, ...]
    criterion: str | None = None
    metadata: bool = False


def clean_statements(
    raw_statements: pl.DataFrame, moderation: Mapping[int, ModerationVerdict], include_undecided: bool
) -> pl.DataFrame:
    """Return the table `statements`: those that are in, with the text that counts.

    Args:
        include_undecided: Whether a statement nobody decided on is in (a lenient consultation) or out (a
            strict one).
    """
    rows = []
    for row in raw_statements.sort("statement_id").iter_rows(named=True):
        decided = moderation.get(row["statement_id"], ModerationVerdict(include_undecided, None, ()))
        if decided.included:
            text = row["text"] if decided.text is None else decided.text
            rows.append(
                {
                    "statement_id": row["statement_id"],
                    "author_id": row["author_id"],
                    "text": text,
                    "raw_text": row["text"],
                    "rewritten": decided.text is not None,
                    "decision_ids": list(decided.decision_ids),
                }
            )
    return STATEMENTS.build(rows)


def clean_participants(
    raw_participants: pl.DataFrame,
    excluded: Mapping[int, str],
    minimum_votes: int,
    minimum_decision: str,
    polis_statements: int | None = None,
) -> pl.DataFrame:
    """Return the table `participants`: everybody, and whether their votes count.

    Args:
        excluded: Decision id by participant id.
        minimum_votes: Fewest votes, on any statements, for somebody to count.
        minimum_decision: Id of the decision that set it.
        polis_statements: Under the procedure `polis` the number of statements with votes: whoever voted on all
            of them is kept whatever the minimum, and where fewer than 15 people are kept, those with the most
            votes are, too (the lower id first). None under the other procedures.
    """
    exclusion = pl.col("participant_id").replace_strict(
        dict(excluded) or {-1: ""}, default=None, return_dtype=pl.String
    )
    few = pl.col("n_votes") < minimum_votes
    if polis_statements is not None:
        open_to = pl.when(exclusion.is_null()).then(pl.col("n_votes"))
        activity = open_to.rank("ordinal", descending=True)
        few &= (pl.col("n_votes") < polis_statements) & ~(
            (activity <= FEWEST_IN_CONVERSATION) & (pl.col("n_votes") > 0)
        ).fill_null(False)
    return (
        raw_participants.sort("participant_id")
        .with_columns(
            fate=pl.when(exclusion.is_not_null())
            .then(pl.lit("excluded"))
            .when(few)
            .then(pl.lit("too few votes"))
            .otherwise(pl.lit("kept")),
            decision_ids=pl.concat_list(
                pl.when(exclusion.is_not_null()).then(exclusion), pl.when(few).then(pl.lit(minimum_decision))
            ).list.drop_nulls(),
        )
        .with_columns(kept=pl.col("fate") == "kept")
        .select(list(PARTICIPANTS.fields))
    )


def clean_votes(raw_votes: pl.DataFrame, statements: pl.DataFrame, participants: pl.DataFrame) -> pl.DataFrame:
    """Return the table `votes`: votes of kept participants on statements that are in, sorted by id."""
    votes = votes_among(raw_votes.select(list(VOTES.fields)), statements, participants.filter("kept"))
    return votes.sort("participant_id", "statement_id")


def votes_among(votes: pl.DataFrame, statements: pl.DataFrame, participants: pl.DataFrame) -> pl.DataFrame:
    """Return the votes of these participants on these statements, in their order."""
    return votes.filter(
        pl.col(name).is_in(table[name].implode())
        for name, table in (("statement_id", statements), ("participant_id", participants))
    )


def votes_of_everybody(raw_votes: pl.DataFrame, statements: pl.DataFrame, participants: pl.DataFrame) -> VoteMatrix:
    """Lay out the votes on statements that are in of everybody but the excluded, however few they cast."""
    everybody = participants.filter(pl.col("fate") != "excluded").with_columns(kept=pl.lit(True))
    votes = clean_votes(raw_votes, statements, everybody)
    return vote_matrix(votes, everybody["participant_id"], statements["statement_id"])


@dataclass(frozen=True)
class VoteMatrix:
    """Votes with the ids of rows and columns.

    Attributes:
        participant_ids: Shape (participants,), ascending.
        statement_ids: Shape (statements,), ascending.
        row: Shape (votes,), int32, place of each vote's participant in `participant_ids`, ascending.
        column: Shape (votes,), int32, place of its statement in `statement_ids`, ascending within a row.
        vote: Shape (votes,), int8, -1, 0 or 1.
        moderated_out: Number of statements that got votes and are not in: moderated out, or about the people who
            vote. Only Polis counts them.
        below_minimum: Votes, on the same statements, of participants who cast too few; only the opinion map of
            Polis takes them into account. None if there are none.
        joined: Shape (participants,), numbers that grow in the order of joining; None where it is that of the ids.
        important: Shape (votes,), bool, with which votes a statement was marked as important; None where nobody looks.
    """

    participant_ids: np.ndarray
    statement_ids: np.ndarray
    row: np.ndarray
    column: np.ndarray
    vote: np.ndarray
    moderated_out: int = 0
    below_minimum: VoteMatrix | None = None
    joined: np.ndarray | None = None
    important: np.ndarray | None = None

    @property
    def shape(self) -> tuple[int, int]:
        """Numbers of participants and statements."""
        return len(self.participant_ids), len(self.statement_ids)

    @cached_property
    def votes_by_participant(self) -> np.ndarray:
        """Shape (participants,), votes of each."""
        return np.bincount(self.row, minlength=self.shape[0])

    def cells(self, values: np.ndarray) -> csr_array:
        """Return a sparse matrix of the matrix' shape with one value, of shape (votes,), at each vote."""
        from scipy.sparse import csr_array

        ends = np.concatenate([[0], np.cumsum(self.votes_by_participant)]).astype(np.int32)
        return csr_array((values, self.column, ends), shape=self.shape)

    @cached_property
    def by_vote(self) -> csr_array:
        """Shape (participants, 3 x statements): 1 at each vote, in three columns a statement: disagree, pass, agree."""
        from scipy.sparse import csr_array

        ends = np.concatenate([[0], np.cumsum(self.votes_by_participant)]).astype(np.int32)
        places = self.column * np.int32(3) + self.vote + np.int32(1)
        return csr_array((np.ones(len(places)), places, ends), shape=(self.shape[0], 3 * self.shape[1]))

    @cached_property
    def cast(self) -> np.ndarray:
        """Shape (participants, statements), bool, whether a vote was cast. Dense: for small consultations."""
        cast = np.zeros(self.shape, dtype=bool)
        cast[self.row, self.column] = True
        return cast

    @cached_property
    def values(self) -> np.ndarray:
        """Shape (participants, statements), float64, -1, 0 or 1; 0 where no vote was cast. Dense."""
        values = np.zeros(self.shape)
        values[self.row, self.column] = self.vote
        return values


def vote_matrix(votes: pl.DataFrame, participant_ids: pl.Series, statement_ids: pl.Series) -> VoteMatrix:
    """Lay out votes by id; participants and statements without votes keep an empty row or column.

    Args:
        votes: `participant_id`, `statement_id`, `vote`, in any order; one row a pair.
        participant_ids: All participants, in any order.
        statement_ids: All statements, in any order.

    Raises:
        ValueError: A vote is of a participant or on a statement that is not listed.
    """
    rows, columns = np.unique(participant_ids.to_numpy()), np.unique(statement_ids.to_numpy())
    row = _places(rows, votes["participant_id"].to_numpy(), "participants")
    column = _places(columns, votes["statement_id"].to_numpy(), "statements")
    vote = votes["vote"].to_numpy().astype(np.int8)
    cell = row.astype(np.int64) * len(columns) + column
    if (cell[1:] < cell[:-1]).any():
        order = np.argsort(cell, kind="stable")
        row, column, vote = row[order], column[order], vote[order]
    return VoteMatrix(rows, columns, row, column, vote)


def _places(ids: np.ndarray, wanted: np.ndarray, what: str) -> np.ndarray:
    span = int(ids[-1]) - int(ids[0]) + 1 if len(ids) else 0
    if not len(wanted):
        return np.zeros(0, dtype=np.int32)
    if len(ids) and span <= max(len(wanted), 4 * len(ids)):
        # Ids are nearly without gaps, so a table of places is quicker than a search.
        table = np.full(span, -1, dtype=np.int32)
        table[ids - ids[0]] = np.arange(len(ids), dtype=np.int32)
        inside = (wanted >= ids[0]) & (wanted <= ids[-1])
        places = table[np.where(inside, wanted - ids[0], 0)]
        found = inside & (places >= 0)
    else:
        places = np.searchsorted(ids, wanted).astype(np.int32)
        found = places < len(ids)
        found[found] = ids[places[found]] == wanted[found]
    if not found.all():
        raise ValueError(f"votes name {what} that are not listed")
    return places


def in_context(matrix: VoteMatrix, raw_votes: pl.DataFrame, participants: pl.DataFrame) -> VoteMatrix:
    """Add what the engine of Polis sees beside the votes that count.

    Args:
        matrix: Votes of kept participants on statements that are in.
        raw_votes: All votes; those of the excluded are nowhere taken into account.

    Returns:
        The same votes, with the number of statements that are not in, the votes of those who cast too few, and the
        order of joining by the time of the first vote that counts (None where a time is missing).
    """
    counting = participants.filter(pl.col("fate") != "excluded")["participant_id"]
    counted = raw_votes.filter(pl.col("participant_id").is_in(counting.implode()))
    statement_ids = pl.Series("statement_id", matrix.statement_ids)
    voted_on = counted["statement_id"].unique()
    few = participants.filter(pl.col("fate") == "too few votes")
    theirs = votes_among(counted, statement_ids.to_frame(), few)
    below_minimum = vote_matrix(theirs, few["participant_id"], statement_ids) if few.height else None
    moderated_out = int((~voted_on.is_in(statement_ids.implode())).sum())
    return replace(matrix, moderated_out=moderated_out, below_minimum=below_minimum, joined=_joined(matrix, counted))


def with_importance(matrix: VoteMatrix, raw_votes: pl.DataFrame) -> VoteMatrix:
    """Add with which votes a statement was marked as important, by ids; the same matrix if the export does not tell."""
    if "important" not in raw_votes.columns or not raw_votes["important"].any():
        return matrix
    cells = pl.DataFrame(
        {"participant_id": matrix.participant_ids[matrix.row], "statement_id": matrix.statement_ids[matrix.column]}
    )
    pair = ["participant_id", "statement_id"]
    marked = cells.join(raw_votes.select(*pair, "important"), on=pair, how="left", maintain_order="left")["important"]
    return replace(matrix, important=marked.fill_null(False).to_numpy())


def _joined(matrix: VoteMatrix, votes: pl.DataFrame) -> np.ndarray | None:
    first = votes.group_by("participant_id").agg(pl.col("voted_at").min())
    people = pl.DataFrame({"participant_id": matrix.participant_ids}, schema={"participant_id": pl.Int64})
    times = people.join(first, on="participant_id", how="left", maintain_order="left")["voted_at"]
    # Ids ascend along the matrix, so that equal times keep the order of ids.
    return None if times.null_count() else times.rank("ordinal").to_numpy()


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
        number_of_groups: A fixed number, 1 for everybody in one group, or None for the best silhouette among 2 to 5.
        smoothing: Added to a group's agreeing votes and to its votes: nothing, 1 and 2 (Laplace, as Polis),
            or 1/2 and 1 (Jeffreys).
        aggregation: How the votes of all groups make one score; the formulas are in
            `consensus.group_aware_consensus`.
        seed: Of k-means under `paper`; the other two have no use for it.
        smallest_group: Fewest people that make a group; those of smaller clusters join the nearest group.
        importance_weight: How often a vote counts in consensus with which a statement was marked as important, 1 or
            more. Groups are found without it.
    """

    name: ProcedureName
    imputation: Imputation
    number_of_groups: int | None
    smoothing: Smoothing
    aggregation: Aggregation
    seed: int
    smallest_group: int = 1
    importance_weight: float = 1.0


def group_name(group_id: int) -> str:
    """Return what readers call an opinion group: `Group A` for 0, `Group AA` for 26."""
    return gettext("Group %(letters)s", letters=group_letters(group_id))


def group_letters(group_id: int) -> str:
    """Return the letters of an opinion group's name: `A` for 0, `AA` for 26."""
    letters, rest = "", group_id
    while rest >= 0:
        letters = chr(ord("A") + rest % 26) + letters
        rest = rest // 26 - 1
    return letters
