"""One gallery on disk: a folder with one SQLite file, transactional, that says which models made it.

Every change is one transaction in write-ahead mode: a process killed at any moment leaves a gallery that opens, and
two processes adding at once take turns. Local features (D + 6 bytes a keypoint) and thumbnails lie in separate tables,
so that no reference photo is read again, and the descriptors, which are read of millions, lie close together.
"""

from __future__ import annotations

import json
import os
import sqlite3
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from veduta.errors import GalleryError
from veduta.features_codec import pack_features, unpack_features
from veduta.files import file_bytes
from veduta.gallery.match_graph import MatchGraph, with_confirmations
from veduta.gallery.parallel_reader import ParallelReader
from veduta.gallery.rows import (
    Additions,
    DescriptorRows,
    measure_places,
    merge_landmark,
    put_reference,
    replace_landmark,
)
from veduta.gallery.schema import SCHEMA_VERSION, migrate, write_schema
from veduta.landmarks import Landmark, LandmarkCount, Position, Reference
from veduta.sqlite import Database
from veduta.sqlite.connections import is_writable
from veduta.sqlite.faults import gallery_fault
from veduta.types import Float32, LocalFeatures, UInt8

GALLERY_FILE = "gallery.sqlite"
MODELS_FOLDER = "models"  # folder of models that do not ship
FEATURES_OF = """SELECT f.row, f.features, u.counts FROM features AS f
                 LEFT JOIN keypoint_support AS u ON u.row = f.row WHERE f.row IN ({})"""
REFERENCE = "SELECT id, landmark, photo, sha256, license FROM reference"
LANDMARK = "SELECT id, name, latitude, longitude, url FROM landmark"


@dataclass(frozen=True, eq=False)
class NewReference:
    """A reference with everything the gallery keeps of its photo.

    Attributes:
        reference: id, landmark, photo and content hash.
        descriptor: (D,) float32 of norm 1.
        features: its local features.
        thumbnail: a small encoded picture, shown as evidence when the photo itself is gone.
        position: where the photo was taken, as the camera wrote that, or None.
    """

    reference: Reference
    descriptor: Float32
    features: LocalFeatures
    thumbnail: bytes
    position: Position | None = None


class Store:
    """The rows of one gallery; open one with `create` or `open`, and use the object from one thread at a time.

    Args:
        path: the gallery's folder.

    Attributes:
        path: the gallery's folder.
        writable: whether this process may change the gallery.
        graph: the verified pairs among references of one landmark.
        rows: descriptors by row id and the log of removals, which indexes follow.
        additions: what each call of `add` brought.

    Raises:
        GalleryError: the file cannot be opened.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        file = path / GALLERY_FILE
        self.writable = is_writable(file)
        self._db = Database(file, gallery_fault, read_only=not self.writable)
        self._reader = ParallelReader(file, self._db)
        self.graph = MatchGraph(self._db, self._writing)
        self.rows, self.additions = DescriptorRows(self._db), Additions(self._db, self._writing)

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
            settings: the models and settings that make the gallery.
            prepare: writes further files into the folder's MODELS_FOLDER, before it becomes a gallery.
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
        """Return the gallery in this folder, open; GalleryError if there is none or its schema is unknown."""
        folder = Path(path)
        if not (folder / GALLERY_FILE).is_file():
            missing = f"{folder}: is not a gallery (no {GALLERY_FILE} in it)"
            raise GalleryError(f"{missing}; make one with 'veduta create {folder}'")
        store = cls(folder)
        try:
            store._check_schema()
        except GalleryError:
            store.close()
            raise
        return store

    def close(self) -> None:
        """Close the file; the store cannot be used any more."""
        self._reader.close()
        self._db.close()

    def _check_schema(self) -> None:
        version = int(self._db.rows("PRAGMA user_version")[0][0])
        older = 1 <= version < SCHEMA_VERSION
        if older and self.writable:
            with self._db.faults("cannot be brought up to date"):
                migrate(self._db.connection, self.path / MODELS_FOLDER)
        elif older:
            raise GalleryError(f"{self.path}: was made by an older Veduta; open it once where it may be written")
        elif version != SCHEMA_VERSION:
            wrong = f"has schema {version}, this Veduta reads {SCHEMA_VERSION}"
            raise GalleryError(f"{self.path}: {wrong}; use the Veduta that made it, or create a new gallery")

    @contextmanager
    def _writing(self) -> Iterator[sqlite3.Connection]:
        """Run the body as one transaction that also counts the revision up."""
        with self._db.transaction() as connection:
            yield connection
            connection.execute("UPDATE meta SET value = value + 1 WHERE key = 'revision'")

    @contextmanager
    def reading(self) -> Iterator[None]:
        """Let everything read in the body be of one moment, whatever other processes change meanwhile."""
        with self._db.transaction("BEGIN", "cannot be read"):
            yield

    def revision(self) -> int:
        """Return a number that grows with every change, whichever process made it."""
        with self._db.decoding():
            return int(self._db.rows("SELECT value FROM meta WHERE key = 'revision'")[0][0])

    def settings(self) -> dict[str, Any]:
        """Return the settings the gallery was made with."""
        rows = self._db.rows("SELECT value FROM meta WHERE key = 'settings'")
        try:
            return dict(json.loads(rows[0][0]))
        except (IndexError, ValueError, TypeError, RecursionError) as error:
            wrong = f"{self.path}: the settings it was made with are damaged ({error})"
            raise GalleryError(f"{wrong}; restore the gallery from a copy") from error

    def add(
        self, landmarks: Iterable[Landmark], entries: Sequence[NewReference], addition: int | None = None
    ) -> list[Reference]:
        """Add references and their landmarks in one transaction; return the references that were new.

        The fields a landmark has replace those stored before; one that nobody gave a place has the median of its
        references' positions. An entry whose content is already in the gallery is left out; one whose id is taken by
        another photo gets a longer id.
        """
        with self._writing() as db:
            for landmark in landmarks:
                merge_landmark(db, landmark, addition)
            added = [stored for entry in entries if (stored := _put_entry(db, entry, addition)) is not None]
            measure_places(db, (reference.landmark for reference in added))
        return added

    def put_landmark(self, landmark: Landmark) -> None:
        """Store a landmark as given, new or in the place of the one with its id."""
        with self._writing() as db:
            replace_landmark(db, landmark)

    def remove_reference(self, id: str) -> bool:
        """Remove one reference, keeping its landmark's name and given place; return whether there was one."""
        with self._writing() as db:
            removed = db.execute("DELETE FROM reference WHERE id = ? RETURNING landmark", (id,)).fetchall()
            measure_places(db, (landmark for (landmark,) in removed))
        return bool(removed)

    def remove_landmark(self, id: str) -> int | None:
        """Remove a landmark with all its references; return how many there were, or None for no such landmark."""
        with self._writing() as db:
            count = db.execute("SELECT count(*) FROM reference WHERE landmark = ?", (id,)).fetchone()[0]
            removed = db.execute("DELETE FROM landmark WHERE id = ?", (id,)).rowcount
        return int(count) if removed else None

    def landmarks(self, id: str | None = None) -> dict[str, LandmarkCount]:
        """Return every landmark with its number of references, by id, in the order of ids; or the one with an id."""
        which, values = ("", ()) if id is None else ("WHERE {} = ?", (id,))
        count = f"SELECT landmark, count(*) FROM reference {which.format('landmark')} GROUP BY landmark"  # noqa: S608
        counts = dict(self._db.rows(count, values))
        with self._db.decoding():
            rows = self._db.rows(f"{LANDMARK} {which.format('id')} ORDER BY id", values)
            return {row[0]: LandmarkCount(Landmark(*row), counts.get(row[0], 0)) for row in rows}

    def landmark(self, id: str) -> Landmark | None:
        """Return one landmark, or None."""
        with self._db.decoding():
            return next((Landmark(*row) for row in self._db.rows(f"{LANDMARK} WHERE id = ?", (id,))), None)

    def references(self, landmark: str | None = None) -> list[Reference]:
        """Return the references, of one landmark or of all, in the order of ids."""
        which, values = ("", ()) if landmark is None else ("WHERE landmark = ?", (landmark,))
        rows = self._db.rows(f"{REFERENCE} {which} ORDER BY id", values)
        with self._db.decoding():
            return [Reference(*row) for row in rows]

    def covers(self) -> dict[str, str]:
        """Return landmark id -> the id of its first reference, for those that have any."""
        return dict(self._db.rows("SELECT landmark, min(id) FROM reference GROUP BY landmark"))

    def find_content(self, sha256: str) -> Reference | None:
        """Return the reference made from a photo with this content, or None."""
        return next((Reference(*row) for row in self._db.rows(f"{REFERENCE} WHERE sha256 = ?", (sha256,))), None)

    def features_of(self, row_ids: Sequence[int]) -> dict[int, tuple[LocalFeatures, UInt8]]:
        """Return row id -> local features and how many photos confirm each (N,), for those of these that are there."""
        with self._db.faults("cannot be read"):
            rows = self._reader.fetch(FEATURES_OF, row_ids)
        with self._db.decoding():
            return {row_id: with_confirmations(features, counts) for row_id, features, counts in rows}

    def features(self, id: str) -> tuple[LocalFeatures, UInt8] | None:
        """Return one reference's local features and the confirmations of each (N,), or None for a removed one."""
        rows = self._db.rows("SELECT row FROM reference WHERE id = ?", (id,))
        with self._db.decoding():
            return self.graph.features(rows[0][0]) if rows else None

    def evidence(self, id: str) -> tuple[Reference, LocalFeatures, bytes] | None:
        """Return a reference with its local features and thumbnail, or None for a removed one."""
        query = """SELECT r.id, r.landmark, r.photo, r.sha256, r.license, f.features, t.thumbnail FROM reference AS r
                   JOIN features AS f ON f.row = r.row JOIN thumbnail AS t ON t.row = r.row WHERE r.id = ?"""
        rows = self._db.rows(query, (id,))
        with self._db.decoding():
            return (Reference(*rows[0][:5]), unpack_features(rows[0][5]), rows[0][6]) if rows else None

    def put_attachment(self, name: str, content: bytes | None) -> None:
        """Store a file of this name inside the gallery, replacing an older one; None removes the file."""
        with self._writing() as db:
            db.execute("DELETE FROM attachment WHERE name = ?", (name,))
            if content is not None:
                db.execute("INSERT INTO attachment VALUES (?, ?)", (name, content))

    def get_attachment(self, name: str) -> bytes | None:
        """Return the file of this name kept inside the gallery, or None."""
        rows = self._db.rows("SELECT content FROM attachment WHERE name = ?", (name,))
        return bytes(rows[0][0]) if rows else None

    def counts(self) -> tuple[int, int]:
        """Return how many landmarks and how many references there are."""
        query = "SELECT (SELECT count(*) FROM landmark), (SELECT count(*) FROM reference)"
        landmarks, references = self._db.rows(query)[0]
        return int(landmarks), int(references)

    def bytes_on_disk(self) -> int:
        """Return the size of all the gallery's files."""
        return sum(file_bytes(file) for file in self.path.rglob("*") if not file.is_dir())


def _put_entry(db: sqlite3.Connection, entry: NewReference, addition: int | None) -> Reference | None:
    """Insert one reference and return the stored one, or None for content that is already there."""
    stored = put_reference(db, entry.reference, entry.descriptor, entry.position, addition)
    if stored is None:
        return None
    row_id, reference = stored
    db.execute("INSERT INTO features VALUES (?, ?)", (row_id, pack_features(entry.features)))
    db.execute("INSERT INTO thumbnail VALUES (?, ?)", (row_id, entry.thumbnail))
    return reference
