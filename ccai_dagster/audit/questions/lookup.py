"""From what somebody typed to the subject that is meant, and to its answer.

Belongs here: ids, their prefixes, and what to say when they are unknown or mean several things. Doesn't belong
here: the answers.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Collection, Mapping
from dataclasses import replace

import polars as pl

from ccai_dagster.audit.questions.decided import answer_decision
from ccai_dagster.audit.questions.evidence import Evidence, Explanation
from ccai_dagster.audit.questions.learnt import (
    answer_model,
    answer_pair,
    answer_score,
    model_keys,
    score_names,
)
from ccai_dagster.audit.questions.public_subjects import answer_principle, answer_statement
from ccai_dagster.audit.questions.runs import answer_run, run_ids
from ccai_dagster.errors import ConsultationError

SHORTEST_PREFIX = 4
"""Characters of a digest or run id that name it."""
SUGGESTED = 8
FORMS = (
    "a statement (17), a principle (P55 or public/P55), a decision id, a preference pair id, the digest of a model, "
    "a score (arm/benchmark/metric, with /category for a part), or a Dagster or MLflow run id"
)


def answers(asked: str, evidence: Evidence) -> list[Explanation]:
    """Answer what was asked.

    Args:
        asked: An id, with or without its kind before it, as `17` or `statement:17`; of models and runs the
            first characters suffice.
        evidence: What answers rest on.

    Returns:
        One answer; of a principle's bare id, one for each arm that has such a principle.

    Raises:
        ConsultationError: Nothing has this id, or several things have it. Names those that might be meant.
    """
    found = _find(asked.strip(), evidence)
    principles = [name for kind, name in found if kind == "principle"]
    if principles and {kind for kind, _ in found} <= {"principle", "decision"}:
        decided = [name for kind, name in found if kind == "decision"]
        return [_beside(_ANSWERS["principle"](name, evidence), decided) for name in principles]
    if len(found) > 1:
        raise ConsultationError(
            f"{asked!r} may mean any of these: {', '.join(f'{kind}:{name}' for kind, name in found[:SUGGESTED])}"
            f"{f' and {len(found) - SUGGESTED} more' if len(found) > SUGGESTED else ''}. Ask for one of them."
        )
    (kind, name) = found[0]
    return [_ANSWERS[kind](name, evidence)]


def _beside(answer: Explanation, decided: list[str]) -> Explanation:
    """Point to a decision that only happens to have the same id as a principle."""
    touched = {each.decision_id for each in answer.decisions}
    notes = [f"decision:{name} is something else; ask for it by this name." for name in decided
             if name not in touched]  # fmt: skip
    return replace(answer, notes=[*answer.notes, *notes])


def _find(asked: str, evidence: Evidence) -> list[tuple[str, str]]:
    kind, colon, name = asked.partition(":")
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
    raise ConsultationError(_unknown(asked, sought, known, evidence))


def _exact(kind: str, sought: str, names: Collection[str]) -> list[str]:
    if kind == "principle" and "/" not in sought:
        return [each for each in names if each.partition("/")[2] == sought]
    if kind == "score" and sought.endswith("/all"):
        sought = sought.removesuffix("/all")
    if kind == "statement" and re.fullmatch(r"[0-9]{1,18}", sought):
        sought = str(int(sought))
    return [sought] if sought in names else []


def _unknown(asked: str, sought: str, known: Mapping[str, Collection[str]], evidence: Evidence) -> str:
    said = (
        f"There is no {next(iter(known))} {sought!r}." if len(known) == 1 else f"Nothing is called {asked!r}."
    )
    names = {f"{kind}:{each}": each for kind, ids in known.items() for each in ids}
    lowered: dict[str, str] = {}
    for full, each in names.items():
        lowered.setdefault(each.lower(), full)
        if each.partition("/")[2]:
            lowered.setdefault(each.partition("/")[2].lower(), full)
    near = difflib.get_close_matches(sought.lower()[:100], lowered, n=SUGGESTED, cutoff=0.6)
    begun = [full for short, full in lowered.items() if sought and short.startswith(sought.lower()[:100])]
    meant = list(dict.fromkeys([*begun[:SUGGESTED], *(lowered[each] for each in near)]))[:SUGGESTED]
    hint = f" Did you mean {', '.join(meant)}?" if meant else f" Ask for {FORMS}."
    empty = "" if evidence.manifest else " No run has ended yet, so only decisions are known: `ccai run`."
    return said + hint + empty


def _statement_ids(evidence: Evidence) -> set[str]:
    table = evidence.table_if_made("raw_statements", ["statement_id"])
    return set() if table is None else {str(each) for each in table["statement_id"]}


def _principles(evidence: Evidence) -> list[str]:
    tables = {arm: evidence.table_if_made(f"{arm}/constitution", ["principle_id"]) for arm in evidence.arms}
    return [
        f"{arm}/{each}"
        for arm, table in tables.items()
        if table is not None
        for each in table["principle_id"]
    ]


def _decisions(evidence: Evidence) -> Collection[str]:
    return evidence.records.by_id.keys()


def _pairs(evidence: Evidence) -> set[str]:
    keys = [*(f"{arm}/preference_pairs" for arm in evidence.arms), "helpfulness_pairs"]
    tables = [evidence.table_if_made(key, ["pair_id"]) for key in keys]
    return {each for table in tables if table is not None for each in table["pair_id"]}


def _models(evidence: Evidence) -> set[str]:
    tables = [evidence.table_if_made(key, ["model_digest"]) for key in model_keys(evidence)]
    found = (
        pl.concat([table["model_digest"] for table in tables if table is not None])
        if any(table is not None for table in tables)
        else pl.Series([], dtype=pl.String)
    )
    return set(found)


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
    "model": _models,
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
