"""`ccai prompts`: drafts of prompts for principles that too few prompts exercise, and their acceptance by a person.

Nothing uses a draft. Accepting one puts it into the prompt database and a row into the training ledger that says
who did it, why, and what drafted it.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ccai_dagster.commands.deciding import CONSULTATION, ROLE, desk_of, sentences
from ccai_dagster.consultation import SAMPLE, Consultation
from ccai_dagster.errors import ConsultationError
from ccai_dagster.visible import visible

if TYPE_CHECKING:
    import polars as pl

    from ccai_dagster.commands.desk import Desk
    from ccai_dagster.feedback.language_model import LanguageModel
    from ccai_dagster.feedback.prompt_files import WaitingDraft

BATCH = 16


def register(app: typer.Typer) -> None:
    """Add the commands to the command line."""
    prompts = typer.Typer(
        no_args_is_help=True, help="Draft prompts for principles that have too few, and accept drafts."
    )
    prompts.command()(draft)
    prompts.command()(accept)
    app.add_typer(prompts, name="prompts")


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
    from ccai_dagster.feedback import prompt_drafts
    from ccai_dagster.feedback.prompt_files import FILE_NAME, add_drafts, read_drafts
    from ccai_dagster.feedback.prompts import read_themes

    with sentences():
        desk = desk_of(consultation)
        chosen = desk.consultation
        path = chosen.folder / FILE_NAME
        waiting = read_drafts(path)
        prompts, coverage, minimum = _coverage(desk)
        wanted = prompt_drafts.wanted_prompts(
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
            found = prompt_drafts.draft_with_model(_model(desk), wanted, chosen.file.seed)
        else:
            found = [prompt_drafts.draft_from_words(each, chosen.file.seed) for each in wanted]
        drafts = [each for each in found if each is not None]
        if drafts:
            add_drafts(path, drafts)
        for each in drafts:
            about = (
                f"{visible(each.wanted.prompt_id)} ({each.wanted.purpose}, {visible(each.wanted.principle)})"
            )
            typer.echo(f"{about}: {visible(each.text)}")
        for missing, made in zip(wanted, found, strict=True):
            if made is None:
                hint = "the model wrote nothing usable" if with_model else "no word in it to go by"
                typer.echo(f"{visible(missing.principle)}: not drafted, {hint}; write a prompt yourself.")
        if drafts:
            typer.echo(
                f"{len(drafts)} drafts added to {path}. Read and change them there, then `ccai prompts accept ID... "
                "--as ROLE`; nothing uses them before."
            )


def accept(
    ids: Annotated[list[str], typer.Argument(help="Ids of drafts.")],
    role: Annotated[str, typer.Option("--as", help=ROLE)],
    reason: Annotated[str, typer.Option(prompt="Why", help="Why, in your own words.")],
    consultation: CONSULTATION = None,
) -> None:
    """Move drafts to the prompt database, and record who accepted them."""
    from ccai_dagster.feedback.prompt_files import (
        FILE_NAME,
        add_prompts,
        checked_drafts,
        new_prompts,
        remove_drafts,
    )
    from ccai_dagster.feedback.prompts import read_themes

    with sentences():
        desk = desk_of(consultation)
        chosen = desk.consultation
        _check_own_prompts(chosen)
        path, database = chosen.folder / FILE_NAME, chosen.path(chosen.file.prompts)
        themes = chosen.path(chosen.file.themes)
        drafts = checked_drafts(path, ids, themes, read_themes(themes), chosen.arms)
        new_prompts(database, drafts)  # refuses what cannot be added before anything is on record
        for each in drafts:
            typer.echo(_record(desk, each, role, reason))
        added = add_prompts(database, drafts)
        remove_drafts(path, ids)
        typer.echo(f"{len(added)} prompts added to {database}; `ccai run` uses them.")


def _coverage(desk: Desk) -> tuple[pl.DataFrame, pl.DataFrame, int]:
    """Return the prompts, their coverage as things are now, and the minimum."""
    from ccai_dagster.decisions.settled_values import training_decisions
    from ccai_dagster.feedback.prompt_coverage import prompt_coverage
    from ccai_dagster.feedback.prompts import read_prompts

    chosen, constitutions = desk.consultation, {}
    for arm in chosen.arms:
        table = desk.constitution(arm)
        if table is None:
            raise ConsultationError(f"The constitution of arm {arm!r} is not made yet; `ccai run` first.")
        constitutions[arm] = table
    minimum = training_decisions(desk.ledger("training")).prompt_minimum
    file = chosen.file
    prompts = read_prompts(chosen.path(file.prompts), chosen.path(file.themes), constitutions)
    return prompts, prompt_coverage(prompts, constitutions, minimum), minimum


def _record(desk: Desk, draft: WaitingDraft, role: str, reason: str) -> str:
    """Put a row into the training ledger, unless an interrupted acceptance has done so; say which row it is."""
    from ccai_dagster.commands.clerk import enter
    from ccai_dagster.decisions.ledger import current
    from ccai_dagster.decisions.recording import Answer
    from ccai_dagster.digest import text_digest

    cells = draft.cells
    digest = text_digest(cells["text"])
    for row in current(desk.ledger("training")).iter_rows(named=True):
        if row["subject_ids"] == [cells["prompt_id"]] and row["inputs_digest"] == digest:
            return f"{visible(cells['prompt_id'])}: accepted by {row['decision_id']} already."
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
    return f"{visible(cells['prompt_id'])}: accepted, recorded as {enter(desk, answer)[0].decision_id}."


def _check_own_prompts(consultation: Consultation) -> None:
    path = consultation.path(consultation.file.prompts)
    if consultation.folder != SAMPLE and path.is_relative_to(SAMPLE):
        raise ConsultationError(
            f"{consultation.folder / 'consultation.yaml'}: `prompts` is {consultation.file.prompts}, which other "
            f"consultations use too. Copy {path} into your folder and write `prompts: {path.name}`."
        )


def _model(desk: Desk) -> LanguageModel:
    """Load the base model of the last run."""
    from ccai_dagster.stages.transformers_model import TransformersModel
    from resources.home import Home, home_root
    from resources.model_store import ModelStore

    record = desk.table("base_model")
    if record is None:
        raise ConsultationError("--with-model: no run has made the base model yet; `ccai run` first.")
    home, settings = Home(home_root(), desk.consultation.name), desk.consultation.file.model
    store = ModelStore(url=home.models_url, cache=str(home.cache / "models"))
    folder: Path = store.folder(record["model_digest"].item())
    return TransformersModel(folder, settings.dtype, BATCH, settings.context_tokens)
