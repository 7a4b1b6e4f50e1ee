"""SQLite files: opened one way, with transactions that nest, and faults of the file raised as Veduta's errors.

Faults of the program (a broken constraint, a misused connection) stay as they are.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

from veduta.errors import VedutaError
from veduta.sqlite.connections import (
    FileState,
    connect,
    connect_read_only,
    file_identity,
    file_state,
    is_followed,
    make_private,
)
from veduta.sqlite.faults import shortened, with_code

READ_TRIES = 20  # while others change a file that is only read
Read = TypeVar("Read")


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

    Attributes:
        file: as given.
        connection: to the file; another one after each change that SQLite does not follow by itself.
        generation: how many such changes there were.

    Raises:
        VedutaError: what `fault` makes, when the file cannot be opened.
    """

    def __init__(
        self, file: Path, fault: Fault, synchronous: str = "NORMAL", *, read_only: bool = False, private: bool = False
    ) -> None:
        self.file, self._fault, self.generation = file, fault, 0
        self._state: FileState | None = None
        with self.faults("cannot be opened"):
            if private:
                make_private(file)
            self.connection = self._connect_read_only() if read_only else connect(file, synchronous)
            self._identity = file_identity(file)

    def close(self) -> None:
        """Close the file; everything is already on disk."""
        self.connection.close()

    def __del__(self) -> None:
        if hasattr(self, "connection"):  # whoever opened the file may have failed before it could be closed
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
            raise self._fault(action, self._reason(error), self.file) from error
        except UnicodeDecodeError as error:  # text that is none
            raise self._fault("is damaged", shortened(error), self.file) from error

    def _reason(self, error: sqlite3.DatabaseError) -> sqlite3.DatabaseError:
        """Return the reason of an error: a file that is changed while being read looks malformed and is whole."""
        if self._unchanged():
            return shortened(error)
        return with_code(sqlite3.OperationalError("changed while being read"), sqlite3.SQLITE_BUSY)

    def _connect_read_only(self) -> sqlite3.Connection:
        """Return a connection, and note the state of a file whose changes SQLite does not follow."""
        state, followed = file_state(self.file), is_followed(self.file)
        connection = connect_read_only(self.file)
        self._state = None if followed and is_followed(self.file) else state
        return connection

    def _check_place(self) -> None:
        """Raise sqlite3.OperationalError if the file open is no longer the one of that name."""
        if file_identity(self.file) != self._identity:
            reason = "replaced, moved or deleted since it was opened"
            raise with_code(sqlite3.OperationalError(reason), sqlite3.SQLITE_READONLY_DBMOVED)

    def _follow(self) -> None:
        """Open the file anew if it was changed in a way that SQLite does not follow."""
        self._check_place()
        if self._unchanged():
            return
        self.connection.close()
        self.connection = self._connect_read_only()
        self.generation += 1

    def consistent(self, read: Callable[[], Read]) -> Read:
        """Return what `read` returns, of one state of the file; called again where that was changed meanwhile.

        Args:
            read: reads by `connection`.
        """
        if self.in_transaction:
            return read()
        for left in reversed(range(READ_TRIES)):
            self._follow()
            try:
                found = read()
            except sqlite3.DatabaseError:
                if not left or self._unchanged():
                    raise
            else:
                if self._unchanged():
                    return found
        raise with_code(sqlite3.OperationalError("changed again and again while being read"), sqlite3.SQLITE_BUSY)

    def _unchanged(self) -> bool:
        return self._state is None or file_state(self.file) == self._state

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
            return self.consistent(lambda: self.connection.execute(query, values).fetchall())

    def write(self, query: str, values: Sequence[Any] = ()) -> int:
        """Run one statement and return the number of rows changed."""
        with self.faults("cannot be written"):
            self._check_place()
            changed = self.connection.execute(query, values).rowcount
            self._check_place()  # what went into a file of another name is not acknowledged
            return changed

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
        with self.faults(action):
            self._follow()
            with transaction(self.connection, begin):
                yield self.connection
            self._check_place()  # what went into a file of another name is not acknowledged
            if not self._unchanged():
                raise with_code(sqlite3.OperationalError("changed while being read"), sqlite3.SQLITE_BUSY)


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
