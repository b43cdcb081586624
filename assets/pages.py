"""The pages for people: what constitutions changed, and why the constitution is as it is, before and after training.

Belongs here: which tables a page is made of. What a page says is in `ccai_dagster.pages`. The page on the evaluation is
of its group and lies beside the audit report.
Assets: https://docs.dagster.io/guides/build/assets/defining-assets
"""

from dataclasses import replace
from functools import partial
from typing import Any

import dagster as dg
import polars as pl

from assets import decisions
from assets.replication import PAGE
from assets.table_asset import Table, by_arm, of_arms, report_file, table_asset
from ccai_dagster import contracts
from ccai_dagster.audit.trail import decision_trail as trail_of
from ccai_dagster.consultation.folder import BASE, LEDGERS, Consultation
from ccai_dagster.consultation.settings import Settings
from ccai_dagster.core.digest import file_digest, value_digest
from ccai_dagster.core.home import Home
from ccai_dagster.core.language import read_language
from ccai_dagster.evaluation.findings import elo_findings, findings
from ccai_dagster.pages.evaluation import render_evaluation
from ccai_dagster.pages.inputs import EvaluationInputs, ReportInputs
from ccai_dagster.pages.public_summary import render_results, render_summary
from ccai_dagster.pages.report import render_report
from ccai_dagster.training.settings_of_arms import policy_method, policy_steps
from resources import history

OWNER = "team:audit"
asset = partial(table_asset, group="audit", owner=OWNER)
ALL_LEDGERS = [decisions.ledger_key(kind) for kind in LEDGERS]
EVALUATION_PAGE = "evaluation.html"
REPORT = "audit_report.html"
"""Name of the audit report, which there is if a constitution follows from the votes; the page lies beside it."""
CONSTITUTION_PAGE = "constitution.html"
"""The same report before anything is trained, for those who are to sign."""
SHORT_PAGE = "summary.html"
"""The same in two sheets, for the public."""
RESULTS_PAGE = "results.html"
"""The same in two sheets once models are trained, with what came of the principles."""
SCORED = ("eval_scores", "elo_differences", "judge_calibration")
"""Tables that tell what came of them."""
SHARED = (
    "eval_scores",
    "judge_calibration",
    "constitution_overlap",
    "constitution_comparison",
    "comparisons",
    "elo_differences",
    "rater_agreement",
    "adherence_scores",
    "group_adherence",
    "specificity",
    "conflicts",
    "qualitative_prompts",
)
"""Tables of the page that all arms share."""
OPINIONS = "opinion_representativeness"
"""One more, where the consultation asks opinions."""
CONTROL = ("control_scores", "control_responses")
"""Two more, where it asks for a positive control."""
UP_TO_CONSTITUTION = (
    "raw_statements",
    "statements",
    "gac_scores",
    "consensus_stability",
    "selected_statements",
    "participants",
    "group_votes",
    "import_report",
    "group_structure",
    "opinion_groups",
    "group_profile",
    "sample_representativeness",
    "weighted_consensus",
    "representative_statements",
    "consensus_statements",
    "uncertain_statements",
    "important_statements",
    "comment_priorities",
    "narrative",
    "group_stability",
    "constitution_overlap",
    "constitution_comparison",
    "decision_sensitivity",
    "decision_importance",
    "principle_robustness",
    "decision_reversals",
)
"""Tables of the report that are there before anything is trained."""
REPORTED = (
    *UP_TO_CONSTITUTION,
    "decision_trail",
    "judge_calibration",
    "eval_scores",
    "elo_differences",
    "rater_agreement",
    "qualitative_prompts",
    "base_model",
)
"""Tables of the report that all arms share."""


def evaluation_page_asset(consultation: Consultation, home: Home) -> dg.AssetsDefinition:
    """Make the page on what constitutions changed."""
    file, control = consultation.file, consultation.profile.control
    arms = {name: arm.description for name, arm in consultation.arms.items()}
    asks_opinions = any(each.format == "opinion_qa" for each in file.benchmarks.values())
    shared = (*SHARED, OPINIONS) if asks_opinions else SHARED
    shared = (*shared, *CONTROL) if file.control else shared
    settings = "training_settings"
    benchmarks = {name: (each.format, each.description) for name, each in file.benchmarks.items()}
    responses = of_arms([BASE, *arms], "qualitative_responses")

    @table_asset(
        contracts.FILE,
        group="evaluation",
        owner=OWNER,
        kinds={"html"},
        ins={name: [name] for name in shared}
        | responses
        | of_arms(arms, "constitution")
        | ({settings: [settings]} if file.control else {}),
        method="4",
        settings=[file.title, file.baseline, value_digest([arms, benchmarks]), *([control] if file.control else [])],
        description="One page for a lay reader: what each constitution changed, what not, and what cannot be told.",
    )
    def evaluation_page(**tables: pl.DataFrame) -> Table:
        inputs = EvaluationInputs(
            title=file.title,
            baseline=file.baseline,
            arms=arms,
            benchmarks=benchmarks,
            constitutions={arm: tables[f"{arm}__constitution"] for arm in arms},
            audit_report=REPORT if any(arm.constitution == "ledgers" for arm in consultation.arms.values()) else None,
            qualitative_responses=pl.concat(tables[name] for name in sorted(responses)),
            policy_method=policy_method(tables[settings]) if file.control else None,
            policy_steps=(policy_steps(tables[settings]), control.policy.steps) if file.control else None,
            **{name: tables[name] for name in shared},
        )
        return report_file(home, EVALUATION_PAGE, render_evaluation(inputs))

    return evaluation_page


def _asked(consultation: Consultation, derived: str) -> dict[str, Any]:
    """What consultation.yaml says that both reports tell."""
    file = consultation.file
    return {
        "title": file.title,
        "public": file.public,
        "question": file.question,
        "derived_arm": derived,
        "baseline": file.baseline,
        "arms": {name: arm.description for name, arm in consultation.arms.items()},
    }


def _asked_settings(consultation: Consultation) -> list[Settings | str | int]:
    """Settings that both reports hang on."""
    file = consultation.file
    return [file.title, file.public, file.question, PAGE if file.replication else ""]


def _written(consultation: Consultation) -> list[str]:
    """The table that there is beside the others where a feedback server retells the narrative."""
    return ["written_narrative"] if consultation.profile.feedback.server_url else []


def constitution_page_assets(consultation: Consultation, home: Home, derived: str) -> list[dg.AssetsDefinition]:
    """The report and the short page before anything is trained, and the short page after it."""
    arms, file = list(consultation.arms), consultation.file
    written, asked = _written(consultation), _asked_settings(consultation)
    read = {name: [name] for name in (*UP_TO_CONSTITUTION, *written)} | of_arms(arms, "constitution")
    page_asset = partial(asset, contracts.FILE, kinds={"html"}, deps=ALL_LEDGERS)
    texts = consultation.path(file.page_texts) if file.page_texts else None

    def inputs_of(tables: dict[str, pl.DataFrame]) -> ReportInputs:
        ledgers = {kind: decisions.read(consultation, kind) for kind in LEDGERS}
        constitutions = by_arm(tables, "constitution")
        trail = trail_of(
            tables["raw_statements"],
            tables["statements"],
            tables["gac_scores"],
            tables["consensus_stability"],
            tables["selected_statements"],
            constitutions,
            ledgers,
            preference_pairs={},
            adherence={},
        )
        shown: dict[str, Any] = {name: tables[name] for name in (*UP_TO_CONSTITUTION, *written)}
        return ReportInputs(
            **_asked(consultation, derived),
            constitutions=constitutions,
            ledgers=ledgers,
            decision_trail=trail,
            judge_calibration=contracts.JUDGE_CALIBRATION.empty(),
            preference_pairs={},
            models=contracts.MODEL.empty(),
            settings={},
            eval_scores=contracts.EVAL_SCORES.empty(),
            findings=[],
            qualitative_prompts=contracts.QUALITATIVE_PROMPTS.empty(),
            qualitative_responses=contracts.QUALITATIVE_RESPONSES.empty(),
            digests={},
            replication_page=PAGE if file.replication else None,
            language=read_language(file.language, texts),
            **shown,
        )

    settings = [*asked, file.language, file_digest(texts) if texts else ""]

    @page_asset(
        ins=read,
        settings=settings,
        method="5",
        description="The page for those who are to sign: groups, principles, what waits, every decision.",
    )
    def constitution_report(**tables: pl.DataFrame) -> Table:
        return report_file(home, CONSTITUTION_PAGE, render_report(inputs_of(tables)))

    @page_asset(
        ins=read,
        settings=settings,
        method="5",
        description="A short page for the public, two sheets in print: the principles, and who agrees how far.",
    )
    def public_summary(**tables: pl.DataFrame) -> Table:
        return report_file(home, SHORT_PAGE, render_summary(inputs_of(tables), CONSTITUTION_PAGE))

    @page_asset(
        ins=read | {name: [name] for name in SCORED},
        settings=settings,
        method="1",
        description="The short page for the public once models are trained, with what came of the principles.",
    )
    def public_results(elo_differences: pl.DataFrame, **tables: pl.DataFrame) -> Table:
        scores, calibration = tables["eval_scores"], tables["judge_calibration"]
        inputs = replace(inputs_of(tables), eval_scores=scores, judge_calibration=calibration)
        page = render_results(inputs, CONSTITUTION_PAGE, elo_differences, EVALUATION_PAGE)
        return report_file(home, RESULTS_PAGE, page)

    return [constitution_report, public_summary, public_results]


def audit_report_asset(
    consultation: Consultation, home: Home, derived: str, earlier: set[dg.AssetKey]
) -> dg.AssetsDefinition:
    """Make the audit report.

    Args:
        derived: The arm whose constitution follows from the votes.
        earlier: All assets before it, whose versions it lists.
    """
    arms, file = list(consultation.arms), consultation.file
    responses = of_arms([BASE, *arms], "qualitative_responses")
    records = of_arms(arms, *contracts.ARM_STAGES)
    shared = {name: [name] for name in (*REPORTED, *_written(consultation))}
    read = shared | of_arms(arms, "constitution", "preference_pairs") | responses | records

    @asset(
        contracts.FILE,
        kinds={"html"},
        ins=read,
        deps=sorted(earlier - {dg.AssetKey(key) for key in read.values()}, key=lambda key: key.to_user_string()),
        settings=_asked_settings(consultation),
        method="10",
        description="One page for a lay reader: the constitution, why it is so, and what it did.",
    )
    def audit_report(context: dg.AssetExecutionContext, **tables: pl.DataFrame) -> Table:
        shown: dict[str, Any] = {name: tables[name] for name in tables if name in ReportInputs.__dataclass_fields__}
        inputs = ReportInputs(
            **_asked(consultation, derived),
            constitutions=by_arm(tables, "constitution"),
            ledgers={kind: decisions.read(consultation, kind) for kind in LEDGERS},
            preference_pairs=by_arm(tables, "preference_pairs"),
            models=pl.concat([tables["base_model"], *(tables[name] for name in sorted(records))]),
            settings=consultation.profile.model_dump(mode="json"),
            findings=[
                *findings(tables["eval_scores"]),
                *elo_findings(tables["elo_differences"], tables["rater_agreement"]),
            ],
            qualitative_responses=pl.concat(tables[name] for name in sorted(responses)),
            digests={
                key.to_user_string(): version for key, version in history.versions_of(earlier, context.instance).items()
            },
            replication_page=PAGE if file.replication else None,
            evaluation_page=EVALUATION_PAGE,
            **shown,
        )
        return report_file(home, REPORT, render_report(inputs))

    return audit_report
