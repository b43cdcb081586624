"""What anybody has of Collective Constitutional AI: a clone of the authors' repository, and the paper."""

from __future__ import annotations

import csv
import shutil
from pathlib import Path

PUBLIC_FILES = ("comments.csv", "participants-votes.csv", "ids-to-toss.csv", "clean_votes.csv", "clean_comments.csv")


def clone(test_data: Path, folder: Path) -> Path:
    """Make a folder with the five public files and nothing else."""
    folder.mkdir()
    for name in PUBLIC_FILES:
        shutil.copyfile(test_data / "ccai" / name, folder / name)
    return folder


def paper(test_data: Path, path: Path) -> Path:
    """Save the published texts as somebody would who copied the appendix: numbered, in pages with a header."""
    columns = {
        "aggregation.csv": "aggregated_text",
        "public_constitution.csv": "text",
        "standard_constitution.csv": "text",
        "qualitative_prompts.csv": "prompt",
    }
    pages = []
    for name, column in columns.items():
        with (test_data / "ccai" / name).open(newline="", encoding="utf-8") as handle:
            items = [f"({number}) {row[column]}" for number, row in enumerate(csv.DictReader(handle), start=1)]
        pages += ["\n".join(["A Paper and Its Authors", *items[at : at + 20], "7"]) for at in range(0, len(items), 20)]
    path.write_text("\f".join(pages), encoding="utf-8")
    return path
