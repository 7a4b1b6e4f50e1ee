"""The catalog of a library: one SQLite file, in which every answer belongs to a content, whatever its path.

Each photo is one transaction in write-ahead mode, so a scan killed at any moment loses the photo in hand at most. A
person's verdicts are in a table of their own, which no scan writes to.
"""

from __future__ import annotations

import json
import os
import sqlite3
from collections.abc import Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from veduta.errors import LibraryError
from veduta.files import utf8
from veduta.library.catalog_content import AnswerTable, ContentTable
from veduta.library.catalog_verdicts import VerdictTable
from veduta.library.companions import PHOTO_SUFFIXES, is_companion, suffix_of
from veduta.sqlite import Database
from veduta.trust import accept

STATE_FOLDER, CATALOG_FILE = ".veduta", "library.sqlite"
CATALOG_VERSION = 3
LINKS_REQUEST = "move photos, and write beside them, where links in the library lead"
CATALOG_SCHEMA = """
CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL) STRICT, WITHOUT ROWID;
CREATE TABLE content (
    sha256 TEXT PRIMARY KEY,
    width INTEGER NOT NULL, height INTEGER NOT NULL,
    taken TEXT, latitude REAL, longitude REAL,
    fingerprint BLOB NOT NULL, sharpness REAL NOT NULL,
    thumbnail BLOB NOT NULL,
    model TEXT NOT NULL, descriptor BLOB NOT NULL,
    utc_offset INTEGER
) STRICT, WITHOUT ROWID;
CREATE TABLE file (
    path BLOB PRIMARY KEY,
    size INTEGER NOT NULL, mtime INTEGER NOT NULL, device TEXT NOT NULL, inode TEXT NOT NULL,
    sha256 TEXT, error TEXT, companions TEXT NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX file_sha256 ON file (sha256);
CREATE TABLE answer (
    sha256 TEXT PRIMARY KEY, gallery TEXT NOT NULL, revision INTEGER NOT NULL,
    landmark TEXT, confidence REAL NOT NULL, guesses TEXT NOT NULL, evidence TEXT NOT NULL
) STRICT, WITHOUT ROWID;
CREATE TABLE verdict (
    sha256 TEXT PRIMARY KEY, verdict TEXT NOT NULL, landmark TEXT, said TEXT NOT NULL
) STRICT, WITHOUT ROWID;
CREATE TABLE burst (
    sha256 TEXT PRIMARY KEY, number INTEGER NOT NULL, best INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE TABLE member (
    sha256 TEXT PRIMARY KEY, number INTEGER NOT NULL, rank INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE TABLE same (sha256 TEXT PRIMARY KEY, origin TEXT NOT NULL) STRICT, WITHOUT ROWID
"""


@dataclass(frozen=True)
class FileRecord:
    """A file as of its last scan.

    Attributes:
        size: its length in bytes.
        mtime: when it was last changed, in nanoseconds.
        node: (device, number) of the file.
        sha256: hex digest of its content, or None where it could not be read.
        error: why it is no photo, without its path, or None.
        companions: files that belong to it, absolute or relative as the file itself.
    """

    size: int
    mtime: int
    node: tuple[int, int]
    sha256: str | None
    error: str | None
    companions: tuple[str, ...] = ()

    def written(self, status: os.stat_result, sha256: str) -> FileRecord:
        """Return the record of the file after a rewrite."""
        node = status.st_dev, status.st_ino
        return FileRecord(status.st_size, status.st_mtime_ns, node, sha256, self.error, self.companions)


class Catalog:
    """The rows of one library. Use from one thread at a time.

    Args:
        root: the library's folder; paths are stored relative to it.
        folder: where the file lies; made when it is not there.

    Attributes:
        root: the library's folder.
        folder: the folder of the file.
        file: the SQLite file.
        db: the file, open, for queries that join tables.
        contents: the photos by content: facts, bursts, and which contents have the same pixels.
        answers: a gallery's answers by content.
        verdicts: a person's verdicts by content.

    Raises:
        LibraryError: it cannot be made, read, or is of another Veduta.
    """

    def __init__(self, root: Path, folder: Path) -> None:
        self.root, self.folder, self.file = root, folder, folder / CATALOG_FILE
        if folder == root / STATE_FOLDER and folder.is_symlink():
            raise LibraryError(f"{folder}: is a link; name the folder it leads to with --state, if that is yours")
        if folder == root / STATE_FOLDER and not self.file.exists():
            _check_outside(root)
        try:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        except OSError as error:
            raise LibraryError(
                f"{folder}: cannot be made ({error.strerror}); name a folder that can be written with --state"
            ) from error
        self.db = Database(self.file, _fault, private=True)
        self.contents, self.answers = ContentTable(self.db), AnswerTable(self.db)
        self.verdicts = VerdictTable(self.db, self.contents)
        self._make()
        self._check_root()

    def _make(self) -> None:
        """Make the tables where there are none; another process may be doing the same."""
        with self.db.transaction() as connection:
            version = int(self.db.rows("PRAGMA user_version")[0][0])
            if version == 0:
                accept(self.folder, LINKS_REQUEST)
                for statement in (*CATALOG_SCHEMA.split(";"), f"PRAGMA user_version = {CATALOG_VERSION}"):
                    connection.execute(statement)
            elif version in (1, 2):
                if version == 1:  # it kept a file's path within the reason; such files are looked at again
                    connection.execute("DELETE FROM file WHERE error IS NOT NULL")
                connection.execute("ALTER TABLE content ADD COLUMN utc_offset INTEGER")
                connection.execute(f"PRAGMA user_version = {CATALOG_VERSION}")
        if version not in (0, 1, 2, CATALOG_VERSION):
            wrong = f"has schema {version}, this Veduta reads {CATALOG_VERSION}"
            raise LibraryError(f"{self.file}: {wrong}; use the Veduta that made it")

    def _check_root(self) -> None:
        """Raise LibraryError when this is the catalog of another library, one that is still there."""
        before, now = self.get_meta("root"), str(self.root)
        if before == now:
            return
        within = self.folder.is_relative_to(self.root)  # it came along when the library was moved or copied
        if before is not None and not within and Path(before).is_dir():
            other = f"{self.file}: is what is known of {utf8(before)}"
            raise LibraryError(f"{other}; name another folder with --state for this library")
        self.set_meta("root", now)

    def close(self) -> None:
        """Close the file; everything is already on disk."""
        self.db.close()

    def transaction(self) -> AbstractContextManager[sqlite3.Connection]:
        """Run the body as one transaction, or as part of the one that is running."""
        return self.db.transaction()

    def set_meta(self, key: str, value: Any) -> None:
        """Store a value under a key, in the place of an older one."""
        self.db.write("INSERT OR REPLACE INTO meta VALUES (?, ?)", (key, json.dumps(value)))

    def get_meta(self, key: str) -> Any:
        """Return the value under a key, or None."""
        rows = self.db.rows("SELECT value FROM meta WHERE key = ?", (key,))
        with self.db.decoding():
            return json.loads(rows[0][0]) if rows else None

    # --- files --------------------------------------------------------------------------------------------------

    def files(self) -> dict[str, FileRecord]:
        """Return path -> record of every file, in the order of their paths relative to the root."""
        query = "SELECT path, size, mtime, device, inode, sha256, error, companions FROM file ORDER BY path"
        with self.db.decoding():
            return {
                self.absolute(path): FileRecord(
                    size, mtime, (int(device), int(inode)), sha256, error, self.companions(path, companions)
                )
                for path, size, mtime, device, inode, sha256, error, companions in self.db.rows(query)
                if is_library_file(path)
            }

    def unreadable(self) -> dict[str, str]:
        """Return path -> reason of the files that could not be read when they were last looked at."""
        query = "SELECT path, error FROM file WHERE error IS NOT NULL ORDER BY path"
        return {self.absolute(path): error for path, error in self.db.rows(query) if is_library_file(path)}

    def first_files(self) -> dict[str, str]:
        """Return sha256 -> the first file with this content, of contents that can be read."""
        query = """SELECT sha256, min(path) AS first FROM file WHERE sha256 IS NOT NULL AND error IS NULL
                   GROUP BY sha256 ORDER BY first"""
        return {sha256: self.absolute(path) for sha256, path in self.db.rows(query) if is_library_file(path)}

    def has_content(self, sha256: str) -> bool:
        """Return whether a readable file has this content."""
        return bool(self.db.rows("SELECT 1 FROM file WHERE sha256 = ? AND error IS NULL LIMIT 1", (sha256,)))

    def content_of(self, path: Path) -> str | None:
        """Return the sha256 of a readable file, by its absolute path, or None where none is known by this path."""
        if not path.is_relative_to(self.root):
            return None
        query = "SELECT sha256 FROM file WHERE path = ? AND error IS NULL"
        rows = self.db.rows(query, (os.fsencode(path.relative_to(self.root)),))
        return rows[0][0] if rows else None

    def put_file(self, path: str, row: FileRecord) -> None:
        """Store a file's record, in the place of an earlier one."""
        self.db.write(
            "INSERT OR REPLACE INTO file VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
            (
                os.fsencode(self._relative(path)),
                row.size,
                row.mtime,
                *map(str, row.node),  # numbers of 64 bits without sign do not fit SQLite's
                row.sha256,
                row.error,
                json.dumps([self._relative(companion) for companion in row.companions]),
            ),
        )

    def note_written(self, written: Mapping[Path, str]) -> None:
        """Bring the records of files up to date without reading one; `written` is file -> sha256 of its new content."""
        files = self.files()
        for path, sha256 in written.items():
            if str(path) in files and path.exists():
                self.put_file(str(path), files[str(path)].written(path.stat(), sha256))

    def drop_files(self, paths: Iterable[str]) -> None:
        """Delete the records of files that are gone; those of their content stay."""
        self.db.write_many("DELETE FROM file WHERE path = ?", [(os.fsencode(self._relative(p)),) for p in paths])

    def absolute(self, path: bytes | str) -> str:
        """Return the absolute path of a stored one."""
        return os.path.join(self.root, os.fsdecode(path))  # noqa: PTH118 - twenty thousand of them

    def companions(self, photo: bytes | str, stored: str) -> tuple[str, ...]:
        """Return the absolute paths of a photo's stored companions, but for any that no scan would have paired."""
        folder, name = os.path.split(os.fsdecode(photo))
        with self.db.decoding():
            pairs = [(path, *os.path.split(path)) for path in json.loads(stored) if _is_inside(os.fsdecode(path))]
        return tuple(self.absolute(path) for path, where, own in pairs if where == folder and is_companion(own, name))

    def _relative(self, path: str) -> str:
        return os.path.relpath(path, self.root)

    # --- groups -------------------------------------------------------------------------------------------------

    def groups(self) -> dict[int, list[str]]:
        """Return number -> contents that show one place, the most typical first."""
        groups: dict[int, list[str]] = {}
        for number, sha256 in self.db.rows("SELECT number, sha256 FROM member ORDER BY number, rank"):
            groups.setdefault(number, []).append(sha256)
        return groups

    def set_groups(self, groups: Mapping[int, Sequence[str]]) -> None:
        """Store groups, the most typical content of each first, in the place of those before."""
        rows = [(sha, number, i) for number, members in groups.items() for i, sha in enumerate(members)]
        with self.transaction() as connection:
            connection.execute("DELETE FROM member")
            connection.executemany("INSERT INTO member VALUES (?, ?, ?)", rows)


def _check_outside(root: Path) -> None:
    """Raise LibraryError for a folder inside a library, which would get a second catalog with verdicts of its own."""
    for parent in root.parents:
        if (parent / STATE_FOLDER / CATALOG_FILE).is_file():
            problem = f"{utf8(str(root))}: lies inside the library {utf8(str(parent))}"
            raise LibraryError(problem, "use that one, or keep this one apart with --state FOLDER")


def is_library_file(path: bytes | str) -> bool:
    """Return whether a stored path can be one that a scan has stored: of a photo, in the library.

    A catalog may come from anybody; a row that names anything else is as if it were not there.
    """
    name = os.fsdecode(path)
    return _is_inside(name) and suffix_of(name) in PHOTO_SUFFIXES


def _is_inside(name: str) -> bool:
    """Return whether a stored path leads to nothing outside of the library."""
    inside = bool(name) and name[0] not in "/\\" and os.path.normpath(name) == name and not name.startswith("..")
    return inside and "\0" not in name


def _fault(action: str, error: sqlite3.Error, file: Path) -> LibraryError:
    failed = "cannot be used" if action == "cannot be read" else action
    return LibraryError(f"{file}: {failed} ({error}); give the right, make room, or name another folder with --state")
