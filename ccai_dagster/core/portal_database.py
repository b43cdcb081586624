"""Where the portal keeps what people said: an SQLite database below `CCAI_HOME`, or PostgreSQL.

With `CCAI_DATABASE_URL` it is a schema of that database, one for each consultation. Who writes there is
`ccai_dagster.portal`; who only reads, the import and the sensors, does so from here, without Django.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ccai_dagster.core.digest import text_digest
from ccai_dagster.core.errors import ConsultationError
from ccai_dagster.core.postgres import make_schema, schema_of, server
from ccai_dagster.core.unchanged import State, files_state

if TYPE_CHECKING:
    from sqlalchemy import Connection

VARIABLE = "CCAI_DATABASE_URL"
KEY = "portal.key"
"""The file beside the SQLite database with what sessions are signed with; whose a schema is follows from it."""
LONGEST_WAIT = 20.0
"""Seconds to wait for whoever writes to SQLite."""
TABLES = ("portal_statement", "portal_vote", "portal_demographic")
"""Those that the import reads."""
MADE_BY_SERVE = "`ccai serve` makes it"


def in_postgres() -> bool:
    """Whether the portal's rows are in PostgreSQL."""
    return bool(os.environ.get(VARIABLE))


def portal_schema(database: Path) -> str:
    """Return the schema of the consultation in whose folder below `CCAI_HOME` SQLite would keep the database."""
    return schema_of(database.parent.name, "portal")


def claim_schema(database: Path) -> None:
    """Make the schema of a consultation, whose key is there already, or see that it is this one's.

    Raises:
        ConsultationError: PostgreSQL cannot be reached, or another consultation of the same name has the schema.
    """
    schema = portal_schema(database)
    make_schema(VARIABLE, schema, "the portal")
    with _connected(database) as connection:
        connection.exec_driver_sql("SELECT pg_advisory_xact_lock(hashtext(%s))", (schema,))
        if _owner(connection, schema) is None and not _has_tables(connection, schema):
            # Neither can be quoted as a value; both are letters, digits and underscores.
            connection.exec_driver_sql(f"COMMENT ON SCHEMA \"{schema}\" IS '{_mark(database)}'")
        _check_owner(connection, database)


def read_rows(database: Path, queries: Sequence[str]) -> list[list[tuple[Any, ...]]]:
    """Return the rows of each query, all of the same moment.

    Args:
        database: Where SQLite keeps it.

    Raises:
        ConsultationError: There is no database yet, or it cannot be read.
    """
    if in_postgres():
        with _connected(database, isolation_level="REPEATABLE READ") as connection:
            _check_owner(connection, database)
            return [[tuple(row) for row in connection.exec_driver_sql(query)] for query in queries]
    with _opened(database) as opened:
        # One transaction, so that nothing comes between the queries.
        opened.execute("BEGIN")
        return [opened.execute(query).fetchall() for query in queries]


def database_state(database: Path) -> State | None:
    """Return what differs after every change of what the import reads; None if it cannot be told.

    Of SQLite the state of its files; of PostgreSQL, for each table, how many rows there are and a sum over the
    transactions that wrote them.

    Raises:
        ConsultationError: PostgreSQL cannot be read.
    """
    if not in_postgres():
        return files_state(database_files(database))
    sums = [
        f"SELECT count(*), coalesce(sum(hashint8extended(xmin::text::bigint, 0)), 0)::text FROM {each}"  # noqa: S608
        for each in TABLES
    ]
    return tuple(row for rows in read_rows(database, sums) for row in rows)


def database_files(database: Path) -> list[Path]:
    """The files that an SQLite database in WAL mode is written to."""
    return [database, database.with_name(f"{database.name}-wal")]


def _mark(database: Path) -> str:
    """What tells two consultations of one name apart: a digest of the key, from which the key does not follow."""
    key = database.with_name(KEY)
    if not key.is_file():
        raise ConsultationError(f"{key}: the portal was never opened; {MADE_BY_SERVE}.")
    secret = key.read_text(encoding="ascii")
    return f"ccai_dagster {text_digest(f'schema {secret}')[:16]}"


def _owner(connection: Connection, schema: str) -> str | None:
    found = connection.exec_driver_sql(
        "SELECT obj_description(oid, 'pg_namespace') FROM pg_namespace WHERE nspname = %s", (schema,)
    ).scalar()
    return None if found is None else str(found)


def _has_tables(connection: Connection, schema: str) -> bool:
    asked = "SELECT count(*) FROM pg_tables WHERE schemaname = %s"
    return bool(connection.exec_driver_sql(asked, (schema,)).scalar())


def _check_owner(connection: Connection, database: Path) -> None:
    schema = portal_schema(database)
    if _owner(connection, schema) != _mark(database):
        raise ConsultationError(
            f"{server(VARIABLE).render_as_string()}: the schema {schema} is not of {database.parent}. Either it was "
            f"not made yet ({MADE_BY_SERVE}), or another consultation of this name has it: rename one, or let "
            f"{VARIABLE} name another database. If it is the same consultation, bring its {KEY} to "
            f"{database.with_name(KEY)}."
        )


@contextmanager
def _connected(database: Path, **options: Any) -> Iterator[Connection]:
    from sqlalchemy import NullPool, create_engine
    from sqlalchemy.exc import DBAPIError

    address = server(VARIABLE)
    path = {"options": f"-csearch_path={portal_schema(database)}"}
    engine = create_engine(address.update_query_dict(path, append=True), poolclass=NullPool, **options)
    try:
        with engine.begin() as connection:
            yield connection
    except DBAPIError as error:
        said = str(error.orig).strip().splitlines()[0]
        raise ConsultationError(
            f"{address.render_as_string()}: what people said in the portal cannot be read there ({said}). Check "
            f"{VARIABLE}, and that PostgreSQL runs there; tables from before an update are brought up to date by "
            "`ccai serve`."
        ) from error


@contextmanager
def _opened(database: Path) -> Iterator[sqlite3.Connection]:
    if not database.is_file():
        raise ConsultationError(f"{database}: the portal was never opened; `ccai serve` opens it.")
    try:
        address = f"{database.resolve().as_uri()}?mode=ro"
        with closing(sqlite3.connect(address, timeout=LONGEST_WAIT, uri=True)) as connection:
            yield connection
    except sqlite3.Error as error:
        raise ConsultationError(
            f"{database}: cannot be read ({error}). Is it the database of the portal? One from before an update is "
            "brought up to date by `ccai serve`."
        ) from error
