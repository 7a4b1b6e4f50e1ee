"""The cache of grouping: local features, and inliers of pairs, all of which can be made again."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np

from veduta.errors import LibraryError
from veduta.features_codec import pack_features, unpack_features
from veduta.sqlite import Database
from veduta.types import Float32, LocalFeatures

CACHE_FILE = "features.sqlite"
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
        model: names and sha256 of the models; rows by other models are ignored.
    """

    def __init__(self, folder: Path, model: str) -> None:
        self.file, self.model = folder / CACHE_FILE, model
        self._db = Database(self.file, _fault, synchronous="OFF", private=True)
        self._db.script(CACHE_SCHEMA)

    def close(self) -> None:
        """Close the file."""
        self._db.close()

    def appearances(self) -> set[str]:
        """Return the contents whose features are known."""
        return {row[0] for row in self._db.rows("SELECT sha256 FROM look WHERE model = ?", (self.model,))}

    def put_appearance(self, sha256: str, descriptor: Float32, features: LocalFeatures) -> None:
        """Store the descriptor (D,) and the local features of a content."""
        values = sha256, self.model, descriptor.astype(np.float16).tobytes(), pack_features(features)
        self._db.write("INSERT OR REPLACE INTO look VALUES (?, ?, ?, ?)", values)

    def descriptors(self, contents: Sequence[str]) -> Float32:
        """Return the descriptors (N, D), of norm 1, of contents that are known."""
        stored = dict(self._db.rows("SELECT sha256, descriptor FROM look WHERE model = ?", (self.model,)))
        if not contents:
            return np.zeros((0, 1), np.float32)
        matrix = np.stack([np.frombuffer(stored[sha256], np.float16) for sha256 in contents]).astype(np.float32)
        return np.asarray(matrix / np.maximum(np.linalg.norm(matrix, axis=1, keepdims=True), 1e-12), np.float32)

    def features(self, sha256: str) -> LocalFeatures:
        """Return the local features of a content that is known."""
        query = "SELECT features FROM look WHERE sha256 = ? AND model = ?"
        return unpack_features(self._db.rows(query, (sha256, self.model))[0][0])

    def pairs(self, matcher: str) -> dict[tuple[str, str], int]:
        """Return (sha256, sha256) -> inliers of the pairs verified by a matcher, the smaller sha256 first."""
        rows = self._db.rows("SELECT a, b, num_inliers FROM pair WHERE how = ?", (self._models(matcher),))
        return {(a, b): count for a, b, count in rows}

    def put_pairs(self, matcher: str, pairs: Iterable[tuple[str, str, int]]) -> None:
        """Store the inliers of pairs verified by a matcher, in one transaction."""
        rows = [(*sorted((a, b)), self._models(matcher), count) for a, b, count in pairs]
        self._db.write_many("INSERT OR REPLACE INTO pair VALUES (?, ?, ?, ?)", rows)

    def _models(self, matcher: str) -> str:
        return f"{matcher} {self.model}"


def _fault(action: str, error: sqlite3.Error, file: Path) -> LibraryError:
    return LibraryError(f"{file}: cannot be used ({error}); delete it, it is made again")
