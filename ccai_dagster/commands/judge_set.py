"""`ccai judge-set`: published comparisons become a file that a consultation's judge can be measured on."""

import json
from pathlib import Path
from typing import Annotated

import typer

from ccai_dagster.core.files import write_file
from ccai_dagster.errors import ConsultationError


def judge_set(
    published: Annotated[Path, typer.Argument(help="JSON lines of pairs, plain or gzipped.")],
    output: Annotated[Path, typer.Argument(help="File to write, for `judge_comparisons`.")],
    source: Annotated[str, typer.Option(help="Name of the set, one word.")],
    principle: Annotated[str, typer.Option(help="What the labels rest on, one sentence.")],
) -> None:
    """Read published comparisons (two dialogues, or two options and the right letter) for judge_calibration."""
    from ccai_dagster.feedback.published_comparisons import read_published

    try:
        if output.exists():
            raise ConsultationError(f"{output} is already there. Name another file, or remove it.")
        table = read_published(published, source, principle)
        output.parent.mkdir(parents=True, exist_ok=True)
        lines = [json.dumps(row, ensure_ascii=False) + "\n" for row in table.iter_rows(named=True)]
        write_file(output, "".join(lines).encode())
    except (ConsultationError, OSError) as error:
        typer.secho(str(error), fg=typer.colors.RED, err=True)
        raise typer.Exit(1) from error
    typer.echo(f"{table.height} comparisons in {output}.")
