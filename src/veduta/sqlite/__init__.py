"""SQLite files: opened one way, with transactions that nest, and faults of the file raised as Veduta's errors.

Faults of the program (a broken constraint, a misused connection) stay as they are.
"""

from __future__ import annotations

import os
import sqlite3
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from stat import S_ISREG
from typing import Any

from veduta.errors import VedutaError
from veduta.sqlite.faults import refused, shortened

MAX_VALUE = 1 << 28  # bytes of one value or row
NEW_SECONDS = 2.0  # how long a new file may have a rollback journal while another process makes it
KNOWN_TRIGGERS = {
    "CREATE TRIGGER REFERENCE_REMOVED AFTER DELETE ON REFERENCE BEGIN INSERT INTO REMOVED (ROW) VALUES (OLD.ROW); END"
}
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
        private: whether a new file is for this user's eyes only.

    Raises:
        VedutaError: what `fault` makes, when the file cannot be opened.
    """

    def __init__(
        self, file: Path, fault: Fault, synchronous: str = "NORMAL", *, read_only: bool = False, private: bool = False
    ) -> None:
        self.file, self._fault = file, fault
        with self.faults("cannot be opened"):
            if private:
                _make_private(file)
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
            raise self._fault(action, shortened(error), self.file) from error
        except UnicodeDecodeError as error:  # text that is none
            raise self._fault("is damaged", shortened(error), self.file) from error

    @contextmanager
    def decoding(self) -> Iterator[None]:
        """Raise a ValueError met in the body, where stored values are decoded, as the fault of a damaged file."""
        try:
            yield
        except (ValueError, TypeError, LookupError, OverflowError, RecursionError, AttributeError) as error:
            raise self._fault("is damaged", shortened(error), self.file) from error

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
    """Return a connection for reading and writing, in write-ahead mode, statements committed one by one.

    Raises:
        sqlite3.DatabaseError: the file, or one beside it, is not Veduta's: see `check_files` and `_harden`.
    """
    check_files(file)
    connection = sqlite3.connect(file, timeout=BUSY_SECONDS, isolation_level=None, check_same_thread=False)
    try:
        _harden(connection)
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
    check_files(file)
    connection = sqlite3.connect(address, timeout=BUSY_SECONDS, isolation_level=None, check_same_thread=False, uri=True)
    try:
        _harden(connection)
    except sqlite3.Error:
        connection.close()
        raise
    return connection


def _make_private(file: Path) -> None:
    """Make an empty file that only this user may read, unless there is one; those that SQLite adds are like it."""
    try:
        os.close(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
    except FileExistsError:
        return
    except OSError as error:
        raise refused(error) from error


def check_files(file: Path) -> None:
    """Raise sqlite3.DatabaseError unless a database and what lies beside it are plain files that Veduta could leave.

    A folder may come from anybody: a link would have SQLite write elsewhere, and a rollback journal, which files in
    write-ahead mode never have, may name any other file to be deleted.
    """
    for path in (file, *(file.with_name(file.name + ending) for ending in ("-wal", "-shm"))):
        with suppress(FileNotFoundError):
            if not S_ISREG(path.lstat().st_mode):
                raise sqlite3.DatabaseError(f"{path.name} is a link or no plain file")
    rollback, until = file.with_name(file.name + "-journal"), time.monotonic() + NEW_SECONDS
    while os.path.lexists(rollback) and time.monotonic() < until:
        time.sleep(0.01)  # another process may be making the file: it has one for a moment
    if os.path.lexists(rollback):
        raise sqlite3.DatabaseError(f"{file.name}-journal is not Veduta's; look where it comes from, and delete it")


def _harden(connection: sqlite3.Connection) -> None:
    """Keep what somebody else may have written into a file from doing more than being read.

    Views, virtual tables, generated columns and triggers run when a table is used; of triggers only the one that every
    gallery has is let through.
    """
    connection.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, MAX_VALUE)
    connection.setlimit(sqlite3.SQLITE_LIMIT_ATTACHED, 0)
    connection.execute("PRAGMA trusted_schema = OFF")
    connection.execute("PRAGMA cell_size_check = ON")
    connection.execute("PRAGMA mmap_size = 0")
    for kind, name, statement in connection.execute("SELECT type, name, sql FROM sqlite_schema"):
        words = " ".join(str(statement).split()).upper()
        plain = kind in ("table", "index") and not words.startswith("CREATE VIRTUAL") and " GENERATED " not in words
        if not (plain and " AS (" not in words) and words not in KNOWN_TRIGGERS:
            raise sqlite3.DatabaseError(f"holds the {kind} {name!r}, which is not Veduta's")


def is_writable(file: Path) -> bool:
    """Return whether this process may write a file and its folder."""
    return all(os.access(path, os.W_OK) for path in (file, file.parent))
