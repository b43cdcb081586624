"""Drafts of wordings: by the template on record, by the feedback server if asked for, else by the built-in template.

A draft is nothing before a person takes it over; who does has its origin on record as `suggested_by`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ccai_dagster.core.errors import ConsultationError
from ccai_dagster.decisions.agenda import draft_principle
from ccai_dagster.decisions.ledger import AVOID
from ccai_dagster.decisions.origins import DRAFT
from ccai_dagster.decisions.outcomes import policies
from ccai_dagster.open_consultation import OpenConsultation

if TYPE_CHECKING:
    from ccai_dagster.stages.server_model import OpenAIServerModel

TEMPLATE, TEMPLATE_REJECTED = "draft_template", "draft_template_rejected"
"""Policies of the wording ledger: how drafts are worded of what every group agrees with, and rejects."""
PLACE = "{statement}"
"""Where the statement stands in a template."""
NEW_TOKENS = 120
LONGEST = 400
"""Characters of a draft; a longer answer is none."""
REQUEST = (
    "{told} this statement:\n\n{statement}\n\nPut what follows from it into one principle by which somebody chooses "
    "the better of two responses of an AI system. Write one sentence in the language of the statement and nothing else."
)
AGREED, REJECTED = "A public agreed with", "A public rejected"


@dataclass(frozen=True)
class Draft:
    """An outcome of the wording ledger that a person may take over, and what put it forward."""

    outcome: str
    drafted_by: str


class Drafts:
    """What drafts of one consultation are made with."""

    def __init__(self, opened: OpenConsultation, with_server: bool = False) -> None:
        """Read the templates on record.

        Raises:
            ConsultationError: A template has no place for the statement, or there is no server to ask.
        """
        self._opened = opened
        self._server = _server(opened) if with_server else None
        self._made: dict[tuple[str, ...], Draft | None] = {}
        self._templates: dict[str, tuple[str, str]] = {}
        for choice in policies(opened.ledger("wording")):
            if choice.subject in (TEMPLATE, TEMPLATE_REJECTED):
                if PLACE not in choice.text:
                    path = opened.consultation.ledger("wording")
                    raise ConsultationError(
                        f"{path}, row {choice.decision_id}: {choice.subject} has no {PLACE}, where the statement is to "
                        "stand. Replace it with one that has."
                    )
                self._templates[choice.subject] = choice.decision_id, choice.text

    def of(self, subject: Sequence[str]) -> Draft | None:
        """Return a draft for the statements of a subject, the same each time; None if there is none.

        Raises:
            ConsultationError: The server does not answer.
        """
        key = tuple(subject)
        if key not in self._made:
            self._made[key] = self._draft(key)
        return self._made[key]

    def _draft(self, subject: tuple[str, ...]) -> Draft | None:
        source = self._opened.wording_sources()(subject)
        if source is None:
            return None
        rejected = bool({int(each) for each in subject} & self._opened.rejected())
        verb = AVOID if rejected else "principle"
        if self._server is not None:
            text = asked(self._server, source.text, rejected, self._opened.consultation.file.seed)
            by = f"feedback server, {self._server.model}, wording request, version 1"
            return Draft(f"{verb}: {text}", by) if text else None
        if (template := self._templates.get(TEMPLATE_REJECTED if rejected else TEMPLATE)) is not None:
            decision, text = template
            return Draft(
                f"{verb}: {text.replace(PLACE, ' '.join(source.text.split()))}", f"wording template {decision}"
            )
        return Draft(f"{verb}: {draft_principle(source.text, rejected)}", DRAFT)


def asked(model: OpenAIServerModel, statement: str, rejected: bool, seed: int) -> str:
    """Return what a server makes of a statement, on one line; nothing if that is no sentence.

    Raises:
        ConsultationError: It does not answer.
    """
    question = REQUEST.format(told=REJECTED if rejected else AGREED, statement=statement)
    (answer,) = model.generate([[("user", question)]], new_tokens=NEW_TOKENS, temperature=0.0, seed=seed)
    text = " ".join(answer.text.split()).strip("\"'“”„«» ")
    return text if answer.finished and len(text) <= LONGEST else ""


def _server(opened: OpenConsultation) -> OpenAIServerModel:
    from ccai_dagster.stages.server_model import OpenAIServerModel

    feedback = opened.consultation.profile.feedback
    if not feedback.server_url or not feedback.server_model:
        raise ConsultationError(
            "No feedback server is named: set profiles.demo.feedback.server_url and server_model in consultation.yaml, "
            "or leave --with-server out."
        )
    return OpenAIServerModel(feedback.server_url, feedback.server_model, feedback.server)
