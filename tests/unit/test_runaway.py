from __future__ import annotations

import math

import pytest

from ccai_dagster.consultation.settings import PolicySettings
from ccai_dagster.core.errors import ConsultationError
from ccai_dagster.training.trainer import check_numbers, check_policy

SETTINGS = PolicySettings(kl_limit=0.5, length_limit=2.0)


def logs(kl: list[float], lengths: list[float]) -> list[dict[str, float]]:
    steps = [
        {"step": at + 1, "kl": divergence, "completions/mean_length": length}
        for at, (divergence, length) in enumerate(zip(kl, lengths, strict=True))
    ]
    return [*steps, {"step": len(steps), "train_loss": 0.1}]


def test_numbers_that_are_none_stop_and_name_the_step() -> None:
    check_numbers({"step": 3, "loss": 0.5, "grad_norm": 1.0, "reward": -2.0})
    check_numbers({"step": 3, "train_loss": math.nan})
    for name, value in (("loss", math.nan), ("grad_norm", math.inf), ("reward", None)):
        with pytest.raises(ConsultationError, match=f"step 3: {name} is {value}"):
            check_numbers({"step": 3, "loss": 0.5, name: value})


def test_divergence_is_the_mean_of_five_steps() -> None:
    lengths = [10.0] * 6
    check_policy([], SETTINGS)
    # One step far out is noise: (4 * 0.1 + 2.1) / 5 is just the limit.
    check_policy(logs([0.0, 0.1, 0.1, 0.1, 0.1, 2.1], lengths), SETTINGS)
    with pytest.raises(ConsultationError, match=r"step 6: KL .* is 0.52 nats .*`policy.kl_limit` \(0.5\)"):
        check_policy(logs([0.0, 0.1, 0.1, 0.1, 0.1, 2.2], lengths), SETTINGS)
    with pytest.raises(ConsultationError, match="step 1: KL"):
        check_policy(logs([0.6], [10.0]), SETTINGS)


def test_length_may_grow_and_shrink_by_the_factor_and_no_more() -> None:
    still = [0.0] * 10
    check_policy(logs(still, [10.0] * 5 + [20.0] * 5), SETTINGS)
    check_policy(logs(still, [10.0] * 5 + [5.0] * 5), SETTINGS)
    check_policy(logs([0.0] * 5, [1.0, 50.0, 1.0, 50.0, 1.0]), SETTINGS)
    with pytest.raises(ConsultationError, match=r"step 10: responses are 20.2 .* they were 10.0"):
        check_policy(logs(still, [10.0] * 5 + [20.2] * 5), SETTINGS)
    with pytest.raises(ConsultationError, match=r"responses are 4\.9 tokens"):
        check_policy(logs(still, [10.0] * 5 + [4.9] * 5), SETTINGS)
