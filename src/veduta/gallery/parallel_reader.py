"""Many rows of a table at once, without waiting for the disk one row after another.

Rows in memory are read fastest by one connection. Rows that have to come from a disk take a wait a page, and a disk
serves many waits at once: so when the first rows turn out to be slow, the others are dealt to several connections.
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from veduta.sqlite import Database
from veduta.sqlite.connections import connect, connect_read_only, is_writable

READERS = 8
PROBE = 3  # rows read before it is decided
SLOW = 0.0002  # seconds a row; from memory it takes a tenth of that, from a solid-state disk three times that


class ParallelReader:
    """Several connections to one file, opened when they are first needed.

    Args:
        file: the gallery's.
        db: the file, open already.
        slow: seconds a row from which on several connections are used.
    """

    def __init__(self, file: Path, db: Database, slow: float = SLOW) -> None:
        self._file, self._db, self._slow = file, db, slow
        self._others: list[sqlite3.Connection] = []
        self._pool: ThreadPoolExecutor | None = None
        self._generation = db.generation

    def fetch(self, query: str, row_ids: Sequence[int]) -> list[Any]:
        """Return the rows of a query for these row ids, in any order.

        Args:
            query: ends in ``IN ({})``, for as many marks as there are row ids.
            row_ids: at most as many as SQLite takes at once, which is some ten thousand.
        """
        ordered = sorted(set(row_ids))  # neighbors on the disk are read one after the other
        return self._db.consistent(lambda: self._read(query, ordered))

    def _read(self, query: str, ordered: Sequence[int]) -> list[Any]:
        if self._generation != self._db.generation:
            self.close()
            self._generation = self._db.generation
        start = time.perf_counter()
        rows = _fetch(self._db.connection, query, ordered[:PROBE])
        rest = ordered[PROBE:]
        if time.perf_counter() - start < self._slow * PROBE or len(rest) < READERS:
            return rows + _fetch(self._db.connection, query, rest)
        if self._pool is None:
            open_one = connect if is_writable(self._file) else connect_read_only
            self.close()  # those that a failed try has left open
            for _ in range(READERS):
                self._others.append(open_one(self._file))
            self._pool = ThreadPoolExecutor(READERS)
        shares = [rest[i::READERS] for i in range(READERS)]
        for part in self._pool.map(_fetch, self._others, [query] * READERS, shares):
            rows += part
        return rows

    def close(self) -> None:
        """Close the further connections."""
        if self._pool is not None:
            self._pool.shutdown()
            self._pool = None
        for connection in self._others:
            connection.close()
        self._others = []


def _fetch(connection: sqlite3.Connection, query: str, row_ids: Sequence[int]) -> list[Any]:
    if not row_ids:
        return []
    return connection.execute(query.format(",".join("?" * len(row_ids))), row_ids).fetchall()
