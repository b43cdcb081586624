"""What SQLite and PostgreSQL do each in a way of its own: writing one after another or together, deleting for good."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from django.db import OperationalError, connection, transaction

REWRITTEN = ("portal_participant", "portal_demographic", "portal_vote", "portal_statement")
"""Tables with what deletion takes away of a person; statements stay, but not whose they are."""
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


@dataclass
class _Waiting:
    row: object
    done: bool = False
    error: Exception | None = None


class Together:
    """Rows of many people, written in one transaction of SQLite: while one is on its way to the disk, others gather.

    Each transaction waits for the disk, so one for each row would let people wait for each other. PostgreSQL writes
    several transactions to the disk at once by itself.
    """

    def __init__(self, keep: Callable[[Sequence[Any]], None]) -> None:
        self._keep = keep
        self._queue: list[_Waiting] = []
        self._gathering, self._writing = threading.Lock(), threading.Lock()

    def write(self, row: object) -> None:
        """Write a row; it is in the database afterwards.

        Raises:
            IntegrityError: It does not fit what is there.
        """
        if connection.vendor != "sqlite" or connection.in_atomic_block:
            self._keep([row])
            return
        own = _Waiting(row)
        with self._gathering:
            self._queue.append(own)
        with self._writing:
            if not own.done:
                self._write_all()
            if not own.done:  # whoever had taken it along was ended
                self._keep([row])
        if own.error:
            raise own.error

    def _write_all(self) -> None:
        with self._gathering:
            rows, self._queue = self._queue, []
        try:
            self._keep([each.row for each in rows])
        except Exception:
            # One that does not fit is no reason to refuse the others.
            for each in rows:
                try:
                    self._keep([each.row])
                except Exception as error:
                    each.error = error
        for each in rows:
            each.done = True


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
