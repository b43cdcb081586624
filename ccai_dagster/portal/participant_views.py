"""The pages of participants.

Everything that came from a person is escaped by the templates; a session holds a participant's number and code
(`sessions`), in a signed cookie and nowhere else.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from functools import cache, wraps
from typing import Any

import numpy as np
from django.conf import settings
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.template.loader import render_to_string
from django.urls import reverse
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_http_methods, require_POST, require_safe

from ccai_dagster.core.errors import ConsultationError
from ccai_dagster.core.text import readable
from ccai_dagster.decisions.agenda import SameWords
from ccai_dagster.portal import joining, participation, sessions
from ccai_dagster.portal.figures import Figures, Source
from ccai_dagster.portal.joining import NotTaken
from ccai_dagster.portal.limits import (
    ANSWERS_OF_ONE,
    CODES_OF_CLIENT,
    DAY,
    FORMS_OF_A_PERSON,
    Limit,
    client,
    counts,
    limited,
    too_many,
)
from ccai_dagster.portal.models import Participant, Statement
from ccai_dagster.portal.opinion_map import SIDE
from ccai_dagster.portal.pages import View, problem, written
from ccai_dagster.portal.participation import AlreadyThere, Refusal
from ccai_dagster.portal.sessions import CODE, PARTICIPANT

VALUES = {"agree": 1, "disagree": -1, "pass": 0}
ANSWERS = {1: gettext_lazy("Agree"), -1: gettext_lazy("Disagree"), 0: gettext_lazy("Pass / Unsure")}
NEAREST = 3
PART = "HTTP_X_PART"
"""The header of a script that asks for what changes, rather than for a whole page."""
CHANCE = np.random.default_rng()


@cache
def source() -> Source:
    """The figures of the consultation that is served."""
    return Source(settings.CONSULTATION, settings.HOME)


def _with_figures(view: View) -> View:
    @wraps(view)
    def wrapped(request: HttpRequest) -> HttpResponse:
        try:
            figures = source().now()
        except ConsultationError as error:
            logging.getLogger("django").error("Nobody can vote: %s", error)
            message = _(
                "The statements cannot be read at the moment. What was answered is kept. Please come back later."
            )
            return problem(request, _("Being mended"), message, 503, written(request))
        return view(request, figures)

    return wrapped


def _for_participants(view: View) -> View:
    @never_cache
    @wraps(view)
    def wrapped(request: HttpRequest) -> HttpResponse:
        participant = participation.taking_part(request.session.get(PARTICIPANT))
        if participant is None:
            sessions.forget(request)
            message = _(
                "Your session has ended, or your data were deleted. If they were not, nothing is lost: come back with "
                "your code. You can also begin anew."
            )
            return problem(request, _("Please come in again"), message, 403, written(request))
        if request.method == "POST" and not counts.allows("answers", str(participant.pk), ANSWERS_OF_ONE):
            return too_many(request, ANSWERS_OF_ONE)
        return _with_figures(lambda again, figures: view(again, figures, participant))(request)

    guarded: View = wrapped
    return guarded


@require_safe
@never_cache
def start(request: HttpRequest) -> HttpResponse:
    """Who asks and what for."""
    return _start(request, {})


def _start(request: HttpRequest, more: Mapping[str, Any], status: int = 200) -> HttpResponse:
    file = settings.CONSULTATION.file
    about = [
        {
            "name": f"about-{each.name}",
            "question": each.question,
            "needed": joining.is_needed(each, file.portal.places),
            "answers": [(answer, request.POST.get(f"about-{each.name}") == answer) for answer in each.answers],
        }
        for each in file.demographics
    ]
    screening = [
        {
            "question": each.question,
            "answers": [(answer, request.POST.get(f"question-{number}") == answer) for answer in each.answers],
        }
        for number, each in enumerate(file.portal.screening)
    ]
    page = {"portal": file.portal, "about": about, "screening": screening, "code": participation.new_code()}
    return render(request, "portal/start.html", {**page, **more}, status=status)


@require_POST
@never_cache
def join(request: HttpRequest) -> HttpResponse:
    """Take part, after consent and the questions before it."""
    if request.session.get(PARTICIPANT):
        return redirect("vote")
    who, people = client(request), Limit(settings.CONSULTATION.file.portal.joins_a_day, DAY)
    forms = Limit(FORMS_OF_A_PERSON * people.times, DAY)
    if not counts.allows("forms", who, forms):
        return too_many(request, forms)
    # Counted before, so that forms at the same moment do not all pass.
    if not counts.allows("joined", who, people):
        return too_many(request, people)
    joined = False
    try:
        participant, typed = joining.join(settings.CONSULTATION.file, request.POST)
        joined = True
    except Refusal as refusal:
        return _start(request, {"error": str(refusal)}, 400)
    except NotTaken as why:
        return problem(request, _("Thank you"), str(why), 200)
    finally:
        if not joined:
            counts.take_back("joined", who)
    sessions.begin(request, participant, typed)
    return redirect("code")


@_for_participants
@require_safe
def code(request: HttpRequest, figures: Figures, participant: Participant) -> HttpResponse:
    """The code, to come back with."""
    return render(request, "portal/code.html", {"code": participation.shown_code(request.session[CODE])})


@require_http_methods(["GET", "POST"])
@never_cache
@limited("codes", CODES_OF_CLIENT)
def come_back(request: HttpRequest) -> HttpResponse:
    """Come back with a code."""
    if request.method == "GET":
        return render(request, "portal/come_back.html")
    found = participation.come_back(request.POST.get("code", ""))
    if found is None:
        error = _("This is no code of this consultation. Is it written as it was shown?")
        return render(request, "portal/come_back.html", {"error": error}, status=400)
    sessions.begin(request, *found)
    return redirect("vote")


@require_POST
def leave(request: HttpRequest) -> HttpResponse:
    """Forget on this device who took part."""
    sessions.forget(request)
    return redirect("start")


@_for_participants
@require_http_methods(["GET", "POST"])
def vote(request: HttpRequest, figures: Figures, participant: Participant) -> HttpResponse:
    """One statement, and the answer to it."""
    if request.method == "GET":
        again = participation.number_typed(request.GET.get("again", ""))
        return render(request, "portal/vote.html", _asked(figures, participant, again))
    try:
        number = _number(request.POST.get("statement", ""))
        participation.cast(participant, number, VALUES.get(request.POST.get("vote", ""), 2), figures)
    except Refusal as refusal:
        return problem(request, _("Not counted"), str(refusal), 409)
    if request.POST.get("back") == "votes":
        return redirect("own_votes")
    return _part(_asked(figures, participant)) if PART in request.META else redirect("vote")


def _part(asked: dict[str, Any]) -> HttpResponse:
    """What changes on the page by an answer, for a script that puts it there; it has the token of the forms already."""
    response = HttpResponse(render_to_string("portal/asked.html", asked))
    response["X-Part"] = "main"
    return response


def _asked(figures: Figures, participant: Participant, again: int | None = None) -> dict[str, Any]:
    """The statement that is asked next, or this one again, and how far the participant is."""
    votes, texts = participation.votes_of(participant), figures.texts
    if again is not None and again not in texts:
        texts = {**dict(participant.statements.values_list("pk", "text")), **texts}
    key = again if again in texts else figures.draw(votes, CHANCE)
    last = next(iter(votes), None)
    return {
        "statement": None if key is None else {"id": key, "text": readable(texts[key])},
        "progress": participation.progress(votes, figures),
        "counting": figures.counting,
        "last": None if last is None else _last(last, votes[last], figures),
    }


def _last(statement: int, value: int, figures: Figures) -> dict[str, Any]:
    text = figures.texts.get(statement)
    if text is None:
        text = Statement.objects.values_list("text", flat=True).get(pk=statement)
    return {"id": statement, "text": readable(text), "answer": ANSWERS[value]}


def _number(typed: str) -> int:
    if (found := participation.number_typed(typed)) is None:
        raise Refusal(_("There is no such statement. Nothing was counted."))
    return found


@_for_participants
@require_POST
def undo(request: HttpRequest, figures: Figures, participant: Participant) -> HttpResponse:
    """Take an answer back; its statement is asked again."""
    try:
        number = _number(request.POST.get("statement", ""))
    except Refusal as refusal:
        return problem(request, _("Nothing was changed"), str(refusal), 409)
    participation.take_back(participant, number)
    if PART in request.META:
        return _part(_asked(figures, participant, number))
    return redirect("own_votes" if request.POST.get("back") == "votes" else f"{reverse('vote')}?again={number}")


@_for_participants
@require_safe
def own_votes(request: HttpRequest, figures: Figures, participant: Participant) -> HttpResponse:
    """What was answered so far, to look at and to change."""
    votes = participant.votes.select_related("statement").order_by("-voted_at", "-pk")
    answered = [_answered(each, figures) for each in votes]
    waiting = participant.statements.exclude(pk__in=[*votes.values_list("statement_id", flat=True), *figures.texts])
    own = [{"id": each.pk, "text": readable(each.text), "changeable": True, "own": True} for each in waiting]
    return render(request, "portal/own_votes.html", {"votes": answered + own})


def _answered(vote: Any, figures: Figures) -> dict[str, Any]:
    own = vote.statement.author_id == vote.participant_id
    text = figures.texts.get(vote.statement_id, vote.statement.text)
    return {
        "id": vote.statement_id,
        "text": readable(text),
        "answer": ANSWERS[vote.value],
        "changeable": own or vote.statement_id in figures.texts,
        "own": own,
    }


@_for_participants
@require_safe
def opinion_map(request: HttpRequest, figures: Figures, participant: Participant) -> HttpResponse:
    """Where this participant stands among the groups, if the team shows it."""
    if not settings.CONSULTATION.file.portal.opinion_map:
        raise Http404
    own = figures.map.places.get(participant.pk)
    page = {"outlines": figures.map.outlines, "own": own, "side": SIDE, "counting": figures.counting}
    return render(request, "portal/opinion_map.html", {**page, "above": SIDE - own[1] if own else None})


@_for_participants
@require_http_methods(["GET", "POST"])
def add(request: HttpRequest, figures: Figures, participant: Participant) -> HttpResponse:
    """Write a statement: first those nearest to it are shown, then it is sent."""
    state = participation.progress(participation.votes_of(participant), figures)
    page: dict[str, Any] = {"progress": state, "longest": participation.LONGEST_STATEMENT}
    if request.method == "GET" or not state.may_add:
        return render(request, "portal/add.html", page, status=200 if request.method == "GET" else 409)
    typed = request.POST.get("text", "")
    try:
        text = participation.cleaned(typed)
        if request.POST.get("sure") != "yes":
            nearest = SameWords({**figures.texts, 0: text}).nearest(0, NEAREST)
            page |= {"text": text, "nearest": [readable(figures.texts[key]) for key, _ in nearest]}
            return render(request, "portal/sure.html", page)
        participation.add_statement(participant, typed, figures)
    except AlreadyThere as there:
        page |= {"text": typed, "error": str(there), "again": there.statement_id in figures.texts}
        return render(request, "portal/add.html", page, status=409)
    except Refusal as refusal:
        return render(request, "portal/add.html", {**page, "text": typed, "error": str(refusal)}, status=400)
    return render(request, "portal/added.html")


@_for_participants
@require_http_methods(["GET", "POST"])
def delete(request: HttpRequest, figures: Figures, participant: Participant) -> HttpResponse:
    """Take back everything, after saying what that does."""
    if request.method == "POST" and request.POST.get("sure") == "yes":
        participation.erase(participant)
        sessions.forget(request)
        return render(request, "portal/deleted.html")
    counts = {
        "votes": participant.votes.count(),
        "statements": participant.statements.count(),
        "about": participant.demographics.count(),
    }
    return render(request, "portal/delete.html", counts)
