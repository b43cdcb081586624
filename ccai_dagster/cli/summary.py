"""The few lines at the end of `ccai run`: what came out, how sure it is, and where to look."""

import shlex
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import polars as pl

from ccai_dagster.background import how_sure
from ccai_dagster.consultation.folder import BASE, SAMPLE
from ccai_dagster.contracts import ELO_DIFFERENCES, JUDGE_CALIBRATION
from ccai_dagster.core.home import pages_in
from ccai_dagster.core.text import listed
from ccai_dagster.decisions.exported_moderation import contradicted_mode, differences
from ccai_dagster.deliberation.importing.group_counts import NOT_THERE
from ccai_dagster.deliberation.importing.moderation_mode import stated_mode
from ccai_dagster.deliberation.structure import agreement_told, agreement_with_polis, verdict
from ccai_dagster.feedback.judge_accuracy import scores_at_chance, scoring_sentence, told
from ccai_dagster.open_consultation import OpenConsultation
from ccai_dagster.pages.evaluation import in_short
from ccai_dagster.pages.evaluation_control import control_line

SHOWN = ("all",)
"""Categories of a benchmark that are printed; the report has the rest."""

DIFFERENCES = 3
"""Differences that get a sentence; the page has all, and what does not differ or is not certain."""


def summary(opened: OpenConsultation, report: Path) -> list[str]:
    """Return the summary's lines, from tables and the pages in the folder `report`; what was not made is left out."""
    return [
        *_control(opened),
        *_judge(opened),
        *_deliberation(opened),
        *_scores(opened),
        *(f"{name:<18}{path}" for name, path in pages_in(report).items()),
        f"Look around       {_look_around(opened)}  starts Dagster and MLflow and prints their addresses",
    ]


def _look_around(opened: OpenConsultation) -> str:
    folder = opened.consultation.folder
    return "make ui  (or: ccai ui)" if folder == SAMPLE else f"ccai ui {shlex.quote(str(folder))}"


def _control(opened: OpenConsultation) -> Iterator[str]:
    scores = opened.table("control_scores") if opened.consultation.file.control else None
    if scores is not None:
        yield f"Control           {control_line(scores)}"


def _deliberation(opened: OpenConsultation) -> Iterator[str]:
    groups = opened.table("opinion_groups")
    given = opened.table("raw_group_votes")
    if given is not None and given.height:
        yield f"Groups            {given['group_id'].n_unique()}; {NOT_THERE}"
    elif groups is not None:
        sizes = groups["group_id"].value_counts().sort("group_id")["count"].to_list()
        people = opened.table("participants")
        total = people.height if people is not None else groups.height
        named = f"{len(sizes)} groups of {listed(sizes)}" if len(sizes) != 1 else f"one group of {sizes[0]:,}"
        yield f"Participants      {groups.height:,} of {total:,} kept, in {named}"
        yield from _groups(opened, groups, people)
    selected = opened.table("selected_statements")
    if selected is not None:
        fates = dict(selected["fate"].value_counts().iter_rows())
        yield (
            f"Statements        {selected.height:,} in, {selected['selected'].sum():,} reach the cut: "
            f"{fates.get('principle', 0)} lead to principles, {fates.get('left out', 0)} left out by a person, "
            f"{fates.get('undecided', 0)} waiting for a decision"
        )
    raw, votes = opened.table("raw_statements"), opened.table("raw_votes")
    found = [] if raw is None else differences(opened.ledger("moderation"), raw)
    if what := Counter(each.exported for each in found if not each.by_person):
        says = ", ".join(f"{name} {n:,}" for name, n in sorted(what.items()))
        yield f"Moderation        the export says otherwise than the ledger ({says}): `ccai status`, `ccai take-over`"
    mode = opened.consultation.file.moderation
    if raw is not None and votes is not None:
        report = opened.table("import_report")
        stated = None if report is None else stated_mode(report)
        contradicted = contradicted_mode(opened.ledger("moderation"), raw, votes, mode, stated)
        if contradicted:
            yield f"WARNING           {contradicted}"
    if (sure := how_sure(opened)) is not None:
        yield f"How sure          {sure}"
    counts = {arm: opened.table(arm, "constitution") for arm in opened.consultation.arms}
    made = [f"{arm} {table.height}" for arm, table in counts.items() if table is not None]
    if made:
        yield f"Principles        {', '.join(made)}"


def _groups(opened: OpenConsultation, groups: pl.DataFrame, people: pl.DataFrame | None) -> Iterator[str]:
    """Whether the groups are more than chance, and how they agree with those of the export."""
    tested, report = opened.table("group_structure"), opened.table("import_report")
    if tested is not None:
        yield f"Structure         the votes show {verdict(tested)}"
    agreement = None if people is None else agreement_with_polis(groups, people)
    if agreement is not None and report is not None:
        yield f"                  {agreement_told(agreement, report)}"


def _judge(opened: OpenConsultation) -> Iterator[str]:
    calibration = opened.table("judge_calibration")
    if calibration is None or not set(JUDGE_CALIBRATION.fields) <= set(calibration.columns):
        return  # one that an older version wrote is measured again
    for row in calibration.iter_rows(named=True):
        yield (
            f"Feedback model    {row['method']} on {row['comparison_set']}: accuracy {row['accuracy']:.2f} "
            f"[{row['accuracy_low']:.2f}, {row['accuracy_high']:.2f}] on {row['n']}, {told(row)}; without seeing the "
            f"principle {row['blind_accuracy']:.2f}; labels {row['label_distance']:.2f} from one half"
        )
    yield f"                  {scoring_sentence(calibration)}"


def _scores(opened: OpenConsultation) -> Iterator[str]:
    scores = opened.table("eval_scores")
    if scores is None:
        return
    arms = [BASE, *opened.consultation.arms]
    shown = scores.filter(
        pl.col("category").is_in(SHOWN) | pl.col("benchmark").is_in(["adherence", "elo", "elo_by_people"])
    )
    yield f"Scores            {'':<44}" + "".join(f"{arm:<24}" for arm in arms)
    for (benchmark, metric, category), rows in shown.group_by(["benchmark", "metric", "category"], maintain_order=True):
        name = " ".join(dict.fromkeys([str(benchmark), str(metric), "" if category == "all" else str(category)]))
        cells = {  # a score has a row for each arm it is compared with: the same figure
            row["arm"]: _score(row["value"], row["low"], row["high"]) for row in rows.iter_rows(named=True)
        }
        yield f"                  {name:<44}" + "".join(f"{cells.get(arm, '–'):<24}" for arm in arms)
    if scores["judge_at_chance"].any():
        marked = scores.filter("judge_at_chance")["benchmark"].to_list()
        yield f"                  {scores_at_chance(marked)}"
    yield from _in_short(scores, opened.table("elo_differences"))


def _in_short(scores: pl.DataFrame, elo_differences: pl.DataFrame | None) -> Iterator[str]:
    short = in_short(scores, ELO_DIFFERENCES.empty() if elo_differences is None else elo_differences)
    yield f"In short          {short.lead}"
    yield from (f"                  {sentence}" for sentence in short.differ[:DIFFERENCES])
    if len(short.differ) > DIFFERENCES:
        yield f"                  and {len(short.differ) - DIFFERENCES} more, see the page of the evaluation"


def _score(value: float | None, low: float, high: float) -> str:
    if value is None:
        return "no answers"
    digits = 0 if abs(value) >= 10 or abs(high) >= 10 else 2
    value, low, high = (round(each, digits) + 0.0 for each in (value, low, high))  # no minus before a zero
    return f"{value:.{digits}f} [{low:.{digits}f}, {high:.{digits}f}]"
