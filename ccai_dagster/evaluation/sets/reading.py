"""What the readers of evaluation sets share: rows of files and of the hub, and how a set is to be asked.

Every fault of a file is told with its place and a remedy. What a row means belongs to the reader of its set; only the
project's own formats, JSON lines with the fields of the item's class, are read here whole (`read_json_lines`).
"""

from __future__ import annotations

import csv
import gzip
import io
import json
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn, TypeVar

from pydantic import ValidationError

from ccai_dagster.consultation.folder import HubDataset
from ccai_dagster.core.errors import ConsultationError
from ccai_dagster.evaluation.sets.items import Item

_SHOWN = 20
"""Problems named at once; the rest is counted."""
Built = TypeVar("Built")


@dataclass(frozen=True)
class Asking:
    """How the items of a set are asked.

    Attributes:
        shots: Answered examples before each question.
        chat: Whether in the model's chat template; else as bare text.
    """

    shots: int = 0
    chat: bool = True


@dataclass(frozen=True)
class Row:
    """A row of a file or of a dataset.

    Attributes:
        place: File and line, or dataset and number, for errors.
        fields: Values by name, untrusted.
    """

    place: str
    fields: dict[str, Any]


@dataclass(frozen=True)
class Format:
    """How the items of one format are read.

    Attributes:
        read: From a file or folder; the errors are `ConsultationError`s that name the place.
        read_hub: From a dataset of the hub; None if the format has only files.
        shots: Examples before each question if the consultation does not say.
        most_shots: How many there may be.
        chat: Whether the chat template is used if the consultation does not say.
        plain: Whether the format can be asked as bare text.
    """

    read: Callable[[Path, Asking], list[Item]]
    read_hub: Callable[[HubDataset, Asking], list[Item]] | None = None
    shots: int = 0
    most_shots: int = 0
    chat: bool = True
    plain: bool = False


def text_of(path: Path) -> str:
    """Return the text of a UTF-8 file; one whose name ends in `.gz` is unpacked.

    Raises:
        ConsultationError: It is missing, not UTF-8, or damaged.
    """
    try:
        content = path.read_bytes()
        if path.suffix == ".gz":
            content = gzip.decompress(content)
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ConsultationError(f"{path}: not UTF-8 at byte {error.start}. Save it as UTF-8.") from error
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise ConsultationError(f"{path}: a damaged gzip file ({error}). Fetch it again.") from error
    except OSError as error:
        raise ConsultationError(f"{path}: not readable ({error.strerror}). Correct its name or add it.") from error


def csv_rows(path: Path, columns: Sequence[str]) -> list[Row]:
    """Return the rows of a CSV file with a header.

    Args:
        path: UTF-8, comma-separated, quoted as usual; `.gz` is unpacked.
        columns: Those that must be there; others are returned too.

    Raises:
        ConsultationError: As `text_of`, or a column is missing, or a row has too few or too many cells.
    """
    reader = csv.DictReader(io.StringIO(text_of(path), newline=""), strict=True)
    try:
        header = reader.fieldnames or []
        if missing := [name for name in columns if name not in header]:
            raise ConsultationError(
                f"{path}: the header row has no {', '.join(f'`{name}`' for name in missing)}; it has "
                f"{', '.join(header) or 'nothing'}. Give the file as it is published."
            )
        rows = []
        for fields in reader:
            if None in fields or None in fields.values():
                raise ConsultationError(
                    f"{path}, line {reader.line_num}: not {len(header)} cells as in the header row. Quote cells "
                    "that hold commas or line breaks."
                )
            rows.append(Row(f"{path}, line {reader.line_num}", dict(fields)))
    except csv.Error as error:
        raise ConsultationError(f"{path}, line {reader.line_num}: not CSV ({error}).") from error
    return rows


def json_rows(path: Path) -> list[Row]:
    """Return the objects of a JSON-lines file; blank lines are passed over.

    Raises:
        ConsultationError: As `text_of`, or a line is not a JSON object.
    """
    rows = []
    for number, line in enumerate(text_of(path).split("\n"), start=1):
        if not line.strip():
            continue
        place = f"{path}, line {number}"
        try:
            fields = json.loads(line)
        except json.JSONDecodeError as error:
            raise ConsultationError(f"{place}: not JSON ({error}). Each line is one object in braces.") from error
        if not isinstance(fields, dict):
            raise ConsultationError(f"{place}: not an object. Each line is one object in braces.")
        rows.append(Row(place, fields))
    return rows


def hub_rows(hub: HubDataset, configuration: str | None, split: str) -> list[Row]:
    """Return the rows of one split of a dataset, fetched once and kept by `datasets`.

    Args:
        hub: Name and commit.
        configuration: The part of the dataset, if it has several.

    Raises:
        ConsultationError: It cannot be fetched.
    """
    from datasets import load_dataset

    try:
        table = load_dataset(hub.dataset, configuration, split=split, revision=hub.revision)
    except (OSError, ValueError, RuntimeError) as error:
        reason = str(error).strip().split("\n")[0]
        raise ConsultationError(
            f"{hub.dataset} at {hub.revision} cannot be read from the Hugging Face hub ({reason}). Correct name "
            "and revision, or fetch its files on a machine with a connection and give their folder as `path` "
            "instead of `hub` in consultation.yaml."
        ) from error
    return [Row(f"{hub.dataset}, {split}, row {number}", dict(row)) for number, row in enumerate(table)]


def member(folder: Path, name: str) -> Path:
    """Return a file of a folder.

    Raises:
        ConsultationError: The folder or the file is missing.
    """
    if not folder.is_dir():
        raise ConsultationError(f"{folder}: a folder with {name} is expected. Correct `path`.")
    if not (folder / name).is_file():
        raise ConsultationError(f"{folder / name}: not found. Add it, as the set is published.")
    return folder / name


def built(rows: Sequence[Row], build: Callable[[int, dict[str, Any]], Built]) -> list[Built]:
    """Build something of every row, and tell the faults of all rows together.

    Args:
        rows: Of one set.
        build: Of the number of a row, from 0, and its fields. What it raises as KeyError, TypeError or
            ValueError (pydantic's included) is a fault of the row.

    Raises:
        ConsultationError: A row is at fault.
    """
    made: list[Built] = []
    problems: list[str] = []
    for number, row in enumerate(rows):
        try:
            made.append(build(number, row.fields))
        except ValidationError as error:
            problems += [f"{row.place}: {problem}" for problem in described(error)]
        except KeyError as error:
            problems.append(f"{row.place}: the field `{error.args[0]}` is missing.")
        except (TypeError, ValueError) as error:
            problems.append(f"{row.place}: {error}.")
    if problems:
        refuse(problems)
    return made


def described(error: ValidationError) -> list[str]:
    """Return a sentence about each fault of an item."""
    sentences = []
    for detail in error.errors():
        field = ".".join(str(part) for part in detail["loc"])
        sentences.append(f"`{field}`: {detail['msg']}." if field else f"{detail['msg']}.")
    return sentences


def refuse(problems: Sequence[str]) -> NoReturn:
    """Raise one error about all problems, the first of them in full.

    Raises:
        ConsultationError: Always.
    """
    more = len(problems) - _SHOWN
    rest = [f"... and {more} more."] if more > 0 else []
    raise ConsultationError("\n".join([*problems[:_SHOWN], *rest]))


def read_json_lines(path: Path, kind: type[Item], format_name: str) -> list[Item]:
    """Read and check every item of a file.

    Args:
        path: UTF-8; blank lines are passed over.
        kind: Of the items.
        format_name: As errors name it.

    Raises:
        ConsultationError: The file is missing or not UTF-8, a line is malformed, a field is missing, unknown
            or out of range, or an id occurs twice. Names file, line and remedy.
    """
    items: list[Item] = []
    places: dict[str, int] = {}
    problems: list[str] = []
    for number, line in enumerate(text_of(path).split("\n"), start=1):
        if not line.strip():
            continue
        try:
            item = kind.model_validate_json(line, strict=True)
        except ValidationError as error:
            problems += [f"{path}, line {number}: {problem}" for problem in _problems(error, format_name)]
            continue
        if item.id in places:
            problems.append(
                f"{path}, line {number}: id {item.id!r} is already that of line {places[item.id]}. "
                "Give every item an id of its own."
            )
        places[item.id] = number
        items.append(item)
    if problems:
        refuse(problems)
    return items


def _problems(error: ValidationError, format_name: str) -> list[str]:
    sentences = []
    for detail in error.errors():
        field = ".".join(str(part) for part in detail["loc"])
        if detail["type"] == "json_invalid":
            sentences.append(f"not JSON ({detail['ctx']['error']}). Each line is one object in braces.")
        elif detail["type"] == "missing":
            sentences.append(f"the field `{field}` is missing; the format {format_name} needs it.")
        elif detail["type"] == "extra_forbidden":
            sentences.append(f"the format {format_name} has no field `{field}`. Correct its name or remove it.")
        else:
            sentences.append(f"`{field}`: {detail['msg']}." if field else f"{detail['msg']}.")
    return sentences
