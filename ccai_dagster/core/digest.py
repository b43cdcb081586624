"""Content digests: the data version of everything the graph makes.

A digest is the full hexadecimal SHA-256. A table's digest can be recomputed with any tool: it is the
SHA-256 of a first line with the column names and types, followed by the table as JSON lines.
"""

from __future__ import annotations

import hashlib
import io
import json
from pathlib import Path

import polars as pl

from ccai_dagster.core.errors import ConsultationError

SHORT = 12
"""Characters of a digest that are shown to people; files keep all 64."""
AT_ONCE = 100_000
"""Rows that are written as JSON lines before they are digested, which bounds the memory it takes."""


def text_digest(text: str) -> str:
    """Return the SHA-256 of the UTF-8 bytes of `text`, in hexadecimal."""
    return hashlib.sha256(text.encode()).hexdigest()


def value_digest(value: object) -> str:
    """Return the digest of a JSON-serialisable value, independent of the order of its keys."""
    return text_digest(json.dumps(value, sort_keys=True, ensure_ascii=False, separators=(",", ":")))


def table_digest(table: pl.DataFrame) -> str:
    """Return the digest of a table's columns, types and rows, in the order given.

    JSON has no NaN and no infinity, and all of them would have the digest of a missing value.

    Raises:
        ConsultationError: A number is not finite; names the column.
    """
    checked = [finite(name, dtype).all() for name, dtype in table.schema.items() if holds_floats(dtype)]
    for name, whole in table.select(checked).to_dicts()[0].items() if checked else ():
        if not whole:
            raise ConsultationError(
                f"The column `{name}` holds a number that is not finite, so the table has no digest. Correct or leave "
                "out what it was computed from."
            )
    schema = json.dumps([[name, str(dtype)] for name, dtype in table.schema.items()])
    digest = hashlib.sha256(schema.encode() + b"\n")
    for part in table.iter_slices(AT_ONCE):
        rows = io.BytesIO()
        part.write_ndjson(rows)
        digest.update(rows.getbuffer())
    return digest.hexdigest()


def holds_floats(dtype: pl.DataType) -> bool:
    """Tell whether a column of this type holds floating-point numbers, alone or in lists."""
    return dtype.is_float() or (isinstance(dtype, pl.List) and pl.Series(dtype=dtype.inner).dtype.is_float())


def finite(name: str, dtype: pl.DataType) -> pl.Expr:
    """Tell of each value of such a column whether it is finite, or missing; of a list, whether all its values are."""
    alone = (pl.element() if isinstance(dtype, pl.List) else pl.col(name)).is_finite().fill_null(True)
    return pl.col(name).list.eval(alone).list.all().fill_null(True) if isinstance(dtype, pl.List) else alone


def file_digest(path: Path) -> str:
    """Return the SHA-256 of a file's bytes."""
    with path.open("rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()


def folder_digest(folder: Path) -> str:
    """Return the digest of all files below `folder`: their relative names and contents, sorted by name."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return value_digest([[path.relative_to(folder).as_posix(), file_digest(path)] for path in files])
