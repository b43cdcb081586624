"""The positive control: two arms whose judge is a rule of known taste, trained and measured like every arm.

Belongs here: the assets of the group `positive_control`, if the consultation asks for it. Response pairs are sampled
from the untrained model, once for both arms; labels and training are those of every arm (`assets.feedback`,
`assets.training`), with a rule in the place of the feedback model. Methods are in `ccai_dagster.evaluation.control` and
`ccai_dagster.feedback.rules`.
Assets: https://docs.dagster.io/guides/build/assets/defining-assets
"""

from functools import partial

import dagster as dg
import polars as pl

from assets.feedback import labelled_pairs, sampled_pairs
from assets.table_asset import Checked, Table, markdown_table, table_asset
from assets.torch_stage import POOL, Training, controlled_everywhere, judging, measure, only_digest, train
from ccai_dagster import contracts
from ccai_dagster.constitution.principles import constitution_digest
from ccai_dagster.consultation.folder import BASE, CONTROL_ARMS, Consultation
from ccai_dagster.consultation.settings import PreferenceModelSettings
from ccai_dagster.core.digest import table_digest, value_digest
from ccai_dagster.evaluation.control import TRAINED_ON, control_constitution, control_findings, with_purpose
from ccai_dagster.evaluation.control import control_scores as scores_of
from ccai_dagster.feedback import judge
from ccai_dagster.feedback.rules import RULES_VERSION
from ccai_dagster.stages.evaluation import ControlResponsesStage
from ccai_dagster.stages.feedback import PreferencePairsStage, ResponsePairsStage
from ccai_dagster.stages.training import DirectPolicyStage
from ccai_dagster.training.settings_of_arms import POLICY_METHOD
from resources.launcher import Launcher
from resources.model_store import ModelStore
from resources.tracking import Tracking

asset = partial(table_asset, group="positive_control", owner="team:evaluation")
tracked_asset = partial(asset, kinds={"torch", "huggingface", "mlflow"}, pool=POOL)


def build(consultation: Consultation) -> list[dg.AssetsDefinition]:
    """Make the assets of this stage; none if the consultation does not ask for the control."""
    if not consultation.file.control:
        return []
    shared = [_response_pairs(consultation), _responses(consultation), _scores(consultation)]
    return [*shared, *(each for arm in CONTROL_ARMS for each in _arm(consultation, arm))]


def _response_pairs(consultation: Consultation) -> dg.AssetsDefinition:
    file, settings = consultation.file, consultation.profile.control

    @tracked_asset(
        contracts.RESPONSE_PAIRS,
        settings=[settings.pairs, file.model, file.seed],
        description="Two responses to each prompt, sampled from the untrained model: for both arms of the control.",
    )
    def control_response_pairs(
        context: dg.AssetExecutionContext,
        base_model: pl.DataFrame,
        prompts: pl.DataFrame,
        launcher: Launcher,
        models: ModelStore,
        tracking: Tracking,
    ) -> Table:
        stage = ResponsePairsStage(
            model=file.model,
            supervised_policy=models.folder(only_digest(base_model)),
            prompts=with_purpose(prompts, TRAINED_ON, "preference"),
            settings=settings.pairs,
            seed=file.seed,
        )
        return sampled_pairs(context, launcher, tracking, stage, arm="")

    return control_response_pairs


def _arm(consultation: Consultation, name: str) -> list[dg.AssetsDefinition]:
    file, settings = consultation.file, consultation.profile.control
    learnt = PreferenceModelSettings(held_out_share=settings.held_out_share, max_tokens=settings.max_tokens)
    constitution = control_constitution(name)

    @tracked_asset(
        contracts.PREFERENCE_PAIRS,
        key_prefix=name,
        settings=[RULES_VERSION, judge.TUNED_TEMPLATE_VERSION, file.seed],
        ins={"response_pairs": ["control_response_pairs"]},
        description="Which response the rule of this arm of the control prefers, as a soft label.",
    )
    def preference_pairs(
        context: dg.AssetExecutionContext,
        base_model: pl.DataFrame,
        response_pairs: pl.DataFrame,
        launcher: Launcher,
        models: ModelStore,
        tracking: Tracking,
    ) -> Table:
        stage = PreferencePairsStage(
            **judging(consultation),
            base_model=models.folder(only_digest(base_model)),
            feedback_model=None,
            response_pairs=response_pairs,
            constitution=constitution,
            method="rules",
            judge_at_chance=False,
            principle_weights=None,
            seed=file.seed,
        )
        return labelled_pairs(context, launcher, tracking, stage, name)

    @tracked_asset(
        contracts.MODEL,
        key_prefix=name,
        settings=[settings.policy, file.model, file.seed, str(settings.held_out_share), settings.max_tokens],
        ins={"preference_pairs": [name, "preference_pairs"]},
        description="The untrained model after training on the labels of this arm's rule, by direct preferences.",
    )
    def policy(
        context: dg.AssetExecutionContext,
        base_model: pl.DataFrame,
        preference_pairs: pl.DataFrame,
        launcher: Launcher,
        models: ModelStore,
        tracking: Tracking,
    ) -> Table:
        training = Training(
            DirectPolicyStage(
                model=file.model,
                supervised_policy=models.folder(only_digest(base_model)),
                preference_model=None,
                prompts=contracts.PROMPTS.empty(),
                preference_pairs=preference_pairs,
                helpfulness_pairs=contracts.HELPFULNESS_PAIRS.empty(),
                harmlessness_weight=1.0,
                preference_settings=learnt,
                settings=settings.policy,
                seed=file.seed,
            ),
            arm=name,
            parent=base_model,
            controlled=controlled_everywhere(consultation)
            | {
                "settings": settings.policy,
                POLICY_METHOD: "dpo",
                "pairs": settings.pairs,
                "comparisons": learnt,
                "pairs and prompts": table_digest(preference_pairs.select("pair_id", "prompt_id", "prompt")),
            },
            constitution_digest=constitution_digest(constitution),
            judge_at_chance=False,
        )
        return train(context, launcher, models, tracking, training)

    return [preference_pairs, policy]


def _responses(consultation: Consultation) -> dg.AssetsDefinition:
    file, settings = consultation.file, consultation.profile.control
    asked = settings.model_dump(
        mode="json", include={"held_out_prompts", "samples", "new_tokens", "temperature", "batch_size"}
    )

    @tracked_asset(
        contracts.CONTROL_RESPONSES,
        method="2",
        settings=[value_digest(asked), file.model, file.seed],
        ins={arm: [arm, "policy"] for arm in CONTROL_ARMS},
        description="What the untrained model and both arms of the control respond to prompts none was trained on.",
    )
    def control_responses(
        context: dg.AssetExecutionContext,
        base_model: pl.DataFrame,
        prompts: pl.DataFrame,
        launcher: Launcher,
        models: ModelStore,
        tracking: Tracking,
        **records: pl.DataFrame,
    ) -> Table:
        stage = ControlResponsesStage(
            model=file.model,
            policies={arm: models.folder(only_digest(record)) for arm, record in {BASE: base_model, **records}.items()},
            prompts=prompts,
            settings=settings,
            seed=file.seed,
        )
        result, run = measure(context, launcher, tracking, stage, arm="")
        return Table(result.tables["control_responses"], {"mlflow": dg.MetadataValue.url(run.url)})

    return control_responses


def _scores(consultation: Consultation) -> dg.AssetsDefinition:
    bootstraps, seed = consultation.profile.evaluation.bootstraps, consultation.file.seed

    @asset(
        contracts.CONTROL_SCORES,
        settings=[bootstraps, seed, RULES_VERSION],
        checks=["training_follows_the_judge"],
        description="Whether either arm of the control moved as its rule prefers, and what else moved, with intervals.",
    )
    def control_scores(control_responses: pl.DataFrame) -> Table:
        frame = scores_of(control_responses, bootstraps, seed)
        return Table(
            frame,
            {"scores": dg.MetadataValue.md(markdown_table(frame))},
            [Checked("training_follows_the_judge", control_findings(frame), warns=True)],
        )

    return control_scores
