"""SQLite files: opened one way, with transactions that nest, and faults of the file raised as Veduta's errors.

Faults of the program (a broken constraint, a misused connection) stay as they are.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from veduta.errors import VedutaError

BUSY_SECONDS = 60.0  # how long one process waits for another's transaction; each takes milliseconds

Fault = Callable[[str, sqlite3.Error, Path], VedutaError]
"""Makes the error to raise of an action, such as ``cannot be read``, SQLite's error, and the file."""


class Database:
    """One SQLite file in write-ahead mode, open. Use from one thread at a time.

    Args:
        file: the file; made where there is none.
        fault: makes the error to raise when the file cannot be used.
        synchronous: SQLite's setting: ``NORMAL`` survives a killed process and a lost power supply keeps it whole;
            ``OFF`` is for what can be made again.
        read_only: whether the file may only be read.

    Raises:
        VedutaError: what `fault` makes, when the file cannot be opened.
    """

    def __init__(self, file: Path, fault: Fault, synchronous: str = "NORMAL", *, read_only: bool = False) -> None:
        self.file, self._fault = file, fault
        with self.faults("cannot be opened"):
            self.connection = connect_read_only(file) if read_only else connect(file, synchronous)

    def close(self) -> None:
        """Close the file; everything is already on disk."""
        self.connection.close()

    @contextmanager
    def faults(self, action: str) -> Iterator[None]:
        """Raise faults of the file met in the body as Veduta's errors.

        Args:
            action: the part of the message that says which action failed, such as ``cannot be read``.
        """
        try:
            yield
        except (sqlite3.IntegrityError, sqlite3.ProgrammingError):
            raise
        except sqlite3.DatabaseError as error:
            raise self._fault(action, error, self.file) from error

    def rows(self, query: str, values: Sequence[Any] = (), action: str = "cannot be read") -> list[Any]:
        """Return all rows of a query."""
        with self.faults(action):
            return self.connection.execute(query, values).fetchall()

    def write(self, query: str, values: Sequence[Any] = ()) -> int:
        """Run one statement and return the number of rows changed."""
        with self.faults("cannot be written"):
            return self.connection.execute(query, values).rowcount

    def write_many(self, query: str, values: Iterable[Sequence[Any]]) -> None:
        """Run one statement for each of several rows of values, in one transaction."""
        with self.transaction() as connection:
            connection.executemany(query, values)

    def script(self, statements: str) -> None:
        """Run several statements, separated by semicolons, as they are."""
        with self.faults("cannot be written"):
            self.connection.executescript(statements)

    @property
    def in_transaction(self) -> bool:
        """Whether a transaction is running."""
        return self.connection.in_transaction

    @contextmanager
    def transaction(self, begin: str = "BEGIN IMMEDIATE", action: str = "cannot be written") -> Iterator[Any]:
        """Run the body as one transaction, all or nothing, or as part of the one that is running."""
        if self.in_transaction:
            yield self.connection
            return
        with self.faults(action), transaction(self.connection, begin):
            yield self.connection


@contextmanager
def transaction(connection: sqlite3.Connection, begin: str = "BEGIN IMMEDIATE") -> Iterator[sqlite3.Connection]:
    """Run the body as one transaction of a connection, all or nothing."""
    try:
        connection.execute(begin)
        yield connection
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:  # a Ctrl-C may come just before it begins or just after it ends
            connection.execute("ROLLBACK")
        raise


def connect(file: Path, synchronous: str = "NORMAL") -> sqlite3.Connection:
    """Return a connection for reading and writing, in write-ahead mode, statements committed one by one."""
    connection = sqlite3.connect(file, timeout=BUSY_SECONDS, isolation_level=None, check_same_thread=False)
    try:
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute(f"PRAGMA synchronous = {synchronous}")
        connection.execute("PRAGMA foreign_keys = ON")
    except sqlite3.Error:
        connection.close()
        raise
    return connection


def connect_read_only(file: Path) -> sqlite3.Connection:
    """Return a connection to a file that may only be read, such as one on read-only media or of another user."""
    # Without a log beside it the file is complete, and nobody who could change it is at work.
    mode = "mode=ro" if file.with_name(file.name + "-wal").exists() else "immutable=1"
    address = f"{file.absolute().as_uri()}?{mode}"
    return sqlite3.connect(address, timeout=BUSY_SECONDS, isolation_level=None, check_same_thread=False, uri=True)


def is_writable(file: Path) -> bool:
    """Return whether this process may write a file and its folder."""
    return all(os.access(path, os.W_OK) for path in (file, file.parent))
