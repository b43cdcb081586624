"""What is said to people beside the votes, and what they say: questions and answers, and feedback to the organisers."""

from __future__ import annotations

from datetime import UTC, datetime
from functools import lru_cache
from pathlib import Path

from django.conf import settings
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import render
from django.utils.safestring import SafeString, mark_safe
from django.utils.translation import gettext as _
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_http_methods, require_safe
from markdown_it import MarkdownIt

from ccai_dagster.core.errors import ConsultationError
from ccai_dagster.core.text import readable
from ccai_dagster.portal.desk import desk_page
from ccai_dagster.portal.limits import FEEDBACK_OF_CLIENT, limited
from ccai_dagster.portal.models import Feedback
from ccai_dagster.portal.participation import Refusal, cleaned
from ccai_dagster.portal.team_views import for_team

LONGEST_FEEDBACK = 2000
READ = 200
"""Of the feedback, the last ones that the desk shows."""


@require_safe
def questions(request: HttpRequest) -> HttpResponse:
    """Questions that people may have, with the organisers' answers."""
    name = settings.CONSULTATION.file.portal.questions_and_answers
    if name is None:
        raise Http404
    try:
        answers = rendered(settings.CONSULTATION.path(name))
    except ConsultationError:
        message = _("Questions and answers cannot be read at the moment. Please come back later.")
        return render(request, "portal/problem.html", {"title": _("Being mended"), "message": message}, status=503)
    return render(request, "portal/questions.html", {"answers": answers})


def rendered(path: Path) -> SafeString:
    """Return a file of Markdown as HTML; what is HTML in it stays text, and pictures are not shown.

    Raises:
        ConsultationError: It cannot be read, or is not in UTF-8.
    """
    try:
        return _rendered(path, path.stat().st_mtime_ns)
    except OSError as error:
        raise ConsultationError(f"{path}: cannot be read ({error.strerror}).") from error
    except UnicodeDecodeError as error:
        raise ConsultationError(f"{path}: is not in UTF-8. Save it as UTF-8.") from error


@lru_cache(maxsize=1)
def _rendered(path: Path, changed: int) -> SafeString:
    parser = MarkdownIt("commonmark", {"html": False}).disable("image")
    return mark_safe(parser.render(path.read_text(encoding="utf-8")))  # noqa: S308


@require_http_methods(["GET", "POST"])
@never_cache
@limited("feedback", FEEDBACK_OF_CLIENT)
def feedback(request: HttpRequest) -> HttpResponse:
    """Say something to the organisers; it is kept apart from the votes, without a number."""
    page: dict[str, object] = {"longest": LONGEST_FEEDBACK}
    if request.method == "GET":
        return render(request, "portal/feedback.html", page)
    typed = request.POST.get("text", "")
    try:
        Feedback.objects.create(text=cleaned(typed, LONGEST_FEEDBACK))
    except Refusal as refusal:
        return render(request, "portal/feedback.html", {**page, "text": typed, "error": str(refusal)}, status=400)
    return render(request, "portal/feedback.html", {"sent": True})


@for_team
@require_safe
def feedback_read(request: HttpRequest) -> HttpResponse:
    """What people said, for the team."""
    rows = Feedback.objects.order_by("-pk")[:READ]
    shown = [(datetime.fromtimestamp(each.sent_at, UTC).date().isoformat(), readable(each.text)) for each in rows]
    return desk_page(request, "portal/feedback_read.html", {"feedback": shown, "number": Feedback.objects.count()})
