"""People's ratings of pairs of responses: taken in with every check, read, and told from those that lapsed.

Belongs here: what raters answered. Doesn't belong here: what they were asked (`rating_sheets`), the files
(`rating_files`), and what follows from ratings (`elo`, `rater_agreement`).

Rows are only ever added. A rating is about two texts: when an arm's response changes, it lapses and stays.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import polars as pl

from ccai_dagster.contracts import RATINGS
from ccai_dagster.core.files import written_alone
from ccai_dagster.core.text import printable
from ccai_dagster.errors import ConsultationError
from ccai_dagster.evaluation.rating_files import (
    KEY_FILE,
    LOCK,
    RATING_COLUMNS,
    csv_rows,
    csv_text,
    read_key,
    refuse,
    replace,
)
from ccai_dagster.evaluation.rating_sheets import texts_digest

NEEDED = ("pair_id", "prompt", "response_1", "response_2", "rating")
ANSWERS = ("1", "2", "tie")
RATER = re.compile(r"[a-z][a-z0-9-]{0,31}")


@dataclass(frozen=True)
class Imported:
    """What an import found: ratings added, on record already, and pairs that are not rated yet."""

    added: int
    known: int
    unrated: int


def import_ratings(folder: Path, file: Path, rater: str) -> Imported:
    """Take one rater's ratings into the consultation, all of them or none.

    Rows without a rating are not rated yet; columns that a rating tool added are left aside. What is on record
    already is not added again.

    Args:
        folder: `ratings` of the consultation.
        file: A sheet as `export_sheet` wrote it, with `rating` filled in.
        rater: Role or pseudonym.

    Raises:
        ConsultationError: Rater or file are not usable, or a row has an unknown pair, an unknown rating, texts
            that are not those exported, or a pair that the file or the rater rates twice or in two ways. Nothing
            was changed.
    """
    if not RATER.fullmatch(rater):
        raise ConsultationError(
            f"--rater {printable(rater)}: give a role or pseudonym of lower-case letters, digits and -, such as "
            "rater-1, and never a name or an address."
        )
    if not folder.is_dir():
        raise ConsultationError(
            f"{folder}: nothing was exported for rating yet; `ccai compare export` does it."
        )
    with written_alone(folder, folder / LOCK):
        key, path = read_key(folder), folder / f"{rater}.csv"
        known = _ratings_of(path, key)
        rated: dict[str, tuple[int, str]] = {}
        problems: list[str] = []
        unrated = 0
        for number, row in csv_rows(file, NEEDED):
            answer, pair_id = row["rating"].strip().lower(), row["pair_id"].strip()
            if problem := _problem(row, pair_id, answer, key):
                problems.append(f"row {number}: {problem}")
            elif not answer:
                unrated += 1
            elif pair_id in rated:
                earlier, said = rated[pair_id]
                told = "the same" if said == answer else f"{said} in the one and {answer} in the other"
                problems.append(
                    f"rows {earlier} and {number}: pair {pair_id} is rated twice, {told}; keep one row"
                )
            elif known.get(pair_id, answer) != answer:
                problems.append(
                    f"row {number}: {rater} rated pair {pair_id} {known[pair_id]} before ({path.name}) and {answer} "
                    "now; an earlier rating is never overwritten. Correct one of the two"
                )
            else:
                rated[pair_id] = (number, answer)
        refuse(file, problems)
        if not rated:
            raise ConsultationError(f"{file}: no row has a rating; write 1, 2 or tie in the column `rating`.")
        new = {pair_id: answer for pair_id, (_, answer) in rated.items() if pair_id not in known}
        if new:
            replace(path, csv_text(RATING_COLUMNS, [*known.items(), *sorted(new.items())]))
    return Imported(len(new), len(rated) - len(new), unrated)


def read_ratings(folder: Path) -> pl.DataFrame:
    """Read everything that people rated.

    Args:
        folder: `ratings` of the consultation; it need not exist.

    Returns:
        RATINGS, sorted by its key; without rows if nobody rated anything.

    Raises:
        ConsultationError: A file was damaged or edited: names file and row.
    """
    key = read_key(folder)
    rows = [
        {**key[pair_id], "rater": path.stem, "rating": rating}
        for path in sorted(folder.glob("*.csv"))
        for pair_id, rating in _ratings_of(path, key).items()
    ]
    return RATINGS.build(rows).sort(RATINGS.key)


def standing_ratings(ratings: pl.DataFrame, comparisons: pl.DataFrame) -> pl.DataFrame:
    """Return the ratings of responses as they are now; all others have lapsed.

    Args:
        ratings: RATINGS.
        comparisons: COMPARISONS of the last run.
    """
    texts = {
        row["pair_id"]: {row["arm_a"]: row["response_a"], row["arm_b"]: row["response_b"], "": row["prompt"]}
        for row in comparisons.to_dicts()
    }
    stands = [
        row["pair_id"] in texts
        and texts_digest(*(texts[row["pair_id"]].get(arm, "") for arm in ("", row["arm_1"], row["arm_2"])))
        == row["texts_digest"]
        for row in ratings.to_dicts()
    ]
    return ratings.filter(pl.Series(stands, dtype=pl.Boolean))


def _problem(
    row: Mapping[str, str], pair_id: str, answer: str, key: Mapping[str, Mapping[str, str]]
) -> str | None:
    """Say what is wrong with one row by itself."""
    if pair_id not in key:
        return (
            f"pair {printable(pair_id, 60) or '(empty)'} was never exported from this consultation; remove the row, or "
            "import into the consultation it comes from"
        )
    if texts_digest(row["prompt"], row["response_1"], row["response_2"]) != key[pair_id]["texts_digest"]:
        return f"prompt or responses of pair {pair_id} are not as they were exported; restore them from the export"
    if answer and answer not in ANSWERS:
        return f"the rating {printable(answer, 60)!r} must be 1, 2 or tie, or empty where it is not rated yet"
    return None


def _ratings_of(path: Path, key: Mapping[str, Mapping[str, str]]) -> dict[str, str]:
    """Read what one rater said before; pair and rating, in the order of the file."""
    if not path.exists():
        return {}
    found: dict[str, str] = {}
    problems = [] if RATER.fullmatch(path.stem) else ["its name must be a role or pseudonym, such as rater-1"]
    for number, row in csv_rows(path, RATING_COLUMNS):
        pair_id, rating = row["pair_id"], row["rating"]
        if pair_id not in key:
            problems.append(
                f"row {number}: pair {printable(pair_id, 60)} is not in {KEY_FILE}; restore the key"
            )
        elif rating not in ANSWERS:
            problems.append(f"row {number}: the rating {printable(rating, 60)!r} must be 1, 2 or tie")
        elif pair_id in found:
            problems.append(f"row {number}: pair {pair_id} stands twice; keep one row")
        found[pair_id] = rating
    refuse(path, problems)
    return found
