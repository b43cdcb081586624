"""Answers to what somebody asks about: from the typed id to the subject that is meant, and what is known of it.

Belongs here: ids, their prefixes, what to say when they are unknown or mean several things; answers about
statements, principles and decisions. Doesn't belong here: answers about pairs, models, scores and runs
(`model_answers`), the sentences about a statement or principle (`trail_sentences`), checking or applying decisions.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace
from typing import Any

import polars as pl

from ccai_dagster.audit.evidence import Evidence, Explanation
from ccai_dagster.audit.model_answers import (
    answer_model,
    answer_pair,
    answer_run,
    answer_score,
    model_names,
    run_ids,
    score_names,
    taught_arms,
)
from ccai_dagster.audit.records import Record
from ccai_dagster.audit.trail import decision_trail
from ccai_dagster.audit.trail_sentences import profile_sentences
from ccai_dagster.consultation.folder import EXPORT
from ccai_dagster.core.digest import SHORT
from ccai_dagster.core.errors import ConsultationError
from ccai_dagster.core.text import counted, listed, quoted
from ccai_dagster.decisions.ledger import AMENDED

DELIBERATED = (
    "raw_statements",
    "statements",
    "votes",
    "opinion_groups",
    "gac_scores",
    "consensus_stability",
    "selected_statements",
)
PROFILE = "group_profile"
JUDGED = ("principle_id", "probability_a")
KEPT = ("arm", "constitution_arm", "principle_id", "prompt_id", "probability")
SHOWN = 12
"""Subjects described one by one; the others are counted, and all are in the facts."""
ON_STATEMENTS = ("moderation", "merge", "wording", "idea")
SHORTEST_PREFIX = 4
"""Characters of a digest or run id that name it."""
SUGGESTED = 8
KIND_AND_NUMBER = re.compile(r"^(statement|principle|decision|participant) (\S+)$")
"""How pages and people write what is asked for as `statement:17`."""
FORMS = (
    "a statement (17), a principle (P55 or public/P55), a decision id, a preference pair id, a model (its digest or "
    "public/policy), a score (arm/benchmark/metric, with /category for a part), or a Dagster or MLflow run id"
)


def answers(asked: str, evidence: Evidence) -> list[Explanation]:
    """Answer what was asked.

    Args:
        asked: An id, with or without its kind before it, as `17` or `statement:17`; of models and runs the
            first characters suffice. Or the name of a value (`gac_threshold`), or words of texts.

    Returns:
        One answer; of a principle's bare id, one for each arm that has such a principle; of words, what has them.

    Raises:
        ConsultationError: Nothing has this id, or several things have it. Names those that might be meant.
    """
    try:
        found = _find(asked.strip(), evidence)
    except ConsultationError:
        if (by_words := _with_words(asked.strip(), evidence)) is None:
            raise
        return [by_words]
    principles = [name for kind, name in found if kind == "principle"]
    if principles and {kind for kind, _ in found} <= {"principle", "decision"}:
        decided = [name for kind, name in found if kind == "decision"]
        return [_with_note_on_decisions(_ANSWERS["principle"](name, evidence), decided) for name in principles]
    if len(found) > 1:
        raise ConsultationError(
            f"{asked!r} may mean any of these: {', '.join(f'{kind}:{name}' for kind, name in found[:SUGGESTED])}"
            f"{f' and {len(found) - SUGGESTED} more' if len(found) > SUGGESTED else ''}. Ask for one of them."
        )
    (kind, name) = found[0]
    return [_ANSWERS[kind](name, evidence)]


def _named_values(sought: str, evidence: Evidence) -> list[tuple[str, str]]:
    """The decisions that count on a value or a policy, by its name as ledgers and texts write it."""
    name = sought.lower().replace(" ", "_")
    return [
        ("decision", record.decision_id)
        for record in evidence.records.by_id.values()
        if record.counts and name in record.subject_ids and not name.isdecimal()
    ]


def _with_words(sought: str, evidence: Evidence) -> Explanation | None:
    """Statements, principles and reasons that have all words of what is sought; None if nothing has."""
    words = re.findall(r"\w+", sought.casefold())
    if not any(word.isalpha() for word in words):
        return None  # an id

    def fits(text: str) -> bool:
        own = re.findall(r"\w+", text.casefold())
        # Part of a word will do, as in compounds and where no spaces are written; of short ones nearly all have a part.
        whole = {word for word in words if len(word) < SHORTEST_PREFIX and word.isascii()}
        return all(word in own if word in whole else any(word in each for each in own) for word in words)

    texts: dict[int, str] = {}
    for key in ("raw_statements", "statements"):  # what moderation rewrote counts as rewritten
        table = evidence.table_if_made(key, ["statement_id", "text"])
        texts |= {} if table is None else dict(table.iter_rows())
    found = [(f"statement:{key}", text) for key, text in texts.items() if fits(text)]
    for arm in evidence.arms:
        made = evidence.table_if_made(f"{arm}/constitution", ["principle_id", "text"])
        rows = [] if made is None else made.iter_rows()
        found += [(f"principle:{arm}/{key}", text) for key, text in rows if fits(text)]
    for record in evidence.records.by_id.values():
        if fits(f"{record.outcome} {record.reason}"):
            found.append((f"decision:{record.decision_id}", f"{record.outcome} · {record.reason}"))
    if not found:
        return None
    more = [f"and {len(found) - SHOWN} more, which --json names"] if len(found) > SHOWN else []
    return Explanation(
        subject=quoted(sought),
        text=f"Found in {counted(len(found), 'text')} of statements, principles and decisions.",
        story=[*(f"{name}: {quoted(text)}" for name, text in found[:SHOWN]), *more],
        facts={"found": [name for name, _ in found]},
        decisions=[],
        seen=[],
        notes=["Ask for one of them by its id."],
    )


def _find(asked: str, evidence: Evidence) -> list[tuple[str, str]]:
    kind, colon, name = re.sub(KIND_AND_NUMBER, r"\1:\2", asked).partition(":")
    if kind == "participant":
        return _on_participant(name, evidence)
    asked = f"{kind}{colon}{name}"
    kinds = _KNOWN if kind not in _KNOWN or not colon else {kind: _KNOWN[kind]}
    sought = name if len(kinds) == 1 else asked
    known = {kind: names(evidence) for kind, names in kinds.items()}
    if exact := [(kind, each) for kind, names in known.items() for each in _exact(kind, sought, names)]:
        return exact
    begun = [
        (kind, each)
        for kind in ("model", "run")
        for each in known.get(kind, ())
        if len(sought) >= SHORTEST_PREFIX and each.startswith(sought.lower())
    ]
    if begun:
        return begun
    if len(kinds) > 1 and (values := _named_values(sought, evidence)):
        return values
    raise ConsultationError(_unknown(asked, sought, known, evidence))


def _on_participant(participant: str, evidence: Evidence) -> list[tuple[str, str]]:
    """The decisions that count on whether somebody takes part, which is all that is told of people.

    Raises:
        ConsultationError: There is none.
    """
    rows = evidence.records.on("exclusion", participant)
    if not rows:
        raise ConsultationError(
            f"On participant {participant!r} nothing was decided. How one person voted is not told, only how groups "
            "did."
        )
    return [("decision", row.decision_id) for row in rows]


def _exact(kind: str, sought: str, names: Collection[str]) -> list[str]:
    if kind == "principle" and "/" not in sought:
        return [each for each in names if each.partition("/")[2] == sought]
    if kind == "score" and sought.endswith("/all"):
        sought = sought.removesuffix("/all")
    if kind == "statement" and re.fullmatch(r"[0-9]{1,18}", sought):
        sought = str(int(sought))
    return [sought] if sought in names else []


def _unknown(asked: str, sought: str, known: Mapping[str, Collection[str]], evidence: Evidence) -> str:
    said = f"There is no {next(iter(known))} {sought!r}." if len(known) == 1 else f"Nothing is called {asked!r}."
    names = {f"{kind}:{each}": each for kind, ids in known.items() for each in ids}
    lowered: dict[str, str] = {}
    for full, each in names.items():
        lowered.setdefault(each.lower(), full)
        if each.partition("/")[2]:
            lowered.setdefault(each.partition("/")[2].lower(), full)
    if len(known) > 1:
        counting = (record for record in evidence.records.by_id.values() if record.counts)
        values = {name for record in counting for name in record.subject_ids if name.isidentifier()}
        lowered = {name.lower(): name for name in sorted(values)} | lowered
    near = difflib.get_close_matches(sought.lower()[:100], lowered, n=SUGGESTED, cutoff=0.6)
    begun = [full for short, full in lowered.items() if sought and short.startswith(sought.lower()[:100])]
    meant = list(dict.fromkeys([*begun[:SUGGESTED], *(lowered[each] for each in near)]))[:SUGGESTED]
    hint = f" Did you mean {', '.join(meant)}?" if meant else f" Ask for {FORMS}."
    empty = "" if evidence.manifest else " No run has ended yet, so only decisions are known: `ccai run`."
    return said + hint + empty


def _with_note_on_decisions(answer: Explanation, decided: list[str]) -> Explanation:
    """Point to a decision that only happens to have the same id as a principle."""
    touched = {each.decision_id for each in answer.decisions}
    notes = [f"decision:{name} is something else; ask for it by this name." for name in decided if name not in touched]
    return replace(answer, notes=[*answer.notes, *notes])


def trail_of(subjects: Sequence[str], evidence: Evidence) -> list[dict[str, object]]:
    """Return the rows of the decision trail for these subjects, `statement:ID` or `principle:ARM/ID`.

    Training need not have happened: the rows then lack labels and adherence. Nor need the constitution be there, since
    a run stops before it where nothing is worded.

    Raises:
        ConsultationError: A table of the deliberation was not made yet, or one is damaged.
    """
    constitutions = {arm: evidence.table_if_made(f"{arm}/constitution") for arm in evidence.arms}
    pairs = {arm: evidence.table_if_made(f"{arm}/preference_pairs", JUDGED) for arm in evidence.arms}
    adherence = {model: evidence.table_if_made(f"{model}/adherence", KEPT) for model in evidence.models}
    return decision_trail(
        raw_statements=evidence.table("raw_statements"),
        statements=evidence.table("statements"),
        gac_scores=evidence.table("gac_scores"),
        consensus_stability=evidence.table("consensus_stability"),
        selected_statements=evidence.table("selected_statements"),
        constitutions=_without_missing(constitutions),
        ledgers=evidence.ledgers,
        preference_pairs=_without_missing(pairs),
        adherence=_without_missing(adherence),
        only=subjects,
    ).to_dicts()


def _without_missing(tables: dict[str, pl.DataFrame | None]) -> dict[str, pl.DataFrame]:
    return {name: table for name, table in tables.items() if table is not None}


def answer_statement(statement_id: int, evidence: Evidence) -> Explanation:
    """Describe a statement's way from submission to constitution."""
    (row,) = trail_of([f"statement:{statement_id}"], evidence)
    profile = evidence.table_if_made(PROFILE)
    own = [] if profile is None else profile.filter(statement_id=statement_id).sort("group_id").to_dicts()
    constitutions = {arm: f"{arm}/constitution" for arm in evidence.arms}
    answer = _answer(row, [*DELIBERATED, *constitutions.values(), *([PROFILE] if own else [])], evidence)
    waiting = [arm for arm, key in constitutions.items() if evidence.table_if_made(key, ["principle_id"]) is None]
    unknown = f"The constitution of {listed(waiting)} is not made yet, so what becomes of the statement there is open."
    return replace(
        answer,
        story=[
            *answer.story,
            *_factors(row, evidence),
            *_hangs_on(statement_id, evidence),
            *(profile_sentences(own) if own else []),
        ],
        notes=[*answer.notes, *([unknown] if waiting else [])],
    )


def _factors(row: Mapping[str, Any], evidence: Evidence) -> list[str]:
    """What a consensus is the product of, where it is one or the root of one."""
    smoothing, aggregation = (
        next((record.outcome for record in evidence.records.on("threshold", name)), "")
        for name in ("smoothing", "aggregation")
    )
    if row["gac"] is None or aggregation not in ("product", "geometric_mean"):
        return []
    from ccai_dagster.deliberation.consensus import SMOOTHING  # loads numpy, as the sentences on votes do

    add, add_all = SMOOTHING[smoothing]  # type: ignore[index]
    groups = zip(row["group_votes"], row["group_agreement"], strict=True)
    factors = [f"{(share * votes + add) / (votes + add_all):.3f}" for votes, share in groups if share is not None]
    root = f", of which the root by {len(factors)} groups is taken" if aggregation == "geometric_mean" else ""
    smoothed = (
        f" ({add:g} added to those who agree and {add_all:g} to all votes, smoothing = {smoothing})" if add else ""
    )
    return [f"The consensus is made of the groups’ shares {' × '.join(factors)}{smoothed}{root}."]


def _hangs_on(statement_id: int, evidence: Evidence) -> list[str]:
    """Which single numbers, chosen otherwise, would take the statement out or bring it in."""
    tried = evidence.table_if_made("decision_sensitivity", ["decision", "alternative", "entering", "leaving"])
    if tried is None:
        return []
    told = []
    for column, would in (("leaving", "would not be selected"), ("entering", "would be selected")):
        rows = tried.filter(pl.col(column).list.contains(statement_id))
        values = [f"{name} = {value}" for name, value in rows.select("decision", "alternative").iter_rows()]
        if values:
            told.append(f"With one number chosen otherwise it {would}: {listed(values)}.")
    return told


def _answer(row: dict[str, object], keys: Sequence[str], evidence: Evidence) -> Explanation:
    facts = {name: value for name, value in row.items() if name not in ("subject", "text", "story")}
    ids = row["decision_ids"]
    assert isinstance(ids, list) and isinstance(row["story"], list)  # noqa: S101 - contract DECISION_TRAIL
    return Explanation(
        subject=str(row["subject"]),
        text=str(row["text"]),
        story=row["story"],
        facts=facts,
        decisions=[evidence.records.by_id[key] for key in ids],
        seen=evidence.seen(keys),
        notes=evidence.notes(keys),
    )


def answer_principle(arm: str, principle_id: str, evidence: Evidence) -> Explanation:
    """Say where a principle comes from and what was done with it."""
    (row,) = trail_of([f"principle:{arm}/{principle_id}"], evidence)
    names = (
        "constitution",
        "signed_constitution",
        "revisions",
        "preference_pairs",
        "preference_model",
        "policy",
        "adherence",
    )
    keys = [*(DELIBERATED[1:] if row["statement_ids"] else ()), *(f"{arm}/{name}" for name in names)]
    return _answer(row, [*keys, "base/adherence"], evidence)


def answer_decision(decision_id: str, evidence: Evidence) -> Explanation:
    """Say what was decided, and what followed."""
    records = evidence.records
    record = records.by_id[decision_id]
    earlier, later = records.chain(record), records.replacing(record)
    story = [_sentence(record)]
    if record.policy_ref:
        story.append(f"By the rule {record.policy_ref}.")
    if record.proposal:
        story.append(record.proposal)
    story.append(record.because)
    story += [f"It replaces {_sentence(each)} {each.because}" for each in earlier]
    story += [f"It no longer counts: it was replaced. {_sentence(each)} {each.because}" for each in later]
    if record.is_policy:
        story.append("It is a choice on record for the whole process; it is applied to no single row.")
    if record.verb == AMENDED:
        story.append("It says why these rows are not as they were first on record; it decides nothing.")
    followed, facts = _followed(record, evidence)
    users = _users(record, evidence)
    return Explanation(
        subject=f"decision:{decision_id}",
        text=record.outcome,
        story=[*story, *followed],
        facts={
            "counts": record.counts,
            "replaces": [each.decision_id for each in earlier],
            "replaced_by": [each.decision_id for each in later],
            "used_by": users,
            **facts,
        },
        decisions=[record, *earlier, *later],
        seen=evidence.seen(users),
        notes=evidence.notes([*users, *DELIBERATED] if record.kind in ON_STATEMENTS else users),
    )


def _sentence(record: Record) -> str:
    subjects = listed(record.subject_ids[:SHOWN])
    more = f" and {len(record.subject_ids) - SHOWN} more" if len(record.subject_ids) > SHOWN else ""
    return (
        f"Decision {record.decision_id} of {record.decided_at[:10]} by {record.decided_by}: "
        f"{record.kind} of {subjects}{more}: {quoted(record.outcome)}."
    )


def _followed(record: Record, evidence: Evidence) -> tuple[list[str], dict[str, object]]:
    """What came of it, as far as the tables say; before the first run there are none."""
    if record.is_policy or record.verb == AMENDED or not record.counts:
        return [], {}
    try:
        if record.kind in ON_STATEMENTS:
            return _statements_named(record, evidence)
        if record.kind == "exclusion":
            return _participants(record, evidence)
        if record.kind == "signoff":
            return _signed(record, evidence)
    except ConsultationError as error:
        return [f"What followed is not known: {error}"], {}
    return [], {}


def _statements_named(record: Record, evidence: Evidence) -> tuple[list[str], dict[str, object]]:
    rows = trail_of([f"statement:{key}" for key in record.subject_ids], evidence)
    story = []
    for row in rows[:SHOWN]:
        gac = f", group-aware consensus {row['gac']:.3f}" if row["gac"] is not None else ""
        story.append(f"{str(row['subject']).replace(':', ' ').capitalize()}: {row['fate']}{gac}.")
    if len(rows) > SHOWN:
        story.append(f"Likewise {counted(len(rows) - SHOWN, 'more statement')}.")
    principles = sorted(
        {
            f"{arm}/{principle['principle_id']}"
            for arm in evidence.arms
            if (constitution := evidence.table_if_made(f"{arm}/constitution")) is not None
            for principle in constitution.to_dicts()
            if record.decision_id in principle["decision_ids"]
        }
    )
    if principles:
        story.append(f"{listed(principles)} {'rests' if len(principles) == 1 else 'rest'} on it.")
    fates = {str(row["subject"]): row["fate"] for row in rows}
    return story, {"fates": fates, "principle_ids": principles}


def _participants(record: Record, evidence: Evidence) -> tuple[list[str], dict[str, object]]:
    people = {row["participant_id"]: row for row in evidence.table("participants").to_dicts()}
    found = {key: people.get(int(key)) for key in record.subject_ids}
    story = [
        f"Participant {key} cast {counted(row['n_votes'], 'vote')}: {row['fate']}."
        for key, row in found.items()
        if row is not None
    ]
    return story, {"fates": {key: row["fate"] if row else None for key, row in found.items()}}


def _signed(record: Record, evidence: Evidence) -> tuple[list[str], dict[str, object]]:
    from ccai_dagster.constitution.principles import constitution_digest

    (arm,) = record.subject_ids
    if arm == EXPORT:
        return _signed_export(record, evidence)
    digest = constitution_digest(evidence.table(f"{arm}/constitution"))
    same = digest == record.inputs_digest
    story = (
        f"It is for the constitution of {arm} that stands now ({digest[:SHORT]})."
        if same
        else f"It has lapsed: it is for the text {str(record.inputs_digest)[:SHORT]}, and the constitution of {arm} "
        f"is now {digest[:SHORT]}."
    )
    return [story], {"constitution_digest": digest, "holds": same}


def _signed_export(record: Record, evidence: Evidence) -> tuple[list[str], dict[str, object]]:
    observed = evidence.manifest.sources.get(EXPORT) if evidence.manifest else None
    if observed is None:
        return [], {}
    holds = observed.data_version == record.inputs_digest
    own, last = str(record.inputs_digest)[:SHORT], observed.data_version[:SHORT]
    story = (
        f"It is for the export that was last observed ({own})."
        if holds
        else f"It is for the export {own}; the one that was last observed is {last}."
    )
    return [story], {"export_digest": observed.data_version, "holds": holds}


def _users(record: Record, evidence: Evidence) -> list[str]:
    """The assets that were made from the ledger that has this row."""
    if evidence.manifest is None:
        return []
    source = f"{record.kind}_ledger"
    return [key for key, made in evidence.manifest.materializations.items() if source in made.inputs]


def _statement_ids(evidence: Evidence) -> set[str]:
    table = evidence.table_if_made("raw_statements", ["statement_id"])
    return set() if table is None else {str(each) for each in table["statement_id"]}


def _principles(evidence: Evidence) -> list[str]:
    tables = {arm: evidence.table_if_made(f"{arm}/constitution", ["principle_id"]) for arm in evidence.arms}
    return [f"{arm}/{each}" for arm, table in tables.items() if table is not None for each in table["principle_id"]]


def _decisions(evidence: Evidence) -> Collection[str]:
    return evidence.records.by_id.keys()


def _pairs(evidence: Evidence) -> set[str]:
    keys = [*(f"{arm}/preference_pairs" for arm in taught_arms(evidence)), "helpfulness_pairs"]
    tables = [evidence.table_if_made(key, ["pair_id"]) for key in keys]
    return {each for table in tables if table is not None for each in table["pair_id"]}


def _runs(evidence: Evidence) -> list[str]:
    return run_ids(evidence.manifest) if evidence.manifest is not None else []


def _principle(name: str, evidence: Evidence) -> Explanation:
    arm, _, principle_id = name.partition("/")
    return answer_principle(arm, principle_id, evidence)


_KNOWN: Mapping[str, Callable[[Evidence], Collection[str]]] = {
    "statement": _statement_ids,
    "principle": _principles,
    "decision": _decisions,
    "pair": _pairs,
    "model": model_names,
    "score": score_names,
    "run": _runs,
}
_ANSWERS: Mapping[str, Callable[[str, Evidence], Explanation]] = {
    "statement": lambda name, evidence: answer_statement(int(name), evidence),
    "principle": _principle,
    "decision": answer_decision,
    "pair": answer_pair,
    "model": answer_model,
    "score": answer_score,
    "run": answer_run,
}
