"""The card of every trained model, and its place in MLflow's registry under the alias of its arm.

An asset of its own, because a card tells how the feedback model was measured: a new measurement writes new cards,
and trains nothing again.
"""

import dagster as dg
import polars as pl

from assets import decisions
from assets.table_asset import Table, table_asset
from ccai_dagster import contracts
from ccai_dagster.consultation import Consultation
from ccai_dagster.decisions.settled_values import training_decisions
from ccai_dagster.feedback.judge_accuracy import measured_at_chance
from ccai_dagster.training.model_card import model_card
from resources.model_store import ModelStore
from resources.tracking import Tracking, alias_of

GROUP = "training"
OWNER = "team:model"


def build(consultation: Consultation) -> list[dg.AssetsDefinition]:
    """Make the assets of this stage."""
    trained = {f"{arm}__{stage}": [arm, stage] for arm in consultation.arms for stage in contracts.ARM_STAGES}
    texts = {f"{arm}__constitution": [arm, "signed_constitution"] for arm in consultation.arms}

    @table_asset(
        contracts.MODEL_CARDS, key=["model_cards"], group=GROUP, owner=OWNER, kinds={"mlflow"},
        settings=[consultation.file.title, consultation.file.model], deps=[decisions.ledger_key("training")],
        ins=trained | texts | {"base_model": ["base_model"], "judge_calibration": ["judge_calibration"]},
        description="What every trained model is, on what it was trained, who judged, and its limits.",
    )  # fmt: skip
    def model_cards(
        context: dg.AssetExecutionContext,
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

    return [model_cards]
