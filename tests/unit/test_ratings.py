from __future__ import annotations

import csv
import io
import shutil
from collections.abc import Callable
from pathlib import Path

import polars as pl
import pytest
from typer.testing import CliRunner

from ccai_dagster.cli.app import app
from ccai_dagster.consultation.folder import SAMPLE
from ccai_dagster.contracts import COMPARISONS, RATINGS
from ccai_dagster.core.errors import ConsultationError
from ccai_dagster.evaluation.elo import elo_tables, pair_id
from ccai_dagster.evaluation.rating_export import EXPORT_COLUMNS
from ccai_dagster.evaluation.ratings import current_ratings, read_ratings
from ccai_dagster.evaluation.scores import people_outcomes

FORMULA = '=HYPERLINK(A1)\nsecond, "line"\r\nthird \x1b[2J\u202e'


def comparisons() -> pl.DataFrame:
    """Twelve prompts, three arms; on p11 base and public respond alike, on p00 public with a formula."""
    rows = []
    for at in range(12):
        texts = {arm: f"{arm}'s secret answer {at}" for arm in ("base", "public", "standard")}
        texts = {
            arm: text.replace(arm, "One") if at == 11 else text[-18:] + " " + "x" * len(arm)
            for arm, text in texts.items()
        }
        if at == 0:
            texts["public"] = FORMULA
        for one, other in (("base", "public"), ("base", "standard"), ("public", "standard")):
            prompt, same = f"-Question {at}?", texts[one] == texts[other]
            rows.append(
                {
                    "pair_id": pair_id("helpfulness", f"p{at:02}", prompt, {one: texts[one], other: texts[other]}),
                    "quality": "helpfulness",
                    "prompt_id": f"p{at:02}",
                    "prompt": prompt,
                    "arm_a": one,
                    "arm_b": other,
                    "response_a": texts[one],
                    "response_b": texts[other],
                    "finished_a": True,
                    "finished_b": True,
                    "probability_a": 0.5,
                    "forward_probability": 0.5,
                    "reversed_probability": 0.5,
                    "judge": "judge",
                    "status": "identical" if same else "compared",
                    "judge_at_chance": True,
                }
            )
    return COMPARISONS.build(rows)


class ComparedSample:
    """A copy of the sample in which responses were compared."""

    def __init__(self, place: Path) -> None:
        self.place, self.folder = place, place / "sample"
        self.ratings, self.sheet = self.folder / "ratings", place / "sheet.csv"
        shutil.copytree(SAMPLE, self.folder, ignore=shutil.ignore_patterns("ratings"))
        (place / "home" / "sample" / "tables").mkdir(parents=True)
        comparisons().write_parquet(place / "home" / "sample" / "tables" / "comparisons.parquet")

    def compare(self, *words: str, fails: bool = False) -> str:
        result = CliRunner().invoke(app, ["ratings", *words, "--consultation", str(self.folder)])
        assert result.exit_code == int(fails), result.output
        return result.output

    def export(self, n: int = 9, output: str = "sheet.csv", fails: bool = False, **changes: str) -> str:
        named = {"arms": "public,base", "quality": "helpfulness"} | changes
        options = [word for name, value in named.items() for word in (f"--{name}", value)]
        return self.compare("export", *options, "--n", str(n), "--output", str(self.place / output), fails=fails)

    def rows(self) -> list[dict[str, str]]:
        return list(csv.DictReader(io.StringIO(self.sheet.read_bytes().decode("utf-8-sig"), newline="")))

    def rate(self, say: Callable[[dict[str, str]], str]) -> None:
        self.write([{**row, "rating": say(row)} for row in self.rows()])

    def write(self, rows: list[dict[str, str]]) -> None:
        with self.sheet.open("w", encoding="utf-8", newline="") as handle:
            writer = csv.DictWriter(handle, list(rows[0]))
            writer.writeheader()
            writer.writerows(rows)

    def bring(self, rater: str = "rater-1", fails: bool = False) -> str:
        return " ".join(self.compare("import", str(self.sheet), "--rater", rater, fails=fails).split())

    def state(self) -> dict[str, bytes]:
        return {path.name: path.read_bytes() for path in self.ratings.rglob("*.csv")}

    def arm_shown_first(self) -> dict[str, str]:
        key = csv.DictReader((self.ratings / "keys" / "pairs.csv").open(newline=""))
        return {row["pair_id"]: row["arm_1"] for row in key}


@pytest.fixture
def sample(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ComparedSample:
    monkeypatch.setenv("CCAI_HOME", str(tmp_path / "home"))
    return ComparedSample(tmp_path)


def test_a_sheet_is_blind_in_random_order_and_safe_for_spreadsheets(sample: ComparedSample) -> None:
    told = " ".join(sample.export(11).split())
    rows = sample.rows()
    assert tuple(rows[0]) == EXPORT_COLUMNS and len(rows) == 11
    assert all(row["rating"] == "" and row["quality"] == "helpfulness" for row in rows)
    assert sample.sheet.read_bytes().startswith(b"\xef\xbb\xbf")
    assert "public" not in sample.sheet.read_text("utf-8-sig") and "base" not in sample.sheet.read_text("utf-8-sig")
    assert "serves the user better" in rows[0]["question"]
    cells = [cell for row in rows for cell in row.values()]
    assert not any(cell.lstrip().startswith(("=", "+", "-", "@")) for cell in cells)
    (formula,) = [cell for cell in cells if "HYPERLINK" in cell]
    assert formula == '\'=HYPERLINK(A1)\nsecond, "line"\nthird \\x1b[2J\\u202e'
    assert {rows[0]["prompt"][:10]} == {"'-Question"}
    assert set(sample.arm_shown_first().values()) == {"base", "public"}
    assert "1 of the 12 pairs there are have identical responses" in told
    assert "With 11 comparisons a difference under 205 Elo cannot be seen" in told
    first = sample.sheet.read_bytes()
    assert "is there already; name a new file" in sample.export(11, fails=True) and sample.sheet.read_bytes() == first
    key = sample.state()
    sample.export(11, "again.csv", arms="base,public")
    assert (sample.place / "again.csv").read_bytes() == first and sample.state() == key
    sample.export(4, "fewer.csv")
    fewer = list(csv.DictReader((sample.place / "fewer.csv").open(encoding="utf-8-sig", newline="")))
    assert {row["pair_id"] for row in fewer} < {row["pair_id"] for row in rows}


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"n": 12}, "at least 1 and at most 11 can be rated"),
        ({"n": 0}, "at least 1 and at most 11 can be rated"),
        ({"arms": "public,mayor"}, "name two different ones of base, public, standard"),
        ({"arms": "public"}, "name two different ones"),
        ({"quality": "beauty"}, "it must be harmlessness or helpfulness"),
        ({"output": "sample/ratings/sheet.csv"}, "lies where ratings are kept"),
        ({"output": "nowhere/sheet.csv"}, "does not exist"),
    ],
)
def test_what_cannot_be_exported_is_told_and_leaves_nothing(sample: ComparedSample, changes: dict, told: str) -> None:
    assert told in " ".join(sample.export(**changes, fails=True).split())
    assert not sample.ratings.exists() and not sample.sheet.exists()


def test_ratings_come_back_count_for_the_right_arm_and_only_once(sample: ComparedSample) -> None:
    sample.export()
    first = sample.arm_shown_first()
    favourite = dict(zip(sorted(first), ["public"] * 7 + ["base"] * 2, strict=True))

    def prefers(row: dict[str, str]) -> str:
        return "1" if favourite[row["pair_id"]] == first[row["pair_id"]] else "2"

    last = max(first)
    sample.rate(lambda row: "" if row["pair_id"] == last else prefers(row))
    told = sample.bring()
    assert "8 ratings of rater-1 added; 0 were on record already, 1 pairs are not rated yet" in told
    assert "intervals will hold for rater-1, not for other people" in told
    sample.rate(prefers)
    assert "1 ratings of rater-1 added; 8 were on record already" in sample.bring()
    before = sample.state()
    assert "0 ratings of rater-1 added; 9 were on record already" in sample.bring() and sample.state() == before
    sample.rate(lambda row: "tie")
    assert "only rater" not in sample.bring("rater-2")
    ratings = read_ratings(sample.ratings)
    assert RATINGS.violations(ratings).is_empty()
    assert ratings["rater"].value_counts().sort("rater").rows() == [("rater-1", 9), ("rater-2", 9)]
    own = current_ratings(ratings, comparisons(), sample.ratings)
    assert own.equals(ratings)
    _, differences = elo_tables([people_outcomes(own)], 100, 1)
    row = differences.row(0, named=True)
    assert row["difference"] == pytest.approx(400 * 0.47712125, abs=1e-3)  # 7.5 to 2.5
    assert (row["n"], row["n_ties"], row["n_raters"], row["n_prompts"]) == (18, 9, 2, 9)


def test_a_rating_lapses_when_a_response_changes_and_arms_that_swap_texts_are_noticed(sample: ComparedSample) -> None:
    sample.export()
    sample.rate(lambda row: "1")
    sample.bring()
    ratings, after = read_ratings(sample.ratings), comparisons()
    changed = after.filter(pl.col("prompt_id") != "p05")
    assert set(current_ratings(ratings, changed, sample.ratings)["prompt_id"]) == set(ratings["prompt_id"]) - {"p05"}
    swapped = after.rename({"response_a": "response_b", "response_b": "response_a"})
    assert current_ratings(ratings, swapped, sample.ratings).is_empty()
    assert read_ratings(sample.place / "nothing").is_empty()


def _first(rows: list[dict[str, str]], **changes: str) -> list[dict[str, str]]:
    return [{**rows[0], **changes}, *rows[1:]]


FAULTS: dict[str, tuple[Callable[[list[dict[str, str]]], list[dict[str, str]]], str]] = {
    "unknown pair": (lambda rows: _first(rows, pair_id="0" * 16), "row 2: pair 0000000000000000 was never exported"),
    "no pair": (lambda rows: _first(rows, pair_id=""), "row 2: pair (empty) was never exported"),
    "unknown rating": (lambda rows: _first(rows, rating="both"), "row 2: the rating 'both' must be 1, 2 or tie"),
    "hostile rating": (lambda rows: _first(rows, rating="\x1b[2J"), r"the rating '\\x1b[2j' must be"),
    "missing columns": (
        lambda rows: [{key: row[key] for key in row if key not in ("rating", "prompt")} for row in rows],
        "the columns prompt, rating must stand there once each",
    ),
    "duplicate": (lambda rows: [*rows, rows[0]], "is rated twice, the same; keep one row"),
    "contradiction": (
        lambda rows: [*rows, {**rows[0], "rating": "2"}],
        "is rated twice, 1 in the one and 2 in the other",
    ),
    "changed response": (
        lambda rows: _first(rows, response_2=rows[0]["response_2"] + "!"),
        "are not as they were exported",
    ),
    "swapped responses": (
        lambda rows: _first(rows, response_1=rows[0]["response_2"], response_2=rows[0]["response_1"]),
        "are not as they were exported",
    ),
    "nothing rated": (lambda rows: [{**row, "rating": " "} for row in rows], "no row has a rating"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_faulty_file_is_told_of_and_nothing_is_taken(sample: ComparedSample, fault: str) -> None:
    sample.export()
    sample.rate(lambda row: "1")
    before, (spoil, told) = sample.state(), FAULTS[fault]
    sample.write(spoil(sample.rows()))
    assert told in sample.bring(fails=True)
    assert sample.state() == before


def test_an_earlier_rating_is_never_overwritten_and_a_rater_has_no_name(sample: ComparedSample) -> None:
    assert "nothing was exported for rating yet" in sample.bring(fails=True) and not sample.ratings.exists()
    sample.export()
    sample.rate(lambda row: "1")
    sample.bring()
    before = sample.state()
    sample.rate(lambda row: "2")
    told = sample.bring(fails=True)
    assert "1 before (rater-1.csv) and 2 now; an earlier rating is never overwritten" in told
    for name in ("Ada Lovelace", "ada@example.org", "../keys/pairs", ""):
        assert "give a role or pseudonym" in sample.bring(name, fails=True)
    sample.sheet.write_bytes(b"pair_id,prompt\n\xff")
    assert "not UTF-8" in sample.bring("rater-3", fails=True)
    assert sample.state() == before


def test_texts_that_a_spreadsheet_saved_again_are_still_the_same(sample: ComparedSample) -> None:
    sample.export(11)
    rows = [
        {
            "note": "by hand",
            **{name: cell.removeprefix("'").replace("\n", "\r\n") + " " for name, cell in row.items()},
            "rating": " TIE ",
        }
        for row in sample.rows()
    ]
    sample.write(rows)
    assert "11 ratings of rater-1 added" in sample.bring()


def test_files_edited_by_hand_are_checked_when_they_are_read(sample: ComparedSample) -> None:
    sample.export()
    sample.rate(lambda row: "1")
    sample.bring()
    path, key = sample.ratings / "rater-1.csv", sample.ratings / "keys" / "pairs.csv"
    good, pair = path.read_text(), path.read_text().splitlines()[1].split(",")[0]
    for content, told in (
        (good + "unknown,1\n", "row 11: pair unknown is not in"),
        (good.replace(f"{pair},1", f"{pair},7"), "row 2: the rating '7' must be"),
        (good + f"{pair},1\n", f"row 11: pair {pair} stands twice"),
        (good + f"{pair},1,2\n", "row 11: 3 cells instead of 2"),
    ):
        path.write_text(content)
        with pytest.raises(ConsultationError, match="rater-1") as caught:
            read_ratings(sample.ratings)
        assert told in str(caught.value)
    path.write_text(good)
    key.write_text(key.read_text() + key.read_text().splitlines()[1] + "\n")
    with pytest.raises(ConsultationError, match="stands twice"):
        read_ratings(sample.ratings)
