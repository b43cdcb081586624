"""All stages, and a request file read as the one it names.

Each is what it reads, as fields, and `run`, which calls one method. torch and the libraries on it are imported where
a stage runs, so that the graph, which makes the requests, loads fast.
"""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, TypeAdapter

from ccai_dagster.stages.deliberation import StatementTopicsStage, WrittenNarrativeStage
from ccai_dagster.stages.evaluation import BenchmarksStage, ComparisonStage, ControlResponsesStage, ResponsesStage
from ccai_dagster.stages.feedback import JudgeAnswersStage, PreferencePairsStage, ResponsePairsStage, RevisionsStage
from ccai_dagster.stages.request import StageFolder
from ccai_dagster.stages.training import (
    BaseModelStage,
    DirectPolicyStage,
    FeedbackModelStage,
    PreferenceBalanceStage,
    PreferenceModelStage,
    ReinforcedPolicyStage,
    SupervisedPolicyStage,
)

AnyPolicyStage = Annotated[ReinforcedPolicyStage | DirectPolicyStage, Field(discriminator="method")]
AnyStage = Annotated[
    StatementTopicsStage
    | WrittenNarrativeStage
    | BaseModelStage
    | FeedbackModelStage
    | JudgeAnswersStage
    | RevisionsStage
    | SupervisedPolicyStage
    | ResponsePairsStage
    | PreferencePairsStage
    | PreferenceModelStage
    | PreferenceBalanceStage
    | AnyPolicyStage
    | BenchmarksStage
    | ResponsesStage
    | ComparisonStage
    | ControlResponsesStage,
    Field(discriminator="stage"),
]


def read_request(folder: StageFolder) -> AnyStage:
    """Return the request in a stage's folder, with its tables.

    Raises:
        pydantic.ValidationError: An unknown stage or field, or a missing one.
    """
    request: TypeAdapter[AnyStage] = TypeAdapter(AnyStage)
    return request.validate_json(folder.file.read_text(encoding="utf-8"), context=folder)
