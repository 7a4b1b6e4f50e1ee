"""One gallery on disk: a folder with one SQLite file, transactional, that says which models made it.

Every change is one transaction in write-ahead mode, so a process killed at any moment leaves a gallery that opens
and goes on, and two processes adding at once take turns. Local features are kept as bytes (one byte per descriptor
component, two per coordinate), with a thumbnail as evidence, so that no reference photo is ever read again. Both lie
in tables of their own: what is read of millions, the descriptors, lies close together.
"""

from __future__ import annotations

import json
import os
import sqlite3
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import astuple, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from veduta.errors import GalleryError
from veduta.features_codec import pack_features, unpack_features
from veduta.gallery.match_graph import MIN_CONFIRMING, count_confirmed, expected_inliers, keep_confirmed
from veduta.gallery.parallel_reader import ParallelReader
from veduta.gallery.schema import SCHEMA_VERSION, connect, migrate, write_schema
from veduta.types import Float32, Int64, Landmark, LocalFeatures, Reference, UInt8

GALLERY_FILE = "gallery.sqlite"
MODELS_FOLDER = "models"  # folder of models that do not ship
COUNTED = "SELECT f.features, u.counts FROM {} LEFT JOIN usefulness AS u ON u.row = f.row WHERE {} = ?"
BY_ROW = COUNTED.format("features AS f", "f.row")
BY_ROWS = """SELECT f.row, f.features, u.counts FROM features AS f LEFT JOIN usefulness AS u ON u.row = f.row
             WHERE f.row IN ({})"""
BY_ID = COUNTED.format("reference AS r JOIN features AS f ON f.row = r.row", "r.id")
REFERENCE = "SELECT id, landmark, photo, sha256, licence FROM reference"


@dataclass(frozen=True, eq=False)
class NewReference:
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


@dataclass(frozen=True, eq=False)
class ReferencePair:
    """What holding a reference against another of its landmark has found.

    Attributes:
        row: the other's row.
        mine: (K,) int64, the keypoints of the reference that are inliers, by number.
        theirs: (K,) int64, those of the other.
        lengths: keypoints of the reference and of the other when they were matched.
    """

    row: int
    mine: Int64
    theirs: Int64
    lengths: tuple[int, int]


class Store:
    """The rows of one gallery. Open it with `create` or `open`; use from one thread at a time.

    Args:
        path: the gallery's folder.
        connection: an open connection to its file.
    """

    def __init__(self, path: Path, connection: sqlite3.Connection) -> None:
        self.path, self._db = path, connection
        self._readers = ParallelReader(path / GALLERY_FILE, connection)
        self.writable = all(os.access(file, os.W_OK) for file in (path, path / GALLERY_FILE))

    @classmethod
    def create(
        cls,
        path: str | os.PathLike[str],
        settings: Mapping[str, Any],
        prepare: Callable[[Path], None] = lambda folder: None,
    ) -> Store:
        """Make an empty gallery in a new or empty folder and return it open; GalleryError if something is there.

        Args:
            path: the folder.
            settings: what made it.
            prepare: writes what else belongs into the folder's MODELS, before it becomes a gallery.
        """
        folder = Path(path)
        try:
            folder.mkdir(parents=True, exist_ok=True)
            left = (f".{GALLERY_FILE}.", MODELS_FOLDER)  # by a creation that was killed
            if any(not file.name.startswith(left) for file in folder.iterdir()):
                raise GalleryError(f"{folder}: is not empty; choose a new folder for the gallery")
            prepare(folder)
            draft = folder / f".{GALLERY_FILE}.{os.getpid()}"
            write_schema(draft, settings)
            draft.replace(folder / GALLERY_FILE)  # a creation killed half-way leaves no half gallery
        except (OSError, sqlite3.Error) as error:
            reason = getattr(error, "strerror", None) or error
            raise GalleryError(f"{folder}: cannot hold a gallery ({reason}); choose another folder") from error
        return cls.open(folder)

    @classmethod
    def open(cls, path: str | os.PathLike[str]) -> Store:
        """Return the gallery in this folder, open; GalleryError if there is none or it cannot be understood."""
        folder = Path(path)
        if not (folder / GALLERY_FILE).is_file():
            raise GalleryError(
                f"{folder}: is not a gallery (no {GALLERY_FILE} in it); make one with 'veduta create {folder}'"
            )
        store = cls(folder, connect(folder / GALLERY_FILE))
        try:
            store._check_schema()
        except GalleryError:
            store.close()
            raise
        return store

    def close(self) -> None:
        """Close the file; the store cannot be used any more."""
        self._readers.close()
        self._db.close()

    def _check_schema(self) -> None:
        version = int(self._ask("PRAGMA user_version")[0][0])
        older = 1 <= version < SCHEMA_VERSION
        if older and self.writable:
            with self._faults("cannot be brought up to date", "is another process using it?"):
                migrate(self._db)
        elif older:
            raise GalleryError(f"{self.path}: was made by an older Veduta; open it once where it may be written")
        elif version != SCHEMA_VERSION:
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
            raise GalleryError(f"{self.path / GALLERY_FILE}: {what} ({error}); {remedy}") from error

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

    def add(self, landmarks: Iterable[Landmark], entries: Sequence[NewReference]) -> list[Reference]:
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

    def put_landmark(self, landmark: Landmark) -> None:
        """Keep a landmark as it is given here, new or in the place of what was known of it."""
        with self._writing() as db:
            db.execute("INSERT OR IGNORE INTO landmark (id, name) VALUES (?1, ?1)", (landmark.id,))
            values = landmark.name, landmark.latitude, landmark.longitude, landmark.url, landmark.id
            db.execute("UPDATE landmark SET name = ?, latitude = ?, longitude = ?, url = ? WHERE id = ?", values)

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
        counts = dict(self._ask("SELECT landmark, count(*) FROM reference GROUP BY landmark"))
        rows = self._ask("SELECT id, name, latitude, longitude, url FROM landmark ORDER BY id")
        return {row[0]: (Landmark(*row), counts.get(row[0], 0)) for row in rows}

    def landmark(self, id: str) -> Landmark | None:
        """Return one landmark, or None."""
        found = self._ask("SELECT id, name, latitude, longitude, url FROM landmark WHERE id = ?", (id,))
        return Landmark(*found[0]) if found else None

    def references(self, landmark: str | None = None) -> list[Reference]:
        """Return the references, of one landmark or of all, in the order of ids."""
        query = f"{REFERENCE} WHERE ?1 IS NULL OR landmark = ?1 ORDER BY id"
        return [Reference(*row) for row in self._ask(query, (landmark,))]

    def covers(self) -> dict[str, str]:
        """Return landmark id -> the id of its first reference, for those that have any."""
        return dict(self._ask("SELECT landmark, min(id) FROM reference GROUP BY landmark"))

    def find_content(self, sha256: str) -> Reference | None:
        """Return the reference made from a photo with this content, or None."""
        return next((Reference(*row) for row in self._ask(f"{REFERENCE} WHERE sha256 = ?", (sha256,))), None)

    def rows(self) -> set[int]:
        """Return the row numbers of all references; a number is never given twice."""
        return {row for (row,) in self._ask("SELECT row FROM reference")}

    def descriptors(self, after: int = 0, most: int = -1) -> tuple[Int64, Float32]:
        """Return what was added past row `after`: row numbers (N,), rising, and descriptors (N, D) float32 of norm 1.

        Args:
            after: a row number; 0 for all.
            most: of how many at most, the first ones; -1 for no limit.
        """
        rows = self._ask("SELECT row, descriptor FROM reference WHERE row > ? ORDER BY row LIMIT ?", (after, most))
        return np.array([row for row, _ in rows], np.int64), _matrix([data for _, data in rows])

    def features_of(self, rows: Sequence[int]) -> dict[int, tuple[LocalFeatures, UInt8]]:
        """Return row -> its local features and how many photos confirm each (N,), for those of these that are there."""
        with self._faults("cannot be read", "restore it from a copy"):
            found = self._readers.fetch(BY_ROWS, rows)
        return {row: _with_usefulness(features, useful) for row, features, useful in found}

    def labels(self, rows: Sequence[int]) -> dict[int, tuple[str, str]]:
        """Return row -> (reference id, landmark id), for those of these rows that are there."""
        marks = ",".join("?" * len(rows))
        query = f"SELECT row, id, landmark FROM reference WHERE row IN ({marks})"  # noqa: S608
        return {row: (id, landmark) for row, id, landmark in self._ask(query, rows)}

    def placed(self, rows: Sequence[int]) -> dict[int, tuple[str, str, str | None, float | None, float | None]]:
        """Return row -> (reference id, landmark id, licence, latitude, longitude), where there is one."""
        marks = ",".join("?" * len(rows))
        query = f"""SELECT r.row, r.id, r.landmark, r.licence, l.latitude, l.longitude FROM reference AS r
                    JOIN landmark AS l ON l.id = r.landmark WHERE r.row IN ({marks})"""  # noqa: S608
        return {row: (id, landmark, *rest) for row, id, landmark, *rest in self._ask(query, rows)}

    def removed(self, after: int = 0) -> tuple[int, Int64]:
        """Return the rows (N,) that went since the log of removals had `after` entries, and how many it has now."""
        found = self._ask("SELECT seq, row FROM removed WHERE seq > ? ORDER BY seq", (after,))
        return (found[-1][0] if found else after), np.array([row for _, row in found], np.int64)

    def removals(self) -> int:
        """Return how many entries the log of removals has."""
        return int(self._ask("SELECT coalesce(max(seq), 0) FROM removed")[0][0])

    def last_row(self) -> int:
        """Return the highest row number, 0 without references."""
        return int(self._ask("SELECT coalesce(max(row), 0) FROM reference")[0][0])

    def rows_of(self, landmarks: Iterable[str]) -> Int64:
        """Return the rows (N,), rising, of these landmarks' references."""
        ids = sorted(set(landmarks))
        found: list[int] = []
        for start in range(0, len(ids), 1000):
            some = ids[start : start + 1000]
            query = f"SELECT row FROM reference WHERE landmark IN ({','.join('?' * len(some))})"  # noqa: S608
            found += [row for (row,) in self._ask(query, some)]
        return np.array(sorted(found), np.int64)

    def features(self, id: str) -> tuple[LocalFeatures, UInt8] | None:
        """Return one reference's local features and how many photos confirm each (N,), or None when it is gone."""
        found = self._ask(BY_ID, (id,))
        return _with_usefulness(*found[0]) if found else None

    # --- relatives: photos of one landmark held against one another -----------------------------------------------

    def uncompared(self) -> list[tuple[int, str]]:
        """Return (row, landmark id) of the references not yet held against their landmark's others, in order."""
        query = """SELECT r.row, r.landmark FROM reference AS r LEFT JOIN usefulness AS u ON u.row = r.row
                   WHERE coalesce(u.compared, 0) = 0 ORDER BY r.row"""
        return [(int(row), str(landmark)) for row, landmark in self._ask(query)]

    def same_landmark(self, landmark: str) -> tuple[Int64, list[str], Float32]:
        """Return the rows (N,) of a landmark's references, their ids, rising, and their descriptors (N, D)."""
        query = "SELECT row, id, descriptor FROM reference WHERE landmark = ? ORDER BY id"
        rows = self._ask(query, (landmark,))
        numbers = np.array([row for row, _, _ in rows], np.int64)
        return numbers, [id for _, id, _ in rows], _matrix([data for _, _, data in rows])

    def features_at(self, row: int) -> tuple[LocalFeatures, UInt8] | None:
        """Return what `features` does, by row."""
        found = self._ask(BY_ROW, (row,))
        return _with_usefulness(*found[0]) if found else None

    def compared_with(self, row: int) -> set[int]:
        """Return the rows that a reference has been held against."""
        return {int(b) for (b,) in self._ask("SELECT b FROM kin WHERE a = ?", (row,))}

    def add_pairs(self, row: int, found: Sequence[ReferencePair]) -> None:
        """Note what holding a reference against others of its landmark has found, in one transaction.

        Each keypoint that is an inlier becomes more useful. Call `finish_kin` when a landmark is through. What a photo
        confirmed stays when it is removed.
        """
        with self._writing() as db:
            for kin in found:
                pair = (row, kin.row), (kin.row, row)
                present = "SELECT ?1, ?2, ?3 WHERE (SELECT count(*) FROM reference WHERE row IN (?1, ?2)) = 2"
                new = [db.execute(f"INSERT OR IGNORE INTO kin {present}", (*p, len(kin.mine))).rowcount for p in pair]
                if all(new):
                    _confirm(db, row, kin.mine, kin.lengths[0])
                    _confirm(db, kin.row, kin.theirs, kin.lengths[1])

    def finish_landmark(self, rows: Sequence[int], compared: Sequence[int]) -> None:
        """Keep the most useful keypoints of the references at `rows`, and note which have been compared, at once."""
        with self._writing() as db:
            for row in rows:
                _prune(db, row)
            for row in compared:
                _put_usefulness(db, row, None, compared=True)

    def shrink(self) -> None:
        """Give back the space that dropped keypoints and removed references leave in the file."""
        with self._faults("cannot be written", "is another process using it?"):
            self._db.executescript("PRAGMA incremental_vacuum")  # `execute` would stop at the first page
            self._db.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchall()

    def expected_inliers(self, ids: Sequence[str]) -> dict[str, float]:
        """Return reference id -> inliers expected of a photo of the same; an entry only where relatives are known."""
        marks = ",".join("?" * len(ids))
        query = f"SELECT r.id, k.num_inliers FROM reference AS r JOIN kin AS k ON k.a = r.row WHERE r.id IN ({marks})"  # noqa: S608
        found: dict[str, list[int]] = {}
        for id, count in self._ask(query, ids):
            found.setdefault(id, []).append(count)
        return {id: expected_inliers(counts) for id, counts in found.items()}

    # --- attachments ------------------------------------------------------------------------------------------------

    def put_attachment(self, name: str, content: bytes | None) -> None:
        """Keep a file of this name inside the gallery, replacing an older one; None removes it."""
        with self._writing() as db:
            db.execute("DELETE FROM attachment WHERE name = ?", (name,))
            if content is not None:
                db.execute("INSERT INTO attachment VALUES (?, ?)", (name, content))

    def get_attachment(self, name: str) -> bytes | None:
        """Return the file of this name kept inside the gallery, or None."""
        found = self._ask("SELECT content FROM attachment WHERE name = ?", (name,))
        return bytes(found[0][0]) if found else None

    def evidence(self, id: str) -> tuple[Reference, LocalFeatures, bytes] | None:
        """Return a reference with its local features and thumbnail, or None when it is gone."""
        query = """SELECT r.id, r.landmark, r.photo, r.sha256, r.licence, f.features, t.thumbnail FROM reference AS r
                   JOIN features AS f ON f.row = r.row JOIN thumbnail AS t ON t.row = r.row WHERE r.id = ?"""
        found = self._ask(query, (id,))
        return (Reference(*found[0][:5]), unpack_features(found[0][5]), found[0][6]) if found else None

    def counts(self) -> tuple[int, int]:
        """Return how many landmarks and how many references there are."""
        query = "SELECT (SELECT count(*) FROM landmark), (SELECT count(*) FROM reference)"
        landmarks, references = self._ask(query)[0]
        return int(landmarks), int(references)

    def bytes_on_disk(self) -> int:
        """Return the size of all the gallery's files."""
        return sum(_bytes(file) for file in self.path.rglob("*") if not file.is_dir())


def _matrix(rows: Sequence[bytes]) -> Float32:
    """Return the descriptors kept as these bytes, (N, D) of norm 1."""
    data = np.frombuffer(b"".join(rows), np.float16).astype(np.float32)
    matrix = data.reshape(len(rows), -1) if rows else np.zeros((0, 0), np.float32)
    return np.asarray(matrix / np.maximum(np.linalg.norm(matrix, axis=1, keepdims=True), 1e-12), np.float32)


def _with_usefulness(features: bytes, useful: bytes | None) -> tuple[LocalFeatures, UInt8]:
    unpacked = unpack_features(features)
    counts = np.frombuffer(useful, np.uint8) if useful else np.zeros(len(unpacked), np.uint8)
    return unpacked, counts


def _counts(db: sqlite3.Connection, row: int) -> tuple[LocalFeatures, UInt8] | None:
    found = db.execute(BY_ROW, (row,)).fetchone()
    return _with_usefulness(*found) if found else None


def _put_usefulness(db: sqlite3.Connection, row: int, counts: UInt8 | None, *, compared: bool = False) -> None:
    """Note how useful the keypoints of a reference are, if they are given, and that it has been compared, if so."""
    db.execute(
        """INSERT INTO usefulness SELECT ?1, coalesce(?2, x''), ?3 WHERE EXISTS (SELECT 1 FROM reference WHERE row = ?1)
           ON CONFLICT (row) DO UPDATE SET counts = coalesce(?2, counts), compared = max(compared, ?3)""",
        (row, None if counts is None else counts.tobytes(), int(compared)),
    )


def _confirm(db: sqlite3.Connection, row: int, keypoints: Int64, length: int) -> None:
    """Count up how useful these keypoints of a reference are, unless it was pruned since it had `length` of them."""
    found = _counts(db, row)
    if found is not None and len(found[1]) == length:
        _put_usefulness(db, row, count_confirmed(found[1], keypoints))


def _prune(db: sqlite3.Connection, row: int) -> None:
    """Drop the keypoints of a reference that matter least, once enough others have confirmed some."""
    confirming = db.execute("SELECT count(*) FROM kin WHERE a = ? AND num_inliers > 0", (row,)).fetchone()[0]
    found = _counts(db, row) if confirming >= MIN_CONFIRMING else None
    if found is None:
        return
    kept, counts = keep_confirmed(*found, confirming)
    if len(kept) < len(found[0]):
        db.execute("UPDATE features SET features = ? WHERE row = ?", (pack_features(kept), row))
        _put_usefulness(db, row, counts)


def _bytes(file: Path) -> int:
    try:
        return file.stat().st_size
    except FileNotFoundError:  # the log of changes goes when another process closes the gallery
        return 0


def _put_landmark(db: sqlite3.Connection, landmark: Landmark) -> None:
    db.execute(
        """INSERT INTO landmark VALUES (?, ?, ?, ?, ?) ON CONFLICT (id) DO UPDATE SET
           name = CASE WHEN excluded.name = excluded.id THEN name ELSE excluded.name END,
           latitude = coalesce(excluded.latitude, latitude), longitude = coalesce(excluded.longitude, longitude),
           url = coalesce(excluded.url, url)""",
        (landmark.id, landmark.name, landmark.latitude, landmark.longitude, landmark.url),
    )


def _put_entry(db: sqlite3.Connection, entry: NewReference) -> Reference | None:
    """Insert one reference and return it as stored, or None when its content is already there."""
    reference = entry.reference
    if db.execute("SELECT 1 FROM reference WHERE sha256 = ?", (reference.sha256,)).fetchone():
        return None
    name = reference.id
    if db.execute("SELECT 1 FROM reference WHERE id = ?", (name,)).fetchone():
        name = f"{reference.id}~{reference.sha256[:12]}"
    kept = Reference(name, reference.landmark, reference.photo, reference.sha256, reference.license)
    values = (*astuple(kept), entry.descriptor.astype(np.float16).tobytes())
    columns = "id, landmark, photo, sha256, licence, descriptor"
    row = db.execute(f"INSERT INTO reference ({columns}) VALUES (?, ?, ?, ?, ?, ?)", values).lastrowid  # noqa: S608
    db.execute("INSERT INTO features VALUES (?, ?)", (row, pack_features(entry.features)))
    db.execute("INSERT INTO thumbnail VALUES (?, ?)", (row, entry.thumbnail))
    return kept
