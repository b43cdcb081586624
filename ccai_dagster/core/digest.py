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

SHORT = 12
"""Characters of a digest that are shown to people; files keep all 64."""


def text_digest(text: str) -> str:
    """Return the SHA-256 of the UTF-8 bytes of `text`, in hexadecimal."""
    return hashlib.sha256(text.encode()).hexdigest()


def value_digest(value: object) -> str:
    """Return the digest of a JSON-serialisable value, independent of the order of its keys."""
    return text_digest(json.dumps(value, sort_keys=True, ensure_ascii=False, separators=(",", ":")))


def table_digest(table: pl.DataFrame) -> str:
    """Return the digest of a table's columns, types and rows, in the order given.

    Args:
        table: Without NaN (JSON has none; missing values are null).
    """
    schema = json.dumps([[name, str(dtype)] for name, dtype in table.schema.items()])
    rows = io.BytesIO()
    table.write_ndjson(rows)
    return hashlib.sha256(schema.encode() + b"\n" + rows.getvalue()).hexdigest()


def file_digest(path: Path) -> str:
    """Return the SHA-256 of a file's bytes."""
    with path.open("rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()


def folder_digest(folder: Path) -> str:
    """Return the digest of all files below `folder`: their relative names and contents, sorted by name."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return value_digest([[path.relative_to(folder).as_posix(), file_digest(path)] for path in files])
