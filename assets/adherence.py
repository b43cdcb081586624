"""Adherence: what people prepared for it, and what follows from every model's responses and margins.

Responses are judged and margins measured in `assets.evaluation`, where the models are loaded.
Assets: https://docs.dagster.io/guides/build/assets/defining-assets
"""

from collections import Counter
from functools import partial

import dagster as dg
import polars as pl

from assets import decisions
from assets.table_asset import Checked, Table, markdown_table, of_arms, picture, table_asset
from assets.torch_stage import GROUP, OWNER
from ccai_dagster import contracts
from ccai_dagster.constitution.selection import worded_statements
from ccai_dagster.consultation.folder import BASE, Consultation
from ccai_dagster.core.digest import file_digest
from ccai_dagster.decisions.values import thresholds
from ccai_dagster.evaluation import labelled_examples
from ccai_dagster.evaluation.corrected_adherence import ALL_PRINCIPLES
from ccai_dagster.evaluation.corrected_adherence import adherence_scores as corrected_scores
from ccai_dagster.evaluation.corrected_adherence import group_adherence as weighted_by_group
from ccai_dagster.evaluation.labelled_examples import REJECTED, KnownPrinciples
from ccai_dagster.evaluation.specificity import conflicts as followed_principles
from ccai_dagster.evaluation.specificity import control_statements as drawn_statements
from ccai_dagster.evaluation.specificity import controls_at_nil
from ccai_dagster.evaluation.specificity import specificity as lift_matrix
from ccai_dagster.pages import pictures

asset = partial(table_asset, group=GROUP, owner=OWNER)


def build(consultation: Consultation) -> list[dg.AssetsDefinition]:
    """Make the assets of this stage."""
    return [*_prepared(consultation), *_measured(consultation)]


def _prepared(consultation: Consultation) -> list[dg.AssetsDefinition]:
    file, settings = consultation.file, consultation.profile.evaluation
    constitutions = of_arms(consultation.arms, "constitution")
    wording = [decisions.ledger_key("wording"), decisions.ledger_key("merge")]
    paths = {
        name: consultation.path(given)
        for name, given in (("examples", file.adherence_examples), ("pairs", file.contrast_pairs))
        if given
    }
    themes = consultation.path(file.themes)

    statements = {each: [each] for each in ("statements", "selected_statements", "raw_statements")}

    @asset(
        contracts.ADHERENCE_EXAMPLES,
        kinds={"person"},
        ins=constitutions | statements,
        deps=wording,
        settings=[file_digest(paths["examples"])] if "examples" in paths else [],
        description="Responses that people labelled: does it satisfy the principle? Empty if there is no such file.",
    )
    def adherence_examples(**tables: pl.DataFrame) -> Table:
        if "examples" not in paths:
            return Table(contracts.ADHERENCE_EXAMPLES.empty(), {"without": "no adherence_examples are named"})
        frame, left_out = labelled_examples.read_examples(paths["examples"], _known(consultation, tables))
        return Table(frame, {"satisfied": int(frame["satisfied"].sum()), "left out": ", ".join(left_out)})

    @asset(
        contracts.CONTRAST_PAIRS,
        kinds={"person"},
        ins=constitutions | statements,
        deps=wording,
        settings=[file_digest(paths["pairs"])] if "pairs" in paths else [],
        description="For a prompt, a response that keeps a principle and one that breaks it: written, or made from "
        "labelled examples where nobody wrote any.",
    )
    def contrast_pairs(adherence_examples: pl.DataFrame, **tables: pl.DataFrame) -> Table:
        if "pairs" not in paths:
            frame = labelled_examples.pairs_of_examples(adherence_examples)
            left_out: list[str] = []
        else:
            frame, left_out = labelled_examples.read_contrast_pairs(paths["pairs"], _known(consultation, tables))
        return Table(
            frame,
            {"conflicts": frame["against_id"].count(), "left out": ", ".join(left_out)}
            | {f"pairs for {arm}": n for arm, n in sorted(Counter(frame["constitution_arm"]).items())},
        )

    @asset(
        contracts.CONTROL_STATEMENTS,
        ins=constitutions,
        deps=[decisions.ledger_key("threshold")],
        settings=[settings, file.seed, file_digest(themes)],
        description="Statements that moderation kept and that are in no constitution, drawn as negative controls.",
    )
    def control_statements(selected_statements: pl.DataFrame, prompts: pl.DataFrame, **tables: pl.DataFrame) -> Table:
        frame = drawn_statements(
            selected_statements,
            {arm: tables[f"{arm}__constitution"] for arm in consultation.arms},
            prompts,
            themes,
            thresholds(decisions.read(consultation, "threshold"), file.seed).overlap_similarity,
            settings.control_statements,
            file.seed,
        )
        return Table(frame, {"with a relevant prompt": frame.filter(pl.col("prompt_ids").list.len() > 0).height})

    return [adherence_examples, contrast_pairs, control_statements]


def _known(consultation: Consultation, tables: dict[str, pl.DataFrame]) -> KnownPrinciples:
    """The principles and rejected statements that examples and contrast pairs may be about."""
    texts = {
        (arm, principle_id): text
        for arm in consultation.arms
        for principle_id, text in tables[f"{arm}__constitution"].select("principle_id", "text").iter_rows()
    }
    below = tables["selected_statements"].filter(pl.col("fate") == "below the cut").select("statement_id", "text")
    rows = worded_statements(
        decisions.read(consultation, "wording"), decisions.read(consultation, "merge"), tables["statements"]
    )
    derived = [name for name, arm in consultation.arms.items() if arm.constitution == "ledgers"]
    return KnownPrinciples(
        texts | {(REJECTED, str(each)): text for each, text in below.iter_rows()},
        {(arm, row.wording.principle_id) for arm in derived for row in rows if row.wording.text is not None}
        | {(REJECTED, str(each)) for each in tables["raw_statements"]["statement_id"]},
    )


def _measured(consultation: Consultation) -> list[dg.AssetsDefinition]:
    arms = [BASE, *consultation.arms]
    settings, seed = consultation.profile.evaluation, consultation.file.seed
    constitutions = of_arms(consultation.arms, "constitution")

    def ordered(tables: dict[str, pl.DataFrame], name: str) -> dict[str, pl.DataFrame]:
        return {arm: tables[key] for arm in arms if (key := f"{arm}__{name}") in tables}

    @asset(
        contracts.ADHERENCE_SCORES,
        method="3",
        ins=of_arms(arms, "adherence") | constitutions,
        settings=[settings, seed],
        description="Adherence of every model to every principle where it is relevant, corrected by labelled examples.",
    )
    def adherence_scores(judged_examples: pl.DataFrame, prompts: pl.DataFrame, **tables: pl.DataFrame) -> Table:
        frame = corrected_scores(
            ordered(tables, "adherence"),
            judged_examples,
            prompts,
            ordered(tables, "constitution"),
            settings.bootstraps,
            seed,
        )
        whole = frame.filter(pl.col("principle_id") == ALL_PRINCIPLES)
        single = frame.filter((pl.col("principle_id") != ALL_PRINCIPLES) & (pl.col("arm") == BASE))
        shown = whole.select("constitution_arm", "arm", "n", "judged", "labels", "adherence", "low", "high", "lift")
        return Table(
            frame,
            {"whole constitutions": dg.MetadataValue.md(markdown_table(shown))}
            | {f"principles {status}": n for status, n in sorted(Counter(single["status"]).items())},
        )

    @asset(
        contracts.GROUP_ADHERENCE,
        method="2",
        ins=of_arms(arms, "adherence") | constitutions,
        description="Adherence with principles weighted by each opinion group's support, and the group worst off.",
    )
    def group_adherence(gac_scores: pl.DataFrame, **tables: pl.DataFrame) -> Table:
        return Table(weighted_by_group(ordered(tables, "adherence"), ordered(tables, "constitution"), gac_scores))

    @asset(
        contracts.SPECIFICITY,
        method="2",
        ins=of_arms(arms, "adherence", "control_adherence", "contrast_margins"),
        settings=[seed],
        checks=["controls_at_nil"],
        description="How much training on each constitution lifts its own principles, shared ones, the others' and "
        "statements that are in none.",
    )
    def specificity(constitution_overlap: pl.DataFrame, **tables: pl.DataFrame) -> Table:
        frame = lift_matrix(
            ordered(tables, "adherence"),
            ordered(tables, "control_adherence"),
            ordered(tables, "contrast_margins"),
            constitution_overlap,
            seed,
        )
        return Table(
            frame,
            {"matrix": picture(pictures.specificity(frame))},
            [Checked("controls_at_nil", controls_at_nil(frame), warns=True)],
        )

    @asset(
        contracts.CONFLICTS,
        ins=of_arms(arms, "contrast_margins"),
        description="Where two principles of a constitution pull apart, which one every model follows.",
    )
    def conflicts(**tables: pl.DataFrame) -> Table:
        frame = followed_principles(ordered(tables, "contrast_margins"))
        without = {} if frame.height else {"without": "no contrast pair sets one principle against another"}
        return Table(frame, without)

    return [adherence_scores, group_adherence, specificity, conflicts]
