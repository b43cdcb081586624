"""The moderators' desk: statements that wait, and every answer as a row of the moderation ledger.

What is decided goes through `checked_decisions`, as from the command line. The role on record is the account's.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any

from django.conf import settings
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.views.decorators.http import require_http_methods

from ccai_dagster.checked_decisions import record_decision
from ccai_dagster.core.errors import ConsultationError
from ccai_dagster.core.text import printable, readable
from ccai_dagster.decisions.agenda import AgendaItem, SameWords
from ccai_dagster.decisions.ledger import VERBS, split_outcome
from ccai_dagster.decisions.outcomes import policies
from ccai_dagster.decisions.recording import Answer
from ccai_dagster.open_consultation import OpenConsultation
from ccai_dagster.portal.team_views import for_moderators

KIND = "moderation"
ON_A_PAGE = 20
QUOTED = 160
STATES = {
    "undecided": "not decided",
    "lapsed": "decided on a text that has changed since",
    "disagreeing": "two people differ",
    "one of two": "one of two has decided; decide without seeing it",
    "decided": "decided",
}


@for_moderators
@require_http_methods(["GET", "POST"])
def queue(request: HttpRequest) -> HttpResponse:
    """What waits for this role or, with `show=decided`, what is decided; and the answer to those that are ticked."""
    opened = OpenConsultation(settings.CONSULTATION, settings.HOME)
    try:
        if request.method == "GET":
            return _page(request, opened, {"recorded": request.GET.get("recorded", "")})
        try:
            decision_id = _recorded(opened, request)
        except ConsultationError as error:
            typed = {name: request.POST.get(name, "") for name in ("verb", "text", "reason")}
            # What was read before may be what somebody else has just written.
            again = OpenConsultation(settings.CONSULTATION, settings.HOME)
            ticked = request.POST.getlist("statement")
            return _page(request, again, {"error": str(error), "typed": typed, "ticked": ticked}, status=409)
    except ConsultationError as error:
        problem = {"title": "The ledger cannot be used", "message": printable(str(error))}
        return render(request, "portal/problem.html", problem, status=503)
    shown = "&show=decided" if request.GET.get("show") == "decided" else ""
    return redirect(f"{request.path}?recorded={decision_id}{shown}")


def _recorded(opened: OpenConsultation, request: HttpRequest) -> str:
    """Append one row for all that were ticked and return its id.

    Raises:
        ConsultationError: Nothing is ticked, something is missing, or the row is refused.
    """
    ticked = list(dict.fromkeys(request.POST.getlist("statement")))
    if not ticked:
        raise ConsultationError("Tick at least one statement.")
    verb, text = request.POST.get("verb", ""), " ".join(request.POST.get("text", "").split())
    reason = " ".join(request.POST.get("reason", "").split())
    if verb not in VERBS[KIND]:
        raise ConsultationError("Choose in, out, rewrite or metadata.")
    if VERBS[KIND][verb] and not text:
        raise ConsultationError("Name the criterion." if verb == "out" else "Write the new text.")
    if verb == "rewrite" and len(ticked) > 1:
        raise ConsultationError("A new text is for one statement; tick one.")
    if not reason:
        raise ConsultationError("A decision needs a reason.")
    items = {item.subject[0]: item for item in opened.agenda(KIND)}
    if unknown := [each for each in ticked if each not in items]:
        raise ConsultationError(f"There is no statement {printable(', '.join(unknown))}.")
    seen = {each for key in ticked for each in request.POST.get(f"seen-{key}", "").split()}
    role = request.user.role
    replaced = {each: None for key in ticked for each in items[key].replaced_by(role) if each in seen}
    answer = Answer(
        kind=KIND,
        subject_ids=tuple(ticked),
        outcome=f"{verb}: {text}" if VERBS[KIND][verb] else verb,
        reason=reason,
        decided_by=role,
        supersedes=tuple(replaced),
    )
    return record_decision(opened, answer, sorted(seen))[0].decision_id


def _page(request: HttpRequest, opened: OpenConsultation, more: Mapping[str, Any], status: int = 200) -> HttpResponse:
    role, decided = request.user.role, request.GET.get("show") == "decided"
    items = [each for each in opened.agenda(KIND) if (each.state == "decided") is decided]
    items = [each for each in items if decided or each.open_to(role)]
    first = request.GET.get("from", "0")
    begin = min(int(first), max(len(items) - 1, 0)) if first.isascii() and first.isdigit() and len(first) < 8 else 0
    ledger = opened.ledger(KIND)
    criteria = {split_outcome(row)[1] for row in ledger["outcome"] if split_outcome(row)[0] == "out"}
    page = {
        "items": _shown(opened, items[begin : begin + ON_A_PAGE], set(more.get("ticked", ()))),
        "number": len(items),
        "decided": decided,
        "earlier": max(begin - ON_A_PAGE, 0) if begin else None,
        "later": begin + ON_A_PAGE if begin + ON_A_PAGE < len(items) else None,
        "policies": [(each.subject, readable(each.text)) for each in policies(ledger)],
        "criteria": sorted(readable(each, QUOTED) for each in criteria),
        "role": role,
    }
    return render(request, "portal/queue.html", page | dict(more), status=status)


def _shown(opened: OpenConsultation, items: Sequence[AgendaItem], ticked: set[str]) -> list[dict[str, Any]]:
    raw = opened.imported.raw_statements
    texts = dict(raw.select("statement_id", "text").iter_rows())
    words = _words(tuple(sorted(texts.items())))
    seeds = set(raw.filter("is_seed")["statement_id"])
    votes = dict(opened.imported.raw_votes["statement_id"].value_counts().iter_rows())
    found = []
    for item in items:
        key = int(item.subject[0])
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
                "rows": [
                    {name: readable(row[name], QUOTED) for name in ("decision_id", "outcome", "reason", "decided_by")}
                    for row in item.shown
                ],
            }
        )
    return found


@lru_cache(maxsize=1)
def _words(texts: tuple[tuple[int, str], ...]) -> SameWords:
    """Compared once for every set of statements."""
    return SameWords(dict(texts))
