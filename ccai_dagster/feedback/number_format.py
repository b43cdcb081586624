"""Which number format a model is computed in, wherever its weights are saved in bfloat16."""

from __future__ import annotations


def computing_format(saved: str) -> str:
    """Return the format to load weights in: the saved one, unless this processor is slow in it.

    A CPU multiplies matrices of bfloat16 faster than of float32 only with tile instructions (AMX); with the
    vector instructions before them it takes about twice as long (measured: 151 against 279 GFLOP/s on two
    cores). Every bfloat16 is a float32, so nothing is lost by the wider format.

    Args:
        saved: `bfloat16` or `float32`.
    """
    import torch

    if (
        saved == "bfloat16"
        and not torch.cuda.is_available()
        and not torch.cpu.get_capabilities().get("amx_bf16")
    ):
        return "float32"
    return saved
