"""Tests of weights that are laid out once as the processor multiplies them."""

from __future__ import annotations

import copy
from typing import Any

import pytest

pytestmark = pytest.mark.torch


@pytest.fixture
def model() -> Any:
    """In bfloat16, with biases, a head that shares the weights of the embedding, and a router in float32."""
    import torch
    from transformers import Qwen2Config, Qwen2ForCausalLM

    if not torch.ops.mkldnn._is_mkldnn_bf16_supported():
        pytest.skip("this processor has no instructions for bfloat16, so nothing is computed in it")
    torch.manual_seed(0)
    sizes = {"hidden_size": 48, "intermediate_size": 80, "num_attention_heads": 4, "num_key_value_heads": 2}
    config = Qwen2Config(vocab_size=300, num_hidden_layers=2, tie_word_embeddings=True, **sizes)
    return Qwen2ForCausalLM(config).to(torch.bfloat16).eval()


@pytest.mark.parametrize("rows", [1, 16, 70])
def test_a_packed_model_computes_the_same(model: Any, rows: int) -> None:
    import torch

    from ccai_dagster.stages.packed_weights import pack_weights

    packed = copy.deepcopy(model)
    pack_weights(packed, 16)
    tokens = torch.randint(0, 300, (rows, 5))
    with torch.inference_mode():
        wanted, found = model(tokens).logits, packed(tokens).logits
    assert torch.allclose(found, wanted, rtol=2**-6, atol=2**-6 * float(wanted.abs().max()))


def test_weights_are_held_once_and_what_is_not_in_bfloat16_stays(model: Any) -> None:
    import torch

    from ccai_dagster.stages.packed_weights import PackedLinear, pack_weights

    model.model.layers[0].mlp.gate_proj.float()
    before = copy.deepcopy(model.model.layers[1].self_attn.q_proj)
    pack_weights(model, 16)
    layer = model.model.layers[1].self_attn.q_proj
    assert torch.equal(layer.weight, before.weight) and torch.equal(layer.bias, before.bias)
    kept = [name for name, layer in model.named_modules() if type(layer) is torch.nn.Linear]
    assert kept == ["model.layers.0.mlp.gate_proj"]
    assert sum(isinstance(layer, PackedLinear) for layer in model.modules()) == 2 * 7 - 1 + 1
    matrices = [name for name, weights in model.named_parameters() if weights.dim() == 2]
    assert matrices == ["model.embed_tokens.weight", "model.layers.0.mlp.gate_proj.weight"]
