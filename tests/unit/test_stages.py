"""Every stage is read from its request file as it was written, and from nothing else."""

from __future__ import annotations

import inspect
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import polars as pl
import pytest
from pydantic import ValidationError

from ccai_dagster.consultation.folder import EvaluationSet
from ccai_dagster.consultation.settings import (
    DEMO,
    ControlSettings,
    EvaluationSettings,
    FeedbackSettings,
    ModelSettings,
    PairSettings,
    PolicySettings,
    PreferenceModelSettings,
    RevisionSettings,
    SentenceModelSettings,
    SupervisedSettings,
    TunedJudgeSettings,
)
from ccai_dagster.stages.deliberation import StatementTopicsStage, WrittenNarrativeStage
from ccai_dagster.stages.evaluation import BenchmarksStage, ComparisonStage, ControlResponsesStage, ResponsesStage
from ccai_dagster.stages.feedback import JudgeAnswersStage, PreferencePairsStage, ResponsePairsStage, RevisionsStage
from ccai_dagster.stages.request import Stage, StageFolder
from ccai_dagster.stages.stages import read_request
from ccai_dagster.stages.training import (
    BaseModelStage,
    DirectPolicyStage,
    FeedbackModelStage,
    PreferenceBalanceStage,
    PreferenceModelStage,
    ReinforcedPolicyStage,
    SupervisedPolicyStage,
    TriedWeight,
)
from ccai_dagster.stages.worker import BATCH_SETTINGS

REPOSITORY = Path(__file__).parents[2]

MODELS = Path("/models")


def table(name: str) -> pl.DataFrame:
    return pl.DataFrame({"name": [name], "ids": [[1, 2]], "missing": pl.Series([None], dtype=pl.Float64)})


def balance(*chosen: bool) -> PreferenceBalanceStage:
    return PreferenceBalanceStage(
        base_model=MODELS / "b",
        benign_pairs=table("benign"),
        helpfulness_pairs=table("helpful"),
        preference_pairs={"public": table("public"), "standard": table("standard")},
        preference_models={"public": MODELS / "p", "standard": MODELS / "s"},
        metrics={"public": {"held_out_harmlessness_n": 3.0}, "standard": {}},
        weights=[
            TriedWeight(arm="public", harmlessness_weight=0.5 + at, chosen=each, decision_ids=["R1"])
            for at, each in enumerate(chosen)
        ],
        settings=PreferenceModelSettings(),
        seed=7,
    )


def policy() -> ReinforcedPolicyStage:
    return ReinforcedPolicyStage(
        model=ModelSettings(),
        supervised_policy=MODELS / "s",
        preference_model=MODELS / "p",
        prompts=table("held out"),
        training_prompts=["Why?", "How?"],
        settings=PolicySettings(),
        seed=7,
    )


EXAMPLES: list[Stage] = [
    BaseModelStage(model=ModelSettings(), cache=Path("/cache")),
    StatementTopicsStage(sentence_model=SentenceModelSettings(), cache=Path("/cache"), statements=table("statements")),
    WrittenNarrativeStage(server_url="http://127.0.0.1:9", server_model="m", seed=7, narrative=table("narrative")),
    FeedbackModelStage(base_model=MODELS / "b", comparisons={"set": table("set")}, settings=TunedJudgeSettings()),
    JudgeAnswersStage(
        model=ModelSettings(),
        feedback=FeedbackSettings(server_url="http://127.0.0.1:9", server_model="m"),
        base_model=MODELS / "b",
        feedback_model=MODELS / "f",
        comparisons={"set": table("set")},
        seed=7,
        tuned_judge=TunedJudgeSettings(),
        sentence_model=SentenceModelSettings(),
        cache=Path("/cache"),
    ),
    RevisionsStage(
        model=ModelSettings(),
        revising_model=MODELS / "b",
        prompts=table("prompts"),
        constitution=table("constitution"),
        settings=RevisionSettings(),
        seed=7,
    ),
    SupervisedPolicyStage(
        base_model=MODELS / "b",
        revisions=table("revisions"),
        helpfulness_pairs=table("helpful"),
        settings=SupervisedSettings(),
        seed=7,
    ),
    ResponsePairsStage(
        model=ModelSettings(), supervised_policy=MODELS / "s", prompts=table("prompts"), settings=PairSettings(), seed=7
    ),
    PreferencePairsStage(
        model=ModelSettings(),
        feedback=FeedbackSettings(),
        base_model=MODELS / "b",
        feedback_model=None,
        response_pairs=table("pairs"),
        constitution=table("constitution"),
        method="letters",
        judge_at_chance=True,
        principle_weights={"P1": 0.25},
        tuned_judge=TunedJudgeSettings(),
        sentence_model=SentenceModelSettings(),
        cache=Path("/cache"),
        seed=7,
    ),
    PreferenceModelStage(
        base_model=MODELS / "b",
        preference_pairs=table("labelled"),
        helpfulness_pairs=table("helpful"),
        harmlessness_weight=0.5,
        settings=PreferenceModelSettings(),
        seed=7,
    ),
    balance(True, False),
    policy(),
    DirectPolicyStage(
        model=ModelSettings(),
        supervised_policy=MODELS / "s",
        preference_model=MODELS / "p",
        prompts=table("held out"),
        preference_pairs=table("labelled"),
        helpfulness_pairs=table("helpful"),
        harmlessness_weight=0.5,
        preference_settings=PreferenceModelSettings(),
        settings=PolicySettings(),
        seed=7,
    ),
    BenchmarksStage(
        model=ModelSettings(),
        policy=MODELS / "p",
        benchmarks={"sums": EvaluationSet(format="numeric_answer", path=Path("/sums.jsonl"), limit=4)},
        settings=EvaluationSettings(),
        seed=7,
    ),
    ResponsesStage(
        model=ModelSettings(),
        feedback=FeedbackSettings(),
        base_model=MODELS / "b",
        feedback_model=None,
        tuned_judge=TunedJudgeSettings(),
        sentence_model=SentenceModelSettings(),
        cache=Path("/cache"),
        method="letters",
        arm="public",
        policy=MODELS / "p",
        measures=["adherence", "contrast_margins"],
        prompts=table("prompts"),
        qualitative_prompts=table("to read"),
        contrast_pairs=table("contrast"),
        control_statements=table("controls"),
        adherence_examples=None,
        constitutions={"public": table("public"), "standard": table("standard")},
        judge_at_chance=False,
        settings=EvaluationSettings(),
        seed=7,
    ),
    ComparisonStage(
        model=ModelSettings(),
        feedback=FeedbackSettings(),
        base_model=MODELS / "b",
        feedback_model=None,
        tuned_judge=TunedJudgeSettings(),
        sentence_model=SentenceModelSettings(),
        cache=Path("/cache"),
        method="letters",
        policies={"base": MODELS / "b", "public": MODELS / "p"},
        prompts=table("prompts"),
        judge_at_chance=False,
        settings=EvaluationSettings(),
        seed=7,
    ),
    ControlResponsesStage(
        model=ModelSettings(),
        policies={"base": MODELS / "b", "control_plain": MODELS / "p"},
        prompts=table("prompts"),
        settings=ControlSettings(),
        seed=7,
    ),
]
each_stage = pytest.mark.parametrize("stage", EXAMPLES, ids=lambda each: type(each).__name__)


def stages(kind: type[Stage] = Stage) -> Iterator[type[Stage]]:
    for each in kind.__subclasses__():
        yield from () if inspect.isabstract(each) else (each,)
        yield from stages(each)


def test_every_stage_there_is_has_an_example() -> None:
    assert sorted(each.__name__ for each in stages()) == sorted(type(each).__name__ for each in EXAMPLES)


@each_stage
def test_a_stage_is_read_as_it_was_written(stage: Stage, tmp_path: Path) -> None:
    folder = StageFolder(tmp_path / "stage")
    folder.write(stage)
    read = read_request(folder)
    assert type(read) is type(stage)
    # A table is equal where its digest is.
    assert read.model_dump() == stage.model_dump() and read.digest() == stage.digest()
    assert read.tables().keys() == stage.tables().keys()
    assert all(given.equals(read.tables()[name]) for name, given in stage.tables().items())


@each_stage
def test_a_request_with_an_unknown_field_is_refused(stage: Stage, tmp_path: Path) -> None:
    folder = StageFolder(tmp_path)
    folder.write(stage)
    content = json.loads(folder.file.read_text())
    folder.file.write_text(json.dumps(content | {"options": {}}))
    with pytest.raises(ValidationError, match=r"options\n *Extra inputs are not permitted"):
        read_request(folder)


@pytest.mark.parametrize(("change", "told"), [({"stage": "unheard_of"}, "'unheard_of'"), ({"method": "ppo"}, "'ppo'")])
def test_a_request_for_what_there_is_not_is_refused(change: dict[str, str], told: str, tmp_path: Path) -> None:
    folder = StageFolder(tmp_path)
    folder.write(policy())
    folder.file.write_text(json.dumps(json.loads(folder.file.read_text()) | change))
    with pytest.raises(ValidationError, match=told):
        read_request(folder)


def test_a_digest_changes_with_what_is_asked_and_not_with_where_models_are() -> None:
    stage = policy()
    moved = stage.model_copy(update={"supervised_policy": Path("/elsewhere/s")})
    assert moved.digest() == stage.digest()
    for change in (
        {"supervised_policy": MODELS / "other"},
        {"prompts": table("others")},
        {"seed": 8},
        {"settings": PolicySettings(steps=4)},
    ):
        assert stage.model_copy(update=change).digest() != stage.digest()


def test_tables_are_named_by_their_field_and_parameters_are_the_rest() -> None:
    stage = balance(True)
    assert list(stage.tables()) == [
        "benign_pairs",
        "helpfulness_pairs",
        "preference_pairs/public",
        "preference_pairs/standard",
    ]
    assert stage.parameters().keys() == {"seed", "metrics", "weights", "settings"}


def test_trainings_are_shared_by_processes_and_nothing_else_is() -> None:
    shared = {each.stage for each in EXAMPLES if each.distributed}
    assert shared == {"supervised_policy", "preference_model", "preference_balance", "policy"}
    assert not balance(True).distributed


def test_every_stage_that_has_batches_names_a_setting_that_exists() -> None:
    assert set(BATCH_SETTINGS) <= {each.stage for each in EXAMPLES}
    for setting in BATCH_SETTINGS.values():
        group, _, name = setting.partition(".")
        assert name in type(getattr(DEMO, group)).model_fields


def test_why_a_request_cannot_be_read_is_left_beside_it(tmp_path: Path) -> None:
    (tmp_path / "request.json").write_text('{"stage": "no such stage"}')
    command = [sys.executable, "-m", "ccai_dagster.stages.worker", str(tmp_path / "request.json")]
    assert subprocess.run(command, cwd=REPOSITORY).returncode == 1
    assert "no such stage" in (tmp_path / "error.txt").read_text()
