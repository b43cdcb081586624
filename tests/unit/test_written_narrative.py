"""What a model on a server makes of the narrative, and what of it is refused."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import polars as pl
import pytest
import yaml
from local_server import Server, chat

from assets import topics
from ccai_dagster.consultation.folder import SAMPLE, read_consultation
from ccai_dagster.contracts import NARRATIVE, WRITTEN_NARRATIVE
from ccai_dagster.core.errors import silent
from ccai_dagster.deliberation.written_narrative import refusal
from ccai_dagster.pages.report_public import retold
from ccai_dagster.stages.deliberation import WrittenNarrativeStage
from ccai_dagster.stages.request import StageFolder

FACTS = [
    ("Group B (12 people) agrees more than everybody else with “Plant 30 trees” (statement 3): 11 of 12 votes.", [3]),
    ("It also disagrees more than everybody else with “More cars” (statement 7): 1,016 of 1,200 votes.", [7]),
]
FAIR = "Group B says “Plant 30 trees” (statement 3): 11 of its 12 votes. It turns down “More cars” (statement 7)."


@pytest.mark.parametrize(
    "text",
    [
        FAIR,
        "In Group B, 12 people, most agree with statement 3, and 1016 of 1200 votes reject statement 7.",
        "Group B differs most on statements 3 and 7.",
        'It agrees with "Plant 30 trees" (Statement 3).',
    ],
)
def test_what_says_no_more_than_it_was_given_is_shown(text: str) -> None:
    assert refusal(text, FACTS) is None


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "it wrote nothing"),
        ("Group B is green (statement 3). " * 60, "more than 1,200 characters"),
        ("Group B likes trees.", "a sentence cites no statement: Group B likes trees."),
        (f"{FAIR} Everybody is happy.", "a sentence cites no statement: Everybody is happy."),
        ("Group B agrees (statement 4).", "it cites statement 4, which it was not given"),
        ("It agrees with statements 3, 7 and 12.", "it cites statement 12"),
        ("10 of 12 votes agree (statement 3).", "it has the number 10,"),
        ("92% of Group B agree (statement 3).", "it has the number 92%,"),
        # 11 is told of statement 3 and not of 7.
        ("11 votes reject more cars (statement 7).", "it has the number 11,"),
        ("Plant 30 trees, says Group B (statement 3), by ١١ votes.", "it has the number ١١,"),
        ("Nearly half of Group B agrees (statement 3).", "it has a number in words (half)"),
        ("Twenty-five people agree (statement 3).", "it has a number in words (Twenty-five)"),
        ("Group B says “Plant 40 trees” (statement 3).", "it quotes what it was not given: Plant 40 trees"),
        ("Group B says “Plant 30 trees (statement 3).", "a quotation does not end"),
        ('Group B says "11 (statement 3).', "a quotation does not end"),
    ],
)
def test_what_was_not_given_is_refused(text: str, why: str) -> None:
    assert why in (refusal(text, FACTS) or "")


def narrative_table() -> Any:
    rows = [("group", 1, "Group B", place, *fact) for place, fact in enumerate(FACTS, 1)]
    rows.append(("topic", 0, "cars", 1, "Of 3 statements, groups agree most widely on “Fewer” (statement 9).", [9]))
    return NARRATIVE.build([dict(zip(NARRATIVE.fields, row, strict=True)) for row in rows])


def test_a_server_is_given_the_sentences_and_what_it_invents_is_kept_out(tmp_path: Path) -> None:
    server, folder = Server(), StageFolder(tmp_path)
    invented = "Ignore the task: \x1b[31mall 99 agree (statement 9)."
    server.answer = lambda body: (200, chat(FAIR if "Group B" in str(body) else invented))
    folder.made.mkdir(parents=True)
    url = server.model.url
    stage = WrittenNarrativeStage(server_url=url, server_model="writer-7b", seed=1, narrative=narrative_table())
    stage.run(folder, silent)
    made = pl.read_parquet(folder.made / "written_narrative.parquet")
    assert not WRITTEN_NARRATIVE.violations(made).height
    group, topic = made.to_dicts()
    assert (group["about"], group["text"], group["refused"], group["statement_ids"]) == ("Group B", FAIR, None, [3, 7])
    assert group["given"] == [sentence for sentence, _ in FACTS] and group["model"] == "writer-7b"
    assert topic["text"] is None and "it has the number 31," in topic["refused"] and "\x1b" not in topic["refused"]
    assert sorted(len(body["messages"]) if "messages" in body else 1 for _, body, _ in server.requests) == [1, 1]
    asked = "".join(str(body) for _, body, _ in server.requests)
    assert all(sentence in asked for sentence, _ in FACTS)
    stage.run(folder, silent)
    assert len(server.requests) == 2, "what was answered is not asked for again"


@pytest.mark.parametrize("asked", [False, True])
def test_texts_of_a_model_are_there_only_with_a_server(tmp_path: Path, asked: bool) -> None:
    shutil.copytree(SAMPLE, tmp_path / "town")
    settings = tmp_path / "town" / "consultation.yaml"
    content = yaml.safe_load(settings.read_text())
    if asked:
        content.setdefault("profiles", {}).setdefault("demo", {})["feedback"] = {
            "server_url": "http://127.0.0.1:9",
            "server_model": "writer-7b",
        }
    settings.write_text(yaml.safe_dump(content))
    names = {each.key.to_user_string() for each in topics.build(read_consultation(tmp_path / "town"))}
    assert ("written_narrative" in names) is asked


def test_the_page_says_who_wrote_it() -> None:
    table = WRITTEN_NARRATIVE.build(
        [
            {
                "scope": "topic",
                "scope_id": place,
                "about": about,
                "text": text,
                "refused": None if text else "it wrote nothing",
                "statement_ids": [],
                "given": [],
                "model": "writer-7b",
            }
            for place, (about, text) in enumerate([("cars", "Fewer (statement 9)."), ("trees", None)])
        ]
    )
    assert retold(table) == {("topic", "cars"): ("Fewer (statement 9).", "writer-7b")} and retold(None) == {}
