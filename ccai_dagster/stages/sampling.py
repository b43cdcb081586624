"""A server that writes a model's texts in the place of this process: proven first to hold that model.

What a server calls a model may be another one: the base model, that of another arm, the one before the last training,
or the same with fewer bits. So it answers a few prompts greedily and tells how likely it found each token, and the
model in this process says how likely it finds the same texts. Texts alone would prove little, since models that
learnt little say the same; and two right ones may part at a token that is as likely as another.

Servers also leave unlikely tokens out unless told not to, and some cannot be told. What they write at a high
temperature is then likelier, to the model itself, than what this process writes.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from ccai_dagster.consultation.settings import ModelSettings, ServedModel
from ccai_dagster.core.errors import ConsultationError, Progress
from ccai_dagster.feedback.critique import few_shot_turns
from ccai_dagster.feedback.language_model import Conversation, LanguageModel, texts_of
from ccai_dagster.stages.server_model import KeptLines, OpenAIServerModel
from ccai_dagster.stages.transformers_model import TransformersModel
from ccai_dagster.training.chat_template import HUMAN, is_untaught
from ccai_dagster.training.model_folder import load_tokenizer

BOUND = 0.02
"""Nats a token, mean over the answers. The embedded model in bfloat16 and in float32 differs by 0.01, two arms of it
after four steps of training by 0.03 to 0.04, and either from the untrained model by 0.16 to 0.32."""
PROBES, PROBE_TOKENS = 12, 16
"""Prompts that are answered for the proof, and tokens of each answer."""
HIGH, LIKELIER = 2.0, 2.0
"""A temperature, and nats a token by which what a server writes at it may be likelier. A llama.cpp server with the
embedded model: 0.8; with the defaults of any of its limits 6 to 10."""
WHOLE_DISTRIBUTION = {"top_p": 1.0, "top_k": -1, "min_p": 0.0, "repetition_penalty": 1.0}
"""Fields of every request: servers leave unlikely tokens out by default, or as a model's configuration says."""


def sampling_server(
    served: ServedModel,
    place: Path,
    model: ModelSettings,
    prompts: Sequence[str],
    kept: KeptLines | None,
    progress: Progress,
) -> tuple[OpenAIServerModel, dict[str, str]]:
    """Return the model behind a server that is to write texts, once it is proven to be the one in a folder.

    Args:
        served: The server.
        place: Folder of the model, which is loaded for the proof and let go.
        model: Its number format and context.
        prompts: What is going to be asked; the shortest are taken for the proof.
        kept: Where answers are kept; None keeps none.
        progress: Counts answers that were compared.

    Returns:
        The model, and how it was proven, for the record.

    Raises:
        ConsultationError: The server cannot be reached, or doesn't hold the model; names the setting and the folder.
    """
    asked = asked_server(served)
    texts = sorted(set(prompts), key=lambda text: (len(text), text))[:PROBES]
    probes: list[Conversation] = [[("user", text)] for text in texts]
    probes.append([*few_shot_turns(1), *probes[0]])
    try:
        here = TransformersModel(place, model.dtype, len(probes), model.context_tokens)
        proof = f"{proven(asked, here, probes, progress)}; {with_unlikely_tokens(asked, here, probes)}"
    except ConsultationError as error:
        raise ConsultationError(
            f"{asked.setting}: {error} It has to serve the model in {place}, with the chat template in that folder."
        ) from error
    # A model without a chat template of its own goes on and speaks for the user as well.
    stops = [HUMAN] if is_untaught(load_tokenizer(place)) else []
    return asked_server(served, stops, kept), {
        f"{served.name} written by": asked.name,
        f"{served.name} proven by": proof,
    }


def asked_server(served: ServedModel, stops: Sequence[str] = (), kept: KeptLines | None = None) -> OpenAIServerModel:
    """Return the model behind a server, asked for its whole distribution; whether it is the one is for a proof.

    Args:
        served: The server.
        stops: Texts that end an answer, beside the end of the turn.
        kept: Where answers are kept; None keeps none.
    """
    own = {"stop": list(stops)} if stops else {}
    arguments = own | WHOLE_DISTRIBUTION | served.server.arguments
    settings = served.server.model_copy(update={"arguments": arguments})
    setting = f"sampling.{served.name}"
    return OpenAIServerModel(served.server_url, served.server_model, settings, kept=kept, setting=setting)


def proven(server: OpenAIServerModel, here: LanguageModel, probes: Sequence[Conversation], progress: Progress) -> str:
    """Compare the server's model with one in this process.

    Args:
        server: Answers greedily and tells the log-probability of each token.
        here: Says how likely it finds the same answers.
        probes: What is answered.
        progress: Counts answers that were compared.

    Returns:
        What was compared and how far they differ, in a sentence.

    Raises:
        ConsultationError: They differ by more than `BOUND`, or half of the answers could not be compared, because
            their tokens are others.
    """
    differences: list[float] = []
    for conversation, (text, logs) in zip(
        probes, server.client.answers(len(probes), lambda at: server.spoken(probes[at], PROBE_TOKENS)), strict=True
    ):
        likelihood, tokens = _likelihood(here, conversation, text)
        # The end of the turn may be told as a token, too, and is none of the text.
        if tokens and len(logs) - tokens in (0, 1):
            differences.append(abs(sum(logs[: int(tokens)]) - likelihood) / tokens)
        progress("answers of the server compared", len(differences), len(probes))
    if 2 * len(differences) <= len(probes):
        raise ConsultationError(
            f"{server.name}: only {len(differences)} of {len(probes)} answers have the tokens that they have in this "
            "process, so it could not be proven that the server holds this model."
        )
    mean = float(np.mean(differences))
    found = f"{len(differences)} answers, which differ from this process by {mean:.4f} nats a token (bound {BOUND})"
    if mean > BOUND:
        raise ConsultationError(f"{server.name} holds another model: {found}.")
    return found


def with_unlikely_tokens(server: OpenAIServerModel, here: LanguageModel, probes: Sequence[Conversation]) -> str:
    """Hold what a server writes at a high temperature against what this process does.

    Returns:
        How they differ, in a sentence.

    Raises:
        ConsultationError: It leaves unlikely tokens out.
    """
    here_said = here.generate(probes, new_tokens=PROBE_TOKENS, temperature=HIGH, seed=0, strip=False)
    there_said = server.client.answers(
        len(probes), lambda at: server.spoken(probes[at], PROBE_TOKENS, temperature=HIGH, seed=at)[0]
    )
    likelier = _mean_likelihood(here, probes, list(there_said)) - _mean_likelihood(here, probes, texts_of(here_said))
    found = (
        f"what it writes at a temperature of {HIGH:g} is likelier than what this process does by {likelier:.1f} nats a "
        f"token (bound {LIKELIER:g})"
    )
    if likelier > LIKELIER:
        raise ConsultationError(
            f"{server.name} leaves unlikely tokens out: {found}. It was asked with "
            f"{dict(server.settings.arguments)}; name what it calls them in {server.setting}.server.arguments, or take "
            "another server."
        )
    return found


def _mean_likelihood(here: LanguageModel, conversations: Sequence[Conversation], texts: Sequence[str]) -> float:
    """Return the mean log-likelihood of a token of these responses, in this process."""
    found = np.array([_likelihood(here, *each) for each in zip(conversations, texts, strict=True)])
    return float(found[:, 0].sum() / max(1.0, found[:, 1].sum()))


def _likelihood(here: LanguageModel, conversation: Conversation, text: str) -> tuple[float, float]:
    """Return the log-likelihood of a response and its tokens; none where they join with those before them."""
    try:
        ((likelihood, tokens),) = here.log_likelihoods([conversation], [text]).tolist()
    except ConsultationError:
        return 0.0, 0.0
    return likelihood, tokens
