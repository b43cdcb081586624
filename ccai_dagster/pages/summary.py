"""What happened in a consultation, in a few sentences and in numbers, in the language of a page.

Every text stands as a whole in a call of `gettext` or `ngettext`, for catalogues to translate. Doesn't belong here:
what only the report tells.
"""

from __future__ import annotations

import polars as pl

from ccai_dagster.constitution.principles import constitution_digest
from ccai_dagster.core.digest import SHORT
from ccai_dagster.core.language import Language
from ccai_dagster.decisions.origins import counted_origins
from ccai_dagster.deliberation.importing.group_counts import NOT_THERE
from ccai_dagster.deliberation.structure import structure_told
from ccai_dagster.deliberation.votes import group_letters
from ccai_dagster.pages.inputs import ReportInputs

SELECTED_FATES = {
    "principle": "behind principles",
    "left out": "left out by a person",
    "undecided": "waiting for a decision",
}


def named(group_id: int, language: Language) -> str:
    """Return what readers call an opinion group."""
    return language.gettext("Group %(letters)s", letters=group_letters(group_id))


def summary(inputs: ReportInputs) -> list[str]:
    """Say in a few sentences what happened, in numbers, in the language of the inputs."""
    _, ngettext = inputs.language.gettext, inputs.language.ngettext
    people, kept = inputs.participants.height, int(inputs.participants["kept"].sum())
    principles = inputs.constitutions[inputs.derived_arm].height
    chosen = inputs.selected_statements.filter("selected")
    if people:
        came = ngettext("%(count)s participant", "%(count)s participants", people)
        took_part = _("%(people)s took part; the votes of %(kept)s count.", people=came, kept=_number(inputs, kept))
    else:
        took_part = _("Nobody’s single votes are here: %(what)s.", what=_(NOT_THERE))
    sentences = [
        took_part,
        _submitted(inputs),
        _groups_found(inputs),
        ngettext(
            "%(count)s statement reached the cut of agreement across groups: %(fates)s.",
            "%(count)s statements reached the cut of agreement across groups: %(fates)s.",
            chosen.height,
            fates=_fates(inputs, chosen),
        ),
    ]
    if rejected := chosen.filter(side="disagree").height:
        sentences.append(
            _("Of these, %(count)s reached it since every group rejects them.", count=_number(inputs, rejected))
        )
    sentences.append(
        ngettext(
            "The constitution that follows has %(count)s principle.",
            "The constitution that follows has %(count)s principles.",
            principles,
        )
        if principles
        else _("No principle is worded yet.")
    )
    if inputs.trained:
        sentences.append(one_model_each(inputs))
    return [*sentences, _on_record(inputs)]


def one_model_each(inputs: ReportInputs) -> str:
    """Say on which constitutions models were trained."""
    ngettext = inputs.language.ngettext
    arms = [
        ngettext("%(arm)s (%(count)s principle)", "%(arm)s (%(count)s principles)", constitution.height, arm=arm)
        for arm, constitution in inputs.constitutions.items()
    ]
    return inputs.language.gettext(
        "One model was trained on each of %(arms)s, and compared with the untrained one.",
        arms=inputs.language.listed(arms),
    )


def _number(inputs: ReportInputs, value: int) -> str:
    return inputs.language.number(value)


def _submitted(inputs: ReportInputs) -> str:
    _, ngettext = inputs.language.gettext, inputs.language.ngettext
    apart = inputs.group_profile["statement_id"].n_unique()
    values = {
        "statements": ngettext("%(count)s statement", "%(count)s statements", inputs.raw_statements.height),
        "kept": _number(inputs, inputs.statements.height),
        "votes": _number(inputs, int(inputs.gac_scores["n_votes"].sum())),
    }
    if not apart:
        return _(
            "They submitted %(statements)s, seeds of the organisers included; %(kept)s remained after moderation and "
            "received %(votes)s votes.",
            **values,
        )
    return ngettext(
        "They submitted %(statements)s, seeds of the organisers included; %(kept)s remained after moderation and "
        "received %(votes)s votes; %(count)s more is about the people who vote.",
        "They submitted %(statements)s, seeds of the organisers included; %(kept)s remained after moderation and "
        "received %(votes)s votes; %(count)s more are about the people who vote.",
        apart,
        **values,
    )


def _fates(inputs: ReportInputs, chosen: pl.DataFrame) -> str:
    """What became of the statements that were selected, counted."""
    _ = inputs.language.gettext
    counts = dict(chosen.group_by("fate").len().iter_rows())
    return inputs.language.listed(
        [f"{_number(inputs, counts[fate])} {_(words)}" for fate, words in SELECTED_FATES.items() if fate in counts]
    )


def _on_record(inputs: ReportInputs) -> str:
    _, ngettext = inputs.language.gettext, inputs.language.ngettext
    counts = counted_origins(inputs.ledgers.values())
    origins = ", ".join(f"{_number(inputs, n)} {_(each)}" for each, n in counts.items())
    return ngettext(
        "On record is %(count)s decision: %(origins)s.",
        "On record are %(count)s decisions: %(origins)s.",
        sum(counts.values()),
        origins=origins or _("none"),
    )


def constitution_version(inputs: ReportInputs) -> str:
    """Say which text this is, and how recent what it rests on: its digest and the day of the last decision."""
    _ = inputs.language.gettext
    constitution = inputs.constitutions[inputs.derived_arm]
    digest = constitution_digest(constitution)[:SHORT]
    days = [day for ledger in inputs.ledgers.values() if (day := ledger["decided_at"].max()) is not None]
    if not days:
        return _("no principle yet") if constitution.is_empty() else _("constitution %(digest)s", digest=digest)
    last = inputs.language.date(max(map(str, days)))
    if constitution.is_empty():
        return _("no principle yet, with decisions until %(day)s", day=last)
    return _("constitution %(digest)s, with decisions until %(day)s", digest=digest, day=last)


def _groups_found(inputs: ReportInputs) -> str:
    language, _, ngettext = inputs.language, inputs.language.gettext, inputs.language.ngettext
    if inputs.participants.is_empty():
        groups = [named(group, language) for group in inputs.group_votes["group_id"].unique().sort()]
        return ngettext(
            "The table has the votes of %(count)s group: %(groups)s.",
            "The table has the votes of %(count)s groups: %(groups)s.",
            len(groups),
            groups=language.listed(groups),
        )
    sizes = inputs.opinion_groups.group_by("group_id").len().sort("group_id").iter_rows()
    groups = [
        ngettext("%(count)s person in %(group)s", "%(count)s people in %(group)s", size, group=named(group, language))
        for group, size in sizes
    ]
    if not groups:
        return _("No opinion groups were found.")
    told, p_value = structure_told(inputs.group_structure)
    shows = _(told, p_value="" if p_value is None else language.number(p_value, 3))
    if len(groups) == 1:
        return _("The votes show %(what)s; all %(groups)s are taken together.", what=shows, groups=groups[0])
    return ngettext(
        "By their votes, participants fall into %(count)s opinion group: %(groups)s. The votes show %(what)s.",
        "By their votes, participants fall into %(count)s opinion groups: %(groups)s. The votes show %(what)s.",
        len(groups),
        groups=language.listed(groups),
        what=shows,
    )
