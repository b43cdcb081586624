"""What would follow had one decision been taken otherwise: decided on a copy of the ledgers, and computed anew.

What is typed goes through the same checks as a real decision. Reversals of decisions that were taken, with groups as
they are, are in `audit.reversals`; here groups are found anew, and any value can be supposed.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path

from ccai_dagster.alternatives import as_decided, numbers_decided
from ccai_dagster.audit.recomputation import Recomputation, Scored, Selection
from ccai_dagster.audit.reversals import ConstitutionContent, content_of, worded_of
from ccai_dagster.audit.sensitivity import Alternative
from ccai_dagster.checked_decisions import record_decision
from ccai_dagster.core.errors import ConsultationError
from ccai_dagster.core.text import counted, listed, natural, printable
from ccai_dagster.decisions.agenda import DIGESTED
from ccai_dagster.decisions.independent_decisions import rows_by_subject, subject_name, subjects_of
from ccai_dagster.decisions.ledger import as_kept
from ccai_dagster.decisions.outcomes import decided_rows, wordings
from ccai_dagster.decisions.recording import Answer
from ccai_dagster.decisions.values import SelectionRule
from ccai_dagster.deliberation.drawing import one_thread
from ccai_dagster.open_consultation import OpenConsultation

KINDS = ("threshold", "moderation", "exclusion", "merge", "idea", "wording")
"""Decisions that groups, statements and principles hang on."""
WITHOUT_VOTES = ("threshold", "merge", "wording")
"""Those of them that change neither whose votes count nor on what."""
LEDGERS = "decisions"
LINES: Mapping[SelectionRule, str] = {"threshold": "gac_threshold", "ideas": "idea_budget"}
"""What draws the line under each rule of selection."""
SHOWN = 10
"""Statements or principles that are named; the rest is counted."""


@dataclass(frozen=True)
class Followed:
    """What the decisions come to.

    Attributes:
        rule: By which statements are selected.
        texts: Of every principle that somebody has worded, by its id.
        lapsed: Decisions that were taken on another text than there is, with their ledger.
    """

    rule: SelectionRule
    scored: Scored
    selected: Selection
    content: ConstitutionContent
    texts: Mapping[str, str]
    lapsed: frozenset[tuple[str, str]]

    @property
    def constitution(self) -> dict[str, str]:
        """The principles that are in, by id."""
        return {key: self.texts[key] for key in sorted(self.content.principles, key=natural)}


def what_if(opened: OpenConsultation, kind: str, subjects: Sequence[str], outcome: str) -> list[str]:
    """Say what would follow if this were decided, in place of what counts on these subjects; nothing is recorded.

    Raises:
        ConsultationError: It could not be decided, or nothing that is computed here hangs on this kind.
    """
    if kind not in KINDS:
        raise ConsultationError(
            f"Groups, statements and principles hang on no {kind}; name one of {', '.join(KINDS)}. What comes of it, a "
            "run tells: decide in a copy of the folder, run it, and `ccai compare` the two."
        )
    outcome = as_kept(kind, outcome)
    counting = rows_by_subject(decided_rows(opened.ledger(kind)))
    replaced = {
        row["decision_id"]: row for each in subjects_of(kind, outcome, subjects) for row in counting.get(each, ())
    }
    answer = Answer(kind, tuple(subjects), outcome, "supposed", "somebody who supposes it", tuple(replaced))
    with _copied(opened, kind) as copy:
        rows = record_decision(copy, answer)
        recomputation, record = as_decided(opened)
        # People are not grouped a second time where nothing they are grouped by can change.
        again, otherwise = (recomputation, numbers_decided(copy)) if kind in WITHOUT_VOTES else as_decided(copy)
        before, after = _followed(opened, recomputation, record), _followed(copy, again, otherwise)
    earlier = listed([f"{printable(row['outcome'])} ({key})" for key, row in replaced.items()])
    was = f" and not {earlier}" if replaced else ""
    lead = f"Were {printable(subject_name(kind, subjects))} decided as {printable(rows[0].outcome)}{was}:"
    idle = [rule for rule, line in LINES.items() if [line] == list(subjects) and rule != after.rule]
    note = [f"{subjects[0]} counts only where selection_rule is {idle[0]}; it is {after.rule}"] if idle else []
    return [lead, *(f"  {line}" for line in [*note, *_told(opened, before, after)])]


@contextmanager
def _copied(opened: OpenConsultation, kind: str) -> Iterator[OpenConsultation]:
    """Yield the same consultation with one ledger of its own, which is gone afterwards."""
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary) / opened.consultation.folder.name
        (folder / LEDGERS).mkdir(parents=True)
        own = opened.consultation.ledger(kind)
        shutil.copyfile(own, folder / LEDGERS / own.name)
        for each in (*opened.consultation.folder.iterdir(), *own.parent.glob("*.csv")):
            if each not in (own, own.parent):
                (folder / each.relative_to(opened.consultation.folder)).symlink_to(each.resolve())
        copy = OpenConsultation(opened.consultation.model_copy(update={"folder": folder}), opened.home)
        copy.__dict__["imported"] = opened.imported  # read once
        yield copy


def _followed(opened: OpenConsultation, recomputation: Recomputation, record: Alternative) -> Followed:
    with nullcontext() if recomputation.knows_groups(record) else one_thread():  # which takes long to begin
        selected = recomputation.selected(record)
    counting = wordings(opened.ledger("wording"))
    return Followed(
        rule=record.selection.rule,
        scored=recomputation.scored(record),
        selected=selected,
        content=content_of(selected, worded_of(counting)),
        texts={each.principle_id: each.text for each in counting if each.text is not None},
        lapsed=frozenset((kind, each) for kind in DIGESTED - {"signoff"} for each in opened.lapsed(kind)),
    )


def _told(opened: OpenConsultation, before: Followed, after: Followed) -> Iterator[str]:
    texts = dict(opened.imported.raw_statements.select("statement_id", "text").iter_rows())
    yield f"Groups      {_groups(before.scored)}{_then(_groups(before.scored), _groups(after.scored))}"
    ids = before.selected.ids, after.selected.ids
    yield f"Statements  {len(ids[0])} reach the cut{_then(str(len(ids[0])), str(len(ids[1])))}"
    yield from _named("come in", ids[1] - ids[0], lambda key: texts[key])
    yield from _named("drop out", ids[0] - ids[1], lambda key: texts[key])
    was, becomes = before.constitution, after.constitution
    yield f"Principles  {len(was)}{_then(str(len(was)), str(len(becomes)))}"
    yield from _named("come in", becomes.keys() - was.keys(), becomes.__getitem__)
    yield from _named("are lost", was.keys() - becomes.keys(), was.__getitem__)
    reworded = {key for key in was.keys() & becomes.keys() if was[key] != becomes[key]}
    yield from _named("are worded otherwise", reworded, becomes.__getitem__)
    waiting = after.content.waiting - before.content.waiting
    yield from _named("wait for a wording", waiting, lambda key: texts[key])
    if lapsing := sorted(after.lapsed - before.lapsed):
        rows = [f"{decision} ({kind})" for kind, decision in lapsing[:SHOWN]]
        more = f" and {len(lapsing) - SHOWN} more" if len(lapsing) > SHOWN else ""
        yield f"Lapse       {', '.join(rows)}{more}: they were taken on another text"
    yield from _trained(opened, was == becomes, bool(becomes))


def _trained(opened: OpenConsultation, same: bool, there: bool) -> Iterator[str]:
    arms = [name for name, arm in opened.consultation.arms.items() if arm.constitution == "ledgers"]
    if not same:
        yield (
            f"Training    the constitution of {listed(arms)} becomes another: its sign-off lapses, and once it is "
            "signed again, everything that is trained on it and the evaluation are made anew"
        )
        return
    if there:
        yield f"Training    the constitution of {listed(arms)} stays as it is, so its sign-off stands"
    else:
        yield f"Training    {listed(arms)} has no principle, so that there is nothing to sign and to train on"
    if weighed := [name for name in arms if opened.consultation.arms[name].principle_weights == "gac"]:
        yield f"            but {listed(weighed)} draws principles by consensus: if that changes, it is trained anew"


def _groups(scored: Scored) -> str:
    if scored.sizes is None:
        return counted(scored.n_groups, "group")
    return f"{counted(scored.n_groups, 'group')} of {listed([f'{size:,}' for size in scored.sizes.tolist()])}"


def _then(before: str, after: str) -> str:
    return "" if before == after else f" -> {after}"


def _named(what: str, keys: Iterable[object], text: object) -> Iterator[str]:
    ordered = sorted(keys, key=lambda key: natural(str(key)))
    if ordered:
        yield f"   {len(ordered)} {what}:"
        yield from (f"      {key}  {printable(text(key), 200)}" for key in ordered[:SHOWN])  # type: ignore[operator]
        if len(ordered) > SHOWN:
            yield f"      and {len(ordered) - SHOWN} more"
