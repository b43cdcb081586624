"""Why it is as it is: the trail of every statement and principle, what hangs on what, report and provenance.

[evaluation_page] The page that tells readers what each constitution changed, beside the audit report.
"""

import json
from collections.abc import Iterable
from dataclasses import replace
from importlib.metadata import version
from typing import Any

import dagster as dg
import polars as pl

from assets import decisions
from assets.replication import PAGE
from assets.table_asset import Checked, Table, picture, report_file, table_asset
from ccai_dagster import contracts
from ccai_dagster.audit import recomputation, reversals, sensitivity
from ccai_dagster.audit.provenance import provenance_of
from ccai_dagster.audit.sensitivity import Alternative, alternative_on_record, combinations, levels, single_changes
from ccai_dagster.audit.trail import decision_trail
from ccai_dagster.consultation.folder import BASE, LEDGERS, Consultation
from ccai_dagster.core.digest import value_digest
from ccai_dagster.core.errors import Progress
from ccai_dagster.core.home import Home
from ccai_dagster.decisions.checks import check_decision_ids
from ccai_dagster.decisions.outcomes import Thresholds, exclusions, moderation_verdicts, statement_ideas, thresholds
from ccai_dagster.evaluation.findings import elo_findings, findings
from ccai_dagster.pages import pictures
from ccai_dagster.pages.evaluation import render_evaluation
from ccai_dagster.pages.inputs import EvaluationInputs, ReportInputs
from ccai_dagster.pages.report import render_report
from resources import history

EVALUATION_PAGE = "evaluation.html"
"""Name of the page, which lies beside the audit report."""
REPORT = "audit_report.html"
"""Name of the audit report, which there is if a constitution follows from the votes."""
SHARED = (
    "eval_scores",
    "judge_calibration",
    "constitution_overlap",
    "constitution_comparison",
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


def _evaluation_page(consultation: Consultation, home: Home) -> list[dg.AssetsDefinition]:
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
        contracts.FILE,
        key=["evaluation_page"],
        group=GROUP,
        owner=OWNER,
        kinds={"html"},
        ins={name: [name] for name in shared} | responses | constitutions,
        settings=[file.title, file.baseline, value_digest([arms, benchmarks])],
        description="One page for a lay reader: what each constitution changed, what not, and what cannot be told.",
    )
    def evaluation_page(context: dg.AssetExecutionContext, **tables: pl.DataFrame) -> Table:
        inputs = EvaluationInputs(
            title=file.title,
            baseline=file.baseline,
            arms=arms,
            benchmarks=benchmarks,
            constitutions={arm: tables[f"{arm}__constitution"] for arm in arms},
            audit_report=REPORT if any(arm.constitution == "ledgers" for arm in consultation.arms.values()) else None,
            qualitative_responses=pl.concat(tables[name] for name in sorted(responses)),
            **{name: tables[name] for name in shared},
        )
        return report_file(home, EVALUATION_PAGE, render_evaluation(inputs))

    return [evaluation_page]


GROUP = "audit"
OWNER = "team:audit"
ALL_LEDGERS = [decisions.ledger_key(kind) for kind in LEDGERS]
SOFTWARE = {"ccai_dagster": "ccai-dagster", "dagster": "dagster", "mlflow": "mlflow"}
"""Programs that the provenance names, and what their packages are called."""


def build(
    consultation: Consultation, home: Home, others: list[dg.AssetsDefinition | dg.SourceAsset]
) -> list[dg.AssetsDefinition]:
    """Make the assets of this stage.

    Args:
        consultation: The consultation.
        home: Where the report goes.
        others: All assets of the earlier stages, which the provenance tells about.
    """
    others = [*others, *_evaluation_page(consultation, home)]
    arms = list(consultation.arms)
    constitutions = {f"{arm}__constitution": [arm, "constitution"] for arm in arms}
    pairs = {f"{arm}__pairs": [arm, "preference_pairs"] for arm in arms}
    adherence = {f"{arm}__adherence": [arm, "adherence"] for arm in [BASE, *arms]}
    responses = {f"{arm}__responses": [arm, "qualitative_responses"] for arm in [BASE, *arms]}
    records = {f"{arm}__{stage}": [arm, stage] for arm in arms for stage in contracts.ARM_STAGES}
    deliberated = {
        name: [name]
        for name in ("raw_statements", "statements", "gac_scores", "consensus_stability", "selected_statements")
    }
    derived = next((name for name, arm in consultation.arms.items() if arm.constitution == "ledgers"), None)
    common: dict[str, Any] = {"group": GROUP, "owner": OWNER, "deps": ALL_LEDGERS}

    def by_arm(tables: dict[str, pl.DataFrame], suffix: str) -> dict[str, pl.DataFrame]:
        return {key.removesuffix(suffix): table for key, table in tables.items() if key.endswith(suffix)}

    @table_asset(
        contracts.DECISION_TRAIL,
        key=["decision_trail"],
        kinds={"python"},
        method="2",
        ins=deliberated | constitutions | pairs | adherence,
        checks=["decision_ids"],
        description="What became of every statement and principle, by whose decision and for what reason.",
        **common,
    )
    def trail(
        context: dg.AssetExecutionContext,
        raw_statements: pl.DataFrame,
        statements: pl.DataFrame,
        gac_scores: pl.DataFrame,
        consensus_stability: pl.DataFrame,
        selected_statements: pl.DataFrame,
        **tables: pl.DataFrame,
    ) -> Table:
        ledgers = {kind: decisions.read(consultation, kind) for kind in LEDGERS}
        frame = decision_trail(
            raw_statements,
            statements,
            gac_scores,
            consensus_stability,
            selected_statements,
            by_arm(tables, "__constitution"),
            ledgers,
            by_arm(tables, "__pairs"),
            by_arm(tables, "__adherence"),
        )
        fates = frame.group_by("kind", "fate").len().sort("len", descending=True)
        return Table(
            frame,
            {f"{kind}: {fate}": count for kind, fate, count in fates.iter_rows()},
            checks=[Checked("decision_ids", check_decision_ids(ledgers))],
        )

    assets = [trail]
    if derived is not None:
        assets += _sensitivity(consultation, derived)
        read = (
            deliberated
            | constitutions
            | pairs
            | responses
            | records
            | {
                name: [name]
                for name in (
                    "participants",
                    "votes",
                    "opinion_groups",
                    "representative_statements",
                    "consensus_statements",
                    "comment_priorities",
                    "group_stability",
                    "constitution_overlap",
                    "constitution_comparison",
                    "decision_trail",
                    "decision_sensitivity",
                    "decision_importance",
                    "principle_robustness",
                    "decision_reversals",
                    "judge_calibration",
                    "eval_scores",
                    "elo_differences",
                    "rater_agreement",
                    "qualitative_prompts",
                    "base_model",
                )
            }
        )
        # The page lists the version of everything, so it is written anew when anything changes.
        told = _keys([*others, *assets])

        @table_asset(
            contracts.FILE,
            key=["audit_report"],
            kinds={"html"},
            group=GROUP,
            owner=OWNER,
            ins=read,
            deps=sorted(told - {dg.AssetKey(key) for key in read.values()}, key=lambda key: key.to_user_string()),
            settings=[
                consultation.file.title,
                consultation.file.public,
                consultation.file.question,
                PAGE if consultation.file.replication else "",
            ],
            method="2",
            description="One page for a lay reader: the constitution, why it is so, and what it did.",
        )
        def audit_report(context: dg.AssetExecutionContext, **tables: pl.DataFrame) -> Table:
            named = set(ReportInputs.__dataclass_fields__) & set(tables)
            inputs = ReportInputs(
                title=consultation.file.title,
                public=consultation.file.public,
                question=consultation.file.question,
                derived_arm=derived,
                baseline=consultation.file.baseline,
                arms={name: arm.description for name, arm in consultation.arms.items()},
                constitutions=by_arm(tables, "__constitution"),
                ledgers={kind: decisions.read(consultation, kind) for kind in LEDGERS},
                preference_pairs=by_arm(tables, "__pairs"),
                models=pl.concat([tables["base_model"], *(tables[name] for name in sorted(records))]),
                settings={
                    stage: getattr(consultation.profile, stage).model_dump(mode="json")
                    for stage in type(consultation.profile).model_fields
                },
                findings=[
                    *findings(tables["eval_scores"]),
                    *elo_findings(tables["elo_differences"], tables["rater_agreement"]),
                ],
                qualitative_responses=pl.concat(tables[name] for name in sorted(responses)),
                digests={
                    key.to_user_string(): version
                    for key in told
                    if (version := history.version_of(key, context.instance))
                },
                replication_page=PAGE if consultation.file.replication else None,
                evaluation_page=EVALUATION_PAGE,
                **{name: tables[name] for name in named},
            )
            return report_file(home, "audit_report.html", render_report(inputs))

        assets.append(audit_report)

    earlier = _keys([*others, *assets])

    @table_asset(
        contracts.FILE,
        key=["provenance"],
        kinds={"json"},
        group=GROUP,
        owner=OWNER,
        method="2",
        deps=sorted(earlier, key=lambda key: key.to_user_string()),
        description="The whole run as W3C PROV-JSON: what was made from what, by which run and decision.",
    )
    def provenance(context: dg.AssetExecutionContext) -> Table:
        # Without itself: the manifest names the digest of the file that is written here.
        manifest = history.describe(consultation, home, context.instance, earlier)
        ledgers = {kind: decisions.read(consultation, kind) for kind in LEDGERS}
        programs = {name: version(package) for name, package in SOFTWARE.items()}
        document = provenance_of(manifest, ledgers, programs)
        written = report_file(
            home, "provenance.json", json.dumps(document, indent=1, sort_keys=True, ensure_ascii=False)
        )
        history.record(consultation, home, context.instance, earlier)
        counts = {name: len(document[name]) for name in ("entity", "activity", "agent")}
        return replace(written, metadata={**written.metadata, **counts, "manifest": str(home.manifest)})

    return [*assets, provenance]


def _sensitivity(consultation: Consultation, derived: str) -> list[dg.AssetsDefinition]:
    raw = {name: [name] for name in ("raw_statements", "raw_participants", "raw_votes")}
    common: dict[str, Any] = {"group": GROUP, "owner": OWNER}
    cheap: dict[str, Any] = {**common, "kinds": {"python"}}
    from_files = [name for name, arm in consultation.arms.items() if arm.constitution != "ledgers"]

    def inputs(raw_tables: dict[str, pl.DataFrame]) -> recomputation.SharedInputs:
        ledgers = {kind: decisions.read(consultation, kind) for kind in ("moderation", "exclusion", "idea")}
        return recomputation.SharedInputs(
            **raw_tables,
            moderation=moderation_verdicts(ledgers["moderation"]),
            excluded=exclusions(ledgers["exclusion"]),
            ideas=statement_ideas(ledgers["idea"]),
        )

    def settled() -> Thresholds:
        return thresholds(decisions.read(consultation, "threshold"), consultation.file.seed)

    def on_record() -> Alternative:
        return alternative_on_record(settled(), consultation.file.moderation)

    def worded() -> sensitivity.Sources:
        return sensitivity.worded_sources(decisions.read(consultation, "wording"))

    @table_asset(
        contracts.DECISION_WORLDS,
        key=["decision_worlds"],
        kinds={"scikitlearn"},
        ins=raw | {"gac_scores": ["gac_scores"]},
        deps=[decisions.ledger_key(kind) for kind in ("moderation", "exclusion", "idea", "threshold")],
        settings=[consultation.file.seed, consultation.file.moderation, consultation.profile.sensitivity],
        description="What would be selected had numeric decisions been taken otherwise, alone and together.",
        **common,
    )
    def decision_worlds(context: dg.AssetExecutionContext, gac_scores: pl.DataFrame, **tables: pl.DataFrame) -> Table:
        shared, record = inputs(tables), on_record()
        tried = levels(record, bool(shared.ideas))
        combined = combinations(tried, consultation.profile.sensitivity.ways_to_group, consultation.file.seed)
        frame = recomputation.decision_worlds(
            shared, record, single_changes(record, tried), combined, _every(context, 10)
        )
        recomputation.check_record(frame, shared, record, gac_scores)
        return Table(
            frame,
            {
                "worlds": frame.height,
                "combinations": int(frame["combination"].sum()),
                "ways to group": frame["grouping_id"].n_unique(),
            },
        )

    worlds = {"decision_worlds": ["decision_worlds"]}
    wording = [decisions.ledger_key("wording")]

    @table_asset(
        contracts.DECISION_SENSITIVITY,
        key=["decision_sensitivity"],
        ins=worlds,
        deps=wording,
        description="What would have been selected had one numeric decision been taken otherwise.",
        **cheap,
    )
    def decision_sensitivity(context: dg.AssetExecutionContext, decision_worlds: pl.DataFrame) -> Table:
        frame = sensitivity.decision_sensitivity(decision_worlds, worded())
        return Table(frame, {"what would be different": picture(pictures.sensitivity(frame))})

    @table_asset(
        contracts.DECISION_IMPORTANCE,
        key=["decision_importance"],
        ins=worlds,
        deps=[*wording, decisions.ledger_key("threshold")],
        description="How many principles hang on each numeric decision, most first.",
        **cheap,
    )
    def decision_importance(context: dg.AssetExecutionContext, decision_worlds: pl.DataFrame) -> Table:
        rows = sensitivity.deciding_rows(settled())
        frame = sensitivity.decision_importance(decision_worlds, worded(), rows)
        shown = picture(pictures.decision_importance(frame))
        return Table(frame, {"what hangs on which decision": shown, "in words": sensitivity.importance_sentence(frame)})

    @table_asset(
        contracts.PRINCIPLE_ROBUSTNESS,
        key=["principle_robustness"],
        deps=wording,
        ins=worlds | {name: [name, "constitution"] for name in from_files},
        description="In what share of all combinations of numeric decisions each principle is in.",
        **cheap,
    )
    def principle_robustness(
        context: dg.AssetExecutionContext, decision_worlds: pl.DataFrame, **constitutions: pl.DataFrame
    ) -> Table:
        given = {name: sensitivity.constitution_sources(constitutions[name]) for name in from_files}
        frame = sensitivity.principle_robustness(decision_worlds, {derived: worded(), **given})
        return Table(
            frame,
            {f"{arm} in words": told for arm, told in sensitivity.robustness_sentences(frame).items()}
            | {
                arm: picture(pictures.principle_robustness(frame, arm))
                for arm in frame["arm"].unique(maintain_order=True)
            },
        )

    @table_asset(
        contracts.DECISION_REVERSALS,
        key=["decision_reversals"],
        kinds={"scikitlearn"},
        ins=raw | {"opinion_groups": ["opinion_groups"]},
        settings=[consultation.file.seed, consultation.file.moderation],
        deps=[decisions.ledger_key(kind) for kind in LEDGERS if kind not in ("training", "signoff")],
        description="What each decision of a person would bring in or take out, had it gone the other way.",
        **common,
    )
    def decision_reversals(
        context: dg.AssetExecutionContext, opinion_groups: pl.DataFrame, **tables: pl.DataFrame
    ) -> Table:
        ledgers = {kind: decisions.read(consultation, kind) for kind in LEDGERS}
        record = reversals.recorded_decisions(inputs(tables), on_record(), opinion_groups, ledgers["wording"])
        frame = reversals.decision_reversals(record, ledgers, _every(context, 10))
        return Table(frame, reversals.reversal_sentences(frame))

    return [decision_worlds, decision_sensitivity, decision_importance, principle_robustness, decision_reversals]


def _every(context: dg.AssetExecutionContext, steps: int) -> Progress:
    """Tell Dagster's log of every so many steps."""

    def told(message: str, done: int, total: int) -> None:
        if done % steps == 0 or done == total:
            context.log.info(f"{message}: {done} of {total}")

    return told


def _keys(assets: Iterable[dg.AssetsDefinition | dg.SourceAsset]) -> set[dg.AssetKey]:
    return {key for asset in assets for key in (asset.keys if isinstance(asset, dg.AssetsDefinition) else {asset.key})}
