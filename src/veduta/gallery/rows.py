"""The descriptors of a gallery by row id, and the log of removed rows, that indexes follow."""

from __future__ import annotations

import sqlite3
import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from veduta.errors import GalleryError
from veduta.files import utf8
from veduta.gallery.match_graph import descriptor_matrix
from veduta.sqlite import Database
from veduta.types import Float32, Int64, Landmark, Position


@dataclass(frozen=True)
class ReferenceLabel:
    """The names under which a search index outside the gallery keeps a reference.

    Attributes:
        reference: id of the reference.
        landmark: id of its landmark.
        license: under which the photo may be used, where that is known.
        latitude: of the landmark, degrees north, or None.
        longitude: of the landmark, degrees east, or None.
    """

    reference: str
    landmark: str
    license: str | None
    latitude: float | None
    longitude: float | None

    @property
    def position(self) -> Position | None:
        """The position of the landmark, or None where that is not known."""
        if self.latitude is None or self.longitude is None:
            return None
        return Position(self.latitude, self.longitude)


class DescriptorRows:
    """The descriptors of a gallery by row id, in the order they came, and the log of those removed.

    Args:
        db: the gallery's file.
    """

    def __init__(self, db: Database) -> None:
        self._db = db

    def ids(self) -> set[int]:
        """Return the row ids of all references; an id is never given twice."""
        return {row_id for (row_id,) in self._db.rows("SELECT row FROM reference")}

    def after(self, row_id: int = 0, limit: int = -1) -> tuple[Int64, Float32]:
        """Return the references added past a row id: row ids (N,), rising, and descriptors (N, D) float32 of norm 1.

        Args:
            row_id: 0 for all.
            limit: the largest number returned, the first ones; -1 for no limit.
        """
        query = "SELECT row, descriptor FROM reference WHERE row > ? ORDER BY row LIMIT ?"
        rows = self._db.rows(query, (row_id, limit))
        with self._db.decoding():
            return np.array([row_id for row_id, _ in rows], np.int64), descriptor_matrix([data for _, data in rows])

    def last(self) -> int:
        """Return the highest row id, 0 without references."""
        return int(self._db.rows("SELECT coalesce(max(row), 0) FROM reference")[0][0])

    def labels(self, row_ids: Sequence[int]) -> dict[int, tuple[str, str]]:
        """Return row id -> (reference id, landmark id), for those of these rows that are there."""
        marks = ",".join("?" * len(row_ids))
        query = f"""SELECT r.row, r.id, r.landmark FROM reference AS r
                    JOIN landmark AS l ON l.id = r.landmark WHERE r.row IN ({marks})"""  # noqa: S608
        return {row_id: (id, landmark) for row_id, id, landmark in self._db.rows(query, row_ids)}

    def full_labels(self, row_ids: Sequence[int]) -> dict[int, ReferenceLabel]:
        """Return row id -> label with license and place, for those of these rows that are there."""
        marks = ",".join("?" * len(row_ids))
        query = f"""SELECT r.row, r.id, r.landmark, r.license, l.latitude, l.longitude FROM reference AS r
                    JOIN landmark AS l ON l.id = r.landmark WHERE r.row IN ({marks})"""  # noqa: S608
        return {row_id: ReferenceLabel(*label) for row_id, *label in self._db.rows(query, row_ids)}

    def of_landmarks(self, landmarks: Iterable[str]) -> Int64:
        """Return the row ids (N,), rising, of these landmarks' references."""
        ids = sorted(set(landmarks))
        row_ids: list[int] = []
        for start in range(0, len(ids), 1000):
            batch = ids[start : start + 1000]
            query = f"SELECT row FROM reference WHERE landmark IN ({','.join('?' * len(batch))})"  # noqa: S608
            row_ids += [row_id for (row_id,) in self._db.rows(query, batch)]
        return np.array(sorted(row_ids), np.int64)

    def landmark_id(self, id: str) -> str:
        """Return the id under which a landmark is stored, however the letters are composed; composed for a new one."""
        forms = [id, *(unicodedata.normalize(form, id) for form in ("NFC", "NFD"))]
        if utf8(id) != id:  # is no text, and nothing is stored under it
            return id
        known = {row[0] for row in self._db.rows("SELECT id FROM landmark WHERE id IN (?, ?, ?)", forms)}
        return next((form for form in forms if form in known), forms[1])

    def stored_landmark(self, landmark: Landmark) -> Landmark:
        """Return a landmark with the id under which it is stored, and its name composed."""
        id, name = self.landmark_id(landmark.id), unicodedata.normalize("NFC", landmark.name)
        return replace(landmark, id=id, name=id if landmark.name == landmark.id else name)

    def removed_since(self, entry: int = 0) -> tuple[int, Int64]:
        """Return the number of entries in the log of removals, and the row ids (N,) removed past an entry."""
        rows = self._db.rows("SELECT seq, row FROM removed WHERE seq > ? ORDER BY seq", (entry,))
        return (rows[-1][0] if rows else entry), np.array([row_id for _, row_id in rows], np.int64)

    def removals(self) -> int:
        """Return how many entries the log of removals has."""
        return int(self._db.rows("SELECT coalesce(max(seq), 0) FROM removed")[0][0])


def merged_landmark(known: Landmark | None, landmark: Landmark) -> Landmark:
    """Return a landmark whose missing fields are filled from an earlier record."""
    if known is None:
        return landmark
    place = landmark if landmark.position is not None else known
    name = known.name if landmark.name == landmark.id else landmark.name
    return Landmark(landmark.id, name, place.latitude, place.longitude, landmark.url or known.url)


def check_position(landmark: Landmark) -> None:
    """Raise GalleryError for a landmark with half a position."""
    if (landmark.latitude is None) != (landmark.longitude is None):
        missing = "latitude" if landmark.latitude is None else "longitude"
        raise GalleryError(f"landmark {landmark.id!r}: half a position, without its {missing}", "give both or neither")


def merge_landmark(db: sqlite3.Connection, landmark: Landmark) -> None:
    """Insert a landmark, or replace the fields of the stored one that this one has."""
    db.execute(
        """INSERT INTO landmark VALUES (?, ?, ?, ?, ?) ON CONFLICT (id) DO UPDATE SET
           name = CASE WHEN excluded.name = excluded.id THEN name ELSE excluded.name END,
           latitude = coalesce(excluded.latitude, latitude), longitude = coalesce(excluded.longitude, longitude),
           url = coalesce(excluded.url, url)""",
        (landmark.id, landmark.name, landmark.latitude, landmark.longitude, landmark.url),
    )
