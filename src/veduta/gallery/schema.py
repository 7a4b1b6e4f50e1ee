"""The file of a gallery: its tables, its older forms, and how it is opened."""

from __future__ import annotations

import json
import os
import sqlite3
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from veduta.errors import GalleryError

SCHEMA_VERSION = 3
BUSY_SECONDS = 60.0  # how long one process waits for another's transaction; each takes milliseconds
PAGE = 16_384  # bytes; with SQLite's 4,096 the features of a photo lie in nine pieces, with these in two or three

FIRST = """
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
    licence TEXT
) STRICT;
CREATE INDEX reference_landmark ON reference (landmark);
"""
# Schema 2: usefulness counts, for each keypoint of a reference, the photos of the same landmark that confirm it, and
# says whether the reference has been held against them (apart from its features, which would be written again each
# time); kin keeps the inliers of each such pair, both ways round.
SECOND = """
CREATE TABLE usefulness (
    row INTEGER PRIMARY KEY REFERENCES reference (row) ON DELETE CASCADE,
    counts BLOB NOT NULL,
    compared INTEGER NOT NULL
) STRICT;
CREATE TABLE kin (
    a INTEGER NOT NULL REFERENCES reference (row) ON DELETE CASCADE,
    b INTEGER NOT NULL REFERENCES reference (row) ON DELETE CASCADE,
    num_inliers INTEGER NOT NULL,
    PRIMARY KEY (a, b)
) STRICT, WITHOUT ROWID;
CREATE INDEX kin_b ON kin (b);
CREATE TABLE attachment (name TEXT PRIMARY KEY, content BLOB NOT NULL) STRICT, WITHOUT ROWID;
"""
# Schema 3: the big things in tables of their own, so that reading all descriptors does not read them, and a log of
# what went, so that an index of millions need not ask what is still there.
THIRD = """
CREATE TABLE features (
    row INTEGER PRIMARY KEY REFERENCES reference (row) ON DELETE CASCADE, features BLOB NOT NULL
) STRICT;
CREATE TABLE thumbnail (
    row INTEGER PRIMARY KEY REFERENCES reference (row) ON DELETE CASCADE, thumbnail BLOB NOT NULL
) STRICT;
CREATE TABLE removed (seq INTEGER PRIMARY KEY AUTOINCREMENT, row INTEGER NOT NULL) STRICT;
CREATE TRIGGER reference_removed AFTER DELETE ON reference BEGIN
    INSERT INTO removed (row) VALUES (old.row);
END;
"""
MOVE_OUT = """
INSERT INTO features SELECT row, features FROM reference;
INSERT INTO thumbnail SELECT row, thumbnail FROM reference;
ALTER TABLE reference DROP COLUMN features;
ALTER TABLE reference DROP COLUMN thumbnail;
ALTER TABLE reference ADD COLUMN licence TEXT;
"""
MIGRATIONS = {1: SECOND + THIRD + MOVE_OUT, 2: THIRD + MOVE_OUT}  # from this version to the last one


def migrate(db: sqlite3.Connection) -> None:
    """Bring a gallery's file up to date, all or nothing; another process may be doing the same."""
    try:
        db.execute("BEGIN IMMEDIATE")
        version = int(db.execute("PRAGMA user_version").fetchone()[0])
        for statement in _statements(MIGRATIONS.get(version, "")):
            db.execute(statement)
        db.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")
        db.execute("COMMIT")
    except BaseException:
        if db.in_transaction:
            db.execute("ROLLBACK")
        raise


def _statements(script: str) -> list[str]:
    """Return the statements of a script one by one: run as a whole it would commit what is before it."""
    found, part = [], ""
    for line in script.splitlines(keepends=True):
        part += line
        if sqlite3.complete_statement(part):
            found.append(part)
            part = ""
    return found


def write_schema(file: Path, settings: Mapping[str, Any]) -> None:
    """Make the file of an empty gallery."""
    file.unlink(missing_ok=True)
    connection = sqlite3.connect(file, isolation_level=None)
    try:
        connection.execute(f"PRAGMA page_size = {PAGE}")
        connection.execute("PRAGMA auto_vacuum = INCREMENTAL")  # so that `shrink` can give space back
        version = f"PRAGMA user_version = {SCHEMA_VERSION}"
        connection.executescript(f"BEGIN; {FIRST} {SECOND} {THIRD} {version}; COMMIT;")
        rows = [("revision", "0"), ("settings", json.dumps(dict(settings), sort_keys=True))]
        connection.executemany("INSERT INTO meta VALUES (?, ?)", rows)
    finally:
        connection.close()


def connect(file: Path) -> sqlite3.Connection:
    """Return a connection to a gallery's file, for reading and writing where it may be written.

    Raises:
        GalleryError: it cannot be opened.
    """
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
