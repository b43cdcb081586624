"""How many prompts exercise each principle of each constitution, and drafts for principles with too few.

The authors of Collective Constitutional AI used one prompt database for both constitutions and later called that
likely a mistake: a principle without prompts that it matters for is hardly trained on. What makes a prompt relevant
to a principle is in `prompts`.

A draft is made by a template from the principle's words, or written by a language model. It is nothing but a
suggestion in a file of the consultation folder that no stage reads: a person accepts it into the prompt database or
does not. Both files keep every byte of the rows that stay, and are replaced as a whole or not at all. The record of who
accepted a draft is a row of the training ledger, and writing it is for the command.
"""

from __future__ import annotations

import csv
import io
import re
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import polars as pl

from ccai_dagster.contracts import PROMPT_COVERAGE
from ccai_dagster.core.digest import text_digest
from ccai_dagster.core.draws import derived_seed
from ccai_dagster.core.errors import ConsultationError
from ccai_dagster.core.files import check_new_id, csv_rows, lock_beside, write_file, written_alone
from ccai_dagster.core.language import SOURCE, Language, enumerated, speaking
from ccai_dagster.core.stop_words import ENGLISH_STOP_WORDS
from ccai_dagster.core.text import FORMULA, printable
from ccai_dagster.decisions.checks import Finding
from ccai_dagster.decisions.outcomes import PolicyChoice
from ccai_dagster.feedback.language_model import LanguageModel, Turn, texts_of
from ccai_dagster.feedback.prompts import (
    PROMPT_HEADER,
    PURPOSES,
    TRAINING_PURPOSES,
    carries_theme,
    check_prompt,
    named_arm,
)

SUBJECT = "prompt_minimum"
FILE_NAME = "prompts_drafted.csv"
DRAFT_HEADER = (*PROMPT_HEADER, "principle", "drafted_by", "draft_digest")
VERSION = "2"
"""Raised when a template or the request below changes its words."""
TEMPLATE = "prompt_template"
"""Policy of the training ledger: what is drafted from the words of a principle, instead of by the templates below."""
PLACE = "{words}"
"""Where the words stand in a template."""
TEMPLATES: Mapping[str, Sequence[str]] = {
    "en": (
        "I have a question about {words}, and I don't know whom else to ask. What would you tell me?",
        "A friend and I argued over {words}. Which of us do you think is right?",
        "Help me write a short message to my family. It has to do with {words}.",
        "Somebody keeps pushing me because of {words}. What should I do now?",
    ),
    # Nothing that asks for a case stands before the words.
    "de": (
        "Ich habe eine Frage und weiß nicht, wen ich sonst fragen soll. Es geht um: {words}. Was sagst du dazu?",
        "Eine Freundin und ich haben gestritten, das Thema war: {words}. Wer von uns hat deiner Meinung nach recht?",
        "Hilf mir, meiner Familie eine kurze Nachricht zu schreiben. Das Thema ist: {words}.",
        "Jemand lässt mir keine Ruhe, immer wieder heißt es: {words}. Was soll ich jetzt tun?",
    ),
}
"""By language."""
WORDS = 3
"""Words of the principle that a template takes up."""
REQUEST = (
    "An assistant that anybody in town may write to follows this principle: {principle}\n"
    "Write one message from a member of the public for which this principle matters, in the language of the principle. "
    "Write only the message."
)
NEW_TOKENS = 48
LONGEST = 400
"""Characters of a draft; what a model writes beyond them is cut off."""
COMMON_WORDS = """
answer answers appear appears asks assistant assistants avoid avoids best better chatbot choose compare desire
easily fewer fewest give gives imply implying indicate indicates intended least less like likely make makes model
more most much please possible provide provides question regardless response responses should suggest suggests terms
that user users viewed which whether
"""
"""Words that most principles have in common and that say nothing about one."""
GERMAN_COMMON_NOUNS = "antwort antworten assistent assistentin chatbot frage fragen mensch menschen modell nutzer"
_GERMAN_NOUN = re.compile(r"(?<!^)(?<![.:!?„“\"] )(?<![„“\"])\b[A-ZÄÖÜ][a-zäöüß]{3,}\b")
"""German writes nouns with a capital letter; so it writes the first word of a sentence, which is left out."""
LONG_WORD = 6
"""Letters of a word that is taken up in a language of which no more is known."""


def prompt_coverage(prompts: pl.DataFrame, constitutions: Mapping[str, pl.DataFrame], minimum: int) -> pl.DataFrame:
    """Count for each principle the prompts that are relevant to it.

    Args:
        prompts: PROMPTS, tagged with these constitutions.
        constitutions: CONSTITUTION tables by arm.
        minimum: Fewest prompts of the training purposes that a principle should have.

    Returns:
        PROMPT_COVERAGE, sorted by arm and principle.
    """
    counts = Counter(
        (key, purpose) for purpose, keys in prompts.select("purpose", "relevant_principles").iter_rows() for key in keys
    )
    rows = []
    for arm, table in constitutions.items():
        for principle_id, text in table.select("principle_id", "text").iter_rows():
            by_purpose = {purpose: counts[f"{arm}/{principle_id}", purpose] for purpose in PURPOSES}
            training = sum(by_purpose[purpose] for purpose in TRAINING_PURPOSES)
            rows.append(
                {
                    "arm": arm,
                    "principle_id": principle_id,
                    "text": text,
                    **by_purpose,
                    "training": training,
                    "below_minimum": training < minimum,
                }
            )
    return PROMPT_COVERAGE.build(rows).sort("arm", "principle_id")


def coverage_findings(
    coverage: pl.DataFrame, prompts: pl.DataFrame, minimum: int, decision_id: str | None
) -> list[Finding]:
    """Name the principles below the minimum, and the prompts that name a principle there is not.

    Args:
        coverage: PROMPT_COVERAGE.
        prompts: PROMPTS.
        minimum: The minimum that was counted with.
        decision_id: The row of the training ledger that sets it, if one does.

    Returns:
        Warnings only: training goes on, on what there is.
    """
    few = [
        Finding(
            "warning",
            "training",
            decision_id,
            f"{row['arm']}/{row['principle_id']}",
            f"{row['training']} prompts for training are relevant to it, and {minimum} should be; `ccai prompts draft` "
            "drafts some for you to accept",
        )
        for row in coverage.filter("below_minimum").iter_rows(named=True)
    ]
    there = set(coverage.select(pl.format("{}/{}", "arm", "principle_id")).to_series())
    gone = [
        Finding(
            "warning",
            "training",
            None,
            prompt_id,
            f"prompts.csv tags this prompt with {tag}, a principle that its constitution does not have (any more); "
            "change the tag",
        )
        for prompt_id, tags in prompts.select("prompt_id", "themes").iter_rows()
        for tag in tags
        if named_arm(tag) is not None and tag not in there
    ]
    return few + gone


@dataclass(frozen=True)
class MissingPrompt:
    """A prompt that a principle lacks.

    Attributes:
        principle: `arm/principle_id`.
        text: The principle.
        purpose: What the prompt is to be used for.
        prompt_id: The id it would have.
        themes: Themes that the principle carries, or the principle itself if it carries none.
    """

    principle: str
    text: str
    purpose: str
    prompt_id: str
    themes: tuple[str, ...]


@dataclass(frozen=True)
class Draft:
    """A drafted prompt.

    Attributes:
        wanted: What it is for.
        text: What the user would say, on one line.
        drafted_by: Template and version, or digest of the language model.
    """

    wanted: MissingPrompt
    text: str
    drafted_by: str

    @property
    def digest(self) -> str:
        """Digest of the text, by which a later change is noticed."""
        return text_digest(self.text)


def wanted_prompts(
    coverage: pl.DataFrame,
    minimum: int,
    waiting: Collection[str],
    taken: Collection[str],
    themes: Mapping[str, tuple[str, ...]],
    named: Collection[str] = (),
) -> list[MissingPrompt]:
    """Tell which prompts are missing.

    A principle below the minimum gets as many as it lacks, less the drafts that wait already; each is for the
    training purpose that has fewest so far. A principle that is named gets at least one, covered or not.

    Args:
        coverage: PROMPT_COVERAGE.
        minimum: Fewest prompts for training.
        waiting: `arm/principle_id` of every draft that waits, once a draft.
        taken: Ids of prompts and of drafts.
        themes: Words of each theme.
        named: Principles to draft for, `arm/principle_id`, or only the id if one arm has it; all if empty.

    Returns:
        What is missing, by arm and principle.

    Raises:
        ConsultationError: A named principle does not exist, or several arms have it.
    """
    chosen = _resolved(named, coverage)
    used, missing = set(taken), []
    for row in coverage.iter_rows(named=True):
        principle = f"{row['arm']}/{row['principle_id']}"
        if named and principle not in chosen:
            continue
        lacking = minimum - row["training"] - list(waiting).count(principle)
        have = {purpose: row[purpose] for purpose in TRAINING_PURPOSES}
        own = tuple(theme for theme, words in themes.items() if carries_theme(row["text"], words))
        for _ in range(max(lacking, 1 if named else 0)):
            purpose = min(TRAINING_PURPOSES, key=lambda each: have[each])
            have[purpose] += 1
            prompt_id = next(_new_ids(f"drafted-{row['arm']}-{row['principle_id']}", used))
            used.add(prompt_id)
            missing.append(MissingPrompt(principle, row["text"], purpose, prompt_id, own or (principle,)))
    return missing


def draft_from_words(
    wanted: MissingPrompt, seed: int, language: str = SOURCE, on_record: PolicyChoice | None = None
) -> Draft | None:
    """Draft a prompt by a template from the principle's words; None if it has no word to go by.

    Which template is used depends on the seed and on the id.

    Args:
        language: That principles which are not English, and their prompts, are in, as `de`; one of `TEMPLATES` unless a
            template is on record.
        on_record: The policy `prompt_template`.

    Raises:
        ConsultationError: The template on record has no place for the words, or there is none in this language.
    """
    if is_english(wanted.text):
        language = SOURCE  # pages may be in another language than the principles
    words = content_words(wanted.text, language)[:WORDS]
    if on_record is not None:
        if PLACE not in on_record.text:
            raise ConsultationError(
                f"Training ledger, row {on_record.decision_id}: {TEMPLATE} has no {PLACE}, where the words of the "
                "principle are to stand. Replace it with one that has."
            )
        template, drafted_by = on_record.text, f"prompt template {on_record.decision_id}"
    elif language in TEMPLATES:
        number = derived_seed(seed, "prompt template", wanted.prompt_id) % len(TEMPLATES[language])
        template, drafted_by = TEMPLATES[language][number], f"template {number}, version {VERSION}"
    else:
        raise ConsultationError(
            f"There are templates of prompts in {enumerated(sorted(TEMPLATES))} and none in {language}, the `language` "
            f"of consultation.yaml. Put one on record, with {PLACE} where the words of a principle stand: `ccai decide "
            f"training {TEMPLATE} 'policy: ... {PLACE} ...'`, or draft with --with-model."
        )
    if not words:
        return None
    with speaking(Language(language)):
        return Draft(wanted, template.replace(PLACE, enumerated(words)), drafted_by)


def draft_with_model(model: LanguageModel, wanted: list[MissingPrompt], seed: int) -> list[Draft | None]:
    """Let a language model write the prompts, in order; None where it wrote nothing that could be one.

    Of each response the first line is taken, without quotation marks around it. One that a spreadsheet would
    take for a formula is not.
    """
    asked: list[list[Turn]] = [[("user", REQUEST.replace("{principle}", each.text))] for each in wanted]
    responses = texts_of(
        model.generate(
            asked,
            new_tokens=NEW_TOKENS,
            temperature=1.0,
            seed=derived_seed(seed, "prompt drafts", *(each.prompt_id for each in wanted)),
        )
    )
    drafted_by = f"language model {model.name}, request version {VERSION}"
    drafts: list[Draft | None] = []
    for each, response in zip(wanted, responses, strict=True):
        first = next((line.strip(" \t\"“”'") for line in response.splitlines() if line.strip()), "")
        text = printable(first[:LONGEST])
        usable = bool(re.search(r"\w", text)) and not FORMULA.match(text)
        drafts.append(Draft(each, text, drafted_by) if usable else None)
    return drafts


def is_english(text: str) -> bool:
    """Whether a third of the words of a text are common English ones, as in no other language."""
    words = re.findall(r"[^\W\d_]+", text.casefold())
    return 3 * sum(word in ENGLISH_STOP_WORDS for word in words) >= len(words)


def content_words(text: str, language: str = SOURCE) -> list[str]:
    """Return the words of a principle that say what it is about, once each, in its order.

    English ones in lower case; of German the nouns, and of other languages the last long words, as they stand.
    """
    if language == "de":
        common = GERMAN_COMMON_NOUNS.split()
        return [word for word in dict.fromkeys(_GERMAN_NOUN.findall(text)) if word.casefold() not in common]
    if language != SOURCE:
        long = list(dict.fromkeys(re.findall(rf"[^\W\d_]{{{LONG_WORD},}}", text)))
        return long[-WORDS:]  # principles begin alike
    words = re.findall(r"[^\W\d_]{4,}", text.casefold())
    return [word for word in dict.fromkeys(words) if word not in ENGLISH_STOP_WORDS.union(COMMON_WORDS.split())]


@dataclass(frozen=True)
class WaitingDraft:
    """A row of the file of drafts, perhaps changed by a person since it was drafted.

    Attributes:
        where: File and line.
        cells: Cells by column name.
    """

    where: str
    cells: Mapping[str, str]

    @property
    def changed(self) -> bool:
        """Whether somebody has changed the text since it was drafted."""
        return text_digest(self.cells["text"]) != self.cells["draft_digest"]


def read_drafts(path: Path) -> dict[str, WaitingDraft]:
    """Read the drafts that wait, by id; none if there is no file.

    Raises:
        ConsultationError: Another header, a row with other cells, an empty or duplicate id; names the line.
    """
    if not path.exists():
        return {}
    first_line: dict[str, int] = {}
    drafts = {}
    for line, row in csv_rows(path, DRAFT_HEADER):
        where = f"{path}, line {line}"
        check_new_id(where, "prompt_id", row["prompt_id"], line, first_line)
        drafts[row["prompt_id"]] = WaitingDraft(where, row)
    return drafts


def add_drafts(path: Path, drafts: Sequence[Draft]) -> None:
    """Add drafts to the file, and make it if there is none.

    Raises:
        ConsultationError: The file cannot be read or written, or has one of the ids; it is then unchanged.
    """
    rows = [
        [
            each.wanted.prompt_id,
            each.text,
            each.wanted.purpose,
            " ".join(each.wanted.themes),
            each.wanted.principle,
            each.drafted_by,
            each.digest,
        ]
        for each in drafts
    ]
    with written_alone(path, lock_beside(path)):
        present = read_drafts(path)
        if known := [row[0] for row in rows if row[0] in present]:
            raise ConsultationError(f"{present[known[0]].where}: `prompt_id` {known[0]} is there already.")
        old = path.read_bytes() if path.exists() else _appended(b"", [DRAFT_HEADER])
        write_file(path, _appended(old, rows))


def checked_drafts(
    path: Path, ids: Collection[str], themes: Path, words: Mapping[str, tuple[str, ...]], arms: Collection[str]
) -> list[WaitingDraft]:
    """Return the drafts with these ids, each of them fit for the prompt database.

    Args:
        path: The file of drafts.
        ids: Which ones.
        themes: The file that the themes are in, for messages.
        words: Words of each theme.
        arms: Names of the arms.

    Raises:
        ConsultationError: No such draft, or one without text, with an unknown purpose or theme, or with a text that
            a spreadsheet would compute.
    """
    drafts = read_drafts(path)
    if unknown := [each for each in ids if each not in drafts]:
        waiting = f"there are {', '.join(sorted(drafts)[:20])}" if drafts else "no draft waits there"
        raise ConsultationError(f"{path}: no draft {', '.join(unknown)}; {waiting}.")
    chosen = [drafts[each] for each in dict.fromkeys(ids)]
    for draft in chosen:
        check_prompt(draft.where, draft.cells, themes, words, arms)
        if FORMULA.match(draft.cells["text"]):
            raise ConsultationError(
                f"{draft.where}: the text begins like a formula, which spreadsheets would compute; begin with a letter."
            )
    return chosen


def new_prompts(path: Path, drafts: Iterable[WaitingDraft]) -> list[list[str]]:
    """Return the rows that accepting drafts adds to the prompt database: all but those it has word for word.

    Raises:
        ConsultationError: The file cannot be read, or another prompt has the id.
    """
    present = {row["prompt_id"]: row for _, row in csv_rows(path, PROMPT_HEADER)}
    rows = []
    for draft in drafts:
        cells = {name: draft.cells[name] for name in PROMPT_HEADER}
        known = present.get(cells["prompt_id"])
        if known is not None and known != cells:
            raise ConsultationError(
                f"{path}: another prompt has the id {cells['prompt_id']}. Give the draft another one ({draft.where})."
            )
        if known is None:
            rows.append(list(cells.values()))
    return rows


def add_prompts(path: Path, drafts: Iterable[WaitingDraft]) -> list[str]:
    """Add accepted drafts to the prompt database and return the ids that were not there yet.

    Raises:
        ConsultationError: As `new_prompts`, or the file cannot be written; it is then unchanged.
    """
    with written_alone(path, lock_beside(path)):
        rows = new_prompts(path, drafts)
        if rows:
            write_file(path, _appended(path.read_bytes(), rows))
    return [row[0] for row in rows]


def remove_drafts(path: Path, ids: Collection[str]) -> None:
    """Take drafts out of the file; the other rows are kept byte for byte.

    Raises:
        ConsultationError: The file cannot be read or written; it is then unchanged.
    """
    with written_alone(path, lock_beside(path)):
        gone = {each for each in read_drafts(path) if each in ids}
        kept = [record for key, record in _records(path.read_bytes().decode()) if key not in gone]
        write_file(path, "".join(kept))


def _resolved(named: Collection[str], coverage: pl.DataFrame) -> set[str]:
    found = set()
    for name in named:
        own = [
            f"{arm}/{key}"
            for arm, key in coverage.select("arm", "principle_id").iter_rows()
            if name in (key, f"{arm}/{key}")
        ]
        if not own:
            raise ConsultationError(f"--principle {printable(name)}: no constitution has this principle.")
        if len(own) > 1:
            raise ConsultationError(f"--principle {printable(name)}: name one of {', '.join(own)}.")
        found.add(own[0])
    return found


def _new_ids(stem: str, taken: Collection[str]) -> Iterator[str]:
    number = 0
    while True:
        number += 1
        if f"{stem}-{number}" not in taken:
            yield f"{stem}-{number}"


def _records(content: str) -> Iterator[tuple[str, str]]:
    """Yield the first cell of each record of a CSV, and the record as it is written, over several lines perhaps."""
    lines = list(io.StringIO(content, newline=""))
    reader, read = csv.reader(lines), 0
    for cells in reader:
        yield cells[0] if cells else "", "".join(lines[read : reader.line_num])
        read = reader.line_num


def _appended(old: bytes, rows: Iterable[Sequence[str]]) -> bytes:
    """Add rows to the content of a CSV, with the line ends it has."""
    end = "\r\n" if b"\r\n" in old else "\n"
    buffer = io.StringIO(newline="")
    csv.writer(buffer, lineterminator=end).writerows(rows)
    missing = b"" if old.endswith(b"\n") or not old else end.encode()
    return old + missing + buffer.getvalue().encode()
