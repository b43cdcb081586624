"""Weights of a model that only reads, laid out once as this processor multiplies them.

oneDNN, which multiplies matrices of bfloat16 on a CPU, wants the weights of a layer in blocks of its own and moves
them there at each call. With the few rows of a decoding step that takes about as long as the product (16 rows of the
embedded model, a layer of 576 x 576: 229 microseconds, and 92 in blocks). Products agree within the rounding of
bfloat16; every response of the embedded model stayed as it was.

Doesn't belong here: models that are trained; a packed layer has no gradient.
"""

from __future__ import annotations

import torch


class PackedLinear(torch.nn.Module):
    """A linear layer whose weights are in blocks.

    Attributes:
        weight: Laid out as those of `torch.nn.Linear`, anew at each look, so that they are not held twice.
        bias: As there.
    """

    def __init__(self, layer: torch.nn.Linear, rows: int) -> None:
        super().__init__()
        self._weights: torch.Tensor = torch.ops.mkldnn._reorder_linear_weight(layer.weight.detach(), rows)
        self.bias = layer.bias

    @property
    def weight(self) -> torch.Tensor:
        """The weights in rows, of shape (features out, features in)."""
        return self._weights.to_dense()

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        """Return the product, of shape (..., features), as `torch.nn.Linear` does."""
        product: torch.Tensor = torch.ops.mkldnn._linear_pointwise(inputs, self._weights, self.bias, "none", [], "")
        return product


def pack_weights(model: torch.nn.Module, rows: int) -> None:
    """Replace every linear layer in bfloat16 by a packed one; other layers, and the weights of embeddings, stay.

    Args:
        rows: How many rows are multiplied at once in most calls; any number can be.
    """
    for name, layer in list(model.named_modules()):
        # A class derived from it may read its weights in a way of its own.
        if type(layer) is torch.nn.Linear and layer.weight.dtype == torch.bfloat16:
            model.set_submodule(name, PackedLinear(layer, rows))
