"""People's ratings of pairs of responses: taken in with every check, read, and how far they agree with the judge.

Belongs here: the files of a consultation's folder `ratings`, what raters answered, and agreement on the same two
responses. Doesn't belong here: what raters are shown (`rating_export`), which arm is preferred (`elo`), accuracy of the
feedback model on comparisons from elsewhere (`feedback.calibration`).

    ratings/keys/pairs.csv           which arm wrote which response; raters must not see it
    ratings/keys/conversations.csv   the same of each turn of a conversation (`conversation_ratings`)
    ratings/RATER.csv                what one rater said; the name is a role or pseudonym

Rows are only ever added. A rating is about two texts: when an arm's response changes, it lapses and stays. The texts of
a conversation are never written again; a rating in one lapses when an arm responds otherwise to held-out prompts.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from ccai_dagster.contracts import RATER_AGREEMENT, RATINGS
from ccai_dagster.core.digest import value_digest
from ccai_dagster.core.draws import derived_seed
from ccai_dagster.core.errors import ConsultationError
from ccai_dagster.core.files import sheet_rows, write_file, written_alone
from ccai_dagster.core.text import printable, printable_lines
from ccai_dagster.statistics.agreement import cohens_kappa, expected_agreement
from ccai_dagster.statistics.intervals import wilson_interval
from ccai_dagster.statistics.resampling import percentile_interval, resampled_figures

KEY_FILE = Path("keys") / "pairs.csv"
LOCK = ".lock"
"""One process at a time writes in the folder."""
CONVERSATIONS_FILE = Path("keys") / "conversations.csv"
KEY_COLUMNS = ("pair_id", "quality", "prompt_id", "arm_1", "arm_2", "texts_digest")
CONVERSATION_COLUMNS = (*KEY_COLUMNS, "responses_1", "responses_2")
"""The last two are digests of what either arm responded to held-out prompts at the time (`responses_digest`)."""
RATING_COLUMNS = ("pair_id", "rating")
NEEDED = ("pair_id", "prompt", "response_1", "response_2", "rating")
ANSWERS = ("1", "2", "tie")
RATER = re.compile(r"[a-z][a-z0-9-]{0,31}")
WITH_JUDGE, AMONG_PEOPLE = "feedback model and people", "people"
_CELLS = ("aa", "ab", "ba", "bb")
"""Which arm the first answer prefers, and which the second: the cells of the confusion table."""
_SHOWN = 10
"""Problems shown at once; the rest is counted."""
Pair = tuple[str, tuple[str, ...], str | None, str | None, float]
"""Prompt, raters, first answer, second answer (`a`, `b` or None), weight."""


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
        file: As `write_pairs` wrote it, with `rating` filled in.
        rater: Role or pseudonym.

    Raises:
        ConsultationError: Rater or file are not usable, or a row has an unknown pair, an unknown rating, texts
            that are not those exported, or a pair that the file or the rater rates twice or in two ways. Nothing
            was changed.
    """
    check_rater(rater, "--rater")
    if not folder.is_dir():
        raise ConsultationError(f"{folder}: nothing was exported for rating yet; `ccai ratings export` does it.")
    with written_alone(folder, folder / LOCK):
        key, path = read_key(folder), folder / f"{rater}.csv"
        known = _ratings_of(path, key)
        rated: dict[str, tuple[int, str]] = {}
        problems: list[str] = []
        unrated = 0
        for number, row in sheet_rows(file, NEEDED):
            answer, pair_id = row["rating"].strip().lower(), row["pair_id"].strip()
            if problem := _problem(row, pair_id, answer, key):
                problems.append(f"row {number}: {problem}")
            elif not answer:
                unrated += 1
            elif pair_id in rated:
                earlier, said = rated[pair_id]
                how = "the same" if said == answer else f"{said} in the one and {answer} in the other"
                problems.append(f"rows {earlier} and {number}: pair {pair_id} is rated twice, {how}; keep one row")
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
            write_csv(path, RATING_COLUMNS, [*known.items(), *sorted(new.items())])
    return Imported(len(new), len(rated) - len(new), unrated)


def check_rater(rater: str, where: str) -> None:
    """Check that somebody's ratings can be kept under this name.

    Raises:
        ConsultationError: They cannot.
    """
    if not RATER.fullmatch(rater):
        raise ConsultationError(
            f"{where} {printable(rater)}: give a role or pseudonym of lower-case letters, digits and -, such as "
            "rater-1, and never a name or an address."
        )


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


def current_ratings(ratings: pl.DataFrame, comparisons: pl.DataFrame, folder: Path) -> pl.DataFrame:
    """Return the ratings of arms and responses as they are now; all others have lapsed.

    Args:
        comparisons: COMPARISONS of the last run.
        folder: `ratings` of the consultation.

    Raises:
        ConsultationError: The key of conversations is damaged.
    """
    texts = {
        row["pair_id"]: {row["arm_a"]: row["response_a"], row["arm_b"]: row["response_b"], "": row["prompt"]}
        for row in comparisons.to_dicts()
    }
    turns = read_key_file(folder / CONVERSATIONS_FILE, CONVERSATION_COLUMNS)
    responses = {
        arm: responses_digest(comparisons, arm)
        for arm in sorted({turn[name] for turn in turns.values() for name in ("arm_1", "arm_2")})
    }

    def is_current(row: Mapping[str, str]) -> bool:
        if turn := turns.get(row["pair_id"]):
            return all(turn[f"responses_{side}"] == responses[turn[f"arm_{side}"]] for side in "12")
        own = texts.get(row["pair_id"])
        if own is None:
            return False
        return texts_digest(*(own.get(arm, "") for arm in ("", row["arm_1"], row["arm_2"]))) == row["texts_digest"]

    return ratings.filter(pl.Series([is_current(row) for row in ratings.to_dicts()], dtype=pl.Boolean))


def responses_digest(comparisons: pl.DataFrame, arm: str) -> str:
    """Return the digest of what an arm responded to the prompts that arms are compared on.

    Args:
        comparisons: COMPARISONS of the last run.
    """
    said = {
        row["prompt_id"]: row[f"response_{side}"]
        for side in "ab"
        for row in comparisons.filter(pl.col(f"arm_{side}") == arm).to_dicts()
    }
    return value_digest(sorted(said.items()))


def texts_digest(prompt: str, response_1: str, response_2: str) -> str:
    """Return the digest of texts as they were shown.

    Line breaks, blanks and a quote mark in front, which rating tools and spreadsheets change, do not count.
    """
    return value_digest(
        [" ".join(printable_lines(text).strip().lstrip("'").split()) for text in (prompt, response_1, response_2)]
    )


def rating_files(folder: Path) -> list[Path]:
    """Return all files that ratings are read from."""
    return sorted([*folder.glob("*.csv"), *(folder / KEY_FILE).parent.glob("*.csv")])


def read_key(folder: Path) -> dict[str, dict[str, str]]:
    """Return the key by pair, turns of conversations last; empty if nothing was shown to anybody yet.

    Raises:
        ConsultationError: A file is damaged.
    """
    return read_key_file(folder / KEY_FILE) | read_key_file(folder / CONVERSATIONS_FILE)


def read_key_file(path: Path, columns: Sequence[str] = KEY_COLUMNS) -> dict[str, dict[str, str]]:
    """Return one of the files of the key by pair, in its order; empty if there is none.

    Raises:
        ConsultationError: The file is damaged.
    """
    if not path.exists():
        return {}
    rows = [{name: row[name] for name in columns} for _, row in sheet_rows(path, columns)]
    found = {row["pair_id"]: row for row in rows}
    if len(found) < len(rows):
        raise ConsultationError(f"{path}: a `pair_id` stands twice; restore the file from a copy.")
    return found


def csv_text(columns: Sequence[str], rows: Sequence[tuple[str, ...]]) -> str:
    """Return a header and rows as CSV."""
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows(rows)
    return buffer.getvalue()


def refuse(path: Path, problems: Sequence[str]) -> None:
    """Raise a `ConsultationError` that tells what is wrong with a file, if anything is."""
    if problems:
        more = [f"and {len(problems) - _SHOWN} more problems"] if len(problems) > _SHOWN else []
        raise ConsultationError("\n".join(f"{path}, {each}." for each in [*problems[:_SHOWN], *more]))


def write_csv(path: Path, columns: Sequence[str], rows: Sequence[tuple[str, ...]]) -> None:
    """Put rows in place of a file's, so that nobody reads half of it."""
    try:
        write_file(path, csv_text(columns, rows))
    except OSError as error:
        raise ConsultationError(f"{path}: cannot be written ({error.strerror}).") from error


def _problem(row: Mapping[str, str], pair_id: str, answer: str, key: Mapping[str, Mapping[str, str]]) -> str | None:
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
    for number, row in sheet_rows(path, RATING_COLUMNS):
        pair_id, rating = row["pair_id"], row["rating"]
        if pair_id not in key:
            problems.append(
                f"row {number}: pair {printable(pair_id, 60)} is not in {KEY_FILE.parent}/; restore the key"
            )
        elif rating not in ANSWERS:
            problems.append(f"row {number}: the rating {printable(rating, 60)!r} must be 1, 2 or tie")
        elif pair_id in found:
            problems.append(f"row {number}: pair {pair_id} stands twice; keep one row")
        found[pair_id] = rating
    refuse(path, problems)
    return found


def rater_agreement(comparisons: pl.DataFrame, ratings: pl.DataFrame, bootstraps: int, seed: int) -> pl.DataFrame:
    """Compare answers on the same two responses, for each quality and each two arms.

    Answers that prefer neither response (ties of people, one half or no answer of the feedback model) are
    counted and left out: a judge that gives probabilities hardly ever ties. Agreement among people takes every
    two raters of a comparison, in both orders with half a weight.

    Intervals of kappa resample prompts, and raters where there are several (`resampling`). They are widened to
    hold Wilson's interval of the share of agreement, over prompts, brought to the scale of kappa: with few answers,
    or where all agree, resamples are too much alike.

    Args:
        ratings: RATINGS; those in conversations, which the feedback model has not read, are left out.

    Returns:
        RATER_AGREEMENT, sorted by its key; a row for each two answers there are, none without ratings.
    """
    answers = _answers(comparisons, ratings)
    rows: list[dict[str, Any]] = []
    for group, own in answers.sort("pair_id", "rater").group_by(["quality", "arm_a", "arm_b"], maintain_order=True):
        named = dict(zip(("quality", "arm_a", "arm_b"), group, strict=True))
        for between, pairs, marked in (
            (WITH_JUDGE, list(_with_judge(own)), bool(own["judge_at_chance"].any())),
            (AMONG_PEOPLE, list(_among_people(own)), False),
        ):
            if pairs:
                own_seed = derived_seed(seed, "agreement", between, *map(str, group))
                figures = _figures(pairs, bootstraps, own_seed)
                rows.append({**named, "between": between, **figures, "judge_at_chance": marked})
    return RATER_AGREEMENT.build(rows).sort(RATER_AGREEMENT.key)


def _answers(comparisons: pl.DataFrame, ratings: pl.DataFrame) -> pl.DataFrame:
    """Return every rating beside the feedback model's answer, both as the arm that is preferred."""
    prefers = pl.when(pl.col("rating") == "1").then("arm_1").when(pl.col("rating") == "2").then("arm_2")
    probability = pl.col("probability_a")
    judged = comparisons.select(
        "pair_id",
        "arm_a",
        "arm_b",
        "judge_at_chance",
        pl.when(probability > 0.5).then(pl.lit("a")).when(probability < 0.5).then(pl.lit("b")).alias("judge"),
    )
    return (
        ratings.select("pair_id", "rater", "quality", "prompt_id", prefers.alias("preferred"))
        .join(judged, on="pair_id")
        .with_columns(
            person=pl.when(pl.col("preferred") == pl.col("arm_a"))
            .then(pl.lit("a"))
            .when(pl.col("preferred") == pl.col("arm_b"))
            .then(pl.lit("b"))
        )
    )


def _with_judge(own: pl.DataFrame) -> Iterator[Pair]:
    for prompt_id, rater, judge, person in own.select("prompt_id", "rater", "judge", "person").iter_rows():
        yield prompt_id, (rater,), judge, person, 1.0


def _among_people(own: pl.DataFrame) -> Iterator[Pair]:
    for _, same in own.group_by("pair_id", maintain_order=True):
        for one, other in combinations(same.select("prompt_id", "rater", "person").rows(), 2):
            raters = (one[1], other[1])
            yield one[0], raters, one[2], other[2], 0.5
            yield one[0], raters, other[2], one[2], 0.5


def _figures(pairs: list[Pair], bootstraps: int, seed: int) -> dict[str, Any]:
    decided = [each for each in pairs if each[2] and each[3]]
    weight = sum(each[4] for each in pairs)
    prompts, raters = [each[0] for each in decided], [each[1] for each in decided]
    cells = np.array([[each[4] * (f"{each[2]}{each[3]}" == cell) for cell in _CELLS] for each in decided])
    row: dict[str, Any] = {
        "n": round(sum(each[4] for each in decided)),
        "n_undecided": round(weight - sum(each[4] for each in decided)),
        "n_prompts": len(set(prompts)),
        "n_raters": len({name for each in pairs for name in each[1]}),
        "agreement": None,
        "kappa": None,
        "kappa_low": None,
        "kappa_high": None,
    }
    if not decided:
        return row
    total = cells.sum(axis=0)
    row["agreement"] = float((total[0] + total[3]) / total.sum())
    kappa = float(cohens_kappa(total.reshape(2, 2)))
    if np.isnan(kappa):
        return row
    resampled, n_units = resampled_figures(
        cells,
        prompts,
        raters,
        lambda totals: cohens_kappa(totals.reshape(-1, 2, 2))[:, None],
        bootstraps=bootstraps,
        seed=seed,
    )
    defined = resampled[np.isfinite(resampled[:, 0]), 0]
    low, high = percentile_interval(defined, n_units[0]) if defined.size else (kappa, kappa)
    expected = float(expected_agreement(total.reshape(2, 2)))
    shares = wilson_interval(row["agreement"] * row["n_prompts"], row["n_prompts"])
    least, most = ((share - expected) / (1 - expected) for share in shares)
    return row | {
        "kappa": kappa,
        "kappa_low": max(-1.0, min(low, least, kappa)),
        "kappa_high": min(1.0, max(high, most, kappa)),
    }
