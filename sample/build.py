"""Regenerates the votes of the embedded consultation from its opinion model.

    python -m sample.build                          rewrites ccai_dagster/sample/consultation/votes
    python -m sample.build --more unchanged FOLDER  the same export and some late votes
    python -m sample.build --more changed FOLDER    late votes that change the constitution

The parameters are `opinion_model.csv` (one row a statement) and `opinion_groups.csv` (one row a known group);
the formula is in `sample.simulation`. What else is in the consultation is written by hand, its questions of opinion
excepted (`sample.build_opinions`).
"""

from __future__ import annotations

import argparse
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Literal, get_args

import polars as pl

from ccai_dagster.consultation.folder import SAMPLE
from sample.simulation import arrival_times, cast, simulate_participants, simulate_votes, write_classic_export

FOLDER = Path(__file__).parent
SEED = 20250303
OPENED = datetime(2025, 3, 3, 8, tzinfo=UTC)
CLOSED = datetime(2025, 3, 16, 22, tzinfo=UTC)
EXTENDED = datetime(2025, 3, 19, 22, tzinfo=UTC)
"""Late votes arrive between `CLOSED` and this."""
TYPICAL_VOTES = (22, 58)
AGREES_WITH_EVERYTHING = 58
DISAGREES_WITH_EVERYTHING = 203
SAME_PERSON = (131, 132)
"""Two participants with the same votes on the same statements, agreeing and disagreeing in turn."""
SUMMARY = {
    "topic": "How should Ask Brackwater behave?",
    "url": "https://consult.brackwater.example/ask-brackwater",
    "conversation-description": (
        "The town council is about to open an AI assistant called Ask Brackwater.\n\n"
        "How should it behave when it talks to you? Vote on what others wrote, or add a rule of your own."
    ),
}
More = Literal["unchanged", "changed"]
MORE: tuple[More, ...] = get_args(More)
LATE_PARTICIPANTS: dict[More, tuple[int, int, int]] = {"unchanged": (5, 4, 3), "changed": (30, 30, 30)}
"""Late participants of the groups A, B and C."""
LATE_SEED: dict[More, int] = {"unchanged": 3, "changed": 2}
CAMPAIGN_STATEMENT = 52
"""What all late participants of `changed` disagree with: a statement above the cut."""


def opinion_model() -> pl.DataFrame:
    """Read the statements with their parameters, sorted by id."""
    table = pl.read_csv(FOLDER / "opinion_model.csv", try_parse_dates=False)
    return table.with_columns(
        created_at=pl.col("created_at").str.to_datetime("%Y-%m-%dT%H:%M:%SZ", time_unit="ms", time_zone="UTC"),
        shown_from=pl.col("shown_from").cast(pl.Int64),
    ).sort("statement_id")


def opinion_groups() -> pl.DataFrame:
    """Read the known groups, sorted by name."""
    return pl.read_csv(FOLDER / "opinion_groups.csv").sort("group")


def known_groups() -> pl.DataFrame:
    """Return `participant_id`, `group` of every simulated participant, sorted by id."""
    participants = simulate_participants(opinion_groups(), SEED, typical_votes=TYPICAL_VOTES)
    return participants.select("participant_id", "group")


def votes_as_decided() -> pl.DataFrame:
    """Return everybody's final votes: the model's, authors agreeing with themselves, and unusual conduct."""
    model = opinion_model()
    votes = simulate_votes(model, opinion_groups(), SEED, typical_votes=TYPICAL_VOTES)
    votes = votes.with_columns(
        vote=pl.when(pl.col("participant_id") == AGREES_WITH_EVERYTHING)
        .then(1)
        .when(pl.col("participant_id") == DISAGREES_WITH_EVERYTHING)
        .then(-1)
        .otherwise("vote")
        .cast(pl.Int8)
    )
    first, second = SAME_PERSON
    in_turn = votes.filter(participant_id=first).with_columns(vote=(1 - 2 * (pl.int_range(pl.len()) % 2)).cast(pl.Int8))
    twin = in_turn.with_columns(participant_id=pl.lit(second, dtype=pl.Int64))
    votes = pl.concat([votes.filter(~pl.col("participant_id").is_in(SAME_PERSON)), in_turn, twin])
    own = model.filter(pl.col("author_id") > 0).select(
        participant_id="author_id", statement_id="statement_id", vote=pl.lit(1, dtype=pl.Int8)
    )
    keys = ["participant_id", "statement_id"]
    return pl.concat([votes.join(own, on=keys, how="anti"), own]).sort(keys)


def build(folder: Path) -> None:
    """Write the export of the consultation as it stood when it closed."""
    _export(folder, votes_with_times())


def build_more(kind: More, folder: Path) -> None:
    """Write the same export with late votes, none of the earlier rows changed.

    Args:
        kind: `unchanged`: a dozen late participants who vote as everybody else did. `changed`: ninety, and all of
            them disagree with one statement that was above the cut.
        folder: Made if absent.
    """
    counts = LATE_PARTICIPANTS[kind]
    groups = opinion_groups().with_columns(participants=pl.Series(counts))
    first, model = known_groups().height + 1, opinion_model()
    seed = LATE_SEED[kind]
    late = simulate_votes(model, groups, seed, typical_votes=TYPICAL_VOTES, first_id=first, few_voters=0)
    if kind == "changed":
        campaign = (
            late.select("participant_id")
            .unique(maintain_order=True)
            .with_columns(statement_id=pl.lit(CAMPAIGN_STATEMENT, dtype=pl.Int64), vote=pl.lit(-1, dtype=pl.Int8))
        )
        late = pl.concat([late.filter(pl.col("statement_id") != CAMPAIGN_STATEMENT), campaign])
    times = arrival_times(sum(counts), CLOSED, EXTENDED)
    late = cast(late, {first + place: time for place, time in enumerate(times)}, seed)
    _export(folder, pl.concat([votes_with_times(), late]).sort("statement_id", "participant_id", "voted_at"))


def votes_with_times() -> pl.DataFrame:
    """Return the rows of `votes.csv` up to the closing."""
    times = arrival_times(known_groups().height, OPENED, CLOSED)
    model = opinion_model()
    rows = cast(votes_as_decided(), {place + 1: time for place, time in enumerate(times)}, SEED)
    # An author's own vote is cast with the statement, later than its arrival.
    own = model.select("statement_id", participant_id="author_id", voted_with="created_at")
    return (
        rows.join(own, on=["statement_id", "participant_id"], how="left")
        .with_columns(
            voted_at=pl.when(pl.col("voted_with").is_not_null())
            .then(pl.col("voted_with") + timedelta(milliseconds=40))
            .otherwise("voted_at")
        )
        .unique(["statement_id", "participant_id", "voted_at"], keep="last", maintain_order=True)
        .drop("voted_with")
    )


def _export(folder: Path, votes: pl.DataFrame) -> None:
    number = {group: place for place, group in enumerate(opinion_groups()["group"])}
    counted = votes.group_by("participant_id").agg(n=pl.col("statement_id").n_unique()).filter(pl.col("n") >= 7)
    grouped = known_groups().join(counted, on="participant_id", how="semi")
    polis_groups = {person: number[group] for person, group in grouped.iter_rows()}
    write_classic_export(folder, opinion_model(), votes, polis_groups, SUMMARY, SEED)


def main() -> None:
    """Run the command described at the top."""
    parser = argparse.ArgumentParser(description="Regenerate the votes of the embedded consultation.")
    more_help = f"{' or '.join(MORE)}, and where to write"
    parser.add_argument("--more", nargs=2, metavar=("KIND", "FOLDER"), help=more_help)
    more = parser.parse_args().more
    folder = SAMPLE / "votes" if more is None else Path(more[1])
    if more is None:
        build(folder)
    elif more[0] in MORE:
        build_more(more[0], folder)
    else:
        parser.error(f"there is no export {more[0]!r}; there are {' and '.join(MORE)}")
    print(f"Wrote {folder}.")


if __name__ == "__main__":
    main()
