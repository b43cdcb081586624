"""Constitutional AI's data: the base model, prompts, revisions, pairs of responses, and the model that labels them.

Belongs here: the assets of the group `feedback`. How far the feedback model can be trusted is measured on people's
labels, before it labels anything. Methods are in `ccai_dagster.feedback` and `ccai_dagster.training`, and run in a
process of their own where they need a model (`ccai_dagster.stages`).
Assets: https://docs.dagster.io/guides/build/assets/defining-assets
"""

import json
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import dagster as dg
import polars as pl

from assets import decisions
from assets.table_asset import Checked, Table, markdown_table, require, table_asset
from assets.torch_stage import (
    CUT_OFF,
    POOL,
    Training,
    controlled_everywhere,
    judging,
    measure,
    of_disk,
    only_digest,
    sampled,
    train,
)
from ccai_dagster import contracts
from ccai_dagster.constitution.principles import constitution_digest
from ccai_dagster.consultation.folder import BASE, Consultation
from ccai_dagster.consultation.settings import FeedbackSettings, ModelSettings, SentenceModelSettings, Settings
from ccai_dagster.core.digest import file_digest, table_digest, value_digest
from ccai_dagster.core.home import home_root
from ccai_dagster.decisions.checks import check_training
from ccai_dagster.decisions.values import training_decisions
from ccai_dagster.feedback import critique, judge
from ccai_dagster.feedback import prompt_coverage as coverage
from ccai_dagster.feedback.calibration import calibration_curve, calibration_table, check_feedback_choice
from ccai_dagster.feedback.critique import revision_counts
from ccai_dagster.feedback.judge_accuracy import (
    calibration_version,
    figures_digest,
    judge_at_chance,
    label_distance,
    scored_by,
    told,
)
from ccai_dagster.feedback.language_model import cut_off
from ccai_dagster.feedback.preference_pairs import label_counts
from ccai_dagster.feedback.preference_pairs import principle_weights as weights_by_consensus
from ccai_dagster.feedback.prompts import check_held_out, read_comparisons, read_prompts
from ccai_dagster.stages.feedback import JudgeAnswersStage, PreferencePairsStage, ResponsePairsStage, RevisionsStage
from ccai_dagster.stages.training import BaseModelStage, FeedbackModelStage, SupervisedPolicyStage
from ccai_dagster.training.settings_of_arms import REVISION_MODEL
from ccai_dagster.training.supervised import ordered_ids
from resources.launcher import Launcher
from resources.model_store import ModelStore
from resources.tracking import Tracking

TORCH = {"torch", "huggingface"}
SERVER_VERSION = "2"
"""Raised when the answers of servers are read otherwise: responses are scored in the chat template since 2."""
asset = partial(table_asset, group="feedback", owner="team:model")
torch_asset = partial(asset, kinds=TORCH, pool=POOL)
tracked_asset = partial(torch_asset, kinds=TORCH | {"mlflow"})


def build(consultation: Consultation) -> list[dg.AssetsDefinition]:
    """Make the assets of this stage."""
    file = consultation.file
    paths = [consultation.path(each) for each in (file.prompts, file.themes, file.helpfulness)]
    prompts_path, themes_path, learnt_path = paths

    @asset(
        contracts.PROMPTS,
        kinds={"csv"},
        ins={name: [name, "constitution"] for name in consultation.arms},
        settings=[file_digest(each) for each in paths],
        description="The prompt database, and which principles of each constitution every prompt is relevant to.",
    )
    def prompts(**constitutions: pl.DataFrame) -> Table:
        frame = read_prompts(prompts_path, themes_path, constitutions)
        check_held_out(frame, read_comparisons(learnt_path), learnt_path)
        return Table(
            frame,
            dict(frame["purpose"].value_counts().sort("purpose").iter_rows()),
            # Relevance is only read together with the constitutions, so it is not part of the version: a new
            # public constitution must not retrain the baseline.
            version=table_digest(frame.drop("relevant_principles")),
        )

    @asset(
        contracts.PROMPT_COVERAGE,
        ins={name: [name, "constitution"] for name in consultation.arms},
        # Which prompts are relevant is no part of the prompts' version, so it is looked at again with the themes.
        settings=[file_digest(themes_path)],
        deps=[decisions.ledger_key("training")],
        checks=["every_principle_has_prompts"],
        description="How many prompts of each purpose are relevant to each principle of each constitution.",
    )
    def prompt_coverage(prompts: pl.DataFrame, **constitutions: pl.DataFrame) -> Table:
        settled = training_decisions(decisions.read(consultation, "training"))
        minimum, decision_id = settled.prompt_minimum, settled.decision_ids.get(coverage.SUBJECT)
        frame = coverage.prompt_coverage(prompts, constitutions, minimum)
        return Table(
            frame,
            {
                "principles": frame.height,
                "below the minimum": frame["below_minimum"].sum(),
                "minimum": f"{minimum} ({decision_id or 'not decided'})",
                "fewest prompts": dg.MetadataValue.md(markdown_table(frame.sort("training", "arm").head(20))),
            },
            [
                Checked(
                    "every_principle_has_prompts",
                    coverage.coverage_findings(frame, prompts, minimum, decision_id),
                    warns=True,
                )
            ],
        )

    arms = [each for name in consultation.arms for each in _arm(consultation, name)]
    return [*_judge(consultation), *_untrained_models(consultation), prompts, prompt_coverage, *arms]


def _untrained_models(consultation: Consultation) -> list[dg.AssetsDefinition]:
    """The model that is trained, and where a consultation sets one, the model that writes the revisions."""
    untrained_asset = partial(torch_asset, contracts.MODEL, method="3")
    fetched = "fetched, verified by its SHA-256 and converted once."
    file = consultation.file

    @untrained_asset(
        settings=[file.model, *of_disk(file.model)], description=f"The untrained language model: {fetched}"
    )
    def base_model(context: dg.AssetExecutionContext, launcher: Launcher, models: ModelStore) -> Table:
        return _untrained(context, launcher, models, file.model)

    if (revising := file.revision_model) is None:
        return [base_model]

    @untrained_asset(
        settings=[revising, *of_disk(revising)], description=f"The language model that revises its responses: {fetched}"
    )
    def revision_model(context: dg.AssetExecutionContext, launcher: Launcher, models: ModelStore) -> Table:
        return _untrained(context, launcher, models, revising)

    return [base_model, revision_model]


def _untrained(
    context: dg.AssetExecutionContext, launcher: Launcher, models: ModelStore, settings: ModelSettings
) -> Table:
    result = launcher.run(context, BaseModelStage(model=settings, cache=home_root() / "cache"))
    if not result.folder.model.is_dir():
        raise dg.Failure(f"{settings.source}: the model was not saved")
    digest = models.add(result.folder.model)
    launcher.finish(result)
    # The template is a file of the model, and so part of its digest; its own words are told as well.
    told = settings.model_dump(mode="json") | result.report.provenance
    record = {
        "model_digest": digest,
        "stage": context.asset_key.path[-1],
        "arm": BASE,
        "parent_digest": None,
        "constitution_digest": None,
        "settings_digest": value_digest(told),
        "settings": json.dumps(told, ensure_ascii=False, sort_keys=True),
        "metrics": "{}",
    }
    checks = dg.MetadataValue.md(markdown_table(result.tables["template_checks"]))
    shown = {"source": settings.source, "chat template": checks} | result.report.provenance
    return Table(contracts.MODEL.build([record]), shown, version=digest)


def _judge(consultation: Consultation) -> list[dg.AssetsDefinition]:
    """The model that judges: tuned where that is asked for, and measured on people's labels."""
    file, profile = consultation.file, consultation.profile
    sentence_model = file.sentence_model or SentenceModelSettings()
    likeness = "likeness" in profile.feedback.calibration_methods
    judge_paths = {name: consultation.path(path) for name, path in file.judge_comparisons.items()}
    judge_settings: list[Settings | str | int] = [
        file.seed,
        file.model,
        *(file_digest(path) for path in judge_paths.values()),
    ]

    @tracked_asset(
        contracts.MODEL,
        method="2",
        deps=[decisions.ledger_key("training")],
        settings=[profile.tuned_judge, judge.TUNED_TEMPLATE_VERSION, *judge_settings],
        description="The model that judges: the base model, or where that is asked for, what was learnt from one half "
        "of the labelled comparisons, a score of the base model's states and one of words.",
    )
    def feedback_model(
        context: dg.AssetExecutionContext,
        base_model: pl.DataFrame,
        launcher: Launcher,
        models: ModelStore,
        tracking: Tracking,
    ) -> Table:
        recorded = training_decisions(decisions.read(consultation, "training")).feedback_method
        with_head = recorded == "tuned" or (profile.tuned_judge.calibrate and judge_paths)
        if not with_head and recorded != "words":
            record = base_model.with_columns(stage=pl.lit("feedback_model"))
            return Table(record, {"tuned": False}, version=only_digest(base_model))
        comparisons = {name: read_comparisons(path) for name, path in judge_paths.items()}
        tuning, _ = judge.halves(comparisons, file.seed)
        stage = FeedbackModelStage(
            base_model=models.folder(only_digest(base_model)) if with_head else None,
            comparisons=tuning,
            settings=profile.tuned_judge,
        )
        controlled = controlled_everywhere(consultation) | {"settings": profile.tuned_judge}
        training = Training(stage, arm=BASE, parent=base_model, controlled=controlled)
        return train(context, launcher, models, tracking, training)

    @tracked_asset(
        contracts.JUDGE_ANSWERS,
        settings=[
            profile.feedback,
            profile.tuned_judge,
            judge.TUNED_TEMPLATE_VERSION,
            judge.TEMPLATE_VERSION,
            *judge_settings,
            *([sentence_model, *of_disk(sentence_model)] if likeness else []),
            *asked_of_a_server(profile.feedback),
        ],
        description="What the feedback model answers on labelled comparisons, by every method.",
    )
    def judge_answers(
        context: dg.AssetExecutionContext,
        base_model: pl.DataFrame,
        feedback_model: pl.DataFrame,
        launcher: Launcher,
        models: ModelStore,
        tracking: Tracking,
    ) -> Table:
        comparisons = {name: read_comparisons(path) for name, path in judge_paths.items()}
        if is_tuned(feedback_model):  # every method is measured on what the tuned one has not seen
            _, comparisons = judge.halves(comparisons, file.seed)
        stage = JudgeAnswersStage(
            **judging(consultation),
            base_model=models.folder(only_digest(base_model)),
            feedback_model=tuned_model(models, feedback_model),
            comparisons=comparisons,
            seed=file.seed,
        )
        result, run = measure(context, launcher, tracking, stage, arm="")
        frame = result.tables["judge_answers"]
        unanswered = frame.filter(pl.col("probability_a").is_null()).height
        shown = {"unanswered": unanswered, "mlflow": dg.MetadataValue.url(run.url)}
        return Table(frame, shown | result.report.provenance)

    @asset(
        contracts.JUDGE_CALIBRATION,
        method="2",
        settings=[file.seed],
        deps=[decisions.ledger_key("training")],
        description="How far the feedback model can be trusted: accuracy, biases and calibration, with intervals, and "
        "beside a scorer that never sees the principle; and who scores models.",
    )
    def judge_calibration(judge_answers: pl.DataFrame) -> Table:
        recorded = training_decisions(decisions.read(consultation, "training")).feedback_method
        # The files are part of the version of the answers.
        comparisons = {name: read_comparisons(path) for name, path in judge_paths.items()}
        frame = calibration_table(judge_answers, comparisons, recorded, file.seed)
        accuracies = {
            f"accuracy of {row['method']} on {row['comparison_set']}": f"{row['accuracy']:.3f} "
            f"[{row['accuracy_low']:.3f}, {row['accuracy_high']:.3f}] on {row['n']}"
            f", {told(row)}; {row['blind_scorer']} {row['blind_accuracy']:.3f}"
            for row in frame.iter_rows(named=True)
        }
        cited = {"digest a decision cites": figures_digest(frame), "models are scored by": scored_by(frame)}
        return Table(frame, accuracies | cited, version=calibration_version(frame))

    @asset(
        contracts.JUDGE_CALIBRATION_CURVE,
        description="How confident the feedback model is, and how often people agreed, by bin of confidence.",
    )
    def judge_calibration_curve(judge_answers: pl.DataFrame) -> Table:
        return Table(calibration_curve(judge_answers))

    return [feedback_model, judge_answers, judge_calibration, judge_calibration_curve]


def _arm(consultation: Consultation, name: str) -> list[dg.AssetsDefinition]:
    profile, file = consultation.profile, consultation.file
    signed = [name, "signed_constitution"]
    revising = file.revision_model or file.model
    reviser = "revision_model" if file.revision_model else "base_model"
    served_reviser, served_policy = consultation.served(reviser), consultation.served(f"{name}/supervised_policy")

    @tracked_asset(
        contracts.REVISIONS,
        key_prefix=name,
        method="2",
        settings=[profile.revisions, critique.TEMPLATE_VERSION, revising, file.seed, *sampled(served_reviser)],
        ins={"revising_model": [reviser], "constitution": signed},
        description="Responses criticised and revised under principles of this constitution.",
    )
    def revisions(
        context: dg.AssetExecutionContext,
        revising_model: pl.DataFrame,
        prompts: pl.DataFrame,
        constitution: pl.DataFrame,
        launcher: Launcher,
        models: ModelStore,
        tracking: Tracking,
    ) -> Table:
        stage = RevisionsStage(
            model=revising,
            revising_model=models.folder(only_digest(revising_model)),
            prompts=prompts,
            constitution=constitution,
            settings=profile.revisions,
            sampled_by=served_reviser,
            seed=file.seed,
        )
        result, run = measure(context, launcher, tracking, stage, arm=name)
        frame = result.tables["revisions"]
        first = frame.filter(pl.col("step") == 1)["response_finished"]
        cut = {"first responses": first, "revisions": frame["revision_finished"]}
        shares = {f"{name} {CUT_OFF}": cut_off(each) for name, each in cut.items()}
        shown = {**revision_counts(frame), **shares, **result.report.provenance}
        return Table(frame, {**shown, "mlflow": dg.MetadataValue.url(run.url)})

    @tracked_asset(
        contracts.MODEL,
        key_prefix=name,
        method="3",
        settings=[profile.supervised, file.model, file.seed],
        ins={"revisions": [name, "revisions"], "constitution": signed},
        description="The base model fine-tuned on the revisions and on preferred helpful responses.",
    )
    def supervised_policy(
        context: dg.AssetExecutionContext,
        base_model: pl.DataFrame,
        revisions: pl.DataFrame,
        helpfulness_pairs: pl.DataFrame,
        constitution: pl.DataFrame,
        launcher: Launcher,
        models: ModelStore,
        tracking: Tracking,
    ) -> Table:
        # Only the first responses come before the constitution and must be equal in every arm.
        first = table_digest(revisions.filter(pl.col("step") == 1).select("prompt_id", "prompt", "response"))
        training = Training(
            SupervisedPolicyStage(
                base_model=models.folder(only_digest(base_model)),
                revisions=revisions,
                helpfulness_pairs=helpfulness_pairs,
                settings=profile.supervised,
                seed=file.seed,
            ),
            arm=name,
            parent=base_model,
            controlled=controlled_everywhere(consultation)
            | {
                "settings": profile.supervised,
                "revisions": profile.revisions,
                "critique requests": critique.TEMPLATE_VERSION,
                **({REVISION_MODEL: file.revision_model} if file.revision_model else {}),
                **({"revisions written by a server": served_reviser} if served_reviser else {}),
                "base model": only_digest(base_model),
                "prompts and first responses": first,
                "helpfulness comparisons": table_digest(helpfulness_pairs),
                "data order": value_digest(ordered_ids(revisions, helpfulness_pairs, profile.supervised, file.seed)),
            },
            constitution_digest=constitution_digest(constitution),
        )
        return train(context, launcher, models, tracking, training)

    @tracked_asset(
        contracts.RESPONSE_PAIRS,
        key_prefix=name,
        method="2",
        settings=[profile.pairs, file.model, file.seed, *sampled(served_policy)],
        ins={"supervised_policy": [name, "supervised_policy"]},
        description="Two responses to each prompt, sampled from the supervised policy.",
    )
    def response_pairs(
        context: dg.AssetExecutionContext,
        supervised_policy: pl.DataFrame,
        prompts: pl.DataFrame,
        launcher: Launcher,
        models: ModelStore,
        tracking: Tracking,
    ) -> Table:
        stage = ResponsePairsStage(
            model=file.model,
            supervised_policy=models.folder(only_digest(supervised_policy)),
            prompts=prompts,
            settings=profile.pairs,
            sampled_by=served_policy,
            seed=file.seed,
        )
        return sampled_pairs(context, launcher, tracking, stage, arm=name)

    @asset(
        contracts.PRINCIPLE_WEIGHTS,
        key_prefix=name,
        # What is signed off is the text; new votes change the consensus on it and leave the constitution as it was.
        ins={"constitution": [name, "constitution"]},
        deps=[dg.AssetKey("selected_statements")],
        description="How often each principle is drawn to judge a pair: in proportion to the consensus on it.",
    )
    def principle_weights(constitution: pl.DataFrame) -> Table:
        frame = weights_by_consensus(constitution, name)
        return Table(frame, {"shares": dg.MetadataValue.md(markdown_table(frame))})

    weighted = consultation.arms[name].principle_weights == "gac"

    @tracked_asset(
        contracts.PREFERENCE_PAIRS,
        key_prefix=name,
        method="3",
        settings=[
            profile.feedback,
            profile.tuned_judge,
            file.model,
            file.seed,
            judge.TEMPLATE_VERSION,
            consultation.arms[name].principle_weights,
            *asked_of_a_server(profile.feedback),
        ],
        ins={"response_pairs": [name, "response_pairs"], "constitution": signed}
        | ({"shares": [name, "principle_weights"]} if weighted else {}),
        deps=[decisions.ledger_key("training")],
        checks=["training_decisions"],
        description="Which response the feedback model prefers under a principle, as a soft label.",
    )
    def preference_pairs(
        context: dg.AssetExecutionContext,
        base_model: pl.DataFrame,
        feedback_model: pl.DataFrame,
        response_pairs: pl.DataFrame,
        constitution: pl.DataFrame,
        judge_calibration: pl.DataFrame,
        launcher: Launcher,
        models: ModelStore,
        tracking: Tracking,
        **drawn: pl.DataFrame,
    ) -> Table:
        ledger = decisions.read(consultation, "training")
        method = training_decisions(ledger).feedback_method
        at_chance = judge_at_chance(method, judge_calibration)
        findings = [*check_training(ledger), *check_feedback_choice(ledger, judge_calibration)]
        found = require(Checked("training_decisions", findings))
        stage = PreferencePairsStage(
            **judging(consultation),
            base_model=models.folder(only_digest(base_model)),
            feedback_model=tuned_model(models, feedback_model),
            response_pairs=response_pairs,
            constitution=constitution,
            method=method,
            judge_at_chance=at_chance,
            principle_weights=shares_by_id(drawn.get("shares")),
            seed=file.seed,
        )
        told = {
            "principles drawn": consultation.arms[name].principle_weights,
            "feedback model not shown to be better than chance": at_chance,
        }
        return labelled_pairs(context, launcher, tracking, stage, name, told, found)

    made = [revisions, supervised_policy, response_pairs, preference_pairs]
    return [*made, principle_weights] if weighted else made


def sampled_pairs(
    context: dg.AssetExecutionContext, launcher: Launcher, tracking: Tracking, stage: ResponsePairsStage, arm: str
) -> Table:
    """Sample pairs of responses, and tell how many responses were cut off."""
    result, run = measure(context, launcher, tracking, stage, arm=arm)
    frame = result.tables["response_pairs"]
    cut = cut_off([*frame["finished_a"], *frame["finished_b"]])
    shown = {CUT_OFF: cut, **result.report.provenance}
    return Table(frame, {**shown, "mlflow": dg.MetadataValue.url(run.url)})


def labelled_pairs(
    context: dg.AssetExecutionContext,
    launcher: Launcher,
    tracking: Tracking,
    stage: PreferencePairsStage,
    arm: str,
    told: Mapping[str, Any] | None = None,
    checks: Sequence[Checked] = (),
) -> Table:
    """Label pairs of responses, and tell what the labels are like.

    Args:
        told: What else is worth looking at.
        checks: Beside the contract.
    """
    result, run = measure(context, launcher, tracking, stage, arm=arm)
    frame = result.tables["preference_pairs"]
    distance = label_distance(frame.filter(status="labelled"))
    shown = {**label_counts(frame), "mean distance of the labels from one half": distance, **(told or {})}
    mlflow = {"mlflow": dg.MetadataValue.url(run.url)}
    return Table(frame, shown | result.report.provenance | mlflow, checks)


def asked_of_a_server(feedback: FeedbackSettings) -> list[str]:
    """Return the version of how a server's answers are read, for code versions; empty where none is asked."""
    return [SERVER_VERSION] if feedback.server_url else []


def is_tuned(feedback_model: pl.DataFrame) -> bool:
    """Tell whether the feedback model was trained, or is the base model itself."""
    return feedback_model["parent_digest"].item() is not None


def tuned_model(models: ModelStore, feedback_model: pl.DataFrame) -> Path | None:
    """Return the folder of the feedback model that was tuned, or None if it is the base model."""
    return models.folder(only_digest(feedback_model)) if is_tuned(feedback_model) else None


def shares_by_id(shares: pl.DataFrame | None) -> dict[str, float] | None:
    """Return how often each principle is drawn, from PRINCIPLE_WEIGHTS; None where all are drawn alike."""
    return None if shares is None else dict(shares.select("principle_id", "share").iter_rows())
