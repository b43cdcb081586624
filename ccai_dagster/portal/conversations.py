"""A rater talks with the models of two arms at once and chooses between their answers at every turn.

What is said and chosen is in the database first; from there choices are brought among the ratings of the consultation,
again whenever the rater comes, so that a portal that dies in between loses and doubles none. What is open is for
`evaluation.conversation_ratings`, pages are for `conversation_views`.
"""

from __future__ import annotations

import logging
import re
import secrets
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace

from ccai_dagster.consultation.folder import evaluated_model
from ccai_dagster.consultation.settings import ServedModel
from ccai_dagster.core.draws import derived_seed
from ccai_dagster.core.errors import ConsultationError, ConversationTooLong
from ccai_dagster.core.text import REPLACEMENT, printable, spreadsheet_cell
from ccai_dagster.evaluation.conversation_ratings import OpenArm, OpenConversations, read_open, shown_turn, write_turns
from ccai_dagster.evaluation.ratings import ANSWERS, current_ratings, read_ratings
from ccai_dagster.feedback.language_model import Conversation as Said
from ccai_dagster.open_consultation import OpenConsultation
from ccai_dagster.portal.databases import one_at_a_time
from ccai_dagster.portal.models import Conversation, Turn
from ccai_dagster.portal.participation import Refusal
from ccai_dagster.portal.rating import LONGEST_REASON, keep_ratings

LONGEST_MESSAGE = 2000
AT_ONCE = 4
"""Turns that models answer at a time; the threads of all other pages go on serving participants."""
SECONDS_FOR_AN_ANSWER, PATIENCE, PAUSE = 30.0, 10.0, 0.25
"""How long a rater waits for one answer, for a busy server, and before it is asked again; stages wait for longer."""
KEY = re.compile(r"[0-9a-f]{16}")
_answering = threading.BoundedSemaphore(AT_ONCE)
_turns_alone: dict[int, threading.Lock] = {}


class Unanswered(Exception):
    """No answer came; the message says why, for the rater to read, and nothing that was written is lost."""


@dataclass(frozen=True)
class Standing:
    """How far the conversations of a quality are.

    Attributes:
        own: Choices of this rater that count.
        every: Those of all raters.
        wanted: Of all raters.
    """

    own: int
    every: int
    wanted: int


def offered(opened: OpenConsultation) -> dict[str, OpenConversations]:
    """Return by quality the conversations that raters may hold: opened, with the models of the last run.

    Raises:
        ConsultationError: What is open, or the table of comparisons, is damaged.
    """
    comparisons = opened.table("comparisons")
    if comparisons is None:
        return {}
    every = read_open(opened.consultation.ratings)
    return {quality: each for quality, each in every.items() if each.is_current(comparisons)}


def standing(opened: OpenConsultation, offer: OpenConversations, rater: str) -> Standing:
    """Return how far the conversations of a quality are.

    Raises:
        ConsultationError: The ratings, or the table of comparisons, are damaged.
    """
    comparisons, folder = opened.table("comparisons"), opened.consultation.ratings
    if comparisons is None:
        return Standing(0, 0, offer.wanted)
    arms = {each.arm for each in offer.arms}
    counted = [
        row["rater"]
        for row in current_ratings(read_ratings(folder), comparisons, folder).to_dicts()
        if row["quality"] == offer.quality
        and {row["arm_1"], row["arm_2"]} == arms
        and row["prompt_id"].startswith("conversation-")
    ]
    return Standing(counted.count(rater), len(counted), offer.wanted)


def under_way(offer: OpenConversations, rater: str) -> Conversation | None:
    """Return the conversation of this quality that a rater has begun with these models and not ended."""
    own = Conversation.objects.filter(rater=rater, quality=offer.quality, ended=False).order_by("-pk")
    return next((each for each in own if each.arms == _arms(offer)), None)


def said_so_far(turns: Sequence[Turn]) -> Said:
    """Return what was said up to the last turn's message, with the answers that were gone on with."""
    said = []
    for turn in turns:
        said.append(("user", turn.said))
        if turn.went_on_with:
            said.append(("assistant", turn.answers[turn.went_on_with - 1][1]))
    return said


def new_key() -> str:
    """Return the key of a conversation that may begin."""
    return secrets.token_hex(8)


def say(opened: OpenConsultation, offer: OpenConversations, rater: str, key: str, number: int, typed: str) -> None:
    """Say something and let both models answer; what was said before is not said again.

    Args:
        key: Of the rater's conversation, or a new one.
        number: Of the turn, from 1.

    Raises:
        Refusal: It cannot be said.
        Unanswered: It is kept, and no answer came.
    """
    text = _kept(typed.replace("\r\n", "\n").strip())
    if not text:
        raise Refusal("Write something to the models.")
    if len(text) > LONGEST_MESSAGE:
        raise Refusal(f"This has {len(text)} characters; at most {LONGEST_MESSAGE} fit. Nothing was sent.")
    if not KEY.fullmatch(key):
        raise Refusal("There is no such conversation. Nothing was sent.")
    with one_at_a_time():
        conversation = under_way(offer, rater)
        if conversation is None:
            if Conversation.objects.filter(key=key).exists():
                raise Refusal("This conversation has ended. Nothing was sent.")
            conversation = Conversation.objects.create(key=key, rater=rater, quality=offer.quality, arms=_arms(offer))
        elif conversation.key != key:
            raise Refusal("You are in the middle of another conversation, which is shown here. Nothing was sent.")
        turns = list(conversation.turns.order_by("number"))
        if number <= len(turns):
            if number < 1 or turns[number - 1].said != text:
                raise Refusal("You wrote something else in this place, in another window. Nothing was sent.")
        elif number > len(turns) + 1 or (turns and not turns[-1].rating):
            raise Refusal("Choose between the two answers first. Nothing was sent.")
        else:
            Turn.objects.create(conversation=conversation, number=number, said=text)
    answer(opened, offer, rater, key)


def answer(opened: OpenConsultation, offer: OpenConversations, rater: str, key: str) -> None:
    """Let both models answer what was said last, unless they have.

    Raises:
        Refusal: It is not the rater's conversation.
        Unanswered: No answer came.
    """
    conversation = _own(offer, rater, key)
    # A form that was sent twice waits here, and then finds the answers.
    with _alone(conversation.pk):
        turns = list(conversation.turns.order_by("number"))
        if turns and turns[-1].answers is None:
            found = _answers(opened, offer, conversation.key, said_so_far(turns))
            Turn.objects.filter(pk=turns[-1].pk, answers__isnull=True).update(answers=found)


def choose(
    opened: OpenConsultation, offer: OpenConversations, rater: str, key: str, number: int, rating: str, reason: str
) -> None:
    """Keep which of two answers is better, go on with it, or with either by lot, and bring it among the ratings.

    Raises:
        Refusal: It is no answer, there is nothing to choose, or the rater chose otherwise before.
        ConsultationError: It is kept, and the ratings of the consultation are damaged or cannot be written.
    """
    if rating not in ANSWERS:
        raise Refusal("Choose the first, the second, or neither.")
    with one_at_a_time():
        turn = Turn.objects.filter(conversation__key=key, conversation__rater=rater, number=number).first()
        if turn is None or turn.answers is None:
            raise Refusal("There is nothing to choose between. Nothing was kept.")
        if turn.rating and turn.rating != rating:
            raise Refusal("You answered this before. The first answer counts.")
        if not turn.rating:
            turn.rating, turn.reason = rating, _kept(" ".join(reason.split())[:LONGEST_REASON])
            turn.went_on_with = int(rating) if rating != "tie" else 1 + secrets.randbelow(2)
            turn.save(update_fields=["rating", "reason", "went_on_with"])
    bring_in(opened, rater)


def end(offer: OpenConversations, rater: str, key: str) -> None:
    """End the conversation; choices in it stay.

    Raises:
        Refusal: It is not the rater's conversation.
    """
    conversation = _own(offer, rater, key)
    conversation.ended = True
    conversation.save(update_fields=["ended"])


def _own(offer: OpenConversations, rater: str, key: str) -> Conversation:
    conversation = under_way(offer, rater)
    if conversation is None or conversation.key != key:
        raise Refusal("This conversation has ended.")
    return conversation


def bring_in(opened: OpenConsultation, rater: str) -> None:
    """Bring what a rater has chosen among the ratings of the consultation, as far as it is not there.

    Raises:
        ConsultationError: A file of theirs is damaged or cannot be written.
    """
    chosen = Turn.objects.filter(conversation__rater=rater).exclude(rating="")
    if not chosen.exists():
        return
    folder = opened.consultation.ratings
    known = set(read_ratings(folder).filter(rater=rater)["pair_id"])
    keys, rows = [], {}
    for conversation in Conversation.objects.filter(rater=rater):
        turns = list(conversation.turns.order_by("number"))
        for at, turn in enumerate(turns):
            if not turn.rating:
                continue
            before = [*said_so_far(turns[:at]), ("user", turn.said)]
            pair, key = shown_turn(
                conversation.quality, conversation.key, before, dict(turn.answers), conversation.arms
            )
            if pair.pair_id not in known:
                keys.append(key)
                rows[pair.pair_id] = (*pair.cells(turn.rating), spreadsheet_cell(turn.reason))
    if rows:
        write_turns(folder, keys)
        keep_ratings(opened, rater, rows)


def _arms(offer: OpenConversations) -> dict[str, str]:
    return {each.arm: each.responses for each in offer.arms}


def _answers(opened: OpenConsultation, offer: OpenConversations, key: str, said: Said) -> list[list[str]]:
    """Return both arms' answers, each with its arm, in the order in which they are shown."""
    if not _answering.acquire(timeout=SECONDS_FOR_AN_ANSWER):
        raise Unanswered("The models are answering others. What you wrote is kept; please try again.")
    try:
        with ThreadPoolExecutor(2) as pool:
            asked = [pool.submit(_asked, opened, each, key, said) for each in offer.arms]
            found = [[each.arm, future.result()] for each, future in zip(offer.arms, asked, strict=True)]
    except ConversationTooLong as error:
        raise Unanswered(
            "This conversation has grown longer than the models can read. End it and begin another."
        ) from error
    except ConsultationError as error:
        # Which server it was would tell the rater too much.
        logging.getLogger("django").error("A conversation is not answered: %s", printable(str(error)))
        raise Unanswered("No answer came from the models. What you wrote is kept; please try again.") from error
    finally:
        _answering.release()
    return found[:: 1 if secrets.randbelow(2) else -1]


def _asked(opened: OpenConsultation, arm: OpenArm, key: str, said: Said) -> str:
    """Return one arm's answer, written as evaluated responses are."""
    from ccai_dagster.stages.sampling import asked_server

    consultation = opened.consultation
    hasty = {"timeout": min(arm.server.timeout, SECONDS_FOR_AN_ANSWER), "patience": PATIENCE}
    served = ServedModel(
        name=evaluated_model(arm.arm),
        server_url=arm.server_url,
        server_model=arm.server_model,
        server=arm.server.model_copy(update=hasty),
    )
    model = replace(asked_server(served, arm.stops), pause=PAUSE)
    seed = derived_seed(consultation.file.seed, "conversation", key, len(said))
    ((text, _),) = model.generate(
        [said], new_tokens=consultation.profile.evaluation.new_tokens, temperature=0.0, seed=seed
    )
    return _kept(text)


def _kept(text: str) -> str:
    """Return text with a mark in place of the one character that PostgreSQL has no place for."""
    return text.replace("\0", REPLACEMENT)


@contextmanager
def _alone(conversation: int) -> Iterator[None]:
    with _turns_alone.setdefault(conversation, threading.Lock()):
        yield
