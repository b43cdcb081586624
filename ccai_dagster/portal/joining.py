"""Who may take part: the questions before it, and the places there are.

Answers to screening questions are kept nowhere. Answers about the person are kept with the number, since the table
`sample_representativeness` rests on them; somebody who is not taken leaves none.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from django.db.models import Count
from django.utils.translation import gettext as _

from ccai_dagster.consultation.folder import ConsultationFile
from ccai_dagster.consultation.people import DemographicQuestion
from ccai_dagster.portal.databases import one_at_a_time
from ccai_dagster.portal.models import Demographic, Participant
from ccai_dagster.portal.participation import Refusal, just_joined, new_participant


class NotTaken(Exception):
    """This person is not asked this time; the message says why, for people to read."""


def join(file: ConsultationFile, form: Mapping[str, str]) -> tuple[Participant, str]:
    """Let somebody take part who agreed, is asked, and for whom there is a place; return them and their code.

    Args:
        form: `consent`; `question-N` for each screening question, from 0; `about-NAME` for each question about the
            person, empty or absent where somebody would rather not say; `code`, by which a form that was sent twice
            is known, so that it lets in one person.

    Raises:
        Refusal: Something is not answered, or not as it can be.
        NotTaken: The screening, or the places, are for others.
    """
    if form.get("consent") != "yes":
        raise Refusal(_("Please tick that you agree, or leave the page."))
    for number, question in enumerate(file.portal.screening):
        answer = form.get(f"question-{number}")
        if answer not in question.answers:
            raise Refusal(_("Please answer every question."))
        if answer not in question.accepted:
            raise NotTaken(_("This consultation is for others this time. Nothing of your answers was kept."))
    told = _about(file, form)
    # So that the last place is not given twice.
    with one_at_a_time():
        if again := just_joined(form.get("code", "")):
            return again, form["code"]
        if file.portal.places is not None and any(
            told[each.name] in full_answers(each, file.portal.places) for each in file.demographics if each.targets
        ):
            raise NotTaken(
                _(
                    "Enough people who answered as you did take part already, so that all of the public is heard. "
                    "Nothing of your answers was kept."
                )
            )
        participant, code = new_participant(form.get("code", ""))
        Demographic.objects.bulk_create(
            Demographic(participant=participant, question=name, answer=answer) for name, answer in told.items()
        )
    return participant, code


def _about(file: ConsultationFile, form: Mapping[str, str]) -> dict[str, str]:
    """What somebody said about themselves, by the name of the question."""
    told = {}
    for question in file.demographics:
        answer = form.get(f"about-{question.name}", "")
        if answer not in question.answers:
            if answer or is_needed(question, file.portal.places):
                raise Refusal(_("Please answer every question."))
            continue
        told[question.name] = answer
    return told


def is_needed(question: DemographicQuestion, places: int | None) -> bool:
    """Whether nobody can be let in without an answer, since places are counted by it."""
    return places is not None and bool(question.targets)


def full_answers(question: DemographicQuestion, places: int) -> Sequence[str]:
    """Return the answers that have their share of the places already, rounded up."""
    rows = Demographic.objects.filter(question=question.name).values_list("answer").annotate(Count("pk"))
    counts = dict(rows)
    return [
        answer
        for answer, share in question.targets.items()
        if counts.get(answer, 0) >= math.ceil(share * places - 1e-9)
    ]
