"""The team's desk: every ledger decided in a browser, by the functions and the checks of the command line."""

from __future__ import annotations

import re
import runpy
from typing import Any

import polars as pl
import pytest
from django.utils.html import escape
from local_server import Server
from small_portal import SEEDS, Portal, portal_folder
from undecided_town import Town, added, selected_undecided, town

from ccai_dagster.background import Background
from ccai_dagster.consultation.folder import SAMPLE, read_consultation
from ccai_dagster.contracts import CONSTITUTION
from ccai_dagster.core.errors import ConsultationError
from ccai_dagster.core.files import table_content, write_file
from ccai_dagster.decisions.agenda import grouped
from ccai_dagster.decisions.ledger import COLUMNS, read_ledger
from ccai_dagster.decisions.origins import DRAFT, SAME_WORDS
from ccai_dagster.open_consultation import OpenConsultation

__all__ = ["town"]
ALIKE = ("Be kind to every child.", "Be kind to each child.", "Kind to every child and each child.", "Joke at noon.")
TWO = "policy: two people decide independently"


def rows(portal: Portal, kind: str) -> list[dict[str, Any]]:
    return read_ledger(portal.consultation.ledger(kind), kind).to_dicts()


def fields(page: Any) -> dict[str, Any]:
    """The hidden fields of the page's main form and what is ticked, as a browser would send them."""
    html = page.content.decode()
    form = html[html.index('name="questions"') - 200 :]
    found: dict[str, Any] = {}
    for tag in re.findall(r"<input [^>]*>", form):
        name, value = (re.search(f'{each}="([^"]*)"', tag) for each in ("name", "value"))
        if name and ('type="hidden"' in tag or " checked" in tag):
            found.setdefault(name[1], []).append(value[1] if value else "on")
    for name, text in re.findall(r'<textarea [^>]*name="([^"]*)"[^>]*>([^<]*)</textarea>', form):
        found[name] = [text]
    found.pop("csrfmiddlewaretoken", None)
    return found


def sent(browser: Any, address: str, reason: str = "because", **more: Any) -> Any:
    """Fill in what the page shows and send it; a name's `_` stands for `-`."""
    page = browser.get(address)
    assert page.status_code == 200, page.content.decode()
    changed = {name.replace("_", "-"): value for name, value in more.items()}
    return browser.post(address, {**fields(page), "reason": reason, **changed})


def reached(portal: Portal, *statements: int, rejected: tuple[int, ...] = ()) -> None:
    """These statements reach the cut, as a run would leave it."""
    sides = {each: "disagree" if each in rejected else "agree" for each in statements}
    table = selected_undecided(sides, dict(enumerate(SEEDS, start=1)))
    _write(portal, table, "selected_statements")


def made(portal: Portal, **principles: str) -> None:
    """The last run made this constitution of the public's arm."""
    table = CONSTITUTION.build(
        [
            {
                "principle_id": key,
                "arm": "public",
                "text": text,
                "statement_ids": [1],
                "merged_text": None,
                "gac": 0.9,
                "side": "agree",
                "decision_ids": [],
            }
            for key, text in principles.items()
        ]
    )
    _write(portal, table, "public/constitution")


def _write(portal: Portal, table: pl.DataFrame, name: str) -> None:
    path = portal.home.folder / "tables" / f"{name}.parquet"
    path.parent.mkdir(parents=True, exist_ok=True)
    write_file(path, table_content(table))


def other_statements(portal: Portal, *texts: str) -> None:
    from ccai_dagster.portal.models import Statement
    from ccai_dagster.portal.team import add_seed_statements

    portal_folder(portal.consultation.folder, seeds=texts)
    Statement.objects.all().delete()
    add_seed_statements(portal.consultation)


def statement_ids() -> list[int]:
    from ccai_dagster.portal.models import Statement

    return list(Statement.objects.order_by("pk").values_list("pk", flat=True))


# Moderation: many at once


def test_all_on_the_page_that_are_not_ticked_are_decided_as_one_row(portal: Portal) -> None:
    form = {"scope": "others", "listed": "1 2 3 4", "statement": ["2"], "verb": "in", "reason": "fits the question"}
    portal.moderator().post("/desk/", form)
    (row,) = rows(portal, "moderation")
    assert (row["subject_ids"], row["outcome"]) == (["1", "3", "4"], "in")


def test_what_was_decided_before_is_given_again_by_one_button_and_by_its_own_role_alone(portal: Portal) -> None:
    ann, bob = portal.moderator("ann", "moderator"), portal.moderator("bob", "second moderator")
    ann.post("/desk/", {"statement": "1", "verb": "out", "text": "spam", "reason": "sells something"})
    assert b'name="again" value="moderation-1"' in ann.get("/desk/").content
    assert b'name="again"' not in bob.get("/desk/").content
    ann.post("/desk/", {"statement": ["2", "3"], "again": "moderation-1"})
    again = rows(portal, "moderation")[1]
    assert (again["subject_ids"], again["outcome"], again["reason"]) == (["2", "3"], "out: spam", "sells something")
    refused = bob.post("/desk/", {"statement": "4", "again": "moderation-1"})
    assert refused.status_code == 409 and b"no row of yours" in refused.content


def test_alike_statements_stand_together_and_are_ticked_as_a_group(portal: Portal) -> None:
    other_statements(portal, *ALIKE)
    one, two, three, four = statement_ids()
    moderator = portal.moderator()
    page = moderator.get("/desk/?order=alike").content.decode()
    assert f'value="{one} {two} {three}"' in page and "3 alike" in page
    form = {
        "rest": str(one),
        f"members-{one}": f"{one} {two} {three}",
        "verb": "out",
        "text": "duplicate",
        "reason": "r",
    }
    moderator.post("/desk/?order=alike", form)
    assert rows(portal, "moderation")[0]["subject_ids"] == [str(two), str(three)]
    page = moderator.get("/desk/?order=alike&words=JOKE").content.decode()
    assert "Waiting for you: 1 of 2" in page and f'value="{four}"' in page and f'value="{one}"' not in page
    assert "Waiting for you: 0 of 2" in moderator.get("/desk/?votes=1").content.decode()


def test_undo_is_a_new_row_with_a_reason_and_only_by_who_decided(portal: Portal) -> None:
    ann, bob = portal.moderator("ann", "moderator"), portal.moderator("bob", "second moderator")
    portal.let_in(1, 2, moderator=ann)
    assert b"Undo is a new row" in ann.get("/desk/?recorded=moderation-1").content
    assert bob.post("/desk/", {"undo": "moderation-1", "reason": "no"}).status_code == 409
    assert ann.post("/desk/", {"undo": "moderation-1", "reason": "a slip"}).status_code == 302
    first, second = rows(portal, "moderation")
    assert (second["outcome"], second["supersedes"], second["reason"]) == ("withdrawn", "moderation-1", "a slip")
    assert first["outcome"] == "in"
    assert "Waiting for you: 4" in ann.get("/desk/").content.decode()


def test_two_moderators_see_nothing_of_each_other_until_both_are_in_and_then_kappa_and_what_to_resolve(
    portal: Portal,
) -> None:
    ann, bob = portal.moderator("ann", "moderator"), portal.moderator("bob", "second moderator")
    third = portal.moderator("eve", "head of moderation")
    path = portal.consultation.ledger("moderation")
    header = path.read_text(encoding="utf-8")
    policy = f"P1,moderation,double_decisions,{TWO},close to call,,steering group,2025-03-01,,,\n"
    path.write_text(header + policy, encoding="utf-8")
    ann.post(
        "/desk/", {"statement": ["1", "2", "3"], "verb": "out", "text": "secret criterion", "reason": "secret why"}
    )
    for address in ("/desk/", "/desk/?show=decided", "/desk/ledgers"):
        assert b"secret" not in bob.get(address).content
        assert b"kappa" not in bob.get(address).content
    bob.post("/desk/", {"statement": ["1", "2"], "verb": "out", "text": "mine", "reason": "mine"})
    bob.post("/desk/", {"statement": "3", "verb": "in", "text": "", "reason": "mine"})
    page = bob.get("/desk/").content.decode()
    assert "moderator and second moderator decided 3 independently, 2 alike (67%)" in page
    assert "You and somebody else differ: 1" in page and "secret why" in page
    assert third.get("/desk/").content.decode().count('name="statement"') == 2  # the one they differ on, and 4
    voter = portal.participant()  # the first one since the portal was started
    assert b"answered everything there is" in voter.get("/vote").content
    resolved = {"statement": "3", "seen-3": "moderation-1 moderation-3", "verb": "in", "text": "", "reason": "it fits"}
    assert third.post("/desk/", resolved).status_code == 302
    assert set(rows(portal, "moderation")[-2]["supersedes"].split()) == {"moderation-1", "moderation-3"}
    portal.renew()
    assert SEEDS[2].encode() in voter.get("/vote").content
    assert "You and somebody else differ" not in ann.get("/desk/").content.decode()


# Who may do what


@pytest.mark.parametrize(
    ("duty", "own"),
    [("moderate", {"/desk/", "/desk/ledger/exclusion"}), ("edit", {"/desk/ledger/merge"}), ("sign", {"/desk/sign"})],
)
def test_an_account_comes_to_the_ledgers_of_its_duties_and_to_no_other(
    portal: Portal, duty: str, own: set[str]
) -> None:
    browser = portal.team("ann", "somebody", duty)
    pages = {"/desk/", "/desk/ledger/exclusion", "/desk/ledger/merge", "/desk/sign"}
    assert {each for each in pages if browser.get(each).status_code == 200} == own
    assert {each for each in pages if browser.post(each, {}).status_code == 403} == pages - own
    assert browser.get("/desk/ledgers").status_code == 200
    with pytest.raises(ConsultationError, match="no such duty"):
        portal.team("bob", "somebody", "rule")


def test_where_votes_come_from_elsewhere_only_the_team_is_served(portal: Portal) -> None:
    from django.test import override_settings

    from ccai_dagster.portal import addresses

    editor = portal.team("eve", "editor", "edit")
    with override_settings(CONSULTATION=read_consultation(SAMPLE)):
        patterns = tuple(runpy.run_path(addresses.__file__)["urlpatterns"])
        with override_settings(ROOT_URLCONF=patterns):
            for page in ("/", "/vote", "/join", "/feedback"):
                assert portal.browser().get(page).headers["Location"] == "/desk/ledgers"
            assert b"Merge them into one" in editor.get("/desk/ledger/merge?subject=13+85").content


# Near duplicates


def test_a_group_of_near_duplicates_is_merged_in_one_row_and_its_search_is_on_record(portal: Portal) -> None:
    other_statements(portal, *ALIKE)
    one, two, three, _ = statement_ids()
    portal.let_in(*statement_ids())
    editor = portal.team("eve", "editor", "edit")
    page = editor.get("/desk/ledger/merge").content.decode()
    assert page.count("data-item") == 1 and f'value="{one} {two} {three}"' in page
    merged = {"verb_0": "merge", "text_0": "Be kind to children.", "member_0": [str(one), str(three)]}
    assert sent(editor, "/desk/ledger/merge", **merged).status_code == 302
    (row,) = rows(portal, "merge")
    assert row["subject_ids"] == [str(one), str(three)] and row["outcome"] == "merge: Be kind to children."
    # The one left out is still alike: together with it the merge is a new row that replaces the smaller one.
    page = editor.get("/desk/ledger/merge").content.decode()
    assert f'value="{one} {two} {three}"' in page and "merge-1" in page
    assert sent(editor, "/desk/ledger/merge", verb_0="merge", text_0="Be kind to any child.").status_code == 302
    second = rows(portal, "merge")[1]
    assert (second["subject_ids"], second["supersedes"]) == ([str(one), str(two), str(three)], "merge-1")
    assert (row["suggested_by"], second["suggested_by"]) == (SAME_WORDS, SAME_WORDS)
    assert "Nothing." in editor.get("/desk/ledger/merge").content.decode()


def test_statements_that_no_search_found_alike_are_put_together_by_their_numbers(portal: Portal) -> None:
    portal.let_in(1, 2)
    editor = portal.team("eve", "editor", "edit")
    sent(editor, "/desk/ledger/merge?subject=2+1", verb_0="keep apart", reason="one is about tone")
    (row,) = rows(portal, "merge")
    assert (row["subject_ids"], row["outcome"], row["suggested_by"]) == (["1", "2"], "keep apart", None)
    assert editor.get("/desk/ledger/merge?subject=1+3").status_code == 404  # 3 is not in


def test_somebody_whom_no_search_put_forward_is_excluded_by_number(portal: Portal) -> None:
    portal.let_in(1)
    portal.participant().post("/vote", {"statement": 1, "vote": "agree"})
    moderator, address = portal.moderator("mia"), "/desk/ledger/exclusion"
    assert "Nothing." in moderator.get(address).content.decode()
    assert b"participant 1: 1 vote" in moderator.get(f"{address}?subject=1").content
    assert sent(moderator, f"{address}?subject=1", verb_0="exclude", reason="asked to be left out").status_code == 302
    (row,) = rows(portal, "exclusion")
    assert (row["subject_ids"], row["outcome"], row["suggested_by"]) == (["1"], "exclude", None)
    told = moderator.get(f"{address}?subject=2")  # nobody has this number
    assert told.status_code == 404 and b"participant 2: nothing here" in told.content
    assert b'name="subject" autocomplete="off" value="2"' in told.content  # to be mended
    forged = {"questions": "0", "subject-0": "2", "seen-0": "", "digest-0": "", "verb-0": "exclude", "reason": "?"}
    assert moderator.post(address, forged).status_code >= 400 and len(rows(portal, "exclusion")) == 1


def test_a_decision_on_somebody_who_is_deleted_meanwhile_is_told_in_a_sentence(portal: Portal) -> None:
    portal.let_in(1)
    somebody, moderator = portal.participant(), portal.moderator("mia")
    somebody.post("/vote", {"statement": 1, "vote": "agree"})
    address = "/desk/ledger/exclusion?subject=1"
    page = fields(moderator.get(address)) | {"verb-0": "exclude", "reason": "a <script>"}
    somebody.post("/delete", {"sure": "yes"})
    told = moderator.post(address, page)
    assert told.status_code == 409 and b"Whoever it was may have deleted the own data meanwhile." in told.content
    assert b'name="reason" value="a &lt;script&gt;"' in told.content and rows(portal, "exclusion") == []


def test_groups_end_where_they_grow_too_large() -> None:
    chain = [(each, each + 1) for each in range(5)]
    assert grouped(chain, largest=3) == [[0, 1, 2], [3, 4, 5]]


# Wording


def test_a_wording_is_typed_or_a_draft_taken_over_and_the_row_says_which(portal: Portal) -> None:
    portal.let_in(1, 2, 4)
    reached(portal, 1, 2, 4, rejected=(4,))
    editor = portal.team("eve", "editor", "edit")
    page = editor.get("/desk/ledger/wording")
    assert "Choose the response that is most kind." in page.content.decode()
    answer = sent(
        editor,
        "/desk/ledger/wording",
        verb_0="draft-0",
        verb_1="principle",
        text_1="Choose the response\n that is  shortest.",
        verb_2="leave out",
        reason="as in the meeting",
    )
    assert answer.headers["Location"] == "/desk/ledger/wording?recorded=wording-1+wording-2+wording-3"
    found = [(each["subject_ids"], each["outcome"], each["suggested_by"]) for each in rows(portal, "wording")]
    assert found == [
        (["1"], "principle: Choose the response that is most kind.", DRAFT),
        (["2"], "principle: Choose the response that is shortest.", None),
        (["4"], "leave out", None),
    ]
    assert sent(editor, "/desk/ledger/wording?show=decided", verb_0="withdrawn").status_code == 302
    assert rows(portal, "wording")[3]["supersedes"] == "wording-1"


def test_a_draft_that_is_another_one_since_it_was_read_is_not_taken_over(portal: Portal) -> None:
    portal.let_in(1)
    reached(portal, 1)
    editor, path = portal.team("eve", "editor", "edit"), portal.consultation.ledger("wording")
    read = fields(editor.get("/desk/ledger/wording"))
    cells = {
        "decision_id": "T1",
        "kind": "wording",
        "subject_ids": "draft_template",
        "outcome": "policy: Heed: {statement}",
    }
    cells |= {"reason": "shorter", "decided_by": "steering group", "decided_at": "2026-01-01T00:00:00Z"}
    path.write_text(path.read_text() + ",".join(cells.get(name, "") for name in COLUMNS) + "\n")
    answer = editor.post("/desk/ledger/wording", {**read, "verb-0": "draft-0", "reason": "as drafted"})
    assert answer.status_code == 409 and "its drafts are others since they were shown" in answer.content.decode()
    assert [each["decision_id"] for each in rows(portal, "wording")] == ["T1"]
    sent(editor, "/desk/ledger/wording", verb_0="draft-0")
    assert rows(portal, "wording")[-1]["outcome"] == f"principle: Heed: {SEEDS[0]}"


def test_one_wrong_answer_keeps_all_out_and_what_was_typed_stays(portal: Portal) -> None:
    portal.let_in(1, 4)
    reached(portal, 1, 4, rejected=(4,))
    editor = portal.team("eve", "editor", "edit")
    typed = {"verb_0": "leave out", "verb_1": "principle", "text_1": "Choose the funniest <b>one</b>."}
    answer = sent(editor, "/desk/ledger/wording", **typed)
    assert answer.status_code == 409 and b"every group rejects it" in answer.content
    assert escape(typed["text_1"]).encode() in answer.content and b"<b>one" not in answer.content
    assert rows(portal, "wording") == []
    for wrong in ({"verb_0": ""}, {"verb_0": "principle", "text_0": ""}, {"verb_0": "draft-7"}, {"verb_0": "steal"}):
        assert sent(editor, "/desk/ledger/wording", **wrong).status_code == 409
    assert sent(editor, "/desk/ledger/wording", verb_0="leave out", reason=" ").status_code == 409
    assert rows(portal, "wording") == []


def test_the_second_of_two_editors_is_told_and_a_text_that_changed_meanwhile_is_read_again(portal: Portal) -> None:
    portal.let_in(1)
    reached(portal, 1)
    eve, max_ = portal.team("eve", "editor", "edit"), portal.team("max", "second editor", "edit")
    page = fields(eve.get("/desk/ledger/wording")) | {"reason": "r", "verb-0": "leave out"}
    assert eve.post("/desk/ledger/wording", page).status_code == 302
    for browser in (max_, eve):
        told = browser.post("/desk/ledger/wording", page)
        assert told.status_code == 409 and b"decided in the meantime" in told.content
    sent(eve, "/desk/ledger/wording?show=decided", verb_0="withdrawn")
    change = {"statement": "1", "seen-1": "moderation-1", "verb": "rewrite", "text": "Be warm.", "reason": "clearer"}
    old = fields(eve.get("/desk/ledger/wording")) | {"reason": "r", "verb-0": "leave out"}
    portal.moderator().post("/desk/?show=decided", change)
    told = eve.post("/desk/ledger/wording", old)
    assert told.status_code == 409 and b"another one since it was shown" in told.content
    assert len(rows(portal, "wording")) == 2


def test_a_ledger_broken_by_hand_meanwhile_is_told_and_nothing_that_was_sent_is_lost(portal: Portal) -> None:
    portal.let_in(1)
    reached(portal, 1)
    editor = portal.team("eve", "editor", "edit")
    page = fields(editor.get("/desk/ledger/wording"))
    path = portal.consultation.ledger("wording")
    whole = path.read_text(encoding="utf-8")
    path.write_text(whole + "broken,row\n", encoding="utf-8")
    answer = {**page, "verb-0": "principle", "text-0": 'Choose "the" kindest.', "reason": "r"}
    told = editor.post("/desk/ledger/wording", answer)
    assert told.status_code == 503 and b"wording.csv, row 2" in told.content
    assert b'name="text-0" value="Choose &quot;the&quot; kindest."' in told.content
    assert "wording.csv, row 2" in editor.get("/desk/ledgers").content.decode()
    path.write_text(whole, encoding="utf-8")
    assert editor.post("/desk/ledger/wording", answer).status_code == 302
    assert rows(portal, "wording")[0]["outcome"] == 'principle: Choose "the" kindest.'


def test_before_any_run_the_page_says_what_is_missing(portal: Portal) -> None:
    told = portal.team("eve", "editor", "edit").get("/desk/ledger/wording")
    assert told.status_code == 503 and b"not known yet" in told.content


def test_two_editors_word_without_seeing_one_another_and_a_third_resolves(portal: Portal) -> None:
    portal.let_in(1)
    reached(portal, 1)
    path = portal.consultation.ledger("wording")
    policy = f"P1,wording,double_decisions,{TWO},close to call,,steering group,2025-03-01,,,\n"
    path.write_text(path.read_text(encoding="utf-8") + policy, encoding="utf-8")
    eve, max_, third = (portal.team(each, f"{each}-role", "edit") for each in ("eve", "max", "zoe"))
    address = "/desk/ledger/wording"
    sent(eve, address, verb_0="principle", text_0="Choose the secret one.", reason="secret why")
    for page in (address, f"{address}?show=decided", f"{address}?subject=1", "/desk/ledgers"):
        assert b"secret" not in max_.get(page).content
    assert b"Wording: 0 for you" in eve.get(address).content
    assert sent(max_, address, verb_0="principle", text_0="Choose the open one.").status_code == 302
    page = eve.get(address).content.decode()
    assert "eve-role and max-role decided 1 independently, 0 alike" in page and "Choose the open one." in page
    assert sent(third, address, verb_0="principle", text_0="Choose the best one.").status_code == 302
    assert rows(portal, "wording")[-1]["supersedes"] == "wording-1 wording-2"
    assert b"You and somebody else differ" not in eve.get(address).content


def test_a_draft_of_the_feedback_model_is_asked_for_once_and_is_on_record_when_taken_over(
    portal: Portal, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    portal.let_in(1, 2)
    reached(portal, 1, 2)
    profile = portal.consultation.profile
    feedback = profile.feedback.model_copy(update={"server_url": server.model.url, "server_model": "judge-7b"})
    monkeypatch.setitem(portal.consultation.__dict__, "profile", profile.model_copy(update={"feedback": feedback}))
    principle = "Choose the response that is kindest."
    server.answer = lambda body: (
        200,
        {"choices": [{"message": {"content": f'Sure!\n"{principle}"'}, "finish_reason": "stop"}]},
    )
    editor = portal.team("eve", "editor", "edit")
    ask = {"draft": "yes", "draft-for": ["1"]}
    assert editor.post("/desk/ledger/wording", ask).status_code == 302
    assert editor.post("/desk/ledger/wording", ask).status_code == 302
    assert len(server.requests) == 1
    request = server.requests[0][1]["messages"][0]["content"]
    assert SEEDS[0] in request and portal.consultation.file.question in request
    assert (
        "As drafted by language model judge-7b, wording request 2"
        in editor.get("/desk/ledger/wording").content.decode()
    )
    sent(editor, "/desk/ledger/wording", verb_0="draft-1", verb_1="draft-0")
    assert [(each["outcome"], each["suggested_by"]) for each in rows(portal, "wording")] == [
        (f"principle: {principle}", "language model judge-7b, wording request 2"),
        ("principle: Choose the response that is most brief.", DRAFT),
    ]
    server.answer = lambda body: (404, {"error": "no such model"})
    gone = editor.post("/desk/ledger/wording", {"draft": "yes", "draft-for": ["2"]})
    assert gone.status_code == 409 and server.model.url.encode() in gone.content


# Numbers, ideas, people


def test_a_number_is_decided_beside_what_each_value_would_select(portal: Portal) -> None:
    portal.let_in(1, 2, 3)
    for _ in range(8):
        person = portal.participant()
        for statement in (1, 2, 3):
            person.post("/vote", {"statement": statement, "vote": "agree"})
    editor = portal.team("eve", "editor", "edit")
    page = editor.get("/desk/ledger/threshold?subject=minimum_votes").content.decode()
    assert "selects 3 of 3 statements" in page and "nobody is left to group" in page
    before = rows(portal, "threshold")
    assert (
        sent(editor, "/desk/ledger/threshold?subject=minimum_votes", verb_0="value", text_0="many").status_code == 409
    )
    assert sent(editor, "/desk/ledger/threshold?subject=minimum_votes", verb_0="value", text_0="2").status_code == 302
    (row,) = rows(portal, "threshold")[len(before) :]
    assert (row["subject_ids"], row["outcome"], row["decided_by"]) == (["minimum_votes"], "2", "editor")


def test_ideas_are_typed_one_a_line(portal: Portal) -> None:
    portal.let_in(1)
    path = portal.consultation.ledger("threshold")
    text = re.sub(r"(,selection_rule,)threshold", r"\1ideas", path.read_text(encoding="utf-8"))
    path.write_text(text, encoding="utf-8")
    editor = portal.team("eve", "editor", "edit")
    sent(editor, "/desk/ledger/idea", verb_0="ideas", text_0="kindness\r\n\r\n  care ")
    assert rows(portal, "idea")[0]["outcome"] == "ideas: kindness | care"
    assert "kindness\ncare" in editor.get("/desk/ledger/idea?show=decided").content.decode()


# Sign-off


def test_a_sign_off_shows_what_changed_since_the_last_and_signs_what_was_read(portal: Portal) -> None:
    portal_signs = portal.consultation.ledger("signoff")
    portal_signs.write_text(portal_signs.read_text(encoding="utf-8").splitlines()[0] + "\n", encoding="utf-8")
    made(portal, P2="Choose the briefest.", P1="Choose the kindest.")
    signer = portal.team("sue", "steering group", "sign")
    page = signer.get("/desk/sign").content.decode()
    assert "Nobody has signed it before." in page and "To know before signing" in page
    assert page.index("P2: ") < page.index("P1: ")  # as the constitution has them
    digest = re.findall(r'name="digest" value="(\w+)"', page)
    form = {"arm": "public", "digest": digest[0], "seen": "", "reason": "read aloud"}
    assert signer.post("/desk/sign", form).status_code == 409  # nobody says it was read
    made(portal, P1="Choose the kindest.", P2="Choose the shortest.")
    told = signer.post("/desk/sign", form | {"read": "yes"})
    assert told.status_code == 409 and b"Nothing was signed" in told.content
    made(portal, P1="Choose the kindest.", P2="Choose the briefest.")
    assert signer.post("/desk/sign", form | {"read": "yes"}).status_code == 302
    (row,) = rows(portal, "signoff")
    assert (row["outcome"], row["decided_by"], row["inputs_digest"]) == ("signed off", "steering group", digest[0])
    assert "Nothing has changed since." in signer.get("/desk/sign").content.decode()
    made(portal, P2="Choose the shortest.", P3="Choose <i>true</i>.")
    page = signer.get("/desk/sign").content.decode()
    for told_text in (
        "Entered: P3",
        "<ins>Choose &lt;i&gt;true&lt;/i&gt;.</ins>",
        "Left: P1",
        "<del>Choose the kindest.</del>",
        "Changed: P2",
        "<del>Choose the briefest.</del>",
        "<ins>Choose the shortest.</ins>",
    ):
        assert told_text in page, told_text
    assert signer.get("/desk/constitution").status_code == 404
    opened = OpenConsultation(portal.consultation, portal.home)
    item = next(each for each in opened.agenda("signoff") if each.subject == ("public",))
    lines = [each.strip() for each in Background(opened, "signoff").lines(item)]
    at = lines.index("entered: P3: Choose <i>true</i>.")
    assert lines[at - 1].startswith("last signed by steering group on ") and lines[at - 1].endswith("since then:")
    assert lines[at + 1 : at + 4] == [
        "left: P1: Choose the kindest.",
        "changed: P2: Choose the shortest.",
        "before: Choose the briefest.",
    ]


def test_the_page_of_the_constitution_is_shown_and_runs_nothing(portal: Portal) -> None:
    portal.home.report.mkdir(exist_ok=True)
    (portal.home.report / "constitution.html").write_text("<style>p{}</style><p>All of it</p>", encoding="utf-8")
    try:
        answer = portal.team("sue", "steering group", "sign").get("/desk/constitution")
        assert b"All of it" in answer.content
        assert "script-src" not in answer.headers["Content-Security-Policy"]
        assert answer.headers["Content-Security-Policy"].startswith("default-src 'none'")
        assert portal.browser().get("/desk/constitution").status_code == 302
    finally:
        (portal.home.report / "constitution.html").unlink()


# The same in the terminal


def test_the_terminal_offers_earlier_reasons_again(town: Town) -> None:
    told = town.ccai("review", "moderation", "--as", "moderator", typed="in\nClear enough.\nin\n1\nq\n")
    assert "1 again: Clear enough." in told
    assert [row["reason"] for row in added(town, "moderation")] == ["Clear enough.", "Clear enough."]
