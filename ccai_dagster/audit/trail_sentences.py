"""What happened to a statement or a principle, in plain sentences with ids, roles, dates and reasons.

Belongs here: wording. Doesn't belong here: joining tables. Sentences quote what people typed as it stands;
whoever shows them escapes them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ccai_dagster.audit.records import Feedback, Record, Records, StatementFacts
from ccai_dagster.contracts import FEWEST_TOLD, TOO_FEW_VOTED
from ccai_dagster.core.text import counted, listed, percent, quoted
from ccai_dagster.decisions.ledger import AVOID

EXPORT = {
    1: "In the export it was moderated in.",
    -1: "In the export it was moderated out.",
    0: "In the export it was never moderated.",
}


def statement_story(facts: StatementFacts, records: Records) -> tuple[list[str], list[str]]:
    """Describe a statement's way from submission to constitution.

    Returns:
        The sentences in order, and the ids of the decisions that touched it, each once.
    """
    statement_id = facts.raw["statement_id"]
    story, touched = [_origin(facts.raw), EXPORT[facts.raw["moderated"]]], []
    for decision in records.on("exclusion", facts.raw["author_id"]):
        count = "do not count" if decision.verb == "exclude" else "were looked at and count"
        story.append(f"Its author's votes {count} ({decision.cited}). {decision.because}")
        touched.append(decision)
    moderation = records.on("moderation", statement_id)
    for decision in moderation:
        story += [_moderation(decision, facts), *_replaced(decision, records)]
        touched += [decision, *records.chain(decision)]
    sentences, taken_back = _withdrawn("moderation", statement_id, records)
    story, touched = story + sentences, touched + taken_back
    if not moderation and not taken_back:
        story.append("No moderation decision on it is on record.")
    if facts.gac:
        story += _votes(facts)
    if facts.selected:
        story += _selection(facts, records)
        touched += _cuts(records)
    for decision in records.on("idea", statement_id):
        ideas = [idea.strip() for idea in decision.text.split("|")]
        story.append(f"It was read as {listed([quoted(i) for i in ideas])} ({decision.cited}). {decision.because}")
        touched += [decision, *records.chain(decision)]
    for decision in (*records.on("merge", statement_id), *records.on("wording", statement_id)):
        story += [_merge_or_wording(decision, statement_id, facts), *_replaced(decision, records)]
        touched += [decision, *records.chain(decision)]
    for kind in ("idea", "merge", "wording"):
        sentences, taken_back = _withdrawn(kind, statement_id, records)
        story, touched = story + sentences, touched + taken_back
    if facts.principles:
        places = [f"{principle} of {arm}" for arm, principle in facts.principles]
        story.append(f"It stands behind {listed(places)}.")
    elif facts.selected:
        story.append("It stands behind no principle.")
    return story, _ids(touched)


def principle_story(
    principle: Mapping[str, Any], arm: str, feedback: Feedback, records: Records, sources: Sequence[StatementFacts]
) -> tuple[list[str], list[str]]:
    """Say where a principle comes from and what was done with it.

    Args:
        sources: What is known of each statement it comes from.

    Returns:
        The sentences in order, and the ids of the decisions that touched it, each once.
    """
    story: list[str] = []
    touched: list[Record] = []
    ids = principle["statement_ids"]
    if ids:
        story.append(f"It comes from {'statement' if len(ids) == 1 else 'statements'} {listed(ids)}.")
        above = {each.raw["statement_id"] for each in sources if (each.selected or {}).get("selected")}
        if below := [key for key in ids if key not in above]:
            story.append(f"Of these, {listed(below)} {'does' if len(below) == 1 else 'do'} not reach the cut.")
    else:
        story.append("It comes from no statement of this consultation.")
    for source in sources:
        sentence, decisions = _source(source, records)
        story.append(sentence)
        touched += decisions
    for decision in _worded(principle, records):
        story += [_decided(decision), *_replaced(decision, records)]
        touched += [decision, *records.chain(decision)]
    if principle["gac"] is not None:
        on = " on rejecting them" if principle.get("side") == "disagree" else ""
        story.append(f"The highest group-aware consensus{on} among its statements is {principle['gac']:.3f}.")
    for decision in records.on("signoff", arm):
        story.append(f"The constitution {arm} was signed off ({decision.cited}). {decision.because}")
        touched.append(decision)
    story += _use(feedback, arm)
    return story, _ids(touched)


def _worded(principle: Mapping[str, Any], records: Records) -> list[Record]:
    """The decisions behind a principle; of one read from a file, those that gave it exactly this text."""
    known = [records.by_id[key] for key in principle["decision_ids"] if key in records.by_id]
    if known:
        return known
    wordings = [
        decision
        for key in principle["statement_ids"]
        for decision in records.on("wording", key)
        if decision.text == principle["text"]
    ]
    merges = [decision for key in principle["statement_ids"] for decision in records.on("merge", key)]
    subjects = {decision.subject_ids for decision in wordings}
    return list(dict.fromkeys([*wordings, *(each for each in merges if each.subject_ids in subjects)]))


def _source(facts: StatementFacts, records: Records) -> tuple[str, list[Record]]:
    """One statement behind a principle: its text, who wrote it, why it was let in, how it was received."""
    key = facts.raw["statement_id"]
    by = "unknown" if facts.raw["author_id"] is None else f"participant {facts.raw['author_id']}"
    parts = [f"Statement {key} ({'the organisers' if facts.raw['is_seed'] else by}): {quoted(facts.text)}"]
    decisions: list[Record] = []
    for decision in records.on("moderation", key):
        parts += [_moderation(decision, facts), *_replaced(decision, records)]
        decisions += [decision, *records.chain(decision)]
    if facts.gac:
        parts += _votes(facts)
    return " ".join(parts), decisions


def _origin(raw: Mapping[str, Any]) -> str:
    when = f" on {raw['created_at']:%Y-%m-%d}" if raw["created_at"] else ""
    if raw["is_seed"]:
        return f"Written by the organisers before the consultation opened{when}."
    if raw["author_id"] is None:
        return f"Submitted{when or ' on an unknown date'}; the export does not say by whom."
    return f"Submitted by participant {raw['author_id']}{when}."


def _moderation(decision: Record, facts: StatementFacts) -> str:
    if decision.verb == "rewrite":
        done = f"Let in and rewritten from {quoted(facts.raw['text'])} to {quoted(decision.text)}"
    elif decision.verb == "out":
        done = f"Kept out as {decision.text}" if decision.text else "Kept out"
    elif decision.verb == "metadata":
        done = "Set apart as a statement about the people who vote: no group, score or selection rests on it"
    else:
        done = "Let in by moderation" if decision.verb == "in" else f"Moderation: {decision.outcome}"
    return f"{done} ({decision.cited}). {_rule(decision)}{decision.because}"


def _rule(decision: Record) -> str:
    parts = [f"By the rule {decision.policy_ref}. "] if decision.policy_ref else []
    parts += [f"{decision.proposal} "] if decision.proposal else []
    return "".join(parts)


def _replaced(decision: Record, records: Records) -> list[str]:
    return [
        f"This replaces an earlier decision: {quoted(earlier.outcome)} ({earlier.cited}). {earlier.because}"
        for earlier in records.chain(decision)
    ]


def _withdrawn(kind: str, subject: object, records: Records) -> tuple[list[str], list[Record]]:
    """Decisions that were taken back without another in their place."""
    story: list[str] = []
    touched: list[Record] = []
    for decision in records.withdrawn(kind, subject):
        story.append(f"A {kind} decision on it was taken back ({decision.cited}). {decision.because}")
        story += _replaced(decision, records)
        touched += [decision, *records.chain(decision)]
    return story, touched


def _votes(facts: StatementFacts) -> list[str]:
    from ccai_dagster.deliberation.votes import group_name  # loads numpy, which answers about other things don't need

    gac = facts.gac or {}
    story = [
        f"{counted(gac['n_votes'], 'vote')} count: {gac['n_agree']:,} agree, {gac['n_disagree']:,} disagree, "
        f"{counted(gac['n_pass'], 'pass', 'passes')}."
    ]
    groups = [
        f"{percent(share)} of {counted(votes, 'vote')} in {group_name(group)}"
        for group, votes, share in zip(gac["group_ids"], gac["group_votes"], gac["group_agreement"], strict=True)
        if share is not None
    ]
    if groups:
        story.append(f"It has the agreement of {listed(groups)}.")
    if gac["gac"] is None:
        return [*story, "It has no group-aware consensus, since a whole group never voted on it."]
    story.append(f"Its group-aware consensus is {gac['gac']:.3f}{_interval(facts.stability)}.")
    if facts.stability and facts.stability["few_votes"]:
        fewest = counted(facts.stability["smallest_group_votes"], "vote")
        story.append(f"Some group cast only {fewest} on it, too few to tell what share of that group agrees.")
    if gac["published_gac"] is not None:
        story.append(f"The score published elsewhere is {gac['published_gac']:.3f}.")
    return story


def _interval(stability: Mapping[str, Any] | None) -> str:
    """The interval of a score, as it stands behind the score; empty if there is none."""
    if stability is None or stability["gac_low"] is None:
        return ""
    return f" (90% interval {stability['gac_low']:.3f} to {stability['gac_high']:.3f})"


def _selection(facts: StatementFacts, records: Records) -> list[str]:
    selected = facts.selected or {}
    place = f"It is number {selected['rank']} of {facts.n_scored} by consensus"
    reached = f"{place} and {'reaches' if selected['selected'] else 'does not reach'} the cut"
    by = [f" ({row.subject_ids[0]} = {row.outcome}, {row.cited})" for row in _cuts(records)[-1:]]
    story = [f"{reached}{''.join(by)}."]
    if selected.get("side") == "disagree":
        story.append(f"That is since every group rejects it: its consensus on rejection is {selected['gac']:.3f}.")
    if facts.stability:
        share = percent(facts.stability["selection_probability"])
        story.append(f"When participants are drawn anew it reaches the cut in {share} of the draws.")
    if selected["fate"] == "undecided":
        story.append("It waits for a decision: nobody has yet worded it or left it out.")
    if selected["fate"] == TOO_FEW_VOTED:
        share = percent((facts.gac or {})["least_participation"])
        story.append(f"It cannot be selected: of one group only {share} voted on it.")
    return story


def _cuts(records: Records) -> list[Record]:
    """The decisions that set the cut: the rule, and the number that this rule uses."""
    rules = records.on("threshold", "selection_rule")
    number = "idea_budget" if rules and rules[-1].outcome.strip() == "ideas" else "gac_threshold"
    names = ("group_participation", "rejected_statements")
    further = [row for name in names for row in records.on("threshold", name)[-1:] if row.by_person]
    return [*rules[-1:], *further, *records.on("threshold", number)[-1:]]


def _merge_or_wording(decision: Record, statement_id: int, facts: StatementFacts) -> str:
    """A merge or wording decision, seen from one of its statements."""
    others = [subject for subject in decision.subject_ids if subject != str(statement_id)]
    with_others = f" together with {'statement' if len(others) == 1 else 'statements'} {listed(others)}"
    if decision.verb == "keep apart":
        done = f"Kept apart from {'statement' if len(others) == 1 else 'statements'} {listed(others)}"
    elif decision.verb == "merge":
        done = f"Merged{with_others if others else ''} into {quoted(decision.text)}"
    elif decision.verb in ("principle", AVOID):
        done = f"Worded{with_others if others else ''} as principle {decision.root_id}: {quoted(decision.text)}"
        if decision.root_id not in {principle for _, principle in facts.principles}:
            done += ", which no constitution of this run contains"
    elif decision.verb == "leave out":
        done = f"Left out{with_others if others else ''} by a person"
    else:
        done = f"Decided: {quoted(decision.outcome)}"
    return f"{done} ({decision.cited}). {_rule(decision)}{decision.because}"


def _decided(decision: Record) -> str:
    """A decision seen from the principle it led to."""
    subjects = f"{'statement' if len(decision.subject_ids) == 1 else 'statements'} {listed(decision.subject_ids)}"
    if decision.verb == "merge":
        done = f"The text of {subjects} was merged into {quoted(decision.text)}"
    elif decision.verb == "principle":
        done = f"Worded from {subjects} as {quoted(decision.text)}"
    elif decision.verb == AVOID:
        done = f"Worded from {subjects}, which every group rejects, as what to avoid: {quoted(decision.text)}"
    elif decision.verb == "rewrite":
        done = f"Moderation rewrote {subjects} to {quoted(decision.text)}"
    elif decision.verb == "in":
        done = f"Moderation let in {subjects if len(decision.subject_ids) < 6 else 'its statement'}"
    else:
        done = f"{decision.kind.capitalize()} decision: {quoted(decision.outcome)}"
    return f"{done} ({decision.cited}). {_rule(decision)}{decision.because}"


def profile_sentences(profile: Sequence[Mapping[str, Any]]) -> list[str]:
    """Say how each group voted on one statement about the people who vote.

    Args:
        profile: Rows of GROUP_PROFILE.
    """
    from ccai_dagster.deliberation.votes import group_name  # as in `_votes`

    return [
        f"{group_name(row['group_id'])}: fewer than {FEWEST_TOLD} of its people voted on it, so it is not told how."
        if row["n_votes"] is None
        else f"{group_name(row['group_id'])}: of {counted(row['n_votes'], 'vote')} "
        + ", ".join(
            f"{percent(row[f'{side}_share'])} {verb} (95% interval {percent(row[f'{side}_low'])} to "
            f"{percent(row[f'{side}_high'])})"
            for side, verb in (("agree", "agree"), ("disagree", "disagree"), ("pass", "pass"))
        )
        + "."
        for row in profile
    ]


def _use(feedback: Feedback, arm: str) -> list[str]:
    story = []
    if feedback.n_pairs:
        story.append(
            f"The feedback model judged {counted(feedback.n_pairs, 'preference pair')} under it "
            f"and preferred one response in {feedback.n_decided:,}."
        )
    else:
        story.append("No preference pair was judged under it.")
    if feedback.adherence is not None:
        base = f" (untrained: {percent(feedback.base_adherence)})" if feedback.base_adherence is not None else ""
        keep = "keeps" if feedback.n_responses == 1 else "keep"
        story.append(
            f"By the feedback model's measure, {counted(feedback.n_responses, 'response')} of the {arm} "
            f"policy {keep} to it with a mean probability of {percent(feedback.adherence)}{base}."
        )
    return story


def _ids(decisions: list[Record]) -> list[str]:
    return list(dict.fromkeys(decision.decision_id for decision in decisions))
