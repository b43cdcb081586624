"""Conversations in which raters choose between the answers of two arms at every turn: which are open, and their key.

Raters talk with two models at once, see an answer of each without whose it is, and go on with the better one (Askell et
al. 2021, "A general language assistant as a laboratory for alignment", arXiv:2112.00861). Every choice is a rating of
two answers to the conversation so far. Choices of one conversation are alike, so in `elo_scores` it counts as one
prompt. Belongs here: what `ccai ratings converse` opens, and the key of turns. Doesn't belong here: talking
(`portal.conversations`), ratings and when they lapse (`ratings`).

    ratings/keys/open.json   what is open, by quality
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

import polars as pl
from pydantic import Field, TypeAdapter, ValidationError

from ccai_dagster.consultation.settings import ServerSettings, Settings
from ccai_dagster.core.errors import ConsultationError
from ccai_dagster.core.files import write_file, written_alone
from ccai_dagster.core.text import printable
from ccai_dagster.evaluation.elo import pair_id
from ccai_dagster.evaluation.rating_export import ShownPair
from ccai_dagster.evaluation.ratings import (
    CONVERSATION_COLUMNS,
    CONVERSATIONS_FILE,
    LOCK,
    read_key_file,
    responses_digest,
    texts_digest,
    write_csv,
)
from ccai_dagster.feedback.language_model import Conversation

OPEN_FILE = Path("keys") / "open.json"
NAMES = {"user": "Rater", "assistant": "Assistant"}
"""Who speaks, as a transcript says it."""


class OpenArm(Settings):
    """One of the two that raters talk with.

    Attributes:
        arm: An arm, or `base`.
        responses: Digest of what it responded to held-out prompts when it was opened; later models have others.
        server_url, server_model, server: The server that holds its model, and how it is asked.
        stops: Texts that end its answers.
        proof: How the server was proven to hold its model, in a sentence.
    """

    arm: str
    responses: str
    server_url: str
    server_model: str
    server: ServerSettings = ServerSettings()
    stops: tuple[str, ...] = ()
    proof: str


class OpenConversations(Settings):
    """Conversations that raters may hold.

    Attributes:
        wanted: Choices of all raters together.
    """

    quality: str
    arms: list[OpenArm] = Field(min_length=2, max_length=2)
    wanted: int = Field(ge=1)

    def is_current(self, comparisons: pl.DataFrame) -> bool:
        """Whether both arms respond as they did, by COMPARISONS of the last run."""
        return all(responses_digest(comparisons, each.arm) == each.responses for each in self.arms)


_FORM = TypeAdapter(dict[str, OpenConversations])


def read_open(folder: Path) -> dict[str, OpenConversations]:
    """Return what is open by quality.

    Args:
        folder: `ratings` of the consultation; it need not exist.

    Raises:
        ConsultationError: The file is damaged.
    """
    path = folder / OPEN_FILE
    try:
        return _FORM.validate_json(path.read_bytes())
    except FileNotFoundError:
        return {}
    except ValidationError as error:
        raise ConsultationError(
            f"{path}: cannot be read ({printable(str(error.errors()[0]['msg']))}). Remove it and open conversations "
            "again with `ccai ratings converse`; what was rated stays."
        ) from error


def write_open(folder: Path, opened: OpenConversations) -> None:
    """Open conversations, in place of those of the same quality.

    Args:
        folder: `ratings` of the consultation; made if there is none.

    Raises:
        ConsultationError: The file is damaged or cannot be written.
    """
    (folder / OPEN_FILE).parent.mkdir(parents=True, exist_ok=True)
    with written_alone(folder, folder / LOCK):
        every = read_open(folder) | {opened.quality: opened}
        write_file(folder / OPEN_FILE, _FORM.dump_json(dict(sorted(every.items())), indent=1) + b"\n")


def transcript(conversation: Conversation) -> str:
    """Return a conversation as text; a first message alone stands as it was written."""
    if len(conversation) == 1:
        return conversation[0][1]
    return "\n\n".join(f"{NAMES[role]}: {content}" for role, content in conversation)


def shown_turn(
    quality: str, key: str, conversation: Conversation, answers: Mapping[str, str], responses: Mapping[str, str]
) -> tuple[ShownPair, dict[str, str]]:
    """Return a turn as a pair of responses, and its row of the key.

    Args:
        key: Of the conversation; stands for the id of a prompt.
        conversation: Up to what the rater wrote last.
        answers: By arm, the one that was shown first first.
        responses: Digests of what the arms responded to held-out prompts.
    """
    (arm_1, arm_2), said = answers, transcript(conversation)
    prompt_id, texts = f"conversation-{key}", list(answers.values())
    pair = ShownPair(pair_id(quality, prompt_id, said, answers), quality, said, *texts)
    values = [pair.pair_id, quality, prompt_id, arm_1, arm_2, texts_digest(said, *texts)]
    return pair, dict(zip(CONVERSATION_COLUMNS, [*values, responses[arm_1], responses[arm_2]], strict=True))


def write_turns(folder: Path, rows: Iterable[Mapping[str, str]]) -> None:
    """Add turns to the key; those that are there stay as they are.

    Raises:
        ConsultationError: The key is damaged or cannot be written, or says otherwise of a turn.
    """
    path = folder / CONVERSATIONS_FILE
    path.parent.mkdir(parents=True, exist_ok=True)
    with written_alone(folder, folder / LOCK):
        known = read_key_file(path, CONVERSATION_COLUMNS)
        before = len(known)
        for row in rows:
            if known.setdefault(row["pair_id"], dict(row)) != row:
                raise ConsultationError(f"{path}: turn {row['pair_id']} is there with other arms or texts; restore it.")
        if len(known) > before:
            write_csv(path, CONVERSATION_COLUMNS, [tuple(row.values()) for row in known.values()])
