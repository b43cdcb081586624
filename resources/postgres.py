"""Dagster's record in PostgreSQL: where `CCAI_POSTGRES_URL` is set, each consultation has a schema of its own there.

The address stays in the environment; `dagster.yaml` in the Dagster home names the schema only. Dagster's migrations
follow the connection's search path.

Dagster in PostgreSQL: https://docs.dagster.io/deployment/oss/dagster-yaml#postgres-storage
"""

from typing import Any

import dagster as dg
from dagster_postgres import DagsterPostgresStorage

from ccai_dagster.core.postgres import make_schema, server

VARIABLE = "CCAI_POSTGRES_URL"


class PostgresRecord(DagsterPostgresStorage):  # type: ignore[misc]
    """Dagster's storage in one schema; `storage` of the `dagster.yaml` in a Dagster home names it."""

    @classmethod
    def config_type(cls) -> dict[str, Any]:
        """Return the settings it takes."""
        return {"schema": dg.Field(str)}

    @classmethod
    def from_config_value(cls, inst_data: Any, config_value: dict[str, str]) -> "PostgresRecord":
        """Connect to the schema."""
        address = server(VARIABLE).update_query_dict(
            {"options": f"-csearch_path={config_value['schema']}"}, append=True
        )
        return cls(address.render_as_string(hide_password=False), inst_data=inst_data)


def make_record_schema(schema: str) -> None:
    """Make the schema of a record unless it is there.

    Raises:
        ConsultationError: PostgreSQL cannot be reached, or does not allow it.
    """
    make_schema(VARIABLE, schema, "Dagster's record")
