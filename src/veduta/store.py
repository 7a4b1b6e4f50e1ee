"""One gallery on disk: a folder with one SQLite file, transactional, that says which models made it.

Every change is one transaction in write-ahead mode, so a process killed at any moment leaves a gallery that opens
and goes on, and two processes adding at once take turns. Local features are kept as bytes (one byte per descriptor
component, two per coordinate), with a thumbnail as evidence, so that no reference photo is ever read again.
"""

from __future__ import annotations

import json
import os
import sqlite3
import struct
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from veduta.errors import GalleryError
from veduta.types import Float32, Int64, Landmark, LocalFeatures, Reference

FILE = "gallery.sqlite"
SCHEMA_VERSION = 1
BUSY_SECONDS = 60.0  # how long one process waits for another's transaction; each takes milliseconds
SCHEMA = """
CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL) STRICT, WITHOUT ROWID;
CREATE TABLE landmark (
    id TEXT PRIMARY KEY, name TEXT NOT NULL, latitude REAL, longitude REAL, url TEXT
) STRICT, WITHOUT ROWID;
CREATE TABLE reference (
    row INTEGER PRIMARY KEY AUTOINCREMENT,
    id TEXT NOT NULL UNIQUE,
    landmark TEXT NOT NULL REFERENCES landmark (id) ON DELETE CASCADE,
    photo TEXT NOT NULL,
    sha256 TEXT NOT NULL UNIQUE,
    descriptor BLOB NOT NULL,
    features BLOB NOT NULL,
    thumbnail BLOB NOT NULL
) STRICT;
CREATE INDEX reference_landmark ON reference (landmark);
"""


@dataclass(frozen=True, eq=False)
class Entry:
    """A reference with everything the gallery keeps of its photo.

    Attributes:
        reference: id, landmark, photo and content hash.
        descriptor: (D,) float32 of norm 1.
        features: its local features.
        thumbnail: a small encoded picture, shown as evidence when the photo itself is gone.
    """

    reference: Reference
    descriptor: Float32
    features: LocalFeatures
    thumbnail: bytes


class Store:
    """The rows of one gallery. Open it with `create` or `open`; use from one thread at a time.

    Args:
        path: the gallery's folder.
        connection: an open connection to its file.
    """

    def __init__(self, path: Path, connection: sqlite3.Connection) -> None:
        self.path, self._db = path, connection

    @classmethod
    def create(cls, path: str | os.PathLike[str], settings: Mapping[str, Any]) -> Store:
        """Make an empty gallery in a new or empty folder and return it open; GalleryError if something is there."""
        folder = Path(path)
        try:
            folder.mkdir(parents=True, exist_ok=True)
            if any(not file.name.startswith(f".{FILE}.") for file in folder.iterdir()):  # drafts of a killed creation
                raise GalleryError(f"{folder}: is not empty; choose a new folder for the gallery")
            draft = folder / f".{FILE}.{os.getpid()}"
            _write_schema(draft, settings)
            draft.replace(folder / FILE)  # a creation killed half-way leaves no half gallery
        except (OSError, sqlite3.Error) as error:
            reason = getattr(error, "strerror", None) or error
            raise GalleryError(f"{folder}: cannot hold a gallery ({reason}); choose another folder") from error
        return cls.open(folder)

    @classmethod
    def open(cls, path: str | os.PathLike[str]) -> Store:
        """Return the gallery in this folder, open; GalleryError if there is none or it cannot be understood."""
        folder = Path(path)
        if not (folder / FILE).is_file():
            raise GalleryError(f"{folder}: is not a gallery (no {FILE} in it); make one with 'veduta create {folder}'")
        store = cls(folder, _connect(folder / FILE))
        try:
            store._check_schema()
        except GalleryError:
            store.close()
            raise
        return store

    def close(self) -> None:
        """Close the file; the store cannot be used any more."""
        self._db.close()

    def _check_schema(self) -> None:
        version = int(self._ask("PRAGMA user_version")[0][0])
        if version != SCHEMA_VERSION:
            wrong = f"has schema {version}, this Veduta reads {SCHEMA_VERSION}"
            raise GalleryError(f"{self.path}: {wrong}; use the Veduta that made it, or create a new gallery")

    @contextmanager
    def _faults(self, what: str, remedy: str) -> Iterator[None]:
        """Turn what is wrong with the file into a GalleryError; what is wrong with the program stays as it is."""
        try:
            yield
        except (sqlite3.IntegrityError, sqlite3.ProgrammingError):
            raise
        except sqlite3.DatabaseError as error:
            raise GalleryError(f"{self.path / FILE}: {what} ({error}); {remedy}") from error

    @contextmanager
    def _transaction(self, begin: str) -> Iterator[sqlite3.Connection]:
        try:
            self._db.execute(begin)
            yield self._db
            self._db.execute("COMMIT")
        except BaseException:
            if self._db.in_transaction:  # a Ctrl-C may come just before it begins or just after it ends
                self._db.execute("ROLLBACK")
            raise

    @contextmanager
    def _writing(self) -> Iterator[sqlite3.Connection]:
        """Run the body as one transaction that also counts the revision up."""
        with self._faults("cannot be written", "is another process using it?"), self._transaction("BEGIN IMMEDIATE"):
            yield self._db
            self._db.execute("UPDATE meta SET value = value + 1 WHERE key = 'revision'")

    @contextmanager
    def reading(self) -> Iterator[None]:
        """Let everything read in the body be of one moment, whatever other processes change meanwhile."""
        with self._faults("cannot be read", "restore it from a copy"), self._transaction("BEGIN"):
            yield

    def _ask(self, query: str, values: Sequence[Any] = ()) -> list[Any]:
        """Return all rows a query finds; GalleryError when the file is damaged."""
        with self._faults("cannot be read", "restore it from a copy"):
            return self._db.execute(query, values).fetchall()

    def revision(self) -> int:
        """Return a number that grows with every change, whichever process made it."""
        return int(self._ask("SELECT value FROM meta WHERE key = 'revision'")[0][0])

    def settings(self) -> dict[str, Any]:
        """Return the settings the gallery was made with."""
        return dict(json.loads(self._ask("SELECT value FROM meta WHERE key = 'settings'")[0][0]))

    def add(self, landmarks: Iterable[Landmark], entries: Sequence[Entry]) -> list[Reference]:
        """Add references and their landmarks in one transaction; return the references that were new.

        What a landmark says of itself replaces what was known, where it says anything. An entry whose content is
        already in the gallery is left out; one whose id is taken by another photo gets a longer id.
        """
        added = []
        with self._writing() as db:
            for landmark in landmarks:
                _put_landmark(db, landmark)
            for entry in entries:
                reference = _put_entry(db, entry)
                added += [reference] if reference else []
        return added

    def remove_reference(self, id: str) -> bool:
        """Remove one reference, keeping its landmark's name and place; return whether it was there."""
        with self._writing() as db:
            return db.execute("DELETE FROM reference WHERE id = ?", (id,)).rowcount > 0

    def remove_landmark(self, id: str) -> int:
        """Remove a landmark with all its references; return how many there were, or -1 for no such landmark."""
        with self._writing() as db:
            count = db.execute("SELECT count(*) FROM reference WHERE landmark = ?", (id,)).fetchone()[0]
            gone = db.execute("DELETE FROM landmark WHERE id = ?", (id,)).rowcount
        return int(count) if gone else -1

    def landmarks(self) -> dict[str, tuple[Landmark, int]]:
        """Return every landmark with its number of references, by id, in the order of ids."""
        query = """SELECT l.id, l.name, l.latitude, l.longitude, l.url, count(r.row) FROM landmark AS l
                   LEFT JOIN reference AS r ON r.landmark = l.id GROUP BY l.id ORDER BY l.id"""
        return {row[0]: (Landmark(*row[:5]), int(row[5])) for row in self._ask(query)}

    def references(self, landmark: str | None = None) -> list[Reference]:
        """Return the references, of one landmark or of all, in the order of ids."""
        query = "SELECT id, landmark, photo, sha256 FROM reference WHERE ?1 IS NULL OR landmark = ?1 ORDER BY id"
        return [Reference(*row) for row in self._ask(query, (landmark,))]

    def find_content(self, sha256: str) -> Reference | None:
        """Return the reference made from a photo with this content, or None."""
        query = "SELECT id, landmark, photo, sha256 FROM reference WHERE sha256 = ?"
        return next((Reference(*row) for row in self._ask(query, (sha256,))), None)

    def rows(self) -> set[int]:
        """Return the row numbers of all references; a number is never given twice."""
        return {row for (row,) in self._ask("SELECT row FROM reference")}

    def descriptors(self, after: int = 0) -> tuple[Int64, list[tuple[str, str]], Float32]:
        """Return what was added past row `after`.

        Row numbers (N,), rising; (reference id, landmark id) of each; descriptors (N, D) float32 of norm 1.
        """
        query = "SELECT row, id, landmark, descriptor FROM reference WHERE row > ? ORDER BY row"
        rows = self._ask(query, (after,))
        data = np.frombuffer(b"".join(row[3] for row in rows), np.float16).astype(np.float32)
        matrix = data.reshape(len(rows), -1) if rows else np.zeros((0, 0), np.float32)
        norms = np.linalg.norm(matrix, axis=1, keepdims=True)
        numbers = np.array([row[0] for row in rows], np.int64)
        return numbers, [(row[1], row[2]) for row in rows], matrix / np.maximum(norms, 1e-12)

    def features(self, id: str) -> LocalFeatures | None:
        """Return the local features of one reference, or None when it is gone."""
        found = self._ask("SELECT features FROM reference WHERE id = ?", (id,))
        return unpack_features(found[0][0]) if found else None

    def evidence(self, id: str) -> tuple[Reference, LocalFeatures, bytes] | None:
        """Return a reference with its local features and thumbnail, or None when it is gone."""
        query = "SELECT id, landmark, photo, sha256, features, thumbnail FROM reference WHERE id = ?"
        found = self._ask(query, (id,))
        return (Reference(*found[0][:4]), unpack_features(found[0][4]), found[0][5]) if found else None

    def counts(self) -> tuple[int, int]:
        """Return how many landmarks and how many references there are."""
        query = "SELECT (SELECT count(*) FROM landmark), (SELECT count(*) FROM reference)"
        landmarks, references = self._ask(query)[0]
        return int(landmarks), int(references)

    def bytes_on_disk(self) -> int:
        """Return the size of all the gallery's files."""
        return sum(_bytes(file) for file in self.path.iterdir())


def _bytes(file: Path) -> int:
    try:
        return file.stat().st_size
    except FileNotFoundError:  # the log of changes goes when another process closes the gallery
        return 0


def _connect(file: Path) -> sqlite3.Connection:
    connection = None
    try:
        if not all(os.access(path, os.W_OK) for path in (file, file.parent)):
            return _connect_reading(file)
        connection = sqlite3.connect(file, timeout=BUSY_SECONDS, isolation_level=None, check_same_thread=False)
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = NORMAL")
        connection.execute("PRAGMA foreign_keys = ON")
    except sqlite3.Error as error:
        if connection is not None:
            connection.close()
        raise GalleryError(f"{file}: cannot be opened ({error}); restore it from a copy") from error
    return connection


def _connect_reading(file: Path) -> sqlite3.Connection:
    """Return a connection to a gallery that may only be read, such as one on a disc or of another user."""
    # Without a log beside it the file is complete, and nobody who could change it is at work.
    how = "mode=ro" if file.with_name(file.name + "-wal").exists() else "immutable=1"
    address = f"{file.absolute().as_uri()}?{how}"
    return sqlite3.connect(address, timeout=BUSY_SECONDS, isolation_level=None, check_same_thread=False, uri=True)


def _write_schema(file: Path, settings: Mapping[str, Any]) -> None:
    file.unlink(missing_ok=True)
    connection = sqlite3.connect(file, isolation_level=None)
    try:
        connection.executescript(f"BEGIN; {SCHEMA} PRAGMA user_version = {SCHEMA_VERSION}; COMMIT;")
        rows = [("revision", "0"), ("settings", json.dumps(dict(settings), sort_keys=True))]
        connection.executemany("INSERT INTO meta VALUES (?, ?)", rows)
    finally:
        connection.close()


def _put_landmark(db: sqlite3.Connection, landmark: Landmark) -> None:
    db.execute(
        """INSERT INTO landmark VALUES (?, ?, ?, ?, ?) ON CONFLICT (id) DO UPDATE SET
           name = CASE WHEN excluded.name = excluded.id THEN name ELSE excluded.name END,
           latitude = coalesce(excluded.latitude, latitude), longitude = coalesce(excluded.longitude, longitude),
           url = coalesce(excluded.url, url)""",
        (landmark.id, landmark.name, landmark.latitude, landmark.longitude, landmark.url),
    )


def _put_entry(db: sqlite3.Connection, entry: Entry) -> Reference | None:
    """Insert one reference and return it as stored, or None when its content is already there."""
    reference = entry.reference
    if db.execute("SELECT 1 FROM reference WHERE sha256 = ?", (reference.sha256,)).fetchone():
        return None
    name = reference.id
    if db.execute("SELECT 1 FROM reference WHERE id = ?", (name,)).fetchone():
        name = f"{reference.id}~{reference.sha256[:12]}"
    values = (name, reference.landmark, reference.photo, reference.sha256)
    blobs = (entry.descriptor.astype(np.float16).tobytes(), pack_features(entry.features), entry.thumbnail)
    columns = "id, landmark, photo, sha256, descriptor, features, thumbnail"
    db.execute(f"INSERT INTO reference ({columns}) VALUES (?, ?, ?, ?, ?, ?, ?)", values + blobs)  # noqa: S608
    return Reference(*values)


# --- local features as bytes ------------------------------------------------------------------------------------

HEADER = struct.Struct("<HHIIf")  # keypoints, length of a descriptor, width, height, value of one descriptor step
PLACES = 65_535


def pack_features(features: LocalFeatures) -> bytes:
    """Return local features as bytes: D + 6 a keypoint, positions to 1/65535 of the side, descriptors to 1/127."""
    step = float(np.abs(features.descriptors).max(initial=1e-6)) / 127
    side = np.array(features.size, np.float32)
    places = np.clip(np.round((features.keypoints + 0.5) / side * PLACES), 0, PLACES).astype("<u2")
    steps = np.clip(np.round(features.descriptors / step), -127, 127).astype(np.int8)
    header = HEADER.pack(len(features), features.descriptors.shape[1], *features.size, step)
    return b"".join((header, places.tobytes(), steps.tobytes(), features.scores.astype("<f2").tobytes()))


def unpack_features(data: bytes) -> LocalFeatures:
    """Return what `pack_features` kept; descriptors have norm 1 again."""
    n, dim, width, height, step = HEADER.unpack_from(data)
    places = np.frombuffer(data, "<u2", 2 * n, HEADER.size).reshape(n, 2)
    steps = np.frombuffer(data, np.int8, dim * n, HEADER.size + 4 * n).reshape(n, dim)
    scores = np.frombuffer(data, "<f2", n, HEADER.size + (4 + dim) * n)
    keypoints = places.astype(np.float32) / PLACES * np.array((width, height), np.float32) - 0.5
    descriptors = steps.astype(np.float32) * step
    norms = np.linalg.norm(descriptors, axis=1, keepdims=True)
    return LocalFeatures(
        keypoints.astype(np.float32), descriptors / np.maximum(norms, 1e-12), scores.astype(np.float32), (width, height)
    )
