"""The prompt database and the labelled comparisons of a consultation, read and checked.

Every error names the file and the line. Which prompts a stage uses is decided by `chosen_prompts` alone.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

import polars as pl

from ccai_dagster.contracts import HELPFULNESS_PAIRS, PROMPTS
from ccai_dagster.core.draws import derived_seed
from ccai_dagster.core.errors import ConsultationError
from ccai_dagster.core.files import check_new_id, csv_rows, read_text

PROMPT_HEADER = ("prompt_id", "text", "purpose", "themes")
THEME_HEADER = ("theme", "words")
TRAINING_PURPOSES = ("revision", "preference", "policy")
"""What a model is trained with; prompts of the other purposes only measure it."""
PURPOSES = (*TRAINING_PURPOSES, "held_out", "qualitative")
PRINCIPLE = "principle"
"""The extra column of comparisons made to calibrate a judge: the principle they were labelled under."""


def read_prompts(prompts: Path, themes: Path, constitutions: Mapping[str, pl.DataFrame]) -> pl.DataFrame:
    """Read the prompt database and tag every prompt with the principles it exercises.

    A principle carries a theme when its text contains a word that begins with one of the theme's words,
    whatever the case. A prompt is relevant to the principles that carry one of its themes, and to those it names.

    Args:
        prompts: CSV with the columns `prompt_id,text,purpose,themes`; themes separated by spaces, or principles as
            `arm/principle_id`.
        themes: CSV with the columns `theme,words`; words separated by spaces.
        constitutions: CONSTITUTION tables by arm.

    Returns:
        PROMPTS, sorted by `prompt_id`.

    Raises:
        ConsultationError: A file that cannot be read, another header, an empty or duplicate id, an empty
            text, an unknown purpose, theme or arm, or a prompt that is held out and has the words of one that trains.
    """
    words = read_themes(themes)
    carriers = theme_carriers(words, constitutions)
    first_line: dict[str, int] = {}
    rows: list[dict[str, Any]] = []
    for line, row in csv_rows(prompts, PROMPT_HEADER):
        where = f"{prompts}, line {line}"
        check_new_id(where, "prompt_id", row["prompt_id"], line, first_line)
        check_prompt(where, row, themes, words, constitutions)
        tags = row["themes"].split()
        relevant = sorted(frozenset[str]().union(*(carriers.get(tag, frozenset()) for tag in tags)))
        rows.append({**row, "themes": tags, "relevant_principles": relevant})
    if not rows:
        raise ConsultationError(f"{prompts}: no prompts. Add at least one row for each purpose.")
    training = {same_words(row["text"]): row["prompt_id"] for row in rows if row["purpose"] in TRAINING_PURPOSES}
    for row in rows:
        if row["purpose"] == "held_out" and (other := training.get(same_words(row["text"]))):
            raise ConsultationError(
                f"{prompts}, line {first_line[row['prompt_id']]}: prompt {row['prompt_id']} is held out to measure the "
                f"models, and prompt {other} on line {first_line[other]}, which trains them, says the same. Give one "
                "of them another text, or this one the purpose `qualitative`."
            )
    return PROMPTS.build(rows).sort("prompt_id")


def check_held_out(prompts: pl.DataFrame, learnt: pl.DataFrame, file: Path) -> None:
    """Refuse prompts that are held out and are prompts of the comparisons that models learn from.

    Args:
        prompts: PROMPTS.
        learnt: HELPFULNESS_PAIRS.
        file: Where these are, for the message.

    Raises:
        ConsultationError: Names a prompt and a comparison.
    """
    compared = {same_words(text): pair_id for text, pair_id in learnt.select("prompt", "pair_id").iter_rows()}
    for prompt_id, text in prompts.filter(purpose="held_out").select("prompt_id", "text").iter_rows():
        if pair_id := compared.get(same_words(text)):
            raise ConsultationError(
                f"{file}: the prompt of {pair_id}, which models are trained on, says the same as prompt {prompt_id} in "
                "prompts.csv, which is held out to measure them. Take either out, or give the prompt another text."
            )


def same_words(prompt: str) -> str:
    """Return what two prompts have in common that differ in case and spacing alone."""
    return " ".join(prompt.casefold().split())


def theme_carriers(
    words: Mapping[str, tuple[str, ...]], constitutions: Mapping[str, pl.DataFrame]
) -> dict[str, frozenset[str]]:
    """Return for each theme, and for each principle by itself, the `arm/principle_id` that it means.

    Args:
        words: Of each theme.
        constitutions: CONSTITUTION tables by arm.
    """
    principles = {
        f"{arm}/{principle_id}": text
        for arm, table in constitutions.items()
        for principle_id, text in table.select("principle_id", "text").iter_rows()
    }
    themes = {
        theme: frozenset(key for key, text in principles.items() if carries_theme(text, theme_words))
        for theme, theme_words in words.items()
    }
    return {key: frozenset({key}) for key in principles} | themes


def check_prompt(
    where: str, row: Mapping[str, str], themes: Path, words: Mapping[str, tuple[str, ...]], arms: Collection[str]
) -> None:
    """Refuse a prompt without text, of an unknown purpose, or with a theme or arm that does not exist.

    A tag `arm/principle_id` names a principle itself. One that no constitution has any more is no error, since
    principles come and go with the votes; `coverage_findings` names it.

    Args:
        where: File and line, for the message.
        row: The cells of `PROMPT_HEADER`.
        themes: The file that the themes are in, for the message.
        words: Of each theme.
        arms: Their names.

    Raises:
        ConsultationError: Names the line and what to change.
    """
    if not row["text"].strip():
        raise ConsultationError(f"{where}: prompt {row['prompt_id']} has no text. Write what the user says.")
    if row["purpose"] not in PURPOSES:
        raise ConsultationError(
            f"{where}: unknown purpose {row['purpose']!r} of prompt {row['prompt_id']}; "
            f"use one of {', '.join(PURPOSES)}."
        )
    tags = set(row["themes"].split())
    if unknown := sorted(tag for tag in tags - set(words) if named_arm(tag) not in arms):
        raise ConsultationError(
            f"{where}: prompt {row['prompt_id']} names themes that {themes} does not have: {', '.join(unknown)}. Add "
            "them there, correct the name, or name a principle as arm/principle_id."
        )


def named_arm(tag: str) -> str | None:
    """Return the arm of a tag `arm/principle_id`; None for a theme."""
    arm, slash, _ = tag.partition("/")
    return arm if slash else None


def read_themes(path: Path) -> dict[str, tuple[str, ...]]:
    """Read `theme,words` and return the words of each theme.

    Raises:
        ConsultationError: A file that cannot be read, another header, a duplicate theme, a theme with a
            space in its name or without words.
    """
    first_line: dict[str, int] = {}
    themes = {}
    for line, row in csv_rows(path, THEME_HEADER):
        where = f"{path}, line {line}"
        check_new_id(where, "theme", row["theme"], line, first_line)
        words = tuple(row["words"].split())
        if not words:
            raise ConsultationError(f"{where}: theme {row['theme']!r} has no words; separate them by spaces.")
        themes[row["theme"]] = words
    return themes


def carries_theme(text: str, words: tuple[str, ...]) -> bool:
    """Tell whether a word of `text` begins with one of `words`, whatever the case."""
    folded = text.casefold()
    return any(re.search(rf"(?<!\w){re.escape(word.casefold())}", folded) for word in words)


def chosen_prompts(prompts: pl.DataFrame, purpose: str, count: int, seed: int) -> pl.DataFrame:
    """Choose up to `count` prompts of one purpose, the same ones in every arm.

    Args:
        prompts: PROMPTS.
        purpose: One of `PURPOSES`.
        count: How many at most; all of them if there are fewer.
        seed: Of the choice.

    Returns:
        Rows of `prompts`, sorted by `prompt_id`.

    Raises:
        ConsultationError: There is no prompt of this purpose.
    """
    candidates = prompts.filter(pl.col("purpose") == purpose)
    if candidates.is_empty():
        raise ConsultationError(
            f"prompts.csv: no prompt has the purpose {purpose!r}. Add some rows with it, or change a purpose."
        )
    order = sorted(candidates["prompt_id"], key=lambda prompt_id: derived_seed(seed, purpose, prompt_id))
    return candidates.filter(pl.col("prompt_id").is_in(order[:count])).sort("prompt_id")


def chosen_comparisons(comparisons: pl.DataFrame, count: int | None, seed: int) -> pl.DataFrame:
    """Choose up to `count` comparisons, or all of them if None, sorted by `pair_id`.

    Those whose `pair_id` differs only behind a slash are drawn together: in a crossed set one pair of responses stands
    under two principles that prefer opposite ones.
    """

    def place(pair_id: str) -> tuple[int, str]:
        return derived_seed(seed, "comparison", pair_id.partition("/")[0]), pair_id

    order = sorted(comparisons["pair_id"], key=place)
    return comparisons.filter(pl.col("pair_id").is_in(order[:count])).sort("pair_id")


def read_comparisons(path: Path) -> pl.DataFrame:
    """Read labelled comparisons: one JSON object a line.

    Fields: `pair_id`, `prompt`, `response_a`, `response_b`, `probability_a` (share of people who preferred
    response a, 0 to 1), `source`, and for comparisons that calibrate a judge `principle`, on every line or
    on none.

    Returns:
        HELPFULNESS_PAIRS, with a column `principle` if the file has it, sorted by `pair_id`.

    Raises:
        ConsultationError: A line that is no such object, a duplicate id, the same two responses to a prompt again, an
            empty file.
    """
    fields = tuple(HELPFULNESS_PAIRS.fields)
    first_line: dict[str, int] = {}
    compared: dict[tuple[str | None, ...], int] = {}
    rows: list[dict[str, Any]] = []
    for line, content in enumerate(read_text(path).split("\n"), start=1):
        if not content.strip():
            continue
        where = f"{path}, line {line}"
        row = _json_object(where, content)
        expected = {*fields, PRINCIPLE} if (PRINCIPLE in (rows[0] if rows else row)) else set(fields)
        if set(row) != expected:
            raise ConsultationError(
                f"{where}: missing or unknown fields {sorted(set(row) ^ expected)}. "
                f"A comparison has {', '.join(fields)}, and {PRINCIPLE} on every line or on none."
            )
        _check_comparison(where, row)
        check_new_id(where, "pair_id", row["pair_id"], line, first_line)
        what = (row["prompt"], row.get(PRINCIPLE), *sorted((row["response_a"], row["response_b"])))
        if (before := compared.setdefault(what, line)) != line:
            raise ConsultationError(
                f"{where}: {row['pair_id']!r} compares what line {before} compares. Keep one of them; `probability_a` "
                "is for all who compared the two."
            )
        rows.append({**row, "probability_a": float(row["probability_a"])})
    if not rows:
        raise ConsultationError(f"{path}: no comparisons. Add at least one line.")
    dtypes = HELPFULNESS_PAIRS.dtypes | ({PRINCIPLE: pl.String()} if PRINCIPLE in rows[0] else {})
    return pl.DataFrame(rows, schema=dtypes).sort("pair_id")


def _check_comparison(where: str, row: dict[str, Any]) -> None:
    for name, value in row.items():
        if name != "probability_a" and not isinstance(value, str):
            raise ConsultationError(f"{where}: `{name}` must be a text, found {value!r}.")
    if empty := [name for name in ("prompt", "source", PRINCIPLE) if not row.get(name, "-").strip()]:
        raise ConsultationError(f"{where}: `{empty[0]}` is empty.")
    probability = row["probability_a"]
    number = isinstance(probability, int | float) and not isinstance(probability, bool)
    if not number or not math.isfinite(probability) or not 0 <= probability <= 1:
        raise ConsultationError(f"{where}: `probability_a` must be between 0 and 1, found {probability!r}.")


def _json_object(where: str, content: str) -> dict[str, Any]:
    try:
        row = json.loads(content)
    except json.JSONDecodeError as error:
        raise ConsultationError(f"{where}: not readable as JSON: {error}. Write one object a line.") from error
    if not isinstance(row, dict):
        raise ConsultationError(f"{where}: expected an object, found {type(row).__name__}.")
    return row
