"""The match graph: references of one landmark verified against each other.

Keypoints that other photos of the landmark confirm are the useful ones (Turcot and Lowe, ICCV Workshops 2009: features
on people, trees and sky are never matched again), and the inliers of a pair say how many a query should reach.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass

import numpy as np

from veduta.concurrency import one_blas_thread
from veduta.features_codec import pack_features, unpack_features
from veduta.progress import Progress
from veduta.protocols import Matcher, Verifier
from veduta.sqlite import Database
from veduta.types import Float32, Int64, LocalFeatures, UInt8

MAX_PAIRS = 6  # photos of its landmark that a reference is verified against
MAX_INLIERS = 65_535  # as many as features may have keypoints; a pair with more, or fewer than none, is damaged
EXPECTED_FROM = 3  # of them, those with most inliers, that say how many a query should reach
MIN_CONFIRMING = 2  # pairs with inliers before any keypoint is dropped: one may show only a corner
MAX_KEYPOINTS = 320  # then kept: as good as 512 on real photos, in two thirds of the bytes and of the time
FEATURES = """SELECT f.features, u.counts FROM features AS f
              LEFT JOIN keypoint_support AS u ON u.row = f.row WHERE f.row = ?"""


@dataclass(frozen=True, eq=False)
class ReferencePair:
    """The inliers between a reference and another of its landmark.

    Attributes:
        row_id: of the other.
        keypoints: (K,) int64 indices of the reference's keypoints that are inliers.
        other_keypoints: (K,) int64 those of the other.
        lengths: number of keypoints of the reference and of the other when they were matched.
    """

    row_id: int
    keypoints: Int64
    other_keypoints: Int64
    lengths: tuple[int, int]


class MatchGraph:
    """The verified pairs of one gallery.

    Args:
        db: the gallery's file.
        writing: runs its body as one transaction that counts the gallery's revision up.
    """

    def __init__(self, db: Database, writing: Callable[[], AbstractContextManager[sqlite3.Connection]]) -> None:
        self._db, self._writing = db, writing

    def compare(self, matcher: Matcher, verifier: Verifier, progress: Progress | None = None) -> None:
        """Verify every reference not yet compared against its `MAX_PAIRS` nearest of the same landmark.

        A pair's inliers are stored at once, and a landmark is finished in one transaction, so a killed run goes on
        where it was and ends the same.
        """
        waiting: dict[str, set[int]] = {}
        for row_id, landmark in self.uncompared():
            waiting.setdefault(landmark, set()).add(row_id)
        total, done = sum(map(len, waiting.values())), 0
        with one_blas_thread():
            for landmark, new in waiting.items():
                rows, ids, descriptors = self.same_landmark(landmark)
                for place in (i for i, row_id in enumerate(rows.tolist()) if row_id in new):
                    self._compare_one(matcher, verifier, rows, ids, descriptors, place)
                    done += 1
                    if progress:
                        progress(done, total)
                # Not before all are through: a pair's inliers must not depend on which was compared first.
                self.finish_landmark(rows.tolist(), sorted(new))
        if waiting:
            self.shrink()

    def _compare_one(
        self,
        matcher: Matcher,
        verifier: Verifier,
        rows: Int64,
        ids: Sequence[str],
        descriptors: Float32,
        place: int,
    ) -> None:
        nearest = np.argsort(-(descriptors @ descriptors[place]), kind="stable")
        others = [i for i in nearest.tolist() if i != place][:MAX_PAIRS]
        # Always the same way round, whichever came first, for geometry is not quite symmetric.
        ordered = [(place, i) if ids[place] < ids[i] else (i, place) for i in others]
        row_id = int(rows[place])
        pairs = [self._verified(matcher, verifier, row_id, rows[list(pair)].tolist()) for pair in ordered]
        self.add_pairs(row_id, [pair for pair in pairs if pair is not None])

    def _verified(self, matcher: Matcher, verifier: Verifier, row_id: int, pair: list[int]) -> ReferencePair | None:
        """Return the inliers of two references, seen from `row_id`; None if they are known or one is gone."""
        other = pair[1] if pair[0] == row_id else pair[0]
        features = [self.features(row) for row in pair]
        if other in self.compared_with(row_id) or features[0] is None or features[1] is None:
            return None
        (a, _), (b, _) = features[0], features[1]
        matches = matcher.match(a, b)
        agreed = matches.indices[verifier.verify(a, b, matches).inliers]
        sides = [(agreed[:, 0], len(a)), (agreed[:, 1], len(b))]
        (own, length), (others, other_length) = sides if pair[0] == row_id else sides[::-1]
        return ReferencePair(other, own, others, (length, other_length))

    def uncompared(self) -> list[tuple[int, str]]:
        """Return (row id, landmark id) of the references not yet compared with their landmark's others, in order."""
        query = """SELECT r.row, r.landmark FROM reference AS r LEFT JOIN keypoint_support AS u ON u.row = r.row
                   WHERE coalesce(u.compared, 0) = 0 ORDER BY r.row"""
        return [(int(row_id), str(landmark)) for row_id, landmark in self._db.rows(query)]

    def same_landmark(self, landmark: str) -> tuple[Int64, list[str], Float32]:
        """Return the row ids (N,) of a landmark's references, their ids, rising, and their descriptors (N, D)."""
        query = "SELECT row, id, descriptor FROM reference WHERE landmark = ? ORDER BY id"
        rows = self._db.rows(query, (landmark,))
        row_ids = np.array([row_id for row_id, _, _ in rows], np.int64)
        return row_ids, [id for _, id, _ in rows], descriptor_matrix([data for _, _, data in rows])

    def features(self, row_id: int) -> tuple[LocalFeatures, UInt8] | None:
        """Return a reference's local features and the confirmations of each (N,), or None for a removed one."""
        return self._db.consistent(lambda: _stored_features(self._db.connection, row_id))

    def compared_with(self, row_id: int) -> set[int]:
        """Return the row ids of the references that a reference has been compared with."""
        return {int(b) for (b,) in self._db.rows("SELECT b FROM reference_pair WHERE a = ?", (row_id,))}

    def add_pairs(self, row_id: int, pairs: Sequence[ReferencePair]) -> None:
        """Store the inliers between a reference and others of its landmark, in one transaction.

        Each keypoint that is an inlier counts as confirmed once more. Call `finish_landmark` when a landmark is
        through. A photo's confirmations stay when the photo is removed.
        """
        with self._writing() as db:
            for pair in pairs:
                both = (row_id, pair.row_id), (pair.row_id, row_id)
                present = "SELECT ?, ?, ? WHERE (SELECT count(*) FROM reference WHERE row IN (?, ?)) = 2"
                insert = f"INSERT OR IGNORE INTO reference_pair {present}"
                new = [db.execute(insert, (*way, len(pair.keypoints), *way)).rowcount for way in both]
                if all(new):
                    _confirm(db, row_id, pair.keypoints, pair.lengths[0])
                    _confirm(db, pair.row_id, pair.other_keypoints, pair.lengths[1])

    def finish_landmark(self, row_ids: Sequence[int], compared: Sequence[int]) -> None:
        """Keep the most useful keypoints of the references at `row_ids`, and note which were compared, at once."""
        with self._writing() as db:
            for row_id in row_ids:
                _prune(db, row_id)
            for row_id in compared:
                _put_support(db, row_id, None, compared=True)

    def shrink(self) -> None:
        """Give back the space that dropped keypoints and removed references leave in the file."""
        with self._db.faults("cannot be written"):
            self._db.connection.executescript("PRAGMA incremental_vacuum")  # `execute` stops at the first page
            self._db.connection.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchall()

    def expected_inliers(self, ids: Sequence[str]) -> dict[str, float]:
        """Return reference id -> inliers expected of a photo of the same; an entry only where pairs are known."""
        marks = ",".join("?" * len(ids))
        query = f"""SELECT r.id, p.num_inliers FROM reference AS r JOIN reference_pair AS p ON p.a = r.row
                    WHERE r.id IN ({marks}) AND p.num_inliers BETWEEN 0 AND {MAX_INLIERS}"""  # noqa: S608
        counts: dict[str, list[int]] = {}
        for id, count in self._db.rows(query, ids):
            counts.setdefault(id, []).append(count)
        return {id: expected_inliers(values) for id, values in counts.items()}


def descriptor_matrix(rows: Sequence[bytes]) -> Float32:
    """Return stored descriptors as a matrix (N, D) of norm 1; ValueError unless they are numbers, and equally many."""
    if not rows:
        return np.zeros((0, 0), np.float32)
    if len(set(map(len, rows))) != 1 or len(rows[0]) % 2:
        raise ValueError(f"descriptors: expected equally long ones, got {sorted(set(map(len, rows)))[:5]} bytes")
    matrix = np.frombuffer(b"".join(rows), np.float16).astype(np.float32).reshape(len(rows), -1)
    norm = np.linalg.norm(matrix, axis=1, keepdims=True)
    if not np.isfinite(norm).all():
        raise ValueError("descriptors: expected numbers, got infinite ones or none")
    return np.asarray(matrix / np.maximum(norm, 1e-12), np.float32)


def with_confirmations(features: bytes, counts: bytes | None) -> tuple[LocalFeatures, UInt8]:
    """Return stored local features unpacked, and how many photos confirm each keypoint (N,); ValueError if damaged."""
    unpacked = unpack_features(features)
    confirmed = np.frombuffer(counts, np.uint8) if counts else np.zeros(len(unpacked), np.uint8)
    if len(confirmed) != len(unpacked):
        raise ValueError(f"confirmations: expected {len(unpacked)}, one per keypoint, got {len(confirmed)}")
    return unpacked, confirmed


def count_confirmed(counts: UInt8, keypoints: Int64) -> UInt8:
    """Return (N,) counts with those of the given keypoints one up, as far as a byte goes."""
    more = counts.copy()
    more[keypoints] = np.minimum(more[keypoints], 254) + 1
    return more


def keep_confirmed(
    features: LocalFeatures, counts: UInt8, confirming: int, limit: int = MAX_KEYPOINTS
) -> tuple[LocalFeatures, UInt8]:
    """Return the `limit` most confirmed of N features with their counts, in their order; all if few pairs confirm any.

    Args:
        features: best first by the detector, whose order decides between equally confirmed ones.
        counts: (N,) photos that confirm each.
        confirming: photos that confirm any.
        limit: the number of features returned.
    """
    if confirming < MIN_CONFIRMING or len(features) <= limit:
        return features, counts
    keep = np.sort(np.argsort(-counts.astype(np.int64), kind="stable")[:limit])
    best = LocalFeatures(features.keypoints[keep], features.descriptors[keep], features.scores[keep], features.size)
    return best, counts[keep]


def expected_inliers(inliers: Iterable[int]) -> float:
    """Return the mean of the largest few numbers of inliers of a reference's pairs; NaN without any."""
    largest = sorted(inliers)[-EXPECTED_FROM:]
    return float(np.mean(largest)) if largest else float("nan")


def _stored_features(db: sqlite3.Connection, row_id: int) -> tuple[LocalFeatures, UInt8] | None:
    row = db.execute(FEATURES, (row_id,)).fetchone()
    return with_confirmations(*row) if row else None


def _put_support(db: sqlite3.Connection, row_id: int, counts: UInt8 | None, *, compared: bool = False) -> None:
    """Store the confirmations of a reference's keypoints, if given, and whether the reference was compared."""
    db.execute(
        """INSERT INTO keypoint_support SELECT :row, coalesce(:counts, x''), :compared
           WHERE EXISTS (SELECT 1 FROM reference WHERE row = :row)
           ON CONFLICT (row) DO UPDATE SET counts = coalesce(:counts, counts), compared = max(compared, :compared)""",
        {"row": row_id, "counts": None if counts is None else counts.tobytes(), "compared": int(compared)},
    )


def _confirm(db: sqlite3.Connection, row_id: int, keypoints: Int64, length: int) -> None:
    """Count keypoints of a reference as confirmed, unless pruning has changed their number from `length`."""
    stored = _stored_features(db, row_id)
    if stored is not None and len(stored[1]) == length:
        _put_support(db, row_id, count_confirmed(stored[1], keypoints))


def _prune(db: sqlite3.Connection, row_id: int) -> None:
    """Drop the least confirmed keypoints of a reference, once enough other photos have confirmed any."""
    query = "SELECT count(*) FROM reference_pair WHERE a = ? AND num_inliers > 0"
    confirming = db.execute(query, (row_id,)).fetchone()[0]
    stored = _stored_features(db, row_id) if confirming >= MIN_CONFIRMING else None
    if stored is None:
        return
    best, counts = keep_confirmed(*stored, confirming)
    if len(best) < len(stored[0]):
        db.execute("UPDATE features SET features = ? WHERE row = ?", (pack_features(best), row_id))
        _put_support(db, row_id, counts)
