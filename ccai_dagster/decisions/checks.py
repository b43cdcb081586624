"""What is wrong or waiting in the ledgers: missing, contradictory, dangling and lapsed decisions.

Each check looks at one ledger and the tables it is about, and returns findings; none raises for what a person can
mend. A finding of severity `error` must stop what follows; a `warning` is shown while the subject waits. A decision
has lapsed when what it was taken on is no longer what there is; it dangles when its subject does not exist.

What a lapsed decision stops depends on what rests on it. Moderation and sign-offs always stop, since the groups or
the training would rest on a judgement of another text. Ideas stop if the selection goes by ideas. Merges and
wordings stop if one of their statements reaches the cut. Otherwise they wait, as does a decision on a statement that
was moderated out, and so does moderation that was taken over from an export and that the newest export changed. A
subject on which nobody ever decided waits in all kinds but signoff, threshold and training.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import polars as pl

from ccai_dagster.consultation.folder import EXPORT, ModerationMode
from ccai_dagster.core.digest import text_digest
from ccai_dagster.core.errors import ConsultationError
from ccai_dagster.decisions import outcomes, values
from ccai_dagster.decisions.exported_moderation import Difference, contradicted_mode, differences
from ccai_dagster.decisions.independent_decisions import (
    Row,
    asks_for_two,
    conflict,
    disagreeing,
    rows_by_subject,
    same_role,
    second_opinions,
)
from ccai_dagster.decisions.ledger import AVOID, LET_IN, current, is_decision, is_policy, split_outcome
from ccai_dagster.decisions.origins import by_person

Severity = Literal["error", "warning"]
NO_STATEMENT = "is not among the statements that are in; correct the id, or supersede the row"
TAKE_OVER = "take that over with `ccai take-over`, or decide with `ccai review moderation`"
WAITS_FOR_SECOND = "decided by one person; the policy asks a second to decide independently"
WAITS_FOR_BOTH = "no person has decided it; the policy asks two people to decide independently"

UNWORDED = "reaches the cut, and nobody has worded it or left it out; add a row"
UNWORDED_REJECTED = (
    "reaches the cut, since every group rejects it, and nobody has worded what to avoid (`avoid: ...`) or left it out; "
    "add a row"
)


@dataclass(frozen=True)
class Finding:
    """Something wrong with a ledger, or waiting in it.

    Attributes:
        severity: `error` must stop what follows, `warning` is shown.
        ledger: The kind of ledger; empty if it is about a result.
        decision_id: The row, or None where a decision is missing.
        subject: What it is about: an id or name, or several separated by spaces.
        message: What is wrong and what to do.
    """

    severity: Severity
    ledger: str
    decision_id: str | None
    subject: str
    message: str


def check_decision_ids(ledgers: Mapping[str, pl.DataFrame]) -> list[Finding]:
    """Find ids that stand in more than one ledger of the consultation, or twice in one."""
    seen: dict[str, str] = {}
    found = []
    for kind, ledger in ledgers.items():
        for decision_id, subjects in ledger.select("decision_id", "subject_ids").iter_rows():
            if decision_id in seen:
                message = f"the id is taken in the {seen[decision_id]} ledger; give this row a new one"
                found.append(Finding("error", kind, decision_id, " ".join(subjects), message))
            seen.setdefault(decision_id, kind)
    return found


def check_moderation(
    ledger: pl.DataFrame,
    raw_statements: pl.DataFrame,
    mode: ModerationMode,
    otherwise: Sequence[Difference] | None = None,
) -> list[Finding]:
    """Check the moderation ledger against the statements as they came in.

    A statement that nobody moderated waits: it is a warning, since new ones arrive while a consultation is
    open. So does one on which the export now says otherwise. No statement in at all is an error.

    Args:
        otherwise: What `differences` returns for both, where that is known.
    """
    rows, found = counting_rows(ledger, "moderation")
    if rows is None:
        return found
    texts = texts_by_subject(raw_statements)
    found += dangling(rows, texts, "moderation", "is not in the votes' list of statements; correct the id")
    found += contradictory(rows, "moderation") + one_of_two(ledger, rows, "moderation", "warning")
    found += lapsed_texts(rows, texts, "moderation")
    let_in = [row for row in rows if split_outcome(row["outcome"])[0] in LET_IN]
    moderated_in = {subject for row in let_in for subject in row["subject_ids"]}
    decided = {subject for row in rows for subject in row["subject_ids"]}
    waiting = sorted(set(texts) - decided, key=int)
    if not moderated_in & set(texts) and (mode == "strict" or not waiting):
        found.append(Finding("error", "moderation", None, "", "no statement is in; moderate some in"))
    effect = "stays out" if mode == "strict" else "is in"
    found_otherwise = differences(ledger, raw_statements) if otherwise is None else otherwise
    exported = {str(each.statement_id): each for each in found_otherwise}
    for subject in waiting:
        message = f"nobody has moderated it; it {effect} until somebody does"
        if subject in exported:
            message += f"; {exported[subject].sentence}: {TAKE_OVER}"
        found.append(Finding("warning", "moderation", None, subject, message))
    return found + [_otherwise(each) for subject, each in exported.items() if subject in decided]


def _otherwise(difference: Difference) -> Finding:
    """Tell that the export says otherwise than the ledger; what a person decided stands."""
    if difference.by_person:
        message = f"a person decided on it, which stands; {difference.sentence}"
    else:
        message = f"{difference.sentence}, and the ledger says {difference.recorded}: {TAKE_OVER}"
    subject = str(difference.statement_id)
    return Finding("warning", "moderation", difference.rows[0]["decision_id"], subject, message)


def check_moderation_mode(
    ledger: pl.DataFrame, raw_statements: pl.DataFrame, raw_votes: pl.DataFrame, mode: ModerationMode
) -> list[Finding]:
    """Warn if the votes tell another mode of moderation than the one that is set, as a newer export may."""
    told = contradicted_mode(ledger, raw_statements, raw_votes, mode)
    return [Finding("warning", "moderation", None, "moderation mode", told)] if told else []


def check_exclusions(ledger: pl.DataFrame, raw_participants: pl.DataFrame, may_leave: bool = False) -> list[Finding]:
    """Check the exclusion ledger against everybody who took part.

    Args:
        may_leave: Whether people take their votes back themselves, as in the portal: whoever does must not stop the
            run because somebody decided on them before.
    """
    rows, found = counting_rows(ledger, "exclusion")
    if rows is None:
        return found
    known = {str(each): "" for each in raw_participants["participant_id"]}
    gone = dangling(rows, known, "exclusion", "is no participant of this consultation; correct the id")
    if may_leave:
        message = "{} has no votes here, perhaps taken back since; as long as that is so, the row excludes nobody"
        gone = [replace(each, severity="warning", message=message.format(each.subject)) for each in gone]
    found += gone
    return found + contradictory(rows, "exclusion") + one_of_two(ledger, rows, "exclusion", "warning")


def check_merges(
    ledger: pl.DataFrame, statements: pl.DataFrame, known: Collection[int] = (), selected: Collection[int] | None = None
) -> list[Finding]:
    """Check the merge ledger against the statements that are in, with their text after rewrites.

    Args:
        known: Ids of all statements ever submitted.
        selected: Ids of the statements that reach the cut, on which the result rests; None if not known.

    Returns:
        Errors; and warnings for merges that lapsed or lost a statement and on which nothing rests.
    """
    rows, found = counting_rows(ledger, "merge")
    if rows is None:
        return found
    texts, used = texts_by_subject(statements), None if selected is None else _as_written(selected)
    found += dangling(rows, texts, "merge", NO_STATEMENT, _as_written(known), used)
    found += contradictory(rows, "merge") + one_of_two(ledger, rows, "merge", "warning")
    return found + lapsed_texts(rows, texts, "merge", used)


def check_ideas(
    ledger: pl.DataFrame, statements: pl.DataFrame, needed: Collection[int] = (), known: Collection[int] = ()
) -> list[Finding]:
    """Check the idea ledger.

    Args:
        needed: The statements whose ideas must be counted, if the selection goes by ideas.
        known: Ids of all statements ever submitted.

    Returns:
        Errors; and a warning for every needed statement whose ideas nobody has counted, which waits.
    """
    rows, found = counting_rows(ledger, "idea")
    if rows is None:
        return found
    texts = texts_by_subject(statements)
    found += dangling(rows, texts, "idea", NO_STATEMENT, _as_written(known), used=())
    contradictions = contradictory(rows, "idea")
    found += contradictions + one_of_two(ledger, rows, "idea", "warning")
    # The selection rests on ideas only if it goes by ideas; then on those of every statement.
    found += lapsed_texts(rows, texts, "idea", used=None if needed else ())
    if not contradictions:
        found += refusal("idea", lambda: outcomes.statement_ideas(ledger)) if rows else []
    decided = {row["subject_ids"][0] for row in rows}
    message = "its ideas are not counted yet; add a row"
    waiting = sorted(set(needed) - {int(each) for each in decided})
    return found + [Finding("warning", "idea", None, str(each), message) for each in waiting]


def check_wordings(
    ledger: pl.DataFrame,
    merge_ledger: pl.DataFrame,
    statements: pl.DataFrame,
    selected: Collection[int],
    known: Collection[int] = (),
    rejected: Collection[int] = (),
) -> list[Finding]:
    """Check the wording ledger.

    Args:
        selected: Ids of the statements that reach the cut.
        known: Ids of all statements ever submitted.
        rejected: Those of `selected` that reach it since every group rejects them; only a principle of avoidance, or
            leaving out, decides on them.

    Returns:
        Errors; a warning for every selected statement that nobody has worded or left out, which waits; and
        warnings for wordings that lapsed or lost their statement and on which nothing rests.
    """
    rows, found = counting_rows(ledger, "wording")
    if rows is None:
        return found
    texts, used = texts_by_subject(statements), _as_written(selected)
    found += dangling(rows, texts, "wording", NO_STATEMENT, _as_written(known), used)
    found += contradictory(rows, "wording") + _left_out_and_worded(rows)
    found += one_of_two(ledger, rows, "wording", "warning")
    decided = {
        int(subject) for row in rows for subject in row["subject_ids"] if _decides(row, int(subject) in rejected)
    }
    undecided = [
        Finding("warning", "wording", None, str(each), UNWORDED_REJECTED if each in rejected else UNWORDED)
        for each in sorted(set(selected) - decided)
    ]
    faulty = {finding.decision_id for finding in found if finding.message != WAITS_FOR_SECOND}
    try:
        worded, merged = outcomes.wordings(ledger), outcomes.merges(merge_ledger)
    except ConsultationError as error:
        # A fault of the wording ledger stands above already; one of the merge ledger does not.
        return (found or [Finding("error", "wording", None, "", str(error))]) + undecided
    by_id = {int(each): text for each, text in texts.items()}
    for wording in worded:
        if wording.decision_id in faulty:
            continue
        subject = " ".join(map(str, wording.statement_ids))
        try:
            expected = outcomes.wording_source(wording, merged, by_id).digest
        except ConsultationError as error:
            found.append(Finding("error", "wording", wording.decision_id, subject, str(error)))
            continue
        severity: Severity = "error" if set(wording.statement_ids) & set(selected) else "warning"
        found += lapsed("wording", wording.decision_id, subject, wording.inputs_digest, expected, severity)
    return found + undecided


def check_thresholds(ledger: pl.DataFrame) -> list[Finding]:
    """Check that every numeric decision is taken once and in range."""
    rows, found = counting_rows(ledger, "threshold")
    found += contradictory(rows or [], "threshold")
    found = found or refusal("threshold", lambda: values.thresholds(ledger, seed=0))
    return found + one_of_two(ledger, rows, "threshold", "warning") if rows else found


def check_training(ledger: pl.DataFrame) -> list[Finding]:
    """Check that every training decision is taken once and in range, and the policies are on record."""
    rows, found = counting_rows(ledger, "training")
    found += contradictory(rows or [], "training")
    if found or rows is None:
        return found
    found = refusal("training", lambda: values.training_decisions(ledger))
    found += one_of_two(ledger, rows, "training", "warning")
    on_record = {policy.subject for policy in outcomes.policies(ledger)}
    return found + [
        Finding("error", "training", None, name, "no policy is on record; add a row `policy: ...`")
        for name in values.policy_subjects("training")
        if name not in on_record
    ]


def check_signoffs(
    ledger: pl.DataFrame, digests: Mapping[str, str], arms: Collection[str] | None = None
) -> list[Finding]:
    """Check the sign-offs against the constitutions there are.

    Args:
        digests: Digest of the constitution by arm, of the arms that are asked about.
        arms: All arms of the consultation, if these are more.

    Returns:
        Errors only: an arm without a sign-off on its present constitution must not be trained. The export can be asked
        about like an arm, as `EXPORT`.
    """
    rows, found = counting_rows(ledger, "signoff")
    if rows is None:
        return found
    found += dangling(
        rows,
        {*digests, *(arms or ()), EXPORT},
        "signoff",
        "is no arm of this consultation; correct the name, or supersede the row with one that is `withdrawn`",
    )
    asked = [row for row in rows if row["subject_ids"][0] in digests]
    contradictions = contradictory(asked, "signoff")
    found += contradictions + one_of_two(ledger, asked, "signoff", "error")
    for row in asked:
        arm = row["subject_ids"][0]
        if row["inputs_digest"] != digests[arm]:
            message = f"the sign-off is for another {_text(arm)}; {_sign(arm, digests[arm], row['decision_id'])}"
            found.append(Finding("error", "signoff", row["decision_id"], arm, message))
    signed = {row["subject_ids"][0] for row in asked}
    return found + [
        Finding("error", "signoff", None, arm, f"nobody has signed it off; {_sign(arm, digests[arm])}")
        for arm in digests
        if arm not in signed
    ]


def check_export(ledger: pl.DataFrame, doubtful: Sequence[str], version: str, arms: Collection[str]) -> list[Finding]:
    """Check that an export that may not be whole is signed off as it is.

    Args:
        ledger: Of sign-offs.
        doubtful: Why it may not be whole; nothing is found if nothing speaks for it.
        version: Digest of the export.
        arms: All arms of the consultation.

    Returns:
        Errors if nobody signed this export, else its doubts as warnings.
    """
    if not doubtful:
        return []
    missing = check_signoffs(ledger, {EXPORT: version}, arms)
    severity: Severity = "error" if missing else "warning"
    return [Finding(severity, "", None, EXPORT, each) for each in doubtful] + missing


def counting_rows(ledger: pl.DataFrame, kind: str) -> tuple[list[Row] | None, list[Finding]]:
    """The rows that count and are no policy (None if the chains are broken), and what is wrong with them."""
    try:
        rows = current(ledger).to_dicts()
    except ConsultationError as error:
        return None, [Finding("error", kind, None, "", str(error))]
    found = []
    for row in rows:
        subject = " ".join(row["subject_ids"])
        if row["kind"] != kind:
            message = f"the row is of kind {row['kind']}; move it to that ledger"
            found.append(Finding("error", kind, row["decision_id"], subject, message))
        if not row["reason"].strip():
            found.append(Finding("error", kind, row["decision_id"], subject, "no reason is given; add one"))
    policies = [row for row in rows if is_policy(row["outcome"])]
    decided: list[Row] = [row for row in rows if is_decision(row["outcome"]) and row["kind"] == kind]
    return decided, found + contradictory(policies, kind)


def texts_by_subject(statements: pl.DataFrame) -> dict[str, str]:
    """The text of each statement, by id as ledgers write it."""
    return {str(each): text for each, text in statements.select("statement_id", "text").iter_rows()}


def dangling(
    rows: Iterable[Row],
    present: Collection[str],
    kind: str,
    problem: str,
    known: Collection[str] = (),
    used: Collection[str] | None = None,
) -> list[Finding]:
    """Find subjects that do not exist, or that are no longer there.

    Args:
        problem: What is wrong with a subject that never existed, and what to do.
        known: Subjects that exist and need not be there: statements that were moderated out.
        used: Subjects the result rests on. A decision on a subject that is no longer there waits as long as
            none of its subjects is used; None if every subject is.
    """
    found = []
    for row in rows:
        rests = used is None or bool(set(row["subject_ids"]) & set(used))
        for subject in row["subject_ids"]:
            if subject in present:
                continue
            if subject not in known:
                found.append(Finding("error", kind, row["decision_id"], subject, f"{subject} {problem}"))
            elif rests:
                message = f"{subject} is not in any more; decide again without it, superseding this row"
                found.append(Finding("error", kind, row["decision_id"], subject, message))
            else:
                message = f"{subject} is not in, by moderation; nothing rests on this row until it is"
                found.append(Finding("warning", kind, row["decision_id"], subject, message))
    return found


def contradictory(rows: Iterable[Row], kind: str) -> list[Finding]:
    """Find subjects on which one role decided twice, or two roles differently."""
    found = []
    for subject, own in rows_by_subject(rows).items():
        policy = is_policy(own[0]["outcome"])
        if len(own) > 1 and (policy or same_role(own) or disagreeing(own)):
            found.append(Finding("error", kind, own[-1]["decision_id"], " ".join(subject), conflict(subject, own)))
    return found


def one_of_two(ledger: pl.DataFrame, rows: Sequence[Row], kind: str, severity: Severity) -> list[Finding]:
    """Find subjects that one person decided where a policy asks two to decide independently."""
    if not asks_for_two(ledger):
        return []
    both = second_opinions(ledger)
    found = []
    for subject, own in rows_by_subject(rows).items():
        if subject not in both:
            message = WAITS_FOR_SECOND if by_person(own[0]) else WAITS_FOR_BOTH
            found.append(Finding(severity, kind, own[0]["decision_id"], " ".join(subject), message))
    return found


def texts_digest(subjects: Sequence[str], texts: Mapping[str, str]) -> str | None:
    """Return the digest of the subjects' texts in this order, joined by line breaks; None if one is missing."""
    if not all(subject in texts for subject in subjects):
        return None
    return text_digest("\n".join(texts[subject] for subject in subjects))


def lapsed_texts(
    rows: Iterable[Row], texts: Mapping[str, str], kind: str, used: Collection[str] | None = None
) -> list[Finding]:
    """Find decisions whose `inputs_digest` is not that of the texts.

    They are errors if the result rests on them, that is on a subject in `used` (None: on every subject), and
    wait otherwise.
    """
    found = []
    for row in rows:
        subjects = row["subject_ids"]
        rests = used is None or bool(set(subjects) & set(used))
        severity: Severity = "error" if rests else "warning"
        if (expected := texts_digest(subjects, texts)) is not None:
            found += lapsed(kind, row["decision_id"], " ".join(subjects), row["inputs_digest"], expected, severity)
    return found


def lapsed(
    kind: str, decision_id: str, subject: str, recorded: str | None, expected: str, severity: Severity
) -> list[Finding]:
    """Find out whether a decision was taken on what there is now."""
    if recorded == expected:
        return []
    if recorded is None:
        message = f"no inputs_digest, so nobody can tell what it was taken on; it would be {expected}"
    else:
        message = f"lapsed: taken on something else than there is now; decide again, with digest {expected}"
    return [Finding(severity, kind, decision_id, subject, message)]


def refusal(kind: str, read: Callable[[], object]) -> list[Finding]:
    """Turn the error that reading raises into a finding."""
    try:
        read()
    except ConsultationError as error:
        return [Finding("error", kind, None, "", str(error))]
    return []


def _text(subject: str) -> str:
    return "export" if subject == EXPORT else "text"


def _sign(subject: str, digest: str, supersedes: str | None = None) -> str:
    replaced = f" that supersedes {supersedes}" if supersedes else ""
    first = "get the export again or, if it is right as it is," if subject == EXPORT else "read it, then"
    return (
        f"{first} sign with `ccai review signoff` or append a row{replaced} to decisions/signoff.csv with subject "
        f"{subject} and inputs_digest {digest}"
    )


def _as_written(ids: Collection[int]) -> frozenset[str]:
    """Ids as ledgers write them."""
    return frozenset(map(str, ids))


def _decides(row: Row, rejected: bool) -> bool:
    """Whether a wording decides on a statement that every group rejects, or, where it is not, agrees with."""
    verb = split_outcome(row["outcome"])[0]
    return verb == "leave out" or (verb == AVOID) == rejected


def _left_out_and_worded(rows: Iterable[Row]) -> list[Finding]:
    """Statements that one row leaves out and another makes a principle of."""
    rows = list(rows)
    left_out = {subject: row for row in rows if row["outcome"] == "leave out" for subject in row["subject_ids"]}
    return [
        Finding(
            "error",
            "wording",
            row["decision_id"],
            subject,
            f"{left_out[subject]['decision_id']} leaves statement {subject} out; supersede one of the two",
        )
        for row in rows
        if row["outcome"] != "leave out"
        for subject in row["subject_ids"]
        # Two decisions on exactly the same statements are independent ones, or contradictory.
        if subject in left_out and set(left_out[subject]["subject_ids"]) != set(row["subject_ids"])
    ]
