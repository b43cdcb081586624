"""Why it is as it is: the trail of every statement and principle, what depends on what, pages and provenance.

Belongs here: the assets of the group `audit`, and the page of the group `evaluation`, which lies beside the audit
report. Methods are in `ccai_dagster.audit`, pages in `ccai_dagster.pages`.
Assets: https://docs.dagster.io/guides/build/assets/defining-assets
"""

import json
from collections.abc import Iterable
from dataclasses import replace
from functools import partial
from importlib.metadata import version
from typing import Any

import dagster as dg
import polars as pl

from assets import decisions
from assets.replication import PAGE
from assets.table_asset import Checked, Table, by_arm, of_arms, picture, report_file, table_asset
from ccai_dagster import contracts
from ccai_dagster.audit import recomputation, reversals, sensitivity
from ccai_dagster.audit.sensitivity import Alternative, alternative_on_record, combinations, levels, single_changes
from ccai_dagster.audit.trail import decision_trail as trail_of
from ccai_dagster.consultation.folder import BASE, LEDGERS, Consultation
from ccai_dagster.core.digest import value_digest
from ccai_dagster.core.errors import Progress
from ccai_dagster.core.home import Home
from ccai_dagster.decisions.checks import check_decision_ids
from ccai_dagster.decisions.outcomes import exclusions, moderation_verdicts, statement_ideas
from ccai_dagster.decisions.values import Thresholds, thresholds
from ccai_dagster.deliberation.structure import procedure_for
from ccai_dagster.evaluation.findings import elo_findings, findings
from ccai_dagster.pages import pictures
from ccai_dagster.pages.evaluation import render_evaluation
from ccai_dagster.pages.inputs import EvaluationInputs, ReportInputs
from ccai_dagster.pages.public_summary import render_summary
from ccai_dagster.pages.report import render_report
from ccai_dagster.training.settings_of_arms import policy_method
from resources import history

OWNER = "team:audit"
asset = partial(table_asset, group="audit", owner=OWNER)
ALL_LEDGERS = [decisions.ledger_key(kind) for kind in LEDGERS]
RAW = {name: [name] for name in ("raw_statements", "raw_participants", "raw_votes", "raw_group_votes")}
SOFTWARE = {"ccai_dagster": "ccai-dagster", "dagster": "dagster", "mlflow": "mlflow"}
"""Programs that the provenance names, and what their packages are called."""
EVALUATION_PAGE = "evaluation.html"
PROVENANCE = "provenance.json"
REPORT = "audit_report.html"
"""Name of the audit report, which there is if a constitution follows from the votes; the page lies beside it."""
CONSTITUTION_PAGE = "constitution.html"
"""The same report before anything is trained, for those who are to sign."""
SHORT_PAGE = "summary.html"
"""The same in two sheets, for the public."""
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


def build(
    consultation: Consultation, home: Home, others: list[dg.AssetsDefinition | dg.SourceAsset]
) -> list[dg.AssetsDefinition]:
    """Make the assets of this stage.

    Args:
        others: All assets of the earlier stages, which provenance covers.
    """
    made = [_evaluation_page(consultation, home), _decision_trail(consultation)]
    derived = next((name for name, arm in consultation.arms.items() if arm.constitution == "ledgers"), None)
    if derived is not None:
        made += [_decision_worlds(consultation), *_sensitivity(consultation, derived), _reversals(consultation)]
        made += _constitution_pages(consultation, home, derived)
        # The page lists the version of everything, so it is written anew when anything changes.
        made.append(_audit_report(consultation, home, derived, _keys([*others, *made])))
    return [*made, _provenance(consultation, home, _keys([*others, *made]))]


def _keys(assets: Iterable[dg.AssetsDefinition | dg.SourceAsset]) -> set[dg.AssetKey]:
    return {key for asset in assets for key in (asset.keys if isinstance(asset, dg.AssetsDefinition) else {asset.key})}


def _evaluation_page(consultation: Consultation, home: Home) -> dg.AssetsDefinition:
    file = consultation.file
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
        method="3",
        settings=[file.title, file.baseline, value_digest([arms, benchmarks])],
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
            **{name: tables[name] for name in shared},
        )
        return report_file(home, EVALUATION_PAGE, render_evaluation(inputs))

    return evaluation_page


def _decision_trail(consultation: Consultation) -> dg.AssetsDefinition:
    arms = list(consultation.arms)

    @asset(
        contracts.DECISION_TRAIL,
        deps=ALL_LEDGERS,
        method="2",
        ins=of_arms(arms, "constitution", "preference_pairs") | of_arms([BASE, *arms], "adherence"),
        checks=["decision_ids"],
        description="What became of every statement and principle, by whose decision and for what reason.",
    )
    def decision_trail(
        raw_statements: pl.DataFrame,
        statements: pl.DataFrame,
        gac_scores: pl.DataFrame,
        consensus_stability: pl.DataFrame,
        selected_statements: pl.DataFrame,
        **tables: pl.DataFrame,
    ) -> Table:
        ledgers = {kind: decisions.read(consultation, kind) for kind in LEDGERS}
        frame = trail_of(
            raw_statements,
            statements,
            gac_scores,
            consensus_stability,
            selected_statements,
            by_arm(tables, "constitution"),
            ledgers,
            by_arm(tables, "preference_pairs"),
            by_arm(tables, "adherence"),
        )
        fates = frame.group_by("kind", "fate").len().sort("len", descending=True)
        return Table(
            frame,
            {f"{kind}: {fate}": count for kind, fate, count in fates.iter_rows()},
            checks=[Checked("decision_ids", check_decision_ids(ledgers))],
        )

    return decision_trail


def _settled(consultation: Consultation) -> Thresholds:
    return thresholds(decisions.read(consultation, "threshold"), consultation.file.seed)


def _on_record(consultation: Consultation) -> Alternative:
    """The numeric decisions as they were taken, where groups are those on record."""
    return alternative_on_record(_settled(consultation), consultation.file.moderation)


def _shared_inputs(consultation: Consultation, raw_tables: dict[str, pl.DataFrame]) -> recomputation.SharedInputs:
    """What every recomputation starts from: the raw tables, and decisions that are no numbers."""
    ledgers = {kind: decisions.read(consultation, kind) for kind in ("moderation", "exclusion", "idea")}
    return recomputation.SharedInputs(
        **raw_tables,
        moderation=moderation_verdicts(ledgers["moderation"]),
        excluded=exclusions(ledgers["exclusion"]),
        ideas=statement_ideas(ledgers["idea"]),
    )


def _decision_worlds(consultation: Consultation) -> dg.AssetsDefinition:
    @asset(
        contracts.DECISION_WORLDS,
        kinds={"scikitlearn"},
        ins=RAW,
        method="2",
        deps=[decisions.ledger_key(kind) for kind in ("moderation", "exclusion", "idea", "threshold")],
        settings=[consultation.file.seed, consultation.file.moderation, consultation.profile.sensitivity],
        description="What would be selected had numeric decisions been taken otherwise, alone and together.",
    )
    def decision_worlds(
        context: dg.AssetExecutionContext,
        gac_scores: pl.DataFrame,
        group_structure: pl.DataFrame,
        **tables: pl.DataFrame,
    ) -> Table:
        settled = _settled(consultation)
        procedure = procedure_for(settled.procedure, group_structure, settled.without_structure)
        record = alternative_on_record(replace(settled, procedure=procedure), consultation.file.moderation)
        shared = _shared_inputs(consultation, tables)
        tried = levels(record, bool(shared.ideas), bool(shared.raw_votes["important"].any()))
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

    return decision_worlds


def _sensitivity(consultation: Consultation, derived: str) -> list[dg.AssetsDefinition]:
    """What the alternatives amount to, decision by decision and principle by principle."""
    wording = [decisions.ledger_key("wording")]
    from_files = [name for name, arm in consultation.arms.items() if arm.constitution != "ledgers"]

    def worded() -> sensitivity.Sources:
        return sensitivity.worded_sources(decisions.read(consultation, "wording"))

    @asset(
        contracts.DECISION_SENSITIVITY,
        deps=wording,
        description="What would have been selected had one numeric decision been taken otherwise.",
    )
    def decision_sensitivity(decision_worlds: pl.DataFrame) -> Table:
        frame = sensitivity.decision_sensitivity(decision_worlds, worded())
        return Table(frame, {"what would be different": picture(pictures.sensitivity(frame))})

    @asset(
        contracts.DECISION_IMPORTANCE,
        deps=[*wording, decisions.ledger_key("threshold")],
        description="How many principles hang on each numeric decision, most first.",
    )
    def decision_importance(decision_worlds: pl.DataFrame) -> Table:
        rows = sensitivity.deciding_rows(_settled(consultation))
        frame = sensitivity.decision_importance(decision_worlds, worded(), rows)
        shown = picture(pictures.once(pictures.decision_importance, frame))
        return Table(frame, {"what hangs on which decision": shown, "in words": sensitivity.importance_sentence(frame)})

    @asset(
        contracts.PRINCIPLE_ROBUSTNESS,
        deps=wording,
        ins={name: [name, "constitution"] for name in from_files},
        description="In what share of all combinations of numeric decisions each principle is in.",
    )
    def principle_robustness(decision_worlds: pl.DataFrame, **constitutions: pl.DataFrame) -> Table:
        given = {name: sensitivity.constitution_sources(constitutions[name]) for name in from_files}
        frame = sensitivity.principle_robustness(decision_worlds, {derived: worded(), **given})
        return Table(
            frame,
            {f"{arm} in words": sentence for arm, sentence in sensitivity.robustness_sentences(frame).items()}
            | {
                arm: picture(pictures.once(pictures.principle_robustness, frame, arm))
                for arm in frame["arm"].unique(maintain_order=True)
            },
        )

    return [decision_sensitivity, decision_importance, principle_robustness]


def _reversals(consultation: Consultation) -> dg.AssetsDefinition:
    @asset(
        contracts.DECISION_REVERSALS,
        kinds={"scikitlearn"},
        ins=RAW,
        settings=[consultation.file.seed, consultation.file.moderation],
        deps=[decisions.ledger_key(kind) for kind in LEDGERS if kind not in ("training", "signoff")],
        description="What each decision of a person would bring in or take out, had it gone the other way.",
    )
    def decision_reversals(
        context: dg.AssetExecutionContext, opinion_groups: pl.DataFrame, **tables: pl.DataFrame
    ) -> Table:
        ledgers = {kind: decisions.read(consultation, kind) for kind in LEDGERS}
        record = reversals.recorded_decisions(
            _shared_inputs(consultation, tables), _on_record(consultation), opinion_groups, ledgers["wording"]
        )
        frame = reversals.decision_reversals(record, ledgers, _every(context, 10))
        return Table(frame, reversals.reversal_sentences(frame))

    return decision_reversals


def _every(context: dg.AssetExecutionContext, steps: int) -> Progress:
    """Report every so many steps in Dagster's log."""

    def logged(message: str, done: int, total: int) -> None:
        if done % steps == 0 or done == total:
            context.log.info(f"{message}: {done} of {total}")

    return logged


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


def _constitution_pages(consultation: Consultation, home: Home, derived: str) -> list[dg.AssetsDefinition]:
    """The report and the short page, before anything is trained."""
    arms, file = list(consultation.arms), consultation.file
    written = ["written_narrative"] if consultation.profile.feedback.server_url else []
    page_asset = partial(
        asset,
        contracts.FILE,
        kinds={"html"},
        ins={name: [name] for name in (*UP_TO_CONSTITUTION, *written)} | of_arms(arms, "constitution"),
        deps=ALL_LEDGERS,
        settings=[file.title, file.public, file.question, PAGE if file.replication else ""],
    )

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
            **shown,
        )

    @page_asset(description="The page for those who are to sign: groups, principles, what waits, every decision.")
    def constitution_report(**tables: pl.DataFrame) -> Table:
        return report_file(home, CONSTITUTION_PAGE, render_report(inputs_of(tables)))

    @page_asset(description="A short page for the public, two sheets in print: the principles, and who agrees how far.")
    def public_summary(**tables: pl.DataFrame) -> Table:
        return report_file(home, SHORT_PAGE, render_summary(inputs_of(tables), CONSTITUTION_PAGE))

    return [constitution_report, public_summary]


def _audit_report(
    consultation: Consultation, home: Home, derived: str, earlier: set[dg.AssetKey]
) -> dg.AssetsDefinition:
    arms, file = list(consultation.arms), consultation.file
    responses = of_arms([BASE, *arms], "qualitative_responses")
    records = of_arms(arms, *contracts.ARM_STAGES)
    written = ["written_narrative"] if consultation.profile.feedback.server_url else []
    shared = {name: [name] for name in (*REPORTED, *written)}
    read = shared | of_arms(arms, "constitution", "preference_pairs") | responses | records

    @asset(
        contracts.FILE,
        kinds={"html"},
        ins=read,
        deps=sorted(earlier - {dg.AssetKey(key) for key in read.values()}, key=lambda key: key.to_user_string()),
        settings=[file.title, file.public, file.question, PAGE if file.replication else ""],
        method="5",
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
                key.to_user_string(): version for key, version in history.versions_of(earlier, context.instance).items()
            },
            replication_page=PAGE if file.replication else None,
            evaluation_page=EVALUATION_PAGE,
            **shown,
        )
        return report_file(home, REPORT, render_report(inputs))

    return audit_report


def _provenance(consultation: Consultation, home: Home, earlier: set[dg.AssetKey]) -> dg.AssetsDefinition:
    @asset(
        contracts.FILE,
        kinds={"json"},
        method="2",
        deps=sorted(earlier, key=lambda key: key.to_user_string()),
        description="The whole run as W3C PROV-JSON: what was made from what, by which run and decision.",
    )
    def provenance(context: dg.AssetExecutionContext) -> Table:
        # Without itself: the manifest names the digest of the file that is written here.
        from ccai_dagster.audit.provenance import provenance_of

        manifest = history.describe(consultation, home, context.instance, earlier)
        ledgers = {kind: decisions.read(consultation, kind) for kind in LEDGERS}
        programs = {name: version(package) for name, package in SOFTWARE.items()}
        document = provenance_of(manifest, ledgers, programs)
        written = report_file(home, PROVENANCE, json.dumps(document, indent=1, sort_keys=True, ensure_ascii=False))
        history.record_with_file(home, manifest, home.report / PROVENANCE)
        counts = {name: len(document[name]) for name in ("entity", "activity", "agent")}
        return replace(
            written, metadata={**written.metadata, **counts, "manifest": f"{home.consultation}/{home.manifest.name}"}
        )

    return provenance
