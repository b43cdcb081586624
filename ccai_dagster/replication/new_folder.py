"""Putting the consultation folder together, whole or not at all."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import astuple, dataclass, fields
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import yaml

from ccai_dagster.consultation.folder import LEDGERS, SAMPLE, ConsultationFile, read_consultation
from ccai_dagster.core.errors import ConsultationError
from ccai_dagster.core.files import whole_folder
from ccai_dagster.core.schema_version import SCHEMA_VERSION
from ccai_dagster.decisions.ledger import Decision, append_decision, write_ledger
from ccai_dagster.feedback.prompts import PROMPT_HEADER
from ccai_dagster.replication.published_decisions import (
    exclusion_decisions,
    exclusion_policies,
    idea_decisions,
    merge_decisions,
    moderation_decisions,
    moderation_policies,
    signoff_decisions,
    threshold_decisions,
    training_decisions,
    wording_decisions,
)
from ccai_dagster.replication.published_facts import FACTS, PublishedFigure
from ccai_dagster.replication.published_files import (
    PERSONAL_CODE,
    PublishedFiles,
    PublishedResults,
    read_published_files,
)
from ccai_dagster.replication.source_tables import SourceTable, read_table

ARMS = {
    "public": ("ledgers", "derived from the votes, with every group label at the participant it belongs to"),
    "published": ("constitutions/published.csv", "the public constitution as printed in appendix A.6"),
    "standard": ("constitutions/standard.csv", "the developers' constitution of appendix A.7"),
}
PUBLISHED_PROMPT = "published-"
"""Ids of the published prompts begin with it."""


@dataclass(frozen=True)
class NewFolder:
    """What was built.

    Attributes:
        lines: For a person.
        complete: The arms whose texts are all known; the others wait.
    """

    lines: list[str]
    complete: tuple[str, ...]


def build_from_ccai(
    source: Path,
    destination: Path,
    saved: Sequence[Path] = (),
    *,
    signoffs: Mapping[str, str] | None = None,
    decided_at: str | None = None,
    facts: Path = FACTS,
) -> NewFolder:
    """Build a consultation folder out of the public files of Collective Constitutional AI.

    The folder is written under a temporary name beside `destination` and renamed when it is complete.
    Prompts, themes, comparisons and evaluation sets are those of the embedded sample.

    Args:
        source: A clone of the authors' repository.
        destination: The folder to make; it must not exist, or be empty.
        saved: The paper with its appendix, as PDF or text. Without it principles have ids and no text.
        signoffs: Digest of the constitution signed off, by arm; the ledger stays empty without it and
            `sign_off` can fill it once the constitutions are derived.
        decided_at: ISO 8601 date of what this replication decides itself; today if None.
        facts: Folder with the tables of `published_facts`.

    Raises:
        ConsultationError: `destination` holds something, or a published file is missing or malformed. No
            half-built folder is left.
    """
    if destination.exists() and (not destination.is_dir() or any(destination.iterdir())):
        raise ConsultationError(f"{destination}: holds something already; name a new or empty folder.")
    files = read_published_files(source, saved, facts)
    destination = destination.resolve()
    try:
        with whole_folder(destination) as folder:
            lines = _write(files, folder, signoffs or {}, decided_at or _today())
            read_consultation(folder)
    except OSError as error:
        raise ConsultationError(f"{destination}: cannot be written ({error.strerror}).") from error
    return NewFolder([f"{destination}:", *lines], tuple(arm for arm in ARMS if arm not in files.missing_texts))


def sign_off(folder: Path, digests: Mapping[str, str], decided_at: str | None = None) -> None:
    """Add a sign-off for each arm to the ledger of a folder that was built without.

    Raises:
        ConsultationError: The ledger is malformed or holds these rows already.
    """
    for decision in signoff_decisions(digests, decided_at or _today()):
        append_decision(folder / "decisions" / "signoff.csv", decision)


def _today() -> str:
    return datetime.now(UTC).date().isoformat()


def _write(files: PublishedFiles, folder: Path, signoffs: Mapping[str, str], decided_at: str) -> list[str]:
    (folder / "votes").mkdir()
    for table in (files.comments, files.matrix):
        _write_without_codes(folder / "votes" / table.path.name, table)
    ledgers = _ledgers(files, signoffs, decided_at)
    (folder / "decisions").mkdir()
    for kind in LEDGERS:
        write_ledger(folder / "decisions" / f"{kind}.csv", ledgers[kind])
    (folder / "constitutions").mkdir()
    _write_csv(
        folder / "constitutions" / "published.csv",
        ("principle_id", "text", "statement_ids"),
        (
            (each.source.principle_id, each.text, " ".join(map(str, each.source.statement_ids)))
            for each in files.principles
        ),
    )
    _write_csv(folder / "constitutions" / "standard.csv", ("principle_id", "text"), files.standard)
    _write_csv(
        folder / "published_scores.csv",
        ("statement_id", "gac"),
        ((str(key), repr(gac)) for key, gac in sorted(files.published_gac.items())),
    )
    _write_results(folder / "published", files.results)
    _write_csv(folder / "prompts.csv", PROMPT_HEADER, _prompts(files))
    content = yaml.safe_dump(_settings(), sort_keys=False, allow_unicode=True, width=100)
    (folder / "consultation.yaml").write_text(content, encoding="utf-8")
    return _summary(files, ledgers)


def _write_results(folder: Path, results: PublishedResults) -> None:
    """What the replication is compared with; `row` is the place in the published file."""
    folder.mkdir()
    groups = [(str(row), str(key), str(group)) for row, (key, group) in enumerate(results.groups, start=1)]
    _write_csv(folder / "groups.csv", ("row", "participant_id", "group_id"), groups)
    shares = [(str(key), *map(repr, each)) for key, each in sorted(results.agreement.items())]
    _write_csv(folder / "agreement.csv", ("statement_id", "group_0", "group_1"), shares)
    seeds = [(str(key), tags) for key, tags in results.seed_statements]
    _write_csv(folder / "seed_statements.csv", ("statement_id", "tags"), seeds)
    figures = [astuple(each) for each in results.figures]
    _write_csv(folder / "figures.csv", [each.name for each in fields(PublishedFigure)], figures)


def _ledgers(files: PublishedFiles, signoffs: Mapping[str, str], decided_at: str) -> dict[str, list[Decision]]:
    return {
        "moderation": moderation_policies(files) + moderation_decisions(files),
        "exclusion": exclusion_policies() + exclusion_decisions(files),
        "merge": merge_decisions(files),
        "wording": wording_decisions(files),
        "idea": idea_decisions(),
        "threshold": threshold_decisions(decided_at),
        "training": training_decisions(files, decided_at),
        "signoff": signoff_decisions(signoffs, decided_at),
    }


def _prompts(files: PublishedFiles) -> list[tuple[str, ...]]:
    sample = read_table(SAMPLE / "prompts.csv", PROMPT_HEADER)
    rows = [tuple(row[name] for name in PROMPT_HEADER) for _, row in sample]
    return rows + [
        (f"{PUBLISHED_PROMPT}{number}", text, "qualitative", "") for number, text in files.qualitative_prompts
    ]


def _settings() -> dict[str, Any]:
    """The content of `consultation.yaml`; what the authors did not publish is the embedded sample's."""
    path = SAMPLE / "consultation.yaml"
    try:
        sample = ConsultationFile.model_validate(yaml.safe_load(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, yaml.YAMLError) as error:
        raise ConsultationError(f"{path}: the embedded sample is damaged ({error}); reinstall.") from error
    return {
        "schema_version": SCHEMA_VERSION,
        "title": "Collective Constitutional AI, replicated from the published votes",
        "public": "about a thousand adults of the United States who had heard of generative AI, July 2023",
        "question": "Which rules should an AI chatbot follow?",
        "votes": "votes",
        "moderation": "strict",
        "seed": 0,
        "arms": {
            name: {"constitution": constitution, "description": description}
            for name, (constitution, description) in ARMS.items()
        },
        "baseline": "standard",
        "published_scores": "published_scores.csv",
        "replication": {
            **{name: f"published/{name}.csv" for name in ("figures", "groups", "agreement", "seed_statements")},
            "constitution": "published",
        },
        "prompts": "prompts.csv",
        "themes": f"sample:{sample.themes}",
        "helpfulness": f"sample:{sample.helpfulness}",
        "judge_comparisons": {name: f"sample:{each}" for name, each in sample.judge_comparisons.items()},
        "benchmarks": {
            name: {**each.model_dump(exclude_defaults=True), "path": f"sample:{each.path}"}
            for name, each in sample.benchmarks.items()
            if each.format != "opinion_qa"  # the opinions of another public
        },
    }


def _summary(files: PublishedFiles, ledgers: Mapping[str, Sequence[Decision]]) -> list[str]:
    def count(wanted: int) -> int:
        return sum(each.moderated == wanted for each in files.statements.values())

    return [
        f"votes: {len(files.matrix.rows)} participants, {len(files.statements)} statements; personal codes "
        f"(`{PERSONAL_CODE}`) were not carried over",
        f"moderation: {count(1)} in, {count(-1)} out, {count(0)} never moderated",
        f"exclusion: {len(files.excluded)} participants",
        f"merge: {len(ledgers['merge'])} of {len(files.merges)} merges; wording: "
        f"{sum(bool(each.text) for each in files.principles)} of {len(files.principles)} principles, "
        f"{len(files.left_out)} statements left out",
        f"threshold: {len(ledgers['threshold'])} values; training: {len(ledgers['training'])} choices",
        f"constitutions: published ({len(files.principles)} principles), standard ({len(files.standard)} principles)",
        f"published/: {len(files.results.figures)} figures of the paper and {len(files.results.groups)} group "
        "labels, for the replication",
        f"prompts.csv: the sample's prompts and {len(files.qualitative_prompts)} published ones; comparisons "
        "and evaluation sets are the sample's",
        *(f"{arm}: {count} texts are missing, so this arm waits" for arm, count in files.missing_texts.items()),
    ]


def _write_without_codes(path: Path, table: SourceTable) -> None:
    kept = [place for place, name in enumerate(table.header) if name != PERSONAL_CODE]
    rows = ([row[place] for place in kept] for row in table.rows)
    _write_csv(path, [table.header[place] for place in kept], rows)


def _write_csv(path: Path, header: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    with path.open("w", encoding="utf-8", newline="") as handle:
        writer = csv.writer(handle, lineterminator="\n")
        writer.writerow(header)
        writer.writerows(rows)
