"""The stages that run in the child process, by name: each unpacks a request, calls one method, leaves what it made.

No method lives here. A stage returns figures as JSON; tables and models are files below `request.made`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from ccai_dagster.progress import Progress
from resources.evaluation_stages import comparison, evaluation
from resources.feedback_stages import judge_answers, preference_pairs, response_pairs, revisions
from resources.launcher import StageRequest
from resources.training_stages import (
    base_model,
    feedback_model,
    policy,
    preference_balance,
    preference_model,
    supervised_policy,
)

Stage = Callable[[StageRequest, Progress], dict[str, Any]]

STAGES: Mapping[str, Stage] = {
    stage.__name__: stage
    for stage in (
        base_model,
        feedback_model,
        judge_answers,
        revisions,
        supervised_policy,
        response_pairs,
        preference_pairs,
        preference_model,
        preference_balance,
        policy,
        evaluation,
        comparison,
    )
}
