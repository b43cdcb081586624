"""What lies in PostgreSQL: where the server is, and the schema that a consultation has to itself there.

A schema, not a database: the user needs no right to make databases, one backup holds all, and what a program asks for
follows the search path of its connection. Addresses hold passwords, so they stay in the environment and no message
shows more of them than user, host and database.
"""

from __future__ import annotations

import os
import re
from importlib.util import find_spec
from typing import TYPE_CHECKING

from ccai_dagster.core.digest import text_digest
from ccai_dagster.core.errors import ConsultationError

if TYPE_CHECKING:
    from sqlalchemy import URL

DRIVER = "psycopg2"
LONGEST = 40
"""PostgreSQL cuts names after 63 bytes."""


def server(variable: str) -> URL:
    """Return the address that a variable of the environment holds, with the driver that is installed.

    Raises:
        ConsultationError: It is no address of a database in PostgreSQL, or the driver is not there.
    """
    from sqlalchemy import make_url
    from sqlalchemy.exc import ArgumentError

    try:
        address = make_url(os.environ[variable])
    except (ArgumentError, ValueError):
        address = None
    if address is None or address.get_backend_name() != "postgresql":
        raise ConsultationError(f"{variable} must be like postgresql://USER:PASSWORD@HOST:5432/DATABASE.")
    if find_spec(DRIVER) is None:
        raise ConsultationError(
            f"{variable} is set, but {DRIVER} is not installed: pip install --constraint constraints.txt '.[team]'"
        )
    return address.set(drivername=f"postgresql+{DRIVER}")


def schema_of(consultation: str, of: str = "ccai") -> str:
    """Return a schema of a consultation, with a digest where its name has to be changed.

    Args:
        of: What is kept there; the schema's name begins with it.
    """
    plain = re.sub(r"[^a-z0-9]+", "_", consultation.lower())[:LONGEST]
    return f"{of}_{plain}" if plain == consultation else f"{of}_{plain}_{text_digest(consultation)[:8]}"


def make_schema(variable: str, schema: str, what: str) -> None:
    """Make a schema unless it is there.

    Args:
        variable: Holds the address.
        what: Is to be opened there, for messages.

    Raises:
        ConsultationError: PostgreSQL cannot be reached, or does not allow it.
    """
    from sqlalchemy import create_engine, inspect
    from sqlalchemy.exc import DBAPIError
    from sqlalchemy.schema import CreateSchema

    address = server(variable)
    engine = create_engine(address)
    try:
        with engine.begin() as connection:
            if not inspect(connection).has_schema(schema):
                connection.execute(CreateSchema(schema, if_not_exists=True))
    except DBAPIError as error:
        said = str(error.orig).strip().splitlines()[0]
        raise ConsultationError(
            f"{address.render_as_string()}: {what} cannot be opened there ({said}). Check {variable}, "
            "that PostgreSQL runs there, and that this user may create schemas in this database."
        ) from error
    finally:
        engine.dispose()
