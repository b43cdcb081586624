"""Tests of how likely a model in training finds the tokens it learns from."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from ccai_dagster.training.labelled_tokens import project_labelled_only
from ccai_dagster.training.model_folder import load_model, load_tokenizer
from ccai_dagster.training.trainer import adapter

pytestmark = pytest.mark.torch


@pytest.fixture
def model(tiny_model: Path) -> Any:
    """With an adapter and, as a trainer leaves it, a head that scores labels."""
    import torch
    from peft import get_peft_model
    from trl.trainer.utils import add_fused_lm_head

    base = load_model(tiny_model)
    add_fused_lm_head(base, temperature=0.5, outputs=("log_probs", "entropy", "is_top1"))
    torch.manual_seed(1)
    return get_peft_model(base, adapter(4)).eval()


@pytest.fixture
def inputs(tiny_model: Path) -> dict[str, Any]:
    """Two texts of unlike length, in which the last three and the last five tokens are learnt."""
    tokens = load_tokenizer(tiny_model)(
        ["Why? Because.", "Who is fair? Everybody is."], padding=True, padding_side="right", return_tensors="pt"
    )
    labels = tokens.input_ids.clone().fill_(-100)
    for row, (length, learnt) in enumerate(zip(tokens.attention_mask.sum(1).tolist(), (3, 5), strict=True)):
        labels[row, length - learnt : length] = tokens.input_ids[row, length - learnt : length]
    return {"input_ids": tokens.input_ids, "attention_mask": tokens.attention_mask, "labels": labels}


def gradients(model: Any, loss: Any) -> list[Any]:
    model.zero_grad()
    loss.backward()
    return [each.grad.clone() for each in model.parameters() if each.requires_grad]


def test_labelled_tokens_are_scored_as_by_the_trainers_head_and_nothing_else_is_projected(
    model: Any, inputs: dict[str, Any]
) -> None:
    import torch

    expected = model(**inputs, fused_lm_head=True)
    wanted = gradients(model, expected.log_probs.square().sum())
    seen: list[tuple[int, ...]] = []
    model.get_output_embeddings().register_forward_hook(lambda _, __, output: seen.append(tuple(output.shape)))
    project_labelled_only(model, temperature=0.5)
    found = model(**inputs, fused_lm_head=True)
    assert [shape[0] for shape in seen] == [8]
    for name in ("log_probs", "entropy"):
        assert torch.allclose(getattr(found, name), getattr(expected, name), atol=1e-5), name
    for name in ("is_top1", "label_mask"):
        assert torch.equal(getattr(found, name), getattr(expected, name)), name
    assert found.log_probs.requires_grad and not found.entropy.requires_grad and found.aux_loss is None
    own = gradients(model, found.log_probs.square().sum())
    assert max(each.abs().max().item() for each in wanted) > 1
    assert all(torch.allclose(first, second, rtol=1e-4, atol=1e-3) for first, second in zip(own, wanted, strict=True))


SIZES = {
    **{"vocab_size": 60, "hidden_size": 32, "intermediate_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4},
    **{"num_key_value_heads": 2, "head_dim": 8, "initializer_range": 0.3, "pad_token_id": 0},
    **{"bos_token_id": 1, "eos_token_id": 2},
}
HEADS: dict[str, tuple[str, dict[str, Any]]] = {
    "with a bias": ("PhiConfig", {}),
    "soft cap": ("Gemma2Config", {"final_logit_softcapping": 3.0, "sliding_window": 8}),
    "scaled": ("CohereConfig", {"logit_scale": 0.3}),
    "divided": ("GraniteConfig", {"logits_scaling": 4.0}),
    "experts in balance": ("MixtralConfig", {"num_local_experts": 4, "output_router_logits": True}),
}


@pytest.mark.parametrize("kind", HEADS)
def test_heads_of_other_families_are_scored_as_by_the_trainers_head(kind: str) -> None:
    import torch
    import transformers
    from peft import get_peft_model
    from trl.trainer.utils import add_fused_lm_head

    name, options = HEADS[kind]
    torch.manual_seed(1)
    base = transformers.AutoModelForCausalLM.from_config(getattr(transformers, name)(**SIZES, **options)).eval()
    if base.lm_head.bias is not None:
        torch.nn.init.normal_(base.lm_head.bias)
    add_fused_lm_head(base, outputs=("log_probs", "entropy", "is_top1"))
    model = get_peft_model(base, adapter(2)).eval()
    tokens = torch.randint(3, 60, (3, 9))
    labels = tokens.clone()
    labels[:, :4] = labels[2] = -100
    given = {"input_ids": tokens, "attention_mask": torch.ones_like(tokens), "labels": labels}

    def found() -> tuple[Any, list[Any]]:
        output = model(**given, fused_lm_head=True)
        balance = 0 if output.aux_loss is None else output.aux_loss
        return output, gradients(model, output.log_probs.sum() + balance)

    expected, wanted = found()
    project_labelled_only(model)
    own, gained = found()
    assert torch.allclose(own.log_probs, expected.log_probs, atol=1e-5)
    assert torch.allclose(own.entropy, expected.entropy, atol=1e-5)
    assert (own.aux_loss is None) == (kind != "experts in balance")
    assert own.aux_loss == expected.aux_loss
    assert all(torch.allclose(one, other, rtol=1e-4, atol=1e-4) for one, other in zip(gained, wanted, strict=True))


def test_without_a_label_nothing_is_learnt_and_nothing_fails(model: Any, inputs: dict[str, Any]) -> None:
    project_labelled_only(model)
    found = model(**{**inputs, "labels": inputs["labels"].fill_(-100)}, fused_lm_head=True)
    assert not any(gradient.any() for gradient in gradients(model, found.log_probs.sum()))


def test_a_model_called_without_labels_answers_as_before(model: Any, inputs: dict[str, Any]) -> None:
    import torch

    asked = {name: inputs[name][:1] for name in ("input_ids", "attention_mask")}
    logits, said = model(**asked).logits, model.generate(**asked, max_new_tokens=3, do_sample=False)
    project_labelled_only(model)
    assert torch.equal(model(**asked).logits, logits)
    assert torch.equal(model.generate(**asked, max_new_tokens=3, do_sample=False), said)
