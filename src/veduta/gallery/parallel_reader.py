"""Many rows of a table at once, without waiting for the disk one row after another.

What is in memory is read fastest by one connection. What has to come from a disk takes a wait a page, and a disk serves
many waits at once: so when the first rows turn out to be slow, the others are dealt to several connections.
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from veduta.gallery.schema import connect

READERS = 8
PROBE = 3  # rows read before it is decided
SLOW = 0.0002  # seconds a row; from memory it takes a tenth of that, from a solid-state disk three times that


class ParallelReader:
    """Several connections to one file, opened when they are first needed.

    Args:
        file: the gallery's.
        first: the connection that is open already.
        slow: seconds a row from which on several are used.
    """

    def __init__(self, file: Path, first: sqlite3.Connection, slow: float = SLOW) -> None:
        self._file, self._first, self._slow = file, first, slow
        self._others: list[sqlite3.Connection] = []
        self._pool: ThreadPoolExecutor | None = None

    def fetch(self, query: str, rows: Sequence[int]) -> list[Any]:
        """Return what a query finds for these rows, in any order.

        Args:
            query: ends in ``IN ({})``, for as many marks as there are rows.
            rows: at most as many as SQLite takes at once, which is some ten thousand.
        """
        wanted = sorted(set(rows))  # neighbours on the disk are read one after the other
        start = time.perf_counter()
        found = _ask(self._first, query, wanted[:PROBE])
        rest = wanted[PROBE:]
        if time.perf_counter() - start < self._slow * PROBE or len(rest) < READERS:
            return found + _ask(self._first, query, rest)
        if self._pool is None:
            self._others = [connect(self._file) for _ in range(READERS)]
            self._pool = ThreadPoolExecutor(READERS)
        shares = [rest[i::READERS] for i in range(READERS)]
        for part in self._pool.map(_ask, self._others, [query] * READERS, shares):
            found += part
        return found

    def close(self) -> None:
        """Close the further connections."""
        if self._pool is not None:
            self._pool.shutdown()
            self._pool = None
        for connection in self._others:
            connection.close()
        self._others = []


def _ask(connection: sqlite3.Connection, query: str, rows: Sequence[int]) -> list[Any]:
    if not rows:
        return []
    return connection.execute(query.format(",".join("?" * len(rows))), rows).fetchall()
