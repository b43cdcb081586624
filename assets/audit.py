"""Why it is as it is: the trail of every statement and principle, what depends on what, and provenance.

Belongs here: the assets of the group `audit` but for its pages, which are in `pages`. Methods are in
`ccai_dagster.audit`.
Assets: https://docs.dagster.io/guides/build/assets/defining-assets
"""

import json
from collections.abc import Iterable
from dataclasses import replace
from functools import partial
from importlib.metadata import version

import dagster as dg
import polars as pl

from assets import decisions, pages
from assets.table_asset import Checked, Table, by_arm, of_arms, picture, report_file, table_asset
from ccai_dagster import contracts
from ccai_dagster.audit import recomputation, reversals, sensitivity
from ccai_dagster.audit.sensitivity import Alternative, alternative_on_record, combinations, levels, single_changes
from ccai_dagster.audit.trail import decision_trail as trail_of
from ccai_dagster.consultation.folder import BASE, LEDGERS, Consultation
from ccai_dagster.core.errors import Progress
from ccai_dagster.core.home import Home
from ccai_dagster.decisions.checks import check_decision_ids
from ccai_dagster.decisions.outcomes import exclusions, moderation_verdicts, statement_ideas
from ccai_dagster.decisions.values import Thresholds, thresholds
from ccai_dagster.deliberation.structure import procedure_for
from ccai_dagster.pages import pictures
from resources import history

OWNER = "team:audit"
asset = partial(table_asset, group="audit", owner=OWNER)
RAW = {name: [name] for name in ("raw_statements", "raw_participants", "raw_votes", "raw_group_votes")}
SOFTWARE = {"ccai_dagster": "ccai-dagster", "dagster": "dagster", "mlflow": "mlflow"}
"""Programs that the provenance names, and what their packages are called."""
PROVENANCE = "provenance.json"


def build(
    consultation: Consultation, home: Home, others: list[dg.AssetsDefinition | dg.SourceAsset]
) -> list[dg.AssetsDefinition]:
    """Make the assets of this stage.

    Args:
        others: All assets of the earlier stages, which provenance covers.
    """
    made = [pages.evaluation_page_asset(consultation, home), _decision_trail(consultation)]
    derived = next((name for name, arm in consultation.arms.items() if arm.constitution == "ledgers"), None)
    if derived is not None:
        made += [_decision_worlds(consultation), *_sensitivity(consultation, derived), _reversals(consultation)]
        made += pages.constitution_page_assets(consultation, home, derived)
        # The page lists the version of everything, so it is written anew when anything changes.
        made.append(pages.audit_report_asset(consultation, home, derived, _keys([*others, *made])))
    return [*made, _provenance(consultation, home, _keys([*others, *made]))]


def _keys(assets: Iterable[dg.AssetsDefinition | dg.SourceAsset]) -> set[dg.AssetKey]:
    return {key for asset in assets for key in (asset.keys if isinstance(asset, dg.AssetsDefinition) else {asset.key})}


def _decision_trail(consultation: Consultation) -> dg.AssetsDefinition:
    arms = list(consultation.arms)

    @asset(
        contracts.DECISION_TRAIL,
        deps=pages.ALL_LEDGERS,
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
        shown = picture(pictures.decision_importance(frame))
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
                arm: picture(pictures.principle_robustness(frame, arm))
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
