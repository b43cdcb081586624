"""What would follow from a decision taken the other way, in a sentence of the language that is spoken.

Belongs here: words for a row of DECISION_REVERSALS. Doesn't belong here: computing it (`reversals`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ccai_dagster.core.language import enumerated, gettext, ngettext, number

MOST_NAMED = 8
"""Statements, participants or principles that a sentence names; more are counted."""


def consequence(row: Mapping[str, Any], n_groups: int) -> str:
    """Say in a sentence or two what would follow; only ids are named, no text that anybody typed.

    Args:
        row: Of DECISION_REVERSALS; its own `consequence` is not read.
        n_groups: Opinion groups on record.
    """
    effects = "; ".join(_effects(row, n_groups)) or gettext("the constitution would be the same")
    text = gettext("%(supposed)s, %(effects)s.", supposed=_supposed(row), effects=effects)
    if row["supposed"] != "let in":
        return text
    several = len(row["subject_ids"])
    if not row["smallest_group_votes"]:
        never = ngettext(
            "At least one opinion group never voted on it.",
            "At least one opinion group never voted on any of them.",
            several,
        )
        return f"{text} {never}"
    score = ngettext(
        "Its consensus is %(score)s,",
        "The highest consensus among them is %(score)s,",
        several,
        score=number(row["gac"], 2),
    )
    least = ngettext(
        "where the group that voted least cast %(count)s vote.",
        "where the group that voted least cast %(count)s votes.",
        row["smallest_group_votes"],
    )
    return f"{text} {score} {least}"


def _supposed(row: Mapping[str, Any]) -> str:
    """What is supposed to have been decided."""
    ids, supposed, n = row["subject_ids"], row["supposed"], len(row["subject_ids"])
    if row["kind"] == "exclusion":
        who = _participants(ids)
        if supposed == "excluded":
            return gettext("Had the votes of %(who)s been excluded", who=who)
        return gettext("Had the votes of %(who)s been counted", who=who)
    what = _statements(ids)
    told = {
        "kept as its author typed it": ngettext(
            "Had %(what)s been kept as its author typed it",
            "Had %(what)s been kept as its author typed it",
            n,
            what=what,
        ),
        "moderated out": ngettext("Had %(what)s been moderated out", "Had %(what)s been moderated out", n, what=what),
        "let in": ngettext("Had %(what)s been let in", "Had %(what)s been let in", n, what=what),
        "kept apart": ngettext("Had %(what)s been kept apart", "Had %(what)s been kept apart", n, what=what),
        "merged": ngettext("Had %(what)s been merged", "Had %(what)s been merged", n, what=what),
        "left out": ngettext("Had %(what)s been left out", "Had %(what)s been left out", n, what=what),
        "not left out": ngettext("Had %(what)s not been left out", "Had %(what)s not been left out", n, what=what),
        "taken as one idea of its own": ngettext(
            "Had %(what)s been taken as one idea of its own",
            "Had %(what)s been taken as one idea of its own",
            n,
            what=what,
        ),
    }
    return told[supposed]


def _effects(row: Mapping[str, Any], n_groups: int) -> list[str]:
    waiting, entering = row["waiting"], row["entering"]
    joined = waiting == entering
    told = []
    if row["n_groups"] != n_groups:
        told.append(
            ngettext(
                "%(count)s opinion group would be found instead of %(groups)s",
                "%(count)s opinion groups would be found instead of %(groups)s",
                row["n_groups"],
                groups=number(n_groups),
            )
        )
    if entering and joined:
        told.append(
            ngettext(
                "%(what)s would come in and wait for a wording",
                "%(what)s would come in and wait for a wording",
                len(entering),
                what=_statements(entering),
            )
        )
    elif entering:
        told.append(_come_in(len(entering), _statements(entering)))
    if leaving := row["leaving"]:
        told.append(
            ngettext("%(what)s would drop out", "%(what)s would drop out", len(leaving), what=_statements(leaving))
        )
    if lost := row["lost_principles"]:
        told.append(ngettext("%(what)s would be lost", "%(what)s would be lost", len(lost), what=_principles(lost)))
    if gained := row["gained_principles"]:
        told.append(_come_in(len(gained), _principles(gained)))
    if reworded := row["reworded_principles"]:
        told.append(
            ngettext(
                "%(what)s would rest on another text",
                "%(what)s would rest on another text",
                len(reworded),
                what=_principles(reworded),
            )
        )
    if waiting and not joined:
        told.append(
            ngettext(
                "%(what)s would wait for a wording",
                "%(what)s would wait for a wording",
                len(waiting),
                what=_statements(waiting),
            )
        )
    return told


def _come_in(count: int, what: str) -> str:
    return ngettext("%(what)s would come in", "%(what)s would come in", count, what=what)


def _statements(ids: Sequence[int]) -> str:
    if len(ids) > MOST_NAMED:
        return ngettext("%(count)s statement", "%(count)s statements", len(ids))
    return ngettext("statement %(ids)s", "statements %(ids)s", len(ids), ids=_named(ids))


def _participants(ids: Sequence[int]) -> str:
    if len(ids) > MOST_NAMED:
        return ngettext("%(count)s participant", "%(count)s participants", len(ids))
    return ngettext("participant %(ids)s", "participants %(ids)s", len(ids), ids=_named(ids))


def _principles(ids: Sequence[str]) -> str:
    if len(ids) > MOST_NAMED:
        return ngettext("%(count)s principle", "%(count)s principles", len(ids))
    return ngettext("principle %(ids)s", "principles %(ids)s", len(ids), ids=_named(ids))


def _named(ids: Sequence[object]) -> str:
    return enumerated([str(each) for each in ids])
