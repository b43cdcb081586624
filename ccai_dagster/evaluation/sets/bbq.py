"""BBQ (Parrish et al. 2022): which answer a model gives when a question about two people invites a stereotype.

Asked with the prompt of Ganguli et al. 2023 (The Capacity for Moral Self-Correction, table 1), which the paper on
Collective Constitutional AI used too: three letters, of which one says that it cannot be told. Scores are those
of `SocialBiasItem`; their ratio and intervals are made in `evaluation.scores`.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from ccai_dagster.core.errors import ConsultationError
from ccai_dagster.evaluation.sets.items import Item, SocialBiasItem
from ccai_dagster.evaluation.sets.reading import Asking, built, csv_rows, json_rows

TARGETS = "target_loc.csv"
COLUMNS = ("category", "example_id", "question_index", "target_loc", "label_type")
CONDITIONS = {"ambig": "ambiguous", "disambig": "disambiguated"}
REGENERATED = "regenerated"
"""Name of a folder whose files were made from BBQ's templates anew: other names of people than the published."""
ANSWERS = ("ans0", "ans1", "ans2")


class BBQItem(SocialBiasItem):
    """An item of BBQ, in the words of Ganguli et al."""

    @property
    def letters(self) -> list[str]:
        """Small letters."""
        return ["a", "b", "c"]

    def question_text(self) -> str:
        """Return context, question, and the three choices in one line."""
        options = " ".join(f"({letter}) {text}" for letter, text in zip(self.letters, self.choices, strict=True))
        return f"{self.context}\n{self.question}\n\n{options}"


@dataclass(frozen=True)
class BBQSet:
    """The items of a folder.

    Attributes:
        items: Those with a target position.
        left_out: How many have none, by category.
    """

    items: list[BBQItem]
    left_out: dict[str, int]


@dataclass(frozen=True)
class Target:
    """What the authors recorded of an item.

    Attributes:
        template: Its question index.
        stereotyped: Index of the stereotype-consistent answer; None where it cannot be told which one it is.
        names: Whether people are told apart by their names only.
    """

    template: str
    stereotyped: int | None
    names: bool


def read_bbq(folder: Path, asking: Asking) -> list[Item]:
    """Read a folder of BBQ as a benchmark; how many items are left out is logged.

    Raises:
        ConsultationError: As `read_bbq_set`.
    """
    found = read_bbq_set(folder)
    if found.left_out:
        parts = ", ".join(f"{category} {n}" for category, n in sorted(found.left_out.items()))
        logging.getLogger(__name__).warning(
            "%s: %d items without a target position are left out: %s", folder, sum(found.left_out.values()), parts
        )
    return list(found.items)


def read_bbq_set(folder: Path) -> BBQSet:
    """Read every CATEGORY.jsonl below a folder, with the target positions of all.

    The target position (`target_loc` of the authors' metadata, analysis_scripts/BBQ_results_metadata.R) is the
    stereotype-consistent answer to the question as it is asked: already turned round for non-negative questions,
    so it is taken as it stands. Items without one are left out, as in the authors' analysis. Items with proper
    names are a category of their own, as in the paper's figures, and so are those of regenerated files.
    Templates, the category's question indices, are the clusters.

    Args:
        folder: Holds target_loc.csv, with the columns `COLUMNS`, and the categories, themselves or in folders;
            those in a folder `regenerated` are marked. Any of them may be packed as `.gz`.

    Raises:
        ConsultationError: A file is missing or malformed, or items and target positions do not belong together.
    """
    if not folder.is_dir():
        raise ConsultationError(f"{folder}: a folder with {TARGETS} and a file a category is expected. Correct `path`.")
    targets = _targets(folder)
    files = sorted(path for path in folder.rglob("*.jsonl*") if path.suffix in (".jsonl", ".gz"))
    if not files:
        raise ConsultationError(f"{folder}: no CATEGORY.jsonl. Give the folder that holds the categories.")
    items: list[BBQItem] = []
    left_out: Counter[str] = Counter()
    for path in files:
        category, regenerated = path.name.split(".")[0], path.parent.name == REGENERATED
        rows = json_rows(path)
        if category not in targets:
            raise ConsultationError(
                f"{path}: {TARGETS} has no target positions of a category {category!r}; it has "
                f"{', '.join(sorted(targets))}. Name the file after its category."
            )
        made = built(rows, partial(_item, targets[category], category, regenerated))
        items += [each for each in made if each is not None]
        if missing := sum(each is None for each in made):
            left_out[category] += missing
    return BBQSet(items, dict(left_out))


def _targets(folder: Path) -> dict[str, dict[str, Target]]:
    """Return the target of each item, by category and id."""
    files = [path for path in (folder / TARGETS, folder / f"{TARGETS}.gz") if path.is_file()]
    if not files:
        raise ConsultationError(f"{folder / TARGETS}: not found. Add the target positions of the items.")
    targets: dict[str, dict[str, Target]] = {}
    rows = csv_rows(files[0], COLUMNS)
    for row, target in zip(rows, built(rows, _target), strict=True):
        own = targets.setdefault(row.fields["category"], {})
        if row.fields["example_id"] in own:
            raise ConsultationError(
                f"{row.place}: {row.fields['category']} {row.fields['example_id']} is there twice. Remove one."
            )
        own[row.fields["example_id"]] = target
    return targets


def _target(at: int, fields: Mapping[str, Any]) -> Target:
    position, kind = fields["target_loc"].strip(), fields["label_type"]
    if position not in ("", "NA", "0", "1", "2"):
        raise ValueError(f"target_loc {position!r} is neither 0, 1, 2 nor empty")
    if kind not in ("label", "name"):
        raise ValueError(f"label_type {kind!r} is neither label nor name")
    known = int(position) if position in ("0", "1", "2") else None
    return Target(fields["question_index"], known, kind == "name")


def _item(
    targets: Mapping[str, Target], category: str, regenerated: bool, at: int, fields: Mapping[str, Any]
) -> BBQItem | None:
    """Return the item of a row; None if it has no target position."""
    if fields["category"] != category:
        raise ValueError(f"its category is {fields['category']!r}, the file's name says {category!r}")
    target = targets.get(str(fields["example_id"]))
    if target is None or target.stereotyped is None:
        return None
    if target.template != str(fields["question_index"]):
        raise ValueError(
            f"question_index {fields['question_index']} is {target.template} in {TARGETS}; the two files are of "
            "different versions of BBQ"
        )
    unknown = [at for at, name in enumerate(ANSWERS) if fields["answer_info"][name][1] == "unknown"]
    if len(unknown) != 1:
        raise ValueError(f"{len(unknown)} of its answers are marked unknown, one is needed")
    if fields["context_condition"] not in CONDITIONS:
        raise ValueError(f"context_condition {fields['context_condition']!r} is neither ambig nor disambig")
    return BBQItem(
        id=f"{category}/{int(fields['example_id']):05}",
        category=_category(category, target.names, regenerated),
        template=f"{category}/{target.template}",
        context=fields["context"],
        question=fields["question"],
        choices=tuple(fields[name] for name in ANSWERS),
        answer=fields["label"],
        unknown=unknown[0],
        stereotyped=target.stereotyped,
        condition=CONDITIONS[fields["context_condition"]],
    )


def _category(category: str, names: bool, regenerated: bool) -> str:
    marks = [word for word, holds in (("names", names), (REGENERATED, regenerated)) if holds]
    return f"{category} ({', '.join(marks)})" if marks else category
