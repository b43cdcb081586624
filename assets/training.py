"""Preference model and policy of each arm, what they learn from, whether the arms were trained alike, and their cards.

Belongs here: the assets of the group `training`. The base model and the supervised policy are in `assets.feedback`,
because feedback is given on what they respond. Their methods are in `ccai_dagster.training` and run in a process of
their own (`ccai_dagster.stages`).
Assets: https://docs.dagster.io/guides/build/assets/defining-assets
"""

import json
from functools import partial

import dagster as dg
import polars as pl

from assets import decisions
from assets.table_asset import Checked, Table, markdown_table, of_arms, table_asset
from assets.torch_stage import POOL, Training, controlled_everywhere, measure, only_digest, rests_on_chance, train
from ccai_dagster import contracts
from ccai_dagster.constitution.principles import constitution_digest
from ccai_dagster.consultation.folder import Consultation
from ccai_dagster.core.digest import file_digest, table_digest, value_digest
from ccai_dagster.decisions.values import training_decisions
from ccai_dagster.evaluation.sets.formats import OVER_REFUSAL_FORMATS, safe_prompts
from ccai_dagster.feedback.judge_accuracy import measured_at_chance
from ccai_dagster.feedback.prompts import read_comparisons
from ccai_dagster.stages.training import (
    DirectPolicyStage,
    PolicyStage,
    PreferenceBalanceStage,
    PreferenceModelStage,
    ReinforcedPolicyStage,
    TriedWeight,
)
from ccai_dagster.training.comparisons import comparisons, ordered_ids
from ccai_dagster.training.direct_preference import pairs_a_step
from ccai_dagster.training.model_card import model_card
from ccai_dagster.training.policy import policy_order, training_prompts
from ccai_dagster.training.preference_balance import read_benign_pairs
from ccai_dagster.training.settings_of_arms import (
    POLICY_METHOD,
    WEIGHTS,
    comparable_digest,
    difference_findings,
    settings_table,
)
from resources.launcher import Launcher
from resources.model_store import ModelStore
from resources.tracking import Tracking, alias_of

asset = partial(table_asset, group="training", owner="team:model")


def build(consultation: Consultation) -> list[dg.AssetsDefinition]:
    """Make the assets of this stage."""
    path = consultation.path(consultation.file.helpfulness)

    @asset(
        contracts.HELPFULNESS_PAIRS,
        kinds={"json"},
        settings=[file_digest(path)],
        description="Which of two responses people found more helpful.",
    )
    def helpfulness_pairs() -> Table:
        frame = read_comparisons(path).select(list(contracts.HELPFULNESS_PAIRS.fields))
        return Table(frame, dict(frame["source"].value_counts().sort("source").iter_rows()))

    trained = [each for name in consultation.arms for each in _arm(consultation, name)]
    beside = [_preference_balance(consultation), _training_settings(consultation), _model_cards(consultation)]
    return [helpfulness_pairs, *trained, *beside]


def _preference_balance(consultation: Consultation) -> dg.AssetsDefinition:
    profile, file = consultation.profile, consultation.file
    sets = {
        name: consultation.evaluation_set(name)
        for name, each in file.benchmarks.items()
        if each.format in OVER_REFUSAL_FORMATS
    }
    path = consultation.path(file.benign_pairs)
    arms = list(consultation.arms)

    @asset(
        contracts.PREFERENCE_BALANCE,
        pool=POOL,
        kinds={"torch", "mlflow"},
        deps=[decisions.ledger_key("training")],
        settings=[
            profile.preference_model,
            profile.balance,
            file.model,
            file.seed,
            file_digest(path),
            *(each.content_digest() for each in sets.values()),
        ],
        ins=of_arms(arms, "preference_pairs", "preference_model"),
        description="How annoying and how well agreeing preference models with other harmlessness weights are.",
    )
    def preference_balance(
        context: dg.AssetExecutionContext,
        base_model: pl.DataFrame,
        helpfulness_pairs: pl.DataFrame,
        launcher: Launcher,
        models: ModelStore,
        tracking: Tracking,
        **tables: pl.DataFrame,
    ) -> Table:
        ledger = decisions.read(consultation, "training")
        benign = read_benign_pairs(path, safe_prompts(sets), profile.balance.benign_prompts, file.seed)
        weights = {training_decisions(ledger).harmlessness_weight, *profile.balance.weights}
        records = {arm: tables[f"{arm}__preference_model"] for arm in arms}
        stage = PreferenceBalanceStage(
            base_model=models.folder(only_digest(base_model)),
            benign_pairs=benign,
            helpfulness_pairs=helpfulness_pairs,
            preference_pairs={arm: tables[f"{arm}__preference_pairs"] for arm in arms},
            preference_models={arm: models.folder(only_digest(record)) for arm, record in records.items()},
            metrics={arm: json.loads(record["metrics"].item()) for arm, record in records.items()},
            weights=[_weight(ledger, arm, weight) for arm in arms for weight in sorted(weights)],
            settings=profile.preference_model,
            seed=file.seed,
        )
        result, run = measure(context, launcher, tracking, stage, arm="")
        frame = result.tables["preference_balance"]
        shown = frame.select(
            "arm",
            "harmlessness_weight",
            "chosen",
            "annoyance",
            "annoyance_low",
            "annoyance_high",
            "harmlessness_accuracy",
            "helpfulness_accuracy",
            "greeting_margin",
        )
        return Table(
            frame, {"weights": dg.MetadataValue.md(markdown_table(shown)), "mlflow": dg.MetadataValue.url(run.url)}
        )

    return preference_balance


def _weight(ledger: pl.DataFrame, arm: str, weight: float) -> TriedWeight:
    """A weight to measure, with every row of the ledger that ever named it."""
    named = ledger.filter(
        (pl.col("subject_ids").list.first() == "harmlessness_weight")
        & (pl.col("outcome").cast(pl.Float64, strict=False) == weight)
    )
    chosen = training_decisions(ledger).harmlessness_weight == weight
    return TriedWeight(arm=arm, harmlessness_weight=weight, chosen=chosen, decision_ids=named["decision_id"].to_list())


def _training_settings(consultation: Consultation) -> dg.AssetsDefinition:
    arms = list(consultation.arms)

    @asset(
        contracts.training_settings(sorted(arms)),
        ins=of_arms(arms, *contracts.ARM_STAGES),
        checks=["one_difference"],
        description="Every setting of every training, arm by arm; they may differ in the constitution only.",
    )
    def training_settings(**tables: pl.DataFrame) -> Table:
        frame = settings_table(
            {stage: {arm: tables[f"{arm}__{stage}"] for arm in arms} for stage in contracts.ARM_STAGES}
        )
        differing = frame.filter("differs")
        return Table(
            frame,
            {"settings": frame.height, "differing": dg.MetadataValue.md(markdown_table(differing))},
            [Checked("one_difference", difference_findings(frame))],
        )

    return training_settings


def _arm(consultation: Consultation, name: str) -> list[dg.AssetsDefinition]:
    profile, file = consultation.profile, consultation.file
    trained_asset = partial(asset, key_prefix=name, kinds={"torch", "huggingface", "mlflow"}, pool=POOL)
    signed = [name, "signed_constitution"]
    served = consultation.served(f"{name}/supervised_policy")

    @trained_asset(
        contracts.MODEL,
        method="4",
        settings=[profile.preference_model, file.model, file.seed, consultation.arms[name].principle_weights],
        ins={"preference_pairs": [name, "preference_pairs"], "constitution": signed},
        deps=[decisions.ledger_key("training")],
        description="Scores responses: trained on AI harmlessness labels and human helpfulness comparisons.",
    )
    def preference_model(
        context: dg.AssetExecutionContext,
        base_model: pl.DataFrame,
        preference_pairs: pl.DataFrame,
        helpfulness_pairs: pl.DataFrame,
        constitution: pl.DataFrame,
        launcher: Launcher,
        models: ModelStore,
        tracking: Tracking,
    ) -> Table:
        settled = training_decisions(decisions.read(consultation, "training"))
        sizes = profile.preference_model.steps, profile.preference_model.batch_size
        training = Training(
            PreferenceModelStage(
                base_model=models.folder(only_digest(base_model)),
                preference_pairs=preference_pairs,
                helpfulness_pairs=helpfulness_pairs,
                harmlessness_weight=settled.harmlessness_weight,
                settings=profile.preference_model,
                seed=file.seed,
            ),
            arm=name,
            parent=base_model,
            controlled=controlled_everywhere(consultation)
            | {
                "settings": profile.preference_model,
                "harmlessness weight": settled.harmlessness_weight,
                "feedback method": settled.feedback_method,
                WEIGHTS: consultation.arms[name].principle_weights,
                "pairs": profile.pairs,
                **({"pairs written by a server": served} if served else {}),
                "base model": only_digest(base_model),
                "helpfulness comparisons": table_digest(helpfulness_pairs),
                "pairs and prompts": table_digest(preference_pairs.select("pair_id", "prompt_id", "prompt")),
                "data order": _comparison_order(consultation, preference_pairs, helpfulness_pairs, *sizes),
            },
            constitution_digest=constitution_digest(constitution),
            judge_at_chance=bool(preference_pairs["judge_at_chance"].any()),
        )
        return train(context, launcher, models, tracking, training)

    @trained_asset(
        contracts.MODEL,
        method="3",
        settings=[profile.policy, file.model, file.seed],
        ins={
            "supervised_policy": [name, "supervised_policy"],
            "preference_model": [name, "preference_model"],
            "preference_pairs": [name, "preference_pairs"],
            "constitution": signed,
        },
        deps=[decisions.ledger_key("training")],
        description="The supervised policy after reinforcement learning against the preference model, or what the "
        "ledger says instead.",
    )
    def policy(
        context: dg.AssetExecutionContext,
        supervised_policy: pl.DataFrame,
        preference_model: pl.DataFrame,
        preference_pairs: pl.DataFrame,
        helpfulness_pairs: pl.DataFrame,
        prompts: pl.DataFrame,
        constitution: pl.DataFrame,
        launcher: Launcher,
        models: ModelStore,
        tracking: Tracking,
    ) -> Table:
        settled = training_decisions(decisions.read(consultation, "training"))
        texts = training_prompts(prompts, helpfulness_pairs, profile.policy.helpfulness_prompts, file.seed)
        held_out = prompts.filter(pl.col("purpose") == "held_out")
        start, rewards = (models.folder(only_digest(each)) for each in (supervised_policy, preference_model))
        stage: PolicyStage
        if settled.policy_method == "dpo":
            stage = DirectPolicyStage(
                model=file.model,
                supervised_policy=start,
                preference_model=rewards,
                prompts=held_out,
                preference_pairs=preference_pairs,
                helpfulness_pairs=helpfulness_pairs,
                harmlessness_weight=settled.harmlessness_weight,
                preference_settings=profile.preference_model,
                settings=profile.policy,
                seed=file.seed,
            )
            sizes = profile.policy.steps, pairs_a_step(profile.policy)
            order = _comparison_order(consultation, preference_pairs, helpfulness_pairs, *sizes)
        else:
            stage = ReinforcedPolicyStage(
                model=file.model,
                supervised_policy=start,
                preference_model=rewards,
                prompts=held_out,
                training_prompts=texts,
                settings=profile.policy,
                seed=file.seed,
            )
            order = value_digest(policy_order(texts, profile.policy, file.seed))
        training = Training(
            stage,
            arm=name,
            parent=supervised_policy,
            controlled=controlled_everywhere(consultation)
            | {
                "settings": profile.policy,
                POLICY_METHOD: settled.policy_method,
                "prompts": value_digest(texts),
                "held-out prompts": table_digest(held_out.select("prompt_id", "text")),
                "data order": order,
                "settings of the supervised policy": supervised_policy["settings_digest"].item(),
                "settings of the preference model": comparable_digest(preference_model["settings"].item()),
            },
            constitution_digest=constitution_digest(constitution),
            judge_at_chance=rests_on_chance(preference_model),
        )
        return train(context, launcher, models, tracking, training)

    return [preference_model, policy]


def _comparison_order(
    consultation: Consultation,
    preference_pairs: pl.DataFrame,
    helpfulness_pairs: pl.DataFrame,
    steps: int,
    batch_size: int,
) -> str:
    """Digest of the ids of comparisons in the order of training; weights and labels have no part in it."""
    share, seed = consultation.profile.preference_model.held_out_share, consultation.file.seed
    table = comparisons(preference_pairs, helpfulness_pairs, 1.0, share, seed)
    return value_digest(ordered_ids(table.filter(~pl.col("held_out")), steps, batch_size, seed))


def _model_cards(consultation: Consultation) -> dg.AssetsDefinition:
    """The card of every trained model, and its place in MLflow's registry under the alias of its arm.

    An asset of its own, because a card says how the feedback model was measured: a new measurement writes new cards,
    and trains nothing again.
    """
    trained = of_arms(consultation.arms, *contracts.ARM_STAGES)
    texts = {f"{arm}__constitution": [arm, "signed_constitution"] for arm in consultation.arms}

    @asset(
        contracts.MODEL_CARDS,
        kinds={"mlflow"},
        method="5",
        settings=[consultation.file.title, consultation.file.model],
        deps=[decisions.ledger_key("training")],
        ins=trained | texts,
        description="What every trained model is, on what it was trained, who judged, and its limits.",
    )
    def model_cards(
        base_model: pl.DataFrame,
        judge_calibration: pl.DataFrame,
        models: ModelStore,
        tracking: Tracking,
        **tables: pl.DataFrame,
    ) -> Table:
        method = training_decisions(decisions.read(consultation, "training")).feedback_method
        chance = measured_at_chance(method, judge_calibration)
        settings = {
            stage: {tables[f"{arm}__{stage}"]["settings_digest"].item() for arm in consultation.arms}
            for stage in contracts.ARM_STAGES
        }
        rows = []
        for arm in consultation.arms:
            for stage in contracts.ARM_STAGES:
                record = tables[f"{arm}__{stage}"].row(0, named=True)
                card = model_card(
                    record,
                    base_model.row(0, named=True),
                    consultation.file.model.source,
                    consultation.file.title,
                    tables[f"{arm}__constitution"],
                    method,
                    judge_calibration,
                    alike=len(settings[stage]) == 1,
                )
                digest = record["model_digest"]
                name, version = tracking.register(stage, arm, digest, models.address(digest), card)
                rows.append(
                    {
                        "arm": arm,
                        "stage": stage,
                        "model_digest": digest,
                        "constitution_digest": record["constitution_digest"],
                        "judge_at_chance": chance,
                        "registered_name": name,
                        "registered_version": version,
                        "alias": alias_of(arm),
                        "card": card,
                    }
                )
        frame = contracts.MODEL_CARDS.build(rows)
        shown = {
            f"{row['arm']} {row['stage'].replace('_', ' ')}": dg.MetadataValue.md(row["card"])
            for row in frame.iter_rows(named=True)
        }
        return Table(frame, shown)

    return model_cards
