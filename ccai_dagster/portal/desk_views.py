"""The moderators' queue: statements that wait, and every answer as a row of the moderation ledger.

One reason may serve many statements: those that are ticked, or all on the page that are not. What is decided that way
stood on the page, and a page holds a hundred at most.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache, partial
from typing import Any
from urllib.parse import quote

from django.http import HttpRequest, HttpResponse

from ccai_dagster.checked_decisions import record_decision
from ccai_dagster.core.errors import ConsultationError
from ccai_dagster.core.text import printable, readable
from ccai_dagster.decisions.agenda import AgendaItem, SameWords, repeated_reasons
from ccai_dagster.decisions.independent_decisions import asks_for_two
from ccai_dagster.decisions.ledger import VERBS, WITHDRAWN, split_outcome
from ccai_dagster.decisions.outcomes import policies
from ccai_dagster.decisions.recording import Answer
from ccai_dagster.open_consultation import OpenConsultation
from ccai_dagster.portal.desk import (
    AGAIN,
    QUOTED,
    SLIP,
    STATES,
    after_recording,
    answered,
    desk_page,
    first_of_page,
    for_ledger,
    given_again,
    one_line,
    resolved_by_others,
    rows_shown,
    two_people,
)

KIND = "moderation"
SIZES = (20, 50, 100)
"""Statements on a page."""
ALIKE = "alike"
"""Order in which statements with the same words stand together."""
TYPED = ("verb", "text", "reason", "scope")


def queue(request: HttpRequest) -> HttpResponse:
    """What waits for this role or, with `show=decided`, what is decided; and the answer to those that are ticked."""
    response: HttpResponse = _queue(request, KIND)
    return response


@for_ledger
def _queue(request: HttpRequest, kind: str) -> HttpResponse:
    def recorded(opened: OpenConsultation) -> HttpResponse:
        return after_recording(request, [_recorded(opened, request)])

    return answered(request, kind, partial(_page, request), recorded)


def _ticked(request: HttpRequest) -> list[str]:
    """Statements that are ticked by themselves or with their group."""
    own = request.POST.getlist("statement")
    for group in request.POST.getlist("group"):
        own += request.POST.get(f"members-{group}", "").split()
    for group in request.POST.getlist("rest"):
        own += request.POST.get(f"members-{group}", "").split()[1:]
    return list(dict.fromkeys(own))


def _recorded(opened: OpenConsultation, request: HttpRequest) -> str:
    """Append one row for all statements that are meant and return its id.

    Raises:
        ConsultationError: None is meant, something is missing, or the row is refused.
    """
    ticked = _ticked(request)
    if request.POST.get("scope") == "others":
        ticked = [each for each in request.POST.get("listed", "").split() if each not in ticked]
    if not ticked:
        raise ConsultationError("Tick at least one statement.")
    outcome, reason = _typed(opened, request)
    if outcome.startswith("rewrite") and len(ticked) > 1:
        raise ConsultationError("A new text is for one statement; tick one.")
    items = {item.subject[0]: item for item in opened.agenda(KIND)}
    if unknown := [each for each in ticked if each not in items]:
        raise ConsultationError(f"There is no statement {printable(', '.join(unknown))}.")
    seen = {each for key in ticked for each in request.POST.get(f"seen-{key}", "").split()}
    role = request.user.role
    replaced = {each: None for key in ticked for each in items[key].replaced_by(role) if each in seen}
    answer = Answer(
        kind=KIND,
        subject_ids=tuple(ticked),
        outcome=outcome,
        reason=reason,
        decided_by=role,
        supersedes=tuple(replaced),
    )
    return record_decision(opened, answer, sorted(seen))[0].decision_id


def _typed(opened: OpenConsultation, request: HttpRequest) -> tuple[str, str]:
    """The outcome and the reason, typed or given again.

    Raises:
        ConsultationError: Something is missing.
    """
    if again := given_again(opened, request, KIND):
        return again.outcome, again.reason
    verb, text, reason = request.POST.get("verb", ""), one_line(request, "text"), one_line(request, "reason")
    if verb not in (*VERBS[KIND], WITHDRAWN):
        raise ConsultationError("Choose in, out, rewrite or metadata.")
    takes_text = VERBS[KIND].get(verb, False)
    if takes_text and not text:
        raise ConsultationError("Name the criterion." if verb == "out" else "Write the new text.")
    if not reason:
        raise ConsultationError("A decision needs a reason.")
    return (f"{verb}: {text}" if takes_text else verb), reason


def _page(request: HttpRequest, opened: OpenConsultation, more: Mapping[str, Any], status: int) -> HttpResponse:
    role, decided = request.user.role, request.GET.get("show") == "decided"
    standing = opened.agenda(KIND)
    listed = [each for each in standing if (each.state == "decided") is decided and (decided or each.open_to(role))]
    wanted = {name: request.GET.get(name, "") for name in ("words", "votes", "order", "size")}
    texts = dict(opened.imported.raw_statements.select("statement_id", "text").iter_rows())
    words = _words(tuple(sorted(texts.items())))
    votes = dict(opened.imported.raw_votes["statement_id"].value_counts().iter_rows())
    items = _matching(listed, wanted, texts, votes)
    groups: dict[int, list[int]] = {}
    if wanted["order"] == ALIKE:
        items, groups = _together(items, words)
    size = int(wanted["size"]) if wanted["size"] in map(str, SIZES) else SIZES[0]
    place = first_of_page(request, len(items), size)
    shown = items[place["begin"] : place["end"]]
    ledger = opened.ledger(KIND)
    own = ledger.filter(decided_by=role) if asks_for_two(ledger) else ledger
    criteria = {split_outcome(row)[1] for row in own["outcome"] if split_outcome(row)[0] == "out"}
    again = [
        {"id": each.decision_id, "outcome": readable(each.outcome, QUOTED), "reason": readable(each.reason, QUOTED)}
        for each in repeated_reasons(ledger, role, outcomes=True)
        if not each.outcome.startswith("rewrite")
    ]
    page = {
        "items": _shown(opened, shown, set(_ticked(request)), groups, texts, words, votes),
        "typed": {name: request.POST.get(name, "") for name in TYPED},
        "listed": " ".join(each.subject[0] for each in shown),
        "number": len(items),
        "of_all": len(listed) if len(listed) != len(items) else None,
        "decided": decided,
        "wanted": wanted,
        "sizes": [str(each) for each in SIZES],
        **place,
        "query": "".join(f"&{name}={value}" for name, value in _query(request).items()),
        "policies": [(each.subject, readable(each.text)) for each in policies(ledger)],
        "criteria": sorted(readable(each, QUOTED) for each in criteria),
        "again": again[:AGAIN],
        "slip": SLIP,
        "differing": resolved_by_others(standing, role),
        **two_people(opened, KIND),
    }
    return desk_page(request, "portal/queue.html", page | dict(more), status)


def _query(request: HttpRequest) -> dict[str, str]:
    """What the links to other pages keep."""
    names = ("show", "words", "votes", "order", "size")
    return {name: quote(request.GET[name]) for name in names if request.GET.get(name)}


def _matching(
    items: Sequence[AgendaItem], wanted: Mapping[str, str], texts: Mapping[int, str], votes: Mapping[int, int]
) -> list[AgendaItem]:
    """Items with all these words and at least so many votes."""
    words = wanted["words"].casefold().split()
    fewest = int(wanted["votes"]) if wanted["votes"].isascii() and wanted["votes"].isdigit() else 0
    return [
        item
        for item in items
        if votes.get(key := int(item.subject[0]), 0) >= fewest
        and (not words or all(word in texts.get(key, "").casefold() for word in words))
    ]


def _together(items: Sequence[AgendaItem], words: SameWords) -> tuple[list[AgendaItem], dict[int, list[int]]]:
    """Items in groups of alike statements, the largest first, then all others; and each group by its first."""
    by_id = {int(item.subject[0]): item for item in items}
    groups = [kept for each in words.groups if len(kept := [key for key in each if key in by_id]) > 1]
    groups.sort(key=lambda each: (-len(each), each[0]))
    first = [by_id[key] for each in groups for key in each]
    grouped = {key for each in groups for key in each}
    return [*first, *(item for key, item in by_id.items() if key not in grouped)], {each[0]: each for each in groups}


def _shown(
    opened: OpenConsultation,
    items: Sequence[AgendaItem],
    ticked: set[str],
    groups: Mapping[int, Sequence[int]],
    texts: Mapping[int, str],
    words: SameWords,
    votes: Mapping[int, int],
) -> list[dict[str, Any]]:
    seeds = set(opened.imported.raw_statements.filter("is_seed")["statement_id"])
    on_page = {int(item.subject[0]) for item in items}
    found = []
    for item in items:
        key = int(item.subject[0])
        members = [each for each in groups.get(key, ()) if each in on_page]
        found.append(
            {
                "id": key,
                "text": readable(texts.get(key, "")),
                "ticked": item.subject[0] in ticked,
                "state": STATES[item.state],
                "is_seed": key in seeds,
                "votes": votes.get(key, 0),
                "nearest": [(near, readable(texts[near], QUOTED)) for near, _ in words.nearest(key)],
                "seen": " ".join(row["decision_id"] for row in item.shown),
                "rows": rows_shown(item.shown),
                "members": " ".join(map(str, members)) if len(members) > 1 else "",
                "alike": len(members),
            }
        )
    return found


@lru_cache(maxsize=1)
def _words(texts: tuple[tuple[int, str], ...]) -> SameWords:
    """Compared once for every set of statements."""
    return SameWords(dict(texts))
