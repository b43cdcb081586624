"""What the authors decided on single statements, participants and principles, as ledger rows.

Each published reason is paraphrased with its place: "paper" is Huang et al. (2024), "blog post" the
announcement that accompanied it. Where no reason was published the row says so. Choices that concern the
whole process are in `published_choices`.
"""

from __future__ import annotations

from collections.abc import Mapping

from ccai_dagster.decisions.ccai.published_files import PublishedFiles
from ccai_dagster.decisions.ccai.published_records import PublishedStatement
from ccai_dagster.decisions.decision import Decision
from ccai_dagster.digest import text_digest

YEAR = "2023"
"""When the authors decided: the votes are of July 2023, and no single day was published."""

AUTHORS = "authors (Huang et al. 2024)"
MODERATORS = "moderators (Collective Intelligence Project)"
CRITERIA = "moderation criteria: paper, section 3.2; blog post, 'Moderation criteria'"
UNKNOWN_CRITERION = "criterion not published"

IRRELEVANT_EXAMPLES = (218, 479)
"""Statements that the paper (section 3.2) names as moderated out for being irrelevant."""

JUDGEMENT_EXAMPLES = (436, 470)
"""Statements that the blog post names as judgement calls, without the criterion."""


def moderation_decisions(files: PublishedFiles) -> list[Decision]:
    """One row a moderated statement, and one row for all that were never moderated."""
    replaced_by: dict[int, list[int]] = {}
    for rewrite, original in files.rewrites.items():
        if original is not None:
            replaced_by.setdefault(original, []).append(rewrite)
    ordered = [files.statements[key] for key in sorted(files.statements)]
    rows = [
        _let_in(each, files)
        if each.moderated == 1
        else _moderated_out(each, replaced_by.get(each.statement_id))
        for each in ordered
        if each.moderated != 0
    ]
    waiting = [each for each in ordered if each.moderated == 0]
    return rows + _never_moderated(waiting)


def _let_in(statement: PublishedStatement, files: PublishedFiles) -> Decision:
    key = statement.statement_id
    if key in files.seeds:
        reason = (
            "Seed statement of the organisers, there to show what a fitting statement looks like (paper, "
            "section 3.2 and appendix A.4)."
        )
    elif key in files.rewrites:
        original = files.rewrites[key]
        found = (
            f"the original is probably statement {original}, matched by hand from the texts"
            if original is not None
            else "the original could not be found"
        )
        reason = (
            f"Written by the organisers in place of a participant's statement; {found}, since no list of "
            "rewrites was published. Rewriting where possible instead of deleting was their rule (paper, "
            "section 3.2)."
        )
    elif statement.author_id == 0:
        reason = (
            "Posted from the organisers' account and no seed, so probably a rewrite or a part of a "
            "participant's statement (practice described in paper, section 3.2); of which one was not "
            "published."
        )
    else:
        reason = "In by the export. A reason for this one statement was not published, only the criteria."
    return _moderation(
        f"moderation-{key}",
        [statement],
        "in",
        reason if key in files.left_out else reason + _remarks(key, files),
    )


def _remarks(key: int, files: PublishedFiles) -> str:
    told = [text if text.endswith((".", "!", "?")) else f"{text}." for text in files.remarks.get(key, ())]
    return "".join(f" Remark of whoever compared the publication with the data: {text}" for text in told)


def _moderated_out(statement: PublishedStatement, rewrites: list[int] | None) -> Decision:
    key, criterion = statement.statement_id, UNKNOWN_CRITERION
    reason = "Out by the export. Which criterion this one statement failed was not published."
    if rewrites:
        named = " and ".join(map(str, rewrites))
        criterion = "rewritten"
        reason = (
            f"The organisers posted statement {named} in its place, as their rule was (paper, section 3.2); "
            "matched by hand from the texts, since no list of rewrites was published."
        )
    elif key in IRRELEVANT_EXAMPLES:
        criterion = "irrelevant"
        reason = (
            "An example the authors give of an irrelevant statement: it asks for what changing a "
            "constitution cannot bring about (paper, section 3.2)."
        )
    elif key in JUDGEMENT_EXAMPLES:
        reason = (
            "An example the authors give of moderation by their own judgement; which criterion it failed was "
            "not published (blog post, 'Moderation criteria')."
        )
    return _moderation(f"moderation-{key}", [statement], f"out: {criterion}", reason)


def _never_moderated(statements: list[PublishedStatement]) -> list[Decision]:
    if not statements:
        return []
    reason = (
        f"{len(statements)} statements stand in the export as never moderated. The authors' analysis "
        "notebook says that they came in too late; the paper does not mention them, and nobody decided on "
        "their content."
    )
    return [
        _moderation(
            "moderation-never", statements, "out: never moderated", reason, "nobody (state of the export)"
        )
    ]


def _moderation(
    decision_id: str,
    statements: list[PublishedStatement],
    outcome: str,
    reason: str,
    decided_by: str = MODERATORS,
) -> Decision:
    return Decision(
        decision_id=decision_id,
        kind="moderation",
        subject_ids=tuple(str(each.statement_id) for each in statements),
        outcome=outcome,
        reason=reason,
        decided_by=decided_by,
        decided_at=YEAR,
        policy_ref=CRITERIA,
        inputs_digest=text_digest("\n".join(each.text for each in statements)),
    )


def exclusion_decisions(files: PublishedFiles) -> list[Decision]:
    """One row a participant of `ids-to-toss.csv`."""
    return [
        Decision(
            decision_id=f"exclusion-{each}",
            kind="exclusion",
            subject_ids=(str(each),),
            outcome="exclude",
            reason="Listed in the authors' ids-to-toss.csv; why this person was excluded was not published.",
            decided_by=AUTHORS,
            decided_at=YEAR,
        )
        for each in files.excluded
    ]


def merge_decisions(files: PublishedFiles) -> list[Decision]:
    """One row a merge of the paper's Table 2."""
    rows = []
    for merge in files.merges:
        note = f" Remark of whoever read the table: {merge.note}" if merge.note else ""
        rows.append(
            Decision(
                decision_id=f"merge-{merge.principle_id}",
                kind="merge",
                subject_ids=tuple(map(str, merge.statement_ids)),
                outcome=f"merge: {merge.text}",
                reason=(
                    f"Same idea ({merge.theme}). Three people merged independently and settled differences "
                    "together, so that no idea weighs more for having been submitted more often (paper, "
                    f"section 3.3 and appendix A.5, Table 2).{note}"
                ),
                decided_by=AUTHORS,
                decided_at=YEAR,
                policy_ref="paper, section 3.3",
                inputs_digest=text_digest(
                    "\n".join(files.statements[each].text for each in merge.statement_ids)
                ),
            )
        )
    return rows


def wording_decisions(files: PublishedFiles) -> list[Decision]:
    """One row a principle of appendix A.6, and one a statement above the threshold that is in none."""
    merged: Mapping[str, str] = {merge.principle_id: merge.text for merge in files.merges}
    rows = []
    for principle in files.principles:
        source = merged.get(principle.principle_id) or files.statements[principle.statement_ids[0]].text
        rows.append(
            Decision(
                decision_id=principle.principle_id,
                kind="wording",
                subject_ids=tuple(map(str, principle.statement_ids)),
                outcome=f"principle: {principle.text}",
                reason=(
                    "Put into the form of an instruction, to be changed as little as possible (paper, "
                    "section 3.3 and appendix A.6). The sources were not published and were found by "
                    f"comparing texts: {principle.match}; meaning against the source: {principle.comment}."
                ),
                decided_by=AUTHORS,
                decided_at=YEAR,
                policy_ref="paper, section 3.3",
                inputs_digest=text_digest(source),
            )
        )
    return rows + [
        Decision(
            decision_id=f"left-out-{each}",
            kind="wording",
            subject_ids=(str(each),),
            outcome="leave out",
            reason=(
                "Reaches the published threshold with the published scores, and stands in no published "
                "principle; no reason was published."
            )
            + _remarks(each, files),
            decided_by=AUTHORS,
            decided_at=YEAR,
            inputs_digest=text_digest(files.statements[each].text),
        )
        for each in files.left_out
    ]
