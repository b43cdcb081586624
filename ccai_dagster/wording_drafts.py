"""Drafts of wordings: by the template on record or the built-in one, and by the feedback model's server if asked for.

What a model drafted is kept below `CCAI_HOME` under the digest of all it depends on, so that the terminal, the desk and
whoever comes back see the same draft, and a server is asked once. A draft is no decision: a person words, and a draft
taken over as it stands has what drafted it on its row.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

from ccai_dagster.core.digest import value_digest
from ccai_dagster.core.errors import ConsultationError
from ccai_dagster.core.text import FORMULA, printable, readable
from ccai_dagster.decisions.agenda import draft_principle
from ccai_dagster.decisions.independent_decisions import Subject
from ccai_dagster.decisions.ledger import AVOID
from ccai_dagster.decisions.origins import DRAFT
from ccai_dagster.decisions.outcomes import policies
from ccai_dagster.feedback.language_model import Response
from ccai_dagster.open_consultation import OpenConsultation

if TYPE_CHECKING:
    from ccai_dagster.stages.server_model import KeptLines

TEMPLATE, TEMPLATE_REJECTED = "draft_template", "draft_template_rejected"
"""Policies of the wording ledger: how drafts are worded of what every group agrees with, and rejects."""
PLACE = "{statement}"
"""Where the statement stands in a template."""
VERSION = "2"
"""Raised when the request below changes its words."""
REQUEST = (
    "A public was asked: {question}\n"
    "{side}: {statement}\n\n"
    "Make of it one principle by which somebody chooses the better of two responses of an assistant. Write it as one "
    "sentence in the language of the statement, keep the words of the statement wherever you can, and add nothing to "
    "its meaning.{opposite} Write only the principle."
)
AGREED = "All groups agree with this statement", ""
REJECTED = "All groups reject this statement", " It says what such a response avoids."
NEW_TOKENS = 120
LONGEST = 400
"""Characters of a draft; a longer one is none."""
SECONDS = 60.0
"""A person waits for the answer."""


@dataclass(frozen=True)
class WordingDraft:
    """An outcome that a person may take over, and what put it forward."""

    outcome: str
    suggested_by: str


class WordingDrafts:
    """The drafts of one consultation."""

    def __init__(self, opened: OpenConsultation) -> None:
        """Read the templates on record.

        Raises:
            ConsultationError: A template has no place for the statement.
        """
        self._opened = opened
        self._settings = opened.consultation.profile.feedback
        self._source = opened.wording_sources()
        self._rejected = opened.rejected()
        self._templates = {}
        for choice in policies(opened.ledger("wording")):
            if choice.subject in (TEMPLATE, TEMPLATE_REJECTED):
                if PLACE not in choice.text:
                    raise ConsultationError(
                        f"{opened.consultation.ledger('wording')}, row {choice.decision_id}: {choice.subject} has no "
                        f"{PLACE}, where the statement is to stand. Replace it with one that has."
                    )
                self._templates[choice.subject] = choice

    @property
    def drafted_by(self) -> str:
        """What goes on record beside a draft of the server that is taken over."""
        return f"language model {self._settings.server_model or 'of the feedback server'}, wording request {VERSION}"

    def of(self, subject: Subject) -> list[WordingDraft]:
        """Return the drafts of a subject: the template's, and the server's if one is kept; none without a statement."""
        source = self._source(subject)
        if source is None:
            return []
        statement = readable(" ".join(source.text.split()), len(source.text))  # ledgers refuse what nobody can read
        rejected = self._is_rejected(subject)
        template = self._templates.get(TEMPLATE_REJECTED if rejected else TEMPLATE)
        if template is None:
            text, by = draft_principle(statement, rejected), DRAFT
        else:
            text = template.text.replace(PLACE, statement)
            by = f"wording template {template.decision_id}"
        request = self._request(subject) if self._settings.server_url else None
        key = None if request is None else self._key(request)
        written = self._kept[key] if key is not None and key in self._kept else None
        found = [(text, by), *([(written, self.drafted_by)] if written else [])]
        return [WordingDraft(f"{AVOID if rejected else 'principle'}: {each}", by) for each, by in found]

    def ask(self, subjects: Sequence[Subject]) -> int:
        """Let the server draft what is not drafted yet, and return how many usable drafts came.

        Raises:
            ConsultationError: No server is named, it is gone, or it refuses; what was answered before is kept.
        """
        from ccai_dagster.stages.server_model import OpenAIServerModel

        settings = self._settings
        if not settings.server_url:
            raise ConsultationError(
                "No feedback server is named. Set profiles.demo.feedback.server_url and server_model in "
                "consultation.yaml, or draft without one."
            )
        requests = [each for each in map(self._request, subjects) if each and self._key(each) not in self._kept]
        quick = settings.server.model_copy(update={"timeout": min(settings.server.timeout, SECONDS), "patience": 0.0})
        model = OpenAIServerModel(settings.server_url, settings.server_model or "", quick)
        asked = [[("user", each)] for each in requests]
        drafts = [_usable(each) for each in model.generate(asked, new_tokens=NEW_TOKENS, temperature=0.0, seed=0)]
        for request, draft in zip(requests, drafts, strict=True):
            self._kept.keep(self._key(request), draft)
        return sum(each is not None for each in drafts)

    @cached_property
    def _kept(self) -> KeptLines:
        from ccai_dagster.stages.server_model import KeptLines

        return KeptLines(self._opened.home.wording_drafts)

    def _is_rejected(self, subject: Subject) -> bool:
        return bool({int(each) for each in subject} & self._rejected)

    def _request(self, subject: Subject) -> str | None:
        source = self._source(subject)
        if source is None:
            return None
        side, opposite = REJECTED if self._is_rejected(subject) else AGREED
        question, statement = self._opened.consultation.file.question, " ".join(source.text.split())
        words = {"question": question, "side": side, "statement": statement, "opposite": opposite}
        return re.sub(r"\{(\w+)\}", lambda found: words[found[1]], REQUEST)

    def _key(self, request: str) -> str:
        return value_digest([self._settings.server_url, self._settings.server_model, VERSION, request])


def _usable(response: Response) -> str | None:
    """The principle in a response: its longest line, without courtesies before and after it.

    None if the response was cut off, is too long, or is no plain text.
    """
    text = max(response.text.splitlines(), key=len, default="").strip(" \t\"'“”„«»*")
    shown = printable(text)
    plain = response.finished and bool(text) and len(text) <= LONGEST and shown == text and not FORMULA.match(text)
    return text if plain else None
