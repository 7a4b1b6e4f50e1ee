"""The cache of grouping: local features, and inliers of pairs, all of which can be made again."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from veduta.errors import LibraryError
from veduta.features_codec import pack_features, unpack_features
from veduta.types import Float32, LocalFeatures

CACHE_FILE = "features.sqlite"
BUSY_SECONDS = 60.0
CACHE_SCHEMA = """
CREATE TABLE IF NOT EXISTS look (
    sha256 TEXT NOT NULL, model TEXT NOT NULL, descriptor BLOB NOT NULL, features BLOB NOT NULL,
    PRIMARY KEY (sha256, model)
) STRICT, WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS pair (
    a TEXT NOT NULL, b TEXT NOT NULL, how TEXT NOT NULL, num_inliers INTEGER NOT NULL, PRIMARY KEY (a, b, how)
) STRICT, WITHOUT ROWID;
"""


class FeatureCache:
    """Descriptors and local features by content, and inliers by pair. Use from one thread at a time.

    Args:
        folder: where its file lies; it may be deleted at any time while nobody groups.
        model: names and sha256 of the models that make what is kept; of other models nothing is seen.
    """

    def __init__(self, folder: Path, model: str) -> None:
        self.file, self.model = folder / CACHE_FILE, model
        with self._faults():
            self._db = sqlite3.connect(self.file, timeout=BUSY_SECONDS, isolation_level=None, check_same_thread=False)
            self._db.execute("PRAGMA journal_mode = WAL")
            self._db.execute("PRAGMA synchronous = OFF")
            self._db.executescript(CACHE_SCHEMA)

    def close(self) -> None:
        """Close the file."""
        self._db.close()

    @contextmanager
    def _faults(self) -> Iterator[None]:
        try:
            yield
        except (sqlite3.IntegrityError, sqlite3.ProgrammingError):
            raise
        except sqlite3.DatabaseError as error:
            raise LibraryError(f"{self.file}: cannot be used ({error}); delete it, it is made again") from error

    def appearances(self) -> set[str]:
        """Return the contents whose features are known."""
        with self._faults():
            rows = self._db.execute("SELECT sha256 FROM look WHERE model = ?", (self.model,)).fetchall()
        return {row[0] for row in rows}

    def put_appearance(self, sha256: str, descriptor: Float32, features: LocalFeatures) -> None:
        """Keep the descriptor (D,) and the local features of a content."""
        values = sha256, self.model, descriptor.astype(np.float16).tobytes(), pack_features(features)
        with self._faults():
            self._db.execute("INSERT OR REPLACE INTO look VALUES (?, ?, ?, ?)", values)

    def descriptors(self, contents: Sequence[str]) -> Float32:
        """Return the descriptors (N, D), of norm 1, of contents that are known."""
        with self._faults():
            stored = dict(
                self._db.execute("SELECT sha256, descriptor FROM look WHERE model = ?", (self.model,)).fetchall()
            )
        if not contents:
            return np.zeros((0, 1), np.float32)
        matrix = np.stack([np.frombuffer(stored[sha256], np.float16) for sha256 in contents]).astype(np.float32)
        return np.asarray(matrix / np.maximum(np.linalg.norm(matrix, axis=1, keepdims=True), 1e-12), np.float32)

    def features(self, sha256: str) -> LocalFeatures:
        """Return the local features of a content that is known."""
        with self._faults():
            query = "SELECT features FROM look WHERE sha256 = ? AND model = ?"
            return unpack_features(self._db.execute(query, (sha256, self.model)).fetchone()[0])

    def pairs(self, how: str) -> dict[tuple[str, str], int]:
        """Return (sha256, sha256) -> inliers of the pairs verified in one way, the smaller sha256 first."""
        with self._faults():
            rows = self._db.execute("SELECT a, b, num_inliers FROM pair WHERE how = ?", (self._how(how),)).fetchall()
        return {(a, b): count for a, b, count in rows}

    def put_pairs(self, how: str, pairs: Iterable[tuple[str, str, int]]) -> None:
        """Keep the inliers of pairs verified in one way, in one transaction."""
        rows = [(*sorted((a, b)), self._how(how), count) for a, b, count in pairs]
        with self._faults():
            self._db.execute("BEGIN IMMEDIATE")
            try:
                self._db.executemany("INSERT OR REPLACE INTO pair VALUES (?, ?, ?, ?)", rows)
                self._db.execute("COMMIT")
            except BaseException:
                self._db.execute("ROLLBACK")
                raise

    def _how(self, how: str) -> str:
        return f"{how} {self.model}"
