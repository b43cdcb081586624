"""What a server can do, asked before thousands of questions are: letters, thinking, echo and context."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace

import numpy as np

from ccai_dagster.core.errors import ConsultationError
from ccai_dagster.decisions.values import FeedbackMethod
from ccai_dagster.feedback.judge import (
    ANSWER_BEGINNING,
    ANSWER_MASS_FLOOR,
    EXAMPLES,
    LETTERS,
    letters_question,
    reasoning_question,
)
from ccai_dagster.stages.server_model import EchoMissing, OpenAIServerModel

_EXAMPLE = EXAMPLES[0]
_QUESTION = (_EXAMPLE.prompt, _EXAMPLE.principle, _EXAMPLE.first, _EXAMPLE.second)

_NO_THINKING = (
    "if its chat template knows that, set feedback.server.arguments to {chat_template_kwargs: {enable_thinking: false}}"
)


def check_server(model: OpenAIServerModel, methods: Collection[FeedbackMethod], new_tokens: int) -> dict[str, str]:
    """Ask one plain question in each way that is going to be used.

    Args:
        model: The server's; what it answers here is not kept, since it may be mended meanwhile.
        methods: Ways of judging that are going to be used.
        new_tokens: Longest reasoning, for `reasoned_letters`.

    Returns:
        What was found, for the record: the share of the two letters, the context, what the server's answers call the
        model if it is another name (some servers take any), and under `contrast` why that way cannot be used, if it
        cannot.

    Raises:
        ConsultationError: The server cannot be asked for letters, or thinks without an end.
    """
    asked = replace(model, kept=None, aside=None)
    found = {"server": model.name}
    if (context := asked.context_tokens()) is not None:
        found["context_tokens"] = str(context)
    if {"letters", "letters_few_shot", "reasoned_letters"} & {*methods}:
        found["answer_mass"] = f"{_answer_mass(asked):.3f}"
    if "reasoned_letters" in methods:
        _check_thoughts(asked, new_tokens)
    if "contrast" in methods:
        try:
            asked.log_likelihoods([[("user", _EXAMPLE.prompt)]], [_EXAMPLE.second])
        except EchoMissing as error:
            found["contrast"] = str(error)
    if (told := asked.client.told_model) not in ("", model.model):
        found["answers_as"] = told
    return found


def _answer_mass(model: OpenAIServerModel) -> float:
    """Return the probability of the two letters together."""
    question = [("user", letters_question(*_QUESTION))]
    scores = model.choice_log_probabilities([question], LETTERS, prefix=ANSWER_BEGINNING)
    mass = float(np.exp(scores).sum())
    if mass >= ANSWER_MASS_FLOOR:
        return mass
    likely = ", ".join(
        f"{token!r} ({np.exp(log):.2f})"
        for token, log in list(model.next_tokens(question, ANSWER_BEGINNING).items())[:5]
    )
    raise ConsultationError(
        f"{model.url}: asked a plain question whose answer begins with {ANSWER_BEGINNING!r}, the model {model.model} "
        f"goes on with A or B with a probability of {mass:.3f}; below {ANSWER_MASS_FLOOR} no answer counts. Likeliest "
        f"are: {likely}. Either the server does not go on with a turn that was begun (`continue_final_message`), or "
        f"the model thinks first ({_NO_THINKING}), or it does not follow such questions. Nothing else was asked."
    )


def _check_thoughts(model: OpenAIServerModel, new_tokens: int) -> None:
    question = [("user", reasoning_question(*_QUESTION))]
    (said,) = model.generate([question], new_tokens=new_tokens, temperature=0.0, seed=0)
    if not said.text:
        raise ConsultationError(
            f"{model.url}: asked to think aloud in at most {new_tokens} tokens, the model {model.model} says nothing; "
            f"it thinks where nobody reads it ({_NO_THINKING}). Or raise feedback.reasoning.new_tokens, or use the "
            "feedback method `letters`. Nothing else was asked."
        )
