"""The sign-off: a constitution as it is, what changed since somebody last signed it, and what to know before."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

from django.http import Http404, HttpRequest, HttpResponse
from django.views.decorators.http import require_safe

from ccai_dagster.background import Background
from ccai_dagster.checked_decisions import check_signed_digest, record_decision
from ccai_dagster.consultation.folder import EXPORT
from ccai_dagster.core.errors import ConsultationError
from ccai_dagster.core.home import PAGES
from ccai_dagster.core.text import printable, readable
from ccai_dagster.decisions.agenda import AgendaItem, repeated_reasons
from ccai_dagster.decisions.independent_decisions import subject_name
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
    for_ledger,
    given_again,
    one_line,
    opened_now,
    resolved_by_others,
    rows_shown,
    two_people,
)
from ccai_dagster.portal.team_views import for_team
from ccai_dagster.signed_constitutions import last_signed, since_signed

KIND = "signoff"
STYLED_PAGE = "default-src 'none'; style-src 'unsafe-inline'; img-src data:; font-src data:; base-uri 'none'"
"""For a page that is one file, with its style and pictures in it and no script."""


def signing(request: HttpRequest) -> HttpResponse:
    """Every constitution, and an export that may not be whole, to be signed."""
    response: HttpResponse = _signing(request, KIND)
    return response


@for_ledger
def _signing(request: HttpRequest, kind: str) -> HttpResponse:
    def signed(opened: OpenConsultation) -> HttpResponse:
        return after_recording(request, [_signed(opened, request)])

    return answered(request, kind, partial(_page, request), signed)


def _signed(opened: OpenConsultation, request: HttpRequest) -> str:
    """Append a sign-off and return its id.

    Raises:
        ConsultationError: It was not read, is another one by now, the reason is missing, or the row is refused.
    """
    arm, role, again = request.POST.get("arm", ""), request.user.role, given_again(opened, request, KIND)
    item = next((each for each in opened.agenda(KIND) if each.subject == (arm,)), None)
    if item is None:
        raise ConsultationError(f"There is nothing to sign under {printable(arm)!r}.")
    if request.POST.get("read") != "yes":
        raise ConsultationError("Say that you have read it.")
    reason = again.reason if again else one_line(request, "reason")
    if not reason:
        raise ConsultationError("A decision needs a reason.")
    check_signed_digest(opened, (arm,), request.POST.get("digest", ""))
    seen = request.POST.get("seen", "").split()
    supersedes = tuple(each for each in item.replaced_by(role) if each in seen)
    answer = Answer(KIND, (arm,), "signed off", reason, role, supersedes)
    return record_decision(opened, answer, seen)[0].decision_id


def _page(request: HttpRequest, opened: OpenConsultation, more: Mapping[str, Any], status: int) -> HttpResponse:
    role, background, items = request.user.role, Background(opened, KIND), opened.agenda(KIND)
    reasons = repeated_reasons(opened.ledger(KIND), role)[:AGAIN]
    page = {
        "items": [_shown(opened, background, item, role) for item in items],
        "arm": request.POST.get("arm", ""),
        "reason": request.POST.get("reason", ""),
        "again": [{"id": each.decision_id, "reason": readable(each.reason, QUOTED)} for each in reasons],
        "slip": SLIP,
        "page": (opened.home.report / PAGES["Constitution"]).is_file(),
        "differing": resolved_by_others(items, role),
        **two_people(opened, KIND),
    }
    return desk_page(request, "portal/signing.html", page | dict(more), status)


def _shown(opened: OpenConsultation, background: Background, item: AgendaItem, role: str) -> dict[str, Any]:
    (arm,) = item.subject
    shown: dict[str, Any] = {
        "arm": arm,
        "name": subject_name(KIND, item.subject),
        "state": STATES[item.state],
        "open": item.open_to(role),
        "digest": opened.basis(KIND)(item.subject) or "",
        "seen": " ".join(row["decision_id"] for row in item.shown),
        "rows": rows_shown(item.shown),
        "doubts": [readable(each) for each in background.lines(item)] if arm == EXPORT else [],
    }
    constitution = None if arm == EXPORT else opened.constitution(arm)
    if constitution is None:
        return shown
    made_here = opened.consultation.arms[arm].constitution == "ledgers"
    before, since = last_signed(opened, arm), since_signed(opened, arm)
    return shown | {
        "principles": [
            (row["principle_id"], readable(row["text"], 10_000)) for row in constitution.iter_rows(named=True)
        ],
        "to_know": [readable(each) for each in background.to_know_before_signing()] if made_here else [],
        "made_here": made_here,
        "signed": rows_shown([before])[0] | {"day": before["decided_at"][:10]} if before else None,
        "since": since,
    }


@for_team
@require_safe
def constitution(request: HttpRequest) -> HttpResponse:
    """The page of the constitution that the last run made, as it is shown to those who sign."""
    path = opened_now().home.report / PAGES["Constitution"]
    if not path.is_file():
        raise Http404
    response = HttpResponse(path.read_bytes(), content_type="text/html; charset=utf-8")
    response["Content-Security-Policy"] = STYLED_PAGE
    return response
