"""What SQLite and PostgreSQL do each in a way of its own: letting one write after another, and deleting for good."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager

from django.db import OperationalError, connection, transaction

REWRITTEN = ("portal_participant", "portal_demographic", "portal_vote")
"""Tables with rows of a person that deletion takes away; statements stay."""
LONGEST_WAIT = "2s"
"""For readers of a table that is rewritten; everybody else waits behind."""


@contextmanager
def one_at_a_time() -> Iterator[None]:
    """A transaction that begins when no other such is under way, for what is looked at first and written then."""
    with transaction.atomic():
        # In SQLite a transaction is alone from its beginning (`transaction_mode`).
        if connection.vendor == "postgresql":
            with connection.cursor() as cursor:
                # The number of the table is another in each schema.
                cursor.execute("SELECT pg_advisory_xact_lock('portal_participant'::regclass::oid::bigint)")
        yield


def wipe_deleted() -> None:
    """Take what was deleted out of the files of the database, as well; what could not be done is logged.

    SQLite overwrites what it deletes (`secure_delete`), and its log is emptied here. PostgreSQL keeps deleted rows in
    its files until their place is needed; here the tables are written anew, and the old files go. Its log and backups
    are the server's.
    """
    try:
        with connection.cursor() as cursor:
            if connection.vendor == "postgresql":
                cursor.execute(f"SET lock_timeout = '{LONGEST_WAIT}'")
                try:
                    for table in REWRITTEN:
                        cursor.execute(f"VACUUM (FULL) {table}")
                finally:
                    cursor.execute("RESET lock_timeout")
                return
            cursor.execute("PRAGMA wal_checkpoint(TRUNCATE)")
            if not cursor.fetchone()[0]:
                return
        why = "somebody read them"
    except OperationalError as error:
        why = str(error).strip()
    logging.getLogger("django").error(
        "Deleted data are still in files of the database (%s); the next deletion takes them out.", why
    )
