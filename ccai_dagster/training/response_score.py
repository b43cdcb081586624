"""The score of a response: a linear score of what the middle of a model makes of it, averaged over the response.

Belongs here: which layers and tokens a preference model reads. The same states serve the tuned judge
(`response_states`). Layers above the middle are not loaded, trained or saved. From the same labels such a score learns
more than one that reads the last layer at the last token and begins with a head drawn at random, as the libraries have
it; `docs/evaluation.md` has the figures.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ccai_dagster.core.errors import ConsultationError
from ccai_dagster.training.model_source import LOCAL

READS, WHAT = "score_reads", "mean over the response, middle layer"
"""Entry of a preference model's configuration: what its score is read from."""


def lower_half(config: Any) -> Any:
    """Keep only the lower half of the layers in the configuration of a model, and return it."""
    text = config.get_text_config()  # of a model that also sees pictures, the part that reads
    text.num_hidden_layers = max(1, text.num_hidden_layers // 2)
    if kinds := getattr(text, "layer_types", None):
        text.layer_types = kinds[: text.num_hidden_layers]
    return config


def configured(folder: Path) -> Any:
    """Return the configuration to load a model folder with as a preference model.

    Args:
        folder: Of a preference model, or of the language model that one begins with.

    Raises:
        ConsultationError: A preference model that reads something else.
    """
    from transformers import AutoConfig

    config = AutoConfig.from_pretrained(folder, num_labels=1, **LOCAL)
    if getattr(config, READS, None) == WHAT:
        return config
    if any(name.endswith("ForSequenceClassification") for name in config.architectures or []):
        raise ConsultationError(
            f"{folder}: this preference model reads the last token of an exchange, as those of earlier versions did, "
            f"and not the {WHAT}. Materialize `preference_model` again."
        )
    return lower_half(config)


def reading_responses(model: Any) -> Any:
    """Have a model with a score for each token read the mean over the response; its forward takes `response_mask`.

    The mask, shape (exchanges, tokens), is 1 at the tokens of responses. A new head begins with nil and learns from the
    first step on; one drawn at random would have to be unlearnt.
    """
    import torch

    if not hasattr(model.config, READS):
        setattr(model.config, READS, WHAT)
        with torch.no_grad():
            model.score.weight.zero_()
    kind = type(model)

    class ReadsResponses(kind):  # type: ignore[misc, valid-type]
        """Its logits, shape (exchanges, 1), are means over responses of the scores of single tokens."""

        def forward(self, *args: Any, response_mask: Any, **kwargs: Any) -> Any:
            scores: list[Any] = []
            heard = self.score.register_forward_hook(lambda module, inputs, output: scores.append(output))
            try:
                outputs = super().forward(*args, **kwargs)
            finally:
                heard.remove()
            mask = response_mask[..., None].to(scores[0].dtype)
            outputs.logits = (scores[0] * mask).sum(1) / mask.sum(1).clamp(min=1)  # nil where nothing was said
            return outputs

    ReadsResponses.__name__ = kind.__name__  # which the configuration keeps
    model.__class__ = ReadsResponses
    return model


def response_mask(attention_mask: Any, begins: Sequence[int], end: int) -> Any:
    """Return 1 at the tokens of each response, and 0 at prompts, ends of turns and padding.

    Every turn ends alike, so comparisons teach nothing of what its end is worth, and the shorter a response, the more
    would its end count: a policy would learn to break off.

    Args:
        attention_mask: 1 where there is a token, shape (exchanges, tokens); padding is on the right.
        begins: At which place each response begins.
        end: How many tokens end a turn (`comparisons.end_of_turn`).
    """
    import torch

    places = torch.arange(attention_mask.shape[1], device=attention_mask.device)
    begun = places >= torch.tensor(begins, device=places.device)[:, None]
    return attention_mask * begun * (places < attention_mask.sum(1, keepdim=True) - end)
