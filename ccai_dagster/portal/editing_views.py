"""The editors' desk: what waits in every ledger, and one ledger at a time to decide on."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from functools import partial
from typing import Any

from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.urls import reverse
from django.views.decorators.http import require_safe

from ccai_dagster.background import Background
from ccai_dagster.consultation.folder import LEDGERS
from ccai_dagster.core.errors import ConsultationError
from ccai_dagster.core.text import printable, readable
from ccai_dagster.decisions.agenda import repeated_reasons
from ccai_dagster.decisions.ledger import split_outcome
from ccai_dagster.decisions.outcomes import policies
from ccai_dagster.decisions.values import VALUES
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
    ledgers_of,
    opened_now,
    resolved_by_others,
    two_people,
)
from ccai_dagster.portal.editing import DRAFTED, NoSuchSubject, Question, drafts_digest, questions, record_answers
from ccai_dagster.portal.team_views import for_team

ON_A_PAGE = 20
LONGEST_LINE = 600
TITLES: Mapping[str, str] = {
    "moderation": "Moderation",
    "exclusion": "People whose votes may not count",
    "merge": "Statements that say the same",
    "idea": "Ideas",
    "wording": "Wording",
    "threshold": "Numbers of the selection",
    "training": "Numbers of the training",
    "signoff": "Sign-off",
}


@for_team
@require_safe
def ledgers(request: HttpRequest) -> HttpResponse:
    """What waits in every ledger, for whom, and how often two people agreed."""
    opened = opened_now()
    own = ledgers_of(request)
    rows = [_standing(opened, kind, request.user.role, kind in own) for kind in LEDGERS]
    return desk_page(request, "portal/ledgers.html", {"rows": rows})


def _standing(opened: OpenConsultation, kind: str, role: str, own: bool) -> dict[str, Any]:
    row: dict[str, Any] = {"title": TITLES[kind], "address": address_of(kind) if own else None}
    try:
        items = opened.agenda(kind)
        states = Counter(item.state for item in items if item.state != "decided")
        row |= {
            "waiting": sum(item.open_to(role) for item in items),
            "decided": sum(item.state == "decided" for item in items),
            "states": [(STATES[state], number) for state, number in states.items()],
            **two_people(opened, kind),
        }
    except ConsultationError as error:
        row["error"] = printable(str(error))
    return row


def address_of(kind: str) -> str:
    """Return where a ledger is decided on."""
    pages = {"moderation": "queue", "signoff": "signing"}
    return str(reverse(pages[kind]) if kind in pages else reverse("ledger", args=[kind]))


@for_ledger
def ledger(request: HttpRequest, kind: str) -> HttpResponse:
    """One ledger: what waits for this role or, with `show=decided`, what is decided; and the answers to it."""
    if kind in ("moderation", "signoff"):
        return redirect(address_of(kind))
    return answered(request, kind, partial(_page, request, kind), partial(_answer, request, kind))


def _answer(request: HttpRequest, kind: str, opened: OpenConsultation) -> HttpResponse:
    if request.POST.get("draft") and kind == "wording":
        return _drafted(request, opened)
    if again := given_again(opened, request, kind):
        request.POST = request.POST.copy()
        request.POST["reason"] = again.reason
    return after_recording(request, record_answers(opened, kind, request.user.role, request, Background(opened, kind)))


def _drafted(request: HttpRequest, opened: OpenConsultation) -> HttpResponse:
    """Let the feedback model draft what the page shows."""
    from ccai_dagster.wording_drafts import WordingDrafts

    WordingDrafts(opened).ask([tuple(each.split(" ")) for each in request.POST.getlist("draft-for")][:ON_A_PAGE])
    return redirect(request.get_full_path())


def _page(
    request: HttpRequest, kind: str, opened: OpenConsultation, more: Mapping[str, Any], status: int
) -> HttpResponse:
    role, decided = request.user.role, request.GET.get("show") == "decided"
    chosen = tuple(sorted(set(request.GET.get("subject", "").split()), key=lambda each: (len(each), each)))
    try:
        asked = questions(opened, kind, role, decided, chosen or None)
    except NoSuchSubject as error:
        if request.method == "POST":  # the page would not hold what was sent
            raise
        # A number that was mistyped stands in its field, to be mended.
        asked, more, status = [], {"error": printable(str(error))}, 404
    place = first_of_page(request, len(asked), ON_A_PAGE)
    background = Background(opened, kind)
    typed = {request.POST[name]: name.removeprefix("subject-") for name in request.POST if name.startswith("subject-")}
    shown = [
        _shown(question, background, number, bool(chosen), request, typed.get(" ".join(question.item.subject)))
        for number, question in enumerate(asked[place["begin"] : place["end"]])
    ]
    reasons = repeated_reasons(opened.ledger(kind), role)[:AGAIN]
    page = {
        "kind": kind,
        "heading": TITLES[kind],
        "items": shown,
        "numbers": " ".join(str(each["number"]) for each in shown),
        "number": len(asked),
        "decided": decided,
        "chosen": chosen,
        **place,
        "query": "&show=decided" if decided else "",
        "policies": [(each.subject, readable(each.text)) for each in policies(opened.ledger(kind))],
        "reason": request.POST.get("reason", ""),
        "again": [{"id": each.decision_id, "reason": readable(each.reason, QUOTED)} for each in reasons],
        "slip": SLIP,
        "can_draft": kind == "wording" and bool(opened.consultation.profile.feedback.server_url),
        "differing": resolved_by_others(opened.agenda(kind), role),
        **two_people(opened, kind),
    }
    return desk_page(request, "portal/ledger.html", page | dict(more), status)


def _shown(
    question: Question, background: Background, number: int, alone: bool, request: HttpRequest, before: str | None
) -> dict[str, Any]:
    """One question as the template shows it; what was typed on it before stays.

    Args:
        before: The number that the question had on the page that was sent.
    """
    item = question.item
    drafts = background.drafts(item)
    if before is None:
        verb, text = "", _first_text(question, [each.outcome for each in drafts])
        members = [each for each, _ in question.members]
    else:
        verb, text = request.POST.get(f"verb-{before}", ""), request.POST.get(f"text-{before}", "")
        members = request.POST.getlist(f"member-{before}")
    return {
        "number": number,
        "name": readable(question.name),
        "subject": " ".join(item.subject),
        "seen": question.seen,
        "digest": question.digest,
        "drafts_digest": drafts_digest(drafts),
        "state": STATES[item.state],
        "lines": [(readable(each.strip(), LONGEST_LINE), depth(each)) for each in _lines(question, background, alone)],
        "members": [(each, text, each in members) for each, text in question.members],
        "drafts": [
            {"value": f"{DRAFTED}{at}", "text": readable(each.outcome), "by": each.suggested_by}
            for at, each in enumerate(drafts)
        ],
        "verbs": question.verbs,
        "takes_text": any(takes_text for _, _, takes_text in question.verbs),
        "verb": verb,
        "text": text,
        "short": item.kind in VALUES,
        "alone": alone,
    }


def depth(line: str) -> int:
    """How deep a line of the background stands below another: 0, 1 or 2."""
    return min(2, (len(line) - len(line.lstrip())) // 3)


def _lines(question: Question, background: Background, alone: bool) -> Iterator[str]:
    """What one reads before; of a number in a list only what it means, since the rest takes time to compute."""
    item = question.item
    if (values := VALUES.get(item.kind)) is None or alone:
        yield from background.lines(item)
        return
    value = values[item.subject[0]]
    yield f"{value.meaning}; {value.allowed.expected}"
    if question.outcome:
        yield f"now: {question.outcome}"


def _first_text(question: Question, drafts: list[str]) -> str:
    """What stands in the field at first: what counts now, else the last draft, else the first statement of a merge."""
    if question.item.kind in VALUES:
        return question.outcome
    if question.outcome and not question.members:
        return split_outcome(question.outcome)[1].replace(" | ", "\n")
    if drafts:
        return split_outcome(drafts[-1])[1]
    return question.members[0][1] if question.members else ""
