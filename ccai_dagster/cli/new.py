"""`ccai new`: a consultation folder to begin with, from an export of one's own or from published files.

What a folder holds stands in `consultation.folder`, what the published files mean in `replication.new_folder`.
"""

import datetime
import json
import shutil
import string
import tempfile
from collections.abc import Collection, Sequence
from contextlib import ExitStack
from pathlib import Path

import polars as pl
import yaml

from ccai_dagster.constitution.principles import constitution_digest, derive_constitution, read_constitution
from ccai_dagster.constitution.selection import select_statements, worded_statements
from ccai_dagster.consultation.folder import (
    LEDGERS,
    SAMPLE,
    Consultation,
    ModerationMode,
    is_address,
    read_consultation,
)
from ccai_dagster.core.digest import SHORT, text_digest
from ccai_dagster.core.errors import ConsultationError
from ccai_dagster.core.files import whole_folder
from ccai_dagster.core.schema_version import SCHEMA_VERSION
from ccai_dagster.decisions.ledger import Decision, read_ledger, write_ledger
from ccai_dagster.decisions.origins import STARTING
from ccai_dagster.decisions.outcomes import exclusions, moderation_verdicts, statement_ideas
from ccai_dagster.decisions.values import VALUES, thresholds
from ccai_dagster.deliberation import consensus, groups
from ccai_dagster.deliberation.importing.columns import SourceFile, VoteFiles, read_header, read_text_csv
from ccai_dagster.deliberation.importing.read_votes import ROLES, find_vote_files, read_votes
from ccai_dagster.deliberation.importing.tables import Import
from ccai_dagster.deliberation.votes import clean_participants, clean_statements, clean_votes, in_context, vote_matrix
from ccai_dagster.replication.new_folder import build_from_ccai, sign_off
from ccai_dagster.replication.published_texts import PAPER
from resources.vote_source import VoteSource

PERSONAL_CODE = "xid"
"""Column of an export with the participants' codes in other systems."""

PAGE = "+key:replication_report"
"""The replication page and what it needs, in Dagster's selection syntax."""
WITHOUT_TEXTS = (
    f"For the missing texts save the paper, {PAPER}, as PDF or plain text and make the folder with --texts FILE. "
    "Until then the replication page names principles by their ids."
)
TEMPLATE = """\
# What is asked, of whom, and how much is computed. Every field: ccai_dagster/consultation/folder.py.
schema_version: $schema_version
title: "(a title)"
public: "(who was asked)"
question: "(what they were asked)"
votes: $votes
moderation: $moderation   # strict: a statement nobody moderated is out. lenient: it is in.
seed: 1
arms:
  public: {constitution: ledgers, description: "Derived from the public's votes and the ledgers."}
  standard: {constitution: constitutions/standard.csv, description: "The baseline; replace it with your own."}
baseline: standard
prompts: "sample:prompts.csv"
themes: "sample:themes.csv"
helpfulness: "sample:helpfulness.jsonl"
judge_comparisons: {sample_judge: "sample:judge/sample_judge.jsonl"}
"""


def from_export(export: str, destination: Path, moderation: ModerationMode) -> list[str]:
    """Make a consultation folder around an export, with ledgers that hold starting values only.

    Files are copied into the folder, without personal codes; an address is named in consultation.yaml, so that later
    votes are read from it too.

    Args:
        export: Folder or zip with a Polis export, a plain table of votes, or the address of a report's export;
            checked before anything is made.
        destination: Must not exist, or be empty.

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
        imported = read_votes(place)
        unfinished = stack.enter_context(whole_folder(destination.resolve()))
        for name in ("decisions", "constitutions"):
            (unfinished / name).mkdir()
        if not is_address(export):
            copy_without_codes(find_vote_files(place), unfinished / "votes")
        for kind in LEDGERS:
            rows = _moderation(imported.raw_statements) if kind == "moderation" else _starting_values(kind)
            write_ledger(unfinished / "decisions" / f"{kind}.csv", rows)
        baseline = sample.path(sample.arms["standard"].constitution)
        shutil.copyfile(baseline, unfinished / "constitutions" / "standard.csv")
        votes = json.dumps(export, ensure_ascii=False) if is_address(export) else "votes"
        settings = string.Template(TEMPLATE).substitute(
            schema_version=SCHEMA_VERSION, votes=votes, moderation=moderation
        )
        (unfinished / "consultation.yaml").write_text(settings + _sample_sets(sample), encoding="utf-8")
        read_consultation(unfinished)
    return _next_steps(imported, destination, moderation)


def _next_steps(imported: Import, destination: Path, moderation: ModerationMode) -> list[str]:
    noted = imported.import_report.filter(
        (pl.col("kind") != "found") & (pl.col("count").is_null() | (pl.col("count") > 0))
    )
    lines = [
        f"{destination}: {imported.raw_participants.height:,} participants, "
        f"{imported.raw_statements.height:,} statements, {imported.raw_votes.height:,} votes",
        *(
            f"  {kind}: {item}{'' if count is None else f' ({count:,})'}: {explanation}"
            for item, kind, count, explanation in noted.iter_rows()
        ),
        "Moderation was taken over from the export; every other value in decisions/ is a starting value.",
    ]
    if moderation == "strict" and not (imported.raw_statements["moderated"] == 1).any():
        lines.append(
            "Nobody moderated a statement in, so none is in while moderation is strict: decide in "
            "decisions/moderation.csv, or set moderation to lenient in consultation.yaml."
        )
    return [
        *lines,
        f"Next: write title, public and question in {destination}/consultation.yaml, go through decisions/, then "
        f"`ccai run {destination}` and word what reaches the cut in decisions/wording.csv.",
    ]


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
    return [
        *built.lines,
        *(
            f"  {arm}: {table.height} principles, signed off as {digests[arm][:SHORT]}…"
            for arm, table in constitutions.items()
        ),
        *([] if len(constitutions) == len(consultation.arms) else [WITHOUT_TEXTS]),
        f"The replication page, which trains nothing: ccai run {destination} --select '{PAGE}'",
        *([f"Everything: ccai run {destination}"] if constitutions else []),
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
    imported = read_votes(Path(consultation.votes))
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
    scores = consensus.gac_scores(matrix, grouped, settled.procedure)
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
    reason = "taken over from the export; the reasons were not exported"
    outcomes = {1: "in", -1: "out: moderated out in Polis"}
    moderated = raw_statements.filter(pl.col("moderated") != 0).sort("statement_id")
    return [
        _decision("moderation", number, (str(row["statement_id"]),), outcomes[row["moderated"]], reason, [row["text"]])
        for number, row in enumerate(moderated.iter_rows(named=True), start=1)
    ]


def _decision(
    kind: str, number: int, subjects: tuple[str, ...], outcome: str, reason: str, texts: Sequence[str] | None = None
) -> Decision:
    return Decision(
        decision_id=f"{kind}-{number}",
        kind=kind,
        subject_ids=subjects,
        outcome=outcome,
        reason=reason,
        decided_by="whoever ran `ccai new`",
        decided_at=datetime.datetime.now(datetime.UTC).date().isoformat(),
        inputs_digest=text_digest("\n".join(texts)) if texts is not None else None,
        suggested_by=STARTING,
    )


def _sample_sets(sample: Consultation) -> str:
    """The embedded evaluation sets, by reference."""
    chosen = {
        name: each.model_dump(exclude_defaults=True) | {"path": f"sample:{each.path}"}
        for name, each in sample.file.benchmarks.items()
        if each.format != "opinion_qa"  # the opinions of another public
    }
    return yaml.safe_dump({"benchmarks": chosen}, sort_keys=False)


def copy_without_codes(found: VoteFiles, folder: Path) -> None:
    """Copy the files that an import reads, under the names that tell what they are for.

    Everything is copied byte for byte, except a matrix with a column of personal codes, which is written
    without it.
    """
    folder.mkdir(parents=True)
    for role, file in found.files.items():
        path = folder / _plain_name(role, file)
        if role == "matrix" and PERSONAL_CODE in read_header(file, {}):
            read_text_csv(file, wanted=lambda name: name != PERSONAL_CODE).write_csv(path)
        else:
            with file.open() as source, path.open("wb") as target:
                shutil.copyfileobj(source, target)


def _plain_name(role: str, file: SourceFile) -> str:
    """The shortest name a file of this role and kind may have: without what a download put before it."""
    ending = ".parquet" if file.name.lower().endswith(".parquet") else ".csv"
    names = [name for name, each in ROLES.items() if each == role and name.endswith(ending)]
    return next((name for name in names if file.name.lower().endswith(name)), names[0])
