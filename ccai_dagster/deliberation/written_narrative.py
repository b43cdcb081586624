"""What a language model makes of the sentences of the narrative, refused where it says what they do not.

The model is given the sentences on one group or topic and nothing else, and retells them. Each of its sentences must
cite a statement that it was given; every number in it must stand in a given sentence on one of the statements it cites,
and every quotation in a given sentence. What breaks this is not shown. That a number stands with the right group, and
that the rest is said fairly, no rule here can tell: readers are told who wrote it and what from.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import polars as pl

from ccai_dagster.contracts import WRITTEN_NARRATIVE
from ccai_dagster.core.text import listed, readable

LONGEST = 1_200
"""Characters; more than a few sentences is no summary of a few sentences."""
NEW_TOKENS = 300
TASK = (
    "Retell the following sentences about what a public thinks in one short paragraph of plain English. Say nothing "
    "that is not in them, and give no opinion. Behind each of your sentences name the statement it rests on as "
    "(statement N). Write numbers as they stand there, in digits, and quote only what is quoted there.\n\n"
)
_NUMBER = re.compile(r"\d+(?:[.,]\d+)*\s?%?")
_WORDS = re.compile(
    r"\b(two|three|four|five|six|seven|eight|nine|ten|eleven|twelve|\w+teen|\w+ty-\w+|twenty|thirty|forty|fifty|sixty|"
    r"seventy|eighty|ninety|hundreds?|thousands?|millions?|half|halves|thirds?|quarters?|percent|twice|dozens?)\b",
    re.IGNORECASE,
)
"""Numbers in words, which the given sentences do not have."""
_CITED = re.compile(r"\bstatement\s+\d+|\bstatements\s+\d+(?:(?:\s*,\s*|\s*,?\s+and\s+)\d+)*", re.IGNORECASE)
_QUOTED = re.compile(r"“([^”]*)”|\"([^\"]*)\"")
_END = re.compile(r"(?<=[.!?])\s+(?=[^\s(])")


@dataclass(frozen=True)
class Told:
    """The sentences of the narrative on one group or topic.

    Attributes:
        scope: `group` or `topic`.
        facts: Each sentence with the statements it rests on.
    """

    scope: str
    scope_id: int
    about: str
    facts: Sequence[tuple[str, Sequence[int]]]

    @property
    def question(self) -> str:
        """What the model is asked."""
        return TASK + "\n".join(f"- {sentence}" for sentence, _ in self.facts)


def told_of(narrative: pl.DataFrame) -> Iterator[Told]:
    """Yield the groups and topics that the narrative has sentences on, in its order.

    Args:
        narrative: NARRATIVE.
    """
    ordered = narrative.sort("scope", "scope_id", "place")
    for (scope, key, about), own in ordered.group_by("scope", "scope_id", "about", maintain_order=True):
        yield Told(str(scope), int(str(key)), str(about), list(own.select("sentence", "statement_ids").iter_rows()))


def written_narrative(told: Sequence[Told], answers: Sequence[str], model: str) -> pl.DataFrame:
    """Return the table `written_narrative`: what the model wrote where nothing speaks against it.

    Args:
        answers: Of the model, one for each.
        model: Name of the model, for readers.
    """
    rows = []
    for each, answer in zip(told, answers, strict=True):
        text = " ".join(readable(answer, LONGEST + 1).split())
        refused = refusal(text, each.facts)
        rows.append(
            {
                "scope": each.scope,
                "scope_id": each.scope_id,
                "about": each.about,
                "text": None if refused else text,
                "refused": refused,
                "statement_ids": [] if refused else sorted({key for key in _cited(text)}),
                "given": [sentence for sentence, _ in each.facts],
                "model": model,
            }
        )
    return WRITTEN_NARRATIVE.build(rows)


def refusal(text: str, facts: Sequence[tuple[str, Sequence[int]]]) -> str | None:
    """Say why a text cannot be shown; None if nothing speaks against it.

    Args:
        facts: What the model was given, see `Told`.
    """
    if not text:
        return "it wrote nothing"
    if len(text) > LONGEST:
        return f"it wrote more than {LONGEST:,} characters"
    given = " ".join(sentence for sentence, _ in facts)
    quotations = ["".join(each) for each in _QUOTED.findall(text)]
    if invented := [each for each in quotations if each.strip(" .,") not in given]:
        return f"it quotes what it was not given: {invented[0]}"
    bare = _QUOTED.sub("“”", text)
    if '"' in bare or "“" in bare.replace("“”", "") or "”" in bare.replace("“”", ""):
        return "a quotation does not end"
    for sentence in _END.split(bare):
        if problem := _problem(sentence, facts):
            return f"{problem}: {sentence}"
    return None


def _problem(sentence: str, facts: Sequence[tuple[str, Sequence[int]]]) -> str | None:
    """What speaks against a sentence whose quotations were taken out."""
    cited = _cited(sentence)
    if not cited:
        return "a sentence cites no statement"
    if unknown := sorted(cited - {key for _, own in facts for key in own}):
        return f"it cites statement {listed(unknown)}, which it was not given"
    resting = " ".join(fact for fact, own in facts if cited & set(own))
    known = {_plain(each) for each in _NUMBER.findall(resting)}
    if invented := [each for each in _NUMBER.findall(_CITED.sub("", sentence)) if _plain(each) not in known]:
        return f"it has the number {invented[0].strip()}, which is not told of what it cites"
    if words := _WORDS.findall(sentence):
        return f"it has a number in words ({words[0]}), which cannot be checked"
    return None


def _cited(text: str) -> set[int]:
    return {int(key) for keys in _CITED.findall(_QUOTED.sub("", text)) for key in re.findall(r"\d+", keys)}


def _plain(number: str) -> str:
    return re.sub(r"[\s,]", "", number)
