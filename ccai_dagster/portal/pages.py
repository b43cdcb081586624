"""What every page has in common: what it may load, what all templates know, what is said when something is wrong."""

from __future__ import annotations

import codecs
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.exceptions import DisallowedHost, RequestDataTooBig, TooManyFieldsSent, TooManyFilesSent
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.utils.translation import gettext as _
from django.views.decorators.http import require_safe

from ccai_dagster.portal.languages import offered_names
from ccai_dagster.portal.sessions import PARTICIPANT

TYPES = {"css": "text/css; charset=utf-8", "js": "text/javascript; charset=utf-8"}
CONTENT_POLICY = (
    "default-src 'none'; style-src 'self'; script-src 'self'; connect-src 'self'; form-action 'self'; base-uri 'none'"
)
WRITTEN = ("text", "reason")
"""Fields of forms that somebody types into; where a page has several subjects, with their numbers."""
View = Callable[..., HttpResponse]


def own_content_only(get_response: View) -> View:
    """Let a page load nothing from elsewhere, and run nothing that stands in it."""

    def middleware(request: HttpRequest) -> HttpResponse:
        response = get_response(request)
        response.setdefault("Content-Security-Policy", CONTENT_POLICY)
        return response

    return middleware


def head_of_a_page(get_response: View) -> View:
    """Answer who asks for the head of a page alone as who asks for the page, without what stands in it."""

    def middleware(request: HttpRequest) -> HttpResponse:
        if request.method != "HEAD":
            return get_response(request)
        request.method = "GET"
        response = get_response(request)
        response.content = b""
        return response

    return middleware


def no_form_is_a_page(get_response: View) -> View:
    """Lead whoever opens the address of a form, as after a reload or a change of language, to the first page."""

    def middleware(request: HttpRequest) -> HttpResponse:
        response = get_response(request)
        return redirect("start") if response.status_code == 405 and request.method == "GET" else response

    return middleware


def in_utf_8_only(get_response: View) -> View:
    """Refuse what says that it is written in another way than the forms of these pages are.

    Codecs that are none of text, such as base64, would fail wherever the form is read.
    """

    def middleware(request: HttpRequest) -> HttpResponse:
        if request.encoding and codecs.lookup(request.encoding).name != "utf-8":
            message = _("The form must be in UTF-8. Nothing was recorded.")
            return problem(request, _("This cannot be read"), message, 400)
        return get_response(request)

    return middleware


def on_every_page(request: HttpRequest) -> dict[str, Any]:
    """What all templates know."""
    return {
        "consultation": settings.CONSULTATION.file,
        "taking_part": PARTICIPANT in request.session,
        "languages": offered_names(),
    }


def problem(request: HttpRequest, title: str, message: str, status: int, to_copy: Sequence[str] = ()) -> HttpResponse:
    """Say what is the matter, give back what would have to be typed again, and offer a way on."""
    page = {"title": title, "message": message, "written": to_copy}
    return render(request, "portal/problem.html", page, status=status)


def written(request: HttpRequest) -> list[str]:
    """What somebody typed into the form that was sent; of several subjects only for those that were decided on."""
    form, found = request.POST, []
    for name in form:
        field, _, number = name.partition("-")
        if field in WRITTEN and (not number or form.get(f"verb-{number}")) and (typed := form[name].strip()):
            found.append(typed)
    return found


def unreadable(request: HttpRequest, exception: Exception) -> HttpResponse:
    """The address of the portal is another one, or a form is larger than any of its pages sends, or is broken."""
    if isinstance(exception, DisallowedHost):
        message = _("The portal is not at this address. Open it at the one that you were given.")
    elif isinstance(exception, RequestDataTooBig | TooManyFieldsSent | TooManyFilesSent):
        message = _("This is more than the portal takes at once. Nothing was recorded. Please send less.")
    else:
        message = _(
            "The form did not arrive whole. Nothing was recorded. Please open the page again and send it from there."
        )
    return problem(request, _("This cannot be read"), message, 400)


def not_found(request: HttpRequest, exception: Exception) -> HttpResponse:
    """There is no such page."""
    return problem(request, _("There is no such page"), _("Perhaps the address was mistyped."), 404)


def broken(request: HttpRequest) -> HttpResponse:
    """Something went wrong here."""
    return HttpResponse(
        "<!doctype html><html lang=en><title>Something went wrong</title><h1>Something went wrong here</h1>"
        "<p>What was answered before is kept. Please go back and try again.",
        status=500,
    )


def refused_form(request: HttpRequest, reason: str = "") -> HttpResponse:
    """A form came without its token: from another page, or after the cookies were deleted."""
    message = _("The page had grown too old, or cookies are switched off. Nothing was recorded. Please open it again.")
    # What another site wrote is not shown as somebody's own words.
    own = request.headers.get("Sec-Fetch-Site") == "same-origin"
    return problem(request, _("Please try once more"), message, 403, written(request) if own else ())


@require_safe
def asset(request: HttpRequest, name: str) -> HttpResponse:
    """The style sheet and the script."""
    response = HttpResponse(_asset(name), content_type=TYPES[name.rpartition(".")[2]])
    response["Cache-Control"] = "max-age=3600"
    return response


@cache
def _asset(name: str) -> bytes:
    return (Path(__file__).parent / "assets" / name).read_bytes()
