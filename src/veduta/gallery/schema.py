"""The schema of a gallery's file, and the migration of older ones."""

from __future__ import annotations

import io
import json
import sqlite3
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from veduta.decision.model import DECISION_FORMAT
from veduta.files import write_json
from veduta.models.folder import CARD_FILE
from veduta.sqlite import transaction

SCHEMA_VERSION = 5
PAGE = 16_384  # bytes; with SQLite's 4,096 the features of a photo lie in nine pieces, with these in two or three

# keypoint_support counts, for each keypoint of a reference, the photos of the same landmark that confirm it, and says
# whether the reference has been compared with them (apart from its features, which would be written again each time);
# reference_pair keeps the inliers of each such pair, both ways round. The large columns lie in tables of their own, so
# that reading all descriptors does not read them. The log of removals spares an index of millions from asking which
# references are still there.
# A landmark's place is `measured` when nobody gave one: the median of its references' positions, which the cameras
# wrote. An addition is what one call of `add` brought, so that the last one can be taken back.
ORIGINS = """
CREATE TABLE addition (id INTEGER PRIMARY KEY AUTOINCREMENT, added TEXT NOT NULL, source TEXT NOT NULL) STRICT;
CREATE TABLE landmark_origin (
    landmark TEXT PRIMARY KEY REFERENCES landmark (id) ON DELETE CASCADE,
    measured INTEGER NOT NULL DEFAULT 0,
    addition INTEGER
) STRICT, WITHOUT ROWID;
CREATE TABLE reference_origin (
    row INTEGER PRIMARY KEY REFERENCES reference (row) ON DELETE CASCADE,
    latitude REAL,
    longitude REAL,
    addition INTEGER
) STRICT;
"""
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
    license TEXT
) STRICT;
CREATE INDEX reference_landmark ON reference (landmark);
CREATE TABLE features (
    row INTEGER PRIMARY KEY REFERENCES reference (row) ON DELETE CASCADE, features BLOB NOT NULL
) STRICT;
CREATE TABLE thumbnail (
    row INTEGER PRIMARY KEY REFERENCES reference (row) ON DELETE CASCADE, thumbnail BLOB NOT NULL
) STRICT;
CREATE TABLE keypoint_support (
    row INTEGER PRIMARY KEY REFERENCES reference (row) ON DELETE CASCADE,
    counts BLOB NOT NULL,
    compared INTEGER NOT NULL
) STRICT;
CREATE TABLE reference_pair (
    a INTEGER NOT NULL REFERENCES reference (row) ON DELETE CASCADE,
    b INTEGER NOT NULL REFERENCES reference (row) ON DELETE CASCADE,
    num_inliers INTEGER NOT NULL,
    PRIMARY KEY (a, b)
) STRICT, WITHOUT ROWID;
CREATE INDEX reference_pair_b ON reference_pair (b);
CREATE TABLE attachment (name TEXT PRIMARY KEY, content BLOB NOT NULL) STRICT, WITHOUT ROWID;
CREATE TABLE removed (seq INTEGER PRIMARY KEY AUTOINCREMENT, row INTEGER NOT NULL) STRICT;
CREATE TRIGGER reference_removed AFTER DELETE ON reference BEGIN
    INSERT INTO removed (row) VALUES (old.row);
END;
"""
# From each older version, the statements that lead to the next one.
MIGRATIONS = {
    1: """
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
""",
    2: """
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
INSERT INTO features SELECT row, features FROM reference;
INSERT INTO thumbnail SELECT row, thumbnail FROM reference;
ALTER TABLE reference DROP COLUMN features;
ALTER TABLE reference DROP COLUMN thumbnail;
ALTER TABLE reference ADD COLUMN licence TEXT;
""",
    3: """
ALTER TABLE reference RENAME COLUMN licence TO license;
ALTER TABLE usefulness RENAME TO keypoint_support;
DROP INDEX kin_b;
ALTER TABLE kin RENAME TO reference_pair;
CREATE INDEX reference_pair_b ON reference_pair (b);
""",
    4: ORIGINS,
}


def migrate(db: sqlite3.Connection, models: Path) -> None:
    """Bring a gallery's file up to date, all or nothing; another process may be doing the same.

    Args:
        db: a connection to the file, outside a transaction.
        models: the folder of the gallery's own models, whose cards are brought up to date first.
    """
    _migrate_cards(models)
    with transaction(db):
        version = int(db.execute("PRAGMA user_version").fetchone()[0])
        for step in range(version, SCHEMA_VERSION):
            for statement in _statements(MIGRATIONS[step]):
                db.execute(statement)
        _migrate_decision(db)
        db.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")


def _migrate_cards(models: Path) -> None:
    """Spell `license` in the cards of a gallery's own models as this Veduta does; they are read either way round."""
    for file in models.glob(f"*/{CARD_FILE}"):
        fields = json.loads(file.read_bytes())
        if "licence" in fields:
            renamed = {"license" if name == "licence" else name: value for name, value in fields.items()}
            write_json(file, renamed)


def _migrate_decision(db: sqlite3.Connection) -> None:
    """Bring a decision calibrated for the gallery from format 1 to 2: the same numbers under other names."""
    row = db.execute("SELECT content FROM attachment WHERE name = 'decision'").fetchone()
    if row is None:
        return
    with np.load(io.BytesIO(row[0]), allow_pickle=False) as arrays:
        if "about" not in arrays:
            return
        metadata = json.loads(str(arrays["about"])) | {"format": DECISION_FORMAT}
        named = {_new_name(key): arrays[key] for key in arrays if key != "about"}
    file = io.BytesIO()
    np.savez_compressed(file, metadata=np.array(json.dumps(metadata)), **named)
    db.execute("UPDATE attachment SET content = ? WHERE name = 'decision'", (file.getvalue(),))


def _new_name(key: str) -> str:
    return "centers" if key == "centres" else key.replace("/glue", "/fine")


def _statements(script: str) -> list[str]:
    """Return the statements of a script one by one: `executescript` would commit the transaction first."""
    statements, part = [], ""
    for line in script.splitlines(keepends=True):
        part += line
        if sqlite3.complete_statement(part):
            statements.append(part)
            part = ""
    return statements


def write_schema(file: Path, settings: Mapping[str, Any]) -> None:
    """Make the file of an empty gallery."""
    file.unlink(missing_ok=True)
    connection = sqlite3.connect(file, isolation_level=None)
    try:
        connection.execute(f"PRAGMA page_size = {PAGE}")
        connection.execute("PRAGMA auto_vacuum = INCREMENTAL")  # so that `shrink` can give space back
        connection.executescript(f"BEGIN; {SCHEMA} {ORIGINS} PRAGMA user_version = {SCHEMA_VERSION}; COMMIT;")
        rows = [("revision", "0"), ("settings", json.dumps(dict(settings), sort_keys=True))]
        connection.executemany("INSERT INTO meta VALUES (?, ?)", rows)
    finally:
        connection.close()
