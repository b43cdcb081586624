from __future__ import annotations

import csv
import hashlib
from pathlib import Path

import polars as pl
import pytest
from ccai_publication import clone, paper

from ccai_dagster.constitution.principles import read_constitution
from ccai_dagster.consultation.folder import LEDGERS, SAMPLE, read_consultation
from ccai_dagster.contracts import LEDGER
from ccai_dagster.core.digest import folder_digest, text_digest
from ccai_dagster.core.errors import ConsultationError
from ccai_dagster.decisions.checks import (
    check_decision_ids,
    check_exclusions,
    check_ideas,
    check_merges,
    check_moderation,
    check_thresholds,
    check_training,
    check_wordings,
)
from ccai_dagster.decisions.ledger import read_ledger
from ccai_dagster.decisions.outcomes import (
    exclusions,
    merges,
    moderation_verdicts,
    policies,
    signoffs,
    wording_source,
    wordings,
)
from ccai_dagster.decisions.values import Cut, Thresholds, thresholds, training_decisions
from ccai_dagster.deliberation.votes import ModerationVerdict, Procedure
from ccai_dagster.replication.new_folder import NewFolder, build_from_ccai, sign_off
from ccai_dagster.replication.published_texts import letters_of

DIGESTS = {arm: text_digest(arm) for arm in ("public", "published", "standard")}
FILES = {
    "comments.csv": (
        "comment-id,author-id,moderated,comment-body\n"
        '3,9,0,"Too late, sorry"\n0,0,1,Be kind\n1,0,1,Be honest\n2,7,-1,honest\n'
        "4,8,1,Be nice\n5,8,1,Be brief\n"
    ),
    "participants-votes.csv": (
        "participant,xid,group-id,n-votes,0,1,2\n8,SECRETEIGHT,0,2,1,,-1\n7,SECRETSEVEN,,1,,1,\n"
    ),
    "ids-to-toss.csv": "7\n",
    "clean_comments.csv": ("comment-id,group_0_consensus,group_1_consensus\n0,0.5,0.5\n1,1.0,0.9\n4,0.8,1\n5,0.75,1\n"),
    "clean_votes.csv": "participant,xid,group-id\n8,SECRETEIGHT,0\n7,SECRETSEVEN,1\n",
}
TEXTS = {
    ("public", "P1"): "Choose the kindest.",
    ("public", "P2"): "Choose the most honest.",
    ("standard", "S1"): "Please choose the safest.",
    ("merge", "P1"): "Be kind and nice.",
    ("prompt", "1"): "Is it raining, really?",
}
"""What somebody saved."""
KNOWN = {
    "principles.csv": "principle_id,statement_ids,match,meaning\nP1,4 0,aggregated,minor\nP2,1,exact,same\n",
    "texts.csv": "part,key,letters,digest\n"
    + "".join(
        f"{part},{key},{len(letters_of(text))},{hashlib.sha256(letters_of(text).encode()).hexdigest()}\n"
        for (part, key), text in TEXTS.items()
    ),
    "discrepancies.csv": (
        "kind,statement_ids,principle_id,original_id,remark\n"
        "above_threshold_not_in_constitution,5,,,Place 4 of 4.\n"
        "organiser_rewrite,1,,2,\n"
        "content_dropped,4,P1,,Niceness is gone.\n"
        "claim_against_data,4,,,Both groups like it.\n"
    ),
    "figures.csv": (
        "figure_id,section,what,value,unit,status\ngac_threshold,3.3,cut,0.6,,match\n"
        "drop,4.3,drop,2 to 3,points,not_in_public_data\n"
    ),
    "seed_statements.csv": "statement_id,tags\n0,P S\n",
}
"""What the project knows of the publication."""


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """The public files, with what is known and what was saved beside them."""
    folder = tmp_path / "source"
    folder.mkdir()
    for name, content in (FILES | KNOWN).items():
        (folder / name).write_text(content, encoding="utf-8")
    (folder / "paper.txt").write_text("\n".join(TEXTS.values()), encoding="utf-8")
    return folder


def build(source: Path, destination: Path, signoffs: dict[str, str] | None = None, texts: bool = True) -> NewFolder:
    saved = [source / "paper.txt"] if texts else []
    return build_from_ccai(source, destination, saved, signoffs=signoffs, decided_at="2026-01-05", facts=source)


@pytest.fixture(scope="module")
def built(test_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("ccai")
    saved = paper(test_data, folder / "paper.txt")
    made = build_from_ccai(clone(test_data, folder / "clone"), folder / "ccai", [saved], signoffs=DIGESTS)
    assert made.complete == ("public", "published", "standard")
    return folder / "ccai"


def ledgers(folder: Path) -> dict[str, pl.DataFrame]:
    return {kind: read_ledger(folder / "decisions" / f"{kind}.csv", kind) for kind in LEDGERS}


def cells(path: Path) -> list[list[str]]:
    with path.open(encoding="utf-8", newline="") as handle:
        return list(csv.reader(handle))


def test_a_small_source_becomes_a_consultation(source: Path, tmp_path: Path) -> None:
    destination = tmp_path / "new" / "small"

    made = build(source, destination, DIGESTS)

    assert made.complete == ("public", "published", "standard")
    assert made.lines[:5] == [
        f"{destination}:",
        "votes: 2 participants, 6 statements; personal codes (`xid`) were not carried over",
        "moderation: 4 in, 1 out, 1 never moderated",
        "exclusion: 1 participants",
        "merge: 1 of 1 merges; wording: 2 of 2 principles, 1 statements left out",
    ]
    found = ledgers(destination)
    assert moderation_verdicts(found["moderation"]) == {
        **{each: ModerationVerdict(True, None, (f"moderation-{each}",)) for each in (0, 1, 4, 5)},
        2: ModerationVerdict(False, None, ("moderation-2",), "rewritten"),
        3: ModerationVerdict(False, None, ("moderation-never",), "never moderated"),
    }
    reasons = dict(found["moderation"].select("decision_id", "reason").rows())
    assert "Seed statement" in reasons["moderation-0"]
    assert "probably statement 2" in reasons["moderation-1"]
    assert "statement 1 in its place" in reasons["moderation-2"]
    compared = "Found when the publication was compared with the data: "
    worded_reasons = dict(found["wording"].select("decision_id", "reason").rows())
    assert worded_reasons["left-out-5"].endswith(f"{compared}Place 4 of 4.") and compared not in reasons["moderation-5"]
    assert worded_reasons["P1"].endswith(f"aggregated; meaning against the source: minor. {compared}Niceness is gone.")
    assert reasons["moderation-4"].endswith(f"{compared}Both groups like it.")
    assert "not published" in reasons["moderation-4"]
    assert list(exclusions(found["exclusion"])) == [7]
    assert "had read news about it" in policies(found["exclusion"])[1].text
    (merge,) = merges(found["merge"])
    assert (merge.statement_ids, merge.inputs_digest) == ((4, 0), text_digest("Be nice\nBe kind"))
    worded = wordings(found["wording"])
    assert [(each.principle_id, each.statement_ids, each.inputs_digest) for each in worded] == [
        ("P1", (4, 0), text_digest("Be kind and nice.")),
        ("P2", (1,), text_digest("Be honest")),
        ("left-out-5", (5,), text_digest("Be brief")),
    ]
    assert signoffs(found["signoff"]) == DIGESTS
    assert cells(destination / "constitutions" / "published.csv") == [
        ["principle_id", "text", "statement_ids"],
        ["P1", "Choose the kindest.", "4 0"],
        ["P2", "Choose the most honest.", "1"],
    ]
    assert cells(destination / "published_scores.csv") == [
        ["statement_id", "gac"],
        ["0", "0.25"],
        ["1", "0.9"],
        ["4", "0.8"],
        ["5", "0.75"],
    ]
    results = destination / "published"
    assert cells(results / "groups.csv") == [["row", "participant_id", "group_id"], ["1", "8", "0"], ["2", "7", "1"]]
    assert cells(results / "agreement.csv")[1:3] == [["0", "0.5", "0.5"], ["1", "1.0", "0.9"]]
    assert cells(results / "seed_statements.csv") == [["statement_id", "tags"], ["0", "P S"]]
    assert cells(results / "figures.csv") == [
        ["figure_id", "section", "what", "value", "unit", "status"],
        ["gac_threshold", "3.3", "cut", "0.6", "", "match"],
        ["drop", "4.3", "drop", "2 to 3", "points", "not_in_public_data"],
    ]
    prompts = cells(destination / "prompts.csv")
    assert prompts[:-1] == cells(SAMPLE / "prompts.csv")
    assert prompts[-1] == ["published-1", "Is it raining, really?", "qualitative", ""]
    assert (destination / "votes" / "comments.csv").read_text() == FILES["comments.csv"]
    assert cells(destination / "votes" / "participants-votes.csv")[1] == ["8", "0", "2", "1", "", "-1"]
    assert list(read_consultation(destination).arms) == ["public", "published", "standard"]


def test_without_the_paper_ids_are_known_and_arms_wait(source: Path, tmp_path: Path) -> None:
    made = build(source, tmp_path / "small", texts=False)

    assert made.complete == ()
    assert made.lines[-3:] == [
        "public: 3 texts are missing, so this arm waits",
        "published: 2 texts are missing, so this arm waits",
        "standard: 1 texts are missing, so this arm waits",
    ]
    found = ledgers(tmp_path / "small")
    assert found["merge"].height == 0
    assert [each.principle_id for each in wordings(found["wording"])] == ["left-out-5"]
    assert cells(tmp_path / "small" / "constitutions" / "published.csv")[1:] == [["P1", "", "4 0"], ["P2", "", "1"]]
    published = tmp_path / "small" / "constitutions" / "published.csv"
    with pytest.raises(ConsultationError, match=r"data row 1: .* text is empty\. Fill it in; the arm published waits"):
        read_constitution(published, "published")
    assert read_constitution(published, "published", may_lack_texts=True)["statement_ids"].to_list() == [[4, 0], [1]]


def test_an_arm_waits_for_what_it_is_made_of_alone(source: Path, tmp_path: Path) -> None:
    without = {key: text for key, text in TEXTS.items() if key[0] not in ("merge", "prompt")}
    (source / "paper.txt").write_text("\n".join(without.values()), encoding="utf-8")

    made = build(source, tmp_path / "small")

    assert made.complete == ("published", "standard")
    assert made.lines[-1] == "public: 1 texts are missing, so this arm waits"
    found = ledgers(tmp_path / "small")
    assert [each.principle_id for each in wordings(found["wording"])] == ["P2", "left-out-5"]
    assert cells(tmp_path / "small" / "prompts.csv") == cells(SAMPLE / "prompts.csv")


def test_personal_codes_appear_in_no_file(source: Path, tmp_path: Path) -> None:
    build(source, tmp_path / "small")

    content = b"".join(path.read_bytes() for path in (tmp_path / "small").rglob("*") if path.is_file())
    assert b"xid" not in content and b"SECRET" not in content


def test_two_builds_are_equal_and_arms_can_be_signed_off_later(source: Path, tmp_path: Path) -> None:
    at_once, later = tmp_path / "a", tmp_path / "b"
    build(source, at_once, DIGESTS)
    build(source, later)
    assert signoffs(read_ledger(later / "decisions" / "signoff.csv", "signoff")) == {}

    sign_off(later, DIGESTS, "2026-01-05")
    (later / "decisions" / ".signoff.csv.lock").unlink(missing_ok=True)

    assert folder_digest(later) == folder_digest(at_once)


def test_nothing_is_overwritten(source: Path, tmp_path: Path) -> None:
    taken = tmp_path / "taken"
    taken.mkdir()
    build(source, taken)
    before = folder_digest(taken)

    with pytest.raises(ConsultationError, match="taken: holds something already; name a new or empty folder"):
        build(source, taken)

    assert folder_digest(taken) == before


@pytest.mark.parametrize("name", FILES)
def test_a_missing_file_is_named_and_nothing_is_left(source: Path, tmp_path: Path, name: str) -> None:
    (source / name).unlink()

    with pytest.raises(ConsultationError, match=f"{name}: not found; it is one of the published files"):
        build(source, tmp_path / "small")

    assert [path.name for path in tmp_path.iterdir()] == ["source"]


@pytest.mark.parametrize(
    ("name", "old", "new", "message"),
    [
        ("comments.csv", "moderated", "moderation", "row 1: no column moderated"),
        ("comments.csv", "0,0,1,Be kind", "0,0,2,Be kind", "row 3: `moderated` is 2 instead of -1, 0 or 1"),
        ("comments.csv", "4,8,1,Be nice", "0,8,1,Be nice", "row 6: `comment-id` 0 stands in .* row 3 too"),
        ("comments.csv", "4,8,1,Be nice", "4,8,1", "row 6: 3 cells instead of 4"),
        ("comments.csv", "5,8,1,Be", 'x,8,1,"Be', "not readable as CSV"),
        ("participants-votes.csv", "8,SE", "7,SE", "row 3: `participant` 7 stands in .* row 2 too"),
        ("ids-to-toss.csv", "7", "70", "row 1: participant 70 is not in participants-votes.csv"),
        ("ids-to-toss.csv", "7\n", "7\n\n7\n", "row 3: participant 7 stands twice"),
        ("ids-to-toss.csv", "7", "seven", "row 1: `participant` is 'seven' instead of a whole number"),
        ("discrepancies.csv", "1,,2", "1,,77", "row 3: statement 77 is not in comments.csv; fetch that file"),
        ("discrepancies.csv", "rewrite,1", "rewrite,2", "row 3: `statement_ids` names 2, which comments.csv does not"),
        ("principles.csv", "4 0", "4 2", "row 2: `statement_ids` names 2, which comments.csv does not"),
        ("figures.csv", "drop,4.3", "gac_threshold,4.3", "figure_id 'gac_threshold' is empty or stands twice"),
        ("clean_comments.csv", "1.0,0.9", "1.0,9", "row 3: `group_1_consensus` is '9' instead of a number"),
        ("seed_statements.csv", "0,P", ",P", "row 2: `statement_id` is empty"),
        ("clean_votes.csv", "\n8", "\n80", "row 2: participant 80 is not in participants-votes.csv"),
        ("clean_votes.csv", "7,SECRETSEVEN,1", "8,SECRETSEVEN,1", "row 3: `participant` 8 stands in .* row 2"),
        ("clean_votes.csv", "SEVEN,1", "SEVEN,", "row 3: `group-id` is '' instead of a whole number"),
        ("clean_votes.csv", "SEVEN,1", "SEVEN,-1", "row 3: `group-id` is -1; it must not be negative"),
    ],
)
def test_a_malformed_source_names_file_and_row_and_leaves_nothing(
    source: Path, tmp_path: Path, name: str, old: str, new: str, message: str
) -> None:
    content = (FILES | KNOWN)[name]
    assert old in content
    (source / name).write_text(content.replace(old, new, 1), encoding="utf-8")

    with pytest.raises(ConsultationError, match=message):
        build(source, tmp_path / "small")

    assert [path.name for path in tmp_path.iterdir()] == ["source"]


def test_a_missing_source_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConsultationError, match="nowhere: no such folder; give a clone of"):
        build_from_ccai(tmp_path / "nowhere", tmp_path / "small")


def test_the_published_decisions_are_all_there(built: Path) -> None:
    found = ledgers(built)

    verdicts = moderation_verdicts(found["moderation"]).values()
    unmoderated = found["moderation"].filter(pl.col("decision_id") == "moderation-never")
    assert len([each for each in verdicts if each.included]) == 275
    assert len([each for each in verdicts if each.criterion == "never moderated"]) == 488
    assert len([each for each in verdicts if not each.included]) == 655 + 488
    assert unmoderated["subject_ids"].list.len().to_list() == [488]
    assert len(exclusions(found["exclusion"])) == 37
    assert len(merges(found["merge"])) == 34
    worded = wordings(found["wording"])
    assert [each.principle_id for each in worded if each.text] == [f"P{number}" for number in range(1, 76)]
    assert [each.statement_ids for each in worded if each.text is None] == [(206,), (216,), (223,)]
    assert sum(len(each.statement_ids) > 1 for each in worded) == 26
    assert all(LEDGER.violations(ledger).is_empty() for ledger in found.values())
    assert signoffs(found["signoff"]) == DIGESTS


def test_the_published_values_are_those_of_the_notebook(built: Path) -> None:
    found = ledgers(built)
    assert thresholds(found["threshold"], seed=1) == Thresholds(
        minimum_votes=26,
        procedure=Procedure("paper", "zero", None, "none", "product", seed=1),
        without_structure="keep_groups",
        cut=Cut("threshold", 0.723, 95),
        overlap_similarity=0.5,
        decision_ids={},
    )
    training = training_decisions(found["training"])
    assert (training.harmlessness_weight, training.feedback_method) == (0.5, "letters")


def test_every_reason_names_its_place_or_says_that_none_was_published(built: Path) -> None:
    reasons = pl.concat([ledger.select("decision_id", "reason") for ledger in ledgers(built).values()])

    named = "paper, |blog post|Bai et al|not published|no reason|of this replication|Replication of|notebook"
    assert reasons.filter(~pl.col("reason").str.contains(named)).rows() == []


def test_the_published_decisions_hold(built: Path, test_data: Path) -> None:
    comments = pl.read_csv(test_data / "ccai" / "comments.csv").select(
        pl.col("comment-id").alias("statement_id"),
        pl.col("comment-body").alias("text"),
        "moderated",
        is_meta=pl.lit(None, dtype=pl.Boolean),
    )
    statements = comments.filter(pl.col("moderated") == 1)
    matrix = pl.read_csv(built / "votes" / "participants-votes.csv", columns=["participant"])
    people = matrix.rename({"participant": "participant_id"})
    scores = pl.read_csv(built / "published_scores.csv")
    selected = scores.filter(pl.col("gac") >= 0.723)["statement_id"].to_list()
    found = ledgers(built)

    assert len(selected) == 116 and people.height == 1126
    assert check_decision_ids(found) == []
    assert check_moderation(found["moderation"], comments, "strict") == []
    assert check_exclusions(found["exclusion"], people) == []
    assert check_merges(found["merge"], statements) == []
    assert check_ideas(found["idea"], statements) == []
    assert check_wordings(found["wording"], found["merge"], statements, selected) == []
    assert check_thresholds(found["threshold"]) == check_training(found["training"]) == []
    merged, texts = merges(found["merge"]), dict(statements.select("statement_id", "text").iter_rows())
    sources = [wording_source(each, merged, texts) for each in wordings(found["wording"])]
    assert len(sources) == 78 and sum(each.merge_id is not None for each in sources) == 34


def test_the_published_constitutions_and_votes_are_there(built: Path) -> None:
    published = cells(built / "constitutions" / "published.csv")[1:]
    standard = cells(built / "constitutions" / "standard.csv")[1:]
    header = cells(built / "votes" / "participants-votes.csv")[0]

    assert (len(published), len(standard)) == (75, 58)
    assert len({each for row in published for each in row[2].split()}) == 113
    assert "xid" not in header and len(header) == 6 + 1418
    assert len(cells(built / "votes" / "comments.csv")) == 1 + 1418
    assert read_consultation(built).file.baseline == "standard"


def test_a_damaged_real_file_leaves_no_folder(test_data: Path, tmp_path: Path) -> None:
    damaged = clone(test_data, tmp_path / "source") / "participants-votes.csv"
    damaged.write_bytes(damaged.read_bytes()[:-400])

    with pytest.raises(ConsultationError, match=r"votes\.csv, row 1127: .* cells instead of 1425"):
        build_from_ccai(tmp_path / "source", tmp_path / "small")

    assert [path.name for path in tmp_path.iterdir()] == ["source"]
