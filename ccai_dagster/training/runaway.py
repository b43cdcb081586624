"""When a training has gone wrong: a loss that is no number, a policy that runs away from where it began.

What is checked are the figures a trainer logs at every step, before a checkpoint with them is kept.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from ccai_dagster.errors import ConsultationError
from ccai_dagster.settings import PolicySettings

WINDOW = 5
"""Steps a figure is averaged over: one batch alone is noise."""
NUMBERS = ("loss", "grad_norm", "reward")
KL, LENGTH = "kl", "completions/mean_length"
"""What the trainer of the policy calls the divergence (nats a token) and the length (tokens a response)."""


def check_numbers(log: Mapping[str, Any]) -> None:
    """Stop if the loss, its gradient or the reward of a step is no finite number.

    Args:
        log: What the trainer logged at one step.

    Raises:
        ConsultationError: Names the step, the figure and what usually helps.
    """
    for name in NUMBERS:
        if name in log and (log[name] is None or not math.isfinite(log[name])):
            raise ConsultationError(
                f"Training stopped at step {log.get('step')}: {name} is {log[name]}, which is no finite number, so the "
                "model of this step is of no use and was not kept. Usually the learning rate is too high: lower "
                "`learning_rate` of this stage in consultation.yaml. If it happens at the first step, look for a "
                "model or labels that hold such numbers themselves."
            )


def check_policy(logs: Sequence[Mapping[str, Any]], settings: PolicySettings) -> None:
    """Stop if the policy has left its bounds.

    KL is the mean of the last `WINDOW` steps. Length is the same mean against that of the first `WINDOW`
    steps, once there are more of them.

    Args:
        logs: What the trainer logged, one mapping a step, in order.
        settings: With the limits.

    Raises:
        ConsultationError: Names the step, the figure, its limit and what usually helps.
    """
    steps = [log for log in logs if KL in log or LENGTH in log]
    divergence = [float(log[KL]) for log in steps if log.get(KL) is not None]
    if divergence and (recent := _mean(divergence[-WINDOW:])) > settings.kl_limit:
        raise ConsultationError(
            f"Policy training stopped at step {steps[-1].get('step')}: KL to the supervised policy is {recent:.3g} "
            f"nats a token over the last steps, more than `policy.kl_limit` ({settings.kl_limit:g}). The policy no "
            "longer resembles what it was trained from and is likely to please the preference model only. Raise "
            "`policy.kl_weight` or lower `policy.learning_rate` or `policy.steps` in consultation.yaml."
        )
    lengths = [float(log[LENGTH]) for log in steps if log.get(LENGTH) is not None]
    if len(lengths) <= WINDOW:
        return
    first, last = _mean(lengths[:WINDOW]), _mean(lengths[-WINDOW:])
    if not first / settings.length_limit <= last <= first * settings.length_limit:
        raise ConsultationError(
            f"Policy training stopped at step {steps[-1].get('step')}: responses are {last:.1f} tokens long, at the "
            f"beginning they were {first:.1f}, a change by more than `policy.length_limit` ({settings.length_limit:g} "
            "times). The preference model probably rewards length alone: see its `length_correlation`. Raise "
            "`policy.kl_weight`, or balance the lengths in the comparisons it learns from."
        )


def watch(settings: PolicySettings | None = None) -> Any:
    """Return a trainer callback that makes these checks at every step.

    Args:
        settings: Of the policy; without them numbers are checked only.
    """
    from transformers import TrainerCallback

    class Watch(TrainerCallback):
        def on_log(
            self, args: Any, state: Any, control: Any, logs: dict[str, Any] | None = None, **kwargs: Any
        ) -> None:
            check_numbers({**(logs or {}), "step": state.global_step})
            if settings is not None:
                # The history is restored with a checkpoint, so a training that resumed knows its beginning.
                check_policy(state.log_history, settings)

    return Watch()


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)
