"""How the team comes in: by name and password, who decides to the desk and raters to their page, nobody to both."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any

from django.contrib import auth
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.utils.translation import gettext as _
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_http_methods, require_POST

from ccai_dagster.portal.limits import PASSWORDS_OF_CLIENT, limited
from ccai_dagster.portal.pages import written
from ccai_dagster.portal.sessions import part_kept

View = Callable[..., HttpResponse]


@require_http_methods(["GET", "POST"])
@never_cache
@limited("passwords", PASSWORDS_OF_CLIENT)
def sign_in(request: HttpRequest) -> HttpResponse:
    """Come in with a name and a password."""
    if request.method == "GET":
        return render(request, "portal/sign_in.html")
    given = {"username": request.POST.get("name", ""), "password": request.POST.get("password", "")}
    # PostgreSQL has no place for it, and no name.
    account = None if "\0" in given["username"] else auth.authenticate(request, **given)
    if account is None:
        return render(request, "portal/sign_in.html", {"error": _("Name or password is wrong.")}, status=400)
    with part_kept(request):
        auth.login(request, account)
    moderates = "moderate" in account.duties.split()
    return redirect("rate" if account.rates else "queue" if moderates else "ledgers")


@require_POST
def sign_out(request: HttpRequest) -> HttpResponse:
    """Leave the desk."""
    with part_kept(request):
        auth.logout(request)
    return redirect("sign_in")


def for_team(view: View) -> View:
    """Let in who is signed in and no rater, who must not see what was decided."""
    return _for_team(view, rates=False, elsewhere="rate")


def for_raters(view: View) -> View:
    """Let in raters alone."""
    return _for_team(view, rates=True, elsewhere="ledgers")


def _for_team(view: View, rates: bool, elsewhere: str) -> View:
    @never_cache
    @wraps(view)
    def wrapped(request: HttpRequest, *arguments: Any, **named: Any) -> HttpResponse:
        with part_kept(request):
            signed_in = request.user.is_authenticated
        if not signed_in:
            return _ended(request) if request.method == "POST" else redirect("sign_in")
        if request.user.rates is not rates:
            return redirect(elsewhere)
        return view(request, *arguments, **named)

    guarded: View = wrapped
    return guarded


def _ended(request: HttpRequest) -> HttpResponse:
    """Say that nothing was recorded, and give back what was written, which would have to be typed again."""
    error = "Your session has ended, so nothing was recorded. Please sign in."
    page = {"error": error, "written": written(request)}
    return render(request, "portal/sign_in.html", page, status=403)
