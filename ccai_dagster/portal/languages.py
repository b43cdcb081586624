"""In which language somebody reads the portal: as they chose, else as their browser asks, among those that are offered.

What the team reads is in English.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import cache

from django.conf import settings
from django.http import HttpRequest, HttpResponse
from django.template import Origin
from django.template.loaders import cached
from django.urls import reverse
from django.utils import translation
from django.utils.cache import patch_vary_headers

from ccai_dagster.core.language import SOURCE, Language

View = Callable[..., HttpResponse]
OF_THE_TEAM = ("/desk/", "/rate/")
FOR_ALL = ("/desk/sign-in",)
SENTENCE = re.compile(r"""{% translate (["'])(.+?)\1 %}""")
ADDRESS = re.compile(r"{% url '(\w+)' %}")


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


class Templates(cached.Loader):
    """Templates for each language in which sentences and addresses stand already.

    Most of the work for a page would else be to look up again what is the same in all pages of a language.
    """

    def cache_key(self, template_name: str, skip: list[Origin] | None = None) -> str:
        """Tell the templates of one language from those of another."""
        return f"{translation.get_language()}-{super().cache_key(template_name, skip)}"

    def get_contents(self, origin: Origin) -> str:
        """Read a template, and put in what depends on the language alone."""
        text = SENTENCE.sub(lambda found: translation.gettext(found[2]), super().get_contents(origin))
        return ADDRESS.sub(lambda found: reverse(found[1]), text)
