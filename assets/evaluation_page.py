"""The page that tells readers what each constitution changed, beside the audit report."""

import dagster as dg
import polars as pl

from assets.report_file import report_file
from assets.table_asset import Table, table_asset
from ccai_dagster import contracts
from ccai_dagster.audit.evaluation_page.inputs import EvaluationInputs
from ccai_dagster.audit.evaluation_page.page import render_evaluation
from ccai_dagster.consultation import BASE, Consultation
from ccai_dagster.digest import value_digest
from resources.home import Home

GROUP = "evaluation"
OWNER = "team:audit"
PAGE = "evaluation.html"
"""Name of the page, which lies beside the audit report."""
REPORT = "audit_report.html"
"""Name of the audit report, which there is if a constitution follows from the votes."""
SHARED = (
    "eval_scores", "judge_calibration", "constitution_overlap", "constitution_comparison", "elo_differences",
    "rater_agreement", "adherence_scores", "group_adherence", "specificity", "conflicts", "qualitative_prompts",
)  # fmt: skip
"""Tables of the page that all arms share."""
OPINIONS = "opinion_representativeness"
"""One more, where the consultation asks opinions."""


def build(consultation: Consultation, home: Home) -> list[dg.AssetsDefinition]:
    """Make the assets of this stage.

    Args:
        consultation: The consultation.
        home: Where the page goes.
    """
    file = consultation.file
    arms = {name: arm.description for name, arm in consultation.arms.items()}
    asks_opinions = any(each.format == "opinion_qa" for each in file.benchmarks.values())
    shared = (*SHARED, OPINIONS) if asks_opinions else SHARED
    benchmarks = {name: (each.format, each.description) for name, each in file.benchmarks.items()}
    responses = {f"{arm}__responses": [arm, "qualitative_responses"] for arm in (BASE, *arms)}
    constitutions = {f"{arm}__constitution": [arm, "constitution"] for arm in arms}

    @table_asset(
        contracts.FILE, key=["evaluation_page"], group=GROUP, owner=OWNER, kinds={"html"},
        ins={name: [name] for name in shared} | responses | constitutions,
        settings=[file.title, file.baseline, value_digest([arms, benchmarks])],
        description="One page for a lay reader: what each constitution changed, what not, and what cannot be told.",
    )  # fmt: skip
    def evaluation_page(context: dg.AssetExecutionContext, **tables: pl.DataFrame) -> Table:
        inputs = EvaluationInputs(
            title=file.title,
            baseline=file.baseline,
            arms=arms,
            benchmarks=benchmarks,
            constitutions={arm: tables[f"{arm}__constitution"] for arm in arms},
            audit_report=REPORT
            if any(arm.constitution == "ledgers" for arm in consultation.arms.values())
            else None,
            qualitative_responses=pl.concat(tables[name] for name in sorted(responses)),
            **{name: tables[name] for name in shared},
        )
        return report_file(home, PAGE, render_evaluation(inputs))

    return [evaluation_page]
