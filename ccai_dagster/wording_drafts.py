"""Wordings that the feedback model's server drafts, where a profile names one; a person words, and may take one over.

What a model drafted is kept below `CCAI_HOME` under the digest of all it depends on, so that the terminal, the desk and
whoever comes back see the same draft, and a server is asked once. A draft is no decision: taken over as it stands, its
row names what drafted it.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

from ccai_dagster.core.digest import value_digest
from ccai_dagster.core.errors import ConsultationError
from ccai_dagster.core.text import FORMULA, printable
from ccai_dagster.decisions.independent_decisions import Subject
from ccai_dagster.decisions.ledger import AVOID
from ccai_dagster.feedback.language_model import texts_of
from ccai_dagster.open_consultation import OpenConsultation

if TYPE_CHECKING:
    from ccai_dagster.stages.server_model import KeptLines

VERSION = "1"
"""Raised when the request below changes its words."""
BEGINNING = "Choose the response that"
REQUEST = (
    "A public was asked: {question}\n"
    "{side}: {statement}\n\n"
    f'Make of it one principle by which an assistant\'s responses are compared. Begin with "{BEGINNING}", keep the '
    "words of the statement wherever you can, and add nothing to its meaning.{opposite} Write only the principle."
)
AGREED = "All groups agree with this statement", ""
REJECTED = "All groups reject this statement", " The principle says the opposite of the statement."
NEW_TOKENS = 96
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
    """The drafts of one consultation's feedback server."""

    def __init__(self, opened: OpenConsultation) -> None:
        self._opened = opened
        self._settings = opened.consultation.profile.feedback
        self.source = opened.wording_sources()
        self._rejected = opened.rejected()

    @property
    def available(self) -> bool:
        """Whether the profile names a server for the feedback model."""
        return bool(self._settings.server_url)

    @property
    def drafted_by(self) -> str:
        """What goes on record beside a draft that is taken over."""
        return f"language model {self._settings.server_model or 'of the feedback server'}, wording request {VERSION}"

    def known(self, subject: Subject) -> WordingDraft | None:
        """Return the draft that is kept of a subject; None if none was asked for, or none was usable."""
        request = self._request(subject) if self.available else None
        key = None if request is None else self._key(request)
        if key is None or key not in self._kept or self._kept[key] is None:
            return None
        verb = AVOID if self._is_rejected(subject) else "principle"
        return WordingDraft(f"{verb}: {self._kept[key]}", self.drafted_by)

    def ask(self, subjects: Sequence[Subject]) -> int:
        """Let the server draft what is not drafted yet, and return how many usable drafts came.

        Raises:
            ConsultationError: No server is named, it is gone, or it refuses; what was answered before is kept.
        """
        from ccai_dagster.stages.server_model import OpenAIServerModel

        settings = self._settings
        if not settings.server_url:
            raise ConsultationError("No profile names a server for the feedback model (`feedback.server_url`).")
        requests = [each for each in map(self._request, subjects) if each and self._key(each) not in self._kept]
        quick = settings.server.model_copy(update={"timeout": min(settings.server.timeout, SECONDS), "patience": 0.0})
        model = OpenAIServerModel(settings.server_url, settings.server_model or "", quick)
        asked = [[("user", each)] for each in requests]
        answers = texts_of(model.generate(asked, new_tokens=NEW_TOKENS, temperature=0.0, seed=0))
        drafts = [_usable(each) for each in answers]
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
        source = self.source(subject)
        if source is None:
            return None
        side, opposite = REJECTED if self._is_rejected(subject) else AGREED
        question, statement = self._opened.consultation.file.question, " ".join(source.text.split())
        words = {"question": question, "side": side, "statement": statement, "opposite": opposite}
        return re.sub(r"\{(\w+)\}", lambda found: words[found[1]], REQUEST)

    def _key(self, request: str) -> str:
        return value_digest([self._settings.server_url, self._settings.server_model, VERSION, request])


def _usable(response: str) -> str | None:
    """The principle in a response: its first line that begins like one; None if there is none."""
    for line in response.splitlines():
        text = line.strip(" \t\"“”'*")
        if text.lower().startswith(BEGINNING.lower()) and len(text) <= LONGEST:
            shown = printable(text)
            return shown if shown == " ".join(text.split()) and not FORMULA.match(shown) else None
    return None
