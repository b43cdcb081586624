"""What the authors decided, and the few things this replication had to decide, as ledger rows.

Each published reason is paraphrased with its place: "paper" is Huang et al. (2024), "blog post" the announcement that
accompanied it. Where no reason was published the row says so. The few values that this replication had to choose,
since none was published, name whoever made the folder and say why a value is needed.
"""

from __future__ import annotations

from collections.abc import Mapping

from ccai_dagster.core.digest import text_digest
from ccai_dagster.decisions.ledger import Decision
from ccai_dagster.replication.published_facts import Remark
from ccai_dagster.replication.published_files import PublishedFiles, PublishedStatement

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
REPLICATION = "whoever ran `ccai new`"
_THRESHOLDS = {
    "minimum_votes": (
        "26",
        "The authors' notebook keeps participants with more than 25 votes, though its text speaks of fewer "
        "than 25. The paper does not report the step, and no reason for the number was published; 30 votes "
        "(section 3.2) or 40 (appendix A.3) are what participants had to cast before adding a statement.",
    ),
    "procedure": (
        "paper",
        "As the authors' notebook computes: principal components of the votes without scaling, then k-means. "
        "The paper calls it the standard method of Polis (section 3.3); no reason for the "
        "difference was published.",
    ),
    "imputation": (
        "zero",
        "The authors' notebook counts a vote not cast as 0, while its own comment says that the paper takes "
        "the column mean; no reason was published.",
    ),
    "number_of_groups": (
        "auto",
        "The number with the best silhouette, which gave the authors two groups (paper, section 3.3, "
        "following the method of Polis).",
    ),
    "smoothing": (
        "none",
        "The published scores are plain shares of agreement among all votes, passes included. The definition "
        "that the paper refers to (Small et al.) smooths; no reason for leaving it off was published.",
    ),
    "aggregation": (
        "product",
        "Consensus is the product over groups, so that a statement that one group rejects scores low however "
        "large the other is (paper, section 3.3, equation 1).",
    ),
    "selection_rule": (
        "threshold",
        "The authors counted ideas and report the threshold that this came to (paper, section 3.3). The "
        "split into ideas was not published, so the threshold is what can be applied.",
    ),
    "gac_threshold": (
        "0.723",
        "The score down to which statements had to be taken for as many ideas as the Standard constitution "
        "has (paper, section 3.3 and Figure 3).",
    ),
    "idea_budget": (
        "95",
        "The number of distinct ideas the authors counted in the Standard constitution, to keep length and "
        "density comparable for training (paper, section 3.3). Not in force while the rule is `threshold`.",
    ),
}


def moderation_decisions(files: PublishedFiles) -> list[Decision]:
    """One row a moderated statement, and one row for all that were never moderated."""
    replaced_by: dict[int, list[int]] = {}
    for rewrite, original in files.rewrites.items():
        if original is not None:
            replaced_by.setdefault(original, []).append(rewrite)
    ordered = [files.statements[key] for key in sorted(files.statements)]
    rows = [
        _let_in(each, files) if each.moderated == 1 else _moderated_out(each, replaced_by.get(each.statement_id))
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
    own = [] if key in files.left_out else _on_statement(key, files)
    return _moderation(f"moderation-{key}", [statement], "in", reason + _remarks(own))


def _moderation(
    decision_id: str, statements: list[PublishedStatement], outcome: str, reason: str, decided_by: str = MODERATORS
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


def _on_statement(key: int, files: PublishedFiles) -> list[Remark]:
    return [each for each in files.remarks if not each.principle_id and key in each.statement_ids]


def _remarks(remarks: list[Remark]) -> str:
    return "".join(f" Found when the publication was compared with the data: {each.text}" for each in remarks)


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
    return [_moderation("moderation-never", statements, "out: never moderated", reason, "nobody (state of the export)")]


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
    """One row a merge of the paper's Table 2 whose text is known."""
    reason = (
        "The same idea. Three people merged independently and settled differences together, so that no idea weighs "
        "more for having been submitted more often (paper, section 3.3 and appendix A.5, Table 2)."
    )
    return [
        Decision(
            decision_id=f"merge-{merge.source.principle_id}",
            kind="merge",
            subject_ids=tuple(map(str, merge.source.statement_ids)),
            outcome=f"merge: {merge.merged_text}",
            reason=reason,
            decided_by=AUTHORS,
            decided_at=YEAR,
            policy_ref="paper, section 3.3",
            inputs_digest=text_digest("\n".join(files.statements[each].text for each in merge.source.statement_ids)),
        )
        for merge in files.merges
        if merge.merged_text
    ]


def wording_decisions(files: PublishedFiles) -> list[Decision]:
    """One row a principle of appendix A.6 whose text is known, and one a statement above the threshold in none."""
    rows = []
    for principle in files.principles:
        key, ids = principle.source.principle_id, principle.source.statement_ids
        worded_from = files.statements[ids[0]].text if principle.merged_text is None else principle.merged_text
        if not principle.text or not worded_from:
            continue
        found = [each for each in files.remarks if each.principle_id == key]
        rows.append(
            Decision(
                decision_id=key,
                kind="wording",
                subject_ids=tuple(map(str, ids)),
                outcome=f"principle: {principle.text}",
                reason=(
                    "Put into the form of an instruction, to be changed as little as possible (paper, "
                    "section 3.3 and appendix A.6). The sources were not published and were found by "
                    f"comparing texts: {principle.source.match}; meaning against the source: "
                    f"{principle.source.meaning}.{_remarks(found)}"
                ),
                decided_by=AUTHORS,
                decided_at=YEAR,
                policy_ref="paper, section 3.3",
                inputs_digest=text_digest(worded_from),
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
            + _remarks(_on_statement(each, files)),
            decided_by=AUTHORS,
            decided_at=YEAR,
            inputs_digest=text_digest(files.statements[each].text),
        )
        for each in files.left_out
    ]


def moderation_policies(files: PublishedFiles) -> list[Decision]:
    """The criteria of moderation and the seed statements."""
    return [
        _policy(
            "moderation",
            "criteria",
            "out are duplicates, nonsense, hateful or offensive, irrelevant and incomprehensible statements, "
            "and those on what a product can do; rewriting is preferred to deleting",
            "Set beforehand after existing guidelines for moderating Polis; applied with judgement, and by "
            "one of the two organisations alone (paper, section 3.2; blog post, 'Moderation criteria').",
            MODERATORS,
            CRITERIA,
        ),
        _policy(
            "moderation",
            "seed_statements",
            f"{len(files.seeds)} seed statements open the conversation: "
            + " ".join(str(each) for each in sorted(files.seeds)),
            "In pilots without them people were unsure and wrote out of scope. The authors wanted a mixed "
            "set, some of it taken from the Standard constitution, and call the choice subjective (paper, "
            "section 3.2 and appendix A.4; blog post, 'Seed statements').",
        ),
    ]


def _policy(
    kind: str, subject: str, text: str, reason: str, decided_by: str = AUTHORS, policy_ref: str | None = None
) -> Decision:
    return Decision(
        decision_id=f"{kind}-{subject}",
        kind=kind,
        subject_ids=(subject,),
        outcome=f"policy: {text}",
        reason=reason,
        decided_by=decided_by,
        decided_at=YEAR,
        policy_ref=policy_ref,
    )


def exclusion_policies() -> list[Decision]:
    """Who was asked."""
    return [
        _policy(
            "exclusion",
            "participant_selection",
            "adults of the United States, by age, gender, income and region, from a survey company's panel",
            "Thought both reasonable and manageable as a first step, against advertising or snowball "
            "sampling; known to be small and not global (paper, section 3.1; blog post, 'Participant "
            "selection').",
        ),
        _policy(
            "exclusion",
            "screening",
            "only people were invited who had talked about generative AI with friends or family in the last month and "
            "had read news about it in the last four",
            "Pilots without the questions brought off-topic and careless submissions (paper, section 3.1 and "
            "appendix A.2; blog post, 'Screening criteria'). Section 3.1 asks for one of the answers, "
            "appendix A.2 for all.",
        ),
    ]


def idea_decisions() -> list[Decision]:
    """The count of ideas, of which no list was published."""
    return [
        _policy(
            "idea",
            "idea_count",
            "statements are taken in order of consensus until they express 95 ideas; no list of ideas exists",
            "Two people split statements into ideas independently and settled differences together, to match "
            "the Standard constitution; the ideas themselves were not published (paper, section 3.3).",
        )
    ]


def threshold_decisions(decided_at: str) -> list[Decision]:
    """Every numeric decision; `decided_at` is for the one that this replication makes."""
    rows = [_value("threshold", name, value, reason, AUTHORS, YEAR) for name, (value, reason) in _THRESHOLDS.items()]
    overlap = (
        "Choice of this replication, since the authors compared the constitutions by hand and published no "
        "measure (paper, section 4.2; blog post: about half the concepts overlap). Half is the middle of the "
        "scale and was not tuned to that figure."
    )
    return [*rows, _value("threshold", "overlap_similarity", "0.5", overlap, REPLICATION, decided_at)]


def _value(kind: str, name: str, value: str, reason: str, decided_by: str, decided_at: str) -> Decision:
    return Decision(
        decision_id=f"{kind}-{name}",
        kind=kind,
        subject_ids=(name,),
        outcome=value,
        reason=reason,
        decided_by=decided_by,
        decided_at=decided_at,
    )


def training_decisions(files: PublishedFiles, decided_at: str) -> list[Decision]:
    """The weight of harmlessness, how feedback is asked, prompts and evaluations."""
    return [
        _value(
            "training",
            "harmlessness_weight",
            "0.5",
            "Choice of this replication: the authors lowered the loss weight of harmlessness data by human "
            "evaluation, because their first models apologised instead of helping, and did not publish the "
            "value (blog post, 'Annoying models'). Some value below 1 is needed to follow them.",
            REPLICATION,
            decided_at,
        ),
        _value(
            "training",
            "feedback_method",
            "letters",
            "The feedback model chooses between two lettered responses, and its probabilities are the label "
            "(Bai et al. 2022, section 4.1), which the authors say they followed exactly (paper, section "
            "3.4).",
            AUTHORS,
            YEAR,
        ),
        _value(
            "training",
            "policy_method",
            "rloo",
            "Reinforcement learning against a preference model, as in the study (Bai et al. 2022, section 4), which "
            "the authors say they followed exactly (paper, section 3.4). The gradient is estimated with a "
            "leave-one-out baseline, where they used proximal policy optimisation.",
            REPLICATION,
            decided_at,
        ),
        _policy(
            "training",
            "prompt_database",
            "one prompt database for all arms: the embedded sample's"
            + (", with the published qualitative prompts" if files.qualitative_prompts else ""),
            "The authors used one database for both arms so that only the constitution differs, and later "
            "called that probably a mistake, since it exercises some public principles hardly at all (paper, "
            "section 3.4; blog post, 'The prompt database matters'). Theirs was not published; the sample's "
            "stands in for it.",
        ),
        _policy(
            "training",
            "evaluations",
            "the embedded sample's small sets, in place of the authors' evaluations",
            "The authors chose MMLU, GSM8K, BBQ, OpinionQA and human comparisons, saw a difference in BBQ "
            "only, and wished for tests of how faithful a model is to its constitution (paper, section 4.3; "
            "blog post, 'Evaluations'). Those sets do not come with this project.",
        ),
    ]


def signoff_decisions(digests: Mapping[str, str], decided_at: str) -> list[Decision]:
    """One row an arm, for the constitution with this digest."""
    return [
        Decision(
            decision_id=f"signoff-{arm}",
            kind="signoff",
            subject_ids=(arm,),
            outcome="signed off",
            reason=(
                "Replication of a published result: signed off when the folder was made, so that every arm "
                "can be trained. Nobody reviewed the text for use; who wants to use the model signs off anew."
            ),
            decided_by=REPLICATION,
            decided_at=decided_at,
            inputs_digest=digest,
        )
        for arm, digest in digests.items()
    ]
