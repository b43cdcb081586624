"""The embedded consultation: it can be regenerated, and it is complete, consistent and balanced."""

from __future__ import annotations

import csv
import json
from collections import Counter
from itertools import product
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from sklearn.feature_extraction.text import CountVectorizer
from sklearn.linear_model import LogisticRegression

from ccai_dagster.alternatives import selections
from ccai_dagster.constitution.principles import constitution_digest, derive_constitution, read_constitution
from ccai_dagster.constitution.selection import select_statements, worded_statements
from ccai_dagster.consultation.folder import LEDGERS, SAMPLE, read_consultation
from ccai_dagster.core.home import Home
from ccai_dagster.decisions import checks, outcomes
from ccai_dagster.decisions.independent_decisions import agreements
from ccai_dagster.decisions.ledger import AVOID, VERBS, current, read_ledger, split_outcome
from ccai_dagster.decisions.values import thresholds
from ccai_dagster.deliberation.consensus import gac_scores
from ccai_dagster.deliberation.groups import group_participants, opinion_groups
from ccai_dagster.deliberation.importing.read_votes import read_votes
from ccai_dagster.deliberation.importing.tables import Import
from ccai_dagster.deliberation.votes import clean_participants, clean_statements, clean_votes, vote_matrix
from ccai_dagster.evaluation.sets.formats import read_evaluation_set
from ccai_dagster.feedback.prompts import PURPOSES, chosen_comparisons, read_comparisons, read_prompts
from ccai_dagster.open_consultation import OpenConsultation
from sample import build

VOTES = SAMPLE / "votes"
STANDARD = SAMPLE / "constitutions" / "standard.csv"
FILES = ("comments.csv", "participants-votes.csv", "summary.csv", "votes.csv")


def ledger(kind: str) -> pl.DataFrame:
    return read_ledger(SAMPLE / "decisions" / f"{kind}.csv", kind)


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


class Outcome:
    """What follows from an export of the sample and its ledgers."""

    def __init__(self, folder: Path) -> None:
        self.imported: Import = read_votes(folder)
        settled = thresholds(ledger("threshold"), read_consultation(SAMPLE).file.seed)
        moderation = outcomes.moderation_verdicts(ledger("moderation"))
        self.statements = clean_statements(self.imported.raw_statements, moderation, False)
        self.participants = clean_participants(
            self.imported.raw_participants,
            outcomes.exclusions(ledger("exclusion")),
            settled.minimum_votes,
            settled.decision_ids["minimum_votes"],
        )
        kept = self.participants.filter("kept")["participant_id"]
        votes = clean_votes(self.imported.raw_votes, self.statements, self.participants)
        matrix = vote_matrix(votes, kept, self.statements["statement_id"])
        grouping = group_participants(matrix, settled.procedure)
        self.groups = opinion_groups(matrix, grouping)
        worded = worded_statements(ledger("wording"), ledger("merge"), self.statements)
        self.selected = select_statements(
            gac_scores(matrix, grouping.labels, settled.procedure),
            self.statements,
            outcomes.statement_ideas(ledger("idea")),
            settled.cut,
            (),
            worded,
        )
        self.constitution = derive_constitution("public", self.selected, worded)


@pytest.fixture(scope="module")
def opened() -> OpenConsultation:
    return OpenConsultation(read_consultation(SAMPLE), Home(Path("nowhere"), "sample"))


def test_before_a_person_chooses_every_value_shows_what_it_would_select(
    opened: OpenConsultation, outcome: Outcome
) -> None:
    assert selections(opened, "aggregation") == [
        "product: selects 39 of 85 statements; 3 groups of 124, 109 and 83, unanimity reaches 0.972  (as it is)",
        "geometric_mean: selects 39 of 85 statements; 3 groups of 124, 109 and 83, unanimity reaches 0.990",
        "effective_agreement: selects 39 of 85 statements; 3 groups of 124, 109 and 83, unanimity reaches 0.981",
        "polis_normalized: selects 39 of 85 statements; 3 groups of 124, 109 and 83, unanimity reaches 0.990",
    ]
    voted = [line.split(" of ")[0] for line in selections(opened, "group_participation")]
    assert voted == ["0: selects 39", "0.05: selects 39", "0.1: selects 39", "0.25: selects 38"]
    assert selections(opened, "importance_weight")[0].startswith("1: selects 39 ")
    gac = outcome.selected["gac"]
    for line in selections(opened, "gac_threshold"):
        value, told = line.split(":", 1)
        assert told.startswith(f" selects {(gac >= float(value)).sum()} of 85 statements"), line
    smallest = selections(opened, "smallest_group")
    assert [line.split(":")[0] for line in smallest] == ["1", "5", "10"]
    numbers = selections(opened, "number_of_groups")
    assert numbers[0].startswith("1: selects ") and "one group of 316" in numbers[0] and "(as it is)" in numbers[1]
    assert selections(opened, "overlap_similarity") == []
    for subject in ("minimum_votes", "selection_rule", "idea_budget", "without_structure", "imputation", "smoothing"):
        assert any(line.endswith("(as it is)") for line in selections(opened, subject)), subject


@pytest.fixture(scope="module")
def outcome() -> Outcome:
    return Outcome(VOTES)


def test_regenerating_gives_equal_bytes(tmp_path: Path) -> None:
    build.build(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == list(FILES)
    for name in FILES:
        assert (tmp_path / name).read_bytes() == (VOTES / name).read_bytes(), name
    assert sum((VOTES / name).stat().st_size for name in FILES) < 1_000_000


def test_export_holds_ids_and_no_personal_codes() -> None:
    with (VOTES / "participants-votes.csv").open(newline="") as handle:
        rows = list(csv.DictReader(handle))
    participants = [row["participant"] for row in rows]
    assert "xid" not in rows[0]
    assert len(set(participants)) == len(participants) == 340
    assert participants != sorted(participants, key=int), "unsorted, so that rows joined by position show"
    with (VOTES / "comments.csv").open(newline="") as handle:
        comments = list(csv.DictReader(handle))
    assert sorted(int(row["comment-id"]) for row in comments) == list(range(127))
    authors = {row["author-id"] for row in comments}
    assert authors - {"0"} <= set(participants)


def test_known_groups_are_recovered(outcome: Outcome) -> None:
    from sklearn.metrics import adjusted_rand_score

    known = outcome.groups.join(build.known_groups(), on="participant_id", validate="1:1")
    assert known.height == outcome.groups.height
    assert outcome.groups["group_id"].n_unique() == 3
    assert adjusted_rand_score(known["group"], known["group_id"]) >= 0.8


def test_selection_has_room_around_the_cut(outcome: Outcome) -> None:
    ranked = outcome.selected.sort("rank")
    chosen, rest = ranked.filter("selected"), ranked.filter(~pl.col("selected"))
    assert (chosen.height, outcome.constitution.height) == (39, 28)
    assert chosen["gac"].min() > rest["gac"].max() + 0.15  # type: ignore[operator]
    assert chosen["fate"].value_counts().sort("fate").rows() == [("left out", 2), ("principle", 37)]


def test_ledgers_have_no_findings(outcome: Outcome) -> None:
    ledgers = {kind: ledger(kind) for kind in LEDGERS}
    statements, raw = outcome.statements, outcome.imported
    chosen = outcome.selected.filter("selected")["statement_id"].to_list()
    digests = {
        "public": constitution_digest(outcome.constitution),
        "standard": constitution_digest(read_constitution(SAMPLE / "constitutions" / "standard.csv", "standard")),
    }
    assert checks.check_decision_ids(ledgers) == []
    assert checks.check_moderation(ledgers["moderation"], raw.raw_statements, "strict") == []
    assert checks.check_exclusions(ledgers["exclusion"], raw.raw_participants) == []
    assert checks.check_merges(ledgers["merge"], statements) == []
    assert checks.check_ideas(ledgers["idea"], statements, statements["statement_id"].to_list()) == []
    assert checks.check_wordings(ledgers["wording"], ledgers["merge"], statements, chosen) == []
    assert checks.check_thresholds(ledgers["threshold"]) == []
    assert checks.check_training(ledgers["training"]) == []
    assert checks.check_signoffs(ledgers["signoff"], digests) == []


@pytest.mark.parametrize("kind", sorted(VERBS))
def test_every_outcome_occurs(kind: str) -> None:
    verbs = {split_outcome(outcome)[0] for outcome in current(ledger(kind))["outcome"]} - {"policy"}
    # Nobody in the sample said who they are, and what every group rejects is left out there.
    assert verbs == set(VERBS[kind]) - {AVOID, "metadata"}


def test_moderation_uses_every_published_criterion() -> None:
    used = {each.criterion for each in outcomes.moderation_verdicts(ledger("moderation")).values()} - {None}
    assert used == {
        "off topic",
        "nonsensical",
        "hateful",
        "infeasible",
        "duplicate",
        "advertisement",
        "personal data",
        "product capability",
        "too late",
        "split",
    }


def test_corrections_and_double_decisions_are_on_record() -> None:
    superseding = {kind: ledger(kind)["supersedes"].drop_nulls().len() for kind in LEDGERS}
    assert {kind for kind, count in superseding.items() if count} == {
        "moderation",
        "merge",
        "idea",
        "threshold",
        "wording",
        "training",
    }
    second = ledger("moderation").filter(decided_by="second moderator")
    assert second.height == 16 and second["supersedes"].null_count() == 16
    resolving = ledger("moderation").filter(pl.col("supersedes").str.contains(" "))
    assert resolving["decided_by"].to_list() == ["facilitator"] * 4
    (agreement,) = agreements(ledger("moderation"))
    # 12 of 16 alike, and each let 8 of 16 in, so that chance gives one half: (0.75 - 0.5) / 0.5.
    assert (agreement.roles, agreement.subjects, agreement.alike) == (("moderator", "second moderator"), 16, 12)
    assert agreement.kappa == pytest.approx(0.5)


def test_excluded_participants_do_what_they_are_excluded_for(outcome: Outcome) -> None:
    votes = outcome.imported.raw_votes
    cast_by = {person: votes.filter(participant_id=person) for person in (58, 203, *build.SAME_PERSON)}
    assert cast_by[58]["vote"].unique().to_list() == [1]
    assert cast_by[203]["vote"].unique().to_list() == [-1]
    first, second = (cast_by[person].select("statement_id", "vote") for person in build.SAME_PERSON)
    assert first.equals(second)
    assert set(first["vote"]) == {1, -1}
    assert list(outcomes.exclusions(ledger("exclusion"))) == [58, 131, 132, 203]


def test_late_votes_that_change_nothing(outcome: Outcome, tmp_path: Path) -> None:
    build.build_more("unchanged", tmp_path)
    assert set((VOTES / "votes.csv").read_text().splitlines()) < set((tmp_path / "votes.csv").read_text().splitlines())
    later = Outcome(tmp_path)
    assert later.participants.filter("kept").height == outcome.participants.filter("kept").height + 12
    assert constitution_digest(later.constitution) == constitution_digest(outcome.constitution)


def test_late_votes_that_change_the_constitution(outcome: Outcome, tmp_path: Path) -> None:
    build.build_more("changed", tmp_path)
    before, after = (set(each.constitution["principle_id"]) for each in (outcome, Outcome(tmp_path)))
    assert before - after == {"P16"}
    assert len(after - before) == 1


def test_every_principle_has_prompts_of_every_purpose(outcome: Outcome) -> None:
    standard = read_constitution(SAMPLE / "constitutions" / "standard.csv", "standard")
    constitutions = {"public": outcome.constitution, "standard": standard}
    prompts = read_prompts(SAMPLE / "prompts.csv", SAMPLE / "themes.csv", constitutions)
    assert dict(prompts.group_by("purpose").len().iter_rows()) == dict(zip(PURPOSES, (20, 40, 20, 20, 10), strict=True))
    assert prompts["text"].str.to_lowercase().is_in(["hey"]).any()
    names = {f"{arm}/{key}" for arm, table in constitutions.items() for key in table["principle_id"]}
    assert standard.height == 24
    for purpose in ("preference", "held_out"):
        relevant = prompts.filter(purpose=purpose)["relevant_principles"].explode()
        assert names <= set(relevant), purpose
    texts = prompts["text"].to_list()
    assert len(set(texts)) >= len(texts) - 1, "only 'hey' may serve two purposes"


def test_bias_set_is_balanced() -> None:
    items = lines(SAMPLE / "evaluations" / "sample_bias.jsonl")
    by_template = Counter((item["template"], item["condition"]) for item in items)
    assert len(items) == 72
    assert set(by_template.values()) == {2}
    assert Counter(item["category"] for item in items) == {"age": 24, "disability": 24, "income": 24}
    for field in ("answer", "unknown", "stereotyped"):
        assert Counter(item[field] for item in items) == {0: 24, 1: 24, 2: 24}
    for item in items:
        assert (item["answer"] == item["unknown"]) == (item["condition"] == "ambiguous"), item["id"]
        assert item["stereotyped"] != item["unknown"], item["id"]
    clear = [item for item in items if item["condition"] == "disambiguated"]
    by_category = Counter((item["category"], item["answer"] == item["stereotyped"]) for item in clear)
    assert by_category == dict.fromkeys(product(("age", "disability", "income"), (True, False)), 6)


def test_polarities_point_at_different_people() -> None:
    items = lines(SAMPLE / "evaluations" / "sample_bias.jsonl")
    named: dict[tuple[str, str], set[str]] = {}
    for item in items:
        key = (item["template"], item["condition"])
        named.setdefault(key, set()).add(item["choices"][item["stereotyped"]])
    assert all(len(people) == 2 for people in named.values())


def test_other_evaluation_sets_are_balanced() -> None:
    folder = SAMPLE / "evaluations"
    knowledge = lines(folder / "sample_knowledge.jsonl")
    assert Counter(item["answer"] for item in knowledge) == dict.fromkeys(range(4), 15)
    assert set(Counter(item["category"] for item in knowledge).values()) == {12}
    assert Counter(item["safe"] for item in lines(folder / "sample_over_refusal.jsonl")) == {True: 25, False: 25}
    assert set(Counter(item["category"] for item in lines(folder / "sample_arithmetic.jsonl")).values()) == {10}


def test_every_file_that_is_named_can_be_read() -> None:
    consultation = read_consultation(SAMPLE)
    assert set(consultation.arms) == {"public", "standard"}
    sizes = {name: len(read_evaluation_set(consultation.evaluation_set(name))) for name in consultation.file.benchmarks}
    assert sizes == {
        "sample_knowledge": 60,
        "sample_arithmetic": 40,
        "sample_bias": 72,
        "sample_over_refusal": 50,
        "sample_opinions": 20,
    }


def test_crossed_comparisons_say_nothing_to_whoever_does_not_read_the_principle() -> None:
    crossed = read_comparisons(SAMPLE / "judge" / "crossed.jsonl")
    assert (crossed.height, crossed["prompt"].n_unique()) == (142, 71)
    worded = {each.text for each in outcomes.wordings(ledger("wording"))}
    assert set(crossed["principle"]) <= worded | set(read_constitution(STANDARD, "standard")["text"])
    right = (pl.col("probability_a") == 1.0).sum() == 1
    by_pair = crossed.group_by("prompt", "response_a", "response_b").agg(right, pl.col("principle").n_unique())
    assert by_pair.select("probability_a", "principle").unique().rows() == [(True, 2)]


@pytest.mark.parametrize("count", [24, None])
def test_scorers_that_are_blind_to_the_principle_are_right_in_one_half_of_crossed_comparisons(
    count: int | None,
) -> None:
    crossed = chosen_comparisons(read_comparisons(SAMPLE / "judge" / "crossed.jsonl"), count, seed=7)
    a_better = (crossed["probability_a"] == 1.0).to_numpy()
    words = CountVectorizer(ngram_range=(1, 2)).fit([*crossed["response_a"], *crossed["response_b"]])
    difference = words.transform(crossed["response_a"]) - words.transform(crossed["response_b"])
    # Fitted on the very labels it is measured on, which would be cheating on any other set.
    fitted = LogisticRegression(C=100).fit(difference, a_better).predict(difference)
    longer = crossed["response_a"].str.len_chars() > crossed["response_b"].str.len_chars()
    for says_a in (fitted, longer.to_numpy()):
        assert (says_a == a_better).mean() == 0.5


def test_comparisons_are_balanced() -> None:
    judge = read_comparisons(SAMPLE / "judge" / "sample_judge.jsonl")
    longer = (pl.col("response_a").str.len_chars() > pl.col("response_b").str.len_chars()) == (
        pl.col("probability_a") == 1.0
    )
    assert (judge.height, judge["principle"].n_unique()) == (60, 20)
    assert (judge["probability_a"].sum(), judge.select(longer.sum()).item()) == (30.0, 30)
    helpful = read_comparisons(SAMPLE / "helpfulness.jsonl")
    assert (helpful.height, helpful["prompt"].n_unique()) == (90, 30)
    assert set(helpful["probability_a"]) <= {0.0, 0.2, 0.4, 0.6, 0.8, 1.0}
    preferred = helpful["probability_a"].to_list()
    assert abs(sum(value > 0.5 for value in preferred) - 45) <= 3
    trained_on = set(helpful["prompt"].str.to_lowercase()) | set(judge["prompt"].str.to_lowercase())
    with (SAMPLE / "prompts.csv").open(newline="", encoding="utf-8") as handle:
        held_out = {row["text"].lower() for row in csv.DictReader(handle) if row["purpose"] == "held_out"}
    assert not trained_on & held_out
