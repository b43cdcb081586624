"""What differs between two consultations, two of their ledgers, or two runs: the same chapters for all of them.

A researcher copies a folder, changes one decision, runs it and asks what came of it. Each chapter begins with a
sentence on the whole and goes on with what differs, item by item, on either side.

Belongs here: comparing finished tables, ledgers and manifests. Doesn't belong here: opening a consultation, how a
difference is shown, and what a decision would bring that nobody took (`ccai what-if`).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import polars as pl

from ccai_dagster.audit.common_conversation import CommonConversation, common_conversation
from ccai_dagster.audit.ledger_record import row_changes
from ccai_dagster.audit.manifest import Manifest, Materialization
from ccai_dagster.contracts import MODEL_STAGES
from ccai_dagster.core.digest import SHORT
from ccai_dagster.core.errors import ConsultationError
from ccai_dagster.core.text import counted, listed, natural, number, signed
from ccai_dagster.decisions.independent_decisions import rows_by_subject, subject_name
from ccai_dagster.decisions.ledger import NUMBERED_KINDS, current, effect, is_decision, is_policy
from ccai_dagster.deliberation.importing.tables import Import
from ccai_dagster.deliberation.stability import adjusted_rand
from ccai_dagster.evaluation.findings import Verdict, small_difference, verdict
from ccai_dagster.evaluation.scores import ADHERENCE_SCORES, ALL, CORRECTED, ELO_BENCHMARK
from ccai_dagster.feedback.judge_accuracy import scored_by
from ccai_dagster.statistics.intervals import difference_interval

ABSENT = "–"
"""Stands where one side has nothing."""
RUNS_NAMED = 5
"""How many runs an error names."""
EQUAL_SCORES = 5e-4
"""Consensus that differs by less looks the same with three decimals."""
TOLD: Mapping[Verdict, str] = {
    "higher": "differs",
    "lower": "differs",
    "alike": "differs by too little to matter, if at all",
    "unclear": "cannot be told",
}
"""What the interval of a difference of two scores shows."""


@dataclass(frozen=True)
class Difference:
    """One thing that differs.

    Attributes:
        subject: What it is: a setting, the subject of a decision, a statement, a score.
        first: What it is on the first side, as a person reads it; `ABSENT` if it is not there.
        second: The same on the second side.
        note: What follows, in a few words; may be empty. Texts of statements stand here: untrusted.
    """

    subject: str
    first: str
    second: str
    note: str = ""


@dataclass(frozen=True)
class Chapter:
    """Differences of one kind, and a sentence on the whole."""

    name: str
    lead: str
    differences: Sequence[Difference] = ()

    @property
    def noted(self) -> bool:
        """Whether there is a note on any of them."""
        return any(each.note for each in self.differences)


@dataclass(frozen=True)
class Compared:
    """One of two consultations, as it is now and as its last run left it.

    Attributes:
        settings: Values of `consultation.yaml` as text, by dotted name.
        ledgers: LEDGER by kind.
        imported: Its export.
        constitutions: CONSTITUTION by arm; None where it is not made yet.
        tables: `opinion_groups`, `gac_scores`, `consensus_stability`, `selected_statements`, `eval_scores` and
            `judge_calibration`, as far as the last run made them.
        manifest: Of the last run; None before any.
        changed: Files of the folder, ledgers left out, that are not what the last run read.
    """

    settings: Mapping[str, str]
    ledgers: Mapping[str, pl.DataFrame]
    imported: Import
    constitutions: Mapping[str, pl.DataFrame | None] = field(default_factory=dict)
    tables: Mapping[str, pl.DataFrame] = field(default_factory=dict)
    manifest: Manifest | None = None
    changed: Sequence[str] = ()


def consultation_differences(first: Compared, second: Compared) -> list[Chapter]:
    """Compare two consultations, from what people said to the scores of the models."""
    common = common_conversation(first.imported, second.imported)
    # Where ids mean others, so do decisions on them.
    told = [kind for kind in first.ledgers if kind not in NUMBERED_KINDS or common.same_statements]
    told = [kind for kind in told if kind != "exclusion" or common.same_people]
    chapters = [
        _settings(first.settings, second.settings),
        _votes(first.imported, second.imported, common),
        ledger_differences(*({kind: side.ledgers[kind] for kind in told} for side in (first, second))),
    ]
    if left := [kind for kind in first.ledgers if kind not in told]:
        chapters.append(Chapter("Decisions on others", f"Not compared, since ids mean others: {listed(left)}."))
    pair = first.tables, second.tables
    if waiting := [*_not_up_to_date("first", first, second), *_not_up_to_date("second", second, first)]:
        chapters.append(Chapter("Results", " ".join(waiting)))
    if groups := _both("opinion_groups", pair):
        chapters.append(_groups(*groups, same_people=common.same_people))
    if (scores := _both("gac_scores", pair)) and (stability := _both("consensus_stability", pair)):
        chapters.append(_consensus(scores, stability, common))
    if selected := _both("selected_statements", pair):
        chapters.append(_selection(*selected, common))
    chapters += _constitutions(first.constitutions, second.constitutions, same_ids=common.same_statements)
    if first.manifest is not None and second.manifest is not None:
        chapters += _models(first.manifest, second.manifest)
    if evaluated := _both("eval_scores", pair):
        calibrations = _both("judge_calibration", pair) or ()
        judges = [scored_by(each) for each in calibrations if "scores_models" in each.columns]
        chapters.append(_scores(*evaluated, judges=list(dict.fromkeys(judges))))
    return chapters


def _not_up_to_date(name: str, side: Compared, other: Compared) -> Iterator[str]:
    """Say what results are missing, and what they are older than."""
    if side.manifest is None:
        yield f"The {name} has no results yet; `ccai run` makes them."
        return
    if missing := [table for table in other.tables if table not in side.tables]:
        yield f"The {name} lacks {listed(missing)}; `ccai run` makes what is missing."
    since = {kind: row_changes(side.manifest.rows.get(kind, {}), ledger).added for kind, ledger in side.ledgers.items()}
    newer = [*side.changed, *(f"{' '.join(ids)} ({kind})" for kind, ids in since.items() if ids)]
    if newer:
        yield f"Results of the {name} are from before {listed(newer)}; `ccai run` brings them up to date."


def _both(name: str, sides: tuple[Mapping[str, pl.DataFrame], ...]) -> tuple[pl.DataFrame, pl.DataFrame] | None:
    one, other = (side.get(name) for side in sides)
    return None if one is None or other is None else (one, other)


def _settings(first: Mapping[str, str], second: Mapping[str, str]) -> Chapter:
    found = list(_values(first, second))
    total = len(first.keys() | second.keys())
    return Chapter("Settings", f"{total - len(found)} of {total} values in consultation.yaml are the same.", found)


def _values(first: Mapping[str, str], second: Mapping[str, str]) -> Iterator[Difference]:
    for name in sorted(first.keys() | second.keys(), key=natural):
        if first.get(name) != second.get(name):
            yield Difference(name, first.get(name, ABSENT), second.get(name, ABSENT))


def _votes(first: Import, second: Import, common: CommonConversation) -> Chapter:
    names = {"participants": "raw_participants", "statements": "raw_statements", "votes": "raw_votes"}
    sizes = [{name: f"{getattr(each, table).height:,}" for name, table in names.items()} for each in (first, second)]
    found = list(_values(*sizes))
    one, other = common.texts
    reworded = [
        Difference(common.label(key, at), one[key], other[at])
        for key, at in common.pairs.items()
        if one[key] != other[at]
    ]
    key = ["participant_id", "statement_id"]
    same = not found and first.raw_votes.sort(key).equals(second.raw_votes.sort(key))
    if same and common.same_people and not reworded:
        return Chapter("Votes", "The same people cast the same votes on the same statements.")
    ids = "with the same ids" if common.same_statements else "by their text, since ids mean other statements"
    people = (
        "People of the same id are taken for the same, since they voted alike"
        if common.same_people
        else "The people are others, or have other ids"
    )
    lead = f"{counted(len(common.pairs), 'statement')} are in both, {ids}. {people}."
    return Chapter("Votes", lead, [*found, *reworded])


def ledger_differences(first: Mapping[str, pl.DataFrame], second: Mapping[str, pl.DataFrame]) -> Chapter:
    """Compare what counts in the ledgers, subject by subject.

    Decisions are the same if they bring about the same, whoever took them and for whatever reason; a sign-off only if
    it is for the same constitution.

    Args:
        first: LEDGER by kind.
        second: The same kinds.
    """
    found, total = [], 0
    for kind in first:
        one, other = _outcomes(first[kind]), _outcomes(second[kind])
        total += len(one.keys() | other.keys())
        found += [
            Difference(f"{kind}: {name}", _decided(one.get(name, {})), _decided(other.get(name, {})))
            for name in sorted(one.keys() | other.keys(), key=natural)
            if one.get(name, {}).keys() != other.get(name, {}).keys()
        ]
    return Chapter("Decisions", f"{total - len(found)} of {counted(total, 'subject')} are decided alike.", found)


def _outcomes(ledger: pl.DataFrame) -> dict[str, dict[str, list[str]]]:
    """What counts on each subject: ids of the rows by what they bring about."""
    found: dict[str, dict[str, list[str]]] = {}
    rows = [row for row in current(ledger).to_dicts() if is_decision(row["outcome"]) or is_policy(row["outcome"])]
    for subject, own in rows_by_subject(rows).items():
        for row in own:
            name = " ".join(subject) if is_policy(row["outcome"]) else subject_name(row["kind"], subject)
            brought = effect(row["kind"], row["outcome"])
            if row["kind"] == "signoff" and not is_policy(row["outcome"]):
                brought = f"{brought} {(row['inputs_digest'] or '')[:SHORT]}".strip()
            found.setdefault(name, {}).setdefault(brought, []).append(row["decision_id"])
    return found


def _decided(outcomes: Mapping[str, Sequence[str]]) -> str:
    return "; ".join(f"{what} ({', '.join(ids)})" for what, ids in outcomes.items()) or ABSENT


def _groups(first: pl.DataFrame, second: pl.DataFrame, same_people: bool) -> Chapter:
    one, other = (
        " and ".join(f"{size:,}" for size in table.group_by("group_id").len().sort("group_id")["len"])
        for table in (first, second)
    )
    found = [] if one == other else [Difference("people by group", one, other)]
    if not same_people:
        return Chapter("Opinion groups", "They are of other people, so who is with whom is not compared.", found)
    both = first.join(second, on="participant_id", validate="1:1")
    index = adjusted_rand(both["group_id"].to_numpy(), both["group_id_right"].to_numpy())
    lead = f"Adjusted Rand index {index:.2f} over {both.height:,} people in both (1 the same groups, 0 as by chance)."
    return Chapter("Opinion groups", lead, found)


def _consensus(
    scores: tuple[pl.DataFrame, pl.DataFrame], stability: tuple[pl.DataFrame, pl.DataFrame], common: CommonConversation
) -> Chapter:
    """Consensus of the statements in both, those that moved most first."""
    from scipy.stats import spearmanr

    one, other = (
        {
            row["statement_id"]: row
            for row in table.join(ends.drop("gac", "gac_disagree"), on="statement_id", how="left").to_dicts()
            if row["gac"] is not None
        }
        for table, ends in zip(scores, stability, strict=True)
    )
    pairs = [(key, at) for key, at in sorted(common.pairs.items()) if key in one and at in other]
    if not pairs:
        return Chapter("Group-aware consensus", "No statement has a score on both sides.")
    moved = sorted(
        (pair for pair in pairs if abs(one[pair[0]]["gac"] - other[pair[1]]["gac"]) >= EQUAL_SCORES),
        key=lambda pair: (-abs(one[pair[0]]["gac"] - other[pair[1]]["gac"]), pair),
    )
    lead = f"{len(pairs) - len(moved)} of {counted(len(pairs), 'statement')} in both have the same score"
    if len(pairs) > 2 and moved:
        order = spearmanr([one[key]["gac"] for key, _ in pairs], [other[at]["gac"] for _, at in pairs]).statistic
        if np.isfinite(order):
            lead += f"; rank correlation {float(order):.2f}"
    found = [
        Difference(common.label(key, at), _scored(one[key]), _scored(other[at]), common.texts[0][key])
        for key, at in moved
    ]
    return Chapter("Group-aware consensus", f"{lead}. Intervals hold 90 % of random draws of participants.", found)


def _scored(row: Mapping[str, Any]) -> str:
    ends = f" [{row['gac_low']:.3f}, {row['gac_high']:.3f}]" if row.get("gac_low") is not None else ""
    return f"{row['gac']:.3f}{ends}"


def _selection(first: pl.DataFrame, second: pl.DataFrame, common: CommonConversation) -> Chapter:
    one, other = ({row["statement_id"]: row for row in table.to_dicts()} for table in (first, second))
    names = {at: key for key, at in common.pairs.items()}
    reached, later = ({key for key, row in side.items() if row["selected"]} for side in (one, other))
    pairs = [(key, common.pairs.get(key)) for key in sorted(reached)]
    pairs += [(names.get(at), at) for at in sorted(later) if names.get(at) not in reached]
    moved = [(key, at) for key, at in pairs if key not in reached or at not in later]
    found = [
        Difference(
            common.label(key, at),
            _fate(one, key),
            _fate(other, at),
            common.texts[1][at] if key is None and at is not None else common.texts[0][key or 0],
        )
        for key, at in moved
    ]
    lead = f"{len(reached)} statements reach the cut of the first, {len(later)} that of the second"
    return Chapter("Selection", f"{lead}, {len(pairs) - len(moved)} that of both.", found)


def _fate(selected: Mapping[int, Mapping[str, Any]], statement: int | None) -> str:
    return ABSENT if statement is None or statement not in selected else str(selected[statement]["fate"])


def _constitutions(
    first: Mapping[str, pl.DataFrame | None], second: Mapping[str, pl.DataFrame | None], same_ids: bool
) -> Iterator[Chapter]:
    """Principles of each arm; with the same id and another text they are the same, worded otherwise, if ids tell."""
    for arm in sorted(first.keys() | second.keys(), key=natural):
        tables = [side.get(arm) for side in (first, second)]
        sides = [name for name, table in zip(("first", "second"), tables, strict=True) if table is None]
        if arm not in first or arm not in second:
            yield Chapter(f"Constitution: {arm}", f"Only the {'first' if arm in first else 'second'} has this arm.")
        elif sides:
            yield Chapter(f"Constitution: {arm}", f"Not made yet: that of the {' and the '.join(sides)}.")
        else:
            one, other = (dict(each.select("principle_id", "text").iter_rows()) for each in tables if each is not None)
            yield _principles(arm, one, other, same_ids)


def _principles(arm: str, one: Mapping[str, str], other: Mapping[str, str], same_ids: bool) -> Chapter:
    before, after = set(one.values()), set(other.values())
    lost = {key: text for key, text in one.items() if text not in after}
    new = {key: text for key, text in other.items() if text not in before}
    if same_ids:
        found = [
            Difference(f"principle {key}", lost.get(key, ABSENT), new.get(key, ABSENT))
            for key in sorted(lost.keys() | new.keys(), key=natural)
        ]
    else:
        found = [Difference(f"principle {key}", lost[key], ABSENT) for key in sorted(lost, key=natural)]
        found += [Difference(f"principle {key}", ABSENT, new[key]) for key in sorted(new, key=natural)]
    lead = f"{len(one)} principles and {len(other)}, {len(one) - len(lost)} of them word for word in both."
    return Chapter(f"Constitution: {arm}", lead, found)


def _models(first: Manifest, second: Manifest) -> Iterator[Chapter]:
    """Models by the digest of what was made; a stage that nothing was changed for gives the same one."""
    one, other = (
        {
            key: made.data_version[:SHORT]
            for key, made in manifest.materializations.items()
            if key.rpartition("/")[2] in MODEL_STAGES
        }
        for manifest in (first, second)
    )
    found = list(_values(one, other))
    total = len(one.keys() | other.keys())
    if total:
        yield Chapter("Models", f"{total - len(found)} of {counted(total, 'model')} are the same.", found)


def _scores(first: pl.DataFrame, second: pl.DataFrame, judges: Sequence[str]) -> Chapter:
    """Scores of each arm on the whole of each benchmark, with what their intervals say of the difference.

    Args:
        first: EVAL_SCORES.
        second: EVAL_SCORES.
        judges: By which methods models are scored; those of two judges are two yardsticks, and not compared.
    """
    key = ["arm", "benchmark", "metric", "category"]
    one, other = (
        {
            tuple(row[name] for name in key): row
            for row in table.filter((pl.col("category") == ALL) | (pl.col("benchmark") == ADHERENCE_SCORES))
            .drop_nulls("value")
            .unique(key, keep="first", maintain_order=True)
            .to_dicts()
        }
        for table in (first, second)
    )
    both = sorted(one.keys() & other.keys())
    judged = [name for name in both if name[1] in (ADHERENCE_SCORES, ELO_BENCHMARK) and name[2] != CORRECTED]
    apart = judged if len(judges) > 1 else []
    both = [name for name in both if name not in apart]
    moved = [name for name in both if one[name]["value"] != other[name]["value"]]
    found, verdicts = [], Counter[Verdict]()
    for name in moved:
        gap, low, high = difference_interval(
            *((side[name]["value"], side[name]["low"], side[name]["high"]) for side in (other, one))
        )
        shown = verdict(low, high, small_difference(one[name]))
        verdicts[shown] += 1
        found.append(
            Difference(
                f"{name[0]}, {name[2].replace('_', ' ')} on {name[1]}" + ("" if name[3] == ALL else f" ({name[3]})"),
                _with_interval(one[name]),
                _with_interval(other[name]),
                f"{signed(gap)} [{signed(low)}, {signed(high)}]: {TOLD[shown]}",
            )
        )
    lead = f"{len(both) - len(moved)} of {counted(len(both), 'score')} in both are the same"
    if moved:
        lead += (
            f"; of the others {counted(verdicts['higher'] + verdicts['lower'], 'differs', 'differ')}, "
            f"{verdicts['alike']} by too little to matter, if at all, and of {verdicts['unclear']} it cannot be told. "
            "Responses are to the same prompts, so intervals of differences are rather too wide; they are not "
            "corrected for their number"
        )
    if apart:
        lead += (
            f". {counted(len(apart), 'other is', 'others are')} not compared: adherence and the judge's Elo are by "
            f"another judge on either side ({listed(judges)})"
        )
    return Chapter("Evaluation", f"{lead}.", found)


def _with_interval(row: Mapping[str, Any]) -> str:
    return f"{number(row['value'])} [{number(row['low'])}, {number(row['high'])}]"


def run_differences(first: Mapping[str, Materialization], second: Mapping[str, Materialization]) -> Chapter:
    """Compare what stood after two runs: assets whose content is another, and by which run it was made."""
    one, other = (
        {key: f"{made.data_version[:SHORT]} (run {made.dagster_run[:SHORT]})" for key, made in side.items()}
        for side in (first, second)
    )
    same = {key for key in first.keys() & second.keys() if first[key].data_version == second[key].data_version}
    found = [each for each in _values(one, other) if each.subject not in same]
    total = len(one.keys() | other.keys())
    return Chapter("Assets", f"{len(same)} of {counted(total, 'asset')} have the same content.", found)


def standing_after(manifest: Manifest, run: str) -> dict[str, Materialization]:
    """Return what stood when a run ended: of every asset the last version made until then.

    Args:
        run: The id of a Dagster run, or how it begins.

    Raises:
        ConsultationError: No run of that name is on record, several are, or it has not ended.
    """
    named = [key for key in manifest.runs if key.startswith(run)]
    if len(named) != 1:
        known = sorted(manifest.runs, key=lambda key: manifest.runs[key].ended_at or "")[-RUNS_NAMED:]
        begin = f"{len(named)} runs begin" if named else "No run begins"
        raise ConsultationError(f"{begin} with {run!r}; the last on record: {listed(known) or 'none'}.")
    end = manifest.runs[named[0]].ended_at
    if end is None:
        raise ConsultationError(f"Run {named[0]} has not ended, so what it leaves cannot be compared.")
    found = {}
    for key, latest in manifest.materializations.items():
        made = [each for each in (latest, *manifest.earlier.get(key, ())) if each.made_at <= end]
        if made:
            found[key] = max(made, key=lambda each: each.made_at)
    return found
