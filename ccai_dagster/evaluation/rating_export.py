"""Pairs of responses on their way to people: drawn, blinded, and put into a CSV file or before a rater of the portal.

Belongs here: what raters see, and the key to it. Doesn't belong here: what they answer (`ratings`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import polars as pl

from ccai_dagster.core.draws import derived_seed
from ccai_dagster.core.errors import ConsultationError
from ccai_dagster.core.files import check_new_file, write_sheet, written_alone
from ccai_dagster.core.text import printable, printable_lines, spreadsheet_cell
from ccai_dagster.evaluation.elo import QUESTIONS
from ccai_dagster.evaluation.ratings import (
    KEY_COLUMNS,
    KEY_FILE,
    LOCK,
    csv_text,
    read_key_file,
    texts_digest,
    write_csv,
)

WORTH_SEEING = 30
"""Difference in Elo for which the comparisons needed are told; 30 is odds of 54 to 46."""
EXPORT_COLUMNS = ("pair_id", "quality", "question", "prompt", "response_1", "response_2", "rating")


@dataclass(frozen=True)
class BlindedPairs:
    """Pairs to be rated.

    Attributes:
        rows: Cells in the order of `EXPORT_COLUMNS`, safe to open in a spreadsheet.
        key: Which arm wrote which response, in the columns `KEY_COLUMNS`.
        n_pairs: Comparisons of these arms there are.
        n_identical: Of those, pairs of identical responses, which nobody is asked about.
    """

    rows: list[tuple[str, ...]]
    key: list[dict[str, str]]
    n_pairs: int
    n_identical: int


@dataclass(frozen=True)
class ShownPair:
    """Two responses as a rater sees them, without whose they are."""

    pair_id: str
    quality: str
    prompt: str
    response_1: str
    response_2: str

    def cells(self, rating: str) -> tuple[str, ...]:
        """Return them in the order of `EXPORT_COLUMNS`, safe to open in a spreadsheet."""
        shown = (spreadsheet_cell(printable_lines(each)) for each in (self.prompt, self.response_1, self.response_2))
        return self.pair_id, self.quality, QUESTIONS[self.quality], *shown, rating


def blinded_pairs(comparisons: pl.DataFrame, arms: tuple[str, str], quality: str, n: int, seed: int) -> BlindedPairs:
    """Draw pairs of responses of two arms and hide who wrote which.

    The draw, which response comes first, and the order of rows depend on the pairs and the seed alone: the same
    call gives the same rows, and a larger n the same pairs and more.

    Args:
        comparisons: COMPARISONS of the last run.
        arms: Two different arms, or an arm and `base`.
        quality: `helpfulness` or `harmlessness`.
        n: Pairs wanted, at least 1.

    Raises:
        ConsultationError: An arm or quality is unknown, or there are fewer pairs than wanted.
    """
    check_compared(comparisons, arms, quality)
    own = comparisons.filter(pl.col("quality") == quality, pl.col("arm_a").is_in(arms), pl.col("arm_b").is_in(arms))
    differing = own.filter(pl.col("status") != "identical")
    if not 1 <= n <= differing.height:
        raise ConsultationError(
            f"--n {n}: the last run has {own.height} {quality} comparisons of {arms[0]} and {arms[1]}, "
            f"{own.height - differing.height} of them of identical responses, so at least 1 and at most "
            f"{differing.height} can be rated. `evaluation.comparison_prompts` in consultation.yaml sets how many "
            "there are."
        )
    rows = sorted(differing.to_dicts(), key=lambda row: derived_seed(seed, "rated", row["pair_id"]))[:n]
    exported, key = [], []
    for row in sorted(rows, key=lambda row: row["pair_id"]):
        sides = ("a", "b") if derived_seed(seed, "shown first", row["pair_id"]) % 2 else ("b", "a")
        shown = [row["prompt"], *(row[f"response_{side}"] for side in sides)]
        exported.append(ShownPair(row["pair_id"], quality, *shown).cells(""))
        values = [row["pair_id"], quality, row["prompt_id"], *(row[f"arm_{side}"] for side in sides)]
        key.append(dict(zip(KEY_COLUMNS, [*values, texts_digest(*shown)], strict=True)))
    return BlindedPairs(exported, key, own.height, own.height - differing.height)


def check_compared(comparisons: pl.DataFrame, arms: Sequence[str], quality: str) -> None:
    """Check that two arms were compared in the last run, and that the quality is one.

    Args:
        comparisons: COMPARISONS of the last run.

    Raises:
        ConsultationError: An arm or the quality is unknown, or there are not two.
    """
    known = sorted({*comparisons["arm_a"], *comparisons["arm_b"]})
    if len(set(arms)) != 2 or not set(arms) <= set(known):
        raise ConsultationError(
            f"--arms {printable(','.join(arms))}: name two different ones of {', '.join(known)}, as in --arms "
            f"{','.join(known[:2])}."
        )
    if quality not in QUESTIONS:
        raise ConsultationError(f"--quality {printable(quality)}: it must be {' or '.join(sorted(QUESTIONS))}.")


def shown_pairs(comparisons: pl.DataFrame, folder: Path) -> list[ShownPair]:
    """Return the pairs that were drawn for raters, by the key, as far as the responses are still those of the last run.

    Args:
        comparisons: COMPARISONS of the last run.
        folder: `ratings` of the consultation.

    Raises:
        ConsultationError: The key is damaged.
    """
    rows = {row["pair_id"]: row for row in comparisons.to_dicts()}
    found = []
    for own in read_key_file(folder / KEY_FILE).values():
        row = rows.get(own["pair_id"])
        if row is None:
            continue
        said = {row["arm_a"]: row["response_a"], row["arm_b"]: row["response_b"]}
        texts = (row["prompt"], said.get(own["arm_1"], ""), said.get(own["arm_2"], ""))
        if texts_digest(*texts) == own["texts_digest"]:
            found.append(ShownPair(own["pair_id"], own["quality"], *texts))
    return found


def write_pairs(folder: Path, pairs: BlindedPairs, output: Path | None) -> None:
    """Write pairs for raters, and keep its key in the consultation.

    Args:
        folder: `ratings` of the consultation; made if there is none.
        output: A new file; None where people rate in the portal, which needs the key alone.

    Raises:
        ConsultationError: The file exists (it may hold ratings), lies among the ratings, or cannot be written, or
            the key of a pair is another one already.
    """
    if output is not None:
        _check_output(folder, output)
    folder.mkdir(exist_ok=True)
    with written_alone(folder, folder / LOCK):
        known = read_key_file(folder / KEY_FILE)
        for row in pairs.key:
            if known.setdefault(row["pair_id"], row) != row:
                raise ConsultationError(
                    f"{folder / KEY_FILE}: pair {row['pair_id']} is there with other arms or texts; nothing was "
                    "written. Export with these arms from another copy of the consultation."
                )
        (folder / KEY_FILE).parent.mkdir(exist_ok=True)
        write_csv(folder / KEY_FILE, KEY_COLUMNS, [tuple(row.values()) for row in known.values()])
        if output is not None:
            write_sheet(output, csv_text(EXPORT_COLUMNS, pairs.rows))


def _check_output(folder: Path, output: Path) -> None:
    if output.resolve().is_relative_to(folder.resolve()):
        raise ConsultationError(f"{output}: lies where ratings are kept; name a file outside of {folder}.")
    check_new_file(output)
