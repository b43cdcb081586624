"""Reads labelled comparisons in the two forms they are published in, as comparisons of a consultation.

A transcript set (hh-rlhf, Bai et al. 2022, arXiv 2204.05862) has `chosen` and `rejected`: two dialogues with named
turns that differ in the last reply. A letter set (the 438 helpful, honest and harmless comparisons beside Bai et
al. 2022, arXiv 2212.08073) has a `prompt` with two options in triple brackets, and which letter is right.
Which response is called a is drawn by the words of the pair, so that the order says nothing. Comparisons of a
consultation itself are read in `prompts`.
"""

from __future__ import annotations

import gzip
import json
import re
from pathlib import Path
from typing import Any

import polars as pl

from ccai_dagster.contracts import HELPFULNESS_PAIRS
from ccai_dagster.core.digest import value_digest
from ccai_dagster.core.draws import uniform
from ccai_dagster.core.errors import ConsultationError
from ccai_dagster.feedback.prompts import PRINCIPLE

USER, ASSISTANT = "\n\nHuman:", "\n\nAssistant:"
OPTIONS = re.compile(r"\(A\) \[\[\[(.*?)\]\]\]\s*\(B\) \[\[\[(.*?)\]\]\]", re.DOTALL)
INSTRUCTION = re.compile(r"\n\n[^\n]*Options:\s*$")
OWN = (
    "This reads published sets; comparisons of your own need no reading: write them as docs/evaluation.md shows "
    "(A set of your own)."
)
INTRODUCTION = re.compile(r"^\s*Consider the following conversation[^\n]*\n")


def read_published(path: Path, source: str, principle: str) -> pl.DataFrame:
    """Read a file of published comparisons.

    A pair whose dialogues do not share everything before the last reply, or whose replies are the same or
    empty, compares nothing and is left out, and so is one that stands there with either reply as the better one.

    Args:
        path: JSON lines, plain or gzipped, in one of the two forms.
        source: Name of the set; ids are made of it and of the words of the pair.
        principle: What the labels rest on, in one sentence: the judge is asked under it.

    Returns:
        HELPFULNESS_PAIRS with a column `principle`, sorted by `pair_id`; pairs that occur twice once.

    Raises:
        ConsultationError: A file that cannot be read, a line of neither form, no usable pair, an empty principle
            or a source of more than one word.
    """
    if not principle.strip() or source.split() != [source]:
        raise ConsultationError("Give the principle the labels rest on, and a source of one word.")
    rows: dict[str, dict[str, Any]] = {}
    better_of: dict[str, set[str]] = {}
    for number, line in published_lines(path):
        pair = _pair(f"{path}, line {number}", line)
        if pair is None:
            continue
        prompt, better, worse = pair
        digest = value_digest([prompt, *sorted((better, worse))])
        better_of.setdefault(digest, set()).add(better)
        better_first = uniform(0, "published comparisons", digest) < 0.5
        rows[digest] = {
            "pair_id": f"{source}-{digest[:16]}",
            "prompt": prompt,
            "response_a": better if better_first else worse,
            "response_b": worse if better_first else better,
            "probability_a": float(better_first),
            "source": source,
            PRINCIPLE: principle.strip(),
        }
    agreed = [row for digest, row in rows.items() if len(better_of[digest]) == 1]
    if not agreed:
        raise ConsultationError(f"{path}: no pair of two different replies to one dialogue, of which one is better.")
    schema = HELPFULNESS_PAIRS.dtypes | {PRINCIPLE: pl.String()}
    return pl.DataFrame(agreed, schema=schema).sort("pair_id")


def published_lines(path: Path) -> list[tuple[int, str]]:
    """Return the lines of a file of published comparisons with their numbers, without empty ones.

    Raises:
        ConsultationError: It cannot be read.
    """
    try:
        content = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
        lines = content.decode("utf-8").split("\n")
        return [(number, line) for number, line in enumerate(lines, start=1) if line.strip()]
    except (OSError, EOFError, UnicodeDecodeError) as error:
        raise ConsultationError(f"{path}: not readable ({error}). Give JSON lines, UTF-8, plain or gzipped.") from error


def _pair(where: str, line: str) -> tuple[str, str, str] | None:
    """Return prompt, better and worse reply, or None for a pair that compares nothing."""
    try:
        row = json.loads(line)
    except json.JSONDecodeError as error:
        raise ConsultationError(f"{where}: not readable as JSON ({error}). Give JSON lines. {OWN}") from error
    if isinstance(row, dict) and all(isinstance(row.get(name), str) for name in ("chosen", "rejected")):
        prompt, better = _last_reply(where, row["chosen"])
        other_prompt, worse = _last_reply(where, row["rejected"])
        usable = prompt == other_prompt
    elif isinstance(row, dict) and isinstance(row.get("prompt"), str) and "corrects" in row:
        prompt, better, worse = _options(where, row)
        usable = True
    else:
        raise ConsultationError(
            f"{where}: neither a pair of dialogues (`chosen`, `rejected`) nor two options in brackets with the right "
            f"letter (`prompt`, `corrects`). {OWN}"
        )
    return (prompt, better, worse) if usable and prompt and better and worse and better != worse else None


def _last_reply(where: str, dialogue: str) -> tuple[str, str]:
    before, found, reply = dialogue.rpartition(ASSISTANT)
    if not found or not before.startswith(USER):
        raise ConsultationError(
            f"{where}: a dialogue has no turn of a human (an empty line, then `Human:`), or none of an assistant after "
            f"it (`Assistant:`). {OWN}"
        )
    return before.removeprefix(USER).strip(), reply.strip()


def _options(where: str, row: dict[str, Any]) -> tuple[str, str, str]:
    options = OPTIONS.search(row["prompt"])
    right = [str(letter).strip() for letter in row["corrects"]]
    if options is None or right not in (["(A)"], ["(B)"]):
        raise ConsultationError(f"{where}: two options in triple brackets and one right letter were expected.")
    asked = INTRODUCTION.sub("", row["prompt"][: options.start()])
    prompt = INSTRUCTION.sub("", asked).strip().removeprefix("Human:").strip()
    texts = [text.strip() for text in options.groups()]
    better, worse = texts if right == ["(A)"] else texts[::-1]
    return prompt, better, worse
