"""Which formats of evaluation sets there are, and how a set is read and drawn from.

How the files of one public set are read is in the module of its name; what an item means, in `items`; running them
belongs to `evaluation.benchmarks`.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from fractions import Fraction
from pathlib import Path

from ccai_dagster.consultation.folder import EvaluationSet
from ccai_dagster.core.draws import derived_seed
from ccai_dagster.core.errors import ConsultationError
from ccai_dagster.evaluation.sets import bbq, gsm8k, mmlu, opinion_qa, political_even_handedness, xstest
from ccai_dagster.evaluation.sets.items import (
    Item,
    MultipleChoiceItem,
    NumericAnswerItem,
    OverRefusalItem,
    SocialBiasItem,
)
from ccai_dagster.evaluation.sets.reading import Asking, Format, read_json_lines


def _json_lines(name: str, kind: type[Item]) -> Format:
    def read(path: Path, asking: Asking) -> list[Item]:
        return read_json_lines(path, kind, name)

    return Format(read)


FORMATS: dict[str, Format] = {
    "multiple_choice": _json_lines("multiple_choice", MultipleChoiceItem),
    "numeric_answer": _json_lines("numeric_answer", NumericAnswerItem),
    "social_bias": _json_lines("social_bias", SocialBiasItem),
    "over_refusal": _json_lines("over_refusal", OverRefusalItem),
    "bbq": Format(bbq.read_bbq),
    "mmlu": Format(
        mmlu.read_mmlu, mmlu.read_mmlu_from_hub, shots=5, most_shots=mmlu.MOST_SHOTS, chat=False, plain=True
    ),
    "gsm8k": Format(
        gsm8k.read_gsm8k, gsm8k.read_gsm8k_from_hub, shots=5, most_shots=gsm8k.MOST_SHOTS, chat=False, plain=True
    ),
    "opinion_qa": Format(opinion_qa.read_opinion_qa, plain=True),
    "xstest": Format(xstest.read_xstest, xstest.read_xstest_from_hub),
    "political_even_handedness": Format(political_even_handedness.read_political_even_handedness),
}
"""How each format that `consultation.yaml` may name is read; a public set is named after itself only."""
OVER_REFUSAL_FORMATS = ("over_refusal", "xstest")
"""Formats whose items are prompts marked as safe or not."""


def read_evaluation_set(set_: EvaluationSet) -> list[Item]:
    """Read and check every item of a set.

    Returns:
        The items, sorted by id.

    Raises:
        ConsultationError: The set is missing, empty or malformed, an id occurs twice, or it is to be asked in a
            way its format does not have. Names place and remedy.
    """
    asking = asking_of(set_)
    form = FORMATS[set_.format]
    if set_.hub is not None:
        if form.read_hub is None:
            raise ConsultationError(
                f"{set_.place}: the format {set_.format} is read from files only. Fetch them and give their "
                "`path` instead of `hub`."
            )
        items = form.read_hub(set_.hub, asking)
    elif set_.path is not None:
        if not set_.path.exists():
            raise ConsultationError(f"{set_.path}: not readable (there is nothing). Correct its name or add it.")
        items = form.read(set_.path, asking)
    else:
        raise ValueError("an evaluation set has a path or a dataset of the hub")
    if not items:
        raise ConsultationError(f"{set_.place}: no items. Add some, or take the benchmark out of consultation.yaml.")
    by_id = {item.id: item for item in items}
    if len(by_id) < len(items):
        twice = Counter(item.id for item in items).most_common(1)[0][0]
        raise ConsultationError(f"{set_.place}: the item {twice!r} occurs twice. Remove one of the two.")
    return [by_id[name] for name in sorted(by_id)]


def asking_of(set_: EvaluationSet) -> Asking:
    """Return how a set is asked: as the consultation says, else as its format does.

    Raises:
        ConsultationError: There is no such format, or it has no such way to be asked.
    """
    form = FORMATS.get(set_.format)
    if form is None:
        raise ConsultationError(f"{set_.place}: there is no format {set_.format!r}; there are {', '.join(FORMATS)}.")
    shots = form.shots if set_.shots is None else set_.shots
    if shots > form.most_shots:
        raise ConsultationError(
            f"{set_.place}: {shots} `shots` are asked for, the format {set_.format} has at most {form.most_shots}."
        )
    if set_.prompt == "plain" and not form.plain:
        raise ConsultationError(
            f"{set_.place}: the format {set_.format} is asked in the chat template only. Take `prompt` out."
        )
    return Asking(shots, form.chat if set_.prompt is None else set_.prompt == "chat")


def safe_prompts(sets: Mapping[str, EvaluationSet]) -> dict[str, str]:
    """Return the prompts of over-refusal sets that should be answered, by `set:id`.

    Args:
        sets: By name, of `OVER_REFUSAL_FORMATS`; the errors are those of `read_evaluation_set`.
    """
    return {
        f"{name}:{item.id}": item.prompt
        for name, set_ in sorted(sets.items())
        for item in read_evaluation_set(set_)
        if isinstance(item, OverRefusalItem) and item.safe
    }


def sample_items(items: Sequence[Item], n: int | None, seed: int) -> list[Item]:
    """Draw a sample that holds each stratum in proportion; the same for every model.

    The draw rests only on ids and seed: neither the order of the file nor the model matters, and adding an
    item changes the sample by few others. Seats of the strata by largest remainder.

    Args:
        items: Items with unique ids.
        n: How many; None or more than there are takes all.

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
