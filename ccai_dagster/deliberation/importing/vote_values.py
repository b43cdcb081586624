"""What a vote cell means: +1 agrees, -1 disagrees, 0 passes, and so do words in several languages.

A scale or a slider means what the consultation says (`vote_values` in consultation.yaml): which values or ranges agree,
disagree, pass, or are no vote. Without that a table in which 0 and 1 occur and -1 never does is refused: in a tool that
asks for yes or no, 0 is a disagreement, in Polis a pass, and no file says which.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

import polars as pl

from ccai_dagster.core.errors import ConsultationError
from ccai_dagster.deliberation.importing.cells import MISSING, whole_numbers
from ccai_dagster.deliberation.importing.columns import SourceFile

MEANINGS: dict[str, int | None] = {"agree": 1, "disagree": -1, "pass": 0, "no vote": None}
LEAST_OF_A_VALUE = 3
"""Times from which on a value that is not understood is no slip: what it means has to be said."""
LEAST_WITHOUT_DISAGREEMENT = 100
"""Votes of 1 and 0 without a -1 that are refused: where one vote in twenty disagrees, less than in any public export,
so many have none in six of a thousand cases."""
RANGE = re.compile(r"(-?\d+(?:[.,]\d+)?)\.\.(-?\d+(?:[.,]\d+)?)")
NUMBER = re.compile(r"-?\d+(?:[.,]\d+)?")

WORDS = {
    # English
    1: "agree, strongly agree, somewhat agree, yes, y, for, in favour, in favor, support, true, upvote, like"
    # German
    ", stimme zu, stimme voll zu, stimme voll und ganz zu, stimme eher zu, zustimmung, dafür, ja, einverstanden"
    # French
    ", d'accord, oui, pour, je suis d'accord, en accord, tout à fait d'accord, plutôt d'accord"
    # Spanish, Italian, Portuguese, Catalan
    ", de acuerdo, sí, si, a favor, sì, d'accordo, sono d'accordo, son d'accordo, accordo, favorevole"
    ", concordo, sim, d'acord"
    # Dutch, Danish, Norwegian, Swedish, Finnish
    ", eens, mee eens, enig, enige, håller med, instämmer, samaa mieltä, kyllä"
    # Polish, Czech, Ukrainian, Russian, Turkish
    ", zgadzam się, tak, souhlasím, ano, згоден, згодна, так, согласен, согласна, да, katılıyorum, evet"
    # Chinese, Japanese, Korean, Arabic
    ", 同意, 賛成, 동의, 찬성, أوافق, موافق, موافقة, أتفق, نعم, 👍, ✓, ✔, ✅",
    -1: "disagree, strongly disagree, somewhat disagree, no, n, against, oppose, false, downvote, dislike"
    ", stimme nicht zu, stimme gar nicht zu, stimme überhaupt nicht zu, stimme eher nicht zu, ablehnung, dagegen"
    ", nein, nicht einverstanden"
    ", pas d'accord, non, contre, je ne suis pas d'accord, en désaccord, pas du tout d'accord, plutôt pas d'accord"
    ", en desacuerdo, desacuerdo, en contra, in disaccordo, non sono d'accordo, non d'accordo, non la penso così"
    ", contrario, discordo, não, contra, desacord, en desacord"
    ", oneens, niet eens, mee oneens, nee, uenig, uenige, nej, nei, håller inte med, instämmer inte, eri mieltä, ei"
    ", nie zgadzam się, nie, nesouhlasím, ne, не згоден, не згодна, ні, не согласен, не согласна, нет"
    ", katılmıyorum, hayır"
    ", 不同意, 反對, 反对, 反対, 반대, لا أوافق, غير موافق, غير موافقة, أعارض, لا أتفق, لا, 👎, ✗, ✘, ❌, ✖",
    0: "pass, skip, skipped, unsure, neutral, undecided, abstain, don't know, not sure, neither, no opinion"
    ", neither agree nor disagree"
    ", enthaltung, neutral, unsicher, unentschieden, weiß nicht, weiss nicht, überspringen, keine meinung, egal"
    ", passer, passe, je passe, neutre, je ne sais pas, sans avis, sans opinion, pas d'opinion, incertain, abstention"
    ", indécis"
    ", paso, pasar, neutro, no sé, no estoy seguro, passo, non so, neutrale, incerto, senza opinione"
    ", nessuna opinione, passar, não sei, indeciso"
    ", neutraal, overslaan, weet niet, geen mening, usikker, hverken eller, vet ikke, ved ikke, osäker, vet ej"
    ", hoppa över, ohita, en osaa sanoa"
    ", pomiń, pomijam, niepewny, nie mam zdania, nie wiem"
    ", přeskočit, nevím, пропустити, не знаю, пропустить, воздержусь, geç, kararsızım, bilmiyorum"
    ", 🤷, 略過, 跳過, 跳过, 不確定, 不确定, パス, わからない, 패스, 모름"
    ", تخطي, تجاوز, تجاوز التصويت, محايد, غير متأكد, غير متأكدة, لا أعرف, لا رأي, بدون رأي",
}
MEANING_OF_WORDS = {word: vote for vote, words in WORDS.items() for word in words.split(", ")}
"""Words by what they mean, in lower case, with straight apostrophes and without a full stop."""


@dataclass(frozen=True)
class VoteColumn:
    """A column of votes as it was read.

    Attributes:
        votes: -1, 0, 1, another number that is no vote, or null where the cell is empty, no vote or not understood.
        empty: Cells that are empty, marked as missing or said to be no vote.
        worded: Whether words or `vote_values` say what agrees, so that the sign is told by them.
    """

    votes: pl.Series
    empty: pl.Series
    worded: bool

    @property
    def cast(self) -> pl.Series:
        """Whether a cell has a vote that is understood."""
        return self.votes.is_in([-1, 0, 1]).fill_null(False) & ~self.empty


def vote_column(cells: pl.Series, values: Mapping[str, str]) -> VoteColumn:
    """Read a column of votes.

    Args:
        cells: Text.
        values: `vote_values` of the consultation, empty if every cell means what it says.
    """
    number = cells.cast(pl.Int64, strict=False)
    if not values and number.null_count() == cells.null_count():
        return VoteColumn(number, cells.is_null(), False)
    distinct = cells.unique().drop_nulls()
    read = [_meaning(cell, values) for cell in distinct.to_list()]
    known = pl.DataFrame(
        {"cell": distinct, "vote": [vote for vote, _ in read], "none": [none for _, none in read]},
        schema={"cell": pl.String, "vote": pl.Int64, "none": pl.Boolean},
    )
    empty_means = _meaning("", values)
    joined = pl.DataFrame({"cell": cells}).join(known, on="cell", how="left", maintain_order="left")
    missing = cells.is_null()
    votes, none = joined["vote"], joined["none"].fill_null(False) | missing
    if empty_means[0] is not None:
        votes, none = votes.set(missing, empty_means[0]), none & ~missing
    worded = bool(values) or any(_of_word(plain_word(cell)) is not None for cell in distinct.to_list())
    return VoteColumn(votes, none, worded)


def _meaning(cell: str, values: Mapping[str, str]) -> tuple[int | None, bool]:
    """What a cell means as a number, and whether it is no vote at all."""
    word = plain_word(cell)
    for value, meaning in values.items():
        if _fits(word, value):
            return MEANINGS[meaning], MEANINGS[meaning] is None
    if not word or word in MISSING:
        return None, True
    if (vote := _of_word(word)) is not None:
        return vote, False
    number = whole_numbers(pl.Series([word]))[0]
    return (None if values else number), False


def _of_word(word: str) -> int | None:
    """What a word means, or two of one meaning, as `Pass / Unsure`."""
    meanings = {
        MEANING_OF_WORDS.get(part.strip()) for part in ([word] if word in MEANING_OF_WORDS else word.split("/"))
    }
    return meanings.pop() if len(meanings) == 1 else None


def recurring(cells: pl.Series, votes: pl.Series) -> dict[str, int]:
    """Return the values that are not understood and stand there three times or more, with how often they do.

    Args:
        cells: Text.
        votes: What was read of each, null or another number than -1, 0 and 1 where it is no vote.
    """
    unread = cells.filter(~votes.is_in([-1, 0, 1]).fill_null(False)).drop_nulls().value_counts(sort=True)
    number: Counter[str] = Counter()
    for cell, count in unread.iter_rows():
        word = plain_word(cell)
        if any(each.isalnum() for each in word):
            number[word] += count
    return {word: count for word, count in number.most_common() if count >= LEAST_OF_A_VALUE}


def _fits(word: str, value: str) -> bool:
    """Whether a cell is a value of `vote_values`: the same word or number, or a number within the range."""
    if span := RANGE.fullmatch(value.strip()):
        return NUMBER.fullmatch(word) is not None and _number(span[1]) <= _number(word) <= _number(span[2])
    if NUMBER.fullmatch(word) and NUMBER.fullmatch(value.strip()):
        return _number(word) == _number(value)
    return word == plain_word(value)


def _number(text: str) -> float:
    return float(text.strip().replace(",", "."))


def plain_word(cell: str) -> str:
    """Return a cell as the table of words has it."""
    bare = re.sub("[\ufe0f\U0001f3fb-\U0001f3ff]|\u200d.*", "", cell)  # colours and genders of pictures
    return " ".join(bare.replace("’", "'").lower().split()).rstrip(".!")


def check_coding(file: SourceFile, votes: pl.Series, values: Mapping[str, str]) -> None:
    """Check that 0 can be a pass.

    Raises:
        ConsultationError: There are 1 and 0 in number, and no -1.
    """
    if values:
        return
    agree, passed = int((votes == 1).sum()), int((votes == 0).sum())
    if not (agree and passed) or agree + passed < LEAST_WITHOUT_DISAGREEMENT or (votes == -1).any():
        return
    raise ConsultationError(
        f"{file.place}: {agree:,} votes are 1, {passed:,} are 0 and none is -1. Where people answer yes or no, 0 is a "
        "disagreement; in Polis it is a pass; the file does not say which. " + how_to_say('"1": agree, "0": disagree')
    )


def how_to_say(example: str) -> str:
    """Say how a consultation says what its values mean."""
    option = example.replace(', "', ',"').replace('": ', "=").replace('"', "")
    return (
        f"Say what each value means: `vote_values: {{{example}}}` in consultation.yaml, or --vote-values "
        f'"{option}" for `ccai new`. Meanings: {", ".join(MEANINGS)}. A value is a word, a number or a range as 1..2.'
    )


def parsed_values(text: str) -> dict[str, str]:
    """Return the values of an option like `1..2=disagree,3=pass,4..5=agree`.

    Raises:
        ConsultationError: It has another form, or an unknown meaning.
    """
    found, begun = {}, ""
    for part in text.split(","):
        value, sign, meaning = (begun + part).rpartition("=")
        if sign and meaning.strip() in MEANINGS:
            found[value.strip()], begun = meaning.strip(), ""
        else:
            begun += f"{part},"  # a comma in a value
    if begun:
        raise ConsultationError(
            f"--vote-values {text}: {begun[:-1]!r} is not VALUE=MEANING. " + how_to_say('"1": agree, "0": disagree')
        )
    return found
