"""What the portal keeps: of a participant a digest of the code, of a vote what the graph needs, of a team its accounts.

Besides, what raters said to the models, and what these answered. Tables and columns of the public are read by
`ccai_dagster.deliberation.importing.portal`. That nothing is counted twice is held by constraints of the database, not
by who writes.
"""

from __future__ import annotations

import time
from typing import ClassVar

from django.contrib.auth.base_user import AbstractBaseUser, BaseUserManager
from django.db import models

LONGEST_NAME = 100
"""Characters of the name and the role of an account; PostgreSQL refuses more."""


def now() -> int:
    """Seconds since 1970, as exactly as the classic files of Polis tell time."""
    return int(time.time())


class Participant(models.Model):
    """Somebody who takes part: no name, no address, no device."""

    code_digest = models.CharField(max_length=64, unique=True)
    joined_at = models.BigIntegerField(default=now)


class Demographic(models.Model):
    """What a participant said about themselves, among the answers that `consultation.yaml` offers.

    Attributes:
        question: Its name there.
    """

    participant = models.ForeignKey(Participant, on_delete=models.CASCADE, related_name="demographics")
    question = models.CharField(max_length=100)
    answer = models.TextField()

    class Meta:
        """What must hold whoever writes."""

        constraints: ClassVar = [models.UniqueConstraint(fields=["participant", "question"], name="one_answer_each")]


class Statement(models.Model):
    """A statement as it was typed; whether it is shown is for the moderation ledger.

    Attributes:
        key: The text without what makes no difference, so that the same is not sent twice.
        author: None for the organisers' own, and where the author's data were deleted.
    """

    text = models.TextField()
    key = models.TextField(unique=True)
    author = models.ForeignKey(Participant, null=True, on_delete=models.SET_NULL, related_name="statements")
    is_seed = models.BooleanField(default=False)
    created_at = models.BigIntegerField(default=now)


class Vote(models.Model):
    """The vote that counts of one participant on one statement.

    Attributes:
        minimum_decision: The ledger row that set the minimum of votes at the time; empty while nobody had decided.
    """

    participant = models.ForeignKey(Participant, on_delete=models.CASCADE, related_name="votes")
    statement = models.ForeignKey(Statement, on_delete=models.CASCADE, related_name="votes")
    value = models.SmallIntegerField()
    voted_at = models.BigIntegerField(default=now)
    minimum_decision = models.CharField(max_length=200, blank=True, default="")

    class Meta:
        """What must hold whoever writes."""

        constraints: ClassVar = [
            models.UniqueConstraint(fields=["participant", "statement"], name="one_vote_each"),
            models.CheckConstraint(condition=models.Q(value__in=(-1, 0, 1)), name="a_vote_is_one_of_three"),
        ]


class Feedback(models.Model):
    """What somebody wanted to say beside the votes; nothing tells who it was."""

    text = models.TextField()
    sent_at = models.BigIntegerField(default=now)


class Account(AbstractBaseUser):
    """Somebody of the team.

    Attributes:
        role: What goes on record for this account's decisions; never the name.
        rates: Whether it is a rater's, who compares responses and comes to no other page of the team.
        duties: What else it may do, words of `team.DUTIES` with spaces between them.
    """

    name = models.CharField(max_length=LONGEST_NAME, unique=True)
    role = models.CharField(max_length=LONGEST_NAME)
    rates = models.BooleanField(default=False)
    duties = models.CharField(max_length=100, default="moderate")

    objects = BaseUserManager()
    USERNAME_FIELD = "name"


class Conversation(models.Model):
    """A conversation of a rater with two arms at once.

    Attributes:
        key: Drawn when its first page was shown, so that a form sent twice begins one conversation.
        rater: The role, under which ratings stand.
        arms: By arm, the digest of what it responded to held-out prompts when the conversation began.
    """

    key = models.CharField(max_length=16, unique=True)
    rater = models.CharField(max_length=LONGEST_NAME)
    quality = models.CharField(max_length=20)
    arms = models.JSONField()
    ended = models.BooleanField(default=False)


class Turn(models.Model):
    """What a rater wrote, the answer of each arm, and which was chosen.

    Attributes:
        number: From 1.
        answers: Pairs of an arm and its answer, in the order in which they are shown; null until both are there.
        rating: `1`, `2` or `tie`; empty while nothing is chosen.
        went_on_with: 1 or 2, the answer that the conversation goes on with.
    """

    conversation = models.ForeignKey(Conversation, on_delete=models.CASCADE, related_name="turns")
    number = models.IntegerField()
    said = models.TextField()
    said_at = models.BigIntegerField(default=now)
    answers = models.JSONField(null=True)
    rating = models.CharField(max_length=3, blank=True, default="")
    went_on_with = models.IntegerField(null=True)
    reason = models.TextField(blank=True, default="")

    class Meta:
        """What must hold whoever writes."""

        constraints: ClassVar = [
            models.UniqueConstraint(fields=["conversation", "number"], name="one_turn_each"),
            models.CheckConstraint(
                condition=models.Q(rating__in=("", "1", "2", "tie")), name="a_choice_is_one_of_three"
            ),
        ]
