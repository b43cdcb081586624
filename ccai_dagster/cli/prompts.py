"""`ccai prompts` and `ccai judge-set`: files of a consultation that are made of drafts or of published comparisons.

Drafts are for principles that too few prompts exercise. Nothing uses a draft; a person's accepting it puts it into
the prompt database, and a row into the training ledger that says who did it, why, and what drafted it.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ccai_dagster.cli.options import CONSULTATION, ROLE, mendable_errors
from ccai_dagster.consultation.folder import SAMPLE, Consultation
from ccai_dagster.core.errors import ConsultationError
from ccai_dagster.core.files import write_file
from ccai_dagster.core.text import counted, printable

if TYPE_CHECKING:
    import polars as pl

    from ccai_dagster.feedback.language_model import LanguageModel
    from ccai_dagster.feedback.prompt_coverage import WaitingDraft
    from ccai_dagster.open_consultation import OpenConsultation

app = typer.Typer(no_args_is_help=True, help="Draft prompts for principles that have too few, and accept drafts.")
BATCH = 16


@app.command()
@mendable_errors()
def draft(
    principle: Annotated[
        list[str] | None,
        typer.Option(
            help="Only for this principle, as arm/principle_id; may be given several times. By default all that are "
            "below the minimum."
        ),
    ] = None,
    with_model: Annotated[
        bool, typer.Option("--with-model", help="Let the base model of the last run write them.")
    ] = False,
    consultation: CONSULTATION = None,
) -> None:
    """Write drafts to prompts_drafted.csv in the consultation folder, for a person to look at."""
    from ccai_dagster.decisions.outcomes import policies
    from ccai_dagster.feedback.prompt_coverage import (
        FILE_NAME,
        TEMPLATE,
        add_drafts,
        draft_from_words,
        draft_with_model,
        read_drafts,
        wanted_prompts,
    )
    from ccai_dagster.feedback.prompts import read_themes
    from ccai_dagster.open_consultation import open_consultation

    opened = open_consultation(consultation)
    chosen = opened.consultation
    path = chosen.folder / FILE_NAME
    waiting = read_drafts(path)
    prompts, coverage, minimum = _coverage(opened)
    wanted = wanted_prompts(
        coverage,
        minimum,
        [each.cells["principle"] for each in waiting.values()],
        {*prompts["prompt_id"], *waiting},
        read_themes(chosen.path(chosen.file.themes)),
        principle or (),
    )
    few = coverage["below_minimum"].sum()
    typer.echo(
        f"{few} of {coverage.height} principles are below the minimum of {minimum} prompts for training; "
        f"{len(waiting)} drafts wait in {path}."
    )
    if not wanted:
        return
    if with_model:
        found = draft_with_model(_model(opened), wanted, chosen.file.seed)
    else:
        language = chosen.file.language.partition("-")[0]
        policy = next((each for each in policies(opened.ledger("training")) if each.subject == TEMPLATE), None)
        found = [draft_from_words(each, chosen.file.seed, language, policy) for each in wanted]
    drafts = [each for each in found if each is not None]
    if drafts:
        add_drafts(path, drafts)
    for each in drafts:
        about = f"{printable(each.wanted.prompt_id)} ({each.wanted.purpose}, {printable(each.wanted.principle)})"
        typer.echo(f"{about}: {printable(each.text)}")
    for missing, made in zip(wanted, found, strict=True):
        if made is None:
            hint = "the model wrote nothing usable" if with_model else "no word in it to go by"
            typer.echo(f"{printable(missing.principle)}: not drafted, {hint}; write a prompt yourself.")
    if drafts:
        typer.echo(
            f"{len(drafts)} drafts added to {path}. Read and change them there, then `ccai prompts accept ID... "
            "--as ROLE`; nothing uses them before."
        )


@app.command()
@mendable_errors()
def accept(
    ids: Annotated[list[str], typer.Argument(help="Ids of drafts.")],
    role: Annotated[str, typer.Option("--as", help=ROLE)],
    reason: Annotated[str, typer.Option(prompt="Why", help="Why, in your own words.")],
    consultation: CONSULTATION = None,
) -> None:
    """Move drafts to the prompt database, and record who accepted them."""
    from ccai_dagster.feedback.prompt_coverage import FILE_NAME, add_prompts, checked_drafts, new_prompts, remove_drafts
    from ccai_dagster.feedback.prompts import read_themes
    from ccai_dagster.open_consultation import open_consultation

    opened = open_consultation(consultation)
    chosen = opened.consultation
    _check_own_prompts(chosen)
    path, database = chosen.folder / FILE_NAME, chosen.path(chosen.file.prompts)
    themes = chosen.path(chosen.file.themes)
    drafts = checked_drafts(path, ids, themes, read_themes(themes), chosen.arms)
    new_prompts(database, drafts)  # refuses what cannot be added before anything is on record
    for each in drafts:
        typer.echo(_record(opened, each, role, reason))
    added = add_prompts(database, drafts)
    remove_drafts(path, ids)
    typer.echo(f"{len(added)} prompts added to {database}; `ccai run` uses them.")


def _coverage(opened: OpenConsultation) -> tuple[pl.DataFrame, pl.DataFrame, int]:
    """Return the prompts, their coverage as things are now, and the minimum."""
    from ccai_dagster.decisions.values import training_decisions
    from ccai_dagster.feedback.prompt_coverage import prompt_coverage
    from ccai_dagster.feedback.prompts import read_prompts

    chosen, constitutions = opened.consultation, {}
    for arm in chosen.arms:
        table = opened.constitution(arm)
        if table is None:
            raise ConsultationError(
                f"The constitution of arm {arm!r} has no principle yet: `ccai review wording`, then `ccai run`."
            )
        constitutions[arm] = table
    minimum = training_decisions(opened.ledger("training")).prompt_minimum
    file = chosen.file
    prompts = read_prompts(chosen.path(file.prompts), chosen.path(file.themes), constitutions)
    return prompts, prompt_coverage(prompts, constitutions, minimum), minimum


def _record(opened: OpenConsultation, draft: WaitingDraft, role: str, reason: str) -> str:
    """Put a row into the training ledger, unless an interrupted acceptance has done so; say which row it is."""
    from ccai_dagster.checked_decisions import record_decision
    from ccai_dagster.core.digest import text_digest
    from ccai_dagster.decisions.ledger import current
    from ccai_dagster.decisions.recording import Answer

    cells = draft.cells
    digest = text_digest(cells["text"])
    for row in current(opened.ledger("training")).iter_rows(named=True):
        if row["subject_ids"] == [cells["prompt_id"]] and row["inputs_digest"] == digest:
            return f"{printable(cells['prompt_id'])}: accepted by {row['decision_id']} already."
    answer = Answer(
        kind="training",
        subject_ids=(cells["prompt_id"],),
        outcome=f"policy: in the prompt database for {cells['purpose']}, to exercise {cells['principle']}; "
        f"{'changed since it was drafted' if draft.changed else 'as it was drafted'}",
        reason=reason,
        decided_by=role,
        inputs_digest=digest,
        suggested_by=cells["drafted_by"],
    )
    return f"{printable(cells['prompt_id'])}: accepted, recorded as {record_decision(opened, answer)[0].decision_id}."


def _check_own_prompts(consultation: Consultation) -> None:
    path = consultation.path(consultation.file.prompts)
    if consultation.folder != SAMPLE and path.is_relative_to(SAMPLE):
        raise ConsultationError(
            f"{consultation.folder / 'consultation.yaml'}: `prompts` is {consultation.file.prompts}, which other "
            f"consultations use too. Copy {path} into your folder and write `prompts: {path.name}`."
        )


def _model(opened: OpenConsultation) -> LanguageModel:
    """Load the base model of the last run."""
    from ccai_dagster.consultation.folder import home_of
    from ccai_dagster.stages.transformers_model import TransformersModel
    from resources.model_store import ModelStore

    record = opened.table("base_model")
    if record is None:
        raise ConsultationError("--with-model: no run has made the base model yet; `ccai run` first.")
    home, settings = home_of(opened.consultation), opened.consultation.file.model
    store = ModelStore(url=home.models_url, cache=str(home.cache / "models"))
    folder: Path = store.folder(record["model_digest"].item())
    return TransformersModel(folder, settings.dtype, BATCH, settings.context_tokens)


@mendable_errors()
def judge_set(
    published: Annotated[Path, typer.Argument(help="JSON lines of pairs, plain or gzipped.")],
    output: Annotated[Path, typer.Argument(help="File to write, for `judge_comparisons`.")],
    source: Annotated[str, typer.Option(help="Name of the set, one word.")],
    principle: Annotated[str, typer.Option(help="What the labels rest on, one sentence.")],
    accuracy: Annotated[
        float, typer.Option(min=0.51, max=1.0, help="Least accuracy of a judge that is to be told from guessing.")
    ] = 0.6,
    half_width: Annotated[
        float, typer.Option(min=0.01, max=0.4, help="How far either end of its 95 % interval may lie from it.")
    ] = 0.05,
) -> None:
    """Read published comparisons (two dialogues, or two options and the right letter) for judge_calibration.

    Says how many comparisons the wished certainty takes.
    """
    from ccai_dagster.feedback.published_comparisons import published_lines, read_published
    from ccai_dagster.statistics.sample_size import comparisons_to_tell, comparisons_within

    if output.exists():
        raise ConsultationError(f"{output} is already there. Name another file, or remove it.")
    table = read_published(published, source, principle)
    lines = [json.dumps(row, ensure_ascii=False) + "\n" for row in table.iter_rows(named=True)]
    try:
        output.parent.mkdir(parents=True, exist_ok=True)
        write_file(output, "".join(lines))
    except OSError as error:
        raise ConsultationError(f"{output}: cannot be written ({error.strerror}).") from error
    typer.echo(f"{table.height} comparisons of {table['prompt'].n_unique()} prompts in {output}.")
    if left_out := len(published_lines(published)) - table.height:
        typer.echo(
            f"{counted(left_out, 'pair')} left out, which compare nothing: a reply is empty, both are the same, the "
            "dialogues differ before the last reply, the pair stands there twice, or each reply is the better one once."
        )
    typer.echo(
        f"To tell a judge that is right in {accuracy:.0%} from guessing takes {comparisons_to_tell(accuracy)} (in four "
        f"cases of five), to know its accuracy to {half_width:.1%} either way {comparisons_within(half_width)}. "
        "Comparisons of one prompt count as fewer, and a judge that learns from labels is measured on half of them."
    )
