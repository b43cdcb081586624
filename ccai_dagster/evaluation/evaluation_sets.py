"""Reads evaluation sets: JSON lines, one item a line, checked before any model is loaded.

What an item means belongs to `items`; how many of them are run, to `benchmarks`.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from fractions import Fraction
from pathlib import Path

from pydantic import ValidationError

from ccai_dagster.errors import ConsultationError
from ccai_dagster.evaluation.items import (
    Item,
    MultipleChoiceItem,
    NumericAnswerItem,
    OverRefusalItem,
    SocialBiasItem,
)
from ccai_dagster.feedback.draws import derived_seed

FORMATS: dict[str, type[Item]] = {
    "multiple_choice": MultipleChoiceItem,
    "numeric_answer": NumericAnswerItem,
    "social_bias": SocialBiasItem,
    "over_refusal": OverRefusalItem,
}
"""The item of each format that `consultation.yaml` may name."""
SHOWN_PROBLEMS = 20


def read_evaluation_set(path: Path, format_name: str) -> list[Item]:
    """Read and check every item of a file.

    Args:
        path: JSON lines, UTF-8; blank lines are passed over.
        format_name: One of `FORMATS`.

    Returns:
        The items, sorted by id.

    Raises:
        ConsultationError: The file is missing, empty or not UTF-8, a line is malformed, a field is missing,
            unknown or out of range, or an id occurs twice. Names file, line and remedy.
    """
    if format_name not in FORMATS:
        raise ConsultationError(
            f"{path}: there is no format {format_name!r}; there are {', '.join(FORMATS)}."
        )
    try:
        lines = path.read_text(encoding="utf-8-sig").split("\n")
    except OSError as error:
        raise ConsultationError(
            f"{path}: not readable ({error.strerror}). Correct its name or add it."
        ) from error
    except UnicodeDecodeError as error:
        raise ConsultationError(f"{path}: not UTF-8 at byte {error.start}. Save it as UTF-8.") from error
    items: dict[str, Item] = {}
    places: dict[str, int] = {}
    problems: list[str] = []
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            item = FORMATS[format_name].model_validate_json(line, strict=True)
        except ValidationError as error:
            problems += [f"{path}, line {number}: {problem}" for problem in _problems(error, format_name)]
            continue
        if item.id in items:
            problems.append(
                f"{path}, line {number}: id {item.id!r} is already that of line {places[item.id]}. "
                "Give every item an id of its own."
            )
        items[item.id], places[item.id] = item, number
    if problems:
        more = len(problems) - SHOWN_PROBLEMS
        rest = [f"{path}: and {more} more."] if more > 0 else []
        raise ConsultationError("\n".join(problems[:SHOWN_PROBLEMS] + rest))
    if not items:
        raise ConsultationError(
            f"{path}: no items. Add some, or take the benchmark out of consultation.yaml."
        )
    return [items[name] for name in sorted(items)]


def safe_prompts(sets: Mapping[str, Path]) -> dict[str, str]:
    """Return the prompts of over-refusal sets that should be answered, by `set:id`.

    Args:
        sets: Files by name of the set; the errors are those of `read_evaluation_set`.
    """
    return {
        f"{name}:{item.id}": item.prompt
        for name, path in sorted(sets.items())
        for item in read_evaluation_set(path, "over_refusal")
        if isinstance(item, OverRefusalItem) and item.safe
    }


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


def sample_items(items: Sequence[Item], n: int | None, seed: int) -> list[Item]:
    """Draw a sample that holds each stratum in proportion; the same for every model.

    The draw rests only on ids and seed: neither the order of the file nor the model matters, and adding an
    item changes the sample by few others. Seats of the strata by largest remainder.

    Args:
        items: Items with unique ids.
        n: How many; None or more than there are takes all.
        seed: Of the draw.

    Returns:
        The sample, sorted by id.
    """
    if n is None or n >= len(items):
        return sorted(items, key=lambda item: item.id)
    strata: defaultdict[tuple[str, ...], list[Item]] = defaultdict(list)
    for item in sorted(items, key=lambda item: derived_seed(seed, "items", item.id)):
        strata[item.stratum].append(item)
    quotas = {name: Fraction(n * len(members), len(items)) for name, members in strata.items()}
    seats = {name: int(quota) for name, quota in quotas.items()}
    order = sorted(quotas, key=lambda name: (seats[name] - quotas[name], derived_seed(seed, "strata", *name)))
    for name in order[: n - sum(seats.values())]:
        seats[name] += 1
    drawn = [item for name, members in strata.items() for item in members[: seats[name]]]
    return sorted(drawn, key=lambda item: item.id)
