"""In which language somebody reads the portal: as they chose, else as their browser asks, among those that are offered.

What the team reads is in English.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

from django.conf import settings
from django.http import HttpRequest, HttpResponse
from django.utils import translation
from django.utils.cache import patch_vary_headers

from ccai_dagster.core.language import SOURCE, Language

View = Callable[..., HttpResponse]
OF_THE_TEAM = ("/desk/", "/rate/")
FOR_ALL = ("/desk/sign-in",)


def in_an_offered_language(get_response: View) -> View:
    """Answer in the language of the cookie, else of the browser, else in the first one."""

    def middleware(request: HttpRequest) -> HttpResponse:
        team = request.path.startswith(OF_THE_TEAM) and not request.path.startswith(FOR_ALL)
        language = SOURCE if team else translation.get_language_from_request(request)
        with translation.override(language):
            response = get_response(request)
        patch_vary_headers(response, ["Accept-Language", "Cookie"])
        response["Content-Language"] = language
        return response

    return middleware


@cache
def offered_names() -> list[tuple[str, str, str]]:
    """Return code, own name and direction of every language that is offered."""
    found = [Language(code) for code, _ in settings.LANGUAGES]
    return [(each.code, str(each.locale.get_language_name()).capitalize(), each.direction) for each in found]
