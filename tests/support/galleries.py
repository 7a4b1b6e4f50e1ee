"""The answers of a gallery, as they can be compared."""

import contextlib
import sqlite3
from pathlib import Path

from veduta.serialization import to_dict


def recognized(gallery, queries, **options):
    """Return the answer for each photo, leaving out how long it took."""
    return [to_dict(result) | {"seconds": None} for result in gallery.recognize(queries, **options)]


def tables(gallery):
    """Every row of every table of a gallery, but when its additions were: what is compared when two are to be equal."""
    with contextlib.closing(sqlite3.connect(Path(gallery) / "gallery.sqlite")) as db:
        names = [name for (name,) in db.execute("SELECT name FROM sqlite_master WHERE type = 'table' ORDER BY name")]
        return {name: _rows(db, name) for name in names if name != "addition"}


def _rows(db, table):
    columns = [row[1] for row in db.execute(f"PRAGMA table_info({table})") if row[1] != "addition"]
    where = "WHERE name != 'addition'" if table == "sqlite_sequence" else ""
    return db.execute(f"SELECT {', '.join(columns)} FROM {table} {where}").fetchall()
