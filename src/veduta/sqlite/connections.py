"""Connections to SQLite files, for writing and for reading only, hardened against what a file may hold.

A file that may only be read is read in one of three ways. Beside it there may be a log of changes (``-wal``) and that
log's index (``-shm``): then others may be at work, and SQLite follows them. A log without an index, which backups leave
out, is read with an index in memory. A file alone is complete. In the last two ways SQLite looks out for nobody, so who
reads compares `file_state` before and after.
"""

from __future__ import annotations

import os
import sqlite3
import time
from contextlib import suppress
from pathlib import Path
from stat import S_ISREG
from typing import Any

from veduta.sqlite.faults import refused

MAX_VALUE = 1 << 28  # bytes of one value or row
NEW_SECONDS = 2.0  # how long a new file may have a rollback journal while another process makes it
KNOWN_TRIGGERS = {
    "CREATE TRIGGER REFERENCE_REMOVED AFTER DELETE ON REFERENCE BEGIN INSERT INTO REMOVED (ROW) VALUES (OLD.ROW); END"
}
BUSY_SECONDS = 60.0  # how long one process waits for another's transaction; each takes milliseconds
OPEN_TRIES = 5  # while the files beside a database come and go

FileState = tuple[Any, ...]


def connect(file: Path, synchronous: str = "NORMAL") -> sqlite3.Connection:
    """Return a connection for reading and writing, in write-ahead mode, statements committed one by one.

    Raises:
        sqlite3.DatabaseError: the file, or one beside it, is not Veduta's: see `check_files` and `_harden`.
    """
    check_files(file)
    connection = sqlite3.connect(file, timeout=BUSY_SECONDS, isolation_level=None, check_same_thread=False)
    try:
        _harden(connection)
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute(f"PRAGMA synchronous = {synchronous}")
        connection.execute("PRAGMA foreign_keys = ON")
    except sqlite3.Error:
        connection.close()
        raise
    return connection


def connect_read_only(file: Path) -> sqlite3.Connection:
    """Return a connection to a file that may only be read, such as one on read-only media or of another user."""
    for left in reversed(range(OPEN_TRIES)):
        state = file_state(file)
        try:
            return _open_reader(file)
        except sqlite3.DatabaseError:
            if not left or file_state(file) == state:
                raise
    raise AssertionError  # the last try returns or raises


def _open_reader(file: Path) -> sqlite3.Connection:
    log, followed = _stamp(_beside(file, "-wal")), is_followed(file)
    alone = not log or not log[1]
    mode = "mode=ro" if followed else "immutable=1" if alone else "mode=ro&vfs=unix-none"
    check_files(file)
    address = f"{file.absolute().as_uri()}?{mode}"
    connection = sqlite3.connect(address, timeout=BUSY_SECONDS, isolation_level=None, check_same_thread=False, uri=True)
    try:
        if not (followed or alone):
            connection.execute("PRAGMA locking_mode = EXCLUSIVE")  # the index of the log is in memory then
        _harden(connection)
    except sqlite3.Error:
        connection.close()
        raise
    return connection


def is_followed(file: Path) -> bool:
    """Return whether SQLite notices by itself what others change while it reads a file."""
    return _beside(file, "-wal").exists() and _beside(file, "-shm").exists()


def file_state(file: Path) -> FileState:
    """Return what differs when somebody has changed a file or the log beside it."""
    return (*(_stamp(path) for path in (file, _beside(file, "-wal"))), _beside(file, "-shm").exists())


def file_identity(file: Path) -> tuple[int, int] | None:
    """Return the device and inode of a file, or None where there is none."""
    with suppress(OSError):
        status = file.stat()
        return status.st_dev, status.st_ino
    return None


def _stamp(path: Path) -> tuple[int, int, int] | None:
    with suppress(OSError):
        status = path.stat()
        return status.st_ino, status.st_size, status.st_mtime_ns
    return None


def _beside(file: Path, ending: str) -> Path:
    return file.with_name(file.name + ending)


def make_private(file: Path) -> None:
    """Make an empty file that only this user may read, unless there is one; those that SQLite adds are like it."""
    try:
        os.close(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
    except FileExistsError:
        return
    except OSError as error:
        raise refused(error) from error


def check_files(file: Path) -> None:
    """Raise sqlite3.DatabaseError unless a database and what lies beside it are plain files that Veduta could leave.

    A folder may come from anybody: a link would have SQLite write elsewhere, and a rollback journal, which files in
    write-ahead mode never have, may name any other file to be deleted.
    """
    for path in (file, *(file.with_name(file.name + ending) for ending in ("-wal", "-shm"))):
        with suppress(FileNotFoundError):
            if not S_ISREG(path.lstat().st_mode):
                raise sqlite3.DatabaseError(f"{path.name} is a link or no plain file")
    rollback, until = file.with_name(file.name + "-journal"), time.monotonic() + NEW_SECONDS
    while os.path.lexists(rollback) and time.monotonic() < until:
        time.sleep(0.01)  # another process may be making the file: it has one for a moment
    if os.path.lexists(rollback):
        raise sqlite3.DatabaseError(f"{file.name}-journal is not Veduta's; look where it comes from, and delete it")


def _harden(connection: sqlite3.Connection) -> None:
    """Keep what somebody else may have written into a file from doing more than being read.

    Views, virtual tables, generated columns and triggers run when a table is used; of triggers only the one that every
    gallery has is let through.
    """
    connection.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, MAX_VALUE)
    connection.setlimit(sqlite3.SQLITE_LIMIT_ATTACHED, 0)
    connection.execute("PRAGMA trusted_schema = OFF")
    connection.execute("PRAGMA cell_size_check = ON")
    connection.execute("PRAGMA mmap_size = 0")
    for kind, name, statement in connection.execute("SELECT type, name, sql FROM sqlite_schema"):
        words = " ".join(str(statement).split()).upper()
        plain = kind in ("table", "index") and not words.startswith("CREATE VIRTUAL") and " GENERATED " not in words
        if not (plain and " AS (" not in words) and words not in KNOWN_TRIGGERS:
            raise sqlite3.DatabaseError(f"holds the {kind} {name!r}, which is not Veduta's")


def is_writable(file: Path) -> bool:
    """Return whether this process may write a file and its folder."""
    return all(os.access(path, os.W_OK) for path in (file, file.parent))
