"""From scores and decisions to the constitution of each arm, what is signed off, and how constitutions compare.

Belongs here: the assets of the group `constitution`. Their methods are in `ccai_dagster.constitution`.
Assets: https://docs.dagster.io/guides/build/assets/defining-assets
"""

from collections import Counter
from functools import partial

import dagster as dg
import polars as pl

from assets import decisions
from assets.table_asset import PREVIEW_ROWS, Checked, Table, markdown_table, require, table_asset
from ccai_dagster import contracts
from ccai_dagster.constitution import comparison, principles, selection
from ccai_dagster.constitution.comparison import read_principle_tags
from ccai_dagster.consultation.folder import Arm, Consultation
from ccai_dagster.core.digest import file_digest
from ccai_dagster.core.errors import ConsultationError
from ccai_dagster.decisions import checks
from ccai_dagster.decisions.group_checks import unreachable
from ccai_dagster.decisions.ledger import current
from ccai_dagster.decisions.outcomes import statement_ideas
from ccai_dagster.decisions.values import thresholds
from ccai_dagster.deliberation import stability
from ccai_dagster.replication.published_results import published_figures

asset = partial(table_asset, group="constitution", owner="team:constitution")
REACH_THE_CUT = "reach the cut"
"""Name of the metadata of `selected_statements` that says how many do."""
WORDING_LEDGERS = [decisions.ledger_key("merge"), decisions.ledger_key("wording")]


def build(consultation: Consultation) -> list[dg.AssetsDefinition]:
    """Make the assets of this stage."""

    @asset(
        contracts.SELECTED_STATEMENTS,
        deps=[decisions.ledger_key("threshold"), decisions.ledger_key("idea"), *WORDING_LEDGERS],
        checks=["ideas", "merges", "wordings"],
        method="2",
        description="Every statement ranked by consensus, which reach the cut, and what becomes of them.",
    )
    def selected_statements(
        gac_scores: pl.DataFrame,
        statements: pl.DataFrame,
        raw_statements: pl.DataFrame,
        consensus_stability: pl.DataFrame,
    ) -> Table:
        settled = thresholds(decisions.read(consultation, "threshold"), consultation.file.seed)
        ledgers = {kind: decisions.read(consultation, kind) for kind in ("idea", "merge", "wording")}
        known = raw_statements["statement_id"].to_list()

        def findings(reached: list[int], needed: list[int], rejected: list[int]) -> list[Checked]:
            idea, merge, wording = ledgers["idea"], ledgers["merge"], ledgers["wording"]
            return [
                Checked("ideas", checks.check_ideas(idea, statements, needed, known)),
                Checked("merges", checks.check_merges(merge, statements, known, reached)),
                Checked("wordings", checks.check_wordings(wording, merge, statements, reached, known, rejected)),
            ]

        require(*findings([], [], []))  # before anything is selected: what makes the ledgers unreadable
        frame = selection.select_statements(
            gac_scores,
            statements,
            statement_ideas(ledgers["idea"]),
            settled.cut,
            [settled.decision_ids["selection_rule"]],
            selection.worded_statements(ledgers["wording"], ledgers["merge"], statements),
        )
        reached = frame.filter("selected")["statement_id"].to_list()
        needed = reached if settled.cut.rule == "ideas" else []
        rejected = frame.filter(pl.col("selected") & (pl.col("side") == "disagree"))["statement_id"].to_list()
        found = findings(reached, needed, rejected)
        fates = Counter(frame["fate"].to_list())
        ideas = {idea for row in frame.filter("selected")["ideas"].to_list() for idea in row}
        return Table(
            frame,
            {
                REACH_THE_CUT: len(reached),
                "of these, rejected by every group": len(rejected),
                "kept from it, since too few of a group voted": fates[contracts.TOO_FEW_VOTED],
                "become principles": fates["principle"],
                "left out by a person": fates["left out"],
                "waiting for a decision": fates["undecided"],
                "distinct ideas": len(ideas),
                "preview": _preview(stability.statement_intervals(frame, consensus_stability)),
                "around the cut": _preview(stability.around_the_cut(frame, consensus_stability)),
            },
            found,
        )

    tags_file = [consultation.path(each) for each in [consultation.file.principle_tags] if each]
    printed = _published_comparison(consultation)
    constitutions = [
        _derived_constitution(consultation, name, arm)
        if arm.constitution == "ledgers"
        else _given_constitution(consultation, name, arm)
        for name, arm in consultation.arms.items()
    ]

    @asset(
        contracts.CONSTITUTION_OVERLAP,
        kinds={"scikitlearn"},
        ins={name: [name, "constitution"] for name in consultation.arms},
        deps=[decisions.ledger_key("threshold")],
        method="2",
        settings=[file_digest(each) for each in tags_file],
        description="For each principle its counterparts in every other constitution, by words and by people's tags.",
    )
    def constitution_overlap(**constitutions: pl.DataFrame) -> Table:
        settled = thresholds(decisions.read(consultation, "threshold"), consultation.file.seed)
        tags = {} if not tags_file else read_principle_tags(tags_file[0], consultation.arms)
        frame = comparison.constitution_overlap(constitutions, settled.overlap_similarity, tags)
        return Table(frame, {"similarity counted as shared": settled.overlap_similarity})

    @asset(
        contracts.CONSTITUTION_COMPARISON,
        settings=[consultation.file.seed, *(f"{each}: {value}" for each, value in printed.items())],
        description="What each two constitutions share, and how much of them says what to do rather than to avoid.",
    )
    def constitution_comparison(constitution_overlap: pl.DataFrame) -> Table:
        frame = comparison.constitution_comparison(constitution_overlap, printed, consultation.file.seed)
        return Table(frame, {"figures": dg.MetadataValue.md(markdown_table(frame))})

    signed = [_signed_constitution(consultation, name) for name in consultation.arms]
    return [selected_statements, *constitutions, *signed, constitution_overlap, constitution_comparison]


def _published_comparison(consultation: Consultation) -> dict[tuple[str, str, str], str]:
    """Figures of a published comparison with the baseline, if the consultation replicates one."""
    chosen = consultation.file.replication
    if chosen is None:
        return {}
    pair = (chosen.constitution, consultation.file.baseline)
    values = {each.figure_id: each.value for each in published_figures(consultation, chosen)}
    return {(*pair, measure): values[name] for name, measure in comparison.PRINTED.items() if name in values}


def _derived_constitution(consultation: Consultation, name: str, arm: Arm) -> dg.AssetsDefinition:
    @asset(
        contracts.CONSTITUTION,
        deps=[*WORDING_LEDGERS, decisions.ledger_key("threshold")],
        description=arm.description,
        key_prefix=name,
        method="2",
    )
    def constitution(
        selected_statements: pl.DataFrame,
        statements: pl.DataFrame,
        consensus_stability: pl.DataFrame,
        opinion_groups: pl.DataFrame,
    ) -> Table:
        settled = thresholds(decisions.read(consultation, "threshold"), consultation.file.seed)
        worded = selection.worded_statements(
            decisions.read(consultation, "wording"), decisions.read(consultation, "merge"), statements
        )
        frame = principles.derive_constitution(name, selected_statements, worded, unreachable(settled, opinion_groups))
        return _to_sign_off(frame, stability.principle_intervals(frame, consensus_stability))

    return constitution


def _given_constitution(consultation: Consultation, name: str, arm: Arm) -> dg.AssetsDefinition:
    path = consultation.path(arm.constitution)

    @asset(
        contracts.CONSTITUTION, settings=[file_digest(path)], description=arm.description, key_prefix=name, method="2"
    )
    def constitution() -> Table:
        frame = principles.read_constitution(path, name)
        return _to_sign_off(frame, frame)

    return constitution


def _to_sign_off(frame: pl.DataFrame, shown: pl.DataFrame) -> Table:
    digest = principles.constitution_digest(frame)
    metadata = {"principles": frame.height, "digest to sign off": digest, "preview": _preview(shown)}
    return Table(frame, metadata, version=digest)


def _signed_constitution(consultation: Consultation, name: str) -> dg.AssetsDefinition:
    @asset(
        contracts.CONSTITUTION,
        key_prefix=name,
        kinds={"person"},
        ins={"constitution": [name, "constitution"]},
        deps=[decisions.ledger_key("signoff")],
        checks=["signoff"],
        method="2",
        description="The constitution, once somebody has signed off exactly this text. Nothing is trained before.",
    )
    def signed_constitution(constitution: pl.DataFrame) -> Table:
        if constitution.is_empty():
            raise ConsultationError(
                f"The constitution of arm {name!r} has no principle yet, so there is nothing to sign off. `ccai review "
                "wording` asks for the statements that reach the cut one by one."
            )
        digest = principles.constitution_digest(constitution)
        ledger = decisions.read(consultation, "signoff")
        row = current(ledger).filter(pl.col("subject_ids").list.contains(name))
        found = checks.check_signoffs(ledger, {name: digest}, consultation.arms)
        by = {} if found else {"signed off by": ", ".join(row["decided_by"]), "decision": ", ".join(row["decision_id"])}
        # What is signed off is the text; scores and their intervals are shown with the constitution itself.
        texts = _preview(constitution.select("principle_id", "text", "statement_ids"))
        return Table(
            constitution, {"digest": digest, **by, "preview": texts}, [Checked("signoff", found)], version=digest
        )

    return signed_constitution


def _preview(frame: pl.DataFrame) -> dg.MetadataValue:
    return dg.MetadataValue.md(markdown_table(frame.head(PREVIEW_ROWS + 2)))
