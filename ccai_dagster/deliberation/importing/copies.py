"""Copying an export into a consultation folder, without personal codes."""

from __future__ import annotations

import shutil
from pathlib import Path

from ccai_dagster.deliberation.importing.csv_columns import read_header, read_text_csv
from ccai_dagster.deliberation.importing.files import ROLES, SourceFile, VoteFiles

PERSONAL_CODE = "xid"


def copy_without_codes(found: VoteFiles, folder: Path) -> None:
    """Copy the files that an import reads, under the names that tell what they are for.

    Everything is copied byte for byte, except a matrix with a column of personal codes, which is written
    without it.

    Args:
        folder: Made.
    """
    folder.mkdir(parents=True)
    for role, file in found.files.items():
        path = folder / _plain_name(role, file)
        if role == "matrix" and PERSONAL_CODE in read_header(file, {}):
            read_text_csv(file, wanted=lambda name: name != PERSONAL_CODE).write_csv(path)
        else:
            with file.open() as source, path.open("wb") as target:
                shutil.copyfileobj(source, target)


def _plain_name(role: str, file: SourceFile) -> str:
    """The shortest name a file of this role and kind may have: without what a download put before it."""
    ending = ".parquet" if file.name.lower().endswith(".parquet") else ".csv"
    names = [name for name, each in ROLES.items() if each == role and name.endswith(ending)]
    return next((name for name in names if file.name.lower().endswith(name)), names[0])
