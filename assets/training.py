"""Preference model and policy of each arm; the helpfulness comparisons both learn from."""

from typing import Any

import dagster as dg
import polars as pl

from assets import decisions
from assets.table_asset import Table, table_asset
from assets.torch_stage import POOL, model_options, only_digest, train
from ccai_dagster import contracts
from ccai_dagster.constitution.principles import constitution_digest
from ccai_dagster.consultation import Consultation
from ccai_dagster.decisions.settled_values import training_decisions
from ccai_dagster.digest import file_digest, table_digest
from ccai_dagster.feedback.prompts import read_comparisons
from resources.launcher import Launcher
from resources.model_store import ModelStore
from resources.tracking import Tracking

GROUP = "training"
OWNER = "team:model"


def build(consultation: Consultation) -> list[dg.AssetsDefinition]:
    """Make the assets of this stage."""
    path = consultation.path(consultation.file.helpfulness)

    @table_asset(
        contracts.HELPFULNESS_PAIRS, key=["helpfulness_pairs"], group=GROUP, owner=OWNER, kinds={"json"},
        settings=[file_digest(path)], description="Which of two responses people found more helpful.",
    )  # fmt: skip
    def helpfulness_pairs(context: dg.AssetExecutionContext) -> Table:
        frame = read_comparisons(path).select(list(contracts.HELPFULNESS_PAIRS.fields))
        return Table(frame, dict(frame["source"].value_counts().sort("source").iter_rows()))

    return [helpfulness_pairs, *(asset for name in consultation.arms for asset in _arm(consultation, name))]


def _arm(consultation: Consultation, name: str) -> list[dg.AssetsDefinition]:
    profile, file = consultation.profile, consultation.file
    options = model_options(consultation)
    common: dict[str, Any] = {
        "group": GROUP,
        "owner": OWNER,
        "kinds": {"torch", "huggingface", "mlflow"},
        "pool": POOL,
    }
    signed = [name, "signed_constitution"]

    @table_asset(
        contracts.MODEL, key=[name, "preference_model"], settings=[profile.preference_model, file.model, file.seed],
        ins={"base_model": ["base_model"], "preference_pairs": [name, "preference_pairs"],
             "helpfulness_pairs": ["helpfulness_pairs"], "constitution": signed},
        deps=[decisions.ledger_key("training")],
        description="Scores responses: trained on AI harmlessness labels and human helpfulness comparisons.",
        **common,
    )  # fmt: skip
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
        settings = profile.preference_model.model_dump(mode="json")
        return train(
            context, launcher, models, tracking, stage="preference_model", arm=name,
            tables={"preference_pairs": preference_pairs, "helpfulness_pairs": helpfulness_pairs},
            parents={"base_model": base_model},
            options=options | {"settings": settings, "harmlessness_weight": settled.harmlessness_weight},
            controlled=[options, settings, settled.harmlessness_weight, settled.feedback_method,
                        profile.pairs.digest(), only_digest(base_model), table_digest(helpfulness_pairs),
                        table_digest(preference_pairs.select("pair_id", "prompt_id", "prompt"))],
            constitution=constitution_digest(constitution),
        )  # fmt: skip

    @table_asset(
        contracts.MODEL, key=[name, "policy"], settings=[profile.policy, file.model, file.seed],
        ins={"supervised_policy": [name, "supervised_policy"], "preference_model": [name, "preference_model"],
             "prompts": ["prompts"], "constitution": signed},
        description="The supervised policy after reinforcement learning against the preference model.",
        **common,
    )  # fmt: skip
    def policy(
        context: dg.AssetExecutionContext,
        supervised_policy: pl.DataFrame,
        preference_model: pl.DataFrame,
        prompts: pl.DataFrame,
        constitution: pl.DataFrame,
        launcher: Launcher,
        models: ModelStore,
        tracking: Tracking,
    ) -> Table:
        texts = prompts.filter(pl.col("purpose") == "policy").sort("prompt_id")["text"].to_list()
        settings = profile.policy.model_dump(mode="json")
        before = [record["settings_digest"].item() for record in (supervised_policy, preference_model)]
        return train(
            context, launcher, models, tracking, stage="policy", arm=name, tables={},
            parents={"supervised_policy": supervised_policy, "preference_model": preference_model},
            options=options | {"settings": settings, "prompts": texts},
            controlled=[options, settings, texts, before], constitution=constitution_digest(constitution),
        )  # fmt: skip

    return [preference_model, policy]
