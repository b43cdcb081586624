"""`ccai new`: a consultation folder to begin with, from an export of one's own or from published files.

What a folder holds stands in `consultation.folder`, what the published files mean in `replication.new_folder`.
"""

import datetime
import json
import shlex
import shutil
import string
import tempfile
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path

import polars as pl
import yaml

from ccai_dagster.constitution.principles import constitution_digest, derive_constitution, read_constitution
from ccai_dagster.constitution.selection import select_statements, worded_statements
from ccai_dagster.consultation.folder import (
    LEDGERS,
    PLACEHOLDERS,
    SAMPLE,
    Consultation,
    ModerationMode,
    is_address,
    read_consultation,
)
from ccai_dagster.contracts import LEDGER
from ccai_dagster.core.digest import SHORT
from ccai_dagster.core.errors import ConsultationError
from ccai_dagster.core.files import csv_text, whole_folder
from ccai_dagster.core.schema_version import SCHEMA_VERSION
from ccai_dagster.core.text import counted, listed
from ccai_dagster.decisions.exported_moderation import contradicted_mode, differences, taken_over
from ccai_dagster.decisions.ledger import Decision, read_ledger, write_ledger
from ccai_dagster.decisions.origins import STARTING
from ccai_dagster.decisions.outcomes import exclusions, moderation_verdicts, statement_ideas
from ccai_dagster.decisions.values import VALUES, thresholds
from ccai_dagster.deliberation import consensus, groups
from ccai_dagster.deliberation.importing.copies import copy_without_codes
from ccai_dagster.deliberation.importing.moderation_mode import METADATA, STATED, moderation_evidence, stated_mode
from ccai_dagster.deliberation.importing.polis import conversation_words
from ccai_dagster.deliberation.importing.read_votes import find_vote_files, read_votes
from ccai_dagster.deliberation.importing.tables import Import
from ccai_dagster.deliberation.votes import (
    clean_participants,
    clean_statements,
    clean_votes,
    in_context,
    vote_matrix,
    with_importance,
)
from ccai_dagster.replication.new_folder import build_from_ccai, sign_off
from ccai_dagster.replication.published_texts import PAPER
from resources.vote_source import VoteSource

BEGAN = "whoever ran `ccai new`"
"""`decided_by` of what a new folder begins with."""

PAGE = "+key:replication_report"
"""The replication page and what it needs, in Dagster's selection syntax."""
WITHOUT_TEXTS = (
    f"For the missing texts save the paper, {PAPER}, as PDF or plain text and make the folder with --texts FILE. "
    "Until then the replication page names principles by their ids."
)
TEMPLATE = """\
# What is asked, of whom, and how much is computed. Every field: ccai_dagster/consultation/folder.py.
schema_version: $schema_version
title: $title
public: $public
question: $question
language: en   # of the pages for the public: en or de; with page_texts another
votes: $votes
${vote_values}moderation: $moderation   # strict: a statement nobody moderated is out. lenient: it is in.
seed: 1
arms:
  public: {constitution: ledgers, description: "Derived from the public's votes and the ledgers."}
  standard: {constitution: constitutions/standard.csv, description: "The baseline; replace it with your own."}
baseline: standard
prompts: "sample:prompts.csv"
themes: "sample:themes.csv"
helpfulness: "sample:helpfulness.jsonl"
judge_comparisons: {sample_crossed: "sample:judge/crossed.jsonl"}   # under principles of the sample, not yours
profiles:   # ways of judging that are measured on these comparisons; likeness is for texts in English
  demo: {feedback: {calibration_methods: [letters, contrast, letters_few_shot, likeness]}}
  full: {feedback: {calibration_methods: [letters, contrast, letters_few_shot, reasoned_letters, likeness]}}
"""
PORTAL_SETTINGS = """\
portal:
  introduction: |
    This is a trial with invented statements. A town asks how the assistant of its council should behave.

    What every group agrees on becomes the constitution that the assistant is trained on.
  contact: whoever started it
  seed_statements: seeds.csv
  questions_and_answers: questions.md
  screening:
    - {question: "Have you read or talked about AI that writes text?", answers: ["Yes", "No"], accepted: ["Yes"]}
demographics:   # shares of the public by answer, from a census or the like; these are invented
  - name: age
    question: How old are you?
    answers: ["under 30", "30 to 59", "60 and older"]
    targets: {"under 30": 0.25, "30 to 59": 0.45, "60 and older": 0.3}
"""
QUESTIONS_AND_ANSWERS = """\
## What happens with my answers?

People who vote alike are taken as groups. What **every** group agrees on can become a rule for the assistant.

## Do I have to answer everything?

No. Pass what you are unsure about, and stop whenever you like: with your code you can come back.
"""


def from_export(
    export: str,
    destination: Path,
    moderation: ModerationMode | Callable[[], ModerationMode],
    values: Mapping[str, str] | None = None,
) -> list[str]:
    """Make a consultation folder around an export, with ledgers that hold starting values only.

    Of the files what an import reads is copied into the folder, without personal codes; an address is named in
    consultation.yaml, so that later votes are read from it too.

    Args:
        export: Folder or zip with a Polis export, a table of votes, or the address of a report's export; checked before
            anything is made.
        destination: Must not exist, or be empty.
        moderation: The mode; or what asks for it, if the export does not tell.
        values: `vote_values` of the consultation: what votes mean that are neither -1, 0 and 1 nor words.

    Returns:
        Lines for a person: what is there and what to do next.

    Raises:
        ConsultationError: The export cannot be read, or the destination holds something.
    """
    _check_empty(destination)
    sample = read_consultation(SAMPLE)
    with ExitStack() as stack:
        if is_address(export):
            downloads = stack.enter_context(tempfile.TemporaryDirectory())
            place = stack.enter_context(VoteSource(downloads=downloads).downloaded(export))
        else:
            place = Path(export)
        imported = read_votes(place, values)
        evidence = moderation_evidence(imported.raw_statements, imported.raw_votes, imported.raw_group_votes)
        if not callable(moderation):
            mode = moderation
        elif known := stated_mode(imported.import_report) or evidence.mode:
            mode = known
        else:  # Where every statement was moderated, strict means it of those that are still to come.
            mode = moderation() if evidence.unmoderated else "strict"
        left_out: list[str] = []
        unfinished = stack.enter_context(whole_folder(destination.resolve()))
        found = find_vote_files(place)
        if not is_address(export):
            left_out = copy_without_codes(found, unfinished / "votes", values)
        told = conversation_words(found.files["summary"]) if "summary" in found.files else {}
        _begin_decisions(unfinished, sample, _moderation(imported.raw_statements))
        votes = json.dumps(export, ensure_ascii=False) if is_address(export) else "votes"
        worded = yaml.safe_dump({"vote_values": dict(values)}, sort_keys=False) if values else ""
        _write_settings(unfinished, sample, **PLACEHOLDERS | told, votes=votes, moderation=mode, vote_values=worded)
    return _next_steps(imported, destination, mode, left_out, told)


def from_sample(destination: Path) -> list[str]:
    """Make a consultation folder whose votes are the portal's, with question and statements of the embedded one.

    Everything can be tried with it at once, since a statement is shown as long as no moderator takes it out; and all of
    it can be changed into one's own.

    Args:
        destination: Must not exist, or be empty.

    Returns:
        Lines for a person.

    Raises:
        ConsultationError: The destination holds something.
    """
    _check_empty(destination)
    sample = read_consultation(SAMPLE)
    decided = moderation_verdicts(read_ledger(sample.ledger("moderation"), "moderation"))
    statements = clean_statements(read_votes(Path(sample.votes)).raw_statements, decided, False)
    with whole_folder(destination.resolve()) as unfinished:
        _begin_decisions(unfinished, sample, [])
        (unfinished / "seeds.csv").write_text(
            csv_text(["text"], ([each] for each in statements["text"])), encoding="utf-8"
        )
        (unfinished / "questions.md").write_text(QUESTIONS_AND_ANSWERS, encoding="utf-8")
        _write_settings(
            unfinished,
            sample,
            PORTAL_SETTINGS,
            title=sample.file.title,
            public="Whoever tries this out",
            question=sample.file.question,
            votes="portal",
            moderation="lenient",
            vote_values="",
        )
    return [
        f"{destination}: {statements.height} statements of the embedded consultation, to be voted on in the portal.",
        f"Next: `ccai serve {shlex.quote(str(destination))}`. "
        "What is asked and said: consultation.yaml, seeds.csv, questions.md.",
    ]


def _begin_decisions(folder: Path, sample: Consultation, moderation: Sequence[Decision]) -> None:
    """Write ledgers that hold starting values, and moderation if there is some, and the baseline constitution."""
    for name in ("decisions", "constitutions"):
        (folder / name).mkdir()
    for kind in LEDGERS:
        rows = moderation if kind == "moderation" else _starting_values(kind)
        write_ledger(folder / "decisions" / f"{kind}.csv", rows)
    shutil.copyfile(sample.path(sample.arms["standard"].constitution), folder / "constitutions" / "standard.csv")


def _write_settings(folder: Path, sample: Consultation, more: str = "", **values: str) -> None:
    """Write consultation.yaml, and read the folder as it is now."""
    quoted = {name: json.dumps(values[name], ensure_ascii=False) for name in PLACEHOLDERS}
    settings = string.Template(TEMPLATE).substitute(values | quoted, schema_version=SCHEMA_VERSION)
    (folder / "consultation.yaml").write_text(settings + more + _sample_sets(sample), encoding="utf-8")
    read_consultation(folder)


def _next_steps(
    imported: Import, destination: Path, moderation: ModerationMode, left_out: Sequence[str], told: Mapping[str, str]
) -> list[str]:
    noted = imported.import_report.filter(
        (pl.col("kind") != "found")
        & (pl.col("count").is_null() | (pl.col("count") > 0))
        & ~pl.col("item").is_in(list(STATED))
    )
    given = imported.raw_group_votes
    there = (
        f"{counted(given['group_id'].n_unique(), 'group')} whose votes are counted"
        if given.height
        else counted(imported.raw_participants.height, "participant")
    )
    votes = imported.raw_votes.height or given.select(pl.sum_horizontal("n_agree", "n_disagree", "n_pass").sum()).item()
    lines = [
        f"{destination}: {there}, {counted(imported.raw_statements.height, 'statement')}, {counted(votes, 'vote')}",
        *(
            f"  {kind}: {item}{'' if count is None else f' ({count:,})'}: {explanation}"
            for item, kind, count, explanation in noted.iter_rows()
        ),
        *([f"Left out of the folder, since no import reads it: {', '.join(left_out)}"] if left_out else []),
        *_moderation_told(imported, moderation),
        "Moderation was taken over from the export; every other value in decisions/ is a starting value.",
    ]
    apart = sum(each.outcome == METADATA for each in differences(LEDGER.empty(), imported.raw_statements))
    if apart:
        lines.append(
            f"Of these, {apart:,} are marked as metadata, statements about the people who vote: they are in no group, "
            "score or selection, and the table group_profile crosses them with the groups."
        )
    if moderation == "strict" and not (imported.raw_statements["moderated"] == 1).any():
        lines.append(
            "Nobody moderated a statement in, so none is in while moderation is strict: decide in "
            "decisions/moderation.csv, or set moderation to lenient in consultation.yaml."
        )
    lines += [f"The {name} is the export's: {text}" for name, text in told.items()]
    to_write = [name for name in PLACEHOLDERS if name not in told]
    named = shlex.quote(str(destination))
    return [
        *lines,
        f"Next: write {listed(to_write)} in {destination}/consultation.yaml, go through decisions/, then "
        f"`ccai run {named}` and word what reaches the cut: `ccai review wording --consultation {named} --as ROLE`.",
    ]


def _moderation_told(imported: Import, moderation: ModerationMode) -> list[str]:
    """Say what the export tells of the mode of moderation, loudly if that is not one, or not the one that is set."""
    raw, votes, stated = imported.raw_statements, imported.raw_votes, stated_mode(imported.import_report)
    evidence = moderation_evidence(raw, votes, imported.raw_group_votes)
    if not evidence.unmoderated:
        return [f"Moderation is {moderation}, which concerns statements that come later only: {evidence.sentence()}."]
    if contradicted := contradicted_mode(LEDGER.empty(), raw, votes, moderation, stated):
        return [f"WARNING: {contradicted}."]
    if stated is None:
        return [f"Moderation is {moderation}. {evidence.sentence()}."]
    (why,) = imported.import_report.filter(pl.col("item").is_in(list(STATED)))["explanation"]
    return [f"{'' if evidence.mode in (None, stated) else 'WARNING: '}Moderation is {moderation}. {why}."]


def from_ccai(source: Path, destination: Path, texts: Sequence[Path] = ()) -> list[str]:
    """Make the consultation of Huang et al. (2024) from its public files, its constitutions signed off.

    Args:
        source: A clone of the authors' repository.
        destination: Must not exist, or be empty.
        texts: The paper as PDF or text; without it principles have ids only, and no arm is signed off.

    Raises:
        ConsultationError: A file is missing or malformed, or the destination holds something.
    """
    built = build_from_ccai(source, destination, texts)
    consultation = read_consultation(destination)
    constitutions = _constitutions(consultation, built.complete)
    digests = {arm: constitution_digest(table) for arm, table in constitutions.items()}
    sign_off(destination, digests)
    named = shlex.quote(str(destination))
    return [
        *built.lines,
        *(
            f"  {arm}: {table.height} principles, signed off as {digests[arm][:SHORT]}…"
            for arm, table in constitutions.items()
        ),
        *([] if len(constitutions) == len(consultation.arms) else [WITHOUT_TEXTS]),
        f"The replication page, which trains nothing: ccai run {named} --select '{PAGE}'",
        *([f"Everything: ccai run {named}"] if constitutions else []),
    ]


def _constitutions(consultation: Consultation, arms: Collection[str]) -> dict[str, pl.DataFrame]:
    """Derive or read the constitution of these arms, as the graph will."""
    found = {}
    for name in arms:
        arm = consultation.arms[name]
        if arm.constitution == "ledgers":
            found[name] = _derived(consultation, name)
        else:
            found[name] = read_constitution(consultation.path(arm.constitution), name)
    return found


def _derived(consultation: Consultation, arm: str) -> pl.DataFrame:
    ledgers = {kind: read_ledger(consultation.ledger(kind), kind) for kind in LEDGERS}
    settled = thresholds(ledgers["threshold"], consultation.file.seed)
    imported = read_votes(Path(consultation.votes), consultation.file.vote_values)
    statements = clean_statements(
        imported.raw_statements, moderation_verdicts(ledgers["moderation"]), consultation.file.moderation == "lenient"
    )
    participants = clean_participants(
        imported.raw_participants,
        exclusions(ledgers["exclusion"]),
        settled.minimum_votes,
        "",
        imported.raw_votes["statement_id"].n_unique() if settled.procedure.name == "polis" else None,
    )
    votes = clean_votes(imported.raw_votes, statements, participants)
    matrix = vote_matrix(votes, participants.filter("kept")["participant_id"], statements["statement_id"])
    matrix = in_context(matrix, imported.raw_votes, participants)
    grouped = groups.group_participants(matrix, settled.procedure).labels
    scores = consensus.gac_scores(with_importance(matrix, imported.raw_votes), grouped, settled.procedure)
    worded = worded_statements(ledgers["wording"], ledgers["merge"], statements)
    selected = select_statements(scores, statements, statement_ideas(ledgers["idea"]), settled.cut, [], worded)
    return derive_constitution(arm, selected, worded)


def _check_empty(destination: Path) -> None:
    if destination.exists() and (not destination.is_dir() or any(destination.iterdir())):
        raise ConsultationError(f"{destination}: holds something already; name a new or empty folder.")


def _starting_values(kind: str) -> list[Decision]:
    reason = "starting value of a new folder, not yet considered by anybody"
    started = [(name, each.start) for name, each in VALUES.get(kind, {}).items() if each.start is not None]
    return [
        _decision(kind, number, (subject,), outcome, reason)
        for number, (subject, outcome) in enumerate(started, start=1)
    ]


def _moderation(raw_statements: pl.DataFrame) -> list[Decision]:
    """Take over what was moderated in Polis, a row a statement, so that each lapses and is corrected alone."""
    found = differences(LEDGER.empty(), raw_statements)
    today = _today()
    return [
        taken_over(each, f"moderation-{number}", BEGAN, today, STARTING) for number, each in enumerate(found, start=1)
    ]


def _decision(kind: str, number: int, subjects: tuple[str, ...], outcome: str, reason: str) -> Decision:
    return Decision(
        decision_id=f"{kind}-{number}",
        kind=kind,
        subject_ids=subjects,
        outcome=outcome,
        reason=reason,
        decided_by=BEGAN,
        decided_at=_today(),
        suggested_by=STARTING,
    )


def _today() -> str:
    return datetime.datetime.now(datetime.UTC).date().isoformat()


def _sample_sets(sample: Consultation) -> str:
    """The embedded evaluation sets, by reference."""
    chosen = {
        name: each.model_dump(exclude_defaults=True) | {"path": f"sample:{each.path}"}
        for name, each in sample.file.benchmarks.items()
        if each.format != "opinion_qa"  # the opinions of another public
    }
    return yaml.safe_dump({"benchmarks": chosen}, sort_keys=False)
