"""Whether results are what the manifest says: digests are computed again from every file and compared.

Belongs here: computing and comparing, and saying in a sentence what does not match. Doesn't belong here:
finding the folders, which the command does. Nothing is changed.
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

import polars as pl

from ccai_dagster.audit.ledger_record import amendments, row_changes
from ccai_dagster.audit.manifest import (
    CONSULTATION,
    MANIFEST,
    MODELS,
    REPORT,
    TABLES,
    FileRecord,
    Manifest,
    describe_file,
    describe_files,
    listed_folder,
)
from ccai_dagster.constitution.principles import constitution_digest
from ccai_dagster.consultation.folder import LEDGERS
from ccai_dagster.contracts import CONSTITUTION, FILE, JUDGE_CALIBRATION, LEDGER, MODEL, MODEL_STAGES, PROMPTS
from ccai_dagster.core.digest import SHORT, table_digest
from ccai_dagster.core.errors import ConsultationError
from ccai_dagster.core.files import read_table
from ccai_dagster.decisions.ledger import ledger_digest, read_ledger
from ccai_dagster.feedback.judge_accuracy import calibration_version

SHOWN = 6
"""Names that one sentence lists; the others are counted."""
REPORT_NAME, PROVENANCE_NAME = f"{REPORT}/audit_report.html", f"{REPORT}/provenance.json"
_DIGEST = re.compile(r"\b[0-9a-f]{64}\b")


@dataclass(frozen=True)
class Mismatch:
    """One thing that is not as it is on record.

    Attributes:
        name: The file or folder, as the manifest names it.
        what: What is wrong with it, as the end of a sentence.
    """

    name: str
    what: str


@dataclass(frozen=True)
class Verification:
    """What was computed again, and what does not match.

    Attributes:
        counted: How many files of each place were read.
        mismatches: In the order of their names; empty if everything is as it was made.
        notes: What is worth knowing and is no mismatch.
    """

    counted: Mapping[str, int]
    mismatches: tuple[Mismatch, ...]
    notes: tuple[str, ...]


def verify(manifest: Manifest, untouched: bool, places: Mapping[str, Path], report: Path | None = None) -> Verification:
    """Compute every digest again and compare.

    Args:
        untouched: Whether the manifest's file is, byte for byte, what was written.
        places: The folder behind the first part of a file's name.
        report: A copy of the audit report to compare with the one on record; the one in its place is
            compared in any case.
    """
    paths = {name: _path(name, places) for name in manifest.files}
    there = {name: path for name, path in paths.items() if path.is_file()}
    found = describe_files(there)
    wrong = [] if untouched else [Mismatch(MANIFEST, "its text has another digest than it states itself")]
    wrong += [
        _compare(name, expected, found.get(name))
        for name, expected in manifest.files.items()
        if found.get(name) != expected
    ]
    intact = {name: path for name, path in there.items() if found[name] == manifest.files[name]}
    wrong += _tables(manifest, there, intact)
    wrong += _models(manifest, found)
    wrong += _ledgers(manifest, places[CONSULTATION])
    wrong += _inputs(manifest)
    wrong += _written(manifest, there)
    if report is not None:
        wrong += _copy(manifest, report)
    counted: dict[str, int] = {}
    for name in found:
        place = name.partition("/")[0]
        counted[place] = counted.get(place, 0) + 1
    return Verification(counted, tuple(sorted(wrong, key=lambda each: each.name)), tuple(_notes(manifest, places)))


def _path(name: str, places: Mapping[str, Path]) -> Path:
    place, _, rest = name.partition("/")
    if place not in places:
        raise ConsultationError(f"{MANIFEST}: {name!r} lies in no folder of a consultation's results.")
    return places[place] / rest


def _compare(name: str, expected: FileRecord, found: FileRecord | None) -> Mismatch:
    if found is None:
        return Mismatch(name, "is not there any more")
    size = "" if found.n_bytes == expected.n_bytes else f", {found.n_bytes:,} bytes instead of {expected.n_bytes:,}"
    return Mismatch(name, f"was changed: its SHA-256 is {found.sha256}, on record is {expected.sha256}{size}")


def _tables(manifest: Manifest, there: Mapping[str, Path], intact: Mapping[str, Path]) -> Iterator[Mismatch]:
    """The content of every table against the data version that Dagster recorded.

    A file whose bytes were changed is reported already and is not opened: one wrong byte can make Polars abort.
    """
    for key, made in manifest.materializations.items():
        name = f"{TABLES}/{key}.parquet"
        if name not in there:
            if name not in manifest.files:
                yield Mismatch(name, "is not there, though it was made")
            continue
        if name not in intact:
            continue
        try:
            table = read_table(intact[name])
        except ConsultationError as error:
            yield Mismatch(name, f"cannot be read as a table ({str(error.__cause__ or error).splitlines()[0]})")
            continue
        if table is None:
            yield Mismatch(name, "is not there any more")
            continue
        try:
            versions = content_versions(key, table)
        except ConsultationError as error:
            yield Mismatch(name, f"has no digest ({error})")
            continue
        if made.data_version not in versions:
            yield Mismatch(name, f"its content has the digest {versions[0]}, its data version is {made.data_version}")


def content_versions(key: str, table: pl.DataFrame) -> tuple[str, ...]:
    """Return the data versions that a table of this content may have.

    A model's record has the version of the model, a file's record that of the file, and a constitution that
    of its ids and texts; the version of prompts leaves the principles aside, that
    of the calibration what nothing is made of. Every other table has the digest
    of all of its content.
    """
    whole = table_digest(table)
    columns = set(table.columns)
    if columns == set(MODEL.fields) and table.height == 1:
        return (str(table["model_digest"].item()),)
    if columns == set(FILE.fields) and table.height == 1:
        return (str(table["file_digest"].item()),)
    if columns == set(CONSTITUTION.fields):
        return (constitution_digest(table),)
    if columns == set(PROMPTS.fields):
        return (table_digest(table.drop("relevant_principles")),)
    if columns == set(JUDGE_CALIBRATION.fields):
        return (calibration_version(table),)
    return (whole,)


def _models(manifest: Manifest, found: Mapping[str, FileRecord]) -> Iterator[Mismatch]:
    """A model's folder is named by the digest of its files."""
    folders = {"/".join(name.split("/")[:2]) for name in manifest.files if name.startswith(f"{MODELS}/")}
    for folder in sorted(folders):
        digest = listed_folder(found, folder)
        if digest != folder.partition("/")[2]:
            yield Mismatch(folder, f"its files have the digest {digest}, which is not its name")
    for key, made in manifest.materializations.items():
        name = f"{MODELS}/{made.data_version}"
        if key.rpartition("/")[2] in MODEL_STAGES and name not in folders:
            yield Mismatch(name, f"is not on record, though {key} is this model")


def _ledgers(manifest: Manifest, consultation: Path) -> Iterator[Mismatch]:
    """Every ledger against the version of it that each asset was made from, and row by row."""
    for kind in LEDGERS:
        name, source = f"{CONSULTATION}/decisions/{kind}.csv", f"{kind}_ledger"
        try:
            ledger = read_ledger(consultation / "decisions" / f"{kind}.csv", kind)
        except ConsultationError as error:
            yield Mismatch(name, f"cannot be read: {error}")
            continue
        version = ledger_digest(ledger)
        changes = row_changes(manifest.rows.get(kind, {}), ledger)
        parts = [f"{_named(ids, 'row')} {was}" for was, ids in asdict(changes).items() if ids]
        if parts:
            yield Mismatch(name, f"{'; '.join(parts)} since the manifest was written")
        consumers = [
            key for key, made in manifest.materializations.items() if made.inputs.get(source, version) != version
        ]
        if consumers:
            used = manifest.materializations[consumers[0]].inputs[source]
            yield Mismatch(
                name,
                f"has the version {version[:SHORT]}, and {_named(consumers, 'asset')} used the version {used[:SHORT]}",
            )


def _inputs(manifest: Manifest) -> Iterator[Mismatch]:
    """Everything must have been made from the versions that are there."""
    present = {key: made.data_version for key, made in manifest.materializations.items()}
    for key, made in manifest.materializations.items():
        older = sorted(name for name, version in made.inputs.items() if present.get(name, version) != version)
        if older:
            yield Mismatch(f"{TABLES}/{key}.parquet", f"was made from another version of {_named(older, 'asset')}")


def _written(manifest: Manifest, there: Mapping[str, Path]) -> Iterator[Mismatch]:
    """Report and provenance must be those on record, and name the versions that are there."""
    for name, key in ((REPORT_NAME, "audit_report"), (PROVENANCE_NAME, "provenance")):
        made = manifest.materializations.get(key)
        if made is None or name not in there:
            continue
        if (digest := describe_file(there[name]).sha256) != made.data_version:
            yield Mismatch(name, f"has the digest {digest}, and the run recorded {made.data_version}")
    if REPORT_NAME in there:
        text = there[REPORT_NAME].read_text(encoding="utf-8", errors="replace")
        listed = set(_DIGEST.findall(text))
        own = {"audit_report", "provenance"}
        missing = sorted(
            key for key, made in manifest.materializations.items() if key not in own and made.data_version not in listed
        )
        if missing:
            yield Mismatch(REPORT_NAME, f"does not list the version on record of {_named(missing, 'asset')}")
    if PROVENANCE_NAME in there:
        yield from _provenance(manifest, there[PROVENANCE_NAME])


def _provenance(manifest: Manifest, path: Path) -> Iterator[Mismatch]:
    try:
        entities = json.loads(path.read_text(encoding="utf-8"))["entity"].values()
        described = {(entity.get("ccai:asset"), entity.get("ccai:version")) for entity in entities}
    except (ValueError, KeyError, AttributeError, TypeError) as error:
        yield Mismatch(PROVENANCE_NAME, f"cannot be read as PROV-JSON ({error})")
        return
    missing = sorted(
        key
        for key, made in manifest.materializations.items()
        if key != "provenance" and (key, made.data_version) not in described
    )
    if missing:
        yield Mismatch(PROVENANCE_NAME, f"does not tell of the version on record of {_named(missing, 'asset')}")


def _copy(manifest: Manifest, report: Path) -> Iterator[Mismatch]:
    expected, found = manifest.files.get(REPORT_NAME), describe_file(report)
    if expected is None:
        yield Mismatch(str(report), "no report is on record here to compare it with")
    elif found.sha256 != expected.sha256:
        yield Mismatch(str(report), f"has the SHA-256 {found.sha256}; the report on record has {expected.sha256}")


def _notes(manifest: Manifest, places: Mapping[str, Path]) -> Iterator[str]:
    tables = places[TABLES]
    unknown = sorted(
        f"{TABLES}/{path.relative_to(tables).as_posix()}"
        for path in tables.rglob("*.parquet")
        if f"{TABLES}/{path.relative_to(tables).as_posix()}" not in manifest.files
    )
    if unknown:
        yield f"Not on record and not compared: {_named(unknown, 'table')}."
    for kind in manifest.amended_rows:
        try:
            ledger = read_ledger(places[CONSULTATION] / "decisions" / f"{kind}.csv", kind)
        except ConsultationError:  # a mismatch already
            ledger = LEDGER.empty()
        yield from amendments(manifest, kind, ledger)


def _named(names: Collection[str], noun: str) -> str:
    ordered = list(names)
    shown = ", ".join(ordered[:SHOWN])
    more = f" and {len(ordered) - SHOWN} more" if len(ordered) > SHOWN else ""
    return f"{noun if len(ordered) == 1 else noun + 's'} {shown}{more}"
