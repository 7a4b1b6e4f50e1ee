"""The rows of a gallery's file: descriptors and the log of removals, landmarks and their places, additions."""

from __future__ import annotations

import sqlite3
import unicodedata
from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from datetime import UTC, datetime

import numpy as np

from veduta.errors import GalleryError
from veduta.files import utf8
from veduta.gallery.match_graph import descriptor_matrix
from veduta.geo import median_position
from veduta.landmarks import Landmark, Position, Reference
from veduta.sqlite import Database
from veduta.types import Float32, Int64

# What the two columns of PLACE say of a landmark: whether it has no place, and whether its place was measured.
GIVEN_PLACE, NO_PLACE = (0, 0), (1, 0)
PLACE = """SELECT l.latitude IS NULL AND l.longitude IS NULL, coalesce(o.measured, 0) FROM landmark AS l
           LEFT JOIN landmark_origin AS o ON o.landmark = l.id WHERE l.id = ?"""
POSITIONS = """SELECT o.latitude, o.longitude FROM reference AS r JOIN reference_origin AS o ON o.row = r.row
               WHERE r.landmark = ? AND o.latitude BETWEEN -90 AND 90 AND o.longitude BETWEEN -180 AND 180"""
MEASURED = """INSERT INTO landmark_origin (landmark, measured) VALUES (?, ?)
              ON CONFLICT (landmark) DO UPDATE SET measured = excluded.measured"""
GIVEN = "UPDATE landmark_origin SET measured = 0 WHERE landmark = ?"
LAST_ADDITION = """SELECT id, added, source,
                   (SELECT count(*) FROM reference_origin WHERE reference_origin.addition = addition.id)
                   FROM addition WHERE id = (SELECT max(addition) FROM reference_origin)"""
ADDED = """SELECT r.id, r.landmark, r.photo, r.sha256, r.license FROM reference AS r
           JOIN reference_origin AS o ON o.row = r.row WHERE o.addition = ?"""
REMOVE_EMPTY = """DELETE FROM landmark WHERE id IN (SELECT landmark FROM landmark_origin WHERE addition = ?)
                  AND NOT EXISTS (SELECT 1 FROM reference WHERE reference.landmark = landmark.id)"""


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

    def count_until(self, row_id: int) -> int:
        """Return the number of references whose row id is at most this."""
        return int(self._db.rows("SELECT count(*) FROM reference WHERE row <= ?", (row_id,))[0][0])

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


@dataclass(frozen=True)
class Addition:
    """One call that added references, as long as any of them is there.

    Attributes:
        id: its number; later ones have higher numbers.
        added: when it began, in UTC.
        source: the folder, table or photo they came from.
        references: how many of them are there.
    """

    id: int
    added: datetime
    source: str
    references: int


@dataclass(frozen=True)
class RemovedAddition:
    """An addition that was taken back.

    Attributes:
        addition: as it was.
        references: those removed.
        landmarks: how many landmarks went with them: those that it had made, without references of others.
    """

    addition: Addition
    references: tuple[Reference, ...]
    landmarks: int


class Additions:
    """What each call of `add` brought, so that the last one can be taken back.

    Args:
        db: the gallery's file.
        writing: runs its body as one transaction.
    """

    def __init__(self, db: Database, writing: Callable[[], AbstractContextManager[sqlite3.Connection]]) -> None:
        self._db, self._writing = db, writing

    def begin(self, source: str) -> int:
        """Return the number of a new addition from a folder, table or photo."""
        now = datetime.now(UTC).isoformat(timespec="seconds")
        with self._writing() as db:
            return int(db.execute("INSERT INTO addition (added, source) VALUES (?, ?)", (now, source)).lastrowid or 0)

    def last(self) -> Addition | None:
        """Return the last addition of which references are there, or None."""
        with self._db.decoding():
            rows = self._db.rows(LAST_ADDITION)
            return next((Addition(id, datetime.fromisoformat(at), *others) for id, at, *others in rows), None)

    def remove_last(self) -> RemovedAddition | None:
        """Remove what the last addition brought and return that; None where nothing is left of any.

        Landmarks that were there before keep the names and places they have now.
        """
        with self._writing() as db:
            last = self.last()
            if last is None:
                return None
            references = tuple(Reference(*row) for row in db.execute(ADDED, (last.id,)))
            db.execute(
                "DELETE FROM reference WHERE row IN (SELECT row FROM reference_origin WHERE addition = ?)", (last.id,)
            )
            made = db.execute(REMOVE_EMPTY, (last.id,))
            measure_places(db, (reference.landmark for reference in references))
        return RemovedAddition(last, references, made.rowcount)


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


def merge_landmark(db: sqlite3.Connection, landmark: Landmark, addition: int | None = None) -> None:
    """Insert a landmark, as one that this addition made, or replace the fields of the stored one that this one has."""
    known = db.execute("SELECT latitude, longitude FROM landmark WHERE id = ?", (landmark.id,)).fetchone()
    db.execute(
        """INSERT INTO landmark (id, name, latitude, longitude, url) VALUES (?, ?, ?, ?, ?)
           ON CONFLICT (id) DO UPDATE SET
           name = CASE WHEN excluded.name = excluded.id THEN name ELSE excluded.name END,
           latitude = coalesce(excluded.latitude, latitude), longitude = coalesce(excluded.longitude, longitude),
           url = coalesce(excluded.url, url)""",
        (landmark.id, landmark.name, landmark.latitude, landmark.longitude, landmark.url),
    )
    if known is None:
        db.execute("INSERT INTO landmark_origin (landmark, addition) VALUES (?, ?)", (landmark.id, addition))
    elif (landmark.latitude, landmark.longitude) not in ((None, None), known):
        db.execute(GIVEN, (landmark.id,))


def replace_landmark(db: sqlite3.Connection, landmark: Landmark) -> None:
    """Store a landmark as given, new or in place of the one with its id; a measured place that is given stays so."""
    known = db.execute("SELECT latitude, longitude FROM landmark WHERE id = ?", (landmark.id,)).fetchone()
    db.execute("INSERT OR IGNORE INTO landmark (id, name) VALUES (?, ?)", (landmark.id, landmark.id))
    values = landmark.name, landmark.latitude, landmark.longitude, landmark.url, landmark.id
    db.execute("UPDATE landmark SET name = ?, latitude = ?, longitude = ?, url = ? WHERE id = ?", values)
    if (landmark.latitude, landmark.longitude) != known:
        db.execute(GIVEN, (landmark.id,))


def measure_places(db: sqlite3.Connection, landmarks: Iterable[str]) -> None:
    """Give landmarks without a place of their own the median of their references' positions, or none without any."""
    for id in set(landmarks):
        known = db.execute(PLACE, (id,)).fetchone()
        place = median_position(db.execute(POSITIONS, (id,))) if known and known != GIVEN_PLACE else None
        if known in (None, GIVEN_PLACE) or (known == NO_PLACE and place is None):
            continue
        db.execute("UPDATE landmark SET latitude = ?, longitude = ? WHERE id = ?", (*(place or (None, None)), id))
        db.execute(MEASURED, (id, place is not None))


def put_reference(
    db: sqlite3.Connection, reference: Reference, descriptor: Float32, position: Position | None, addition: int | None
) -> tuple[int, Reference] | None:
    """Insert a reference, under a longer id where its own is taken; return its row and the stored one.

    Returns:
        None where the content is in the gallery already.
    """
    if db.execute("SELECT 1 FROM reference WHERE sha256 = ?", (reference.sha256,)).fetchone():
        return None
    if db.execute("SELECT 1 FROM reference WHERE id = ?", (reference.id,)).fetchone():
        reference = replace(reference, id=f"{reference.id}~{reference.sha256[:12]}")
    values = {**vars(reference), "descriptor": descriptor.astype(np.float16).tobytes()}
    insert = f"INSERT INTO reference ({', '.join(values)}) VALUES ({', '.join('?' * len(values))})"  # noqa: S608
    row_id = int(db.execute(insert, tuple(values.values())).lastrowid or 0)
    if position is not None or addition is not None:
        origin = row_id, *(position or (None, None)), addition
        db.execute("INSERT INTO reference_origin (row, latitude, longitude, addition) VALUES (?, ?, ?, ?)", origin)
    return row_id, reference
