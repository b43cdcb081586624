"""`ccai ratings`: pairs of responses go out to people, blinded, and their ratings come back."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ccai_dagster.cli.options import CONSULTATION, mendable_errors
from ccai_dagster.consultation.folder import chosen_consultation
from ccai_dagster.core.errors import ConsultationError
from ccai_dagster.core.text import printable

if TYPE_CHECKING:
    import polars as pl

    from ccai_dagster.consultation.settings import ServedModel
    from ccai_dagster.evaluation.conversation_ratings import OpenArm
    from ccai_dagster.open_consultation import OpenConsultation

app = typer.Typer(
    no_args_is_help=True, help="Have people compare the responses of two arms, without knowing whose they are."
)


@app.command("export")
@mendable_errors()
def export_pairs(
    arms: Annotated[str, typer.Option(help="Two arms, or an arm and base: public,standard.")],
    quality: Annotated[str, typer.Option(help="helpfulness or harmlessness.")],
    n: Annotated[int, typer.Option("--n", help="Pairs to rate.")],
    output: Annotated[
        Path | None, typer.Option(help="CSV file to write, which must not exist; without, people rate in the portal.")
    ] = None,
    consultation: CONSULTATION = None,
) -> None:
    """Write pairs of responses of the last run as CSV for raters; who wrote which stays in the consultation."""
    from ccai_dagster.evaluation.rating_export import WORTH_SEEING, blinded_pairs, write_pairs
    from ccai_dagster.evaluation.ratings import KEY_FILE
    from ccai_dagster.open_consultation import open_consultation
    from ccai_dagster.statistics.bradley_terry import comparisons_needed, elo_error, smallest_difference

    opened = open_consultation(consultation)
    chosen, comparisons = opened.consultation, opened.table("comparisons")
    if comparisons is None:
        raise ConsultationError("No responses were compared yet; `ccai run` first.")
    one, _, other = arms.partition(",")
    pairs = blinded_pairs(comparisons, (one.strip(), other.strip()), quality, n, chosen.file.seed)
    write_pairs(chosen.ratings, pairs, output)
    if output is None:
        typer.echo(f"{len(pairs.rows)} pairs of responses wait for raters in the portal (`ccai account --rater`).")
    else:
        typer.echo(f"{len(pairs.rows)} pairs of responses written to {output}. Fill in `rating`: 1, 2 or tie.")
    typer.echo(f"Who wrote which stands in {chosen.ratings / KEY_FILE}; raters must not see it.")
    if pairs.n_identical:
        typer.echo(
            f"{pairs.n_identical} of the {pairs.n_pairs} pairs there are have identical responses and need no rater."
        )
    smallest = smallest_difference(elo_error(len(pairs.rows)))
    needed = comparisons_needed(WORTH_SEEING)
    typer.echo(
        f"With {len(pairs.rows)} comparisons a difference under {smallest:.0f} Elo cannot be seen, with ties even "
        f"less; to find one of {WORTH_SEEING} Elo four times in five takes {needed:,} comparisons."
    )


@app.command("converse")
@mendable_errors()
def open_conversations(
    arms: Annotated[str, typer.Option(help="Two arms, or an arm and base: public,standard.")],
    quality: Annotated[str, typer.Option(help="helpfulness or harmlessness.")],
    n: Annotated[int, typer.Option("--n", min=1, help="Choices wanted of all raters together.")],
    server: Annotated[
        list[str] | None,
        typer.Option(help="ARM=ADDRESS,MODEL: where an arm's model is served and its name there; else by `sampling`."),
    ] = None,
    consultation: CONSULTATION = None,
) -> None:
    """Let raters of the portal talk with two arms at once; each one's server is first proven to hold its model."""
    from ccai_dagster.evaluation.conversation_ratings import OpenConversations, write_open
    from ccai_dagster.evaluation.rating_export import WORTH_SEEING, check_compared
    from ccai_dagster.open_consultation import open_consultation
    from ccai_dagster.statistics.bradley_terry import comparisons_needed, elo_error, smallest_difference

    opened = open_consultation(consultation)
    comparisons = opened.table("comparisons")
    if comparisons is None:
        raise ConsultationError("No model was evaluated yet; `ccai run` first.")
    named = [each.strip() for each in arms.split(",")]
    check_compared(comparisons, named, quality)
    found = [_proven(opened, comparisons, arm, served) for arm, served in _servers(opened, named, server or []).items()]
    write_open(opened.consultation.ratings, OpenConversations(quality=quality, arms=found, wanted=n))
    for each in found:
        typer.echo(f"{each.arm}: the server holds its model. {each.proof}.")
    typer.echo(f"Raters may talk with both in the portal, at /rate/conversation/{quality} (`ccai account --rater`).")
    smallest, needed = smallest_difference(elo_error(n)), comparisons_needed(WORTH_SEEING)
    typer.echo(
        f"With {n} choices a difference under {smallest:.0f} Elo cannot be seen, with ties and several choices of one "
        f"conversation even less; to find one of {WORTH_SEEING} Elo four times in five takes {needed:,}."
    )


def _servers(opened: OpenConsultation, arms: Sequence[str], named: Sequence[str]) -> dict[str, ServedModel]:
    """Return the server of each arm: as named on the command line, or as under `sampling`."""
    from ccai_dagster.consultation.folder import evaluated_model
    from ccai_dagster.consultation.settings import ServedModel

    chosen, found = opened.consultation, {}
    given = dict(each.partition("=")[::2] for each in named)
    if unknown := [each for each in given if each not in arms]:
        raise ConsultationError(f"--server {printable(unknown[0])}: write ARM=ADDRESS,MODEL with one of --arms.")
    for arm in arms:
        url, _, model = given.get(arm, "").rpartition(",")
        if arm in given and not url:
            raise ConsultationError(f"--server {printable(arm)}: write {arm}=ADDRESS,MODEL.")
        name = evaluated_model(arm)
        served = ServedModel(name=name, server_url=url, server_model=model) if url else chosen.served(name)
        if served is None:
            raise ConsultationError(
                f"No server of {name} is named with which raters could talk: write --server {arm}=ADDRESS,MODEL, or "
                f"`profiles.{chosen.profile_name}.sampling` in {chosen.folder / 'consultation.yaml'}."
            )
        found[arm] = served
    return found


def _proven(opened: OpenConsultation, comparisons: pl.DataFrame, arm: str, served: ServedModel) -> OpenArm:
    """Prove that the server of an arm holds the model that was evaluated."""
    from ccai_dagster.core.errors import silent
    from ccai_dagster.evaluation.conversation_ratings import OpenArm
    from ccai_dagster.evaluation.ratings import responses_digest
    from ccai_dagster.stages.sampling import sampling_server
    from resources.model_store import ModelStore

    chosen, record = opened.consultation, opened.table(*served.name.split("/"))
    if record is None:
        raise ConsultationError(f"There is no model of {arm} yet; `ccai run` first.")
    store = ModelStore(url=opened.home.models_url, cache=str(opened.home.cache / "models"))
    prompts = comparisons["prompt"].unique().to_list()
    place = store.folder(record["model_digest"].item())
    held, proof = sampling_server(served, place, chosen.file.model, prompts, None, silent)
    return OpenArm(
        arm=arm,
        responses=responses_digest(comparisons, arm),
        server_url=served.server_url,
        server_model=served.server_model,
        server=served.server,
        stops=held.settings.arguments.get("stop", []),
        proof=proof[f"{served.name} proven by"],
    )


@app.command("import")
@mendable_errors()
def import_pairs(
    file: Annotated[Path, typer.Argument(help="The CSV file with the ratings filled in.")],
    rater: Annotated[str, typer.Option(help="Role or pseudonym of who rated, such as rater-1; never a name.")],
    consultation: CONSULTATION = None,
) -> None:
    """Check one rater's ratings and keep them in the consultation."""
    from ccai_dagster.evaluation.ratings import import_ratings, read_ratings

    chosen = chosen_consultation(consultation)
    found = import_ratings(chosen.ratings, file, rater)
    ratings = read_ratings(chosen.ratings)
    typer.echo(
        f"{found.added} ratings of {rater} added; {found.known} were on record already, {found.unrated} pairs are "
        "not rated yet."
    )
    if ratings["rater"].n_unique() == 1:
        typer.echo(f"{rater} is the only rater so far: intervals will hold for {rater}, not for other people.")
    if found.added:
        typer.echo("`ccai run` brings them into elo_scores.")
