"""The project's own formats: JSON lines, one item a line, with the fields of the item's class."""

from __future__ import annotations

from pathlib import Path

from pydantic import ValidationError

from ccai_dagster.evaluation.benchmark_sets.reading import refuse, text_of
from ccai_dagster.evaluation.items import Item


def read_json_lines(path: Path, kind: type[Item], format_name: str) -> list[Item]:
    """Read and check every item of a file.

    Args:
        path: UTF-8; blank lines are passed over.
        kind: Class of the items.
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
            sentences.append(
                f"the format {format_name} has no field `{field}`. Correct its name or remove it."
            )
        else:
            sentences.append(f"`{field}`: {detail['msg']}." if field else f"{detail['msg']}.")
    return sentences
