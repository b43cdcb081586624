"""Dagster's record in PostgreSQL: where `CCAI_POSTGRES_URL` is set, each consultation has a schema of its own there.

A schema, not a database: the deployment's role needs no right to make databases, one backup holds all, and Dagster's
migrations follow the connection's search path. The address stays in the environment; `dagster.yaml` in the Dagster home
names the schema only.

Dagster in PostgreSQL: https://docs.dagster.io/deployment/oss/dagster-yaml#postgres-storage
"""

import os
import re
from typing import Any

import dagster as dg
from dagster_postgres import DagsterPostgresStorage
from sqlalchemy import URL, create_engine, inspect, make_url
from sqlalchemy.exc import ArgumentError, DBAPIError
from sqlalchemy.schema import CreateSchema

from ccai_dagster.core.digest import text_digest
from ccai_dagster.core.errors import ConsultationError

LONGEST = 40
"""PostgreSQL cuts names after 63 bytes."""


class PostgresRecord(DagsterPostgresStorage):  # type: ignore[misc]
    """Dagster's storage in one schema; `storage` of the `dagster.yaml` in a Dagster home names it."""

    @classmethod
    def config_type(cls) -> dict[str, Any]:
        """Return the settings it takes."""
        return {"schema": dg.Field(str)}

    @classmethod
    def from_config_value(cls, inst_data: Any, config_value: dict[str, str]) -> "PostgresRecord":
        """Connect to the schema."""
        address = server().update_query_dict({"options": f"-csearch_path={config_value['schema']}"}, append=True)
        return cls(address.render_as_string(hide_password=False), inst_data=inst_data)


def server() -> URL:
    """Return the address in `CCAI_POSTGRES_URL` with the driver that Dagster brings; SQLAlchemy's default is another.

    Raises:
        ConsultationError: It is no address of a database in PostgreSQL.
    """
    try:
        address = make_url(os.environ["CCAI_POSTGRES_URL"])
    except ArgumentError:
        address = None
    if address is None or address.get_backend_name() != "postgresql":
        raise ConsultationError("CCAI_POSTGRES_URL must be like postgresql://USER:PASSWORD@HOST:5432/DATABASE.")
    return address.set(drivername="postgresql+psycopg2")


def schema_of(consultation: str) -> str:
    """Return the schema of a consultation: `ccai_` and its name, with a digest where the name has to be changed."""
    plain = re.sub(r"[^a-z0-9]+", "_", consultation.lower())[:LONGEST]
    return f"ccai_{plain}" if plain == consultation else f"ccai_{plain}_{text_digest(consultation)[:8]}"


def make_schema(schema: str) -> None:
    """Make a schema unless it is there.

    Raises:
        ConsultationError: PostgreSQL cannot be reached, or does not allow it.
    """
    address = server()
    engine = create_engine(address)
    try:
        with engine.begin() as connection:
            if not inspect(connection).has_schema(schema):
                connection.execute(CreateSchema(schema, if_not_exists=True))
    except DBAPIError as error:
        said = str(error.orig).strip().splitlines()[0]
        raise ConsultationError(
            f"{address.render_as_string()}: Dagster's record cannot be opened there ({said}). Check CCAI_POSTGRES_URL, "
            "that PostgreSQL runs there, and that this user may create schemas in this database."
        ) from error
    finally:
        engine.dispose()
