"""What people said about themselves: `participant-demographics.csv` beside the votes, from a panel or the portal.

    participant,age,region
    17,under 30,north

A column for the number of the participant, as in the votes, and one for each question of `demographics` in
consultation.yaml. Other columns are not read, an empty cell is no answer. Who voted and is not there told nothing.

The portal has a column only for what somebody answered: a question that nobody answered, or that was added later, has
none there, and whoever answered may not have voted yet.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

import polars as pl

from ccai_dagster.contracts import PARTICIPANT_DEMOGRAPHICS
from ccai_dagster.core.errors import ConsultationError
from ccai_dagster.core.text import printable
from ccai_dagster.deliberation.importing.cells import refuse_lost_digits, whole_numbers
from ccai_dagster.deliberation.importing.columns import (
    ROW,
    SourceFile,
    first_row,
    plain_name,
    read_text_csv,
    require_columns,
)
from ccai_dagster.deliberation.importing.noted import Noted

DEMOGRAPHICS = "demographics"
"""What the file is for, among the files of an export."""
FILE = "participant-demographics.csv"
PARTICIPANT = "participant"
ALIASES = {"participant-id": PARTICIPANT, "voter-id": PARTICIPANT}


def read_demographics(
    file: SourceFile | None, answers: Mapping[str, Sequence[str]], participant_ids: Collection[int], of_portal: bool
) -> pl.DataFrame:
    """Return the table `participant_demographics`.

    Args:
        file: None where there is none.
        answers: What may be answered, by the name of the question.
        participant_ids: Everybody who voted.
        of_portal: Whether the portal wrote the file, and no panel.

    Returns:
        What those who voted answered, sorted by its key; no rows without a file or without questions.

    Raises:
        ConsultationError: A participant is none or stands there twice, an answer is none of those that there are, or,
            in a panel's file, a column is missing or nobody voted. Names file and row.
    """
    if file is None or not answers:
        return PARTICIPANT_DEMOGRAPHICS.empty()
    columns = {plain_name(name, {}): name for name in answers}
    table = read_text_csv(file, Noted(), ALIASES, lambda name: name == PARTICIPANT or name in columns)
    require_columns(file, table, {PARTICIPANT} if of_portal else {PARTICIPANT, *columns})
    table = table.with_columns(pl.lit(None, pl.String).alias(name) for name in columns if name not in table.columns)
    table = table.with_columns(pl.all().exclude(ROW).str.strip_chars()).rename(columns)
    refuse_lost_digits(file, table, [PARTICIPANT])
    ids = whole_numbers(table[PARTICIPANT])
    _refuse(file, table, ids.is_null(), PARTICIPANT, "must be the number of a participant, as in the votes")
    _refuse(file, table, ~ids.is_first_distinct(), PARTICIPANT, "stands there twice; keep one row")
    for name, known in answers.items():
        cells = table[name].fill_null("")
        _refuse(file, table, ~cells.is_in(["", *known]), name, f"is none of the answers {', '.join(known)}, nor empty")
    voted = table.with_columns(participant_id=ids).filter(pl.col("participant_id").is_in(list(participant_ids)))
    if table.height and voted.is_empty() and not of_portal:
        raise ConsultationError(
            f"{file.place}: nobody in it voted. Its column `{PARTICIPANT}` must have the numbers that the votes have."
        )
    return (
        voted.unpivot(list(answers), index="participant_id", variable_name="question", value_name="answer")
        .filter(pl.col("answer").fill_null("") != "")
        .select(list(PARTICIPANT_DEMOGRAPHICS.fields))
        .sort(PARTICIPANT_DEMOGRAPHICS.key)
    )


def _refuse(file: SourceFile, table: pl.DataFrame, wrong: pl.Series, column: str, why: str) -> None:
    if place := first_row(wrong):
        row, cell = table[ROW][place - 1], table[column][place - 1]
        raise ConsultationError(f"{file.place}, data row {row}: {column} {printable(str(cell or ''), 60)!r} {why}.")
