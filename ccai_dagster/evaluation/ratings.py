"""People's ratings: pairs of responses on their way out, blinded, and ratings on their way back, checked.

Belongs here: the files of a consultation's folder `ratings`. Doesn't belong here: what follows from ratings
(`elo`, `rater_agreement`).

    ratings/keys/pairs.csv   which arm wrote which response; raters must not see it
    ratings/RATER.csv        what one rater said, `pair_id,rating`; the name is a role or pseudonym

Rows are only ever added. A rating is about two texts: when an arm's response changes, it lapses and stays.
"""

from __future__ import annotations

import csv
import io
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import polars as pl
from filelock import FileLock, Timeout

from ccai_dagster.contracts import RATINGS
from ccai_dagster.digest import value_digest
from ccai_dagster.errors import ConsultationError
from ccai_dagster.evaluation.comparison import QUESTIONS
from ccai_dagster.feedback.draws import derived_seed
from ccai_dagster.visible import spreadsheet_cell, visible, visible_lines

KEY_FILE = Path("keys") / "pairs.csv"
KEY_COLUMNS = ("pair_id", "quality", "prompt_id", "arm_1", "arm_2", "texts_digest")
RATING_COLUMNS = ("pair_id", "rating")
SHEET_COLUMNS = ("pair_id", "quality", "question", "prompt", "response_1", "response_2", "rating")
NEEDED = ("pair_id", "prompt", "response_1", "response_2", "rating")
ANSWERS = ("1", "2", "tie")
RATER = re.compile(r"[a-z][a-z0-9-]{0,31}")
SHOWN = 10
"""Problems shown at once; the rest is counted."""
LOCK_SECONDS = 30


@dataclass(frozen=True)
class Sheet:
    """Pairs to be rated.

    Attributes:
        rows: Cells in the order of `SHEET_COLUMNS`, safe to open in a spreadsheet.
        key: Which arm wrote which response, in the columns `KEY_COLUMNS`.
        n_pairs: Comparisons of these arms there are.
        n_identical: Of those, pairs of identical responses, which nobody is asked about.
    """

    rows: list[tuple[str, ...]]
    key: list[dict[str, str]]
    n_pairs: int
    n_identical: int


@dataclass(frozen=True)
class Imported:
    """What an import found: ratings added, on record already, and pairs that are not rated yet."""

    added: int
    known: int
    unrated: int


def texts_digest(prompt: str, response_1: str, response_2: str) -> str:
    """Return the digest of texts as they were shown.

    Line breaks, blanks and a quote mark in front, which rating tools and spreadsheets change, do not count.
    """
    return value_digest(
        [" ".join(_shown(text).strip().lstrip("'").split()) for text in (prompt, response_1, response_2)]
    )


def blinded_sheet(comparisons: pl.DataFrame, arms: tuple[str, str], quality: str, n: int, seed: int) -> Sheet:
    """Draw pairs of responses of two arms and hide who wrote which.

    The draw, which response comes first, and the order of rows depend on the pairs and the seed alone: the same
    call gives the same sheet, and a larger n the same pairs and more.

    Args:
        comparisons: COMPARISONS of the last run.
        arms: Two different arms, or an arm and `base`.
        quality: `helpfulness` or `harmlessness`.
        n: Pairs wanted, at least 1.
        seed: The consultation's seed.

    Raises:
        ConsultationError: An arm or quality is unknown, or there are fewer pairs than wanted.
    """
    known = sorted({*comparisons["arm_a"], *comparisons["arm_b"]})
    if len(set(arms)) != 2 or not set(arms) <= set(known):
        raise ConsultationError(
            f"--arms {visible(','.join(arms))}: name two different ones of {', '.join(known)}, as in --arms "
            f"{','.join(known[:2])}."
        )
    if quality not in QUESTIONS:
        raise ConsultationError(f"--quality {visible(quality)}: it must be {' or '.join(sorted(QUESTIONS))}.")
    own = comparisons.filter(
        pl.col("quality") == quality, pl.col("arm_a").is_in(arms), pl.col("arm_b").is_in(arms)
    )
    differing = own.filter(pl.col("status") != "identical")
    if not 1 <= n <= differing.height:
        raise ConsultationError(
            f"--n {n}: the last run has {own.height} {quality} comparisons of {arms[0]} and {arms[1]}, "
            f"{own.height - differing.height} of them of identical responses, so at least 1 and at most "
            f"{differing.height} can be rated. `evaluation.comparison_prompts` in consultation.yaml sets how many "
            "there are."
        )
    rows = sorted(differing.to_dicts(), key=lambda row: derived_seed(seed, "rated", row["pair_id"]))[:n]
    sheet, key = [], []
    for row in sorted(rows, key=lambda row: row["pair_id"]):
        sides = ("a", "b") if derived_seed(seed, "shown first", row["pair_id"]) % 2 else ("b", "a")
        shown = [row["prompt"], *(row[f"response_{side}"] for side in sides)]
        cells = [spreadsheet_cell(_shown(text)) for text in shown]
        sheet.append((row["pair_id"], quality, QUESTIONS[quality], *cells, ""))
        values = [row["pair_id"], quality, row["prompt_id"], *(row[f"arm_{side}"] for side in sides)]
        key.append(dict(zip(KEY_COLUMNS, [*values, texts_digest(*shown)], strict=True)))
    return Sheet(sheet, key, own.height, own.height - differing.height)


def export_sheet(folder: Path, sheet: Sheet, output: Path) -> None:
    """Write a sheet for raters, and keep its key in the consultation.

    Args:
        folder: `ratings` of the consultation; made if there is none.
        sheet: The pairs.
        output: A new file.

    Raises:
        ConsultationError: The file exists (it may hold ratings), lies among the ratings, or cannot be written, or
            the key of a pair is another one already.
    """
    if output.exists():
        raise ConsultationError(f"{output}: exists already and may hold ratings; name another file.")
    if output.resolve().is_relative_to(folder.resolve()):
        raise ConsultationError(f"{output}: lies where ratings are kept; name a file outside of {folder}.")
    if not output.resolve().parent.is_dir():
        raise ConsultationError(f"{output}: the folder {output.parent} does not exist; make it first.")
    folder.mkdir(exist_ok=True)
    with _alone(folder):
        known = _key(folder)
        for row in sheet.key:
            if known.setdefault(row["pair_id"], row) != row:
                raise ConsultationError(
                    f"{folder / KEY_FILE}: pair {row['pair_id']} is there with other arms or texts; nothing was "
                    "written. Export with these arms from another copy of the consultation."
                )
        (folder / KEY_FILE).parent.mkdir(exist_ok=True)
        _replace(folder / KEY_FILE, _csv(KEY_COLUMNS, [tuple(row.values()) for row in known.values()]))
        try:
            # With a mark at the beginning, by which spreadsheets know that it is UTF-8.
            with output.open("x", encoding="utf-8-sig", newline="") as handle:
                handle.write(_csv(SHEET_COLUMNS, sheet.rows))
        except OSError as error:
            raise ConsultationError(f"{output}: cannot be written ({error.strerror}).") from error


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
            f"--rater {visible(rater)}: give a role or pseudonym of lower-case letters, digits and -, such as "
            "rater-1, and never a name or an address."
        )
    if not folder.is_dir():
        raise ConsultationError(
            f"{folder}: nothing was exported for rating yet; `ccai compare export` does it."
        )
    with _alone(folder):
        key, path = _key(folder), folder / f"{rater}.csv"
        known = _ratings_of(path, key)
        rated: dict[str, tuple[int, str]] = {}
        problems: list[str] = []
        unrated = 0
        for number, row in _rows(file, NEEDED):
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
        _refuse(file, problems)
        if not rated:
            raise ConsultationError(f"{file}: no row has a rating; write 1, 2 or tie in the column `rating`.")
        new = {pair_id: answer for pair_id, (_, answer) in rated.items() if pair_id not in known}
        if new:
            _replace(path, _csv(RATING_COLUMNS, [*known.items(), *sorted(new.items())]))
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
    key = _key(folder)
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


def rating_files(folder: Path) -> list[Path]:
    """Return all files that ratings are read from."""
    return sorted([*folder.glob("*.csv"), *folder.glob(KEY_FILE.as_posix())])


def _shown(text: str) -> str:
    return visible_lines(text)


def _problem(
    row: Mapping[str, str], pair_id: str, answer: str, key: Mapping[str, Mapping[str, str]]
) -> str | None:
    """Say what is wrong with one row by itself."""
    if pair_id not in key:
        return (
            f"pair {visible(pair_id, 60) or '(empty)'} was never exported from this consultation; remove the row, or "
            "import into the consultation it comes from"
        )
    if texts_digest(row["prompt"], row["response_1"], row["response_2"]) != key[pair_id]["texts_digest"]:
        return f"prompt or responses of pair {pair_id} are not as they were exported; restore them from the export"
    if answer and answer not in ANSWERS:
        return f"the rating {visible(answer, 60)!r} must be 1, 2 or tie, or empty where it is not rated yet"
    return None


def _key(folder: Path) -> dict[str, dict[str, str]]:
    path = folder / KEY_FILE
    if not path.exists():
        return {}
    rows = [{name: row[name] for name in KEY_COLUMNS} for _, row in _rows(path, KEY_COLUMNS)]
    found = {row["pair_id"]: row for row in rows}
    if len(found) < len(rows):
        raise ConsultationError(f"{path}: a `pair_id` stands twice; restore the file from a copy.")
    return found


def _ratings_of(path: Path, key: Mapping[str, Mapping[str, str]]) -> dict[str, str]:
    """Read what one rater said before; pair and rating, in the order of the file."""
    if not path.exists():
        return {}
    found: dict[str, str] = {}
    problems = [] if RATER.fullmatch(path.stem) else ["its name must be a role or pseudonym, such as rater-1"]
    for number, row in _rows(path, RATING_COLUMNS):
        pair_id, rating = row["pair_id"], row["rating"]
        if pair_id not in key:
            problems.append(
                f"row {number}: pair {visible(pair_id, 60)} is not in {KEY_FILE}; restore the key"
            )
        elif rating not in ANSWERS:
            problems.append(f"row {number}: the rating {visible(rating, 60)!r} must be 1, 2 or tie")
        elif pair_id in found:
            problems.append(f"row {number}: pair {pair_id} stands twice; keep one row")
        found[pair_id] = rating
    _refuse(path, problems)
    return found


def _rows(path: Path, needed: Sequence[str]) -> Iterator[tuple[int, dict[str, str]]]:
    """Yield row number (the header being row 1) and cells by column, empty lines left out."""
    try:
        text = path.read_text(encoding="utf-8-sig")
    except FileNotFoundError as error:
        raise ConsultationError(f"{path}: not found.") from error
    except UnicodeDecodeError as error:
        raise ConsultationError(f"{path}: not UTF-8; save it as CSV in UTF-8.") from error
    except OSError as error:
        raise ConsultationError(f"{path}: cannot be read ({error.strerror}).") from error
    try:
        lines = list(csv.reader(io.StringIO(text, newline=""), strict=True))
    except csv.Error as error:
        raise ConsultationError(f"{path}: not readable as CSV ({error}); close the quotes.") from error
    header = [cell.strip() for cell in lines[0]] if lines else []
    if missing := [name for name in needed if header.count(name) != 1]:
        raise ConsultationError(
            f"{path}, row 1: the columns {', '.join(missing)} must stand there once each, separated by commas."
        )
    for number, cells in enumerate(lines[1:], start=2):
        if not any(cells):
            continue
        if len(cells) != len(header):
            raise ConsultationError(
                f"{path}, row {number}: {len(cells)} cells instead of {len(header)}; put cells that contain commas "
                "in double quotes."
            )
        yield number, dict(zip(header, cells, strict=True))


def _refuse(path: Path, problems: Sequence[str]) -> None:
    if problems:
        more = [f"and {len(problems) - SHOWN} more problems"] if len(problems) > SHOWN else []
        raise ConsultationError("\n".join(f"{path}, {each}." for each in [*problems[:SHOWN], *more]))


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Let one process at a time write ratings."""
    try:
        with FileLock(folder / ".lock", timeout=LOCK_SECONDS):
            yield
    except Timeout as error:
        raise ConsultationError(
            f"{folder}: another process has been writing for {LOCK_SECONDS} s; nothing was changed. Try again."
        ) from error


def _csv(columns: Sequence[str], rows: Sequence[tuple[str, ...]]) -> str:
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows(rows)
    return buffer.getvalue()


def _replace(path: Path, content: str) -> None:
    """Put new content in place of a file's, by a temporary name, so that nobody reads half of it."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.unfinished")
    try:
        with temporary.open("w", encoding="utf-8", newline="") as handle:
            handle.write(content)
            handle.flush()
            os.fsync(handle.fileno())
        temporary.replace(path)
    except OSError as error:
        raise ConsultationError(f"{path}: cannot be written ({error.strerror}).") from error
    finally:
        temporary.unlink(missing_ok=True)
