"""What all pages of the team's desk have in common: who may decide what, problems that lose nothing, and taking back.

The row that an answer becomes is composed and checked in `checked_decisions`, as for the command line; the role on
record is the account's.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import wraps
from typing import Any

from django.conf import settings
from django.http import HttpRequest, HttpResponse, QueryDict
from django.shortcuts import redirect, render
from django.views.decorators.http import require_http_methods

from ccai_dagster.checked_decisions import record_decisions
from ccai_dagster.core.errors import ConsultationError
from ccai_dagster.core.text import printable, readable
from ccai_dagster.decisions.agenda import AgendaItem, Repeated, repeated_reasons
from ccai_dagster.decisions.independent_decisions import agreements, asks_for_two
from ccai_dagster.decisions.ledger import WITHDRAWN, current
from ccai_dagster.decisions.recording import Answer
from ccai_dagster.open_consultation import OpenConsultation
from ccai_dagster.portal.editing import NoSuchSubject
from ccai_dagster.portal.team import DUTIES
from ccai_dagster.portal.team_views import for_team

QUOTED = 160
AGAIN = 6
"""Earlier reasons that are offered again."""
SLIP = "a slip, taken back at once"
"""What stands as the reason beside Undo until somebody writes another."""
STATES = {
    "undecided": "not decided",
    "suggested": "put forward by a search; nobody has to decide",
    "lapsed": "decided on a text that has changed since",
    "disagreeing": "two people differ",
    "one of two": "one of two has decided; decide without seeing it",
    "not considered": "a starting value that nobody has considered",
    "decided": "decided",
}
View = Callable[..., HttpResponse]


def opened_now() -> OpenConsultation:
    """Open the consultation as it is at this moment."""
    return OpenConsultation(settings.CONSULTATION, settings.HOME)


def ledgers_of(request: HttpRequest) -> list[str]:
    """Return the ledgers that the account may write to, in the order of `DUTIES`."""
    duties = set(request.user.duties.split())
    return [kind for duty, kinds in DUTIES.items() if duty in duties for kind in kinds]


def for_ledger(view: View) -> View:
    """Let in who may write to the ledger `kind`; where it cannot be used, a page keeps what was sent."""

    @for_team
    @require_http_methods(["GET", "POST"])
    @wraps(view)
    def wrapped(request: HttpRequest, kind: str) -> HttpResponse:
        if kind not in ledgers_of(request):
            what = f"Your account may not decide on {kind}. Whoever keeps the accounts can change that: ccai account."
            return desk_page(request, "portal/desk_problem.html", {"title": "Not for your account", "error": what}, 403)
        try:
            return view(request, kind)
        except ConsultationError as error:
            sent = [(name, each) for name, own in request.POST.lists() for each in own if name != "csrfmiddlewaretoken"]
            problem = {"title": "This cannot be decided now", "error": printable(str(error)), "sent": sent}
            status = 409 if isinstance(error, NoSuchSubject) else 503
            return desk_page(request, "portal/desk_problem.html", problem, status)

    return wrapped


def answered(
    request: HttpRequest,
    kind: str,
    page: Callable[[OpenConsultation, Mapping[str, Any], int], HttpResponse],
    answer: Callable[[OpenConsultation], HttpResponse],
) -> HttpResponse:
    """Show a ledger's page, or take back or record what was sent; what is refused is told above the page as it is now.

    Args:
        page: Renders the page with what is to be told, and a status.
        answer: Records what was sent and says where to go on.
    """
    opened = opened_now()
    if request.method == "GET":
        return page(opened, {"recorded": request.GET.get("recorded", "")}, 200)
    try:
        if request.POST.get("undo"):
            return after_recording(request, take_back(opened, request, kind))
        return answer(opened)
    except ConsultationError as error:
        # What was read before may be what somebody else has just written.
        return page(opened_now(), {"error": printable(str(error))}, 409)


def desk_page(request: HttpRequest, template: str, page: Mapping[str, Any], status: int = 200) -> HttpResponse:
    """Render a page of the desk with what its head needs."""
    head = {"role": request.user.role, "ledgers": ledgers_of(request)}
    return render(request, template, {**head, **page}, status=status)


def after_recording(request: HttpRequest, recorded: Sequence[str]) -> HttpResponse:
    """Go on to the same page, which says what was recorded."""
    query = QueryDict(mutable=True)
    query["recorded"] = " ".join(recorded)
    for name, value in request.GET.items():
        if name not in ("recorded", "from", "subject"):
            query[name] = value
    return redirect(f"{request.path}?{query.urlencode()}")


def take_back(opened: OpenConsultation, request: HttpRequest, kind: str) -> list[str]:
    """Append rows that take back what this role has just recorded, and return their ids.

    Raises:
        ConsultationError: A row is not this role's, or counts no more, or no reason is given.
    """
    ids, role = request.POST.get("undo", "").split(), request.user.role
    counting = {row["decision_id"]: row for row in current(opened.ledger(kind)).to_dicts()}
    if unknown := [each for each in ids if each not in counting or counting[each]["decided_by"] != role]:
        raise ConsultationError(f"{printable(', '.join(unknown))}: not yours, or replaced since. Nothing was recorded.")
    reason = one_line(request, "reason")
    answers = [
        Answer(
            kind=kind,
            subject_ids=tuple(counting[each]["subject_ids"]),
            outcome=WITHDRAWN,
            reason=reason,
            decided_by=role,
            supersedes=(each,),
        )
        for each in ids
    ]
    if not reason or not answers:
        raise ConsultationError("A decision needs a reason.")
    rows = record_decisions(opened, kind, [(each.supersedes[0], each) for each in answers])
    return [row.decision_id for row in rows if row.outcome == WITHDRAWN]


def one_line(request: HttpRequest, name: str) -> str:
    """Return what was typed into a field, with single spaces."""
    return " ".join(request.POST.get(name, "").split())


def given_again(opened: OpenConsultation, request: HttpRequest, kind: str) -> Repeated | None:
    """Return the earlier outcome and reason of this role that was pressed; None if none was.

    Raises:
        ConsultationError: It is none of this role's.
    """
    if not (wanted := request.POST.get("again", "")):
        return None
    own = repeated_reasons(opened.ledger(kind), request.user.role, outcomes=True)
    found = next((each for each in own if each.decision_id == wanted), None)
    if found is None:
        raise ConsultationError(f"{printable(wanted)} is no row of yours. Nothing was recorded.")
    return found


def two_people(opened: OpenConsultation, kind: str) -> dict[str, Any]:
    """What a page says of independent decisions: whether they are asked for, and how often two agreed.

    Agreement is counted over subjects on which both have decided, so that it gives nothing away.
    """
    ledger = opened.ledger(kind)
    return {
        "asks_for_two": asks_for_two(ledger),
        "agreements": [readable(each.sentence) for each in agreements(ledger)],
    }


def resolved_by_others(items: Sequence[AgendaItem], role: str) -> list[dict[str, Any]]:
    """Subjects that this role has decided otherwise than somebody else; a third role resolves them."""
    return [
        {"subject": " ".join(item.subject), "rows": rows_shown(item.rows)}
        for item in items
        if item.state == "disagreeing" and not item.open_to(role)
    ]


def rows_shown(rows: Sequence[Mapping[str, Any]]) -> list[dict[str, str]]:
    """Cells of rows of a ledger that a page shows."""
    names = ("decision_id", "outcome", "reason", "decided_by")
    return [{name: readable(row[name], QUOTED) for name in names} for row in rows]


def first_of_page(request: HttpRequest, number: int, size: int) -> dict[str, Any]:
    """Where a page begins in a list, and where those before and after it do."""
    given = request.GET.get("from", "0")
    begin = min(int(given), max(number - 1, 0)) if given.isascii() and given.isdigit() and len(given) < 8 else 0
    return {
        "begin": begin,
        "end": min(begin + size, number),
        "earlier": max(begin - size, 0) if begin else None,
        "later": begin + size if begin + size < number else None,
    }
