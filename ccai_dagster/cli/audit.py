"""`ccai audit` and `ccai verify`: why something is as it is, and whether results are what the run left.

Both read files only. Neither loads Dagster, MLflow or torch: an answer should be there in less than a second.
"""

import json
import shutil
import textwrap
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ccai_dagster.cli.options import CONSULTATION, CONSULTATION_IF_ASKED, LONGEST, mendable_errors, named_or_sample
from ccai_dagster.consultation.folder import SAMPLE, chosen_consultation, home_of
from ccai_dagster.core.errors import ConsultationError
from ccai_dagster.core.home import Home, place
from ccai_dagster.core.text import counted, printable

if TYPE_CHECKING:
    from ccai_dagster.audit.evidence import Explanation
    from ccai_dagster.audit.manifest import Manifest

WIDEST = 110
"""Columns of a printed line."""


@mendable_errors()
def audit(
    words: Annotated[
        list[str],
        typer.Argument(
            metavar="ID",
            help="A statement (17), principle (P55, public/P55), decision, preference pair, model (its digest, "
            "public/policy), score (arm/benchmark/metric) or run; a kind may stand before it, as statement:17. "
            "Or the name of a value (gac_threshold), or words.",
        ),
    ],
    consultation: CONSULTATION = None,
    as_json: Annotated[bool, typer.Option("--json", help="For machines: everything, in full.")] = False,
) -> None:
    """Tell why something is as it is: what happened to it, who decided, and in which runs it can be seen."""
    from ccai_dagster.audit.answers import answers
    from ccai_dagster.audit.evidence import Evidence
    from ccai_dagster.audit.manifest import read_manifest

    asked = " ".join(words)
    chosen = chosen_consultation(consultation)
    home = home_of(chosen)
    manifest = read_manifest(home.manifest)[0] if home.manifest.exists() else None
    found = answers(asked, Evidence(chosen, place(home.tables_url), manifest))
    if as_json:
        content = {"asked": asked, "answers": [answer.content() for answer in found]}
        # ASCII only: nothing that somebody typed acts on a terminal.
        typer.echo(json.dumps(content, indent=1, ensure_ascii=True, default=str))
        return
    width = min(WIDEST, shutil.get_terminal_size((100, 24)).columns)
    for line in _printed(found, width):
        typer.echo(line)


@mendable_errors()
def verify(
    context: typer.Context,
    what: Annotated[
        Path | None,
        typer.Argument(
            metavar="REPORT_OR_FOLDER",
            help="An audit report, a folder of results, or a consultation folder; by default the results of "
            "CCAI_CONSULTATION or the sample.",
        ),
    ] = None,
    consultation: CONSULTATION_IF_ASKED = None,
) -> None:
    """Compute all digests again, from artifacts and ledgers, and say exactly what does not match."""
    from ccai_dagster.audit.manifest import CONSULTATION as CONSULTATION_FILES
    from ccai_dagster.audit.manifest import DOWNLOADS, MODELS, OUTSIDE, REPORT, SAMPLE_FILES, TABLES, read_manifest
    from ccai_dagster.audit.verification import verify as verified
    from ccai_dagster.core.digest import file_digest

    if what is None:
        named_or_sample(context, consultation)
    began = time.monotonic()
    path = _manifest(what, consultation)
    manifest, untouched = read_manifest(path)
    results = path.parent
    home = Home(results.parent, results.name)
    places = {
        TABLES: place(home.tables_url),
        MODELS: place(home.models_url),
        REPORT: home.report,
        DOWNLOADS: home.downloads,
        CONSULTATION_FILES: consultation.resolve() if consultation else _folder(what, manifest),
        SAMPLE_FILES: SAMPLE,
        OUTSIDE: Path("/"),
    }
    report = what if what is not None and what.is_file() and what != path else None
    found = verified(manifest, untouched, places, report)
    for note in found.notes:
        typer.echo(printable(note, LONGEST))
    counts = ", ".join(f"{count} in {name}" for name, count in sorted(found.counted.items()))
    typer.echo(f"Read {sum(found.counted.values())} files ({counts}) in {time.monotonic() - began:.1f} s")
    if found.mismatches:
        for each in found.mismatches:
            typer.secho(printable(f"{each.name}: {each.what}.", LONGEST), fg=typer.colors.RED, err=True)
        differ = counted(len(found.mismatches), "thing does not match", "things do not match")
        raise ConsultationError(f"{differ} {path}.")
    typer.echo(f"Everything is as the run left it. The manifest's own SHA-256, to compare: {file_digest(path)}")


def _manifest(what: Path | None, consultation: Path | None) -> Path:
    """Find the manifest that belongs to a report or a folder."""
    from ccai_dagster.audit.manifest import MANIFEST

    if what is not None and not what.exists():
        raise ConsultationError(f"{what}: not found. Give an audit report or a folder of results.")
    near = [] if what is None else [what, *what.absolute().parents[:2]]
    for folder in near:
        if (folder / MANIFEST).is_file():
            return folder / MANIFEST
    if what is not None and what.is_dir():
        below = sorted(what.glob(f"*/{MANIFEST}"))
        if len(below) == 1:
            return below[0]
        if below:
            names = ", ".join(str(path.parent) for path in below)
            raise ConsultationError(f"{what}: results of several consultations: {names}. Give one of them.")
    chosen = what if what is not None and (what / "consultation.yaml").is_file() else consultation
    found = home_of(chosen_consultation(chosen)).manifest
    if not found.is_file():
        raise ConsultationError(f"{found}: not found, so there is nothing to compare with. `ccai run` writes it.")
    return found


def _folder(what: Path | None, manifest: "Manifest") -> Path:
    """The consultation folder: the one that was named, or the one the run was made from."""
    if what is not None and (what / "consultation.yaml").is_file():
        return what.resolve()
    folder = Path(manifest.folder)
    if not folder.is_dir():
        raise ConsultationError(
            f"{folder}: the consultation folder of the run is not there. Say where it is with --consultation."
        )
    return folder


def _printed(found: "list[Explanation]", width: int) -> Iterator[str]:
    for number, answer in enumerate(found):
        if number:
            yield ""
        yield printable(answer.subject)
        yield from _wrapped(answer.text, width, "  ")
        yield ""
        for sentence in answer.story:
            yield from _wrapped(sentence, width, "  ", "- ")
        if answer.decisions:
            yield ""
            yield f"  Decisions ({len(answer.decisions)}; `ccai audit ID` tells more of each)"
            for each in answer.decisions:
                head = f"{each.decision_id}  {each.kind}, {each.decided_by}, {each.decided_at[:10]}"
                yield from _wrapped(f"{head}{'' if each.counts else ', replaced'}: {each.outcome}", width, "    ")
        if answer.seen:
            yield ""
            yield "  Where it can be seen (`ccai ui` opens Dagster and MLflow)"
            for seen in answer.seen:
                mlflow = f", MLflow run {seen.mlflow_run}" if seen.mlflow_run else ""
                yield from _wrapped(
                    f"{seen.asset}  {seen.data_version[:12]}  Dagster run {seen.dagster_run}{mlflow}", width, "    "
                )
        for note in answer.notes:
            yield ""
            yield from _wrapped(note, width, "  ", "Note: ")


def _wrapped(text: object, width: int, indent: str, bullet: str = "") -> list[str]:
    later = indent + " " * len(bullet) + ("" if bullet else "  ")
    return textwrap.wrap(
        printable(str(text), LONGEST),
        width,
        initial_indent=indent + bullet,
        subsequent_indent=later,
        break_on_hyphens=False,
    ) or [indent + bullet]
