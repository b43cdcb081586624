"""Reads what people prepared for adherence: labelled responses and contrast pairs.

A contrast pair is a response that keeps a principle and one that breaks it. Both are optional files of a
consultation, one JSON object a line. What is made of them belongs to `corrected_adherence` and `specificity`.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, TypeVar

import polars as pl
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from ccai_dagster.contracts import ADHERENCE_EXAMPLES, CONTRAST_PAIRS
from ccai_dagster.core.errors import ConsultationError
from ccai_dagster.core.files import read_text

REJECTED = "rejected statements"
"""Stands where a constitution's arm stands, for statements that moderation kept and that did not reach the cut."""
STATEMENT = "statement:"
_SHOWN = 20
_Id = Annotated[str, Field(pattern=r"^\S+$")]
_Text = Annotated[str, Field(pattern=r"\S")]


class _Line(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    id: _Id
    principle: _Id
    prompt: _Text


class _Example(_Line):
    response: str
    satisfied: bool


class _Pair(_Line):
    keeps: _Text
    breaks: _Text
    against: _Id | None = None


_AnyLine = TypeVar("_AnyLine", _Example, _Pair)


@dataclass(frozen=True)
class KnownPrinciples:
    """What lines may name.

    Attributes:
        texts: Text by (arm, principle id) of every principle, and by (`REJECTED`, statement id) of every statement
            that moderation kept and that did not reach the cut.
        absent: The same keys for principles that are worded and not in, and statements that are no such control now:
            lines about them are left out.
    """

    texts: Mapping[tuple[str, str], str]
    absent: Collection[tuple[str, str]]


def read_examples(path: Path, known: KnownPrinciples) -> tuple[pl.DataFrame, list[str]]:
    """Read labelled responses: `id`, `principle` (`arm/id`), `prompt`, `response`, `satisfied`.

    Returns:
        ADHERENCE_EXAMPLES, sorted by id, and the ids left out because their principle is not in at present.

    Raises:
        ConsultationError: A malformed line, an id used twice, an unknown principle, or only one kind of label.
    """
    lines = _lines(path, _Example)
    named = _named(path, [(number, line.principle) for number, line in lines], known, statements=False)
    rows = [
        {
            "example_id": line.id,
            "constitution_arm": key[0],
            "principle_id": key[1],
            "principle": known.texts[key],
            "prompt": line.prompt,
            "response": line.response,
            "satisfied": line.satisfied,
        }
        for (_, line), key in zip(lines, named, strict=True)
        if key in known.texts
    ]
    if rows and len({row["satisfied"] for row in rows}) == 1:
        label = "satisfied" if rows[0]["satisfied"] else "not satisfied"
        raise ConsultationError(
            f"{path}: every example is {label}, so nothing can be told about a judge that always says so. Label "
            "some responses of the other kind, or take `adherence_examples` out of consultation.yaml."
        )
    left_out = [line.id for (_, line), key in zip(lines, named, strict=True) if key not in known.texts]
    return ADHERENCE_EXAMPLES.build(rows).sort("example_id"), sorted(left_out)


def read_contrast_pairs(path: Path, known: KnownPrinciples) -> tuple[pl.DataFrame, list[str]]:
    """Read contrast pairs: `id`, `principle` (`arm/id` or `statement:id`), `prompt`, `keeps`, `breaks`.

    A pair with `against`, another principle of the same constitution, is a conflict: the response that keeps the first
    principle breaks the other one, and the other way round.

    Returns:
        CONTRAST_PAIRS, sorted by id, and the ids left out because what they name is not in at present.

    Raises:
        ConsultationError: A malformed line, an id used twice, an unknown principle or statement, equal responses, a
            conflict of a principle with itself or with another constitution's.
    """
    lines = _lines(path, _Pair)
    named = _named(path, [(number, line.principle) for number, line in lines], known, statements=True)
    against = _named(path, [(number, line.against) for number, line in lines if line.against], known, statements=False)
    others = iter(against)
    rows, left_out = [], []
    for (number, line), key in zip(lines, named, strict=True):
        other = next(others) if line.against else None
        if line.keeps == line.breaks:
            raise ConsultationError(
                f"{path}, line {number}: both responses of pair {line.id} are the same. Write one that keeps "
                "the principle and one that breaks it."
            )
        if other and (other == key or other[0] != key[0]):
            raise ConsultationError(
                f"{path}, line {number}: pair {line.id} sets {line.principle} against {line.against}; name "
                "two different principles of one constitution."
            )
        if key not in known.texts or (other and other not in known.texts):
            left_out.append(line.id)
            continue
        rows.append(_pair(line.id, key, other and other[1], line.prompt, line.keeps, line.breaks, "written"))
    return CONTRAST_PAIRS.build(rows).sort("pair_id"), sorted(left_out)


def pairs_of_examples(examples: pl.DataFrame) -> pl.DataFrame:
    """Pair every satisfied example with every other one of the same principle and prompt.

    Empty responses make no pair: a model's probability of saying nothing is another matter.

    Returns:
        CONTRAST_PAIRS, sorted by `pair_id`; empty if no prompt has both labels.
    """
    key = ["constitution_arm", "principle_id", "prompt"]
    spoken = examples.filter(pl.col("response").str.strip_chars() != "")
    both = spoken.filter("satisfied").join(spoken.filter(~pl.col("satisfied")), on=key, suffix="_broken")
    rows = [
        _pair(
            f"{row['example_id']}+{row['example_id_broken']}",
            (row["constitution_arm"], row["principle_id"]),
            None,
            row["prompt"],
            row["response"],
            row["response_broken"],
            "labelled examples",
        )
        for row in both.iter_rows(named=True)
        if row["response"] != row["response_broken"]
    ]
    return CONTRAST_PAIRS.build(rows).sort("pair_id")


def _pair(
    name: str, key: tuple[str, str], against: str | None, prompt: str, keeps: str, breaks: str, source: str
) -> dict[str, Any]:
    return {
        "pair_id": name,
        "constitution_arm": key[0],
        "principle_id": key[1],
        "against_id": against,
        "prompt": prompt,
        "keeps": keeps,
        "breaks": breaks,
        "source": source,
    }


def _named(
    path: Path, names: list[tuple[int, str]], known: KnownPrinciples, *, statements: bool
) -> list[tuple[str, str]]:
    found = []
    for number, name in names:
        is_statement = name.startswith(STATEMENT)
        arm, _, own = name.partition("/")
        key = (REJECTED, name.removeprefix(STATEMENT)) if is_statement else (arm, own)
        if (is_statement and not statements) or (key not in known.texts and key not in known.absent):
            statement = f", or `{STATEMENT}ID` of a statement" if statements else ""
            raise ConsultationError(
                f"{path}, line {number}: there is no principle {name!r}. Name one as `arm/id`{statement}; the "
                f"constitutions have {_some(known.texts)}."
            )
        found.append(key)
    return found


def _some(texts: Mapping[tuple[str, str], str]) -> str:
    names = sorted("/".join(key) for key in texts if key[0] != REJECTED)
    return ", ".join(names[:_SHOWN]) + (f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else "")


def _lines(path: Path, kind: type[_AnyLine]) -> list[tuple[int, _AnyLine]]:
    found: list[tuple[int, _AnyLine]] = []
    places: dict[str, int] = {}
    for number, text in enumerate(read_text(path).split("\n"), start=1):
        if not text.strip():
            continue
        try:
            line = kind.model_validate_json(text)
        except ValidationError as error:
            fields = ", ".join(name for name, field in kind.model_fields.items() if field.is_required())
            faults = "; ".join(f"{'.'.join(map(str, each['loc'])) or 'line'}: {each['msg']}" for each in error.errors())
            raise ConsultationError(f"{path}, line {number}: {faults}. A line is one object with {fields}.") from error
        if line.id in places:
            raise ConsultationError(
                f"{path}, line {number}: id {line.id!r} is already that of line {places[line.id]}. Give every "
                "line an id of its own."
            )
        places[line.id] = number
        found.append((number, line))
    return found
