"""The raters' page: two responses side by side, without whose they are."""

from __future__ import annotations

from typing import Any

from django.conf import settings
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.views.decorators.http import require_http_methods

from ccai_dagster.core.errors import ConsultationError
from ccai_dagster.core.text import printable_lines
from ccai_dagster.evaluation.elo import QUESTIONS
from ccai_dagster.evaluation.rating_export import WORTH_SEEING, ShownPair
from ccai_dagster.open_consultation import OpenConsultation
from ccai_dagster.portal.conversations import offered
from ccai_dagster.portal.participation import Refusal
from ccai_dagster.portal.rating import LONGEST_REASON, rating_state, record_rating
from ccai_dagster.portal.team_views import for_raters
from ccai_dagster.statistics.bradley_terry import comparisons_needed, elo_error, smallest_difference


@for_raters
@require_http_methods(["GET", "POST"])
def rate(request: HttpRequest) -> HttpResponse:
    """Two responses, and which is better."""
    opened, rater = OpenConsultation(settings.CONSULTATION, settings.HOME), request.user.role
    page: dict[str, Any] = {"role": rater, "longest_reason": LONGEST_REASON}
    try:
        if request.method == "POST":
            given = (request.POST.get(name, "") for name in ("pair", "rating", "reason"))
            try:
                record_rating(opened, rater, *given)
                return redirect("rate")
            except Refusal as refusal:
                page["error"] = str(refusal)
        state = rating_state(opened, rater)
        page["conversations"] = sorted(offered(opened))
    except ConsultationError as error:
        problem = {"title": "The ratings cannot be used", "message": str(error), "back": request.path}
        return render(request, "portal/problem.html", problem, status=503)
    page |= {"state": state, "power": _power(state.wanted), "pair": _shown(state.next) if state.next else None}
    return render(request, "portal/rate.html", page, status=409 if "error" in page else 200)


def _shown(pair: ShownPair) -> dict[str, Any]:
    return {
        "id": pair.pair_id,
        "question": QUESTIONS[pair.quality],
        "prompt": printable_lines(pair.prompt),
        "responses": [printable_lines(each) for each in (pair.response_1, pair.response_2)],
    }


def _power(pairs: int) -> str:
    """What so many answers can show."""
    if not pairs:
        return ""
    return (
        f"All {pairs} together show a difference of {smallest_difference(elo_error(pairs)):.0f} Elo or more; one of "
        f"{WORTH_SEEING} takes {comparisons_needed(WORTH_SEEING):,} answers."
    )
