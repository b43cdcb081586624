"""The least that Django does to keep a vote: a view that inserts one row, without session, token or check.

Served by the same web server with the same settings of the database as the portal: `bench.portal` compares both.
"""

from __future__ import annotations

from typing import Any

from django.conf import settings
from django.http import HttpRequest, HttpResponse
from django.urls import path

from ccai_dagster.consultation.folder import chosen_consultation, home_of


def insert(request: HttpRequest) -> HttpResponse:
    """Insert one vote."""
    if request.method != "POST":
        return HttpResponse(status=405)
    from ccai_dagster.portal.models import Vote

    Vote.objects.create(
        participant_id=int(request.POST["participant"]), statement_id=int(request.POST["statement"]), value=1
    )
    return HttpResponse(status=204)


urlpatterns = [path("", insert)]


def application() -> Any:
    """Make the WSGI application of a consultation that `CCAI_CONSULTATION` names."""
    from ccai_dagster.portal.configuration import set_up

    consultation = chosen_consultation()
    set_up(consultation, home_of(consultation))
    settings.ROOT_URLCONF = "bench.portal_bare"
    settings.MIDDLEWARE = []
    from django.core.wsgi import get_wsgi_application

    return get_wsgi_application()
